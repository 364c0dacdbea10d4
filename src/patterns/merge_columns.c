/*-------------------------------------------------------------------------
 *
 * merge_columns.c
 *	  Merge several columns into one.
 *
 * The old side is the columns, the new side the one that is made of them: one
 * rule, with one up, and a down for each old column.  reshape.c has the
 * phases.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "patterns/merge_columns.h"
#include "patterns/pattern.h"
#include "patterns/reshape.h"
#include "util/ident.h"
#include "util/json.h"

#define HINT "It is written {\"first_name\": \"split_part(full_name, ' ', 1)\", \"last_name\": \"...\"}, with an expression for each of the columns."

static ZdmReshape *reshape_of(ZdmMigration *migration);
static char *down_of(List *fields, const char *column);
static void check_fields(ZdmMigration *migration, List *fields);

/*
 * Take the arguments new_type, up, default_value (SQL, NULL for none) and down
 * (JSON as jsonb prints it), and whether the new column is to be NOT NULL, into
 * the migration, which has its columns.
 */
void
zdm_merge_columns_into(ZdmMigration *migration, const char *type,
					   const char *up, const char *down, const char *initial,
					   bool mandatory)
{
	if (list_length(migration->old_columns) < 2)
		ereport(ERROR,
				errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("\"columns\" names fewer than two columns"),
				errhint("To give one column another name use zdm.rename_column."));
	zdm_check_names(migration->old_columns, "columns");
	zdm_set_argument(migration, "new_type", type);
	zdm_set_argument(migration, "up", up);
	zdm_set_argument(migration, "down", down);
	zdm_set_argument(migration, "default_value", initial);
	zdm_set_argument(migration, "not_null", mandatory ? "true" : NULL);
	(void) reshape_of(migration);
}

static ZdmReshape *
reshape_of(ZdmMigration *migration)
{
	ZdmReshape *reshape = palloc0_object(ZdmReshape);
	List	   *fields = zdm_json_fields(zdm_argument(migration, "down"), "down", HINT);
	ListCell   *lc;

	check_fields(migration, fields);
	reshape->types = list_make1(pstrdup(zdm_argument(migration, "new_type")));
	reshape->up = list_make1(pstrdup(zdm_argument(migration, "up")));
	reshape->up_names = list_make1(pstrdup("up"));
	reshape->initial = list_make1(unconstify(char *, zdm_argument(migration, "default_value")));
	reshape->initial_names = list_make1(pstrdup("default_value"));
	if (zdm_argument(migration, "not_null") != NULL)
		reshape->mandatory = list_copy(migration->new_columns);
	foreach(lc, migration->old_columns)
	{
		reshape->down = lappend(reshape->down, down_of(fields, lfirst(lc)));
		reshape->down_names = lappend(reshape->down_names,
									  psprintf("down of %s", (char *) lfirst(lc)));
	}
	return reshape;
}

static char *
down_of(List *fields, const char *column)
{
	ListCell   *lc;

	foreach(lc, fields)
	{
		ZdmJsonField *field = lfirst(lc);

		if (strcmp(field->name, column) == 0 && field->string != NULL)
			return field->string;
	}
	ereport(ERROR,
			errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			errmsg("\"down\" has no string for column \"%s\"", column),
			errhint(HINT));
}

/*
 * Every expression must belong to one of the columns.
 */
static void
check_fields(ZdmMigration *migration, List *fields)
{
	ListCell   *lc,
			   *column;

	foreach(lc, fields)
	{
		ZdmJsonField *field = lfirst(lc);
		bool		found = false;

		foreach(column, migration->old_columns)
			found |= strcmp(lfirst(column), field->name) == 0;
		if (!found)
			ereport(ERROR,
					errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					errmsg("\"down\" has an expression for \"%s\", which is none of the columns",
						   field->name),
					errhint("They are %s.", zdm_names_text(migration->old_columns)));
	}
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

const ZdmPattern zdm_merge_columns_pattern = {
	.name = "merge_columns",
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
