/*-------------------------------------------------------------------------
 *
 * registry.c
 *	  The list of patterns.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "lifecycle/registry.h"

static const ZdmPattern *const patterns[] = {
	&zdm_rename_column_pattern,
	&zdm_sync_columns_pattern,
	&zdm_join_table_to_column_pattern,
	&zdm_column_to_join_table_pattern,
};

const ZdmPattern *
zdm_pattern(const char *name)
{
	for (size_t i = 0; i < lengthof(patterns); i++)
		if (strcmp(patterns[i]->name, name) == 0)
			return patterns[i];
	ereport(ERROR,
			errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			errmsg("this library does not know the pattern \"%s\"", name),
			errhint("Install the library of the version that began the migration."));
}
