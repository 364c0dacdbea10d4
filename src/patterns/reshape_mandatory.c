/*-------------------------------------------------------------------------
 *
 * reshape_mandatory.c
 *	  New columns of a split or a merge that are to be mandatory.
 *
 * Such a column has a rule of its own, whose fill is NULL: it fills nothing,
 * and the verification counts and names the rows that hold NULL.  Once there
 * is none the server proves it (schema/not_null.c), and from then on a NULL is
 * refused.  At contract the column becomes NOT NULL.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/builtins.h"

#include "catalog/sync_rule.h"
#include "patterns/reshape.h"
#include "patterns/reshape_mandatory.h"
#include "schema/not_null.h"
#include "sync/expression.h"
#include "util/ident.h"

typedef List *(*StepsOf) (ZdmMigration *migration, const char *column);

static List *steps_of_each(ZdmMigration *migration, StepsOf steps_of);

ZdmSyncRule *
zdm_mandatory_rule(ZdmMigration *migration, Relation rel, ZdmNewColumn *column)
{
	ZdmSyncRule *rule = palloc0_object(ZdmSyncRule);
	FormData_pg_attribute attr;

	zdm_new_column_describe(column, &attr);
	rule->kind = ZDM_RULE_FILL;
	rule->relation = migration->relation;
	rule->new_columns = list_make1(column->name);
	rule->up = list_make1(zdm_expression_check_fill(rel, "NULL", "fill", &attr));
	return rule;
}

/*
 * The steps for each column that is to be NOT NULL.  One that is run by itself
 * is known by its description.
 */
static List *
steps_of_each(ZdmMigration *migration, StepsOf steps_of)
{
	List	   *result = NIL;
	ListCell   *name,
			   *lc;

	foreach(name, zdm_mandatory_columns(migration->rules))
	{
		List	   *steps = steps_of(migration, lfirst(name));

		foreach(lc, steps)
		{
			ZdmStep    *step = lfirst(lc);

			step->description = psprintf("%s: %s", quote_identifier(lfirst(name)), step->description);
		}
		result = list_concat(result, steps);
	}
	return result;
}

/*
 * The steps that prove that they hold no NULL.
 */
List *
zdm_mandatory_proof(ZdmMigration *migration)
{
	return steps_of_each(migration, zdm_not_null_proof);
}

List *
zdm_reshape_statements(ZdmMigration *migration)
{
	return steps_of_each(migration, zdm_not_null_proof_left);
}

List *
zdm_reshape_take_back(ZdmMigration *migration)
{
	return steps_of_each(migration, zdm_not_null_give_up_steps);
}

/*
 * The steps that make them NOT NULL.
 */
List *
zdm_mandatory_steps(ZdmMigration *migration)
{
	List	   *steps = NIL;
	ListCell   *lc;

	foreach(lc, zdm_mandatory_columns(migration->rules))
		steps = list_concat(steps, zdm_not_null_set_steps(migration, lfirst(lc), NULL));
	return steps;
}

/*
 * The rules' columns are looked after, and their expressions compiled, wherever
 * there are rules.
 */
void
zdm_reshape_guard(ZdmMigration *migration, Relation rel)
{
	ListCell   *lc;

	foreach(lc, zdm_mandatory_columns(migration->rules))
		zdm_guard_not_null(migration, lfirst(lc));
}

/*
 * Whether what is attached to a new column came by the call: its default, and
 * the check that stands for its NOT NULL.
 */
bool
zdm_reshape_owns(ZdmMigration *migration, ZdmReshape *reshape, const char *column,
				 const char *attached)
{
	ListCell   *name,
			   *initial;

	forboth(name, migration->new_columns, initial, reshape->initial)
	{
		if (lfirst(initial) != NULL && strcmp(lfirst(name), column) == 0 &&
			strncmp(attached, "default ", strlen("default ")) == 0)
			return true;
	}
	return zdm_is_among(zdm_mandatory_columns(migration->rules), column) &&
		zdm_not_null_is_check(migration, column, attached);
}
