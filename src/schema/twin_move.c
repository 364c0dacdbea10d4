/*-------------------------------------------------------------------------
 *
 * twin_move.c
 *	  What a column has one of, for the twin that takes its place.
 *
 * Each is made into a step before the columns change names, another after, or
 * both.  A policy is altered, by the column's number, before.  One with a
 * subquery, which may be over the same table, triggers, statistics and the tables
 * of publications are dropped before and made after, by the text that the server
 * gives for them, all in one transaction under the table's lock: nobody reads a
 * row in between.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/attmap.h"
#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/indexing.h"
#include "catalog/pg_class.h"
#include "catalog/pg_policy.h"
#include "catalog/pg_type.h"
#include "commands/comment.h"
#include "rewrite/rewriteManip.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/ruleutils.h"

#include "catalog/step.h"
#include "schema/catalog_change.h"
#include "schema/relation.h"
#include "schema/twin.h"
#include "schema/twin_constraint.h"
#include "schema/twin_default.h"
#include "schema/twin_move.h"
#include "util/ident.h"
#include "util/spi.h"

/* Whether an object depends on one of the pairs' columns; its table is $4. */
#define DEPENDS(class, object) \
	" EXISTS (SELECT FROM pg_catalog.pg_depend d" \
	" JOIN pg_catalog.pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid" \
	" JOIN " ZDM_PAIRS_SQL " ON p.rel = a.attrelid AND p.col = a.attname" \
	" WHERE d.classid = '" class "'::pg_catalog.regclass AND d.objid = " object \
	" AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.refobjid = $4)"

/*
 * Whether a policy y has a subquery, which may be over the table itself.
 */
#define HAS_SUBQUERY \
	"(pg_catalog.concat(y.polqual, y.polwithcheck) LIKE '%{SUBLINK %')"

typedef struct Move
{
	List	   *pairs;
	Oid			relid;
	List	   *before;
	List	   *after;
} Move;

static void move_triggers(Move *move);
static void move_publications(Move *move);
static void move_statistics(Move *move);
static void move_sequences(Move *move, ZdmPair *pair);
static void move_column_marks(Move *move, ZdmPair *pair);
static void move_policies(Move *move);
static char *policy_clause(Relation rel, List *pairs, HeapTuple policy,
						   Relation policies, AttrNumber which,
						   const char *clause);
static void add(List **steps, Oid relid, const char *description, List *texts);
static void add_for(Move *move, List **steps, const char *description,
					const char *sql);

/*
 * Collect the steps for the columns of one table and its partitions; with
 * keep, the columns stay.  A partition has objects of its own, but its parent's
 * triggers from that.
 */
void
zdm_move_collect(List *pairs, Oid relid, bool keep, List **before, List **after)
{
	Move		move = {.pairs = pairs,.relid = relid};
	ListCell   *lc,
			   *part;

	foreach(part, zdm_table_and_partitions(relid))
	{
		move.relid = lfirst_oid(part);
		move.pairs = zdm_pairs_of_part(pairs, move.relid);
		move_triggers(&move);
		move_publications(&move);
		move_statistics(&move);
		move_policies(&move);
	}
	foreach(lc, pairs)
	{
		ZdmPair    *pair = lfirst(lc);

		if (pair->relation != relid)
			continue;
		move_sequences(&move, pair);
		foreach(part, zdm_table_and_partitions(relid))
			move.before = list_concat(move.before,
									  zdm_twin_default_steps(lfirst_oid(part), pair, keep));
		move_column_marks(&move, pair);
	}
	*before = list_concat(*before, move.before);
	*after = list_concat(*after, move.after);
}

static void
move_triggers(Move *move)
{
	add_for(move, &move->before, "drop a trigger that names the column",
			"SELECT pg_catalog.format('DROP TRIGGER %I ON %s', t.tgname, t.tgrelid::pg_catalog.regclass)"
			" FROM pg_catalog.pg_trigger t WHERE t.tgrelid = $4 AND NOT t.tgisinternal AND t.tgparentid = 0"
			" AND" DEPENDS("pg_catalog.pg_trigger", "t.oid") " ORDER BY t.tgname");
	add_for(move, &move->after, "create the trigger again",
			"SELECT s.sql FROM pg_catalog.pg_trigger t, LATERAL (VALUES"
			" (1, pg_catalog.pg_get_triggerdef(t.oid)),"
			" (2, CASE WHEN t.tgenabled <> 'O' THEN pg_catalog.format('ALTER TABLE %s %s TRIGGER %I', t.tgrelid::pg_catalog.regclass,"
			" CASE t.tgenabled WHEN 'D' THEN 'DISABLE' WHEN 'A' THEN 'ENABLE ALWAYS' ELSE 'ENABLE REPLICA' END, t.tgname) END),"
			" (3, pg_catalog.format('COMMENT ON TRIGGER %I ON %s IS %L', t.tgname, t.tgrelid::pg_catalog.regclass,"
			" pg_catalog.obj_description(t.oid, 'pg_trigger')))) s(ord, sql)"
			" WHERE t.tgrelid = $4 AND NOT t.tgisinternal AND t.tgparentid = 0 AND s.sql IS NOT NULL"
			" AND (s.ord < 3 OR pg_catalog.obj_description(t.oid, 'pg_trigger') IS NOT NULL)"
			" AND" DEPENDS("pg_catalog.pg_trigger", "t.oid") " ORDER BY t.tgname, s.ord");
	add_for(move, &move->after, "let a partition's trigger fire as it did",
			"SELECT s.sql FROM pg_catalog.pg_trigger t JOIN pg_catalog.pg_trigger r ON r.tgname = t.tgname AND r.tgparentid = 0"
			" AND r.tgrelid <> t.tgrelid AND r.tgrelid IN (SELECT pg_catalog.pg_partition_ancestors(t.tgrelid)), LATERAL (VALUES"
			" (1, CASE WHEN t.tgenabled <> r.tgenabled THEN pg_catalog.format('ALTER TABLE ONLY %s %s TRIGGER %I', t.tgrelid::pg_catalog.regclass,"
			" CASE t.tgenabled WHEN 'O' THEN 'ENABLE' WHEN 'D' THEN 'DISABLE' WHEN 'A' THEN 'ENABLE ALWAYS' ELSE 'ENABLE REPLICA' END, t.tgname) END),"
			" (2, pg_catalog.format('COMMENT ON TRIGGER %I ON %s IS %L', t.tgname, t.tgrelid::pg_catalog.regclass,"
			" pg_catalog.obj_description(t.oid, 'pg_trigger')))) s(ord, sql)"
			" WHERE t.tgrelid = $4 AND NOT t.tgisinternal AND t.tgparentid <> 0 AND s.sql IS NOT NULL"
			" AND (s.ord < 2 OR pg_catalog.obj_description(t.oid, 'pg_trigger') IS NOT NULL)"
			" AND" DEPENDS("pg_catalog.pg_trigger", "t.oid") " ORDER BY t.tgname, s.ord");
}

static void
move_publications(Move *move)
{
	add_for(move, &move->before, "take the table out of a publication that names the column",
			"SELECT pg_catalog.format('ALTER PUBLICATION %I DROP TABLE %s', b.pubname, r.prrelid::pg_catalog.regclass)"
			" FROM pg_catalog.pg_publication_rel r JOIN pg_catalog.pg_publication b ON b.oid = r.prpubid"
			" WHERE r.prrelid = $4 AND" DEPENDS("pg_catalog.pg_publication_rel", "r.oid") " ORDER BY b.pubname");
	add_for(move, &move->after, "put the table into the publication again",
			"SELECT pg_catalog.format('ALTER PUBLICATION %I ADD TABLE %s%s%s', b.pubname, r.prrelid::pg_catalog.regclass,"
			" (SELECT ' (' || pg_catalog.string_agg(pg_catalog.quote_ident(x.attname), ', ' ORDER BY k.ord) || ')'"
			" FROM pg_catalog.unnest(r.prattrs::pg_catalog.int2[]) WITH ORDINALITY k(attnum, ord)"
			" JOIN pg_catalog.pg_attribute x ON x.attrelid = r.prrelid AND x.attnum = k.attnum),"
			" ' WHERE (' || pg_catalog.pg_get_expr(r.prqual, r.prrelid) || ')')"
			" FROM pg_catalog.pg_publication_rel r JOIN pg_catalog.pg_publication b ON b.oid = r.prpubid"
			" WHERE r.prrelid = $4 AND" DEPENDS("pg_catalog.pg_publication_rel", "r.oid") " ORDER BY b.pubname");
}

static void
move_statistics(Move *move)
{
	add_for(move, &move->before, "drop extended statistics over the column",
			"SELECT pg_catalog.format('DROP STATISTICS %I.%I', e.stxnamespace::pg_catalog.regnamespace::pg_catalog.text, e.stxname)"
			" FROM pg_catalog.pg_statistic_ext e WHERE e.stxrelid = $4"
			" AND" DEPENDS("pg_catalog.pg_statistic_ext", "e.oid") " ORDER BY e.stxname");
	add_for(move, &move->after, "create the extended statistics again",
			"SELECT s.sql FROM pg_catalog.pg_statistic_ext e, LATERAL (VALUES"
			" (1, pg_catalog.pg_get_statisticsobjdef(e.oid)),"
			" (2, CASE WHEN e.stxstattarget >= 0 THEN pg_catalog.format('ALTER STATISTICS %I.%I SET STATISTICS %s',"
			" e.stxnamespace::pg_catalog.regnamespace::pg_catalog.text, e.stxname, e.stxstattarget) END),"
			" (3, CASE WHEN pg_catalog.obj_description(e.oid, 'pg_statistic_ext') IS NOT NULL"
			" THEN pg_catalog.format('COMMENT ON STATISTICS %I.%I IS %L', e.stxnamespace::pg_catalog.regnamespace::pg_catalog.text,"
			" e.stxname, pg_catalog.obj_description(e.oid, 'pg_statistic_ext')) END),"
			" (4, CASE WHEN e.stxowner::pg_catalog.regrole <> CURRENT_USER::pg_catalog.regrole THEN pg_catalog.format('ALTER STATISTICS %I.%I OWNER TO %I',"
			" e.stxnamespace::pg_catalog.regnamespace::pg_catalog.text, e.stxname, pg_catalog.pg_get_userbyid(e.stxowner)) END)) s(ord, sql)"
			" WHERE e.stxrelid = $4 AND s.sql IS NOT NULL"
			" AND" DEPENDS("pg_catalog.pg_statistic_ext", "e.oid") " ORDER BY e.stxname, s.ord");
}

static void
add(List **steps, Oid relid, const char *description, List *texts)
{
	ListCell   *lc;

	foreach(lc, texts)
	{
		*steps = lappend(*steps, zdm_step_on(relid, ZDM_STEP_DDL, AccessExclusiveLock,
											 description, lfirst(lc)));
	}
}

static void
add_for(Move *move, List **steps, const char *description, const char *sql)
{
	add(steps, move->relid, description,
		zdm_query_strings(sql, ZDM_ARGS(ZDM_PAIRS(move->pairs),
										ZDM_ARG(OIDOID, ObjectIdGetDatum(move->relid)))));
}

/*
 * The column's sequence, whose numbers get the room of the new type, where
 * that is an integer.  On the way back it may have gone beyond the type that
 * was: then it is at its end, as it would be.
 */
static void
move_sequences(Move *move, ZdmPair *pair)
{
	static const char *const owned_sql =
		"SELECT pg_catalog.format('ALTER SEQUENCE %s OWNED BY %s.%I', d.objid::pg_catalog.regclass, $1::pg_catalog.regclass, $3)"
		" FROM pg_catalog.pg_depend d JOIN pg_catalog.pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid"
		" JOIN pg_catalog.pg_sequence q ON q.seqrelid = d.objid"
		" WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass"
		" AND d.refobjid = $1 AND a.attname = $2 AND d.deptype = 'a' ORDER BY 1";
	static const char *const type_sql =
		"SELECT pg_catalog.concat(pg_catalog.format('ALTER SEQUENCE %s AS %s', d.objid::pg_catalog.regclass, pg_catalog.format_type(t.atttypid, NULL)),"
		" CASE WHEN pg_catalog.pg_sequence_last_value(d.objid) > r.most THEN ' RESTART WITH ' || r.most"
		" WHEN pg_catalog.pg_sequence_last_value(d.objid) < r.least THEN ' RESTART WITH ' || r.least END)"
		" FROM pg_catalog.pg_depend d JOIN pg_catalog.pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid"
		" JOIN pg_catalog.pg_attribute t ON t.attrelid = d.refobjid AND t.attname = $3"
		" JOIN pg_catalog.pg_sequence q ON q.seqrelid = d.objid"
		" JOIN (VALUES ('pg_catalog.int2'::pg_catalog.regtype, -32768::pg_catalog.int8, 32767::pg_catalog.int8),"
		" ('pg_catalog.int4'::pg_catalog.regtype, -2147483648, 2147483647), ('pg_catalog.int8'::pg_catalog.regtype, NULL, NULL))"
		" r(type, least, most) ON r.type = t.atttypid"
		" WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass"
		" AND d.refobjid = $1 AND a.attname = $2 AND d.deptype IN ('a', 'i') AND q.seqtypid <> t.atttypid ORDER BY 1";
	static const char *const identity_sql =
		"SELECT a.attidentity::pg_catalog.text FROM pg_catalog.pg_attribute a"
		" WHERE a.attrelid = $1 AND a.attname = $2 AND a.attidentity <> ''";
	ZdmArg		args[] = {
		ZDM_ARG(OIDOID, ObjectIdGetDatum(pair->relation)),
		zdm_arg_name(pair->from),
		zdm_arg_name(pair->to),
	};

	add(&move->before, pair->relation, "give the sequence the new type",
		zdm_query_strings(type_sql, 3, args));
	add(&move->before, pair->relation, "let the second column own the sequence",
		zdm_query_strings(owned_sql, 3, args));
	if (zdm_query_strings(identity_sql, 2, args) != NIL)
		move->before = lappend(move->before,
							   zdm_identity_step(pair->relation, pair->from, pair->to));
}

/*
 * Comment, statistics target, options and privileges, under the name that the
 * twin has in the end.
 */
static void
move_column_marks(Move *move, ZdmPair *pair)
{
	static const char *const sql =
		"SELECT s.sql FROM pg_catalog.pg_attribute a, LATERAL (VALUES"
		" (1, CASE WHEN a.attstattarget >= 0 THEN pg_catalog.format('ALTER TABLE %s%s ALTER COLUMN %I SET STATISTICS %s',"
		" $3, a.attrelid::pg_catalog.regclass, a.attname, a.attstattarget) END),"
		" (2, pg_catalog.format('ALTER TABLE %s%s ALTER COLUMN %I SET (%s)', $3, a.attrelid::pg_catalog.regclass, a.attname,"
		" (SELECT pg_catalog.string_agg(o, ', ' ORDER BY o) FROM pg_catalog.unnest(a.attoptions) o WHERE o LIKE 'n\\_distinct%'))),"
		" (3, pg_catalog.format('COMMENT ON COLUMN %s.%I IS %L', a.attrelid::pg_catalog.regclass, a.attname,"
		" pg_catalog.col_description(a.attrelid, a.attnum)))) s(ord, sql)"
		" WHERE a.attrelid = $1 AND a.attname = $2 AND s.sql IS NOT NULL"
		" AND (s.ord <> 2 OR EXISTS (SELECT FROM pg_catalog.unnest(a.attoptions) o WHERE o LIKE 'n\\_distinct%'))"
		" AND (s.ord <> 3 OR pg_catalog.col_description(a.attrelid, a.attnum) IS NOT NULL) ORDER BY s.ord";
	ListCell   *lc;

	foreach(lc, zdm_table_and_partitions(pair->relation))
	{
		add(&move->after, lfirst_oid(lc), "give the column what the other one had",
			zdm_query_strings(sql, ZDM_ARGS(ZDM_ARG(OIDOID, ObjectIdGetDatum(lfirst_oid(lc))),
											zdm_arg_name(pair->from),
											zdm_arg_text(get_rel_relkind(lfirst_oid(lc)) == RELKIND_PARTITIONED_TABLE ? "ONLY " : ""))));
		if (zdm_acl_differs(lfirst_oid(lc), pair->from, pair->to))
			move->before = lappend(move->before, zdm_acl_copy_step(lfirst_oid(lc), pair->from, pair->to));
	}
}

/*
 * The table's policies over the column, with the twin in its place.
 */
static void
move_policies(Move *move)
{
	Relation	rel = table_open(move->relid, AccessShareLock);
	Relation	policies = table_open(PolicyRelationId, AccessShareLock);
	List	   *named = zdm_query_strings("SELECT y.polname::pg_catalog.text FROM pg_catalog.pg_policy y"
										  " WHERE y.polrelid = $4 AND NOT " HAS_SUBQUERY " AND" DEPENDS("pg_catalog.pg_policy", "y.oid") " ORDER BY 1",
										  ZDM_ARGS(ZDM_PAIRS(move->pairs),
												   ZDM_ARG(OIDOID, ObjectIdGetDatum(move->relid))));
	ListCell   *lc;

	add_for(move, &move->before, "drop a policy whose subquery may read the table",
			"SELECT pg_catalog.format('DROP POLICY %I ON %s', y.polname, y.polrelid::pg_catalog.regclass)"
			" FROM pg_catalog.pg_policy y WHERE y.polrelid = $4 AND " HAS_SUBQUERY
			" AND" DEPENDS("pg_catalog.pg_policy", "y.oid") " ORDER BY y.polname");
	add_for(move, &move->after, "create the policy again",
			"SELECT s.sql FROM pg_catalog.pg_policy y, LATERAL (VALUES"
			" (1, pg_catalog.format('CREATE POLICY %I ON %s AS %s FOR %s TO %s%s%s', y.polname, y.polrelid::pg_catalog.regclass,"
			" CASE WHEN y.polpermissive THEN 'PERMISSIVE' ELSE 'RESTRICTIVE' END,"
			" CASE y.polcmd WHEN 'r' THEN 'SELECT' WHEN 'a' THEN 'INSERT' WHEN 'w' THEN 'UPDATE' WHEN 'd' THEN 'DELETE' ELSE 'ALL' END,"
			" (SELECT pg_catalog.string_agg(CASE WHEN r.oid = 0 THEN 'PUBLIC' ELSE pg_catalog.quote_ident(pg_catalog.pg_get_userbyid(r.oid)) END, ', ' ORDER BY r.place)"
			" FROM pg_catalog.unnest(y.polroles) WITH ORDINALITY r(oid, place)),"
			" ' USING (' || pg_catalog.pg_get_expr(y.polqual, y.polrelid) || ')',"
			" ' WITH CHECK (' || pg_catalog.pg_get_expr(y.polwithcheck, y.polrelid) || ')')),"
			" (2, CASE WHEN pg_catalog.obj_description(y.oid, 'pg_policy') IS NOT NULL"
			" THEN pg_catalog.format('COMMENT ON POLICY %I ON %s IS %L', y.polname, y.polrelid::pg_catalog.regclass,"
			" pg_catalog.obj_description(y.oid, 'pg_policy')) END)) s(ord, sql)"
			" WHERE y.polrelid = $4 AND s.sql IS NOT NULL AND " HAS_SUBQUERY
			" AND" DEPENDS("pg_catalog.pg_policy", "y.oid") " ORDER BY y.polname, s.ord");
	foreach(lc, named)
	{
		ScanKeyData keys[2];
		SysScanDesc scan;
		HeapTuple	tuple;

		ScanKeyInit(&keys[0], Anum_pg_policy_polrelid, BTEqualStrategyNumber, F_OIDEQ,
					ObjectIdGetDatum(move->relid));
		ScanKeyInit(&keys[1], Anum_pg_policy_polname, BTEqualStrategyNumber, F_NAMEEQ,
					zdm_arg_name(lfirst(lc)).value);
		scan = systable_beginscan(policies, PolicyPolrelidPolnameIndexId, true, NULL, 2, keys);
		tuple = systable_getnext(scan);
		if (HeapTupleIsValid(tuple))
			add(&move->before, move->relid, "let a policy go by the second column",
				list_make1(psprintf("ALTER POLICY %s ON %s%s%s", quote_identifier(lfirst(lc)),
									zdm_quote_relation(move->relid),
									policy_clause(rel, move->pairs, tuple, policies, Anum_pg_policy_polqual, "USING"),
									policy_clause(rel, move->pairs, tuple, policies, Anum_pg_policy_polwithcheck, "WITH CHECK"))));
		systable_endscan(scan);
	}
	table_close(policies, AccessShareLock);
	table_close(rel, AccessShareLock);
}

/*
 * One of its expressions.
 */
static char *
policy_clause(Relation rel, List *pairs, HeapTuple policy, Relation policies,
			  AttrNumber which, const char *clause)
{
	AttrMap    *map = make_attrmap(RelationGetDescr(rel)->natts);
	bool		isnull,
				whole_row;
	Datum		tree = heap_getattr(policy, which, RelationGetDescr(policies), &isnull);
	Node	   *expr;
	ZdmIdentity saved;
	char	   *result;
	ListCell   *lc;

	if (isnull)
		return pstrdup("");
	for (int i = 0; i < map->maplen; i++)
		map->attnums[i] = (AttrNumber) (i + 1);
	foreach(lc, pairs)
	{
		ZdmPair    *pair = lfirst(lc);
		AttrNumber	twin = get_attnum(pair->relation, pair->to);

		/* In a dry run there is none. */
		if (pair->relation == RelationGetRelid(rel) && twin > 0)
			map->attnums[get_attnum(pair->relation, pair->from) - 1] = twin;
	}
	expr = map_variable_attnos(stringToNode(TextDatumGetCString(tree)), 1, 0, map,
							   InvalidOid, &whole_row);
	zdm_pin_path(&saved);
	zdm_pin_style();
	result = deparse_expression(expr, deparse_context_for(RelationGetRelationName(rel), RelationGetRelid(rel)),
								false, false);
	zdm_unbecome(&saved);
	return psprintf(" %s (%s)", clause, result);
}
