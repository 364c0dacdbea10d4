/*-------------------------------------------------------------------------
 *
 * change_type_rule.h
 *	  The sync rules of a type change.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ZDM_PATTERNS_CHANGE_TYPE_RULE_H
#define ZDM_PATTERNS_CHANGE_TYPE_RULE_H

#include "catalog/step.h"
#include "catalog/sync_rule.h"
#include "schema/twin_constraint.h"

extern ZdmSyncRule *zdm_change_type_rule(ZdmMigration *migration, Relation rel,
										 ZdmPair *pair, const ZdmType *type);
extern bool zdm_change_type_is_exact(ZdmMigration *migration, Oid relid,
									 const char *column, const ZdmType *type);
extern ZdmStep *zdm_change_type_follow(ZdmMigration *migration);
extern void zdm_change_type_texts(ZdmMigration *migration, char **fill,
								  char **compare);
extern void zdm_change_type_guard_type(ZdmMigration *migration);
extern void zdm_change_type_guard(ZdmMigration *migration, List *pairs,
								  const ZdmType *type);
extern char *zdm_change_type_index_text(ZdmMigration *migration, List *pairs);
extern List *zdm_change_type_notes(ZdmMigration *migration, ZdmType *type,
								   const char *views);

#endif							/* ZDM_PATTERNS_CHANGE_TYPE_RULE_H */
