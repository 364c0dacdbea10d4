--
-- Rollback from each state loses nothing that either version wrote.
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS zdm;
CREATE ROLE regress_zdm_rollback;
CREATE SCHEMA zdm_rollback AUTHORIZATION regress_zdm_rollback;
RESET client_min_messages;
SET SESSION AUTHORIZATION regress_zdm_rollback;
SET search_path = zdm_rollback;
\set VERBOSITY terse

CREATE TABLE t (id integer PRIMARY KEY, a text DEFAULT 'default');
INSERT INTO t VALUES (1, 'one'), (2, 'two'), (3, 'three');
-- the function that mentions the column is told of at each expand
SET client_min_messages = error;
CREATE FUNCTION write(base integer) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO t (id, a) VALUES (base + 1, 'old');
    INSERT INTO t (id, b) VALUES (base + 2, 'new');
    INSERT INTO t (id) VALUES (base + 3);
    UPDATE t SET b = 'changed at ' || base WHERE id = base / 10;
END $$;

-- expanded, nothing backfilled
SELECT zdm.rename_column('t', 'a', 'b', migration => 'm');
SELECT write(10);
SELECT zdm.rollback('m');
SELECT * FROM t ORDER BY id;
SELECT count(*) FROM pg_trigger WHERE tgrelid = 't'::regclass;

-- ready
SELECT zdm.rename_column('t', 'a', 'b', migration => 'm');
CALL zdm.backfill('m');
SELECT write(20);
SELECT zdm.rollback('m');
SELECT * FROM t ORDER BY id;

-- contracted
SELECT zdm.rename_column('t', 'a', 'b', migration => 'm');
CALL zdm.backfill('m');
SELECT zdm.contract('m', '1 day');
SELECT write(30);
SELECT zdm.rollback('m');
SELECT * FROM t ORDER BY id;
\d t

-- finished: too late
SELECT zdm.rename_column('t', 'a', 'b', migration => 'm');
CALL zdm.backfill('m');
SELECT zdm.contract('m');
SELECT zdm.rollback('m');

-- what is kept of it
SELECT count(*) FROM zdm.status;
SELECT migration_id - min(migration_id) OVER () AS attempt, event FROM zdm.events
 WHERE migration = 'm' AND relation = 't'::regclass ORDER BY id;
RESET SESSION AUTHORIZATION;
SELECT count(*) FROM zdm.sync_rule WHERE relation = 'zdm_rollback.t'::regclass;
SELECT count(*) FROM zdm.backfill_range WHERE relation = 'zdm_rollback.t'::regclass;

RESET SESSION AUTHORIZATION;
SET client_min_messages = warning;
DROP SCHEMA zdm_rollback CASCADE;
DROP ROLE regress_zdm_rollback;
