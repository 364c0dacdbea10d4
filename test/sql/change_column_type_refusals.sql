--
-- What a type change refuses, before anything is done, and with what reason.
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS zdm;
CREATE SCHEMA zdm_change_refusals;
SET search_path = zdm_change_refusals;
CREATE DOMAIN positive AS int CHECK (VALUE > 0);
CREATE TABLE t (
    id int PRIMARY KEY,
    n int,
    s text DEFAULT 'none',
    j json,
    at timestamp,
    r int4range,
    d int GENERATED ALWAYS AS (n * 2) STORED,
    w int UNIQUE DEFERRABLE,
    v int,
    CONSTRAINT no_overlap EXCLUDE USING gist (r WITH &&));
CREATE VIEW seen AS SELECT v FROM t;
CREATE INDEX s_pattern ON t (s text_pattern_ops);
CREATE INDEX s_lower ON t (lower(s));

-- arguments
SELECT zdm.change_column_type('t', 'nothing', 'int');
SELECT zdm.change_column_type('t', 'ctid', 'int');
SELECT zdm.change_column_type('t', 'j', 'no_such_type');
SELECT zdm.change_column_type('t', 'j', 'int; DROP TABLE t');
SELECT zdm.change_column_type('t', 'j', 'json');
SELECT zdm.change_column_type('t', 'j', 'anyelement');
SELECT zdm.change_column_type('t', 'j', NULL);
SELECT zdm.change_column_type('t', 'j', 'jsonb', on_down_error => 'maybe');
SELECT zdm.change_column_type('t', 'j', 'jsonb', views => 'maybe');
SELECT zdm.change_column_type('seen', 'v', 'bigint');

-- conversions
SELECT zdm.change_column_type('t', 'j', 'int');
SELECT zdm.change_column_type('t', 'j', 'jsonb', 'nowhere::jsonb');
SELECT zdm.change_column_type('t', 'j', 'jsonb', 'j::jsonb', 'random()::text::json');
SELECT zdm.change_column_type('t', 'at', 'timestamptz');
SELECT zdm.change_column_type('t', 'at', 'positive', '1', 'NULL');
SELECT zdm.change_column_type('t', 'at', 'date', on_down_error => 'null');
SELECT zdm.rollback('change_t_at_to_date');
SELECT zdm.change_column_type('t', 'id', 'bigint', on_down_error => 'null');

-- what hangs on the column
SELECT zdm.change_column_type('t', 'id', 'bigint');
SELECT zdm.change_column_type('t', 'n', 'bigint');
SELECT zdm.change_column_type('t', 'd', 'bigint');
SELECT zdm.change_column_type('t', 'r', 'int8range', 'int8range(lower(r), upper(r))', 'NULL');
SELECT zdm.change_column_type('t', 'w', 'bigint');
SELECT zdm.change_column_type('t', 'v', 'bigint');
SELECT zdm.change_column_type('t', 's', 'int');
CREATE TABLE holder (x t);
SELECT zdm.change_column_type('t', 'j', 'jsonb');
DROP TABLE holder;

-- foreign keys: expressions for what refers to the column, and types that
-- cannot be compared
CREATE TABLE parents (id int PRIMARY KEY, code text UNIQUE, small smallint UNIQUE);
CREATE TABLE children (
    parent int CONSTRAINT children_parent REFERENCES parents,
    code varchar CONSTRAINT children_code REFERENCES parents (code),
    small int CONSTRAINT children_small REFERENCES parents (small));
SELECT zdm.change_column_type('parents', 'id', 'bigint', up => 'id + 1');
SELECT zdm.change_column_type('parents', 'id', 'bigint', down => 'id');
SELECT zdm.change_column_type('children', 'parent', 'text');
SELECT zdm.change_column_type('children', 'parent', 'numeric');
SELECT zdm.change_column_type('children', 'code', 'bytea', 'code::bytea', 'encode(code, ''escape'')');
SELECT zdm.change_column_type('children', 'parent', 'bigint', up => 'parent', migration => 'children');
SELECT zdm.rollback('children');
SELECT zdm.change_column_type('children', 'small', 'bigint', migration => 'children');
SELECT zdm.rollback('children');
SELECT zdm.change_column_type('parents', 'id', 'uuid', migration => 'parents');

-- partition keys
CREATE TABLE parted (day date, n int) PARTITION BY RANGE (day);
SELECT zdm.change_column_type('parted', 'day', 'timestamp');

-- rows that cannot be converted are told at expand, and by the backfill
CREATE TABLE numbers (id int, n text);
INSERT INTO numbers VALUES (1, '1'), (2, 'two'), (3, '3');
SELECT zdm.change_column_type('numbers', 'n', 'int');
CALL zdm.backfill('change_numbers_n_to_integer');
SELECT mismatches, sample FROM zdm.verify('change_numbers_n_to_integer');
UPDATE numbers SET n = '2' WHERE id = 2;
CALL zdm.backfill('change_numbers_n_to_integer');
INSERT INTO numbers VALUES (4, 'four');
SELECT zdm.contract('change_numbers_n_to_integer');
SELECT * FROM numbers ORDER BY id;

-- nothing was done to the table that was refused
SELECT attname FROM pg_attribute WHERE attrelid = 't'::regclass AND attname LIKE '~%' AND NOT attisdropped;
SELECT count(*) FROM zdm.status;

SET client_min_messages = error;
DROP SCHEMA zdm_change_refusals CASCADE;
