-- What an installation has: the functions, views and settings that the
-- documentation names, with their arguments, columns and types.

SELECT no_plan();

SELECT has_extension('zdm');
SELECT has_schema('zdm');
SELECT tables_are('zdm', ARRAY['migration', 'step', 'sync_rule', 'mirror_rule', 'mirror_difference', 'backfill_range', 'event']);
SELECT views_are('zdm', ARRAY['status', 'progress', 'steps', 'events']);
SELECT functions_are('zdm', ARRAY[
    'rename_column', 'rename_table',
    'change_column_type', 'split_column', 'merge_columns',
    'add_column', 'set_not_null', 'drop_not_null', 'drop_column', 'drop_table',
    'join_table_to_column', 'column_to_join_table',
    'start', 'pause', 'resume', 'wait', 'backfill', 'verify', 'contract', 'finish', 'rollback', 'explain',
    '_sync_columns', '_sync_row', '_mirror', '_load', '_next_identity', '_guard', '_guard_start', '_skip_applied']);

-- the public functions: arguments with the names a user may write, results
SELECT has_function('zdm', 'rename_column', ARRAY['regclass', 'name', 'name', 'text', 'text']);
SELECT is(pg_get_function_arguments('zdm.rename_column'::regproc),
          'relation regclass, old_name name, new_name name, strategy text DEFAULT ''dual_write''::text, migration text DEFAULT NULL::text',
          'rename_column''s arguments');
SELECT function_returns('zdm', 'rename_column', ARRAY['regclass', 'name', 'name', 'text', 'text'], 'text');
SELECT has_function('zdm', 'split_column', ARRAY['regclass', 'name', 'jsonb', 'text', 'text']);
SELECT is(pg_get_function_arguments('zdm.split_column'::regproc),
          'relation regclass, column_name name, "into" jsonb, down text, migration text DEFAULT NULL::text',
          'split_column''s arguments');
SELECT has_function('zdm', 'merge_columns', ARRAY['regclass', 'name[]', 'name', 'text', 'text', 'jsonb', 'text', 'boolean', 'text']);
SELECT is(pg_get_function_arguments('zdm.merge_columns'::regproc),
          'relation regclass, columns name[], new_name name, new_type text, up text, down jsonb, '
          'default_value text DEFAULT NULL::text, not_null boolean DEFAULT false, migration text DEFAULT NULL::text',
          'merge_columns''s arguments');
SELECT is(pg_get_function_arguments('zdm.add_column'::regproc),
          'relation regclass, column_name name, type text, default_value text DEFAULT NULL::text, not_null boolean DEFAULT false, '
          'fill text DEFAULT NULL::text, generated text DEFAULT NULL::text, migration text DEFAULT NULL::text', 'add_column''s arguments');
SELECT is(pg_get_function_arguments('zdm.set_not_null'::regproc),
          'relation regclass, column_name name, fill text DEFAULT NULL::text, migration text DEFAULT NULL::text', 'set_not_null''s arguments');
SELECT is(pg_get_function_arguments('zdm.drop_not_null'::regproc),
          'relation regclass, column_name name, migration text DEFAULT NULL::text', 'drop_not_null''s arguments');
SELECT has_function('zdm', 'rename_table', ARRAY['regclass', 'text', 'text', 'boolean', 'text', 'text']);
SELECT is(pg_get_function_arguments('zdm.rename_table'::regproc),
          'relation regclass, new_name text, strategy text DEFAULT ''view''::text, rename_owned boolean DEFAULT false, definition text DEFAULT NULL::text, migration text DEFAULT NULL::text',
          'rename_table''s arguments');
SELECT is(pg_get_function_arguments('zdm.drop_column'::regproc),
          'relation regclass, column_name name, fill text DEFAULT NULL::text, migration text DEFAULT NULL::text', 'drop_column''s arguments');
SELECT is(pg_get_function_arguments('zdm.drop_table'::regproc),
          'relation regclass, migration text DEFAULT NULL::text', 'drop_table''s arguments');
SELECT has_function('zdm', 'backfill', ARRAY['text']);
SELECT is_procedure('zdm', 'backfill', ARRAY['text']);
SELECT is(pg_get_function_arguments('zdm.backfill'::regproc), 'IN migration text', 'backfill''s arguments');
SELECT has_function('zdm', 'verify', ARRAY['text']);
SELECT function_returns('zdm', 'verify', ARRAY['text'], 'setof record');
SELECT is(pg_get_function_arguments('zdm.verify'::regproc),
          'migration text, OUT "check" text, OUT relation regclass, OUT rows_compared bigint, OUT mismatches bigint, OUT sample text[]',
          'verify''s arguments and columns');
SELECT is(pg_get_function_arguments('zdm.contract'::regproc),
          'migration text, quarantine interval DEFAULT NULL::interval', 'contract''s arguments');
SELECT function_returns('zdm', 'contract', ARRAY['text', 'interval'], 'text');
SELECT function_returns('zdm', 'finish', ARRAY['text'], 'text');
SELECT function_returns('zdm', 'rollback', ARRAY['text'], 'text');
SELECT is(pg_get_function_arguments('zdm.finish'::regproc), 'migration text', 'finish''s arguments');
SELECT is(pg_get_function_arguments('zdm.rollback'::regproc), 'migration text', 'rollback''s arguments');
SELECT function_returns('zdm', 'explain', ARRAY['text'], 'setof record');
SELECT is(pg_get_function_arguments('zdm.explain'::regproc),
          'call text, OUT phase text, OUT step integer, OUT description text, OUT sql text, OUT lock_mode text, '
          'OUT blocks text, OUT duration text, OUT rows bigint, OUT bytes bigint', 'explain''s arguments and columns');
SELECT is_empty($$SELECT oid::regprocedure FROM pg_proc WHERE pronamespace = 'zdm'::regnamespace
                     AND (prolang <> (SELECT oid FROM pg_language WHERE lanname = 'c') OR provolatile <> CASE proname WHEN '_load' THEN 'i' ELSE 'v' END OR probin <> '$libdir/zdm')$$,
                'all of them are in the library, and volatile');

-- the views: columns in the order the documentation gives
SELECT columns_are('zdm', 'status', ARRAY['migration', 'pattern', 'relation', 'state', 'progress', 'waiting_for', 'last_error',
                                          'quarantine_until', 'next_command', 'created_at']);
SELECT results_eq(
    $$SELECT attname::text COLLATE "default", format_type(atttypid, atttypmod) FROM pg_attribute
       WHERE attrelid = 'zdm.status'::regclass AND attnum > 0 ORDER BY attnum$$,
    $$VALUES ('migration', 'name'), ('pattern', 'name'), ('relation', 'regclass'), ('state', 'name'), ('progress', 'numeric'),
             ('waiting_for', 'text'), ('last_error', 'text'), ('quarantine_until', 'timestamp with time zone'),
             ('next_command', 'text'), ('created_at', 'timestamp with time zone')$$,
    'zdm.status''s columns, in order');
SELECT results_eq(
    $$SELECT attname::text COLLATE "default", format_type(atttypid, atttypmod) FROM pg_attribute
       WHERE attrelid = 'zdm.progress'::regclass AND attnum > 0 ORDER BY attnum$$,
    $$VALUES ('migration', 'name'), ('relation', 'regclass'), ('state', 'name'), ('rows_done', 'bigint'), ('rows_total', 'bigint'),
             ('blocks_done', 'bigint'), ('blocks_total', 'bigint'), ('rows_per_second', 'bigint'), ('eta', 'interval'),
             ('workers', 'integer'), ('batch_blocks', 'integer'), ('waiting_for', 'text'),
             ('waiting_since', 'timestamp with time zone')$$,
    'zdm.progress''s columns, in order');
SELECT has_column('zdm', 'steps', c, 'zdm.steps.' || c) FROM unnest(ARRAY['migration', 'step', 'phase', 'description', 'sql', 'lock_mode', 'relation',
                                                       'state', 'started_at', 'finished_at', 'lock_wait', 'error']) c;
SELECT has_column('zdm', 'events', c, 'zdm.events.' || c) FROM unnest(ARRAY['migration', 'at', 'level', 'event', 'detail', 'role', 'relation']) c;

-- the catalog
SELECT has_pk('zdm', t, t || ' has a key') FROM unnest(ARRAY['migration', 'step', 'sync_rule', 'mirror_rule', 'mirror_difference', 'backfill_range', 'event']) t;
SELECT col_type_is('zdm', t, 'relation', 'pg_catalog', 'regclass', t || '.relation is a regclass')
  FROM unnest(ARRAY['migration', 'step', 'sync_rule', 'backfill_range', 'event']) t;
SELECT col_type_is('zdm', 'mirror_rule', c, 'pg_catalog', 'regclass', 'mirror_rule.' || c || ' is a regclass')
  FROM unnest(ARRAY['first_relation', 'second_relation']) c;
SELECT throws_ok($$INSERT INTO zdm.migration (name, pattern, strategy, relation, old_columns, new_columns, state)
                   VALUES ('m', 'p', 's', 'pg_class', '{}', '{}', 'lost')$$, '23514', NULL, 'a state that is none');
SELECT lives_ok($$INSERT INTO zdm.migration (name, pattern, strategy, relation, old_columns, new_columns, state)
                  VALUES ('m', 'p', 's', 'pg_class', '{}', '{}', 'finished'), ('m', 'p', 's', 'pg_class', '{}', '{}', 'finished'),
                         ('m', 'p', 's', 'pg_class', '{}', '{}', 'ready')$$, 'names of migrations that have ended are free');
SELECT throws_ok($$INSERT INTO zdm.migration (name, pattern, strategy, relation, old_columns, new_columns)
                   VALUES ('m', 'p', 's', 'pg_class', '{}', '{}')$$, '23505', NULL, 'that of one in flight is not');
DELETE FROM zdm.migration;

-- the settings, once the library is there
LOAD 'zdm';
SELECT results_eq(
    $$SELECT name, boot_val, unit, context FROM pg_settings WHERE name LIKE 'zdm.%' ORDER BY name COLLATE "C"$$,
    $$VALUES ('zdm.auto_start', 'on', NULL, 'user'), ('zdm.backfill_pause', '-1', NULL, 'user'),
             ('zdm.backfill_workers', '1', NULL, 'user'), ('zdm.batch_target', '25', 'ms', 'user'),
             ('zdm.build_indexes', 'on', NULL, 'user'), ('zdm.direct_views', 'on', NULL, 'user'),
             ('zdm.fire_user_triggers', 'off', NULL, 'user'), ('zdm.ignore_mentions', 'off', NULL, 'user'),
             ('zdm.launcher_naptime', '60', 's', 'sighup'),
             ('zdm.lock_patience', '30000', 'ms', 'user'), ('zdm.lock_wait', '50', 'ms', 'user'),
             ('zdm.max_archive_backlog', '1024', 'MB', 'user'), ('zdm.max_replication_lag', '10000', 'ms', 'user'),
             ('zdm.max_wal_rate', '0', 'kB', 'user'), ('zdm.quarantine', '0', 's', 'user'),
             ('zdm.vacuum_after', '10', NULL, 'user'), ('zdm.worker_patience', '3600000', 'ms', 'user')$$,
    'settings, their defaults and units');
SELECT is_empty($$SELECT name FROM pg_settings WHERE name LIKE 'zdm.%' AND coalesce(short_desc, '') = ''$$,
                'each setting is described');

SELECT * FROM finish();
