/*-------------------------------------------------------------------------
 *
 * held.c
 *	  The relations that the caller's transaction keeps others from.
 *
 * Who waits politely for a lock may hold others, of an earlier call in the same
 * transaction, and whoever wants these waits along.  Here it is found out
 * which they are, whether somebody waits, and for how long.
 *
 * Only locks count that keep writers away: others are an everyday matter.  The
 * list is read once for a wait, as nothing is added meanwhile; whether somebody
 * waits is a look at each lock's own entry; since when, which takes a look at
 * all locks of the server, is asked only then.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/transam.h"
#include "miscadmin.h"
#include "storage/lock.h"
#include "utils/timestamp.h"

#include "util/held.h"

typedef struct HeldLock
{
	LOCKTAG		tag;
	LOCKMODE	mode;
} HeldLock;

static bool is_user_relation(const LOCKTAG *tag);
static bool is_held(List *held, const LOCKTAG *tag);

/*
 * The relations that this transaction has locked against writers, as HeldLock *.
 */
List *
zdm_held_relations(void)
{
	LockData   *data = GetLockStatusData();
	List	   *result = NIL;

	for (int i = 0; i < data->nelements; i++)
	{
		LockInstanceData *instance = &data->locks[i];

		if (instance->pid != MyProcPid || !is_user_relation(&instance->locktag))
			continue;
		for (LOCKMODE mode = ShareLock; mode <= AccessExclusiveLock; mode++)
		{
			HeldLock   *lock;

			if ((instance->holdMask & LOCKBIT_ON(mode)) == 0)
				continue;
			lock = palloc_object(HeldLock);
			lock->tag = instance->locktag;
			lock->mode = mode;
			result = lappend(result, lock);
		}
	}
	return result;
}

static bool
is_user_relation(const LOCKTAG *tag)
{
	return tag->locktag_type == LOCKTAG_RELATION &&
		tag->locktag_field1 == MyDatabaseId &&
		tag->locktag_field2 >= FirstNormalObjectId;
}

/*
 * Whether somebody waits for one of them.
 */
bool
zdm_held_waited_for(List *held)
{
	ListCell   *lc;

	foreach(lc, held)
	{
		HeldLock   *lock = lfirst(lc);

		if (LockHasWaiters(&lock->tag, lock->mode, false))
			return true;
	}
	return false;
}

/*
 * One of them that somebody has waited for, for so long; or InvalidOid.
 */
Oid
zdm_held_too_long(List *held, int ms)
{
	LockData   *data = GetLockStatusData();
	TimestampTz now = GetCurrentTimestamp();

	for (int i = 0; i < data->nelements; i++)
	{
		LockInstanceData *instance = &data->locks[i];

		if (instance->waitLockMode != NoLock && instance->waitStart != 0 &&
			is_held(held, &instance->locktag) &&
			TimestampDifferenceExceeds(instance->waitStart, now, ms))
			return instance->locktag.locktag_field2;
	}
	return InvalidOid;
}

static bool
is_held(List *held, const LOCKTAG *tag)
{
	ListCell   *lc;

	foreach(lc, held)
	{
		if (memcmp(&((HeldLock *) lfirst(lc))->tag, tag, sizeof(LOCKTAG)) == 0)
			return true;
	}
	return false;
}
