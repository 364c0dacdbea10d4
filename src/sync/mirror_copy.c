/*-------------------------------------------------------------------------
 *
 * mirror_copy.c
 *	  Insert rows into the other table without a statement.
 *
 * One at a time, for a mirrored INSERT, as the executor would do it, or many,
 * for a backfill.  A backfill that gives the second table its rows has each row of the first
 * locked before, against whoever writes either of the two.  So the rows can
 * wait until there are some pages of them, and are then inserted together: as
 * COPY inserts them, without a statement for each.  Those that the second table
 * has already are left out.  Nobody else can insert a row with these keys
 * meanwhile, unless his sessions' triggers do not fire; that one is met at the
 * key's index, and the batch does it again row by row with statements.
 *
 * That is possible with the tables that mirror_direct.c can insert into.  The
 * trigger of the second table for its echo is not fired, as there.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "executor/executor.h"
#include "executor/nodeModifyTable.h"
#include "storage/lmgr.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "sync/mirror.h"
#include "util/compat.h"

/* Rows that wait, and what they may have in bytes. */
#define MAX_ROWS	500
#define MAX_BYTES	65536

struct ZdmMirrorCopy
{
	ZdmMirror  *mirror;
	Relation	there;
	EState	   *estate;
	ResultRelInfo *info;
	AttrNumber *attnums;		/* of the rule's columns there */
	TupleTableSlot *slots[MAX_ROWS];
	int			count;			/* slots that have a row */
	Size		bytes;
	uint64		inserted;		/* altogether */
};

static bool try_to_insert(EState *estate, ResultRelInfo *info, TupleTableSlot *slot,
						  List **recheck);
static void fill_slot(const ZdmMirror *mirror, const AttrNumber *attnums,
					  const ZdmMirrorRow *row, EState *estate, ResultRelInfo *info,
					  TupleTableSlot *slot);
static bool add(ZdmMirrorCopy *copy, const ZdmMirrorRow *row);
static int	leave_out_existing(ZdmMirrorCopy *copy);
static void insert(ZdmMirrorCopy *copy, int count);
static void insert_index_entries(ZdmMirrorCopy *copy, TupleTableSlot *row);

/*
 * Insert one row, by the active snapshot; triggers: those that fire for it;
 * attnums: where the rule's columns are there.  may_exist: a row that is in the
 * way is no error.  Returns whether it was inserted, and tid is where.
 */
bool
zdm_mirror_insert_row(const ZdmMirror *mirror, Relation there, TriggerDesc *triggers,
					  const AttrNumber *attnums, const ZdmMirrorRow *row,
					  bool may_exist, ItemPointer tid)
{
	EState	   *estate = CreateExecutorState();
	MemoryContext old_cxt = MemoryContextSwitchTo(estate->es_query_cxt);
	ResultRelInfo *info = zdm_mirror_begin_write(estate, triggers, there);
	TupleTableSlot *slot = table_slot_create(there, &estate->es_tupleTable);
	bool		inserted = true;
	List	   *recheck = NIL;

	fill_slot(mirror, attnums, row, estate, info, slot);
	if (RelationGetDescr(there)->constr != NULL)
		ExecConstraints(info, slot, estate);
	ExecOpenIndices(info, may_exist);
	if (may_exist)
		inserted = try_to_insert(estate, info, slot, &recheck);
	else
	{
		table_tuple_insert(there, slot, estate->es_output_cid, 0, NULL);
		recheck = zdm_insert_new_index_tuples(info, slot, estate);
	}
	*tid = slot->tts_tid;
	if (inserted && info->ri_TrigDesc != NULL)
	{
		AfterTriggerBeginQuery();
		ExecARInsertTriggers(estate, info, slot, recheck, NULL);
		AfterTriggerEndQuery(estate);
	}
	MemoryContextSwitchTo(old_cxt);
	zdm_mirror_end_write(estate);
	return inserted;
}

/*
 * As INSERT ... ON CONFLICT DO NOTHING: whoever inserts such a row at the same
 * time waits for our decision, not for our transaction.
 */
static bool
try_to_insert(EState *estate, ResultRelInfo *info, TupleTableSlot *slot, List **recheck)
{
	Relation	there = info->ri_RelationDesc;
	bool		conflict = true;

	while (conflict)
	{
		uint32		token;

		if (!zdm_no_row_conflicts(info, slot, estate))
			return false;
		token = SpeculativeInsertionLockAcquire(GetCurrentTransactionId());
		table_tuple_insert_speculative(there, slot, estate->es_output_cid, 0, NULL, token);
		conflict = false;
		*recheck = zdm_try_insert_index_tuples(info, slot, estate, &conflict);
		table_tuple_complete_speculative(there, slot, token, !conflict);
		SpeculativeInsertionLockRelease(GetCurrentTransactionId());
	}
	return true;
}

/*
 * Store a new row in the slot.
 */
static void
fill_slot(const ZdmMirror *mirror, const AttrNumber *attnums, const ZdmMirrorRow *row,
		  EState *estate, ResultRelInfo *info, TupleTableSlot *slot)
{
	TupleDesc	desc = slot->tts_tupleDescriptor;

	ExecClearTuple(slot);
	memset(slot->tts_isnull, true, sizeof(bool) * desc->natts);
	for (int i = 0; i < mirror->count; i++)
	{
		slot->tts_values[attnums[i] - 1] = row->values[i];
		slot->tts_isnull[attnums[i] - 1] = row->nulls[i] == 'n';
	}
	ExecStoreVirtualTuple(slot);
	if (desc->constr != NULL && desc->constr->has_generated_stored)
		ExecComputeStoredGenerated(info, estate, slot, CMD_INSERT);
}

/*
 * Get ready to copy rows by a rule, in the current memory context.  Returns
 * NULL where it takes statements.  It ends by zdm_mirror_copy_end(), in the
 * same subtransaction, or with that one's failure.
 */
ZdmMirrorCopy *
zdm_mirror_copy_begin(ZdmMirror *mirror)
{
	Relation	there = table_open(mirror->there, RowExclusiveLock);
	TriggerDesc *triggers;
	ZdmMirrorCopy *copy;

	if (!zdm_mirror_can_insert(mirror, there, &triggers))
	{
		table_close(there, NoLock);
		return NULL;
	}
	copy = palloc0_object(ZdmMirrorCopy);
	copy->mirror = mirror;
	copy->there = there;
	copy->estate = CreateExecutorState();
	/* A copy: what is known of the table may be found out anew meanwhile. */
	copy->info = zdm_mirror_begin_write(copy->estate, CopyTriggerDesc(triggers), there);
	ExecOpenIndices(copy->info, false);
	copy->attnums = palloc_array(AttrNumber, mirror->count);
	for (int i = 0; i < mirror->count; i++)
		copy->attnums[i] = get_attnum(RelationGetRelid(there), mirror->columns[i].there);
	return copy;
}

/*
 * The rows that are still waiting are lost, unless zdm_mirror_copy_flush() was
 * called.  Returns how many rows were inserted.
 */
uint64
zdm_mirror_copy_end(ZdmMirrorCopy *copy)
{
	uint64		inserted = copy->inserted;

	zdm_mirror_end_write(copy->estate);
	table_close(copy->there, NoLock);
	return inserted;
}

/*
 * Take what the second table gets for a row, which the caller has locked.
 */
void
zdm_mirror_copy_row(ZdmMirrorCopy *copy, TupleTableSlot *slot)
{
	const ZdmMirror *mirror = copy->mirror;
	ZdmMirrorRow row;

	zdm_mirror_take(mirror, slot, &row);
	if (!zdm_mirror_has_null(&row, 0, mirror->keys + mirror->optional) &&
		add(copy, &row))
		zdm_mirror_copy_flush(copy);
}

/*
 * Returns whether no more are to wait.
 */
static bool
add(ZdmMirrorCopy *copy, const ZdmMirrorRow *row)
{
	TupleTableSlot *slot = copy->slots[copy->count];
	HeapTuple	tuple;
	bool		free;

	if (slot == NULL)
	{
		MemoryContext old = MemoryContextSwitchTo(copy->estate->es_query_cxt);

		slot = copy->slots[copy->count] = table_slot_create(copy->there, &copy->estate->es_tupleTable);
		MemoryContextSwitchTo(old);
	}
	fill_slot(copy->mirror, copy->attnums, row, copy->estate, copy->info, slot);
	ExecMaterializeSlot(slot);
	tuple = ExecFetchSlotHeapTuple(slot, false, &free);
	copy->bytes += tuple->t_len;
	return ++copy->count == MAX_ROWS || copy->bytes > MAX_BYTES;
}

/*
 * Insert those rows that wait.
 */
void
zdm_mirror_copy_flush(ZdmMirrorCopy *copy)
{
	int			count;

	if (copy->count == 0)
		return;
	PushActiveSnapshot(GetLatestSnapshot());
	count = leave_out_existing(copy);
	if (count > 0)
		insert(copy, count);
	PopActiveSnapshot();
	for (int i = 0; i < copy->count; i++)
		ExecClearTuple(copy->slots[i]);
	copy->inserted += count;
	copy->count = 0;
	copy->bytes = 0;
}

/*
 * Move the rows that the second table lacks to the front, and return how many
 * they are.
 */
static int
leave_out_existing(ZdmMirrorCopy *copy)
{
	ZdmMirror  *mirror = copy->mirror;
	ZdmMirrorLook *look = zdm_mirror_look_begin(mirror, GetActiveSnapshot());
	ZdmMirrorRow row = {
		.values = palloc_array(Datum, mirror->count),
		.nulls = palloc_array(char, mirror->count),
	};
	int			missing = 0;

	if (look == NULL)
		elog(ERROR, "table \"%s\" has lost its key", RelationGetRelationName(copy->there));
	for (int i = 0; i < copy->count; i++)
	{
		TupleTableSlot *slot = copy->slots[i];

		for (int j = 0; j < mirror->keys; j++)
		{
			bool		isnull;

			row.values[j] = slot_getattr(slot, copy->attnums[j], &isnull);
			row.nulls[j] = ' ';
		}
		if (zdm_mirror_look(look, &row))
			continue;
		copy->slots[i] = copy->slots[missing];
		copy->slots[missing++] = slot;
	}
	zdm_mirror_look_end(look);
	return missing;
}

/*
 * The first so many of the rows.
 */
static void
insert(ZdmMirrorCopy *copy, int count)
{
	EState	   *estate = copy->estate;

	estate->es_snapshot = GetActiveSnapshot();
	estate->es_output_cid = GetCurrentCommandId(true);
	if (RelationGetDescr(copy->there)->constr != NULL)
		for (int i = 0; i < count; i++)
		{
			ExecConstraints(copy->info, copy->slots[i], estate);
			ResetPerTupleExprContext(estate);
		}
	table_multi_insert(copy->there, copy->slots, count, estate->es_output_cid, 0, NULL);
	if (copy->info->ri_TrigDesc != NULL)
		AfterTriggerBeginQuery();
	for (int i = 0; i < count; i++)
		insert_index_entries(copy, copy->slots[i]);
	if (copy->info->ri_TrigDesc != NULL)
		AfterTriggerEndQuery(estate);
	CommandCounterIncrement();
}

/*
 * And what is to be checked of the row behind that.
 */
static void
insert_index_entries(ZdmMirrorCopy *copy, TupleTableSlot *row)
{
	List	   *recheck = NIL;

	if (copy->info->ri_NumIndices > 0)
		recheck = zdm_insert_new_index_tuples(copy->info, row, copy->estate);
	if (copy->info->ri_TrigDesc != NULL)
		ExecARInsertTriggers(copy->estate, copy->info, row, recheck, NULL);
	list_free(recheck);
	ResetPerTupleExprContext(copy->estate);
}
