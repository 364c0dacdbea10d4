--
-- The first thing that a session does: the library comes in the middle of it,
-- and has to know all the same what was written.
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS zdm;
CREATE ROLE regress_zdm_new_sessions;
CREATE SCHEMA zdm_new_sessions AUTHORIZATION regress_zdm_new_sessions;
RESET client_min_messages;
SET SESSION AUTHORIZATION regress_zdm_new_sessions;
SET search_path = zdm_new_sessions;
\set VERBOSITY terse

SET client_min_messages = warning;

RESET SESSION AUTHORIZATION;
\set superuser :USER
ALTER ROLE regress_zdm_new_sessions LOGIN;
ALTER ROLE regress_zdm_new_sessions SET search_path = zdm_new_sessions;
CREATE SCHEMA zdm_new_sessions_2 AUTHORIZATION regress_zdm_new_sessions;
\c - regress_zdm_new_sessions
CREATE TABLE t (id integer PRIMARY KEY, a text DEFAULT 'default');
CREATE TABLE zdm_new_sessions_2.t (id integer PRIMARY KEY, b text);
CREATE FUNCTION insert_new(integer, text) RETURNS integer LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO t (id, b) VALUES ($1, $2);
    RETURN $1;
END $$;
CREATE FUNCTION pass_on() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO zdm_new_sessions.t (id, a) VALUES (NEW.id, 'passed on');
    RETURN NEW;
END $$;
CREATE TRIGGER pass_on BEFORE INSERT ON zdm_new_sessions_2.t FOR EACH ROW EXECUTE FUNCTION pass_on();
SET client_min_messages = error;
SELECT zdm.rename_column('t', 'a', 'b', migration => 'm');

\c -
INSERT INTO t (id, b) VALUES (1, 'new');
\c -
INSERT INTO t (id, a) VALUES (2, 'old');
\c -
INSERT INTO t (id, b) VALUES (3, NULL), (4, 'new');
\c -
INSERT INTO t (id, a) VALUES (5, NULL);
\c -
COPY t (id, b) FROM stdin;
6	copied
7	\N
\.
\c -
UPDATE t SET b = 'changed' WHERE id = 1;
\c -
SELECT insert_new(8, 'from a function');
\c -
DO $$ BEGIN INSERT INTO t (id, b) VALUES (9, 'from a block'); END $$;
\c -
WITH w AS (INSERT INTO t (id, b) VALUES (10, NULL) RETURNING *) SELECT * FROM w;
\c -
PREPARE p AS INSERT INTO t (id, b) VALUES (11, $1);
EXECUTE p(NULL);
\c -
INSERT INTO t (id, a) VALUES (insert_new(12, 'inner') + 1, 'outer');
\c -
BEGIN;
INSERT INTO t (id) VALUES (14);
INSERT INTO t (id, b) VALUES (15, 'new');
COMMIT;
-- a COPY into another table of that name, whose trigger writes this one
\c -
COPY zdm_new_sessions_2.t (id, b) FROM stdin;
16	other table
\.
\c -
INSERT INTO t (id, b) VALUES (17, 'upsert') ON CONFLICT (id) DO UPDATE SET b = 'upsert';
\c -
CALL zdm.backfill('m');
\c -
SELECT rows_compared, mismatches FROM zdm.verify('m');
\c -

DROP TABLE zdm_new_sessions_2.t;
SELECT * FROM t ORDER BY id;
\c -
SET client_min_messages = warning;
SELECT zdm.contract('m');
\c - :superuser

SET client_min_messages = warning;
DROP SCHEMA zdm_new_sessions, zdm_new_sessions_2 CASCADE;
DROP ROLE regress_zdm_new_sessions;
