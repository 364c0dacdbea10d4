/*-------------------------------------------------------------------------
 *
 * relation.c
 *	  What a table is in the database: its partitions, owner, size and name.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/relation.h"
#include "access/table.h"
#include "catalog/partition.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "storage/bufmgr.h"
#include "storage/lmgr.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"

#include "catalog/mirror_rule.h"
#include "catalog/sync_rule.h"
#include "schema/relation.h"
#include "util/ident.h"

static List *second_storage(List *mirrors, bool unproved);

/*
 * The table, or the partitioned one that it is a part of.
 */
Oid
zdm_root_table(Oid relid)
{
	return get_rel_relispartition(relid) ? llast_oid(get_partition_ancestors(relid)) : relid;
}

/*
 * The relation, under AccessShareLock where that can be had at once; NULL
 * where it cannot, or there is none.
 */
Relation
zdm_open_if_free(Oid relid)
{
	Relation	rel;

	if (!ConditionalLockRelationOid(relid, AccessShareLock))
		return NULL;
	rel = try_relation_open(relid, NoLock);
	if (rel == NULL)
		UnlockRelationOid(relid, AccessShareLock);
	return rel;
}

/*
 * The table and, where it is partitioned, all below it.  No locks are taken:
 * the caller has them, or looks again once he has.
 */
List *
zdm_table_and_partitions(Oid relid)
{
	return find_all_inheritors(relid, NoLock, NULL);
}

/*
 * Those of them that hold rows.
 */
List *
zdm_storage_relations(Oid relid)
{
	List	   *result = NIL;
	ListCell   *lc;

	foreach(lc, zdm_table_and_partitions(relid))
	{
		if (get_rel_relkind(lfirst_oid(lc)) == RELKIND_RELATION)
			result = lappend_oid(result, lfirst_oid(lc));
	}
	return result;
}

/*
 * The tables that a migration works on, with their partitions.
 */
List *
zdm_migration_tables(ZdmMigration *migration)
{
	List	   *result = zdm_table_and_partitions(migration->relation);
	ListCell   *lc;

	foreach(lc, migration->others)
		result = list_concat_unique_oid(result, zdm_table_and_partitions(lfirst_oid(lc)));
	return result;
}

/*
 * What holds the rows of the tables that it has sync rules on, and of the
 * first of two that mirror each other: what is backfilled, and compared.
 */
List *
zdm_synced_storage(ZdmMigration *migration)
{
	List	   *result = NIL;
	ListCell   *lc;

	foreach(lc, zdm_rules_tables(migration->rules))
		result = list_concat_unique_oid(result, zdm_storage_relations(lfirst_oid(lc)));
	foreach(lc, migration->mirrors)
	{
		ZdmMirrorRule *rule = lfirst(lc);

		result = list_concat_unique_oid(result, zdm_storage_relations(rule->first));
	}
	return result;
}

/*
 * The same of the second tables, whose rows must have one in the first.
 */
List *
zdm_mirrored_storage(ZdmMigration *migration)
{
	return second_storage(migration->mirrors, false);
}

/*
 * What is compared in the migrate phase, and has been when a side goes: of
 * second tables those that go themselves, unless a foreign key says that
 * their rows have one in the first.
 */
List *
zdm_compared_storage(ZdmMigration *migration)
{
	return list_concat(zdm_synced_storage(migration), second_storage(migration->mirrors, true));
}

static List *
second_storage(List *mirrors, bool unproved)
{
	List	   *result = NIL;
	ListCell   *lc;

	foreach(lc, mirrors)
	{
		ZdmMirrorRule *rule = lfirst(lc);

		if (!unproved || !(rule->fills_second || rule->referencing))
			result = list_concat_unique_oid(result, zdm_storage_relations(rule->second));
	}
	return result;
}

/*
 * Whether a relation of that name cannot be made, for there is one, or a type.
 */
bool
zdm_is_taken(Oid schema, const char *name)
{
	return OidIsValid(get_relname_relid(name, schema)) ||
		SearchSysCacheExists2(TYPENAMENSP, CStringGetDatum(name), ObjectIdGetDatum(schema));
}

/*
 * A name made from another for a relation that is in the way, free in both
 * schemas.
 */
char *
zdm_free_name(Oid schema, Oid other_schema, const char *name)
{
	char	   *result = zdm_default_name("~zdm_%s", name);

	for (int i = 1; zdm_is_taken(schema, result) || zdm_is_taken(other_schema, result); i++)
		result = zdm_default_name("~zdm%d_%s", i, name);
	return result;
}

Oid
zdm_table_owner(Oid relid)
{
	HeapTuple	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(relid));
	Oid			owner;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for relation %u", relid);
	owner = ((Form_pg_class) GETSTRUCT(tuple))->relowner;
	ReleaseSysCache(tuple);
	return owner;
}

/*
 * The planner's estimate of the rows, and the bytes in the heap, of a table
 * with its partitions.
 */
void
zdm_table_size(Oid relid, int64 *rows, int64 *bytes)
{
	List	   *relids = zdm_storage_relations(relid);
	ListCell   *lc;

	*rows = 0;
	*bytes = 0;
	foreach(lc, relids)
	{
		Relation	rel = table_open(lfirst_oid(lc), AccessShareLock);

		if (rel->rd_rel->reltuples > 0)
			*rows += (int64) rel->rd_rel->reltuples;
		*bytes += (int64) RelationGetNumberOfBlocks(rel) * BLCKSZ;
		table_close(rel, AccessShareLock);
	}
}
