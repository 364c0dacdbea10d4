/*-------------------------------------------------------------------------
 *
 * view_acl.c
 *	  The privileges of a compatibility view.
 *
 * They are those of the table.  While both are there a GRANT or REVOKE on
 * either counts for both: one table under two names has one set of privileges,
 * and what was granted by the name that goes must not go with it.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"

#include "schema/privilege.h"
#include "schema/view_acl.h"
#include "util/spi.h"

/*
 * Who has what on the table ($1), by the columns' names in the view: of a
 * column ($3) with a second one ($4) both.  The owner has everything anyway.
 */
#define TABLE_ACL \
	"SELECT p.col, p.grantee, p.privilege_type AS privilege, pg_catalog.bool_or(p.is_grantable) AS grantable FROM (" \
	"SELECT ''::pg_catalog.name AS col, x.* FROM pg_catalog.pg_class c, pg_catalog.aclexplode(c.relacl) x" \
	" WHERE c.oid OPERATOR(pg_catalog.=) $1 AND x.grantee OPERATOR(pg_catalog.<>) c.relowner" \
	" UNION ALL SELECT n.name, x.* FROM pg_catalog.pg_class c" \
	" JOIN pg_catalog.pg_attribute a ON a.attrelid OPERATOR(pg_catalog.=) c.oid AND NOT a.attisdropped," \
	" pg_catalog.aclexplode(a.attacl) x," \
	" LATERAL (SELECT a.attname UNION ALL SELECT $4 WHERE a.attname OPERATOR(pg_catalog.=) $3) n(name)" \
	" WHERE c.oid OPERATOR(pg_catalog.=) $1 AND x.grantee OPERATOR(pg_catalog.<>) c.relowner) p" \
	" GROUP BY p.col, p.grantee, p.privilege_type"

/* A privilege, as GRANT takes it. */
#define PRIVILEGE(col) \
	"pg_catalog.format(CASE WHEN " col " OPERATOR(pg_catalog.=) '' THEN '%s' ELSE '%s (%I)' END, s.privilege, " col ")"

bool
zdm_has_column_privileges(Oid relid)
{
	return zdm_query_strings("SELECT a.attname FROM pg_catalog.pg_attribute a"
							 " WHERE a.attrelid OPERATOR(pg_catalog.=) $1 AND a.attacl IS NOT NULL"
							 " AND NOT a.attisdropped LIMIT 1",
							 ZDM_ARGS(ZDM_ARG(OIDOID, ObjectIdGetDatum(relid)))) != NIL;
}

/*
 * The statements that give a new view the table's privileges, and no others:
 * what the schema gives to every new relation is taken away first.
 */
List *
zdm_view_grants(Oid table, const ZdmView *view)
{
	static const char *const grant_sql =
		"SELECT pg_catalog.format('GRANT %s ON %s TO %s%s', "
		"pg_catalog.string_agg(" PRIVILEGE("s.col") ", ', ' ORDER BY s.col, s.privilege), $2, " ZDM_GRANTEE("s.grantee") ","
		" CASE WHEN s.grantable THEN ' WITH GRANT OPTION' ELSE '' END)"
		" FROM (" TABLE_ACL ") s GROUP BY s.grantee, s.grantable ORDER BY 1";

	return list_concat(zdm_withhold_texts(zdm_quote_place(view->place)),
					   zdm_query_strings(grant_sql,
										 ZDM_ARGS(ZDM_ARG(OIDOID, ObjectIdGetDatum(table)),
												  zdm_arg_text(zdm_quote_place(view->place)),
												  zdm_arg_name(view->column ? view->column : ""),
												  zdm_arg_name(view->twin ? view->twin : ""))));
}

/*
 * The statements that repeat what a GRANT or REVOKE has done to one of the
 * two on the other.
 */
List *
zdm_view_grant_again(Oid table, const ZdmView *view, const GrantStmt *stmt)
{
	static const char *const sql =
		"WITH t AS (" TABLE_ACL "), v AS ("
		"SELECT ''::pg_catalog.name AS col, x.grantee, x.privilege_type AS privilege, x.is_grantable AS grantable"
		" FROM pg_catalog.pg_class c, pg_catalog.aclexplode(c.relacl) x"
		" WHERE c.oid OPERATOR(pg_catalog.=) $5 AND x.grantee OPERATOR(pg_catalog.<>) c.relowner"
		" UNION ALL SELECT a.attname, x.grantee, x.privilege_type, x.is_grantable FROM pg_catalog.pg_class c"
		" JOIN pg_catalog.pg_attribute a ON a.attrelid OPERATOR(pg_catalog.=) c.oid,"
		" pg_catalog.aclexplode(a.attacl) x"
		" WHERE c.oid OPERATOR(pg_catalog.=) $5 AND x.grantee OPERATOR(pg_catalog.<>) c.relowner),"
		" k AS (SELECT coalesce(t.col, g.col) AS col, coalesce(t.grantee, g.grantee) AS grantee,"
		" coalesce(t.privilege, g.privilege) AS privilege,"
		" CASE WHEN t.col IS NULL THEN 0 WHEN t.grantable THEN 2 ELSE 1 END AS table_has,"
		" CASE WHEN g.col IS NULL THEN 0 WHEN g.grantable THEN 2 ELSE 1 END AS view_has"
		" FROM t FULL JOIN (SELECT v.col, v.grantee, v.privilege, pg_catalog.bool_or(v.grantable) AS grantable"
		" FROM v GROUP BY v.col, v.grantee, v.privilege) g"
		" ON t.col OPERATOR(pg_catalog.=) g.col AND t.grantee OPERATOR(pg_catalog.=) g.grantee"
		" AND t.privilege OPERATOR(pg_catalog.=) g.privilege),"
		" s AS (SELECT k.*, CASE WHEN k.to_view THEN k.col WHEN k.col OPERATOR(pg_catalog.=) $4 THEN $3 ELSE k.col END AS named,"
		" CASE WHEN k.to_view THEN $2 ELSE $6 END AS target,"
		" pg_catalog.abs(k.table_has OPERATOR(pg_catalog.-) k.view_has) OPERATOR(pg_catalog.=) 1"
		" AND k.table_has OPERATOR(pg_catalog.>) 0 AND k.view_has OPERATOR(pg_catalog.>) 0 AS option_only"
		" FROM (SELECT k.*, (k.table_has OPERATOR(pg_catalog.>) k.view_has) OPERATOR(pg_catalog.=) $7 AS to_view FROM k) k"
		" WHERE k.table_has OPERATOR(pg_catalog.<>) k.view_has)"
		" SELECT CASE WHEN $7 THEN pg_catalog.format('GRANT %s ON %s TO %s%s', " PRIVILEGE("s.named") ", s.target, " ZDM_GRANTEE("s.grantee") ","
		" CASE WHEN greatest(s.table_has, s.view_has) OPERATOR(pg_catalog.=) 2 THEN ' WITH GRANT OPTION' ELSE '' END)"
		" ELSE pg_catalog.format('REVOKE %s%s ON %s FROM %s%s',"
		" CASE WHEN s.option_only THEN 'GRANT OPTION FOR ' ELSE '' END, " PRIVILEGE("s.named") ", s.target, " ZDM_GRANTEE("s.grantee") ", $8) END"
		" FROM s ORDER BY 1";

	return zdm_query_strings(sql,
							 ZDM_ARGS(ZDM_ARG(OIDOID, ObjectIdGetDatum(table)),
									  zdm_arg_text(zdm_quote_place(view->place)),
									  zdm_arg_name(view->column ? view->column : ""),
									  zdm_arg_name(view->twin ? view->twin : ""),
									  ZDM_ARG(OIDOID, ObjectIdGetDatum(view->oid)),
									  zdm_arg_text(zdm_quote_place(view->table)),
									  ZDM_ARG(BOOLOID, BoolGetDatum(stmt->is_grant)),
									  zdm_arg_text(stmt->behavior == DROP_CASCADE ? " CASCADE" : "")));
}
