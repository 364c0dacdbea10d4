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

typedef struct ZdmNewColumn
{
	char	   *name;
	Oid			type;
	int32		typmod;
} ZdmNewColumn;

extern ZdmNewColumn *zdm_new_column(Relation rel, const char *name,
									const char *type);
extern char *zdm_new_columns_sql(Relation rel, List *columns);
extern Relation zdm_relation_with(Relation rel, List *columns);

#endif							/* ZDM_SCHEMA_NEW_COLUMN_H */
