/*-------------------------------------------------------------------------
 *
 * twin_index_limits.h
 *	  Which indexes a twin column cannot take over, and which expressions.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ZDM_SCHEMA_TWIN_INDEX_LIMITS_H
#define ZDM_SCHEMA_TWIN_INDEX_LIMITS_H

#include "schema/retype.h"
#include "schema/twin_constraint.h"

/* A column whose type a migration in flight changes. */
typedef struct ZdmRetyped
{
	char	   *migration;
	Oid			relation;
	char	   *column;
} ZdmRetyped;

extern List *zdm_retyped_columns(List *relids);
extern List *zdm_twin_index_limits(Relation rel, List *pairs, ZdmPair *pair,
								   const ZdmType *type, List *result);
extern List *zdm_twin_demand_losses(int64 migration, Relation rel, List *pairs,
									List *result);
extern bool zdm_needs_preload(List *pairs);
extern bool zdm_twin_fits_type(Relation rel, List *pairs, const ZdmType *type,
							   Node *expr, char **reason);

#endif							/* ZDM_SCHEMA_TWIN_INDEX_LIMITS_H */
