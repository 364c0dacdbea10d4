/*-------------------------------------------------------------------------
 *
 * batch.h
 *	  One batch of a backfill: some blocks of one range, in one transaction.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ZDM_BACKFILL_BATCH_H
#define ZDM_BACKFILL_BATCH_H

#include "catalog/range.h"
#include "catalog/sync_rule.h"
#include "executor/tuptable.h"
#include "utils/rel.h"

typedef struct ZdmBatchReport
{
	int			failed;			/* rows of which up raised an error */
	List	   *failures;		/* of char *: the first of these, with the
								 * row's key */
	int			locked;			/* rows that others hold */
	char	   *blocker;		/* one who does */
	bool		waited_for;		/* somebody waits for a row of the batch */
} ZdmBatchReport;

#define ZDM_BATCH_FAILURES 10

/* More rows than these are not put aside in a range: it waits for them. */
#define ZDM_MAX_SKIPPED 1000

extern void zdm_batch_fill(ZdmMigration *migration, ZdmRange *range,
						   Relation rel, double target_ms, ZdmBatchReport *report);
extern int	zdm_batch_retry(ZdmMigration *migration, ZdmRange *range,
							Relation rel, double target_ms, int limit,
							ZdmBatchReport *report);
extern char *zdm_row_key(Relation rel, TupleTableSlot *row);

#endif							/* ZDM_BACKFILL_BATCH_H */
