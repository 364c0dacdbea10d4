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

/* What was compared before the tables were locked. */
typedef struct ZdmCompared
{
	List	   *tables;			/* oids */
	int			differences;	/* so many known ones */
} ZdmCompared;

extern void zdm_check_attached(const ZdmPattern *pattern,
							   ZdmMigration *migration, ZdmPhase phase);
extern void zdm_check_added(const ZdmPattern *pattern,
							ZdmMigration *migration, ZdmPhase phase);
extern void zdm_caution(const ZdmPattern *pattern, ZdmMigration *migration,
						ZdmPhase phase);
extern Oid	zdm_table_out_of_sync(ZdmMigration *migration);
extern void zdm_check_synced(ZdmMigration *migration);
extern void zdm_check_in_sync(ZdmMigration *migration, ZdmPhase phase,
							  ZdmCompared *compared);
extern void zdm_check_still_in_sync(ZdmMigration *migration, const ZdmCompared *compared);
extern void zdm_warn_of_differences(ZdmMigration *migration);

#endif							/* ZDM_LIFECYCLE_CHECKS_H */
