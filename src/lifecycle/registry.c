/*-------------------------------------------------------------------------
 *
 * registry.c
 *	  The list of patterns.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "lib/stringinfo.h"

#include "lifecycle/registry.h"

static const ZdmPattern *const patterns[] = {
	&zdm_change_column_type_pattern,
	&zdm_rename_column_pattern,
	&zdm_rename_column_view_pattern,
	&zdm_rename_table_view_pattern,
	&zdm_rename_table_view_first_pattern,
	&zdm_rename_table_dual_write_pattern,
	&zdm_sync_columns_pattern,
	&zdm_split_column_pattern,
	&zdm_merge_columns_pattern,
	&zdm_set_not_null_pattern,
	&zdm_drop_not_null_pattern,
	&zdm_add_column_pattern,
	&zdm_drop_column_pattern,
	&zdm_drop_table_pattern,
	&zdm_join_table_to_column_pattern,
	&zdm_column_to_join_table_pattern,
};

const ZdmPattern *
zdm_pattern(ZdmMigration *migration)
{
	for (size_t i = 0; i < lengthof(patterns); i++)
		if (strcmp(patterns[i]->name, migration->pattern) == 0 &&
			(patterns[i]->strategy == NULL ||
			 strcmp(patterns[i]->strategy, migration->strategy) == 0))
			return patterns[i];
	ereport(ERROR,
			errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			errmsg("this library does not know the pattern \"%s\" with strategy \"%s\"",
				   migration->pattern, migration->strategy),
			errhint("Install the library of the version that began the migration."));
}

/*
 * The steps of the migrate phase.
 */
List *
zdm_migrate_steps(ZdmMigration *migration)
{
	const ZdmPattern *pattern = zdm_pattern(migration);

	return pattern->migrate != NULL ? pattern->migrate(migration) : NIL;
}

/*
 * Its second columns (ZdmTwin *).
 */
List *
zdm_twins(ZdmMigration *migration)
{
	const ZdmPattern *pattern = zdm_pattern(migration);

	return pattern->twins != NULL ? pattern->twins(migration) : NIL;
}

/*
 * Refuse a strategy that the user made up, and name those there are.
 */
void
zdm_check_strategy(ZdmMigration *migration)
{
	StringInfoData list;

	initStringInfo(&list);
	for (size_t i = 0; i < lengthof(patterns); i++)
	{
		if (strcmp(patterns[i]->name, migration->pattern) != 0)
			continue;
		if (strcmp(patterns[i]->strategy, migration->strategy) == 0)
			return;
		appendStringInfo(&list, "%s'%s'", list.len ? ", " : "", patterns[i]->strategy);
	}
	ereport(ERROR,
			errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			errmsg("strategy \"%s\" is not available", migration->strategy),
			errhint("This version of zdm has for %s: %s.", migration->pattern, list.data));
}
