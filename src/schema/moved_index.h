/*-------------------------------------------------------------------------
 *
 * moved_index.h
 *	  What a join table's indexes and constraints are for a column.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ZDM_SCHEMA_MOVED_INDEX_H
#define ZDM_SCHEMA_MOVED_INDEX_H

#include "catalog/mirror_rule.h"
#include "nodes/pg_list.h"
#include "schema/index_work.h"

extern List *zdm_moved_indexes(int64 migration, ZdmMirrorRule *rule);
extern char *zdm_moved_index_sql(int64 migration, const ZdmWantedIndex *index);
extern List *zdm_moved_index_final_steps(int64 migration, List *indexes);
extern List *zdm_not_moved(ZdmMirrorRule *rule);

#endif							/* ZDM_SCHEMA_MOVED_INDEX_H */
