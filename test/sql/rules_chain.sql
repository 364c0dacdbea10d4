--
-- Two rules in a chain, a to b to c: every combination of columns and values in
-- an INSERT and an UPDATE, in every pair of phases.  What holds afterwards is
-- computed here from what was written, not from the rules.
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS zdm;
CREATE ROLE regress_zdm_rules_chain;
CREATE SCHEMA zdm_rules_chain AUTHORIZATION regress_zdm_rules_chain;
GRANT EXECUTE ON FUNCTION zdm._sync_columns TO regress_zdm_rules_chain;
RESET client_min_messages;
SET SESSION AUTHORIZATION regress_zdm_rules_chain;
SET search_path = zdm_rules_chain;


\set VERBOSITY terse
SET client_min_messages = error;

CREATE TABLE combinations AS
    SELECT row_number() OVER (ORDER BY a, b, c) AS n, * FROM
        unnest('{-,NULL,''x'',''y''}'::text[]) a, unnest('{-,NULL,''x'',''y''}'::text[]) b, unnest('{-,NULL,''x!'',''y!''}'::text[]) c;
CREATE TABLE plain (id integer PRIMARY KEY, a text, b text, c text, n integer);
CREATE TABLE with_default (id integer PRIMARY KEY, a text DEFAULT 'd', b text, c text, n integer);
CREATE TABLE reversed (id integer PRIMARY KEY, a text, b text, c text, n integer);
SELECT zdm._sync_columns('plain', '{a}', '{b}', '{a}', '{b}', 'plain_1');
SELECT zdm._sync_columns('plain', '{b}', '{c}', ARRAY[$$b || '!'$$], ARRAY[$$rtrim(c, '!')$$], 'plain_2');
SELECT zdm._sync_columns('with_default', '{a}', '{b}', '{a}', '{b}', 'with_default_1');
SELECT zdm._sync_columns('with_default', '{b}', '{c}', ARRAY[$$b || '!'$$], ARRAY[$$rtrim(c, '!')$$], 'with_default_2');
-- the migration of the newer columns began first
SELECT zdm._sync_columns('reversed', '{b}', '{c}', ARRAY[$$b || '!'$$], ARRAY[$$rtrim(c, '!')$$], 'reversed_2');
SELECT zdm._sync_columns('reversed', '{a}', '{b}', '{a}', '{b}', 'reversed_1');

-- INSERT: the newest column that was given a value decides; where none was,
-- a NULL that was given; else the default
CREATE FUNCTION inserts(t regclass, OUT statement text, OUT a text, OUT b text, OUT c text, OUT wanted text)
RETURNS SETOF record LANGUAGE plpgsql AS $$
DECLARE
    m record;
BEGIN
    FOR m IN SELECT * FROM combinations ORDER BY n LOOP
        statement := format('INSERT INTO %s (id%s%s%s) VALUES (1%s%s%s)', t,
            CASE WHEN m.a <> '-' THEN ', a' END, CASE WHEN m.b <> '-' THEN ', b' END, CASE WHEN m.c <> '-' THEN ', c' END,
            CASE WHEN m.a <> '-' THEN ', ' || m.a END, CASE WHEN m.b <> '-' THEN ', ' || m.b END, CASE WHEN m.c <> '-' THEN ', ' || m.c END);
        wanted := coalesce(substring(m.c FROM '[xy]'), substring(m.b FROM '[xy]'), substring(m.a FROM '[xy]'),
                           CASE WHEN 'NULL' IN (m.a, m.b, m.c) THEN NULL WHEN t = 'with_default'::regclass THEN 'd' END);
        EXECUTE format('DELETE FROM %s', t);
        EXECUTE statement;
        EXECUTE format('SELECT a, b, c FROM %s', t) INTO a, b, c;
        IF a IS DISTINCT FROM wanted OR b IS DISTINCT FROM wanted OR c IS DISTINCT FROM wanted || '!' THEN
            RETURN NEXT;
        END IF;
    END LOOP;
END $$;

-- UPDATE of a row that is in all shapes: the newest column that has changed
CREATE FUNCTION updates(t regclass, before text, OUT statement text, OUT a text, OUT b text, OUT c text, OUT wanted text)
RETURNS SETOF record LANGUAGE plpgsql AS $$
DECLARE
    m record;
BEGIN
    FOR m IN SELECT * FROM combinations ORDER BY n LOOP
        statement := format('UPDATE %s SET n = 1%s%s%s', t,
            CASE WHEN m.a <> '-' THEN ', a = ' || m.a END, CASE WHEN m.b <> '-' THEN ', b = ' || m.b END,
            CASE WHEN m.c <> '-' THEN ', c = ' || m.c END);
        wanted := CASE WHEN m.c <> '-' AND substring(m.c FROM '[xy]') IS DISTINCT FROM before THEN substring(m.c FROM '[xy]')
                       WHEN m.b <> '-' AND substring(m.b FROM '[xy]') IS DISTINCT FROM before THEN substring(m.b FROM '[xy]')
                       WHEN m.a <> '-' AND substring(m.a FROM '[xy]') IS DISTINCT FROM before THEN substring(m.a FROM '[xy]')
                       ELSE before END;
        EXECUTE format('DELETE FROM %s', t);
        EXECUTE format('INSERT INTO %s (id, a) VALUES (1, %L)', t, before);
        EXECUTE statement;
        EXECUTE format('SELECT a, b, c FROM %s', t) INTO a, b, c;
        IF a IS DISTINCT FROM wanted OR b IS DISTINCT FROM wanted OR c IS DISTINCT FROM wanted || '!' THEN
            RETURN NEXT;
        END IF;
    END LOOP;
END $$;

CREATE FUNCTION check_all() RETURNS TABLE (statement text, before text, a text, b text, c text, wanted text) LANGUAGE sql AS $$
    SELECT i.statement, NULL, i.a, i.b, i.c, i.wanted
      FROM unnest('{plain,with_default,reversed}'::regclass[]) t, inserts(t) i
    UNION ALL
    SELECT u.statement, before, u.a, u.b, u.c, u.wanted
      FROM unnest('{plain,with_default,reversed}'::regclass[]) t, unnest('{x,NULL}'::text[]) before, updates(t, before) u
$$;
SELECT * FROM check_all();
CALL zdm.backfill('plain_1');
CALL zdm.backfill('with_default_2');
CALL zdm.backfill('reversed_1');
SELECT * FROM check_all();
CALL zdm.backfill('plain_2');
CALL zdm.backfill('with_default_1');
CALL zdm.backfill('reversed_2');
SELECT * FROM check_all();
SELECT zdm.contract('plain_1', '1 day'), zdm.contract('with_default_2', '1 day'), zdm.contract('reversed_2', '1 day');
SELECT * FROM check_all();
SELECT zdm.contract('plain_2', '1 day'), zdm.contract('with_default_1', '1 day'), zdm.contract('reversed_1', '1 day');
SELECT * FROM check_all();

RESET SESSION AUTHORIZATION;
SET client_min_messages = warning;
DROP SCHEMA zdm_rules_chain CASCADE;
REVOKE EXECUTE ON FUNCTION zdm._sync_columns FROM regress_zdm_rules_chain;
DROP ROLE regress_zdm_rules_chain;
