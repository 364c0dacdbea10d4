--
-- Constraints of which a column that changes its type has no second one in time,
-- and foreign keys of which only one acts, where the library is not preloaded.
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS zdm;
ALTER SEQUENCE zdm.migration_id_seq RESTART WITH 610001;
CREATE ROLE regress_zdm_constraints;
CREATE SCHEMA zdm_constraints AUTHORIZATION regress_zdm_constraints;
SET search_path = zdm_constraints;
\set VERBOSITY terse
SET ROLE regress_zdm_constraints;
CREATE TABLE seats (
    id int PRIMARY KEY,
    rank int CONSTRAINT seats_rank UNIQUE DEFERRABLE,
    place int,
    label int CONSTRAINT seats_label UNIQUE NULLS NOT DISTINCT,
    CONSTRAINT seats_place EXCLUDE (place WITH =) DEFERRABLE INITIALLY DEFERRED);
CREATE UNIQUE INDEX seats_pair ON seats (label, id);
COMMENT ON CONSTRAINT seats_rank ON seats IS 'the rank';
INSERT INTO seats SELECT i, i, i, i FROM generate_series(1, 5) i;
CREATE TABLE keys (id int PRIMARY KEY);
INSERT INTO keys SELECT generate_series(1, 5);
CREATE TABLE guests (
    n int,
    seat int DEFAULT 1 CONSTRAINT guests_seat REFERENCES keys ON DELETE SET DEFAULT,
    later int CONSTRAINT guests_later REFERENCES keys DEFERRABLE,
    loaded int CONSTRAINT guests_loaded REFERENCES keys);
INSERT INTO guests SELECT i, i, i, i FROM generate_series(1, 5) i;
RESET ROLE;
-- what a superuser does for a load: of one foreign key
DO $$
DECLARE
    t name;
BEGIN
    FOR t IN SELECT tgname FROM pg_trigger JOIN pg_constraint c ON c.oid = tgconstraint
              WHERE tgrelid = 'guests'::regclass AND conname = 'guests_loaded' LOOP
        EXECUTE format('ALTER TABLE guests DISABLE TRIGGER %I', t);
    END LOOP;
END $$;
SET ROLE regress_zdm_constraints;
CREATE VIEW demands AS
    SELECT c.conname, c.contype, c.condeferrable, c.condeferred, i.indisunique, i.indimmediate, i.indisexclusion,
           pg_get_constraintdef(c.oid) AS definition, obj_description(c.oid, 'pg_constraint') AS comment
      FROM pg_constraint c JOIN pg_index i ON i.indexrelid = c.conindid
     WHERE c.conrelid = 'seats'::regclass AND c.contype <> 'f' ORDER BY conname COLLATE "C";
CREATE VIEW actions AS
    SELECT c.conname, c.confdeltype, c.condeferrable, c.condeferred, t.tgrelid::regclass, t.tgfoid::regproc, t.tgenabled,
           t.tgdeferrable, t.tginitdeferred
      FROM pg_constraint c JOIN pg_trigger t ON t.tgconstraint = c.oid
     WHERE c.conrelid = 'guests'::regclass
     ORDER BY conname COLLATE "C", tgrelid::regclass::text COLLATE "C", tgfoid::regproc::text COLLATE "C";

-- a deferrable constraint: the second column's index is a plain one
SELECT zdm.change_column_type('seats', 'rank', 'bigint', migration => 'rank');
CALL zdm.backfill('rank');
\d seats
UPDATE seats SET rank = 6 - rank;
BEGIN;
SET CONSTRAINTS seats_rank DEFERRED;
UPDATE seats SET rank = 2 WHERE id = 1;
UPDATE seats SET rank = 5 WHERE id = 4;
COMMIT;
UPDATE seats SET rank = 2 WHERE id = 1;
-- with a quarantine both have the constraint
SELECT zdm.contract('rank', '1 day');
TABLE demands;
UPDATE seats SET rank = 6 - rank;
BEGIN;
SET CONSTRAINTS seats_rank DEFERRED;
UPDATE seats SET rank = 1 WHERE id = 1;
UPDATE seats SET rank = 4 WHERE id = 4;
COMMIT;
UPDATE seats SET rank = 3 WHERE id = 1;
SELECT zdm.rollback('rank');
TABLE demands;
UPDATE seats SET rank = 3 WHERE id = 1;
SELECT zdm.change_column_type('seats', 'rank', 'bigint', migration => 'rank');
CALL zdm.backfill('rank');
SELECT zdm.contract('rank');
TABLE demands;
UPDATE seats SET rank = 3 WHERE id = 1;
SELECT id, rank FROM seats ORDER BY id;

-- an exclusion constraint
SELECT zdm.change_column_type('seats', 'place', 'bigint', migration => 'place');
CALL zdm.backfill('place');
SELECT zdm.contract('place');
TABLE demands;
UPDATE seats SET place = 3 WHERE id = 1;
BEGIN;
UPDATE seats SET place = 3 WHERE id = 1;
UPDATE seats SET place = 1 WHERE id = 3;
COMMIT;

-- unique ones become so at contract, without a quarantine
SELECT zdm.change_column_type('seats', 'label', 'bigint', migration => 'label');
CALL zdm.backfill('label');
\d seats
INSERT INTO seats (id, label) VALUES (9, 3) ON CONFLICT (label) DO UPDATE SET label = 33 RETURNING id;
-- one that came since, and is not known to hold
CREATE UNIQUE INDEX late ON seats ((label + 1));
SELECT zdm.contract('label');
DROP INDEX late;
\set VERBOSITY default
SELECT zdm.contract('label', '1 day');
\set VERBOSITY terse
SELECT zdm.contract('label');
\d seats
TABLE demands;
INSERT INTO seats (id, label) VALUES (9, 33);
INSERT INTO seats (id, label) VALUES (9, NULL), (10, NULL);

-- foreign keys: the first one acts until contract
TABLE actions;
SELECT zdm.change_column_type('guests', 'seat', 'bigint', migration => 'seat');
SELECT zdm.change_column_type('guests', 'later', 'bigint', migration => 'later');
SELECT zdm.change_column_type('guests', 'loaded', 'bigint', migration => 'loaded');
CALL zdm.backfill('seat');
CALL zdm.backfill('later');
CALL zdm.backfill('loaded');
TABLE actions;
\set app 'BEGIN; SET CONSTRAINTS guests_later DEFERRED; INSERT INTO guests (n, seat, later, loaded) VALUES (6, 5, 6, 99); DELETE FROM guests WHERE n < 6; DELETE FROM keys WHERE id = 5; SELECT n, seat, later, loaded FROM guests; INSERT INTO keys VALUES (6); SET CONSTRAINTS ALL IMMEDIATE; ROLLBACK'
:app;
INSERT INTO guests (n, later) VALUES (7, 7);
SELECT zdm.contract('seat', '1 day');
SELECT zdm.contract('later', '1 day');
SELECT zdm.contract('loaded', '1 day');
TABLE actions;
:app;
INSERT INTO guests (n, later) VALUES (7, 7);
SELECT zdm.rollback('seat');
SELECT zdm.contract('later', '0');
SELECT zdm.contract('loaded', '0');
TABLE actions;
:app;
-- a row that refers to nothing is found when the second key is validated
SELECT zdm.change_column_type('guests', 'loaded', 'int', migration => 'loaded');
INSERT INTO guests (n, loaded) VALUES (8, 88);
\set VERBOSITY default
CALL zdm.backfill('loaded');
\set VERBOSITY terse
DELETE FROM guests WHERE n = 8;
CALL zdm.backfill('loaded');
SELECT zdm.contract('loaded');
SELECT count(*) FROM zdm.status;

RESET ROLE;
SET client_min_messages = error;
DROP SCHEMA zdm_constraints CASCADE;
DROP ROLE regress_zdm_constraints;
