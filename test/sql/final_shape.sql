--
-- After contract a table is what a plain ALTER TABLE … RENAME COLUMN makes of
-- the same table: everything the catalogs hold, and nothing of zdm.
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS zdm;
CREATE ROLE regress_zdm_final_shape;
CREATE SCHEMA zdm_final_shape AUTHORIZATION regress_zdm_final_shape;
RESET client_min_messages;
SET SESSION AUTHORIZATION regress_zdm_final_shape;
SET search_path = zdm_final_shape;
\set VERBOSITY terse

SET client_min_messages = error;

-- the same tables three times: plain, for a rename without a quarantine, and
-- for one with it; a fourth time for rollback, compared with what was not touched
CREATE FUNCTION build(prefix text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    statement text;
BEGIN
    FOREACH statement IN ARRAY ARRAY[
        'CREATE DOMAIN #domain AS text CHECK (VALUE <> ''bad'')',
        'CREATE TABLE #main (gone integer, id integer PRIMARY KEY, "Old" character varying(20) COLLATE "C" NOT NULL DEFAULT ''default'', n integer)',
        'ALTER TABLE #main DROP COLUMN gone',
        'ALTER TABLE #main ALTER COLUMN "Old" SET STATISTICS 250, ALTER COLUMN "Old" SET STORAGE EXTERNAL, ALTER COLUMN "Old" SET (n_distinct = 5), ALTER COLUMN "Old" SET COMPRESSION pglz',
        'COMMENT ON COLUMN #main."Old" IS ''a comment''',
        'CREATE INDEX #index ON #main ("Old" DESC) WHERE "Old" <> ''''',
        'CREATE INDEX #index2 ON #main (lower("Old"), n)',
        'ALTER TABLE #main ADD CONSTRAINT #unique UNIQUE ("Old")',
        'ALTER TABLE #main ADD CONSTRAINT #check CHECK (length("Old") > 1) NOT VALID',
        'ALTER TABLE #main REPLICA IDENTITY USING INDEX #unique',
        'ALTER TABLE #main CLUSTER ON #main_pkey',
        'ALTER TABLE #main ENABLE ROW LEVEL SECURITY',
        'CREATE POLICY #policy ON #main USING ("Old" = current_user)',
        'CREATE STATISTICS #statistics ON "Old", n FROM #main',
        'CREATE TABLE #child (id integer, "Old" varchar(20) REFERENCES #main ("Old"), g text GENERATED ALWAYS AS (upper(id::text)) STORED)',
        'GRANT SELECT ("Old"), UPDATE ("Old") ON #main TO PUBLIC',
        'GRANT SELECT, INSERT ("Old") ON #main TO regress_zdm_final_shape',
        'CREATE VIEW #view AS SELECT id, "Old" AS seen FROM #main',
        'CREATE FUNCTION #trigger() RETURNS trigger LANGUAGE plpgsql AS ''BEGIN RETURN NEW; END''',
        'CREATE TRIGGER #trigger AFTER UPDATE OF "Old" ON #main FOR EACH ROW WHEN (NEW."Old" <> ''x'') EXECUTE FUNCTION #trigger()',
        'CREATE TABLE #identity (id integer GENERATED ALWAYS AS IDENTITY (START 7) PRIMARY KEY, "Old" serial)',
        'CREATE TABLE #domains (id integer, "Old" #domain DEFAULT ''good'')',
        'CREATE TABLE #parted ("Old" text DEFAULT ''root'', id integer, PRIMARY KEY (id)) PARTITION BY RANGE (id)',
        'CREATE TABLE #parted_1 PARTITION OF #parted ("Old" DEFAULT ''leaf'') FOR VALUES FROM (0) TO (10)',
        'CREATE TABLE #parted_2 (id integer NOT NULL, x text, "Old" text)',
        'ALTER TABLE #parted_2 DROP COLUMN x',
        'ALTER TABLE #parted ATTACH PARTITION #parted_2 FOR VALUES FROM (10) TO (20)',
        'GRANT SELECT ("Old") ON #parted_1 TO PUBLIC',
        'CREATE INDEX #parted_index ON #parted ("Old")',
        'INSERT INTO #main (id, "Old") VALUES (1, ''one''), (2, ''two'')',
        'INSERT INTO #child (id, "Old") VALUES (1, ''one'')',
        'INSERT INTO #identity DEFAULT VALUES',
        'INSERT INTO #domains (id) VALUES (1)',
        'INSERT INTO #parted (id) VALUES (1), (11)']
    LOOP
        EXECUTE replace(statement, '#', prefix);
    END LOOP;
END $$;
SELECT build('a_'), build('b_'), build('c_'), build('d_'), build('e_');

-- all that the catalogs hold of them, without numbers, and without the prefix
CREATE FUNCTION shape(prefix text) RETURNS SETOF text LANGUAGE sql AS $$
    WITH mine AS (SELECT c.* FROM pg_class c
                   WHERE relnamespace = 'zdm_final_shape'::regnamespace AND relname LIKE prefix || '\_%')
    SELECT regexp_replace(item, '\m' || prefix || '_', '#', 'g') FROM (
        SELECT concat_ws(' ', 'relation', relname, relkind, relhasrules, relrowsecurity, relreplident,
                         relchecks, relpersistence, reloptions, (SELECT relname FROM pg_class o WHERE o.oid = mine.reltoastrelid) IS NOT NULL) FROM mine
        UNION ALL
        SELECT concat_ws(' ', 'column', relname, row_number() OVER (PARTITION BY attrelid ORDER BY attnum), attname,
                         format_type(atttypid, atttypmod), attcollation::regcollation, attnotnull, atthasdef, attidentity,
                         attgenerated, attstorage, attcompression, attstattarget,
                         -- some servers keep a version of their own there
                         (SELECT array_agg(o) FROM unnest(attoptions) o WHERE o NOT LIKE 'pg\_%'), attislocal, attinhcount,
                         attacl, atthasmissing, pg_get_expr(adbin, adrelid), col_description(attrelid, attnum))
          FROM mine JOIN pg_attribute a ON attrelid = mine.oid AND attnum > 0 AND NOT attisdropped
          LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
        UNION ALL
        SELECT concat_ws(' ', 'constraint', relname, conname, pg_get_constraintdef(x.oid), convalidated)
          FROM mine JOIN pg_constraint x ON conrelid = mine.oid
        UNION ALL
        SELECT concat_ws(' ', 'index', pg_get_indexdef(indexrelid), indisclustered, indisreplident, indisvalid)
          FROM mine JOIN pg_index ON indrelid = mine.oid
        UNION ALL
        SELECT concat_ws(' ', 'trigger', pg_get_triggerdef(g.oid), tgenabled)
          FROM mine JOIN pg_trigger g ON tgrelid = mine.oid AND NOT tgisinternal
        UNION ALL
        SELECT concat_ws(' ', 'policy', relname, polname, pg_get_expr(polqual, polrelid)) FROM mine JOIN pg_policy ON polrelid = mine.oid
        UNION ALL
        SELECT concat_ws(' ', 'statistics', pg_get_statisticsobjdef(s.oid)) FROM mine JOIN pg_statistic_ext s ON stxrelid = mine.oid
        UNION ALL
        SELECT concat_ws(' ', 'view', relname, pg_get_viewdef(oid)) FROM mine WHERE relkind = 'v'
        UNION ALL
        SELECT concat_ws(' ', 'sequence', relname, refobjid::regclass, attname)
          FROM mine JOIN pg_depend ON classid = 'pg_class'::regclass AND objid = mine.oid AND deptype IN ('a', 'i')
          JOIN pg_attribute ON attrelid = refobjid AND attnum = refobjsubid WHERE relkind = 'S'
        ) all_of_it (item)
$$;
SELECT count(*) > 50 AS much FROM shape('a');

-- a: plain
DO $$
DECLARE
    t text;
BEGIN
    FOREACH t IN ARRAY '{main,child,identity,domains,parted}'::text[] LOOP
        EXECUTE format('ALTER TABLE a_%s RENAME COLUMN "Old" TO "New"', t);
        PERFORM zdm.rename_column(format('%s_%s', p, t)::regclass, 'Old', 'New', migration => format('%s_%s', p, t))
           FROM unnest('{b,c,d}'::text[]) p;
    END LOOP;
END $$;
SELECT format('CALL zdm.backfill(%L)', migration) FROM zdm.status ORDER BY migration \gexec
SELECT sum(v.mismatches) FROM zdm.status s, zdm.verify(s.migration) v;
-- b: without a quarantine, c: with it, d: back from it
SELECT count(zdm.contract(migration)) FROM zdm.status WHERE migration LIKE 'b%';
SELECT count(zdm.contract(migration, '1 day')) FROM zdm.status WHERE migration LIKE 'c%' OR migration LIKE 'd%';
SELECT count(zdm.contract(migration, '0')) FROM zdm.status WHERE migration LIKE 'c%';
SELECT count(zdm.rollback(migration)) FROM zdm.status WHERE migration LIKE 'd%';
SELECT count(*) FROM zdm.status;

(SELECT '+ ' || item FROM (SELECT shape('b') EXCEPT ALL SELECT shape('a')) x (item))
UNION ALL
(SELECT '- ' || item FROM (SELECT shape('a') EXCEPT ALL SELECT shape('b')) x (item));
(SELECT '+ ' || item FROM (SELECT shape('c') EXCEPT ALL SELECT shape('a')) x (item))
UNION ALL
(SELECT '- ' || item FROM (SELECT shape('a') EXCEPT ALL SELECT shape('c')) x (item));
(SELECT '+ ' || item FROM (SELECT shape('d') EXCEPT ALL SELECT shape('e')) x (item))
UNION ALL
(SELECT '- ' || item FROM (SELECT shape('e') EXCEPT ALL SELECT shape('d')) x (item));
-- nothing of zdm's is left on any of them
SELECT count(*) FROM pg_trigger WHERE tgname = '~zdm_sync';
SELECT count(*) FROM pg_depend WHERE refclassid = 'pg_proc'::regclass AND refobjid = 'zdm._sync_row'::regproc
   AND classid = 'pg_trigger'::regclass;

RESET SESSION AUTHORIZATION;
SET client_min_messages = warning;
DROP SCHEMA zdm_final_shape CASCADE;
DROP ROLE regress_zdm_final_shape;
