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
 * of functions, rules and policies do not come here, and of a materialized view
 * another copy is stored; the query of CREATE VIEW does, and the utility hook
 * tells of it.
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
#include "utils/rel.h"

#include "hooks/direct_view.h"
#include "hooks/query.h"
#include "util/compat.h"
#include "util/guc.h"

/* What refers to a view's range table entries, and is to refer to others. */
typedef struct Move
{
	const ZdmDirectView *known;
	int			from;
	int			to;
	int			excluded_from;	/* those of ON CONFLICT; 0 without it */
	int			excluded_to;
	int			level;			/* of subqueries that the search is in */
	List	   *references;		/* found so far: Var and RangeTblRef nodes */
} Move;

static post_parse_analyze_hook_type previous_analyze = NULL;

/* The query that is analysed is going to be stored. */
static bool storing_query = false;

static void after_analysis(ParseState *pstate, Query *query, ZdmJumbleState *jstate);
static bool may_have_subqueries(Query *query);
static bool query_walker(Node *node, void *context);
static void look_at_query(Query *query);
static void use_table(Query *query, const ZdmDirectView *known, int index, Relation rel);
static bool find_references(Query *query, Move *move);
static bool reference_walker(Node *node, void *context);
static void move_references(const Move *move);
static RangeTblEntry *table_entry(Query *query, const ZdmDirectView *known, RangeTblEntry *view, Relation rel);
static RangeTblEntry *excluded_entry(const ZdmDirectView *known, RangeTblEntry *view, Relation rel);
static Alias *take_names(RangeTblEntry *view, const ZdmDirectView *known, Relation rel);
static List *column_names(List *view_names, const ZdmDirectView *known, int natts);
static void move_targets(List *targets, const ZdmDirectView *known);
static Bitmapset *move_columns(Bitmapset *columns, const ZdmDirectView *known);

void
zdm_query_init(void)
{
	zdm_direct_views_init();
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
	if (may_have_subqueries(query) && zdm_direct_views_exist())
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
		const ZdmDirectView *known;
		Relation	rel;

		if (rte->rtekind != RTE_RELATION || rte->relkind != RELKIND_VIEW ||
			query->commandType == CMD_MERGE || !zdm_direct_views_exist())
			continue;
		known = zdm_direct_view(rte->relid);
		if (known == NULL)
			continue;
		rel = table_open(known->table, rte->rellockmode);
		/* Something may have changed before the lock. */
		if (zdm_direct_view_is_current(known))
			use_table(query, known, index, rel);
		table_close(rel, NoLock);
	}
}

/*
 * Put the table in the view's place, where everything that the query says of
 * the view can be said of the table.
 */
static void
use_table(Query *query, const ZdmDirectView *known, int index, Relation rel)
{
	RangeTblEntry *view = rt_fetch(index, query->rtable);
	bool		written = query->resultRelation == index;
	Move		move = {.known = known,.from = index};
	ListCell   *lc;

	if (written && query->onConflict != NULL)
		move.excluded_from = query->onConflict->exclRelIndex;
	if (list_length(view->eref->colnames) != known->natts || !find_references(query, &move))
		return;

	query->rtable = lappend(query->rtable, table_entry(query, known, view, rel));
	move.to = list_length(query->rtable);
	if (written)
	{
		query->resultRelation = move.to;
		move_targets(query->targetList, known);
	}
	if (move.excluded_from != 0)
	{
		OnConflictExpr *conflict = query->onConflict;

		query->rtable = lappend(query->rtable, excluded_entry(known, rt_fetch(move.excluded_from, query->rtable), rel));
		move.excluded_to = list_length(query->rtable);
		conflict->exclRelIndex = move.excluded_to;
		conflict->exclRelTlist = BuildOnConflictExcludedTargetlist(rel, move.excluded_to);
	}
	if (written && query->onConflict != NULL)
		move_targets(query->onConflict->onConflictSet, known);
	foreach(lc, query->rowMarks)
	{
		RowMarkClause *mark = lfirst_node(RowMarkClause, lc);

		if (mark->rti == (Index) index)
			mark->rti = move.to;
	}
	move_references(&move);
}

/*
 * Returns false where one of them is to more than a column: the whole row, of
 * the view's type, or the row that a cursor is at.  The list of all columns of
 * the excluded row has a whole row in it, and is made anew.
 */
static bool
find_references(Query *query, Move *move)
{
	int			first = bms_next_member(zdm_permissions(query, rt_fetch(move->from, query->rtable))->selectedCols, -1);
	List	   *excluded = query->onConflict ? query->onConflict->exclRelTlist : NIL;
	bool		found_other;

	if (first >= 0 && first + FirstLowInvalidHeapAttributeNumber <= 0)
		return false;
	if (query->onConflict)
		query->onConflict->exclRelTlist = NIL;
	found_other = query_tree_walker(query, reference_walker, move, 0);
	if (query->onConflict)
		query->onConflict->exclRelTlist = excluded;
	return !found_other;
}

static bool
reference_walker(Node *node, void *context)
{
	Move	   *move = context;

	if (node == NULL)
		return false;
	if (IsA(node, Var))
	{
		Var		   *var = (Var *) node;

		if (var->varlevelsup != (Index) move->level ||
			(var->varno != move->from && var->varno != move->excluded_from))
			return false;
		if (var->varattno <= 0 || var->varattno > move->known->natts)
			return true;
		move->references = lappend(move->references, var);
		return false;
	}
	if (IsA(node, RangeTblRef))
	{
		if (move->level == 0 && ((RangeTblRef *) node)->rtindex == move->from)
			move->references = lappend(move->references, node);
		return false;
	}
	if (IsA(node, CurrentOfExpr))
		return true;
	if (IsA(node, Query))
	{
		bool		result;

		move->level++;
		result = query_tree_walker((Query *) node, reference_walker, move, 0);
		move->level--;
		return result;
	}
	return expression_tree_walker(node, reference_walker, move);
}

/*
 * A node that stands in two places has been found twice.
 */
static void
move_references(const Move *move)
{
	ListCell   *lc;

	foreach(lc, move->references)
	{
		Var		   *var = lfirst(lc);

		if (IsA(var, RangeTblRef))
			((RangeTblRef *) var)->rtindex = move->to;
		else if (var->varno == move->from || var->varno == move->excluded_from)
		{
			var->varno = var->varno == move->from ? move->to : move->excluded_to;
			var->varattno = move->known->attnums[var->varattno - 1];
			var->varnosyn = var->varno;
			var->varattnosyn = var->varattno;
		}
	}
}

/*
 * The table's entry, to be checked for what the view's is.
 */
static RangeTblEntry *
table_entry(Query *query, const ZdmDirectView *known, RangeTblEntry *view, Relation rel)
{
	RangeTblEntry *rte = makeNode(RangeTblEntry);
	ZdmPermissions *has = zdm_permissions(query, view);
	ZdmPermissions *permissions;

	rte->rtekind = RTE_RELATION;
	rte->relid = RelationGetRelid(rel);
	rte->relkind = rel->rd_rel->relkind;
	rte->rellockmode = view->rellockmode;
	rte->eref = take_names(view, known, rel);
	/* As in a query by the table's name without ONLY, which no view heeds. */
	rte->inh = query->commandType != CMD_INSERT ||
		view != rt_fetch(query->resultRelation, query->rtable);
	view->inh = false;
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
static RangeTblEntry *
excluded_entry(const ZdmDirectView *known, RangeTblEntry *view, Relation rel)
{
	RangeTblEntry *rte = makeNode(RangeTblEntry);

	rte->rtekind = RTE_RELATION;
	rte->relid = RelationGetRelid(rel);
	rte->relkind = view->relkind;
	rte->rellockmode = view->rellockmode;
	rte->eref = take_names(view, known, rel);
	return rte;
}

/*
 * The names that an entry of the view has, in the table's order.  Nothing refers
 * to the view's columns any more, so it keeps none.
 */
static Alias *
take_names(RangeTblEntry *view, const ZdmDirectView *known, Relation rel)
{
	Alias	   *names = view->eref;

	view->eref = makeAlias(names->aliasname, NIL);
	if (!known->same_numbers || RelationGetNumberOfAttributes(rel) != known->natts)
		names->colnames = column_names(names->colnames, known, RelationGetNumberOfAttributes(rel));
	return names;
}

/*
 * Columns that the view does not have get an empty name, as dropped ones do.
 */
static List *
column_names(List *view_names, const ZdmDirectView *known, int natts)
{
	void	  **names = palloc(natts * sizeof(void *));
	void	   *none = makeString(pstrdup(""));
	List	   *result = NIL;
	ListCell   *lc;

	for (int i = 0; i < natts; i++)
		names[i] = none;
	foreach(lc, view_names)
		names[known->attnums[foreach_current_index(lc)] - 1] = lfirst(lc);
	for (int i = 0; i < natts; i++)
		result = lappend(result, names[i]);
	return result;
}

/*
 * The targets of a statement that writes are numbered as the columns are.
 */
static void
move_targets(List *targets, const ZdmDirectView *known)
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
move_columns(Bitmapset *columns, const ZdmDirectView *known)
{
	Bitmapset  *result = NULL;
	int			member = -1;

	if (known->same_numbers)
		return bms_copy(columns);
	while ((member = bms_next_member(columns, member)) >= 0)
	{
		AttrNumber	attnum = member + FirstLowInvalidHeapAttributeNumber;

		Assert(attnum > 0 && attnum <= known->natts);
		result = bms_add_member(result, known->attnums[attnum - 1] - FirstLowInvalidHeapAttributeNumber);
	}
	return result;
}
