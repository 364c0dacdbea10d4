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
#include "patterns/pattern.h"
#include "patterns/sample.h"
#include "schema/depend.h"
#include "schema/retype.h"
#include "schema/table.h"
#include "schema/twin.h"
#include "schema/twin_constraint.h"
#include "schema/twin_index.h"
#include "schema/twin_index_limits.h"
#include "schema/twin_key.h"
#include "schema/twin_limits.h"
#include "schema/twin_promote.h"
#include "sync/expression.h"
#include "sync/install.h"
#include "util/compat.h"
#include "util/guc.h"
#include "util/ident.h"
#include "util/spi.h"

/* The argument that keeps what a change in place has replaced. */
#define OLD_TYPE "_old_type"

static void check_arguments(ZdmMigration *migration);
static void check_pair(ZdmMigration *migration, ZdmPair *pair, const ZdmType *type);
static void check_referring(ZdmMigration *migration);
static void refuse(ZdmMigration *migration, List *objects);
static char *lines(List *objects);
static ZdmSyncRule *make_rule(ZdmMigration *migration, Relation rel,
							  ZdmPair *pair, const ZdmType *type);
static bool is_exact(ZdmMigration *migration, Relation rel, const char *column,
					 const ZdmType *type);
static Node *conversion(TupleDesc desc, const char *column, const ZdmType *from,
						const ZdmType *to, const char *argument, AttrNumber target);
static bool recreates_views(ZdmMigration *migration);
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
	List	   *result = NIL;
	ListCell   *lc;

	foreach(lc, migration->rules)
	{
		ZdmSyncRule *rule = lfirst(lc);
		ZdmPair    *pair = zdm_pair(rule->relation,
									linitial(contracted ? rule->new_columns : rule->old_columns),
									linitial(contracted ? rule->old_columns : rule->new_columns));
		AttrNumber	twin = get_attnum(pair->relation, pair->to);
		Relation	rel;
		ZdmType		type;

		/* In a dry run of expand there is no second column. */
		if (twin > 0)
		{
			rel = table_open(pair->relation, AccessShareLock);
			zdm_type_of(rel, pair->to, &type);
			pair->exact = is_exact(migration, rel, pair->from, &type);
			table_close(rel, NoLock);
		}
		result = lappend(result, pair);
	}
	return result;
}

/*
 * Whether the second column tells the same values apart as the first one does,
 * whichever of the two a statement has written.
 */
static bool
is_exact(ZdmMigration *migration, Relation rel, const char *column, const ZdmType *type)
{
	ZdmType		from;

	zdm_type_of(rel, column, &from);
	return zdm_argument(migration, "up") == NULL && zdm_argument(migration, "down") == NULL &&
		strcmp(zdm_argument(migration, "on_down_error"), "error") == 0 &&
		zdm_type_is_exact(&from, type);
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
	zdm_type_check(&type);
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
		zdm_type_changes_in_place(rel, column_name(migration), &type) &&
		!zdm_column_is_used(RelationGetRelid(rel), column_name(migration)))
	{
		ZdmType		old;

		zdm_type_of(rel, column_name(migration), &old);
		if (zdm_argument(migration, OLD_TYPE) == NULL)
			zdm_set_argument(migration, OLD_TYPE, zdm_type_text(&old));
		zdm_check_free_columns(migration->relation, list_make1(column_name(migration)));
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
	refuse(migration, zdm_promote_limits(columns, &type, recreates_views(migration)));
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
	if (recreates_views(migration))
		ereport(ERROR,
				errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				errmsg("views that use the column are not made again by this version of zdm"),
				errhint("Drop the views for the time of the migration, and create them again after contract."));
}

static bool
recreates_views(ZdmMigration *migration)
{
	return strcmp(zdm_argument(migration, "views"), "recreate") == 0;
}

/*
 * One of the columns: whether it can have a second one; and its rule.
 */
static void
check_pair(ZdmMigration *migration, ZdmPair *pair, const ZdmType *type)
{
	Relation	rel;
	ZdmType		own = *type;

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
	pair->exact = is_exact(migration, rel, pair->from, &own);
	migration->rules = lappend(migration->rules, make_rule(migration, rel, pair, &own));
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
			errdetail("%s", lines(keys)),
			errhint("Leave both out, so that all columns are converted by the cast, or drop the foreign keys for the time of the migration."));
}

static char *
lines(List *objects)
{
	StringInfoData list;
	ListCell   *lc;

	initStringInfo(&list);
	foreach(lc, objects)
		appendStringInfo(&list, "%s%s", list.len ? "\n" : "", (char *) lfirst(lc));
	return list.data;
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
			errdetail("%s", lines(objects)),
			errhint("Drop these for the time of the migration, or change them as the lines say."));
}

/*
 * What the user gave no expression for: its text is ours, and goes by no path
 * of his.
 */
static Node *
conversion(TupleDesc desc, const char *column, const ZdmType *from, const ZdmType *to,
		   const char *argument, AttrNumber target)
{
	ZdmIdentity saved;
	Node	   *result;

	zdm_pin_path(&saved);
	result = zdm_expression_check_as(desc, zdm_type_conversion(column, from, to, argument),
									 argument, target, NIL);
	zdm_unbecome(&saved);
	return result;
}

/*
 * In up the column's name means the old value, in down the new one: both are
 * read over a description of the table in which it does, and written with the
 * names that the columns have.
 */
static ZdmSyncRule *
make_rule(ZdmMigration *migration, Relation rel, ZdmPair *pair, const ZdmType *type)
{
	ZdmSyncRule *rule = palloc0_object(ZdmSyncRule);
	TupleDesc	desc = zdm_description_with(RelationGetDescr(rel), pair->to, type);
	TupleDesc	after = zdm_description_with(desc, NULL, NULL);
	AttrNumber	column = zdm_description_number(desc, pair->from);
	AttrNumber	twin = zdm_description_number(desc, pair->to);
	const char *up = zdm_argument(migration, "up");
	const char *down = zdm_argument(migration, "down");
	ZdmType		from;

	zdm_type_of(rel, pair->from, &from);
	zdm_description_swap(after, pair->from, pair->to);
	rule->relation = pair->relation;
	rule->old_columns = list_make1(pair->from);
	rule->new_columns = list_make1(pair->to);
	rule->up = list_make1(zdm_expression_text(desc, up ? zdm_expression_check_as(desc, up, "up", twin, NIL)
											  : conversion(desc, pair->from, &from, type, "up", twin)));
	rule->down = list_make1(zdm_expression_text(desc, down ? zdm_expression_check_as(after, down, "down", column, NIL)
												: conversion(after, pair->from, type, &from, "down", column)));
	rule->down_or_null = strcmp(zdm_argument(migration, "on_down_error"), "null") == 0;
	return rule;
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
		return zdm_retype_steps(rel, column_name(migration), &type);
	}
	foreach(lc, pairs(migration))
	{
		ZdmPair    *pair = lfirst(lc);
		Relation	table = table_open(pair->relation, AccessShareLock);
		ZdmType		own = type;

		zdm_type_keep_collation(table, pair->from, &own);
		steps = list_concat(steps, zdm_twin_add_typed_steps(table, pair->from, pair->to, &own));
		table_close(table, AccessShareLock);
	}
	return list_concat(steps, zdm_sync_install_steps(migration));
}

/*
 * For people: what builds the second columns' indexes, NULL where there are
 * none.
 */
static char *
index_sql(ZdmMigration *migration)
{
	StringInfoData sql;
	List	   *all = pairs(migration);
	List	   *sources = NIL;
	ListCell   *lc,
			   *item;

	initStringInfo(&sql);
	foreach(lc, all)
	{
		ZdmPair    *pair = lfirst(lc);

		sources = list_concat_unique_oid(sources,
										 zdm_twin_index_sources(pair->relation, pair->from, pair->to));
	}
	foreach(item, sources)
		appendStringInfo(&sql, "%s%s", sql.len ? "\n" : "",
						 zdm_twin_index_sql(migration->id, lfirst_oid(item), all, zdm_preloaded));
	return sql.len ? sql.data : NULL;
}

static List *
migrate(ZdmMigration *migration)
{
	List	   *steps = NIL;
	StringInfoData fill,
				compare;
	char	   *indexes;
	ListCell   *lc;

	if (in_place(migration))
		return NIL;
	initStringInfo(&fill);
	initStringInfo(&compare);
	foreach(lc, migration->rules)
	{
		ZdmSyncRule *rule = lfirst(lc);
		char	   *table = zdm_quote_relation(rule->relation);
		const char *to = quote_identifier(linitial(rule->new_columns));
		char	   *up = linitial(rule->up);

		appendStringInfo(&fill, "%sUPDATE %s SET %s = %s WHERE ctid in a range of blocks AND %s IS NULL AND (%s) IS NOT NULL",
						 fill.len ? "\n" : "", table, to, up, to, up);
		appendStringInfo(&compare, "%sSELECT count(*) FROM %s WHERE %s IS DISTINCT FROM (%s) AND %s IS DISTINCT FROM (%s)",
						 compare.len ? "\n" : "", table, to, up,
						 quote_identifier(linitial(rule->old_columns)), (char *) linitial(rule->down));
	}
	steps = list_make1(zdm_step(ZDM_STEP_BACKFILL, RowExclusiveLock,
								"fill the second column", fill.data));
	indexes = index_sql(migration);
	if (indexes != NULL)
		steps = lappend(steps, zdm_step(ZDM_STEP_INDEX, ShareUpdateExclusiveLock,
										"build the second column's indexes", indexes));
	steps = list_concat(steps, zdm_twin_constraint_steps(migration->id, pairs(migration), false));
	return lappend(steps, zdm_step(ZDM_STEP_VERIFY, AccessShareLock,
								   "compare both columns in every row", compare.data));
}

static List *
statements(ZdmMigration *migration)
{
	return zdm_twin_constraint_steps(migration->id, pairs(migration), true);
}

/*
 * The rules once the columns have each other's names.
 */
static ZdmStep *
follow_rules(ZdmMigration *migration)
{
	ZdmStep    *step = zdm_step(ZDM_STEP_SET_RULES, NoLock, "let the sync rule follow", NULL);
	ListCell   *lc,
			   *other;

	foreach(lc, migration->rules)
	{
		ZdmSyncRule *rule = lfirst(lc);
		ZdmSyncRule *next = palloc_object(ZdmSyncRule);
		Relation	rel = table_open(rule->relation, AccessShareLock);
		TupleDesc	now = zdm_description_with(RelationGetDescr(rel), NULL, NULL);
		TupleDesc	after = zdm_description_with(now, NULL, NULL);
		ZdmIdentity saved;

		table_close(rel, NoLock);
		foreach(other, migration->rules)
		{
			ZdmSyncRule *swapped = lfirst(other);

			if (swapped->relation == rule->relation)
				zdm_description_swap(after, linitial(swapped->old_columns),
									 linitial(swapped->new_columns));
		}
		*next = *rule;
		zdm_pin_path(&saved);
		zdm_pin_style();
		next->up = list_make1(zdm_expression_text(after,
												  zdm_expression_parse_as(now, linitial(rule->up), "up", 0)));
		next->down = list_make1(zdm_expression_text(after,
													zdm_expression_parse_as(now, linitial(rule->down), "down", 0)));
		zdm_unbecome(&saved);
		next->old_columns = rule->new_columns;
		next->new_columns = rule->old_columns;
		step->rules = lappend(step->rules, next);
	}
	return step;
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
										 recreates_views(migration)),
					   follow_rules(migration));
	return list_concat(zdm_sync_remove_steps(migration),
					   zdm_promote_steps(migration->id, pairs(migration), false,
										 recreates_views(migration)));
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
		if (zdm_type_changes_in_place(rel, column_name(migration), &type) &&
			!zdm_column_is_used(migration->relation, column_name(migration)))
			steps = zdm_retype_steps(rel, column_name(migration), &type);
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
											 recreates_views(migration)));
	return drop_steps(migration);
}

static List *
attached(ZdmMigration *migration, ZdmPhase phase)
{
	if (in_place(migration))
		return NIL;
	/* What has the name goes, and is replaced: what would be lost by it? */
	if (phase == ZDM_CONTRACT || (phase == ZDM_ROLLBACK && migration->state == ZDM_CONTRACTED))
		return zdm_promote_losses(migration->id, pairs(migration), recreates_views(migration));
	return zdm_twin_strangers(migration->id, pairs(migration));
}

static List *
twins(ZdmMigration *migration)
{
	List	   *result = NIL;
	ListCell   *lc;

	foreach(lc, pairs(migration))
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
	ListCell   *lc;

	new_type(migration, &type);
	foreach(lc, pairs(migration))
	{
		ZdmPair    *pair = lfirst(lc);
		char	   *column = migration->state == ZDM_CONTRACTED ? pair->from : pair->to;
		Relation	table = table_open(pair->relation, AccessShareLock);
		ZdmType		is;

		zdm_type_of(table, column, &is);
		if (is.oid != type.oid || is.typmod != type.typmod)
			ereport(ERROR,
					errcode(ERRCODE_OBJECT_IN_USE),
					errmsg("column \"%s\" of table \"%s\" must keep its type while migration \"%s\" is in flight",
						   column, RelationGetRelationName(table), migration->name),
					zdm_hint_rollback(migration));
		table_close(table, AccessShareLock);
	}
}

static List *
notes(ZdmMigration *migration, Relation rel)
{
	const char *name = quote_identifier(column_name(migration));
	List	   *result = NIL;
	ZdmType		type;
	ListCell   *lc;

	new_type(migration, &type);
	if (in_place(migration))
		return list_make1(zdm_note(false, "the server changes the type of column %s without reading the table: it is done at once, and zdm.rollback undoes it only where the way back needs no more",
								   name));
	foreach(lc, migration->rules)
	{
		char	   *sample = zdm_conversion_sample(lfirst(lc), list_make1(&type));

		if (sample != NULL)
			result = lappend(result, zdm_note(true, "%s", sample));
	}
	if (zdm_is_published(migration->relation))
		result = lappend(result,
						 zdm_note(true, "the table is published: add column %s to it on every subscriber first, and change the type there before contract, or replication stops there",
								  quote_identifier(linitial(migration->new_columns))));
	result = lappend(result,
					 zdm_note(false, "SELECT * and RETURNING * gain a column at expand: a statement that was prepared with a star fails with \"cached plan must not change result type\" until it is prepared again"));
	result = lappend(result,
					 zdm_note(false, "at contract column %s changes its type: a prepared statement that returns it fails once with \"cached plan must not change result type\", as after any change of a type",
							  name));
	result = lappend(result,
					 zdm_note(false, "at contract column %s becomes the last of the table: INSERT without a column list, COPY without one and SELECT * have it there; name the columns",
							  name));
	result = lappend(result,
					 zdm_note(false, "COPY without a column list reads and writes the added column, too: name the columns"));
	result = lappend(result,
					 zdm_note(false, "a value that up cannot convert fails the statement that writes it, from expand on; one that down cannot, from contract on to the end of the quarantine"));
	result = lappend(result,
					 zdm_note(false, "the constraints of column %s hold for the added column, too, from the time when it is filled: a value that fulfils them in one type only is refused",
							  name));
	return result;
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
	.attached = attached,
	.twins = twins,
	.guard = guard,
	.notes = notes,
};
