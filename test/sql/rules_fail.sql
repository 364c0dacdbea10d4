--
-- Expressions that fail on a value: in the backfill the row is named and the
-- others are done; in a writer's statement the error says whose it is.
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS zdm;
CREATE ROLE regress_zdm_rules_fail;
CREATE SCHEMA zdm_rules_fail AUTHORIZATION regress_zdm_rules_fail;
GRANT EXECUTE ON FUNCTION zdm._sync_columns TO regress_zdm_rules_fail;
RESET client_min_messages;
SET SESSION AUTHORIZATION regress_zdm_rules_fail;
SET search_path = zdm_rules_fail;


SET client_min_messages = warning;

CREATE TABLE numbers (id integer PRIMARY KEY, a text, n integer, note text);
INSERT INTO numbers (id, a) SELECT i, i FROM generate_series(1, 1000) i;
UPDATE numbers SET a = 'bad ' || id WHERE id IN (7, 500, 1000);
INSERT INTO numbers (id, a) VALUES (1001, NULL);
SELECT zdm._sync_columns('numbers', '{a}', '{n}', '{a::integer}', '{n::text}', 'numbers');
CALL zdm.backfill('numbers');
SELECT state, last_error, next_command FROM zdm.status WHERE migration = 'numbers';
SELECT level, event, detail FROM zdm.events WHERE migration = 'numbers' ORDER BY id;
SELECT count(*), count(n), count(*) FILTER (WHERE n::text IS DISTINCT FROM a) AS left FROM numbers;
SELECT * FROM zdm.verify('numbers');
SELECT zdm.contract('numbers');

-- correct two of them, each under another name, and go on
UPDATE numbers SET a = '7' WHERE id = 7;
UPDATE numbers SET n = 500 WHERE id = 500;
CALL zdm.backfill('numbers');
DELETE FROM numbers WHERE id = 1000;
CALL zdm.backfill('numbers');
SELECT state, last_error FROM zdm.status WHERE migration = 'numbers';
SELECT * FROM zdm.verify('numbers');

-- a writer whose value has no other form
INSERT INTO numbers (id, a) VALUES (2000, 'two thousand');
UPDATE numbers SET a = 'one' WHERE id = 1;
INSERT INTO numbers (id, n) VALUES (2000, 2000) RETURNING *;

-- down: too large for the old type
CREATE TABLE "Counters" (id integer PRIMARY KEY, "Old" integer, "New" bigint);
INSERT INTO "Counters" VALUES (1, 1);
SELECT zdm._sync_columns('"Counters"', '{Old}', '{New}', '{"\"Old\""}', '{"\"New\""}', 'it''s counters');
INSERT INTO "Counters" (id, "New") VALUES (2, 3000000000);
UPDATE "Counters" SET "New" = 3000000000;
UPDATE "Counters" SET "New" = 2000000000 RETURNING *;
INSERT INTO "Counters" (id, "Old") VALUES (2, 3000000000);

-- the message of a constraint is the column's own
ALTER TABLE numbers ADD CHECK (n < 5000);
UPDATE numbers SET a = '6000' WHERE id = 1;

-- rows without a key are named by their place
CREATE TABLE no_key (a text, n integer);
INSERT INTO no_key VALUES ('1'), ('bad');
SELECT zdm._sync_columns('no_key', '{a}', '{n}', '{a::integer}', '{n::text}', 'no_key');
CALL zdm.backfill('no_key');
UPDATE no_key SET a = '2' WHERE a = 'bad';
CALL zdm.backfill('no_key');
SELECT * FROM no_key ORDER BY a;

-- in partitions, and with a key of two columns
CREATE TABLE parts (k text, id integer, a text, n integer, PRIMARY KEY (id, k)) PARTITION BY RANGE (id);
CREATE TABLE parts_1 PARTITION OF parts FOR VALUES FROM (0) TO (10);
CREATE TABLE parts_2 PARTITION OF parts FOR VALUES FROM (10) TO (20);
INSERT INTO parts SELECT chr(96 + i), i, CASE WHEN i % 6 = 0 THEN 'bad' ELSE i::text END FROM generate_series(1, 19) i;
SELECT zdm._sync_columns('parts', '{a}', '{n}', '{a::integer}', '{n::text}', 'parts');
CALL zdm.backfill('parts');
SELECT detail FROM zdm.events WHERE migration = 'parts' AND event = 'row failed' ORDER BY id;
SELECT count(*), count(n) FROM parts;
SELECT zdm.rollback('parts');

-- more of them than anybody wants to read
CREATE TABLE many (id integer PRIMARY KEY, a text, n integer);
INSERT INTO many SELECT i, 'bad' FROM generate_series(1, 300) i;
INSERT INTO many VALUES (301, '301');
SELECT zdm._sync_columns('many', '{a}', '{n}', '{a::integer}', '{n::text}', 'many');
CALL zdm.backfill('many');
SELECT count(*) BETWEEN 1 AND 100 AS few FROM zdm.events WHERE migration = 'many' AND event = 'row failed';
SELECT * FROM many WHERE n IS NOT NULL;
SELECT zdm.rollback('many');

RESET SESSION AUTHORIZATION;
SET client_min_messages = warning;
DROP SCHEMA zdm_rules_fail CASCADE;
REVOKE EXECUTE ON FUNCTION zdm._sync_columns FROM regress_zdm_rules_fail;
DROP ROLE regress_zdm_rules_fail;
