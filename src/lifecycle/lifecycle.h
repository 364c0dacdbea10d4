/*-------------------------------------------------------------------------
 *
 * lifecycle.h
 *	  The state machine: expand, contract, finish, rollback; and migrate.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ZDM_LIFECYCLE_H
#define ZDM_LIFECYCLE_H

#include "catalog/migration.h"
#include "utils/timestamp.h"

extern char *zdm_lifecycle_expand(ZdmMigration *migration);
extern ZdmState zdm_lifecycle_contract(const char *name, Interval *quarantine);
extern ZdmState zdm_lifecycle_finish(const char *name);
extern ZdmState zdm_lifecycle_rollback(const char *name);
extern void zdm_lifecycle_migrate(const char *name, bool atomic);
extern int64 zdm_interval_us(Interval *interval);
extern ZdmMigration *zdm_migration_of_caller(const char *name);

/* True while the life cycle itself changes tables; guard.c lets that pass. */
extern bool zdm_own_ddl;

#endif							/* ZDM_LIFECYCLE_H */
