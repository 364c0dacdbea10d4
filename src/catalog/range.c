/*-------------------------------------------------------------------------
 *
 * range.c
 *	  Rows of zdm.backfill_range.
 *
 * A range is claimed by locking its row, and the claim ends with the
 * transaction: the cursor in the row commits together with the rows of the
 * table that it stands for, and a backend that dies leaves nothing behind
 * that would have to be taken away from it.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "storage/bufmgr.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

#include "catalog/range.h"
#include "util/compat.h"
#include "util/spi.h"

/*
 * At least 64 ranges a table, none smaller than 2 MB or larger than 128 MB: at
 * the end of the table the last range is one worker's alone.
 */
#define RANGES_PER_TABLE	64
#define MIN_RANGE_BLOCKS	256
#define MAX_RANGE_BLOCKS	16384

static const char *const work_conditions[] = {
	[ZDM_RANGE_BLOCKS] = "r.next_block < r.end_block",
	[ZDM_RANGE_SKIPPED] = "r.skipped <> '{}'",
	[ZDM_RANGE_VERIFY] = "r.verified_block < r.end_block",
};

static ZdmArg tid_array(List *tids);
static List *tids_from_array(Datum array);
static void make(int64 migration, Relation rel, bool compared_only);
static uint64 change(const char *sql, int expected, int nargs, ZdmArg *args);

/*
 * Divide what a table holds now into ranges.
 */
void
zdm_ranges_make(int64 migration, Relation rel)
{
	make(migration, rel, false);
}

/*
 * The same for a table that no backfill writes: its rows are only compared.
 */
void
zdm_ranges_make_compared(int64 migration, Relation rel)
{
	make(migration, rel, true);
}

static void
make(int64 migration, Relation rel, bool compared_only)
{
	int64		blocks = RelationGetNumberOfBlocks(rel);
	int64		size = Max(MIN_RANGE_BLOCKS,
						   Min(MAX_RANGE_BLOCKS, blocks / RANGES_PER_TABLE));

	change("INSERT INTO zdm.backfill_range (migration_id, relation, first_block,"
		   " end_block, next_block, verified_block, filenumber, compared_only)"
		   " SELECT $1, $2, f, least(f + $4, $3), CASE WHEN $6 THEN least(f + $4, $3) ELSE f END, f, $5, $6"
		   " FROM pg_catalog.generate_series(0::bigint, greatest($3 - 1, 0::bigint), $4) f",
		   SPI_OK_INSERT,
		   ZDM_ARGS(ZDM_ARG(INT8OID, Int64GetDatum(migration)),
					ZDM_ARG(REGCLASSOID, ObjectIdGetDatum(RelationGetRelid(rel))),
					ZDM_ARG(INT8OID, Int64GetDatum(blocks)),
					ZDM_ARG(INT8OID, Int64GetDatum(size)),
					ZDM_ARG(INT8OID, Int64GetDatum((int64) zdm_relation_filenumber(rel))),
					ZDM_ARG(BOOLOID, BoolGetDatum(compared_only))));
}

/*
 * The table got new storage (VACUUM FULL, CLUSTER, a restored dump): its rows
 * are elsewhere, so it is visited from the start.
 */
void
zdm_ranges_remake(int64 migration, Relation rel)
{
	uint64		compared_only;

	compared_only = change("DELETE FROM zdm.backfill_range WHERE migration_id = $1 AND relation = $2 AND compared_only",
						   SPI_OK_DELETE,
						   ZDM_ARGS(ZDM_ARG(INT8OID, Int64GetDatum(migration)),
									ZDM_ARG(REGCLASSOID, ObjectIdGetDatum(RelationGetRelid(rel)))));
	change("DELETE FROM zdm.backfill_range WHERE migration_id = $1 AND relation = $2",
		   SPI_OK_DELETE,
		   ZDM_ARGS(ZDM_ARG(INT8OID, Int64GetDatum(migration)),
					ZDM_ARG(REGCLASSOID, ObjectIdGetDatum(RelationGetRelid(rel)))));
	make(migration, rel, compared_only > 0);
}

/*
 * Whether a table has ranges that were made for other storage.
 */
bool
zdm_ranges_stale(int64 migration, Relation rel)
{
	return change("SELECT FROM zdm.backfill_range WHERE migration_id = $1 AND relation = $2"
				  " AND filenumber <> $3 LIMIT 1",
				  SPI_OK_SELECT,
				  ZDM_ARGS(ZDM_ARG(INT8OID, Int64GetDatum(migration)),
						   ZDM_ARG(REGCLASSOID, ObjectIdGetDatum(RelationGetRelid(rel))),
						   ZDM_ARG(INT8OID, Int64GetDatum((int64) zdm_relation_filenumber(rel))))) > 0;
}

bool
zdm_ranges_exist(int64 migration, Oid relid)
{
	return change("SELECT FROM zdm.backfill_range WHERE migration_id = $1 AND relation = $2 LIMIT 1",
				  SPI_OK_SELECT,
				  ZDM_ARGS(ZDM_ARG(INT8OID, Int64GetDatum(migration)),
						   ZDM_ARG(REGCLASSOID, ObjectIdGetDatum(relid)))) > 0;
}

/*
 * Forget the partitions that were dropped or detached: one that comes back has
 * to be visited again.
 */
void
zdm_ranges_keep_only(int64 migration, List *relids)
{
	Datum	   *elems = palloc_array(Datum, list_length(relids) + 1);
	ListCell   *lc;

	foreach(lc, relids)
		elems[foreach_current_index(lc)] = ObjectIdGetDatum(lfirst_oid(lc));
	change("DELETE FROM zdm.backfill_range WHERE migration_id = $1"
		   " AND relation::oid <> ALL ($2)",
		   SPI_OK_DELETE,
		   ZDM_ARGS(ZDM_ARG(INT8OID, Int64GetDatum(migration)),
					ZDM_ARG(OIDARRAYOID,
							PointerGetDatum(construct_array(elems, list_length(relids), OIDOID,
															sizeof(Oid), true, TYPALIGN_INT)))));
}

/*
 * Let the table's last range reach to the table's end as it is now, so that
 * the verification sees every row.  The blocks that were added since expand
 * need no other visit: their rows came through the trigger.
 */
void
zdm_ranges_extend(int64 migration, Oid relid, int64 blocks)
{
	change("UPDATE zdm.backfill_range r SET end_block = $3, next_block = $3"
		   " WHERE r.migration_id = $1 AND r.relation = $2"
		   " AND r.end_block < $3 AND r.next_block = r.end_block"
		   " AND r.first_block = (SELECT pg_catalog.max(s.first_block)"
		   " FROM zdm.backfill_range s WHERE s.migration_id = $1 AND s.relation = $2)",
		   SPI_OK_UPDATE,
		   ZDM_ARGS(ZDM_ARG(INT8OID, Int64GetDatum(migration)),
					ZDM_ARG(REGCLASSOID, ObjectIdGetDatum(relid)),
					ZDM_ARG(INT8OID, Int64GetDatum(blocks))));
}

/*
 * Claim a range with that kind of work for this transaction, the first one or
 * the first behind a given one.  Returns NULL where there is none, or where
 * others have them all.
 */
ZdmRange *
zdm_range_claim(int64 migration, ZdmRangeWork work, const ZdmRange *after)
{
	static SPIPlanPtr plans[lengthof(work_conditions)];
	MemoryContext cxt = CurrentMemoryContext;
	ZdmIdentity saved;
	ZdmRange   *range = NULL;

	zdm_catalog_begin(&saved);
	if (zdm_execute_kept(&plans[work], SPI_OK_SELECT,
						 psprintf("SELECT r.relation, r.first_block, r.end_block, r.next_block,"
								  " r.verified_block, r.filenumber, r.skipped, coalesce(r.batch_blocks, 0)"
								  " FROM zdm.backfill_range r WHERE r.migration_id = $1 AND %s"
								  " AND (r.relation::oid, r.first_block) > ($2, $3)"
								  " ORDER BY r.relation::oid, r.first_block LIMIT 1"
								  " FOR UPDATE OF r SKIP LOCKED",
								  work_conditions[work]),
						 ZDM_ARGS(ZDM_ARG(INT8OID, Int64GetDatum(migration)),
								  ZDM_ARG(OIDOID, ObjectIdGetDatum(after ? after->relation : InvalidOid)),
								  ZDM_ARG(INT8OID, Int64GetDatum(after ? after->first : -1)))) > 0)
	{
		MemoryContext old = MemoryContextSwitchTo(cxt);
		bool		isnull;

		range = palloc0_object(ZdmRange);
		range->migration = migration;
		range->relation = DatumGetObjectId(zdm_result(0, 1, &isnull));
		range->first = DatumGetInt64(zdm_result(0, 2, &isnull));
		range->end = DatumGetInt64(zdm_result(0, 3, &isnull));
		range->next = DatumGetInt64(zdm_result(0, 4, &isnull));
		range->verified = DatumGetInt64(zdm_result(0, 5, &isnull));
		range->filenumber = DatumGetInt64(zdm_result(0, 6, &isnull));
		range->skipped = tids_from_array(zdm_result(0, 7, &isnull));
		range->batch_blocks = DatumGetInt32(zdm_result(0, 8, &isnull));
		MemoryContextSwitchTo(old);
	}
	zdm_catalog_end(&saved);
	return range;
}

/*
 * Whether any range has that kind of work left, claimed or not.
 */
bool
zdm_range_left(int64 migration, ZdmRangeWork work)
{
	return change(psprintf("SELECT FROM zdm.backfill_range r"
						   " WHERE r.migration_id = $1 AND %s LIMIT 1",
						   work_conditions[work]),
				  SPI_OK_SELECT,
				  ZDM_ARGS(ZDM_ARG(INT8OID, Int64GetDatum(migration)))) > 0;
}

/*
 * Store how far a claimed range has come.
 */
void
zdm_range_save(ZdmRange *range)
{
	static SPIPlanPtr plan = NULL;
	ZdmIdentity saved;

	zdm_catalog_begin(&saved);
	(void) zdm_execute_kept(&plan, SPI_OK_UPDATE,
							"UPDATE zdm.backfill_range SET next_block = $4, verified_block = $5,"
							" skipped = $6, batch_blocks = $7, rows_done = rows_done + $8,"
							" rows_changed = rows_changed + $9, rows_compared = rows_compared + $10,"
							" mismatches = mismatches + $11,"
							" busy = busy + '1 us'::interval * $12,"
							" changed_at = pg_catalog.clock_timestamp()"
							" WHERE migration_id = $1 AND relation = $2 AND first_block = $3",
							ZDM_ARGS(ZDM_ARG(INT8OID, Int64GetDatum(range->migration)),
									 ZDM_ARG(REGCLASSOID, ObjectIdGetDatum(range->relation)),
									 ZDM_ARG(INT8OID, Int64GetDatum(range->first)),
									 ZDM_ARG(INT8OID, Int64GetDatum(range->next)),
									 ZDM_ARG(INT8OID, Int64GetDatum(range->verified)),
									 tid_array(range->skipped),
									 ZDM_ARG(INT4OID, Int32GetDatum(range->batch_blocks)),
									 ZDM_ARG(INT8OID, Int64GetDatum(range->rows_done)),
									 ZDM_ARG(INT8OID, Int64GetDatum(range->rows_changed)),
									 ZDM_ARG(INT8OID, Int64GetDatum(range->rows_compared)),
									 ZDM_ARG(INT8OID, Int64GetDatum(range->mismatches)),
									 ZDM_ARG(FLOAT8OID, Float8GetDatum((double) range->busy_us))));
	zdm_catalog_end(&saved);
}

/* The rows that the verification of all ranges has found to differ. */
int64
zdm_ranges_mismatches(int64 migration)
{
	ZdmIdentity saved;
	int64		result;
	bool		isnull;

	zdm_catalog_begin(&saved);
	zdm_execute(SPI_OK_SELECT,
				"SELECT coalesce(pg_catalog.sum(mismatches), 0)::bigint"
				" FROM zdm.backfill_range WHERE migration_id = $1",
				ZDM_ARGS(ZDM_ARG(INT8OID, Int64GetDatum(migration))));
	result = DatumGetInt64(zdm_result(0, 1, &isnull));
	zdm_catalog_end(&saved);
	return result;
}

/* Forget what the verification found, so that it begins anew. */
void
zdm_ranges_verify_again(int64 migration)
{
	change("UPDATE zdm.backfill_range SET verified_block = first_block,"
		   " rows_compared = 0, mismatches = 0 WHERE migration_id = $1",
		   SPI_OK_UPDATE,
		   ZDM_ARGS(ZDM_ARG(INT8OID, Int64GetDatum(migration))));
}

void
zdm_ranges_delete(int64 migration)
{
	change("DELETE FROM zdm.backfill_range WHERE migration_id = $1",
		   SPI_OK_DELETE,
		   ZDM_ARGS(ZDM_ARG(INT8OID, Int64GetDatum(migration))));
}

static uint64
change(const char *sql, int expected, int nargs, ZdmArg *args)
{
	ZdmIdentity saved;
	uint64		rows;

	zdm_catalog_begin(&saved);
	rows = zdm_execute(expected, sql, nargs, args);
	zdm_catalog_end(&saved);
	return rows;
}

static ZdmArg
tid_array(List *tids)
{
	Datum	   *elems = palloc_array(Datum, list_length(tids) + 1);
	ListCell   *lc;

	foreach(lc, tids)
		elems[foreach_current_index(lc)] = PointerGetDatum(lfirst(lc));
	return ZDM_ARG(get_array_type(TIDOID),
				   PointerGetDatum(construct_array(elems, list_length(tids), TIDOID,
												   sizeof(ItemPointerData), false,
												   TYPALIGN_SHORT)));
}

static List *
tids_from_array(Datum array)
{
	Datum	   *elems;
	int			n;
	List	   *result = NIL;

	deconstruct_array(DatumGetArrayTypeP(array), TIDOID, sizeof(ItemPointerData),
					  false, TYPALIGN_SHORT, &elems, NULL, &n);
	for (int i = 0; i < n; i++)
	{
		ItemPointer tid = palloc_object(ItemPointerData);

		ItemPointerCopy((ItemPointer) DatumGetPointer(elems[i]), tid);
		result = lappend(result, tid);
	}
	return result;
}
