# shellcheck shell=bash
# docs/performance.md from the figures of one run.  Sourced.

report_machine()
{
	local cpu memory
	cpu=$(sed -n 's/^model name[^:]*: *//p' /proc/cpuinfo | head -n 1)
	memory=$(awk '/^MemTotal:/ { printf "%.0f", $2 / 1048576 }' /proc/meminfo)
	cat <<-END
		| | |
		| --- | --- |
		| CPU | ${cpu:-$(uname -m)}, $(nproc) cores |
		| memory | $memory GiB |
		| system | $(. /etc/os-release && echo "$PRETTY_NAME"), Linux $(uname -r) |
		| PostgreSQL | $(bench_psql public -At -c "SHOW server_version") |
		| settings | $(report_settings) |
		| zdm | $(bench_psql public -At -c "SELECT extversion FROM pg_extension WHERE extname = 'zdm'"), settings at their defaults |
		| date, load average at the start | $(date +%F), $(cut -d ' ' -f 1 /proc/loadavg) |
		| rounds | $ROUNDS |
	END
}

report_settings()
{
	# shellcheck disable=SC2016 # backquotes of Markdown
	printf '%s\n' "${BENCH_SETTINGS[@]}" | sed 's/.*/`&`/' | paste -s -d ';' | sed 's/;/, /g'
}

# Quantities that the tables are made of.

report_ratio()
{
	awk -v a="$1" -v b="$2" 'BEGIN { if (b + 0 == 0) print "-"; else printf "%.2f\n", a / b }'
}

report_median()
{
	bench_median "$1" "$2" | awk -v digits="${3:-1}" '{ printf "%." digits "f\n", $1 }'
}

report_quantile()
{
	bench_values "$1" "$2" | stats_quantile "$3" | awk -v digits="${4:-1}" '{ printf "%." digits "f\n", $1 }'
}

# Median and, in brackets, the middle half of the runs.
#   report_spread MEASUREMENT SIDE [DIGITS]
report_spread()
{
	printf '%s (%s to %s)\n' "$(report_median "$1" "$2" "${3:-1}")" \
		"$(report_quantile "$1" "$2" 0.25 "${3:-1}")" "$(report_quantile "$1" "$2" 0.75 "${3:-1}")"
}

report_worst()
{
	bench_values "$1" "$2" | stats_quantile 1 | awk '{ printf "%.0f\n", $1 }'
}

# Ratio of a side's median to the median of the statement that sets both, or
# of another side.
report_to_both()
{
	report_ratio "$(bench_median "$1" "$2")" "$(bench_median "$1" "${3:-both_names}")"
}

# What a side adds to the statement that sets both: the median of the
# differences within each run, in which both met the same machine.
report_difference()
{
	paste <(bench_values "$1" "$2") <(bench_values "$1" "${3:-both_names}") |
		awk '{ print $1 - $2 }' | stats_median
}

report_added()
{
	report_difference "$1" "$2" "${3:-both_names}" | awk '{ printf "%+.2f\n", $1 }'
}

# What a side adds as a share of what another side adds.
report_added_ratio()
{
	awk -v a="$(report_difference "$1" "$2")" -v b="$(report_difference "$1" "$3")" \
		'BEGIN { if (b <= 0) print "-"; else printf "%.2f\n", a / b }'
}

report_verdict()
{
	awk -v value="$1" -v relation="$2" -v target="$3" 'BEGIN {
		if (value == "-") print "-"
		else if (relation == "<=" ? value <= target : value >= target) print "reached"
		else print "missed"
	}'
}

#   report_target TEXT VALUE RELATION TARGET [UNIT]
report_target()
{
	local sign=≤
	[ "$3" = "<=" ] || sign=≥
	printf '| %s | %s%s | %s %s%s | %s |\n' "$1" "$2" "${5:-}" "$sign" "$4" "${5:-}" \
		"$(report_verdict "$2" "$3" "$4")"
}

report_side_name()
{
	case $1 in
		one_column) echo "one column set, no trigger (the second stays as it is)" ;;
		both_names) echo "**both columns set by the statement**, no trigger" ;;
		both_again) echo "the same once more: the noise of this run" ;;
		zdm_old) echo "**zdm**, old name set" ;;
		zdm_new) echo "**zdm**, new name set" ;;
		plpgsql_old) echo "PL/pgSQL trigger, old name set" ;;
		plpgsql_new) echo "PL/pgSQL trigger, new name set" ;;
		path_old) echo "two PL/pgSQL triggers on search_path, old name set" ;;
		path_new) echo "two PL/pgSQL triggers on search_path, new name set" ;;
		split_both) echo "**all three columns set by the statement**, no trigger" ;;
		split_again) echo "the same once more: the noise of this run" ;;
		split_old) echo "**zdm**, the old column set" ;;
		split_new) echo "**zdm**, both new columns set" ;;
		type_both) echo "**both columns set by the statement**, no trigger" ;;
		type_again) echo "the same once more: the noise of this run" ;;
		type_zdm) echo "**zdm**, the column set" ;;
		one_update) echo "one UPDATE of the whole table" ;;
		by_key) echo "batches of 1,000 by primary key" ;;
		zdm_backfill) echo "**zdm.backfill**" ;;
		no_change) echo "no change: the load and the reader alone" ;;
		zdm_expand) echo "**zdm**: expand" ;;
		zdm_contract) echo "**zdm**: contract with a quarantine" ;;
		zdm_finish) echo "**zdm**: the quarantine's end, the old name goes" ;;
		add_column) echo "plain ALTER TABLE ADD COLUMN" ;;
		rename_column) echo "plain ALTER TABLE RENAME COLUMN" ;;
	esac
}

report_targets_dual_write()
{
	local what side
	for what in update insert; do
		for side in old new; do
			report_target "${what^^}, $side name set: time to the statement that sets both" \
				"$(report_to_both "${what}_single" "zdm_$side")" "<=" 1.10
			report_target "${what^^}, $side name set: added cost to the PL/pgSQL trigger's" \
				"$(report_added_ratio "${what}_single" "zdm_$side" "plpgsql_$side")" "<=" 0.33
			report_target "the same, pipelined" \
				"$(report_added_ratio "${what}_pipeline" "zdm_$side" "plpgsql_$side")" "<=" 0.33
		done
	done
}

report_targets_expressions()
{
	local what side
	for what in update insert; do
		for side in old new; do
			report_target "${what^^} of a split column, $side side set: time to the statement that sets both sides" \
				"$(report_to_both "${what}_split_single" "split_$side" split_both)" "<=" 1.25
			report_target "the same, pipelined" \
				"$(report_to_both "${what}_split_pipeline" "split_$side" split_both)" "<=" 1.25
		done
	done
}

report_targets_stall()
{
	local side
	for side in zdm_expand zdm_contract zdm_finish; do
		report_target "$(report_side_name "$side" | tr -d '*'): longest stall of all rounds" \
			"$(report_worst stall_longest "$side")" "<=" 100 " ms"
	done
}

report_targets()
{
	echo
	echo "| | measured | target | |"
	echo "| --- | ---: | ---: | --- |"
	if bench_wanted dual_write; then report_targets_dual_write; fi
	if bench_wanted expressions; then report_targets_expressions; fi
	if bench_wanted backfill; then
		report_target "backfill: rate to that of one UPDATE of the whole table" \
			"$(report_ratio "$(bench_median backfill_rate zdm_backfill)" "$(bench_median backfill_rate one_update)")" ">=" 0.90
	fi
	if bench_wanted memory; then
		report_target "backfill: memory at $(report_count "$MEMORY_ROWS_LARGE") rows to memory at $(report_count "$MEMORY_ROWS_SMALL")" \
			"$(report_ratio "$(bench_median "memory_$MEMORY_ROWS_LARGE" largest)" "$(bench_median "memory_$MEMORY_ROWS_SMALL" largest)")" "<=" 1.10
	fi
	if bench_wanted workers; then report_targets_workers; fi
	if bench_wanted load; then report_targets_load; fi
	if bench_wanted bloat; then report_targets_bloat; fi
	if bench_wanted growth; then report_targets_growth; fi
	if bench_wanted stall; then report_targets_stall; fi
	if bench_wanted columns; then report_targets_columns; fi
	if bench_wanted types; then report_targets_types; fi
	if bench_wanted views; then report_targets_views; fi
}

report_count()
{
	echo "$1" | sed ':a; s/\([0-9]\)\([0-9]\{3\}\)\($\|[^0-9]\)/\1,\2\3/; ta'
}

report_dual_table()
{
	local form=$1 what side
	for what in update insert; do
		echo
		echo "| ${what^^}, microseconds a statement | median (middle half of the runs) | to both set | added to both set |"
		echo "| --- | ---: | ---: | ---: |"
		for side in "${DUAL_SIDES[@]}"; do
			echo "| $(report_side_name "$side") | $(report_spread "${what}_$form" "$side")" \
				"| $(report_to_both "${what}_$form" "$side") | $(report_added "${what}_$form" "$side") |"
		done
	done
}

report_dual_write()
{
	cat <<-END

		## Dual write, one row a statement

		While a rename is in flight the application writes one of the two names and zdm's trigger the other. The
		measure for it is the statement that does both itself, which writes the same row version without any trigger.
		Each side has a table of $(report_count "$DUAL_ROWS") rows (\`test/bench/users.sql\`), with room on the pages so that
		an UPDATE is a HOT update, the cheapest there is. One client sends prepared statements with random keys, and
		picks a side at random for each: $(report_count "$DUAL_TRANSACTIONS") of each side in a run (twice as many in pipelines), $((ROUNDS * DUAL_RUNS)) runs. A
		side's figure of a run is the mean of the middle half of its latencies; what a side adds is the median of the
		differences within the runs. The migration is in state \`ready\`.

		The rivals are in \`test/bench/rivals\`: one PL/pgSQL trigger that compares the row with the old one, and the pair
		of triggers that look at \`search_path\`, as the tools with a schema for every version make them.

		### A round trip and a commit for every statement

		What an application sees.
	END
	report_dual_table single
	cat <<-END

		### Twenty statements in a pipeline

		The round trip and the commit are shared by twenty statements, so most of what is left is the server's work on
		the statement itself. This form shows what a trigger costs best, and its ratios are less kind.
	END
	report_dual_table pipeline
}

report_expressions()
{
	local form what side
	cat <<-END

		## Dual write with expressions

		A name in one column is split into two, \`left(name, 4)\` and \`substr(name, 5)\`, and put together again,
		\`first_name || last_name\`. The measure is the application that sets all three columns, with values that it has
		worked out itself; each side of zdm's sets one shape, and the trigger computes the other. Tables, runs and figures
		are those of the dual write above.
	END
	for form in single pipeline; do
		echo
		[ "$form" = single ] && echo "### A round trip and a commit for every statement, with expressions" ||
			echo "### Twenty statements in a pipeline, with expressions"
		for what in update insert; do
			echo
			echo "| ${what^^}, microseconds a statement | median (middle half of the runs) | to both set | added to both set |"
			echo "| --- | ---: | ---: | ---: |"
			for side in "${SPLIT_SIDES[@]}"; do
				echo "| $(report_side_name "$side") | $(report_spread "${what}_split_$form" "$side")" \
					"| $(report_to_both "${what}_split_$form" "$side" split_both)" \
					"| $(report_added "${what}_split_$form" "$side" split_both) |"
			done
		done
	done
}

report_bulk()
{
	local side what
	cat <<-END

		## Dual write, many rows a statement

		One statement that writes $(report_count "$BULK_ROWS") rows: UPDATE of every row, INSERT … SELECT, and COPY FROM. Nothing but
		writing rows happens here, so this is the most that a row trigger can weigh. Milliseconds, and the ratio to
		the statement that sets both columns.

		| | UPDATE | | INSERT … SELECT | | COPY | |
		| --- | ---: | ---: | ---: | ---: | ---: | ---: |
	END
	for side in "${BULK_SIDES[@]}"; do
		printf '| %s |' "$(report_side_name "$side")"
		for what in bulk_update bulk_insert bulk_copy; do
			printf ' %s | %s |' "$(report_median "$what" "$side" 0)" "$(report_to_both "$what" "$side")"
		done
		echo
	done
}

# What a mirror adds to a write.
mirror_added()
{
	awk -v with="$(bench_median "$1" "$2")" -v alone="$(bench_median "$1" alone)" \
		'BEGIN { printf "%.3f\n", with - alone }'
}

report_mirror()
{
	local version form side what
	cat <<-END

		## Two tables that mirror each other

		A join table and a column of $(report_count "$MIRROR_ROWS") rows in sync. Microseconds of one write of the old version (a row of the
		join table) and of the new one (the column); by hand, of both statements in one transaction; alone, of the one
		write, with nothing that writes the other table. Once with a round trip and a commit for each statement, once
		twenty writes in a pipeline, once inside the server: a call of a PL/pgSQL function that runs the write
		$(report_count "$BENCH_INSIDE") times in a loop, prepared and in one transaction, the loop and its random numbers included.
		The floor is what a mirror that costs nothing would take of the time of the PL/pgSQL triggers; the last column
		compares what either adds to the write: (zdm − alone) / (PL/pgSQL − alone).

		| write | by hand | alone | zdm | PL/pgSQL triggers | zdm to by hand | zdm to PL/pgSQL | floor | added by zdm to added by PL/pgSQL |
		| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |
	END
	for version in old new; do
		for form in single pipeline inside; do
			what=mirror_${version}_$form
			echo "| $version version, $form | $(report_median "$what" hand) | $(report_median "$what" alone) | $(report_median "$what" mirrored)" \
				"| $(report_median "$what" plpgsql) | $(report_ratio "$(bench_median "$what" mirrored)" "$(bench_median "$what" hand)")" \
				"| $(report_ratio "$(bench_median "$what" mirrored)" "$(bench_median "$what" plpgsql)")" \
				"| $(report_ratio "$(bench_median "$what" alone)" "$(bench_median "$what" plpgsql)")" \
				"| $(report_ratio "$(mirror_added "$what" mirrored)" "$(mirror_added "$what" plpgsql)") |"
		done
	done
	cat <<-END

		Filling the column: one \`UPDATE … FROM\` takes $(report_median mirror_backfill hand 0) ms, the same step of \`CALL zdm.backfill\`
		$(report_median mirror_fill_step mirrored 0) ms: $(report_ratio "$(bench_median mirror_backfill hand)" "$(bench_median mirror_fill_step mirrored)") of its rows a second. With the column's index, its foreign key's
		validation and the comparison of both tables the call takes $(report_median mirror_backfill mirrored 0) ms.
	END
}

report_clone()
{
	local version kind form what
	cat <<-END

		## A second table that holds every row

		A table of $(report_count "$CLONE_ROWS") rows with two indexes and its second one in sync. Microseconds of one write, of the old version's
		table and of the new one's; by hand, of both statements in one transaction; alone, of the one write. The three
		ways to measure, the floor and the last column are as above.

		| write | by hand | alone | zdm | PL/pgSQL triggers | zdm to by hand | zdm to PL/pgSQL | floor | added by zdm to added by PL/pgSQL |
		| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |
	END
	for version in old new; do
		for kind in update insert; do
			for form in single pipeline inside; do
				what=clone_${version}_${kind}_$form
				echo "| $version version, $kind, $form | $(report_median "$what" hand) | $(report_median "$what" alone) | $(report_median "$what" cloned)" \
					"| $(report_median "$what" plpgsql) | $(report_ratio "$(bench_median "$what" cloned)" "$(bench_median "$what" hand)")" \
					"| $(report_ratio "$(bench_median "$what" cloned)" "$(bench_median "$what" plpgsql)")" \
					"| $(report_ratio "$(bench_median "$what" alone)" "$(bench_median "$what" plpgsql)")" \
					"| $(report_ratio "$(mirror_added "$what" cloned)" "$(mirror_added "$what" plpgsql)") |"
			done
		done
	done
	cat <<-END

		Copying the rows: one \`INSERT … SELECT\` takes $(report_median clone_backfill hand 0) ms, the same step of \`CALL zdm.backfill\`
		$(report_median clone_copy_step cloned 0) ms: $(report_ratio "$(bench_median clone_backfill hand)" "$(bench_median clone_copy_step cloned)") of its rows a second. With the comparison of both tables the call takes
		$(report_median clone_backfill cloned 0) ms: $(report_ratio "$(bench_median clone_backfill hand)" "$(bench_median clone_backfill cloned)").

		Into twelve partitions: the statement takes $(report_median clone_parted_backfill hand 0) ms, the step $(report_median clone_parted_copy_step cloned 0) ms: $(report_ratio "$(bench_median clone_parted_backfill hand)" "$(bench_median clone_parted_copy_step cloned)"), and the whole
		call $(report_median clone_parted_backfill cloned 0) ms: $(report_ratio "$(bench_median clone_parted_backfill hand)" "$(bench_median clone_parted_backfill cloned)").
	END
}

report_backfill()
{
	local side
	cat <<-END

		## Backfill

		$(report_count "$BACKFILL_ROWS") rows get the new column's value while nobody else writes. Each run has a new table, vacuumed and
		checkpointed; the rivals' tables have no trigger, and their batches run inside a procedure, so without round
		trips. zdm commits a batch every 25 ms or so, keeps a cursor to resume at and passes over rows that the
		application wrote meanwhile. Its time is that of the whole \`CALL zdm.backfill\`, verification included where
		the call does it.

		| | rows a second | to one UPDATE |
		| --- | ---: | ---: |
	END
	for side in "${BACKFILL_SIDES[@]}"; do
		echo "| $(report_side_name "$side") | $(report_count "$(report_median backfill_rate "$side" 0)")" \
			"| $(report_ratio "$(bench_median backfill_rate "$side")" "$(bench_median backfill_rate one_update)") |"
	done
}

report_memory()
{
	local rows figure
	cat <<-END

		## Memory of a backfill

		Private memory (anonymous pages) of the backend that runs \`CALL zdm.backfill\`, sampled several times a second, in kB.

		| rows | first sample | median | largest | samples |
		| ---: | ---: | ---: | ---: | ---: |
	END
	for rows in "$MEMORY_ROWS_SMALL" "$MEMORY_ROWS_LARGE"; do
		printf '| %s |' "$(report_count "$rows")"
		for figure in first median largest samples; do
			printf ' %s |' "$(report_count "$(report_median "memory_$rows" "$figure" 0)")"
		done
		echo
	done
}

report_stall()
{
	local side
	cat <<-END

		## The longest stall of a running application

		Four clients send $STALL_RATE statements a second, reads and updates by primary key. Another transaction has read the table
		and stays open for $STALL_READER_SECONDS s, as a report or a forgotten session does. Then the schema changes. A latency counts from
		the moment at which the statement was due; the stall of a run is the longest one from the change's start to half a
		second after its end. zdm never lets anybody wait behind it for more than \`zdm.lock_wait\` (50 ms) and retries until
		the reader is gone, so the change itself takes about as long as the plain one. The plain ALTER waits in
		the queue, and everybody queues behind it.

		| milliseconds | longest stall, median | longest stall, worst round | duration of the change |
		| --- | ---: | ---: | ---: |
	END
	for side in "${STALL_SIDES[@]}"; do
		echo "| $(report_side_name "$side") | $(report_median stall_longest "$side" 0)" \
			"| $(report_worst stall_longest "$side")" \
			"| $(report_median stall_duration "$side" 0) |"
	done
}

report_targets_columns()
{
	local change
	for change in "${COLUMNS_CHANGES[@]}"; do
		report_target "$(columns_title "$change"): longest strong lock on $(report_count "$COLUMNS_ROWS") rows" \
			"$(report_median "columns_lock_$change" zdm 1)" "<=" 50 " ms"
	done
}

report_columns()
{
	local change
	cat <<-END

		## The longest strong lock of a change of a column

		A table of $(report_count "$COLUMNS_ROWS") rows that nobody else uses. Another session looks every millisecond for locks on it that are
		stronger than SHARE UPDATE EXCLUSIVE; the figure is the longest time for which one transaction was seen with one.
		zdm's side is the whole migration, the other one the plain statements.

		| milliseconds | zdm: longest lock | plain: longest lock | zdm: whole migration | plain: whole change |
		| --- | ---: | ---: | ---: | ---: |
	END
	for change in "${COLUMNS_CHANGES[@]}"; do
		echo "| $(columns_title "$change") | **$(report_median "columns_lock_$change" zdm 1)**" \
			"| $(report_median "columns_lock_$change" plain 1)" \
			"| $(report_count "$(report_median "columns_duration_$change" zdm 0)")" \
			"| $(report_count "$(report_median "columns_duration_$change" plain 0)") |"
	done
}

report_write()
{
	cat <<-END
		<!-- Written by make bench (test/bench/report.sh). Changes by hand are lost. -->

		# Performance

		Every figure is from one run of \`make bench\` on one machine. Sides of a comparison alternate within the run, and
		ratios are ratios of medians over the rounds. All the sides, zdm's and the others', are in \`test/bench\`; run it on yours.

		$BENCH_MACHINE
	END
	report_targets
	if bench_wanted dual_write; then report_dual_write; fi
	if bench_wanted expressions; then report_expressions; fi
	if bench_wanted bulk; then report_bulk; fi
	if bench_wanted mirror; then report_mirror; fi
	if bench_wanted clone; then report_clone; fi
	if bench_wanted backfill; then report_backfill; fi
	if bench_wanted memory; then report_memory; fi
	if bench_wanted workers; then report_workers; fi
	if bench_wanted load; then report_load; fi
	if bench_wanted bloat; then report_bloat; fi
	if bench_wanted growth; then report_growth; fi
	if bench_wanted stall; then report_stall; fi
	if bench_wanted columns; then report_columns; fi
	if bench_wanted types; then report_types; fi
	if bench_wanted views; then report_views; fi
}
