--
-- The life of a type change: what each call says, and what the table is like in
-- each phase.
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS zdm;
-- names of indexes have the migration's number in them
ALTER SEQUENCE zdm.migration_id_seq RESTART WITH 600001;
CREATE ROLE regress_zdm_change_type;
CREATE ROLE regress_zdm_change_reader;
CREATE SCHEMA zdm_change_type AUTHORIZATION regress_zdm_change_type;
RESET client_min_messages;
SET SESSION AUTHORIZATION regress_zdm_change_type;
SET search_path = zdm_change_type;

CREATE TABLE orders (
    id integer,
    amount integer NOT NULL DEFAULT 5 CHECK (amount > 0),
    note text);
ALTER TABLE orders ADD CONSTRAINT amount_even CHECK (amount <> 13) NOT VALID;
CREATE INDEX orders_amount ON orders (amount DESC) INCLUDE (note);
CREATE INDEX orders_amount_expression ON orders ((amount + 1)) WHERE amount > 3;
CREATE STATISTICS orders_stats ON amount, note FROM orders;
COMMENT ON COLUMN orders.amount IS 'in cents';
COMMENT ON INDEX orders_amount IS 'for the report';
COMMENT ON CONSTRAINT amount_even ON orders IS 'superstition';
ALTER TABLE orders CLUSTER ON orders_amount;
ALTER TABLE orders ALTER amount SET STATISTICS 300;
GRANT SELECT (amount) ON orders TO regress_zdm_change_reader;
CREATE POLICY small ON orders USING (amount < 1000);
CREATE FUNCTION note_it() RETURNS trigger LANGUAGE plpgsql AS
$$BEGIN NEW.note := coalesce(NEW.note, 'amount ' || NEW.amount); RETURN NEW; END$$;
CREATE TRIGGER note_it BEFORE INSERT OR UPDATE OF amount ON orders
    FOR EACH ROW WHEN (NEW.amount > 1) EXECUTE FUNCTION note_it();
CREATE FUNCTION total() RETURNS bigint LANGUAGE plpgsql AS
$$DECLARE t bigint; BEGIN SELECT sum(amount) INTO t FROM orders; RETURN t; END$$;
INSERT INTO orders SELECT i, i FROM generate_series(1, 5) i;
SELECT total();
-- of \d+, what is the same on every server
\set settings 'SELECT attname, attstorage, coalesce(attstattarget, -1) AS statistics, col_description(attrelid, attnum) FROM pg_attribute WHERE attrelid = ''orders''::regclass AND attnum > 0 AND NOT attisdropped ORDER BY attnum'

-- dry run
SELECT phase, left(description, 72) AS description, lock_mode FROM zdm.explain($$zdm.change_column_type('orders', 'amount', 'int8')$$);

-- expand
SELECT zdm.change_column_type('orders', 'amount', 'int8');
SELECT zdm.change_column_type('orders', 'amount', 'bigint');
SELECT zdm.change_column_type('orders', 'amount', 'bigint', 'amount + 1');
PREPARE by_id AS SELECT note FROM orders WHERE amount = $1;
PREPARE put AS UPDATE orders SET amount = $2 WHERE id = $1;
EXECUTE by_id(2);
INSERT INTO orders (id, amount) VALUES (6, 60);
INSERT INTO orders (id) VALUES (7);
EXECUTE put(1, 10);
SELECT id, amount, "~zdm_amount" FROM orders ORDER BY id;
ALTER TABLE orders ALTER "~zdm_amount" TYPE numeric;
ALTER TABLE orders DROP COLUMN "~zdm_amount";

-- migrate
CALL zdm.backfill('change_orders_amount_to_bigint');
\d orders
SELECT * FROM zdm.verify('change_orders_amount_to_bigint');
SELECT migration, pattern, state, next_command FROM zdm.status;

-- what has come since, and would be lost
CREATE INDEX late ON orders (amount, id);
CREATE VIEW late_view AS SELECT amount FROM orders;
SELECT zdm.contract('change_orders_amount_to_bigint');
DROP INDEX late;
DROP VIEW late_view;

-- contract with a quarantine: the old column goes on
SET client_min_messages = warning;
SELECT zdm.contract('change_orders_amount_to_bigint', '1 day');
\d orders
:settings;
EXECUTE put(2, 20);
EXECUTE by_id(20);
SELECT total();
INSERT INTO orders (id, amount) VALUES (8, 80), (9, DEFAULT);
INSERT INTO orders (id, amount) VALUES (10, 80000000000);
INSERT INTO orders (id, amount) VALUES (10, NULL);
SELECT id, amount, "~zdm_amount", note FROM orders ORDER BY id;

-- and back: nothing is lost
SELECT zdm.rollback('change_orders_amount_to_bigint');
\d orders
:settings;
SELECT * FROM orders ORDER BY id;
EXECUTE put(2, 22);
SELECT total();

-- once more, without a quarantine
SELECT zdm.change_column_type('orders', 'amount', 'bigint');
CALL zdm.backfill('change_orders_amount_to_bigint');
RESET client_min_messages;
-- NOT NULL is a constraint with a name since 18: without the statements
\set VERBOSITY terse
SELECT zdm.contract('change_orders_amount_to_bigint');
\set VERBOSITY default
SET client_min_messages = warning;
\d orders
:settings;
SELECT obj_description('orders_amount'::regclass), attacl FROM pg_attribute
 WHERE attrelid = 'orders'::regclass AND attname = 'amount';
INSERT INTO orders (id, amount) VALUES (10, 80000000000);
EXECUTE put(2, 90000000000);
SELECT amount, note FROM orders WHERE amount > 1000 ORDER BY 1;
SELECT total();

-- expressions: in up the name is the old value, in down the new one
CREATE TABLE prices (id int, euro numeric(10,2));
INSERT INTO prices VALUES (1, 1.50), (2, NULL);
SELECT zdm.change_column_type('prices', 'euro', 'int', '(euro * 100)::int', 'euro / 100.0', migration => 'cents');
RESET SESSION AUTHORIZATION;
SELECT old_columns, new_columns, up, down FROM zdm.sync_rule;
CALL zdm.backfill('cents');
SELECT zdm.contract('cents', '1 day');
SELECT old_columns, new_columns, up, down FROM zdm.sync_rule;
SET search_path = zdm_change_type;
INSERT INTO prices VALUES (3, 0.70, 99);
INSERT INTO prices (id, euro) VALUES (4, 250);
UPDATE prices SET euro = 7 WHERE id = 1;
SELECT * FROM prices ORDER BY id;
SELECT zdm.contract('cents', '0');
SELECT * FROM prices ORDER BY id;

-- the default is what up makes of it; the way back finds the old one, or what down
-- makes of one that came since
CREATE SEQUENCE tickets;
CREATE TABLE fees (
    id int, euro numeric(10,2) DEFAULT 1.50, tags text DEFAULT '{}', n text DEFAULT '12',
    at timestamp DEFAULT now(), ticket int DEFAULT nextval('tickets'), rate int DEFAULT 2);
SELECT zdm.change_column_type('fees', 'euro', 'int', '(euro * 100)::int', 'euro / 100.0', migration => 'euro');
SELECT zdm.change_column_type('fees', 'tags', 'jsonb', 'tags::jsonb', 'tags::text', migration => 'tags');
SELECT zdm.change_column_type('fees', 'n', 'int', migration => 'n');
SELECT zdm.change_column_type('fees', 'at', 'timestamptz', $$at AT TIME ZONE 'UTC'$$, $$at AT TIME ZONE 'UTC'$$, migration => 'at');
SELECT zdm.change_column_type('fees', 'ticket', 'text', 'ticket::text', 'ticket::int', migration => 'ticket');
-- cannot be carried over
SELECT zdm.change_column_type('fees', 'rate', 'numeric', 'rate * id', 'rate / id');
SELECT zdm.change_column_type('fees', 'ticket', 'numeric', 'ticket + ticket', 'ticket / 2', migration => 'again');
ALTER TABLE fees ADD bad text DEFAULT 'x';
SELECT zdm.change_column_type('fees', 'bad', 'int', 'bad::int', 'bad::text');
\set defaults 'SELECT attname, format_type(atttypid, atttypmod), pg_get_expr(adbin, adrelid) AS "default" FROM pg_attribute JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum WHERE attrelid = ''fees''::regclass ORDER BY 1'
CALL zdm.backfill('euro');
CALL zdm.backfill('tags');
CALL zdm.backfill('n');
CALL zdm.backfill('at');
CALL zdm.backfill('ticket');
INSERT INTO fees DEFAULT VALUES;
SELECT zdm.contract(migration, '1 day') FROM zdm.status;
:defaults;
INSERT INTO fees DEFAULT VALUES;
SELECT euro, "~zdm_euro", tags, "~zdm_tags", n, "~zdm_n", at = "~zdm_at" AT TIME ZONE 'UTC' AS at, ticket, "~zdm_ticket" FROM fees;
ALTER TABLE fees ALTER n SET DEFAULT 13;
SELECT zdm.rollback(migration) FROM zdm.status WHERE migration <> 'tags';
SELECT zdm.contract('tags', '0');
:defaults;

-- policies with subqueries, over the table itself and another
CREATE TABLE docs (id int, level int, owner name DEFAULT current_user);
CREATE TABLE levels (who name, least int);
INSERT INTO docs SELECT i, i FROM generate_series(1, 4) i;
INSERT INTO levels VALUES ('regress_zdm_change_reader', 2);
ALTER TABLE docs ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON docs TO regress_zdm_change_type, pg_monitor
    USING (level >= (SELECT min(d.level) + 1 FROM docs d WHERE d.owner = docs.owner));
CREATE POLICY positive ON docs FOR SELECT TO PUBLIC USING (level > 0);
CREATE POLICY enough ON docs AS RESTRICTIVE FOR SELECT
    USING (EXISTS (SELECT FROM levels l WHERE l.who = current_user AND l.least < docs.level));
CREATE POLICY write ON docs FOR UPDATE USING (true) WITH CHECK (level < 100);
COMMENT ON POLICY own ON docs IS 'not the lowest';
CREATE POLICY places ON docs USING ((SELECT x.b FROM docs x (a, b, c) LIMIT 1) > 0);
CREATE POLICY no_sense ON docs USING (level % 2 = 0);
\set policies 'SELECT polname, polpermissive, polcmd, polroles::regrole[], pg_get_expr(polqual, polrelid) AS qual, pg_get_expr(polwithcheck, polrelid) AS with_check, obj_description(oid) FROM pg_policy WHERE polrelid = ''docs''::regclass ORDER BY 1'
GRANT USAGE ON SCHEMA zdm_change_type TO regress_zdm_change_reader;
GRANT SELECT ON docs, levels TO regress_zdm_change_reader;
SELECT zdm.change_column_type('docs', 'level', 'bigint');
SELECT zdm.change_column_type('docs', 'level', 'text');
DROP POLICY places ON docs;
DROP POLICY no_sense ON docs;
CREATE TEMP TABLE before AS :policies;
SELECT polname FROM before;
SELECT zdm.change_column_type('docs', 'level', 'bigint', migration => 'docs');
CALL zdm.backfill('docs');
SELECT zdm.contract('docs', '1 day');
TABLE before EXCEPT (:policies);
SET ROLE regress_zdm_change_reader;
SELECT level FROM docs ORDER BY 1;
RESET ROLE;
SELECT zdm.rollback('docs');
TABLE before EXCEPT (:policies);
SELECT zdm.change_column_type('docs', 'level', 'bigint', migration => 'docs');
CALL zdm.backfill('docs');
SELECT zdm.contract('docs');
TABLE before EXCEPT (:policies);

-- what the server does without reading the table is done at once
RESET client_min_messages;
CREATE TABLE short (id int, name varchar(5), size numeric(6,2));
CREATE INDEX ON short (name);
INSERT INTO short VALUES (1, 'abc', 1.5);
SELECT zdm.change_column_type('short', 'name', 'varchar(20)');
SELECT zdm.change_column_type('short', 'size', 'numeric(10,2)');
SELECT zdm.rollback('change_short_name_to_character varying(20)');
SELECT zdm.contract('change_short_name_to_character varying(20)');
SELECT zdm.contract('change_short_size_to_numeric(10,2)');
\d short

-- partitions of which one has other attribute numbers and a default of its own
SET client_min_messages = warning;
CREATE TABLE logs (day date NOT NULL, n int NOT NULL DEFAULT 1 CHECK (n > 0), size int) PARTITION BY RANGE (day);
CREATE TABLE logs_20 PARTITION OF logs FOR VALUES FROM ('2020-01-01') TO ('2021-01-01');
CREATE TABLE logs_21 (gone int, size int, n int NOT NULL DEFAULT 2 CONSTRAINT logs_n_check CHECK (n > 0), day date NOT NULL);
ALTER TABLE logs_21 DROP COLUMN gone;
ALTER TABLE logs ATTACH PARTITION logs_21 FOR VALUES FROM ('2021-01-01') TO ('2022-01-01');
CREATE INDEX ON logs (n);
INSERT INTO logs (day) VALUES ('2020-05-05'), ('2021-05-05');
SELECT zdm.change_column_type('logs', 'n', 'bigint', migration => 'logs');
CALL zdm.backfill('logs');
SELECT zdm.contract('logs', '1 day');
INSERT INTO logs (day, n) VALUES ('2021-01-06', 78);
INSERT INTO logs (day) VALUES ('2020-01-06');
SELECT zdm.rollback('logs');
SELECT zdm.change_column_type('logs', 'n', 'bigint', migration => 'logs');
CALL zdm.backfill('logs');
SELECT zdm.contract('logs');
INSERT INTO logs (day) VALUES ('2021-01-07');
SELECT tableoid::regclass, day, n FROM logs ORDER BY day;
\d logs
\d logs_21

-- a change in place goes back where that is one, too
SET client_min_messages = warning;
CREATE TABLE free_text (a text, b varchar(5));
INSERT INTO free_text VALUES ('one', 'two');
SELECT zdm.change_column_type('free_text', 'a', 'varchar', migration => 'a');
SELECT zdm.change_column_type('free_text', 'b', 'varchar(9)', migration => 'b');
SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute WHERE attrelid = 'free_text'::regclass AND attnum > 0 ORDER BY 1;
SELECT zdm.rollback('a');
SELECT zdm.rollback('b');
SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute WHERE attrelid = 'free_text'::regclass AND attnum > 0 ORDER BY 1;
SELECT zdm.contract('b');

SET client_min_messages = error;
DROP SCHEMA zdm_change_type CASCADE;
DROP OWNED BY regress_zdm_change_reader;
DROP ROLE regress_zdm_change_type, regress_zdm_change_reader;
