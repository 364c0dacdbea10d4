/*-------------------------------------------------------------------------
 *
 * fill.h
 *	  Rules that have no old side: what fills or computes a column.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ZDM_SYNC_FILL_H
#define ZDM_SYNC_FILL_H

#include "nodes/bitmapset.h"

#include "sync/rule.h"

extern bool zdm_fill_applies(const ZdmRule *rule, const ZdmColumn *column,
							 TupleTableSlot *before, TupleTableSlot *row,
							 const Bitmapset *named);
extern bool zdm_fill_asked_for(const ZdmRule *rule, ZdmRuleSet *set,
							   TupleTableSlot *before, TupleTableSlot *row,
							   const Bitmapset *named, bool *courtesy);
extern bool zdm_fill_satisfied(const ZdmRule *rule, ZdmRuleSet *set,
							   TupleTableSlot *row);
extern bool zdm_fill_possible(const ZdmRule *rule, ZdmRuleSet *set,
							  TupleTableSlot *row);
extern void zdm_fill_note_null(ZdmRule *rule, Relation rel);
extern void zdm_fill_note_missed(ZdmRule *rule, Relation rel);
extern int	zdm_stored_columns(TupleTableSlot *row);

#endif							/* ZDM_SYNC_FILL_H */
