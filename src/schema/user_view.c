/*-------------------------------------------------------------------------
 *
 * user_view.c
 *	  Views and rules of users that are over a column whose type changes.
 *
 * A view knows its columns' numbers and types, and so must be made anew when
 * a column is replaced, and with it every view over it.  All of them go before
 * the columns change names, and come back after, by the text that the server
 * gave for them before: it names the column, and so means the one that has the
 * name by then.  Owner, privileges, options, defaults, comments, triggers and
 * rules come back as they were.  It is one transaction, under locks on the
 * views as well: nobody sees a moment without them.
 *
 * Each statement is run as the owner of what it makes, security restricted:
 * a view gets no other rights than it had, and whoever contracts needs none in
 * the views' schemas.
 *
 * The text is in terms of the types of its time: what was 1 beside an int is
 * (1)::numeric beside a numeric, and stays so when the column is an int again.  So
 * for the time of a quarantine the texts that were are kept, each with what has
 * become of it.  Where that is what is there at a rollback, the first one comes
 * back; what somebody has changed meanwhile comes back as he left it.
 *
 * One thing the text says by place and not by name: FROM t AS x (a, b).  The
 * column is the last of its table afterwards, so that is refused.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_class.h"
#include "catalog/pg_rewrite.h"
#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

#include "catalog/step.h"
#include "schema/catalog_change.h"
#include "schema/depend.h"
#include "schema/relation.h"
#include "schema/user_view.h"
#include "schema/view_trial.h"
#include "util/ident.h"
#include "util/spi.h"

/* The views of $4, and the rules of $5. */
#define VIEWS " pg_catalog.unnest($4) WITH ORDINALITY v(oid, place)"
#define RULES " pg_catalog.unnest($5) u(oid) JOIN pg_catalog.pg_rewrite r ON r.oid = u.oid"

/* What depends, by a row d of pg_depend, on one of the columns $1, $2. */
#define USES_OF_COLUMNS \
	ZDM_PAIRS_SQL " JOIN pg_catalog.pg_attribute a ON a.attrelid = p.rel AND a.attname = p.col" \
	" JOIN pg_catalog.pg_depend d ON d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass" \
	" AND d.refobjid = a.attrelid AND d.refobjsubid = a.attnum"

/* And on a relation c, or the type of its rows. */
#define USES_OF_RELATION \
	" CROSS JOIN LATERAL (VALUES ('pg_catalog.pg_class'::pg_catalog.regclass, c.oid)," \
	" ('pg_catalog.pg_type'::pg_catalog.regclass, c.reltype)," \
	" ('pg_catalog.pg_type'::pg_catalog.regclass, (SELECT y.typarray FROM pg_catalog.pg_type y WHERE y.oid = c.reltype)))" \
	" f(classid, objid) JOIN pg_catalog.pg_depend d ON d.refclassid = f.classid AND d.refobjid = f.objid"

/* That is a rule r. */
#define BY_RULE \
	" JOIN pg_catalog.pg_rewrite r ON d.classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass AND r.oid = d.objid"

/* What stands between the parts of a row; it is in no name. */
#define BETWEEN '\x01'

static List *with_partitions(List *pairs);
static List *rows(const char *sql, List *pairs, List *views, List *rules,
				  const char *kept);
static List *steps_of(List *rows, Oid relid, const char *description);
static List *acl_steps(List *rows, Oid relid);
static char *kept_texts(ZdmStep *step);
static List *places_limits(List *pairs, List *views, List *rules, List *result);

/*
 * The columns of the partitions, too: each may be under a view of its own.
 */
static List *
with_partitions(List *pairs)
{
	List	   *result = NIL;
	ListCell   *lc,
			   *part;

	foreach(lc, pairs)
	{
		ZdmPair    *pair = lfirst(lc);

		foreach(part, zdm_table_and_partitions(pair->relation))
			result = lappend(result, zdm_pair(lfirst_oid(part), pair->from, pair->to));
	}
	return result;
}

static List *
rows(const char *sql, List *pairs, List *views, List *rules, const char *kept)
{
	return zdm_query_strings(sql, ZDM_ARGS(ZDM_PAIRS(with_partitions(pairs)),
										   zdm_arg_oids(views), zdm_arg_oids(rules),
										   zdm_arg_text(kept)));
}

/*
 * The views (oids) over the columns, directly or through others, materialized
 * ones among them: each after those that it is over.
 */
List *
zdm_user_views(List *pairs)
{
	static const char *const sql =
		"WITH RECURSIVE w(oid, depth) AS ("
		" SELECT r.ev_class, 1 FROM " USES_OF_COLUMNS BY_RULE " WHERE r.rulename = '_RETURN'"
		" UNION SELECT r.ev_class, w.depth + 1 FROM w JOIN pg_catalog.pg_class c ON c.oid = w.oid" USES_OF_RELATION BY_RULE
		" WHERE r.rulename = '_RETURN' AND r.ev_class <> w.oid)"
		" SELECT w.oid::pg_catalog.text FROM w JOIN pg_catalog.pg_class c ON c.oid = w.oid"
		" GROUP BY w.oid, c.relname ORDER BY pg_catalog.max(w.depth), c.relname COLLATE \"C\", w.oid";

	return zdm_oids(rows(sql, pairs, NIL, NIL, NULL));
}

/*
 * The rules (oids), other than those that make them views, that are on one of
 * the views, or use one or the columns.
 */
List *
zdm_user_rules(List *pairs, List *views)
{
	static const char *const sql =
		"SELECT r.oid::pg_catalog.text FROM pg_catalog.pg_rewrite r WHERE r.oid IN ("
		" SELECT r.oid FROM" VIEWS " JOIN pg_catalog.pg_rewrite r ON r.ev_class = v.oid"
		" UNION ALL SELECT r.oid FROM " USES_OF_COLUMNS BY_RULE
		" UNION ALL SELECT r.oid FROM" VIEWS " JOIN pg_catalog.pg_class c ON c.oid = v.oid" USES_OF_RELATION BY_RULE
		") AND r.rulename <> '_RETURN' ORDER BY r.ev_class, r.rulename COLLATE \"C\"";

	return zdm_oids(rows(sql, pairs, views, NIL, NULL));
}

/*
 * What has to be locked besides the tables, in the order in which statements
 * lock it: a view before those that it is over.
 */
List *
zdm_user_view_relations(List *pairs)
{
	List	   *views = zdm_user_views(pairs);
	List	   *result = NIL;
	ListCell   *lc;

	foreach(lc, views)
		result = lcons_oid(lfirst_oid(lc), result);
	foreach(lc, zdm_oids(rows("SELECT DISTINCT r.ev_class::pg_catalog.oid::pg_catalog.text FROM" RULES
							  " WHERE r.ev_class <> ALL ($1) AND r.ev_class <> ALL ($4)",
							  pairs, views, zdm_user_rules(pairs, views), NULL)))
		result = lappend_oid(result, lfirst_oid(lc));
	return result;
}

/*
 * For people: the views and rules, or NULL where there are none.
 */
char *
zdm_user_views_text(List *pairs)
{
	List	   *views = zdm_user_views(pairs);
	List	   *texts;

	texts = rows("SELECT s.text FROM (SELECT 1, v.place, pg_catalog.pg_describe_object('pg_catalog.pg_class'::pg_catalog.regclass, v.oid, 0)"
				 " FROM" VIEWS
				 " UNION ALL SELECT 2, 0, pg_catalog.pg_describe_object('pg_catalog.pg_rewrite'::pg_catalog.regclass, r.oid, 0)"
				 " FROM" RULES " WHERE r.ev_class <> ALL ($4)) s(kind, place, text)"
				 " ORDER BY s.kind, s.place, s.text COLLATE \"C\"",
				 pairs, views, zdm_user_rules(pairs, views), NULL);
	return texts ? zdm_join(texts, ", ") : NULL;
}

/*
 * Add lines about what cannot be made again: what hangs on the views besides
 * views and rules, and definitions that make no sense over the type.  moved: the
 * columns will have another place in their tables.
 */
List *
zdm_user_view_limits(List *pairs, const ZdmType *type, bool moved,
					 const char *kept, List *result)
{
	List	   *views = zdm_user_views(pairs);
	List	   *rules = zdm_user_rules(pairs, views);
	List	   *before = result;

	if (views == NIL && rules == NIL)
		return result;
	result = places_limits(pairs, views, rules, list_copy(result));
	/* A view that is refused need not be tried. */
	if (list_length(result) > list_length(before))
		return result;
	return zdm_view_trial(with_partitions(pairs), type, moved, views, rules, kept, result);
}

static List *
places_limits(List *pairs, List *views, List *rules, List *result)
{
#define DESCRIBED "pg_catalog.pg_describe_object('pg_catalog.pg_class'::pg_catalog.regclass, c.oid, 0)"
#define OF_VIEWS " FROM" VIEWS " JOIN pg_catalog.pg_class c ON c.oid = v.oid"
	static const char *const views_sql =
		"SELECT " DESCRIBED " || ' would have to be filled anew while the table is locked'" OF_VIEWS
		" WHERE c.relkind = 'm'"
		" UNION ALL SELECT " DESCRIBED " || ' is temporary'" OF_VIEWS " WHERE c.relpersistence = 't'"
		" UNION ALL SELECT " DESCRIBED " || pg_catalog.format(' belongs to role %I', pg_catalog.pg_get_userbyid(c.relowner))" OF_VIEWS
		" WHERE NOT pg_catalog.pg_has_role(c.relowner, 'USAGE')"
		" UNION ALL SELECT " DESCRIBED " || pg_catalog.format(': its owner %I may create nothing in schema %I',"
		" pg_catalog.pg_get_userbyid(c.relowner), c.relnamespace::pg_catalog.regnamespace::pg_catalog.text)" OF_VIEWS
		" WHERE c.relkind = 'v' AND NOT pg_catalog.has_schema_privilege(c.relowner, c.relnamespace, 'CREATE')"
		" UNION ALL SELECT " DESCRIBED " || pg_catalog.format(' uses column %I, which is zdm''s', p.twin)" OF_VIEWS
		" JOIN pg_catalog.pg_rewrite r ON r.ev_class = c.oid"
		" JOIN pg_catalog.pg_depend d ON d.classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass AND d.objid = r.oid"
		" AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass"
		" JOIN pg_catalog.pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid"
		" JOIN " ZDM_PAIRS_SQL " ON p.rel = a.attrelid AND p.twin = a.attname"
		" UNION ALL SELECT " DESCRIBED " || pg_catalog.format(' is part of extension %s', e.extname)" OF_VIEWS
		" JOIN pg_catalog.pg_depend d ON d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.objid = c.oid"
		" JOIN pg_catalog.pg_extension e ON d.refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass AND d.refobjid = e.oid"
		" UNION ALL SELECT " DESCRIBED " || pg_catalog.format(' has a security label of %s', l.provider)" OF_VIEWS
		" JOIN pg_catalog.pg_seclabel l ON l.classoid = 'pg_catalog.pg_class'::pg_catalog.regclass AND l.objoid = c.oid"
		" UNION ALL SELECT pg_catalog.pg_describe_object(d.classid, d.objid, d.objsubid) || ' uses ' || " DESCRIBED OF_VIEWS
		USES_OF_RELATION
		" LEFT JOIN pg_catalog.pg_trigger t ON d.classid = 'pg_catalog.pg_trigger'::pg_catalog.regclass AND t.oid = d.objid"
		" LEFT JOIN pg_catalog.pg_attrdef x ON d.classid = 'pg_catalog.pg_attrdef'::pg_catalog.regclass AND x.oid = d.objid"
		" WHERE d.deptype <> 'i' AND d.classid <> 'pg_catalog.pg_rewrite'::pg_catalog.regclass"
		" AND NOT (d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.objid = ANY ($4))"
		" AND t.tgrelid IS DISTINCT FROM c.oid AND x.adrelid IS DISTINCT FROM c.oid"
		" UNION ALL SELECT pg_catalog.pg_describe_object('pg_catalog.pg_trigger'::pg_catalog.regclass, t.oid, 0) || ' depends on an extension'" OF_VIEWS
		" JOIN pg_catalog.pg_trigger t ON t.tgrelid = c.oid"
		" JOIN pg_catalog.pg_depend d ON d.classid = 'pg_catalog.pg_trigger'::pg_catalog.regclass AND d.objid = t.oid"
		" AND d.refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass"
		" UNION ALL SELECT pg_catalog.pg_describe_object('pg_catalog.pg_rewrite'::pg_catalog.regclass, r.oid, 0)"
		" || pg_catalog.format(' belongs to role %I', pg_catalog.pg_get_userbyid(c.relowner)) FROM" RULES
		" JOIN pg_catalog.pg_class c ON c.oid = r.ev_class"
		" WHERE r.ev_class <> ALL ($4) AND NOT pg_catalog.pg_has_role(c.relowner, 'USAGE')";
	ListCell   *lc;

	foreach(lc, rows(views_sql, pairs, views, rules, NULL))
		result = zdm_add_line(result, lfirst(lc));
	return result;
}

/*
 * Rows of an owner's oid and what he is to run.
 */
static List *
steps_of(List *rows, Oid relid, const char *description)
{
	List	   *result = NIL;
	ListCell   *lc;

	foreach(lc, rows)
	{
		char	   *sql = strchr(lfirst(lc), BETWEEN);
		ZdmStep    *step = zdm_step_on(relid, ZDM_STEP_DDL, AccessExclusiveLock, description, sql + 1);

		step->role = (Oid) strtoul(lfirst(lc), NULL, 10);
		result = lappend(result, step);
	}
	return result;
}

#define AS_OWNER(owner, sql) "SELECT pg_catalog.concat(" owner ", E'\\x01', " sql ")"

/*
 * The steps that drop them.
 */
List *
zdm_user_view_drop_steps(List *pairs)
{
	static const char *const rules_sql =
		AS_OWNER("c.relowner::pg_catalog.oid", "pg_catalog.format('DROP RULE %I ON %s', r.rulename, r.ev_class::pg_catalog.regclass)")
		" FROM" RULES " JOIN pg_catalog.pg_class c ON c.oid = r.ev_class"
		" ORDER BY r.ev_class, r.rulename COLLATE \"C\"";
	static const char *const views_sql =
		AS_OWNER("c.relowner::pg_catalog.oid", "pg_catalog.format('DROP VIEW %s', c.oid::pg_catalog.regclass)")
		" FROM" VIEWS " JOIN pg_catalog.pg_class c ON c.oid = v.oid"
		" ORDER BY v.place DESC";
	Oid			relid = ((ZdmPair *) linitial(pairs))->relation;
	List	   *views = zdm_user_views(pairs);
	List	   *rules = zdm_user_rules(pairs, views);

	return list_concat(steps_of(rows(rules_sql, pairs, views, rules, NULL), relid, "drop a rule that names the column"),
					   steps_of(rows(views_sql, pairs, views, rules, NULL), relid, "drop a view over the column"));
}

/*
 * The steps that make them again: to be asked for while they are there.  kept:
 * what zdm_user_view_keep_step() has kept, or ZDM_NO_KEPT_VIEWS.
 */
List *
zdm_user_view_create_steps(List *pairs, const char *kept)
{
	static const char *const view_sql =
		AS_OWNER("c.relowner::pg_catalog.oid",
				 "pg_catalog.format('CREATE VIEW %s%s%s AS %s', c.oid::pg_catalog.regclass,"
				 " (SELECT ' (' || pg_catalog.string_agg(pg_catalog.quote_ident(a.attname), ', ' ORDER BY a.attnum) || ')'"
				 " FROM pg_catalog.pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0),"
				 " (SELECT ' WITH (' || pg_catalog.string_agg(pg_catalog.format('%I = %L', pg_catalog.split_part(o.option, '=', 1),"
				 " pg_catalog.substr(o.option, pg_catalog.strpos(o.option, '=') + 1)), ', ' ORDER BY o.place) || ')'"
				 " FROM pg_catalog.unnest(c.reloptions) WITH ORDINALITY o(option, place)),"
				 " pg_catalog.ltrim(pg_catalog.rtrim(" ZDM_KEPT_TEXT("$6") ", ';')))")
		" FROM pg_catalog.pg_class c JOIN pg_catalog.pg_rewrite r ON r.ev_class = c.oid AND r.rulename = '_RETURN'"
		" WHERE c.oid = ANY ($4)";
	static const char *const default_sql =
		AS_OWNER("c.relowner::pg_catalog.oid",
				 "pg_catalog.format('ALTER VIEW %s ALTER COLUMN %I SET DEFAULT %s', c.oid::pg_catalog.regclass, x.attname, x.expr)")
		" FROM (SELECT a.attrelid, a.attnum, a.attname, pg_catalog.pg_get_expr(f.adbin, f.adrelid) AS expr"
		" FROM pg_catalog.pg_attrdef f JOIN pg_catalog.pg_attribute a ON a.attrelid = f.adrelid AND a.attnum = f.adnum) x"
		" JOIN pg_catalog.pg_class c ON c.oid = x.attrelid WHERE c.oid = ANY ($4)"
		" ORDER BY x.attnum";

	/* What the schema gives to every new view, too, is not to stay. */
	static const char *const acl_sql =
		"SELECT pg_catalog.concat(n.nspname, E'\\x01', c.relname, E'\\x01', x.col, E'\\x01', x.acl)"
		" FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace,"
		" LATERAL (SELECT 0, '', c.relacl::pg_catalog.text WHERE c.relacl IS NOT NULL"
		" OR EXISTS (SELECT FROM pg_catalog.pg_default_acl d WHERE d.defaclrole = c.relowner AND d.defaclobjtype = 'r')"
		" UNION ALL SELECT a.attnum, a.attname::pg_catalog.text, a.attacl::pg_catalog.text FROM pg_catalog.pg_attribute a"
		" WHERE a.attrelid = c.oid AND a.attacl IS NOT NULL) x(num, col, acl)"
		" WHERE c.oid = ANY ($4)"
		" ORDER BY x.num";
	static const char *const comment_sql =
		AS_OWNER("c.relowner::pg_catalog.oid",
				 "CASE WHEN a.attname IS NULL THEN pg_catalog.format('COMMENT ON VIEW %s IS %L', c.oid::pg_catalog.regclass, d.description)"
				 " ELSE pg_catalog.format('COMMENT ON COLUMN %s.%I IS %L', c.oid::pg_catalog.regclass, a.attname, d.description) END")
		" FROM pg_catalog.pg_class c JOIN pg_catalog.pg_description d ON d.classoid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.objoid = c.oid"
		" LEFT JOIN pg_catalog.pg_attribute a ON a.attrelid = d.objoid AND a.attnum = d.objsubid AND d.objsubid > 0"
		" WHERE c.oid = ANY ($4)"
		" ORDER BY d.objsubid";
	static const char *const trigger_sql =
		AS_OWNER("c.relowner::pg_catalog.oid", "x.sql")
		" FROM pg_catalog.pg_class c JOIN pg_catalog.pg_trigger t ON t.tgrelid = c.oid AND NOT t.tgisinternal,"
		" LATERAL (VALUES (1, pg_catalog.pg_get_triggerdef(t.oid)),"
		" (2, CASE WHEN pg_catalog.obj_description(t.oid, 'pg_trigger') IS NOT NULL"
		" THEN pg_catalog.format('COMMENT ON TRIGGER %I ON %s IS %L', t.tgname, c.oid::pg_catalog.regclass,"
		" pg_catalog.obj_description(t.oid, 'pg_trigger')) END)) x(place, sql)"
		" WHERE c.oid = ANY ($4) AND x.sql IS NOT NULL"
		" ORDER BY t.tgname COLLATE \"C\", x.place";
	static const char *const rule_sql =
		AS_OWNER("c.relowner::pg_catalog.oid", "x.sql")
		" FROM" RULES " JOIN pg_catalog.pg_class c ON c.oid = r.ev_class,"
		" LATERAL (VALUES (1, pg_catalog.rtrim(" ZDM_KEPT_TEXT("$6") ", ';')),"
		" (2, CASE WHEN r.ev_enabled <> 'O' THEN pg_catalog.format('ALTER TABLE %s %s RULE %I', c.oid::pg_catalog.regclass,"
		" CASE r.ev_enabled WHEN 'D' THEN 'DISABLE' WHEN 'A' THEN 'ENABLE ALWAYS' ELSE 'ENABLE REPLICA' END, r.rulename) END),"
		" (3, CASE WHEN pg_catalog.obj_description(r.oid, 'pg_rewrite') IS NOT NULL"
		" THEN pg_catalog.format('COMMENT ON RULE %I ON %s IS %L', r.rulename, c.oid::pg_catalog.regclass,"
		" pg_catalog.obj_description(r.oid, 'pg_rewrite')) END)) x(place, sql)"
		" WHERE x.sql IS NOT NULL"
		" ORDER BY r.ev_class, r.rulename COLLATE \"C\", x.place";
	Oid			relid = ((ZdmPair *) linitial(pairs))->relation;
	List	   *views = zdm_user_views(pairs);
	List	   *steps = NIL;
	ListCell   *lc;

	foreach(lc, views)
	{
		List	   *view = list_make1_oid(lfirst_oid(lc));

		steps = list_concat(steps, steps_of(rows(view_sql, pairs, view, NIL, kept), relid, "create the view again"));
		steps = list_concat(steps, steps_of(rows(default_sql, pairs, view, NIL, NULL), relid, "give the view its defaults"));
		steps = list_concat(steps, acl_steps(rows(acl_sql, pairs, view, NIL, NULL), relid));
		steps = list_concat(steps, steps_of(rows(comment_sql, pairs, view, NIL, NULL), relid, "give the view its comments"));
		steps = list_concat(steps, steps_of(rows(trigger_sql, pairs, view, NIL, NULL), relid, "give the view its triggers"));
	}
	/* A rule may use any of the views. */
	return list_concat(steps, steps_of(rows(rule_sql, pairs, NIL, zdm_user_rules(pairs, views), kept), relid,
									   "create the rule again"));
}

static List *
acl_steps(List *rows, Oid relid)
{
	List	   *result = NIL;
	ListCell   *lc;

	foreach(lc, rows)
	{
		char	   *parts[4];
		ZdmPlace	place;

		parts[0] = lfirst(lc);
		for (int i = 1; i < (int) lengthof(parts); i++)
		{
			parts[i] = strchr(parts[i - 1], BETWEEN);
			*parts[i]++ = '\0';
		}
		place.schema = parts[0];
		place.name = parts[1];
		result = lappend(result, zdm_acl_step(relid, place,
											  parts[2][0] ? parts[2] : NULL,
											  parts[3][0] ? parts[3] : NULL));
	}
	return result;
}

/*
 * The step that keeps the texts, as they are now, once they have been made
 * again.
 */
ZdmStep *
zdm_user_view_keep_step(List *pairs)
{
	static const char *const sql =
		"SELECT coalesce(pg_catalog.jsonb_agg(pg_catalog.jsonb_build_object("
		"'relation', r.ev_class::pg_catalog.regclass::pg_catalog.text, 'rule', r.rulename, 'before', " ZDM_RULE_TEXT ")), '[]')::pg_catalog.text"
		" FROM pg_catalog.pg_rewrite r WHERE r.oid = ANY ($5) OR (r.ev_class = ANY ($4) AND r.rulename = '_RETURN')";
	List	   *views = zdm_user_views(pairs);
	ZdmStep    *step = zdm_step(ZDM_STEP_KEEP, NoLock, "keep what the views were", NULL);

	step->from = pstrdup(ZDM_KEPT_VIEWS);
	step->to = linitial(rows(sql, pairs, views, zdm_user_rules(pairs, views), NULL));
	step->value = kept_texts;
	return step;
}

static char *
kept_texts(ZdmStep *step)
{
	static const char *const sql =
		"SELECT coalesce(pg_catalog.jsonb_agg(pg_catalog.jsonb_build_object("
		"'relation', k.relation, 'rule', k.rule, 'before', k.before, 'after', " ZDM_RULE_TEXT ")), '[]')::pg_catalog.text"
		" FROM pg_catalog.jsonb_to_recordset($1::pg_catalog.jsonb) k(relation pg_catalog.text, rule pg_catalog.text, before pg_catalog.text)"
		" JOIN pg_catalog.pg_rewrite r ON r.ev_class = pg_catalog.to_regclass(k.relation) AND r.rulename = k.rule";

	return linitial(zdm_query_strings(sql, ZDM_ARGS(zdm_arg_text(step->to))));
}
