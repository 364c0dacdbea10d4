/*-------------------------------------------------------------------------
 *
 * clone_index.c
 *	  The indexes of a table, on a partitioned table like it.
 *
 * A unique index of a partitioned table must have the partition key in it.
 * Where it has not, the key's columns are added behind its own: the shorter
 * key is unique as long as the old table has every row, and no longer.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "catalog/dependency.h"
#include "catalog/pg_index.h"
#include "catalog/pg_type.h"
#include "commands/defrem.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "catalog/step.h"
#include "schema/clone.h"
#include "util/compat.h"
#include "util/ident.h"
#include "util/spi.h"

static char *index_sql(Relation index, const ZdmClone *clone);
static char *key_columns(Relation index, const ZdmClone *clone, bool plain);
static char *included_columns(Relation index);
static char *tail(Relation index);
static List *added_columns(Relation index, const ZdmClone *clone);
static bool is_constraint(Relation index);
static bool has_column(Relation index, const char *column);

/*
 * The steps that build them.
 */
List *
zdm_clone_index_steps(Relation source, const ZdmClone *clone)
{
	List	   *steps = NIL;
	ListCell   *lc;

	foreach(lc, RelationGetIndexList(source))
	{
		Relation	index = index_open(lfirst_oid(lc), AccessShareLock);

		if (index->rd_index->indisvalid)
			steps = lappend(steps, zdm_step(ZDM_STEP_DDL, NoLock, "create an index",
											index_sql(index, clone)));
		index_close(index, AccessShareLock);
	}
	return steps;
}

/*
 * Whether some unique index gets longer by the partition key.
 */
bool
zdm_clone_loses_unique(Relation source, const ZdmClone *clone)
{
	bool		result = false;
	ListCell   *lc;

	foreach(lc, RelationGetIndexList(source))
	{
		Relation	index = index_open(lfirst_oid(lc), AccessShareLock);

		result |= added_columns(index, clone) != NIL;
		index_close(index, AccessShareLock);
	}
	return result;
}

/*
 * Whether a table has an index, of all its rows, that begins with those
 * columns, in any order; unique: a unique one of just these.
 */
bool
zdm_has_key_index(Oid relid, List *columns, bool unique)
{
	return zdm_query_strings("SELECT i.indexrelid::pg_catalog.text FROM pg_catalog.pg_index i"
							 " WHERE i.indrelid OPERATOR(pg_catalog.=) $1 AND i.indpred IS NULL AND i.indisvalid"
							 " AND (NOT $3 OR (i.indisunique AND i.indimmediate"
							 " AND i.indnkeyatts OPERATOR(pg_catalog.=) pg_catalog.cardinality($2)))"
							 " AND (SELECT pg_catalog.array_agg(a.attname::pg_catalog.text ORDER BY a.attname::pg_catalog.text)"
							 " FROM pg_catalog.generate_series(0, pg_catalog.cardinality($2) OPERATOR(pg_catalog.-) 1) n"
							 " JOIN pg_catalog.pg_attribute a ON a.attrelid OPERATOR(pg_catalog.=) i.indrelid"
							 " AND a.attnum OPERATOR(pg_catalog.=) i.indkey[n])"
							 " OPERATOR(pg_catalog.=) (SELECT pg_catalog.array_agg(c ORDER BY c) FROM pg_catalog.unnest($2) c) LIMIT 1",
							 ZDM_ARGS(ZDM_ARG(OIDOID, ObjectIdGetDatum(relid)), zdm_arg_texts(columns),
									  ZDM_ARG(BOOLOID, BoolGetDatum(unique)))) != NIL;
}

static char *
index_sql(Relation index, const ZdmClone *clone)
{
	bool		constraint = is_constraint(index);
	char	   *included = included_columns(index);
	char	   *method = get_am_name(index->rd_rel->relam);

	if (constraint)
		return psprintf("ALTER TABLE %s ADD %s%s (%s)%s%s", zdm_clone_name(clone),
						index->rd_index->indisprimary ? "PRIMARY KEY" : "UNIQUE",
						index->rd_index->indnullsnotdistinct ? " NULLS NOT DISTINCT" : "",
						key_columns(index, clone, true), included,
						index->rd_index->indimmediate ? "" : " DEFERRABLE");
	return psprintf("CREATE %sINDEX ON %s USING %s (%s)%s%s%s",
					index->rd_index->indisunique ? "UNIQUE " : "", zdm_clone_name(clone),
					quote_identifier(method), key_columns(index, clone, false), included,
					index->rd_index->indnullsnotdistinct ? " NULLS NOT DISTINCT" : "", tail(index));
}

/*
 * The index's own columns, and those that the partition key adds.  plain: the
 * names alone, as a constraint has them.
 */
static char *
key_columns(Relation index, const ZdmClone *clone, bool plain)
{
	static const char *const sql =
		"SELECT pg_catalog.concat(pg_catalog.pg_get_indexdef(i.indexrelid, n, false),"
		" CASE WHEN NOT $2 THEN pg_catalog.concat("
		" CASE WHEN l.oid IS NOT NULL THEN pg_catalog.format(' COLLATE %I.%I', ln.nspname, l.collname) END,"
		" pg_catalog.format(' %I.%I', kn.nspname, k.opcname),"
	/* An option whose name begins with pg_ is the server's own note. */
		" (SELECT pg_catalog.format(' (%s)', pg_catalog.string_agg(pg_catalog.format('%I = %L', o.option_name, o.option_value), ', '))"
		" FROM pg_catalog.pg_options_to_table(a.attoptions) o"
		" WHERE NOT pg_catalog.starts_with(o.option_name, 'pg_') HAVING pg_catalog.count(*) OPERATOR(pg_catalog.>) 0),"
		" CASE WHEN i.indoption[n OPERATOR(pg_catalog.-) 1] OPERATOR(pg_catalog.&) 1 OPERATOR(pg_catalog.=) 1 THEN ' DESC' END,"
		" CASE i.indoption[n OPERATOR(pg_catalog.-) 1] WHEN 1 THEN ' NULLS LAST' WHEN 2 THEN ' NULLS FIRST' END) END)"
		" FROM pg_catalog.pg_index i"
		" CROSS JOIN LATERAL pg_catalog.generate_series(1, i.indnkeyatts) n"
		" JOIN pg_catalog.pg_opclass k ON k.oid OPERATOR(pg_catalog.=) i.indclass[n OPERATOR(pg_catalog.-) 1]"
		" JOIN pg_catalog.pg_namespace kn ON kn.oid OPERATOR(pg_catalog.=) k.opcnamespace"
		" JOIN pg_catalog.pg_attribute a ON a.attrelid OPERATOR(pg_catalog.=) i.indexrelid AND a.attnum OPERATOR(pg_catalog.=) n"
		" LEFT JOIN pg_catalog.pg_collation l ON l.oid OPERATOR(pg_catalog.=) i.indcollation[n OPERATOR(pg_catalog.-) 1]"
		" LEFT JOIN pg_catalog.pg_namespace ln ON ln.oid OPERATOR(pg_catalog.=) l.collnamespace"
		" WHERE i.indexrelid OPERATOR(pg_catalog.=) $1 ORDER BY n";
	List	   *columns = zdm_query_strings(sql,
											ZDM_ARGS(ZDM_ARG(OIDOID, ObjectIdGetDatum(RelationGetRelid(index))),
													 ZDM_ARG(BOOLOID, BoolGetDatum(plain))));
	StringInfoData text;
	ListCell   *lc;

	foreach(lc, added_columns(index, clone))
		columns = lappend(columns, unconstify(char *, quote_identifier(lfirst(lc))));
	initStringInfo(&text);
	foreach(lc, columns)
		appendStringInfo(&text, "%s%s", text.len ? ", " : "", (char *) lfirst(lc));
	return text.data;
}

static char *
included_columns(Relation index)
{
	Form_pg_index form = index->rd_index;
	StringInfoData text;

	initStringInfo(&text);
	for (int i = form->indnkeyatts; i < form->indnatts; i++)
		appendStringInfo(&text, "%s%s", text.len ? ", " : " INCLUDE (",
						 quote_identifier(get_attname(form->indrelid, form->indkey.values[i], false)));
	if (text.len > 0)
		appendStringInfoChar(&text, ')');
	return text.data;
}

/*
 * Storage parameters and the predicate.
 */
static char *
tail(Relation index)
{
	List	   *texts = zdm_query_strings("SELECT pg_catalog.concat("
										  " CASE WHEN c.reloptions IS NOT NULL THEN"
										  " pg_catalog.format(' WITH (%s)', pg_catalog.array_to_string(c.reloptions, ', ')) END,"
										  " ' WHERE ' OPERATOR(pg_catalog.||) pg_catalog.pg_get_expr(i.indpred, i.indrelid))"
										  " FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class c ON c.oid OPERATOR(pg_catalog.=) i.indexrelid"
										  " WHERE i.indexrelid OPERATOR(pg_catalog.=) $1",
										  ZDM_ARGS(ZDM_ARG(OIDOID, ObjectIdGetDatum(RelationGetRelid(index)))));

	return linitial(texts);
}

/*
 * The columns of the partition key that a unique index lacks.
 */
static List *
added_columns(Relation index, const ZdmClone *clone)
{
	List	   *result = NIL;
	ListCell   *lc;

	if (!index->rd_index->indisunique)
		return NIL;
	foreach(lc, clone->partition_key)
	{
		if (!has_column(index, lfirst(lc)))
			result = lappend(result, lfirst(lc));
	}
	return result;
}

static bool
has_column(Relation index, const char *column)
{
	Form_pg_index form = index->rd_index;
	AttrNumber	attnum = get_attnum(form->indrelid, column);

	for (int i = 0; i < form->indnkeyatts; i++)
	{
		if (form->indkey.values[i] == attnum)
			return true;
	}
	return false;
}

static bool
is_constraint(Relation index)
{
	return OidIsValid(get_index_constraint(RelationGetRelid(index)));
}
