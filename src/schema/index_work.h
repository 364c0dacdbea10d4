/*-------------------------------------------------------------------------
 *
 * index_work.h
 *	  What is to be done for an index that a table, with its partitions, lacks.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ZDM_SCHEMA_INDEX_WORK_H
#define ZDM_SCHEMA_INDEX_WORK_H

#include "nodes/parsenodes.h"
#include "nodes/pg_list.h"

/*
 * An index that a table is to have, and each of its partitions: like another
 * one on the table, or else of some columns.
 */
typedef struct ZdmWantedIndex
{
	Oid			table;
	Oid			source;			/* a column's index, whose twin it is, or
								 * InvalidOid ... */
	List	   *columns;		/* ... of char *: the table's columns */
	bool		unique;
} ZdmWantedIndex;

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
	Oid			source;			/* the column's index, or InvalidOid ... */
	const ZdmWantedIndex *wanted;	/* ... and what it is of */
	char	   *name;			/* the new one's, in the table's schema */
	Oid			leftover;		/* an unfinished one of that name, to be
								 * dropped concurrently first */
	Oid			parent_table;	/* ZDM_INDEX_ATTACH: where to */
	char	   *parent_name;
} ZdmIndexWork;

extern List *zdm_index_work(int64 migration, List *wanted);
extern char *zdm_wanted_index_name(int64 migration, const ZdmWantedIndex *wanted);
extern bool zdm_index_is_unique(Oid index);
extern bool zdm_index_is_valid(Oid index);
extern char *zdm_wanted_index_sql(const ZdmIndexWork *work);
extern IndexStmt *zdm_wanted_index_stmt(const ZdmIndexWork *work);
extern void zdm_index_lock(const ZdmIndexWork *work);
extern void zdm_index_attach(const ZdmIndexWork *work);

#endif							/* ZDM_SCHEMA_INDEX_WORK_H */
