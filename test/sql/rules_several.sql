--
-- Several rules on one table: chains, a column in two rules, and migrations
-- that come and go one by one.
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS zdm;
CREATE ROLE regress_zdm_rules_several;
CREATE SCHEMA zdm_rules_several AUTHORIZATION regress_zdm_rules_several;
GRANT EXECUTE ON FUNCTION zdm._sync_columns TO regress_zdm_rules_several;
RESET client_min_messages;
SET SESSION AUTHORIZATION regress_zdm_rules_several;
SET search_path = zdm_rules_several;
\set VERBOSITY terse


SET client_min_messages = warning;

-- a to b, and b to c
CREATE TABLE chain (id integer PRIMARY KEY, a text, b text, c text, n integer);
INSERT INTO chain (id, a) VALUES (1, 'x'), (2, NULL);
SELECT zdm._sync_columns('chain', '{a}', '{b}', '{a}', '{b}', 'first');
INSERT INTO chain (id, a) VALUES (3, 'only the first rule');
SELECT zdm._sync_columns('chain', '{b}', '{c}', ARRAY[$$b || '!'$$], ARRAY[$$rtrim(c, '!')$$], 'second');
INSERT INTO chain (id, a) VALUES (11, 'from a');
INSERT INTO chain (id, b) VALUES (12, 'from b');
INSERT INTO chain (id, c) VALUES (13, 'from c!');
INSERT INTO chain (id) VALUES (14);
INSERT INTO chain (id, a, b) VALUES (15, 'lost', 'wins');
INSERT INTO chain (id, a, c) VALUES (16, 'lost', 'wins!');
INSERT INTO chain (id, b, c) VALUES (17, 'lost', 'wins!');
INSERT INTO chain (id, a, b, c) VALUES (18, 'fits', 'fits', 'fits!');
INSERT INTO chain (id, a) SELECT i, 'x' FROM generate_series(21, 27) i;
UPDATE chain SET a = 'from a' WHERE id = 21;
UPDATE chain SET b = 'from b' WHERE id = 22;
UPDATE chain SET c = 'from c!' WHERE id = 23;
UPDATE chain SET a = NULL WHERE id = 24;
UPDATE chain SET c = NULL WHERE id = 25;
UPDATE chain SET a = 'lost', c = 'wins!' WHERE id = 26;
UPDATE chain SET n = 1 WHERE id IN (1, 2, 3, 27);
SELECT * FROM chain ORDER BY id;

-- rows in no shape but the first, whichever is backfilled first
INSERT INTO chain (id) SELECT i FROM generate_series(31, 33) i;
ALTER TABLE chain DISABLE TRIGGER "~zdm_sync";
UPDATE chain SET a = 'was there' WHERE id > 30;
ALTER TABLE chain ENABLE ALWAYS TRIGGER "~zdm_sync";
CALL zdm.backfill('second');
CALL zdm.backfill('first');
SELECT * FROM chain WHERE id > 30 ORDER BY id;
SELECT s.migration, v.rows_compared, v.mismatches FROM zdm.status s, zdm.verify(s.migration) v ORDER BY 1;

-- one ends, the other goes on
SELECT zdm.contract('first');
INSERT INTO chain (id, a) VALUES (41, 'a is on its own') RETURNING *;
INSERT INTO chain (id, c) VALUES (42, 'still!') RETURNING *;
SELECT tgname FROM pg_trigger WHERE tgrelid = 'chain'::regclass;
SELECT zdm.rollback('second');
SELECT tgname FROM pg_trigger WHERE tgrelid = 'chain'::regclass;
INSERT INTO chain (id, c) VALUES (43, 'alone') RETURNING *;

-- a chain made in the other order, with defaults
CREATE TABLE defaults (id integer PRIMARY KEY, a text DEFAULT 'default', b text, c text);
INSERT INTO defaults VALUES (1, 'x');
SELECT zdm._sync_columns('defaults', '{b}', '{c}', '{b}', '{c}', 'inner');
SELECT zdm._sync_columns('defaults', '{a}', '{b}', '{a}', '{b}', 'outer');
INSERT INTO defaults (id) VALUES (2);
INSERT INTO defaults (id, a) VALUES (3, DEFAULT), (4, 'a');
INSERT INTO defaults (id, b) VALUES (5, 'b');
INSERT INTO defaults (id, c) VALUES (6, 'c');
INSERT INTO defaults (id, c) VALUES (7, NULL);
INSERT INTO defaults (id, a) VALUES (8, NULL);
UPDATE defaults SET id = id;
SELECT * FROM defaults ORDER BY id;

-- renames of several columns at once, in every state at once
CREATE TABLE wide (id integer PRIMARY KEY, a integer, b integer, c integer, d integer);
INSERT INTO wide SELECT i, i, i, i, i FROM generate_series(1, 3) i;
SELECT zdm.rename_column('wide', 'a', 'a2', migration => 'a');
SELECT zdm.rename_column('wide', 'b', 'b2', migration => 'b');
SELECT zdm.rename_column('wide', 'c', 'c2', migration => 'c');
CALL zdm.backfill('b');
CALL zdm.backfill('c');
SELECT zdm.contract('c', '1 day');
SELECT zdm.rename_column('wide', 'd', 'd2', migration => 'd');
INSERT INTO wide (id, a, b2, c, d2) VALUES (4, 4, 4, 4, 4);
INSERT INTO wide (id, a2, b, c2, d) VALUES (5, 5, 5, 5, 5);
UPDATE wide SET a = 10, b2 = 10, c = 10, d2 = 10 WHERE id = 1;
UPDATE wide SET a2 = 20 WHERE id = 2;
SELECT id, a, a2, b, b2, c, c2, d, d2 FROM wide ORDER BY id;
SELECT zdm.rollback('a');
SELECT zdm.contract('b');
CALL zdm.backfill('d');
SELECT s.migration, v.rows_compared, v.mismatches FROM zdm.status s, zdm.verify(s.migration) v
 WHERE s.relation = 'wide'::regclass ORDER BY 1;
SELECT zdm.rollback('c');
SELECT zdm.contract('d');
SELECT * FROM wide ORDER BY id;
\d wide

RESET SESSION AUTHORIZATION;
SET client_min_messages = warning;
DROP SCHEMA zdm_rules_several CASCADE;
REVOKE EXECUTE ON FUNCTION zdm._sync_columns FROM regress_zdm_rules_several;
DROP ROLE regress_zdm_rules_several;
