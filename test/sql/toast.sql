--
-- Values that are stored out of line: written once for each column, and not
-- again when something else in the row changes.
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS zdm;
CREATE ROLE regress_zdm_toast;
CREATE SCHEMA zdm_toast AUTHORIZATION regress_zdm_toast;
RESET client_min_messages;
SET SESSION AUTHORIZATION regress_zdm_toast;
SET search_path = zdm_toast;
\set VERBOSITY terse

SET client_min_messages = warning;

CREATE TABLE docs (id integer PRIMARY KEY, a text, n integer);
ALTER TABLE docs ALTER COLUMN a SET STORAGE EXTERNAL;
INSERT INTO docs SELECT i, repeat(i::text, 5000), 0 FROM generate_series(1, 3) i;

-- the values that are out of line, without their numbers: how many there are,
-- and whether they are still those of the last look
RESET SESSION AUTHORIZATION;
CREATE TABLE last_look (chunk_id oid);
CREATE FUNCTION look(OUT stored bigint, OUT added bigint, OUT gone bigint)
LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('CREATE TEMP TABLE now ON COMMIT DROP AS SELECT DISTINCT chunk_id FROM %s',
                   (SELECT reltoastrelid::regclass FROM pg_class WHERE oid = 'docs'::regclass));
    SELECT count(*) INTO stored FROM now;
    SELECT count(*) INTO added FROM now WHERE chunk_id NOT IN (SELECT chunk_id FROM last_look);
    SELECT count(*) INTO gone FROM last_look WHERE chunk_id NOT IN (SELECT chunk_id FROM now);
    DELETE FROM last_look;
    INSERT INTO last_look SELECT chunk_id FROM now;
END $$;
SELECT * FROM look();

SELECT zdm.rename_column('docs', 'a', 'b');
SELECT attname, attstorage FROM pg_attribute WHERE attrelid = 'docs'::regclass AND attname IN ('a', 'b') ORDER BY attname;
SELECT * FROM look();

-- a row that is not backfilled gets its second value with the first update
UPDATE docs SET n = 1 WHERE id = 1;
SELECT * FROM look();
-- from then on an update of something else leaves both alone
UPDATE docs SET n = 2 WHERE id = 1;
SELECT * FROM look();
CALL zdm.backfill('rename_docs_a_to_b');
SELECT * FROM look();
UPDATE docs SET n = n + 1;
SELECT * FROM look();
UPDATE docs SET a = a;
SELECT * FROM look();
UPDATE docs SET b = repeat('new', 2000) WHERE id = 2;
SELECT * FROM look();
UPDATE docs SET b = NULL WHERE id = 3;
SELECT * FROM look();
INSERT INTO docs (id, b) VALUES (4, repeat('4', 5000));
SELECT * FROM look();
SELECT id, length(a), md5(a) = md5(b) AS same, n FROM docs ORDER BY id;
SELECT * FROM zdm.verify('rename_docs_a_to_b');
-- contract drops the second column, and with it no value of the first
SELECT zdm.contract('rename_docs_a_to_b');
SELECT id, length(b), n FROM docs ORDER BY id;

-- a compressed value stays compressed as it was
CREATE TABLE squeezed (id integer PRIMARY KEY, a text COMPRESSION pglz);
INSERT INTO squeezed SELECT 1, repeat('squeeze me', 100000);
SELECT zdm.rename_column('squeezed', 'a', 'b');
CALL zdm.backfill('rename_squeezed_a_to_b');
SELECT pg_column_compression(a), pg_column_compression(b), pg_column_size(a) = pg_column_size(b) AS same FROM squeezed;
INSERT INTO squeezed (id, b) VALUES (2, repeat('squeeze me', 100000));
SELECT pg_column_compression(a), pg_column_compression(b), pg_column_size(a) = pg_column_size(b) AS same FROM squeezed WHERE id = 2;

RESET SESSION AUTHORIZATION;
SET client_min_messages = warning;
DROP SCHEMA zdm_toast CASCADE;
DROP ROLE regress_zdm_toast;
