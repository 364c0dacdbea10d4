/*-------------------------------------------------------------------------
 *
 * compat_view.h
 *	  What the patterns with a compatibility view have in common.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ZDM_PATTERNS_COMPAT_VIEW_H
#define ZDM_PATTERNS_COMPAT_VIEW_H

#include "patterns/pattern.h"
#include "schema/view.h"

extern Oid	zdm_view_of(ZdmMigration *migration);
extern List *zdm_view_attached(ZdmMigration *migration, ZdmPhase phase);
extern void zdm_view_guard(ZdmMigration *migration, Relation rel);
extern void zdm_view_refuse(ZdmMigration *migration, const char *reason);
extern List *zdm_view_mend(ZdmMigration *migration, Relation rel);
extern List *zdm_view_privileges(ZdmMigration *migration,
								 const GrantStmt *stmt);
extern List *zdm_view_notes(Relation rel, const ZdmView *view);

#endif							/* ZDM_PATTERNS_COMPAT_VIEW_H */
