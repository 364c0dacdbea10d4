-- The states of a migration, and which call leads from which to which.

SELECT no_plan();
SET client_min_messages = warning;

CREATE TABLE users (id integer PRIMARY KEY, name text NOT NULL DEFAULT 'nobody');
INSERT INTO users SELECT i, 'row ' || i FROM generate_series(1, 100) i;

PREPARE state AS SELECT state::text COLLATE "default" FROM zdm.status WHERE migration = 'm';
CREATE FUNCTION refused(call text, code text, description text) RETURNS text LANGUAGE sql AS
    $$ SELECT throws_ok('SELECT ' || call, code, NULL, description) $$;
-- the call that zdm.status names next
CREATE FUNCTION next_is(command text) RETURNS text LANGUAGE sql AS
    $$ SELECT is(next_command, command, 'next: ' || command) FROM zdm.status WHERE migration = 'm' $$;

-- to finished, without a quarantine
SELECT is(zdm.rename_column('users', 'name', 'full_name', migration => 'm'), 'm', 'expand returns the name');
SELECT results_eq('state', ARRAY['expanded']);
SELECT next_is('SELECT zdm.start(''m'')');
SELECT has_column('users', 'full_name');
SELECT has_trigger('users', '~zdm_sync');
SELECT trigger_is('public', 'users', '~zdm_sync', 'zdm', '_sync_row');
SELECT is(zdm.rename_column('users', 'name', 'full_name', migration => 'm'), 'm', 'expand again is the same');
SELECT refused($$zdm.rename_column('users', 'id', 'key', migration => 'm')$$, '42710', 'another of that name');
SELECT refused($$zdm.contract('m')$$, '55000', 'expanded: no contract');
SELECT refused($$zdm.finish('m')$$, '55000', 'expanded: no finish');
SELECT throws_ok($$CALL zdm.backfill('m')$$, '2D000', NULL, 'no backfill where it cannot commit');

CALL zdm.backfill('m');
SELECT results_eq('state', ARRAY['ready']);
SELECT next_is('SELECT zdm.contract(''m'')');
SELECT results_eq($$SELECT rows_compared, mismatches FROM zdm.verify('m')$$, $$VALUES (100::bigint, 0::bigint)$$);
SELECT results_eq('SELECT count(*) FROM users WHERE name = full_name', ARRAY[100::bigint]);
SELECT refused($$zdm.finish('m')$$, '55000', 'ready: no finish');
CALL zdm.backfill('m');
SELECT results_eq('state', ARRAY['ready'], 'backfill again is the same');

SELECT is(zdm.contract('m'), 'finished', 'contract ends it');
SELECT is_empty('state');
SELECT columns_are('users', ARRAY['id', 'full_name']);
SELECT hasnt_trigger('users', '~zdm_sync');
SELECT col_not_null('users', 'full_name');
SELECT col_default_is('users', 'full_name', 'nobody');
SELECT refused(format('zdm.%s(''m'')', f), '55000', 'finished: no ' || f) FROM unnest(ARRAY['contract', 'finish', 'rollback', 'verify']) f;

-- to finished, through a quarantine
SELECT lives_ok($$SELECT zdm.rename_column('users', 'full_name', 'name', migration => 'm')$$, 'the name is free again');
CALL zdm.backfill('m');
SELECT is(zdm.contract('m', '1 day'), 'contracted', 'contract with a quarantine');
SELECT results_eq('state', ARRAY['contracted']);
SELECT next_is('SELECT zdm.finish(''m'')');
SELECT columns_are('users', ARRAY['id', 'name', 'full_name']);
SELECT has_trigger('users', '~zdm_sync');
SELECT col_not_null('users', 'name', 'the original has the new name');
SELECT col_is_null('users', 'full_name', 'the copy has the old one');
SELECT refused($$zdm.finish('m')$$, '55000', 'the quarantine is not over');
SELECT refused($$zdm.contract('m')$$, '55000', 'contracted already');
SELECT throws_ok($$CALL zdm.backfill('m')$$, '2D000');
SELECT is(zdm.contract('m', '1 microsecond'), 'contracted', 'its end is moved');
SELECT is(zdm.finish('m'), 'finished', 'finish');
SELECT is_empty('state');
SELECT columns_are('users', ARRAY['id', 'name']);
SELECT hasnt_trigger('users', '~zdm_sync');

-- to rolled_back, from each state
SELECT zdm.rename_column('users', 'name', 'full_name', migration => 'm') \g /dev/null
SELECT is(zdm.rollback('m'), 'rolled_back', 'from expanded');
SELECT zdm.rename_column('users', 'name', 'full_name', migration => 'm') \g /dev/null
CALL zdm.backfill('m');
SELECT is(zdm.rollback('m'), 'rolled_back', 'from ready');
SELECT zdm.rename_column('users', 'name', 'full_name', migration => 'm') \g /dev/null
CALL zdm.backfill('m');
SELECT zdm.contract('m', '1 day') \g /dev/null
SELECT is(zdm.rollback('m'), 'rolled_back', 'from contracted');
SELECT is_empty('state');
SELECT columns_are('users', ARRAY['id', 'name']);
SELECT hasnt_trigger('users', '~zdm_sync');
SELECT refused($$zdm.rollback('m')$$, '55000', 'rolled back already');
SELECT results_eq('SELECT count(*) FROM users WHERE name = ''row '' || id', ARRAY[100::bigint], 'and no row is another');

-- the errors' codes
SELECT refused($$zdm.rollback('nope')$$, '42704', 'no such migration');
SELECT refused($$zdm.rename_column('users', 'nope', 'x')$$, '42703', 'no such column');
SELECT refused($$zdm.rename_column('nope', 'name', 'x')$$, '42P01', 'no such table');
SELECT refused($$zdm.rename_column('users', 'name', 'id')$$, '42701', 'name taken');
SELECT refused($$zdm.rename_column('users', 'name', 'x', strategy => 'magic')$$, '22023', 'no such strategy');
SELECT refused($$zdm.rename_column('users', NULL, 'x')$$, '22004', 'NULL argument');
SELECT refused(format('zdm.%s(NULL)', f), '22004', 'NULL argument of ' || f) FROM unnest(ARRAY['contract', 'finish', 'rollback', 'verify', 'explain']) f;
SELECT refused($$zdm.rename_column('pg_class', 'relname', 'x')$$, '0A000', 'system table');
CREATE VIEW a_view AS SELECT * FROM users;
SELECT refused($$zdm.rename_column('a_view', 'name', 'x')$$, '0A000', 'view');
SELECT zdm.rename_column('users', 'name', 'full_name', migration => 'm') \g /dev/null
CALL zdm.backfill('m');
SELECT refused($$zdm.rename_column('users', 'name', 'other')$$, '55006', 'column in another migration');
SELECT throws_ok('ALTER TABLE users RENAME COLUMN full_name TO other', '55006', NULL, 'guarded');
CREATE INDEX users_full_name ON users (full_name);
SELECT refused($$zdm.contract('m')$$, '2BP01', 'something is attached');
DROP INDEX users_full_name;

-- the record
SELECT set_eq($$SELECT DISTINCT state::text COLLATE "default" FROM zdm.steps WHERE state NOT IN ('done', 'pending')$$, ARRAY[]::text[], 'no step failed or was left in the middle');
SELECT results_eq($$SELECT event::text COLLATE "default" FROM zdm.events WHERE migration_id = (SELECT min(migration_id) FROM zdm.events) ORDER BY id$$,
                  ARRAY['expanding', 'expanded', 'backfilling', 'ready', 'finished'], 'each state was logged');
SELECT results_eq($$SELECT DISTINCT phase::text COLLATE "default" FROM zdm.steps ORDER BY 1$$,
                  ARRAY['contract', 'expand', 'finish', 'migrate', 'rollback']);

SELECT * FROM finish();
