/*-------------------------------------------------------------------------
 *
 * mirror_select.h
 *	  SELECT ... FOR UPDATE of a second table's rows locks the first's before.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ZDM_SYNC_MIRROR_SELECT_H
#define ZDM_SYNC_MIRROR_SELECT_H

#include "executor/execdesc.h"

extern void zdm_mirror_order_select(QueryDesc *desc);

#endif							/* ZDM_SYNC_MIRROR_SELECT_H */
