--
-- Somebody else's DDL on a table with a migration in flight: what would break
-- the application's writes is refused, the rest goes through.
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS zdm;
CREATE ROLE regress_zdm_guard;
CREATE SCHEMA zdm_guard AUTHORIZATION regress_zdm_guard;
RESET client_min_messages;
SET SESSION AUTHORIZATION regress_zdm_guard;
SET search_path = zdm_guard;


SET client_min_messages = warning;

CREATE TABLE t (id integer PRIMARY KEY, a text, n integer);
INSERT INTO t VALUES (1, 'x', 1);
SELECT zdm.rename_column('t', 'a', 'b', migration => 'm');

-- what the migration needs
ALTER TABLE t RENAME COLUMN a TO c;
ALTER TABLE t RENAME COLUMN b TO c;
ALTER TABLE t DROP COLUMN a;
ALTER TABLE t DROP COLUMN b;
ALTER TABLE t DROP COLUMN IF EXISTS b CASCADE;
ALTER TABLE t ALTER COLUMN a TYPE integer USING 1;
ALTER TABLE t ALTER COLUMN b TYPE integer USING 1;
DROP TRIGGER "~zdm_sync" ON t;
ALTER TRIGGER "~zdm_sync" ON t RENAME TO other;
ALTER TABLE t DISABLE TRIGGER "~zdm_sync";
ALTER TABLE t ENABLE ALWAYS TRIGGER "~zdm_sync";
ALTER TABLE t ENABLE TRIGGER "~zdm_sync";
ALTER TABLE t ENABLE ALWAYS TRIGGER "~zdm_sync";
ALTER TABLE t DISABLE TRIGGER ALL;
ALTER TABLE t DISABLE TRIGGER USER;
ALTER TABLE t ENABLE ALWAYS TRIGGER "~zdm_sync";
CREATE FUNCTION nothing() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
CREATE TRIGGER "~~late" BEFORE UPDATE ON t FOR EACH ROW EXECUTE FUNCTION nothing();
DROP TRIGGER "~~late" ON t;
CREATE TRIGGER early BEFORE UPDATE ON t FOR EACH ROW EXECUTE FUNCTION nothing();
ALTER TRIGGER early ON t RENAME TO "~~late";
DROP TRIGGER "~~late" ON t;
DROP FUNCTION zdm._sync_row();
DROP FUNCTION zdm._sync_row() CASCADE;

-- what it does not
ALTER TABLE t ADD COLUMN c integer DEFAULT 5;
ALTER TABLE t RENAME COLUMN c TO d;
ALTER TABLE t DROP COLUMN d;
ALTER TABLE t ALTER COLUMN n TYPE bigint;
ALTER TABLE t ALTER COLUMN a SET STATISTICS 10;
ALTER TABLE t ADD CHECK (a <> 'bad');
CREATE INDEX t_a ON t (a);
CREATE TRIGGER early BEFORE UPDATE ON t FOR EACH ROW EXECUTE FUNCTION nothing();
DROP TRIGGER early ON t;
ALTER TABLE t ALTER COLUMN a TYPE varchar;
ALTER TABLE t ALTER COLUMN a SET NOT NULL;
INSERT INTO t (id, b) VALUES (2, 'new') RETURNING *;
INSERT INTO t (id, b) VALUES (3, 'bad');
INSERT INTO t (id, b) VALUES (3, NULL);
CLUSTER t USING t_a;
VACUUM FULL t;
TRUNCATE t;
INSERT INTO t (id, a) VALUES (1, 'old'), (2, 'older');

-- a table that changes its name or its schema stays the same table
ALTER TABLE t RENAME TO t_renamed;
INSERT INTO t_renamed (id, b) VALUES (3, 'new') RETURNING a;
SELECT relation, next_command FROM zdm.status;
RESET SESSION AUTHORIZATION;
CREATE SCHEMA zdm_guard_2 AUTHORIZATION regress_zdm_guard;
SET SESSION AUTHORIZATION regress_zdm_guard;
ALTER TABLE t_renamed SET SCHEMA zdm_guard_2;
CALL zdm.backfill('m');
SELECT relation, rows_compared, mismatches FROM zdm.verify('m');
SELECT zdm.contract('m', '1 day');
-- the same in quarantine
ALTER TABLE zdm_guard_2.t_renamed DROP COLUMN a;
ALTER TABLE zdm_guard_2.t_renamed RENAME COLUMN b TO c;
DROP TRIGGER "~zdm_sync" ON zdm_guard_2.t_renamed;
SELECT zdm.contract('m', '0');
ALTER TABLE zdm_guard_2.t_renamed RENAME COLUMN b TO c;
SELECT * FROM zdm_guard_2.t_renamed ORDER BY id;

-- children by inheritance would have rows that no trigger sees
CREATE TABLE parent (id integer, a text);
SELECT zdm.rename_column('parent', 'a', 'b', migration => 'parent');
CREATE TABLE child () INHERITS (parent);
CREATE TABLE child (id integer, b text, a text);
ALTER TABLE child INHERIT parent;
DROP TABLE parent;

-- in partitions
CREATE TABLE parted (id integer, a text) PARTITION BY RANGE (id);
CREATE TABLE parted_1 PARTITION OF parted FOR VALUES FROM (0) TO (10);
SELECT zdm.rename_column('parted', 'a', 'b', migration => 'p');
ALTER TABLE parted DROP COLUMN b;
ALTER TABLE parted_1 DROP COLUMN b;
DROP TRIGGER "~zdm_sync" ON parted_1;
ALTER TABLE parted_1 DISABLE TRIGGER "~zdm_sync";
ALTER TABLE parted_1 ENABLE ALWAYS TRIGGER "~zdm_sync";
ALTER TABLE parted DETACH PARTITION parted_1;
ALTER TABLE parted ATTACH PARTITION parted_1 FOR VALUES FROM (0) TO (10);
CREATE TABLE parted_2 (id integer, a text);
ALTER TABLE parted ATTACH PARTITION parted_2 FOR VALUES FROM (10) TO (20);
ALTER TABLE parted_2 ADD COLUMN b text;
ALTER TABLE parted ATTACH PARTITION parted_2 FOR VALUES FROM (10) TO (20);
INSERT INTO parted (id, b) VALUES (1, 'one'), (11, 'eleven');
SELECT tableoid::regclass, * FROM parted ORDER BY id;

-- a table in flight stays what it is: as a partition its columns would be
-- another table's
CREATE TABLE small (id integer, a text);
SELECT zdm.rename_column('small', 'a', 'b', migration => 's');
CREATE TABLE big (id integer, a text, b text) PARTITION BY RANGE (id);
\set VERBOSITY sqlstate
ALTER TABLE big ATTACH PARTITION small FOR VALUES FROM (0) TO (10);
\set VERBOSITY default
SELECT zdm.rollback('s');
DROP TABLE big, small;

-- a table that goes takes its migration with it
CREATE TABLE doomed (id integer, a text);
SELECT zdm.rename_column('doomed', 'a', 'b', migration => 'd');
BEGIN;
DROP TABLE doomed;
SELECT migration FROM zdm.status ORDER BY 1;
ROLLBACK;
SELECT migration FROM zdm.status ORDER BY 1;
INSERT INTO doomed (id, b) VALUES (1, 'still in sync') RETURNING a;
DROP TABLE doomed, parted;
SELECT migration FROM zdm.status ORDER BY 1;
SELECT zdm.rollback('d');
SELECT event, detail, role FROM zdm.events WHERE migration = 'd' ORDER BY id;
-- and its name is free
CREATE TABLE doomed (id integer, a text);
SELECT zdm.rename_column('doomed', 'a', 'b', migration => 'd');

-- the owner of one may change, and go
RESET SESSION AUTHORIZATION;
CREATE ROLE regress_zdm_guard_2;
CREATE SCHEMA zdm_guard_3 AUTHORIZATION regress_zdm_guard_2;
SET SESSION AUTHORIZATION regress_zdm_guard_2;
CREATE TABLE zdm_guard_3.t (id integer, a text);
SELECT zdm.rename_column('zdm_guard_3.t', 'a', 'b', migration => 'owned');
RESET SESSION AUTHORIZATION;
CREATE ROLE regress_zdm_guard_3;
REASSIGN OWNED BY regress_zdm_guard_2 TO regress_zdm_guard_3;
SELECT migration FROM zdm.status ORDER BY 1;
DROP OWNED BY regress_zdm_guard_3 CASCADE;
SELECT migration FROM zdm.status ORDER BY 1;
DROP ROLE regress_zdm_guard_2, regress_zdm_guard_3;
SET SESSION AUTHORIZATION regress_zdm_guard;

-- the extension does not go while one is in flight
RESET SESSION AUTHORIZATION;
DROP EXTENSION zdm;
DROP EXTENSION zdm CASCADE;
DROP EXTENSION IF EXISTS plpgsql_nope, zdm CASCADE;
DROP SCHEMA zdm CASCADE;
DROP EVENT TRIGGER zdm_guard_drop;
SET SESSION AUTHORIZATION regress_zdm_guard;
INSERT INTO doomed (id, b) VALUES (1, 'still in sync') RETURNING a;

RESET SESSION AUTHORIZATION;
SET client_min_messages = warning;
DROP SCHEMA zdm_guard, zdm_guard_2 CASCADE;
DROP ROLE regress_zdm_guard;
