--
-- The extension itself: what it consists of, and when it may go.
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS zdm;
CREATE ROLE regress_zdm_extension;
\set VERBOSITY terse
SELECT extname, extrelocatable, extnamespace::regnamespace, extconfig::regclass[] FROM pg_extension WHERE extname = 'zdm';
SELECT pg_describe_object(classid, objid, 0) FROM pg_depend
 WHERE refclassid = 'pg_extension'::regclass AND deptype = 'e'
   AND refobjid = (SELECT oid FROM pg_extension WHERE extname = 'zdm')
   -- row types and the like vary between versions
   AND classid <> 'pg_type'::regclass
 ORDER BY pg_describe_object(classid, objid, 0) COLLATE "C";

-- only a superuser creates it, for it holds event triggers
DROP EXTENSION zdm;
SELECT count(*) FROM pg_namespace WHERE nspname = 'zdm';
SELECT count(*) FROM pg_event_trigger WHERE evtname LIKE 'zdm%';
SET SESSION AUTHORIZATION regress_zdm_extension;
CREATE EXTENSION zdm;
RESET SESSION AUTHORIZATION;
CREATE SCHEMA other;
CREATE EXTENSION zdm SCHEMA other;
DROP SCHEMA other;
-- a schema of that name is nobody else's to prepare
CREATE SCHEMA zdm;
CREATE EXTENSION zdm;
DROP SCHEMA zdm;
-- whatever path the creator has
CREATE SCHEMA regress_zdm_path;
CREATE FUNCTION regress_zdm_path.pg_extension_config_dump(regclass, text) RETURNS void LANGUAGE plpgsql AS
    'BEGIN RAISE EXCEPTION ''trapped''; END';
SET search_path = regress_zdm_path, pg_catalog;
CREATE EXTENSION zdm;
RESET search_path;
DROP SCHEMA regress_zdm_path CASCADE;
SELECT cardinality(extconfig) FROM pg_extension WHERE extname = 'zdm';

-- with a history, but nothing in flight, it may go
CREATE SCHEMA zdm_extension AUTHORIZATION regress_zdm_extension;
SET SESSION AUTHORIZATION regress_zdm_extension;
SET search_path = zdm_extension;
CREATE TABLE t (id integer, a text);
SELECT zdm.rename_column('t', 'a', 'b');
RESET SESSION AUTHORIZATION;
\set VERBOSITY default
DROP EXTENSION zdm;
\set VERBOSITY terse
SET SESSION AUTHORIZATION regress_zdm_extension;
SELECT zdm.rollback('rename_t_a_to_b');
RESET SESSION AUTHORIZATION;
DROP EXTENSION zdm;
INSERT INTO zdm_extension.t VALUES (1, 'x');
-- and a session that has used it can have it again
CREATE EXTENSION zdm;
SET SESSION AUTHORIZATION regress_zdm_extension;
SELECT zdm.rename_column('t', 'a', 'b');
INSERT INTO t (id, b) VALUES (2, 'new') RETURNING *;
CALL zdm.backfill('rename_t_a_to_b');
SELECT zdm.contract('rename_t_a_to_b');
SELECT * FROM t ORDER BY id;
RESET SESSION AUTHORIZATION;
DROP SCHEMA zdm_extension CASCADE;
DROP ROLE regress_zdm_extension;
