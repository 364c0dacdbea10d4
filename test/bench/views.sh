# shellcheck shell=bash
# What a statement costs through a compatibility view, planning included.
# Sourced.
#
# Every side has its own table of the same rows.  A run is one pgbench with one
# connection that picks a side at random for each statement, once for each
# protocol: simple (a statement is parsed, rewritten and planned each time),
# extended (the same, with parameters) and prepared (planned once).

# the_table_again is the_table once more: its ratio to it is the noise of the run.
VIEW_SIDES=(the_table the_table_again plain_view zdm_view dual_view)
VIEW_PROTOCOLS=(simple extended prepared)
VIEW_STATEMENTS=(read update insert)

views_prepare_side()
{
	local side=$1
	bench_create_users "$side" "$VIEW_ROWS" 70
	case $side in
		plain_view)
			bench_psql "$side" -c "ALTER TABLE users RENAME TO participants" \
				-c "CREATE VIEW users AS SELECT * FROM participants"
			;;
		zdm_view)
			BENCH_MIGRATION[$side]=$side
			bench_psql "$side" -o /dev/null -c \
				"SELECT zdm.rename_table('users', 'participants', migration => '$side')"
			;;
		dual_view)
			BENCH_MIGRATION[$side]=$side
			bench_psql "$side" -o /dev/null -c \
				"SELECT zdm.rename_column('users', 'name', 'full_name', strategy => 'view', migration => '$side')"
			;;
	esac
}

#   views_run PROTOCOL STATEMENT
views_run()
{
	local protocol=$1 statement=$2 log=$BENCH_TEMP/views scripts=() side
	for side in "${VIEW_SIDES[@]}"; do
		sed "s/ users / $side.users /" "$BENCH_DIR/statements/${statement}_old.sql" \
			> "$BENCH_TEMP/views_$side.sql"
		scripts+=(-f "$BENCH_TEMP/views_$side.sql")
	done
	rm -f "$log".*
	pgbench -n -M "$protocol" -c 1 -j 1 -t $((VIEW_TRANSACTIONS * ${#VIEW_SIDES[@]})) \
		-l --log-prefix="$log" -D rows="$VIEW_ROWS" "${scripts[@]}" bench > "$log.out" 2>&1 || {
		cat "$log.out" >&2
		return 1
	}
	bench_record_scripts "view_${statement}_$protocol" 1 "$log" "${VIEW_SIDES[@]}"
}

bench_views()
{
	local side round statement protocol
	for side in "${VIEW_SIDES[@]}"; do
		views_prepare_side "$side"
	done
	for ((round = 1; round <= ROUNDS; round++)); do
		bench_say "statements through a view: round $round of $ROUNDS"
		for statement in "${VIEW_STATEMENTS[@]}"; do
			for protocol in "${VIEW_PROTOCOLS[@]}"; do
				views_run "$protocol" "$statement"
			done
		done
	done
	for side in "${VIEW_SIDES[@]}"; do
		bench_drop "$side"
	done
}
