/*-------------------------------------------------------------------------
 *
 * column_to_join_table.c
 *	  A column becomes a join table: a 1:n relation becomes n:m.
 *
 * The old version writes a column (voucher.user_id), the new one rows of a
 * join table that expand makes, and may store several for one row of the
 * table.  The column then shows the first of them.  The table's row is the
 * first of a mirror rule, the join table's the second.
 *
 * expand	the join table with its keys and grants, triggers, rule
 * migrate	give the join table a row for each value of the column, compare
 * contract	drop the column; with a quarantine, not before finish
 * rollback	drop the join table; refused, with a list, where the new version
 *			has stored what the column cannot hold
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/namespace.h"
#include "catalog/pg_constraint.h"
#include "catalog/pg_index.h"
#include "commands/defrem.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"

#include "catalog/mirror_rule.h"
#include "patterns/pattern.h"
#include "schema/column.h"
#include "schema/depend.h"
#include "schema/join_grants.h"
#include "schema/join_table.h"
#include "schema/relation.h"
#include "schema/table.h"
#include "schema/twin.h"
#include "sync/mirror_install.h"
#include "util/compat.h"
#include "util/ident.h"
#include "util/spi.h"

/* So many rows that would be lost are listed. */
#define MOST_LOST 10

static ZdmMirrorRule *
mirror(ZdmMigration *migration)
{
	return linitial(migration->mirrors);
}

static char *
column_name(ZdmMigration *migration)
{
	return linitial(migration->old_columns);
}

static void
check_column(Relation rel, const char *column, ZdmReference *reference)
{
	HeapTuple	tuple;
	Form_pg_constraint form;

	if (TupleDescAttr(RelationGetDescr(rel), get_attnum(RelationGetRelid(rel), column) - 1)->attnotnull)
		ereport(ERROR,
				errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				errmsg("column \"%s\" of table \"%s\" is NOT NULL", column,
					   RelationGetRelationName(rel)),
				errdetail("The new version could not delete the last row of the join table."),
				errhint("ALTER TABLE %s ALTER COLUMN %s DROP NOT NULL;",
						zdm_quote_relation(RelationGetRelid(rel)), quote_identifier(column)));
	if (rel->rd_rel->relrowsecurity)
		ereport(ERROR,
				errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				errmsg("table \"%s\" has row security", RelationGetRelationName(rel)),
				errdetail("The join table would show what its policies hide."),
				errhint("Make the join table and its policies yourself, and keep both in sync by triggers."));
	if (reference == NULL)
		return;
	tuple = SearchSysCache1(CONSTROID, ObjectIdGetDatum(reference->constraint));
	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for constraint %u", reference->constraint);
	form = (Form_pg_constraint) GETSTRUCT(tuple);
	if (form->confdeltype == FKCONSTR_ACTION_SETDEFAULT ||
		form->confupdtype == FKCONSTR_ACTION_SETNULL || form->confupdtype == FKCONSTR_ACTION_SETDEFAULT)
		ereport(ERROR,
				errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				errmsg("foreign key \"%s\" of table \"%s\" sets the column to a default, or NULL on update",
					   NameStr(form->conname), RelationGetRelationName(rel)),
				errhint("Replace it by one with CASCADE, RESTRICT, NO ACTION or ON DELETE SET NULL."));
	ReleaseSysCache(tuple);
	if (!reference->valid)
		ereport(ERROR,
				errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				errmsg("foreign key \"%s\" of table \"%s\" is not valid",
					   get_constraint_name(reference->constraint), RelationGetRelationName(rel)),
				errhint("ALTER TABLE %s VALIDATE CONSTRAINT %s;",
						zdm_quote_relation(RelationGetRelid(rel)),
						quote_identifier(get_constraint_name(reference->constraint))));
}

/*
 * The table's primary key: what the join table refers to.
 */
static List *
key_columns(Relation rel)
{
	List	   *keys = zdm_primary_key_columns(rel);

	if (keys == NIL)
		ereport(ERROR,
				errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				errmsg("table \"%s\" has no primary key", RelationGetRelationName(rel)),
				errdetail("The join table refers to it."),
				errhint("ALTER TABLE %s ADD PRIMARY KEY (...);",
						zdm_quote_relation(RelationGetRelid(rel))));
	return keys;
}

static void
check(ZdmMigration *migration, Relation rel)
{
	ZdmMirrorRule *rule = palloc0_object(ZdmMirrorRule);
	char	   *column = column_name(migration);
	const char *schema = zdm_argument(migration, "schema");
	ZdmReference *reference;
	Oid			namespace;
	ListCell   *lc;

	zdm_check_table(rel);
	zdm_check_column(rel, column);
	reference = zdm_reference_of(rel, list_make1(column));
	check_column(rel, column, reference);
	zdm_check_free_columns(migration->relation, list_make1(column));
	rule->first = migration->relation;
	rule->first_keys = key_columns(rel);
	rule->first_columns = list_make1(column);
	rule->second_columns = list_make1(column);
	foreach(lc, rule->first_keys)
	{
		char	   *key = makeObjectName(RelationGetRelationName(rel), lfirst(lc), NULL);

		if (strcmp(lfirst(lc), column) == 0 || strcmp(key, column) == 0)
			ereport(ERROR,
					errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					errmsg("column \"%s\" is part of the primary key of table \"%s\", or named like a column that the join table gets for it",
						   column, RelationGetRelationName(rel)),
					errhint("Name a column that is not."));
		rule->second_keys = lappend(rule->second_keys, key);
	}
	namespace = get_namespace_oid(schema, false);
	rule->new_schema = pstrdup(schema);
	rule->new_table = pstrdup(zdm_argument(migration, "join_table"));
	if (OidIsValid(get_relname_relid(rule->new_table, namespace)))
		ereport(ERROR,
				errcode(ERRCODE_DUPLICATE_TABLE),
				errmsg("relation \"%s\" already exists", rule->new_table),
				errhint("Choose another name, or drop that one first."));
	rule->optional = 1;
	rule->fills_second = true;
	rule->referencing = true;
	rule->several = true;
	rule->first_by = pstrdup(zdm_argument(migration, "first_by"));
	migration->mirrors = list_make1(rule);
	migration->others = NIL;
	if (reference != NULL && reference->relation != migration->relation)
		migration->others = list_make1_oid(reference->relation);
}

static char *
create_sql(ZdmMirrorRule *rule, Relation rel)
{
	char	   *value = linitial(rule->second_columns);
	ZdmReference *reference = zdm_reference_of(rel, rule->first_columns);
	StringInfoData sql;
	ListCell   *key,
			   *name;

	initStringInfo(&sql);
	appendStringInfo(&sql, "CREATE TABLE %s (", zdm_mirror_second_name(rule));
	forboth(key, rule->first_keys, name, rule->second_keys)
		appendStringInfo(&sql, "%s %s NOT NULL, ", quote_identifier(lfirst(name)),
						 zdm_twin_type(rel, lfirst(key)));
	appendStringInfo(&sql, "%s %s NOT NULL, PRIMARY KEY (%s, %s), FOREIGN KEY (%s) REFERENCES %s (%s) ON DELETE CASCADE ON UPDATE CASCADE",
					 quote_identifier(value), zdm_twin_type(rel, value),
					 zdm_column_list(rule->second_keys), quote_identifier(value),
					 zdm_column_list(rule->second_keys), zdm_quote_relation(rule->first),
					 zdm_column_list(rule->first_keys));
	if (reference != NULL)
		appendStringInfo(&sql, ", %s", zdm_join_reference_sql(reference, rule->second_columns));
	appendStringInfoChar(&sql, ')');
	return sql.data;
}

static List *
expand(ZdmMigration *migration, Relation rel)
{
	ZdmMirrorRule *rule = mirror(migration);
	List	   *steps;

	steps = list_make1(zdm_step(ZDM_STEP_DDL, ShareRowExclusiveLock,
								"create the join table", create_sql(rule, rel)));
	steps = lappend(steps, zdm_step(ZDM_STEP_DDL, NoLock, "give it an index on the other side",
									psprintf("CREATE INDEX ON %s (%s)", zdm_mirror_second_name(rule),
											 zdm_column_list(rule->second_columns))));
	if (rel->rd_rel->relowner != GetUserId())
		steps = lappend(steps, zdm_step(ZDM_STEP_DDL, NoLock, "give it the table's owner",
										psprintf("ALTER TABLE %s OWNER TO %s",
												 zdm_mirror_second_name(rule),
												 quote_identifier(GetUserNameFromId(rel->rd_rel->relowner, false)))));
	steps = list_concat(steps, zdm_join_grant_steps(rule));
	return list_concat(steps, zdm_mirror_install_steps(migration));
}

/*
 * The join table is there now.
 */
static void
complete(ZdmMigration *migration)
{
	ZdmMirrorRule *rule = mirror(migration);

	rule->second = get_relname_relid(rule->new_table, get_namespace_oid(rule->new_schema, false));
	migration->others = lcons_oid(rule->second, migration->others);
}

static List *
migrate(ZdmMigration *migration)
{
	ZdmMirrorRule *rule = mirror(migration);

	return list_make2(zdm_step(ZDM_STEP_BACKFILL, RowExclusiveLock,
							   "fill the join table from the column",
							   psprintf("INSERT INTO %s (%s, %s) SELECT %s, %s FROM %s WHERE ctid in a range of blocks AND %s IS NOT NULL ON CONFLICT DO NOTHING",
										zdm_mirror_second_name(rule), zdm_column_list(rule->second_keys),
										zdm_column_list(rule->second_columns), zdm_column_list(rule->first_keys),
										zdm_column_list(rule->first_columns), zdm_quote_relation(rule->first),
										zdm_column_list(rule->first_columns))),
					  zdm_step(ZDM_STEP_VERIFY, AccessShareLock,
							   "compare the column and the join table", NULL));
}

static List *
finish(ZdmMigration *migration)
{
	return lappend(zdm_mirror_remove_steps(migration),
				   zdm_step(ZDM_STEP_DDL, AccessExclusiveLock, "drop the column",
							psprintf("ALTER TABLE %s DROP COLUMN %s",
									 zdm_quote_relation(migration->relation),
									 quote_identifier(column_name(migration)))));
}

static List *
contract(ZdmMigration *migration, bool quarantine)
{
	/* With a quarantine the column stays as it is, in sync. */
	return quarantine ? NIL : finish(migration);
}

static List *
rollback(ZdmMigration *migration)
{
	ZdmMirrorRule *rule = mirror(migration);

	return lappend(zdm_mirror_remove_steps(migration),
				   zdm_step_on(rule->second, ZDM_STEP_DDL, AccessExclusiveLock,
							   "drop the join table",
							   psprintf("DROP TABLE %s", zdm_mirror_second_name(rule))));
}

/*
 * What the column cannot hold: rows beyond the one that it shows.
 */
static void
check_loss(ZdmMigration *migration)
{
	ZdmMirrorRule *rule = mirror(migration);
	char	   *keys = zdm_column_list(rule->second_keys);
	char	   *table = zdm_mirror_second_name(rule);
	ZdmIdentity saved;
	List	   *lost;

	zdm_become(zdm_table_owner(rule->second), &saved);
	lost = zdm_query_strings(psprintf("SELECT pg_catalog.format('(%%s)=%%s: %%s rows', %s,"
									  " (pg_catalog.array_agg(ROW(%s)))[1], pg_catalog.count(*))"
									  " FROM %s GROUP BY %s HAVING pg_catalog.count(*) OPERATOR(pg_catalog.>) 1"
									  " ORDER BY %s LIMIT %d",
									  quote_literal_cstr(keys), keys, table, keys, keys, MOST_LOST + 1),
							 0, NULL);
	zdm_unbecome(&saved);
	if (lost == NIL)
		return;
	ereport(ERROR,
			errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			errmsg("rolling migration \"%s\" back would lose rows of table \"%s\"",
				   migration->name, get_rel_name(rule->second)),
			errdetail("Column \"%s\" can hold one of each: %s", column_name(migration), zdm_some_lines(lost, MOST_LOST)),
			errhint("Delete all but one of each, and run the same call again."));
}

static List *
attached(ZdmMigration *migration, ZdmPhase phase)
{
	ZdmMirrorRule *rule = mirror(migration);
	Relation	rel;
	ZdmReference *reference;
	List	   *result = NIL;
	ListCell   *lc;

	if (phase == ZDM_ROLLBACK)
	{
		check_loss(migration);
		return zdm_table_dependents(rule->second);
	}
	rel = table_open(migration->relation, AccessShareLock);
	reference = zdm_reference_of(rel, rule->first_columns);
	foreach(lc, zdm_column_dependents(migration->relation, column_name(migration), migration->id))
	{
		if ((reference == NULL || strcmp(lfirst(lc), zdm_constraint_description(reference->constraint)) != 0) &&
			!zdm_is_index_on(rel, rule->first_columns, lfirst(lc)))
			result = zdm_add_line(result, lfirst(lc));
	}
	table_close(rel, AccessShareLock);
	return result;
}

static void
guard(ZdmMigration *migration, Relation rel)
{
	Oid			join_table = mirror(migration)->second;

	zdm_guard_mirror(migration);
	if (rel->rd_rel->relrowsecurity && !zdm_has_row_security(join_table))
		ereport(WARNING,
				errmsg("table \"%s\" shows what the policies of table \"%s\" hide",
					   get_rel_name(join_table), RelationGetRelationName(rel)),
				errhint("ALTER TABLE %s ENABLE ROW LEVEL SECURITY; with policies of its own, or SELECT zdm.rollback(%s);",
						zdm_quote_relation(join_table), quote_literal_cstr(migration->name)));
}

static List *
mend(ZdmMigration *migration, Relation rel)
{
	return zdm_mirror_owner_steps(mirror(migration));
}

/*
 * From contract on the join table is what stays, and has rights of its own.
 */
static List *
privileges(ZdmMigration *migration, const GrantStmt *stmt)
{
	return migration->state == ZDM_CONTRACTED ? NIL
		: zdm_join_grants_again(mirror(migration), stmt);
}

static List *
notes(ZdmMigration *migration, Relation rel)
{
	ZdmMirrorRule *rule = mirror(migration);
	char	   *column = column_name(migration);
	List	   *functions = zdm_functions_mentioning(migration->relation, column);
	List	   *result = NIL;

	if (functions != NIL)
		result = lappend(result,
						 zdm_note(true, "after contract column %s is gone; these functions mention it: %s",
								  quote_identifier(column), zdm_names_text(functions)));
	result = lappend(result,
					 zdm_note(false, "once the new version has stored several rows for one of table %s, column %s shows the one that comes %s by its value; what the old version writes there replaces the one that it read",
							  zdm_quote_relation(migration->relation), quote_identifier(column),
							  strcmp(rule->first_by, "desc") == 0 ? "last" : "first"));
	result = lappend(result,
					 zdm_note(false, "TRUNCATE of %s fails unless it names %s as well or has CASCADE: the join table refers to it",
							  zdm_quote_relation(migration->relation), zdm_mirror_second_name(rule)));
	result = lappend(result,
					 zdm_note(false, "rollback is refused as long as there are several rows for one of table %s",
							  zdm_quote_relation(migration->relation)));
	result = list_concat(result, zdm_mirror_notes(rule));
	return lappend(result,
				   zdm_note(false, "the new version may start once the state is ready: before, rows of the join table are missing"));
}

const ZdmPattern zdm_column_to_join_table_pattern = {
	.name = "column_to_join_table",
	.strategy = "dual_write",
	.check = check,
	.expand = expand,
	.complete = complete,
	.migrate = migrate,
	.contract = contract,
	.finish = finish,
	.rollback = rollback,
	.attached = attached,
	.guard = guard,
	.mend = mend,
	.privileges = privileges,
	.notes = notes,
};
