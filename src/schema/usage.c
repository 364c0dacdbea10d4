/*-------------------------------------------------------------------------
 *
 * usage.c
 *	  How often a table has been used, as the statistics have it.
 *
 * The counters are those of pg_stat_user_tables.  They come a little late, and
 * whoever resets them makes them start at 0 again; so they tell that a table
 * was used, not that it was not.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"

#include "schema/relation.h"
#include "schema/usage.h"
#include "util/spi.h"

/*
 * Of the table and its partitions.
 */
ZdmUsage
zdm_table_usage(Oid relid)
{
	static const char *const sql =
		"SELECT u.n::pg_catalog.text FROM ("
		" SELECT pg_catalog.pg_stat_get_numscans($1)"
		" OPERATOR(pg_catalog.+) COALESCE((SELECT pg_catalog.sum(pg_catalog.pg_stat_get_numscans(i.indexrelid))"
		" FROM pg_catalog.pg_index i WHERE i.indrelid OPERATOR(pg_catalog.=) $1), 0)"
		" UNION ALL SELECT pg_catalog.pg_stat_get_tuples_inserted($1)"
		" OPERATOR(pg_catalog.+) pg_catalog.pg_stat_get_tuples_updated($1)"
		" OPERATOR(pg_catalog.+) pg_catalog.pg_stat_get_tuples_deleted($1)) u(n)";
	ZdmUsage	result = {0};
	ListCell   *lc;

	foreach(lc, zdm_storage_relations(relid))
	{
		List	   *counts = zdm_query_strings(sql, ZDM_ARGS(ZDM_ARG(OIDOID, ObjectIdGetDatum(lfirst_oid(lc)))));

		result.reads += strtoll(linitial(counts), NULL, 10);
		result.writes += strtoll(lsecond(counts), NULL, 10);
	}
	return result;
}

/*
 * What has come between.  Counters that are lower than before have been reset.
 */
ZdmUsage
zdm_usage_since(ZdmUsage now, ZdmUsage before)
{
	ZdmUsage	result;

	result.reads = now.reads < before.reads ? now.reads : now.reads - before.reads;
	result.writes = now.writes < before.writes ? now.writes : now.writes - before.writes;
	return result;
}
