/*-------------------------------------------------------------------------
 *
 * rename_table.c
 *	  Rename a table, or move it to another schema, by a compatibility view.
 *
 * Strategy view, where the new version comes after:
 *
 * expand	the table takes its new name, and a view its old one
 * contract	the view goes; with a quarantine it stays until finish
 * rollback	the view goes, and the table takes its old name back
 *
 * Strategy view_first, where nothing may happen to the table at expand:
 *
 * expand	a view takes the new name
 * contract	the view goes and the table takes its name; with a quarantine a
 *			view takes the old name until finish
 * rollback	the view goes; after contract the table takes its old name back
 *
 * There is one copy of every row, so there is nothing to migrate, to compare
 * or to lose.  Whatever refers to the table (foreign keys, views, triggers,
 * policies, prepared statements) knows it by its number, not by its name.
 *
 * Where both names are is read from the catalog: the table has one, the view
 * the other.  Owned sequences, indexes and constraints change their names with
 * the view's end, as the old version may name them up to then.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/relation.h"
#include "catalog/dependency.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/varlena.h"

#include "patterns/compat_view.h"
#include "schema/relation.h"
#include "util/compat.h"
#include "util/ident.h"
#include "util/lock.h"
#include "util/spi.h"

static void check_owned(ZdmMigration *migration);

static bool
is_view_first(ZdmMigration *migration)
{
	return strcmp(migration->strategy, "view_first") == 0;
}

/*
 * Where the call wants the table to be: as it is written in SQL, with or
 * without a schema.
 */
static ZdmPlace
wanted_place(ZdmMigration *migration)
{
	List	   *names = textToQualifiedNameList(cstring_to_text(zdm_argument(migration, "new_name")));
	RangeVar   *range = makeRangeVarFromNameList(names);

	if (range->schemaname == NULL)
		range->schemaname = pstrdup(zdm_argument(migration, "old_schema"));
	return (ZdmPlace)
	{
		range->schemaname, range->relname
	};
}

/*
 * Whether the table has the new name by now.
 */
static bool
is_swapped(ZdmMigration *migration)
{
	return OidIsValid(zdm_view_of(migration)) &&
		(!is_view_first(migration) || migration->state == ZDM_CONTRACTED);
}

static ZdmPlace
old_place(ZdmMigration *migration)
{
	return zdm_relation_place(is_swapped(migration) ? zdm_view_of(migration)
							  : migration->relation);
}

static ZdmPlace
new_place(ZdmMigration *migration)
{
	if (is_swapped(migration))
		return zdm_relation_place(migration->relation);
	return OidIsValid(zdm_view_of(migration)) ? zdm_relation_place(zdm_view_of(migration))
		: wanted_place(migration);
}

static ZdmView
view_under_old_name(ZdmMigration *migration)
{
	return (ZdmView)
	{
		.oid = zdm_view_of(migration),.place = old_place(migration),.table = new_place(migration)
	};
}

static ZdmView
view_under_new_name(ZdmMigration *migration)
{
	return (ZdmView)
	{
		.oid = zdm_view_of(migration),.place = new_place(migration),.table = old_place(migration)
	};
}

static void
check(ZdmMigration *migration, Relation rel)
{
	ZdmPlace	from = old_place(migration);
	ZdmPlace	to = new_place(migration);

	if (zdm_argument(migration, "definition") != NULL)
		ereport(ERROR,
				errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("\"definition\" is for strategy dual_write: a view leaves the table as it is"),
				errhint("Leave it out, or give strategy => 'dual_write'."));
	zdm_view_check(rel);
	zdm_view_check_place(migration->relation, from);
	zdm_view_check_place(migration->relation, to);
	if (zdm_is_taken(get_namespace_oid(to.schema, false), to.name))
		ereport(ERROR,
				errcode(ERRCODE_DUPLICATE_TABLE),
				errmsg("relation or type \"%s\" already exists in schema \"%s\"",
					   to.name, to.schema),
				errhint("Choose another name, or drop that one first."));
	if (zdm_argument(migration, "rename_owned") != NULL)
		check_owned(migration);
}

static ZdmStep *
rename_step(Oid table, ZdmPlace from, const char *to)
{
	return zdm_step_on(table, ZDM_STEP_DDL, AccessExclusiveLock, "rename the table",
					   psprintf("ALTER TABLE %s RENAME TO %s", zdm_quote_place(from),
								quote_identifier(to)));
}

static ZdmStep *
schema_step(Oid table, ZdmPlace from, const char *to)
{
	return zdm_step_on(table, ZDM_STEP_DDL, AccessExclusiveLock, "move it to the other schema",
					   psprintf("ALTER TABLE %s SET SCHEMA %s", zdm_quote_place(from),
								quote_identifier(to)));
}

/*
 * The steps that take the table from one place to another.  On the way there
 * it must not meet another of its name: what has its new name in the old
 * schema, or its old name in the new one, decides under which it goes.
 */
static List *
move_steps(Oid table, ZdmPlace from, ZdmPlace to)
{
	Oid			old_schema = get_namespace_oid(from.schema, false);
	Oid			new_schema = get_namespace_oid(to.schema, false);
	char	   *on_the_way = to.name;
	List	   *steps = NIL;

	if (old_schema == new_schema)
		return list_make1(rename_step(table, from, to.name));
	if (strcmp(from.name, to.name) != 0 && zdm_is_taken(old_schema, to.name))
		on_the_way = from.name;
	if (strcmp(on_the_way, to.name) != 0 && zdm_is_taken(new_schema, on_the_way))
		on_the_way = zdm_free_name(old_schema, new_schema, from.name);
	if (strcmp(from.name, on_the_way) != 0)
		steps = lappend(steps, rename_step(table, from, on_the_way));
	from.name = on_the_way;
	steps = lappend(steps, schema_step(table, from, to.schema));
	from.schema = to.schema;
	if (strcmp(on_the_way, to.name) != 0)
		steps = lappend(steps, rename_step(table, from, to.name));
	return steps;
}

static List *
expand_view(ZdmMigration *migration, Relation rel)
{
	ZdmView		view = view_under_old_name(migration);

	return list_concat(move_steps(migration->relation, view.place, view.table),
					   zdm_view_add_steps(rel, &view));
}

static List *
expand_view_first(ZdmMigration *migration, Relation rel)
{
	ZdmView		view = view_under_new_name(migration);

	return zdm_view_add_steps(rel, &view);
}

/*
 * What is named after the table, and goes with it: of table $1 what begins with
 * its old name $2, and gets the new one $3 in that place.
 */
#define OWNED \
	"WITH named AS (" \
	"SELECT 'SEQUENCE' AS kind, n.nspname, c.relname AS name, true AS relation FROM pg_catalog.pg_depend d" \
	" JOIN pg_catalog.pg_class c ON c.oid OPERATOR(pg_catalog.=) d.objid AND c.relkind OPERATOR(pg_catalog.=) 'S'" \
	" JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace" \
	" WHERE d.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_class'::pg_catalog.regclass" \
	" AND d.refclassid OPERATOR(pg_catalog.=) 'pg_catalog.pg_class'::pg_catalog.regclass" \
	" AND d.refobjid OPERATOR(pg_catalog.=) $1 AND d.deptype IN ('a', 'i')" \
	" UNION ALL SELECT 'CONSTRAINT', NULL, o.conname, o.contype IN ('p', 'u', 'x') FROM pg_catalog.pg_constraint o" \
	" WHERE o.conrelid OPERATOR(pg_catalog.=) $1 AND o.coninhcount OPERATOR(pg_catalog.=) 0" \
	" AND o.contype OPERATOR(pg_catalog.<>) 't'" \
	" UNION ALL SELECT 'INDEX', n.nspname, c.relname, true FROM pg_catalog.pg_index i" \
	" JOIN pg_catalog.pg_class c ON c.oid OPERATOR(pg_catalog.=) i.indexrelid" \
	" JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace" \
	" WHERE i.indrelid OPERATOR(pg_catalog.=) $1 AND NOT EXISTS (SELECT FROM pg_catalog.pg_constraint o" \
	" WHERE o.conindid OPERATOR(pg_catalog.=) i.indexrelid AND o.conrelid OPERATOR(pg_catalog.=) $1))," \
	" owned AS (SELECT n.*, t.name AS new_name FROM named n," \
	" LATERAL (SELECT $3 OPERATOR(pg_catalog.||) pg_catalog.substr(n.name::pg_catalog.text," \
	" pg_catalog.length($2) OPERATOR(pg_catalog.+) 1) AS name) t" \
	" WHERE pg_catalog.starts_with(n.name::pg_catalog.text, $2 OPERATOR(pg_catalog.||) '_')" \
	" AND pg_catalog.octet_length(t.name) OPERATOR(pg_catalog.<) 64)"

/*
 * SQL that renames it.
 */
static List *
owned_texts(ZdmMigration *migration)
{
	static const char *const sql =
		OWNED
		" SELECT CASE o.kind WHEN 'CONSTRAINT' THEN pg_catalog.format('ALTER TABLE %s RENAME CONSTRAINT %I TO %I', $4, o.name, o.new_name)"
		" ELSE pg_catalog.format('ALTER %s %I.%I RENAME TO %I', o.kind, o.nspname, o.name, o.new_name) END"
		" FROM owned o ORDER BY o.kind COLLATE \"C\", o.name COLLATE \"C\"";
	ZdmPlace	to = new_place(migration);

	return zdm_query_strings(sql,
							 ZDM_ARGS(ZDM_ARG(OIDOID, ObjectIdGetDatum(migration->relation)),
									  zdm_arg_text(old_place(migration).name), zdm_arg_text(to.name),
									  zdm_arg_text(zdm_quote_place(to))));
}

/*
 * Raise an error where something else has such a new name.
 */
static void
check_owned(ZdmMigration *migration)
{
	static const char *const sql =
		OWNED
		" SELECT o.new_name FROM owned o"
		" WHERE (o.relation AND EXISTS (SELECT FROM pg_catalog.pg_class c"
		" JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace"
		" WHERE n.nspname OPERATOR(pg_catalog.=) $4 AND c.relname::pg_catalog.text OPERATOR(pg_catalog.=) o.new_name))"
		" OR (o.kind OPERATOR(pg_catalog.=) 'CONSTRAINT' AND EXISTS (SELECT FROM pg_catalog.pg_constraint c"
		" WHERE c.conrelid OPERATOR(pg_catalog.=) $1 AND c.conname::pg_catalog.text OPERATOR(pg_catalog.=) o.new_name))"
		" ORDER BY o.new_name COLLATE \"C\"";
	ZdmPlace	to = new_place(migration);
	List	   *taken = zdm_query_strings(sql,
										  ZDM_ARGS(ZDM_ARG(OIDOID, ObjectIdGetDatum(migration->relation)),
												   zdm_arg_text(old_place(migration).name),
												   zdm_arg_text(to.name), zdm_arg_name(to.schema)));

	if (taken != NIL)
		ereport(ERROR,
				errcode(ERRCODE_DUPLICATE_OBJECT),
				errmsg("cannot rename what is named after table \"%s\": \"%s\" already exists",
					   old_place(migration).name, (char *) linitial(taken)),
				errhint("Rename or drop that one first."));
}

static List *
rename_owned_steps(ZdmMigration *migration)
{
	List	   *steps = NIL;
	ListCell   *lc;

	if (zdm_argument(migration, "rename_owned") == NULL)
		return NIL;
	check_owned(migration);
	foreach(lc, owned_texts(migration))
		steps = lappend(steps, zdm_step(ZDM_STEP_DDL, AccessExclusiveLock,
										"rename what is named after the table", lfirst(lc)));
	return steps;
}

static List *
finish(ZdmMigration *migration)
{
	ZdmView		view = view_under_old_name(migration);

	return list_concat(zdm_view_drop_steps(&view), rename_owned_steps(migration));
}

static List *
contract_view(ZdmMigration *migration, bool quarantine)
{
	return quarantine ? NIL : finish(migration);
}

static List *
contract_view_first(ZdmMigration *migration, bool quarantine)
{
	ZdmView		before = view_under_new_name(migration);
	ZdmView		after = {.place = before.table,.table = before.place};
	List	   *steps = list_concat(zdm_view_drop_steps(&before),
									move_steps(migration->relation, before.table, before.place));
	Relation	rel;

	if (!quarantine)
		return list_concat(steps, rename_owned_steps(migration));
	rel = relation_open(migration->relation, AccessShareLock);
	steps = list_concat(steps, zdm_view_add_steps(rel, &after));
	relation_close(rel, AccessShareLock);
	return steps;
}

static List *
rollback(ZdmMigration *migration)
{
	ZdmView		view;

	if (is_view_first(migration) && migration->state != ZDM_CONTRACTED)
	{
		view = view_under_new_name(migration);
		return zdm_view_drop_steps(&view);
	}
	view = view_under_old_name(migration);
	return list_concat(zdm_view_drop_steps(&view),
					   move_steps(migration->relation, view.table, view.place));
}

/*
 * Whether the table gets another name in this phase.
 */
static bool
is_moved(ZdmMigration *migration, ZdmPhase phase)
{
	switch (phase)
	{
		case ZDM_EXPAND:
			return !is_view_first(migration);
		case ZDM_CONTRACT:
			return is_view_first(migration);
		case ZDM_ROLLBACK:
			return is_swapped(migration);
		case ZDM_MIGRATE:
		case ZDM_FINISH:
			break;
	}
	return false;
}

/*
 * The view before the table, as every statement through it takes them, and the
 * sequences after it, as an INSERT does.
 */
static List *
locks(ZdmMigration *migration, ZdmPhase phase, bool quarantine)
{
	bool		moved = is_moved(migration, phase);
	bool		ends = phase == ZDM_FINISH || (phase == ZDM_CONTRACT && !quarantine);
	bool		owned = ends && zdm_argument(migration, "rename_owned") != NULL;
	List	   *result = NIL;
	ListCell   *lc;

	if (phase == ZDM_CONTRACT && quarantine && !moved)
		return NIL;
	if (OidIsValid(zdm_view_of(migration)))
		result = lappend(result, zdm_lock(zdm_view_of(migration), AccessExclusiveLock));
	result = lappend(result, zdm_lock(migration->relation,
									  moved || owned ? AccessExclusiveLock : AccessShareLock));
	if (owned)
		foreach(lc, getOwnedSequences(migration->relation))
			result = lappend(result, zdm_lock(lfirst_oid(lc), AccessExclusiveLock));
	return result;
}

/*
 * Whether that is in another schema than it was told to be.  One that has
 * become another name itself has taken it along.
 */
static bool
has_left(ZdmPlace place, const char *schema)
{
	return strcmp(place.schema, schema) != 0 && OidIsValid(get_namespace_oid(schema, true));
}

/*
 * Both names must stay what the two versions know.
 */
static void
guard(ZdmMigration *migration, Relation rel)
{
	if (strcmp(old_place(migration).name, zdm_argument(migration, "old_name")) != 0 ||
		strcmp(new_place(migration).name, wanted_place(migration).name) != 0)
		zdm_view_refuse(migration, "neither can be renamed");
	if (has_left(old_place(migration), zdm_argument(migration, "old_schema")) ||
		has_left(new_place(migration), wanted_place(migration).schema))
		zdm_view_refuse(migration, "neither can move to another schema");
	zdm_view_guard(migration, rel);
}

static List *
notes(ZdmMigration *migration, Relation rel)
{
	ZdmView		view = is_view_first(migration) ? view_under_new_name(migration)
		: view_under_old_name(migration);
	List	   *result = zdm_view_notes(rel, &view);

	if (zdm_argument(migration, "rename_owned") != NULL)
		result = lappend(result,
						 zdm_note(false, "owned sequences, indexes and constraints that are named after the table get their new names when the old name of the table goes: up to then a statement must name them as they are"));
	return result;
}

const ZdmPattern zdm_rename_table_view_pattern = {
	.name = "rename_table",
	.strategy = "view",
	.check = check,
	.expand = expand_view,
	.contract = contract_view,
	.finish = finish,
	.rollback = rollback,
	.locks = locks,
	.attached = zdm_view_attached,
	.guard = guard,
	.mend = zdm_view_mend,
	.privileges = zdm_view_privileges,
	.notes = notes,
};

const ZdmPattern zdm_rename_table_view_first_pattern = {
	.name = "rename_table",
	.strategy = "view_first",
	.check = check,
	.expand = expand_view_first,
	.contract = contract_view_first,
	.finish = finish,
	.rollback = rollback,
	.locks = locks,
	.attached = zdm_view_attached,
	.guard = guard,
	.mend = zdm_view_mend,
	.privileges = zdm_view_privileges,
	.notes = notes,
};
