/*-------------------------------------------------------------------------
 *
 * mirror_row.c
 *	  Rows of one table against the other: the backfill and the proof.
 *
 * Both look at the two tables by the active snapshot, so at a pair of rows as
 * it was at one time.  The proof compares each row of the first table with its
 * counterpart; of one of the second it asks only whether it has one, for what
 * is in it has been compared from the other side then.  A counterpart that is written afterwards has its writer
 * write the first table's row as well, which a backfill then finds changed,
 * and leaves alone.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/sysattr.h"
#include "executor/tuptable.h"
#include "nodes/bitmapset.h"
#include "utils/snapmgr.h"

#include "sync/mirror.h"

static ZdmMirror *mirror_of(ZdmMirrorSet *set, int number, const char *migration);
static bool has_counterpart(const ZdmMirror *mirror, TupleTableSlot *slot);
static bool look(ZdmMirror *mirror, ZdmMirrorLook *look, ZdmMirrorRow *row);

/*
 * Get ready to look at the other tables for many rows, by the active snapshot
 * and until zdm_mirror_looks_end(), in the same subtransaction.  Who looks for
 * a single row needs nothing of the kind, and passes NULL.
 */
ZdmMirrorLook **
zdm_mirror_looks_begin(ZdmMirrorSet *set, const char *migration)
{
	ZdmMirrorLook **looks = palloc0_array(ZdmMirrorLook *, set->count);

	for (int i = 0; i < set->count; i++)
	{
		ZdmMirror  *mirror = mirror_of(set, i, migration);

		if (mirror != NULL)
			looks[i] = zdm_mirror_look_begin(mirror, GetActiveSnapshot());
	}
	return looks;
}

void
zdm_mirror_looks_end(ZdmMirrorSet *set, ZdmMirrorLook **looks)
{
	for (int i = 0; i < set->count; i++)
		if (looks[i] != NULL)
			zdm_mirror_look_end(looks[i]);
	pfree(looks);
}

/*
 * The columns that a backfill fills, as the server's bitmaps have them.
 */
Bitmapset *
zdm_mirror_fills(ZdmMirrorSet *set, const char *migration)
{
	Bitmapset  *result = NULL;

	for (int i = 0; i < set->count; i++)
	{
		ZdmMirror  *mirror = mirror_of(set, i, migration);

		if (mirror == NULL || mirror->fills_second)
			continue;
		for (int j = mirror->keys; j < mirror->count; j++)
			result = bms_add_member(result, mirror->columns[j].attnum -
									FirstLowInvalidHeapAttributeNumber);
	}
	return result;
}

/*
 * The row with the columns that its counterpart has, NULL where there is
 * nothing to fill.  Valid until the set is used for another row.
 */
TupleTableSlot *
zdm_mirror_filled(ZdmMirrorSet *set, const char *migration, ZdmMirrorLook **looks,
				  TupleTableSlot *slot)
{
	bool		filled = false;

	for (int i = 0; i < set->count; i++)
	{
		ZdmMirror  *mirror = mirror_of(set, i, migration);
		ZdmMirrorRow row;

		if (mirror == NULL || mirror->fills_second)
			continue;
		zdm_mirror_take(mirror, slot, &row);
		if (!zdm_mirror_has_null(&row, mirror->keys, mirror->keys + mirror->optional) ||
			zdm_mirror_has_null(&row, 0, mirror->keys) ||
			!look(mirror, looks ? looks[i] : NULL, &row))
			continue;
		if (!filled)
			ExecCopySlot(set->work, slot);
		filled = true;
		for (int j = mirror->keys; j < mirror->count; j++)
		{
			AttrNumber	attnum = mirror->columns[j].attnum;

			set->work->tts_values[attnum - 1] = row.values[j];
			set->work->tts_isnull[attnum - 1] = row.nulls[j] == 'n';
		}
	}
	return filled ? set->work : NULL;
}

/*
 * Get ready to give the second table many rows; NULL where each is given by
 * itself (zdm_mirror_copied), or none.
 */
ZdmMirrorCopy *
zdm_mirror_copy_of(ZdmMirrorSet *set, const char *migration)
{
	ZdmMirror  *found = NULL;

	for (int i = 0; i < set->count; i++)
	{
		ZdmMirror  *mirror = mirror_of(set, i, migration);

		if (mirror == NULL || !mirror->fills_second)
			continue;
		if (found != NULL)
			return NULL;
		found = mirror;
	}
	return found != NULL ? zdm_mirror_copy_begin(found) : NULL;
}

/*
 * Whether a backfill gives the second table a row for this one of the first.
 */
bool
zdm_mirror_is_copied(ZdmMirrorSet *set, const char *migration, TupleTableSlot *slot)
{
	for (int i = 0; i < set->count; i++)
	{
		ZdmMirror  *mirror = mirror_of(set, i, migration);

		if (mirror != NULL && mirror->fills_second && has_counterpart(mirror, slot))
			return true;
	}
	return false;
}

/*
 * Give the second table the row that one of the first, which is locked, has in
 * it.  Returns whether it had none.
 */
bool
zdm_mirror_copied(ZdmMirrorSet *set, const char *migration, TupleTableSlot *slot)
{
	bool		copied = false;

	for (int i = 0; i < set->count; i++)
	{
		ZdmMirror  *mirror = mirror_of(set, i, migration);
		ZdmMirrorRow row;

		if (mirror == NULL || !mirror->fills_second || !has_counterpart(mirror, slot))
			continue;
		zdm_mirror_take(mirror, slot, &row);
		copied |= zdm_mirror_do(mirror, ZDM_MIRROR_ADD, &row, NULL) > 0;
	}
	return copied;
}

/*
 * Whether a row of either table and the other table agree.  unfilled: it lacks
 * what the backfill would give it, and no more.
 */
bool
zdm_mirror_matches(ZdmMirrorSet *set, const char *migration, ZdmMirrorLook **looks,
				   TupleTableSlot *slot, bool *unfilled)
{
	bool		matches = true;

	*unfilled = true;
	for (int i = 0; i < set->count; i++)
	{
		ZdmMirror  *mirror = mirror_of(set, i, migration);
		ZdmMirrorRow row,
					other;
		bool		has;
		bool		found;

		if (mirror == NULL)
			continue;
		zdm_mirror_take(mirror, slot, &row);
		if (!mirror->is_first)
		{
			if (!zdm_mirror_has_null(&row, 0, mirror->keys) &&
				(looks != NULL && looks[i] != NULL ? zdm_mirror_look(looks[i], &row)
				 : zdm_mirror_exists(mirror, &row, GetActiveSnapshot())))
				continue;
			*unfilled = matches = false;
			continue;
		}
		has = !zdm_mirror_has_null(&row, mirror->keys, mirror->keys + mirror->optional);
		zdm_mirror_take(mirror, slot, &other);
		if (zdm_mirror_has_null(&row, 0, mirror->keys))
			found = false;
		else if (has && mirror->several)
			found = zdm_mirror_member(mirror, &row, GetActiveSnapshot());
		else
			found = look(mirror, looks ? looks[i] : NULL, &other);
		if (has == found && (!has || zdm_mirror_same(mirror, &row, &other, 0, mirror->count)))
			continue;
		matches = false;
		if (mirror->fills_second ? found : has)
			*unfilled = false;
	}
	return matches;
}

/*
 * Read the other table's row by the active snapshot.
 */
static bool
look(ZdmMirror *mirror, ZdmMirrorLook *look, ZdmMirrorRow *row)
{
	return look != NULL ? zdm_mirror_look(look, row)
		: zdm_mirror_lookup(mirror, row, GetActiveSnapshot());
}

static ZdmMirror *
mirror_of(ZdmMirrorSet *set, int number, const char *migration)
{
	ZdmMirror  *mirror = &set->mirrors[number];

	return strcmp(mirror->migration, migration) == 0 ? mirror : NULL;
}

/*
 * Whether the second table is to have a row for this one: it has a key, and
 * the optional columns are not NULL.
 */
static bool
has_counterpart(const ZdmMirror *mirror, TupleTableSlot *slot)
{
	for (int i = 0; i < mirror->keys + mirror->optional; i++)
	{
		if (slot_attisnull(slot, mirror->columns[i].attnum))
			return false;
	}
	return true;
}
