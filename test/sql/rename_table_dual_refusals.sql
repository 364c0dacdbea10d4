--
-- A table renamed by a second one: what is refused, before anything is done.
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS zdm;
CREATE ROLE regress_zdm_owner;
CREATE ROLE regress_zdm_other;
CREATE SCHEMA zdm_refuse AUTHORIZATION regress_zdm_owner;
GRANT USAGE ON SCHEMA zdm_refuse TO regress_zdm_other;
SET SESSION AUTHORIZATION regress_zdm_owner;
SET search_path = zdm_refuse;
CREATE TABLE t (id int PRIMARY KEY, a int, day date NOT NULL);
INSERT INTO t VALUES (1, 1, '2026-01-01');

-- the arguments
SELECT zdm.rename_table('t', 'n', 'dual_write', rename_owned => true);
SELECT zdm.rename_table('t', 'n', definition => 'WITH (fillfactor = 70)');
SELECT zdm.rename_table('t', 'n', 'dual_write', definition => '; DROP TABLE t');
SELECT zdm.rename_table('t', 'n', 'dual_write', definition => 'WITH (');
SELECT zdm.rename_table('t', 'n', 'dual_write', definition => 'INHERITS (t)');
SELECT zdm.rename_table('t', 'n', 'dual_write', definition => 'ON COMMIT DROP');
SELECT zdm.rename_table('t', 'n', 'dual_write', definition => 'TABLESPACE no_such');
SELECT zdm.rename_table('t', 'n', 'dual_write', definition => 'PARTITION BY RANGE (a)');
SELECT zdm.rename_table('t', 'n', 'dual_write', definition => 'PARTITION BY RANGE ((id + 1))');
SELECT zdm.rename_table('t', 'n', 'dual_write', definition => 'PARTITION BY RANGE (nothing)');
SELECT zdm.rename_table('t', 'pg_catalog.n', 'dual_write');
SET SESSION AUTHORIZATION regress_zdm_other;
SELECT zdm.rename_table('zdm_refuse.t', 'n', 'dual_write');
SET SESSION AUTHORIZATION regress_zdm_owner;

RESET SESSION AUTHORIZATION;
SELECT zdm.rename_table('t', 'n', 'dual_write');
SET SESSION AUTHORIZATION regress_zdm_owner;

-- a table that is there
CREATE TABLE n (id bigint PRIMARY KEY, a int, day date);
SELECT zdm.rename_table('t', 'n', 'dual_write');
SELECT zdm.rename_table('t', 'n', 'dual_write', definition => 'WITH (fillfactor = 70)');
DROP TABLE n;
CREATE TABLE n (LIKE t INCLUDING ALL);
INSERT INTO n VALUES (1, 1, '2026-01-01');
SELECT zdm.rename_table('t', 'n', 'dual_write');
DROP TABLE n;
CREATE TABLE n (id serial PRIMARY KEY, a int, day date NOT NULL);
SELECT zdm.rename_table('t', 'n', 'dual_write');
DROP TABLE n;
CREATE VIEW n AS SELECT * FROM t;
SELECT zdm.rename_table('t', 'n', 'dual_write');
DROP VIEW n;

-- the table
CREATE TABLE keyless (a int);
SELECT zdm.rename_table('keyless', 'n', 'dual_write');
CREATE TABLE tree (id int PRIMARY KEY, parent int REFERENCES tree);
SELECT zdm.rename_table('tree', 'n', 'dual_write');
CREATE TABLE ruled (id int PRIMARY KEY);
CREATE RULE nothing AS ON DELETE TO ruled DO INSTEAD NOTHING;
SELECT zdm.rename_table('ruled', 'n', 'dual_write');
CREATE TABLE loose (id int PRIMARY KEY, a int);
ALTER TABLE loose ADD CONSTRAINT positive CHECK (a > 0) NOT VALID;
SELECT zdm.rename_table('loose', 'n', 'dual_write');
CREATE TABLE counted (id int PRIMARY KEY, number int GENERATED ALWAYS AS IDENTITY);
SELECT zdm.rename_table('counted', 'n', 'dual_write');
CREATE TABLE excluded (id int PRIMARY KEY, day date NOT NULL, EXCLUDE USING btree (day WITH =));
SELECT zdm.rename_table('excluded', 'n', 'dual_write', definition => 'PARTITION BY RANGE (day)');
CREATE TABLE parent (id int PRIMARY KEY);
CREATE TABLE heir () INHERITS (parent);
SELECT zdm.rename_table('parent', 'n', 'dual_write');

-- what refers to it
CREATE TABLE referrer (id int, t int CONSTRAINT to_t REFERENCES t NOT NULL);
ALTER TABLE referrer DROP CONSTRAINT to_t, ADD CONSTRAINT to_t FOREIGN KEY (t) REFERENCES t NOT VALID;
SELECT zdm.rename_table('t', 'n', 'dual_write');
ALTER TABLE referrer VALIDATE CONSTRAINT to_t;
RESET SESSION AUTHORIZATION;
ALTER TABLE referrer OWNER TO regress_zdm_other;
SET SESSION AUTHORIZATION regress_zdm_owner;
SELECT zdm.rename_table('t', 'n', 'dual_write');
RESET SESSION AUTHORIZATION;
DROP TABLE referrer;
SET SESSION AUTHORIZATION regress_zdm_owner;
CREATE TABLE referrer (id int, t int CONSTRAINT to_t REFERENCES t) PARTITION BY LIST (id);
SELECT zdm.rename_table('t', 'n', 'dual_write');
DROP TABLE referrer;

-- nothing was left behind, and a table is in one migration at a time
SELECT count(*) FROM zdm.status;
SELECT zdm.rename_table('t', 'n', 'dual_write');
SELECT zdm.rename_table('t', 'm', 'dual_write');
SELECT zdm.rename_table('n', 'm', 'dual_write');
DROP TABLE n;
-- rows that only have a key, from both sides, before and after the backfill
SELECT zdm.rollback('rename_t_to_n');
CREATE TABLE pairs (a int, b int, PRIMARY KEY (a, b));
INSERT INTO pairs VALUES (1, 1), (2, 2);
SELECT zdm.rename_table('pairs', 'couples', 'dual_write');
UPDATE pairs SET a = a WHERE a = 1;
INSERT INTO couples VALUES (3, 3);
SELECT * FROM couples ORDER BY a;
CALL zdm.backfill('rename_pairs_to_couples');
UPDATE couples SET b = 4 WHERE a = 2;
SELECT * FROM pairs ORDER BY a;
SELECT zdm.contract('rename_pairs_to_couples');
SELECT * FROM couples ORDER BY a;

RESET SESSION AUTHORIZATION;
DROP SCHEMA zdm_refuse CASCADE;
DROP ROLE regress_zdm_owner, regress_zdm_other;
