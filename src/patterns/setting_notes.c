/*-------------------------------------------------------------------------
 *
 * setting_notes.c
 *	  What is to be told of expressions that go by a session's settings.
 *
 * up and down may call what the server takes for stable: within a statement it
 * gives one value, but the next session may have another time zone.  Then the
 * value in the row is that of whoever has written it.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/transam.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/regproc.h"

#include "patterns/pattern.h"
#include "schema/depend.h"
#include "sync/expression.h"
#include "util/compat.h"
#include "util/ident.h"
#include "util/spi.h"

static bool collect(Node *node, void *context);
static bool collect_function(Oid function, void *context);
static bool prints_alike(Node *node);

/*
 * The notes about the expressions (char *, over the columns described), of
 * which argument says what they are.
 */
List *
zdm_notes_of_settings(TupleDesc desc, const char *argument, List *texts)
{
	List	   *names = NIL;
	ZdmIdentity saved;
	ListCell   *lc;

	zdm_pin_path(&saved);
	foreach(lc, texts)
		(void) collect(zdm_expression_parse_as(desc, lfirst(lc), argument, 0), &names);
	zdm_unbecome(&saved);
	if (names == NIL)
		return NIL;
	return list_make1(zdm_note(true, "what %s gives may depend on settings of the session, as TimeZone, DateStyle, IntervalStyle or lc_time, by %s: two sessions with different ones write different values for the same row; say what they decide in the expression, as by AT TIME ZONE 'UTC', or have all that write use the same settings",
							   argument, zdm_names_text(names)));
}

static bool
collect(Node *node, void *context)
{
	List	  **names = context;

	if (node == NULL)
		return false;
	if (IsA(node, SQLValueFunction))
		*names = zdm_add_line(*names, pstrdup("the current time, role or schema"));
	else if (!prints_alike(node))
		(void) check_functions_in_node(node, collect_function, context);
	return expression_tree_walker(node, collect, context);
}

/*
 * An enum's labels are written by DDL alone, and the same for all.
 */
static bool
collect_function(Oid function, void *context)
{
	List	  **names = context;

	if (func_volatile(function) != PROVOLATILE_IMMUTABLE &&
		function != F_ENUM_IN && function != F_ENUM_OUT)
		*names = zdm_add_line(*names, format_procedure(function));
	return false;
}

/*
 * Whether a node calls one of the server's functions that take anything, as
 * concat and ||, and are stable only for what they may have to print, with what
 * is printed alike by all.
 */
static bool
prints_alike(Node *node)
{
	Oid			function = InvalidOid;
	List	   *args = NIL;
	ListCell   *lc;

	if (IsA(node, FuncExpr))
	{
		function = ((FuncExpr *) node)->funcid;
		args = ((FuncExpr *) node)->args;
	}
	else if (IsA(node, OpExpr))
	{
		function = ((OpExpr *) node)->opfuncid;
		args = ((OpExpr *) node)->args;
	}
	if (function != F_ANYTEXTCAT && function != F_TEXTANYCAT &&
		(!OidIsValid(function) || function >= FirstUnpinnedObjectId ||
		 get_func_variadictype(function) != ANYOID))
		return false;
	foreach(lc, args)
	{
		Oid			output;
		bool		is_varlena;

		getTypeOutputInfo(exprType(lfirst(lc)), &output, &is_varlena);
		if (func_volatile(output) != PROVOLATILE_IMMUTABLE && output != F_ENUM_OUT)
			return false;
	}
	return true;
}
