/*-------------------------------------------------------------------------
 *
 * clone_index.c
 *	  The indexes of a table, on a partitioned table like it; and the marks that
 *	  name one.
 *
 * A unique index of a partitioned table must have the partition key in it.
 * Where it has not, the key's columns are added behind its own: the shorter
 * key is unique as long as the old table has every row, and no longer.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/dependency.h"
#include "catalog/pg_class.h"
#include "catalog/pg_constraint.h"
#include "catalog/pg_index.h"
#include "catalog/pg_type.h"
#include "commands/comment.h"
#include "commands/defrem.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"

#include "catalog/step.h"
#include "schema/clone.h"
#include "util/compat.h"
#include "util/ident.h"
#include "util/spi.h"

static char *index_sql(Relation index, const ZdmClone *clone);
static char *key_columns(Relation index, const ZdmClone *clone, bool plain);
static char *added_column(Relation index, const char *column, bool plain);
static char *included_columns(Relation index);
static char *tail(Relation index);
static List *added_columns(Relation index, const ZdmClone *clone);
static bool is_deferred(Oid constraint);
static bool has_column(Relation index, const char *column);
static Oid	matching_index(Oid index, Oid made);

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
 * What they are (char *), with their comments but without names, which are the
 * server's choice.
 */
List *
zdm_clone_index_texts(Relation rel, const ZdmClone *clone)
{
	List	   *texts = NIL;
	ListCell   *lc;

	foreach(lc, RelationGetIndexList(rel))
	{
		Relation	index = index_open(lfirst_oid(lc), AccessShareLock);
		char	   *comment = GetComment(lfirst_oid(lc), RelationRelationId, 0);

		if (index->rd_index->indisvalid)
			texts = lappend(texts, comment == NULL ? index_sql(index, clone)
							: psprintf("%s; COMMENT ON INDEX ... IS %s", index_sql(index, clone),
									   quote_literal_cstr(comment)));
		index_close(index, AccessShareLock);
	}
	return texts;
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
	Oid			constraint = get_index_constraint(RelationGetRelid(index));
	char	   *included = included_columns(index);
	char	   *method = get_am_name(index->rd_rel->relam);

	if (OidIsValid(constraint) && added_columns(index, clone) == NIL)
		return psprintf("ALTER TABLE %s ADD %s", zdm_clone_name(clone),
						TextDatumGetCString(DirectFunctionCall1(pg_get_constraintdef, ObjectIdGetDatum(constraint))));
	if (OidIsValid(constraint))
		return psprintf("ALTER TABLE %s ADD %s%s (%s)%s%s%s", zdm_clone_name(clone),
						index->rd_index->indisprimary ? "PRIMARY KEY" : "UNIQUE",
						index->rd_index->indnullsnotdistinct ? " NULLS NOT DISTINCT" : "",
						key_columns(index, clone, true), included,
						index->rd_index->indimmediate ? "" : " DEFERRABLE",
						is_deferred(constraint) ? " INITIALLY DEFERRED" : "");
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
	ListCell   *lc;

	foreach(lc, added_columns(index, clone))
		columns = lappend(columns, added_column(index, lfirst(lc), plain));
	return zdm_join(columns, ", ");
}

/*
 * As an index has a column by default.
 */
static char *
added_column(Relation index, const char *column, bool plain)
{
	static const char *const sql =
		"SELECT pg_catalog.concat(pg_catalog.format('%I', a.attname),"
		" (SELECT pg_catalog.format(' COLLATE %I.%I', n.nspname, l.collname) FROM pg_catalog.pg_collation l"
		" JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) l.collnamespace"
		" WHERE l.oid OPERATOR(pg_catalog.=) a.attcollation),"
		" (SELECT pg_catalog.format(' %I.%I', n.nspname, k.opcname) FROM pg_catalog.pg_opclass k"
		" JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) k.opcnamespace"
		" WHERE k.oid OPERATOR(pg_catalog.=) $3))"
		" FROM pg_catalog.pg_attribute a WHERE a.attrelid OPERATOR(pg_catalog.=) $1 AND a.attname OPERATOR(pg_catalog.=) $2";
	Oid			relid = index->rd_index->indrelid;
	Oid			opclass = GetDefaultOpClass(get_atttype(relid, get_attnum(relid, column)),
											index->rd_rel->relam);

	if (plain)
		return pstrdup(quote_identifier(column));
	return linitial(zdm_query_strings(sql, ZDM_ARGS(ZDM_ARG(OIDOID, ObjectIdGetDatum(relid)),
													zdm_arg_name(column),
													ZDM_ARG(OIDOID, ObjectIdGetDatum(opclass)))));
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
is_deferred(Oid constraint)
{
	HeapTuple	tuple = SearchSysCache1(CONSTROID, ObjectIdGetDatum(constraint));
	bool		result;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for constraint %u", constraint);
	result = ((Form_pg_constraint) GETSTRUCT(tuple))->condeferred;
	ReleaseSysCache(tuple);
	return result;
}

/*
 * The statement that gives the clone the source's replica identity.  Where no
 * index is like the source's, it is the primary key.
 */
char *
zdm_clone_replica_identity(Oid source, Oid made)
{
	char	   *table = zdm_quote_relation(made);
	Relation	rel = table_open(source, AccessShareLock);
	char		identity = rel->rd_rel->relreplident;
	Oid			index = identity == REPLICA_IDENTITY_INDEX ? RelationGetReplicaIndex(rel) : InvalidOid;
	Oid			match = OidIsValid(index) ? matching_index(index, made) : InvalidOid;

	table_close(rel, AccessShareLock);
	if (OidIsValid(match))
		return psprintf("ALTER TABLE %s REPLICA IDENTITY USING INDEX %s", table,
						quote_identifier(get_rel_name(match)));
	return psprintf("ALTER TABLE %s REPLICA IDENTITY %s", table,
					identity == REPLICA_IDENTITY_FULL ? "FULL" :
					identity == REPLICA_IDENTITY_NOTHING ? "NOTHING" : "DEFAULT");
}

/*
 * The same for the index that CLUSTER goes by; where none is like it, none.
 */
char *
zdm_clone_cluster_mark(Oid source, Oid made)
{
	char	   *table = zdm_quote_relation(made);
	Relation	rel = table_open(source, AccessShareLock);
	Oid			match = InvalidOid;
	ListCell   *lc;

	foreach(lc, RelationGetIndexList(rel))
	{
		if (get_index_isclustered(lfirst_oid(lc)))
			match = matching_index(lfirst_oid(lc), made);
	}
	table_close(rel, AccessShareLock);
	return OidIsValid(match)
		? psprintf("ALTER TABLE %s CLUSTER ON %s", table, quote_identifier(get_rel_name(match)))
		: psprintf("ALTER TABLE %s SET WITHOUT CLUSTER", table);
}

/*
 * The index of the clone that is of the same columns, in their order, and as
 * unique; InvalidOid where there is none.
 */
static Oid
matching_index(Oid index, Oid made)
{
	List	   *found = zdm_query_strings("SELECT j.indexrelid::pg_catalog.text FROM pg_catalog.pg_index i, pg_catalog.pg_index j"
										  " WHERE i.indexrelid OPERATOR(pg_catalog.=) $1 AND j.indrelid OPERATOR(pg_catalog.=) $2"
										  " AND i.indisunique OPERATOR(pg_catalog.=) j.indisunique"
										  " AND i.indnkeyatts OPERATOR(pg_catalog.=) j.indnkeyatts"
										  " AND NOT EXISTS (SELECT FROM pg_catalog.generate_series(1, i.indnkeyatts) n"
										  " WHERE pg_catalog.pg_get_indexdef(i.indexrelid, n, false)"
										  " OPERATOR(pg_catalog.<>) pg_catalog.pg_get_indexdef(j.indexrelid, n, false))"
										  " ORDER BY j.indisprimary DESC, j.indexrelid LIMIT 1",
										  ZDM_ARGS(ZDM_ARG(OIDOID, ObjectIdGetDatum(index)),
												   ZDM_ARG(OIDOID, ObjectIdGetDatum(made))));

	return found ? (Oid) strtoul(linitial(found), NULL, 10) : InvalidOid;
}
