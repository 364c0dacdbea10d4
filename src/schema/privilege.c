/*-------------------------------------------------------------------------
 *
 * privilege.c
 *	  Column privileges of one column for another.
 *
 * Nobody gains a right: a column that is made of several gives what was
 * granted on each of them, to the same role, and with a grant option only
 * where each has it.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"

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
