--
-- A table renamed by a second one: what each call says, and what both hold in
-- each phase.
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS zdm;
CREATE ROLE regress_zdm_dual;
CREATE ROLE regress_zdm_writer;
CREATE SCHEMA zdm_dual AUTHORIZATION regress_zdm_dual;
SET SESSION AUTHORIZATION regress_zdm_dual;
SET search_path = zdm_dual;

CREATE TABLE kinds (kind text PRIMARY KEY);
INSERT INTO kinds VALUES ('click'), ('view');
CREATE TABLE events (
    id bigint GENERATED ALWAYS AS IDENTITY (INCREMENT BY 5) PRIMARY KEY,
    number serial,
    kind text DEFAULT 'view' REFERENCES kinds ON DELETE SET NULL DEFERRABLE,
    body text COLLATE "C" CONSTRAINT body_short CHECK (length(body) < 100),
    size int GENERATED ALWAYS AS (length(body)) STORED,
    created_at timestamptz NOT NULL DEFAULT now(),
    changes int DEFAULT 0) WITH (fillfactor = 80, autovacuum_enabled = off);
ALTER TABLE events DROP COLUMN changes;
ALTER TABLE events ADD COLUMN changes int DEFAULT 0;
CREATE UNIQUE INDEX events_number ON events (number DESC) WHERE number > 0;
CREATE INDEX events_lower ON events (lower(body) text_pattern_ops);
ALTER TABLE events CLUSTER ON events_lower;
CREATE STATISTICS events_kinds ON kind, body FROM events;
ALTER TABLE events ALTER COLUMN body SET STATISTICS 200, ALTER COLUMN body SET STORAGE EXTERNAL,
    ALTER COLUMN kind SET (n_distinct = 3);
ALTER TABLE events REPLICA IDENTITY FULL;
COMMENT ON TABLE events IS 'what happened';
COMMENT ON COLUMN events.body IS 'in words';
CREATE POLICY mine ON events AS RESTRICTIVE FOR SELECT TO regress_zdm_writer USING (events.kind <> 'secret');
CREATE POLICY everybody ON events USING (true) WITH CHECK (length(body) > 0);
COMMENT ON POLICY mine ON events IS 'hides';
ALTER TABLE events ENABLE ROW LEVEL SECURITY;
GRANT USAGE ON SCHEMA zdm_dual TO regress_zdm_writer;
GRANT INSERT ON events TO regress_zdm_writer WITH GRANT OPTION;
GRANT USAGE ON SEQUENCE events_number_seq TO regress_zdm_writer;
GRANT SELECT (id, body) ON events TO regress_zdm_writer;
ALTER DEFAULT PRIVILEGES IN SCHEMA zdm_dual GRANT ALL ON TABLES TO PUBLIC;
CREATE TABLE log (what text, body text);
CREATE FUNCTION stamp() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.changes := NEW.changes + 1;
    RETURN NEW;
END $$;
CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO zdm_dual.log VALUES (concat_ws(' ', TG_OP, TG_NAME, TG_ARGV[0]), coalesce(NEW.body, OLD.body));
    RETURN NULL;
END $$;
CREATE TRIGGER stamp BEFORE UPDATE ON events FOR EACH ROW EXECUTE FUNCTION stamp();
CREATE TRIGGER noted AFTER INSERT OR DELETE OR UPDATE OF body, kind ON events FOR EACH ROW EXECUTE FUNCTION note('it''s');
CREATE TRIGGER when_long AFTER UPDATE ON events FOR EACH ROW
    WHEN (old.body IS DISTINCT FROM new.body AND length(new.body) > 10) EXECUTE FUNCTION note();
CREATE CONSTRAINT TRIGGER late AFTER DELETE ON events DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION note('late');
CREATE TRIGGER never AFTER INSERT ON events FOR EACH ROW EXECUTE FUNCTION note('never');
ALTER TABLE events DISABLE TRIGGER never;
COMMENT ON TRIGGER noted ON events IS 'notes';
CREATE TABLE comments (id int PRIMARY KEY, event bigint CONSTRAINT of_event REFERENCES events ON DELETE CASCADE ON UPDATE CASCADE,
    other bigint CONSTRAINT of_other REFERENCES events (id) ON DELETE SET NULL DEFERRABLE);
INSERT INTO events (body, created_at) SELECT 'event ' || i, '2026-01-01'::timestamptz + i * interval '1 hour' FROM generate_series(1, 1000) i;
INSERT INTO comments SELECT i, i * 5 - 4, CASE WHEN i > 50 THEN 6 END FROM generate_series(1, 100) i;
TRUNCATE log;

SELECT phase, step, description, sql, lock_mode
  FROM zdm.explain($$zdm.rename_table('events', 'happenings', 'dual_write', definition => 'WITH (fillfactor = 70)')$$)
 WHERE phase <> 'note';
SELECT description FROM zdm.explain($$zdm.rename_table('events', 'happenings', 'dual_write')$$)
 WHERE phase = 'note';
SELECT to_regclass('happenings');
SELECT zdm.rename_table('events', 'happenings', 'dual_write', definition => 'WITH (fillfactor = 70)');
SELECT zdm.rename_table('events', 'happenings', 'dual_write', definition => 'WITH (fillfactor = 70)');
\d happenings
SELECT attname, attstorage, nullif(attstattarget::integer, -1) AS target, col_description(attrelid, attnum)
    FROM pg_attribute WHERE attrelid = 'happenings'::regclass AND attnum > 0 AND NOT attisdropped ORDER BY attnum;
SELECT relreplident, reloptions, (SELECT array_agg(inhrelid::regclass::text ORDER BY 1) FROM pg_inherits WHERE inhparent = c.oid) AS parts
    FROM pg_class c WHERE oid = 'happenings'::regclass;
SELECT grantee::regrole, privilege_type, is_grantable
  FROM pg_class, aclexplode(relacl)
 WHERE pg_class.oid = 'happenings'::regclass AND grantee <> relowner ORDER BY 1, 2;
SELECT attname, grantee::regrole, privilege_type FROM pg_attribute, aclexplode(attacl)
 WHERE attrelid = 'happenings'::regclass ORDER BY 1, 2, 3;
SELECT policyname, permissive, roles, cmd, qual, with_check FROM pg_policies
 WHERE tablename = 'happenings' ORDER BY 1;

CREATE FUNCTION both_hold(VARIADIC ids bigint[]) RETURNS TABLE (id bigint, old text, new text) LANGUAGE sql AS $$
    SELECT i, (SELECT concat_ws(' ', e.number, e.kind, e.body, e.size, e.changes) FROM events e WHERE e.id = i),
           (SELECT concat_ws(' ', h.number, h.kind, h.body, h.size, h.changes) FROM happenings h WHERE h.id = i)
      FROM unnest(ids) i $$;

-- before the backfill
UPDATE events SET body = 'one' WHERE id = 1;
DELETE FROM events WHERE id = 6;
INSERT INTO events (body) VALUES ('by the old version');
INSERT INTO happenings (body) VALUES ('by the new version');
SELECT * FROM both_hold(1, 6, 11, 5001, 5006);
CALL zdm.backfill('rename_events_to_happenings');
SELECT state, progress, next_command FROM zdm.status;
SELECT * FROM zdm.verify('rename_events_to_happenings');
SELECT count(*) FROM happenings;
SELECT conname, conrelid::regclass, confrelid::regclass, convalidated, condeferred, confdeltype, confupdtype FROM pg_constraint
 WHERE contype = 'f' AND connamespace = 'zdm_dual'::regnamespace ORDER BY conname COLLATE "C", confrelid::regclass::text COLLATE "C", conrelid::regclass::text COLLATE "C";
SELECT * FROM log ORDER BY body, what;
TRUNCATE log;

-- the old version
UPDATE events SET body = 'a body that is long', kind = 'click' WHERE id = 11;
UPDATE events SET id = DEFAULT WHERE id = 16;
DELETE FROM events WHERE id = 21;
COPY events (number, body) FROM stdin;
7001	copied
\.
-- the new version
UPDATE happenings SET body = 'written by the new version' WHERE id = 26;
UPDATE happenings SET id = 9001 WHERE id = 31;
DELETE FROM happenings WHERE id = 36;
INSERT INTO happenings (id, number, body) VALUES (9002, 9002, 'upserted') ON CONFLICT (id) DO UPDATE SET body = 'no';
INSERT INTO happenings (id, number, body) VALUES (9002, 9002, 'upserted') ON CONFLICT (id) DO UPDATE SET body = 'upserted twice';
SELECT * FROM both_hold(11, 16, 5011, 21, 5016, 26, 31, 9001, 36, 9002);
-- once each, on the old table
SELECT * FROM log ORDER BY body, what;
-- rows that referred to them went along
SELECT * FROM comments WHERE id BETWEEN 4 AND 9;
SELECT count(*) FROM comments WHERE other IS NOT NULL;
-- neither takes what the other refuses
\set VERBOSITY terse
INSERT INTO happenings (body) VALUES (repeat('x', 200));
\set VERBOSITY default
INSERT INTO events (kind, body) VALUES ('no such', 'x');
INSERT INTO comments VALUES (1000, 21);
INSERT INTO comments VALUES (1000, 9001);
BEGIN;
SET CONSTRAINTS of_other DEFERRED;
INSERT INTO comments VALUES (1001, NULL, 5031);
INSERT INTO happenings (body) VALUES ('comes after it');
COMMIT;
SELECT * FROM both_hold(5031);

-- who may insert needs nothing more, and draws for nobody else
SET SESSION AUTHORIZATION regress_zdm_writer;
INSERT INTO happenings (body) VALUES ('by a writer');
SELECT id, body FROM happenings WHERE body = 'by a writer';
SELECT zdm._next_identity('events_id_seq');
SELECT nextval('events_id_seq');
DELETE FROM happenings;
SET SESSION AUTHORIZATION regress_zdm_dual;
REVOKE INSERT ON events, happenings FROM regress_zdm_writer;
SET SESSION AUTHORIZATION regress_zdm_writer;
SELECT zdm._next_identity('events_id_seq');
SELECT zdm._next_identity('events_number_seq');
SET SESSION AUTHORIZATION regress_zdm_dual;
GRANT INSERT ON events, happenings TO regress_zdm_writer WITH GRANT OPTION;

-- neither may change its columns
ALTER TABLE events ADD COLUMN more int;
ALTER TABLE happenings DROP COLUMN created_at;
ALTER TABLE happenings ADD COLUMN more int;

-- contract: what others have made of the old table is in the way
CREATE VIEW recent AS SELECT body FROM events;
SELECT zdm.contract('rename_events_to_happenings');
DROP VIEW recent;
TRUNCATE log;
SELECT zdm.contract('rename_events_to_happenings', '1 hour');
UPDATE events SET body = 'in quarantine' WHERE id = 41;
UPDATE happenings SET body = 'in quarantine as well' WHERE id = 46;
INSERT INTO events (body) VALUES ('numbers go on');
INSERT INTO happenings (body) VALUES ('in both');
SELECT * FROM both_hold(41, 46, 5046, 5051);
SELECT * FROM log ORDER BY body, what;
SELECT conname, confrelid::regclass, convalidated, condeferred FROM pg_constraint
 WHERE conrelid = 'comments'::regclass AND contype = 'f' ORDER BY conname COLLATE "C";
SELECT tgrelid::regclass, tgname, tgenabled FROM pg_trigger
 WHERE tgrelid IN ('events'::regclass, 'happenings'::regclass) AND NOT tgisinternal AND tgname !~ '^~' ORDER BY 1, 2;

-- back, and once more without a quarantine
SELECT zdm.rollback('rename_events_to_happenings');
SELECT to_regclass('happenings');
SELECT conname, confrelid::regclass, convalidated, condeferred FROM pg_constraint
 WHERE conrelid = 'comments'::regclass AND contype = 'f' ORDER BY conname COLLATE "C";
SELECT tgname, tgenabled FROM pg_trigger WHERE tgrelid = 'events'::regclass AND NOT tgisinternal ORDER BY 1;
SELECT count(*), count(*) FILTER (WHERE body LIKE 'in quarantine%') FROM events;
SELECT zdm.rename_table('events', 'happenings', 'dual_write', definition => 'WITH (fillfactor = 70)');
CALL zdm.backfill('rename_events_to_happenings');
SET client_min_messages = notice;
SELECT zdm.contract('rename_events_to_happenings');
SET client_min_messages = warning;
\d happenings
SELECT attname, attstorage, nullif(attstattarget::integer, -1) AS target, col_description(attrelid, attnum)
    FROM pg_attribute WHERE attrelid = 'happenings'::regclass AND attnum > 0 AND NOT attisdropped ORDER BY attnum;
SELECT relreplident, reloptions, (SELECT array_agg(inhrelid::regclass::text ORDER BY 1) FROM pg_inherits WHERE inhparent = c.oid) AS parts
    FROM pg_class c WHERE oid = 'happenings'::regclass;
\d comments
INSERT INTO happenings (body) VALUES ('the next') RETURNING id, number;
SELECT relname FROM pg_class WHERE relnamespace = 'zdm_dual'::regnamespace AND relkind IN ('r', 'S', 'i') ORDER BY 1;

RESET SESSION AUTHORIZATION;
DROP SCHEMA zdm_dual CASCADE;
DROP OWNED BY regress_zdm_dual;
DROP ROLE regress_zdm_writer, regress_zdm_dual;
