/*-------------------------------------------------------------------------
 *
 * rule.c
 *	  Sync rules of a table, compiled for this backend.
 *
 * A rule names columns; here they become attribute numbers of one table (each
 * partition has its own) and executable expressions.  A table's rules are
 * compiled on first use and kept until a relcache invalidation says that the
 * table, or a rule on it (catalog/sync_rule.c sends one), has changed.  The
 * callback flips a flag and does nothing else.
 *
 * A rebuild does not free the old set: a statement may be in the middle of
 * using it.  It is handed to the transaction's memory instead.
 *
 * A rule whose column is gone is left out with a warning rather than raised:
 * the application's write is not the one to blame.  zdm_guard (guard.c)
 * refuses the DDL that would lead there.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "catalog/partition.h"
#include "executor/executor.h"
#include "nodes/primnodes.h"
#include "optimizer/optimizer.h"
#include "rewrite/rewriteHandler.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/syscache.h"

#include "catalog/migration.h"
#include "catalog/sync_rule.h"
#include "sync/expression.h"
#include "sync/rule.h"
#include "util/ident.h"
#include "util/spi.h"

static HTAB *rule_sets = NULL;

static void invalidate_relation(Datum arg, Oid relid);
static void invalidate_all(Datum arg, int cacheid, uint32 hashvalue);
static void compile_set(ZdmRuleSet *set, Relation rel);
static bool compile_rule(ZdmRuleSet *set, Relation rel, ZdmSyncRule *source,
						 ZdmRule *rule);
static bool compile_side(Relation rel, List *names, ZdmSide *side);
static void compile_values(Relation rel, ZdmSide *side, List *texts,
						   const char *argument);
static ExprState *compile_default(Relation rel, AttrNumber attnum);

/*
 * Set up the cache and its invalidation; called once a backend.
 */
void
zdm_rules_init(void)
{
	HASHCTL		ctl = {
		.keysize = sizeof(Oid),
		.entrysize = sizeof(ZdmRuleSet),
	};

	rule_sets = hash_create("zdm rule sets", 16, &ctl, HASH_ELEM | HASH_BLOBS);
	CacheRegisterRelcacheCallback(invalidate_relation, (Datum) 0);
	/* An expression may have a function's body in it. */
	CacheRegisterSyscacheCallback(PROCOID, invalidate_all, (Datum) 0);
}

static void
invalidate_relation(Datum arg, Oid relid)
{
	ZdmRuleSet *set;

	if (!OidIsValid(relid))
		invalidate_all(arg, 0, 0);
	else if ((set = hash_search(rule_sets, &relid, HASH_FIND, NULL)) != NULL)
		set->valid = false;
}

static void
invalidate_all(Datum arg, int cacheid, uint32 hashvalue)
{
	HASH_SEQ_STATUS scan;
	ZdmRuleSet *set;

	hash_seq_init(&scan, rule_sets);
	while ((set = hash_seq_search(&scan)) != NULL)
		set->valid = false;
}

/*
 * The rules that hold for a row of this table: its own, and those of the
 * partitioned tables above it, oldest first.
 */
ZdmRuleSet *
zdm_rules_get(Relation rel)
{
	Oid			relid = RelationGetRelid(rel);
	bool		found;
	ZdmRuleSet *set = hash_search(rule_sets, &relid, HASH_ENTER, &found);

	if (found && set->valid)
		return set;
	if (!found)
		set->cxt = NULL;
	set->valid = false;
	if (set->cxt != NULL)
		MemoryContextSetParent(set->cxt, TopTransactionContext);
	set->cxt = NULL;
	compile_set(set, rel);
	return set;
}

/*
 * The compiled rule of a migration that makes these new columns, or NULL.
 */
ZdmRule *
zdm_rules_find(ZdmRuleSet *set, const char *migration, List *new_columns)
{
	for (int i = 0; i < set->count; i++)
		if (strcmp(set->rules[i].migration, migration) == 0 &&
			strcmp(set->rules[i].new.columns[0].name, linitial(new_columns)) == 0)
			return &set->rules[i];
	return NULL;
}

/*
 * Fill a set that is not valid.  An error in the middle leaves it so.
 */
static void
compile_set(ZdmRuleSet *set, Relation rel)
{
	MemoryContext cxt = AllocSetContextCreate(CurTransactionContext,
											  "zdm rule set",
											  ALLOCSET_SMALL_SIZES);
	MemoryContext old = MemoryContextSwitchTo(cxt);
	List	   *relids = list_make1_oid(RelationGetRelid(rel));
	List	   *sources;
	ZdmIdentity saved;
	ListCell   *lc;

	/* From here on, an invalidation means that we must start over. */
	set->valid = true;
	set->ancestors = rel->rd_rel->relispartition ?
		get_partition_ancestors(RelationGetRelid(rel)) : NIL;
	sources = zdm_sync_rules_on(list_concat(relids, set->ancestors));
	set->count = 0;
	set->rules = palloc0_array(ZdmRule, list_length(sources) + 1);
	set->econtext = CreateStandaloneExprContext();
	set->work = MakeSingleTupleTableSlot(CreateTupleDescCopyConstr(RelationGetDescr(rel)),
										 &TTSOpsVirtual);
	PG_TRY();
	{
		zdm_pin_path(&saved);
		foreach(lc, sources)
		{
			if (compile_rule(set, rel, lfirst(lc), &set->rules[set->count]))
				set->count++;
		}
		zdm_unbecome(&saved);
	}
	PG_CATCH();
	{
		set->valid = false;
		PG_RE_THROW();
	}
	PG_END_TRY();

	MemoryContextSwitchTo(old);
	MemoryContextSetParent(cxt, CacheMemoryContext);
	set->cxt = cxt;
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
	rule->backfilling = state == ZDM_EXPANDED;
	rule->new_leads = state == ZDM_CONTRACTED;
	compile_values(rel, &rule->new, source->up, "up");
	compile_values(rel, &rule->old, source->down, "down");
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
		column->fallback = compile_default(rel, attnum);
	}
	return true;
}

static void
compile_values(Relation rel, ZdmSide *side, List *texts, const char *argument)
{
	for (int i = 0; i < side->count; i++)
	{
		ZdmColumn  *column = &side->columns[i];
		Node	   *expr = zdm_expression_parse(rel, list_nth(texts, i),
												argument, column->attnum);
		Node	   *bare = expr;

		while (IsA(bare, RelabelType))
			bare = (Node *) ((RelabelType *) bare)->arg;
		if (IsA(bare, Var) && ((Var *) bare)->varattno > 0)
			column->value.source = ((Var *) bare)->varattno;
		else
			column->value.state = ExecInitExpr(expression_planner((Expr *) expr), NULL);
	}
}

/*
 * The column's default, where each evaluation gives the same; else NULL.
 */
static ExprState *
compile_default(Relation rel, AttrNumber attnum)
{
	Node	   *expr = build_column_default(rel, attnum);

	if (expr == NULL || contain_volatile_functions(expr))
		return NULL;
	return ExecInitExpr(expression_planner((Expr *) expr), NULL);
}

/*
 * Compute a value from a row.  The result lives as long as the row, or as the
 * current memory context.
 */
Datum
zdm_value_compute(const ZdmValue *value, ZdmRuleSet *set, TupleTableSlot *row,
				  bool *isnull)
{
	ExprContext *econtext = set->econtext;
	MemoryContext own;
	Datum		result;

	if (value->state == NULL)
		return slot_getattr(row, value->source, isnull);

	/*
	 * Evaluate in the caller's memory: a context of our own could only be
	 * reset when no call is on the stack below us.
	 */
	own = econtext->ecxt_per_tuple_memory;
	econtext->ecxt_per_tuple_memory = CurrentMemoryContext;
	econtext->ecxt_scantuple = row;
	result = ExecEvalExpr(value->state, econtext, isnull);
	econtext->ecxt_per_tuple_memory = own;
	return result;
}
