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
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"
#include "utils/varlena.h"

#include "patterns/pattern.h"
#include "schema/table.h"
#include "schema/view.h"
#include "util/compat.h"
#include "util/ident.h"
#include "util/lock.h"
#include "util/spi.h"

static bool
is_view_first(ZdmMigration *migration)
{
	return strcmp(migration->strategy, "view_first") == 0;
}

static Oid
view_oid(ZdmMigration *migration)
{
	return migration->others ? linitial_oid(migration->others) : InvalidOid;
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

	return (ZdmPlace)
	{
		range->schemaname ? range->schemaname
			: get_namespace_name(get_rel_namespace(migration->relation)), range->relname
	};
}

/*
 * Whether the table has the new name by now.
 */
static bool
is_swapped(ZdmMigration *migration)
{
	return OidIsValid(view_oid(migration)) &&
		(!is_view_first(migration) || migration->state == ZDM_CONTRACTED);
}

static ZdmPlace
old_place(ZdmMigration *migration)
{
	return zdm_relation_place(is_swapped(migration) ? view_oid(migration)
							  : migration->relation);
}

static ZdmPlace
new_place(ZdmMigration *migration)
{
	if (is_swapped(migration))
		return zdm_relation_place(migration->relation);
	return OidIsValid(view_oid(migration)) ? zdm_relation_place(view_oid(migration))
		: wanted_place(migration);
}

static ZdmView
view_under_old_name(ZdmMigration *migration)
{
	return (ZdmView)
	{
		.oid = view_oid(migration),.place = old_place(migration),.table = new_place(migration)
	};
}

static ZdmView
view_under_new_name(ZdmMigration *migration)
{
	return (ZdmView)
	{
		.oid = view_oid(migration),.place = new_place(migration),.table = old_place(migration)
	};
}

static bool
is_taken(ZdmPlace place)
{
	Oid			schema = get_namespace_oid(place.schema, false);

	return OidIsValid(get_relname_relid(place.name, schema)) ||
		SearchSysCacheExists2(TYPENAMENSP, CStringGetDatum(place.name),
							  ObjectIdGetDatum(schema));
}

static void
check(ZdmMigration *migration, Relation rel)
{
	ZdmPlace	from = old_place(migration);
	ZdmPlace	to = new_place(migration);
	ZdmView		view = view_under_old_name(migration);

	zdm_view_check(rel, &view);
	zdm_view_check_place(migration->relation, from);
	zdm_view_check_place(migration->relation, to);
	if (is_taken(to))
		ereport(ERROR,
				errcode(ERRCODE_DUPLICATE_TABLE),
				errmsg("relation or type \"%s\" already exists in schema \"%s\"",
					   to.name, to.schema),
				errhint("Choose another name, or drop that one first."));
}

/*
 * The steps that take the table from one place to another.  A relation of the
 * old name in the new schema is none of ours, so it goes there by its new one.
 */
static List *
move_steps(Oid table, ZdmPlace from, ZdmPlace to)
{
	List	   *steps = NIL;

	if (strcmp(from.name, to.name) != 0)
		steps = lappend(steps,
						zdm_step_on(table, ZDM_STEP_DDL, AccessExclusiveLock, "rename the table",
									psprintf("ALTER TABLE %s RENAME TO %s", zdm_quote_place(from),
											 quote_identifier(to.name))));
	from.name = to.name;
	if (strcmp(from.schema, to.schema) != 0)
		steps = lappend(steps,
						zdm_step_on(table, ZDM_STEP_DDL, AccessExclusiveLock, "move it to the other schema",
									psprintf("ALTER TABLE %s SET SCHEMA %s", zdm_quote_place(from),
											 quote_identifier(to.schema))));
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

static List *
migrate(ZdmMigration *migration)
{
	return NIL;
}

static List *
finish(ZdmMigration *migration)
{
	ZdmView		view = view_under_old_name(migration);

	return zdm_view_drop_steps(&view);
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
		return steps;
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
 * The view before the table: every statement through it takes them so.  The
 * table itself changes only where its name does.
 */
static List *
locks(ZdmMigration *migration, ZdmPhase phase, bool quarantine)
{
	bool		moves = false;
	List	   *result = NIL;

	switch (phase)
	{
		case ZDM_EXPAND:
			moves = !is_view_first(migration);
			break;
		case ZDM_CONTRACT:
			if (!is_view_first(migration) && quarantine)
				return NIL;
			moves = is_view_first(migration);
			break;
		case ZDM_ROLLBACK:
			moves = is_swapped(migration);
			break;
		case ZDM_FINISH:
		case ZDM_MIGRATE:
			break;
	}
	if (OidIsValid(view_oid(migration)))
		result = lappend(result, zdm_lock(view_oid(migration), AccessExclusiveLock));
	return lappend(result, zdm_lock(migration->relation,
									moves ? AccessExclusiveLock : AccessShareLock));
}

static List *
attached(ZdmMigration *migration, ZdmPhase phase)
{
	return OidIsValid(view_oid(migration)) ? zdm_view_dependents(view_oid(migration)) : NIL;
}

static List *
twins(ZdmMigration *migration)
{
	return NIL;
}

static void
guard(ZdmMigration *migration, Relation rel)
{
}

static List *
notes(ZdmMigration *migration, Relation rel)
{
	return NIL;
}

const ZdmPattern zdm_rename_table_view_pattern = {
	.name = "rename_table",
	.strategy = "view",
	.check = check,
	.expand = expand_view,
	.migrate = migrate,
	.contract = contract_view,
	.finish = finish,
	.rollback = rollback,
	.locks = locks,
	.attached = attached,
	.twins = twins,
	.guard = guard,
	.notes = notes,
};

const ZdmPattern zdm_rename_table_view_first_pattern = {
	.name = "rename_table",
	.strategy = "view_first",
	.check = check,
	.expand = expand_view_first,
	.migrate = migrate,
	.contract = contract_view_first,
	.finish = finish,
	.rollback = rollback,
	.locks = locks,
	.attached = attached,
	.twins = twins,
	.guard = guard,
	.notes = notes,
};
