/*-------------------------------------------------------------------------
 *
 * json.h
 *	  Arguments that are JSON objects.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ZDM_JSON_H
#define ZDM_JSON_H

#include "nodes/pg_list.h"

typedef struct ZdmJsonField
{
	char	   *name;
	char	   *string;			/* the value, where it is a string ... */
	char	   *object;			/* ... or an object, as JSON; else NULL */
	bool		is_boolean;		/* whether it is a boolean, and which */
	bool		boolean;
} ZdmJsonField;

extern List *zdm_json_fields(const char *json, const char *argument,
							 const char *hint);

#endif							/* ZDM_JSON_H */
