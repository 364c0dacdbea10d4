/*-------------------------------------------------------------------------
 *
 * partition_guard.h
 *	  Partitions of mirrored tables come and go without rows.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ZDM_LIFECYCLE_PARTITION_GUARD_H
#define ZDM_LIFECYCLE_PARTITION_GUARD_H

#include "nodes/parsenodes.h"

extern void zdm_guard_partitions(AlterTableStmt *stmt);
extern void zdm_guard_dropped_partitions(DropStmt *stmt);

#endif							/* ZDM_LIFECYCLE_PARTITION_GUARD_H */
