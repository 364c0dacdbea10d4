/*
 * The trigger that most guides to renaming a column propose: one function,
 * which side was written is told by comparing the row with the old one.
 */
CREATE FUNCTION sync_names() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
	IF TG_OP = 'INSERT' THEN
		IF NEW.full_name IS NULL THEN
			NEW.full_name := NEW.name;
		ELSIF NEW.name IS NULL THEN
			NEW.name := NEW.full_name;
		END IF;
	ELSIF NEW.full_name IS DISTINCT FROM OLD.full_name THEN
		NEW.name := NEW.full_name;
	ELSIF NEW.name IS DISTINCT FROM OLD.name THEN
		NEW.full_name := NEW.name;
	END IF;
	RETURN NEW;
END
$$;

CREATE TRIGGER sync_names BEFORE INSERT OR UPDATE ON users
	FOR EACH ROW EXECUTE FUNCTION sync_names();
