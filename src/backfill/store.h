/*-------------------------------------------------------------------------
 *
 * store.h
 *	  How a backfill stores a row.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ZDM_BACKFILL_STORE_H
#define ZDM_BACKFILL_STORE_H

#include "executor/tuptable.h"
#include "nodes/bitmapset.h"
#include "nodes/pg_list.h"
#include "utils/rel.h"

typedef struct ZdmStore ZdmStore;

typedef enum ZdmStored
{
	ZDM_STORED,
	ZDM_STORED_BY_OTHERS,		/* they have updated or deleted the row */
	ZDM_STORED_NOT				/* somebody holds it */
} ZdmStored;

extern ZdmStore *zdm_store_begin(Relation rel, Bitmapset *written, List *columns);
extern void zdm_store_end(ZdmStore *store);
extern ZdmStored zdm_store_row(ZdmStore *store, TupleTableSlot *old_row,
							   TupleTableSlot *new_row, TransactionId *holder);
extern void zdm_store_failed(ZdmStore *store);

#endif							/* ZDM_BACKFILL_STORE_H */
