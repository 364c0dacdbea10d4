/*-------------------------------------------------------------------------
 *
 * mirror_statement.c
 *	  A mirror rule's statements, with rights that the writer need not have.
 *
 * A statement on the other table runs as whoever writes here, and so does all
 * that belongs to that table and runs with it: triggers, checks, defaults,
 * the functions of an index.  Under his search_path and his settings he can
 * have them do what he likes, so they must not get anybody else's rights.  The
 * rights on the tables that the statement itself names are checked as their
 * owners', as they are where somebody reads or writes through a view.
 *
 * For that, the statement is analysed as the other table's owner, who sees the
 * schemas that it names, and by whom row security is not asked; nothing of
 * anybody's runs then.  Each table that the analysis comes by is marked to be
 * checked as its owner.  The plan is made as the writer, since functions that
 * the planner evaluates run.  It is kept, and made anew for another role or
 * another search_path.
 *
 * The server analyses a kept statement again by itself where a table has
 * changed between our look and its own.  It does so as the writer, whom the
 * marks serve then, too.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/dependency.h"
#include "catalog/pg_type.h"
#include "commands/sequence.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "parser/analyze.h"
#include "parser/parse_node.h"
#include "rewrite/rewriteHandler.h"
#include "tcop/tcopprot.h"
#include "tcop/utility.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/plancache.h"
#include "utils/rls.h"
#include "utils/snapmgr.h"

#include "schema/relation.h"
#include "sync/mirror.h"
#include "util/compat.h"
#include "util/spi.h"

static CachedPlanSource *get_plan(ZdmMirror *mirror, ZdmMirrorAction action);
static void drop_retired(ZdmMirror *mirror);
static bool is_current(CachedPlanSource *source);
static CachedPlanSource *prepare(ZdmMirror *mirror, ZdmMirrorAction action);
static bool is_insert(ZdmMirrorAction action);
static void find_serials(ZdmMirror *mirror);
static Oid	sequence_of(Relation rel, AttrNumber attnum);
static void setup_parser(ParseState *pstate, void *arg);
static Node *mark_tables(ParseState *pstate, ColumnRef *column);
static Node *make_parameter(ParseState *pstate, ParamRef *reference);
static Oid	parameter_type(const ZdmMirror *mirror, int number);
static ParamListInfo parameters(const ZdmMirror *mirror, ZdmMirrorAction action,
								const ZdmMirrorRow *row, const ZdmMirrorRow *before);
static void run_utility(PlannedStmt *stmt, const char *sql, ParamListInfo params);
static uint64 run(QueryDesc *desc, uint64 count);
static void statement_error(void *arg);

/*
 * Run the statement of an action and return how many rows it concerned, but
 * not more than count, if that is not 0.  before: for a move, the row with the
 * old key.  snapshot: by which it looks, without a change; InvalidSnapshot: as
 * a statement of its own.
 */
uint64
zdm_mirror_run(ZdmMirror *mirror, ZdmMirrorAction action,
			   const ZdmMirrorRow *row, const ZdmMirrorRow *before,
			   Snapshot snapshot, DestReceiver *dest, uint64 count)
{
	CachedPlanSource *source = get_plan(mirror, action);
	ParamListInfo params = parameters(mirror, action, row, before);
	ErrorContextCallback callback = {
		.callback = statement_error,
		.arg = unconstify(char *, source->query_string),
		.previous = error_context_stack,
	};
	Snapshot	crosscheck = InvalidSnapshot;
	CachedPlan *plan;
	Oid			user;
	int			security;
	uint64		processed = 0;
	ListCell   *lc;

	error_context_stack = &callback;
	GetUserIdAndSecContext(&user, &security);
	SetUserIdAndSecContext(user, security | SECURITY_NOFORCE_RLS);
	plan = GetCachedPlan(source, params, CurrentResourceOwner, NULL);
	SetUserIdAndSecContext(user, security);

	foreach(lc, plan->stmt_list)
	{
		PlannedStmt *stmt = lfirst_node(PlannedStmt, lc);
		QueryDesc  *desc;

		if (snapshot != InvalidSnapshot)
			PushActiveSnapshot(snapshot);
		else
		{
			CommandCounterIncrement();
			if (IsolationUsesXactSnapshot())
			{
				crosscheck = GetTransactionSnapshot();
				PushCopiedSnapshot(GetLatestSnapshot());
			}
			else
				PushActiveSnapshot(GetTransactionSnapshot());
			UpdateActiveSnapshotCommandId();
		}
		if (stmt->utilityStmt != NULL)
			run_utility(stmt, source->query_string, params);
		else
		{
			desc = CreateQueryDesc(stmt, source->query_string, GetActiveSnapshot(), crosscheck,
								   stmt->canSetTag ? dest : None_Receiver, params, NULL, 0);
			ExecutorStart(desc, 0);
			if (action == ZDM_MIRROR_SHOW || action == ZDM_MIRROR_FETCH)
				zdm_mirror_spare_checks(mirror, action, row, desc->estate);
			processed += run(desc, count);
		}
		PopActiveSnapshot();
	}
	ReleaseCachedPlan(plan, CurrentResourceOwner);
	if (snapshot == InvalidSnapshot)
		CommandCounterIncrement();
	error_context_stack = callback.previous;
	return processed;
}

static void
run_utility(PlannedStmt *stmt, const char *sql, ParamListInfo params)
{
	ProcessUtility(stmt, sql, true, PROCESS_UTILITY_QUERY, params, NULL,
				   None_Receiver, NULL);
}

/*
 * Run a statement that was started, to its end.  The rows that a rule of the
 * application's adds to a statement do not count.
 */
static uint64
run(QueryDesc *desc, uint64 count)
{
	uint64		processed;

	zdm_executor_run(desc, ForwardScanDirection, count);
	processed = desc->plannedstmt->canSetTag ? desc->estate->es_processed : 0;
	ExecutorFinish(desc);
	ExecutorEnd(desc);
	FreeQueryDesc(desc);
	return processed;
}

static CachedPlanSource *
get_plan(ZdmMirror *mirror, ZdmMirrorAction action)
{
	CachedPlanSource *source = mirror->plans[action];
	MemoryContext old;

	if (!zdm_rules_nested())
		drop_retired(mirror);
	if (source != NULL && is_current(source))
		return source;
	if (source != NULL)
	{
		old = MemoryContextSwitchTo(mirror->cxt);
		mirror->retired = lappend(mirror->retired, source);
		MemoryContextSwitchTo(old);
	}
	mirror->plans[action] = NULL;
	mirror->plans[action] = prepare(mirror, action);
	return mirror->plans[action];
}

/*
 * One that is not good any more for us may be run by whoever has called us.
 */
static void
drop_retired(ZdmMirror *mirror)
{
	ListCell   *lc;

	foreach(lc, mirror->retired)
		DropCachedPlan(lfirst(lc));
	list_free(mirror->retired);
	mirror->retired = NIL;
}

/*
 * All of them; nobody uses the rule any more.
 */
void
zdm_mirror_drop_plans(ZdmMirror *mirror)
{
	drop_retired(mirror);
	for (int i = 0; i < ZDM_MIRROR_ACTIONS; i++)
	{
		if (mirror->plans[i] != NULL)
			DropCachedPlan(mirror->plans[i]);
		mirror->plans[i] = NULL;
	}
}

/*
 * Whether the server would take it as it is: see RevalidateCachedQuery().
 */
static bool
is_current(CachedPlanSource *source)
{
	return CachedPlanIsValid(source) && source->rewriteRoleId == GetUserId() &&
		source->rewriteRowSecurity == row_security &&
		zdm_search_path_matches(source->search_path);
}

static CachedPlanSource *
prepare(ZdmMirror *mirror, ZdmMirrorAction action)
{
	Oid			writes = zdm_mirror_target(mirror, action);
	bool		is_plain = get_rel_relkind(writes) == RELKIND_RELATION;
	ErrorContextCallback callback = {
		.callback = statement_error,
		.previous = error_context_stack,
	};
	ZdmIdentity saved;
	char	   *sql;
	RawStmt    *raw;
	CachedPlanSource *source;
	List	   *queries;

	if (is_insert(action))
		find_serials(mirror);
	sql = zdm_mirror_sql(mirror, action);
	callback.arg = sql;
	error_context_stack = &callback;
	raw = linitial_node(RawStmt, pg_parse_query(sql));
	source = CreateCachedPlan(raw, sql, CreateCommandTag(raw->stmt));
	zdm_become(zdm_table_owner(writes), &saved);
	queries = pg_analyze_and_rewrite_withcb(raw, sql, setup_parser, mirror, NULL);
	zdm_unbecome(&saved);
	/* Of a plain table nothing depends on the values. */
	CompleteCachedPlan(source, queries, NULL, NULL, 0, setup_parser, mirror,
					   is_plain ? CURSOR_OPT_GENERIC_PLAN : 0, false);
	SaveCachedPlan(source);
	error_context_stack = callback.previous;
	return source;
}

/*
 * Whether it makes a row, and so takes the numbers of sequences.
 */
static bool
is_insert(ZdmMirrorAction action)
{
	return action == ZDM_MIRROR_INSERT || action == ZDM_MIRROR_ADD ||
		action == ZDM_MIRROR_PUT;
}

/*
 * Columns that the rule leaves to their default, which is a sequence of their
 * own: they get its numbers whoever writes, as an identity column does.
 */
static void
find_serials(ZdmMirror *mirror)
{
	Relation	rel = table_open(mirror->there, AccessShareLock);
	TupleDesc	desc = RelationGetDescr(rel);

	mirror->serials = 0;
	mirror->serial = MemoryContextAllocZero(mirror->cxt, sizeof(ZdmMirrorSerial) * desc->natts);
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute attr = TupleDescAttr(desc, i);
		ZdmMirrorSerial *serial = &mirror->serial[mirror->serials];
		bool		given = attr->attisdropped;

		for (int j = 0; j < mirror->count; j++)
			given |= strcmp(mirror->columns[j].there, NameStr(attr->attname)) == 0;
		if (given || !attr->atthasdef || attr->attgenerated)
			continue;
		serial->sequence = sequence_of(rel, attr->attnum);
		serial->type = attr->atttypid;
		serial->there = MemoryContextStrdup(mirror->cxt, NameStr(attr->attname));
		if (OidIsValid(serial->sequence))
			mirror->serials++;
	}
	table_close(rel, NoLock);
}

static Oid
sequence_of(Relation rel, AttrNumber attnum)
{
	Node	   *expr = build_column_default(rel, attnum);
	Oid			sequence;
	Oid			owner;
	int32		column;

	while (expr != NULL && IsA(expr, FuncExpr) &&
		   ((FuncExpr *) expr)->funcformat == COERCE_IMPLICIT_CAST)
		expr = linitial(((FuncExpr *) expr)->args);
	if (expr == NULL || !IsA(expr, FuncExpr) || ((FuncExpr *) expr)->funcid != F_NEXTVAL ||
		!IsA(linitial(((FuncExpr *) expr)->args), Const))
		return InvalidOid;
	sequence = DatumGetObjectId(linitial_node(Const, ((FuncExpr *) expr)->args)->constvalue);
	if (sequenceIsOwned(sequence, DEPENDENCY_AUTO, &owner, &column) &&
		owner == RelationGetRelid(rel) && column == attnum)
		return sequence;
	return InvalidOid;
}

/*
 * Every level of the statement has a column or a parameter, and comes by here
 * after its tables.
 */
static void
setup_parser(ParseState *pstate, void *arg)
{
	pstate->p_pre_columnref_hook = mark_tables;
	pstate->p_paramref_hook = make_parameter;
	pstate->p_ref_hook_state = arg;
}

static Node *
mark_tables(ParseState *pstate, ColumnRef *column)
{
	for (; pstate != NULL; pstate = pstate->parentParseState)
		zdm_check_as_owners(pstate, zdm_table_owner);
	return NULL;
}

static Node *
make_parameter(ParseState *pstate, ParamRef *reference)
{
	const ZdmMirror *mirror = pstate->p_ref_hook_state;
	Param	   *param = makeNode(Param);

	(void) mark_tables(pstate, NULL);
	param->paramkind = PARAM_EXTERN;
	param->paramid = reference->number;
	param->paramtype = parameter_type(mirror, reference->number);
	param->paramtypmod = -1;
	param->paramcollid = get_typcollation(param->paramtype);
	param->location = reference->location;
	return (Node *) param;
}

/*
 * The rule's columns, behind them the old key's, behind these the serials.
 */
static Oid
parameter_type(const ZdmMirror *mirror, int number)
{
	int			i = number - 1;

	return i < mirror->count + mirror->keys
		? mirror->columns[i % mirror->count].type : INT8OID;
}

static ParamListInfo
parameters(const ZdmMirror *mirror, ZdmMirrorAction action,
		   const ZdmMirrorRow *row, const ZdmMirrorRow *before)
{
	int			count = mirror->count + mirror->keys;
	bool		inserts = is_insert(action);
	ParamListInfo params;

	if (row == NULL)
		return NULL;
	params = makeParamList(count + (inserts ? mirror->serials : 0));
	for (int i = 0; i < params->numParams; i++)
	{
		const ZdmMirrorRow *from = i < mirror->count ? row : i < count ? before : NULL;
		int			column = i % mirror->count;

		params->params[i].ptype = parameter_type(mirror, i + 1);
		params->params[i].pflags = PARAM_FLAG_CONST;
		params->params[i].isnull = from == NULL || from->nulls[column] == 'n';
		if (!params->params[i].isnull)
			params->params[i].value = from->values[column];
		if (i < count)
			continue;
		params->params[i].isnull = false;
		params->params[i].value = Int64GetDatum(nextval_internal(mirror->serial[i - count].sequence, false));
	}
	return params;
}

static void
statement_error(void *arg)
{
	errcontext("SQL statement \"%s\"", (char *) arg);
}
