/*-------------------------------------------------------------------------
 *
 * written.h
 *	  Which columns the INSERT named that a row trigger fires for.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ZDM_SYNC_WRITTEN_H
#define ZDM_SYNC_WRITTEN_H

#include "executor/execdesc.h"
#include "nodes/bitmapset.h"
#include "nodes/pg_list.h"
#include "utils/rel.h"

/* A statement that runs in this backend. */
typedef struct ZdmRunning
{
	QueryDesc  *desc;
	struct ZdmRunning *outer;

	/* arbiter.c's: */
	enum
	{
		ZDM_ARBITERS_UNKNOWN,
		ZDM_ARBITERS_NONE,
		ZDM_ARBITERS_SOME
	}			arbiters;
	Oid			widened;		/* the last table that is done */
	int			widened_partitions; /* and so many of them */
} ZdmRunning;

typedef enum ZdmStatementKind
{
	ZDM_WRITTEN_UNKNOWN,		/* by whom is not known: go by the values */
	ZDM_WRITTEN_COLUMNS,		/* columns, by attribute number of relid */
	ZDM_WRITTEN_NAMES,			/* COPY: names */
	ZDM_WRITTEN_ALL,			/* COPY without a list */
	ZDM_WRITTEN_MOVED			/* an UPDATE moves the row to this partition */
} ZdmStatementKind;

typedef struct ZdmWritten
{
	ZdmStatementKind kind;
	Oid			relid;			/* ZDM_WRITTEN_COLUMNS */
	Bitmapset  *columns;		/* offset by
								 * FirstLowInvalidHeapAttributeNumber */
	List	   *names;			/* ZDM_WRITTEN_NAMES: String nodes */
} ZdmWritten;

extern void zdm_written_init(void);
extern ZdmRunning *zdm_firing_statement(void);
extern PlannedStmt *zdm_firing_plan(void);
extern void zdm_written_by_insert(Relation rel, List *ancestors,
								  ZdmWritten *written);
extern bool zdm_written_has(const ZdmWritten *written, const char *column,
							Oid relid, AttrNumber attnum);

#endif							/* ZDM_SYNC_WRITTEN_H */
