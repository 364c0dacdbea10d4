--
-- Views and rules over a column whose type changes: made again, with all that
-- they had, or refused with the reason.  What they are like in the end is compared
-- with those of a copy that was changed by hand.
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS zdm;
ALTER SEQUENCE zdm.migration_id_seq RESTART WITH 620001;
CREATE ROLE regress_zdm_viewed;
CREATE ROLE regress_zdm_viewer;
CREATE ROLE regress_zdm_reader;
GRANT regress_zdm_viewer TO regress_zdm_viewed;
SET DateStyle = 'German';

-- twice: zdm changes the one, we the other
CREATE SCHEMA zdm_over AUTHORIZATION regress_zdm_viewed;
CREATE SCHEMA zdm_plain AUTHORIZATION regress_zdm_viewed;
CREATE FUNCTION pg_temp.make(schema text) RETURNS void LANGUAGE plpgsql AS $make$
BEGIN
    EXECUTE format('SET LOCAL search_path = %I', schema);
    GRANT CREATE, USAGE ON SCHEMA zdm_over, zdm_plain TO regress_zdm_viewer;
    GRANT USAGE ON SCHEMA zdm_over, zdm_plain TO regress_zdm_reader;
    SET LOCAL ROLE regress_zdm_viewed;
    CREATE TABLE orders (id int PRIMARY KEY, amount int DEFAULT 5, "odd ""one""" text, day date DEFAULT '2020-02-01');
    CREATE TABLE audit (id int, amount bigint, note text);
    INSERT INTO orders SELECT i, i * 10, 'note ' || i FROM generate_series(1, 3) i;
    GRANT SELECT, INSERT, UPDATE ON orders TO regress_zdm_viewer;
    CREATE FUNCTION stamp() RETURNS trigger LANGUAGE plpgsql AS
      $$BEGIN INSERT INTO audit VALUES (NEW.id, NEW.amount, TG_OP || ' ' || TG_RELID::regclass::text); RETURN NEW; END$$;
    EXECUTE format('ALTER FUNCTION stamp() SET search_path = %I', schema);

    CREATE VIEW plain AS SELECT id, amount, "odd ""one""" AS "Odd ""1""" FROM orders WHERE day > '2020-01-15';
    ALTER VIEW plain ALTER COLUMN amount SET DEFAULT 7;
    COMMENT ON VIEW plain IS 'it''s plain';
    COMMENT ON COLUMN plain."Odd ""1""" IS 'odd';
    GRANT SELECT ON plain TO regress_zdm_reader WITH GRANT OPTION;
    GRANT INSERT (id), UPDATE (amount) ON plain TO regress_zdm_reader, PUBLIC;
    CREATE VIEW barred WITH (security_barrier, security_invoker = true, check_option = local) AS
        SELECT id, amount FROM orders WHERE amount > 1;
    -- one over the other, and one that does not show the column
    CREATE VIEW "over "" it" (key, sum) AS SELECT p.id, sum(p.amount) + 1 FROM plain p GROUP BY p.id;
    CREATE VIEW counted AS SELECT count(*) AS n FROM plain JOIN orders USING (amount) JOIN "over "" it" o ON o.sum <> amount;
    CREATE VIEW by_key AS SELECT id, amount FROM orders GROUP BY id;
    CREATE VIEW stamped AS SELECT id, amount FROM orders;
    CREATE TRIGGER "stamp ""it""" INSTEAD OF INSERT OR UPDATE ON stamped FOR EACH ROW EXECUTE FUNCTION stamp();
    COMMENT ON TRIGGER "stamp ""it""" ON stamped IS 'instead';
    CREATE VIEW ruled AS SELECT id, amount + 1 AS more FROM orders;
    CREATE RULE put AS ON INSERT TO ruled DO INSTEAD INSERT INTO orders (id, amount) VALUES (NEW.id, NEW.more - 1);
    COMMENT ON RULE put ON ruled IS 'puts';
    CREATE RULE audit AS ON UPDATE TO orders WHERE NEW.amount <> OLD.amount DO ALSO INSERT INTO audit VALUES (NEW.id, NEW.amount, 'rule');
    CREATE RULE off AS ON DELETE TO orders DO INSTEAD NOTHING;
    CREATE RULE late AS ON DELETE TO audit DO ALSO UPDATE orders SET amount = amount + 1 WHERE orders.id = OLD.id;
    ALTER TABLE audit DISABLE RULE late;
    ALTER TABLE orders DISABLE RULE off;
    RESET ROLE;

    -- a view of somebody else's, who grants for himself
    SET LOCAL ROLE regress_zdm_viewer;
    CREATE VIEW others AS SELECT amount FROM orders;
    REVOKE INSERT ON others FROM regress_zdm_viewer;
    RESET ROLE;
    SET LOCAL ROLE regress_zdm_reader;
    GRANT SELECT ON plain TO regress_zdm_viewer;
    RESET ROLE;
END $make$;
SELECT pg_temp.make('zdm_over');
SELECT pg_temp.make('zdm_plain');

-- All that there is to know about the views and rules, but their oids.
CREATE FUNCTION pg_temp.state(schema text) RETURNS TABLE (what text) LANGUAGE sql
SET search_path = pg_catalog, pg_temp AS $$
    SELECT replace(s.what, schema, 'S') FROM (
    SELECT format('%I %s %s %s %s', c.relname, c.relkind, c.relowner::regrole, c.reloptions, c.relacl) FROM pg_class c
     WHERE relnamespace = schema::regnamespace AND relkind = 'v'
    UNION ALL SELECT format('%I.%I %s %s %s', c.relname, a.attname, format_type(a.atttypid, a.atttypmod), a.attacl, pg_get_expr(d.adbin, d.adrelid))
      FROM pg_class c JOIN pg_attribute a ON attrelid = c.oid AND attnum > 0 LEFT JOIN pg_attrdef d ON adrelid = attrelid AND adnum = attnum
     WHERE relnamespace = schema::regnamespace AND relkind = 'v'
    UNION ALL SELECT format('%I %I %s %s %s', c.relname, r.rulename, r.ev_enabled, pg_get_ruledef(r.oid), obj_description(r.oid, 'pg_rewrite'))
      FROM pg_class c JOIN pg_rewrite r ON ev_class = c.oid WHERE relnamespace = schema::regnamespace
    UNION ALL SELECT format('%s %s %s', c.relname, d.objsubid, d.description) FROM pg_class c JOIN pg_description d ON d.objoid = c.oid AND classoid = 'pg_class'::regclass
     WHERE relnamespace = schema::regnamespace AND relkind = 'v'
    UNION ALL SELECT format('%I %s %s', c.relname, pg_get_triggerdef(t.oid), obj_description(t.oid, 'pg_trigger'))
      FROM pg_class c JOIN pg_trigger t ON tgrelid = c.oid WHERE relnamespace = schema::regnamespace AND relkind = 'v'
    UNION ALL SELECT format('%I: %s has %s', c.relname, refobjid::regrole, deptype) FROM pg_class c JOIN pg_shdepend d ON d.objid = c.oid AND d.classid = 'pg_class'::regclass
     WHERE relnamespace = schema::regnamespace AND relkind = 'v') s(what) $$;
SELECT count(*) > 40 AS enough FROM pg_temp.state('zdm_over');
SELECT * FROM pg_temp.state('zdm_over') EXCEPT SELECT * FROM pg_temp.state('zdm_plain');
CREATE TABLE pg_temp.before AS SELECT * FROM pg_temp.state('zdm_over');
GRANT SELECT ON pg_temp.before TO PUBLIC;

-- refused as ever, where the caller does not choose
SET search_path = zdm_over;
SET SESSION AUTHORIZATION regress_zdm_viewed;
SELECT zdm.change_column_type('orders', 'amount', 'bigint');

-- and made again
SELECT phase, description, count(*), left(min(regexp_replace(sql, '\s+', ' ', 'g') COLLATE "C"), 34) AS first FROM zdm.explain($$zdm.change_column_type('orders', 'amount', 'bigint', views => 'recreate')$$)
 WHERE description ~ 'view|rule that|the rule ' AND phase <> 'note' GROUP BY 1, 2 ORDER BY min(step);
SELECT description FROM zdm.explain($$zdm.change_column_type('orders', 'amount', 'bigint', views => 'recreate')$$) WHERE description ~ 'over the column and';
SELECT zdm.change_column_type('orders', 'amount', 'bigint', views => 'recreate', migration => 'm');
CALL zdm.backfill('m');
PREPARE seen AS SELECT id FROM plain ORDER BY 1;
EXECUTE seen;
RESET SESSION AUTHORIZATION;
-- what new views get by default is not for those that are made again
ALTER DEFAULT PRIVILEGES FOR ROLE regress_zdm_viewed IN SCHEMA zdm_over GRANT ALL ON TABLES TO PUBLIC;
SET SESSION AUTHORIZATION regress_zdm_viewed;
SELECT zdm.contract('m', '1 day');
EXECUTE seen;
INSERT INTO plain (id) VALUES (4);
INSERT INTO ruled VALUES (5, 51);
INSERT INTO stamped VALUES (6, 3000000000);
UPDATE orders SET amount = 21 WHERE id = 2;
INSERT INTO barred VALUES (7, 0);
SELECT * FROM orders ORDER BY id;
SELECT * FROM audit ORDER BY id;
SELECT * FROM counted;
SELECT mismatches FROM zdm.verify('m');

-- back: as they were
SELECT zdm.rollback('m');
SELECT * FROM pg_temp.state('zdm_over') EXCEPT SELECT * FROM pg_temp.before;
SELECT * FROM pg_temp.before EXCEPT SELECT * FROM pg_temp.state('zdm_over');

-- on: as those that were changed by hand
SELECT zdm.change_column_type('orders', 'amount', 'bigint', views => 'recreate', migration => 'm');
CALL zdm.backfill('m');
SELECT zdm.contract('m');
RESET SESSION AUTHORIZATION;
SET search_path = zdm_plain;
SET ROLE regress_zdm_viewed;
BEGIN;
DROP RULE audit ON orders;
DROP RULE late ON audit;
DROP VIEW counted, "over "" it", plain, barred, by_key, stamped, ruled;
RESET ROLE;
DROP VIEW others;
SET ROLE regress_zdm_viewed;
ALTER TABLE orders ALTER amount TYPE bigint;
CREATE VIEW plain AS SELECT id, amount, "odd ""one""" AS "Odd ""1""" FROM orders WHERE day > '2020-01-15';
ALTER VIEW plain ALTER COLUMN amount SET DEFAULT 7;
COMMENT ON VIEW plain IS 'it''s plain';
COMMENT ON COLUMN plain."Odd ""1""" IS 'odd';
GRANT SELECT ON plain TO regress_zdm_reader WITH GRANT OPTION;
GRANT INSERT (id), UPDATE (amount) ON plain TO regress_zdm_reader, PUBLIC;
CREATE VIEW barred WITH (security_barrier, security_invoker = true, check_option = local) AS
    SELECT id, amount FROM orders WHERE amount > 1;
CREATE VIEW "over "" it" (key, sum) AS SELECT p.id, sum(p.amount) + 1 FROM plain p GROUP BY p.id;
CREATE VIEW counted AS SELECT count(*) AS n FROM plain JOIN orders USING (amount) JOIN "over "" it" o ON o.sum <> amount;
CREATE VIEW by_key AS SELECT id, amount FROM orders GROUP BY id;
CREATE VIEW stamped AS SELECT id, amount FROM orders;
CREATE TRIGGER "stamp ""it""" INSTEAD OF INSERT OR UPDATE ON stamped FOR EACH ROW EXECUTE FUNCTION stamp();
COMMENT ON TRIGGER "stamp ""it""" ON stamped IS 'instead';
CREATE VIEW ruled AS SELECT id, amount + 1 AS more FROM orders;
CREATE RULE put AS ON INSERT TO ruled DO INSTEAD INSERT INTO orders (id, amount) VALUES (NEW.id, NEW.more - 1);
COMMENT ON RULE put ON ruled IS 'puts';
CREATE RULE audit AS ON UPDATE TO orders WHERE NEW.amount <> OLD.amount DO ALSO INSERT INTO audit VALUES (NEW.id, NEW.amount, 'rule');
CREATE RULE late AS ON DELETE TO audit DO ALSO UPDATE orders SET amount = amount + 1 WHERE orders.id = OLD.id;
ALTER TABLE audit DISABLE RULE late;
RESET ROLE;
SET ROLE regress_zdm_viewer;
CREATE VIEW others AS SELECT amount FROM orders;
REVOKE INSERT ON others FROM regress_zdm_viewer;
RESET ROLE;
SET ROLE regress_zdm_reader;
GRANT SELECT ON plain TO regress_zdm_viewer;
RESET ROLE;
COMMIT;
SELECT * FROM pg_temp.state('zdm_over') EXCEPT SELECT * FROM pg_temp.state('zdm_plain');
SELECT * FROM pg_temp.state('zdm_plain') EXCEPT SELECT * FROM pg_temp.state('zdm_over');

-- what the server changes at once, too, there and back
SET search_path = zdm_over;
CREATE TABLE short (id int, name varchar(5));
CREATE VIEW short_names AS SELECT name FROM short;
REVOKE ALL ON short_names FROM PUBLIC, regress_zdm_reader;
ALTER DEFAULT PRIVILEGES IN SCHEMA zdm_over GRANT ALL ON TABLES TO PUBLIC;
SELECT zdm.change_column_type('short', 'name', 'varchar(9)', migration => 'name', views => 'recreate');
SELECT format_type(atttypid, atttypmod), has_table_privilege('regress_zdm_reader', attrelid, 'SELECT') AS granted FROM pg_attribute WHERE attrelid = 'short_names'::regclass AND attnum = 1;
SELECT zdm.contract('name');
SELECT zdm.change_column_type('short', 'name', 'text', migration => 'name', views => 'recreate');
SELECT zdm.rollback('name');
SELECT zdm.contract('name');
SELECT zdm.change_column_type('short', 'name', 'varchar', migration => 'name', views => 'recreate');
CREATE MATERIALIZED VIEW mat AS SELECT name FROM short;
SELECT zdm.rollback('name');
DROP MATERIALIZED VIEW mat;
SELECT zdm.rollback('name');
SELECT format_type(atttypid, atttypmod) FROM pg_attribute WHERE attrelid = 'short_names'::regclass AND attnum = 1;

-- refused, with the reason
CREATE TABLE t (a int, b text, c date);
CREATE VIEW v AS SELECT a, b FROM t;
CREATE VIEW w AS SELECT a + 1 AS a1 FROM v;
CREATE MATERIALIZED VIEW mat AS SELECT * FROM w;
CREATE FUNCTION of_view() RETURNS bigint LANGUAGE sql BEGIN ATOMIC SELECT sum(a) FROM v; END;
CREATE FUNCTION of_row(v) RETURNS int LANGUAGE sql AS 'SELECT 1';
CREATE TABLE holds (x v);
CREATE POLICY p ON holds USING (EXISTS (SELECT FROM w));
CREATE VIEW "by place" AS SELECT x.p, x.r FROM t x (p, q, r);
CREATE VIEW joined AS SELECT j.p FROM (t JOIN holds h ON true) j (p, q, r, s);
CREATE VIEW no_sense AS SELECT a / 2 AS half FROM t;
CREATE VIEW "default" AS SELECT a AS d FROM t;
ALTER VIEW "default" ALTER d SET DEFAULT 5;
CREATE TEMP VIEW passing AS SELECT a FROM t;
SELECT zdm.change_column_type('t', 'a', 'bigint', views => 'recreate');
DROP MATERIALIZED VIEW mat;
DROP FUNCTION of_view;
DROP FUNCTION of_row;
DROP POLICY p ON holds;
DROP VIEW joined, passing;
DROP TABLE holds;
SELECT zdm.change_column_type('t', 'a', 'bigint', views => 'recreate');
CREATE OR REPLACE VIEW "by place" AS SELECT x.a AS p, x.r FROM (SELECT b AS q, c AS r, a FROM t) x (q, r, a);
SELECT zdm.change_column_type('t', 'a', 'jsonb', up => 'to_jsonb(a)', down => '(a #>> ''{}'')::int', views => 'recreate');

-- of somebody else's, and where its owner may create nothing
DROP VIEW no_sense, "default", w, "by place";
ALTER TABLE t OWNER TO regress_zdm_viewed;
CREATE VIEW w AS SELECT a FROM v;
ALTER VIEW v OWNER TO regress_zdm_reader;
ALTER VIEW w OWNER TO regress_zdm_viewer;
REVOKE CREATE ON SCHEMA zdm_over FROM regress_zdm_viewer;
SET SESSION AUTHORIZATION regress_zdm_viewed;
SELECT zdm.change_column_type('t', 'a', 'bigint', views => 'recreate');
RESET SESSION AUTHORIZATION;
ALTER VIEW v OWNER TO regress_zdm_viewed;
DROP VIEW w;

-- views that come after expand: of the column, and of zdm's as well
SET SESSION AUTHORIZATION regress_zdm_viewed;
SELECT zdm.change_column_type('t', 'a', 'bigint', views => 'recreate', migration => 't');
CALL zdm.backfill('t');
CREATE VIEW star AS SELECT * FROM t;
SELECT zdm.contract('t');
DROP VIEW star;
CREATE MATERIALIZED VIEW mat AS SELECT a FROM t;
SELECT zdm.contract('t');
DROP MATERIALIZED VIEW mat;
CREATE VIEW fine AS SELECT c, a FROM t;
SELECT zdm.contract('t');
SELECT attrelid::regclass, attname, format_type(atttypid, atttypmod) FROM pg_attribute WHERE attrelid IN ('v'::regclass, 'fine'::regclass) ORDER BY 1, 2;

-- back: a view is what it was, or what somebody has made of it since
CREATE TABLE u (a int);
CREATE VIEW total AS SELECT sum(a) + 1 AS s FROM u;
CREATE VIEW replaced AS SELECT sum(a) + 1 AS s FROM u;
SELECT zdm.change_column_type('u', 'a', 'bigint', views => 'recreate', migration => 'u');
CALL zdm.backfill('u');
SELECT zdm.contract('u', '1 day');
CREATE OR REPLACE VIEW replaced AS SELECT sum(a) + 2 AS s FROM u;
GRANT SELECT ON replaced TO regress_zdm_reader;
INSERT INTO u VALUES (5);
SELECT total.s, pg_typeof(total.s), replaced.s, pg_typeof(replaced.s) FROM total, replaced;
SELECT zdm.rollback('u');
SELECT total.s, pg_typeof(total.s), replaced.s, pg_typeof(replaced.s) FROM total, replaced;
SELECT has_table_privilege('regress_zdm_reader', 'replaced', 'SELECT') AS granted;

SET client_min_messages = error;
RESET SESSION AUTHORIZATION;
DROP SCHEMA zdm_over, zdm_plain CASCADE;
DROP OWNED BY regress_zdm_viewed;
DROP OWNED BY regress_zdm_viewer;
DROP OWNED BY regress_zdm_reader;
DROP ROLE regress_zdm_viewed, regress_zdm_viewer, regress_zdm_reader;
