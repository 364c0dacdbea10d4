/*-------------------------------------------------------------------------
 *
 * api.c
 *	  Every SQL-callable function: arguments in, one call down, result out.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "commands/event_trigger.h"
#include "commands/trigger.h"
#include "fmgr.h"
#include "funcapi.h"
#include "nodes/parsenodes.h"
#include "nodes/value.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"
#include "utils/timestamp.h"
#include "utils/varlena.h"

#include "backfill/verify.h"
#include "catalog/migration.h"
#include "catalog/sync_rule.h"
#include "lifecycle/background.h"
#include "lifecycle/control.h"
#include "lifecycle/explain.h"
#include "lifecycle/guard.h"
#include "lifecycle/lifecycle.h"
#include "lifecycle/registry.h"
#include "patterns/merge_columns.h"
#include "patterns/split_column.h"
#include "schema/clone.h"
#include "schema/retype.h"
#include "schema/table.h"
#include "schema/twin.h"
#include "schema/view.h"
#include "sync/mirror.h"
#include "sync/row_sync.h"
#include "util/ident.h"
#include "util/spi.h"

PG_FUNCTION_INFO_V1(zdm_rename_column);
PG_FUNCTION_INFO_V1(zdm__sync_columns);
PG_FUNCTION_INFO_V1(zdm_change_column_type);
PG_FUNCTION_INFO_V1(zdm_split_column);
PG_FUNCTION_INFO_V1(zdm_merge_columns);
PG_FUNCTION_INFO_V1(zdm_add_column);
PG_FUNCTION_INFO_V1(zdm_set_not_null);
PG_FUNCTION_INFO_V1(zdm_drop_not_null);
PG_FUNCTION_INFO_V1(zdm_rename_table);
PG_FUNCTION_INFO_V1(zdm_drop_column);
PG_FUNCTION_INFO_V1(zdm_drop_table);
PG_FUNCTION_INFO_V1(zdm_start);
PG_FUNCTION_INFO_V1(zdm_pause);
PG_FUNCTION_INFO_V1(zdm_resume);
PG_FUNCTION_INFO_V1(zdm_wait);
PG_FUNCTION_INFO_V1(zdm_backfill);
PG_FUNCTION_INFO_V1(zdm_verify);
PG_FUNCTION_INFO_V1(zdm_contract);
PG_FUNCTION_INFO_V1(zdm_finish);
PG_FUNCTION_INFO_V1(zdm_rollback);
PG_FUNCTION_INFO_V1(zdm_explain);
PG_FUNCTION_INFO_V1(zdm__sync_row);
PG_FUNCTION_INFO_V1(zdm__guard);
PG_FUNCTION_INFO_V1(zdm_join_table_to_column);
PG_FUNCTION_INFO_V1(zdm_column_to_join_table);
PG_FUNCTION_INFO_V1(zdm__mirror);
PG_FUNCTION_INFO_V1(zdm__load);
PG_FUNCTION_INFO_V1(zdm__next_identity);
PG_FUNCTION_INFO_V1(zdm__guard_start);

/* An argument that must not be NULL. */
static void
require(FunctionCallInfo fcinfo, int number, const char *argument)
{
	if (PG_ARGISNULL(number))
		ereport(ERROR,
				errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				errmsg("argument \"%s\" is NULL", argument),
				errhint("See \\df+ zdm.*"));
}

static char *
text_argument(FunctionCallInfo fcinfo, int number)
{
	return PG_ARGISNULL(number) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(number));
}

static char *
name_argument(FunctionCallInfo fcinfo, int number)
{
	return pstrdup(NameStr(*PG_GETARG_NAME(number)));
}

/* A jsonb as the text that it has. */
static char *
json_argument(FunctionCallInfo fcinfo, int number)
{
	Jsonb	   *json = PG_GETARG_JSONB_P(number);

	return JsonbToCString(NULL, &json->root, VARSIZE(json));
}

/*
 * An argument of a type as its text, NULL for an SQL NULL.
 */
static char *
output_argument(FunctionCallInfo fcinfo, int number, Oid type)
{
	Oid			output;
	bool		varlena;

	if (PG_ARGISNULL(number))
		return NULL;
	getTypeOutputInfo(type, &output, &varlena);
	return OidOutputFunctionCall(output, PG_GETARG_DATUM(number));
}

/*
 * Whether a procedure must not commit.
 */
static bool
is_atomic(FunctionCallInfo fcinfo)
{
	return fcinfo->context == NULL || !IsA(fcinfo->context, CallContext) ||
		castNode(CallContext, fcinfo->context)->atomic;
}

static Datum
state_result(ZdmState state)
{
	zdm_background_pick_up();
	return CStringGetTextDatum(zdm_state_name(state));
}

static Datum
expand_result(ZdmMigration *migration)
{
	char	   *name = zdm_lifecycle_expand(migration);

	zdm_background_pick_up();
	return CStringGetTextDatum(name);
}

Datum
zdm_rename_column(PG_FUNCTION_ARGS)
{
	ZdmMigration *migration = palloc0_object(ZdmMigration);
	char	   *old_name,
			   *new_name;

	require(fcinfo, 0, "relation");
	require(fcinfo, 1, "old_name");
	require(fcinfo, 2, "new_name");
	require(fcinfo, 3, "strategy");
	migration->pattern = pstrdup("rename_column");
	migration->relation = zdm_viewed_table(PG_GETARG_OID(0));
	old_name = name_argument(fcinfo, 1);
	new_name = name_argument(fcinfo, 2);
	migration->old_columns = list_make1(old_name);
	migration->new_columns = list_make1(new_name);
	migration->strategy = text_argument(fcinfo, 3);
	migration->name = text_argument(fcinfo, 4);
	zdm_check_caller(migration->relation);
	zdm_check_strategy(migration);
	if (strcmp(migration->strategy, "view") == 0)
		zdm_set_argument(migration, "relation_name", zdm_relation_label(PG_GETARG_OID(0)));
	if (migration->name == NULL)
		migration->name = zdm_default_name("rename_%s_%s_to_%s",
										   zdm_relation_label(PG_GETARG_OID(0)),
										   old_name, new_name);
	return expand_result(migration);
}

Datum
zdm__sync_columns(PG_FUNCTION_ARGS)
{
	ZdmMigration *migration = palloc0_object(ZdmMigration);
	ZdmSyncRule *rule = palloc0_object(ZdmSyncRule);

	migration->pattern = pstrdup("sync_columns");
	migration->strategy = pstrdup("dual_write");
	migration->relation = rule->relation = PG_GETARG_OID(0);
	migration->old_columns = rule->old_columns = zdm_strings_from_array(PG_GETARG_DATUM(1));
	migration->new_columns = rule->new_columns = zdm_strings_from_array(PG_GETARG_DATUM(2));
	rule->up = zdm_strings_from_array(PG_GETARG_DATUM(3));
	rule->down = zdm_strings_from_array(PG_GETARG_DATUM(4));
	migration->rules = list_make1(rule);
	migration->name = text_argument(fcinfo, 5);
	return expand_result(migration);
}

/*
 * A migration of one column of a table: the first two arguments.
 */
static ZdmMigration *
column_migration(FunctionCallInfo fcinfo, const char *pattern)
{
	ZdmMigration *migration = palloc0_object(ZdmMigration);

	require(fcinfo, 0, "relation");
	require(fcinfo, 1, "column_name");
	migration->pattern = pstrdup(pattern);
	migration->strategy = pstrdup("in_place");
	migration->relation = PG_GETARG_OID(0);
	migration->new_columns = list_make1(name_argument(fcinfo, 1));
	zdm_check_caller(migration->relation);
	return migration;
}

Datum
zdm_add_column(PG_FUNCTION_ARGS)
{
	ZdmMigration *migration = column_migration(fcinfo, "add_column");

	require(fcinfo, 2, "type");
	require(fcinfo, 4, "not_null");
	zdm_set_argument(migration, "type", text_argument(fcinfo, 2));
	zdm_set_argument(migration, "default_value", text_argument(fcinfo, 3));
	zdm_set_argument(migration, "not_null", PG_GETARG_BOOL(4) ? "true" : NULL);
	zdm_set_argument(migration, "fill", text_argument(fcinfo, 5));
	zdm_set_argument(migration, "generated", text_argument(fcinfo, 6));
	migration->name = text_argument(fcinfo, 7);
	if (migration->name == NULL)
		migration->name = zdm_default_name("add_%s_%s", zdm_relation_label(migration->relation),
										   (char *) linitial(migration->new_columns));
	return expand_result(migration);
}

Datum
zdm_set_not_null(PG_FUNCTION_ARGS)
{
	ZdmMigration *migration = column_migration(fcinfo, "set_not_null");

	zdm_set_argument(migration, "fill", text_argument(fcinfo, 2));
	migration->name = text_argument(fcinfo, 3);
	if (migration->name == NULL)
		migration->name = zdm_default_name("set_%s_%s_not_null", zdm_relation_label(migration->relation),
										   (char *) linitial(migration->new_columns));
	return expand_result(migration);
}

Datum
zdm_drop_not_null(PG_FUNCTION_ARGS)
{
	ZdmMigration *migration = column_migration(fcinfo, "drop_not_null");

	migration->name = text_argument(fcinfo, 2);
	if (migration->name == NULL)
		migration->name = zdm_default_name("drop_%s_%s_not_null", zdm_relation_label(migration->relation),
										   (char *) linitial(migration->new_columns));
	return expand_result(migration);
}

Datum
zdm_change_column_type(PG_FUNCTION_ARGS)
{
	ZdmMigration *migration = palloc0_object(ZdmMigration);
	char	   *column;
	char	   *type_text;
	ZdmType		type;

	require(fcinfo, 0, "relation");
	require(fcinfo, 1, "column_name");
	require(fcinfo, 2, "new_type");
	require(fcinfo, 5, "on_down_error");
	require(fcinfo, 6, "views");
	migration->pattern = pstrdup("change_column_type");
	migration->strategy = pstrdup("dual_write");
	migration->relation = PG_GETARG_OID(0);
	column = name_argument(fcinfo, 1);
	migration->name = text_argument(fcinfo, 7);
	zdm_check_caller(migration->relation);
	zdm_type_parse(text_argument(fcinfo, 2), &type);
	type_text = zdm_type_text(&type);
	migration->old_columns = list_make1(column);
	migration->new_columns = list_make1(zdm_twin_name(column));
	zdm_set_argument(migration, "new_type", type_text);
	zdm_set_argument(migration, "up", text_argument(fcinfo, 3));
	zdm_set_argument(migration, "down", text_argument(fcinfo, 4));
	zdm_set_argument(migration, "on_down_error", text_argument(fcinfo, 5));
	zdm_set_argument(migration, "views", text_argument(fcinfo, 6));
	if (migration->name == NULL)
		migration->name = zdm_default_name("change_%s_%s_to_%s",
										   zdm_relation_label(migration->relation),
										   column, type_text);
	return expand_result(migration);
}

Datum
zdm_split_column(PG_FUNCTION_ARGS)
{
	ZdmMigration *migration = palloc0_object(ZdmMigration);

	require(fcinfo, 0, "relation");
	require(fcinfo, 1, "column_name");
	require(fcinfo, 2, "into");
	require(fcinfo, 3, "down");
	migration->pattern = pstrdup("split_column");
	migration->strategy = pstrdup("dual_write");
	migration->relation = PG_GETARG_OID(0);
	migration->old_columns = list_make1(name_argument(fcinfo, 1));
	migration->name = text_argument(fcinfo, 4);
	zdm_check_caller(migration->relation);
	zdm_split_column_into(migration, json_argument(fcinfo, 2), text_argument(fcinfo, 3));
	if (migration->name == NULL)
		migration->name = zdm_default_name("split_%s_%s",
										   zdm_relation_label(migration->relation),
										   (char *) linitial(migration->old_columns));
	return expand_result(migration);
}

Datum
zdm_merge_columns(PG_FUNCTION_ARGS)
{
	ZdmMigration *migration = palloc0_object(ZdmMigration);

	require(fcinfo, 0, "relation");
	require(fcinfo, 1, "columns");
	require(fcinfo, 2, "new_name");
	require(fcinfo, 3, "new_type");
	require(fcinfo, 4, "up");
	require(fcinfo, 5, "down");
	require(fcinfo, 7, "not_null");
	migration->pattern = pstrdup("merge_columns");
	migration->strategy = pstrdup("dual_write");
	migration->relation = PG_GETARG_OID(0);
	migration->old_columns = zdm_strings_from_array(PG_GETARG_DATUM(1));
	migration->new_columns = list_make1(name_argument(fcinfo, 2));
	migration->name = text_argument(fcinfo, 8);
	zdm_check_caller(migration->relation);
	zdm_merge_columns_into(migration, text_argument(fcinfo, 3), text_argument(fcinfo, 4),
						   json_argument(fcinfo, 5), text_argument(fcinfo, 6), PG_GETARG_BOOL(7));
	if (migration->name == NULL)
		migration->name = zdm_default_name("merge_%s_into_%s",
										   zdm_relation_label(migration->relation),
										   (char *) linitial(migration->new_columns));
	return expand_result(migration);
}

Datum
zdm_rename_table(PG_FUNCTION_ARGS)
{
	ZdmMigration *migration = palloc0_object(ZdmMigration);
	char	   *label;
	List	   *new_name;

	require(fcinfo, 0, "relation");
	require(fcinfo, 1, "new_name");
	require(fcinfo, 2, "strategy");
	require(fcinfo, 3, "rename_owned");
	migration->pattern = pstrdup("rename_table");
	migration->strategy = text_argument(fcinfo, 2);
	migration->relation = zdm_viewed_table(PG_GETARG_OID(0));
	migration->name = text_argument(fcinfo, 5);
	zdm_check_caller(migration->relation);
	zdm_check_strategy(migration);
	label = zdm_relation_label(PG_GETARG_OID(0));
	new_name = zdm_relation_name(text_argument(fcinfo, 1), "new_name");
	zdm_set_argument(migration, "old_schema",
					 get_namespace_name(get_rel_namespace(PG_GETARG_OID(0))));
	zdm_set_argument(migration, "old_name", label);
	zdm_set_argument(migration, "new_name", NameListToQuotedString(new_name));
	if (PG_GETARG_BOOL(3))
		zdm_set_argument(migration, "rename_owned", "true");
	zdm_set_argument(migration, "definition", text_argument(fcinfo, 4));
	if (migration->name == NULL)
		migration->name = zdm_default_name("rename_%s_to_%s%s%s", label,
										   list_length(new_name) > 1 ? strVal(linitial(new_name)) : "",
										   list_length(new_name) > 1 ? "_" : "",
										   strVal(llast(new_name)));
	return expand_result(migration);
}

Datum
zdm_drop_column(PG_FUNCTION_ARGS)
{
	ZdmMigration *migration = column_migration(fcinfo, "drop_column");

	migration->old_columns = migration->new_columns;
	migration->new_columns = NIL;
	zdm_set_argument(migration, "fill", text_argument(fcinfo, 2));
	migration->name = text_argument(fcinfo, 3);
	if (migration->name == NULL)
		migration->name = zdm_default_name("drop_%s_%s", zdm_relation_label(migration->relation),
										   (char *) linitial(migration->old_columns));
	return expand_result(migration);
}

Datum
zdm_drop_table(PG_FUNCTION_ARGS)
{
	ZdmMigration *migration = palloc0_object(ZdmMigration);

	require(fcinfo, 0, "relation");
	migration->pattern = pstrdup("drop_table");
	migration->strategy = pstrdup("in_place");
	migration->relation = PG_GETARG_OID(0);
	migration->name = text_argument(fcinfo, 1);
	zdm_check_caller(migration->relation);
	zdm_set_argument(migration, "table_name", get_rel_name(migration->relation));
	if (migration->name == NULL)
		migration->name = zdm_default_name("drop_%s", zdm_relation_label(migration->relation));
	return expand_result(migration);
}

Datum
zdm_join_table_to_column(PG_FUNCTION_ARGS)
{
	ZdmMigration *migration = palloc0_object(ZdmMigration);
	Oid			join;
	char	   *column;

	require(fcinfo, 0, "join_table");
	require(fcinfo, 1, "target");
	require(fcinfo, 2, "column_name");
	migration->pattern = pstrdup("join_table_to_column");
	migration->strategy = pstrdup("dual_write");
	join = PG_GETARG_OID(0);
	migration->relation = PG_GETARG_OID(1);
	column = name_argument(fcinfo, 2);
	migration->new_columns = list_make1(column);
	migration->others = list_make1_oid(join);
	migration->name = text_argument(fcinfo, 6);
	zdm_check_caller(migration->relation);
	zdm_check_caller(join);
	zdm_set_argument(migration, "join_table", zdm_quote_relation(join));
	zdm_set_argument(migration, "columns", output_argument(fcinfo, 3, JSONBOID));
	zdm_set_argument(migration, "target_columns", output_argument(fcinfo, 4, NAMEARRAYOID));
	zdm_set_argument(migration, "value_columns", output_argument(fcinfo, 5, NAMEARRAYOID));
	if (migration->name == NULL)
		migration->name = zdm_default_name("fold_%s_into_%s_%s", zdm_relation_label(join),
										   zdm_relation_label(migration->relation), column);
	return expand_result(migration);
}

Datum
zdm_column_to_join_table(PG_FUNCTION_ARGS)
{
	ZdmMigration *migration = palloc0_object(ZdmMigration);
	char	   *column;
	char	   *first_by;
	RangeVar   *join;

	require(fcinfo, 0, "relation");
	require(fcinfo, 1, "column_name");
	require(fcinfo, 2, "join_table");
	require(fcinfo, 3, "first_by");
	migration->pattern = pstrdup("column_to_join_table");
	migration->strategy = pstrdup("dual_write");
	migration->relation = PG_GETARG_OID(0);
	column = name_argument(fcinfo, 1);
	migration->old_columns = list_make1(column);
	join = makeRangeVarFromNameList(textToQualifiedNameList(PG_GETARG_TEXT_PP(2)));
	first_by = text_argument(fcinfo, 3);
	migration->name = text_argument(fcinfo, 4);
	zdm_check_caller(migration->relation);
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
	if (migration->name == NULL)
		migration->name = zdm_default_name("spread_%s_%s_into_%s",
										   zdm_relation_label(migration->relation),
										   column, join->relname);
	return expand_result(migration);
}

/*
 * Any trigger of two tables that mirror each other.
 */
Datum
zdm__mirror(PG_FUNCTION_ARGS)
{
	if (!CALLED_AS_TRIGGER(fcinfo))
		ereport(ERROR,
				errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				errmsg("function \"%s\" was not called by trigger manager", "zdm._mirror"));
	return PointerGetDatum(zdm_mirror_fire((TriggerData *) fcinfo->context));
}

Datum
zdm__next_identity(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT64(zdm_clone_next(PG_GETARG_OID(0)));
}

/*
 * Whoever plans this has the library.
 */
Datum
zdm__load(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(true);
}

Datum
zdm_backfill(PG_FUNCTION_ARGS)
{
	require(fcinfo, 0, "migration");
	zdm_lifecycle_migrate(text_argument(fcinfo, 0), is_atomic(fcinfo));
	PG_RETURN_VOID();
}

Datum
zdm_start(PG_FUNCTION_ARGS)
{
	char	   *throttle = text_argument(fcinfo, 2);

	require(fcinfo, 0, "migration");
	return state_result(zdm_control_start(text_argument(fcinfo, 0),
										  PG_ARGISNULL(1) ? ZDM_DEFAULT_WORKERS
										  : Max(0, PG_GETARG_INT32(1)),
										  throttle));
}

Datum
zdm_pause(PG_FUNCTION_ARGS)
{
	require(fcinfo, 0, "migration");
	return state_result(zdm_control_pause(text_argument(fcinfo, 0)));
}

Datum
zdm_resume(PG_FUNCTION_ARGS)
{
	require(fcinfo, 0, "migration");
	return state_result(zdm_control_resume(text_argument(fcinfo, 0)));
}

Datum
zdm_wait(PG_FUNCTION_ARGS)
{
	require(fcinfo, 0, "migration");
	require(fcinfo, 1, "timeout");
	zdm_control_wait(text_argument(fcinfo, 0), PG_GETARG_INTERVAL_P(1), is_atomic(fcinfo));
	PG_RETURN_VOID();
}

Datum
zdm_verify(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;

	require(fcinfo, 0, "migration");
	InitMaterializedSRF(fcinfo, 0);
	zdm_verify_tables(zdm_migration_of_caller(text_argument(fcinfo, 0)),
					  result->setResult, result->setDesc);
	zdm_background_pick_up();
	return (Datum) 0;
}

Datum
zdm_contract(PG_FUNCTION_ARGS)
{
	require(fcinfo, 0, "migration");
	return state_result(zdm_lifecycle_contract(text_argument(fcinfo, 0),
											   PG_ARGISNULL(1) ? NULL : PG_GETARG_INTERVAL_P(1)));
}

Datum
zdm_finish(PG_FUNCTION_ARGS)
{
	require(fcinfo, 0, "migration");
	return state_result(zdm_lifecycle_finish(text_argument(fcinfo, 0)));
}

Datum
zdm_rollback(PG_FUNCTION_ARGS)
{
	require(fcinfo, 0, "migration");
	return state_result(zdm_lifecycle_rollback(text_argument(fcinfo, 0)));
}

Datum
zdm_explain(PG_FUNCTION_ARGS)
{
	require(fcinfo, 0, "call");
	InitMaterializedSRF(fcinfo, 0);
	zdm_explain_call(text_argument(fcinfo, 0), (ReturnSetInfo *) fcinfo->resultinfo);
	return (Datum) 0;
}

Datum
zdm__sync_row(PG_FUNCTION_ARGS)
{
	TriggerData *trigdata = (TriggerData *) fcinfo->context;

	if (!CALLED_AS_TRIGGER(fcinfo))
		ereport(ERROR,
				errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				errmsg("function \"%s\" was not called by trigger manager", "zdm._sync_row"));
	if (!TRIGGER_FIRED_BEFORE(trigdata->tg_event) ||
		!TRIGGER_FIRED_FOR_ROW(trigdata->tg_event) ||
		!(TRIGGER_FIRED_BY_INSERT(trigdata->tg_event) ||
		  TRIGGER_FIRED_BY_UPDATE(trigdata->tg_event)))
		ereport(ERROR,
				errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				errmsg("function \"%s\" must be fired BEFORE INSERT OR UPDATE FOR EACH ROW", "zdm._sync_row"));
	return PointerGetDatum(zdm_row_sync(trigdata));
}

Datum
zdm__guard(PG_FUNCTION_ARGS)
{
	if (!CALLED_AS_EVENT_TRIGGER(fcinfo))
		ereport(ERROR,
				errcode(ERRCODE_E_R_I_E_EVENT_TRIGGER_PROTOCOL_VIOLATED),
				errmsg("function \"%s\" was not called by event trigger manager", "zdm._guard"));
	zdm_guard((EventTriggerData *) fcinfo->context);
	PG_RETURN_NULL();
}

Datum
zdm__guard_start(PG_FUNCTION_ARGS)
{
	if (!CALLED_AS_EVENT_TRIGGER(fcinfo))
		ereport(ERROR,
				errcode(ERRCODE_E_R_I_E_EVENT_TRIGGER_PROTOCOL_VIOLATED),
				errmsg("function \"%s\" was not called by event trigger manager", "zdm._guard_start"));
	zdm_guard_start((EventTriggerData *) fcinfo->context);
	PG_RETURN_NULL();
}
