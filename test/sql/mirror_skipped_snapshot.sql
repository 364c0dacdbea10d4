--
-- Writes that a trigger of the other table skips, in transactions with one
-- snapshot: both tables go without them, as in others.
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS zdm;
CREATE SCHEMA zdm_skip_snapshot;
SET search_path = zdm_skip_snapshot;
CREATE FUNCTION skip() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' THEN
        IF old.n = 5 THEN RETURN NULL; END IF;
        RETURN old;
    END IF;
    IF new.n = 9 THEN RETURN NULL; END IF;
    RETURN new;
END $$;
CREATE FUNCTION skip_8() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF new.n = 8 THEN RETURN NULL; END IF;
    RETURN new;
END $$;
CREATE TABLE events (id int PRIMARY KEY, n int);
INSERT INTO events SELECT i, i FROM generate_series(1, 6) i;
SELECT zdm.rename_table('events', 'events_2', 'dual_write', migration => 'm');
CALL zdm.backfill('m');
CREATE TRIGGER skip BEFORE INSERT OR UPDATE OR DELETE ON events FOR EACH ROW EXECUTE FUNCTION skip();
CREATE TABLE kept (id int PRIMARY KEY);
INSERT INTO kept SELECT generate_series(1, 9);
CREATE TABLE voucher (id int PRIMARY KEY);
CREATE TABLE used (voucher_id int PRIMARY KEY REFERENCES voucher, n int NOT NULL REFERENCES kept);
INSERT INTO voucher SELECT generate_series(1, 9);
INSERT INTO used SELECT i, i FROM generate_series(1, 5) i;
SELECT zdm.join_table_to_column('used', 'voucher', 'n', migration => 'f');
CALL zdm.backfill('f');
CREATE TRIGGER skip BEFORE INSERT OR UPDATE OR DELETE ON used FOR EACH ROW EXECUTE FUNCTION skip();
CREATE TRIGGER skip BEFORE INSERT OR UPDATE ON voucher FOR EACH ROW EXECUTE FUNCTION skip_8();
CREATE TABLE many (id int PRIMARY KEY, n int REFERENCES kept);
INSERT INTO many SELECT i, i FROM generate_series(1, 6) i;
SELECT zdm.column_to_join_table('many', 'n', 'of_many', migration => 's');
CALL zdm.backfill('s');
CREATE TRIGGER skip BEFORE INSERT OR UPDATE OR DELETE ON of_many FOR EACH ROW EXECUTE FUNCTION skip();
CREATE TRIGGER skip BEFORE INSERT OR UPDATE ON many FOR EACH ROW EXECUTE FUNCTION skip_8();

BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT (SELECT count(*) FROM events_2) AS events, (SELECT count(*) FROM used) AS used, (SELECT count(*) FROM of_many) AS of_many;
UPDATE events_2 SET n = 9 WHERE id = 1;
INSERT INTO events_2 VALUES (20, 9);
DELETE FROM events_2 WHERE n = 5;
UPDATE events_2 SET id = 30, n = 9 WHERE id = 2;
UPDATE events_2 SET n = 7 WHERE id = 3;
UPDATE voucher SET n = 9 WHERE id = 1;
UPDATE voucher SET n = NULL WHERE id = 5;
INSERT INTO voucher VALUES (20, 9);
UPDATE used SET n = 8 WHERE voucher_id = 2;
INSERT INTO used VALUES (6, 8);
UPDATE voucher SET n = 7 WHERE id = 3;
UPDATE many SET n = 9 WHERE id = 1;
UPDATE many SET n = NULL WHERE id = 5;
INSERT INTO many VALUES (20, 9);
INSERT INTO of_many VALUES (2, 3);
DELETE FROM of_many WHERE many_id = 3;
UPDATE many SET n = 7 WHERE id = 6;
COMMIT;
BEGIN ISOLATION LEVEL SERIALIZABLE;
SELECT (SELECT count(*) FROM events_2) AS events, (SELECT count(*) FROM used) AS used, (SELECT count(*) FROM of_many) AS of_many;
UPDATE events_2 SET n = 9 WHERE id = 1;
INSERT INTO events_2 VALUES (21, 9);
DELETE FROM events_2 WHERE n = 5;
UPDATE events_2 SET id = 30, n = 9 WHERE id = 2;
UPDATE events_2 SET n = 7 WHERE id = 4;
UPDATE voucher SET n = 9 WHERE id = 1;
UPDATE voucher SET n = NULL WHERE id = 5;
INSERT INTO voucher VALUES (21, 9);
UPDATE used SET n = 8 WHERE voucher_id = 2;
INSERT INTO used VALUES (6, 8);
UPDATE voucher SET n = 7 WHERE id = 4;
UPDATE many SET n = 9 WHERE id = 1;
UPDATE many SET n = NULL WHERE id = 5;
INSERT INTO many VALUES (21, 9);
INSERT INTO of_many VALUES (2, 4);
DELETE FROM of_many WHERE many_id = 4;
UPDATE many SET n = 7 WHERE id = 6;
COMMIT;
SELECT id, e.n, f.n FROM events e FULL JOIN events_2 f USING (id) ORDER BY id;
SELECT v.id, v.n, u.n FROM voucher v FULL JOIN used u ON u.voucher_id = v.id ORDER BY v.id;
SELECT m.id, m.n, string_agg(o.n::text, ',' ORDER BY o.n) FROM many m LEFT JOIN of_many o ON o.many_id = m.id GROUP BY 1 ORDER BY 1;
SELECT "check", relation, rows_compared, mismatches FROM zdm.verify('m');
SELECT "check", relation, rows_compared, mismatches FROM zdm.verify('f');
SELECT "check", relation, rows_compared, mismatches FROM zdm.verify('s');

DROP SCHEMA zdm_skip_snapshot CASCADE;
