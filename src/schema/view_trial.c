/*-------------------------------------------------------------------------
 *
 * view_trial.c
 *	  Whether what is over a column still makes sense over another type.
 *
 * A definition is parsed with something else in the place of the table: a
 * subquery that has the table's columns, but for those whose type changes,
 * which are NULLs of the new type; and in the place of a view over it, that
 * view's definition with the same done to it.  Nothing is created for that,
 * and nothing locked beyond the question.
 *
 * A subquery is not a table: what needs the table's key (GROUP BY it alone), its
 * system columns or the type of its rows cannot be tried like this.  So where a
 * definition fails, it is tried with the old type as well; if that fails, too,
 * the trial says nothing, and the server will when the view is made again.
 *
 * The names of columns that are given by place, FROM t AS x (a, b), are found
 * on the way: the columns will be in other places.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "executor/executor.h"
#include "nodes/makefuncs.h"
#include "nodes/parsenodes.h"
#include "parser/analyze.h"
#include "parser/parser.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

#include "schema/depend.h"
#include "schema/relation.h"
#include "schema/twin.h"
#include "schema/user_view.h"
#include "schema/view_trial.h"
#include "sync/expression.h"
#include "util/compat.h"
#include "util/ident.h"
#include "util/spi.h"

/* What stands in for a relation. */
typedef struct Stand
{
	Oid			relation;
	List	   *columns;		/* their names (String *) */
	Node	   *query;			/* raw, or NULL: the relation itself */
	bool		moves;			/* its columns will be in other places */
} Stand;

typedef struct Stands
{
	List	   *known;			/* of Stand * */
	List	   *made;			/* subqueries that are in place already */
	const char *kept;			/* texts of views, see user_view.h */
	int			moving;			/* how many of them are of what moves */
	bool		by_place;		/* one has names by place */
} Stands;

/* A definition that is tried. */
typedef struct Trial
{
	Node	   *query;
	char	   *sql;
	Oid			owner;
	TupleDesc	desc;			/* its columns */
} Trial;

/* A default of one of its columns. */
typedef struct DefaultTrial
{
	TupleDesc	desc;
	AttrNumber	attnum;
	char	   *sql;
} DefaultTrial;

static Stands *stands_of(List *pairs, const ZdmType *type, bool moved);
static Stand *table_stand(List *pairs, Oid relid, const ZdmType *type, bool moved);
static Node *raw_query(const char *sql);
static bool substitute(Node *node, void *arg);
static Node *stand_in(Node *node, Stands *stands);
static Node *definition(Oid view, Stands *stands);
static void try_view(Oid view, Stands *now, Stands *later, List **result);
static void analyze_query(void *arg);
static void try_defaults(Oid view, TupleDesc desc, List **result);
static void parse_default(void *arg);
static void try_rule(Oid rule, Stands *stands, List **result);
static bool rule_by_place(const char *sql, Stands *stands);
static List *column_names(Oid relid);

/*
 * Add lines about views, and rules, that could not be made over columns of the
 * type.  pairs: with those of the partitions.  moved: the columns will be in
 * other places.
 */
List *
zdm_view_trial(List *pairs, const ZdmType *type, bool moved, List *views,
			   List *rules, const char *kept, List *result)
{
	Stands	   *now = stands_of(pairs, NULL, moved);
	Stands	   *later = stands_of(pairs, type, moved);
	ListCell   *lc;

	now->kept = later->kept = kept;
	foreach(lc, views)
		try_view(lfirst_oid(lc), now, later, &result);
	foreach(lc, rules)
		try_rule(lfirst_oid(lc), later, &result);
	return result;
}

/*
 * Why an expression over a table's columns, which may have subqueries, could not
 * be over columns of the type; NULL where it could.
 */
char *
zdm_expression_trial(List *pairs, const ZdmType *type, Oid relid, const char *expr)
{
	char	   *sql = psprintf("SELECT %s FROM %s", expr, zdm_quote_relation(relid));
	Stands	   *stands = stands_of(pairs, type, true);
	Trial		trial = {.sql = sql,.owner = zdm_table_owner(relid)};
	ErrorData  *error;
	ErrorData  *ignored;

	trial.query = raw_query(sql);
	(void) substitute(trial.query, stands);
	if (stands->by_place)
		return pstrdup("it gives names to the table's columns by their places, which change");
	if (zdm_question(analyze_query, &trial, &error))
		return NULL;
	trial.query = raw_query(sql);
	(void) substitute(trial.query, stands_of(pairs, NULL, true));
	return zdm_question(analyze_query, &trial, &ignored) ? error->message : NULL;
}

static Stands *
stands_of(List *pairs, const ZdmType *type, bool moved)
{
	Stands	   *result = palloc0_object(Stands);
	ListCell   *lc;

	foreach(lc, zdm_pair_tables(pairs))
		result->known = lappend(result->known, table_stand(pairs, lfirst_oid(lc), type, moved));
	return result;
}

/*
 * The columns that change are of the type, by the one that is there already
 * where there is one; with no type, as they are now.
 */
static Stand *
table_stand(List *pairs, Oid relid, const ZdmType *type, bool moved)
{
	Relation	rel = table_open(relid, AccessShareLock);
	TupleDesc	desc = RelationGetDescr(rel);
	Stand	   *stand = palloc0_object(Stand);
	StringInfoData sql;

	initStringInfo(&sql);
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute attr = TupleDescAttr(desc, i);
		const char *name = quote_identifier(NameStr(attr->attname));
		ZdmType		of = {.oid = InvalidOid};
		bool		twin = attr->attisdropped;
		ListCell   *lc;

		foreach(lc, pairs)
		{
			ZdmPair    *pair = lfirst(lc);

			if (pair->relation != relid)
				continue;
			twin |= strcmp(pair->to, NameStr(attr->attname)) == 0;
			if (strcmp(pair->from, NameStr(attr->attname)) != 0)
				continue;
			if (type == NULL)
				zdm_type_of(RelationGetRelid(rel), pair->from, &of);
			else if (get_attnum(relid, pair->to) > 0)
				zdm_type_of(RelationGetRelid(rel), pair->to, &of);
			else
				of = *type;
		}
		if (twin)
			continue;
		stand->columns = lappend(stand->columns, makeString(pstrdup(NameStr(attr->attname))));
		if (OidIsValid(of.oid))
			appendStringInfo(&sql, "%sCAST(NULL AS %s)%s AS %s", sql.len ? ", " : "",
							 zdm_type_text(&of), zdm_collation_clause(of.collation), name);
		else
			appendStringInfo(&sql, "%s%s", sql.len ? ", " : "", name);
	}
	stand->relation = relid;
	stand->moves = moved;
	stand->query = raw_query(psprintf("SELECT %s FROM %s", sql.data, zdm_quote_relation(relid)));
	table_close(rel, AccessShareLock);
	return stand;
}

static Node *
raw_query(const char *sql)
{
	return linitial_node(RawStmt, raw_parser(sql, RAW_PARSE_DEFAULT))->stmt;
}

/*
 * Put what stands in for them in the relations' places.
 */
static bool
substitute(Node *node, void *arg)
{
	Stands	   *stands = arg;
	ListCell   *lc;

	if (node == NULL || list_member_ptr(stands->made, node))
		return false;
	if (IsA(node, SelectStmt))
	{
		foreach(lc, ((SelectStmt *) node)->fromClause)
			lfirst(lc) = stand_in(lfirst(lc), stands);
	}
	else if (IsA(node, UpdateStmt))
	{
		foreach(lc, ((UpdateStmt *) node)->fromClause)
			lfirst(lc) = stand_in(lfirst(lc), stands);
	}
	else if (IsA(node, DeleteStmt))
	{
		foreach(lc, ((DeleteStmt *) node)->usingClause)
			lfirst(lc) = stand_in(lfirst(lc), stands);
	}
	else if (IsA(node, JoinExpr))
	{
		JoinExpr   *join = (JoinExpr *) node;
		int			before = stands->moving;

		join->larg = stand_in(join->larg, stands);
		join->rarg = stand_in(join->rarg, stands);
		if (raw_expression_tree_walker(node, substitute, arg))
			return true;
		if (join->alias != NULL && join->alias->colnames != NIL && stands->moving > before)
			stands->by_place = true;
		return false;
	}
	return raw_expression_tree_walker(node, substitute, arg);
}

static Node *
stand_in(Node *node, Stands *stands)
{
	RangeVar   *name = (RangeVar *) node;
	RangeSubselect *made;
	Stand	   *stand = NULL;
	Oid			relid;
	ListCell   *lc;

	/* A name without a schema is that of a WITH query. */
	if (!IsA(node, RangeVar) || name->schemaname == NULL)
		return node;
	relid = RangeVarGetRelid(name, NoLock, true);
	foreach(lc, stands->known)
	{
		if (((Stand *) lfirst(lc))->relation == relid)
			stand = lfirst(lc);
	}
	if (stand == NULL || stand->query == NULL)
		return node;
	if (stand->moves)
	{
		stands->moving++;
		if (name->alias != NULL && name->alias->colnames != NIL)
			stands->by_place = true;
	}
	made = makeNode(RangeSubselect);
	made->subquery = zdm_copy_node(stand->query);
	made->alias = name->alias ? name->alias : makeAlias(name->relname, NIL);
	if (made->alias->colnames == NIL)
		made->alias->colnames = zdm_copy_node(stand->columns);
	stands->made = lappend(stands->made, made);
	return (Node *) made;
}

/*
 * A view's definition over what stands in for others; from then on it stands
 * in for the view.
 */
static Node *
definition(Oid view, Stands *stands)
{
	Stand	   *stand = palloc0_object(Stand);

	stand->query = raw_query(linitial(zdm_query_strings("SELECT " ZDM_KEPT_TEXT("$2") " FROM pg_catalog.pg_rewrite r"
														" WHERE r.ev_class = $1 AND r.rulename = '_RETURN'",
														ZDM_ARGS(ZDM_ARG(OIDOID, ObjectIdGetDatum(view)),
																 zdm_arg_text(stands->kept)))));
	(void) substitute(stand->query, stands);
	stand->relation = view;
	stand->columns = column_names(view);
	stands->known = lappend(stands->known, stand);
	return zdm_copy_node(stand->query);
}

static List *
column_names(Oid relid)
{
	List	   *result = NIL;
	ListCell   *lc;

	foreach(lc, zdm_query_strings("SELECT a.attname::pg_catalog.text FROM pg_catalog.pg_attribute a"
								  " WHERE a.attrelid = $1 AND a.attnum > 0 ORDER BY a.attnum",
								  ZDM_ARGS(ZDM_ARG(OIDOID, ObjectIdGetDatum(relid)))))
		result = lappend(result, makeString(lfirst(lc)));
	return result;
}

static void
try_view(Oid view, Stands *now, Stands *later, List **result)
{
	Trial		trial = {.sql = pstrdup(""),.owner = zdm_table_owner(view)};
	ErrorData  *error;
	ErrorData  *ignored;

	later->by_place = false;
	trial.query = definition(view, later);
	if (later->by_place)
		*result = zdm_add_line(*result,
							   psprintf("view %s gives names to the table's columns by their places, which change",
										zdm_quote_relation(view)));
	if (zdm_question(analyze_query, &trial, &error))
	{
		try_defaults(view, trial.desc, result);
		(void) definition(view, now);
		return;
	}
	trial.query = definition(view, now);
	if (zdm_question(analyze_query, &trial, &ignored))
		*result = zdm_add_line(*result,
							   psprintf("view %s: %s", zdm_quote_relation(view), error->message));
}

static void
analyze_query(void *arg)
{
	Trial	   *trial = arg;
	RawStmt    *raw = makeNode(RawStmt);
	ZdmIdentity saved;

	raw->stmt = trial->query;
	zdm_become(trial->owner, &saved);
	zdm_pin_style();
	trial->desc = ExecCleanTypeFromTL(parse_analyze_fixedparams(raw, trial->sql, NULL, 0, NULL)->targetList);
	zdm_unbecome(&saved);
}

/*
 * The defaults of a view's own columns.
 */
static void
try_defaults(Oid view, TupleDesc desc, List **result)
{
	ListCell   *lc;

	foreach(lc, zdm_query_strings("SELECT pg_catalog.concat(f.adnum, ' ', pg_catalog.pg_get_expr(f.adbin, f.adrelid))"
								  " FROM pg_catalog.pg_attrdef f WHERE f.adrelid = $1 ORDER BY f.adnum",
								  ZDM_ARGS(ZDM_ARG(OIDOID, ObjectIdGetDatum(view)))))
	{
		DefaultTrial trial = {.desc = desc,.attnum = (AttrNumber) atoi(lfirst(lc))};
		ErrorData  *error;

		trial.sql = strchr(lfirst(lc), ' ') + 1;
		if (!zdm_question(parse_default, &trial, &error))
			*result = zdm_add_line(*result,
								   psprintf("default of column %s of view %s: %s",
											get_attname(view, trial.attnum, false),
											zdm_quote_relation(view), error->message));
	}
}

static void
parse_default(void *arg)
{
	DefaultTrial *trial = arg;
	ZdmIdentity saved;

	zdm_pin_path(&saved);
	zdm_pin_style();
	(void) zdm_expression_parse_as(trial->desc, trial->sql, trial->sql, trial->attnum);
	zdm_unbecome(&saved);
}

/*
 * A rule's actions are not tried, only looked at.
 */
static void
try_rule(Oid rule, Stands *stands, List **result)
{
	List	   *texts = zdm_query_strings("SELECT t.text FROM (VALUES"
										  " (1, pg_catalog.pg_get_ruledef($1)),"
										  " (2, pg_catalog.pg_describe_object('pg_catalog.pg_rewrite'::pg_catalog.regclass, $1, 0)))"
										  " t(place, text) ORDER BY t.place",
										  ZDM_ARGS(ZDM_ARG(OIDOID, ObjectIdGetDatum(rule))));

	if (rule_by_place(linitial(texts), stands))
		*result = zdm_add_line(*result, psprintf("%s gives names to the table's columns by their places, which change",
												 (char *) lsecond(texts)));
}

static bool
rule_by_place(const char *sql, Stands *stands)
{
	RuleStmt   *rule = (RuleStmt *) raw_query(sql);
	ListCell   *lc;

	stands->by_place = false;
	(void) substitute(rule->whereClause, stands);
	foreach(lc, rule->actions)
	{
		/* The others name no columns. */
		if (IsA(lfirst(lc), SelectStmt) || IsA(lfirst(lc), InsertStmt) ||
			IsA(lfirst(lc), UpdateStmt) || IsA(lfirst(lc), DeleteStmt))
			(void) substitute(lfirst(lc), stands);
	}
	return stands->by_place;
}
