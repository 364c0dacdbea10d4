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

extern HeapTuple zdm_row_sync(TriggerData *trigdata);
extern TupleTableSlot *zdm_row_backfilled(Relation rel, ZdmRuleSet *set,
										  const char *migration,
										  TupleTableSlot *row);
extern bool zdm_same_image(const ZdmColumn *column, Datum a, bool a_null,
						   Datum b, bool b_null);
extern bool zdm_side_is_null(const ZdmSide *side, TupleTableSlot *row);
extern bool zdm_side_matches(const ZdmSide *side, ZdmRuleSet *set,
							 TupleTableSlot *row);

#endif							/* ZDM_SYNC_ROW_SYNC_H */
