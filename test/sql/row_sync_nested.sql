--
-- Statements that run inside others: functions, triggers, DO, EXPLAIN ANALYZE.
-- Each is judged by its own column list, not by the one outside.
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS zdm;
CREATE ROLE regress_zdm_row_sync_nested;
CREATE SCHEMA zdm_row_sync_nested AUTHORIZATION regress_zdm_row_sync_nested;
RESET client_min_messages;
SET SESSION AUTHORIZATION regress_zdm_row_sync_nested;
SET search_path = zdm_row_sync_nested;
\set VERBOSITY terse

SET client_min_messages = warning;

-- with a default, a NULL that was written and one that was not are not alike
CREATE TABLE items (id integer PRIMARY KEY, a text DEFAULT 'default');
CREATE TABLE requests (id integer PRIMARY KEY, kind text);
CREATE TABLE other (id integer PRIMARY KEY, a text DEFAULT 'default');
SELECT zdm.rename_column('items', 'a', 'b', migration => 'items');
SELECT zdm.rename_column('other', 'a', 'b', migration => 'other');

CREATE FUNCTION insert_new(integer, text) RETURNS integer LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO items (id, b) VALUES ($1, $2);
    RETURN $1;
END $$;
CREATE FUNCTION insert_old(integer, text) RETURNS integer LANGUAGE sql AS
    'INSERT INTO items (id, a) VALUES ($1, $2) RETURNING id';

SELECT insert_new(1, 'new'), insert_new(2, NULL), insert_old(3, 'old'), insert_old(4, NULL);
DO $$
BEGIN
    INSERT INTO items (id, b) VALUES (5, NULL);
    INSERT INTO items (id, a) VALUES (6, NULL);
    INSERT INTO items (id) VALUES (7);
EXCEPTION WHEN OTHERS THEN
    RAISE;
END $$;

-- a function inside an INSERT into the same table, which names another column
INSERT INTO items (id, a) VALUES (insert_new(8, NULL) + 1, 'outer old');
INSERT INTO items (id, b) VALUES (insert_old(10, NULL) + 1, 'outer new');
INSERT INTO items (id, b) SELECT insert_old(i, 'inner old') + 100, NULL FROM generate_series(12, 13) i;

-- a trigger of another table, with a statement of its own for each kind
CREATE FUNCTION request() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    CASE NEW.kind
        WHEN 'old' THEN INSERT INTO items (id, a) VALUES (NEW.id, NULL);
        WHEN 'new' THEN INSERT INTO items (id, b) VALUES (NEW.id, NULL);
        WHEN 'none' THEN INSERT INTO items (id) VALUES (NEW.id);
        WHEN 'both' THEN INSERT INTO items (id, a, b) VALUES (NEW.id, 'lost', 'wins');
        WHEN 'update' THEN UPDATE items SET b = NULL WHERE id = 1;
    END CASE;
    RETURN NEW;
END $$;
CREATE TRIGGER request BEFORE INSERT ON requests FOR EACH ROW EXECUTE FUNCTION request();
CREATE TRIGGER request_after AFTER UPDATE ON requests FOR EACH ROW EXECUTE FUNCTION request();
INSERT INTO requests VALUES (20, 'old'), (21, 'new'), (22, 'none'), (23, 'both'), (24, 'update');
COPY requests FROM stdin;
25	old
26	new
27	none
\.
UPDATE requests SET id = id + 10, kind = CASE kind WHEN 'old' THEN 'new' WHEN 'new' THEN 'old' ELSE kind END
 WHERE id < 24;
SELECT id, a, b FROM items ORDER BY id;

-- triggers of the table itself: one that writes it again, and one that writes
-- another table with a migration
DELETE FROM items;
CREATE FUNCTION again() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.id < 100 THEN
        INSERT INTO items (id, b) VALUES (NEW.id + 100, NULL);
        INSERT INTO other (id, a) VALUES (NEW.id, NEW.b);
        INSERT INTO other (id, b) VALUES (NEW.id + 100, NULL);
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER again AFTER INSERT ON items FOR EACH ROW EXECUTE FUNCTION again();
INSERT INTO items (id, a) VALUES (1, 'old'), (2, DEFAULT);
INSERT INTO items (id, b) VALUES (3, 'new');
SELECT id, a, b FROM items ORDER BY id;
SELECT id, a, b FROM other ORDER BY id;
DROP TRIGGER again ON items;

-- a BEFORE trigger that changes what was written
DELETE FROM items;
CREATE FUNCTION shout() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.a := upper(NEW.a);
    RETURN NEW;
END $$;
CREATE TRIGGER shout BEFORE INSERT OR UPDATE ON items FOR EACH ROW EXECUTE FUNCTION shout();
INSERT INTO items (id, a) VALUES (1, 'old');
UPDATE items SET a = 'changed' WHERE id = 1;
SELECT id, a, b FROM items ORDER BY id;
DROP TRIGGER shout ON items;

-- EXPLAIN ANALYZE runs the statement
DELETE FROM items;
DO $$
BEGIN
    EXECUTE 'EXPLAIN (ANALYZE) INSERT INTO items (id, b) VALUES (1, NULL)';
    EXECUTE 'EXPLAIN (ANALYZE) INSERT INTO items (id, a) VALUES (2, NULL)';
END $$;
SELECT id, a, b FROM items ORDER BY id;

-- a portal that is run in pieces
DELETE FROM items;
BEGIN;
DECLARE c CURSOR FOR SELECT insert_new(i, NULL) FROM generate_series(1, 3) i;
FETCH 1 FROM c;
INSERT INTO items (id, a) VALUES (10, NULL);
FETCH 1 FROM c;
FETCH 1 FROM c;
COMMIT;
SELECT id, a, b FROM items ORDER BY id;

-- a statement that fails in the middle leaves nothing behind
DELETE FROM items;
CREATE FUNCTION fail_after(integer) RETURNS integer LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO items (id, b) VALUES ($1, NULL);
    PERFORM 1 / 0;
    RETURN $1;
END $$;
INSERT INTO items (id, a) VALUES (fail_after(1), 'old');
DO $$
BEGIN
    INSERT INTO items (id, b) VALUES (1, NULL);
    BEGIN
        INSERT INTO items (id, a) VALUES (fail_after(2), 'old');
    EXCEPTION WHEN division_by_zero THEN
        INSERT INTO items (id, a) VALUES (3, NULL);
    END;
END $$;
INSERT INTO items (id, b) VALUES (4, NULL);
SELECT id, a, b FROM items ORDER BY id;

RESET SESSION AUTHORIZATION;
SET client_min_messages = warning;
DROP SCHEMA zdm_row_sync_nested CASCADE;
DROP ROLE regress_zdm_row_sync_nested;
