--
-- An optional column becomes mandatory: what each call says, what both
-- versions can write in each phase, and what is left.
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS zdm;
CREATE ROLE regress_zdm_set_not_null;
CREATE SCHEMA zdm_set_not_null AUTHORIZATION regress_zdm_set_not_null;
RESET client_min_messages;
SET SESSION AUTHORIZATION regress_zdm_set_not_null;
SET search_path = zdm_set_not_null;

CREATE TABLE users (id integer PRIMARY KEY, name text, email text, n integer);
INSERT INTO users VALUES (1, 'ada', 'ada@x'), (2, 'bob', NULL), (3, NULL, NULL);

-- a dry run of it, and of its siblings
SELECT phase, description, sql, lock_mode, blocks FROM zdm.explain($$zdm.set_not_null('users', 'email', 'name')$$);
SELECT phase, description, sql, lock_mode FROM zdm.explain($$zdm.add_column('users', 'key', 'uuid', default_value => 'gen_random_uuid()', not_null => true)$$);
SELECT phase, description, sql, lock_mode FROM zdm.explain($$zdm.add_column('users', 'at', 'timestamptz', default_value => 'now()')$$);
SELECT phase, description, sql, lock_mode FROM zdm.explain($$zdm.drop_not_null('users', 'id')$$);
SELECT count(*) FROM zdm.status;

-- expand
SELECT zdm.set_not_null('users', 'email', $$coalesce(name, 'user' || id) || '@none'$$);
SELECT zdm.set_not_null('users', 'email', $$coalesce(name, 'user' || id) || '@none'$$);
\set VERBOSITY terse
SELECT step, phase, description, regexp_replace(sql, '~zdm_[0-9]+', '~zdm_N') AS sql, lock_mode, state
  FROM zdm.steps WHERE migration = 'set_users_email_not_null' ORDER BY 1;

-- a version that writes NULL goes on; a row that holds NULL can be updated, and is filled then
INSERT INTO users (id, name) VALUES (4, 'cyd');
INSERT INTO users (id, name, email) VALUES (5, 'dan', NULL) RETURNING *;
UPDATE users SET n = 1 WHERE id = 2;
UPDATE users SET email = NULL WHERE id = 1;
UPDATE users SET email = 'own@x', n = 1 WHERE id = 5;
SELECT * FROM users ORDER BY id;

-- migrate: fill, look, prove
SELECT * FROM zdm.verify('set_users_email_not_null');
CALL zdm.backfill('set_users_email_not_null');
SELECT * FROM users ORDER BY id;
SELECT regexp_replace(conname, '[0-9]+', 'N') AS conname, convalidated, pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid = 'users'::regclass AND contype = 'c';
SELECT migration, state, progress, last_error, next_command FROM zdm.status;
SELECT * FROM zdm.verify('set_users_email_not_null');
INSERT INTO users (id) VALUES (6) RETURNING *;

-- what proves it cannot be taken away
SELECT format('ALTER TABLE users DROP CONSTRAINT %I', conname) AS drop_check
  FROM pg_constraint WHERE conrelid = 'users'::regclass AND contype = 'c' \gset
:drop_check;
ALTER TABLE users RENAME email TO mail;

SELECT zdm.contract('set_users_email_not_null');
\d users
INSERT INTO users (id) VALUES (7);
SELECT migration, step, phase, description, state FROM zdm.steps WHERE migration = 'set_users_email_not_null' ORDER BY step;

SET client_min_messages = warning;

-- with a quarantine the version that writes NULL can come back
CREATE TABLE kept (id integer PRIMARY KEY, v text);
INSERT INTO kept SELECT i FROM generate_series(1, 5) i;
SELECT zdm.set_not_null('kept', 'v', $$'none'$$, 'keep');
CALL zdm.backfill('keep');
SELECT zdm.contract('keep', '1 hour');
\d kept
INSERT INTO kept VALUES (11, NULL) RETURNING *;
UPDATE kept SET v = NULL WHERE id = 1 RETURNING *;
SELECT zdm.rollback('keep');
\d kept
INSERT INTO kept VALUES (12, NULL) RETURNING *;
SELECT zdm.set_not_null('kept', 'v', $$'none'$$, 'keep');
CALL zdm.backfill('keep');
SELECT zdm.contract('keep', '1 hour');
SELECT zdm.contract('keep', '0');
\d kept

-- rolled back before contract
CREATE TABLE undone (id integer, v text);
INSERT INTO undone VALUES (1, NULL), (2, 'x');
SELECT zdm.set_not_null('undone', 'v', $$'none'$$);
SELECT zdm.rollback('set_undone_v_not_null');
SELECT zdm.set_not_null('undone', 'v', $$'none'$$);
CALL zdm.backfill('set_undone_v_not_null');
SELECT zdm.rollback('set_undone_v_not_null');
\d undone
SELECT * FROM undone ORDER BY id;

-- a fill is evaluated once for a row, also where triggers see it
CREATE SEQUENCE tickets;
CREATE TABLE drawn (id integer PRIMARY KEY, ticket bigint);
CREATE TABLE seen (id integer, ticket bigint);
CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN INSERT INTO zdm_set_not_null.seen VALUES (NEW.id, NEW.ticket); RETURN NULL; END $$;
CREATE TRIGGER note AFTER INSERT OR UPDATE ON drawn FOR EACH ROW EXECUTE FUNCTION note();
INSERT INTO drawn SELECT i FROM generate_series(1, 4) i;
TRUNCATE seen;
SET zdm.fire_user_triggers = on;
SELECT zdm.set_not_null('drawn', 'ticket', $$nextval('tickets')$$);
INSERT INTO drawn VALUES (5);
CALL zdm.backfill('set_drawn_ticket_not_null');
RESET zdm.fire_user_triggers;
SELECT count(*), count(DISTINCT ticket), max(ticket) FROM drawn;
SELECT count(*) FROM drawn JOIN seen USING (id, ticket);
SELECT zdm.contract('set_drawn_ticket_not_null');

-- several at once, and a rename of another column beside them
CREATE TABLE busy (id integer PRIMARY KEY, a text, b text, c text DEFAULT 'c', e text);
INSERT INTO busy SELECT i, CASE WHEN i % 2 = 0 THEN 'a' END FROM generate_series(1, 10) i;
SELECT zdm.set_not_null('busy', 'a', $$'fill a'$$, 'na');
SELECT zdm.set_not_null('busy', 'b', $$a || '/' || id$$, 'nb');
SELECT zdm.rename_column('busy', 'c', 'd', migration => 'cd');
INSERT INTO busy (id, d) VALUES (21, 'dd') RETURNING *;
INSERT INTO busy (id, a, c) VALUES (22, 'aa', 'cc') RETURNING *;
UPDATE busy SET d = 'd2', b = NULL WHERE id = 1 RETURNING *;
CALL zdm.backfill('nb');
CALL zdm.backfill('na');
CALL zdm.backfill('cd');
SELECT s.migration, v.* FROM zdm.status s, zdm.verify(s.migration) v ORDER BY 1;
SELECT zdm.contract('cd');
SELECT zdm.contract('na');
INSERT INTO busy (id, a) VALUES (23, 'x') RETURNING *;
SELECT zdm.contract('nb');
\d busy
SELECT * FROM busy WHERE id IN (1, 2, 3) ORDER BY id;

-- what an expression reads stays as it is
CREATE TABLE read (id integer, a text, b text, c text, d text);
SELECT zdm.set_not_null('read', 'a', 'b || c');
SELECT zdm.rename_column('read', 'b', 'bb');
SELECT zdm.rename_column('read', 'a', 'aa');
SELECT zdm.set_not_null('read', 'b', $$'b'$$);
SELECT zdm.rename_column('read', 'd', 'dd');
SELECT zdm.set_not_null('read', 'c', 'd');
SELECT zdm.set_not_null('read', 'c', 'id::text');
SELECT zdm.rollback(migration) FROM zdm.status ORDER BY 1;

-- one that is filled from another that is filled, whichever came first
CREATE TABLE links (id integer PRIMARY KEY, a text, b text, c text);
SELECT zdm.set_not_null('links', 'c', $$coalesce(b, 'too early') || '>c'$$, 'lc');
SELECT zdm.set_not_null('links', 'b', $$coalesce(a, 'too early') || '>b'$$, 'lb');
SELECT zdm.set_not_null('links', 'a', $$'a'$$, 'la');
INSERT INTO links (id) VALUES (1) RETURNING *;
INSERT INTO links (id, b) VALUES (2, 'own') RETURNING *;
UPDATE links SET a = NULL, b = NULL, c = NULL WHERE id = 2 RETURNING *;
SELECT zdm.rollback(migration) FROM zdm.status ORDER BY 1;

-- partitions
CREATE TABLE parted (id integer, v text, k integer) PARTITION BY LIST (k);
CREATE TABLE parted_1 PARTITION OF parted FOR VALUES IN (1);
CREATE TABLE parted_2 (k integer, gone text, v text, id integer);
ALTER TABLE parted_2 DROP COLUMN gone;
ALTER TABLE parted ATTACH PARTITION parted_2 FOR VALUES IN (2);
INSERT INTO parted VALUES (1, NULL, 1), (2, NULL, 2);
SELECT zdm.set_not_null('parted', 'v', $$'k' || k$$);
INSERT INTO parted VALUES (3, NULL, 2);
CALL zdm.backfill('set_parted_v_not_null');
UPDATE parted SET v = NULL, k = 2 WHERE id = 1;
SELECT zdm.contract('set_parted_v_not_null');
SELECT * FROM parted ORDER BY id;
SELECT attrelid::regclass, attnotnull FROM pg_attribute WHERE attname = 'v' AND attrelid::regclass::text LIKE 'parted%' ORDER BY 1;
SELECT conrelid::regclass, conname FROM pg_constraint WHERE conname LIKE '~zdm%';
SELECT tgrelid::regclass FROM pg_trigger WHERE tgname = '~zdm_sync';

-- a composite value is one to NOT NULL, whatever its fields
CREATE TYPE pair AS (a integer, b text);
CREATE TABLE composite (id integer PRIMARY KEY, c pair, m pair NOT NULL);
INSERT INTO composite VALUES (1, '(1,a)', '(1,)'), (2, '(1,)', '(,)'), (3, '(,)', '(1,a)'), (4, NULL, '(,)');
SET client_min_messages = warning;
SET statement_timeout = '30s';
SELECT zdm.set_not_null('composite', 'c', $$'(,filled)'::zdm_set_not_null.pair$$);
CALL zdm.backfill('set_composite_c_not_null');
SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid = 'composite'::regclass AND contype = 'c';
INSERT INTO composite VALUES (5, '(,)', '(,)'), (6, NULL, '(1,)');
SELECT zdm.contract('set_composite_c_not_null');
-- nor is it in the way of a NOT NULL that comes back, or goes to another column
SELECT zdm.drop_not_null('composite', 'm');
SELECT zdm.rollback('drop_composite_m_not_null');
CALL zdm.backfill('drop_composite_m_not_null');
SELECT zdm.rollback('drop_composite_m_not_null');
SELECT zdm.rename_column('composite', 'm', 'renamed');
CALL zdm.backfill('rename_composite_m_to_renamed');
SELECT zdm.contract('rename_composite_m_to_renamed');
SELECT * FROM composite ORDER BY id;
SELECT attname, attnotnull FROM pg_attribute WHERE attrelid = 'composite'::regclass AND attnum > 0 AND NOT attisdropped ORDER BY attname;
SELECT conname FROM pg_constraint WHERE conrelid = 'composite'::regclass AND contype = 'c';
RESET statement_timeout;

RESET SESSION AUTHORIZATION;
SET client_min_messages = warning;
DROP SCHEMA zdm_set_not_null CASCADE;
DROP ROLE regress_zdm_set_not_null;
