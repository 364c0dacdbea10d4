# shellcheck shell=bash
# What a backfill leaves on disk: the table's size after it to the size before,
# and the WAL of a row.  Sourced.
#
# Autovacuum is off, so what is given back is what the side itself gives back:
# zdm's worker vacuums the table between two ranges (zdm.vacuum_after), so that
# the next range's rows find room; with the setting at 0 it does not, and
# neither do the rivals.  Each side starts with a new table, vacuumed and
# checkpointed.

BLOAT_SIDES=(one_update by_key zdm_no_vacuum zdm_vacuum)

bloat_backfill()
{
	case $1 in
		zdm_vacuum) bench_background "$1" 1 ;;
		zdm_no_vacuum)
			bench_set zdm.vacuum_after 0
			bench_background "$1" 1
			bench_set zdm.vacuum_after
			;;
		*) bench_psql "$1" -c "$(backfill_sql "$1")" ;;
	esac
}

bloat_query()
{
	bench_psql "$1" -At -c "SELECT $2"
}

# The size of the rows themselves, as a new table would hold them: no backfill
# can end below it.
bloat_record_least()
{
	bench_psql "$1" -c "CREATE TABLE compact AS SELECT * FROM users"
	bench_record bloat_after least "$(bloat_query "$1" "pg_table_size('compact')")"
}

bloat_run()
{
	local side=$1 lsn
	backfill_prepare "$side" "$BLOAT_ROWS" "$BLOAT_NOTE"
	bench_record bloat_before "$side" "$(bloat_query "$side" "pg_table_size('users')")"
	bench_record bloat_index_before "$side" "$(bloat_query "$side" "pg_indexes_size('users')")"
	lsn=$(bloat_query "$side" "pg_current_wal_insert_lsn()")
	bloat_backfill "$side"
	bench_record bloat_wal "$side" \
		"$(bloat_query "$side" "(pg_current_wal_insert_lsn() - '$lsn') / $BLOAT_ROWS.0")"
	bench_check_filled "$side"
	bench_record bloat_after "$side" "$(bloat_query "$side" "pg_table_size('users')")"
	bench_record bloat_index_after "$side" "$(bloat_query "$side" "pg_indexes_size('users')")"
	if [ "$side" = one_update ]; then
		bloat_record_least "$side"
	fi
	bench_drop "$side"
}

bench_bloat()
{
	local side round
	for ((round = 1; round <= BLOAT_ROUNDS; round++)); do
		bench_say "size of a table of $BLOAT_ROWS rows after a backfill: round $round of $BLOAT_ROUNDS"
		for side in $(bench_rotated "$round" "${BLOAT_SIDES[@]}"); do
			bloat_run "$side"
		done
	done
}
