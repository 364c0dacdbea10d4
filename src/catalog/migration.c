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
#include "access/xlog.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/timestamp.h"

#include "catalog/event.h"
#include "catalog/migration.h"
#include "catalog/mirror_rule.h"
#include "catalog/rule.h"
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
	" state, quarantine_until, coalesce(workers, 0), paused," \
	" last_error IS NOT NULL, throttle, throttle_role, throttle_role_id, throttle_cluster, fire_user_triggers, build_indexes, trigger_off," \
	" others::pg_catalog.oid[]," \
	" (SELECT pg_catalog.array_agg(e.key ORDER BY e.key) FROM pg_catalog.jsonb_each_text(arguments) e)," \
	" (SELECT pg_catalog.array_agg(e.value ORDER BY e.key) FROM pg_catalog.jsonb_each_text(arguments) e)" \
	" FROM zdm.migration "
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
static ZdmArg relations_arg(List *relids);
static Oid	throttle_role(uint64 row, int first);
static void keep_text(ZdmMigration *migration, char **kept, int column);
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
	List	   *names = NIL;
	List	   *values = NIL;
	ZdmIdentity saved;
	bool		isnull;
	ListCell   *lc;

	foreach(lc, migration->arguments)
	{
		ZdmArgument *argument = lfirst(lc);

		names = lappend(names, argument->name);
		values = lappend(values, argument->value);
	}
	zdm_catalog_begin(&saved);
	zdm_execute(SPI_OK_INSERT_RETURNING,
				"INSERT INTO zdm.migration"
				" (name, pattern, strategy, relation, old_columns, new_columns,"
				" build_indexes, others, arguments)"
				" VALUES ($1, $2, $3, $4, $5, $6, $7, $8::pg_catalog.regclass[],"
				" pg_catalog.jsonb_object($9, $10)) RETURNING id",
				ZDM_ARGS(zdm_arg_name(migration->name),
						 zdm_arg_name(migration->pattern),
						 zdm_arg_name(migration->strategy),
						 ZDM_ARG(REGCLASSOID, ObjectIdGetDatum(migration->relation)),
						 zdm_arg_names(migration->old_columns),
						 zdm_arg_names(migration->new_columns),
						 ZDM_ARG(BOOLOID, BoolGetDatum(migration->build_indexes)),
						 relations_arg(migration->others),
						 zdm_arg_texts(names), zdm_arg_texts(values)));
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

static ZdmArg
relations_arg(List *relids)
{
	Datum	   *elems = palloc_array(Datum, list_length(relids) + 1);
	ListCell   *lc;

	foreach(lc, relids)
		elems[foreach_current_index(lc)] = ObjectIdGetDatum(lfirst_oid(lc));
	return ZDM_ARG(OIDARRAYOID,
				   PointerGetDatum(construct_array(elems, list_length(relids), OIDOID,
												   sizeof(Oid), true, TYPALIGN_INT)));
}

/*
 * The migrations in flight that work on a table.
 */
List *
zdm_migrations_on(Oid relid)
{
	return select_migrations(SELECT_MIGRATION
							 "WHERE (relation = $1 OR $1 = ANY (others)) AND " IN_FLIGHT " ORDER BY id",
							 ZDM_ARGS(ZDM_ARG(REGCLASSOID, ObjectIdGetDatum(relid))));
}

/*
 * The migration of that number, in flight or ended, or NULL.
 */
ZdmMigration *
zdm_migration_by_id(int64 id)
{
	List	   *found = select_migrations(SELECT_MIGRATION "WHERE id = $1",
										  ZDM_ARGS(ZDM_ARG(INT8OID, Int64GetDatum(id))));

	return found ? linitial(found) : NULL;
}

/*
 * The migrations that are to be run by background workers, and that nothing
 * keeps from it: whether they have their workers is not looked at.
 */
List *
zdm_migrations_queued(void)
{
	return select_migrations(SELECT_MIGRATION "WHERE state = 'expanded'"
							 " AND workers IS NOT NULL AND NOT paused"
							 " AND last_error IS NULL ORDER BY id",
							 0, NULL);
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
		migration->mirrors = zdm_mirror_rules_of(migration->id);
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
	migration->workers = DatumGetInt32(zdm_result(row, 10, &isnull));
	migration->paused = DatumGetBool(zdm_result(row, 11, &isnull));
	migration->failed = DatumGetBool(zdm_result(row, 12, &isnull));
	migration->throttle = zdm_result_text(cxt, row, 13);
	migration->throttle_name = zdm_result_text(cxt, row, 14);
	migration->throttle_role = throttle_role(row, 14);
	migration->fire_user_triggers = DatumGetBool(zdm_result(row, 17, &isnull));
	migration->build_indexes = DatumGetBool(zdm_result(row, 18, &isnull));
	migration->trigger_off = DatumGetBool(zdm_result(row, 19, &isnull));
	migration->others = zdm_oids_from_array(zdm_result(row, 20, &isnull));
	migration->arguments = zdm_arguments_read(row, 21, 22);
	MemoryContextSwitchTo(old);
	return migration;
}

/*
 * Who gave the throttle query.  first: the first of its three columns.
 */
static Oid
throttle_role(uint64 row, int first)
{
	char	   *name = zdm_result_text(CurrentMemoryContext, row, first);
	bool		isnull;
	Datum		cluster = zdm_result(row, first + 2, &isnull);

	if (!isnull && DatumGetUInt64(cluster) == GetSystemIdentifier())
		return (Oid) DatumGetInt64(zdm_result(row, first + 1, &isnull));
	return name != NULL ? get_role_oid(name, true) : InvalidOid;
}

/*
 * Bring a text of the migration's, which lives as long as that, up to date.
 */
static void
keep_text(ZdmMigration *migration, char **kept, int column)
{
	char	   *now = zdm_result_text(CurrentMemoryContext, 0, column);

	if (now == NULL)
		*kept = NULL;
	else if (*kept == NULL || strcmp(*kept, now) != 0)
		*kept = MemoryContextStrdup(GetMemoryChunkContext(migration), now);
}

/*
 * Read again what others may have changed, cheap enough for every batch.
 * Returns false where the migration is gone.
 */
bool
zdm_migration_refresh(ZdmMigration *migration)
{
	static SPIPlanPtr plan = NULL;
	ZdmIdentity saved;
	bool		isnull,
				found;

	zdm_catalog_begin(&saved);
	found = zdm_execute_kept(&plan, SPI_OK_SELECT,
							 "SELECT state, paused, coalesce(workers, 0), throttle, throttle_role, throttle_role_id, throttle_cluster"
							 " FROM zdm.migration WHERE id = $1",
							 ZDM_ARGS(ZDM_ARG(INT8OID, Int64GetDatum(migration->id)))) > 0;
	if (found)
	{
		migration->state =
			state_from_name(NameStr(*DatumGetName(zdm_result(0, 1, &isnull))));
		migration->paused = DatumGetBool(zdm_result(0, 2, &isnull));
		migration->workers = DatumGetInt32(zdm_result(0, 3, &isnull));
		keep_text(migration, &migration->throttle, 4);
		keep_text(migration, &migration->throttle_name, 5);
		migration->throttle_role = throttle_role(0, 5);
	}
	zdm_catalog_end(&saved);
	return found;
}

/*
 * Enter a state: forgets the last error, logs the event, and makes every
 * backend compile the sync rules anew.
 */
void
zdm_migration_set_state(ZdmMigration *migration, ZdmState state)
{
	ZdmIdentity saved;
	ListCell   *lc;

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
	zdm_rules_changed(migration->relation);
	foreach(lc, migration->others)
		zdm_rules_changed(lfirst_oid(lc));
}

/*
 * The further relations that it works on from now on.
 */
void
zdm_migration_set_others(ZdmMigration *migration, List *others)
{
	ZdmIdentity saved;

	zdm_catalog_begin(&saved);
	zdm_execute(SPI_OK_UPDATE,
				"UPDATE zdm.migration SET others = $2::pg_catalog.regclass[] WHERE id = $1",
				ZDM_ARGS(ZDM_ARG(INT8OID, Int64GetDatum(migration->id)),
						 relations_arg(others)));
	zdm_catalog_end(&saved);
	migration->others = others;
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

/* What stopped the migration last, or NULL. */
char *
zdm_migration_error(int64 id)
{
	MemoryContext cxt = CurrentMemoryContext;
	ZdmIdentity saved;
	char	   *error = NULL;

	zdm_catalog_begin(&saved);
	if (zdm_execute(SPI_OK_SELECT,
					"SELECT last_error FROM zdm.migration WHERE id = $1",
					ZDM_ARGS(ZDM_ARG(INT8OID, Int64GetDatum(id)))) > 0)
		error = zdm_result_text(cxt, 0, 1);
	zdm_catalog_end(&saved);
	return error;
}

/*
 * Have the migration run by background workers; what stopped it before is
 * forgotten.
 */
void
zdm_migration_order(ZdmMigration *migration, ZdmOrder *order)
{
	ZdmIdentity saved;

	zdm_catalog_begin(&saved);
	zdm_execute(SPI_OK_UPDATE,
				"UPDATE zdm.migration SET workers = $2, paused = false,"
				" last_error = NULL, fire_user_triggers = $3,"
				" throttle = CASE WHEN $4 IS NULL THEN throttle"
				" ELSE nullif($4, '') END,"
				" throttle_role = CASE WHEN $4 IS NULL THEN throttle_role"
				" WHEN $4 <> '' THEN $5 END,"
				" throttle_role_id = CASE WHEN $4 IS NULL THEN throttle_role_id"
				" WHEN $4 <> '' THEN $6 END,"
				" throttle_cluster = CASE WHEN $4 IS NULL THEN throttle_cluster"
				" WHEN $4 <> '' THEN $7 END WHERE id = $1",
				ZDM_ARGS(ZDM_ARG(INT8OID, Int64GetDatum(migration->id)),
						 ZDM_ARG(INT4OID, Int32GetDatum(order->workers)),
						 ZDM_ARG(BOOLOID, BoolGetDatum(order->fire_user_triggers)),
						 zdm_arg_text(order->throttle),
						 zdm_arg_text(GetUserNameFromId(order->throttle_role, true)),
						 ZDM_ARG(INT8OID, Int64GetDatum((int64) order->throttle_role)),
						 ZDM_ARG(INT8OID, UInt64GetDatum(GetSystemIdentifier()))));
	zdm_catalog_end(&saved);
	migration->workers = order->workers;
	migration->paused = false;
	migration->failed = false;
}

void
zdm_migration_set_paused(ZdmMigration *migration, bool paused)
{
	ZdmIdentity saved;

	zdm_catalog_begin(&saved);
	zdm_execute(SPI_OK_UPDATE,
				"UPDATE zdm.migration SET paused = $2 WHERE id = $1",
				ZDM_ARGS(ZDM_ARG(INT8OID, Int64GetDatum(migration->id)),
						 ZDM_ARG(BOOLOID, BoolGetDatum(paused))));
	zdm_catalog_end(&saved);
	migration->paused = paused;
	zdm_event(migration, "info", paused ? "paused" : "resumed", NULL);
}

/*
 * Remember that a table was not kept in sync, up to the time when it is again.
 */
void
zdm_migration_set_trigger_off(ZdmMigration *migration, bool off)
{
	ZdmIdentity saved;

	zdm_catalog_begin(&saved);
	zdm_execute(SPI_OK_UPDATE,
				"UPDATE zdm.migration SET trigger_off = $2 WHERE id = $1",
				ZDM_ARGS(ZDM_ARG(INT8OID, Int64GetDatum(migration->id)),
						 ZDM_ARG(BOOLOID, BoolGetDatum(off))));
	zdm_catalog_end(&saved);
	migration->trigger_off = off;
}

/*
 * Note how far the backfill is now, at most once in two seconds, and forget
 * what is older than ten: zdm.progress computes the rate from it.  Does not
 * wait for another loop that notes the same.
 */
void
zdm_migration_sample(int64 id)
{
	ZdmIdentity saved;

	zdm_catalog_begin(&saved);
	zdm_execute(SPI_OK_UPDATE,
				"UPDATE zdm.migration m SET"
				" sampled_at = m.sampled_at[k.first:] || pg_catalog.clock_timestamp(),"
				" sampled_rows = m.sampled_rows[k.first:] || r.rows,"
				" sampled_blocks = m.sampled_blocks[k.first:] || r.blocks"
				" FROM (SELECT o.id, o.sampled_at FROM zdm.migration o"
				" WHERE o.id = $1 AND coalesce(o.sampled_at[pg_catalog.cardinality(o.sampled_at)]"
				" < pg_catalog.clock_timestamp() - '2 s'::interval, true)"
				" FOR UPDATE SKIP LOCKED) l,"
				" LATERAL (SELECT pg_catalog.count(*) FILTER (WHERE s.at"
				" < pg_catalog.clock_timestamp() - '10 s'::interval)::int + 1 AS first"
				" FROM pg_catalog.unnest(l.sampled_at) s(at)) k,"
				" (SELECT coalesce(pg_catalog.sum(b.rows_done), 0)::bigint AS rows,"
				" coalesce(pg_catalog.sum(b.next_block - b.first_block), 0)::bigint AS blocks"
				" FROM zdm.backfill_range b WHERE b.migration_id = $1) r"
				" WHERE m.id = l.id",
				ZDM_ARGS(ZDM_ARG(INT8OID, Int64GetDatum(id))));
	zdm_catalog_end(&saved);
}

/*
 * How far it has come, as a line for people: what zdm.progress shows to the
 * current user, who may not see everything of those it waits for.
 */
char *
zdm_migration_progress(const char *name)
{
	static const char *const sql =
		"SELECT pg_catalog.format('%s of %s blocks (%s %%), %s rows visited, %s rows/s%s%s',"
		" p.blocks_done, p.blocks_total,"
		" coalesce(pg_catalog.floor(100.0 OPERATOR(pg_catalog.*) p.blocks_done"
		" OPERATOR(pg_catalog./) nullif(p.blocks_total, 0)), 100),"
		" p.rows_done, coalesce(p.rows_per_second, 0),"
		" ', ' OPERATOR(pg_catalog.||) pg_catalog.date_trunc('second', p.eta)::pg_catalog.text OPERATOR(pg_catalog.||) ' left',"
		" ', waits for ' OPERATOR(pg_catalog.||) p.waiting_for)"
		" FROM zdm.progress p WHERE p.migration OPERATOR(pg_catalog.=) $1";
	List	   *lines = zdm_query_strings(sql, ZDM_ARGS(zdm_arg_name(name)));

	return lines ? linitial(lines) : pstrdup("no progress is known");
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
