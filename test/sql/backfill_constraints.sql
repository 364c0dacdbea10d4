--
-- What holds for the new columns holds for what the backfill writes into them:
-- checks, unique and foreign keys, generated columns, and indexes of each kind.
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS zdm;
CREATE ROLE regress_zdm_backfill_constraints;
CREATE SCHEMA zdm_backfill_constraints AUTHORIZATION regress_zdm_backfill_constraints;
GRANT EXECUTE ON FUNCTION zdm._sync_columns TO regress_zdm_backfill_constraints;
RESET client_min_messages;
SET SESSION AUTHORIZATION regress_zdm_backfill_constraints;
SET search_path = zdm_backfill_constraints;


\set VERBOSITY terse
SET client_min_messages = error;

-- columns that were there before
CREATE TABLE parent (n integer PRIMARY KEY);
INSERT INTO parent VALUES (1), (2), (6);
CREATE TABLE t (id integer PRIMARY KEY, a text, n integer CHECK (n < 100) UNIQUE,
                doubled integer GENERATED ALWAYS AS (n * 2) STORED);
INSERT INTO t (id, a) VALUES (1, '1'), (2, '500'), (3, '2'), (4, '1'), (5, NULL);
SELECT zdm._sync_columns('t', '{a}', '{n}', '{a::integer}', '{n::text}', 'm');
CALL zdm.backfill('m');
SELECT * FROM t ORDER BY id;
SELECT detail FROM zdm.events WHERE migration = 'm' AND event = 'row failed' ORDER BY detail COLLATE "C";
UPDATE t SET a = '6' WHERE id = 2;
DELETE FROM t WHERE id = 4;
CALL zdm.backfill('m');
SELECT * FROM t ORDER BY id;
SELECT zdm.contract('m');

CREATE TABLE refers (id integer PRIMARY KEY, a text, n integer REFERENCES parent);
INSERT INTO refers (id, a) VALUES (1, '1'), (2, '3'), (3, '2');
SELECT zdm._sync_columns('refers', '{a}', '{n}', '{a::integer}', '{n::text}', 'm');
CALL zdm.backfill('m');
SELECT * FROM refers ORDER BY id;
SELECT zdm.rollback('m');

-- what is added to the second column of a rename in flight
CREATE TABLE renamed (id integer PRIMARY KEY, a text);
INSERT INTO renamed VALUES (1, 'x'), (2, 'bad'), (3, 'y');
SELECT zdm.rename_column('renamed', 'a', 'b', migration => 'm');
ALTER TABLE renamed ADD COLUMN shout text GENERATED ALWAYS AS (upper(b)) STORED, ADD CHECK (b <> 'bad');
CALL zdm.backfill('m');
SELECT * FROM renamed ORDER BY id;
UPDATE renamed SET a = 'good' WHERE id = 2;
CALL zdm.backfill('m');
SELECT * FROM renamed ORDER BY id;

-- a leaf with a check of its own, and other attribute numbers
CREATE TABLE parted (id integer, a text, n integer, doubled integer GENERATED ALWAYS AS (n * 2) STORED) PARTITION BY RANGE (id);
CREATE TABLE parted_1 PARTITION OF parted (CHECK (n < 10)) FOR VALUES FROM (0) TO (10);
CREATE TABLE parted_2 (x integer, doubled integer GENERATED ALWAYS AS (n * 2) STORED, n integer, id integer, a text);
ALTER TABLE parted_2 DROP COLUMN x;
ALTER TABLE parted ATTACH PARTITION parted_2 FOR VALUES FROM (10) TO (20);
INSERT INTO parted (id, a) VALUES (1, '1'), (2, '50'), (11, '50');
SELECT zdm._sync_columns('parted', '{a}', '{n}', '{a::integer}', '{n::text}', 'parted');
CALL zdm.backfill('parted');
SELECT id, a, n, doubled FROM parted ORDER BY id;

-- indexes: on the new column, on others, of each kind
CREATE TABLE indexed (id integer PRIMARY KEY, a text, p point, words tsvector, n integer, filler text DEFAULT repeat('x', 100));
INSERT INTO indexed SELECT i, 'row ' || i, point(i, i), to_tsvector('simple', 'word' || i), i FROM generate_series(1, 500) i;
CREATE INDEX ON indexed USING gist (p);
CREATE INDEX ON indexed USING gin (words);
CREATE INDEX ON indexed USING hash (n);
CREATE INDEX ON indexed (n) INCLUDE (a);
CREATE INDEX ON indexed ((n + 1)) WHERE n > 100;
SELECT zdm.rename_column('indexed', 'a', 'b', migration => 'indexed');
CREATE INDEX on_new ON indexed (b);
CREATE INDEX on_brin ON indexed USING brin (b);
CREATE INDEX on_expression ON indexed (upper(b)) WHERE b IS NOT NULL;
CREATE UNIQUE INDEX on_unique ON indexed (b) INCLUDE (n);
CALL zdm.backfill('indexed');
SET enable_seqscan = off;
-- each index finds its rows
CREATE FUNCTION by_index(condition text, OUT by_index boolean, OUT rows bigint) LANGUAGE plpgsql AS $$
DECLARE
    plan json;
BEGIN
    EXECUTE 'EXPLAIN (FORMAT json) SELECT count(filler) FROM indexed WHERE ' || condition INTO plan;
    by_index := plan::text ~ '"Index Name"';
    EXECUTE 'SELECT count(filler) FROM indexed WHERE ' || condition INTO rows;
END $$;
SELECT condition, x.* FROM unnest(ARRAY[
    'id BETWEEN 1 AND 500', 'p <@ box ''((1,1),(500,500))''', 'words @@ to_tsquery(''simple'', ''word77'')',
    'n + 1 BETWEEN 0 AND 1000 AND n > 100', 'b >= ''row 1'' AND b < ''row 2''', 'upper(b) = ''ROW 77'' AND b IS NOT NULL',
    'b = ''row 500''']) condition, by_index(condition) x;
DROP INDEX on_new, on_unique;
SELECT * FROM by_index('b >= ''row 1'' AND b < ''row 2''');
DROP INDEX on_brin, on_expression;
SELECT zdm.contract('indexed');
SELECT * FROM by_index('n = 77');

RESET SESSION AUTHORIZATION;
SET client_min_messages = warning;
DROP SCHEMA zdm_backfill_constraints CASCADE;
REVOKE EXECUTE ON FUNCTION zdm._sync_columns FROM regress_zdm_backfill_constraints;
DROP ROLE regress_zdm_backfill_constraints;
