--
-- What a type change refuses, before anything is done, and with what reason.
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS zdm;
CREATE SCHEMA zdm_change_refusals;
SET search_path = zdm_change_refusals;
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
SELECT zdm.change_column_type('t', 'at', 'date', on_down_error => 'null');
SELECT zdm.rollback('change_t_at_to_date');
SELECT zdm.change_column_type('t', 'id', 'bigint', on_down_error => 'null');

-- what hangs on the column; keys of which the other values are not known to be
-- as unique, as the library is not preloaded here
SELECT zdm.change_column_type('t', 'id', 'bigint', 'id / 2', 'id * 2');
SELECT zdm.change_column_type('t', 'id', 'numeric(10,2)');
SELECT zdm.change_column_type('t', 'n', 'bigint');
SELECT zdm.change_column_type('t', 'd', 'bigint');
SELECT zdm.change_column_type('t', 'r', 'int8range', 'int8range(lower(r), upper(r))', 'NULL');
SELECT zdm.change_column_type('t', 'w', 'bigint', 'w / 2', 'w * 2');
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

-- keys to which others refer, where the library is not preloaded
SELECT zdm.change_column_type('parents', 'id', 'bigint', migration => 'parents');

-- exclusion constraints
CREATE TABLE bookings (
    room int,
    floor int,
    kind int,
    CONSTRAINT no_same_floor EXCLUDE (floor WITH =) WHERE (floor > 0),
    CONSTRAINT no_same_kind EXCLUDE ((kind + 1) WITH =),
    CONSTRAINT no_same_room EXCLUDE (room WITH =));
SELECT zdm.change_column_type('bookings', 'floor', 'bigint');
SELECT zdm.change_column_type('bookings', 'kind', 'bigint');
SELECT zdm.change_column_type('bookings', 'room', 'real');

-- an index, and a constraint, with columns of two migrations
CREATE TABLE shared (a int, b int, c int, CONSTRAINT shared_check CHECK (a > c));
CREATE INDEX shared_index ON shared (a) WHERE b > 0;
SELECT zdm.change_column_type('shared', 'a', 'bigint', migration => 'shared');
SELECT zdm.change_column_type('shared', 'b', 'bigint');
SELECT zdm.change_column_type('shared', 'c', 'bigint');
SELECT zdm.rollback('shared');

-- partition keys, and what a partition has alone
CREATE TABLE parted (day date, n int) PARTITION BY RANGE (day);
SELECT zdm.change_column_type('parted', 'day', 'timestamp');
CREATE TABLE parted_1 PARTITION OF parted FOR VALUES FROM ('2020-01-01') TO ('2021-01-01');
ALTER TABLE parted_1 ADD CONSTRAINT parted_1_n EXCLUDE (n WITH =);
SELECT zdm.change_column_type('parted', 'n', 'bigint');
ALTER TABLE parted_1 DROP CONSTRAINT parted_1_n;
SELECT zdm.change_column_type('parted', 'n', 'bigint', migration => 'parted');
CALL zdm.backfill('parted');
ALTER TABLE parted_1 ADD CONSTRAINT parted_1_n CHECK (n > 0);
SELECT zdm.contract('parted');
SELECT zdm.rollback('parted');

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
