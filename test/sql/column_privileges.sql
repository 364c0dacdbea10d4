--
-- Privileges on columns that a migration makes others of: what is granted and
-- revoked meanwhile counts for these at once, and what somebody grants on the
-- others alone stays.
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS zdm;
CREATE ROLE regress_zdm_cp_owner;
CREATE ROLE regress_zdm_cp_next;
CREATE ROLE regress_zdm_cp_head;
CREATE ROLE regress_zdm_cp_heir;
CREATE ROLE regress_zdm_cp_app;
GRANT regress_zdm_cp_next TO regress_zdm_cp_owner;
CREATE SCHEMA zdm_cp AUTHORIZATION regress_zdm_cp_owner;
GRANT USAGE ON SCHEMA zdm_cp TO PUBLIC;
GRANT CREATE ON SCHEMA zdm_cp TO regress_zdm_cp_next;
SET SESSION AUTHORIZATION regress_zdm_cp_owner;
SET search_path = zdm_cp;

CREATE TABLE t (id int, a text, b text, c text, d text, e int);
CREATE TABLE p (id int, a text) PARTITION BY LIST (id);
CREATE TABLE p_1 PARTITION OF p FOR VALUES IN (1);
GRANT SELECT (a, b, c, d, e), UPDATE (a, b, c, d, e) ON t TO regress_zdm_cp_head WITH GRANT OPTION;
GRANT SELECT (a) ON p_1 TO regress_zdm_cp_head;
SET SESSION AUTHORIZATION regress_zdm_cp_head;
GRANT SELECT (a, b, c, d, e) ON zdm_cp.t TO regress_zdm_cp_heir;
SET SESSION AUTHORIZATION regress_zdm_cp_owner;
SELECT zdm.rename_column('t', 'a', 'a2');
SELECT zdm.rename_column('p', 'a', 'a2');
SELECT zdm.split_column('t', 'b', '{"b1": {"type": "text", "up": "b"}, "b2": {"type": "text", "up": "b"}}', 'b1');
SELECT zdm.merge_columns('t', '{c,d}', 'cd', 'text', 'c || d', '{"c": "cd", "d": "cd"}');
SELECT zdm.change_column_type('t', 'e', 'bigint');
GRANT SELECT (a2, b1, cd) ON t TO regress_zdm_cp_app;

CREATE VIEW granted AS
SELECT a.attrelid::regclass AS "table", a.attname AS "column", string_agg(concat(replace(x.grantee::regrole::text, 'regress_zdm_cp_', ''),
       ' ', x.privilege_type, CASE WHEN x.is_grantable THEN '*' END), ', ' ORDER BY x.grantee::regrole::text, x.privilege_type) AS granted
  FROM pg_attribute a, aclexplode(a.attacl) x
 WHERE a.attrelid IN ('t'::regclass, 'p'::regclass, 'p_1'::regclass) AND NOT a.attisdropped GROUP BY 1, 2;
TABLE granted ORDER BY 1, 2;

-- taken away from one, in each of the ways; the new version's stays
RESET client_min_messages;
REVOKE UPDATE (a, b, d, e) ON t FROM regress_zdm_cp_head;
REVOKE GRANT OPTION FOR SELECT (a, b, c, e) ON t FROM regress_zdm_cp_head CASCADE;
REVOKE ALL (a) ON p_1 FROM regress_zdm_cp_head;
TABLE granted ORDER BY 1, 2;
SET SESSION AUTHORIZATION regress_zdm_cp_heir;
SELECT a2 FROM zdm_cp.t;
SELECT b1 FROM zdm_cp.t;
SELECT cd FROM zdm_cp.t;
SELECT "~zdm_e" FROM zdm_cp.t;
SET SESSION AUTHORIZATION regress_zdm_cp_owner;

-- and given again; by a table of another schema nothing changes
GRANT SELECT (a, b, c, d, e), UPDATE (a, b, c, d, e) ON t TO regress_zdm_cp_head WITH GRANT OPTION;
SET client_min_messages = warning;
SET SESSION AUTHORIZATION regress_zdm_cp_head;
GRANT SELECT (a, b, c, d, e) ON zdm_cp.t TO regress_zdm_cp_heir;
SET SESSION AUTHORIZATION regress_zdm_cp_owner;
CREATE TEMPORARY TABLE t (a int);
GRANT SELECT (a) ON t TO regress_zdm_cp_app;
REVOKE SELECT (a) ON t FROM regress_zdm_cp_app;
DROP TABLE pg_temp.t;
TABLE granted ORDER BY 1, 2;

-- what is granted to tables to come is nothing of theirs
ALTER DEFAULT PRIVILEGES IN SCHEMA zdm_cp GRANT SELECT ON TABLES TO regress_zdm_cp_head;
ALTER DEFAULT PRIVILEGES IN SCHEMA zdm_cp REVOKE SELECT ON TABLES FROM regress_zdm_cp_head;
-- with its owner a table's privileges are another's to take away
RESET SESSION AUTHORIZATION;
BEGIN;
REASSIGN OWNED BY regress_zdm_cp_owner TO regress_zdm_cp_next;
SET SESSION AUTHORIZATION regress_zdm_cp_next;
REVOKE SELECT (a, b, c, d, e) ON t FROM regress_zdm_cp_head CASCADE;
SELECT * FROM granted ORDER BY 1, 2;
RESET SESSION AUTHORIZATION;
ROLLBACK;
-- on the whole table the server does it on all columns
BEGIN;
REVOKE SELECT ON t FROM regress_zdm_cp_head CASCADE;
SELECT * FROM granted ORDER BY 1, 2;
ROLLBACK;
-- with a role goes what it has granted
DROP OWNED BY regress_zdm_cp_head;
SELECT * FROM granted ORDER BY 1, 2;

DROP SCHEMA zdm_cp CASCADE;
DROP ROLE regress_zdm_cp_next, regress_zdm_cp_head, regress_zdm_cp_heir, regress_zdm_cp_app, regress_zdm_cp_owner;
