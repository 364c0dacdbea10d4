# shellcheck shell=bash
# What a running application notices of a background backfill at zdm's default
# settings.  Sourced.
#
# pgbench sends short transactions, a read and an update of one row, by the old
# and by the new name, at a third of the rate that the machine manages at most
# (measured first), and logs every latency, counted from the moment a
# transaction was due.  One pgbench runs through a round; the latencies are
# those of LOAD_PAIRS pairs of windows of it, one in which nothing else happens
# and one in which a worker backfills the table from the window's first moment
# to its last.  Which one comes first alternates; the worker is paused in
# between.  A side's figure is the median over its windows, and a ratio the one
# over the pairs: where the machine stands still for a moment, which virtual
# ones do, one of them has it.
#
# A server that has been running for a while writes its WAL into segments that
# it has used before.  A new one creates each, 16 MB of zeros, and a table is not
# extended meanwhile: so the segments are made first.

LOAD_SIDES=(load_without load_with)

# Of 16 MB: min_wal_size.
LOAD_SEGMENTS=125

load_prepare()
{
	bench_psql public -c CHECKPOINT
	bench_create_users load "$LOAD_ROWS"
	bench_expand load
	bench_psql load -c "VACUUM ANALYZE users"
	load_make_segments
}

# As many as the server keeps: a switch makes one, a checkpoint takes those that
# are done with for later.
load_make_segments()
{
	local segment
	for ((segment = 0; segment < LOAD_SEGMENTS; segment++)); do
		bench_psql public -o /dev/null -c "SELECT pg_logical_emit_message(false, 'zdm', '')" \
			-c "SELECT pg_switch_wal()"
	done
	bench_psql public -c CHECKPOINT
}

# The command line of all runs of pgbench here, without the time and the rate.
load_set_command()
{
	LOAD_COMMAND=(env PGOPTIONS="-c search_path=load"
		pgbench -n -M prepared -c "$LOAD_CLIENTS" -j 1 -D rows="$LOAD_ROWS"
		-f "$BENCH_DIR/statements/transaction_old.sql"
		-f "$BENCH_DIR/statements/transaction_new.sql")
}

# Sets LOAD_MAXIMUM, transactions a second, to what the machine manages while
# nothing else happens, and LOAD_RATE to a third of it.
load_measure_maximum()
{
	"${LOAD_COMMAND[@]}" -T "$LOAD_WARM_UP" bench > /dev/null 2>&1
	LOAD_MAXIMUM=$("${LOAD_COMMAND[@]}" -T "$LOAD_WARM_UP" bench 2> /dev/null |
		sed -n 's/^tps = \([0-9]*\).*/\1/p')
	LOAD_RATE=$((LOAD_MAXIMUM / 3))
	bench_record load maximum "$LOAD_MAXIMUM"
	bench_record load rate "$LOAD_RATE"
}

load_progress()
{
	bench_psql public -At -c "SELECT $1 FROM zdm.progress WHERE migration = '${BENCH_MIGRATION[load]}'"
}

#   load_await CONDITION-ON-ZDM.PROGRESS
load_await()
{
	local attempt
	for ((attempt = 0; attempt < 200; attempt++)); do
		[ "$(load_progress "$1")" != t ] || return 0
		sleep 0.05
	done
	echo "bench: the backfill under load did not come to: $1" >&2
	return 1
}

# Sets LOAD_TO to the window's end: now, or the moment at which the backfill
# was done, where that came first.  Half a window must be left.
load_end_window_with()
{
	LOAD_TO=$(bench_psql public -At -c "
		SELECT extract(epoch FROM least(clock_timestamp(), max(at) FILTER (WHERE event = 'ready')))
		FROM zdm.events WHERE migration = '${BENCH_MIGRATION[load]}'")
	if awk -v from="$LOAD_FROM" -v to="$LOAD_TO" -v window="$LOAD_WINDOW" \
		'BEGIN { exit !(to - from < window / 2) }'; then
		echo "bench: the backfill was done in less than half a window; raise LOAD_ROWS" >&2
		return 1
	fi
}

load_window_with()
{
	local before after
	before=$(load_progress rows_done)
	if [ "${before:-0}" = 0 ]; then
		bench_start load 1
	else
		bench_psql load -o /dev/null -c "SELECT zdm.resume('${BENCH_MIGRATION[load]}')"
	fi
	load_await "rows_done > ${before:-0}"
	before=$(load_progress rows_done)
	LOAD_FROM=$(stats_now)
	sleep "$LOAD_WINDOW"
	load_end_window_with
	after=$(load_progress rows_done)
	bench_record load backfill_rate \
		"$(bench_rate $((after - before)) "$(stats_elapsed_ms "$LOAD_FROM" "$LOAD_TO")")"
	if [ "$(load_progress "state = 'expanded'")" = t ]; then
		bench_psql load -o /dev/null -c "SELECT zdm.pause('${BENCH_MIGRATION[load]}')"
	fi
	load_await "workers = 0"
}

load_window_without()
{
	LOAD_FROM=$(stats_now)
	sleep "$LOAD_WINDOW"
	LOAD_TO=$(stats_now)
}

load_start()
{
	"${LOAD_COMMAND[@]}" -T 3600 -R "$LOAD_RATE" -l --log-prefix="$BENCH_TEMP/load" \
		bench > "$BENCH_TEMP/load.out" 2>&1 &
	LOAD_PGBENCH=$!
	sleep "$LOAD_WARM_UP"
}

# SIGALRM ends a run of -T seconds early, with every transaction finished and
# logged.
load_stop()
{
	kill -ALRM "$LOAD_PGBENCH"
	if ! wait "$LOAD_PGBENCH"; then
		cat "$BENCH_TEMP/load.out" >&2
		echo "bench: a statement of the load failed" >&2
		return 1
	fi
}

# The window's latencies are in the log once pgbench has ended.
#   load_record SIDE FROM TO
load_record()
{
	local count p50 p99 longest
	read -r count p50 p99 longest < <(
		stats_log_latencies "$2" "$3" "$BENCH_TEMP/load".[0-9]* | stats_latency_summary
	)
	bench_record load_p50 "$1" "$p50"
	bench_record load_p99 "$1" "$p99"
	bench_record load_longest "$1" "$longest"
	bench_record load_rate "$1" "$(bench_rate "$count" "$(stats_elapsed_ms "$2" "$3")")"
}

load_round()
{
	local pair side window
	local windows=()
	rm -f "$BENCH_TEMP/load".*
	load_prepare
	[ -n "${LOAD_RATE:-}" ] || load_measure_maximum
	load_start
	for ((pair = 1; pair <= LOAD_PAIRS; pair++)); do
		for side in $(bench_rotated $(($1 + pair)) "${LOAD_SIDES[@]}"); do
			"load_window_${side#load_}"
			windows+=("$side $LOAD_FROM $LOAD_TO")
		done
	done
	load_stop
	for window in "${windows[@]}"; do
		# shellcheck disable=SC2086 # three words
		load_record $window
	done
	bench_drop load
}

bench_load()
{
	local round
	load_set_command
	for ((round = 1; round <= ROUNDS; round++)); do
		bench_say "a backfill under load: round $round of $ROUNDS"
		load_round "$round"
	done
}
