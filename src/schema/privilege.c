/*-------------------------------------------------------------------------
 *
 * privilege.c
 *	  Privileges of what a migration makes.
 *
 * Nobody gains a right: a column that is made of several gives what was
 * granted on each of them, to the same role, and with a grant option only
 * where each has it; a relation gives nothing of what every new one is
 * granted.  While both columns are there, a GRANT or REVOKE that names one of
 * them is followed; what somebody grants on the target itself is his, and
 * stays, unless it is what the command takes away.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "utils/acl.h"
#include "utils/memutils.h"

#include "catalog/step.h"
#include "schema/privilege.h"
#include "schema/relation.h"
#include "schema/twin_constraint.h"
#include "util/ident.h"
#include "util/spi.h"

/* Who has what on each of the columns $2 of the table $1. */
#define GRANTED \
	"SELECT x.grantee, x.privilege_type, pg_catalog.bool_and(x.is_grantable) AS grantable" \
	" FROM (SELECT a.attnum, e.grantee, e.privilege_type, pg_catalog.bool_or(e.is_grantable) AS is_grantable" \
	" FROM pg_catalog.pg_attribute a, pg_catalog.aclexplode(a.attacl) e" \
	" WHERE a.attrelid OPERATOR(pg_catalog.=) $1 AND a.attname OPERATOR(pg_catalog.=) ANY ($2)" \
	" GROUP BY a.attnum, e.grantee, e.privilege_type) x" \
	" GROUP BY x.grantee, x.privilege_type" \
	" HAVING pg_catalog.count(*) OPERATOR(pg_catalog.=) pg_catalog.cardinality($2)"

static List *named_privileges(const GrantStmt *stmt, List *columns);
static List *heirs_of(List *roles);

/*
 * The steps that grant on the target what is granted on all of the columns
 * (char *).  What is granted on the table holds for the target by itself.
 */
List *
zdm_grant_steps(Oid relid, List *columns, const char *target)
{
	static const char *const sql =
		"SELECT pg_catalog.format('GRANT %s (%I) ON %s TO %s%s', s.privilege_type, $3, $4, " ZDM_GRANTEE("s.grantee") ","
		" CASE WHEN s.grantable THEN ' WITH GRANT OPTION' ELSE '' END)"
		" FROM (" GRANTED ") s ORDER BY 1";
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
	return zdm_query_strings("SELECT DISTINCT pg_catalog.format('REVOKE ALL ON %s FROM %s', $1, " ZDM_GRANTEE("e.grantee") ")"
							 " FROM pg_catalog.pg_default_acl d, pg_catalog.aclexplode(d.defaclacl) e"
							 " WHERE d.defaclobjtype OPERATOR(pg_catalog.=) 'r' AND d.defaclrole OPERATOR(pg_catalog.=) $2"
							 " AND e.grantee OPERATOR(pg_catalog.<>) $2 ORDER BY 1",
							 ZDM_ARGS(zdm_arg_text(relation),
									  ZDM_ARG(OIDOID, ObjectIdGetDatum(GetUserId()))));
}

/*
 * What a command is about that changes privileges: the tables and the roles.
 * Before it, and under the user's path, to find his tables by; the result
 * lives as long as the transaction.
 */
void
zdm_privileges_named(Node *command, ZdmDdl *ddl)
{
	MemoryContext saved = MemoryContextSwitchTo(TopTransactionContext);
	List	   *specs = NIL;
	bool		cascade = IsA(command, DropOwnedStmt);
	ListCell   *lc;

	memset(ddl, 0, sizeof(*ddl));
	if (IsA(command, GrantStmt))
	{
		GrantStmt  *stmt = (GrantStmt *) command;

		specs = stmt->grantees;
		cascade = !stmt->is_grant && stmt->behavior == DROP_CASCADE;
		if (stmt->objtype == OBJECT_TABLE && stmt->targtype == ACL_TARGET_OBJECT)
			foreach(lc, stmt->objects)
				ddl->tables = lappend_oid(ddl->tables, RangeVarGetRelid(lfirst_node(RangeVar, lc), NoLock, true));
	}
	else if (IsA(command, DropOwnedStmt))
		specs = ((DropOwnedStmt *) command)->roles;
	foreach(lc, specs)
	{
		RoleSpec   *role = lfirst_node(RoleSpec, lc);

		ddl->roles = lappend_oid(ddl->roles, role->roletype == ROLESPEC_PUBLIC ? InvalidOid
								 : get_rolespec_oid(role, true));
	}
	if (cascade)
		ddl->roles = heirs_of(ddl->roles);
	MemoryContextSwitchTo(saved);
}

/*
 * The roles, and those that have a column privilege from them: that goes as
 * well.
 */
static List *
heirs_of(List *roles)
{
	static const char *const sql =
		"WITH RECURSIVE g AS (SELECT DISTINCT e.grantor, e.grantee FROM pg_catalog.pg_attribute a,"
		" pg_catalog.aclexplode(a.attacl) e WHERE a.attacl IS NOT NULL),"
		" r(role) AS (SELECT pg_catalog.unnest($1) UNION SELECT g.grantee FROM g JOIN r ON g.grantor OPERATOR(pg_catalog.=) r.role)"
		" SELECT r.role::pg_catalog.text FROM r";

	return zdm_oids(zdm_query_strings(sql, ZDM_ARGS(zdm_arg_oids(roles))));
}

/*
 * The steps that do to the targets (char *) of a table and its partitions what
 * a command has done to the columns that they are made of.
 */
List *
zdm_privilege_follow_steps(const ZdmDdl *ddl, Oid relid, List *columns, List *targets)
{
	static const char *const grant_sql =
		"SELECT pg_catalog.format('GRANT %s (%I) ON %s TO %s%s', s.privilege_type, $3, $4, " ZDM_GRANTEE("s.grantee") ","
		" CASE WHEN s.grantable THEN ' WITH GRANT OPTION' ELSE '' END)"
		" FROM (" GRANTED ") s WHERE s.privilege_type OPERATOR(pg_catalog.=) ANY ($5)"
		" AND s.grantee OPERATOR(pg_catalog.=) ANY ($6)"
		" AND NOT EXISTS (SELECT FROM pg_catalog.pg_attribute a, pg_catalog.aclexplode(a.attacl) e"
		" WHERE a.attrelid OPERATOR(pg_catalog.=) $1 AND a.attname OPERATOR(pg_catalog.=) $3"
		" AND e.grantee OPERATOR(pg_catalog.=) s.grantee AND e.privilege_type OPERATOR(pg_catalog.=) s.privilege_type"
		" AND e.is_grantable OPERATOR(pg_catalog.>=) s.grantable) ORDER BY 1";
	static const char *const revoke_sql =
		"SELECT pg_catalog.format('REVOKE %s%s (%I) ON %s FROM %s CASCADE',"
		" CASE WHEN h.grantee IS NOT NULL THEN 'GRANT OPTION FOR ' END, s.privilege_type, $3, $4, " ZDM_GRANTEE("s.grantee") ")"
		" FROM (SELECT e.grantee, e.privilege_type, pg_catalog.bool_or(e.is_grantable) AS grantable"
		" FROM pg_catalog.pg_attribute a, pg_catalog.aclexplode(a.attacl) e"
		" WHERE a.attrelid OPERATOR(pg_catalog.=) $1 AND a.attname OPERATOR(pg_catalog.=) $3"
		" GROUP BY e.grantee, e.privilege_type) s"
		" LEFT JOIN (" GRANTED ") h ON h.grantee OPERATOR(pg_catalog.=) s.grantee"
		" AND h.privilege_type OPERATOR(pg_catalog.=) s.privilege_type"
		" WHERE s.privilege_type OPERATOR(pg_catalog.=) ANY ($5)"
		" AND s.grantee OPERATOR(pg_catalog.=) ANY ($6)"
		" AND (h.grantee IS NULL OR (s.grantable AND NOT h.grantable)) ORDER BY 1";
	GrantStmt  *stmt = IsA(ddl->command, GrantStmt) ? (GrantStmt *) ddl->command : NULL;
	bool		grants = stmt != NULL && stmt->is_grant;
	List	   *privileges = named_privileges(stmt, columns);
	List	   *steps = NIL;
	ListCell   *part,
			   *target,
			   *lc;

	if (privileges == NIL || ddl->roles == NIL)
		return NIL;
	foreach(part, zdm_table_and_partitions(relid))
	{
		if (stmt != NULL && stmt->targtype == ACL_TARGET_OBJECT && !list_member_oid(ddl->tables, lfirst_oid(part)))
			continue;
		foreach(target, targets)
		{
			ZdmArg		args[] = {
				ZDM_ARG(OIDOID, ObjectIdGetDatum(lfirst_oid(part))),
				zdm_arg_names(columns),
				zdm_arg_name(lfirst(target)),
				zdm_arg_text(zdm_quote_relation(lfirst_oid(part))),
				zdm_arg_texts(privileges),
				zdm_arg_oids(ddl->roles),
			};

			foreach(lc, zdm_query_strings(grants ? grant_sql : revoke_sql, lengthof(args), args))
				steps = lappend(steps, zdm_step_on(lfirst_oid(part), ZDM_STEP_DDL, NoLock,
												   grants ? "copy a column privilege" : "revoke a column privilege",
												   lfirst(lc)));
		}
	}
	return steps;
}

/*
 * The privileges (char *) that a command gives or takes on one of the columns.
 * What REVOKE takes on the whole table it takes on every column, from whoever
 * has it by that of another.
 */
static List *
named_privileges(const GrantStmt *stmt, List *columns)
{
	static const char *const all[] = {"SELECT", "INSERT", "UPDATE", "REFERENCES"};
	List	   *result = NIL;
	ListCell   *lc,
			   *column;
	bool		every = stmt == NULL || (!stmt->is_grant && stmt->privileges == NIL);

	foreach(lc, stmt ? stmt->privileges : NIL)
	{
		AccessPriv *privilege = lfirst_node(AccessPriv, lc);
		bool		named = !stmt->is_grant && privilege->cols == NIL;

		foreach(column, privilege->cols)
			named |= zdm_is_among(columns, strVal(lfirst(column)));
		for (int i = 0; named && i < (int) lengthof(all); i++)
		{
			if (privilege->priv_name == NULL || pg_strcasecmp(privilege->priv_name, all[i]) == 0)
				result = lappend(result, pstrdup(all[i]));
		}
	}
	for (int i = 0; every && i < (int) lengthof(all); i++)
		result = lappend(result, pstrdup(all[i]));
	return result;
}
