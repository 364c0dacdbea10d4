--
-- Names in any case, of any length, with anything in them: nothing that is
-- quoted wrongly, nothing that is cut wrongly.
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS zdm;
CREATE ROLE regress_zdm_names;
CREATE SCHEMA zdm_names AUTHORIZATION regress_zdm_names;
RESET client_min_messages;
SET SESSION AUTHORIZATION regress_zdm_names;
SET search_path = zdm_names;
\set VERBOSITY terse

SET client_min_messages = warning;

CREATE TABLE "Mixed Case" (id integer PRIMARY KEY, "Old Name" text);
INSERT INTO "Mixed Case" VALUES (1, 'x');
SELECT zdm.rename_column('"Mixed Case"', 'Old Name', 'New Name');

-- 63 bytes in all three places, some of them in characters of two bytes
SELECT repeat('t', 63) AS t63, repeat('o', 63) AS o63, repeat('ñ', 31) || 'n' AS n63 \gset
CREATE TABLE :t63 (id integer PRIMARY KEY, :o63 text);
INSERT INTO :t63 VALUES (1, 'x');
SELECT zdm.rename_column(:'t63', :'o63', :'n63');
SELECT octet_length(migration::text) FROM zdm.status WHERE relation = :'t63'::regclass;

-- two long names whose default names are the same once cut
CREATE TABLE :o63 (id integer PRIMARY KEY, x text, y text);
SELECT zdm.rename_column(:'o63', 'x', 'x1');
SELECT zdm.rename_column(:'o63', 'y', 'y1');
SELECT zdm.rename_column(:'o63', 'y', 'y1', migration => 'another');
SELECT zdm.rollback('another');
SELECT zdm.rollback(migration) FROM zdm.status WHERE relation = :'o63'::regclass;

-- quotes, backslash, newline, dollar quotes, format characters, statements
SELECT E'it''s "a" \\ table\n%s $$ %I; DROP TABLE victim; --' AS hostile,
       E'o''"l\\d\n%1$s $1' AS hostile_old,
       E'n''"e\\w\n$zdm$; SELECT 1/0; --' AS hostile_new \gset
CREATE TABLE victim ();
RESET SESSION AUTHORIZATION;
CREATE SCHEMA :"hostile" AUTHORIZATION regress_zdm_names;
CREATE SCHEMA zdm_names_2 AUTHORIZATION regress_zdm_names;
SET SESSION AUTHORIZATION regress_zdm_names;
SET search_path = zdm_names, :"hostile";
CREATE TABLE :"hostile".:"hostile" (id integer PRIMARY KEY, :"hostile_old" text DEFAULT E'de''fault\\');
INSERT INTO :"hostile" VALUES (1, 'x');
SELECT zdm.rename_column(to_regclass(quote_ident(:'hostile')), :'hostile_old', :'hostile_new', migration => :'hostile_new');

-- keywords and names of the server's own
CREATE TABLE "select" ("user" integer PRIMARY KEY, "from" text);
INSERT INTO "select" VALUES (1, 'x');
SELECT zdm.rename_column('"select"', 'from', 'where');
CREATE TABLE pg_class (id integer PRIMARY KEY, relname text);
INSERT INTO zdm_names.pg_class VALUES (1, 'x');
SELECT zdm.rename_column('zdm_names.pg_class', 'relname', 'oid', migration => 'own');

-- a name that is there in two schemas
CREATE TABLE twice (id integer, a text);
CREATE TABLE zdm_names_2.twice (id integer, a text);
INSERT INTO twice VALUES (1, 'x');
INSERT INTO zdm_names_2.twice VALUES (1, 'y');
SELECT zdm.rename_column('twice', 'a', 'b');
SELECT zdm.rename_column('zdm_names_2.twice', 'a', 'b');
SELECT zdm.rename_column('zdm_names_2.twice', 'a', 'b', migration => 'second');

INSERT INTO "Mixed Case" (id, "Old Name") VALUES (2, 'old');
INSERT INTO "Mixed Case" (id, "New Name") VALUES (3, 'new');
INSERT INTO :t63 (id, :o63) VALUES (2, 'old');
INSERT INTO :t63 (id, :n63) VALUES (3, 'new');
INSERT INTO :"hostile" (id, :"hostile_old") VALUES (2, 'old');
INSERT INTO :"hostile" (id, :"hostile_new") VALUES (3, 'new');
INSERT INTO :"hostile" (id) VALUES (4);
INSERT INTO "select" ("user", "where") VALUES (2, 'new');
INSERT INTO zdm_names.pg_class (id, oid) VALUES (2, 'new');
INSERT INTO zdm_names_2.twice (id, b) VALUES (2, 'new');

-- a quarantine on the way takes the names through a third one
SELECT format('CALL zdm.backfill(%L)', migration) FROM zdm.status ORDER BY migration COLLATE "C" \gexec
SELECT zdm.contract(migration, '1 day') FROM zdm.status;
INSERT INTO "Mixed Case" (id, "Old Name") VALUES (4, 'old');
INSERT INTO :t63 (id, :o63) VALUES (4, 'old');
INSERT INTO :"hostile" (id, :"hostile_old") VALUES (5, 'old');
SELECT zdm.verify(migration) FROM zdm.status ORDER BY migration COLLATE "C";
SELECT zdm.contract(migration, '0') FROM zdm.status;

SELECT * FROM "Mixed Case" ORDER BY id;
SELECT * FROM :t63 ORDER BY id;
SELECT * FROM :"hostile" ORDER BY id;
SELECT * FROM "select" ORDER BY "user";
SELECT * FROM zdm_names.pg_class ORDER BY id;
SELECT * FROM twice ORDER BY id;
SELECT * FROM zdm_names_2.twice ORDER BY id;
SELECT count(*) FROM victim;
SELECT count(*) FROM zdm.status;

RESET SESSION AUTHORIZATION;
SET client_min_messages = warning;
DROP SCHEMA zdm_names, zdm_names_2, :"hostile" CASCADE;
DROP ROLE regress_zdm_names;
