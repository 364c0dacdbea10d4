--
-- zdm.start, zdm.pause, zdm.resume, zdm.wait and zdm.auto_start as SQL: what
-- they return, refuse and advise, and what a transaction that rolls back
-- leaves of them.
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS zdm;
CREATE ROLE regress_zdm_background;
CREATE ROLE regress_zdm_stranger;
CREATE SCHEMA zdm_background AUTHORIZATION regress_zdm_background;
RESET client_min_messages;
SET SESSION AUTHORIZATION regress_zdm_background;
SET search_path = zdm_background;

CREATE TABLE t (id integer PRIMARY KEY, a text);
INSERT INTO t SELECT i, 'row ' || i FROM generate_series(1, 1000) i;
\set what 'SELECT s.state, p.workers, s.next_command, (SELECT count(*) FILTER (WHERE b = a) FROM t) AS filled FROM zdm.status s JOIN zdm.progress p USING (migration) WHERE migration = ''m'''
\set happened 'SELECT event, detail FROM zdm.events WHERE migration = ''m'' AND event NOT IN (''expanding'', ''expanded'', ''backfilling'')'

\echo --- what the arguments may be
SELECT zdm.start('nothing');
SELECT zdm.start(NULL);
SELECT zdm.pause('nothing');
SELECT zdm.resume(NULL);
CALL zdm.wait('nothing');
CALL zdm.wait('nothing', NULL);
SET zdm.auto_start = off;
SELECT zdm.rename_column('t', 'a', 'b', migration => 'm');
\set VERBOSITY default
SELECT zdm.start('m', 0);
SELECT zdm.start('m', 65);
SELECT zdm.start('m', -2147483648);
SELECT zdm.start('m', workers => 1, throttle => 'SELECT 1');
SET zdm.backfill_workers = 65;

\echo --- whose migration it is
RESET SESSION AUTHORIZATION;
GRANT USAGE ON SCHEMA zdm_background TO regress_zdm_stranger;
SET SESSION AUTHORIZATION regress_zdm_stranger;
SELECT zdm.start('m');
SELECT zdm.pause('m');
SELECT zdm.resume('m');
CALL zdm.wait('m');
SET SESSION AUTHORIZATION regress_zdm_background;

\echo --- what only looks
SELECT phase, step, description, lock_mode FROM zdm.explain($$zdm.start('m', 2)$$);
SELECT phase, step, description, lock_mode FROM zdm.explain($$zdm.pause('m')$$);
SELECT * FROM zdm.explain($$zdm.resume('m')$$);
:what;

\echo --- nothing of a transaction, or of a part of it, that rolls back
BEGIN;
SELECT zdm.start('m', workers => 2);
ROLLBACK;
BEGIN;
SAVEPOINT s;
SELECT zdm.start('m', workers => 3);
ROLLBACK TO s;
:what;
COMMIT;
DO $$
BEGIN
    PERFORM zdm.start('m');
    RAISE EXCEPTION 'no';
EXCEPTION WHEN raise_exception THEN
    NULL;
END $$;
BEGIN;
SELECT zdm.pause('m');
ROLLBACK;
SELECT pg_sleep(0.3);
:what;
:happened;

\echo --- a wait that is not to end
BEGIN;
CALL zdm.wait('m');
ROLLBACK;
DO $$ BEGIN CALL zdm.wait('m', '0'); END $$;
CREATE FUNCTION waits() RETURNS void LANGUAGE plpgsql AS $$ BEGIN CALL zdm.wait('m'); END $$;
SELECT waits();
CALL zdm.wait('m', '0');
CALL zdm.wait('m', timeout => '-1 day');

\echo --- paused before anybody has begun
SELECT zdm.pause('m');
SELECT zdm.pause('m');
:what;
CALL zdm.wait('m');
CALL zdm.backfill('m');
SELECT zdm.resume('m');
SELECT zdm.resume('m');
:what;

\echo --- a start ends the pause; begun in a savepoint that is kept
SELECT zdm.pause('m');
BEGIN;
SAVEPOINT s;
SELECT zdm.start('m', workers => 2);
RELEASE s;
COMMIT;
CALL zdm.wait('m', '1 minute');
SELECT state, next_command FROM zdm.status WHERE migration = 'm';
SELECT count(*) FILTER (WHERE b = a) AS filled FROM t;
:happened;

\echo --- ready
SELECT zdm.start('m');
SELECT zdm.pause('m');
SELECT zdm.resume('m');
CALL zdm.wait('m', '0');
SELECT zdm.contract('m');
\echo --- ended
SELECT zdm.start('m');
SELECT zdm.pause('m');
CALL zdm.wait('m');

\echo --- expand that starts the workers itself, when it commits
SET zdm.auto_start = on;
CREATE TABLE auto (id integer, a text);
INSERT INTO auto SELECT i, 'row ' || i FROM generate_series(1, 1000) i;
BEGIN;
SELECT zdm.rename_column('auto', 'a', 'b', migration => 'auto');
ROLLBACK;
SELECT count(*) FROM zdm.status WHERE migration = 'auto';
BEGIN;
SET LOCAL zdm.backfill_workers = 2;
SELECT zdm.rename_column('auto', 'a', 'b', migration => 'auto');
SELECT p.workers, s.next_command FROM zdm.progress p JOIN zdm.status s USING (migration) WHERE migration = 'auto';
COMMIT;
CALL zdm.wait('auto', '1 minute');
SELECT count(*) FILTER (WHERE b = a) AS filled FROM auto;
SELECT event, detail FROM zdm.events WHERE migration = 'auto' AND event = 'started';

RESET SESSION AUTHORIZATION;
SET client_min_messages = warning;
DROP SCHEMA zdm_background CASCADE;
DROP ROLE regress_zdm_background, regress_zdm_stranger;
