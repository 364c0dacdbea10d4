/*-------------------------------------------------------------------------
 *
 * not_null.h
 *	  NOT NULL without a scan under a strong lock.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ZDM_SCHEMA_NOT_NULL_H
#define ZDM_SCHEMA_NOT_NULL_H

#include "catalog/migration.h"
#include "catalog/step.h"

extern bool zdm_column_is_not_null(Oid relid, const char *column);
extern char *zdm_not_null_constraint(Oid relid, const char *column);
extern bool zdm_not_null_is_validated(Oid relid, const char *column);
extern char *zdm_not_null_unproved(Oid relid, const char *column);
extern bool zdm_not_null_proved(ZdmMigration *migration, const char *column);
extern bool zdm_not_null_demanded(ZdmMigration *migration, const char *column);
extern List *zdm_not_null_proof(ZdmMigration *migration, const char *column);
extern List *zdm_not_null_proof_left(ZdmMigration *migration,
									 const char *column);
extern List *zdm_not_null_set_steps(ZdmMigration *migration,
									const char *column, const char *constraint);
extern List *zdm_not_null_give_up_steps(ZdmMigration *migration,
										const char *column);
extern bool zdm_not_null_is_check(ZdmMigration *migration, const char *column,
								  const char *description);
extern ZdmStep *zdm_not_null_drop_step(ZdmMigration *migration,
									   const char *column);

#endif							/* ZDM_SCHEMA_NOT_NULL_H */
