/*-------------------------------------------------------------------------
 *
 * clone_dress.c
 *	  What a clone gets besides columns and indexes: foreign keys, privileges,
 *	  policies, statistics targets and comments.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/indexing.h"
#include "catalog/pg_policy.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/rel.h"
#include "utils/ruleutils.h"

#include "catalog/step.h"
#include "schema/clone.h"
#include "schema/privilege.h"
#include "util/compat.h"
#include "util/ident.h"
#include "util/spi.h"

static List *missing_foreign_key_steps(Relation source, const ZdmClone *clone);
static List *security_steps(Relation source, const ZdmClone *clone);
static ZdmStep *policy_step(Relation source, const ZdmClone *clone, HeapTuple tuple, TupleDesc desc);
static char *policy_expression(Relation source, const ZdmClone *clone, HeapTuple tuple,
							   TupleDesc desc, AttrNumber which);
static char *policy_roles(HeapTuple tuple, TupleDesc desc);

/*
 * The steps that give it what else is on the source.
 */
List *
zdm_clone_dress_steps(Relation source, const ZdmClone *clone)
{
	List	   *steps = missing_foreign_key_steps(source, clone);

	steps = list_concat(steps, zdm_clone_trigger_steps(source, clone));
	return list_concat(steps, zdm_clone_adorn_steps(source, clone));
}

/*
 * Of these, what can be given a second time.
 */
List *
zdm_clone_adorn_steps(Relation source, const ZdmClone *clone)
{
	/* An option whose name begins with pg_ is the server's own note. */
	static const char *const columns_sql =
		"SELECT pg_catalog.format('ALTER TABLE %s %s', $2, pg_catalog.concat_ws(', ', s.target, s.options)) FROM ("
		"SELECT a.attnum, CASE WHEN a.attstattarget OPERATOR(pg_catalog.>=) 0 THEN"
		" pg_catalog.format('ALTER COLUMN %I SET STATISTICS %s', a.attname, a.attstattarget) END AS target,"
		" (SELECT pg_catalog.format('ALTER COLUMN %I SET (%s)', a.attname,"
		" pg_catalog.string_agg(pg_catalog.format('%I = %L', o.option_name, o.option_value), ', ' ORDER BY o.option_name))"
		" FROM pg_catalog.pg_options_to_table(a.attoptions) o"
		" WHERE NOT pg_catalog.starts_with(o.option_name, 'pg_') HAVING pg_catalog.count(*) OPERATOR(pg_catalog.>) 0) AS options"
		" FROM pg_catalog.pg_attribute a WHERE a.attrelid OPERATOR(pg_catalog.=) $1"
		" AND a.attnum OPERATOR(pg_catalog.>) 0 AND NOT a.attisdropped) s"
		" WHERE s.target IS NOT NULL OR s.options IS NOT NULL ORDER BY s.attnum";
	static const char *const comment_sql =
		"SELECT pg_catalog.format('COMMENT ON TABLE %s IS %L', $2, c.text)"
		" FROM (SELECT pg_catalog.obj_description($1, 'pg_class') AS text) c WHERE c.text IS NOT NULL";
	static const char *const comments_sql =
		"SELECT pg_catalog.format('COMMENT ON %s %I ON %s IS %L', o.kind, o.name, $2, d.description)"
		" FROM (SELECT 'pg_catalog.pg_trigger'::pg_catalog.regclass AS class, t.oid, 'TRIGGER' AS kind, t.tgname AS name"
		" FROM pg_catalog.pg_trigger t WHERE t.tgrelid OPERATOR(pg_catalog.=) $1 AND NOT t.tgisinternal"
		" UNION ALL SELECT 'pg_catalog.pg_policy', p.oid, 'POLICY', p.polname FROM pg_catalog.pg_policy p"
		" WHERE p.polrelid OPERATOR(pg_catalog.=) $1) o JOIN pg_catalog.pg_description d"
		" ON d.classoid OPERATOR(pg_catalog.=) o.class AND d.objoid OPERATOR(pg_catalog.=) o.oid ORDER BY 1";
	List	   *steps = NIL;

	steps = list_concat(steps, zdm_clone_steps("give a column its target and options for statistics", columns_sql, source, clone));
	steps = list_concat(steps, zdm_clone_steps("copy the comment", comment_sql, source, clone));
	steps = list_concat(steps, zdm_clone_privilege_steps(source, clone));
	steps = list_concat(steps, security_steps(source, clone));
	steps = list_concat(steps, zdm_clone_steps("copy a comment", comments_sql, source, clone));
	return steps;
}

#define FOREIGN_KEYS \
	"SELECT pg_catalog.format('ALTER TABLE %s ADD CONSTRAINT %I %s', $2, k.conname," \
	" pg_catalog.pg_get_constraintdef(k.oid))" \
	" FROM pg_catalog.pg_constraint k WHERE k.conrelid OPERATOR(pg_catalog.=) $1" \
	" AND k.contype OPERATOR(pg_catalog.=) 'f' AND k.conparentid OPERATOR(pg_catalog.=) 0"

#define FOREIGN_KEY_COMMENTS \
	"SELECT pg_catalog.format('COMMENT ON CONSTRAINT %I ON %s IS %L', k.conname, $2, d.description)" \
	" FROM pg_catalog.pg_constraint k JOIN pg_catalog.pg_description d" \
	" ON d.objoid OPERATOR(pg_catalog.=) k.oid" \
	" AND d.classoid OPERATOR(pg_catalog.=) 'pg_catalog.pg_constraint'::pg_catalog.regclass" \
	" WHERE k.conrelid OPERATOR(pg_catalog.=) $1" \
	" AND k.contype OPERATOR(pg_catalog.=) 'f' AND k.conparentid OPERATOR(pg_catalog.=) 0"

/* A table that the caller has made may have it already. */
#define MISSING \
	" AND NOT EXISTS (SELECT FROM pg_catalog.pg_constraint o" \
	" WHERE o.conrelid OPERATOR(pg_catalog.=) pg_catalog.to_regclass($2)" \
	" AND o.conname OPERATOR(pg_catalog.=) k.conname)"

#define BY_NAME " ORDER BY k.conname COLLATE \"C\""

/*
 * What the source refers to, the clone does.
 */
List *
zdm_clone_foreign_key_steps(Relation source, const ZdmClone *clone)
{
	return list_concat(zdm_clone_steps("add a foreign key", FOREIGN_KEYS BY_NAME, source, clone),
					   zdm_clone_steps("copy a comment", FOREIGN_KEY_COMMENTS BY_NAME, source, clone));
}

/*
 * Those that it does not refer to yet.
 */
static List *
missing_foreign_key_steps(Relation source, const ZdmClone *clone)
{
	return list_concat(zdm_clone_steps("add a foreign key", FOREIGN_KEYS MISSING BY_NAME, source, clone),
					   zdm_clone_steps("copy a comment", FOREIGN_KEY_COMMENTS MISSING BY_NAME, source, clone));
}

/*
 * Privileges of the table and of its columns.  The owner's own come with the
 * ownership, where he has not taken them from himself.
 */
List *
zdm_clone_privilege_steps(Relation source, const ZdmClone *clone)
{
	static const char *const sql =
		"SELECT pg_catalog.format('GRANT %s%s ON %s TO %s%s', x.privilege_type,"
		" CASE WHEN x.attname IS NOT NULL THEN pg_catalog.format(' (%I)', x.attname) END, $2, " ZDM_GRANTEE("x.grantee") ","
		" CASE WHEN x.is_grantable THEN ' WITH GRANT OPTION' END)"
		" FROM (SELECT NULL::pg_catalog.name AS attname, e.* FROM pg_catalog.pg_class c, pg_catalog.aclexplode(c.relacl) e"
		" WHERE c.oid OPERATOR(pg_catalog.=) $1 AND e.grantee OPERATOR(pg_catalog.<>) c.relowner"
		" UNION ALL SELECT a.attname, e.* FROM pg_catalog.pg_attribute a, pg_catalog.aclexplode(a.attacl) e"
		" WHERE a.attrelid OPERATOR(pg_catalog.=) $1) x ORDER BY 1";

	return zdm_clone_steps("copy a privilege", sql, source, clone);
}

static List *
security_steps(Relation source, const ZdmClone *clone)
{
	static const char *const sql =
		"SELECT pg_catalog.format('ALTER TABLE %s %s ROW LEVEL SECURITY', $2, s.word)"
		" FROM pg_catalog.pg_class c, LATERAL (VALUES (c.relrowsecurity, 'ENABLE'), (c.relforcerowsecurity, 'FORCE'))"
		" s(is_on, word) WHERE c.oid OPERATOR(pg_catalog.=) $1 AND s.is_on";
	Relation	policies = table_open(PolicyRelationId, AccessShareLock);
	List	   *steps = NIL;
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;

	ScanKeyInit(&key, Anum_pg_policy_polrelid, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(RelationGetRelid(source)));
	scan = systable_beginscan(policies, PolicyPolrelidPolnameIndexId, true, NULL, 1, &key);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
		steps = lappend(steps, policy_step(source, clone, tuple, RelationGetDescr(policies)));
	systable_endscan(scan);
	table_close(policies, AccessShareLock);
	return list_concat(steps, zdm_clone_steps("switch row security on", sql, source, clone));
}

static ZdmStep *
policy_step(Relation source, const ZdmClone *clone, HeapTuple tuple, TupleDesc desc)
{
	Form_pg_policy form = (Form_pg_policy) GETSTRUCT(tuple);
	char	   *using = policy_expression(source, clone, tuple, desc, Anum_pg_policy_polqual);
	char	   *check = policy_expression(source, clone, tuple, desc, Anum_pg_policy_polwithcheck);
	StringInfoData sql;

	initStringInfo(&sql);
	appendStringInfo(&sql, "CREATE POLICY %s ON %s AS %s FOR %s TO %s",
					 quote_identifier(NameStr(form->polname)), zdm_clone_name(clone),
					 form->polpermissive ? "PERMISSIVE" : "RESTRICTIVE",
					 form->polcmd == ACL_SELECT_CHR ? "SELECT" :
					 form->polcmd == ACL_INSERT_CHR ? "INSERT" :
					 form->polcmd == ACL_UPDATE_CHR ? "UPDATE" :
					 form->polcmd == ACL_DELETE_CHR ? "DELETE" : "ALL",
					 policy_roles(tuple, desc));
	if (using != NULL)
		appendStringInfo(&sql, " USING (%s)", using);
	if (check != NULL)
		appendStringInfo(&sql, " WITH CHECK (%s)", check);
	return zdm_step(ZDM_STEP_DDL, NoLock, "copy a policy", sql.data);
}

/*
 * The clone's name is the name of the relation that the expression is over:
 * in a subquery it may be needed.
 */
static char *
policy_expression(Relation source, const ZdmClone *clone, HeapTuple tuple,
				  TupleDesc desc, AttrNumber which)
{
	bool		isnull;
	Datum		stored = heap_getattr(tuple, which, desc, &isnull);
	ZdmIdentity saved;
	char	   *result;

	if (isnull)
		return NULL;
	zdm_pin_path(&saved);
	zdm_pin_style();
	result = deparse_expression(stringToNode(TextDatumGetCString(stored)),
								deparse_context_for(clone->name, RelationGetRelid(source)),
								false, false);
	zdm_unbecome(&saved);
	return result;
}

static char *
policy_roles(HeapTuple tuple, TupleDesc desc)
{
	bool		isnull;
	Datum		roles = heap_getattr(tuple, Anum_pg_policy_polroles, desc, &isnull);
	Datum	   *oids;
	int			count;
	StringInfoData sql;

	initStringInfo(&sql);
	deconstruct_array(DatumGetArrayTypeP(roles), OIDOID, sizeof(Oid), true, TYPALIGN_INT,
					  &oids, NULL, &count);
	for (int i = 0; i < count; i++)
		appendStringInfo(&sql, "%s%s", i > 0 ? ", " : "",
						 DatumGetObjectId(oids[i]) == ACL_ID_PUBLIC ? "PUBLIC"
						 : quote_identifier(GetUserNameFromId(DatumGetObjectId(oids[i]), false)));
	return sql.data;
}
