--
-- Rules with expressions: another type, several columns on either side, and
-- expressions that lose something on the way.
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS zdm;
CREATE ROLE regress_zdm_rules_expressions;
CREATE SCHEMA zdm_rules_expressions AUTHORIZATION regress_zdm_rules_expressions;
GRANT EXECUTE ON FUNCTION zdm._sync_columns TO regress_zdm_rules_expressions;
RESET client_min_messages;
SET SESSION AUTHORIZATION regress_zdm_rules_expressions;
SET search_path = zdm_rules_expressions;
\set VERBOSITY terse


SET client_min_messages = warning;

-- one to one, another type
CREATE TABLE amounts (id integer PRIMARY KEY, cents integer, euros numeric(10,2));
INSERT INTO amounts (id, cents) VALUES (1, 150), (2, NULL), (3, -1);
SELECT zdm._sync_columns('amounts', '{cents}', '{euros}', '{cents / 100.0}', '{euros * 100}', 'amounts');
INSERT INTO amounts (id, cents) VALUES (4, 1999), (5, NULL);
INSERT INTO amounts (id, euros) VALUES (6, 1.99), (7, NULL);
INSERT INTO amounts (id, cents, euros) VALUES (8, 100, 1), (9, 100, 2);
UPDATE amounts SET euros = euros + 1 WHERE id = 4;
UPDATE amounts SET cents = cents + 1 WHERE id = 6;
SELECT * FROM amounts ORDER BY id;
CALL zdm.backfill('amounts');
SELECT * FROM amounts WHERE id < 4 ORDER BY id;
SELECT * FROM zdm.verify('amounts');
SELECT zdm.contract('amounts');
UPDATE amounts SET cents = 0 WHERE id = 1 RETURNING *;
\d amounts

-- several to one
CREATE TABLE people (id integer PRIMARY KEY, first text, last text, name text, note text);
INSERT INTO people (id, first, last) VALUES (1, 'Ada', 'Lovelace'), (2, 'Plato', NULL), (3, NULL, NULL);
SELECT zdm._sync_columns('people', '{first,last}', '{name}',
    ARRAY[$$concat_ws(' ', first, last)$$],
    ARRAY[$$nullif(split_part(name, ' ', 1), '')$$,
          $$nullif(substr(name, length(split_part(name, ' ', 1)) + 2), '')$$],
    'people');
INSERT INTO people (id, first, last) VALUES (4, 'Alan', 'Turing');
INSERT INTO people (id, last) VALUES (5, 'Cher');
INSERT INTO people (id, name) VALUES (6, 'Grace Hopper'), (7, 'Madonna'), (8, 'Ada Byron King'), (9, NULL);
UPDATE people SET last = 'Hopper-Murray' WHERE id = 6;
UPDATE people SET name = 'Alan M. Turing' WHERE id = 4;
UPDATE people SET first = NULL, last = 'X' WHERE id = 7;
UPDATE people SET first = 'lost', name = 'both wins' WHERE id = 8;
UPDATE people SET note = 'nothing else changes';
SELECT * FROM people ORDER BY id;
CALL zdm.backfill('people');
SELECT * FROM zdm.verify('people');
SELECT zdm.rollback('people');

-- one to several
CREATE TABLE places (id integer PRIMARY KEY, at point, x double precision, y double precision);
INSERT INTO places (id, at) VALUES (1, '(1,2)'), (2, NULL);
SELECT zdm._sync_columns('places', '{at}', '{x,y}', '{at[0],at[1]}', '{"point(x, y)"}', 'places');
INSERT INTO places (id, at) VALUES (3, '(3,4)');
INSERT INTO places (id, x, y) VALUES (4, 5, 6);
INSERT INTO places (id, x) VALUES (5, 7);
UPDATE places SET y = 0 WHERE id = 3;
UPDATE places SET at = NULL WHERE id = 4;
SELECT * FROM places ORDER BY id;
CALL zdm.backfill('places');
SELECT * FROM zdm.verify('places');

-- several to several
CREATE TABLE spans (id integer PRIMARY KEY, since integer, length integer, first integer, last integer);
INSERT INTO spans (id, since, length) VALUES (1, 10, 5), (2, NULL, 7), (3, NULL, NULL);
SELECT zdm._sync_columns('spans', '{since,length}', '{first,last}',
    '{since,since + length - 1}', '{first,last - first + 1}', 'spans');
INSERT INTO spans (id, first, last) VALUES (4, 1, 3);
INSERT INTO spans (id, since) VALUES (5, 1);
UPDATE spans SET last = 5 WHERE id = 4;
UPDATE spans SET length = 1 WHERE id = 4;
UPDATE spans SET since = 0, last = 9 WHERE id = 4;
CALL zdm.backfill('spans');
SELECT * FROM spans ORDER BY id;
SELECT * FROM zdm.verify('spans');

-- lossy both ways: what was written stays as it was written
CREATE TABLE lossy (id integer PRIMARY KEY, a text DEFAULT 'Default', b text, n integer);
INSERT INTO lossy VALUES (1, 'MiXed');
SELECT zdm._sync_columns('lossy', '{a}', '{b}', '{lower(a)}', '{initcap(b)}', 'lossy');
INSERT INTO lossy (id, a) VALUES (2, 'LOUD');
INSERT INTO lossy (id, b) VALUES (3, 'loud AGAIN');
INSERT INTO lossy (id) VALUES (4);
INSERT INTO lossy (id, a, b) VALUES (5, 'FITS', 'fits'), (6, 'Fits', 'fITS'), (7, 'lost', 'WINS');
UPDATE lossy SET n = 1;
UPDATE lossy SET a = a, b = b, n = 2;
CALL zdm.backfill('lossy');
SELECT * FROM lossy ORDER BY id;
SELECT * FROM zdm.verify('lossy');
-- a value that is written again is no change, on either side
UPDATE lossy SET a = 'LOUD' WHERE id = 2 RETURNING a, b;
UPDATE lossy SET b = 'loud AGAIN' WHERE id = 3 RETURNING a, b;
UPDATE lossy SET a = 'Loud Again', n = 3 WHERE id = 3 RETURNING a, b;
UPDATE lossy SET a = 'LOUD AGAIN' WHERE id = 3 RETURNING a, b;

-- a NULL that becomes a value, and the reverse: a row whose new value the new
-- version has set to NULL after the backfill is not filled again
CREATE TABLE nulls (id integer PRIMARY KEY, a text, b text, n integer);
INSERT INTO nulls VALUES (1, NULL), (2, 'x'), (3, 'none');
SELECT zdm._sync_columns('nulls', '{a}', '{b}', ARRAY[$$coalesce(a, 'none')$$], ARRAY[$$nullif(b, 'none')$$], 'nulls');
INSERT INTO nulls (id) VALUES (4);
INSERT INTO nulls (id, a) VALUES (5, NULL);
INSERT INTO nulls (id, b) VALUES (6, 'none'), (7, NULL);
CALL zdm.backfill('nulls');
UPDATE nulls SET b = NULL WHERE id = 2;
UPDATE nulls SET n = 1;
SELECT * FROM nulls ORDER BY id;
SELECT * FROM zdm.verify('nulls');

-- expressions that use other columns, and functions of the user's, under the
-- path they were given with
CREATE FUNCTION shout(text) RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT $1 || '!' $$;
CREATE TABLE others (id integer PRIMARY KEY, a text, b text, locale text DEFAULT 'C');
INSERT INTO others VALUES (1, 'x');
SELECT zdm._sync_columns('others', '{a}', '{b}', ARRAY[$$shout(a) || locale$$], ARRAY[$$split_part(b, '!', 1)$$], 'others');
RESET search_path;
INSERT INTO zdm_rules_expressions.others (id, a) VALUES (2, 'y') RETURNING *;
CALL zdm.backfill('others');
SELECT * FROM zdm.verify('others');
SET search_path = zdm_rules_expressions;
-- the function's body may change: the next statement uses the new one
CREATE OR REPLACE FUNCTION shout(text) RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT $1 || '!!' $$;
INSERT INTO others (id, a) VALUES (3, 'z') RETURNING *;

-- an INSERT that gives one side evaluates only what makes the other: the new
-- side's own default need not be convertible
CREATE TABLE one_way (id integer, other integer DEFAULT 0, code text DEFAULT 'none');
SELECT zdm._sync_columns('one_way', '{other}', '{code}', '{(other + 1)::text}', '{code::int - 1}', 'one way');
INSERT INTO one_way (id) VALUES (1) RETURNING *;
INSERT INTO one_way (id, other) VALUES (2, 5) RETURNING *;
INSERT INTO one_way (id, code) VALUES (3, '7') RETURNING *;
SELECT zdm.rollback('one way');

-- in quarantine the new columns lead; nothing else is different
SELECT zdm.contract('lossy', '1 day');
INSERT INTO lossy (id, a) VALUES (8, 'OLD') RETURNING a, b;
INSERT INTO lossy (id, b) VALUES (9, 'new') RETURNING a, b;
SELECT zdm.rollback('lossy');
SELECT migration FROM zdm.status ORDER BY 1;

RESET SESSION AUTHORIZATION;
SET client_min_messages = warning;
DROP SCHEMA zdm_rules_expressions CASCADE;
REVOKE EXECUTE ON FUNCTION zdm._sync_columns FROM regress_zdm_rules_expressions;
DROP ROLE regress_zdm_rules_expressions;
