/*-------------------------------------------------------------------------
 *
 * verify.h
 *	  Proof that old and new shape hold the same.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ZDM_BACKFILL_VERIFY_H
#define ZDM_BACKFILL_VERIFY_H

#include "catalog/migration.h"
#include "storage/block.h"
#include "utils/rel.h"
#include "utils/tuplestore.h"

#define ZDM_VERIFY_SAMPLE 10

typedef struct ZdmVerification
{
	int64		rows;
	int64		mismatches;
	List	   *sample;			/* of char *: keys of the first that differ */
	int64		reached;		/* first block not compared */
	bool		collect;		/* rows that are not filled are no mismatch
								 * ... */
	List	   *unfilled;		/* ... but collected: of ItemPointer */
	int			most_unfilled;	/* stop at a block's end with this many */
} ZdmVerification;

extern int64 zdm_null_rows(Oid relid, const char *column, List **sample);
extern void zdm_verify_tables(ZdmMigration *migration,
							  Tuplestorestate *store, TupleDesc desc);
extern void zdm_verify_blocks(ZdmMigration *migration, Relation rel,
							  int64 first, int64 end, double budget_ms,
							  ZdmVerification *result);

#endif							/* ZDM_BACKFILL_VERIFY_H */
