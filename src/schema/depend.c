/*-------------------------------------------------------------------------
 *
 * depend.c
 *	  What else in the database hangs on a column.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/dependency.h"
#include "catalog/index.h"
#include "catalog/indexing.h"
#include "catalog/objectaddress.h"
#include "catalog/partition.h"
#include "catalog/pg_attrdef.h"
#include "catalog/pg_class.h"
#include "catalog/pg_constraint.h"
#include "catalog/pg_depend.h"
#include "catalog/pg_publication.h"
#include "catalog/pg_rewrite.h"
#include "catalog/pg_type.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"

#include "schema/depend.h"
#include "schema/relation.h"
#include "schema/twin_index.h"
#include "util/compat.h"
#include "util/ident.h"
#include "util/spi.h"

static List *trigger_functions_mentioning(Oid relid, const char *column);
static List *dependents_of(Oid relid, AttrNumber attnum, int64 migration,
						   List *found);
static bool is_twin_constraint(Oid constraint, int64 migration);
static Oid	rule_relation(Oid ruleid);

/*
 * Descriptions (char *) of what depends on a column of the table or of its
 * partitions, but for the column's own default and NOT NULL: views, indexes, constraints,
 * functions, policies, statistics, publications, triggers ...  Indexes that
 * the migration made for a twin are none.
 */
List *
zdm_column_dependents(Oid relid, const char *column, int64 migration)
{
	List	   *result = NIL;
	ListCell   *lc;

	foreach(lc, zdm_table_and_partitions(relid))
	{
		AttrNumber	attnum = get_attnum(lfirst_oid(lc), column);

		if (attnum > 0)
			result = dependents_of(lfirst_oid(lc), attnum, migration, result);
	}
	return result;
}

/*
 * Descriptions of what depends on a table, or the type of its rows, and is no
 * part of it: views, foreign keys of other tables, functions ...
 */
List *
zdm_table_dependents(Oid relid)
{
	List	   *lines;
	List	   *result = NIL;
	ListCell   *lc;

	lines = zdm_query_strings("SELECT DISTINCT CASE WHEN r.ev_class IS NULL"
							  " THEN pg_catalog.pg_describe_object(d.classid, d.objid, d.objsubid)"
							  " ELSE pg_catalog.pg_describe_object('pg_catalog.pg_class'::pg_catalog.regclass, r.ev_class, 0) END"
							  " FROM pg_catalog.pg_depend d"
							  " LEFT JOIN pg_catalog.pg_rewrite r ON d.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_rewrite'::pg_catalog.regclass"
							  " AND r.oid OPERATOR(pg_catalog.=) d.objid"
							  " LEFT JOIN pg_catalog.pg_constraint c ON d.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_constraint'::pg_catalog.regclass"
							  " AND c.oid OPERATOR(pg_catalog.=) d.objid"
							  " WHERE ((d.refclassid OPERATOR(pg_catalog.=) 'pg_catalog.pg_class'::pg_catalog.regclass"
							  " AND d.refobjid OPERATOR(pg_catalog.=) $1)"
							  " OR (d.refclassid OPERATOR(pg_catalog.=) 'pg_catalog.pg_type'::pg_catalog.regclass"
							  " AND d.refobjid IN (SELECT y.oid FROM pg_catalog.pg_type y WHERE y.typrelid OPERATOR(pg_catalog.=) $1"
							  " UNION ALL SELECT y.typarray FROM pg_catalog.pg_type y WHERE y.typrelid OPERATOR(pg_catalog.=) $1)))"
							  " AND d.deptype OPERATOR(pg_catalog.=) 'n'"
							  " AND r.ev_class IS DISTINCT FROM $1 AND c.conrelid IS DISTINCT FROM $1"
							  " AND NOT (d.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_trigger'::pg_catalog.regclass"
							  " AND EXISTS (SELECT FROM pg_catalog.pg_trigger t WHERE t.oid OPERATOR(pg_catalog.=) d.objid AND t.tgrelid OPERATOR(pg_catalog.=) $1))"
							  " AND NOT (d.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_policy'::pg_catalog.regclass"
							  " AND EXISTS (SELECT FROM pg_catalog.pg_policy p WHERE p.oid OPERATOR(pg_catalog.=) d.objid AND p.polrelid OPERATOR(pg_catalog.=) $1))"
							  " AND NOT (d.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_attrdef'::pg_catalog.regclass"
							  " AND EXISTS (SELECT FROM pg_catalog.pg_attrdef f WHERE f.oid OPERATOR(pg_catalog.=) d.objid AND f.adrelid OPERATOR(pg_catalog.=) $1))",
							  ZDM_ARGS(ZDM_ARG(OIDOID, ObjectIdGetDatum(relid))));
	foreach(lc, lines)
		result = zdm_add_line(result, lfirst(lc));
	return result;
}

/*
 * Add a line to a list of them, in its place, once.
 */
List *
zdm_add_line(List *lines, char *line)
{
	ListCell   *lc;

	foreach(lc, lines)
	{
		int			order = strcmp(line, lfirst(lc));

		if (order == 0)
			return lines;
		if (order < 0)
			return list_insert_nth(lines, foreach_current_index(lc), line);
	}
	return lappend(lines, line);
}

static List *
dependents_of(Oid relid, AttrNumber attnum, int64 migration, List *found)
{
	Relation	depend = table_open(DependRelationId, AccessShareLock);
	ScanKeyData keys[3];
	SysScanDesc scan;
	HeapTuple	tuple;

	ScanKeyInit(&keys[0], Anum_pg_depend_refclassid, BTEqualStrategyNumber,
				F_OIDEQ, ObjectIdGetDatum(RelationRelationId));
	ScanKeyInit(&keys[1], Anum_pg_depend_refobjid, BTEqualStrategyNumber,
				F_OIDEQ, ObjectIdGetDatum(relid));
	ScanKeyInit(&keys[2], Anum_pg_depend_refobjsubid, BTEqualStrategyNumber,
				F_INT4EQ, Int32GetDatum(attnum));
	scan = systable_beginscan(depend, DependReferenceIndexId, true, NULL, 3, keys);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Form_pg_depend form = (Form_pg_depend) GETSTRUCT(tuple);
		ObjectAddress object = {
			.classId = form->classid,
			.objectId = form->objid,
			.objectSubId = form->objsubid,
		};

		/* A default stands for its column: this one's own, or a generated. */
		if (object.classId == AttrDefaultRelationId)
			object = GetAttrDefaultColumnAddress(object.objectId);
		if (object.classId == RelationRelationId && object.objectId == relid &&
			object.objectSubId == attnum)
			continue;
		if (object.classId == ConstraintRelationId &&
			zdm_constraint_is_not_null(object.objectId))
			continue;
		if (object.classId == RelationRelationId &&
			zdm_is_twin_index(object.objectId, migration))
			continue;
		/* A partition's index goes with that of the whole, and not alone. */
		if (object.classId == RelationRelationId && OidIsValid(IndexGetRelation(object.objectId, true)) &&
			get_rel_relispartition(object.objectId))
			object.objectId = llast_oid(get_partition_ancestors(object.objectId));
		if (object.classId == ConstraintRelationId && is_twin_constraint(object.objectId, migration))
			continue;
		found = zdm_add_line(found, zdm_describe_dependent(object));
	}
	systable_endscan(scan);
	table_close(depend, AccessShareLock);
	return found;
}

/*
 * Whether the migration made the constraint for a twin, or has set it aside.
 * Those of partitions have their names from the server.
 */
static bool
is_twin_constraint(Oid constraint, int64 migration)
{
	while (OidIsValid(constraint))
	{
		HeapTuple	tuple = SearchSysCache1(CONSTROID, ObjectIdGetDatum(constraint));
		FormData_pg_constraint form;

		if (!HeapTupleIsValid(tuple))
			return false;
		memcpy(&form, GETSTRUCT(tuple), sizeof(form));
		ReleaseSysCache(tuple);
		if (zdm_is_twin_name(NameStr(form.conname), migration))
			return true;
		constraint = form.conparentid;
	}
	return false;
}

/*
 * A view is named as what it is, not by its rule; a generated column not by
 * its expression.
 */
char *
zdm_describe_dependent(ObjectAddress object)
{
	if (object.classId == AttrDefaultRelationId)
		object = GetAttrDefaultColumnAddress(object.objectId);
	if (object.classId == RewriteRelationId)
	{
		Oid			view = rule_relation(object.objectId);

		if (OidIsValid(view) && get_rel_relkind(view) != RELKIND_RELATION)
			ObjectAddressSet(object, RelationRelationId, view);
	}
	return getObjectDescription(&object, false);
}

static Oid
rule_relation(Oid ruleid)
{
	Relation	rewrite = table_open(RewriteRelationId, AccessShareLock);
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;
	Oid			result = InvalidOid;

	ScanKeyInit(&key, Anum_pg_rewrite_oid, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(ruleid));
	scan = systable_beginscan(rewrite, RewriteOidIndexId, true, NULL, 1, &key);
	tuple = systable_getnext(scan);
	if (HeapTupleIsValid(tuple))
		result = ((Form_pg_rewrite) GETSTRUCT(tuple))->ev_class;
	systable_endscan(scan);
	table_close(rewrite, AccessShareLock);
	return result;
}

/*
 * Functions whose source text has the name of the table, and of the column
 * where there is one, as words in whatever case: no dependency is known for
 * such bodies.
 */
List *
zdm_functions_mentioning(Oid relid, const char *column)
{
	static const char *const sql =
		"SELECT p.oid::pg_catalog.regprocedure FROM pg_catalog.pg_proc p"
		" JOIN pg_catalog.pg_language l ON l.oid OPERATOR(pg_catalog.=) p.prolang"
		" JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) p.pronamespace"
		" WHERE l.lanname NOT IN ('c', 'internal') AND p.prosqlbody IS NULL AND p.proname OPERATOR(pg_catalog.<>) '~zdm_row'"
		" AND n.nspname NOT IN ('pg_catalog', 'information_schema')"
		" AND pg_catalog.strpos(pg_catalog.lower(p.prosrc), pg_catalog.lower($1)) OPERATOR(pg_catalog.>) 0"
		" AND pg_catalog.strpos(pg_catalog.lower(p.prosrc), pg_catalog.lower($2)) OPERATOR(pg_catalog.>) 0"
		" AND pg_catalog.lower($1) OPERATOR(pg_catalog.=) ANY (pg_catalog.regexp_split_to_array(pg_catalog.lower(p.prosrc), '[^[:alnum:]_$]+'))"
		" AND pg_catalog.lower($2) OPERATOR(pg_catalog.=) ANY (pg_catalog.regexp_split_to_array(pg_catalog.lower(p.prosrc), '[^[:alnum:]_$]+'))"
		" ORDER BY 1";

	return zdm_query_strings(sql, ZDM_ARGS(zdm_arg_text(get_rel_name(relid)),
										   zdm_arg_text(column ? column : get_rel_name(relid))));
}

/*
 * Functions that seem to use the column, in a trigger of the table or else.
 */
List *
zdm_functions_using(Oid relid, const char *column)
{
	List	   *result = zdm_functions_mentioning(relid, column);
	ListCell   *lc;

	foreach(lc, trigger_functions_mentioning(relid, column))
		result = zdm_add_line(result, lfirst(lc));
	return result;
}

/*
 * Functions in PL/pgSQL that seem to return the column by RETURN QUERY, under
 * a declared type, which has to be the same.
 */
List *
zdm_functions_returning(Oid relid, const char *column)
{
	static const char *const sql =
		"SELECT p.oid::pg_catalog.regprocedure FROM pg_catalog.pg_proc p"
		" JOIN pg_catalog.pg_language l ON l.oid OPERATOR(pg_catalog.=) p.prolang"
		" WHERE p.oid OPERATOR(pg_catalog.=) $1::pg_catalog.regprocedure AND l.lanname OPERATOR(pg_catalog.=) 'plpgsql'"
		" AND p.prosrc OPERATOR(pg_catalog.~*) '\\mreturn\\s+query\\M'"
		" AND $2 OPERATOR(pg_catalog.=) ANY (p.prorettype OPERATOR(pg_catalog.||) p.proallargtypes)";
	Oid			type = get_atttype(relid, get_attnum(relid, column));
	List	   *result = NIL;
	ListCell   *lc;

	foreach(lc, zdm_functions_mentioning(relid, column))
		result = list_concat(result,
							 zdm_query_strings(sql, ZDM_ARGS(zdm_arg_text(lfirst(lc)), ZDM_ARG(OIDOID, ObjectIdGetDatum(type)))));
	return result;
}

/*
 * Functions of the table's triggers with NEW.* or OLD.*, but to compare them.
 */
List *
zdm_functions_with_stars(Oid relid)
{
	static const char *const sql =
		"SELECT DISTINCT p.oid::pg_catalog.regprocedure FROM pg_catalog.pg_trigger t"
		" JOIN pg_catalog.pg_proc p ON p.oid OPERATOR(pg_catalog.=) t.tgfoid"
		" JOIN pg_catalog.pg_language l ON l.oid OPERATOR(pg_catalog.=) p.prolang"
		" WHERE t.tgrelid OPERATOR(pg_catalog.=) $1 AND NOT t.tgisinternal"
		" AND l.lanname NOT IN ('c', 'internal')"
		" AND pg_catalog.regexp_replace(p.prosrc,"
		" '(new|old)\\s*\\.\\s*\\*[\\s)]*\\mis\\s+(not\\s+)?distinct\\s+from\\M[\\s(]*(row[\\s(]*)?(new|old)\\s*\\.\\s*\\*', '', 'gi')"
		" OPERATOR(pg_catalog.~*) '\\m(new|old)\\s*\\.\\s*\\*' ORDER BY 1";
	List	   *result = NIL;
	ListCell   *lc,
			   *line;

	foreach(lc, zdm_table_and_partitions(relid))
	{
		foreach(line, zdm_query_strings(sql, ZDM_ARGS(ZDM_ARG(OIDOID, ObjectIdGetDatum(lfirst_oid(lc))))))
			result = zdm_add_line(result, lfirst(line));
	}
	return result;
}

/*
 * For a list of what is in the way.
 */
List *
zdm_mention_lines(List *functions)
{
	List	   *result = NIL;
	ListCell   *lc;

	foreach(lc, functions)
		result = lappend(result,
						 psprintf("function %s mentions the name (where it means something else: SET zdm.ignore_mentions = on)",
								  (char *) lfirst(lc)));
	return result;
}

/*
 * Whether the table is published, by whatever kind of publication.
 */
bool
zdm_is_published(Oid relid)
{
	return zdm_relation_publications(relid) != NIL ||
		GetSchemaPublications(get_rel_namespace(relid)) != NIL ||
		GetAllTablesPublications() != NIL;
}

/*
 * Functions that triggers on the table, or on its partitions, call, and whose
 * source text has the column's name as a word: NEW.column needs no table's
 * name.
 */
static List *
trigger_functions_mentioning(Oid relid, const char *column)
{
	static const char *const sql =
		"SELECT DISTINCT p.oid::pg_catalog.regprocedure FROM pg_catalog.pg_trigger t"
		" JOIN pg_catalog.pg_proc p ON p.oid OPERATOR(pg_catalog.=) t.tgfoid"
		" JOIN pg_catalog.pg_language l ON l.oid OPERATOR(pg_catalog.=) p.prolang"
		" WHERE t.tgrelid OPERATOR(pg_catalog.=) $1 AND NOT t.tgisinternal"
		" AND l.lanname NOT IN ('c', 'internal')"
		" AND pg_catalog.lower($2) OPERATOR(pg_catalog.=) ANY (pg_catalog.regexp_split_to_array(pg_catalog.lower(p.prosrc), '[^[:alnum:]_$]+'))"
		" ORDER BY 1";
	List	   *result = NIL;
	ListCell   *lc,
			   *line;

	foreach(lc, zdm_table_and_partitions(relid))
	{
		foreach(line, zdm_query_strings(sql, ZDM_ARGS(ZDM_ARG(OIDOID, ObjectIdGetDatum(lfirst_oid(lc))),
													  zdm_arg_text(column))))
			result = zdm_add_line(result, lfirst(line));
	}
	return result;
}
