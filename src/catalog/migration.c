/*-------------------------------------------------------------------------
 *
 * migration.c
 *	  Rows of zdm.migration.
 *
 * Whoever changes a row here holds the migration's lock (util/lock.c), so
 * that a state that was read under it stays true until the transaction ends.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/rel.h"
#include "utils/timestamp.h"

#include "catalog/event.h"
#include "catalog/migration.h"
#include "catalog/sync_rule.h"
#include "util/spi.h"

static const char *const state_names[] = {
	[ZDM_EXPANDED] = "expanded",
	[ZDM_READY] = "ready",
	[ZDM_CONTRACTED] = "contracted",
	[ZDM_FINISHED] = "finished",
	[ZDM_ROLLED_BACK] = "rolled_back",
};

#define SELECT_MIGRATION \
	"SELECT id, name, pattern, strategy, relation, old_columns, new_columns," \
	" state, quarantine_until FROM zdm.migration "
#define IN_FLIGHT "state IN ('expanded', 'ready', 'contracted')"

/* The columns of zdm.migration that zdm_migration_scan() reads. */
enum
{
	COL_ID = 1,
	COL_NAME = 2,
	COL_STATE = 8
};

static ZdmState state_from_name(const char *name);
static List *select_migrations(const char *sql, int nargs, ZdmArg *args);
static ZdmMigration *row_to_migration(MemoryContext cxt, uint64 row);

const char *
zdm_state_name(ZdmState state)
{
	return state_names[state];
}

static ZdmState
state_from_name(const char *name)
{
	for (int i = 0; i < (int) lengthof(state_names); i++)
		if (strcmp(state_names[i], name) == 0)
			return (ZdmState) i;
	elog(ERROR, "unknown migration state \"%s\"", name);
}

/*
 * Store a new migration; fills in its id.
 */
void
zdm_migration_insert(ZdmMigration *migration)
{
	ZdmIdentity saved;
	bool		isnull;

	zdm_catalog_begin(&saved);
	zdm_execute(SPI_OK_INSERT_RETURNING,
				"INSERT INTO zdm.migration"
				" (name, pattern, strategy, relation, old_columns, new_columns)"
				" VALUES ($1, $2, $3, $4, $5, $6) RETURNING id",
				ZDM_ARGS(zdm_arg_name(migration->name),
						 zdm_arg_name(migration->pattern),
						 zdm_arg_name(migration->strategy),
						 ZDM_ARG(REGCLASSOID, ObjectIdGetDatum(migration->relation)),
						 zdm_arg_names(migration->old_columns),
						 zdm_arg_names(migration->new_columns)));
	migration->id = DatumGetInt64(zdm_result(0, 1, &isnull));
	migration->state = ZDM_EXPANDED;
	zdm_catalog_end(&saved);
}

/*
 * The migration of that name that is in flight, or NULL.
 */
ZdmMigration *
zdm_migration_find(const char *name)
{
	List	   *found = select_migrations(SELECT_MIGRATION
										  "WHERE name = $1 AND " IN_FLIGHT,
										  ZDM_ARGS(zdm_arg_name(name)));

	return found ? linitial(found) : NULL;
}

/*
 * The newest migration of that name, in flight or ended, or NULL.
 */
ZdmMigration *
zdm_migration_last(const char *name)
{
	List	   *found = select_migrations(SELECT_MIGRATION
										  "WHERE name = $1 ORDER BY id DESC LIMIT 1",
										  ZDM_ARGS(zdm_arg_name(name)));

	return found ? linitial(found) : NULL;
}

/*
 * The name and state of a migration as the newest snapshot has them, without
 * a privilege check: for the trigger, which fires for any writer in any
 * transaction.
 */
void
zdm_migration_scan(int64 id, char **name, ZdmState *state)
{
	Relation	rel = table_open(zdm_catalog_table("migration"), AccessShareLock);
	TupleDesc	desc = RelationGetDescr(rel);
	SysScanDesc scan;
	ScanKeyData key;
	HeapTuple	tuple;
	bool		isnull;

	ScanKeyInit(&key, COL_ID, BTEqualStrategyNumber, F_INT8EQ,
				Int64GetDatum(id));
	scan = systable_beginscan(rel, zdm_catalog_table("migration_pkey"), true,
							  NULL, 1, &key);
	tuple = systable_getnext(scan);
	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "zdm migration " INT64_FORMAT " does not exist", id);
	*name = pstrdup(NameStr(*DatumGetName(heap_getattr(tuple, COL_NAME, desc, &isnull))));
	*state = state_from_name(NameStr(*DatumGetName(heap_getattr(tuple, COL_STATE, desc, &isnull))));
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
}

/*
 * The migrations in flight on a table.
 */
List *
zdm_migrations_on(Oid relid)
{
	return select_migrations(SELECT_MIGRATION
							 "WHERE relation = $1 AND " IN_FLIGHT " ORDER BY id",
							 ZDM_ARGS(ZDM_ARG(REGCLASSOID, ObjectIdGetDatum(relid))));
}

List *
zdm_migrations_in_flight(void)
{
	return select_migrations(SELECT_MIGRATION "WHERE " IN_FLIGHT " ORDER BY id",
							 0, NULL);
}

static List *
select_migrations(const char *sql, int nargs, ZdmArg *args)
{
	MemoryContext cxt = CurrentMemoryContext;
	ZdmIdentity saved;
	List	   *result = NIL;
	uint64		rows;
	ListCell   *lc;

	zdm_catalog_begin(&saved);
	rows = zdm_execute(SPI_OK_SELECT, sql, nargs, args);
	for (uint64 row = 0; row < rows; row++)
	{
		ZdmMigration *migration = row_to_migration(cxt, row);
		MemoryContext old = MemoryContextSwitchTo(cxt);

		result = lappend(result, migration);
		MemoryContextSwitchTo(old);
	}
	zdm_catalog_end(&saved);
	foreach(lc, result)
	{
		ZdmMigration *migration = lfirst(lc);

		migration->rules = zdm_sync_rules_of(migration->id);
	}
	return result;
}

static ZdmMigration *
row_to_migration(MemoryContext cxt, uint64 row)
{
	MemoryContext old = MemoryContextSwitchTo(cxt);
	ZdmMigration *migration = palloc0_object(ZdmMigration);
	bool		isnull;
	Datum		until;

	migration->id = DatumGetInt64(zdm_result(row, 1, &isnull));
	migration->name = zdm_result_text(cxt, row, 2);
	migration->pattern = zdm_result_text(cxt, row, 3);
	migration->strategy = zdm_result_text(cxt, row, 4);
	migration->relation = DatumGetObjectId(zdm_result(row, 5, &isnull));
	migration->old_columns = zdm_strings_from_array(zdm_result(row, 6, &isnull));
	migration->new_columns = zdm_strings_from_array(zdm_result(row, 7, &isnull));
	migration->state = state_from_name(zdm_result_text(cxt, row, 8));
	until = zdm_result(row, 9, &isnull);
	migration->quarantine_until = isnull ? 0 : DatumGetTimestampTz(until);
	MemoryContextSwitchTo(old);
	return migration;
}

/*
 * The state alone, cheap enough for every batch.
 */
ZdmState
zdm_migration_state(int64 id)
{
	MemoryContext cxt = CurrentMemoryContext;
	ZdmIdentity saved;
	ZdmState	state = ZDM_ROLLED_BACK;

	zdm_catalog_begin(&saved);
	if (zdm_execute(SPI_OK_SELECT, "SELECT state FROM zdm.migration WHERE id = $1",
					ZDM_ARGS(ZDM_ARG(INT8OID, Int64GetDatum(id)))) > 0)
		state = state_from_name(zdm_result_text(cxt, 0, 1));
	zdm_catalog_end(&saved);
	return state;
}

/*
 * Enter a state: forgets the last error, logs the event, and makes every
 * backend compile the sync rules anew.
 */
void
zdm_migration_set_state(ZdmMigration *migration, ZdmState state)
{
	ZdmIdentity saved;

	zdm_catalog_begin(&saved);
	zdm_execute(SPI_OK_UPDATE,
				"UPDATE zdm.migration SET state = $2, last_error = NULL,"
				" waiting_for = NULL, waiting_since = NULL,"
				" changed_at = pg_catalog.clock_timestamp() WHERE id = $1",
				ZDM_ARGS(ZDM_ARG(INT8OID, Int64GetDatum(migration->id)),
						 zdm_arg_name(zdm_state_name(state))));
	zdm_catalog_end(&saved);
	migration->state = state;
	zdm_event(migration, "info", zdm_state_name(state), NULL);
	zdm_sync_rules_changed(migration->relation);
}

void
zdm_migration_set_quarantine(ZdmMigration *migration, TimestampTz until)
{
	ZdmIdentity saved;

	zdm_catalog_begin(&saved);
	zdm_execute(SPI_OK_UPDATE,
				"UPDATE zdm.migration SET quarantine_until = $2 WHERE id = $1",
				ZDM_ARGS(ZDM_ARG(INT8OID, Int64GetDatum(migration->id)),
						 ZDM_ARG(TIMESTAMPTZOID, TimestampTzGetDatum(until))));
	zdm_catalog_end(&saved);
	migration->quarantine_until = until;
}

/* Keep (or, with NULL, clear) what stopped the migration last. */
void
zdm_migration_set_error(int64 id, const char *error)
{
	ZdmIdentity saved;

	zdm_catalog_begin(&saved);
	zdm_execute(SPI_OK_UPDATE,
				"UPDATE zdm.migration SET last_error = $2 WHERE id = $1",
				ZDM_ARGS(ZDM_ARG(INT8OID, Int64GetDatum(id)), zdm_arg_text(error)));
	zdm_catalog_end(&saved);
}

/*
 * Say what the migration waits for, NULL for nothing.  Returns whether that
 * is news.
 */
bool
zdm_migration_set_waiting(int64 id, const char *waiting_for)
{
	ZdmIdentity saved;
	uint64		changed;

	zdm_catalog_begin(&saved);
	changed = zdm_execute(SPI_OK_UPDATE,
						  "UPDATE zdm.migration SET waiting_for = $2,"
						  " waiting_since = CASE WHEN $2 IS NOT NULL"
						  " THEN coalesce(waiting_since, pg_catalog.clock_timestamp()) END"
						  " WHERE id = $1 AND waiting_for IS DISTINCT FROM $2",
						  ZDM_ARGS(ZDM_ARG(INT8OID, Int64GetDatum(id)),
								   zdm_arg_text(waiting_for)));
	zdm_catalog_end(&saved);
	return changed > 0;
}
