--
-- A column becomes a join table: kinds of keys and tables, triggers and
-- rights of the application's.
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS zdm;
CREATE ROLE regress_zdm_spread_owner;
CREATE ROLE regress_zdm_spread_writer;
CREATE SCHEMA zdm_spread_kinds AUTHORIZATION regress_zdm_spread_owner;
GRANT USAGE ON SCHEMA zdm_spread_kinds TO regress_zdm_spread_writer;
SET SESSION AUTHORIZATION regress_zdm_spread_owner;
SET search_path = zdm_spread_kinds;

-- a key of several columns, of other types, with names to be quoted; partitions
CREATE TABLE users (name text PRIMARY KEY);
CREATE TABLE voucher (area varchar(10), "the Code" numeric, note text, holder text REFERENCES users ON UPDATE CASCADE ON DELETE SET NULL,
                      PRIMARY KEY (area, "the Code")) PARTITION BY LIST (area);
CREATE TABLE voucher_north PARTITION OF voucher FOR VALUES IN ('north');
CREATE TABLE voucher_south PARTITION OF voucher FOR VALUES IN ('south');
INSERT INTO users VALUES ('ann'), ('bob'), ('cid'), ('eve');
INSERT INTO voucher SELECT 'north', i + 0.5, 'old', CASE WHEN i < 5 THEN 'ann' END FROM generate_series(1, 8) i;
SELECT zdm.column_to_join_table('voucher', 'holder', 'held', migration => 'spread_kinds');
CREATE FUNCTION shapes() RETURNS TABLE (area text, code numeric, holder text, held text) LANGUAGE sql AS
    $$ SELECT v.area, "the Code", v.holder, (SELECT string_agg(h.holder, ',' ORDER BY h.holder) FROM held h WHERE h.voucher_area = v.area AND h."voucher_the Code" = "the Code")
       FROM voucher v ORDER BY 1, 2 $$;
UPDATE voucher SET note = 'not filled yet' WHERE "the Code" = 1.5;
CALL zdm.backfill('spread_kinds');
\d held
UPDATE voucher SET holder = 'bob' WHERE "the Code" = 2.5;
UPDATE voucher SET holder = NULL WHERE "the Code" = 3.5;
INSERT INTO held VALUES ('north', 4.5, 'bob'), ('north', 5.5, 'cid');
UPDATE held SET holder = 'ann' WHERE "voucher_the Code" = 5.5;
UPDATE users SET name = 'dan' WHERE name = 'bob';
SELECT * FROM shapes();
-- other keys, in the same partition and in another one
UPDATE voucher SET "the Code" = 20 WHERE "the Code" = 1.5;
UPDATE voucher SET area = 'south' WHERE "the Code" IN (2.5, 4.5, 6.5);
UPDATE voucher SET area = 'south', holder = 'cid' WHERE "the Code" IN (7.5, 20);
INSERT INTO held VALUES ('north', 8.5, 'ann'), ('north', 8.5, 'cid'), ('north', 3.5, 'ann'), ('north', 3.5, 'cid');
UPDATE voucher SET area = 'south', holder = 'cid' WHERE "the Code" = 8.5;
UPDATE voucher SET area = 'south', holder = NULL WHERE "the Code" = 3.5;
UPDATE held SET "voucher_the Code" = 6.5, voucher_area = 'south' WHERE "voucher_the Code" = 5.5;
SELECT * FROM shapes();
DELETE FROM users WHERE name = 'dan';
DELETE FROM voucher WHERE "the Code" = 4.5;
SELECT * FROM shapes();
SELECT * FROM zdm.verify('spread_kinds');

-- who may write the table only, and who may write the join table only; triggers on both
GRANT SELECT, INSERT, UPDATE ON voucher TO regress_zdm_spread_writer;
CREATE FUNCTION upper_holder() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN new.note := current_user; RETURN new; END $$;
CREATE FUNCTION pair() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = zdm_spread_kinds AS $$
BEGIN
    IF new.holder = 'cid' THEN INSERT INTO held VALUES (new.voucher_area, new."voucher_the Code", 'ann') ON CONFLICT DO NOTHING; END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER upper_holder BEFORE UPDATE ON voucher FOR EACH ROW EXECUTE FUNCTION upper_holder();
CREATE TRIGGER pair AFTER INSERT ON held FOR EACH ROW EXECUTE FUNCTION pair();
SET SESSION AUTHORIZATION regress_zdm_spread_writer;
UPDATE zdm_spread_kinds.voucher SET holder = 'cid' WHERE "the Code" = 2.5;
SET SESSION AUTHORIZATION regress_zdm_spread_owner;
REVOKE ALL ON voucher FROM regress_zdm_spread_writer;
GRANT SELECT, INSERT, UPDATE, DELETE ON held TO regress_zdm_spread_writer;
SET SESSION AUTHORIZATION regress_zdm_spread_writer;
INSERT INTO zdm_spread_kinds.held VALUES ('south', 20, 'eve');
UPDATE zdm_spread_kinds.held SET holder = 'cid' WHERE holder = 'ann' AND "voucher_the Code" = 20;
DELETE FROM zdm_spread_kinds.held WHERE "voucher_the Code" = 6.5;
SELECT count(*) FROM zdm_spread_kinds.voucher;
SET SESSION AUTHORIZATION regress_zdm_spread_owner;
SELECT s.*, v.note FROM shapes() s JOIN voucher v ON v.area = s.area AND "the Code" = s.code;
SELECT * FROM zdm.verify('spread_kinds');
DELETE FROM held h USING held o WHERE h."voucher_the Code" = o."voucher_the Code" AND h.holder > o.holder;
SELECT zdm.rollback('spread_kinds');
DROP TABLE voucher, users;

-- a foreign key that is checked at commit
CREATE TABLE users (id int PRIMARY KEY);
CREATE TABLE voucher (id int PRIMARY KEY, user_id int REFERENCES users DEFERRABLE INITIALLY DEFERRED);
SELECT zdm.column_to_join_table('voucher', 'user_id', 'held', migration => 'spread_deferred');
CALL zdm.backfill('spread_deferred');
BEGIN;
INSERT INTO voucher VALUES (1, 7);
UPDATE voucher SET user_id = 8;
INSERT INTO held VALUES (1, 9);
INSERT INTO users VALUES (8), (9);
COMMIT;
BEGIN;
INSERT INTO held VALUES (1, 10);
COMMIT;
SELECT v.*, h.user_id AS held FROM voucher v JOIN held h ON h.voucher_id = v.id ORDER BY 3;
-- by COPY
COPY voucher FROM stdin;
2	8
3	\N
\.
COPY held FROM stdin;
3	9
3	8
\.
SELECT v.*, h.user_id AS held FROM voucher v JOIN held h ON h.voucher_id = v.id ORDER BY 1, 3;
SELECT * FROM zdm.verify('spread_deferred');

RESET SESSION AUTHORIZATION;
DROP SCHEMA zdm_spread_kinds CASCADE;
DROP ROLE regress_zdm_spread_owner, regress_zdm_spread_writer;
