/*-------------------------------------------------------------------------
 *
 * mirror_rule.c
 *	  Rows of zdm.mirror_rule.
 *
 * Read by triggers in every backend that writes one of the tables, and
 * therefore like zdm.sync_rule: by a catalog scan, with the newest snapshot
 * and without a privilege check.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/rel.h"

#include "catalog/mirror_rule.h"
#include "catalog/sync_rule.h"
#include "util/ident.h"
#include "util/spi.h"

/* The columns of zdm.mirror_rule. */
enum
{
	COL_MIGRATION = 1,
	COL_RULE,
	COL_FIRST,
	COL_SECOND,
	COL_FIRST_KEYS,
	COL_SECOND_KEYS,
	COL_FIRST_COLUMNS,
	COL_SECOND_COLUMNS,
	COL_OPTIONAL,
	COL_FILLS_SECOND,
	COL_REFERENCING,
	COL_SEVERAL,
	COL_FIRST_BY
};

static List *scan_rules(AttrNumber column, RegProcedure equals, Datum value,
						const char *index);
static int	compare_rules(const ListCell *a, const ListCell *b);

void
zdm_mirror_rule_insert(int64 migration, int number, ZdmMirrorRule *rule)
{
	ZdmIdentity saved;

	zdm_catalog_begin(&saved);
	zdm_execute(SPI_OK_INSERT,
				"INSERT INTO zdm.mirror_rule (migration_id, rule, first_relation,"
				" second_relation, first_keys, second_keys, first_columns,"
				" second_columns, optional, fills_second, referencing, several,"
				" first_by)"
				" VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)",
				ZDM_ARGS(ZDM_ARG(INT8OID, Int64GetDatum(migration)),
						 ZDM_ARG(INT4OID, Int32GetDatum(number)),
						 ZDM_ARG(REGCLASSOID, ObjectIdGetDatum(rule->first)),
						 ZDM_ARG(REGCLASSOID, ObjectIdGetDatum(rule->second)),
						 zdm_arg_names(rule->first_keys),
						 zdm_arg_names(rule->second_keys),
						 zdm_arg_names(rule->first_columns),
						 zdm_arg_names(rule->second_columns),
						 ZDM_ARG(INT4OID, Int32GetDatum(rule->optional)),
						 ZDM_ARG(BOOLOID, BoolGetDatum(rule->fills_second)),
						 ZDM_ARG(BOOLOID, BoolGetDatum(rule->referencing)),
						 ZDM_ARG(BOOLOID, BoolGetDatum(rule->several)),
						 zdm_arg_text(rule->first_by)));
	zdm_catalog_end(&saved);
	zdm_sync_rules_changed(rule->first);
	zdm_sync_rules_changed(rule->second);
}

void
zdm_mirror_rules_delete(int64 migration)
{
	List	   *rules = zdm_mirror_rules_of(migration);
	ZdmIdentity saved;
	ListCell   *lc;

	if (rules == NIL)
		return;
	zdm_catalog_begin(&saved);
	zdm_execute(SPI_OK_DELETE, "DELETE FROM zdm.mirror_rule WHERE migration_id = $1",
				ZDM_ARGS(ZDM_ARG(INT8OID, Int64GetDatum(migration))));
	zdm_catalog_end(&saved);
	foreach(lc, rules)
	{
		zdm_sync_rules_changed(((ZdmMirrorRule *) lfirst(lc))->first);
		zdm_sync_rules_changed(((ZdmMirrorRule *) lfirst(lc))->second);
	}
}

/*
 * The rules of a migration, in order.
 */
List *
zdm_mirror_rules_of(int64 migration)
{
	return scan_rules(COL_MIGRATION, F_INT8EQ, Int64GetDatum(migration),
					  "mirror_rule_pkey");
}

/*
 * The rules on a table, given with its partition ancestors, oldest first; one
 * of which both tables are among them once.
 */
List *
zdm_mirror_rules_on(List *relids)
{
	List	   *result = NIL;
	ListCell   *lc;

	foreach(lc, relids)
	{
		Datum		relid = ObjectIdGetDatum(lfirst_oid(lc));

		result = list_concat(result, scan_rules(COL_FIRST, F_OIDEQ, relid,
												"mirror_rule_first"));
		result = list_concat(result, scan_rules(COL_SECOND, F_OIDEQ, relid,
												"mirror_rule_second"));
	}
	list_sort(result, compare_rules);
	return result;
}

/*
 * The second table's name, qualified and quoted.
 */
char *
zdm_mirror_second_name(const ZdmMirrorRule *rule)
{
	return OidIsValid(rule->second) ? zdm_quote_relation(rule->second)
		: quote_qualified_identifier(rule->new_schema, rule->new_table);
}

/*
 * The tables (oids) that rules are on.
 */
List *
zdm_mirror_tables(List *rules)
{
	List	   *result = NIL;
	ListCell   *lc;

	foreach(lc, rules)
	{
		result = list_append_unique_oid(result, ((ZdmMirrorRule *) lfirst(lc))->first);
		if (OidIsValid(((ZdmMirrorRule *) lfirst(lc))->second))
			result = list_append_unique_oid(result, ((ZdmMirrorRule *) lfirst(lc))->second);
	}
	return result;
}

static List *
scan_rules(AttrNumber column, RegProcedure equals, Datum value,
		   const char *index)
{
	Oid			relid = zdm_catalog_table("mirror_rule");
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
		ZdmMirrorRule *rule = palloc0_object(ZdmMirrorRule);
		bool		isnull;
		Datum		first_by;

		rule->migration = DatumGetInt64(heap_getattr(tuple, COL_MIGRATION, desc, &isnull));
		rule->number = DatumGetInt32(heap_getattr(tuple, COL_RULE, desc, &isnull));
		rule->first = DatumGetObjectId(heap_getattr(tuple, COL_FIRST, desc, &isnull));
		rule->second = DatumGetObjectId(heap_getattr(tuple, COL_SECOND, desc, &isnull));
		rule->first_keys = zdm_strings_from_array(heap_getattr(tuple, COL_FIRST_KEYS, desc, &isnull));
		rule->second_keys = zdm_strings_from_array(heap_getattr(tuple, COL_SECOND_KEYS, desc, &isnull));
		rule->first_columns = zdm_strings_from_array(heap_getattr(tuple, COL_FIRST_COLUMNS, desc, &isnull));
		rule->second_columns = zdm_strings_from_array(heap_getattr(tuple, COL_SECOND_COLUMNS, desc, &isnull));
		rule->optional = DatumGetInt32(heap_getattr(tuple, COL_OPTIONAL, desc, &isnull));
		rule->fills_second = DatumGetBool(heap_getattr(tuple, COL_FILLS_SECOND, desc, &isnull));
		rule->referencing = DatumGetBool(heap_getattr(tuple, COL_REFERENCING, desc, &isnull));
		rule->several = DatumGetBool(heap_getattr(tuple, COL_SEVERAL, desc, &isnull));
		first_by = heap_getattr(tuple, COL_FIRST_BY, desc, &isnull);
		rule->first_by = isnull ? NULL : TextDatumGetCString(first_by);
		result = lappend(result, rule);
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return result;
}

static int
compare_rules(const ListCell *a, const ListCell *b)
{
	int64		x = ((ZdmMirrorRule *) lfirst(a))->migration;
	int64		y = ((ZdmMirrorRule *) lfirst(b))->migration;

	return x < y ? -1 : x > y;
}
