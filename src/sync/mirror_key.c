/*-------------------------------------------------------------------------
 *
 * mirror_key.c
 *	  The first table sees to a new key before the second table has it.
 *
 * An update that gives a row of a second table another key concerns the row
 * of the first table that has this one already: whoever writes that row would
 * otherwise wait for the new key in the second table, and this statement for
 * him.  So that row is locked before.
 *
 * Where each row of either table has one in the other, there may be none, and
 * somebody inserts one into the first table meanwhile.  Then the row there
 * gets its new key before the one here, as an inserted row comes into the
 * first table before (mirror_insert.c): whoever comes later waits for that key
 * with nothing in his hands.  It is done only where the update here is certain
 * to follow, with these values: the row is locked, no BEFORE trigger of either
 * table has a say, the row stays in its partition, and nothing that refers to
 * it changes with its key.  Else the first table gets the key afterwards.
 *
 * The new row of an UPDATE is known when the scan has found the old one
 * (mirror_order.c); that of a MERGE when the executor has decided which of its
 * clauses it is, which is when it makes the row.  So for a MERGE the
 * expression that makes it calls us.
 *
 * The server offers nothing for that.  A BEFORE ROW trigger would have every
 * update of the table lock its row by itself before, also those that leave the
 * key alone; to evaluate the clauses ahead would call volatile functions twice,
 * and would have to leave out a MERGE that has any.  What we rely on instead is
 * looked at here, for each clause (can_watch) and each row (is_made), and where
 * it does not hold the row comes without us, as it does for a statement that
 * is not known: the trigger behind it locks what it needs, too late but
 * rightly.
 *	 - An expression is evaluated by the function that is in it, whichever is:
 *	   the server puts another one there itself, when it has looked at it the
 *	   first time or has compiled it.
 *	 - That of a clause leaves the row's columns in its result slot, all of
 *	   them, and finds the old row in the context's scan slot.
 *	 - It goes no later than the statement's memory, where the callback is that
 *	   forgets it.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "access/tableam.h"
#include "commands/trigger.h"
#include "executor/executor.h"
#include "utils/fmgroids.h"
#include "utils/rel.h"

#include "sync/mirror.h"
#include "util/compat.h"

/* What makes the row of a clause that updates. */
typedef struct Maker
{
	ExprState  *expression;
	ExprStateEvalFunc make;		/* what it does without us */
	ResultRelInfo *info;
	EState	   *estate;
	MemoryContextCallback release;
	struct Maker *outer;
} Maker;

static Maker *makers = NULL;

static bool can_watch(const MergeActionState *clause, const ResultRelInfo *info);
static void forget(void *arg);
static bool is_made(const Maker *maker, const ExprContext *context);
static bool is_row_of(Relation rel, const TupleTableSlot *slot);
static Datum make_row(ExprState *expression, ExprContext *context, bool *isnull);
static bool will_follow(ZdmMirror *mirror, ResultRelInfo *info, EState *estate,
						TupleTableSlot *before, TupleTableSlot *after);
static bool lock_row(Relation rel, EState *estate, TupleTableSlot *row);
static bool has_before_trigger(Relation rel);
static bool is_followed(Relation rel);

/*
 * Have the clauses of a MERGE call us.  Called in the memory context of the
 * statement, once for each.
 */
void
zdm_mirror_watch_merge(ModifyTableState *modify)
{
	for (int i = 0; i < modify->mt_nrels; i++)
	{
		ListCell   *lc;

		foreach(lc, zdm_merge_actions(&modify->resultRelInfo[i]))
		{
			MergeActionState *clause = lfirst_node(MergeActionState, lc);
			Maker	   *maker;

			if (!can_watch(clause, &modify->resultRelInfo[i]))
				continue;
			maker = palloc0_object(Maker);
			maker->expression = &clause->mas_proj->pi_state;
			maker->make = maker->expression->evalfunc;
			maker->info = &modify->resultRelInfo[i];
			maker->estate = modify->ps.state;
			maker->release.func = forget;
			maker->release.arg = maker;
			maker->outer = makers;
			makers = maker;
			MemoryContextRegisterResetCallback(CurrentMemoryContext, &maker->release);
			maker->expression->evalfunc = make_row;
		}
	}
}

/*
 * Whether the clause updates the row, by an expression that is as we know them.
 */
static bool
can_watch(const MergeActionState *clause, const ResultRelInfo *info)
{
	return clause->mas_action->commandType == CMD_UPDATE && clause->mas_proj != NULL &&
		clause->mas_proj->pi_state.evalfunc != NULL &&
		clause->mas_proj->pi_state.evalfunc != make_row &&
		is_row_of(info->ri_RelationDesc, clause->mas_proj->pi_state.resultslot);
}

/*
 * Whether a slot is for the table's rows.
 */
static bool
is_row_of(Relation rel, const TupleTableSlot *slot)
{
	return slot != NULL && slot->tts_tupleDescriptor != NULL &&
		slot->tts_tupleDescriptor->natts == RelationGetDescr(rel)->natts;
}

static void
forget(void *arg)
{
	Maker	  **link = &makers;

	while (*link != NULL && *link != arg)
		link = &(*link)->outer;
	if (*link != NULL)
		*link = (*link)->outer;
}

static Datum
make_row(ExprState *expression, ExprContext *context, bool *isnull)
{
	Maker	   *maker = makers;
	Datum		result;

	while (maker != NULL && maker->expression != expression)
		maker = maker->outer;
	if (maker == NULL)
		elog(ERROR, "an expression of a MERGE is not known");
	result = maker->make(expression, context, isnull);
	if (expression->evalfunc != make_row)
	{
		/* The first time, it looks whether all is as it was planned. */
		maker->make = expression->evalfunc;
		expression->evalfunc = make_row;
	}
	zdm_mirror_row_updated(maker->estate);
	if (is_made(maker, context))
		zdm_mirror_before_key(maker->info, maker->estate, context->ecxt_scantuple,
							  expression->resultslot);
	return result;
}

/*
 * Whether the new row is in the expression's slot, where it is left to the
 * caller to say so, and the old one in the context's.
 */
static bool
is_made(const Maker *maker, const ExprContext *context)
{
	Relation	rel = maker->info->ri_RelationDesc;
	TupleTableSlot *old = context->ecxt_scantuple;
	TupleTableSlot *new = maker->expression->resultslot;

	if (!is_row_of(rel, old) || TTS_EMPTY(old) || !ItemPointerIsValid(&old->tts_tid) ||
		old->tts_tableOid != RelationGetRelid(rel) || !is_row_of(rel, new))
		return false;
	if (TTS_EMPTY(new))
		ExecStoreVirtualTuple(new);
	return true;
}

/*
 * Before a row of a second table gets what may be another key.
 */
void
zdm_mirror_before_key(ResultRelInfo *info, EState *estate,
					  TupleTableSlot *before, TupleTableSlot *after)
{
	ZdmMirrorSet *set = zdm_mirrors_get(info->ri_RelationDesc);
	int			held = zdm_rules_hold();

	for (int i = 0; i < set->count; i++)
	{
		ZdmMirror  *mirror = &set->mirrors[i];
		ZdmMirrorRow old,
					new;

		if (mirror->is_first || zdm_mirror_is_written(mirror) ||
			zdm_mirror_plan_writes(mirror, estate->es_plannedstmt))
			continue;
		zdm_mirror_take(mirror, before, &old);
		zdm_mirror_take(mirror, after, &new);
		if (zdm_mirror_same(mirror, &old, &new, 0, mirror->keys) ||
			zdm_mirror_has_null(&new, 0, mirror->keys))
			continue;
		if (zdm_mirror_do(mirror, ZDM_MIRROR_LOCK, &new, NULL) == 0 &&
			mirror->optional == 0 && will_follow(mirror, info, estate, before, after))
			zdm_mirror_do(mirror, ZDM_MIRROR_MOVE_FIRST, &new, &old);
	}
	zdm_rules_release(held);
}

/*
 * Whether the row here will have what the one there is given now.
 */
static bool
will_follow(ZdmMirror *mirror, ResultRelInfo *info, EState *estate,
			TupleTableSlot *before, TupleTableSlot *after)
{
	Relation	rel = info->ri_RelationDesc;
	Relation	there = table_open(mirror->there, AccessShareLock);
	bool		result = !has_before_trigger(rel) && !has_before_trigger(there) &&
		!is_followed(there);

	table_close(there, NoLock);
	if (rel->rd_rel->relispartition)
		result = result && ExecPartitionCheck(info, after, estate, false);
	return result && lock_row(rel, estate, before);
}

static bool
has_before_trigger(Relation rel)
{
	return rel->trigdesc != NULL && rel->trigdesc->trig_update_before_row;
}

/*
 * Whether rows that refer to it follow a key of its: they refer to the table
 * here, too, which has no such key yet.
 */
static bool
is_followed(Relation rel)
{
	bool		result = false;

	for (int i = 0; rel->trigdesc != NULL && i < rel->trigdesc->numtriggers; i++)
	{
		Oid			function = rel->trigdesc->triggers[i].tgfoid;

		result |= function == F_RI_FKEY_CASCADE_UPD || function == F_RI_FKEY_SETNULL_UPD ||
			function == F_RI_FKEY_SETDEFAULT_UPD;
	}
	return result;
}

/*
 * Returns false where it is not the newest one, or somebody else has it.
 */
static bool
lock_row(Relation rel, EState *estate, TupleTableSlot *row)
{
	TupleTableSlot *slot = table_slot_create(rel, NULL);
	TM_FailureData failure;
	bool		result = table_tuple_lock(rel, &row->tts_tid, estate->es_snapshot, slot,
										  GetCurrentCommandId(true), LockTupleExclusive,
										  LockWaitSkip, 0, &failure) == TM_Ok;

	ExecDropSingleTupleTableSlot(slot);
	return result;
}
