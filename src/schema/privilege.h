/*-------------------------------------------------------------------------
 *
 * privilege.h
 *	  Column privileges of one column for another.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ZDM_SCHEMA_PRIVILEGE_H
#define ZDM_SCHEMA_PRIVILEGE_H

#include "nodes/pg_list.h"

extern List *zdm_grant_steps(Oid relid, List *columns, const char *target);

#endif							/* ZDM_SCHEMA_PRIVILEGE_H */
