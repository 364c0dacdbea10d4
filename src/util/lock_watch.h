/*-------------------------------------------------------------------------
 *
 * lock_watch.h
 *	  For whom a statement waited that lock_timeout has ended.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ZDM_LOCK_WATCH_H
#define ZDM_LOCK_WATCH_H

#include "utils/elog.h"

extern void zdm_lock_watch(int wait_ms);
extern void zdm_lock_watch_end(void);
extern void zdm_lock_watch_explain(ErrorData *error, const char *hint);

#endif							/* ZDM_LOCK_WATCH_H */
