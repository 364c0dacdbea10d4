/*-------------------------------------------------------------------------
 *
 * worker.h
 *	  Background workers: how they are asked for, and how they begin.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ZDM_BACKFILL_WORKER_H
#define ZDM_BACKFILL_WORKER_H

#include "postmaster/bgworker.h"

/* As pg_stat_activity.backend_type shows them. */
#define ZDM_WORKER_TYPE "zdm worker"
#define ZDM_LAUNCHER_TYPE "zdm launcher"

typedef enum ZdmTaskKind
{
	ZDM_TASK_RUN,				/* run the migration */
	ZDM_TASK_STATEMENTS,		/* only what a session cannot: its indexes */
	ZDM_TASK_VACUUM,			/* vacuum one of its tables */
	ZDM_TASK_SCOUT				/* look for migrations that nobody runs */
} ZdmTaskKind;

/* What a worker is told. */
typedef struct ZdmTask
{
	ZdmTaskKind kind;
	Oid			database;
	int64		migration;
	Oid			relation;		/* to be vacuumed */
	int			number;			/* of the migration's workers, from 1 */
	bool		gently;			/* a vacuum beside others at work */
	NameData	name;			/* of the migration */
} ZdmTask;

extern void zdm_worker_init(void);
extern void zdm_worker_request(const ZdmTask *task, bool own);
extern bool zdm_worker_register(const ZdmTask *task,
								BackgroundWorkerHandle **handle);
extern void zdm_launcher_register(void);
extern ZdmTask *zdm_worker_begin(void);
extern void zdm_launcher_begin(void);
extern void zdm_reload_config(void);

#endif							/* ZDM_BACKFILL_WORKER_H */
