# shellcheck shell=bash
# What the demo prints at its end.  Sourced by run.

# What each phase took and waited for, and its steps, as zdm recorded them.
report_timeline()
{
	demo_heading "Timeline"
	{
		printf 'phase\tduration\twaited for locks\tsteps\n'
		demo_psql -At -F $'\t' -v migration="$DEMO_MIGRATION" <<-'END' |
			SELECT phase, coalesce(extract(epoch FROM sum(lock_wait)) * 1000, 0)::numeric(12, 1), count(*)
			FROM zdm.steps WHERE migration = :'migration'
			GROUP BY phase ORDER BY min(step);
		END
			awk -F '\t' -v calls="$DEMO_TEMP/calls" '
				BEGIN { while ((getline < calls) > 0) ms[$1] = $2 }
				{ printf "%s\t%s ms\t%s ms\t%s\n", $1, ms[$1], $2, $3 }'
	} | stats_table

	demo_heading "Steps (zdm.steps)"
	{
		printf 'phase\tstep\tlock\tduration\n'
		demo_psql -At -F $'\t' -v migration="$DEMO_MIGRATION" <<-'END'
			SELECT phase, description,
				coalesce(lower(regexp_replace(replace(lock_mode, 'Lock', ''), '([a-z])([A-Z])', '\1 \2', 'g')), ''),
				coalesce(to_char(extract(epoch FROM finished_at - started_at) * 1000, 'FM999990.0') || ' ms', '-')
			FROM zdm.steps WHERE migration = :'migration'
			ORDER BY step;
		END
	} | stats_table
}

# Latencies of both applications in every phase, in milliseconds.
report_latency()
{
	local i app from to
	demo_heading "Latency in milliseconds, from the moment a transaction was due"
	{
		printf 'phase\tlasted\told app\tp50\tp99\tlongest\tnew app\tp50\tp99\tlongest\n'
		for ((i = 0; i < ${#MARK_NAMES[@]} - 1; i++)); do
			from=${MARK_TIMES[i]} to=${MARK_TIMES[i + 1]}
			printf '%s\t%s' "${MARK_NAMES[i]}" \
				"$(awk -v a="$from" -v b="$to" 'BEGIN { printf "%.1f s", b - a }')"
			for app in old new; do
				printf '\t%s' "$(stats_log_latencies "$from" "$to" "$DEMO_TEMP/$app"/log.* |
					stats_latency_summary)"
			done
			echo
		done
	} | stats_table
	echo
	echo "  While a report holds a change up, nobody waits behind the change for more than" \
		"zdm.lock_wait ($(psql -X -q -At -d shop -c "LOAD 'zdm'" -c "SHOW zdm.lock_wait"))."
}

# Statements run and failed; sets REPORT_RUN and REPORT_FAILED.
report_statements()
{
	local app i name transactions statements failed
	REPORT_RUN=0 REPORT_FAILED=0
	demo_heading "Statements"
	printf 'application\tstatement\ttransactions\tstatements\tfailed\n' > "$DEMO_TEMP/statements"
	for app in old new; do
		for ((i = 0; i < ${#APP_STATEMENTS[@]}; i++)); do
			name=${APP_STATEMENTS[i]%@*}
			transactions=$(app_succeeded "$app" "$i")
			statements=$((transactions * $(app_statements_in "$name")))
			REPORT_RUN=$((REPORT_RUN + statements))
			printf '%s\t%s\t%s\t%s\t\n' "$app ($(app_column "$app"))" "$name" "$transactions" "$statements"
		done
		failed=$(app_failed "$app")
		REPORT_FAILED=$((REPORT_FAILED + failed))
		printf '%s\tall\t\t\t%s\n' "$app ($(app_column "$app"))" "$failed"
	done >> "$DEMO_TEMP/statements"
	printf 'both\tall\t\t%s\t%s\n' "$REPORT_RUN" "$REPORT_FAILED" >> "$DEMO_TEMP/statements"
	stats_table < "$DEMO_TEMP/statements"
}

# A mismatch that zdm.verify or the comparison in plain SQL found, or a phase
# that did not do what it should; sets REPORT_MISMATCHES.
report_verification()
{
	demo_heading "Verification"
	stats_table < "$DEMO_TEMP/verification"
	REPORT_MISMATCHES=$(awk -F '\t' 'NR > 1 { n += $5 } END { print n + 0 }' "$DEMO_TEMP/verification")
}

report_table()
{
	demo_heading "The table afterwards"
	demo_psql -c '\d users' | sed 's/^/  /; s/ *$//'
}
