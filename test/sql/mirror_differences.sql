--
-- Two tables that have become different: who finds it, and that neither of
-- them is dropped then.
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS zdm;
CREATE ROLE regress_zdm_differ;
CREATE SCHEMA zdm_differ AUTHORIZATION regress_zdm_differ;
SET SESSION AUTHORIZATION regress_zdm_differ;
SET search_path = zdm_differ;
CREATE FUNCTION skip() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
CREATE FUNCTION tell(command text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    message text;
    detail text;
    hint text;
BEGIN
    EXECUTE command;
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
    RAISE WARNING '%', message USING DETAIL = detail, HINT = hint;
END $$;

-- a join table and a column: what is in the way of taking a write back
CREATE TABLE users (id int PRIMARY KEY);
CREATE TABLE voucher (id int PRIMARY KEY, note text);
CREATE TABLE used (user_id int NOT NULL REFERENCES users ON DELETE CASCADE,
    voucher_id int NOT NULL UNIQUE REFERENCES voucher ON DELETE CASCADE);
INSERT INTO users SELECT generate_series(1, 9);
INSERT INTO voucher SELECT generate_series(1, 9);
INSERT INTO used SELECT i, i FROM generate_series(1, 5) i;
SELECT zdm.join_table_to_column('used', 'voucher', 'user_id', migration => 'm');
CALL zdm.backfill('m');
CREATE TRIGGER skip BEFORE UPDATE ON voucher FOR EACH ROW EXECUTE FUNCTION skip();
DELETE FROM users WHERE id = 4;
DROP TRIGGER skip ON voucher;
SELECT id, user_id FROM voucher WHERE id = 4;
SELECT * FROM zdm.verify('m');
SELECT tell($$SELECT zdm.contract('m')$$);
SELECT tell($$SELECT zdm.contract('m', quarantine => '1 day')$$);
SELECT tell($$SELECT zdm.explain($x$SELECT zdm.contract('m')$x$)$$);
-- before contract a rollback says what goes
BEGIN;
SELECT zdm.rollback('m');
ROLLBACK;
UPDATE voucher SET user_id = NULL WHERE id = 4;
SELECT zdm.contract('m', quarantine => '1 day');
-- in the quarantine likewise
CREATE TRIGGER skip BEFORE UPDATE ON voucher FOR EACH ROW EXECUTE FUNCTION skip();
DELETE FROM users WHERE id = 5;
DROP TRIGGER skip ON voucher;
SELECT tell($$SELECT zdm.contract('m', quarantine => '0')$$);
SELECT tell($$SELECT zdm.rollback('m')$$);
UPDATE voucher SET user_id = NULL WHERE id = 5;
SELECT zdm.contract('m', quarantine => '0');

-- both tables' triggers skip: neither takes the other's back
CREATE TABLE events (id int PRIMARY KEY, n int);
INSERT INTO events SELECT i, i FROM generate_series(1, 8) i;
SELECT zdm.rename_table('events', 'happenings', 'dual_write', migration => 'd');
CALL zdm.backfill('d');
CREATE TRIGGER skip BEFORE INSERT OR UPDATE OR DELETE ON events FOR EACH ROW EXECUTE FUNCTION skip();
CREATE TRIGGER skip_delete BEFORE DELETE ON happenings FOR EACH ROW EXECUTE FUNCTION skip();
INSERT INTO happenings (id, n) VALUES (11, 11);
-- what agrees in the end is no difference
DELETE FROM happenings WHERE id = 1;
UPDATE happenings SET n = 20 WHERE id = 2;
SELECT * FROM zdm.verify('d');
-- contract keeps the second table, and what is in that alone; a rollback would lose it
DROP TRIGGER skip ON events;
DROP TRIGGER skip_delete ON happenings;
SELECT zdm.contract('d', quarantine => '1 day');
SELECT tell($$SELECT zdm.rollback('d')$$);
DELETE FROM happenings WHERE id = 11;
SELECT zdm.rollback('d');
SELECT zdm.rename_table('events', 'happenings', 'dual_write', migration => 'd');
CALL zdm.backfill('d');
CREATE TRIGGER skip BEFORE INSERT OR UPDATE OR DELETE ON happenings FOR EACH ROW EXECUTE FUNCTION skip();
CREATE TRIGGER skip_delete BEFORE DELETE ON events FOR EACH ROW EXECUTE FUNCTION skip();
INSERT INTO events (id, n) VALUES (11, 11);
DROP TRIGGER skip ON happenings;
DROP TRIGGER skip_delete ON events;
SELECT * FROM zdm.verify('d');
SELECT tell($$SELECT zdm.contract('d')$$);
DELETE FROM events WHERE id = 11;
SELECT zdm.contract('d');

-- rows that came past the triggers
CREATE TABLE days (id int PRIMARY KEY, n int);
BEGIN;
SELECT zdm.rename_table('days', 'dates', 'dual_write', migration => 'p', definition => 'PARTITION BY RANGE (id)');
CREATE TABLE dates_1 PARTITION OF dates FOR VALUES FROM (0) TO (10);
COMMIT;
INSERT INTO days VALUES (1, 1);
CALL zdm.backfill('p');
CREATE TABLE dates_2 PARTITION OF dates FOR VALUES FROM (10) TO (20);
RESET SESSION AUTHORIZATION;
SET session_replication_role = replica;
INSERT INTO dates VALUES (11, 11);
RESET session_replication_role;
SET SESSION AUTHORIZATION regress_zdm_differ;
SELECT * FROM zdm.verify('p');
SELECT zdm.contract('p');

-- rows of a join table that no foreign key holds
CREATE TABLE voucher_2 (id int PRIMARY KEY);
CREATE TABLE used_2 (user_id int NOT NULL, voucher_id int NOT NULL UNIQUE);
INSERT INTO voucher_2 VALUES (1);
INSERT INTO used_2 VALUES (1, 1), (2, 2);
SELECT zdm.join_table_to_column('used_2', 'voucher_2', 'user_id', target_columns => '{voucher_id}', value_columns => '{user_id}', migration => 'u');
CALL zdm.backfill('u');
SELECT * FROM zdm.verify('u');
SELECT detail FROM zdm.events WHERE migration = 'u' AND event = 'mismatch';
DELETE FROM used_2 WHERE user_id = 2;
CALL zdm.backfill('u');
SELECT zdm.contract('u');

-- a column and a join table: what only the column has
CREATE TABLE parcel (id int PRIMARY KEY, holder int);
INSERT INTO parcel SELECT i, i FROM generate_series(1, 3) i;
SELECT zdm.column_to_join_table('parcel', 'holder', 'holders', migration => 'h');
CALL zdm.backfill('h');
CREATE TRIGGER skip BEFORE INSERT OR DELETE ON holders FOR EACH ROW EXECUTE FUNCTION skip();
CREATE TRIGGER skip_4 BEFORE UPDATE ON parcel FOR EACH ROW WHEN (old.holder = 4) EXECUTE FUNCTION skip();
INSERT INTO parcel VALUES (4, 4);
SELECT * FROM zdm.verify('h');
DROP TRIGGER skip ON holders;
DROP TRIGGER skip_4 ON parcel;
SELECT tell($$SELECT zdm.contract('h')$$);
UPDATE parcel SET holder = 5 WHERE id = 4;
SELECT zdm.contract('h');
SELECT * FROM holders ORDER BY 1, 2;
RESET SESSION AUTHORIZATION;
SELECT count(*) FROM zdm.mirror_difference;
DROP SCHEMA zdm_differ CASCADE;
DROP ROLE regress_zdm_differ;
