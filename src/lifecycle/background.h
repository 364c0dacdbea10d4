/*-------------------------------------------------------------------------
 *
 * background.h
 *	  The migrate phase in background workers.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ZDM_LIFECYCLE_BACKGROUND_H
#define ZDM_LIFECYCLE_BACKGROUND_H

#include "backfill/worker.h"
#include "catalog/migration.h"

extern void zdm_background_ask(ZdmMigration *migration, bool own);
extern void zdm_background_pick_up(void);
extern void zdm_background_work(ZdmTask *task);
extern void zdm_background_launch(void);

#endif							/* ZDM_LIFECYCLE_BACKGROUND_H */
