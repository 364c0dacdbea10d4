--
-- A column under two names without a copy: the table steps aside for a view.
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS zdm;
CREATE ROLE regress_zdm_rcv;
CREATE ROLE regress_zdm_rcv_reader;
CREATE SCHEMA zdm_rcv AUTHORIZATION regress_zdm_rcv;
GRANT USAGE ON SCHEMA zdm_rcv TO regress_zdm_rcv_reader;
RESET client_min_messages;
SET SESSION AUTHORIZATION regress_zdm_rcv;
SET search_path = zdm_rcv;
\set VERBOSITY terse

CREATE FUNCTION show() RETURNS TABLE (name name, kind "char", columns text)
LANGUAGE sql AS $$
SELECT c.relname, c.relkind, string_agg(a.attname, ', ' ORDER BY a.attnum)
  FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
 WHERE c.relnamespace = 'zdm_rcv'::regnamespace AND c.relkind IN ('r', 'p', 'v') GROUP BY c.oid ORDER BY 1 $$;

CREATE TABLE users (id integer PRIMARY KEY, name text NOT NULL, age integer DEFAULT 1);
CREATE INDEX users_name ON users (name);
INSERT INTO users VALUES (1, 'one'), (2, 'two');
CREATE TABLE orders (id integer PRIMARY KEY, user_id integer REFERENCES users);
CREATE VIEW names AS SELECT name FROM users;

SELECT zdm.rename_column('users', 'name', 'full_name', strategy => 'view');
SELECT * FROM show();
SELECT migration, pattern, relation, state, progress, next_command FROM zdm.status;

-- either name, in every clause
INSERT INTO users (id, name) VALUES (3, 'old');
INSERT INTO users (id, full_name) VALUES (4, 'new');
INSERT INTO users VALUES (5, 'by position', 5);
UPDATE users SET name = 'uno' WHERE full_name = 'one';
UPDATE users SET full_name = name || '!' WHERE name = 'two' RETURNING *;
INSERT INTO users (id, full_name) VALUES (3, 'upserted') ON CONFLICT (id) DO UPDATE SET full_name = EXCLUDED.full_name;
INSERT INTO users (id, name) VALUES (4, 'upserted') ON CONFLICT (id) DO UPDATE SET name = EXCLUDED.name || users.full_name;
DELETE FROM users WHERE full_name = 'by position';
SELECT * FROM users ORDER BY id;
SELECT * FROM names ORDER BY 1;
SELECT full_name FROM users WHERE id = 1 FOR UPDATE;
INSERT INTO orders VALUES (1, 1);
INSERT INTO orders VALUES (2, 9);
-- what it cannot do
UPDATE users SET name = 'a', full_name = 'b' WHERE id = 1;
INSERT INTO users (id, name, full_name) VALUES (9, 'a', 'b');
INSERT INTO users (id) VALUES (9);

-- the same call again, and others
SELECT zdm.rename_column('users', 'name', 'full_name', strategy => 'view');
SELECT zdm.rename_column('users', 'age', 'years');
SELECT zdm.rename_table('users', 'participants');
SELECT zdm.rename_column('users', 'name', 'full_name');

SELECT zdm.rollback('rename_users_name_to_full_name');
SELECT * FROM show();

SET client_min_messages = warning;
SELECT zdm.rename_column('users', 'name', 'full_name', strategy => 'view');
SELECT zdm.contract('rename_users_name_to_full_name');
SELECT * FROM show();
SELECT * FROM users ORDER BY id;
\d users
ALTER TABLE users RENAME full_name TO name;

-- with a quarantine everything waits for its end
SELECT zdm.rename_column('users', 'name', 'full_name', strategy => 'view');
SELECT zdm.contract('rename_users_name_to_full_name', '1 day');
INSERT INTO users (id, name) VALUES (10, 'late');
SELECT * FROM show();
SELECT zdm.rollback('rename_users_name_to_full_name');
SELECT * FROM show();
SELECT zdm.rename_column('users', 'name', 'full_name', strategy => 'view');
SELECT zdm.contract('rename_users_name_to_full_name', '1 day');
SELECT zdm.contract('rename_users_name_to_full_name', '0');
SELECT * FROM show();

-- a column with a default: neither name has one in the view, and the table's holds
CREATE TABLE defaults (id integer PRIMARY KEY, a text DEFAULT 'x', b integer DEFAULT 7);
SELECT zdm.rename_column('defaults', 'a', 'c', strategy => 'view');
INSERT INTO defaults (id) VALUES (1);
INSERT INTO defaults (id, a) VALUES (2, 'old');
INSERT INTO defaults (id, c) VALUES (3, 'new');
INSERT INTO defaults (id, a) VALUES (4, DEFAULT);
INSERT INTO defaults (id, c) VALUES (5, DEFAULT), (6, 'six');
INSERT INTO defaults (id, c) VALUES (7, NULL);
UPDATE defaults SET b = DEFAULT, c = 'set' WHERE id = 4;
SELECT * FROM defaults ORDER BY id;
-- straight to the table; through the view it would be NULL, as the warning said
UPDATE defaults SET c = DEFAULT WHERE id = 1 RETURNING id, a, c;
SELECT zdm.rollback('rename_defaults_a_to_c');

-- what cannot be renamed by rules can by a view: generated columns, partition keys
CREATE TABLE made (id integer PRIMARY KEY, twice integer GENERATED ALWAYS AS (id * 2) STORED);
SELECT zdm.rename_column('made', 'twice', 'double', strategy => 'view');
INSERT INTO made (id) VALUES (1);
INSERT INTO made (id, double) VALUES (2, DEFAULT);
SELECT * FROM made;
SELECT zdm.contract('rename_made_twice_to_double');
\d made
CREATE TABLE logs (day date, line text) PARTITION BY RANGE (day);
CREATE TABLE logs_20 PARTITION OF logs FOR VALUES FROM ('2020-01-01') TO ('2021-01-01');
CREATE TABLE logs_21 PARTITION OF logs FOR VALUES FROM ('2021-01-01') TO ('2022-01-01');
SELECT zdm.rename_column('logs', 'day', 'on_day', strategy => 'view');
INSERT INTO logs (day, line) VALUES ('2020-02-02', 'old');
INSERT INTO logs (on_day, line) VALUES ('2021-02-02', 'new');
UPDATE logs SET on_day = '2021-03-03' WHERE line = 'old';
SELECT * FROM logs ORDER BY day;
SELECT zdm.contract('rename_logs_day_to_on_day');
SELECT tableoid::regclass, * FROM logs ORDER BY on_day;
SELECT * FROM logs_21 ORDER BY on_day;

-- the name for the table that steps aside may be taken
CREATE TABLE "~zdm_made" (id integer);
CREATE TABLE "~zdm1_made" (id integer);
SELECT zdm.rename_column('made', 'id', 'no', strategy => 'view');
SELECT * FROM show() WHERE name LIKE '%made';
SELECT zdm.rollback('rename_made_id_to_no');
SELECT * FROM show() WHERE name LIKE '%made';
DROP TABLE "~zdm_made", "~zdm1_made";

-- refused, and why
CREATE DOMAIN label AS text DEFAULT 'none';
CREATE TABLE r (id integer, l label, parent integer);
CREATE TABLE child () INHERITS (r);
\set VERBOSITY default
SELECT zdm.rename_column('r', 'l', 'm', strategy => 'view');
SELECT zdm.rename_column('r', 'id', 'parent', strategy => 'view');
SELECT zdm.rename_column('r', 'nix', 'm', strategy => 'view');
SELECT zdm.rename_column('r', 'ctid', 'm', strategy => 'view');
SELECT zdm.rename_column('r', 'id', 'xmin', strategy => 'view');
SELECT zdm.rename_column('child', 'id', 'no', strategy => 'view');
SELECT zdm.rename_column('names', 'name', 'no', strategy => 'view');
SELECT zdm.rename_column('r', 'id', 'no', strategy => 'fast');
SET SESSION AUTHORIZATION regress_zdm_rcv_reader;
SELECT zdm.rename_column('zdm_rcv.r', 'id', 'no', strategy => 'view');
SET SESSION AUTHORIZATION regress_zdm_rcv;
\set VERBOSITY terse
SELECT zdm.rename_column('r', 'id', 'no', strategy => 'view');
SELECT * FROM child;
INSERT INTO child (id) VALUES (1);
SELECT id, no FROM r;
SELECT zdm.contract('rename_r_id_to_no');
SELECT * FROM child;

RESET SESSION AUTHORIZATION;
DROP SCHEMA zdm_rcv CASCADE;
DROP ROLE regress_zdm_rcv, regress_zdm_rcv_reader;
