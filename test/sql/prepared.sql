--
-- Statements, functions and cursors that are older than a phase and go on in it.
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS zdm;
CREATE ROLE regress_zdm_prepared;
CREATE SCHEMA zdm_prepared AUTHORIZATION regress_zdm_prepared;
RESET client_min_messages;
SET SESSION AUTHORIZATION regress_zdm_prepared;
SET search_path = zdm_prepared;
\set VERBOSITY terse

SET client_min_messages = error;

CREATE TABLE t (id integer PRIMARY KEY, a text DEFAULT 'default', n integer DEFAULT 0);
INSERT INTO t (id, a) SELECT i, 'row ' || i FROM generate_series(1, 6) i;
PREPARE old_insert(integer, text) AS INSERT INTO t (id, a) VALUES ($1, $2) RETURNING id, a;
PREPARE old_update(integer, text) AS UPDATE t SET a = $2 WHERE id = $1 RETURNING id, a;
PREPARE old_select(integer) AS SELECT id, a FROM t WHERE id = $1;
PREPARE old_star(integer) AS SELECT * FROM t WHERE id = $1;
CREATE FUNCTION old_function(integer, text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    r t;
    result text;
BEGIN
    INSERT INTO t (id, a) VALUES ($1, $2) ON CONFLICT (id) DO UPDATE SET a = EXCLUDED.a RETURNING a INTO result;
    SELECT * INTO r FROM t WHERE id = $1;
    RETURN result || '/' || r.a;
END $$;
-- generic plans, so that it is one plan that is made anew
SET plan_cache_mode = force_generic_plan;
EXECUTE old_insert(101, 'before');
EXECUTE old_update(1, 'before');
EXECUTE old_select(1);
EXECUTE old_star(1);
SELECT old_function(102, 'before');
BEGIN;
DECLARE c CURSOR FOR SELECT id, a FROM t ORDER BY id FOR UPDATE;
FETCH 1 FROM c;
UPDATE t SET a = 'current' WHERE CURRENT OF c;
COMMIT;

SELECT zdm.rename_column('t', 'a', 'b', migration => 'm');
PREPARE new_insert(integer, text) AS INSERT INTO t (id, b) VALUES ($1, $2) RETURNING id, b;
PREPARE new_update(integer, text) AS UPDATE t SET b = $2 WHERE id = $1 RETURNING id, b;
EXECUTE old_insert(111, 'expanded');
EXECUTE old_insert(112, NULL);
EXECUTE old_update(1, 'expanded');
EXECUTE old_select(1);
EXECUTE new_insert(113, 'expanded');
EXECUTE new_update(2, 'expanded');
SELECT old_function(114, 'expanded'), old_function(2, 'expanded');
-- a statement with a star fails, as after any ADD COLUMN, until it is prepared again
EXECUTE old_star(1);
BEGIN;
DECLARE c CURSOR FOR SELECT id, a FROM t ORDER BY id FOR UPDATE;
FETCH 1 FROM c;
UPDATE t SET b = 'current' WHERE CURRENT OF c RETURNING a, b;
FETCH 1 FROM c;
UPDATE t SET a = 'current' WHERE CURRENT OF c RETURNING a, b;
COMMIT;

CALL zdm.backfill('m');
EXECUTE old_update(3, 'ready');
EXECUTE new_update(4, 'ready');
EXECUTE new_insert(121, NULL);
SELECT old_function(122, 'ready'), old_function(3, 'ready again');

SELECT zdm.contract('m', '1 day');
EXECUTE old_insert(131, 'contracted');
EXECUTE old_insert(132, NULL);
EXECUTE old_update(5, 'contracted');
EXECUTE old_select(5);
EXECUTE new_insert(133, 'contracted');
EXECUTE new_update(6, 'contracted');
SELECT old_function(134, 'contracted'), old_function(6, 'contracted');
BEGIN;
DECLARE c CURSOR FOR SELECT id, b FROM t ORDER BY id FOR UPDATE;
FETCH 1 FROM c;
UPDATE t SET a = 'current' WHERE CURRENT OF c RETURNING a, b;
COMMIT;
SELECT id, a, b FROM t ORDER BY id;
SELECT mismatches FROM zdm.verify('m');

SELECT zdm.contract('m', '0');
EXECUTE new_insert(141, 'finished');
EXECUTE new_update(1, 'finished');
EXECUTE old_insert(142, 'finished');
EXECUTE old_update(1, 'finished');
EXECUTE old_select(1);
SELECT old_function(142, 'finished');

-- a view, a rule and a check option between the statement and the table
CREATE TABLE base (id integer PRIMARY KEY, a text DEFAULT 'default');
CREATE VIEW checked AS SELECT id AS key, a AS value FROM base WHERE a <> 'bad' OR a IS NULL WITH CHECK OPTION;
CREATE VIEW on_view AS SELECT value AS v, key AS k FROM checked;
CREATE TABLE log (id integer, a text);
CREATE RULE also AS ON INSERT TO log DO ALSO INSERT INTO base (id, a) VALUES (NEW.id, NEW.a);
CREATE VIEW by_trigger AS SELECT id, a AS x FROM base;
SELECT zdm.rename_column('base', 'a', 'b', migration => 'base');
CREATE FUNCTION instead() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO base (id, b) VALUES (NEW.id, NEW.x); RETURN NEW; END $$;
CREATE TRIGGER instead INSTEAD OF INSERT ON by_trigger FOR EACH ROW EXECUTE FUNCTION instead();
CREATE RULE also_new AS ON UPDATE TO log DO ALSO INSERT INTO base (id, b) VALUES (NEW.id, NEW.a);
INSERT INTO checked VALUES (1, 'old'), (2, NULL);
INSERT INTO checked (key) VALUES (3);
INSERT INTO on_view (k, v) VALUES (4, NULL);
INSERT INTO on_view (k) VALUES (5);
INSERT INTO on_view VALUES ('bad', 6);
UPDATE on_view SET v = 'changed' WHERE k = 5;
UPDATE base SET b = 'bad' WHERE id = 5;
INSERT INTO log VALUES (7, NULL), (8, 'log');
INSERT INTO by_trigger VALUES (9, NULL), (10, 'instead');
UPDATE log SET id = id + 4, a = CASE a WHEN 'log' THEN NULL ELSE 'was NULL' END;
SELECT * FROM base ORDER BY id;

RESET SESSION AUTHORIZATION;
SET client_min_messages = warning;
DROP SCHEMA zdm_prepared CASCADE;
DROP ROLE regress_zdm_prepared;
