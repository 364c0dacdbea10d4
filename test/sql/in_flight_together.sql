--
-- Everything that can happen to the columns of one table, in flight on it at
-- once: both versions write it all the time, whatever is called, contracted or
-- rolled back first, and in the end the table is what plain ALTER TABLEs make
-- of it.
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS zdm;
CREATE ROLE regress_zdm_in_flight;
CREATE SCHEMA zdm_in_flight AUTHORIZATION regress_zdm_in_flight;
SET SESSION AUTHORIZATION regress_zdm_in_flight;
SET search_path = zdm_in_flight;

CREATE FUNCTION make(t text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('CREATE TABLE %I (id integer PRIMARY KEY, name text, mail text, phone text NOT NULL,'
                   ' fax text NOT NULL, telex text, pager text NOT NULL DEFAULT ''none'')', t);
    EXECUTE format('INSERT INTO %I SELECT i, ''n'' || i, CASE WHEN i %% 2 = 0 THEN ''m'' || i END, ''p'', ''f'', ''t'''
                   ' FROM generate_series(1, 10) i', t);
END $$;

-- what is called, and what does the same at once
CREATE SEQUENCE tickets;
CREATE TABLE changes (number serial, name text, call text, plain text);
INSERT INTO changes (name, call, plain) VALUES
    ('renamed', $$rename_column(%L, 'name', 'label', migration => %L)$$, 'RENAME name TO label'),
    ('filled', $$set_not_null(%L, 'mail', '''none of '' || id', %L)$$, 'ALTER mail SET NOT NULL'),
    ('optional', $$drop_not_null(%L, 'phone', %L)$$, 'ALTER phone DROP NOT NULL'),
    ('fax', $$drop_column(%L, 'fax', '''fax '' || id', %L)$$, 'DROP fax'),
    ('telex', $$drop_column(%L, 'telex', migration => %L)$$, 'DROP telex'),
    ('pager', $$drop_column(%L, 'pager', migration => %L)$$, 'DROP pager'),
    ('plain', $$add_column(%L, 'plain', 'integer', migration => %L)$$, 'ADD plain integer'),
    ('ticket', $$add_column(%L, 'ticket', 'bigint', 'nextval(''tickets'')', migration => %L)$$, 'ADD ticket bigint DEFAULT nextval(''tickets'')'),
    ('kind', $$add_column(%L, 'kind', 'text', not_null => true, fill => '''kind '' || id', migration => %L)$$, 'ADD kind text NOT NULL DEFAULT ''''; ALTER TABLE %1$I ALTER kind DROP DEFAULT');

-- columns, constraints and triggers, in whatever order they came
CREATE FUNCTION shape(t text) RETURNS text LANGUAGE sql AS $$
    SELECT concat_ws(E'\n',
        (SELECT string_agg(concat_ws(' ', attname, format_type(atttypid, atttypmod), CASE WHEN attnotnull THEN 'NOT NULL' END, pg_get_expr(adbin, adrelid)), ', ' ORDER BY attname COLLATE "C")
           FROM pg_attribute LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
          WHERE attrelid = t::regclass AND attnum > 0 AND NOT attisdropped),
        (SELECT string_agg(pg_get_constraintdef(oid), ', ') FROM pg_constraint WHERE conrelid = t::regclass AND contype <> 'n'),
        (SELECT string_agg(tgname, ', ') FROM pg_trigger WHERE tgrelid = t::regclass)) $$;

-- what a version writes: columns and values, of those that are there
CREATE FUNCTION writes(t text, id integer, given jsonb) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    names text;
    vals text;
BEGIN
    SELECT string_agg(quote_ident(key), ', '), string_agg(quote_nullable(value), ', ') INTO names, vals
      FROM jsonb_each_text(given)
     WHERE key IN (SELECT attname FROM pg_attribute WHERE attrelid = t::regclass AND attnum > 0 AND NOT attisdropped);
    EXECUTE format('INSERT INTO %1$I (id, %2$s) VALUES (%3$s, %4$s)', t, names, id, vals);
    EXECUTE format('INSERT INTO %1$I (id, %2$s) VALUES (%3$s, %4$s) ON CONFLICT (id) DO UPDATE SET (%2$s) = ROW (%4$s)', t, names, id, vals);
    EXECUTE format('UPDATE %1$I SET (%2$s) = ROW (%4$s) WHERE id = 1 + %3$s %% 10', t, names, id, vals);
END $$;
CREATE SEQUENCE ids START 1001;
CREATE FUNCTION old_writes(t text) RETURNS void LANGUAGE sql AS $$
    SELECT writes(t, nextval('ids')::integer, '{"name": "by the old", "mail": null, "phone": "p", "fax": "f", "telex": "t", "pager": "x"}') $$;
CREATE FUNCTION new_writes(t text) RETURNS void LANGUAGE sql AS $$
    SELECT writes(t, nextval('ids')::integer, '{"label": "by the new", "mail": "m", "phone": null, "plain": "1", "ticket": "-1", "kind": "own"}') $$;

-- the orders: of the calls, of their ends, and what is rolled back
CREATE TABLE lives (t text, calls text[], ends text[], undone text);
INSERT INTO lives
SELECT 'life_' || l, o.calls, e.ends
  FROM (VALUES (1, 'number', 'number'), (2, 'number', '-number'), (3, '-number', 'name'), (4, 'md5(name)', 'number')) v(l, by, until),
       LATERAL (SELECT array_agg(name ORDER BY CASE by WHEN 'number' THEN lpad(number::text, 3) WHEN '-number' THEN lpad((100 - number)::text, 3) ELSE md5(name) END COLLATE "C") FROM changes) o(calls),
       LATERAL (SELECT array_agg(name ORDER BY CASE until WHEN 'number' THEN lpad(number::text, 3) WHEN '-number' THEN lpad((100 - number)::text, 3) ELSE name END COLLATE "C") FROM changes) e(ends);
-- one goes back, first of all; of the new version's rows only fax could be missed then, so it is the last
INSERT INTO lives
SELECT 'without_' || c.name, (SELECT calls FROM lives WHERE t = 'life_4'),
       array_agg(o.name ORDER BY (o.name = c.name) <> (c.name = 'fax') DESC, o.number), c.name
  FROM changes c, changes o
 WHERE c.name <> 'optional'
 GROUP BY c.name, c.number ORDER BY c.number;

CREATE FUNCTION begin_life(l lives) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    m text;
BEGIN
    PERFORM make(l.t);
    FOREACH m IN ARRAY l.calls LOOP
        PERFORM old_writes(l.t);
        EXECUTE (SELECT 'SELECT zdm.' || format(call, l.t, m || ' of ' || l.t) FROM changes WHERE name = m);
    END LOOP;
    PERFORM old_writes(l.t), new_writes(l.t);
END $$;
CREATE FUNCTION end_life(l lives) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    m text;
BEGIN
    FOREACH m IN ARRAY l.ends LOOP
        IF m IS DISTINCT FROM l.undone THEN
            PERFORM new_writes(l.t);
            PERFORM zdm.contract(m || ' of ' || l.t, CASE WHEN l.t > 'life_3' THEN interval '1 hour' ELSE interval '0' END);
        ELSE
            PERFORM old_writes(l.t), new_writes(l.t);
            PERFORM zdm.rollback(m || ' of ' || l.t);
        END IF;
    END LOOP;
    FOREACH m IN ARRAY l.ends LOOP
        IF m IS DISTINCT FROM l.undone AND l.t > 'life_3' THEN
            PERFORM zdm.contract(m || ' of ' || l.t, interval '0');
        END IF;
    END LOOP;
END $$;
CREATE FUNCTION plain_life(l lives) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    m text;
BEGIN
    PERFORM make('plain_' || l.t);
    EXECUTE format('UPDATE %I SET mail = ''m''', 'plain_' || l.t);
    FOR m IN SELECT plain FROM changes WHERE name IS DISTINCT FROM l.undone ORDER BY number LOOP
        EXECUTE format('ALTER TABLE %1$I ' || m, 'plain_' || l.t);
    END LOOP;
END $$;

SELECT count(*) FROM lives l, begin_life(l);
SELECT format('CALL zdm.backfill(%L)', migration) FROM zdm.status WHERE state = 'expanded' ORDER BY migration COLLATE "C" \gexec
SELECT sum(v.mismatches) AS mismatches, count(*) FROM zdm.status s, zdm.verify(s.migration) v;
SELECT count(*) FROM lives, old_writes(t), new_writes(t);
SELECT id, name, label, mail, phone, fax, telex, pager, plain, ticket < 0 AS own, kind FROM life_1 WHERE id < 5 OR id > 1000 AND id < 1035 ORDER BY id;
SELECT count(*) FROM lives l, end_life(l);
SELECT count(*) FROM lives l, plain_life(l);
SELECT count(*) AS in_flight FROM zdm.status;
SELECT t, undone, shape(t) = shape('plain_' || t) AS as_plain FROM lives;
SELECT shape('life_1');
SELECT id, label, mail, phone, plain, ticket < 0 AS own, kind FROM life_1 WHERE id < 5 OR id > 1000 AND id < 1035 ORDER BY id;

RESET SESSION AUTHORIZATION;
DROP SCHEMA zdm_in_flight CASCADE;
DROP ROLE regress_zdm_in_flight;
