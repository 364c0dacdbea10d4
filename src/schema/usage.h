/*-------------------------------------------------------------------------
 *
 * usage.h
 *	  How often a table has been used, as the statistics have it.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ZDM_SCHEMA_USAGE_H
#define ZDM_SCHEMA_USAGE_H

typedef struct ZdmUsage
{
	int64		reads;			/* scans of it and of its indexes */
	int64		writes;			/* rows */
} ZdmUsage;

extern ZdmUsage zdm_table_usage(Oid relid);
extern ZdmUsage zdm_usage_since(ZdmUsage now, ZdmUsage before);

#endif							/* ZDM_SCHEMA_USAGE_H */
