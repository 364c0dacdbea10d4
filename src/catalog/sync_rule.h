/*-------------------------------------------------------------------------
 *
 * sync_rule.h
 *	  Rows of zdm.sync_rule.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ZDM_CATALOG_SYNC_RULE_H
#define ZDM_CATALOG_SYNC_RULE_H

#include "nodes/pg_list.h"

/*
 * The rules of all kinds but the first have new columns alone.
 */
typedef enum ZdmRuleKind
{
	ZDM_RULE_SYNC,				/* both sides hold the same */
	ZDM_RULE_FILL,				/* a NULL becomes up */
	ZDM_RULE_FILL_OLDER,		/* so it does where the row was stored before
								 * the column was added */
	ZDM_RULE_FILL_UNNAMED,		/* the same, where that cannot be told any
								 * more: where no statement names the column */
	ZDM_RULE_COMPUTE			/* up, and nothing else */
} ZdmRuleKind;

/*
 * New columns are up(old columns), old columns are down(new columns); the
 * expressions are SQL text that names columns of the table and is otherwise
 * fully qualified.
 */
typedef struct ZdmSyncRule
{
	int64		migration;		/* first of all: see catalog/rule.h */
	Oid			relation;
	List	   *old_columns;	/* of char * */
	List	   *new_columns;
	List	   *up;				/* of char *, one per new column */
	List	   *down;			/* of char *, one per old column */
	bool		down_or_null;	/* where down fails, NULL */
	ZdmRuleKind kind;
} ZdmSyncRule;

extern void zdm_sync_rule_insert(int64 migration, int number, ZdmSyncRule *rule);
extern void zdm_sync_rules_delete(int64 migration);
extern bool zdm_sync_rules_forget_age(int64 migration, Oid relid);
extern List *zdm_sync_rules_of(int64 migration);
extern List *zdm_rules_tables(List *rules);
extern List *zdm_mandatory_columns(List *rules);
extern List *zdm_sync_rules_on(List *relids);

#endif							/* ZDM_CATALOG_SYNC_RULE_H */
