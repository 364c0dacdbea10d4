--
-- Every kind of table goes from expand to the end with all its rows: no key,
-- unlogged, dropped columns, generated columns, one column only, empty.
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS zdm;
CREATE ROLE regress_zdm_kinds_of_tables;
CREATE SCHEMA zdm_kinds_of_tables AUTHORIZATION regress_zdm_kinds_of_tables;
RESET client_min_messages;
SET SESSION AUTHORIZATION regress_zdm_kinds_of_tables;
SET search_path = zdm_kinds_of_tables;
\set VERBOSITY terse

SET client_min_messages = warning;

CREATE TABLE no_key (a integer);
CREATE UNLOGGED TABLE unlogged (id integer, a text);
CREATE TABLE only_column (a text NOT NULL);
CREATE TABLE empty (id integer PRIMARY KEY, a text);
CREATE TABLE dropped (gone text, id integer, gone_too text NOT NULL DEFAULT 'x', a text, last integer);
ALTER TABLE dropped DROP COLUMN gone, DROP COLUMN gone_too;
CREATE TABLE generated (id integer, a integer, doubled integer GENERATED ALWAYS AS (a * 2) STORED);
CREATE TABLE packed (id integer, a text) WITH (fillfactor = 50);
CREATE TABLE wide (id integer, a text);
DO $$
BEGIN
    EXECUTE (SELECT 'ALTER TABLE wide '
                    || string_agg(format('ADD COLUMN c%s integer DEFAULT %s', i, i), ', ')
               FROM generate_series(1, 300) i);
END $$;

INSERT INTO no_key SELECT i % 3 FROM generate_series(1, 9) i;
INSERT INTO unlogged SELECT i, 'row ' || i FROM generate_series(1, 1000) i;
INSERT INTO only_column VALUES ('first'), ('second');
INSERT INTO dropped SELECT i, 'row ' || i, -i FROM generate_series(1, 100) i;
INSERT INTO generated SELECT i, i FROM generate_series(1, 3) i;
INSERT INTO packed SELECT i, nullif('row ' || i, 'row 7') FROM generate_series(1, 100) i;
INSERT INTO wide SELECT i, 'row ' || i FROM generate_series(1, 20) i;

SELECT zdm.rename_column(relname::regclass, 'a', 'b', migration => relname)
  FROM pg_class WHERE relnamespace = 'zdm_kinds_of_tables'::regnamespace AND relkind = 'r'
 ORDER BY relname COLLATE "C";

-- both versions write
INSERT INTO no_key (a) VALUES (100);
INSERT INTO no_key (b) VALUES (200);
DELETE FROM no_key WHERE a = 0;
UPDATE unlogged SET a = 'old' WHERE id = 1;
UPDATE unlogged SET b = 'new' WHERE id = 2;
INSERT INTO only_column (a) VALUES ('old');
INSERT INTO only_column (b) VALUES ('new');
INSERT INTO only_column VALUES (DEFAULT);
UPDATE dropped SET b = 'new' WHERE id = 1;
INSERT INTO dropped (id, b, last) VALUES (101, 'new', -101), (102, NULL, -102);
INSERT INTO dropped VALUES (103, 'old', -103), (104, NULL, -104);
UPDATE generated SET b = 10 WHERE id = 1;
UPDATE generated SET a = 20 WHERE id = 2;
INSERT INTO generated (id, b) VALUES (4, 40);
UPDATE packed SET b = NULL WHERE id = 1;
UPDATE wide SET b = 'new', c300 = 0 WHERE id = 1;
SELECT * FROM generated ORDER BY id;

SELECT format('CALL zdm.backfill(%L)', migration) FROM zdm.status ORDER BY migration COLLATE "C" \gexec
SELECT v.* FROM zdm.status s, zdm.verify(s.migration) v ORDER BY s.migration COLLATE "C";
SELECT next_command FROM zdm.status ORDER BY migration COLLATE "C" \gexec

SELECT b, count(*) FROM no_key GROUP BY b ORDER BY b;
SELECT count(*), count(*) FILTER (WHERE b = 'row ' || id) FROM unlogged;
SELECT relpersistence FROM pg_class WHERE oid = 'unlogged'::regclass;
SELECT id, b FROM unlogged WHERE b <> 'row ' || id ORDER BY id;
SELECT b FROM only_column ORDER BY b COLLATE "C";
SELECT count(*) FROM empty;
SELECT count(*), count(*) FILTER (WHERE b = 'row ' || id), sum(id + last) FROM dropped;
SELECT * FROM dropped WHERE id > 100 OR id < 3 ORDER BY id;
SELECT * FROM generated ORDER BY id;
SELECT count(*), count(*) FILTER (WHERE b = 'row ' || id), count(*) FILTER (WHERE b IS NULL) FROM packed;
SELECT id, b, c1, c300 FROM wide WHERE id < 3 ORDER BY id;
\d generated

RESET SESSION AUTHORIZATION;
SET client_min_messages = warning;
DROP SCHEMA zdm_kinds_of_tables CASCADE;
DROP ROLE regress_zdm_kinds_of_tables;
