--
-- A mandatory column becomes optional, and mandatory again.
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS zdm;
CREATE ROLE regress_zdm_drop_not_null;
CREATE SCHEMA zdm_drop_not_null AUTHORIZATION regress_zdm_drop_not_null;
RESET client_min_messages;
SET SESSION AUTHORIZATION regress_zdm_drop_not_null;
SET search_path = zdm_drop_not_null;

CREATE TABLE users (id integer PRIMARY KEY, email text NOT NULL, n integer);
INSERT INTO users SELECT i, i || '@x' FROM generate_series(1, 20) i;

-- at once, and both versions can use it
SELECT zdm.drop_not_null('users', 'email');
SELECT zdm.drop_not_null('users', 'email');
INSERT INTO users VALUES (21, NULL) RETURNING *;
SELECT migration, pattern, state, progress, next_command FROM zdm.status;
SELECT zdm.contract('drop_users_email_not_null');
\d users
SELECT step, phase, description, sql, lock_mode, state FROM zdm.steps WHERE migration = 'drop_users_email_not_null' ORDER BY 1;

-- the way back: not while rows hold NULL
\set VERBOSITY terse
CREATE TABLE back (id integer PRIMARY KEY, v text NOT NULL, n integer);
INSERT INTO back SELECT i, 'v' FROM generate_series(1, 30) i;
SELECT zdm.drop_not_null('back', 'v', 'undo');
UPDATE back SET v = NULL WHERE id = 7;
\set VERBOSITY default
SELECT zdm.rollback('undo');
UPDATE back SET v = NULL WHERE id > 7;
SELECT zdm.rollback('undo');
SELECT phase, description FROM zdm.explain($$zdm.rollback('undo')$$);
UPDATE back SET v = 'w' WHERE v IS NULL;
-- (where a NOT NULL is a constraint with a name, it gets that back)
SELECT phase, description, lock_mode,
       replace(regexp_replace(sql, '~zdm_[0-9]+', '~zdm_N'),
               'ADD CONSTRAINT back_v_not_null NOT NULL v', 'ALTER COLUMN v SET NOT NULL') AS sql FROM zdm.explain($$zdm.rollback('undo')$$);

-- then in two calls: NULL is refused from the first, what is there is checked in between
\set VERBOSITY terse
SELECT zdm.rollback('undo');
SELECT migration, state, next_command FROM zdm.status;
DO $$
BEGIN INSERT INTO zdm_drop_not_null.back VALUES (41, NULL); RAISE 'stored';
EXCEPTION WHEN check_violation THEN RAISE NOTICE 'refused'; END $$;
SELECT zdm.rollback('undo');
CALL zdm.backfill('undo');
SELECT migration, state, next_command FROM zdm.status;
SELECT zdm.drop_not_null('back', 'v', 'undo');
SELECT format('ALTER TABLE back DROP CONSTRAINT %I', conname) AS drop_check
  FROM pg_constraint WHERE conrelid = 'back'::regclass AND contype = 'c' \gset
:drop_check;
SELECT zdm.rollback('undo');
\d back
SELECT phase, description, state FROM zdm.steps WHERE migration = 'undo' ORDER BY step;

-- a contract gives a rollback up, before and after the check
SELECT zdm.drop_not_null('back', 'v', 'undo');
SELECT zdm.rollback('undo');
SELECT zdm.contract('undo');
INSERT INTO back VALUES (42, NULL);
\d back
DELETE FROM back WHERE v IS NULL;
ALTER TABLE back ALTER v SET NOT NULL;
SELECT zdm.drop_not_null('back', 'v', 'undo');
SELECT zdm.rollback('undo');
CALL zdm.backfill('undo');
SELECT zdm.contract('undo');
INSERT INTO back VALUES (43, NULL);
DELETE FROM back WHERE v IS NULL;

-- and from a quarantine, in which there is nothing to be kept in sync
SET client_min_messages = warning;
ALTER TABLE back ALTER v SET NOT NULL;
SELECT zdm.drop_not_null('back', 'v', 'undo');
SELECT zdm.contract('undo', '1 hour');
SELECT zdm.rollback('undo');
CALL zdm.backfill('undo');
SELECT zdm.rollback('undo');
\d back
SELECT zdm.drop_not_null('back', 'v', 'undo');
SELECT zdm.contract('undo', '1 hour');
SELECT zdm.contract('undo', '0');
\d back

-- partitions
CREATE TABLE parted (id integer NOT NULL, v text NOT NULL) PARTITION BY LIST (id);
CREATE TABLE parted_1 PARTITION OF parted FOR VALUES IN (1);
CREATE TABLE parted_2 PARTITION OF parted FOR VALUES IN (2);
INSERT INTO parted VALUES (1, 'a'), (2, 'b');
SELECT zdm.drop_not_null('parted', 'v');
INSERT INTO parted_1 VALUES (1, NULL);
SELECT zdm.rollback('drop_parted_v_not_null');
DELETE FROM parted WHERE v IS NULL;
SELECT zdm.rollback('drop_parted_v_not_null');
CALL zdm.backfill('drop_parted_v_not_null');
SELECT zdm.rollback('drop_parted_v_not_null');
SELECT attrelid::regclass, attnotnull FROM pg_attribute WHERE attname = 'v' AND attrelid::regclass::text LIKE 'parted%' ORDER BY 1;

-- a column that refuses NULL for another reason, too
CREATE DOMAIN filled AS text CHECK (VALUE IS NOT NULL);
CREATE TABLE still (id integer PRIMARY KEY, d filled NOT NULL, c text NOT NULL CHECK (length(c) > 0 AND c IS NOT NULL), f text NOT NULL CHECK (f <> ''));
SELECT zdm.drop_not_null('still', 'd');
SELECT zdm.drop_not_null('still', 'c');
SELECT zdm.drop_not_null('still', 'f');
INSERT INTO still VALUES (1, 'd', NULL, NULL);
INSERT INTO still VALUES (1, 'd', 'c', NULL);
SELECT zdm.contract(migration) FROM zdm.status;

-- what is refused
RESET client_min_messages;
\set VERBOSITY default
CREATE TABLE no (id integer PRIMARY KEY, a integer NOT NULL UNIQUE, i integer GENERATED ALWAYS AS IDENTITY, o text, b text NOT NULL);
ALTER TABLE no REPLICA IDENTITY USING INDEX no_a_key;
CREATE TABLE parted_pk (id integer NOT NULL) PARTITION BY LIST (id);
CREATE TABLE parted_pk_1 PARTITION OF parted_pk (PRIMARY KEY (id)) FOR VALUES IN (1);
CREATE VIEW no_view AS SELECT id FROM no;
SELECT zdm.drop_not_null('no', 'id');
SELECT zdm.drop_not_null('no', 'a');
SELECT zdm.drop_not_null('no', 'i');
SELECT zdm.drop_not_null('no', 'o');
SELECT zdm.drop_not_null('no', 'none');
SELECT zdm.drop_not_null('no', 'ctid');
SELECT zdm.drop_not_null('no', NULL);
SELECT zdm.drop_not_null('no_view', 'a');
CREATE TABLE parent (a text NOT NULL);
CREATE TABLE child () INHERITS (parent);
SELECT zdm.drop_not_null('parent', 'a');
SELECT zdm.drop_not_null('child', 'a');
CREATE TEMPORARY TABLE passing (a text NOT NULL);
SELECT zdm.drop_not_null('passing', 'a');
DROP TABLE passing;
SELECT zdm.drop_not_null('parted_1', 'v');
SELECT zdm.drop_not_null('parted_pk', 'id');
SELECT zdm.drop_not_null('no', 'b');
SELECT zdm.drop_not_null('no', 'b', 'another');
SELECT zdm.rename_column('no', 'b', 'c');
ALTER TABLE no RENAME b TO c;
ALTER TABLE no DROP COLUMN b;
SELECT zdm.contract('drop_no_b_not_null');

RESET SESSION AUTHORIZATION;
SET client_min_messages = warning;
DROP SCHEMA zdm_drop_not_null CASCADE;
DROP ROLE regress_zdm_drop_not_null;
