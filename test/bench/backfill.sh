# shellcheck shell=bash
# Backfill: the rate of zdm's, of one UPDATE of the whole table and of
# batches of 1,000 by primary key, and the memory of the backend that runs
# zdm's.  Sourced.
#
# Every run has a new table with the same rows, vacuumed and checkpointed, so
# that no side finds free space or page images of another's.

BACKFILL_SIDES=(one_update by_key zdm_backfill)

#   backfill_prepare SIDE ROWS [NOTE]
backfill_prepare()
{
	local side=$1
	bench_create_users "$side" "$2" 100 "${3:-0}"
	case $side in
		zdm*) bench_expand "$side" ;;
		*) bench_add_full_name "$side" ;;
	esac
	if [ "$side" = by_key ]; then
		bench_psql "$side" -f "$BENCH_DIR/rivals/backfill_by_key.sql"
	fi
	bench_psql "$side" -c "VACUUM ANALYZE users" -c CHECKPOINT
}

backfill_sql()
{
	case $1 in
		one_update) echo "UPDATE users SET full_name = name" ;;
		by_key) echo "CALL backfill_by_key(1000)" ;;
		zdm*) echo "CALL zdm.backfill('${BENCH_MIGRATION[$1]}')" ;;
	esac
}

bench_backfill_rate()
{
	local side round ms
	for ((round = 1; round <= ROUNDS; round++)); do
		bench_say "backfill of $BACKFILL_ROWS rows: round $round of $ROUNDS"
		for side in $(bench_rotated "$round" "${BACKFILL_SIDES[@]}"); do
			backfill_prepare "$side" "$BACKFILL_ROWS"
			ms=$(bench_time_ms "$side" "$(backfill_sql "$side")")
			bench_check_filled "$side"
			bench_record backfill_rate "$side" \
				"$(bench_rate "$BACKFILL_ROWS" "$ms")"
			bench_drop "$side"
		done
	done
}

# Private memory of a backend in kB: its anonymous pages, so no part of
# shared_buffers.
backfill_private_kb()
{
	awk '/^RssAnon:/ { print $2 }' "/proc/$1/status" 2> /dev/null
}

# Samples the backend's memory several times a second for as long as the backfill
# runs, and records the first sample, the median and the
# largest.
backfill_sample_memory()
{
	local rows=$1 side=zdm_memory samples=$BENCH_TEMP/memory_$1 pid client
	: > "$samples"
	backfill_prepare "$side" "$rows"
	PGAPPNAME=zdm_memory bench_psql "$side" -c "$(backfill_sql "$side")" &
	client=$!
	while kill -0 "$client" 2> /dev/null; do
		pid=$(bench_psql public -At -c "SELECT pid FROM pg_stat_activity WHERE application_name = 'zdm_memory'")
		if [ -n "$pid" ]; then
			backfill_private_kb "$pid" >> "$samples" || true
		fi
		sleep 0.3
	done
	wait "$client"
	bench_check_filled "$side"
	bench_record "memory_$rows" first "$(head -n 1 "$samples")"
	bench_record "memory_$rows" median "$(stats_median < "$samples")"
	bench_record "memory_$rows" largest "$(stats_quantile 1 < "$samples")"
	bench_record "memory_$rows" samples "$(wc -l < "$samples")"
	bench_drop "$side"
}

bench_backfill_memory()
{
	local rows
	for rows in "$MEMORY_ROWS_SMALL" "$MEMORY_ROWS_LARGE"; do
		bench_say "memory of a backfill of $rows rows"
		backfill_sample_memory "$rows"
	done
}
