/*-------------------------------------------------------------------------
 *
 * worker.c
 *	  Background workers: how they are asked for, and how they begin.
 *
 * A dynamic worker is registered at once and knows nothing of transactions,
 * so a request for one is kept until the transaction that makes it commits; it
 * goes with the transaction, or the subtransaction, that rolls back.  A
 * prepared transaction asks for nothing: what it leaves in the catalog is
 * found by the next call of zdm.
 *
 * No worker is restarted by the server.  What is to be run is written in
 * zdm.migration, and whoever finds there a migration that nobody runs, asks
 * again: the launcher, or any call of zdm.
 *
 * A worker is connected as the superuser that the cluster was made with, as
 * autovacuum is, and takes the table owner's place wherever code of his may
 * run.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "common/string.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "tcop/tcopprot.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/memutils.h"

#include "backfill/worker.h"

/* As the functions of the extension name it. */
#define LIBRARY "$libdir/zdm"
#define LAUNCHER_RESTART_S 5

StaticAssertDecl(sizeof(ZdmTask) <= BGW_EXTRALEN, "a task must fit a worker's extra data");

typedef struct Request
{
	ZdmTask		task;
	int			level;			/* of the transaction that makes it */
	bool		own;			/* the session's own migration */
	bool		missing;		/* no slot was free */
} Request;

/* In TopTransactionContext. */
static List *requests = NIL;

static void at_transaction_end(XactEvent event, void *arg);
static void at_subtransaction_end(SubXactEvent event, SubTransactionId mine,
								  SubTransactionId parent, void *arg);
static void launch(List *wanted);
static bool was_told(List *wanted, Request *request);
static void tell_missing(const char *name, int level);
static void describe(BackgroundWorker *worker, const char *name,
					 const char *type, const char *function);
static void begin(void);

void
zdm_worker_init(void)
{
	RegisterXactCallback(at_transaction_end, NULL);
	RegisterSubXactCallback(at_subtransaction_end, NULL);
}

/*
 * Have a worker begin when the current transaction commits.  own: it is for
 * what the session's user has asked for, so he is told where none is free.
 */
void
zdm_worker_request(const ZdmTask *task, bool own)
{
	MemoryContext old = MemoryContextSwitchTo(TopTransactionContext);
	Request    *request;
	ListCell   *lc;

	foreach(lc, requests)
	{
		request = lfirst(lc);
		if (request->task.kind == task->kind &&
			request->task.migration == task->migration &&
			request->task.number == task->number)
		{
			request->own |= own;
			MemoryContextSwitchTo(old);
			return;
		}
	}
	request = palloc_object(Request);
	request->task = *task;
	request->own = own;
	request->missing = false;
	request->level = GetCurrentTransactionNestLevel();
	requests = lappend(requests, request);
	MemoryContextSwitchTo(old);
}

static void
at_transaction_end(XactEvent event, void *arg)
{
	List	   *wanted = requests;

	switch (event)
	{
		case XACT_EVENT_COMMIT:
			requests = NIL;
			launch(wanted);
			break;
		case XACT_EVENT_ABORT:
		case XACT_EVENT_PREPARE:
			requests = NIL;
			break;
		default:
			break;
	}
}

static void
at_subtransaction_end(SubXactEvent event, SubTransactionId mine,
					  SubTransactionId parent, void *arg)
{
	int			level = GetCurrentTransactionNestLevel();
	ListCell   *lc;

	if (event != SUBXACT_EVENT_COMMIT_SUB && event != SUBXACT_EVENT_ABORT_SUB)
		return;
	foreach(lc, requests)
	{
		Request    *request = lfirst(lc);

		if (request->level < level)
			continue;
		if (event == SUBXACT_EVENT_COMMIT_SUB)
			request->level = level - 1;
		else
			requests = foreach_delete_current(requests, lc);
	}
}

/*
 * The transaction has committed, so nothing may fail here any more.
 */
static void
launch(List *wanted)
{
	ListCell   *lc;

	foreach(lc, wanted)
	{
		Request    *request = lfirst(lc);
		ZdmTask    *task = &request->task;

		if (zdm_worker_register(task, NULL) || task->kind == ZDM_TASK_VACUUM)
			continue;
		if (!was_told(wanted, request))
			tell_missing(NameStr(task->name), request->own ? WARNING : LOG);
		request->missing = true;
	}
}

/*
 * Each migration of the user's own is named once, whatever number of workers
 * it lacks, and one of the others stands for all.
 */
static bool
was_told(List *wanted, Request *request)
{
	ListCell   *lc;

	foreach(lc, wanted)
	{
		Request    *other = lfirst(lc);

		if (other->missing && other->own == request->own &&
			(!other->own || other->task.migration == request->task.migration))
			return true;
	}
	return false;
}

/*
 * A character that the client's encoding lacks would make the message an
 * error: so no other name but that of the migration is in it, and that one
 * only where it cannot do so.
 */
static void
tell_missing(const char *name, int level)
{
	ErrorContextCallback *context = error_context_stack;

	error_context_stack = NULL;
	if (pg_is_ascii(name))
		ereport(level,
				errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				errmsg("no background worker is free for migration \"%s\": it stays queued", name),
				errhint("The next call of zdm tries again, for example SELECT zdm.start(%s). max_worker_processes sets how many there are.",
						quote_literal_cstr(name)));
	else
		ereport(level,
				errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				errmsg("no background worker is free: the migration stays queued"),
				errhint("The next call of zdm tries again. max_worker_processes sets how many there are."));
	error_context_stack = context;
}

/*
 * Register a worker now.  Returns false where no slot is free.
 */
bool
zdm_worker_register(const ZdmTask *task, BackgroundWorkerHandle **handle)
{
	BackgroundWorker worker;

	describe(&worker, NameStr(task->name)[0] ? NameStr(task->name) : "scout",
			 ZDM_WORKER_TYPE, "zdm_worker_main");
	worker.bgw_restart_time = BGW_NEVER_RESTART;
	memcpy(worker.bgw_extra, task, sizeof(ZdmTask));
	worker.bgw_notify_pid = handle != NULL ? MyProcPid : 0;
	return RegisterDynamicBackgroundWorker(&worker, handle);
}

/*
 * While shared_preload_libraries are loaded: have the server run a launcher
 * from the end of recovery on.
 */
void
zdm_launcher_register(void)
{
	BackgroundWorker worker;

	describe(&worker, "launcher", ZDM_LAUNCHER_TYPE, "zdm_launcher_main");
	worker.bgw_restart_time = LAUNCHER_RESTART_S;
	RegisterBackgroundWorker(&worker);
}

static void
describe(BackgroundWorker *worker, const char *name, const char *type, const char *function)
{
	memset(worker, 0, sizeof(*worker));
	snprintf(worker->bgw_name, BGW_MAXLEN, "zdm %s", name);
	strlcpy(worker->bgw_type, type, BGW_MAXLEN);
	worker->bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
	worker->bgw_start_time = BgWorkerStart_RecoveryFinished;
	strlcpy(worker->bgw_library_name, LIBRARY, BGW_MAXLEN);
	strlcpy(worker->bgw_function_name, function, BGW_MAXLEN);
}

/*
 * First thing in a worker: connect to the task's database.  Returns the task.
 */
ZdmTask *
zdm_worker_begin(void)
{
	/* The last one came with 17. */
	static const char *const unlimited[] = {
		"statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout",
		"transaction_timeout",
	};
	ZdmTask    *task = MemoryContextAlloc(TopMemoryContext, sizeof(ZdmTask));

	memcpy(task, MyBgworkerEntry->bgw_extra, sizeof(ZdmTask));
	begin();
	BackgroundWorkerInitializeConnectionByOid(task->database, InvalidOid, 0);
	if (NameStr(task->name)[0] != '\0')
		SetConfigOption("application_name", NameStr(task->name),
						PGC_USERSET, PGC_S_SESSION);
	for (int i = 0; i < (int) lengthof(unlimited); i++)
	{
		if (GetConfigOption(unlimited[i], true, false) != NULL)
			SetConfigOption(unlimited[i], "0", PGC_SUSET, PGC_S_SESSION);
	}
	/* Whatever the database's settings say. */
	SetConfigOption("search_path", "pg_catalog, pg_temp", PGC_SUSET, PGC_S_SESSION);
	SetConfigOption("default_transaction_isolation", "read committed",
					PGC_SUSET, PGC_S_SESSION);
	SetConfigOption("default_transaction_read_only", "off", PGC_SUSET, PGC_S_SESSION);
	SetConfigOption("default_transaction_deferrable", "off", PGC_SUSET, PGC_S_SESSION);
	SetConfigOption("session_replication_role", "origin", PGC_SUSET, PGC_S_SESSION);
	SetConfigOption("row_security", "on", PGC_SUSET, PGC_S_SESSION);
	/* An index is where the one is that it is made like. */
	SetConfigOption("default_tablespace", "", PGC_SUSET, PGC_S_SESSION);
	return task;
}

/*
 * The same in the launcher, which sees only what all databases share.
 */
void
zdm_launcher_begin(void)
{
	begin();
	BackgroundWorkerInitializeConnection(NULL, NULL, 0);
	SetConfigOption("application_name", ZDM_LAUNCHER_TYPE, PGC_USERSET, PGC_S_SESSION);
}

static void
begin(void)
{
	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGTERM, die);
	BackgroundWorkerUnblockSignals();
}

/*
 * Between two transactions: settings from a configuration file that was
 * changed hold from here on.
 */
void
zdm_reload_config(void)
{
	if (!ConfigReloadPending)
		return;
	ConfigReloadPending = false;
	ProcessConfigFile(PGC_SIGHUP);
}
