/*-------------------------------------------------------------------------
 *
 * twin_promote.c
 *	  A twin column takes the place of its column.
 *
 * By then the twin has indexes, constraints and foreign keys like the
 * column's.  The promotion gives it the column's name, and them theirs; makes
 * constraints of what so far are plain indexes; and moves what there can be
 * only one of: default, sequence, NOT NULL, statistics target, comment, replica
 * identity, clustering, policies, publications, extended statistics, triggers,
 * and, where that is wanted, views and rules that name the column.  Each is
 * read from the catalog, by the column's number.  Nothing here reads a row of
 * the table.
 *
 * Text that the server gives for an object before, names the column; when it
 * is run after, that name means the twin.  So no text is ever changed.
 *
 * With keep the column is left under the twin's name, with its own indexes and
 * constraints under those of the twin's; so the same steps with the two
 * exchanged are the way back.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_class.h"
#include "catalog/pg_constraint.h"
#include "catalog/pg_index.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_type.h"
#include "catalog/index.h"
#include "commands/comment.h"
#include "nodes/value.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

#include "catalog/step.h"
#include "schema/catalog_change.h"
#include "schema/domain_twin.h"
#include "schema/key_change.h"
#include "schema/not_null.h"
#include "schema/relation.h"
#include "schema/twin.h"
#include "schema/twin_index.h"
#include "schema/twin_move.h"
#include "schema/twin_promote.h"
#include "schema/user_view.h"
#include "util/ident.h"
#include "util/spi.h"

static void give_names(ZdmPromotion *work, ZdmPair *pair);
static void give_not_null(ZdmPromotion *work, ZdmPair *pair);
static bool has_one_name(Oid relid, const char *column, const char *name);
static void give_not_null_constraint(ZdmPromotion *work, ZdmPair *pair, const char *name);
static void give_constraints(ZdmPromotion *work, Oid relid);
static void rename_constraint(ZdmPromotion *work, Oid relid, const char *name, const char *twin);
static List *parts_of(Oid relid, Oid source, const char *twin);
static void drop_foreign_keys(ZdmPromotion *work, Oid relid);
static void exchange_keys(ZdmPromotion *work, Oid relid);

/*
 * The change that touches the catalog alone.
 */
List *
zdm_retype_steps(Relation rel, const char *column, const ZdmType *type)
{
	Oid			relid = RelationGetRelid(rel);
	List	   *steps;
	ZdmType		from;

	zdm_type_of(RelationGetRelid(rel), column, &from);
	steps = list_make1(zdm_step(ZDM_STEP_DDL, AccessExclusiveLock,
								"change the type, without reading the table",
								psprintf("ALTER TABLE %s ALTER COLUMN %s TYPE %s%s",
										 zdm_quote_relation(relid),
										 quote_identifier(column), zdm_type_text(type),
										 zdm_collation_clause(type->collation))));
	return from.oid == type->oid ? steps : lappend(steps, zdm_recompile_step(relid, column));
}

/*
 * The steps that put the twins (the second of each pair) in the columns'
 * places, and drop the columns, or keep them as twins.  views: of those over
 * them, the texts that were kept (ZDM_NO_KEPT_VIEWS); NULL where there are to
 * be no views.
 */
List *
zdm_promote_steps(int64 migration, List *pairs, bool keep, const char *views)
{
	ZdmPromotion work = {.migration = migration,.pairs = pairs,.keep = keep};
	List	   *last = views ? zdm_user_view_create_steps(pairs, views) : NIL;
	List	   *tables = zdm_pair_tables(pairs);
	List	   *keyed = list_concat_unique_oid(list_copy(tables), zdm_foreign_key_tables(pairs));
	List	   *after = NIL;
	List	   *named = NIL;
	ListCell   *lc;

	if (views != NULL)
		work.steps = zdm_user_view_drop_steps(pairs);
	if (views != NULL && keep)
		last = lappend(last, zdm_user_view_keep_step(pairs));
	foreach(lc, pairs)
	{
		ZdmPair    *pair = lfirst(lc);

		/* Before anything comes that would know the column's type. */
		if (pair->type != NULL)
			work.steps = list_concat(work.steps, zdm_domain_set_steps(pair->relation, pair->to, pair->type));
	}
	foreach(lc, tables)
		zdm_move_collect(pairs, lfirst_oid(lc), keep, &work.steps, &after);
	foreach(lc, keyed)
		exchange_keys(&work, lfirst_oid(lc));
	if (!keep)
	{
		foreach(lc, keyed)
			drop_foreign_keys(&work, lfirst_oid(lc));
	}
	foreach(lc, pairs)
		give_names(&work, lfirst(lc));
	foreach(lc, pairs)
		give_not_null(&work, lfirst(lc));
	zdm_promote_indexes(&work);
	foreach(lc, keyed)
		give_constraints(&work, lfirst_oid(lc));
	work.steps = list_concat(list_concat(work.steps, after), last);
	foreach(lc, pairs)
	{
		ZdmPair    *pair = lfirst(lc);

		if (list_member(named, makeString(pair->from)))
			continue;
		named = lappend(named, makeString(pair->from));
		work.steps = lappend(work.steps, zdm_recompile_step(pair->relation, pair->from));
	}
	return work.steps;
}

/*
 * The steps that drop what is the second of each pair, with what zdm has put
 * on it.
 */
List *
zdm_twin_drop_steps(int64 migration, List *pairs)
{
	static const char *const sql =
		"SELECT c.conname::text FROM pg_catalog.pg_constraint c"
		" WHERE c.conrelid = $1 AND c.contype = 'f' AND c.conparentid = 0 ORDER BY 1";
	ZdmPromotion work = {.migration = migration,.pairs = pairs};
	List	   *tables = NIL;
	ListCell   *lc,
			   *name;

	/* A partition may have one that its parent has not taken over yet. */
	foreach(lc, list_concat_unique_oid(zdm_pair_tables(pairs), zdm_foreign_key_tables(pairs)))
		tables = list_concat_unique_oid(tables, zdm_table_and_partitions(lfirst_oid(lc)));
	foreach(lc, tables)
	{
		foreach(name, zdm_query_strings(sql, ZDM_ARGS(ZDM_ARG(OIDOID, ObjectIdGetDatum(lfirst_oid(lc))))))
		{
			if (zdm_is_twin_name(lfirst(name), migration))
				zdm_promote_ddl(&work, lfirst_oid(lc), "drop a second foreign key",
								psprintf("ALTER TABLE %s DROP CONSTRAINT %s", zdm_quote_relation(lfirst_oid(lc)),
										 quote_identifier(lfirst(name))));
		}
	}
	foreach(lc, pairs)
	{
		ZdmPair    *pair = lfirst(lc);

		zdm_promote_ddl(&work, pair->relation, "drop the second column",
						psprintf("ALTER TABLE %s DROP COLUMN %s", zdm_quote_relation(pair->relation),
								 quote_identifier(pair->to)));
	}
	return work.steps;
}

/*
 * Add a statement to the steps.
 */
void
zdm_promote_ddl(ZdmPromotion *work, Oid relid, const char *description, char *sql)
{
	work->steps = lappend(work->steps, zdm_step_on(relid, ZDM_STEP_DDL, AccessExclusiveLock,
												   description, sql));
}

/*
 * The name, and with keep the other one for the column.
 */
static void
give_names(ZdmPromotion *work, ZdmPair *pair)
{
	char	   *table = zdm_quote_relation(pair->relation);
	const char *from = quote_identifier(pair->from);
	const char *to = quote_identifier(pair->to);
	const char *aside = quote_identifier(zdm_twin_index_name(work->migration, pair->from));

	if (!work->keep)
	{
		zdm_promote_ddl(work, pair->relation, "drop the column",
						psprintf("ALTER TABLE %s DROP COLUMN %s", table, from));
		zdm_promote_ddl(work, pair->relation, "give the second column its name",
						psprintf("ALTER TABLE %s RENAME COLUMN %s TO %s", table, to, from));
		return;
	}
	zdm_promote_ddl(work, pair->relation, "set the second column aside",
					psprintf("ALTER TABLE %s RENAME COLUMN %s TO %s", table, to, aside));
	zdm_promote_ddl(work, pair->relation, "give the column the second one's name",
					psprintf("ALTER TABLE %s RENAME COLUMN %s TO %s", table, from, to));
	zdm_promote_ddl(work, pair->relation, "give the second column its name",
					psprintf("ALTER TABLE %s RENAME COLUMN %s TO %s", table, aside, from));
}

/*
 * The server takes the CHECK's word for it, and reads nothing.  The column has
 * its new name by now.
 */
static void
give_not_null(ZdmPromotion *work, ZdmPair *pair)
{
	char	   *name = zdm_twin_not_null_name(work->migration, pair->from);
	HeapTuple	tuple = SearchSysCacheAttName(pair->relation, pair->from);
	char	   *constraint;
	bool		notnull;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "column \"%s\" does not exist", pair->from);
	notnull = ((Form_pg_attribute) GETSTRUCT(tuple))->attnotnull;
	ReleaseSysCache(tuple);
	if (!notnull)
		return;
	constraint = zdm_not_null_constraint(pair->relation, pair->from);
	if (constraint != NULL && has_one_name(pair->relation, pair->from, constraint))
		give_not_null_constraint(work, pair, constraint);
	else if (constraint == NULL || !zdm_column_is_not_null(pair->relation, pair->to))
		zdm_promote_ddl(work, pair->relation, "make it NOT NULL",
						psprintf("ALTER TABLE %s ALTER COLUMN %s SET NOT NULL",
								 zdm_quote_relation(pair->relation), quote_identifier(pair->from)));
	if (work->migration == 0 ||
		OidIsValid(get_relation_constraint_oid(pair->relation, name, true)))
		zdm_promote_ddl(work, pair->relation, "drop the CHECK that stood for it",
						psprintf("ALTER TABLE %s DROP CONSTRAINT %s",
								 zdm_quote_relation(pair->relation), quote_identifier(name)));
}

/*
 * Whether the NOT NULL of a column has that name in all partitions.  Where one
 * has its own, the server renames none of them: the second column's gets a
 * name that the server chooses.
 */
static bool
has_one_name(Oid relid, const char *column, const char *name)
{
	ListCell   *lc;

	foreach(lc, zdm_table_and_partitions(relid))
	{
		char	   *own = zdm_not_null_constraint(lfirst_oid(lc), column);

		if (own != NULL && strcmp(own, name) != 0)
			return false;
	}
	return true;
}

/*
 * Since 18 a NOT NULL has a name, a comment, and may be NOT VALID.  On the way
 * back from a quarantine the other column has one already.
 */
static void
give_not_null_constraint(ZdmPromotion *work, ZdmPair *pair, const char *name)
{
	char	   *table = zdm_quote_relation(pair->relation);
	char	   *aside = zdm_twin_index_name(work->migration, name);
	char	   *own = get_attnum(pair->relation, pair->to) > 0 ?
		zdm_not_null_constraint(pair->relation, pair->to) : NULL;
	Oid			constraint = get_relation_constraint_oid(pair->relation, name, false);
	char	   *comment = GetComment(constraint, ConstraintRelationId, 0);

	if (own != NULL)
	{
		if (has_one_name(pair->relation, pair->to, own))
			zdm_promote_ddl(work, pair->relation, "give its NOT NULL the name",
							psprintf("ALTER TABLE %s RENAME CONSTRAINT %s TO %s", table, quote_identifier(own),
									 quote_identifier(name)));
		return;
	}
	if (work->keep)
		zdm_promote_ddl(work, pair->relation, "set the column's NOT NULL aside",
						psprintf("ALTER TABLE %s RENAME CONSTRAINT %s TO %s", table, quote_identifier(name),
								 quote_identifier(aside)));
	zdm_promote_ddl(work, pair->relation, "make it NOT NULL",
					psprintf("ALTER TABLE %s ADD CONSTRAINT %s NOT NULL %s%s", table, quote_identifier(name),
							 quote_identifier(pair->from),
							 zdm_not_null_unproved(pair->relation, pair->from) ? " NOT VALID" : ""));
	if (comment != NULL)
		zdm_promote_ddl(work, pair->relation, "copy a constraint's comment",
						psprintf("COMMENT ON CONSTRAINT %s ON %s IS %s", quote_identifier(name), table,
								 quote_literal_cstr(comment)));
}

/*
 * The CHECK constraints and foreign keys of a table that a column is in.
 */
static List *
constraints_of(ZdmPromotion *work, Oid relid)
{
	static const char *const sql =
		"SELECT DISTINCT c.conname::text FROM pg_catalog.pg_constraint c"
		" WHERE c.conrelid = $4 AND c.contype IN ('c', 'f') AND c.conparentid = 0 AND c.conislocal"
		" AND EXISTS (SELECT FROM " ZDM_PAIRS_SQL " JOIN pg_catalog.pg_attribute a"
		" ON a.attrelid = p.rel AND a.attname = p.col"
		" WHERE (c.conrelid = p.rel AND a.attnum = ANY (c.conkey))"
		" OR (c.confrelid = p.rel AND a.attnum = ANY (c.confkey))) ORDER BY 1";

	return zdm_query_strings(sql, ZDM_ARGS(ZDM_PAIRS(work->pairs), ZDM_ARG(OIDOID, ObjectIdGetDatum(relid))));
}

/*
 * The twin's take the names.  With keep, the others take theirs; without, they
 * have gone already.
 */
static void
give_constraints(ZdmPromotion *work, Oid relid)
{
	ListCell   *lc,
			   *part;

	foreach(lc, constraints_of(work, relid))
	{
		char	   *name = lfirst(lc);
		Oid			source = get_relation_constraint_oid(relid, name, false);
		char	   *comment = GetComment(source, ConstraintRelationId, 0);

		if (zdm_is_twin_name(name, 0))
			continue;
		rename_constraint(work, relid, name, zdm_twin_index_name(work->migration, name));
		foreach(part, parts_of(relid, source, zdm_twin_index_name(work->migration, name)))
		{
			char	   *table = lfirst(part);
			char	   *of_source = strchr(table, '\x01');
			char	   *of_twin;

			*of_source++ = '\0';
			of_twin = strchr(of_source, '\x01');
			*of_twin++ = '\0';
			rename_constraint(work, (Oid) strtoul(table, NULL, 10), of_source, of_twin);
		}
		if (comment != NULL)
			zdm_promote_ddl(work, relid, "copy a constraint's comment",
							psprintf("COMMENT ON CONSTRAINT %s ON %s IS %s", quote_identifier(name),
									 zdm_quote_relation(relid), quote_literal_cstr(comment)));
	}
}

static void
rename_constraint(ZdmPromotion *work, Oid relid, const char *name, const char *twin)
{
	char	   *table = zdm_quote_relation(relid);
	char	   *aside = zdm_twin_index_name(work->migration, psprintf("%s aside", name));

	if (work->keep)
		zdm_promote_ddl(work, relid, "set the column's constraint aside",
						psprintf("ALTER TABLE %s RENAME CONSTRAINT %s TO %s", table, quote_identifier(name),
								 quote_identifier(aside)));
	zdm_promote_ddl(work, relid, "give the second column's constraint its name",
					psprintf("ALTER TABLE %s RENAME CONSTRAINT %s TO %s", table, quote_identifier(twin),
							 quote_identifier(name)));
	if (work->keep)
		zdm_promote_ddl(work, relid, "keep the column's constraint for a rollback",
						psprintf("ALTER TABLE %s RENAME CONSTRAINT %s TO %s", table, quote_identifier(aside),
								 quote_identifier(twin)));
}

/*
 * What a foreign key has for partitions, on either side: table (oid), name and
 * the name of what the twin has there.  In a dry run there is no twin.
 */
static List *
parts_of(Oid relid, Oid source, const char *twin)
{
	static const char *const sql =
		"WITH RECURSIVE k(source, twin) AS (SELECT $2, t.oid FROM pg_catalog.pg_constraint t"
		" WHERE t.conrelid = $1 AND t.conname = $3 AND t.contype = 'f'"
		" UNION ALL SELECT s.oid, t.oid FROM k JOIN pg_catalog.pg_constraint s ON s.conparentid = k.source"
		" JOIN pg_catalog.pg_constraint t ON t.conparentid = k.twin"
		" AND t.conrelid = s.conrelid AND t.confrelid = s.confrelid)"
		" SELECT pg_catalog.concat_ws(E'\x01', s.conrelid::pg_catalog.oid, s.conname, t.conname) FROM k"
		" JOIN pg_catalog.pg_constraint s ON s.oid = k.source JOIN pg_catalog.pg_constraint t ON t.oid = k.twin"
		" WHERE k.source <> $2 ORDER BY s.conrelid, s.conname";

	return zdm_query_strings(sql, ZDM_ARGS(ZDM_ARG(OIDOID, ObjectIdGetDatum(relid)),
										   ZDM_ARG(OIDOID, ObjectIdGetDatum(source)), zdm_arg_name(twin)));
}

/*
 * Foreign keys and CHECKs would go with the column, but a key that others
 * refer to would not.
 */
static void
drop_foreign_keys(ZdmPromotion *work, Oid relid)
{
	ListCell   *lc;

	foreach(lc, constraints_of(work, relid))
		zdm_promote_ddl(work, relid, "drop the column's constraint",
						psprintf("ALTER TABLE %s DROP CONSTRAINT %s", zdm_quote_relation(relid),
								 quote_identifier(lfirst(lc))));
}

/*
 * While both are there: the twins' foreign keys do from now on what those of
 * the columns do.
 */
static void
exchange_keys(ZdmPromotion *work, Oid relid)
{
	ListCell   *lc;

	foreach(lc, constraints_of(work, relid))
	{
		Oid			source = get_relation_constraint_oid(relid, lfirst(lc), false);

		if (!zdm_is_twin_name(lfirst(lc), 0) && zdm_key_differs(source))
			work->steps = lappend(work->steps,
								  zdm_key_exchange_step(relid, lfirst(lc),
														zdm_twin_index_name(work->migration, lfirst(lc))));
	}
}
