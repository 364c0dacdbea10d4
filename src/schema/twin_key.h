/*-------------------------------------------------------------------------
 *
 * twin_key.h
 *	  Foreign keys of a column whose type changes.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ZDM_SCHEMA_TWIN_KEY_H
#define ZDM_SCHEMA_TWIN_KEY_H

#include "schema/retype.h"
#include "schema/twin_constraint.h"

extern List *zdm_referring_keys(Oid relid, const char *column);
extern List *zdm_key_operator_limits(List *pairs, const ZdmType *type, List *result);
extern List *zdm_twin_key_steps(int64 migration, List *pairs, bool left);

#endif							/* ZDM_SCHEMA_TWIN_KEY_H */
