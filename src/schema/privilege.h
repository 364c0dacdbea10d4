/*-------------------------------------------------------------------------
 *
 * privilege.h
 *	  Privileges of what a migration makes.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ZDM_SCHEMA_PRIVILEGE_H
#define ZDM_SCHEMA_PRIVILEGE_H

#include "schema/twin_follow.h"

/* A role, as GRANT takes it. */
#define ZDM_GRANTEE(role) \
	"CASE WHEN " role " OPERATOR(pg_catalog.=) 0 THEN 'PUBLIC'" \
	" ELSE pg_catalog.quote_ident(pg_catalog.pg_get_userbyid(" role ")) END"

extern List *zdm_grant_steps(Oid relid, List *columns, const char *target);
extern List *zdm_withhold_texts(const char *relation);
extern void zdm_privileges_named(Node *command, ZdmDdl *ddl);
extern List *zdm_privilege_follow_steps(const ZdmDdl *ddl, Oid relid,
										List *columns, List *targets);

#endif							/* ZDM_SCHEMA_PRIVILEGE_H */
