--
-- Who may do what with a join table that a column becomes, and with a column
-- that a join table becomes, while what is granted changes.
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS zdm;
CREATE ROLE regress_zdm_join_owner;
CREATE ROLE regress_zdm_join_heir;
CREATE ROLE regress_zdm_join_reader;
CREATE ROLE regress_zdm_join_writer;
CREATE ROLE "regress zdm join other";
GRANT regress_zdm_join_heir TO regress_zdm_join_owner;
CREATE SCHEMA zdm_join_rights AUTHORIZATION regress_zdm_join_owner;
GRANT ALL ON SCHEMA zdm_join_rights TO regress_zdm_join_heir;
GRANT USAGE ON SCHEMA zdm_join_rights TO regress_zdm_join_reader, regress_zdm_join_writer, "regress zdm join other";
SET SESSION AUTHORIZATION regress_zdm_join_owner;
SET search_path = zdm_join_rights;
-- what every new table is granted is not what the column was
ALTER DEFAULT PRIVILEGES GRANT ALL ON TABLES TO "regress zdm join other", PUBLIC;
CREATE TABLE users (id int PRIMARY KEY);
CREATE TABLE voucher (id int PRIMARY KEY, code text, user_id int REFERENCES users);
REVOKE ALL ON voucher FROM "regress zdm join other", PUBLIC;
INSERT INTO users SELECT generate_series(1, 5);
INSERT INTO voucher SELECT i, 'code', i FROM generate_series(1, 4) i;
GRANT SELECT ON voucher TO regress_zdm_join_reader WITH GRANT OPTION;
GRANT SELECT, INSERT, UPDATE ON voucher TO regress_zdm_join_writer;
CREATE FUNCTION privileges() RETURNS TABLE (relation regclass, owner regrole, grantee text, privileges text) LANGUAGE sql AS $$
    SELECT c.oid::regclass, c.relowner::regrole, CASE WHEN a.grantee = 0 THEN 'PUBLIC' ELSE a.grantee::regrole::text END,
           string_agg(a.privilege_type || CASE WHEN a.is_grantable THEN '*' ELSE '' END, ', ' ORDER BY a.privilege_type)
      FROM pg_class c, aclexplode(c.relacl) a WHERE c.oid = to_regclass('zdm_join_rights.used') AND a.grantee <> c.relowner
     GROUP BY c.oid, a.grantee ORDER BY 3 $$;
SELECT zdm.column_to_join_table('voucher', 'user_id', 'used', migration => 'm');
CALL zdm.backfill('m');
SELECT * FROM privileges();

-- what is revoked from the table has no way around it, what is granted is
REVOKE UPDATE ON voucher FROM regress_zdm_join_writer;
REVOKE GRANT OPTION FOR SELECT ON zdm_join_rights.voucher FROM regress_zdm_join_reader;
GRANT UPDATE ON voucher TO "regress zdm join other" WITH GRANT OPTION;
SELECT * FROM privileges();
SET SESSION AUTHORIZATION regress_zdm_join_writer;
INSERT INTO zdm_join_rights.used VALUES (1, 2);
SET SESSION AUTHORIZATION "regress zdm join other";
GRANT UPDATE ON zdm_join_rights.voucher TO regress_zdm_join_reader;
SET SESSION AUTHORIZATION regress_zdm_join_owner;
SELECT * FROM privileges();
REVOKE ALL ON ALL TABLES IN SCHEMA zdm_join_rights FROM "regress zdm join other";
REVOKE ALL ON ALL TABLES IN SCHEMA zdm_join_rights FROM "regress zdm join other" CASCADE;
GRANT UPDATE (user_id), INSERT ON voucher TO regress_zdm_join_writer;
GRANT SELECT ON voucher TO PUBLIC;
SELECT * FROM privileges();
REVOKE SELECT ON voucher FROM PUBLIC;
-- what is granted on the join table stays, whatever others lose
GRANT SELECT, INSERT, UPDATE, DELETE ON used TO regress_zdm_join_writer;
REVOKE SELECT ON voucher FROM regress_zdm_join_reader;
REVOKE UPDATE ON used FROM regress_zdm_join_writer;
SELECT * FROM privileges();

-- the owner follows
ALTER TABLE voucher OWNER TO regress_zdm_join_heir;
SELECT relname, relowner::regrole FROM pg_class WHERE oid IN ('voucher'::regclass, 'used'::regclass) ORDER BY 1;
SET SESSION AUTHORIZATION regress_zdm_join_writer;
INSERT INTO zdm_join_rights.used VALUES (1, 2);
SET SESSION AUTHORIZATION regress_zdm_join_heir;
GRANT SELECT ON voucher TO regress_zdm_join_reader;
-- row security hides nothing that the join table shows
ALTER TABLE voucher ENABLE ROW LEVEL SECURITY;
ALTER TABLE used ENABLE ROW LEVEL SECURITY;
CREATE POLICY mine ON used USING (true);
ALTER TABLE voucher FORCE ROW LEVEL SECURITY;
-- from contract on the join table is on its own
SELECT zdm.contract('m', '1 day');
REVOKE ALL ON voucher FROM regress_zdm_join_reader;
SELECT * FROM privileges();
SELECT zdm.rollback('m');
DELETE FROM used WHERE user_id = 1;
SELECT zdm.rollback('m');
DROP TABLE voucher;

-- the other way round: who may do with the column what he may not with the join table
SET SESSION AUTHORIZATION regress_zdm_join_owner;
ALTER DEFAULT PRIVILEGES REVOKE ALL ON TABLES FROM "regress zdm join other", PUBLIC;
CREATE TABLE voucher (id int PRIMARY KEY, code text);
CREATE TABLE used (user_id int NOT NULL REFERENCES users, voucher_id int PRIMARY KEY REFERENCES voucher);
GRANT SELECT ON voucher, used TO regress_zdm_join_reader;
GRANT SELECT, UPDATE ON voucher TO regress_zdm_join_writer;
GRANT SELECT, INSERT, UPDATE ON used TO regress_zdm_join_writer;
GRANT SELECT ON voucher TO "regress zdm join other";
ALTER TABLE used ENABLE ROW LEVEL SECURITY;
SELECT zdm.join_table_to_column('used', 'voucher', 'user_id', migration => 'm');
SELECT zdm.rollback('m');
GRANT SELECT, DELETE ON used TO PUBLIC;
ALTER TABLE used DISABLE ROW LEVEL SECURITY;
SELECT zdm.join_table_to_column('used', 'voucher', 'user_id', migration => 'm');
SELECT zdm.rollback('m');

RESET SESSION AUTHORIZATION;
DROP SCHEMA zdm_join_rights CASCADE;
DROP OWNED BY regress_zdm_join_owner, regress_zdm_join_heir, regress_zdm_join_reader, regress_zdm_join_writer, "regress zdm join other";
DROP ROLE regress_zdm_join_owner, regress_zdm_join_heir, regress_zdm_join_reader, regress_zdm_join_writer, "regress zdm join other";
