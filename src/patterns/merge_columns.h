/*-------------------------------------------------------------------------
 *
 * merge_columns.h
 *	  What a call of merge_columns says.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ZDM_PATTERNS_MERGE_COLUMNS_H
#define ZDM_PATTERNS_MERGE_COLUMNS_H

#include "catalog/migration.h"

extern void zdm_merge_columns_into(ZdmMigration *migration, const char *type,
								   const char *up, const char *down,
								   const char *initial, bool mandatory);

#endif							/* ZDM_PATTERNS_MERGE_COLUMNS_H */
