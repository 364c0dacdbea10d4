# shellcheck shell=bash
# How long one transaction holds strong locks.  Sourced.
#
# Another session samples pg_locks every millisecond for locks on some relations
# stronger than SHARE UPDATE EXCLUSIVE, those that keep out writers.  What comes
# of it is the longest time for which one transaction was seen with such a lock.

# By their oids: a dropped table has no name to ask for.
#   locks_start OIDS	a query's text of one row each, or an expression
locks_start()
{
	bench_psql public <<-'END'
		CREATE SCHEMA locks;
		CREATE UNLOGGED TABLE locks.samples (at timestamptz, transaction text);
		CREATE UNLOGGED TABLE locks.stop (now boolean);
	END
	PGAPPNAME=sampler bench_psql public -o /dev/null <<-END &
		SELECT set_config('bench.relations', (ARRAY(SELECT r::oid FROM (SELECT $1) s(r)))::text, false);
		DO \$\$
		BEGIN
			WHILE NOT EXISTS (SELECT FROM locks.stop) LOOP
				INSERT INTO locks.samples
				SELECT DISTINCT clock_timestamp(), l.virtualtransaction FROM pg_locks l
				 WHERE l.relation = ANY (current_setting('bench.relations')::oid[]) AND l.granted
				   AND l.mode IN ('ShareLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock');
				PERFORM pg_sleep(0.001);
			END LOOP;
		END \$\$;
	END
	LOCKS_SAMPLER=$!
	sleep 0.5
}

# Prints the milliseconds.
locks_stop()
{
	bench_psql locks -c "INSERT INTO stop VALUES (true)"
	wait "$LOCKS_SAMPLER"
	bench_psql locks -At -c "SELECT coalesce(round(extract(epoch FROM max(longest)) * 1000, 1), 0) FROM (
		SELECT max(at) - min(at) AS longest FROM samples GROUP BY transaction) s"
	bench_psql public -c "SET client_min_messages = warning; DROP SCHEMA locks CASCADE"
}
