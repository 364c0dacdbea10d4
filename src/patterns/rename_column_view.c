/*-------------------------------------------------------------------------
 *
 * rename_column_view.c
 *	  Rename a column without a second one: a view has both names.
 *
 * expand	the table steps aside under a name that nobody uses, and a view with
 *			its name takes its place, which has the column under both names
 * contract	the view goes, the table takes its name back, and the column gets
 *			its new one; with a quarantine all that waits for finish
 * rollback	the view goes, and the table takes its name back
 *
 * The column is there once, so nothing is copied, compared or kept in sync,
 * and the size of the table does not matter.  For that, an application meets a
 * view where it knows a table (patterns/compat_view.c says what that means),
 * and a statement cannot give the column a value by both names.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "rewrite/rewriteHandler.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "hooks/utility.h"
#include "patterns/compat_view.h"
#include "schema/column.h"
#include "schema/relation.h"
#include "util/compat.h"
#include "util/ident.h"
#include "util/lock.h"

static char *
old_name(ZdmMigration *migration)
{
	return linitial(migration->old_columns);
}

static char *
new_name(ZdmMigration *migration)
{
	return linitial(migration->new_columns);
}

/*
 * A place beside the table's that is free.
 */
static ZdmPlace
place_aside(Oid table)
{
	ZdmPlace	place = zdm_relation_place(table);
	Oid			schema = get_rel_namespace(table);

	place.name = zdm_free_name(schema, schema, place.name);
	return place;
}

/*
 * The view as it is, or as it would be made of the table.
 */
static ZdmView
view_of(ZdmMigration *migration)
{
	Oid			oid = zdm_view_of(migration);
	Oid			table = migration->relation;

	return (ZdmView)
	{
		.oid = oid,
			.place = zdm_relation_place(OidIsValid(oid) ? oid : table),
			.table = OidIsValid(oid) ? zdm_relation_place(table) : place_aside(table),
			.column = old_name(migration),
			.twin = new_name(migration),
	};
}

static void
check(ZdmMigration *migration, Relation rel)
{
	AttrNumber	attnum;
	Form_pg_attribute attr;

	zdm_view_check(rel);
	attnum = zdm_check_user_column(rel, old_name(migration));
	attr = TupleDescAttr(RelationGetDescr(rel), attnum - 1);
	zdm_check_new_column(rel, new_name(migration));
	zdm_view_check_place(migration->relation, zdm_relation_place(migration->relation));
	if (attr->attinhcount > 0)
		ereport(ERROR,
				errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				errmsg("column \"%s\" of table \"%s\" is inherited",
					   old_name(migration), RelationGetRelationName(rel)),
				errhint("Call this for the table that it comes from."));
	if (get_typdefault(attr->atttypid) != NULL)
		ereport(ERROR,
				errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				errmsg("the type %s of column \"%s\" has a default of its own",
					   format_type_be(attr->atttypid), old_name(migration)),
				errdetail("A statement that gives the column a value by one name would give it that default by the other."),
				errhint("Use strategy => 'dual_write'."));
}

static ZdmStep *
rename_table(Oid table, ZdmPlace from, ZdmPlace to, const char *description)
{
	return zdm_step_on(table, ZDM_STEP_DDL, AccessExclusiveLock, description,
					   psprintf("ALTER TABLE %s RENAME TO %s", zdm_quote_place(from),
								quote_identifier(to.name)));
}

static List *
expand(ZdmMigration *migration, Relation rel)
{
	ZdmView		view = view_of(migration);

	return lcons(rename_table(migration->relation, view.place, view.table, "set the table aside"),
				 zdm_view_add_steps(rel, &view));
}

static List *
rollback(ZdmMigration *migration)
{
	ZdmView		view = view_of(migration);

	return lappend(zdm_view_drop_steps(&view),
				   rename_table(migration->relation, view.table, view.place,
								"give the table its name back"));
}

static List *
finish(ZdmMigration *migration)
{
	ZdmView		view = view_of(migration);

	return lappend(rollback(migration),
				   zdm_step(ZDM_STEP_DDL, AccessExclusiveLock, "give the column its new name",
							psprintf("ALTER TABLE %s RENAME COLUMN %s TO %s",
									 zdm_quote_place(view.place),
									 quote_identifier(old_name(migration)),
									 quote_identifier(new_name(migration)))));
}

static List *
contract(ZdmMigration *migration, bool quarantine)
{
	return quarantine ? NIL : finish(migration);
}

/*
 * The view before the table, and the partitions where the column changes its
 * name there, too.
 */
static List *
locks(ZdmMigration *migration, ZdmPhase phase, bool quarantine)
{
	List	   *result = NIL;
	List	   *tables = list_make1_oid(migration->relation);
	ListCell   *lc;

	if (phase == ZDM_CONTRACT && quarantine)
		return NIL;
	if (phase == ZDM_CONTRACT || phase == ZDM_FINISH)
		tables = zdm_table_and_partitions(migration->relation);
	if (OidIsValid(zdm_view_of(migration)))
		result = lappend(result, zdm_lock(zdm_view_of(migration), AccessExclusiveLock));
	foreach(lc, tables)
		result = lappend(result, zdm_lock(lfirst_oid(lc), AccessExclusiveLock));
	return result;
}

static void
guard(ZdmMigration *migration, Relation rel)
{
	if (strcmp(view_of(migration).place.name, zdm_argument(migration, "relation_name")) != 0)
		zdm_view_refuse(migration, "neither can be renamed");
	if (strcmp(view_of(migration).place.schema, view_of(migration).table.schema) != 0)
		zdm_view_refuse(migration, "neither can move to another schema");
	zdm_view_guard(migration, rel);
}

static List *
notes(ZdmMigration *migration, Relation rel)
{
	ZdmView		view = view_of(migration);
	const char *from = quote_identifier(view.column);
	const char *to = quote_identifier(view.twin);
	AttrNumber	attnum = get_attnum(migration->relation, view.column);
	Form_pg_attribute attr = TupleDescAttr(RelationGetDescr(rel), attnum - 1);
	List	   *result = NIL;

	if (attr->atthasdef && !attr->attgenerated && zdm_utility_preloaded())
		result = lappend(result,
						 zdm_note(false, "UPDATE ... SET %s = DEFAULT, and the same for %s, writes NULL where the statement names a whole row, too, or zdm.direct_views is off: through the view the column has no default of its own",
								  from, to));
	else if (attr->atthasdef && !attr->attgenerated)
		result = lappend(result,
						 zdm_note(true, "UPDATE ... SET %s = DEFAULT, and the same for %s, writes NULL: through the view the column has no default of its own; an INSERT that leaves it out is given the table's",
								  from, to));
	result = list_concat(result, zdm_view_notes(rel, &view));
	result = lappend(result,
					 zdm_note(false, "a statement that gives a value to both %s and %s fails with \"multiple assignments to same column\"; strategy dual_write has no such limit",
							  from, to));
	result = lappend(result,
					 zdm_note(false, "errors of constraints and plans of EXPLAIN call the table %s",
							  quote_identifier(view.table.name)));
	return lappend(result,
				   zdm_note(false, "SELECT * and RETURNING * gain a column at expand: a statement that was prepared with a star fails with \"cached plan must not change result type\" until it is prepared again"));
}

const ZdmPattern zdm_rename_column_view_pattern = {
	.name = "rename_column",
	.strategy = "view",
	.check = check,
	.expand = expand,
	.contract = contract,
	.finish = finish,
	.rollback = rollback,
	.locks = locks,
	.attached = zdm_view_attached,
	.guard = guard,
	.mend = zdm_view_mend,
	.privileges = zdm_view_privileges,
	.notes = notes,
};
