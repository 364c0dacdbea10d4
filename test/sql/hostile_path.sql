--
-- A search_path full of objects that are named like the server's own: whatever
-- of zdm looked at one of them would be noticed.
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS zdm;
CREATE ROLE regress_zdm_hostile_path;
CREATE SCHEMA zdm_hostile_path AUTHORIZATION regress_zdm_hostile_path;
RESET client_min_messages;
SET SESSION AUTHORIZATION regress_zdm_hostile_path;
SET search_path = zdm_hostile_path;
\set VERBOSITY terse

SET client_min_messages = warning;

CREATE FUNCTION trapped(text) RETURNS boolean LANGUAGE plpgsql AS
    $$ BEGIN RAISE EXCEPTION 'trapped in %', $1; END $$;
DO $$
DECLARE
    f record;
    o record;
BEGIN
    -- functions that zdm's own queries, and its users' expressions, use
    FOR f IN SELECT p.oid, p.proname, pg_get_function_identity_arguments(p.oid) AS arguments,
                    pg_get_function_result(p.oid) AS result
               FROM pg_proc p
              WHERE p.pronamespace = 'pg_catalog'::regnamespace AND p.prokind = 'f' AND NOT p.proretset
                AND p.proname IN ('format', 'quote_ident', 'quote_literal', 'pg_get_userbyid', 'pg_get_expr', 'strpos',
                                  'clock_timestamp', 'regexp_split_to_array', 'regexp_replace', 'left', 'date_trunc',
                                  'pg_backend_pid', 'upper', 'lower', 'pg_event_trigger_ddl_commands', 'has_table_privilege')
                AND p.provariadic = 0
    LOOP
        EXECUTE pg_catalog.format('CREATE FUNCTION zdm_hostile_path.%I(%s) RETURNS %s LANGUAGE sql AS %L',
            f.proname, f.arguments, f.result, pg_catalog.format(
                'SELECT CASE WHEN zdm_hostile_path.trapped(%L) THEN NULL::%s END', f.proname, f.result));
    END LOOP;
    -- operators
    FOR o IN SELECT DISTINCT oprname, oprleft::regtype AS l, oprright::regtype AS r FROM pg_operator
              WHERE oprnamespace = 'pg_catalog'::regnamespace AND oprname IN ('=', '<>', '>', '<', '||', '-', '*')
                AND oprleft = ANY ('{text,name,bigint,integer,oid,regclass,tid,numeric,interval}'::regtype[])
                AND oprright = ANY ('{text,name,bigint,integer,oid,regclass,tid,numeric,interval}'::regtype[])
    LOOP
        EXECUTE pg_catalog.format('CREATE OR REPLACE FUNCTION zdm_hostile_path.trap_operator(%s, %s) RETURNS boolean LANGUAGE sql AS '
                       '$f$ SELECT zdm_hostile_path.trapped(''an operator'') $f$', o.l, o.r);
        EXECUTE pg_catalog.format('CREATE OPERATOR zdm_hostile_path.%s (FUNCTION = zdm_hostile_path.trap_operator, LEFTARG = %s, RIGHTARG = %s)',
                       o.oprname, o.l, o.r);
    END LOOP;
END $$;
-- tables and types
CREATE TABLE pg_class (oid integer);
CREATE TABLE pg_attribute (oid integer);
CREATE TABLE pg_proc (oid integer);
CREATE TABLE pg_locks (oid integer);
CREATE TABLE migration (id integer);
CREATE TABLE sync_rule (id integer);
CREATE DOMAIN text AS pg_catalog.text CHECK (VALUE <> VALUE OR VALUE IS NULL);
CREATE DOMAIN int4 AS pg_catalog.int4 CHECK (VALUE IS NULL);

CREATE TABLE t (id pg_catalog.int4 PRIMARY KEY, a pg_catalog.text DEFAULT 'default', n pg_catalog.int4);
INSERT INTO t VALUES (1, 'x', 1), (2, 'y', 2);
GRANT SELECT (a), INSERT (a) ON t TO PUBLIC;
SET search_path = zdm_hostile_path, pg_catalog;
SELECT 1 = 1;

SELECT zdm.rename_column('t', 'a', 'b', migration => 'm');
INSERT INTO t (id, a) VALUES (3, 'old'), (4, NULL), (5, DEFAULT);
INSERT INTO t (id, b) VALUES (6, 'new'), (7, NULL), (8, DEFAULT);
UPDATE t SET b = 'changed' WHERE id OPERATOR(pg_catalog.=) 1;
CALL zdm.backfill('m');
SELECT * FROM zdm.verify('m');
SELECT pg_catalog.count(*) FROM zdm.explain($$zdm.contract('m')$$);
SELECT pg_catalog.count(*) FROM zdm.explain($$zdm.rename_column('t', 'n', 'm')$$);
SELECT migration, state, progress, next_command FROM zdm.status;
SELECT migration, state, rows_done FROM zdm.progress;
SELECT pg_catalog.count(*) FROM zdm.steps WHERE relation OPERATOR(pg_catalog.=) 'zdm_hostile_path.t'::pg_catalog.regclass;
SELECT pg_catalog.count(*) FROM zdm.events WHERE relation OPERATOR(pg_catalog.=) 'zdm_hostile_path.t'::pg_catalog.regclass;
-- other DDL, with the guard
ALTER TABLE t ADD COLUMN c pg_catalog.int4;
ALTER TABLE t DROP COLUMN b;
CREATE TABLE dropped (id pg_catalog.int4);
DROP TABLE dropped;
SELECT zdm.contract('m', '1 day');
INSERT INTO t (id, a) VALUES (9, 'old');
UPDATE t SET a = 'old again' WHERE id OPERATOR(pg_catalog.=) 2;
SELECT zdm.rollback('m');
SELECT zdm.rename_column('t', 'a', 'b', migration => 'm');
SET zdm.fire_user_triggers = on;
CALL zdm.backfill('m');
SELECT zdm.contract('m', '0');
SET search_path = pg_catalog;
SELECT * FROM zdm_hostile_path.t ORDER BY id;

-- an expression means what it meant where it was given, whatever path the
-- writer has; which lower() this is was decided there
RESET SESSION AUTHORIZATION;
GRANT EXECUTE ON FUNCTION zdm._sync_columns TO regress_zdm_hostile_path;
SET SESSION AUTHORIZATION regress_zdm_hostile_path;
SET search_path = pg_catalog;
UPDATE zdm_hostile_path.t SET n = NULL;
SELECT zdm._sync_columns('zdm_hostile_path.t', '{b}', '{n}', ARRAY['length(lower(b || ''!''))'], ARRAY['upper(n::text)'], 'e');
SET search_path = zdm_hostile_path, pg_catalog;
INSERT INTO t (id, b) VALUES (10, 'Writer') RETURNING b, n;
INSERT INTO t (id, n) VALUES (11, 7) RETURNING b, n;
UPDATE t SET c = 1;
SET zdm.fire_user_triggers = off;
CALL zdm.backfill('e');
SELECT rows_compared, mismatches FROM zdm.verify('e');
SELECT zdm.contract('e');
-- under the user's own path it is his own, which is volatile
SELECT zdm._sync_columns('zdm_hostile_path.t', '{b}', '{n}', ARRAY['pg_catalog.length(lower(b))'], ARRAY['n'], 'e');

-- columns that come and change: the type is the server's where it is named so
SELECT zdm.add_column('t', 'added', 'pg_catalog.text', not_null => true, fill => 'pg_catalog.lower(b)', migration => 'added');
SELECT zdm.set_not_null('t', 'b', '''none''::pg_catalog.text', 'filled');
CALL zdm.backfill('filled');
CALL zdm.backfill('added');
INSERT INTO t (id, b) VALUES (12, NULL) RETURNING b, added;
SELECT pg_catalog.count(*) FROM zdm.explain($$zdm.contract('added')$$);
SELECT zdm.contract('added');
SELECT zdm.contract('filled');
SELECT zdm.drop_not_null('t', 'b', 'optional');
SELECT zdm.rollback('optional');
CALL zdm.backfill('optional');
SELECT zdm.rollback('optional');
SELECT zdm.add_column('t', 'own', 'text');

-- columns and tables that go
CREATE TABLE gone (id pg_catalog.int4 PRIMARY KEY, c pg_catalog.text NOT NULL CHECK (c OPERATOR(pg_catalog.<>) ''),
                   n pg_catalog.int4 REFERENCES gone);
SELECT zdm.drop_column('gone', 'c', '''none''::pg_catalog.text');
SELECT zdm.drop_column('gone', 'n');
SELECT zdm.drop_table('gone');
INSERT INTO gone (id) VALUES (1) RETURNING c;
SELECT pg_catalog.count(*) FROM zdm.explain($$zdm.contract('drop_gone_c')$$);
SELECT zdm.contract('drop_gone_c', '1 day');
INSERT INTO gone (id) VALUES (2) RETURNING *;
SELECT zdm.rollback('drop_gone_c');
SELECT zdm.contract('drop_gone_n');
-- when the statistics come, and with them a warning, is not said
SET client_min_messages = error;
SELECT zdm.contract('drop_gone', '1 day');
SELECT zdm.rollback('drop_gone');
SELECT zdm.drop_table('gone');
SELECT zdm.contract('drop_gone');

RESET SESSION AUTHORIZATION;
RESET search_path;
SET client_min_messages = warning;
DROP SCHEMA zdm_hostile_path CASCADE;
REVOKE EXECUTE ON FUNCTION zdm._sync_columns FROM regress_zdm_hostile_path;
DROP ROLE regress_zdm_hostile_path;
