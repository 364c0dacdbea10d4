/*-------------------------------------------------------------------------
 *
 * relation.h
 *	  What a table is in the database: its partitions, owner, size and name.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ZDM_SCHEMA_RELATION_H
#define ZDM_SCHEMA_RELATION_H

#include "nodes/pg_list.h"
#include "utils/relcache.h"

#include "catalog/migration.h"

extern Oid	zdm_root_table(Oid relid);
extern Relation zdm_open_if_free(Oid relid);
extern List *zdm_table_and_partitions(Oid relid);
extern List *zdm_storage_relations(Oid relid);
extern List *zdm_migration_tables(ZdmMigration *migration);
extern List *zdm_synced_storage(ZdmMigration *migration);
extern List *zdm_mirrored_storage(ZdmMigration *migration);
extern List *zdm_compared_storage(ZdmMigration *migration);
extern bool zdm_is_taken(Oid schema, const char *name);
extern char *zdm_free_name(Oid schema, Oid other_schema, const char *name);
extern Oid	zdm_table_owner(Oid relid);
extern void zdm_table_size(Oid relid, int64 *rows, int64 *bytes);

#endif							/* ZDM_SCHEMA_RELATION_H */
