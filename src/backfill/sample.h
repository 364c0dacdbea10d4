/*-------------------------------------------------------------------------
 *
 * sample.h
 *	  Which rows an expression will fail on, from a look at some.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ZDM_BACKFILL_SAMPLE_H
#define ZDM_BACKFILL_SAMPLE_H

#include "nodes/pg_list.h"

typedef struct ZdmSample
{
	int64		rows;			/* looked at */
	int64		failed;
	char	   *key;			/* of the first that failed */
	char	   *message;
} ZdmSample;

extern void zdm_sample_rows(Oid relid, List *columns, List *texts,
							ZdmSample *result);

#endif							/* ZDM_BACKFILL_SAMPLE_H */
