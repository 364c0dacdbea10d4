/*
 * The functions.  None is SECURITY DEFINER: each checks that the caller owns
 * the table, acts with the caller's rights on it, and takes the catalog
 * owner's for zdm's own tables alone, inside the library.
 *
 * Their search_path is pinned here, but for some that pin it inside: backfill
 * and wait (a SET clause would take their right to commit), explain, _sync_columns
 * and the patterns of 31_column_functions.sql and 32_type_functions.sql with
 * expressions in their arguments (these are the user's, resolved under his path
 * once and stored qualified), _guard_start (which looks up the user's table by
 * it), and _sync_row (once per compilation instead of once per row).
 */

-- patterns

CREATE FUNCTION zdm.rename_column(
    relation regclass, old_name name, new_name name,
    strategy text DEFAULT 'dual_write', migration text DEFAULT NULL)
RETURNS text LANGUAGE c VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'zdm_rename_column';
COMMENT ON FUNCTION zdm.rename_column(regclass, name, name, text, text) IS
'expand: gives column old_name of a table the second name new_name, both readable and writable and in sync; returns the migration''s name (argument migration, by default rename_TABLE_OLD_to_NEW). strategy: dual_write (a second column) or view (a view in the table''s place). Errors: not the owner, no such column, name taken, column in another migration, kinds of tables and columns that cannot be renamed so (each with the way out), lock not had within zdm.lock_patience (55P03)';

CREATE FUNCTION zdm._sync_columns(
    relation regclass, old_columns name[], new_columns name[],
    up text[], down text[], migration text)
RETURNS text LANGUAGE c VOLATILE PARALLEL UNSAFE STRICT
AS 'MODULE_PATHNAME', 'zdm__sync_columns';
COMMENT ON FUNCTION zdm._sync_columns(regclass, name[], name[], text[], text[], text) IS
'internal: keeps columns that exist already in sync by expressions: up has one for each of new_columns, down one for each of old_columns. Contract and rollback remove the rule and leave the columns';

-- life cycle

CREATE FUNCTION zdm.start(
    migration text, workers integer DEFAULT NULL, throttle text DEFAULT NULL)
RETURNS text LANGUAGE c VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'zdm_start';
COMMENT ON FUNCTION zdm.start(text, integer, text) IS
'migrate, in the background: brings the rows that existed before expand into the new shape, builds the indexes of second columns, verifies, and ends with the migration ready, in that many background workers (1 to 64, default zdm.backfill_workers). May be called inside a transaction: they begin when it commits. throttle: a query that returns one boolean, true to wait; it is run once a second, as the table''s owner; an empty one takes it away. On a migration that has failed or is paused it goes on. Returns the state. Errors: wrong state, the query fails; a WARNING where no background worker is free: then any later call of zdm starts it';

CREATE FUNCTION zdm.pause(migration text)
RETURNS text LANGUAGE c VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'zdm_pause';
COMMENT ON FUNCTION zdm.pause(text) IS
'stops the backfill of a migration, in the background or in a session, within one batch, until zdm.resume; survives a restart. An index build under way is given up and begun again later. Both versions stay in sync. Returns the state. Errors: nothing to pause';

CREATE FUNCTION zdm.resume(migration text)
RETURNS text LANGUAGE c VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'zdm_resume';
COMMENT ON FUNCTION zdm.resume(text) IS
'ends a pause: the background workers go on when the transaction commits. Returns the state';

CREATE PROCEDURE zdm.wait(migration text, timeout interval DEFAULT '1 hour')
LANGUAGE c
AS 'MODULE_PATHNAME', 'zdm_wait';
COMMENT ON PROCEDURE zdm.wait(text, interval) IS
'returns when the migration is ready, for a deployment''s pipeline. Holds no snapshot and no lock while it waits. Errors: failed (with the reason), paused, nobody runs it, not ready in time (55P03); inside a transaction block or function';

CREATE PROCEDURE zdm.backfill(migration text)
LANGUAGE c
AS 'MODULE_PATHNAME', 'zdm_backfill';
COMMENT ON PROCEDURE zdm.backfill(text) IS
'migrate, in the foreground: brings the rows that existed before expand into the new shape in batches of zdm.batch_target ms with a commit after each, has a background worker build the indexes of second columns, verifies, and ends with the migration ready. May be cancelled and called again; several calls share the work. Errors: inside a transaction block or function, wrong state, rows that could not be converted (their keys are in zdm.events)';

CREATE FUNCTION zdm.verify(
    migration text,
    OUT "check" text, OUT relation regclass, OUT rows_compared bigint,
    OUT mismatches bigint, OUT sample text[])
RETURNS SETOF record LANGUAGE c VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'zdm_verify';
COMMENT ON FUNCTION zdm.verify(text) IS
'compares the old and the new shape of every row: one result row a check and table, with the number of rows compared, of rows that differ, and the keys (primary key, else ctid) of the first ten of them. Of two tables in sync the rows of either are looked at';

CREATE FUNCTION zdm.contract(migration text, quarantine interval DEFAULT NULL)
RETURNS text LANGUAGE c VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'zdm_contract';
COMMENT ON FUNCTION zdm.contract(text, interval) IS
'makes the new shape the real one, in one short transaction; returns the state that follows: finished, or with a quarantine (default zdm.quarantine) contracted: the old shape is then kept in sync for that time and rollback loses nothing. On a contracted migration it moves the end of the quarantine, 0 ends it now. Errors: not ready, other objects depend on what would go (listed), lock not had (55P03)';

CREATE FUNCTION zdm.finish(migration text)
RETURNS text LANGUAGE c VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'zdm_finish';
COMMENT ON FUNCTION zdm.finish(text) IS
'drops the old shape after the quarantine; irreversible. Returns the state, finished. Errors: not contracted, quarantine not over, other objects depend on what would go (listed), lock not had (55P03)';

CREATE FUNCTION zdm.rollback(migration text)
RETURNS text LANGUAGE c VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'zdm_rollback';
COMMENT ON FUNCTION zdm.rollback(text) IS
'takes a migration that is not finished back to the old shape, without losing what either version wrote. Returns the state, rolled_back. Errors: ended already, other objects depend on what would go (listed), lock not had (55P03)';

CREATE FUNCTION zdm.explain(
    call text,
    OUT phase text, OUT step integer, OUT description text, OUT sql text,
    OUT lock_mode text, OUT blocks text, OUT duration text,
    OUT rows bigint, OUT bytes bigint)
RETURNS SETOF record LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'zdm_explain';
COMMENT ON FUNCTION zdm.explain(text) IS
'dry run of a zdm call given as text, for example $$zdm.rename_column(''users'', ''name'', ''full_name'')$$: its steps with phase, SQL, lock mode, what that blocks and for how long, the rows and bytes (estimates) it touches, and in rows of phase note what will not work meanwhile. Changes nothing and takes no lock above ACCESS SHARE';

-- internal

CREATE FUNCTION zdm._sync_row() RETURNS trigger LANGUAGE c
AS 'MODULE_PATHNAME', 'zdm__sync_row';
COMMENT ON FUNCTION zdm._sync_row() IS
'internal: the trigger ~zdm_sync, which applies the sync rules of a table to the row that is written';

CREATE FUNCTION zdm._skip_applied() RETURNS trigger LANGUAGE c
SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'zdm__skip_applied';
COMMENT ON FUNCTION zdm._skip_applied() IS
'internal: the trigger skip_applied of zdm''s own tables, which leaves out the rows that a subscription brings';

CREATE FUNCTION zdm._guard() RETURNS event_trigger LANGUAGE c
SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'zdm__guard';
COMMENT ON FUNCTION zdm._guard() IS
'internal: refuses DDL that would break a migration in flight, and notes dropped tables';

CREATE FUNCTION zdm._guard_start() RETURNS event_trigger LANGUAGE c
AS 'MODULE_PATHNAME', 'zdm__guard_start';
COMMENT ON FUNCTION zdm._guard_start() IS
'internal: locks a compatibility view before its table, where the command that begins changes both';
