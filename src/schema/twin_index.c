/*-------------------------------------------------------------------------
 *
 * twin_index.c
 *	  The indexes of a twin column.
 *
 * For each index that has the column in it, the twin gets one like it, so
 * that a query by the twin's name is as fast.  What is missing is read from
 * the catalog each time; nothing is stored.  An index knows what it is by its
 * name, which is made from the migration's id and its source's name, and so
 * is the same after a dump and restore.
 *
 * How one that is missing is made says index_work.c.  A partition that is added
 * meanwhile may get its index from the server, attached, under any name: so an
 * index that belongs to one of ours is ours, too.
 *
 * The new indexes are plain ones.  What a constraint demands of the column
 * holds for the twin, as both have the same values; a unique index makes
 * the twin fit for ON CONFLICT, and is made where the caller asks for it.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/relation.h"
#include "access/sysattr.h"
#include "access/table.h"
#include "catalog/index.h"
#include "catalog/partition.h"
#include "catalog/pg_class.h"
#include "catalog/pg_index.h"
#include "catalog/pg_inherits.h"
#include "mb/pg_wchar.h"
#include "nodes/value.h"
#include "optimizer/optimizer.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"

#include "schema/relation.h"
#include "schema/twin_constraint.h"
#include "schema/twin_index.h"
#include "util/compat.h"

#define NAME_PREFIX		"~zdm_"

static bool is_source(Relation index, AttrNumber column, AttrNumber twin);
static Node *stored_tree(Relation index, AttrNumber which);
static bool has_reserved_name(Oid index, int64 migration);
static uint64 hash_name(const char *name);
static void add_names(int64 migration, Oid source, List **names);

/*
 * The indexes (oids, in their order) that have the column in them, but not
 * the twin, which need not exist yet.  Of a partitioned index the topmost.
 * Left out are those that are of no use themselves, those of zdm, and those
 * with an expression over the whole row, which has no twin.
 */
List *
zdm_twin_index_sources(Oid relid, const char *column, const char *twin)
{
	List	   *result = NIL;
	ListCell   *lc,
			   *item;

	foreach(lc, zdm_table_and_partitions(relid))
	{
		Relation	table = try_relation_open(lfirst_oid(lc), AccessShareLock);

		if (table == NULL)
			continue;
		foreach(item, RelationGetIndexList(table))
		{
			Relation	index = try_relation_open(lfirst_oid(item), AccessShareLock);

			if (index == NULL)
				continue;
			if (is_source(index, get_attnum(RelationGetRelid(table), column),
						  get_attnum(RelationGetRelid(table), twin)))
				result = lappend_oid(result, lfirst_oid(item));
			relation_close(index, AccessShareLock);
		}
		relation_close(table, AccessShareLock);
	}
	list_sort(result, list_oid_cmp);
	return result;
}

static bool
is_source(Relation index, AttrNumber column, AttrNumber twin)
{
	Form_pg_index form = index->rd_index;
	Bitmapset  *columns = NULL;

	if (index->rd_rel->relispartition ||
		has_reserved_name(RelationGetRelid(index), 0))
		return false;
	if (index->rd_rel->relkind == RELKIND_INDEX && !form->indisvalid)
		return false;
	for (int i = 0; i < form->indnatts; i++)
		columns = bms_add_member(columns, form->indkey.values[i] -
								 FirstLowInvalidHeapAttributeNumber);
	/* The 0 that stands for an expression means the whole row below. */
	columns = bms_del_member(columns, -FirstLowInvalidHeapAttributeNumber);
	pull_varattnos(stored_tree(index, Anum_pg_index_indexprs), 1, &columns);
	pull_varattnos(stored_tree(index, Anum_pg_index_indpred), 1, &columns);
	return column > 0 &&
		bms_is_member(column - FirstLowInvalidHeapAttributeNumber, columns) &&
		!bms_is_member(-FirstLowInvalidHeapAttributeNumber, columns) &&
		!(twin > 0 &&
		  bms_is_member(twin - FirstLowInvalidHeapAttributeNumber, columns));
}

/*
 * Expressions or predicate as they are stored.  The relcache would simplify
 * them, and so might run a user's functions as whoever we are.
 */
static Node *
stored_tree(Relation index, AttrNumber which)
{
	bool		isnull;
	Datum		tree = SysCacheGetAttr(INDEXRELID, index->rd_indextuple, which,
									   &isnull);

	return isnull ? NULL : stringToNode(TextDatumGetCString(tree));
}

/*
 * Whether an index is one that this migration made for a twin, or belongs to
 * one.
 */
bool
zdm_is_twin_index(Oid index, int64 migration)
{
	ListCell   *lc;

	if (has_reserved_name(index, migration))
		return true;
	if (!get_rel_relispartition(index))
		return false;
	foreach(lc, get_partition_ancestors(index))
	{
		if (has_reserved_name(lfirst_oid(lc), migration))
			return true;
	}
	return false;
}

/*
 * Whether it has a name of this migration, or (0) of any.
 */
static bool
has_reserved_name(Oid index, int64 migration)
{
	const char *name = get_rel_name(index);

	return name != NULL && zdm_is_twin_name(name, migration);
}

bool
zdm_is_twin_name(const char *name, int64 migration)
{
	size_t		digits;

	if (strncmp(name, NAME_PREFIX, strlen(NAME_PREFIX)) != 0)
		return false;
	name += strlen(NAME_PREFIX);
	digits = strspn(name, "0123456789");
	return digits > 0 && name[digits] == '_' &&
		(migration == 0 || strtoll(name, NULL, 10) == migration);
}

/*
 * The name of the twin's index.  One that is too long is cut at a character's
 * end, and told from others by a hash of the source's whole name.
 */
char *
zdm_twin_index_name(int64 migration, const char *source)
{
	char	   *name = psprintf(NAME_PREFIX INT64_FORMAT "_%s", migration, source);
	char	   *hash;
	int			len;

	if (strlen(name) < NAMEDATALEN)
		return name;
	hash = psprintf("_%08x%08x", (uint32) (hash_name(source) >> 32),
					(uint32) hash_name(source));
	len = pg_mbcliplen(name, (int) strlen(name),
					   NAMEDATALEN - 1 - (int) strlen(hash));
	name[len] = '\0';
	return psprintf("%s%s", name, hash);
}

/*
 * FNV-1a: the same on every machine, as the server's own hashes are not.
 */
static uint64
hash_name(const char *name)
{
	uint64		hash = UINT64CONST(0xcbf29ce484222325);

	for (; *name != '\0'; name++)
		hash = (hash ^ (unsigned char) *name) * UINT64CONST(0x100000001b3);
	return hash;
}

/*
 * Everything (ZdmIndexWork *) that is to be done for them at this time, in
 * order, as zdm_index_work() has it.
 */
List *
zdm_twin_index_work(int64 migration, Oid relid, const char *column,
					const char *twin)
{
	List	   *wanted = NIL;
	ListCell   *lc;

	foreach(lc, zdm_twin_index_sources(relid, column, twin))
	{
		ZdmWantedIndex *index = palloc0_object(ZdmWantedIndex);

		index->source = lfirst_oid(lc);
		index->table = IndexGetRelation(index->source, true);
		wanted = lappend(wanted, index);
	}
	return zdm_index_work(migration, wanted);
}

/*
 * The index of that name, if the table has one.
 */
Oid
zdm_twin_index_named(Oid table, const char *name)
{
	Oid			found = get_relname_relid(name, get_rel_namespace(table));

	return OidIsValid(found) && IndexGetRelation(found, true) == table ?
		found : InvalidOid;
}

/*
 * The migration's indexes (oids) of a table whose source, for any of the pairs
 * that are on it, is gone or has another name now: of no use, and a unique one
 * demands what nobody asks for any more.  Of a partitioned index the topmost.
 */
List *
zdm_twin_index_orphans(int64 migration, Oid relid, List *pairs)
{
	List	   *names = NIL;
	List	   *result = NIL;
	ListCell   *lc,
			   *item;

	foreach(lc, pairs)
	{
		ZdmPair    *pair = lfirst(lc);

		if (pair->relation != relid)
			continue;
		foreach(item, zdm_twin_index_sources(relid, pair->from, pair->to))
			add_names(migration, lfirst_oid(item), &names);
	}
	foreach(lc, zdm_table_and_partitions(relid))
	{
		Relation	table = try_relation_open(lfirst_oid(lc), AccessShareLock);

		if (table == NULL)
			continue;
		foreach(item, RelationGetIndexList(table))
		{
			Oid			index = lfirst_oid(item);

			if (has_reserved_name(index, migration) &&
				!get_rel_relispartition(index) &&
				!list_member(names, makeString(get_rel_name(index))))
				result = lappend_oid(result, index);
		}
		relation_close(table, AccessShareLock);
	}
	return result;
}

/* The names of the twins of an index, and of those that belong to it. */
static void
add_names(int64 migration, Oid source, List **names)
{
	char	   *name = get_rel_name(source);
	ListCell   *lc;

	if (name == NULL)
		return;
	*names = lappend(*names, makeString(zdm_twin_index_name(migration, name)));
	foreach(lc, find_inheritance_children(source, NoLock))
		add_names(migration, lfirst_oid(lc), names);
}
