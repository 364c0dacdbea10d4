/*-------------------------------------------------------------------------
 *
 * twin_promote.h
 *	  A twin column takes the place of its column.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ZDM_SCHEMA_TWIN_PROMOTE_H
#define ZDM_SCHEMA_TWIN_PROMOTE_H

#include "schema/retype.h"
#include "schema/twin_constraint.h"

/* The steps under way that put twins in their columns' places. */
typedef struct ZdmPromotion
{
	int64		migration;
	List	   *pairs;
	bool		keep;			/* the columns stay, under the twins' names */
	List	   *steps;
} ZdmPromotion;

extern List *zdm_retype_steps(Relation rel, const char *column,
							  const ZdmType *type);
extern List *zdm_promote_steps(int64 migration, List *pairs, bool keep,
							   const char *views);
extern void zdm_promote_ddl(ZdmPromotion *work, Oid relid, const char *description,
							char *sql);
extern void zdm_promote_indexes(ZdmPromotion *work);
extern List *zdm_promote_misplaced(int64 migration, const ZdmPair *pair,
								   List *result);
extern List *zdm_twin_drop_steps(int64 migration, List *pairs);

#endif							/* ZDM_SCHEMA_TWIN_PROMOTE_H */
