/*-------------------------------------------------------------------------
 *
 * constraint_change.h
 *	  Constraints with an index: what no statement makes of them.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ZDM_SCHEMA_CONSTRAINT_CHANGE_H
#define ZDM_SCHEMA_CONSTRAINT_CHANGE_H

#include "catalog/step.h"

/* What is demanded of the columns of an index. */
typedef struct ZdmDemand
{
	char		type;			/* a CONSTRAINT_ of pg_constraint, or '\0':
								 * the index has none */
	bool		unique;
	bool		nulls_not_distinct;
	bool		deferrable;
	bool		deferred;
	int			operators;		/* of an exclusion constraint: how many ... */
	uint16	   *strategies;		/* ... and which of the operator families' */
} ZdmDemand;

extern void zdm_index_demand(Oid index, ZdmDemand *demand);
extern ZdmStep *zdm_primary_key_step(Oid relid, const char *constraint,
									 bool primary);
extern ZdmStep *zdm_defer_step(Oid relid, const char *constraint, bool deferred);
extern ZdmStep *zdm_demand_step(Oid relid, const char *index,
								const ZdmDemand *demand);

#endif							/* ZDM_SCHEMA_CONSTRAINT_CHANGE_H */
