--
-- The life of a table that is dropped: what each call says, what is refused,
-- and what a quarantine gives back.
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS zdm;
CREATE ROLE regress_zdm_drop_table;
CREATE SCHEMA zdm_drop_table AUTHORIZATION regress_zdm_drop_table;
RESET client_min_messages;
SET SESSION AUTHORIZATION regress_zdm_drop_table;
SET search_path = zdm_drop_table;


CREATE TABLE users (id integer PRIMARY KEY);
CREATE TABLE audit (
    id serial PRIMARY KEY,
    user_id integer NOT NULL REFERENCES users,
    what text DEFAULT 'nothing'
);
CREATE INDEX audit_what ON audit (what);
INSERT INTO users VALUES (1);
INSERT INTO audit (user_id, what) VALUES (1, 'came');
SELECT pg_stat_force_next_flush();
SELECT phase, description, sql, lock_mode, blocks FROM zdm.explain($$zdm.drop_table('audit')$$);

-- expand changes nothing
SELECT zdm.drop_table('audit');
SELECT zdm.drop_table('audit');
\d audit
SELECT migration, pattern, relation, state, progress, next_command FROM zdm.status;
INSERT INTO audit (user_id, what) VALUES (1, 'went on');

-- the quarantine: nobody finds it
PREPARE reads AS SELECT what FROM audit ORDER BY id;
EXECUTE reads;
SELECT pg_stat_force_next_flush();
SELECT regexp_replace(description, 'scans \d+', 'scans N') FROM zdm.explain($$zdm.contract('drop_audit')$$)
 WHERE phase = 'note';
SET client_min_messages = error;
SELECT zdm.contract('drop_audit', '1 day');
RESET client_min_messages;
\d
SELECT * FROM audit;
EXECUTE reads;
INSERT INTO audit (user_id) VALUES (1);
SELECT relation, state, next_command FROM zdm.status;
-- what it refers to is still held
DELETE FROM users;
-- others' DDL
ALTER TABLE "~zdm_audit" RENAME TO audit;
ALTER TABLE "~zdm_audit" ADD COLUMN note text;
-- its name is given away
CREATE TABLE audit (id integer);
SELECT zdm.rollback('drop_audit');
DROP TABLE audit;

-- rollback gives it back
SELECT zdm.rollback('drop_audit');
\d audit
EXECUTE reads;
INSERT INTO audit (user_id) VALUES (1);

-- once more, to the end
\set VERBOSITY terse
SET client_min_messages = error;
SELECT zdm.drop_table('audit');
SELECT zdm.contract('drop_audit', '1 day');
RESET client_min_messages;
SELECT zdm.contract('drop_audit', quarantine => '0');
\d
DELETE FROM users;
SELECT count(*) FROM zdm.status;
-- who did it still sees what was done
SELECT phase, description, sql, state FROM zdm.steps WHERE migration = 'drop_audit' ORDER BY migration_id, step;
SELECT event, detail IS NOT NULL AS detail FROM zdm.events WHERE migration = 'drop_audit' ORDER BY id;
SELECT zdm.rollback('drop_audit');
\set VERBOSITY default

-- without a quarantine, nobody has used it
CREATE TABLE unused (id integer);
SELECT zdm.drop_table('unused', migration => 'short');
SELECT zdm.contract('short');

-- in one transaction that rolls back
SET client_min_messages = warning;
CREATE TABLE stays (id integer);
BEGIN;
SELECT zdm.drop_table('stays');
SELECT zdm.contract('drop_stays');
ROLLBACK;
SELECT * FROM stays;
SELECT count(*) FROM zdm.status;
RESET client_min_messages;

-- what is in the way
CREATE TABLE d (id integer PRIMARY KEY, n integer, parent integer REFERENCES d);
CREATE SEQUENCE d_owned OWNED BY d.n;
CREATE FUNCTION nothing() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
CREATE TRIGGER own_trigger AFTER UPDATE OF n ON d FOR EACH ROW EXECUTE FUNCTION nothing();
CREATE POLICY own_policy ON d USING (n > 0);
CREATE RULE own_rule AS ON DELETE TO d WHERE OLD.n = 1 DO INSTEAD NOTHING;
SELECT description FROM zdm.explain($$zdm.drop_table('d')$$) WHERE phase = 'note';
CREATE VIEW d_view AS SELECT n FROM d;
CREATE MATERIALIZED VIEW d_matview AS SELECT * FROM d;
CREATE TABLE refers (d integer REFERENCES d);
CREATE TABLE uses (n integer DEFAULT nextval('d_owned'), row d);
CREATE FUNCTION d_atomic() RETURNS SETOF integer LANGUAGE sql BEGIN ATOMIC SELECT n FROM d; END;
CREATE FUNCTION d_argument(d) RETURNS integer LANGUAGE sql AS 'SELECT $1.id';
CREATE FUNCTION d_text() RETURNS bigint LANGUAGE sql AS 'SELECT count(*) FROM zdm_drop_table.d';
CREATE POLICY with_d ON refers USING (d IN (SELECT id FROM d));
SELECT zdm.drop_table('d');
SELECT zdm.contract('drop_d');
SELECT zdm.contract('drop_d', '1 day');
SET client_min_messages = error;
DROP POLICY with_d ON refers;
DROP TABLE uses, refers;
DROP VIEW d_view;
DROP MATERIALIZED VIEW d_matview;
DROP FUNCTION d_atomic(), d_argument(d);
RESET client_min_messages;
SELECT zdm.contract('drop_d');
SET zdm.ignore_mentions = on;
SELECT zdm.rename_column('d', 'n', 'm', migration => 'rename');
SELECT zdm.contract('drop_d');
SET client_min_messages = error;
SELECT zdm.rollback('rename');
SELECT zdm.contract('drop_d');
RESET zdm.ignore_mentions;
RESET client_min_messages;
\d

-- what cannot be dropped so
CREATE TABLE logs (day integer, line text) PARTITION BY RANGE (day);
CREATE TABLE logs_1 PARTITION OF logs FOR VALUES FROM (1) TO (10);
SELECT zdm.drop_table('logs_1');
CREATE TABLE parent (a integer);
CREATE TABLE child () INHERITS (parent);
SELECT zdm.drop_table('parent');
SELECT zdm.drop_table('child');
CREATE TEMPORARY TABLE passing (a integer);
SELECT zdm.drop_table('passing');
DROP TABLE passing;
SELECT zdm.drop_table('users_pkey');
SELECT zdm.drop_table('pg_class');
SELECT zdm.drop_table(NULL);
CREATE TABLE "~zdm_users" (a integer);
SELECT zdm.drop_table('users');
DROP TABLE "~zdm_users";
RESET SESSION AUTHORIZATION;
SELECT zdm.drop_table('zdm.event');
ALTER EXTENSION zdm ADD TABLE zdm_drop_table.users;
SELECT zdm.drop_table('zdm_drop_table.users');
ALTER EXTENSION zdm DROP TABLE zdm_drop_table.users;
SET SESSION AUTHORIZATION regress_zdm_drop_table;

-- a partitioned table
SELECT zdm.drop_table('logs');
SET client_min_messages = error;
SELECT zdm.contract('drop_logs', '1 day');
INSERT INTO logs_1 VALUES (1, 'by its own name');
SELECT zdm.rollback('drop_logs');
SELECT * FROM logs;
SELECT zdm.drop_table('logs');
SELECT zdm.contract('drop_logs');
RESET client_min_messages;

-- published
RESET SESSION AUTHORIZATION;
SET client_min_messages = error;	-- wal_level
CREATE PUBLICATION regress_zdm_table FOR TABLE zdm_drop_table.users;
RESET client_min_messages;
SELECT description FROM zdm.explain($$zdm.drop_table('zdm_drop_table.users')$$) WHERE description LIKE '%published%';
DROP PUBLICATION regress_zdm_table;
SET SESSION AUTHORIZATION regress_zdm_drop_table;

-- dropped by hand meanwhile
SELECT zdm.drop_table('users');
ALTER TABLE users RENAME TO people;
DROP TABLE users;
SELECT state FROM zdm.status;
\d

SET client_min_messages = warning;
RESET SESSION AUTHORIZATION;
DROP SCHEMA zdm_drop_table CASCADE;
DROP ROLE regress_zdm_drop_table;
