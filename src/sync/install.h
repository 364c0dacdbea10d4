/*-------------------------------------------------------------------------
 *
 * install.h
 *	  The steps that put sync rules on a table and take them off.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ZDM_SYNC_INSTALL_H
#define ZDM_SYNC_INSTALL_H

#include "catalog/migration.h"

extern List *zdm_sync_install_steps(ZdmMigration *migration);
extern List *zdm_sync_remove_steps(ZdmMigration *migration);

#endif							/* ZDM_SYNC_INSTALL_H */
