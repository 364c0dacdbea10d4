/*-------------------------------------------------------------------------
 *
 * twin_move.h
 *	  What a column has one of, for the twin that takes its place.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ZDM_SCHEMA_TWIN_MOVE_H
#define ZDM_SCHEMA_TWIN_MOVE_H

#include "nodes/pg_list.h"

extern void zdm_move_collect(List *pairs, Oid relid, bool keep,
							 List **before, List **after);

#endif							/* ZDM_SCHEMA_TWIN_MOVE_H */
