/*-------------------------------------------------------------------------
 *
 * sync_rule.c
 *	  Rows of zdm.sync_rule.
 *
 * The trigger reads them in every backend that writes the table, whoever its
 * user is and whatever snapshot his transaction has: a REPEATABLE READ
 * transaction that is older than the rule must apply it all the same.  So the
 * read is a catalog scan (newest snapshot, no privilege check), not a query.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/inval.h"
#include "utils/rel.h"
#include "utils/syscache.h"

#include "catalog/sync_rule.h"
#include "util/spi.h"

/* The columns of zdm.sync_rule. */
enum
{
	COL_MIGRATION = 1,
	COL_RULE,
	COL_RELATION,
	COL_OLD_COLUMNS,
	COL_NEW_COLUMNS,
	COL_UP,
	COL_DOWN,
	COL_DOWN_OR_NULL,
	COL_KIND
};

static const char *const kind_names[] = {
	[ZDM_RULE_SYNC] = "sync",
	[ZDM_RULE_FILL] = "fill",
	[ZDM_RULE_FILL_OLDER] = "fill_older",
	[ZDM_RULE_FILL_UNNAMED] = "fill_unnamed",
	[ZDM_RULE_COMPUTE] = "compute",
};

static ZdmRuleKind kind_from_name(Name name);
static List *scan_rules(AttrNumber column, RegProcedure equals, Datum value,
						const char *index);
static int	compare_rules(const ListCell *a, const ListCell *b);

static ZdmRuleKind
kind_from_name(Name name)
{
	for (int i = 0; i < (int) lengthof(kind_names); i++)
		if (namestrcmp(name, kind_names[i]) == 0)
			return (ZdmRuleKind) i;
	elog(ERROR, "unknown kind of sync rule \"%s\"", NameStr(*name));
}

void
zdm_sync_rule_insert(int64 migration, int number, ZdmSyncRule *rule)
{
	ZdmIdentity saved;

	zdm_catalog_begin(&saved);
	zdm_execute(SPI_OK_INSERT,
				"INSERT INTO zdm.sync_rule (migration_id, rule, relation,"
				" old_columns, new_columns, up, down, down_or_null, kind)"
				" VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
				ZDM_ARGS(ZDM_ARG(INT8OID, Int64GetDatum(migration)),
						 ZDM_ARG(INT4OID, Int32GetDatum(number)),
						 ZDM_ARG(REGCLASSOID, ObjectIdGetDatum(rule->relation)),
						 zdm_arg_names(rule->old_columns),
						 zdm_arg_names(rule->new_columns),
						 zdm_arg_texts(rule->up),
						 zdm_arg_texts(rule->down),
						 ZDM_ARG(BOOLOID, BoolGetDatum(rule->down_or_null)),
						 zdm_arg_name(kind_names[rule->kind])));
	zdm_catalog_end(&saved);
	zdm_sync_rules_changed(rule->relation);
}

void
zdm_sync_rules_delete(int64 migration)
{
	List	   *rules = zdm_sync_rules_of(migration);
	ZdmIdentity saved;
	ListCell   *lc;

	zdm_catalog_begin(&saved);
	zdm_execute(SPI_OK_DELETE, "DELETE FROM zdm.sync_rule WHERE migration_id = $1",
				ZDM_ARGS(ZDM_ARG(INT8OID, Int64GetDatum(migration))));
	zdm_catalog_end(&saved);
	foreach(lc, rules)
		zdm_sync_rules_changed(((ZdmSyncRule *) lfirst(lc))->relation);
}

/*
 * The rows of a table have been written anew, and with it went the mark of
 * those that were stored before a column was added.  Returns whether a rule
 * went by it.
 */
bool
zdm_sync_rules_forget_age(int64 migration, Oid relid)
{
	ZdmIdentity saved;
	uint64		changed;

	zdm_catalog_begin(&saved);
	changed = zdm_execute(SPI_OK_UPDATE,
						  "UPDATE zdm.sync_rule SET kind = 'fill_unnamed'"
						  " WHERE migration_id = $1 AND relation = $2 AND kind = 'fill_older'",
						  ZDM_ARGS(ZDM_ARG(INT8OID, Int64GetDatum(migration)),
								   ZDM_ARG(REGCLASSOID, ObjectIdGetDatum(relid))));
	zdm_catalog_end(&saved);
	if (changed > 0)
		zdm_sync_rules_changed(relid);
	return changed > 0;
}

/*
 * The rules of a migration, in order.
 */
List *
zdm_sync_rules_of(int64 migration)
{
	return scan_rules(COL_MIGRATION, F_INT8EQ, Int64GetDatum(migration),
					  "sync_rule_pkey");
}

/*
 * The tables (oids) that rules are on.
 */
List *
zdm_rules_tables(List *rules)
{
	List	   *result = NIL;
	ListCell   *lc;

	foreach(lc, rules)
		result = list_append_unique_oid(result, ((ZdmSyncRule *) lfirst(lc))->relation);
	return result;
}

/*
 * The rules on a table, given with its partition ancestors, oldest first.
 */
List *
zdm_sync_rules_on(List *relids)
{
	List	   *result = NIL;
	ListCell   *lc;

	foreach(lc, relids)
		result = list_concat(result,
							 scan_rules(COL_RELATION, F_OIDEQ,
										ObjectIdGetDatum(lfirst_oid(lc)),
										"sync_rule_relation"));
	list_sort(result, compare_rules);
	return result;
}

static List *
scan_rules(AttrNumber column, RegProcedure equals, Datum value,
		   const char *index)
{
	Oid			relid = zdm_catalog_table("sync_rule");
	Relation	rel;
	SysScanDesc scan;
	ScanKeyData key;
	HeapTuple	tuple;
	List	   *result = NIL;

	/* A trigger left behind by DROP EXTENSION ... CASCADE has nothing to do. */
	if (!OidIsValid(relid))
		return NIL;
	rel = table_open(relid, AccessShareLock);
	ScanKeyInit(&key, column, BTEqualStrategyNumber, equals, value);
	scan = systable_beginscan(rel, zdm_catalog_table(index), true, NULL, 1, &key);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		TupleDesc	desc = RelationGetDescr(rel);
		ZdmSyncRule *rule = palloc0_object(ZdmSyncRule);
		bool		isnull;

		rule->migration = DatumGetInt64(heap_getattr(tuple, COL_MIGRATION, desc, &isnull));
		rule->relation = DatumGetObjectId(heap_getattr(tuple, COL_RELATION, desc, &isnull));
		rule->old_columns = zdm_strings_from_array(heap_getattr(tuple, COL_OLD_COLUMNS, desc, &isnull));
		rule->new_columns = zdm_strings_from_array(heap_getattr(tuple, COL_NEW_COLUMNS, desc, &isnull));
		rule->up = zdm_strings_from_array(heap_getattr(tuple, COL_UP, desc, &isnull));
		rule->down = zdm_strings_from_array(heap_getattr(tuple, COL_DOWN, desc, &isnull));
		rule->down_or_null = DatumGetBool(heap_getattr(tuple, COL_DOWN_OR_NULL, desc, &isnull));
		rule->kind = kind_from_name(DatumGetName(heap_getattr(tuple, COL_KIND, desc, &isnull)));
		result = lappend(result, rule);
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return result;
}

static int
compare_rules(const ListCell *a, const ListCell *b)
{
	int64		x = ((ZdmSyncRule *) lfirst(a))->migration;
	int64		y = ((ZdmSyncRule *) lfirst(b))->migration;

	return x < y ? -1 : x > y;
}

/*
 * Make every backend compile the rules of the table, and of all its
 * partitions, anew when this transaction commits.
 */
void
zdm_sync_rules_changed(Oid relid)
{
	List	   *relids;
	ListCell   *lc;

	if (!SearchSysCacheExists1(RELOID, ObjectIdGetDatum(relid)))
		return;					/* dropped */
	relids = find_all_inheritors(relid, NoLock, NULL);
	foreach(lc, relids)
		CacheInvalidateRelcacheByRelid(lfirst_oid(lc));
}
