# shellcheck shell=bash
# The part of docs/performance.md on compatibility views.  Sourced.

report_view_name()
{
	case $1 in
		the_table) echo "**the table**" ;;
		the_table_again) echo "the same once more: the noise of this run" ;;
		plain_view) echo "a view as anybody would make it" ;;
		zdm_view) echo "**zdm**: rename_table" ;;
		dual_view) echo "**zdm**: rename_column, strategy view" ;;
	esac
}

#   report_view_ratio MEASUREMENT SIDE
report_view_ratio()
{
	report_ratio "$(bench_median "$1" "$2")" "$(bench_median "$1" the_table)"
}

# The largest ratio of all statements.
#   report_view_worst PROTOCOL COLUMNS
report_view_worst()
{
	local statement
	for statement in "${VIEW_STATEMENTS[@]}"; do
		report_view_ratio "view_${statement}_$1_$2" zdm_view
	done | sort -g | tail -n 1
}

report_targets_views()
{
	local protocol columns
	for columns in "${VIEW_COLUMNS[@]}"; do
		for protocol in "${VIEW_PROTOCOLS[@]}"; do
			report_target "through the view of a rename, $columns columns, $protocol protocol: time to the table's, the largest of three statements" \
				"$(report_view_worst "$protocol" "$columns")" "<=" 1.05
		done
	done
}

report_views()
{
	local statement protocol side columns measurement
	cat <<-END

		## Statements through a compatibility view

		One row by its primary key, or one new row, a round trip and a transaction each. Each side has a table of
		$(report_count "$VIEW_ROWS") rows; one client picks a side at random for each statement, $(report_count "$VIEW_TRANSACTIONS") of each side in a run, $ROUNDS runs.
		A side's figure of a run is the mean of the middle half of its latencies. Simple and extended parse and
		plan the statement every time; prepared does so once. The view that anybody would make shows what a view
		costs in PostgreSQL: its rule is looked up, copied with all its columns, put into the query and planned, for
		each statement. That is what zdm's views cost, too, in sessions without the library. The server of these
		figures preloads zdm, which [sends the query straight to the table](operations.md#queries-through-a-view).
	END
	for columns in "${VIEW_COLUMNS[@]}"; do
		for statement in "${VIEW_STATEMENTS[@]}"; do
			echo
			echo "| $statement, $columns columns, microseconds | simple | to the table | extended | to the table | prepared | to the table |"
			echo "| --- | ---: | ---: | ---: | ---: | ---: | ---: |"
			for side in "${VIEW_SIDES[@]}"; do
				printf '| %s |' "$(report_view_name "$side")"
				for protocol in "${VIEW_PROTOCOLS[@]}"; do
					measurement=view_${statement}_${protocol}_$columns
					printf ' %s | %s |' "$(report_median "$measurement" "$side")" \
						"$(report_view_ratio "$measurement" "$side")"
				done
				echo
			done
		done
	done
}
