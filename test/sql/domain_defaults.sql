--
-- Columns of a domain that has a default: the rows that exist do not get it
-- with the column, and the table is not written anew for it.
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS zdm;
CREATE ROLE regress_zdm_domain_defaults;
CREATE SCHEMA zdm_domain_defaults AUTHORIZATION regress_zdm_domain_defaults;
RESET client_min_messages;
SET SESSION AUTHORIZATION regress_zdm_domain_defaults;
SET search_path = zdm_domain_defaults;

CREATE SEQUENCE drawn;
CREATE DOMAIN seven AS integer DEFAULT 7;
CREATE DOMAIN ticket AS bigint DEFAULT nextval('drawn');
CREATE TABLE t (id integer PRIMARY KEY, a seven, b ticket, c text, d text);
INSERT INTO t SELECT i, i * 10, i * 100, i || '+' || i, i FROM generate_series(1, 3) i;
CREATE TABLE parted (id integer, a ticket) PARTITION BY LIST (id);
CREATE TABLE parted_1 PARTITION OF parted FOR VALUES IN (1);
CREATE TABLE parted_2 (a ticket, id integer);
ALTER TABLE parted ATTACH PARTITION parted_2 FOR VALUES IN (2);
INSERT INTO parted VALUES (1, 10), (2, 20);
CREATE TABLE files AS SELECT oid, relfilenode FROM pg_class
 WHERE oid = ANY ('{t,parted_1,parted_2}'::regclass[]);

-- a second column
SET client_min_messages = warning;
SELECT zdm.rename_column('t', 'a', 'a2');
SELECT zdm.rename_column('t', 'b', 'b2');
SELECT zdm.rename_column('parted', 'a', 'a2');
SELECT zdm.split_column('t', 'c', '{"c1": {"type": "seven", "up": "split_part(c, ''+'', 1)::integer"},
	"c2": {"type": "ticket", "up": "split_part(c, ''+'', 2)::bigint"}}', 'c1 || ''+'' || c2', migration => 'split');
SELECT zdm.change_column_type('t', 'd', 'ticket', up => 'd::bigint', down => 'd::text', migration => 'type');
SELECT attname FROM pg_attribute WHERE attrelid = 't'::regclass AND atthasmissing;
SELECT id, a2, b2, c1, c2 FROM t ORDER BY id;
INSERT INTO t (id) VALUES (4);
SELECT id, a = a2 AS a, b = b2 AS b, a FROM t WHERE id = 4;
INSERT INTO t (id, a2, b2, c1, c2) VALUES (5, 50, 500, 5, 5) RETURNING id, a, b, c;
SELECT format('CALL zdm.backfill(%L)', migration) FROM zdm.status ORDER BY migration COLLATE "C" \gexec
SELECT sum(v.mismatches) FROM zdm.status s, zdm.verify(s.migration) v;
SELECT id, a2, c1, c2 FROM t WHERE id < 4 ORDER BY id;
SELECT count(*) AS moved FROM files f JOIN pg_class c ON c.oid = f.oid AND c.relfilenode <> f.relfilenode;
SELECT zdm.contract(migration) FROM zdm.status ORDER BY migration COLLATE "C";
\d t
\d parted_2

-- a column that is added
CREATE TABLE u (id integer PRIMARY KEY);
INSERT INTO u SELECT generate_series(1, 3);
INSERT INTO files SELECT oid, relfilenode FROM pg_class WHERE oid = 'u'::regclass;
\set VERBOSITY default
SELECT zdm.add_column('u', 'e', 'ticket');
\set VERBOSITY terse
SELECT zdm.add_column('u', 'a', 'seven');
SELECT zdm.add_column('u', 'b', 'ticket', default_value => $$nextval('drawn') + 1000$$);
SELECT zdm.add_column('u', 'c', 'ticket', not_null => true, fill => 'id');
SET client_min_messages = error;	-- before 18 it warns
SELECT zdm.add_column('u', 'd', 'seven', generated => 'id * 2');
SET client_min_messages = warning;
SELECT id, a, b, c, d FROM u ORDER BY id;
INSERT INTO u (id) VALUES (4) RETURNING a, b > 1000 AS b, c < 1000 AS c, d;
SELECT format('CALL zdm.backfill(%L)', migration) FROM zdm.status WHERE state = 'expanded' ORDER BY migration COLLATE "C" \gexec
SELECT id, a, b > 1000 AS b, c, d FROM u WHERE id < 4 ORDER BY id;
SELECT count(DISTINCT b) FROM u;
SELECT zdm.rollback('add_u_d');
SELECT zdm.contract(migration) FROM zdm.status ORDER BY migration COLLATE "C";
SELECT count(*) AS moved FROM files f JOIN pg_class c ON c.oid = f.oid AND c.relfilenode <> f.relfilenode;
\d u

RESET SESSION AUTHORIZATION;
DROP SCHEMA zdm_domain_defaults CASCADE;
DROP ROLE regress_zdm_domain_defaults;
