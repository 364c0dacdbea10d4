--
-- Columns of every type, also of those that have no equality: values are never
-- turned into text, and not compared by anything but their image.
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS zdm;
CREATE ROLE regress_zdm_types;
CREATE SCHEMA zdm_types AUTHORIZATION regress_zdm_types;
RESET client_min_messages;
SET SESSION AUTHORIZATION regress_zdm_types;
SET search_path = zdm_types;
\set VERBOSITY terse

SET client_min_messages = warning;

-- servers may be built without XML
CREATE FUNCTION xml_or_text() RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    PERFORM '<a/>'::xml;
    RETURN 'xml';
EXCEPTION WHEN feature_not_supported THEN
    RETURN 'text';
END $$;
SELECT xml_or_text() AS xml \gset

CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy');
CREATE TYPE pair AS (x integer, y text);
CREATE DOMAIN plain_domain AS text;
CREATE DOMAIN checked AS text CHECK (VALUE <> 'bad');
CREATE DOMAIN domain_of_domain AS checked CHECK (length(VALUE) < 10);
CREATE DOMAIN pairs AS pair[];
CREATE COLLATION zdm_types."My C" (provider = libc, locale = 'C');

-- one table a type: two rows that are there before, two that are written
CREATE TABLE cases (name text PRIMARY KEY, type text, first text, second text);
INSERT INTO cases VALUES
    ('array', 'integer[]', '{1,NULL,3}', '{}'),
    ('array_2', 'text[][]', '{{a,b},{c,"d,e"}}', '[0:1]={x,y}'),
    ('bit', 'bit(5)', '10101', '00000'),
    ('bytea', 'bytea', '\x00ff', '\x'),
    ('char', 'character(5)', 'ab', '     '),
    ('collated', 'text COLLATE "My C"', 'a', 'B'),
    ('composite', 'pair', '(1,a)', '(,)'),
    ('date', 'date', '2000-02-29', 'infinity'),
    ('domain', 'plain_domain', 'a', 'b'),
    ('domain_array', 'pairs', '{"(1,a)"}', '{NULL}'),
    ('domain_checked', 'checked', 'good', 'better'),
    ('domain_domain', 'domain_of_domain', 'good', 'better'),
    ('enum', 'mood', 'sad', 'happy'),
    ('float', 'double precision', 'NaN', '-0'),
    ('inet', 'inet', '::1/64', '10.0.0.1'),
    ('interval', 'interval', '1 mon', '30 days'),
    ('interval_mod', 'interval day to second(3)', '1.23456 s', '2 days'),
    ('json', 'json', '{"b":1,  "a":2, "a":3}', 'null'),
    ('jsonb', 'jsonb', '{"a": [1, 2]}', 'null'),
    ('name', 'name', 'n', ''),
    ('numeric', 'numeric(10,2)', '1.50', 'NaN'),
    ('numeric_array', 'numeric(4,1)[]', '{1.23}', '{NULL}'),
    ('numeric_free', 'numeric', '1.0', '1.00'),
    ('point', 'point', '(1,2)', '(NaN,Infinity)'),
    ('polygon', 'polygon', '((0,0),(1,1),(2,0))', '((0,0))'),
    ('range', 'int4multirange', '{[1,3),[5,9)}', '{}'),
    ('regclass', 'regclass', 'cases', '-'),
    ('time', 'timestamptz(0)', '2000-01-01 00:00:00-08', '-infinity'),
    ('time_zone', 'time(1) with time zone', '12:00:00.25+02', '00:00-08'),
    ('tsvector', 'tsvector', '''a'':1 ''b'':2', ''),
    ('uuid', 'uuid', '00000000-0000-0000-0000-000000000001', 'ffffffff-ffff-ffff-ffff-ffffffffffff'),
    ('varbit', 'bit varying(5)', '101', ''),
    ('varchar', 'character varying(3)', 'abc', ''),
    ('xid', 'xid', '1', '2'),
    ('xml', :'xml', '<a b="c">d</a>', '<e/>');

DO $$
DECLARE
    c record;
BEGIN
    FOR c IN SELECT 't_' || name AS t, * FROM cases LOOP
        EXECUTE format('CREATE TABLE %I (id integer PRIMARY KEY, a %s)', c.t, c.type);
        EXECUTE format('INSERT INTO %I VALUES (1, %L), (2, %L), (3, NULL)', c.t, c.first, c.second);
        PERFORM zdm.rename_column(c.t::regclass, 'a', 'b', migration => c.name);
        EXECUTE format('INSERT INTO %I (id, a) VALUES (4, %L), (5, NULL)', c.t, c.first);
        EXECUTE format('INSERT INTO %I (id, b) VALUES (6, %L), (7, NULL)', c.t, c.second);
        EXECUTE format('INSERT INTO %I (id, a, b) VALUES (8, %L, %L)', c.t, c.first, c.second);
        EXECUTE format('UPDATE %I SET b = %L WHERE id = 1', c.t, c.second);
        EXECUTE format('UPDATE %I SET a = %L WHERE id = 6', c.t, c.first);
    END LOOP;
END $$;

-- the second column's type, collation and modifier are the first one's; a
-- domain with constraints has become its base type
SELECT c.relname, format_type(a.atttypid, a.atttypmod) AS a, format_type(b.atttypid, b.atttypmod) AS b
  FROM pg_class c
  JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'a'
  JOIN pg_attribute b ON b.attrelid = c.oid AND b.attname = 'b'
 WHERE c.relname ~ '^t_' AND c.relkind = 'r' AND c.relnamespace = 'zdm_types'::regnamespace
   AND (a.atttypid, a.atttypmod, a.attcollation) IS DISTINCT FROM (b.atttypid, b.atttypmod, b.attcollation)
 ORDER BY c.relname COLLATE "C";
-- which does not let in what the domain refuses
INSERT INTO t_domain_checked (id, b) VALUES (9, 'bad');
UPDATE t_domain_checked SET b = 'bad' WHERE id = 2;
INSERT INTO t_domain_domain (id, b) VALUES (9, 'much too long');

\set ECHO errors
SELECT format('CALL zdm.backfill(%L)', migration) FROM zdm.status ORDER BY migration COLLATE "C" \gexec
\set ECHO all
SELECT sum(v.rows_compared), sum(v.mismatches) FROM zdm.status s, zdm.verify(s.migration) v;
CREATE FUNCTION show(name text, OUT "table" text, OUT old text, OUT new text)
RETURNS SETOF record LANGUAGE plpgsql AS $$
BEGIN
    RETURN QUERY EXECUTE format(
        'SELECT %L, string_agg(coalesce(a::text, ''-''), '' | '' ORDER BY id),'
        '           string_agg(coalesce(b::text, ''-''), '' | '' ORDER BY id)'
        '  FROM %I HAVING true', name, 't_' || name);
END $$;
SELECT s."table", s.old, nullif(s.new, s.old) AS different
  FROM cases c, show(c.name) s ORDER BY c.name COLLATE "C";
SELECT count(*) FROM (SELECT zdm.contract(migration) FROM zdm.status) x;
SELECT c.relname, format_type(b.atttypid, b.atttypmod)
  FROM pg_class c JOIN pg_attribute b ON b.attrelid = c.oid AND b.attname = 'b'
 WHERE c.relname ~ '^t_' AND c.relname <> 't_xml' AND c.relkind = 'r'
   AND c.relnamespace = 'zdm_types'::regnamespace
 ORDER BY c.relname COLLATE "C";

-- An INSERT that leaves out a column of a domain fails on the domain before
-- any trigger, so there has to be something else to fall back on.
CREATE DOMAIN mandatory AS text NOT NULL;
CREATE DOMAIN not_null_check AS text CHECK (VALUE IS NOT NULL);
CREATE DOMAIN with_default AS text NOT NULL DEFAULT 'from the domain';
CREATE TABLE refused_1 (id integer, a mandatory);
CREATE TABLE refused_2 (id integer, a not_null_check);
CREATE TABLE refused_3 (id integer, a with_default);
CREATE TABLE accepted (id integer, a mandatory DEFAULT 'from the column');
\set VERBOSITY default
SELECT zdm.rename_column('refused_1', 'a', 'b');
SELECT zdm.rename_column('refused_2', 'a', 'b');
\set VERBOSITY terse
SELECT zdm.rename_column('refused_3', 'a', 'b');
SELECT zdm.rename_column('accepted', 'a', 'b');
INSERT INTO accepted (id, b) VALUES (1, 'new') RETURNING *;
INSERT INTO accepted (id) VALUES (1) RETURNING *;
INSERT INTO accepted (id, b) VALUES (1, NULL) RETURNING *;

RESET SESSION AUTHORIZATION;
SET client_min_messages = warning;
DROP SCHEMA zdm_types CASCADE;
DROP ROLE regress_zdm_types;
