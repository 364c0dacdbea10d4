/*-------------------------------------------------------------------------
 *
 * vacuum.c
 *	  VACUUM of a table in the course of its backfill.
 *
 * A row that is filled leaves a dead one.  After the end of a range it is
 * looked whether the table has so many of them that the next ranges' rows had
 * better find room.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/relation.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"

#include "lifecycle/lifecycle.h"
#include "lifecycle/migrate.h"
#include "util/compat.h"
#include "util/guc.h"
#include "util/ident.h"
#include "util/spi.h"

/* A table below this size is not worth a vacuum. */
#define MIN_VACUUM_BLOCKS 1024

static bool is_worth_vacuum(Oid relid);
static bool is_due(ZdmMigrate *migrate, Oid relid);

/*
 * After the end of a range: whether the backfill has left so many dead rows in
 * its table that it is to be vacuumed, so that the next ranges' rows find
 * room.  In a worker that is the next statement to run; for a session, another
 * worker does it.
 */
bool
zdm_vacuum_step(ZdmMigrate *migrate)
{
	Oid			relid = migrate->range_ended;
	MemoryContext old;

	migrate->range_ended = InvalidOid;
	if (zdm_vacuum_after <= 0 || !is_worth_vacuum(relid) || !is_due(migrate, relid))
		return false;
	if (migrate->task == NULL)
	{
		ZdmTask		task = {
			.kind = ZDM_TASK_VACUUM,
			.database = MyDatabaseId,
			.migration = migrate->migration->id,
			.relation = relid,
			.gently = migrate->pace.gently,
		};

		namestrcpy(&task.name, migrate->migration->name);
		zdm_worker_request(&task, false);
		return false;
	}
	if (!zdm_mark_statement(migrate, relid))
		return false;
	old = MemoryContextSwitchTo(migrate->statement_cxt);
	migrate->statement = zdm_vacuum_statement(relid);
	MemoryContextSwitchTo(old);
	return true;
}

static bool
is_worth_vacuum(Oid relid)
{
	bool		result = false;
	Relation	rel;

	if (!ConditionalLockRelationOid(relid, AccessShareLock))
		return false;
	rel = try_relation_open(relid, NoLock);
	if (rel == NULL)
		return false;
	result = RelationGetNumberOfBlocks(rel) >= MIN_VACUUM_BLOCKS;
	relation_close(rel, AccessShareLock);
	return result;
}

/*
 * VACUUM as a backfill wants it: without waiting for a lock, and without
 * giving the table's last blocks back, which would lock everybody out.
 */
ZdmStatement *
zdm_vacuum_statement(Oid relid)
{
	return zdm_statement_parse(psprintf("VACUUM (SKIP_LOCKED, TRUNCATE false, PARALLEL 0) %s",
										zdm_quote_relation(relid)));
}

/*
 * Whether the loops of the migration have changed that many rows of the table
 * since anybody vacuumed it.  The statistics would tell a worker of dead rows
 * late, and a session never.  Whether the vacuum could remove them does not
 * matter: those that somebody still sees would not go a moment later either.
 */
static bool
is_due(ZdmMigrate *migrate, Oid relid)
{
	static SPIPlanPtr plan = NULL;
	ZdmIdentity saved;
	bool		isnull;
	int64		changed,
				count;
	double		rows;

	zdm_catalog_begin(&saved);
	zdm_execute_kept(&plan, SPI_OK_SELECT,
					 "SELECT (SELECT coalesce(pg_catalog.sum(r.rows_changed), 0)::bigint"
					 " FROM zdm.backfill_range r WHERE r.migration_id = $2 AND r.relation = $1),"
					 " pg_catalog.pg_stat_get_vacuum_count(c.oid)"
					 " + pg_catalog.pg_stat_get_autovacuum_count(c.oid),"
					 " greatest(c.reltuples::float8, pg_catalog.pg_stat_get_live_tuples(c.oid), 0)"
					 " FROM pg_catalog.pg_class c WHERE c.oid = $1",
					 ZDM_ARGS(ZDM_ARG(REGCLASSOID, ObjectIdGetDatum(relid)),
							  ZDM_ARG(INT8OID, Int64GetDatum(migrate->migration->id))));
	changed = DatumGetInt64(zdm_result(0, 1, &isnull));
	count = DatumGetInt64(zdm_result(0, 2, &isnull));
	rows = DatumGetFloat8(zdm_result(0, 3, &isnull));
	zdm_catalog_end(&saved);

	if (migrate->vacuum_table != relid)
		migrate->vacuum_base = 0;
	else if (migrate->vacuum_count != count)
		migrate->vacuum_base = changed;
	migrate->vacuum_table = relid;
	migrate->vacuum_count = count;
	/* While one worker vacuums, the others go on and find no room. */
	if ((changed - migrate->vacuum_base) * Max(1, migrate->migration->workers) <
		rows * zdm_vacuum_after / 100)
		return false;
	migrate->vacuum_base = changed;
	return true;
}
