/*-------------------------------------------------------------------------
 *
 * registry.h
 *	  The list of patterns.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ZDM_LIFECYCLE_REGISTRY_H
#define ZDM_LIFECYCLE_REGISTRY_H

#include "patterns/pattern.h"

extern const ZdmPattern *zdm_pattern(ZdmMigration *migration);
extern List *zdm_migrate_steps(ZdmMigration *migration);
extern List *zdm_twins(ZdmMigration *migration);
extern void zdm_check_strategy(ZdmMigration *migration);

#endif							/* ZDM_LIFECYCLE_REGISTRY_H */
