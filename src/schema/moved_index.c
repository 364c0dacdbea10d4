/*-------------------------------------------------------------------------
 *
 * moved_index.c
 *	  What a join table's indexes and constraints are for a column.
 *
 * The column that a join table becomes gets an index where it refers to
 * another table, for whoever deletes a row there, or where the join table has
 * one to find rows by.  A unique index of the join table that has the column
 * in it becomes a unique one: rows without a value are NULL in it, and so in
 * nobody's way.  One that has the target's whole key in it says nothing that
 * the target's own key does not say.
 *
 * What cannot be moved is told: checks, which a row without a value might not
 * pass; exclusion constraints, what is checked at commit, partial indexes and
 * those with expressions.
 *
 * A unique index of a partitioned table must have the partition key in it;
 * where it has not, it cannot be moved either.
 *
 * Which indexes are wanted and which are there is read from the catalog each
 * time.  An index knows what it is by its name, as in twin_index.c, until the
 * migration ends; index_work.c makes it.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/index.h"
#include "catalog/pg_am.h"
#include "catalog/pg_class.h"
#include "catalog/pg_constraint.h"
#include "catalog/pg_index.h"
#include "catalog/pg_type.h"
#include "commands/defrem.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/relcache.h"

#include "catalog/step.h"
#include "schema/constraint_change.h"
#include "schema/join_table.h"
#include "schema/moved_index.h"
#include "schema/relation.h"
#include "schema/twin_index.h"
#include "util/ident.h"
#include "util/spi.h"

/* What an index of the join table is for the column. */
typedef enum Movable
{
	NEEDLESS,					/* nothing, or the target's key says it */
	PLAIN,						/* rows are found by the column */
	UNIQUE,
	UNIQUE_IN_PARTS,			/* that, but it lacks the partition key: rows
								 * are found by it, and no more */
	NOT_MOVABLE
} Movable;

static Movable movable(Relation index, ZdmMirrorRule *rule, List **columns);
static bool is_simple(Relation index);
static bool is_whole(Relation index);
static List *target_columns(Relation index, ZdmMirrorRule *rule, bool *has_value,
							bool *has_key);
static bool leads(List *columns, List *values);
static bool refers(Oid relid, List *columns);
static bool may_be_unique(Oid relid, List *columns);
static ZdmWantedIndex *wanted(ZdmMirrorRule *rule, List *columns, bool unique);
static bool is_there(Relation target, const ZdmWantedIndex *index, Oid made);
static Oid	made_index(int64 migration, const ZdmWantedIndex *index);
static char *final_name(const ZdmWantedIndex *index, Oid table, List *taken);
static ZdmStep *rename_step(Oid table, const char *from, const char *to);
static ZdmStep *constraint_step(const ZdmWantedIndex *index, const char *made, const char *name);

/*
 * The indexes (ZdmWantedIndex *) that the first table is to have, but for those
 * that it has already, under another name.
 */
List *
zdm_moved_indexes(int64 migration, ZdmMirrorRule *rule)
{
	Relation	target = table_open(rule->first, AccessShareLock);
	Relation	join = table_open(rule->second, AccessShareLock);
	List	   *values = list_truncate(list_copy(rule->first_columns), rule->optional);
	bool		found_by = refers(rule->second, list_truncate(list_copy(rule->second_columns), rule->optional));
	List	   *all = NIL;
	List	   *result = NIL;
	ListCell   *lc;

	foreach(lc, RelationGetIndexList(join))
	{
		Relation	index = index_open(lfirst_oid(lc), AccessShareLock);
		List	   *columns;
		Movable		kind = movable(index, rule, &columns);

		found_by |= (kind == PLAIN || kind == UNIQUE_IN_PARTS) && leads(columns, values);
		if (kind == UNIQUE)
			all = lappend(all, wanted(rule, columns, true));
		index_close(index, AccessShareLock);
	}
	foreach(lc, all)
		found_by &= !leads(((ZdmWantedIndex *) lfirst(lc))->columns, values);
	if (found_by)
		all = lappend(all, wanted(rule, values, false));
	foreach(lc, all)
	{
		if (!is_there(target, lfirst(lc), made_index(migration, lfirst(lc))))
			result = lappend(result, lfirst(lc));
	}
	table_close(join, AccessShareLock);
	table_close(target, AccessShareLock);
	return result;
}

static Movable
movable(Relation index, ZdmMirrorRule *rule, List **columns)
{
	Form_pg_index form = index->rd_index;
	bool		simple = is_simple(index);
	bool		has_value,
				has_key;

	*columns = target_columns(index, rule, &has_value, &has_key);
	if (!form->indisvalid)
		return NEEDLESS;
	if (!form->indisunique && !form->indisexclusion)
		return simple && has_value ? PLAIN : NEEDLESS;
	/* With a column that goes, what it demands goes, too. */
	if (has_key || *columns == NIL)
		return simple && has_value ? PLAIN : NEEDLESS;
	if (!simple || !has_value)
		return NOT_MOVABLE;
	return may_be_unique(rule->first, *columns) ? UNIQUE : UNIQUE_IN_PARTS;
}

/*
 * Whether the column's type and collation say all that there is to say about
 * the index.
 */
static bool
is_simple(Relation index)
{
	Form_pg_index form = index->rd_index;

	if (!is_whole(index) || index->rd_rel->relam != BTREE_AM_OID || !form->indimmediate ||
		form->indisexclusion || form->indnullsnotdistinct)
		return false;
	for (int i = 0; i < form->indnkeyatts; i++)
	{
		Oid			type,
					collation;
		int32		typmod;

		get_atttypetypmodcoll(form->indrelid, form->indkey.values[i], &type, &typmod, &collation);
		if (index->rd_indcollation[i] != collation ||
			index->rd_opfamily[i] != get_opclass_family(GetDefaultOpClass(type, BTREE_AM_OID)))
			return false;
	}
	return true;
}

/*
 * Neither partial nor with expressions, as it is stored: the relcache would
 * simplify these, and so run a user's functions as whoever we are.
 */
static bool
is_whole(Relation index)
{
	return heap_attisnull(index->rd_indextuple, Anum_pg_index_indpred, NULL) &&
		heap_attisnull(index->rd_indextuple, Anum_pg_index_indexprs, NULL);
}

/*
 * What the columns of an index are called in the target; NIL where one of
 * them is let go.
 */
static List *
target_columns(Relation index, ZdmMirrorRule *rule, bool *has_value, bool *has_key)
{
	List	   *result = NIL;
	int			keys = 0;

	*has_value = false;
	*has_key = false;
	for (int i = 0; i < index->rd_index->indnkeyatts; i++)
	{
		AttrNumber	attnum = index->rd_index->indkey.values[i];
		char	   *name = attnum == 0 ? NULL
			: get_attname(index->rd_index->indrelid, attnum, false);
		char	   *there = NULL;
		ListCell   *here,
				   *first;

		forboth(here, rule->second_keys, first, rule->first_keys)
		{
			if (name != NULL && strcmp(lfirst(here), name) == 0)
			{
				there = lfirst(first);
				keys++;
			}
		}
		forboth(here, rule->second_columns, first, rule->first_columns)
		{
			if (name == NULL || strcmp(lfirst(here), name) != 0)
				continue;
			there = lfirst(first);
			*has_value |= foreach_current_index(here) < rule->optional;
		}
		if (there == NULL && name != NULL)
			return NIL;
		result = lappend(result, there);
	}
	*has_key = keys == list_length(rule->second_keys);
	return result;
}

/* In any order. */
static bool
leads(List *columns, List *values)
{
	ListCell   *value;

	foreach(value, values)
	{
		bool		found = false;
		ListCell   *lc;

		foreach(lc, columns)
			found |= foreach_current_index(lc) < list_length(values) &&
			lfirst(lc) != NULL && strcmp(lfirst(lc), lfirst(value)) == 0;
		if (!found)
			return false;
	}
	return true;
}

static bool
refers(Oid relid, List *columns)
{
	Relation	rel = table_open(relid, AccessShareLock);
	bool		result = zdm_reference_of(rel, columns) != NULL;

	table_close(rel, AccessShareLock);
	return result;
}

/*
 * Whether a partitioned table, and each below it, has its partition key in the
 * columns; any other may.
 */
static bool
may_be_unique(Oid relid, List *columns)
{
	static const char *const sql =
		"SELECT p.partrelid::pg_catalog.text FROM pg_catalog.pg_partitioned_table p,"
		" pg_catalog.unnest(p.partattrs::pg_catalog.int2[]) k(attnum)"
		" WHERE p.partrelid OPERATOR(pg_catalog.=) $1 AND NOT EXISTS (SELECT FROM pg_catalog.pg_attribute a"
		" WHERE a.attrelid OPERATOR(pg_catalog.=) p.partrelid AND a.attnum OPERATOR(pg_catalog.=) k.attnum"
		" AND a.attname::pg_catalog.text OPERATOR(pg_catalog.=) ANY ($2))";
	ListCell   *lc;

	foreach(lc, zdm_table_and_partitions(relid))
	{
		if (get_rel_relkind(lfirst_oid(lc)) == RELKIND_PARTITIONED_TABLE &&
			zdm_query_strings(sql, ZDM_ARGS(ZDM_ARG(OIDOID, ObjectIdGetDatum(lfirst_oid(lc))),
											zdm_arg_texts(columns))) != NIL)
			return false;
	}
	return true;
}

static ZdmWantedIndex *
wanted(ZdmMirrorRule *rule, List *columns, bool unique)
{
	ZdmWantedIndex *index = palloc0_object(ZdmWantedIndex);

	index->table = rule->first;
	index->columns = columns;
	index->unique = unique;
	return index;
}

/*
 * The index that the migration has made, valid or not; InvalidOid where it is
 * only explained.
 */
static Oid
made_index(int64 migration, const ZdmWantedIndex *index)
{
	return migration == 0 ? InvalidOid
		: zdm_twin_index_named(index->table, zdm_wanted_index_name(migration, index));
}

/*
 * Whether somebody has made one that does the same.
 */
static bool
is_there(Relation target, const ZdmWantedIndex *wanted, Oid made)
{
	bool		result = false;
	ListCell   *lc;

	foreach(lc, RelationGetIndexList(target))
	{
		Relation	index = index_open(lfirst_oid(lc), AccessShareLock);
		Form_pg_index form = index->rd_index;
		List	   *columns = NIL;

		for (int i = 0; i < form->indnkeyatts; i++)
			columns = lappend(columns, form->indkey.values[i] == 0 ? NULL
							  : get_attname(form->indrelid, form->indkey.values[i], false));
		result |= lfirst_oid(lc) != made && form->indisvalid &&
			heap_attisnull(index->rd_indextuple, Anum_pg_index_indpred, NULL) && leads(columns, wanted->columns) &&
			(!wanted->unique || (form->indisunique && form->indimmediate &&
								 form->indnkeyatts == list_length(wanted->columns)));
		index_close(index, AccessShareLock);
	}
	return result;
}

/*
 * For people: what makes it.
 */
char *
zdm_moved_index_sql(int64 migration, const ZdmWantedIndex *index)
{
	ZdmIndexWork work = {
		.kind = ZDM_INDEX_BUILD,
		.table = index->table,
		.wanted = index,
		.name = migration == 0 ? NULL : zdm_wanted_index_name(migration, index),
	};

	return psprintf("%s%s", zdm_wanted_index_sql(&work),
					get_rel_relkind(index->table) == RELKIND_PARTITIONED_TABLE
					? " -- partition by partition" : "");
}

/*
 * The steps that give those that are there, and their partitions', their names
 * for good; a unique one becomes the constraint that it was in the join table.
 */
List *
zdm_moved_index_final_steps(int64 migration, List *indexes)
{
	List	   *steps = NIL;
	List	   *taken = NIL;
	ListCell   *lc,
			   *part;

	foreach(lc, indexes)
	{
		ZdmWantedIndex *index = lfirst(lc);
		bool		partitioned = get_rel_relkind(index->table) == RELKIND_PARTITIONED_TABLE;
		Oid			made = made_index(migration, index);
		char	   *name = final_name(index, index->table, taken);
		char	   *from = OidIsValid(made) ? get_rel_name(made) : psprintf("~zdm_..._%s", name);

		if (migration != 0 && (!OidIsValid(made) || !zdm_index_is_valid(made)))
			continue;
		taken = lappend(taken, name);
		if (!index->unique || partitioned)
			steps = lappend(steps, rename_step(index->table, from, name));
		foreach(part, OidIsValid(made) ? list_delete_first(zdm_table_and_partitions(made)) : NIL)
		{
			Oid			table = IndexGetRelation(lfirst_oid(part), false);

			if (!zdm_is_twin_name(get_rel_name(lfirst_oid(part)), migration))
				continue;
			taken = lappend(taken, final_name(index, table, taken));
			steps = lappend(steps, rename_step(table, get_rel_name(lfirst_oid(part)), llast(taken)));
		}
		if (index->unique)
			steps = lappend(steps, constraint_step(index, from, name));
	}
	return steps;
}

/*
 * As the server names an index, and none that is given to another one before.
 */
static char *
final_name(const ZdmWantedIndex *index, Oid table, List *taken)
{
	const char *label = index->unique ? "key" : "idx";
	char	   *columns = zdm_join(index->columns, "_");

	for (int pass = 0;; pass++)
	{
		char	   *name = makeObjectName(get_rel_name(table), columns,
										  pass == 0 ? label : psprintf("%s%d", label, pass));

		if (!zdm_is_among(taken, name) && !zdm_is_taken(get_rel_namespace(table), name) &&
			!(index->unique && ConstraintNameExists(name, get_rel_namespace(table))))
			return name;
	}
}

static ZdmStep *
rename_step(Oid table, const char *from, const char *to)
{
	return zdm_step_on(table, ZDM_STEP_DDL, AccessExclusiveLock, "give its index its name",
					   psprintf("ALTER INDEX %s RENAME TO %s",
								quote_qualified_identifier(get_namespace_name(get_rel_namespace(table)), from),
								quote_identifier(to)));
}

/*
 * A partitioned table's has its name by then.
 */
static ZdmStep *
constraint_step(const ZdmWantedIndex *index, const char *made, const char *name)
{
	static const char *const description = "make its index a constraint";
	ZdmDemand	demand = {.type = CONSTRAINT_UNIQUE,.unique = true};
	ZdmStep    *step;

	if (get_rel_relkind(index->table) != RELKIND_PARTITIONED_TABLE)
		return zdm_step_on(index->table, ZDM_STEP_DDL, AccessExclusiveLock, description,
						   psprintf("ALTER TABLE %s ADD CONSTRAINT %s UNIQUE USING INDEX %s",
									zdm_quote_relation(index->table), quote_identifier(name),
									quote_identifier(made)));
	step = zdm_demand_step(index->table, name, &demand);
	step->description = pstrdup(description);
	return step;
}

/*
 * The join table's constraints and unique indexes (char *) that the first
 * table does not get.
 */
List *
zdm_not_moved(ZdmMirrorRule *rule)
{
	Relation	join = table_open(rule->second, AccessShareLock);
	List	   *result;
	ListCell   *lc;

	result = zdm_query_strings("SELECT c.conname FROM pg_catalog.pg_constraint c"
							   " WHERE c.conrelid OPERATOR(pg_catalog.=) $1 AND c.contype OPERATOR(pg_catalog.=) 'c'"
							   " ORDER BY c.conname",
							   ZDM_ARGS(ZDM_ARG(OIDOID, ObjectIdGetDatum(rule->second))));
	foreach(lc, RelationGetIndexList(join))
	{
		Relation	index = index_open(lfirst_oid(lc), AccessShareLock);
		List	   *columns;
		Movable		kind = movable(index, rule, &columns);

		if (kind == NOT_MOVABLE || kind == UNIQUE_IN_PARTS)
			result = lappend(result, pstrdup(RelationGetRelationName(index)));
		index_close(index, AccessShareLock);
	}
	table_close(join, AccessShareLock);
	return result;
}
