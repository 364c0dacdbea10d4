--
-- What two tables that mirror each other must keep, whoever alters them.
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS zdm;
CREATE SCHEMA zdm_keep;
SET search_path = zdm_keep;
CREATE TABLE events (id int PRIMARY KEY, n int UNIQUE);
CREATE TABLE child (id int PRIMARY KEY, event int REFERENCES events);
CREATE TABLE parent (id int, n int);
INSERT INTO events SELECT i, i FROM generate_series(1, 5) i;
SELECT zdm.rename_table('events', 'events_2', 'dual_write', migration => 'm');
ALTER TRIGGER "~zdm_mirror" ON events RENAME TO other;
ALTER TRIGGER "~zdm_mirror_order" ON events_2 RENAME TO other;
DROP STATISTICS "~zdm_events_2_load";
ALTER STATISTICS "~zdm_events_2_load" RENAME TO other;
ALTER TABLE events DROP CONSTRAINT events_pkey CASCADE;
ALTER TABLE events_2 DROP CONSTRAINT events_2_pkey;
ALTER TABLE events_2 INHERIT parent;
ALTER TABLE events INHERIT parent;
-- another index will do
CREATE UNIQUE INDEX another ON events_2 (id);
ALTER TABLE events_2 DROP CONSTRAINT events_2_pkey;
ALTER TABLE events_2 ADD PRIMARY KEY USING INDEX another;
DROP INDEX another;
ALTER TABLE events DROP CONSTRAINT events_n_key;
ALTER TABLE events_2 DROP CONSTRAINT events_2_n_key;
UPDATE events SET n = 10 WHERE id = 1;
UPDATE events_2 SET n = 20 WHERE id = 2;
SELECT zdm.rollback('m');
SELECT tgname FROM pg_trigger WHERE tgrelid = 'events'::regclass AND NOT tgisinternal;

-- a join table, and a column
CREATE TABLE voucher (id int PRIMARY KEY, code text UNIQUE);
CREATE TABLE used (voucher_id int PRIMARY KEY REFERENCES voucher, event int REFERENCES events);
ALTER TABLE used ALTER event SET NOT NULL;
CREATE INDEX ON used (voucher_id);
CREATE TABLE not_ours (id int UNIQUE);
SELECT zdm.join_table_to_column('used', 'voucher', 'event', migration => 'f');
ALTER TABLE used DROP CONSTRAINT used_pkey;
DROP INDEX used_voucher_id_idx;
ALTER TABLE not_ours DROP CONSTRAINT not_ours_id_key;
ALTER TABLE voucher DROP CONSTRAINT voucher_pkey CASCADE;
ALTER TABLE voucher DROP CONSTRAINT voucher_code_key;
SELECT zdm.rollback('f');
SELECT zdm.column_to_join_table('child', 'event', 'of_event', migration => 's');
ALTER TABLE of_event DROP CONSTRAINT of_event_pkey;
ALTER TABLE child DROP CONSTRAINT child_pkey CASCADE;
DROP INDEX of_event_event_idx;
-- tables go with what they have
DROP TABLE of_event, child;
SELECT migration FROM zdm.status;

DROP SCHEMA zdm_keep CASCADE;
