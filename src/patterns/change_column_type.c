/*-------------------------------------------------------------------------
 *
 * change_column_type.c
 *	  Change the type of a column that two versions of an application use.
 *
 * expand	where the change touches the catalog alone: make it.  Otherwise a
 *			second column of the new type under a generated name, for the
 *			column and for each that refers to it by a foreign key, and a rule
 *			for each that keeps both equal, by up and down
 * migrate	fill them, give them the indexes, constraints and foreign keys that
 *			the first ones have, compare
 * contract	the second column takes the first one's name and place, with all
 *			that hangs on it; the first one goes.  With a quarantine it goes on
 *			under the generated name, and is kept in sync by down.
 * finish	the first column goes
 * rollback	the second column goes; after contract the first one takes its name
 *			and place back first.  It was written all the time.
 *
 * Both versions use one name: before contract it means the old type, after it
 * the new one.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "catalog/sync_rule.h"
#include "patterns/change_type_rule.h"
#include "patterns/pattern.h"
#include "schema/column.h"
#include "schema/domain_twin.h"
#include "schema/relation.h"
#include "schema/retype.h"
#include "schema/table.h"
#include "schema/twin.h"
#include "schema/twin_constraint.h"
#include "schema/twin_index_limits.h"
#include "schema/twin_key.h"
#include "schema/twin_limits.h"
#include "schema/twin_promote.h"
#include "schema/user_view.h"
#include "sync/install.h"
#include "util/compat.h"
#include "util/ident.h"
#include "util/lock.h"
#include "util/spi.h"

/* The argument that keeps what a change in place has replaced. */
#define OLD_TYPE "_old_type"

static void check_arguments(ZdmMigration *migration);
static void check_pair(ZdmMigration *migration, ZdmPair *pair, const ZdmType *type);
static void check_referring(ZdmMigration *migration);
static void refuse(ZdmMigration *migration, List *objects);
static bool recreates_views(ZdmMigration *migration);
static const char *views_of(ZdmMigration *migration);
static bool makes_views(ZdmMigration *migration, ZdmPhase phase);
static bool free_to_change(ZdmMigration *migration, Relation rel, const ZdmType *type);
static List *change_in_place(ZdmMigration *migration, Relation rel, const ZdmType *type);
static List *change_back(ZdmMigration *migration);

/* The one name that both versions use. */
static char *
column_name(ZdmMigration *migration)
{
	return linitial(migration->old_columns);
}

static void
new_type(ZdmMigration *migration, ZdmType *type)
{
	ZdmIdentity saved;

	zdm_pin_path(&saved);
	zdm_type_parse(zdm_argument(migration, "new_type"), type);
	zdm_unbecome(&saved);
}

/* Whether there is no second column. */
static bool
in_place(ZdmMigration *migration)
{
	return migration->rules == NIL;
}

/*
 * The columns, each with the second one (ZdmPair *): first the one that has the
 * name, whichever it is at this time.
 */
static List *
pairs(ZdmMigration *migration)
{
	bool		contracted = migration->state == ZDM_CONTRACTED;
	ZdmType    *type = palloc_object(ZdmType);
	List	   *result = NIL;
	ListCell   *lc;

	new_type(migration, type);
	if (in_place(migration))
		return list_make1(zdm_pair(migration->relation, column_name(migration),
								   zdm_twin_name(column_name(migration))));
	foreach(lc, migration->rules)
	{
		ZdmSyncRule *rule = lfirst(lc);
		ZdmPair    *pair = zdm_pair(rule->relation,
									linitial(contracted ? rule->new_columns : rule->old_columns),
									linitial(contracted ? rule->old_columns : rule->new_columns));
		AttrNumber	twin = get_attnum(pair->relation, pair->to);
		ZdmType		own;

		/* In a dry run of expand there is no second column. */
		if (twin > 0)
		{
			zdm_type_of(pair->relation, pair->to, &own);
			pair->exact = zdm_change_type_is_exact(migration, pair->relation, pair->from, &own);
		}
		pair->convert = linitial(contracted ? rule->down : rule->up);
		pair->back = linitial(contracted ? rule->up : rule->down);
		/* What is assigned to a domain is asked for by the domain itself. */
		if (strcmp(pair->convert, zdm_domain_value(pstrdup(quote_identifier(pair->from)), type)) == 0)
			pair->convert = quote_identifier(pair->from);
		pair->type = contracted ? NULL : type;
		pair->contracted = contracted;
		result = lappend(result, pair);
	}
	return result;
}

static void
check(ZdmMigration *migration, Relation rel)
{
	ZdmType		type;
	List	   *columns;
	ListCell   *lc;

	check_arguments(migration);
	zdm_check_table(rel);
	zdm_check_column(rel, column_name(migration));
	new_type(migration, &type);
	zdm_type_check_kind(&type);
	zdm_domain_check_rights(column_name(migration), &type);
	zdm_type_keep_collation(rel, column_name(migration), &type);
	migration->rules = migration->others = NIL;
	if (zdm_type_is(rel, column_name(migration), &type))
		ereport(ERROR,
				errcode(ERRCODE_DUPLICATE_OBJECT),
				errmsg("column \"%s\" of table \"%s\" is of type %s already",
					   column_name(migration), RelationGetRelationName(rel),
					   zdm_type_text(&type)),
				errhint("There is nothing to change."));
	if (zdm_argument(migration, "up") == NULL && zdm_argument(migration, "down") == NULL &&
		free_to_change(migration, rel, &type))
	{
		ZdmType		old;

		zdm_type_of(RelationGetRelid(rel), column_name(migration), &old);
		if (zdm_argument(migration, OLD_TYPE) == NULL)
			zdm_set_argument(migration, OLD_TYPE, zdm_type_text(&old));
		zdm_check_free_columns(migration->relation, list_make1(column_name(migration)));
		if (recreates_views(migration))
			refuse(migration, zdm_user_view_limits(pairs(migration), &type, false, views_of(migration), NIL));
		return;
	}

	check_referring(migration);
	columns = zdm_columns_with_referencing(migration->relation, column_name(migration), &type);
	foreach(lc, columns)
	{
		ZdmPair    *pair = lfirst(lc);

		check_pair(migration, pair, &type);
		if (pair->relation != migration->relation)
			migration->others = list_append_unique_oid(migration->others, pair->relation);
	}
	foreach(lc, zdm_foreign_key_tables(columns))
	{
		if (lfirst_oid(lc) != migration->relation)
			migration->others = list_append_unique_oid(migration->others, lfirst_oid(lc));
	}
	refuse(migration, zdm_promote_limits(columns, &type, views_of(migration)));
}

/*
 * Whether the server changes the type without reading the table, and nothing
 * keeps it from that.
 */
static bool
free_to_change(ZdmMigration *migration, Relation rel, const ZdmType *type)
{
	return zdm_type_changes_in_place(rel, column_name(migration), type) &&
		!zdm_column_is_used(RelationGetRelid(rel), column_name(migration),
							recreates_views(migration));
}

static void
check_arguments(ZdmMigration *migration)
{
	const char *on_error = zdm_argument(migration, "on_down_error");
	const char *views = zdm_argument(migration, "views");

	if (strcmp(on_error, "error") != 0 && strcmp(on_error, "null") != 0)
		ereport(ERROR,
				errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("on_down_error \"%s\" is not known", on_error),
				errhint("It is error or null."));
	if (strcmp(views, "refuse") != 0 && strcmp(views, "recreate") != 0)
		ereport(ERROR,
				errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("views \"%s\" is not known", views),
				errhint("It is refuse or recreate."));
}

static bool
recreates_views(ZdmMigration *migration)
{
	return strcmp(zdm_argument(migration, "views"), "recreate") == 0;
}

/*
 * The texts of views that were kept, NULL where none is made again.
 */
static const char *
views_of(ZdmMigration *migration)
{
	const char *kept = zdm_argument(migration, ZDM_KEPT_VIEWS);

	if (!recreates_views(migration))
		return NULL;
	return kept ? kept : ZDM_NO_KEPT_VIEWS;
}

/*
 * One of the columns: whether it can have a second one; and its rule.
 */
static void
check_pair(ZdmMigration *migration, ZdmPair *pair, const ZdmType *type)
{
	Relation	rel;
	ZdmType		own = *type;
	ZdmSyncRule *rule;

	if (pair->relation != migration->relation)
		zdm_check_caller(pair->relation);
	rel = table_open(pair->relation, AccessShareLock);
	zdm_check_table(rel);
	zdm_check_column(rel, pair->from);
	zdm_check_free_columns(pair->relation, list_make2(pair->from, pair->to));
	zdm_check_new_column(rel, pair->to);
	zdm_twin_check(rel, pair->from);
	if (strcmp(zdm_argument(migration, "on_down_error"), "null") == 0 &&
		TupleDescAttr(RelationGetDescr(rel), get_attnum(pair->relation, pair->from) - 1)->attnotnull)
		ereport(ERROR,
				errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				errmsg("column \"%s\" of table \"%s\" is NOT NULL, so it cannot get NULL where down fails",
					   pair->from, RelationGetRelationName(rel)),
				errhint("Use on_down_error => 'error', or write down so that it never fails."));
	zdm_type_keep_collation(rel, pair->from, &own);
	pair->exact = zdm_change_type_is_exact(migration, pair->relation, pair->from, &own);
	rule = zdm_change_type_rule(migration, rel, pair, &own);
	pair->convert = linitial(rule->up);
	pair->back = linitial(rule->down);
	migration->rules = lappend(migration->rules, rule);
	table_close(rel, AccessShareLock);
}

/*
 * up and down are over the one column's name and its table's other columns;
 * what refers to it would need expressions of its own, which give the same.
 */
static void
check_referring(ZdmMigration *migration)
{
	List	   *keys;

	if (zdm_argument(migration, "up") == NULL && zdm_argument(migration, "down") == NULL)
		return;
	keys = zdm_referring_keys(migration->relation, column_name(migration));
	if (keys == NIL)
		return;
	ereport(ERROR,
			errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			errmsg("up and down cannot be given for column \"%s\" of table \"%s\", to which foreign keys refer",
				   column_name(migration), zdm_relation_label(migration->relation)),
			errdetail("%s", zdm_lines(keys)),
			errhint("Leave both out, so that all columns are converted by the cast, or drop the foreign keys for the time of the migration."));
}

static void
refuse(ZdmMigration *migration, List *objects)
{
	if (objects == NIL)
		return;
	ereport(ERROR,
			errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			errmsg("the type of column \"%s\" of table \"%s\" cannot be changed with what hangs on it",
				   column_name(migration), zdm_relation_label(migration->relation)),
			errdetail("%s", zdm_lines(objects)),
			recreates_views(migration) || zdm_user_views_text(pairs(migration)) == NULL
			? errhint("Drop these for the time of the migration, or change them as the lines say.")
			: errhint("Drop these for the time of the migration, or change them as the lines say; views => 'recreate' has zdm drop views and rules, and make them again."));
}

static List *
expand(ZdmMigration *migration, Relation rel)
{
	List	   *steps = NIL;
	ZdmType		type;
	ListCell   *lc;

	new_type(migration, &type);
	if (in_place(migration))
	{
		zdm_type_keep_collation(rel, column_name(migration), &type);
		return change_in_place(migration, rel, &type);
	}
	foreach(lc, pairs(migration))
	{
		ZdmPair    *pair = lfirst(lc);
		Relation	table = table_open(pair->relation, AccessShareLock);
		ZdmType		own = type;
		ZdmType		meanwhile;

		zdm_type_keep_collation(table, pair->from, &own);
		zdm_type_meanwhile(&own, &meanwhile);
		steps = list_concat(steps, zdm_twin_add_typed_steps(table, pair->from, pair->to, &meanwhile));
		steps = list_concat(steps, zdm_domain_demand_steps(pair->relation, pair->to, &own));
		table_close(table, AccessShareLock);
	}
	return list_concat(steps, zdm_sync_install_steps(migration));
}

static List *
change_in_place(ZdmMigration *migration, Relation rel, const ZdmType *type)
{
	List	   *steps = zdm_retype_steps(rel, column_name(migration), type);

	if (!recreates_views(migration))
		return steps;
	steps = list_concat(zdm_user_view_drop_steps(pairs(migration)), steps);
	steps = list_concat(steps, zdm_user_view_create_steps(pairs(migration), views_of(migration)));
	return lappend(steps, zdm_user_view_keep_step(pairs(migration)));
}

static List *
migrate(ZdmMigration *migration)
{
	List	   *steps = NIL;
	char	   *fill;
	char	   *compare;
	char	   *indexes;

	if (in_place(migration))
		return NIL;
	zdm_change_type_texts(migration, &fill, &compare);
	steps = list_make1(zdm_step(ZDM_STEP_BACKFILL, RowExclusiveLock,
								"fill the second column", fill));
	indexes = zdm_change_type_index_text(migration, pairs(migration));
	if (indexes != NULL)
		steps = lappend(steps, zdm_step(ZDM_STEP_INDEX, ShareUpdateExclusiveLock,
										"build the second column's indexes", indexes));
	steps = list_concat(steps, zdm_twin_constraint_steps(migration->id, pairs(migration), false));
	return lappend(steps, zdm_step(ZDM_STEP_VERIFY, AccessShareLock,
								   "compare both columns in every row", compare));
}

static List *
statements(ZdmMigration *migration)
{
	return zdm_twin_constraint_steps(migration->id, pairs(migration), true);
}

static List *
contract(ZdmMigration *migration, bool quarantine)
{
	if (in_place(migration))
		return NIL;
	if (quarantine && zdm_needs_preload(pairs(migration)))
		ereport(ERROR,
				errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				errmsg("a quarantine of migration \"%s\" needs zdm in shared_preload_libraries", migration->name),
				errdetail("Both columns would have a unique index, and an INSERT ... ON CONFLICT could fail by the first column's."),
				errhint("SELECT zdm.contract(%s, quarantine => '0');", quote_literal_cstr(migration->name)));
	if (quarantine)
		return lappend(zdm_promote_steps(migration->id, pairs(migration), true,
										 views_of(migration)),
					   zdm_change_type_follow(migration));
	return list_concat(zdm_sync_remove_steps(migration),
					   zdm_promote_steps(migration->id, pairs(migration), false,
										 views_of(migration)));
}

/* The second columns, or after contract the first ones. */
static List *
drop_steps(ZdmMigration *migration)
{
	return list_concat(zdm_sync_remove_steps(migration),
					   zdm_twin_drop_steps(migration->id, pairs(migration)));
}

static List *
finish(ZdmMigration *migration)
{
	return in_place(migration) ? NIL : drop_steps(migration);
}

/*
 * The way back of a change in place, where it is one, too.
 */
static List *
change_back(ZdmMigration *migration)
{
	const char *old = zdm_argument(migration, OLD_TYPE);
	Relation	rel = table_open(migration->relation, AccessShareLock);
	List	   *steps = NIL;
	ZdmType		type;
	ZdmIdentity saved;

	if (old != NULL)
	{
		zdm_pin_path(&saved);
		zdm_type_parse(old, &type);
		zdm_unbecome(&saved);
		zdm_type_keep_collation(rel, column_name(migration), &type);
		if (free_to_change(migration, rel, &type))
			steps = change_in_place(migration, rel, &type);
	}
	table_close(rel, AccessShareLock);
	if (steps == NIL)
		ereport(ERROR,
				errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				errmsg("the type of column \"%s\" was changed at once, and is not changed back by zdm",
					   column_name(migration)),
				errdetail("The old type may not hold what has been written since."),
				errhint("SELECT zdm.contract(%s); ends the migration. Change the column back by another zdm.change_column_type.",
						quote_literal_cstr(migration->name)));
	return steps;
}

static List *
rollback(ZdmMigration *migration)
{
	if (in_place(migration))
		return change_back(migration);
	if (migration->state == ZDM_CONTRACTED)
		return list_concat(zdm_sync_remove_steps(migration),
						   zdm_promote_steps(migration->id, pairs(migration), false,
											 views_of(migration)));
	return drop_steps(migration);
}

/*
 * Views are locked before what they are over, as every statement does.
 */
static List *
locks(ZdmMigration *migration, ZdmPhase phase, bool quarantine)
{
	List	   *tables = zdm_migration_tables(migration);
	List	   *relations = NIL;
	List	   *result = NIL;
	ListCell   *lc;

	if (makes_views(migration, phase))
		relations = zdm_user_view_relations(pairs(migration));
	if (relations == NIL)
		return NIL;
	list_sort(tables, list_oid_cmp);
	foreach(lc, list_concat_unique_oid(relations, tables))
		result = lappend(result, zdm_lock(lfirst_oid(lc), AccessExclusiveLock));
	return result;
}

/*
 * Whether the phase drops views, and makes them again.
 */
static bool
makes_views(ZdmMigration *migration, ZdmPhase phase)
{
	if (!recreates_views(migration))
		return false;
	if (in_place(migration))
		return phase == ZDM_EXPAND || phase == ZDM_ROLLBACK;
	return phase == ZDM_CONTRACT || (phase == ZDM_ROLLBACK && migration->state == ZDM_CONTRACTED);
}

static List *
attached(ZdmMigration *migration, ZdmPhase phase)
{
	/* Going back drops and makes views, too. */
	if (in_place(migration) && makes_views(migration, phase))
	{
		ZdmType		type;
		ZdmIdentity saved;

		zdm_pin_path(&saved);
		zdm_type_parse(zdm_argument(migration, OLD_TYPE), &type);
		zdm_unbecome(&saved);
		return zdm_user_view_limits(pairs(migration), &type, false, views_of(migration), NIL);
	}
	if (in_place(migration))
		return NIL;
	/* What has the name goes, and is replaced: what would be lost by it? */
	if (phase == ZDM_CONTRACT && zdm_domains_are_due(pairs(migration)))
	{
		List	   *result = zdm_twin_strangers(migration->id, pairs(migration));

		if (result != NIL)
			return result;
	}
	if (phase == ZDM_CONTRACT || (phase == ZDM_ROLLBACK && migration->state == ZDM_CONTRACTED))
		return zdm_promote_losses(migration->id, pairs(migration), views_of(migration));
	return zdm_twin_strangers(migration->id, pairs(migration));
}

static List *
twins(ZdmMigration *migration)
{
	List	   *result = NIL;
	ListCell   *lc;

	foreach(lc, in_place(migration) ? NIL : pairs(migration))
	{
		ZdmPair    *pair = lfirst(lc);
		ZdmTwin    *twin = palloc0_object(ZdmTwin);

		twin->relation = pair->relation;
		twin->column = pair->from;
		twin->twin = pair->to;
		result = lappend(result, twin);
	}
	return result;
}

/*
 * Neither column may change its type meanwhile.
 */
static void
guard(ZdmMigration *migration, Relation rel)
{
	ZdmType		type;

	zdm_change_type_guard_type(migration);
	new_type(migration, &type);
	if (!in_place(migration))
		zdm_change_type_guard(migration, pairs(migration), &type);
}

static List *
follow(ZdmMigration *migration, const ZdmDdl *ddl)
{
	return in_place(migration) ? NIL : zdm_twin_follow_steps(migration->id, pairs(migration), ddl);
}

static List *
notes(ZdmMigration *migration, Relation rel)
{
	char	   *views = recreates_views(migration) ? zdm_user_views_text(pairs(migration)) : NULL;
	ZdmType		type;

	new_type(migration, &type);
	if (in_place(migration))
		return list_make1(zdm_note(false, "the server changes the type of column %s without reading the table: it is done at once, and zdm.rollback undoes it only where the way back needs no more",
								   quote_identifier(column_name(migration))));
	return zdm_change_type_notes(migration, &type, views);
}

const ZdmPattern zdm_change_column_type_pattern = {
	.name = "change_column_type",
	.check = check,
	.expand = expand,
	.migrate = migrate,
	.statements = statements,
	.contract = contract,
	.finish = finish,
	.rollback = rollback,
	.locks = locks,
	.attached = attached,
	.twins = twins,
	.guard = guard,
	.follow = follow,
	.notes = notes,
};
