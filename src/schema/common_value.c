/*-------------------------------------------------------------------------
 *
 * common_value.c
 *	  A value that many rows of a column are to have.
 *
 * What fills a column, and its default, are given to rows that statements
 * write which do not know of it.  Where the value is the same for every row it
 * is known beforehand whether the table takes it, and more than once: if not,
 * all those statements would fail.
 *
 * Only a value that is the same at all times is tried out, as the table's
 * owner.  What he may not evaluate a writer may.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/table.h"
#include "executor/executor.h"
#include "optimizer/optimizer.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "schema/common_value.h"
#include "schema/mandatory.h"
#include "schema/relation.h"
#include "util/spi.h"

typedef struct CommonValue
{
	Relation	rel;
	Form_pg_attribute attr;
	Node	   *expr;			/* NULL: rows get NULL */
	const char *what;			/* for messages */
	MemoryContext context;		/* where the value lives */
	bool		known;			/* it was tried out */
	Datum		value;
	bool		isnull;
} CommonValue;

static bool is_itself(CommonValue *common);
static void try_out(CommonValue *common);
static void evaluate(void *arg);
static void refuse_null(CommonValue *common);
static void check_constraints(CommonValue *common, Relation part);
static void check_indexes(CommonValue *common, Relation part);
static bool is_one_row_each(CommonValue *common, Relation index,
							AttrNumber attnum);

/*
 * Refuse a value that the column cannot have in every row.  attr: of the
 * column, which need not be there yet; value: an expression over the table's
 * columns, or NULL where rows are left without a value; what: how errors call
 * it; mandatory: whether a NULL is no value.
 */
void
zdm_check_common_value(Relation rel, Form_pg_attribute attr, Node *value,
					   const char *what, bool mandatory)
{
	CommonValue common = {
		.rel = rel,
		.attr = attr,
		.expr = value,
		.what = what,
		.context = CurrentMemoryContext,
		.isnull = value == NULL,
	};
	ListCell   *lc;

	if (mandatory && is_itself(&common))
		refuse_null(&common);
	if (value != NULL && (pull_var_clause(value, 0) != NIL || contain_volatile_functions(value)))
		return;
	if (value != NULL && !contain_mutable_functions(value))
		try_out(&common);
	if (mandatory && common.isnull)
		refuse_null(&common);
	foreach(lc, zdm_table_and_partitions(RelationGetRelid(rel)))
	{
		Relation	part = table_open(lfirst_oid(lc), AccessShareLock);

		check_constraints(&common, part);
		check_indexes(&common, part);
		table_close(part, AccessShareLock);
	}
}

/*
 * A column is filled where it holds NULL: it has nothing to give itself then.
 */
static bool
is_itself(CommonValue *common)
{
	return common->expr != NULL && IsA(common->expr, Var) &&
		common->attr->attnum > 0 &&
		castNode(Var, common->expr)->varattno == common->attr->attnum;
}

static void
try_out(CommonValue *common)
{
	ErrorData  *error;

	if (zdm_attempt(evaluate, common, &error))
		common->known = true;
	else if (error->sqlerrcode != ERRCODE_INSUFFICIENT_PRIVILEGE)
		ereport(ERROR,
				errcode(error->sqlerrcode),
				errmsg("%s fails for every row of table \"%s\": %s", common->what,
					   RelationGetRelationName(common->rel), error->message),
				errhint("Give an expression that has a value for column \"%s\".",
						NameStr(common->attr->attname)));
}

static void
evaluate(void *arg)
{
	CommonValue *common = arg;
	EState	   *estate = CreateExecutorState();
	ExprContext *context = GetPerTupleExprContext(estate);
	MemoryContext caller;
	ZdmIdentity saved;
	int16		length;
	bool		by_value;
	Datum		value;

	zdm_become(common->rel->rd_rel->relowner, &saved);
	value = ExecEvalExprSwitchContext(ExecPrepareExpr((Expr *) common->expr, estate),
									  context, &common->isnull);
	zdm_unbecome(&saved);
	if (!common->isnull)
	{
		get_typlenbyval(common->attr->atttypid, &length, &by_value);
		caller = MemoryContextSwitchTo(common->context);
		common->value = datumCopy(value, by_value, length);
		MemoryContextSwitchTo(caller);
	}
	FreeExecutorState(estate);
}

static void
refuse_null(CommonValue *common)
{
	ereport(ERROR,
			errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			errmsg("%s gives no value for column \"%s\" of table \"%s\"",
				   common->what, NameStr(common->attr->attname),
				   RelationGetRelationName(common->rel)),
			errdetail("The column is mandatory, or is to be: rows that get it would be refused."),
			errhint("Say what such rows get, for example fill => %s.",
					quote_literal_cstr("'unknown'")));
}

static void
check_constraints(CommonValue *common, Relation part)
{
	AttrNumber	attnum = get_attnum(RelationGetRelid(part), NameStr(common->attr->attname));
	char	   *constraint;

	if (!common->known || attnum <= 0)
		return;
	constraint = zdm_column_check_refusing(part, attnum, common->value, common->isnull);
	if (constraint != NULL)
		ereport(ERROR,
				errcode(ERRCODE_CHECK_VIOLATION),
				errmsg("%s gives every row a value that constraint \"%s\" of table \"%s\" refuses",
					   common->what, constraint, RelationGetRelationName(part)),
				errdetail("Each row that gets it would fail."),
				errhint("Give an expression whose values the constraint allows."));
}

static void
check_indexes(CommonValue *common, Relation part)
{
	AttrNumber	attnum = get_attnum(RelationGetRelid(part), NameStr(common->attr->attname));
	ListCell   *lc;

	foreach(lc, RelationGetIndexList(part))
	{
		Relation	index = index_open(lfirst_oid(lc), AccessShareLock);

		if (is_one_row_each(common, index, attnum))
			ereport(ERROR,
					errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					common->isnull
					? errmsg("rows without a value in column \"%s\" are all the same to index \"%s\", which is unique",
							 NameStr(common->attr->attname), RelationGetRelationName(index))
					: errmsg("%s gives every row the same value, but index \"%s\" makes column \"%s\" unique",
							 common->what, RelationGetRelationName(index),
							 NameStr(common->attr->attname)),
					errdetail("The second row that gets it would fail."),
					common->expr == NULL
					? errhint("Give the column a default that differs from row to row, or drop the index first.")
					: errhint("Use an expression that differs from row to row, or drop the index first."));
		index_close(index, AccessShareLock);
	}
}

/*
 * Whether an index on the column alone lets one row have the value, and no
 * more.
 */
static bool
is_one_row_each(CommonValue *common, Relation index, AttrNumber attnum)
{
	Form_pg_index form = index->rd_index;

	if (!(form->indisunique || form->indisexclusion) || form->indnkeyatts != 1 ||
		attnum <= 0 || form->indkey.values[0] != attnum)
		return false;
	return !common->isnull ||
		(form->indnullsnotdistinct && RelationGetIndexPredicate(index) == NIL);
}
