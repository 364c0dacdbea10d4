/*-------------------------------------------------------------------------
 *
 * split_column.c
 *	  Split a column into several.
 *
 * The old side is the column, the new side all that it is split into: one
 * rule, with an up for each new column and one down.  reshape.c has the
 * phases.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "patterns/pattern.h"
#include "patterns/reshape.h"
#include "patterns/split_column.h"
#include "util/ident.h"
#include "util/json.h"

#define HINT "It is written {\"first_name\": {\"type\": \"text\", \"up\": \"split_part(name, ' ', 1)\"}, \"last_name\": {...}}."

static ZdmReshape *reshape_of(ZdmMigration *migration);
static void add_column(ZdmReshape *reshape, ZdmJsonField *column);
static bool is_true(ZdmJsonField *column, ZdmJsonField *field);
static char *required(ZdmJsonField *column, const char *value, const char *key);

/*
 * Take the arguments into and down (JSON as jsonb prints it, SQL) into the
 * migration: they name its new columns.
 */
void
zdm_split_column_into(ZdmMigration *migration, const char *into,
					  const char *down)
{
	List	   *fields = zdm_json_fields(into, "into", HINT);
	ListCell   *lc;

	if (list_length(fields) < 2)
		ereport(ERROR,
				errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("\"into\" names fewer than two columns"),
				errhint(HINT));
	foreach(lc, fields)
		migration->new_columns = lappend(migration->new_columns,
										 ((ZdmJsonField *) lfirst(lc))->name);
	zdm_check_names(migration->new_columns, "into");
	zdm_set_argument(migration, "into", into);
	zdm_set_argument(migration, "down", down);
	(void) reshape_of(migration);
}

static ZdmReshape *
reshape_of(ZdmMigration *migration)
{
	ZdmReshape *reshape = palloc0_object(ZdmReshape);
	ListCell   *lc;

	foreach(lc, zdm_json_fields(zdm_argument(migration, "into"), "into", HINT))
		add_column(reshape, lfirst(lc));
	reshape->down = list_make1(pstrdup(zdm_argument(migration, "down")));
	reshape->down_names = list_make1(pstrdup("down"));
	return reshape;
}

static void
add_column(ZdmReshape *reshape, ZdmJsonField *column)
{
	char	   *type = NULL;
	char	   *up = NULL;
	char	   *initial = NULL;
	ListCell   *lc;

	if (column->object == NULL)
		ereport(ERROR,
				errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("\"into\" has no JSON object for column \"%s\"", column->name),
				errhint(HINT));
	foreach(lc, zdm_json_fields(column->object, column->name, HINT))
	{
		ZdmJsonField *field = lfirst(lc);

		if (strcmp(field->name, "type") == 0)
			type = required(column, field->string, "type");
		else if (strcmp(field->name, "up") == 0)
			up = required(column, field->string, "up");
		else if (strcmp(field->name, "default_value") == 0)
			initial = required(column, field->string, "default_value");
		else if (strcmp(field->name, "not_null") == 0)
		{
			if (is_true(column, field))
				reshape->mandatory = lappend(reshape->mandatory, column->name);
		}
		else
			ereport(ERROR,
					errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					errmsg("\"into\" gives column \"%s\" the key \"%s\", which there is not",
						   column->name, field->name),
					errhint("The keys are \"type\", \"up\", \"default_value\" and \"not_null\". An index is yours to add to the new column, any time after expand."));
	}
	reshape->types = lappend(reshape->types, required(column, type, "type"));
	reshape->up = lappend(reshape->up, required(column, up, "up"));
	reshape->up_names = lappend(reshape->up_names, psprintf("up of %s", column->name));
	reshape->initial = lappend(reshape->initial, initial);
	reshape->initial_names = lappend(reshape->initial_names,
									 psprintf("default_value of %s", column->name));
}

static bool
is_true(ZdmJsonField *column, ZdmJsonField *field)
{
	if (!field->is_boolean)
		ereport(ERROR,
				errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("\"into\" gives column \"%s\" neither true nor false for \"%s\"",
					   column->name, field->name),
				errhint(HINT));
	return field->boolean;
}

static char *
required(ZdmJsonField *column, const char *value, const char *key)
{
	if (value == NULL)
		ereport(ERROR,
				errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("\"into\" gives column \"%s\" no string for \"%s\"",
					   column->name, key),
				errhint(HINT));
	return pstrdup(value);
}

static void
check(ZdmMigration *migration, Relation rel)
{
	zdm_reshape_check(migration, rel, reshape_of(migration));
}

static List *
expand(ZdmMigration *migration, Relation rel)
{
	return zdm_reshape_expand(migration, rel, reshape_of(migration));
}

static List *
attached(ZdmMigration *migration, ZdmPhase phase)
{
	return zdm_reshape_attached(migration, phase, reshape_of(migration));
}

static List *
notes(ZdmMigration *migration, Relation rel)
{
	return zdm_reshape_notes(migration, rel, reshape_of(migration));
}

const ZdmPattern zdm_split_column_pattern = {
	.name = "split_column",
	.check = check,
	.expand = expand,
	.migrate = zdm_reshape_migrate,
	.statements = zdm_reshape_statements,
	.verify_first = true,
	.take_back = zdm_reshape_take_back,
	.contract = zdm_reshape_contract,
	.finish = zdm_reshape_finish,
	.rollback = zdm_reshape_rollback,
	.attached = attached,
	.twins = zdm_reshape_twins,
	.guard = zdm_reshape_guard,
	.follow = zdm_reshape_follow,
	.notes = notes,
};
