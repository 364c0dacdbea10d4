# shellcheck shell=bash
# Time of a background backfill per row as tables grow.  Sourced.
#
# One worker, default settings, nobody else: the time from zdm.start to the
# state ready, divided by the rows.  The smallest table comes in every round,
# the larger ones in as many as make up GROWTH_REPEAT rows, and at least once.

# Rough need on disk: a row, its second version and their index entries; and
# the WAL that the server keeps.
GROWTH_BYTES_ROW=200
GROWTH_BYTES_WAL=10000000000

growth_runs()
{
	local runs=$((GROWTH_REPEAT / $1))
	if [ "$1" = "${GROWTH_SIZES[0]}" ] || [ "$runs" -gt "$ROUNDS" ]; then
		runs=$ROUNDS
	elif [ "$runs" -lt 1 ]; then
		runs=1
	fi
	echo "$runs"
}

# Before anything else is measured: a disk that fills up ends the whole run.
growth_check_disk()
{
	local rows free need
	free=$(df --output=avail -B1 "$BENCH_TEMP" | tail -n 1)
	for rows in "${GROWTH_SIZES[@]}"; do
		need=$((rows * GROWTH_BYTES_ROW + GROWTH_BYTES_WAL))
		if [ "$free" -lt "$need" ]; then
			echo "bench: growth: $rows rows may need $((need / 1000000)) MB of disk, and $((free / 1000000)) MB are free; set GROWTH_ROWS" >&2
			return 1
		fi
	done
}

growth_run()
{
	local rows=$1 side=zdm_growth
	backfill_prepare "$side" "$rows"
	bench_background "$side" 1
	bench_check_filled "$side"
	bench_record growth_us "$rows" \
		"$(bench_background_ms "$side" | awk -v n="$rows" '{ printf "%.4f\n", $1 * 1000 / n }')"
	bench_drop "$side"
}

bench_growth()
{
	local rows round
	for ((round = 1; round <= ROUNDS; round++)); do
		for rows in "${GROWTH_SIZES[@]}"; do
			[ "$round" -le "$(growth_runs "$rows")" ] || continue
			bench_say "growth: $rows rows, run $round of $(growth_runs "$rows")"
			growth_run "$rows"
		done
	done
}
