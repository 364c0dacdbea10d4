/*-------------------------------------------------------------------------
 *
 * mirror_difference.h
 *	  Rows of zdm.mirror_difference.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ZDM_CATALOG_MIRROR_DIFFERENCE_H
#define ZDM_CATALOG_MIRROR_DIFFERENCE_H

#include "nodes/pg_list.h"

/* A write that has left two tables different. */
typedef struct ZdmMirrorDifference
{
	int64		migration;		/* first of all: see catalog/rule.h */
	int64		id;
	Oid			relation;		/* the table that was written */
	char	   *row;			/* its key, for people */
} ZdmMirrorDifference;

extern void zdm_mirror_difference_insert(int64 migration, Oid relation, const char *row);
extern List *zdm_mirror_differences_of(int64 migration);
extern void zdm_mirror_differences_delete(int64 migration);

#endif							/* ZDM_CATALOG_MIRROR_DIFFERENCE_H */
