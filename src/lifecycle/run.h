/*-------------------------------------------------------------------------
 *
 * run.h
 *	  The steps of a phase in one transaction, with the tables locked.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ZDM_LIFECYCLE_RUN_H
#define ZDM_LIFECYCLE_RUN_H

#include "catalog/step.h"
#include "patterns/pattern.h"

extern int64 zdm_lock_phase(const ZdmPattern *pattern, ZdmMigration *migration,
							ZdmPhase phase, bool quarantine);
extern void zdm_run_steps(ZdmMigration *migration, ZdmPhase phase, List *steps,
						  int64 lock_wait_ms);

#endif							/* ZDM_LIFECYCLE_RUN_H */
