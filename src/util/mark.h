/*-------------------------------------------------------------------------
 *
 * mark.h
 *	  Locks of a session's that show to others what it is at.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ZDM_MARK_H
#define ZDM_MARK_H

#include "nodes/pg_list.h"
#include "storage/lock.h"

typedef enum ZdmMark
{
	ZDM_MARK_LOOP,				/* runs a migration; number: which worker */
	ZDM_MARK_STATEMENT,			/* runs a long statement for a migration */
	ZDM_MARK_TABLE				/* runs a long statement on a table */
} ZdmMark;

/* Sessions that run a migration share this number. */
#define ZDM_IN_SESSION 0
/* The worker that helps a session out has this one, far above all others. */
#define ZDM_HELPER 1000

typedef struct ZdmMarked
{
	int			pid;
	int			number;
} ZdmMarked;

extern bool zdm_mark(LOCKTAG *tag, ZdmMark mark, int64 object, int number,
					 LOCKMODE mode);
extern bool zdm_mark_kept(LOCKTAG *tag, LOCKMODE mode);
extern void zdm_unmark(LOCKTAG *tag, LOCKMODE mode);
extern List *zdm_marked(ZdmMark mark, int64 object);

#endif							/* ZDM_MARK_H */
