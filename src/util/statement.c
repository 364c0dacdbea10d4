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
 * catalog, so that no text of his is parsed before that, and its table is known
 * by its oid: a name may have come to mean another one.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/dependency.h"
#include "catalog/index.h"
#include "catalog/pg_class.h"
#include "commands/defrem.h"
#include "nodes/makefuncs.h"
#include "nodes/parsenodes.h"
#include "parser/parser.h"
#include "pgstat.h"
#include "storage/lmgr.h"
#include "tcop/dest.h"
#include "tcop/pquery.h"
#include "tcop/tcopprot.h"
#include "tcop/utility.h"
#include "utils/memutils.h"
#include "utils/portal.h"
#include "utils/snapmgr.h"

#include "util/compat.h"
#include "util/ident.h"
#include "util/statement.h"

static void run_create_index(ZdmStatement *statement);
static void run_drop_index(Oid index);
static void run_in_portal(ZdmStatement *statement);

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

/*
 * DROP INDEX CONCURRENTLY, in the current context.
 */
ZdmStatement *
zdm_statement_drop_index(Oid index)
{
	ZdmStatement *statement = palloc0_object(ZdmStatement);

	statement->dropped = index;
	statement->sql = psprintf("DROP INDEX CONCURRENTLY %s", zdm_quote_relation(index));
	statement->tag = CMDTAG_DROP_INDEX;
	return statement;
}

/*
 * Run it, outside of any transaction, in a background worker.  The current
 * context must outlive the transactions that the statement ends.  Where it
 * fails the caller ends the one that failed.
 */
void
zdm_statement_run(ZdmStatement *statement)
{
	MemoryContext cxt = CurrentMemoryContext;

	debug_query_string = statement->sql;
	pgstat_report_activity(STATE_RUNNING, statement->sql);
	if (OidIsValid(statement->indexed))
		run_create_index(statement);
	else if (OidIsValid(statement->dropped))
		run_drop_index(statement->dropped);
	else
		run_in_portal(statement);
	debug_query_string = NULL;
	pgstat_report_activity(STATE_IDLE, NULL);
	MemoryContextSwitchTo(cxt);
}

static void
run_create_index(ZdmStatement *statement)
{
	MemoryContext cxt = CurrentMemoryContext;

	StartTransactionCommand();
	MemoryContextSwitchTo(cxt);
	PushActiveSnapshot(GetTransactionSnapshot());
	(void) zdm_define_index(statement->indexed, castNode(IndexStmt, statement->tree));
	if (ActiveSnapshotSet())
		PopActiveSnapshot();
	CommitTransactionCommand();
}

/*
 * The table first, as everybody locks it.
 */
static void
run_drop_index(Oid index)
{
	ObjectAddresses *objects = new_object_addresses();
	MemoryContext cxt = CurrentMemoryContext;
	ObjectAddress object;
	Oid			table;

	StartTransactionCommand();
	MemoryContextSwitchTo(cxt);
	PushActiveSnapshot(GetTransactionSnapshot());
	table = IndexGetRelation(index, true);
	if (OidIsValid(table))
		LockRelationOid(table, ShareUpdateExclusiveLock);
	if (OidIsValid(table) && IndexGetRelation(index, true) == table)
	{
		ObjectAddressSet(object, RelationRelationId, index);
		add_exact_object_address(&object, objects);
		/* For one object alone the server would take a stronger lock. */
		performMultipleDeletions(objects, DROP_RESTRICT, PERFORM_DELETION_CONCURRENTLY);
	}
	if (ActiveSnapshotSet())
		PopActiveSnapshot();
	CommitTransactionCommand();
}

static void
run_in_portal(ZdmStatement *statement)
{
	PlannedStmt *planned = makeNode(PlannedStmt);
	List	   *statements = list_make1(planned);
	Portal		portal;

	planned->commandType = CMD_UTILITY;
	planned->canSetTag = true;
	planned->utilityStmt = statement->tree;
	planned->stmt_location = -1;

	StartTransactionCommand();
	portal = CreatePortal("", true, true);
	portal->visible = false;
	PortalDefineQuery(portal, NULL, statement->sql, statement->tag, statements, NULL);
	PortalStart(portal, NULL, 0, InvalidSnapshot);
	(void) zdm_portal_run(portal, None_Receiver);
	PortalDrop(portal, false);
	CommitTransactionCommand();
}
