--
-- A domain with constraints as a column's new type: what a plain ALTER TABLE
-- makes, of all that knows the column's type; and what others do meanwhile.
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS zdm;
ALTER SEQUENCE zdm.migration_id_seq RESTART WITH 607001;
CREATE ROLE regress_zdm_domain;
CREATE ROLE regress_zdm_domain_owner;
CREATE SCHEMA zdm_domain AUTHORIZATION regress_zdm_domain;
GRANT ALL ON SCHEMA zdm_domain TO regress_zdm_domain_owner;
SET SESSION AUTHORIZATION regress_zdm_domain;
SET search_path = zdm_domain;

CREATE DOMAIN email AS text CHECK (VALUE ~ '@') CONSTRAINT email_length CHECK (length(VALUE) < 30);
CREATE DOMAIN work_email AS email COLLATE "C" NOT NULL CHECK (VALUE LIKE '%.org');
CREATE DOMAIN code AS varchar(4) CHECK (VALUE <> '') DEFAULT 'none';
CREATE DOMAIN tags AS text[] CHECK (cardinality(VALUE) > 0);
CREATE TYPE mood AS ENUM ('sad', 'fine', 'glad');
CREATE DOMAIN good_mood AS mood CHECK (VALUE <> 'sad');
CREATE DOMAIN amount AS bigint CHECK (VALUE > 0);
CREATE DOMAIN document AS json CHECK (VALUE IS NOT NULL);
CREATE FUNCTION nothing() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';

-- what is known of a table's columns, with the table's name taken out
CREATE FUNCTION shape(name text) RETURNS SETOF text LANGUAGE sql SET search_path = zdm_domain AS $$
    WITH c AS (SELECT relid FROM pg_partition_tree(name::regclass) UNION SELECT name::regclass), x AS (
    SELECT concat_ws(' ', 'column', c.relid, a.attname, a.atttypid::regtype, a.atttypmod, a.attndims, a.attlen, a.attbyval, a.attalign,
           a.attstorage, a.attcollation::regcollation, a.attnotnull, pg_get_expr(d.adbin, d.adrelid)) AS t
      FROM c JOIN pg_attribute a ON a.attrelid = c.relid AND a.attnum > 0 AND NOT a.attisdropped
      LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
    UNION ALL
    SELECT concat_ws(' ', 'index', pg_get_indexdef(i.indexrelid), i.indisunique, i.indisprimary, i.indisvalid) FROM c JOIN pg_index i ON i.indrelid = c.relid
    UNION ALL
    SELECT concat_ws(' ', 'index column', i.indexrelid::regclass, a.attname, a.atttypid::regtype, a.atttypmod, a.attndims, a.attcollation::regcollation)
      FROM c JOIN pg_index i ON i.indrelid = c.relid JOIN pg_attribute a ON a.attrelid = i.indexrelid
    UNION ALL
    SELECT concat_ws(' ', 'constraint', c.relid, k.conname, pg_get_constraintdef(k.oid), k.convalidated, k.coninhcount)
      FROM c JOIN pg_constraint k ON k.conrelid = c.relid
    UNION ALL
    SELECT pg_get_triggerdef(t.oid) FROM c JOIN pg_trigger t ON t.tgrelid = c.relid AND NOT t.tgisinternal
    UNION ALL
    SELECT pg_get_statisticsobjdef(s.oid) FROM c JOIN pg_statistic_ext s ON s.stxrelid = c.relid
    UNION ALL
    SELECT concat_ws(' ', 'policy', polname, pg_get_expr(polqual, polrelid)) FROM c JOIN pg_policy p ON p.polrelid = c.relid
    UNION ALL
    SELECT concat_ws(' ', pg_describe_object(d.classid, d.objid, d.objsubid), 'depends on', d.refobjid::regtype, d.deptype)
      FROM pg_depend d WHERE d.refclassid = 'pg_type'::regclass AND d.refobjid >= 16384
       AND pg_describe_object(d.classid, d.objid, d.objsubid) ~ ('\m' || name || '_?')
    UNION ALL
    SELECT concat_ws(' ', 'view', pg_get_viewdef(format('%s_view', name)::regclass)))
    SELECT replace(t, name, 'T') FROM x $$;

CREATE FUNCTION make(name text, part text DEFAULT '') RETURNS void LANGUAGE plpgsql AS $$
DECLARE statement text;
BEGIN
    FOREACH statement IN ARRAY ARRAY[
        'CREATE TABLE # (id int PRIMARY KEY, e text NOT NULL DEFAULT ''a@b'' CONSTRAINT #_e CHECK (e <> ''x@y''), w varchar(20), c varchar(3), g text[] DEFAULT ''{x}'','
        ' m mood DEFAULT ''fine'', n int DEFAULT 7 CONSTRAINT #_n CHECK (n + 1 > n), d json, f text)' || part,
        CASE WHEN part <> '' THEN 'CREATE TABLE #_1 (d json, f text, gone int, e text NOT NULL DEFAULT ''part@b'', w varchar(20), c varchar(3), g text[], m mood, n int, id int NOT NULL)' END,
        CASE WHEN part <> '' THEN 'ALTER TABLE #_1 DROP COLUMN gone, ADD CONSTRAINT #_e CHECK (e <> ''x@y''), ADD CONSTRAINT #_n CHECK (n + 1 > n)' END,
        CASE WHEN part <> '' THEN 'ALTER TABLE # ATTACH PARTITION #_1 FOR VALUES FROM (0) TO (500)' END,
        CASE WHEN part <> '' THEN 'CREATE TABLE #_2 PARTITION OF # FOR VALUES FROM (500) TO (1000)' END,
        'CREATE UNIQUE INDEX #_unique ON # (e, id)', 'CREATE INDEX #_lower ON # (lower(e), (n + 1)) WHERE e <> ''z@z'' AND n > 3',
        'CREATE INDEX #_null ON # (id) WHERE e IS NOT NULL', 'CREATE INDEX #_hash ON # USING hash (e)', 'CREATE INDEX #_gin ON # USING gin (g)',
        'CREATE INDEX #_mixed ON # (m, c varchar_pattern_ops, n DESC) INCLUDE (e, w, g)', 'CREATE INDEX #_mood ON # ((coalesce(m, ''glad'')))',
        'CREATE INDEX #_cast ON # ((c || ''x''), (g[1]))', 'CREATE INDEX #_brin ON # USING brin (n)',
        'CREATE STATISTICS #_statistics (dependencies) ON e, n FROM #', 'ALTER TABLE # ADD CONSTRAINT #_several CHECK (length(e) + n > 0 OR c IN (''a'', ''b''))',
        'CREATE TRIGGER #_trigger BEFORE UPDATE OF e ON # FOR EACH ROW WHEN (NEW.e <> OLD.e) EXECUTE FUNCTION nothing()',
        'CREATE POLICY #_policy ON # USING (e <> current_user)', 'CREATE VIEW #_view AS SELECT id, lower(e) AS e, n + 1 AS n FROM #',
        'INSERT INTO # SELECT i, i || ''@b.org'', CASE WHEN i % 7 > 0 THEN ''w@'' || i || ''.org'' ELSE ''@.org'' END, nullif(i % 5, 0)::text, ARRAY[i::text],'
        ' CASE i % 2 WHEN 0 THEN ''fine'' ELSE ''glad'' END::mood, i + 1, ''{"a": 1}'' FROM generate_series(0, 999) i'] LOOP
        IF statement IS NOT NULL THEN
            EXECUTE replace(statement, '#', name);
        END IF;
    END LOOP;
END $$;
SELECT make('made'), make('plain'), make('cut', ' PARTITION BY RANGE (id)'), make('whole', ' PARTITION BY RANGE (id)');
CREATE TABLE retype (col name, type text);
INSERT INTO retype VALUES ('e', 'email'), ('w', 'work_email'), ('c', 'code'), ('g', 'tags'), ('m', 'good_mood'), ('n', 'amount'), ('d', 'document');

-- the plain way, with what keeps it from being taken out of the way
\set QUIET on
SELECT format('DROP VIEW %1$s_view', t), format('DROP TRIGGER %1$s_trigger ON %1$s', t), format('DROP POLICY %1$s_policy ON %1$s', t),
       format('ALTER TABLE %s %s', t, (SELECT string_agg(format('ALTER %I TYPE %s', col, type), ', ') FROM retype)),
       format('CREATE TRIGGER %1$s_trigger BEFORE UPDATE OF e ON %1$s FOR EACH ROW WHEN (NEW.e <> OLD.e) EXECUTE FUNCTION nothing()', t),
       format('CREATE POLICY %1$s_policy ON %1$s USING (e <> current_user)', t),
       format('CREATE VIEW %1$s_view AS SELECT id, lower(e) AS e, n + 1 AS n FROM %1$s', t)
  FROM unnest('{plain,whole}'::text[]) t \gexec

-- and zdm's, column by column
SELECT format('SELECT zdm.change_column_type(%L, %L, %L, views => ''recreate'', migration => ''m'')', t, col, type),
       'CALL zdm.backfill(''m'')', 'SELECT zdm.contract(''m'')'
  FROM retype, unnest('{made,cut}'::text[]) t ORDER BY t, col \gexec
SELECT t.made, t.plain, s.line FROM (VALUES ('made', 'plain'), ('cut', 'whole'), ('plain', 'made'), ('whole', 'cut')) t(made, plain),
       LATERAL (SELECT shape(t.made) EXCEPT SELECT shape(t.plain)) s(line) ORDER BY 1, 3;
-- (newer majors write views otherwise, and NOT NULL is a constraint there)
SELECT * FROM shape('made') s(line) WHERE line !~ '^view| NOT NULL ' ORDER BY line COLLATE "C";
-- read by each of the indexes, and checked
SET enable_seqscan = off;
EXPLAIN (COSTS off) SELECT id FROM made WHERE lower(e) = '5@b.org' AND n + 1 = 7 AND e <> 'z@z' AND n > 3;
SELECT count(*) FILTER (WHERE lower(e) = '5@b.org'), count(*) FROM made WHERE lower(e) > '5' AND e <> 'z@z' AND n > 3;
SELECT id FROM made WHERE e = '5@b.org';
SELECT id FROM cut WHERE g @> '{7}';
SELECT count(*) FROM cut WHERE coalesce(m, 'glad') = 'glad';
RESET enable_seqscan;
SELECT count(*), count(*) FILTER (WHERE m.e = p.e AND m.w IS NOT DISTINCT FROM p.w AND m.c IS NOT DISTINCT FROM p.c AND m.g = p.g AND m.m::mood = p.m::mood AND m.n = p.n)
  FROM made m JOIN plain p USING (id);
INSERT INTO made (id, w, d) VALUES (2000, 'new@z.org', '1') RETURNING e, c, g, m, n, pg_typeof(e), pg_typeof(c);
INSERT INTO made (id, e, w, d) VALUES (2001, 'nobody', 'new@z.org', '1');
INSERT INTO made (id, d) VALUES (2002, '1');
UPDATE cut SET n = 0 WHERE id = 1;
ALTER DOMAIN amount ADD CONSTRAINT amount_most CHECK (VALUE < 900);
UPDATE made SET n = 1 WHERE n >= 900;
UPDATE cut SET n = 1 WHERE n >= 900;
UPDATE plain SET n = 1 WHERE n >= 900;
UPDATE whole SET n = 1 WHERE n >= 900;
ALTER DOMAIN amount ADD CONSTRAINT amount_most CHECK (VALUE < 900);
REINDEX TABLE made;
ANALYZE made;

-- meanwhile: values that are none of the domain's are refused from expand on,
-- and the rows that hold one are told
CREATE TABLE t (id int PRIMARY KEY, e text, x int);
CREATE INDEX t_e ON t (lower(e));
INSERT INTO t SELECT i, CASE i WHEN 7 THEN 'seven' ELSE i || '@b' END FROM generate_series(1, 10) i;
RESET client_min_messages;
SELECT zdm.change_column_type('t', 'e', 'email', migration => 'm');
SELECT zdm.change_column_type('t', 'e', 'email', migration => 'm');
SET client_min_messages = warning;
\d t
INSERT INTO t VALUES (11, 'eleven');
INSERT INTO t VALUES (12, NULL);
UPDATE t SET x = 1;
UPDATE t SET x = 1 WHERE id <> 7;
\set VERBOSITY terse
CALL zdm.backfill('m');
\set VERBOSITY default
UPDATE t SET e = 'seven@b' WHERE id = 7;
CALL zdm.backfill('m');

-- the domain is needed
\set VERBOSITY terse
DROP DOMAIN email;
BEGIN;
DROP DOMAIN email CASCADE;
\set VERBOSITY default
ROLLBACK;
-- and asked for what it asks for by now, of what is written at once
ALTER DOMAIN email ADD CONSTRAINT email_new CHECK (VALUE <> '8@b') NOT VALID;
INSERT INTO t VALUES (13, '8@b');
SELECT zdm.contract('m');
CALL zdm.backfill('m');
UPDATE t SET e = 'eight@b' WHERE id = 8;
CALL zdm.backfill('m');
-- by another name, and with a proof of its own, it asks for the same
ALTER DOMAIN email RENAME CONSTRAINT email_new TO email_newer;
ALTER DOMAIN email VALIDATE CONSTRAINT email_newer;
SELECT conname FROM pg_constraint WHERE conrelid = 't'::regclass AND contype = 'c';
BEGIN;
SELECT zdm.contract('m');
ROLLBACK;
-- what others make of the second column would not go along
CREATE INDEX t_strange ON t ("~zdm_e");
SELECT zdm.contract('m');
DROP INDEX t_strange;
-- neither may its type change
ALTER TABLE t ALTER "~zdm_e" TYPE varchar(40);
-- whoever contracts needs a right to the type
REVOKE USAGE ON DOMAIN email FROM PUBLIC, regress_zdm_domain;
SELECT zdm.contract('m', '1 day');
RESET SESSION AUTHORIZATION;
GRANT USAGE ON DOMAIN email TO regress_zdm_domain_owner;
ALTER TABLE t OWNER TO regress_zdm_domain_owner;
SET SESSION AUTHORIZATION regress_zdm_domain_owner;
SELECT zdm.contract('m', '1 day');
\d t
-- what is written under the name is the domain's value; the other follows
INSERT INTO t (id, e) VALUES (20, 'twenty');
INSERT INTO t (id, e) VALUES (21, '21@b');
SELECT "check", rows_compared, mismatches FROM zdm.verify('m');
SELECT id, e, "~zdm_e" FROM t WHERE id > 20;
BEGIN;
SELECT zdm.rollback('m');
\d t
ROLLBACK;
SELECT zdm.contract('m', '0');
\d t
CREATE TABLE other (e text);
RESET SESSION AUTHORIZATION;
REVOKE USAGE ON DOMAIN email FROM regress_zdm_domain_owner;
SET SESSION AUTHORIZATION regress_zdm_domain_owner;
SELECT zdm.change_column_type('other', 'e', 'email');

-- where a function of the name is for the domain, what is stored in the index
-- would not be what the index is asked for
RESET SESSION AUTHORIZATION;
SET SESSION AUTHORIZATION regress_zdm_domain;
CREATE FUNCTION size(text) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT length($1)';
CREATE FUNCTION size(code) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT -1';
CREATE TABLE sized (id int, c text CONSTRAINT sized_c CHECK (size(c) < 9));
CREATE INDEX sized_size ON sized (size(c));
SELECT zdm.change_column_type('sized', 'c', 'code');

RESET SESSION AUTHORIZATION;
DROP SCHEMA zdm_domain CASCADE;
DROP ROLE regress_zdm_domain, regress_zdm_domain_owner;
