/*-------------------------------------------------------------------------
 *
 * pace.c
 *	  How fast a backfill goes.
 *
 * A backfill that works without a pause takes a whole core and all that the
 * disk can write.  An application whose statements take some tenths of a
 * millisecond notices that although no row and no lock of its is touched: a
 * session that wakes up on a busy core waits for the end of a time slice, the
 * one that needs a new page waits while the backfill extends the table, and
 * where several such delays meet, a queue builds up.  The median stays as it
 * is, and the slowest in a hundred take many times as long.
 *
 * So, unless zdm.backfill_pause says how long to pause, the loop looks before
 * each batch whether any client's session has begun or ended a statement since
 * the last look.  Where one has, the batch is much shorter than a time slice,
 * and a pause follows that is many times as long: a session that wakes up
 * seldom finds us on its core, and if it does waits for a moment only, although
 * kernels let whoever runs have his slice.  A vacuum is run the way autovacuum
 * runs it.  Where nobody has, the loop goes on without a pause, and batches
 * grow again by half each time.  An application that is seldom at work thus
 * holds the backfill up seldom, and one that always is, always.  A statement
 * that takes hours, as a report does, counts when it begins and when it ends.
 *
 * Processor time is what matters most.  On a machine with two cores, with an
 * application that uses the most part of one, a process that does nothing but
 * spin for 2 ms out of 8 multiplies the application's 99th percentile by 2 to
 * 5, one that does for 1 ms of 10 by 1.2 to 1.3.
 *
 * What the sessions do is what pg_stat_activity shows: with track_activities
 * off nobody is seen.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "postmaster/autovacuum.h"
#include "utils/backend_status.h"
#include "utils/guc.h"
#include "utils/timestamp.h"

#include "backfill/pace.h"
#include "util/compat.h"
#include "util/guc.h"

/* A batch beside others, and the pause after it, as a share of its time. */
#define GENTLE_BATCH_MS		0.5
#define GENTLE_PAUSE		24

/* After so long without anybody, a stretch of work beside others has ended. */
#define BREAK_MS			100

/* Shorter stretches are not worth a word. */
#define WORTH_TELLING_MS	1000

static bool somebody_at_work(TimestampTz since);

/*
 * Look whether others are at work.
 */
void
zdm_pace_look(ZdmPace *pace)
{
	TimestampTz now = GetCurrentTimestamp();
	bool		goes_on = pace->gently;

	pace->gently = zdm_backfill_pause < 0 && pace->looked != 0 &&
		somebody_at_work(pace->looked);
	pace->looked = now;
	if (!pace->gently)
		return;
	if (!goes_on && TimestampDifferenceExceeds(pace->seen, now, BREAK_MS))
		pace->since = now;
	pace->seen = now;
}

/*
 * Whether any client's session but ours has begun or ended a statement since
 * then.
 */
static bool
somebody_at_work(TimestampTz since)
{
	int			count = pgstat_fetch_stat_numbackends();

	for (int i = 1; i <= count; i++)
	{
		PgBackendStatus *status = &pgstat_get_local_beentry_by_index(i)->backendStatus;

		if (status->st_backendType == B_BACKEND && status->st_procpid != MyProcPid &&
			status->st_state_start_timestamp > since)
			return true;
	}
	return false;
}

/*
 * How long the next batch should take.
 */
double
zdm_pace_batch_ms(const ZdmPace *pace)
{
	return pace->gently ? Min(GENTLE_BATCH_MS, zdm_batch_target) : zdm_batch_target;
}

/*
 * The pause after a batch that has taken that long.
 */
int64
zdm_pace_pause_ms(const ZdmPace *pace, double batch_ms)
{
	if (zdm_backfill_pause >= 0)
		return (int64) (batch_ms * zdm_backfill_pause);
	return pace->gently ? (int64) (batch_ms * GENTLE_PAUSE) + 1 : 0;
}

/*
 * What holds the backfill back, in words for people; NULL where nobody has
 * for some time.
 */
const char *
zdm_pace_reason(const ZdmPace *pace)
{
	if (pace->since == 0 ||
		TimestampDifferenceExceeds(pace->seen, pace->looked, BREAK_MS) ||
		!TimestampDifferenceExceeds(pace->since, pace->seen, WORTH_TELLING_MS))
		return NULL;
	return "statements of other sessions: short batches with pauses in between (zdm.backfill_pause)";
}

/*
 * Have the next VACUUM of this session run as autovacuum would, or as the
 * settings have it.
 */
void
zdm_pace_vacuum(bool gently)
{
	const char *delay = NULL;

	if (gently && autovacuum_vac_cost_delay > 0)
		delay = GetConfigOption("autovacuum_vacuum_cost_delay", false, false);
	SetConfigOption("vacuum_cost_delay", delay, PGC_USERSET, PGC_S_SESSION);
}
