--
-- UPDATE, upsert and MERGE on a table with two names of one column: the value
-- that changed decides; rows that are not backfilled come into both shapes.
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS zdm;
CREATE ROLE regress_zdm_row_sync_update;
CREATE SCHEMA zdm_row_sync_update AUTHORIZATION regress_zdm_row_sync_update;
RESET client_min_messages;
SET SESSION AUTHORIZATION regress_zdm_row_sync_update;
SET search_path = zdm_row_sync_update;
\set VERBOSITY terse

SET client_min_messages = warning;

CREATE TABLE items (id integer PRIMARY KEY, a text DEFAULT 'default', other integer);
INSERT INTO items SELECT i, 'x' FROM generate_series(1, 20) i;
INSERT INTO items VALUES (21, NULL);
SELECT zdm.rename_column('items', 'a', 'b', migration => 'items');

-- no row is backfilled; each update touches one of them
CREATE VIEW item_view AS SELECT id, a AS seen FROM items;
UPDATE items SET a = 'old' WHERE id = 1;
UPDATE items SET b = 'new' WHERE id = 2;
UPDATE items SET a = NULL WHERE id = 3;
UPDATE items SET b = NULL WHERE id = 4;              -- an order, though b was empty
UPDATE items SET a = 'x' WHERE id = 5;               -- what it was
UPDATE items SET b = 'x' WHERE id = 6;
UPDATE items SET other = 1 WHERE id = 7;
UPDATE items SET a = 'same', b = 'same' WHERE id = 8;
UPDATE items SET a = 'lost', b = 'wins' WHERE id = 9;
UPDATE items SET a = 'x', b = 'wins' WHERE id = 10;
UPDATE items SET a = 'wins', b = NULL WHERE id = 11;
UPDATE items SET a = 'x', b = NULL WHERE id = 12;
UPDATE items SET a = DEFAULT WHERE id = 13;
UPDATE items SET b = DEFAULT WHERE id = 14;
UPDATE items SET (b, other) = (SELECT 'sub', 2) WHERE id = 15;
UPDATE item_view SET seen = 'view' WHERE id = 16;
UPDATE items SET a = upper(a) WHERE id = 17;
UPDATE items SET b = upper(a) WHERE id = 18;
UPDATE items SET other = 3 WHERE id = 21;
SELECT id, a, b, other FROM items ORDER BY id;
CALL zdm.backfill('items');
SELECT id, a, b FROM items WHERE id > 18 ORDER BY id;

-- every row is in both shapes
CREATE FUNCTION write_items() RETURNS SETOF items LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM items;
    INSERT INTO items (id, a) SELECT i, 'x' FROM generate_series(1, 24) i;
    UPDATE items SET a = 'old' WHERE id = 1;
    UPDATE items SET b = 'new' WHERE id = 2;
    UPDATE items SET a = NULL WHERE id = 3;
    UPDATE items SET b = NULL WHERE id = 4;
    UPDATE items SET a = 'x' WHERE id = 5;
    UPDATE items SET b = 'x' WHERE id = 6;
    UPDATE items SET other = 1 WHERE id = 7;
    UPDATE items SET a = 'same', b = 'same' WHERE id = 8;
    UPDATE items SET a = 'lost', b = 'wins' WHERE id = 9;
    UPDATE items SET a = 'x', b = 'wins' WHERE id = 10;
    UPDATE items SET a = 'wins', b = 'x' WHERE id = 11;
    UPDATE items SET a = 'lost', b = NULL WHERE id = 12;
    UPDATE items SET a = DEFAULT WHERE id = 13;
    UPDATE items SET b = DEFAULT WHERE id = 14;
    UPDATE item_view SET seen = 'view' WHERE id = 15;
    -- upserts: the row exists, and does not exist
    INSERT INTO items (id, a) VALUES (16, 'old'), (116, 'old')
        ON CONFLICT (id) DO UPDATE SET a = 'upsert ' || EXCLUDED.a;
    INSERT INTO items (id, b) VALUES (17, 'new'), (117, 'new')
        ON CONFLICT (id) DO UPDATE SET b = 'upsert ' || EXCLUDED.b;
    INSERT INTO items (id, a) VALUES (18, 'old') ON CONFLICT (id) DO UPDATE SET b = EXCLUDED.b;
    INSERT INTO items (id, b) VALUES (19, 'new') ON CONFLICT (id) DO UPDATE SET a = EXCLUDED.a;
    INSERT INTO items (id, b) VALUES (20, NULL) ON CONFLICT (id) DO UPDATE SET b = EXCLUDED.b;
    INSERT INTO items (id, b) VALUES (21, 'no') ON CONFLICT DO NOTHING;
    INSERT INTO items (id, b) VALUES (22, 'no')
        ON CONFLICT (id) DO UPDATE SET b = EXCLUDED.b WHERE items.a <> items.b;
    MERGE INTO items t USING (VALUES (23, 'old'), (123, 'old')) v (id, a) ON t.id = v.id
        WHEN MATCHED THEN UPDATE SET a = 'merge ' || v.a
        WHEN NOT MATCHED THEN INSERT (id, a) VALUES (v.id, v.a);
    MERGE INTO items t USING (VALUES (24, 'new'), (124, 'new'), (125, NULL)) v (id, b) ON t.id = v.id
        WHEN MATCHED THEN UPDATE SET b = 'merge ' || v.b
        WHEN NOT MATCHED THEN INSERT (id, b) VALUES (v.id, v.b);
    MERGE INTO items t USING (VALUES (126), (127), (128)) v (id) ON t.id = v.id
        WHEN NOT MATCHED AND v.id = 126 THEN INSERT (id, a) VALUES (v.id, 'old')
        WHEN NOT MATCHED AND v.id = 127 THEN INSERT (id, b) VALUES (v.id, 'new')
        WHEN NOT MATCHED THEN INSERT (id) VALUES (v.id);
    RETURN QUERY SELECT * FROM items ORDER BY id;
END $$;
SELECT id, a, b, other FROM write_items();

PREPARE old_update(integer, text) AS UPDATE items SET a = $2 WHERE id = $1 RETURNING a, b;
PREPARE new_update(integer, text) AS UPDATE items SET b = $2 WHERE id = $1 RETURNING a, b;
EXECUTE old_update(1, 'prepared old');
EXECUTE new_update(1, 'prepared new');
EXECUTE new_update(1, NULL);
UPDATE items i SET b = j.a FROM items j WHERE j.id = 2 AND i.id = 1 RETURNING i.a, i.b, j.a;
WITH w AS (UPDATE items SET b = 'with' WHERE id = 1 RETURNING id)
UPDATE items SET a = 'also' FROM w WHERE items.id = w.id + 1 RETURNING items.id, a, b;
SELECT id, a, b FROM items WHERE id IN (1, 2) ORDER BY id;
DELETE FROM items WHERE b = 'with' RETURNING id, a, b;
DELETE FROM items WHERE a = 'also' RETURNING id, a, b;

-- in quarantine: the names have changed columns, but nobody who writes knows
SELECT zdm.contract('items', '1 day');
SELECT id, a, b, other FROM write_items();
EXECUTE old_update(1, 'prepared old');
EXECUTE new_update(1, 'prepared new');
SELECT * FROM zdm.verify('items');

RESET SESSION AUTHORIZATION;
SET client_min_messages = warning;
DROP SCHEMA zdm_row_sync_update CASCADE;
DROP ROLE regress_zdm_row_sync_update;
