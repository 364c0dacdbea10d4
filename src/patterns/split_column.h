/*-------------------------------------------------------------------------
 *
 * split_column.h
 *	  What a call of split_column says.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ZDM_PATTERNS_SPLIT_COLUMN_H
#define ZDM_PATTERNS_SPLIT_COLUMN_H

#include "catalog/migration.h"

extern void zdm_split_column_into(ZdmMigration *migration, const char *into,
								  const char *down);

#endif							/* ZDM_PATTERNS_SPLIT_COLUMN_H */
