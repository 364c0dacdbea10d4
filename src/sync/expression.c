/*-------------------------------------------------------------------------
 *
 * expression.c
 *	  Expressions over the columns of one table: up, down, fill.
 *
 * The text that a user gives is resolved once, at expand, under his own
 * search_path, and stored as PostgreSQL deparses it under an empty one: every
 * function, operator and type with its schema.  From then on it means the
 * same in every session.  It may use what a generated column's expression may
 * use: immutable or, other than there, stable functions of the row's columns.
 * What fills a column may be volatile, too: it is evaluated once for a row.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "nodes/makefuncs.h"
#include "nodes/parsenodes.h"
#include "nodes/plannodes.h"
#include "optimizer/optimizer.h"
#include "parser/parse_coerce.h"
#include "parser/parse_collate.h"
#include "parser/parse_expr.h"
#include "parser/parse_node.h"
#include "parser/parse_relation.h"
#include "parser/parser.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/ruleutils.h"

#include "sync/expression.h"
#include "util/compat.h"
#include "util/ident.h"
#include "util/spi.h"

/* For the context callback: which expression an error position is in. */
typedef struct ExpressionSource
{
	const char *sql;
	const char *argument;
} ExpressionSource;

static Node *finish_parse(ParseState *pstate, Node *expr, Form_pg_attribute target,
						  const char *argument);
static Node *find_column(ParseState *pstate, ColumnRef *ref);
static void expression_error(void *arg);
static Node *raw_expression(const char *sql, const char *argument);
static char *stored_text(Relation rel, Node *expr);
static void check_columns(TupleDesc desc, Node *expr, const char *argument,
						  List *allowed);
static void check_volatile(Node *expr, const char *sql, const char *argument);

/*
 * Parse an expression over the table's columns and coerce it to the type of
 * the target column.  argument names it in errors ("up", "down").  Names are
 * looked up under the current search_path.
 */
Node *
zdm_expression_parse(Relation rel, const char *sql, const char *argument,
					 AttrNumber target)
{
	return zdm_expression_parse_for(rel, sql, argument,
									TupleDescAttr(RelationGetDescr(rel), target - 1));
}

/*
 * The same for a column that need not be one of the table's yet: of attr, its
 * name, type and modifier are used.
 */
Node *
zdm_expression_parse_for(Relation rel, const char *sql, const char *argument,
						 Form_pg_attribute attr)
{
	ExpressionSource source = {.sql = sql,.argument = argument};
	ErrorContextCallback callback = {
		.callback = expression_error,
		.arg = &source,
		.previous = error_context_stack,
	};
	ParseState *pstate = make_parsestate(NULL);
	ParseNamespaceItem *nsitem;
	Node	   *expr;

	error_context_stack = &callback;
	pstate->p_sourcetext = sql;
	nsitem = addRangeTableEntryForRelation(pstate, rel, AccessShareLock, NULL,
										   false, true);
	addNSItemToQuery(pstate, nsitem, true, true, true);

	expr = transformExpr(pstate, raw_expression(sql, argument),
						 EXPR_KIND_GENERATED_COLUMN);
	expr = finish_parse(pstate, expr, attr, argument);
	error_context_stack = callback.previous;
	return expr;
}

/*
 * The same over columns as they are described, which need not be as the table
 * has them now: what a name stands for, and of which type it is, the
 * description says alone.  target 0: of whatever type it is.
 */
Node *
zdm_expression_parse_as(TupleDesc desc, const char *sql, const char *argument,
						AttrNumber target)
{
	ExpressionSource source = {.sql = sql,.argument = argument};
	ErrorContextCallback callback = {
		.callback = expression_error,
		.arg = &source,
		.previous = error_context_stack,
	};
	ParseState *pstate = make_parsestate(NULL);
	Node	   *expr;

	error_context_stack = &callback;
	pstate->p_sourcetext = sql;
	pstate->p_pre_columnref_hook = find_column;
	pstate->p_ref_hook_state = desc;
	expr = transformExpr(pstate, raw_expression(sql, argument),
						 EXPR_KIND_GENERATED_COLUMN);
	expr = finish_parse(pstate, expr,
						target > 0 ? TupleDescAttr(desc, target - 1) : NULL, argument);
	error_context_stack = callback.previous;
	return expr;
}

static Node *
find_column(ParseState *pstate, ColumnRef *ref)
{
	TupleDesc	desc = pstate->p_ref_hook_state;

	/* t.a, where t can only be the table. */
	if (list_length(ref->fields) > 2 || !IsA(llast(ref->fields), String))
		return NULL;
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute attr = TupleDescAttr(desc, i);

		if (!attr->attisdropped && strcmp(NameStr(attr->attname), strVal(llast(ref->fields))) == 0)
			return (Node *) makeVar(1, attr->attnum, attr->atttypid, attr->atttypmod,
									attr->attcollation, 0);
	}
	return NULL;
}

static Node *
finish_parse(ParseState *pstate, Node *expr, Form_pg_attribute target,
			 const char *argument)
{
	Oid			type = exprType(expr);

	if (target != NULL)
	{
		expr = coerce_to_target_type(pstate, expr, type, target->atttypid,
									 target->atttypmod, COERCION_ASSIGNMENT,
									 COERCE_IMPLICIT_CAST, -1);
		if (expr == NULL)
			ereport(ERROR,
					errcode(ERRCODE_DATATYPE_MISMATCH),
					errmsg("expression \"%s\" is of type %s, but column \"%s\" is of type %s",
						   argument, format_type_be(type), NameStr(target->attname),
						   format_type_be(target->atttypid)),
					errhint("Cast it in the expression."));
	}
	assign_expr_collations(pstate, expr);
	free_parsestate(pstate);
	return expr;
}

/*
 * An expression's text, fully qualified, in the current memory context: with
 * the names that the description gives the columns.
 */
char *
zdm_expression_text(TupleDesc desc, Node *expr)
{
	PlannedStmt *stmt = makeNode(PlannedStmt);
	RangeTblEntry *rte = makeNode(RangeTblEntry);
	List	   *names = NIL;
	ZdmIdentity saved;
	char	   *result;

	/* The deparser takes names from here for whatever is no table. */
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute attr = TupleDescAttr(desc, i);

		names = lappend(names, makeString(attr->attisdropped ? pstrdup("")
										  : pstrdup(NameStr(attr->attname))));
	}
	rte->rtekind = RTE_VALUES;
	rte->eref = makeAlias("t", names);
	stmt->rtable = list_make1(rte);
	zdm_pin_path(&saved);
	zdm_pin_style();
	result = deparse_expression(expr, deparse_context_for_plan_tree(stmt, list_make1(pstrdup("t"))),
								false, false);
	zdm_unbecome(&saved);
	return result;
}

/*
 * The text of an expression without columns, as a default is, that means the
 * same under any settings.
 */
char *
zdm_default_text(Node *expr)
{
	ZdmIdentity saved;
	char	   *result;

	zdm_pin_path(&saved);
	zdm_pin_style();
	result = deparse_expression(expr, NIL, false, false);
	zdm_unbecome(&saved);
	return result;
}

/*
 * The raw parse tree of the text, which must be one expression and no more.
 */
static Node *
raw_expression(const char *sql, const char *argument)
{
	List	   *raw = raw_parser(sql, RAW_PARSE_PLPGSQL_EXPR);
	SelectStmt *select;
	ResTarget  *target;

	select = castNode(SelectStmt, linitial_node(RawStmt, raw)->stmt);
	if (list_length(select->targetList) != 1 || select->fromClause != NIL ||
		select->whereClause != NULL || select->groupClause != NIL ||
		select->havingClause != NULL || select->windowClause != NIL ||
		select->distinctClause != NIL || select->sortClause != NIL ||
		select->limitCount != NULL || select->limitOffset != NULL ||
		select->lockingClause != NIL || select->withClause != NULL ||
		select->op != SETOP_NONE)
		ereport(ERROR,
				errcode(ERRCODE_SYNTAX_ERROR),
				errmsg("\"%s\" must be one expression", argument),
				errhint("Write an expression over the row's columns, without SELECT and FROM."));
	target = linitial_node(ResTarget, select->targetList);
	if (target->name != NULL)
		ereport(ERROR,
				errcode(ERRCODE_SYNTAX_ERROR),
				errmsg("\"%s\" must be one expression without a name", argument),
				errhint("Leave out AS."));
	if (IsA(target->val, ColumnRef) &&
		IsA(llast(castNode(ColumnRef, target->val)->fields), A_Star))
		ereport(ERROR,
				errcode(ERRCODE_SYNTAX_ERROR),
				errmsg("\"%s\" must be one expression", argument),
				errhint("Name a column."));
	return target->val;
}

/*
 * Move an error's position from the statement that called us into the
 * expression, and say which argument it is.
 */
static void
expression_error(void *arg)
{
	ExpressionSource *source = arg;
	int			position = geterrposition();

	if (position > 0)
	{
		errposition(0);
		internalerrposition(position);
		internalerrquery(source->sql);
	}
	errcontext("expression \"%s\" of a zdm migration", source->argument);
}

/*
 * Check an expression that the user gave for the target column, and return it
 * as it is stored: fully qualified, in the current memory context.  It may
 * refer to the allowed columns only (char *; NIL allows all).
 */
char *
zdm_expression_check(Relation rel, const char *sql, const char *argument,
					 const char *target, List *allowed)
{
	AttrNumber	attnum = get_attnum(RelationGetRelid(rel), target);
	Node	   *expr = zdm_expression_parse(rel, sql, argument, attnum);

	check_columns(RelationGetDescr(rel), expr, argument, allowed);
	check_volatile(expr, sql, argument);
	return stored_text(rel, expr);
}

/*
 * The same for an expression that fills a column, described by attr as above,
 * which may be volatile.
 */
char *
zdm_expression_check_fill(Relation rel, const char *sql, const char *argument,
						  Form_pg_attribute attr)
{
	Node	   *expr = zdm_expression_parse_for(rel, sql, argument, attr);

	check_columns(RelationGetDescr(rel), expr, argument, NIL);
	return stored_text(rel, expr);
}

static char *
stored_text(Relation rel, Node *expr)
{
	ZdmIdentity saved;
	List	   *context;
	char	   *result;

	zdm_pin_path(&saved);
	zdm_pin_style();
	context = deparse_context_for(RelationGetRelationName(rel),
								  RelationGetRelid(rel));
	result = deparse_expression(expr, context, false, false);
	zdm_unbecome(&saved);
	return result;
}

/*
 * The same over columns as they are described: the expression, checked.
 */
Node *
zdm_expression_check_as(TupleDesc desc, const char *sql, const char *argument,
						AttrNumber target, List *allowed)
{
	Node	   *expr = zdm_expression_parse_as(desc, sql, argument, target);

	check_columns(desc, expr, argument, allowed);
	check_volatile(expr, sql, argument);
	return expr;
}

static void
check_volatile(Node *expr, const char *sql, const char *argument)
{
	if (contain_volatile_functions(expr))
		ereport(ERROR,
				errcode(ERRCODE_INVALID_OBJECT_DEFINITION),
				errmsg("expression \"%s\" uses a volatile function", argument),
				errdetail("The expression is evaluated by every writer and again by the backfill and the verification; all must find the same value: %s",
						  sql),
				errhint("Use immutable or stable functions of the row's columns."));
}

static void
check_columns(TupleDesc desc, Node *expr, const char *argument, List *allowed)
{
	List	   *vars = pull_var_clause(expr, 0);
	ListCell   *lc;

	foreach(lc, vars)
	{
		Var		   *var = lfirst_node(Var, lc);
		Form_pg_attribute attr;
		bool		found = (allowed == NIL);
		ListCell   *name;

		if (var->varattno <= 0)
			ereport(ERROR,
					errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					errmsg("expression \"%s\" refers to a whole row or a system column",
						   argument),
					errhint("Name the columns."));
		attr = TupleDescAttr(desc, var->varattno - 1);
		foreach(name, allowed)
		{
			if (namestrcmp(&attr->attname, lfirst(name)) == 0)
				found = true;
		}
		if (!found)
			ereport(ERROR,
					errcode(ERRCODE_INVALID_COLUMN_REFERENCE),
					errmsg("expression \"%s\" refers to column \"%s\"", argument,
						   NameStr(attr->attname)),
					errhint("It may refer to %s.", zdm_names_text(allowed)));
		if (attr->attgenerated)
			ereport(ERROR,
					errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					errmsg("expression \"%s\" refers to generated column \"%s\"",
						   argument, NameStr(attr->attname)),
					errdetail("A generated column is computed after the sync trigger has run."),
					errhint("Write the generated column's own expression instead."));
	}
}

/*
 * The names (char *) of the columns that a stored expression refers to.
 */
List *
zdm_expression_columns(Relation rel, const char *sql)
{
	ParseState *pstate = make_parsestate(NULL);
	ParseNamespaceItem *nsitem;
	Node	   *expr;
	List	   *result = NIL;
	ListCell   *lc;

	nsitem = addRangeTableEntryForRelation(pstate, rel, AccessShareLock, NULL,
										   false, true);
	addNSItemToQuery(pstate, nsitem, true, true, true);
	expr = transformExpr(pstate, raw_expression(sql, "up"), EXPR_KIND_GENERATED_COLUMN);
	foreach(lc, pull_var_clause(expr, 0))
	{
		AttrNumber	attnum = lfirst_node(Var, lc)->varattno;

		if (attnum > 0)
			result = lappend(result, pstrdup(NameStr(TupleDescAttr(RelationGetDescr(rel), attnum - 1)->attname)));
	}
	free_parsestate(pstate);
	return result;
}
