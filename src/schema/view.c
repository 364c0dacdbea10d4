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
 * - A function that takes the table's row type takes the view's, by a cast
 *   (view_row.c).
 * - Owner, privileges and comments are copied.
 *
 * CREATE OR REPLACE VIEW forgets the options that it is not given: every one
 * here gives them.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/relation.h"
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
#include "schema/relation.h"
#include "schema/table.h"
#include "schema/view.h"
#include "schema/view_acl.h"
#include "schema/view_row.h"
#include "sync/expression.h"
#include "util/compat.h"
#include "util/spi.h"

#define COPY_DEFAULTS "copy the defaults"
#define TAKE_ROWS "let functions that take the table's row take the view's"

static bool has_columns(Relation rel);
static bool owner_may_all(Relation rel);
static char *create_sql(Relation rel, const ZdmView *view, const char *create);
static bool is_invokers(Relation rel, const ZdmView *view);
static bool was_invokers(const ZdmView *view);
static char *select_sql(Relation rel, const ZdmView *view);
static List *view_columns(const ZdmView *view);
static bool has_name(List *names, const char *name);
static char *wanted_default(Relation rel, const ZdmView *view, AttrNumber attnum);
static char *present_default(const ZdmView *view, const char *column);
static List *default_texts(Relation rel, const ZdmView *view);
static List *owner_texts(Relation rel, const ZdmView *view);
static List *comment_texts(Relation rel, const ZdmView *view);
static List *add_step(List *steps, const char *description, List *texts);
static char *defaults_now(ZdmMigration *migration);

/*
 * Whether the table can have a view that does what the table does.
 */
void
zdm_view_check(Relation rel)
{
	Oid			relid = RelationGetRelid(rel);
	List	   *migrations = zdm_migrations_on(relid);

	zdm_check_kind(rel);
	if (migrations != NIL)
		zdm_refuse_table(rel, linitial(migrations));
	if (!has_columns(rel))
		ereport(ERROR,
				errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				errmsg("table \"%s\" has no columns", RelationGetRelationName(rel)),
				errdetail("No row can be inserted through a view of it."),
				errhint("ALTER TABLE %s ADD COLUMN ...;", zdm_quote_relation(relid)));
	if (rel->rd_rel->relrowsecurity && zdm_has_column_privileges(relid))
		ereport(ERROR,
				errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				errmsg("table \"%s\" has both row security and column privileges",
					   RelationGetRelationName(rel)),
				errdetail("A view obeys the invoker's row security only where the invoker may read every column of it."),
				errhint("For the time of the migration, GRANT on the whole table instead, or ALTER TABLE %s DISABLE ROW LEVEL SECURITY.",
						zdm_quote_relation(relid)));
	if (zdm_has_column_privileges(relid) && !owner_may_all(rel))
		ereport(ERROR,
				errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				errmsg("table \"%s\" has column privileges, and its owner lacks some of his own",
					   RelationGetRelationName(rel)),
				errdetail("With column privileges a view uses the table with its owner's rights."),
				errhint("GRANT SELECT, INSERT, UPDATE, DELETE ON %s TO %s;", zdm_quote_relation(relid),
						quote_identifier(GetUserNameFromId(rel->rd_rel->relowner, false))));
}

/*
 * An owner can take privileges away from himself.
 */
static bool
owner_may_all(Relation rel)
{
	AclMode		all = ACL_SELECT | ACL_INSERT | ACL_UPDATE | ACL_DELETE;

	return pg_class_aclmask(RelationGetRelid(rel), rel->rd_rel->relowner, all, ACLMASK_ALL) == all;
}

static bool
has_columns(Relation rel)
{
	TupleDesc	desc = RelationGetDescr(rel);

	for (int i = 0; i < desc->natts; i++)
	{
		if (!TupleDescAttr(desc, i)->attisdropped)
			return true;
	}
	return false;
}

/*
 * Whether a relation can be created there, in the caller's name and, but for a
 * superuser, in that of the owner, whose it will be.
 */
void
zdm_view_check_place(Oid relid, ZdmPlace place)
{
	Oid			schema = get_namespace_oid(place.schema, true);
	Oid			roles[] = {GetUserId(), zdm_table_owner(relid)};

	if (!OidIsValid(schema))
		ereport(ERROR,
				errcode(ERRCODE_UNDEFINED_SCHEMA),
				errmsg("schema \"%s\" does not exist", place.schema),
				errhint("CREATE SCHEMA %s;", quote_identifier(place.schema)));
	for (int i = 0; i < (int) lengthof(roles) && !superuser(); i++)
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

/*
 * The steps that make the view.
 */
List *
zdm_view_add_steps(Relation rel, const ZdmView *view)
{
	ZdmStep    *create = zdm_step_on(RelationGetRelid(rel), ZDM_STEP_ADD_VIEW, AccessShareLock,
									 "create the compatibility view",
									 create_sql(rel, view, "CREATE"));
	List	   *steps = list_make1(create);

	create->view_schema = view->place.schema;
	create->view_name = view->place.name;
	steps = add_step(steps, COPY_DEFAULTS, default_texts(rel, view));
	/* They may name a sequence that moves to another schema with its table. */
	if (list_length(steps) > 1)
		((ZdmStep *) llast(steps))->sql_now = defaults_now;
	steps = add_step(steps, TAKE_ROWS, zdm_view_row_texts(rel, view));
	steps = add_step(steps, "copy the privileges", zdm_view_grants(RelationGetRelid(rel), view));
	steps = add_step(steps, "copy the comments", comment_texts(rel, view));
	return add_step(steps, "give it to the table's owner", owner_texts(rel, view));
}

static List *
add_step(List *steps, const char *description, List *texts)
{
	if (texts == NIL)
		return steps;
	return lappend(steps, zdm_step(ZDM_STEP_DDL, NoLock, description, zdm_join(texts, ";\n")));
}

/*
 * What the view selects: what it shows already, in that order, and then what
 * the table has besides.
 */
static char *
select_sql(Relation rel, const ZdmView *view)
{
	List	   *columns = view_columns(view);
	TupleDesc	desc = RelationGetDescr(rel);
	StringInfoData sql;
	ListCell   *lc;

	initStringInfo(&sql);
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute attr = TupleDescAttr(desc, i);

		if (!attr->attisdropped && !has_name(columns, NameStr(attr->attname)))
			columns = lappend(columns, pstrdup(NameStr(attr->attname)));
	}
	if (view->twin != NULL && !has_name(columns, view->twin))
		columns = lappend(columns, pstrdup(view->twin));
	foreach(lc, columns)
	{
		if (view->twin != NULL && strcmp(lfirst(lc), view->twin) == 0)
			appendStringInfo(&sql, ", %s AS %s", quote_identifier(view->column),
							 quote_identifier(view->twin));
		else
			appendStringInfo(&sql, "%s%s", sql.len ? ", " : "", quote_identifier(lfirst(lc)));
	}
	return psprintf("SELECT %s FROM %s", sql.data, zdm_quote_place(view->table));
}

/*
 * The names of the columns that a view has by now.
 */
static List *
view_columns(const ZdmView *view)
{
	return zdm_query_strings("SELECT a.attname FROM pg_catalog.pg_attribute a"
							 " WHERE a.attrelid OPERATOR(pg_catalog.=) $1"
							 " AND a.attnum OPERATOR(pg_catalog.>) 0 ORDER BY a.attnum",
							 ZDM_ARGS(ZDM_ARG(OIDOID, ObjectIdGetDatum(view->oid))));
}

static bool
has_name(List *names, const char *name)
{
	ListCell   *lc;

	foreach(lc, names)
	{
		if (strcmp(lfirst(lc), name) == 0)
			return true;
	}
	return false;
}

static char *
create_sql(Relation rel, const ZdmView *view, const char *create)
{
	return psprintf("%s VIEW %s WITH (security_invoker = %s) AS %s", create,
					zdm_quote_place(view->place), is_invokers(rel, view) ? "true" : "false",
					select_sql(rel, view));
}

/*
 * Whether the view is to obey the privileges and the row security of whoever
 * uses it.  Where it does not matter it stays as it is: a restore makes views
 * and rows of the catalog before it grants anything.
 */
static bool
is_invokers(Relation rel, const ZdmView *view)
{
	if (zdm_has_column_privileges(RelationGetRelid(rel)))
		return false;
	return rel->rd_rel->relrowsecurity || !OidIsValid(view->oid) || was_invokers(view);
}

static bool
was_invokers(const ZdmView *view)
{
	Relation	rel = relation_open(view->oid, AccessShareLock);
	bool		result = RelationHasSecurityInvoker(rel);

	relation_close(rel, AccessShareLock);
	return result;
}

/*
 * The default that a column of the view is to have, NULL for none.  One that
 * has two names gets none: a statement that gives it a value by one name would
 * give it the default by the other.
 */
static char *
wanted_default(Relation rel, const ZdmView *view, AttrNumber attnum)
{
	Form_pg_attribute attr = TupleDescAttr(RelationGetDescr(rel), attnum - 1);

	if (attr->attisdropped || !attr->atthasdef || attr->attgenerated ||
		(view->column != NULL && strcmp(view->column, NameStr(attr->attname)) == 0))
		return NULL;
	return zdm_default_text(build_column_default(rel, attnum));
}

/*
 * The default that it has.
 */
static char *
present_default(const ZdmView *view, const char *column)
{
	AttrNumber	attnum;
	Relation	rel;
	char	   *result = NULL;

	if (!OidIsValid(view->oid))
		return NULL;
	attnum = get_attnum(view->oid, column);
	if (attnum == InvalidAttrNumber)
		return NULL;
	rel = relation_open(view->oid, AccessShareLock);
	if (TupleDescAttr(RelationGetDescr(rel), attnum - 1)->atthasdef)
		result = zdm_default_text(build_column_default(rel, attnum));
	relation_close(rel, AccessShareLock);
	return result;
}

/*
 * The statements that make the view's defaults those of the table.
 */
static List *
default_texts(Relation rel, const ZdmView *view)
{
	TupleDesc	desc = RelationGetDescr(rel);
	List	   *result = NIL;

	for (int i = 0; i < desc->natts; i++)
	{
		const char *name = NameStr(TupleDescAttr(desc, i)->attname);
		char	   *wanted = wanted_default(rel, view, i + 1);
		char	   *present = present_default(view, name);
		bool		equal = wanted == NULL || present == NULL ? wanted == present
			: strcmp(wanted, present) == 0;

		if (!equal)
			result = lappend(result,
							 psprintf("ALTER VIEW %s ALTER COLUMN %s %s%s",
									  zdm_quote_place(view->place), quote_identifier(name),
									  wanted ? "SET DEFAULT " : "DROP DEFAULT",
									  wanted ? wanted : ""));
	}
	return result;
}

/*
 * The same for the view that the migration has just made.
 */
static char *
defaults_now(ZdmMigration *migration)
{
	ZdmView		view = {
		.oid = linitial_oid(migration->others),
		.place = zdm_relation_place(linitial_oid(migration->others)),
		.column = migration->old_columns ? linitial(migration->old_columns) : NULL,
	};
	Relation	rel = relation_open(migration->relation, AccessShareLock);
	char	   *result = zdm_join(default_texts(rel, &view), ";\n");

	relation_close(rel, AccessShareLock);
	return result;
}

static List *
owner_texts(Relation rel, const ZdmView *view)
{
	char	   *owner = GetUserNameFromId(rel->rd_rel->relowner, false);

	Oid			present = OidIsValid(view->oid) ? zdm_table_owner(view->oid) : GetUserId();

	if (rel->rd_rel->relowner == present)
		return NIL;
	return lcons(psprintf("ALTER VIEW %s OWNER TO %s", zdm_quote_place(view->place),
						  quote_identifier(owner)),
				 zdm_view_row_owner_texts(rel, view, present));
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
 * The steps that drop it.
 */
List *
zdm_view_drop_steps(const ZdmView *view)
{
	char	   *name = zdm_quote_place(view->place);

	return list_make2(zdm_step(ZDM_STEP_DDL, NoLock, "drop the cast of its rows",
							   zdm_view_row_drop_text(view)),
					  zdm_step_on(view->oid, ZDM_STEP_DROP_VIEW, AccessExclusiveLock,
								  "drop the compatibility view",
								  psprintf("DROP VIEW %s", name)));
}

/*
 * The steps that make the view what the table has become.
 */
List *
zdm_view_mend_steps(Relation rel, const ZdmView *view)
{
	bool		invokers = is_invokers(rel, view);
	List	   *columns = view_columns(view);
	TupleDesc	desc = RelationGetDescr(rel);
	List	   *steps = NIL;
	bool		grown = false;

	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute attr = TupleDescAttr(desc, i);

		grown |= !attr->attisdropped && !has_name(columns, NameStr(attr->attname));
	}
	if (grown)
		steps = add_step(steps, "show the table's new column, too",
						 list_make1(create_sql(rel, view, "CREATE OR REPLACE")));
	else if (invokers != was_invokers(view))
		steps = add_step(steps, "set whose privileges the view obeys",
						 list_make1(psprintf("ALTER VIEW %s SET (security_invoker = %s)",
											 zdm_quote_place(view->place),
											 invokers ? "true" : "false")));
	if (zdm_view_row_missing(view))
		steps = add_step(steps, TAKE_ROWS,
						 list_concat(zdm_view_row_texts(rel, view),
									 zdm_view_row_owner_texts(rel, view, GetUserId())));
	else
		steps = add_step(steps, "let functions that take a row take the changed one",
						 zdm_view_row_change_texts(rel, view));
	steps = add_step(steps, COPY_DEFAULTS, default_texts(rel, view));
	return add_step(steps, "give it to the table's owner", owner_texts(rel, view));
}

/*
 * What keeps the view from doing what the table does (a clause for a message),
 * or NULL.
 */
char *
zdm_view_broken(Relation rel, const ZdmView *view)
{
	static const char *const rules_sql =
		"SELECT r.rulename FROM pg_catalog.pg_rewrite r WHERE r.ev_class OPERATOR(pg_catalog.=) $1"
		" AND r.rulename OPERATOR(pg_catalog.<>) '_RETURN'"
		" UNION ALL SELECT t.tgname FROM pg_catalog.pg_trigger t WHERE t.tgrelid OPERATOR(pg_catalog.=) $1";
	Oid			relid = RelationGetRelid(rel);
	ListCell   *lc;

	foreach(lc, view_columns(view))
	{
		const char *name = lfirst(lc);
		bool		second = view->twin != NULL && strcmp(name, view->twin) == 0;
		bool		exists = get_attnum(relid, name) != InvalidAttrNumber;

		if (second && exists)
			return psprintf("column \"%s\" has the name \"%s\" already", view->column, name);
		if (!second && !exists)
			return psprintf("both need a column \"%s\"", name);
	}
	if (rel->rd_rel->relrowsecurity && zdm_has_column_privileges(relid))
		return pstrdup("it cannot have both row security and column privileges");
	if (zdm_has_column_privileges(relid) && !owner_may_all(rel))
		return pstrdup("with column privileges its owner cannot lack privileges");
	if (zdm_query_strings(rules_sql, ZDM_ARGS(ZDM_ARG(OIDOID, ObjectIdGetDatum(view->oid)))) != NIL)
		return psprintf("its view \"%s\" cannot have rules and triggers", view->place.name);
	return NULL;
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
										   zdm_arg_name(ZDM_ROW_FUNCTION)));
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
