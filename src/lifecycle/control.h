/*-------------------------------------------------------------------------
 *
 * control.h
 *	  zdm.start, zdm.pause, zdm.resume and zdm.wait.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ZDM_LIFECYCLE_CONTROL_H
#define ZDM_LIFECYCLE_CONTROL_H

#include "catalog/migration.h"
#include "utils/timestamp.h"

/* zdm.start without a number of workers. */
#define ZDM_DEFAULT_WORKERS (-1)

extern ZdmState zdm_control_start(const char *name, int workers,
								  const char *throttle);
extern ZdmState zdm_control_pause(const char *name);
extern ZdmState zdm_control_resume(const char *name);
extern void zdm_control_wait(const char *name, Interval *timeout, bool atomic);

#endif							/* ZDM_LIFECYCLE_CONTROL_H */
