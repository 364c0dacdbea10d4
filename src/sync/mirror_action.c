/*-------------------------------------------------------------------------
 *
 * mirror_action.c
 *	  What a mirror rule does to the other table.
 *
 * Each action is one statement, which names everything with its schema and
 * takes the row's values as parameters; mirror_statement.c says whose rights
 * it has.  It runs under the search_path of the session, since the
 * application's triggers on that table fire for it.  In a transaction
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
#include "utils/typcache.h"

#include "sync/mirror.h"
#include "util/compat.h"

/* A statement of ours under way. */
typedef struct Action
{
	const ZdmMirror *mirror;
	ZdmMirrorAction action;
	const ZdmMirrorRow *row;
	const ZdmMirrorRow *before; /* of a move: the row with the old key */
	bool		overtaken;		/* another of the same rule ran meanwhile */
	struct Action *outer;
} Action;

/* The row that a look at the other table has found. */
typedef struct Found
{
	DestReceiver pub;			/* must be first */
	const ZdmMirror *mirror;
	ZdmMirrorRow *row;
	MemoryContext cxt;
	int			count;
} Found;

static Action *running = NULL;

static bool look_for(ZdmMirror *mirror, ZdmMirrorAction action, const ZdmMirrorRow *row,
					 Snapshot snapshot);
static void take_found(Found *found);
static bool receive_row(TupleTableSlot *slot, DestReceiver *self);
static void receive_nothing(DestReceiver *self);
static void receive_shape(DestReceiver *self, int operation, TupleDesc desc);
static bool is_awaited(const ZdmMirror *mirror, const ZdmMirrorRow *row);
static bool is_row_we_wrote(const ZdmMirror *mirror, const ZdmMirrorRow *row);
static bool is_row_of(const ZdmMirror *mirror, const ZdmMirrorRow *row, const ZdmMirrorRow *given);
static bool is_what_we_gave(const ZdmMirror *mirror, const ZdmMirrorRow *row, int from, int to);
static bool has_what_we_gave(const ZdmMirror *mirror, const ZdmMirrorRow *row,
							 const ZdmMirrorRow *given, int from, int to);
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
	Action		under_way = {.mirror = mirror,.action = action,.row = row,.before = before,.outer = running};
	ErrorContextCallback callback = {
		.callback = action_error,
		.arg = mirror,
		.previous = error_context_stack,
	};
	Relation	rel;
	uint64		processed;

	error_context_stack = &callback;
	rel = table_open(zdm_mirror_target(mirror, action),
					 action <= ZDM_MIRROR_LOCK_SKIP ? RowShareLock : RowExclusiveLock);
	for (Action *outer = running; outer != NULL && action > ZDM_MIRROR_LOCK_SKIP; outer = outer->outer)
		if (same_rule(outer->mirror, mirror))
			outer->overtaken = true;
	running = &under_way;
	PG_TRY();
	{
		if (!zdm_mirror_direct(mirror, rel, action, row, &processed))
			processed = zdm_mirror_run(mirror, action, row, before, InvalidSnapshot,
									   None_Receiver, 0);
	}
	PG_FINALLY();
	{
		running = under_way.outer;
	}
	PG_END_TRY();
	table_close(rel, NoLock);
	error_context_stack = callback.previous;
	return processed;
}

/*
 * Read the other row's columns into row, which has the key, in the current
 * memory context.  By the given snapshot, or, with InvalidSnapshot, the newest
 * one.  Returns false where there is no such row.
 */
bool
zdm_mirror_lookup(ZdmMirror *mirror, ZdmMirrorRow *row, Snapshot snapshot)
{
	Relation	there = table_open(mirror->there, AccessShareLock);
	Found		found = {.mirror = mirror,.row = row,.cxt = CurrentMemoryContext};
	bool		direct,
				result;

	row->checked = 0;
	if (snapshot == InvalidSnapshot)
	{
		CommandCounterIncrement();
		snapshot = GetLatestSnapshot();
	}
	PushActiveSnapshot(snapshot);
	direct = zdm_mirror_direct_read(mirror, there, row, &result);
	PopActiveSnapshot();
	if (direct)
	{
		table_close(there, NoLock);
		return result;
	}
	take_found(&found);
	zdm_mirror_run(mirror, ZDM_MIRROR_LOOKUP, row, NULL, snapshot, &found.pub, 2);
	table_close(there, NoLock);
	if (found.count > 1)
		zdm_mirror_found_several(mirror);
	return found.count > 0;
}

void
zdm_mirror_found_several(const ZdmMirror *mirror)
{
	ereport(ERROR,
			errcode(ERRCODE_CARDINALITY_VIOLATION),
			errmsg("table \"%s\" has several rows for one row of table \"%s\"",
				   get_rel_name(mirror->there), get_rel_name(mirror->here)),
			errhint("Delete all but one of them."));
}

/*
 * Whether the second table has a row with just these values, by the snapshot.
 */
bool
zdm_mirror_member(ZdmMirror *mirror, const ZdmMirrorRow *row, Snapshot snapshot)
{
	return look_for(mirror, ZDM_MIRROR_MEMBER, row, snapshot);
}

/*
 * Whether the other table has a row with the key, by the snapshot.
 */
bool
zdm_mirror_exists(ZdmMirror *mirror, const ZdmMirrorRow *row, Snapshot snapshot)
{
	return look_for(mirror, ZDM_MIRROR_EXISTS, row, snapshot);
}

static bool
look_for(ZdmMirror *mirror, ZdmMirrorAction action, const ZdmMirrorRow *row, Snapshot snapshot)
{
	Relation	there = table_open(mirror->there, AccessShareLock);
	uint64		count = zdm_mirror_run(mirror, action, row, NULL, snapshot, None_Receiver, 1);

	table_close(there, NoLock);
	return count > 0;
}

static void
take_found(Found *found)
{
	found->pub.receiveSlot = receive_row;
	found->pub.rStartup = receive_shape;
	found->pub.rShutdown = receive_nothing;
	found->pub.rDestroy = receive_nothing;
	found->pub.mydest = DestNone;
}

static bool
receive_row(TupleTableSlot *slot, DestReceiver *self)
{
	Found	   *found = (Found *) self;
	int			keys = found->mirror->keys;
	MemoryContext old;

	if (found->count++ > 0)
		return true;
	old = MemoryContextSwitchTo(found->cxt);
	for (int i = keys; i < found->mirror->count; i++)
	{
		const ZdmMirrorColumn *column = &found->mirror->columns[i];
		bool		isnull;
		Datum		value = slot_getattr(slot, i - keys + 1, &isnull);

		found->row->nulls[i] = isnull ? 'n' : ' ';
		if (!isnull)
			found->row->values[i] = datumCopy(value, column->typbyval, column->typlen);
	}
	MemoryContextSwitchTo(old);
	return true;
}

static void
receive_shape(DestReceiver *self, int operation, TupleDesc desc)
{
}

static void
receive_nothing(DestReceiver *self)
{
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
		zdm_mirror_target(running->mirror, running->action) == mirror->here &&
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
		case ZDM_MIRROR_FETCH:
			return after != NULL && is_row_we_wrote(mirror, after) &&
				is_what_we_gave(mirror, after, mirror->keys, mirror->count);
		case ZDM_MIRROR_MOVE_HERE:
		case ZDM_MIRROR_MOVE:
		case ZDM_MIRROR_MOVE_FIRST:
			/* To another partition it goes by leaving the one that it is in. */
			if (after == NULL)
				return running->before != NULL && is_row_of(mirror, before, running->before);
			return is_what_we_gave(mirror, after, 0, mirror->count);
		case ZDM_MIRROR_INSERT_HERE:
		case ZDM_MIRROR_INSERT:
		case ZDM_MIRROR_ADD:
		case ZDM_MIRROR_PUT:
			return after != NULL &&
				is_what_we_gave(mirror, after, 0, mirror->count);
		case ZDM_MIRROR_DELETE:
		case ZDM_MIRROR_DELETE_HERE:
		case ZDM_MIRROR_REMOVE:
			return after == NULL && is_row_we_wrote(mirror, before);
		case ZDM_MIRROR_SHOW:
			return after != NULL && is_row_we_wrote(mirror, after);
		case ZDM_MIRROR_CLEAR:
			if (after == NULL || !is_row_we_wrote(mirror, after))
				return false;
			break;
		case ZDM_MIRROR_EMPTY:
			if (after == NULL)
				return true;
			break;
		case ZDM_MIRROR_LOCK:
		case ZDM_MIRROR_LOCK_RIVALS:
		case ZDM_MIRROR_LOCK_NOWAIT:
		case ZDM_MIRROR_LOCK_SKIP:
		case ZDM_MIRROR_MEMBER:
		case ZDM_MIRROR_EXISTS:
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
 * Whether the row here was put or moved before its counterpart, which comes
 * with whatever this one has become by then.
 */
static bool
is_awaited(const ZdmMirror *mirror, const ZdmMirrorRow *row)
{
	for (Action *action = running; action != NULL; action = action->outer)
	{
		if ((action->action == ZDM_MIRROR_PUT || action->action == ZDM_MIRROR_MOVE_FIRST) &&
			same_rule(action->mirror, mirror) &&
			action->mirror->there == mirror->here &&
			zdm_mirror_same(mirror, row, action->row, 0, mirror->keys))
			return true;
	}
	return false;
}

/*
 * Whether a row is the one that the running action looked for by its key.
 */
static bool
is_row_we_wrote(const ZdmMirror *mirror, const ZdmMirrorRow *row)
{
	return is_row_of(mirror, row, running->row);
}

/*
 * Whether a row has the key of one that the running action was given.  The
 * two may write an equal key differently: 1.0 and 1, or upper and lower case.
 */
static bool
is_row_of(const ZdmMirror *mirror, const ZdmMirrorRow *row, const ZdmMirrorRow *given)
{
	for (int i = 0; i < mirror->keys; i++)
	{
		const ZdmMirrorColumn *column = &mirror->columns[i];
		TypeCacheEntry *type;

		if (has_what_we_gave(mirror, row, given, i, i + 1))
			continue;
		type = lookup_type_cache(column->type, TYPECACHE_EQ_OPR_FINFO);
		if (row->nulls[i] == 'n' || given->nulls[i] == 'n' ||
			getBaseType(column->type) != getBaseType(running->mirror->columns[i].type) ||
			!OidIsValid(type->eq_opr_finfo.fn_oid) ||
			!DatumGetBool(FunctionCall2Coll(&type->eq_opr_finfo, column->collation,
											row->values[i], given->values[i])))
			return false;
	}
	return true;
}

static bool
is_what_we_gave(const ZdmMirror *mirror, const ZdmMirrorRow *row, int from, int to)
{
	return has_what_we_gave(mirror, row, running->row, from, to);
}

/*
 * Whether columns [from, to) are those of a row that the running action was
 * given.  That has the other table's types; where those are stored otherwise,
 * the answer is no, and the write comes back to a row that has these values
 * already.
 */
static bool
has_what_we_gave(const ZdmMirror *mirror, const ZdmMirrorRow *row, const ZdmMirrorRow *given,
				 int from, int to)
{
	for (int i = from; i < to; i++)
	{
		const ZdmMirrorColumn *column = &mirror->columns[i];
		const ZdmMirrorColumn *there = &running->mirror->columns[i];

		if (column->typbyval != there->typbyval ||
			(!column->typbyval && column->typlen != there->typlen))
			return false;
	}
	return zdm_mirror_same(mirror, row, given, from, to);
}

/*
 * The table that an action writes.
 */
Oid
zdm_mirror_target(const ZdmMirror *mirror, ZdmMirrorAction action)
{
	return action >= ZDM_MIRROR_SET_HERE && action <= ZDM_MIRROR_DELETE_HERE
		? mirror->here : mirror->there;
}

static bool
same_rule(const ZdmMirror *a, const ZdmMirror *b)
{
	return a->migration_id == b->migration_id && a->number == b->number;
}

static void
action_error(void *arg)
{
	ZdmMirror  *mirror = arg;

	errcontext("zdm migration \"%s\" on table \"%s\"", mirror->migration,
			   get_rel_name(mirror->here));
}
