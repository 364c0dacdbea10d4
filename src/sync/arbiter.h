/*-------------------------------------------------------------------------
 *
 * arbiter.h
 *	  INSERT ... ON CONFLICT where two columns of a rename are unique.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ZDM_SYNC_ARBITER_H
#define ZDM_SYNC_ARBITER_H

#include "utils/rel.h"

extern void zdm_arbiters_widen(Relation rel);

#endif							/* ZDM_SYNC_ARBITER_H */
