--
-- The life of a merge: what each call says, what both versions' statements do
-- in each phase, and what the table is like.
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS zdm;
CREATE ROLE regress_zdm_merge_columns;
CREATE ROLE regress_zdm_merge_both;
CREATE ROLE regress_zdm_merge_one;
CREATE SCHEMA zdm_merge_columns AUTHORIZATION regress_zdm_merge_columns;
RESET client_min_messages;
SET SESSION AUTHORIZATION regress_zdm_merge_columns;
SET search_path = zdm_merge_columns;


CREATE TABLE users (id integer PRIMARY KEY, first_name text NOT NULL, last_name text, age integer);
GRANT SELECT (first_name, last_name) ON users TO regress_zdm_merge_both WITH GRANT OPTION;
GRANT SELECT (first_name) ON users TO regress_zdm_merge_one;
INSERT INTO users VALUES (1, 'Ada', 'Lovelace'), (2, 'Alan', 'Turing'), (3, 'Plato', NULL), (4, 'Grace', 'Hopper');

-- ROLLBACK leaves nothing
BEGIN;
SET LOCAL client_min_messages = warning;
SELECT zdm.merge_columns('users', '{first_name,last_name}', 'full_name', 'text', 'first_name || last_name',
    '{"first_name": "full_name", "last_name": "full_name"}');
INSERT INTO users (id, full_name) VALUES (9, 'in vain');
ROLLBACK;
\d users
SELECT count(*) FROM zdm.status;

-- expand; who may read one of the columns alone may not read what is made of both
SELECT zdm.merge_columns('users', '{first_name,last_name}', 'full_name', 'text',
    $$concat_ws(' ', first_name, last_name)$$,
    $${"first_name": "coalesce(split_part(full_name, ' ', 1), '')",
       "last_name": "nullif(substr(full_name, length(split_part(full_name, ' ', 1)) + 2), '')"}$$);
\d users
SELECT attname, attacl FROM pg_attribute WHERE attrelid = 'users'::regclass AND attnum > 0 ORDER BY attnum;
RESET SESSION AUTHORIZATION;
SELECT old_columns, new_columns, up, down FROM zdm.sync_rule;
SET SESSION AUTHORIZATION regress_zdm_merge_columns;
SELECT migration, pattern, relation, state, next_command FROM zdm.status;
\set VERBOSITY terse


-- rows that are not backfilled
UPDATE users SET first_name = 'Augusta' WHERE id = 1;
UPDATE users SET full_name = 'A. M. Turing' WHERE id = 2;
UPDATE users SET full_name = NULL WHERE id = 3;
UPDATE users SET age = 1 WHERE id = 4;
SELECT * FROM users ORDER BY id;

-- INSERT by the old version, in part, by the new, both, neither
INSERT INTO users (id, first_name, last_name) VALUES (11, 'Barbara', 'Liskov');
INSERT INTO users (id, first_name) VALUES (12, 'Cher');
INSERT INTO users (id, full_name) VALUES (13, 'Donald Ervin Knuth'), (14, NULL), (15, '');
INSERT INTO users (id, first_name, full_name) VALUES (16, 'lost', 'New Wins');
INSERT INTO users (id, first_name, last_name, full_name) VALUES (17, 'They', 'agree', 'They agree');
INSERT INTO users (id, last_name) VALUES (18, 'first_name is mandatory');
INSERT INTO users (id) VALUES (19);
SELECT * FROM users WHERE id > 10 ORDER BY id;

CALL zdm.backfill('merge_users_into_full_name');
SELECT * FROM zdm.verify('merge_users_into_full_name');

UPDATE users SET last_name = 'Hopper-Murray' WHERE id = 4;
UPDATE users SET full_name = 'Madonna' WHERE id = 11;
UPDATE users SET first_name = 'lost', full_name = 'Both Set' WHERE id = 12;
UPDATE users SET first_name = 'D.', last_name = 'K.' WHERE id = 13;
UPDATE users SET full_name = NULL WHERE id = 16;
UPDATE users SET age = 3 WHERE id = 16;
SELECT * FROM users ORDER BY id;

-- with a quarantine the old columns stay, in sync
PREPARE by_new(integer, text) AS UPDATE users SET full_name = $2 WHERE id = $1 RETURNING id, full_name;
EXECUTE by_new(1, 'Prepared Before');
SET client_min_messages = warning;
SELECT zdm.contract('merge_users_into_full_name', quarantine => '1 day');
RESET client_min_messages;
INSERT INTO users (id, first_name) VALUES (31, 'old');
INSERT INTO users (id, full_name) VALUES (32, 'New One');
UPDATE users SET last_name = 'Again' WHERE id = 32;
SELECT * FROM users WHERE id > 30 ORDER BY id;
-- rollback keeps what the new version wrote
UPDATE users SET full_name = 'Written In Quarantine' WHERE id = 1;
SELECT zdm.rollback('merge_users_into_full_name');
SELECT * FROM users ORDER BY id;
\d users

-- to the end, without a quarantine
SELECT zdm.merge_columns('users', '{first_name,last_name}', 'full_name', 'text',
    $$concat_ws(' ', first_name, last_name)$$,
    $${"first_name": "split_part(full_name, ' ', 1)", "last_name": "nullif(split_part(full_name, ' ', 2), '')"}$$,
    migration => 'merge');
CALL zdm.backfill('merge');
SELECT zdm.contract('merge');
\d users
EXECUTE by_new(1, 'Prepared Long Before');
SELECT * FROM users ORDER BY id;
SELECT tgname FROM pg_trigger WHERE tgrelid = 'users'::regclass;
SELECT phase, step, description, sql, lock_mode, state FROM zdm.steps
 WHERE migration = 'merge' ORDER BY step;

-- a range of two bounds; three columns to one, of other types
CREATE TABLE spans (id integer PRIMARY KEY, since date, until date, closed boolean NOT NULL DEFAULT false);
INSERT INTO spans (id, since, until) VALUES (1, '2026-01-01', '2026-02-01'), (2, NULL, NULL), (3, '2026-01-01', NULL);
SELECT zdm.merge_columns('spans', '{since,until,closed}', 'during', 'daterange',
    $$daterange(since, until, CASE WHEN closed THEN '[]' ELSE '[)' END)$$,
    $${"since": "lower(during)", "until": "upper(during)", "closed": "false"}$$);
INSERT INTO spans (id, during) VALUES (4, '[2026-05-01,2026-05-31]'), (5, NULL);
INSERT INTO spans (id, since) VALUES (6, '2026-06-01');
INSERT INTO spans (id) VALUES (7);
UPDATE spans SET until = '2026-07-01' WHERE id = 6;
UPDATE spans SET during = 'empty' WHERE id = 1;
CALL zdm.backfill('merge_spans_into_during');
SELECT * FROM spans ORDER BY id;
SELECT * FROM zdm.verify('merge_spans_into_during');
SELECT zdm.contract('merge_spans_into_during');
\d spans

-- split what was merged, and merge what was split: nothing is different
CREATE TABLE back (id integer PRIMARY KEY, a text, b text);
INSERT INTO back VALUES (1, 'x', 'y');
SELECT zdm.merge_columns('back', '{a,b}', 'c', 'text', $$a || '-' || b$$,
    $${"a": "split_part(c, '-', 1)", "b": "split_part(c, '-', 2)"}$$);
CALL zdm.backfill('merge_back_into_c');
SELECT zdm.contract('merge_back_into_c');
SELECT zdm.split_column('back', 'c',
    $${"a": {"type": "text", "up": "split_part(c, '-', 1)"}, "b": {"type": "text", "up": "split_part(c, '-', 2)"}}$$,
    $$a || '-' || b$$);
CALL zdm.backfill('split_back_c');
SELECT zdm.contract('split_back_c');
SELECT * FROM back;
\d back

-- what goes by a setting of the session is named, where the expression does not
-- say what that decides; the same of a split
CREATE TABLE moments (id integer PRIMARY KEY, day date, at time);
BEGIN;
SELECT zdm.merge_columns('moments', '{day,at}', 'moment', 'timestamptz', '(day + at)::timestamptz',
    $${"day": "moment::date", "at": "(moment AT TIME ZONE 'UTC')::time"}$$);
ROLLBACK;
SELECT zdm.merge_columns('moments', '{day,at}', 'moment', 'timestamptz', $$(day + at) AT TIME ZONE 'UTC'$$,
    $${"day": "(moment AT TIME ZONE 'UTC')::date", "at": "(moment AT TIME ZONE 'UTC')::time"}$$);
CALL zdm.backfill('merge_moments_into_moment');
SELECT zdm.contract('merge_moments_into_moment');
BEGIN;
SELECT zdm.split_column('moments', 'moment', $${"day": {"type": "date", "up": "moment::date"},
    "at": {"type": "time", "up": "(moment AT TIME ZONE 'UTC')::time"}}$$, '(day + at)::timestamptz');
ROLLBACK;

RESET SESSION AUTHORIZATION;
SET client_min_messages = warning;
DROP SCHEMA zdm_merge_columns CASCADE;
DROP ROLE regress_zdm_merge_columns, regress_zdm_merge_both, regress_zdm_merge_one;
