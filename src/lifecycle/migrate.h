/*-------------------------------------------------------------------------
 *
 * migrate.h
 *	  The migrate phase: its loop (migrate.c), its work (work.c), what only a
 *	  background worker can do (statements.c, vacuum.c), and that worker
 *	  (background.c).
 *
 *-------------------------------------------------------------------------
 */
#ifndef ZDM_LIFECYCLE_MIGRATE_H
#define ZDM_LIFECYCLE_MIGRATE_H

#include "backfill/pace.h"
#include "backfill/throttle.h"
#include "backfill/worker.h"
#include "catalog/range.h"
#include "catalog/step.h"
#include "storage/lock.h"
#include "util/statement.h"
#include "utils/rel.h"

/* One loop: a call of zdm.backfill, or a background worker. */
typedef struct ZdmMigrate
{
	ZdmMigration *migration;
	const ZdmTask *task;		/* of the worker; NULL in a session */
	LOCKTAG		loop_mark;		/* a worker's */
	MemoryContext cxt;			/* of the whole call */
	MemoryContext batch_cxt;	/* of one transaction */
	bool		prepared;
	bool		snapshot;		/* we have pushed one */
	TimestampTz last_progress;	/* when something was done last */
	TimestampTz last_line;		/* when a progress line was printed last */
	TimestampTz last_sample;	/* when the progress was noted last */
	int64		pause_ms;		/* before the next transaction */
	int64		wait_ms;		/* the last one of a wait, which grow */
	char	   *waiting_for;	/* as zdm.migration has it from us */
	TimestampTz waiting_since;	/* or when it was written last */
	bool		wait_logged;
	double		batch_ms;
	ZdmThrottle *throttle;
	ZdmPace		pace;
	bool		failed;			/* last_error has the reason */
	int			step;			/* the one under way, or 0 */
	ZdmStepKind step_kind;
	/* what is run outside of the loop's own transactions */
	ZdmStatement *statement;	/* to be run next */
	MemoryContext statement_cxt;	/* where it is */
	LOCKTAG		statement_table;	/* the marks that are set for it */
	LOCKTAG		statement_mark;
	bool		marked;
	int			late_for;		/* the process that it waited for too long */
	bool		indexes_built;
	bool		statements_run; /* the DDL of the migrate phase */
	TimestampTz statement_since;	/* when it began, 0: none is under way */
	TimestampTz helper_asked;	/* when a session asked for a worker last */
	int			interrupts;		/* without any progress */
	Oid			moved;			/* a table that has new storage */
	Oid			range_ended;	/* of this table, in the last transaction */
	Oid			vacuum_table;	/* the one that was looked at last */
	int64		vacuum_count;	/* how often it had been vacuumed by then */
	int64		vacuum_base;	/* rows that we had changed by then */
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
	ZDM_STATEMENT,				/* one is to be run outside of a transaction */
	ZDM_FAILED,					/* rows that cannot be filled stop it */
	ZDM_STOPPED,				/* paused, or one worker too many */
	ZDM_NOTHING_LEFT
} ZdmOutcome;

extern ZdmMigrate *zdm_migrate_create(ZdmMigration *migration,
									  const ZdmTask *task);
extern ZdmOutcome zdm_migrate_run(ZdmMigrate *migrate);
extern void zdm_migrate_begin(ZdmMigrate *migrate);
extern void zdm_migrate_commit(ZdmMigrate *migrate);
extern bool zdm_migrate_enter_step(ZdmMigrate *migrate, ZdmStepKind kind);
extern void zdm_migrate_enter_ddl(ZdmMigrate *migrate, const char *description);
extern void zdm_migrate_note_failure(ZdmMigrate *migrate,
									 const char *message,
									 const char *detail);
extern void zdm_migrate_fail(ZdmMigrate *migrate, int code,
							 const char *message, const char *detail,
							 const char *hint);
extern bool zdm_cover_partitions(ZdmMigration *migration);
extern void zdm_refuse_atomic(const char *procedure);

extern ZdmOutcome zdm_work_once(ZdmMigrate *migrate);
extern char *zdm_table_holders(Oid relid, LOCKMODE mode);
extern void zdm_worked(ZdmMigrate *migrate, const char *held_by);
extern ZdmOutcome zdm_wait_for(ZdmMigrate *migrate, const char *whom);
extern ZdmOutcome zdm_hold(ZdmMigrate *migrate, const char *whom);

extern ZdmOutcome zdm_index_step(ZdmMigrate *migrate);
extern ZdmOutcome zdm_ddl_step(ZdmMigrate *migrate);
extern bool zdm_ddl_left(ZdmMigration *migration);
extern bool zdm_mark_statement(ZdmMigrate *migrate, Oid table);
extern bool zdm_vacuum_step(ZdmMigrate *migrate);
extern ZdmStatement *zdm_vacuum_statement(Oid relid);
extern void zdm_run_statement(ZdmMigrate *migrate);
extern void zdm_release_statement(ZdmMigrate *migrate);
extern void zdm_interrupt_statements(int64 migration);

#endif							/* ZDM_LIFECYCLE_MIGRATE_H */
