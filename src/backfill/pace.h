/*-------------------------------------------------------------------------
 *
 * pace.h
 *	  How fast a backfill goes: at full speed on a server that has nothing else
 *	  to do, gently while other sessions are at work.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ZDM_BACKFILL_PACE_H
#define ZDM_BACKFILL_PACE_H

#include "datatype/timestamp.h"

/* What one loop knows of the others. */
typedef struct ZdmPace
{
	TimestampTz looked;			/* when we looked last */
	TimestampTz seen;			/* when somebody had been at work last */
	TimestampTz since;			/* from when on, without a break */
	bool		gently;			/* somebody was, at the last look */
} ZdmPace;

extern void zdm_pace_look(ZdmPace *pace);
extern double zdm_pace_batch_ms(const ZdmPace *pace);
extern int64 zdm_pace_pause_ms(const ZdmPace *pace, double batch_ms);
extern const char *zdm_pace_reason(const ZdmPace *pace);
extern void zdm_pace_vacuum(bool gently);

#endif							/* ZDM_BACKFILL_PACE_H */
