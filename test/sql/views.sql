--
-- What the views show of a migration on its way.
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS zdm;
CREATE ROLE regress_zdm_views;
CREATE SCHEMA zdm_views AUTHORIZATION regress_zdm_views;
RESET client_min_messages;
SET SESSION AUTHORIZATION regress_zdm_views;
SET search_path = zdm_views;
\set VERBOSITY terse

SET client_min_messages = error;
\pset null '-'

SELECT attrelid::regclass, string_agg(attname, ', ' ORDER BY attnum) FROM pg_attribute
 WHERE attrelid IN ('zdm.status'::regclass, 'zdm.progress'::regclass) AND attnum > 0
 GROUP BY attrelid ORDER BY attrelid::regclass::text COLLATE "C";

CREATE TABLE t (id integer PRIMARY KEY, a text);
INSERT INTO t SELECT i, 'row ' || i FROM generate_series(1, 1000) i;
ANALYZE t;
SELECT zdm.rename_column('t', 'a', 'b', migration => 'm');
SELECT migration, pattern, relation, state, progress, waiting_for, last_error, quarantine_until, next_command,
       created_at BETWEEN now() - '1 minute'::interval AND clock_timestamp() AS created FROM zdm.status;
SELECT migration, relation, state, rows_done, rows_total, blocks_done, blocks_total = pg_relation_size('t') / 8192 AS blocks_total,
       rows_per_second, eta, workers, batch_blocks, waiting_for, waiting_since FROM zdm.progress;
SELECT migration, step, phase, description, lock_mode, relation, state, started_at IS NOT NULL AS started,
       finished_at >= started_at AS finished, coalesce(lock_wait, '0') < '10 seconds' AS quick, error FROM zdm.steps WHERE migration = 'm' ORDER BY step;

CALL zdm.backfill('m');
SELECT migration, state, progress, next_command FROM zdm.status;
SELECT migration, state, rows_done, rows_total, blocks_done = blocks_total AS blocks, rows_per_second > 0 AS rate, eta,
       workers, batch_blocks > 0 AS batch FROM zdm.progress;
SELECT step, state, finished_at >= started_at AS finished FROM zdm.steps WHERE migration = 'm' ORDER BY step;

-- a table without rows, and one that nobody has analysed
CREATE TABLE empty (a text);
SELECT zdm.rename_column('empty', 'a', 'b', migration => 'empty');
SELECT progress FROM zdm.status WHERE migration = 'empty';
SELECT rows_done, rows_total, blocks_done, blocks_total FROM zdm.progress WHERE migration = 'empty';
CALL zdm.backfill('empty');
SELECT progress FROM zdm.status WHERE migration = 'empty';

SELECT zdm.contract('m', '1 day');
SELECT migration, state, progress, quarantine_until IS NOT NULL AS until, next_command FROM zdm.status WHERE migration = 'm';
SELECT migration, state, eta FROM zdm.progress WHERE migration = 'm';
SELECT zdm.contract('m', '0');
SELECT zdm.rollback('empty');

-- what has ended is out of status and progress, and stays in steps and events
SELECT count(*) FROM zdm.status;
SELECT count(*) FROM zdm.progress;
SELECT migration, phase, count(*), bool_and(state = 'done') AS done FROM zdm.steps
 WHERE relation IN ('t'::regclass, 'empty'::regclass)
 GROUP BY migration, phase ORDER BY migration COLLATE "C", min(step);
SELECT migration, level, event, relation, role = session_user AS mine, at <= clock_timestamp() AS past FROM zdm.events
 WHERE relation IN ('t'::regclass, 'empty'::regclass) ORDER BY id;
-- also for the one who owned a table that is gone
DROP TABLE empty;
SELECT migration, event FROM zdm.events WHERE migration = 'empty' ORDER BY id;
SELECT count(*) > 0 AS kept FROM zdm.steps WHERE migration = 'empty';

-- a name of anything is quoted in the next command
CREATE TABLE quoted (a text);
SELECT zdm.rename_column('quoted', 'a', 'b', migration => E'it''s \\ "quoted"');
SELECT next_command FROM zdm.status;
SELECT next_command FROM zdm.status \gexec
CALL zdm.wait(E'it''s \\ "quoted"');
SELECT next_command FROM zdm.status \gexec
SELECT count(*) FROM zdm.status;

RESET SESSION AUTHORIZATION;
SET client_min_messages = warning;
DROP SCHEMA zdm_views CASCADE;
DROP ROLE regress_zdm_views;
