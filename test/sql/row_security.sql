--
-- Tables with row security: every row is backfilled and compared, also those
-- that the caller does not see; what a writer may write stays the policy's.
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS zdm;
CREATE ROLE regress_zdm_row_security;
CREATE SCHEMA zdm_row_security AUTHORIZATION regress_zdm_row_security;
RESET client_min_messages;
SET SESSION AUTHORIZATION regress_zdm_row_security;
SET search_path = zdm_row_security;
\set VERBOSITY terse

SET client_min_messages = warning;

CREATE TABLE t (id integer PRIMARY KEY, owner text, a text);
INSERT INTO t SELECT i, CASE WHEN i % 2 = 0 THEN 'me' ELSE 'somebody' END, 'row ' || i FROM generate_series(1, 100) i;
ALTER TABLE t ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY seen ON t USING (owner = 'me' AND a <> 'forbidden');
SELECT count(*) FROM t;

SELECT zdm.rename_column('t', 'a', 'b', migration => 'm');
INSERT INTO t VALUES (101, 'me', 'old');
INSERT INTO t (id, owner, b) VALUES (102, 'me', 'new');
-- the policy is of the first column, and holds for both names
INSERT INTO t VALUES (103, 'somebody', 'old');
INSERT INTO t (id, owner, a) VALUES (103, 'me', 'forbidden');
INSERT INTO t (id, owner, b) VALUES (103, 'me', 'forbidden');
UPDATE t SET b = 'forbidden' WHERE id = 2;
UPDATE t SET b = 'unseen' WHERE id = 1;
CALL zdm.backfill('m');
SELECT * FROM zdm.verify('m');
SELECT count(*), count(b) FROM t;
SELECT zdm.contract('m', '1 day');
UPDATE t SET a = 'forbidden' WHERE id = 2;
SELECT zdm.contract('m', '0');
ALTER TABLE t NO FORCE ROW LEVEL SECURITY;
SELECT count(*), count(b), count(*) FILTER (WHERE b = 'row ' || id) FROM t;
SELECT polname, pg_get_expr(polqual, polrelid) FROM pg_policy WHERE polrelid = 't'::regclass;

-- the same with the table's triggers
ALTER TABLE t FORCE ROW LEVEL SECURITY;
SELECT zdm.rename_column('t', 'b', 'c', migration => 'm');
SET zdm.fire_user_triggers = on;
CALL zdm.backfill('m');
RESET zdm.fire_user_triggers;
SELECT rows_compared, mismatches FROM zdm.verify('m');
SELECT zdm.rollback('m');

RESET SESSION AUTHORIZATION;
SET client_min_messages = warning;
DROP SCHEMA zdm_row_security CASCADE;
DROP ROLE regress_zdm_row_security;
