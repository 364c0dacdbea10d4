/*-------------------------------------------------------------------------
 *
 * mirror_lookup.c
 *	  Find the other table's row by an index, without a statement.
 *
 * Whoever looks up one row for each that is written or visited would find it
 * several times as dear by a statement.  It is what most second tables allow:
 * an ordinary table with a unique index on just the key, and columns of the
 * same types.  For any other the statement is there.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/skey.h"
#include "access/stratnum.h"
#include "catalog/pg_am.h"
#include "catalog/pg_class.h"
#include "catalog/pg_index.h"
#include "parser/parse_coerce.h"
#include "utils/datum.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/relcache.h"

#include "sync/mirror.h"
#include "util/compat.h"

static bool has_several(const ZdmMirror *mirror);
static bool same_types(const ZdmMirror *mirror, Relation there);
static bool use_index(ZdmMirror *mirror, Relation there, Oid index);

/*
 * Whether it can be done, by what the other table is like now.
 */
bool
zdm_mirror_can_scan(ZdmMirror *mirror, Relation there)
{
	List	   *indexes;
	bool		found = false;
	ListCell   *lc;

	if (has_several(mirror) || there->rd_rel->relkind != RELKIND_RELATION ||
		there->rd_rel->relam != HEAP_TABLE_AM_OID || !same_types(mirror, there))
		return false;
	indexes = RelationGetIndexList(there);
	if (OidIsValid(mirror->lookup_index) &&
		list_member_oid(indexes, mirror->lookup_index))
		return true;
	mirror->lookup_index = InvalidOid;
	foreach(lc, indexes)
	{
		if (!found)
			found = use_index(mirror, there, lfirst_oid(lc));
	}
	return found;
}

/*
 * Whether the other table may have several rows for a key: the second one, or
 * this one in its stead (zdm_mirror_self).
 */
static bool
has_several(const ZdmMirror *mirror)
{
	return mirror->several && mirror->is_first == (mirror->here != mirror->there);
}

static bool
same_types(const ZdmMirror *mirror, Relation there)
{
	for (int i = mirror->keys; i < mirror->count; i++)
	{
		AttrNumber	attnum = get_attnum(RelationGetRelid(there), mirror->columns[i].there);

		if (attnum <= 0 ||
			TupleDescAttr(RelationGetDescr(there), attnum - 1)->atttypid != mirror->columns[i].type)
			return false;
	}
	return true;
}

/*
 * Make the scan keys for an index, if it is one on just the key; of a
 * partition, one that begins with it.
 */
static bool
use_index(ZdmMirror *mirror, Relation there, Oid relid)
{
	Relation	index = index_open(relid, AccessShareLock);
	Form_pg_index form = index->rd_index;
	ScanKey		keys = NULL;
	int		   *values = NULL;
	bool		fits = form->indisunique && form->indisvalid && form->indimmediate &&
		index->rd_rel->relam == BTREE_AM_OID &&
		(form->indnkeyatts == mirror->keys ||
		 (mirror->of_partition && form->indnkeyatts > mirror->keys)) &&
		RelationGetIndexPredicate(index) == NIL;

	if (fits)
	{
		keys = MemoryContextAllocZero(mirror->cxt, sizeof(ScanKeyData) * mirror->keys);
		values = MemoryContextAllocZero(mirror->cxt, sizeof(int) * mirror->keys);
	}
	for (int i = 0; fits && i < mirror->keys; i++)
	{
		AttrNumber	attnum = form->indkey.values[i];
		Oid			equals = InvalidOid;

		for (int j = 0; j < mirror->keys; j++)
		{
			Oid			type = getBaseType(mirror->columns[j].type);

			if (get_attnum(RelationGetRelid(there), mirror->columns[j].there) != attnum)
				continue;
			if (type != index->rd_opcintype[i] && IsBinaryCoercible(type, index->rd_opcintype[i]))
				type = index->rd_opcintype[i];
			equals = get_opfamily_member(index->rd_opfamily[i], index->rd_opcintype[i],
										 type, BTEqualStrategyNumber);
			values[i] = j;
			if (OidIsValid(equals))
				ScanKeyEntryInitialize(&keys[i], 0, attnum, BTEqualStrategyNumber, type,
									   index->rd_indcollation[i], get_opcode(equals),
									   (Datum) 0);
		}
		fits = OidIsValid(equals);
	}
	if (fits)
	{
		mirror->lookup_index = relid;
		mirror->lookup_keys = keys;
		mirror->lookup_values = values;
	}
	index_close(index, AccessShareLock);
	return fits;
}

/*
 * Begin a scan for the row with the key.
 */
SysScanDesc
zdm_mirror_begin_scan(ZdmMirror *mirror, Relation there, const ZdmMirrorRow *row,
					  Snapshot snapshot)
{
	ScanKeyData keys[INDEX_MAX_KEYS];

	for (int i = 0; i < mirror->keys; i++)
	{
		keys[i] = mirror->lookup_keys[i];
		keys[i].sk_argument = row->values[mirror->lookup_values[i]];
	}
	return systable_beginscan(there, mirror->lookup_index, true, snapshot,
							  mirror->keys, keys);
}

/*
 * Whether a row of the other table has the key, as the index sees it.
 */
bool
zdm_mirror_has_key(const ZdmMirror *mirror, TupleTableSlot *slot, const ZdmMirrorRow *row)
{
	for (int i = 0; i < mirror->keys; i++)
	{
		ScanKey		key = &mirror->lookup_keys[i];
		bool		isnull;
		Datum		value = slot_getattr(slot, key->sk_attno, &isnull);

		if (isnull || !DatumGetBool(FunctionCall2Coll(&key->sk_func, key->sk_collation, value,
													  row->values[mirror->lookup_values[i]])))
			return false;
	}
	return true;
}
