--
-- A join table becomes a column: what each call says, and what both tables
-- hold in each phase.
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS zdm;
CREATE ROLE regress_zdm_join;
CREATE SCHEMA zdm_join AUTHORIZATION regress_zdm_join;
SET SESSION AUTHORIZATION regress_zdm_join;
SET search_path = zdm_join;
SET timezone = 'UTC';

CREATE TABLE users (id bigint PRIMARY KEY, name text);
CREATE TABLE voucher (id int PRIMARY KEY, code text);
CREATE TABLE used_voucher (
    user_id bigint NOT NULL REFERENCES users ON DELETE CASCADE,
    voucher_id int NOT NULL UNIQUE REFERENCES voucher ON DELETE CASCADE,
    used_at timestamptz,
    PRIMARY KEY (user_id, voucher_id));
INSERT INTO users SELECT i, 'user ' || i FROM generate_series(1, 20) i;
INSERT INTO voucher SELECT i, 'code ' || i FROM generate_series(1, 1000) i;
INSERT INTO used_voucher SELECT i % 20 + 1, i, '2020-01-01' FROM generate_series(1, 1000, 2) i;


SELECT phase, step, description, sql, lock_mode
  FROM zdm.explain($$zdm.join_table_to_column('used_voucher', 'voucher', 'user_id', columns => '{"used_at": "used_at"}')$$)
 WHERE phase <> 'note';
SELECT description FROM zdm.explain($$zdm.join_table_to_column('used_voucher', 'voucher', 'user_id', columns => '{"used_at": "used_at"}')$$)
 WHERE phase = 'note';
SELECT zdm.join_table_to_column('used_voucher', 'voucher', 'user_id', columns => '{"used_at": "used_at"}');
\d voucher
\d used_voucher

CREATE FUNCTION shapes(VARIADIC ids int[])
RETURNS TABLE (id int, user_id bigint, used_at date, joined_user bigint, joined_at date) LANGUAGE sql AS $$
    SELECT v.id, v.user_id, v.used_at::date, u.user_id, u.used_at::date
      FROM voucher v FULL JOIN used_voucher u ON u.voucher_id = v.id
     WHERE v.id = ANY (ids) ORDER BY v.id $$;

-- before the backfill: what each version writes, and rows that nobody touches
INSERT INTO used_voucher VALUES (1, 2, '2021-01-01');
UPDATE voucher SET code = 'changed' WHERE id = 3;
DELETE FROM used_voucher WHERE voucher_id = 5;
UPDATE used_voucher SET user_id = 9 WHERE voucher_id = 7;
UPDATE voucher SET user_id = 4, used_at = '2021-02-02' WHERE id = 4;
UPDATE voucher SET user_id = NULL WHERE id = 9;
SELECT * FROM shapes(1, 2, 3, 4, 5, 6, 7, 8, 9);

CALL zdm.backfill('fold_used_voucher_into_voucher_user_id');
SELECT state, progress, next_command FROM zdm.status;
SELECT * FROM zdm.verify('fold_used_voucher_into_voucher_user_id');
SELECT convalidated FROM pg_constraint WHERE conname = 'voucher_user_id_fkey';

-- both versions
INSERT INTO voucher (id, code, user_id, used_at) VALUES (2000, 'new', 11, '2022-01-01'), (2001, 'free', NULL, NULL);
UPDATE voucher SET user_id = 12 WHERE id = 2000;
UPDATE voucher SET user_id = 13, used_at = '2022-01-02' WHERE id = 2001;
UPDATE voucher SET user_id = NULL, used_at = NULL WHERE id = 1;
SELECT * FROM shapes(1, 2000, 2001);
INSERT INTO used_voucher VALUES (14, 6, '2022-01-03');
UPDATE used_voucher SET user_id = 15 WHERE voucher_id = 6;
UPDATE used_voucher SET used_at = '2022-01-04' WHERE voucher_id = 6;
UPDATE used_voucher SET voucher_id = 8 WHERE voucher_id = 6;
DELETE FROM used_voucher WHERE voucher_id = 2001;
SELECT * FROM shapes(6, 8, 2001);
-- a second user is refused as it always was, to both
INSERT INTO used_voucher VALUES (1, 8, NULL);
-- upsert, MERGE, COPY
INSERT INTO used_voucher VALUES (16, 8, '2022-01-05') ON CONFLICT (voucher_id) DO UPDATE SET user_id = excluded.user_id;
INSERT INTO used_voucher VALUES (17, 8, '2022-01-05') ON CONFLICT DO NOTHING;
MERGE INTO used_voucher u USING (VALUES (18, 8), (19, 10)) v (user_id, voucher_id) ON u.voucher_id = v.voucher_id
 WHEN MATCHED THEN UPDATE SET user_id = v.user_id
 WHEN NOT MATCHED THEN INSERT VALUES (v.user_id, v.voucher_id, '2022-01-06');
COPY used_voucher FROM stdin;
5	12	2022-01-07
6	14	2022-01-07
\.
COPY voucher FROM stdin;
2002	copied	7	2022-01-08
\.
SELECT * FROM shapes(8, 10, 12, 14, 2002);
-- cascades from the user and from the voucher
DELETE FROM users WHERE id = 5;
DELETE FROM voucher WHERE id = 14;
SELECT * FROM shapes(12);
SELECT count(*) FROM used_voucher WHERE voucher_id = 14;
BEGIN;
TRUNCATE used_voucher;
SELECT count(user_id), count(used_at) FROM voucher;
ROLLBACK;
SELECT * FROM zdm.verify('fold_used_voucher_into_voucher_user_id');

-- the quarantine keeps both
SELECT phase, step, description, regexp_replace(sql, '~zdm_[0-9]+', '~zdm_N') AS sql FROM zdm.explain($$zdm.contract('fold_used_voucher_into_voucher_user_id')$$);
SELECT zdm.contract('fold_used_voucher_into_voucher_user_id', '1 day');
UPDATE voucher SET user_id = 1 WHERE id = 20;
DELETE FROM used_voucher WHERE voucher_id = 21;
SELECT * FROM shapes(20, 21);
SELECT * FROM zdm.verify('fold_used_voucher_into_voucher_user_id');
-- the index that we asked for is no reason to refuse it, another one is
CREATE INDEX ON voucher (user_id);
CREATE INDEX two_columns ON voucher (user_id, code);
SELECT zdm.rollback('fold_used_voucher_into_voucher_user_id');
DROP INDEX two_columns;
SELECT zdm.rollback('fold_used_voucher_into_voucher_user_id');
\d voucher
\d used_voucher
SELECT count(*) FROM used_voucher;

-- and to its end
SELECT zdm.join_table_to_column('used_voucher', 'voucher', 'user_id', columns => '{"used_at": null}', migration => 'm');
CALL zdm.backfill('m');
SELECT zdm.contract('m');
\d voucher
SELECT to_regclass('used_voucher'), count(user_id) FROM voucher;
SELECT event FROM zdm.events WHERE migration = 'm' ORDER BY id;

-- nothing of zdm is left behind
SELECT count(*) FROM zdm.status;
SELECT tgname FROM pg_trigger WHERE tgrelid = 'voucher'::regclass AND NOT tgisinternal;
RESET SESSION AUTHORIZATION;
SELECT count(*) FROM zdm.mirror_rule WHERE migration_id = (SELECT max(id) FROM zdm.migration);
DROP SCHEMA zdm_join CASCADE;
DROP ROLE regress_zdm_join;
