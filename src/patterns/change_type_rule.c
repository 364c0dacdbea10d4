/*-------------------------------------------------------------------------
 *
 * change_type_rule.c
 *	  The sync rules of a type change.
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
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "patterns/change_type_rule.h"
#include "schema/retype.h"
#include "sync/expression.h"
#include "util/spi.h"

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
