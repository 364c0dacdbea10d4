/*-------------------------------------------------------------------------
 *
 * twin_default.h
 *	  The default of a column whose type changes.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ZDM_SCHEMA_TWIN_DEFAULT_H
#define ZDM_SCHEMA_TWIN_DEFAULT_H

#include "schema/retype.h"
#include "schema/twin_constraint.h"

extern char *zdm_twin_default_limit(Oid relid, const ZdmPair *pair,
									const ZdmType *type);
extern List *zdm_twin_default_steps(Oid relid, const ZdmPair *pair, bool keep);

#endif							/* ZDM_SCHEMA_TWIN_DEFAULT_H */
