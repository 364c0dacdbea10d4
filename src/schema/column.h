/*-------------------------------------------------------------------------
 *
 * column.h
 *	  Which columns a migration can work on.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ZDM_SCHEMA_COLUMN_H
#define ZDM_SCHEMA_COLUMN_H

#include "nodes/pg_list.h"
#include "utils/rel.h"

extern AttrNumber zdm_check_user_column(Relation rel, const char *name);
extern void zdm_check_column(Relation rel, const char *name);
extern bool zdm_is_partition_key(Relation rel, const char *name);
extern void zdm_check_new_column(Relation rel, const char *name);
extern void zdm_check_free_columns(Oid relid, List *columns);
extern void zdm_check_single_migration(Oid relid, List *columns);
extern void zdm_check_read_columns(List *rules, Oid relid, List *patterns);

#endif							/* ZDM_SCHEMA_COLUMN_H */
