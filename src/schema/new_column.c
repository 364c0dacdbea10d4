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

#include "schema/new_column.h"
#include "schema/table.h"
#include "schema/twin.h"
#include "util/compat.h"
#include "util/ident.h"
#include "util/spi.h"

/* For the context callback: whose type an error is in. */
typedef struct TypeSource
{
	const char *column;
	const char *type;
} TypeSource;

static void parse_type(ZdmNewColumn *column, const char *type);
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
	parse_type(column, type);
	CheckAttributeType(name, column->type, get_typcollation(column->type),
					   list_make1_oid(rel->rd_rel->reltype), 0);
	usage = object_aclcheck(TypeRelationId, column->type, GetUserId(), ACL_USAGE);
	if (usage != ACLCHECK_OK)
		aclcheck_error_type(usage, column->type);
	if (get_typtype(column->type) == TYPTYPE_DOMAIN &&
		zdm_domain_is_constrained(column->type))
	{
		int32		typmod = column->typmod;
		Oid			base = getBaseTypeAndTypmod(column->type, &typmod);

		ereport(ERROR,
				errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				errmsg("column \"%s\" cannot be of domain %s, which has constraints",
					   name, format_type_be(column->type)),
				errdetail("Adding such a column makes the server rewrite the whole table under an exclusive lock."),
				errhint("Use its base type %s, and give the column the domain's CHECK as a constraint of the table: ADD ... NOT VALID, then VALIDATE CONSTRAINT.",
						format_type_with_typemod(base, typmod)));
	}
	return column;
}

static void
parse_type(ZdmNewColumn *column, const char *type)
{
	TypeSource	source = {.column = column->name,.type = type};
	ErrorContextCallback callback = {
		.callback = type_error,
		.arg = &source,
		.previous = error_context_stack,
	};

	error_context_stack = &callback;
	zdm_parse_type(type, &column->type, &column->typmod);
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
 * ADD COLUMN clauses for columns (ZdmNewColumn *), for an ALTER TABLE.
 */
char *
zdm_new_columns_sql(Relation rel, List *columns)
{
	StringInfoData sql;
	ZdmIdentity saved;
	ListCell   *lc;

	initStringInfo(&sql);
	zdm_pin_path(&saved);
	foreach(lc, columns)
	{
		ZdmNewColumn *column = lfirst(lc);

		appendStringInfo(&sql, "%sADD COLUMN %s %s", sql.len ? ", " : "",
						 quote_identifier(column->name),
						 format_type_with_typemod(column->type, column->typmod));
	}
	zdm_unbecome(&saved);
	return sql.data;
}

/*
 * The relation as it will be with the columns (ZdmNewColumn *) added: a copy
 * that parse analysis can resolve names in, and good for nothing else.
 */
Relation
zdm_relation_with(Relation rel, List *columns)
{
	TupleDesc	has = RelationGetDescr(rel);
	TupleDesc	desc = CreateTemplateTupleDesc(has->natts + list_length(columns));
	Relation	result = palloc_object(RelationData);
	ListCell   *lc;

	for (int i = 0; i < has->natts; i++)
	{
		TupleDescCopyEntry(desc, i + 1, has, i + 1);
		TupleDescAttr(desc, i)->attgenerated = TupleDescAttr(has, i)->attgenerated;
	}
	foreach(lc, columns)
	{
		ZdmNewColumn *column = lfirst(lc);

		TupleDescInitEntry(desc, has->natts + foreach_current_index(lc) + 1,
						   column->name, column->type, column->typmod, 0);
	}
	desc->tdtypeid = has->tdtypeid;
	*result = *rel;
	result->rd_att = desc;
	return result;
}
