/*-------------------------------------------------------------------------
 *
 * mirror_rule.c
 *	  Rows of zdm.mirror_rule.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "utils/builtins.h"

#include "catalog/mirror_rule.h"
#include "catalog/rule.h"
#include "util/ident.h"
#include "util/spi.h"

/* The columns of zdm.mirror_rule after those that are in rule.h. */
enum
{
	COL_FIRST = ZDM_COL_RULE + 1,
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

static void *read_rule(HeapTuple tuple, TupleDesc desc);

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
	zdm_rules_changed(rule->first);
	zdm_rules_changed(rule->second);
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
		zdm_rules_changed(((ZdmMirrorRule *) lfirst(lc))->first);
		zdm_rules_changed(((ZdmMirrorRule *) lfirst(lc))->second);
	}
}

/*
 * The rules of a migration, in order.
 */
List *
zdm_mirror_rules_of(int64 migration)
{
	return zdm_rules_of("mirror_rule", migration, read_rule);
}

/*
 * The rules on a table, given with its partition ancestors, oldest first; one
 * of which both tables are among them once.
 */
List *
zdm_mirror_rules_on(List *relids)
{
	List	   *result = list_concat(zdm_rules_on("mirror_rule", "mirror_rule_first", COL_FIRST,
												  relids, read_rule),
									 zdm_rules_on("mirror_rule", "mirror_rule_second", COL_SECOND,
												  relids, read_rule));

	zdm_rules_sort(result);
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

static void *
read_rule(HeapTuple tuple, TupleDesc desc)
{
	ZdmMirrorRule *rule = palloc0_object(ZdmMirrorRule);
	bool		isnull;
	Datum		first_by;

	rule->migration = DatumGetInt64(heap_getattr(tuple, ZDM_COL_MIGRATION, desc, &isnull));
	rule->number = DatumGetInt32(heap_getattr(tuple, ZDM_COL_RULE, desc, &isnull));
	rule->first = DatumGetObjectId(heap_getattr(tuple, COL_FIRST, desc, &isnull));
	rule->second = DatumGetObjectId(heap_getattr(tuple, COL_SECOND, desc, &isnull));
	rule->first_keys = zdm_rule_strings(tuple, COL_FIRST_KEYS, desc);
	rule->second_keys = zdm_rule_strings(tuple, COL_SECOND_KEYS, desc);
	rule->first_columns = zdm_rule_strings(tuple, COL_FIRST_COLUMNS, desc);
	rule->second_columns = zdm_rule_strings(tuple, COL_SECOND_COLUMNS, desc);
	rule->optional = DatumGetInt32(heap_getattr(tuple, COL_OPTIONAL, desc, &isnull));
	rule->fills_second = DatumGetBool(heap_getattr(tuple, COL_FILLS_SECOND, desc, &isnull));
	rule->referencing = DatumGetBool(heap_getattr(tuple, COL_REFERENCING, desc, &isnull));
	rule->several = DatumGetBool(heap_getattr(tuple, COL_SEVERAL, desc, &isnull));
	first_by = heap_getattr(tuple, COL_FIRST_BY, desc, &isnull);
	rule->first_by = isnull ? NULL : TextDatumGetCString(first_by);
	return rule;
}
