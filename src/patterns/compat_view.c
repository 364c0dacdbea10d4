/*-------------------------------------------------------------------------
 *
 * compat_view.c
 *	  What the patterns with a compatibility view have in common.
 *
 * Most of it is what a view cannot do, or what an application, a job or a
 * subscriber that knows a table by its name meets while that name is a view's.
 * What concerns the table at hand is a warning, the rest is told by
 * zdm.explain.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "hooks/utility.h"
#include "patterns/compat_view.h"
#include "schema/depend.h"
#include "schema/view_acl.h"
#include "util/compat.h"
#include "util/ident.h"
#include "util/spi.h"

typedef struct Upserts
{
	Oid			relation;
	List	   *found;			/* char * */
} Upserts;

static List *replication_notes(Relation rel);
static List *trigger_notes(Relation rel);
static List *sequence_notes(Relation rel, const ZdmView *view);
static List *default_notes(Relation rel, const ZdmView *view);
static List *kind_notes(Relation rel, const ZdmView *view);
static List *upsert_notes(Relation rel, const ZdmView *view);
static void find_upserts(void *arg);

/*
 * The migration's view, InvalidOid where there is none yet.
 */
Oid
zdm_view_of(ZdmMigration *migration)
{
	return migration->others ? linitial_oid(migration->others) : InvalidOid;
}

/*
 * The view as it is now.
 */
static ZdmView
present_view(ZdmMigration *migration)
{
	return (ZdmView)
	{
		.oid = zdm_view_of(migration),
			.place = zdm_relation_place(zdm_view_of(migration)),
			.table = zdm_relation_place(migration->relation),
			.column = migration->old_columns ? linitial(migration->old_columns) : NULL,
			.twin = migration->new_columns ? linitial(migration->new_columns) : NULL,
	};
}

List *
zdm_view_attached(ZdmMigration *migration, ZdmPhase phase)
{
	return OidIsValid(zdm_view_of(migration)) ? zdm_view_dependents(zdm_view_of(migration)) : NIL;
}

/*
 * Raise an error where the view would no longer do what the table does.
 */
void
zdm_view_guard(ZdmMigration *migration, Relation rel)
{
	ZdmView		view = present_view(migration);
	char	   *broken = zdm_view_broken(rel, &view);

	if (broken != NULL)
		zdm_view_refuse(migration, broken);
}

void
zdm_view_refuse(ZdmMigration *migration, const char *reason)
{
	ereport(ERROR,
			errcode(ERRCODE_OBJECT_IN_USE),
			errmsg("table \"%s\" has two names while migration \"%s\" is in flight: %s",
				   zdm_relation_label(migration->relation), migration->name, reason),
			zdm_hint_rollback(migration));
}

List *
zdm_view_mend(ZdmMigration *migration, Relation rel)
{
	ZdmView		view = present_view(migration);

	return zdm_view_mend_steps(rel, &view);
}

List *
zdm_view_privileges(ZdmMigration *migration, const GrantStmt *stmt)
{
	ZdmView		view = present_view(migration);

	return zdm_view_grant_again(migration->relation, &view, stmt);
}

/*
 * What will be different.  view: as it is to be made.
 */
List *
zdm_view_notes(Relation rel, const ZdmView *view)
{
	char	   *name = zdm_quote_place(view->place);
	char	   *table = zdm_quote_place(view->table);
	List	   *result = replication_notes(rel);

	result = list_concat(result, trigger_notes(rel));
	result = list_concat(result, sequence_notes(rel, view));
	result = list_concat(result, default_notes(rel, view));
	result = list_concat(result, kind_notes(rel, view));
	result = list_concat(result, upsert_notes(rel, view));
	result = list_concat(result, zdm_notes_of_functions(RelationGetRelid(rel), view->column));
	result = lappend(result,
					 zdm_note(false, "through the view %s these fail, as PostgreSQL has it: ON CONFLICT ON CONSTRAINT (name the columns instead), GROUP BY the primary key alone, WHERE CURRENT OF, the columns ctid, xmin and tableoid, TABLESAMPLE, MERGE before PostgreSQL 17, REFERENCES, PARTITION OF, CREATE INDEX, CREATE STATISTICS, REINDEX and most of ALTER TABLE; use the name %s for these",
							  name, table));
	result = lappend(result,
					 zdm_utility_preloaded() ?
					 zdm_note(false, "COPY, TRUNCATE, ANALYZE and VACUUM by the name %s reach %s, as zdm is preloaded; who uses them needs USAGE on that one's schema, and COPY without a list of columns has the table's",
							  name, table) :
					 zdm_note(false, "COPY and TRUNCATE by the name %s fail, ANALYZE and VACUUM pass over it with a warning, as zdm is not preloaded; use the name %s for these, or COPY (SELECT ...) TO",
							  name, table));
	result = lappend(result,
					 zdm_note(false, "the catalog shows %s as a view, without primary key, NOT NULL, identity and indexes: what asks for these (a schema dump, an ORM that starts, CREATE TABLE ... LIKE, which copies the columns without them, pg_relation_size) finds them under %s",
							  name, table));
	return result;
}

static List *
replication_notes(Relation rel)
{
	Oid			relid = RelationGetRelid(rel);
	List	   *result = NIL;

	if (zdm_is_published(relid))
		result = lappend(result,
						 zdm_note(true, "the table is published, and its rows arrive under its new name: give every subscriber a table of that name first, or replication stops there"));
	if (zdm_query_strings("SELECT '' FROM pg_catalog.pg_subscription_rel s"
						  " WHERE s.srrelid OPERATOR(pg_catalog.=) $1",
						  ZDM_ARGS(ZDM_ARG(OIDOID, ObjectIdGetDatum(relid)))) != NIL)
		result = lappend(result,
						 zdm_note(true, "a subscription writes the table by its name: no subscription can write a view, so replication stops until the publisher has the new name"));
	return result;
}

/*
 * Triggers fire as they did, and are told the table's name of that time.
 */
static List *
trigger_notes(Relation rel)
{
	static const char *const sql =
		"SELECT t.tgname FROM pg_catalog.pg_trigger t"
		" JOIN pg_catalog.pg_proc p ON p.oid OPERATOR(pg_catalog.=) t.tgfoid"
		" WHERE t.tgrelid OPERATOR(pg_catalog.=) $1 AND NOT t.tgisinternal"
		" AND p.prosrc OPERATOR(pg_catalog.~*) '\\mtg_(table_name|relname|table_schema)\\M' ORDER BY 1";
	List	   *triggers = zdm_query_strings(sql,
											 ZDM_ARGS(ZDM_ARG(OIDOID, ObjectIdGetDatum(RelationGetRelid(rel)))));

	if (triggers == NIL)
		return NIL;
	return list_make1(zdm_note(true, "these triggers ask for the name of their table, which is a new one: %s",
							   zdm_names_text(triggers)));
}

static List *
sequence_notes(Relation rel, const ZdmView *view)
{
	static const char *const sql =
		"SELECT a.attname FROM pg_catalog.pg_depend d"
		" JOIN pg_catalog.pg_class c ON c.oid OPERATOR(pg_catalog.=) d.objid AND c.relkind OPERATOR(pg_catalog.=) 'S'"
		" JOIN pg_catalog.pg_attribute a ON a.attrelid OPERATOR(pg_catalog.=) d.refobjid"
		" AND a.attnum OPERATOR(pg_catalog.=) d.refobjsubid"
		" WHERE d.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_class'::pg_catalog.regclass"
		" AND d.refclassid OPERATOR(pg_catalog.=) 'pg_catalog.pg_class'::pg_catalog.regclass"
		" AND d.refobjid OPERATOR(pg_catalog.=) $1 AND d.deptype IN ('a', 'i') ORDER BY a.attnum";
	List	   *columns = zdm_query_strings(sql,
											ZDM_ARGS(ZDM_ARG(OIDOID, ObjectIdGetDatum(RelationGetRelid(rel)))));
	List	   *result = NIL;

	if (columns == NIL)
		return NIL;
	result = lappend(result,
					 zdm_note(true, "pg_get_serial_sequence finds no sequence of columns %s by the name %s, and says NULL: ask by the name %s",
							  zdm_names_text(columns), zdm_quote_place(view->place), zdm_quote_place(view->table)));
	if (strcmp(view->place.schema, view->table.schema) != 0)
		result = lappend(result,
						 zdm_note(true, "the sequences of columns %s go to the other schema with the table: a statement that names one must find it there",
								  zdm_names_text(columns)));
	return result;
}

/*
 * DEFAULT of these columns is more than an expression that a view can have.
 */
static List *
default_notes(Relation rel, const ZdmView *view)
{
	TupleDesc	desc = RelationGetDescr(rel);
	List	   *columns = NIL;

	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute attr = TupleDescAttr(desc, i);

		if (!attr->attisdropped && (attr->attidentity || attr->attgenerated))
			columns = lappend(columns, pstrdup(NameStr(attr->attname)));
	}
	if (columns == NIL)
		return NIL;
	return list_make1(zdm_utility_preloaded() ?
					  zdm_note(false, "UPDATE ... SET column = DEFAULT fails through the view %s for the identity and generated columns %s where the statement names a whole row, too, or zdm.direct_views is off; use the name %s",
							   zdm_quote_place(view->place), zdm_names_text(columns),
							   zdm_quote_place(view->table)) :
					  zdm_note(true, "UPDATE ... SET column = DEFAULT fails through the view %s for the identity and generated columns %s; use the name %s",
							   zdm_quote_place(view->place), zdm_names_text(columns),
							   zdm_quote_place(view->table)));
}

static List *
kind_notes(Relation rel, const ZdmView *view)
{
	char	   *name = zdm_quote_place(view->place);
	char	   *table = zdm_quote_place(view->table);
	List	   *result = NIL;

	if (rel->rd_rel->relkind == RELKIND_PARTITIONED_TABLE)
		result = lappend(result,
						 zdm_note(true, "jobs that create, attach or detach partitions by the table's name (pg_partman and the like) must use %s: a view %s has none",
								  table, name));
	else if (find_inheritance_children(RelationGetRelid(rel), NoLock) != NIL)
		result = lappend(result,
						 zdm_note(true, "FROM ONLY %s reads the children, too: ONLY means nothing for a view; use %s", name, table));
	if (zdm_has_column_privileges(RelationGetRelid(rel)))
		result = lappend(result,
						 zdm_note(false, "columns have privileges of their own, so the view %s uses the table with its owner's: its own privileges, which are the table's, decide",
								  name));
	return result;
}

/*
 * What pg_stat_statements has seen, where the extension is there and the caller
 * may read it.
 */
static List *
upsert_notes(Relation rel, const ZdmView *view)
{
	Upserts		upserts = {.relation = RelationGetRelid(rel)};
	ErrorData  *error;
	List	   *result = NIL;
	ListCell   *lc;

	if (!zdm_attempt(find_upserts, &upserts, &error))
		return NIL;				/* not loaded by the server, or not for him */
	foreach(lc, upserts.found)
		result = lappend(result,
						 zdm_note(true, "pg_stat_statements has seen a statement that fails through the view %s, as a view has no constraints: %s",
								  zdm_quote_place(view->place), (char *) lfirst(lc)));
	return result;
}

static void
find_upserts(void *arg)
{
	Upserts    *upserts = arg;
	List	   *views = zdm_query_strings("SELECT pg_catalog.format('%I.%I', n.nspname, c.relname) FROM pg_catalog.pg_extension e"
										  " JOIN pg_catalog.pg_depend d ON d.refclassid OPERATOR(pg_catalog.=) 'pg_catalog.pg_extension'::pg_catalog.regclass"
										  " AND d.refobjid OPERATOR(pg_catalog.=) e.oid AND d.deptype OPERATOR(pg_catalog.=) 'e'"
										  " AND d.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_class'::pg_catalog.regclass"
										  " JOIN pg_catalog.pg_class c ON c.oid OPERATOR(pg_catalog.=) d.objid"
										  " JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace"
										  " WHERE e.extname OPERATOR(pg_catalog.=) 'pg_stat_statements'"
										  " AND c.relname OPERATOR(pg_catalog.=) 'pg_stat_statements'"
										  " AND pg_catalog.has_table_privilege(c.oid, 'SELECT')"
										  " AND pg_catalog.has_schema_privilege(n.oid, 'USAGE')", 0, NULL);

	if (views == NIL)
		return;
	upserts->found =
		zdm_query_strings(psprintf("SELECT DISTINCT pg_catalog.left(pg_catalog.regexp_replace(s.query, E'\\\\s+', ' ', 'g'), 200)"
								   " FROM %s s"
								   " WHERE s.query OPERATOR(pg_catalog.~*) '\\mon\\s+conflict\\s+on\\s+constraint\\M'"
								   " AND s.dbid OPERATOR(pg_catalog.=) $2"
								   " AND pg_catalog.lower($1) OPERATOR(pg_catalog.=) ANY"
								   " (pg_catalog.regexp_split_to_array(pg_catalog.lower(s.query), '[^[:alnum:]_$]+'))"
								   " ORDER BY 1 LIMIT 3", (char *) linitial(views)),
						  ZDM_ARGS(zdm_arg_text(get_rel_name(upserts->relation)),
								   ZDM_ARG(OIDOID, ObjectIdGetDatum(MyDatabaseId))));
}
