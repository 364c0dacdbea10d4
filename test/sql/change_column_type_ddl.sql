--
-- What others do to a column's constraints, indexes and privileges while its
-- type changes: the second column follows, in the same transaction.
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS zdm;
ALTER SEQUENCE zdm.migration_id_seq RESTART WITH 605001;
CREATE ROLE regress_zdm_ddl_owner;
CREATE ROLE regress_zdm_ddl_reader;
CREATE SCHEMA zdm_ddl AUTHORIZATION regress_zdm_ddl_owner;
GRANT USAGE ON SCHEMA zdm_ddl TO regress_zdm_ddl_reader;
SET SESSION AUTHORIZATION regress_zdm_ddl_owner;
SET search_path = zdm_ddl;
RESET client_min_messages;

CREATE TABLE codes (code int PRIMARY KEY);
INSERT INTO codes SELECT generate_series(1, 50);
CREATE TABLE t (
    id int,
    v int NOT NULL CONSTRAINT t_positive CHECK (v > 0),
    "Größe" int CONSTRAINT "t Größe" CHECK ("Größe" <> v),
    CONSTRAINT t_code FOREIGN KEY (v) REFERENCES codes);
CREATE UNIQUE INDEX t_once ON t (v);
CREATE INDEX t_plain ON t (v, id);
CREATE INDEX t_size_index ON t ("Größe", v);
INSERT INTO t SELECT i, i FROM generate_series(1, 10) i;
CREATE VIEW things AS
SELECT conname::text AS name, pg_get_constraintdef(oid) AS definition FROM pg_constraint
 WHERE conrelid = 't'::regclass AND contype <> 'n'
UNION ALL SELECT trim('"' FROM indexrelid::regclass::text), pg_get_indexdef(indexrelid) FROM pg_index WHERE indrelid = 't'::regclass
UNION ALL SELECT attname, 'NOT NULL' FROM pg_attribute WHERE attrelid = 't'::regclass AND attnotnull AND attnum > 0;
GRANT SELECT (v) ON t TO regress_zdm_ddl_reader;
SET client_min_messages = warning;
SELECT zdm.change_column_type('t', 'v', 'bigint');
CALL zdm.backfill('change_t_v_to_bigint');
SELECT name FROM things ORDER BY name COLLATE "C";

-- dropped: what stands for it refuses nothing any more, and goes
RESET client_min_messages;
BEGIN;
ALTER TABLE t DROP CONSTRAINT t_positive, ALTER v DROP NOT NULL;
INSERT INTO t VALUES (11, NULL);
ALTER TABLE t DROP CONSTRAINT t_code;
INSERT INTO t VALUES (12, -1);
DROP INDEX t_once;
INSERT INTO t VALUES (13, -1);
DROP INDEX t_plain;
SELECT name, definition FROM things ORDER BY name COLLATE "C";
-- as a whole, or not at all
ROLLBACK;
SELECT count(*) FROM things WHERE name ~ '^~zdm';
-- in the transaction, contract sees nothing left over
BEGIN;
ALTER TABLE t DROP CONSTRAINT t_positive;
DROP INDEX t_plain;
SET LOCAL client_min_messages = warning;
SELECT zdm.contract('change_t_v_to_bigint');
SELECT name FROM things ORDER BY name COLLATE "C";
ROLLBACK;

-- concurrently nobody has the table's lock: told, and in contract's way
DROP INDEX CONCURRENTLY t_plain;
SELECT zdm.contract('change_t_v_to_bigint');
DROP INDEX CONCURRENTLY zdm_ddl."~zdm_605001_t_plain";

-- altered: a session may defer the second one, too
ALTER TABLE t ALTER CONSTRAINT t_code DEFERRABLE INITIALLY DEFERRED;
BEGIN;
INSERT INTO t VALUES (60, 60);
INSERT INTO codes VALUES (60);
COMMIT;
ALTER TABLE t ALTER CONSTRAINT t_code NOT DEFERRABLE;
INSERT INTO t VALUES (61, 61);

-- renamed
ALTER TABLE t RENAME CONSTRAINT t_positive TO "t > 0";
ALTER INDEX t_once RENAME TO t_alone;
ALTER TABLE t RENAME CONSTRAINT t_code TO t_of_code;
ALTER TABLE t RENAME CONSTRAINT "t Größe" TO t_size;
SELECT name FROM things WHERE name ~ '^~zdm' ORDER BY name COLLATE "C";

-- privileges: nobody reads by the other name what he may not read; what is
-- granted comes later, as a restore grants on both columns at once
GRANT UPDATE (v) ON t TO regress_zdm_ddl_reader;
SELECT attname, attacl FROM pg_attribute WHERE attrelid = 't'::regclass AND attacl IS NOT NULL ORDER BY 1;
REVOKE SELECT ON codes FROM regress_zdm_ddl_reader;
REVOKE SELECT (v) ON t FROM regress_zdm_ddl_reader;
SELECT attname, attacl FROM pg_attribute WHERE attrelid = 't'::regclass AND attacl IS NOT NULL ORDER BY 1;
SET client_min_messages = warning;
SET SESSION AUTHORIZATION regress_zdm_ddl_reader;
SELECT "~zdm_v" FROM zdm_ddl.t;
SET SESSION AUTHORIZATION regress_zdm_ddl_owner;
GRANT SELECT (v) ON t TO regress_zdm_ddl_reader;
RESET SESSION AUTHORIZATION;
DROP OWNED BY regress_zdm_ddl_reader;
GRANT USAGE ON SCHEMA zdm_ddl TO regress_zdm_ddl_reader;
SET SESSION AUTHORIZATION regress_zdm_ddl_reader;
SELECT "~zdm_v" FROM zdm_ddl.t;
SET SESSION AUTHORIZATION regress_zdm_ddl_owner;

-- the same in the quarantine, for the column that was
DROP INDEX t_alone;
SELECT zdm.contract('change_t_v_to_bigint', '1 day');
SELECT name FROM things ORDER BY name COLLATE "C";
-- since 18 it has a constraint of its own, and a word of that
ALTER TABLE t ALTER v DROP NOT NULL;
RESET client_min_messages;
ALTER TABLE t DROP CONSTRAINT "t > 0";
ALTER TABLE t DROP CONSTRAINT t_of_code;
ALTER INDEX t_size_index RENAME TO t_sizes;
INSERT INTO t VALUES (14, NULL), (15, -1);
SET client_min_messages = warning;
SELECT zdm.rollback('change_t_v_to_bigint');
SELECT name, definition FROM things ORDER BY name COLLATE "C";
SELECT id, v FROM t WHERE id > 13 ORDER BY 1;

-- by somebody else, who does not own the table
RESET SESSION AUTHORIZATION;
CREATE FUNCTION zdm_ddl.fine(bigint) RETURNS boolean LANGUAGE sql IMMUTABLE AS 'SELECT $1 > -10';
ALTER FUNCTION zdm_ddl.fine(bigint) OWNER TO regress_zdm_ddl_reader;
GRANT CREATE ON SCHEMA zdm_ddl TO regress_zdm_ddl_reader;
ALTER TABLE zdm_ddl.t ADD CONSTRAINT t_fine CHECK (zdm_ddl.fine(v));
SET SESSION AUTHORIZATION regress_zdm_ddl_owner;
SELECT zdm.change_column_type('t', 'v', 'bigint');
CALL zdm.backfill('change_t_v_to_bigint');
SET SESSION AUTHORIZATION regress_zdm_ddl_reader;
DROP FUNCTION zdm_ddl.fine(bigint);
DROP FUNCTION zdm_ddl.fine(bigint) CASCADE;
RESET SESSION AUTHORIZATION;
SELECT conname FROM pg_constraint WHERE conrelid = 't'::regclass AND contype = 'c' ORDER BY 1;

-- an index's parameters as they are at contract, and its tablespace
SET allow_in_place_tablespaces = on;
CREATE TABLESPACE regress_zdm_ddl_space LOCATION '';
GRANT CREATE ON TABLESPACE regress_zdm_ddl_space TO regress_zdm_ddl_owner;
SET SESSION AUTHORIZATION regress_zdm_ddl_owner;
CREATE TABLE p (id int, v int);
CREATE INDEX p_first ON p (v, id) WITH (fillfactor = 60);
CREATE INDEX p_sum ON p ((v + id)) WITH (deduplicate_items = off);
CREATE INDEX p_plain ON p (v) WITH (fillfactor = 80);
CREATE VIEW parameters AS
SELECT c.relname, c.reloptions, coalesce(a.attstattarget, -1) AS target, c.reltablespace <> 0 AS placed
  FROM pg_index x JOIN pg_class c ON c.oid = x.indexrelid JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = 1
 WHERE x.indrelid = 'p'::regclass AND c.relname !~ '^~' ORDER BY c.relname COLLATE "C";
CREATE TABLE parts (id int, v int) PARTITION BY RANGE (id);
CREATE TABLE parts_1 PARTITION OF parts FOR VALUES FROM (0) TO (10);
CREATE INDEX parts_v ON parts (v);
CREATE TABLE k (v int CONSTRAINT k_key PRIMARY KEY WITH (fillfactor = 60));
SELECT zdm.change_column_type('p', 'v', 'bigint');
SELECT zdm.change_column_type('parts', 'v', 'bigint');
SELECT zdm.change_column_type('k', 'v', 'bigint');
CALL zdm.backfill('change_p_v_to_bigint');
CALL zdm.backfill('change_parts_v_to_bigint');
CALL zdm.backfill('change_k_v_to_bigint');
ALTER INDEX k_key SET (fillfactor = 65);
ALTER INDEX p_first SET (fillfactor = 70);
ALTER INDEX p_sum SET (fillfactor = 75);
ALTER INDEX p_sum RESET (deduplicate_items);
ALTER INDEX p_sum ALTER COLUMN 1 SET STATISTICS 500;
ALTER INDEX parts_1_v_idx SET (fillfactor = 55);
ALTER INDEX p_plain SET TABLESPACE regress_zdm_ddl_space;
SELECT zdm.contract('change_p_v_to_bigint', '1 day');
ALTER INDEX "~zdm_605003_p_plain" SET TABLESPACE regress_zdm_ddl_space;
SELECT zdm.contract('change_p_v_to_bigint', '1 day');
SELECT zdm.contract('change_parts_v_to_bigint');
SELECT zdm.contract('change_k_v_to_bigint');
SELECT * FROM parameters;
SELECT c.relname, c.reloptions FROM pg_index x JOIN pg_class c ON c.oid = x.indexrelid WHERE x.indrelid IN ('parts_1'::regclass, 'k'::regclass) ORDER BY 1;
-- as they are at the rollback
ALTER INDEX p_first RESET (fillfactor);
ALTER INDEX p_sum ALTER COLUMN 1 SET STATISTICS -1;
SELECT zdm.rollback('change_p_v_to_bigint');
SELECT * FROM parameters;

-- another tablespace for what is to come is nothing for what is made like another
RESET SESSION AUTHORIZATION;
SELECT format('ALTER DATABASE %I SET default_tablespace = regress_zdm_ddl_space', current_database()) \gexec
SET SESSION AUTHORIZATION regress_zdm_ddl_owner;
SET default_tablespace = regress_zdm_ddl_space;
CREATE TABLE made (id int, v int) TABLESPACE pg_default;
CREATE INDEX made_default ON made (v) TABLESPACE pg_default;
CREATE INDEX made_space ON made (v);
CREATE TABLE cut (id int, v int) PARTITION BY RANGE (id);
CREATE TABLE cut_1 PARTITION OF cut FOR VALUES FROM (0) TO (10) TABLESPACE pg_default;
CREATE INDEX cut_v ON cut (v);
SELECT zdm.change_column_type('made', 'v', 'bigint');
SELECT zdm.change_column_type('cut', 'v', 'bigint');
CALL zdm.backfill('change_made_v_to_bigint');
CALL zdm.backfill('change_cut_v_to_bigint');
SELECT zdm.contract('change_made_v_to_bigint');
SELECT zdm.contract('change_cut_v_to_bigint');
SELECT c.relname, coalesce(s.spcname, 'the default') AS space FROM pg_index x JOIN pg_class c ON c.oid = x.indexrelid
  LEFT JOIN pg_tablespace s ON s.oid = c.reltablespace
 WHERE x.indrelid IN ('made'::regclass, 'cut'::regclass, 'cut_1'::regclass) ORDER BY 1;
RESET default_tablespace;

-- a default that was set or dropped meanwhile is the one in the end
CREATE TABLE d (id int, v int DEFAULT 1, w int DEFAULT 1, x int, y int DEFAULT 1);
SELECT zdm.change_column_type('d', c, 'bigint') FROM unnest('{v,w,x,y}'::name[]) c;
SELECT format('CALL zdm.backfill(%L)', migration) FROM zdm.status WHERE relation = 'd'::regclass ORDER BY migration COLLATE "C" \gexec
ALTER TABLE d ALTER v SET DEFAULT 2, ALTER w DROP DEFAULT, ALTER x SET DEFAULT 2;
CREATE VIEW set AS SELECT a.attname, a.atttypid::regtype, pg_get_expr(f.adbin, f.adrelid) AS "default"
  FROM pg_attribute a LEFT JOIN pg_attrdef f ON f.adrelid = a.attrelid AND f.adnum = a.attnum
 WHERE a.attrelid = 'd'::regclass AND a.attname IN ('v', 'w', 'x', 'y');
BEGIN;
SELECT zdm.rollback(migration) FROM zdm.status WHERE relation = 'd'::regclass;
SELECT * FROM set ORDER BY 1;
ROLLBACK;
SELECT zdm.contract(migration, '1 day') FROM zdm.status WHERE relation = 'd'::regclass;
SELECT * FROM set ORDER BY 1;
ALTER TABLE d ALTER v DROP DEFAULT, ALTER w SET DEFAULT 3, ALTER x SET DEFAULT 3;
BEGIN;
SELECT zdm.rollback(migration) FROM zdm.status WHERE relation = 'd'::regclass;
SELECT * FROM set ORDER BY 1;
ROLLBACK;
SELECT zdm.contract(migration, '0') FROM zdm.status WHERE relation = 'd'::regclass;
SELECT * FROM set ORDER BY 1;
RESET SESSION AUTHORIZATION;
SELECT format('ALTER DATABASE %I RESET default_tablespace', current_database()) \gexec

DROP SCHEMA zdm_ddl CASCADE;
DROP TABLESPACE regress_zdm_ddl_space;
DROP ROLE regress_zdm_ddl_owner, regress_zdm_ddl_reader;
