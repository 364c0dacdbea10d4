--
-- What add_column and set_not_null refuse, before anything is done.
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS zdm;
CREATE ROLE regress_zdm_column_refusals;
CREATE ROLE regress_zdm_column_other;
CREATE SCHEMA zdm_column_refusals AUTHORIZATION regress_zdm_column_refusals;
RESET client_min_messages;
SET SESSION AUTHORIZATION regress_zdm_column_refusals;
SET search_path = zdm_column_refusals;

CREATE TABLE t (id integer PRIMARY KEY, a text, b text NOT NULL, g text GENERATED ALWAYS AS (a || '!') STORED);
INSERT INTO t VALUES (1, 'a', 'b'), (2, NULL, 'b');
CREATE DOMAIN positive AS integer CHECK (VALUE > 0);
CREATE DOMAIN plain AS integer;
CREATE TABLE parted (id integer, k integer) PARTITION BY LIST (k);
CREATE TABLE parted_1 PARTITION OF parted FOR VALUES IN (1);
CREATE VIEW v AS SELECT 1 AS a;

-- arguments
SELECT zdm.add_column('t', 'x', 'text', not_null => true);
SELECT zdm.add_column('t', 'x', 'text', fill => 'a');
SELECT zdm.add_column('t', 'x', 'text', generated => 'a', default_value => '1');
SELECT zdm.add_column('t', 'x', 'text', generated => 'a', not_null => true);
SELECT zdm.add_column('t', NULL, 'text');
SELECT zdm.add_column('t', 'x', NULL);
SELECT zdm.add_column(NULL, 'x', 'text');
SELECT zdm.add_column('t', 'x', 'text', not_null => NULL);
SELECT zdm.add_column('t', '', 'text');
SELECT zdm.add_column('t', 'a', 'text');
SELECT zdm.add_column('t', 'ctid', 'text');

-- types: one, by the server's parser, and nothing behind it
SELECT zdm.add_column('t', 'x', 'no_such_type');
SELECT zdm.add_column('t', 'x', 'text; DROP TABLE zdm_column_refusals.t');
SELECT zdm.add_column('t', 'x', 'text DEFAULT 1');
SELECT zdm.add_column('t', 'x', 'varchar(0)');
SELECT zdm.add_column('t', 'x', 'anyelement');
SELECT zdm.add_column('t', 'x', 'positive');
SELECT zdm.add_column('t', 'x', 'text COLLATE "C"');
SELECT zdm.add_column('t', 'x', 'serial');

-- expressions
SELECT zdm.add_column('t', 'x', 'text', default_value => 'a');
SELECT zdm.add_column('t', 'x', 'integer', default_value => '''one''');
SELECT zdm.add_column('t', 'x', 'integer', default_value => 'now()');
SELECT zdm.add_column('t', 'x', 'text', default_value => '(SELECT 1)');
SELECT zdm.add_column('t', 'x', 'text', default_value => '1, 2');
SELECT zdm.add_column('t', 'x', 'text', default_value => '1) VALUES (2');
SELECT zdm.add_column('t', 'x', 'text', not_null => true, fill => 'missing');
SELECT zdm.add_column('t', 'x', 'text', not_null => true, fill => 'x');
SELECT zdm.add_column('t', 'x', 'text', not_null => true, fill => 'g');
SELECT zdm.add_column('t', 'x', 'text', not_null => true, fill => 'max(a)');
SELECT zdm.add_column('t', 'x', 'integer', not_null => true, fill => 't');
SELECT zdm.add_column('t', 'x', 'text', generated => 'now()::text');
SELECT zdm.set_not_null('t', 'a', 'count(*)');

-- tables and columns
SELECT zdm.add_column('v', 'x', 'text');
SELECT zdm.add_column('parted_1', 'x', 'text');
SELECT zdm.set_not_null('parted_1', 'id');
CREATE TABLE parent (a text);
CREATE TABLE child () INHERITS (parent);
SELECT zdm.add_column('parent', 'x', 'text');
SELECT zdm.set_not_null('child', 'a');
CREATE TEMPORARY TABLE passing (a text);
SELECT zdm.add_column('passing', 'x', 'text');
SELECT zdm.set_not_null('passing', 'a');
DROP TABLE passing;
SELECT zdm.add_column('pg_class', 'x', 'text');
SELECT zdm.set_not_null('t', 'b', '''b''');
SELECT zdm.set_not_null('t', 'id');
SELECT zdm.set_not_null('t', 'g');
SELECT zdm.set_not_null('t', 'none');
SELECT zdm.set_not_null('t', 'xmin');
SELECT zdm.set_not_null('parted', 'k', '1');

-- others
SELECT zdm.set_not_null('t', 'a', '''a''', 'first');
SELECT zdm.set_not_null('t', 'a', '''b''', 'first');
SELECT zdm.set_not_null('t', 'a', '''b''', 'second');
SELECT zdm.add_column('t', 'x', 'plain', migration => 'first');
SELECT zdm.finish('first');
SELECT zdm.rollback('first');
SET SESSION AUTHORIZATION regress_zdm_column_other;
SELECT zdm.add_column('zdm_column_refusals.t', 'x', 'text');
SELECT zdm.set_not_null('zdm_column_refusals.t', 'a');
SELECT zdm.drop_not_null('zdm_column_refusals.t', 'b');
SET SESSION AUTHORIZATION regress_zdm_column_refusals;
GRANT USAGE ON SCHEMA zdm_column_refusals TO regress_zdm_column_other;
SET SESSION AUTHORIZATION regress_zdm_column_other;
SELECT zdm.add_column('zdm_column_refusals.t', 'x', 'text');
SELECT zdm.set_not_null('zdm_column_refusals.t', 'a');
SELECT zdm.drop_not_null('zdm_column_refusals.t', 'b');
SET SESSION AUTHORIZATION regress_zdm_column_refusals;

-- nothing of all that has changed anything
\d t
SELECT migration FROM zdm.status;

-- without fill: rows that hold NULL are counted and named, and contract waits
SELECT zdm.set_not_null('t', 'a', migration => 'bare');
UPDATE t SET b = 'c' WHERE id = 2 RETURNING a, b;
INSERT INTO t VALUES (3, NULL, 'written meanwhile');
SELECT * FROM zdm.verify('bare');
CALL zdm.backfill('bare');
SELECT last_error, next_command FROM zdm.status;
SELECT level, event, detail FROM zdm.events WHERE migration = 'bare' AND level = 'error';
SELECT zdm.contract('bare');
SELECT count(*) FROM pg_constraint WHERE conname LIKE '~zdm%';
UPDATE t SET a = 'now' WHERE a IS NULL;
CALL zdm.backfill('bare');
\set VERBOSITY terse
SELECT zdm.contract('bare');
\set VERBOSITY default

-- a fill that gives NULL, or fails, for some rows
CREATE TABLE f (id integer PRIMARY KEY, v text, n integer);
INSERT INTO f VALUES (1, NULL, 1), (2, NULL, NULL), (3, NULL, 0);
SELECT zdm.set_not_null('f', 'v', '(100 / n)::text', 'some');
UPDATE f SET id = 13 WHERE id = 3;
INSERT INTO f VALUES (4, NULL, 0);
CALL zdm.backfill('some');
DELETE FROM f WHERE n = 0;
CALL zdm.backfill('some');
INSERT INTO f VALUES (5, NULL, NULL);
DELETE FROM f WHERE v IS NULL;
CALL zdm.backfill('some');
SELECT * FROM f;
\set VERBOSITY terse
SELECT zdm.rollback('some');

RESET SESSION AUTHORIZATION;
SET client_min_messages = warning;
DROP SCHEMA zdm_column_refusals CASCADE;
DROP ROLE regress_zdm_column_refusals;
DROP ROLE regress_zdm_column_other;
