/*-------------------------------------------------------------------------
 *
 * sync_rule.c
 *	  Rows of zdm.sync_rule.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "utils/builtins.h"

#include "catalog/rule.h"
#include "catalog/sync_rule.h"
#include "util/spi.h"

/* The columns of zdm.sync_rule after those that are in rule.h. */
enum
{
	COL_RELATION = ZDM_COL_RULE + 1,
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
static void *read_rule(HeapTuple tuple, TupleDesc desc);

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
	zdm_rules_changed(rule->relation);
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
		zdm_rules_changed(((ZdmSyncRule *) lfirst(lc))->relation);
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
		zdm_rules_changed(relid);
	return changed > 0;
}

/*
 * The rules of a migration, in order.
 */
List *
zdm_sync_rules_of(int64 migration)
{
	return zdm_rules_of("sync_rule", migration, read_rule);
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
 * The columns (char *) in which NULL becomes something else, or is an error:
 * they are going to be NOT NULL.
 */
List *
zdm_mandatory_columns(List *rules)
{
	List	   *result = NIL;
	ListCell   *lc;

	foreach(lc, rules)
	{
		ZdmSyncRule *rule = lfirst(lc);

		if (rule->kind == ZDM_RULE_FILL)
			result = list_concat(result, rule->new_columns);
	}
	return result;
}

/*
 * The rules on a table, given with its partition ancestors, oldest first.
 */
List *
zdm_sync_rules_on(List *relids)
{
	List	   *result = zdm_rules_on("sync_rule", "sync_rule_relation", COL_RELATION,
									  relids, read_rule);

	zdm_rules_sort(result);
	return result;
}

static void *
read_rule(HeapTuple tuple, TupleDesc desc)
{
	ZdmSyncRule *rule = palloc0_object(ZdmSyncRule);
	bool		isnull;

	rule->migration = DatumGetInt64(heap_getattr(tuple, ZDM_COL_MIGRATION, desc, &isnull));
	rule->relation = DatumGetObjectId(heap_getattr(tuple, COL_RELATION, desc, &isnull));
	rule->old_columns = zdm_rule_strings(tuple, COL_OLD_COLUMNS, desc);
	rule->new_columns = zdm_rule_strings(tuple, COL_NEW_COLUMNS, desc);
	rule->up = zdm_rule_strings(tuple, COL_UP, desc);
	rule->down = zdm_rule_strings(tuple, COL_DOWN, desc);
	rule->down_or_null = DatumGetBool(heap_getattr(tuple, COL_DOWN_OR_NULL, desc, &isnull));
	rule->kind = kind_from_name(DatumGetName(heap_getattr(tuple, COL_KIND, desc, &isnull)));
	return rule;
}
