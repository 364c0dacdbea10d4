--
-- A row of a partitioned table that goes to another partition, with another
-- key, is updated in the other table: what refers to it follows.
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS zdm;
CREATE SCHEMA zdm_moved;
SET search_path = zdm_moved;
CREATE TABLE parts (id int, area text, n int, PRIMARY KEY (id, area)) PARTITION BY LIST (area);
CREATE TABLE parts_a PARTITION OF parts FOR VALUES IN ('a') PARTITION BY HASH (id);
CREATE TABLE parts_a0 PARTITION OF parts_a FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE parts_a1 PARTITION OF parts_a FOR VALUES WITH (MODULUS 2, REMAINDER 1);
CREATE TABLE parts_other PARTITION OF parts DEFAULT;
CREATE TABLE owned (part int PRIMARY KEY, area text, FOREIGN KEY (part, area) REFERENCES parts ON UPDATE CASCADE ON DELETE CASCADE);
CREATE TABLE kept (part int PRIMARY KEY, area text, FOREIGN KEY (part, area) REFERENCES parts ON UPDATE CASCADE);
INSERT INTO parts SELECT i, CASE WHEN i % 2 = 0 THEN 'a' ELSE 'b' END, i FROM generate_series(1, 20) i;
INSERT INTO owned SELECT id, area FROM parts WHERE id < 5;
INSERT INTO kept SELECT id, area FROM parts WHERE id BETWEEN 3 AND 6;
SELECT zdm.rename_table('parts', 'whole', 'dual_write', migration => 'm');
CREATE FUNCTION places() RETURNS TABLE (id int, old text, new text, owned text, kept text) LANGUAGE sql AS $$
    SELECT i, (SELECT string_agg(concat_ws(' ', p.tableoid::regclass, p.area, p.n), ', ') FROM parts p WHERE p.id = i),
           (SELECT string_agg(concat_ws(' ', w.area, w.n), ', ') FROM whole w WHERE w.id = i),
           (SELECT o.area FROM owned o WHERE part = i), (SELECT k.area FROM kept k WHERE part = i)
      FROM (SELECT parts.id FROM parts UNION SELECT whole.id FROM whole) i(i) WHERE i < 9 OR i > 20 ORDER BY 1 $$;
-- before the backfill has come by
UPDATE parts SET area = 'x' WHERE id = 7;
CALL zdm.backfill('m');
-- by the old version
UPDATE parts SET area = 'b' WHERE id = 2;
UPDATE parts SET area = 'a', n = 100 WHERE id = 3;
MERGE INTO parts USING (VALUES (4, 'b'), (5, 'a')) s (i, a) ON id = i WHEN MATCHED THEN UPDATE SET area = a, n = n + 1;
-- by the new one
UPDATE whole SET area = 'a' WHERE id = 1;
UPDATE whole SET area = 'y', n = 100 WHERE id = 6;
MERGE INTO whole USING (VALUES (4, 'a'), (8, 'b')) s (i, a) ON id = i WHEN MATCHED THEN UPDATE SET area = a, n = n + 1;
SELECT * FROM places();
-- many at once, and each way; first in sessions that do not know the library yet
\c -
SET search_path = zdm_moved;
UPDATE parts SET area = CASE area WHEN 'a' THEN 'b' ELSE 'a' END WHERE id < 10;
\c -
SET search_path = zdm_moved;
UPDATE whole SET area = CASE area WHEN 'a' THEN 'b' ELSE 'a' END WHERE id < 10;
SET client_min_messages = warning;
UPDATE parts SET area = CASE area WHEN 'a' THEN 'b' ELSE 'a' END, n = n + 1;
UPDATE whole SET area = CASE area WHEN 'a' THEN 'b' ELSE 'a' END, id = id + 1000 WHERE id > 10;
-- given up half-way, and another statement that inserts
BEGIN;
SAVEPOINT s;
UPDATE parts SET area = CASE area WHEN 'a' THEN 'b' ELSE 'a' END, n = 1 / (5 - id) WHERE id < 6;
ROLLBACK TO s;
INSERT INTO parts VALUES (21, 'a', 21), (22, 'b', 22);
COMMIT;
SELECT * FROM places() WHERE id < 1000;
SELECT "check", relation, rows_compared, mismatches FROM zdm.verify('m');
SELECT (SELECT count(*) FROM parts) AS old, (SELECT count(*) FROM whole) AS new, (SELECT count(*) FROM owned) AS owned;
SELECT zdm.contract('m', '1 hour');
UPDATE parts SET area = 'z' WHERE id = 1;
UPDATE whole SET area = 'a', n = 7 WHERE id = 4;
SELECT * FROM places() WHERE id IN (1, 4);
SELECT zdm.contract('m', '0');

-- the other way round: what refers to the first table follows the second one's row
CREATE TABLE one (id int, area text, n int, PRIMARY KEY (id, area));
CREATE TABLE child (id int, area text, FOREIGN KEY (id, area) REFERENCES one ON UPDATE CASCADE ON DELETE CASCADE);
INSERT INTO one SELECT i, 'a', i FROM generate_series(1, 5) i;
INSERT INTO child SELECT id, area FROM one;
SELECT zdm.rename_table('one', 'split', 'dual_write', definition => 'PARTITION BY LIST (area)', migration => 'o');
CREATE TABLE split_a PARTITION OF split FOR VALUES IN ('a');
CREATE TABLE split_b PARTITION OF split FOR VALUES IN ('b');
CALL zdm.backfill('o');
UPDATE split SET area = 'b', n = 10 WHERE id = 1;
WITH u AS (UPDATE split SET area = 'b', id = 12 WHERE id = 2 RETURNING *) SELECT * FROM u;
MERGE INTO split USING (VALUES (3, 'b'), (6, 'b')) s (i, a) ON id = i
    WHEN MATCHED THEN UPDATE SET area = a WHEN NOT MATCHED THEN INSERT VALUES (i, a, 0);
UPDATE one SET area = 'b' WHERE id = 4;
SELECT o.*, s.tableoid::regclass, s.n, c.id IS NOT NULL AS child FROM one o FULL JOIN split s USING (id, area) LEFT JOIN child c USING (id, area) ORDER BY id;
SELECT zdm.rollback('o');

-- from one partitioning to another, and what a deleted row of the same key says
CREATE TABLE hashed (id int, area text, n int, PRIMARY KEY (id, area)) PARTITION BY HASH (id);
CREATE TABLE hashed_0 PARTITION OF hashed FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE hashed_1 PARTITION OF hashed FOR VALUES WITH (MODULUS 2, REMAINDER 1);
INSERT INTO hashed SELECT i, 'a', i FROM generate_series(1, 8) i;
SELECT zdm.rename_table('hashed', 'listed', 'dual_write', definition => 'PARTITION BY LIST (area)', migration => 'n');
CREATE TABLE listed_a PARTITION OF listed FOR VALUES IN ('a');
CREATE TABLE listed_b PARTITION OF listed FOR VALUES IN ('b');
CALL zdm.backfill('n');
UPDATE hashed SET id = 101, area = 'b' WHERE id = 1;
UPDATE hashed SET id = 102 WHERE id = 2;
UPDATE listed SET id = 103, area = 'b' WHERE id = 3;
UPDATE listed SET id = 105, n = 0 WHERE id = 4;
WITH gone AS (DELETE FROM hashed WHERE id = 5 RETURNING *) INSERT INTO hashed SELECT id, 'b', n + 1 FROM gone;
WITH gone AS (DELETE FROM listed WHERE id = 6 RETURNING *) INSERT INTO listed SELECT id, 'b', n + 1 FROM gone;
SELECT h.tableoid::regclass, h.*, l.tableoid::regclass, l.n FROM hashed h FULL JOIN listed l USING (id, area) ORDER BY h.id;
SELECT "check", relation, rows_compared, mismatches FROM zdm.verify('n');

DROP SCHEMA zdm_moved CASCADE;
