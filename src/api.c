/*-------------------------------------------------------------------------
 *
 * api.c
 *	  The SQL-callable functions of the life cycle, and the triggers: arguments
 *	  in, one call down, result out.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "commands/event_trigger.h"
#include "commands/trigger.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "replication/logicalworker.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "arguments.h"
#include "backfill/verify.h"
#include "catalog/migration.h"
#include "lifecycle/background.h"
#include "lifecycle/control.h"
#include "lifecycle/explain.h"
#include "lifecycle/guard.h"
#include "lifecycle/lifecycle.h"
#include "schema/clone.h"
#include "sync/mirror.h"
#include "sync/row_sync.h"

PG_FUNCTION_INFO_V1(zdm_backfill);
PG_FUNCTION_INFO_V1(zdm_start);
PG_FUNCTION_INFO_V1(zdm_pause);
PG_FUNCTION_INFO_V1(zdm_resume);
PG_FUNCTION_INFO_V1(zdm_wait);
PG_FUNCTION_INFO_V1(zdm_verify);
PG_FUNCTION_INFO_V1(zdm_contract);
PG_FUNCTION_INFO_V1(zdm_finish);
PG_FUNCTION_INFO_V1(zdm_rollback);
PG_FUNCTION_INFO_V1(zdm_explain);
PG_FUNCTION_INFO_V1(zdm__sync_row);
PG_FUNCTION_INFO_V1(zdm__mirror);
PG_FUNCTION_INFO_V1(zdm__skip_applied);
PG_FUNCTION_INFO_V1(zdm__guard);
PG_FUNCTION_INFO_V1(zdm__guard_start);
PG_FUNCTION_INFO_V1(zdm__next_identity);
PG_FUNCTION_INFO_V1(zdm__load);

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

Datum
zdm_backfill(PG_FUNCTION_ARGS)
{
	zdm_require(fcinfo, 0, "migration");
	zdm_lifecycle_migrate(zdm_text_argument(fcinfo, 0), is_atomic(fcinfo));
	PG_RETURN_VOID();
}

Datum
zdm_start(PG_FUNCTION_ARGS)
{
	char	   *throttle = zdm_text_argument(fcinfo, 2);

	zdm_require(fcinfo, 0, "migration");
	return state_result(zdm_control_start(zdm_text_argument(fcinfo, 0),
										  PG_ARGISNULL(1) ? ZDM_DEFAULT_WORKERS
										  : Max(0, PG_GETARG_INT32(1)),
										  throttle));
}

Datum
zdm_pause(PG_FUNCTION_ARGS)
{
	zdm_require(fcinfo, 0, "migration");
	return state_result(zdm_control_pause(zdm_text_argument(fcinfo, 0)));
}

Datum
zdm_resume(PG_FUNCTION_ARGS)
{
	zdm_require(fcinfo, 0, "migration");
	return state_result(zdm_control_resume(zdm_text_argument(fcinfo, 0)));
}

Datum
zdm_wait(PG_FUNCTION_ARGS)
{
	zdm_require(fcinfo, 0, "migration");
	zdm_require(fcinfo, 1, "timeout");
	zdm_control_wait(zdm_text_argument(fcinfo, 0), PG_GETARG_INTERVAL_P(1), is_atomic(fcinfo));
	PG_RETURN_VOID();
}

Datum
zdm_verify(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;

	zdm_require(fcinfo, 0, "migration");
	InitMaterializedSRF(fcinfo, 0);
	zdm_verify_tables(zdm_migration_of_caller(zdm_text_argument(fcinfo, 0)),
					  result->setResult, result->setDesc);
	zdm_background_pick_up();
	return (Datum) 0;
}

Datum
zdm_contract(PG_FUNCTION_ARGS)
{
	zdm_require(fcinfo, 0, "migration");
	return state_result(zdm_lifecycle_contract(zdm_text_argument(fcinfo, 0),
											   PG_ARGISNULL(1) ? NULL : PG_GETARG_INTERVAL_P(1)));
}

Datum
zdm_finish(PG_FUNCTION_ARGS)
{
	zdm_require(fcinfo, 0, "migration");
	return state_result(zdm_lifecycle_finish(zdm_text_argument(fcinfo, 0)));
}

Datum
zdm_rollback(PG_FUNCTION_ARGS)
{
	zdm_require(fcinfo, 0, "migration");
	return state_result(zdm_lifecycle_rollback(zdm_text_argument(fcinfo, 0)));
}

Datum
zdm_explain(PG_FUNCTION_ARGS)
{
	zdm_require(fcinfo, 0, "call");
	InitMaterializedSRF(fcinfo, 0);
	zdm_explain_call(zdm_text_argument(fcinfo, 0), (ReturnSetInfo *) fcinfo->resultinfo);
	return (Datum) 0;
}

static void
check_trigger(FunctionCallInfo fcinfo, const char *name)
{
	if (!CALLED_AS_TRIGGER(fcinfo))
		ereport(ERROR,
				errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				errmsg("function \"%s\" was not called by trigger manager", name));
}

Datum
zdm__sync_row(PG_FUNCTION_ARGS)
{
	TriggerData *trigdata = (TriggerData *) fcinfo->context;

	check_trigger(fcinfo, "zdm._sync_row");
	if (!TRIGGER_FIRED_BEFORE(trigdata->tg_event) ||
		!TRIGGER_FIRED_FOR_ROW(trigdata->tg_event) ||
		!(TRIGGER_FIRED_BY_INSERT(trigdata->tg_event) ||
		  TRIGGER_FIRED_BY_UPDATE(trigdata->tg_event)))
		ereport(ERROR,
				errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				errmsg("function \"%s\" must be fired BEFORE INSERT OR UPDATE FOR EACH ROW", "zdm._sync_row"));
	return PointerGetDatum(zdm_row_sync(trigdata));
}

/*
 * Any trigger of two tables that mirror each other.
 */
Datum
zdm__mirror(PG_FUNCTION_ARGS)
{
	check_trigger(fcinfo, "zdm._mirror");
	return PointerGetDatum(zdm_mirror_fire((TriggerData *) fcinfo->context));
}

/*
 * A migration is one of this database.  What a subscription brings is another
 * one's, which publishes all of its tables: it is left out.  What a trigger of
 * ours has to say in the same worker is written in another's name.
 */
Datum
zdm__skip_applied(PG_FUNCTION_ARGS)
{
	TriggerData *trigdata = (TriggerData *) fcinfo->context;

	check_trigger(fcinfo, "zdm._skip_applied");
	if (IsLogicalWorker() && !InLocalUserIdChange())
		return PointerGetDatum(NULL);
	return PointerGetDatum(TRIGGER_FIRED_BY_UPDATE(trigdata->tg_event) ? trigdata->tg_newtuple : trigdata->tg_trigtuple);
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
