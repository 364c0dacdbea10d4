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

report_view_ratio()
{
	report_ratio "$(bench_median "$1" "$2")" "$(bench_median "$1" the_table)"
}

report_targets_views()
{
	local statement protocol
	for statement in "${VIEW_STATEMENTS[@]}"; do
		for protocol in simple prepared; do
			report_target "$statement through the view of a rename, $protocol: time to the table's" \
				"$(report_view_ratio "view_${statement}_$protocol" zdm_view)" "<=" 1.05
		done
	done
}

report_views()
{
	local statement protocol side
	cat <<-END

		## Statements through a compatibility view

		One row by its primary key, or one new row, a round trip and a transaction each. Each side has a table of
		$(report_count "$VIEW_ROWS") rows; one client picks a side at random for each statement, $(report_count "$VIEW_TRANSACTIONS") of each side in a run.
		A side's figure of a run is the mean of the middle half of its latencies. Simple and extended parse and
		plan the statement every time; prepared does so once. The view that anybody would make shows what of it is
		PostgreSQL's own cost of a view: its rule is looked up, put into the query and planned, for each statement.
	END
	for statement in "${VIEW_STATEMENTS[@]}"; do
		echo
		echo "| $statement, microseconds | simple | to the table | extended | to the table | prepared | to the table |"
		echo "| --- | ---: | ---: | ---: | ---: | ---: | ---: |"
		for side in "${VIEW_SIDES[@]}"; do
			printf '| %s |' "$(report_view_name "$side")"
			for protocol in "${VIEW_PROTOCOLS[@]}"; do
				printf ' %s | %s |' "$(report_median "view_${statement}_$protocol" "$side")" \
					"$(report_view_ratio "view_${statement}_$protocol" "$side")"
			done
			echo
		done
	done
}
