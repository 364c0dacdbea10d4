/*
 * The pair of triggers that is usually written to keep two tables with the
 * same rows in sync; each leaves alone what the other has written.
 */
CREATE FUNCTION to_happenings() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	IF TG_OP = 'DELETE' THEN
		DELETE FROM happenings WHERE id = OLD.id;
	ELSIF TG_OP = 'UPDATE' THEN
		UPDATE happenings SET id = NEW.id, day = NEW.day, body = NEW.body WHERE id = OLD.id;
	ELSE
		INSERT INTO happenings VALUES (NEW.*);
	END IF;
	RETURN NULL;
END
$$;

CREATE FUNCTION to_events() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	IF TG_OP = 'DELETE' THEN
		DELETE FROM events WHERE id = OLD.id;
	ELSIF TG_OP = 'UPDATE' THEN
		UPDATE events SET id = NEW.id, day = NEW.day, body = NEW.body WHERE id = OLD.id;
	ELSE
		INSERT INTO events VALUES (NEW.*);
	END IF;
	RETURN NULL;
END
$$;

CREATE TRIGGER to_happenings AFTER INSERT OR UPDATE OR DELETE ON events
	FOR EACH ROW WHEN (pg_trigger_depth() = 0) EXECUTE FUNCTION to_happenings();
CREATE TRIGGER to_events AFTER INSERT OR UPDATE OR DELETE ON happenings
	FOR EACH ROW WHEN (pg_trigger_depth() = 0) EXECUTE FUNCTION to_events();
