--
-- A join table's indexes and constraints, and what becomes of them.
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS zdm;
CREATE SCHEMA zdm_join_indexes;
SET search_path = zdm_join_indexes;

-- a user has one voucher, and it stays so; a check and what is no plain index are told
CREATE TABLE users (id int PRIMARY KEY);
CREATE TABLE voucher (id int PRIMARY KEY, code text);
CREATE TABLE used (user_id int NOT NULL UNIQUE REFERENCES users ON DELETE CASCADE, voucher_id int NOT NULL UNIQUE REFERENCES voucher,
                   place text, place_no int, CHECK (place <> ''), UNIQUE (user_id, place), UNIQUE (place), UNIQUE (place_no));
CREATE UNIQUE INDEX used_lower ON used (lower(place), user_id);
CREATE UNIQUE INDEX used_half ON used (user_id) WHERE user_id > 5;
INSERT INTO users SELECT generate_series(1, 9);
INSERT INTO voucher SELECT generate_series(1, 9);
INSERT INTO used SELECT i, i, 'place ' || i FROM generate_series(1, 5) i;
SELECT zdm.join_table_to_column('used', 'voucher', 'user_id', columns => '{"place": "place", "place_no": null}', migration => 'unique');
SELECT description, regexp_replace(sql, '~zdm_[0-9]+', '~zdm_N', 'g') AS sql FROM zdm.steps WHERE migration = 'unique' AND sql ~ 'INDEX' ORDER BY step;
-- an attempt that has ended in the middle is no obstacle
CREATE UNIQUE INDEX ON voucher (user_id);
SELECT format('ALTER INDEX voucher_user_id_idx RENAME TO %I', '~zdm_' || (SELECT id FROM zdm.migration WHERE name = 'unique') || '_voucher_user_id_key') AS rename \gset
:rename;
UPDATE pg_index SET indisvalid = false WHERE indrelid = 'voucher'::regclass AND NOT indisprimary;
CALL zdm.backfill('unique');
SELECT regexp_replace(indexrelid::regclass::text, '[0-9]+', 'N') AS index, indisunique, indisvalid FROM pg_index WHERE indrelid = 'voucher'::regclass ORDER BY 1;
INSERT INTO used VALUES (1, 8);
DO $$
BEGIN
    UPDATE voucher SET user_id = 1 WHERE id = 8;
EXCEPTION WHEN unique_violation THEN
    RAISE WARNING 'refused';
END $$;
INSERT INTO used VALUES (8, 8) ON CONFLICT (user_id) DO NOTHING;
UPDATE voucher SET user_id = 9 WHERE id = 8;
-- as many at once as the join table allows
UPDATE used SET user_id = user_id - 1 WHERE user_id = 9;
WITH gone AS (DELETE FROM used WHERE voucher_id = 1 RETURNING user_id) UPDATE used SET user_id = 7 FROM gone WHERE voucher_id = 2;
SELECT * FROM zdm.verify('unique');
SELECT zdm.contract('unique');
\d voucher
INSERT INTO voucher (id, user_id) VALUES (10, 7);
DROP TABLE voucher;

-- rollback takes them along, and who has made one gets no second
CREATE TABLE voucher (id int PRIMARY KEY);
CREATE TABLE used (user_id int NOT NULL REFERENCES users, voucher_id int PRIMARY KEY REFERENCES voucher);
SELECT zdm.join_table_to_column('used', 'voucher', 'user_id', migration => 'plain');
CALL zdm.backfill('plain');
SELECT count(*) FROM pg_index WHERE indrelid = 'voucher'::regclass;
SELECT zdm.rollback('plain');
SELECT count(*) FROM pg_index WHERE indrelid = 'voucher'::regclass;
SELECT zdm.join_table_to_column('used', 'voucher', 'user_id', migration => 'mine');
CREATE INDEX mine ON voucher (user_id, id);
CALL zdm.backfill('mine');
SELECT zdm.contract('mine');
\d voucher
DROP TABLE voucher;

-- a name that is taken; no foreign key, but an index
CREATE TABLE voucher (id int PRIMARY KEY);
CREATE TABLE used (user_id int NOT NULL, voucher_id int PRIMARY KEY REFERENCES voucher);
CREATE INDEX voucher_user_id_idx ON used (user_id);
CREATE TABLE voucher_user_id_idx1 ();
SELECT zdm.join_table_to_column('used', 'voucher', 'user_id', value_columns => '{user_id}', migration => 'taken');
CALL zdm.backfill('taken');
SELECT zdm.contract('taken');
\d voucher
SELECT stxname FROM pg_statistic_ext WHERE stxnamespace = 'zdm_join_indexes'::regnamespace;
DROP SCHEMA zdm_join_indexes CASCADE;
