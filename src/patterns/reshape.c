/*-------------------------------------------------------------------------
 *
 * reshape.c
 *	  Columns of one shape made of those of another, by expressions: what
 *	  split_column and merge_columns have in common.
 *
 * expand	the new columns, empty, with what is granted on the old ones, and
 *			one rule for both sides as a whole
 * migrate	fill them, compare.  Those that are to be mandatory are then proved
 *			to hold no NULL (reshape_mandatory.c).
 * contract	those become NOT NULL, and the old columns go.  With a quarantine
 *			nothing else changes but the side that leads: the old columns stay,
 *			in sync, under their own names.
 * finish	the old columns go
 * rollback	the new columns go.  down has kept in the old ones what was written
 *			to them.
 *
 * What hangs on an old column (indexes, constraints, views ...) cannot be
 * carried over to several others, or from several to one.  So it is listed at
 * expand, and refuses the phase that drops the column.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "optimizer/optimizer.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

#include "catalog/sync_rule.h"
#include "patterns/reshape.h"
#include "patterns/reshape_mandatory.h"
#include "patterns/sample.h"
#include "schema/column.h"
#include "schema/depend.h"
#include "schema/new_column.h"
#include "schema/privilege.h"
#include "schema/relation.h"
#include "schema/table.h"
#include "schema/twin.h"
#include "sync/expression.h"
#include "sync/install.h"
#include "util/ident.h"

static List *added_columns(ZdmMigration *migration, Relation rel,
						   ZdmReshape *reshape);
static List *other_columns(TupleDesc desc, List *but);
static List *check_expressions(TupleDesc desc, List *texts, List *names,
							   List *targets, List *sources);
static ZdmStep *drop_columns(ZdmMigration *migration, const char *description,
							 List *columns);
static List *dependents_of(ZdmMigration *migration, List *columns);
static List *add_lines(List *lines, List *more);

/*
 * Check everything, and give the migration its rules.
 */
void
zdm_reshape_check(ZdmMigration *migration, Relation rel, ZdmReshape *reshape)
{
	ZdmSyncRule *rule = palloc0_object(ZdmSyncRule);
	List	   *columns;
	TupleDesc	later;
	ListCell   *lc;

	zdm_check_table(rel);
	foreach(lc, migration->old_columns)
	{
		zdm_check_column(rel, lfirst(lc));
		zdm_twin_check(rel, lfirst(lc));
	}
	zdm_check_free_columns(migration->relation,
						   list_concat_copy(migration->old_columns, migration->new_columns));
	columns = added_columns(migration, rel, reshape);
	later = zdm_new_columns_description(RelationGetDescr(rel), columns);
	rule->relation = migration->relation;
	rule->old_columns = migration->old_columns;
	rule->new_columns = migration->new_columns;
	rule->up = check_expressions(later, reshape->up, reshape->up_names,
								 migration->new_columns, migration->old_columns);
	rule->down = check_expressions(later, reshape->down, reshape->down_names,
								   migration->old_columns, migration->new_columns);
	migration->rules = list_make1(rule);
	foreach(lc, columns)
	{
		ZdmNewColumn *column = lfirst(lc);

		if (zdm_is_among(reshape->mandatory, column->name))
			migration->rules = lappend(migration->rules, zdm_mandatory_rule(migration, rel, column));
	}
}

/*
 * The new columns (ZdmNewColumn *).
 */
static List *
added_columns(ZdmMigration *migration, Relation rel, ZdmReshape *reshape)
{
	List	   *result = NIL;
	ListCell   *name,
			   *type,
			   *initial,
			   *argument;

	forfour(name, migration->new_columns, type, reshape->types,
			initial, reshape->initial, argument, reshape->initial_names)
	{
		ZdmNewColumn *column = zdm_new_column(rel, lfirst(name), lfirst(type));
		FormData_pg_attribute attr;
		bool		is_volatile;

		zdm_new_column_describe(column, &attr);
		if (lfirst(initial) != NULL)
			column->initial = zdm_new_column_initial(rel, &attr, lfirst(initial), lfirst(argument),
													 false, &is_volatile);
		result = lappend(result, column);
	}
	return result;
}

/*
 * An expression may use every column but those of the side that it makes.
 */
static List *
check_expressions(TupleDesc desc, List *texts, List *names, List *targets,
				  List *sources)
{
	List	   *allowed = list_concat_copy(sources, other_columns(desc, list_concat_copy(sources, targets)));
	List	   *result = NIL;
	ListCell   *text,
			   *name,
			   *target;

	forthree(text, texts, name, names, target, targets)
	{
		Node	   *expr = zdm_expression_check_as(desc, lfirst(text), lfirst(name),
												   zdm_description_number(desc, lfirst(target)),
												   allowed);

		result = lappend(result, zdm_expression_text(desc, expr));
	}
	return result;
}

static List *
other_columns(TupleDesc desc, List *but)
{
	List	   *result = NIL;

	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute attr = TupleDescAttr(desc, i);

		if (!attr->attisdropped && !zdm_is_among(but, NameStr(attr->attname)))
			result = lappend(result, pstrdup(NameStr(attr->attname)));
	}
	return result;
}

List *
zdm_reshape_expand(ZdmMigration *migration, Relation rel, ZdmReshape *reshape)
{
	List	   *columns = added_columns(migration, rel, reshape);
	char	   *table = zdm_quote_relation(migration->relation);
	List	   *steps;
	ListCell   *part,
			   *lc;

	steps = list_make1(zdm_step(ZDM_STEP_DDL, AccessExclusiveLock,
								list_length(columns) == 1 ? "add the new column" : "add the new columns",
								psprintf("ALTER TABLE %s %s", table,
										 zdm_new_columns_sql(columns))));
	foreach(lc, columns)
	{
		ZdmNewColumn *column = lfirst(lc);

		if (column->initial != NULL)
			steps = lappend(steps, zdm_set_default_step(migration->relation, column->name, column->initial));
		else
			steps = list_concat(steps, zdm_new_column_default_steps(migration->relation, column->name,
																	column->type.oid));
	}
	foreach(part, zdm_table_and_partitions(migration->relation))
	{
		foreach(lc, migration->new_columns)
			steps = list_concat(steps,
								zdm_grant_steps(lfirst_oid(part), migration->old_columns, lfirst(lc)));
	}
	return list_concat(steps, zdm_sync_install_steps(migration));
}

List *
zdm_reshape_migrate(ZdmMigration *migration)
{
	ZdmSyncRule *rule = linitial(migration->rules);
	char	   *table = zdm_quote_relation(migration->relation);
	StringInfoData set,
				unfilled,
				made,
				up,
				down,
				empty;
	List	   *steps;
	ListCell   *name,
			   *text;

	initStringInfo(&set);
	initStringInfo(&unfilled);
	initStringInfo(&made);
	initStringInfo(&up);
	initStringInfo(&down);
	initStringInfo(&empty);
	forboth(name, rule->new_columns, text, rule->up)
	{
		const char *column = quote_identifier(lfirst(name));
		const char *sep = set.len ? ", " : "";

		appendStringInfo(&set, "%s%s = %s", sep, column, (char *) lfirst(text));
		appendStringInfo(&unfilled, "%s%s", sep, column);
		appendStringInfo(&made, "%s%s", sep, (char *) lfirst(text));
		appendStringInfo(&up, "%s%s IS DISTINCT FROM %s", up.len ? " OR " : "",
						 column, (char *) lfirst(text));
	}
	forboth(name, rule->old_columns, text, rule->down)
		appendStringInfo(&down, "%s%s IS DISTINCT FROM %s", down.len ? " OR " : "",
						 quote_identifier(lfirst(name)), (char *) lfirst(text));
	foreach(name, zdm_mandatory_columns(migration->rules))
		appendStringInfo(&empty, " OR %s IS NULL", quote_identifier(lfirst(name)));
	steps = list_make2(zdm_step(ZDM_STEP_BACKFILL, RowExclusiveLock,
								list_length(rule->new_columns) == 1 ? "fill the new column" : "fill the new columns",
								psprintf("UPDATE %s SET %s WHERE ctid in a range of blocks AND num_nonnulls(%s) = 0 AND num_nonnulls(%s) > 0",
										 table, set.data, unfilled.data, made.data)),
					   zdm_step(ZDM_STEP_VERIFY, AccessShareLock,
								"compare both sides in every row",
								psprintf("SELECT count(*) FROM %s WHERE (%s) AND (%s)%s",
										 table, up.data, down.data, empty.data)));
	return list_concat(steps, zdm_mandatory_proof(migration));
}

static ZdmStep *
drop_columns(ZdmMigration *migration, const char *description, List *columns)
{
	StringInfoData sql;
	ListCell   *lc;

	initStringInfo(&sql);
	foreach(lc, columns)
		appendStringInfo(&sql, "%s DROP COLUMN %s", sql.len ? "," : "",
						 quote_identifier(lfirst(lc)));
	return zdm_step(ZDM_STEP_DDL, AccessExclusiveLock, description,
					psprintf("ALTER TABLE %s%s",
							 zdm_quote_relation(migration->relation), sql.data));
}

List *
zdm_reshape_contract(ZdmMigration *migration, bool quarantine)
{
	List	   *steps = zdm_mandatory_steps(migration);

	return quarantine ? steps : list_concat(steps, zdm_reshape_finish(migration));
}

List *
zdm_reshape_finish(ZdmMigration *migration)
{
	return lappend(zdm_sync_remove_steps(migration),
				   drop_columns(migration,
								list_length(migration->old_columns) == 1 ? "drop the old column" : "drop the old columns",
								migration->old_columns));
}

List *
zdm_reshape_rollback(ZdmMigration *migration)
{
	return lappend(zdm_sync_remove_steps(migration),
				   drop_columns(migration,
								list_length(migration->new_columns) == 1 ? "drop the new column" : "drop the new columns",
								migration->new_columns));
}

/*
 * Rollback drops the new columns: what somebody has put on them since expand
 * is in the way.  Contract and finish drop the old ones, but for a contract
 * with a quarantine, which drops nothing: the old version may need its indexes
 * until the end of that.
 */
List *
zdm_reshape_attached(ZdmMigration *migration, ZdmPhase phase, ZdmReshape *reshape)
{
	List	   *result = NIL;
	ListCell   *old,
			   *new,
			   *lc;

	if (phase == ZDM_CONTRACT && migration->quarantine_until != 0)
		return NIL;
	if (phase != ZDM_ROLLBACK)
		return dependents_of(migration, migration->old_columns);
	foreach(new, migration->new_columns)
	{
		foreach(old, migration->old_columns)
		{
			foreach(lc, zdm_twin_attachments(migration->id, migration->relation,
											 lfirst(old), lfirst(new)))
			{
				if (!zdm_reshape_owns(migration, reshape, lfirst(new), lfirst(lc)))
					result = zdm_add_line(result, lfirst(lc));
			}
		}
	}
	return result;
}

static List *
dependents_of(ZdmMigration *migration, List *columns)
{
	List	   *result = NIL;
	ListCell   *lc;

	foreach(lc, columns)
		result = add_lines(result, zdm_column_dependents(migration->relation, lfirst(lc),
														 migration->id));
	return result;
}

static List *
add_lines(List *lines, List *more)
{
	ListCell   *lc;

	foreach(lc, more)
		lines = zdm_add_line(lines, lfirst(lc));
	return lines;
}

/*
 * Nobody reads by a new column what he may not read by the old one.  In the
 * quarantine the new side leads.
 */
List *
zdm_reshape_follow(ZdmMigration *migration, const ZdmDdl *ddl)
{
	return migration->state == ZDM_CONTRACTED ? NIL
		: zdm_privilege_follow_steps(ddl, migration->relation, migration->old_columns,
									 migration->new_columns);
}

List *
zdm_reshape_twins(ZdmMigration *migration)
{
	return NIL;
}

/*
 * What the old columns have and the new ones will not.
 */
static List *
notes_of_shape(ZdmMigration *migration, Relation rel, ZdmReshape *reshape)
{
	const char *to = zdm_column_list(migration->new_columns);
	List	   *optional = NIL;
	List	   *without = NIL;
	List	   *dependents = dependents_of(migration, migration->old_columns);
	List	   *result = NIL;
	ListCell   *lc,
			   *initial;

	forboth(lc, migration->new_columns, initial, reshape->initial)
	{
		if (!zdm_is_among(reshape->mandatory, lfirst(lc)))
			optional = lappend(optional, lfirst(lc));
		if (lfirst(initial) == NULL)
			without = lappend(without, lfirst(lc));
	}
	if (dependents != NIL)
		result = lappend(result,
						 zdm_note(true, "contract is refused as long as something depends on %s, and nothing of it is carried over to %s: %s",
								  zdm_column_list(migration->old_columns), to,
								  zdm_names_text(dependents)));
	foreach(lc, migration->old_columns)
	{
		Form_pg_attribute attr = TupleDescAttr(RelationGetDescr(rel),
											   get_attnum(migration->relation, lfirst(lc)) - 1);
		const char *column = quote_identifier(lfirst(lc));

		if (attr->attnotnull)
			result = lappend(result,
							 zdm_note(false, "column %s is NOT NULL: until it goes, a statement for whose values down gives NULL fails",
									  column));
		if (attr->attnotnull && optional != NIL)
			result = lappend(result,
							 zdm_note(false, "column %s is NOT NULL, and %s will not be after contract: say not_null, or make it so then",
									  column, zdm_column_list(optional)));
		if ((attr->atthasdef || attr->attidentity) && without != NIL)
			result = lappend(result,
							 zdm_note(false, "column %s has a default, which is not carried over to %s: until contract a row that gives neither side is made of it; say default_value, or set defaults before",
									  column, zdm_column_list(without)));
	}
	if (reshape->mandatory != NIL)
		result = lappend(result,
						 zdm_note(true, "once the rows are filled a NULL in %s is refused: a statement fails that writes one, and one of the old version for whose values up gives NULL",
								  zdm_column_list(reshape->mandatory)));
	return lappend(result,
				   zdm_note(false, "no index comes with %s: create what the new version needs, CONCURRENTLY, any time after expand; a rollback asks you to drop it again",
							to));
}

/*
 * Columns of neither side that expressions use, to tell what that means.
 */
static List *
notes_of_third(TupleDesc desc, const char *argument, List *texts, List *from,
			   List *to)
{
	List	   *third = NIL;
	ListCell   *text,
			   *var;

	foreach(text, texts)
	{
		Node	   *expr = zdm_expression_parse_as(desc, lfirst(text), argument, 0);

		foreach(var, pull_var_clause(expr, 0))
		{
			Form_pg_attribute attr = TupleDescAttr(desc, lfirst_node(Var, var)->varattno - 1);

			if (!zdm_is_among(from, NameStr(attr->attname)) && !zdm_is_among(third, NameStr(attr->attname)))
				third = lappend(third, pstrdup(NameStr(attr->attname)));
		}
	}
	if (third == NIL)
		return NIL;
	return list_make1(zdm_note(false, "%s uses %s: a statement that changes that and not %s leaves %s as it is",
							   argument, zdm_column_list(third), zdm_column_list(from),
							   zdm_column_list(to)));
}

/*
 * Rows that up fails on, as far as a look at some blocks tells.
 */
static ZdmNote *
sample_note(ZdmMigration *migration, Relation rel, ZdmReshape *reshape)
{
	List	   *types = NIL;
	char	   *sample;
	ListCell   *lc;

	foreach(lc, added_columns(migration, rel, reshape))
		types = lappend(types, &((ZdmNewColumn *) lfirst(lc))->type);
	sample = zdm_conversion_sample(linitial(migration->rules), types);
	return sample ? zdm_note(true, "%s", sample) : NULL;
}

List *
zdm_reshape_notes(ZdmMigration *migration, Relation rel, ZdmReshape *reshape)
{
	TupleDesc	later = zdm_new_columns_description(RelationGetDescr(rel),
													added_columns(migration, rel, reshape));
	ZdmSyncRule *rule = linitial(migration->rules);
	List	   *result = zdm_notes_of_others(migration, rel);
	ZdmNote    *failing = sample_note(migration, rel, reshape);

	if (failing != NULL)
		result = lappend(result, failing);
	result = list_concat(result, zdm_notes_of_settings(later, "up", rule->up));
	result = list_concat(result, zdm_notes_of_settings(later, "down", rule->down));
	result = list_concat(result, notes_of_shape(migration, rel, reshape));
	result = list_concat(result, notes_of_third(later, "up", rule->up,
												rule->old_columns, rule->new_columns));
	result = list_concat(result, notes_of_third(later, "down", rule->down,
												rule->new_columns, rule->old_columns));
	result = list_concat(result, zdm_notes_of_stars(migration));
	return list_concat(result, zdm_notes_of_backfill(migration));
}
