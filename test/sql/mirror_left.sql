--
-- What a join table may have, and what is left of a mirror after a rollback.
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS zdm;
CREATE SCHEMA zdm_left;
SET search_path = zdm_left;
CREATE TABLE voucher (id int PRIMARY KEY);
CREATE TABLE used (user_id int NOT NULL, voucher_id int NOT NULL UNIQUE REFERENCES voucher, used_at date NOT NULL);
-- what the new version writes would lack it
SELECT zdm.join_table_to_column('used', 'voucher', 'user_id', columns => '{"used_at": null}', value_columns => '{user_id}', migration => 'm');
ALTER TABLE used ALTER used_at DROP NOT NULL;
SELECT zdm.join_table_to_column('used', 'voucher', 'user_id', columns => '{"used_at": null}', value_columns => '{user_id}', migration => 'm');
ALTER TABLE used RENAME TO used_by;
SELECT zdm.rollback('m');
SELECT stxname FROM pg_statistic_ext WHERE stxrelid = 'used_by'::regclass;
SELECT tgname FROM pg_trigger WHERE NOT tgisinternal AND tgrelid IN ('used_by'::regclass, 'voucher'::regclass);
DROP SCHEMA zdm_left CASCADE;
