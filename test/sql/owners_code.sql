--
-- Code of a table's owner runs with the owner's rights, wherever zdm makes it
-- run, and changes nothing of the session that called.
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS zdm;
CREATE ROLE regress_zdm_owners_code;
CREATE SCHEMA zdm_owners_code AUTHORIZATION regress_zdm_owners_code;
CREATE TABLE zdm_owners_code.witness (what text, who name DEFAULT current_user);
GRANT INSERT ON zdm_owners_code.witness TO PUBLIC;
GRANT EXECUTE ON FUNCTION zdm._sync_columns TO regress_zdm_owners_code;
SET search_path = zdm_owners_code;
\set VERBOSITY terse

SET SESSION AUTHORIZATION regress_zdm_owners_code;
CREATE FUNCTION note(what text) RETURNS void LANGUAGE plpgsql VOLATILE
    AS $$ BEGIN INSERT INTO zdm_owners_code.witness VALUES (what); END $$;
-- says that it is immutable, and is not
CREATE FUNCTION tells(value text, what text) RETURNS text LANGUAGE plpgsql IMMUTABLE
    AS $$ BEGIN PERFORM zdm_owners_code.note(what); PERFORM set_config('search_path', 'zdm_owners_code, pg_catalog', false);
          PERFORM set_config('zdm.lock_wait', '60000', false); RETURN value; END $$;
CREATE DOMAIN checked AS text CHECK (tells('const', 'domain') = 'const' AND VALUE <> 'bad');
CREATE TABLE t (id integer PRIMARY KEY, a checked);
INSERT INTO t SELECT i, 'a' || i FROM generate_series(1, 3) i;
CREATE INDEX ON t (tells(a, 'index'));
RESET SESSION AUTHORIZATION;
RESET zdm.lock_wait;
DELETE FROM witness;

-- a superuser does it all, under a path of his own
SET search_path = pg_catalog;
SELECT zdm.rename_column('zdm_owners_code.t', 'a', 'b', migration => 'm');
CREATE INDEX twin ON zdm_owners_code.t (zdm_owners_code.tells(b, 'twin'));
CALL zdm.backfill('m');
SELECT mismatches FROM zdm.verify('m');
DROP INDEX zdm_owners_code.twin;
SHOW search_path;
SHOW zdm.lock_wait;
-- DDL of others, and of this table
CREATE TABLE zdm_owners_code.unrelated (i integer);
DROP TABLE zdm_owners_code.unrelated;
ALTER TABLE zdm_owners_code.t ALTER id SET STATISTICS 10;
SELECT zdm.contract('m', '1 day');
SELECT zdm.rollback('m');
SHOW search_path;
SELECT DISTINCT who = 'regress_zdm_owners_code' AS owner FROM zdm_owners_code.witness;

-- an expression, as the owner gives it: planned by the guard, run by the backfill
SET search_path = zdm_owners_code;
SET SESSION AUTHORIZATION regress_zdm_owners_code;
CREATE TABLE e (id integer PRIMARY KEY, a text, b text);
INSERT INTO e VALUES (1, 'x');
SELECT zdm._sync_columns('e', '{a}', '{b}', ARRAY[$$coalesce(a, tells('const', 'up'))$$], '{b}', 'e');
RESET SESSION AUTHORIZATION;
DELETE FROM witness;
SET search_path = pg_catalog;
ALTER TABLE zdm_owners_code.e ADD COLUMN c integer;
CALL zdm.backfill('e');
SHOW search_path;
SELECT DISTINCT what, who = 'regress_zdm_owners_code' AS owner FROM zdm_owners_code.witness ORDER BY 1;
SELECT zdm.rollback('e');

-- what an expression's text means does not depend on who reads it
SET SESSION AUTHORIZATION regress_zdm_owners_code;
SET search_path = zdm_owners_code;
CREATE TABLE d (id integer PRIMARY KEY, a date, b date);
SET datestyle = 'SQL, DMY';
SELECT zdm._sync_columns('d', '{a}', '{b}', ARRAY[$$coalesce(a, date '2020-02-01')$$], '{b}', 'd');
SET datestyle = 'ISO, MDY';
INSERT INTO d (id, a) VALUES (1, NULL) RETURNING *;
SELECT zdm.rollback('d');

RESET SESSION AUTHORIZATION;
SET client_min_messages = warning;
DROP SCHEMA zdm_owners_code CASCADE;
REVOKE EXECUTE ON FUNCTION zdm._sync_columns FROM regress_zdm_owners_code;
DROP ROLE regress_zdm_owners_code;
