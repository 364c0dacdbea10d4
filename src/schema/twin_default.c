/*-------------------------------------------------------------------------
 *
 * twin_default.c
 *	  The default of a column whose type changes.
 *
 * The new default is what the conversion makes of the old one: a row that
 * leaves the column out gets the same before and after.  So the old default is
 * put into the expression in the column's place; what comes of that without a
 * row and without a clock is written as a constant.  Where the conversion is the
 * server's own assignment, the text of the old default will do: the server
 * assigns it.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "catalog/pg_class.h"
#include "optimizer/optimizer.h"
#include "rewrite/rewriteHandler.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "catalog/step.h"
#include "schema/twin.h"
#include "schema/twin_default.h"
#include "sync/expression.h"
#include "util/compat.h"
#include "util/ident.h"
#include "util/spi.h"

/* A column's default made to another's. */
typedef struct Made
{
	Oid			relid;
	const char *from;
	const char *to;
	const char *convert;
	const ZdmType *type;		/* of one that is not there yet, or NULL */
	char	   *text;
} Made;

/* The default in the column's place. */
typedef struct Placement
{
	AttrNumber	column;
	Node	   *value;
	int			times;
	AttrNumber	other;			/* a column besides, or 0 */
} Placement;

static char *default_text(Oid relid, const char *column);
static char *made_default(Oid relid, const char *from, const char *to,
						  const char *convert, const ZdmType *type);
static void make_default(void *arg);
static Node *placed(Relation rel, TupleDesc desc, Made *made);
static Node *place(Node *node, void *arg);
static bool taken_away(Oid relid, const ZdmPair *pair);
static bool stays(Oid relid, const ZdmPair *pair);

/*
 * Why the column's default cannot be carried over, NULL where it can.
 */
char *
zdm_twin_default_limit(Oid relid, const ZdmPair *pair, const ZdmType *type)
{
	Made		made = {.relid = relid,.from = pair->from,.to = pair->to,.convert = pair->convert};
	ErrorData  *error;

	made.type = get_attnum(relid, pair->to) > 0 ? NULL : type;
	if (default_text(relid, pair->from) == NULL || zdm_attempt(make_default, &made, &error))
		return NULL;
	return psprintf("default of column %s of table %s: %s (ALTER COLUMN ... DROP DEFAULT first)",
					pair->from, zdm_relation_label(relid), error->message);
}

/*
 * The steps that give the second column the default.  With keep the first one
 * keeps its own as well, but for a volatile one, which would be drawn twice for
 * a row.
 */
List *
zdm_twin_default_steps(Oid relid, const ZdmPair *pair, bool keep)
{
	const char *table = psprintf("ALTER TABLE %s%s ALTER COLUMN",
								 get_rel_relkind(relid) == RELKIND_PARTITIONED_TABLE ? "ONLY " : "",
								 zdm_quote_relation(relid));
	List	   *steps = NIL;

	if (default_text(relid, pair->from) == NULL)
		return taken_away(relid, pair)
			? list_make1(zdm_step_on(relid, ZDM_STEP_DDL, AccessExclusiveLock, "drop the default",
									 psprintf("%s %s DROP DEFAULT", table, quote_identifier(pair->to))))
			: NIL;
	/* In a dry run there is no second column, and the check has made it. */
	if (!stays(relid, pair))
		steps = lappend(steps, zdm_step_on(relid, ZDM_STEP_DDL, AccessExclusiveLock, "move the default",
										   psprintf("%s %s SET DEFAULT %s", table, quote_identifier(pair->to),
													made_default(relid, pair->from, pair->to, pair->convert, pair->type))));
	if (!keep || zdm_default_is_volatile(relid, pair->from))
		steps = lappend(steps, zdm_step_on(relid, ZDM_STEP_DDL, AccessExclusiveLock, "move the default",
										   psprintf("%s %s DROP DEFAULT", table, quote_identifier(pair->from))));
	return steps;
}

/*
 * On the way back from a quarantine the column has still the default that it
 * had, and what was made of that is there unless somebody has changed it.
 */
static bool
stays(Oid relid, const ZdmPair *pair)
{
	char	   *own = default_text(relid, pair->to);

	return own != NULL && pair->back != NULL &&
		strcmp(made_default(relid, pair->to, pair->from, pair->back, NULL),
			   default_text(relid, pair->from)) == 0;
}

/*
 * Whether somebody has dropped in the quarantine what was made of the default.
 */
static bool
taken_away(Oid relid, const ZdmPair *pair)
{
	return pair->contracted && default_text(relid, pair->to) != NULL;
}

/*
 * NULL where there is none, or one that is no default proper.
 */
static char *
default_text(Oid relid, const char *column)
{
	static const char *const sql =
		"SELECT pg_catalog.pg_get_expr(d.adbin, d.adrelid) FROM pg_catalog.pg_attrdef d"
		" JOIN pg_catalog.pg_attribute a ON a.attrelid = d.adrelid AND a.attnum = d.adnum"
		" WHERE a.attrelid = $1 AND a.attname = $2 AND a.attidentity = '' AND a.attgenerated = ''";
	List	   *texts = zdm_query_strings(sql, ZDM_ARGS(ZDM_ARG(OIDOID, ObjectIdGetDatum(relid)),
														zdm_arg_name(column)));

	return texts ? linitial(texts) : NULL;
}

static char *
made_default(Oid relid, const char *from, const char *to, const char *convert,
			 const ZdmType *type)
{
	Made		made = {.relid = relid,.from = from,.to = to,.convert = convert};

	made.type = get_attnum(relid, to) > 0 ? NULL : type;
	make_default(&made);
	return made.text;
}

static void
make_default(void *arg)
{
	Made	   *made = arg;
	Relation	rel = table_open(made->relid, AccessShareLock);
	TupleDesc	desc = zdm_description_with(RelationGetDescr(rel), made->type ? made->to : NULL, made->type);
	bool		assigned = made->convert == NULL ||
		strcmp(made->convert, quote_identifier(made->from)) == 0;
	ZdmIdentity saved;

	if (assigned)
	{
		made->text = default_text(made->relid, made->from);
		zdm_pin_path(&saved);
		zdm_pin_style();
		(void) zdm_expression_parse_as(desc, made->text, made->text, zdm_description_number(desc, made->to));
		zdm_unbecome(&saved);
	}
	else
		made->text = zdm_default_text(placed(rel, desc, made));
	table_close(rel, AccessShareLock);
}

static Node *
placed(Relation rel, TupleDesc desc, Made *made)
{
	Placement	cxt = {.column = zdm_description_number(desc, made->from)};
	ZdmIdentity saved;
	Node	   *expr;
	Node	   *folded;

	cxt.value = build_column_default(rel, cxt.column);
	zdm_become(rel->rd_rel->relowner, &saved);
	zdm_pin_style();
	expr = place(zdm_expression_parse_as(desc, made->convert, "the conversion", zdm_description_number(desc, made->to)), &cxt);
	if (cxt.other != 0)
		ereport(ERROR,
				errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				errmsg("its conversion uses column \"%s\" as well",
					   NameStr(TupleDescAttr(desc, cxt.other - 1)->attname)));
	if (cxt.times > 1 && contain_volatile_functions(cxt.value))
		ereport(ERROR,
				errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				errmsg("it is volatile, and its conversion uses it more than once"));
	folded = eval_const_expressions(NULL, zdm_copy_node(expr));
	zdm_unbecome(&saved);
	return IsA(folded, Const) ? folded : expr;
}

static Node *
place(Node *node, void *arg)
{
	Placement  *cxt = arg;

	if (node == NULL)
		return NULL;
	if (!IsA(node, Var))
		return expression_tree_mutator(node, place, arg);
	if (((Var *) node)->varattno == cxt->column)
	{
		cxt->times++;
		return zdm_copy_node(cxt->value);
	}
	cxt->other = ((Var *) node)->varattno;
	return zdm_copy_node(node);
}
