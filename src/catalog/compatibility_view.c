/*-------------------------------------------------------------------------
 *
 * compatibility_view.c
 *	  Which views stand for a table, as zdm.migration has it.
 *
 * Asked for any user's utility statement, in databases without zdm, too, and
 * whatever snapshot his transaction has.  So the read is a catalog scan
 * (newest snapshot, no privilege check) of the migrations in flight, which
 * are few and have an index of their own.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/pg_class.h"
#include "commands/extension.h"
#include "parser/parsetree.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "catalog/compatibility_view.h"
#include "util/spi.h"

/* The columns of zdm.migration that are read here. */
enum
{
	COL_RELATION = 5,
	COL_OTHERS = 26
};

static bool have_a_view(List *others, Oid ignored);
static bool have_this(List *others, Oid view);
static Oid	find_migration(bool (*are_such) (List *others, Oid view), Oid view);

/*
 * Whether the extension exists in this database.
 */
bool
zdm_exists(void)
{
	return OidIsValid(get_extension_oid("zdm", true));
}

/*
 * Whether a migration in flight has made a view in this database.
 */
bool
zdm_compatibility_views_exist(void)
{
	return OidIsValid(find_migration(have_a_view, InvalidOid));
}

/*
 * The table that holds the rows of a view which a migration in flight has
 * made; InvalidOid for any other view.
 */
Oid
zdm_table_behind_view(Oid view)
{
	return find_migration(have_this, view);
}

static bool
have_a_view(List *others, Oid ignored)
{
	ListCell   *lc;

	foreach(lc, others)
	{
		if (get_rel_relkind(lfirst_oid(lc)) == RELKIND_VIEW)
			return true;
	}
	return false;
}

static bool
have_this(List *others, Oid view)
{
	return list_member_oid(others, view);
}

/*
 * The table of the first migration in flight whose further relations are such,
 * or InvalidOid.
 */
static Oid
find_migration(bool (*are_such) (List *others, Oid view), Oid view)
{
	Oid			table = InvalidOid;
	Oid			index;
	Relation	rel;
	TupleDesc	desc;
	SysScanDesc scan;
	HeapTuple	tuple;

	/* Anybody may have a schema of that name where the extension is not. */
	if (!zdm_exists())
		return InvalidOid;
	index = zdm_catalog_table("migration_in_flight");
	if (!OidIsValid(index))
		return InvalidOid;		/* CREATE EXTENSION is not there yet */

	rel = table_open(zdm_catalog_table("migration"), AccessShareLock);
	desc = RelationGetDescr(rel);
	scan = systable_beginscan(rel, index, true, NULL, 0, NULL);
	while (!OidIsValid(table) && HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		bool		isnull;
		Datum		others = heap_getattr(tuple, COL_OTHERS, desc, &isnull);

		if (are_such(zdm_oids_from_array(others), view))
			table = DatumGetObjectId(heap_getattr(tuple, COL_RELATION, desc, &isnull));
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return table;
}

/*
 * The one table that a view's query looks at, all of its rows as they come;
 * InvalidOid where somebody has given it another one.
 */
Oid
zdm_table_in_query(const Query *query)
{
	RangeTblEntry *rte;

	if (query->jointree->quals != NULL || query->sortClause != NIL || query->rowMarks != NIL ||
		list_length(query->jointree->fromlist) != 1 ||
		!IsA(linitial(query->jointree->fromlist), RangeTblRef))
		return InvalidOid;
	rte = rt_fetch(linitial_node(RangeTblRef, query->jointree->fromlist)->rtindex, query->rtable);
	return rte->rtekind == RTE_RELATION && rte->inh && rte->tablesample == NULL ? rte->relid
		: InvalidOid;
}
