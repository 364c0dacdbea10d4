/*-------------------------------------------------------------------------
 *
 * view_row.c
 *	  The rows of a compatibility view, as rows of the table.
 *
 * A function that takes a row of the table takes one of the view by an implicit
 * cast, behind which is a function that puts the columns in the table's order.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/builtins.h"

#include "schema/view_row.h"
#include "util/compat.h"
#include "util/spi.h"

static char *function_text(Relation rel, const ZdmView *view, const char *create);
static char *function_body(Relation rel, const ZdmView *view);
static char *present_body(const ZdmView *view);
static char *row_function(const ZdmView *view);

/*
 * The statements that make function and cast, for a view that is new or has
 * lost them.
 */
List *
zdm_view_row_texts(Relation rel, const ZdmView *view)
{
	char	   *from = zdm_quote_place(view->place);

	return list_make3(function_text(rel, view, "CREATE"),
					  psprintf("GRANT EXECUTE ON FUNCTION %s(%s) TO PUBLIC",
							   row_function(view), from),
					  psprintf("CREATE CAST (%s AS %s) WITH FUNCTION %s(%s) AS IMPLICIT",
							   from, zdm_quote_place(view->table), row_function(view), from));
}

/*
 * Whether somebody has dropped them.
 */
bool
zdm_view_row_missing(const ZdmView *view)
{
	return present_body(view) == NULL;
}

/*
 * The statement that gives the function the columns that the table has now.
 */
List *
zdm_view_row_change_texts(Relation rel, const ZdmView *view)
{
	if (strcmp(present_body(view), function_body(rel, view)) == 0)
		return NIL;
	return list_make1(function_text(rel, view, "CREATE OR REPLACE"));
}

/*
 * The statement that gives it to the table's owner, where it is another's.
 */
List *
zdm_view_row_owner_texts(Relation rel, const ZdmView *view, Oid present)
{
	if (rel->rd_rel->relowner == present)
		return NIL;
	return list_make1(psprintf("ALTER FUNCTION %s(%s) OWNER TO %s",
							   row_function(view), zdm_quote_place(view->place),
							   quote_identifier(GetUserNameFromId(rel->rd_rel->relowner, false))));
}

/*
 * The statements that drop both.
 */
char *
zdm_view_row_drop_text(const ZdmView *view)
{
	char	   *name = zdm_quote_place(view->place);

	return psprintf("DROP CAST IF EXISTS (%s AS %s);\nDROP FUNCTION IF EXISTS %s(%s)",
					name, zdm_quote_place(view->table), row_function(view), name);
}

/*
 * The function that makes a row of the table's from one of the view's.  It
 * reads nothing but its argument, so everybody may run it.  Its body is a text:
 * one that the server has parsed would keep the table from getting a column.
 */
static char *
function_text(Relation rel, const ZdmView *view, const char *create)
{
	return psprintf("%s FUNCTION %s(%s) RETURNS %s LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS %s",
					create, row_function(view), zdm_quote_place(view->place),
					zdm_quote_place(view->table), quote_literal_cstr(function_body(rel, view)));
}

static char *
function_body(Relation rel, const ZdmView *view)
{
	TupleDesc	desc = RelationGetDescr(rel);
	StringInfoData row;

	initStringInfo(&row);
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute attr = TupleDescAttr(desc, i);

		if (!attr->attisdropped)
			appendStringInfo(&row, "%s$1.%s", row.len ? ", " : "",
							 quote_identifier(NameStr(attr->attname)));
	}
	return psprintf("SELECT ROW(%s)::%s", row.data, zdm_quote_place(view->table));
}

/*
 * The body that it has by now, NULL where somebody has dropped it.
 */
static char *
present_body(const ZdmView *view)
{
	static const char *const sql =
		"SELECT p.prosrc FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_class c"
		" ON p.proargtypes[0] OPERATOR(pg_catalog.=) c.reltype"
		" WHERE c.oid OPERATOR(pg_catalog.=) $1 AND p.proname OPERATOR(pg_catalog.=) $2"
		" AND p.pronargs OPERATOR(pg_catalog.=) 1";
	List	   *bodies = zdm_query_strings(sql, ZDM_ARGS(ZDM_ARG(OIDOID, ObjectIdGetDatum(view->oid)),
														 zdm_arg_name(ZDM_ROW_FUNCTION)));

	return bodies ? linitial(bodies) : NULL;
}

static char *
row_function(const ZdmView *view)
{
	return quote_qualified_identifier(view->place.schema, ZDM_ROW_FUNCTION);
}
