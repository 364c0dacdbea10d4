/*-------------------------------------------------------------------------
 *
 * twin_promote_index.c
 *	  The indexes of a twin column take the places of its column's.
 *
 * Each takes the name and the marks of the column's, and what constraint that
 * has: by the statement for it where there is one, or else in the catalog
 * (constraint_change.c).  An index that so far demands nothing of the twin is
 * made to only where the twin tells values apart as the column does, so that
 * what holds for the one holds for the other (ZdmPair.exact).
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/index.h"
#include "catalog/pg_class.h"
#include "catalog/pg_constraint.h"
#include "catalog/pg_index.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_type.h"
#include "commands/comment.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

#include "catalog/step.h"
#include "schema/constraint_change.h"
#include "schema/depend.h"
#include "schema/relation.h"
#include "schema/twin_index.h"
#include "schema/twin_promote.h"
#include "util/ident.h"
#include "util/spi.h"

static void give_index(ZdmPromotion *work, Oid table, Oid source, Oid twin);
static bool has_statement(const ZdmDemand *demand, Oid source, Oid twin);
typedef void (*Give) (ZdmPromotion *work, Oid table, Oid source, Oid twin);
static void give_name(ZdmPromotion *work, Oid table, Oid source, Oid twin);
static void give_marks(ZdmPromotion *work, Oid table, Oid source, Oid twin);
static void give_options(ZdmPromotion *work, Oid table, Oid source, Oid twin, const char *index);
static void give_each(ZdmPromotion *work, Give give, Oid table, Oid source, Oid twin);
static void give_demand(ZdmPromotion *work, Oid table, Oid source, Oid twin,
						const ZdmDemand *demand);
static void give_constraint(ZdmPromotion *work, Oid table, Oid source, Oid twin,
							const ZdmDemand *demand);

/*
 * Add the steps for the indexes of all the columns, once these have the twins'
 * names; with keep, the columns' own go on under the names of the twins'.
 */
void
zdm_promote_indexes(ZdmPromotion *work)
{
	List	   *done = NIL;
	ListCell   *lc,
			   *item;

	foreach(lc, work->pairs)
	{
		ZdmPair    *pair = lfirst(lc);

		foreach(item, zdm_twin_index_sources(pair->relation, pair->from, pair->to))
		{
			Oid			source = lfirst_oid(item);
			Oid			table = IndexGetRelation(source, false);
			char	   *name = zdm_twin_index_name(work->migration, get_rel_name(source));

			/* It may have several of the columns. */
			if (list_member_oid(done, source))
				continue;
			done = lappend_oid(done, source);
			give_index(work, table, source, zdm_twin_index_named(table, name));
		}
	}
}

/*
 * The twin's index, which does not exist in a dry run, takes the source's
 * place.
 */
static void
give_index(ZdmPromotion *work, Oid table, Oid source, Oid twin)
{
	ZdmDemand	demand;

	zdm_index_demand(source, &demand);
	if (has_statement(&demand, source, twin))
		give_constraint(work, table, source, twin, &demand);
	else
	{
		if (work->keep && demand.type == CONSTRAINT_PRIMARY)
			work->steps = lappend(work->steps, zdm_primary_key_step(table, get_rel_name(source), false));
		give_each(work, give_name, table, source, twin);
		give_demand(work, table, source, twin, &demand);
		give_each(work, give_marks, table, source, twin);
	}
}

/*
 * Whether the server makes such a constraint of the twin's index: not for
 * partitioned tables, and not of an index that does not demand it yet.
 */
static bool
has_statement(const ZdmDemand *demand, Oid source, Oid twin)
{
	return (demand->type == CONSTRAINT_PRIMARY || demand->type == CONSTRAINT_UNIQUE) &&
		!demand->deferrable && get_rel_relkind(source) == RELKIND_INDEX &&
		(!OidIsValid(twin) || zdm_index_is_unique(twin));
}

/*
 * What the column's index demands the twin's demands from now on, by itself or
 * by a constraint; on the way back from a quarantine it has one.
 */
static void
give_demand(ZdmPromotion *work, Oid table, Oid source, Oid twin, const ZdmDemand *demand)
{
	char	   *name = get_rel_name(source);
	char	   *twin_name = zdm_twin_index_name(work->migration, name);
	bool		bare = !OidIsValid(twin) || !OidIsValid(get_index_constraint(twin));
	Oid			constraint = get_index_constraint(source);
	char	   *comment = OidIsValid(constraint) ? GetComment(constraint, ConstraintRelationId, 0) : NULL;

	if (demand->type == '\0')
	{
		if (demand->unique && OidIsValid(twin) && !zdm_index_is_unique(twin))
			work->steps = lappend(work->steps, zdm_demand_step(table, name, demand));
		return;
	}
	if (bare)
		work->steps = lappend(work->steps, zdm_demand_step(table, name, demand));
	else if (demand->type == CONSTRAINT_PRIMARY)
		work->steps = lappend(work->steps, zdm_primary_key_step(table, name, true));
	if (comment != NULL)
		zdm_promote_ddl(work, table, "copy a constraint's comment",
						psprintf("COMMENT ON CONSTRAINT %s ON %s IS %s", quote_identifier(name),
								 zdm_quote_relation(table), quote_literal_cstr(comment)));
	if (!demand->deferrable || demand->deferred)
		return;

	/*
	 * A session defers the one that has the name: the other must not fail
	 * before it.
	 */
	if (!bare)
		work->steps = lappend(work->steps, zdm_defer_step(table, name, false));
	if (work->keep)
		work->steps = lappend(work->steps, zdm_defer_step(table, twin_name, true));
}

/*
 * The same for the indexes of the partitions.
 */
static void
give_each(ZdmPromotion *work, Give give, Oid table, Oid source, Oid twin)
{
	ListCell   *lc,
			   *item;

	give(work, table, source, twin);
	if (!OidIsValid(twin))
		return;
	foreach(lc, find_inheritance_children(source, NoLock))
	{
		Oid			part = IndexGetRelation(lfirst_oid(lc), false);

		foreach(item, find_inheritance_children(twin, NoLock))
		{
			if (IndexGetRelation(lfirst_oid(item), false) == part)
				give_each(work, give, part, lfirst_oid(lc), lfirst_oid(item));
		}
	}
}

/*
 * An index and its constraint have one name.
 */
static void
give_name(ZdmPromotion *work, Oid table, Oid source, Oid twin)
{
	char	   *name = get_rel_name(source);
	char	   *schema = get_namespace_name(get_rel_namespace(source));
	char	   *twin_name = OidIsValid(twin) ? get_rel_name(twin) :
		zdm_twin_index_name(work->migration, name);
	char	   *aside = zdm_twin_index_name(work->migration, psprintf("%s aside", name));

	if (work->keep)
		zdm_promote_ddl(work, table, "set the column's index aside",
						psprintf("ALTER INDEX %s RENAME TO %s", quote_qualified_identifier(schema, name),
								 quote_identifier(aside)));
	zdm_promote_ddl(work, table, "give the second column's index its name",
					psprintf("ALTER INDEX %s RENAME TO %s", quote_qualified_identifier(schema, twin_name),
							 quote_identifier(name)));
	if (work->keep)
		zdm_promote_ddl(work, table, "keep the column's index for a rollback",
						psprintf("ALTER INDEX %s RENAME TO %s", quote_qualified_identifier(schema, aside),
								 quote_identifier(twin_name)));
}

/*
 * A primary key, or a unique constraint: the twin has so far only the index
 * of it, or, on the way back from a quarantine, the constraint.
 */
static void
give_constraint(ZdmPromotion *work, Oid table, Oid source, Oid twin,
				const ZdmDemand *demand)
{
	char	   *quoted = zdm_quote_relation(table);
	char	   *name = get_rel_name(source);
	char	   *twin_name = OidIsValid(twin) ? get_rel_name(twin) :
		zdm_twin_index_name(work->migration, name);
	char	   *aside = zdm_twin_index_name(work->migration, psprintf("%s aside", name));
	bool		bare = !OidIsValid(twin) || !OidIsValid(get_index_constraint(twin));
	bool		primary = demand->type == CONSTRAINT_PRIMARY;
	Oid			constraint = get_index_constraint(source);
	char	   *comment = GetComment(constraint, ConstraintRelationId, 0);

	if (work->keep && primary)
		work->steps = lappend(work->steps, zdm_primary_key_step(table, name, false));
	if (work->keep)
		zdm_promote_ddl(work, table, "set the column's constraint aside",
						psprintf("ALTER TABLE %s RENAME CONSTRAINT %s TO %s", quoted, quote_identifier(name),
								 quote_identifier(aside)));
	if (bare)
		zdm_promote_ddl(work, table, "make the second column's index its constraint",
						psprintf("ALTER TABLE %s ADD CONSTRAINT %s %s USING INDEX %s", quoted, quote_identifier(name),
								 primary ? "PRIMARY KEY" : "UNIQUE", quote_identifier(twin_name)));
	else
		zdm_promote_ddl(work, table, "give the second column's constraint its name",
						psprintf("ALTER TABLE %s RENAME CONSTRAINT %s TO %s", quoted, quote_identifier(twin_name),
								 quote_identifier(name)));
	if (!bare && primary)
		work->steps = lappend(work->steps, zdm_primary_key_step(table, name, true));
	if (work->keep)
		zdm_promote_ddl(work, table, "keep the column's constraint for a rollback",
						psprintf("ALTER TABLE %s RENAME CONSTRAINT %s TO %s", quoted, quote_identifier(aside),
								 quote_identifier(twin_name)));
	if (comment != NULL)
		zdm_promote_ddl(work, table, "copy a constraint's comment",
						psprintf("COMMENT ON CONSTRAINT %s ON %s IS %s", quote_identifier(name),
								 quoted, quote_literal_cstr(comment)));
	give_marks(work, table, source, twin);
}

/*
 * Storage parameters and statistics targets, as somebody has set them since
 * the twin's index was built, or set them back.
 */
static void
give_options(ZdmPromotion *work, Oid table, Oid source, Oid twin, const char *index)
{
	static const char *const sql =
		"WITH o AS (SELECT s.mine, o.option_name, o.option_value FROM (VALUES ($1, true), ($2, false)) s(index, mine)"
		" JOIN pg_catalog.pg_class c ON c.oid = s.index AND c.relkind = 'i'"
		" CROSS JOIN LATERAL pg_catalog.pg_options_to_table(c.reloptions) o)"
		" SELECT s.sql FROM (SELECT 1, o.option_name, pg_catalog.format('SET (%I = %L)', o.option_name, o.option_value)"
		" FROM o WHERE $2 <> 0 AND o.mine AND NOT EXISTS (SELECT FROM o t WHERE NOT t.mine"
		" AND t.option_name = o.option_name AND t.option_value = o.option_value)"
		" UNION ALL SELECT 2, o.option_name, pg_catalog.format('RESET (%I)', o.option_name)"
		" FROM o WHERE NOT o.mine AND NOT EXISTS (SELECT FROM o t WHERE t.mine AND t.option_name = o.option_name)"
		" UNION ALL SELECT 3, a.attnum::pg_catalog.text, pg_catalog.format('ALTER COLUMN %s SET STATISTICS %s', a.attnum,"
		" coalesce(a.attstattarget, -1)) FROM pg_catalog.pg_attribute a"
		" LEFT JOIN pg_catalog.pg_attribute b ON b.attrelid = $2 AND b.attnum = a.attnum"
		" WHERE a.attrelid = $1 AND coalesce(a.attstattarget, -1) <> coalesce(b.attstattarget, -1)) s(ord, name, sql)"
		" ORDER BY s.ord, s.name";
	ListCell   *lc;

	foreach(lc, zdm_query_strings(sql, ZDM_ARGS(ZDM_ARG(OIDOID, ObjectIdGetDatum(source)),
												ZDM_ARG(OIDOID, ObjectIdGetDatum(twin)))))
		zdm_promote_ddl(work, table, "copy an index's parameters",
						psprintf("ALTER INDEX %s %s", index, (char *) lfirst(lc)));
}

/*
 * The names of its columns, comments, parameters, clustering, replica
 * identity.
 */
static void
give_marks(ZdmPromotion *work, Oid table, Oid source, Oid twin)
{
	char	   *name = get_rel_name(source);
	char	   *index = quote_qualified_identifier(get_namespace_name(get_rel_namespace(source)), name);
	char	   *comment = GetComment(source, RelationRelationId, 0);
	HeapTuple	tuple = SearchSysCache1(INDEXRELID, ObjectIdGetDatum(source));
	FormData_pg_index form;
	ListCell   *lc;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for index %u", source);
	memcpy(&form, GETSTRUCT(tuple), offsetof(FormData_pg_index, indkey));
	ReleaseSysCache(tuple);
	/* Those of a partition follow their parent's. */
	foreach(lc, get_rel_relispartition(twin) ? NIL : work->pairs)
	{
		ZdmPair    *pair = lfirst(lc);

		if (get_attnum(twin, pair->to) > 0 &&
			list_member_oid(zdm_table_and_partitions(pair->relation), table))
			zdm_promote_ddl(work, table, "give the index's column its name",
							psprintf("ALTER TABLE %s RENAME COLUMN %s TO %s", index, quote_identifier(pair->to),
									 quote_identifier(pair->from)));
	}
	if (comment != NULL)
		zdm_promote_ddl(work, table, "copy an index's comment",
						psprintf("COMMENT ON INDEX %s IS %s", index, quote_literal_cstr(comment)));
	give_options(work, table, source, twin, index);
	if (form.indisclustered)
		zdm_promote_ddl(work, table, "mark the index for CLUSTER",
						psprintf("ALTER TABLE %s CLUSTER ON %s", zdm_quote_relation(table), quote_identifier(name)));
	if (form.indisreplident)
		zdm_promote_ddl(work, table, "make the index the replica identity",
						psprintf("ALTER TABLE %s REPLICA IDENTITY USING INDEX %s", zdm_quote_relation(table),
								 quote_identifier(name)));
}

/*
 * Lines (char *) about indexes of a column that are in another tablespace than
 * what is to take their places: to move one takes as long as it is large.
 */
List *
zdm_promote_misplaced(int64 migration, const ZdmPair *pair, List *result)
{
	static const char *const sql =
		"SELECT pg_catalog.format('index %s, which is in another tablespace than the second column''s"
		" (ALTER INDEX %s SET TABLESPACE %I)', c.relname, t.oid::pg_catalog.regclass, p.spcname)"
		" FROM (SELECT $1 AS oid UNION SELECT relid FROM pg_catalog.pg_partition_tree($1)) s"
		" JOIN pg_catalog.pg_index i ON i.indexrelid = s.oid JOIN pg_catalog.pg_class c ON c.oid = s.oid"
		" JOIN pg_catalog.pg_index x ON x.indrelid = i.indrelid"
		" JOIN (SELECT $2 AS oid UNION SELECT relid FROM pg_catalog.pg_partition_tree($2)) t ON t.oid = x.indexrelid"
		" JOIN pg_catalog.pg_class o ON o.oid = t.oid AND o.reltablespace <> c.reltablespace"
		" JOIN pg_catalog.pg_tablespace p ON p.oid = CASE WHEN c.reltablespace <> 0 THEN c.reltablespace ELSE"
		" (SELECT d.dattablespace FROM pg_catalog.pg_database d WHERE d.datname = pg_catalog.current_database()) END"
		" ORDER BY c.relname";
	ListCell   *lc,
			   *line;

	foreach(lc, zdm_twin_index_sources(pair->relation, pair->from, pair->to))
	{
		Oid			source = lfirst_oid(lc);
		Oid			twin = zdm_twin_index_named(IndexGetRelation(source, false),
												zdm_twin_index_name(migration, get_rel_name(source)));

		foreach(line, zdm_query_strings(sql, ZDM_ARGS(ZDM_ARG(OIDOID, ObjectIdGetDatum(source)),
													  ZDM_ARG(OIDOID, ObjectIdGetDatum(twin)))))
			result = zdm_add_line(result, lfirst(line));
	}
	return result;
}
