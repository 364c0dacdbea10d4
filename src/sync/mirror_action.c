/*-------------------------------------------------------------------------
 *
 * mirror_action.c
 *	  What a mirror rule does to the other table.
 *
 * Each action is one statement with a kept plan, which names everything with
 * its schema and takes the row's values as parameters.  It is run as the
 * foreign keys' own statements are: as the owner of the table that it writes,
 * with row security not forced, under the search_path of the session, since
 * the application's triggers on that table fire for it.  In a transaction
 * with one snapshot it sees the newest rows all the same, but a row that this
 * snapshot cannot see, and that has to be written, is a serialization error:
 * whoever reads the row later in that transaction would see another's write.
 *
 * The trigger of the other table fires for our own statement, too.  It is
 * that statement's echo where the row has got just what we gave it, and needs
 * nothing more.  What a BEFORE trigger of the application made of it is no
 * echo, and comes back to the table where the write began.  As soon as
 * another write has passed between the two rows meanwhile, equal values prove
 * nothing any more; from then on no write is taken for the echo.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "access/xact.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "sync/mirror.h"
#include "util/compat.h"

/* A statement of ours under way. */
typedef struct Action
{
	const ZdmMirror *mirror;
	ZdmMirrorAction action;
	const ZdmMirrorRow *row;
	bool		overtaken;		/* another of the same rule ran meanwhile */
	struct Action *outer;
} Action;

/* Whom to be again, after a statement as a table's owner. */
typedef struct Owner
{
	Relation	rel;
	Oid			user;
	int			security;
} Owner;

static Action *running = NULL;

static void begin_as_owner(Owner *owner, Relation rel);
static void end_as_owner(Owner *owner);
static void execute(ZdmMirror *mirror, ZdmMirrorAction action,
					const ZdmMirrorRow *row, const ZdmMirrorRow *before);
static void look(ZdmMirror *mirror, ZdmMirrorAction action, const ZdmMirrorRow *row,
				 Snapshot snapshot);
static SPIPlanPtr get_plan(ZdmMirror *mirror, ZdmMirrorAction action);
static bool is_awaited(const ZdmMirror *mirror, const ZdmMirrorRow *row);
static bool is_what_we_gave(const ZdmMirror *mirror, const ZdmMirrorRow *row, int to);
static Oid	target_of(const ZdmMirror *mirror, ZdmMirrorAction action);
static bool same_rule(const ZdmMirror *a, const ZdmMirror *b);
static void action_error(void *arg);

/*
 * Do it, and return how many rows it concerned.  before: for a move, the row
 * with the old key.
 */
uint64
zdm_mirror_do(ZdmMirror *mirror, ZdmMirrorAction action,
			  const ZdmMirrorRow *row, const ZdmMirrorRow *before)
{
	Action		under_way = {.mirror = mirror,.action = action,.row = row,.outer = running};
	ErrorContextCallback callback = {
		.callback = action_error,
		.arg = mirror,
		.previous = error_context_stack,
	};
	Owner		owner;
	uint64		processed;

	error_context_stack = &callback;
	begin_as_owner(&owner, table_open(target_of(mirror, action), RowShareLock));
	for (Action *outer = running; outer != NULL && action > ZDM_MIRROR_LOCK_SKIP; outer = outer->outer)
		if (same_rule(outer->mirror, mirror))
			outer->overtaken = true;
	running = &under_way;
	PG_TRY();
	{
		execute(mirror, action, row, before);
	}
	PG_FINALLY();
	{
		running = under_way.outer;
	}
	PG_END_TRY();
	processed = SPI_processed;
	end_as_owner(&owner);
	error_context_stack = callback.previous;
	return processed;
}

static void
execute(ZdmMirror *mirror, ZdmMirrorAction action, const ZdmMirrorRow *row,
		const ZdmMirrorRow *before)
{
	SPIPlanPtr	plan = get_plan(mirror, action);
	Snapshot	snapshot = InvalidSnapshot;
	Snapshot	crosscheck = InvalidSnapshot;
	Datum	   *values = NULL;
	char	   *nulls = NULL;
	int			code;

	if (action == ZDM_MIRROR_MOVE)
	{
		values = palloc_array(Datum, mirror->count + mirror->keys);
		nulls = palloc_array(char, mirror->count + mirror->keys);
		memcpy(values, row->values, sizeof(Datum) * mirror->count);
		memcpy(nulls, row->nulls, mirror->count);
		memcpy(values + mirror->count, before->values, sizeof(Datum) * mirror->keys);
		memcpy(nulls + mirror->count, before->nulls, mirror->keys);
	}
	else if (row != NULL)
	{
		values = row->values;
		nulls = row->nulls;
	}
	if (IsolationUsesXactSnapshot())
	{
		CommandCounterIncrement();
		snapshot = GetLatestSnapshot();
		crosscheck = GetTransactionSnapshot();
	}
	code = SPI_execute_snapshot(plan, values, nulls, snapshot, crosscheck,
								false, true, 0);
	if (code < 0)
		elog(ERROR, "unexpected result %s of a mirror rule's statement",
			 SPI_result_code_string(code));
}

/*
 * Read the other row's columns into row, which has the key, in the current
 * memory context.  By the given snapshot, or, with InvalidSnapshot, the newest
 * one.  Returns false where there is no such row.
 */
bool
zdm_mirror_lookup(ZdmMirror *mirror, ZdmMirrorRow *row, Snapshot snapshot)
{
	MemoryContext cxt = CurrentMemoryContext;
	Relation	there = table_open(mirror->there, AccessShareLock);
	Owner		owner;
	bool		found;

	if (snapshot == InvalidSnapshot)
	{
		CommandCounterIncrement();
		snapshot = GetLatestSnapshot();
	}
	if (zdm_mirror_can_scan(mirror, there))
	{
		PushActiveSnapshot(snapshot);
		found = zdm_mirror_scan(mirror, there, row, GetActiveSnapshot());
		PopActiveSnapshot();
		table_close(there, NoLock);
		return found;
	}
	begin_as_owner(&owner, there);
	look(mirror, ZDM_MIRROR_LOOKUP, row, snapshot);
	if (SPI_processed > 1)
		ereport(ERROR,
				errcode(ERRCODE_CARDINALITY_VIOLATION),
				errmsg("table \"%s\" has several rows for one row of table \"%s\"",
					   get_rel_name(mirror->there), get_rel_name(mirror->here)),
				errhint("Delete all but one of them."));
	found = SPI_processed > 0;
	for (int i = mirror->keys; found && i < mirror->count; i++)
	{
		MemoryContext old;
		bool		isnull;
		Datum		value = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc,
										  i - mirror->keys + 1, &isnull);

		old = MemoryContextSwitchTo(cxt);
		row->nulls[i] = isnull ? 'n' : ' ';
		if (!isnull)
			row->values[i] = datumCopy(value, mirror->columns[i].typbyval,
									   mirror->columns[i].typlen);
		MemoryContextSwitchTo(old);
	}
	end_as_owner(&owner);
	return found;
}

/*
 * Whether the second table has a row with just these values, by the snapshot.
 */
bool
zdm_mirror_member(ZdmMirror *mirror, const ZdmMirrorRow *row, Snapshot snapshot)
{
	Owner		owner;
	bool		found;

	begin_as_owner(&owner, table_open(mirror->there, AccessShareLock));
	look(mirror, ZDM_MIRROR_MEMBER, row, snapshot);
	found = SPI_processed > 0;
	end_as_owner(&owner);
	return found;
}

/*
 * Connect to SPI as the owner of a table, which is closed at the end.
 */
static void
begin_as_owner(Owner *owner, Relation rel)
{
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	owner->rel = rel;
	GetUserIdAndSecContext(&owner->user, &owner->security);
	SetUserIdAndSecContext(rel->rd_rel->relowner,
						   owner->security | SECURITY_LOCAL_USERID_CHANGE |
						   SECURITY_NOFORCE_RLS);
}

static void
end_as_owner(Owner *owner)
{
	SetUserIdAndSecContext(owner->user, owner->security);
	if (SPI_finish() != SPI_OK_FINISH)
		elog(ERROR, "SPI_finish failed");
	table_close(owner->rel, NoLock);
}

static void
look(ZdmMirror *mirror, ZdmMirrorAction action, const ZdmMirrorRow *row,
	 Snapshot snapshot)
{
	if (SPI_execute_snapshot(get_plan(mirror, action), row->values, row->nulls,
							 snapshot, InvalidSnapshot, true, false, 2) != SPI_OK_SELECT)
		elog(ERROR, "unexpected result of a mirror rule's lookup");
}

/*
 * Whether a statement of the same rule's is under way: the row that it was
 * run for is there already.
 */
bool
zdm_mirror_is_nested(const ZdmMirror *mirror)
{
	for (Action *action = running; action != NULL; action = action->outer)
	{
		if (same_rule(action->mirror, mirror))
			return true;
	}
	return false;
}

/*
 * Whether the table on this side of a rule is just being written by a
 * statement of the same rule's.
 */
bool
zdm_mirror_is_written(const ZdmMirror *mirror)
{
	return running != NULL && same_rule(running->mirror, mirror) &&
		target_of(running->mirror, running->action) == mirror->here &&
		!running->overtaken;
}

/*
 * Whether what happened to a row, here, is the echo of our own statement.
 */
bool
zdm_mirror_is_echo(const ZdmMirror *mirror, const ZdmMirrorRow *before,
				   const ZdmMirrorRow *after)
{
	if (after != NULL && is_awaited(mirror, after))
		return true;
	if (!zdm_mirror_is_written(mirror))
		return false;
	switch (running->action)
	{
		case ZDM_MIRROR_SET:
		case ZDM_MIRROR_SET_HERE:
		case ZDM_MIRROR_MOVE:
		case ZDM_MIRROR_INSERT:
		case ZDM_MIRROR_ADD:
		case ZDM_MIRROR_PUT:
			return after != NULL &&
				is_what_we_gave(mirror, after, mirror->count);
		case ZDM_MIRROR_DELETE:
		case ZDM_MIRROR_REMOVE:
			return after == NULL &&
				is_what_we_gave(mirror, before, mirror->keys);
		case ZDM_MIRROR_SHOW:
			return after != NULL &&
				is_what_we_gave(mirror, after, mirror->keys);
		case ZDM_MIRROR_CLEAR:
			if (after == NULL ||
				!is_what_we_gave(mirror, after, mirror->keys))
				return false;
			break;
		case ZDM_MIRROR_EMPTY:
			if (after == NULL)
				return true;
			break;
		case ZDM_MIRROR_LOCK:
		case ZDM_MIRROR_LOCK_NOWAIT:
		case ZDM_MIRROR_LOCK_SKIP:
		case ZDM_MIRROR_MEMBER:
		case ZDM_MIRROR_LOOKUP:
			return false;
	}
	for (int i = mirror->keys; i < mirror->count; i++)
	{
		if (after->nulls[i] != 'n')
			return false;
	}
	return true;
}

/*
 * Whether the row here was put before its counterpart, which comes with
 * whatever this one has become by then.
 */
static bool
is_awaited(const ZdmMirror *mirror, const ZdmMirrorRow *row)
{
	for (Action *action = running; action != NULL; action = action->outer)
	{
		if (action->action == ZDM_MIRROR_PUT && same_rule(action->mirror, mirror) &&
			action->mirror->there == mirror->here &&
			zdm_mirror_same(mirror, row, action->row, 0, mirror->keys))
			return true;
	}
	return false;
}

/*
 * Whether columns [0, to) have what the running action gave them.  Its row has
 * the other table's types; where those are stored otherwise, the answer is no,
 * and the write comes back to a row that has these values already.
 */
static bool
is_what_we_gave(const ZdmMirror *mirror, const ZdmMirrorRow *row, int to)
{
	for (int i = 0; i < to; i++)
	{
		const ZdmMirrorColumn *column = &mirror->columns[i];
		const ZdmMirrorColumn *given = &running->mirror->columns[i];

		if (column->typbyval != given->typbyval ||
			(!column->typbyval && column->typlen != given->typlen))
			return false;
	}
	return zdm_mirror_same(mirror, row, running->row, 0, to);
}

/*
 * The table that an action writes.
 */
static Oid
target_of(const ZdmMirror *mirror, ZdmMirrorAction action)
{
	return action == ZDM_MIRROR_SET_HERE ? mirror->here : mirror->there;
}

static bool
same_rule(const ZdmMirror *a, const ZdmMirror *b)
{
	return a->migration_id == b->migration_id && a->number == b->number;
}

static SPIPlanPtr
get_plan(ZdmMirror *mirror, ZdmMirrorAction action)
{
	SPIPlanPtr	plan = mirror->plans[action];
	Oid		   *types;

	if (plan != NULL && SPI_plan_is_valid(plan))
		return plan;
	mirror->plans[action] = NULL;
	if (plan != NULL)
		SPI_freeplan(plan);
	types = palloc_array(Oid, mirror->count + mirror->keys);
	for (int i = 0; i < mirror->count + mirror->keys; i++)
		types[i] = mirror->columns[i % mirror->count].type;
	plan = SPI_prepare(zdm_mirror_sql(mirror, action),
					   action == ZDM_MIRROR_EMPTY ? 0 :
					   mirror->count + (action == ZDM_MIRROR_MOVE ? mirror->keys : 0),
					   types);
	if (plan == NULL || SPI_keepplan(plan) != 0)
		elog(ERROR, "could not prepare a mirror rule's statement");
	mirror->plans[action] = plan;
	return plan;
}

static void
action_error(void *arg)
{
	ZdmMirror  *mirror = arg;

	errcontext("zdm migration \"%s\" on table \"%s\"", mirror->migration,
			   get_rel_name(mirror->here));
}
