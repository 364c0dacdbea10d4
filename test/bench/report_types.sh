# shellcheck shell=bash
# Type changes in docs/performance.md.  Sourced.

report_targets_types()
{
	local kind
	for kind in quarantine direct; do
		report_target "contract of a key with $TYPES_TABLES referring tables of $(report_count "$TYPES_ROWS") rows, $(report_types_kind "$kind"): longest time of a strong lock" \
			"$(report_worst types_locks "$kind")" "<=" 1000 " ms"
	done
	report_target "UPDATE of a column whose type changes by an expression: time to the statement that sets both columns" \
		"$(report_to_both types_update_single type_zdm type_both)" "<=" 1.25
}

report_types_kind()
{
	case $1 in
		quarantine) echo "with a quarantine" ;;
		direct) echo "without a quarantine" ;;
	esac
}

report_types()
{
	local kind side
	cat <<-END

		## Type changes

		The primary key of a table, \`int\` to \`bigint\`, and with it the columns of $TYPES_TABLES tables that refer to it, each of
		$(report_count "$TYPES_ROWS") rows, with an index on the column. Another session samples \`pg_locks\` every millisecond for locks on the
		$((TYPES_TABLES + 1)) tables that keep out writers: the time from the first sample in which contract's transaction has one
		to the last. Beside it the whole call, connection included. The migrate phase before it, in one session, took
		$(report_median types_backfill zdm 0) ms.

		| contract, milliseconds, median (middle half of the runs) | strong locks | call |
		| --- | ---: | ---: |
	END
	for kind in quarantine direct; do
		echo "| $(report_types_kind "$kind") | $(report_spread types_locks "$kind") | $(report_spread types_contract "$kind") |"
	done
	cat <<-END

		An UPDATE of a column that goes from \`int\` to \`numeric\` by \`cents / 100.0\`, a round trip and a commit for every statement.

		| UPDATE, microseconds a statement | median (middle half of the runs) | to both set | added to both set |
		| --- | ---: | ---: | ---: |
	END
	for side in "${TYPES_SIDES[@]}"; do
		echo "| $(report_side_name "$side") | $(report_spread types_update_single "$side")" \
			"| $(report_to_both types_update_single "$side" type_both)" \
			"| $(report_added types_update_single "$side" type_both) |"
	done
}
