/*-------------------------------------------------------------------------
 *
 * twin_limits.c
 *	  What a twin column cannot take over from its column.
 *
 * A promotion must lose nothing, so whatever depends on a column is either of
 * a kind that it carries over, or is told, before anything is done; and what
 * has come since then, before the column goes.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/relation.h"
#include "access/table.h"
#include "catalog/pg_class.h"
#include "catalog/pg_constraint.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

#include "catalog/step.h"
#include "schema/depend.h"
#include "schema/relation.h"
#include "schema/twin.h"
#include "schema/twin_default.h"
#include "schema/twin_follow.h"
#include "schema/twin_index.h"
#include "schema/twin_index_limits.h"
#include "schema/twin_key.h"
#include "schema/twin_limits.h"
#include "schema/twin_promote.h"
#include "schema/user_view.h"
#include "schema/view_trial.h"
#include "util/compat.h"
#include "util/ident.h"
#include "util/spi.h"

static List *other_dependents(ZdmPair *pair, bool recreate_views, List *result);
static List *partition_limits(Relation rel, List *pairs, List *result);
static List *constraint_limits(Relation rel, List *pairs, const ZdmType *type,
							   List *result);
static List *policy_limits(List *pairs, const ZdmType *type, List *result);
static List *other_limits(List *pairs, List *result);

/*
 * Whether something uses the column, in whatever partition, that keeps the
 * server from changing its type; but_views: something other than views and rules.
 */
bool
zdm_column_is_used(Oid relid, const char *column, bool but_views)
{
	return zdm_query_strings("SELECT '' FROM pg_catalog.pg_depend d JOIN pg_catalog.pg_attribute a"
							 " ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid"
							 " WHERE d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass"
							 " AND d.refobjid = ANY ($1) AND a.attname = $2 AND d.classid NOT IN"
							 " ('pg_catalog.pg_class'::pg_catalog.regclass, 'pg_catalog.pg_constraint'::pg_catalog.regclass,"
							 " 'pg_catalog.pg_attrdef'::pg_catalog.regclass, 'pg_catalog.pg_statistic_ext'::pg_catalog.regclass)"
							 " AND NOT (d.classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass AND $3) LIMIT 1",
							 ZDM_ARGS(zdm_arg_oids(zdm_table_and_partitions(relid)), zdm_arg_name(column),
									  ZDM_ARG(BOOLOID, BoolGetDatum(but_views)))) != NIL;
}

/*
 * The column and all that refer to it by foreign keys, directly or through
 * others (ZdmPair *), but for those that are of the type already.
 */
List *
zdm_columns_with_referencing(Oid relid, const char *column, const ZdmType *type)
{
	static const char *const sql =
		"SELECT DISTINCT c.conrelid::pg_catalog.oid || E'\\x01' || k.attname"
		" FROM pg_catalog.pg_constraint c"
		" CROSS JOIN LATERAL ROWS FROM (pg_catalog.unnest(c.conkey), pg_catalog.unnest(c.confkey)) u(att, ref)"
		" JOIN pg_catalog.pg_attribute r ON r.attrelid = c.confrelid AND r.attnum = u.ref"
		" JOIN pg_catalog.pg_attribute k ON k.attrelid = c.conrelid AND k.attnum = u.att"
		" WHERE c.contype = 'f' AND c.conparentid = 0 AND c.confrelid = $1 AND r.attname = $2 ORDER BY 1";
	List	   *result = list_make1(zdm_pair(relid, column, zdm_twin_name(column)));

	for (int i = 0; i < list_length(result); i++)
	{
		ZdmPair    *pair = list_nth(result, i);
		ListCell   *lc,
				   *other;

		foreach(lc, zdm_query_strings(sql, ZDM_ARGS(ZDM_ARG(OIDOID, ObjectIdGetDatum(pair->relation)),
													zdm_arg_name(pair->from))))
		{
			char	   *name = strchr(lfirst(lc), '\x01');
			Oid			table = (Oid) strtoul(lfirst(lc), NULL, 10);
			Relation	rel = table_open(table, AccessShareLock);
			bool		wanted;

			wanted = !zdm_type_is(rel, ++name, type);
			table_close(rel, AccessShareLock);
			foreach(other, result)
			{
				ZdmPair    *known = lfirst(other);

				if (known->relation == table && strcmp(known->from, name) == 0)
					wanted = false;
			}
			if (wanted)
				result = lappend(result, zdm_pair(table, name, zdm_twin_name(name)));
		}
	}
	return result;
}

/*
 * The tables (oids) on either side of the columns' foreign keys.
 */
List *
zdm_foreign_key_tables(List *pairs)
{
	static const char *const sql =
		"SELECT DISTINCT s.rel::pg_catalog.oid::pg_catalog.text FROM pg_catalog.pg_constraint c,"
		" LATERAL (VALUES (c.conrelid), (c.confrelid)) s(rel)"
		" WHERE c.contype = 'f' AND c.conparentid = 0 AND EXISTS (SELECT FROM " ZDM_PAIRS_SQL
		" JOIN pg_catalog.pg_attribute a ON a.attrelid = p.rel AND a.attname = p.col"
		" WHERE (c.conrelid = p.rel AND a.attnum = ANY (c.conkey))"
		" OR (c.confrelid = p.rel AND a.attnum = ANY (c.confkey)))";

	return zdm_oids(zdm_query_strings(sql, ZDM_ARGS(ZDM_PAIRS(pairs))));
}

/*
 * Lines (char *) about what cannot be carried over to twins of that type.
 */
List *
zdm_promote_limits(List *pairs, const ZdmType *type, const char *views)
{
	List	   *result = NIL;
	ListCell   *lc,
			   *part;

	foreach(lc, pairs)
	{
		ZdmPair    *pair = lfirst(lc);
		Relation	rel = table_open(pair->relation, AccessShareLock);

		result = other_dependents(pair, views != NULL, result);
		result = zdm_twin_index_limits(rel, pairs, pair, type, result);
		foreach(part, zdm_table_and_partitions(pair->relation))
		{
			char	   *limit = zdm_twin_default_limit(lfirst_oid(part), pair, type);

			if (limit != NULL)
				result = zdm_add_line(result, limit);
		}
		table_close(rel, AccessShareLock);
	}
	foreach(lc, zdm_pair_tables(pairs))
	{
		Relation	rel = table_open(lfirst_oid(lc), AccessShareLock);

		result = constraint_limits(rel, pairs, type, result);
		table_close(rel, AccessShareLock);
	}
	result = policy_limits(pairs, type, result);
	if (views != NULL)
		result = zdm_user_view_limits(pairs, type, true, views, result);
	return zdm_key_operator_limits(pairs, type, other_limits(pairs, result));
}

/*
 * Objects of kinds that a promotion does not carry over.
 */
static List *
other_dependents(ZdmPair *pair, bool recreate_views, List *result)
{
	static const char *const depend_sql =
		"SELECT DISTINCT CASE WHEN d.classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass AND r.rulename = '_RETURN'"
		" THEN pg_catalog.pg_describe_object('pg_catalog.pg_class'::pg_catalog.regclass, r.ev_class, 0) || ' uses the column'"
		" WHEN d.classid = 'pg_catalog.pg_publication_rel'::pg_catalog.regclass"
		" THEN pg_catalog.pg_describe_object(d.classid, d.objid, d.objsubid) || ': the publication is not yours'"
		" WHEN e.oid IS NOT NULL"
		" THEN pg_catalog.pg_describe_object(d.classid, d.objid, d.objsubid) || ': you cannot make it again for its owner'"
		" WHEN t.tgrelid = a.attrelid"
		" THEN pg_catalog.pg_describe_object(d.classid, d.objid, d.objsubid) || ': you cannot make it again, as you may not call its function'"
		" ELSE pg_catalog.pg_describe_object(d.classid, d.objid, d.objsubid) || ' uses the column' END"
		" FROM pg_catalog.pg_depend d"
		" JOIN pg_catalog.pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid"
		" LEFT JOIN pg_catalog.pg_rewrite r ON d.classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass AND r.oid = d.objid"
		" LEFT JOIN pg_catalog.pg_constraint c ON d.classid = 'pg_catalog.pg_constraint'::pg_catalog.regclass AND c.oid = d.objid"
		" LEFT JOIN pg_catalog.pg_class o ON d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND o.oid = d.objid"
		" LEFT JOIN pg_catalog.pg_attrdef f ON d.classid = 'pg_catalog.pg_attrdef'::pg_catalog.regclass AND f.oid = d.objid"
		" LEFT JOIN pg_catalog.pg_policy y ON d.classid = 'pg_catalog.pg_policy'::pg_catalog.regclass AND y.oid = d.objid"
		" LEFT JOIN pg_catalog.pg_trigger t ON d.classid = 'pg_catalog.pg_trigger'::pg_catalog.regclass AND t.oid = d.objid"
		" LEFT JOIN pg_catalog.pg_proc tf ON tf.oid = t.tgfoid"
		" LEFT JOIN pg_catalog.pg_publication_rel l ON d.classid = 'pg_catalog.pg_publication_rel'::pg_catalog.regclass AND l.oid = d.objid"
		" LEFT JOIN pg_catalog.pg_publication b ON b.oid = l.prpubid"
		" LEFT JOIN pg_catalog.pg_statistic_ext e ON d.classid = 'pg_catalog.pg_statistic_ext'::pg_catalog.regclass AND e.oid = d.objid"
		" WHERE d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.refobjid = $1 AND a.attname = $2"
		" AND NOT coalesce(o.relkind IN ('i', 'I', 'S'), false)"
		" AND NOT coalesce(f.adrelid = a.attrelid AND f.adnum = a.attnum, false)"
		" AND NOT coalesce(c.contype IN ('c', 'f', 'n', 'p', 'u', 'x'), false)"
		" AND NOT coalesce(y.polrelid = a.attrelid, false)"
		" AND NOT coalesce(t.tgrelid = a.attrelid AND (t.tgparentid <> 0 OR (pg_catalog.has_function_privilege(t.tgfoid, 'EXECUTE')"
		" AND pg_catalog.has_schema_privilege(tf.pronamespace, 'USAGE'))), false)"
		" AND NOT coalesce(pg_catalog.pg_has_role(b.pubowner, 'USAGE'), false)"
		" AND NOT coalesce(pg_catalog.pg_has_role(e.stxowner, 'USAGE') AND pg_catalog.has_schema_privilege(e.stxnamespace, 'CREATE')"
		" AND (pg_catalog.has_schema_privilege(e.stxowner, e.stxnamespace, 'CREATE')"
		" OR (SELECT u.rolsuper FROM pg_catalog.pg_roles u WHERE u.rolname = CURRENT_USER)), false)"
		" AND NOT (d.classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass AND $3)"
		" ORDER BY 1";
	static const char *const row_type_sql =
		"SELECT pg_catalog.format('column %s of table %s has rows of the table in it', x.attname, x.attrelid::pg_catalog.regclass)"
		" FROM pg_catalog.pg_class c JOIN pg_catalog.pg_type t ON t.oid = c.reltype"
		" JOIN pg_catalog.pg_attribute x ON x.atttypid IN (t.oid, t.typarray) AND NOT x.attisdropped"
		" JOIN pg_catalog.pg_class r ON r.oid = x.attrelid AND r.relkind IN ('r', 'p', 'm')"
		" WHERE c.oid = $1 ORDER BY 1";
	static const char *const label_sql =
		"SELECT pg_catalog.format('column %s has a security label of %s', a.attname, s.provider)"
		" FROM pg_catalog.pg_seclabel s JOIN pg_catalog.pg_attribute a ON a.attrelid = s.objoid AND a.attnum = s.objsubid"
		" WHERE s.classoid = 'pg_catalog.pg_class'::pg_catalog.regclass AND a.attrelid = $1 AND a.attname = $2";
	ListCell   *lc,
			   *line;

	foreach(lc, zdm_table_and_partitions(pair->relation))
	{
		ZdmArg		args[] = {
			ZDM_ARG(OIDOID, ObjectIdGetDatum(lfirst_oid(lc))),
			zdm_arg_name(pair->from),
			ZDM_ARG(BOOLOID, BoolGetDatum(recreate_views)),
		};

		foreach(line, zdm_query_strings(depend_sql, 3, args))
			result = zdm_add_line(result, lfirst(line));
		foreach(line, zdm_query_strings(label_sql, 2, args))
			result = zdm_add_line(result, lfirst(line));
		foreach(line, zdm_query_strings(row_type_sql, 1, args))
			result = zdm_add_line(result, lfirst(line));
	}
	return result;
}

static List *
constraint_limits(Relation rel, List *pairs, const ZdmType *type, List *result)
{
	static const char *const sql =
		"SELECT DISTINCT c.oid::pg_catalog.int8 || '' FROM pg_catalog.pg_constraint c"
		" JOIN pg_catalog.pg_attribute a ON a.attrelid = c.conrelid AND a.attnum = ANY (c.conkey)"
		" JOIN " ZDM_PAIRS_SQL " ON p.rel = c.conrelid AND p.col = a.attname"
		" WHERE c.conrelid = $4 AND c.contype = 'c'";
	ListCell   *lc;

	foreach(lc, zdm_query_strings(sql, ZDM_ARGS(ZDM_PAIRS(pairs),
												ZDM_ARG(OIDOID, ObjectIdGetDatum(RelationGetRelid(rel))))))
	{
		Oid			constraint = (Oid) strtoul(lfirst(lc), NULL, 10);
		char	   *reason;

		if (!zdm_twin_fits_type(rel, pairs, type, zdm_constraint_tree(constraint), &reason))
			result = zdm_add_line(result, psprintf("constraint %s of table %s: %s", get_constraint_name(constraint),
												   RelationGetRelationName(rel), reason));
	}
	return partition_limits(rel, pairs, result);
}

/*
 * Constraints of a partition alone.
 */
static List *
partition_limits(Relation rel, List *pairs, List *result)
{
	static const char *const sql =
		"SELECT pg_catalog.format('constraint %s of partition %s is not its parent''s', c.conname, i.inhrelid::pg_catalog.regclass)"
		" FROM pg_catalog.pg_partition_tree($4) t JOIN pg_catalog.pg_inherits i ON i.inhrelid = t.relid"
		" JOIN pg_catalog.pg_constraint c ON c.conrelid = i.inhrelid AND c.conislocal AND c.contype IN ('c', 'f', 'p', 'u', 'x')"
		" AND c.conparentid = 0 AND c.coninhcount = 0 AND c.conname !~ '^~zdm_[0-9]+_'"
		" JOIN pg_catalog.pg_attribute a ON a.attrelid = c.conrelid AND a.attnum = ANY (c.conkey)"
		" JOIN " ZDM_PAIRS_SQL " ON p.rel = $4 AND p.col = a.attname";
	ListCell   *lc;

	foreach(lc, zdm_query_strings(sql, ZDM_ARGS(ZDM_PAIRS(pairs), ZDM_ARG(OIDOID, ObjectIdGetDatum(RelationGetRelid(rel))))))
		result = zdm_add_line(result, lfirst(lc));
	return result;
}

/*
 * Policies that would make no sense.
 */
static List *
policy_limits(List *pairs, const ZdmType *type, List *result)
{
	static const char *const sql =
		"SELECT DISTINCT pg_catalog.concat(y.polname, E'\\x01', e.expr)"
		" FROM pg_catalog.pg_policy y CROSS JOIN LATERAL (VALUES (pg_catalog.pg_get_expr(y.polqual, y.polrelid)),"
		" (pg_catalog.pg_get_expr(y.polwithcheck, y.polrelid))) e(expr)"
		" JOIN pg_catalog.pg_depend d ON d.classid = 'pg_catalog.pg_policy'::pg_catalog.regclass AND d.objid = y.oid"
		" AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.refobjid = y.polrelid"
		" JOIN pg_catalog.pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid"
		" JOIN " ZDM_PAIRS_SQL " ON p.rel = a.attrelid AND p.col = a.attname"
		" WHERE y.polrelid = $4 AND e.expr IS NOT NULL ORDER BY 1";
	List	   *relations = NIL;
	ListCell   *lc,
			   *table;

	foreach(table, zdm_pair_tables(pairs))
		relations = list_concat(relations, zdm_table_and_partitions(lfirst_oid(table)));
	foreach(table, relations)
	{
		List	   *own = zdm_pairs_of_part(pairs, lfirst_oid(table));
		List	   *all = get_rel_relispartition(lfirst_oid(table)) ? list_concat_copy(own, pairs) : pairs;

		foreach(lc, zdm_query_strings(sql, ZDM_ARGS(ZDM_PAIRS(own), ZDM_ARG(OIDOID, ObjectIdGetDatum(lfirst_oid(table))))))
		{
			char	   *expr = strchr(lfirst(lc), '\x01');
			char	   *reason;

			*expr++ = '\0';
			reason = zdm_expression_trial(all, type, lfirst_oid(table), expr);
			if (reason != NULL)
				result = zdm_add_line(result, psprintf("policy %s of table %s: %s", (char *) lfirst(lc),
													   get_rel_name(lfirst_oid(table)), reason));
		}
	}
	return result;
}

/*
 * Constraints that have no twin: those that are not enforced, which only newer
 * servers have, and those that another type change has a twin for.
 */
static List *
other_limits(List *pairs, List *result)
{
	static const char *const sql =
		"SELECT pg_catalog.format('constraint %s of table %s: is not enforced, and its twin would be', c.conname, c.conrelid::pg_catalog.regclass)"
		" FROM pg_catalog.pg_constraint c"
		" WHERE c.contype IN ('c', 'f') AND c.conparentid = 0 AND pg_catalog.pg_get_constraintdef(c.oid) LIKE '%NOT ENFORCED'"
		" AND EXISTS (SELECT FROM " ZDM_PAIRS_SQL " JOIN pg_catalog.pg_attribute a"
		" ON a.attrelid = p.rel AND a.attname = p.col"
		" WHERE (c.conrelid = p.rel AND a.attnum = ANY (c.conkey))"
		" OR (c.confrelid = p.rel AND a.attnum = ANY (c.confkey))) ORDER BY 1";
	static const char *const shared_sql =
		"SELECT DISTINCT pg_catalog.format('constraint %s of table %s: has column %s, which is in migration \"%s\" (contract that first)',"
		" c.conname, c.conrelid::pg_catalog.regclass, $6, $5)"
		" FROM pg_catalog.pg_constraint c JOIN " ZDM_PAIRS_SQL " ON true"
		" JOIN pg_catalog.pg_attribute a ON a.attrelid = p.rel AND a.attname = p.col"
		" JOIN pg_catalog.pg_attribute b ON b.attrelid = $4 AND b.attname = $6"
		" WHERE c.contype IN ('c', 'f') AND c.conparentid = 0 AND c.conname !~ '^~zdm_[0-9]+_'"
		" AND ((c.conrelid = p.rel AND a.attnum = ANY (c.conkey)) OR (c.confrelid = p.rel AND a.attnum = ANY (c.confkey)))"
		" AND ((c.conrelid = $4 AND b.attnum = ANY (c.conkey)) OR (c.confrelid = $4 AND b.attnum = ANY (c.confkey))) ORDER BY 1";
	ListCell   *lc,
			   *line;

	foreach(lc, zdm_query_strings(sql, ZDM_ARGS(ZDM_PAIRS(pairs))))
		result = zdm_add_line(result, lfirst(lc));
	foreach(lc, zdm_retyped_columns(list_concat_unique_oid(zdm_pair_tables(pairs), zdm_foreign_key_tables(pairs))))
	{
		ZdmRetyped *other = lfirst(lc);

		foreach(line, zdm_query_strings(shared_sql,
										ZDM_ARGS(ZDM_PAIRS(pairs), ZDM_ARG(OIDOID, ObjectIdGetDatum(other->relation)),
												 zdm_arg_text(other->migration), zdm_arg_text(other->column))))
			result = zdm_add_line(result, lfirst(line));
	}
	return result;
}

/*
 * What would be lost if the twins took the columns' places now: what came
 * since expand.
 */
List *
zdm_promote_losses(int64 migration, List *pairs, const char *views)
{
	List	   *result = NIL;
	Relation	rel;
	ZdmType		type;
	ListCell   *lc;

	foreach(lc, pairs)
		result = other_dependents(lfirst(lc), views != NULL, result);
	rel = table_open(((ZdmPair *) linitial(pairs))->relation, AccessShareLock);
	zdm_type_of(RelationGetRelid(rel), ((ZdmPair *) linitial(pairs))->to, &type);
	table_close(rel, AccessShareLock);
	result = policy_limits(pairs, &type, result);
	if (views != NULL)
		result = zdm_user_view_limits(pairs, &type, true, views, result);
	foreach(lc, pairs)
	{
		ZdmPair    *pair = lfirst(lc);
		ListCell   *item;

		foreach(item, zdm_twin_index_work(migration, pair->relation, pair->from, pair->to))
		{
			ZdmIndexWork *work = lfirst(item);

			/* A key of a partitioned table is none before all are attached. */
			if (work->kind != ZDM_INDEX_ATTACH || zdm_index_is_unique(work->source))
				result = zdm_add_line(result, psprintf("index %s, which the second column lacks",
													   get_rel_name(work->source)));
		}
		result = zdm_promote_misplaced(migration, pair, result);
	}
	foreach(lc, zdm_pair_tables(pairs))
	{
		rel = table_open(lfirst_oid(lc), AccessShareLock);
		result = zdm_twin_demand_losses(migration, rel, pairs, partition_limits(rel, pairs, result));
		table_close(rel, AccessShareLock);
	}
	foreach(lc, zdm_twin_constraint_steps(migration, pairs, true))
		result = zdm_add_line(result, psprintf("still to be done, by zdm.start: %s", ((ZdmStep *) lfirst(lc))->description));
	foreach(lc, zdm_twin_orphans(migration, pairs))
		result = zdm_add_line(result, lfirst(lc));
	return result;
}

/*
 * What others have attached to the second columns.
 */
List *
zdm_twin_strangers(int64 migration, List *pairs)
{
	List	   *result = NIL;
	ListCell   *lc,
			   *line;

	foreach(lc, pairs)
	{
		ZdmPair    *pair = lfirst(lc);

		foreach(line, zdm_column_dependents(pair->relation, pair->to, migration))
			result = zdm_add_line(result, lfirst(line));
	}
	return result;
}
