--
-- The life of a column that is dropped: what each call says, what the rows of
-- either version get, and what a quarantine gives back.
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS zdm;
CREATE ROLE regress_zdm_drop_column;
CREATE SCHEMA zdm_drop_column AUTHORIZATION regress_zdm_drop_column;
RESET client_min_messages;
SET SESSION AUTHORIZATION regress_zdm_drop_column;
SET search_path = zdm_drop_column;


CREATE TABLE users (
    id integer PRIMARY KEY,
    legacy text NOT NULL,
    name text
);
CREATE INDEX users_legacy ON users (legacy);
INSERT INTO users VALUES (1, 'one', 'ada');

-- a mandatory column without a default: the new version's rows get the fill
SELECT zdm.drop_column('users', 'legacy', fill => $$'user ' || id$$);
\d users
SELECT migration, pattern, relation, state, progress, next_command FROM zdm.status;
SELECT zdm.drop_column('users', 'legacy', fill => $$'user ' || id$$);
SELECT zdm.drop_column('users', 'legacy', fill => $$'another'$$);

INSERT INTO users (id, legacy, name) VALUES (2, 'two', 'by the old version');
INSERT INTO users (id, name) VALUES (3, 'by the new version');
COPY users (id, name) FROM stdin;
4	by COPY
\.
WITH made AS (INSERT INTO users (id) VALUES (5) RETURNING *) SELECT * FROM made;
INSERT INTO users (id, name) VALUES (3, 'x') ON CONFLICT (id) DO UPDATE SET name = 'upserted';
UPDATE users SET name = 'updated' WHERE id = 1;
UPDATE users SET legacy = 'TWO' WHERE id = 2;
SELECT * FROM users ORDER BY id;
SELECT "check", mismatches FROM zdm.verify('drop_users_legacy');

-- the quarantine: nobody finds it, and it is filled on
SELECT state FROM zdm.status;
SET client_min_messages = warning;
SELECT zdm.contract('drop_users_legacy', '1 day');
RESET client_min_messages;
\d users
INSERT INTO users (id, name) VALUES (6, 'in the quarantine');
SELECT legacy FROM users;
SELECT * FROM users ORDER BY id;

-- rollback gives it back with all that was on it, and without a NULL
SELECT zdm.rollback('drop_users_legacy');
\d users
SELECT * FROM users ORDER BY id;
INSERT INTO users (id) VALUES (7);

-- once more, to the end
\set VERBOSITY terse
SELECT zdm.drop_column('users', 'legacy', fill => $$'x'$$);
SET client_min_messages = warning;
SELECT zdm.contract('drop_users_legacy', '1 day');
RESET client_min_messages;
SELECT zdm.contract('drop_users_legacy', quarantine => '0');
\d users
SELECT * FROM users ORDER BY id;
SELECT count(*) FROM zdm.status;
SELECT phase, description, state FROM zdm.steps WHERE migration = 'drop_users_legacy'
   AND migration_id = (SELECT max(migration_id) FROM zdm.steps) ORDER BY step;

SET client_min_messages = warning;

-- without a quarantine; an optional column needs nothing
SELECT zdm.drop_column('users', 'name', migration => 'short');
INSERT INTO users (id) VALUES (8);
SELECT state, next_command FROM zdm.status;
SELECT zdm.contract('short');
\d users
SELECT zdm.rollback('short');

-- a default, an identity, a sequence and a generated column take care of
-- themselves, in a quarantine, too
CREATE TABLE kinds (
    id integer PRIMARY KEY,
    d text NOT NULL DEFAULT 'default',
    i integer GENERATED ALWAYS AS IDENTITY,
    s serial,
    g integer GENERATED ALWAYS AS (id * 2) STORED
);
SELECT zdm.drop_column('kinds', c) FROM unnest('{d,i,s,g}'::text[]) c;
INSERT INTO kinds VALUES (1);
SELECT zdm.contract(migration, '1 day') FROM zdm.status ORDER BY migration;
INSERT INTO kinds VALUES (2);
SELECT * FROM kinds ORDER BY id;
SELECT zdm.rollback(migration) FROM zdm.status ORDER BY migration;
INSERT INTO kinds VALUES (3);
SELECT * FROM kinds ORDER BY id;
\d kinds
SELECT zdm.drop_column('kinds', c) FROM unnest('{d,i,s,g}'::text[]) c;
SELECT zdm.contract(migration) FROM zdm.status ORDER BY migration;
\d kinds
SELECT relname FROM pg_class WHERE relkind = 'S' AND relnamespace = current_schema()::regnamespace;

-- a fill that is another one for each row, on a unique column
CREATE TABLE tokens (id integer PRIMARY KEY, token uuid NOT NULL UNIQUE);
SELECT zdm.drop_column('tokens', 'token', fill => 'gen_random_uuid()');
INSERT INTO tokens SELECT generate_series(1, 10);
SELECT count(DISTINCT token) FROM tokens;
SELECT zdm.contract('drop_tokens_token');
\d tokens

-- a partitioned table, one partition with other attribute numbers
CREATE TABLE logs (day integer NOT NULL, level text NOT NULL, line text) PARTITION BY RANGE (day);
CREATE TABLE logs_1 PARTITION OF logs FOR VALUES FROM (1) TO (10);
CREATE TABLE logs_2 (gone integer, line text, level text NOT NULL, day integer NOT NULL);
ALTER TABLE logs_2 DROP COLUMN gone;
ALTER TABLE logs ATTACH PARTITION logs_2 FOR VALUES FROM (10) TO (20);
CREATE INDEX ON logs (level);
SELECT zdm.drop_column('logs', 'level', fill => $$upper('info')$$);
INSERT INTO logs (day) VALUES (1), (11);
SELECT zdm.contract('drop_logs_level', '1 day');
INSERT INTO logs (day) VALUES (2), (12);
INSERT INTO logs_2 (day) VALUES (13);
SELECT tableoid::regclass, "~zdm_level" FROM logs ORDER BY day;
SELECT zdm.rollback('drop_logs_level');
SELECT tableoid::regclass, level FROM logs ORDER BY day;
SELECT zdm.drop_column('logs', 'level', fill => $$'info'$$);
SELECT zdm.contract('drop_logs_level');
\d logs_2

-- names: case is kept, a long one is cut at a character's end
CREATE TABLE "N" (id integer PRIMARY KEY, "A ""b""" text NOT NULL, "ääääääääääääääääääääääääääääääX" text NOT NULL);
SELECT zdm.drop_column('"N"', 'ääääääääääääääääääääääääääääääX', fill => $$"A ""b""" || '!'$$, migration => 'b');
SELECT zdm.contract('b', '1 day');
INSERT INTO "N" (id, "A ""b""") VALUES (1, 'a');
SELECT * FROM "N";
-- the fill of one migration reads the column of another
\set VERBOSITY default
SELECT zdm.drop_column('"N"', 'A "b"', fill => $$'a'$$, migration => 'a');
\set VERBOSITY terse
SELECT zdm.contract('b', '0');
SELECT zdm.drop_column('"N"', 'A "b"', fill => $$'a'$$, migration => 'a');
SELECT zdm.contract('a', '1 day');
SELECT * FROM "N";
SELECT zdm.contract('a', '0');
SELECT * FROM "N";

-- a sync rule of another migration that is in flight, on the same trigger
CREATE TABLE shared (id integer PRIMARY KEY, a text NOT NULL, legacy text NOT NULL, other text);
INSERT INTO shared VALUES (1, 'a', 'l', 'o');
SELECT zdm.rename_column('shared', 'a', 'b');
SELECT zdm.drop_column('shared', 'legacy', fill => $$a || ''$$);
SELECT zdm.drop_column('shared', 'legacy', fill => $$'of ' || id$$);
SELECT zdm.drop_column('shared', 'other');
INSERT INTO shared (id, b) VALUES (2, 'by the new name');
SELECT * FROM shared WHERE id = 2;
CALL zdm.backfill('rename_shared_a_to_b');
SELECT zdm.contract('rename_shared_a_to_b', '1 day');
INSERT INTO shared (id, a) VALUES (3, 'by the old name');
SELECT * FROM shared WHERE id = 3;
SELECT zdm.contract('drop_shared_other', '1 day');
SELECT zdm.contract('drop_shared_legacy');
SELECT zdm.contract('rename_shared_a_to_b', '0');
SELECT * FROM shared ORDER BY id;
SELECT zdm.rollback('drop_shared_other');
SELECT * FROM shared ORDER BY id;
SELECT tgname FROM pg_trigger WHERE tgrelid = 'shared'::regclass;

-- optional first, then dropped: one after the other
CREATE TABLE steps (id integer PRIMARY KEY, legacy text NOT NULL, name text);
INSERT INTO steps VALUES (1, 'old', 'x');
SELECT zdm.drop_not_null('steps', 'legacy');
INSERT INTO steps (id) VALUES (2);
SELECT zdm.drop_column('steps', 'legacy');
SELECT zdm.contract('drop_steps_legacy_not_null');
SELECT zdm.drop_column('steps', 'legacy');
SELECT zdm.rename_column('steps', 'name', 'label');
SELECT zdm.add_column('steps', 'added', 'text', default_value => $$'new'$$);
INSERT INTO steps (id, label) VALUES (3, 'y');
SELECT * FROM steps ORDER BY id;
SELECT zdm.contract('drop_steps_legacy', '1 day');
CALL zdm.backfill('rename_steps_name_to_label');
SELECT zdm.contract(migration, '0') FROM zdm.status ORDER BY migration DESC;
SELECT * FROM steps ORDER BY id;

-- in one transaction that rolls back
BEGIN;
SELECT zdm.drop_column('shared', 'other');
SELECT zdm.contract('drop_shared_other');
ROLLBACK;
\d shared
SELECT count(*) FROM zdm.status;

-- a statement that was prepared with a star
PREPARE star AS SELECT * FROM shared WHERE id = 1;
PREPARE named AS SELECT id, b FROM shared WHERE id = 1;
EXECUTE star;
SELECT zdm.drop_column('shared', 'other');
SELECT zdm.contract('drop_shared_other', '1 day');
EXECUTE star;
EXECUTE named;
SELECT zdm.rollback('drop_shared_other');
EXECUTE star;

-- a trigger that was off does not make the migration begin again
SELECT zdm.drop_column('shared', 'b', fill => $$'filled'$$);
ALTER TABLE shared DISABLE TRIGGER "~zdm_sync";
SELECT zdm.contract('drop_shared_b');
INSERT INTO shared (id) VALUES (4);
ALTER TABLE shared ENABLE ALWAYS TRIGGER "~zdm_sync";
SELECT state FROM zdm.status;
INSERT INTO shared (id) VALUES (4);
SELECT zdm.contract('drop_shared_b');
SELECT * FROM shared ORDER BY id;

SET client_min_messages = warning;
RESET SESSION AUTHORIZATION;
DROP SCHEMA zdm_drop_column CASCADE;
DROP ROLE regress_zdm_drop_column;
