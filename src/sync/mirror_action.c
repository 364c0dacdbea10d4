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

#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/pg_operator.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"
#include "utils/typcache.h"

#include "sync/mirror.h"
#include "util/compat.h"
#include "util/ident.h"

/* A statement of ours under way. */
typedef struct Action
{
	const ZdmMirror *mirror;
	ZdmMirrorAction action;
	const ZdmMirrorRow *row;
	bool		overtaken;		/* another of the same rule ran meanwhile */
	struct Action *outer;
} Action;

static Action *running = NULL;

static void execute(ZdmMirror *mirror, ZdmMirrorAction action,
					const ZdmMirrorRow *row, const ZdmMirrorRow *before);
static void look(ZdmMirror *mirror, ZdmMirrorAction action, const ZdmMirrorRow *row,
				 Snapshot snapshot);
static SPIPlanPtr get_plan(ZdmMirror *mirror, ZdmMirrorAction action);
static char *action_sql(const ZdmMirror *mirror, ZdmMirrorAction action);
static void append_show(StringInfo sql, const ZdmMirror *mirror);
static void append_order(StringInfo sql, const ZdmMirror *mirror, bool here);
static void append_names(StringInfo sql, const ZdmMirror *mirror, int from, int to);
static void append_values(StringInfo sql, const ZdmMirror *mirror, int from, int to);
static void append_settings(StringInfo sql, const ZdmMirror *mirror, int from, int to);
static void append_key(StringInfo sql, const ZdmMirror *mirror, int offset);
static void append_same(StringInfo sql, const ZdmMirror *mirror);
static void append_counterpart(StringInfo sql, const ZdmMirror *mirror);
static char *value_of(const ZdmMirror *mirror, int column, int parameter);
static char *type_name(Oid type);
static char *equals_operator(Oid type);
static Oid	type_there(const ZdmMirror *mirror, int column);
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
	Relation	target;
	Oid			user;
	int			security;
	uint64		processed;

	error_context_stack = &callback;
	target = table_open(target_of(mirror, action), RowShareLock);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	GetUserIdAndSecContext(&user, &security);
	SetUserIdAndSecContext(target->rd_rel->relowner,
						   security | SECURITY_LOCAL_USERID_CHANGE |
						   SECURITY_NOFORCE_RLS);
	for (Action *outer = running; outer != NULL && action != ZDM_MIRROR_LOCK; outer = outer->outer)
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
	SetUserIdAndSecContext(user, security);
	if (SPI_finish() != SPI_OK_FINISH)
		elog(ERROR, "SPI_finish failed");
	table_close(target, NoLock);
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
	Datum	   *values = row != NULL ? row->values : NULL;
	char	   *nulls = row != NULL ? row->nulls : NULL;
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
	bool		newest = snapshot == InvalidSnapshot;
	Oid			user;
	int			security;
	bool		found;

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	GetUserIdAndSecContext(&user, &security);
	SetUserIdAndSecContext(there->rd_rel->relowner,
						   security | SECURITY_LOCAL_USERID_CHANGE |
						   SECURITY_NOFORCE_RLS);
	if (newest)
	{
		CommandCounterIncrement();
		snapshot = GetLatestSnapshot();
	}
	look(mirror, ZDM_MIRROR_LOOKUP, row, snapshot);
	SetUserIdAndSecContext(user, security);
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
	if (SPI_finish() != SPI_OK_FINISH)
		elog(ERROR, "SPI_finish failed");
	table_close(there, NoLock);
	return found;
}

/*
 * Whether the second table has a row with just these values, by the snapshot.
 */
bool
zdm_mirror_member(ZdmMirror *mirror, const ZdmMirrorRow *row, Snapshot snapshot)
{
	Relation	there = table_open(mirror->there, AccessShareLock);
	Oid			user;
	int			security;
	bool		found;

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	GetUserIdAndSecContext(&user, &security);
	SetUserIdAndSecContext(there->rd_rel->relowner,
						   security | SECURITY_LOCAL_USERID_CHANGE |
						   SECURITY_NOFORCE_RLS);
	look(mirror, ZDM_MIRROR_MEMBER, row, snapshot);
	SetUserIdAndSecContext(user, security);
	found = SPI_processed > 0;
	if (SPI_finish() != SPI_OK_FINISH)
		elog(ERROR, "SPI_finish failed");
	table_close(there, NoLock);
	return found;
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
	if (!zdm_mirror_is_written(mirror))
		return false;
	switch (running->action)
	{
		case ZDM_MIRROR_SET:
		case ZDM_MIRROR_SET_HERE:
		case ZDM_MIRROR_MOVE:
		case ZDM_MIRROR_INSERT:
		case ZDM_MIRROR_ADD:
			return after != NULL &&
				zdm_mirror_same(mirror, after, running->row, 0, mirror->count);
		case ZDM_MIRROR_DELETE:
		case ZDM_MIRROR_REMOVE:
			return after == NULL &&
				zdm_mirror_same(mirror, before, running->row, 0, mirror->keys);
		case ZDM_MIRROR_SHOW:
			return after != NULL &&
				zdm_mirror_same(mirror, after, running->row, 0, mirror->keys);
		case ZDM_MIRROR_CLEAR:
			if (after == NULL ||
				!zdm_mirror_same(mirror, after, running->row, 0, mirror->keys))
				return false;
			break;
		case ZDM_MIRROR_EMPTY:
			if (after == NULL)
				return true;
			break;
		case ZDM_MIRROR_LOCK:
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
	plan = SPI_prepare(action_sql(mirror, action),
					   action == ZDM_MIRROR_EMPTY ? 0 :
					   mirror->count + (action == ZDM_MIRROR_MOVE ? mirror->keys : 0),
					   types);
	if (plan == NULL || SPI_keepplan(plan) != 0)
		elog(ERROR, "could not prepare a mirror rule's statement");
	mirror->plans[action] = plan;
	return plan;
}

/*
 * The key is $1 and so on, the columns come behind it; a move has the old key
 * behind them.
 */
static char *
action_sql(const ZdmMirror *mirror, ZdmMirrorAction action)
{
	char	   *table = zdm_quote_relation(mirror->there);
	int			keys = mirror->keys;
	int			count = mirror->count;
	StringInfoData sql;

	initStringInfo(&sql);
	switch (action)
	{
		case ZDM_MIRROR_LOCK:
			appendStringInfo(&sql, "SELECT 1 FROM %s t WHERE ", table);
			append_key(&sql, mirror, 0);
			appendStringInfoString(&sql, " FOR NO KEY UPDATE OF t");
			break;
		case ZDM_MIRROR_SET:
			appendStringInfo(&sql, "UPDATE %s t SET ", table);
			/* Where the key is all there is, it stays what it is. */
			append_settings(&sql, mirror, count > keys ? keys : 0, count);
			appendStringInfoString(&sql, " WHERE ");
			append_key(&sql, mirror, 0);
			break;
		case ZDM_MIRROR_MOVE:
			appendStringInfo(&sql, "UPDATE %s t SET ", table);
			append_settings(&sql, mirror, 0, count);
			appendStringInfoString(&sql, " WHERE ");
			append_key(&sql, mirror, count);
			break;
		case ZDM_MIRROR_INSERT:
		case ZDM_MIRROR_ADD:
			appendStringInfo(&sql, "INSERT INTO %s (", table);
			append_names(&sql, mirror, 0, count);
			appendStringInfoString(&sql, ") OVERRIDING SYSTEM VALUE VALUES (");
			append_values(&sql, mirror, 0, count);
			appendStringInfoChar(&sql, ')');
			if (action == ZDM_MIRROR_ADD)
				appendStringInfoString(&sql, " ON CONFLICT DO NOTHING");
			break;
		case ZDM_MIRROR_REMOVE:
			appendStringInfo(&sql, "DELETE FROM %s t WHERE ", table);
			append_key(&sql, mirror, 0);
			append_same(&sql, mirror);
			break;
		case ZDM_MIRROR_MEMBER:
			appendStringInfo(&sql, "SELECT 1 FROM %s t WHERE ", table);
			append_key(&sql, mirror, 0);
			append_same(&sql, mirror);
			break;
		case ZDM_MIRROR_SHOW:
			append_show(&sql, mirror);
			break;
		case ZDM_MIRROR_DELETE:
			appendStringInfo(&sql, "DELETE FROM %s t WHERE ", table);
			append_key(&sql, mirror, 0);
			break;
		case ZDM_MIRROR_CLEAR:
		case ZDM_MIRROR_EMPTY:
			if (action == ZDM_MIRROR_EMPTY && (mirror->is_first || mirror->optional == 0))
				appendStringInfo(&sql, "DELETE FROM %s t", table);
			else
			{
				appendStringInfo(&sql, "UPDATE %s t SET ", table);
				for (int i = keys; i < count; i++)
					appendStringInfo(&sql, "%s%s = NULL", i > keys ? ", " : "",
									 quote_identifier(mirror->columns[i].there));
			}
			appendStringInfoString(&sql, " WHERE ");
			if (action == ZDM_MIRROR_CLEAR)
			{
				append_key(&sql, mirror, 0);
				append_same(&sql, mirror);
			}
			else
				append_counterpart(&sql, mirror);
			break;
		case ZDM_MIRROR_SET_HERE:
			appendStringInfo(&sql, "UPDATE %s t SET ", zdm_quote_relation(mirror->here));
			for (int i = keys; i < count; i++)
				appendStringInfo(&sql, "%s%s = $%d", i > keys ? ", " : "",
								 quote_identifier(mirror->columns[i].name), i + 1);
			for (int i = 0; i < keys; i++)
				appendStringInfo(&sql, " %s t.%s %s $%d", i > 0 ? "AND" : "WHERE",
								 quote_identifier(mirror->columns[i].name),
								 equals_operator(mirror->columns[i].type), i + 1);
			break;
		case ZDM_MIRROR_LOOKUP:
			appendStringInfoString(&sql, "SELECT ");
			for (int i = keys; i < count; i++)
				appendStringInfo(&sql, "%s(t.%s)::%s", i > keys ? ", " : "",
								 quote_identifier(mirror->columns[i].there),
								 type_name(mirror->columns[i].type));
			appendStringInfo(&sql, " FROM %s t WHERE ", table);
			append_key(&sql, mirror, 0);
			if (mirror->several)
				append_order(&sql, mirror, false);
			break;
	}
	return sql.data;
}

/*
 * In the first table, the columns of the row of the second that comes first,
 * NULL where there is none.
 */
static void
append_show(StringInfo sql, const ZdmMirror *mirror)
{
	appendStringInfo(sql, "UPDATE %s t SET (", zdm_quote_relation(mirror->there));
	append_names(sql, mirror, mirror->keys, mirror->count);
	appendStringInfoString(sql, ") = (SELECT ");
	for (int i = mirror->keys; i < mirror->count; i++)
		appendStringInfo(sql, "%sh.%s", i > mirror->keys ? ", " : "",
						 quote_identifier(mirror->columns[i].name));
	appendStringInfo(sql, " FROM %s h WHERE ", zdm_quote_relation(mirror->here));
	for (int i = 0; i < mirror->keys; i++)
		appendStringInfo(sql, "%sh.%s %s $%d", i > 0 ? " AND " : "",
						 quote_identifier(mirror->columns[i].name),
						 equals_operator(mirror->columns[i].type), i + 1);
	append_order(sql, mirror, true);
	appendStringInfoString(sql, ") WHERE ");
	append_key(sql, mirror, 0);
}

/*
 * Of several rows of the second table, the first.
 */
static void
append_order(StringInfo sql, const ZdmMirror *mirror, bool here)
{
	for (int i = mirror->keys; i < mirror->count; i++)
		appendStringInfo(sql, "%s %s.%s%s", i > mirror->keys ? "," : " ORDER BY",
						 here ? "h" : "t",
						 quote_identifier(here ? mirror->columns[i].name : mirror->columns[i].there),
						 mirror->last_first ? " DESC" : "");
	appendStringInfoString(sql, " LIMIT 1");
}

static void
append_names(StringInfo sql, const ZdmMirror *mirror, int from, int to)
{
	for (int i = from; i < to; i++)
		appendStringInfo(sql, "%s%s", i > from ? ", " : "",
						 quote_identifier(mirror->columns[i].there));
}

static void
append_values(StringInfo sql, const ZdmMirror *mirror, int from, int to)
{
	for (int i = from; i < to; i++)
		appendStringInfo(sql, "%s%s", i > from ? ", " : "", value_of(mirror, i, i));
}

static void
append_settings(StringInfo sql, const ZdmMirror *mirror, int from, int to)
{
	for (int i = from; i < to; i++)
		appendStringInfo(sql, "%s%s = %s", i > from ? ", " : "",
						 quote_identifier(mirror->columns[i].there),
						 value_of(mirror, i, i));
}

/*
 * The row with the key that is in the parameters behind the offset.
 */
static void
append_key(StringInfo sql, const ZdmMirror *mirror, int offset)
{
	for (int i = 0; i < mirror->keys; i++)
		appendStringInfo(sql, "%st.%s %s %s", i > 0 ? " AND " : "",
						 quote_identifier(mirror->columns[i].there),
						 equals_operator(type_there(mirror, i)),
						 value_of(mirror, i, offset + i));
}

/*
 * Only where the optional columns are as given: another row of this table may
 * have given it others meanwhile.  A row that the backfill has still to fill
 * is written, too: it would otherwise be filled with what is no more.
 */
static void
append_same(StringInfo sql, const ZdmMirror *mirror)
{
	appendStringInfoString(sql, " AND ((");
	for (int i = mirror->keys; i < mirror->keys + mirror->optional; i++)
		appendStringInfo(sql, "%st.%s %s %s", i > mirror->keys ? " AND " : "",
						 quote_identifier(mirror->columns[i].there),
						 equals_operator(type_there(mirror, i)),
						 value_of(mirror, i, i));
	appendStringInfoChar(sql, ')');
	if (mirror->backfilling && !mirror->fills_second)
		appendStringInfo(sql, " OR t.%s IS NULL",
						 quote_identifier(mirror->columns[mirror->keys].there));
	appendStringInfoChar(sql, ')');
}

/*
 * Rows there that have no counterpart here.
 */
static void
append_counterpart(StringInfo sql, const ZdmMirror *mirror)
{
	if (!mirror->is_first && mirror->optional > 0)
		appendStringInfo(sql, "t.%s IS NOT NULL AND ",
						 quote_identifier(mirror->columns[mirror->keys].there));
	appendStringInfo(sql, "NOT EXISTS (SELECT 1 FROM %s h WHERE ",
					 zdm_quote_relation(mirror->here));
	for (int i = 0; i < mirror->keys; i++)
		appendStringInfo(sql, "%sh.%s %s t.%s", i > 0 ? " AND " : "",
						 quote_identifier(mirror->columns[i].name),
						 equals_operator(type_there(mirror, i)),
						 quote_identifier(mirror->columns[i].there));
	appendStringInfoChar(sql, ')');
}

/*
 * A parameter, as a value of the other table's column.
 */
static char *
value_of(const ZdmMirror *mirror, int column, int parameter)
{
	Oid			type = type_there(mirror, column);

	if (type == mirror->columns[column].type)
		return psprintf("$%d", parameter + 1);
	return psprintf("($%d)::%s", parameter + 1, type_name(type));
}

static char *
type_name(Oid type)
{
	return format_type_extended(type, -1,
								FORMAT_TYPE_TYPEMOD_GIVEN | FORMAT_TYPE_FORCE_QUALIFY);
}

static Oid
type_there(const ZdmMirror *mirror, int column)
{
	return get_atttype(mirror->there,
					   get_attnum(mirror->there, mirror->columns[column].there));
}

/*
 * The type's own equality, with its schema.
 */
static char *
equals_operator(Oid type)
{
	TypeCacheEntry *entry = lookup_type_cache(type, TYPECACHE_EQ_OPR);
	HeapTuple	tuple;
	Form_pg_operator form;
	char	   *result;

	tuple = SearchSysCache1(OPEROID, ObjectIdGetDatum(entry->eq_opr));
	if (!HeapTupleIsValid(tuple))
		ereport(ERROR,
				errcode(ERRCODE_UNDEFINED_FUNCTION),
				errmsg("type %s has no equality operator", format_type_be(type)));
	form = (Form_pg_operator) GETSTRUCT(tuple);
	result = psprintf("OPERATOR(%s.%s)",
					  quote_identifier(get_namespace_name(form->oprnamespace)),
					  NameStr(form->oprname));
	ReleaseSysCache(tuple);
	return result;
}

static void
action_error(void *arg)
{
	ZdmMirror  *mirror = arg;

	errcontext("zdm migration \"%s\" on table \"%s\"", mirror->migration,
			   get_rel_name(mirror->here));
}
