/*-------------------------------------------------------------------------
 *
 * migration.c
 *	  The state machine: expand, contract, finish, rollback.
 *
 * Each transition runs inside the caller's transaction, all of it or none, in
 * one order: may the caller (nothing is told to others), is the state right
 * (under the migration's lock), is anything in the way, then the tables'
 * locks, politely, the same questions again now that nobody can change the
 * answers, and then the pattern's steps.  Whatever can be refused is refused
 * before the first lock.
 *
 * Lock order: the migration first, its tables after.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/relation.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/datetime.h"
#include "utils/fmgrprotos.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/timestamp.h"

#include "catalog/event.h"
#include "catalog/mirror_difference.h"
#include "catalog/mirror_rule.h"
#include "catalog/range.h"
#include "catalog/step.h"
#include "catalog/sync_rule.h"
#include "lifecycle/background.h"
#include "lifecycle/checks.h"
#include "lifecycle/explain.h"
#include "lifecycle/lifecycle.h"
#include "lifecycle/migrate.h"
#include "lifecycle/registry.h"
#include "lifecycle/run.h"
#include "schema/relation.h"
#include "schema/table.h"
#include "util/compat.h"
#include "util/guc.h"
#include "util/ident.h"
#include "util/lock.h"
#include "util/spi.h"

static bool expanded_before(ZdmMigration *migration);
static void ready_at_once(ZdmMigration *migration, const char *table);
static void start_backfill(ZdmMigration *migration);
static void order_workers(ZdmMigration *migration);
static bool prepare_rollback(ZdmMigration *migration);
static bool record_migrate(ZdmMigration *migration);
static void check_name(const char *name);
static void check_spec(const ZdmPattern *pattern, ZdmMigration *migration);
static void warn_of(const ZdmPattern *pattern, ZdmMigration *migration);
static ZdmMigration *begin_transition(const char *name);
static bool change_tables(ZdmMigration *migration, ZdmPhase phase,
						  bool quarantine);
static List *phase_steps(const ZdmPattern *pattern, ZdmMigration *migration,
						 ZdmPhase phase, bool quarantine);
static void make_ranges(ZdmMigration *migration);
static void end_migration(ZdmMigration *migration, ZdmState state);
static void move_quarantine(ZdmMigration *migration, int64 us);
static pg_noreturn void wrong_state(ZdmMigration *migration, const char *what,
									const char *hint);

/*
 * Expand: start a migration.  Returns its name.
 */
char *
zdm_lifecycle_expand(ZdmMigration *migration)
{
	const ZdmPattern *pattern = zdm_pattern(migration);
	Relation	rel;
	List	   *steps;
	List	   *locked;
	char	   *table;
	int64		waited = 0;

	migration->build_indexes = zdm_build_indexes;
	zdm_check_caller(migration->relation);
	zdm_check_writable();
	check_name(migration->name);
	if (!zdm_explaining())
		zdm_lock_migration_name(migration->name);
	if (expanded_before(migration))
		return migration->name;
	check_spec(pattern, migration);
	if (zdm_explaining())
	{
		zdm_explain_migration(pattern, migration);
		return migration->name;
	}

	warn_of(pattern, migration);
	do
	{
		locked = zdm_migration_tables(migration);
		waited += zdm_lock_phase(pattern, migration, ZDM_EXPAND, false);
		zdm_check_caller(migration->relation);
		check_spec(pattern, migration);
		/* It may work on more tables than it did a moment ago. */
	} while (list_difference_oid(zdm_migration_tables(migration), locked) != NIL);

	table = zdm_relation_label(migration->relation);
	rel = relation_open(migration->relation, NoLock);
	steps = pattern->expand(migration, rel);
	relation_close(rel, NoLock);
	zdm_migration_insert(migration);
	zdm_event(migration, "info", "expanding", NULL);
	zdm_run_steps(migration, ZDM_EXPAND, steps, waited);
	make_ranges(migration);
	if (record_migrate(migration))
	{
		zdm_migration_set_state(migration, ZDM_EXPANDED);
		start_backfill(migration);
	}
	else
	{
		zdm_migration_set_state(migration, ZDM_READY);
		ready_at_once(migration, table);
	}
	return migration->name;
}

/*
 * table: the name by which the user knows it, which may be another's by now.
 */
static void
ready_at_once(ZdmMigration *migration, const char *table)
{
	ereport(NOTICE,
			errmsg("migration \"%s\" is ready: both versions can use table \"%s\"",
				   migration->name, table),
			errhint("Commit; when no old version runs any more: SELECT zdm.contract(%s);",
					quote_literal_cstr(migration->name)));
}

/*
 * The migrate phase begins by itself when the transaction commits, or the
 * user is told how to begin it.
 */
static void
start_backfill(ZdmMigration *migration)
{
	char	   *name = quote_literal_cstr(migration->name);

	order_workers(migration);
	ereport(NOTICE,
			errmsg("migration \"%s\" is expanded: both versions can use table \"%s\"",
				   migration->name, zdm_relation_label(migration->relation)),
			zdm_auto_start
			? errhint("The backfill starts in the background when you commit. Then CALL zdm.wait(%s);", name)
			: errhint("Commit, then SELECT zdm.start(%s); or CALL zdm.backfill(%s);", name, name));
}

static void
order_workers(ZdmMigration *migration)
{
	ZdmOrder	order = {
		.workers = zdm_backfill_workers,
		.fire_user_triggers = zdm_fire_user_triggers,
	};

	if (!zdm_auto_start)
		return;
	zdm_migration_order(migration, &order);
	zdm_background_ask(migration, true);
}

static void
check_name(const char *name)
{
	if (name[0] == '\0' || strlen(name) >= NAMEDATALEN)
		ereport(ERROR,
				errcode(ERRCODE_INVALID_NAME),
				errmsg("migration name \"%s\" is empty or longer than %d bytes",
					   name, NAMEDATALEN - 1),
				errhint("Give a shorter one in the argument migration."));
}

/*
 * Whether the very same migration is in flight already.  Another one of that
 * name is an error.
 */
static bool
expanded_before(ZdmMigration *migration)
{
	ZdmMigration *other = zdm_migration_find(migration->name);

	if (other == NULL)
		return false;
	if (other->relation != migration->relation ||
		strcmp(other->pattern, migration->pattern) != 0 ||
		strcmp(other->strategy, migration->strategy) != 0 ||
		strcmp(zdm_names_text(other->old_columns), zdm_names_text(migration->old_columns)) != 0 ||
		strcmp(zdm_names_text(other->new_columns), zdm_names_text(migration->new_columns)) != 0 ||
		!zdm_same_arguments(other, migration))
		ereport(ERROR,
				errcode(ERRCODE_DUPLICATE_OBJECT),
				errmsg("migration \"%s\" is in flight already, on table %s with other arguments",
					   migration->name, zdm_quote_relation(other->relation)),
				errhint("Give this one another name in the argument migration."));
	ereport(NOTICE,
			errmsg("migration \"%s\" is in flight already, it is %s",
				   migration->name, zdm_state_name(other->state)),
			errhint("SELECT next_command FROM zdm.status WHERE migration = %s;",
					quote_literal_cstr(migration->name)));
	return true;
}

/*
 * Whether the table and the arguments allow it.  Nothing stays locked by the
 * question: two sessions that hold a table and both want more of it would
 * wait for each other.
 */
static void
check_spec(const ZdmPattern *pattern, ZdmMigration *migration)
{
	List	   *relids = zdm_migration_tables(migration);
	Relation	rel;

	(void) zdm_lock_relations(relids, AccessShareLock);
	rel = relation_open(migration->relation, NoLock);
	pattern->check(migration, rel);
	relation_close(rel, NoLock);
	zdm_unlock_relations(relids, AccessShareLock);
}

static void
warn_of(const ZdmPattern *pattern, ZdmMigration *migration)
{
	Relation	rel = relation_open(migration->relation, AccessShareLock);
	ListCell   *lc;

	foreach(lc, zdm_notes(pattern, migration, rel))
	{
		ZdmNote    *note = lfirst(lc);

		if (note->warn)
			ereport(WARNING,
					errmsg("%s", note->text),
					errhint("zdm.explain lists all that is different while a migration is in flight."));
	}
	relation_close(rel, AccessShareLock);
}

/*
 * Contract: the new shape becomes the only one, or, for the time of a
 * quarantine (NULL: the setting's), the leading one.
 */
ZdmState
zdm_lifecycle_contract(const char *name, Interval *quarantine)
{
	ZdmMigration *migration = begin_transition(name);
	int64		us = quarantine ? zdm_interval_us(quarantine)
		: (int64) zdm_quarantine * USECS_PER_SEC;

	if (us < 0)
		ereport(ERROR,
				errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("the quarantine is negative"),
				errhint("0 means none."));
	if (migration->state == ZDM_CONTRACTED && quarantine != NULL && us > 0)
	{
		if (!zdm_explaining())
			move_quarantine(migration, us);
		return migration->state;
	}
	if (migration->state == ZDM_CONTRACTED && quarantine != NULL)
	{
		if (!zdm_explaining())
			zdm_migration_set_quarantine(migration, GetCurrentTimestamp());
		return zdm_lifecycle_finish(name);
	}
	if (migration->state == ZDM_CONTRACTED)
		wrong_state(migration, "contract it",
					psprintf("SELECT zdm.finish(%s);", quote_literal_cstr(name)));
	/* A rollback that has begun can be given up at any time. */
	if (migration->state != ZDM_READY && !zdm_rolling_back(migration))
		wrong_state(migration, "contract it",
					psprintf("SELECT zdm.start(%s); then CALL zdm.wait(%s);",
							 quote_literal_cstr(name), quote_literal_cstr(name)));
	if (us > 0)
		migration->quarantine_until = GetCurrentTimestamp() + us;
	if (!change_tables(migration, ZDM_CONTRACT, us > 0))
		return migration->state;
	if (us > 0)
	{
		zdm_migration_set_state(migration, ZDM_CONTRACTED);
		move_quarantine(migration, us);
	}
	else
		end_migration(migration, ZDM_FINISHED);
	return migration->state;
}

/*
 * Finish: drop the old shape after the quarantine.
 */
ZdmState
zdm_lifecycle_finish(const char *name)
{
	ZdmMigration *migration = begin_transition(name);

	if (migration->state != ZDM_CONTRACTED)
		wrong_state(migration, "finish it",
					psprintf(migration->state == ZDM_READY
							 ? "SELECT zdm.contract(%s);" : "SELECT zdm.start(%s);",
							 quote_literal_cstr(name)));
	if (migration->quarantine_until > GetCurrentTimestamp() && !zdm_explaining())
		ereport(ERROR,
				errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				errmsg("the quarantine of migration \"%s\" lasts until %s",
					   name, timestamptz_to_str(migration->quarantine_until)),
				errhint("SELECT zdm.contract(%s, quarantine => '0'); ends it now.",
						quote_literal_cstr(name)));
	if (change_tables(migration, ZDM_FINISH, false))
		end_migration(migration, ZDM_FINISHED);
	return migration->state;
}

/*
 * Roll back to the old shape, from every state before finished.
 */
ZdmState
zdm_lifecycle_rollback(const char *name)
{
	ZdmMigration *migration = begin_transition(name);

	if (prepare_rollback(migration))
		return migration->state;
	if (change_tables(migration, ZDM_ROLLBACK, false))
		end_migration(migration, ZDM_ROLLED_BACK);
	return migration->state;
}

/*
 * Whether a rollback has to wait for something to be proved, which the migrate
 * phase does now.
 */
static bool
prepare_rollback(ZdmMigration *migration)
{
	const ZdmPattern *pattern = zdm_pattern(migration);
	List	   *steps;

	if (pattern->prepare_rollback == NULL)
		return false;
	/* Not again under the lock: it may read the whole table. */
	steps = pattern->prepare_rollback(migration);
	if (steps == NIL || zdm_explaining())
		return false;
	zdm_run_steps(migration, ZDM_ROLLBACK, steps,
				  zdm_lock_phase(pattern, migration, ZDM_ROLLBACK, false));
	zdm_migration_set_rolling_back(migration);
	zdm_event(migration, "info", "rolling back", NULL);
	zdm_migration_set_state(migration, ZDM_EXPANDED);
	record_migrate(migration);
	order_workers(migration);
	ereport(NOTICE,
			errmsg("the rollback of migration \"%s\" waits until every row is checked", migration->name),
			zdm_auto_start
			? errhint("That starts in the background when you commit. Then CALL zdm.wait(%s); and the same call again.",
					  quote_literal_cstr(migration->name))
			: errhint("Commit, then SELECT zdm.start(%s); and, when it is ready, the same call again.",
					  quote_literal_cstr(migration->name)));
	return true;
}

/*
 * Record the steps of the migrate phase.  Returns whether there are any.
 */
static bool
record_migrate(ZdmMigration *migration)
{
	List	   *steps = zdm_migrate_steps(migration);
	ListCell   *lc;

	foreach(lc, steps)
		(void) zdm_step_record(migration, ZDM_MIGRATE, lfirst(lc));
	return steps != NIL;
}

/*
 * What contract, finish and rollback have in common: the checks, the tables'
 * locks, the checks again, and the steps.  Returns false for a dry run, which
 * ends with the steps being told.
 */
static bool
change_tables(ZdmMigration *migration, ZdmPhase phase, bool quarantine)
{
	const ZdmPattern *pattern = zdm_pattern(migration);

	/* Before contract the old shape has everything. */
	bool		must_agree = phase != ZDM_ROLLBACK || migration->state == ZDM_CONTRACTED;
	ZdmCompared compared = {0};
	int64		waited;

	zdm_check_attached(pattern, migration, phase);
	zdm_check_added(pattern, migration, phase);
	if (must_agree)
		zdm_check_in_sync(migration, phase, &compared);
	else
		zdm_warn_of_differences(migration);
	zdm_caution(pattern, migration, phase);
	if (zdm_explaining())
	{
		zdm_explain_steps(migration, phase,
						  phase_steps(pattern, migration, phase, quarantine));
		return false;
	}
	zdm_interrupt_statements(migration->id);
	waited = zdm_lock_phase(pattern, migration, phase, quarantine);
	zdm_check_attached(pattern, migration, phase);
	zdm_check_added(pattern, migration, phase);
	if (must_agree)
		zdm_check_still_in_sync(migration, &compared);
	zdm_run_steps(migration, phase, phase_steps(pattern, migration, phase, quarantine), waited);
	return true;
}

static List *
phase_steps(const ZdmPattern *pattern, ZdmMigration *migration, ZdmPhase phase,
			bool quarantine)
{
	switch (phase)
	{
		case ZDM_CONTRACT:
			return pattern->contract(migration, quarantine);
		case ZDM_FINISH:
			return pattern->finish(migration);
		case ZDM_ROLLBACK:
			return pattern->rollback(migration);
		case ZDM_EXPAND:
		case ZDM_MIGRATE:
			break;
	}
	elog(ERROR, "phase %s drops nothing", zdm_phase_name(phase));
}

/*
 * The migration in flight of that name, whose table the caller owns.
 */
ZdmMigration *
zdm_migration_of_caller(const char *name)
{
	ZdmMigration *migration = zdm_migration_find(name);

	if (migration == NULL)
	{
		ZdmMigration *ended = zdm_migration_last(name);

		if (ended != NULL && get_rel_name(ended->relation) != NULL)
			zdm_check_caller(ended->relation);
		if (ended != NULL)
			ereport(ERROR,
					errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					errmsg("migration \"%s\" is %s", name, zdm_state_name(ended->state)),
					errhint("SELECT * FROM zdm.events WHERE migration = %s;",
							quote_literal_cstr(name)));
		ereport(ERROR,
				errcode(ERRCODE_UNDEFINED_OBJECT),
				errmsg("migration \"%s\" does not exist", name),
				errhint("SELECT migration FROM zdm.status; lists those in flight."));
	}
	zdm_check_caller(migration->relation);
	return migration;
}

/*
 * Lock the migration against everybody and read it again.  A dry run does
 * not lock.
 */
static ZdmMigration *
begin_transition(const char *name)
{
	ZdmMigration *migration = zdm_migration_of_caller(name);
	char	   *scanned_name;
	ZdmState	state;

	if (zdm_explaining())
		return migration;
	zdm_check_writable();
	zdm_lock_migration(migration->id, name, ExclusiveLock);
	zdm_lock_privileges(migration->id, name);
	migration = zdm_migration_of_caller(name);

	/* A transaction with an old snapshot may see a state that is no more. */
	zdm_migration_scan(migration->id, &scanned_name, &state);
	if (state != migration->state)
		ereport(ERROR,
				errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
				errmsg("migration \"%s\" has become %s since this transaction began",
					   name, zdm_state_name(state)),
				errhint("Run the same call in a new transaction."));
	return migration;
}

/*
 * Divide what the tables hold now, while nobody can write them, into ranges.
 */
static void
make_ranges(ZdmMigration *migration)
{
	ListCell   *lc;

	foreach(lc, zdm_synced_storage(migration))
	{
		Relation	rel = table_open(lfirst_oid(lc), NoLock);

		zdm_ranges_make(migration->id, rel);
		table_close(rel, NoLock);
	}
}

static void
end_migration(ZdmMigration *migration, ZdmState state)
{
	zdm_ranges_delete(migration->id);
	zdm_mirror_differences_delete(migration->id);
	zdm_migration_set_state(migration, state);
	ereport(NOTICE,
			errmsg("migration \"%s\" is %s", migration->name, zdm_state_name(state)));
}

static void
move_quarantine(ZdmMigration *migration, int64 us)
{
	TimestampTz until = GetCurrentTimestamp() + us;

	zdm_migration_set_quarantine(migration, until);
	zdm_event(migration, "info", "quarantine",
			  psprintf("until %s", timestamptz_to_str(until)));
	ereport(NOTICE,
			errmsg("migration \"%s\" is contracted, in quarantine until %s",
				   migration->name, timestamptz_to_str(until)),
			errhint("Until then SELECT zdm.rollback(%s) loses nothing; after it, SELECT zdm.finish(%s).",
					quote_literal_cstr(migration->name),
					quote_literal_cstr(migration->name)));
}

int64
zdm_interval_us(Interval *interval)
{
	return interval->time + interval->day * USECS_PER_DAY +
		interval->month * (int64) DAYS_PER_MONTH * USECS_PER_DAY;
}

static void
wrong_state(ZdmMigration *migration, const char *what, const char *hint)
{
	ereport(ERROR,
			errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			errmsg("migration \"%s\" is %s: cannot %s", migration->name,
				   zdm_state_name(migration->state), what),
			errhint("%s", hint));
}
