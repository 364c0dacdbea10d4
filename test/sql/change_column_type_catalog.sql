--
-- The changes of a type that change_column_type_types makes of values, here with
-- what hangs on a column: what the catalog says of it in the end is what it says
-- of a copy with a plain ALTER TABLE, and after a rollback what it said before.
--
SET client_min_messages = error;
CREATE EXTENSION IF NOT EXISTS zdm;
CREATE ROLE regress_zdm_catalog_reader;
CREATE SCHEMA zdm_type_catalog;
SET search_path = zdm_type_catalog;
SET TimeZone = 'UTC';

CREATE TYPE mood AS ENUM ('bad', 'good');
CREATE TYPE spirit AS ENUM ('good', 'bad', 'ugly');
CREATE DOMAIN code AS text;
CREATE TABLE pair (
    n int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    old_type text, new_type text, value text, up text, down text);
INSERT INTO pair (old_type, new_type, value, up, down) VALUES
('int', 'bigint', '7', NULL, NULL),
('smallint', 'int', '7', NULL, NULL),
('bigint', 'int', '7', NULL, NULL),
('int', 'text', '7', NULL, NULL),
('text', 'int', '7', NULL, NULL),
('text', 'jsonb', '{"a": 1}', NULL, NULL),
('jsonb', 'text', '{"a": 1}', NULL, NULL),
('json', 'jsonb', '{"a": 1}', NULL, NULL),
('timestamp', 'timestamptz', '2020-07-01 12:00:00', 'c AT TIME ZONE ''UTC''', 'c AT TIME ZONE ''UTC'''),
('timestamptz', 'timestamp', '2020-07-01 12:00:00+00', 'c AT TIME ZONE ''UTC''', 'c AT TIME ZONE ''UTC'''),
('date', 'timestamp', '2020-02-29', NULL, NULL),
('varchar(10)', 'text', 'ab', NULL, 'c::varchar(10)'),
('text', 'varchar(5)', 'ab', NULL, NULL),
('char(5)', 'text', 'ab', NULL, NULL),
('text', 'char(8)', 'ab', NULL, NULL),
('numeric(10,2)', 'numeric(12,4)', '1.50', NULL, NULL),
('numeric', 'numeric(6,1)', '1.5', NULL, NULL),
('numeric', 'bigint', '7', NULL, NULL),
('int', 'numeric(12,2)', '7', NULL, NULL),
('real', 'double precision', '2.5', NULL, NULL),
('double precision', 'numeric', '2.5', NULL, NULL),
('double precision', 'real', 'NaN', NULL, NULL),
('text', 'mood', 'good', NULL, NULL),
('mood', 'text', 'good', NULL, NULL),
('mood', 'spirit', 'good', 'c::text::zdm_type_catalog.spirit', 'c::text::zdm_type_catalog.mood'),
('text', 'uuid', 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a12', NULL, NULL),
('uuid', 'text', 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a12', NULL, NULL),
('int[]', 'bigint[]', '{1,2}', NULL, NULL),
('text[]', 'int[]', '{1,2}', NULL, NULL),
('int', 'int[]', '7', 'ARRAY[c]', 'c[1]'),
('text', 'code', 'ab', 'c::zdm_type_catalog.code', 'c::text'),
('money', 'numeric', '1.50', 'c::numeric', 'c::money'),
('int', 'money', '7', 'c::money', 'c::numeric::int'),
('bytea', 'text', '\xdead', 'encode(c, ''hex'')', 'decode(c, ''hex'')'),
('text', 'bytea', 'ab', 'convert_to(c, ''UTF8'')', 'convert_from(c, ''UTF8'')'),
('text', 'inet', '127.0.0.1', NULL, NULL),
('inet', 'cidr', '10.0.0.0/8', NULL, NULL),
('int4range', 'int8range', '[1,5)', 'int8range(lower(c), upper(c))', 'int4range(lower(c)::int, upper(c)::int)'),
('interval', 'text', '1 day', 'c::text', 'c::interval'),
('boolean', 'int', 't', NULL, NULL),
('bit(4)', 'int', '1010', NULL, NULL),
('point', 'text', '(1,2)', 'c::text', 'c::point'),
('text', 'xid8', '1', NULL, NULL),
('varchar(10) COLLATE "C"', 'text', 'ab', NULL, 'c::varchar(10)'),
('int', 'varchar(12)', '7', NULL, 'c::int'),
('time', 'interval', '12:00:00', NULL, 'c::time'),
('text', 'tsvector', 'ab', NULL, 'c::text');

-- An index of its own where both types have an operator class for it.
CREATE FUNCTION indexed(types text[]) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('CREATE TABLE tried (a %s, b %s); CREATE INDEX ON tried (a, b); DROP TABLE tried', VARIADIC types);
    RETURN true;
EXCEPTION WHEN undefined_object THEN
    RETURN false;
END $$;

CREATE PROCEDURE build(p pair, t text) LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('CREATE TABLE %I (id int, c %s NOT NULL DEFAULT %L)', t, p.old_type, p.value);
    EXECUTE format('INSERT INTO %I (id) SELECT generate_series(1, 3)', t);
    EXECUTE format('ALTER TABLE %I ADD CONSTRAINT %I CHECK (c IS NOT NULL OR id > 0)', t, t || '_check');
    EXECUTE format('ALTER TABLE %I ALTER c SET STATISTICS 50', t);
    EXECUTE format('COMMENT ON COLUMN %I.c IS %L', t, 'the column');
    EXECUTE format('GRANT SELECT (c), UPDATE (c) ON %I TO regress_zdm_catalog_reader', t);
    EXECUTE format('CREATE INDEX %I ON %I (id) WHERE c IS NOT NULL', t || '_partial', t);
    EXECUTE format('CREATE INDEX %I ON %I (id) INCLUDE (c)', t || '_include', t);
    IF indexed(ARRAY[p.old_type, p.new_type]) THEN
        EXECUTE format('CREATE INDEX %I ON %I (c DESC NULLS LAST, id)', t || '_c', t);
        EXECUTE format('CREATE STATISTICS %I ON c, id FROM %I', t || '_stats', t);
    END IF;
END $$;

CREATE FUNCTION shape(t text) RETURNS SETOF text LANGUAGE sql AS $$
    SELECT regexp_replace(line, '\m' || t || '(\M|_)', 'TABLE\1', 'g') FROM (
        SELECT concat_ws(' ', 'column', attname, format_type(atttypid, atttypmod), attnotnull, attlen, attbyval, attalign, attcompression,
               attcollation::regcollation, attstattarget, regexp_replace(attacl::text, '/[^,}]*', '', 'g'), attislocal, attidentity, attgenerated, atthasdef,
               col_description(attrelid, attnum))
          FROM pg_attribute
         WHERE attrelid = t::regclass AND attnum > 0 AND NOT attisdropped
        UNION ALL SELECT concat_ws(' ', 'index', pg_get_indexdef(indexrelid), indisvalid, indcollation::regcollation[],
               ARRAY(SELECT opcname || ' ' || opcintype::regtype FROM unnest(indclass) WITH ORDINALITY u(o, i) JOIN pg_opclass c ON c.oid = u.o ORDER BY i), indoption)
          FROM pg_index WHERE indrelid = t::regclass
        UNION ALL SELECT concat_ws(' ', 'constraint', conname, pg_get_constraintdef(oid), convalidated)
          FROM pg_constraint WHERE conrelid = t::regclass AND contype <> 'n'
        UNION ALL SELECT 'statistics ' || pg_get_statisticsobjdef(oid) FROM pg_statistic_ext WHERE stxrelid = t::regclass) l(line) $$;

CREATE FUNCTION differ(a text, b text) RETURNS SETOF text LANGUAGE sql AS $$
    (SELECT '- ' || shape(a) EXCEPT ALL SELECT '- ' || shape(b)) UNION ALL (SELECT '+ ' || shape(b) EXCEPT ALL SELECT '+ ' || shape(a)) $$;

-- one table for zdm, one for a plain change, and one to compare a rollback with
\o /dev/null
\set ECHO none
SELECT format('CALL build(%L, %L)', p, t || n) FROM pair p, unnest(ARRAY['z', 'p', 'o']) t ORDER BY n, t
\gexec
SELECT zdm.change_column_type(('z' || n)::regclass, 'c', new_type, up, down, migration => 'z' || n) FROM pair ORDER BY n;
SELECT format('CALL zdm.backfill(%L)', migration) FROM zdm.status WHERE state = 'expanded' ORDER BY 1
\gexec
SELECT zdm.contract(migration, '1 day') FROM (SELECT migration FROM zdm.status ORDER BY created_at) s;
SELECT zdm.rollback(migration) FROM (SELECT migration FROM zdm.status WHERE pattern = 'change_column_type' ORDER BY created_at) s;
\set ECHO all
\o
SELECT count(*) FROM zdm.status;
SELECT n, old_type, new_type, d FROM pair, differ('o' || n, 'z' || n) d ORDER BY n, d;

\o /dev/null
\set ECHO none
SELECT zdm.change_column_type(('z' || n)::regclass, 'c', new_type, up, down, migration => 'z' || n) FROM pair ORDER BY n;
SELECT format('CALL zdm.backfill(%L)', migration) FROM zdm.status WHERE state = 'expanded' ORDER BY 1
\gexec
SELECT zdm.contract(migration, '0') FROM (SELECT migration FROM zdm.status ORDER BY created_at) s;
SELECT format('ALTER TABLE %I ALTER c DROP DEFAULT, ALTER c TYPE %s USING %s', 'p' || n, new_type, coalesce(up, 'c::' || new_type)) FROM pair ORDER BY n
\gexec
SELECT format('DO $do$ BEGIN EXECUTE format($f$ALTER TABLE %I ALTER c SET DEFAULT %%L$f$, (SELECT c::text FROM %1$I LIMIT 1)); END $do$', 'p' || n) FROM pair ORDER BY n
\gexec
SELECT format('INSERT INTO %I (id) VALUES (4)', t || n) FROM pair, unnest(ARRAY['z', 'p']) t ORDER BY n, t
\gexec
\set ECHO all
\o
-- a collation stays, which a plain change resets
SELECT n, old_type, new_type, d FROM pair, differ('p' || n, 'z' || n) d ORDER BY n, d;
-- and a default is what the conversion makes of it
CREATE FUNCTION default_of(t text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    value text;
BEGIN
    EXECUTE format('SELECT c::text FROM %I WHERE id = 4', t) INTO value;
    RETURN value;
END $$;
SELECT count(*), count(*) FILTER (WHERE default_of('z' || n) = default_of('p' || n)) AS same, count(to_regclass('z' || n || '_c')) AS with_index FROM pair;
SELECT count(*) FROM zdm.status;
SELECT count(*) FROM pg_class WHERE relname LIKE '~zdm%' OR relname LIKE '%~zdm%';

SET client_min_messages = error;
DROP SCHEMA zdm_type_catalog CASCADE;
DROP ROLE regress_zdm_catalog_reader;
