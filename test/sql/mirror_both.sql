--
-- One statement that writes the same row in both of two tables: in the end
-- they agree, whichever of its parts has the last word.
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS zdm;
CREATE SCHEMA zdm_both;
SET search_path = zdm_both;
\pset tuples_only on
\pset format unaligned
CREATE FUNCTION outcome(command text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    result text;
BEGIN
    EXECUTE command;
    SELECT format('%s | %s', (SELECT string_agg(v::text, ' ' ORDER BY v.id) FROM voucher v),
                  (SELECT string_agg(format('(%s,%s)', key, user_id), ' ' ORDER BY key, user_id) FROM second))
           || CASE WHEN (SELECT sum(mismatches) FROM zdm.verify('m')) > 0 THEN ', they differ' ELSE '' END INTO result;
    RAISE SQLSTATE 'ZZ000' USING MESSAGE = result;
EXCEPTION
    WHEN SQLSTATE 'ZZ000' THEN RETURN SQLERRM;
    WHEN OTHERS THEN RETURN 'refused: ' || SQLERRM;
END $$;
CREATE TABLE users (id int PRIMARY KEY);
INSERT INTO users SELECT generate_series(1, 9);

-- a join table and a column
CREATE TABLE voucher (id int PRIMARY KEY);
CREATE TABLE used (user_id int NOT NULL REFERENCES users, voucher_id int NOT NULL UNIQUE REFERENCES voucher);
INSERT INTO voucher SELECT generate_series(1, 3);
INSERT INTO used VALUES (2, 2), (3, 3);
SELECT zdm.join_table_to_column('used', 'voucher', 'user_id', migration => 'm');
CREATE VIEW second AS SELECT voucher_id AS key, user_id FROM used;
-- before the backfill has come to them, and after it
SELECT outcome($$WITH a AS (UPDATE used SET user_id = 5 WHERE voucher_id = 2) UPDATE voucher SET user_id = 5 WHERE id = 2$$);
SELECT outcome($$WITH a AS (UPDATE used SET user_id = 5 WHERE voucher_id = 2) UPDATE voucher SET user_id = 6 WHERE id = 2$$);
SELECT outcome($$WITH a AS (UPDATE voucher SET user_id = NULL WHERE id = 2) DELETE FROM used WHERE voucher_id = 2$$);
SELECT outcome($$WITH a AS (DELETE FROM used WHERE voucher_id = 2) UPDATE voucher SET user_id = 7 WHERE id = 2$$);
CALL zdm.backfill('m');
SELECT outcome($$WITH a AS (INSERT INTO used (user_id, voucher_id) VALUES (5,1)) UPDATE voucher SET user_id = 5 WHERE id = 1$$);
SELECT outcome($$WITH a AS (UPDATE voucher SET user_id = 5 WHERE id = 1) INSERT INTO used (user_id, voucher_id) VALUES (5,1)$$);
SELECT outcome($$WITH a AS (UPDATE voucher SET user_id = 6 WHERE id = 1) INSERT INTO used (user_id, voucher_id) VALUES (5,1)$$);
SELECT outcome($$WITH a AS (INSERT INTO used (user_id, voucher_id) VALUES (5,1)) UPDATE voucher SET user_id = 6 WHERE id = 1$$);
SELECT outcome($$WITH a AS (UPDATE used SET user_id = 5 WHERE voucher_id = 2) UPDATE voucher SET user_id = 5 WHERE id = 2$$);
SELECT outcome($$WITH a AS (UPDATE voucher SET user_id = 5 WHERE id = 2) UPDATE used SET user_id = 5 WHERE voucher_id = 2$$);
SELECT outcome($$WITH a AS (UPDATE voucher SET user_id = 6 WHERE id = 2) UPDATE used SET user_id = 5 WHERE voucher_id = 2$$);
SELECT outcome($$WITH a AS (UPDATE used SET user_id = 5 WHERE voucher_id = 2) UPDATE voucher SET user_id = 6 WHERE id = 2$$);
SELECT outcome($$WITH a AS (DELETE FROM used WHERE voucher_id = 2) UPDATE voucher SET user_id = NULL WHERE id = 2$$);
SELECT outcome($$WITH a AS (UPDATE voucher SET user_id = NULL WHERE id = 2) DELETE FROM used WHERE voucher_id = 2$$);
SELECT outcome($$WITH a AS (DELETE FROM used WHERE voucher_id = 2) UPDATE voucher SET user_id = 7 WHERE id = 2$$);
SELECT outcome($$WITH a AS (UPDATE voucher SET user_id = 7 WHERE id = 2) DELETE FROM used WHERE voucher_id = 2$$);
SELECT outcome($$WITH a AS (DELETE FROM used WHERE voucher_id = 2) DELETE FROM voucher WHERE id = 2$$);
SELECT outcome($$WITH a AS (DELETE FROM voucher WHERE id = 2) DELETE FROM used WHERE voucher_id = 2$$);
SELECT outcome($$WITH a AS (INSERT INTO voucher (id) VALUES (8) RETURNING id) INSERT INTO used (user_id, voucher_id) SELECT 4, id FROM a$$);
SELECT outcome($$WITH a AS (INSERT INTO voucher (id, user_id) VALUES (8, 4) RETURNING id) INSERT INTO used (user_id, voucher_id) SELECT 4, id FROM a$$);
SELECT outcome($$WITH a AS (INSERT INTO voucher (id, user_id) VALUES (8, 5) RETURNING id) INSERT INTO used (user_id, voucher_id) SELECT 4, id FROM a$$);
SELECT outcome($$WITH a AS (INSERT INTO used (user_id, voucher_id) VALUES (4,8)) INSERT INTO voucher (id) VALUES (8)$$);
SELECT outcome($$WITH a AS (INSERT INTO used (user_id, voucher_id) VALUES (4,8)) INSERT INTO voucher (id, user_id) VALUES (8, 4)$$);
SELECT outcome($$WITH a AS (UPDATE used SET voucher_id = 1 WHERE voucher_id = 2) UPDATE voucher SET user_id = NULL WHERE id = 2$$);
SELECT outcome($$WITH a AS (UPDATE used SET voucher_id = 1 WHERE voucher_id = 2) UPDATE voucher SET user_id = CASE WHEN id = 1 THEN 2 END WHERE id IN (1, 2)$$);
-- a second row for a key is refused as without it
SELECT outcome($$WITH a AS (UPDATE voucher SET user_id = 5 WHERE id = 1) INSERT INTO used VALUES (5, 1), (6, 1)$$);
SELECT zdm.rollback('m');
DROP VIEW second;
DROP TABLE used, voucher;

-- a column and a join table: what either part has written is there
CREATE TABLE voucher (id int PRIMARY KEY, user_id int REFERENCES users);
INSERT INTO voucher VALUES (1, NULL), (2, 2), (3, 3);
SELECT zdm.column_to_join_table('voucher', 'user_id', 'used', migration => 'm');
CREATE VIEW second AS SELECT voucher_id AS key, user_id FROM used;
CALL zdm.backfill('m');
SELECT outcome($$WITH a AS (INSERT INTO used (user_id, voucher_id) VALUES (5,1)) UPDATE voucher SET user_id = 5 WHERE id = 1$$);
SELECT outcome($$WITH a AS (UPDATE voucher SET user_id = 5 WHERE id = 1) INSERT INTO used (user_id, voucher_id) VALUES (5,1)$$);
SELECT outcome($$WITH a AS (UPDATE voucher SET user_id = 6 WHERE id = 1) INSERT INTO used (user_id, voucher_id) VALUES (5,1)$$);
SELECT outcome($$WITH a AS (INSERT INTO used (user_id, voucher_id) VALUES (5,1)) UPDATE voucher SET user_id = 6 WHERE id = 1$$);
SELECT outcome($$WITH a AS (UPDATE used SET user_id = 5 WHERE voucher_id = 2) UPDATE voucher SET user_id = 5 WHERE id = 2$$);
SELECT outcome($$WITH a AS (UPDATE voucher SET user_id = 5 WHERE id = 2) UPDATE used SET user_id = 5 WHERE voucher_id = 2$$);
SELECT outcome($$WITH a AS (UPDATE voucher SET user_id = 6 WHERE id = 2) UPDATE used SET user_id = 5 WHERE voucher_id = 2$$);
SELECT outcome($$WITH a AS (UPDATE used SET user_id = 5 WHERE voucher_id = 2) UPDATE voucher SET user_id = 6 WHERE id = 2$$);
SELECT outcome($$WITH a AS (DELETE FROM used WHERE voucher_id = 2) UPDATE voucher SET user_id = NULL WHERE id = 2$$);
SELECT outcome($$WITH a AS (UPDATE voucher SET user_id = NULL WHERE id = 2) DELETE FROM used WHERE voucher_id = 2$$);
SELECT outcome($$WITH a AS (DELETE FROM used WHERE voucher_id = 2) UPDATE voucher SET user_id = 7 WHERE id = 2$$);
SELECT outcome($$WITH a AS (UPDATE voucher SET user_id = 7 WHERE id = 2) DELETE FROM used WHERE voucher_id = 2$$);
SELECT outcome($$WITH a AS (DELETE FROM used WHERE voucher_id = 2) DELETE FROM voucher WHERE id = 2$$);
SELECT outcome($$WITH a AS (DELETE FROM voucher WHERE id = 2) DELETE FROM used WHERE voucher_id = 2$$);
SELECT outcome($$WITH a AS (INSERT INTO voucher (id) VALUES (8) RETURNING id) INSERT INTO used (user_id, voucher_id) SELECT 4, id FROM a$$);
SELECT outcome($$WITH a AS (INSERT INTO voucher (id, user_id) VALUES (8, 4) RETURNING id) INSERT INTO used (user_id, voucher_id) SELECT 4, id FROM a$$);
SELECT outcome($$WITH a AS (INSERT INTO voucher (id, user_id) VALUES (8, 5) RETURNING id) INSERT INTO used (user_id, voucher_id) SELECT 4, id FROM a$$);
SELECT outcome($$WITH a AS (INSERT INTO used (user_id, voucher_id) VALUES (4,8)) INSERT INTO voucher (id) VALUES (8)$$);
SELECT outcome($$WITH a AS (INSERT INTO used (user_id, voucher_id) VALUES (4,8)) INSERT INTO voucher (id, user_id) VALUES (8, 4)$$);
SELECT outcome($$WITH a AS (UPDATE used SET voucher_id = 1 WHERE voucher_id = 2) UPDATE voucher SET user_id = NULL WHERE id = 2$$);
SELECT outcome($$WITH a AS (UPDATE used SET voucher_id = 1 WHERE voucher_id = 2) UPDATE voucher SET user_id = CASE WHEN id = 1 THEN 2 END WHERE id IN (1, 2)$$);
DROP VIEW second;
SELECT zdm.rollback('m');
DROP TABLE voucher;

-- a table under two names: as of one table, of two writes of a row one counts, and a key is there once
CREATE TABLE voucher (id int PRIMARY KEY, user_id int);
INSERT INTO voucher VALUES (2, 2), (3, 3);
SELECT zdm.rename_table('voucher', 'used', 'dual_write', migration => 'm');
CREATE VIEW second AS SELECT id AS key, user_id FROM used;
CALL zdm.backfill('m');
SELECT outcome($$WITH a AS (INSERT INTO voucher VALUES (8,8)) INSERT INTO used VALUES (8,8)$$);
SELECT outcome($$WITH a AS (INSERT INTO used VALUES (8,8)) INSERT INTO voucher VALUES (8,8)$$);
SELECT outcome($$WITH a AS (INSERT INTO used VALUES (8,9)) INSERT INTO voucher VALUES (8,8) ON CONFLICT DO NOTHING$$);
SELECT outcome($$WITH a AS (INSERT INTO voucher VALUES (8,9) ON CONFLICT DO NOTHING) INSERT INTO used VALUES (8,8) ON CONFLICT DO NOTHING$$);
SELECT outcome($$WITH a AS (UPDATE voucher SET user_id = 5 WHERE id = 2) UPDATE used SET user_id = 5 WHERE id = 2$$);
SELECT outcome($$WITH a AS (UPDATE used SET user_id = 5 WHERE id = 2) UPDATE voucher SET user_id = 5 WHERE id = 2$$);
SELECT outcome($$WITH a AS (UPDATE used SET user_id = 5 WHERE id = 2) UPDATE voucher SET user_id = 6 WHERE id = 2$$);
SELECT outcome($$WITH a AS (UPDATE voucher SET user_id = 6 WHERE id = 2) UPDATE used SET user_id = 5 WHERE id = 2$$);
SELECT outcome($$WITH a AS (DELETE FROM voucher WHERE id = 2) DELETE FROM used WHERE id = 2$$);
SELECT outcome($$WITH a AS (DELETE FROM used WHERE id = 2) DELETE FROM voucher WHERE id = 2$$);
SELECT outcome($$WITH a AS (DELETE FROM used WHERE id = 2) UPDATE voucher SET user_id = 6 WHERE id = 2$$);
SELECT outcome($$WITH a AS (DELETE FROM voucher WHERE id = 2) UPDATE used SET user_id = 6 WHERE id = 2$$);
SELECT outcome($$WITH a AS (DELETE FROM voucher WHERE id = 2) INSERT INTO used VALUES (2, 6)$$);
SELECT outcome($$WITH a AS (DELETE FROM voucher WHERE id = 2) INSERT INTO used VALUES (9, 6)$$);
SELECT outcome($$WITH a AS (DELETE FROM used WHERE id = 2 RETURNING *) INSERT INTO voucher SELECT 9, user_id FROM a$$);
SELECT outcome($$WITH a AS (UPDATE voucher SET id = 12 WHERE id = 2) UPDATE used SET id = 12 WHERE id = 2$$);
SELECT outcome($$WITH a AS (UPDATE voucher SET id = 12 WHERE id = 2) UPDATE used SET user_id = 12 WHERE id = 2$$);
SELECT outcome($$WITH a AS (UPDATE used SET id = 12 WHERE id = 2) UPDATE voucher SET user_id = 12 WHERE id = 2$$);
DROP VIEW second;
SELECT zdm.rollback('m');
DROP SCHEMA zdm_both CASCADE;
