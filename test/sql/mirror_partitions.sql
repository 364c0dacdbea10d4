--
-- Partitions of mirrored tables come and go without rows, and with no trigger
-- of ours left on them.
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS zdm;
CREATE ROLE regress_zdm_part_owner;
CREATE SCHEMA zdm_part_ddl;
GRANT ALL ON SCHEMA zdm_part_ddl TO regress_zdm_part_owner;
SET search_path = zdm_part_ddl;
CREATE TABLE events (id int, day date NOT NULL, body text, PRIMARY KEY (id, day)) PARTITION BY RANGE (day);
CREATE TABLE january PARTITION OF events FOR VALUES FROM ('2026-01-01') TO ('2026-02-01');
CREATE TABLE february PARTITION OF events FOR VALUES FROM ('2026-02-01') TO ('2026-03-01');
INSERT INTO events SELECT i, '2026-01-01'::date + i % 59, 'event' FROM generate_series(1, 100) i;
BEGIN;
SELECT zdm.rename_table('events', 'hashed', 'dual_write', definition => 'PARTITION BY HASH (id)', migration => 'm');
CREATE TABLE hashed_0 PARTITION OF hashed FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE hashed_1 PARTITION OF hashed FOR VALUES WITH (MODULUS 2, REMAINDER 1);
COMMIT;
CALL zdm.backfill('m');
-- with rows none goes
ALTER TABLE events DETACH PARTITION february;
ALTER TABLE events DETACH PARTITION february CONCURRENTLY;
DROP TABLE february;
DROP TABLE IF EXISTS nothing, january;
ALTER TABLE hashed DETACH PARTITION hashed_1;
-- one that comes with rows to the old table is backfilled
CREATE TABLE march (LIKE events INCLUDING ALL);
INSERT INTO march VALUES (1000, '2026-03-05', 'attached');
ALTER TABLE events ATTACH PARTITION march FOR VALUES FROM ('2026-03-01') TO ('2026-04-01');
CALL zdm.backfill('m');
SELECT * FROM hashed WHERE id = 1000;
-- an empty one goes, whoever owns it, and nothing of ours with it
CREATE TABLE april PARTITION OF events FOR VALUES FROM ('2026-04-01') TO ('2026-05-01');
INSERT INTO hashed VALUES (2000, '2026-04-02', 'new');
TRUNCATE april;
SELECT count(*) FROM hashed WHERE id = 2000;
ALTER TABLE april OWNER TO regress_zdm_part_owner;
ALTER TABLE events DETACH PARTITION april;
SELECT tgname FROM pg_trigger WHERE tgrelid = 'april'::regclass;
ALTER TABLE events ATTACH PARTITION april FOR VALUES FROM ('2026-04-01') TO ('2026-05-01');
SELECT count(*) FROM pg_trigger WHERE tgrelid = 'april'::regclass;
TRUNCATE february;
DROP TABLE april, february;
CALL zdm.backfill('m');
SELECT "check", relation, rows_compared, mismatches FROM zdm.verify('m');
SELECT (SELECT count(*) FROM events) AS old, (SELECT count(*) FROM hashed) AS new;
-- in the quarantine what comes to the old table comes too late
SELECT zdm.contract('m', '1 hour');
CREATE TABLE may (LIKE events INCLUDING ALL);
INSERT INTO may VALUES (1005, '2026-05-05', 'attached');
ALTER TABLE events ATTACH PARTITION may FOR VALUES FROM ('2026-05-01') TO ('2026-06-01');
SELECT zdm.rollback('m');
ALTER TABLE events ATTACH PARTITION may FOR VALUES FROM ('2026-05-01') TO ('2026-06-01');
DROP TABLE may;

-- a partitioned target of a join table
CREATE TABLE users (id int PRIMARY KEY);
CREATE TABLE voucher (id int PRIMARY KEY) PARTITION BY RANGE (id);
CREATE TABLE voucher_1 PARTITION OF voucher FOR VALUES FROM (1) TO (100);
CREATE TABLE voucher_2 (id int PRIMARY KEY, user_id int);
CREATE TABLE used (voucher_id int PRIMARY KEY REFERENCES voucher, user_id int NOT NULL);
INSERT INTO voucher SELECT generate_series(1, 10);
INSERT INTO used VALUES (1, 1);
INSERT INTO voucher_2 VALUES (200, 2);
SELECT zdm.join_table_to_column('used', 'voucher', 'user_id', target_columns => '{voucher_id}', value_columns => '{user_id}', migration => 'f');
CALL zdm.backfill('f');
ALTER TABLE voucher ATTACH PARTITION voucher_2 FOR VALUES FROM (100) TO (300);
TRUNCATE voucher_2;
ALTER TABLE voucher ATTACH PARTITION voucher_2 FOR VALUES FROM (100) TO (300);
INSERT INTO voucher VALUES (200, 2);
SELECT * FROM used;
DROP TABLE voucher_2;
-- the whole goes as always
DROP TABLE used, voucher, voucher_1;
DROP TABLE events;
SELECT migration FROM zdm.status;

DROP SCHEMA zdm_part_ddl CASCADE;
DROP ROLE regress_zdm_part_owner;
