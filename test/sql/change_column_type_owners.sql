--
-- A type change and what is not the table's alone: objects of its partitions,
-- objects of other owners, privileges that others have granted.
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS zdm;
CREATE ROLE regress_zdm_own_table;
CREATE ROLE regress_zdm_own_other;
CREATE ROLE regress_zdm_own_reader;
CREATE SCHEMA zdm_own AUTHORIZATION regress_zdm_own_table;
GRANT USAGE ON SCHEMA zdm_own TO regress_zdm_own_other, regress_zdm_own_reader;
SELECT format('GRANT CREATE ON DATABASE %I TO regress_zdm_own_table', current_database()) \gexec
SET search_path = zdm_own;

-- what partitions have: of their own, and other than their parent
SET SESSION AUTHORIZATION regress_zdm_own_table;
CREATE FUNCTION tell() RETURNS trigger LANGUAGE plpgsql AS
$$BEGIN RAISE WARNING '% on %', TG_NAME, TG_TABLE_NAME; RETURN NEW; END$$;
CREATE TABLE p (id int, v int, k int) PARTITION BY LIST (k);
CREATE TABLE p1 PARTITION OF p FOR VALUES IN (1);
CREATE TABLE "P 2" (k int, gone int, v int, id int);
ALTER TABLE "P 2" DROP gone;
CREATE TABLE known (id int);
ALTER TABLE p ATTACH PARTITION "P 2" FOR VALUES IN (2);
CREATE TRIGGER of_part BEFORE UPDATE OF v ON "P 2" FOR EACH ROW WHEN (NEW.v > 100) EXECUTE FUNCTION tell();
CREATE TRIGGER of_all BEFORE UPDATE OF v ON p FOR EACH ROW EXECUTE FUNCTION tell();
ALTER TABLE p1 DISABLE TRIGGER of_all;
COMMENT ON TRIGGER of_all ON "P 2" IS 'of the second';
CREATE STATISTICS part_stats ON v, id FROM "P 2";
CREATE POLICY part_policy ON "P 2" USING (v > 0) WITH CHECK (v IN (SELECT id FROM known));
CREATE POLICY part_simple ON "P 2" USING (v > 0);
SET client_min_messages = error;
CREATE PUBLICATION regress_zdm_own FOR TABLE "P 2" (k, v) WHERE (v > 0) WITH (publish = 'insert');
SET client_min_messages = warning;
INSERT INTO p SELECT i, i, 1 + i % 2 FROM generate_series(1, 4) i;
CREATE VIEW of_parts AS
SELECT 'trigger' AS kind, tgrelid::regclass::text AS relation, pg_get_triggerdef(oid) || ' ' || tgenabled::text || coalesce(' ' || obj_description(oid), '') AS definition
  FROM pg_trigger WHERE tgrelid IN ('p'::regclass, 'p1'::regclass, '"P 2"'::regclass) AND NOT tgisinternal AND tgname !~ 'zdm'
UNION ALL SELECT 'statistics', stxrelid::regclass::text, (SELECT string_agg(attname, ', ' ORDER BY attname)
  FROM pg_attribute WHERE attrelid = stxrelid AND attnum = ANY (stxkeys::int2[])) FROM pg_statistic_ext WHERE stxrelid = '"P 2"'::regclass
UNION ALL SELECT 'policy', polrelid::regclass::text, concat_ws(' / ', polname, pg_get_expr(polqual, polrelid), pg_get_expr(polwithcheck, polrelid))
  FROM pg_policy WHERE polrelid = '"P 2"'::regclass
UNION ALL SELECT 'publication', prrelid::regclass::text, concat_ws(' / ', (SELECT string_agg(attname, ', ' ORDER BY attname)
  FROM pg_attribute WHERE attrelid = prrelid AND attnum = ANY (prattrs::int2[])), pg_get_expr(prqual, prrelid)) FROM pg_publication_rel;
CREATE TABLE before AS SELECT * FROM of_parts;
SELECT * FROM before ORDER BY kind, relation, definition COLLATE "C";
SELECT zdm.change_column_type('p', 'v', 'bigint');
CALL zdm.backfill('change_p_v_to_bigint');
SELECT zdm.contract('change_p_v_to_bigint', '1 day');
CREATE VIEW differs AS (TABLE of_parts EXCEPT TABLE before) UNION ALL (TABLE before EXCEPT TABLE of_parts);
SELECT kind, relation, definition FROM differs;
UPDATE p SET v = v + 100;
SELECT zdm.rollback('change_p_v_to_bigint');
SELECT kind, relation, definition FROM differs;
SELECT zdm.change_column_type('p', 'v', 'bigint');
CALL zdm.backfill('change_p_v_to_bigint');
SELECT zdm.contract('change_p_v_to_bigint');
SELECT kind, relation, definition FROM differs;
-- what makes no sense over the new type is a partition's, too
CREATE POLICY part_bit ON "P 2" USING (v::bit(8) = B'00000001');
SELECT zdm.change_column_type('p', 'v', 'numeric');
DROP PUBLICATION regress_zdm_own;
DROP TABLE p, before, known CASCADE;

-- what is somebody else's, and could be made again by its owner alone
CREATE TABLE t (id int, v int, w int);
INSERT INTO t VALUES (1, 1, 1), (2, 2, 2);
RESET SESSION AUTHORIZATION;
CREATE FUNCTION secret() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RETURN NEW; END$$;
REVOKE ALL ON FUNCTION secret() FROM PUBLIC;
CREATE TRIGGER calls_secret BEFORE UPDATE OF v ON t FOR EACH ROW EXECUTE FUNCTION secret();
CREATE STATISTICS other_stats ON v, w FROM t;
ALTER STATISTICS other_stats OWNER TO regress_zdm_own_other;
SET SESSION AUTHORIZATION regress_zdm_own_table;
SELECT zdm.change_column_type('t', 'v', 'bigint');
-- a superuser makes it again for the owner
RESET SESSION AUTHORIZATION;
SELECT zdm.change_column_type('t', 'v', 'bigint');
CALL zdm.backfill('change_t_v_to_bigint');
SET SESSION AUTHORIZATION regress_zdm_own_table;
SELECT zdm.contract('change_t_v_to_bigint');
RESET SESSION AUTHORIZATION;
SELECT zdm.contract('change_t_v_to_bigint');
SELECT stxname, stxowner::regrole FROM pg_statistic_ext WHERE stxrelid = 't'::regclass;
SELECT tgname FROM pg_trigger WHERE tgrelid = 't'::regclass;

-- privileges: from whom, and none that was taken away
GRANT SELECT (v) ON t TO regress_zdm_own_other WITH GRANT OPTION;
GRANT UPDATE (v), SELECT (v) ON t TO regress_zdm_own_reader;
SET SESSION AUTHORIZATION regress_zdm_own_other;
GRANT SELECT (v) ON zdm_own.t TO regress_zdm_own_reader;
RESET SESSION AUTHORIZATION;
SELECT zdm.change_column_type('t', 'v', 'numeric', migration => 'n');
CALL zdm.backfill('n');
REVOKE UPDATE (v) ON t FROM regress_zdm_own_reader;
SELECT zdm.contract('n', '1 day');
SELECT attacl FROM pg_attribute WHERE attrelid = 't'::regclass AND attname = 'v';
SELECT zdm.rollback('n');
SELECT attacl FROM pg_attribute WHERE attrelid = 't'::regclass AND attname = 'v';

-- what a partition has of its own is in the way of a change at once
CREATE TABLE q (id int, v varchar(5), k int) PARTITION BY LIST (k);
CREATE TABLE q1 PARTITION OF q FOR VALUES IN (1);
CREATE POLICY q_policy ON q1 USING (v <> '');
SELECT zdm.change_column_type('q', 'v', 'varchar(10)', migration => 'q');
SELECT state FROM zdm.status WHERE migration = 'q';
SELECT zdm.rollback('q');

DROP SCHEMA zdm_own CASCADE;
SELECT format('REVOKE CREATE ON DATABASE %I FROM regress_zdm_own_table', current_database()) \gexec
DROP ROLE regress_zdm_own_table, regress_zdm_own_other, regress_zdm_own_reader;
