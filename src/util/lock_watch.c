/*-------------------------------------------------------------------------
 *
 * lock_watch.c
 *	  For whom a statement waited that lock_timeout has ended.
 *
 * The statements of a step lock more than the tables that were locked for
 * them: an index, a row of a catalog, a referenced table.  When the server
 * gives up such a wait it says that it did, and has forgotten for what.  So a
 * timer looks, every now and then, what this process waits for, and keeps it;
 * after the error that is the lock whose holders are named.
 *
 * The timer's handler reads two words of the process's own entry in shared
 * memory and copies a lock's tag, and does nothing else.  As long as the
 * process waits nobody takes that lock's entry away; where the wait ends at
 * that very moment, what is copied may be another lock's, and is of no use
 * because there was no error.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "storage/lock.h"
#include "storage/proc.h"
#include "utils/timeout.h"
#include "utils/timestamp.h"

#include "util/holders.h"
#include "util/lock.h"
#include "util/lock_watch.h"

/* How often it looks in the time that a wait may take. */
#define LOOKS	4

static TimeoutId timer = MAX_TIMEOUTS;
static volatile bool seen = false;
static LOCKTAG tag;
static LOCKMODE mode;

static void look(void);

/*
 * Watch the waits from here on, of which none is longer than that.
 */
void
zdm_lock_watch(int wait_ms)
{
	int			delay = Max(1, wait_ms / LOOKS);

	if (timer == MAX_TIMEOUTS)
		timer = RegisterTimeout(USER_TIMEOUT, look);
	seen = false;
	enable_timeout_every(timer, TimestampTzPlusMilliseconds(GetCurrentTimestamp(), delay), delay);
}

void
zdm_lock_watch_end(void)
{
	if (timer != MAX_TIMEOUTS)
		disable_timeout(timer, false);
}

static void
look(void)
{
	LOCK	   *lock = MyProc ? ((volatile PGPROC *) MyProc)->waitLock : NULL;

	if (lock == NULL)
		return;
	tag = lock->tag;
	mode = MyProc->waitLockMode;
	seen = true;
}

/*
 * Where a wait for a lock has raised the error, have it say whose lock that is,
 * and what to do.  In a transaction that goes on after it.
 */
void
zdm_lock_watch_explain(ErrorData *error, const char *hint)
{
	if (error->sqlerrcode != ERRCODE_LOCK_NOT_AVAILABLE || error->detail != NULL)
		return;
	error->detail = psprintf("It waited for %s.",
							 seen ? zdm_describe_lock_holders(&tag, mode)
							 : "a lock that somebody held for a moment");
	if (error->hint == NULL)
		error->hint = pstrdup(hint);
}
