/*-------------------------------------------------------------------------
 *
 * rule.c
 *	  What rows of zdm.sync_rule and zdm.mirror_rule have in common.
 *
 * The triggers read them in every backend that writes the table, whoever its
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
#include "utils/fmgroids.h"
#include "utils/inval.h"
#include "utils/rel.h"
#include "utils/syscache.h"

#include "catalog/rule.h"
#include "util/spi.h"

static List *scan(const char *table, const char *index, AttrNumber column,
				  RegProcedure equals, Datum value, ZdmRuleReader read);
static int	compare(const ListCell *a, const ListCell *b);

/*
 * The rules of a migration, in order.
 */
List *
zdm_rules_of(const char *table, int64 migration, ZdmRuleReader read)
{
	return scan(table, psprintf("%s_pkey", table), ZDM_COL_MIGRATION,
				F_INT8EQ, Int64GetDatum(migration), read);
}

/*
 * The rules that have one of the tables in that column.
 */
List *
zdm_rules_on(const char *table, const char *index, AttrNumber column,
			 List *relids, ZdmRuleReader read)
{
	List	   *result = NIL;
	ListCell   *lc;

	foreach(lc, relids)
		result = list_concat(result, scan(table, index, column, F_OIDEQ,
										  ObjectIdGetDatum(lfirst_oid(lc)), read));
	return result;
}

/*
 * The oldest migration's first.
 */
void
zdm_rules_sort(List *rules)
{
	list_sort(rules, compare);
}

static List *
scan(const char *table, const char *index, AttrNumber column,
	 RegProcedure equals, Datum value, ZdmRuleReader read)
{
	Oid			relid = zdm_catalog_table(table);
	Relation	rel;
	SysScanDesc rows;
	ScanKeyData key;
	HeapTuple	tuple;
	List	   *result = NIL;

	/* A trigger left behind by DROP EXTENSION ... CASCADE has nothing to do. */
	if (!OidIsValid(relid))
		return NIL;
	rel = table_open(relid, AccessShareLock);
	ScanKeyInit(&key, column, BTEqualStrategyNumber, equals, value);
	rows = systable_beginscan(rel, zdm_catalog_table(index), true, NULL, 1, &key);
	while (HeapTupleIsValid(tuple = systable_getnext(rows)))
		result = lappend(result, read(tuple, RelationGetDescr(rel)));
	systable_endscan(rows);
	table_close(rel, AccessShareLock);
	return result;
}

static int
compare(const ListCell *a, const ListCell *b)
{
	int64		x = *(int64 *) lfirst(a);
	int64		y = *(int64 *) lfirst(b);

	return x < y ? -1 : x > y;
}

/*
 * A column that is an array of names or texts.
 */
List *
zdm_rule_strings(HeapTuple tuple, AttrNumber column, TupleDesc desc)
{
	bool		isnull;

	return zdm_strings_from_array(heap_getattr(tuple, column, desc, &isnull));
}

/*
 * Make every backend compile the rules of the table, and of all its
 * partitions, anew when this transaction commits.
 */
void
zdm_rules_changed(Oid relid)
{
	List	   *relids;
	ListCell   *lc;

	if (!SearchSysCacheExists1(RELOID, ObjectIdGetDatum(relid)))
		return;					/* dropped */
	relids = find_all_inheritors(relid, NoLock, NULL);
	foreach(lc, relids)
		CacheInvalidateRelcacheByRelid(lfirst_oid(lc));
}
