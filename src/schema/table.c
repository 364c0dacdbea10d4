/*-------------------------------------------------------------------------
 *
 * table.c
 *	  Which tables and columns a migration can work on.
 *
 * Everything is refused here, before anything is done, with the reason and
 * the way out.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/heapam.h"
#include "access/sysattr.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/catalog.h"
#include "catalog/heap.h"
#include "catalog/partition.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_trigger.h"
#include "commands/trigger.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/partcache.h"
#include "utils/rel.h"
#include "utils/ruleutils.h"
#include "utils/syscache.h"

#include "catalog/migration.h"
#include "catalog/mirror_rule.h"
#include "catalog/sync_rule.h"
#include "schema/table.h"
#include "sync/expression.h"
#include "util/compat.h"
#include "util/ident.h"
#include "util/spi.h"

static void check_primary(void);
static void check_views(Relation rel);
static void check_inheritance(Relation rel);
static void check_triggers(Relation rel);
static void check_storage(Relation rel);
static List *columns_of(ZdmMigration *migration, Oid relid);
static List *columns_read(List *rules, Oid relid);
static char *first_common(List *strings, List *others);
static int	hint_finish(ZdmMigration *migration);

/*
 * Whether the current user may migrate this table, here.  First of all
 * checks, so that nobody learns anything about a table that is not his.
 */
void
zdm_check_caller(Oid relid)
{
	check_primary();
	if (!SearchSysCacheExists1(RELOID, ObjectIdGetDatum(relid)))
		ereport(ERROR,
				errcode(ERRCODE_UNDEFINED_TABLE),
				errmsg("relation with OID %u does not exist", relid));
	if (!object_ownercheck(RelationRelationId, relid, GetUserId()))
		aclcheck_error(ACLCHECK_NOT_OWNER,
					   get_relkind_objtype(get_rel_relkind(relid)),
					   get_rel_name(relid));
}

static void
check_primary(void)
{
	if (RecoveryInProgress())
		ereport(ERROR,
				errcode(ERRCODE_READ_ONLY_SQL_TRANSACTION),
				errmsg("zdm cannot work on a hot standby"),
				errhint("Run the same call on the primary."));
}

/*
 * Whether this session can change things.
 */
void
zdm_check_writable(void)
{
	check_primary();
	if (XactReadOnly)
		ereport(ERROR,
				errcode(ERRCODE_READ_ONLY_SQL_TRANSACTION),
				errmsg("zdm cannot change anything in a read-only transaction"),
				errhint("SET default_transaction_read_only = off;"));
}

/*
 * Whether this is a table, with its partitions, that the caller can change.
 */
void
zdm_check_shape(Relation rel)
{
	ListCell   *lc;

	zdm_check_kind(rel);
	check_inheritance(rel);
	foreach(lc, zdm_table_and_partitions(RelationGetRelid(rel)))
	{
		if (lfirst_oid(lc) != RelationGetRelid(rel) &&
			!object_ownercheck(RelationRelationId, lfirst_oid(lc), GetUserId()))
			aclcheck_error(ACLCHECK_NOT_OWNER, OBJECT_TABLE,
						   get_rel_name(lfirst_oid(lc)));
	}
}

/*
 * Whether our trigger would be the last one to change a row.
 */
void
zdm_check_trigger_order(Relation rel)
{
	ListCell   *lc;

	foreach(lc, zdm_table_and_partitions(RelationGetRelid(rel)))
	{
		Relation	part = table_open(lfirst_oid(lc), AccessShareLock);

		check_triggers(part);
		table_close(part, AccessShareLock);
	}
}

/*
 * Whether rows of this table can be kept in sync and backfilled.
 */
void
zdm_check_table(Relation rel)
{
	List	   *relids;
	ListCell   *lc;

	check_views(rel);
	zdm_check_shape(rel);
	relids = zdm_table_and_partitions(RelationGetRelid(rel));
	foreach(lc, relids)
	{
		Relation	part = table_open(lfirst_oid(lc), AccessShareLock);

		if (part->rd_rel->relkind == RELKIND_FOREIGN_TABLE)
			ereport(ERROR,
					errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					errmsg("partition \"%s\" of table \"%s\" is a foreign table",
						   RelationGetRelationName(part),
						   RelationGetRelationName(rel)),
					errdetail("Its rows cannot be backfilled from here."),
					errhint("Detach it for the time of the migration, and migrate it where it is stored."));
		check_triggers(part);
		check_storage(part);
		table_close(part, AccessShareLock);
	}
}

/*
 * Whether it is a table of a user's that others see.
 */
void
zdm_check_kind(Relation rel)
{
	const char *name = RelationGetRelationName(rel);
	const char *kind = NULL;

	switch (rel->rd_rel->relkind)
	{
		case RELKIND_RELATION:
		case RELKIND_PARTITIONED_TABLE:
			break;
		case RELKIND_VIEW:
			kind = "a view";
			break;
		case RELKIND_MATVIEW:
			kind = "a materialized view";
			break;
		case RELKIND_FOREIGN_TABLE:
			kind = "a foreign table";
			break;
		default:
			kind = "no table";
			break;
	}
	if (kind != NULL)
		ereport(ERROR,
				errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				errmsg("\"%s\" is %s", name, kind),
				errhint("Migrate the table that holds the rows."));
	if (IsSystemRelation(rel) ||
		RelationGetNamespace(rel) == get_namespace_oid("zdm", true))
		ereport(ERROR,
				errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				errmsg("\"%s\" is a system table", name),
				errhint("zdm migrates tables of users only."));
	if (rel->rd_rel->relpersistence == RELPERSISTENCE_TEMP)
		ereport(ERROR,
				errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				errmsg("\"%s\" is a temporary table", name),
				errhint("Only this session sees it: a plain ALTER TABLE disturbs nobody."));
	if (OidIsValid(rel->rd_rel->reloftype))
		ereport(ERROR,
				errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				errmsg("\"%s\" is a typed table", name),
				errhint("ALTER TABLE %s NOT OF; makes it a plain one.",
						zdm_quote_relation(RelationGetRelid(rel))));
}

/*
 * A compatibility view holds on to the columns that it shows.
 */
static void
check_views(Relation rel)
{
	ListCell   *lc,
			   *other;

	foreach(lc, zdm_migrations_on(RelationGetRelid(rel)))
	{
		ZdmMigration *migration = lfirst(lc);

		foreach(other, migration->others)
			if (get_rel_relkind(lfirst_oid(other)) == RELKIND_VIEW)
			zdm_refuse_table(rel, migration);
	}
}

/*
 * Refuse a table that is in a migration already.
 */
void
zdm_refuse_table(Relation rel, ZdmMigration *migration)
{
	ereport(ERROR,
			errcode(ERRCODE_OBJECT_IN_USE),
			errmsg("table \"%s\" is in migration \"%s\" already",
				   RelationGetRelationName(rel), migration->name),
			errhint("Finish that one first, or SELECT zdm.rollback(%s);",
					quote_literal_cstr(migration->name)));
}

static void
check_inheritance(Relation rel)
{
	const char *name = RelationGetRelationName(rel);
	Oid			relid = RelationGetRelid(rel);

	if (rel->rd_rel->relispartition)
	{
		List	   *ancestors = get_partition_ancestors(relid);

		ereport(ERROR,
				errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				errmsg("table \"%s\" is a partition", name),
				errhint("Call this for its partitioned table %s.",
						zdm_quote_relation(llast_oid(ancestors))));
	}
	if (has_superclass(relid) ||
		(rel->rd_rel->relkind == RELKIND_RELATION &&
		 list_length(find_inheritance_children(relid, NoLock)) > 0))
		ereport(ERROR,
				errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				errmsg("table \"%s\" takes part in inheritance", name),
				errdetail("Row triggers on an inheritance parent do not fire for its children."),
				errhint("Use declarative partitioning, or ALTER TABLE ... NO INHERIT first."));
}

/*
 * Whether a trigger may change the row that is about to be written.
 */
bool
zdm_trigger_changes_row(const Trigger *trigger)
{
	return TRIGGER_FOR_BEFORE(trigger->tgtype) && TRIGGER_FOR_ROW(trigger->tgtype) &&
		(TRIGGER_FOR_INSERT(trigger->tgtype) || TRIGGER_FOR_UPDATE(trigger->tgtype));
}

/*
 * A BEFORE trigger that fires after ours would change the row behind our back.
 */
static void
check_triggers(Relation rel)
{
	TriggerDesc *triggers = rel->trigdesc;

	for (int i = 0; triggers != NULL && i < triggers->numtriggers; i++)
	{
		Trigger    *trigger = &triggers->triggers[i];

		if (zdm_trigger_changes_row(trigger) &&
			strcmp(trigger->tgname, ZDM_SYNC_TRIGGER) > 0)
			ereport(ERROR,
					errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					errmsg("trigger \"%s\" on table \"%s\" would fire after zdm's",
						   trigger->tgname, RelationGetRelationName(rel)),
					errdetail("Triggers fire in the order of their names; zdm's must be the last BEFORE ROW trigger."),
					errhint("ALTER TRIGGER %s ON %s RENAME TO a name that sorts before \"~zdm_sync\".",
							quote_identifier(trigger->tgname),
							zdm_quote_relation(RelationGetRelid(rel))));
	}
}

static void
check_storage(Relation rel)
{
	if (rel->rd_tableam != NULL && RELKIND_HAS_TABLE_AM(rel->rd_rel->relkind) &&
		rel->rd_tableam->scan_set_tidrange == NULL)
		ereport(ERROR,
				errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				errmsg("the access method of table \"%s\" cannot scan a range of row addresses",
					   RelationGetRelationName(rel)),
				errhint("ALTER TABLE %s SET ACCESS METHOD heap.",
						zdm_quote_relation(RelationGetRelid(rel))));
	/* What a plain UPDATE would be refused for, the backfill is, too. */
	if (RELKIND_HAS_TABLE_AM(rel->rd_rel->relkind))
		CheckCmdReplicaIdentity(rel, CMD_UPDATE);
}

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
	Relation	rel = relation_open(relid, AccessShareLock);
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
	relation_close(rel, AccessShareLock);
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

/*
 * The table, or the partitioned one that it is a part of.
 */
Oid
zdm_root_table(Oid relid)
{
	return get_rel_relispartition(relid) ? llast_oid(get_partition_ancestors(relid)) : relid;
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
 * first of two that mirror each other: what is backfilled and compared.
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

/*
 * The text of an expression without columns, as a default is, that means the
 * same under any settings.
 */
char *
zdm_default_text(Node *expr)
{
	ZdmIdentity saved;
	char	   *result;

	zdm_pin_path(&saved);
	zdm_pin_style();
	result = deparse_expression(expr, NIL, false, false);
	zdm_unbecome(&saved);
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
