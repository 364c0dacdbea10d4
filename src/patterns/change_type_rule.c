/*-------------------------------------------------------------------------
 *
 * change_type_rule.c
 *	  The sync rules of a type change, and what they mean for those who write.
 *
 * Both versions use one name.  In up it means the old value, in down the new
 * one, whichever of the two columns has the name by then: the expressions are
 * stored by the columns' names of the time, and written anew when the columns
 * have changed them.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "patterns/change_type_rule.h"
#include "patterns/pattern.h"
#include "patterns/sample.h"
#include "schema/depend.h"
#include "schema/domain_twin.h"
#include "schema/retype.h"
#include "schema/twin_index.h"
#include "sync/expression.h"
#include "util/guc.h"
#include "util/ident.h"
#include "util/spi.h"

static List *notes_of_settings(ZdmMigration *migration, const ZdmType *type);
static Node *conversion(TupleDesc desc, const char *column, const ZdmType *from,
						const ZdmType *to, const char *argument, AttrNumber target);

/*
 * In up the column's name means the old value, in down the new one: both are
 * read over a description of the table in which it does, and written with the
 * names that the columns have.
 */
ZdmSyncRule *
zdm_change_type_rule(ZdmMigration *migration, Relation rel, ZdmPair *pair, const ZdmType *type)
{
	ZdmSyncRule *rule = palloc0_object(ZdmSyncRule);
	TupleDesc	desc = zdm_description_with(RelationGetDescr(rel), pair->to, type);
	TupleDesc	after = zdm_description_with(desc, NULL, NULL);
	AttrNumber	column = zdm_description_number(desc, pair->from);
	AttrNumber	twin = zdm_description_number(desc, pair->to);
	const char *up = zdm_argument(migration, "up");
	const char *down = zdm_argument(migration, "down");
	ZdmType		from;

	char	   *value;

	zdm_type_of(RelationGetRelid(rel), pair->from, &from);
	zdm_description_swap(after, pair->from, pair->to);
	rule->relation = pair->relation;
	rule->old_columns = list_make1(pair->from);
	rule->new_columns = list_make1(pair->to);
	value = zdm_expression_text(desc, up ? zdm_expression_check_as(desc, up, "up", twin, NIL)
								: conversion(desc, pair->from, &from, type, "up", twin));
	rule->up = list_make1(zdm_domain_value(value, type));
	rule->down = list_make1(zdm_expression_text(desc, down ? zdm_expression_check_as(after, down, "down", column, NIL)
												: conversion(after, pair->from, type, &from, "down", column)));
	rule->down_or_null = strcmp(zdm_argument(migration, "on_down_error"), "null") == 0;
	return rule;
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
 * Whether the second column tells the same values apart as the first one does,
 * whichever of the two a statement has written.
 */
bool
zdm_change_type_is_exact(ZdmMigration *migration, Oid relid, const char *column,
						 const ZdmType *type)
{
	ZdmType		from;

	zdm_type_of(relid, column, &from);
	return zdm_argument(migration, "up") == NULL && zdm_argument(migration, "down") == NULL &&
		strcmp(zdm_argument(migration, "on_down_error"), "error") == 0 &&
		zdm_type_is_exact(&from, type);
}

/*
 * The rules once the columns have each other's names.
 */
ZdmStep *
zdm_change_type_follow(ZdmMigration *migration)
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

/*
 * What is different while both columns are there.  views: those that are made
 * again, or NULL.
 */
List *
zdm_change_type_notes(ZdmMigration *migration, ZdmType *type, const char *views)
{
	const char *name = quote_identifier(linitial(migration->old_columns));
	List	   *result = NIL;
	ListCell   *lc;

	if (views != NULL)
		result = lappend(result,
						 zdm_note(false, "contract drops what is over the column and makes it again, with owner, privileges, options, defaults, comments, triggers and rules: %s", views));
	foreach(lc, migration->rules)
	{
		char	   *sample = zdm_conversion_sample(lfirst(lc), list_make1(type));

		if (sample != NULL)
			result = lappend(result, zdm_note(true, "%s", sample));
	}
	result = list_concat(result, notes_of_settings(migration, type));
	foreach(lc, migration->rules)
	{
		ZdmSyncRule *rule = lfirst(lc);

		if (zdm_is_published(rule->relation))
			result = lappend(result,
							 zdm_note(true, "%s is published: add column %s to it on every subscriber first, and change the type there before contract, or replication stops there",
									  rule->relation == migration->relation ? "the table" : psprintf("table %s", zdm_quote_relation(rule->relation)),
									  quote_identifier(linitial(rule->new_columns))));
		result = list_concat(result, zdm_notes_of_results(rule->relation, linitial(rule->old_columns)));
	}
	foreach(lc, zdm_rules_tables(migration->rules))
		result = list_concat(result, zdm_notes_of_rows(lfirst_oid(lc)));
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

/*
 * Of what the user gave: no cast that zdm has chosen goes by them.
 */
static List *
notes_of_settings(ZdmMigration *migration, const ZdmType *type)
{
	Relation	rel = table_open(migration->relation, AccessShareLock);
	TupleDesc	desc = zdm_description_with(RelationGetDescr(rel), linitial(migration->new_columns), type);
	ZdmSyncRule *rule = linitial(migration->rules);
	List	   *result = NIL;

	if (zdm_argument(migration, "up") != NULL)
		result = zdm_notes_of_settings(desc, "up", rule->up);
	if (zdm_argument(migration, "down") != NULL)
		result = list_concat(result, zdm_notes_of_settings(desc, "down", rule->down));
	table_close(rel, AccessShareLock);
	return result;
}

/*
 * The type that the columns are to get is needed.
 */
void
zdm_change_type_guard_type(ZdmMigration *migration)
{
	if (zdm_query_strings("SELECT '' WHERE pg_catalog.to_regtype($1) IS NOT NULL",
						  ZDM_ARGS(zdm_arg_text(zdm_argument(migration, "new_type")))) == NIL)
		ereport(ERROR,
				errcode(ERRCODE_OBJECT_IN_USE),
				errmsg("type %s is needed by migration \"%s\"", zdm_argument(migration, "new_type"), migration->name),
				zdm_hint_rollback(migration));
}

/*
 * The new columns must keep it, or what stands for it meanwhile.
 */
void
zdm_change_type_guard(ZdmMigration *migration, List *pairs, const ZdmType *type)
{
	ZdmType		meanwhile;
	ListCell   *lc;

	zdm_type_meanwhile(type, &meanwhile);
	foreach(lc, pairs)
	{
		ZdmPair    *pair = lfirst(lc);
		char	   *column = migration->state == ZDM_CONTRACTED ? pair->from : pair->to;
		ZdmType		is;

		zdm_type_of(pair->relation, column, &is);
		if (!(is.oid == type->oid && is.typmod == type->typmod) &&
			(migration->state == ZDM_CONTRACTED || !zdm_domain_is_due(pair->relation, column, type) ||
			 is.oid != meanwhile.oid || is.typmod != meanwhile.typmod))
			ereport(ERROR,
					errcode(ERRCODE_OBJECT_IN_USE),
					errmsg("column \"%s\" of table \"%s\" must keep its type while migration \"%s\" is in flight",
						   column, get_rel_name(pair->relation), migration->name),
					zdm_hint_rollback(migration));
	}
}

/*
 * For people: what the backfill and the verification do.
 */
void
zdm_change_type_texts(ZdmMigration *migration, char **fill, char **compare)
{
	StringInfoData filling,
				comparing;
	ListCell   *lc;

	initStringInfo(&filling);
	initStringInfo(&comparing);
	foreach(lc, migration->rules)
	{
		ZdmSyncRule *rule = lfirst(lc);
		char	   *table = zdm_quote_relation(rule->relation);
		const char *to = quote_identifier(linitial(rule->new_columns));
		char	   *up = linitial(rule->up);

		appendStringInfo(&filling, "%sUPDATE %s SET %s = %s WHERE ctid in a range of blocks AND %s IS NULL AND (%s) IS NOT NULL",
						 filling.len ? "\n" : "", table, to, up, to, up);
		appendStringInfo(&comparing, "%sSELECT count(*) FROM %s WHERE %s IS DISTINCT FROM (%s) AND %s IS DISTINCT FROM (%s)",
						 comparing.len ? "\n" : "", table, to, up,
						 quote_identifier(linitial(rule->old_columns)), (char *) linitial(rule->down));
	}
	*fill = filling.data;
	*compare = comparing.data;
}

/*
 * For people: what builds the second columns' indexes, NULL where there are
 * none.
 */
char *
zdm_change_type_index_text(ZdmMigration *migration, List *pairs)
{
	StringInfoData sql;
	List	   *sources = NIL;
	ListCell   *lc,
			   *item;

	initStringInfo(&sql);
	foreach(lc, pairs)
	{
		ZdmPair    *pair = lfirst(lc);

		sources = list_concat_unique_oid(sources,
										 zdm_twin_index_sources(pair->relation, pair->from, pair->to));
	}
	foreach(item, sources)
		appendStringInfo(&sql, "%s%s", sql.len ? "\n" : "",
						 zdm_twin_index_sql(migration->id, lfirst_oid(item), pairs, zdm_preloaded));
	return sql.len ? sql.data : NULL;
}
