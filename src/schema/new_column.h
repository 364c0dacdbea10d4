/*-------------------------------------------------------------------------
 *
 * new_column.h
 *	  A column that a migration adds, of a type that the user names.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ZDM_SCHEMA_NEW_COLUMN_H
#define ZDM_SCHEMA_NEW_COLUMN_H

#include "nodes/pg_list.h"
#include "utils/rel.h"

#include "schema/retype.h"

typedef struct ZdmNewColumn
{
	char	   *name;
	ZdmType		type;
} ZdmNewColumn;

extern ZdmNewColumn *zdm_new_column(Relation rel, const char *name,
									const char *type);
extern void zdm_new_column_type(const char *column, const char *type_name,
								ZdmType *type);
extern const char *zdm_new_column_null(Oid type);
extern List *zdm_new_column_default_steps(Oid relid, const char *name, Oid type);
extern char *zdm_new_columns_sql(List *columns);
extern TupleDesc zdm_new_columns_description(TupleDesc desc, List *columns);

#endif							/* ZDM_SCHEMA_NEW_COLUMN_H */
