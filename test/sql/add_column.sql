--
-- A column that one version does not know: with and without a default, for
-- new rows and for those that exist, mandatory, and computed.
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS zdm;
CREATE ROLE regress_zdm_add_column;
CREATE SCHEMA zdm_add_column AUTHORIZATION regress_zdm_add_column;
RESET client_min_messages;
SET SESSION AUTHORIZATION regress_zdm_add_column;
SET search_path = zdm_add_column;

CREATE TABLE users (id integer PRIMARY KEY, name text);
INSERT INTO users SELECT i, 'n' || i FROM generate_series(1, 5) i;
SELECT relfilenode AS file FROM pg_class WHERE oid = 'users'::regclass \gset

-- optional: there at once
SELECT zdm.add_column('users', 'nickname', 'varchar(20)');
SELECT zdm.add_column('users', 'nickname', 'varchar(20)');
SELECT migration, state, next_command FROM zdm.status;
SELECT zdm.contract('add_users_nickname');

-- a default that is always the same: also in the rows that exist, none of which is written
SELECT zdm.add_column('users', 'level', 'numeric(5,2)', default_value => '1.5');
SELECT zdm.add_column('users', 'state', 'text', default_value => $$'new'$$, not_null => true);
\set VERBOSITY terse
INSERT INTO users (id) VALUES (6) RETURNING *;
INSERT INTO users (id, level) VALUES (7, NULL) RETURNING *;
INSERT INTO users (id, state) VALUES (8, NULL);
SELECT * FROM users ORDER BY id LIMIT 2;
SELECT zdm.contract('add_users_level');
SELECT zdm.contract('add_users_state');
\d users
SELECT relfilenode = :file AS same_file FROM pg_class WHERE oid = 'users'::regclass;

-- a volatile default: new rows get it at once, the others one each
CREATE SEQUENCE tickets;
SELECT zdm.add_column('users', 'ticket', 'bigint', default_value => $$nextval('tickets')$$);
SELECT step, phase, description, sql, lock_mode FROM zdm.steps WHERE migration = 'add_users_ticket' ORDER BY 1;
SELECT relfilenode = :file AS same_file FROM pg_class WHERE oid = 'users'::regclass;
SELECT id, ticket FROM users ORDER BY id;
INSERT INTO users (id) VALUES (11) RETURNING id, ticket;
INSERT INTO users (id, ticket) VALUES (12, NULL), (13, 999) RETURNING id, ticket;
-- an update of a row without one gives it one; an explicit NULL stays, before and after the backfill came by
UPDATE users SET name = 'x' WHERE id = 1 RETURNING id, ticket;
UPDATE users SET ticket = NULL WHERE id = 2 RETURNING id, ticket;
UPDATE users SET name = 'y' WHERE id IN (2, 12) RETURNING id, ticket;
SELECT * FROM zdm.verify('add_users_ticket');
CALL zdm.backfill('add_users_ticket');
SELECT id, ticket FROM users ORDER BY id;
SELECT count(ticket), count(DISTINCT ticket) FROM users;
SELECT * FROM zdm.verify('add_users_ticket');
UPDATE users SET ticket = NULL WHERE id = 3 RETURNING id, ticket;
SELECT zdm.contract('add_users_ticket');
SELECT relfilenode = :file AS same_file FROM pg_class WHERE oid = 'users'::regclass;

-- rows of another table with fewer columns than this one
CREATE TABLE source (id integer, v text);
CREATE TABLE target (id integer, v text);
INSERT INTO source VALUES (1, 'one');
INSERT INTO target VALUES (2, 'two');
ALTER TABLE source ADD COLUMN t bigint;
SELECT zdm.add_column('target', 't', 'bigint', default_value => $$nextval('tickets')$$);
INSERT INTO target SELECT * FROM source;
CALL zdm.backfill('add_target_t');
SELECT id, v, t IS NULL AS none FROM target ORDER BY id;
SELECT zdm.contract('add_target_t');

-- written anew in the middle: until the state is ready a NULL counts as not filled then, whoever wrote it
CREATE TABLE anew (id integer PRIMARY KEY, n integer);
INSERT INTO anew SELECT i FROM generate_series(1, 6) i;
SELECT zdm.add_column('anew', 't', 'bigint', default_value => $$nextval('tickets')$$);
VACUUM FULL anew;
UPDATE anew SET t = NULL WHERE id = 6;
INSERT INTO anew VALUES (7, 0, NULL);
SELECT id FROM anew WHERE t IS NULL ORDER BY id;
CALL zdm.backfill('add_anew_t');
SELECT count(t), count(DISTINCT t) FROM anew;
SELECT level, event FROM zdm.events WHERE migration = 'add_anew_t' AND event LIKE 'row%';
UPDATE anew SET t = NULL WHERE id = 1;
UPDATE anew SET n = 1 WHERE id = 1 RETURNING t;
SELECT zdm.contract('add_anew_t');

-- mandatory: the version that does not know it goes on inserting
CREATE TABLE orders (id integer PRIMARY KEY, amount integer);
INSERT INTO orders SELECT i, i * 10 FROM generate_series(1, 4) i;
SELECT zdm.add_column('orders', 'cents', 'bigint', not_null => true, fill => 'amount * 100');
SELECT zdm.add_column('orders', 'key', 'uuid', default_value => 'gen_random_uuid()', not_null => true);
SELECT zdm.add_column('orders', 'kind', 'text', default_value => $$'new'$$, not_null => true, fill => $$'old ' || id$$);
INSERT INTO orders (id, amount) VALUES (5, 50) RETURNING id, amount, cents, key IS NULL AS no_key, kind;
INSERT INTO orders (id, amount, cents, key, kind) VALUES (6, 60, 1, NULL, NULL) RETURNING id, amount, cents, key IS NULL AS no_key, kind;
UPDATE orders SET amount = 11 WHERE id = 1 RETURNING id, amount, cents, kind;
CALL zdm.backfill('add_orders_cents');
CALL zdm.backfill('add_orders_key');
CALL zdm.backfill('add_orders_kind');
SELECT id, amount, cents, kind FROM orders ORDER BY id;
SELECT count(key), count(DISTINCT key) FROM orders;
SELECT zdm.contract('add_orders_cents');
SELECT zdm.contract('add_orders_key');
SELECT zdm.contract('add_orders_kind');
\d orders

-- optional first, mandatory then, as two calls
CREATE TABLE two (id integer PRIMARY KEY, name text);
INSERT INTO two SELECT i FROM generate_series(1, 3) i;
SELECT zdm.add_column('two', 'mail', 'text');
SELECT zdm.contract('add_two_mail');
SELECT zdm.set_not_null('two', 'mail', $$id || '@x'$$);
CALL zdm.backfill('set_two_mail_not_null');
INSERT INTO two (id) VALUES (4);
SELECT zdm.contract('set_two_mail_not_null');
SELECT * FROM two ORDER BY id;

-- a default that is NULL for some rows
SELECT zdm.add_column('two', 'maybe', 'integer', default_value => $$CASE WHEN nextval('tickets') % 2 = 0 THEN 1 END$$);
CALL zdm.backfill('add_two_maybe');
SELECT * FROM zdm.verify('add_two_maybe');
SELECT count(*), count(maybe) FROM two;
SELECT zdm.contract('add_two_maybe');

-- computed
SET client_min_messages = error;
SELECT zdm.add_column('orders', 'double', 'integer', generated => 'amount * 2');
INSERT INTO orders (id, amount, cents, kind) VALUES (21, 7, 1, '') RETURNING id, amount, double;
INSERT INTO orders (id, amount, cents, kind, double) VALUES (22, 7, 1, '', 14), (23, 8, 1, '', NULL) RETURNING id, amount, double;
\set VERBOSITY default
INSERT INTO orders (id, amount, cents, kind, double) VALUES (24, 7, 1, '', 15);
UPDATE orders SET double = 3 WHERE id = 21;
\set VERBOSITY terse
UPDATE orders SET amount = 8, double = 16 WHERE id = 21 RETURNING id, amount, double;
UPDATE orders SET amount = 9 WHERE id IN (1, 21) RETURNING id, amount, double;
SELECT * FROM zdm.verify('add_orders_double');
CALL zdm.backfill('add_orders_double');
SELECT * FROM zdm.verify('add_orders_double');
SELECT id, amount, double FROM orders ORDER BY id;
SELECT zdm.rollback('add_orders_double');

SET client_min_messages = notice;

-- rolled back from each state; a quarantine keeps the way back
SET client_min_messages = warning;
CREATE TABLE undone (id integer PRIMARY KEY);
INSERT INTO undone VALUES (1), (2);
SELECT zdm.add_column('undone', 'a', 'text');
SELECT zdm.rollback('add_undone_a');
SELECT zdm.add_column('undone', 'a', 'text', not_null => true, fill => $$'x'$$);
SELECT zdm.rollback('add_undone_a');
SELECT zdm.add_column('undone', 'a', 'text', not_null => true, fill => $$'x'$$);
CALL zdm.backfill('add_undone_a');
CREATE INDEX theirs ON undone (a);
SELECT zdm.rollback('add_undone_a');
DROP INDEX theirs;
-- one whose name has that of the check in it
SELECT format('CREATE INDEX %I ON undone (a)', 'of ' || conname) AS index, format('DROP INDEX %I', 'of ' || conname) AS drop_index
  FROM pg_constraint WHERE conrelid = 'undone'::regclass AND contype = 'c' \gset make_
:make_index;
DO $$
BEGIN PERFORM zdm.rollback('add_undone_a');
EXCEPTION WHEN dependent_objects_still_exist THEN RAISE WARNING 'refused'; END $$;
:make_drop_index;
SELECT zdm.rollback('add_undone_a');
SELECT zdm.add_column('undone', 'a', 'text', not_null => true, fill => $$'x'$$);
CALL zdm.backfill('add_undone_a');
SELECT zdm.contract('add_undone_a', '1 hour');
INSERT INTO undone VALUES (3) RETURNING *;
\d undone
SELECT zdm.rollback('add_undone_a');
\d undone
SELECT zdm.add_column('undone', 'a', 'text', default_value => 'clock_timestamp()::text');
CALL zdm.backfill('add_undone_a');
SELECT zdm.contract('add_undone_a', '1 hour');
SELECT zdm.contract('add_undone_a', '0');
\d undone

-- partitions, with columns in another order
CREATE TABLE parted (id integer, k integer) PARTITION BY LIST (k);
CREATE TABLE parted_1 PARTITION OF parted FOR VALUES IN (1);
CREATE TABLE parted_2 (k integer, gone text, id integer);
ALTER TABLE parted_2 DROP COLUMN gone;
ALTER TABLE parted ATTACH PARTITION parted_2 FOR VALUES IN (2);
INSERT INTO parted VALUES (1, 1), (2, 2), (3, 2), (4, 1);
SELECT zdm.add_column('parted', 't', 'bigint', default_value => $$nextval('tickets')$$);
SELECT zdm.add_column('parted', 'm', 'text', not_null => true, fill => $$'m' || k$$);
UPDATE parted SET k = 2 WHERE id = 1;
UPDATE parted SET t = NULL WHERE id = 3;
CALL zdm.backfill('add_parted_t');
CALL zdm.backfill('add_parted_m');
SELECT id, k, t IS NULL AS none, m FROM parted ORDER BY id;
SELECT zdm.contract('add_parted_m');
SELECT zdm.contract('add_parted_t');
\d parted_2

RESET SESSION AUTHORIZATION;
SET client_min_messages = warning;
DROP SCHEMA zdm_add_column CASCADE;
DROP ROLE regress_zdm_add_column;
