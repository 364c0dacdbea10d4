--
-- Rights: a writer needs what he needed before, and nothing of zdm's; nobody
-- gets more than he has.
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS zdm;
CREATE ROLE regress_zdm_privileges;
CREATE SCHEMA zdm_privileges AUTHORIZATION regress_zdm_privileges;
RESET client_min_messages;
SET SESSION AUTHORIZATION regress_zdm_privileges;
SET search_path = zdm_privileges;
\set VERBOSITY terse

SET client_min_messages = warning;
RESET SESSION AUTHORIZATION;
CREATE ROLE regress_zdm_writer;
CREATE ROLE regress_zdm_other;
GRANT USAGE ON SCHEMA zdm_privileges TO regress_zdm_writer, regress_zdm_other;
SET SESSION AUTHORIZATION regress_zdm_privileges;

CREATE TABLE t (id integer, a text DEFAULT 'default', secret text);
INSERT INTO t VALUES (1, 'x', 'secret');
GRANT SELECT (id, a), INSERT (id, a), UPDATE (a), REFERENCES (a) ON t TO regress_zdm_writer;
GRANT SELECT (a) ON t TO PUBLIC;
GRANT UPDATE (a) ON t TO regress_zdm_other WITH GRANT OPTION;
SELECT zdm.rename_column('t', 'a', 'b', migration => 'm');
SELECT attname, attacl FROM pg_attribute WHERE attrelid = 't'::regclass AND attname IN ('a', 'b', 'secret') ORDER BY attname;

-- both names, with the rights on the one; without any right on zdm
RESET SESSION AUTHORIZATION;
REVOKE USAGE ON SCHEMA zdm FROM PUBLIC;
GRANT USAGE ON SCHEMA zdm TO regress_zdm_privileges;
SET SESSION AUTHORIZATION regress_zdm_writer;
INSERT INTO zdm_privileges.t (id, a) VALUES (2, 'old');
INSERT INTO zdm_privileges.t (id, b) VALUES (3, 'new');
INSERT INTO zdm_privileges.t (id) VALUES (4);
UPDATE zdm_privileges.t SET a = 'changed' WHERE id = 3;
UPDATE zdm_privileges.t SET b = 'changed' WHERE id = 2;
SELECT id, a, b FROM zdm_privileges.t ORDER BY id;
INSERT INTO zdm_privileges.t (secret) VALUES ('no');
SELECT secret FROM zdm_privileges.t;
DELETE FROM zdm_privileges.t;
SELECT zdm.rollback('m');
RESET SESSION AUTHORIZATION;
GRANT USAGE ON SCHEMA zdm TO PUBLIC;
REVOKE USAGE ON SCHEMA zdm FROM regress_zdm_privileges;

-- one who may write, but not read
SET SESSION AUTHORIZATION regress_zdm_privileges;
CREATE TABLE blind (id integer, a text);
GRANT INSERT, UPDATE, DELETE ON blind TO regress_zdm_writer;
GRANT INSERT (id, a) ON t TO regress_zdm_other;
SELECT zdm.rename_column('blind', 'a', 'b', migration => 'blind');
SET SESSION AUTHORIZATION regress_zdm_writer;
INSERT INTO zdm_privileges.blind (id, b) VALUES (1, 'new');
UPDATE zdm_privileges.blind SET a = 'old';
SELECT * FROM zdm_privileges.blind;
-- and one whose grant on the first column, made while in flight, is of both
SET SESSION AUTHORIZATION regress_zdm_other;
INSERT INTO zdm_privileges.t (id, a) VALUES (5, 'old');
INSERT INTO zdm_privileges.t (id, b) VALUES (6, 'new');

-- zdm's own tables and functions
SELECT count(*) FROM zdm.migration;
SELECT count(*) FROM zdm.step;
SELECT count(*) FROM zdm.sync_rule;
SELECT count(*) FROM zdm.backfill_range;
SELECT count(*) FROM zdm.event;
SET SESSION AUTHORIZATION regress_zdm_privileges;
INSERT INTO zdm.sync_rule VALUES (1, 1, 't', '{a}', '{b}', '{a}', '{b}');
UPDATE zdm.migration SET state = 'ready';
DELETE FROM zdm.event;
TRUNCATE zdm.migration CASCADE;
SELECT nextval('zdm.migration_id_seq');
UPDATE zdm.status SET state = 'ready';
CREATE TABLE zdm.mine ();
SELECT zdm._guard();
SELECT zdm._sync_columns('t', '{a}', '{b}', '{a}', '{b}', 'x');

-- the views show what concerns one's own tables
SELECT migration FROM zdm.status ORDER BY 1;
SET SESSION AUTHORIZATION regress_zdm_other;
SELECT (SELECT count(*) FROM zdm.status) AS status, (SELECT count(*) FROM zdm.progress) AS progress,
       (SELECT count(*) FROM zdm.steps WHERE migration IN ('m', 'blind')) AS steps,
       (SELECT count(*) FROM zdm.events WHERE migration IN ('m', 'blind')) AS events;
CREATE FUNCTION pg_temp.leak(name) RETURNS boolean LANGUAGE plpgsql COST 0.0000001 AS
    $$ BEGIN RAISE WARNING 'leaked %', $1; RETURN true; END $$;
SELECT count(*) FROM zdm.status WHERE pg_temp.leak(migration);
SELECT count(*) FROM zdm.events WHERE migration IN ('m', 'blind') AND pg_temp.leak(migration);
RESET SESSION AUTHORIZATION;
GRANT pg_monitor TO regress_zdm_other;
SET SESSION AUTHORIZATION regress_zdm_other;
SELECT migration FROM zdm.status ORDER BY 1;
SELECT zdm.rollback('m');
DROP FUNCTION pg_temp.leak;

-- a table that changes hands
RESET SESSION AUTHORIZATION;
REVOKE pg_monitor FROM regress_zdm_other;
ALTER TABLE zdm_privileges.t OWNER TO regress_zdm_other;
GRANT CREATE ON SCHEMA zdm_privileges TO regress_zdm_other;
SET SESSION AUTHORIZATION regress_zdm_privileges;
CALL zdm.backfill('m');
SELECT migration FROM zdm.status ORDER BY 1;
SET SESSION AUTHORIZATION regress_zdm_other;
SELECT migration FROM zdm.status ORDER BY 1;
CALL zdm.backfill('m');
SELECT zdm.contract('m');
SELECT role FROM zdm.events WHERE migration = 'm' AND relation = 'zdm_privileges.t'::regclass ORDER BY id;
SELECT attname, attacl FROM pg_attribute WHERE attrelid = 'zdm_privileges.t'::regclass AND attname IN ('a', 'b') ORDER BY attname;

-- one who has lost the right to write his own table is not stopped: the
-- backfill writes it as its owner does maintenance
SET SESSION AUTHORIZATION regress_zdm_privileges;
CREATE TABLE readonly (id integer, a text);
INSERT INTO readonly VALUES (1, 'x');
REVOKE SELECT, INSERT, UPDATE ON readonly FROM regress_zdm_privileges;
SELECT zdm.rename_column('readonly', 'a', 'b', migration => 'readonly');
CALL zdm.backfill('readonly');
SELECT zdm.contract('readonly');
SELECT * FROM readonly;
GRANT SELECT ON readonly TO regress_zdm_privileges;
SELECT * FROM readonly;

-- what a table's owner has written into it runs with his rights, whoever
-- calls the backfill
CREATE TABLE trap (id integer, a text);
INSERT INTO trap VALUES (1, 'x');
SELECT zdm.rename_column('trap', 'a', 'b', migration => 'trap');
CREATE FUNCTION indexed(text) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS
    $$ BEGIN RAISE WARNING 'indexed by %', current_user; RETURN true; END $$;
CREATE FUNCTION written() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN RAISE WARNING 'written by %', current_user; RETURN NEW; END $$;
CREATE INDEX ON trap (id) WHERE indexed(b);
CREATE TRIGGER written AFTER UPDATE ON trap FOR EACH ROW EXECUTE FUNCTION written();
RESET SESSION AUTHORIZATION;
CALL zdm.backfill('trap');
SELECT zdm.rollback('trap');
SET SESSION AUTHORIZATION regress_zdm_privileges;
DROP INDEX zdm_privileges.trap_id_idx;
SELECT zdm.rollback('trap');
SELECT zdm.rename_column('trap', 'a', 'b', migration => 'trap');
RESET SESSION AUTHORIZATION;
SET zdm.fire_user_triggers = on;
CALL zdm.backfill('trap');
RESET zdm.fire_user_triggers;

RESET SESSION AUTHORIZATION;
SET client_min_messages = warning;
DROP SCHEMA zdm_privileges CASCADE;
DROP ROLE regress_zdm_writer, regress_zdm_other, regress_zdm_privileges;
