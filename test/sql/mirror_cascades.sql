--
-- What a foreign key that refers to the second table does when a mirrored
-- write changes its key: the server writes the referring table within ours,
-- and its triggers lead to the rule again.
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS zdm;
CREATE ROLE regress_zdm_cascades;
CREATE SCHEMA zdm_cascades AUTHORIZATION regress_zdm_cascades;
SET SESSION AUTHORIZATION regress_zdm_cascades;
SET search_path = zdm_cascades;

CREATE TABLE regions (id int PRIMARY KEY);
INSERT INTO regions VALUES (1), (2), (3);
CREATE TABLE accounts (id int PRIMARY KEY, code text UNIQUE, region int REFERENCES regions);
INSERT INTO accounts VALUES (1, 'a', 1), (2, 'b', 1);
SELECT zdm.rename_table('accounts', 'clients', 'dual_write', migration => 'm');
CALL zdm.backfill('m');
CREATE TABLE notes (code text REFERENCES clients (code) ON UPDATE CASCADE);
INSERT INTO notes VALUES ('a');

-- the cascade alone
UPDATE accounts SET code = 'aa' WHERE id = 1;
SELECT * FROM notes;

-- a trigger on its way writes another row, when the second table has more
-- foreign keys than at the beginning; each of the write's own is checked
CREATE FUNCTION write_another() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    CREATE TABLE later (code text REFERENCES clients (code));
    UPDATE accounts SET region = 2 WHERE id = 2;
    RETURN new;
END $$;
CREATE TRIGGER another BEFORE UPDATE ON notes FOR EACH ROW EXECUTE FUNCTION write_another();
UPDATE accounts SET code = 'aaa', region = 3 WHERE id = 1;
SELECT * FROM accounts ORDER BY id;
SELECT * FROM clients ORDER BY id;
SELECT * FROM notes;
SELECT * FROM zdm.verify('m');

-- the same where a check of the second table does it
DROP TRIGGER another ON notes;
DROP TABLE later;
CREATE FUNCTION is_known(region int) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    IF region = 1 THEN
        CREATE TABLE later (code text REFERENCES clients (code));
        UPDATE accounts SET region = 3 WHERE id = 2;
    END IF;
    RETURN true;
END $$;
ALTER TABLE clients ADD CHECK (is_known(region)) NOT VALID;
UPDATE accounts SET code = 'aaaa', region = 1 WHERE id = 1;
UPDATE accounts SET code = 'aaaaa', region = 9 WHERE id = 1;
SELECT * FROM accounts ORDER BY id;
SELECT * FROM clients ORDER BY id;
SELECT * FROM notes;

RESET SESSION AUTHORIZATION;
DROP SCHEMA zdm_cascades CASCADE;
DROP ROLE regress_zdm_cascades;
