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
#include "schema/relation.h"
#include "util/compat.h"
#include "util/spi.h"

typedef struct NullOfType
{
	Oid			type;
	Oid			owner;
} NullOfType;

/* A row that has one value, and what is to be met by it. */
typedef struct CheckedRow
{
	Relation	rel;
	AttrNumber	attnum;
	Datum		value;
	bool		isnull;
	Expr	   *check;
	bool		met;
} CheckedRow;

static bool is_of_column(Node *expr, AttrNumber attnum);
static void check_row(void *arg);
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
				zdm_column_check_refusing(part, attnum, (Datum) 0, true) != NULL;
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

		result |= attnum > 0 && zdm_column_check_refusing(part, attnum, (Datum) 0, true) != NULL;
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

/*
 * The name of a CHECK constraint on the column alone that the value does not
 * meet, or NULL.
 */
char *
zdm_column_check_refusing(Relation rel, AttrNumber attnum, Datum value, bool isnull)
{
	TupleConstr *constr = RelationGetDescr(rel)->constr;

	for (int i = 0; constr != NULL && i < constr->num_check; i++)
	{
		CheckedRow	row = {
			.rel = rel,
			.attnum = attnum,
			.value = value,
			.isnull = isnull,
			.check = stringToNode(constr->check[i].ccbin),
		};
		ErrorData  *error;

		if (zdm_check_is_enforced(&constr->check[i]) &&
			is_of_column((Node *) row.check, attnum) &&
			(!zdm_attempt(check_row, &row, &error) || !row.met))
			return constr->check[i].ccname;
	}
	return NULL;
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
check_row(void *arg)
{
	CheckedRow *row = arg;
	EState	   *estate = CreateExecutorState();
	ExprContext *context = GetPerTupleExprContext(estate);
	TupleTableSlot *slot = MakeSingleTupleTableSlot(RelationGetDescr(row->rel), &TTSOpsVirtual);
	ZdmIdentity saved;

	zdm_become(row->rel->rd_rel->relowner, &saved);
	(void) ExecStoreAllNullTuple(slot);
	slot->tts_values[row->attnum - 1] = row->value;
	slot->tts_isnull[row->attnum - 1] = row->isnull;
	context->ecxt_scantuple = slot;
	row->met = ExecCheck(ExecPrepareExpr(row->check, estate), context);
	zdm_unbecome(&saved);
	ExecDropSingleTupleTableSlot(slot);
	FreeExecutorState(estate);
}
