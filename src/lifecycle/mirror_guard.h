/*-------------------------------------------------------------------------
 *
 * mirror_guard.h
 *	  What two tables that mirror each other must keep.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ZDM_LIFECYCLE_MIRROR_GUARD_H
#define ZDM_LIFECYCLE_MIRROR_GUARD_H

#include "catalog/migration.h"
#include "nodes/parsenodes.h"

extern void zdm_guard_mirror_drop(void);
extern void zdm_guard_mirror_rename(RenameStmt *stmt);

#endif							/* ZDM_LIFECYCLE_MIRROR_GUARD_H */
