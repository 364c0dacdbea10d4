--
-- The time after contract: the names have changed places, both are in sync, and
-- nothing is lost whether it ends with finish or with rollback.
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS zdm;
CREATE ROLE regress_zdm_quarantine;
CREATE SCHEMA zdm_quarantine AUTHORIZATION regress_zdm_quarantine;
RESET client_min_messages;
SET SESSION AUTHORIZATION regress_zdm_quarantine;
SET search_path = zdm_quarantine;
\set VERBOSITY terse

SET client_min_messages = warning;

CREATE TABLE t (id integer PRIMARY KEY, a text NOT NULL DEFAULT 'default');
CREATE INDEX t_a ON t (a);
INSERT INTO t SELECT i, 'row ' || i FROM generate_series(1, 5) i;
SET zdm.build_indexes = off;
SELECT zdm.rename_column('t', 'a', 'b', migration => 'm');
CALL zdm.backfill('m');
SELECT zdm.contract('m', '1 hour');
\d t
SELECT state, progress, quarantine_until > now() + '59 minutes' AS later,
       quarantine_until < now() + '61 minutes' AS sooner, next_command FROM zdm.status;

-- both versions go on
INSERT INTO t (id, a) VALUES (6, 'old');
INSERT INTO t (id, b) VALUES (7, 'new');
INSERT INTO t (id) VALUES (8);
UPDATE t SET a = 'old' WHERE id = 1;
UPDATE t SET b = 'new' WHERE id = 2;
UPDATE t SET a = 'lost', b = 'wins' WHERE id = 3;
INSERT INTO t (id, b) VALUES (9, NULL);
INSERT INTO t (id, a) VALUES (9, NULL);
SELECT id, a, b FROM t ORDER BY id;

-- its end is moved
SELECT zdm.contract('m', '2 hours');
SELECT quarantine_until > now() + '119 minutes' AS moved FROM zdm.status;
SELECT zdm.contract('m', '1 second');
SELECT quarantine_until < now() + '2 seconds' AS moved FROM zdm.status;

-- rollback
SELECT zdm.rollback('m');
\d t
SELECT * FROM t ORDER BY id;
SELECT count(*) FROM zdm.status;

-- finish, once it is over
SELECT zdm.rename_column('t', 'a', 'b', migration => 'm');
CALL zdm.backfill('m');
SELECT zdm.contract('m', '1 microsecond');
SELECT state FROM zdm.status;
UPDATE t SET a = 'last' WHERE id = 4;
SELECT zdm.finish('m');
\d t
SELECT * FROM t ORDER BY id;

-- the setting, and the call that says otherwise
SET zdm.quarantine = '1h';
SELECT zdm.rename_column('t', 'b', 'c', migration => 'm');
CALL zdm.backfill('m');
SELECT zdm.contract('m', '0');
SELECT zdm.rename_column('t', 'c', 'd', migration => 'm');
CALL zdm.backfill('m');
SELECT zdm.contract('m');
SELECT quarantine_until > now() + '59 minutes' AS later FROM zdm.status;
-- while one is in quarantine its names are taken, and others are free
SELECT zdm.rename_column('t', 'd', 'e');
SELECT zdm.rename_column('t', 'c', 'e');
SELECT zdm.rename_column('t', 'id', 'key', migration => 'other');
INSERT INTO t (key, c) VALUES (20, 'old') RETURNING id, key, c, d;
SELECT zdm.contract('m', '0');
SELECT zdm.rollback('other');
SELECT phase, description, sql, state FROM zdm.steps WHERE migration = 'm' AND phase = 'contract'
 ORDER BY migration_id DESC, step LIMIT 3;
SELECT level, event FROM zdm.events
 WHERE migration_id = (SELECT max(migration_id) FROM zdm.events WHERE migration = 'm') ORDER BY id;

-- the old version's values beside a default that is drawn for each row, in
-- statements that write the table more than once
CREATE SEQUENCE numbers;
CREATE TABLE drawn (id integer PRIMARY KEY, a text DEFAULT 'drawn ' || nextval('numbers'));
SELECT zdm.rename_column('drawn', 'a', 'b', migration => 'drawn');
CALL zdm.backfill('drawn');
SELECT zdm.contract('drawn', '1 day');
INSERT INTO drawn (id, a) VALUES (1, 'old'), (2, NULL);
WITH w AS (INSERT INTO drawn (id, a) VALUES (3, 'old') RETURNING id) UPDATE drawn SET a = 'changed' FROM w WHERE drawn.id = 1;
WITH w AS (INSERT INTO drawn (id, a) VALUES (4, 'old')) INSERT INTO drawn (id, b) VALUES (5, 'new');
WITH w AS (INSERT INTO drawn (id, a) VALUES (6, 'old')) DELETE FROM drawn WHERE id = 2;
SELECT id, a, b FROM drawn ORDER BY id;
SELECT zdm.rollback('drawn');

RESET SESSION AUTHORIZATION;
SET client_min_messages = warning;
DROP SCHEMA zdm_quarantine CASCADE;
DROP ROLE regress_zdm_quarantine;
