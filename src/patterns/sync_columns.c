/*-------------------------------------------------------------------------
 *
 * sync_columns.c
 *	  Keep columns in sync that exist already, by expressions.
 *
 * Not in the public API: it is a sync rule with a life cycle around it and
 * nothing else, what the patterns with expressions are built on, and what
 * tests exercise rules with.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "catalog/sync_rule.h"
#include "patterns/pattern.h"
#include "schema/column.h"
#include "schema/table.h"
#include "sync/expression.h"
#include "sync/install.h"
#include "util/ident.h"

static void
check_expressions(Relation rel, List *texts, List *targets,
				  const char *argument)
{
	ListCell   *text,
			   *target;

	if (list_length(texts) != list_length(targets))
		ereport(ERROR,
				errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("\"%s\" needs one expression for each of %s", argument,
					   zdm_names_text(targets)),
				errhint("Give as many expressions as columns."));
	forboth(text, texts, target, targets)
	{
		if (lfirst(text) == NULL)
			ereport(ERROR,
					errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					errmsg("\"%s\" holds a NULL", argument),
					errhint("The expression NULL is written 'NULL'."));
		lfirst(text) = zdm_expression_check(rel, lfirst(text), argument,
											lfirst(target), NIL);
	}
}

static void
check(ZdmMigration *migration, Relation rel)
{
	ZdmSyncRule *rule = linitial(migration->rules);
	ListCell   *lc;

	List	   *columns = list_concat_copy(migration->old_columns, migration->new_columns);
	List	   *seen = NIL;

	zdm_check_table(rel);
	if (migration->old_columns == NIL || migration->new_columns == NIL)
		ereport(ERROR,
				errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("each side needs at least one column"),
				errhint("Name the columns."));
	foreach(lc, columns)
	{
		ListCell   *other;

		if (lfirst(lc) == NULL)
			ereport(ERROR,
					errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					errmsg("a column name is NULL"),
					errhint("Name the columns."));
		foreach(other, seen)
		{
			if (strcmp(lfirst(other), lfirst(lc)) == 0)
				ereport(ERROR,
						errcode(ERRCODE_DUPLICATE_COLUMN),
						errmsg("column \"%s\" is named twice", (char *) lfirst(lc)),
						errhint("A column can be on one side only, once."));
		}
		seen = lappend(seen, lfirst(lc));
		zdm_check_column(rel, lfirst(lc));
	}
	check_expressions(rel, rule->up, migration->new_columns, "up");
	check_expressions(rel, rule->down, migration->old_columns, "down");
}

static List *
expand(ZdmMigration *migration, Relation rel)
{
	return zdm_sync_install_steps(migration);
}

static List *
migrate(ZdmMigration *migration)
{
	return list_make2(zdm_step(ZDM_STEP_BACKFILL, RowExclusiveLock,
							   "fill the new columns", NULL),
					  zdm_step(ZDM_STEP_VERIFY, AccessShareLock,
							   "compare both sides in every row", NULL));
}

static List *
contract(ZdmMigration *migration, bool quarantine)
{
	return quarantine ? NIL : zdm_sync_remove_steps(migration);
}

static List *
notes(ZdmMigration *migration, Relation rel)
{
	ZdmSyncRule *rule = linitial(migration->rules);

	return list_concat(zdm_notes_of_settings(RelationGetDescr(rel), "up", rule->up),
					   zdm_notes_of_settings(RelationGetDescr(rel), "down", rule->down));
}

const ZdmPattern zdm_sync_columns_pattern = {
	.name = "sync_columns",
	.strategy = "dual_write",
	.check = check,
	.expand = expand,
	.migrate = migrate,
	.contract = contract,
	.finish = zdm_sync_remove_steps,
	.rollback = zdm_sync_remove_steps,
	.notes = notes,
};
