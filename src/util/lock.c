/*-------------------------------------------------------------------------
 *
 * lock.c
 *	  Polite locks: nobody waits behind zdm for longer than zdm.lock_wait.
 *
 * A lock request that waits makes everybody wait who comes after it and
 * conflicts with it: an ALTER TABLE behind one long SELECT stops the site.
 * So a request here does not queue at first, it looks for a gap, again and
 * again.  Only where a busy table shows none does it queue, for at most
 * zdm.lock_wait at a time, with growing pauses in which the site breathes.
 * After zdm.lock_patience it gives up and names who held it.
 *
 * Several locks are taken in one order (by oid), all or none, and zdm never
 * waits for one while it holds another of the set: it can therefore not be
 * part of a deadlock with somebody who takes them in another order.  Where
 * the caller's transaction holds other locks, a deadlock is still possible;
 * then our own check comes first (deadlock_timeout is set below lock_wait for
 * the time of the wait), we step back, and the application never notices.
 * The same early check asks an autovacuum worker to leave, which a wait of
 * 50 ms would otherwise never do.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "storage/latch.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/inval.h"
#include "utils/resowner.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"

#include "util/compat.h"
#include "util/guc.h"
#include "util/ident.h"
#include "util/lock.h"
#include "util/spi.h"

/* How long only gaps are looked for before the first queueing, in ms. */
#define GAP_PHASE_MS	500
/* Between two looks for a gap, in ms. */
#define GAP_PAUSE_MS	5

typedef struct LockSet
{
	LOCKTAG    *tags;
	int			count;
	LOCKMODE	mode;
	const char *what;			/* for the error: table "x" */
} LockSet;

typedef struct QueueAttempt
{
	LOCKTAG    *tag;
	LOCKMODE	mode;
} QueueAttempt;

static int64 lock_politely(LockSet *set);
static bool try_all(LockSet *set, int *busy);
static bool queue_for(LOCKTAG *tag, LOCKMODE mode);
static void queue_attempt(void *arg);
static pg_noreturn void give_up(LockSet *set);
static char *describe_holders(LockSet *set);

/*
 * Lock tables for the rest of the transaction, all or none.  Returns the
 * milliseconds that it took.  The caller must check afterwards that they are
 * still what he took them for.
 */
int64
zdm_lock_relations(List *relids, LOCKMODE mode)
{
	List	   *sorted = list_copy(relids);
	LockSet		set = {.mode = mode};
	ListCell   *lc;

	list_sort(sorted, list_oid_cmp);
	set.count = list_length(sorted);
	set.tags = palloc_array(LOCKTAG, set.count + 1);
	set.what = psprintf("table \"%s\"", zdm_relation_label(linitial_oid(relids)));
	foreach(lc, sorted)
		SET_LOCKTAG_RELATION(set.tags[foreach_current_index(lc)],
							 MyDatabaseId, lfirst_oid(lc));
	return lock_politely(&set);
}

/*
 * Lock a migration for the rest of the transaction: batches of a backfill
 * share it, a change of its state excludes everybody else.
 */
void
zdm_lock_migration(int64 id, const char *name, LOCKMODE mode)
{
	LOCKTAG		tag;
	LockSet		set = {.tags = &tag, .count = 1, .mode = mode};

	SET_LOCKTAG_OBJECT(tag, MyDatabaseId, zdm_catalog_table("migration"),
					   (Oid) id, 0);
	set.what = psprintf("migration \"%s\"", name);
	(void) lock_politely(&set);
}

/*
 * Lock a migration's name, which has no row yet, for the rest of the
 * transaction.
 */
void
zdm_lock_migration_name(const char *name)
{
	LOCKTAG		tag;
	LockSet		set = {.tags = &tag, .count = 1, .mode = ExclusiveLock};

	SET_LOCKTAG_OBJECT(tag, MyDatabaseId, zdm_catalog_table("migration_in_flight"),
					   DatumGetUInt32(hash_any((const unsigned char *) name, (int) strlen(name))), 0);
	set.what = psprintf("migration name \"%s\"", name);
	(void) lock_politely(&set);
}

static int64
lock_politely(LockSet *set)
{
	ResourceOwner owner = CurrentResourceOwner;
	TimestampTz start = GetCurrentTimestamp();
	TimestampTz deadline = TimestampTzPlusMilliseconds(start, zdm_lock_patience);
	TimestampTz next_queue = TimestampTzPlusMilliseconds(start, GAP_PHASE_MS);
	int64		breath = 4 * (int64) zdm_lock_wait;
	int			busy,
				queued;

	/*
	 * The locks are the transaction's, not the running portal's: a lock that
	 * was queued for in a subtransaction is handed to the transaction, and
	 * all of them must be released by the owner that holds them.
	 */
	CurrentResourceOwner = CurTransactionResourceOwner;

	while (!try_all(set, &busy))
	{
		TimestampTz now = GetCurrentTimestamp();

		if (now >= deadline)
			give_up(set);
		if (now < next_queue &&
			TimestampTzPlusMilliseconds(start, GAP_PHASE_MS) < deadline)
		{
			zdm_sleep(GAP_PAUSE_MS);
			continue;
		}
		queued = busy;
		if (queue_for(&set->tags[queued], set->mode))
		{
			/* Held once more than needed where all are got. */
			bool		got = try_all(set, &busy);

			LockRelease(&set->tags[queued], set->mode, false);
			if (got)
				break;
		}
		next_queue = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), breath);
		breath = Min(breath + breath / 2, Max(2000, 4 * (int64) zdm_lock_wait));
		zdm_sleep(GAP_PAUSE_MS);
	}
	CurrentResourceOwner = owner;
	return (GetCurrentTimestamp() - start) / 1000;
}

/*
 * Take all locks without waiting, or none; then *busy tells which one was
 * taken by somebody else.
 */
static bool
try_all(LockSet *set, int *busy)
{
	for (int i = 0; i < set->count; i++)
	{
		if (LockAcquire(&set->tags[i], set->mode, false, true) ==
			LOCKACQUIRE_NOT_AVAIL)
		{
			*busy = i;
			while (--i >= 0)
				LockRelease(&set->tags[i], set->mode, false);
			return false;
		}
	}
	/* What others did before they let go is known to us from here on. */
	AcceptInvalidationMessages();
	return true;
}

/*
 * Wait in the queue for one lock, for at most zdm.lock_wait.
 */
static bool
queue_for(LOCKTAG *tag, LOCKMODE mode)
{
	QueueAttempt attempt = {.tag = tag, .mode = mode};
	ErrorData  *error;

	if (zdm_attempt(queue_attempt, &attempt, &error))
		return true;
	if (error->sqlerrcode != ERRCODE_LOCK_NOT_AVAILABLE &&
		error->sqlerrcode != ERRCODE_T_R_DEADLOCK_DETECTED)
		ReThrowError(error);
	FreeErrorData(error);
	return false;
}

static void
queue_attempt(void *arg)
{
	QueueAttempt *attempt = arg;
	int			level = NewGUCNestLevel();

	zdm_set_config("lock_timeout", psprintf("%d", zdm_lock_wait),
				   GUC_ACTION_SAVE);
	zdm_set_config("deadlock_timeout", psprintf("%d", Max(1, zdm_lock_wait / 2)),
				   GUC_ACTION_SAVE);
	(void) LockAcquire(attempt->tag, attempt->mode, false, false);
	AtEOXact_GUC(true, level);
}

/*
 * Sleep, open to a cancel.
 */
void
zdm_sleep(int64 ms)
{
	(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
					 ms, PG_WAIT_EXTENSION);
	ResetLatch(MyLatch);
	CHECK_FOR_INTERRUPTS();
}

static void
give_up(LockSet *set)
{
	ereport(ERROR,
			errcode(ERRCODE_LOCK_NOT_AVAILABLE),
			errmsg("could not lock %s within %d ms", set->what,
				   zdm_lock_patience),
			errdetail("It is held by %s.", describe_holders(set)),
			errhint("Nothing was changed. End or wait for these transactions and run the same call again, or raise zdm.lock_patience."));
}

/*
 * A query for one line about each holder of the locks that a condition on
 * pg_locks l selects: pid, user, application, state, since when its
 * transaction is open, query; or the name of a prepared transaction.  What
 * the user may not see stays hidden.
 */
#define HOLDERS_WHERE(condition) \
	"SELECT CASE WHEN h.pid IS NULL THEN" \
	" pg_catalog.format('prepared transaction \"%s\" of user %s, prepared at %s'," \
	" x.gid, x.owner, x.prepared) ELSE" \
	" pg_catalog.format('pid %s, user %s, application \"%s\", %s, in transaction since %s, query \"%s\"'," \
	" h.pid, coalesce(a.usename::text, a.backend_type), coalesce(a.application_name, '')," \
	" coalesce(a.state, a.backend_type, 'state unknown'), a.xact_start," \
	" pg_catalog.left(pg_catalog.regexp_replace(a.query, E'\\\\s+', ' ', 'g'), 200)) END" \
	" FROM (SELECT DISTINCT l.pid, l.virtualtransaction FROM pg_catalog.pg_locks l" \
	" WHERE l.granted AND l.pid IS DISTINCT FROM pg_catalog.pg_backend_pid()" \
	" AND " condition ") h" \
	" LEFT JOIN pg_catalog.pg_stat_activity a ON a.pid OPERATOR(pg_catalog.=) h.pid" \
	" LEFT JOIN pg_catalog.pg_prepared_xacts x ON h.pid IS NULL" \
	" AND h.virtualtransaction OPERATOR(pg_catalog.=)" \
	" ('-1/' OPERATOR(pg_catalog.||) x.transaction::text)" \
	" ORDER BY 1"

/*
 * Who holds what we want.
 */
static char *
describe_holders(LockSet *set)
{
	StringInfoData buf;
	List	   *modes = NIL;

	initStringInfo(&buf);
	for (LOCKMODE mode = AccessShareLock; mode <= AccessExclusiveLock; mode++)
		if (DoLockModesConflict(mode, set->mode))
			modes = lappend(modes, unconstify(char *,
											  GetLockmodeName(DEFAULT_LOCKMETHOD, mode)));
	for (int i = 0; i < set->count; i++)
	{
		LOCKTAG    *tag = &set->tags[i];
		bool		object = tag->locktag_type == LOCKTAG_OBJECT;
		List	   *lines;
		ListCell   *lc;

		lines = zdm_query_strings(HOLDERS_WHERE("l.database OPERATOR(pg_catalog.=) $1"
												" AND (l.relation OPERATOR(pg_catalog.=) $2"
												" OR (l.classid OPERATOR(pg_catalog.=) $3 AND l.objid OPERATOR(pg_catalog.=) $4))"
												" AND l.mode OPERATOR(pg_catalog.=) ANY ($5)"),
								  ZDM_ARGS(ZDM_ARG(OIDOID, ObjectIdGetDatum(tag->locktag_field1)),
										   ZDM_ARG(OIDOID, ObjectIdGetDatum(object ? InvalidOid : tag->locktag_field2)),
										   ZDM_ARG(OIDOID, ObjectIdGetDatum(object ? tag->locktag_field2 : InvalidOid)),
										   ZDM_ARG(OIDOID, ObjectIdGetDatum(object ? tag->locktag_field3 : InvalidOid)),
										   zdm_arg_texts(modes)));
		foreach(lc, lines)
			appendStringInfo(&buf, "%s%s", buf.len ? "\n" : "", (char *) lfirst(lc));
	}
	return buf.len ? buf.data : pstrdup("ever new sessions, none of which holds it now");
}

/*
 * Who holds a table against that lock mode.
 */
char *
zdm_describe_table_holders(Oid relid, LOCKMODE mode)
{
	LOCKTAG		tag;
	LockSet		set = {.tags = &tag, .count = 1, .mode = mode};

	SET_LOCKTAG_RELATION(tag, MyDatabaseId, relid);
	return describe_holders(&set);
}

/*
 * Whose transaction that is.
 */
char *
zdm_describe_transaction(TransactionId xid)
{
	List	   *lines;

	lines = zdm_query_strings(HOLDERS_WHERE("l.locktype OPERATOR(pg_catalog.=) 'transactionid'"
											" AND l.transactionid::text OPERATOR(pg_catalog.=) $1"),
							  ZDM_ARGS(zdm_arg_text(psprintf("%u", xid))));
	return lines ? linitial(lines) : pstrdup("several transactions");
}
