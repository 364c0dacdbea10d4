/*-------------------------------------------------------------------------
 *
 * twin_follow.c
 *	  What others do meanwhile to what hangs on a column, done to its twin.
 *
 * What the twin has stands for what the column has.  Where somebody drops a
 * constraint or a unique index of the column, its like would go on refusing
 * what nobody refuses any more, and be left over in the end; where he renames
 * one, its like would not be known again; where he takes away a privilege, the
 * twin could still be read.  So the same is done to the twin, in the same
 * transaction.
 *
 * It goes by the command, not by what is missing: a restore makes what the
 * twin has before what it stands for.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/index.h"
#include "catalog/pg_class.h"
#include "catalog/pg_constraint.h"
#include "catalog/pg_type.h"
#include "nodes/parsenodes.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

#include "catalog/step.h"
#include "schema/catalog_change.h"
#include "schema/depend.h"
#include "schema/key_change.h"
#include "schema/not_null.h"
#include "schema/relation.h"
#include "schema/twin.h"
#include "schema/twin_constraint.h"
#include "schema/twin_follow.h"
#include "schema/twin_index.h"
#include "util/ident.h"
#include "util/spi.h"

typedef struct Follow
{
	int64		migration;
	List	   *pairs;
	List	   *tables;			/* on either side of the foreign keys, too */
	List	   *steps;
} Follow;

static List *tables_of(List *pairs);
static void follow_objects(Follow *follow, const ZdmDdl *command);
static void follow_drop(Follow *follow, const ZdmDropped *dropped, bool keys, bool warn);
static void follow_rename(Follow *follow, const char *name, const char *new_name);
static void follow_not_null(Follow *follow);
static void follow_keys(Follow *follow);
static bool takes_privileges(Node *command);
static void follow_privileges(Follow *follow, List *tables);
static void ddl(Follow *follow, Oid relid, const char *description, char *sql);
static List *constraints_of(Follow *follow, Oid relid);

/*
 * The steps that do to the twins (the second of each pair) what a command has
 * done to the columns.
 */
List *
zdm_twin_follow_steps(int64 migration, List *pairs, const ZdmDdl *command)
{
	Follow		follow = {
		.migration = migration,
		.pairs = pairs,
		.tables = tables_of(pairs),
	};

	follow_objects(&follow, command);
	if (zdm_alters(command->command, AT_DropNotNull, NULL) || zdm_alters(command->command, AT_DropConstraint, NULL))
		follow_not_null(&follow);
	if (zdm_alters(command->command, AT_AlterConstraint, NULL))
		follow_keys(&follow);
	if (takes_privileges(command->command))
		follow_privileges(&follow, command->tables);
	return follow.steps;
}

/*
 * Those for a twin with indexes and a default, and no constraints.
 */
List *
zdm_twin_follow_name_steps(int64 migration, List *pairs, const ZdmDdl *command)
{
	Follow		follow = {.migration = migration,.pairs = pairs,.tables = tables_of(pairs)};
	ListCell   *lc;

	follow_objects(&follow, command);
	foreach(lc, pairs)
	{
		ZdmPair    *pair = lfirst(lc);

		if (zdm_alters(command->command, AT_ColumnDefault, pair->from))
			follow.steps = list_concat(follow.steps,
									   zdm_twin_default_follow_steps(pair->relation, pair->from, pair->to));
	}
	return follow.steps;
}

static void
follow_objects(Follow *follow, const ZdmDdl *command)
{
	bool		concurrent = IsA(command->command, DropStmt) && castNode(DropStmt, command->command)->concurrent;
	ListCell   *lc;

	/* What refers to a key goes before it. */
	foreach(lc, command->dropped)
		follow_drop(follow, lfirst(lc), true, concurrent);
	foreach(lc, command->dropped)
		follow_drop(follow, lfirst(lc), false, concurrent);
	if (IsA(command->command, RenameStmt))
	{
		RenameStmt *rename = (RenameStmt *) command->command;

		if (rename->renameType == OBJECT_TABCONSTRAINT)
			follow_rename(follow, rename->subname, rename->newname);
		else if (rename->renameType == OBJECT_INDEX || rename->renameType == OBJECT_TABLE)
			follow_rename(follow, rename->relation->relname, rename->newname);
	}
}

static List *
tables_of(List *pairs)
{
	List	   *result = NIL;
	ListCell   *lc;

	foreach(lc, list_concat_unique_oid(zdm_pair_tables(pairs), zdm_foreign_key_tables(pairs)))
		result = list_concat_unique_oid(result, zdm_table_and_partitions(lfirst_oid(lc)));
	return result;
}

static void
ddl(Follow *follow, Oid relid, const char *description, char *sql)
{
	follow->steps = lappend(follow->steps,
							zdm_step_on(relid, ZDM_STEP_DDL, AccessExclusiveLock, description, sql));
}

/*
 * The like of what has been dropped: foreign keys, or all else.  Without the
 * table's lock an index stays, until somebody drops it in the same way.
 */
static void
follow_drop(Follow *follow, const ZdmDropped *dropped, bool keys, bool warn)
{
	const char *name = zdm_twin_index_name(follow->migration, dropped->name);
	Oid			relid;
	Oid			index;

	if (dropped->table != NULL)
	{
		Oid			twin;
		HeapTuple	tuple;
		bool		mine;

		relid = get_relname_relid(dropped->table, dropped->schema);
		if (!list_member_oid(follow->tables, relid))
			return;
		twin = get_relation_constraint_oid(relid, name, true);
		tuple = SearchSysCache1(CONSTROID, ObjectIdGetDatum(twin));
		if (!HeapTupleIsValid(tuple))
			return;
		mine = ((Form_pg_constraint) GETSTRUCT(tuple))->coninhcount == 0 &&
			!OidIsValid(((Form_pg_constraint) GETSTRUCT(tuple))->conparentid) &&
			(((Form_pg_constraint) GETSTRUCT(tuple))->contype == CONSTRAINT_FOREIGN) == keys;
		ReleaseSysCache(tuple);
		if (mine)
			ddl(follow, relid, psprintf("drop what stands for constraint \"%s\"", dropped->name),
				psprintf("ALTER TABLE %s DROP CONSTRAINT %s", zdm_quote_relation(relid), quote_identifier(name)));
		return;
	}
	index = get_relname_relid(name, dropped->schema);
	relid = OidIsValid(index) ? IndexGetRelation(index, true) : InvalidOid;
	if (keys || !list_member_oid(follow->tables, relid) ||
		get_rel_relispartition(index) || OidIsValid(get_index_constraint(index)))
		return;
	if (!warn)
		ddl(follow, relid, psprintf("drop what stands for index \"%s\"", dropped->name),
			psprintf("DROP INDEX %s", zdm_quote_relation(index)));
	else
		ereport(WARNING,
				errmsg("index \"%s\", which stands for index \"%s\", is still there", name, dropped->name),
				errhint("DROP INDEX CONCURRENTLY %s;", zdm_quote_relation(index)));
}

/*
 * A constraint and its index have one name.
 */
static void
follow_rename(Follow *follow, const char *name, const char *new_name)
{
	const char *twin = zdm_twin_index_name(follow->migration, name);
	const char *new_twin = zdm_twin_index_name(follow->migration, new_name);
	char	   *description = psprintf("rename what stands for \"%s\"", new_name);
	ListCell   *lc;

	foreach(lc, follow->tables)
	{
		Oid			relid = lfirst_oid(lc);
		Oid			index = zdm_twin_index_named(relid, twin);

		/* Not where the command was about another one of that name. */
		if (OidIsValid(index) && OidIsValid(zdm_twin_index_named(relid, new_name)) &&
			!OidIsValid(zdm_twin_index_named(relid, name)))
			ddl(follow, relid, description,
				psprintf("ALTER INDEX %s RENAME TO %s", zdm_quote_relation(index), quote_identifier(new_twin)));
		else if (!OidIsValid(index) && OidIsValid(get_relation_constraint_oid(relid, twin, true)) &&
				 OidIsValid(get_relation_constraint_oid(relid, new_name, true)) &&
				 !OidIsValid(get_relation_constraint_oid(relid, name, true)))
			ddl(follow, relid, description,
				psprintf("ALTER TABLE %s RENAME CONSTRAINT %s TO %s", zdm_quote_relation(relid),
						 quote_identifier(twin), quote_identifier(new_twin)));
	}
}

/*
 * Whether it is an ALTER TABLE that does so, to a column where one is named.
 */
bool
zdm_alters(Node *command, AlterTableType type, const char *column)
{
	ListCell   *lc;

	if (!IsA(command, AlterTableStmt))
		return false;
	foreach(lc, castNode(AlterTableStmt, command)->cmds)
	{
		AlterTableCmd *cmd = lfirst_node(AlterTableCmd, lc);

		if (cmd->subtype == type && (column == NULL || strcmp(cmd->name, column) == 0))
			return true;
	}
	return false;
}

/*
 * A twin has a CHECK that stands for the column's NOT NULL; after contract,
 * when it is the column that was, one of its own.
 */
static void
follow_not_null(Follow *follow)
{
	ListCell   *lc;

	foreach(lc, follow->pairs)
	{
		ZdmPair    *pair = lfirst(lc);
		char	   *name = zdm_twin_not_null_name(follow->migration, pair->from);
		char	   *table = zdm_quote_relation(pair->relation);

		if (zdm_column_is_not_null(pair->relation, pair->from))
			continue;
		if (OidIsValid(get_relation_constraint_oid(pair->relation, name, true)))
			ddl(follow, pair->relation, "drop what stands for NOT NULL",
				psprintf("ALTER TABLE %s DROP CONSTRAINT %s", table, quote_identifier(name)));
		if (zdm_column_is_not_null(pair->relation, pair->to))
			ddl(follow, pair->relation, "drop the other column's NOT NULL",
				psprintf("ALTER TABLE %s ALTER COLUMN %s DROP NOT NULL", table, quote_identifier(pair->to)));
	}
}

/*
 * A foreign key may have become deferrable.
 */
static void
follow_keys(Follow *follow)
{
	ListCell   *lc,
			   *name;

	foreach(lc, follow->tables)
	{
		foreach(name, constraints_of(follow, lfirst_oid(lc)))
		{
			Oid			source = get_relation_constraint_oid(lfirst_oid(lc), lfirst(name), false);
			char	   *twin = zdm_twin_index_name(follow->migration, lfirst(name));
			Oid			other = get_relation_constraint_oid(lfirst_oid(lc), twin, true);

			if (OidIsValid(other) && zdm_key_disagrees(source, other))
				follow->steps = lappend(follow->steps,
										zdm_key_quiet_step(lfirst_oid(lc), lfirst(name), twin));
		}
	}
}

/*
 * What is granted comes to the twin with its promotion.  Until then nobody needs
 * it there, and a restore with several jobs grants on both columns at once.
 */
static bool
takes_privileges(Node *command)
{
	return IsA(command, DropOwnedStmt) ||
		(IsA(command, GrantStmt) && !castNode(GrantStmt, command)->is_grant);
}

/*
 * Of these tables (oids), where the command names any: what it is not about may
 * be another's work at this moment.
 */
static void
follow_privileges(Follow *follow, List *tables)
{
	ListCell   *lc,
			   *part;

	foreach(lc, follow->pairs)
	{
		ZdmPair    *pair = lfirst(lc);

		foreach(part, zdm_table_and_partitions(pair->relation))
		{
			if ((tables == NIL || list_member_oid(tables, lfirst_oid(part))) &&
				zdm_acl_differs(lfirst_oid(part), pair->from, pair->to))
				follow->steps = lappend(follow->steps,
										zdm_acl_copy_step(lfirst_oid(part), pair->from, pair->to));
		}
	}
}

/*
 * The names (char *) of the foreign keys of a table, as it has them itself,
 * that no zdm has made.
 */
static List *
constraints_of(Follow *follow, Oid relid)
{
	return zdm_query_strings("SELECT c.conname::pg_catalog.text FROM pg_catalog.pg_constraint c"
							 " WHERE c.conrelid OPERATOR(pg_catalog.=) $1 AND c.contype OPERATOR(pg_catalog.=) 'f'"
							 " AND c.conparentid OPERATOR(pg_catalog.=) 0"
							 " AND c.conname OPERATOR(pg_catalog.!~) '^~zdm_[0-9]+_' ORDER BY 1",
							 ZDM_ARGS(ZDM_ARG(OIDOID, ObjectIdGetDatum(relid))));
}

/*
 * Lines (char *) about what was made for the twins and stands for nothing any
 * more: it would be left over.
 */
List *
zdm_twin_orphans(int64 migration, List *pairs)
{
	static const char *const sql =
		"SELECT c.conname::pg_catalog.text FROM pg_catalog.pg_constraint c"
		" WHERE c.conrelid OPERATOR(pg_catalog.=) $1 AND c.contype OPERATOR(pg_catalog.=) ANY ('{c,f}')"
		" AND c.conparentid OPERATOR(pg_catalog.=) 0 AND c.coninhcount OPERATOR(pg_catalog.=) 0"
		" AND pg_catalog.starts_with(c.conname::pg_catalog.text, $2) ORDER BY 1";
	static const char *const source_sql =
		"SELECT c.conname::pg_catalog.text FROM pg_catalog.pg_constraint c"
		" WHERE c.conrelid OPERATOR(pg_catalog.=) $1 AND c.contype OPERATOR(pg_catalog.=) ANY ('{c,f}')";
	List	   *result = NIL;
	ListCell   *lc,
			   *item;

	foreach(lc, zdm_pair_tables(pairs))
	{
		foreach(item, zdm_twin_index_orphans(migration, lfirst_oid(lc), pairs))
			result = zdm_add_line(result, psprintf("index %s, which stands for none any more (DROP INDEX CONCURRENTLY %s)",
												   get_rel_name(lfirst_oid(item)), zdm_quote_relation(lfirst_oid(item))));
	}
	foreach(lc, list_concat_unique_oid(zdm_pair_tables(pairs), zdm_foreign_key_tables(pairs)))
	{
		ZdmArg		args[] = {
			ZDM_ARG(OIDOID, ObjectIdGetDatum(lfirst_oid(lc))),
			zdm_arg_text(zdm_twin_index_name(migration, "")),
		};
		List	   *stand = NIL;

		foreach(item, zdm_query_strings(source_sql, 1, args))
			stand = lappend(stand, zdm_twin_index_name(migration, lfirst(item)));
		foreach(item, pairs)
		{
			ZdmPair    *pair = lfirst(item);

			if (zdm_column_is_not_null(pair->relation, pair->from))
				stand = lappend(stand, zdm_twin_not_null_name(migration, pair->from));
		}
		foreach(item, zdm_query_strings(sql, 2, args))
		{
			if (!zdm_is_among(stand, lfirst(item)))
				result = zdm_add_line(result, psprintf("constraint %s of table %s, which stands for none any more",
													   (char *) lfirst(item), zdm_relation_label(lfirst_oid(lc))));
		}
	}
	return result;
}
