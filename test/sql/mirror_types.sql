--
-- Two tables that mirror each other, with keys of different types.
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS zdm;
CREATE ROLE regress_zdm_types_target;
CREATE ROLE regress_zdm_types_join;
CREATE SCHEMA zdm_mirror_types;
GRANT ALL ON SCHEMA zdm_mirror_types TO regress_zdm_types_target, regress_zdm_types_join;
SET search_path = zdm_mirror_types;
SET SESSION AUTHORIZATION regress_zdm_types_target;
SET search_path = zdm_mirror_types;

-- what is kept in the datum here is behind a pointer there
CREATE TABLE users (id int PRIMARY KEY);
CREATE TABLE voucher (id numeric PRIMARY KEY);
CREATE TABLE used (user_id int NOT NULL REFERENCES users, voucher_id int NOT NULL UNIQUE REFERENCES voucher);
INSERT INTO users VALUES (1), (2), (3);
INSERT INTO voucher VALUES (1), (2), (3);
INSERT INTO used VALUES (1, 1);
SELECT zdm.join_table_to_column('used', 'voucher', 'user_id', migration => 'm');
CALL zdm.backfill('m');
INSERT INTO used VALUES (2, 2);
UPDATE voucher SET user_id = 3 WHERE id = 1;
UPDATE voucher SET user_id = 1 WHERE id = 3;
UPDATE used SET user_id = 3 WHERE voucher_id = 3;
DELETE FROM used WHERE voucher_id = 2;
SELECT v.id, v.user_id, u.user_id FROM voucher v LEFT JOIN used u ON u.voucher_id = v.id ORDER BY v.id;
SELECT * FROM zdm.verify('m');
SELECT zdm.rollback('m');
DROP TABLE used;

-- keys that are equal, but not written the same
CREATE TABLE item (id numeric PRIMARY KEY, tag int);
INSERT INTO item VALUES (1.00, 3), (2.00, NULL);
SELECT zdm.column_to_join_table('item', 'tag', 'item_tag', migration => 'm');
CALL zdm.backfill('m');
INSERT INTO item_tag VALUES (1, 2), (1.0, 1), (2, 2);
SELECT i.id, i.tag, t.item_id, t.tag FROM item i JOIN item_tag t ON t.item_id = i.id ORDER BY i.id, t.tag;
UPDATE item SET tag = tag + 5;
SELECT i.id, i.tag, t.item_id, t.tag FROM item i JOIN item_tag t ON t.item_id = i.id ORDER BY i.id, t.tag;
DELETE FROM item_tag WHERE tag = 6;
SELECT * FROM item ORDER BY id;
SELECT * FROM zdm.verify('m');
DROP TABLE item CASCADE;

-- a cast of one table's owner is not run as the owner of the other
RESET SESSION AUTHORIZATION;
ALTER TABLE voucher ALTER id TYPE int;
GRANT REFERENCES, SELECT ON voucher, users TO regress_zdm_types_join;
SET SESSION AUTHORIZATION regress_zdm_types_join;
CREATE TABLE used (user_id int NOT NULL, voucher_id int NOT NULL UNIQUE REFERENCES voucher);
CREATE TYPE hostile AS (x int);
CREATE FUNCTION hostile_int(hostile) RETURNS int LANGUAGE plpgsql AS
    $$ BEGIN RAISE WARNING 'run as %', current_user; RETURN ($1).x; END $$;
CREATE CAST (hostile AS int) WITH FUNCTION hostile_int(hostile) AS ASSIGNMENT;
RESET SESSION AUTHORIZATION;
SELECT zdm.join_table_to_column('used', 'voucher', 'user_id', value_columns => '{user_id}', migration => 'm');
SET SESSION AUTHORIZATION regress_zdm_types_join;
ALTER TABLE used ALTER user_id TYPE hostile USING ROW(user_id)::hostile;
INSERT INTO used VALUES (1, 1);
RESET SESSION AUTHORIZATION;
SELECT zdm.rollback('m');
DROP TABLE used;
SET SESSION AUTHORIZATION regress_zdm_types_join;
CREATE TABLE used (user_id int NOT NULL, voucher_id hostile NOT NULL UNIQUE);
RESET SESSION AUTHORIZATION;
REVOKE USAGE ON SCHEMA zdm_mirror_types FROM regress_zdm_types_target;
SELECT zdm.join_table_to_column('used', 'voucher', 'user_id', target_columns => '{voucher_id}', value_columns => '{user_id}', migration => 'm');
GRANT USAGE ON SCHEMA zdm_mirror_types TO regress_zdm_types_target;
SELECT zdm.join_table_to_column('used', 'voucher', 'user_id', target_columns => '{voucher_id}', value_columns => '{user_id}', migration => 'm');

DROP SCHEMA zdm_mirror_types CASCADE;
DROP ROLE regress_zdm_types_target, regress_zdm_types_join;
