--
-- What a column cannot be dropped for: at expand, and at contract with the
-- list of what is in the way.
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS zdm;
CREATE ROLE regress_zdm_drop_refusals;
CREATE ROLE regress_zdm_drop_stranger;
CREATE SCHEMA zdm_drop_refusals AUTHORIZATION regress_zdm_drop_refusals;
RESET client_min_messages;
SET SESSION AUTHORIZATION regress_zdm_drop_refusals;
SET search_path = zdm_drop_refusals;


CREATE DOMAIN filled AS text NOT NULL;
CREATE TABLE t (
    id integer PRIMARY KEY,
    mandatory text NOT NULL,
    optional text,
    checked text CHECK (coalesce(checked, '') <> ''),
    by_default text NOT NULL DEFAULT 'x',
    one integer NOT NULL DEFAULT 1 UNIQUE,
    code text NOT NULL UNIQUE,
    generated integer GENERATED ALWAYS AS (id * 2) STORED,
    of_domain filled
);
-- expand
SELECT zdm.drop_column('t', 'nothing');
SELECT zdm.drop_column('t', 'ctid');
SELECT zdm.drop_column('t', NULL);
SELECT zdm.drop_column('t', 'id');
SELECT zdm.drop_column('t', 'mandatory');
SELECT zdm.drop_column('t', 'checked');
SELECT zdm.drop_column('t', 'optional', fill => $$'x'$$);
SELECT zdm.drop_column('t', 'by_default', fill => $$'y'$$);
SELECT zdm.drop_column('t', 'generated', fill => '1');
SELECT zdm.drop_column('t', 'of_domain', fill => $$'x'$$);
SELECT zdm.drop_column('t', 'one');
SELECT zdm.drop_column('t', 'code', fill => $$'the same'$$);
SELECT zdm.drop_column('t', 'mandatory', fill => 'nonsense || id');
SELECT zdm.drop_column('t', 'mandatory', fill => 'count(*)::text');
SELECT zdm.drop_column('t', 'mandatory', fill => '(SELECT 1)');
SELECT zdm.drop_column('t', 'mandatory', fill => 'generated::text');
SELECT zdm.drop_column('t', 'mandatory', fill => 'NULL');
SELECT zdm.drop_column('t', 'mandatory', fill => 'mandatory');

ALTER TABLE t ADD "~zdm_optional" integer;
SELECT zdm.drop_column('t', 'optional');
ALTER TABLE t DROP "~zdm_optional";

CREATE TABLE parted (a integer, b text) PARTITION BY LIST (a);
CREATE TABLE part PARTITION OF parted FOR VALUES IN (1);
SELECT zdm.drop_column('parted', 'a');
SELECT zdm.drop_column('part', 'b');
CREATE TABLE parent (a integer, b text);
CREATE TABLE child () INHERITS (parent);
SELECT zdm.drop_column('parent', 'b');
SELECT zdm.drop_column('child', 'b');
CREATE TEMPORARY TABLE passing (a integer);
SELECT zdm.drop_column('passing', 'a');
DROP TABLE passing;
CREATE VIEW a_view AS SELECT a FROM parent;
SELECT zdm.drop_column('a_view', 'a');
CREATE FUNCTION nothing() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
CREATE TRIGGER "~~later" BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION nothing();
SELECT zdm.drop_column('t', 'mandatory', fill => $$'x'$$);
-- an optional column needs no trigger of ours
SELECT zdm.drop_column('t', 'optional');
DROP TRIGGER "~~later" ON t;

-- one migration a column
SELECT zdm.drop_column('t', 'optional', migration => 'again');
SELECT zdm.rename_column('t', 'optional', 'renamed');
SELECT zdm.rollback('drop_t_optional');
SELECT zdm.rename_column('t', 'optional', 'renamed');
SELECT zdm.drop_column('t', 'optional');
SELECT zdm.rollback('rename_t_optional_to_renamed');

-- others' DDL
SELECT zdm.drop_column('t', 'optional');
ALTER TABLE t DROP COLUMN optional;
ALTER TABLE t RENAME COLUMN optional TO another;
ALTER TABLE t ALTER COLUMN optional TYPE varchar(20);
SET client_min_messages = warning;
SELECT zdm.contract('drop_t_optional', '1 day');
RESET client_min_messages;
ALTER TABLE t ADD COLUMN optional text;
ALTER TABLE t DROP COLUMN "~zdm_optional";
-- a view with a star that was made in the quarantine
CREATE VIEW star AS SELECT * FROM t;
SELECT zdm.contract('drop_t_optional', quarantine => '0');
SELECT zdm.rollback('drop_t_optional');
SELECT * FROM star;
DROP VIEW star;

-- somebody else's table
RESET SESSION AUTHORIZATION;
GRANT USAGE ON SCHEMA zdm_drop_refusals TO regress_zdm_drop_stranger;
SET SESSION AUTHORIZATION regress_zdm_drop_stranger;
SELECT zdm.drop_column('zdm_drop_refusals.t', 'optional');
SELECT zdm.drop_table('zdm_drop_refusals.t');
SET SESSION AUTHORIZATION regress_zdm_drop_refusals;

-- contract: one of each kind
CREATE TABLE other (id integer PRIMARY KEY);
CREATE TABLE d (id integer PRIMARY KEY, c integer UNIQUE, n integer, e integer REFERENCES other);
-- what is on the column alone goes along
ALTER TABLE d ADD CONSTRAINT d_c_alone CHECK (c > 0);
CREATE INDEX d_c_alone_index ON d (c DESC) WHERE c > 5;
CREATE STATISTICS d_c_alone_statistics ON (c + 1) FROM d;
CREATE SEQUENCE d_owned OWNED BY d.c;
ALTER TABLE d ADD CONSTRAINT d_c_other FOREIGN KEY (c) REFERENCES other;
SELECT description FROM zdm.explain($$zdm.drop_column('d', 'c')$$) WHERE phase = 'note';
-- what needs it, or has other columns, does not
CREATE INDEX d_two ON d (c, n);
CREATE UNIQUE INDEX d_partial ON d (n) WHERE c IS NOT NULL;
CREATE VIEW d_view AS SELECT c + 1 AS more FROM d;
CREATE VIEW view_of_view AS SELECT * FROM d_view;
CREATE MATERIALIZED VIEW d_matview AS SELECT c FROM d;
ALTER TABLE d ADD CONSTRAINT d_check CHECK (c <> n);
ALTER TABLE d ADD CONSTRAINT d_unique UNIQUE (n, c);
CREATE TABLE refers (c integer REFERENCES d (c));
CREATE STATISTICS d_statistics ON c, n FROM d;
CREATE FUNCTION d_function() RETURNS SETOF integer LANGUAGE sql BEGIN ATOMIC SELECT c FROM d; END;
CREATE POLICY d_policy ON d USING (c IS NOT NULL);
ALTER TABLE d ADD COLUMN g integer GENERATED ALWAYS AS (c * 2) STORED;
CREATE TRIGGER d_trigger AFTER UPDATE OF c ON d FOR EACH ROW EXECUTE FUNCTION nothing();
CREATE TRIGGER when_trigger AFTER INSERT ON d FOR EACH ROW WHEN (NEW.c = 1) EXECUTE FUNCTION nothing();
CREATE RULE d_rule AS ON DELETE TO d WHERE OLD.c = 1 DO INSTEAD NOTHING;
CREATE TABLE uses (n integer DEFAULT nextval('d_owned'));
RESET SESSION AUTHORIZATION;
SET client_min_messages = error;	-- wal_level
CREATE PUBLICATION regress_zdm_columns FOR TABLE zdm_drop_refusals.d (id, c);
CREATE PUBLICATION regress_zdm_rows FOR TABLE zdm_drop_refusals.d WHERE (c > 1) WITH (publish = 'insert');
RESET client_min_messages;
SET SESSION AUTHORIZATION regress_zdm_drop_refusals;
-- told at expand
SELECT description FROM zdm.explain($$zdm.drop_column('d', 'c')$$) WHERE phase = 'note';
SET client_min_messages = error;
SELECT zdm.drop_column('d', 'c');
RESET client_min_messages;
SELECT zdm.contract('drop_d_c');
SELECT zdm.contract('drop_d_c', '1 day');
-- a policy alone; rollback needs nothing of that
SELECT zdm.rollback('drop_d_c');

-- the replica identity
CREATE TABLE r (id integer PRIMARY KEY, c integer NOT NULL DEFAULT random() * 1000000, n integer);
CREATE UNIQUE INDEX r_c ON r (c);
ALTER TABLE r REPLICA IDENTITY USING INDEX r_c;
SET client_min_messages = warning;
SELECT zdm.drop_column('r', 'c');
RESET client_min_messages;
SELECT zdm.contract('drop_r_c');
SELECT zdm.rollback('drop_r_c');

-- functions that mention it, until somebody says that they do not
CREATE TABLE f (id integer PRIMARY KEY, word text);
CREATE FUNCTION reads() RETURNS text LANGUAGE sql AS 'SELECT Word FROM zdm_drop_refusals.F';
CREATE FUNCTION elsewhere() RETURNS text LANGUAGE sql AS $$SELECT 'word'$$;
CREATE FUNCTION for_f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN NEW.word := upper(NEW.word); RETURN NEW; END';
CREATE TRIGGER for_f BEFORE INSERT ON f FOR EACH ROW EXECUTE FUNCTION for_f();
SELECT zdm.drop_column('f', 'word');
SELECT zdm.contract('drop_f_word', '1 day');
DROP FUNCTION reads();
SET zdm.ignore_mentions = on;
SELECT zdm.contract('drop_f_word');
RESET zdm.ignore_mentions;

SET client_min_messages = warning;
RESET SESSION AUTHORIZATION;
DROP PUBLICATION regress_zdm_columns, regress_zdm_rows;
DROP SCHEMA zdm_drop_refusals CASCADE;
DROP ROLE regress_zdm_drop_refusals;
DROP ROLE regress_zdm_drop_stranger;
