--
-- Expressions that are refused when they are given, with the place in them.
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS zdm;
CREATE ROLE regress_zdm_rules_bad;
CREATE SCHEMA zdm_rules_bad AUTHORIZATION regress_zdm_rules_bad;
GRANT EXECUTE ON FUNCTION zdm._sync_columns TO regress_zdm_rules_bad;
RESET client_min_messages;
SET SESSION AUTHORIZATION regress_zdm_rules_bad;
SET search_path = zdm_rules_bad;



CREATE TABLE t (id integer PRIMARY KEY, a text, b text, n integer, g integer GENERATED ALWAYS AS (n * 2) STORED);
CREATE TABLE other (x integer);
CREATE FUNCTION unstable(text) RETURNS text LANGUAGE sql VOLATILE AS $$ SELECT $1 $$;
-- one bad "up" at a time, then one bad "down"
PREPARE up(text) AS SELECT zdm._sync_columns('t', '{a}', '{b}', ARRAY[$1], '{b}', 'bad');
PREPARE down(text) AS SELECT zdm._sync_columns('t', '{a}', '{b}', '{a}', ARRAY[$1], 'bad');

-- it is no expression
EXECUTE up('');
EXECUTE up('a +');
EXECUTE up('a ||| b)');
EXECUTE up('upper(a) AS b');
EXECUTE up('a, b');
EXECUTE up('a FROM t');
EXECUTE up('a WHERE true');
EXECUTE up('SELECT a');
EXECUTE up('a; DROP TABLE t');
EXECUTE up('*');
EXECUTE up('DEFAULT');
EXECUTE up('$1');
EXECUTE down('b LIMIT 1');
EXECUTE down('DISTINCT b');

-- names
EXECUTE up('nope');
EXECUTE up('a || upper(nope)');
EXECUTE up('other.x::text');
EXECUTE down('b || nope');

-- kinds of expressions
EXECUTE up('(SELECT max(x)::text FROM other)');
EXECUTE up('max(a)');
EXECUTE up('row_number() OVER ()::text');
EXECUTE up('generate_series(1, 2)::text');
EXECUTE up('unstable(a)');
EXECUTE up('random()::text');
EXECUTE up('t::text');
EXECUTE up('t.*::text');
EXECUTE up('ctid::text');
EXECUTE up('g::text');
EXECUTE down('clock_timestamp()::text');

-- types
SELECT zdm._sync_columns('t', '{a}', '{n}', '{a}', '{n}', 'bad');
SELECT zdm._sync_columns('t', '{n}', '{a}', '{n}', '{a}', 'bad');
SELECT zdm._sync_columns('t', '{a}', '{n}', '{true}', '{n}', 'bad');

-- numbers of expressions
SELECT zdm._sync_columns('t', '{a}', '{b}', '{a,a}', '{b}', 'bad');
SELECT zdm._sync_columns('t', '{a}', '{b}', '{a}', '{}', 'bad');
SELECT zdm._sync_columns('t', '{}', '{b}', '{a}', '{}', 'bad');
SELECT zdm._sync_columns('t', '{a}', '{b}', ARRAY[NULL], '{b}', 'bad');

-- columns
SELECT zdm._sync_columns('t', '{nope}', '{b}', '{a}', '{b}', 'bad');
SELECT zdm._sync_columns('t', '{a}', '{nope}', '{a}', '{b}', 'bad');
SELECT zdm._sync_columns('t', '{a}', '{g}', '{n}', '{b}', 'bad');
SELECT zdm._sync_columns('t', '{a}', '{ctid}', '{n}', '{b}', 'bad');
-- the same column twice, or none
CREATE FUNCTION refused(old name[], new name[]) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    PERFORM zdm._sync_columns('t', old, new, coalesce(new, '{}')::text[], coalesce(old, '{}')::text[], 'bad');
    RETURN false;
EXCEPTION WHEN OTHERS THEN
    RETURN true;
END $$;
SELECT refused('{a}', '{a}'), refused('{a,a}', '{b}'), refused('{a}', '{b,b}'),
       refused(ARRAY[NULL]::name[], '{b}'), refused('{a}', ARRAY[NULL]::name[]);

-- nothing of it is left
SELECT count(*) FROM zdm.status WHERE relation = 't'::regclass;
SELECT count(*) FROM pg_trigger WHERE tgrelid = 't'::regclass;
-- and nobody else may call it
SET client_min_messages = warning;
RESET SESSION AUTHORIZATION;
REVOKE EXECUTE ON FUNCTION zdm._sync_columns FROM regress_zdm_rules_bad;
SET SESSION AUTHORIZATION regress_zdm_rules_bad;
SELECT zdm._sync_columns('t', '{a}', '{b}', '{a}', '{b}', 'bad');

RESET SESSION AUTHORIZATION;
SET client_min_messages = warning;
DROP SCHEMA zdm_rules_bad CASCADE;
REVOKE EXECUTE ON FUNCTION zdm._sync_columns FROM regress_zdm_rules_bad;
DROP ROLE regress_zdm_rules_bad;
