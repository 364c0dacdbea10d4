/*-------------------------------------------------------------------------
 *
 * run.c
 *	  The steps of a phase in one transaction, with the tables locked.
 *
 * The tables come first, politely; then the steps, each of which is recorded.
 * They run in a subtransaction, so that an error that says too little can be
 * completed by what only a query tells.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/namespace.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"

#include "catalog/mirror_rule.h"
#include "catalog/sync_rule.h"
#include "lifecycle/lifecycle.h"
#include "lifecycle/registry.h"
#include "lifecycle/run.h"
#include "schema/relation.h"
#include "util/compat.h"
#include "util/guc.h"
#include "util/lock.h"
#include "util/lock_watch.h"
#include "util/spi.h"

bool		zdm_own_ddl = false;

/* What is to be run. */
typedef struct Run
{
	ZdmMigration *migration;
	ZdmPhase	phase;
	List	   *steps;
	int64		lock_wait_ms;
} Run;

static List *locks_of(const ZdmPattern *pattern, ZdmMigration *migration,
					  ZdmPhase phase, bool quarantine, bool *in_order);
static void run_each_step(void *arg);
static void run_step(ZdmMigration *migration, ZdmStep *step);

/*
 * What a phase locks: what the pattern says, else the tables and their
 * partitions, against everybody.
 */
static List *
locks_of(const ZdmPattern *pattern, ZdmMigration *migration, ZdmPhase phase,
		 bool quarantine, bool *in_order)
{
	List	   *tables;
	List	   *result = NIL;
	ListCell   *lc;

	if (pattern->locks != NULL)
		result = pattern->locks(migration, phase, quarantine);
	*in_order = result != NIL;
	if (*in_order)
		return result;
	tables = zdm_migration_tables(migration);
	if (pattern->also_locked != NULL)
	{
		foreach(lc, pattern->also_locked(migration, phase, quarantine))
			tables = list_concat_unique_oid(tables, zdm_table_and_partitions(lfirst_oid(lc)));
	}
	foreach(lc, tables)
		result = lappend(result, zdm_lock(lfirst_oid(lc), AccessExclusiveLock));
	return result;
}

/*
 * Lock them.  Partitions that were attached while we waited are locked, too.
 */
int64
zdm_lock_phase(const ZdmPattern *pattern, ZdmMigration *migration, ZdmPhase phase,
			   bool quarantine)
{
	int64		waited = 0;
	List	   *locked = NIL;

	for (;;)
	{
		bool		in_order;
		List	   *locks = locks_of(pattern, migration, phase, quarantine, &in_order);
		List	   *relids = NIL;
		ListCell   *lc;

		foreach(lc, locks)
			relids = lappend_oid(relids, ((ZdmLock *) lfirst(lc))->relation);
		if (list_difference_oid(relids, locked) == NIL)
			return waited;
		locked = relids;
		waited += in_order ? zdm_lock_in_order(locks)
			: zdm_lock_relations(relids, AccessExclusiveLock);
	}
}

/*
 * Run the steps of a phase, and record them.  The time that the locks took
 * is the first step's.  Whatever a step has to wait for besides, the row of a
 * catalog or another object, it may keep the table's users waiting no longer
 * than zdm.lock_wait; the error names whom it waited for.
 */
void
zdm_run_steps(ZdmMigration *migration, ZdmPhase phase, List *steps,
			  int64 lock_wait_ms)
{
	Run			run = {
		.migration = migration,
		.phase = phase,
		.steps = steps,
		.lock_wait_ms = lock_wait_ms,
	};
	int			level = NewGUCNestLevel();
	ErrorData  *error = NULL;

	zdm_set_config("lock_timeout", psprintf("%d", zdm_lock_wait), GUC_ACTION_SAVE);
	zdm_lock_watch(zdm_lock_wait);
	zdm_own_ddl = true;
	PG_TRY();
	{
		if (!zdm_attempt(run_each_step, &run, &error))
		{
			zdm_lock_watch_explain(error, "Nothing was changed. End or wait for that transaction and run the same call again.");
			ReThrowError(error);
		}
	}
	PG_FINALLY();
	{
		zdm_own_ddl = false;
		zdm_lock_watch_end();
	}
	PG_END_TRY();
	AtEOXact_GUC(false, level);
}

static void
run_each_step(void *arg)
{
	Run		   *run = arg;
	ZdmMigration *migration = run->migration;
	ZdmPhase	phase = run->phase;
	List	   *steps = run->steps;
	int64		lock_wait_ms = run->lock_wait_ms;
	ListCell   *lc;

	foreach(lc, steps)
	{
		ZdmStep    *step = lfirst(lc);
		int			number;

		if (step->sql_now != NULL)
			step->sql = step->sql_now(migration);
		number = zdm_step_record(migration, phase, step);
		zdm_step_started(migration, number, lock_wait_ms);
		run_step(migration, step);
		zdm_step_ended(migration, number, NULL);
		lock_wait_ms = 0;
		if (step->sql != NULL)
			ereport(NOTICE,
					errmsg("%s: %s", zdm_phase_name(phase), step->description),
					errdetail("%s", step->sql));
		CommandCounterIncrement();
	}
}

static void
run_step(ZdmMigration *migration, ZdmStep *step)
{
	int			number = 0;
	ListCell   *lc;

	switch (step->kind)
	{
		case ZDM_STEP_DDL:
			if (OidIsValid(step->role))
				zdm_execute_ddl_as(step->role, step->sql);
			else
				zdm_execute_ddl(step->sql);
			break;
		case ZDM_STEP_ADD_VIEW:
			zdm_execute_ddl(step->sql);
			zdm_migration_set_others(migration,
									 lappend_oid(migration->others,
												 get_relname_relid(step->view_name,
																   get_namespace_oid(step->view_schema, false))));
			break;
		case ZDM_STEP_DROP_VIEW:
			zdm_execute_ddl(step->sql);
			zdm_migration_set_others(migration,
									 list_delete_oid(migration->others, step->relation));
			break;
		case ZDM_STEP_ADD_RULES:
			if (zdm_pattern(migration)->complete != NULL)
			{
				zdm_pattern(migration)->complete(migration);
				zdm_migration_set_others(migration, migration->others);
			}
			foreach(lc, step->rules ? step->rules : migration->rules)
				zdm_sync_rule_insert(migration->id, ++number, lfirst(lc));
			foreach(lc, migration->mirrors)
				zdm_mirror_rule_insert(migration->id, ++number, lfirst(lc));
			break;
		case ZDM_STEP_DROP_RULES:
			zdm_sync_rules_delete(migration->id);
			zdm_mirror_rules_delete(migration->id);
			break;
		case ZDM_STEP_SET_RULES:
			zdm_sync_rules_delete(migration->id);
			foreach(lc, step->rules)
				zdm_sync_rule_insert(migration->id, ++number, lfirst(lc));
			migration->rules = step->rules;
			break;
		case ZDM_STEP_CATALOG:
			step->change(step);
			break;
		case ZDM_STEP_KEEP:
			zdm_migration_keep_argument(migration, step->from, step->value(step));
			break;
		case ZDM_STEP_BACKFILL:
		case ZDM_STEP_INDEX:
		case ZDM_STEP_VERIFY:
			elog(ERROR, "step \"%s\" does not belong to this phase", step->description);
	}
}
