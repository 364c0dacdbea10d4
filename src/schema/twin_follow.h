/*-------------------------------------------------------------------------
 *
 * twin_follow.h
 *	  What others do meanwhile to what hangs on a column, done to its twin.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ZDM_SCHEMA_TWIN_FOLLOW_H
#define ZDM_SCHEMA_TWIN_FOLLOW_H

#include "nodes/parsenodes.h"

/* A constraint or an index that a command has dropped. */
typedef struct ZdmDropped
{
	Oid			schema;
	char	   *table;			/* of a constraint; NULL: an index */
	char	   *name;
} ZdmDropped;

/* Somebody's DDL. */
typedef struct ZdmDdl
{
	Node	   *command;
	List	   *dropped;		/* of ZdmDropped * */
	List	   *tables;			/* GRANT, REVOKE: those that it names (oids) */
	List	   *roles;			/* who gets or loses privileges (oids) */
} ZdmDdl;

extern bool zdm_alters(Node *command, AlterTableType type, const char *column);
extern List *zdm_twin_follow_steps(int64 migration, List *pairs,
								   const ZdmDdl *ddl);
extern List *zdm_twin_follow_name_steps(int64 migration, List *pairs,
										const ZdmDdl *ddl);
extern List *zdm_twin_orphans(int64 migration, List *pairs);

#endif							/* ZDM_SCHEMA_TWIN_FOLLOW_H */
