--
-- What others hang on the second column keeps contract, finish and rollback
-- from dropping it: the list says what, and nothing has happened.
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS zdm;
CREATE ROLE regress_zdm_attached;
CREATE SCHEMA zdm_attached AUTHORIZATION regress_zdm_attached;
RESET client_min_messages;
SET SESSION AUTHORIZATION regress_zdm_attached;
SET search_path = zdm_attached;


SET client_min_messages = warning;

-- the error of a call, with its detail in an order of its own
CREATE FUNCTION refusal(call text) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
    message text;
    detail text;
    hint text;
BEGIN
    EXECUTE 'SELECT ' || call;
    RETURN NEXT 'not refused';
EXCEPTION WHEN dependent_objects_still_exist THEN
    GET STACKED DIAGNOSTICS message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
    RETURN QUERY SELECT message UNION ALL
        (SELECT '    ' || line FROM regexp_split_to_table(detail, '\n') line ORDER BY line COLLATE "C")
        UNION ALL SELECT hint;
END $$;

CREATE TABLE t (id integer PRIMARY KEY, a text DEFAULT 'default', n integer);
INSERT INTO t VALUES (1, 'x', 1);
SELECT zdm.rename_column('t', 'a', 'b', migration => 'm');
CALL zdm.backfill('m');

-- one of each kind
CREATE INDEX t_b ON t (b);
CREATE UNIQUE INDEX t_partial ON t (id) WHERE b IS NOT NULL;
CREATE VIEW a_view AS SELECT upper(b) AS shout FROM t;
CREATE VIEW view_of_view AS SELECT * FROM a_view;
CREATE MATERIALIZED VIEW a_matview AS SELECT b FROM t;
ALTER TABLE t ADD CONSTRAINT t_check CHECK (b <> 'bad');
ALTER TABLE t ADD CONSTRAINT t_unique UNIQUE (b);
CREATE TABLE refers (b text REFERENCES t (b));
CREATE STATISTICS t_statistics ON b, n FROM t;
CREATE FUNCTION a_function() RETURNS SETOF text LANGUAGE sql BEGIN ATOMIC SELECT b FROM t; END;
CREATE POLICY a_policy ON t USING (b IS NOT NULL);
ALTER TABLE t ADD COLUMN g text GENERATED ALWAYS AS (upper(b)) STORED;
CREATE FUNCTION nothing() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
CREATE TRIGGER a_trigger AFTER UPDATE OF b ON t FOR EACH ROW EXECUTE FUNCTION nothing();
CREATE TRIGGER when_trigger AFTER INSERT ON t FOR EACH ROW WHEN (NEW.b = 'x') EXECUTE FUNCTION nothing();
CREATE RULE a_rule AS ON DELETE TO t WHERE OLD.b = 'keep' DO INSTEAD NOTHING;
ALTER TABLE t ALTER COLUMN b SET DEFAULT 'another';
GRANT SELECT (b), UPDATE (b) ON t TO PUBLIC;
CREATE SEQUENCE owned OWNED BY t.b;

SELECT * FROM refusal($$zdm.contract('m')$$);
SELECT count(*) FROM refusal($$zdm.rollback('m')$$);
-- also where nothing would be dropped yet
SELECT count(*) FROM refusal($$zdm.contract('m', '1 day')$$);
SELECT count(*) FROM refusal($$zdm.explain('zdm.contract(''m'')')$$);
SELECT state, last_error FROM zdm.status;
INSERT INTO t (id, b) VALUES (2, 'still in sync') RETURNING a, b;

-- one by one they go away, or over to the column that stays
DROP INDEX t_b, t_partial;
DROP MATERIALIZED VIEW a_matview;
DROP VIEW a_view CASCADE;
ALTER TABLE t DROP CONSTRAINT t_check, DROP CONSTRAINT t_unique CASCADE;
DROP STATISTICS t_statistics;
DROP FUNCTION a_function;
DROP POLICY a_policy ON t;
ALTER TABLE t DROP COLUMN g;
DROP TRIGGER a_trigger ON t;
SELECT * FROM refusal($$zdm.contract('m')$$);
DROP TRIGGER when_trigger ON t;
DROP RULE a_rule ON t;
ALTER SEQUENCE owned OWNED BY NONE;
REVOKE ALL (b) ON t FROM PUBLIC;
SELECT * FROM refusal($$zdm.rollback('m')$$);
ALTER TABLE t ALTER COLUMN b SET DEFAULT 'default';
SELECT zdm.contract('m', '1 day');

-- in quarantine the second column is the one with the old name
CREATE VIEW late_view AS SELECT a FROM t;
CREATE VIEW good_view AS SELECT b FROM t;
SELECT zdm.contract('m', '0');
SELECT zdm.rollback('m');
DROP VIEW late_view;
SELECT zdm.contract('m', '0');
SELECT * FROM good_view ORDER BY b;

-- a function whose body is text has no dependency: it is told at expand
CREATE FUNCTION reader() RETURNS text LANGUAGE sql AS 'SELECT b FROM t LIMIT 1';
CREATE FUNCTION no_reader() RETURNS text LANGUAGE sql AS 'SELECT ''to b or not to b''::text';
SELECT zdm.rename_column('t', 'b', 'c', migration => 'm');
SELECT zdm.rollback('m');

-- what hangs on the first column stays with it through all of it
CREATE TABLE kept (id integer PRIMARY KEY, a text DEFAULT 'default', n integer);
CREATE INDEX kept_a ON kept (a);
CREATE VIEW kept_view AS SELECT a FROM kept;
CREATE FUNCTION kept_function() RETURNS SETOF text LANGUAGE sql BEGIN ATOMIC SELECT a FROM kept; END;
CREATE POLICY kept_policy ON kept USING (a IS NOT NULL);
CREATE STATISTICS kept_statistics ON a, n FROM kept;
INSERT INTO kept VALUES (1, 'x', 1);
SELECT zdm.rename_column('kept', 'a', 'b', migration => 'k');
CALL zdm.backfill('k');
SELECT zdm.contract('k', '1 day');
SELECT zdm.contract('k', '0');
SELECT pg_get_viewdef('kept_view') ~ '\mb AS a\M' AS view, pg_get_indexdef('kept_a'::regclass);
SELECT pg_get_functiondef('kept_function'::regproc) ~ '\mb AS a\M' AS function;
SELECT * FROM kept_function();
SELECT pg_get_statisticsobjdef(oid) FROM pg_statistic_ext WHERE stxname = 'kept_statistics';
SELECT polname, pg_get_expr(polqual, polrelid) FROM pg_policy WHERE polrelid = 'kept'::regclass;

-- in partitions
CREATE TABLE parted (id integer, a text) PARTITION BY RANGE (id);
CREATE TABLE parted_1 PARTITION OF parted FOR VALUES FROM (0) TO (10);
SELECT zdm.rename_column('parted', 'a', 'b', migration => 'p');
CALL zdm.backfill('p');
CREATE INDEX parted_1_b ON parted_1 (b);
CREATE VIEW parted_view AS SELECT b FROM parted_1;
ALTER TABLE parted_1 ALTER COLUMN b SET DEFAULT 'mine';
GRANT SELECT (b) ON parted_1 TO PUBLIC;
SELECT * FROM refusal($$zdm.contract('p')$$);
DROP INDEX parted_1_b;
DROP VIEW parted_view;
ALTER TABLE parted_1 ALTER COLUMN b DROP DEFAULT;
REVOKE SELECT (b) ON parted_1 FROM PUBLIC;
SELECT zdm.contract('p');

RESET SESSION AUTHORIZATION;
SET client_min_messages = warning;
DROP SCHEMA zdm_attached CASCADE;
DROP ROLE regress_zdm_attached;
