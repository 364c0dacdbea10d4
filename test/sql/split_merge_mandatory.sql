--
-- Splits and merges whose new columns are to be mandatory, or have a default.
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS zdm;
ALTER SEQUENCE zdm.migration_id_seq RESTART WITH 620001;
CREATE ROLE regress_zdm_mandatory;
CREATE SCHEMA zdm_mandatory AUTHORIZATION regress_zdm_mandatory;
SET SESSION AUTHORIZATION regress_zdm_mandatory;
SET search_path = zdm_mandatory;
SET DateStyle = ISO;

CREATE TABLE users (id integer PRIMARY KEY, name text NOT NULL);
INSERT INTO users VALUES (1, 'Ada Lovelace'), (2, 'Alan Turing'), (3, 'Plato');
\set split 'zdm.split_column(''users'', ''name'', ''{"first_name": {"type": "text", "up": "split_part(name, '''' '''', 1)", "not_null": true}, "last_name": {"type": "text", "up": "nullif(split_part(name, '''' '''', 2), '''''''')", "not_null": true, "default_value": "''''of '''' || current_schema"}, "nick": {"type": "text", "up": "NULL", "not_null": false}}'', ''concat_ws('''' '''', first_name, last_name)'')'
SELECT phase, description, sql FROM zdm.explain(:'split') WHERE phase <> 'note' OR description ~ 'NULL';

-- a row for which up gives NULL is found, and until it has a value nothing is demanded
SELECT :split;
\d users
INSERT INTO users (id, name) VALUES (4, 'Aristotle');
CALL zdm.backfill('split_users_name');
SELECT check_name, rows_compared, mismatches, sample FROM (SELECT * FROM zdm.verify('split_users_name')) v (check_name, relation, rows_compared, mismatches, sample);
SELECT conname FROM pg_constraint WHERE conrelid = 'users'::regclass AND contype = 'c';
UPDATE users SET last_name = 'the Greek' WHERE id IN (3, 4);
CALL zdm.backfill('split_users_name');
SELECT state FROM zdm.status;

-- ready: what lacks a value is refused, whichever version writes it
INSERT INTO users (id, name) VALUES (5, 'Grace Hopper');
INSERT INTO users (id, first_name) VALUES (6, 'Edsger');
INSERT INTO users (id, name) VALUES (7, 'Socrates');
INSERT INTO users (id, first_name, last_name) VALUES (7, 'Socrates', NULL);
UPDATE users SET name = 'Plato' WHERE id = 3;
UPDATE users SET first_name = NULL WHERE id = 3;
SELECT * FROM users ORDER BY id;
-- which nobody else takes away
ALTER TABLE users DROP CONSTRAINT "~zdm_620001_first_name_not_null";

-- back from ready, and from a quarantine, though the columns have what the call gave them
SELECT zdm.rollback('split_users_name');
\d users
SELECT :split;
UPDATE users SET last_name = 'the Greek' WHERE id IN (3, 4);
CALL zdm.backfill('split_users_name');
SELECT zdm.contract('split_users_name', '1 day');
\d users
INSERT INTO users (id, name) VALUES (8, 'Tony Hoare');
INSERT INTO users (id, first_name) VALUES (9, 'Niklaus') RETURNING *;
INSERT INTO users (id, name) VALUES (10, 'Socrates');
SELECT zdm.rollback('split_users_name');
\d users
SELECT * FROM users WHERE id > 7 ORDER BY id;

-- a default that somebody else gives a column is in the way as before
SELECT :split;
ALTER TABLE users ALTER first_name SET DEFAULT 'X';
SELECT zdm.rollback('split_users_name');
ALTER TABLE users ALTER first_name DROP DEFAULT;
UPDATE users SET last_name = 'the Greek' WHERE id IN (3, 4);
CALL zdm.backfill('split_users_name');
SELECT zdm.contract('split_users_name');
SELECT phase, step, description, state FROM zdm.steps
 WHERE migration_id = (SELECT max(migration_id) FROM zdm.steps) AND phase IN ('migrate', 'contract') ORDER BY step;
\d users
INSERT INTO users (id, first_name) VALUES (11, 'Barbara') RETURNING *;
INSERT INTO users (id, last_name) VALUES (12, 'Liskov');

-- a merge
CREATE TABLE spans (id integer PRIMARY KEY, since date NOT NULL, until date);
INSERT INTO spans VALUES (1, '2020-01-01', '2020-02-01'), (2, '2021-01-01', NULL);
SELECT zdm.merge_columns('spans', '{since,until}', 'during', 'daterange', 'daterange(since, until)',
    '{"since": "lower(during)", "until": "upper(during)"}', default_value => $$'[2000-01-01,)'$$, not_null => true);
INSERT INTO spans (id) VALUES (3);
INSERT INTO spans (id, since) VALUES (4, '2022-01-01');
CALL zdm.backfill('merge_spans_into_during');
INSERT INTO spans (id, during) VALUES (5, NULL);
SELECT zdm.contract('merge_spans_into_during', '1 day');
INSERT INTO spans (id) VALUES (6);
SELECT * FROM spans ORDER BY id;
SELECT zdm.contract('merge_spans_into_during', '0');
\d spans

-- the partitions of a table, of which one has other attribute numbers; a domain
-- with a default of its own
CREATE DOMAIN code AS text DEFAULT 'none';
CREATE TABLE parts (id integer, path text) PARTITION BY RANGE (id);
CREATE TABLE parts_1 PARTITION OF parts FOR VALUES FROM (0) TO (10);
CREATE TABLE parts_2 (gone integer, path text, id integer);
ALTER TABLE parts_2 DROP COLUMN gone;
ALTER TABLE parts ATTACH PARTITION parts_2 FOR VALUES FROM (10) TO (20);
INSERT INTO parts VALUES (1, 'a/b'), (11, 'c/d');
SELECT zdm.split_column('parts', 'path',
    '{"head": {"type": "code", "up": "split_part(path, ''/'', 1)", "default_value": "''root''", "not_null": true},
      "tail": {"type": "code", "up": "split_part(path, ''/'', 2)", "not_null": true}}', $$head || '/' || tail$$);
INSERT INTO parts (id, head) VALUES (12, 'e');
CALL zdm.backfill('split_parts_path');
SELECT zdm.contract('split_parts_path');
INSERT INTO parts (id) VALUES (13);
SELECT tableoid::regclass, * FROM parts ORDER BY id;
\d parts_2

-- what is refused
\set VERBOSITY default
CREATE TABLE t (id integer, a text, b text);
SELECT zdm.split_column('t', 'a', '{"x": {"type": "text", "up": "a", "not_null": "yes"}, "y": {"type": "text", "up": "a"}}', 'x');
SELECT zdm.split_column('t', 'a', '{"x": {"type": "text", "up": "a", "not_null": null}, "y": {"type": "text", "up": "a"}}', 'x');
SELECT zdm.split_column('t', 'a', '{"x": {"type": "text", "up": "a", "default_value": 1}, "y": {"type": "text", "up": "a"}}', 'x');
SELECT zdm.split_column('t', 'a', '{"x": {"type": "text", "up": "a", "default_value": "b"}, "y": {"type": "text", "up": "a"}}', 'x');
SELECT zdm.split_column('t', 'a', '{"x": {"type": "integer", "up": "1", "default_value": "''one''"}, "y": {"type": "text", "up": "a"}}', 'y');
SELECT zdm.split_column('t', 'a', '{"x": {"type": "numeric(3,1)", "up": "1", "default_value": "10.0 / 0"}, "y": {"type": "text", "up": "a"}}', 'y');
SELECT zdm.split_column('t', 'a', '{"x": {"type": "text", "up": "a", "default_value": "x, y"}, "y": {"type": "text", "up": "a"}}', 'x');
\set VERBOSITY terse
SELECT zdm.merge_columns('t', '{a,b}', 'c', 'text', 'a', '{"a": "c", "b": "c"}', default_value => 'nothing()');
\set VERBOSITY default
SELECT zdm.merge_columns('t', '{a,b}', 'c', 'text', 'a', '{"a": "c", "b": "c"}', not_null => NULL);
SELECT count(*) FROM zdm.status;

RESET SESSION AUTHORIZATION;
SET client_min_messages = error;
DROP SCHEMA zdm_mandatory CASCADE;
DROP ROLE regress_zdm_mandatory;
