/*-------------------------------------------------------------------------
 *
 * row_sync.h
 *	  The trigger ~zdm_sync: applies a table's sync rules to a row.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ZDM_SYNC_ROW_SYNC_H
#define ZDM_SYNC_ROW_SYNC_H

#include "commands/trigger.h"

#include "sync/rule.h"
#include "sync/side.h"

extern HeapTuple zdm_row_sync(TriggerData *trigdata);
extern TupleTableSlot *zdm_row_backfilled(Relation rel, ZdmRuleSet *set,
										  const char *migration,
										  TupleTableSlot *row);

#endif							/* ZDM_SYNC_ROW_SYNC_H */
