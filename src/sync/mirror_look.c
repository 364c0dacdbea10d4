/*-------------------------------------------------------------------------
 *
 * mirror_look.c
 *	  Many rows' counterparts in the other table, one after the other.
 *
 * As in mirror_lookup.c, for a backfill or a verification that looks at many
 * rows by one snapshot: the table, the index and the scan stay open.  Rows
 * mostly come in the order of their keys, as they were inserted.  Where that
 * shows, the next key is found by walking on along the index, as a merge join
 * would, instead of descending from the root of it.
 *
 * A walk is worth it only while most of what it passes is asked for.  Where it
 * is not, it takes longer and longer until the next one is tried.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/nbtree.h"
#include "access/skey.h"
#include "access/stratnum.h"
#include "access/table.h"
#include "access/tableam.h"
#include "catalog/pg_index.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"

#include "sync/mirror.h"
#include "util/compat.h"

/* So many keys in order make a walk begin. */
#define WALK_AFTER		16
/* Who has not found as many by one descent would do better without. */
#define WALK_WORTH		32
/* Entries that a walk passes on the way to a key. */
#define WALK_STEPS		8
#define MAX_RELUCTANCE	4096

struct ZdmMirrorLook
{
	ZdmMirror  *mirror;
	Relation	there;
	Relation	index;
	IndexScanDesc scan;
	TupleTableSlot *slot;
	AttrNumber *attnums;		/* of the rule's columns there */
	ScanKeyData equal[INDEX_MAX_KEYS];
	MemoryContext cxt;			/* a scan keeps there what it needs later */

	/* where there is an order to walk in: */
	bool		has_order;
	FmgrInfo	compare;
	ScanKeyData from;
	Datum		asked;			/* the last key */
	int			in_order;		/* so many keys were; below 0: reluctance */
	int			reluctance;
	bool		walking;
	bool		at_end;			/* no entry is left, else the next one is in
								 * the slot */
	int			answered;		/* since the walk's last descent */
};

static void find_order(ZdmMirrorLook *look);
static bool descend(ZdmMirrorLook *look, const ZdmMirrorRow *row);
static bool is_further(ZdmMirrorLook *look, Datum key);
static bool walk(ZdmMirrorLook *look, Datum key);
static bool walk_from(ZdmMirrorLook *look, Datum key);
static bool next_entry(ZdmMirrorLook *look);
static int	compare_entry(ZdmMirrorLook *look, Datum key);

/*
 * Get ready to look by the snapshot, which stays what it is.  Returns NULL
 * where each look takes a statement.  It ends by zdm_mirror_look_end(), in the
 * same subtransaction, or with that one's failure.
 */
ZdmMirrorLook *
zdm_mirror_look_begin(ZdmMirror *mirror, Snapshot snapshot)
{
	Relation	there = table_open(mirror->there, AccessShareLock);
	ZdmMirrorLook *look;

	if (!zdm_mirror_can_scan(mirror, there))
	{
		table_close(there, NoLock);
		return NULL;
	}
	look = palloc0_object(ZdmMirrorLook);
	look->cxt = CurrentMemoryContext;
	look->mirror = mirror;
	look->there = there;
	look->index = index_open(mirror->lookup_index, AccessShareLock);
	look->slot = table_slot_create(there, NULL);
	look->attnums = palloc_array(AttrNumber, mirror->count);
	for (int i = 0; i < mirror->count; i++)
		look->attnums[i] = get_attnum(RelationGetRelid(there), mirror->columns[i].there);
	for (int i = 0; i < mirror->keys; i++)
	{
		look->equal[i] = mirror->lookup_keys[i];
		/* A scan of an index counts the index's columns. */
		look->equal[i].sk_attno = i + 1;
	}
	find_order(look);
	look->scan = zdm_index_beginscan(there, look->index, snapshot, mirror->keys);
	return look;
}

void
zdm_mirror_look_end(ZdmMirrorLook *look)
{
	index_endscan(look->scan);
	ExecDropSingleTupleTableSlot(look->slot);
	index_close(look->index, NoLock);
	table_close(look->there, NoLock);
	pfree(look);
}

/*
 * A key of one column that is passed by value and not turned round.
 */
static void
find_order(ZdmMirrorLook *look)
{
	const ZdmMirror *mirror = look->mirror;
	Oid			type = look->index->rd_opcintype[0];
	Oid			family = look->index->rd_opfamily[0];
	Oid			not_less = get_opfamily_member(family, type, type, BTGreaterEqualStrategyNumber);
	Oid			order = get_opfamily_proc(family, type, type, BTORDER_PROC);

	if (mirror->keys != 1 || !mirror->columns[0].typbyval ||
		look->equal[0].sk_subtype != type || !OidIsValid(not_less) || !OidIsValid(order) ||
		(look->index->rd_indoption[0] & INDOPTION_DESC) != 0)
		return;
	ScanKeyEntryInitialize(&look->from, 0, 1, BTGreaterEqualStrategyNumber, type,
						   look->index->rd_indcollation[0], get_opcode(not_less), (Datum) 0);
	fmgr_info(order, &look->compare);
	look->reluctance = WALK_AFTER;
	look->has_order = true;
}

/*
 * Read the columns of the other table's row into row, which has the key and no
 * NULL in it.  They are valid until the next look.  Returns false where there
 * is no such row.
 */
bool
zdm_mirror_look(ZdmMirrorLook *look, ZdmMirrorRow *row)
{
	const ZdmMirror *mirror = look->mirror;
	MemoryContext old = MemoryContextSwitchTo(look->cxt);
	bool		found;

	if (!look->has_order)
		found = descend(look, row);
	else
	{
		Datum		key = row->values[0];
		bool		further = is_further(look, key);

		look->in_order = further ? look->in_order + 1 : Min(look->in_order, 0);
		if (!look->walking && look->in_order >= WALK_AFTER)
			found = walk_from(look, key);
		else if (!look->walking)
			found = descend(look, row);
		else if (further)
			found = walk(look, key);
		else
			found = walk_from(look, key);
		look->asked = key;
	}
	MemoryContextSwitchTo(old);
	for (int i = mirror->keys; found && i < mirror->count; i++)
	{
		bool		isnull;

		row->values[i] = slot_getattr(look->slot, look->attnums[i], &isnull);
		row->nulls[i] = isnull ? 'n' : ' ';
	}
	return found;
}

static bool
descend(ZdmMirrorLook *look, const ZdmMirrorRow *row)
{
	for (int i = 0; i < look->mirror->keys; i++)
		look->equal[i].sk_argument = row->values[look->mirror->lookup_values[i]];
	index_rescan(look->scan, look->equal, look->mirror->keys, NULL, 0);
	return index_getnext_slot(look->scan, ForwardScanDirection, look->slot);
}

/*
 * Whether a key comes behind the one that was asked for last.
 */
static bool
is_further(ZdmMirrorLook *look, Datum key)
{
	return DatumGetInt32(FunctionCall2Coll(&look->compare, look->from.sk_collation,
										   look->asked, key)) < 0;
}

/*
 * Go on to a key.  Where the next entry is behind it, there is none: no key
 * between the one asked for before and that entry has one.
 */
static bool
walk(ZdmMirrorLook *look, Datum key)
{
	for (int i = 0; i < WALK_STEPS; i++)
	{
		int			order = compare_entry(look, key);

		if (order >= 0)
		{
			look->answered++;
			return order == 0;
		}
		look->at_end = !next_entry(look);
	}
	return walk_from(look, key);
}

/*
 * Begin a walk at a key, unless the one before was not worth it.
 */
static bool
walk_from(ZdmMirrorLook *look, Datum key)
{
	if (look->walking && look->answered < WALK_WORTH)
	{
		look->walking = false;
		look->in_order = -look->reluctance;
		look->reluctance = Min(look->reluctance * 2, MAX_RELUCTANCE);
		look->equal[0].sk_argument = key;
		index_rescan(look->scan, look->equal, 1, NULL, 0);
		return next_entry(look);
	}
	look->walking = true;
	look->answered = 0;
	look->from.sk_argument = key;
	index_rescan(look->scan, &look->from, 1, NULL, 0);
	look->at_end = !next_entry(look);
	return compare_entry(look, key) == 0;
}

static bool
next_entry(ZdmMirrorLook *look)
{
	return index_getnext_slot(look->scan, ForwardScanDirection, look->slot);
}

/*
 * How the next entry compares with a key: below 0 where it comes before.
 */
static int
compare_entry(ZdmMirrorLook *look, Datum key)
{
	bool		isnull;
	Datum		entry;

	if (look->at_end)
		return 1;
	entry = slot_getattr(look->slot, look->attnums[0], &isnull);
	if (isnull)
		return 1;				/* they come last, or are not found */
	return DatumGetInt32(FunctionCall2Coll(&look->compare, look->from.sk_collation,
										   entry, key));
}
