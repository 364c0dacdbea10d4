/*-------------------------------------------------------------------------
 *
 * batch.c
 *	  One batch of a backfill: some blocks of one range, in one transaction.
 *
 * A batch reads a run of heap blocks (a TID range scan) and gives each row
 * that is not backfilled its new columns' values (store.c).  A row that
 * somebody holds is put aside and tried again later.
 *
 * All of it runs as the table's owner, security restricted: the expressions,
 * index expressions and triggers are his.  The whole batch is one
 * subtransaction.  When it fails, it is done again with a subtransaction for
 * each row, so that the rows that fail are found and put aside, and the
 * others go on.
 *
 * A batch ends when its blocks are done, or early, at a block's end, when it
 * has taken twice its time, or somebody waits for one of its rows; the next
 * one is then half as large.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <sched.h>
#include <unistd.h>

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/relscan.h"
#include "access/sysattr.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "miscadmin.h"
#include "portability/instr_time.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "backfill/batch.h"
#include "backfill/store.h"
#include "catalog/mirror_rule.h"
#include "schema/relation.h"
#include "sync/mirror.h"
#include "sync/row_sync.h"
#include "sync/rule.h"
#include "util/compat.h"
#include "util/holders.h"
#include "util/ident.h"
#include "util/lock.h"
#include "util/spi.h"

#define FIRST_BATCH_BLOCKS	64
#define MAX_BATCH_BLOCKS	8192
#define YIELD_MS			0.1

typedef struct Batch
{
	ZdmMigration *migration;
	ZdmRange   *range;
	Relation	rel;
	double		target_ms;		/* how long it should take */
	ZdmBatchReport *report;
	int			held;
	ZdmRuleSet *set;
	ZdmMirrorSet *mirrors;		/* NULL: the migration has none */
	/* NULL: none, or each row for itself */
	ZdmMirrorLook **looks;
	ZdmMirrorCopy *copy;
	ZdmStore   *store;
	TupleTableSlot *old_row;
	TupleTableSlot *locked_row;
	TupleTableSlot *new_row;	/* the rule set's, NULL: nothing to do */
	MemoryContext row_cxt;
	instr_time	start;
	double		yielded_ms;		/* after the start, last */
	bool		careful;		/* a subtransaction for each row */
	int			limit;			/* rows to try again */
	/* what the attempt has come to */
	int64		reached;		/* first block not visited */
	int			tried;			/* rows of those put aside before */
	int64		rows_done;
	int64		rows_changed;
	List	   *skipped;
	MemoryContext report_cxt;
} Batch;

static void batch_begin(Batch *batch);
static void batch_end(Batch *batch);
static int	run_batch(ZdmMigration *migration, ZdmRange *range, Relation rel,
					  double target_ms, int limit, ZdmBatchReport *report,
					  ZdmAttempt work);
static void fill_blocks(void *arg);
static void let_others_go_first(Batch *batch);
static void retry_rows(void *arg);
static void visit_row(Batch *batch);
static void fill_row(void *arg);
static void copy_row(Batch *batch);
static void put_aside(Batch *batch);
static TransactionId row_holder(TupleTableSlot *row);
static void note_blocker(Batch *batch, TransactionId xmax);
static List *written_columns(Batch *batch);
static double elapsed_ms(instr_time start);
static void adapt_size(ZdmRange *range, int64 blocks, double ms, double target_ms);

/*
 * Visit the next blocks of a claimed range, and move its cursor.  The caller
 * has locked the table (ROW EXCLUSIVE), stores the range and commits.
 */
void
zdm_batch_fill(ZdmMigration *migration, ZdmRange *range, Relation rel,
			   double target_ms, ZdmBatchReport *report)
{
	if (range->batch_blocks == 0)
		range->batch_blocks = FIRST_BATCH_BLOCKS;
	(void) run_batch(migration, range, rel, target_ms, 0, report, fill_blocks);
}

/*
 * Try rows again that a claimed range has put aside, at most that many, those
 * that wait longest.  Returns how many were tried.
 */
int
zdm_batch_retry(ZdmMigration *migration, ZdmRange *range, Relation rel,
				double target_ms, int limit, ZdmBatchReport *report)
{
	return run_batch(migration, range, rel, target_ms, limit, report, retry_rows);
}

static int
run_batch(ZdmMigration *migration, ZdmRange *range, Relation rel,
		  double target_ms, int limit, ZdmBatchReport *report, ZdmAttempt work)
{
	Batch		batch = {
		.migration = migration,
		.range = range,
		.rel = rel,
		.target_ms = target_ms,
		.report = report,
		.report_cxt = CurrentMemoryContext,
		.limit = limit,
	};
	ErrorData  *error;
	instr_time	begin;
	double		ms;

	INSTR_TIME_SET_CURRENT(begin);
	if (!zdm_attempt(work, &batch, &error))
	{
		FreeErrorData(error);
		batch.careful = true;
		if (!zdm_attempt(work, &batch, &error))
			ReThrowError(error);
	}
	ms = elapsed_ms(begin);
	range->rows_done += batch.rows_done;
	range->rows_changed += batch.rows_changed;
	range->busy_us += (int64) (ms * 1000);
	if (work == fill_blocks)
	{
		adapt_size(range, batch.reached - range->next, ms, target_ms);
		if (report->waited_for)
			range->batch_blocks = Max(1, range->batch_blocks / 2);
		range->next = batch.reached;
		range->skipped = list_concat(range->skipped, batch.skipped);
	}
	else
		range->skipped = list_concat(list_copy_tail(range->skipped, batch.tried),
									 batch.skipped);
	return batch.tried;
}

/*
 * Grow by at most half, and shrink at once: a batch that took much longer
 * than it should holds its locks for that time.
 */
static void
adapt_size(ZdmRange *range, int64 blocks, double ms, double target_ms)
{
	double		fits = blocks * (target_ms / Max(ms, 0.1));

	fits = Min(fits, range->batch_blocks * 1.5 + 1);
	range->batch_blocks = (int) Max(1, Min(fits, MAX_BATCH_BLOCKS));
}

static double
elapsed_ms(instr_time start)
{
	instr_time	now;

	INSTR_TIME_SET_CURRENT(now);
	INSTR_TIME_SUBTRACT(now, start);
	return INSTR_TIME_GET_MILLISEC(now);
}

/*
 * Set up what an attempt needs; all of it goes with the subtransaction.
 */
static void
batch_begin(Batch *batch)
{
	Relation	rel = batch->rel;
	Bitmapset  *written = NULL;

	INSTR_TIME_SET_CURRENT(batch->start);
	batch->yielded_ms = 0;
	batch->reached = batch->range->next;
	batch->rows_done = batch->rows_changed = 0;
	batch->tried = 0;
	batch->skipped = NIL;
	batch->report->failed = batch->report->locked = 0;
	batch->report->waited_for = false;
	batch->report->failures = NIL;
	batch->row_cxt = AllocSetContextCreate(CurrentMemoryContext, "zdm backfill row",
										   ALLOCSET_DEFAULT_SIZES);
	batch->held = zdm_rules_hold();
	if (batch->migration->rules != NIL)
		batch->set = zdm_rules_of_migration(rel, batch->migration->name);
	if (batch->migration->mirrors != NIL)
		batch->mirrors = zdm_mirrors_of_migration(rel, batch->migration->name);
	batch->old_row = table_slot_create(rel, NULL);
	batch->locked_row = table_slot_create(rel, NULL);
	for (int i = 0; batch->set != NULL && i < batch->set->count; i++)
	{
		ZdmSide    *side = &batch->set->rules[i].new;

		for (int j = 0; j < side->count; j++)
			written = bms_add_member(written, side->columns[j].attnum -
									 FirstLowInvalidHeapAttributeNumber);
	}
	if (batch->mirrors != NULL)
		written = bms_add_members(written, zdm_mirror_fills(batch->mirrors, batch->migration->name));
	batch->store = zdm_store_begin(rel, written, written_columns(batch));
	PushActiveSnapshot(GetTransactionSnapshot());
	/* What is checked at the end of the transaction would not be the owner's. */
	if (batch->mirrors != NULL)
		zdm_set_constraints_immediate();
	batch->looks = NULL;
	batch->copy = NULL;
	/* What stays open must not be a row's subtransaction's. */
	if (batch->mirrors != NULL && !batch->careful)
	{
		batch->looks = zdm_mirror_looks_begin(batch->mirrors, batch->migration->name);
		batch->copy = zdm_mirror_copy_of(batch->mirrors, batch->migration->name);
	}
}

static void
batch_end(Batch *batch)
{
	if (batch->looks != NULL)
		zdm_mirror_looks_end(batch->mirrors, batch->looks);
	if (batch->copy != NULL)
	{
		zdm_mirror_copy_flush(batch->copy);
		batch->rows_changed += zdm_mirror_copy_end(batch->copy);
	}
	PopActiveSnapshot();
	zdm_store_end(batch->store);
	zdm_rules_release(batch->held);
	ExecDropSingleTupleTableSlot(batch->old_row);
	ExecDropSingleTupleTableSlot(batch->locked_row);
	MemoryContextDelete(batch->row_cxt);
}

static void
fill_blocks(void *arg)
{
	Batch	   *batch = arg;
	ZdmRange   *range = batch->range;
	int64		end = Min(range->end, range->next + range->batch_blocks);
	BlockNumber block;
	ItemPointerData first,
				last;
	TableScanDesc scan;
	ZdmIdentity saved;

	zdm_become(zdm_table_owner(range->relation), &saved);
	batch_begin(batch);

	ItemPointerSet(&first, (BlockNumber) range->next, FirstOffsetNumber);
	ItemPointerSet(&last, (BlockNumber) (end - 1), MaxOffsetNumber);
	scan = zdm_beginscan_tidrange(batch->rel, GetActiveSnapshot(), &first, &last);
	block = (BlockNumber) range->next;
	while (table_scan_getnextslot_tidrange(scan, ForwardScanDirection, batch->old_row))
	{
		BlockNumber here = ItemPointerGetBlockNumber(&batch->old_row->tts_tid);

		if (here != block)
		{
			CHECK_FOR_INTERRUPTS();
			if (zdm_transaction_waited_for())
				batch->report->waited_for = true;
			if (batch->report->waited_for ||
				elapsed_ms(batch->start) > 2 * batch->target_ms ||
				list_length(range->skipped) + list_length(batch->skipped) >= ZDM_MAX_SKIPPED)
			{
				end = here;
				break;
			}
			block = here;
		}
		visit_row(batch);
		let_others_go_first(batch);
	}
	batch->reached = end;
	table_endscan(scan);
	batch_end(batch);
	zdm_unbecome(&saved);
}

/*
 * A session that wakes up on our core waits there until the kernel thinks that
 * we have had enough, some milliseconds.  Offer it the core now and then,
 * between two rows, while we hold nothing but rows; unless that has made the
 * batch long already.
 */
static void
let_others_go_first(Batch *batch)
{
#ifdef _POSIX_PRIORITY_SCHEDULING
	double		ms = elapsed_ms(batch->start);

	if (ms < batch->yielded_ms + YIELD_MS || ms > 2 * batch->target_ms)
		return;
	(void) sched_yield();
	batch->yielded_ms = elapsed_ms(batch->start);
#endif
}

static void
retry_rows(void *arg)
{
	Batch	   *batch = arg;
	ZdmIdentity saved;
	ListCell   *lc;

	zdm_become(zdm_table_owner(batch->range->relation), &saved);
	batch_begin(batch);
	foreach(lc, batch->range->skipped)
	{
		if (batch->tried == batch->limit ||
			(batch->tried > 0 && elapsed_ms(batch->start) > 2 * batch->target_ms))
			break;
		batch->tried++;
		/* Gone: deleted, or updated, and then it came through the trigger. */
		if (table_tuple_fetch_row_version(batch->rel, lfirst(lc),
										  GetActiveSnapshot(), batch->old_row))
			visit_row(batch);
		CHECK_FOR_INTERRUPTS();
	}
	batch->rows_done = 0;		/* they were counted the first time */
	batch_end(batch);
	zdm_unbecome(&saved);
}

/*
 * The row in batch->old_row.
 */
static void
visit_row(Batch *batch)
{
	ErrorData  *error;

	batch->rows_done++;
	if (!batch->careful)
		fill_row(batch);
	else if (!zdm_attempt(fill_row, batch, &error))
	{
		if (error->sqlerrcode == ERRCODE_LOCK_NOT_AVAILABLE ||
			error->sqlerrcode == ERRCODE_T_R_DEADLOCK_DETECTED)
			note_blocker(batch, row_holder(batch->old_row));
		else if (batch->report->failed++ < ZDM_BATCH_FAILURES)
		{
			MemoryContext old = MemoryContextSwitchTo(batch->report_cxt);

			batch->report->failures =
				lappend(batch->report->failures,
						psprintf("row %s of table \"%s\": %s",
								 zdm_row_key(batch->rel, batch->old_row),
								 RelationGetRelationName(batch->rel),
								 error->message));
			MemoryContextSwitchTo(old);
		}
		zdm_store_failed(batch->store);
		put_aside(batch);
		FreeErrorData(error);
	}
}

static void
fill_row(void *arg)
{
	Batch	   *batch = arg;
	MemoryContext old;

	MemoryContextReset(batch->row_cxt);
	old = MemoryContextSwitchTo(batch->row_cxt);
	if (batch->mirrors != NULL &&
		zdm_mirror_is_copied(batch->mirrors, batch->migration->name, batch->old_row))
		copy_row(batch);
	batch->new_row = batch->mirrors != NULL
		? zdm_mirror_filled(batch->mirrors, batch->migration->name, batch->looks, batch->old_row)
		: zdm_row_backfilled(batch->rel, batch->set, batch->migration->name, batch->old_row);
	if (batch->new_row != NULL)
	{
		TransactionId holder = InvalidTransactionId;

		switch (zdm_store_row(batch->store, batch->old_row, batch->new_row, &holder))
		{
			case ZDM_STORED:
				batch->rows_changed++;
				break;
			case ZDM_STORED_BY_OTHERS:
				break;
			case ZDM_STORED_NOT:
				note_blocker(batch, holder);
				put_aside(batch);
				break;
		}
	}
	MemoryContextSwitchTo(old);
}

/*
 * Give the second table what the row has for it, under a lock that excludes
 * whoever writes either of the two.
 */
static void
copy_row(Batch *batch)
{
	TM_FailureData failure = {.xmax = InvalidTransactionId};
	TM_Result	result;

	result = table_tuple_lock(batch->rel, &batch->old_row->tts_tid, GetActiveSnapshot(),
							  batch->locked_row, GetCurrentCommandId(true), LockTupleNoKeyExclusive,
							  LockWaitSkip, 0, &failure);
	ExecClearTuple(batch->locked_row);
	if (result == TM_Ok && batch->copy != NULL)
		zdm_mirror_copy_row(batch->copy, batch->old_row);
	else if (result == TM_Ok)
	{
		if (zdm_mirror_copied(batch->mirrors, batch->migration->name, batch->old_row))
			batch->rows_changed++;
	}
	else if (result == TM_WouldBlock || result == TM_BeingModified)
	{
		note_blocker(batch, failure.xmax);
		put_aside(batch);
	}
}

/*
 * The attribute numbers of the columns that the migration fills.
 */
static List *
written_columns(Batch *batch)
{
	Bitmapset  *filled = batch->mirrors == NULL ? NULL
		: zdm_mirror_fills(batch->mirrors, batch->migration->name);
	List	   *result = NIL;

	for (int i = -1; (i = bms_next_member(filled, i)) >= 0;)
		result = lappend_int(result, i + FirstLowInvalidHeapAttributeNumber);
	for (int i = 0; batch->set != NULL && i < batch->set->count; i++)
	{
		ZdmRule    *rule = &batch->set->rules[i];

		if (strcmp(rule->migration, batch->migration->name) != 0)
			continue;
		for (int j = 0; j < rule->new.count; j++)
			result = lappend_int(result, rule->new.columns[j].attnum);
	}
	return result;
}

static void
put_aside(Batch *batch)
{
	MemoryContext old = MemoryContextSwitchTo(batch->report_cxt);
	ItemPointer tid = palloc_object(ItemPointerData);

	ItemPointerCopy(&batch->old_row->tts_tid, tid);
	batch->skipped = lappend(batch->skipped, tid);
	MemoryContextSwitchTo(old);
}

/*
 * The transaction that holds a row that is still in its buffer.
 */
static TransactionId
row_holder(TupleTableSlot *row)
{
	bool		free;
	HeapTuple	tuple = ExecFetchSlotHeapTuple(row, false, &free);

	return HeapTupleHeaderGetRawXmax(tuple->t_data);
}

/*
 * Remember the first backend that holds a row.
 */
static void
note_blocker(Batch *batch, TransactionId xmax)
{
	MemoryContext old = MemoryContextSwitchTo(batch->report_cxt);

	if (batch->report->locked++ == 0)
		batch->report->blocker = psprintf("row %s of table \"%s\", held by %s",
										  zdm_row_key(batch->rel, batch->old_row),
										  RelationGetRelationName(batch->rel),
										  zdm_describe_transaction(xmax));
	MemoryContextSwitchTo(old);
}

/*
 * The row's primary key, or its place where it has none, for people.
 */
char *
zdm_row_key(Relation rel, TupleTableSlot *row)
{
	Oid			index = zdm_primary_key_index(rel);
	StringInfoData buf;
	Relation	key;

	if (!OidIsValid(index))
		return psprintf("ctid=(%u,%u)", ItemPointerGetBlockNumber(&row->tts_tid),
						ItemPointerGetOffsetNumber(&row->tts_tid));
	initStringInfo(&buf);
	key = index_open(index, AccessShareLock);
	for (int i = 0; i < IndexRelationGetNumberOfKeyAttributes(key); i++)
	{
		AttrNumber	attnum = key->rd_index->indkey.values[i];
		Form_pg_attribute attr = TupleDescAttr(RelationGetDescr(rel), attnum - 1);
		Oid			output;
		bool		varlena,
					isnull;
		Datum		value = slot_getattr(row, attnum, &isnull);

		getTypeOutputInfo(attr->atttypid, &output, &varlena);
		appendStringInfo(&buf, "%s%s=%s", buf.len ? ", " : "",
						 quote_identifier(NameStr(attr->attname)),
						 OidOutputFunctionCall(output, value));
	}
	index_close(key, AccessShareLock);
	return buf.data;
}
