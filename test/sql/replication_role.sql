--
-- Rows that arrive with session_replication_role = replica, as from a
-- subscription or a loader, are kept in sync, too.
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS zdm;
CREATE ROLE regress_zdm_replication_role;
CREATE SCHEMA zdm_replication_role AUTHORIZATION regress_zdm_replication_role;
RESET client_min_messages;
SET SESSION AUTHORIZATION regress_zdm_replication_role;
SET search_path = zdm_replication_role;
\set VERBOSITY terse

SET client_min_messages = warning;

CREATE TABLE t (id integer PRIMARY KEY, a text DEFAULT 'default');
INSERT INTO t VALUES (1, 'x');
SELECT zdm.rename_column('t', 'a', 'b', migration => 'm');
RESET SESSION AUTHORIZATION;
SET session_replication_role = replica;
INSERT INTO t (id, a) VALUES (2, 'old');
INSERT INTO t (id, b) VALUES (3, 'new');
INSERT INTO t (id, a, b) VALUES (4, 'from a publisher', NULL);
UPDATE t SET a = 'changed' WHERE id = 1;
COPY t FROM stdin;
5	copied	\N
6	\N	copied
\.
SELECT * FROM t ORDER BY id;
RESET session_replication_role;
SET SESSION AUTHORIZATION regress_zdm_replication_role;
CALL zdm.backfill('m');
SELECT zdm.contract('m', '1 day');
RESET SESSION AUTHORIZATION;
SET session_replication_role = replica;
INSERT INTO t (id, a) VALUES (7, 'old');
UPDATE t SET b = 'new' WHERE id = 7 RETURNING a;
RESET session_replication_role;
SET SESSION AUTHORIZATION regress_zdm_replication_role;
SELECT rows_compared, mismatches FROM zdm.verify('m');
SELECT zdm.rollback('m');

RESET SESSION AUTHORIZATION;
SET client_min_messages = warning;
DROP SCHEMA zdm_replication_role CASCADE;
DROP ROLE regress_zdm_replication_role;
