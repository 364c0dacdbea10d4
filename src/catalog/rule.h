/*-------------------------------------------------------------------------
 *
 * rule.h
 *	  What rows of zdm.sync_rule and zdm.mirror_rule have in common.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ZDM_CATALOG_RULE_H
#define ZDM_CATALOG_RULE_H

#include "access/htup.h"
#include "access/tupdesc.h"
#include "nodes/pg_list.h"

/* The columns that both begin with. */
enum
{
	ZDM_COL_MIGRATION = 1,
	ZDM_COL_RULE
};

/* A struct of a row, which has the migration's id first. */
typedef void *(*ZdmRuleReader) (HeapTuple tuple, TupleDesc desc);

extern List *zdm_rules_of(const char *table, int64 migration, ZdmRuleReader read);
extern List *zdm_rules_on(const char *table, const char *index, AttrNumber column,
						  List *relids, ZdmRuleReader read);
extern void zdm_rules_sort(List *rules);
extern void zdm_rules_changed(Oid relid);
extern List *zdm_rule_strings(HeapTuple tuple, AttrNumber column, TupleDesc desc);

#endif							/* ZDM_CATALOG_RULE_H */
