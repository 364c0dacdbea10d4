/*
 * The backfill that most guides propose: find where the next thousand rows
 * by primary key end, update that range, commit, and on.  As a procedure, so
 * that no round trip to a client counts against it.
 */
CREATE PROCEDURE backfill_by_key(batch_size integer)
LANGUAGE plpgsql AS $$
DECLARE
	done_to bigint := 0;
	batch_end bigint;
BEGIN
	LOOP
		SELECT max(id) INTO batch_end
		FROM (SELECT id FROM users
			  WHERE id > done_to ORDER BY id LIMIT batch_size) AS batch;
		EXIT WHEN batch_end IS NULL;
		UPDATE users SET full_name = name
		WHERE id > done_to AND id <= batch_end AND full_name IS NULL;
		COMMIT;
		done_to := batch_end;
	END LOOP;
END
$$;
