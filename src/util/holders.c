/*-------------------------------------------------------------------------
 *
 * holders.c
 *	  Who holds a lock, as it is told to who waits for it.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"

#include "util/compat.h"
#include "util/holders.h"
#include "util/ident.h"
#include "util/spi.h"

/*
 * A query for one line about each holder of the locks that a condition on
 * pg_locks l selects: pid, user, application, state, since when its
 * transaction is open, query; or the name of a prepared transaction.  What
 * the user may not see stays hidden.
 */
#define HOLDERS_WHERE(condition) \
	"SELECT CASE WHEN h.pid IS NULL THEN" \
	" pg_catalog.format('prepared transaction \"%s\" of user %s, prepared at %s'," \
	" x.gid, x.owner, x.prepared) ELSE" \
	" pg_catalog.format('pid %s, user %s, application \"%s\", %s, in transaction since %s, query \"%s\"'," \
	" h.pid, coalesce(a.usename::text, a.backend_type), coalesce(a.application_name, '')," \
	" coalesce(a.state, a.backend_type, 'state unknown'), a.xact_start," \
	" pg_catalog.left(pg_catalog.regexp_replace(a.query, E'\\\\s+', ' ', 'g'), 200)) END" \
	" FROM (SELECT DISTINCT l.pid, l.virtualtransaction FROM pg_catalog.pg_locks l" \
	" WHERE l.granted AND l.pid IS DISTINCT FROM pg_catalog.pg_backend_pid()" \
	" AND " condition ") h" \
	" LEFT JOIN pg_catalog.pg_stat_activity a ON a.pid OPERATOR(pg_catalog.=) h.pid" \
	" LEFT JOIN pg_catalog.pg_locks t ON h.pid IS NULL AND t.pid IS NULL" \
	" AND t.locktype OPERATOR(pg_catalog.=) 'transactionid'" \
	" AND t.virtualtransaction OPERATOR(pg_catalog.=) h.virtualtransaction" \
	" LEFT JOIN pg_catalog.pg_prepared_xacts x" \
	" ON x.transaction OPERATOR(pg_catalog.=) t.transactionid" \
	" ORDER BY 1"

/*
 * As whom the holders are described: what is said of them may be written down
 * for others to read, by a worker that sees everything.
 */
static Oid	describe_as = InvalidOid;

void
zdm_describe_as(Oid role)
{
	describe_as = role;
}

static List *
query_holders(const char *sql, int nargs, ZdmArg *args)
{
	ZdmIdentity saved;
	List	   *lines;

	if (!OidIsValid(describe_as))
		return zdm_query_strings(sql, nargs, args);
	zdm_become(describe_as, &saved);
	lines = zdm_query_strings(sql, nargs, args);
	zdm_unbecome(&saved);
	return lines;
}

/*
 * A line (char *) about each who holds it against that mode: a relation or an
 * object.
 */
static List *
holder_lines(const LOCKTAG *tag, LOCKMODE mode)
{
	bool		object = tag->locktag_type == LOCKTAG_OBJECT;
	List	   *modes = NIL;

	for (LOCKMODE other = AccessShareLock; other <= AccessExclusiveLock; other++)
		if (DoLockModesConflict(other, mode))
			modes = lappend(modes, unconstify(char *, GetLockmodeName(DEFAULT_LOCKMETHOD, other)));
	return query_holders(HOLDERS_WHERE("l.database OPERATOR(pg_catalog.=) $1"
									   " AND (l.relation OPERATOR(pg_catalog.=) $2"
									   " OR (l.classid OPERATOR(pg_catalog.=) $3 AND l.objid OPERATOR(pg_catalog.=) $4))"
									   " AND l.mode OPERATOR(pg_catalog.=) ANY ($5)"),
						 ZDM_ARGS(ZDM_ARG(OIDOID, ObjectIdGetDatum(tag->locktag_field1)),
								  ZDM_ARG(OIDOID, ObjectIdGetDatum(object ? InvalidOid : tag->locktag_field2)),
								  ZDM_ARG(OIDOID, ObjectIdGetDatum(object ? tag->locktag_field2 : InvalidOid)),
								  ZDM_ARG(OIDOID, ObjectIdGetDatum(object ? tag->locktag_field3 : InvalidOid)),
								  zdm_arg_texts(modes)));
}

/*
 * Who holds these locks against such modes.
 */
char *
zdm_describe_holders(const LOCKTAG *tags, const LOCKMODE *modes, int count)
{
	List	   *lines = NIL;

	for (int i = 0; i < count; i++)
		lines = list_concat(lines, holder_lines(&tags[i], modes[i]));
	return lines != NIL ? zdm_lines(lines) : pstrdup("ever new sessions, none of which holds it now");
}

/*
 * Who holds a table against that lock mode.
 */
char *
zdm_describe_table_holders(Oid relid, LOCKMODE mode)
{
	LOCKTAG		tag;

	SET_LOCKTAG_RELATION(tag, MyDatabaseId, relid);
	return zdm_describe_holders(&tag, &mode, 1);
}

/*
 * The same for any lock; of a row that is the transaction of who has written
 * it.
 */
char *
zdm_describe_lock_holders(const LOCKTAG *tag, LOCKMODE mode)
{
	List	   *lines;

	switch ((LockTagType) tag->locktag_type)
	{
		case LOCKTAG_RELATION:
			return psprintf("a lock on \"%s\", held by %s", zdm_relation_label(tag->locktag_field2),
							zdm_describe_table_holders(tag->locktag_field2, mode));
		case LOCKTAG_TRANSACTION:
			return zdm_describe_transaction(tag->locktag_field1);
		case LOCKTAG_VIRTUALTRANSACTION:
			lines = query_holders(HOLDERS_WHERE("l.locktype OPERATOR(pg_catalog.=) 'virtualxid'"
												" AND l.virtualxid OPERATOR(pg_catalog.=) $1"),
								  ZDM_ARGS(zdm_arg_text(psprintf("%u/%u", tag->locktag_field1, tag->locktag_field2))));
			return lines ? linitial(lines) : pstrdup("a transaction that has ended since");
		default:
			lines = holder_lines(tag, mode);
			return lines ? linitial(lines) : pstrdup("a transaction that has ended since");
	}
}

/*
 * Whose transaction that is.
 */
char *
zdm_describe_transaction(TransactionId xid)
{
	List	   *lines;

	lines = query_holders(HOLDERS_WHERE("l.locktype OPERATOR(pg_catalog.=) 'transactionid'"
										" AND l.transactionid::text OPERATOR(pg_catalog.=) $1"),
						  ZDM_ARGS(zdm_arg_text(psprintf("%u", xid))));
	return lines ? linitial(lines) : pstrdup("several transactions");
}

/*
 * A process, as others may see it.  With 0, whoever has the oldest transaction
 * in this database, prepared ones among them: what waits for old snapshots
 * waits for that one.  Who that is, only a superuser sees, as the caller is.
 */
char *
zdm_describe_process(int pid)
{
	char	   *who = psprintf("%d", pid);
	List	   *lines;

	if (pid == 0)
	{
		lines = zdm_query_strings("SELECT o.who FROM ("
								  "SELECT x.prepared AS since, pg_catalog.format("
								  "'prepared transaction \"%s\" of user %s, prepared at %s', x.gid, x.owner, x.prepared) AS who"
								  " FROM pg_catalog.pg_prepared_xacts x"
								  " WHERE x.database OPERATOR(pg_catalog.=) pg_catalog.current_database()"
								  " UNION ALL SELECT a.xact_start, a.pid::pg_catalog.text"
								  " FROM pg_catalog.pg_stat_activity a"
								  " WHERE a.datname OPERATOR(pg_catalog.=) pg_catalog.current_database()"
								  " AND a.pid OPERATOR(pg_catalog.<>) pg_catalog.pg_backend_pid()"
								  " AND a.xact_start IS NOT NULL"
								  " AND a.backend_type OPERATOR(pg_catalog.<>) 'zdm worker') o"
								  " ORDER BY o.since LIMIT 1", 0, NULL);
		if (lines == NIL)
			return pstrdup("a transaction that has ended since");
		who = linitial(lines);
	}
	lines = query_holders("SELECT pg_catalog.format('pid %s, user %s, application \"%s\", %s, in transaction since %s',"
						  " a.pid, coalesce(a.usename::pg_catalog.text, a.backend_type), coalesce(a.application_name, ''),"
						  " coalesce(a.state, 'state unknown'), a.xact_start)"
						  " FROM pg_catalog.pg_stat_activity a"
						  " WHERE a.pid::pg_catalog.text OPERATOR(pg_catalog.=) $1",
						  ZDM_ARGS(zdm_arg_text(who)));
	return lines ? linitial(lines) : who;
}
