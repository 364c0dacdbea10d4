/*-------------------------------------------------------------------------
 *
 * throttle.c
 *	  What makes a backfill wait for others.
 *
 * The loop asks before each batch.  Each source has its own interval, between
 * which the last answer stands; a call with nothing due reads the clock and
 * a counter.  Who waits already because of one source does not ask the ones
 * after it.  A setting that changed is looked at in the next call.
 *
 * Replicas.  The lag that a walsender reports is not enough: the one of a
 * standby with paused replay keeps the last value that was measured, and
 * that of an idle one is unknown.  So we remember where the WAL ended, now
 * and then, and a replica is behind when it has not replayed what was flushed
 * before the last zdm.max_replication_lag.  Where the WAL ends is the
 * position up to which it is flushed: nobody is sent more than that.  In the
 * first moments of a loop, before such a position is known, the reported lag
 * must do.  A receiver that replays nothing (pg_receivewal, a base backup) is
 * no replica.
 *
 * The archiver.  What waits for it are the .ready files, of which we count no
 * more than it takes to be too many.
 *
 * WAL rate.  A balance in bytes that time fills and our WAL empties.  A short
 * debt is slept off between two batches; one above MAX_WAL_PAUSE_MS is a
 * reason to wait like the others, so that it can be seen, and cancelled.
 *
 * The owner's query is the one text in here that is not ours.  It runs as the
 * role that gave it, for as long as that role owns the table, security
 * restricted, and with a pinned search_path.  It is one SELECT, looked at
 * before it is run, in a read-only subtransaction, which is always rolled
 * back: nothing that a function in it may have done all the same (constraint
 * modes, settings, table locks, notifications) reaches the loop's
 * transaction.  Its time limit is a timeout of our own and not
 * statement_timeout: that one may be armed for the whole call, is not armed
 * at all in a worker, and could not be told from a cancel by the user.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <math.h>

#include "access/xact.h"
#include "access/xlog.h"
#include "access/xlog_internal.h"
#include "catalog/pg_type.h"
#include "executor/instrument.h"
#include "miscadmin.h"
#include "portability/instr_time.h"
#include "storage/fd.h"
#include "storage/latch.h"
#include "utils/acl.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/pg_lsn.h"
#include "utils/plancache.h"
#include "utils/resowner.h"
#include "utils/syscache.h"
#include "utils/timeout.h"
#include "utils/timestamp.h"

#include "backfill/throttle.h"
#include "schema/relation.h"
#include "util/compat.h"
#include "util/guc.h"
#include "util/ident.h"
#include "util/spi.h"

#define REPLICAS_EVERY_MS	200
#define ARCHIVER_EVERY_MS	5000
#define WAL_EVERY_MS		100
#define QUERY_EVERY_MS		1000
#define QUERY_LIMIT_MS		5000
#define MAX_WAL_PAUSE_MS	1000
#define WAL_BURST_S			0.1
#define WAL_SAMPLES			64

/* Where the WAL ended at a time. */
typedef struct WalSample
{
	int64		at;
	XLogRecPtr	flushed;
} WalSample;

/* One of those we may have to wait for. */
typedef struct Source
{
	int64		next;			/* when it is due again */
	int			setting;		/* its limit when it was looked at */
	char	   *reason;			/* what was found: NULL, or why to wait */
} Source;

/* Times are microseconds of a clock that nobody sets back. */
struct ZdmThrottle
{
	MemoryContext cxt;
	Source		replicas;
	Source		archiver;
	Source		wal;
	Source		query;
	/* a ring: the last WAL_SAMPLES of those that were taken */
	WalSample	samples[WAL_SAMPLES];
	uint64		samples_taken;
	/* WAL rate */
	int64		wal_at;			/* when the balance was brought up to date */
	uint64		wal_seen;		/* what was written by then */
	double		wal_balance;	/* bytes; negative: too much was written */
	int			loops;			/* that share the rate */
};

/* The owner's query, on its way through a subtransaction. */
typedef struct OwnersQuery
{
	const char *sql;
	Oid			role;
	bool		wait;			/* what it said */
	ErrorData  *error;			/* what it raised */
	ErrorData  *cancel;			/* what it was cancelled with */
} OwnersQuery;

static TimeoutId query_timeout = MAX_TIMEOUTS;	/* not registered yet */
static volatile sig_atomic_t query_expired = false;

static int64 now_us(void);
static bool is_due(Source *source, int setting, int64 now);
static void found(ZdmThrottle *throttle, Source *source, char *reason,
				  int every_ms);
static char *replica_behind(ZdmThrottle *throttle, int64 now);
static void take_sample(ZdmThrottle *throttle, int64 now, XLogRecPtr flushed);
static XLogRecPtr flushed_before(ZdmThrottle *throttle, int64 at);
static char *archiver_behind(void);
static char *wal_over_rate(ZdmThrottle *throttle, int64 now);
static double wal_share(ZdmThrottle *throttle);
static void balance_wal(ZdmThrottle *throttle, int64 now);
static double wal_debt_ms(ZdmThrottle *throttle);
static char *owner_says_wait(Oid relid, const char *query, Oid role,
							 const char *name);
static bool run_query(const char *query, Oid role);
static void run_in_subtransaction(void *arg);
static void check_plan(SPIPlanPtr plan);
static void expire_query(void);
static pg_noreturn void fail_query(const char *role, int code, const char *why,
								   const char *detail);

/*
 * The state of one loop, in a context that lives as long as the loop.
 */
ZdmThrottle *
zdm_throttle_create(MemoryContext cxt)
{
	ZdmThrottle *throttle = MemoryContextAllocZero(cxt, sizeof(ZdmThrottle));

	throttle->cxt = cxt;
	throttle->loops = 1;
	throttle->wal_at = now_us();
	throttle->wal_seen = pgWalUsage.wal_bytes;
	return throttle;
}

static int64
now_us(void)
{
	instr_time	now;

	INSTR_TIME_SET_CURRENT(now);
	return (int64) INSTR_TIME_GET_MICROSEC(now);
}

/*
 * Why the backfill of a table has to wait now, in words for people, or NULL.
 * The text is the same from call to call, as long as the reason is.  It is
 * valid until the next call.  query may be NULL; role is who gave it, and
 * name what he was called then.
 *
 * The caller is in a transaction with an active snapshot, and better holds no
 * lock that others wait for: the query may take QUERY_LIMIT_MS.
 */
char *
zdm_throttle_reason(ZdmThrottle *throttle, Oid relid, const char *query,
					Oid role, const char *name)
{
	int64		now = now_us();

	if (is_due(&throttle->replicas, zdm_max_replication_lag, now))
		found(throttle, &throttle->replicas, replica_behind(throttle, now),
			  REPLICAS_EVERY_MS);
	if (throttle->replicas.reason != NULL)
		return throttle->replicas.reason;

	if (is_due(&throttle->archiver, zdm_max_archive_backlog, now))
		found(throttle, &throttle->archiver, archiver_behind(), ARCHIVER_EVERY_MS);
	if (throttle->archiver.reason != NULL)
		return throttle->archiver.reason;

	if (is_due(&throttle->wal, zdm_max_wal_rate, now))
		found(throttle, &throttle->wal, wal_over_rate(throttle, now), WAL_EVERY_MS);
	if (throttle->wal.reason != NULL)
		return throttle->wal.reason;

	if (is_due(&throttle->query, query != NULL, now))
		found(throttle, &throttle->query,
			  query == NULL ? NULL : owner_says_wait(relid, query, role, name),
			  QUERY_EVERY_MS);
	return throttle->query.reason;
}

static bool
is_due(Source *source, int setting, int64 now)
{
	if (now < source->next && setting == source->setting)
		return false;
	source->setting = setting;
	return true;
}

/*
 * Keep what was found for the source's interval, which begins now: looking
 * may have taken its time.
 */
static void
found(ZdmThrottle *throttle, Source *source, char *reason, int every_ms)
{
	if (source->reason != NULL)
		pfree(source->reason);
	source->reason = reason ? MemoryContextStrdup(throttle->cxt, reason) : NULL;
	source->next = now_us() + every_ms * INT64CONST(1000);
}

/*
 * Which replica is behind, or NULL.  Of several, always the same one.
 */
static char *
replica_behind(ZdmThrottle *throttle, int64 now)
{
	MemoryContext cxt = CurrentMemoryContext;
	int64		limit = zdm_max_replication_lag * INT64CONST(1000);
	XLogRecPtr	flushed;
	XLogRecPtr	before;
	Interval	lag = {.time = limit};
	ZdmIdentity saved;
	char	   *reason = NULL;

	if (limit == 0)
		return NULL;
	flushed = GetFlushRecPtr(NULL);
	take_sample(throttle, now, flushed);
	before = flushed_before(throttle, now - limit);

	zdm_catalog_begin(&saved);
	if (zdm_execute(SPI_OK_SELECT,
					"SELECT s.pid, s.application_name FROM pg_catalog.pg_stat_replication s"
					" WHERE s.state OPERATOR(pg_catalog.=) ANY ('{catchup,streaming}'::pg_catalog.text[])"
					" AND (s.replay_lsn OPERATOR(pg_catalog.<) $1"
					" OR (s.replay_lsn OPERATOR(pg_catalog.<) $2"
					" AND s.replay_lag OPERATOR(pg_catalog.>) $3))"
					" ORDER BY s.pid LIMIT 1",
					ZDM_ARGS(XLogRecPtrIsInvalid(before) ? ZDM_NULL(PG_LSNOID)
							 : ZDM_ARG(PG_LSNOID, LSNGetDatum(before)),
							 ZDM_ARG(PG_LSNOID, LSNGetDatum(flushed)),
							 ZDM_ARG(INTERVALOID, IntervalPGetDatum(&lag)))) > 0)
	{
		char	   *pid = zdm_result_text(cxt, 0, 1);
		char	   *name = zdm_result_text(cxt, 0, 2);
		MemoryContext old = MemoryContextSwitchTo(cxt);

		reason = psprintf("replica \"%s\" (pid %s): its replay is more than %s behind (zdm.max_replication_lag)",
						  name ? name : "", pid,
						  GetConfigOptionByName("zdm.max_replication_lag", NULL, false));
		MemoryContextSwitchTo(old);
	}
	zdm_catalog_end(&saved);
	return reason;
}

/*
 * The ring reaches back for at least twice the limit.
 */
static void
take_sample(ZdmThrottle *throttle, int64 now, XLogRecPtr flushed)
{
	int64		every = zdm_max_replication_lag * INT64CONST(1000) / (WAL_SAMPLES / 2);
	WalSample  *last = &throttle->samples[(throttle->samples_taken - 1) % WAL_SAMPLES];

	if (throttle->samples_taken > 0 && now - last->at < every)
		return;
	last = &throttle->samples[throttle->samples_taken++ % WAL_SAMPLES];
	last->at = now;
	last->flushed = flushed;
}

/*
 * Where the WAL ended at a time, or, as far as it is known, before that.
 */
static XLogRecPtr
flushed_before(ZdmThrottle *throttle, int64 at)
{
	uint64		oldest = throttle->samples_taken > WAL_SAMPLES
		? throttle->samples_taken - WAL_SAMPLES : 0;

	for (uint64 i = throttle->samples_taken; i > oldest; i--)
	{
		WalSample  *sample = &throttle->samples[(i - 1) % WAL_SAMPLES];

		if (sample->at <= at)
			return sample->flushed;
	}
	return InvalidXLogRecPtr;
}

/*
 * Whether more WAL than we may leave to it waits for the archiver.
 */
static char *
archiver_behind(void)
{
	int64		limit = zdm_max_archive_backlog * INT64CONST(1024) * 1024;
	int64		waiting = 0;
	DIR		   *dir;
	struct dirent *entry;

	if (limit == 0 || !XLogArchivingActive())
		return NULL;
	dir = AllocateDir(XLOGDIR "/archive_status");
	while (waiting <= limit &&
		   (entry = ReadDir(dir, XLOGDIR "/archive_status")) != NULL)
	{
		/* Not the small ones: timeline histories, backup labels. */
		if (strspn(entry->d_name, "0123456789ABCDEF") == XLOG_FNAME_LEN &&
			strcmp(entry->d_name + XLOG_FNAME_LEN, ".ready") == 0)
			waiting += wal_segment_size;
	}
	FreeDir(dir);
	return waiting <= limit ? NULL
		: psprintf("the WAL archiver: more than %s wait for it (zdm.max_archive_backlog)",
				   GetConfigOptionByName("zdm.max_archive_backlog", NULL, false));
}

/*
 * For how many ms the loop has to sleep after a batch, so that this one and
 * the others of its migration (loops: how many there are in all) together
 * write no more than zdm.max_wal_rate.  A longer debt than that is a reason
 * to wait.
 */
int64
zdm_throttle_wal_pause(ZdmThrottle *throttle, int loops)
{
	/* The time up to now counts with the share that was had. */
	balance_wal(throttle, now_us());
	throttle->loops = Max(loops, 1);
	return (int64) ceil(Min(wal_debt_ms(throttle), MAX_WAL_PAUSE_MS));
}

/*
 * What was written since the last look is nobody's debt: the build of an
 * index cannot be slowed down, and is not paid for afterwards.
 */
void
zdm_throttle_forget_wal(ZdmThrottle *throttle)
{
	throttle->wal_at = now_us();
	throttle->wal_seen = pgWalUsage.wal_bytes;
}

static char *
wal_over_rate(ZdmThrottle *throttle, int64 now)
{
	balance_wal(throttle, now);
	return wal_debt_ms(throttle) <= MAX_WAL_PAUSE_MS ? NULL
		: psprintf("the rate of its own WAL: at most %s per second (zdm.max_wal_rate)",
				   GetConfigOptionByName("zdm.max_wal_rate", NULL, false));
}

/*
 * What this loop may write in a second.
 */
static double
wal_share(ZdmThrottle *throttle)
{
	return zdm_max_wal_rate * 1024.0 / throttle->loops;
}

/*
 * Time that was not used is kept for a short burst, and no more.
 */
static void
balance_wal(ZdmThrottle *throttle, int64 now)
{
	double		share = wal_share(throttle);
	double		balance = throttle->wal_balance +
		share * (now - throttle->wal_at) / 1000000.0;

	balance = Min(balance, share * WAL_BURST_S) -
		(double) (pgWalUsage.wal_bytes - throttle->wal_seen);
	throttle->wal_balance = zdm_max_wal_rate > 0 ? balance : 0;
	throttle->wal_at = now;
	throttle->wal_seen = pgWalUsage.wal_bytes;
}

static double
wal_debt_ms(ZdmThrottle *throttle)
{
	if (zdm_max_wal_rate == 0 || throttle->wal_balance >= 0)
		return 0;
	return -throttle->wal_balance * 1000.0 / wal_share(throttle);
}

/*
 * Ask the owner's query, on behalf of the role that gave it.
 */
static char *
owner_says_wait(Oid relid, const char *query, Oid role, const char *name)
{
	/* A table that is gone is the loop's affair. */
	if (!SearchSysCacheExists1(RELOID, ObjectIdGetDatum(relid)))
		return NULL;
	if (role != zdm_table_owner(relid))
		fail_query(name, ERRCODE_INSUFFICIENT_PRIVILEGE,
				   psprintf("that role is not the owner of table %s any more",
							zdm_relation_label(relid)),
				   psprintf("The query is no longer run: %s", query));
	return run_query(query, role)
		? psprintf("the throttle query of role \"%s\"", GetUserNameFromId(role, false)) : NULL;
}

/*
 * Check a query that the owner of a table gives, by running it once.
 */
void
zdm_throttle_check(const char *query, Oid owner)
{
	(void) run_query(query, owner);
}

/*
 * Whether the query says to wait.  What it does is undone, whatever comes of
 * it, and whatever it raises is raised again with its name, but for a cancel.
 */
static bool
run_query(const char *query, Oid role)
{
	MemoryContext cxt = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	OwnersQuery run = {.sql = query,.role = role};
	char	   *name = GetUserNameFromId(role, false);

	if (query_timeout == MAX_TIMEOUTS)
		query_timeout = RegisterTimeout(USER_TIMEOUT, expire_query);
	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(cxt);
	query_expired = false;
	enable_timeout_after(query_timeout, QUERY_LIMIT_MS);
	PG_TRY();
	{
		(void) zdm_attempt(run_in_subtransaction, &run, &run.error);
	}
	PG_CATCH();
	{
		/* A cancel, ours or another's: first leave the subtransaction. */
		MemoryContextSwitchTo(cxt);
		run.cancel = CopyErrorData();
		FlushErrorState();
	}
	PG_END_TRY();
	disable_timeout(query_timeout, false);
	/* It may have ended in the moment in which we wanted to cancel it. */
	if (query_expired)
		QueryCancelPending = false;
	RollbackAndReleaseCurrentSubTransaction();
	MemoryContextSwitchTo(cxt);
	CurrentResourceOwner = owner;

	if (query_expired)
		fail_query(name, ERRCODE_PROGRAM_LIMIT_EXCEEDED,
				   psprintf("it took longer than %d s", QUERY_LIMIT_MS / 1000),
				   psprintf("The query: %s", query));
	if (run.cancel != NULL)
		ReThrowError(run.cancel);
	if (run.error != NULL)
		fail_query(name, run.error->sqlerrcode, run.error->message,
				   psprintf(run.error->detail ? "%s The query: %s" : "%sThe query: %s",
							run.error->detail ? run.error->detail : "", query));
	return run.wait;
}

static void
run_in_subtransaction(void *arg)
{
	OwnersQuery *run = arg;
	ZdmIdentity saved;
	SPIPlanPtr	plan;
	int			code;

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	zdm_become(run->role, &saved);
	zdm_set_local("transaction_read_only", "on");
	plan = SPI_prepare(run->sql, 0, NULL);
	if (plan == NULL)
		elog(ERROR, "SPI_prepare failed: %s", SPI_result_code_string(SPI_result));
	check_plan(plan);
	code = SPI_execute_plan(plan, NULL, NULL, true, 1);
	if (code != SPI_OK_SELECT)
		elog(ERROR, "unexpected result %s", SPI_result_code_string(code));
	/* Before 16 a function can make the transaction writable again. */
	if (TransactionIdIsValid(GetCurrentTransactionIdIfAny()))
		ereport(ERROR,
				errcode(ERRCODE_READ_ONLY_SQL_TRANSACTION),
				errmsg("it writes"));
	if (SPI_processed > 0)
	{
		bool		isnull;
		Datum		value = zdm_result(0, 1, &isnull);

		run->wait = !isnull && DatumGetBool(value);
	}
	zdm_unbecome(&saved);
	if (SPI_finish() != SPI_OK_FINISH)
		elog(ERROR, "SPI_finish failed");
}

/*
 * Nothing but a SELECT that gives one boolean.
 */
static void
check_plan(SPIPlanPtr plan)
{
	List	   *sources = SPI_plan_get_plan_sources(plan);
	CachedPlanSource *source = list_length(sources) == 1 ? linitial(sources) : NULL;
	Query	   *query = source != NULL && list_length(source->query_list) == 1
		? linitial(source->query_list) : NULL;

	if (query == NULL || query->commandType != CMD_SELECT ||
		query->hasModifyingCTE || query->rowMarks != NIL)
		ereport(ERROR,
				errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("it is not one SELECT statement that only reads"));
	if (source->resultDesc == NULL || source->resultDesc->natts != 1 ||
		getBaseType(TupleDescAttr(source->resultDesc, 0)->atttypid) != BOOLOID)
		ereport(ERROR,
				errcode(ERRCODE_DATATYPE_MISMATCH),
				errmsg("its result is not one column of type boolean"));
}

/*
 * In a signal handler.
 */
static void
expire_query(void)
{
	query_expired = true;
	InterruptPending = true;
	QueryCancelPending = true;
	SetLatch(MyLatch);
}

static void
fail_query(const char *role, int code, const char *why, const char *detail)
{
	ereport(ERROR,
			errcode(code),
			errmsg("throttle query of role \"%s\": %s", role, why),
			errdetail("%s", detail),
			errhint("It is run read-only as the table's owner, with nothing but pg_catalog in the search_path: SELECT zdm.start(migration, throttle => 'SELECT count(*) > 100 FROM myschema.jobs');"));
}
