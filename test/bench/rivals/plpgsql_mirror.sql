/*
 * The pair of triggers that is usually written to keep a join table and a
 * column in sync: each writes the other table where that holds something else,
 * and leaves alone what the other has written.
 */
CREATE FUNCTION used_to_voucher() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	IF TG_OP = 'DELETE' THEN
		UPDATE voucher SET user_id = NULL
			WHERE id = OLD.voucher_id AND user_id = OLD.user_id;
	ELSE
		UPDATE voucher SET user_id = NEW.user_id
			WHERE id = NEW.voucher_id AND user_id IS DISTINCT FROM NEW.user_id;
	END IF;
	RETURN NULL;
END
$$;

CREATE FUNCTION voucher_to_used() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	IF TG_OP = 'UPDATE' AND NEW.user_id IS NOT DISTINCT FROM OLD.user_id THEN
		RETURN NULL;
	END IF;
	IF NEW.user_id IS NULL THEN
		DELETE FROM used WHERE voucher_id = NEW.id;
	ELSE
		INSERT INTO used (user_id, voucher_id) VALUES (NEW.user_id, NEW.id)
			ON CONFLICT (voucher_id) DO UPDATE SET user_id = NEW.user_id
			WHERE used.user_id IS DISTINCT FROM NEW.user_id;
	END IF;
	RETURN NULL;
END
$$;

CREATE TRIGGER used_to_voucher AFTER INSERT OR UPDATE OR DELETE ON used
	FOR EACH ROW WHEN (pg_trigger_depth() = 0) EXECUTE FUNCTION used_to_voucher();
CREATE TRIGGER voucher_to_used AFTER INSERT OR UPDATE ON voucher
	FOR EACH ROW WHEN (pg_trigger_depth() = 0) EXECUTE FUNCTION voucher_to_used();
