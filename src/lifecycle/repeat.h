/*-------------------------------------------------------------------------
 *
 * repeat.h
 *	  Somebody else's DDL on one of two relations, repeated on the other.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ZDM_LIFECYCLE_REPEAT_H
#define ZDM_LIFECYCLE_REPEAT_H

#include "catalog/migration.h"
#include "nodes/parsenodes.h"
#include "utils/rel.h"

extern void zdm_repeat_alter(ZdmMigration *migration, Relation rel);
extern List *zdm_repeat_grant(GrantStmt *stmt);
extern void zdm_repeat_drop_owned(void);
extern void zdm_repeat_on_twins(List *tables, Node *command);
extern void zdm_repeat_drop(Node *command);
extern void zdm_run_own_ddl(List *texts);
extern void zdm_run_as_owner(ZdmStep *step);

#endif							/* ZDM_LIFECYCLE_REPEAT_H */
