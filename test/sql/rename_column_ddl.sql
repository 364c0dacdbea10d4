--
-- What others do to the indexes of a column that has two names: the second
-- one's follow, in the same transaction.
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS zdm;
ALTER SEQUENCE zdm.migration_id_seq RESTART WITH 606001;
CREATE ROLE regress_zdm_rename_ddl;
CREATE SCHEMA zdm_rename_ddl AUTHORIZATION regress_zdm_rename_ddl;
SET SESSION AUTHORIZATION regress_zdm_rename_ddl;
SET search_path = zdm_rename_ddl;

CREATE TABLE t (id int, a int CONSTRAINT t_key UNIQUE, b int NOT NULL DEFAULT 0);
CREATE UNIQUE INDEX t_once ON t (a);
CREATE UNIQUE INDEX t_pair ON t (a, b);
CREATE INDEX t_plain ON t (a, id);
CREATE TABLE other (a int CONSTRAINT other_key REFERENCES t (a));
INSERT INTO t SELECT i, i FROM generate_series(1, 10) i;
CREATE VIEW indexes AS
SELECT relname FROM pg_index JOIN pg_class c ON c.oid = indexrelid
 WHERE indrelid = 't'::regclass ORDER BY relname COLLATE "C";
SELECT zdm.rename_column('t', 'a', 'z', migration => 'ddl');
CALL zdm.backfill('ddl');
SELECT * FROM indexes;

-- dropped: what stands for it refuses nothing any more
RESET client_min_messages;
BEGIN;
DROP INDEX t_once;
ALTER TABLE t DROP CONSTRAINT t_key CASCADE;
INSERT INTO t (id, a, b) VALUES (11, 1, 1), (12, 2, 2);
INSERT INTO t (id, z, b) VALUES (13, 1, 3);
DROP INDEX t_plain;
SELECT * FROM indexes;
-- as a whole, or not at all
ROLLBACK;
SELECT count(*) FROM indexes;

-- renamed
ALTER INDEX t_once RENAME TO t_alone;
ALTER TABLE t RENAME CONSTRAINT t_key TO t_unique;
SELECT * FROM indexes;

-- others' indexes of that name are not meant
SET client_min_messages = warning;
RESET SESSION AUTHORIZATION;
CREATE SCHEMA zdm_rename_ddl_else;
CREATE TABLE zdm_rename_ddl_else.t (a int);
CREATE INDEX t_alone ON zdm_rename_ddl_else.t (a);
RESET client_min_messages;
DROP INDEX zdm_rename_ddl_else.t_alone;
SET client_min_messages = warning;
DROP SCHEMA zdm_rename_ddl_else CASCADE;
SET SESSION AUTHORIZATION regress_zdm_rename_ddl;

-- the same in the quarantine, when the names have changed places
SELECT zdm.contract('ddl', '1 day');
RESET client_min_messages;
DROP INDEX t_alone;
ALTER TABLE t DROP CONSTRAINT t_unique CASCADE;
INSERT INTO t (id, a, b) VALUES (14, 1, 4);
INSERT INTO t (id, z, b) VALUES (15, 1, 5);
ALTER INDEX t_pair RENAME TO t_pairs;
SELECT * FROM indexes;
SET client_min_messages = warning;
SELECT zdm.contract('ddl', '0');
SELECT * FROM indexes;
SELECT id, z FROM t WHERE id > 10 ORDER BY 1;

-- a default is that of both
CREATE TABLE d (id int, a int DEFAULT 1, b int) PARTITION BY LIST (id);
CREATE TABLE d_1 PARTITION OF d FOR VALUES IN (1);
SELECT zdm.rename_column('d', 'a', 'z', migration => 'ddl_default');
CREATE VIEW defaults AS SELECT f.adrelid::regclass AS "table", a.attname, pg_get_expr(f.adbin, f.adrelid) AS "default"
  FROM pg_attribute a JOIN pg_attrdef f ON f.adrelid = a.attrelid AND f.adnum = a.attnum
 WHERE a.attrelid IN ('d'::regclass, 'd_1'::regclass) ORDER BY 1, 2;
RESET client_min_messages;
ALTER TABLE d ALTER b SET DEFAULT 5;
ALTER TABLE d ALTER a SET DEFAULT 2;
ALTER TABLE d_1 ALTER a SET DEFAULT length(random()::text);
SELECT * FROM defaults;
ALTER TABLE d_1 ALTER a DROP DEFAULT;
INSERT INTO d (id) VALUES (1) RETURNING *;
INSERT INTO d_1 (id) VALUES (1) RETURNING *;
SET client_min_messages = warning;
BEGIN;
SELECT zdm.rollback('ddl_default');
SELECT * FROM defaults;
ROLLBACK;
CALL zdm.backfill('ddl_default');
SELECT zdm.contract('ddl_default', '1 day');
ALTER TABLE d ALTER z DROP DEFAULT;
SELECT * FROM defaults;
BEGIN;
SELECT zdm.rollback('ddl_default');
SELECT * FROM defaults;
ROLLBACK;
SELECT zdm.contract('ddl_default', '0');
SELECT * FROM defaults;

RESET SESSION AUTHORIZATION;
DROP SCHEMA zdm_rename_ddl CASCADE;
DROP ROLE regress_zdm_rename_ddl;
