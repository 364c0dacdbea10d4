/*-------------------------------------------------------------------------
 *
 * mirror.c
 *	  Two tables that hold the same: the triggers ~zdm_mirror.
 *
 * What happened to a row here is done to its counterpart in the other table,
 * after the row, in the same statement:
 *
 * first table, where each row has one in the second
 *	 insert, update, delete		the same there
 * first table with optional columns
 *	 they are not NULL			set the second's row, or insert it
 *	 they have become NULL		delete the second's row
 *	 delete						what the foreign key of the second says; where
 *								there is none, delete the second's row
 * second table
 *	 insert, update				set the first's columns
 *	 delete						set them NULL, where they are that row's
 *	 another key				both
 * a partitioned table, where a row has one there
 *	 moved elsewhere			update the other's row (mirror_departed.c); where
 *								that one refers to it, under the key that it
 *								still has
 * where the second table may have several rows for one of the first
 *	 first table				replace the one that it showed
 *	 second table				the first table shows the first of them
 *
 * A row that the backfill has not come to yet is treated as its counterpart
 * says: a write of the first table that does not touch the columns fetches
 * them, as the backfill takes a row that was written since it looked for one
 * that the trigger has seen to.
 *
 * The first table's row is locked before the second's, by both sides, and
 * inserted before it; see mirror_order.c and mirror_insert.c.  A row of the
 * second whose counterpart is not there yet (its foreign key is deferred) is
 * remembered, and fetched when that one comes.
 *
 * The triggers fire in sessions of origin only: what a subscriber gets has
 * been mirrored where it comes from.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/sysattr.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "nodes/bitmapset.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "sync/mirror.h"
#include "util/ident.h"

/* What happened to a row; before is NULL for INSERT, after for DELETE. */
typedef struct Change
{
	TriggerData *trigdata;
	ZdmMirror  *mirror;
	ZdmMirrorRow *before;
	ZdmMirrorRow *after;
	bool		rewritten;		/* our trigger has fired for after already */
	bool		both;			/* the statement writes the other table, too */
} Change;

/* A transaction that has written rows of a second table before the first's. */
static TransactionId early = InvalidTransactionId;

static void fire_after_row(TriggerData *trigdata);
static bool moved(Change *change, ZdmMirrorRow *old);
static bool referred_moved(Change *change);
static ZdmMirrorRow with_key(const ZdmMirror *mirror, const ZdmMirrorRow *row,
							 const ZdmMirrorRow *key);
static void several_moved(Change *change, const ZdmMirrorRow *old, const ZdmMirrorRow *new);
static bool take_newest(TriggerData *trigdata, TupleTableSlot *slot,
						TupleTableSlot **newest);
static void first_changed(Change *change);
static void optional_changed(Change *change);
static void several_changed(Change *change, bool was, bool is, bool same_key);
static void put(Change *change, bool may_exist);
static void fetch(Change *change);
static void second_changed(Change *change);
static void set_first(Change *change);
static bool names_columns(const Change *change);
static void truncated(TriggerData *trigdata);

/*
 * Any of the triggers.  Returns what it has to return to the server: the row,
 * before one is inserted, else nothing.
 */
HeapTuple
zdm_mirror_fire(TriggerData *trigdata)
{
	HeapTuple	result = NULL;

	if (TRIGGER_FIRED_BY_TRUNCATE(trigdata->tg_event))
		truncated(trigdata);
	else if (TRIGGER_FIRED_FOR_STATEMENT(trigdata->tg_event))
		zdm_mirror_order_locks(trigdata->tg_relation);
	else if (TRIGGER_FIRED_BEFORE(trigdata->tg_event))
		result = zdm_mirror_before_insert(trigdata);
	else
		fire_after_row(trigdata);
	return result;
}

static void
fire_after_row(TriggerData *trigdata)
{
	ZdmMirrorSet *set = zdm_mirrors_get(trigdata->tg_relation);
	int			held = zdm_rules_hold();
	TupleTableSlot *before = TRIGGER_FIRED_BY_INSERT(trigdata->tg_event) ? NULL
		: trigdata->tg_trigslot;
	TupleTableSlot *after = TRIGGER_FIRED_BY_DELETE(trigdata->tg_event) ? NULL
		: TRIGGER_FIRED_BY_UPDATE(trigdata->tg_event) ? trigdata->tg_newslot
		: trigdata->tg_trigslot;
	bool		copied = after != NULL && take_newest(trigdata, after, &after);

	for (int i = 0; i < set->count && (before != NULL || after != NULL); i++)
	{
		ZdmMirror  *mirror = &set->mirrors[i];
		ZdmMirrorRow old,
					new;
		Change		change = {.trigdata = trigdata,.mirror = mirror,.rewritten = copied};

		if (before != NULL)
		{
			zdm_mirror_take(mirror, before, &old);
			change.before = &old;
		}
		if (after != NULL)
		{
			zdm_mirror_take(mirror, after, &new);
			if (!copied)
				new.checked = zdm_mirror_checked(mirror, change.before, &new);
			change.after = &new;
		}
		if (zdm_mirror_is_echo(mirror, change.before, change.after))
			continue;
		change.both = zdm_mirror_writes_both(mirror);
		if ((mirror->own != NULL || (change.both && mirror->optional == 0)) && moved(&change, &old))
			continue;
		if (mirror->is_first && mirror->optional > 0 && mirror->referencing && referred_moved(&change))
			continue;
		if (mirror->is_first)
			first_changed(&change);
		else
			second_changed(&change);
	}
	if (copied)
		ExecDropSingleTupleTableSlot(after);
	zdm_rules_release(held);
}

/*
 * An update that takes a row to another partition comes as the end of one row
 * and the beginning of another.  For the other table it is an update all the
 * same: what refers to its row must not go with it.  Returns whether there is
 * nothing more to be done.  With the same key it is done at the first of the
 * two, when the row is in its new place already, else at the second.
 */
static bool
moved(Change *change, ZdmMirrorRow *old)
{
	ZdmMirror  *mirror = change->mirror;
	ZdmMirrorRow now;

	if (change->before != NULL && change->after != NULL)
		return false;
	zdm_mirror_take(mirror, change->trigdata->tg_trigslot, &now);
	if (change->before == NULL)
	{
		if (zdm_mirror_lookup(mirror, &now, InvalidSnapshot) &&
			zdm_mirror_same(mirror, &now, change->after, mirror->keys, mirror->count))
			return true;
		if (mirror->own != NULL && zdm_mirror_arrive(mirror, change->trigdata, old))
			change->before = old;
		return false;
	}
	if (!zdm_mirror_lookup(zdm_mirror_self(mirror), &now, InvalidSnapshot))
		return mirror->own != NULL && zdm_mirror_depart(mirror, change->trigdata, change->before);
	if (!zdm_mirror_is_echo(mirror, change->before, &now) &&
		zdm_mirror_do(mirror, ZDM_MIRROR_SET, &now, NULL) == 0 &&
		!zdm_mirror_undo_update(mirror, &now, &now))
		zdm_mirror_do(mirror, ZDM_MIRROR_INSERT, &now, NULL);
	return true;
}

/*
 * The same of a row that only some of the second table refer to: they follow
 * it by their foreign key, which has its turn after us.  Until then they have
 * the old key, and are written by that.
 */
static bool
referred_moved(Change *change)
{
	ZdmMirror  *mirror = change->mirror;
	ZdmMirrorRow old,
				new,
				look;

	if (change->before != NULL && change->after != NULL)
		return false;
	if (change->after == NULL)
		return zdm_mirror_depart(mirror, change->trigdata, change->before);
	if (!zdm_mirror_arrive(mirror, change->trigdata, &old))
		return false;
	look = with_key(mirror, change->after, &old);
	if (!zdm_mirror_lookup(mirror, &look, InvalidSnapshot))
		return false;
	new = with_key(mirror, change->after, &old);
	if (mirror->several)
		several_moved(change, &old, &new);
	else
	{
		Change		followed = *change;

		followed.before = &old;
		followed.after = &new;
		optional_changed(&followed);
	}
	return true;
}

/*
 * A copy of a row, with the key of another one.
 */
static ZdmMirrorRow
with_key(const ZdmMirror *mirror, const ZdmMirrorRow *row, const ZdmMirrorRow *key)
{
	ZdmMirrorRow copy = zdm_mirror_row_copy(mirror, row);

	memcpy(copy.values, key->values, sizeof(Datum) * mirror->keys);
	memcpy(copy.nulls, key->nulls, mirror->keys);
	return copy;
}

/*
 * A new row of the second table cannot refer to the key that has gone, and
 * must not be in the way of one that follows.
 */
static void
several_moved(Change *change, const ZdmMirrorRow *old, const ZdmMirrorRow *new)
{
	ZdmMirror  *mirror = change->mirror;
	int			keys = mirror->keys;

	if (zdm_mirror_same(mirror, old, new, keys, mirror->count))
		return;
	if (!zdm_mirror_has_null(old, keys, keys + mirror->optional))
		zdm_mirror_do(mirror, ZDM_MIRROR_REMOVE, old, NULL);
	if (zdm_mirror_has_null(new, keys, keys + mirror->optional))
		return;
	CommandCounterIncrement();
	if (!zdm_mirror_member(mirror, new, GetLatestSnapshot()))
		zdm_mirror_do(mirror, ZDM_MIRROR_ADD, change->after, NULL);
}

/*
 * The row as it is by now: a trigger of the application's that fired before us
 * may have written it again, and what we did for that must not be undone.
 * newest is the slot itself, or one of the caller's to drop, for which true is
 * returned; or NULL where the row has gone.
 */
static bool
take_newest(TriggerData *trigdata, TupleTableSlot *slot, TupleTableSlot **newest)
{
	Relation	rel = trigdata->tg_relation;
	ItemPointerData tid = slot->tts_tid;
	TableScanDesc scan;

	*newest = slot;
	if (!ItemPointerIsValid(&tid) || table_tuple_satisfies_snapshot(rel, slot, SnapshotSelf))
		return false;
	scan = table_beginscan_tid(rel, SnapshotSelf);
	table_tuple_get_latest_tid(scan, &tid);
	table_endscan(scan);
	*newest = table_slot_create(rel, NULL);
	if (table_tuple_fetch_row_version(rel, &tid, SnapshotSelf, *newest))
		return true;
	ExecDropSingleTupleTableSlot(*newest);
	*newest = NULL;
	return false;
}

static void
first_changed(Change *change)
{
	ZdmMirror  *mirror = change->mirror;
	ZdmMirrorRow *before = change->before;
	ZdmMirrorRow *after = change->after;
	bool		unfilled = mirror->backfilling && mirror->fills_second;

	if (mirror->optional > 0)
		optional_changed(change);
	else if (after == NULL)
		zdm_mirror_delete_there(mirror, before);
	else if (before == NULL)
		zdm_mirror_insert_there(mirror, after);
	else if (unfilled || !zdm_mirror_same(mirror, before, after, 0, mirror->count))
	{
		bool		same_key = zdm_mirror_same(mirror, before, after, 0, mirror->keys);

		if (!same_key && (change->rewritten || change->both) && zdm_mirror_do(mirror, ZDM_MIRROR_SET, after, NULL) > 0)
			zdm_mirror_do(mirror, ZDM_MIRROR_DELETE, before, NULL);
		else if (zdm_mirror_do(mirror, same_key ? ZDM_MIRROR_SET : ZDM_MIRROR_MOVE, after, before) == 0 &&
				 !zdm_mirror_undo_update(mirror, before, after) && !(same_key && change->both))
			zdm_mirror_do(mirror, ZDM_MIRROR_INSERT, after, NULL);
	}
}

/*
 * The same, where only some rows have one in the second table.
 */
static void
optional_changed(Change *change)
{
	ZdmMirror  *mirror = change->mirror;
	int			keys = mirror->keys;
	ZdmMirrorRow *before = change->before;
	ZdmMirrorRow *after = change->after;
	bool		was = before != NULL && !zdm_mirror_has_null(before, keys, keys + mirror->optional);
	bool		is = after != NULL && !zdm_mirror_has_null(after, keys, keys + mirror->optional);
	bool		same_key = before != NULL && after != NULL &&
		zdm_mirror_same(mirror, before, after, 0, keys);
	bool		unfilled = mirror->backfilling && !was;
	bool		waits = TransactionIdIsValid(early) && early == GetTopTransactionIdIfAny();

	if (mirror->several)
	{
		several_changed(change, was, is, same_key);
		return;
	}
	if (before != NULL && !same_key && !mirror->referencing)
		zdm_mirror_do(mirror, ZDM_MIRROR_DELETE, before, NULL);
	if (after == NULL)
		return;
	if (before == NULL)
	{
		if (is)
			put(change, mirror->backfilling || waits);
		else if (waits)
			fetch(change);
	}
	else if (!zdm_mirror_same(mirror, before, after, keys, mirror->count) ||
			 (is && !same_key) || (unfilled && names_columns(change)))
	{
		if (is)
			put(change, was || mirror->backfilling);
		else if (zdm_mirror_do(mirror, ZDM_MIRROR_DELETE, after, NULL) == 0)
			zdm_mirror_undo_update(mirror, after, after);
	}
	else if (mirror->backfilling && mirror->fills_second && is)
		put(change, true);
	else if (unfilled && !mirror->fills_second)
		fetch(change);
}

/*
 * Where the second table may have several, the one that the first table
 * showed is replaced by the one that it shows now; where that is none, the
 * first table shows the first of those that are left.
 */
static void
several_changed(Change *change, bool was, bool is, bool same_key)
{
	ZdmMirror  *mirror = change->mirror;
	bool		same = same_key && was == is &&
		zdm_mirror_same(mirror, change->before, change->after, mirror->keys, mirror->count);

	if (change->after == NULL || (same && !mirror->backfilling))
		return;
	if (was && same_key && !same)
		zdm_mirror_do(mirror, ZDM_MIRROR_REMOVE, change->before, NULL);
	if (is)
		zdm_mirror_add_there(mirror, was && same_key && !same ? change->before : NULL, change->after);
	else if (was)
		fetch(change);
}

/*
 * Give the second table the row.
 */
static void
put(Change *change, bool may_exist)
{
	if ((may_exist || change->rewritten || change->both || zdm_mirror_is_nested(change->mirror)) &&
		(zdm_mirror_do(change->mirror, ZDM_MIRROR_SET, change->after, NULL) > 0 ||
		 zdm_mirror_undo_update(change->mirror, change->after, change->after)))
		return;
	if (zdm_mirror_do(change->mirror, ZDM_MIRROR_INSERT, change->after, NULL) == 0)
		zdm_mirror_undo_optional(change->mirror, change->after);
}

/*
 * Set the columns of a row here as its counterpart has them.  Whoever writes
 * that one has locked this one before, so it is nobody but us now.
 */
static void
fetch(Change *change)
{
	ZdmMirrorRow *after = change->after;

	if (!zdm_mirror_has_null(after, 0, change->mirror->keys) &&
		zdm_mirror_lookup(change->mirror, after, InvalidSnapshot))
		zdm_mirror_do(change->mirror, ZDM_MIRROR_FETCH, after, NULL);
}

static void
second_changed(Change *change)
{
	ZdmMirror  *mirror = change->mirror;
	ZdmMirrorRow *before = change->before;
	ZdmMirrorRow *after = change->after;
	bool		same_key = before != NULL && after != NULL &&
		zdm_mirror_same(mirror, before, after, 0, mirror->keys);

	if (before != NULL && after != NULL && same_key &&
		zdm_mirror_same(mirror, before, after, mirror->keys, mirror->count))
		return;
	if (mirror->several)
	{
		if (!zdm_mirror_show_there(mirror, before, after, change->both))
			early = GetTopTransactionId();
	}
	else if (mirror->optional > 0)
	{
		if (before == NULL || same_key ||
			zdm_mirror_do(mirror, ZDM_MIRROR_CLEAR, before, NULL) > 0 ||
			!zdm_mirror_undo_clear(mirror, before, after))
			set_first(change);
	}
	else if (after == NULL)
		zdm_mirror_delete_there(mirror, before);
	else if (before == NULL)
	{
		if (!zdm_mirror_is_put(mirror, after))
			zdm_mirror_insert_there(mirror, after);
	}
	else if (same_key)
	{
		if (zdm_mirror_do(mirror, ZDM_MIRROR_SET, after, before) == 0)
			zdm_mirror_undo_update(mirror, before, after);
	}
	else if (!zdm_mirror_is_put(mirror, after) &&
			 zdm_mirror_do(mirror, ZDM_MIRROR_MOVE, after, before) == 0 &&
			 !zdm_mirror_undo_update(mirror, before, after))
		fetch(change);			/* it was moved, and is another row by now */
}

static void
set_first(Change *change)
{
	ZdmMirror  *mirror = change->mirror;

	if (change->after == NULL ||
		zdm_mirror_do(mirror, ZDM_MIRROR_SET, change->after, NULL) > 0 ||
		zdm_mirror_has_null(change->after, 0, mirror->keys) ||
		zdm_mirror_undo_set(mirror, change->before, change->after))
		return;
	if (mirror->referencing)
	{
		early = GetTopTransactionId();
		return;
	}
	ereport(ERROR,
			errcode(ERRCODE_FOREIGN_KEY_VIOLATION),
			errmsg("table \"%s\" has no row for this row of table \"%s\"",
				   get_rel_name(mirror->there), get_rel_name(mirror->here)),
			errhint("Insert that one first, or roll the migration back: SELECT zdm.rollback(%s);",
					quote_literal_cstr(mirror->migration)),
			errcontext("zdm migration \"%s\" on table \"%s\"", mirror->migration,
					   get_rel_name(mirror->here)));
}

/*
 * Whether an UPDATE names one of the columns, whatever it sets.
 */
static bool
names_columns(const Change *change)
{
	const ZdmMirror *mirror = change->mirror;

	for (int i = mirror->keys; i < mirror->count; i++)
	{
		if (bms_is_member(mirror->columns[i].attnum - FirstLowInvalidHeapAttributeNumber,
						  change->trigdata->tg_updatedcols))
			return true;
	}
	return false;
}

/*
 * One statement makes the other table follow.
 */
static void
truncated(TriggerData *trigdata)
{
	ZdmMirrorSet *set = zdm_mirrors_get(trigdata->tg_relation);
	int			held = zdm_rules_hold();

	for (int i = 0; i < set->count; i++)
	{
		ZdmMirror  *mirror = &set->mirrors[i];

		/* A foreign key has the second table truncated, too. */
		if (!(mirror->is_first && mirror->referencing))
			zdm_mirror_do(mirror, ZDM_MIRROR_EMPTY, NULL, NULL);
	}
	zdm_rules_release(held);
}
