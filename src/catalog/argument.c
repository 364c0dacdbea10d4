/*-------------------------------------------------------------------------
 *
 * argument.c
 *	  What the call of a migration said besides tables and columns.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"

#include "catalog/migration.h"
#include "util/spi.h"

#define ROLLING_BACK "_rolling_back"

static bool has_arguments_of(const ZdmMigration *a, const ZdmMigration *b);

/*
 * Give the migration an argument of its pattern's; the names of a migration's
 * arguments are distinct.  One that is NULL is as good as not given.
 */
void
zdm_set_argument(ZdmMigration *migration, const char *name, const char *value)
{
	ZdmArgument *argument;

	if (value == NULL)
		return;
	argument = palloc_object(ZdmArgument);
	argument->name = pstrdup(name);
	argument->value = pstrdup(value);
	migration->arguments = lappend(migration->arguments, argument);
}

/*
 * The value of an argument, or NULL.
 */
const char *
zdm_argument(const ZdmMigration *migration, const char *name)
{
	ListCell   *lc;

	foreach(lc, migration->arguments)
	{
		ZdmArgument *argument = lfirst(lc);

		if (strcmp(argument->name, name) == 0)
			return argument->value;
	}
	return NULL;
}

/*
 * Whether two migrations were called with the same arguments.
 */
bool
zdm_same_arguments(const ZdmMigration *a, const ZdmMigration *b)
{
	return has_arguments_of(a, b) && has_arguments_of(b, a);
}

static bool
has_arguments_of(const ZdmMigration *a, const ZdmMigration *b)
{
	ListCell   *lc;

	foreach(lc, b->arguments)
	{
		ZdmArgument *argument = lfirst(lc);
		const char *value = zdm_argument(a, argument->name);

		if (argument->name[0] != '_' &&
			(value == NULL || strcmp(value, argument->value) != 0))
			return false;
	}
	return true;
}

/*
 * Whether a rollback has begun that needs something proved first.
 */
bool
zdm_rolling_back(const ZdmMigration *migration)
{
	return zdm_argument(migration, ROLLING_BACK) != NULL;
}

void
zdm_migration_set_rolling_back(ZdmMigration *migration)
{
	if (!zdm_rolling_back(migration))
		zdm_migration_keep_argument(migration, ROLLING_BACK, "true");
}

/*
 * Keep something with a stored migration that was found on the way.
 */
void
zdm_migration_keep_argument(ZdmMigration *migration, const char *name,
							const char *value)
{
	ZdmIdentity saved;

	Assert(name[0] == '_');
	zdm_catalog_begin(&saved);
	zdm_execute(SPI_OK_UPDATE,
				"UPDATE zdm.migration SET arguments = arguments || pg_catalog.jsonb_build_object($2, $3)"
				" WHERE id = $1",
				ZDM_ARGS(ZDM_ARG(INT8OID, Int64GetDatum(migration->id)),
						 zdm_arg_text(name), zdm_arg_text(value)));
	zdm_catalog_end(&saved);
	zdm_set_argument(migration, name, value);
}

/*
 * The arguments of a row that was read: the columns with their names and their
 * values, in one order.
 */
List *
zdm_arguments_read(uint64 row, int names, int values)
{
	List	   *result = NIL;
	bool		isnull;
	Datum		array = zdm_result(row, names, &isnull);
	ListCell   *name,
			   *value;

	if (isnull)
		return NIL;
	forboth(name, zdm_strings_from_array(array),
			value, zdm_strings_from_array(zdm_result(row, values, &isnull)))
	{
		ZdmArgument *argument = palloc_object(ZdmArgument);

		argument->name = lfirst(name);
		argument->value = lfirst(value);
		result = lappend(result, argument);
	}
	return result;
}
