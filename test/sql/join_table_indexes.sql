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
DROP TABLE voucher;

-- of a partitioned target each partition gets its own first, then they are put together
CREATE TABLE voucher (id int, region int, PRIMARY KEY (id, region)) PARTITION BY LIST (region);
CREATE TABLE voucher_1 PARTITION OF voucher FOR VALUES IN (1);
CREATE TABLE voucher_2 PARTITION OF voucher FOR VALUES IN (2, 3) PARTITION BY RANGE (id);
CREATE TABLE "voucher ""2"" a" PARTITION OF voucher_2 FOR VALUES FROM (0) TO (5);
CREATE TABLE voucher_2b PARTITION OF voucher_2 FOR VALUES FROM (5) TO (100);
CREATE TABLE voucher_4 (region int NOT NULL, id int NOT NULL);
CREATE TABLE used (user_id int NOT NULL, voucher_id int, voucher_region int, UNIQUE (user_id), UNIQUE (user_id, voucher_id, voucher_region),
                   PRIMARY KEY (voucher_id, voucher_region), FOREIGN KEY (voucher_id, voucher_region) REFERENCES voucher);
INSERT INTO voucher SELECT i, 1 + i % 3 FROM generate_series(1, 9) i;
INSERT INTO used SELECT 10 * id, id, region FROM voucher WHERE id < 9;
SELECT phase, regexp_replace(sql, '~zdm_[0-9]+', '~zdm_N', 'g') AS sql
  FROM zdm.explain($$SELECT zdm.join_table_to_column('used', 'voucher', 'user_id', value_columns => '{user_id}')$$) WHERE sql ~ 'INDEX';
SELECT zdm.join_table_to_column('used', 'voucher', 'user_id', value_columns => '{user_id}', migration => 'parts');
-- what an attempt has left is no obstacle
SELECT format('CREATE INDEX %I ON voucher_1 (user_id)', '~zdm_' || (SELECT id FROM zdm.migration WHERE name = 'parts') || '_voucher_1_user_id_idx') AS left \gset
:left;
UPDATE pg_index SET indisvalid = false WHERE indrelid = 'voucher_1'::regclass AND NOT indisprimary;
CALL zdm.backfill('parts');
CREATE VIEW trees AS SELECT regexp_replace(regexp_replace(relid::text, '~zdm_[0-9]+', '~zdm_N'), 'ä{9,}', 'ä...') AS index, parentrelid IS NOT NULL AS attached, level, indisunique, indisvalid
  FROM pg_class c, LATERAL pg_partition_tree(c.oid), pg_index i
 WHERE c.relkind = 'I' AND NOT c.relispartition AND c.relnamespace = 'zdm_join_indexes'::regnamespace AND i.indexrelid = relid AND NOT indisprimary ORDER BY c.relname, 1;
SELECT * FROM trees;
-- partitions that come or go meanwhile
CREATE TABLE voucher_5 PARTITION OF voucher FOR VALUES IN (5);
ALTER TABLE voucher_4 ADD user_id int;
ALTER TABLE voucher ATTACH PARTITION voucher_4 FOR VALUES IN (4);
DELETE FROM used WHERE voucher_region = 1;
DELETE FROM voucher WHERE region = 1;
ALTER TABLE voucher DETACH PARTITION voucher_1;
DROP TABLE voucher_1;
CALL zdm.backfill('parts');
SELECT * FROM trees;
SELECT zdm.contract('parts');
SELECT * FROM trees;
DROP TABLE voucher CASCADE;

-- with the partition key in it, it becomes a unique constraint; names that are long, or strange, stay apart
CREATE TABLE voucher (id int, region int, PRIMARY KEY (id, region)) PARTITION BY LIST (region);
SELECT format('CREATE TABLE %I PARTITION OF voucher FOR VALUES IN (%s)', repeat('ä', 30) || i, i) FROM generate_series(1, 2) i \gexec
CREATE TABLE used (user_id int NOT NULL, voucher_id int, voucher_region int, UNIQUE (voucher_region, user_id),
                   PRIMARY KEY (voucher_id, voucher_region), FOREIGN KEY (voucher_id, voucher_region) REFERENCES voucher);
INSERT INTO voucher SELECT i, 1 + i % 2 FROM generate_series(1, 9) i;
INSERT INTO used SELECT 10 * id, id, region FROM voucher WHERE id < 8;
SELECT zdm.join_table_to_column('used', 'voucher', 'userä "id"', value_columns => '{user_id}', migration => 'unique_parts');
CALL zdm.backfill('unique_parts');
SELECT * FROM trees;
SELECT zdm.contract('unique_parts');
SELECT * FROM trees;
SELECT conrelid::regclass, conname, contype, pg_get_constraintdef(oid), conparentid <> 0 AS inherited, coninhcount FROM pg_constraint WHERE contype = 'u' AND connamespace = 'zdm_join_indexes'::regnamespace ORDER BY 1;
INSERT INTO voucher VALUES (8, 2, 10);
INSERT INTO voucher VALUES (10, 2, 10);
DROP TABLE voucher CASCADE;

-- rollback takes them along
CREATE TABLE voucher (id int, region int, PRIMARY KEY (id, region)) PARTITION BY LIST (region);
CREATE TABLE voucher_1 PARTITION OF voucher FOR VALUES IN (1);
CREATE TABLE used (user_id int NOT NULL, voucher_id int, voucher_region int, UNIQUE (user_id, voucher_region),
                   PRIMARY KEY (voucher_id, voucher_region), FOREIGN KEY (voucher_id, voucher_region) REFERENCES voucher);
INSERT INTO voucher VALUES (1, 1);
SELECT zdm.join_table_to_column('used', 'voucher', 'user_id', value_columns => '{user_id}', migration => 'back');
CALL zdm.backfill('back');
SELECT * FROM trees;
SELECT zdm.rollback('back');
SELECT count(*) FROM pg_class WHERE relkind IN ('i', 'I') AND relnamespace = 'zdm_join_indexes'::regnamespace;
-- somebody's own does, too
SELECT zdm.join_table_to_column('used', 'voucher', 'user_id', value_columns => '{user_id}', migration => 'own');
CREATE UNIQUE INDEX own ON voucher (user_id, region);
CALL zdm.backfill('own');
SELECT * FROM trees;
CREATE INDEX plain ON voucher (user_id);
SELECT zdm.rollback('own');
DROP INDEX own;
SELECT zdm.rollback('own');
DROP SCHEMA zdm_join_indexes CASCADE;
