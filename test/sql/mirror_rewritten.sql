--
-- Triggers of the application's that write a mirrored row again, before the
-- mirror's own trigger fires for it.
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS zdm;
CREATE ROLE regress_zdm_rewritten;
CREATE SCHEMA zdm_rewritten AUTHORIZATION regress_zdm_rewritten;
SET SESSION AUTHORIZATION regress_zdm_rewritten;
SET search_path = zdm_rewritten;

CREATE TABLE users (id int PRIMARY KEY);
CREATE TABLE voucher (id int PRIMARY KEY, note text);
CREATE TABLE used (user_id int NOT NULL REFERENCES users, voucher_id int NOT NULL UNIQUE REFERENCES voucher ON DELETE CASCADE, note text);
INSERT INTO users SELECT generate_series(1, 9);
INSERT INTO voucher SELECT generate_series(1, 9);
SELECT zdm.join_table_to_column('used', 'voucher', 'user_id', columns => '{"note": null}', migration => 'm');
CALL zdm.backfill('m');
-- 1 becomes 2, 3 goes, 4 moves to the next voucher, 5 is noted and no more
CREATE FUNCTION write_again() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    CASE new.user_id
        WHEN 1 THEN UPDATE used SET user_id = 2 WHERE voucher_id = new.voucher_id;
        WHEN 3 THEN DELETE FROM used WHERE voucher_id = new.voucher_id;
        WHEN 4 THEN UPDATE used SET voucher_id = new.voucher_id + 1, user_id = 6 WHERE voucher_id = new.voucher_id;
        WHEN 5 THEN UPDATE used SET note = 'noted' WHERE voucher_id = new.voucher_id AND note IS NULL;
        ELSE NULL;
    END CASE;
    RETURN NULL;
END $$;
CREATE TRIGGER again AFTER INSERT OR UPDATE ON used FOR EACH ROW EXECUTE FUNCTION write_again();
INSERT INTO used VALUES (1, 1), (3, 3), (4, 4), (5, 6), (7, 7), (8, 8);
UPDATE used SET user_id = 3 WHERE voucher_id = 7;
UPDATE used SET user_id = 4 WHERE voucher_id = 8;
SELECT v.id, v.user_id, u.user_id, u.note FROM voucher v LEFT JOIN used u ON u.voucher_id = v.id ORDER BY v.id;
SELECT * FROM zdm.verify('m');
DROP TRIGGER again ON used;

CREATE FUNCTION write_voucher_again() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    CASE new.user_id
        WHEN 1 THEN UPDATE voucher SET user_id = 2 WHERE id = new.id;
        WHEN 3 THEN DELETE FROM voucher WHERE id = new.id;
        WHEN 4 THEN UPDATE voucher SET user_id = NULL WHERE id = new.id;
        WHEN 5 THEN UPDATE voucher SET note = 'noted' WHERE id = new.id AND note IS NULL;
        ELSE NULL;
    END CASE;
    RETURN NULL;
END $$;
CREATE TRIGGER again AFTER INSERT OR UPDATE ON voucher FOR EACH ROW EXECUTE FUNCTION write_voucher_again();
INSERT INTO voucher (id, user_id) VALUES (11, 1), (13, 3), (14, 4), (15, 5);
UPDATE voucher SET user_id = 1 WHERE id = 3;
UPDATE voucher SET user_id = 4 WHERE id = 1;
UPDATE voucher SET user_id = 3 WHERE id = 5;
SELECT v.id, v.user_id, u.user_id, v.note FROM voucher v FULL JOIN used u ON u.voucher_id = v.id ORDER BY v.id;
SELECT * FROM zdm.verify('m');

-- a row that gets another key, and is written again
CREATE TABLE events (id int PRIMARY KEY, n int);
INSERT INTO events VALUES (1, 0), (2, 0), (3, 0);
SELECT zdm.rename_table('events', 'happenings', 'dual_write', migration => 'd');
CALL zdm.backfill('d');
CREATE FUNCTION write_event_again() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF new.n = old.n THEN UPDATE events SET n = n + 1 WHERE id = new.id; END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER again AFTER UPDATE ON events FOR EACH ROW EXECUTE FUNCTION write_event_again();
UPDATE events SET id = 11 WHERE id = 1;
UPDATE happenings SET id = 12 WHERE id = 2;
MERGE INTO happenings USING (VALUES (3, 13)) s (a, b) ON id = a WHEN MATCHED THEN UPDATE SET id = b;
SELECT id, e.n, h.n FROM events e FULL JOIN happenings h USING (id) ORDER BY id;

-- a voucher that goes and comes in one statement: the cascade's delete is told
-- of after the new row
CREATE TABLE coupon (id int PRIMARY KEY);
CREATE TABLE spent (user_id int NOT NULL REFERENCES users, coupon_id int NOT NULL UNIQUE REFERENCES coupon ON DELETE CASCADE);
INSERT INTO coupon VALUES (1), (2);
INSERT INTO spent VALUES (1, 1), (2, 2);
SELECT zdm.join_table_to_column('spent', 'coupon', 'user_id', migration => 's');
CALL zdm.backfill('s');
WITH gone AS (DELETE FROM coupon RETURNING *)
INSERT INTO coupon (id, user_id) SELECT id, CASE id WHEN 1 THEN user_id ELSE 3 END FROM gone;
SELECT c.id, c.user_id, s.user_id FROM coupon c LEFT JOIN spent s ON s.coupon_id = c.id ORDER BY c.id;
SELECT * FROM zdm.verify('s');

RESET SESSION AUTHORIZATION;
DROP SCHEMA zdm_rewritten CASCADE;
DROP ROLE regress_zdm_rewritten;
