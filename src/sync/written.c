/*-------------------------------------------------------------------------
 *
 * written.c
 *	  Which columns the INSERT named that a row trigger fires for.
 *
 * A trigger is not told.  The running statement knows: its range table (since
 * 16 its permission infos) holds the columns that it inserts.  Two hooks
 * (ExecutorRun, and ExecutorFinish, where an INSERT in WITH may run) keep a
 * list of the statements that run in this backend, outermost last.  A COPY,
 * and the statement in whose middle the library was loaded, are the active
 * portal's.
 *
 * Which of them fires the trigger is decided without a guess: a row trigger is
 * called in its executor's per-tuple memory context, whose parent is that
 * executor's query context, whose parent, for what a portal runs itself, is
 * the portal's.  So a nested statement is never taken for the outer one, nor
 * the other way round.  Where none matches (logical replication, a nested
 * statement before the hooks were there) the answer is "unknown".
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/sysattr.h"
#include "catalog/pg_class.h"
#include "executor/executor.h"
#include "nodes/parsenodes.h"
#include "nodes/plannodes.h"
#include "parser/parsetree.h"
#include "tcop/pquery.h"
#include "utils/memutils.h"
#include "utils/portal.h"

#include "sync/mirror_select.h"
#include "sync/written.h"
#include "util/compat.h"

static ZdmRunning *running = NULL;
static ExecutorRun_hook_type previous_run = NULL;
static ExecutorFinish_hook_type previous_finish = NULL;

static void executor_run(ZDM_RUN_PARAMS);
static void executor_finish(QueryDesc *desc);
static void written_by_portal(Relation rel, List *ancestors,
							  ZdmWritten *written);
static void written_by_statement(PlannedStmt *stmt, Relation rel,
								 List *ancestors, ZdmWritten *written);
static void written_by_copy(CopyStmt *copy, ZdmWritten *written);

void
zdm_written_init(void)
{
	previous_run = ExecutorRun_hook;
	ExecutorRun_hook = executor_run;
	previous_finish = ExecutorFinish_hook;
	ExecutorFinish_hook = executor_finish;
}

static void
executor_run(ZDM_RUN_PARAMS)
{
	ZdmRunning	here = {.desc = desc,.outer = running};

	running = &here;
	PG_TRY();
	{
		if (desc->plannedstmt->rowMarks != NIL)
			zdm_mirror_order_select(desc);
		if (previous_run)
			previous_run(ZDM_RUN_ARGS);
		else
			standard_ExecutorRun(ZDM_RUN_ARGS);
	}
	PG_FINALLY();
	{
		running = here.outer;
	}
	PG_END_TRY();
}

static void
executor_finish(QueryDesc *desc)
{
	ZdmRunning	here = {.desc = desc,.outer = running};

	running = &here;
	PG_TRY();
	{
		if (previous_finish)
			previous_finish(desc);
		else
			standard_ExecutorFinish(desc);
	}
	PG_FINALLY();
	{
		running = here.outer;
	}
	PG_END_TRY();
}

/*
 * The statement that fires the row trigger in whose memory context we are
 * called; NULL where the hooks have not seen it.
 */
ZdmRunning *
zdm_firing_statement(void)
{
	MemoryContext query_cxt = MemoryContextGetParent(CurrentMemoryContext);

	for (ZdmRunning *s = running; s != NULL; s = s->outer)
	{
		if (s->desc->estate != NULL && s->desc->estate->es_query_cxt == query_cxt)
			return s;
	}
	return NULL;
}

/*
 * Its plan, also where it began before our hooks were there; NULL where it has
 * none.
 */
PlannedStmt *
zdm_firing_plan(void)
{
	ZdmRunning *statement = zdm_firing_statement();
	MemoryContext query_cxt = MemoryContextGetParent(CurrentMemoryContext);
	PlannedStmt *stmt;

	if (statement != NULL)
		return statement->desc->plannedstmt;
	if (ActivePortal == NULL || MemoryContextGetParent(query_cxt) != ActivePortal->portalContext ||
		list_length(ActivePortal->stmts) != 1)
		return NULL;
	stmt = linitial_node(PlannedStmt, ActivePortal->stmts);
	return stmt->utilityStmt == NULL ? stmt : NULL;
}

/*
 * Must be called in the memory context that the trigger was called in.  rel
 * is the table that the row goes into, ancestors the oids of the partitioned
 * tables above it.
 */
void
zdm_written_by_insert(Relation rel, List *ancestors, ZdmWritten *written)
{
	ZdmRunning *statement = zdm_firing_statement();
	MemoryContext query_cxt = MemoryContextGetParent(CurrentMemoryContext);

	written->kind = ZDM_WRITTEN_UNKNOWN;
	if (statement != NULL)
		written_by_statement(statement->desc->plannedstmt, rel, ancestors, written);
	else if (ActivePortal != NULL &&
			 MemoryContextGetParent(query_cxt) == ActivePortal->portalContext)
		written_by_portal(rel, ancestors, written);
}

/*
 * What the active portal runs itself: a COPY, or a statement that began
 * before our hooks were there.
 */
static void
written_by_portal(Relation rel, List *ancestors, ZdmWritten *written)
{
	PlannedStmt *stmt;

	if (list_length(ActivePortal->stmts) != 1)
		return;
	stmt = linitial_node(PlannedStmt, ActivePortal->stmts);
	if (stmt->utilityStmt == NULL)
		written_by_statement(stmt, rel, ancestors, written);
	else if (IsA(stmt->utilityStmt, CopyStmt))
		written_by_copy((CopyStmt *) stmt->utilityStmt, written);
}

/*
 * A statement with several INSERTs into the same table (in WITH) that name
 * different columns leaves open which of them this row is of; so does a MERGE
 * into partitions, which inserts rows and moves them.  A statement that
 * inserts nothing itself moves the row from another partition.
 */
static void
written_by_statement(PlannedStmt *stmt, Relation rel, List *ancestors,
					 ZdmWritten *written)
{
	bool		found = false;
	bool		target = false;
	int			index = 0;

	while ((index = zdm_next_result_relation(stmt, index)) > 0)
	{
		RangeTblEntry *rte = rt_fetch(index, stmt->rtable);
		Bitmapset  *columns;

		if (rte->relid != RelationGetRelid(rel) &&
			!list_member_oid(ancestors, rte->relid))
			continue;
		target = true;
		if (!zdm_rte_is_insert_target(stmt, rte))
			continue;
		columns = zdm_rte_inserted_cols(stmt, rte);
		if (stmt->commandType == CMD_MERGE && ancestors != NIL)
			return;
		if (found && !bms_equal(columns, written->columns))
		{
			written->kind = ZDM_WRITTEN_UNKNOWN;
			return;
		}
		found = true;
		written->kind = ZDM_WRITTEN_COLUMNS;
		written->relid = rte->relid;
		written->columns = columns;
	}
	if (target && !found && ancestors != NIL)
		written->kind = ZDM_WRITTEN_MOVED;
}

static void
written_by_copy(CopyStmt *copy, ZdmWritten *written)
{
	if (!copy->is_from)
		return;
	if (copy->attlist == NIL)
		written->kind = ZDM_WRITTEN_ALL;
	else
	{
		written->kind = ZDM_WRITTEN_NAMES;
		written->names = copy->attlist;
	}
}

/*
 * Whether the statement named the column.  attnum is its number in relid,
 * which is written->relid; both are looked at for ZDM_WRITTEN_COLUMNS only.
 */
bool
zdm_written_has(const ZdmWritten *written, const char *column,
				Oid relid, AttrNumber attnum)
{
	ListCell   *lc;

	switch (written->kind)
	{
		case ZDM_WRITTEN_COLUMNS:
			Assert(relid == written->relid);
			return bms_is_member(attnum - FirstLowInvalidHeapAttributeNumber,
								 written->columns);
		case ZDM_WRITTEN_NAMES:
			foreach(lc, written->names)
			{
				if (strcmp(strVal(lfirst(lc)), column) == 0)
					return true;
			}
			return false;
		case ZDM_WRITTEN_ALL:
			return true;
		case ZDM_WRITTEN_UNKNOWN:
		case ZDM_WRITTEN_MOVED:
			break;
	}
	return false;
}
