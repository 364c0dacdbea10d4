/*
 * The pair of triggers of the tools that give every application version a
 * schema of its own: the session's search_path says which version writes,
 * one trigger carries its value up, the other down.  Leaner than what those
 * tools generate, which declare a variable for each column of the table and
 * look the newest version up in a function.
 */
CREATE FUNCTION copy_up() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
	IF current_setting('search_path') <> 'path_new' THEN
		NEW.full_name := NEW.name;
	END IF;
	RETURN NEW;
END
$$;

CREATE FUNCTION copy_down() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
	IF current_setting('search_path') = 'path_new' THEN
		NEW.name := NEW.full_name;
	END IF;
	RETURN NEW;
END
$$;

CREATE TRIGGER copy_down BEFORE INSERT OR UPDATE ON users
	FOR EACH ROW EXECUTE FUNCTION copy_down();
CREATE TRIGGER copy_up BEFORE INSERT OR UPDATE ON users
	FOR EACH ROW EXECUTE FUNCTION copy_up();
