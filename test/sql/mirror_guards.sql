--
-- Foreign keys that both tables have: what the server has checked here is not
-- checked once more there, and everything else is.
--
SET client_min_messages = error;
CREATE EXTENSION IF NOT EXISTS zdm;
CREATE SCHEMA zdm_guards;
SET search_path = zdm_guards;

CREATE TABLE users (id int PRIMARY KEY);
CREATE TABLE voucher (id int PRIMARY KEY);
CREATE TABLE used (user_id int NOT NULL, voucher_id int NOT NULL UNIQUE REFERENCES voucher ON DELETE CASCADE, CONSTRAINT by_user FOREIGN KEY (user_id) REFERENCES users ON UPDATE CASCADE);
INSERT INTO users SELECT generate_series(1, 9);
INSERT INTO voucher SELECT generate_series(1, 9);
INSERT INTO used VALUES (1, 1), (2, 2);
SELECT zdm.join_table_to_column('used', 'voucher', 'user_id', migration => 'guards');
CALL zdm.backfill('guards');
SET enable_seqscan = off;
CREATE FUNCTION checks(statement text) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE before bigint := pg_stat_get_xact_numscans('users_pkey'::regclass);
BEGIN
    EXECUTE statement;
    RETURN pg_stat_get_xact_numscans('users_pkey'::regclass) - before;
END $$;

-- once for each row, by either version
SELECT checks('INSERT INTO used VALUES (3, 3), (4, 4)');
SELECT checks('UPDATE used SET user_id = 5 WHERE voucher_id = 3');
SELECT checks('UPDATE voucher SET user_id = 6 WHERE id IN (3, 4)');
SELECT checks('UPDATE voucher SET user_id = 7 WHERE id = 5');
SELECT checks('INSERT INTO voucher (id, user_id) VALUES (10, 8)');
SELECT v.id, v.user_id, u.user_id FROM voucher v LEFT JOIN used u ON u.voucher_id = v.id ORDER BY v.id;
-- the row that is referred to is held
DELETE FROM users WHERE id = 8;
UPDATE users SET id = 80 WHERE id = 8;
INSERT INTO used VALUES (99, 9);
UPDATE voucher SET user_id = 99 WHERE id = 1;

-- a trigger that writes the row again before ours fires
CREATE FUNCTION write_again() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF new.user_id = 1 THEN
        UPDATE used SET user_id = 2 WHERE voucher_id = new.voucher_id;
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER again AFTER INSERT OR UPDATE ON used FOR EACH ROW EXECUTE FUNCTION write_again();
SELECT checks('UPDATE used SET user_id = 1 WHERE voucher_id = 3');
SELECT v.user_id, u.user_id FROM voucher v JOIN used u ON u.voucher_id = v.id WHERE id = 3;
DROP TRIGGER again ON used;

-- without the one here the one there is checked: dropped, disabled, of the
-- transaction's end, to another table
BEGIN;
ALTER TABLE used DROP CONSTRAINT by_user;
SELECT checks('INSERT INTO used VALUES (4, 9)');
INSERT INTO used VALUES (99, 8);
ROLLBACK;
BEGIN;
DO $$
DECLARE name name;
BEGIN
    FOR name IN SELECT tgname FROM pg_trigger WHERE tgrelid = 'used'::regclass AND tgconstraint IN (SELECT oid FROM pg_constraint WHERE conname = 'by_user') LOOP
        EXECUTE format('ALTER TABLE used DISABLE TRIGGER %I', name);
    END LOOP;
END $$;
SELECT checks('INSERT INTO used VALUES (4, 9)');
INSERT INTO used VALUES (99, 8);
ROLLBACK;
BEGIN;
ALTER TABLE used ALTER CONSTRAINT by_user DEFERRABLE;
SELECT checks('INSERT INTO used VALUES (4, 9)');
SET CONSTRAINTS ALL DEFERRED;
INSERT INTO used VALUES (99, 8);
ROLLBACK;
BEGIN;
CREATE TABLE people (id int PRIMARY KEY);
INSERT INTO people VALUES (4), (99);
ALTER TABLE used DROP CONSTRAINT by_user, ADD FOREIGN KEY (user_id) REFERENCES people NOT VALID;
SELECT checks('INSERT INTO used VALUES (4, 9)');
INSERT INTO used VALUES (99, 8);
ROLLBACK;

-- a row that the backfill has not come to yet, with the same value as before
SELECT zdm.rollback('guards');
SELECT zdm.join_table_to_column('used', 'voucher', 'user_id', migration => 'guards again');
SELECT checks('UPDATE used SET user_id = user_id WHERE voucher_id = 1');
SELECT checks('UPDATE used SET user_id = 3 WHERE voucher_id = 1');
SELECT v.id, v.user_id, u.user_id FROM voucher v JOIN used u ON u.voucher_id = v.id WHERE id < 3 ORDER BY v.id;
CALL zdm.backfill('guards again');
SELECT mismatches FROM zdm.verify('guards again');
SELECT zdm.rollback('guards again');

-- a second table whose row is still to come gets it with all of its columns,
-- not only with those that were checked here
CREATE TABLE visits (id int PRIMARY KEY, user_id int REFERENCES users, guide_id int REFERENCES users, note text);
INSERT INTO visits SELECT i, i, i + 1, 'x' FROM generate_series(1, 5) i;
SELECT zdm.rename_table('visits', 'tours', 'dual_write', migration => 'tours');
SELECT checks('UPDATE visits SET note = ''y'' WHERE id = 1');
SELECT checks('UPDATE visits SET user_id = 9 WHERE id = 2');
SELECT checks('UPDATE visits SET user_id = 1, guide_id = 1 WHERE id = 3');
SELECT checks('INSERT INTO visits VALUES (6, 1, 2), (7, 1, NULL)');
SELECT checks('INSERT INTO tours VALUES (8, 1, 2)');
SELECT checks('UPDATE tours SET guide_id = 3 WHERE id = 8');
CALL zdm.backfill('tours');
SELECT mismatches FROM zdm.verify('tours');
SELECT * FROM tours ORDER BY id;
SELECT zdm.rollback('tours');

-- what a column shows of a join table was checked there
DROP TABLE visits, used, voucher;
CREATE TABLE parcel (id int PRIMARY KEY, holder_id int CONSTRAINT by_holder REFERENCES users ON DELETE SET NULL);
INSERT INTO parcel SELECT i, 1 FROM generate_series(1, 9) i;
SELECT zdm.column_to_join_table('parcel', 'holder_id', 'holders', migration => 'parcels');
CALL zdm.backfill('parcels');
INSERT INTO holders SELECT i, n FROM generate_series(1, 9) i, generate_series(2, 4) n;
SELECT checks('DELETE FROM holders WHERE parcel_id = 1 AND holder_id = 1');
SELECT checks('UPDATE parcel SET holder_id = NULL WHERE id = 2');
SELECT checks('UPDATE parcel SET holder_id = 5 WHERE id = 3');
-- unless a trigger writes something else
CREATE FUNCTION give_to() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN new.holder_id := tg_argv[0]; RETURN new; END $$;
CREATE TRIGGER give BEFORE UPDATE ON parcel FOR EACH ROW EXECUTE FUNCTION give_to('99');
DELETE FROM holders WHERE parcel_id = 4 AND holder_id = 1;
UPDATE parcel SET holder_id = NULL WHERE id = 5;
DROP TRIGGER give ON parcel;
CREATE TRIGGER give BEFORE UPDATE ON parcel FOR EACH ROW EXECUTE FUNCTION give_to('4');
SELECT checks('DELETE FROM holders WHERE parcel_id = 4 AND holder_id = 1');
DROP TRIGGER give ON parcel;
CREATE TRIGGER give BEFORE UPDATE ON parcel FOR EACH ROW EXECUTE FUNCTION give_to('2');
SELECT checks('DELETE FROM holders WHERE parcel_id = 5 AND holder_id = 1');
DROP TRIGGER give ON parcel;
-- or the join table's foreign key goes, or was not checked for all
BEGIN;
ALTER TABLE holders DROP CONSTRAINT holders_holder_id_fkey;
SELECT checks('DELETE FROM holders WHERE parcel_id = 6 AND holder_id = 1');
INSERT INTO holders VALUES (6, 0);
ROLLBACK;
BEGIN;
ALTER TABLE holders DROP CONSTRAINT holders_holder_id_fkey, ADD FOREIGN KEY (holder_id) REFERENCES users NOT VALID;
SELECT checks('DELETE FROM holders WHERE parcel_id = 6 AND holder_id = 1');
ALTER TABLE holders VALIDATE CONSTRAINT holders_holder_id_fkey;
SELECT checks('DELETE FROM holders WHERE parcel_id = 7 AND holder_id = 1');
ROLLBACK;
-- at the latest when the transaction ends
BEGIN;
ALTER TABLE holders ALTER CONSTRAINT holders_holder_id_fkey DEFERRABLE INITIALLY DEFERRED;
INSERT INTO holders VALUES (6, 0);
SELECT holder_id FROM parcel WHERE id = 6;
SET CONSTRAINTS ALL IMMEDIATE;
ROLLBACK;
-- whoever goes is not looked for, but to delete him
SELECT checks('DELETE FROM users WHERE id = 1');
SELECT p.id, p.holder_id, array_agg(h.holder_id ORDER BY h.holder_id) FROM parcel p JOIN holders h ON h.parcel_id = p.id GROUP BY p.id ORDER BY p.id;
SELECT "check", mismatches FROM zdm.verify('parcels');

DROP SCHEMA zdm_guards CASCADE;
