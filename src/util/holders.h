/*-------------------------------------------------------------------------
 *
 * holders.h
 *	  Who holds a lock, as it is told to who waits for it.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ZDM_HOLDERS_H
#define ZDM_HOLDERS_H

#include "storage/lock.h"

extern void zdm_describe_as(Oid role);
extern char *zdm_describe_holders(const LOCKTAG *tags, const LOCKMODE *modes,
								  int count);
extern char *zdm_describe_table_holders(Oid relid, LOCKMODE mode);
extern char *zdm_describe_lock_holders(const LOCKTAG *tag, LOCKMODE mode);
extern char *zdm_describe_transaction(TransactionId xid);
extern char *zdm_describe_process(int pid);

#endif							/* ZDM_HOLDERS_H */
