/*-------------------------------------------------------------------------
 *
 * range.h
 *	  Rows of zdm.backfill_range.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ZDM_CATALOG_RANGE_H
#define ZDM_CATALOG_RANGE_H

#include "catalog/migration.h"
#include "storage/block.h"
#include "storage/itemptr.h"
#include "utils/rel.h"

/* A run of heap blocks [first, end) of one table, locked by whoever has it. */
typedef struct ZdmRange
{
	int64		migration;
	Oid			relation;
	int64		first;
	int64		end;
	int64		next;			/* not visited yet from here on */
	int64		verified;		/* not verified yet from here on */
	int64		filenumber;		/* of the table's storage when it was made */
	List	   *skipped;		/* of ItemPointer: rows to be tried again */
	int			batch_blocks;	/* 0: not known yet */
	/* what one batch adds */
	int64		rows_done;
	int64		rows_changed;
	int64		rows_compared;
	int64		mismatches;
	int64		busy_us;
} ZdmRange;

typedef enum ZdmRangeWork
{
	ZDM_RANGE_BLOCKS,			/* has blocks to visit */
	ZDM_RANGE_SKIPPED,			/* has rows to try again */
	ZDM_RANGE_VERIFY			/* has blocks to verify */
} ZdmRangeWork;

extern void zdm_ranges_make(int64 migration, Relation rel);
extern void zdm_ranges_make_compared(int64 migration, Relation rel);
extern void zdm_ranges_remake(int64 migration, Relation rel);
extern bool zdm_ranges_stale(int64 migration, Relation rel);
extern bool zdm_ranges_exist(int64 migration, Oid relid);
extern void zdm_ranges_keep_only(int64 migration, List *relids);
extern void zdm_ranges_extend(int64 migration, Oid relid, int64 blocks);
extern ZdmRange *zdm_range_claim(int64 migration, ZdmRangeWork work,
								 const ZdmRange *after);
extern bool zdm_range_left(int64 migration, ZdmRangeWork work);
extern void zdm_range_save(ZdmRange *range);
extern int64 zdm_ranges_mismatches(int64 migration);
extern void zdm_ranges_verify_again(int64 migration);
extern void zdm_ranges_delete(int64 migration);

#endif							/* ZDM_CATALOG_RANGE_H */
