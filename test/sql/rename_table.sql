--
-- A table under two names: the life of rename_table, by either strategy.
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS zdm;
CREATE ROLE regress_zdm_table;
CREATE ROLE regress_zdm_table_reader;
CREATE SCHEMA zdm_table AUTHORIZATION regress_zdm_table;
CREATE SCHEMA zdm_archive AUTHORIZATION regress_zdm_table;
RESET client_min_messages;
SET SESSION AUTHORIZATION regress_zdm_table;
SET search_path = zdm_table;
\set VERBOSITY terse

CREATE TABLE users (id serial PRIMARY KEY, name text NOT NULL DEFAULT 'nobody', age integer);
CREATE INDEX users_name_idx ON users (name);
COMMENT ON TABLE users IS 'the users';
COMMENT ON COLUMN users.name IS 'what we call them';
GRANT SELECT, INSERT ON users TO regress_zdm_table_reader;
INSERT INTO users (name) VALUES ('one'), ('two');

CREATE FUNCTION show() RETURNS TABLE (name name, kind "char", owner name, options text[], reader text, comment text)
LANGUAGE sql AS $$
SELECT c.relname, c.relkind, pg_get_userbyid(c.relowner), c.reloptions, (SELECT string_agg(x.privilege_type, ',' ORDER BY 1) FROM aclexplode(c.relacl) x WHERE x.grantee = 'regress_zdm_table_reader'::regrole),
       obj_description(c.oid, 'pg_class')
  FROM pg_class c WHERE c.relnamespace IN ('zdm_table'::regnamespace, 'zdm_archive'::regnamespace)
   AND c.relkind IN ('r', 'v') ORDER BY 1 $$;

-- strategy view: the table has the new name at once, and a view the old one
SELECT zdm.rename_table('users', 'participants');
SELECT * FROM show();
SELECT migration, pattern, relation, state, progress, next_command FROM zdm.status;
INSERT INTO users (name) VALUES ('old');
INSERT INTO participants (name) VALUES ('new');
UPDATE users SET age = 7 WHERE name = 'new';
UPDATE participants SET age = 8 WHERE name = 'old';
DELETE FROM users WHERE name = 'one' RETURNING *;
SELECT * FROM users ORDER BY id;
SELECT * FROM participants ORDER BY id;
-- the same call again, another one of that name, and one for the same table
SELECT zdm.rename_table('users', 'participants');
SELECT zdm.rename_table('users', 'people', migration => 'rename_users_to_participants');
SELECT zdm.rename_table('users', 'people');
-- nothing to do, nothing to compare
SELECT zdm.start('rename_users_to_participants');
SELECT * FROM zdm.verify('rename_users_to_participants');
SELECT zdm.rollback('rename_users_to_participants');
SELECT * FROM show();

-- to the end
SET client_min_messages = warning;
SELECT zdm.rename_table('users', 'participants');
SELECT zdm.contract('rename_users_to_participants');
SELECT * FROM show();
SELECT * FROM users;
ALTER TABLE participants RENAME TO users;

-- with a quarantine the view stays
SELECT zdm.rename_table('users', 'participants');
SELECT zdm.contract('rename_users_to_participants', '1 day');
SELECT count(*) FROM show() WHERE kind = 'v';
INSERT INTO users (name) VALUES ('late');
SELECT zdm.rollback('rename_users_to_participants');
SELECT name FROM users ORDER BY id;
SELECT zdm.rename_table('users', 'participants');
SELECT zdm.contract('rename_users_to_participants', '1 day');
SELECT zdm.contract('rename_users_to_participants', '0');
SELECT name, kind FROM show();
ALTER TABLE participants RENAME TO users;

-- strategy view_first: the view has the new name until contract
RESET client_min_messages;
SELECT zdm.rename_table('users', 'participants', 'view_first');
SELECT name, kind FROM show();
INSERT INTO users (name) VALUES ('old');
INSERT INTO participants (name) VALUES ('new');
SELECT id, name FROM users ORDER BY id;
SELECT zdm.rollback('rename_users_to_participants');
SELECT name, kind FROM show();
SET client_min_messages = warning;
SELECT zdm.rename_table('users', 'participants', 'view_first');
SELECT zdm.contract('rename_users_to_participants');
SELECT name, kind FROM show();
ALTER TABLE participants RENAME TO users;
SELECT zdm.rename_table('users', 'participants', 'view_first');
SELECT zdm.contract('rename_users_to_participants', '1 day');
SELECT name, kind FROM show();
INSERT INTO users (name) VALUES ('late');
INSERT INTO participants (name) VALUES ('later');
SELECT zdm.rollback('rename_users_to_participants');
SELECT name, kind FROM show();
SELECT zdm.rename_table('users', 'participants', 'view_first');
SELECT zdm.contract('rename_users_to_participants', '1 day');
SELECT zdm.contract('rename_users_to_participants', '0');
SELECT name, kind FROM show();
SELECT name FROM participants ORDER BY id;

-- nothing is left
SELECT count(*) FROM zdm.status;
SELECT proname FROM pg_proc WHERE pronamespace = 'zdm_table'::regnamespace ORDER BY 1;
SELECT count(*) FROM pg_cast c JOIN pg_type t ON t.oid = c.casttarget WHERE t.typnamespace = 'zdm_table'::regnamespace;

RESET SESSION AUTHORIZATION;
DROP SCHEMA zdm_table, zdm_archive CASCADE;
DROP ROLE regress_zdm_table, regress_zdm_table_reader;
