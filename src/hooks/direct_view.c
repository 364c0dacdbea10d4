/*-------------------------------------------------------------------------
 *
 * direct_view.c
 *	  The compatibility views whose queries can go straight to the table.
 *
 * Kept for the session, for every view that it has named while there was a
 * compatibility view in the database.  What is known of a view ends with any
 * change of it or of its table; whether there are any ends with any change of a
 * relation, as a new view is one.  The callback only says so: it comes while an
 * entry is in use, and within the look that fills it.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "catalog/pg_class.h"
#include "nodes/parsenodes.h"
#include "rewrite/rewriteHandler.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/memutils.h"
#include "utils/rel.h"

#include "catalog/compatibility_view.h"
#include "hooks/direct_view.h"

/* So many are kept in any case. */
#define FEW_VIEWS 64

enum
{
	UNKNOWN,
	BEING_LEARNED,				/* what an error leaves, as good as unknown */
	KNOWN
};

static HTAB *known_views = NULL;
static long forget_above = FEW_VIEWS;

/* Whether there is any compatibility view, as it was found last. */
static bool existence_known = false;
static bool existence = false;

static void drop_unknown_views(void);
static void learn_view(ZdmDirectView *known);
static bool learn_direct_view(ZdmDirectView *known);
static bool learn_columns(ZdmDirectView *known, Relation view, Relation table, Query *query);
static bool same_default(Relation view, AttrNumber column, Relation table, AttrNumber attnum);
static void forget_relation(Datum arg, Oid relid);

void
zdm_direct_views_init(void)
{
	HASHCTL		info = {.keysize = sizeof(Oid),.entrysize = sizeof(ZdmDirectView)};

	known_views = hash_create("zdm compatibility views", 16, &info, HASH_ELEM | HASH_BLOBS);
	CacheRegisterRelcacheCallback(forget_relation, (Datum) 0);
}

/*
 * Whether there is any compatibility view in the database.  Known from the
 * start: what comes in between says otherwise.
 */
bool
zdm_direct_views_exist(void)
{
	if (!existence_known)
	{
		existence_known = true;
		existence = true;
		existence = zdm_compatibility_views_exist();
	}
	return existence;
}

/*
 * A view that is one, good up to the next call; or NULL.  The caller's statement
 * has locked it.
 */
const ZdmDirectView *
zdm_direct_view(Oid view)
{
	bool		found;
	ZdmDirectView *known;

	if (hash_get_num_entries(known_views) > forget_above)
		drop_unknown_views();
	known = hash_search(known_views, &view, HASH_ENTER, &found);
	if (!found)
	{
		known->state = UNKNOWN;
		known->table = InvalidOid;
		known->attnums = NULL;
	}
	if (known->state != KNOWN)
		learn_view(known);
	return known->direct ? known : NULL;
}

bool
zdm_direct_view_is_current(const ZdmDirectView *known)
{
	return known->state == KNOWN;
}

/*
 * Views come and go, in a session that lives for long.
 */
static void
drop_unknown_views(void)
{
	HASH_SEQ_STATUS status;
	ZdmDirectView *known;

	hash_seq_init(&status, known_views);
	while ((known = hash_seq_search(&status)) != NULL)
	{
		if (known->state == KNOWN)
			continue;
		if (known->attnums != NULL)
			pfree(known->attnums);
		(void) hash_search(known_views, &known->view, HASH_REMOVE, NULL);
	}
	forget_above = 2 * hash_get_num_entries(known_views) + FEW_VIEWS;
}

static void
learn_view(ZdmDirectView *known)
{
	known->direct = false;
	known->state = BEING_LEARNED;
	known->table = zdm_table_behind_view(known->view);
	if (OidIsValid(known->table))
		known->direct = learn_direct_view(known);
	if (known->state == BEING_LEARNED)
		known->state = KNOWN;
}

/*
 * Returns whether the view shows the table, and does nothing else.
 */
static bool
learn_direct_view(ZdmDirectView *known)
{
	Relation	view = table_open(known->view, NoLock);
	bool		result = false;

	if (view->rd_rules != NULL && view->rd_rules->numLocks == 1 && view->trigdesc == NULL &&
		!RelationIsSecurityView(view) && !RelationHasCheckOption(view))
	{
		Query	   *query = get_view_query(view);

		if (view_query_is_auto_updatable(query, false) == NULL &&
			zdm_table_in_query(query) == known->table)
		{
			/* As the server locks it for whoever names the view. */
			Relation	table = table_open(known->table, AccessShareLock);

			result = learn_columns(known, view, table, query);
			known->check_as = RelationHasSecurityInvoker(view) ? InvalidOid : view->rd_rel->relowner;
			table_close(table, NoLock);
		}
	}
	table_close(view, NoLock);
	return result;
}

/*
 * Which column of the table each of the view is.  Returns false where one is
 * not, or has become another in the table, or has a default of its own.
 */
static bool
learn_columns(ZdmDirectView *known, Relation view, Relation table, Query *query)
{
	TupleDesc	desc = RelationGetDescr(view);
	ListCell   *lc;

	if (known->attnums != NULL)
		pfree(known->attnums);
	known->attnums = NULL;
	known->attnums = MemoryContextAllocZero(TopMemoryContext, sizeof(AttrNumber) * desc->natts);
	known->natts = desc->natts;
	known->same_numbers = true;
	foreach(lc, query->targetList)
	{
		TargetEntry *target = lfirst_node(TargetEntry, lc);
		Var		   *var = (Var *) target->expr;
		Form_pg_attribute attr;

		if (target->resjunk || target->resno > desc->natts || !IsA(var, Var) || var->varattno <= 0)
			return false;
		attr = TupleDescAttr(desc, target->resno - 1);
		if (attr->atttypid != var->vartype || attr->atttypmod != var->vartypmod ||
			attr->attcollation != var->varcollid ||
			!same_default(view, target->resno, table, var->varattno))
			return false;
		known->attnums[target->resno - 1] = var->varattno;
		known->same_numbers &= var->varattno == target->resno;
	}
	return list_length(query->targetList) == desc->natts;
}

/*
 * A column of a view without a default gets the table's.
 */
static bool
same_default(Relation view, AttrNumber column, Relation table, AttrNumber attnum)
{
	return !TupleDescAttr(RelationGetDescr(view), column - 1)->atthasdef ||
		equal(build_column_default(view, column), build_column_default(table, attnum));
}

/*
 * What is known of a view ends with a change of its table, too.
 */
static void
forget_relation(Datum arg, Oid relid)
{
	HASH_SEQ_STATUS status;
	ZdmDirectView *known;

	existence_known = false;
	hash_seq_init(&status, known_views);
	while ((known = hash_seq_search(&status)) != NULL)
	{
		if (!OidIsValid(relid) || relid == known->view || relid == known->table)
			known->state = UNKNOWN;
	}
}
