/*-------------------------------------------------------------------------
 *
 * mirror_difference.c
 *	  Rows of zdm.mirror_difference.
 *
 * Written by an application's own statement, in its transaction, where it has
 * left two tables different: whoever is to drop one of them then knows that
 * he has to compare them first.  They are read as the catalog is, by the newest
 * snapshot, for a transaction with an older one must not miss any; and they
 * stay until the migration ends, for one side may go after the other.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "utils/builtins.h"

#include "catalog/mirror_difference.h"
#include "catalog/rule.h"
#include "util/spi.h"

/* The columns of zdm.mirror_difference after the migration. */
enum
{
	COL_ID = ZDM_COL_MIGRATION + 1,
	COL_RELATION,
	COL_ROW
};

static void *read_difference(HeapTuple tuple, TupleDesc desc);

void
zdm_mirror_difference_insert(int64 migration, Oid relation, const char *row)
{
	ZdmIdentity saved;

	zdm_catalog_begin(&saved);
	zdm_execute(SPI_OK_INSERT,
				"INSERT INTO zdm.mirror_difference (migration_id, relation, row_key) VALUES ($1, $2, $3)",
				ZDM_ARGS(ZDM_ARG(INT8OID, Int64GetDatum(migration)),
						 ZDM_ARG(REGCLASSOID, ObjectIdGetDatum(relation)),
						 zdm_arg_text(row)));
	zdm_catalog_end(&saved);
}

/*
 * Those of a migration (ZdmMirrorDifference *) that are committed, or the
 * caller's own.
 */
List *
zdm_mirror_differences_of(int64 migration)
{
	return zdm_rules_of("mirror_difference", migration, read_difference);
}

static void *
read_difference(HeapTuple tuple, TupleDesc desc)
{
	ZdmMirrorDifference *difference = palloc0_object(ZdmMirrorDifference);
	bool		isnull;

	difference->migration = DatumGetInt64(heap_getattr(tuple, ZDM_COL_MIGRATION, desc, &isnull));
	difference->id = DatumGetInt64(heap_getattr(tuple, COL_ID, desc, &isnull));
	difference->relation = DatumGetObjectId(heap_getattr(tuple, COL_RELATION, desc, &isnull));
	difference->row = TextDatumGetCString(heap_getattr(tuple, COL_ROW, desc, &isnull));
	return difference;
}

/*
 * The migration has ended.
 */
void
zdm_mirror_differences_delete(int64 migration)
{
	ZdmIdentity saved;

	zdm_catalog_begin(&saved);
	zdm_execute(SPI_OK_DELETE, "DELETE FROM zdm.mirror_difference WHERE migration_id = $1",
				ZDM_ARGS(ZDM_ARG(INT8OID, Int64GetDatum(migration))));
	zdm_catalog_end(&saved);
}
