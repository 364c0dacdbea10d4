# shellcheck shell=bash
# Type changes.  The key of a table to which 20 others refer, int to bigint: how
# long contract keeps strong locks on them, as locks.sh samples them; and the dual write of a
# column whose type changes by an expression.  Sourced.

TYPES_TABLES=20
# type_again is type_both once more: its ratio to it is the noise of the run.
TYPES_SIDES=(type_both type_again type_zdm)

types_prepare_keys()
{
	local i
	bench_say "types: a key of $TYPES_ROWS rows, $TYPES_TABLES tables refer to it"
	bench_psql public -v rows="$TYPES_ROWS" <<-'END'
		CREATE SCHEMA types;
		CREATE TABLE types.orders (id serial PRIMARY KEY, note text);
		INSERT INTO types.orders (note) SELECT 'note' FROM generate_series(1, :rows);
	END
	for ((i = 1; i <= TYPES_TABLES; i++)); do
		bench_psql public -c "CREATE TABLE types.ref$i (id int NOT NULL, order_id int NOT NULL)" \
			-c "INSERT INTO types.ref$i SELECT id, id FROM types.orders" \
			-c "ALTER TABLE types.ref$i ADD PRIMARY KEY (id), ADD FOREIGN KEY (order_id) REFERENCES types.orders" \
			-c "CREATE INDEX ON types.ref$i (order_id)"
	done
}

# The time of the strong locks on any of the tables, and that of the whole call,
# connection included.
types_contract()
{
	local from to
	bench_psql types -o /dev/null -c "SELECT zdm.change_column_type('orders', 'id', 'bigint', migration => 'key')"
	from=$(stats_now)
	bench_psql types -o /dev/null -c "CALL zdm.backfill('key')"
	to=$(stats_now)
	bench_record types_backfill zdm "$(stats_elapsed_ms "$from" "$to")"
	locks_start "oid FROM pg_class WHERE relnamespace = 'types'::regnamespace AND relkind = 'r'"
	from=$(stats_now)
	bench_psql types -o /dev/null -c "SELECT zdm.contract('key', '$1')"
	to=$(stats_now)
	bench_record types_locks "$2" "$(locks_stop)"
	bench_record types_contract "$2" "$(stats_elapsed_ms "$from" "$to")"
}

# A second unique index has to be known to the planner of every session.
bench_types_key()
{
	local round
	bench_psql public -c "ALTER SYSTEM SET shared_preload_libraries = 'zdm'"
	zdm_cluster_restart
	for ((round = 1; round <= ROUNDS; round++)); do
		bench_say "types: round $round of $ROUNDS"
		types_prepare_keys
		types_contract '1 day' quarantine
		bench_psql types -o /dev/null -c "SELECT zdm.rollback('key')"
		types_contract '0' direct
		bench_psql public -c "DROP SCHEMA types CASCADE"
	done
	bench_psql public -c "ALTER SYSTEM RESET shared_preload_libraries"
	zdm_cluster_restart
}

types_prepare_side()
{
	local side=$1
	bench_create_users "$side" "$DUAL_ROWS" 70
	bench_psql "$side" -c "ALTER TABLE users ADD COLUMN cents int; UPDATE users SET cents = id"
	case $side in
		*_zdm)
			BENCH_MIGRATION[$side]=${side}_$((++BENCH_MIGRATIONS))
			bench_psql "$side" -o /dev/null -c "
				SELECT zdm.change_column_type('users', 'cents', 'numeric', up => 'cents / 100.0',
					down => '(cents * 100)::int', migration => '${BENCH_MIGRATION[$side]}')"
			bench_backfill "$side"
			;;
		*)
			bench_psql "$side" -c "ALTER TABLE users ADD COLUMN euro numeric; UPDATE users SET euro = cents / 100.0"
			;;
	esac
}

types_script()
{
	local side=$1 set="cents = :n"
	[ "$side" = type_zdm ] || set="cents = :n, euro = :n / 100.0"
	cat <<-END
		\\set id random(1, $DUAL_ROWS)
		\\set n random(1, 999999)
		UPDATE $side.users SET $set WHERE id = :id;
	END
}

bench_types_write()
{
	local side round DUAL_SIDES=("${TYPES_SIDES[@]}")
	bench_say "types: preparing ${#TYPES_SIDES[@]} tables of $DUAL_ROWS rows"
	for side in "${TYPES_SIDES[@]}"; do
		types_prepare_side "$side"
		dual_reset_side "$side"
		types_script "$side" > "$BENCH_TEMP/types_update_single_$side.sql"
	done
	for ((round = 1; round <= ROUNDS; round++)); do
		dual_run types_update_single "$DUAL_TRANSACTIONS" 1
		for side in "${TYPES_SIDES[@]}"; do
			dual_reset_side "$side"
		done
	done
	for side in "${TYPES_SIDES[@]}"; do
		bench_drop "$side"
	done
}

bench_types()
{
	bench_types_key
	bench_types_write
}
