/*-------------------------------------------------------------------------
 *
 * json.c
 *	  Arguments that are JSON objects.
 *
 * jsonb has put the fields in its own order, shorter names first, and of a
 * name that was given twice it has kept the last.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/jsonb.h"

#include "util/json.h"

/*
 * The fields (ZdmJsonField *) of the object that a jsonb is in text form.
 * argument names it in the error, hint says how it is written.
 */
List *
zdm_json_fields(const char *json, const char *argument, const char *hint)
{
	Jsonb	   *object = DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(json)));
	JsonbIterator *it;
	JsonbValue	item;
	List	   *result = NIL;

	if (!JB_ROOT_IS_OBJECT(object))
		ereport(ERROR,
				errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("\"%s\" is not a JSON object", argument),
				errhint("%s", hint));
	it = JsonbIteratorInit(&object->root);
	(void) JsonbIteratorNext(&it, &item, true); /* the object itself */
	while (JsonbIteratorNext(&it, &item, true) == WJB_KEY)
	{
		ZdmJsonField *field = palloc0_object(ZdmJsonField);

		field->name = pnstrdup(item.val.string.val, item.val.string.len);
		(void) JsonbIteratorNext(&it, &item, true); /* its value */
		if (item.type == jbvString)
			field->string = pnstrdup(item.val.string.val, item.val.string.len);
		else if (item.type == jbvBinary && JsonContainerIsObject(item.val.binary.data))
			field->object = JsonbToCString(NULL, item.val.binary.data, item.val.binary.len);
		field->is_boolean = item.type == jbvBool;
		field->boolean = field->is_boolean && item.val.boolean;
		result = lappend(result, field);
	}
	return result;
}
