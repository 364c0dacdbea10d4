# shellcheck shell=bash
# The longest stall that a schema change causes to a running application,
# with a long reader present: a transaction that read the table and stays
# open, as a report or a forgotten session does.  Sourced.
#
# pgbench sends statements at a fixed rate and logs every latency, counted
# from the moment a statement was due; the figure of a run is the longest
# latency from the start of the change to half a second after its end.  A run
# without any change shows what the machine does by itself.

STALL_SIDES=(no_change zdm_expand zdm_contract zdm_finish add_column rename_column)

# Statements that are valid for the whole of a run.
stall_names()
{
	case $1 in
		zdm_contract) echo old new ;;
		zdm_finish) echo new ;;
		*) echo old ;;
	esac
}

stall_prepare()
{
	bench_create_users "$1" "$STALL_ROWS" 70
	case $1 in
		zdm_contract | zdm_finish)
			bench_expand "$1"
			bench_backfill "$1"
			;;
	esac
	if [ "$1" = zdm_finish ]; then
		bench_contract "$1" '1 hour'
	fi
}

# The plain rename is rolled back, which waits and blocks just the same, so
# that the statements of the load stay valid.
stall_change()
{
	case $1 in
		no_change) sleep "$STALL_READER_SECONDS" ;;
		zdm_expand) bench_expand "$1" ;;
		zdm_contract) bench_contract "$1" '1 hour' ;;
		zdm_finish) bench_finish "$1" ;;
		add_column) bench_add_full_name "$1" ;;
		rename_column)
			bench_psql "$1" -c "BEGIN" -c "ALTER TABLE users RENAME COLUMN name TO full_name" -c "ROLLBACK"
			;;
	esac
}

stall_start_load()
{
	local side=$1 log=$2 name scripts=()
	for name in $(stall_names "$side"); do
		scripts+=(-f "$BENCH_DIR/statements/update_$name.sql"
			-f "$BENCH_DIR/statements/read_$name.sql")
	done
	PGOPTIONS="-c search_path=$side" pgbench -n -M prepared -c 4 -j 1 -T 300 \
		-R "$STALL_RATE" -l --log-prefix="$log" "${scripts[@]}" \
		-D rows="$STALL_ROWS" bench > "$log.out" 2>&1 &
	STALL_LOAD=$!
}

# pgbench ends a run of -T seconds by SIGALRM: sent early, it ends early, with
# every transaction finished and logged.
stall_stop_load()
{
	kill -ALRM "$STALL_LOAD"
	if ! wait "$STALL_LOAD"; then
		cat "$1.out" >&2
		echo "bench: a statement of the load failed" >&2
		return 1
	fi
}

# Returns when the reader holds its lock.
stall_start_reader()
{
	local side=$1
	PGAPPNAME=long_reader bench_psql "$side" -o /dev/null -c \
		"BEGIN; SELECT 1 FROM users LIMIT 1; SELECT pg_sleep($STALL_READER_SECONDS); COMMIT" &
	STALL_READER=$!
	for _ in {1..100}; do
		if [ -n "$(bench_psql public -At -c "SELECT 1 FROM pg_locks JOIN pg_stat_activity USING (pid)
				WHERE application_name = 'long_reader' AND relation = '$side.users'::regclass")" ]; then
			return 0
		fi
		sleep 0.05
	done
	echo "bench: the long reader did not start" >&2
	return 1
}

stall_run()
{
	local side=$1 log=$BENCH_TEMP/stall_$1 from to
	rm -f "$log".*
	stall_prepare "$side"
	stall_start_load "$side" "$log"
	sleep 1
	stall_start_reader "$side"
	from=$(stats_now)
	stall_change "$side"
	to=$(stats_now)
	sleep 0.5
	stall_stop_load "$log"
	wait "$STALL_READER"
	bench_record stall_longest "$side" \
		"$(stats_log_latencies "$from" "$(stats_now)" "$log".[0-9]* | stats_quantile 1 | awk '{ print $1 / 1000 }')"
	bench_record stall_duration "$side" "$(stats_elapsed_ms "$from" "$to")"
	bench_drop "$side"
}

bench_stall()
{
	local side round
	for ((round = 1; round <= ROUNDS; round++)); do
		bench_say "stall of a running application: round $round of $ROUNDS"
		for side in $(bench_rotated "$round" "${STALL_SIDES[@]}"); do
			stall_run "$side"
		done
	done
}
