/*-------------------------------------------------------------------------
 *
 * view.c
 *	  Compatibility views: a table under a second name.
 *
 * The server writes through a view that selects plain columns of one table,
 * as if the statement had named the table.  What a plain view would change is
 * made up for here:
 *
 * - Row security is the invoker's (security_invoker), not the view owner's.
 *   The server then asks for SELECT on every column of the view, whichever
 *   the statement names.  So where columns have privileges of their own the
 *   view is its owner's, and its privileges, which are copies of the table's,
 *   decide; where there is row security besides, there can be no view.
 * - Defaults are copied: UPDATE ... SET c = DEFAULT takes the view's.  Those
 *   of identity and generated columns are the table's own affair.
 * - A function that takes the table's row type takes the view's, by a cast.
 * - Owner, privileges and comments are copied.
 *
 * CREATE OR REPLACE VIEW forgets the options that it is not given: every one
 * here gives them.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_namespace.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "rewrite/rewriteHandler.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

#include "catalog/migration.h"
#include "catalog/step.h"
#include "schema/table.h"
#include "schema/view.h"
#include "util/compat.h"
#include "util/spi.h"

/* The function behind the cast of the view's row type to the table's. */
#define ROW_FUNCTION "~zdm_row"

static bool has_column_privileges(Oid relid);
static char *select_sql(Relation rel, const ZdmView *view);
static List *default_texts(Relation rel, const ZdmView *view);
static List *owner_texts(Relation rel, const ZdmView *view);
static List *grant_texts(Relation rel, const ZdmView *view);
static List *comment_texts(Relation rel, const ZdmView *view);
static List *cast_texts(Relation rel, const ZdmView *view);
static char *row_function(const ZdmView *view);
static List *add_step(List *steps, const char *description, List *texts);

/*
 * Whether the table can have a view that does what the table does.
 */
void
zdm_view_check(Relation rel, const ZdmView *view)
{
	Oid			relid = RelationGetRelid(rel);
	List	   *migrations = zdm_migrations_on(relid);

	zdm_check_kind(rel);
	if (migrations != NIL)
	{
		ZdmMigration *migration = linitial(migrations);

		ereport(ERROR,
				errcode(ERRCODE_OBJECT_IN_USE),
				errmsg("table \"%s\" is in migration \"%s\" already",
					   RelationGetRelationName(rel), migration->name),
				errhint("Finish that one first, or SELECT zdm.rollback(%s);",
						quote_literal_cstr(migration->name)));
	}
	if (rel->rd_rel->relrowsecurity && has_column_privileges(relid))
		ereport(ERROR,
				errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				errmsg("table \"%s\" has both row security and column privileges",
					   RelationGetRelationName(rel)),
				errdetail("A view obeys the invoker's row security only where the invoker may read every column of it."),
				errhint("For the time of the migration, GRANT on the whole table instead, or ALTER TABLE %s DISABLE ROW LEVEL SECURITY.",
						zdm_quote_relation(relid)));
}

/*
 * Whether a relation can be created there, in the caller's name and in that
 * of the owner, whose it will be.
 */
void
zdm_view_check_place(Oid relid, ZdmPlace place)
{
	Oid			schema = get_namespace_oid(place.schema, false);
	Oid			roles[] = {GetUserId(), zdm_table_owner(relid)};

	for (int i = 0; i < (int) lengthof(roles); i++)
	{
		if (object_aclcheck(NamespaceRelationId, schema, roles[i], ACL_CREATE) == ACLCHECK_OK)
			continue;
		ereport(ERROR,
				errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				errmsg("permission denied for schema %s: role \"%s\" cannot create a view there",
					   place.schema, GetUserNameFromId(roles[i], false)),
				errhint("GRANT CREATE ON SCHEMA %s TO %s;", quote_identifier(place.schema),
						quote_identifier(GetUserNameFromId(roles[i], false))));
	}
}

static bool
has_column_privileges(Oid relid)
{
	return zdm_query_strings("SELECT a.attname FROM pg_catalog.pg_attribute a"
							 " WHERE a.attrelid OPERATOR(pg_catalog.=) $1 AND a.attacl IS NOT NULL"
							 " AND NOT a.attisdropped LIMIT 1",
							 ZDM_ARGS(ZDM_ARG(OIDOID, ObjectIdGetDatum(relid)))) != NIL;
}

/*
 * The steps that make the view.
 */
List *
zdm_view_add_steps(Relation rel, const ZdmView *view)
{
	ZdmStep    *create = zdm_step_on(RelationGetRelid(rel), ZDM_STEP_ADD_VIEW, AccessShareLock,
									 "create the compatibility view",
									 psprintf("CREATE VIEW %s WITH (security_invoker = %s) AS %s",
											  zdm_quote_place(view->place),
											  has_column_privileges(RelationGetRelid(rel)) ? "false" : "true",
											  select_sql(rel, view)));
	List	   *steps = list_make1(create);

	create->view_schema = view->place.schema;
	create->view_name = view->place.name;
	steps = add_step(steps, "copy the defaults", default_texts(rel, view));
	steps = add_step(steps, "let functions that take the table's row take the view's",
					 cast_texts(rel, view));
	steps = add_step(steps, "copy the privileges", grant_texts(rel, view));
	steps = add_step(steps, "copy the comments", comment_texts(rel, view));
	return add_step(steps, "give it to the table's owner", owner_texts(rel, view));
}

static List *
add_step(List *steps, const char *description, List *texts)
{
	StringInfoData sql;
	ListCell   *lc;

	if (texts == NIL)
		return steps;
	initStringInfo(&sql);
	foreach(lc, texts)
		appendStringInfo(&sql, "%s%s", sql.len ? ";\n" : "", (char *) lfirst(lc));
	return lappend(steps, zdm_step(ZDM_STEP_DDL, NoLock, description, sql.data));
}

static char *
select_sql(Relation rel, const ZdmView *view)
{
	TupleDesc	desc = RelationGetDescr(rel);
	StringInfoData sql;

	initStringInfo(&sql);
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute attr = TupleDescAttr(desc, i);

		if (!attr->attisdropped)
			appendStringInfo(&sql, "%s%s", sql.len ? ", " : "",
							 quote_identifier(NameStr(attr->attname)));
	}
	if (view->twin != NULL)
		appendStringInfo(&sql, ", %s AS %s", quote_identifier(view->column),
						 quote_identifier(view->twin));
	return psprintf("SELECT %s FROM %s", sql.data, zdm_quote_place(view->table));
}

/*
 * The defaults of the columns.  One that has two names gets none: a statement
 * that gives it a value by one name would give it the default by the other.
 */
static List *
default_texts(Relation rel, const ZdmView *view)
{
	TupleDesc	desc = RelationGetDescr(rel);
	List	   *result = NIL;

	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute attr = TupleDescAttr(desc, i);
		const char *name = NameStr(attr->attname);

		if (attr->attisdropped || !attr->atthasdef || attr->attgenerated ||
			(view->column != NULL && strcmp(view->column, name) == 0))
			continue;
		result = lappend(result,
						 psprintf("ALTER VIEW %s ALTER COLUMN %s SET DEFAULT %s",
								  zdm_quote_place(view->place), quote_identifier(name),
								  zdm_expression_text(build_column_default(rel, attr->attnum))));
	}
	return result;
}

static List *
owner_texts(Relation rel, const ZdmView *view)
{
	char	   *owner = GetUserNameFromId(rel->rd_rel->relowner, false);

	if (rel->rd_rel->relowner == GetUserId())
		return NIL;
	return list_make2(psprintf("ALTER VIEW %s OWNER TO %s", zdm_quote_place(view->place),
							   quote_identifier(owner)),
					  psprintf("ALTER FUNCTION %s(%s) OWNER TO %s",
							   row_function(view),
							   zdm_quote_place(view->place), quote_identifier(owner)));
}

/*
 * The table's privileges, and no others: what the schema gives to every new
 * relation is taken away first.
 */
static List *
grant_texts(Relation rel, const ZdmView *view)
{
	static const char *const sql =
		"WITH acl AS ("
		"SELECT '' AS columns, x.* FROM pg_catalog.pg_class c, pg_catalog.aclexplode(c.relacl) x"
		" WHERE c.oid OPERATOR(pg_catalog.=) $1 AND x.grantee OPERATOR(pg_catalog.<>) c.relowner"
		" UNION ALL SELECT pg_catalog.format(' (%I)', n.name), x.*"
		" FROM pg_catalog.pg_attribute a, pg_catalog.aclexplode(a.attacl) x,"
		" LATERAL (SELECT a.attname UNION ALL SELECT $4 WHERE a.attname OPERATOR(pg_catalog.=) $3) n(name)"
		" WHERE a.attrelid OPERATOR(pg_catalog.=) $1 AND NOT a.attisdropped),"
		" given AS ("
		"SELECT DISTINCT x.grantee FROM pg_catalog.pg_default_acl d, pg_catalog.aclexplode(d.defaclacl) x"
		" WHERE d.defaclobjtype OPERATOR(pg_catalog.=) 'r' AND d.defaclrole OPERATOR(pg_catalog.=) $5"
		" AND x.grantee OPERATOR(pg_catalog.<>) $5),"
		" texts AS ("
		"SELECT 0 AS part, g.grantee, '' AS columns, 'REVOKE ALL' AS what, 'FROM' AS direction, '' AS option FROM given g"
		" UNION ALL SELECT 1, a.grantee, a.columns, 'GRANT ' OPERATOR(pg_catalog.||)"
		" pg_catalog.string_agg(a.privilege_type OPERATOR(pg_catalog.||) a.columns, ', ' ORDER BY a.privilege_type), 'TO',"
		" CASE WHEN a.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END"
		" FROM (SELECT DISTINCT columns, grantee, privilege_type, is_grantable FROM acl) a"
		" GROUP BY a.grantee, a.columns, a.is_grantable)"
		" SELECT s.sql FROM (SELECT t.part, pg_catalog.format('%s ON %s %s %s%s', t.what, $2, t.direction,"
		" CASE WHEN t.grantee OPERATOR(pg_catalog.=) 0 THEN 'PUBLIC'"
		" ELSE pg_catalog.quote_ident(pg_catalog.pg_get_userbyid(t.grantee)) END, t.option) AS sql"
		" FROM texts t) s ORDER BY s.part, s.sql COLLATE \"C\"";

	return zdm_query_strings(sql,
							 ZDM_ARGS(ZDM_ARG(OIDOID, ObjectIdGetDatum(RelationGetRelid(rel))),
									  zdm_arg_text(zdm_quote_place(view->place)),
									  zdm_arg_name(view->column ? view->column : ""),
									  zdm_arg_name(view->twin ? view->twin : ""),
									  ZDM_ARG(OIDOID, ObjectIdGetDatum(GetUserId()))));
}

static List *
comment_texts(Relation rel, const ZdmView *view)
{
	static const char *const sql =
		"SELECT CASE WHEN n.name IS NULL"
		" THEN pg_catalog.format('COMMENT ON VIEW %s IS %L', $2, d.description)"
		" ELSE pg_catalog.format('COMMENT ON COLUMN %s.%I IS %L', $2, n.name, d.description) END"
		" FROM pg_catalog.pg_description d"
		" LEFT JOIN pg_catalog.pg_attribute a ON a.attrelid OPERATOR(pg_catalog.=) d.objoid"
		" AND a.attnum OPERATOR(pg_catalog.=) d.objsubid AND d.objsubid OPERATOR(pg_catalog.>) 0,"
		" LATERAL (SELECT a.attname UNION ALL SELECT $4 WHERE a.attname OPERATOR(pg_catalog.=) $3) n(name)"
		" WHERE d.objoid OPERATOR(pg_catalog.=) $1"
		" AND d.classoid OPERATOR(pg_catalog.=) 'pg_catalog.pg_class'::pg_catalog.regclass"
		" ORDER BY d.objsubid, n.name COLLATE \"C\"";

	return zdm_query_strings(sql,
							 ZDM_ARGS(ZDM_ARG(OIDOID, ObjectIdGetDatum(RelationGetRelid(rel))),
									  zdm_arg_text(zdm_quote_place(view->place)),
									  zdm_arg_name(view->column ? view->column : ""),
									  zdm_arg_name(view->twin ? view->twin : "")));
}

/*
 * The cast of the view's rows to the table's, and the function behind it.  It
 * reads nothing but its argument, so everybody may run it.
 */
static List *
cast_texts(Relation rel, const ZdmView *view)
{
	TupleDesc	desc = RelationGetDescr(rel);
	char	   *function = row_function(view);
	char	   *from = zdm_quote_place(view->place);
	char	   *to = zdm_quote_place(view->table);
	StringInfoData row;

	initStringInfo(&row);
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute attr = TupleDescAttr(desc, i);

		if (!attr->attisdropped)
			appendStringInfo(&row, "%s$1.%s", row.len ? ", " : "",
							 quote_identifier(NameStr(attr->attname)));
	}
	return list_make3(psprintf("CREATE FUNCTION %s(%s) RETURNS %s LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE RETURN ROW(%s)::%s",
							   function, from, to, row.data, to),
					  psprintf("GRANT EXECUTE ON FUNCTION %s(%s) TO PUBLIC", function, from),
					  psprintf("CREATE CAST (%s AS %s) WITH FUNCTION %s(%s) AS IMPLICIT",
							   from, to, function, from));
}

static char *
row_function(const ZdmView *view)
{
	return quote_qualified_identifier(view->place.schema, ROW_FUNCTION);
}

/*
 * The steps that drop it.
 */
List *
zdm_view_drop_steps(const ZdmView *view)
{
	char	   *name = zdm_quote_place(view->place);

	return list_make2(zdm_step(ZDM_STEP_DDL, NoLock, "drop the cast of its rows",
							   psprintf("DROP CAST (%s AS %s);\nDROP FUNCTION %s(%s)",
										name, zdm_quote_place(view->table),
										row_function(view),
										name)),
					  zdm_step_on(view->oid, ZDM_STEP_DROP_VIEW, AccessExclusiveLock,
								  "drop the compatibility view",
								  psprintf("DROP VIEW %s", name)));
}

/*
 * Descriptions (char *) of what others have made that depends on the view, or
 * on its row type.
 */
List *
zdm_view_dependents(Oid view)
{
	static const char *const sql =
		"SELECT DISTINCT pg_catalog.pg_describe_object(o.classid, o.objid, 0) FROM ("
		"SELECT coalesce('pg_catalog.pg_class'::pg_catalog.regclass, d.classid) AS classid, r.ev_class AS objid, d.objid AS by"
		" FROM pg_catalog.pg_depend d JOIN pg_catalog.pg_rewrite r"
		" ON d.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_rewrite'::pg_catalog.regclass AND r.oid OPERATOR(pg_catalog.=) d.objid"
		" WHERE d.refclassid OPERATOR(pg_catalog.=) 'pg_catalog.pg_class'::pg_catalog.regclass"
		" AND d.refobjid OPERATOR(pg_catalog.=) $1 AND r.ev_class OPERATOR(pg_catalog.<>) $1"
		" UNION SELECT d.classid, d.objid, d.objid FROM pg_catalog.pg_depend d"
		" WHERE d.classid OPERATOR(pg_catalog.<>) 'pg_catalog.pg_rewrite'::pg_catalog.regclass"
		" AND d.classid OPERATOR(pg_catalog.<>) 'pg_catalog.pg_cast'::pg_catalog.regclass"
		" AND d.deptype OPERATOR(pg_catalog.=) 'n'"
		" AND ((d.refclassid OPERATOR(pg_catalog.=) 'pg_catalog.pg_class'::pg_catalog.regclass"
		" AND d.refobjid OPERATOR(pg_catalog.=) $1)"
		" OR (d.refclassid OPERATOR(pg_catalog.=) 'pg_catalog.pg_type'::pg_catalog.regclass"
		" AND d.refobjid OPERATOR(pg_catalog.=) ANY (SELECT u.oid FROM pg_catalog.pg_type t, pg_catalog.unnest(ARRAY[t.oid, t.typarray]) u(oid)"
		" WHERE t.typrelid OPERATOR(pg_catalog.=) $1)))) o"
		" WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_proc p WHERE o.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_proc'::pg_catalog.regclass"
		" AND p.oid OPERATOR(pg_catalog.=) o.objid AND p.proname OPERATOR(pg_catalog.=) $2)"
		" ORDER BY 1";

	return zdm_query_strings(sql, ZDM_ARGS(ZDM_ARG(OIDOID, ObjectIdGetDatum(view)),
										   zdm_arg_name(ROW_FUNCTION)));
}

/*
 * The table, where a migration has given it this compatibility view; else the
 * relation itself.
 */
Oid
zdm_viewed_table(Oid relid)
{
	List	   *migrations = NIL;

	if (get_rel_relkind(relid) == RELKIND_VIEW)
		migrations = zdm_migrations_on(relid);
	return migrations ? ((ZdmMigration *) linitial(migrations))->relation : relid;
}
