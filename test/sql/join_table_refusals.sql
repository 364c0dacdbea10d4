--
-- What zdm.join_table_to_column refuses, each before anything is done.
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS zdm;
CREATE ROLE regress_zdm_join_refusals;
CREATE ROLE regress_zdm_join_stranger;
CREATE SCHEMA zdm_join_refusals AUTHORIZATION regress_zdm_join_refusals;
GRANT USAGE ON SCHEMA zdm_join_refusals TO regress_zdm_join_stranger;
SET SESSION AUTHORIZATION regress_zdm_join_refusals;
SET search_path = zdm_join_refusals;

CREATE TABLE users (id int PRIMARY KEY);
CREATE TABLE voucher (id int PRIMARY KEY, code text);
CREATE TABLE used (user_id int REFERENCES users, voucher_id int NOT NULL REFERENCES voucher, PRIMARY KEY (user_id, voucher_id));
INSERT INTO users SELECT generate_series(1, 30);
INSERT INTO voucher SELECT generate_series(1, 30);
INSERT INTO used SELECT u, v FROM generate_series(1, 3) u, generate_series(1, 12) v;
INSERT INTO used SELECT u, 20 FROM generate_series(1, 5) u;

-- duplicates are listed, and none is dropped
SELECT zdm.join_table_to_column('used', 'voucher', 'user_id');
SELECT count(*) FROM used;
DELETE FROM used WHERE user_id > 1 AND voucher_id < 20;
SELECT zdm.join_table_to_column('used', 'voucher', 'user_id');
DELETE FROM used WHERE user_id > 1;
SELECT zdm.join_table_to_column('used', 'voucher', 'user_id');
CREATE UNIQUE INDEX partial ON used (voucher_id) WHERE user_id > 0;
CREATE UNIQUE INDEX on_expression ON used ((voucher_id + 0));
SELECT zdm.join_table_to_column('used', 'voucher', 'user_id');
CREATE UNIQUE INDEX ON used (voucher_id) INCLUDE (user_id);

-- names
SELECT zdm.join_table_to_column('used', 'voucher', 'code');
SELECT zdm.join_table_to_column('used', 'voucher', '');
SELECT zdm.join_table_to_column('used', 'voucher', 'xmin');
SELECT zdm.join_table_to_column('used', 'used', 'user_id');
SELECT zdm.join_table_to_column('used', 'users', 'voucher');
SELECT zdm.join_table_to_column(NULL, 'voucher', 'user_id');
SELECT zdm.join_table_to_column('used', 'voucher', NULL);
SELECT zdm.join_table_to_column('voucher', 'users', 'x');

-- columns that would be lost, and columns that are not there
ALTER TABLE used ADD at date, ADD note text;
SELECT zdm.join_table_to_column('used', 'voucher', 'user_id');
SELECT zdm.join_table_to_column('used', 'voucher', 'user_id', columns => '{"at": "at"}');
SELECT zdm.join_table_to_column('used', 'voucher', 'user_id', columns => '{"at": "code", "note": null}');
SELECT zdm.join_table_to_column('used', 'voucher', 'user_id', columns => '{"at": "x", "note": "x"}');
SELECT zdm.join_table_to_column('used', 'voucher', 'user_id', columns => '{"nowhere": "x"}');
SELECT zdm.join_table_to_column('used', 'voucher', 'user_id', columns => '[1]');
ALTER TABLE used DROP at, DROP note, ADD twice int GENERATED ALWAYS AS (user_id * 2) STORED;
SELECT zdm.join_table_to_column('used', 'voucher', 'user_id', columns => '{"twice": "twice"}');
ALTER TABLE used DROP twice;

-- references
SELECT zdm.join_table_to_column('used', 'voucher', 'user_id', value_columns => '{nowhere}');
SELECT zdm.join_table_to_column('used', 'voucher', 'user_id', value_columns => '{}');
SELECT zdm.join_table_to_column('used', 'voucher', 'user_id', value_columns => '{NULL}');
ALTER TABLE used DROP CONSTRAINT used_user_id_fkey, ADD CONSTRAINT other FOREIGN KEY (user_id) REFERENCES users NOT VALID;
SELECT zdm.join_table_to_column('used', 'voucher', 'user_id');
ALTER TABLE used DROP CONSTRAINT other, ADD CONSTRAINT other FOREIGN KEY (user_id) REFERENCES users ON DELETE SET NULL;
SELECT zdm.join_table_to_column('used', 'voucher', 'user_id');
ALTER TABLE used DROP CONSTRAINT other;
SELECT zdm.join_table_to_column('used', 'voucher', 'user_id');
ALTER TABLE used ADD FOREIGN KEY (user_id) REFERENCES users, ADD by int REFERENCES users;
SELECT zdm.join_table_to_column('used', 'voucher', 'user_id');
SELECT zdm.join_table_to_column('used', 'voucher', 'user_id', value_columns => '{by}', columns => '{"user_id": null}');
ALTER TABLE used DROP by;

-- kinds of tables
CREATE VIEW v AS SELECT * FROM used;
SELECT zdm.join_table_to_column('v', 'voucher', 'user_id');
CREATE UNLOGGED TABLE unlogged (user_id int NOT NULL REFERENCES users, voucher_id int NOT NULL UNIQUE REFERENCES voucher);
SELECT zdm.join_table_to_column('unlogged', 'voucher', 'user_id');
CREATE TABLE parted (id int PRIMARY KEY) PARTITION BY RANGE (id);
CREATE TABLE of_parted (user_id int NOT NULL REFERENCES users, voucher_id int NOT NULL UNIQUE REFERENCES parted);
SELECT zdm.join_table_to_column('of_parted', 'parted', 'user_id');

-- not the owner of both
ALTER TABLE voucher OWNER TO CURRENT_USER;
GRANT ALL ON used, voucher TO regress_zdm_join_stranger;
SET SESSION AUTHORIZATION regress_zdm_join_stranger;
SELECT zdm.join_table_to_column('zdm_join_refusals.used', 'zdm_join_refusals.voucher', 'user_id');
SET SESSION AUTHORIZATION regress_zdm_join_refusals;

-- one migration at a time, the same call again, and another one of the same name
SELECT zdm.join_table_to_column('used', 'voucher', 'user_id');
RESET client_min_messages;
SELECT zdm.join_table_to_column('used', 'voucher', 'user_id');
SET client_min_messages = warning;
SELECT zdm.join_table_to_column('used', 'voucher', 'user_id', columns => '{}');
SELECT zdm.join_table_to_column('used', 'voucher', 'other', migration => 'other');
SELECT zdm.rename_column('voucher', 'id', 'number');
-- contract needs the state ready
SELECT zdm.contract('fold_used_into_voucher_user_id');
-- in a transaction that is rolled back nothing is left
SELECT zdm.rollback('fold_used_into_voucher_user_id');
BEGIN;
SELECT zdm.join_table_to_column('used', 'voucher', 'user_id');
INSERT INTO used VALUES (2, 2) ON CONFLICT DO NOTHING;
UPDATE voucher SET user_id = 3 WHERE id = 2;
SELECT * FROM used WHERE voucher_id = 2;
ROLLBACK;
UPDATE voucher SET code = 'x' WHERE id = 2;
DELETE FROM used WHERE voucher_id = 2;
\d voucher
SELECT count(*) FROM zdm.status;

RESET SESSION AUTHORIZATION;
SET client_min_messages = warning;
DROP SCHEMA zdm_join_refusals CASCADE;
DROP ROLE regress_zdm_join_refusals, regress_zdm_join_stranger;
