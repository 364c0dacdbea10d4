/*-------------------------------------------------------------------------
 *
 * rule.c
 *	  Sync rules of a table, compiled for this backend.
 *
 * A rule names columns; here they become attribute numbers of one table (each
 * partition has its own) and executable expressions.  rule_cache.c keeps them.
 *
 * Whoever writes needs the right to call what an expression calls, where its
 * value is needed; the check is made when the expression is made executable, so
 * each role has a set of its own where there are expressions.
 *
 * A rule whose column is gone is left out with a warning rather than raised:
 * the application's write is not the one to blame.  zdm_guard (guard.c)
 * refuses the DDL that would lead there.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/sysattr.h"
#include "access/table.h"
#include "catalog/partition.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "nodes/primnodes.h"
#include "optimizer/optimizer.h"
#include "rewrite/rewriteHandler.h"
#include "utils/builtins.h"
#include "utils/bytea.h"
#include "utils/float.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

#include "catalog/migration.h"
#include "catalog/sync_rule.h"
#include "sync/expression.h"
#include "sync/rule.h"
#include "util/compat.h"
#include "util/ident.h"
#include "util/spi.h"

/* A value that is being computed. */
typedef struct Computation
{
	const ZdmValue *value;
	ZdmRuleSet *set;
	TupleTableSlot *row;
	Datum		result;
	bool		isnull;
} Computation;

static void compute(void *arg);
static void evaluate(Computation *computation);
static bool has_domains(Node *node, void *context);
static bool prints(Node *node, void *context);
static void make_executable(ZdmExpression *expression, ZdmRuleSet *set);
static void invalidate_all(Datum arg, int cacheid, uint32 hashvalue);
static ZdmCachedSet *compile_set(Relation rel);
static void order_rules(ZdmRuleSet *set);
static bool feeds(const ZdmRule *from, const ZdmRule *to);
static bool compile_rule(ZdmRuleSet *set, Relation rel, ZdmSyncRule *source,
						 ZdmRule *rule);
static bool compile_side(Relation rel, List *names, ZdmSide *side);
static void compile_values(ZdmRuleSet *set, Relation rel, ZdmSide *side,
						   List *texts, const char *argument);
static AttrNumber same_value(Node *expr, Relation rel, AttrNumber target);
static ZdmExpression *stable_default(Relation rel, AttrNumber attnum, bool *is_volatile);

static ZdmRuleCache cache = {
	.name = "zdm tables",
	.compile = compile_set,
};

/*
 * Set up the cache and its invalidation; called once a backend.
 */
void
zdm_rules_init(void)
{
	zdm_rule_cache_init(&cache);
	/* An expression may have a function's body in it. */
	CacheRegisterSyscacheCallback(PROCOID, invalidate_all, (Datum) 0);
}

static void
invalidate_all(Datum arg, int cacheid, uint32 hashvalue)
{
	zdm_rule_cache_outdate(&cache);
}

/*
 * The rules that hold for a row of this table: its own, and those of the
 * partitioned tables above it.
 */
ZdmRuleSet *
zdm_rules_get(Relation rel)
{
	ZdmCachedSet *cached;

	for (cached = zdm_rule_cache_find(&cache, RelationGetRelid(rel));
		 cached != NULL; cached = cached->next)
	{
		ZdmRuleSet *set = (ZdmRuleSet *) cached;

		if (!set->has_expressions || set->role == GetUserId())
			return set;
	}
	return (ZdmRuleSet *) zdm_rule_cache_add(&cache, rel);
}

/*
 * The same, for work that makes no sense without the migration's rule.
 */
ZdmRuleSet *
zdm_rules_of_migration(Relation rel, const char *migration)
{
	ZdmRuleSet *set = zdm_rules_get(rel);

	for (int i = 0; i < set->count; i++)
	{
		if (strcmp(set->rules[i].migration, migration) == 0)
			return set;
	}
	ereport(ERROR,
			errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			errmsg("table \"%s\" is not kept in sync by migration \"%s\"",
				   RelationGetRelationName(rel), migration),
			errdetail("It inherits from the migration's table, or lacks its columns."),
			errhint("ALTER TABLE ... NO INHERIT, or roll the migration back."));
}

/*
 * Make a set for the current role.
 */
static ZdmCachedSet *
compile_set(Relation rel)
{
	ZdmRuleSet *set = palloc0_object(ZdmRuleSet);
	List	   *relids = list_make1_oid(RelationGetRelid(rel));
	List	   *sources;
	ZdmIdentity saved;
	ListCell   *lc;

	set->role = GetUserId();
	set->ancestors = rel->rd_rel->relispartition ?
		get_partition_ancestors(RelationGetRelid(rel)) : NIL;
	sources = zdm_sync_rules_on(list_concat(relids, set->ancestors));
	set->rules = palloc0_array(ZdmRule, list_length(sources) + 1);
	if (sources != NIL)
		set->work = MakeSingleTupleTableSlot(CreateTupleDescCopyConstr(RelationGetDescr(rel)),
											 &TTSOpsVirtual);
	zdm_pin_path(&saved);
	zdm_pin_style();
	foreach(lc, sources)
	{
		if (compile_rule(set, rel, lfirst(lc), &set->rules[set->count]))
			set->count++;
	}
	zdm_unbecome(&saved);
	order_rules(set);
	return &set->cached;
}

/*
 * Put a rule before those that make what it starts from: the newest link of a
 * chain first.  Rules that have nothing to do with each other stay as they
 * are; a ring has no order, and keeps any.
 */
static void
order_rules(ZdmRuleSet *set)
{
	for (int i = 0; i < set->count; i++)
	{
		int			moves = set->count;

		for (int j = i + 1; j < set->count && moves > 0; j++)
		{
			if (feeds(&set->rules[i], &set->rules[j]) &&
				!feeds(&set->rules[j], &set->rules[i]))
			{
				ZdmRule		later = set->rules[j];

				memmove(&set->rules[i + 1], &set->rules[i],
						(Size) (j - i) * sizeof(ZdmRule));
				set->rules[i] = later;
				/* What moved up may itself come behind another. */
				j = i;
				moves--;
			}
		}
	}
}

/*
 * Whether one rule makes a column that the other starts from.  One that fills
 * is, the other way round, to find filled what it reads.
 */
static bool
feeds(const ZdmRule *from, const ZdmRule *to)
{
	if (from->kind != ZDM_RULE_SYNC && to->kind != ZDM_RULE_SYNC)
	{
		for (int i = 0; i < to->new.count; i++)
			if (bms_is_member(to->new.columns[i].attnum - FirstLowInvalidHeapAttributeNumber,
							  from->new.reads))
				return true;
	}
	for (int i = 0; i < from->new.count; i++)
		for (int j = 0; j < to->old.count; j++)
			if (from->new.columns[i].attnum == to->old.columns[j].attnum)
				return true;
	return false;
}

/*
 * Returns false where the table no longer has the rule's columns.
 */
static bool
compile_rule(ZdmRuleSet *set, Relation rel, ZdmSyncRule *source, ZdmRule *rule)
{
	ZdmState	state;

	if (!compile_side(rel, source->old_columns, &rule->old) ||
		!compile_side(rel, source->new_columns, &rule->new))
	{
		ereport(WARNING,
				errcode(ERRCODE_UNDEFINED_COLUMN),
				errmsg("table \"%s\" lacks a column of a zdm migration in flight",
					   RelationGetRelationName(rel)),
				errhint("See zdm.status, and roll that migration back."));
		return false;
	}
	zdm_migration_scan(source->migration, &rule->migration, &state);
	rule->migration_id = source->migration;
	rule->relation = source->relation;
	rule->kind = source->kind;
	if (rule->kind == ZDM_RULE_SYNC)
		set->has_sync = true;
	else
		set->has_others = true;
	rule->backfilling = state == ZDM_EXPANDED;
	rule->new_leads = state == ZDM_CONTRACTED;
	compile_values(set, rel, &rule->new, source->up, "up");
	compile_values(set, rel, &rule->old, source->down, "down");
	for (int i = 0; source->down_or_null && i < rule->old.count; i++)
		rule->old.columns[i].value.or_null = true;
	return true;
}

static bool
compile_side(Relation rel, List *names, ZdmSide *side)
{
	ListCell   *lc;

	side->count = list_length(names);
	side->columns = palloc0_array(ZdmColumn, side->count);
	foreach(lc, names)
	{
		ZdmColumn  *column = &side->columns[foreach_current_index(lc)];
		AttrNumber	attnum = get_attnum(RelationGetRelid(rel), lfirst(lc));
		Form_pg_attribute attr;

		if (attnum <= 0)
			return false;
		attr = TupleDescAttr(RelationGetDescr(rel), attnum - 1);
		column->attnum = attnum;
		column->name = lfirst(lc);
		column->typlen = attr->attlen;
		column->typbyval = attr->attbyval;
		column->notnull = attr->attnotnull;
		column->initial = stable_default(rel, attnum, &column->volatile_default);
	}
	return true;
}

static void
compile_values(ZdmRuleSet *set, Relation rel, ZdmSide *side, List *texts,
			   const char *argument)
{
	for (int i = 0; i < side->count; i++)
	{
		ZdmColumn  *column = &side->columns[i];
		Node	   *expr = zdm_expression_parse(rel, list_nth(texts, i),
												argument, column->attnum);
		Node	   *bare = expr;

		pull_varattnos(expr, 1, &side->reads);
		while (IsA(bare, RelabelType))
			bare = (Node *) ((RelabelType *) bare)->arg;
		if (IsA(bare, Var) && ((Var *) bare)->varattno > 0)
			column->value.source = ((Var *) bare)->varattno;
		else
		{
			column->value.constant = IsA(bare, Const);
			column->value.expression = palloc0_object(ZdmExpression);
			column->value.expression->expr = (Expr *) expr;
			set->has_expressions |= !column->value.constant;
		}
		column->value.same_as = same_value(expr, rel, column->attnum);
	}
}

/*
 * The column whose value an expression gives to the target as it is: a rename
 * between a domain and its base type applies a length that the value has
 * already, and checks what has been checked.  0 where there is none.
 */
static AttrNumber
same_value(Node *expr, Relation rel, AttrNumber target)
{
	Form_pg_attribute from,
				to;
	int32		from_mod,
				to_mod;

	for (;;)
	{
		if (IsA(expr, RelabelType))
			expr = (Node *) ((RelabelType *) expr)->arg;
		else if (IsA(expr, CoerceToDomain))
			expr = (Node *) ((CoerceToDomain *) expr)->arg;
		else if (!exprIsLengthCoercion(expr, NULL))
			break;
		else if (IsA(expr, FuncExpr))
			expr = linitial(((FuncExpr *) expr)->args);
		else
			expr = (Node *) castNode(ArrayCoerceExpr, expr)->arg;
	}
	if (!IsA(expr, Var) || ((Var *) expr)->varattno <= 0)
		return 0;
	from = TupleDescAttr(RelationGetDescr(rel), ((Var *) expr)->varattno - 1);
	to = TupleDescAttr(RelationGetDescr(rel), target - 1);
	from_mod = from->atttypmod;
	to_mod = to->atttypmod;
	if (getBaseTypeAndTypmod(from->atttypid, &from_mod) !=
		getBaseTypeAndTypmod(to->atttypid, &to_mod) || from_mod != to_mod)
		return 0;
	return from->attnum;
}

/*
 * The column's default, where each evaluation gives the same; else NULL.
 */
static ZdmExpression *
stable_default(Relation rel, AttrNumber attnum, bool *is_volatile)
{
	Node	   *expr = build_column_default(rel, attnum);
	ZdmExpression *result;

	*is_volatile = expr != NULL && contain_volatile_functions(expr);
	if (expr == NULL || *is_volatile)
		return NULL;
	result = palloc0_object(ZdmExpression);
	result->expr = (Expr *) expr;
	return result;
}

/*
 * Compute the value that a column has by default.  Returns false where it has
 * no default, or not always the same.
 */
bool
zdm_column_initial(ZdmColumn *column, ZdmRuleSet *set, TupleTableSlot *row,
				   Datum *value, bool *isnull)
{
	ZdmValue	initial = {.expression = column->initial};

	if (column->initial == NULL)
		return false;
	*value = zdm_value_compute(&initial, set, row, isnull);
	return true;
}

/*
 * Compute a value from a row.  The result lives as long as the row, or as the
 * current memory context.  Where a failure is to give NULL, it costs a
 * subtransaction.
 */
Datum
zdm_value_compute(const ZdmValue *value, ZdmRuleSet *set, TupleTableSlot *row,
				  bool *isnull)
{
	Computation computation = {.value = value,.set = set,.row = row};
	ErrorData  *error;

	if (value->expression == NULL)
		return slot_getattr(row, value->source, isnull);
	if (!value->or_null)
		compute(&computation);
	else if (!zdm_attempt(compute, &computation, &error))
	{
		FreeErrorData(error);
		*isnull = true;
		return (Datum) 0;
	}
	*isnull = computation.isnull;
	return computation.result;
}

/*
 * Make an expression executable: checked for the set's role, and planned under
 * the same search_path whoever comes first.
 */
static void
make_executable(ZdmExpression *expression, ZdmRuleSet *set)
{
	MemoryContext old;
	ZdmIdentity saved;
	Expr	   *planned;

	if (expression->state != NULL)
		return;
	zdm_pin_path(&saved);
	set->cached.has_domains |= has_domains((Node *) expression->expr, NULL);
	old = MemoryContextSwitchTo(set->cached.cxt);
	planned = expression_planner(expression->expr);
	expression->prints = contain_mutable_functions((Node *) planned) || prints((Node *) planned, NULL);
	expression->state = ExecInitExpr(planned, NULL);
	MemoryContextSwitchTo(old);
	zdm_unbecome(&saved);
}

static bool
has_domains(Node *node, void *context)
{
	if (node == NULL)
		return false;
	return IsA(node, CoerceToDomain) || expression_tree_walker(node, has_domains, context);
}

/*
 * Whether a tree converts by a type's output function.
 */
static bool
prints(Node *node, void *context)
{
	if (node == NULL)
		return false;
	if (IsA(node, CoerceViaIO))
		return true;
	return expression_tree_walker(node, prints, context);
}

/*
 * How many digits a float is printed with, and how a bytea, are settings of
 * the session although the server calls these functions immutable.  The value
 * must be the same whoever writes, and no digit be lost: so they are those of
 * the backfill.
 */
static void
compute(void *arg)
{
	Computation *computation = arg;
	int			digits = extra_float_digits;
	int			output = bytea_output;

	make_executable(computation->value->expression, computation->set);
	if (!computation->value->expression->prints || (digits >= 1 && output == BYTEA_OUTPUT_HEX))
	{
		evaluate(computation);
		return;
	}
	extra_float_digits = 1;
	bytea_output = BYTEA_OUTPUT_HEX;
	PG_TRY();
	{
		evaluate(computation);
	}
	PG_FINALLY();
	{
		extra_float_digits = digits;
		bytea_output = output;
	}
	PG_END_TRY();
}

static void
evaluate(Computation *computation)
{
	ExprState  *state = computation->value->expression->state;

	/*
	 * In the caller's memory, and in a context on the stack: an expression
	 * may write rows that are kept in sync themselves, and an error leaves
	 * nothing to be put back.  What the expression keeps from row to row
	 * lives as long as it does.
	 */
	ExprContext context = {
		.type = T_ExprContext,
		.ecxt_scantuple = computation->row,
		.ecxt_per_tuple_memory = CurrentMemoryContext,
		.ecxt_per_query_memory = GetMemoryChunkContext(state),
		.caseValue_isNull = true,
		.domainValue_isNull = true,
	};

	computation->result = ExecEvalExpr(state, &context, &computation->isnull);
}
