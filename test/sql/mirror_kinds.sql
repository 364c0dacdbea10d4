--
-- Two tables that mirror each other: kinds of keys and tables, triggers and
-- rights of the application's, transactions.
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS zdm;
CREATE ROLE regress_zdm_mirror;
CREATE ROLE regress_zdm_join_writer;
CREATE ROLE regress_zdm_target_writer;
CREATE SCHEMA zdm_mirror AUTHORIZATION regress_zdm_mirror;
GRANT USAGE ON SCHEMA zdm_mirror TO regress_zdm_join_writer, regress_zdm_target_writer;
SET SESSION AUTHORIZATION regress_zdm_mirror;
SET search_path = zdm_mirror;

-- keys of several columns, of other types, with names to be quoted; cascades of key changes
CREATE TABLE "User" (tenant text, "no" numeric, PRIMARY KEY (tenant, "no"));
CREATE TABLE voucher (area varchar(10), code text, note text, PRIMARY KEY (area, code));
CREATE TABLE used (
    u_no numeric NOT NULL, u_tenant text NOT NULL, "v Code" text NOT NULL, v_area varchar(20) NOT NULL, at date DEFAULT '2020-01-01',
    UNIQUE ("v Code", v_area),
    FOREIGN KEY (u_tenant, u_no) REFERENCES "User" ON UPDATE CASCADE ON DELETE CASCADE,
    FOREIGN KEY (v_area, "v Code") REFERENCES voucher (area, code) ON UPDATE CASCADE ON DELETE CASCADE);
INSERT INTO "User" VALUES ('a', 1.50), ('a', 2), ('b', 1);
INSERT INTO voucher SELECT 'north', 'c' || i FROM generate_series(1, 5) i;
INSERT INTO used VALUES (1.50, 'a', 'c1', 'north'), (2, 'a', 'c2', 'north'), (1, 'b', 'c3', 'north');
SELECT zdm.join_table_to_column('used', 'voucher', 'user', columns => '{"at": "used at"}', migration => 'm');
\d voucher
UPDATE voucher SET note = 'not filled yet' WHERE code = 'c1';
CALL zdm.backfill('m');
TABLE voucher ORDER BY code;
UPDATE "User" SET tenant = 'c' WHERE tenant = 'b';
UPDATE voucher SET area = 'south' WHERE code = 'c2';
DELETE FROM "User" WHERE "no" = 1.5;
INSERT INTO used VALUES (2, 'a', 'c4', 'north', '2021-01-01');
UPDATE voucher SET user_tenant = 'c', user_no = 1 WHERE code = 'c5';
UPDATE voucher SET user_tenant = NULL WHERE code = 'c3';
UPDATE used SET v_area = 'north', "v Code" = 'c1' WHERE "v Code" = 'c2';
TABLE voucher ORDER BY code;
TABLE used ORDER BY "v Code";
SELECT * FROM zdm.verify('m');
SELECT zdm.contract('m');
DROP TABLE voucher, "User";

-- a foreign key that is checked at commit: the join table's row may come first
CREATE TABLE users (id int PRIMARY KEY);
CREATE TABLE voucher (id int PRIMARY KEY, code text);
CREATE TABLE used (user_id int NOT NULL REFERENCES users DEFERRABLE INITIALLY DEFERRED,
                   voucher_id int NOT NULL REFERENCES voucher DEFERRABLE INITIALLY DEFERRED,
                   UNIQUE (voucher_id) DEFERRABLE INITIALLY DEFERRED);
INSERT INTO users SELECT generate_series(1, 9);
INSERT INTO voucher SELECT generate_series(1, 9);
SELECT zdm.join_table_to_column('used', 'voucher', 'user_id', migration => 'm');
CALL zdm.backfill('m');
BEGIN;
INSERT INTO used VALUES (10, 20), (11, 21);
INSERT INTO voucher VALUES (20, 'old'), (21, 'old');
INSERT INTO users VALUES (10), (11);
COMMIT;
BEGIN;
INSERT INTO used VALUES (1, 1);
INSERT INTO used VALUES (2, 1);
DELETE FROM used WHERE user_id = 1 AND voucher_id = 1;
COMMIT;
BEGIN;
UPDATE voucher SET user_id = 12 WHERE id = 2;
INSERT INTO users VALUES (12);
COMMIT;
SELECT v.id, v.user_id, u.user_id FROM voucher v JOIN used u ON u.voucher_id = v.id ORDER BY v.id;
SELECT * FROM zdm.verify('m');
-- savepoints
BEGIN;
UPDATE voucher SET user_id = 3 WHERE id = 3;
SAVEPOINT s;
UPDATE voucher SET user_id = 4 WHERE id = 3;
INSERT INTO used VALUES (99, 4);
DELETE FROM used WHERE voucher_id = 3;
ROLLBACK TO s;
SELECT v.id, v.user_id, u.user_id FROM voucher v LEFT JOIN used u ON u.voucher_id = v.id WHERE v.id IN (3, 4) ORDER BY v.id;
COMMIT;
-- an error in the trigger leaves nothing behind for the next write
UPDATE voucher SET user_id = 100 WHERE id = 5;
UPDATE voucher SET user_id = 5 WHERE id = 5;
SELECT * FROM used WHERE voucher_id = 5;

-- triggers of the application's: they fire, and what they write is mirrored
CREATE TABLE log (id int GENERATED ALWAYS AS IDENTITY, who name, what text);
GRANT INSERT ON log TO PUBLIC;
CREATE FUNCTION log_it() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO log (who, what) VALUES (current_user, format('%s %s: %s -> %s', tg_op, tg_table_name, to_jsonb(old) - 'code', to_jsonb(new) - 'code'));
    RETURN NULL;
END $$;
CREATE FUNCTION never_nine() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF new.user_id = 9 THEN new.user_id := 8; END IF;
    RETURN new;
END $$;
CREATE FUNCTION in_pairs() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF new.id = 6 THEN
        INSERT INTO used VALUES (new.user_id, 7);
        UPDATE voucher SET user_id = new.user_id WHERE id = 8;
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER log_it AFTER INSERT OR UPDATE OR DELETE ON voucher FOR EACH ROW EXECUTE FUNCTION log_it();
CREATE TRIGGER log_it AFTER INSERT OR UPDATE OR DELETE ON used FOR EACH ROW EXECUTE FUNCTION log_it();
CREATE TRIGGER never_nine BEFORE UPDATE ON voucher FOR EACH ROW EXECUTE FUNCTION never_nine();
CREATE TRIGGER in_pairs AFTER UPDATE ON voucher FOR EACH ROW EXECUTE FUNCTION in_pairs();
GRANT INSERT, DELETE, SELECT ON used TO regress_zdm_join_writer;
SET SESSION AUTHORIZATION regress_zdm_join_writer;
SET search_path = zdm_mirror;
INSERT INTO used VALUES (9, 4);
-- what a trigger writes needs the writer's rights
INSERT INTO used VALUES (1, 6);
SET SESSION AUTHORIZATION regress_zdm_mirror;
INSERT INTO used VALUES (1, 6);
SELECT who, what FROM log ORDER BY id;
SELECT v.id, v.user_id, u.user_id FROM voucher v JOIN used u ON u.voucher_id = v.id WHERE v.id BETWEEN 4 AND 8 ORDER BY v.id;
SELECT * FROM zdm.verify('m');
DROP TRIGGER log_it ON voucher; DROP TRIGGER log_it ON used; DROP TRIGGER never_nine ON voucher; DROP TRIGGER in_pairs ON voucher;

-- what is demanded of the other table is demanded of a mirrored row, also from now on
INSERT INTO used VALUES (7, 9);
ALTER TABLE voucher ADD CONSTRAINT not_seven CHECK (user_id <> 7) NOT VALID;
UPDATE used SET user_id = 6 WHERE voucher_id = 9;
UPDATE used SET user_id = 7 WHERE voucher_id = 9;
ALTER TABLE voucher DROP CONSTRAINT not_seven;
UPDATE used SET user_id = 7 WHERE voucher_id = 9;
ALTER TABLE voucher ADD twice int GENERATED ALWAYS AS (user_id * 2) STORED;
UPDATE used SET user_id = 5 WHERE voucher_id = 9;
SELECT id, user_id, twice FROM voucher WHERE id = 9;
ALTER TABLE voucher DROP twice;
DELETE FROM used WHERE voucher_id = 9;

-- row security, also forced on the owner, and writers with rights on one table only
ALTER TABLE voucher ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY nothing ON voucher TO regress_zdm_join_writer USING (false);
GRANT SELECT, UPDATE ON voucher TO regress_zdm_target_writer;
CREATE POLICY everything ON voucher TO regress_zdm_target_writer USING (true);
SET SESSION AUTHORIZATION regress_zdm_join_writer;
DELETE FROM zdm_mirror.used WHERE voucher_id = 4;
INSERT INTO zdm_mirror.used VALUES (2, 4);
SET SESSION AUTHORIZATION regress_zdm_target_writer;
SELECT user_id FROM zdm_mirror.voucher WHERE id = 4;
UPDATE zdm_mirror.voucher SET user_id = 3 WHERE id = 4;
SELECT * FROM zdm_mirror.used;
SET SESSION AUTHORIZATION regress_zdm_mirror;
SELECT * FROM used WHERE voucher_id = 4;
SELECT * FROM zdm.verify('m');

ALTER TABLE voucher NO FORCE ROW LEVEL SECURITY;

-- nothing of it hangs on the path, and an operator of a hostile one is not found
RESET SESSION AUTHORIZATION;
CREATE SCHEMA hostile AUTHORIZATION regress_zdm_mirror;
SET SESSION AUTHORIZATION regress_zdm_mirror;
CREATE FUNCTION hostile.never(int, int) RETURNS boolean LANGUAGE sql AS 'SELECT false';
CREATE OPERATOR hostile.= (LEFTARG = int, RIGHTARG = int, FUNCTION = hostile.never);
CREATE TABLE hostile.used (LIKE used);
SET search_path = hostile, pg_catalog;
UPDATE zdm_mirror.voucher SET user_id = 5 WHERE id OPERATOR(pg_catalog.=) 4;
DELETE FROM zdm_mirror.used WHERE voucher_id OPERATOR(pg_catalog.=) 1;
SET search_path = zdm_mirror;
SELECT v.id, v.user_id, u.user_id FROM voucher v LEFT JOIN used u ON u.voucher_id = v.id WHERE v.id IN (1, 4) ORDER BY v.id;
DROP SCHEMA hostile CASCADE;
SELECT zdm.rollback('m');
DROP TABLE used, voucher;

-- partitions on both sides, also those that come later; no foreign key on the value
CREATE TABLE voucher (id int PRIMARY KEY, code text) PARTITION BY RANGE (id);
CREATE TABLE voucher_1 PARTITION OF voucher FOR VALUES FROM (1) TO (10);
CREATE TABLE voucher_2 (code text, id int NOT NULL);
ALTER TABLE voucher ATTACH PARTITION voucher_2 FOR VALUES FROM (10) TO (20);
CREATE TABLE used (user_id int NOT NULL, voucher_id int NOT NULL UNIQUE REFERENCES voucher ON DELETE CASCADE) PARTITION BY RANGE (voucher_id);
CREATE TABLE used_1 PARTITION OF used FOR VALUES FROM (1) TO (15);
CREATE TABLE used_2 PARTITION OF used FOR VALUES FROM (15) TO (20);
INSERT INTO voucher SELECT generate_series(1, 19);
INSERT INTO used SELECT i, i FROM generate_series(1, 19, 2) i;
SELECT zdm.join_table_to_column('used', 'voucher', 'user_id', value_columns => '{user_id}', migration => 'm');
CALL zdm.backfill('m');
UPDATE voucher SET user_id = 100 WHERE id IN (9, 10, 15, 16);
UPDATE used_2 SET user_id = 200 WHERE voucher_id = 16;
UPDATE used SET voucher_id = 14 WHERE voucher_id = 17;
DELETE FROM used_1 WHERE voucher_id = 1;
INSERT INTO used VALUES (300, 2);
SELECT v.id, v.user_id, u.user_id FROM voucher v FULL JOIN used u ON u.voucher_id = v.id WHERE v.user_id IS NOT NULL OR u.user_id IS NOT NULL ORDER BY v.id;
SELECT * FROM zdm.verify('m');
TRUNCATE used_2;
SELECT count(user_id) FROM voucher WHERE id >= 15;
CREATE TABLE voucher_3 PARTITION OF voucher FOR VALUES FROM (20) TO (40);
CREATE TABLE used_3 PARTITION OF used FOR VALUES FROM (20) TO (30);
CREATE TABLE used_4 (LIKE used);
ALTER TABLE used ATTACH PARTITION used_4 FOR VALUES FROM (30) TO (40);
INSERT INTO voucher VALUES (20), (21), (30), (31);
INSERT INTO used VALUES (1, 20), (2, 21), (3, 30), (4, 31);
TRUNCATE used_3;
SELECT id, user_id FROM voucher_3 ORDER BY id;
TRUNCATE used_4;
SELECT id, user_id FROM voucher_3 ORDER BY id;
SELECT * FROM zdm.verify('m');
SELECT zdm.rollback('m');
\d used_1
\d voucher_2

-- a row that the join table refers to moves to another partition, alone and with what it has
DROP TABLE voucher, used;
CREATE TABLE voucher (area text, code int, PRIMARY KEY (area, code)) PARTITION BY LIST (area);
CREATE TABLE voucher_north PARTITION OF voucher FOR VALUES IN ('north');
CREATE TABLE voucher_south PARTITION OF voucher FOR VALUES IN ('south');
CREATE TABLE used (user_id int NOT NULL, area text NOT NULL, code int NOT NULL, UNIQUE (area, code),
                   FOREIGN KEY (area, code) REFERENCES voucher ON UPDATE CASCADE ON DELETE CASCADE);
INSERT INTO voucher SELECT 'north', generate_series(1, 7);
INSERT INTO used SELECT i, 'north', i FROM generate_series(1, 5) i;
SELECT zdm.join_table_to_column('used', 'voucher', 'user_id', value_columns => '{user_id}', migration => 'm');
UPDATE voucher SET area = 'south' WHERE code = 1;
CALL zdm.backfill('m');
UPDATE voucher SET area = 'south' WHERE code IN (2, 6);
UPDATE voucher SET area = 'south', user_id = 30 WHERE code IN (3, 7);
UPDATE voucher SET area = 'south', user_id = NULL WHERE code = 4;
UPDATE used SET area = 'south', code = 6 WHERE code = 5;
SELECT area, code, v.user_id, u.user_id FROM voucher v FULL JOIN used u USING (area, code) ORDER BY code;
SELECT * FROM zdm.verify('m');
SELECT zdm.rollback('m');

-- the join table has no foreign key to the target
DROP TABLE voucher, used;
CREATE TABLE voucher (id int PRIMARY KEY, code text);
CREATE TABLE used (user_id int NOT NULL REFERENCES users, voucher_id int NOT NULL UNIQUE);
INSERT INTO voucher SELECT generate_series(1, 5);
INSERT INTO used VALUES (1, 1), (2, 2), (3, 3);
SELECT zdm.join_table_to_column('used', 'voucher', 'user_id', target_columns => '{voucher_id}', migration => 'm');
CALL zdm.backfill('m');
INSERT INTO used VALUES (4, 99);
DELETE FROM voucher WHERE id = 1;
UPDATE voucher SET id = 20 WHERE id = 2;
TABLE used ORDER BY voucher_id;
TRUNCATE voucher;
SELECT count(*) FROM used;
SELECT zdm.rollback('m');

RESET SESSION AUTHORIZATION;
SET client_min_messages = warning;
DROP SCHEMA zdm_mirror CASCADE;
DROP ROLE regress_zdm_mirror, regress_zdm_join_writer, regress_zdm_target_writer;
