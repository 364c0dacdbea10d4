/*-------------------------------------------------------------------------
 *
 * mirror_order.c
 *	  Both sides of a mirror rule lock the first table's row first.
 *
 * A statement on the first table has its row when its trigger goes on to the
 * second table's.  A statement on the second table would come the other way
 * round, and two of them that meet in one pair of rows would wait for each
 * other.  An INSERT gets the first table's row from a BEFORE ROW trigger.  For
 * UPDATE, DELETE and MERGE that is too late: the executor locks the row before
 * it calls such a trigger.  So a BEFORE STATEMENT trigger looks for the
 * running statement (written.c knows it), and has the scan that finds the rows
 * to be changed call us with each: between the moment when a row is found and
 * the one when it is locked.  What the new key of a row needs is done then,
 * too (mirror_key.c).  The row may have changed by the time it is locked, also
 * its key; then the trigger behind it locks what it needs, too late but
 * rightly.
 *
 * The statement is not known where the library was loaded in its middle;
 * mirror_install.c sees to it that this does not happen.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/tableam.h"
#include "executor/executor.h"
#include "executor/nodeModifyTable.h"
#include "nodes/execnodes.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "sync/mirror.h"
#include "sync/written.h"
#include "util/compat.h"

/* The scan under a statement that changes rows of a second table. */
typedef struct RowSource
{
	PlanState  *plan;
	ExecProcNodeMtd next_row;	/* what it does without us */
	ModifyTableState *modify;
	TupleTableSlot *slot;		/* a row of this table or partition ... */
	Relation	rel;
	bool		updates;		/* the row that it has given last */
	MemoryContextCallback release;
	struct RowSource *outer;
} RowSource;

static RowSource *sources = NULL;

static void watch(ModifyTableState *modify);
static void forget(void *arg);
static TupleTableSlot *next_row(PlanState *plan);
static void lock_found(RowSource *source, TupleTableSlot *found);
static void lock_updated(RowSource *source, ResultRelInfo *info, TupleTableSlot *found);
static ResultRelInfo *relation_of(RowSource *source, TupleTableSlot *found);

/*
 * Before a statement that updates or deletes rows of the table.  Called in
 * the memory context that its trigger was called in.
 */
void
zdm_mirror_order_locks(Relation rel)
{
	ZdmRunning *statement = zdm_firing_statement();
	PlanState  *top;
	ListCell   *lc;
	List	   *modifies = NIL;

	if (statement == NULL)
		return;
	top = statement->desc->planstate;
	if (top != NULL && IsA(top, ModifyTableState))
		modifies = list_make1(top);
	modifies = list_concat(modifies, statement->desc->estate->es_auxmodifytables);
	foreach(lc, modifies)
	{
		ModifyTableState *modify = lfirst_node(ModifyTableState, lc);

		if (modify->operation != CMD_INSERT &&
			RelationGetRelid(modify->rootResultRelInfo->ri_RelationDesc) == RelationGetRelid(rel))
			watch(modify);
	}
}

static void
watch(ModifyTableState *modify)
{
	PlanState  *plan = outerPlanState(modify);
	MemoryContext old;
	RowSource  *source;

	for (source = sources; source != NULL; source = source->outer)
	{
		if (source->plan == plan)
			return;
	}
	old = MemoryContextSwitchTo(modify->ps.state->es_query_cxt);
	source = palloc0_object(RowSource);
	source->plan = plan;
	source->modify = modify;
	source->next_row = plan->ExecProcNodeReal;
	source->release.func = forget;
	source->release.arg = source;
	source->outer = sources;
	sources = source;
	MemoryContextRegisterResetCallback(modify->ps.state->es_query_cxt, &source->release);
	ExecSetExecProcNode(plan, next_row);
	if (modify->operation == CMD_MERGE)
		zdm_mirror_watch_merge(modify);
	MemoryContextSwitchTo(old);
}

static void
forget(void *arg)
{
	RowSource **link = &sources;

	while (*link != NULL && *link != arg)
		link = &(*link)->outer;
	if (*link != NULL)
		*link = (*link)->outer;
}

static TupleTableSlot *
next_row(PlanState *plan)
{
	RowSource  *source = sources;
	TupleTableSlot *found;

	while (source != NULL && source->plan != plan)
		source = source->outer;
	if (source == NULL)
		elog(ERROR, "a scan of a mirrored table is not known");
	source->updates = false;
	found = source->next_row(plan);
	if (!TupIsNull(found))
		lock_found(source, found);
	return found;
}

/*
 * A statement is going to update the row that it has found last.
 */
void
zdm_mirror_row_updated(EState *estate)
{
	for (RowSource *source = sources; source != NULL; source = source->outer)
		if (source->modify->ps.state == estate)
			source->updates = true;
}

/*
 * Whether a row that is inserted into a partition is on its way from another
 * one.  Called in the memory context that its trigger was called in.
 */
bool
zdm_mirror_is_moving(void)
{
	ZdmRunning *statement = sources != NULL ? zdm_firing_statement() : NULL;

	for (RowSource *source = sources; statement != NULL && source != NULL; source = source->outer)
		if (source->modify->ps.state == statement->desc->estate && source->updates)
			return true;
	return false;
}

static void
lock_found(RowSource *source, TupleTableSlot *found)
{
	ResultRelInfo *info = relation_of(source, found);
	MemoryContext old;
	Datum		tid;
	bool		isnull = true;

	if (info == NULL || !AttributeNumberIsValid(info->ri_RowIdAttNo))
		return;
	tid = ExecGetJunkAttribute(found, info->ri_RowIdAttNo, &isnull);
	if (isnull)
		return;					/* of a MERGE: there is no row */
	if (source->rel != info->ri_RelationDesc)
	{
		source->rel = info->ri_RelationDesc;
		source->slot = table_slot_create(source->rel, &source->modify->ps.state->es_tupleTable);
	}
	old = MemoryContextSwitchTo(GetPerTupleMemoryContext(source->modify->ps.state));
	if (table_tuple_fetch_row_version(source->rel, (ItemPointer) DatumGetPointer(tid),
									  SnapshotAny, source->slot))
	{
		zdm_mirror_lock_first(source->rel, source->slot);
		if (source->modify->operation == CMD_UPDATE)
			lock_updated(source, info, found);
	}
	ExecClearTuple(source->slot);
	MemoryContextSwitchTo(old);
}

/*
 * The same of the row that the found one will be.
 */
static void
lock_updated(RowSource *source, ResultRelInfo *info, TupleTableSlot *found)
{
	List	   *numbers = list_nth(zdm_update_colnos(source->modify),
								   info - source->modify->resultRelInfo);
	TupleTableSlot *slot = source->slot;
	TupleTableSlot *updated;
	ListCell   *lc;

	source->updates = true;
	slot_getallattrs(slot);
	updated = MakeSingleTupleTableSlot(RelationGetDescr(source->rel), &TTSOpsVirtual);
	memcpy(updated->tts_values, slot->tts_values, sizeof(Datum) * slot->tts_nvalid);
	memcpy(updated->tts_isnull, slot->tts_isnull, sizeof(bool) * slot->tts_nvalid);
	foreach(lc, numbers)
	{
		int			number = lfirst_int(lc) - 1;

		updated->tts_values[number] = slot_getattr(found, foreach_current_index(lc) + 1,
												   &updated->tts_isnull[number]);
	}
	ExecStoreVirtualTuple(updated);
	zdm_mirror_before_key(info, source->modify->ps.state, slot, updated);
	ExecDropSingleTupleTableSlot(updated);
}

/*
 * The table or partition that a row is of.
 */
static ResultRelInfo *
relation_of(RowSource *source, TupleTableSlot *found)
{
	ModifyTableState *modify = source->modify;
	Datum		relid;
	bool		isnull;

	if (!AttributeNumberIsValid(modify->mt_resultOidAttno))
		return modify->resultRelInfo;
	relid = ExecGetJunkAttribute(found, modify->mt_resultOidAttno, &isnull);
	return isnull ? NULL : ExecLookupResultRelByOid(modify, DatumGetObjectId(relid), true, false);
}

/*
 * Lock the rows of first tables that a row of a second table belongs to.
 */
void
zdm_mirror_lock_first(Relation rel, TupleTableSlot *slot)
{
	ZdmMirrorSet *set = zdm_mirrors_get(rel);
	int			held = zdm_rules_hold();

	for (int i = 0; i < set->count; i++)
	{
		ZdmMirror  *mirror = &set->mirrors[i];
		ZdmMirrorRow row;

		if (mirror->is_first || zdm_mirror_is_written(mirror))
			continue;
		zdm_mirror_take(mirror, slot, &row);
		if (!zdm_mirror_has_null(&row, 0, mirror->keys))
			zdm_mirror_do(mirror, ZDM_MIRROR_LOCK, &row, NULL);
	}
	zdm_rules_release(held);
}

/*
 * The same of a row that is going to be locked, with what is to be done where
 * somebody else has that.  Returns false where it is to be skipped.  Where the
 * first table's row may be missing, only waiting is not mistaken for that.
 */
bool
zdm_mirror_lock_selected(Relation rel, TupleTableSlot *slot, LockWaitPolicy policy)
{
	ZdmMirrorSet *set = zdm_mirrors_get(rel);
	int			held = zdm_rules_hold();
	ZdmMirrorAction action = policy == LockWaitBlock ? ZDM_MIRROR_LOCK
		: policy == LockWaitError ? ZDM_MIRROR_LOCK_NOWAIT : ZDM_MIRROR_LOCK_SKIP;
	bool		result = true;

	for (int i = 0; i < set->count; i++)
	{
		ZdmMirror  *mirror = &set->mirrors[i];
		ZdmMirrorRow row;

		if (mirror->is_first || (mirror->optional > 0 && action == ZDM_MIRROR_LOCK_SKIP))
			continue;
		zdm_mirror_take(mirror, slot, &row);
		if (!zdm_mirror_has_null(&row, 0, mirror->keys) &&
			zdm_mirror_do(mirror, action, &row, NULL) == 0)
			result &= action != ZDM_MIRROR_LOCK_SKIP;
	}
	zdm_rules_release(held);
	return result;
}
