/*-------------------------------------------------------------------------
 *
 * store.c
 *	  How a backfill stores a row.
 *
 * A row's new version is stored below the executor, with the table access
 * method's own update, because that is what lets the backfill keep its
 * promises: it does not wait for a row, no trigger fires, no constraint of
 * another column is checked again, and the row is neither locked nor written
 * twice.  Only where somebody takes the row in the moment between our look and
 * our update do we wait, for at most ROW_LOCK_WAIT_MS: well below
 * deadlock_timeout, so that whoever waits for us in turn is never chosen as
 * the victim of a deadlock.  A row that somebody else has updated since the
 * snapshot needs nothing from us: his update came through the sync trigger.
 *
 * With zdm.fire_user_triggers each row is updated by an SQL statement
 * instead, which waits for a row for at most that time.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/sysattr.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/executor.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/relcache.h"
#include "utils/snapmgr.h"

#include "backfill/constraints.h"
#include "backfill/store.h"
#include "util/compat.h"
#include "util/guc.h"
#include "util/ident.h"
#include "util/spi.h"

#define ROW_LOCK_WAIT_MS	100

struct ZdmStore
{
	Relation	rel;
	EState	   *estate;
	ResultRelInfo *relinfo;
	LockTupleMode lock_mode;	/* what changing the columns needs */
	ZdmConstraints *constraints;	/* on the columns */
	SPIPlanPtr	plan;			/* with zdm.fire_user_triggers */
	List	   *plan_columns;	/* attribute numbers of its parameters */
};

static ZdmStored lock_row(ZdmStore *store, TupleTableSlot *row,
						  TransactionId *holder);
static bool may_be_held(TupleTableSlot *row);
static ZdmStored update_tuple(ZdmStore *store, TupleTableSlot *old_row,
							  TupleTableSlot *new_row, TransactionId *holder);
static ZdmStored update_by_sql(ZdmStore *store, TupleTableSlot *old_row,
							   TupleTableSlot *new_row);
static SPIPlanPtr prepare_update(ZdmStore *store);
static ZdmStored outcome(TM_Result result, TM_FailureData *failure, Relation rel,
						 ItemPointer tid, TransactionId *holder);

/*
 * Get ready to store rows of a table, in the current subtransaction and as the
 * current user.  written: the columns that may change, offset by
 * FirstLowInvalidHeapAttributeNumber; columns: the attribute numbers of those
 * that a statement sets.
 */
ZdmStore *
zdm_store_begin(Relation rel, Bitmapset *written, List *columns)
{
	ZdmStore   *store = palloc0_object(ZdmStore);

	CheckCmdReplicaIdentity(rel, CMD_UPDATE);
	store->rel = rel;
	store->estate = CreateExecutorState();
	store->relinfo = makeNode(ResultRelInfo);
	InitResultRelInfo(store->relinfo, rel, 0, NULL, 0);
	ExecOpenIndices(store->relinfo, false);
	store->lock_mode =
		bms_overlap(written, RelationGetIndexAttrBitmap(rel, INDEX_ATTR_BITMAP_KEY))
		? LockTupleExclusive : LockTupleNoKeyExclusive;
	store->constraints = zdm_constraints_on(rel, written, store->estate, store->relinfo);
	zdm_set_config("lock_timeout", psprintf("%d", ROW_LOCK_WAIT_MS), GUC_ACTION_SAVE);
	store->plan_columns = columns;
	if (zdm_fire_user_triggers && columns != NIL)
		store->plan = prepare_update(store);
	return store;
}

void
zdm_store_end(ZdmStore *store)
{
	if (store->plan != NULL && SPI_finish() != SPI_OK_FINISH)
		elog(ERROR, "SPI_finish failed");
	ExecResetTupleTable(store->estate->es_tupleTable, false);
	ExecCloseIndices(store->relinfo);
	FreeExecutorState(store->estate);
}

/*
 * Store new_row in the place of old_row.  Where somebody holds that, holder is
 * set to his transaction.
 */
ZdmStored
zdm_store_row(ZdmStore *store, TupleTableSlot *old_row, TupleTableSlot *new_row,
			  TransactionId *holder)
{
	new_row->tts_tableOid = RelationGetRelid(store->rel);
	return store->plan != NULL ? update_by_sql(store, old_row, new_row)
		: update_tuple(store, old_row, new_row, holder);
}

/*
 * Lock a row without waiting for it.
 */
static ZdmStored
lock_row(ZdmStore *store, TupleTableSlot *row, TransactionId *holder)
{
	TupleTableSlot *locked = table_slot_create(store->rel, NULL);
	TM_FailureData failure = {.xmax = InvalidTransactionId};
	TM_Result	result;

	result = table_tuple_lock(store->rel, &row->tts_tid, GetActiveSnapshot(), locked,
							  GetCurrentCommandId(true), store->lock_mode,
							  LockWaitSkip, 0, &failure);
	ExecDropSingleTupleTableSlot(locked);
	return outcome(result, &failure, store->rel, &row->tts_tid, holder);
}

/*
 * A row's subtransaction has failed.
 */
void
zdm_store_failed(ZdmStore *store)
{
	zdm_constraints_failed(store->constraints);
}

/*
 * Whether anybody had set the row's xmax when it was read.  Who does so
 * afterwards is waited for, for at most ROW_LOCK_WAIT_MS: there is no update
 * that does not wait.
 */
static bool
may_be_held(TupleTableSlot *row)
{
	bool		free;

	if (!TTS_IS_BUFFERTUPLE(row))
		return true;
	return !(ExecFetchSlotHeapTuple(row, false, &free)->t_data->t_infomask & HEAP_XMAX_INVALID);
}

static ZdmStored
update_tuple(ZdmStore *store, TupleTableSlot *old_row, TupleTableSlot *new_row,
			 TransactionId *holder)
{
	ItemPointer tid = &old_row->tts_tid;
	TM_FailureData failure = {.xmax = InvalidTransactionId};
	LockTupleMode mode;
	TU_UpdateIndexes indexes;
	TM_Result	result;
	List	   *recheck = NIL;

	zdm_constraints_before(store->constraints, new_row);

	/*
	 * Somebody may hold the row, or only against a change of its key, as the
	 * rows that foreign keys refer to always are.  Once we have the lock, the
	 * update has nobody left to wait for.
	 */
	if (may_be_held(old_row))
	{
		ZdmStored	locked = lock_row(store, old_row, holder);

		if (locked != ZDM_STORED)
			return locked;
	}
	result = zdm_tuple_update(store->rel, tid, new_row, GetCurrentCommandId(true),
							  GetActiveSnapshot(), InvalidSnapshot, true,
							  &failure, &mode, &indexes);
	if (result != TM_Ok)
		return outcome(result, &failure, store->rel, tid, holder);
	if (store->relinfo->ri_NumIndices > 0 && indexes != TU_None)
		recheck = zdm_insert_index_tuples(store->relinfo, new_row, store->estate, indexes);
	zdm_constraints_after(store->constraints, old_row, new_row, recheck);
	ResetPerTupleExprContext(store->estate);
	return ZDM_STORED;
}

/*
 * What the access method said of a row.
 */
static ZdmStored
outcome(TM_Result result, TM_FailureData *failure, Relation rel, ItemPointer tid,
		TransactionId *holder)
{
	switch (result)
	{
		case TM_Ok:
			return ZDM_STORED;
		case TM_Updated:
		case TM_Deleted:
			return ZDM_STORED_BY_OTHERS;
		case TM_BeingModified:
		case TM_WouldBlock:
			*holder = failure->xmax;
			return ZDM_STORED_NOT;
		case TM_SelfModified:
		case TM_Invisible:
			break;
	}
	elog(ERROR, "unexpected result %d of updating row (%u,%u) of table \"%s\"",
		 result, ItemPointerGetBlockNumber(tid), ItemPointerGetOffsetNumber(tid),
		 RelationGetRelationName(rel));
}

/*
 * The same by a statement, with the table's triggers.  It is given the values
 * that were computed: an expression may be one that is evaluated once a row.
 */
static ZdmStored
update_by_sql(ZdmStore *store, TupleTableSlot *old_row, TupleTableSlot *new_row)
{
	int			count = list_length(store->plan_columns);
	Datum	   *values = palloc_array(Datum, count + 1);
	char	   *nulls = palloc_array(char, count + 1);
	ListCell   *lc;

	values[0] = PointerGetDatum(&old_row->tts_tid);
	nulls[0] = ' ';
	foreach(lc, store->plan_columns)
	{
		int			i = foreach_current_index(lc) + 1;
		bool		isnull;

		values[i] = slot_getattr(new_row, (AttrNumber) lfirst_int(lc), &isnull);
		nulls[i] = isnull ? 'n' : ' ';
	}
	if (SPI_execute_plan(store->plan, values, nulls, false, 0) != SPI_OK_UPDATE)
		elog(ERROR, "unexpected result of a backfill's UPDATE");
	return SPI_processed > 0 ? ZDM_STORED : ZDM_STORED_BY_OTHERS;
}

/*
 * Leaves us connected to SPI, until zdm_store_end().
 */
static SPIPlanPtr
prepare_update(ZdmStore *store)
{
	TupleDesc	desc = RelationGetDescr(store->rel);
	Oid		   *types = palloc_array(Oid, desc->natts + 1);
	StringInfoData sql;
	int			params = 1;
	SPIPlanPtr	plan;
	ListCell   *lc;

	types[0] = TIDOID;
	initStringInfo(&sql);
	foreach(lc, store->plan_columns)
	{
		Form_pg_attribute attr = TupleDescAttr(desc, lfirst_int(lc) - 1);

		types[params++] = attr->atttypid;
		appendStringInfo(&sql, "%s %s = $%d", sql.len ? "," : "",
						 quote_identifier(NameStr(attr->attname)), params);
	}
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	zdm_set_constraints_immediate();
	plan = SPI_prepare(psprintf("UPDATE ONLY %s SET%s WHERE ctid OPERATOR(pg_catalog.=) $1",
								zdm_quote_relation(RelationGetRelid(store->rel)),
								sql.data),
					   params, types);
	if (plan == NULL)
		elog(ERROR, "SPI_prepare failed");
	return plan;
}
