/*-------------------------------------------------------------------------
 *
 * mandatory.c
 *	  Whether a column must have a value, and where it gets one from.
 *
 * A column is mandatory where it is NOT NULL, in the table or in a partition,
 * or where a CHECK constraint on it alone is not met by a NULL.  Of the latter
 * no catalog tells: the constraint is evaluated, as the table's owner.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/table.h"
#include "catalog/pg_type.h"
#include "executor/executor.h"
#include "nodes/makefuncs.h"
#include "optimizer/optimizer.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "schema/mandatory.h"
#include "schema/not_null.h"
#include "schema/table.h"
#include "util/compat.h"
#include "util/spi.h"

typedef struct NullOfType
{
	Oid			type;
	Oid			owner;
} NullOfType;

typedef struct NullRow
{
	Relation	rel;
	Expr	   *check;
	bool		met;
} NullRow;

static bool check_refuses_null(Relation rel, AttrNumber attnum);
static bool is_of_column(Node *expr, AttrNumber attnum);
static void check_null_row(void *arg);
static void check_null_of_type(void *arg);

bool
zdm_column_is_mandatory(Relation rel, const char *column)
{
	bool		result = false;
	ListCell   *lc;

	foreach(lc, zdm_table_and_partitions(RelationGetRelid(rel)))
	{
		Relation	part = table_open(lfirst_oid(lc), AccessShareLock);
		AttrNumber	attnum = get_attnum(lfirst_oid(lc), column);

		if (attnum > 0)
			result |= zdm_column_is_not_null(lfirst_oid(lc), column) ||
				check_refuses_null(part, attnum);
		table_close(part, AccessShareLock);
	}
	return result;
}

/*
 * Whether something else than NOT NULL refuses a NULL in the column: its type,
 * or a CHECK constraint on it alone.
 */
bool
zdm_column_refuses_null(Relation rel, const char *column)
{
	Oid			type = get_atttype(RelationGetRelid(rel), get_attnum(RelationGetRelid(rel), column));
	bool		result = !zdm_type_accepts_null(type, rel->rd_rel->relowner);
	ListCell   *lc;

	foreach(lc, zdm_table_and_partitions(RelationGetRelid(rel)))
	{
		Relation	part = table_open(lfirst_oid(lc), AccessShareLock);
		AttrNumber	attnum = get_attnum(lfirst_oid(lc), column);

		result |= attnum > 0 && check_refuses_null(part, attnum);
		table_close(part, AccessShareLock);
	}
	return result;
}

/*
 * Whether a value of the type can be NULL.  What a domain demands is evaluated
 * as the owner of the table.
 */
bool
zdm_type_accepts_null(Oid type, Oid owner)
{
	NullOfType	null = {.type = type,.owner = owner};
	ErrorData  *error;

	if (get_typtype(type) != TYPTYPE_DOMAIN)
		return true;
	return zdm_attempt(check_null_of_type, &null, &error);
}

static void
check_null_of_type(void *arg)
{
	NullOfType *null = arg;
	ZdmIdentity saved;

	zdm_become(null->owner, &saved);
	domain_check((Datum) 0, true, null->type, NULL, NULL);
	zdm_unbecome(&saved);
}

static bool
check_refuses_null(Relation rel, AttrNumber attnum)
{
	TupleConstr *constr = RelationGetDescr(rel)->constr;

	for (int i = 0; constr != NULL && i < constr->num_check; i++)
	{
		NullRow		row = {.rel = rel,.check = stringToNode(constr->check[i].ccbin)};
		ErrorData  *error;

		if (is_of_column((Node *) row.check, attnum) &&
			(!zdm_attempt(check_null_row, &row, &error) || !row.met))
			return true;
	}
	return false;
}

/*
 * Whether an expression is about one column and no other.
 */
static bool
is_of_column(Node *expr, AttrNumber attnum)
{
	List	   *vars = pull_var_clause(expr, 0);
	ListCell   *lc;

	foreach(lc, vars)
	{
		if (lfirst_node(Var, lc)->varattno != attnum)
			return false;
	}
	return vars != NIL;
}

static void
check_null_row(void *arg)
{
	NullRow    *row = arg;
	EState	   *estate = CreateExecutorState();
	ExprContext *context = GetPerTupleExprContext(estate);
	TupleTableSlot *slot = MakeSingleTupleTableSlot(RelationGetDescr(row->rel), &TTSOpsVirtual);
	ZdmIdentity saved;

	zdm_become(row->rel->rd_rel->relowner, &saved);
	context->ecxt_scantuple = ExecStoreAllNullTuple(slot);
	row->met = ExecCheck(ExecPrepareExpr(row->check, estate), context);
	zdm_unbecome(&saved);
	ExecDropSingleTupleTableSlot(slot);
	FreeExecutorState(estate);
}

/*
 * A unique index on the column alone, or InvalidOid.
 */
Oid
zdm_unique_index_on(Relation rel, AttrNumber attnum)
{
	Oid			result = InvalidOid;
	ListCell   *lc;

	foreach(lc, RelationGetIndexList(rel))
	{
		Relation	index = index_open(lfirst_oid(lc), AccessShareLock);

		if (index->rd_index->indisunique && index->rd_index->indnkeyatts == 1 &&
			index->rd_index->indkey.values[0] == attnum)
			result = lfirst_oid(lc);
		index_close(index, AccessShareLock);
	}
	return result;
}

/*
 * Whether an expression cannot give two rows of one transaction different
 * values.
 */
bool
zdm_same_for_every_row(Node *expr)
{
	return pull_var_clause(expr, 0) == NIL &&
		!contain_volatile_functions(expr);
}
