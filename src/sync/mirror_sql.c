/*-------------------------------------------------------------------------
 *
 * mirror_sql.c
 *	  The statements of a mirror rule.
 *
 * Every table, type and operator is named with its schema; values are
 * parameters, in the order of the rule's columns.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_operator.h"
#include "lib/stringinfo.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"
#include "utils/typcache.h"

#include "sync/mirror.h"
#include "util/compat.h"
#include "util/ident.h"

static void append_lock_rivals(StringInfo sql, const ZdmMirror *mirror);
static void append_order(StringInfo sql, const ZdmMirror *mirror);
static void append_names(StringInfo sql, const ZdmMirror *mirror, int from, int to);
static void append_values(StringInfo sql, const ZdmMirror *mirror, int from, int to);
static void append_settings(StringInfo sql, const ZdmMirror *mirror, int from, int to);
static void append_key(StringInfo sql, const ZdmMirror *mirror, int offset);
static void append_key_here(StringInfo sql, const ZdmMirror *mirror, int offset);
static void append_row_here(StringInfo sql, const ZdmMirror *mirror);
static void append_same(StringInfo sql, const ZdmMirror *mirror);
static void append_counterpart(StringInfo sql, const ZdmMirror *mirror);
static char *value_of(const ZdmMirror *mirror, int column, int parameter);
static char *type_name(Oid type);
static char *equals_operator(Oid type);
static Oid	type_there(const ZdmMirror *mirror, int column);

/*
 * The key is $1 and so on, the columns come behind it; a move has the old key
 * behind them, and an insert the numbers of sequences behind that.
 */
char *
zdm_mirror_sql(const ZdmMirror *mirror, ZdmMirrorAction action)
{
	char	   *table = zdm_quote_relation(mirror->there);
	int			keys = mirror->keys;
	int			count = mirror->count;
	StringInfoData sql;

	initStringInfo(&sql);
	switch (action)
	{
		case ZDM_MIRROR_LOCK:
		case ZDM_MIRROR_LOCK_NOWAIT:
		case ZDM_MIRROR_LOCK_SKIP:
			appendStringInfo(&sql, "SELECT 1 FROM %s t WHERE ", table);
			append_key(&sql, mirror, 0);
			appendStringInfo(&sql, " FOR NO KEY UPDATE OF t%s",
							 action == ZDM_MIRROR_LOCK_NOWAIT ? " NOWAIT" :
							 action == ZDM_MIRROR_LOCK_SKIP ? " SKIP LOCKED" : "");
			break;
		case ZDM_MIRROR_LOCK_RIVALS:
			append_lock_rivals(&sql, mirror);
			break;
		case ZDM_MIRROR_SET:
		case ZDM_MIRROR_SHOW:
			appendStringInfo(&sql, "UPDATE %s t SET ", table);
			/* Where the key is all there is, it stays what it is. */
			append_settings(&sql, mirror, count > keys ? keys : 0, count);
			appendStringInfoString(&sql, " WHERE ");
			append_key(&sql, mirror, 0);
			break;
		case ZDM_MIRROR_MOVE:
		case ZDM_MIRROR_MOVE_FIRST:
			appendStringInfo(&sql, "UPDATE %s t SET ", table);
			append_settings(&sql, mirror, 0, count);
			appendStringInfoString(&sql, " WHERE ");
			append_key(&sql, mirror, count);
			break;
		case ZDM_MIRROR_INSERT:
		case ZDM_MIRROR_ADD:
		case ZDM_MIRROR_PUT:
			appendStringInfo(&sql, "INSERT INTO %s (", table);
			append_names(&sql, mirror, 0, count);
			for (int i = 0; i < mirror->serials; i++)
				appendStringInfo(&sql, ", %s", quote_identifier(mirror->serial[i].there));
			appendStringInfoString(&sql, ") OVERRIDING SYSTEM VALUE VALUES (");
			append_values(&sql, mirror, 0, count);
			for (int i = 0; i < mirror->serials; i++)
				appendStringInfo(&sql, ", ($%d)::%s", count + keys + i + 1,
								 type_name(mirror->serial[i].type));
			appendStringInfoChar(&sql, ')');
			if (action != ZDM_MIRROR_INSERT)
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
		case ZDM_MIRROR_EXISTS:
			appendStringInfo(&sql, "SELECT 1 FROM %s t WHERE ", table);
			append_key(&sql, mirror, 0);
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
			/* A cascade's delete may come after a new row with its key. */
			if (action == ZDM_MIRROR_CLEAR)
			{
				append_key(&sql, mirror, 0);
				append_same(&sql, mirror);
				appendStringInfoString(&sql, " AND ");
			}
			else if (!mirror->is_first && mirror->optional > 0)
				appendStringInfo(&sql, "t.%s IS NOT NULL AND ",
								 quote_identifier(mirror->columns[keys].there));
			append_counterpart(&sql, mirror);
			break;
		case ZDM_MIRROR_SET_HERE:
		case ZDM_MIRROR_FETCH:
		case ZDM_MIRROR_MOVE_HERE:
			appendStringInfo(&sql, "UPDATE %s t SET ", zdm_quote_relation(mirror->here));
			/* Where the key is all there is, it stays what it is. */
			for (int i = action != ZDM_MIRROR_MOVE_HERE && count > keys ? keys : 0; i < count; i++)
				appendStringInfo(&sql, "%s%s = $%d", sql.data[sql.len - 1] == ' ' ? "" : ", ",
								 quote_identifier(mirror->columns[i].name), i + 1);
			append_key_here(&sql, mirror, action != ZDM_MIRROR_MOVE_HERE ? 0 : count);
			break;
		case ZDM_MIRROR_DELETE_HERE:
			appendStringInfo(&sql, "DELETE FROM %s t", zdm_quote_relation(mirror->here));
			append_row_here(&sql, mirror);
			break;
		case ZDM_MIRROR_INSERT_HERE:
			appendStringInfo(&sql, "INSERT INTO %s (", zdm_quote_relation(mirror->here));
			for (int i = 0; i < count; i++)
				appendStringInfo(&sql, "%s%s", i > 0 ? ", " : "",
								 quote_identifier(mirror->columns[i].name));
			appendStringInfoString(&sql, ") OVERRIDING SYSTEM VALUE SELECT ");
			for (int i = 0; i < count; i++)
				appendStringInfo(&sql, "%s$%d", i > 0 ? ", " : "", i + 1);
			appendStringInfo(&sql, " WHERE NOT EXISTS (SELECT 1 FROM %s t", zdm_quote_relation(mirror->here));
			append_row_here(&sql, mirror);
			appendStringInfoChar(&sql, ')');
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
				append_order(&sql, mirror);
			break;
	}
	return sql.data;
}

/*
 * The counterparts of the rows here that an upsert may meet, for each other
 * unique key that it may meet one by.
 */
static void
append_lock_rivals(StringInfo sql, const ZdmMirror *mirror)
{
	List	   *others = zdm_mirror_other_keys(mirror);
	ListCell   *lc,
			   *column;

	appendStringInfo(sql, "SELECT 1 FROM %s t, %s h WHERE (", zdm_quote_relation(mirror->there),
					 zdm_quote_relation(mirror->here));
	foreach(lc, others)
	{
		appendStringInfoString(sql, foreach_current_index(lc) > 0 ? " OR (" : "(");
		foreach(column, (List *) lfirst(lc))
		{
			const ZdmMirrorColumn *c = &mirror->columns[lfirst_int(column)];

			appendStringInfo(sql, "%sh.%s %s $%d", foreach_current_index(column) > 0 ? " AND " : "",
							 quote_identifier(c->name), equals_operator(c->type),
							 lfirst_int(column) + 1);
		}
		appendStringInfoChar(sql, ')');
	}
	appendStringInfoString(sql, others == NIL ? "false)" : ")");
	for (int i = 0; i < mirror->keys; i++)
		appendStringInfo(sql, " AND t.%s %s (h.%s)::%s", quote_identifier(mirror->columns[i].there),
						 equals_operator(type_there(mirror, i)),
						 quote_identifier(mirror->columns[i].name), type_name(type_there(mirror, i)));
	appendStringInfoString(sql, " FOR NO KEY UPDATE OF t");
}

/*
 * Of several rows of the second table, the first.
 */
static void
append_order(StringInfo sql, const ZdmMirror *mirror)
{
	for (int i = mirror->keys; i < mirror->count; i++)
		appendStringInfo(sql, "%s t.%s%s", i > mirror->keys ? "," : " ORDER BY",
						 quote_identifier(mirror->columns[i].there),
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
 * The same of this table.
 */
static void
append_key_here(StringInfo sql, const ZdmMirror *mirror, int offset)
{
	for (int i = 0; i < mirror->keys; i++)
		appendStringInfo(sql, " %s t.%s %s $%d", i > 0 ? "AND" : "WHERE",
						 quote_identifier(mirror->columns[i].name),
						 equals_operator(mirror->columns[i].type), offset + i + 1);
}

/*
 * The row of this table: where several may have the key, that with the columns.
 */
static void
append_row_here(StringInfo sql, const ZdmMirror *mirror)
{
	append_key_here(sql, mirror, 0);
	for (int i = mirror->keys; mirror->several && i < mirror->count; i++)
		appendStringInfo(sql, " AND t.%s %s $%d", quote_identifier(mirror->columns[i].name),
						 equals_operator(mirror->columns[i].type), i + 1);
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
