/*-------------------------------------------------------------------------
 *
 * query.c
 *	  Queries by the name of a compatibility view, sent straight to the table.
 *
 * The server puts the view's own query into every statement that names it:
 * copies it with all of its columns, locks, checks and plans it, and finds in
 * the end that nothing but the table is left.  For a table of a hundred columns
 * that is most of the time that a short statement takes.  So where the view
 * shows columns of one table and does nothing else, its place in the analysed
 * query is given to the table, before the server looks for the view's rule.
 *
 * The result is what the server's own rewriting of a write through a view has:
 * the view stays in the range table, where nothing refers to it, and the table
 * comes behind it.  So both are locked, the view first, when a prepared
 * statement runs again; a plan ends with either; and both are checked: the view
 * for the user's privileges on what he named, the table for the same, as the
 * user or, where the view uses it with its owner's rights, as that one.
 *
 * Whatever is not so plain is left to the server, as if this were not here: a
 * whole row, whose type is the view's, WHERE CURRENT OF, MERGE, a view that
 * somebody has given a rule, a trigger, a condition or an option to.
 *
 * What the server stores must name the view, for whoever made it has.  Bodies
 * of functions, rules and policies do not come here, nor do queries inside of
 * other commands; that of CREATE VIEW does, and the utility hook tells of it.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/sysattr.h"
#include "access/table.h"
#include "catalog/pg_class.h"
#include "nodes/makefuncs.h"
#include "nodes/parsenodes.h"
#include "parser/analyze.h"
#include "rewrite/rewriteHandler.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"

#include "catalog/compatibility_view.h"
#include "hooks/query.h"
#include "util/compat.h"
#include "util/guc.h"

/* A view that a query has named, as it was found last. */
typedef struct KnownView
{
	Oid			view;			/* the key */
	bool		valid;
	Oid			table;			/* InvalidOid: leave it to the server */
	Oid			check_as;		/* whose rights it uses, or InvalidOid */
	int			natts;
	AttrNumber *attnums;		/* the table's for each of the view's */
} KnownView;

/* A range table entry whose Vars are to become those of another one. */
typedef struct Move
{
	const KnownView *known;
	int			from;
	int			to;
	int			level;			/* of subqueries that we are in */
	bool		apply;			/* if not, see whether it can be done */
} Move;

static post_parse_analyze_hook_type previous_analyze = NULL;
static HTAB *known_views = NULL;

/* The query that is analysed is going to be stored. */
static bool storing_query = false;

static void after_analysis(ParseState *pstate, Query *query, ZdmJumbleState *jstate);
static bool may_have_subqueries(Query *query);
static bool query_walker(Node *node, void *context);
static void look_at_query(Query *query);
static bool can_move(Query *query, const KnownView *known, int index);
static void move_to_table(Query *query, const KnownView *known, int index);
static RangeTblEntry *table_entry(Query *query, const KnownView *known, RangeTblEntry *view, Relation rel);
static void move_excluded(Query *query, const KnownView *known, Relation rel);
static bool walk_query(Query *query, Move *move);
static bool move_walker(Node *node, void *context);
static void move_targets(List *targets, const KnownView *known);
static Bitmapset *move_columns(Bitmapset *columns, const KnownView *known);
static List *column_names(List *view_names, const KnownView *known, Relation rel);
static KnownView *known_view(Oid view);
static void learn_view(KnownView *known);
static bool learn_columns(KnownView *known, Relation view, Query *query);
static void forget_view(Datum arg, Oid relid);

void
zdm_query_init(void)
{
	HASHCTL		info = {.keysize = sizeof(Oid),.entrysize = sizeof(KnownView)};

	known_views = hash_create("zdm compatibility views", 16, &info, HASH_ELEM | HASH_BLOBS);
	CacheRegisterRelcacheCallback(forget_view, (Datum) 0);
	previous_analyze = post_parse_analyze_hook;
	post_parse_analyze_hook = after_analysis;
}

/*
 * Say whether queries that are analysed from now on are to be stored.  Returns
 * what was said before.
 */
bool
zdm_query_storing(bool storing)
{
	bool		before = storing_query;

	storing_query = storing;
	return before;
}

static void
after_analysis(ParseState *pstate, Query *query, ZdmJumbleState *jstate)
{
	if (previous_analyze)
		previous_analyze(pstate, query, jstate);
	if (!zdm_direct_views || storing_query || query->commandType == CMD_UTILITY)
		return;
	if (may_have_subqueries(query))
		(void) query_walker((Node *) query, NULL);
	else
		look_at_query(query);
}

static bool
may_have_subqueries(Query *query)
{
	ListCell   *lc;

	if (query->hasSubLinks || query->cteList != NIL)
		return true;
	foreach(lc, query->rtable)
	{
		if (lfirst_node(RangeTblEntry, lc)->rtekind == RTE_SUBQUERY)
			return true;
	}
	return false;
}

static bool
query_walker(Node *node, void *context)
{
	if (node == NULL)
		return false;
	if (!IsA(node, Query))
		return expression_tree_walker(node, query_walker, context);
	look_at_query((Query *) node);
	return query_tree_walker((Query *) node, query_walker, context, 0);
}

static void
look_at_query(Query *query)
{
	int			count = list_length(query->rtable);

	for (int index = 1; index <= count; index++)
	{
		RangeTblEntry *rte = rt_fetch(index, query->rtable);
		const KnownView *known;

		if (rte->rtekind != RTE_RELATION || rte->relkind != RELKIND_VIEW)
			continue;
		known = known_view(rte->relid);
		if (OidIsValid(known->table) && can_move(query, known, index))
			move_to_table(query, known, index);
	}
}

/*
 * Whether everything that the query says of the view can be said of the table.
 */
static bool
can_move(Query *query, const KnownView *known, int index)
{
	RangeTblEntry *rte = rt_fetch(index, query->rtable);
	int			first = bms_next_member(zdm_permissions(query, rte)->selectedCols, -1);
	Move		move = {.known = known,.from = index};

	/* No column of the view's: the whole row. */
	if (first >= 0 && first + FirstLowInvalidHeapAttributeNumber <= 0)
		return false;
	if (query->commandType == CMD_MERGE || rte->tablesample != NULL ||
		list_length(rte->eref->colnames) != known->natts)
		return false;
	if (walk_query(query, &move))
		return false;
	if (query->resultRelation != index || query->onConflict == NULL ||
		query->onConflict->exclRelIndex == 0)
		return true;
	move.from = query->onConflict->exclRelIndex;
	return !walk_query(query, &move);
}

static void
move_to_table(Query *query, const KnownView *known, int index)
{
	RangeTblEntry *view = rt_fetch(index, query->rtable);
	Relation	rel = table_open(known->table, view->rellockmode);
	Move		move = {
		.known = known,
		.from = index,
		.to = list_length(query->rtable) + 1,
		.apply = true
	};
	ListCell   *lc;

	query->rtable = lappend(query->rtable, table_entry(query, known, view, rel));
	(void) walk_query(query, &move);
	/* Nothing refers to its columns any more, and the names are the table's. */
	view->eref = makeAlias(view->eref->aliasname, NIL);
	foreach(lc, query->rowMarks)
	{
		RowMarkClause *mark = lfirst_node(RowMarkClause, lc);

		if (mark->rti == (Index) index)
			mark->rti = move.to;
	}
	if (query->resultRelation == index)
	{
		query->resultRelation = move.to;
		move_targets(query->targetList, known);
		if (query->onConflict != NULL)
		{
			move_targets(query->onConflict->onConflictSet, known);
			if (query->onConflict->exclRelIndex != 0)
				move_excluded(query, known, rel);
		}
	}
	table_close(rel, NoLock);
}

/*
 * The table's entry, to be checked for what the view's is.
 */
static RangeTblEntry *
table_entry(Query *query, const KnownView *known, RangeTblEntry *view, Relation rel)
{
	RangeTblEntry *rte = makeNode(RangeTblEntry);
	ZdmPermissions *has = zdm_permissions(query, view);
	ZdmPermissions *permissions;

	rte->rtekind = RTE_RELATION;
	rte->relid = RelationGetRelid(rel);
	rte->relkind = rel->rd_rel->relkind;
	rte->rellockmode = view->rellockmode;
	rte->eref = makeAlias(view->eref->aliasname, column_names(view->eref->colnames, known, rel));
	rte->inh = true;
	rte->inFromCl = view->inFromCl;
	permissions = zdm_add_permissions(query, rte);
	permissions->requiredPerms = has->requiredPerms;
	permissions->checkAsUser = OidIsValid(known->check_as) ? known->check_as : has->checkAsUser;
	permissions->selectedCols = move_columns(has->selectedCols, known);
	permissions->insertedCols = move_columns(has->insertedCols, known);
	permissions->updatedCols = move_columns(has->updatedCols, known);
	return rte;
}

/*
 * The row that ON CONFLICT calls excluded is one of the table's, too.  What is
 * read of it is asked for by the view's entry, which stays.
 */
static void
move_excluded(Query *query, const KnownView *known, Relation rel)
{
	OnConflictExpr *conflict = query->onConflict;
	RangeTblEntry *view = rt_fetch(conflict->exclRelIndex, query->rtable);
	RangeTblEntry *rte = makeNode(RangeTblEntry);
	Move		move = {
		.known = known,
		.from = conflict->exclRelIndex,
		.to = list_length(query->rtable) + 1,
		.apply = true
	};

	rte->rtekind = RTE_RELATION;
	rte->relid = RelationGetRelid(rel);
	rte->relkind = view->relkind;
	rte->rellockmode = view->rellockmode;
	rte->eref = makeAlias(view->eref->aliasname, column_names(view->eref->colnames, known, rel));
	view->eref = makeAlias(view->eref->aliasname, NIL);
	query->rtable = lappend(query->rtable, rte);
	(void) walk_query(query, &move);
	conflict->exclRelIndex = move.to;
	conflict->exclRelTlist = BuildOnConflictExcludedTargetlist(rel, move.to);
}

/*
 * Returns true where something is in the way.  The list of all columns of the
 * excluded row is made anew, and has a whole row in it.
 */
static bool
walk_query(Query *query, Move *move)
{
	List	   *excluded = query->onConflict ? query->onConflict->exclRelTlist : NIL;
	bool		result;

	if (query->onConflict)
		query->onConflict->exclRelTlist = NIL;
	result = query_tree_walker(query, move_walker, move, 0);
	if (query->onConflict)
		query->onConflict->exclRelTlist = excluded;
	return result;
}

static bool
move_walker(Node *node, void *context)
{
	Move	   *move = context;

	if (node == NULL)
		return false;
	if (IsA(node, Var))
	{
		Var		   *var = (Var *) node;

		if (var->varlevelsup != (Index) move->level || var->varno != move->from)
			return false;
		if (var->varattno <= 0 || var->varattno > move->known->natts)
			return true;
		if (move->apply)
		{
			var->varno = move->to;
			var->varattno = move->known->attnums[var->varattno - 1];
			var->varnosyn = var->varno;
			var->varattnosyn = var->varattno;
		}
		return false;
	}
	if (IsA(node, CurrentOfExpr))
		return true;
	if (IsA(node, RangeTblRef))
	{
		RangeTblRef *ref = (RangeTblRef *) node;

		if (move->apply && move->level == 0 && ref->rtindex == move->from)
			ref->rtindex = move->to;
		return false;
	}
	if (IsA(node, Query))
	{
		bool		result;

		move->level++;
		result = query_tree_walker((Query *) node, move_walker, move, 0);
		move->level--;
		return result;
	}
	return expression_tree_walker(node, move_walker, move);
}

/*
 * The targets of a statement that writes are numbered as the columns are.
 */
static void
move_targets(List *targets, const KnownView *known)
{
	ListCell   *lc;

	foreach(lc, targets)
	{
		TargetEntry *target = lfirst_node(TargetEntry, lc);

		if (!target->resjunk)
			target->resno = known->attnums[target->resno - 1];
	}
}

static Bitmapset *
move_columns(Bitmapset *columns, const KnownView *known)
{
	Bitmapset  *result = NULL;
	int			member = -1;

	while ((member = bms_next_member(columns, member)) >= 0)
	{
		AttrNumber	attnum = member + FirstLowInvalidHeapAttributeNumber;

		Assert(attnum > 0 && attnum <= known->natts);
		result = bms_add_member(result, known->attnums[attnum - 1] - FirstLowInvalidHeapAttributeNumber);
	}
	return result;
}

/*
 * The names that an entry of the view gives its columns, in the table's order:
 * the same nodes, as there may be many.  Columns that the view does not have
 * get an empty name, as dropped ones do.
 */
static List *
column_names(List *view_names, const KnownView *known, Relation rel)
{
	int			natts = RelationGetDescr(rel)->natts;
	Node	  **names = palloc0_array(Node *, natts);
	List	   *result = NIL;
	ListCell   *lc;

	foreach(lc, view_names)
		names[known->attnums[foreach_current_index(lc)] - 1] = lfirst(lc);
	for (int i = 0; i < natts; i++)
		result = lappend(result, names[i] ? names[i] : (Node *) makeString(pstrdup("")));
	pfree(names);
	return result;
}

/*
 * What is known of a view.  The caller's statement has locked it.
 */
static KnownView *
known_view(Oid view)
{
	bool		found;
	KnownView  *known = hash_search(known_views, &view, HASH_ENTER, &found);

	if (!found)
	{
		known->valid = false;
		known->attnums = NULL;
	}
	if (!known->valid)
		learn_view(known);
	return known;
}

/*
 * Valid from the start: what comes in between says otherwise.
 */
static void
learn_view(KnownView *known)
{
	Relation	rel;
	Oid			table;

	known->table = InvalidOid;
	known->valid = true;
	table = zdm_table_behind_view(known->view);
	if (!OidIsValid(table))
		return;
	rel = table_open(known->view, NoLock);
	if (rel->rd_rules != NULL && rel->rd_rules->numLocks == 1 && rel->trigdesc == NULL &&
		!RelationIsSecurityView(rel) && !RelationHasCheckOption(rel))
	{
		Query	   *query = get_view_query(rel);

		if (view_query_is_auto_updatable(query, false) == NULL &&
			zdm_table_in_query(query) == table && learn_columns(known, rel, query))
		{
			known->table = table;
			known->check_as = RelationHasSecurityInvoker(rel) ? InvalidOid : rel->rd_rel->relowner;
		}
	}
	table_close(rel, NoLock);
}

/*
 * Which column of the table each of the view is.  Returns false where one is
 * not, or has become another in the table.
 */
static bool
learn_columns(KnownView *known, Relation view, Query *query)
{
	TupleDesc	desc = RelationGetDescr(view);
	ListCell   *lc;

	if (known->attnums != NULL)
		pfree(known->attnums);
	known->attnums = MemoryContextAllocZero(TopMemoryContext, sizeof(AttrNumber) * desc->natts);
	known->natts = desc->natts;
	foreach(lc, query->targetList)
	{
		TargetEntry *target = lfirst_node(TargetEntry, lc);
		Var		   *var = (Var *) target->expr;
		Form_pg_attribute attr;

		if (target->resjunk || target->resno > desc->natts || !IsA(var, Var) || var->varattno <= 0)
			return false;
		attr = TupleDescAttr(desc, target->resno - 1);
		if (attr->atttypid != var->vartype || attr->atttypmod != var->vartypmod ||
			attr->attcollation != var->varcollid)
			return false;
		known->attnums[target->resno - 1] = var->varattno;
	}
	return list_length(query->targetList) == desc->natts;
}

static void
forget_view(Datum arg, Oid relid)
{
	HASH_SEQ_STATUS status;
	KnownView  *known;

	if (OidIsValid(relid))
	{
		known = hash_search(known_views, &relid, HASH_FIND, NULL);
		if (known != NULL)
			known->valid = false;
		return;
	}
	hash_seq_init(&status, known_views);
	while ((known = hash_seq_search(&status)) != NULL)
		known->valid = false;
}
