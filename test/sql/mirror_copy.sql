--
-- Rows that a backfill copies many at a time, and the looks at the other table
-- that walk along its index.
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS zdm;
CREATE SCHEMA zdm_copy;
SET search_path = zdm_copy;

-- forwards, backwards, with gaps and in no order; wide and narrow rows; columns
-- dropped, generated and NULL; a foreign key, a check, and triggers of the application
CREATE TABLE days (id int PRIMARY KEY);
INSERT INTO days SELECT generate_series(0, 9);
CREATE TABLE events (gone int, id bigint PRIMARY KEY, day int NOT NULL REFERENCES days DEFERRABLE INITIALLY DEFERRED,
    body text CHECK (body <> 'never'), twice bigint GENERATED ALWAYS AS (id * 2) STORED, note text);
ALTER TABLE events DROP COLUMN gone, ALTER note SET STORAGE EXTERNAL;
CREATE UNIQUE INDEX ON events (body);
INSERT INTO events SELECT i, i % 10, 'forwards ' || i FROM generate_series(1, 2000) i;
INSERT INTO events SELECT -i, i % 10, 'backwards ' || i FROM generate_series(1, 2000) i;
INSERT INTO events SELECT 10000 + i * 100, i % 10, 'gaps ' || i FROM generate_series(1, 2000) i;
INSERT INTO events SELECT 1000000 + (i * 7919) % 2003, i % 10, 'in no order ' || i FROM generate_series(1, 2000) i;
INSERT INTO events (id, day, body, note) SELECT 2000000 + i, i % 10, NULL, repeat(i::text, 3000) FROM generate_series(1, 20) i;
CREATE TABLE log (relation name);
CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO zdm_copy.log VALUES (TG_TABLE_NAME);
    RETURN NEW;
END $$;
CREATE TRIGGER noted BEFORE INSERT ON events FOR EACH ROW EXECUTE FUNCTION note();
SELECT zdm.rename_table('events', 'happenings', 'dual_write', migration => 'm');

-- what the triggers have brought over already is left as it is
UPDATE events SET body = body || ', written' WHERE id % 5 = 0;
DELETE FROM events WHERE id % 11 = 0;
INSERT INTO events SELECT 3000000 + i, 1, 'new ' || i FROM generate_series(1, 50) i;
INSERT INTO happenings SELECT 3001000 + i, 1, 'newer ' || i FROM generate_series(1, 50) i;
SELECT count(*) FROM happenings;
-- and so is what was brought there by somebody whose triggers did not fire
SET session_replication_role = replica;
INSERT INTO happenings SELECT id, day, body FROM events WHERE id IN (1, 999, 1999);
SET session_replication_role = origin;
TRUNCATE log;
CALL zdm.backfill('m');
SELECT "check", rows_compared, mismatches FROM zdm.verify('m');
SELECT (SELECT count(*) FROM events) AS events, (SELECT count(*) FROM happenings) AS happenings,
       (SELECT count(*) FROM (SELECT * FROM events EXCEPT SELECT * FROM happenings) x) AS missing,
       (SELECT count(*) FROM log) AS fired;
-- each index has every row
SET enable_seqscan = off;
SELECT count(*) FROM happenings WHERE id IN (SELECT id FROM events);
SELECT count(*) FROM happenings WHERE body IN (SELECT body FROM events);
RESET enable_seqscan;

-- a verification finds what is missing and what is other, wherever its walk is
SET session_replication_role = replica;
DELETE FROM happenings WHERE id % 97 = 0 OR id BETWEEN 500 AND 599;
UPDATE happenings SET note = 'other' WHERE id % 89 = 1 OR id BETWEEN 700 AND 799;
SET session_replication_role = origin;
SELECT mismatches = (SELECT count(*) FROM events e LEFT JOIN happenings h USING (id)
                      WHERE h.id IS NULL OR h.note IS DISTINCT FROM e.note) AS all_found, mismatches
  FROM zdm.verify('m') WHERE "check" ~ '=';
SELECT zdm.rollback('m');

-- a row that the second table does not take is found, the others go over
SELECT zdm.rename_table('events', 'happenings', 'dual_write', migration => 'n');
SET session_replication_role = replica;
INSERT INTO events VALUES (4000000, 77, 'of no day');
SET session_replication_role = origin;
UPDATE zdm.backfill_range SET end_block = pg_relation_size('events') / 8192
 WHERE relation = 'events'::regclass AND first_block = (SELECT max(first_block) FROM zdm.backfill_range WHERE relation = 'events'::regclass);
\set VERBOSITY terse
CALL zdm.backfill('n');
\set VERBOSITY default
SELECT regexp_replace(detail, 'constraint ".*"', 'constraint') FROM zdm.events WHERE migration = 'n' AND event = 'row failed';
SELECT count(*), max(e.id) FROM events e LEFT JOIN happenings h USING (id) WHERE h.id IS NULL;
DELETE FROM events WHERE id = 4000000;
CALL zdm.backfill('n');
SELECT "check", rows_compared, mismatches FROM zdm.verify('n');
SELECT zdm.rollback('n');

-- keys of two columns, and of text
CREATE TABLE pairs (a text, b int, c numeric(10, 2), PRIMARY KEY (b, a));
INSERT INTO pairs SELECT 'a' || i % 7, i / 7, i FROM generate_series(1, 3000) i;
CREATE TABLE words (word text PRIMARY KEY, length int);
INSERT INTO words SELECT to_char(i, 'FM00000'), i FROM generate_series(1, 3000) i;
SELECT zdm.rename_table('pairs', 'couples', 'dual_write', migration => 'pairs');
SELECT zdm.rename_table('words', 'terms', 'dual_write', migration => 'words');
CALL zdm.backfill('pairs');
CALL zdm.backfill('words');
SELECT "check", rows_compared, mismatches FROM zdm.verify('pairs') UNION ALL SELECT "check", rows_compared, mismatches FROM zdm.verify('words');

-- a row that was written just before is not looked for, unless it is gone
BEGIN;
INSERT INTO terms VALUES ('put', 1);
SAVEPOINT a;
UPDATE terms SET length = 2 WHERE word = 'put';
INSERT INTO terms VALUES ('rolled back', 2);
ROLLBACK TO a;
UPDATE terms SET length = length + 2 WHERE word = 'put';
COMMIT;
INSERT INTO terms VALUES ('put', 4) ON CONFLICT DO NOTHING;
INSERT INTO words VALUES ('put', 4) ON CONFLICT (word) DO UPDATE SET length = words.length + 1;
INSERT INTO terms VALUES ('put', 5);
SELECT * FROM words w FULL JOIN terms t USING (word, length) WHERE word IN ('put', 'rolled back');
BEGIN;
UPDATE terms SET length = 6 WHERE word = 'put';
TRUNCATE words;
INSERT INTO terms VALUES ('put', 7);
UPDATE terms SET word = 'moved', length = 8;
UPDATE terms SET length = 9;
COMMIT;
SELECT * FROM words w FULL JOIN terms t USING (word, length);
SELECT zdm.rollback('pairs'), zdm.rollback('words');

-- few rows of the first table have one in the second
CREATE TABLE users (id int PRIMARY KEY);
INSERT INTO users SELECT generate_series(1, 9);
CREATE TABLE voucher (id int PRIMARY KEY);
CREATE TABLE used (user_id int NOT NULL REFERENCES users, voucher_id int NOT NULL UNIQUE REFERENCES voucher);
INSERT INTO voucher SELECT i FROM generate_series(1, 5000) i;
INSERT INTO used SELECT i % 9 + 1, i FROM generate_series(1, 5000) i WHERE i % 50 = 0 OR i BETWEEN 2000 AND 2100;
SELECT zdm.join_table_to_column('used', 'voucher', 'user_id', migration => 'used');
CALL zdm.backfill('used');
SELECT count(*), count(user_id), count(*) FILTER (WHERE user_id IS DISTINCT FROM (SELECT u.user_id FROM used u WHERE u.voucher_id = v.id)) AS wrong FROM voucher v;
SELECT mismatches FROM zdm.verify('used');
SET session_replication_role = replica;
DELETE FROM used WHERE voucher_id IN (50, 2050, 5000);
INSERT INTO used VALUES (1, 1), (1, 2049 + 1000), (1, 4999);
SET session_replication_role = origin;
SELECT mismatches FROM zdm.verify('used');
SELECT zdm.rollback('used');
DROP SCHEMA zdm_copy CASCADE;
