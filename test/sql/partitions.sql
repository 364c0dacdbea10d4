--
-- Partitioned tables: leaves with other attribute numbers, two levels, rows that
-- move, leaves that come and go while the migration is in flight.
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS zdm;
CREATE ROLE regress_zdm_partitions;
CREATE SCHEMA zdm_partitions AUTHORIZATION regress_zdm_partitions;
RESET client_min_messages;
SET SESSION AUTHORIZATION regress_zdm_partitions;
SET search_path = zdm_partitions;
\set VERBOSITY terse

SET client_min_messages = warning;

CREATE TABLE events (gone text, id integer, region text, a text DEFAULT 'default') PARTITION BY LIST (region);
ALTER TABLE events DROP COLUMN gone;
CREATE TABLE events_eu PARTITION OF events FOR VALUES IN ('eu');
-- other numbers: another order, and columns that are gone
CREATE TABLE events_us (x integer, a text, region text, y integer, id integer);
ALTER TABLE events_us DROP COLUMN x, DROP COLUMN y;
ALTER TABLE events ATTACH PARTITION events_us FOR VALUES IN ('us');
-- a second level
CREATE TABLE events_asia (a text DEFAULT 'default of asia', id integer, region text) PARTITION BY RANGE (id);
CREATE TABLE events_asia_1 PARTITION OF events_asia FOR VALUES FROM (0) TO (100);
CREATE TABLE events_asia_2 (z integer, region text, id integer, a text);
ALTER TABLE events_asia_2 DROP COLUMN z;
ALTER TABLE events_asia ATTACH PARTITION events_asia_2 FOR VALUES FROM (100) TO (200);
ALTER TABLE events ATTACH PARTITION events_asia FOR VALUES IN ('asia', 'oceania');
CREATE TABLE events_rest PARTITION OF events DEFAULT;
INSERT INTO events (id, region, a)
SELECT i, (ARRAY['eu', 'us', 'asia', 'oceania', 'africa'])[i % 5 + 1], 'row ' || i FROM generate_series(1, 150) i;

SELECT zdm.rename_column('events', 'a', 'b');
SELECT c.relname, a.attnum AS a, b.attnum AS b,
       (SELECT count(*) FROM pg_trigger t WHERE t.tgrelid = c.oid AND t.tgname = '~zdm_sync' AND t.tgenabled = 'A') AS triggers
  FROM pg_partition_tree('events') p JOIN pg_class c ON c.oid = p.relid
  JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'a'
  JOIN pg_attribute b ON b.attrelid = c.oid AND b.attname = 'b'
 ORDER BY c.relname COLLATE "C";

-- through the root, a leaf, and the table between
CREATE FUNCTION write_events(base integer) RETURNS TABLE (leaf regclass, id integer, a text, b text)
LANGUAGE plpgsql AS $$
#variable_conflict use_column
BEGIN
    INSERT INTO events (id, region, a) VALUES (base + 1, 'eu', 'old'), (base + 2, 'us', NULL), (base + 3, 'asia', 'old');
    INSERT INTO events (id, region, b) VALUES (base + 4, 'eu', NULL), (base + 5, 'us', 'new'), (base + 6, 'asia', 'new');
    INSERT INTO events (id, region) VALUES (base + 7, 'eu'), (base + 8, 'us'), (base + 9, 'asia');
    INSERT INTO events_us (id, region, a) VALUES (base + 10, 'us', 'old');
    INSERT INTO events_us (id, region, b) VALUES (base + 11, 'us', 'new'), (base + 12, 'us', NULL);
    INSERT INTO events_us (id, region) VALUES (base + 13, 'us');
    INSERT INTO events_asia (id, region, a) VALUES (base + 14, 'asia', 'old'), (base + 15, 'oceania', NULL);
    INSERT INTO events_asia (id, region, b) VALUES (base + 16, 'asia', NULL), (base + 17, 'oceania', 'new');
    INSERT INTO events_asia (id, region) VALUES (base + 18, 'asia');
    INSERT INTO events_rest (id, region, b) VALUES (base + 19, 'africa', NULL);
    UPDATE events SET b = 'changed' WHERE id = base + 10;
    UPDATE events_us SET a = NULL WHERE id = base + 11;
    -- rows that move
    UPDATE events SET region = 'us' WHERE id = base + 1;
    UPDATE events SET region = 'asia', a = 'moved old' WHERE id = base + 5;
    UPDATE events SET region = 'eu', b = 'moved new' WHERE id = base + 6;
    UPDATE events SET region = 'eu', b = NULL WHERE id = base + 14;
    UPDATE events SET region = 'us', a = NULL WHERE id = base + 17;
    RETURN QUERY SELECT tableoid::regclass, id, a, b FROM events WHERE id > base AND id < base + 20 ORDER BY id;
END $$;
CREATE FUNCTION clear_events() RETURNS void LANGUAGE sql AS 'DELETE FROM events WHERE a NOT LIKE ''row%'' OR a IS NULL';
SELECT * FROM write_events(160);
SELECT clear_events();

COPY events (id, region, b) FROM stdin;
161	eu	copied
162	us	\N
163	asia	copied
\.
COPY events_us (id, region, a) FROM stdin;
164	us	\N
\.
SELECT tableoid::regclass, id, a, b FROM events WHERE id > 160 ORDER BY id;

-- a row that moves while it is not backfilled takes its value along
UPDATE events SET region = 'us' WHERE id = 5;
SELECT tableoid::regclass, id, a, b FROM events WHERE id = 5;

-- leaves that come in flight: made empty, attached with rows; and one that goes
CREATE TABLE events_mars PARTITION OF events FOR VALUES IN ('mars');
INSERT INTO events (id, region, b) VALUES (171, 'mars', 'new');
CREATE TABLE events_moon (b text, id integer, region text, a text);
INSERT INTO events_moon (id, region, a) VALUES (172, 'moon', 'before it was attached');
ALTER TABLE events ATTACH PARTITION events_moon FOR VALUES IN ('moon');
INSERT INTO events (id, region, b) VALUES (173, 'moon', 'new');
ALTER TABLE events DETACH PARTITION events_rest;
DROP TABLE events_eu;

CALL zdm.backfill('rename_events_a_to_b');
SELECT * FROM zdm.verify('rename_events_a_to_b') ORDER BY relation::text COLLATE "C";
SELECT tableoid::regclass, id, a, b FROM events WHERE id > 170 ORDER BY id;
INSERT INTO events_rest (id, region, b) VALUES (999, 'africa', 'not in sync any more') RETURNING a, b;

-- one that comes after: contract has to know its rows, too
CREATE TABLE events_sun (id integer, region text, a text, b text);
INSERT INTO events_sun (id, region, a) VALUES (174, 'sun', 'before it was attached');
ALTER TABLE events ATTACH PARTITION events_sun FOR VALUES IN ('sun');
\set VERBOSITY default
SELECT zdm.contract('rename_events_a_to_b');
\set VERBOSITY terse
CALL zdm.backfill('rename_events_a_to_b');
SELECT tableoid::regclass, id, a, b FROM events WHERE region = 'sun';

CREATE TABLE events_eu PARTITION OF events FOR VALUES IN ('eu');
CALL zdm.backfill('rename_events_a_to_b');
SELECT zdm.contract('rename_events_a_to_b', '1 day');
SELECT clear_events();
SELECT * FROM write_events(160);
SELECT sum(rows_compared), sum(mismatches) FROM zdm.verify('rename_events_a_to_b');
SELECT zdm.contract('rename_events_a_to_b', '0');

SELECT tableoid::regclass, count(*), count(*) FILTER (WHERE b = 'row ' || id) AS kept
  FROM events GROUP BY 1 ORDER BY tableoid::regclass::text COLLATE "C";
SELECT c.relname, array_agg(a.attname ORDER BY a.attnum) FILTER (WHERE NOT a.attisdropped),
       (SELECT count(*) FROM pg_trigger t WHERE t.tgrelid = c.oid) AS triggers
  FROM pg_partition_tree('events') p JOIN pg_class c ON c.oid = p.relid
  JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0
 GROUP BY c.oid, c.relname ORDER BY c.relname COLLATE "C";
SELECT c.relname, pg_get_expr(d.adbin, d.adrelid) FROM pg_attrdef d JOIN pg_class c ON c.oid = d.adrelid
 WHERE c.relnamespace = 'zdm_partitions'::regnamespace ORDER BY c.relname COLLATE "C";

-- without any partition, and rolled back
CREATE TABLE lonely (id integer, a text) PARTITION BY HASH (id);
SELECT zdm.rename_column('lonely', 'a', 'b');
CALL zdm.backfill('rename_lonely_a_to_b');
SELECT * FROM zdm.verify('rename_lonely_a_to_b');
SELECT zdm.contract('rename_lonely_a_to_b', '1 day');
SELECT zdm.rollback('rename_lonely_a_to_b');
\d lonely

RESET SESSION AUTHORIZATION;
SET client_min_messages = warning;
DROP SCHEMA zdm_partitions CASCADE;
DROP ROLE regress_zdm_partitions;
