--
-- Rows that a backfill copies many at a time into a partitioned table.
--
SET client_min_messages = error;
CREATE EXTENSION IF NOT EXISTS zdm;
CREATE SCHEMA zdm_copy_parts;
SET search_path = zdm_copy_parts;

CREATE TABLE days (id int PRIMARY KEY);
INSERT INTO days SELECT generate_series(0, 9);
CREATE TABLE events (gone int, id bigint PRIMARY KEY, month int NOT NULL, day int NOT NULL REFERENCES days DEFERRABLE INITIALLY DEFERRED,
    body text CHECK (body <> 'never'), twice bigint GENERATED ALWAYS AS (id * 2) STORED, note text);
ALTER TABLE events DROP COLUMN gone;
INSERT INTO events (id, month, day, body) SELECT i, i % 7, i % 10, 'forwards ' || i FROM generate_series(1, 2000) i;
INSERT INTO events (id, month, day, body) SELECT -i, i / 500, i % 10, 'backwards ' || i FROM generate_series(1, 2000) i;
INSERT INTO events (id, month, day, body) SELECT 1000000 + (i * 7919) % 2003, i % 9, i % 10, 'in no order ' || i FROM generate_series(1, 2000) i;
INSERT INTO events (id, month, day, note) SELECT 2000000 + i, i % 7, i % 10, repeat(i::text, 3000) FROM generate_series(1, 20) i;

-- partitions with their columns in another order and more of them before, with
-- partitions of their own, with a check and a default of their own, and for the rest
BEGIN;
SELECT zdm.rename_table('events', 'happenings', 'dual_write', definition => 'PARTITION BY LIST (month)', migration => 'parts');
CREATE TABLE m0 PARTITION OF happenings FOR VALUES IN (0);
CREATE TABLE m1 (a int, note text, b int, body text, id bigint NOT NULL, day int NOT NULL, month int NOT NULL, twice bigint GENERATED ALWAYS AS (id * 2) STORED,
    CONSTRAINT events_body_check CHECK (body <> 'never'));
ALTER TABLE m1 DROP COLUMN a, DROP COLUMN b;
ALTER TABLE happenings ATTACH PARTITION m1 FOR VALUES IN (1);
CREATE TABLE m23 PARTITION OF happenings FOR VALUES IN (2, 3) PARTITION BY RANGE (id);
CREATE TABLE m23_low PARTITION OF m23 FOR VALUES FROM (MINVALUE) TO (1000);
CREATE TABLE m23_high PARTITION OF m23 FOR VALUES FROM (1000) TO (MAXVALUE);
CREATE TABLE m4 PARTITION OF happenings (CHECK (body <> 'of no use'), note DEFAULT 'none') FOR VALUES IN (4);
CREATE TABLE others PARTITION OF happenings DEFAULT;
COMMIT;
CREATE INDEX ON m1 (body);

-- what the triggers have brought over already is left as it is, and so is what
-- was brought there by somebody whose triggers did not fire
UPDATE events SET body = body || ', written' WHERE id % 5 = 0;
UPDATE events SET month = (month + 1) % 5 WHERE id % 10 = 0;
DELETE FROM events WHERE id % 11 = 0;
INSERT INTO happenings SELECT 3000000 + i, i % 7, 1, 'newer ' || i FROM generate_series(1, 50) i;
SET session_replication_role = replica;
INSERT INTO happenings SELECT id, month, day, body FROM events WHERE id IN (1, 2, 999, 1999);
SET session_replication_role = origin;
SELECT count(*) FROM happenings;
CREATE TABLE before AS SELECT id FROM happenings;
CALL zdm.backfill('parts');
SELECT "check", rows_compared, mismatches FROM zdm.verify('parts');
CREATE FUNCTION counts() RETURNS TABLE (relation text, events bigint, happenings bigint, missing bigint) LANGUAGE sql AS $$
    SELECT h.tableoid::regclass::text, count(e.id), count(*), (SELECT count(*) FROM (SELECT * FROM events EXCEPT SELECT * FROM happenings) x)
      FROM happenings h LEFT JOIN events e USING (id) GROUP BY 1 ORDER BY 1 $$;
SELECT * FROM counts();
-- many at a time: they have few commands
SELECT count(*) > 20 * count(DISTINCT h.xmin::text || ' ' || h.cmin::text) AS many FROM happenings h WHERE id NOT IN (SELECT id FROM before);
-- each index has every row
SET enable_seqscan = off;
SELECT count(*) FROM m1 WHERE body IN (SELECT body FROM events);
SELECT count(*) FROM happenings WHERE id IN (SELECT id FROM events);
RESET enable_seqscan;

-- a verification finds what is missing, what is other and what is elsewhere
BEGIN;
SET LOCAL session_replication_role = replica;
DELETE FROM happenings WHERE id % 97 = 0 OR id BETWEEN 500 AND 599;
UPDATE happenings SET note = 'other' WHERE id % 89 = 1 OR id BETWEEN 700 AND 799;
UPDATE happenings SET month = 6 WHERE id BETWEEN 800 AND 820;
SET LOCAL session_replication_role = origin;
SELECT mismatches = (SELECT count(*) FROM events e LEFT JOIN happenings h USING (id)
                      WHERE h.id IS NULL OR h.note IS DISTINCT FROM e.note OR h.month IS DISTINCT FROM e.month) AS all_found, mismatches
  FROM zdm.verify('parts');
ROLLBACK;
-- and a key that is there twice, in one partition and in two
BEGIN;
SET LOCAL session_replication_role = replica;
INSERT INTO happenings (id, month, day) SELECT id, 6, day FROM events WHERE id = 1;
SET LOCAL session_replication_role = origin;
SELECT mismatches FROM zdm.verify('parts');
ROLLBACK;
BEGIN;
SET LOCAL session_replication_role = replica;
INSERT INTO happenings (id, month, day) VALUES (5, 6, 1);
SET LOCAL session_replication_role = origin;
SELECT mismatches FROM zdm.verify('parts');
ROLLBACK;
SELECT zdm.rollback('parts');

-- rows that have no partition, or that their partition does not take, are found,
-- the others go over
DELETE FROM events WHERE month > 4 OR id > 1000000;
BEGIN;
SELECT zdm.rename_table('events', 'happenings', 'dual_write', definition => 'PARTITION BY RANGE (month)', migration => 'parts2');
CREATE TABLE n0 PARTITION OF happenings FOR VALUES FROM (0) TO (2);
CREATE TABLE n1 PARTITION OF happenings (CHECK (body <> 'of no use')) FOR VALUES FROM (2) TO (5);
COMMIT;
SET session_replication_role = replica;
INSERT INTO events VALUES (4000000, 9, 1, 'of no month'), (4000001, 3, 1, 'of no use'), (4000002, 3, 77, 'of no day');
SET session_replication_role = origin;
UPDATE zdm.backfill_range SET end_block = pg_relation_size('events') / 8192
 WHERE relation = 'events'::regclass AND first_block = (SELECT max(first_block) FROM zdm.backfill_range WHERE relation = 'events'::regclass);
\set VERBOSITY terse
CALL zdm.backfill('parts2');
\set VERBOSITY default
SELECT regexp_replace(detail, 'constraint ".*"', 'constraint') AS detail FROM zdm.events WHERE migration = 'parts2' AND event = 'row failed' ORDER BY 1;
SELECT count(*), min(e.id), max(e.id) FROM events e LEFT JOIN happenings h USING (id) WHERE h.id IS NULL;
DELETE FROM events WHERE id >= 4000000;
CALL zdm.backfill('parts2');
SELECT "check", rows_compared, mismatches FROM zdm.verify('parts2');
SELECT * FROM counts();
SELECT zdm.rollback('parts2');

-- a trigger of the application's on one partition fires for each of its rows
CREATE TABLE log (relation name, id bigint);
CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO zdm_copy_parts.log VALUES (TG_TABLE_NAME, new.id);
    RETURN NEW;
END $$;
BEGIN;
SELECT zdm.rename_table('events', 'happenings', 'dual_write', definition => 'PARTITION BY RANGE (month)', migration => 'parts3');
CREATE TABLE o0 PARTITION OF happenings FOR VALUES FROM (0) TO (2);
CREATE TABLE o1 PARTITION OF happenings FOR VALUES FROM (2) TO (5);
CREATE TRIGGER noted BEFORE INSERT ON o1 FOR EACH ROW EXECUTE FUNCTION note();
ALTER TABLE o1 ENABLE ALWAYS TRIGGER noted;
COMMIT;
CALL zdm.backfill('parts3');
SELECT * FROM counts();
SELECT relation, count(*) FROM log GROUP BY 1;
SELECT zdm.rollback('parts3');

DROP SCHEMA zdm_copy_parts CASCADE;
