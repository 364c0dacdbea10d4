/*-------------------------------------------------------------------------
 *
 * event.h
 *	  Rows of zdm.event: the log.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ZDM_CATALOG_EVENT_H
#define ZDM_CATALOG_EVENT_H

#include "catalog/migration.h"

extern void zdm_event(ZdmMigration *migration, const char *level,
					  const char *event, const char *detail);

#endif							/* ZDM_CATALOG_EVENT_H */
