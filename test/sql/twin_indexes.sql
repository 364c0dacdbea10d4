--
-- The indexes of the second column: like the first one's while the migration is
-- in flight, and gone without a trace after it.
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS zdm;
CREATE ROLE regress_zdm_twin_indexes;
CREATE SCHEMA zdm_twin_indexes AUTHORIZATION regress_zdm_twin_indexes;
RESET client_min_messages;
SET SESSION AUTHORIZATION regress_zdm_twin_indexes;
SET search_path = zdm_twin_indexes;
\set VERBOSITY terse
SET client_min_messages = warning;

-- A migration's number is another one each time.  Unique where the library is
-- preloaded, so that is left out.
-- a name that was cut is cut earlier where the migration's number is longer
CREATE FUNCTION plain(line text) RETURNS text LANGUAGE sql AS
$$ SELECT replace(regexp_replace(regexp_replace(line, '~zdm_[0-9]+_', '~zdm_N_', 'g'),
                                 '(~zdm_N_.{12})[^~]{10,}(_[0-9a-f]{16})', '\1...\2', 'g'), 'zdm_twin_indexes.', '') $$;
CREATE FUNCTION twins(target regclass) RETURNS TABLE (valid boolean, definition text) LANGUAGE sql AS $$
    SELECT x.indisvalid, replace(plain(pg_get_indexdef(x.indexrelid)), 'UNIQUE ', '')
      FROM (SELECT target UNION SELECT relid FROM pg_partition_tree(target)) p (relid)
      JOIN pg_index x ON x.indrelid = p.relid JOIN pg_class c ON c.oid = x.indexrelid
     WHERE c.relname ~ '^~zdm_[0-9]+_' ORDER BY plain(c.relname) COLLATE "C"
$$;
CREATE FUNCTION indexes(target regclass) RETURNS SETOF text LANGUAGE sql AS $$
    SELECT plain(pg_get_indexdef(indexrelid)) || CASE WHEN indisvalid THEN '' ELSE ' (invalid)' END
      FROM pg_index WHERE indrelid = target ORDER BY plain(indexrelid::regclass::text) COLLATE "C"
$$;
CREATE FUNCTION plan(query text) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
    line text;
BEGIN
    FOR line IN EXECUTE 'EXPLAIN (COSTS OFF) ' || query LOOP
        RETURN NEXT plain(line);
    END LOOP;
END $$;
-- whether an index finds the rows; which one is up to the planner
CREATE FUNCTION served(query text) RETURNS boolean LANGUAGE sql AS $$
    SELECT bool_or(line LIKE '%Index Cond%') AND NOT bool_or(line LIKE '%Seq Scan%') FROM plan(query) line
$$;
SET enable_seqscan = off;
SET enable_bitmapscan = off;

-- one of each kind
CREATE FUNCTION shout(word text) RETURNS text IMMUTABLE LANGUAGE plpgsql AS $$ BEGIN RETURN pg_catalog.upper(word); END $$;
CREATE TABLE t (gone integer, id integer PRIMARY KEY, a text COLLATE "C", n integer, p point);
ALTER TABLE t DROP COLUMN gone;
INSERT INTO t SELECT i, 'row ' || i, i % 10, point(i, i) FROM generate_series(1, 500) i;
CREATE INDEX t_plain ON t (a);
CREATE UNIQUE INDEX t_unique ON t (a, n) NULLS NOT DISTINCT WITH (fillfactor = 70);
CREATE INDEX t_order ON t (n DESC, a COLLATE "POSIX" text_pattern_ops DESC NULLS LAST);
CREATE INDEX t_default_collation ON t (a COLLATE "default");
CREATE INDEX t_include ON t (n) INCLUDE (a);
CREATE INDEX t_partial ON t (n) WHERE a > 'row 4';
CREATE INDEX t_expression ON t (lower(a), (a || n));
CREATE INDEX t_function ON t (shout(a));
CREATE INDEX t_twice ON t (a, substr(a, 5), n) WHERE a IS NOT NULL;
CREATE INDEX t_hash ON t USING hash (a);
CREATE INDEX t_brin ON t USING brin (n, a text_bloom_ops (n_distinct_per_range = 50)) WITH (pages_per_range = 4);
CREATE INDEX t_spgist ON t USING spgist (a);
CREATE INDEX t_gin ON t USING gin (to_tsvector('simple', a)) WITH (fastupdate = off);
CREATE INDEX t_gist ON t USING gist (p) WHERE a LIKE 'row%';
ALTER TABLE t ADD CONSTRAINT t_deferrable UNIQUE (a) DEFERRABLE;
ALTER TABLE t ADD CONSTRAINT t_exclude EXCLUDE USING hash (a WITH =);
CREATE INDEX "a name of 63 bytes, ""quoted"", as long as any, the first of ß two" ON t (a, id);
CREATE INDEX "a name of 63 bytes, ""quoted"", as long as any, the first of ß 2wo" ON t (id, a);
-- these have no twin: not of the column, of the whole row
CREATE INDEX t_other ON t (n);
CREATE INDEX t_whole_row ON t ((t IS NULL)) WHERE a IS NOT NULL;
SELECT zdm.rename_column('t', 'a', 'b', migration => 'm');
SELECT * FROM twins('t');
CALL zdm.backfill('m');
SELECT * FROM twins('t');
ANALYZE t;
SELECT served('SELECT * FROM t WHERE b = ''row 7''');
SELECT plan('SELECT * FROM t WHERE lower(b) = ''row 7''');
SELECT plan('SELECT * FROM t WHERE shout(b) = ''ROW 7''');
SELECT id FROM t WHERE shout(b) = 'ROW 7';
-- they are nobody else's, and gone without a word
SELECT zdm.contract('m');
SELECT indexes('t');
SELECT count(*) FROM pg_class WHERE relname LIKE '~zdm%' AND relnamespace = 'zdm_twin_indexes'::regnamespace;

-- what somebody else makes still is
SELECT zdm.rename_column('t', 'b', 'c', migration => 'm');
CALL zdm.backfill('m');
CREATE INDEX t_mine ON t (c);
SELECT zdm.contract('m');
DROP INDEX t_mine;

-- quarantine: each side keeps what it has
SELECT zdm.contract('m', '1 hour');
SELECT served('SELECT * FROM t WHERE c = ''row 7'''), served('SELECT * FROM t WHERE b = ''row 7''');
SELECT zdm.rollback('m');
SELECT count(*) FROM pg_class WHERE relname LIKE '~zdm%' AND relnamespace = 'zdm_twin_indexes'::regnamespace;
SELECT zdm.rename_column('t', 'b', 'c', migration => 'm');
CALL zdm.backfill('m');
SELECT zdm.rollback('m');
SELECT count(*) FROM pg_class WHERE relname LIKE '~zdm%' AND relnamespace = 'zdm_twin_indexes'::regnamespace;
DROP TABLE t;

-- a domain with constraints: the second column is of the base type
CREATE DOMAIN word AS varchar(20) NOT NULL CHECK (VALUE <> 'bad');
CREATE DOMAIN words AS text[] CHECK (cardinality(VALUE) < 10);
CREATE FUNCTION about(word) RETURNS text IMMUTABLE LANGUAGE plpgsql AS $$ BEGIN RETURN pg_catalog.lower($1); END $$;
CREATE TABLE d (id integer PRIMARY KEY, a word DEFAULT 'x', l words);
INSERT INTO d SELECT i, 'Row ' || i, ARRAY['x' || i] FROM generate_series(1, 500) i;
CREATE UNIQUE INDEX d_unique ON d (a);
CREATE INDEX d_pattern ON d (a varchar_pattern_ops) WHERE a IS NOT NULL AND a <> '';
CREATE INDEX d_expression ON d (lower(a), (a || 'x'), (coalesce(a, 'y')), (a = 'z'));
CREATE INDEX d_function ON d (about(a));
CREATE INDEX d_gin ON d USING gin (l) WHERE l[1] IS NOT NULL;
SELECT zdm.rename_column('d', 'a', 'b', migration => 'm');
CALL zdm.backfill('m');
SELECT * FROM twins('d');
SELECT zdm.rename_column('d', 'l', 'l2', migration => 'ml');
CALL zdm.backfill('ml');
SELECT * FROM twins('d') WHERE definition LIKE '%l2%';
ANALYZE d;
SELECT served('SELECT * FROM d WHERE b = ''Row 7''');
SELECT plan('SELECT * FROM d WHERE lower(b) = ''row 7'' AND b || ''x'' = ''Row 7x'' AND coalesce(b, ''y'') = ''Row 7''');
INSERT INTO d (id, b) VALUES (501, 'by the new name');
UPDATE d SET b = 'Changed' WHERE id = 1;
INSERT INTO d (id, b) VALUES (502, 'bad');
SELECT id, a, b FROM d WHERE lower(b) = 'changed';
REINDEX TABLE d;
SELECT zdm.rollback('ml');
SELECT zdm.contract('m');
SELECT indexes('d');
DROP TABLE d;

-- partitions: two levels, other numbers, indexes of a partition alone, one that
-- is not complete, and partitions that come while it is under way
CREATE TABLE r (gone text, id integer, region text, a text) PARTITION BY LIST (region);
ALTER TABLE r DROP COLUMN gone;
CREATE TABLE r_us (a text, x integer, region text, id integer);
ALTER TABLE r_us DROP COLUMN x;
ALTER TABLE r ATTACH PARTITION r_us FOR VALUES IN ('us');
CREATE TABLE r_asia (id integer, region text, a text) PARTITION BY RANGE (id);
CREATE TABLE r_asia_1 PARTITION OF r_asia FOR VALUES FROM (0) TO (100);
CREATE TABLE r_asia_2 (z integer, region text, id integer, a text);
ALTER TABLE r_asia_2 DROP COLUMN z;
ALTER TABLE r_asia ATTACH PARTITION r_asia_2 FOR VALUES FROM (100) TO (300);
ALTER TABLE r ATTACH PARTITION r_asia FOR VALUES IN ('asia');
INSERT INTO r (id, region, a) SELECT i, CASE WHEN i % 2 = 0 THEN 'us' ELSE 'asia' END, 'row ' || i FROM generate_series(1, 250) i;
CREATE INDEX r_i ON r (a);
CREATE UNIQUE INDEX r_u ON r (lower(a), region, id) WHERE a <> '';
CREATE INDEX r_asia_alone ON r_asia USING hash (a);
CREATE INDEX r_us_alone ON r_us (id) INCLUDE (a);
CREATE INDEX r_incomplete ON ONLY r (a, id);
CREATE INDEX r_us_of_it ON r_us (a, id);
ALTER INDEX r_incomplete ATTACH PARTITION r_us_of_it;
SELECT zdm.rename_column('r', 'a', 'b', migration => 'm');
CREATE TABLE r_eu PARTITION OF r FOR VALUES IN ('eu');
CALL zdm.backfill('m');
CREATE TABLE r_africa PARTITION OF r FOR VALUES IN ('africa');
SELECT * FROM twins('r');
SELECT regexp_replace(plain(t.relid::regclass::text), '^r_africa_.*', 'one of r_africa') AS index, plain(t.parentrelid::regclass::text) AS parent
  FROM pg_index x JOIN pg_class c ON c.oid = x.indexrelid, pg_partition_tree(x.indexrelid) t
 WHERE x.indrelid = 'r'::regclass AND c.relname LIKE '~zdm%' ORDER BY 2, 1;
ANALYZE r;
SELECT served('SELECT * FROM r WHERE b = ''row 7''');
SELECT zdm.contract('m');
SELECT indexes(relid) FROM pg_partition_tree('r');
DROP TABLE r;

-- what an index build that was cut off leaves behind is dropped, and made again
CREATE TABLE l (id integer PRIMARY KEY, a text);
INSERT INTO l SELECT i, 'row ' || i FROM generate_series(1, 10) i;
CREATE INDEX l_a ON l (a);
SELECT zdm.rename_column('l', 'a', 'b', migration => 'm');
RESET SESSION AUTHORIZATION;
SELECT '~zdm_' || id || '_l_a' AS leftover FROM zdm.migration WHERE relation = 'l'::regclass \gset
SET SESSION AUTHORIZATION regress_zdm_twin_indexes;
-- two rows without a value in b yet
\set VERBOSITY sqlstate
CREATE UNIQUE INDEX CONCURRENTLY :"leftover" ON l ((b IS NULL));
\set VERBOSITY terse
SELECT indexes('l');
CALL zdm.backfill('m');
SELECT indexes('l');
SELECT zdm.rollback('m');
SELECT indexes('l');

-- one that is not valid itself has no twin
INSERT INTO l VALUES (11, 'row 1');
\set VERBOSITY sqlstate
CREATE UNIQUE INDEX CONCURRENTLY l_unfinished ON l (a);
\set VERBOSITY terse
SELECT zdm.rename_column('l', 'a', 'b', migration => 'm');
CALL zdm.backfill('m');
SELECT indexes('l');
SELECT zdm.contract('m');
SELECT indexes('l');

RESET SESSION AUTHORIZATION;
DROP SCHEMA zdm_twin_indexes CASCADE;
DROP ROLE regress_zdm_twin_indexes;
