/*-------------------------------------------------------------------------
 *
 * join_grants.c
 *	  The privileges of a join table that stands for a column.
 *
 * A join table that is made of a column says of each row what the column said.
 * Whoever may read the table may read it, and whoever may update the table's
 * rows may write it.  Who may only insert new rows could change those that are
 * there, and is left out; so is what the schema gives to every new table.  As
 * long as the column is the old shape, what is granted on the table or revoked
 * from it counts for the join table, too: else it would be the way around a
 * REVOKE.
 *
 * The other way, who has rights on the table but none on the join table gets
 * them on the column.  That is what the caller asks for, and he is told whom.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_type.h"
#include "utils/acl.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "catalog/step.h"
#include "schema/join_grants.h"
#include "schema/privilege.h"
#include "util/ident.h"
#include "util/spi.h"

/* What a privilege on the table gives on the join table. */
#define GIVES \
	"(VALUES (1, 'SELECT', 'SELECT'), (2, 'UPDATE', 'INSERT'), (3, 'UPDATE', 'UPDATE'), (4, 'UPDATE', 'DELETE')) p(number, has, gives)"

/* Who is to have what, by the table ($1). */
#define WANTED \
	"(SELECT p.*, a.grantee, pg_catalog.bool_or(a.is_grantable) AS grantable" \
	" FROM pg_catalog.pg_class c, pg_catalog.aclexplode(c.relacl) a" \
	" JOIN " GIVES " ON p.has OPERATOR(pg_catalog.=) a.privilege_type" \
	" WHERE c.oid OPERATOR(pg_catalog.=) $1 AND a.grantee OPERATOR(pg_catalog.<>) c.relowner" \
	" GROUP BY p.number, p.has, p.gives, a.grantee)"

#define GRANT(wanted, condition) \
	"SELECT pg_catalog.format('GRANT %s ON TABLE %s TO %s%s', pg_catalog.string_agg(w.gives, ', ' ORDER BY w.number), $2, " \
	ZDM_GRANTEE("w.grantee") ", CASE WHEN w.grantable THEN ' WITH GRANT OPTION' ELSE '' END)" \
	" FROM " wanted " w WHERE " condition " GROUP BY w.grantee, w.grantable ORDER BY w.grantee, w.grantable"

static bool names_table(const GrantStmt *stmt, Oid relid);
static List *grantees(const GrantStmt *stmt);
static List *privileges(const GrantStmt *stmt);

/*
 * The steps that give a new join table its privileges.
 */
List *
zdm_join_grant_steps(ZdmMirrorRule *rule)
{
	char	   *name = zdm_mirror_second_name(rule);
	List	   *steps = NIL;
	ListCell   *lc;

	foreach(lc, zdm_withhold_texts(name))
		steps = lappend(steps, zdm_step(ZDM_STEP_DDL, AccessExclusiveLock,
										"withhold what new tables are granted", lfirst(lc)));
	foreach(lc, zdm_query_strings(GRANT(WANTED, "true"),
								  ZDM_ARGS(ZDM_ARG(OIDOID, ObjectIdGetDatum(rule->first)),
										   zdm_arg_text(name))))
		steps = lappend(steps, zdm_step(ZDM_STEP_DDL, AccessExclusiveLock,
										"give it the table's grants", lfirst(lc)));
	return steps;
}

/*
 * The statements that repeat on the join table what a GRANT or REVOKE has done
 * to the table, for the roles and privileges that it names.
 */
List *
zdm_join_grants_again(ZdmMirrorRule *rule, const GrantStmt *stmt)
{
	static const char *const grant =
		GRANT(WANTED,
			  "w.grantee::pg_catalog.text OPERATOR(pg_catalog.=) ANY ($3) AND w.has OPERATOR(pg_catalog.=) ANY ($4)"
			  " AND NOT EXISTS (SELECT FROM pg_catalog.pg_class c, pg_catalog.aclexplode(c.relacl) a"
			  " WHERE c.oid OPERATOR(pg_catalog.=) $5 AND a.grantee OPERATOR(pg_catalog.=) w.grantee"
			  " AND a.privilege_type OPERATOR(pg_catalog.=) w.gives AND (a.is_grantable OR NOT w.grantable))"
			  " AND pg_catalog.has_table_privilege($5, w.gives OPERATOR(pg_catalog.||) ' WITH GRANT OPTION')");
	static const char *const revoke =
		"SELECT pg_catalog.format('REVOKE %s%s ON TABLE %s FROM %s%s', CASE WHEN h.option_only THEN 'GRANT OPTION FOR ' ELSE '' END,"
		" pg_catalog.string_agg(h.gives, ', ' ORDER BY h.number), $2, " ZDM_GRANTEE("h.grantee") ", $6)"
		" FROM (SELECT p.number, p.gives, a.grantee, w.grantee IS NOT NULL AS option_only"
		" FROM pg_catalog.pg_class c, pg_catalog.aclexplode(c.relacl) a"
		" JOIN " GIVES " ON p.gives OPERATOR(pg_catalog.=) a.privilege_type"
		" LEFT JOIN " WANTED " w ON w.grantee OPERATOR(pg_catalog.=) a.grantee AND w.number OPERATOR(pg_catalog.=) p.number"
		" WHERE c.oid OPERATOR(pg_catalog.=) $5 AND a.grantee OPERATOR(pg_catalog.<>) c.relowner"
		" AND a.grantee::pg_catalog.text OPERATOR(pg_catalog.=) ANY ($3) AND p.has OPERATOR(pg_catalog.=) ANY ($4)"
		" GROUP BY p.number, p.gives, a.grantee, w.grantee, w.grantable"
		" HAVING w.grantee IS NULL OR (pg_catalog.bool_or(a.is_grantable) AND NOT w.grantable)) h"
		" GROUP BY h.grantee, h.option_only ORDER BY h.grantee, h.option_only";

	if (!names_table(stmt, rule->first))
		return NIL;
	return zdm_query_strings(stmt->is_grant ? grant : revoke,
							 ZDM_ARGS(ZDM_ARG(OIDOID, ObjectIdGetDatum(rule->first)),
									  zdm_arg_text(zdm_mirror_second_name(rule)),
									  zdm_arg_texts(grantees(stmt)),
									  zdm_arg_texts(privileges(stmt)),
									  ZDM_ARG(OIDOID, ObjectIdGetDatum(rule->second)),
									  zdm_arg_text(stmt->behavior == DROP_CASCADE ? " CASCADE" : "")));
}

/*
 * By its name, as the path that the command found it by is not ours; that it
 * names one of the migration's tables is known.
 */
static bool
names_table(const GrantStmt *stmt, Oid relid)
{
	char	   *name = get_rel_name(relid);
	char	   *schema = get_namespace_name(get_rel_namespace(relid));
	ListCell   *lc;

	foreach(lc, stmt->objects)
	{
		if (stmt->targtype == ACL_TARGET_OBJECT)
		{
			RangeVar   *table = lfirst_node(RangeVar, lc);

			if (strcmp(table->relname, name) == 0 &&
				(table->schemaname == NULL || strcmp(table->schemaname, schema) == 0))
				return true;
		}
		else if (strcmp(strVal(lfirst(lc)), schema) == 0)
			return true;
	}
	return false;
}

/*
 * The roles, as their numbers in text (char *); 0 is PUBLIC.
 */
static List *
grantees(const GrantStmt *stmt)
{
	List	   *result = NIL;
	ListCell   *lc;

	foreach(lc, stmt->grantees)
	{
		RoleSpec   *role = lfirst_node(RoleSpec, lc);

		result = lappend(result, psprintf("%u", role->roletype == ROLESPEC_PUBLIC ? ACL_ID_PUBLIC
										  : get_rolespec_oid(role, false)));
	}
	return result;
}

/*
 * Which of those that count it names for the whole table.
 */
static List *
privileges(const GrantStmt *stmt)
{
	List	   *result = NIL;
	ListCell   *lc;

	if (stmt->privileges == NIL)
		return list_make2(pstrdup("SELECT"), pstrdup("UPDATE"));
	foreach(lc, stmt->privileges)
	{
		AccessPriv *privilege = lfirst_node(AccessPriv, lc);

		if (privilege->cols != NIL)
			continue;
		if (strcmp(privilege->priv_name, "select") == 0)
			result = lappend(result, pstrdup("SELECT"));
		else if (strcmp(privilege->priv_name, "update") == 0)
			result = lappend(result, pstrdup("UPDATE"));
	}
	return result;
}

bool
zdm_has_row_security(Oid relid)
{
	Relation	rel = table_open(relid, AccessShareLock);
	bool		result = rel->rd_rel->relrowsecurity;

	table_close(rel, AccessShareLock);
	return result;
}

/*
 * Who has a right to a table that he lacks on the join table, and so gets it
 * for the columns that it becomes: names, or NULL for nobody.
 */
char *
zdm_gaining_roles(Oid column_table, Oid join_table)
{
	return linitial(zdm_query_strings("SELECT pg_catalog.string_agg(r.name, ', ' ORDER BY r.name) FROM (SELECT DISTINCT " ZDM_GRANTEE("a.grantee") " AS name"
									  " FROM pg_catalog.pg_class c, pg_catalog.aclexplode(c.relacl) a"
									  " JOIN (VALUES ('SELECT', 'SELECT'), ('INSERT', 'INSERT'), ('UPDATE', 'INSERT'), ('UPDATE', 'UPDATE'), ('UPDATE', 'DELETE')) p(has, needs)"
									  " ON p.has OPERATOR(pg_catalog.=) a.privilege_type"
									  " WHERE c.oid OPERATOR(pg_catalog.=) $1 AND a.grantee OPERATOR(pg_catalog.<>) c.relowner"
									  " AND NOT pg_catalog.has_table_privilege(a.grantee, $2, p.needs)) r",
									  ZDM_ARGS(ZDM_ARG(OIDOID, ObjectIdGetDatum(column_table)),
											   ZDM_ARG(OIDOID, ObjectIdGetDatum(join_table)))));
}
