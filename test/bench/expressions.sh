# shellcheck shell=bash
# Dual write with expressions, single-row statements: a name in one column
# that is split into two.  Sourced; runs as dual_write.sh does, on tables of
# its own, with the application that sets all three columns itself as the
# measure.

# split_again is split_both once more: its ratio to it is the noise of the run.
SPLIT_SIDES=(split_both split_again split_old split_new)

split_prepare_side()
{
	local side=$1
	bench_create_users "$side" "$DUAL_ROWS" 70
	case $side in
		*_old | *_new)
			BENCH_MIGRATION[$side]=${side}_$((++BENCH_MIGRATIONS))
			bench_psql "$side" -o /dev/null -c "
				SELECT zdm.split_column('users', 'name',
					'{\"first_name\": {\"type\": \"text\", \"up\": \"left(name, 4)\"},
					  \"last_name\": {\"type\": \"text\", \"up\": \"substr(name, 5)\"}}',
					'first_name || last_name', migration => '${BENCH_MIGRATION[$side]}')"
			bench_backfill "$side"
			;;
		*)
			bench_psql "$side" -c "ALTER TABLE users ADD COLUMN last_name text, ADD COLUMN first_name text" \
				-c "UPDATE users SET first_name = left(name, 4), last_name = substr(name, 5)"
			;;
	esac
}

# Rows whose columns do not say the same make no figure.
split_check()
{
	local differ
	differ=$(bench_psql "$1" -At -c \
		"SELECT count(*) FROM users WHERE name IS DISTINCT FROM first_name || last_name")
	if [ "$differ" != 0 ]; then
		echo "bench: $1 left $differ rows out of sync" >&2
		return 1
	fi
}

split_prepare()
{
	local side
	bench_say "expressions: preparing ${#SPLIT_SIDES[@]} tables of $DUAL_ROWS rows"
	for side in "${SPLIT_SIDES[@]}"; do
		split_prepare_side "$side"
		dual_reset_side "$side"
	done
}

split_scripts()
{
	local what form side
	for what in update_split insert_split; do
		for form in single pipeline; do
			for side in "${SPLIT_SIDES[@]}"; do
				dual_script "$what" "$form" "$side" > "$BENCH_TEMP/${what}_${form}_$side.sql"
			done
		done
	done
}

bench_expressions()
{
	local DUAL_SIDES=("${SPLIT_SIDES[@]}") side round run
	split_scripts
	split_prepare
	for ((round = 1; round <= ROUNDS; round++)); do
		bench_say "expressions: round $round of $ROUNDS"
		for ((run = 1; run <= DUAL_RUNS; run++)); do
			dual_run update_split_single "$DUAL_TRANSACTIONS" 1
			dual_run update_split_pipeline $((DUAL_TRANSACTIONS / 10)) 20
			dual_run insert_split_single "$DUAL_TRANSACTIONS" 1
			dual_run insert_split_pipeline $((DUAL_TRANSACTIONS / 10)) 20
		done
		for side in "${SPLIT_SIDES[@]}"; do
			split_check "$side"
			dual_reset_side "$side"
		done
	done
	for side in "${SPLIT_SIDES[@]}"; do
		bench_drop "$side"
	done
}
