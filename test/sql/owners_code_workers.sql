--
-- Background workers are a superuser's sessions: whose rights does an owner's
-- code get in them?  Where the server may call it while it plans, builds,
-- attaches, fills and vacuums.
--
SET client_min_messages = error;
CREATE EXTENSION IF NOT EXISTS zdm;
CREATE ROLE regress_zdm_mallory NOLOGIN;
CREATE SCHEMA zdm_mallory AUTHORIZATION regress_zdm_mallory;
CREATE TABLE public.treasure (owner text);
INSERT INTO public.treasure VALUES ('superuser');
SET SESSION AUTHORIZATION regress_zdm_mallory;
SET search_path = zdm_mallory;
\set VERBOSITY terse

CREATE SEQUENCE called;
CREATE SEQUENCE by_others;
-- volatile inside, immutable outside: so it is called wherever that is folded
CREATE FUNCTION attack() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    -- in a session that plays the owner this would lead back to its real user
    IF current_setting('application_name') NOT IN ('plain', 'domain', 'parts') THEN
        RETURN;
    END IF;
    PERFORM nextval('zdm_mallory.called');
    IF current_user <> 'regress_zdm_mallory' THEN
        PERFORM nextval('zdm_mallory.by_others');
    END IF;
    BEGIN RESET ROLE; EXCEPTION WHEN OTHERS THEN NULL; END;
    BEGIN RESET SESSION AUTHORIZATION; EXCEPTION WHEN OTHERS THEN NULL; END;
    BEGIN SET ROLE postgres; EXCEPTION WHEN OTHERS THEN NULL; END;
    BEGIN EXECUTE 'ALTER ROLE regress_zdm_mallory SUPERUSER'; EXCEPTION WHEN OTHERS THEN NULL; END;
    BEGIN EXECUTE 'UPDATE public.treasure SET owner = current_user'; EXCEPTION WHEN OTHERS THEN NULL; END;
END $$;
CREATE FUNCTION text_of(value text) RETURNS text IMMUTABLE LANGUAGE plpgsql AS $$
BEGIN PERFORM zdm_mallory.attack(); RETURN value; END $$;
CREATE FUNCTION number_of(value integer) RETURNS integer IMMUTABLE LANGUAGE plpgsql AS $$
BEGIN PERFORM zdm_mallory.attack(); RETURN value; END $$;
CREATE DOMAIN word AS text CHECK (zdm_mallory.text_of(VALUE) IS DISTINCT FROM 'never');

CREATE TABLE plain (id integer PRIMARY KEY, name text, other word CHECK (text_of(other) <> 'no'),
                    made text GENERATED ALWAYS AS (text_of('made')) STORED);
CREATE INDEX ON plain ((name || text_of('x')));
CREATE INDEX ON plain (name) WHERE id > number_of(0);
CREATE TABLE parts (id integer, name text) PARTITION BY RANGE ((id + number_of(0)));
CREATE TABLE parts_1 PARTITION OF parts FOR VALUES FROM (0) TO (1000);
CREATE INDEX ON parts ((name || text_of('x')));
CREATE INDEX ON parts (name);
INSERT INTO plain (id, name, other) SELECT i, 'row ' || i, 'o' FROM generate_series(1, 50) i;
INSERT INTO parts SELECT i, 'row ' || i FROM generate_series(1, 50) i;

SELECT zdm.rename_column('plain', 'name', 'label', migration => 'plain');
SELECT zdm.rename_column('plain', 'other', 'word', migration => 'domain');
SELECT zdm.rename_column('parts', 'name', 'label', migration => 'parts');
RESET SESSION AUTHORIZATION;
-- begun by the owner, and by a superuser for him
SET ROLE regress_zdm_mallory;
SELECT zdm.start('plain');
RESET ROLE;
SELECT zdm.start('domain'), zdm.start('parts', workers => 2);
CALL zdm.wait('plain');
CALL zdm.wait('domain');
CALL zdm.wait('parts');
VACUUM ANALYZE zdm_mallory.plain;

SELECT migration, state, last_error FROM zdm.status ORDER BY migration COLLATE "C";
SELECT count(*) FROM pg_index x JOIN pg_class c ON c.oid = indexrelid WHERE relname LIKE '~zdm%' AND indisvalid
   AND x.indrelid IN ('zdm_mallory.plain'::regclass, 'zdm_mallory.parts'::regclass, 'zdm_mallory.parts_1'::regclass);
SELECT is_called AS called FROM zdm_mallory.called;
SELECT is_called AS by_others FROM zdm_mallory.by_others;
SELECT rolsuper FROM pg_roles WHERE rolname = 'regress_zdm_mallory';
SELECT * FROM public.treasure;

SET SESSION AUTHORIZATION regress_zdm_mallory;
SELECT zdm.contract(migration) FROM zdm.status ORDER BY migration COLLATE "C";
RESET SESSION AUTHORIZATION;
SELECT is_called AS by_others FROM zdm_mallory.by_others;
DROP SCHEMA zdm_mallory CASCADE;
DROP TABLE public.treasure;
DROP ROLE regress_zdm_mallory;
