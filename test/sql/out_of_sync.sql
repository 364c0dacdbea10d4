--
-- What could let the two sides differ is found before anything is dropped, and
-- mended by the same call again where it can be.
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS zdm;
CREATE ROLE regress_zdm_out_of_sync;
CREATE SCHEMA zdm_out_of_sync AUTHORIZATION regress_zdm_out_of_sync;
GRANT EXECUTE ON FUNCTION zdm._sync_columns TO regress_zdm_out_of_sync;
SET SESSION AUTHORIZATION regress_zdm_out_of_sync;
SET search_path = zdm_out_of_sync;
\set VERBOSITY terse

-- the trigger off for a time: rows without a new value are filled, values
-- that contradict each other are reported
CREATE TABLE t (id integer PRIMARY KEY, a text);
INSERT INTO t SELECT i, 'a' || i FROM generate_series(1, 5) i;
SELECT zdm.rename_column('t', 'a', 'b', migration => 'm');
CALL zdm.backfill('m');
ALTER TABLE t DISABLE TRIGGER ALL;
INSERT INTO t (id, a) VALUES (6, 'only old');
SELECT zdm.contract('m');
ALTER TABLE t ENABLE TRIGGER ALL;
SELECT state, next_command FROM zdm.status;
CALL zdm.backfill('m');
SELECT zdm.contract('m');
ALTER TABLE t ENABLE ALWAYS TRIGGER "~zdm_sync";
CALL zdm.backfill('m');
SELECT count(*) FROM t WHERE a IS DISTINCT FROM b;
-- in the quarantine
SELECT zdm.contract('m', '1 day');
ALTER TABLE t DISABLE TRIGGER "~zdm_sync";
INSERT INTO t (id, a) VALUES (7, 'only old');
SELECT zdm.rollback('m');
SELECT zdm.contract('m', '0');
ALTER TABLE t ENABLE ALWAYS TRIGGER "~zdm_sync";
SELECT zdm.rollback('m');
SELECT zdm.contract('m', '0');
UPDATE t SET a = 'old again' WHERE id = 7;
SELECT zdm.contract('m', '0');
SELECT * FROM t ORDER BY id;

-- two migrations of one table: a backfill moves rows to where the other one
-- does not look
CREATE TABLE two (id integer PRIMARY KEY, a text, x text);
INSERT INTO two SELECT i, 'a' || i, 'x' || i FROM generate_series(1, 3000) i;
SELECT zdm.rename_column('two', 'a', 'b', migration => 'first');
SELECT zdm.rename_column('two', 'x', 'y', migration => 'second');
CALL zdm.backfill('first');
CALL zdm.backfill('second');
SELECT count(*) FROM two WHERE a IS DISTINCT FROM b OR x IS DISTINCT FROM y;
SELECT zdm.contract('first');
SELECT zdm.contract('second');

-- rows that a writer moves while up fails on them are found all the same
CREATE TABLE moved (id integer PRIMARY KEY, a text, n integer, other integer) WITH (fillfactor = 100);
INSERT INTO moved SELECT i, CASE WHEN i % 500 = 0 THEN 'bad' ELSE i::text END FROM generate_series(1, 1500) i;
SELECT zdm._sync_columns('moved', '{a}', '{n}', '{a::integer}', '{n::text}', 'moved');
UPDATE moved SET other = 1;
CALL zdm.backfill('moved');
SELECT detail FROM zdm.events WHERE migration = 'moved' AND event = 'row failed' ORDER BY detail COLLATE "C";
UPDATE moved SET a = id WHERE a = 'bad';
CALL zdm.backfill('moved');
SELECT count(*) FROM moved WHERE a IS DISTINCT FROM n::text;

-- children by inheritance
CREATE TABLE parent (id integer, a text);
SELECT zdm.rename_column('parent', 'a', 'b', migration => 'parent');
CREATE TABLE child () INHERITS (parent);
CREATE TABLE child (id integer, a text, b text);
ALTER TABLE child INHERIT parent;
-- nor can it become a partition itself
CREATE TABLE whole (id integer, a text, b text) PARTITION BY RANGE (id);
ALTER TABLE whole ATTACH PARTITION parent DEFAULT;
SELECT zdm.rollback('parent');

RESET SESSION AUTHORIZATION;
SET client_min_messages = warning;
DROP SCHEMA zdm_out_of_sync CASCADE;
REVOKE EXECUTE ON FUNCTION zdm._sync_columns FROM regress_zdm_out_of_sync;
DROP ROLE regress_zdm_out_of_sync;
