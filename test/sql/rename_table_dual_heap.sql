--
-- A table renamed by a second one for the sake of its heap: another access
-- method, tablespace, storage parameters and partitions, with what hangs on it.
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS zdm;
SET allow_in_place_tablespaces = on;
CREATE TABLESPACE regress_zdm_fast LOCATION '';
CREATE ACCESS METHOD regress_zdm_heap TYPE TABLE HANDLER heap_tableam_handler;
CREATE ROLE regress_zdm_reads;
CREATE SCHEMA zdm_heap;
SET search_path = zdm_heap;
CREATE TABLE owners (id int PRIMARY KEY);
INSERT INTO owners SELECT generate_series(1, 10);
CREATE TABLE events (id int GENERATED ALWAYS AS IDENTITY, number serial UNIQUE, day date NOT NULL DEFAULT '2026-01-01',
    owner int CONSTRAINT of_owner REFERENCES owners ON DELETE CASCADE, body text, PRIMARY KEY (id)) WITH (autovacuum_enabled = off);
ALTER TABLE events REPLICA IDENTITY USING INDEX events_number_key;
CREATE STATISTICS on_both ON owner, day FROM events;
COMMENT ON COLUMN events.body IS 'in words';
COMMENT ON INDEX events_pkey IS 'the key';
GRANT SELECT (id, body), UPDATE (body) ON events TO regress_zdm_reads;
INSERT INTO events (owner, body) SELECT i % 10 + 1, repeat('x', i) FROM generate_series(1, 500) i;
CREATE TABLE notes (event int REFERENCES events ON DELETE CASCADE);
INSERT INTO notes SELECT i FROM generate_series(1, 100) i;
CREATE TABLE log (relation name, op text);
CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO zdm_heap.log VALUES (TG_TABLE_NAME, TG_OP);
    RETURN NEW;
END $$;
CREATE TRIGGER noted BEFORE INSERT OR UPDATE ON events FOR EACH ROW EXECUTE FUNCTION note();
CREATE PUBLICATION zdm_heap_events FOR TABLE events;

SELECT description FROM zdm.explain($$zdm.rename_table('events', 'happenings', 'dual_write')$$)
 WHERE phase = 'note' AND description ~ 'publi|TRUNCATE|trigger';
SET client_min_messages = error;
SELECT zdm.rename_table('events', 'happenings', 'dual_write', migration => 'm',
    definition => 'USING regress_zdm_heap WITH (fillfactor = 50, toast_tuple_target = 200) TABLESPACE regress_zdm_fast');
SET client_min_messages = warning;
CALL zdm.backfill('m');
INSERT INTO happenings (owner, body) VALUES (1, 'by the new version') RETURNING id, number;
INSERT INTO events (owner, body) VALUES (1, 'by the old version') RETURNING id, number;
UPDATE happenings SET body = 'new' WHERE id = 1;
UPDATE events SET body = 'old' WHERE id = 2;
-- a key that both count on
DELETE FROM owners WHERE id = 10;
-- a trigger has fired once for each, where it is on
SELECT relation, op, count(*) FROM log GROUP BY 1, 2 ORDER BY 1, 2;
SELECT "check", rows_compared, mismatches FROM zdm.verify('m');
SELECT (SELECT count(*) FROM events), (SELECT count(*) FROM happenings), (SELECT count(*) FROM notes);
SELECT zdm.contract('m', '1 hour');
TRUNCATE log;
INSERT INTO happenings (owner, body) VALUES (1, 'by the new version');
INSERT INTO events (owner, body) VALUES (1, 'by the old version');
SELECT relation, op, count(*) FROM log GROUP BY 1, 2 ORDER BY 1, 2;
SELECT zdm.contract('m', '0');
SELECT amname, spcname, reloptions, relreplident,
       (SELECT string_agg(attnum::text, ', ') FROM pg_index, unnest(indkey) attnum WHERE indrelid = c.oid AND indisreplident) AS identity
  FROM pg_class c JOIN pg_am a ON a.oid = relam JOIN pg_tablespace s ON s.oid = reltablespace WHERE c.oid = 'happenings'::regclass;
SELECT attname, attidentity, pg_get_serial_sequence('happenings', attname), col_description(attrelid, attnum), attacl::text ~ 'regress_zdm_reads' AS granted
  FROM pg_attribute WHERE attrelid = 'happenings'::regclass AND attnum > 0 ORDER BY attnum;
SELECT obj_description('happenings_pkey'::regclass, 'pg_class');
SELECT pg_get_statisticsobjdef_columns(oid) FROM pg_statistic_ext WHERE stxrelid = 'happenings'::regclass;
SELECT conname, conrelid::regclass, confrelid::regclass, convalidated FROM pg_constraint
 WHERE contype = 'f' AND 'happenings'::regclass IN (conrelid, confrelid) ORDER BY 1;
INSERT INTO happenings (owner, body) VALUES (1, 'the next') RETURNING id, number;

-- from a partitioned table, and to one: the key that is referred to has the partition key
CREATE TABLE days (id int, day date NOT NULL, owner int REFERENCES owners ON DELETE SET NULL, body text, PRIMARY KEY (id), UNIQUE (id, day));
CREATE TABLE tickets (id int PRIMARY KEY, event int, day date, FOREIGN KEY (event, day) REFERENCES days (id, day) ON DELETE CASCADE);
INSERT INTO days SELECT i, '2026-01-01'::date + i % 59, i % 9 + 1, 'day ' || i FROM generate_series(1, 200) i;
INSERT INTO tickets SELECT id, id, day FROM days WHERE id <= 50;
BEGIN;
SELECT zdm.rename_table('days', 'days_by_month', 'dual_write', migration => 'p', definition => 'PARTITION BY RANGE (day)');
CREATE TABLE january PARTITION OF days_by_month FOR VALUES FROM ('2026-01-01') TO ('2026-02-01') TABLESPACE regress_zdm_fast;
CREATE TABLE others PARTITION OF days_by_month DEFAULT;
COMMIT;
CALL zdm.backfill('p');
INSERT INTO days_by_month VALUES (1000, '2026-01-05', 1, 'new');
INSERT INTO tickets VALUES (1000, 1000, '2026-01-05');
INSERT INTO tickets VALUES (1001, 1000, '2026-01-06');
DELETE FROM days WHERE id = 1;
DELETE FROM days_by_month WHERE id = 2;
DELETE FROM owners WHERE id = 3;
SELECT count(*) FROM tickets;
SELECT (SELECT count(*) FROM days WHERE owner IS NULL) AS old, (SELECT count(*) FROM days_by_month WHERE owner IS NULL) AS new;
SELECT "check", rows_compared, mismatches FROM zdm.verify('p');
SELECT zdm.contract('p');
SELECT conname, conrelid::regclass, confrelid::regclass, convalidated FROM pg_constraint
 WHERE contype = 'f' AND conparentid = 0 AND 'days_by_month'::regclass IN (conrelid, confrelid) ORDER BY 1;
DELETE FROM days_by_month WHERE id = 1000;
SELECT count(*) FROM tickets;

-- a table of the caller's that has a partition for every row needs no note
CREATE TABLE plain (id int PRIMARY KEY, day date NOT NULL);
CREATE TABLE months (LIKE plain, PRIMARY KEY (id, day)) PARTITION BY LIST (day);
SELECT description FROM zdm.explain($$zdm.rename_table('plain', 'months', 'dual_write')$$) WHERE description ~ 'fits no partition';
CREATE TABLE any_month PARTITION OF months DEFAULT;
SELECT description FROM zdm.explain($$zdm.rename_table('plain', 'months', 'dual_write')$$) WHERE description ~ 'fits no partition';

DROP SCHEMA zdm_heap CASCADE;
DROP ACCESS METHOD regress_zdm_heap;
DROP TABLESPACE regress_zdm_fast;
DROP OWNED BY regress_zdm_reads;
DROP ROLE regress_zdm_reads;
