/*-------------------------------------------------------------------------
 *
 * twin.c
 *	  A second column that mirrors a first one.
 *
 * The twin has what an application can see of the column: type, collation,
 * default, column privileges; and storage and compression, so that it costs
 * what the column costs.  It has no constraints: the sync trigger writes both
 * columns, so the first one's constraints hold for whatever is written to
 * either.
 *
 * Two differences, both on purpose:
 *
 * - A volatile default (a sequence, a random value) stays with the column
 *   alone, or it would be drawn twice for a row.
 * - A domain with constraints becomes its base type: adding a column of such
 *   a domain makes the server rewrite the table.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "access/toast_compression.h"
#include "catalog/pg_attribute.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_type.h"
#include "mb/pg_wchar.h"
#include "nodes/nodes.h"
#include "optimizer/optimizer.h"
#include "rewrite/rewriteHandler.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"
#include "utils/typcache.h"

#include "catalog/step.h"
#include "schema/catalog_change.h"
#include "schema/depend.h"
#include "schema/mandatory.h"
#include "schema/new_column.h"
#include "schema/privilege.h"
#include "schema/relation.h"
#include "schema/twin.h"
#include "sync/expression.h"
#include "util/compat.h"
#include "util/ident.h"
#include "util/spi.h"

static Form_pg_attribute column_attribute(Relation rel, const char *column);
static char *twin_type(Form_pg_attribute attr);
static char *twin_default(Relation rel, const char *column);
static List *default_steps(Relation rel, const char *column, const char *twin);
static char *storage_clauses(Form_pg_attribute attr, Oid type, const char *name);

static Form_pg_attribute
column_attribute(Relation rel, const char *column)
{
	AttrNumber	attnum = get_attnum(RelationGetRelid(rel), column);

	if (attnum <= 0)
		elog(ERROR, "column \"%s\" of table \"%s\" does not exist", column,
			 RelationGetRelationName(rel));
	return TupleDescAttr(RelationGetDescr(rel), attnum - 1);
}

/*
 * The name of a twin that nobody is to write by name.
 */
char *
zdm_twin_name(const char *column)
{
	char	   *name = psprintf("~zdm_%s", column);

	name[pg_mbcliplen(name, (int) strlen(name), NAMEDATALEN - 1)] = '\0';
	return name;
}

/*
 * Whether both versions' INSERTs can leave out the column they do not know.
 */
void
zdm_twin_check(Relation rel, const char *column)
{
	Form_pg_attribute attr = column_attribute(rel, column);

	if (!attr->atthasdef && !zdm_type_accepts_null(attr->atttypid, rel->rd_rel->relowner))
		ereport(ERROR,
				errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				errmsg("column \"%s\" has no default and is of domain %s, which refuses NULL",
					   column, format_type_be(attr->atttypid)),
				errdetail("The server checks the domain before any trigger: an INSERT that leaves the column out fails before zdm could fill it."),
				errhint("Give the column a default for the time of the migration, or make it NOT NULL itself instead of the domain."));
}

/*
 * A column's type, for another table's column that is to hold the same.
 */
char *
zdm_twin_type(Relation rel, const char *column)
{
	Form_pg_attribute attr = column_attribute(rel, column);

	return psprintf("%s%s", twin_type(attr), zdm_collation_clause(attr->attcollation));
}

/*
 * The steps that add the twin.
 */
List *
zdm_twin_add_steps(Relation rel, const char *column, const char *twin)
{
	Form_pg_attribute attr = column_attribute(rel, column);
	char	   *table = zdm_quote_relation(RelationGetRelid(rel));
	const char *name = quote_identifier(twin);
	List	   *steps;
	ListCell   *lc;

	steps = list_make1(zdm_step(ZDM_STEP_DDL, AccessExclusiveLock,
								"add the second column",
								psprintf("ALTER TABLE %s ADD COLUMN %s %s%s%s%s", table, name,
										 twin_type(attr), zdm_collation_clause(attr->attcollation),
										 zdm_new_column_null(attr->atttypid),
										 storage_clauses(attr, attr->atttypid, name))));
	steps = list_concat(steps, zdm_new_column_default_steps(RelationGetRelid(rel), twin, attr->atttypid));
	foreach(lc, zdm_table_and_partitions(RelationGetRelid(rel)))
	{
		Relation	part = table_open(lfirst_oid(lc), AccessShareLock);

		steps = list_concat(steps, default_steps(part, column, twin));
		steps = list_concat(steps, zdm_grant_steps(lfirst_oid(lc), list_make1(pstrdup(column)), twin));
		table_close(part, AccessShareLock);
	}
	return steps;
}

/*
 * The steps that add a twin of another type: without a default, which goes by
 * the type and so comes with the promotion.
 */
List *
zdm_twin_add_typed_steps(Relation rel, const char *column, const char *twin,
						 const ZdmType *type)
{
	Form_pg_attribute attr = column_attribute(rel, column);
	const char *name = quote_identifier(twin);
	List	   *steps;
	ListCell   *lc;

	steps = list_make1(zdm_step_on(RelationGetRelid(rel), ZDM_STEP_DDL, AccessExclusiveLock,
								   "add the second column",
								   psprintf("ALTER TABLE %s ADD COLUMN %s %s%s%s%s",
											zdm_quote_relation(RelationGetRelid(rel)), name,
											zdm_type_text(type), zdm_collation_clause(type->collation),
											zdm_new_column_null(type->oid),
											storage_clauses(attr, type->oid, name))));
	steps = list_concat(steps, zdm_new_column_default_steps(RelationGetRelid(rel), twin, type->oid));
	foreach(lc, zdm_table_and_partitions(RelationGetRelid(rel)))
	{
		if (zdm_acl_differs(lfirst_oid(lc), column, twin))
			steps = lappend(steps, zdm_acl_copy_step(lfirst_oid(lc), column, twin));
	}
	return steps;
}

/*
 * Storage and compression as the column has them, where the type allows it.
 */
static char *
storage_clauses(Form_pg_attribute attr, Oid type, const char *name)
{
	StringInfoData sql;

	initStringInfo(&sql);
	if (get_typlen(type) != -1 || attr->attlen != -1)
		return sql.data;
	if (attr->attstorage != get_typstorage(attr->atttypid) &&
		attr->attstorage != get_typstorage(type) && get_typstorage(type) != TYPSTORAGE_PLAIN)
		appendStringInfo(&sql, ", ALTER COLUMN %s SET STORAGE %s", name,
						 attr->attstorage == TYPSTORAGE_PLAIN ? "PLAIN" :
						 attr->attstorage == TYPSTORAGE_EXTERNAL ? "EXTERNAL" :
						 attr->attstorage == TYPSTORAGE_MAIN ? "MAIN" : "EXTENDED");
	if (CompressionMethodIsValid(attr->attcompression) && get_typstorage(type) != TYPSTORAGE_PLAIN)
		appendStringInfo(&sql, ", ALTER COLUMN %s SET COMPRESSION %s", name,
						 GetCompressionMethodName(attr->attcompression));
	return sql.data;
}

/*
 * The column's default, for the twin.  A partition may have another one than
 * its parent, or none.  In a step of its own: with the column it would fill
 * the rows.
 */
static List *
default_steps(Relation rel, const char *column, const char *twin)
{
	char	   *initial = twin_default(rel, column);

	if (initial == NULL)
		return NIL;
	return list_make1(zdm_step_on(RelationGetRelid(rel), ZDM_STEP_DDL, AccessExclusiveLock,
								  "give it the default",
								  psprintf("ALTER TABLE %s%s ALTER COLUMN %s SET DEFAULT %s",
										   rel->rd_rel->relkind == RELKIND_PARTITIONED_TABLE ? "ONLY " : "",
										   zdm_quote_relation(RelationGetRelid(rel)),
										   quote_identifier(twin), initial)));
}

/*
 * The steps that give the twin the default that the column has by now, or take
 * it away.
 */
List *
zdm_twin_default_follow_steps(Oid relid, const char *column, const char *twin)
{
	List	   *steps = NIL;
	ListCell   *lc;

	foreach(lc, zdm_table_and_partitions(relid))
	{
		Relation	rel = table_open(lfirst_oid(lc), AccessShareLock);
		char	   *wanted = twin_default(rel, column);
		char	   *present = twin_default(rel, twin);

		if (wanted != NULL && (present == NULL || strcmp(wanted, present) != 0))
			steps = list_concat(steps, default_steps(rel, column, twin));
		else if (wanted == NULL && column_attribute(rel, twin)->atthasdef)
			steps = lappend(steps, zdm_step_on(lfirst_oid(lc), ZDM_STEP_DDL, AccessExclusiveLock,
											   "take its default away",
											   psprintf("ALTER TABLE %s%s ALTER COLUMN %s DROP DEFAULT",
														rel->rd_rel->relkind == RELKIND_PARTITIONED_TABLE ? "ONLY " : "",
														zdm_quote_relation(lfirst_oid(lc)), quote_identifier(twin))));
		table_close(rel, AccessShareLock);
	}
	return steps;
}

/*
 * Whether a domain, or one below it, has constraints.  Asked of the catalog:
 * the type cache would plan the constraints' expressions, and so might run a
 * user's functions as whoever we are.
 */
bool
zdm_domain_is_constrained(Oid domain)
{
	return zdm_query_strings("WITH RECURSIVE d AS ("
							 " SELECT t.oid, t.typbasetype, t.typnotnull FROM pg_catalog.pg_type t"
							 " WHERE t.oid OPERATOR(pg_catalog.=) $1"
							 " UNION ALL SELECT t.oid, t.typbasetype, t.typnotnull FROM pg_catalog.pg_type t"
							 " JOIN d ON t.oid OPERATOR(pg_catalog.=) d.typbasetype)"
							 " SELECT '' FROM d WHERE d.typnotnull OR EXISTS ("
							 " SELECT FROM pg_catalog.pg_constraint c WHERE c.contypid OPERATOR(pg_catalog.=) d.oid)",
							 ZDM_ARGS(ZDM_ARG(OIDOID, ObjectIdGetDatum(domain)))) != NIL;
}

static char *
twin_type(Form_pg_attribute attr)
{
	Oid			type = attr->atttypid;
	int32		typmod = attr->atttypmod;
	ZdmIdentity saved;
	char	   *result;

	if (get_typtype(type) == TYPTYPE_DOMAIN && zdm_domain_is_constrained(type))
		type = getBaseTypeAndTypmod(type, &typmod);
	zdm_pin_path(&saved);
	result = format_type_with_typemod(type, typmod);
	zdm_unbecome(&saved);
	return result;
}

/*
 * Whether the twin still has the type that goes with the column's.
 */
bool
zdm_twin_fits(Relation rel, const char *column, const char *twin)
{
	Form_pg_attribute attr = column_attribute(rel, column);
	Form_pg_attribute other = column_attribute(rel, twin);

	return strcmp(twin_type(attr), twin_type(other)) == 0 &&
		attr->attcollation == other->attcollation;
}

char *
zdm_collation_clause(Oid collation)
{
	HeapTuple	tuple;
	Form_pg_collation form;
	char	   *result;

	if (!OidIsValid(collation) || collation == DEFAULT_COLLATION_OID)
		return pstrdup("");
	tuple = SearchSysCache1(COLLOID, ObjectIdGetDatum(collation));
	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for collation %u", collation);
	form = (Form_pg_collation) GETSTRUCT(tuple);
	result = psprintf(" COLLATE %s",
					  quote_qualified_identifier(get_namespace_name(form->collnamespace),
												 NameStr(form->collname)));
	ReleaseSysCache(tuple);
	return result;
}

/*
 * The text of the column's default, qualified, where each evaluation gives
 * the same value; else NULL.
 */
static char *
twin_default(Relation rel, const char *column)
{
	Form_pg_attribute attr = column_attribute(rel, column);
	Node	   *expr;

	if (!attr->atthasdef || attr->attgenerated || attr->attidentity)
		return NULL;
	expr = build_column_default(rel, attr->attnum);
	if (expr == NULL || contain_volatile_functions(expr))
		return NULL;
	return zdm_default_text(expr);
}

/*
 * Whether the column's default may give another value each time.
 */
bool
zdm_default_is_volatile(Oid relid, const char *column)
{
	Relation	rel = table_open(relid, AccessShareLock);
	Node	   *expr = build_column_default(rel, get_attnum(relid, column));

	table_close(rel, AccessShareLock);
	return expr != NULL && contain_volatile_functions(expr);
}

/*
 * What somebody has attached to the twin: objects that depend on it, but for
 * the migration's own indexes, column privileges and a default that the column
 * does not have.
 */
List *
zdm_twin_attachments(int64 migration, Oid relid, const char *column,
					 const char *twin)
{
	static const char *const acl_sql =
		"SELECT DISTINCT pg_catalog.format('privilege %s of %s on the column', x.privilege_type, " ZDM_GRANTEE("x.grantee") ")"
		" FROM pg_catalog.pg_attribute a, pg_catalog.aclexplode(a.attacl) x"
		" WHERE a.attrelid OPERATOR(pg_catalog.=) $1 AND a.attname OPERATOR(pg_catalog.=) $3"
		" AND NOT EXISTS (SELECT FROM pg_catalog.pg_attribute b, pg_catalog.aclexplode(b.attacl) y"
		" WHERE b.attrelid OPERATOR(pg_catalog.=) $1 AND b.attname OPERATOR(pg_catalog.=) $2"
		" AND y.grantee OPERATOR(pg_catalog.=) x.grantee"
		" AND y.privilege_type OPERATOR(pg_catalog.=) x.privilege_type) ORDER BY 1";
	static const char *const default_sql =
		"SELECT 'default ' OPERATOR(pg_catalog.||) pg_catalog.pg_get_expr(d.adbin, d.adrelid)"
		" FROM pg_catalog.pg_attribute a"
		" JOIN pg_catalog.pg_attrdef d ON d.adrelid OPERATOR(pg_catalog.=) a.attrelid"
		" AND d.adnum OPERATOR(pg_catalog.=) a.attnum"
		" WHERE a.attrelid OPERATOR(pg_catalog.=) $1 AND a.attname OPERATOR(pg_catalog.=) $3"
		" AND NOT EXISTS (SELECT FROM pg_catalog.pg_attribute b"
		" JOIN pg_catalog.pg_attrdef e ON e.adrelid OPERATOR(pg_catalog.=) b.attrelid"
		" AND e.adnum OPERATOR(pg_catalog.=) b.attnum"
		" WHERE b.attrelid OPERATOR(pg_catalog.=) $1 AND b.attname OPERATOR(pg_catalog.=) $2"
		" AND pg_catalog.pg_get_expr(e.adbin, e.adrelid) OPERATOR(pg_catalog.=)"
		" pg_catalog.pg_get_expr(d.adbin, d.adrelid))";
	List	   *result = zdm_column_dependents(relid, twin, migration);
	ListCell   *lc,
			   *line;

	foreach(lc, zdm_table_and_partitions(relid))
	{
		ZdmArg		args[] = {
			ZDM_ARG(OIDOID, ObjectIdGetDatum(lfirst_oid(lc))),
			zdm_arg_name(column),
			zdm_arg_name(twin),
		};

		foreach(line, zdm_query_strings(acl_sql, lengthof(args), args))
			result = zdm_add_line(result, lfirst(line));
		foreach(line, zdm_query_strings(default_sql, lengthof(args), args))
			result = zdm_add_line(result, lfirst(line));
	}
	return result;
}
