/*-------------------------------------------------------------------------
 *
 * privilege.c
 *	  Privileges of what a migration makes.
 *
 * Nobody gains a right: a column that is made of several gives what was
 * granted on each of them, to the same role, and with a grant option only
 * where each has it; a relation gives nothing of what every new one is
 * granted.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "miscadmin.h"

#include "catalog/step.h"
#include "schema/privilege.h"
#include "util/ident.h"
#include "util/spi.h"

/*
 * The steps that grant on the target what is granted on all of the columns
 * (char *).  What is granted on the table holds for the target by itself.
 */
List *
zdm_grant_steps(Oid relid, List *columns, const char *target)
{
	static const char *const sql =
		"SELECT pg_catalog.format('GRANT %s (%I) ON %s TO %s%s', x.privilege_type, $3, $4,"
		" CASE WHEN x.grantee OPERATOR(pg_catalog.=) 0 THEN 'PUBLIC'"
		" ELSE pg_catalog.quote_ident(pg_catalog.pg_get_userbyid(x.grantee)) END,"
		" CASE WHEN pg_catalog.bool_and(x.is_grantable) THEN ' WITH GRANT OPTION' ELSE '' END)"
		" FROM (SELECT a.attnum, e.grantee, e.privilege_type, pg_catalog.bool_or(e.is_grantable) AS is_grantable"
		" FROM pg_catalog.pg_attribute a, pg_catalog.aclexplode(a.attacl) e"
		" WHERE a.attrelid OPERATOR(pg_catalog.=) $1 AND a.attname OPERATOR(pg_catalog.=) ANY ($2)"
		" GROUP BY a.attnum, e.grantee, e.privilege_type) x"
		" GROUP BY x.grantee, x.privilege_type"
		" HAVING pg_catalog.count(*) OPERATOR(pg_catalog.=) pg_catalog.cardinality($2)"
		" ORDER BY 1";
	List	   *steps = NIL;
	ListCell   *lc;

	foreach(lc, zdm_query_strings(sql, ZDM_ARGS(ZDM_ARG(OIDOID, ObjectIdGetDatum(relid)),
												zdm_arg_names(columns),
												zdm_arg_name(target),
												zdm_arg_text(zdm_quote_relation(relid)))))
		steps = lappend(steps, zdm_step_on(relid, ZDM_STEP_DDL, NoLock,
										   "copy a column privilege", lfirst(lc)));
	return steps;
}

/*
 * The statements (char *) that take away from a relation, made by the current
 * user, what his default privileges give to others.
 */
List *
zdm_withhold_texts(const char *relation)
{
	return zdm_query_strings("SELECT DISTINCT pg_catalog.format('REVOKE ALL ON %s FROM %s', $1,"
							 " CASE WHEN e.grantee OPERATOR(pg_catalog.=) 0 THEN 'PUBLIC'"
							 " ELSE pg_catalog.quote_ident(pg_catalog.pg_get_userbyid(e.grantee)) END)"
							 " FROM pg_catalog.pg_default_acl d, pg_catalog.aclexplode(d.defaclacl) e"
							 " WHERE d.defaclobjtype OPERATOR(pg_catalog.=) 'r' AND d.defaclrole OPERATOR(pg_catalog.=) $2"
							 " AND e.grantee OPERATOR(pg_catalog.<>) $2 ORDER BY 1",
							 ZDM_ARGS(zdm_arg_text(relation),
									  ZDM_ARG(OIDOID, ObjectIdGetDatum(GetUserId()))));
}
