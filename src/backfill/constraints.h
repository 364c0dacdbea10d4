/*-------------------------------------------------------------------------
 *
 * constraints.h
 *	  What hangs on the columns that a backfill writes.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ZDM_BACKFILL_CONSTRAINTS_H
#define ZDM_BACKFILL_CONSTRAINTS_H

#include "nodes/execnodes.h"

typedef struct ZdmConstraints ZdmConstraints;

extern ZdmConstraints *zdm_constraints_on(Relation rel, Bitmapset *written,
										  EState *estate,
										  ResultRelInfo *relinfo);
extern void zdm_constraints_before(ZdmConstraints *constraints,
								   TupleTableSlot *row);
extern void zdm_constraints_after(ZdmConstraints *constraints,
								  TupleTableSlot *before, TupleTableSlot *row,
								  List *recheck);
extern void zdm_constraints_failed(ZdmConstraints *constraints);

#endif							/* ZDM_BACKFILL_CONSTRAINTS_H */
