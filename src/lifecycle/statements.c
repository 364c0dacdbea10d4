/*-------------------------------------------------------------------------
 *
 * statements.c
 *	  Long statements of the migrate phase: CREATE INDEX CONCURRENTLY and
 *	  VACUUM (vacuum.c), which only a background worker can run, and DDL.
 *
 * They do not hold the migration's lock: the first two commit on their way,
 * and all would keep a pause waiting.  Whoever runs one sets two marks: one on
 * the table, so that nobody else does the same, and one on the migration, so
 * that a pause or a rollback knows whom to interrupt.  What is to be built is
 * asked of the catalog each time, so it does not matter where the last attempt
 * has ended.
 *
 * A session that runs zdm.backfill asks for a worker, and waits.  DDL, such
 * as the validation of a constraint, runs in a transaction of its own as the
 * owner of its table, whose code it may run, in a worker as in a session.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <signal.h>

#include "access/relation.h"
#include "catalog/dependency.h"
#include "catalog/index.h"
#include "catalog/pg_class.h"
#include "catalog/pg_namespace.h"
#include "commands/defrem.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "storage/lmgr.h"
#include "tcop/tcopprot.h"
#include "tcop/utility.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "catalog/event.h"
#include "lifecycle/lifecycle.h"
#include "lifecycle/migrate.h"
#include "lifecycle/registry.h"
#include "schema/relation.h"
#include "schema/twin_constraint.h"
#include "schema/twin_index.h"
#include "util/compat.h"
#include "util/guc.h"
#include "util/ident.h"
#include "util/lock.h"
#include "util/lock_watch.h"
#include "util/mark.h"
#include "util/spi.h"

/* A session asks for a worker again after this time. */
#define ASK_EVERY_MS 2000

static char *somebody_on_table(Oid relid);
static List *possible_work(List *works);
static ZdmOutcome drop_index(ZdmMigrate *migrate, Oid index);
static ZdmOutcome do_index(ZdmMigrate *migrate, List *pairs,
						   ZdmIndexWork *work);
static List *pairs_of(ZdmMigration *migration, Oid relid);
static IndexStmt *index_stmt(List *pairs, ZdmIndexWork *work);
static void do_in_catalog(List *pairs, ZdmIndexWork *work);
static void set_statement(ZdmMigrate *migrate, List *pairs, ZdmIndexWork *work);
static ZdmOutcome ask_for_worker(ZdmMigrate *migrate);
static ZdmStep *change_of(const ZdmStep *step);
static void make_change(void *step);
static void run_ddl(ZdmMigrate *migrate);
static bool take_back(ZdmMigrate *migrate, ErrorData *error);
static void run_as_owner(void *arg);

/*
 * Whatever is left to do for indexes, of second columns and others.  Returns
 * ZDM_NOTHING_LEFT where all of them are there.  One worker at a time builds:
 * to another one an index that is being built would look like one that a crash
 * has left.
 */
ZdmOutcome
zdm_index_step(ZdmMigrate *migrate)
{
	ZdmMigration *migration = migrate->migration;
	List	   *own = NIL;
	ListCell   *lc;

	if (migrate->indexes_built)
		return ZDM_NOTHING_LEFT;
	/* A session builds nothing, and so needs no mark. */
	if (migrate->task != NULL && !zdm_mark_statement(migrate, migration->relation))
		return zdm_hold(migrate, somebody_on_table(migration->relation));
	foreach(lc, zdm_twins(migration))
	{
		ZdmTwin    *twin = lfirst(lc);
		List	   *works = possible_work(zdm_twin_index_work(migration->id, twin->relation,
															  twin->column, twin->twin));
		List	   *pairs = pairs_of(migration, twin->relation);
		List	   *orphans = zdm_twin_index_orphans(migration->id, twin->relation, pairs);

		if (works == NIL && orphans == NIL)
			continue;
		(void) zdm_migrate_enter_step(migrate, ZDM_STEP_INDEX);
		if (migrate->task != NULL && orphans != NIL)
			return drop_index(migrate, linitial_oid(orphans));
		if (migrate->task != NULL)
			return do_index(migrate, pairs, linitial(works));
		return ask_for_worker(migrate);
	}
	if (zdm_pattern(migration)->indexes != NULL)
		own = possible_work(zdm_index_work(migration->id, zdm_pattern(migration)->indexes(migration)));
	if (own != NIL)
	{
		(void) zdm_migrate_enter_step(migrate, ZDM_STEP_INDEX);
		return migrate->task != NULL ? do_index(migrate, NIL, linitial(own)) : ask_for_worker(migrate);
	}
	zdm_release_statement(migrate);
	migrate->indexes_built = true;
	return ZDM_NOTHING_LEFT;
}

/*
 * The second columns of a table (ZdmPair *), of which an index may have several.
 */
static List *
pairs_of(ZdmMigration *migration, Oid relid)
{
	List	   *result = NIL;
	ListCell   *lc;

	foreach(lc, zdm_twins(migration))
	{
		ZdmTwin    *twin = lfirst(lc);

		if (twin->relation == relid)
			result = lappend(result, zdm_pair(relid, twin->column, twin->twin));
	}
	return result;
}

static char *
somebody_on_table(Oid relid)
{
	List	   *others = zdm_marked(ZDM_MARK_TABLE, relid);

	return psprintf("an index build or a vacuum of the table, by the worker with pid %d",
					others ? ((ZdmMarked *) linitial(others))->pid : 0);
}

/*
 * A partition's index is attached by a command that finds it by its name, as
 * its owner: where he has no right to look into the schema, the partitions'
 * indexes stay as they are, which is good enough for every query.
 */
static List *
possible_work(List *works)
{
	ListCell   *lc;

	foreach(lc, works)
	{
		ZdmIndexWork *work = lfirst(lc);

		if (work->kind != ZDM_INDEX_BUILD &&
			object_aclcheck(NamespaceRelationId, get_rel_namespace(work->table),
							zdm_table_owner(work->table), ACL_USAGE) != ACLCHECK_OK)
			works = foreach_delete_current(works, lc);
	}
	return works;
}

/*
 * Set the marks for a statement, while we have the migration's lock: whoever
 * pauses or ends the migration after us finds whom to interrupt.
 */
bool
zdm_mark_statement(ZdmMigrate *migrate, Oid table)
{
	if (!zdm_mark(&migrate->statement_table, ZDM_MARK_TABLE, table, 0, ExclusiveLock))
		return false;
	(void) zdm_mark(&migrate->statement_mark, ZDM_MARK_STATEMENT, migrate->migration->id,
					0, ShareLock);
	migrate->marked = true;
	return true;
}

/*
 * An index whose like on the first column is gone must not outlive it: it
 * may demand what nobody wants any more.
 */
static ZdmOutcome
drop_index(ZdmMigrate *migrate, Oid index)
{
	Oid			table = IndexGetRelation(index, false);
	ObjectAddress object;
	MemoryContext old;

	if (get_rel_relkind(index) == RELKIND_INDEX)
	{
		old = MemoryContextSwitchTo(migrate->statement_cxt);
		migrate->statement = zdm_statement_drop_index(index);
		MemoryContextSwitchTo(old);
		return ZDM_STATEMENT;
	}
	zdm_lock_relations(zdm_table_and_partitions(table), AccessExclusiveLock);
	ObjectAddressSet(object, RelationRelationId, index);
	performDeletion(&object, DROP_RESTRICT, PERFORM_DELETION_INTERNAL);
	zdm_release_statement(migrate);
	zdm_worked(migrate, NULL);
	return ZDM_WORKED;
}

/*
 * One piece of it.  We have the mark on the table.
 */
static ZdmOutcome
do_index(ZdmMigrate *migrate, List *pairs, ZdmIndexWork *work)
{
	if (work->kind != ZDM_INDEX_BUILD)
	{
		do_in_catalog(pairs, work);
		zdm_release_statement(migrate);
		zdm_worked(migrate, NULL);
		return ZDM_WORKED;
	}
	set_statement(migrate, pairs, work);
	zdm_event(migrate->migration, "info", "building index", migrate->statement->sql);
	return ZDM_STATEMENT;
}

static IndexStmt *
index_stmt(List *pairs, ZdmIndexWork *work)
{
	return OidIsValid(work->source) ? zdm_twin_index_stmt(work, pairs, zdm_preloaded)
		: zdm_wanted_index_stmt(work);
}

/*
 * An index of a partitioned table alone, or the link of a partition's to it,
 * in the current transaction.
 */
static void
do_in_catalog(List *pairs, ZdmIndexWork *work)
{
	ZdmIdentity saved;

	zdm_index_lock(work);
	zdm_become(zdm_table_owner(work->table), &saved);
	zdm_own_ddl = true;
	PG_TRY();
	{
		if (work->kind == ZDM_INDEX_ATTACH)
			zdm_index_attach(work);
		else
			(void) zdm_define_index(work->table, index_stmt(pairs, work));
	}
	PG_FINALLY();
	{
		zdm_own_ddl = false;
	}
	PG_END_TRY();
	zdm_unbecome(&saved);
	CommandCounterIncrement();
}

/*
 * The statement that is to be run next: the build of an index, or before that
 * the removal of what an attempt has left.
 */
static void
set_statement(ZdmMigrate *migrate, List *pairs, ZdmIndexWork *work)
{
	MemoryContext old = MemoryContextSwitchTo(migrate->statement_cxt);

	if (OidIsValid(work->leftover))
		migrate->statement = zdm_statement_drop_index(work->leftover);
	else
	{
		migrate->statement = palloc0_object(ZdmStatement);
		migrate->statement->tree = (Node *) index_stmt(pairs, work);
		migrate->statement->sql = OidIsValid(work->source)
			? zdm_twin_index_sql(migrate->migration->id, work->source, pairs, zdm_preloaded)
			: zdm_wanted_index_sql(work);
		migrate->statement->tag = CreateCommandTag(migrate->statement->tree);
		migrate->statement->indexed = work->table;
	}
	MemoryContextSwitchTo(old);
}

/*
 * In a session: have a worker do it, and wait for it.
 */
static ZdmOutcome
ask_for_worker(ZdmMigrate *migrate)
{
	ZdmMigration *migration = migrate->migration;
	ZdmTask		task = {
		.kind = ZDM_TASK_STATEMENTS,
		.database = MyDatabaseId,
		.migration = migration->id,
	};
	TimestampTz now = GetCurrentTimestamp();
	char	   *error = zdm_migration_error(migration->id);
	ListCell   *lc;

	(void) zdm_migrate_enter_step(migrate, ZDM_STEP_INDEX);
	if (error != NULL)
		zdm_migrate_fail(migrate, ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
						 psprintf("the background worker of migration \"%s\" has failed", migration->name),
						 error,
						 "What is done is kept: run the same call again when the reason is gone.");
	foreach(lc, zdm_marked(ZDM_MARK_LOOP, migration->id))
	{
		ZdmMarked  *marked = lfirst(lc);

		if (marked->number != ZDM_IN_SESSION)
			return zdm_hold(migrate,
							psprintf("the index build of the worker with pid %d", marked->pid));
	}
	if (TimestampDifferenceExceeds(migrate->helper_asked, now, ASK_EVERY_MS))
	{
		namestrcpy(&task.name, migration->name);
		if (!zdm_worker_register(&task, NULL))
			return zdm_wait_for(migrate, "a free background worker (max_worker_processes), to build the indexes");
		migrate->helper_asked = now;
		migrate->wait_ms = 0;
	}
	return zdm_wait_for(migrate, "a background worker, to build the indexes");
}

/*
 * The DDL of the migrate phase, a statement at a time.  What is left of it is
 * read from the catalog each time.
 */
ZdmOutcome
zdm_ddl_step(ZdmMigrate *migrate)
{
	ZdmMigration *migration = migrate->migration;
	const ZdmPattern *pattern = zdm_pattern(migration);
	List	   *left;
	ZdmStep    *step;
	Oid			relid;
	MemoryContext old;

	if (migrate->statements_run || pattern->statements == NULL)
		return ZDM_NOTHING_LEFT;
	left = pattern->statements(migration);
	if (left == NIL)
	{
		migrate->statements_run = true;
		return ZDM_NOTHING_LEFT;
	}
	step = linitial(left);
	relid = OidIsValid(step->relation) ? step->relation : migration->relation;
	if (!zdm_mark_statement(migrate, relid))
		return zdm_hold(migrate, somebody_on_table(relid));
	zdm_migrate_enter_ddl(migrate, step->description);
	old = MemoryContextSwitchTo(migrate->statement_cxt);
	migrate->statement = palloc0_object(ZdmStatement);
	migrate->statement->altered = relid;
	migrate->statement->lock = step->lock;
	migrate->statement->with = list_copy(step->with);
	migrate->statement->with_read = list_copy(step->with_read);
	migrate->statement->sql = pstrdup(step->sql);
	if (step->change != NULL)
	{
		migrate->statement->then = make_change;
		migrate->statement->then_arg = change_of(step);
	}
	MemoryContextSwitchTo(old);
	return ZDM_STATEMENT;
}

/*
 * A copy of the step, for the change that it makes after its SQL.
 */
static ZdmStep *
change_of(const ZdmStep *step)
{
	ZdmStep    *copy = palloc0_object(ZdmStep);

	copy->relation = step->relation;
	copy->change = step->change;
	copy->from = pstrdup(step->from);
	copy->to = pstrdup(step->to);
	return copy;
}

static void
make_change(void *step)
{
	((ZdmStep *) step)->change(step);
}

/*
 * Whether DDL of the migrate phase is still to be done.
 */
bool
zdm_ddl_left(ZdmMigration *migration)
{
	const ZdmPattern *pattern = zdm_pattern(migration);

	return pattern->statements != NULL && pattern->statements(migration) != NIL;
}

/*
 * In a worker the handler of its errors does the rest.
 */
static void
run_ddl(ZdmMigrate *migrate)
{
	int			patience = migrate->task != NULL ? zdm_worker_patience : zdm_lock_patience;
	ErrorData  *error = NULL;
	volatile bool done = false;

	zdm_migrate_begin(migrate);
	zdm_set_local("lock_timeout", psprintf("%d", Max(1, patience)));
	zdm_lock_watch(patience);
	PG_TRY();
	{
		done = zdm_attempt(run_as_owner, migrate->statement, &error);
	}
	PG_FINALLY();
	{
		zdm_lock_watch_end();
	}
	PG_END_TRY();
	if (!done && !take_back(migrate, error))
	{
		zdm_lock_watch_explain(error, "What is done is kept: end or wait for that transaction and run the same call again.");
		if (migrate->task != NULL || error->sqlerrcode == ERRCODE_LOCK_NOT_AVAILABLE ||
			error->sqlerrcode == ERRCODE_QUERY_CANCELED)
			ReThrowError(error);
		zdm_migrate_fail(migrate, error->sqlerrcode, error->message,
						 error->detail ? error->detail
						 : psprintf("The statement was: %s", migrate->statement->sql),
						 "What is done is kept: run the same call again when the reason is gone.");
	}
	zdm_migrate_commit(migrate);
}

/*
 * Rows that were committed since the verification, or before it by somebody
 * whom it did not see, are found again by the next one, which names them.
 */
static bool
take_back(ZdmMigrate *migrate, ErrorData *error)
{
	ZdmMigration *migration = migrate->migration;
	const ZdmPattern *pattern = zdm_pattern(migration);
	ListCell   *lc;

	if (pattern->take_back == NULL || error->sqlerrcode != ERRCODE_CHECK_VIOLATION)
		return false;
	foreach(lc, pattern->take_back(migration))
	{
		ZdmStep    *step = lfirst(lc);
		ZdmStatement statement = {
			.altered = migration->relation,
			.lock = step->lock,
			.sql = step->sql,
		};

		run_as_owner(&statement);
	}
	zdm_ranges_verify_again(migration->id);
	zdm_event(migration, "warning", "looking again", error->message);
	migrate->step_kind = ZDM_STEP_BACKFILL;
	return true;
}

static void
run_as_owner(void *arg)
{
	ZdmStatement *statement = arg;
	List	   *relids = zdm_table_and_partitions(statement->altered);
	List	   *read = NIL;
	List	   *locks = NIL;
	ZdmIdentity saved;
	ListCell   *lc;

	foreach(lc, statement->with)
		relids = list_concat_unique_oid(relids, zdm_table_and_partitions(lfirst_oid(lc)));
	foreach(lc, relids)
		locks = lappend(locks, zdm_lock(lfirst_oid(lc), statement->lock));
	foreach(lc, statement->with_read)
		read = list_concat_unique_oid(read, zdm_table_and_partitions(lfirst_oid(lc)));
	foreach(lc, read)
		locks = lappend(locks, zdm_lock(lfirst_oid(lc), RowShareLock));
	(void) zdm_lock_each(locks);
	zdm_become(zdm_table_owner(statement->altered), &saved);
	zdm_own_ddl = true;
	PG_TRY();
	{
		zdm_execute_ddl(statement->sql);
		CommandCounterIncrement();
		if (statement->then != NULL)
			statement->then(statement->then_arg);
	}
	PG_FINALLY();
	{
		zdm_own_ddl = false;
	}
	PG_END_TRY();
	zdm_unbecome(&saved);
}

/*
 * Run the next statement, outside of the loop's transactions.  Each wait in it
 * is bounded by zdm.worker_patience.  After an error the handler tidies up.
 */
void
zdm_run_statement(ZdmMigrate *migrate)
{
	migrate->statement_since = GetCurrentTimestamp();
	if (OidIsValid(migrate->statement->altered))
		run_ddl(migrate);
	else
	{
		char		limit[32];

		snprintf(limit, sizeof(limit), "%d", Max(1, zdm_worker_patience));
		SetConfigOption("lock_timeout", limit, PGC_SUSET, PGC_S_SESSION);
		MemoryContextSwitchTo(migrate->statement_cxt);
		zdm_pace_vacuum(migrate->pace.gently);
		zdm_statement_run(migrate->statement);
		MemoryContextSwitchTo(migrate->cxt);
	}
	migrate->statement_since = 0;
	zdm_release_statement(migrate);
	zdm_throttle_forget_wal(migrate->throttle);
	migrate->last_progress = GetCurrentTimestamp();
}

/*
 * Forget the statement, done or failed, and give back its marks.
 */
void
zdm_release_statement(ZdmMigrate *migrate)
{
	if (migrate->marked)
	{
		zdm_unmark(&migrate->statement_table, ExclusiveLock);
		zdm_unmark(&migrate->statement_mark, ShareLock);
	}
	migrate->marked = false;
	if (migrate->statement != NULL && migrate->task != NULL)
		SetConfigOption("lock_timeout", "0", PGC_SUSET, PGC_S_SESSION);
	migrate->statement = NULL;
	MemoryContextReset(migrate->statement_cxt);
}

/*
 * Interrupt the long statements that are run for a migration: they would be
 * in the way of what the caller is about to do.
 */
void
zdm_interrupt_statements(int64 migration)
{
	ListCell   *lc;

	foreach(lc, zdm_marked(ZDM_MARK_STATEMENT, migration))
	{
		ZdmMarked  *marked = lfirst(lc);

		(void) kill(marked->pid, SIGINT);
	}
}
