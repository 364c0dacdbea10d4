--
-- ROLLBACK, and ROLLBACK TO SAVEPOINT, of each call: nothing of it is left,
-- neither in the catalogs nor in what this session remembers of the rules.
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS zdm;
CREATE ROLE regress_zdm_transactions;
CREATE SCHEMA zdm_transactions AUTHORIZATION regress_zdm_transactions;
RESET client_min_messages;
SET SESSION AUTHORIZATION regress_zdm_transactions;
SET search_path = zdm_transactions;
\set VERBOSITY terse

SET client_min_messages = warning;

CREATE TABLE t (id integer PRIMARY KEY, a text NOT NULL DEFAULT 'default', n integer);
CREATE INDEX ON t (a);
CREATE VIEW v AS SELECT id, a FROM t;
INSERT INTO t VALUES (1, 'x'), (2, 'y');

-- everything the catalogs hold about the table, and all that zdm holds
RESET SESSION AUTHORIZATION;
CREATE FUNCTION everything() RETURNS SETOF text LANGUAGE sql SECURITY DEFINER AS $$
    SELECT 'class ' || (to_jsonb(c) - '{relpages,reltuples,relallvisible,relallfrozen,relfrozenxid,relminmxid,relhastriggers}'::text[])::text
      FROM pg_class c WHERE oid = 't'::regclass
    UNION ALL SELECT 'attribute ' || to_jsonb(att)::text FROM pg_attribute att WHERE attrelid = 't'::regclass
    UNION ALL SELECT 'default ' || to_jsonb(d)::text FROM pg_attrdef d WHERE adrelid = 't'::regclass
    UNION ALL SELECT 'trigger ' || to_jsonb(g)::text FROM pg_trigger g WHERE tgrelid = 't'::regclass
    UNION ALL SELECT 'constraint ' || to_jsonb(x)::text FROM pg_constraint x WHERE conrelid = 't'::regclass
    UNION ALL SELECT 'depend ' || to_jsonb(p)::text FROM pg_depend p WHERE refobjid = 't'::regclass OR objid = 't'::regclass
    UNION ALL SELECT 'migration ' || to_jsonb(m)::text FROM zdm.migration m
    UNION ALL SELECT 'step ' || to_jsonb(s)::text FROM zdm.step s
    UNION ALL SELECT 'rule ' || to_jsonb(r)::text FROM zdm.sync_rule r
    UNION ALL SELECT 'range ' || to_jsonb(b)::text FROM zdm.backfill_range b
    UNION ALL SELECT 'event ' || to_jsonb(e)::text FROM zdm.event e
$$;
CREATE TABLE remembered AS SELECT everything() AS item;
CREATE FUNCTION remember() RETURNS void LANGUAGE sql SECURITY DEFINER AS
    'DELETE FROM remembered; INSERT INTO remembered SELECT everything()';
CREATE FUNCTION changes() RETURNS SETOF text LANGUAGE sql SECURITY DEFINER AS $$
    (SELECT '+ ' || left(item, 60) FROM (SELECT everything() EXCEPT ALL SELECT item FROM remembered) a (item))
    UNION ALL
    (SELECT '- ' || left(item, 60) FROM (SELECT item FROM remembered EXCEPT ALL SELECT everything()) b (item))
$$;
SET SESSION AUTHORIZATION regress_zdm_transactions;
SELECT remember();

-- expand
BEGIN;
SELECT zdm.rename_column('t', 'a', 'b', migration => 'm');
INSERT INTO t (id, b) VALUES (3, 'new') RETURNING a;
UPDATE t SET b = 'z' WHERE id = 1 RETURNING a;
SELECT count(*) > 0 AS changed FROM changes();
ROLLBACK;
SELECT * FROM changes();
INSERT INTO t (id, a) VALUES (3, 'old');

BEGIN;
SAVEPOINT s;
SELECT zdm.rename_column('t', 'a', 'b', migration => 'm');
INSERT INTO t (id, b) VALUES (4, 'new') RETURNING a;
ROLLBACK TO s;
INSERT INTO t (id, a) VALUES (4, 'old');
SAVEPOINT s;
-- another one of that name is not disturbed by the first
SELECT zdm.rename_column('t', 'n', 'm', migration => 'm');
INSERT INTO t (id, m) VALUES (5, 5) RETURNING n;
ROLLBACK TO s;
RELEASE s;
COMMIT;
SELECT * FROM changes();
SELECT * FROM t ORDER BY id;

-- in a block that catches an error
DO $$
BEGIN
    PERFORM zdm.rename_column('t', 'a', 'b', migration => 'm');
    INSERT INTO t (id, b) VALUES (5, 'new');
    PERFORM 1 / 0;
EXCEPTION WHEN division_by_zero THEN
    INSERT INTO t (id, a) VALUES (5, 'old');
END $$;
SELECT * FROM changes();

-- an expand that fails half way, the caller's transaction going on
BEGIN;
INSERT INTO t (id, a) VALUES (6, 'before');
SAVEPOINT s;
SELECT zdm.rename_column('t', 'a', 'n', migration => 'm');
ROLLBACK TO s;
INSERT INTO t (id, a) VALUES (7, 'after');
COMMIT;
SELECT * FROM changes();

-- a migration in the same transaction as other DDL and the table itself
BEGIN;
CREATE TABLE made (id integer, a text);
INSERT INTO made VALUES (1, 'x');
SELECT zdm.rename_column('made', 'a', 'b');
ALTER TABLE made ADD COLUMN c text;
INSERT INTO made (id, b, c) VALUES (2, 'y', 'z');
SELECT * FROM made ORDER BY id;
COMMIT;
INSERT INTO made (id, a) VALUES (3, 'z') RETURNING *;
CALL zdm.backfill('rename_made_a_to_b');
SELECT zdm.contract('rename_made_a_to_b');
DROP TABLE made;

-- contract, without a quarantine and with one
SELECT zdm.rename_column('t', 'a', 'b', migration => 'm');
CALL zdm.backfill('m');
SELECT remember();
BEGIN;
SELECT zdm.contract('m');
INSERT INTO t (id, b) VALUES (10, 'contracted') RETURNING *;
ROLLBACK;
SELECT * FROM changes();
INSERT INTO t (id, a) VALUES (10, 'old') RETURNING a, b;
INSERT INTO t (id, b) VALUES (11, 'new') RETURNING a, b;
BEGIN;
SAVEPOINT s;
SELECT zdm.contract('m', '1 day');
INSERT INTO t (id) VALUES (12) RETURNING a, b;
ROLLBACK TO s;
INSERT INTO t (id) VALUES (12) RETURNING a, b;
COMMIT;
SELECT * FROM changes();
SELECT state FROM zdm.status;

-- rollback, and contract after it was taken back
BEGIN;
SAVEPOINT s;
SELECT zdm.rollback('m');
INSERT INTO t (id, a) VALUES (13, 'rolled back') RETURNING *;
ROLLBACK TO s;
SELECT zdm.contract('m', '1 day');
SAVEPOINT s2;
SELECT zdm.rollback('m');
ROLLBACK TO s2;
INSERT INTO t (id, a) VALUES (13, 'quarantine') RETURNING a, b;
COMMIT;
SELECT state FROM zdm.status;
SELECT remember();

-- finish and rollback from quarantine
BEGIN;
SELECT zdm.contract('m', '0');
ROLLBACK;
SELECT * FROM changes();
BEGIN;
SELECT zdm.rollback('m');
ROLLBACK;
SELECT * FROM changes();
BEGIN;
SELECT zdm.contract('m', '2 days');
ROLLBACK;
SELECT * FROM changes();
INSERT INTO t (id, a) VALUES (14, 'old') RETURNING a, b;
INSERT INTO t (id, b) VALUES (15, 'new') RETURNING a, b;
SELECT rows_compared, mismatches FROM zdm.verify('m');

-- in two-phase transactions
SELECT zdm.rollback('m');
SELECT remember();
BEGIN;
SELECT zdm.rename_column('t', 'a', 'b', migration => 'm');
PREPARE TRANSACTION 'regress_zdm';
ROLLBACK PREPARED 'regress_zdm';
SELECT * FROM changes();
BEGIN;
SELECT zdm.rename_column('t', 'a', 'b', migration => 'm');
PREPARE TRANSACTION 'regress_zdm';
COMMIT PREPARED 'regress_zdm';
INSERT INTO t (id, b) VALUES (18, 'new') RETURNING a;
CALL zdm.backfill('m');
BEGIN;
SELECT zdm.contract('m', '1 day');
PREPARE TRANSACTION 'regress_zdm';
COMMIT PREPARED 'regress_zdm';
INSERT INTO t (id, a) VALUES (19, 'old') RETURNING b;
SELECT state FROM zdm.status;

-- the whole life in one session, with a REPEATABLE READ transaction that is
-- older than the rule
SELECT zdm.rollback('m');
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT count(*) FROM t;
SELECT zdm.rename_column('t', 'a', 'b', migration => 'm');
INSERT INTO t (id, b) VALUES (16, 'new') RETURNING a;
COMMIT;
BEGIN ISOLATION LEVEL SERIALIZABLE;
SELECT zdm.rollback('m');
SELECT zdm.rename_column('t', 'a', 'b', migration => 'm');
INSERT INTO t (id, b) VALUES (17, 'new') RETURNING a;
COMMIT;
CALL zdm.backfill('m');
SELECT zdm.contract('m');
SELECT * FROM t ORDER BY id;
SELECT * FROM v ORDER BY id;

RESET SESSION AUTHORIZATION;
SET client_min_messages = warning;
DROP SCHEMA zdm_transactions CASCADE;
DROP ROLE regress_zdm_transactions;
