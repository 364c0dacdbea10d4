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
 * Several locks are taken all or none, and zdm never waits for one while it
 * holds another of the set: it can therefore not be part of a deadlock with
 * somebody who takes them in another order.
 *
 * A view and its table are another matter: every statement through the view
 * locks it first and the table after.  Whoever holds the table alone has them
 * pile up behind it with the view in their hands, and never gets that.  Such
 * locks are taken in the statements' order, each waited for with those before
 * it held, and zdm.lock_wait is the time for all of them.  Where
 * the caller's transaction holds other locks, a deadlock is still possible;
 * then our own check comes first (deadlock_timeout is set below lock_wait for
 * the time of the wait), we step back, and the application never notices.
 * The same early check asks an autovacuum worker to leave, which a wait of
 * 50 ms would otherwise never do.
 *
 * Where the caller's transaction has locked tables before, as two calls in one
 * do, those who want them wait for as long as we wait for more.  So while one
 * of them waits nothing is queued for, and after zdm.lock_wait we give up
 * (util/held.c).
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/transam.h"
#include "access/xact.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "storage/latch.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/resowner.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"

#include "util/compat.h"
#include "util/guc.h"
#include "util/held.h"
#include "util/holders.h"
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
	LOCKMODE   *modes;
	int			count;
	const char *what;			/* for the error: table "x" */
	bool		in_order;		/* that of everybody else */
	int			busy;			/* the one that somebody else had last */
	bool		queue;			/* wait for that one */
	bool		urgent;			/* queue without looking for a gap first */
	int			patience_ms;	/* 0: zdm.lock_patience */
} LockSet;

static LockSet set_of(List *locks);
static void lock_urgently(LOCKTAG tag, LOCKMODE mode, char *what);
static LOCKTAG migration_tag(int64 id, bool privileges);
static char *relation_text(Oid relid);
static int64 lock_politely(LockSet *set);
static bool try_all(LockSet *set, bool queue);
static void take_all(void *arg);
static int	queue_time(const LockSet *set);
static bool take_one(LockSet *set, int number, int wait_ms);
static int	patience(const LockSet *set);
static void check_held(LockSet *set, List *held);
static void name_busy(LockSet *set);
static pg_noreturn void give_up(LockSet *set);

/*
 * Lock tables for the rest of the transaction, all or none.  Returns the
 * milliseconds that it took.  The caller must check afterwards that they are
 * still what he took them for.
 */
int64
zdm_lock_relations(List *relids, LOCKMODE mode)
{
	List	   *sorted = list_copy(relids);
	List	   *locks = NIL;
	LockSet		set;
	ListCell   *lc;

	list_sort(sorted, list_oid_cmp);
	foreach(lc, sorted)
		locks = lappend(locks, zdm_lock(lfirst_oid(lc), mode));
	set = set_of(locks);
	set.what = relation_text(linitial_oid(relids));
	return lock_politely(&set);
}

/*
 * The same for locks (ZdmLock *) of several kinds.
 */
int64
zdm_lock_each(List *locks)
{
	LockSet		set = set_of(locks);

	set.what = relation_text(((ZdmLock *) linitial(locks))->relation);
	return lock_politely(&set);
}

/*
 * The same for locks (ZdmLock *) that everybody takes in this order.
 */
int64
zdm_lock_in_order(List *locks)
{
	LockSet		set = set_of(locks);

	if (locks == NIL)
		return 0;
	set.in_order = true;
	set.what = relation_text(((ZdmLock *) linitial(locks))->relation);
	return lock_politely(&set);
}

/*
 * Lock a relation against everybody, or give up at once: for those whose
 * transaction keeps others waiting already.
 */
void
zdm_lock_briefly(Oid relid)
{
	LockSet		set = set_of(list_make1(zdm_lock(relid, AccessExclusiveLock)));

	set.what = relation_text(relid);
	set.patience_ms = 2 * zdm_lock_wait;
	(void) lock_politely(&set);
}

static char *
relation_text(Oid relid)
{
	return psprintf("%s \"%s\"", get_rel_relkind(relid) == RELKIND_VIEW ? "view" : "table",
					zdm_relation_label(relid));
}

ZdmLock *
zdm_lock(Oid relation, LOCKMODE mode)
{
	ZdmLock    *lock = palloc_object(ZdmLock);

	lock->relation = relation;
	lock->mode = mode;
	return lock;
}

static LockSet
set_of(List *locks)
{
	LockSet		set = {.count = list_length(locks)};
	ListCell   *lc;

	set.tags = palloc_array(LOCKTAG, set.count + 1);
	set.modes = palloc_array(LOCKMODE, set.count + 1);
	foreach(lc, locks)
	{
		ZdmLock    *lock = lfirst(lc);
		int			i = foreach_current_index(lc);

		SET_LOCKTAG_RELATION(set.tags[i], MyDatabaseId, lock->relation);
		set.modes[i] = lock->mode;
	}
	return set;
}

/*
 * Give such locks back before the transaction ends.
 */
void
zdm_unlock_relations(List *relids, LOCKMODE mode)
{
	ResourceOwner owner = CurrentResourceOwner;
	ListCell   *lc;

	CurrentResourceOwner = CurTransactionResourceOwner;
	foreach(lc, relids)
		UnlockRelationOid(lfirst_oid(lc), mode);
	CurrentResourceOwner = owner;
}

/*
 * Lock a migration for the rest of the transaction: batches of a backfill
 * share it, a change of its state excludes everybody else.  Nobody but zdm's
 * own loops waits behind it, and these leave no gap that is worth looking for.
 */
void
zdm_lock_migration(int64 id, const char *name, LOCKMODE mode)
{
	lock_urgently(migration_tag(id, false), mode, psprintf("migration \"%s\"", name));
}

/*
 * Let nobody else change privileges that the migration repeats for the rest of
 * the transaction.  A backfill goes on meanwhile.
 */
void
zdm_lock_privileges(int64 id, const char *name)
{
	lock_urgently(migration_tag(id, true), ExclusiveLock,
				  psprintf("the privileges of migration \"%s\"", name));
}

static void
lock_urgently(LOCKTAG tag, LOCKMODE mode, char *what)
{
	LockSet		set = {.tags = &tag,.modes = &mode,.count = 1,.urgent = true,.what = what};

	(void) lock_politely(&set);
}

bool
zdm_privileges_locked(int64 id)
{
	LOCKTAG		tag = migration_tag(id, true);

	return zdm_lock_held_by_me(&tag, ExclusiveLock);
}

static LOCKTAG
migration_tag(int64 id, bool privileges)
{
	LOCKTAG		tag;

	SET_LOCKTAG_OBJECT(tag, MyDatabaseId, zdm_catalog_table("migration"),
					   (Oid) id, privileges ? 1 : 0);
	return tag;
}

/*
 * Lock a migration's name, which has no row yet, for the rest of the
 * transaction.
 */
void
zdm_lock_migration_name(const char *name)
{
	LOCKTAG		tag;
	LOCKMODE	mode = ExclusiveLock;
	LockSet		set = {.tags = &tag,.modes = &mode,.count = 1};

	SET_LOCKTAG_OBJECT(tag, MyDatabaseId, zdm_catalog_table("migration_in_flight"),
					   DatumGetUInt32(hash_any((const unsigned char *) name, (int) strlen(name))), 0);
	set.what = psprintf("migration name \"%s\"", name);
	(void) lock_politely(&set);
}

static int64
lock_politely(LockSet *set)
{
	TimestampTz start = GetCurrentTimestamp();
	TimestampTz deadline = TimestampTzPlusMilliseconds(start, patience(set));
	int64		gap_ms = set->urgent ? 0 : GAP_PHASE_MS;
	TimestampTz next_queue = TimestampTzPlusMilliseconds(start, gap_ms);
	int64		breath = 4 * (int64) zdm_lock_wait;
	ResourceOwner owner = CurrentResourceOwner;
	List	   *held = NIL;
	bool		first = true;

	/*
	 * The locks are the transaction's, not the running portal's: so they are
	 * all the same, whether a subtransaction handed them over or not.
	 */
	CurrentResourceOwner = CurTransactionResourceOwner;
	while (!try_all(set, false))
	{
		TimestampTz now = GetCurrentTimestamp();

		if (now >= deadline)
			give_up(set);
		/* A patience as short as lock_wait is itself the bound. */
		if (first && set->patience_ms == 0)
			held = zdm_held_relations();
		first = false;
		/* Who waits for those now would wait for the queueing as well. */
		if (zdm_held_waited_for(held))
			check_held(set, held);
		else if (now >= next_queue ||
				 TimestampTzPlusMilliseconds(start, gap_ms) >= deadline)
		{
			if (try_all(set, true))
				break;
			next_queue = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), breath);
			breath = Min(breath + breath / 2, Max(2000, 4 * (int64) zdm_lock_wait));
		}
		zdm_sleep(GAP_PAUSE_MS);
	}
	CurrentResourceOwner = owner;
	return (GetCurrentTimestamp() - start) / 1000;
}

/*
 * Take all locks, or none.  Without queueing none is waited for; with it, the
 * one that was busy last is, or each in its turn where they have an order, for
 * at most zdm.lock_wait.
 *
 * Several are taken in a subtransaction, which is rolled back where one is
 * missing: an ACCESS EXCLUSIVE lock is in the WAL, and a standby that has
 * taken it lets go only when it reads that its transaction has ended.
 */
static bool
try_all(LockSet *set, bool queue)
{
	ErrorData  *error;

	if (set->count == 1 && !queue)
	{
		if (!take_one(set, 0, 0))
			return false;
	}
	else
	{
		set->queue = queue;
		if (!zdm_attempt(take_all, set, &error))
		{
			if (error->sqlerrcode != ERRCODE_LOCK_NOT_AVAILABLE &&
				error->sqlerrcode != ERRCODE_T_R_DEADLOCK_DETECTED)
				ReThrowError(error);
			FreeErrorData(error);
			return false;
		}
	}
	/* What others did before they let go is known to us from here on. */
	AcceptInvalidationMessages();
	return true;
}

/*
 * How long to queue.  Behind a migration's lock nobody waits but zdm's own
 * loops, and several of these, each in a batch of its own, never let go of it
 * all at once: who queues must outlast the longest of the batches.
 */
static int
queue_time(const LockSet *set)
{
	return set->urgent ? Max(zdm_lock_wait, 4 * zdm_batch_target) : zdm_lock_wait;
}

/*
 * The one that was busy comes first: where it still is, nothing was taken.
 * The order does not matter otherwise, as none is waited for behind another.
 */
static void
take_all(void *arg)
{
	LockSet    *set = arg;
	int			first = set->in_order ? 0 : set->busy;
	int			queue_ms = queue_time(set);
	TimestampTz end = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), queue_ms);
	bool		ok = take_one(set, first, set->queue ? queue_ms : 0);

	for (int i = 0; ok && i < set->count; i++)
	{
		int64		left = (end - GetCurrentTimestamp()) / 1000;

		ok = i == first ||
			take_one(set, i, set->queue && set->in_order ? Max(1, (int) left) : 0);
	}
	if (!ok)
		ereport(ERROR,
				errcode(ERRCODE_LOCK_NOT_AVAILABLE),
				errmsg_internal("%s is locked", set->what));
}

/*
 * wait_ms: 0 not to wait.
 */
static bool
take_one(LockSet *set, int number, int wait_ms)
{
	int			level;

	set->busy = number;
	if (wait_ms == 0)
		return LockAcquire(&set->tags[number], set->modes[number], false, true) !=
			LOCKACQUIRE_NOT_AVAIL;
	level = NewGUCNestLevel();
	zdm_set_config("lock_timeout", psprintf("%d", wait_ms), GUC_ACTION_SAVE);
	zdm_set_config("deadlock_timeout", psprintf("%d", Max(1, wait_ms / 2)),
				   GUC_ACTION_SAVE);
	(void) LockAcquire(&set->tags[number], set->modes[number], false, false);
	AtEOXact_GUC(false, level);
	return true;
}

/*
 * Whether somebody waits for the current transaction, or subtransaction, to
 * end: for a row that it has written.
 */
bool
zdm_transaction_waited_for(void)
{
	TransactionId xids[] = {GetCurrentTransactionIdIfAny(), GetTopTransactionIdIfAny()};

	for (int i = 0; i < (int) lengthof(xids); i++)
	{
		LOCKTAG		tag;

		if (!TransactionIdIsValid(xids[i]))
			continue;
		SET_LOCKTAG_TRANSACTION(tag, xids[i]);
		if (LockHasWaiters(&tag, ExclusiveLock, false))
			return true;
	}
	return false;
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

static int
patience(const LockSet *set)
{
	return set->patience_ms > 0 ? set->patience_ms : zdm_lock_patience;
}

/*
 * What the caller's transaction has locked before keeps others waiting while we
 * wait for more.
 */
static void
check_held(LockSet *set, List *held)
{
	Oid			relid = zdm_held_too_long(held, zdm_lock_wait);

	if (!OidIsValid(relid))
		return;
	name_busy(set);
	ereport(ERROR,
			errcode(ERRCODE_LOCK_NOT_AVAILABLE),
			errmsg("could not lock %s while others wait for %s, which this transaction has locked",
				   set->what, relation_text(relid)),
			errdetail("They have waited for more than %d ms. What was asked for is held by %s.",
					  zdm_lock_wait, zdm_describe_holders(set->tags, set->modes, set->count)),
			errhint("Nothing was changed. Make each of these calls in a transaction of its own."));
}

/*
 * Of several locks that are taken in order, name the one that is waited for.
 */
static void
name_busy(LockSet *set)
{
	if (set->in_order)
		set->what = relation_text(set->tags[set->busy].locktag_field2);
}

static void
give_up(LockSet *set)
{
	name_busy(set);
	ereport(ERROR,
			errcode(ERRCODE_LOCK_NOT_AVAILABLE),
			errmsg("could not lock %s within %d ms", set->what, patience(set)),
			errdetail("It is held by %s.", zdm_describe_holders(set->tags, set->modes, set->count)),
			errhint("Nothing was changed. End or wait for these transactions and run the same call again, or raise zdm.lock_patience."));
}
