/*-------------------------------------------------------------------------
 *
 * control.c
 *	  zdm.start, zdm.pause, zdm.resume and zdm.wait.
 *
 * The first three write down what is to be, in the caller's transaction; the
 * loops of the migration read it at their next batch, and workers begin when
 * the transaction commits.  zdm.wait only looks on.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/datetime.h"
#include "utils/lsyscache.h"
#include "utils/snapmgr.h"

#include "backfill/throttle.h"
#include "catalog/event.h"
#include "catalog/step.h"
#include "lifecycle/background.h"
#include "lifecycle/checks.h"
#include "lifecycle/control.h"
#include "lifecycle/explain.h"
#include "lifecycle/lifecycle.h"
#include "lifecycle/migrate.h"
#include "lifecycle/registry.h"
#include "schema/relation.h"
#include "schema/table.h"
#include "util/compat.h"
#include "util/guc.h"
#include "util/lock.h"
#include "util/mark.h"
#include "util/spi.h"

/* Between two looks, in ms. */
#define WAIT_PAUSE_MS	200
/* How long nobody may be at work before that is an error. */
#define WAIT_GRACE_MS	10000
/* Workers that do not come are asked for again after this time. */
#define ASK_EVERY_MS	2000

typedef struct WaitState
{
	TimestampTz idle_since;		/* nobody is at work, 0: somebody is */
	TimestampTz asked;			/* for workers, when */
} WaitState;

static ZdmMigration *begin_control(const char *name);
static bool explained(ZdmMigration *migration, const char *what);
static bool is_over(ZdmMigration *migration, WaitState *state);
static pg_noreturn void timed_out(ZdmMigration *migration);

/*
 * Run the migrate phase in that many background workers (or as many as the
 * setting says).  throttle: NULL leaves the query as it is, an empty one takes it
 * away.
 */
ZdmState
zdm_control_start(const char *name, int workers, const char *throttle)
{
	ZdmMigration *migration;
	ZdmOrder	order = {
		.workers = workers != ZDM_DEFAULT_WORKERS ? workers : zdm_backfill_workers,
		.throttle = unconstify(char *, throttle),
		.fire_user_triggers = zdm_fire_user_triggers,
	};
	Oid			owner;

	if (order.workers < 1 || order.workers > ZDM_MAX_WORKERS)
		ereport(ERROR,
				errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("workers must be between 1 and %d", ZDM_MAX_WORKERS),
				errhint("Leave it out for zdm.backfill_workers."));
	migration = begin_control(name);
	if (migration->state != ZDM_EXPANDED && migration->state != ZDM_READY)
		ereport(ERROR,
				errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				errmsg("migration \"%s\" is %s: there is nothing to backfill",
					   name, zdm_state_name(migration->state)),
				errhint("SELECT next_command FROM zdm.status WHERE migration = %s;",
						quote_literal_cstr(name)));
	zdm_check_synced(migration);
	/* What was on at expand stays on. */
	order.fire_user_triggers |= migration->fire_user_triggers;
	owner = zdm_table_owner(migration->relation);
	if (throttle != NULL && throttle[0] != '\0')
		zdm_throttle_check(throttle, owner);
	order.throttle_role = owner;
	if (zdm_explaining())
	{
		zdm_explain_steps(migration, ZDM_MIGRATE,
						  zdm_migrate_steps(migration));
		return migration->state;
	}
	(void) zdm_cover_partitions(migration);
	zdm_migration_order(migration, &order);
	zdm_event(migration, "info", "started",
			  psprintf("%d %s", order.workers, order.workers == 1 ? "worker" : "workers"));
	zdm_background_ask(migration, true);
	return migration->state;
}

/*
 * Stop all loops of the migration, within one batch of each.
 */
ZdmState
zdm_control_pause(const char *name)
{
	ZdmMigration *migration = begin_control(name);

	if (migration->state != ZDM_EXPANDED)
		ereport(ERROR,
				errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				errmsg("migration \"%s\" is %s: there is nothing to pause",
					   name, zdm_state_name(migration->state)),
				errhint("SELECT next_command FROM zdm.status WHERE migration = %s;",
						quote_literal_cstr(name)));
	if (migration->paused)
	{
		ereport(NOTICE, errmsg("migration \"%s\" is paused already", name));
		return migration->state;
	}
	if (explained(migration, "stop the backfill within one batch"))
		return migration->state;
	zdm_migration_set_paused(migration, true);
	(void) zdm_migration_set_waiting(migration->id, NULL);
	/* An index build waits until we have committed, and then sees it. */
	zdm_interrupt_statements(migration->id);
	ereport(NOTICE,
			errmsg("migration \"%s\" is paused; both versions stay in sync", name),
			errhint("SELECT zdm.resume(%s);", quote_literal_cstr(name)));
	return migration->state;
}

ZdmState
zdm_control_resume(const char *name)
{
	ZdmMigration *migration = begin_control(name);

	if (!migration->paused)
	{
		ereport(NOTICE, errmsg("migration \"%s\" is not paused", name));
		return migration->state;
	}
	if (explained(migration, "let the backfill go on"))
		return migration->state;
	zdm_migration_set_paused(migration, false);
	if (migration->workers > 0)
		zdm_background_ask(migration, true);
	else
		ereport(NOTICE,
				errmsg("migration \"%s\" has no background workers", name),
				errhint("SELECT zdm.start(%s);", quote_literal_cstr(name)));
	return migration->state;
}

/*
 * For a dry run: tell what would be done.
 */
static bool
explained(ZdmMigration *migration, const char *what)
{
	if (!zdm_explaining())
		return false;
	zdm_explain_steps(migration, ZDM_MIGRATE,
					  list_make1(zdm_step(ZDM_STEP_BACKFILL, NoLock, what, NULL)));
	return true;
}

/*
 * The migration of that name, locked against its loops and everybody else.
 */
static ZdmMigration *
begin_control(const char *name)
{
	ZdmMigration *migration = zdm_migration_of_caller(name);

	if (zdm_explaining())
		return migration;
	zdm_check_writable();
	zdm_lock_migration(migration->id, name, ExclusiveLock);
	return zdm_migration_of_caller(name);
}

/*
 * CALL zdm.wait: return when the migration is ready.  Nothing is held while we
 * sleep, no snapshot and no lock.
 */
void
zdm_control_wait(const char *name, Interval *timeout, bool atomic)
{
	TimestampTz start = GetCurrentTimestamp();
	TimestampTz deadline = start + zdm_interval_us(timeout);
	WaitState	state = {.asked = start};
	MemoryContext cxt,
				look;

	if (zdm_explaining())
	{
		(void) zdm_migration_of_caller(name);
		return;
	}
	if (atomic)
		zdm_refuse_atomic("zdm.wait");
	zdm_check_writable();
	if (SPI_connect_ext(SPI_OPT_NONATOMIC) != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect_ext failed");
	cxt = CurrentMemoryContext;
	look = AllocSetContextCreate(cxt, "zdm wait", ALLOCSET_DEFAULT_SIZES);
	name = pstrdup(name);
	zdm_background_pick_up();
	for (;;)
	{
		ZdmMigration *migration;
		bool		over;

		SPI_commit();
		zdm_set_local("transaction_isolation", "read committed");
		MemoryContextReset(look);
		MemoryContextSwitchTo(look);
		PushActiveSnapshot(GetTransactionSnapshot());
		migration = zdm_migration_of_caller(name);
		over = is_over(migration, &state);
		if (!over && GetCurrentTimestamp() >= deadline)
			timed_out(migration);
		PopActiveSnapshot();
		MemoryContextSwitchTo(cxt);
		SPI_commit();
		MemoryContextSwitchTo(cxt);
		if (over)
			break;
		zdm_sleep(WAIT_PAUSE_MS);
	}
	if (SPI_finish() != SPI_OK_FINISH)
		elog(ERROR, "SPI_finish failed");
}

/*
 * Whether it is ready.  Raises an error where it will not become so without
 * somebody doing something.
 */
static bool
is_over(ZdmMigration *migration, WaitState *state)
{
	char	   *name = quote_literal_cstr(migration->name);
	bool		idle = zdm_marked(ZDM_MARK_LOOP, migration->id) == NIL;
	TimestampTz now = GetCurrentTimestamp();

	if (migration->state != ZDM_EXPANDED)
	{
		ereport(NOTICE,
				errmsg("migration \"%s\" is %s", migration->name,
					   zdm_state_name(migration->state)));
		return true;
	}
	if (migration->paused)
		ereport(ERROR,
				errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				errmsg("migration \"%s\" is paused", migration->name),
				errhint("SELECT zdm.resume(%s);", name));
	if (!idle)
	{
		state->idle_since = 0;
		return false;
	}
	if (migration->failed)
		ereport(ERROR,
				errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				errmsg("the backfill of migration \"%s\" has failed", migration->name),
				errdetail("%s", zdm_migration_error(migration->id)),
				errhint("When the reason is gone: SELECT zdm.start(%s); then wait again.", name));
	if (state->idle_since == 0)
		state->idle_since = now;
	if (migration->workers > 0)
	{
		if (TimestampDifferenceExceeds(state->asked, now, ASK_EVERY_MS))
		{
			zdm_background_ask(migration, true);
			state->asked = now;
		}
	}
	else if (TimestampDifferenceExceeds(state->idle_since, now, WAIT_GRACE_MS))
		ereport(ERROR,
				errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				errmsg("nobody runs migration \"%s\"", migration->name),
				errhint("SELECT zdm.start(%s); then wait again.", name));
	return false;
}

static void
timed_out(ZdmMigration *migration)
{
	ereport(ERROR,
			errcode(ERRCODE_LOCK_NOT_AVAILABLE),
			errmsg("migration \"%s\" did not become ready in time", migration->name),
			errdetail("%s", zdm_migration_progress(migration->name)),
			errhint("The wait has stopped nothing. SELECT * FROM zdm.progress WHERE migration = %s;",
					quote_literal_cstr(migration->name)));
}
