/*-------------------------------------------------------------------------
 *
 * arguments.c
 *	  What an SQL function was called with.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"

#include "arguments.h"

/*
 * Refuse a NULL.
 */
void
zdm_require(FunctionCallInfo fcinfo, int number, const char *argument)
{
	if (PG_ARGISNULL(number))
		ereport(ERROR,
				errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				errmsg("argument \"%s\" is NULL", argument),
				errhint("See \\df+ zdm.*"));
}

/*
 * A text, or NULL.
 */
char *
zdm_text_argument(FunctionCallInfo fcinfo, int number)
{
	return PG_ARGISNULL(number) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(number));
}

/*
 * A name, which must be there.
 */
char *
zdm_name_argument(FunctionCallInfo fcinfo, int number, const char *argument)
{
	zdm_require(fcinfo, number, argument);
	return pstrdup(NameStr(*PG_GETARG_NAME(number)));
}

/*
 * A jsonb as the text that it has; it must be there.
 */
char *
zdm_json_argument(FunctionCallInfo fcinfo, int number, const char *argument)
{
	Jsonb	   *json;

	zdm_require(fcinfo, number, argument);
	json = PG_GETARG_JSONB_P(number);
	return JsonbToCString(NULL, &json->root, VARSIZE(json));
}

/*
 * An argument of a type as its text, or NULL.
 */
char *
zdm_output_argument(FunctionCallInfo fcinfo, int number, Oid type)
{
	Oid			output;
	bool		varlena;

	if (PG_ARGISNULL(number))
		return NULL;
	getTypeOutputInfo(type, &output, &varlena);
	return OidOutputFunctionCall(output, PG_GETARG_DATUM(number));
}
