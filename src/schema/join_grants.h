/*-------------------------------------------------------------------------
 *
 * join_grants.h
 *	  The privileges of a join table that stands for a column.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ZDM_SCHEMA_JOIN_GRANTS_H
#define ZDM_SCHEMA_JOIN_GRANTS_H

#include "catalog/mirror_rule.h"
#include "nodes/parsenodes.h"

extern List *zdm_join_grant_steps(ZdmMirrorRule *rule);
extern List *zdm_join_grants_again(ZdmMirrorRule *rule, const GrantStmt *stmt);
extern bool zdm_has_row_security(Oid relid);
extern char *zdm_gaining_roles(Oid column_table, Oid join_table);

#endif							/* ZDM_SCHEMA_JOIN_GRANTS_H */
