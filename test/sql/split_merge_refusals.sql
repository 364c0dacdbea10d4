--
-- What splits and merges refuse, before anything is done, and what refuses
-- them later.
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS zdm;
CREATE ROLE regress_zdm_reshape;
CREATE ROLE regress_zdm_reshape_other;
CREATE SCHEMA zdm_reshape AUTHORIZATION regress_zdm_reshape;
GRANT USAGE ON SCHEMA zdm_reshape TO regress_zdm_reshape_other;
RESET client_min_messages;
SET SESSION AUTHORIZATION regress_zdm_reshape;
SET search_path = zdm_reshape;


CREATE TABLE users (id integer PRIMARY KEY, name text, other text, third text, g text GENERATED ALWAYS AS (name) STORED);
INSERT INTO users VALUES (1, 'a b', 'o', 't');
CREATE DOMAIN short AS text CHECK (length(VALUE) < 10);
CREATE DOMAIN shorter AS short;

-- into
SELECT zdm.split_column('users', 'name', NULL, 'a');
SELECT zdm.split_column('users', 'name', '[]', 'a');
SELECT zdm.split_column('users', 'name', '"text"', 'a');
SELECT zdm.split_column('users', 'name', '{}', 'a');
SELECT zdm.split_column('users', 'name', '{"a": {"type": "text", "up": "name"}}', 'a');
SELECT zdm.split_column('users', 'name', '{"a": {"type": "text", "up": "name"}, "b": "text"}', 'a');
SELECT zdm.split_column('users', 'name', '{"a": {"type": "text", "up": "name"}, "b": ["text"]}', 'a');
SELECT zdm.split_column('users', 'name', '{"a": {"type": "text", "up": "name"}, "b": {"type": "text"}}', 'a');
SELECT zdm.split_column('users', 'name', '{"a": {"type": "text", "up": "name"}, "b": {"up": "name"}}', 'a');
SELECT zdm.split_column('users', 'name', '{"a": {"type": "text", "up": "name"}, "b": {"type": "text", "up": 1}}', 'a');
SELECT zdm.split_column('users', 'name', '{"a": {"type": "text", "up": "name"}, "b": {"type": "text", "up": "name", "unique": true}}', 'a');
SELECT zdm.split_column('users', 'name', '{"a": {"type": "text", "up": "name"}, "A": {"type": "text", "up": "name"}}', 'a');
SELECT zdm.split_column('users', 'name', '{"a": {"type": "text", "up": "name"}, "": {"type": "text", "up": "name"}}', 'a');
SELECT zdm.split_column('users', 'name', jsonb_build_object('a', '{"type": "text", "up": "name"}'::jsonb, repeat('x', 64), '{"type": "text", "up": "name"}'::jsonb), 'a');
SELECT zdm.split_column('users', 'name', '{"a": {"type": "text", "up": "name"}, "other": {"type": "text", "up": "name"}}', 'a');
SELECT zdm.split_column('users', 'name', '{"a": {"type": "text", "up": "name"}, "ctid": {"type": "text", "up": "name"}}', 'a');

-- types
SELECT zdm.split_column('users', 'name', '{"a": {"type": "text", "up": "name"}, "b": {"type": "no_such", "up": "name"}}', 'a');
SELECT zdm.split_column('users', 'name', '{"a": {"type": "text", "up": "name"}, "b": {"type": "text; DROP TABLE users", "up": "name"}}', 'a');
SELECT zdm.split_column('users', 'name', '{"a": {"type": "text", "up": "name"}, "b": {"type": "", "up": "name"}}', 'a');
SELECT zdm.split_column('users', 'name', '{"a": {"type": "text", "up": "name"}, "b": {"type": "anyelement", "up": "name"}}', 'a');
SELECT zdm.split_column('users', 'name', '{"a": {"type": "text", "up": "name"}, "b": {"type": "users", "up": "name"}}', 'a');
SELECT zdm.split_column('users', 'name', '{"a": {"type": "text", "up": "name"}, "b": {"type": "shorter", "up": "name"}}', 'a');

-- expressions
SELECT zdm.split_column('users', 'name', '{"a": {"type": "text", "up": "nam"}, "b": {"type": "text", "up": "name"}}', 'a');
SELECT zdm.split_column('users', 'name', '{"a": {"type": "text", "up": "name"}, "b": {"type": "text", "up": "a"}}', 'a');
SELECT zdm.split_column('users', 'name', '{"a": {"type": "text", "up": "name"}, "b": {"type": "text", "up": "g"}}', 'a');
SELECT zdm.split_column('users', 'name', '{"a": {"type": "text", "up": "name"}, "b": {"type": "text", "up": "name || random()"}}', 'a');
SELECT zdm.split_column('users', 'name', '{"a": {"type": "text", "up": "name"}, "b": {"type": "integer", "up": "name || ''1''"}}', 'a');
SELECT zdm.split_column('users', 'name', '{"a": {"type": "text", "up": "name"}, "b": {"type": "text", "up": "name, name"}}', 'a');
SELECT zdm.split_column('users', 'name', '{"a": {"type": "text", "up": "name"}, "b": {"type": "text", "up": "(SELECT name)"}}', 'a');
SELECT zdm.split_column('users', 'name', '{"a": {"type": "text", "up": "name"}, "b": {"type": "text", "up": "name"}}', 'a || name');
SELECT zdm.split_column('users', 'name', '{"a": {"type": "text", "up": "name"}, "b": {"type": "text", "up": "name"}}', 'a || c');
SELECT zdm.split_column('users', 'name', '{"a": {"type": "text", "up": "name"}, "b": {"type": "text", "up": "name"}}', 'a ||');
SELECT zdm.split_column('users', 'name', '{"a": {"type": "text", "up": "name"}, "b": {"type": "text", "up": "name"}}', NULL);
SELECT zdm.split_column('users', 'name', '{"a": {"type": "text", "up": "name"}, "b": {"type": "text", "up": "name"}}', '');
SELECT zdm.split_column('users', 'no_such', '{"a": {"type": "text", "up": "name"}, "b": {"type": "text", "up": "name"}}', 'a');
SELECT zdm.split_column('users', 'g', '{"a": {"type": "text", "up": "name"}, "b": {"type": "text", "up": "name"}}', 'a');

-- merges
SELECT zdm.merge_columns('users', NULL, 'c', 'text', 'name', '{}');
SELECT zdm.merge_columns('users', '{}', 'c', 'text', 'name', '{}');
SELECT zdm.merge_columns('users', '{name}', 'c', 'text', 'name', '{"name": "c"}');
SELECT zdm.merge_columns('users', '{name,name}', 'c', 'text', 'name', '{"name": "c"}');
SELECT zdm.merge_columns('users', '{name,NULL}', 'c', 'text', 'name', '{"name": "c"}');
SELECT zdm.merge_columns('users', '{name,no_such}', 'c', 'text', 'name', '{"name": "c", "no_such": "c"}');
SELECT zdm.merge_columns('users', '{name,other}', 'third', 'text', 'name', '{"name": "third", "other": "third"}');
SELECT zdm.merge_columns('users', '{name,other}', 'c', 'text', 'name', '{"name": "c"}');
SELECT zdm.merge_columns('users', '{name,other}', 'c', 'text', 'name', '{"name": "c", "other": null}');
SELECT zdm.merge_columns('users', '{name,other}', 'c', 'text', 'name', '{"name": "c", "other": "c", "third": "c"}');
SELECT zdm.merge_columns('users', '{name,other}', 'c', 'text', 'name', '["c"]');
SELECT zdm.merge_columns('users', '{name,other}', 'c', 'short', 'name', '{"name": "c", "other": "c"}');
SELECT zdm.merge_columns('users', '{name,other}', 'c', 'text', 'name', '{"name": "c", "other": "name"}');
SELECT zdm.merge_columns('users', '{name,other}', 'c', 'integer', 'name', '{"name": "c", "other": "c"}');

-- who may not
RESET SESSION AUTHORIZATION;
SET SESSION AUTHORIZATION regress_zdm_reshape_other;
SELECT zdm.split_column('zdm_reshape.users', 'name', '{"a": {"type": "text", "up": "name"}, "b": {"type": "text", "up": "name"}}', 'a');
SELECT zdm.merge_columns('zdm_reshape.users', '{name,other}', 'c', 'text', 'name', '{"name": "c", "other": "c"}');
RESET SESSION AUTHORIZATION;
SET SESSION AUTHORIZATION regress_zdm_reshape;
CREATE TYPE mood AS ENUM ('a', 'b');
REVOKE USAGE ON TYPE mood FROM PUBLIC;
ALTER TABLE users OWNER TO regress_zdm_reshape;
RESET SESSION AUTHORIZATION;
SET client_min_messages = warning;
CREATE TABLE zdm_reshape.of_other (name text);
ALTER TABLE zdm_reshape.of_other OWNER TO regress_zdm_reshape_other;
RESET client_min_messages;
SET SESSION AUTHORIZATION regress_zdm_reshape_other;
SELECT zdm.split_column('zdm_reshape.of_other', 'name', '{"a": {"type": "text", "up": "name"}, "b": {"type": "zdm_reshape.mood", "up": "NULL"}}', 'a');
RESET SESSION AUTHORIZATION;
SET SESSION AUTHORIZATION regress_zdm_reshape;

-- nothing was done
\d users
SELECT count(*) FROM zdm.status;

-- a column is in one migration at a time, on either side
SET client_min_messages = warning;
SELECT zdm.split_column('users', 'name', '{"a": {"type": "text", "up": "name"}, "b": {"type": "text", "up": "''b''"}}', 'a');
SELECT zdm.rename_column('users', 'b', 'c');
SELECT zdm.merge_columns('users', '{other,a}', 'c', 'text', 'other', '{"other": "c", "a": "c"}');
SELECT zdm.merge_columns('users', '{other,third}', 'a', 'text', 'other', '{"other": "a", "third": "a"}');
-- other people's DDL that would break it
ALTER TABLE users DROP COLUMN a;
ALTER TABLE users RENAME COLUMN b TO c;
ALTER TABLE users ALTER COLUMN b TYPE integer USING 1;
SELECT zdm.rollback('split_users_name');

-- what hangs on the old columns: told at expand, and in the way of contract
CREATE TABLE deps (id integer PRIMARY KEY, name text CHECK (name <> ''), other text UNIQUE, third text);
CREATE INDEX deps_name ON deps (name);
CREATE VIEW deps_view AS SELECT name FROM deps;
CREATE STATISTICS deps_stat ON name, third FROM deps;
CREATE TABLE refers (r text REFERENCES deps (other));
CREATE FUNCTION count_names() RETURNS bigint LANGUAGE plpgsql AS $$ BEGIN RETURN (SELECT count(name) FROM deps); END $$;
CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN new; END $$;
CREATE TRIGGER on_name BEFORE UPDATE OF name ON deps FOR EACH ROW EXECUTE FUNCTION touch();
SELECT zdm.merge_columns('deps', '{name,other}', 'pair', 'text', $$name || '-' || other$$,
    $${"name": "split_part(pair, '-', 1)", "other": "split_part(pair, '-', 2)"}$$);
INSERT INTO deps (id, pair) VALUES (1, 'x-y');
INSERT INTO deps (id, pair) VALUES (2, '-z');
INSERT INTO deps (id, pair) VALUES (2, 'z-y');
CALL zdm.backfill('merge_deps_into_pair');
SELECT zdm.contract('merge_deps_into_pair');
-- not in that of one with a quarantine, which drops nothing; the end of that is
SET client_min_messages = error;
SELECT zdm.contract('merge_deps_into_pair', '1 day');
SET client_min_messages = warning;
SELECT zdm.contract('merge_deps_into_pair', '0');
DROP VIEW deps_view;
DROP INDEX deps_name;
DROP STATISTICS deps_stat;
DROP TRIGGER on_name ON deps;
DROP TABLE refers;
ALTER TABLE deps DROP CONSTRAINT deps_name_check, DROP CONSTRAINT deps_other_key;
SELECT zdm.contract('merge_deps_into_pair', '0');
\d deps

-- rows that up fails on are told beforehand, as far as a sample shows them,
-- and reported by key when the backfill meets them
CREATE TABLE bad (id integer PRIMARY KEY, v text NOT NULL);
INSERT INTO bad SELECT i, CASE WHEN i % 100 = 0 THEN 'bad' ELSE i || '/' || i END FROM generate_series(1, 300) i;
SELECT description FROM zdm.explain($$zdm.split_column('bad', 'v',
    '{"n": {"type": "integer", "up": "split_part(v, ''/'', 1)::integer"}, "d": {"type": "integer", "up": "split_part(v, ''/'', 2)::integer"}}',
    'n || ''/'' || d')$$) WHERE phase = 'note' AND description LIKE '%cannot be converted%';
SELECT zdm.split_column('bad', 'v',
    '{"n": {"type": "integer", "up": "split_part(v, ''/'', 1)::integer"}, "d": {"type": "integer", "up": "split_part(v, ''/'', 2)::integer"}}',
    $$n || '/' || 100 / d * d$$);
-- a statement that writes something else is none of the sync's business
UPDATE bad SET id = 400 WHERE id = 100;
-- one that gives a part of a row that up cannot make cannot be completed
UPDATE bad SET n = 7 WHERE id = 200;
UPDATE bad SET n = 2, d = 1 WHERE id = 200 RETURNING *;
CALL zdm.backfill('split_bad_v');
SELECT last_error FROM zdm.status;
SELECT detail FROM zdm.events WHERE migration = 'split_bad_v' AND event = 'row failed' ORDER BY detail;
SELECT count(*) FROM bad WHERE n IS NULL;
SELECT zdm.contract('split_bad_v');
-- down that fails fails the writer's statement, and says whose it is
INSERT INTO bad (id, n, d) VALUES (500, 1, 0);
UPDATE bad SET d = 0 WHERE id = 1;
INSERT INTO bad (id, n) VALUES (500, 1);
INSERT INTO bad (id, v) VALUES (500, 'bad');
UPDATE bad SET v = '9/3' WHERE id IN (300, 400);
CALL zdm.backfill('split_bad_v');
SELECT state FROM zdm.status;
SELECT zdm.rollback('split_bad_v');
SELECT * FROM bad WHERE id IN (1, 200, 300, 400, 500) ORDER BY id;

-- a superuser who asks lends the owner's code nothing
CREATE FUNCTION whoami(text) RETURNS text STABLE LANGUAGE plpgsql AS $$ BEGIN RAISE 'run as %', current_user; END $$;
RESET SESSION AUTHORIZATION;
SELECT description FROM zdm.explain($$zdm.split_column('bad', 'v',
    '{"n": {"type": "text", "up": "whoami(v)"}, "d": {"type": "text", "up": "v"}}', 'd')$$)
 WHERE phase = 'note' AND description LIKE '%cannot be converted%';
DROP SCHEMA zdm_reshape CASCADE;
DROP ROLE regress_zdm_reshape, regress_zdm_reshape_other;
