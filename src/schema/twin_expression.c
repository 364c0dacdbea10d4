/*-------------------------------------------------------------------------
 *
 * twin_expression.c
 *	  An expression over a column, with the twin in the column's place.
 *
 * Where the column is of a domain with constraints, the twin is of its base
 * type.  What the parser made of the column then does not fit the twin as it
 * is: the executor refuses a column reference of another type than the column
 * has.  A relabelled reference always fits.  But an index over that would
 * serve no query, for the parser relabels nothing where somebody writes the
 * same expression over the twin.  So a reference is relabelled only where
 * the node above it goes by the reference's type: where it looks at the value
 * alone, or demands the base type anyway, it gets the bare column.
 *
 * Of a twin of another type altogether (a type change) the same text makes
 * another expression.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/attmap.h"
#include "catalog/pg_type.h"
#include "nodes/makefuncs.h"
#include "rewrite/rewriteManip.h"
#include "utils/lsyscache.h"

#include "schema/twin_expression.h"
#include "sync/expression.h"
#include "util/compat.h"
#include "util/spi.h"

typedef struct Fit
{
	Form_pg_attribute column;
	Form_pg_attribute twin;
	Node	   *parent;			/* of the node that is looked at */
} Fit;

static bool is_retyped(Form_pg_attribute column, Form_pg_attribute twin);
static Node *retyped(Node *expr, TupleDesc desc);
static Node *fit(Node *node, void *arg);
static bool is_twin(Node *node, Fit *cxt);
static Node *bare(Node *node, Fit *cxt);
static bool wants_domain(Node *node, Fit *cxt);
static Oid	argument_type(Node *parent, Node *node);

/*
 * A copy of an expression, or a list of them, over a table's columns with
 * those numbers; NULL where it refers to the whole row.
 */
Node *
zdm_twin_expression(Node *expr, TupleDesc desc, AttrNumber column,
					AttrNumber twin)
{
	AttrMap    *map = make_attrmap(desc->natts);
	Fit			cxt = {
		.column = TupleDescAttr(desc, column - 1),
		.twin = TupleDescAttr(desc, twin - 1),
	};
	bool		whole_row;

	for (int i = 0; i < desc->natts; i++)
		map->attnums[i] = (AttrNumber) (i + 1);
	map->attnums[column - 1] = twin;
	expr = map_variable_attnos(expr, 1, 0, map, InvalidOid, &whole_row);
	free_attrmap(map);
	if (whole_row)
		return NULL;
	if (is_retyped(cxt.column, cxt.twin))
		return retyped(expr, desc);
	if (cxt.column->atttypid != cxt.twin->atttypid)
		expr = fit(expr, &cxt);
	return expr;
}

/*
 * Whether the twin is of another type, not only of the base type of the
 * column's domain.
 */
static bool
is_retyped(Form_pg_attribute column, Form_pg_attribute twin)
{
	int32		from = column->atttypmod;
	int32		to = twin->atttypmod;

	return getBaseTypeAndTypmod(column->atttypid, &from) !=
		getBaseTypeAndTypmod(twin->atttypid, &to) || from != to;
}

/*
 * Over another type the parser chooses other functions and operators, so it
 * has to have its say, as it has when a column's type is changed.  What it
 * gets is the server's text of the tree, whose columns are known by number.
 */
static Node *
retyped(Node *expr, TupleDesc desc)
{
	ZdmIdentity saved;
	List	   *result = NIL;
	ListCell   *lc;

	if (!IsA(expr, List))
	{
		char	   *text = zdm_expression_text(desc, expr);

		zdm_pin_path(&saved);
		zdm_pin_style();
		expr = zdm_expression_parse_as(desc, text, text, 0);
		zdm_unbecome(&saved);
		return expr;
	}
	foreach(lc, (List *) expr)
		result = lappend(result, retyped(lfirst(lc), desc));
	return (Node *) result;
}

static Node *
fit(Node *node, void *arg)
{
	Fit		   *cxt = arg;
	Node	   *parent = cxt->parent;
	Node	   *result;

	if (node == NULL)
		return NULL;
	if (is_twin(node, cxt))
	{
		if (!wants_domain(node, cxt))
			return bare(node, cxt);
		return (Node *) makeRelabelType((Expr *) bare(node, cxt),
										cxt->column->atttypid,
										cxt->column->atttypmod,
										cxt->column->attcollation,
										COERCE_IMPLICIT_CAST);
	}
	if (IsA(node, RelabelType) && is_twin((Node *) ((RelabelType *) node)->arg, cxt))
	{
		RelabelType *relabel = (RelabelType *) node;

		/* The parser takes no notice of a length or precision here. */
		if (relabel->relabelformat == COERCE_IMPLICIT_CAST &&
			relabel->resulttype == cxt->twin->atttypid &&
			relabel->resulttypmod == -1 &&
			relabel->resultcollid == cxt->twin->attcollation)
			return bare((Node *) relabel->arg, cxt);
		return applyRelabelType(bare((Node *) relabel->arg, cxt),
								relabel->resulttype, relabel->resulttypmod,
								relabel->resultcollid, relabel->relabelformat,
								relabel->location, false);
	}
	if (!IsA(node, List))
		cxt->parent = node;
	result = expression_tree_mutator(node, fit, arg);
	cxt->parent = parent;
	return result;
}

static bool
is_twin(Node *node, Fit *cxt)
{
	return IsA(node, Var) && ((Var *) node)->varlevelsup == 0 &&
		((Var *) node)->varattno == cxt->twin->attnum;
}

static Node *
bare(Node *node, Fit *cxt)
{
	Var		   *var = zdm_copy_node(node);

	var->vartype = cxt->twin->atttypid;
	var->vartypmod = cxt->twin->atttypmod;
	var->varcollid = cxt->twin->attcollation;
	return (Node *) var;
}

/*
 * Whether the node above the reference goes by its type.
 */
static bool
wants_domain(Node *node, Fit *cxt)
{
	Oid			type;

	if (cxt->parent == NULL)
		return true;
	switch (nodeTag(cxt->parent))
	{
		case T_NullTest:
		case T_BooleanTest:
		case T_CoerceViaIO:
		case T_ArrayCoerceExpr:
		case T_FieldSelect:
		case T_SubscriptingRef:
			return false;
		default:
			type = argument_type(cxt->parent, node);
			return !OidIsValid(type) || type == ANYOID ||
				type == cxt->column->atttypid || IsPolymorphicType(type);
	}
}

/*
 * What a function or operator is declared to take in the node's place.
 */
static Oid
argument_type(Node *parent, Node *node)
{
	List	   *args;
	ListCell   *lc;
	Oid			types[2];
	Oid		   *declared = types;
	int			count = 2;

	switch (nodeTag(parent))
	{
		case T_FuncExpr:
			args = ((FuncExpr *) parent)->args;
			(void) get_func_signature(((FuncExpr *) parent)->funcid,
									  &declared, &count);
			break;
		case T_OpExpr:
		case T_DistinctExpr:
		case T_NullIfExpr:
			args = ((OpExpr *) parent)->args;
			op_input_types(((OpExpr *) parent)->opno, &types[0], &types[1]);
			/* A prefix operator has its operand on the right. */
			if (list_length(args) == 1)
				types[0] = types[1];
			break;
		case T_ScalarArrayOpExpr:
			args = ((ScalarArrayOpExpr *) parent)->args;
			op_input_types(((ScalarArrayOpExpr *) parent)->opno,
						   &types[0], &types[1]);
			/* The operator takes elements; an array goes by its own type. */
			types[1] = InvalidOid;
			break;
		default:
			return InvalidOid;
	}
	foreach(lc, args)
	{
		if (lfirst(lc) == node)
			return foreach_current_index(lc) < count ?
				declared[foreach_current_index(lc)] : InvalidOid;
	}
	return InvalidOid;
}
