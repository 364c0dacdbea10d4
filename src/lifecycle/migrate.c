/*-------------------------------------------------------------------------
 *
 * migrate.c
 *	  The migrate phase: backfill, verify, ready.
 *
 * A loop of short transactions.  Each takes the migration's lock (shared:
 * several loops may work side by side, but no change of state), looks whether
 * the state is still the one it began with, claims a range, does one batch of
 * whatever is to be done there, stores the cursor, and commits.  A crash, a
 * cancel or a lost client costs one batch.
 *
 * What is to be done is read from the ranges each time, in this order: blocks
 * to visit, rows that were put aside, blocks to verify.  When nothing is left
 * the migration is ready.
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
#include "access/xact.h"
#include "catalog/pg_class.h"
#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "storage/lmgr.h"
#include "storage/lock.h"
#include "storage/proc.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "backfill/batch.h"
#include "backfill/verify.h"
#include "catalog/event.h"
#include "catalog/range.h"
#include "catalog/step.h"
#include "lifecycle/explain.h"
#include "lifecycle/lifecycle.h"
#include "lifecycle/registry.h"
#include "schema/table.h"
#include "util/compat.h"
#include "util/guc.h"
#include "util/ident.h"
#include "util/lock.h"
#include "util/spi.h"

#define PROGRESS_EVERY_MS	5000
#define MAX_WAIT_PAUSE_MS	500

typedef struct Migrate
{
	ZdmMigration *migration;
	MemoryContext cxt;			/* of the whole call */
	MemoryContext batch_cxt;	/* of one transaction */
	bool		snapshot;		/* we have pushed one */
	TimestampTz last_progress;	/* when something was done last */
	TimestampTz last_line;		/* when a progress line was printed last */
	int64		pause_ms;		/* before the next try, while waiting */
	bool		waiting;
	double		batch_ms;
	int			step;			/* the one under way, or 0 */
	ZdmStepKind step_kind;
	/* a sweep over the rows that were put aside */
	ZdmRange   *swept;			/* up to here, or NULL */
	int			sweep_left;		/* rows of the next range still to be tried */
	int			sweep_failed;
	int			sweep_locked;
	char	   *sweep_failure;
	char	   *sweep_blocker;
} Migrate;

typedef enum Outcome
{
	WORKED,
	WAITED,
	FAILED,						/* rows that cannot be filled stop it */
	NOTHING_LEFT
} Outcome;

static void migrate_in_session(ZdmMigration *migration);
static void refuse_atomic(void);
static void run(Migrate *migrate);
static void begin_transaction(Migrate *migrate);
static void commit_transaction(Migrate *migrate);
static bool prepare(Migrate *migrate);
static bool enter_step(Migrate *migrate, ZdmStepKind kind);
static void leave_step(Migrate *migrate, const char *error);
static void cover_partitions(Migrate *migrate);
static Outcome work_once(Migrate *migrate);
static char *table_holders(Oid relid, LOCKMODE mode);
static Outcome work_on(Migrate *migrate, ZdmRange *range, ZdmRangeWork work);
static Outcome relieve(Migrate *migrate, ZdmRange *range, Relation rel);
static void sweep_range(Migrate *migrate, ZdmRange *range, Relation rel);
static Outcome end_sweep(Migrate *migrate);
static void rows_failed(Migrate *migrate);
static void note_failures(Migrate *migrate, ZdmBatchReport *report);
static void verify_range(Migrate *migrate, ZdmRange *range, Relation rel);
static Outcome wait_for(Migrate *migrate, const char *whom);
static void worked(Migrate *migrate);
static void become_ready(Migrate *migrate);
static void fail(Migrate *migrate, int code, const char *message,
				 const char *detail, const char *hint);
static void progress_line(Migrate *migrate);

/*
 * CALL zdm.backfill.  atomic: whether the call must not commit.
 */
void
zdm_lifecycle_migrate(const char *name, bool atomic)
{
	if (zdm_explaining())
	{
		ZdmMigration *migration = zdm_migration_of_caller(name);

		zdm_explain_steps(migration, ZDM_MIGRATE,
						  zdm_pattern(migration->pattern)->migrate(migration));
		return;
	}
	if (atomic)
		refuse_atomic();
	zdm_check_writable();
	if (SPI_connect_ext(SPI_OPT_NONATOMIC) != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect_ext failed");
	migrate_in_session(zdm_migration_of_caller(name));
	if (SPI_finish() != SPI_OK_FINISH)
		elog(ERROR, "SPI_finish failed");
}

/*
 * The current memory context is SPI's, and lives as long as the call.
 */
static void
migrate_in_session(ZdmMigration *migration)
{
	Migrate		migrate = {
		.migration = migration,
		.cxt = CurrentMemoryContext,
		.batch_cxt = AllocSetContextCreate(CurrentMemoryContext, "zdm batch",
										   ALLOCSET_DEFAULT_SIZES),
	};

	LOCKTAG		tag;

	/*
	 * A lock of the session's shows to others (zdm.progress) that somebody is
	 * at work.  It is released on every way out, and with the session.
	 */
	SET_LOCKTAG_OBJECT(tag, MyDatabaseId, zdm_catalog_table("backfill_range"),
					   (Oid) migration->id, 0);
	(void) LockAcquire(&tag, ShareLock, true, false);
	PG_TRY();
	{
		run(&migrate);
	}
	PG_FINALLY();
	{
		LockRelease(&tag, ShareLock, true);
	}
	PG_END_TRY();
}

static void
refuse_atomic(void)
{
	ereport(ERROR,
			errcode(ERRCODE_INVALID_TRANSACTION_TERMINATION),
			errmsg("zdm.backfill commits after each batch, and cannot do so here"),
			errdetail("It was called inside a transaction block, a function, an exception block, or together with other statements in one string."),
			errhint("Call it as a statement of its own outside of a transaction. Flyway: executeInTransaction=false; Liquibase: runInTransaction=\"false\"; "
					"Rails: disable_ddl_transaction!; Django: atomic = False; Alembic: autocommit_block(); sqitch, psql: no BEGIN, no --single-transaction; "
					"dbmate, goose: transaction:false, NO TRANSACTION; golang-migrate: a file of its own."));
}

static void
run(Migrate *migrate)
{
	Outcome		outcome;

	if (StatementTimeout > 0)
		ereport(NOTICE,
				errmsg("statement_timeout is %d ms, and counts for the whole backfill", StatementTimeout),
				errhint("SET statement_timeout = 0; a call that was cancelled may be made again."));
	worked(migrate);
	migrate->last_line = migrate->last_progress;

	commit_transaction(migrate);
	begin_transaction(migrate);
	outcome = prepare(migrate) ? WORKED : NOTHING_LEFT;
	commit_transaction(migrate);
	if (outcome == NOTHING_LEFT)
		return;
	do
	{
		CHECK_FOR_INTERRUPTS();
		begin_transaction(migrate);
		outcome = work_once(migrate);
		commit_transaction(migrate);
		if (outcome == FAILED)
		{
			begin_transaction(migrate);
			rows_failed(migrate);
		}
		progress_line(migrate);
		if (outcome == WAITED)
			zdm_sleep(migrate->pause_ms);
		else if (zdm_backfill_pause > 0)
			zdm_sleep((int64) (migrate->batch_ms * zdm_backfill_pause));
	} while (outcome != NOTHING_LEFT);
	begin_transaction(migrate);
	become_ready(migrate);
	/* With synchronous_commit as the user has it: this one must last. */
	commit_transaction(migrate);
	ereport(NOTICE,
			errmsg("migration \"%s\" is ready", migrate->migration->name),
			errhint("Start the new version; when no old one runs any more: SELECT zdm.contract(%s);",
					quote_literal_cstr(migrate->migration->name)));
}

/*
 * The settings of the session may ask for an isolation that would make the
 * application's transactions fail because of us.
 */
static void
begin_transaction(Migrate *migrate)
{
	zdm_set_local("transaction_isolation", "read committed");
	MemoryContextReset(migrate->batch_cxt);
	MemoryContextSwitchTo(migrate->batch_cxt);
	PushActiveSnapshot(GetTransactionSnapshot());
	migrate->snapshot = true;
}

static void
commit_transaction(Migrate *migrate)
{
	if (migrate->snapshot)
		PopActiveSnapshot();
	migrate->snapshot = false;
	MemoryContextSwitchTo(migrate->cxt);
	SPI_commit();
	MemoryContextSwitchTo(migrate->cxt);
}

/*
 * Begin, or go on with, the migrate phase.  Returns false where there is
 * nothing to do.
 */
static bool
prepare(Migrate *migrate)
{
	ZdmMigration *migration = migrate->migration;

	zdm_lock_migration(migration->id, migration->name, ShareLock);
	migration->state = zdm_migration_state(migration->id);
	if (migration->state != ZDM_EXPANDED && migration->state != ZDM_READY)
		ereport(ERROR,
				errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				errmsg("migration \"%s\" is %s: there is nothing to backfill",
					   migration->name, zdm_state_name(migration->state)),
				errhint("SELECT next_command FROM zdm.status WHERE migration = %s;",
						quote_literal_cstr(migration->name)));
	cover_partitions(migrate);
	if (migration->state == ZDM_READY)
	{
		ereport(NOTICE,
				errmsg("migration \"%s\" is ready already", migration->name),
				errhint("SELECT zdm.contract(%s);", quote_literal_cstr(migration->name)));
		return false;
	}
	(void) enter_step(migrate, ZDM_STEP_BACKFILL);
	zdm_migration_set_error(migration->id, NULL);
	zdm_event(migration, "info", "backfilling", NULL);
	return true;
}

/*
 * Record that the migrate phase goes on with its step of that kind.  Returns
 * false where it is in it already.
 */
static bool
enter_step(Migrate *migrate, ZdmStepKind kind)
{
	ZdmMigration *migration = migrate->migration;
	ListCell   *lc;

	if (migrate->step != 0 && migrate->step_kind == kind)
		return false;
	leave_step(migrate, NULL);
	foreach(lc, zdm_pattern(migration->pattern)->migrate(migration))
	{
		ZdmStep    *step = lfirst(lc);

		if (step->kind == kind)
			migrate->step = zdm_step_number(migration, ZDM_MIGRATE, step->description);
	}
	migrate->step_kind = kind;
	zdm_step_started(migration, migrate->step, 0);
	return true;
}

static void
leave_step(Migrate *migrate, const char *error)
{
	if (migrate->step != 0)
		zdm_step_ended(migrate->migration, migrate->step, error);
	migrate->step = 0;
}

/*
 * Partitions that were attached since expand have rows that nobody has
 * visited; those that are gone need no visit.
 */
static void
cover_partitions(Migrate *migrate)
{
	ZdmMigration *migration = migrate->migration;
	ListCell   *lc;

	zdm_ranges_keep_only(migration->id, zdm_storage_relations(migration->relation));
	foreach(lc, zdm_storage_relations(migration->relation))
	{
		Relation	rel;

		if (zdm_ranges_exist(migration->id, lfirst_oid(lc)))
			continue;
		rel = table_open(lfirst_oid(lc), AccessShareLock);
		zdm_ranges_make(migration->id, lfirst_oid(lc), RelationGetNumberOfBlocks(rel),
						zdm_relation_filenumber(rel));
		table_close(rel, AccessShareLock);
		if (migration->state == ZDM_READY)
			zdm_migration_set_state(migration, ZDM_EXPANDED);
	}
}

/*
 * One transaction's work.
 */
static Outcome
work_once(Migrate *migrate)
{
	ZdmMigration *migration = migrate->migration;
	ZdmRangeWork work;
	ZdmRange   *range;
	ZdmState	state;

	zdm_set_local("synchronous_commit", "off");
	zdm_lock_migration(migration->id, migration->name, ShareLock);
	state = zdm_migration_state(migration->id);
	if (state == ZDM_READY)
		return NOTHING_LEFT;	/* another call was faster */
	if (state != ZDM_EXPANDED)
		ereport(ERROR,
				errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				errmsg("migration \"%s\" is %s now: the backfill stops",
					   migration->name, zdm_state_name(state)),
				errhint("SELECT * FROM zdm.events WHERE migration = %s;",
						quote_literal_cstr(migration->name)));

	if (zdm_range_left(migration->id, ZDM_RANGE_BLOCKS))
		work = ZDM_RANGE_BLOCKS;
	else if (zdm_range_left(migration->id, ZDM_RANGE_SKIPPED))
		work = ZDM_RANGE_SKIPPED;
	else
		work = ZDM_RANGE_VERIFY;
	if (work == ZDM_RANGE_VERIFY && enter_step(migrate, ZDM_STEP_VERIFY))
	{
		ListCell   *lc;


		foreach(lc, zdm_storage_relations(migration->relation))
		{
			Relation	rel = table_open(lfirst_oid(lc), AccessShareLock);

			zdm_ranges_extend(migration->id, lfirst_oid(lc), RelationGetNumberOfBlocks(rel));
			table_close(rel, AccessShareLock);
		}
	}

	range = zdm_range_claim(migration->id, work,
							work == ZDM_RANGE_SKIPPED ? migrate->swept : NULL);
	if (range != NULL)
		return work_on(migrate, range, work);
	if (work == ZDM_RANGE_SKIPPED && migrate->swept != NULL)
		return end_sweep(migrate);
	if (zdm_range_left(migration->id, work))
		return wait_for(migrate, "another backfill of this migration");
	return NOTHING_LEFT;
}

/*
 * Who holds a table against us, as its owner may see it: he reads this in
 * zdm.status, whoever makes the call.
 */
static char *
table_holders(Oid relid, LOCKMODE mode)
{
	ZdmIdentity saved;
	char	   *holders;

	zdm_become(zdm_table_owner(relid), &saved);
	holders = zdm_describe_table_holders(relid, mode);
	zdm_unbecome(&saved);
	return psprintf("table \"%s\", held by %s", zdm_relation_label(relid), holders);
}

static Outcome
work_on(Migrate *migrate, ZdmRange *range, ZdmRangeWork work)
{
	ZdmMigration *migration = migrate->migration;
	LOCKMODE	mode = work == ZDM_RANGE_VERIFY ? AccessShareLock : RowExclusiveLock;
	ZdmBatchReport report = {0};
	Outcome		outcome = WORKED;
	Relation	rel;

	if (!ConditionalLockRelationOid(range->relation, mode))
		return wait_for(migrate, table_holders(range->relation, mode));
	rel = try_relation_open(range->relation, NoLock);
	if (rel == NULL)
	{
		zdm_ranges_keep_only(migration->id, zdm_storage_relations(migration->relation));
		return WORKED;
	}
	if ((int64) zdm_relation_filenumber(rel) != range->filenumber)
	{
		zdm_ranges_remake(migration->id, range->relation, RelationGetNumberOfBlocks(rel),
						  zdm_relation_filenumber(rel));
		zdm_event(migration, "info", "restarted",
				  psprintf("table %s has new storage and is visited from its start",
						   RelationGetRelationName(rel)));
		relation_close(rel, NoLock);
		return WORKED;
	}

	switch (work)
	{
		case ZDM_RANGE_BLOCKS:
			if (list_length(range->skipped) < ZDM_MAX_SKIPPED)
				zdm_batch_fill(migration, range, rel, &report);
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
	relation_close(rel, NoLock);
	zdm_range_save(range);
	if (work != ZDM_RANGE_VERIFY)
		migrate->batch_ms = range->busy_us / 1000.0;
	if (outcome == WORKED && (work != ZDM_RANGE_SKIPPED || range->rows_changed > 0))
		worked(migrate);
	return outcome;
}

/*
 * So many rows of the range were put aside that they are tried again before
 * it goes on: somebody holds a large part of the table.
 */
static Outcome
relieve(Migrate *migrate, ZdmRange *range, Relation rel)
{
	ZdmBatchReport report = {0};

	(void) zdm_batch_retry(migrate->migration, range, rel, ZDM_MAX_SKIPPED, &report);
	if (list_length(range->skipped) < ZDM_MAX_SKIPPED)
		return WORKED;
	if (report.locked > 0)
		return wait_for(migrate, report.blocker);
	note_failures(migrate, &report);
	migrate->sweep_failed = list_length(range->skipped);
	migrate->sweep_failure = MemoryContextStrdup(migrate->cxt, linitial(report.failures));
	return FAILED;
}

/*
 * Try rows again that the range has put aside: in as many batches as it
 * takes, each of them once in a sweep.
 */
static void
sweep_range(Migrate *migrate, ZdmRange *range, Relation rel)
{
	ZdmBatchReport report = {0};

	if (migrate->sweep_left == 0)
		migrate->sweep_left = list_length(range->skipped);
	migrate->sweep_left -= zdm_batch_retry(migrate->migration, range, rel,
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

static void
note_failures(Migrate *migrate, ZdmBatchReport *report)
{
	ListCell   *lc;

	foreach(lc, report->failures)
		zdm_event(migrate->migration, "error", "row failed", lfirst(lc));
}

/*
 * Every range with rows put aside was tried once.  Rows that others hold are
 * waited for; where only rows are left that fail, so does the call.
 */
static Outcome
end_sweep(Migrate *migrate)
{
	int			failed = migrate->sweep_failed;
	int			locked = migrate->sweep_locked;
	char	   *failure = migrate->sweep_failure;
	char	   *blocker = migrate->sweep_blocker;

	migrate->swept = NULL;
	migrate->sweep_left = migrate->sweep_failed = migrate->sweep_locked = 0;
	migrate->sweep_failure = migrate->sweep_blocker = NULL;
	if (locked > 0)
		return wait_for(migrate, blocker);
	if (failed > 0)
	{
		migrate->sweep_failed = failed;
		migrate->sweep_failure = failure;
		return FAILED;
	}
	return WORKED;
}

static void
rows_failed(Migrate *migrate)
{
	int			count = migrate->sweep_failed;
	char	   *name = quote_literal_cstr(migrate->migration->name);

	fail(migrate, ERRCODE_DATA_EXCEPTION,
		 psprintf(count == 1 ? "%d row of migration \"%s\" could not be backfilled"
				  : "%d rows of migration \"%s\" could not be backfilled",
				  count, migrate->migration->name),
		 migrate->sweep_failure,
		 psprintf("SELECT detail FROM zdm.events WHERE migration = %s AND event = 'row failed'; correct these rows and run CALL zdm.backfill again. %s",
				  name, count < ZDM_MAX_SKIPPED ? "The others are done."
				  : "With so many of them, the backfill stopped there."));
}

static void
verify_range(Migrate *migrate, ZdmRange *range, Relation rel)
{
	ZdmVerification result = {
		.collect = true,
		.most_unfilled = ZDM_MAX_SKIPPED,
	};
	TimestampTz start = GetCurrentTimestamp();
	ListCell   *lc;

	zdm_verify_blocks(migrate->migration, rel, range->verified, range->end,
					  zdm_batch_target, &result);
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
 * Say for whom we wait, and give up where that took too long.
 */
static Outcome
wait_for(Migrate *migrate, const char *whom)
{
	if (TimestampDifferenceExceeds(migrate->last_progress, GetCurrentTimestamp(),
								   zdm_lock_patience))
		fail(migrate, ERRCODE_LOCK_NOT_AVAILABLE,
			 psprintf("the backfill of migration \"%s\" made no progress for %d ms",
					  migrate->migration->name, zdm_lock_patience),
			 psprintf("It waits for %s.", whom),
			 "What is done is kept: run the same call again, once that transaction has ended, or raise zdm.lock_patience.");
	if (zdm_migration_set_waiting(migrate->migration->id, whom))
		zdm_event(migrate->migration, "info", "waiting", whom);
	migrate->pause_ms = Min(Max(10, migrate->pause_ms * 2), MAX_WAIT_PAUSE_MS);
	migrate->waiting = true;
	return WAITED;
}

static void
worked(Migrate *migrate)
{
	if (migrate->waiting)
		(void) zdm_migration_set_waiting(migrate->migration->id, NULL);
	migrate->waiting = false;
	migrate->pause_ms = 0;
	migrate->last_progress = GetCurrentTimestamp();
}

/*
 * Nothing is left to do: compare the result of the verification, and change
 * the state under the exclusive lock.
 */
static void
become_ready(Migrate *migrate)
{
	ZdmMigration *migration = migrate->migration;
	int64		mismatches;

	zdm_lock_migration(migration->id, migration->name, ExclusiveLock);
	if (zdm_migration_state(migration->id) != ZDM_EXPANDED)
		return;
	mismatches = zdm_ranges_mismatches(migration->id);
	if (mismatches > 0)
	{
		zdm_ranges_verify_again(migration->id);
		fail(migrate, ERRCODE_DATA_CORRUPTED,
			 psprintf("old and new columns of migration \"%s\" differ in " INT64_FORMAT " %s",
					  migration->name, mismatches, mismatches == 1 ? "row" : "rows"),
			 "The sync trigger was switched off for a time, or another trigger changes the row after it.",
			 psprintf("SELECT * FROM zdm.verify(%s); correct these rows and run CALL zdm.backfill again.",
					  quote_literal_cstr(migration->name)));
	}
	leave_step(migrate, NULL);
	zdm_migration_set_state(migration, ZDM_READY);
}

/*
 * Keep the error where others see it, then raise it.
 */
static void
fail(Migrate *migrate, int code, const char *message, const char *detail,
	 const char *hint)
{
	MemoryContext old = MemoryContextSwitchTo(migrate->cxt);
	char	   *kept_message = pstrdup(message);
	char	   *kept_detail = pstrdup(detail);
	char	   *kept_hint = pstrdup(hint);

	MemoryContextSwitchTo(old);
	zdm_migration_set_error(migrate->migration->id,
							psprintf("%s: %s", message, detail));
	(void) zdm_migration_set_waiting(migrate->migration->id, NULL);
	leave_step(migrate, message);
	zdm_event(migrate->migration, "error", "failed", psprintf("%s: %s", message, detail));
	commit_transaction(migrate);
	ereport(ERROR,
			errcode(code),
			errmsg("%s", kept_message),
			errdetail("%s", kept_detail),
			errhint("%s", kept_hint));
}

static void
progress_line(Migrate *migrate)
{
	TimestampTz now = GetCurrentTimestamp();
	int64		changed;
	char	   *line;

	if (!TimestampDifferenceExceeds(migrate->last_line, now, PROGRESS_EVERY_MS))
		return;
	migrate->last_line = now;
	begin_transaction(migrate);
	line = zdm_ranges_progress(migrate->migration->id, &changed);
	ereport(NOTICE, errmsg("%s", line));
	commit_transaction(migrate);
}
