# shellcheck shell=bash
# What a statement costs through a compatibility view, planning included.
# Sourced.
#
# Every side has its own tables of the same rows, one for each number of columns.
# A run is one pgbench with one connection that picks a side at random for each
# statement, once for each protocol: simple (a statement is parsed, rewritten and
# planned each time), extended (the same, with parameters) and prepared (planned
# once).  The server preloads zdm; without it zdm's views are any view.

# the_table_again is the_table once more: its ratio to it is the noise of the run.
VIEW_SIDES=(the_table the_table_again plain_view zdm_view dual_view)
VIEW_PROTOCOLS=(simple extended prepared)
VIEW_STATEMENTS=(read update insert)
VIEW_COLUMNS=(4 20 100)

#   views_prepare_side SIDE COLUMNS
views_prepare_side()
{
	local name=$1_$2 sql= i
	bench_create_users "$name" "$VIEW_ROWS" 70
	for ((i = 5; i <= $2; i++)); do
		sql+="${sql:+, }ADD COLUMN c$i integer NOT NULL DEFAULT 0"
	done
	[ -z "$sql" ] || bench_psql "$name" -c "ALTER TABLE users $sql" -c "VACUUM FULL ANALYZE users"
	case $1 in
		plain_view)
			bench_psql "$name" -c "ALTER TABLE users RENAME TO participants" \
				-c "CREATE VIEW users AS SELECT * FROM participants"
			;;
		zdm_view)
			BENCH_MIGRATION[$name]=$name
			bench_psql "$name" -o /dev/null -c \
				"SELECT zdm.rename_table('users', 'participants', migration => '$name')"
			;;
		dual_view)
			BENCH_MIGRATION[$name]=$name
			bench_psql "$name" -o /dev/null -c \
				"SELECT zdm.rename_column('users', 'name', 'full_name', strategy => 'view', migration => '$name')"
			;;
	esac
}

#   views_run PROTOCOL STATEMENT COLUMNS
views_run()
{
	local protocol=$1 statement=$2 columns=$3 log=$BENCH_TEMP/views scripts=() side
	for side in "${VIEW_SIDES[@]}"; do
		sed "s/ users / ${side}_$columns.users /" "$BENCH_DIR/statements/${statement}_old.sql" \
			> "$BENCH_TEMP/views_$side.sql"
		scripts+=(-f "$BENCH_TEMP/views_$side.sql")
	done
	rm -f "$log".*
	pgbench -n -M "$protocol" -c 1 -j 1 -t $((VIEW_TRANSACTIONS * ${#VIEW_SIDES[@]})) \
		-l --log-prefix="$log" -D rows="$VIEW_ROWS" "${scripts[@]}" bench > "$log.out" 2>&1 || {
		cat "$log.out" >&2
		return 1
	}
	bench_record_scripts "view_${statement}_${protocol}_$columns" 1 "$log" "${VIEW_SIDES[@]}"
}

bench_views()
{
	local side round statement protocol columns
	bench_psql public -c "ALTER SYSTEM SET shared_preload_libraries = 'zdm'"
	zdm_cluster_restart
	for columns in "${VIEW_COLUMNS[@]}"; do
		for side in "${VIEW_SIDES[@]}"; do
			views_prepare_side "$side" "$columns"
		done
	done
	for ((round = 1; round <= ROUNDS; round++)); do
		bench_say "statements through a view: round $round of $ROUNDS"
		for columns in "${VIEW_COLUMNS[@]}"; do
			for statement in "${VIEW_STATEMENTS[@]}"; do
				for protocol in "${VIEW_PROTOCOLS[@]}"; do
					views_run "$protocol" "$statement" "$columns"
				done
			done
		done
	done
	for columns in "${VIEW_COLUMNS[@]}"; do
		for side in "${VIEW_SIDES[@]}"; do
			bench_drop "${side}_$columns"
		done
	done
	bench_psql public -c "ALTER SYSTEM RESET shared_preload_libraries"
	zdm_cluster_restart
}
