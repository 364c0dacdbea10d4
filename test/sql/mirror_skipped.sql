--
-- BEFORE triggers of the application's that leave a mirrored write out: both
-- tables go without it.
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS zdm;
CREATE ROLE regress_zdm_skipped;
CREATE SCHEMA zdm_skipped AUTHORIZATION regress_zdm_skipped;
SET SESSION AUTHORIZATION regress_zdm_skipped;
SET search_path = zdm_skipped;
CREATE FUNCTION skip() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';

-- a second table like the first, whose trigger fires
CREATE TABLE events (id int PRIMARY KEY, n int);
INSERT INTO events SELECT i, i FROM generate_series(1, 8) i;
CREATE TRIGGER skip BEFORE INSERT OR UPDATE OR DELETE ON events FOR EACH ROW EXECUTE FUNCTION skip();
ALTER TABLE events DISABLE TRIGGER skip;
SELECT zdm.rename_table('events', 'happenings', 'dual_write', migration => 'd');
CALL zdm.backfill('d');
ALTER TABLE events ENABLE TRIGGER skip;
INSERT INTO happenings (id, n) VALUES (11, 11), (12, 12);
INSERT INTO happenings (id, n) VALUES (13, 13) ON CONFLICT DO NOTHING;
COPY happenings (id, n) FROM stdin;
14	14
\.
UPDATE happenings SET n = 100 WHERE id IN (1, 2);
UPDATE happenings SET id = 103 WHERE id = 3;
INSERT INTO happenings (id, n) VALUES (4, 4) ON CONFLICT (id) DO UPDATE SET n = 100;
DELETE FROM happenings WHERE id IN (5, 6);
SELECT id, e.n, h.n FROM events e FULL JOIN happenings h USING (id) ORDER BY id;
SELECT mismatches FROM zdm.verify('d');
ALTER TABLE events DISABLE TRIGGER skip;
-- and the other way round, for the old version
ALTER TABLE happenings ENABLE TRIGGER skip;
INSERT INTO events VALUES (11, 11);
UPDATE events SET n = 100 WHERE id IN (1, 2);
UPDATE events SET id = 103 WHERE id = 3;
DELETE FROM events WHERE id IN (5, 6);
SELECT id, e.n, h.n FROM events e FULL JOIN happenings h USING (id) ORDER BY id;
SELECT mismatches FROM zdm.verify('d');
-- both have one: each holds for the writes that come to it
ALTER TABLE events ENABLE TRIGGER skip;
UPDATE events SET n = 101 WHERE id = 1;
UPDATE happenings SET n = 101 WHERE id = 1;
SELECT id, e.n, h.n FROM events e FULL JOIN happenings h USING (id) WHERE id = 1;
-- a trigger that turns an insert into an update
DROP TRIGGER skip ON events;
ALTER TABLE happenings DISABLE TRIGGER skip;
CREATE FUNCTION turn() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE events SET n = new.n WHERE id = new.id - 1;
    RETURN NULL;
END $$;
CREATE TRIGGER turn BEFORE INSERT ON events FOR EACH ROW EXECUTE FUNCTION turn();
INSERT INTO happenings (id, n) VALUES (9, 200);
SELECT id, e.n, h.n FROM events e FULL JOIN happenings h USING (id) ORDER BY id;
SELECT mismatches FROM zdm.verify('d');

-- a partitioned one, of which rows move
CREATE TABLE days (id int PRIMARY KEY, n int);
INSERT INTO days SELECT i, i FROM generate_series(1, 4) i;
BEGIN;
SELECT zdm.rename_table('days', 'dates', 'dual_write', migration => 'p', definition => 'PARTITION BY RANGE (id)');
CREATE TABLE dates_1 PARTITION OF dates FOR VALUES FROM (0) TO (10);
CREATE TABLE dates_2 PARTITION OF dates FOR VALUES FROM (10) TO (20);
COMMIT;
CALL zdm.backfill('p');
CREATE TRIGGER skip BEFORE INSERT OR UPDATE OR DELETE ON days FOR EACH ROW EXECUTE FUNCTION skip();
INSERT INTO dates VALUES (5, 5);
UPDATE dates SET n = 100 WHERE id = 1;
UPDATE dates SET id = 12 WHERE id = 2;
DELETE FROM dates WHERE id = 3;
SELECT id, a.n, b.n FROM days a FULL JOIN dates b USING (id) ORDER BY id;
SELECT mismatches FROM zdm.verify('p');

-- a join table and a column
CREATE TABLE users (id int PRIMARY KEY);
CREATE TABLE voucher (id int PRIMARY KEY, note text);
CREATE TABLE used (user_id int NOT NULL REFERENCES users ON DELETE CASCADE,
    voucher_id int NOT NULL UNIQUE REFERENCES voucher ON DELETE CASCADE, at int);
INSERT INTO users SELECT generate_series(1, 9);
INSERT INTO voucher SELECT generate_series(1, 9);
INSERT INTO used SELECT i, i, i FROM generate_series(1, 5) i;
SELECT zdm.join_table_to_column('used', 'voucher', 'user_id', columns => '{"at": "used_at"}', migration => 'm');
CALL zdm.backfill('m');
CREATE VIEW both_of_them AS
    SELECT v.id, v.user_id, u.user_id AS used_by, v.used_at, u.at
      FROM voucher v FULL JOIN used u ON u.voucher_id = v.id ORDER BY v.id;
CREATE TRIGGER skip BEFORE UPDATE ON voucher FOR EACH ROW EXECUTE FUNCTION skip();
INSERT INTO used VALUES (6, 6, 6);
UPDATE used SET user_id = 9, at = 9 WHERE voucher_id = 1;
UPDATE used SET voucher_id = 7 WHERE voucher_id = 2;
DELETE FROM used WHERE voucher_id = 3;
SELECT * FROM both_of_them;
-- what is in the way of that is a warning, and no error
DELETE FROM users WHERE id = 4;
SELECT * FROM both_of_them WHERE id = 4;
DROP TRIGGER skip ON voucher;
UPDATE voucher SET user_id = NULL WHERE id = 4;
SELECT mismatches FROM zdm.verify('m');
-- only the voucher that it goes to
CREATE TRIGGER skip BEFORE UPDATE ON voucher FOR EACH ROW WHEN (old.id = 7) EXECUTE FUNCTION skip();
UPDATE used SET voucher_id = 7 WHERE voucher_id = 2;
SELECT * FROM both_of_them WHERE id IN (2, 7);
DROP TRIGGER skip ON voucher;
CREATE TRIGGER skip BEFORE INSERT OR UPDATE OR DELETE ON used FOR EACH ROW EXECUTE FUNCTION skip();
UPDATE voucher SET user_id = 6 WHERE id = 6;
UPDATE voucher SET user_id = 9 WHERE id = 1;
UPDATE voucher SET user_id = NULL WHERE id = 3;
INSERT INTO voucher (id, user_id) VALUES (10, 1);
SELECT * FROM both_of_them;
SELECT mismatches FROM zdm.verify('m');

-- a column and a join table, that may have several
CREATE TABLE parcel (id int PRIMARY KEY, holder int REFERENCES users);
INSERT INTO parcel SELECT i, i FROM generate_series(1, 3) i;
INSERT INTO users VALUES (20);
SELECT zdm.column_to_join_table('parcel', 'holder', 'holders', migration => 'h');
CALL zdm.backfill('h');
CREATE FUNCTION skip_20() RETURNS trigger LANGUAGE plpgsql AS
    'BEGIN IF new.holder = 20 THEN RETURN NULL; END IF; RETURN new; END';
CREATE TRIGGER skip_20 BEFORE INSERT ON holders FOR EACH ROW EXECUTE FUNCTION skip_20();
CREATE TRIGGER skip BEFORE DELETE ON holders FOR EACH ROW WHEN (old.parcel_id = 2) EXECUTE FUNCTION skip();
UPDATE parcel SET holder = 20 WHERE id = 1;
UPDATE parcel SET holder = NULL WHERE id = 2;
INSERT INTO parcel VALUES (4, 20);
SELECT p.id, p.holder, h.holder FROM parcel p LEFT JOIN holders h ON h.parcel_id = p.id ORDER BY p.id;
SELECT mismatches FROM zdm.verify('h');
-- and the other way round: what the column was to show
DROP TRIGGER skip_20 ON holders;
DROP TRIGGER skip ON holders;
INSERT INTO parcel VALUES (5, NULL), (6, 6), (7, 7), (8, 8);
CREATE TRIGGER skip BEFORE UPDATE ON parcel FOR EACH ROW EXECUTE FUNCTION skip();
INSERT INTO holders VALUES (1, 9), (5, 9);
UPDATE holders SET holder = 9 WHERE parcel_id = 6;
UPDATE holders SET parcel_id = 5 WHERE parcel_id = 7;
DELETE FROM holders WHERE parcel_id = 8;
-- nothing to take back: the column shows one of them all the time
DELETE FROM holders WHERE parcel_id = 1 AND holder = 9;
SELECT p.id, p.holder, h.holder FROM parcel p LEFT JOIN holders h ON h.parcel_id = p.id WHERE p.id NOT IN (2, 3, 4) ORDER BY p.id, 3;
-- what makes something else of it
CREATE FUNCTION other() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN new.holder = 3; RETURN new; END';
CREATE TRIGGER other BEFORE UPDATE ON parcel FOR EACH ROW WHEN (old.id = 6) EXECUTE FUNCTION other();
DROP TRIGGER skip ON parcel;
UPDATE holders SET holder = 9 WHERE parcel_id = 6;
SELECT p.id, p.holder, h.holder FROM parcel p LEFT JOIN holders h ON h.parcel_id = p.id WHERE p.id = 6;
DROP TRIGGER other ON parcel;
UPDATE parcel SET holder = 6 WHERE id = 6;
SELECT mismatches FROM zdm.verify('h');

RESET SESSION AUTHORIZATION;
DROP SCHEMA zdm_skipped CASCADE;
DROP ROLE regress_zdm_skipped;
