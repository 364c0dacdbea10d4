/*-------------------------------------------------------------------------
 *
 * guard.h
 *	  Somebody else's DDL on a table with a migration in flight.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ZDM_LIFECYCLE_GUARD_H
#define ZDM_LIFECYCLE_GUARD_H

#include "commands/event_trigger.h"

#include "catalog/migration.h"
#include "util/compat.h"

extern void zdm_guard(EventTriggerData *data);
extern void zdm_guard_start(EventTriggerData *data);
extern pg_noreturn void zdm_needed(ZdmMigration *migration, const char *what, Oid relid);

/* guard_names.c */
extern bool zdm_guard_renames(EventTriggerData *data);
extern bool zdm_guard_drops(void);
extern void zdm_guard_names(void);

#endif							/* ZDM_LIFECYCLE_GUARD_H */
