/*-------------------------------------------------------------------------
 *
 * mirror_select.c
 *	  SELECT ... FOR UPDATE of a second table's rows locks the first's before.
 *
 * An application that locks a row and then writes it would have the second
 * table's row before the first's, against the order that both sides keep
 * (mirror_order.c); and nobody who locks rows of the one table would keep out
 * anybody who locks those of the other.  So the scan under the node that locks
 * rows calls us with each that it finds, as a statement's that writes does.
 * With SKIP LOCKED a row whose counterpart is locked is skipped, with NOWAIT it
 * is an error.  FOR SHARE and FOR KEY SHARE lock nothing more: they would keep
 * each other out.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "access/tableam.h"
#include "executor/executor.h"
#include "nodes/execnodes.h"
#include "parser/parsetree.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "sync/mirror.h"
#include "sync/mirror_select.h"
#include "util/compat.h"
#include "util/ident.h"

/* The scan under a node that locks rows of second tables. */
typedef struct LockSource
{
	LockRowsState *node;
	PlanState  *plan;
	ExecProcNodeMtd next_row;	/* what it does without us */
	MemoryContextCallback release;
	struct LockSource *outer;
} LockSource;

static LockSource *sources = NULL;

static bool locks(const PlanRowMark *mark);
static bool is_second(Oid relid);
static bool watch(PlanState *plan, void *estate);
static void forget(void *arg);
static TupleTableSlot *next_row(PlanState *plan);
static bool lock_counterparts(LockSource *source, TupleTableSlot *found);
static bool lock_counterpart(ExecRowMark *mark, EState *estate, ItemPointer tid);

/*
 * Before a statement runs that may lock rows.
 */
void
zdm_mirror_order_select(QueryDesc *desc)
{
	ListCell   *lc;
	bool		found = false;

	if (desc->planstate == NULL)
		return;
	foreach(lc, desc->plannedstmt->rowMarks)
	{
		PlanRowMark *mark = lfirst_node(PlanRowMark, lc);

		found |= locks(mark) && is_second(rt_fetch(mark->rti, desc->plannedstmt->rtable)->relid);
	}
	if (!found)
		return;
	(void) watch(desc->planstate, desc->estate);
	foreach(lc, desc->estate->es_subplanstates)
		(void) watch(lfirst(lc), desc->estate);
}

static bool
locks(const PlanRowMark *mark)
{
	return !mark->isParent &&
		(mark->markType == ROW_MARK_EXCLUSIVE || mark->markType == ROW_MARK_NOKEYEXCLUSIVE);
}

/*
 * Whether it, or a table that it is a partition of, is the second of a rule.
 */
static bool
is_second(Oid relid)
{
	Relation	rel = table_open(relid, NoLock);
	TriggerDesc *triggers = rel->trigdesc;
	bool		result = false;

	for (int i = 0; triggers != NULL && triggers->trig_insert_before_row && i < triggers->numtriggers; i++)
		result |= strcmp(triggers->triggers[i].tgname, ZDM_MIRROR_LOCK_TRIGGER) == 0;
	table_close(rel, NoLock);
	return result;
}

static bool
watch(PlanState *plan, void *estate)
{
	LockSource *source;
	MemoryContext old;

	if (plan == NULL)
		return false;
	if (!IsA(plan, LockRowsState))
		return planstate_tree_walker(plan, watch, estate);
	for (source = sources; source != NULL; source = source->outer)
	{
		if (source->node == (LockRowsState *) plan)
			return false;
	}
	old = MemoryContextSwitchTo(((EState *) estate)->es_query_cxt);
	source = palloc0_object(LockSource);
	source->node = (LockRowsState *) plan;
	source->plan = outerPlanState(plan);
	source->next_row = source->plan->ExecProcNodeReal;
	source->release.func = forget;
	source->release.arg = source;
	source->outer = sources;
	sources = source;
	MemoryContextRegisterResetCallback(((EState *) estate)->es_query_cxt, &source->release);
	ExecSetExecProcNode(source->plan, next_row);
	MemoryContextSwitchTo(old);
	return planstate_tree_walker(plan, watch, estate);
}

static void
forget(void *arg)
{
	LockSource **link = &sources;

	while (*link != NULL && *link != arg)
		link = &(*link)->outer;
	if (*link != NULL)
		*link = (*link)->outer;
}

static TupleTableSlot *
next_row(PlanState *plan)
{
	LockSource *source = sources;
	TupleTableSlot *found;

	while (source != NULL && source->plan != plan)
		source = source->outer;
	if (source == NULL)
		elog(ERROR, "a scan whose rows are locked is not known");
	do
		found = source->next_row(plan);
	while (!TupIsNull(found) && !lock_counterparts(source, found));
	return found;
}

/*
 * Returns false where the row is to be skipped.
 */
static bool
lock_counterparts(LockSource *source, TupleTableSlot *found)
{
	ListCell   *lc;

	foreach(lc, source->node->lr_arowMarks)
	{
		ExecAuxRowMark *aux = lfirst(lc);
		ExecRowMark *mark = aux->rowmark;
		bool		isnull = false;
		Datum		datum;

		if (mark->markType != ROW_MARK_EXCLUSIVE && mark->markType != ROW_MARK_NOKEYEXCLUSIVE)
			continue;
		if (mark->rti != mark->prti)
		{
			datum = ExecGetJunkAttribute(found, aux->toidAttNo, &isnull);
			if (isnull || DatumGetObjectId(datum) != mark->relid)
				continue;
		}
		datum = ExecGetJunkAttribute(found, aux->ctidAttNo, &isnull);
		if (!isnull && is_second(mark->relid) &&
			!lock_counterpart(mark, source->node->ps.state, (ItemPointer) DatumGetPointer(datum)))
			return false;
	}
	return true;
}

static bool
lock_counterpart(ExecRowMark *mark, EState *estate, ItemPointer tid)
{
	TupleTableSlot *slot = table_slot_create(mark->relation, NULL);
	MemoryContext old = MemoryContextSwitchTo(GetPerTupleMemoryContext(estate));
	bool		result = true;

	if (table_tuple_fetch_row_version(mark->relation, tid, SnapshotAny, slot))
		result = zdm_mirror_lock_selected(mark->relation, slot, mark->waitPolicy);
	MemoryContextSwitchTo(old);
	ExecDropSingleTupleTableSlot(slot);
	return result;
}
