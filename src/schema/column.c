/*-------------------------------------------------------------------------
 *
 * column.c
 *	  Which columns a migration can work on.
 *
 * As for tables (table.c), refused before anything is done, with the reason
 * and the way out: columns that cannot be migrated, and those that another
 * migration in flight works on or reads.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/sysattr.h"
#include "access/table.h"
#include "catalog/heap.h"
#include "catalog/partition.h"
#include "catalog/pg_class.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "catalog/mirror_rule.h"
#include "catalog/sync_rule.h"
#include "schema/column.h"
#include "schema/relation.h"
#include "sync/expression.h"
#include "util/compat.h"
#include "util/ident.h"
#include "util/spi.h"

static List *columns_of(ZdmMigration *migration, Oid relid);
static List *columns_read(List *rules, Oid relid);
static char *first_common(List *strings, List *others);
static int	hint_finish(ZdmMigration *migration);

/*
 * The number of the column, which must exist and be a user's.
 */
AttrNumber
zdm_check_user_column(Relation rel, const char *name)
{
	AttrNumber	attnum = get_attnum(RelationGetRelid(rel), name);

	if (attnum == InvalidAttrNumber)
		ereport(ERROR,
				errcode(ERRCODE_UNDEFINED_COLUMN),
				errmsg("column \"%s\" of relation \"%s\" does not exist", name,
					   RelationGetRelationName(rel)),
				errhint("See \\d %s.", zdm_quote_relation(RelationGetRelid(rel))));
	if (attnum < 0)
		ereport(ERROR,
				errcode(ERRCODE_INVALID_COLUMN_REFERENCE),
				errmsg("\"%s\" is a system column", name),
				errhint("Only columns of users can be migrated."));
	return attnum;
}

/*
 * Whether the column exists and can be one side of a sync rule.
 */
void
zdm_check_column(Relation rel, const char *name)
{
	AttrNumber	attnum = zdm_check_user_column(rel, name);
	Form_pg_attribute attr;

	attr = TupleDescAttr(RelationGetDescr(rel), attnum - 1);
	if (attr->attgenerated)
		ereport(ERROR,
				errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				errmsg("column \"%s\" of table \"%s\" is a generated column",
					   name, RelationGetRelationName(rel)),
				errdetail("Nobody writes it, so there is nothing to keep in sync."),
				errhint("Add a second generated column with the same expression under the new name, and drop the old one when nobody reads it any more."));
	if (zdm_is_partition_key(rel, name))
		ereport(ERROR,
				errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				errmsg("column \"%s\" is part of the partition key of table \"%s\"",
					   name, RelationGetRelationName(rel)),
				errdetail("A trigger must not move a row to another partition."),
				errhint("Make a new partitioned table and move the rows there."));
}

/*
 * Whether the column is in the partition key of the table or of any of its
 * partitions, which may have other attribute numbers.
 */
bool
zdm_is_partition_key(Relation rel, const char *name)
{
	List	   *relids = zdm_table_and_partitions(RelationGetRelid(rel));
	bool		result = false;
	ListCell   *lc;

	foreach(lc, relids)
	{
		Relation	part = table_open(lfirst_oid(lc), AccessShareLock);
		AttrNumber	number = get_attnum(lfirst_oid(lc), name);

		if (part->rd_rel->relkind == RELKIND_PARTITIONED_TABLE &&
			has_partition_attrs(part,
								bms_make_singleton(number - FirstLowInvalidHeapAttributeNumber),
								NULL))
			result = true;
		table_close(part, AccessShareLock);
	}
	return result;
}

/*
 * Whether a column of that name can be added.
 */
void
zdm_check_new_column(Relation rel, const char *name)
{
	if (name[0] == '\0')
		ereport(ERROR,
				errcode(ERRCODE_INVALID_NAME),
				errmsg("the new name is empty"),
				errhint("Give the column a name."));
	if (SystemAttributeByName(name) != NULL)
		ereport(ERROR,
				errcode(ERRCODE_DUPLICATE_COLUMN),
				errmsg("column name \"%s\" conflicts with a system column name",
					   name),
				errhint("Choose another name."));
	if (get_attnum(RelationGetRelid(rel), name) != InvalidAttrNumber)
		ereport(ERROR,
				errcode(ERRCODE_DUPLICATE_COLUMN),
				errmsg("column \"%s\" of relation \"%s\" already exists", name,
					   RelationGetRelationName(rel)),
				errhint("Choose another name, or drop that column first."));
}

/*
 * Refuse columns that another migration in flight works on, or reads: those
 * are in its expressions by their names.
 */
void
zdm_check_free_columns(Oid relid, List *columns)
{
	ListCell   *lc;

	zdm_check_single_migration(relid, columns);
	foreach(lc, zdm_migrations_on(relid))
	{
		ZdmMigration *migration = lfirst(lc);
		char	   *common = first_common(columns, columns_read(migration->rules, relid));

		if (common != NULL)
			ereport(ERROR,
					errcode(ERRCODE_OBJECT_IN_USE),
					errmsg("column \"%s\" of table \"%s\" is in an expression of migration \"%s\"",
						   common, zdm_relation_label(relid), migration->name),
					hint_finish(migration));
	}
}

/*
 * The same for a migration that leaves the columns' names and types as they
 * are, which others may read.
 */
void
zdm_check_single_migration(Oid relid, List *columns)
{
	ListCell   *lc;

	foreach(lc, zdm_migrations_on(relid))
	{
		ZdmMigration *migration = lfirst(lc);
		char	   *common = first_common(columns, columns_of(migration, relid));

		if (common != NULL)
			ereport(ERROR,
					errcode(ERRCODE_OBJECT_IN_USE),
					errmsg("column \"%s\" of table \"%s\" is in migration \"%s\" already",
						   common, zdm_relation_label(relid), migration->name),
					hint_finish(migration));
	}
}

/*
 * Refuse rules that read columns which another migration may rename or drop.
 * Those of patterns (char *) leave them as they are.
 */
void
zdm_check_read_columns(List *rules, Oid relid, List *patterns)
{
	List	   *read = columns_read(rules, relid);
	ListCell   *lc;

	foreach(lc, zdm_migrations_on(relid))
	{
		ZdmMigration *migration = lfirst(lc);
		char	   *common = first_common(read, columns_of(migration, relid));

		if (common != NULL && first_common(list_make1(migration->pattern), patterns) == NULL)
			ereport(ERROR,
					errcode(ERRCODE_OBJECT_IN_USE),
					errmsg("the expression refers to column \"%s\" of table \"%s\", which is in migration \"%s\"",
						   common, zdm_relation_label(relid), migration->name),
					hint_finish(migration));
	}
}

static int
hint_finish(ZdmMigration *migration)
{
	return errhint("Finish that one first, or SELECT zdm.rollback(%s);",
				   quote_literal_cstr(migration->name));
}

/*
 * The first string of one list that is in the other, or NULL.
 */
static char *
first_common(List *strings, List *others)
{
	ListCell   *lc,
			   *other;

	foreach(lc, strings)
		foreach(other, others)
	{
		if (strcmp(lfirst(lc), lfirst(other)) == 0)
			return lfirst(lc);
	}
	return NULL;
}

/*
 * The columns of a table that the expressions of rules read, where those are
 * more than copies of the other side.
 */
static List *
columns_read(List *rules, Oid relid)
{
	Relation	rel = table_open(relid, AccessShareLock);
	List	   *result = NIL;
	ZdmIdentity saved;
	ListCell   *lc,
			   *text;

	zdm_pin_path(&saved);
	foreach(lc, rules)
	{
		ZdmSyncRule *rule = lfirst(lc);

		if (rule->relation != relid)
			continue;
		foreach(text, list_concat_copy(rule->up, rule->down))
			result = list_concat(result, zdm_expression_columns(rel, lfirst(text)));
	}
	zdm_unbecome(&saved);
	table_close(rel, AccessShareLock);
	return result;
}

/*
 * The columns of a table that a migration works on.
 */
static List *
columns_of(ZdmMigration *migration, Oid relid)
{
	List	   *result = NIL;
	ListCell   *lc;

	if (migration->relation == relid)
		result = list_concat_copy(migration->old_columns, migration->new_columns);
	foreach(lc, migration->rules)
	{
		ZdmSyncRule *rule = lfirst(lc);

		if (rule->relation == relid)
		{
			result = list_concat(result, rule->old_columns);
			result = list_concat(result, rule->new_columns);
		}
	}
	foreach(lc, migration->mirrors)
	{
		ZdmMirrorRule *rule = lfirst(lc);

		if (rule->first == relid)
			result = list_concat(list_concat(result, rule->first_keys), rule->first_columns);
		if (rule->second == relid)
			result = list_concat(list_concat(result, rule->second_keys), rule->second_columns);
	}
	return result;
}
