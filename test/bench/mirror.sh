# shellcheck shell=bash
# Two tables that mirror each other: what a single-row write costs when a
# trigger writes the other table, against both statements written by hand in
# one transaction and against a pair of PL/pgSQL triggers; and the backfill of
# a column from a join table against one UPDATE ... FROM.  Sourced.
#
# The side "alone" does the one write, and no other: what a mirror that costs
# nothing would take.
#
# As in dual_write.sh: one connection picks a side at random for each
# transaction, and a figure is the mean of the middle half.  Once with a round
# trip for each statement, as an application sends it, once twenty writes in a
# pipeline, and once a thousand writes in a loop of a PL/pgSQL function: prepared
# statements in one transaction, which leaves what the server spends on them.

MIRROR_SIDES=(hand mirrored plpgsql alone)

mirror_prepare_side()
{
	local side=$1

	bench_psql public -c "CREATE SCHEMA $side"
	bench_psql "$side" \
		-c "CREATE TABLE users (id int PRIMARY KEY)" \
		-c "INSERT INTO users SELECT generate_series(1, 1000)" \
		-c "CREATE TABLE voucher (id int PRIMARY KEY, code text) WITH (fillfactor = 70)" \
		-c "INSERT INTO voucher SELECT i, 'code ' || i FROM generate_series(1, $MIRROR_ROWS) i" \
		-c "CREATE TABLE used (user_id int NOT NULL REFERENCES users, voucher_id int NOT NULL UNIQUE REFERENCES voucher ON DELETE CASCADE) WITH (fillfactor = 70)" \
		-c "INSERT INTO used SELECT i % 1000 + 1, i FROM generate_series(1, $MIRROR_ROWS) i" \
		-c "VACUUM ANALYZE users, voucher, used"
	if [ "$side" = mirrored ]; then
		bench_psql "$side" -o /dev/null \
			-c "SELECT zdm.join_table_to_column('used', 'voucher', 'user_id', migration => 'mirror')"
	else
		bench_psql "$side" -c "ALTER TABLE voucher ADD user_id int"
		bench_psql "$side" -c "ALTER TABLE voucher ADD FOREIGN KEY (user_id) REFERENCES users NOT VALID"
	fi
}

# Milliseconds of filling the column.
mirror_fill()
{
	local side=$1

	if [ "$side" = mirrored ]; then
		bench_time_ms "$side" "CALL zdm.backfill('mirror')"
	else
		bench_time_ms "$side" \
			"UPDATE voucher SET user_id = used.user_id FROM used WHERE used.voucher_id = voucher.id"
		# What the migrate phase does besides.
		bench_psql "$side" -c "CREATE INDEX CONCURRENTLY ON voucher (user_id)"
	fi
}

# The same of its step alone, as the server has noted it.
mirror_fill_step()
{
	bench_psql mirrored -At -c "
		SELECT 1000 * extract(epoch FROM finished_at - started_at) FROM zdm.steps
		WHERE migration = 'mirror' AND description = 'fill the column from the join table'
		ORDER BY migration_id DESC LIMIT 1"
}

# The statements of a write of one version; by hand, of both tables.
#   mirror_statements old|new SIDE USER VOUCHER
mirror_statements()
{
	local version=$1 side=$2 u=$3 v=$4
	local old="UPDATE $side.used SET user_id = $u WHERE voucher_id = $v;"
	local new="UPDATE $side.voucher SET user_id = $u WHERE id = $v;"

	case $side.$version in
		hand.*) printf '%s\n' "$old" "$new" ;;
		*.old) printf '%s\n' "$old" ;;
		*.new) printf '%s\n' "$new" ;;
	esac
}

# The same many times in one call.
mirror_prepare_inside()
{
	local version=$1 side=$2

	bench_psql "$side" -c "
		CREATE FUNCTION write_$version(n int) RETURNS void LANGUAGE plpgsql AS \$\$
		DECLARE
			u int;
			v int;
		BEGIN
			FOR i IN 1..n LOOP
				u := 1 + (random() * 999)::int;
				v := 1 + (random() * ($MIRROR_ROWS - 1))::int;
				$(mirror_statements "$version" "$side" u v)
			END LOOP;
		END
		\$\$"
}

# A write of one version as a pgbench script.
#   mirror_script old|new single|pipeline|inside SIDE
mirror_script()
{
	local version=$1 form=$2 side=$3 i
	local statements

	if [ "$form" = inside ]; then
		printf '%s\n' "SELECT $side.write_$version($BENCH_INSIDE);"
		return
	fi
	statements=$(mirror_statements "$version" "$side" :u :v)
	printf '%s\n' "\\set u random(1, 1000)" "\\set v random(1, $MIRROR_ROWS)"
	if [ "$form" = single ] && [ "$side" = hand ]; then
		printf '%s\n' 'BEGIN;' "$statements" 'COMMIT;'
	elif [ "$form" = single ]; then
		printf '%s\n' "$statements"
	else
		printf '%s\n' '\startpipeline'
		for i in {1..20}; do
			printf '%s\n' "$statements"
		done
		printf '%s\n' '\endpipeline'
	fi
}

mirror_run()
{
	local version=$1 form=$2 statements=$3 log=$BENCH_TEMP/mirror scripts=() side

	for side in "${MIRROR_SIDES[@]}"; do
		mirror_script "$version" "$form" "$side" > "$log.$version.$form.$side"
		scripts+=(-f "$log.$version.$form.$side")
	done
	rm -f "$log".log.*
	PGOPTIONS="-c search_path=plpgsql" \
		pgbench -n -M prepared -c 1 -j 1 -t $((MIRROR_TRANSACTIONS * ${#MIRROR_SIDES[@]} / statements)) -l \
		--log-prefix="$log.log" "${scripts[@]}" bench > "$log.out" 2>&1 || {
		cat "$log.out" >&2
		return 1
	}
	bench_record_scripts "mirror_${version}_$form" "$statements" "$log.log" "${MIRROR_SIDES[@]}"
}

bench_mirror()
{
	local round side version

	for ((round = 1; round <= ROUNDS; round++)); do
		bench_say "mirror: round $round of $ROUNDS"
		for side in "${MIRROR_SIDES[@]}"; do
			mirror_prepare_side "$side"
		done
		for side in $(bench_rotated "$round" mirrored hand); do
			bench_psql public -c CHECKPOINT
			bench_record mirror_backfill "$side" "$(mirror_fill "$side")"
		done
		bench_record mirror_fill_step mirrored "$(mirror_fill_step)"
		mirror_fill plpgsql > /dev/null
		mirror_fill alone > /dev/null
		bench_psql plpgsql -f "$BENCH_DIR/rivals/plpgsql_mirror.sql"
		for side in "${MIRROR_SIDES[@]}"; do
			bench_psql "$side" -c "ALTER TABLE voucher VALIDATE CONSTRAINT voucher_user_id_fkey" \
				-c "VACUUM ANALYZE voucher, used"
		done
		for version in old new; do
			mirror_run "$version" single 1
			mirror_run "$version" pipeline 20
			for side in "${MIRROR_SIDES[@]}"; do
				mirror_prepare_inside "$version" "$side"
			done
			mirror_run "$version" inside "$BENCH_INSIDE"
		done
		bench_psql mirrored -o /dev/null -c "SELECT zdm.rollback('mirror')"
		bench_psql public -c "DROP SCHEMA hand, mirrored, plpgsql, alone CASCADE"
	done
}
