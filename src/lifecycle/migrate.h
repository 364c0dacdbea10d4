/*-------------------------------------------------------------------------
 *
 * migrate.h
 *	  The migrate phase: its loop (migrate.c) and its work (work.c).
 *
 *-------------------------------------------------------------------------
 */
#ifndef ZDM_LIFECYCLE_MIGRATE_H
#define ZDM_LIFECYCLE_MIGRATE_H

#include "catalog/range.h"
#include "catalog/step.h"

/* One call of zdm.backfill. */
typedef struct ZdmMigrate
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
} ZdmMigrate;

/* What came of one transaction. */
typedef enum ZdmOutcome
{
	ZDM_WORKED,
	ZDM_WAITED,
	ZDM_FAILED,					/* rows that cannot be filled stop it */
	ZDM_NOTHING_LEFT
} ZdmOutcome;

extern ZdmOutcome zdm_work_once(ZdmMigrate *migrate);
extern void zdm_worked(ZdmMigrate *migrate);
extern bool zdm_migrate_enter_step(ZdmMigrate *migrate, ZdmStepKind kind);
extern void zdm_migrate_fail(ZdmMigrate *migrate, int code,
							 const char *message, const char *detail,
							 const char *hint);

#endif							/* ZDM_LIFECYCLE_MIGRATE_H */
