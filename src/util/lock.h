/*-------------------------------------------------------------------------
 *
 * lock.h
 *	  Polite locks: nobody waits behind zdm for longer than zdm.lock_wait.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ZDM_LOCK_H
#define ZDM_LOCK_H

#include "nodes/pg_list.h"
#include "datatype/timestamp.h"
#include "storage/lock.h"

/* One of several locks that are taken in order. */
typedef struct ZdmLock
{
	Oid			relation;
	LOCKMODE	mode;
} ZdmLock;

extern ZdmLock *zdm_lock(Oid relation, LOCKMODE mode);
extern int64 zdm_lock_in_order(List *locks);
extern int64 zdm_lock_each(List *locks);
extern void zdm_lock_briefly(Oid relid);
extern int64 zdm_lock_relations(List *relids, LOCKMODE mode);
extern void zdm_unlock_relations(List *relids, LOCKMODE mode);
extern void zdm_lock_migration(int64 id, const char *name, LOCKMODE mode);
extern void zdm_lock_privileges(int64 id, const char *name);
extern bool zdm_privileges_locked(int64 id);
extern void zdm_lock_migration_name(const char *name);
extern bool zdm_transaction_waited_for(void);
extern void zdm_sleep(int64 ms);

#endif							/* ZDM_LOCK_H */
