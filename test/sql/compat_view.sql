--
-- What a compatibility view can and cannot do, row by row: the old name is a
-- view, the new one the table.
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS zdm;
CREATE ROLE regress_zdm_cv;
CREATE ROLE regress_zdm_cv_one;
CREATE ROLE regress_zdm_cv_two;
CREATE SCHEMA zdm_cv AUTHORIZATION regress_zdm_cv;
GRANT USAGE ON SCHEMA zdm_cv TO regress_zdm_cv_one, regress_zdm_cv_two;
RESET client_min_messages;
SET SESSION AUTHORIZATION regress_zdm_cv;
SET search_path = zdm_cv;
SET client_min_messages = error;
\set VERBOSITY terse
\pset null '-'

CREATE DOMAIN label AS text DEFAULT 'of the domain';
CREATE TABLE t (
    id integer GENERATED ALWAYS AS IDENTITY,
    serial serial,
    name text NOT NULL,
    given text DEFAULT 'given',
    made_at date DEFAULT date '2020-01-01' + 1,
    tags text[] DEFAULT '{a,b}',
    kind label,
    twice integer GENERATED ALWAYS AS (serial * 2) STORED,
    CONSTRAINT t_pkey PRIMARY KEY (id),
    CONSTRAINT t_name UNIQUE (name),
    CONSTRAINT t_check CHECK (name <> ''));
INSERT INTO t (name) VALUES ('one'), ('two'), ('three');
PREPARE by_id(int) AS SELECT id, name FROM t WHERE id = $1;
PREPARE rename(int, text) AS UPDATE t SET name = $2 WHERE id = $1;
PREPARE star AS SELECT * FROM t ORDER BY id;
EXECUTE by_id(1);
SELECT zdm.rename_table('t', 'n');

-- SELECT, INSERT, UPDATE, DELETE, RETURNING, FOR UPDATE
SELECT id, serial, name, given, made_at, tags, kind, twice FROM t ORDER BY id;
INSERT INTO t (name) VALUES ('four') RETURNING *;
INSERT INTO t (name, given) VALUES ('five', DEFAULT), ('six', 'mine');
INSERT INTO t (name, given, kind) SELECT 'seven', NULL, NULL;
UPDATE t SET name = upper(name) WHERE id = 4 RETURNING id, name;
UPDATE t SET name = u.name || '!' FROM t u WHERE u.id = t.id AND t.id = 5 RETURNING t.name;
WITH gone AS (DELETE FROM t WHERE name = 'seven' RETURNING *) SELECT name, given, kind FROM gone;
SELECT name FROM t WHERE id = 1 FOR UPDATE;
SELECT name FROM t WHERE id = 1 FOR NO KEY UPDATE SKIP LOCKED;
SELECT count(*) FROM t JOIN n USING (id);
SELECT id, name FROM t AS alias(id, b, name) ORDER BY id LIMIT 1;
INSERT INTO t (name) VALUES ('');
INSERT INTO t (name) VALUES (NULL);
INSERT INTO t (name) VALUES ('one');

-- ON CONFLICT with columns
INSERT INTO t (name, given) VALUES ('one', 'upserted') ON CONFLICT (name) DO UPDATE SET given = EXCLUDED.given RETURNING id, name, given;
INSERT INTO t (name) VALUES ('one') ON CONFLICT DO NOTHING;
INSERT INTO t (name) VALUES ('one') ON CONFLICT (name) DO NOTHING;

-- identity, serial, defaults of every kind, generated columns
INSERT INTO t (id, name) VALUES (100, 'x');
INSERT INTO t (id, name) OVERRIDING SYSTEM VALUE VALUES (100, 'hundred');
INSERT INTO t (id, name) OVERRIDING USER VALUE VALUES (100, 'not 100');
INSERT INTO t (id, name) VALUES (DEFAULT, 'again') RETURNING id = currval('t_id_seq') AS id, serial = currval('t_serial_seq') AS serial;
INSERT INTO t (name, twice) VALUES ('gen', DEFAULT) RETURNING twice = serial * 2 AS twice;
INSERT INTO t (name, twice) VALUES ('gen2', 7);

-- UPDATE ... SET c = DEFAULT: what a plain view writes NULL for
UPDATE t SET given = 'changed', tags = NULL, made_at = NULL, kind = 'changed' WHERE id = 1;
UPDATE t SET given = DEFAULT, tags = DEFAULT, made_at = DEFAULT, kind = DEFAULT WHERE id = 1 RETURNING given, tags, made_at, kind;
UPDATE t SET (given, kind) = ROW(DEFAULT, 'mine') WHERE id = 2 RETURNING given, kind;

-- statements that are older than the swap
EXECUTE by_id(1);
EXECUTE rename(1, 'ein');
EXECUTE by_id(1);
EXECUTE star;

-- functions that take the row type, the table's; and whole rows
CREATE FUNCTION loud(n) RETURNS text LANGUAGE sql AS 'SELECT upper($1.name)';
CREATE FUNCTION silent(r n) RETURNS text LANGUAGE plpgsql AS 'BEGIN RETURN lower(r.name); END';
SELECT loud(t), silent(t), loud(n.*) FROM t JOIN n USING (id) WHERE id = 1;
SELECT t.loud FROM t WHERE id = 1;
SELECT silent(t) IS NULL AS none FROM (SELECT 1) x LEFT JOIN t ON false;
SELECT row_to_json(t) FROM t WHERE id = 1;
SELECT t FROM t WHERE id = 1;
SELECT (t::n).name, t::n = n AS same FROM t JOIN n USING (id) WHERE id = 1;

-- row security is the invoker's, and can be forced on the owner
CREATE TABLE secrets (id integer PRIMARY KEY, who name, what text);
INSERT INTO secrets VALUES (1, 'regress_zdm_cv_one', 'of one'), (2, 'regress_zdm_cv_two', 'of two');
GRANT ALL ON secrets TO regress_zdm_cv_one, regress_zdm_cv_two;
ALTER TABLE secrets ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON secrets USING (who = current_user);
SELECT zdm.rename_table('secrets', 'secrets_2');
SET SESSION AUTHORIZATION regress_zdm_cv_one;
SELECT * FROM zdm_cv.secrets;
UPDATE zdm_cv.secrets SET what = 'changed';
DELETE FROM zdm_cv.secrets WHERE id = 2;
INSERT INTO zdm_cv.secrets VALUES (3, 'regress_zdm_cv_two', 'forged');
SET SESSION AUTHORIZATION regress_zdm_cv_two;
SELECT * FROM zdm_cv.secrets;
SET SESSION AUTHORIZATION regress_zdm_cv;
SELECT * FROM secrets ORDER BY id;
ALTER TABLE secrets_2 FORCE ROW LEVEL SECURITY;
SELECT * FROM secrets ORDER BY id;
SELECT zdm.rollback('rename_secrets_to_secrets_2');

-- column privileges: SELECT * is refused as on the table, a permitted column is not
CREATE TABLE people (id integer PRIMARY KEY, name text DEFAULT 'x', salary integer);
INSERT INTO people VALUES (1, 'one', 100);
GRANT SELECT (id, name), UPDATE (name), INSERT (id, name) ON people TO regress_zdm_cv_one;
SELECT zdm.rename_table('people', 'persons');
SET SESSION AUTHORIZATION regress_zdm_cv_one;
SELECT id, name FROM zdm_cv.people;
SELECT id, name FROM zdm_cv.persons;
SELECT * FROM zdm_cv.people;
SELECT salary FROM zdm_cv.people;
UPDATE zdm_cv.people SET name = 'eins' WHERE id = 1;
UPDATE zdm_cv.people SET salary = 1000 WHERE id = 1;
INSERT INTO zdm_cv.people (id) VALUES (2);
INSERT INTO zdm_cv.people (id, salary) VALUES (3, 3);
DELETE FROM zdm_cv.people;
SET SESSION AUTHORIZATION regress_zdm_cv_two;
SELECT id FROM zdm_cv.people;
SET SESSION AUTHORIZATION regress_zdm_cv;
SELECT * FROM persons ORDER BY id;
SELECT zdm.rollback('rename_people_to_persons');
-- nobody gains a privilege by the schema's defaults
ALTER DEFAULT PRIVILEGES IN SCHEMA zdm_cv GRANT SELECT, DELETE ON TABLES TO regress_zdm_cv_two;
CREATE TABLE given (id integer);
REVOKE DELETE ON given FROM regress_zdm_cv_two;
SELECT zdm.rename_table('given', 'taken');
SELECT c, has_table_privilege('regress_zdm_cv_two', c, 'SELECT') AS may_select, has_table_privilege('regress_zdm_cv_two', c, 'DELETE') AS may_delete
  FROM unnest(ARRAY['given', 'taken']) c;
ALTER DEFAULT PRIVILEGES IN SCHEMA zdm_cv REVOKE SELECT, DELETE ON TABLES FROM regress_zdm_cv_two;

-- what a view cannot do, as explain says: by the other name it works
INSERT INTO t (name) VALUES ('ein') ON CONFLICT ON CONSTRAINT t_name DO NOTHING;
SELECT id, name FROM t GROUP BY id;
SELECT ctid FROM t;
SELECT xmin FROM t;
SELECT tableoid FROM t;
SELECT * FROM t TABLESAMPLE SYSTEM (100);
CREATE TABLE refers (id integer REFERENCES t (id));
CREATE INDEX ON t (given);
ALTER TABLE t ADD COLUMN more integer;
TRUNCATE t;
DO $$
BEGIN
    MERGE INTO zdm_cv.t USING (VALUES ('two')) v(name) ON t.name = v.name WHEN MATCHED THEN UPDATE SET given = 'merged';
    ASSERT current_setting('server_version_num')::int >= 170000 AND EXISTS (SELECT FROM zdm_cv.n WHERE given = 'merged'), 'merged';
EXCEPTION WHEN wrong_object_type OR feature_not_supported THEN
    ASSERT current_setting('server_version_num')::int < 170000, SQLERRM;
END $$;
SELECT pg_get_serial_sequence('t', 'id'), pg_get_serial_sequence('n', 'id');
BEGIN;
DECLARE c CURSOR FOR SELECT * FROM t ORDER BY id FOR UPDATE;
FETCH c \g /dev/null
UPDATE t SET given = 'x' WHERE CURRENT OF c;
ROLLBACK;
SET client_min_messages = warning;
ANALYZE t;
VACUUM t;
SET client_min_messages = error;
\copy t (name) FROM stdin
copied
\.
COPY t TO STDOUT;
INSERT INTO n (name) VALUES ('ein') ON CONFLICT ON CONSTRAINT t_name DO NOTHING;
SELECT count(*) FROM (SELECT id, name FROM n GROUP BY id) x;
COPY (SELECT id, name FROM t WHERE id < 3 ORDER BY id) TO STDOUT;
-- the lock goes through
BEGIN;
LOCK TABLE t IN SHARE MODE;
SELECT relation::regclass, mode FROM pg_locks WHERE pid = pg_backend_pid() AND mode = 'ShareLock' ORDER BY relation::regclass::text COLLATE "C";
COMMIT;

RESET SESSION AUTHORIZATION;
SET client_min_messages = error;
SELECT zdm.rollback(migration) FROM zdm.status WHERE relation IN ('zdm_cv.n'::regclass, 'zdm_cv.taken'::regclass);
DROP SCHEMA zdm_cv CASCADE;
DROP ROLE regress_zdm_cv, regress_zdm_cv_one, regress_zdm_cv_two;
