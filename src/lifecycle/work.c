/*-------------------------------------------------------------------------
 *
 * work.c
 *	  One transaction's work of the migrate phase.
 *
 * Each takes the migration's lock (shared: several may work side by side, but
 * no change of state), looks whether the state is still the one it began
 * with, and claims a range with something to do.  What that is, is read from
 * the ranges each time, in this order: blocks to visit, rows that were put
 * aside, blocks to verify.  A row that the verification finds unfilled is put
 * aside, and so comes before the next blocks.
 *
 * Nothing waits in here without an end: a wait is written to zdm.migration,
 * where zdm.status shows it, and after zdm.lock_patience without progress the
 * call gives up and says for whom it waited.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/relation.h"
#include "access/table.h"
#include "catalog/pg_class.h"
#include "storage/bufmgr.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/timestamp.h"

#include "backfill/batch.h"
#include "backfill/pace.h"
#include "backfill/verify.h"
#include "catalog/event.h"
#include "catalog/sync_rule.h"
#include "lifecycle/migrate.h"
#include "lifecycle/registry.h"
#include "schema/relation.h"
#include "util/compat.h"
#include "util/guc.h"
#include "util/holders.h"
#include "util/ident.h"
#include "util/lock.h"
#include "util/mark.h"
#include "util/spi.h"

#define MAX_WAIT_PAUSE_MS	500
#define IDLE_PAUSE_MS		20

/* A wait that lasts longer is an event, and is written again. */
#define LOG_WAITS_MS		1000

static ZdmOutcome work_on(ZdmMigrate *migrate, ZdmRange *range,
						  ZdmRangeWork work);
static ZdmOutcome relieve(ZdmMigrate *migrate, ZdmRange *range, Relation rel);
static void sweep_range(ZdmMigrate *migrate, ZdmRange *range, Relation rel);
static ZdmOutcome end_sweep(ZdmMigrate *migrate);
static void note_failures(ZdmMigrate *migrate, ZdmBatchReport *report);
static void verify_range(ZdmMigrate *migrate, ZdmRange *range, Relation rel);
static bool table_is_busy(ZdmMigrate *migrate);
static bool goes_on(ZdmMigrate *migrate);
static ZdmOutcome start_again(ZdmMigrate *migrate);
static void begin_verification(ZdmMigrate *migrate);
static const char *held_back(ZdmMigrate *migrate, ZdmBatchReport *report);
static ZdmOutcome wait_idle(ZdmMigrate *migrate);
static void log_wait(ZdmMigrate *migrate, const char *whom);
static void set_waiting(ZdmMigrate *migrate, const char *whom);

/*
 * One transaction's work.
 */
ZdmOutcome
zdm_work_once(ZdmMigrate *migrate)
{
	ZdmMigration *migration = migrate->migration;
	ZdmOutcome	outcome;
	ZdmRange   *range;
	char	   *reason;
	bool		verify_first;

	migrate->pause_ms = 0;
	zdm_pace_look(&migrate->pace);
	zdm_set_local("synchronous_commit", "off");
	/* Before the lock: a query of the owner's may take its time. */
	reason = zdm_throttle_reason(migrate->throttle, migration->relation,
								 migration->throttle, migration->throttle_role,
								 migration->throttle_name);
	zdm_lock_migration(migration->id, migration->name, ShareLock);
	if (!goes_on(migrate))
		return ZDM_STOPPED;
	if (migration->state == ZDM_READY)
		return ZDM_NOTHING_LEFT;	/* another loop was faster */
	if (reason != NULL)
		return zdm_hold(migrate, reason);
	if (OidIsValid(migrate->moved))
		return start_again(migrate);
	if (OidIsValid(migrate->range_ended) && zdm_vacuum_step(migrate))
		return ZDM_STATEMENT;

	if (migrate->task == NULL || migrate->task->kind == ZDM_TASK_RUN)
	{
		if (migrate->step == 0)
		{
			if (table_is_busy(migrate))
				return ZDM_WAITED;
			/* Others write the step, too: let go of it before any work. */
			if (zdm_migrate_enter_step(migrate, ZDM_STEP_BACKFILL))
				return ZDM_WORKED;
		}
		range = zdm_range_claim(migration->id, ZDM_RANGE_BLOCKS, NULL);
		if (range != NULL)
			return work_on(migrate, range, ZDM_RANGE_BLOCKS);
		if (zdm_range_left(migration->id, ZDM_RANGE_BLOCKS))
			return wait_idle(migrate);

		range = zdm_range_claim(migration->id, ZDM_RANGE_SKIPPED, migrate->swept);
		if (range != NULL)
			return work_on(migrate, range, ZDM_RANGE_SKIPPED);
		if (migrate->swept != NULL)
			return end_sweep(migrate);
		if (zdm_range_left(migration->id, ZDM_RANGE_SKIPPED))
			return wait_idle(migrate);
	}

	if (!migrate->indexes_built || migrate->step_kind != ZDM_STEP_VERIFY)
	{
		if (table_is_busy(migrate))
			return ZDM_WAITED;
	}
	outcome = zdm_index_step(migrate);
	if (outcome != ZDM_NOTHING_LEFT)
		return outcome;
	if (migrate->task != NULL && migrate->task->kind != ZDM_TASK_RUN)
		return ZDM_STOPPED;		/* the rest is another's */
	verify_first = zdm_pattern(migration)->verify_first;
	if (!verify_first)
	{
		outcome = zdm_ddl_step(migrate);
		if (outcome != ZDM_NOTHING_LEFT)
			return outcome;
	}

	/* Once the DDL that comes after it has begun, it was done. */
	if (!(verify_first && migrate->step_kind == ZDM_STEP_DDL) &&
		zdm_migrate_enter_step(migrate, ZDM_STEP_VERIFY))
	{
		begin_verification(migrate);
		return ZDM_WORKED;
	}
	range = zdm_range_claim(migration->id, ZDM_RANGE_VERIFY, NULL);
	if (range != NULL)
		return work_on(migrate, range, ZDM_RANGE_VERIFY);
	if (zdm_range_left(migration->id, ZDM_RANGE_VERIFY))
		return wait_idle(migrate);
	if (verify_first && zdm_ranges_mismatches(migration->id) == 0)
		return zdm_ddl_step(migrate);
	return ZDM_NOTHING_LEFT;
}

/*
 * Whether somebody has locked the table or a partition against everybody.
 * What is opened after this is not waited for while we have the migration's
 * lock, which a pause would wait for in turn.
 */
static bool
table_is_busy(ZdmMigrate *migrate)
{
	ListCell   *lc;

	foreach(lc, zdm_migration_tables(migrate->migration))
	{
		if (ConditionalLockRelationOid(lfirst_oid(lc), AccessShareLock))
			continue;
		(void) zdm_wait_for(migrate, zdm_table_holders(lfirst_oid(lc), AccessShareLock));
		return true;
	}
	return false;
}

/*
 * Whether the loop is to go on: the migration is neither paused nor ended,
 * and has not more workers than were asked for.  In a session, an ended one is
 * an error.
 */
static bool
goes_on(ZdmMigrate *migrate)
{
	ZdmMigration *migration = migrate->migration;
	const ZdmTask *task = migrate->task;
	bool		found = zdm_migration_refresh(migration);

	if (task != NULL && !zdm_mark_kept(&migrate->loop_mark, ExclusiveLock))
		return false;
	/* The owner reads for whom a worker waits. */
	if (task != NULL)
		zdm_describe_as(get_rel_name(migration->relation) ? zdm_table_owner(migration->relation)
						: InvalidOid);
	if (found && (migration->state == ZDM_EXPANDED || migration->state == ZDM_READY))
		return !migration->paused &&
			(task == NULL || task->kind != ZDM_TASK_RUN || task->number <= migration->workers);
	if (task != NULL)
		return false;
	ereport(ERROR,
			errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			errmsg("migration \"%s\" is %s now: the backfill stops",
				   migration->name, zdm_state_name(found ? migration->state : ZDM_ROLLED_BACK)),
			errhint("SELECT * FROM zdm.events WHERE migration = %s;",
					quote_literal_cstr(migration->name)));
}

/*
 * A table has new storage: it is visited from its start.  One loop makes its
 * ranges anew, the others find them made.
 */
static ZdmOutcome
start_again(ZdmMigrate *migrate)
{
	ZdmMigration *migration = migrate->migration;
	Oid			relid = migrate->moved;
	Relation	rel;

	if (!ConditionalLockRelationOid(relid, AccessShareLock))
		return zdm_wait_for(migrate, zdm_table_holders(relid, AccessShareLock));
	migrate->moved = InvalidOid;
	zdm_lock_migration_name(migration->name);
	rel = try_relation_open(relid, NoLock);
	if (rel == NULL)
		return ZDM_WORKED;
	if (zdm_ranges_stale(migration->id, rel))
	{
		zdm_ranges_remake(migration->id, rel);
		zdm_event(migration, "info", "restarted",
				  psprintf("table %s has new storage and is visited from its start",
						   RelationGetRelationName(rel)));
		if (zdm_sync_rules_forget_age(migration->id, zdm_root_table(relid)))
			zdm_event(migration, "warning", "rows look alike",
					  psprintf("table %s was written anew: what is NULL counts as not filled, also where a statement meant it",
							   RelationGetRelationName(rel)));
	}
	relation_close(rel, NoLock);
	return ZDM_WORKED;
}

/*
 * The rows that came since expand are compared, too, and partitions that were
 * attached since are first of all visited.
 */
static void
begin_verification(ZdmMigrate *migrate)
{
	int64		migration = migrate->migration->id;
	ListCell   *lc;

	(void) zdm_cover_partitions(migrate->migration);
	foreach(lc, zdm_compared_storage(migrate->migration))
	{
		Relation	rel = table_open(lfirst_oid(lc), AccessShareLock);

		/* Two loops that begin together would make them twice. */
		if (!zdm_ranges_exist(migration, lfirst_oid(lc)))
			zdm_lock_migration_name(migrate->migration->name);
		if (!zdm_ranges_exist(migration, lfirst_oid(lc)))
			zdm_ranges_make_compared(migration, rel);
		zdm_ranges_extend(migration, lfirst_oid(lc), RelationGetNumberOfBlocks(rel));
		table_close(rel, AccessShareLock);
	}
}

static ZdmOutcome
work_on(ZdmMigrate *migrate, ZdmRange *range, ZdmRangeWork work)
{
	ZdmMigration *migration = migrate->migration;
	LOCKMODE	mode = work == ZDM_RANGE_VERIFY ? AccessShareLock : RowExclusiveLock;
	ZdmBatchReport report = {0};
	ZdmOutcome	outcome = ZDM_WORKED;
	Relation	rel;

	if (!ConditionalLockRelationOid(range->relation, mode))
		return zdm_wait_for(migrate, zdm_table_holders(range->relation, mode));
	rel = try_relation_open(range->relation, NoLock);
	if (rel == NULL)
	{
		zdm_ranges_keep_only(migration->id, zdm_compared_storage(migration));
		return ZDM_WORKED;
	}
	if ((int64) zdm_relation_filenumber(rel) != range->filenumber)
	{
		/* Others have ranges of it: first let go of ours. */
		migrate->moved = range->relation;
		relation_close(rel, NoLock);
		return ZDM_WORKED;
	}

	switch (work)
	{
		case ZDM_RANGE_BLOCKS:
			if (list_length(range->skipped) < ZDM_MAX_SKIPPED)
				zdm_batch_fill(migration, range, rel, zdm_pace_batch_ms(&migrate->pace),
							   &report);
			else
				outcome = relieve(migrate, range, rel);
			break;
		case ZDM_RANGE_SKIPPED:
			sweep_range(migrate, range, rel);
			break;
		case ZDM_RANGE_VERIFY:
			verify_range(migrate, range, rel);
			break;
	}
	zdm_range_save(range);
	if (work != ZDM_RANGE_VERIFY)
		migrate->batch_ms = range->busy_us / 1000.0;
	if (outcome == ZDM_WORKED)
		migrate->pause_ms = zdm_pace_pause_ms(&migrate->pace, migrate->batch_ms);
	if (outcome == ZDM_WORKED && (work != ZDM_RANGE_SKIPPED || range->rows_changed > 0))
		zdm_worked(migrate, held_back(migrate, &report));
	if (work == ZDM_RANGE_BLOCKS && range->next >= range->end)
		migrate->range_ended = range->relation;
	relation_close(rel, NoLock);
	return outcome;
}

/*
 * Who holds a table against us, as its owner may see it: he reads this in
 * zdm.status, whoever makes the call.
 */
char *
zdm_table_holders(Oid relid, LOCKMODE mode)
{
	ZdmIdentity saved;
	char	   *holders;

	zdm_become(zdm_table_owner(relid), &saved);
	holders = zdm_describe_table_holders(relid, mode);
	zdm_unbecome(&saved);
	return psprintf("table \"%s\", held by %s", zdm_relation_label(relid), holders);
}

/*
 * So many rows of the range were put aside that they are tried again before
 * it goes on: somebody holds a large part of the table.
 */
static ZdmOutcome
relieve(ZdmMigrate *migrate, ZdmRange *range, Relation rel)
{
	ZdmBatchReport report = {0};

	(void) zdm_batch_retry(migrate->migration, range, rel, zdm_pace_batch_ms(&migrate->pace),
						   ZDM_MAX_SKIPPED, &report);
	if (list_length(range->skipped) < ZDM_MAX_SKIPPED)
		return ZDM_WORKED;
	if (report.locked > 0)
		return zdm_wait_for(migrate, report.blocker);
	note_failures(migrate, &report);
	migrate->sweep_failed = list_length(range->skipped);
	migrate->sweep_failure = MemoryContextStrdup(migrate->cxt, linitial(report.failures));
	return ZDM_FAILED;
}

/*
 * Try rows again that the range has put aside: in as many batches as it
 * takes, each of them once in a sweep.
 */
static void
sweep_range(ZdmMigrate *migrate, ZdmRange *range, Relation rel)
{
	ZdmBatchReport report = {0};

	if (migrate->sweep_left == 0)
		migrate->sweep_left = list_length(range->skipped);
	migrate->sweep_left -= zdm_batch_retry(migrate->migration, range, rel,
										   zdm_pace_batch_ms(&migrate->pace),
										   migrate->sweep_left, &report);
	MemoryContextSwitchTo(migrate->cxt);
	if (migrate->swept == NULL)
		migrate->swept = palloc0_object(ZdmRange);
	migrate->swept->relation = range->relation;
	/* A range that is not through is claimed again. */
	migrate->swept->first = migrate->sweep_left > 0 ? range->first - 1 : range->first;
	migrate->sweep_failed += report.failed;
	migrate->sweep_locked += report.locked;
	if (report.failed > 0 && migrate->sweep_failure == NULL)
		migrate->sweep_failure = pstrdup(linitial(report.failures));
	if (report.locked > 0 && migrate->sweep_blocker == NULL)
		migrate->sweep_blocker = pstrdup(report.blocker);
	MemoryContextSwitchTo(migrate->batch_cxt);
	note_failures(migrate, &report);
}

/*
 * Every range with rows put aside was tried once.  Rows that others hold are
 * waited for; where only rows are left that fail, so does the call.
 */
static ZdmOutcome
end_sweep(ZdmMigrate *migrate)
{
	int			failed = migrate->sweep_failed;
	int			locked = migrate->sweep_locked;
	char	   *failure = migrate->sweep_failure;
	char	   *blocker = migrate->sweep_blocker;

	migrate->swept = NULL;
	migrate->sweep_left = migrate->sweep_failed = migrate->sweep_locked = 0;
	migrate->sweep_failure = migrate->sweep_blocker = NULL;
	if (locked > 0)
		return zdm_wait_for(migrate, blocker);
	if (failed > 0)
	{
		migrate->sweep_failed = failed;
		migrate->sweep_failure = failure;
		return ZDM_FAILED;
	}
	return ZDM_WORKED;
}

static void
note_failures(ZdmMigrate *migrate, ZdmBatchReport *report)
{
	ListCell   *lc;

	foreach(lc, report->failures)
		zdm_event(migrate->migration, "error", "row failed", lfirst(lc));
}

static void
verify_range(ZdmMigrate *migrate, ZdmRange *range, Relation rel)
{
	ZdmVerification result = {
		.collect = true,
		.most_unfilled = ZDM_MAX_SKIPPED,
	};
	TimestampTz start = GetCurrentTimestamp();
	ListCell   *lc;

	zdm_verify_blocks(migrate->migration, rel, range->verified, range->end,
					  zdm_pace_batch_ms(&migrate->pace), &result);
	range->verified = result.reached;
	range->rows_compared = result.rows;
	range->mismatches = result.mismatches;
	/* Rows that nobody has filled are work, and come before the next blocks. */
	range->skipped = list_concat(range->skipped, result.unfilled);
	migrate->batch_ms = (GetCurrentTimestamp() - start) / 1000.0;
	foreach(lc, result.sample)
		zdm_event(migrate->migration, "error", "mismatch",
				  psprintf("row %s of table \"%s\"", (char *) lfirst(lc),
						   RelationGetRelationName(rel)));
}

/*
 * What makes the loop go slower after a batch, and for how long: NULL where
 * nothing does.
 */
static const char *
held_back(ZdmMigrate *migrate, ZdmBatchReport *report)
{
	int			loops = migrate->task == NULL ? 1 : Max(1, migrate->migration->workers);
	int64		wal_pause = zdm_throttle_wal_pause(migrate->throttle, loops);

	migrate->pause_ms = Max(migrate->pause_ms, wal_pause);
	if (!report->waited_for)
		return zdm_pace_reason(&migrate->pace);
	migrate->pause_ms = Max(migrate->pause_ms, (int64) migrate->batch_ms + 1);
	return "statements that waited for rows of a batch";
}

/*
 * Others have all that is left to do.  What they wait for is of interest, not
 * that we do.
 */
static ZdmOutcome
wait_idle(ZdmMigrate *migrate)
{
	migrate->pause_ms = IDLE_PAUSE_MS;
	return ZDM_WAITED;
}

/*
 * Say for whom we wait, and give up where that took too long.  Nobody is
 * kept waiting by a worker that waits, so it is more patient than a session.
 */
ZdmOutcome
zdm_wait_for(ZdmMigrate *migrate, const char *whom)
{
	int			patience = migrate->task != NULL ? zdm_worker_patience : zdm_lock_patience;

	if (TimestampDifferenceExceeds(migrate->last_progress, GetCurrentTimestamp(), patience))
		zdm_migrate_fail(migrate, ERRCODE_LOCK_NOT_AVAILABLE,
						 psprintf("the backfill of migration \"%s\" made no progress for %d ms",
								  migrate->migration->name, patience),
						 psprintf("It waits for %s.", whom),
						 psprintf("What is done is kept: run the same call again when that has ended, or raise %s.",
								  migrate->task != NULL ? "zdm.worker_patience" : "zdm.lock_patience"));
	log_wait(migrate, whom);
	set_waiting(migrate, whom);
	migrate->wait_ms = Min(Max(10, migrate->wait_ms * 2), MAX_WAIT_PAUSE_MS);
	migrate->pause_ms = migrate->wait_ms;
	return ZDM_WAITED;
}

/*
 * The same for what the user has asked us to wait for: as long as it takes.
 */
ZdmOutcome
zdm_hold(ZdmMigrate *migrate, const char *whom)
{
	migrate->last_progress = GetCurrentTimestamp();
	return zdm_wait_for(migrate, whom);
}

/*
 * Something was done.  held_by: what makes us pause before the next batch.
 */
void
zdm_worked(ZdmMigrate *migrate, const char *held_by)
{
	set_waiting(migrate, held_by);
	migrate->wait_ms = 0;
	migrate->interrupts = 0;
	migrate->last_progress = GetCurrentTimestamp();
}

/*
 * A wait that lasts is an event.
 */
static void
log_wait(ZdmMigrate *migrate, const char *whom)
{
	if (migrate->wait_logged || migrate->waiting_for == NULL ||
		strcmp(whom, migrate->waiting_for) != 0 ||
		!TimestampDifferenceExceeds(migrate->waiting_since, GetCurrentTimestamp(),
									LOG_WAITS_MS))
		return;
	zdm_event(migrate->migration, "info", "waiting", whom);
	migrate->wait_logged = true;
}

/*
 * Write it where zdm.status shows it.
 */
static void
set_waiting(ZdmMigrate *migrate, const char *whom)
{
	TimestampTz now = GetCurrentTimestamp();

	if (whom != NULL && migrate->waiting_for != NULL && strcmp(whom, migrate->waiting_for) == 0)
	{
		if (!TimestampDifferenceExceeds(migrate->waiting_since, now, LOG_WAITS_MS))
			return;
		migrate->waiting_since = now;
		/* Another loop may have written something else meanwhile. */
		(void) zdm_migration_set_waiting(migrate->migration->id, whom);
		return;
	}
	if (whom == NULL && migrate->waiting_for == NULL)
		return;
	if (migrate->waiting_for != NULL)
		pfree(migrate->waiting_for);
	migrate->waiting_for = whom ? MemoryContextStrdup(migrate->cxt, whom) : NULL;
	migrate->waiting_since = now;
	migrate->wait_logged = false;
	(void) zdm_migration_set_waiting(migrate->migration->id, whom);
}
