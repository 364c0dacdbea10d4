# shellcheck shell=bash
# Dual write, bulk statements: one statement that writes 100,000 rows, where
# the trigger's share is largest because nothing else is.  Sourced; uses the
# tables that dual_write.sh made.

BULK_SIDES=(one_column both_names zdm_old zdm_new plpgsql_old plpgsql_new path_old path_new)

# Columns that a side's bulk statement names.
bulk_columns()
{
	case $(dual_names "$1") in
		old) echo name ;;
		new) echo full_name ;;
		both) echo name full_name ;;
	esac
}

# "a, b" and "a = x, b = x" of a list of columns.
bulk_join()
{
	local IFS=,
	echo "$*"
}

bulk_assignments()
{
	local value=$1 column list=()
	shift
	for column in "$@"; do
		list+=("$column = $value")
	done
	bulk_join "${list[@]}"
}

bulk_update_sql()
{
	local value="'${2}-' || id" columns
	read -ra columns < <(bulk_columns "$1")
	echo "UPDATE users SET $(bulk_assignments "$value" "${columns[@]}")"
}

bulk_insert_sql()
{
	local columns values
	read -ra columns < <(bulk_columns "$1")
	values=("${columns[@]/*/i::text}")
	echo "INSERT INTO users ($(bulk_join "${columns[@]}"))" \
		"SELECT $(bulk_join "${values[@]}") FROM generate_series(1, $BULK_ROWS) AS i"
}

# \copy reads the file as the client does: no right on the server is needed.
bulk_copy_command()
{
	local columns
	read -ra columns < <(bulk_columns "$1")
	echo "\\copy users ($(bulk_join "${columns[@]}")) FROM '$BENCH_TEMP/copy_${#columns[@]}.tsv'"
}

bench_bulk()
{
	local side round
	seq 1 "$BULK_ROWS" > "$BENCH_TEMP/copy_1.tsv"
	awk '{ print $1 "\t" $1 }' "$BENCH_TEMP/copy_1.tsv" > "$BENCH_TEMP/copy_2.tsv"
	for side in "${BULK_SIDES[@]}"; do
		bench_psql "$side" -c "$(bulk_update_sql "$side" warm)"
		dual_reset_side "$side"
	done
	for ((round = 1; round <= ROUNDS; round++)); do
		bench_say "bulk statements: round $round of $ROUNDS"
		for side in $(bench_rotated "$round" "${BULK_SIDES[@]}"); do
			bench_record bulk_update "$side" \
				"$(bench_time_ms "$side" "$(bulk_update_sql "$side" "$round")")"
			dual_reset_side "$side"
			bench_record bulk_insert "$side" \
				"$(bench_time_ms "$side" "$(bulk_insert_sql "$side")")"
			dual_reset_side "$side"
			bench_record bulk_copy "$side" \
				"$(bench_time_ms "$side" "$(bulk_copy_command "$side")")"
			dual_reset_side "$side"
		done
	done
}
