/*-------------------------------------------------------------------------
 *
 * clone_added.c
 *	  What has been made of a table since it has a clone, and not of that.
 *
 * DDL on the source in flight goes with it when it goes: an index, a
 * constraint, a policy, a default.  So what the source was like at expand is
 * recorded, and compared with what it is like before it goes.  What has come
 * since must be on the clone, too; what has gone must not be there any more.
 * What was another on the clone from the beginning, as the caller wanted it,
 * is no difference that matters.
 *
 * Each trait is the statement that gives it to the clone: the list is what is
 * to be run.  The record is compared, and never run.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/rel.h"

#include "catalog/step.h"
#include "schema/clone.h"
#include "util/compat.h"
#include "util/ident.h"
#include "util/spi.h"

static List *traits_of(Oid relid, const ZdmClone *clone);

/*
 * What the source is like, before it has its clone: for zdm_clone_added.
 */
char *
zdm_clone_record(Relation source, const ZdmClone *clone)
{
	ZdmClone	alike = *clone;

	/* Its own storage parameters are not what the source is compared with. */
	alike.options = NIL;
	return linitial(zdm_query_strings("SELECT pg_catalog.to_jsonb($1)::pg_catalog.text",
									  ZDM_ARGS(zdm_arg_texts(traits_of(RelationGetRelid(source), &alike)))));
}

/*
 * What (char *) is to be done on the clone before the source goes.
 */
List *
zdm_clone_added(Oid source, Oid made, const char *record)
{
	ZdmClone   *clone = zdm_clone_existing(source, made);
	List	   *before = zdm_query_strings("SELECT pg_catalog.jsonb_array_elements_text($1::pg_catalog.jsonb)",
										   ZDM_ARGS(zdm_arg_text(record)));
	List	   *now = traits_of(source, clone);
	List	   *there = traits_of(made, clone);
	List	   *result = NIL;
	ListCell   *lc;

	foreach(lc, now)
	{
		if (!zdm_is_among(before, lfirst(lc)) && !zdm_is_among(there, lfirst(lc)))
			result = lappend(result, psprintf("to be done: %s", (char *) lfirst(lc)));
	}
	foreach(lc, before)
	{
		if (!zdm_is_among(now, lfirst(lc)) && zdm_is_among(there, lfirst(lc)))
			result = lappend(result, psprintf("to be undone: %s", (char *) lfirst(lc)));
	}
	return result;
}

/*
 * The statements (char *) that would make the clone what the table is, which
 * may be the clone itself.
 */
static List *
traits_of(Oid relid, const ZdmClone *clone)
{
	static const char *const owner_sql =
		"SELECT pg_catalog.format('ALTER TABLE %s OWNER TO %I', $2, pg_catalog.pg_get_userbyid(relowner))"
		" FROM pg_catalog.pg_class WHERE oid OPERATOR(pg_catalog.=) $1";

	/* What draws for an identity column stands for it. */
	static const char *const columns_sql =
		"SELECT pg_catalog.format('ALTER TABLE %s ALTER COLUMN %I %s', $2, a.attname, s.what)"
		" FROM pg_catalog.pg_attribute a LEFT JOIN pg_catalog.pg_attrdef d"
		" ON d.adrelid OPERATOR(pg_catalog.=) a.attrelid AND d.adnum OPERATOR(pg_catalog.=) a.attnum"
		" CROSS JOIN LATERAL (VALUES (CASE WHEN a.attnotnull THEN 'SET NOT NULL' END),"
		" (CASE WHEN a.attgenerated OPERATOR(pg_catalog.=) ''"
		" THEN 'SET DEFAULT ' OPERATOR(pg_catalog.||) pg_catalog.pg_get_expr(d.adbin, d.adrelid)"
		" ELSE pg_catalog.format('SET EXPRESSION AS (%s)', pg_catalog.pg_get_expr(d.adbin, d.adrelid)) END),"
		" ('SET STORAGE ' OPERATOR(pg_catalog.||) CASE a.attstorage WHEN 'p' THEN 'PLAIN' WHEN 'm' THEN 'MAIN'"
		" WHEN 'e' THEN 'EXTERNAL' ELSE 'EXTENDED' END),"
		" ('SET COMPRESSION ' OPERATOR(pg_catalog.||) CASE a.attcompression WHEN 'p' THEN 'pglz' WHEN 'l' THEN 'lz4' END)) s(what)"
		" WHERE a.attrelid OPERATOR(pg_catalog.=) $1 AND a.attnum OPERATOR(pg_catalog.>) 0 AND NOT a.attisdropped"
		" AND s.what IS NOT NULL AND NOT pg_catalog.starts_with(s.what, 'SET DEFAULT zdm._next_identity(')"
		" ORDER BY a.attnum, s.what";
	static const char *const comments_sql =
		"SELECT pg_catalog.format('COMMENT ON COLUMN %s.%I IS %L', $2, a.attname, d.description)"
		" FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_description d"
		" ON d.classoid OPERATOR(pg_catalog.=) 'pg_catalog.pg_class'::pg_catalog.regclass"
		" AND d.objoid OPERATOR(pg_catalog.=) a.attrelid AND d.objsubid OPERATOR(pg_catalog.=) a.attnum"
		" WHERE a.attrelid OPERATOR(pg_catalog.=) $1 AND a.attnum OPERATOR(pg_catalog.>) 0 ORDER BY a.attnum";
	static const char *const checks_sql =
		"SELECT s.text FROM pg_catalog.pg_constraint k LEFT JOIN pg_catalog.pg_description d"
		" ON d.classoid OPERATOR(pg_catalog.=) 'pg_catalog.pg_constraint'::pg_catalog.regclass"
		" AND d.objoid OPERATOR(pg_catalog.=) k.oid CROSS JOIN LATERAL (VALUES"
		" (pg_catalog.format('ALTER TABLE %s ADD CONSTRAINT %I %s', $2, k.conname, pg_catalog.pg_get_constraintdef(k.oid))),"
		" (CASE WHEN d.description IS NOT NULL"
		" THEN pg_catalog.format('COMMENT ON CONSTRAINT %I ON %s IS %L', k.conname, $2, d.description) END)) s(text)"
		" WHERE k.conrelid OPERATOR(pg_catalog.=) $1 AND k.contype OPERATOR(pg_catalog.=) 'c' AND s.text IS NOT NULL"
		" ORDER BY k.conname COLLATE \"C\", s.text";
	static const char *const statistics_sql =
		"SELECT pg_catalog.format('CREATE STATISTICS %sON %s FROM %s',"
		" (SELECT pg_catalog.format('(%s) ', pg_catalog.string_agg(CASE k WHEN 'd' THEN 'ndistinct'"
		" WHEN 'f' THEN 'dependencies' ELSE 'mcv' END, ', ' ORDER BY k))"
		" FROM pg_catalog.unnest(s.stxkind) k WHERE k OPERATOR(pg_catalog.<>) 'e' HAVING pg_catalog.count(*) OPERATOR(pg_catalog.>) 0),"
		" pg_catalog.pg_get_statisticsobjdef_columns(s.oid), $2) AS text"
		" FROM pg_catalog.pg_statistic_ext s WHERE s.stxrelid OPERATOR(pg_catalog.=) $1"
		" AND NOT pg_catalog.starts_with(s.stxname::pg_catalog.text, '~zdm_') ORDER BY text";
	Relation	rel = table_open(relid, AccessShareLock);
	ZdmIdentity saved;
	List	   *steps;
	List	   *texts;

	zdm_pin_path(&saved);
	zdm_pin_style();
	steps = zdm_clone_steps("", owner_sql, rel, clone);
	steps = list_concat(steps, zdm_clone_steps("", columns_sql, rel, clone));
	steps = list_concat(steps, zdm_clone_steps("", comments_sql, rel, clone));
	steps = list_concat(steps, zdm_clone_steps("", checks_sql, rel, clone));
	steps = list_concat(steps, zdm_clone_steps("", statistics_sql, rel, clone));
	steps = list_concat(steps, zdm_clone_foreign_key_steps(rel, clone));
	steps = list_concat(steps, zdm_clone_trigger_steps(rel, clone));
	steps = list_concat(steps, zdm_clone_adorn_steps(rel, clone));
	if (!clone->partitioned)
		steps = list_concat(steps, zdm_clone_option_steps(rel, clone));
	texts = list_concat(zdm_step_texts(steps), zdm_clone_index_texts(rel, clone));
	if (OidIsValid(clone->made))
		texts = lappend(texts, zdm_clone_replica_identity(relid, clone->made));
	if (OidIsValid(clone->made) && !clone->partitioned)
		texts = lappend(texts, zdm_clone_cluster_mark(relid, clone->made));
	zdm_unbecome(&saved);
	table_close(rel, AccessShareLock);
	return texts;
}
