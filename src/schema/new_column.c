/*-------------------------------------------------------------------------
 *
 * new_column.c
 *	  A column that a migration adds, of a type that the user names.
 *
 * The type's name is looked up once, under the user's own search_path, and
 * written into SQL as the server prints it under an empty one.  What ADD
 * COLUMN would refuse, or rewrite the table for, is refused here, before any
 * lock is asked for.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/heap.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

#include "catalog/step.h"
#include "schema/column.h"
#include "schema/new_column.h"
#include "util/compat.h"
#include "util/ident.h"

/* For the context callback: whose type an error is in. */
typedef struct TypeSource
{
	const char *column;
	const char *type;
} TypeSource;

static void type_error(void *arg);

/*
 * A column of that name and type, which the table allows.
 */
ZdmNewColumn *
zdm_new_column(Relation rel, const char *name, const char *type)
{
	ZdmNewColumn *column = palloc0_object(ZdmNewColumn);
	AclResult	usage;

	zdm_check_new_column(rel, name);
	column->name = pstrdup(name);
	zdm_new_column_type(name, type, &column->type);
	CheckAttributeType(name, column->type.oid, column->type.collation,
					   list_make1_oid(rel->rd_rel->reltype), 0);
	usage = object_aclcheck(TypeRelationId, column->type.oid, GetUserId(), ACL_USAGE);
	if (usage != ACLCHECK_OK)
		aclcheck_error_type(usage, column->type.oid);
	zdm_type_check(&column->type);
	return column;
}

/*
 * The type that the user gives a column.
 */
void
zdm_new_column_type(const char *column, const char *type_name, ZdmType *type)
{
	TypeSource	source = {.column = column,.type = type_name};
	ErrorContextCallback callback = {
		.callback = type_error,
		.arg = &source,
		.previous = error_context_stack,
	};

	error_context_stack = &callback;
	zdm_type_parse(type_name, type);
	error_context_stack = callback.previous;
}

/*
 * A position is one in the type's name, not in the statement that called us.
 */
static void
type_error(void *arg)
{
	TypeSource *source = arg;
	int			position = geterrposition();

	if (position > 0)
	{
		errposition(0);
		internalerrposition(position);
		internalerrquery(source->type);
	}
	errhint("Write the type as in CREATE TABLE; \\dT lists types.");
	errcontext("type of column \"%s\" of a zdm migration", source->column);
}

/*
 * Whether columns of the type have a default without being given one.
 */
static bool
has_default(Oid type)
{
	return get_typtype(type) == TYPTYPE_DOMAIN && get_typdefault(type) != NULL;
}

/*
 * The end of an ADD COLUMN after which the rows that exist hold NULL.  A
 * domain's default they would get as well, and for a volatile one the server
 * would write the table anew.
 */
const char *
zdm_new_column_null(Oid type)
{
	return has_default(type) ? " DEFAULT NULL" : "";
}

/*
 * The steps after that which leave new rows the domain's default.
 */
List *
zdm_new_column_default_steps(Oid relid, const char *name, Oid type)
{
	if (!has_default(type))
		return NIL;
	return list_make1(zdm_step_on(relid, ZDM_STEP_DDL, AccessExclusiveLock,
								  "give new rows the domain's default",
								  psprintf("ALTER TABLE %s ALTER COLUMN %s DROP DEFAULT",
										   zdm_quote_relation(relid), quote_identifier(name))));
}

/*
 * ADD COLUMN clauses for columns (ZdmNewColumn *), for an ALTER TABLE.
 */
char *
zdm_new_columns_sql(List *columns)
{
	StringInfoData sql;
	ListCell   *lc;

	initStringInfo(&sql);
	foreach(lc, columns)
	{
		ZdmNewColumn *column = lfirst(lc);

		appendStringInfo(&sql, "%sADD COLUMN %s %s%s", sql.len ? ", " : "",
						 quote_identifier(column->name), zdm_type_text(&column->type),
						 zdm_new_column_null(column->type.oid));
	}
	return sql.data;
}

/*
 * A copy of a table's description that has the columns (ZdmNewColumn *), too.
 */
TupleDesc
zdm_new_columns_description(TupleDesc desc, List *columns)
{
	ListCell   *lc;

	foreach(lc, columns)
	{
		ZdmNewColumn *column = lfirst(lc);

		desc = zdm_description_with(desc, column->name, &column->type);
	}
	return desc;
}
