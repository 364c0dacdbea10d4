--
-- The backfill: what it changes and what not, where it stops and goes on, and
-- what the caller's settings have to do with it.
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS zdm;
CREATE ROLE regress_zdm_backfill;
CREATE SCHEMA zdm_backfill AUTHORIZATION regress_zdm_backfill;
RESET client_min_messages;
SET SESSION AUTHORIZATION regress_zdm_backfill;
SET search_path = zdm_backfill;
\set VERBOSITY terse

SET client_min_messages = warning;

-- only the new column changes, and no trigger of the table's notices
CREATE TABLE t (id integer PRIMARY KEY, a text, touched integer DEFAULT 0, filler text DEFAULT repeat('x', 200));
INSERT INTO t (id, a) SELECT i, CASE WHEN i % 10 <> 0 THEN 'row ' || i END FROM generate_series(1, 10000) i;
CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.touched := OLD.touched + 1; RETURN NEW; END $$;
CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'the trigger has fired'; END $$;
SET client_min_messages = error;
CREATE TRIGGER touch BEFORE UPDATE ON t FOR EACH ROW EXECUTE FUNCTION touch();
CREATE TRIGGER fail AFTER UPDATE ON t FOR EACH ROW EXECUTE FUNCTION fail();
CREATE TRIGGER fail_statement AFTER UPDATE ON t EXECUTE FUNCTION fail();
CREATE RULE fail_rule AS ON UPDATE TO t WHERE false DO ALSO SELECT 1 / 0;
SELECT zdm.rename_column('t', 'a', 'b', migration => 'm');
SET client_min_messages = warning;
DELETE FROM t WHERE id % 100 = 1;
INSERT INTO t (id, b) SELECT i, 'row ' || i FROM generate_series(20001, 20100) i;
SET zdm.batch_target = '1ms';
CALL zdm.backfill('m');
RESET zdm.batch_target;
SELECT count(*), count(b), count(*) FILTER (WHERE b = a AND b = 'row ' || id) AS filled, sum(touched) AS touched FROM t;
SELECT state, rows_done BETWEEN 9900 AND 10000 AS rows, blocks_done = blocks_total AS blocks, eta, workers, batch_blocks > 0 AS batch,
       waiting_for, waiting_since FROM zdm.progress;
SELECT * FROM zdm.verify('m');
SELECT zdm.rollback('m');

-- with its triggers, where that is wanted
SELECT zdm.rename_column('t', 'touched', 'edits', migration => 'other');
DROP RULE fail_rule ON t;
DROP TRIGGER fail_statement ON t;
DROP TRIGGER fail ON t;
CREATE TRIGGER fail AFTER UPDATE ON t FOR EACH ROW WHEN (OLD.id IN (2, 5000, 20100)) EXECUTE FUNCTION fail();
SET zdm.fire_user_triggers = on;
CALL zdm.backfill('other');
SELECT state, last_error FROM zdm.status;
SELECT count(*), count(edits) FROM t;
SET client_min_messages = error;
SELECT zdm.rollback('other');
DROP TRIGGER fail ON t;
SELECT zdm.rename_column('t', 'a', 'b', migration => 'm');
SET client_min_messages = warning;
CALL zdm.backfill('m');
RESET zdm.fire_user_triggers;
SELECT touched, count(*) FROM t GROUP BY touched ORDER BY touched;
SELECT rows_compared, mismatches FROM zdm.verify('m');
SELECT zdm.rollback('m');

-- a call that is cancelled has lost nothing, and the next one goes on
SET client_min_messages = error;
SELECT zdm.rename_column('t', 'a', 'b', migration => 'm');
SET zdm.batch_target = '1ms';
SET zdm.backfill_pause = 1000;
SET statement_timeout = '300ms';
CALL zdm.backfill('m');
SELECT state, last_error, progress > 0 AS begun, progress < 100 AS not_ended FROM zdm.status;
SELECT count(b) > 0 AS begun, count(b) < count(a) AS not_ended FROM t;
RESET zdm.backfill_pause;
RESET zdm.batch_target;
\set VERBOSITY default
SET client_min_messages = notice;
SET statement_timeout = '1h';
CALL zdm.backfill('m');
\set VERBOSITY terse
RESET statement_timeout;
SET client_min_messages = warning;
SELECT rows_compared, mismatches FROM zdm.verify('m');
SELECT event, count(*) FROM zdm.events WHERE migration_id = (SELECT max(migration_id) FROM zdm.events WHERE migration = 'm')
 GROUP BY event ORDER BY min(id);
SELECT zdm.contract('m');

-- a table that is stored anew, emptied, or grown in between
SET client_min_messages = error;
CREATE TABLE moved (id integer PRIMARY KEY, a text);
INSERT INTO moved SELECT i, 'row ' || i FROM generate_series(1, 1000) i;
DELETE FROM moved WHERE id < 900;
SELECT zdm.rename_column('moved', 'a', 'b', migration => 'moved');
VACUUM FULL moved;
CALL zdm.backfill('moved');
SELECT count(*), count(b) FROM moved;
SELECT event, detail FROM zdm.events WHERE migration = 'moved' ORDER BY id;
SELECT zdm.rollback('moved');
SELECT zdm.rename_column('moved', 'a', 'b', migration => 'moved');
TRUNCATE moved;
INSERT INTO moved (id, a) SELECT i, 'new row ' || i FROM generate_series(1, 1000) i;
CALL zdm.backfill('moved');
SELECT count(*), count(b) FROM moved;
SELECT zdm.rollback('moved');
SELECT zdm.rename_column('moved', 'a', 'b', migration => 'moved');
DELETE FROM moved;
VACUUM moved;
CALL zdm.backfill('moved');
SELECT state FROM zdm.status WHERE migration = 'moved';
SELECT zdm.contract('moved');

-- settings of the session that would get in the way
CREATE TABLE settings (id integer PRIMARY KEY, a text);
INSERT INTO settings SELECT i, 'row ' || i FROM generate_series(1, 100) i;
SELECT zdm.rename_column('settings', 'a', 'b', migration => 'settings');
SET default_transaction_isolation = 'serializable';
SET default_transaction_deferrable = on;
CALL zdm.backfill('settings');
SHOW transaction_isolation;
SELECT count(b) FROM settings;
RESET default_transaction_isolation;
RESET default_transaction_deferrable;
SELECT zdm.rollback('settings');
SELECT zdm.rename_column('settings', 'a', 'b', migration => 'settings');
SET enable_tidscan = off;
SET enable_seqscan = off;
SET row_security = off;
SET DateStyle = 'SQL, DMY';
SET extra_float_digits = -10;
SET backslash_quote = off;
SET quote_all_identifiers = on;
SET default_toast_compression = pglz;
SET zdm.lock_patience = 0;
CALL zdm.backfill('settings');
SELECT zdm.contract('settings');
RESET ALL;
SET search_path = zdm_backfill;
SET client_min_messages = warning;
SELECT count(*), min(b), max(b) FROM settings;

-- one after the other, by another role than the one that began
SET client_min_messages = error;
SELECT zdm.rename_column('settings', 'b', 'c', migration => 'settings');
RESET SESSION AUTHORIZATION;
CALL zdm.backfill('settings');
SET SESSION AUTHORIZATION regress_zdm_backfill;
SELECT count(c) FROM settings;
SELECT event, role FROM zdm.events WHERE migration_id = (SELECT max(migration_id) FROM zdm.events) AND event = 'expanded';

RESET SESSION AUTHORIZATION;
SET client_min_messages = warning;
DROP SCHEMA zdm_backfill CASCADE;
DROP ROLE regress_zdm_backfill;
