/*-------------------------------------------------------------------------
 *
 * explain.c
 *	  Dry run: what a call would do.
 *
 * The call is analysed like any statement, must be one call of a function or
 * procedure of schema zdm with constant arguments, and is then made, while
 * `explaining` is set.  The life cycle checks everything as it always does
 * and, where it would begin to act, hands its steps over instead.  So explain
 * cannot tell anything else than what is done.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <ctype.h>

#include "access/relation.h"
#include "catalog/namespace.h"
#include "catalog/pg_proc.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "nodes/parsenodes.h"
#include "optimizer/optimizer.h"
#include "parser/analyze.h"
#include "parser/parser.h"
#include "storage/lock.h"
#include "tcop/tcopprot.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"
#include "utils/tuplestore.h"

#include "lifecycle/explain.h"
#include "lifecycle/registry.h"
#include "schema/relation.h"
#include "util/compat.h"
#include "util/guc.h"
#include "util/ident.h"
#include "util/spi.h"

static ReturnSetInfo *explaining = NULL;
static int	steps_explained;

static FuncExpr *parse_call(const char *call);
static FuncExpr *call_of(Query *query);
static FuncExpr *constant_call(FuncExpr *func);
static void invoke(FuncExpr *call);
static void put_row(const char *phase, const char *description,
					const char *sql, LOCKMODE lock, const char *blocks,
					const char *duration, int64 rows, int64 bytes);
static const char *blocks_of(LOCKMODE lock);

bool
zdm_explaining(void)
{
	return explaining != NULL;
}

/*
 * Explain the call into the result's tuplestore.
 */
void
zdm_explain_call(const char *call, ReturnSetInfo *result)
{
	FuncExpr   *parsed = parse_call(call);

	if (explaining != NULL)
		ereport(ERROR,
				errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("zdm.explain cannot explain itself"),
				errhint("Give it the call that you mean to make."));
	explaining = result;
	steps_explained = 0;
	PG_TRY();
	{
		invoke(parsed);
		if (steps_explained == 0)
			put_row("note", "nothing is to be done", NULL, NoLock, NULL, NULL, 0, 0);
	}
	PG_FINALLY();
	{
		explaining = NULL;
	}
	PG_END_TRY();
}

/*
 * The call, its arguments completed and constant.
 */
static FuncExpr *
parse_call(const char *call)
{
	char	   *sql = pstrdup(call);
	List	   *raw;
	Query	   *query;
	FuncExpr   *func;

	for (int len = strlen(sql); len > 0 && (isspace((unsigned char) sql[len - 1]) || sql[len - 1] == ';'); len--)
		sql[len - 1] = '\0';

	while (isspace((unsigned char) *sql))
		sql++;

	if (pg_strncasecmp(sql, "select", 6) != 0 && pg_strncasecmp(sql, "call", 4) != 0)
		sql = psprintf(pg_strncasecmp(sql, "zdm.backfill", 12) == 0 ||
					   pg_strncasecmp(sql, "zdm.wait", 8) == 0 ? "CALL %s" : "SELECT %s", sql);

	raw = pg_parse_query(sql);
	if (list_length(raw) != 1)
		ereport(ERROR,
				errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("zdm.explain takes one call"),
				errhint("For example SELECT * FROM zdm.explain($$zdm.rename_column('users', 'name', 'full_name')$$);"));
	query = parse_analyze_fixedparams(linitial_node(RawStmt, raw), sql, NULL, 0, NULL);
	func = call_of(query);
	if (func == NULL || get_func_namespace(func->funcid) != get_namespace_oid("zdm", false))
		ereport(ERROR,
				errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("\"%s\" is not one call of a zdm function", call),
				errhint("For example SELECT * FROM zdm.explain($$zdm.rename_column('users', 'name', 'full_name')$$);"));
	if (object_aclcheck(ProcedureRelationId, func->funcid, GetUserId(), ACL_EXECUTE) != ACLCHECK_OK)
		aclcheck_error(ACLCHECK_NO_PRIV, OBJECT_FUNCTION, get_func_name(func->funcid));
	return constant_call(func);
}

/*
 * The call with its defaults filled in and its arguments in order, each a
 * constant.
 */
static FuncExpr *
constant_call(FuncExpr *func)
{
	HeapTuple	proc = SearchSysCache1(PROCOID, ObjectIdGetDatum(func->funcid));
	FuncExpr   *result = makeNode(FuncExpr);
	ListCell   *lc;

	if (!HeapTupleIsValid(proc))
		elog(ERROR, "cache lookup failed for function %u", func->funcid);
	*result = *func;
	result->args = expand_function_arguments(func->args, false,
											 func->funcresulttype, proc);
	ReleaseSysCache(proc);
	foreach(lc, result->args)
	{
		lfirst(lc) = eval_const_expressions(NULL, lfirst(lc));
		if (!IsA(lfirst(lc), Const))
			ereport(ERROR,
					errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					errmsg("argument %d of the call is not a constant",
						   foreach_current_index(lc) + 1),
					errhint("Write the value itself."));
	}
	return result;
}

static FuncExpr *
call_of(Query *query)
{
	Node	   *expr = NULL;

	if (query->commandType == CMD_UTILITY && IsA(query->utilityStmt, CallStmt))
		expr = (Node *) ((CallStmt *) query->utilityStmt)->funcexpr;
	else if (query->commandType == CMD_SELECT && list_length(query->targetList) == 1)
	{
		expr = (Node *) linitial_node(TargetEntry, query->targetList)->expr;
		/* SELECT * FROM zdm.verify(...) */
		if (list_length(query->rtable) > 0 &&
			linitial_node(RangeTblEntry, query->rtable)->rtekind == RTE_FUNCTION)
			expr = NULL;
	}
	return expr != NULL && IsA(expr, FuncExpr) ? (FuncExpr *) expr : NULL;
}

/*
 * Call the function for its checks.  Its own result is of no interest.
 */
static void
invoke(FuncExpr *call)
{
	LOCAL_FCINFO(fcinfo, FUNC_MAX_ARGS);
	FmgrInfo	flinfo;
	ListCell   *lc;

	if (func_strict(call->funcid))
		foreach(lc, call->args)
	{
		if (lfirst_node(Const, lc)->constisnull)
			return;
	}
	if (get_func_retset(call->funcid))
		ereport(ERROR,
				errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("\"%s\" changes nothing: call it", get_func_name(call->funcid)));
	fmgr_info(call->funcid, &flinfo);
	InitFunctionCallInfoData(*fcinfo, &flinfo, list_length(call->args),
							 call->inputcollid, NULL, NULL);
	foreach(lc, call->args)
	{
		Const	   *arg = lfirst_node(Const, lc);
		int			i = foreach_current_index(lc);

		fcinfo->args[i].value = arg->constvalue;
		fcinfo->args[i].isnull = arg->constisnull;
	}
	(void) FunctionCallInvoke(fcinfo);
}

/*
 * All phases of a migration that would begin, and the notes.
 */
void
zdm_explain_migration(const ZdmPattern *pattern, ZdmMigration *migration)
{
	Relation	rel = relation_open(migration->relation, AccessShareLock);
	bool		quarantine = zdm_quarantine > 0;
	ZdmMigration later = *migration;
	ListCell   *lc;

	zdm_explain_steps(migration, ZDM_EXPAND, pattern->expand(migration, rel));
	zdm_explain_steps(migration, ZDM_MIGRATE, zdm_migrate_steps(migration));
	zdm_explain_steps(migration, ZDM_CONTRACT, pattern->contract(migration, quarantine));
	later.state = ZDM_CONTRACTED;
	if (quarantine)
		zdm_explain_steps(migration, ZDM_FINISH, pattern->finish(&later));
	zdm_explain_steps(migration, ZDM_ROLLBACK, pattern->rollback(migration));
	foreach(lc, zdm_notes(pattern, migration, rel))
		zdm_explain_note(((ZdmNote *) lfirst(lc))->text);
	relation_close(rel, AccessShareLock);
}

void
zdm_explain_note(const char *text)
{
	put_row("note", text, NULL, NoLock, NULL, NULL, 0, 0);
}

/*
 * The steps of one phase.
 */
void
zdm_explain_steps(ZdmMigration *migration, ZdmPhase phase, List *steps)
{
	int64		rows,
				bytes;
	ListCell   *lc;

	zdm_table_size(migration->relation, &rows, &bytes);
	foreach(lc, steps)
	{
		ZdmStep    *step = lfirst(lc);
		bool		whole = step->kind == ZDM_STEP_BACKFILL || step->kind == ZDM_STEP_VERIFY;
		const char *duration;

		if (whole)
			duration = psprintf("in batches of about %d ms, each its own transaction",
								zdm_batch_target);
		else if (step->kind == ZDM_STEP_INDEX)
			duration = "concurrently, by a background worker, as long as the builds take";
		else if (phase == ZDM_MIGRATE && step->lock == ShareUpdateExclusiveLock)
			duration = "one scan of the table, in a transaction of its own";
		else if (phase == ZDM_MIGRATE)
			duration = psprintf("catalog change, in a transaction of its own; waits for the lock at most %d ms at a time",
								zdm_lock_wait);
		else if (step->lock != NoLock)
			duration = psprintf("catalog change, until the transaction ends; waits for the lock at most %d ms at a time",
								zdm_lock_wait);
		else
			duration = "catalog change";
		put_row(zdm_phase_name(phase), step->description, step->sql, step->lock,
				step->kind == ZDM_STEP_DROP_VIEW ? "statements through the view" : blocks_of(step->lock),
				duration, whole ? rows : 0, whole ? bytes : 0);
	}
}

static const char *
blocks_of(LOCKMODE lock)
{
	switch (lock)
	{
		case NoLock:
			return "nothing";
		case AccessShareLock:
			return "only DDL on the table";
		case RowShareLock:
		case RowExclusiveLock:
			return "DDL on the table; of the rows, only those of the batch";
		case ShareUpdateExclusiveLock:
			return "other DDL and VACUUM on the table";
		case ShareLock:
		case ShareRowExclusiveLock:
		case ExclusiveLock:
			return "writes to the table";
		default:
			return "reads and writes of the table";
	}
}

static void
put_row(const char *phase, const char *description, const char *sql,
		LOCKMODE lock, const char *blocks, const char *duration,
		int64 rows, int64 bytes)
{
	Datum		values[9];
	bool		nulls[9] = {false};
	int			i = 0;

	values[i++] = CStringGetTextDatum(phase);
	values[i++] = Int32GetDatum(++steps_explained);
	values[i++] = CStringGetTextDatum(description);
	nulls[i] = sql == NULL;
	values[i++] = sql ? CStringGetTextDatum(sql) : (Datum) 0;
	nulls[i] = lock == NoLock;
	values[i++] = lock == NoLock ? (Datum) 0
		: CStringGetTextDatum(GetLockmodeName(DEFAULT_LOCKMETHOD, lock));
	nulls[i] = blocks == NULL;
	values[i++] = blocks ? CStringGetTextDatum(blocks) : (Datum) 0;
	nulls[i] = duration == NULL;
	values[i++] = duration ? CStringGetTextDatum(duration) : (Datum) 0;
	values[i++] = Int64GetDatum(rows);
	values[i++] = Int64GetDatum(bytes);
	tuplestore_putvalues(explaining->setResult, explaining->setDesc, values, nulls);
}
