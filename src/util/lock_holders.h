/*-------------------------------------------------------------------------
 *
 * lock_holders.h
 *	  Who holds a lock, in the words of an error or of zdm.status.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ZDM_LOCK_HOLDERS_H
#define ZDM_LOCK_HOLDERS_H

#include "nodes/pg_list.h"
#include "storage/lock.h"

extern void zdm_describe_as(Oid role);
extern char *zdm_describe_transaction(TransactionId xid);
extern char *zdm_describe_process(int pid);
extern char *zdm_describe_table_holders(Oid relid, LOCKMODE mode);
extern char *zdm_describe_lock_holders(const LOCKTAG *tag, LOCKMODE mode);
extern List *zdm_holders(const LOCKTAG *tag, LOCKMODE mode);

#endif							/* ZDM_LOCK_HOLDERS_H */
