/*-------------------------------------------------------------------------
 *
 * table.h
 *	  Which tables and columns a migration can work on.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ZDM_SCHEMA_TABLE_H
#define ZDM_SCHEMA_TABLE_H

#include "catalog/migration.h"
#include "nodes/pg_list.h"
#include "util/compat.h"
#include "utils/rel.h"

extern void zdm_check_caller(Oid relid);
extern void zdm_check_writable(void);
extern void zdm_check_kind(Relation rel);
extern void zdm_check_table(Relation rel);
extern pg_noreturn void zdm_refuse_table(Relation rel, ZdmMigration *migration);
extern bool zdm_trigger_changes_row(const Trigger *trigger);
extern AttrNumber zdm_check_user_column(Relation rel, const char *name);
extern void zdm_check_column(Relation rel, const char *name);
extern void zdm_check_new_column(Relation rel, const char *name);
extern void zdm_check_free_columns(Oid relid, List *columns);
extern List *zdm_table_and_partitions(Oid relid);
extern List *zdm_storage_relations(Oid relid);
extern List *zdm_migration_tables(ZdmMigration *migration);
extern List *zdm_synced_storage(ZdmMigration *migration);
extern bool zdm_is_taken(Oid schema, const char *name);
extern char *zdm_free_name(Oid schema, Oid other_schema, const char *name);
extern char *zdm_expression_text(Node *expr);
extern Oid	zdm_table_owner(Oid relid);
extern void zdm_table_size(Oid relid, int64 *rows, int64 *bytes);

#endif							/* ZDM_SCHEMA_TABLE_H */
