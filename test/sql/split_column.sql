--
-- The life of a split: what each call says, what both versions' statements do
-- in each phase, and what the table is like.
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS zdm;
CREATE ROLE regress_zdm_split_column;
CREATE ROLE regress_zdm_split_reader;
CREATE SCHEMA zdm_split_column AUTHORIZATION regress_zdm_split_column;
GRANT USAGE ON SCHEMA zdm_split_column TO regress_zdm_split_reader;
RESET client_min_messages;
SET SESSION AUTHORIZATION regress_zdm_split_column;
SET search_path = zdm_split_column;


CREATE TABLE users (id integer PRIMARY KEY, name text NOT NULL, age integer);
GRANT SELECT (name), UPDATE (name) ON users TO regress_zdm_split_reader;
INSERT INTO users VALUES (1, 'Ada Lovelace'), (2, 'Alan Turing'), (3, 'Plato'), (4, ''),
    (5, 'Grace Hopper'), (6, 'Edsger Dijkstra'), (7, 'Tony Hoare'), (8, 'Niklaus Wirth');

SELECT phase, description, sql FROM zdm.explain($$zdm.split_column('users', 'name',
    '{"first_name": {"type": "text", "up": "nullif(split_part(name, '' '', 1), '''')"},
      "last_name": {"type": "varchar(40)", "up": "nullif(split_part(name, '' '', 2), '''')"}}',
    'concat_ws('' '', first_name, last_name)')$$);

-- expand
SELECT zdm.split_column('users', 'name',
    '{"first_name": {"type": "text", "up": "nullif(split_part(name, '' '', 1), '''')"},
      "last_name": {"type": "varchar(40)", "up": "nullif(split_part(name, '' '', 2), '''')"}}',
    'concat_ws('' '', first_name, last_name)');
\d users
SELECT attname, attacl FROM pg_attribute WHERE attrelid = 'users'::regclass AND attnum > 0 ORDER BY attnum;
RESET SESSION AUTHORIZATION;
SELECT old_columns, new_columns, up, down FROM zdm.sync_rule;
SET SESSION AUTHORIZATION regress_zdm_split_column;
SELECT migration, pattern, relation, state, next_command FROM zdm.status;

-- the same call again is no error; with other expressions it is one
SELECT zdm.split_column('users', 'name',
    '{"last_name": {"up": "nullif(split_part(name, '' '', 2), '''')", "type": "varchar(40)"},
      "first_name": {"type": "text", "up": "nullif(split_part(name, '' '', 1), '''')"}}',
    'concat_ws('' '', first_name, last_name)');
SELECT zdm.split_column('users', 'name',
    '{"first_name": {"type": "text", "up": "name"}, "last_name": {"type": "varchar(40)", "up": "name"}}',
    'first_name');
\set VERBOSITY terse


-- rows that are not backfilled: a statement that gives a part of the new side
-- is as if they were
UPDATE users SET first_name = 'Augusta' WHERE id = 1;
UPDATE users SET last_name = NULL WHERE id = 2;
UPDATE users SET last_name = 'of Athens' WHERE id = 3;
UPDATE users SET first_name = 'nobody' WHERE id = 4;
UPDATE users SET first_name = 'G.', name = 'lost' WHERE id = 5;
UPDATE users SET first_name = NULL, last_name = NULL WHERE id = 6;
UPDATE users SET age = 1 WHERE id = 7;
UPDATE users SET first_name = first_name WHERE id = 8;
SELECT * FROM users ORDER BY id;

-- INSERT by the old version, by the new, in part, both, neither
INSERT INTO users (id, name) VALUES (11, 'Barbara Liskov'), (12, 'Cher');
INSERT INTO users (id, first_name, last_name) VALUES (13, 'Donald', 'Knuth'), (14, NULL, NULL);
INSERT INTO users (id, first_name) VALUES (15, 'Madonna');
INSERT INTO users (id, last_name) VALUES (16, 'Lamport');
INSERT INTO users (id, name, first_name) VALUES (17, 'both given', 'wins');
INSERT INTO users (id, name, first_name, last_name) VALUES (18, 'They agree', 'They', 'agree');
INSERT INTO users (id) VALUES (19);
SELECT * FROM users WHERE id > 10 ORDER BY id;

CALL zdm.backfill('split_users_name');
SELECT * FROM zdm.verify('split_users_name');
SELECT * FROM users ORDER BY id;

-- UPDATE, when the rows are filled
UPDATE users SET name = 'Leslie Lamport' WHERE id = 16;
UPDATE users SET first_name = 'Cherilyn' WHERE id = 12;
UPDATE users SET last_name = 'Sarkisian' WHERE id = 12;
UPDATE users SET last_name = NULL WHERE id = 11;
UPDATE users SET name = 'lost', last_name = 'Louise' WHERE id = 15;
UPDATE users SET name = 'x y', first_name = 'x', last_name = 'y' WHERE id = 18;
UPDATE users SET first_name = NULL, last_name = NULL WHERE id = 13;
UPDATE users SET age = 2 WHERE id = 13;
UPDATE users SET name = name WHERE id = 17;
INSERT INTO users (id, first_name) VALUES (17, 'again') ON CONFLICT (id) DO UPDATE SET first_name = excluded.first_name;
INSERT INTO users (id, name) VALUES (18, 'new name') ON CONFLICT (id) DO UPDATE SET name = excluded.name;
SELECT * FROM users WHERE id > 10 ORDER BY id;

-- the readers of the old column read the new ones, and write them
RESET SESSION AUTHORIZATION;
SET SESSION AUTHORIZATION regress_zdm_split_reader;
SELECT count(first_name), count(last_name) FROM zdm_split_column.users;
UPDATE zdm_split_column.users SET first_name = 'by a reader';
SELECT age FROM zdm_split_column.users;
RESET SESSION AUTHORIZATION;
SET SESSION AUTHORIZATION regress_zdm_split_column;
SELECT count(*) FROM users WHERE name NOT LIKE 'by a reader%';

-- prepared before contract, by both versions
PREPARE by_new(integer, text) AS UPDATE users SET last_name = $2 WHERE id = $1 RETURNING id, first_name, last_name;
PREPARE by_old(integer) AS SELECT name FROM users WHERE id = $1;
CREATE FUNCTION watch() RETURNS trigger LANGUAGE plpgsql AS
$$ DECLARE before users; BEGIN before := OLD; NEW.age := coalesce(before.age, 0) + 1; RETURN NEW; END $$;
CREATE TRIGGER watch BEFORE UPDATE ON users FOR EACH ROW EXECUTE FUNCTION watch();
CREATE FUNCTION rename(integer, text) RETURNS text LANGUAGE plpgsql AS
$$ DECLARE u users; BEGIN UPDATE users SET last_name = $2 WHERE id = $1 RETURNING * INTO u; RETURN u.first_name || ', ' || u.last_name; END $$;
EXECUTE by_new(1, 'prepared');
EXECUTE by_old(1);
SELECT rename(1, 'in a function');

-- with a quarantine the old column stays, in sync, and the new ones lead
SET client_min_messages = warning;
SELECT zdm.contract('split_users_name', quarantine => '1 day');
RESET client_min_messages;
SELECT migration, state, next_command FROM zdm.status;
\d users
INSERT INTO users (id, name) VALUES (31, 'still old');
INSERT INTO users (id, last_name) VALUES (32, 'new');
UPDATE users SET name = 'set again' WHERE id = 32;
UPDATE users SET first_name = 'Not' WHERE id = 31;
SELECT * FROM users WHERE id > 30 ORDER BY id;
EXECUTE by_new(1, 'in quarantine');
EXECUTE by_old(1);
SELECT * FROM zdm.verify('split_users_name');
-- and ends with the old column gone
SELECT zdm.contract('split_users_name', quarantine => '0');
\d users
EXECUTE by_new(1, 'finished');
EXECUTE by_old(1);
SELECT rename(1, 'and here');
INSERT INTO users (id, name) VALUES (33, 'too late');
INSERT INTO users (id, first_name) VALUES (33, 'in time') RETURNING *;
SELECT phase, step, description, sql, lock_mode, state FROM zdm.steps
 WHERE migration = 'split_users_name' ORDER BY step;
SELECT tgname FROM pg_trigger WHERE tgrelid = 'users'::regclass;

-- rollback from each state keeps what the new version wrote
CREATE TABLE places (id integer PRIMARY KEY, at point);
INSERT INTO places VALUES (1, '(1,2)'), (2, NULL), (3, '(3,4)');
CREATE FUNCTION split_places() RETURNS text LANGUAGE sql AS
$$ SELECT zdm.split_column('places', 'at',
    '{"x": {"type": "float8", "up": "at[0]"}, "y": {"type": "float8", "up": "at[1]"}}', 'point(x, y)') $$;
SELECT split_places();
UPDATE places SET y = 20 WHERE id = 1;
INSERT INTO places (id, x, y) VALUES (4, 5, 6);
INSERT INTO places (id, x) VALUES (5, 7);
SELECT zdm.rollback('split_places_at');
SELECT * FROM places ORDER BY id;
SELECT split_places();
CALL zdm.backfill('split_places_at');
UPDATE places SET x = 30 WHERE id = 3;
SELECT zdm.rollback('split_places_at');
SELECT * FROM places ORDER BY id;
SELECT split_places();
CALL zdm.backfill('split_places_at');
SET client_min_messages = warning;
SELECT zdm.contract('split_places_at', '1 day');
RESET client_min_messages;
UPDATE places SET x = 300, y = 400 WHERE id = 3;
SELECT zdm.rollback('split_places_at');
SELECT * FROM places ORDER BY id;
\d places

-- the old column's default makes a row that gives neither side; a default of
-- the new columns counts where the old one has none
CREATE TABLE defaults (id integer PRIMARY KEY, pair text DEFAULT 'a-b');
SELECT zdm.split_column('defaults', 'pair',
    '{"l": {"type": "text", "up": "split_part(pair, ''-'', 1)"}, "r": {"type": "text", "up": "split_part(pair, ''-'', 2)"}}',
    $$l || '-' || coalesce(r, '')$$);
INSERT INTO defaults (id) VALUES (1);
INSERT INTO defaults (id, l) VALUES (2, 'c');
INSERT INTO defaults (id, pair) VALUES (3, DEFAULT);
INSERT INTO defaults (id, pair) VALUES (4, NULL);
ALTER TABLE defaults ALTER l SET DEFAULT 'x', ALTER r SET DEFAULT 'y';
INSERT INTO defaults (id) VALUES (5);
INSERT INTO defaults (id, l) VALUES (6, 'd');
INSERT INTO defaults (id, pair) VALUES (7, 'e-f');
ALTER TABLE defaults ALTER pair DROP DEFAULT;
INSERT INTO defaults (id) VALUES (8);
SELECT * FROM defaults ORDER BY id;
CALL zdm.backfill('split_defaults_pair');
-- what others put on the new columns is in rollback's way, not in contract's
CREATE INDEX defaults_l ON defaults (l);
SELECT zdm.rollback('split_defaults_pair');
SELECT zdm.contract('split_defaults_pair');
\d defaults

-- NOT NULL for the new columns, once the old one is gone, as the page has it
SELECT zdm.split_column('defaults', 'l',
    '{"first": {"type": "text", "up": "nullif(split_part(l, '' '', 1), '''')"}, "rest": {"type": "text", "up": "nullif(split_part(l, '' '', 2), '''')"}}',
    $$concat_ws(' ', first, rest)$$, migration => 'again');
CALL zdm.backfill('again');
DROP INDEX defaults_l;
SELECT zdm.contract('again');
ALTER TABLE defaults ALTER COLUMN first SET DEFAULT '';
SELECT zdm.set_not_null('defaults', 'first', fill => $$''$$);
SELECT zdm.set_not_null('defaults', 'rest', fill => $$'-'$$);
INSERT INTO defaults (id) VALUES (20);
INSERT INTO defaults (id, rest) VALUES (21, NULL);
CALL zdm.backfill('set_defaults_first_not_null');
CALL zdm.backfill('set_defaults_rest_not_null');
SELECT zdm.contract('set_defaults_first_not_null');
SELECT zdm.contract('set_defaults_rest_not_null');
SELECT id, first, rest FROM defaults WHERE id > 7 ORDER BY id;
INSERT INTO defaults (id) VALUES (22);
SELECT attname, attnotnull FROM pg_attribute WHERE attrelid = 'defaults'::regclass AND attname IN ('first', 'rest') ORDER BY 1;

-- expressions and types of the user's, under his path; quoted names; partitions
CREATE DOMAIN word AS text;
CREATE FUNCTION head(text) RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT split_part($1, '/', 1) $$;
CREATE TABLE "Parts" (id integer, filler integer, "The Path" text, note text) PARTITION BY RANGE (id);
CREATE TABLE parts_1 PARTITION OF "Parts" FOR VALUES FROM (0) TO (10);
CREATE TABLE parts_2 (note text, "The Path" text, id integer, filler integer);
ALTER TABLE "Parts" DROP COLUMN filler;
ALTER TABLE parts_2 DROP COLUMN filler;
ALTER TABLE "Parts" ATTACH PARTITION parts_2 FOR VALUES FROM (10) TO (20);
INSERT INTO "Parts" (id, "The Path") VALUES (1, 'a/b'), (11, 'c/d');
SELECT description FROM zdm.explain($call$zdm.split_column('"Parts"', 'The Path',
    '{"Head": {"type": "word", "up": "head(\"The Path\")"}, "tail": {"type": "text", "up": "split_part(\"The Path\", ''/'', 2)"}}',
    $$"Head" || '/' || coalesce(tail, note, '')$$)$call$) WHERE phase = 'note' AND description LIKE '% uses %';
SELECT zdm.split_column('"Parts"', 'The Path',
    '{"Head": {"type": "word", "up": "head(\"The Path\")"}, "tail": {"type": "text", "up": "split_part(\"The Path\", ''/'', 2)"}}',
    $$"Head" || '/' || coalesce(tail, note, '')$$, migration => 'it''s parts');
RESET search_path;
INSERT INTO zdm_split_column."Parts" (id, "The Path") VALUES (2, 'e/f'), (12, 'g/h');
INSERT INTO zdm_split_column."Parts" (id, "Head", note) VALUES (3, 'i', 'n'), (13, 'j', 'n');
UPDATE zdm_split_column."Parts" SET id = id + 10, "Head" = 'moved' WHERE id = 1;
SET search_path = zdm_split_column;
CALL zdm.backfill('it''s parts');
SELECT tableoid::regclass, id, "The Path", "Head", tail FROM "Parts" ORDER BY id, "The Path";
SELECT * FROM zdm.verify('it''s parts');
RESET SESSION AUTHORIZATION;
SELECT up, down FROM zdm.sync_rule;
SET SESSION AUTHORIZATION regress_zdm_split_column;
SELECT zdm.contract('it''s parts');
\d parts_2

RESET SESSION AUTHORIZATION;
SET client_min_messages = warning;
DROP SCHEMA zdm_split_column CASCADE;
DROP ROLE regress_zdm_split_column, regress_zdm_split_reader;
