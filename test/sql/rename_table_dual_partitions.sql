--
-- A table renamed by a second one that is partitioned, or partitioned by
-- something else.
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS zdm;
CREATE SCHEMA zdm_parts;
SET search_path = zdm_parts;
SET timezone = 'UTC';
CREATE TABLE events (id int PRIMARY KEY, day date NOT NULL, body text, number int UNIQUE);
CREATE INDEX ON events (body);
CREATE TABLE log (what text);
CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO zdm_parts.log VALUES (concat_ws(' ', TG_OP, OLD.id, NEW.id));
    RETURN NULL;
END $$;
CREATE TRIGGER noted AFTER INSERT OR UPDATE OR DELETE ON events FOR EACH ROW EXECUTE FUNCTION note();
INSERT INTO events SELECT i, '2026-01-01'::date + i % 59, 'event ' || i, i FROM generate_series(1, 500) i;
TRUNCATE log;

-- by a clause, with the partitions made in the same transaction
BEGIN;
SELECT zdm.rename_table('events', 'events_by_month', 'dual_write', definition => 'PARTITION BY RANGE (day)');
CREATE TABLE january PARTITION OF events_by_month FOR VALUES FROM ('2026-01-01') TO ('2026-02-01');
CREATE TABLE february (LIKE events_by_month);
ALTER TABLE events_by_month ATTACH PARTITION february FOR VALUES FROM ('2026-02-01') TO ('2026-03-01');
COMMIT;
\d events_by_month
SELECT attname, attstorage, nullif(attstattarget::integer, -1) AS target, col_description(attrelid, attnum)
    FROM pg_attribute WHERE attrelid = 'events_by_month'::regclass AND attnum > 0 AND NOT attisdropped ORDER BY attnum;
SELECT relreplident, reloptions, (SELECT array_agg(inhrelid::regclass::text ORDER BY 1) FROM pg_inherits WHERE inhparent = c.oid) AS parts
    FROM pg_class c WHERE oid = 'events_by_month'::regclass;
SELECT tgrelid::regclass, tgname, tgtype FROM pg_trigger WHERE tgrelid IN ('january'::regclass, 'february'::regclass) ORDER BY 1, 2;
-- moved before the backfill
UPDATE events SET day = '2026-02-28' WHERE id = 1;
CALL zdm.backfill('rename_events_to_events_by_month');
SELECT "check", rows_compared, mismatches FROM zdm.verify('rename_events_to_events_by_month');
CREATE FUNCTION places(VARIADIC ids int[]) RETURNS TABLE (id int, old text, new text) LANGUAGE sql AS $$
    SELECT i, (SELECT concat_ws(' ', e.day, e.body) FROM events e WHERE e.id = i),
           (SELECT concat_ws(' ', m.tableoid::regclass, m.day, m.body) FROM events_by_month m WHERE m.id = i)
      FROM unnest(ids) i $$;
TRUNCATE log;
-- a row that moves is updated in the other table, by either version
UPDATE events SET day = '2026-02-02' WHERE id = 2;
UPDATE events_by_month SET day = '2026-02-03', body = 'moved' WHERE id = 3;
UPDATE events_by_month SET id = 1004, day = '2026-02-04' WHERE id = 4;
UPDATE january SET body = 'by its partition' WHERE id = 5;
DELETE FROM events_by_month WHERE id = 6;
INSERT INTO events_by_month VALUES (2000, '2026-02-05', 'new', 2000);
INSERT INTO events VALUES (2001, '2026-01-05', 'old', 2001);
SELECT * FROM places(1, 2, 3, 4, 1004, 5, 6, 2000, 2001);
SELECT * FROM log ORDER BY what;
-- the key alone is unique as long as the old table lives
INSERT INTO events_by_month VALUES (2000, '2026-01-06', 'again', 2002);
-- what fits no partition, and the way out
INSERT INTO events VALUES (3000, '2026-03-05', 'march', 3000);
CREATE TABLE others PARTITION OF events_by_month DEFAULT;
INSERT INTO events VALUES (3000, '2026-03-05', 'march', 3000);
SELECT * FROM places(3000);
TRUNCATE others;
SELECT * FROM places(3000);
SELECT "check", rows_compared, mismatches FROM zdm.verify('rename_events_to_events_by_month');
SELECT zdm.contract('rename_events_to_events_by_month', '1 hour');
UPDATE events_by_month SET day = '2026-01-07' WHERE id = 3;
UPDATE events SET day = '2026-01-08' WHERE id = 2;
SELECT * FROM places(2, 3);
SELECT zdm.contract('rename_events_to_events_by_month', '0');
\d events_by_month
SELECT attname, attstorage, nullif(attstattarget::integer, -1) AS target, col_description(attrelid, attnum)
    FROM pg_attribute WHERE attrelid = 'events_by_month'::regclass AND attnum > 0 AND NOT attisdropped ORDER BY attnum;
SELECT relreplident, reloptions, (SELECT array_agg(inhrelid::regclass::text ORDER BY 1) FROM pg_inherits WHERE inhparent = c.oid) AS parts
    FROM pg_class c WHERE oid = 'events_by_month'::regclass;
\d january
SELECT count(*) FROM events_by_month;

-- from one partitioning to another, by a table of the caller's; referred to
CREATE TABLE parts (id int NOT NULL, shard int NOT NULL, body text, PRIMARY KEY (id, shard)) PARTITION BY LIST (shard);
CREATE TABLE parts_1 PARTITION OF parts FOR VALUES IN (1);
CREATE TABLE parts_2 PARTITION OF parts FOR VALUES IN (2);
INSERT INTO parts SELECT i, i % 2 + 1, 'part ' || i FROM generate_series(1, 100) i;
CREATE TABLE hashed (LIKE parts) PARTITION BY HASH (id);
CREATE TABLE hashed_0 PARTITION OF hashed FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE hashed_1 PARTITION OF hashed FOR VALUES WITH (MODULUS 2, REMAINDER 1);
SELECT zdm.rename_table('parts', 'hashed', 'dual_write');
ALTER TABLE hashed ADD PRIMARY KEY (id, shard);
SELECT zdm.rename_table('parts', 'hashed', 'dual_write');
CALL zdm.backfill('rename_parts_to_hashed');
UPDATE parts SET shard = 3 - shard WHERE id = 7;
UPDATE hashed SET id = 1008, body = 'moved' WHERE id = 8;
INSERT INTO hashed VALUES (1009, 2, 'new');
SELECT id, shard, body FROM parts WHERE id IN (7, 8, 1008, 1009) ORDER BY 1;
SELECT id, shard, body FROM hashed WHERE id IN (7, 8, 1008, 1009) ORDER BY 1;
SELECT "check", rows_compared, mismatches FROM zdm.verify('rename_parts_to_hashed');
SELECT zdm.contract('rename_parts_to_hashed');
SELECT count(*) FROM hashed;

-- referred to: the key's row moves, and what refers to it stays
CREATE TABLE plain (id int PRIMARY KEY, body text);
CREATE TABLE child (id int PRIMARY KEY, plain int REFERENCES plain ON DELETE CASCADE);
CREATE TABLE by_body (LIKE plain, PRIMARY KEY (id, body)) PARTITION BY LIST (body);
SELECT zdm.rename_table('plain', 'by_body', 'dual_write');
SELECT zdm.rename_table('plain', 'plain_2', 'dual_write', definition => 'PARTITION BY LIST (body)');
INSERT INTO plain SELECT i, 'body' FROM generate_series(1, 3) i;
INSERT INTO child SELECT i, i FROM generate_series(1, 3) i;
BEGIN;
SELECT zdm.rename_table('plain', 'plain_2', 'dual_write', definition => 'PARTITION BY LIST (id)', migration => 'p');
CREATE TABLE plain_one PARTITION OF plain_2 FOR VALUES IN (1);
CREATE TABLE plain_rest PARTITION OF plain_2 DEFAULT;
COMMIT;
CALL zdm.backfill('p');
UPDATE plain_2 SET id = 4 WHERE id = 1;
DELETE FROM plain_2 WHERE id = 2;
SELECT zdm.contract('p');
SELECT tableoid::regclass, * FROM plain_2 ORDER BY id;
SELECT * FROM child;
\set VERBOSITY sqlstate
UPDATE plain_2 SET id = 4 WHERE id = 3;
\set VERBOSITY default
SELECT count(*) FROM pg_constraint WHERE conname LIKE '~zdm%' AND conrelid = 'child'::regclass;

DROP SCHEMA zdm_parts CASCADE;
