/*-------------------------------------------------------------------------
 *
 * join_table.h
 *	  A join table: its references, and what it must be to become a column.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ZDM_SCHEMA_JOIN_TABLE_H
#define ZDM_SCHEMA_JOIN_TABLE_H

#include "catalog/migration.h"
#include "utils/rel.h"

/* Columns that refer to a row of another table. */
typedef struct ZdmReference
{
	Oid			constraint;		/* the foreign key, or InvalidOid */
	Oid			relation;		/* what it refers to, or InvalidOid */
	List	   *columns;		/* of char * */
	List	   *referenced;		/* of char *, NIL where that is not known */
	bool		valid;
} ZdmReference;

extern void zdm_check_join_table(Relation join, Relation target, int64 migration);
extern ZdmReference *zdm_find_reference(Relation join, Relation target,
										const char *given, const char *argument,
										ZdmReference *other);
extern ZdmReference *zdm_reference_of(Relation rel, List *columns);
extern void zdm_check_mirrored_column(Relation rel, const char *column);
extern void zdm_check_reference(Relation join, ZdmReference *reference);
extern bool zdm_has_unique_index(Relation join, List *columns);
extern void zdm_check_one_row(Relation join, List *columns);
extern char *zdm_reference_sql(ZdmReference *reference, List *columns);
extern char *zdm_join_reference_sql(ZdmReference *reference, List *columns);
extern char *zdm_constraint_description(Oid constraint);
extern List *zdm_primary_key_columns(Relation rel);
extern bool zdm_is_index_on(Relation rel, List *columns, const char *description);
extern void zdm_check_mirrored_types(Oid a, const char *a_column, Oid b,
									 const char *b_column, const char *hint);
extern void zdm_guard_mirror(ZdmMigration *migration);

#endif							/* ZDM_SCHEMA_JOIN_TABLE_H */
