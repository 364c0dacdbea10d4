/*-------------------------------------------------------------------------
 *
 * view_acl.h
 *	  The privileges of a compatibility view.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ZDM_SCHEMA_VIEW_ACL_H
#define ZDM_SCHEMA_VIEW_ACL_H

#include "nodes/parsenodes.h"
#include "schema/view.h"

extern bool zdm_has_column_privileges(Oid relid);
extern List *zdm_view_grants(Oid table, const ZdmView *view);
extern List *zdm_view_grant_again(Oid table, const ZdmView *view,
								  const GrantStmt *stmt);

#endif							/* ZDM_SCHEMA_VIEW_ACL_H */
