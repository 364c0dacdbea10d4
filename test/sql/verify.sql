--
-- Verify finds every row whose two values differ, and names it.
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS zdm;
CREATE ROLE regress_zdm_verify;
CREATE SCHEMA zdm_verify AUTHORIZATION regress_zdm_verify;
RESET client_min_messages;
SET SESSION AUTHORIZATION regress_zdm_verify;
SET search_path = zdm_verify;
\set VERBOSITY terse

SET client_min_messages = error;

CREATE TABLE t (id integer PRIMARY KEY, a text, n numeric);
INSERT INTO t SELECT i, 'row ' || i, i FROM generate_series(1, 1000) i;
SELECT zdm.rename_column('t', 'a', 'b', migration => 'm');
-- before the backfill that is nearly all of them
SELECT * FROM zdm.verify('m');
CALL zdm.backfill('m');
SELECT * FROM zdm.verify('m');

-- behind the trigger's back
ALTER TABLE t DISABLE TRIGGER "~zdm_sync";
UPDATE t SET a = 'old' WHERE id = 7;
UPDATE t SET b = 'new' WHERE id = 500;
UPDATE t SET b = NULL WHERE id = 600;
UPDATE t SET a = NULL WHERE id = 700;
INSERT INTO t (id, a) VALUES (1001, 'not in sync');
ALTER TABLE t ENABLE ALWAYS TRIGGER "~zdm_sync";
SELECT * FROM zdm.verify('m');
-- it changes nothing; the state went back when the trigger was switched off
SELECT state, last_error FROM zdm.status;
UPDATE t SET id = -id WHERE id = 7;
SELECT mismatches, sample FROM zdm.verify('m');
UPDATE t SET b = a || '.' WHERE id IN (-7, 700, 1001) OR b IS DISTINCT FROM a;
SELECT mismatches FROM zdm.verify('m');

-- what the backfill would be ready with, it compares first
SELECT zdm.rollback('m');
SELECT zdm.rename_column('t', 'a', 'b', migration => 'm');
ALTER TABLE t DISABLE TRIGGER "~zdm_sync";
UPDATE t SET b = 'wrong' WHERE id IN (1, 2);
ALTER TABLE t ENABLE ALWAYS TRIGGER "~zdm_sync";
\set VERBOSITY default
CALL zdm.backfill('m');
\set VERBOSITY terse
SELECT state, last_error FROM zdm.status;
SELECT event, detail FROM zdm.events WHERE migration_id = (SELECT max(migration_id) FROM zdm.events WHERE migration = 'm') ORDER BY id;
CALL zdm.backfill('m');
UPDATE t SET b = a || '!' WHERE id IN (1, 2);
CALL zdm.backfill('m');
SELECT state, last_error FROM zdm.status;
SELECT zdm.contract('m');

-- equal is what the type calls equal; where it has no equality, the same bytes
CREATE TABLE equal (name text, a numeric, j json, p point, f double precision, i interval);
INSERT INTO equal VALUES ('same', 1.0, '{"a": 1}', '(1,2)', 0, '1 day');
SELECT zdm.rename_column('equal', 'a', 'a2', migration => 'a');
SELECT zdm.rename_column('equal', 'j', 'j2', migration => 'j');
SELECT zdm.rename_column('equal', 'p', 'p2', migration => 'p');
SELECT zdm.rename_column('equal', 'f', 'f2', migration => 'f');
SELECT zdm.rename_column('equal', 'i', 'i2', migration => 'i');
ALTER TABLE equal DISABLE TRIGGER "~zdm_sync";
UPDATE equal SET a2 = 1.000, j2 = '{"a":1}', p2 = '(1.0,2.0)', f2 = '-0', i2 = '24 hours';
ALTER TABLE equal ENABLE ALWAYS TRIGGER "~zdm_sync";
SELECT s.migration, v."check", v.mismatches, v.sample FROM zdm.status s, zdm.verify(s.migration) v ORDER BY 1;

-- many partitions, each with its own line; keys of each kind
CREATE TABLE parted ("the ""id""" integer, a text, k text, PRIMARY KEY ("the ""id""", k)) PARTITION BY LIST (k);
CREATE TABLE parted_a PARTITION OF parted FOR VALUES IN ('a, b');
CREATE TABLE parted_b PARTITION OF parted FOR VALUES IN ('b');
CREATE TABLE parted_c PARTITION OF parted FOR VALUES IN ('c');
INSERT INTO parted SELECT i, 'x', (ARRAY['a, b', 'b'])[i % 2 + 1] FROM generate_series(1, 30) i;
SELECT zdm.rename_column('parted', 'a', 'a"b', migration => 'parted');
SELECT "check", relation, rows_compared, mismatches, cardinality(sample), sample[1]
  FROM zdm.verify('parted') ORDER BY relation::text COLLATE "C";
-- in a transaction of its own, whichever
BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;
SELECT sum(mismatches) FROM zdm.verify('parted');
COMMIT;

RESET SESSION AUTHORIZATION;
SET client_min_messages = warning;
DROP SCHEMA zdm_verify CASCADE;
DROP ROLE regress_zdm_verify;
