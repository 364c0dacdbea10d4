--
-- INSERT into a table with two names of one column: which name the statement
-- used decides, and an explicit NULL is a value.  Before contract, when ready,
-- and in quarantine, where the names have changed columns.
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS zdm;
CREATE ROLE regress_zdm_row_sync_insert;
CREATE SCHEMA zdm_row_sync_insert AUTHORIZATION regress_zdm_row_sync_insert;
RESET client_min_messages;
SET SESSION AUTHORIZATION regress_zdm_row_sync_insert;
SET search_path = zdm_row_sync_insert;
\set VERBOSITY terse

SET client_min_messages = warning;

-- plain: may be NULL, no default; fallback: a default; strict: both, NOT NULL
CREATE TABLE plain (id integer PRIMARY KEY, a text);
CREATE TABLE fallback (id integer PRIMARY KEY DEFAULT 0, a text DEFAULT 'default');
CREATE TABLE strict (id integer PRIMARY KEY, a text NOT NULL DEFAULT 'default');
CREATE TABLE needed (id integer PRIMARY KEY, a text NOT NULL);
CREATE VIEW fallback_view AS SELECT a AS seen, id FROM fallback;

SELECT zdm.rename_column(t, 'a', 'b', migration => t::text)
  FROM unnest(ARRAY['plain', 'fallback', 'strict', 'needed']::regclass[]) t;

PREPARE old_insert(integer, text) AS INSERT INTO fallback (id, a) VALUES ($1, $2);
PREPARE new_insert(integer, text) AS INSERT INTO fallback (id, b) VALUES ($1, $2);

-- One run for each phase.  A row says in its id which statement wrote it.
CREATE FUNCTION write_plain() RETURNS SETOF plain LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM plain;
    INSERT INTO plain (id, a) VALUES (1, 'old'), (2, NULL);
    INSERT INTO plain (id, b) VALUES (3, 'new'), (4, NULL);
    INSERT INTO plain (id) VALUES (5);
    INSERT INTO plain (id, a, b) VALUES (6, 'same', 'same'), (7, 'lost', 'wins'), (8, NULL, 'wins');
    RETURN QUERY SELECT * FROM plain ORDER BY id;
END $$;

CREATE FUNCTION write_fallback() RETURNS SETOF fallback LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM fallback;
    INSERT INTO fallback (id, a) VALUES (1, 'old');
    INSERT INTO fallback (id, a) VALUES (2, NULL);
    INSERT INTO fallback (id, a) VALUES (3, DEFAULT);
    INSERT INTO fallback (id, b) VALUES (4, 'new');
    INSERT INTO fallback (id, b) VALUES (5, NULL);
    INSERT INTO fallback (id, b) VALUES (6, DEFAULT);
    INSERT INTO fallback (id) VALUES (7);
    INSERT INTO fallback (id, a, b) VALUES (8, 'lost', 'wins');
    INSERT INTO fallback (id, a) VALUES (9, 'old'), (10, NULL), (11, DEFAULT);
    INSERT INTO fallback (id, b) VALUES (12, 'new'), (13, NULL), (14, DEFAULT);
    INSERT INTO fallback (id, a) SELECT 15, NULL;
    INSERT INTO fallback (id, b) SELECT 16, NULL;
    INSERT INTO fallback_view (id, seen) VALUES (17, 'view');
    INSERT INTO fallback_view (id, seen) VALUES (18, NULL);
    INSERT INTO fallback_view (id) VALUES (19);
    WITH w AS (INSERT INTO fallback (id, b) VALUES (20, 'with') RETURNING id)
    INSERT INTO fallback (id, b) SELECT id + 1, NULL FROM w;
    WITH w AS (INSERT INTO fallback (id, a) VALUES (22, 'old') RETURNING id)
    INSERT INTO fallback (id, b) SELECT id + 1, 'new' FROM w;
    EXECUTE 'INSERT INTO fallback (id, b) VALUES ($1, $2)' USING 24, 'dynamic';
    EXECUTE 'INSERT INTO fallback (id, b) VALUES ($1, $2)' USING 25, NULL::text;
    RETURN QUERY SELECT * FROM fallback ORDER BY id;
END $$;

CREATE FUNCTION write_strict() RETURNS SETOF strict LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM strict;
    INSERT INTO strict (id, a) VALUES (1, 'old'), (2, DEFAULT);
    INSERT INTO strict (id, b) VALUES (3, 'new'), (4, DEFAULT);
    INSERT INTO strict (id) VALUES (5);
    INSERT INTO strict (id, a, b) VALUES (6, 'lost', 'wins');
    RETURN QUERY SELECT * FROM strict ORDER BY id;
END $$;

CREATE FUNCTION write_needed() RETURNS SETOF needed LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM needed;
    INSERT INTO needed (id, a) VALUES (1, 'old');
    INSERT INTO needed (id, b) VALUES (2, 'new');
    INSERT INTO needed (id, a, b) VALUES (3, 'lost', 'wins');
    RETURN QUERY SELECT * FROM needed ORDER BY id;
END $$;

SELECT id, a, b FROM write_plain();
SELECT id, a, b FROM write_fallback();
SELECT id, a, b FROM write_strict();
SELECT id, a, b FROM write_needed();

-- what the column demands holds for both names
INSERT INTO needed (id, a) VALUES (4, NULL);
INSERT INTO needed (id, b) VALUES (4, NULL);
INSERT INTO needed (id) VALUES (4);
INSERT INTO strict (id, a) VALUES (7, NULL);
INSERT INTO strict (id, b) VALUES (7, NULL);

-- the same as statements of the client's
DELETE FROM fallback;
EXECUTE old_insert(1, 'old');
EXECUTE old_insert(2, NULL);
EXECUTE new_insert(3, 'new');
EXECUTE new_insert(4, NULL);
INSERT INTO fallback DEFAULT VALUES;
INSERT INTO fallback VALUES (5);
INSERT INTO fallback VALUES (6, 'positional');
INSERT INTO fallback VALUES (7, 'lost', 'wins');
INSERT INTO fallback (b, id) VALUES ('returned', 8) RETURNING *;
INSERT INTO fallback (a, id) VALUES (NULL, 9) RETURNING *;
WITH w AS (INSERT INTO fallback (id, b) VALUES (10, NULL) RETURNING *) SELECT * FROM w;
INSERT INTO fallback SELECT id + 100, a FROM fallback WHERE id = 1;
INSERT INTO fallback SELECT id + 100, a, b FROM fallback WHERE id = 3;
SELECT id, a, b FROM fallback ORDER BY id;

-- COPY
DELETE FROM fallback;
COPY fallback (id, a) FROM stdin;
1	old
2	\N
\.
COPY fallback (id, b) FROM stdin;
3	new
4	\N
\.
COPY fallback (id) FROM stdin;
5
\.
-- all columns, as a dump has them: a row that is not backfilled there
COPY fallback FROM stdin;
6	same	same
7	kept	\N
8	\N	kept
9	\N	\N
\.
SELECT id, a, b FROM fallback ORDER BY id;

-- a statement that writes the same table twice, each time under another name
DELETE FROM fallback;
WITH w AS (INSERT INTO fallback (id, a) VALUES (1, 'old')),
     x AS (INSERT INTO fallback (id, b) VALUES (2, 'new'))
INSERT INTO fallback (id) VALUES (3);
SELECT id, a, b FROM fallback ORDER BY id;

-- when all rows are in both shapes
DELETE FROM plain; DELETE FROM fallback; DELETE FROM strict; DELETE FROM needed;
CALL zdm.backfill('plain');
CALL zdm.backfill('fallback');
CALL zdm.backfill('strict');
CALL zdm.backfill('needed');
SELECT id, a, b FROM write_plain();
SELECT id, a, b FROM write_fallback();
SELECT id, a, b FROM write_strict();
SELECT id, a, b FROM write_needed();

-- in quarantine, where b is the original and a the copy
SELECT zdm.contract(t, '1 day') FROM unnest(ARRAY['plain', 'fallback', 'strict', 'needed']) t;
SELECT id, a, b FROM write_plain();
SELECT id, a, b FROM write_fallback();
SELECT id, a, b FROM write_strict();
SELECT id, a, b FROM write_needed();
INSERT INTO needed (id, a) VALUES (4, NULL);
INSERT INTO needed (id, b) VALUES (4, NULL);
INSERT INTO needed (id) VALUES (4);
INSERT INTO strict (id, a) VALUES (7, NULL);
INSERT INTO strict (id, b) VALUES (7, NULL);
COPY fallback (id, a) FROM stdin;
101	old
102	\N
\.
COPY fallback (id, b) FROM stdin;
103	new
104	\N
\.
EXECUTE old_insert(105, 'prepared');
EXECUTE new_insert(106, 'prepared');
SELECT id, a, b FROM fallback WHERE id > 100 ORDER BY id;
SELECT c.* FROM zdm.status s, zdm.verify(s.migration) c ORDER BY c.relation::text COLLATE "C";

RESET SESSION AUTHORIZATION;
SET client_min_messages = warning;
DROP SCHEMA zdm_row_sync_insert CASCADE;
DROP ROLE regress_zdm_row_sync_insert;
