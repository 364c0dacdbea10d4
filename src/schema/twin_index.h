/*-------------------------------------------------------------------------
 *
 * twin_index.h
 *	  The indexes of a twin column.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ZDM_SCHEMA_TWIN_INDEX_H
#define ZDM_SCHEMA_TWIN_INDEX_H

#include "nodes/parsenodes.h"
#include "nodes/pg_list.h"

#include "schema/index_work.h"

extern List *zdm_twin_index_sources(Oid relid, const char *column,
									const char *twin);
extern bool zdm_is_twin_index(Oid index, int64 migration);
extern bool zdm_is_twin_name(const char *name, int64 migration);
extern char *zdm_twin_index_name(int64 migration, const char *source);
extern List *zdm_twin_index_work(int64 migration, Oid relid,
								 const char *column, const char *twin);
extern List *zdm_twin_index_orphans(int64 migration, Oid relid, List *pairs);
extern Oid	zdm_twin_index_named(Oid table, const char *name);

/* twin_index_stmt.c */
extern IndexStmt *zdm_twin_index_stmt(const ZdmIndexWork *work, List *pairs,
									  bool unique);
extern char *zdm_twin_index_sql(int64 migration, Oid source, List *pairs,
								bool unique);

#endif							/* ZDM_SCHEMA_TWIN_INDEX_H */
