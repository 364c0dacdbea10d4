/*-------------------------------------------------------------------------
 *
 * statement.c
 *	  Statements that manage transactions of their own.
 *
 * CREATE INDEX CONCURRENTLY and VACUUM refuse to run inside of a function or
 * procedure.  A background worker has no client and so is free to run them
 * the way a session runs a statement that a client sent: alone, through a
 * portal, at the top level.
 *
 * They commit on their way, and no security context may be on while they do.
 * So they run as the worker's user.  Both commands take the place of the
 * table's owner, security restricted, wherever code of his may run (the
 * functions in an index); the tree of a CREATE INDEX comes analysed from the
 * catalog, so that no text of his is parsed before that.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "nodes/makefuncs.h"
#include "nodes/parsenodes.h"
#include "parser/parser.h"
#include "pgstat.h"
#include "tcop/dest.h"
#include "tcop/pquery.h"
#include "tcop/tcopprot.h"
#include "tcop/utility.h"
#include "utils/memutils.h"
#include "utils/portal.h"

#include "util/compat.h"
#include "util/statement.h"

/*
 * A utility command from its text, in the current context.
 */
ZdmStatement *
zdm_statement_parse(const char *sql)
{
	ZdmStatement *statement = palloc0_object(ZdmStatement);
	RawStmt    *raw = linitial_node(RawStmt, pg_parse_query(sql));

	statement->tree = raw->stmt;
	statement->sql = pstrdup(sql);
	statement->tag = CreateCommandTag(raw->stmt);
	return statement;
}

static PlannedStmt *
planned_utility(Node *tree)
{
	PlannedStmt *planned = makeNode(PlannedStmt);

	planned->commandType = CMD_UTILITY;
	planned->canSetTag = true;
	planned->utilityStmt = tree;
	planned->stmt_location = -1;
	return planned;
}

/*
 * Run a utility command that has no text, in the current transaction.
 */
void
zdm_execute_utility(Node *tree)
{
	ProcessUtility(planned_utility(tree), "(zdm)", false, PROCESS_UTILITY_SUBCOMMAND,
				   NULL, NULL, None_Receiver, NULL);
	CommandCounterIncrement();
}

/*
 * Run it, outside of any transaction, in a background worker.  The current
 * context, where the portal finds its statement, must outlive the transactions
 * that the statement ends.  Where it fails the caller ends the one that failed.
 */
void
zdm_statement_run(ZdmStatement *statement)
{
	MemoryContext cxt = CurrentMemoryContext;
	List	   *planned = list_make1(planned_utility(statement->tree));
	Portal		portal;

	debug_query_string = statement->sql;
	pgstat_report_activity(STATE_RUNNING, statement->sql);
	StartTransactionCommand();
	portal = CreatePortal("", true, true);
	portal->visible = false;
	PortalDefineQuery(portal, NULL, statement->sql, statement->tag, planned, NULL);
	PortalStart(portal, NULL, 0, InvalidSnapshot);
	(void) zdm_portal_run(portal, None_Receiver);
	PortalDrop(portal, false);
	CommitTransactionCommand();
	debug_query_string = NULL;
	pgstat_report_activity(STATE_IDLE, NULL);
	MemoryContextSwitchTo(cxt);
}
