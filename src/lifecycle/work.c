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
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/timestamp.h"

#include "backfill/batch.h"
#include "backfill/verify.h"
#include "catalog/event.h"
#include "lifecycle/migrate.h"
#include "schema/table.h"
#include "util/compat.h"
#include "util/guc.h"
#include "util/ident.h"
#include "util/lock.h"
#include "util/spi.h"

#define MAX_WAIT_PAUSE_MS	500

static ZdmOutcome work_on(ZdmMigrate *migrate, ZdmRange *range,
						  ZdmRangeWork work);
static char *table_holders(Oid relid, LOCKMODE mode);
static ZdmOutcome relieve(ZdmMigrate *migrate, ZdmRange *range, Relation rel);
static void sweep_range(ZdmMigrate *migrate, ZdmRange *range, Relation rel);
static ZdmOutcome end_sweep(ZdmMigrate *migrate);
static void note_failures(ZdmMigrate *migrate, ZdmBatchReport *report);
static void verify_range(ZdmMigrate *migrate, ZdmRange *range, Relation rel);
static ZdmOutcome wait_for(ZdmMigrate *migrate, const char *whom);

/*
 * One transaction's work.
 */
ZdmOutcome
zdm_work_once(ZdmMigrate *migrate)
{
	ZdmMigration *migration = migrate->migration;
	ZdmRangeWork work;
	ZdmRange   *range;
	ZdmState	state;

	zdm_set_local("synchronous_commit", "off");
	zdm_lock_migration(migration->id, migration->name, ShareLock);
	state = zdm_migration_state(migration->id);
	if (state == ZDM_READY)
		return ZDM_NOTHING_LEFT;	/* another call was faster */
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
	if (work == ZDM_RANGE_VERIFY && zdm_migrate_enter_step(migrate, ZDM_STEP_VERIFY))
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
	return ZDM_NOTHING_LEFT;
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
		return wait_for(migrate, table_holders(range->relation, mode));
	rel = try_relation_open(range->relation, NoLock);
	if (rel == NULL)
	{
		zdm_ranges_keep_only(migration->id, zdm_storage_relations(migration->relation));
		return ZDM_WORKED;
	}
	if ((int64) zdm_relation_filenumber(rel) != range->filenumber)
	{
		zdm_ranges_remake(migration->id, rel);
		zdm_event(migration, "info", "restarted",
				  psprintf("table %s has new storage and is visited from its start",
						   RelationGetRelationName(rel)));
		relation_close(rel, NoLock);
		return ZDM_WORKED;
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
	if (outcome == ZDM_WORKED && (work != ZDM_RANGE_SKIPPED || range->rows_changed > 0))
		zdm_worked(migrate);
	return outcome;
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

/*
 * So many rows of the range were put aside that they are tried again before
 * it goes on: somebody holds a large part of the table.
 */
static ZdmOutcome
relieve(ZdmMigrate *migrate, ZdmRange *range, Relation rel)
{
	ZdmBatchReport report = {0};

	(void) zdm_batch_retry(migrate->migration, range, rel, ZDM_MAX_SKIPPED, &report);
	if (list_length(range->skipped) < ZDM_MAX_SKIPPED)
		return ZDM_WORKED;
	if (report.locked > 0)
		return wait_for(migrate, report.blocker);
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
		return wait_for(migrate, blocker);
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
static ZdmOutcome
wait_for(ZdmMigrate *migrate, const char *whom)
{
	if (TimestampDifferenceExceeds(migrate->last_progress, GetCurrentTimestamp(),
								   zdm_lock_patience))
		zdm_migrate_fail(migrate, ERRCODE_LOCK_NOT_AVAILABLE,
						 psprintf("the backfill of migration \"%s\" made no progress for %d ms",
								  migrate->migration->name, zdm_lock_patience),
						 psprintf("It waits for %s.", whom),
						 "What is done is kept: run the same call again, once that transaction has ended, or raise zdm.lock_patience.");
	if (zdm_migration_set_waiting(migrate->migration->id, whom))
		zdm_event(migrate->migration, "info", "waiting", whom);
	migrate->pause_ms = Min(Max(10, migrate->pause_ms * 2), MAX_WAIT_PAUSE_MS);
	migrate->waiting = true;
	return ZDM_WAITED;
}

void
zdm_worked(ZdmMigrate *migrate)
{
	if (migrate->waiting)
		(void) zdm_migration_set_waiting(migrate->migration->id, NULL);
	migrate->waiting = false;
	migrate->pause_ms = 0;
	migrate->last_progress = GetCurrentTimestamp();
}
