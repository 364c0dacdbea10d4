--
-- What the expressions of a migration in flight name has to stay, under its name:
-- else each write of the table would fail, and perhaps the way back.
--
SET client_min_messages = error;
CREATE EXTENSION IF NOT EXISTS zdm;
CREATE ROLE regress_zdm_names_owner;
CREATE ROLE regress_zdm_names_developer;
CREATE ROLE regress_zdm_names_stranger;
CREATE SCHEMA zdm_strange AUTHORIZATION regress_zdm_names_stranger;
GRANT CREATE ON DATABASE :"DBNAME" TO regress_zdm_names_owner;
SET SESSION AUTHORIZATION regress_zdm_names_owner;
CREATE SCHEMA zdm_names;
CREATE SCHEMA zdm_lib;
GRANT USAGE, CREATE ON SCHEMA zdm_lib TO regress_zdm_names_developer;
SET SESSION AUTHORIZATION regress_zdm_names_developer;
CREATE FUNCTION zdm_lib.spelled(int) RETURNS text LANGUAGE sql IMMUTABLE AS $$SELECT 'no. ' || $1$$;
CREATE FUNCTION zdm_lib.counted(text) RETURNS int LANGUAGE sql IMMUTABLE AS $$SELECT substr($1, 5)::int$$;
CREATE FUNCTION zdm_lib.unused(int) RETURNS text LANGUAGE sql IMMUTABLE AS $$SELECT ''$$;
CREATE OPERATOR zdm_lib.@@@ (FUNCTION = zdm_lib.unused, RIGHTARG = int);
SET SESSION AUTHORIZATION regress_zdm_names_owner;
SET search_path = zdm_names;
CREATE TYPE zdm_lib.mood AS ENUM ('bad', 'good');
CREATE DOMAIN zdm_lib.label AS text;
CREATE TABLE items (id int PRIMARY KEY, n int, mood text, label varchar(10), note text);
INSERT INTO items SELECT i, i, 'good', 'label', 'a note' FROM generate_series(1, 3) i;
SELECT zdm.change_column_type('items', 'n', 'text', 'zdm_lib.spelled(n)', 'zdm_lib.counted(n)', migration => 'n');
SELECT zdm.change_column_type('items', 'mood', 'zdm_lib.mood', 'CASE WHEN mood = ''good'' THEN ''good''::zdm_lib.mood ELSE ''bad'' END', 'mood::text', migration => 'mood');
SELECT zdm.change_column_type('items', 'label', 'zdm_lib.label', down => 'label::varchar(10)', migration => 'label');
SELECT zdm.split_column('items', 'note', '{"a": {"type": "text", "up": "OPERATOR(zdm_lib.@@@) id || note"}, "b": {"type": "text", "up": "note"}}', 'b', migration => 'note');
SELECT migration FROM zdm.status ORDER BY 1;

-- in each of the ways, by whoever may
SET SESSION AUTHORIZATION regress_zdm_names_developer;
DROP FUNCTION zdm_lib.spelled(int);
ALTER FUNCTION zdm_lib.counted(text) RENAME TO recounted;
ALTER ROUTINE zdm_lib.counted(text) RENAME TO recounted;
DROP OPERATOR zdm_lib.@@@ (NONE, int);
DROP FUNCTION zdm_lib.unused(int) CASCADE;
DROP OWNED BY regress_zdm_names_developer CASCADE;
SET SESSION AUTHORIZATION regress_zdm_names_owner;
ALTER TYPE zdm_lib.mood RENAME TO moods;
ALTER TYPE zdm_lib.mood SET SCHEMA zdm_names;
ALTER TYPE zdm_lib.mood RENAME VALUE 'good' TO 'best';
ALTER DOMAIN zdm_lib.label RENAME TO labels;
ALTER SCHEMA zdm_lib RENAME TO zdm_library;

-- what none of them names, or does not change a name, goes on
ALTER TYPE zdm_lib.mood ADD VALUE 'best';
ALTER SCHEMA zdm_names RENAME TO zdm_names_of;
ALTER SCHEMA zdm_names_of RENAME TO zdm_names;
CREATE FUNCTION another(int) RETURNS int LANGUAGE sql AS 'SELECT 1';
ALTER FUNCTION another(int) RENAME TO one;
DROP FUNCTION one(int);
CREATE TYPE pair AS (a int);
ALTER TYPE pair RENAME TO pairs;
DROP TYPE pairs;
SET SESSION AUTHORIZATION regress_zdm_names_stranger;
CREATE FUNCTION zdm_strange.f() RETURNS int LANGUAGE sql AS 'SELECT 1';
ALTER FUNCTION zdm_strange.f() RENAME TO g;
DROP FUNCTION zdm_strange.g();
SET SESSION AUTHORIZATION regress_zdm_names_developer;
CREATE OR REPLACE FUNCTION zdm_lib.spelled(int) RETURNS text LANGUAGE sql IMMUTABLE AS $$SELECT 'No. ' || $1$$;
ALTER FUNCTION zdm_lib.spelled(int) COST 5;
SET SESSION AUTHORIZATION regress_zdm_names_owner;

-- and so do the migrations, in a session that knows them and in another one
INSERT INTO items VALUES (4, 4, 'bad', 'x', 'y');
\c
SET SESSION AUTHORIZATION regress_zdm_names_owner;
SET search_path = zdm_names;
SET client_min_messages = error;
INSERT INTO items VALUES (5, 5, 'bad', 'x', 'y');
CALL zdm.backfill('n');
CALL zdm.backfill('mood');
CALL zdm.backfill('label');
CALL zdm.backfill('note');
SELECT zdm.contract(migration, '1 day') FROM (SELECT migration FROM zdm.status ORDER BY 1) s;
ALTER TYPE zdm_lib.mood RENAME TO moods;
ALTER DOMAIN zdm_lib.label RENAME TO labels;
SELECT zdm.rollback('mood'), zdm.rollback('note');
SELECT zdm.contract('n', '0'), zdm.contract('label', '0');
SELECT id, n, mood, label, note FROM items ORDER BY id;

-- afterwards nothing is in the way, and with the table all may go
ALTER TYPE zdm_lib.mood RENAME TO moods;
ALTER DOMAIN zdm_lib.label RENAME TO labels;
SET SESSION AUTHORIZATION regress_zdm_names_developer;
DROP OWNED BY regress_zdm_names_developer CASCADE;
SET SESSION AUTHORIZATION regress_zdm_names_owner;
CREATE FUNCTION spelled(text) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT 1';
SELECT zdm.change_column_type('items', 'n', 'int', 'spelled(n)', 'n::text', migration => 'n');
DROP SCHEMA zdm_lib CASCADE;
DROP SCHEMA zdm_names CASCADE;
SELECT count(*) FROM zdm.status;
RESET SESSION AUTHORIZATION;
DROP OWNED BY regress_zdm_names_owner, regress_zdm_names_stranger;
DROP ROLE regress_zdm_names_owner, regress_zdm_names_developer, regress_zdm_names_stranger;
