/*-------------------------------------------------------------------------
 *
 * privilege.h
 *	  Privileges of what a migration makes.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ZDM_SCHEMA_PRIVILEGE_H
#define ZDM_SCHEMA_PRIVILEGE_H

#include "nodes/pg_list.h"

extern List *zdm_grant_steps(Oid relid, List *columns, const char *target);
extern List *zdm_withhold_texts(const char *relation);

#endif							/* ZDM_SCHEMA_PRIVILEGE_H */
