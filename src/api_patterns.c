/*-------------------------------------------------------------------------
 *
 * api_patterns.c
 *	  The SQL-callable functions of the patterns: arguments in, one call down,
 *	  result out.
 *
 * Whose table it is comes before everything else that could be wrong.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "nodes/value.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/varlena.h"

#include "arguments.h"
#include "catalog/migration.h"
#include "catalog/sync_rule.h"
#include "lifecycle/background.h"
#include "lifecycle/lifecycle.h"
#include "lifecycle/registry.h"
#include "patterns/merge_columns.h"
#include "patterns/split_column.h"
#include "schema/retype.h"
#include "schema/table.h"
#include "schema/twin.h"
#include "schema/view.h"
#include "util/ident.h"
#include "util/spi.h"

PG_FUNCTION_INFO_V1(zdm_rename_column);
PG_FUNCTION_INFO_V1(zdm_add_column);
PG_FUNCTION_INFO_V1(zdm_set_not_null);
PG_FUNCTION_INFO_V1(zdm_drop_not_null);
PG_FUNCTION_INFO_V1(zdm_drop_column);
PG_FUNCTION_INFO_V1(zdm_change_column_type);
PG_FUNCTION_INFO_V1(zdm_split_column);
PG_FUNCTION_INFO_V1(zdm_merge_columns);
PG_FUNCTION_INFO_V1(zdm_rename_table);
PG_FUNCTION_INFO_V1(zdm_drop_table);
PG_FUNCTION_INFO_V1(zdm_join_table_to_column);
PG_FUNCTION_INFO_V1(zdm_column_to_join_table);
PG_FUNCTION_INFO_V1(zdm__sync_columns);

/*
 * A migration of a table, which must be the caller's.
 */
static ZdmMigration *
new_migration(const char *pattern, const char *strategy, Oid relation)
{
	ZdmMigration *migration = palloc0_object(ZdmMigration);

	migration->pattern = pstrdup(pattern);
	migration->strategy = pstrdup(strategy);
	migration->relation = relation;
	zdm_check_caller(relation);
	return migration;
}

/*
 * The same of the table that the first argument names.
 */
static ZdmMigration *
table_migration(FunctionCallInfo fcinfo, const char *pattern, const char *strategy)
{
	zdm_require(fcinfo, 0, "relation");
	return new_migration(pattern, strategy, PG_GETARG_OID(0));
}

/*
 * Begin the migration, by the name that the argument of that number gives, or
 * the default one.
 */
static Datum
expand(ZdmMigration *migration, FunctionCallInfo fcinfo, int number,
	   char *default_name)
{
	char	   *name = zdm_text_argument(fcinfo, number);

	migration->name = name ? name : default_name;
	name = zdm_lifecycle_expand(migration);
	zdm_background_pick_up();
	return CStringGetTextDatum(name);
}

Datum
zdm_rename_column(PG_FUNCTION_ARGS)
{
	ZdmMigration *migration;
	char	   *label;
	char	   *old_name,
			   *new_name;

	zdm_require(fcinfo, 0, "relation");
	zdm_require(fcinfo, 3, "strategy");
	migration = new_migration("rename_column", zdm_text_argument(fcinfo, 3),
							  zdm_viewed_table(PG_GETARG_OID(0)));
	old_name = zdm_name_argument(fcinfo, 1, "old_name");
	new_name = zdm_name_argument(fcinfo, 2, "new_name");
	migration->old_columns = list_make1(old_name);
	migration->new_columns = list_make1(new_name);
	zdm_check_strategy(migration);
	label = zdm_relation_label(PG_GETARG_OID(0));
	if (strcmp(migration->strategy, "view") == 0)
		zdm_set_argument(migration, "relation_name", label);
	return expand(migration, fcinfo, 4,
				  zdm_default_name("rename_%s_%s_to_%s", label, old_name, new_name));
}

Datum
zdm_add_column(PG_FUNCTION_ARGS)
{
	ZdmMigration *migration = table_migration(fcinfo, "add_column", "in_place");
	char	   *column = zdm_name_argument(fcinfo, 1, "column_name");

	zdm_require(fcinfo, 2, "type");
	zdm_require(fcinfo, 4, "not_null");
	migration->new_columns = list_make1(column);
	zdm_set_argument(migration, "type", zdm_text_argument(fcinfo, 2));
	zdm_set_argument(migration, "default_value", zdm_text_argument(fcinfo, 3));
	zdm_set_argument(migration, "not_null", PG_GETARG_BOOL(4) ? "true" : NULL);
	zdm_set_argument(migration, "fill", zdm_text_argument(fcinfo, 5));
	zdm_set_argument(migration, "generated", zdm_text_argument(fcinfo, 6));
	return expand(migration, fcinfo, 7,
				  zdm_default_name("add_%s_%s", zdm_relation_label(migration->relation), column));
}

Datum
zdm_set_not_null(PG_FUNCTION_ARGS)
{
	ZdmMigration *migration = table_migration(fcinfo, "set_not_null", "in_place");
	char	   *column = zdm_name_argument(fcinfo, 1, "column_name");

	migration->new_columns = list_make1(column);
	zdm_set_argument(migration, "fill", zdm_text_argument(fcinfo, 2));
	return expand(migration, fcinfo, 3,
				  zdm_default_name("set_%s_%s_not_null", zdm_relation_label(migration->relation), column));
}

Datum
zdm_drop_not_null(PG_FUNCTION_ARGS)
{
	ZdmMigration *migration = table_migration(fcinfo, "drop_not_null", "in_place");
	char	   *column = zdm_name_argument(fcinfo, 1, "column_name");

	migration->new_columns = list_make1(column);
	return expand(migration, fcinfo, 2,
				  zdm_default_name("drop_%s_%s_not_null", zdm_relation_label(migration->relation), column));
}

Datum
zdm_drop_column(PG_FUNCTION_ARGS)
{
	ZdmMigration *migration = table_migration(fcinfo, "drop_column", "in_place");
	char	   *column = zdm_name_argument(fcinfo, 1, "column_name");

	migration->old_columns = list_make1(column);
	zdm_set_argument(migration, "fill", zdm_text_argument(fcinfo, 2));
	return expand(migration, fcinfo, 3,
				  zdm_default_name("drop_%s_%s", zdm_relation_label(migration->relation), column));
}

Datum
zdm_change_column_type(PG_FUNCTION_ARGS)
{
	ZdmMigration *migration = table_migration(fcinfo, "change_column_type", "dual_write");
	char	   *column = zdm_name_argument(fcinfo, 1, "column_name");
	char	   *type_text;
	ZdmType		type;

	zdm_require(fcinfo, 2, "new_type");
	zdm_require(fcinfo, 5, "on_down_error");
	zdm_require(fcinfo, 6, "views");
	zdm_type_parse(zdm_text_argument(fcinfo, 2), &type);
	type_text = zdm_type_text(&type);
	migration->old_columns = list_make1(column);
	migration->new_columns = list_make1(zdm_twin_name(column));
	zdm_set_argument(migration, "new_type", type_text);
	zdm_set_argument(migration, "up", zdm_text_argument(fcinfo, 3));
	zdm_set_argument(migration, "down", zdm_text_argument(fcinfo, 4));
	zdm_set_argument(migration, "on_down_error", zdm_text_argument(fcinfo, 5));
	zdm_set_argument(migration, "views", zdm_text_argument(fcinfo, 6));
	return expand(migration, fcinfo, 7,
				  zdm_default_name("change_%s_%s_to_%s", zdm_relation_label(migration->relation),
								   column, type_text));
}

Datum
zdm_split_column(PG_FUNCTION_ARGS)
{
	ZdmMigration *migration = table_migration(fcinfo, "split_column", "dual_write");
	char	   *column = zdm_name_argument(fcinfo, 1, "column_name");
	char	   *into = zdm_json_argument(fcinfo, 2, "into");

	zdm_require(fcinfo, 3, "down");
	migration->old_columns = list_make1(column);
	zdm_split_column_into(migration, into, zdm_text_argument(fcinfo, 3));
	return expand(migration, fcinfo, 4,
				  zdm_default_name("split_%s_%s", zdm_relation_label(migration->relation), column));
}

Datum
zdm_merge_columns(PG_FUNCTION_ARGS)
{
	ZdmMigration *migration = table_migration(fcinfo, "merge_columns", "dual_write");
	char	   *new_name = zdm_name_argument(fcinfo, 2, "new_name");
	char	   *down = zdm_json_argument(fcinfo, 5, "down");

	zdm_require(fcinfo, 1, "columns");
	zdm_require(fcinfo, 3, "new_type");
	zdm_require(fcinfo, 4, "up");
	migration->old_columns = zdm_strings_from_array(PG_GETARG_DATUM(1));
	migration->new_columns = list_make1(new_name);
	zdm_merge_columns_into(migration, zdm_text_argument(fcinfo, 3), zdm_text_argument(fcinfo, 4), down);
	return expand(migration, fcinfo, 6,
				  zdm_default_name("merge_%s_into_%s", zdm_relation_label(migration->relation), new_name));
}

Datum
zdm_rename_table(PG_FUNCTION_ARGS)
{
	ZdmMigration *migration;
	char	   *label;
	List	   *new_name;

	zdm_require(fcinfo, 0, "relation");
	zdm_require(fcinfo, 1, "new_name");
	zdm_require(fcinfo, 2, "strategy");
	zdm_require(fcinfo, 3, "rename_owned");
	migration = new_migration("rename_table", zdm_text_argument(fcinfo, 2),
							  zdm_viewed_table(PG_GETARG_OID(0)));
	zdm_check_strategy(migration);
	label = zdm_relation_label(PG_GETARG_OID(0));
	new_name = zdm_relation_name(zdm_text_argument(fcinfo, 1), "new_name");
	zdm_set_argument(migration, "old_schema",
					 get_namespace_name(get_rel_namespace(PG_GETARG_OID(0))));
	zdm_set_argument(migration, "old_name", label);
	zdm_set_argument(migration, "new_name", NameListToQuotedString(new_name));
	if (PG_GETARG_BOOL(3))
		zdm_set_argument(migration, "rename_owned", "true");
	zdm_set_argument(migration, "definition", zdm_text_argument(fcinfo, 4));
	return expand(migration, fcinfo, 5,
				  zdm_default_name("rename_%s_to_%s%s%s", label,
								   list_length(new_name) > 1 ? strVal(linitial(new_name)) : "",
								   list_length(new_name) > 1 ? "_" : "",
								   strVal(llast(new_name))));
}

Datum
zdm_drop_table(PG_FUNCTION_ARGS)
{
	ZdmMigration *migration = table_migration(fcinfo, "drop_table", "in_place");

	zdm_set_argument(migration, "table_name", get_rel_name(migration->relation));
	return expand(migration, fcinfo, 1,
				  zdm_default_name("drop_%s", zdm_relation_label(migration->relation)));
}

Datum
zdm_join_table_to_column(PG_FUNCTION_ARGS)
{
	ZdmMigration *migration;
	Oid			join;
	char	   *column;

	zdm_require(fcinfo, 0, "join_table");
	zdm_require(fcinfo, 1, "target");
	join = PG_GETARG_OID(0);
	migration = new_migration("join_table_to_column", "dual_write", PG_GETARG_OID(1));
	zdm_check_caller(join);
	column = zdm_name_argument(fcinfo, 2, "column_name");
	migration->new_columns = list_make1(column);
	migration->others = list_make1_oid(join);
	zdm_set_argument(migration, "join_table", zdm_quote_relation(join));
	zdm_set_argument(migration, "columns", zdm_output_argument(fcinfo, 3, JSONBOID));
	zdm_set_argument(migration, "target_columns", zdm_output_argument(fcinfo, 4, NAMEARRAYOID));
	zdm_set_argument(migration, "value_columns", zdm_output_argument(fcinfo, 5, NAMEARRAYOID));
	return expand(migration, fcinfo, 6,
				  zdm_default_name("fold_%s_into_%s_%s", zdm_relation_label(join),
								   zdm_relation_label(migration->relation), column));
}

Datum
zdm_column_to_join_table(PG_FUNCTION_ARGS)
{
	ZdmMigration *migration = table_migration(fcinfo, "column_to_join_table", "dual_write");
	char	   *column = zdm_name_argument(fcinfo, 1, "column_name");
	char	   *first_by;
	RangeVar   *join;

	zdm_require(fcinfo, 2, "join_table");
	zdm_require(fcinfo, 3, "first_by");
	migration->old_columns = list_make1(column);
	join = makeRangeVarFromNameList(textToQualifiedNameList(PG_GETARG_TEXT_PP(2)));
	first_by = zdm_text_argument(fcinfo, 3);
	if (join->catalogname != NULL || (strcmp(first_by, "asc") != 0 && strcmp(first_by, "desc") != 0))
		ereport(ERROR,
				errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				join->catalogname != NULL
				? errmsg("\"join_table\" names a database")
				: errmsg("\"first_by\" is neither asc nor desc"),
				errhint("See \\df+ zdm.column_to_join_table"));
	zdm_set_argument(migration, "join_table", join->relname);
	zdm_set_argument(migration, "schema", join->schemaname ? join->schemaname
					 : get_namespace_name(get_rel_namespace(migration->relation)));
	zdm_set_argument(migration, "first_by", first_by);
	return expand(migration, fcinfo, 4,
				  zdm_default_name("spread_%s_%s_into_%s", zdm_relation_label(migration->relation),
								   column, join->relname));
}

Datum
zdm__sync_columns(PG_FUNCTION_ARGS)
{
	ZdmMigration *migration = table_migration(fcinfo, "sync_columns", "dual_write");
	ZdmSyncRule *rule = palloc0_object(ZdmSyncRule);

	rule->relation = migration->relation;
	migration->old_columns = rule->old_columns = zdm_strings_from_array(PG_GETARG_DATUM(1));
	migration->new_columns = rule->new_columns = zdm_strings_from_array(PG_GETARG_DATUM(2));
	rule->up = zdm_strings_from_array(PG_GETARG_DATUM(3));
	rule->down = zdm_strings_from_array(PG_GETARG_DATUM(4));
	migration->rules = list_make1(rule);
	return expand(migration, fcinfo, 5, NULL);
}
