/*-------------------------------------------------------------------------
 *
 * twin_limits.h
 *	  What a twin column cannot take over from its column.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ZDM_SCHEMA_TWIN_LIMITS_H
#define ZDM_SCHEMA_TWIN_LIMITS_H

#include "schema/retype.h"
#include "schema/twin_constraint.h"

extern bool zdm_column_is_used(Oid relid, const char *column, bool but_views);
extern List *zdm_columns_with_referencing(Oid relid, const char *column,
										  const ZdmType *type);
extern List *zdm_promote_limits(List *pairs, const ZdmType *type,
								const char *views);
extern List *zdm_promote_losses(int64 migration, List *pairs,
								const char *views);
extern List *zdm_twin_strangers(int64 migration, List *pairs);

#endif							/* ZDM_SCHEMA_TWIN_LIMITS_H */
