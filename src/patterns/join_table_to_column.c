/*-------------------------------------------------------------------------
 *
 * join_table_to_column.c
 *	  A join table of a 1:n relation becomes a foreign key column.
 *
 * The old version writes rows of the join table (used_voucher), the new one a
 * column of the target (voucher.user_id).  A mirror rule keeps both in sync:
 * the target's row is the first of the two, the join table's the second.
 *
 * expand	the column with its foreign key, not valid yet, triggers, rule
 * migrate	fill the column from the join table, validate the foreign key,
 *			compare both
 * contract	drop the join table; with a quarantine, not before finish
 * rollback	drop the column.  The join table was written all the time, so
 *			nothing is lost.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/pg_constraint.h"
#include "catalog/pg_namespace.h"
#include "catalog/pg_type.h"
#include "commands/defrem.h"
#include "miscadmin.h"
#include "utils/acl.h"
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
#include "schema/moved_index.h"
#include "schema/table.h"
#include "schema/twin.h"
#include "sync/mirror_install.h"
#include "util/compat.h"
#include "util/ident.h"
#include "util/spi.h"

static Oid
join_table(ZdmMigration *migration)
{
	return linitial_oid(migration->others);
}

static ZdmMirrorRule *
mirror(ZdmMigration *migration)
{
	return linitial(migration->mirrors);
}

/*
 * The columns that say who it is: of the target, or of the join table.
 */
static List *
value_columns(ZdmMigration *migration, bool of_target)
{
	ZdmMirrorRule *rule = mirror(migration);

	return list_truncate(list_copy(of_target ? rule->first_columns : rule->second_columns),
						 rule->optional);
}

/*
 * The names in the target that the call gives to columns of the join table;
 * NULL for one that may go.
 */
static bool
given_name(ZdmMigration *migration, const char *column, char **name)
{
	const char *columns = zdm_argument(migration, "columns");
	List	   *found;

	if (columns == NULL)
		return false;
	found = zdm_query_strings("SELECT e.value FROM pg_catalog.jsonb_each_text($1::pg_catalog.jsonb) e"
							  " WHERE e.key OPERATOR(pg_catalog.=) $2",
							  ZDM_ARGS(zdm_arg_text(columns), zdm_arg_text(column)));
	if (found == NIL)
		return false;
	*name = linitial(found);
	return true;
}

static bool
contains(List *names, const char *name)
{
	ListCell   *lc;

	foreach(lc, names)
	{
		if (strcmp(lfirst(lc), name) == 0)
			return true;
	}
	return false;
}

/*
 * What the columns that say who it is are called in the target: the name that
 * was asked for, or, of several, that name with the referenced column's.
 */
static List *
value_names(ZdmMigration *migration, ZdmReference *value)
{
	const char *base = linitial(migration->new_columns);
	List	   *result = NIL;

	for (int i = 0; i < list_length(value->columns); i++)
	{
		char	   *name;

		if (given_name(migration, list_nth(value->columns, i), &name) && name != NULL)
			result = lappend(result, name);
		else if (list_length(value->columns) == 1)
			result = lappend(result, pstrdup(base));
		else
			result = lappend(result, zdm_default_name("%s_%s", base,
													  (char *) list_nth(value->referenced != NIL ? value->referenced
																		: value->columns, i)));
	}
	return result;
}

/*
 * Columns that are neither key nor value: each moves along, or may go, where
 * the call says so.
 */
static void
add_further_columns(ZdmMigration *migration, Relation join, ZdmMirrorRule *rule)
{
	List	   *lost = NIL;
	const char *columns = zdm_argument(migration, "columns");
	TupleDesc	desc = RelationGetDescr(join);
	ListCell   *lc;

	if (columns != NULL)
	{
		foreach(lc, zdm_query_strings("SELECT e.key FROM pg_catalog.jsonb_each_text($1::pg_catalog.jsonb) e ORDER BY e.key",
									  ZDM_ARGS(zdm_arg_text(columns))))
			zdm_check_mirrored_column(join, lfirst(lc));
	}
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute attr = TupleDescAttr(desc, i);
		char	   *column = pstrdup(NameStr(attr->attname));
		char	   *name;

		if (attr->attisdropped || contains(rule->second_keys, column) ||
			contains(rule->second_columns, column))
			continue;
		if (!given_name(migration, column, &name))
			lost = lappend(lost, column);
		else if (name != NULL)
		{
			zdm_check_mirrored_column(join, column);
			rule->second_columns = lappend(rule->second_columns, column);
			rule->first_columns = lappend(rule->first_columns, name);
		}
		else if (attr->attnotnull && !attr->atthasdef && !attr->attidentity)
			ereport(ERROR,
					errcode(ERRCODE_NOT_NULL_VIOLATION),
					errmsg("column \"%s\" of join table \"%s\" is NOT NULL and has no default", column,
						   RelationGetRelationName(join)),
					errdetail("What the new version writes could not be inserted there."),
					errhint("ALTER TABLE %s ALTER COLUMN %s DROP NOT NULL;",
							zdm_quote_relation(RelationGetRelid(join)), quote_identifier(column)));
	}
	if (lost != NIL)
		ereport(ERROR,
				errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("%s of join table \"%s\" would be lost", zdm_names_text(lost),
					   RelationGetRelationName(join)),
				errhint("Say under which name a column moves along, or null where it may go: columns => '{\"%s\": \"%s\"}'.",
						(char *) linitial(lost), (char *) linitial(lost)));
}

/*
 * A statement on a table is analysed as that one's owner, and names both.
 */
static void
check_owner(Relation table, Relation other)
{
	Oid			owner = other->rd_rel->relowner;

	if (object_aclcheck(NamespaceRelationId, RelationGetNamespace(table), owner, ACL_USAGE) != ACLCHECK_OK)
		ereport(ERROR,
				errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				errmsg("the owner of table \"%s\" may not use the schema of table \"%s\"",
					   RelationGetRelationName(other), RelationGetRelationName(table)),
				errdetail("TRUNCATE of the one could not empty the other."),
				errhint("GRANT USAGE ON SCHEMA %s TO %s;",
						quote_identifier(get_namespace_name(RelationGetNamespace(table))),
						quote_identifier(GetUserNameFromId(owner, false))));
}

static void
check(ZdmMigration *migration, Relation target)
{
	Oid			relid = join_table(migration);
	ZdmMirrorRule *rule = palloc0_object(ZdmMirrorRule);
	ZdmReference *to_target,
			   *to_value;
	Relation	join;
	ListCell   *lc;

	zdm_check_caller(relid);
	join = table_open(relid, AccessShareLock);
	zdm_check_table(target);
	zdm_check_table(join);
	zdm_check_join_table(join, target, migration->id);
	check_owner(join, target);
	to_target = zdm_find_reference(join, target, zdm_argument(migration, "target_columns"),
								   "target_columns", NULL);
	to_value = zdm_find_reference(join, NULL, zdm_argument(migration, "value_columns"),
								  "value_columns", to_target);
	zdm_check_reference(join, to_target);
	zdm_check_reference(join, to_value);
	zdm_check_one_row(join, to_target->columns);
	if (OidIsValid(to_value->constraint) &&
		target->rd_rel->relkind == RELKIND_PARTITIONED_TABLE)
		ereport(ERROR,
				errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				errmsg("table \"%s\" is partitioned, and its new column would need a foreign key",
					   RelationGetRelationName(target)),
				errdetail("A foreign key of a partitioned table cannot be added without checking all rows under a lock."),
				errhint("ALTER TABLE %s DROP CONSTRAINT %s; and give value_columns => '{%s}'.",
						zdm_quote_relation(relid),
						quote_identifier(get_constraint_name(to_value->constraint)),
						(char *) linitial(to_value->columns)));

	rule->first = migration->relation;
	rule->second = relid;
	rule->first_keys = to_target->referenced;
	rule->second_keys = to_target->columns;
	rule->first_columns = value_names(migration, to_value);
	rule->second_columns = list_copy(to_value->columns);
	rule->optional = list_length(rule->first_columns);
	rule->referencing = OidIsValid(to_target->constraint);
	if (!rule->referencing)
		check_owner(target, join);
	add_further_columns(migration, join, rule);
	foreach(lc, rule->first_keys)
	{
		char	   *key = list_nth(rule->second_keys, foreach_current_index(lc));

		zdm_check_mirrored_column(target, lfirst(lc));
		zdm_check_mirrored_types(rule->first, lfirst(lc), rule->second, key,
								 psprintf("Give both the same type: ALTER TABLE %s ALTER COLUMN %s TYPE ...;",
										  zdm_quote_relation(rule->second), quote_identifier(key)));
	}
	foreach(lc, rule->first_columns)
	{
		zdm_check_new_column(target, lfirst(lc));
		if (contains(list_copy_tail(rule->first_columns, foreach_current_index(lc) + 1), lfirst(lc)))
			ereport(ERROR,
					errcode(ERRCODE_DUPLICATE_COLUMN),
					errmsg("column \"%s\" is named twice", (char *) lfirst(lc)),
					errhint("Give each column a name of its own in columns."));
	}
	zdm_check_free_columns(migration->relation, rule->first_keys);
	migration->mirrors = list_make1(rule);
	migration->others = list_make1_oid(relid);
	if (OidIsValid(to_value->relation) && to_value->relation != migration->relation)
		migration->others = lappend_oid(migration->others, to_value->relation);
	table_close(join, AccessShareLock);
}

static List *
expand(ZdmMigration *migration, Relation target)
{
	ZdmMirrorRule *rule = mirror(migration);
	char	   *table = zdm_quote_relation(migration->relation);
	Relation	join = table_open(rule->second, AccessShareLock);
	ZdmReference *value = zdm_reference_of(join, value_columns(migration, false));
	List	   *steps = NIL;
	ListCell   *name,
			   *column;

	forboth(name, rule->first_columns, column, rule->second_columns)
		steps = lappend(steps,
						zdm_step(ZDM_STEP_DDL, AccessExclusiveLock, "add the column",
								 psprintf("ALTER TABLE %s ADD COLUMN %s %s", table,
										  quote_identifier(lfirst(name)),
										  zdm_twin_type(join, lfirst(column)))));
	if (value != NULL)
		steps = lappend(steps,
						zdm_step(ZDM_STEP_DDL, ShareRowExclusiveLock, "add its foreign key",
								 psprintf("ALTER TABLE %s ADD %s NOT VALID", table,
										  zdm_reference_sql(value, value_columns(migration, true)))));
	table_close(join, AccessShareLock);
	return list_concat(steps, zdm_mirror_install_steps(migration));
}

static char *
list_sql(const char *prefix, List *names, const char *separator)
{
	StringInfoData sql;
	ListCell   *lc;

	initStringInfo(&sql);
	foreach(lc, names)
		appendStringInfo(&sql, "%s%s%s", sql.len ? separator : "", prefix,
						 quote_identifier(lfirst(lc)));
	return sql.data;
}

static ZdmStep *
validate(ZdmMigration *migration, const char *constraint)
{
	return zdm_step(ZDM_STEP_DDL, ShareUpdateExclusiveLock, "validate the foreign key",
					psprintf("ALTER TABLE %s VALIDATE CONSTRAINT %s",
							 zdm_quote_relation(migration->relation),
							 quote_identifier(constraint)));
}

/*
 * The foreign key of the target's columns, where it is not valid yet.
 */
static List *
statements(ZdmMigration *migration)
{
	Relation	target = table_open(migration->relation, AccessShareLock);
	ZdmReference *key = zdm_reference_of(target, value_columns(migration, true));
	List	   *steps = NIL;

	if (key != NULL && !key->valid)
		steps = list_make1(validate(migration, get_constraint_name(key->constraint)));
	table_close(target, AccessShareLock);
	return steps;
}

/*
 * The same before it is there, with the name that the server will give it.
 */
static List *
planned_statements(ZdmMigration *migration)
{
	Relation	join = table_open(join_table(migration), AccessShareLock);
	ZdmReference *value = zdm_reference_of(join, value_columns(migration, false));
	List	   *steps = NIL;

	if (value != NULL)
		steps = list_make1(validate(migration,
									makeObjectName(get_rel_name(migration->relation),
												   list_sql("", value_columns(migration, true), "_"),
												   "fkey")));
	table_close(join, AccessShareLock);
	return steps;
}

static List *
indexes(ZdmMigration *migration)
{
	return zdm_moved_indexes(migration->id, mirror(migration));
}

static char *
indexes_sql(ZdmMigration *migration)
{
	List	   *texts = NIL;
	ListCell   *lc;

	foreach(lc, indexes(migration))
		texts = lappend(texts, zdm_moved_index_sql(migration->id, lfirst(lc)));
	return texts != NIL ? zdm_join(texts, "; ") : NULL;
}

static List *
migrate(ZdmMigration *migration)
{
	ZdmMirrorRule *rule = mirror(migration);
	char	   *target = zdm_quote_relation(rule->first);
	char	   *join = zdm_quote_relation(rule->second);
	char	   *sql = indexes_sql(migration);
	List	   *steps;

	steps = list_make1(zdm_step(ZDM_STEP_BACKFILL, RowExclusiveLock,
								"fill the column from the join table",
								psprintf("UPDATE %s t SET (%s) = (%s) FROM %s j WHERE t.ctid in a range of blocks AND (%s) = (%s) AND t.%s IS NULL",
										 target, list_sql("", rule->first_columns, ", "),
										 list_sql("j.", rule->second_columns, ", "), join,
										 list_sql("t.", rule->first_keys, ", "),
										 list_sql("j.", rule->second_keys, ", "),
										 quote_identifier(linitial(rule->first_columns)))));
	if (sql != NULL)
		steps = lappend(steps, zdm_step(ZDM_STEP_INDEX, ShareUpdateExclusiveLock,
										"build its indexes", sql));
	steps = list_concat(steps, migration->id == 0 ? planned_statements(migration)
						: statements(migration));
	return lappend(steps, zdm_step(ZDM_STEP_VERIFY, AccessShareLock,
								   "compare the column and the join table", NULL));
}

static ZdmStep *
drop_join_table(ZdmMigration *migration)
{
	return zdm_step_on(join_table(migration), ZDM_STEP_DDL, AccessExclusiveLock,
					   "drop the join table",
					   psprintf("DROP TABLE %s", zdm_quote_relation(join_table(migration))));
}

/*
 * The names that the join table's had are free by the time that the column's
 * indexes get theirs.
 */
static List *
finish(ZdmMigration *migration)
{
	List	   *steps = lappend(zdm_mirror_remove_steps(migration), drop_join_table(migration));

	return list_concat(steps, zdm_moved_index_final_steps(migration->id, indexes(migration)));
}

static List *
contract(ZdmMigration *migration, bool quarantine)
{
	/* With a quarantine the join table stays as it is, in sync. */
	return quarantine ? NIL : finish(migration);
}

static List *
rollback(ZdmMigration *migration)
{
	List	   *steps = zdm_mirror_remove_steps(migration);
	ListCell   *lc;

	foreach(lc, mirror(migration)->first_columns)
		steps = lappend(steps, zdm_step(ZDM_STEP_DDL, AccessExclusiveLock, "drop the column",
										psprintf("ALTER TABLE %s DROP COLUMN %s",
												 zdm_quote_relation(migration->relation),
												 quote_identifier(lfirst(lc)))));
	return steps;
}

static List *
attached(ZdmMigration *migration, ZdmPhase phase)
{
	ZdmMirrorRule *rule = mirror(migration);
	Relation	target;
	ZdmReference *key;
	List	   *result = NIL;
	ListCell   *lc;

	if (phase != ZDM_ROLLBACK)
		return zdm_table_dependents(join_table(migration));
	target = table_open(migration->relation, AccessShareLock);
	key = zdm_reference_of(target, value_columns(migration, true));
	foreach(lc, rule->first_columns)
	{
		ListCell   *line;

		foreach(line, zdm_column_dependents(migration->relation, lfirst(lc), migration->id))
		{
			/* Its own foreign key, and the index that it needs, go with it. */
			if ((key == NULL || strcmp(lfirst(line), zdm_constraint_description(key->constraint)) != 0) &&
				!zdm_is_index_on(target, value_columns(migration, true), lfirst(line)))
				result = zdm_add_line(result, lfirst(line));
		}
	}
	table_close(target, AccessShareLock);
	return result;
}

/*
 * Both tables must keep the columns, with one type.
 */
static void
guard(ZdmMigration *migration, Relation target)
{
	zdm_guard_mirror(migration);
}

static List *
notes(ZdmMigration *migration, Relation target)
{
	ZdmMirrorRule *rule = mirror(migration);
	char	   *table = zdm_quote_relation(rule->first);
	char	   *columns = list_sql("", value_columns(migration, true), ", ");
	List	   *not_moved = zdm_not_moved(rule);
	List	   *functions = zdm_functions_mentioning(rule->second, linitial(rule->second_keys));
	char	   *roles = zdm_gaining_roles(rule->first, rule->second);
	List	   *result = NIL;

	if (functions != NIL)
		result = lappend(result,
						 zdm_note(true, "after contract table %s is gone; these functions mention it: %s",
								  zdm_quote_relation(rule->second), zdm_names_text(functions)));
	if (not_moved != NIL)
		result = lappend(result,
						 zdm_note(true, "what these demand of table %s holds until contract, and nothing demands it of the column: %s; add to table %s what is to hold",
								  zdm_quote_relation(rule->second), zdm_column_list(not_moved), table));
	if (roles != NULL)
		result = lappend(result,
						 zdm_note(true, "%s may do with table %s what they may not with table %s, and so may with %s",
								  roles, table, zdm_quote_relation(rule->second), columns));
	if (zdm_has_row_security(rule->second))
		result = lappend(result,
						 zdm_note(true, "table %s shows in %s what the policies of table %s hide",
								  table, columns, zdm_quote_relation(rule->second)));
	result = list_concat(result, zdm_mirror_notes(rule));
	if (rule->referencing)
		result = lappend(result,
						 zdm_note(false, "until contract, deleting a row of %s does what the foreign key of the join table says",
								  table));
	result = lappend(result,
					 zdm_note(false, "TRUNCATE of %s sets the column NULL in all rows, in the same statement",
							  zdm_quote_relation(rule->second)));
	if (list_length(migration->others) > 1)
		result = lappend(result,
						 zdm_note(false, "TRUNCATE of %s fails unless it names %s as well, and with CASCADE empties that table, too: the new column refers to it",
								  zdm_quote_relation(lsecond_oid(migration->others)), table));
	result = lappend(result,
					 zdm_note(false, "SELECT * and RETURNING * gain a column at expand: a statement that was prepared with a star fails with \"cached plan must not change result type\" until it is prepared again"));
	return lappend(result,
				   zdm_note(false, "the new version may start once the state is ready: before, rows that were not backfilled read NULL in %s",
							columns));
}

const ZdmPattern zdm_join_table_to_column_pattern = {
	.name = "join_table_to_column",
	.strategy = "dual_write",
	.check = check,
	.expand = expand,
	.migrate = migrate,
	.contract = contract,
	.finish = finish,
	.rollback = rollback,
	.statements = statements,
	.attached = attached,
	.indexes = indexes,
	.guard = guard,
	.notes = notes,
};
