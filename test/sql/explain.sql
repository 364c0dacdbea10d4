--
-- Dry run: the steps that the calls take, and the notes; nothing is changed.
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS zdm;
CREATE ROLE regress_zdm_explain;
CREATE SCHEMA zdm_explain AUTHORIZATION regress_zdm_explain;
RESET client_min_messages;
SET SESSION AUTHORIZATION regress_zdm_explain;
SET search_path = zdm_explain;
\set VERBOSITY terse

SET client_min_messages = warning;
\pset format unaligned
\pset null '-'

CREATE TABLE users (id integer PRIMARY KEY, name text NOT NULL DEFAULT 'nobody', n integer);
INSERT INTO users SELECT i, 'row ' || i FROM generate_series(1, 1000) i;
ANALYZE users;
GRANT SELECT (name) ON users TO PUBLIC;

SELECT * FROM zdm.explain($$zdm.rename_column('users', 'name', 'full_name')$$);
SET zdm.quarantine = '1d';
SELECT phase, sql FROM zdm.explain($$SELECT zdm.rename_column('users', old_name => 'name', new_name => 'full_name');$$)
 WHERE phase IN ('contract', 'finish', 'rollback');
RESET zdm.quarantine;
-- nothing has happened
SELECT count(*) FROM zdm.status;
SELECT count(*) FROM zdm.events WHERE relation = 'users'::regclass;
SELECT attname FROM pg_attribute WHERE attrelid = 'users'::regclass AND attnum > 0 ORDER BY attnum;
BEGIN;
SELECT count(*) FROM zdm.explain($$zdm.rename_column('users', 'name', 'full_name')$$);
SELECT DISTINCT mode FROM pg_locks WHERE pid = pg_backend_pid() AND relation = 'users'::regclass;
COMMIT;

-- what there is to be told
CREATE FUNCTION watch() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
CREATE TRIGGER watch_name AFTER UPDATE OF name ON users FOR EACH ROW EXECUTE FUNCTION watch();
CREATE TRIGGER change BEFORE INSERT OR UPDATE ON users FOR EACH ROW EXECUTE FUNCTION watch();
CREATE TRIGGER watch_all AFTER UPDATE ON users FOR EACH ROW EXECUTE FUNCTION watch();
CREATE FUNCTION reads() RETURNS bigint LANGUAGE sql AS 'SELECT count(name) FROM users';
RESET SESSION AUTHORIZATION;
CREATE PUBLICATION regress_zdm_explain FOR TABLE users;
SET SESSION AUTHORIZATION regress_zdm_explain;
SELECT description FROM zdm.explain($$zdm.rename_column('users', 'name', 'full_name')$$) WHERE phase = 'note';
-- the same as warnings, where something is to be done about it
SELECT zdm.rename_column('users', 'name', 'full_name', migration => 'm');

-- the other calls, in the state they would meet
SELECT phase, description, sql, lock_mode, rows, bytes FROM zdm.explain($$CALL zdm.backfill('m')$$);
SELECT phase, description, sql FROM zdm.explain($$zdm.backfill('m')$$);
SELECT * FROM zdm.explain($$zdm.contract('m')$$);
SELECT description, sql FROM zdm.explain($$zdm.rollback('m')$$);
SELECT * FROM zdm.explain($$zdm.finish('m')$$);
SELECT * FROM zdm.explain($$zdm.rename_column('users', 'name', 'full_name', migration => 'm')$$);
SELECT state FROM zdm.status;
CALL zdm.backfill('m');
SELECT description, sql, lock_mode, blocks FROM zdm.explain($$zdm.contract('m')$$);
SELECT description, sql FROM zdm.explain($$  SELECT zdm.contract('m', '1 day')  ; $$);
SELECT zdm.contract('m', '1 day');
SELECT description, sql FROM zdm.explain($$zdm.finish('m')$$);
SELECT description, sql FROM zdm.explain($$zdm.contract('m', '0')$$);
SELECT description, sql FROM zdm.explain($$zdm.contract('m', '2 days')$$);
SELECT description, sql FROM zdm.explain($$zdm.rollback('m')$$);
SELECT state, quarantine_until > now() + '1 hour' AS untouched FROM zdm.status;

-- what is no call, and what is refused would be refused
SELECT * FROM zdm.explain('');
SELECT * FROM zdm.explain('users');
SELECT * FROM zdm.explain('SELECT 1');
SELECT * FROM zdm.explain('SELECT name FROM users');
SELECT * FROM zdm.explain($$zdm.rename_column('users', 'n', 'm'), zdm.rollback('m')$$);
SELECT * FROM zdm.explain($$zdm.rollback('m'); zdm.rollback('m')$$);
SELECT * FROM zdm.explain($$zdm.rollback('m'); DROP TABLE users$$);
SELECT * FROM zdm.explain($$zdm.rollback(current_user::text)$$);
SELECT * FROM zdm.explain($$zdm.rollback(migration) FROM zdm.status$$);
SELECT * FROM zdm.explain($$zdm.rename_column('users', 'n', 'm', 'dual_write', current_setting('zdm.quarantine'))$$);
SELECT * FROM zdm.explain($$zdm.explain('zdm.rollback(''m'')')$$);
SELECT * FROM zdm.explain($$zdm.verify('m')$$);
SELECT * FROM zdm.explain($$SELECT * FROM zdm.verify('m')$$);
SELECT * FROM zdm.explain($$zdm._guard()$$);
SELECT * FROM zdm.explain($$zdm._sync_row()$$);
SELECT * FROM zdm.explain($$pg_catalog.pg_terminate_backend(1)$$);
SELECT * FROM zdm.explain($$upper('x')$$);
SELECT * FROM zdm.explain($$DELETE FROM users$$);
SELECT * FROM zdm.explain($$zdm.rename_column('users', 'nope', 'm')$$);
SELECT * FROM zdm.explain($$zdm.rename_column('users', 'full_name', 'm')$$);
SELECT * FROM zdm.explain($$zdm.rename_column('users', 'n')$$);
SELECT * FROM zdm.explain($$zdm.rollback('nope')$$);
SELECT * FROM zdm.explain($$zdm.rollback(NULL)$$);
-- and after an error the next call acts again
SELECT zdm.contract('m', '0');
SELECT name FROM users LIMIT 0;
RESET SESSION AUTHORIZATION;
DROP PUBLICATION regress_zdm_explain;

RESET SESSION AUTHORIZATION;
SET client_min_messages = warning;
DROP SCHEMA zdm_explain CASCADE;
DROP ROLE regress_zdm_explain;
