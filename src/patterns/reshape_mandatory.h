/*-------------------------------------------------------------------------
 *
 * reshape_mandatory.h
 *	  New columns of a split or a merge that are to be mandatory.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ZDM_PATTERNS_RESHAPE_MANDATORY_H
#define ZDM_PATTERNS_RESHAPE_MANDATORY_H

#include "patterns/reshape.h"
#include "schema/new_column.h"

extern ZdmSyncRule *zdm_mandatory_rule(ZdmMigration *migration, Relation rel,
									   ZdmNewColumn *column);
extern List *zdm_mandatory_proof(ZdmMigration *migration);
extern List *zdm_mandatory_steps(ZdmMigration *migration);
extern bool zdm_reshape_owns(ZdmMigration *migration, ZdmReshape *reshape,
							 const char *column, const char *attached);

#endif							/* ZDM_PATTERNS_RESHAPE_MANDATORY_H */
