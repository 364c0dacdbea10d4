/*-------------------------------------------------------------------------
 *
 * held.h
 *	  The relations that the caller's transaction keeps others from.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ZDM_HELD_H
#define ZDM_HELD_H

#include "nodes/pg_list.h"

extern List *zdm_held_relations(void);
extern bool zdm_held_waited_for(List *held);
extern Oid	zdm_held_too_long(List *held, int ms);

#endif							/* ZDM_HELD_H */
