/*-------------------------------------------------------------------------
 *
 * side.h
 *	  What one side of a rule holds in a row.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ZDM_SYNC_SIDE_H
#define ZDM_SYNC_SIDE_H

#include "sync/rule.h"

extern bool zdm_side_is_null(const ZdmSide *side, TupleTableSlot *row);
extern bool zdm_side_matches(const ZdmSide *side, ZdmRuleSet *set,
							 TupleTableSlot *row);
extern bool zdm_same_image(const ZdmColumn *column, Datum a, bool a_null,
						   Datum b, bool b_null);
extern char *zdm_side_names(const ZdmSide *side);

#endif							/* ZDM_SYNC_SIDE_H */
