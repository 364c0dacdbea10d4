--
-- Somebody's DDL while a table has two names: repeated on the view, or refused.
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS zdm;
CREATE ROLE regress_zdm_vg;
CREATE ROLE regress_zdm_vg_new;
CREATE ROLE regress_zdm_vg_reader;
GRANT regress_zdm_vg_new TO regress_zdm_vg;
CREATE SCHEMA zdm_vg AUTHORIZATION regress_zdm_vg;
CREATE SCHEMA zdm_vg_2 AUTHORIZATION regress_zdm_vg;
GRANT CREATE, USAGE ON SCHEMA zdm_vg TO regress_zdm_vg_new;
GRANT USAGE ON SCHEMA zdm_vg TO regress_zdm_vg_reader;
RESET client_min_messages;
SET SESSION AUTHORIZATION regress_zdm_vg;
SET search_path = zdm_vg;
\set VERBOSITY terse

CREATE TABLE t (id integer PRIMARY KEY, a text DEFAULT 'x', b integer);
INSERT INTO t VALUES (1, 'one', 1);
CREATE FUNCTION takes(t) RETURNS text LANGUAGE sql AS 'SELECT $1::text';
CREATE FUNCTION privileges() RETURNS TABLE (rel regclass, col name, what text) LANGUAGE sql AS $$
SELECT c.oid::regclass, ''::name, string_agg(x.grantee::regrole || ' ' || x.privilege_type || CASE WHEN x.is_grantable THEN '*' ELSE '' END, ', '
       ORDER BY x.grantee::regrole::text, x.privilege_type)
  FROM pg_class c, aclexplode(c.relacl) x
 WHERE c.relnamespace = 'zdm_vg'::regnamespace AND x.grantee <> c.relowner GROUP BY c.oid
UNION ALL SELECT c.oid::regclass, a.attname, string_agg(x.grantee::regrole || ' ' || x.privilege_type, ', ' ORDER BY x.privilege_type)
  FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid, aclexplode(a.attacl) x
 WHERE c.relnamespace = 'zdm_vg'::regnamespace GROUP BY c.oid, a.attname ORDER BY 2, 1 $$;
SET client_min_messages = error;
SELECT zdm.rename_table('t', 'n');
RESET client_min_messages;

-- a column that is added is there by both names in the same transaction
BEGIN;
ALTER TABLE n ADD COLUMN c integer DEFAULT 7, ADD COLUMN "D e" text;
INSERT INTO t (id, "D e") VALUES (2, 'new');
SELECT * FROM t ORDER BY id;
SELECT takes(t) FROM t ORDER BY id;
SELECT reloptions FROM pg_class WHERE oid = 't'::regclass;
ROLLBACK;
SELECT * FROM t ORDER BY id;
ALTER TABLE n ADD COLUMN c integer DEFAULT 7, ADD COLUMN "D e" text;
SELECT level, event, detail FROM zdm.events WHERE event = 'view follows' ORDER BY id;
-- a default that is changed
ALTER TABLE n ALTER a SET DEFAULT 'y', ALTER c DROP DEFAULT, ALTER b SET DEFAULT 1 + 1;
INSERT INTO t (id) VALUES (3);
UPDATE t SET a = DEFAULT, c = DEFAULT, b = DEFAULT WHERE id = 1;
SELECT * FROM t ORDER BY id;
-- by the old name, too: a column of the view has no default of its own for long
ALTER TABLE t ALTER a SET DEFAULT 'of the view';
\d t
-- what does not concern the view
ALTER TABLE n ADD CHECK (id > 0), ALTER b SET NOT NULL, ALTER b SET STATISTICS 10;
CREATE INDEX ON n (b);
COMMENT ON TABLE n IS 'two names';

-- what is granted by one name is by the other
GRANT SELECT, INSERT ON n TO regress_zdm_vg_reader;
GRANT UPDATE ON t TO regress_zdm_vg_reader WITH GRANT OPTION;
SELECT * FROM privileges();
REVOKE GRANT OPTION FOR UPDATE ON n FROM regress_zdm_vg_reader;
REVOKE INSERT ON t FROM regress_zdm_vg_reader;
SELECT * FROM privileges();
-- a column's: the view is its owner's from then on, and the column can be read by both names
REVOKE ALL ON n FROM regress_zdm_vg_reader;
GRANT SELECT (id) ON t TO regress_zdm_vg_reader;
SELECT * FROM privileges();
SET SESSION AUTHORIZATION regress_zdm_vg_reader;
SELECT count(id) FROM zdm_vg.t;
SELECT count(id) FROM zdm_vg.n;
SELECT count(a) FROM zdm_vg.t;
SET SESSION AUTHORIZATION regress_zdm_vg;
-- ... with which there is no row security, and no owner without privileges
ALTER TABLE n ENABLE ROW LEVEL SECURITY;
REVOKE INSERT ON n FROM regress_zdm_vg;
REVOKE SELECT (id) ON t FROM regress_zdm_vg_reader;
SELECT * FROM privileges();
SELECT reloptions FROM pg_class WHERE oid = 't'::regclass;
ALTER TABLE n ENABLE ROW LEVEL SECURITY;
GRANT SELECT (id) ON n TO regress_zdm_vg_reader;
SELECT * FROM privileges();
ALTER TABLE n DISABLE ROW LEVEL SECURITY;
GRANT SELECT ON ALL TABLES IN SCHEMA zdm_vg TO regress_zdm_vg_reader;
SELECT * FROM privileges();

-- what another than the owner has granted goes with it, by both names
\set grantor regress_zdm_vg_new
\set grantee regress_zdm_vg_reader
REVOKE ALL ON n FROM :grantee;
SELECT zdm.rollback('rename_t_to_n');
GRANT SELECT ON t TO :grantor WITH GRANT OPTION;
GRANT UPDATE (a) ON t TO :grantor;
SET SESSION AUTHORIZATION :grantor;
GRANT SELECT ON zdm_vg.t TO :grantee;
SET SESSION AUTHORIZATION regress_zdm_vg;
SELECT zdm.rename_table('t', 'n');
SELECT * FROM privileges();
SET SESSION AUTHORIZATION :grantor;
REVOKE SELECT ON zdm_vg.n FROM :grantee;
SET SESSION AUTHORIZATION regress_zdm_vg;
SELECT * FROM privileges();
SET SESSION AUTHORIZATION :grantor;
GRANT SELECT ON zdm_vg.t TO :grantee;
REVOKE SELECT ON zdm_vg.n FROM :grantee;
GRANT SELECT ON zdm_vg.n TO :grantee;
SET SESSION AUTHORIZATION regress_zdm_vg;
SELECT * FROM privileges();
SELECT zdm.rollback('rename_t_to_n');
SELECT zdm.rename_table('t', 'n');
RESET SESSION AUTHORIZATION;
DROP OWNED BY :grantor;
GRANT CREATE, USAGE ON SCHEMA zdm_vg TO :grantor;
SET SESSION AUTHORIZATION :grantee;
SELECT count(*) FROM zdm_vg.n;
SELECT count(*) FROM zdm_vg.t;
SET SESSION AUTHORIZATION regress_zdm_vg;
SELECT * FROM privileges();

-- an owner
ALTER TABLE n OWNER TO regress_zdm_vg_new;
SELECT relname, pg_get_userbyid(relowner) FROM pg_class WHERE relnamespace = 'zdm_vg'::regnamespace AND relkind IN ('r', 'v') ORDER BY 1;
SELECT proname, pg_get_userbyid(proowner) FROM pg_proc WHERE proname = '~zdm_row';
RESET SESSION AUTHORIZATION;
ALTER TABLE zdm_vg.n OWNER TO regress_zdm_vg;
SET SESSION AUTHORIZATION regress_zdm_vg;

-- refused
ALTER TABLE n RENAME TO o;
ALTER TABLE t RENAME TO o;
ALTER VIEW t RENAME TO o;
ALTER VIEW t SET SCHEMA zdm_vg_2;
ALTER TABLE t SET SCHEMA zdm_vg_2;
ALTER TABLE n SET SCHEMA zdm_vg_2;
ALTER TABLE n RENAME b TO bb;
ALTER VIEW t RENAME b TO bb;
ALTER TABLE n DROP b;
ALTER TABLE n DROP b CASCADE;
ALTER TABLE n ALTER b TYPE bigint;
DROP VIEW t;
DROP VIEW t CASCADE;
CREATE RULE r AS ON INSERT TO t DO INSTEAD NOTHING;
CREATE FUNCTION nothing() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
CREATE TRIGGER r INSTEAD OF INSERT ON t FOR EACH ROW EXECUTE FUNCTION nothing();
CREATE OR REPLACE VIEW t AS SELECT id, a, b, c, "D e", 1 AS more FROM n;
SELECT zdm.rename_column('n', 'b', 'c2');
SELECT zdm.rename_table('n', 'o');
-- mended: whose row security the view obeys
ALTER TABLE n ENABLE ROW LEVEL SECURITY;
ALTER VIEW t SET (security_invoker = false);
ALTER VIEW t RESET (security_invoker);
CREATE OR REPLACE VIEW t AS SELECT id, a, b, c, "D e" FROM n;
SELECT reloptions FROM pg_class WHERE oid = 't'::regclass;
ALTER TABLE n DISABLE ROW LEVEL SECURITY;
DROP FUNCTION "~zdm_row" CASCADE;
RESET SESSION AUTHORIZATION;
ALTER TABLE zdm_vg.n ALTER b SET DEFAULT 4;
SELECT proname, pg_get_userbyid(proowner) FROM pg_proc WHERE proname = '~zdm_row';
SET SESSION AUTHORIZATION regress_zdm_vg;
SELECT takes(t) FROM t WHERE id = 1;

-- what others attach to the view keeps it from going
CREATE VIEW of_view AS SELECT id FROM t;
CREATE FUNCTION of_view_row(t) RETURNS integer LANGUAGE sql AS 'SELECT 1';
CREATE FUNCTION atomic_view() RETURNS bigint LANGUAGE sql BEGIN ATOMIC SELECT count(*) FROM t; END;
\set VERBOSITY default
SELECT zdm.contract('rename_t_to_n');
SELECT zdm.rollback('rename_t_to_n');
\set VERBOSITY terse
DROP VIEW of_view;
DROP FUNCTION of_view_row(t);
DROP FUNCTION atomic_view;
-- rolled back the table is what it has become
SET client_min_messages = warning;
SELECT zdm.rollback('rename_t_to_n');
\d t

-- a column under two names: a new column cannot have the second
SELECT zdm.rename_column('t', 'b', 'bb', strategy => 'view');
ALTER TABLE "~zdm_t" ADD COLUMN bb integer;
ALTER TABLE "~zdm_t" RENAME a TO aa;
ALTER TABLE "~zdm_t" ADD COLUMN e integer;
GRANT SELECT (bb) ON t TO regress_zdm_vg_reader;
SELECT * FROM privileges() WHERE col <> '';
REVOKE SELECT (b) ON "~zdm_t" FROM regress_zdm_vg_reader;
SELECT * FROM privileges() WHERE col <> '';
\d t
ALTER TABLE t RENAME TO o;
ALTER TABLE t SET SCHEMA zdm_vg_2;
ALTER TABLE "~zdm_t" SET SCHEMA zdm_vg_2;
ALTER TABLE "~zdm_t" RENAME TO o;
SELECT takes(t) FROM t WHERE id = 1;
SELECT zdm.contract('rename_t_b_to_bb');
\d t
-- a table that is dropped ends its migration
SELECT zdm.rename_table('t', 'n');
DROP TABLE n;
DROP TABLE n CASCADE;
SELECT count(*) FROM zdm.status;
SELECT to_regclass('t'), to_regclass('n');

-- a partition, or a child: what is done to the whole would change it, too
\set VERBOSITY default
CREATE TABLE whole (id integer, a text) PARTITION BY RANGE (id);
CREATE TABLE part PARTITION OF whole FOR VALUES FROM (0) TO (10);
CREATE TABLE other (id integer, a text);
CREATE TABLE parent (id integer, a text);
CREATE TABLE child () INHERITS (parent);
SELECT zdm.rename_table('part', 'renamed_part');
SELECT zdm.rename_table('child', 'renamed_child');
ALTER TABLE whole ADD COLUMN b integer;
ALTER TABLE whole ATTACH PARTITION other FOR VALUES FROM (10) TO (20);
ALTER TABLE parent ALTER COLUMN a SET DEFAULT 'x';
ALTER TABLE ONLY parent ALTER COLUMN a SET DEFAULT 'x';
SELECT zdm.rename_table('other', 'renamed_other');
ALTER TABLE whole ATTACH PARTITION renamed_other FOR VALUES FROM (10) TO (20);
SELECT zdm.rollback(migration) FROM zdm.status;
ALTER TABLE whole ADD COLUMN b integer;
ALTER TABLE parent ALTER COLUMN a SET DEFAULT 'x';
\set VERBOSITY terse

RESET SESSION AUTHORIZATION;
SELECT state FROM zdm.migration WHERE name = 'rename_t_to_n' ORDER BY id DESC LIMIT 1;
SET client_min_messages = error;
DROP SCHEMA zdm_vg, zdm_vg_2 CASCADE;
DROP OWNED BY regress_zdm_vg, regress_zdm_vg_new, regress_zdm_vg_reader;
DROP ROLE regress_zdm_vg, regress_zdm_vg_new, regress_zdm_vg_reader;
