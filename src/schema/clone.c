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
#include "access/htup_details.h"
#include "access/relation.h"
#include "access/sysattr.h"
#include "access/table.h"
#include "catalog/indexing.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_policy.h"
#include "catalog/pg_type.h"
#include "commands/defrem.h"
#include "commands/tablespace.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "nodes/parsenodes.h"
#include "nodes/value.h"
#include "parser/parser.h"
#include "storage/bufmgr.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/ruleutils.h"

#include "catalog/step.h"
#include "schema/clone.h"
#include "schema/table.h"
#include "util/compat.h"
#include "util/ident.h"
#include "util/spi.h"

static char *create_sql(Relation source, const ZdmClone *clone);
static void read_definition(ZdmClone *clone);
static void read_made(ZdmClone *clone);
static void check_partition_key(Relation source, const ZdmClone *clone);
static void check_identity(Relation source);
static void check_constraints(Relation source, const ZdmClone *clone);
static void check_bare(Relation source, Oid made);
static pg_noreturn void unlike(Relation source, Oid made, const char *detail);
static ZdmStep *ddl(const char *description, char *sql);
static List *text_steps(const char *description, const char *query,
						Relation source, const ZdmClone *clone);
static List *withheld_steps(const ZdmClone *clone);
static List *option_steps(Relation source, const ZdmClone *clone);
static List *foreign_key_steps(Relation source, const ZdmClone *clone);
static List *privilege_steps(Relation source, const ZdmClone *clone);
static List *security_steps(Relation source, const ZdmClone *clone);
static ZdmStep *policy_step(Relation source, const ZdmClone *clone, HeapTuple tuple, TupleDesc desc);
static char *policy_expression(Relation source, const ZdmClone *clone, HeapTuple tuple,
							   TupleDesc desc, AttrNumber which);
static char *policy_roles(HeapTuple tuple, TupleDesc desc);
static Oid	matching_index(Oid index, Oid made);

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
	if (OidIsValid(clone->made))
		read_made(clone);
	else
		read_definition(clone);
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
	if (clone->definition != NULL)
		ereport(ERROR,
				errcode(ERRCODE_DUPLICATE_TABLE),
				errmsg("relation \"%s\" already exists", clone->name),
				errhint("Choose another name, or leave out \"definition\" where that table is to be the second one."));
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
 * Whether everything on the source can be carried over, so that nothing gets
 * lost without a word.
 */
void
zdm_clone_check(Relation source, const ZdmClone *clone)
{
	char	   *table = zdm_quote_relation(clone->source);

	/* Who builds an index runs the functions in it, before he gives it away. */
	if (source->rd_rel->relowner != GetUserId())
		ereport(ERROR,
				errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				errmsg("table \"%s\" belongs to role \"%s\", and so must the second one from its beginning",
					   RelationGetRelationName(source),
					   GetUserNameFromId(source->rd_rel->relowner, false)),
				errdetail("Functions of the owner's in its indexes would run with your rights."),
				errhint("SET ROLE %s; and make the same call again.",
						quote_identifier(GetUserNameFromId(source->rd_rel->relowner, false))));
	if (zdm_clone_key(source) == NIL)
		ereport(ERROR,
				errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				errmsg("table \"%s\" has no primary key", RelationGetRelationName(source)),
				errdetail("Without a key nobody can tell which row of the one table is which of the other."),
				errhint("CREATE UNIQUE INDEX CONCURRENTLY ... ON %s (...); then ALTER TABLE %s REPLICA IDENTITY USING INDEX ...;",
						table, table));
	if (clone->by_expression)
		ereport(ERROR,
				errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				errmsg("the primary key of table \"%s\" cannot be carried over to a table that is partitioned by an expression",
					   RelationGetRelationName(source)),
				errhint("Partition by columns, or make the table yourself, with what is to take the key's place, and call this with its name."));
	if (clone->partitioned && !OidIsValid(zdm_primary_key_index(source)))
		ereport(ERROR,
				errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				errmsg("table \"%s\" has no primary key", RelationGetRelationName(source)),
				errdetail("A partitioned table like it would have no replica identity."),
				errhint("ALTER TABLE %s ADD PRIMARY KEY ...;", table));
	check_partition_key(source, clone);
	if (source->rd_rules != NULL)
		ereport(ERROR,
				errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				errmsg("table \"%s\" has rules", RelationGetRelationName(source)),
				errdetail("What a rule makes of a statement does not come to the other table."),
				errhint("Make triggers of them, or drop them for the time of the migration."));
	check_identity(source);
	check_constraints(source, clone);
}

/*
 * The partition key is in the primary key, and so is never NULL there.
 */
static void
check_partition_key(Relation source, const ZdmClone *clone)
{
	ListCell   *lc;

	foreach(lc, clone->partition_key)
	{
		AttrNumber	attnum = zdm_check_user_column(source, lfirst(lc));

		if (!OidIsValid(clone->made) &&
			!TupleDescAttr(RelationGetDescr(source), attnum - 1)->attnotnull)
			ereport(ERROR,
					errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					errmsg("column \"%s\" of table \"%s\" may be NULL, and so cannot be in the partition key",
						   (char *) lfirst(lc), RelationGetRelationName(source)),
					errdetail("The primary key of the second table would have it."),
					errhint("ALTER TABLE %s ALTER COLUMN %s SET NOT NULL;",
							zdm_quote_relation(RelationGetRelid(source)), quote_identifier(lfirst(lc))));
	}
}

/*
 * A statement that sets a row's columns names all but those of the key.
 */
static void
check_identity(Relation source)
{
	List	   *key = zdm_clone_key(source);

	for (int i = 0; i < RelationGetNumberOfAttributes(source); i++)
	{
		Form_pg_attribute attr = TupleDescAttr(RelationGetDescr(source), i);
		bool		is_key = attr->attisdropped;
		ListCell   *lc;

		foreach(lc, key)
			is_key |= strcmp(lfirst(lc), NameStr(attr->attname)) == 0;
		if (!is_key && attr->attidentity == ATTRIBUTE_IDENTITY_ALWAYS)
			ereport(ERROR,
					errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					errmsg("column \"%s\" of table \"%s\" is GENERATED ALWAYS AS IDENTITY and not in the key",
						   NameStr(attr->attname), RelationGetRelationName(source)),
					errdetail("No update of the row could be repeated."),
					errhint("ALTER TABLE %s ALTER COLUMN %s SET GENERATED BY DEFAULT;",
							zdm_quote_relation(RelationGetRelid(source)),
							quote_identifier(NameStr(attr->attname))));
	}
}

/*
 * A constraint is valid on the empty clone, and so would be demanded there of
 * rows of which the source does not demand it.
 */
static void
check_constraints(Relation source, const ZdmClone *clone)
{
	List	   *names = zdm_query_strings("SELECT conname::pg_catalog.text FROM pg_catalog.pg_constraint"
										  " WHERE conrelid OPERATOR(pg_catalog.=) $1 AND NOT convalidated"
										  " ORDER BY conname COLLATE \"C\"",
										  ZDM_ARGS(ZDM_ARG(OIDOID, ObjectIdGetDatum(clone->source))));

	if (names != NIL)
		ereport(ERROR,
				errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				errmsg("constraint \"%s\" of table \"%s\" is not validated",
					   (char *) linitial(names), RelationGetRelationName(source)),
				errdetail("Rows that violate it could not be stored in the second table."),
				errhint("ALTER TABLE %s VALIDATE CONSTRAINT %s;", zdm_quote_relation(clone->source),
						quote_identifier(linitial(names))));
	names = zdm_query_strings("SELECT conname::pg_catalog.text FROM pg_catalog.pg_constraint"
							  " WHERE conrelid OPERATOR(pg_catalog.=) $1 AND confrelid OPERATOR(pg_catalog.=) $1"
							  " ORDER BY conname COLLATE \"C\"",
							  ZDM_ARGS(ZDM_ARG(OIDOID, ObjectIdGetDatum(clone->source))));
	if (names != NIL)
		ereport(ERROR,
				errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				errmsg("table \"%s\" refers to itself by foreign key \"%s\"",
					   RelationGetRelationName(source), (char *) linitial(names)),
				errdetail("Rows come to the second table one by one: a row that comes before the one that it refers to would be refused there."),
				errhint("Drop the foreign key for the time of the migration, or use strategy => 'view'."));
	if (!clone->partitioned)
		return;
	names = zdm_query_strings("SELECT conname::pg_catalog.text FROM pg_catalog.pg_constraint"
							  " WHERE conrelid OPERATOR(pg_catalog.=) $1 AND contype OPERATOR(pg_catalog.=) 'x'"
							  " ORDER BY conname COLLATE \"C\"",
							  ZDM_ARGS(ZDM_ARG(OIDOID, ObjectIdGetDatum(clone->source))));
	if (names != NIL)
		ereport(ERROR,
				errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				errmsg("exclusion constraint \"%s\" of table \"%s\" cannot be carried over to a partitioned table",
					   (char *) linitial(names), RelationGetRelationName(source)),
				errhint("Make the partitioned table yourself, with what is to take its place, and call this with its name."));
}

/*
 * Whether a table that the caller has made is one that can hold the source's
 * rows.
 */
void
zdm_clone_check_made(Relation source, Oid made)
{
	Relation	rel = relation_open(made, AccessShareLock);
	List	   *differences;
	ListCell   *lc;

	if (rel->rd_rel->relkind != RELKIND_RELATION &&
		rel->rd_rel->relkind != RELKIND_PARTITIONED_TABLE)
		ereport(ERROR,
				errcode(ERRCODE_WRONG_OBJECT_TYPE),
				errmsg("\"%s\" is not a table", RelationGetRelationName(rel)),
				errhint("Choose another name."));
	if (!object_ownercheck(RelationRelationId, made, GetUserId()))
		aclcheck_error(ACLCHECK_NOT_OWNER, OBJECT_TABLE, RelationGetRelationName(rel));
	if (rel->rd_rel->relowner != source->rd_rel->relowner)
		unlike(source, made, "It has another owner.");
	if (rel->rd_rel->relpersistence != source->rd_rel->relpersistence)
		unlike(source, made, "Only one of the two is logged.");
	differences = zdm_query_strings("SELECT pg_catalog.format('column %I: %s here, %s there', coalesce(a.attname, b.attname),"
									" coalesce(a.what, 'none'), coalesce(b.what, 'none')) FROM"
									" (SELECT attname, pg_catalog.format('%s%s%s', pg_catalog.format_type(atttypid, atttypmod),"
									" CASE WHEN attnotnull THEN ' NOT NULL' END, CASE WHEN attgenerated OPERATOR(pg_catalog.<>) '' THEN ' GENERATED' END) AS what"
									" FROM pg_catalog.pg_attribute WHERE attrelid OPERATOR(pg_catalog.=) $1 AND attnum OPERATOR(pg_catalog.>) 0 AND NOT attisdropped) a"
									" FULL JOIN (SELECT attname, pg_catalog.format('%s%s%s', pg_catalog.format_type(atttypid, atttypmod),"
									" CASE WHEN attnotnull THEN ' NOT NULL' END, CASE WHEN attgenerated OPERATOR(pg_catalog.<>) '' THEN ' GENERATED' END) AS what"
									" FROM pg_catalog.pg_attribute WHERE attrelid OPERATOR(pg_catalog.=) $2 AND attnum OPERATOR(pg_catalog.>) 0 AND NOT attisdropped) b"
									" ON a.attname OPERATOR(pg_catalog.=) b.attname"
									" WHERE a.what IS DISTINCT FROM b.what ORDER BY 1",
									ZDM_ARGS(ZDM_ARG(OIDOID, ObjectIdGetDatum(RelationGetRelid(source))),
											 ZDM_ARG(OIDOID, ObjectIdGetDatum(made))));
	if (differences != NIL)
	{
		StringInfoData list;

		initStringInfo(&list);
		foreach(lc, differences)
			appendStringInfo(&list, "%s%s", list.len ? "\n" : "", (char *) lfirst(lc));
		unlike(source, made, list.data);
	}
	foreach(lc, zdm_storage_relations(made))
	{
		Relation	part = table_open(lfirst_oid(lc), AccessShareLock);

		if (RelationGetNumberOfBlocks(part) > 0)
			unlike(source, made, "It has rows, or has had some.");
		table_close(part, AccessShareLock);
	}
	check_bare(source, made);
	relation_close(rel, AccessShareLock);
}

/*
 * What the source has comes to it, so it has none of that yet; and no counter
 * of its own, which would give numbers that the source's gives, too.
 */
static void
check_bare(Relation source, Oid made)
{
	List	   *found = zdm_query_strings("SELECT 'trigger ' OPERATOR(pg_catalog.||) tgname FROM pg_catalog.pg_trigger"
										  " WHERE tgrelid OPERATOR(pg_catalog.=) $1 AND NOT tgisinternal"
										  " UNION ALL SELECT 'policy ' OPERATOR(pg_catalog.||) polname FROM pg_catalog.pg_policy"
										  " WHERE polrelid OPERATOR(pg_catalog.=) $1"
										  " UNION ALL SELECT 'rule ' OPERATOR(pg_catalog.||) rulename FROM pg_catalog.pg_rewrite"
										  " WHERE ev_class OPERATOR(pg_catalog.=) $1"
										  " UNION ALL SELECT 'a sequence of column ' OPERATOR(pg_catalog.||) a.attname FROM pg_catalog.pg_depend d"
										  " JOIN pg_catalog.pg_class s ON s.oid OPERATOR(pg_catalog.=) d.objid AND s.relkind OPERATOR(pg_catalog.=) 'S'"
										  " JOIN pg_catalog.pg_attribute a ON a.attrelid OPERATOR(pg_catalog.=) d.refobjid AND a.attnum OPERATOR(pg_catalog.=) d.refobjsubid"
										  " WHERE d.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_class'::pg_catalog.regclass"
										  " AND d.refclassid OPERATOR(pg_catalog.=) 'pg_catalog.pg_class'::pg_catalog.regclass"
										  " AND d.refobjid OPERATOR(pg_catalog.=) $1 AND d.deptype IN ('a', 'i')",
										  ZDM_ARGS(ZDM_ARG(OIDOID, ObjectIdGetDatum(made))));

	if (found != NIL)
		unlike(source, made, psprintf("It has %s already: all of that is copied from the other table.",
									  (char *) linitial(found)));
	if (!zdm_has_key_index(made, zdm_clone_key(source), false))
		unlike(source, made, psprintf("It has no index that begins with the other one's key (%s).",
									  zdm_names_text(zdm_clone_key(source))));
}

static void
unlike(Relation source, Oid made, const char *detail)
{
	ereport(ERROR,
			errcode(ERRCODE_INVALID_TABLE_DEFINITION),
			errmsg("table \"%s\" cannot take the rows of table \"%s\"",
				   get_rel_name(made), RelationGetRelationName(source)),
			errdetail("%s", detail),
			errhint("Make it like the other one, empty, or choose a name that is not taken yet."));
}

static ZdmStep *
ddl(const char *description, char *sql)
{
	return zdm_step(ZDM_STEP_DDL, NoLock, description, sql);
}

/*
 * A step for each text that the query finds; it gets the source as $1 and the
 * clone's name as $2.
 */
static List *
text_steps(const char *description, const char *query, Relation source,
		   const ZdmClone *clone)
{
	List	   *steps = NIL;
	ListCell   *lc;

	foreach(lc, zdm_query_strings(query,
								  ZDM_ARGS(ZDM_ARG(OIDOID, ObjectIdGetDatum(RelationGetRelid(source))),
										   zdm_arg_text(zdm_clone_name(clone)))))
		steps = lappend(steps, ddl(description, lfirst(lc)));
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
		steps = list_make1(ddl("create the second table", create_sql(source, clone)));
		steps = list_concat(steps, withheld_steps(clone));
		if (clone->partitioned)
			steps = list_concat(steps, zdm_clone_index_steps(source, clone));
		else
			steps = list_concat(steps, option_steps(source, clone));
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

	foreach(lc, zdm_query_strings("SELECT DISTINCT pg_catalog.format('REVOKE ALL ON %s FROM %s', $1,"
								  " CASE WHEN e.grantee OPERATOR(pg_catalog.=) 0 THEN 'PUBLIC'"
								  " ELSE pg_catalog.quote_ident(pg_catalog.pg_get_userbyid(e.grantee)) END)"
								  " FROM pg_catalog.pg_default_acl d, pg_catalog.aclexplode(d.defaclacl) e"
								  " WHERE d.defaclobjtype OPERATOR(pg_catalog.=) 'r' AND d.defaclrole OPERATOR(pg_catalog.=) $2"
								  " AND e.grantee OPERATOR(pg_catalog.<>) $2 ORDER BY 1",
								  ZDM_ARGS(zdm_arg_text(zdm_clone_name(clone)),
										   ZDM_ARG(OIDOID, ObjectIdGetDatum(GetUserId())))))
		steps = lappend(steps, ddl("withhold what new tables are granted", lfirst(lc)));
	return steps;
}

/*
 * The storage parameters that the clause does not set.
 */
static List *
option_steps(Relation source, const ZdmClone *clone)
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
		steps = lappend(steps, ddl("set a storage parameter", lfirst(lc)));
	return steps;
}

/*
 * The steps that give it what else is on the source.
 */
List *
zdm_clone_dress_steps(Relation source, const ZdmClone *clone)
{
	/* An option whose name begins with pg_ is the server's own note. */
	static const char *const columns_sql =
		"SELECT pg_catalog.format('ALTER TABLE %s %s', $2, pg_catalog.concat_ws(', ', s.target, s.options)) FROM ("
		"SELECT a.attnum, CASE WHEN a.attstattarget OPERATOR(pg_catalog.>=) 0 THEN"
		" pg_catalog.format('ALTER COLUMN %I SET STATISTICS %s', a.attname, a.attstattarget) END AS target,"
		" (SELECT pg_catalog.format('ALTER COLUMN %I SET (%s)', a.attname,"
		" pg_catalog.string_agg(pg_catalog.format('%I = %L', o.option_name, o.option_value), ', ' ORDER BY o.option_name))"
		" FROM pg_catalog.pg_options_to_table(a.attoptions) o"
		" WHERE NOT pg_catalog.starts_with(o.option_name, 'pg_') HAVING pg_catalog.count(*) OPERATOR(pg_catalog.>) 0) AS options"
		" FROM pg_catalog.pg_attribute a WHERE a.attrelid OPERATOR(pg_catalog.=) $1"
		" AND a.attnum OPERATOR(pg_catalog.>) 0 AND NOT a.attisdropped) s"
		" WHERE s.target IS NOT NULL OR s.options IS NOT NULL ORDER BY s.attnum";
	static const char *const comment_sql =
		"SELECT pg_catalog.format('COMMENT ON TABLE %s IS %L', $2, c.text)"
		" FROM (SELECT pg_catalog.obj_description($1, 'pg_class') AS text) c WHERE c.text IS NOT NULL";
	static const char *const comments_sql =
		"SELECT pg_catalog.format('COMMENT ON %s %I ON %s IS %L', o.kind, o.name, $2, d.description)"
		" FROM (SELECT 'pg_catalog.pg_trigger'::pg_catalog.regclass AS class, t.oid, 'TRIGGER' AS kind, t.tgname AS name"
		" FROM pg_catalog.pg_trigger t WHERE t.tgrelid OPERATOR(pg_catalog.=) $1 AND NOT t.tgisinternal"
		" UNION ALL SELECT 'pg_catalog.pg_policy', p.oid, 'POLICY', p.polname FROM pg_catalog.pg_policy p"
		" WHERE p.polrelid OPERATOR(pg_catalog.=) $1) o JOIN pg_catalog.pg_description d"
		" ON d.classoid OPERATOR(pg_catalog.=) o.class AND d.objoid OPERATOR(pg_catalog.=) o.oid ORDER BY 1";
	List	   *steps = NIL;

	steps = list_concat(steps, text_steps("give a column its target and options for statistics", columns_sql, source, clone));
	steps = list_concat(steps, text_steps("copy the comment", comment_sql, source, clone));
	steps = list_concat(steps, foreign_key_steps(source, clone));
	steps = list_concat(steps, zdm_clone_trigger_steps(source, clone));
	steps = list_concat(steps, privilege_steps(source, clone));
	steps = list_concat(steps, security_steps(source, clone));
	steps = list_concat(steps, text_steps("copy a comment", comments_sql, source, clone));
	return steps;
}

/* A table that the caller has made may have it already. */
#define MISSING \
	" AND NOT EXISTS (SELECT FROM pg_catalog.pg_constraint o" \
	" WHERE o.conrelid OPERATOR(pg_catalog.=) pg_catalog.to_regclass($2)" \
	" AND o.conname OPERATOR(pg_catalog.=) k.conname)"

/*
 * What the source refers to, the clone does.
 */
static List *
foreign_key_steps(Relation source, const ZdmClone *clone)
{
	static const char *const sql =
		"SELECT pg_catalog.format('ALTER TABLE %s ADD CONSTRAINT %I %s', $2, k.conname,"
		" pg_catalog.pg_get_constraintdef(k.oid))"
		" FROM pg_catalog.pg_constraint k WHERE k.conrelid OPERATOR(pg_catalog.=) $1"
		" AND k.contype OPERATOR(pg_catalog.=) 'f' AND k.conparentid OPERATOR(pg_catalog.=) 0" MISSING
		" ORDER BY k.conname COLLATE \"C\"";
	static const char *const comment_sql =
		"SELECT pg_catalog.format('COMMENT ON CONSTRAINT %I ON %s IS %L', k.conname, $2, d.description)"
		" FROM pg_catalog.pg_constraint k JOIN pg_catalog.pg_description d"
		" ON d.objoid OPERATOR(pg_catalog.=) k.oid"
		" AND d.classoid OPERATOR(pg_catalog.=) 'pg_catalog.pg_constraint'::pg_catalog.regclass"
		" WHERE k.conrelid OPERATOR(pg_catalog.=) $1"
		" AND k.contype OPERATOR(pg_catalog.=) 'f' AND k.conparentid OPERATOR(pg_catalog.=) 0" MISSING
		" ORDER BY k.conname COLLATE \"C\"";

	return list_concat(text_steps("add a foreign key", sql, source, clone),
					   text_steps("copy a comment", comment_sql, source, clone));
}

/*
 * Privileges of the table and of its columns.  The owner's own come with the
 * ownership, where he has not taken them from himself.
 */
static List *
privilege_steps(Relation source, const ZdmClone *clone)
{
	static const char *const sql =
		"SELECT pg_catalog.format('GRANT %s%s ON %s TO %s%s', x.privilege_type,"
		" CASE WHEN x.attname IS NOT NULL THEN pg_catalog.format(' (%I)', x.attname) END, $2,"
		" CASE WHEN x.grantee OPERATOR(pg_catalog.=) 0 THEN 'PUBLIC'"
		" ELSE pg_catalog.quote_ident(pg_catalog.pg_get_userbyid(x.grantee)) END,"
		" CASE WHEN x.is_grantable THEN ' WITH GRANT OPTION' END)"
		" FROM (SELECT NULL::pg_catalog.name AS attname, e.* FROM pg_catalog.pg_class c, pg_catalog.aclexplode(c.relacl) e"
		" WHERE c.oid OPERATOR(pg_catalog.=) $1 AND e.grantee OPERATOR(pg_catalog.<>) c.relowner"
		" UNION ALL SELECT a.attname, e.* FROM pg_catalog.pg_attribute a, pg_catalog.aclexplode(a.attacl) e"
		" WHERE a.attrelid OPERATOR(pg_catalog.=) $1) x ORDER BY 1";

	return text_steps("copy a privilege", sql, source, clone);
}

static List *
security_steps(Relation source, const ZdmClone *clone)
{
	static const char *const sql =
		"SELECT pg_catalog.format('ALTER TABLE %s %s ROW LEVEL SECURITY', $2, s.word)"
		" FROM pg_catalog.pg_class c, LATERAL (VALUES (c.relrowsecurity, 'ENABLE'), (c.relforcerowsecurity, 'FORCE'))"
		" s(is_on, word) WHERE c.oid OPERATOR(pg_catalog.=) $1 AND s.is_on";
	Relation	policies = table_open(PolicyRelationId, AccessShareLock);
	List	   *steps = NIL;
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;

	ScanKeyInit(&key, Anum_pg_policy_polrelid, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(RelationGetRelid(source)));
	scan = systable_beginscan(policies, PolicyPolrelidPolnameIndexId, true, NULL, 1, &key);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
		steps = lappend(steps, policy_step(source, clone, tuple, RelationGetDescr(policies)));
	systable_endscan(scan);
	table_close(policies, AccessShareLock);
	return list_concat(steps, text_steps("switch row security on", sql, source, clone));
}

static ZdmStep *
policy_step(Relation source, const ZdmClone *clone, HeapTuple tuple, TupleDesc desc)
{
	Form_pg_policy form = (Form_pg_policy) GETSTRUCT(tuple);
	char	   *using = policy_expression(source, clone, tuple, desc, Anum_pg_policy_polqual);
	char	   *check = policy_expression(source, clone, tuple, desc, Anum_pg_policy_polwithcheck);
	StringInfoData sql;

	initStringInfo(&sql);
	appendStringInfo(&sql, "CREATE POLICY %s ON %s AS %s FOR %s TO %s",
					 quote_identifier(NameStr(form->polname)), zdm_clone_name(clone),
					 form->polpermissive ? "PERMISSIVE" : "RESTRICTIVE",
					 form->polcmd == ACL_SELECT_CHR ? "SELECT" :
					 form->polcmd == ACL_INSERT_CHR ? "INSERT" :
					 form->polcmd == ACL_UPDATE_CHR ? "UPDATE" :
					 form->polcmd == ACL_DELETE_CHR ? "DELETE" : "ALL",
					 policy_roles(tuple, desc));
	if (using != NULL)
		appendStringInfo(&sql, " USING (%s)", using);
	if (check != NULL)
		appendStringInfo(&sql, " WITH CHECK (%s)", check);
	return ddl("copy a policy", sql.data);
}

/*
 * The clone's name is the name of the relation that the expression is over:
 * in a subquery it may be needed.
 */
static char *
policy_expression(Relation source, const ZdmClone *clone, HeapTuple tuple,
				  TupleDesc desc, AttrNumber which)
{
	bool		isnull;
	Datum		stored = heap_getattr(tuple, which, desc, &isnull);
	ZdmIdentity saved;
	char	   *result;

	if (isnull)
		return NULL;
	zdm_pin_path(&saved);
	zdm_pin_style();
	result = deparse_expression(stringToNode(TextDatumGetCString(stored)),
								deparse_context_for(clone->name, RelationGetRelid(source)),
								false, false);
	zdm_unbecome(&saved);
	return result;
}

static char *
policy_roles(HeapTuple tuple, TupleDesc desc)
{
	bool		isnull;
	Datum		roles = heap_getattr(tuple, Anum_pg_policy_polroles, desc, &isnull);
	Datum	   *oids;
	int			count;
	StringInfoData sql;

	initStringInfo(&sql);
	deconstruct_array(DatumGetArrayTypeP(roles), OIDOID, sizeof(Oid), true, TYPALIGN_INT,
					  &oids, NULL, &count);
	for (int i = 0; i < count; i++)
		appendStringInfo(&sql, "%s%s", i > 0 ? ", " : "",
						 DatumGetObjectId(oids[i]) == ACL_ID_PUBLIC ? "PUBLIC"
						 : quote_identifier(GetUserNameFromId(DatumGetObjectId(oids[i]), false)));
	return sql.data;
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
