# shellcheck shell=bash
# Dual write, single-row statements: what a statement costs when one of two
# columns is written by the application and the other by a trigger.  Sourced.
#
# Every side has its own table of the same rows.  A run is one pgbench with
# one connection that picks a side at random for each transaction, so that
# whatever else the machine does meets all of them alike.  A side's figure of
# a run is the mean latency of the middle half of its transactions, from
# pgbench's log.  Two forms: one prepared statement per round trip and
# transaction, as an application sends it, and twenty of them in a pipeline,
# which takes most of the round trip and of the commit out and leaves what the
# server spends on the statement itself.

# both_again is both_names once more: its ratio to it is the noise of the run.
DUAL_SIDES=(one_column both_names both_again zdm_old zdm_new
	plpgsql_old plpgsql_new path_old path_new)

# Which of the statements (old, new, both) a side's application sends.
dual_names()
{
	case $1 in
		one_column | *_old) echo old ;;
		*_new) echo new ;;
		*) echo both ;;
	esac
}

dual_prepare_side()
{
	local side=$1
	bench_create_users "$side" "$DUAL_ROWS" 70
	case $side in
		zdm_*)
			bench_expand "$side"
			bench_backfill "$side"
			;;
		*)
			bench_add_full_name "$side"
			bench_psql "$side" -c "UPDATE users SET full_name = name"
			;;
	esac
	case $side in
		plpgsql_*) bench_psql "$side" -f "$BENCH_DIR/rivals/plpgsql_trigger.sql" ;;
		path_new) bench_psql "$side" -f "$BENCH_DIR/rivals/search_path_triggers.sql" ;;
		path_old)
			# Another new version: a session on path_new is an old one to it.
			bench_psql "$side" < <(sed "s/'path_new'/'path_newer'/" \
				"$BENCH_DIR/rivals/search_path_triggers.sql")
			;;
	esac
}

# The table as it was before the runs: no rows but the first ones, no dead
# versions, every page in memory.
dual_reset_side()
{
	bench_psql "$1" -c "DELETE FROM users WHERE id > $DUAL_ROWS" \
		-c "VACUUM ANALYZE users" \
		-c "SELECT count(*) FROM users" > /dev/null
}

# A side's statement as a pgbench script, on the side's table: once, or twenty
# times in a pipeline.
dual_script()
{
	local what=$1 form=$2 side=$3 statement i
	statement=$(sed "s/ users / $side.users /" \
		"$BENCH_DIR/statements/${what}_$(dual_names "$side").sql")
	if [ "$form" = single ]; then
		printf '%s\n' "$statement"
		return
	fi
	printf '%s\n' '\startpipeline'
	for i in {1..20}; do
		printf '%s\n' "$statement"
	done
	printf '%s\n' '\endpipeline'
}

dual_write_scripts()
{
	local what form side
	for what in update insert; do
		for form in single pipeline; do
			for side in "${DUAL_SIDES[@]}"; do
				dual_script "$what" "$form" "$side" > "$BENCH_TEMP/${what}_${form}_$side.sql"
			done
		done
	done
}

# One run of all sides; the session's search_path is the new version's for
# the triggers that look at it.
#   dual_run MEASUREMENT TRANSACTIONS-OF-EACH-SIDE STATEMENTS-IN-ONE
dual_run()
{
	local measurement=$1 transactions=$2 statements=$3 log=$BENCH_TEMP/dual scripts=() side
	for side in "${DUAL_SIDES[@]}"; do
		scripts+=(-f "$BENCH_TEMP/${measurement}_$side.sql")
	done
	rm -f "$log".*
	PGOPTIONS="-c search_path=path_new -c plan_cache_mode=force_generic_plan" \
		pgbench -n -M prepared -c 1 -j 1 -t $((transactions * ${#DUAL_SIDES[@]})) \
		-l --log-prefix="$log" -D rows="$DUAL_ROWS" "${scripts[@]}" bench > "$log.out" 2>&1 || {
		cat "$log.out" >&2
		return 1
	}
	bench_record_scripts "$measurement" "$statements" "$log" "${DUAL_SIDES[@]}"
}

dual_prepare()
{
	local side
	bench_say "dual write: preparing ${#DUAL_SIDES[@]} tables of $DUAL_ROWS rows"
	for side in "${DUAL_SIDES[@]}"; do
		dual_prepare_side "$side"
		dual_reset_side "$side"
	done
}

dual_drop()
{
	local side
	for side in "${DUAL_SIDES[@]}"; do
		bench_drop "$side"
	done
}

bench_dual_write()
{
	local side round run
	dual_write_scripts
	for ((round = 1; round <= ROUNDS; round++)); do
		bench_say "dual write: round $round of $ROUNDS"
		for ((run = 1; run <= DUAL_RUNS; run++)); do
			dual_run update_single "$DUAL_TRANSACTIONS" 1
			dual_run update_pipeline $((DUAL_TRANSACTIONS / 10)) 20
			dual_run insert_single "$DUAL_TRANSACTIONS" 1
			dual_run insert_pipeline $((DUAL_TRANSACTIONS / 10)) 20
		done
		for side in "${DUAL_SIDES[@]}"; do
			dual_reset_side "$side"
		done
	done
}
