/*-------------------------------------------------------------------------
 *
 * throttle.h
 *	  What makes a backfill wait for others: replicas, the WAL archiver, its
 *	  own WAL per second, and a query of the table's owner.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ZDM_BACKFILL_THROTTLE_H
#define ZDM_BACKFILL_THROTTLE_H

/* What one loop knows; it lives as long as the loop. */
typedef struct ZdmThrottle ZdmThrottle;

extern ZdmThrottle *zdm_throttle_create(MemoryContext cxt);
extern char *zdm_throttle_reason(ZdmThrottle *throttle, Oid relid,
								 const char *query, Oid role, const char *name);
extern void zdm_throttle_forget_wal(ZdmThrottle *throttle);
extern int64 zdm_throttle_wal_pause(ZdmThrottle *throttle, int loops);
extern void zdm_throttle_check(const char *query, Oid owner);

#endif							/* ZDM_BACKFILL_THROTTLE_H */
