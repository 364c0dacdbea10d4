/*-------------------------------------------------------------------------
 *
 * table.h
 *	  Which tables a migration can work on.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ZDM_SCHEMA_TABLE_H
#define ZDM_SCHEMA_TABLE_H

#include "utils/rel.h"

#include "catalog/migration.h"
#include "util/compat.h"

extern void zdm_check_caller(Oid relid);
extern void zdm_check_writable(void);
extern void zdm_check_shape(Relation rel);
extern void zdm_check_kind(Relation rel);
extern void zdm_check_trigger_order(Relation rel);
extern void zdm_check_table(Relation rel);
extern pg_noreturn void zdm_refuse_table(Relation rel, ZdmMigration *migration);
extern bool zdm_trigger_changes_row(const Trigger *trigger);

#endif							/* ZDM_SCHEMA_TABLE_H */
