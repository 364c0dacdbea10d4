--
-- What cannot be renamed so, and the way out of it.
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS zdm;
CREATE ROLE regress_zdm_refusals;
CREATE SCHEMA zdm_refusals AUTHORIZATION regress_zdm_refusals;
RESET client_min_messages;
SET SESSION AUTHORIZATION regress_zdm_refusals;
SET search_path = zdm_refusals;



-- tables
CREATE VIEW a_view AS SELECT 1 AS a;
CREATE MATERIALIZED VIEW a_matview AS SELECT 1 AS a;
CREATE SEQUENCE a_sequence;
CREATE TYPE a_composite AS (a integer);
CREATE TABLE plain (id integer PRIMARY KEY, a integer);
CREATE INDEX an_index ON plain (a);
CREATE TEMP TABLE a_temp (a integer);
CREATE TABLE typed OF a_composite;
CREATE TABLE parent (id integer, a integer);
CREATE TABLE child () INHERITS (parent);
CREATE TABLE parted (id integer, a integer, k integer) PARTITION BY RANGE (k);
CREATE TABLE parted_1 PARTITION OF parted FOR VALUES FROM (0) TO (10) PARTITION BY LIST (id);
CREATE TABLE parted_1_1 PARTITION OF parted_1 DEFAULT;

SELECT zdm.rename_column('a_view', 'a', 'b');
SELECT zdm.rename_column('a_matview', 'a', 'b');
SELECT zdm.rename_column('a_sequence', 'last_value', 'b');
SELECT zdm.rename_column('a_composite', 'a', 'b');
SELECT zdm.rename_column('an_index', 'a', 'b');
SELECT zdm.rename_column('a_temp', 'a', 'b');
SELECT zdm.rename_column('typed', 'a', 'b');
SELECT zdm.rename_column('parent', 'a', 'b');
SELECT zdm.rename_column('child', 'a', 'b');
SELECT zdm.rename_column('parted_1', 'a', 'b');
SELECT zdm.rename_column('parted_1_1', 'a', 'b');
SELECT zdm.rename_column('pg_class', 'relname', 'b');
SELECT zdm.rename_column('zdm.event', 'detail', 'b');
SELECT zdm.rename_column('nope', 'a', 'b');
SELECT zdm.rename_column(0, 'a', 'b');
SELECT zdm.rename_column(4294967295::oid, 'a', 'b');

-- columns
ALTER TABLE plain ADD COLUMN g integer GENERATED ALWAYS AS (a * 2) STORED;
SELECT zdm.rename_column('plain', 'g', 'h');
SELECT zdm.rename_column('plain', 'nope', 'b');
SELECT zdm.rename_column('plain', 'A', 'b');
SELECT zdm.rename_column('plain', 'ctid', 'b');
SELECT zdm.rename_column('plain', 'tableoid', 'b');
SELECT zdm.rename_column('plain', 'a', 'id');
SELECT zdm.rename_column('plain', 'a', 'a');
SELECT zdm.rename_column('plain', 'a', 'xmin');
SELECT zdm.rename_column('plain', 'a', '');
SELECT zdm.rename_column('plain', '', 'b');
SELECT zdm.rename_column('parted', 'k', 'b');
SELECT zdm.rename_column('parted', 'id', 'b');
CREATE TABLE by_expression (a integer, c integer) PARTITION BY RANGE (abs(a));
SELECT zdm.rename_column('by_expression', 'a', 'b');
ALTER TABLE plain ADD COLUMN gone integer;
ALTER TABLE plain DROP COLUMN gone;
SELECT zdm.rename_column('plain', '........pg.dropped.4........', 'b');
SELECT zdm.rename_column('plain', 'gone', 'b');

-- arguments
SELECT zdm.rename_column(NULL, 'a', 'b');
SELECT zdm.rename_column('plain', NULL, 'b');
SELECT zdm.rename_column('plain', 'a', NULL);
SELECT zdm.rename_column('plain', 'a', 'b', strategy => NULL);
SELECT zdm.rename_column('plain', 'a', 'b', strategy => 'alias');
SELECT zdm.rename_column('plain', 'a', 'b', strategy => 'teleport');
SELECT zdm.rename_column('plain', 'a', 'b', migration => '');
SELECT zdm.rename_column('plain', 'a', 'b', migration => repeat('m', 64));

-- a trigger that would have the last word
CREATE FUNCTION nothing() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
CREATE TRIGGER "~~late" BEFORE UPDATE ON plain FOR EACH ROW EXECUTE FUNCTION nothing();
SELECT zdm.rename_column('plain', 'a', 'b');
DROP TRIGGER "~~late" ON plain;
-- on a leaf, too
CREATE TABLE leaves (id integer, a integer) PARTITION BY RANGE (id);
CREATE TABLE leaves_1 PARTITION OF leaves FOR VALUES FROM (0) TO (10);
CREATE TRIGGER "~~late" BEFORE INSERT ON leaves_1 FOR EACH ROW EXECUTE FUNCTION nothing();
SELECT zdm.rename_column('leaves', 'a', 'b');
-- one that fires after the row is stored is none of ours, nor one for DELETE
CREATE TRIGGER "~~after" AFTER UPDATE ON plain FOR EACH ROW EXECUTE FUNCTION nothing();
CREATE TRIGGER "~~delete" BEFORE DELETE ON plain FOR EACH ROW EXECUTE FUNCTION nothing();
CREATE TRIGGER "~~statement" BEFORE UPDATE ON plain EXECUTE FUNCTION nothing();

-- a table that the backfill could not update, either
RESET SESSION AUTHORIZATION;
SET client_min_messages = error;
CREATE TABLE published (id integer, a integer);
CREATE PUBLICATION regress_zdm_refusals FOR TABLE published;
RESET client_min_messages;
ALTER TABLE published OWNER TO regress_zdm_refusals;
CREATE FOREIGN DATA WRAPPER regress_zdm_refusals;
CREATE SERVER regress_zdm_refusals FOREIGN DATA WRAPPER regress_zdm_refusals;
GRANT USAGE ON FOREIGN SERVER regress_zdm_refusals TO regress_zdm_refusals;
SET SESSION AUTHORIZATION regress_zdm_refusals;
SELECT zdm.rename_column('published', 'a', 'b');
CREATE FOREIGN TABLE a_foreign (a integer) SERVER regress_zdm_refusals;
SELECT zdm.rename_column('a_foreign', 'a', 'b');
CREATE FOREIGN TABLE parted_2 PARTITION OF parted FOR VALUES FROM (10) TO (20) SERVER regress_zdm_refusals;
SELECT zdm.rename_column('parted', 'a', 'b');

-- one column in two migrations
SET client_min_messages = warning;
SELECT zdm.rename_column('plain', 'a', 'b');
SELECT zdm.rename_column('plain', 'a', 'c');
SELECT zdm.rename_column('plain', 'b', 'c');
SELECT zdm.rename_column('plain', 'id', 'b');
SELECT zdm.rename_column('plain', 'a', 'b', migration => 'the_same_by_another_name');
-- the name of a migration in flight
SELECT zdm.rename_column('plain', 'id', 'key', migration => 'rename_plain_a_to_b');

-- on another's table: first of all, and whatever else is wrong with the call
RESET SESSION AUTHORIZATION;
CREATE TABLE not_yours (a integer);
CREATE ROLE regress_zdm_stranger;
GRANT USAGE ON SCHEMA zdm_refusals TO regress_zdm_stranger;
GRANT ALL ON ALL TABLES IN SCHEMA zdm_refusals TO regress_zdm_stranger;
CREATE TABLE parted_3 PARTITION OF parted FOR VALUES FROM (20) TO (30);
SET SESSION AUTHORIZATION regress_zdm_stranger;
SELECT zdm.rename_column('zdm_refusals.plain', 'a', 'b');
SELECT zdm.rename_column('zdm_refusals.plain', 'nope', 'id');
SELECT zdm.rename_column('zdm_refusals.a_view', 'a', 'b');
SELECT zdm.rename_column('zdm_refusals.an_index', 'a', 'b');
SELECT zdm.rename_column('zdm.migration', 'name', 'b');
CALL zdm.backfill('rename_plain_a_to_b');
SELECT zdm.verify('rename_plain_a_to_b');
SELECT zdm.contract('rename_plain_a_to_b');
SELECT zdm.finish('rename_plain_a_to_b');
SELECT zdm.rollback('rename_plain_a_to_b');
SELECT * FROM zdm.explain($$zdm.rollback('rename_plain_a_to_b')$$);
SELECT * FROM zdm.explain($$zdm.rename_column('zdm_refusals.plain', 'nope', 'id')$$);
SET SESSION AUTHORIZATION regress_zdm_refusals;
SELECT zdm.rename_column('not_yours', 'a', 'b');
-- a partition that belongs to somebody else
DROP FOREIGN TABLE parted_2;
SELECT zdm.rename_column('parted', 'a', 'b');
-- members of the owner may
RESET SESSION AUTHORIZATION;
GRANT regress_zdm_refusals TO regress_zdm_stranger;
SET SESSION AUTHORIZATION regress_zdm_stranger;
SELECT zdm.rollback('rename_plain_a_to_b');
RESET SESSION AUTHORIZATION;
REVOKE ALL ON SCHEMA zdm_refusals FROM regress_zdm_stranger;
DROP TABLE a_temp;
SET client_min_messages = warning;
DROP SERVER regress_zdm_refusals CASCADE;
DROP FOREIGN DATA WRAPPER regress_zdm_refusals;
DROP PUBLICATION regress_zdm_refusals;

RESET SESSION AUTHORIZATION;
SET client_min_messages = warning;
DROP SCHEMA zdm_refusals CASCADE;
DROP ROLE regress_zdm_refusals;
DROP ROLE regress_zdm_stranger;
