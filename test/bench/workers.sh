# shellcheck shell=bash
# Backfill of one table by one, two and four background workers, while nobody
# else does anything.  Sourced.
#
# Every run has a new table with the same rows, vacuumed and checkpointed.  Its
# time is that from zdm.start to the state ready: the workers' start, the
# vacuums between ranges and the verification included.

WORKERS_COUNTS=(1 2 4)

workers_run()
{
	local count=$1 side=zdm_workers
	backfill_prepare "$side" "$WORKERS_ROWS"
	bench_background "$side" "$count"
	bench_check_filled "$side"
	bench_record workers_rate "$count" \
		"$(bench_rate "$WORKERS_ROWS" "$(bench_background_ms "$side")")"
	bench_drop "$side"
}

bench_workers()
{
	local count round
	for ((round = 1; round <= ROUNDS; round++)); do
		bench_say "background workers on $WORKERS_ROWS rows: round $round of $ROUNDS"
		for count in $(bench_rotated "$round" "${WORKERS_COUNTS[@]}"); do
			workers_run "$count"
		done
	done
}
