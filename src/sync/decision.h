/*-------------------------------------------------------------------------
 *
 * decision.h
 *	  Which side of a sync rule a statement wrote, and so which way its values
 *	  go.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ZDM_SYNC_DECISION_H
#define ZDM_SYNC_DECISION_H

#include "executor/tuptable.h"
#include "nodes/bitmapset.h"
#include "utils/rel.h"

#include "sync/rule.h"
#include "sync/written.h"

/* The row on its way through the rules. */
typedef struct ZdmRowUnderWay
{
	ZdmRuleSet *set;
	Relation	rel;
	ZdmRule    *rule;			/* the one that is applied */
	const char *migration;		/* in a backfill: whose; else NULL */
	TupleTableSlot *before;		/* UPDATE: the old row; INSERT: NULL */
	TupleTableSlot *row;		/* as the rules so far have left it */
	bool		modified;
	AttrNumber	unfilled;		/* the first column added since the row was
								 * stored that could not be filled; or 0 */
	ZdmRule    *unfilled_by;	/* the rule that could not */
	Bitmapset  *changed;		/* with several rules: what they have set */
	Bitmapset  *settled;		/* those that follow from what was written */
	const Bitmapset *updated_cols;	/* UPDATE: the SET list */
	ZdmWritten	written;		/* INSERT */
} ZdmRowUnderWay;

typedef enum ZdmDirection
{
	ZDM_LEAVE,
	ZDM_UP,
	ZDM_DOWN
} ZdmDirection;

/* What a rule asks for, and whether something that was written asks for it. */
typedef struct ZdmDecision
{
	ZdmDirection direction;
	bool		by_default;
} ZdmDecision;

extern ZdmDecision zdm_decide(ZdmRowUnderWay *way, ZdmRule *rule);
extern bool zdm_is_written(ZdmRowUnderWay *way, const ZdmColumn *column);

#endif							/* ZDM_SYNC_DECISION_H */
