/*-------------------------------------------------------------------------
 *
 * mirror_direct.c
 *	  Lock, set or insert the other table's row without a statement.
 *
 * What single-row writes of both versions ask for most: the other table's row
 * is found by its index, and locked or written as the executor would do it,
 * without a plan that has to be started and ended.  That is possible with an
 * ordinary table which has a unique index on just the key (mirror_lookup.c),
 * and where nothing runs for the row but the server's own: no triggers that
 * fire but foreign keys', no rules, and no other migration's.
 * For any other table, and in a transaction with one snapshot, there is the
 * statement.
 *
 * The trigger of the other table for its echo is not fired: nobody has
 * come between us and the row.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "executor/executor.h"
#include "nodes/execnodes.h"
#include "utils/datum.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/relcache.h"
#include "utils/snapmgr.h"

#include "catalog/sync_rule.h"
#include "sync/mirror.h"
#include "util/compat.h"
#include "util/ident.h"

/*
 * A table as far as we know it; see zdm_mirror_direct_forget().  Whoever writes
 * by it goes on with the same one: what he runs for a row (checks, functions of
 * an index, constraints' triggers) may lead to us again, when the table has
 * changed, and the triggers that he has queued are in here.
 */
struct ZdmMirrorDirect
{
	MemoryContext cxt;
	bool		outdated;
	bool		complete;
	TransactionId locker;		/* the (sub)transaction that has locked, or
								 * inserted, a row last ... */
	ItemPointerData locked;		/* ... and where that is */
	bool		can_lock;
	bool		can_set;
	bool		can_insert;
	bool		same_keys;		/* in type */
	bool		identity;		/* a column that no UPDATE sets */
	AttrNumber *attnums;		/* of the rule's columns */
	TriggerDesc *triggers;		/* those that fire; NULL: none */
	LockTupleMode mode;			/* that an update of the columns takes */
};

static ZdmMirrorDirect *know(ZdmMirror *mirror, Relation there);
static ZdmMirrorDirect *begin_anew(ZdmMirror *mirror);
static bool know_columns(const ZdmMirror *mirror, ZdmMirrorDirect *direct, Relation there);
static bool are_all_columns(const ZdmMirror *mirror, Relation there);
static bool has_generated(Relation rel);
static bool is_alone(const ZdmMirror *mirror, Relation there);
static bool know_triggers(ZdmMirrorDirect *direct, Relation there);
static bool can_do(const ZdmMirrorDirect *direct, ZdmMirrorAction action);
static bool find_row(ZdmMirror *mirror, Relation there, const ZdmMirrorRow *row,
					 ItemPointer tid);
static bool read_row(ZdmMirror *mirror, const ZdmMirrorDirect *direct, Relation there,
					 const ZdmMirrorRow *row, TupleTableSlot *slot);
static void remember(ZdmMirrorDirect *direct, ItemPointer tid);
static bool lock_row(ZdmMirror *mirror, Relation there, const ZdmMirrorRow *row,
					 ItemPointer tid, LockTupleMode mode, TupleTableSlot *slot);
static uint64 lock_first(ZdmMirror *mirror, ZdmMirrorDirect *direct, Relation there,
						 const ZdmMirrorRow *row);
static uint64 set_columns(ZdmMirror *mirror, const ZdmMirrorDirect *direct, Relation there,
						  const ZdmMirrorRow *row);
static uint64 insert_row(ZdmMirror *mirror, ZdmMirrorDirect *direct, Relation there,
						 const ZdmMirrorRow *row, bool may_exist);
static void make_new_row(const ZdmMirror *mirror, const ZdmMirrorDirect *direct,
						 const ZdmMirrorRow *row, TupleTableSlot *old, TupleTableSlot *new);
static List *add_index_entries(EState *estate, ResultRelInfo *info, TupleTableSlot *new,
							   TU_UpdateIndexes which);

/*
 * Do it, and say how many rows it concerned; returns false where it takes the
 * statement.  there is open, and locked as the action needs it.
 */
bool
zdm_mirror_direct(ZdmMirror *mirror, Relation there, ZdmMirrorAction action,
				  const ZdmMirrorRow *row, uint64 *processed)
{
	ZdmMirrorDirect *direct;

	if (IsolationUsesXactSnapshot())
		return false;
	direct = know(mirror, there);
	if (!can_do(direct, action))
		return false;
	*processed = 0;
	if (zdm_mirror_has_null(row, 0, mirror->keys))
		return action == ZDM_MIRROR_LOCK || action == ZDM_MIRROR_SET;
	CommandCounterIncrement();
	PushActiveSnapshot(GetTransactionSnapshot());
	*processed = action == ZDM_MIRROR_LOCK ? lock_first(mirror, direct, there, row)
		: action == ZDM_MIRROR_SET ? set_columns(mirror, direct, there, row)
		: insert_row(mirror, direct, there, row, action != ZDM_MIRROR_INSERT);
	PopActiveSnapshot();
	CommandCounterIncrement();
	return true;
}

static bool
can_do(const ZdmMirrorDirect *direct, ZdmMirrorAction action)
{
	switch (action)
	{
		case ZDM_MIRROR_LOCK:
			return direct->can_lock;
		case ZDM_MIRROR_SET:
			return direct->can_set;
		case ZDM_MIRROR_INSERT:
		case ZDM_MIRROR_ADD:
		case ZDM_MIRROR_PUT:
			return direct->can_insert;
		default:
			return false;
	}
}

/*
 * Read the columns of the row with the key into row, by the active snapshot and
 * in the current memory context; found is set to whether there is one.
 * Returns false where it takes the statement.
 */
bool
zdm_mirror_direct_read(ZdmMirror *mirror, Relation there, ZdmMirrorRow *row, bool *found)
{
	ZdmMirrorDirect *direct = know(mirror, there);
	TupleTableSlot *slot;

	if (!direct->can_lock)
		return false;
	slot = table_slot_create(there, NULL);
	*found = read_row(mirror, direct, there, row, slot);
	for (int i = mirror->keys; *found && i < mirror->count; i++)
	{
		const ZdmMirrorColumn *column = &mirror->columns[i];
		bool		isnull;
		Datum		value = slot_getattr(slot, direct->attnums[i], &isnull);

		row->nulls[i] = isnull ? 'n' : ' ';
		if (!isnull)
			row->values[i] = datumCopy(value, column->typbyval, column->typlen);
	}
	ExecDropSingleTupleTableSlot(slot);
	return true;
}

/*
 * Whether rows can be inserted without a statement; triggers is set to those
 * that fire for them, or NULL.
 */
bool
zdm_mirror_can_insert(ZdmMirror *mirror, Relation there, TriggerDesc **triggers)
{
	ZdmMirrorDirect *direct = know(mirror, there);

	*triggers = direct->can_insert ? direct->triggers : NULL;
	return direct->can_insert;
}

/*
 * The other table has changed; called where nothing else may be done.
 */
void
zdm_mirror_direct_forget(ZdmMirror *mirror)
{
	if (mirror->direct != NULL)
		mirror->direct->outdated = true;
}

static ZdmMirrorDirect *
know(ZdmMirror *mirror, Relation there)
{
	ZdmMirrorDirect *direct = mirror->direct;
	bool		plain;

	if (direct != NULL && direct->complete && !direct->outdated)
		return direct;
	direct = begin_anew(mirror);
	direct->can_lock = zdm_mirror_can_scan(mirror, there);
	plain = direct->can_lock && know_columns(mirror, direct, there) &&
		!there->rd_rel->relispartition && there->rd_rules == NULL && know_triggers(direct, there) && is_alone(mirror, there);
	direct->can_insert = plain && direct->same_keys && are_all_columns(mirror, there);
	direct->can_set = plain && !direct->identity && mirror->count > mirror->keys && !has_generated(there);
	direct->complete = true;
	return direct;
}

/*
 * An invalidation from here on means that it is outdated at once.
 */
static ZdmMirrorDirect *
begin_anew(ZdmMirror *mirror)
{
	ZdmMirrorDirect *last = mirror->direct;
	MemoryContext cxt;

	mirror->direct = NULL;
	if (last != NULL && zdm_rules_nested())
		MemoryContextSetParent(last->cxt, TopTransactionContext);
	else if (last != NULL)
		MemoryContextDelete(last->cxt);
	cxt = AllocSetContextCreate(mirror->cxt, "zdm mirrored table", ALLOCSET_SMALL_SIZES);
	mirror->direct = MemoryContextAllocZero(cxt, sizeof(ZdmMirrorDirect));
	mirror->direct->cxt = cxt;
	return mirror->direct;
}

static bool
has_generated(Relation rel)
{
	TupleConstr *constr = RelationGetDescr(rel)->constr;

	return constr != NULL && constr->has_generated_stored;
}

/*
 * Whether no column is left to its default.
 */
static bool
are_all_columns(const ZdmMirror *mirror, Relation there)
{
	TupleDesc	desc = RelationGetDescr(there);
	int			count = 0;

	for (int i = 0; i < desc->natts; i++)
		if (!TupleDescAttr(desc, i)->attisdropped && !TupleDescAttr(desc, i)->attgenerated)
			count++;
	return count == mirror->count;
}

/*
 * Returns false where a value would have to be made to fit.
 */
static bool
know_columns(const ZdmMirror *mirror, ZdmMirrorDirect *direct, Relation there)
{
	Bitmapset  *keys = RelationGetIndexAttrBitmap(there, INDEX_ATTR_BITMAP_KEY);
	bool		fit = true;

	direct->attnums = MemoryContextAllocZero(direct->cxt, sizeof(AttrNumber) * mirror->count);
	direct->mode = LockTupleNoKeyExclusive;
	direct->same_keys = true;
	direct->identity = false;
	for (int i = 0; i < mirror->count; i++)
	{
		const ZdmMirrorColumn *column = &mirror->columns[i];
		AttrNumber	attnum = get_attnum(RelationGetRelid(there), column->there);
		Form_pg_attribute attr = TupleDescAttr(RelationGetDescr(there), attnum - 1);
		bool		same = attr->atttypid == column->type &&
			(attr->atttypmod < 0 || attr->atttypmod == column->typmod);

		direct->attnums[i] = attnum;
		if (i < mirror->keys)
		{
			direct->same_keys &= same;
			continue;
		}
		fit &= same;
		direct->identity |= attr->attidentity != '\0';
		if (bms_is_member(attnum - FirstLowInvalidHeapAttributeNumber, keys))
			direct->mode = LockTupleExclusive;
	}
	return fit;
}

/*
 * Whether nobody else has to learn of a write of the other table.
 */
static bool
is_alone(const ZdmMirror *mirror, Relation there)
{
	ZdmMirrorSet *set = zdm_mirrors_get(there);

	return set->count == 1 && set->mirrors[0].migration_id == mirror->migration_id &&
		set->mirrors[0].number == mirror->number;
}

/*
 * Copy those triggers that the server has made for constraints.
 */
static bool
know_triggers(ZdmMirrorDirect *direct, Relation there)
{
	static const char *const ours[] = {
		ZDM_MIRROR_TRIGGER, ZDM_MIRROR_TRUNCATE_TRIGGER, ZDM_MIRROR_LOCK_TRIGGER,
		ZDM_MIRROR_ORDER_TRIGGER
	};
	MemoryContext old = MemoryContextSwitchTo(direct->cxt);
	TriggerDesc *copy = CopyTriggerDesc(there->trigdesc);
	int			kept = 0;
	bool		result = true;

	MemoryContextSwitchTo(old);
	for (int i = 0; copy != NULL && i < copy->numtriggers; i++)
	{
		bool		is_ours = false;

		for (size_t j = 0; j < lengthof(ours); j++)
			is_ours |= strcmp(copy->triggers[i].tgname, ours[j]) == 0;
		if (copy->triggers[i].tgisinternal)
			copy->triggers[kept++] = copy->triggers[i];
		else
			result &= is_ours || copy->triggers[i].tgenabled == TRIGGER_DISABLED;
	}
	if (kept > 0)
		copy->numtriggers = kept;
	direct->triggers = kept > 0 ? copy : NULL;
	return result;
}

static bool
find_row(ZdmMirror *mirror, Relation there, const ZdmMirrorRow *row, ItemPointer tid)
{
	SysScanDesc scan = zdm_mirror_begin_scan(mirror, there, row, GetActiveSnapshot());
	HeapTuple	tuple = systable_getnext(scan);

	if (HeapTupleIsValid(tuple))
		*tid = tuple->t_self;
	systable_endscan(scan);
	return HeapTupleIsValid(tuple);
}

/*
 * The row with the key, into the slot.  Where it is the one that this
 * transaction has had last, it need not be looked for.
 */
static bool
read_row(ZdmMirror *mirror, const ZdmMirrorDirect *direct, Relation there,
		 const ZdmMirrorRow *row, TupleTableSlot *slot)
{
	ItemPointerData tid = direct->locked;

	if (TransactionIdIsValid(direct->locker) && direct->locker == GetCurrentTransactionIdIfAny() &&
		table_tuple_fetch_row_version(there, &tid, GetActiveSnapshot(), slot) &&
		zdm_mirror_has_key(mirror, slot, row))
		return true;
	return find_row(mirror, there, row, &tid) &&
		table_tuple_fetch_row_version(there, &tid, GetActiveSnapshot(), slot);
}

/*
 * The row is ours until the end of the (sub)transaction.
 */
static void
remember(ZdmMirrorDirect *direct, ItemPointer tid)
{
	direct->locker = GetCurrentTransactionId();
	direct->locked = *tid;
}

/*
 * Lock the newest version of a row, and read it into the slot.  Returns false
 * where there is none with the key any more.
 */
static bool
lock_row(ZdmMirror *mirror, Relation there, const ZdmMirrorRow *row,
		 ItemPointer tid, LockTupleMode mode, TupleTableSlot *slot)
{
	TM_FailureData failure;
	TM_Result	result = table_tuple_lock(there, tid, GetActiveSnapshot(), slot,
										  GetCurrentCommandId(true), mode, LockWaitBlock,
										  TUPLE_LOCK_FLAG_LOCK_UPDATE_IN_PROGRESS |
										  TUPLE_LOCK_FLAG_FIND_LAST_VERSION, &failure);

	switch (result)
	{
		case TM_Ok:
			return !failure.traversed || zdm_mirror_has_key(mirror, slot, row);
		case TM_Deleted:
		case TM_Updated:
		case TM_SelfModified:
			return false;
		default:
			elog(ERROR, "unexpected result %d of a row lock", (int) result);
	}
	return false;
}

static uint64
lock_first(ZdmMirror *mirror, ZdmMirrorDirect *direct, Relation there, const ZdmMirrorRow *row)
{
	ItemPointerData tid;
	TupleTableSlot *slot;
	bool		locked;

	if (!find_row(mirror, there, row, &tid))
		return 0;
	slot = table_slot_create(there, NULL);
	locked = lock_row(mirror, there, row, &tid, LockTupleNoKeyExclusive, slot);
	if (locked)
		remember(direct, &slot->tts_tid);
	ExecDropSingleTupleTableSlot(slot);
	return locked ? 1 : 0;
}

static uint64
set_columns(ZdmMirror *mirror, const ZdmMirrorDirect *direct, Relation there,
			const ZdmMirrorRow *row)
{
	ItemPointerData tid;
	EState	   *estate;
	MemoryContext old_cxt;
	ResultRelInfo *info;
	TupleTableSlot *old,
			   *new;
	TU_UpdateIndexes indexes = TU_None;
	TM_FailureData failure;
	LockTupleMode mode;
	bool		found;
	List	   *recheck;

	CheckCmdReplicaIdentity(there, CMD_UPDATE);
	estate = CreateExecutorState();
	old_cxt = MemoryContextSwitchTo(estate->es_query_cxt);
	info = zdm_mirror_begin_write(estate, direct->triggers, there);
	old = table_slot_create(there, &estate->es_tupleTable);
	new = table_slot_create(there, &estate->es_tupleTable);

	/* Mostly it is ours already, or nobody's: a lock of its own is for later. */
	found = read_row(mirror, direct, there, row, old);
	while (found)
	{
		TM_Result	result;

		make_new_row(mirror, direct, row, old, new);
		if (RelationGetDescr(there)->constr != NULL)
			ExecConstraints(info, new, estate);
		tid = old->tts_tid;
		result = zdm_tuple_update(there, &tid, new, estate->es_output_cid, estate->es_snapshot,
								  InvalidSnapshot, true, &failure, &mode, &indexes);
		if (result == TM_Ok)
			break;
		if (result != TM_Updated && result != TM_Deleted)
			elog(ERROR, "unexpected result %d of an update", (int) result);
		found = result == TM_Updated &&
			lock_row(mirror, there, row, &tid, direct->mode, old);
	}
	if (found)
	{
		recheck = add_index_entries(estate, info, new, indexes);
		if (info->ri_TrigDesc != NULL)
		{
			AfterTriggerBeginQuery();
			ExecARUpdateTriggers(estate, info, NULL, NULL, &tid, NULL, new, recheck, NULL, false);
			AfterTriggerEndQuery(estate);
		}
	}
	MemoryContextSwitchTo(old_cxt);
	zdm_mirror_end_write(estate);
	return found ? 1 : 0;
}

static uint64
insert_row(ZdmMirror *mirror, ZdmMirrorDirect *direct, Relation there,
		   const ZdmMirrorRow *row, bool may_exist)
{
	ItemPointerData tid;

	if (!zdm_mirror_insert_row(mirror, there, direct->triggers, direct->attnums, row, may_exist, &tid))
		return 0;
	remember(direct, &tid);
	return 1;
}

/*
 * Get ready to write a table's rows, by the active snapshot.
 */
ResultRelInfo *
zdm_mirror_begin_write(EState *estate, TriggerDesc *triggers, Relation there)
{
	ResultRelInfo *info = makeNode(ResultRelInfo);

	estate->es_snapshot = GetActiveSnapshot();
	estate->es_output_cid = GetCurrentCommandId(true);
	InitResultRelInfo(info, there, 0, NULL, 0);
	info->ri_TrigDesc = triggers;
	if (triggers != NULL)
	{
		info->ri_TrigFunctions = palloc0_array(FmgrInfo, triggers->numtriggers);
		info->ri_TrigWhenExprs = palloc0_array(ExprState *, triggers->numtriggers);
	}
	/* Triggers look for their table among these. */
	estate->es_opened_result_relations = list_make1(info);
	return info;
}

/*
 * The tables that were opened for it are closed: also those that a cascade of
 * the server's has written, whose triggers have fired among ours.
 */
void
zdm_mirror_end_write(EState *estate)
{
	ExecResetTupleTable(estate->es_tupleTable, false);
	ExecCloseResultRelations(estate);
	FreeExecutorState(estate);
}

static void
make_new_row(const ZdmMirror *mirror, const ZdmMirrorDirect *direct,
			 const ZdmMirrorRow *row, TupleTableSlot *old, TupleTableSlot *new)
{
	int			natts = old->tts_tupleDescriptor->natts;

	slot_getallattrs(old);
	ExecClearTuple(new);
	memcpy(new->tts_values, old->tts_values, sizeof(Datum) * natts);
	memcpy(new->tts_isnull, old->tts_isnull, sizeof(bool) * natts);
	for (int i = mirror->keys; i < mirror->count; i++)
	{
		AttrNumber	attnum = direct->attnums[i];

		new->tts_values[attnum - 1] = row->values[i];
		new->tts_isnull[attnum - 1] = row->nulls[i] == 'n';
	}
	ExecStoreVirtualTuple(new);
	new->tts_tableOid = old->tts_tableOid;
}

/*
 * The indexes whose check is for later are returned.
 */
static List *
add_index_entries(EState *estate, ResultRelInfo *info, TupleTableSlot *new,
				  TU_UpdateIndexes which)
{
	List	   *recheck = NIL;

	if (which == TU_None)
		return NIL;
	ExecOpenIndices(info, false);
	if (info->ri_NumIndices > 0)
		recheck = zdm_insert_index_tuples(info, new, estate, which);
	return recheck;
}
