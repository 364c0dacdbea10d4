/*-------------------------------------------------------------------------
 *
 * clone.c
 *	  A table like another one, in a heap of its own.
 *
 * The clone has every column, default, constraint, index, privilege, policy,
 * trigger and comment of its source, and beside them what the caller's clause
 * says: other partitioning, another tablespace, other storage.  All of it is
 * built while the clone is empty, so nothing is scanned and every constraint
 * is valid from the start.
 *
 * What the server's own CREATE TABLE ... LIKE copies, it copies, by attribute
 * number; the rest is read from the catalogs and written as the server writes
 * its own definitions, with the clone's name as the name of the relation that
 * the expressions are over.
 *
 * Three things wait.  Triggers are made, but disabled: as long as both tables
 * hold every row, a statement on either must fire them once (clone_trigger.c).
 * Sequences stay the source's, or two counters would give one number twice
 * (clone_sequence.c).  Foreign keys that refer to the source follow when the
 * clone has its rows.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "commands/defrem.h"
#include "commands/tablespace.h"
#include "nodes/parsenodes.h"
#include "nodes/value.h"
#include "parser/parser.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "catalog/step.h"
#include "schema/clone.h"
#include "schema/privilege.h"
#include "util/compat.h"
#include "util/ident.h"
#include "util/spi.h"

static char *create_sql(Relation source, const ZdmClone *clone);
static void read_definition(ZdmClone *clone);
static void read_made(ZdmClone *clone);
static List *withheld_steps(const ZdmClone *clone);

/*
 * What is to be made of the source, in the current context.  Refuses a clause
 * that is anything but the end of one CREATE TABLE.
 */
ZdmClone *
zdm_clone(Relation source, const char *schema, const char *name,
		  const char *definition)
{
	ZdmClone   *clone = palloc0_object(ZdmClone);

	clone->source = RelationGetRelid(source);
	clone->schema = pstrdup(schema);
	clone->name = pstrdup(name);
	if (definition != NULL && definition[0] != '\0')
		clone->definition = pstrdup(definition);
	clone->made = get_relname_relid(name, get_namespace_oid(schema, false));
	if (OidIsValid(clone->made) && clone->definition != NULL)
		ereport(ERROR,
				errcode(ERRCODE_DUPLICATE_TABLE),
				errmsg("relation \"%s\" already exists", clone->name),
				errhint("Choose another name, or leave out \"definition\" where that table is to be the second one."));
	if (OidIsValid(clone->made))
		read_made(clone);
	else
		read_definition(clone);
	return clone;
}

/*
 * One that is there, whoever has made it.
 */
ZdmClone *
zdm_clone_existing(Oid source, Oid made)
{
	ZdmClone   *clone = palloc0_object(ZdmClone);

	clone->source = source;
	clone->schema = get_namespace_name(get_rel_namespace(made));
	clone->name = get_rel_name(made);
	clone->made = made;
	read_made(clone);
	return clone;
}

char *
zdm_clone_name(const ZdmClone *clone)
{
	return quote_qualified_identifier(clone->schema, clone->name);
}

/*
 * CREATE TABLE.  Indexes come with the columns where the server can copy them:
 * those of a partitioned table must have its key in them.
 */
static char *
create_sql(Relation source, const ZdmClone *clone)
{
	StringInfoData sql;
	Oid			method = source->rd_rel->relam;
	Oid			tablespace = source->rd_rel->reltablespace;

	initStringInfo(&sql);
	appendStringInfo(&sql, "CREATE %sTABLE %s (LIKE %s INCLUDING ALL EXCLUDING IDENTITY%s)",
					 source->rd_rel->relpersistence == RELPERSISTENCE_UNLOGGED ? "UNLOGGED " : "",
					 zdm_clone_name(clone), zdm_quote_relation(clone->source),
					 clone->partitioned ? " EXCLUDING INDEXES" : "");
	if (!clone->stored && !clone->partitioned && OidIsValid(method) &&
		strcmp(get_am_name(method), default_table_access_method) != 0)
		appendStringInfo(&sql, " USING %s", quote_identifier(get_am_name(method)));
	if (clone->definition != NULL)
		appendStringInfo(&sql, " %s", clone->definition);
	if (!clone->placed && OidIsValid(tablespace))
		appendStringInfo(&sql, " TABLESPACE %s", quote_identifier(get_tablespace_name(tablespace)));
	return sql.data;
}

/*
 * The clause is the caller's own and runs with his rights alone.  It is still
 * to be a clause, not a second statement, nor more than what comes behind the
 * columns.
 */
static void
read_definition(ZdmClone *clone)
{
	List	   *raw = raw_parser(psprintf("CREATE TABLE %s (LIKE %s) %s", zdm_clone_name(clone),
										  zdm_quote_relation(clone->source),
										  clone->definition ? clone->definition : ""),
								 RAW_PARSE_DEFAULT);
	Node	   *stmt = list_length(raw) == 1 ? linitial_node(RawStmt, raw)->stmt : NULL;
	CreateStmt *create;
	ListCell   *lc;

	if (stmt == NULL || !IsA(stmt, CreateStmt))
		ereport(ERROR,
				errcode(ERRCODE_SYNTAX_ERROR),
				errmsg("\"definition\" is more than the end of one CREATE TABLE"),
				errhint("For example definition => 'PARTITION BY RANGE (created_at)' or 'WITH (fillfactor = 70) TABLESPACE fast'."));
	create = (CreateStmt *) stmt;
	if (create->inhRelations != NIL || create->partbound != NULL ||
		create->oncommit != ONCOMMIT_NOOP || list_length(create->tableElts) != 1)
		ereport(ERROR,
				errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				errmsg("\"definition\" may not make the table a child of another one or a temporary one"),
				errhint("Leave out INHERITS and ON COMMIT."));
	clone->placed = create->tablespacename != NULL;
	clone->stored = create->accessMethod != NULL;
	foreach(lc, create->options)
	{
		DefElem    *option = lfirst_node(DefElem, lc);

		clone->options = lappend(clone->options,
								 psprintf("%s%s%s", option->defnamespace ? option->defnamespace : "",
										  option->defnamespace ? "." : "", option->defname));
	}
	if (create->partspec == NULL)
		return;
	clone->partitioned = true;
	foreach(lc, create->partspec->partParams)
	{
		PartitionElem *elem = lfirst_node(PartitionElem, lc);

		if (elem->name != NULL)
			clone->partition_key = lappend(clone->partition_key, pstrdup(elem->name));
		else
			clone->by_expression = true;
	}
}

/*
 * The same of a table that the caller has made.
 */
static void
read_made(ZdmClone *clone)
{
	clone->partitioned = get_rel_relkind(clone->made) == RELKIND_PARTITIONED_TABLE;
	if (clone->partitioned)
		clone->partition_key =
			zdm_query_strings("SELECT a.attname::pg_catalog.text FROM pg_catalog.pg_partitioned_table p"
							  " JOIN pg_catalog.pg_attribute a ON a.attrelid OPERATOR(pg_catalog.=) p.partrelid"
							  " AND a.attnum OPERATOR(pg_catalog.=) ANY (p.partattrs) WHERE p.partrelid OPERATOR(pg_catalog.=) $1",
							  ZDM_ARGS(ZDM_ARG(OIDOID, ObjectIdGetDatum(clone->made))));
}

/*
 * The columns (char *) that say which row is which: those of the primary key
 * or, where there is none, of the replica identity's index.  NIL: none.
 */
List *
zdm_clone_key(Relation source)
{
	Oid			key = zdm_primary_key_index(source);
	Relation	index;
	List	   *result = NIL;

	if (!OidIsValid(key))
		key = RelationGetReplicaIndex(source);
	if (!OidIsValid(key))
		return NIL;
	index = index_open(key, AccessShareLock);
	for (int i = 0; i < index->rd_index->indnkeyatts; i++)
		result = lappend(result,
						 get_attname(RelationGetRelid(source), index->rd_index->indkey.values[i], false));
	index_close(index, AccessShareLock);
	return result;
}

/*
 * A step for each text that the query finds; it gets the source as $1 and the
 * clone's name as $2.
 */
List *
zdm_clone_steps(const char *description, const char *query, Relation source,
				const ZdmClone *clone)
{
	List	   *steps = NIL;
	ListCell   *lc;

	foreach(lc, zdm_query_strings(query,
								  ZDM_ARGS(ZDM_ARG(OIDOID, ObjectIdGetDatum(RelationGetRelid(source))),
										   zdm_arg_text(zdm_clone_name(clone)))))
		steps = lappend(steps, zdm_step(ZDM_STEP_DDL, NoLock, description, lfirst(lc)));
	return steps;
}

/*
 * The steps that make the table itself, with its indexes and defaults.
 */
List *
zdm_clone_create_steps(Relation source, const ZdmClone *clone)
{
	List	   *steps = NIL;

	if (!OidIsValid(clone->made))
	{
		steps = list_make1(zdm_step(ZDM_STEP_DDL, NoLock, "create the second table",
									create_sql(source, clone)));
		steps = list_concat(steps, withheld_steps(clone));
		if (clone->partitioned)
			steps = list_concat(steps, zdm_clone_index_steps(source, clone));
		else
			steps = list_concat(steps, zdm_clone_option_steps(source, clone));
	}
	return list_concat(steps, zdm_clone_default_steps(source, clone));
}

/*
 * What is granted on every new table is taken away: nobody has a right to the
 * clone who has none to the source.
 */
static List *
withheld_steps(const ZdmClone *clone)
{
	List	   *steps = NIL;
	ListCell   *lc;

	foreach(lc, zdm_withhold_texts(zdm_clone_name(clone)))
		steps = lappend(steps, zdm_step(ZDM_STEP_DDL, NoLock, "withhold what new tables are granted", lfirst(lc)));
	return steps;
}

/*
 * The storage parameters that the clause does not set.
 */
List *
zdm_clone_option_steps(Relation source, const ZdmClone *clone)
{
	List	   *steps = NIL;
	ListCell   *lc;

	foreach(lc, zdm_query_strings("SELECT pg_catalog.format('ALTER TABLE %s SET (%s%I = %L)', $2, o.namespace, o.name, o.value)"
								  " FROM (SELECT '' AS namespace, p.option_name AS name, p.option_value AS value"
								  " FROM pg_catalog.pg_class c, pg_catalog.pg_options_to_table(c.reloptions) p"
								  " WHERE c.oid OPERATOR(pg_catalog.=) $1"
								  " UNION ALL SELECT 'toast.', p.option_name, p.option_value"
								  " FROM pg_catalog.pg_class c JOIN pg_catalog.pg_class t ON t.oid OPERATOR(pg_catalog.=) c.reltoastrelid,"
								  " pg_catalog.pg_options_to_table(t.reloptions) p WHERE c.oid OPERATOR(pg_catalog.=) $1) o"
								  " WHERE o.namespace OPERATOR(pg_catalog.||) o.name OPERATOR(pg_catalog.<>) ALL ($3) ORDER BY 1",
								  ZDM_ARGS(ZDM_ARG(OIDOID, ObjectIdGetDatum(RelationGetRelid(source))),
										   zdm_arg_text(zdm_clone_name(clone)),
										   zdm_arg_texts(clone->options))))
		steps = lappend(steps, zdm_step(ZDM_STEP_DDL, NoLock, "set a storage parameter", lfirst(lc)));
	return steps;
}
