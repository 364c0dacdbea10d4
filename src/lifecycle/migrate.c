/*-------------------------------------------------------------------------
 *
 * migrate.c
 *	  The migrate phase: backfill, verify, ready.
 *
 * A loop of short transactions, each of which does one batch of whatever is to
 * be done (work.c), stores the cursor, and commits.  The loop runs in the
 * session that calls zdm.backfill or in background workers (background.c);
 * several may work side by side.  A crash, a cancel or a lost client costs one
 * batch.  When nothing is left the migration is ready.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/relation.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/pg_class.h"
#include "miscadmin.h"
#include "pgstat.h"
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
#include "catalog/sync_rule.h"
#include "lifecycle/background.h"
#include "lifecycle/checks.h"
#include "lifecycle/explain.h"
#include "lifecycle/lifecycle.h"
#include "lifecycle/migrate.h"
#include "lifecycle/registry.h"
#include "schema/relation.h"
#include "schema/table.h"
#include "util/compat.h"
#include "util/guc.h"
#include "util/ident.h"
#include "util/lock.h"
#include "util/mark.h"
#include "util/spi.h"

/* Progress lines for a client, and samples for zdm.progress. */
#define PROGRESS_EVERY_MS	5000
#define SAMPLE_EVERY_MS		2000

static void migrate_in_session(ZdmMigration *migration);
static ZdmOutcome loop(ZdmMigrate *migrate);
static bool prepare(ZdmMigrate *migrate);
static void leave_step(ZdmMigrate *migrate, const char *error);
static void rows_failed(ZdmMigrate *migrate);
static bool become_ready(ZdmMigrate *migrate);
static char *why_they_differ(ZdmMigration *migration);
static void rows_lack_value(ZdmMigrate *migrate, int64 rows);
static void progress_line(ZdmMigrate *migrate);

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
						  zdm_migrate_steps(migration));
		return;
	}
	if (atomic)
		zdm_refuse_atomic("zdm.backfill");
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
	ZdmMigrate *migrate = zdm_migrate_create(migration, NULL);
	volatile ZdmOutcome outcome;
	LOCKTAG		mark;

	if (StatementTimeout > 0)
		ereport(NOTICE,
				errmsg("statement_timeout is %d ms, and counts for the whole backfill", StatementTimeout),
				errhint("SET statement_timeout = 0; a call that was cancelled may be made again."));
	/* Released on every way out, and with the session. */
	(void) zdm_mark(&mark, ZDM_MARK_LOOP, migration->id, ZDM_IN_SESSION, ShareLock);
	PG_TRY();
	{
		zdm_background_pick_up();
		zdm_migrate_commit(migrate);
		outcome = zdm_migrate_run(migrate);
	}
	PG_FINALLY();
	{
		zdm_release_statement(migrate);
		zdm_unmark(&mark, ShareLock);
	}
	PG_END_TRY();
	if (outcome == ZDM_STOPPED)
		ereport(ERROR,
				errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				errmsg("migration \"%s\" is paused: the backfill stops", migration->name),
				errhint("SELECT zdm.resume(%s); then run the same call again.",
						quote_literal_cstr(migration->name)));
	if (outcome == ZDM_WORKED)
		ereport(NOTICE,
				errmsg("migration \"%s\" is ready", migration->name),
				zdm_rolling_back(migration)
				? errhint("SELECT zdm.rollback(%s);", quote_literal_cstr(migration->name))
				: errhint("Start the new version; when no old one runs any more: SELECT zdm.contract(%s);",
						  quote_literal_cstr(migration->name)));
}

void
zdm_refuse_atomic(const char *procedure)
{
	bool		backfill = strcmp(procedure, "zdm.backfill") == 0;

	ereport(ERROR,
			errcode(ERRCODE_INVALID_TRANSACTION_TERMINATION),
			errmsg(backfill ? "%s commits after each batch, and cannot do so here"
				   : "%s holds no snapshot while it waits, and cannot do so here", procedure),
			errdetail("It was called inside a transaction block, a function, an exception block, or together with other statements in one string."),
			errhint("%sCall it as a statement of its own outside of a transaction. Flyway: executeInTransaction=false; Liquibase: runInTransaction=\"false\"; "
					"Rails: disable_ddl_transaction!; Django: atomic = False; Alembic: autocommit_block(); sqitch, psql: no BEGIN, no --single-transaction; "
					"dbmate, goose: transaction:false, NO TRANSACTION; golang-migrate: a file of its own.",
					backfill ? "SELECT zdm.start(migration) runs it in the background and may be called here. " : ""));
}

/*
 * A loop for a migration, in the current memory context.
 */
ZdmMigrate *
zdm_migrate_create(ZdmMigration *migration, const ZdmTask *task)
{
	ZdmMigrate *migrate = palloc0_object(ZdmMigrate);

	migrate->migration = migration;
	migrate->task = task;
	migrate->cxt = CurrentMemoryContext;
	migrate->batch_cxt = AllocSetContextCreate(CurrentMemoryContext, "zdm batch",
											   ALLOCSET_DEFAULT_SIZES);
	migrate->statement_cxt = AllocSetContextCreate(CurrentMemoryContext, "zdm statement",
												   ALLOCSET_DEFAULT_SIZES);
	/* A helper comes into the middle of a session's loop. */
	migrate->prepared = task != NULL && task->kind == ZDM_TASK_STATEMENTS;
	migrate->throttle = zdm_throttle_create(CurrentMemoryContext);
	migrate->last_progress = migrate->last_line = GetCurrentTimestamp();
	return migrate;
}

/*
 * The migrate phase, or what is left of it.  Returns ZDM_WORKED where the
 * migration has become ready, ZDM_NOTHING_LEFT where it was ready already, and
 * ZDM_STOPPED where it is paused.
 */
ZdmOutcome
zdm_migrate_run(ZdmMigrate *migrate)
{
	bool		ready;

	/* Not again after an error that a worker has recovered from. */
	if (!migrate->prepared)
	{
		bool		to_do;

		zdm_migrate_begin(migrate);
		to_do = prepare(migrate);
		zdm_migrate_commit(migrate);
		if (!to_do)
			return ZDM_NOTHING_LEFT;
		migrate->prepared = true;
	}
	do
	{
		if (loop(migrate) == ZDM_STOPPED)
			return ZDM_STOPPED;
		zdm_migrate_begin(migrate);
		ready = become_ready(migrate);
		/* With synchronous_commit as the user has it: this one must last. */
		zdm_migrate_commit(migrate);
	} while (!ready);
	return ZDM_WORKED;
}

static ZdmOutcome
loop(ZdmMigrate *migrate)
{
	for (;;)
	{
		ZdmOutcome	outcome;

		CHECK_FOR_INTERRUPTS();
		zdm_reload_config();
		zdm_migrate_begin(migrate);
		outcome = zdm_work_once(migrate);
		zdm_migrate_commit(migrate);
		switch (outcome)
		{
			case ZDM_NOTHING_LEFT:
			case ZDM_STOPPED:
				return outcome;
			case ZDM_FAILED:
				zdm_migrate_begin(migrate);
				rows_failed(migrate);
				break;
			case ZDM_STATEMENT:
				zdm_run_statement(migrate);
				break;
			case ZDM_WORKED:
			case ZDM_WAITED:
				break;
		}
		progress_line(migrate);
		if (migrate->pause_ms > 0)
			zdm_sleep(migrate->pause_ms);
	}
}

/*
 * Begin a transaction of the loop's.  The settings of the session may ask for
 * an isolation that would make the application's transactions fail because of
 * us.
 */
void
zdm_migrate_begin(ZdmMigrate *migrate)
{
	if (migrate->task != NULL)
		StartTransactionCommand();
	zdm_set_local("transaction_isolation", "read committed");
	/* No wait in a worker is without an end, or unseen for long. */
	if (migrate->task != NULL)
		zdm_set_local("lock_timeout", "1000");
	MemoryContextReset(migrate->batch_cxt);
	MemoryContextSwitchTo(migrate->batch_cxt);
	PushActiveSnapshot(GetTransactionSnapshot());
	migrate->snapshot = true;
	if (migrate->task != NULL)
		pgstat_report_activity(STATE_RUNNING, migrate->migration->name);
}

void
zdm_migrate_commit(ZdmMigrate *migrate)
{
	if (migrate->snapshot)
		PopActiveSnapshot();
	migrate->snapshot = false;
	MemoryContextSwitchTo(migrate->cxt);
	if (migrate->task == NULL)
		SPI_commit();
	else
	{
		CommitTransactionCommand();
		pgstat_report_activity(STATE_IDLE, NULL);
		(void) pgstat_report_stat(false);
	}
	MemoryContextSwitchTo(migrate->cxt);
}

/*
 * Begin, or go on with, the migrate phase.  Returns false where there is
 * nothing to do.
 */
static bool
prepare(ZdmMigrate *migrate)
{
	ZdmMigration *migration = migrate->migration;

	zdm_lock_migration(migration->id, migration->name, ShareLock);
	(void) zdm_migration_refresh(migration);
	if (migration->state != ZDM_EXPANDED && migration->state != ZDM_READY)
	{
		if (migrate->task != NULL)
			return false;		/* it ended while the worker began */
		ereport(ERROR,
				errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				errmsg("migration \"%s\" is %s: there is nothing to backfill",
					   migration->name, zdm_state_name(migration->state)),
				errhint("SELECT next_command FROM zdm.status WHERE migration = %s;",
						quote_literal_cstr(migration->name)));
	}
	zdm_check_synced(migration);
	(void) zdm_cover_partitions(migration);
	/* What a loop that has died waited for. */
	(void) zdm_migration_set_waiting(migration->id, NULL);
	/* What others have done since may ask for more: a constraint of a domain. */
	if (migration->state == ZDM_READY && zdm_ddl_left(migration))
		zdm_migration_set_state(migration, ZDM_EXPANDED);
	if (migration->state == ZDM_READY)
	{
		ereport(NOTICE,
				errmsg("migration \"%s\" is ready already", migration->name),
				errhint(zdm_rolling_back(migration) ? "SELECT zdm.rollback(%s);" : "SELECT zdm.contract(%s);",
						quote_literal_cstr(migration->name)));
		return false;
	}
	zdm_migration_set_error(migration->id, NULL);
	zdm_event(migration, "info", "backfilling", NULL);
	return true;
}

/*
 * Record that the migrate phase goes on with its step of that kind.  Returns
 * false where it is in it already, or has none.
 */
bool
zdm_migrate_enter_step(ZdmMigrate *migrate, ZdmStepKind kind)
{
	ZdmMigration *migration = migrate->migration;
	char	   *description = NULL;
	ListCell   *lc;

	if (migrate->step != 0 && migrate->step_kind == kind)
		return false;
	foreach(lc, zdm_migrate_steps(migration))
	{
		ZdmStep    *step = lfirst(lc);

		if (step->kind == kind)
			description = step->description;
	}
	if (description == NULL)
		return false;
	leave_step(migrate, NULL);
	migrate->step = zdm_step_number(migration, ZDM_MIGRATE, description);
	migrate->step_kind = kind;
	zdm_step_started(migration, migrate->step, 0);
	return true;
}

/*
 * The same for a step of DDL, of which there may be several.
 */
void
zdm_migrate_enter_ddl(ZdmMigrate *migrate, const char *description)
{
	leave_step(migrate, NULL);
	migrate->step = zdm_step_number(migrate->migration, ZDM_MIGRATE, description);
	migrate->step_kind = ZDM_STEP_DDL;
	zdm_step_started(migrate->migration, migrate->step, 0);
}

static void
leave_step(ZdmMigrate *migrate, const char *error)
{
	if (migrate->step != 0)
		zdm_step_ended(migrate->migration, migrate->step, error);
	migrate->step = 0;
}

/*
 * Partitions that were attached since expand have rows that nobody has
 * visited, and a migration that was ready is not any more; those that are gone
 * need no visit.  Returns whether there are new ones.
 */
bool
zdm_cover_partitions(ZdmMigration *migration)
{
	List	   *relids = zdm_synced_storage(migration);
	bool		covered = true;
	ListCell   *lc;

	foreach(lc, relids)
		covered &= zdm_ranges_exist(migration->id, lfirst_oid(lc));
	zdm_ranges_keep_only(migration->id, zdm_compared_storage(migration));
	if (covered)
		return false;
	/* Two loops that begin together would do it twice. */
	zdm_lock_migration_name(migration->name);
	foreach(lc, relids)
	{
		Relation	rel;

		if (zdm_ranges_exist(migration->id, lfirst_oid(lc)))
			continue;
		rel = table_open(lfirst_oid(lc), AccessShareLock);
		zdm_ranges_make(migration->id, rel);
		table_close(rel, AccessShareLock);
		if (migration->state == ZDM_READY)
			zdm_migration_set_state(migration, ZDM_EXPANDED);
	}
	return true;
}

static void
rows_failed(ZdmMigrate *migrate)
{
	int			count = migrate->sweep_failed;
	char	   *name = quote_literal_cstr(migrate->migration->name);

	zdm_migrate_fail(migrate, ERRCODE_DATA_EXCEPTION,
					 psprintf(count == 1 ? "%d row of migration \"%s\" could not be backfilled"
							  : "%d rows of migration \"%s\" could not be backfilled",
							  count, migrate->migration->name),
					 migrate->sweep_failure,
					 psprintf("SELECT detail FROM zdm.events WHERE migration = %s AND event = 'row failed'; correct these rows, then SELECT zdm.start(%s) or CALL zdm.backfill again. %s",
							  name, name, count < ZDM_MAX_SKIPPED ? "The others are done."
							  : "With so many of them, the backfill stopped there."));
}

/*
 * Nothing is left to do: compare the result of the verification, and change
 * the state under the exclusive lock.  Returns false where there is something
 * to do after all.
 */
static bool
become_ready(ZdmMigrate *migrate)
{
	ZdmMigration *migration = migrate->migration;
	int64		mismatches;

	zdm_lock_migration(migration->id, migration->name, ExclusiveLock);
	(void) zdm_migration_refresh(migration);
	if (migration->state != ZDM_EXPANDED)
		return true;
	/* What was done to the table during the verification. */
	zdm_check_synced(migration);
	if (zdm_cover_partitions(migration) ||
		zdm_range_left(migration->id, ZDM_RANGE_VERIFY))
		return false;
	mismatches = zdm_ranges_mismatches(migration->id);
	if (mismatches > 0 && migration->rules != NIL &&
		((ZdmSyncRule *) linitial(migration->rules))->kind == ZDM_RULE_FILL)
		rows_lack_value(migrate, mismatches);
	if (mismatches > 0)
	{
		zdm_ranges_verify_again(migration->id);
		zdm_migrate_fail(migrate, ERRCODE_DATA_CORRUPTED,
						 psprintf("old and new %s of migration \"%s\" differ in " INT64_FORMAT " %s",
								  migration->mirrors != NIL ? "tables" : "columns",
								  migration->name, mismatches, mismatches == 1 ? "row" : "rows"),
						 why_they_differ(migration),
						 psprintf("SELECT * FROM zdm.verify(%s); correct these rows, then SELECT zdm.start(%s) or CALL zdm.backfill again.",
								  quote_literal_cstr(migration->name), quote_literal_cstr(migration->name)));
	}
	if (zdm_ddl_left(migration))
	{
		migrate->statements_run = false;
		return false;
	}
	leave_step(migrate, NULL);
	zdm_steps_ended(migration, ZDM_MIGRATE);
	zdm_migration_set_state(migration, ZDM_READY);
	return true;
}

static char *
why_they_differ(ZdmMigration *migration)
{
	List	   *mandatory = zdm_mandatory_columns(migration->rules);

	if (migration->mirrors != NIL)
		return pstrdup("The trigger that writes the other table was switched off for a time, or a trigger of the other table has skipped what it wrote, or a row came in by replication, or had none in the other table from the start.");
	if (mandatory == NIL)
		return pstrdup("The sync trigger was switched off for a time, or another trigger changes the row after it.");
	return psprintf("They hold NULL where they are not to (%s), or the sync trigger was switched off for a time, or another trigger changes the row after it.",
					zdm_column_list(mandatory));
}

static void
rows_lack_value(ZdmMigrate *migrate, int64 rows)
{
	ZdmMigration *migration = migrate->migration;
	char	   *name = quote_literal_cstr(migration->name);

	zdm_ranges_verify_again(migration->id);
	zdm_migrate_fail(migrate, ERRCODE_NOT_NULL_VIOLATION,
					 psprintf(INT64_FORMAT " %s of migration \"%s\" %s NULL in column \"%s\"",
							  rows, rows == 1 ? "row" : "rows", migration->name,
							  rows == 1 ? "holds" : "hold",
							  (char *) linitial(((ZdmSyncRule *) linitial(migration->rules))->new_columns)),
					 "There is no fill, or it gives NULL there.",
					 psprintf("SELECT * FROM zdm.verify(%s); give these rows a value, then SELECT zdm.start(%s) or CALL zdm.backfill again.",
							  name, name));
}

/*
 * Keep an error where others see it.  detail may be NULL.
 */
void
zdm_migrate_note_failure(ZdmMigrate *migrate, const char *message, const char *detail)
{
	char	   *both = detail ? psprintf("%s: %s", message, detail) : pstrdup(message);

	zdm_migration_set_error(migrate->migration->id, both);
	(void) zdm_migration_set_waiting(migrate->migration->id, NULL);
	leave_step(migrate, message);
	zdm_event(migrate->migration, "error", "failed", both);
	migrate->failed = true;
}

/*
 * Keep the error where others see it, then raise it.
 */
void
zdm_migrate_fail(ZdmMigrate *migrate, int code, const char *message, const char *detail,
				 const char *hint)
{
	MemoryContext old = MemoryContextSwitchTo(migrate->cxt);
	char	   *kept_message = pstrdup(message);
	char	   *kept_detail = pstrdup(detail);
	char	   *kept_hint = pstrdup(hint);

	MemoryContextSwitchTo(old);
	zdm_migrate_note_failure(migrate, message, detail);
	zdm_migrate_commit(migrate);
	ereport(ERROR,
			errcode(code),
			errmsg("%s", kept_message),
			errdetail("%s", kept_detail),
			errhint("%s", kept_hint));
}

/*
 * Note how far it is, for zdm.progress; in a session, tell its client, too.
 */
static void
progress_line(ZdmMigrate *migrate)
{
	TimestampTz now = GetCurrentTimestamp();
	bool		line = migrate->task == NULL &&
		TimestampDifferenceExceeds(migrate->last_line, now, PROGRESS_EVERY_MS);

	if (!line && !TimestampDifferenceExceeds(migrate->last_sample, now, SAMPLE_EVERY_MS))
		return;
	migrate->last_sample = now;
	zdm_migrate_begin(migrate);
	zdm_set_local("synchronous_commit", "off");
	zdm_migration_sample(migrate->migration->id);
	if (line)
	{
		CommandCounterIncrement();
		migrate->last_line = now;
		ereport(NOTICE, errmsg("%s", zdm_migration_progress(migrate->migration->name)));
	}
	zdm_migrate_commit(migrate);
}
