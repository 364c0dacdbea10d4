/*-------------------------------------------------------------------------
 *
 * checks.h
 *	  What must hold before a side of a migration is dropped.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ZDM_LIFECYCLE_CHECKS_H
#define ZDM_LIFECYCLE_CHECKS_H

#include "patterns/pattern.h"

extern void zdm_check_attached(const ZdmPattern *pattern,
							   ZdmMigration *migration, ZdmPhase phase);
extern void zdm_check_added(const ZdmPattern *pattern,
							ZdmMigration *migration, ZdmPhase phase);
extern void zdm_caution(const ZdmPattern *pattern, ZdmMigration *migration,
						ZdmPhase phase);
extern Oid	zdm_table_out_of_sync(ZdmMigration *migration);
extern void zdm_check_synced(ZdmMigration *migration);
extern List *zdm_check_in_sync(ZdmMigration *migration, List *compared);

#endif							/* ZDM_LIFECYCLE_CHECKS_H */
