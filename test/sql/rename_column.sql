--
-- The life of a rename: what each call says, and what the table is like in
-- each phase.
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS zdm;
CREATE ROLE regress_zdm_rename_column;
CREATE SCHEMA zdm_rename_column AUTHORIZATION regress_zdm_rename_column;
RESET client_min_messages;
SET SESSION AUTHORIZATION regress_zdm_rename_column;
SET search_path = zdm_rename_column;


CREATE TABLE users (
    id integer PRIMARY KEY,
    name text NOT NULL DEFAULT 'nobody',
    age integer
);
INSERT INTO users (id, name) VALUES (1, 'ada'), (2, 'bob');

-- expand
SELECT zdm.rename_column('users', 'name', 'full_name');
\d users
SELECT migration, pattern, relation, state, progress, waiting_for, last_error,
       quarantine_until, next_command FROM zdm.status;

-- rows that are older than expand are not in the new shape yet
INSERT INTO users (id, name) VALUES (3, 'old');
INSERT INTO users (id, full_name) VALUES (4, 'new');
INSERT INTO users (id) VALUES (5);
UPDATE users SET age = 7 WHERE id = 2;
SELECT * FROM users ORDER BY id;

-- the same call again is no error, and does nothing
SELECT zdm.rename_column('users', 'name', 'full_name');

-- migrate
CALL zdm.backfill('rename_users_name_to_full_name');
SELECT * FROM users ORDER BY id;
SELECT migration, state, progress, next_command FROM zdm.status;
SELECT * FROM zdm.verify('rename_users_name_to_full_name');
CALL zdm.backfill('rename_users_name_to_full_name');

-- contract
SELECT zdm.contract('rename_users_name_to_full_name');
\d users
SELECT * FROM users ORDER BY id;
SELECT count(*) FROM zdm.status;
INSERT INTO users (id, full_name) VALUES (6, 'late');
INSERT INTO users (id, name) VALUES (7, 'too late');

-- what is left is the record
SELECT phase, step, description, sql, lock_mode, state FROM zdm.steps
 WHERE migration = 'rename_users_name_to_full_name' ORDER BY step;
SELECT level, event, detail, role FROM zdm.events
 WHERE migration = 'rename_users_name_to_full_name' ORDER BY id;

-- the same name may be used again, also the other way round
SELECT zdm.rename_column('users', 'full_name', 'name', migration => 'back');
CALL zdm.backfill('back');
SELECT zdm.contract('back');
SELECT zdm.rename_column('users', 'name', 'full_name');
SELECT zdm.rollback('rename_users_name_to_full_name');
\d users

RESET SESSION AUTHORIZATION;
SET client_min_messages = warning;
DROP SCHEMA zdm_rename_column CASCADE;
DROP ROLE regress_zdm_rename_column;
