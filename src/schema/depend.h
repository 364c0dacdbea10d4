/*-------------------------------------------------------------------------
 *
 * depend.h
 *	  What else in the database hangs on a column.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ZDM_SCHEMA_DEPEND_H
#define ZDM_SCHEMA_DEPEND_H

#include "catalog/objectaddress.h"
#include "nodes/pg_list.h"

extern List *zdm_column_dependents(Oid relid, const char *column,
								   int64 migration);
extern List *zdm_table_dependents(Oid relid);
extern List *zdm_add_line(List *lines, char *line);
extern char *zdm_describe_dependent(ObjectAddress object);
extern List *zdm_functions_mentioning(Oid relid, const char *column);
extern List *zdm_functions_using(Oid relid, const char *column);
extern List *zdm_functions_returning(Oid relid, const char *column);
extern List *zdm_functions_with_stars(Oid relid);
extern List *zdm_mention_lines(List *functions);
extern bool zdm_is_published(Oid relid);

#endif							/* ZDM_SCHEMA_DEPEND_H */
