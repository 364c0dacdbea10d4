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

typedef enum ZdmIndexWorkKind
{
	ZDM_INDEX_BUILD,			/* of a table with rows, concurrently */
	ZDM_INDEX_PARTITIONED,		/* of a partitioned table alone: catalog only */
	ZDM_INDEX_ATTACH			/* a partition's to its parent's */
} ZdmIndexWorkKind;

/* One thing that is to be done, in a transaction (or several) of its own. */
typedef struct ZdmIndexWork
{
	ZdmIndexWorkKind kind;
	Oid			table;			/* whose index it is */
	Oid			source;			/* the column's index */
	char	   *name;			/* the twin's, in the table's schema */
	Oid			leftover;		/* an unfinished one of that name, to be
								 * dropped concurrently first */
	Oid			parent_table;	/* ZDM_INDEX_ATTACH: where to */
	char	   *parent_name;
} ZdmIndexWork;

extern List *zdm_twin_index_sources(Oid relid, const char *column,
									const char *twin);
extern bool zdm_index_is_unique(Oid index);
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
extern void zdm_twin_index_lock(const ZdmIndexWork *work);
extern void zdm_twin_index_attach(const ZdmIndexWork *work);
extern char *zdm_twin_index_sql(int64 migration, Oid source, List *pairs,
								bool unique);

#endif							/* ZDM_SCHEMA_TWIN_INDEX_H */
