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
 * Which indexes are wanted and which are there is read from the catalog each
 * time.  An index knows what it is by its name, as in twin_index.c, until the
 * migration ends.  Of a partitioned table none is made.
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
#include "catalog/pg_index.h"
#include "catalog/pg_type.h"
#include "commands/defrem.h"
#include "lib/stringinfo.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/relcache.h"

#include "schema/join_table.h"
#include "schema/moved_index.h"
#include "schema/twin_index.h"
#include "util/ident.h"
#include "util/spi.h"

/* What an index of the join table is for the column. */
typedef enum Movable
{
	NEEDLESS,					/* nothing, or the target's key says it */
	PLAIN,						/* rows are found by the column */
	UNIQUE,
	NOT_MOVABLE
} Movable;

static Movable movable(Relation index, ZdmMirrorRule *rule, List **columns);
static bool is_simple(Relation index);
static bool is_whole(Relation index);
static List *target_columns(Relation index, ZdmMirrorRule *rule, bool *has_value,
							bool *has_key);
static bool leads(List *columns, List *values);
static bool refers(Oid relid, List *columns);
static ZdmMovedIndex *wanted(int64 migration, ZdmMirrorRule *rule, List *columns,
							 bool unique);
static bool is_there(Relation target, const ZdmMovedIndex *index);
static char *columns_sql(List *columns, const char *separator, bool quote);

/*
 * The indexes (ZdmMovedIndex *) that the first table is to have, but for those
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

		found_by |= kind == PLAIN && leads(columns, values);
		if (kind == UNIQUE)
			all = lappend(all, wanted(migration, rule, columns, true));
		index_close(index, AccessShareLock);
	}
	foreach(lc, all)
		found_by &= !leads(((ZdmMovedIndex *) lfirst(lc))->columns, values);
	if (found_by)
		all = lappend(all, wanted(migration, rule, values, false));
	foreach(lc, all)
	{
		if (target->rd_rel->relkind == RELKIND_RELATION && !is_there(target, lfirst(lc)))
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
	return simple && has_value ? UNIQUE : NOT_MOVABLE;
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

static ZdmMovedIndex *
wanted(int64 migration, ZdmMirrorRule *rule, List *columns, bool unique)
{
	ZdmMovedIndex *index = palloc0_object(ZdmMovedIndex);
	char	   *name = makeObjectName(get_rel_name(rule->first), columns_sql(columns, "_", false),
									  unique ? "key" : "idx");

	index->table = rule->first;
	index->columns = columns;
	index->unique = unique;
	if (migration == 0)
		return index;
	index->name = zdm_twin_index_name(migration, name);
	index->made = zdm_twin_index_named(rule->first, index->name);
	if (OidIsValid(index->made))
		index->valid = get_index_isvalid(index->made);
	return index;
}

/*
 * Whether somebody has made one that does the same.
 */
static bool
is_there(Relation target, const ZdmMovedIndex *wanted)
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
		result |= lfirst_oid(lc) != wanted->made && form->indisvalid &&
			heap_attisnull(index->rd_indextuple, Anum_pg_index_indpred, NULL) && leads(columns, wanted->columns) &&
			(!wanted->unique || (form->indisunique && form->indimmediate &&
								 form->indnkeyatts == list_length(wanted->columns)));
		index_close(index, AccessShareLock);
	}
	return result;
}

static char *
columns_sql(List *columns, const char *separator, bool quote)
{
	StringInfoData sql;
	ListCell   *lc;

	initStringInfo(&sql);
	foreach(lc, columns)
		appendStringInfo(&sql, "%s%s", sql.len ? separator : "",
						 quote ? quote_identifier(lfirst(lc)) : (char *) lfirst(lc));
	return sql.data;
}

char *
zdm_moved_index_sql(const ZdmMovedIndex *index)
{
	return psprintf("CREATE %sINDEX CONCURRENTLY %s%sON %s (%s)", index->unique ? "UNIQUE " : "",
					index->name ? quote_identifier(index->name) : "", index->name ? " " : "",
					zdm_quote_relation(index->table), columns_sql(index->columns, ", ", true));
}

/*
 * What is to be run next for one that is not there: the build, or before that
 * the removal of what an attempt has left.
 */
ZdmStatement *
zdm_moved_index_statement(const ZdmMovedIndex *index)
{
	ZdmStatement *statement;

	if (OidIsValid(index->made))
		return zdm_statement_drop_index(index->made);
	statement = zdm_statement_parse(zdm_moved_index_sql(index));
	statement->indexed = index->table;
	return statement;
}

/*
 * What gives one that is there its name for good; a unique one becomes the
 * constraint that it was in the join table.
 */
char *
zdm_moved_index_final_sql(const ZdmMovedIndex *index)
{
	Oid			schema = get_rel_namespace(index->table);
	char	   *name = ChooseRelationName(get_rel_name(index->table),
										  columns_sql(index->columns, "_", false),
										  index->unique ? "key" : "idx", schema, index->unique);
	char	   *made = index->name ? index->name : psprintf("~zdm_..._%s", name);

	if (index->unique)
		return psprintf("ALTER TABLE %s ADD CONSTRAINT %s UNIQUE USING INDEX %s",
						zdm_quote_relation(index->table), quote_identifier(name),
						quote_identifier(made));
	return psprintf("ALTER INDEX %s RENAME TO %s",
					quote_qualified_identifier(get_namespace_name(schema), made),
					quote_identifier(name));
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

		if (kind == NOT_MOVABLE ||
			(kind == UNIQUE && get_rel_relkind(rule->first) == RELKIND_PARTITIONED_TABLE))
			result = lappend(result, pstrdup(RelationGetRelationName(index)));
		index_close(index, AccessShareLock);
	}
	table_close(join, AccessShareLock);
	return result;
}
