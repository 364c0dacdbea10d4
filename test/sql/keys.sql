--
-- Columns that are keys: primary, unique, foreign from either side, checked.
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS zdm;
CREATE ROLE regress_zdm_keys;
CREATE SCHEMA zdm_keys AUTHORIZATION regress_zdm_keys;
RESET client_min_messages;
SET SESSION AUTHORIZATION regress_zdm_keys;
SET search_path = zdm_keys;
\set VERBOSITY terse

SET client_min_messages = warning;

CREATE TABLE parent (a integer PRIMARY KEY, name text UNIQUE);
CREATE TABLE child (
    id integer PRIMARY KEY,
    a integer REFERENCES parent ON UPDATE CASCADE ON DELETE SET NULL,
    n integer CHECK (n > 0),
    UNIQUE (a, n) DEFERRABLE INITIALLY DEFERRED,
    EXCLUDE USING btree (n WITH =)
);
INSERT INTO parent SELECT i, 'p' || i FROM generate_series(1, 5) i;
INSERT INTO child SELECT i, i, i FROM generate_series(1, 5) i;

SELECT zdm.rename_column('parent', 'a', 'b');
SELECT zdm.rename_column('child', 'a', 'b');
SELECT zdm.rename_column('child', 'n', 'm');
SELECT zdm.rename_column('parent', 'name', 'label');

-- unique
INSERT INTO parent (b) VALUES (1);
INSERT INTO parent (b, label) VALUES (6, 'p1');
UPDATE parent SET b = 2 WHERE a = 1;
INSERT INTO parent (b, label) VALUES (6, 'p6') ON CONFLICT (a) DO UPDATE SET label = 'conflict';
INSERT INTO parent (b, label) VALUES (6, 'p6') ON CONFLICT (a) DO UPDATE SET label = 'conflict';
INSERT INTO parent (b, label) VALUES (7, 'conflict') ON CONFLICT DO NOTHING;
INSERT INTO parent (b, label) VALUES (7, 'p7') ON CONFLICT ON CONSTRAINT parent_pkey DO NOTHING;

-- foreign, from the referring side
INSERT INTO child (id, b, m) VALUES (6, 99, 6);
INSERT INTO child (id, b, m) VALUES (6, 6, 6);
UPDATE child SET b = 99 WHERE id = 1;
UPDATE child SET b = 7 WHERE id = 1;
-- and from the other: the actions of the foreign key write one name
UPDATE parent SET b = 20 WHERE a = 2;
UPDATE parent SET a = 30 WHERE a = 3;
DELETE FROM parent WHERE a = 4;
SELECT id, a, b, n, m FROM child ORDER BY id;

-- deferred, exclusion and check
BEGIN;
INSERT INTO child (id, b, m) VALUES (7, 5, 5);
ROLLBACK;
INSERT INTO child (id, b, m) VALUES (7, 5, 50);
UPDATE child SET m = 5 WHERE id = 7;
DELETE FROM child WHERE id = 7;
BEGIN;
ALTER TABLE child DROP CONSTRAINT child_n_excl;
INSERT INTO child (id, b, m) VALUES (7, 5, 5);
COMMIT;
INSERT INTO child (id, b, m) VALUES (7, 5, 0);
UPDATE child SET m = -1 WHERE id = 5;

SELECT format('CALL zdm.backfill(%L)', migration) FROM zdm.status ORDER BY migration COLLATE "C" \gexec
SELECT v.* FROM zdm.status s, zdm.verify(s.migration) v ORDER BY s.migration COLLATE "C";
SELECT zdm.contract(migration, '1 day') FROM zdm.status;
-- in quarantine the constraints are the new names'
INSERT INTO parent (a) VALUES (1);
INSERT INTO child (id, a, n) VALUES (8, 99, 8);
INSERT INTO child (id, a, n) VALUES (8, 1, 0);
UPDATE parent SET a = 10 WHERE a = 1;
UPDATE child SET a = 10, n = 100 WHERE id = 1;
SELECT id, a, b, n, m FROM child ORDER BY id;
SELECT v.* FROM zdm.status s, zdm.verify(s.migration) v ORDER BY s.migration COLLATE "C";
SELECT zdm.contract(migration, '0') FROM zdm.status;
SELECT * FROM parent ORDER BY b;
SELECT * FROM child ORDER BY id;
\d parent
\d child

RESET SESSION AUTHORIZATION;
SET client_min_messages = warning;
DROP SCHEMA zdm_keys CASCADE;
DROP ROLE regress_zdm_keys;
