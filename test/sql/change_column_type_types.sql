--
-- More than forty changes of a type, with values at the edges, NULLs and TOASTed ones:
-- what the column holds in the end is what ALTER TABLE ... USING makes of a copy,
-- and what the new version writes comes back by down.
--
SET client_min_messages = error;
CREATE EXTENSION IF NOT EXISTS zdm;
CREATE SCHEMA zdm_change_types;
SET search_path = zdm_change_types;
SET TimeZone = 'America/New_York';
SET DateStyle = 'ISO, YMD';

CREATE TYPE mood AS ENUM ('bad', 'good');
CREATE TYPE spirit AS ENUM ('good', 'bad', 'ugly');
CREATE DOMAIN code AS text;
CREATE DOMAIN positive AS int CHECK (VALUE > 0);
CREATE FUNCTION long_text(n int) RETURNS text LANGUAGE sql AS
$$SELECT string_agg(md5(i::text), '') FROM generate_series(1, n) i$$;

CREATE TABLE pair (
    n int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    old_type text, new_type text,
    old_values text[],     -- what the old version writes
    new_values text[],     -- what the new version writes
    up text, down text);
INSERT INTO pair (old_type, new_type, old_values, new_values, up, down) VALUES
('int', 'bigint', '{0,-1,2147483647,-2147483648}', '{1,-2147483648}', NULL, NULL),
('smallint', 'int', '{32767,-32768,0}', '{-5}', NULL, NULL),
('bigint', 'int', '{2147483647,-7}', '{2147483647}', NULL, NULL),
('int', 'text', '{0,-12,2147483647}', '{17,"-3"}', NULL, NULL),
('text', 'int', '{0," 12 ","-2147483648"}', '{5}', NULL, NULL),
('text', 'jsonb', '{"{\"a\": 1}","[]","null"}', '{"{\"b\": [1, 2]}"}', NULL, NULL),
('jsonb', 'text', '{"{\"a\": 1}","[1]"}', '{"{\"x\": null}"}', NULL, NULL),
('json', 'jsonb', '{"{\"a\": 1, \"a\": 2}"}', '{"[true]"}', NULL, NULL),
('timestamp', 'timestamptz', '{2020-07-01 12:00,infinity,-infinity,2020-11-01 01:30}', '{2021-01-01 00:00+00}', 'c AT TIME ZONE ''UTC''', 'c AT TIME ZONE ''UTC'''),
('timestamptz', 'timestamp', '{2020-07-01 12:00+02,infinity}', '{2021-01-01 00:00}', 'c AT TIME ZONE ''Europe/Berlin''', 'c AT TIME ZONE ''Europe/Berlin'''),
('date', 'timestamp', '{2020-02-29,infinity,0044-03-15 BC}', '{2021-01-01 00:00}', NULL, NULL),
('varchar(10)', 'text', '{"","0123456789","ä €"}', '{"new"}', NULL, 'c::varchar(10)'),
('text', 'varchar(5)', '{"","12345"}', '{"ab"}', NULL, NULL),
('char(5)', 'text', '{"ab","12345"}', '{"x"}', NULL, NULL),
('text', 'char(8)', '{"ab",""}', '{"x"}', NULL, NULL),
('numeric(10,2)', 'numeric(12,4)', '{0.01,-99999999.99,NaN}', '{1.5,1.25}', NULL, NULL),
('numeric', 'numeric(6,1)', '{0.05,-0.05,99999.9}', '{1.5}', NULL, NULL),
('numeric', 'bigint', '{0.5,1.5,-2.5,9223372036854775807}', '{7}', NULL, NULL),
('int', 'numeric(12,2)', '{2147483647,-3}', '{7.00,7.49}', NULL, NULL),
('real', 'double precision', '{NaN,Infinity,-Infinity,-0,1e-37,3.4e38}', '{2.5,NaN}', NULL, NULL),
('double precision', 'numeric', '{NaN,0.1,1e15}', '{2.5}', NULL, NULL),
('double precision', 'real', '{NaN,0.5,-0}', '{2.5}', NULL, NULL),
('text', 'mood', '{good,bad}', '{bad}', NULL, NULL),
('mood', 'text', '{good,bad}', '{good}', NULL, NULL),
('mood', 'spirit', '{good,bad}', '{bad}', 'c::text::zdm_change_types.spirit', 'c::text::mood'),
('text', 'uuid', '{00000000-0000-0000-0000-000000000000,A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11}', '{a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a12}', NULL, NULL),
('uuid', 'text', '{ffffffff-ffff-ffff-ffff-ffffffffffff}', '{a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a12}', NULL, NULL),
('int[]', 'bigint[]', '{"{}","{1,NULL,3}","{{1,2},{3,4}}"}', '{"{7}"}', NULL, NULL),
('text[]', 'int[]', '{"{1,2}","{NULL}"}', '{"{3}"}', NULL, NULL),
('int', 'int[]', '{1,-1}', '{"{5}"}', 'ARRAY[c]', 'c[1]'),
('text', 'code', '{"","a"}', '{"b"}', NULL, NULL),
('positive', 'bigint', '{1,2147483647}', '{9}', NULL, NULL),
('money', 'numeric', '{1.50,-3.25}', '{2.75}', 'c::numeric', 'c::money'),
('int', 'money', '{100,-5}', '{7}', NULL, 'c::numeric::int'),
('bytea', 'text', '{"\\x","\\xdeadbeef"}', '{"00ff"}', 'encode(c, ''hex'')', 'decode(c, ''hex'')'),
('text', 'bytea', '{"abc",""}', '{"\\x6465"}', 'convert_to(c, ''UTF8'')', 'convert_from(c, ''UTF8'')'),
('text', 'inet', '{"127.0.0.1","::1/64"}', '{"10.0.0.0/8"}', NULL, NULL),
('inet', 'cidr', '{"10.1.2.3/8","::/0"}', '{"192.168.0.0/16"}', NULL, NULL),
('int4range', 'int8range', '{empty,"[1,5)","(,3]","(,)"}', '{"[7,9)"}', 'int8range(lower(c), upper(c), CASE WHEN isempty(c) THEN ''()'' WHEN lower_inc(c) THEN ''[)'' ELSE ''()'' END)', 'int4range(lower(c)::int, upper(c)::int, ''[)'')'),
('interval', 'text', '{"1 day","-3 mons","00:00:01"}', '{"2 days"}', NULL, 'c::interval'),
('boolean', 'int', '{t,f}', '{1,0}', NULL, NULL),
('bit(4)', 'int', '{1010,0000}', '{5}', NULL, NULL),
('point', 'text', '{"(1,2)"}', '{"(3,4)"}', 'c::text', 'c::point'),
('text', 'xid8', '{1}', '{2}', NULL, NULL);

-- What the migration says where it refuses, else its name.
CREATE FUNCTION expand(p pair) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    name text;
BEGIN
    SELECT zdm.change_column_type(format('p%s', p.n)::regclass, 'c', p.new_type, p.up, p.down, migration => 'p' || p.n) INTO name;
    RETURN name;
EXCEPTION WHEN OTHERS THEN
    RETURN SQLERRM;
END $$;

-- a table and a copy of it for each: half of the rows are older than expand
SELECT format('CREATE TABLE p%s (id int GENERATED ALWAYS AS IDENTITY, c %s)', n, old_type) FROM pair ORDER BY n \gexec
SELECT format('INSERT INTO p%s (c) SELECT v::%s FROM unnest(%L::text[]) WITH ORDINALITY u(v, i) WHERE i %% 2 = 1', n, old_type, old_values) FROM pair ORDER BY n \gexec
SELECT format('INSERT INTO p%s (c) VALUES (NULL)', n) FROM pair ORDER BY n \gexec
-- TOASTed values
INSERT INTO p6 (c) SELECT to_jsonb(long_text(500))::text;
INSERT INTO p31 (c) SELECT long_text(500);
INSERT INTO p36 (c) SELECT long_text(500);

CREATE TABLE result AS SELECT n, expand(pair) AS said FROM pair ORDER BY n;
SELECT n, old_type, new_type, said FROM pair JOIN result USING (n) WHERE said <> 'p' || n ORDER BY n;
DELETE FROM pair WHERE n IN (SELECT n FROM result WHERE said <> 'p' || n);

-- those that the server changed at once
SELECT n, old_type, new_type FROM pair JOIN zdm.status s ON s.migration = 'p' || n AND s.state = 'ready' ORDER BY n;

-- the old version goes on, under another time zone
SET TimeZone = 'Asia/Tokyo';
SELECT format('INSERT INTO p%s (c) SELECT v::%s FROM unnest(%L::text[]) WITH ORDINALITY u(v, i) WHERE i %% 2 = 0', n, old_type, old_values) FROM pair ORDER BY n \gexec
SELECT format('INSERT INTO p%s DEFAULT VALUES', n) FROM pair ORDER BY n \gexec
SELECT format('UPDATE p%s SET c = c WHERE id = 1', n) FROM pair ORDER BY n \gexec
SET TimeZone = 'America/New_York';
SELECT format('CREATE TABLE q%s AS SELECT id, c FROM p%1$s', n) FROM pair ORDER BY n \gexec

SELECT format('CALL zdm.backfill(%L)', 'p' || n) FROM pair JOIN zdm.status s ON s.migration = 'p' || n AND s.state = 'expanded' ORDER BY n \gexec
SELECT n, v.mismatches, v.sample FROM pair, LATERAL zdm.verify('p' || n) v WHERE v.mismatches > 0 ORDER BY n;

CREATE TABLE contracted AS SELECT n, zdm.contract('p' || n, '1 day') AS state FROM pair;
SELECT state, count(*) FROM contracted GROUP BY state;

-- the same as a plain ALTER TABLE makes, in every row
SELECT format('ALTER TABLE q%s ALTER c TYPE %s USING %s', n, new_type,
              coalesce(up, format('c::%s', new_type)))
  FROM pair ORDER BY n \gexec
CREATE FUNCTION differences(n int) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    found bigint;
BEGIN
    EXECUTE format('SELECT count(*) FROM (SELECT id, c::text FROM p%s EXCEPT SELECT id, c::text FROM q%1$s) x', n) INTO found;
    RETURN found;
END $$;
CREATE FUNCTION type_of(n int) RETURNS text LANGUAGE sql AS
$$SELECT format_type(atttypid, atttypmod) FROM pg_attribute WHERE attrelid = format('p%s', n)::regclass AND attname = 'c'$$;
CREATE FUNCTION rows_of(n int) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    found bigint;
BEGIN
    EXECUTE format('SELECT count(c) FROM p%s', n) INTO found;
    RETURN found;
END $$;
SELECT n, old_type, type_of(n), rows_of(n) AS values, differences(n) AS differ FROM pair ORDER BY n;

-- the new version writes; what the old one would see
DELETE FROM pair WHERE NOT EXISTS (SELECT FROM pg_attribute WHERE attrelid = format('p%s', n)::regclass AND attname = '~zdm_c');
SELECT format('INSERT INTO p%s (c) SELECT v::%s FROM unnest(%L::text[]) v', n, new_type, new_values) FROM pair ORDER BY n \gexec
SELECT format('UPDATE p%s SET c = NULL WHERE id = 1', n) FROM pair ORDER BY n \gexec
CREATE FUNCTION written(n int, many int) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    found text;
BEGIN
    EXECUTE format('SELECT string_agg(concat_ws('' <- '', "~zdm_c"::text, c::text), '', '' ORDER BY id) FROM'
                   ' (SELECT * FROM p%s ORDER BY id DESC LIMIT %s) x', n, many) INTO found;
    RETURN found;
END $$;
SELECT n, new_type, written(n, cardinality(new_values)) FROM pair ORDER BY n;
SELECT n, v.mismatches, v.sample FROM pair, LATERAL zdm.verify('p' || n) v WHERE v.mismatches > 0 ORDER BY n;

-- half of them go back, the others on
SELECT zdm.rollback('p' || n), count(*) FROM pair WHERE n % 2 = 0 GROUP BY 1;
SELECT zdm.contract('p' || n, '0'), count(*) FROM pair WHERE n % 2 = 1 GROUP BY 1;
SELECT string_agg(type_of(n), ', ' ORDER BY n) FROM pair WHERE n % 2 = 0;
SELECT count(*) FROM pg_attribute a JOIN pg_class r ON r.oid = a.attrelid WHERE r.relnamespace = 'zdm_change_types'::regnamespace AND attname LIKE '~zdm%';

-- xml, which has no equality, where the server has it
CREATE FUNCTION has_xml() RETURNS boolean LANGUAGE plpgsql AS
$$BEGIN PERFORM '<a/>'::xml; RETURN true; EXCEPTION WHEN feature_not_supported THEN RETURN false; END$$;
SELECT has_xml() AS has_xml \gset
\if :has_xml
CREATE TABLE px (id int, c text);
INSERT INTO px VALUES (1, '<a>1</a>'), (2, NULL), (3, '<long>' || long_text(500) || '</long>');
SELECT zdm.change_column_type('px', 'c', 'xml', 'XMLPARSE(DOCUMENT c)', 'c::text', migration => 'xml') AS name \gset
INSERT INTO px VALUES (4, '<b/>');
CALL zdm.backfill('xml');
SELECT sum(mismatches) AS xml_mismatches FROM zdm.verify('xml') \gset
SELECT zdm.contract('xml', '1 day') AS xml_state \gset
INSERT INTO px (id, c) VALUES (5, '<c/>');
UPDATE px SET c = '<d/>' WHERE id = 1;
SELECT string_agg(concat_ws(' <- ', left("~zdm_c", 12), left(c::text, 12)), ', ' ORDER BY id) AS xml_values FROM px \gset
SELECT zdm.rollback('xml') AS xml_state \gset
\else
\set xml_mismatches 0
\set xml_state rolled_back
\set xml_values '<d/> <- <d/>, , <long>c4ca42 <- <long>c4ca42, <b/> <- <b/>, <c/> <- <c/>'
\endif
SELECT :'xml_mismatches' AS mismatches, :'xml_state' AS state, :'xml_values' AS values;

-- a value that down cannot convert fails its statement, or becomes NULL
CREATE TABLE strict (id int, c int);
CREATE TABLE lenient (id int, c int);
SELECT zdm.change_column_type('strict', 'c', 'bigint');
SELECT zdm.change_column_type('lenient', 'c', 'bigint', on_down_error => 'null');
CALL zdm.backfill('change_strict_c_to_bigint');
CALL zdm.backfill('change_lenient_c_to_bigint');
SELECT zdm.contract('change_strict_c_to_bigint', '1 day');
SELECT zdm.contract('change_lenient_c_to_bigint', '1 day');
INSERT INTO strict (id, c) VALUES (1, 3000000000);
INSERT INTO lenient (id, c) VALUES (1, 3000000000), (2, 5);
SELECT id, "~zdm_c", c FROM lenient ORDER BY id;
SELECT mismatches FROM zdm.verify('change_lenient_c_to_bigint');

-- a sequence that has left the old type's range in the quarantine is at its end
CREATE TABLE numbered (n serial, down smallint GENERATED ALWAYS AS IDENTITY (INCREMENT -1 START -32767), note text);
INSERT INTO numbered (note) VALUES ('first');
SELECT zdm.change_column_type('numbered', 'n', 'bigint', migration => 'n');
SELECT zdm.change_column_type('numbered', 'down', 'int', migration => 'down');
CALL zdm.backfill('n');
CALL zdm.backfill('down');
SELECT zdm.contract('n', '1 day'), zdm.contract('down', '1 day');
SELECT setval('numbered_n_seq', 2147483647), setval('numbered_down_seq', -32768);
INSERT INTO numbered (note) VALUES ('too far');
INSERT INTO numbered (n, note) VALUES (5, 'too far');
SELECT zdm.rollback('n'), zdm.rollback('down');
SELECT sequencename, data_type, max_value, min_value FROM pg_sequences WHERE schemaname = 'zdm_change_types' AND sequencename ~ 'numbered' ORDER BY 1;
INSERT INTO numbered (note) VALUES ('last') RETURNING *;
INSERT INTO numbered (note) VALUES ('none');

-- text of a value is the same whoever writes, and loses no digit: the settings
-- are not those of the session
CREATE TABLE digits (id int, f float8, r real[], b bytea DEFAULT '\x0001');
INSERT INTO digits VALUES (1, 0.1::float8 + 0.2, '{1.1,0.30000004}', '\x00ff');
SET bytea_output = escape;
SELECT zdm.change_column_type('digits', 'f', 'text', migration => 'f');
SELECT zdm.change_column_type('digits', 'r', 'text', 'r::text', 'r::real[]', migration => 'r');
SELECT zdm.change_column_type('digits', 'b', 'text', migration => 'b');
SET extra_float_digits = 0;
INSERT INTO digits SELECT 2, f, r, b FROM digits;
INSERT INTO digits (id, f) VALUES (3, 1 / 3.0::float8);
SHOW extra_float_digits;
SELECT f::text FROM digits WHERE id = 3;
CALL zdm.backfill('f');
CALL zdm.backfill('r');
CALL zdm.backfill('b');
RESET extra_float_digits;
SELECT zdm.contract('b');
RESET bytea_output;
SELECT id, "~zdm_f", "~zdm_r", b FROM digits ORDER BY id;
SELECT migration, sum(mismatches) FROM (VALUES ('f'), ('r')) m(migration), zdm.verify(migration) GROUP BY 1 ORDER BY 1;

-- what goes by settings of the writer's is named, and nothing that does not
RESET client_min_messages;
\set VERBOSITY terse
CREATE TYPE feelings AS ENUM ('sad', 'glad');
CREATE TABLE moments (id int, at timestamptz, a text, n int, feeling feelings);
INSERT INTO moments VALUES (1, '2026-01-01 23:30+00', 'x', 1, 'sad');
CREATE FUNCTION named(expression text) RETURNS SETOF text LANGUAGE sql AS $$
    SELECT substring(description FROM 'what .* by (.*): two sessions') FROM zdm.explain(format(
        'zdm.change_column_type(%L, %L, %L, up => %L, down => %L)', 'moments', 'at', 'text', expression, 'timestamptz ''2026-01-01 00:00+00'''))
     WHERE phase = 'note' AND description ~ '^what (up|down) gives' $$;
SELECT e, named FROM (VALUES ('at::date::text'), ('at::text'), ('to_char(at, ''Dy'')'), ('concat(a, at)'), ('a || at'), ('a || current_date'),
    ('extract(year FROM at AT TIME ZONE ''UTC'') || a'), ('concat_ws('' '', a, n, feeling)'), ('a || n'), ('feeling::text'), ('upper(a)'))
    e(e) LEFT JOIN LATERAL named(e) ON true;
SELECT zdm.change_column_type('moments', 'at', 'date', up => 'at::date', down => 'at::timestamptz', migration => 'moments');
SELECT zdm.rollback('moments');
SELECT zdm.split_column('moments', 'at', '{"day": {"type": "date", "up": "at::date"}, "year": {"type": "int", "up": "extract(year FROM at AT TIME ZONE ''UTC'')"}}', $$day::timestamp AT TIME ZONE 'UTC'$$, migration => 'days');
SELECT zdm.rollback('days');

-- and who will not get along with an added column, or with the new type
CREATE TABLE items (id int PRIMARY KEY, part_of int, note text);
CREATE TABLE item_log (at timestamptz, id int, part_of int, note text);
CREATE FUNCTION log_item() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN INSERT INTO item_log SELECT now(), OLD.*; RETURN NULL; END$$;
CREATE FUNCTION compare_item() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF OLD.* IS DISTINCT FROM NEW.* OR (NEW.*) IS NOT DISTINCT FROM ROW(OLD.*) OR row( new . * ) is distinct
        from row (old.*) THEN NEW.note = 'changed';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER log AFTER UPDATE ON items FOR EACH ROW EXECUTE FUNCTION log_item();
CREATE TRIGGER compare BEFORE UPDATE ON items FOR EACH ROW EXECUTE FUNCTION compare_item();
CREATE FUNCTION item_keys() RETURNS TABLE (key int) LANGUAGE plpgsql AS $$BEGIN RETURN QUERY SELECT id FROM items; END$$;
CREATE FUNCTION item_parts() RETURNS SETOF int LANGUAGE plpgsql AS $$BEGIN RETURN  query SELECT i.part_of FROM items i; END$$;
CREATE FUNCTION wide_keys() RETURNS SETOF bigint LANGUAGE plpgsql AS $$BEGIN RETURN QUERY SELECT id::bigint FROM items; END$$;
CREATE FUNCTION one_key() RETURNS int LANGUAGE plpgsql AS $$BEGIN RETURN (SELECT min(id) FROM items); END$$;
SELECT zdm.change_column_type('items', 'id', 'bigint', migration => 'items');
SELECT zdm.rollback('items');
SELECT zdm.rename_column('items', 'note', 'notes', migration => 'items');
SELECT zdm.rollback('items');

SET client_min_messages = error;
DROP SCHEMA zdm_change_types CASCADE;
