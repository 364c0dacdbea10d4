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

#include "catalog/step.h"
#include "schema/retype.h"

typedef struct ZdmNewColumn
{
	char	   *name;
	ZdmType		type;
	char	   *initial;		/* the default that it is given, or NULL */
} ZdmNewColumn;

extern ZdmNewColumn *zdm_new_column(Relation rel, const char *name,
									const char *type);
extern void zdm_new_column_describe(ZdmNewColumn *column, Form_pg_attribute attr);
extern void zdm_new_column_type(const char *column, const char *type_name,
								ZdmType *type);
extern char *zdm_new_column_initial(Relation rel, Form_pg_attribute attr,
									const char *text, const char *argument,
									bool mandatory, bool *is_volatile);
extern const char *zdm_new_column_null(Oid type);
extern List *zdm_new_column_default_steps(Oid relid, const char *name, Oid type);
extern ZdmStep *zdm_set_default_step(Oid relid, const char *name, const char *initial);
extern char *zdm_new_columns_sql(List *columns);
extern TupleDesc zdm_new_columns_description(TupleDesc desc, List *columns);

#endif							/* ZDM_SCHEMA_NEW_COLUMN_H */
