--
-- What rename_table refuses, and what it tells before anything is done.
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS zdm;
CREATE ROLE regress_zdm_rtr;
CREATE ROLE regress_zdm_rtr_other;
CREATE ROLE regress_zdm_rtr_group;
GRANT regress_zdm_rtr_group TO regress_zdm_rtr_other;
CREATE SCHEMA zdm_rtr AUTHORIZATION regress_zdm_rtr;
CREATE SCHEMA zdm_rtr_2 AUTHORIZATION regress_zdm_rtr;
CREATE SCHEMA zdm_rtr_closed;
GRANT USAGE ON SCHEMA zdm_rtr_closed, zdm_rtr, zdm_rtr_2 TO regress_zdm_rtr, regress_zdm_rtr_other, regress_zdm_rtr_group;
RESET client_min_messages;
SET SESSION AUTHORIZATION regress_zdm_rtr;
SET search_path = zdm_rtr;

CREATE TABLE users (id serial PRIMARY KEY, name text CONSTRAINT users_name_key UNIQUE);
CREATE TABLE taken (id integer);
CREATE TYPE mood AS ENUM ('good');
CREATE VIEW view AS SELECT * FROM taken;
CREATE MATERIALIZED VIEW mat AS SELECT * FROM taken;
CREATE SEQUENCE seq;
CREATE TEMP TABLE temporary (id integer);

-- names
SELECT zdm.rename_table('users', 'taken');
SELECT zdm.rename_table('users', 'mood');
SELECT zdm.rename_table('users', 'users');
SELECT zdm.rename_table('users', 'seq');
SELECT zdm.rename_table('users', 'no_such_schema.users');
SELECT zdm.rename_table('users', 'regression.zdm_rtr.users');
SELECT zdm.rename_table('users', '');
SELECT zdm.rename_table('users', '"');
SELECT zdm.rename_table('users', 'a b');
SELECT zdm.rename_table('users', repeat('x', 64));
SELECT zdm.rename_table('users', NULL);
SELECT zdm.rename_table('users', 'people', 'fast');
SELECT zdm.rename_table('users', 'people', migration => repeat('x', 64));
SELECT zdm.rename_table(NULL, 'people');
-- what is named after the table
ALTER TABLE taken ADD CONSTRAINT people_name_key UNIQUE (id);
SELECT zdm.rename_table('users', 'people', rename_owned => true);
SET client_min_messages = error;
ALTER TABLE taken DROP CONSTRAINT people_name_key;
SELECT zdm.rename_table('users', 'people', rename_owned => true);
CREATE SEQUENCE people_id_seq;
SELECT zdm.contract('rename_users_to_people');
SELECT sql FROM zdm.explain('zdm.contract(''rename_users_to_people'')');
SELECT zdm.rollback('rename_users_to_people');
DROP SEQUENCE people_id_seq;
RESET client_min_messages;
-- column privileges, with which the view has the owner's rights
GRANT SELECT (id) ON taken TO regress_zdm_rtr_other;
REVOKE DELETE ON taken FROM regress_zdm_rtr;
SELECT zdm.rename_table('taken', 'people');
REVOKE SELECT (id) ON taken FROM regress_zdm_rtr_other;
GRANT DELETE ON taken TO regress_zdm_rtr;
-- kinds
CREATE TABLE nothing ();
SELECT zdm.rename_table('nothing', 'people');
SELECT zdm.rename_table('view', 'people');
SELECT zdm.rename_table('mat', 'people');
SELECT zdm.rename_table('seq', 'people');
SELECT zdm.rename_table('temporary', 'people');
SELECT zdm.rename_table('pg_catalog.pg_class', 'people');
-- rights
SELECT zdm.rename_table('users', 'zdm_rtr_closed.users');
SET SESSION AUTHORIZATION regress_zdm_rtr_other;
SELECT zdm.rename_table('zdm_rtr.users', 'people');
RESET SESSION AUTHORIZATION;
ALTER TABLE zdm_rtr.taken OWNER TO regress_zdm_rtr_other;
SET SESSION AUTHORIZATION regress_zdm_rtr_other;
SELECT zdm.rename_table('zdm_rtr.taken', 'people');
RESET SESSION AUTHORIZATION;
GRANT CREATE ON SCHEMA zdm_rtr TO regress_zdm_rtr_other;
ALTER TABLE zdm_rtr.taken OWNER TO regress_zdm_rtr_group;
SET SESSION AUTHORIZATION regress_zdm_rtr_other;
SELECT zdm.rename_table('zdm_rtr.taken', 'people');
RESET SESSION AUTHORIZATION;
-- a member of the owner's, and a superuser: the view is the owner's
GRANT CREATE ON SCHEMA zdm_rtr TO regress_zdm_rtr_group;
\set VERBOSITY terse
SET client_min_messages = warning;
SET SESSION AUTHORIZATION regress_zdm_rtr_other;
SELECT zdm.rename_table('zdm_rtr.taken', 'people');
SELECT relname, relkind, pg_get_userbyid(relowner) FROM pg_class WHERE relname IN ('taken', 'people') ORDER BY 1;
SELECT zdm.rollback('rename_taken_to_people');
RESET SESSION AUTHORIZATION;
REVOKE CREATE ON SCHEMA zdm_rtr FROM regress_zdm_rtr_group;
SELECT zdm.rename_table('zdm_rtr.taken', 'people', 'view_first');
SELECT relname, relkind, pg_get_userbyid(relowner) FROM pg_class WHERE relname IN ('taken', 'people') ORDER BY 1;
SELECT DISTINCT pg_get_userbyid(proowner) FROM pg_proc WHERE proname = '~zdm_row';
SET SESSION AUTHORIZATION regress_zdm_rtr;
SELECT zdm.contract('rename_taken_to_people');
RESET SESSION AUTHORIZATION;
GRANT CREATE ON SCHEMA zdm_rtr TO regress_zdm_rtr_group;
SET SESSION AUTHORIZATION regress_zdm_rtr_other;
SELECT zdm.contract('rename_taken_to_people', '1 day');
SELECT relname, relkind, pg_get_userbyid(relowner) FROM pg_class WHERE relname IN ('taken', 'people') ORDER BY 1;
SELECT zdm.rollback('rename_taken_to_people');
SET SESSION AUTHORIZATION regress_zdm_rtr;
\set VERBOSITY default

-- row security and column privileges do not go together
GRANT SELECT (id) ON users TO regress_zdm_rtr_other;
ALTER TABLE users ENABLE ROW LEVEL SECURITY;
SELECT zdm.rename_table('users', 'people');
SELECT zdm.rename_column('users', 'name', 'full_name', strategy => 'view');
ALTER TABLE users DISABLE ROW LEVEL SECURITY;
REVOKE SELECT (id) ON users FROM regress_zdm_rtr_other;
-- two migrations of one table
SELECT zdm.rename_column('users', 'name', 'full_name');
SELECT zdm.rename_table('users', 'people');
SELECT zdm.rollback('rename_users_name_to_full_name');
-- a transaction that is rolled back, or only reads
BEGIN;
SELECT zdm.rename_table('users', 'people');
ROLLBACK;
SELECT relname, relkind FROM pg_class WHERE relname IN ('users', 'people');
BEGIN READ ONLY;
SELECT zdm.rename_table('users', 'people');
COMMIT;

-- what is told before: all of it
\set VERBOSITY terse
\pset format unaligned
SELECT phase, description, sql, lock_mode, blocks FROM zdm.explain($$zdm.rename_table('users', 'people')$$);
SET zdm.quarantine = '1d';
SELECT phase, description, sql, lock_mode FROM zdm.explain($$zdm.rename_table('users', 'zdm_rtr_2.people', 'view_first')$$) WHERE phase <> 'note';
RESET zdm.quarantine;
SELECT relname, relkind FROM pg_class WHERE relname IN ('users', 'people');

-- what concerns the table is a warning
CREATE FUNCTION audit() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE NOTICE ''%'', TG_TABLE_NAME; RETURN NEW; END';
CREATE TRIGGER audit BEFORE INSERT ON users FOR EACH ROW EXECUTE FUNCTION audit();
CREATE FUNCTION mentions() RETURNS bigint LANGUAGE sql AS 'SELECT count(*) FROM users';
CREATE FUNCTION qualifies() RETURNS bigint LANGUAGE plpgsql AS 'BEGIN RETURN (SELECT count(*) FROM zdm_rtr.users); END';
CREATE FUNCTION knows() RETURNS bigint LANGUAGE sql BEGIN ATOMIC SELECT count(*) FROM users; END;
RESET SESSION AUTHORIZATION;
CREATE PUBLICATION regress_zdm_rtr FOR TABLE zdm_rtr.users;
SET SESSION AUTHORIZATION regress_zdm_rtr;
SET client_min_messages = warning;
SELECT zdm.rename_table('users', 'zdm_rtr_2.people');
SELECT zdm.rollback('rename_users_to_zdm_rtr_2_people');
RESET SESSION AUTHORIZATION;
DROP PUBLICATION regress_zdm_rtr;

-- a table that a subscription writes, and whose columns have privileges of their own
SET client_min_messages = error;
CREATE SUBSCRIPTION regress_zdm_rtr CONNECTION 'dbname=nowhere' PUBLICATION nothing WITH (connect = false, slot_name = NONE);
SET allow_system_table_mods = on;
INSERT INTO pg_subscription_rel (srsubid, srrelid, srsubstate)
    SELECT oid, 'zdm_rtr.users'::regclass, 'r' FROM pg_subscription WHERE subname = 'regress_zdm_rtr';
RESET allow_system_table_mods;
SET SESSION AUTHORIZATION regress_zdm_rtr;
GRANT SELECT (name) ON users TO regress_zdm_rtr_other;
SELECT phase, description FROM zdm.explain($$zdm.rename_table('users', 'people')$$) WHERE description ~ 'subscription|of their own';
SET client_min_messages = warning;
SELECT zdm.rename_table('users', 'people');
SELECT zdm.rollback('rename_users_to_people');
REVOKE SELECT (name) ON users FROM regress_zdm_rtr_other;
RESET SESSION AUTHORIZATION;
SET client_min_messages = error;
DROP SUBSCRIPTION regress_zdm_rtr;
SET client_min_messages = warning;
SET SESSION AUTHORIZATION regress_zdm_rtr;
DROP FUNCTION mentions, qualifies, audit CASCADE;

-- across schemas, and back; the table may find its name taken on the way
CREATE FUNCTION show() RETURNS TABLE (schema regnamespace, name name, kind "char") LANGUAGE sql AS $$
SELECT relnamespace::regnamespace, relname, relkind FROM pg_class
 WHERE relnamespace IN ('zdm_rtr'::regnamespace, 'zdm_rtr_2'::regnamespace) AND relkind IN ('r', 'v', 'S')
   AND relname ~ 'users|people' ORDER BY relname, relnamespace::regnamespace::text COLLATE "C" $$;
SELECT zdm.rename_table('users', 'zdm_rtr_2.users');
INSERT INTO zdm_rtr.users (name) VALUES ('a');
INSERT INTO zdm_rtr_2.users (name) VALUES ('b');
SELECT * FROM show();
SELECT zdm.rollback('rename_users_to_zdm_rtr_2_users');
SELECT * FROM show();
CREATE TABLE people (id integer);
SELECT zdm.rename_table('users', 'zdm_rtr_2.people', 'view_first');
SELECT * FROM show();
SELECT zdm.contract('rename_users_to_zdm_rtr_2_people', '1 day');
SELECT * FROM show();
SELECT zdm.rollback('rename_users_to_zdm_rtr_2_people');
SELECT * FROM show();
CREATE TABLE zdm_rtr_2.users (id integer);
SELECT zdm.rename_table('users', 'zdm_rtr_2.people');
SELECT * FROM show();
SELECT zdm.contract('rename_users_to_zdm_rtr_2_people');
DROP TABLE people;
SELECT pg_get_expr(adbin, adrelid) FROM pg_attrdef WHERE adrelid = 'zdm_rtr_2.people'::regclass;
ALTER TABLE zdm_rtr_2.people SET SCHEMA zdm_rtr;
ALTER TABLE people RENAME TO users;
DROP TABLE zdm_rtr_2.users;

-- what is named after the table
CREATE INDEX users_lower ON users (lower(name));
CREATE INDEX other_lower ON users (upper(name));
ALTER TABLE users ADD CONSTRAINT users_check CHECK (name <> ''), ADD CONSTRAINT check_users CHECK (name <> ' '),
    ADD parent integer, ADD n integer GENERATED BY DEFAULT AS IDENTITY;
ALTER TABLE users ADD FOREIGN KEY (parent) REFERENCES users (id);
CREATE FUNCTION owned() RETURNS TABLE (name name) LANGUAGE sql AS $$
SELECT relname FROM pg_class WHERE relnamespace = 'zdm_rtr'::regnamespace AND relkind IN ('i', 'S') AND relname ~ 'users|people|other'
UNION SELECT conname FROM pg_constraint WHERE connamespace = 'zdm_rtr'::regnamespace AND contype <> 'n' AND conname ~ 'users|people' ORDER BY 1 $$;
SELECT * FROM owned();
SELECT zdm.rename_table('users', 'people', rename_owned => true);
SELECT zdm.rename_table('users', 'people');
SELECT count(*) FROM owned() WHERE name ~ '^people';
SELECT zdm.contract('rename_users_to_people');
SELECT * FROM owned();
INSERT INTO people (name) VALUES ('works');
SELECT zdm.rename_table('people', 'users', 'view_first', rename_owned => true);
SELECT zdm.contract('rename_people_to_users', '1 day');
SELECT count(*) FROM owned() WHERE name ~ '^people';
SELECT zdm.contract('rename_people_to_users', '0');
SELECT count(*) FROM owned() WHERE name ~ '^people';

-- names that need quotes, of 63 bytes, of many letters, of keywords
CREATE TABLE "My ""Table""" ("select" integer PRIMARY KEY, "a ""b"" 'c'" text DEFAULT 'it''s', "ÄÖ" integer, "$1" text);
SELECT zdm.rename_table('"My ""Table"""', '"SELECT"', migration => 'm');
INSERT INTO "My ""Table""" ("select", "ÄÖ", "$1") VALUES (1, 2, 'x');
SELECT * FROM "SELECT";
CREATE FUNCTION whole("SELECT") RETURNS text LANGUAGE sql AS 'SELECT $1::text';
SELECT whole(m) FROM "My ""Table""" m;
ALTER TABLE "SELECT" ADD COLUMN "x;y" text DEFAULT $$'; DROP TABLE users; --$$;
SELECT "x;y" FROM "My ""Table""";
SELECT zdm.contract('m');
SELECT zdm.rename_column('"SELECT"', 'a "b" ''c''', E'new\nline', strategy => 'view', migration => 'm');
UPDATE "SELECT" SET "new
line" = 'set';
SELECT zdm.rollback('m');
SELECT zdm.rename_table('"SELECT"', repeat('ä', 31), 'view_first', migration => 'm');
SELECT zdm.contract('m');
SELECT zdm.rename_table(repeat('ä', 31)::regclass, repeat('x', 63));
SELECT zdm.rollback(migration) FROM zdm.status;
SELECT zdm.rename_column(repeat('ä', 31)::regclass, 'ÄÖ', 'ö', strategy => 'view', migration => 'm');
SELECT octet_length(relname) FROM pg_class WHERE relname LIKE '~zdm%';
SELECT zdm.contract('m');

DROP TABLE temporary;
RESET SESSION AUTHORIZATION;
SELECT count(*) FROM zdm.status;
SET client_min_messages = error;
DROP SCHEMA zdm_rtr, zdm_rtr_2, zdm_rtr_closed CASCADE;
DROP ROLE regress_zdm_rtr, regress_zdm_rtr_other, regress_zdm_rtr_group;
