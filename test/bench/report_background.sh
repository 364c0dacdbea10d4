# shellcheck shell=bash
# The part of docs/performance.md about background backfills: workers, load,
# table size and growth.  Sourced, after report.sh.

report_ratio_of()
{
	report_ratio "$(bench_median "$1" "$2")" "$(bench_median "$3" "$4")"
}

report_mb()
{
	bench_median "$1" "$2" | awk '{ printf "%.0f\n", $1 / 1000000 }'
}

# Targets, a line each.

report_targets_workers()
{
	report_target "backfill: rate of 2 background workers to that of one" \
		"$(report_ratio_of workers_rate 2 workers_rate 1)" ">=" 1.50
}

# Median of the ratios of a pair of windows that follow one another, so that
# both had the machine in the same mood.
report_load_ratio()
{
	paste <(bench_values "$1" load_with) <(bench_values "$1" load_without) |
		awk '{ print $1 / $2 }' | stats_median | awk '{ printf "%.2f\n", $1 }'
}

report_targets_load()
{
	report_target "99th percentile of a running application's latencies during a background backfill, to that without" \
		"$(report_load_ratio load_p99)" "<=" 1.50
}

report_targets_bloat()
{
	report_target "backfill: table size after it to the size before, vacuumed between ranges" \
		"$(report_ratio_of bloat_after zdm_vacuum bloat_before zdm_vacuum)" "<=" 1.25
}

report_targets_growth()
{
	local rows smallest=${GROWTH_SIZES[0]}
	for rows in "${GROWTH_SIZES[@]:1}"; do
		report_target "backfill: time per row at $(report_count "$rows") rows to that at $(report_count "$smallest")" \
			"$(report_ratio_of growth_us "$rows" growth_us "$smallest")" "<=" 1.15
	done
}

# Sections.

report_workers()
{
	local count
	cat <<-END

		## Background workers

		$(report_count "$WORKERS_ROWS") rows, a new table for each run, nobody else on the server. The time is that from \`zdm.start\` to the
		state \`ready\`: the start of the workers, the vacuums between ranges and the verification included.

		| background workers | rows a second, median (middle half of the runs) | to one worker |
		| ---: | ---: | ---: |
	END
	for count in "${WORKERS_COUNTS[@]}"; do
		echo "| $count | $(report_count "$(report_spread workers_rate "$count" 0)")" \
			"| $(report_ratio_of workers_rate "$count" workers_rate 1) |"
	done
}

report_load()
{
	local side
	cat <<-END

		## A running application during a backfill

		$LOAD_CLIENTS clients send short transactions, a read and an update of one row by primary key, by the old and by the new name, on
		a table of $(report_count "$LOAD_ROWS") rows: $(report_count "$(report_median load rate 0)") transactions a second, a third of the $(report_count "$(report_median load maximum 0)") that the machine manages with nothing else to
		do. A latency counts from the moment at which the transaction was due. Each round has $LOAD_PAIRS windows of $LOAD_WINDOW s
		without a backfill and as many in which a background worker backfills this table all the time, with
		zdm's settings at their defaults; they alternate, and a figure is the median over all windows, a ratio the one over the ratios of
		two windows that follow one another. The server has its WAL segments, as one has
		that has been running for a while, and pgbench runs on the same machine. The
		worker did $(report_count "$(report_median load backfill_rate 0)") rows a second meanwhile.

		| milliseconds | median | 99th percentile (middle half of the windows) | longest, worst window | transactions a second |
		| --- | ---: | ---: | ---: | ---: |
	END
	for side in "${LOAD_SIDES[@]}"; do
		echo "| $(report_load_name "$side") | $(report_median load_p50 "$side" 2) | $(report_spread load_p99 "$side" 2)" \
			"| $(report_worst load_longest "$side") | $(report_count "$(report_median load_rate "$side" 0)") |"
	done
	echo "| ratio | $(report_load_ratio load_p50) | $(report_load_ratio load_p99) | | $(report_load_ratio load_rate) |"
}

report_load_name()
{
	case $1 in
		load_without) echo "no backfill" ;;
		load_with) echo "**zdm**, one background worker" ;;
	esac
}

report_bloat_name()
{
	case $1 in
		zdm_no_vacuum) echo "**zdm**, \`zdm.vacuum_after = 0\`: no vacuum" ;;
		zdm_vacuum) echo "**zdm**, default: vacuum between ranges" ;;
		*) report_side_name "$1" ;;
	esac
}

# Bytes of the table before the backfill for each of its rows.
report_bloat_width()
{
	bench_median bloat_before one_update | awk -v n="$BLOAT_ROWS" '{ printf "%.0f\n", $1 / n }'
}

report_bloat()
{
	local side
	cat <<-END

		## Table size and WAL of a backfill

		A table of $(report_count "$BLOAT_ROWS") rows of $(report_bloat_width) bytes each, one background worker, nobody else, autovacuum off. Every row gets a second
		version that is wider by the new value, so even a new table of the same rows has $(report_ratio_of bloat_after least bloat_before one_update) times the size.
		What is beyond that is room that later rows fill, and that no VACUUM gives back. The WAL holds an image of each page, because
		a checkpoint comes before each run.

		| | table before, MB | table after, MB | after to before | indexes, after to before | WAL, bytes a row |
		| --- | ---: | ---: | ---: | ---: | ---: |
	END
	for side in "${BLOAT_SIDES[@]}"; do
		echo "| $(report_bloat_name "$side") | $(report_mb bloat_before "$side") | $(report_mb bloat_after "$side")" \
			"| $(report_ratio_of bloat_after "$side" bloat_before "$side")" \
			"| $(report_ratio_of bloat_index_after "$side" bloat_index_before "$side")" \
			"| $(report_median bloat_wal "$side" 0) |"
	done
}

report_growth()
{
	local rows
	cat <<-END

		## Growth

		One background worker, settings at their defaults, nobody else: the time from \`zdm.start\` to the state \`ready\`,
		vacuums and verification included, divided by the rows.

		| rows | microseconds a row, median (middle half of the runs) | to $(report_count "${GROWTH_SIZES[0]}") rows | runs |
		| ---: | ---: | ---: | ---: |
	END
	for rows in "${GROWTH_SIZES[@]}"; do
		echo "| $(report_count "$rows") | $(report_spread growth_us "$rows" 2)" \
			"| $(report_ratio_of growth_us "$rows" growth_us "${GROWTH_SIZES[0]}")" \
			"| $(bench_values growth_us "$rows" | wc -l) |"
	done
}
