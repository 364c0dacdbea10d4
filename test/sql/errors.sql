--
-- The life cycle's functions in the wrong phase, with the wrong arguments, in
-- the wrong place.
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS zdm;
CREATE ROLE regress_zdm_errors;
CREATE SCHEMA zdm_errors AUTHORIZATION regress_zdm_errors;
RESET client_min_messages;
SET SESSION AUTHORIZATION regress_zdm_errors;
SET search_path = zdm_errors;


SET client_min_messages = warning;

CREATE TABLE t (id integer PRIMARY KEY, a integer);
INSERT INTO t VALUES (1, 1);

-- no such migration
CALL zdm.backfill('nope');
SELECT * FROM zdm.verify('nope');
SELECT zdm.contract('nope');
SELECT zdm.finish('nope');
SELECT zdm.rollback('nope');
SELECT zdm.rollback(repeat('nope', 100));
SELECT zdm.rollback('');

-- expanded
SELECT zdm.rename_column('t', 'a', 'b', migration => 'm');
SELECT zdm.contract('m');
SELECT zdm.contract('m', '1 day');
SELECT zdm.finish('m');

-- a backfill where it cannot commit
BEGIN;
CALL zdm.backfill('m');
ROLLBACK;
BEGIN;
SAVEPOINT s;
CALL zdm.backfill('m');
ROLLBACK;
CREATE FUNCTION in_function() RETURNS void LANGUAGE plpgsql AS $$ BEGIN CALL zdm.backfill('m'); END $$;
SELECT in_function();
DO $$ BEGIN CALL zdm.backfill('m'); EXCEPTION WHEN division_by_zero THEN NULL; END $$;
CREATE PROCEDURE with_path() LANGUAGE plpgsql SET search_path = pg_catalog AS $$ BEGIN CALL zdm.backfill('m'); END $$;
CALL with_path();
SELECT 1 \; CALL zdm.backfill('m');
SELECT state FROM zdm.status WHERE migration = 'm';
-- no error is kept for a call that did nothing
SELECT last_error FROM zdm.status WHERE migration = 'm';
-- where it can: at the top of a DO block or of a procedure
CREATE PROCEDURE in_procedure() LANGUAGE plpgsql AS $$ BEGIN CALL zdm.backfill('m'); END $$;
CALL in_procedure();
SELECT state FROM zdm.status WHERE migration = 'm';
CREATE TABLE t2 (a integer);
SELECT zdm.rename_column('t2', 'a', 'b', migration => 'm2');
DO $$ BEGIN CALL zdm.backfill('m2'); END $$;
SELECT migration, state FROM zdm.status ORDER BY 1;
SELECT zdm.rollback('m2');

-- ready
SELECT zdm.finish('m');
SELECT zdm.contract('m', '-1 day');
SELECT zdm.contract(NULL);
SELECT zdm.contract(NULL, '1 day');
CALL zdm.backfill(NULL);
SELECT zdm.verify(NULL);
SELECT zdm.finish(NULL);
SELECT zdm.rollback(NULL);
SELECT zdm.explain(NULL);

-- contracted
SET zdm.quarantine = '1d';
SELECT zdm.contract('m');
SELECT zdm.contract('m');
CALL zdm.backfill('m');
DO $$
BEGIN
    PERFORM zdm.finish('m');
EXCEPTION WHEN object_not_in_prerequisite_state THEN
    RAISE WARNING '%', regexp_replace(SQLERRM, 'until.*', 'until …');
END $$;
RESET zdm.quarantine;
SELECT zdm.contract('m', '0');

-- ended
CALL zdm.backfill('m');
SELECT * FROM zdm.verify('m');
SELECT zdm.contract('m');
SELECT zdm.finish('m');
SELECT zdm.rollback('m');
SELECT zdm.rename_column('t', 'b', 'c', migration => 'm');
SELECT zdm.rollback('m');
SELECT zdm.rollback('m');
SELECT zdm.contract('m');

-- settings
\set VERBOSITY sqlstate
SET zdm.lock_wait = 0;
SET zdm.lock_wait = '2min';
SET zdm.batch_target = '1h';
SET zdm.quarantine = -1;
SET zdm.fire_user_triggers = maybe;
SET zdm.nope = 1;
\set VERBOSITY default
SET zdm.quarantine = '2d';
SHOW zdm.quarantine;
SELECT name, setting, unit, context FROM pg_settings WHERE name LIKE 'zdm.%' ORDER BY name COLLATE "C";

-- not what they are for
SELECT zdm._sync_row();
CREATE TRIGGER wrong AFTER INSERT ON t FOR EACH ROW EXECUTE FUNCTION zdm._sync_row();
INSERT INTO t VALUES (2, 2);
DROP TRIGGER wrong ON t;
CREATE TRIGGER wrong BEFORE INSERT ON t FOR EACH STATEMENT EXECUTE FUNCTION zdm._sync_row();
INSERT INTO t VALUES (2, 2);
DROP TRIGGER wrong ON t;
CREATE TRIGGER wrong BEFORE DELETE ON t FOR EACH ROW EXECUTE FUNCTION zdm._sync_row();
DELETE FROM t;
DROP TRIGGER wrong ON t;
-- without a rule it has nothing to do
CREATE TRIGGER "right" BEFORE INSERT OR UPDATE ON t FOR EACH ROW EXECUTE FUNCTION zdm._sync_row();
INSERT INTO t VALUES (2, 2);
SELECT * FROM t ORDER BY id;

RESET SESSION AUTHORIZATION;
SET client_min_messages = warning;
DROP SCHEMA zdm_errors CASCADE;
DROP ROLE regress_zdm_errors;
