/*-------------------------------------------------------------------------
 *
 * background.c
 *	  The migrate phase in background workers.
 *
 * zdm.migration says which migrations are to be run and by how many workers;
 * the marks of the workers (util/mark.c) say who is at it.  A migration that
 * has fewer than it should is queued, whatever the reason: a crash, a restart,
 * a failover, no free slot.  Whoever notices asks for the rest: every call of
 * zdm, and the launcher.  A worker that finds its number taken goes away, so
 * nothing happens when two notice at once.
 *
 * What stops a worker for good is written to zdm.migration by itself, in a
 * transaction of its own after the one that failed; what passes by itself (a
 * lock that was not to be had, a deadlock, an interrupt) is tried again.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_database.h"
#include "commands/progress.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "storage/ipc.h"
#include "tcop/tcopprot.h"
#include "utils/backend_status.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "backfill/pace.h"
#include "catalog/event.h"
#include "lifecycle/background.h"
#include "lifecycle/checks.h"
#include "lifecycle/explain.h"
#include "lifecycle/migrate.h"
#include "util/guc.h"
#include "util/holders.h"
#include "util/lock.h"
#include "util/mark.h"
#include "util/spi.h"

/* How long a worker waits for one that had its number and is about to end. */
#define NUMBER_WAIT_MS 3000
#define NUMBER_PAUSE_MS 20

/* The first pause after an error that may pass by itself. */
#define RETRY_MS 50

/* So many of them in a row, without any progress, are no interrupts. */
#define MOST_INTERRUPTS 10

/* Workers try that long to get a lock before they say that they wait. */
#define LOCK_PATIENCE "1s"

static bool extension_exists(void);
static ZdmMigration *read_migration(ZdmTask *task);
static bool take_number(const ZdmTask *task, LOCKTAG *tag);
static void run_migration(ZdmTask *task);
static ErrorData *take_error(ZdmMigrate *migrate);
static bool handle_error(ZdmMigrate *migrate, ErrorData *error);
static void run_vacuum(ZdmTask *task);
static List *databases(MemoryContext cxt);

/*
 * Have the workers begin that a migration is to have and has not, when the
 * current transaction commits.  own: the session's user has asked for it.
 */
void
zdm_background_ask(ZdmMigration *migration, bool own)
{
	List	   *at_work = zdm_marked(ZDM_MARK_LOOP, migration->id);

	for (int number = 1; number <= migration->workers; number++)
	{
		ZdmTask		task = {
			.kind = ZDM_TASK_RUN,
			.database = MyDatabaseId,
			.migration = migration->id,
			.number = number,
		};
		bool		taken = false;
		ListCell   *lc;

		foreach(lc, at_work)
			taken |= ((ZdmMarked *) lfirst(lc))->number == number;
		if (taken)
			continue;
		namestrcpy(&task.name, migration->name);
		zdm_worker_request(&task, own);
	}
}

/*
 * The same for every migration that is queued, in this database.
 */
void
zdm_background_pick_up(void)
{
	ListCell   *lc;

	if (zdm_explaining())
		return;
	foreach(lc, zdm_migrations_queued())
	{
		ZdmMigration *migration = lfirst(lc);

		/* Not in the middle of a restore. */
		if ((migration->rules != NIL || migration->mirrors != NIL) &&
			!OidIsValid(zdm_table_out_of_sync(migration)))
			zdm_background_ask(migration, false);
	}
}

/*
 * A worker's life, from its connection to its end.
 */
void
zdm_background_work(ZdmTask *task)
{
	StartTransactionCommand();
	if (!extension_exists())
	{
		CommitTransactionCommand();
		return;
	}
	CommitTransactionCommand();

	switch (task->kind)
	{
		case ZDM_TASK_RUN:
		case ZDM_TASK_STATEMENTS:
			run_migration(task);
			break;
		case ZDM_TASK_VACUUM:
			run_vacuum(task);
			break;
		case ZDM_TASK_SCOUT:
			StartTransactionCommand();
			PushActiveSnapshot(GetTransactionSnapshot());
			zdm_background_pick_up();
			PopActiveSnapshot();
			CommitTransactionCommand();
			break;
	}
}

/*
 * The extension may be gone, or of a version that this library is not for.
 */
static bool
extension_exists(void)
{
	Oid			schema = get_namespace_oid("zdm", true);
	Oid			relid = OidIsValid(schema) ? get_relname_relid("migration", schema) : InvalidOid;

	return OidIsValid(relid) && get_attnum(relid, "workers") != InvalidAttrNumber;
}

static void
run_migration(ZdmTask *task)
{
	MemoryContext cxt = AllocSetContextCreate(TopMemoryContext, "zdm worker",
											  ALLOCSET_DEFAULT_SIZES);
	ZdmMigration *migration;
	ZdmMigrate *migrate;
	bool		retry = false;
	LOCKTAG		number;

	MemoryContextSwitchTo(cxt);
	if (!take_number(task, &number))
		return;
	migration = read_migration(task);
	if (migration == NULL)
		return;
	MemoryContextSwitchTo(cxt);
	migrate = zdm_migrate_create(migration, task);
	migrate->loop_mark = number;
	/* A lock that is not to be had is to be seen soon. */
	SetConfigOption("zdm.lock_patience", LOCK_PATIENCE, PGC_USERSET, PGC_S_SESSION);
	if (migration->fire_user_triggers)
		SetConfigOption("zdm.fire_user_triggers", "on", PGC_USERSET, PGC_S_SESSION);
	do
	{
		ErrorData  *volatile error = NULL;

		PG_TRY();
		{
			if (retry)
				zdm_sleep(RETRY_MS);
			(void) zdm_migrate_run(migrate);
		}
		PG_CATCH();
		{
			error = take_error(migrate);
		}
		PG_END_TRY();
		if (error == NULL)
			return;
		/* Whoever interrupts us twice is answered once. */
		HOLD_CANCEL_INTERRUPTS();
		retry = handle_error(migrate, error);
		RESUME_CANCEL_INTERRUPTS();
		FreeErrorData(error);
	} while (retry);
}

/*
 * Mark ourselves as the worker with that number.  One that has it may be about
 * to end, because it was paused a moment ago.
 */
static bool
take_number(const ZdmTask *task, LOCKTAG *tag)
{
	MemoryContext cxt = CurrentMemoryContext;
	bool		helper = task->kind == ZDM_TASK_STATEMENTS;
	bool		got;

	for (int waited = 0;; waited += NUMBER_PAUSE_MS)
	{
		StartTransactionCommand();
		got = zdm_mark(tag, ZDM_MARK_LOOP, task->migration,
					   helper ? ZDM_HELPER : task->number, ExclusiveLock);
		CommitTransactionCommand();
		MemoryContextSwitchTo(cxt);
		if (got || helper || waited >= NUMBER_WAIT_MS)
			return got;
		zdm_sleep(NUMBER_PAUSE_MS);
	}
}

/*
 * The migration as it is now, in the current context; NULL where there is
 * nothing to do for this worker.
 */
static ZdmMigration *
read_migration(ZdmTask *task)
{
	MemoryContext cxt = CurrentMemoryContext;
	ZdmMigration *migration;

	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
	MemoryContextSwitchTo(cxt);
	migration = zdm_migration_by_id(task->migration);
	PopActiveSnapshot();
	CommitTransactionCommand();
	MemoryContextSwitchTo(cxt);
	if (migration == NULL || migration->paused ||
		(migration->state != ZDM_EXPANDED && migration->state != ZDM_READY) ||
		(task->kind == ZDM_TASK_RUN && task->number > migration->workers))
		return NULL;
	return migration;
}

/*
 * In the handler of an error: end the transaction that failed, and all that
 * was begun in it.  Returns the error.
 */
static ErrorData *
take_error(ZdmMigrate *migrate)
{
	ErrorData  *error;

	HOLD_INTERRUPTS();
	/* Whom an index build waited for, as it has told the statistics. */
	migrate->late_for = migrate->statement_since != 0 && MyBEEntry != NULL ?
		(int) MyBEEntry->st_progress_param[PROGRESS_WAITFOR_CURRENT_PID] : 0;
	EmitErrorReport();
	MemoryContextSwitchTo(migrate->cxt);
	error = CopyErrorData();
	FlushErrorState();
	debug_query_string = NULL;
	AbortOutOfAnyTransaction();
	migrate->snapshot = false;
	migrate->step = 0;
	migrate->swept = NULL;
	migrate->sweep_left = migrate->sweep_failed = migrate->sweep_locked = 0;
	zdm_release_statement(migrate);
	MemoryContextSwitchTo(migrate->cxt);
	pgstat_report_activity(STATE_IDLE, NULL);
	RESUME_INTERRUPTS();
	return error;
}

/*
 * Whether to go on after an error.  If not, the reason has been written where
 * zdm.status shows it.
 */
static bool
handle_error(ZdmMigrate *migrate, ErrorData *error)
{
	/* DDL says itself for whom it waited, and is tried again. */
	bool		late = migrate->statement_since != 0 && error->detail == NULL &&
		error->sqlerrcode == ERRCODE_LOCK_NOT_AVAILABLE;
	bool		passes = error->sqlerrcode == ERRCODE_LOCK_NOT_AVAILABLE ||
		error->sqlerrcode == ERRCODE_T_R_DEADLOCK_DETECTED ||
		error->sqlerrcode == ERRCODE_T_R_SERIALIZATION_FAILURE ||
		error->sqlerrcode == ERRCODE_QUERY_CANCELED;

	if (migrate->failed)
		return false;
	/* Whoever interrupts us has paused or ended the migration: we shall see. */
	if (error->sqlerrcode == ERRCODE_QUERY_CANCELED)
	{
		/* Or it is the owner's code that raises this. */
		if (++migrate->interrupts > MOST_INTERRUPTS)
			passes = false;
		migrate->last_progress = GetCurrentTimestamp();
	}
	if (passes && !late &&
		!TimestampDifferenceExceeds(migrate->last_progress, GetCurrentTimestamp(),
									zdm_worker_patience))
	{
		migrate->statement_since = 0;
		zdm_migrate_begin(migrate);
		if (error->sqlerrcode == ERRCODE_LOCK_NOT_AVAILABLE)
			(void) zdm_wait_for(migrate, error->detail ? error->detail : error->message);
		zdm_migrate_commit(migrate);
		return true;
	}
	zdm_migrate_begin(migrate);
	if (late)
		zdm_migrate_note_failure(migrate,
								 psprintf("the index build waited for more than %d ms", zdm_worker_patience),
								 psprintf("It waited for %s.",
										  zdm_describe_process(migrate->late_for)));
	else
		zdm_migrate_note_failure(migrate, error->message,
								 error->detail ? error->detail : error->context);
	zdm_migrate_commit(migrate);
	return false;
}

/*
 * For a session that runs zdm.backfill: vacuum one of its tables.
 */
static void
run_vacuum(ZdmTask *task)
{
	ZdmStatement *statement = NULL;
	MemoryContext cxt = AllocSetContextCreate(TopMemoryContext, "zdm worker",
											  ALLOCSET_DEFAULT_SIZES);
	LOCKTAG		table,
				migration;

	StartTransactionCommand();
	MemoryContextSwitchTo(cxt);
	if (get_rel_name(task->relation) != NULL &&
		zdm_mark(&table, ZDM_MARK_TABLE, task->relation, 0, ExclusiveLock))
	{
		(void) zdm_mark(&migration, ZDM_MARK_STATEMENT, task->migration, 0, ShareLock);
		statement = zdm_vacuum_statement(task->relation);
	}
	CommitTransactionCommand();
	MemoryContextSwitchTo(cxt);
	if (statement == NULL)
		return;
	zdm_pace_vacuum(task->gently);
	zdm_statement_run(statement);
}

/*
 * The launcher's life: have a scout look into each database, again and again.
 */
void
zdm_background_launch(void)
{
	MemoryContext cxt = AllocSetContextCreate(TopMemoryContext, "zdm launcher",
											  ALLOCSET_DEFAULT_SIZES);

	for (;;)
	{
		ListCell   *lc;

		MemoryContextReset(cxt);
		MemoryContextSwitchTo(cxt);
		foreach(lc, databases(cxt))
		{
			ZdmTask		task = {.kind = ZDM_TASK_SCOUT,.database = lfirst_oid(lc)};
			BackgroundWorkerHandle *handle;

			/* Where no slot is free, the next round finds one. */
			if (zdm_worker_register(&task, &handle))
				(void) WaitForBackgroundWorkerShutdown(handle);
			CHECK_FOR_INTERRUPTS();
		}
		pgstat_report_activity(STATE_IDLE, NULL);
		zdm_sleep(zdm_launcher_naptime * INT64CONST(1000));
		zdm_reload_config();
	}
}

/*
 * The databases that one can connect to.
 */
static List *
databases(MemoryContext cxt)
{
	List	   *result = NIL;
	Relation	rel;
	TableScanDesc scan;
	HeapTuple	tuple;

	StartTransactionCommand();
	(void) GetTransactionSnapshot();
	rel = table_open(DatabaseRelationId, AccessShareLock);
	scan = table_beginscan_catalog(rel, 0, NULL);
	while (HeapTupleIsValid(tuple = heap_getnext(scan, ForwardScanDirection)))
	{
		Form_pg_database form = (Form_pg_database) GETSTRUCT(tuple);
		MemoryContext old;

		/* One with the limit -2 was being dropped when the server crashed. */
		if (!form->datallowconn || form->datistemplate || form->datconnlimit < -1)
			continue;
		old = MemoryContextSwitchTo(cxt);
		result = lappend_oid(result, form->oid);
		MemoryContextSwitchTo(old);
	}
	table_endscan(scan);
	table_close(rel, AccessShareLock);
	CommitTransactionCommand();
	MemoryContextSwitchTo(cxt);
	return result;
}
