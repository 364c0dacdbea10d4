--
-- Writers that may not call what fills a column: only a statement that needs
-- the value fails, and no row is lost for the backfill.
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS zdm;
CREATE ROLE regress_zdm_fill_owner;
CREATE ROLE regress_zdm_fill_writer;
CREATE SCHEMA zdm_fill_rights AUTHORIZATION regress_zdm_fill_owner;
SET SESSION AUTHORIZATION regress_zdm_fill_owner;
SET search_path = zdm_fill_rights;

GRANT USAGE ON SCHEMA zdm_fill_rights TO regress_zdm_fill_writer;
CREATE FUNCTION made_up(integer) RETURNS text LANGUAGE plpgsql AS $$BEGIN RETURN 'made up ' || $1; END$$;
REVOKE ALL ON FUNCTION made_up FROM public;
CREATE SEQUENCE tickets;
CREATE TABLE t (id integer PRIMARY KEY, n integer, a text, legacy text NOT NULL);
INSERT INTO t SELECT i, 0, CASE WHEN i > 4 THEN 'given' END, 'legacy' FROM generate_series(1, 6) i;
GRANT SELECT, INSERT, UPDATE ON t TO regress_zdm_fill_writer;
SELECT zdm.set_not_null('t', 'a', fill => 'made_up(id)');
SELECT zdm.drop_column('t', 'legacy', fill => 'made_up(id)');
SELECT zdm.add_column('t', 'ticket', 'bigint', default_value => $$nextval('tickets')$$);
SELECT zdm.add_column('t', 'second', 'bigint', default_value => $$nextval('tickets')$$);

SET SESSION AUTHORIZATION regress_zdm_fill_writer;
-- nothing is needed
UPDATE t SET n = 1 WHERE id = 5;
INSERT INTO t (id, a, legacy, ticket, second) VALUES (7, 'given', 'given', 70, NULL);
-- a row that could be filled on the way stays as it is
UPDATE t SET n = 1 WHERE id IN (1, 2);
UPDATE t SET n = 2, ticket = 20 WHERE id = 2;
UPDATE t SET n = 2, second = NULL WHERE id = 3;
UPDATE t SET ticket = NULL WHERE id = 4;
-- a value is needed
INSERT INTO t (id, a, ticket, second) VALUES (8, 'given', 80, 80);
INSERT INTO t (id, legacy, ticket, second) VALUES (8, 'given', 80, 80);
UPDATE t SET a = NULL WHERE id = 6;
SELECT * FROM t ORDER BY id;

SET SESSION AUTHORIZATION regress_zdm_fill_owner;
SELECT format('CALL zdm.backfill(%L)', migration) FROM zdm.status WHERE state = 'expanded' ORDER BY migration \gexec
SELECT id, n, a, legacy, ticket IS NULL AS no_ticket, second IS NULL AS no_second FROM t ORDER BY id;
SELECT count(ticket), count(DISTINCT ticket) FROM t WHERE id < 7;
SELECT zdm.contract(migration) FROM zdm.status ORDER BY migration;
\d t

-- a row that cannot stay older than the column: it has to be toasted
CREATE TABLE o (id integer PRIMARY KEY, large text);
ALTER TABLE o ALTER large SET STORAGE EXTERNAL;
INSERT INTO o SELECT generate_series(1, 3);
GRANT SELECT, UPDATE ON o TO regress_zdm_fill_writer;
SELECT zdm.add_column('o', 'ticket', 'bigint', default_value => $$nextval('tickets')$$);
SET SESSION AUTHORIZATION regress_zdm_fill_writer;
SET application_name = 'the writer';
UPDATE o SET large = repeat('x', 10000) WHERE id = 1;
UPDATE o SET large = repeat('x', 100) WHERE id = 2;
SET SESSION AUTHORIZATION regress_zdm_fill_owner;
CALL zdm.backfill('add_o_ticket');
SELECT id, length(large), ticket IS NULL AS no_ticket FROM o ORDER BY id;
SELECT level, event, detail FROM zdm.events WHERE migration = 'add_o_ticket' AND level = 'warning';
SELECT zdm.contract('add_o_ticket');

-- a default that fails for a while
CREATE SEQUENCE few MAXVALUE 2;
CREATE TABLE f (id integer PRIMARY KEY, n integer);
INSERT INTO f SELECT generate_series(1, 4);
SELECT zdm.add_column('f', 'c', 'bigint', default_value => $$nextval('few')$$);
UPDATE f SET n = 1;
SELECT count(c) FROM f;
\set VERBOSITY terse
CALL zdm.backfill('add_f_c');
ALTER SEQUENCE few MAXVALUE 100;
CALL zdm.backfill('add_f_c');
SELECT count(DISTINCT c) FROM f;

RESET SESSION AUTHORIZATION;
DROP SCHEMA zdm_fill_rights CASCADE;
DROP ROLE regress_zdm_fill_owner, regress_zdm_fill_writer;
