--
-- With whose rights a mirrored write runs: a writer of one table only.
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS zdm;
CREATE ROLE regress_zdm_rights_owner;
CREATE ROLE regress_zdm_rights_writer;
CREATE SCHEMA zdm_rights AUTHORIZATION regress_zdm_rights_owner;
CREATE SCHEMA zdm_rights_used AUTHORIZATION regress_zdm_rights_owner;
CREATE SCHEMA zdm_rights_hostile AUTHORIZATION regress_zdm_rights_writer;
GRANT USAGE ON SCHEMA zdm_rights_hostile TO PUBLIC;
SET SESSION AUTHORIZATION regress_zdm_rights_owner;
GRANT USAGE ON SCHEMA zdm_rights_used TO regress_zdm_rights_writer;
SET search_path = zdm_rights;

-- The owner's code names things without their schema, and is fired from the
-- other table: triggers of each kind, a check, a default, an index, a domain,
-- and a function that the planner evaluates.
CREATE TABLE log (what text);
CREATE FUNCTION who(what text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RETURN what; END $$;
CREATE FUNCTION is_fine(n int) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RETURN who('check') IS NOT NULL; END $$;
CREATE FUNCTION note(what text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RETURN who(what); END $$;
CREATE FUNCTION key_of(n int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN PERFORM who('index'); RETURN n; END $$;
CREATE FUNCTION log_it() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO log VALUES (who(format('%s %s', tg_name, tg_table_name)));
    RETURN new;
END $$;
CREATE DOMAIN small AS int CHECK (zdm_rights.is_fine(VALUE));
CREATE TABLE users (id int PRIMARY KEY);
CREATE TABLE voucher (id int PRIMARY KEY, CHECK (is_fine(id)));
CREATE TABLE zdm_rights_used.used (number serial, user_id small NOT NULL REFERENCES users, voucher_id int NOT NULL UNIQUE REFERENCES voucher ON DELETE CASCADE,
                                   noted text DEFAULT note('default'));
CREATE INDEX ON voucher (key_of(id));
INSERT INTO users SELECT generate_series(1, 5);
INSERT INTO voucher SELECT generate_series(1, 5);
INSERT INTO zdm_rights_used.used (user_id, voucher_id) VALUES (1, 1);
SELECT zdm.join_table_to_column('zdm_rights_used.used', 'voucher', 'user_id', columns => '{"number": null, "noted": null}', migration => 'm');
CALL zdm.backfill('m');
CREATE TRIGGER before_row BEFORE INSERT OR UPDATE ON voucher FOR EACH ROW EXECUTE FUNCTION log_it();
CREATE TRIGGER after_row AFTER INSERT OR UPDATE ON voucher FOR EACH ROW EXECUTE FUNCTION log_it();
CREATE CONSTRAINT TRIGGER deferred AFTER INSERT OR UPDATE ON voucher DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION log_it();
CREATE TRIGGER statement AFTER INSERT OR UPDATE ON voucher EXECUTE FUNCTION log_it();
CREATE TRIGGER before_row BEFORE INSERT OR UPDATE ON zdm_rights_used.used FOR EACH ROW EXECUTE FUNCTION log_it();
GRANT SELECT, INSERT, UPDATE, DELETE ON zdm_rights_used.used TO regress_zdm_rights_writer;
GRANT USAGE ON SEQUENCE zdm_rights_used.used_number_seq TO regress_zdm_rights_writer;

-- The writer has names of his own found first.
SET SESSION AUTHORIZATION regress_zdm_rights_writer;
SET search_path = zdm_rights_hostile, zdm_rights;
CREATE TABLE zdm_rights_hostile.seen (number int GENERATED ALWAYS AS IDENTITY, who name, what text);
GRANT ALL ON zdm_rights_hostile.seen TO PUBLIC;
CREATE FUNCTION zdm_rights_hostile.who(what text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN RAISE WARNING '% as %', what, current_user; RETURN what; END $$;
CREATE FUNCTION zdm_rights_hostile.see() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN INSERT INTO zdm_rights_hostile.seen (who, what) VALUES (current_user, new.what); RETURN NULL; END $$;
CREATE TEMPORARY TABLE log (what text);
GRANT ALL ON log TO PUBLIC;
CREATE TRIGGER see AFTER INSERT ON log FOR EACH ROW EXECUTE FUNCTION zdm_rights_hostile.see();
INSERT INTO zdm_rights_used.used (user_id, voucher_id) VALUES (2, 2);
UPDATE zdm_rights_used.used SET user_id = 3 WHERE voucher_id = 2;
DELETE FROM zdm_rights_used.used WHERE voucher_id = 2;
SELECT who, what FROM zdm_rights_hostile.seen ORDER BY number;
-- and gets no rights on the other table, by whatever way
UPDATE zdm_rights.voucher SET user_id = 1;
DROP TABLE log;
DROP SCHEMA zdm_rights_hostile CASCADE;

-- the other way round
SET SESSION AUTHORIZATION regress_zdm_rights_owner;
SET search_path = zdm_rights;
DROP TRIGGER before_row ON voucher; DROP TRIGGER after_row ON voucher; DROP TRIGGER deferred ON voucher; DROP TRIGGER statement ON voucher;
REVOKE ALL ON zdm_rights_used.used FROM regress_zdm_rights_writer;
REVOKE ALL ON SEQUENCE zdm_rights_used.used_number_seq FROM regress_zdm_rights_writer;
REVOKE ALL ON SCHEMA zdm_rights_used FROM regress_zdm_rights_writer;
GRANT USAGE ON SCHEMA zdm_rights TO regress_zdm_rights_writer;
GRANT SELECT, INSERT, UPDATE ON voucher TO regress_zdm_rights_writer;
SET SESSION AUTHORIZATION regress_zdm_rights_writer;
-- a trigger there needs a right that he has not: it is his statement that fails
UPDATE voucher SET user_id = 3 WHERE id = 2;
-- unless it brings its own
SET SESSION AUTHORIZATION regress_zdm_rights_owner;
SET search_path = zdm_rights;
ALTER FUNCTION log_it() SECURITY DEFINER SET search_path = zdm_rights, pg_temp;
SET SESSION AUTHORIZATION regress_zdm_rights_writer;
UPDATE voucher SET user_id = 3 WHERE id = 2;
-- he sees neither schema nor table, nor may he use the sequence
UPDATE voucher SET user_id = 4 WHERE id = 2;
INSERT INTO voucher VALUES (6, 5);
-- one plan for each role
RESET SESSION AUTHORIZATION;
SET ROLE regress_zdm_rights_owner;
UPDATE voucher SET user_id = 1 WHERE id = 3;
SET ROLE regress_zdm_rights_writer;
UPDATE voucher SET user_id = 2 WHERE id = 3;
UPDATE voucher SET user_id = NULL WHERE id = 1;
-- row security that is forced on the owner does not hide the row, nor a policy of the writer's
RESET ROLE;
ALTER TABLE zdm_rights_used.used ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY nothing ON zdm_rights_used.used USING (false);
SET ROLE regress_zdm_rights_writer;
UPDATE voucher SET user_id = 5 WHERE id = 3;
SET ROLE regress_zdm_rights_owner;
UPDATE voucher SET user_id = 5 WHERE id = 4;
RESET ROLE;
SELECT * FROM log;
SELECT v.id, v.user_id, u.user_id, u.number FROM voucher v LEFT JOIN zdm_rights_used.used u ON u.voucher_id = v.id ORDER BY v.id;
SELECT * FROM zdm.verify('m');

-- one of the tables gets another owner meanwhile
CREATE ROLE regress_zdm_rights_other;
GRANT USAGE ON SCHEMA zdm_rights, zdm_rights_used TO regress_zdm_rights_other;
GRANT REFERENCES ON users TO regress_zdm_rights_other;
ALTER TABLE voucher OWNER TO regress_zdm_rights_other;
ALTER TABLE zdm_rights_used.used NO FORCE ROW LEVEL SECURITY;
SET ROLE regress_zdm_rights_owner;
INSERT INTO zdm_rights_used.used (user_id, voucher_id) VALUES (1, 1);
SET ROLE regress_zdm_rights_other;
UPDATE voucher SET user_id = 2 WHERE id = 1;
SELECT * FROM zdm.verify('m');
SET ROLE regress_zdm_rights_owner;
TRUNCATE zdm_rights_used.used;
RESET ROLE;
SELECT count(user_id) FROM voucher;
SELECT zdm.rollback('m');

-- who may write one table only is named, where the other one has triggers
SELECT zdm.join_table_to_column('zdm_rights_used.used', 'voucher', 'user_id', columns => '{"number": null, "noted": null}', migration => 'm2');
ALTER FUNCTION log_it() SECURITY INVOKER;
SELECT zdm.rollback('m2');
SELECT zdm.join_table_to_column('zdm_rights_used.used', 'voucher', 'user_id', columns => '{"number": null, "noted": null}', migration => 'm3');
SELECT zdm.rollback('m3');

DROP SCHEMA zdm_rights, zdm_rights_used CASCADE;
DROP ROLE regress_zdm_rights_owner, regress_zdm_rights_writer, regress_zdm_rights_other;
