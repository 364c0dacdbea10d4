--
-- A column becomes a join table: what each call says, and what both hold in
-- each phase.
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS zdm;
CREATE ROLE regress_zdm_spread;
CREATE ROLE regress_zdm_reader;
CREATE SCHEMA zdm_spread AUTHORIZATION regress_zdm_spread;
SET SESSION AUTHORIZATION regress_zdm_spread;
SET search_path = zdm_spread;

CREATE TABLE users (id bigint PRIMARY KEY, name text);
CREATE TABLE voucher (id int PRIMARY KEY, code text, user_id bigint REFERENCES users ON DELETE SET NULL);
CREATE INDEX ON voucher (user_id);
GRANT SELECT, INSERT ON voucher TO regress_zdm_reader;
GRANT SELECT, UPDATE ON voucher TO PUBLIC;
GRANT USAGE ON SCHEMA zdm_spread TO regress_zdm_reader;
INSERT INTO users SELECT i, 'user ' || i FROM generate_series(1, 20) i;
INSERT INTO voucher SELECT i, 'code ' || i, CASE WHEN i % 2 = 1 THEN i % 20 + 1 END FROM generate_series(1, 1000) i;

SELECT phase, step, description, sql, lock_mode
  FROM zdm.explain($$zdm.column_to_join_table('voucher', 'user_id', 'used_voucher')$$)
 WHERE phase <> 'note';
SELECT description FROM zdm.explain($$zdm.column_to_join_table('voucher', 'user_id', 'used_voucher')$$)
 WHERE phase = 'note';
SELECT to_regclass('used_voucher');
SELECT zdm.column_to_join_table('voucher', 'user_id', 'used_voucher');
SELECT zdm.column_to_join_table('voucher', 'user_id', 'used_voucher');
\d used_voucher
SELECT CASE grantee WHEN 0 THEN 'PUBLIC' ELSE grantee::regrole::text END AS grantee, privilege_type
  FROM pg_class, aclexplode(relacl) WHERE oid = 'used_voucher'::regclass AND grantee <> relowner ORDER BY 1, 2;
RESET SESSION AUTHORIZATION;
SELECT others FROM zdm.migration WHERE name = 'spread_voucher_user_id_into_used_voucher' AND state = 'expanded';
SET SESSION AUTHORIZATION regress_zdm_spread;

CREATE FUNCTION shapes(VARIADIC ids int[]) RETURNS TABLE (id int, user_id bigint, joined bigint[]) LANGUAGE sql AS $$
    SELECT v.id, v.user_id, (SELECT array_agg(u.user_id ORDER BY u.user_id) FROM used_voucher u WHERE u.voucher_id = v.id)
      FROM voucher v WHERE v.id = ANY (ids) ORDER BY v.id $$;

-- before the backfill
UPDATE voucher SET code = 'changed' WHERE id = 1;
UPDATE voucher SET user_id = 5 WHERE id = 3;
UPDATE voucher SET user_id = 6 WHERE id = 4;
UPDATE voucher SET user_id = NULL WHERE id = 5;
DELETE FROM voucher WHERE id = 7;
INSERT INTO voucher VALUES (2000, 'new', 8);
SELECT * FROM shapes(1, 2, 3, 4, 5, 6, 7, 9, 2000);
CALL zdm.backfill('spread_voucher_user_id_into_used_voucher');
SELECT state, progress, next_command FROM zdm.status;
SELECT * FROM zdm.verify('spread_voucher_user_id_into_used_voucher');
SELECT count(*) FROM used_voucher;

-- the old version
UPDATE voucher SET user_id = 9 WHERE id = 1;
UPDATE voucher SET user_id = NULL WHERE id = 3;
UPDATE voucher SET id = 2001 WHERE id = 2000;
DELETE FROM voucher WHERE id = 9;
COPY voucher FROM stdin;
2002	copied	7
\.
SELECT * FROM shapes(1, 3, 2000, 2001, 9, 2002);
-- the new version: one user, another one, none
INSERT INTO used_voucher (voucher_id, user_id) VALUES (2, 11);
UPDATE used_voucher SET user_id = 12 WHERE voucher_id = 1;
DELETE FROM used_voucher WHERE voucher_id = 2001;
SELECT * FROM shapes(1, 2, 2001);
-- several: the old version reads the first
INSERT INTO used_voucher (voucher_id, user_id) VALUES (2, 13), (2, 10);
SELECT * FROM shapes(2);
DELETE FROM used_voucher WHERE voucher_id = 2 AND user_id = 10;
SELECT * FROM shapes(2);
-- ... and replaces the one that it has read
UPDATE voucher SET user_id = 15 WHERE id = 2;
SELECT * FROM shapes(2);
UPDATE voucher SET user_id = 13 WHERE id = 2;
SELECT * FROM shapes(2);
INSERT INTO used_voucher (voucher_id, user_id) VALUES (2, 14);
UPDATE voucher SET user_id = NULL WHERE id = 2;
SELECT * FROM shapes(2);
INSERT INTO used_voucher (voucher_id, user_id) VALUES (2, 16), (4, 17) ON CONFLICT DO NOTHING;
UPDATE used_voucher SET voucher_id = 6 WHERE voucher_id = 2 AND user_id = 14;
SELECT * FROM shapes(2, 4, 6);
-- cascades
DELETE FROM users WHERE id IN (6, 14);
SELECT * FROM shapes(2, 4, 6);
BEGIN;
TRUNCATE used_voucher;
SELECT count(user_id) FROM voucher;
ROLLBACK;
SELECT * FROM zdm.verify('spread_voucher_user_id_into_used_voucher');

-- rollback would lose what the column cannot hold
INSERT INTO used_voucher (voucher_id, user_id) VALUES (11, 1), (13, 2);
SELECT zdm.rollback('spread_voucher_user_id_into_used_voucher');
DELETE FROM used_voucher WHERE voucher_id IN (11, 13) AND user_id <= 2;
-- what others have attached stops contract
CREATE VIEW v AS SELECT user_id FROM voucher;
SELECT zdm.contract('spread_voucher_user_id_into_used_voucher');
DROP VIEW v;
SELECT zdm.contract('spread_voucher_user_id_into_used_voucher', '1 day');
UPDATE voucher SET user_id = 1 WHERE id = 20;
INSERT INTO used_voucher (voucher_id, user_id) VALUES (22, 3);
SELECT * FROM shapes(20, 22);
SELECT zdm.rollback('spread_voucher_user_id_into_used_voucher');
\d voucher
SELECT count(user_id) FROM voucher;

-- the last by its value, and to the end
SELECT zdm.column_to_join_table('voucher', 'user_id', 'zdm_spread."Used Voucher"', first_by => 'desc', migration => 'm');
CALL zdm.backfill('m');
INSERT INTO "Used Voucher" (voucher_id, user_id) VALUES (20, 2), (20, 4), (20, 3);
SELECT user_id FROM voucher WHERE id = 20;
SELECT * FROM zdm.verify('m');
SELECT zdm.contract('m');
\d voucher
\d "Used Voucher"
SELECT count(*) FROM "Used Voucher";
SELECT count(*) FROM zdm.status;

-- refused
SELECT zdm.column_to_join_table('voucher', 'user_id', 'x');
SELECT zdm.column_to_join_table('voucher', 'id', 'x');
SELECT zdm.column_to_join_table('voucher', 'code', 'users');
SELECT zdm.column_to_join_table('voucher', 'code', 'x', first_by => 'random');
SELECT zdm.column_to_join_table('voucher', 'code', 'a.b.c.d');
SELECT zdm.column_to_join_table('voucher', 'code', NULL);
ALTER TABLE voucher ALTER code SET NOT NULL;
SELECT zdm.column_to_join_table('voucher', 'code', 'x');
ALTER TABLE voucher ALTER code DROP NOT NULL, ENABLE ROW LEVEL SECURITY;
SELECT zdm.column_to_join_table('voucher', 'code', 'x');
CREATE TABLE keyless (a int);
SELECT zdm.column_to_join_table('keyless', 'a', 'x');
SET SESSION AUTHORIZATION regress_zdm_reader;
SELECT zdm.column_to_join_table('zdm_spread.voucher', 'code', 'x');

RESET SESSION AUTHORIZATION;
SET client_min_messages = warning;
DROP SCHEMA zdm_spread CASCADE;
DROP ROLE regress_zdm_spread, regress_zdm_reader;
