/*-------------------------------------------------------------------------
 *
 * index_work.c
 *	  What is to be done for an index that a table, with its partitions, lacks.
 *
 * A partitioned index is made as the server's documentation has it: the
 * partitions' own concurrently, then the parents' alone, which is a matter of
 * the catalog, from the lowest up; then each is attached to its parent, which
 * makes the parent valid.  What is missing is read from the catalog each time,
 * so that it does not matter where an attempt has ended, and which partitions
 * have come or gone since.
 *
 * An index is found by its name, or, where the server has made it for a
 * partition, by the parent's that it belongs to.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/index.h"
#include "catalog/partition.h"
#include "catalog/pg_class.h"
#include "catalog/pg_index.h"
#include "catalog/pg_inherits.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

#include "schema/index_work.h"
#include "schema/twin_index.h"
#include "util/ident.h"
#include "util/lock.h"
#include "util/spi.h"
#include "util/statement.h"

/* What is to be done, in the order of the lists. */
typedef struct WorkPlan
{
	int64		migration;
	List	   *builds;
	List	   *partitioned;
	List	   *attaches;
} WorkPlan;

static void plan_index(WorkPlan *plan, const ZdmWantedIndex *wanted,
					   const ZdmWantedIndex *parent, Oid parent_made);
static void plan_partitioned(WorkPlan *plan, const ZdmWantedIndex *wanted, Oid made,
							 ZdmIndexWork *work);
static List *partitions_of(const ZdmWantedIndex *wanted);
static bool is_partitioned(const ZdmWantedIndex *wanted);
static int	planned(WorkPlan *plan);
static ZdmIndexWork *index_work(WorkPlan *plan, ZdmIndexWorkKind kind,
								const ZdmWantedIndex *wanted);
static ZdmIndexWork *attach_work(WorkPlan *plan, const ZdmWantedIndex *wanted, Oid made,
								 const ZdmWantedIndex *parent, Oid parent_made);
static char *name_of(WorkPlan *plan, const ZdmWantedIndex *wanted, Oid made);
static Oid	find_made(Oid table, const char *name, Oid parent_made);
static bool read_index(Oid index, FormData_pg_index *form);
static Oid	index_parent(Oid index);

/*
 * Everything (ZdmIndexWork *) that is to be done at this time for what is
 * wanted (ZdmWantedIndex *), in order, so that the whole list can be worked
 * through.  NIL where all is there.  Only one session at a time may go by it:
 * to anybody else an index that is being built looks like a leftover.
 */
List *
zdm_index_work(int64 migration, List *wanted)
{
	WorkPlan	plan = {.migration = migration};
	ListCell   *lc;

	foreach(lc, wanted)
		plan_index(&plan, lfirst(lc), NULL, InvalidOid);
	return list_concat(list_concat(plan.builds, plan.partitioned),
					   plan.attaches);
}

/*
 * Plan the index and those that belong to it.
 */
static void
plan_index(WorkPlan *plan, const ZdmWantedIndex *wanted, const ZdmWantedIndex *parent,
		   Oid parent_made)
{
	bool		partitioned = is_partitioned(wanted);
	Oid			made;

	/* Dropped meanwhile, or like one that is of no use */
	if (get_rel_name(wanted->table) == NULL ||
		(OidIsValid(wanted->source) && !partitioned && !zdm_index_is_valid(wanted->source)))
		return;
	made = find_made(wanted->table, zdm_wanted_index_name(plan->migration, wanted), parent_made);

	if (partitioned)
		plan_partitioned(plan, wanted, made, index_work(plan, ZDM_INDEX_PARTITIONED, wanted));
	else if (!OidIsValid(made) ||
			 (!zdm_index_is_valid(made) && !get_rel_relispartition(made)))
	{
		ZdmIndexWork *work = index_work(plan, ZDM_INDEX_BUILD, wanted);

		work->leftover = made;
		plan->builds = lappend(plan->builds, work);
	}
	if (parent != NULL &&
		!(OidIsValid(made) && OidIsValid(parent_made) && index_parent(made) == parent_made))
		plan->attaches = lappend(plan->attaches,
								 attach_work(plan, wanted, made, parent, parent_made));
}

/*
 * The same for a partitioned one, which is made already, or which work makes.
 */
static void
plan_partitioned(WorkPlan *plan, const ZdmWantedIndex *wanted, Oid made, ZdmIndexWork *work)
{
	int			before = planned(plan);
	List	   *attached;
	ListCell   *lc;

	foreach(lc, partitions_of(wanted))
		plan_index(plan, lfirst(lc), wanted, made);
	if (!OidIsValid(made))
	{
		plan->partitioned = lappend(plan->partitioned, work);
		return;
	}

	/*
	 * All that it lacked may have gone with a partition.  To attach one again
	 * that is attached makes the server look.
	 */
	if (planned(plan) == before && !zdm_index_is_valid(made) &&
		(!OidIsValid(wanted->source) || zdm_index_is_valid(wanted->source)) &&
		(attached = find_inheritance_children(made, NoLock)) != NIL)
	{
		ZdmWantedIndex *again = palloc0_object(ZdmWantedIndex);

		again->table = IndexGetRelation(linitial_oid(attached), false);
		plan->attaches = lappend(plan->attaches,
								 attach_work(plan, again, linitial_oid(attached), wanted, made));
	}
}

/*
 * What is wanted of the partitions.
 */
static List *
partitions_of(const ZdmWantedIndex *wanted)
{
	List	   *result = NIL;
	ListCell   *lc;

	foreach(lc, find_inheritance_children(OidIsValid(wanted->source) ? wanted->source
										  : wanted->table, NoLock))
	{
		ZdmWantedIndex *part = palloc_object(ZdmWantedIndex);

		*part = *wanted;
		if (OidIsValid(wanted->source))
			part->source = lfirst_oid(lc);
		part->table = OidIsValid(wanted->source) ? IndexGetRelation(lfirst_oid(lc), true)
			: lfirst_oid(lc);
		result = lappend(result, part);
	}
	return result;
}

static bool
is_partitioned(const ZdmWantedIndex *wanted)
{
	return OidIsValid(wanted->source)
		? get_rel_relkind(wanted->source) == RELKIND_PARTITIONED_INDEX
		: get_rel_relkind(wanted->table) == RELKIND_PARTITIONED_TABLE;
}

static int
planned(WorkPlan *plan)
{
	return list_length(plan->builds) + list_length(plan->partitioned) +
		list_length(plan->attaches);
}

static ZdmIndexWork *
index_work(WorkPlan *plan, ZdmIndexWorkKind kind, const ZdmWantedIndex *wanted)
{
	ZdmIndexWork *work = palloc0_object(ZdmIndexWork);

	work->kind = kind;
	work->table = wanted->table;
	work->source = wanted->source;
	work->wanted = wanted;
	work->name = zdm_wanted_index_name(plan->migration, wanted);
	return work;
}

/*
 * Attach the index (made, where it is there) to that of its parent.
 */
static ZdmIndexWork *
attach_work(WorkPlan *plan, const ZdmWantedIndex *wanted, Oid made,
			const ZdmWantedIndex *parent, Oid parent_made)
{
	ZdmIndexWork *work = palloc0_object(ZdmIndexWork);

	work->kind = ZDM_INDEX_ATTACH;
	work->table = wanted->table;
	work->source = OidIsValid(wanted->source) ? wanted->source : parent->source;
	work->wanted = wanted;
	work->name = name_of(plan, wanted, made);
	work->parent_table = parent->table;
	work->parent_name = name_of(plan, parent, parent_made);
	return work;
}

static char *
name_of(WorkPlan *plan, const ZdmWantedIndex *wanted, Oid made)
{
	return OidIsValid(made) ? get_rel_name(made) : zdm_wanted_index_name(plan->migration, wanted);
}

/*
 * The name of the index until the migration's end.
 */
char *
zdm_wanted_index_name(int64 migration, const ZdmWantedIndex *wanted)
{
	if (OidIsValid(wanted->source))
		return zdm_twin_index_name(migration, get_rel_name(wanted->source));
	return zdm_twin_index_name(migration, psprintf("%s_%s_%s", get_rel_name(wanted->table),
												   zdm_join(wanted->columns, "_"),
												   wanted->unique ? "key" : "idx"));
}

/*
 * The index on a table: what belongs to the parent's, or has the name.
 */
static Oid
find_made(Oid table, const char *name, Oid parent_made)
{
	ListCell   *lc;

	if (OidIsValid(parent_made))
	{
		foreach(lc, find_inheritance_children(parent_made, NoLock))
		{
			if (IndexGetRelation(lfirst_oid(lc), true) == table)
				return lfirst_oid(lc);
		}
	}
	return zdm_twin_index_named(table, name);
}

bool
zdm_index_is_unique(Oid index)
{
	FormData_pg_index form;

	return read_index(index, &form) && form.indisunique;
}

bool
zdm_index_is_valid(Oid index)
{
	FormData_pg_index form;

	return read_index(index, &form) && form.indisvalid;
}

/*
 * The fixed part of an index's row; returns false where it is gone.
 */
static bool
read_index(Oid index, FormData_pg_index *form)
{
	HeapTuple	tuple = SearchSysCache1(INDEXRELID, ObjectIdGetDatum(index));

	if (!HeapTupleIsValid(tuple))
		return false;
	memcpy(form, GETSTRUCT(tuple), offsetof(FormData_pg_index, indkey));
	ReleaseSysCache(tuple);
	return true;
}

static Oid
index_parent(Oid index)
{
	return get_rel_relispartition(index) ? get_partition_parent(index, true)
		: InvalidOid;
}

/*
 * The statement that makes an index of columns.  Where work has no name, it is
 * for people.
 */
char *
zdm_wanted_index_sql(const ZdmIndexWork *work)
{
	bool		alone = work->kind == ZDM_INDEX_PARTITIONED;

	return psprintf("CREATE %sINDEX %s%s%sON %s%s (%s)", work->wanted->unique ? "UNIQUE " : "",
					alone ? "" : "CONCURRENTLY ",
					work->name ? quote_identifier(work->name) : "", work->name ? " " : "",
					alone ? "ONLY " : "", zdm_quote_relation(work->table),
					zdm_column_list(work->wanted->columns));
}

/*
 * The same as a tree, in the current context; its table is to be given by oid.
 */
IndexStmt *
zdm_wanted_index_stmt(const ZdmIndexWork *work)
{
	return castNode(IndexStmt, zdm_statement_parse(zdm_wanted_index_sql(work))->tree);
}

/*
 * Take the locks, politely, that the statement takes in a transaction that
 * has no others: for a partitioned table's index, which keeps writers out for
 * a moment, and to attach one.
 */
void
zdm_index_lock(const ZdmIndexWork *work)
{
	Oid			child,
				parent;

	if (work->kind == ZDM_INDEX_PARTITIONED)
		zdm_lock_relations(list_make1_oid(work->table), ShareLock);
	if (work->kind != ZDM_INDEX_ATTACH)
		return;

	/* Tables before indexes, as everybody does. */
	zdm_lock_relations(list_make2_oid(work->parent_table, work->table),
					   AccessShareLock);
	child = zdm_twin_index_named(work->table, work->name);
	parent = zdm_twin_index_named(work->parent_table, work->parent_name);
	if (OidIsValid(parent))
		zdm_lock_relations(list_make1_oid(parent), ShareUpdateExclusiveLock);
	/* Everybody who plans a query of the partition has a lock on it. */
	if (OidIsValid(child))
		zdm_lock_relations(list_make1_oid(child), AccessExclusiveLock);
}

/*
 * Attach an index to its parent, as a superuser.
 */
void
zdm_index_attach(const ZdmIndexWork *work)
{
	Assert(work->kind == ZDM_INDEX_ATTACH);
	zdm_execute_ddl(psprintf("ALTER INDEX %s ATTACH PARTITION %s",
							 quote_qualified_identifier(get_namespace_name(get_rel_namespace(work->parent_table)),
														work->parent_name),
							 quote_qualified_identifier(get_namespace_name(get_rel_namespace(work->table)),
														work->name)));
}
