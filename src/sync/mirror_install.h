/*-------------------------------------------------------------------------
 *
 * mirror_install.h
 *	  The steps that put mirror rules on tables and take them off.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ZDM_SYNC_MIRROR_INSTALL_H
#define ZDM_SYNC_MIRROR_INSTALL_H

#include "catalog/migration.h"
#include "catalog/mirror_rule.h"

extern List *zdm_mirror_install_steps(ZdmMigration *migration);
extern List *zdm_mirror_remove_steps(ZdmMigration *migration);
extern Oid	zdm_mirror_trigger_disabled(ZdmMigration *migration);
extern List *zdm_mirror_owner_steps(const ZdmMirrorRule *rule);
extern List *zdm_mirror_partition_texts(ZdmMigration *migration);
extern const char *zdm_mirror_trigger_missing(ZdmMigration *migration, Oid *relid);

#endif							/* ZDM_SYNC_MIRROR_INSTALL_H */
