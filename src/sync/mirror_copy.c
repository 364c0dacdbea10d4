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
 * That is possible with the tables that mirror_direct.c can insert into, and
 * with partitioned ones of which each partition is such a table.  A row is
 * taken to its partition at once, as COPY does it, and has that one's columns,
 * generated values, constraints and foreign keys.  Where there is none for it,
 * the batch fails, and is done row by row.  The trigger of the second table for
 * its echo is not fired.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/pg_am.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "executor/execPartition.h"
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
#define MAX_ROWS	1000
#define MAX_BYTES	65536

/* The table, or a partition that has got rows. */
typedef struct Target
{
	ResultRelInfo *info;
	AttrNumber *attnums;		/* of the rule's columns there */
	TupleTableSlot *slots[MAX_ROWS];
	int			count;			/* slots that have a row */
	int			looked_for;		/* so many, of which the second table lacks */
	int			missing;
} Target;

struct ZdmMirrorCopy
{
	ZdmMirror  *mirror;
	Relation	there;
	EState	   *estate;
	ResultRelInfo *info;
	List	   *targets;
	Target	   *order[MAX_ROWS];	/* whose the rows that wait are, as they
									 * came */
	int			count;
	Size		bytes;
	uint64		inserted;		/* altogether */

	/* a partitioned table: */
	ModifyTableState *modify;
	PartitionTupleRouting *routing;
	AttrNumber *attnums;		/* of the rule's columns */
	TupleTableSlot *row;		/* on its way to a partition */
	Target	   *last;			/* where the one before has gone */
};

static bool try_to_insert(EState *estate, ResultRelInfo *info, TupleTableSlot *slot,
						  bool look, List **recheck);
static void fill_slot(const ZdmMirror *mirror, const AttrNumber *attnums,
					  const ZdmMirrorRow *row, EState *estate, ResultRelInfo *info,
					  TupleTableSlot *slot);
static void begin_routing(ZdmMirrorCopy *copy);
static bool are_partitions_plain(ZdmMirror *mirror);
static Target *add_target(ZdmMirrorCopy *copy, ResultRelInfo *info);
static bool add(ZdmMirrorCopy *copy, const ZdmMirrorRow *row);
static TupleTableSlot *next_slot(ZdmMirrorCopy *copy, Target *target);
static Target *route(ZdmMirrorCopy *copy, const ZdmMirrorRow *row);
static Target *partition_target(ZdmMirrorCopy *copy, ResultRelInfo *info);
static int	leave_out_existing(ZdmMirrorCopy *copy);
static bool is_there(ZdmMirrorLook *look, const ZdmMirror *mirror, Target *target,
					 TupleTableSlot *slot, ZdmMirrorRow *row);
static void insert(ZdmMirrorCopy *copy);
static void check_rows(Target *target, EState *estate);
static void insert_index_entries(Target *target, TupleTableSlot *row, EState *estate);

/*
 * Insert one row, by the active snapshot; triggers: those that fire for it;
 * attnums: where the rule's columns are there.  A row that is in the way is an
 * error for ZDM_MIRROR_INSERT alone, and ZDM_MIRROR_PUT does not expect one.
 * Returns whether it was inserted, and tid is where.
 */
bool
zdm_mirror_insert_row(const ZdmMirror *mirror, Relation there, TriggerDesc *triggers,
					  const AttrNumber *attnums, const ZdmMirrorRow *row,
					  ZdmMirrorAction action, ItemPointer tid)
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
	ExecOpenIndices(info, action != ZDM_MIRROR_INSERT);
	if (action != ZDM_MIRROR_INSERT)
		inserted = try_to_insert(estate, info, slot, action != ZDM_MIRROR_PUT, &recheck);
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
 * time waits for our decision, not for our transaction.  Without a look for a
 * row that is in the way, the index entries meet it.
 */
static bool
try_to_insert(EState *estate, ResultRelInfo *info, TupleTableSlot *slot, bool look,
			  List **recheck)
{
	Relation	there = info->ri_RelationDesc;
	bool		conflict = true;

	while (conflict)
	{
		uint32		token;

		if (look && !zdm_no_row_conflicts(info, slot, estate))
			return false;
		look = true;
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
 * Store a new row in the slot; info: where its generated columns are computed,
 * or NULL.
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
	if (info != NULL && desc->constr != NULL && desc->constr->has_generated_stored)
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
	bool		partitioned = there->rd_rel->relkind == RELKIND_PARTITIONED_TABLE;
	TriggerDesc *triggers;
	ZdmMirrorCopy *copy;

	if (!zdm_mirror_can_copy(mirror, there, &triggers) ||
		(partitioned && !are_partitions_plain(mirror)))
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
	if (partitioned)
		begin_routing(copy);
	else
	{
		ExecOpenIndices(copy->info, false);
		copy->last = add_target(copy, copy->info);
	}
	return copy;
}

/*
 * What ExecFindPartition() asks for, as COPY has it.
 */
static void
begin_routing(ZdmMirrorCopy *copy)
{
	copy->modify = makeNode(ModifyTableState);
	copy->modify->ps.state = copy->estate;
	copy->modify->operation = CMD_INSERT;
	copy->modify->mt_nrels = 1;
	copy->modify->resultRelInfo = copy->modify->rootResultRelInfo = copy->info;
	copy->routing = ExecSetupPartitionTupleRouting(copy->estate, copy->there);
	copy->attnums = zdm_mirror_attnums(copy->mirror, copy->there);
	copy->row = MakeSingleTupleTableSlot(RelationGetDescr(copy->there), &TTSOpsVirtual);
}

/*
 * Whether rows can be looked for in each partition, and inserted there, without
 * a statement.
 */
static bool
are_partitions_plain(ZdmMirror *mirror)
{
	ZdmMirrorLook *look = zdm_mirror_look_begin(mirror, GetActiveSnapshot());
	bool		result = look != NULL;
	ListCell   *lc;

	if (look != NULL)
		zdm_mirror_look_end(look);
	foreach(lc, find_all_inheritors(mirror->there, AccessShareLock, NULL))
	{
		Relation	partition = table_open(lfirst_oid(lc), NoLock);
		TriggerDesc *triggers;

		if (partition->rd_rel->relkind != RELKIND_PARTITIONED_TABLE)
			result &= partition->rd_rel->relkind == RELKIND_RELATION &&
				partition->rd_rel->relam == HEAP_TABLE_AM_OID;
		result &= zdm_mirror_is_alone(mirror, partition) &&
			zdm_mirror_constraint_triggers(partition, &triggers);
		table_close(partition, NoLock);
	}
	return result;
}

static Target *
add_target(ZdmMirrorCopy *copy, ResultRelInfo *info)
{
	MemoryContext old = MemoryContextSwitchTo(copy->estate->es_query_cxt);
	Target	   *target = palloc0_object(Target);

	target->info = info;
	target->attnums = zdm_mirror_attnums(copy->mirror, info->ri_RelationDesc);
	copy->targets = lappend(copy->targets, target);
	MemoryContextSwitchTo(old);
	return target;
}

/*
 * The rows that are still waiting are lost, unless zdm_mirror_copy_flush() was
 * called.  Returns how many rows were inserted.
 */
uint64
zdm_mirror_copy_end(ZdmMirrorCopy *copy)
{
	uint64		inserted = copy->inserted;

	if (copy->routing != NULL)
	{
		ExecDropSingleTupleTableSlot(copy->row);
		ExecResetTupleTable(copy->estate->es_tupleTable, false);
		copy->estate->es_tupleTable = NIL;
		ExecCleanupTupleRouting(copy->modify, copy->routing);
	}
	zdm_mirror_end_write(copy->estate);
	table_close(copy->there, NoLock);
	return inserted;
}

/*
 * Take what the second table gets for a row, which the caller has locked, and
 * for which it is to have one (zdm_mirror_is_copied).
 */
void
zdm_mirror_copy_row(ZdmMirrorCopy *copy, TupleTableSlot *slot)
{
	ZdmMirrorRow row;

	zdm_mirror_take(copy->mirror, slot, &row);
	if (add(copy, &row))
		zdm_mirror_copy_flush(copy);
}

/*
 * Returns whether no more are to wait.
 */
static bool
add(ZdmMirrorCopy *copy, const ZdmMirrorRow *row)
{
	Target	   *target = copy->routing != NULL ? route(copy, row) : copy->last;
	TupleTableSlot *slot = next_slot(copy, target);
	HeapTuple	tuple;
	bool		free;

	fill_slot(copy->mirror, target->attnums, row, copy->estate, target->info, slot);
	ExecMaterializeSlot(slot);
	tuple = ExecFetchSlotHeapTuple(slot, false, &free);
	target->count++;
	copy->order[copy->count++] = target;
	copy->bytes += tuple->t_len;
	return copy->count == MAX_ROWS || copy->bytes > MAX_BYTES;
}

static TupleTableSlot *
next_slot(ZdmMirrorCopy *copy, Target *target)
{
	MemoryContext old = MemoryContextSwitchTo(copy->estate->es_query_cxt);

	if (target->slots[target->count] == NULL)
		target->slots[target->count] = table_slot_create(target->info->ri_RelationDesc,
														 &copy->estate->es_tupleTable);
	MemoryContextSwitchTo(old);
	return target->slots[target->count];
}

/*
 * The partition that the row belongs to.
 */
static Target *
route(ZdmMirrorCopy *copy, const ZdmMirrorRow *row)
{
	ResultRelInfo *info;

	fill_slot(copy->mirror, copy->attnums, row, copy->estate, NULL, copy->row);
	info = ExecFindPartition(copy->modify, copy->info, copy->routing, copy->row, copy->estate);
	ResetPerTupleExprContext(copy->estate);
	if (copy->last == NULL || copy->last->info != info)
		copy->last = partition_target(copy, info);
	return copy->last;
}

static Target *
partition_target(ZdmMirrorCopy *copy, ResultRelInfo *info)
{
	ListCell   *lc;
	MemoryContext old;

	foreach(lc, copy->targets)
	{
		Target	   *target = lfirst(lc);

		if (target->info == info)
			return target;
	}
	old = MemoryContextSwitchTo(copy->estate->es_query_cxt);
	(void) zdm_mirror_constraint_triggers(info->ri_RelationDesc, &info->ri_TrigDesc);
	MemoryContextSwitchTo(old);
	return add_target(copy, info);
}

/*
 * Insert those rows that wait.
 */
void
zdm_mirror_copy_flush(ZdmMirrorCopy *copy)
{
	int			count;
	ListCell   *lc;

	if (copy->count == 0)
		return;
	PushActiveSnapshot(GetLatestSnapshot());
	count = leave_out_existing(copy);
	if (count > 0)
		insert(copy);
	PopActiveSnapshot();
	foreach(lc, copy->targets)
	{
		Target	   *target = lfirst(lc);

		for (int i = 0; i < target->count; i++)
			ExecClearTuple(target->slots[i]);
		target->count = 0;
	}
	copy->inserted += count;
	copy->count = 0;
	copy->bytes = 0;
}

/*
 * Keep those that the second table lacks, and return how many they are.  They
 * are looked for as they came, which mostly is the order of their keys.
 */
static int
leave_out_existing(ZdmMirrorCopy *copy)
{
	const ZdmMirror *mirror = copy->mirror;
	ZdmMirrorLook *look = zdm_mirror_look_begin(copy->mirror, GetActiveSnapshot());
	ZdmMirrorRow row = {
		.values = palloc_array(Datum, mirror->count),
		.nulls = palloc_array(char, mirror->count),
	};
	int			missing = 0;
	ListCell   *lc;

	if (look == NULL)
		elog(ERROR, "table \"%s\" has lost its key", RelationGetRelationName(copy->there));
	for (int i = 0; i < copy->count; i++)
	{
		Target	   *target = copy->order[i];
		TupleTableSlot *slot = target->slots[target->looked_for];

		if (!is_there(look, mirror, target, slot, &row))
		{
			target->slots[target->looked_for] = target->slots[target->missing];
			target->slots[target->missing++] = slot;
			missing++;
		}
		target->looked_for++;
	}
	zdm_mirror_look_end(look);
	foreach(lc, copy->targets)
	{
		Target	   *target = lfirst(lc);

		for (int i = target->missing; i < target->count; i++)
			ExecClearTuple(target->slots[i]);
		target->count = target->missing;
		target->looked_for = target->missing = 0;
	}
	return missing;
}

static bool
is_there(ZdmMirrorLook *look, const ZdmMirror *mirror, Target *target,
		 TupleTableSlot *slot, ZdmMirrorRow *row)
{
	for (int i = 0; i < mirror->keys; i++)
	{
		bool		isnull;

		row->values[i] = slot_getattr(slot, target->attnums[i], &isnull);
		row->nulls[i] = ' ';
	}
	return zdm_mirror_look(look, row);
}

static void
insert(ZdmMirrorCopy *copy)
{
	EState	   *estate = copy->estate;
	ListCell   *lc;

	estate->es_snapshot = GetActiveSnapshot();
	estate->es_output_cid = GetCurrentCommandId(true);
	foreach(lc, copy->targets)
		check_rows(lfirst(lc), estate);
	AfterTriggerBeginQuery();
	foreach(lc, copy->targets)
	{
		Target	   *target = lfirst(lc);

		if (target->count == 0)
			continue;
		table_multi_insert(target->info->ri_RelationDesc, target->slots, target->count,
						   estate->es_output_cid, 0, NULL);
		for (int i = 0; i < target->count; i++)
			insert_index_entries(target, target->slots[i], estate);
	}
	AfterTriggerEndQuery(estate);
	CommandCounterIncrement();
}

static void
check_rows(Target *target, EState *estate)
{
	if (RelationGetDescr(target->info->ri_RelationDesc)->constr == NULL)
		return;
	for (int i = 0; i < target->count; i++)
	{
		ExecConstraints(target->info, target->slots[i], estate);
		ResetPerTupleExprContext(estate);
	}
}

/*
 * And what is to be checked of the row behind that.
 */
static void
insert_index_entries(Target *target, TupleTableSlot *row, EState *estate)
{
	List	   *recheck = NIL;

	if (target->info->ri_NumIndices > 0)
		recheck = zdm_insert_new_index_tuples(target->info, row, estate);
	if (target->info->ri_TrigDesc != NULL)
		ExecARInsertTriggers(estate, target->info, row, recheck, NULL);
	list_free(recheck);
	ResetPerTupleExprContext(estate);
}
