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
 * Of a partitioned table each partition is looked at, as the columns that say
 * which one it is need not be in the key.  Its unique indexes have these
 * columns besides the key's, and a key may be there twice, which is an error as
 * for a look by a statement.  A walk along all of them at once costs little
 * more than one: where a partition's next entry is further on, the key is not
 * in it.
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
#include "catalog/pg_class.h"
#include "catalog/pg_index.h"
#include "catalog/pg_inherits.h"
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

/* The table, or one of its partitions. */
typedef struct Part
{
	const ZdmMirror *mirror;
	Relation	there;
	Relation	index;
	IndexScanDesc scan;
	TupleTableSlot *slot;
	TupleTableSlot *found;		/* the same, unless a key may be there twice */
	AttrNumber *attnums;		/* of the rule's columns there */
	ScanKeyData equal[INDEX_MAX_KEYS];

	/* where there is an order to walk in: */
	bool		has_order;
	FmgrInfo	compare;
	ScanKeyData from;
	int			in_order;		/* so many keys were; below 0: reluctance */
	int			reluctance;
	bool		walking;
	bool		at_end;			/* no entry is left, else the next one is in
								 * the slot */
	int			answered;		/* since the walk's last descent */
} Part;

struct ZdmMirrorLook
{
	ZdmMirror  *mirror;
	Relation	there;
	List	   *parts;
	Part	   *ordered;		/* one with an order, or NULL */
	Datum		asked;			/* the last key, where there is one */
	MemoryContext cxt;			/* a scan keeps there what it needs later */
};

static bool add_part(ZdmMirrorLook *look, ZdmMirror *mirror, Relation there, Snapshot snapshot);
static bool add_partitions(ZdmMirrorLook *look, Snapshot snapshot);
static void find_order(Part *part);
static bool look_at(Part *part, const ZdmMirrorRow *row, bool further);
static bool is_twice(Part *part, Datum key);
static bool descend(Part *part, const ZdmMirrorRow *row);
static bool is_further(const ZdmMirrorLook *look, Datum key);
static bool walk(Part *part, Datum key);
static bool walk_from(Part *part, Datum key);
static bool next_entry(Part *part);
static int	compare_entry(Part *part, Datum key);

/*
 * Get ready to look by the snapshot, which stays what it is.  Returns NULL
 * where each look takes a statement.  It ends by zdm_mirror_look_end(), in the
 * same subtransaction, or with that one's failure.
 */
ZdmMirrorLook *
zdm_mirror_look_begin(ZdmMirror *mirror, Snapshot snapshot)
{
	ZdmMirrorLook *look = palloc0_object(ZdmMirrorLook);

	look->cxt = CurrentMemoryContext;
	look->mirror = mirror;
	look->there = table_open(mirror->there, AccessShareLock);
	if (look->there->rd_rel->relkind == RELKIND_PARTITIONED_TABLE
		? add_partitions(look, snapshot)
		: add_part(look, mirror, look->there, snapshot))
		return look;
	zdm_mirror_look_end(look);
	return NULL;
}

/*
 * Returns false where one of them cannot be looked at.
 */
static bool
add_partitions(ZdmMirrorLook *look, Snapshot snapshot)
{
	ListCell   *lc;

	foreach(lc, find_all_inheritors(look->mirror->there, AccessShareLock, NULL))
	{
		ZdmMirror  *mirror;
		Relation	there;

		if (get_rel_relkind(lfirst_oid(lc)) == RELKIND_PARTITIONED_TABLE)
			continue;
		mirror = palloc_object(ZdmMirror);
		*mirror = *look->mirror;
		mirror->there = lfirst_oid(lc);
		mirror->of_partition = true;
		mirror->lookup_index = InvalidOid;
		mirror->cxt = look->cxt;
		there = table_open(mirror->there, NoLock);
		if (!add_part(look, mirror, there, snapshot))
		{
			table_close(there, NoLock);
			return false;
		}
	}
	return true;
}

/*
 * Returns false, with nothing done, where it cannot be looked at.
 */
static bool
add_part(ZdmMirrorLook *look, ZdmMirror *mirror, Relation there, Snapshot snapshot)
{
	Part	   *part;

	if (!zdm_mirror_can_scan(mirror, there))
		return false;
	part = palloc0_object(Part);
	part->mirror = mirror;
	part->there = there;
	part->index = index_open(mirror->lookup_index, AccessShareLock);
	part->slot = part->found = table_slot_create(there, NULL);
	if (part->index->rd_index->indnkeyatts > mirror->keys)
		part->found = table_slot_create(there, NULL);
	part->attnums = zdm_mirror_attnums(mirror, there);
	for (int i = 0; i < mirror->keys; i++)
	{
		part->equal[i] = mirror->lookup_keys[i];
		/* A scan of an index counts the index's columns. */
		part->equal[i].sk_attno = i + 1;
	}
	find_order(part);
	part->scan = zdm_index_beginscan(there, part->index, snapshot, mirror->keys);
	look->parts = lappend(look->parts, part);
	if (part->has_order)
		look->ordered = part;
	return true;
}

void
zdm_mirror_look_end(ZdmMirrorLook *look)
{
	ListCell   *lc;

	foreach(lc, look->parts)
	{
		Part	   *part = lfirst(lc);

		index_endscan(part->scan);
		if (part->found != part->slot)
			ExecDropSingleTupleTableSlot(part->found);
		ExecDropSingleTupleTableSlot(part->slot);
		index_close(part->index, NoLock);
		if (part->there != look->there)
			table_close(part->there, NoLock);
	}
	table_close(look->there, NoLock);
	pfree(look);
}

/*
 * A key of one column that is passed by value and not turned round.
 */
static void
find_order(Part *part)
{
	const ZdmMirror *mirror = part->mirror;
	Oid			type = part->index->rd_opcintype[0];
	Oid			family = part->index->rd_opfamily[0];
	Oid			not_less = get_opfamily_member(family, type, type, BTGreaterEqualStrategyNumber);
	Oid			order = get_opfamily_proc(family, type, type, BTORDER_PROC);

	if (mirror->keys != 1 || !mirror->columns[0].typbyval ||
		part->equal[0].sk_subtype != type || !OidIsValid(not_less) || !OidIsValid(order) ||
		(part->index->rd_indoption[0] & INDOPTION_DESC) != 0)
		return;
	ScanKeyEntryInitialize(&part->from, 0, 1, BTGreaterEqualStrategyNumber, type,
						   part->index->rd_indcollation[0], get_opcode(not_less), (Datum) 0);
	fmgr_info(order, &part->compare);
	part->reluctance = WALK_AFTER;
	part->has_order = true;
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
	Part	   *found = NULL;
	bool		further = look->ordered != NULL && is_further(look, row->values[0]);
	ListCell   *lc;

	foreach(lc, look->parts)
	{
		Part	   *part = lfirst(lc);

		if (!look_at(part, row, further))
			continue;
		if (found != NULL || (part->found != part->slot && is_twice(part, row->values[0])))
			zdm_mirror_found_several(mirror);
		found = part;
	}
	look->asked = row->values[0];
	MemoryContextSwitchTo(old);
	for (int i = mirror->keys; found != NULL && i < mirror->count; i++)
	{
		bool		isnull;

		row->values[i] = slot_getattr(found->found, found->attnums[i], &isnull);
		row->nulls[i] = isnull ? 'n' : ' ';
	}
	return found != NULL;
}

static bool
look_at(Part *part, const ZdmMirrorRow *row, bool further)
{
	Datum		key = row->values[0];

	if (!part->has_order)
		return descend(part, row);
	part->in_order = further ? part->in_order + 1 : Min(part->in_order, 0);
	if (!part->walking && part->in_order >= WALK_AFTER)
		return walk_from(part, key);
	if (!part->walking)
		return descend(part, row);
	return further ? walk(part, key) : walk_from(part, key);
}

/*
 * Whether the entry behind the one that was found has the key, too.
 */
static bool
is_twice(Part *part, Datum key)
{
	TupleTableSlot *found = part->slot;

	part->slot = part->found;
	part->found = found;
	part->at_end = !next_entry(part);
	return !part->at_end && (!part->walking || compare_entry(part, key) == 0);
}

static bool
descend(Part *part, const ZdmMirrorRow *row)
{
	for (int i = 0; i < part->mirror->keys; i++)
		part->equal[i].sk_argument = row->values[part->mirror->lookup_values[i]];
	index_rescan(part->scan, part->equal, part->mirror->keys, NULL, 0);
	return index_getnext_slot(part->scan, ForwardScanDirection, part->slot);
}

/*
 * Whether a key comes behind the one that was asked for last.
 */
static bool
is_further(const ZdmMirrorLook *look, Datum key)
{
	return DatumGetInt32(FunctionCall2Coll(&look->ordered->compare,
										   look->ordered->from.sk_collation,
										   look->asked, key)) < 0;
}

/*
 * Go on to a key.  Where the next entry is behind it, there is none: no key
 * between the one asked for before and that entry has one.
 */
static bool
walk(Part *part, Datum key)
{
	for (int i = 0; i < WALK_STEPS; i++)
	{
		int			order = compare_entry(part, key);

		if (order >= 0)
		{
			part->answered++;
			return order == 0;
		}
		part->at_end = !next_entry(part);
	}
	return walk_from(part, key);
}

/*
 * Begin a walk at a key, unless the one before was not worth it.
 */
static bool
walk_from(Part *part, Datum key)
{
	if (part->walking && part->answered < WALK_WORTH)
	{
		part->walking = false;
		part->in_order = -part->reluctance;
		part->reluctance = Min(part->reluctance * 2, MAX_RELUCTANCE);
		part->equal[0].sk_argument = key;
		index_rescan(part->scan, part->equal, 1, NULL, 0);
		return next_entry(part);
	}
	part->walking = true;
	part->answered = 0;
	part->from.sk_argument = key;
	index_rescan(part->scan, &part->from, 1, NULL, 0);
	part->at_end = !next_entry(part);
	return compare_entry(part, key) == 0;
}

static bool
next_entry(Part *part)
{
	return index_getnext_slot(part->scan, ForwardScanDirection, part->slot);
}

/*
 * How the next entry compares with a key: below 0 where it comes before.
 */
static int
compare_entry(Part *part, Datum key)
{
	bool		isnull;
	Datum		entry;

	if (part->at_end)
		return 1;
	entry = slot_getattr(part->slot, part->attnums[0], &isnull);
	if (isnull)
		return 1;				/* they come last, or are not found */
	return DatumGetInt32(FunctionCall2Coll(&part->compare, part->from.sk_collation,
										   entry, key));
}
