/*-------------------------------------------------------------------------
 *
 * sample.h
 *	  Rows that a conversion fails on, found in a sample of a table.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ZDM_PATTERNS_SAMPLE_H
#define ZDM_PATTERNS_SAMPLE_H

#include "catalog/sync_rule.h"
#include "schema/retype.h"

extern char *zdm_conversion_sample(ZdmSyncRule *rule, List *types);

#endif							/* ZDM_PATTERNS_SAMPLE_H */
