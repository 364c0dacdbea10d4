--
-- Every statement, under either name and in every phase, does what the same
-- statement does to a table without a migration: the same rows, or the same error.
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS zdm;
CREATE ROLE regress_zdm_same_as_plain;
CREATE SCHEMA zdm_same_as_plain AUTHORIZATION regress_zdm_same_as_plain;
RESET client_min_messages;
SET SESSION AUTHORIZATION regress_zdm_same_as_plain;
SET search_path = zdm_same_as_plain;
\set VERBOSITY terse

SET client_min_messages = error;

CREATE DOMAIN checked AS text CHECK (VALUE <> 'bad');
CREATE FUNCTION volatile_default() RETURNS text LANGUAGE sql VOLATILE AS $$ SELECT 'drawn'::text $$;

-- definitions of the column, each for a plain table and one with a migration
CREATE TABLE definitions (n integer PRIMARY KEY, definition text);
INSERT INTO definitions VALUES
    (1, 'text'), (2, 'text NOT NULL'), (3, 'text DEFAULT ''default'''), (4, 'text NOT NULL DEFAULT ''default'''),
    (5, 'text DEFAULT volatile_default()'), (6, 'text NOT NULL DEFAULT volatile_default()'),
    (7, 'text CHECK (a <> ''bad'')'), (8, 'text CHECK (a IS NOT NULL) DEFAULT ''default'''), (9, 'character varying(4)'),
    (10, 'checked'), (11, 'checked DEFAULT ''good'''), (12, 'text UNIQUE'), (13, 'text NOT NULL UNIQUE DEFAULT ''default'''),
    (14, 'text DEFAULT NULL'), (15, 'character(4) DEFAULT ''ab'''), (16, 'text DEFAULT current_user'),
    (17, 'text UNIQUE DEFERRABLE INITIALLY DEFERRED'), (18, 'text REFERENCES allowed ON UPDATE CASCADE'),
    (19, 'text DEFAULT ''bad'' CHECK (a <> ''bad'')');
CREATE TABLE allowed (a text PRIMARY KEY);
INSERT INTO allowed VALUES ('base'), ('one'), ('x'), ('y'), ('base!'), ('default');
-- what is written: T is the table, C the column; from a table that holds
-- (0, 'base') and (1, 'one')
CREATE TABLE statements (n integer GENERATED ALWAYS AS IDENTITY, statement text, reads boolean DEFAULT false);
INSERT INTO statements (statement) VALUES
    ('INSERT INTO T (id, C) VALUES (5, ''x'')'), ('INSERT INTO T (id, C) VALUES (5, NULL)'), ('INSERT INTO T (id, C) VALUES (5, DEFAULT)'),
    ('INSERT INTO T (id, C) VALUES (5, ''bad'')'), ('INSERT INTO T (id, C) VALUES (5, ''much too long'')'),
    ('INSERT INTO T (id, C) VALUES (5, '''')'), ('INSERT INTO T (id, C) VALUES (5, ''base'')'),
    ('INSERT INTO T (C, id) VALUES (''x'', 5), (''y'', 6)'), ('INSERT INTO T (id, C) VALUES (5, NULL), (6, NULL)'),
    ('INSERT INTO T (id, C) VALUES (5, ''x''), (6, NULL)'), ('INSERT INTO T (id, C) VALUES (5, DEFAULT), (6, ''y'')'),
    ('INSERT INTO T (id) VALUES (5)'), ('INSERT INTO T (id, n) SELECT 5, 6'), ('INSERT INTO T DEFAULT VALUES'),
    ('INSERT INTO T (id, C) SELECT 5, ''x'''), ('INSERT INTO T (id, C) SELECT 5, NULL'),
    ('INSERT INTO T (id, C, n) SELECT id + 10, C || ''!'', 7 FROM T WHERE id = 0'),
    ('INSERT INTO T (id, C) VALUES (0, ''x'') ON CONFLICT (id) DO UPDATE SET C = EXCLUDED.C'),
    ('INSERT INTO T (id, C) VALUES (0, NULL) ON CONFLICT (id) DO UPDATE SET C = EXCLUDED.C'),
    ('INSERT INTO T (id) VALUES (0) ON CONFLICT (id) DO UPDATE SET C = EXCLUDED.C'),
    ('INSERT INTO T (id, C) VALUES (0, ''x'') ON CONFLICT (id) DO UPDATE SET n = 5'),
    ('INSERT INTO T (id, C) VALUES (0, ''x''), (5, ''y'') ON CONFLICT (id) DO UPDATE SET C = T.C || ''!'''),
    ('INSERT INTO T (id, C) VALUES (0, ''x'') ON CONFLICT DO NOTHING'), ('INSERT INTO T (id, C) VALUES (5, ''base'') ON CONFLICT DO NOTHING'),
    ('WITH w AS (INSERT INTO T (id, C) VALUES (5, ''x'') RETURNING *) INSERT INTO T (id, C) SELECT id + 1, NULL FROM w'),
    ('WITH w AS (INSERT INTO T (id, C) VALUES (5, ''x'') RETURNING id, C) UPDATE T SET C = ''y'' FROM w WHERE T.id = 1'),
    ('UPDATE T SET C = ''x'''), ('UPDATE T SET C = ''x'' WHERE id = 0'), ('UPDATE T SET C = NULL WHERE id = 0'),
    ('UPDATE T SET C = DEFAULT WHERE id = 0'), ('UPDATE T SET C = ''bad'' WHERE id = 0'), ('UPDATE T SET C = ''much too long'' WHERE id = 0'),
    ('UPDATE T SET C = ''base'' WHERE id = 0'), ('UPDATE T SET n = 1'), ('UPDATE T SET (n, C) = (1, ''x'') WHERE id = 0'),
    ('UPDATE T SET (n, C) = (SELECT 1, NULL) WHERE id = 0'), ('DELETE FROM T WHERE id = 0'),
    ('MERGE INTO T USING (VALUES (0, ''x''), (5, ''y'')) v (id, v) ON T.id = v.id '
     'WHEN MATCHED THEN UPDATE SET C = v.v WHEN NOT MATCHED THEN INSERT (id, C) VALUES (v.id, v.v)'),
    ('MERGE INTO T USING (VALUES (0), (5)) v (id) ON T.id = v.id '
     'WHEN MATCHED THEN UPDATE SET C = NULL WHEN NOT MATCHED THEN INSERT (id, C) VALUES (v.id, NULL)'),
    ('MERGE INTO T USING (VALUES (0), (5)) v (id) ON T.id = v.id '
     'WHEN MATCHED THEN UPDATE SET n = 9 WHEN NOT MATCHED THEN INSERT (id) VALUES (v.id)'),
    ('MERGE INTO T USING (VALUES (0)) v (id) ON T.id = v.id WHEN MATCHED THEN DELETE');
INSERT INTO statements (statement, reads) VALUES
    ('UPDATE T SET C = C', true), ('UPDATE T SET C = C || ''!'' WHERE id = 0', true), ('UPDATE T SET n = 1 WHERE C = ''base''', true),
    ('UPDATE T SET n = length(C), C = upper(C)', true), ('DELETE FROM T WHERE C = ''base''', true),
    ('INSERT INTO T (id, C) SELECT id + 10, C FROM T WHERE C = ''base''', true);

DO $$
DECLARE
    d definitions;
    t text;
BEGIN
    FOR d IN SELECT * FROM definitions LOOP
        FOREACH t IN ARRAY ARRAY['plain_' || d.n, 'renamed_' || d.n] LOOP
            EXECUTE format('CREATE TABLE %I (id integer PRIMARY KEY DEFAULT 99, a %s, n integer)', t, d.definition);
            EXECUTE format('INSERT INTO %I (id, a) VALUES (0, ''base''), (1, ''one'')', t);
        END LOOP;
        PERFORM zdm.rename_column(t::regclass, 'a', 'b', migration => 'm' || d.n);
    END LOOP;
END $$;

-- The rows after the statement, or its error, under both names; nothing of it
-- stays.  settled: bring the rows into both shapes first.
CREATE FUNCTION after(statement text, t text, name text, settled boolean, OUT a text, OUT b text) LANGUAGE plpgsql AS $$
BEGIN
    IF settled THEN
        EXECUTE format('UPDATE %I SET id = id', t);
    END IF;
    EXECUTE regexp_replace(regexp_replace(statement, '\mT\M', t, 'g'), '\mC\M', name, 'g');
    SET CONSTRAINTS ALL IMMEDIATE;
    EXECUTE format('SELECT string_agg(concat_ws('' '', id, coalesce(quote_literal(a), ''-''), n), ''; '' ORDER BY id),
                           string_agg(concat_ws('' '', id, coalesce(quote_literal(%I), ''-''), n), ''; '' ORDER BY id) FROM %I',
                   CASE WHEN t LIKE 'plain%' THEN 'a' ELSE 'b' END, t) INTO a, b;
    RAISE division_by_zero;
EXCEPTION
    WHEN division_by_zero THEN
        NULL;
    WHEN OTHERS THEN
        a := SQLSTATE;
        b := SQLSTATE;
END $$;

CREATE TABLE results (phase text, definition integer, name text, statement integer, wanted text, a text, b text);
-- a statement that reads a row under the new name has to wait for the backfill
CREATE FUNCTION compare(phase text, settled boolean) RETURNS bigint LANGUAGE sql AS $$
    INSERT INTO results
    SELECT phase, d.n, name, s.n, plain.a, renamed.a, renamed.b
      FROM definitions d, unnest(ARRAY['a', 'b']) name, statements s,
           after(s.statement, 'plain_' || d.n, 'a', false) plain,
           after(s.statement, 'renamed_' || d.n, name, settled) renamed
     WHERE settled OR name = 'a' OR NOT (s.reads OR s.statement ~ '\mC \|\|');
    SELECT count(*) FROM results r WHERE r.phase = compare.phase;
$$;
SELECT compare('expanded', true);
SELECT compare('not backfilled', false);
\set ECHO errors
SELECT format('CALL zdm.backfill(%L)', migration) FROM zdm.status ORDER BY migration COLLATE "C" \gexec
\set ECHO all
SELECT compare('ready', true);
SELECT count(zdm.contract(migration, '1 day')) FROM zdm.status;
SELECT compare('contracted', true);

SELECT count(DISTINCT wanted) > 50 AS outcomes, count(*) FILTER (WHERE wanted ~ '^[0-9A-Z]{5}$') > 500 AS errors FROM results;

-- what differs: nothing, where the copy can have the default that the column has
SELECT r.phase, d.definition, r.name, s.statement, r.wanted, r.a, r.b
  FROM results r JOIN definitions d ON d.n = r.definition JOIN statements s ON s.n = r.statement
 WHERE (r.wanted IS DISTINCT FROM r.a OR (r.phase <> 'not backfilled' AND r.wanted IS DISTINCT FROM r.b))
   AND NOT (d.definition ~ 'volatile' AND s.statement ~ 'DEFAULT|NULL'
            AND r.name = CASE r.phase WHEN 'contracted' THEN 'a' ELSE 'b' END)
 ORDER BY r.phase, r.definition, r.name, r.statement;

RESET SESSION AUTHORIZATION;
SET client_min_messages = warning;
DROP SCHEMA zdm_same_as_plain CASCADE;
DROP ROLE regress_zdm_same_as_plain;
