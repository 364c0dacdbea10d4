# shellcheck shell=bash
# A second table that holds every row: what a single-row write costs when a
# trigger writes the other table, against both statements written by hand in
# one transaction and against a pair of PL/pgSQL triggers; and the copying of
# the rows against one INSERT ... SELECT.  Sourced.
#
# The side "alone" does the one write, and no other.
#
# As in mirror.sh: one connection picks a side at random for each transaction,
# once with a round trip for each statement, once twenty writes in a pipeline,
# and once a thousand of them inside the server.
#
# The rows are also copied into a table of twelve partitions, by the same two
# ways.

CLONE_SIDES=(hand cloned plpgsql alone)

clone_prepare_side()
{
	local side=$1

	bench_psql public -c "CREATE SCHEMA $side"
	bench_psql "$side" \
		-c "CREATE TABLE events (id int PRIMARY KEY, day int NOT NULL, body text) WITH (fillfactor = 70)" \
		-c "INSERT INTO events SELECT i, i % 365, 'event ' || i FROM generate_series(1, $CLONE_ROWS) i" \
		-c "CREATE INDEX ON events (day)" \
		-c "VACUUM ANALYZE events"
	if [ "$side" = cloned ]; then
		bench_psql "$side" -o /dev/null \
			-c "SELECT zdm.rename_table('events', 'happenings', 'dual_write', migration => 'clone')"
	else
		bench_psql "$side" -c "CREATE TABLE happenings (LIKE events INCLUDING ALL) WITH (fillfactor = 70)"
	fi
}

# A second table of twelve partitions, whose column its key has besides.
clone_prepare_parted()
{
	local side=$1 month parts=()

	bench_psql public -c "CREATE SCHEMA $side"
	for month in {0..11}; do
		parts+=(-c "CREATE TABLE m$month PARTITION OF happenings FOR VALUES FROM ($((month * 31))) TO ($((month * 31 + 31)))")
	done
	bench_psql "$side" \
		-c "CREATE TABLE events (id int PRIMARY KEY, day int NOT NULL, body text)" \
		-c "INSERT INTO events SELECT i, i % 365, 'event ' || i FROM generate_series(1, $CLONE_ROWS) i" \
		-c "CREATE INDEX ON events (day)" \
		-c "VACUUM ANALYZE events"
	if [ "$side" = cloned ]; then
		bench_psql "$side" -o /dev/null -c BEGIN \
			-c "SELECT zdm.rename_table('events', 'happenings', 'dual_write', definition => 'PARTITION BY RANGE (day)', migration => 'clone')" \
			"${parts[@]}" -c COMMIT
	else
		bench_psql "$side" \
			-c "CREATE TABLE happenings (LIKE events, PRIMARY KEY (id, day)) PARTITION BY RANGE (day)" \
			-c "CREATE INDEX ON happenings (day)" "${parts[@]}"
	fi
}

bench_clone_parted()
{
	local round=$1 side

	for side in cloned hand; do
		clone_prepare_parted "$side"
	done
	for side in $(bench_rotated "$round" cloned hand); do
		bench_psql public -c CHECKPOINT
		bench_record clone_parted_backfill "$side" "$(clone_fill "$side")"
	done
	bench_record clone_parted_copy_step cloned "$(clone_copy_step)"
	bench_psql cloned -o /dev/null -c "SELECT zdm.rollback('clone')"
	bench_psql public -c "DROP SCHEMA hand, cloned CASCADE"
}

# Milliseconds of copying the rows.
clone_fill()
{
	local side=$1

	if [ "$side" = cloned ]; then
		bench_time_ms "$side" "CALL zdm.backfill('clone')"
	else
		bench_time_ms "$side" "INSERT INTO happenings SELECT * FROM events"
	fi
}

# The same of its step alone, as the server has noted it.
clone_copy_step()
{
	bench_psql cloned -At -c "
		SELECT 1000 * extract(epoch FROM finished_at - started_at) FROM zdm.steps
		WHERE migration = 'clone' AND description = 'copy the rows'
		ORDER BY migration_id DESC LIMIT 1"
}

# The statements of a write of one version; by hand, of both tables.
#   clone_statements old|new update|insert SIDE ID DAY
clone_statements()
{
	local version=$1 kind=$2 side=$3 id=$4 day=$5 table tables

	case $side.$version in
		hand.*) tables="events happenings" ;;
		*.old) tables=events ;;
		*.new) tables=happenings ;;
	esac
	for table in $tables; do
		if [ "$kind" = update ]; then
			printf '%s\n' "UPDATE $side.$table SET day = $day, body = 'day ' || $day WHERE id = $id;"
		else
			printf '%s\n' "INSERT INTO $side.$table VALUES ($id, $day, 'day ' || $day);"
		fi
	done
}

# The same many times in one call: of random rows, or of the n behind a key.
clone_prepare_inside()
{
	local version=$1 kind=$2 side=$3

	bench_psql "$side" -c "
		CREATE FUNCTION ${kind}_$version(n int, behind int) RETURNS void LANGUAGE plpgsql AS \$\$
		DECLARE
			d int;
			k int;
		BEGIN
			FOR i IN 1..n LOOP
				d := 1 + (random() * 364)::int;
				k := CASE '$kind' WHEN 'update' THEN 1 + (random() * ($CLONE_ROWS - 1))::int ELSE behind + i END;
				$(clone_statements "$version" "$kind" "$side" k d)
			END LOOP;
		END
		\$\$"
}

# A write of one version as a pgbench script.
#   clone_script old|new update|insert single|pipeline|inside SIDE
clone_script()
{
	local version=$1 kind=$2 form=$3 side=$4 i
	local statements

	if [ "$form" = inside ]; then
		printf '%s\n' "SELECT $side.${kind}_$version($BENCH_INSIDE, :i);" "\\set i :i + $BENCH_INSIDE"
		return
	fi
	statements=$(clone_statements "$version" "$kind" "$side" :i :d)$'\n'
	if [ "$form" = single ]; then
		clone_values "$kind"
		if [ "$side" = hand ]; then
			printf 'BEGIN;\n%sCOMMIT;\n' "$statements"
		else
			printf '%s' "$statements"
		fi
	else
		printf '%s\n' '\startpipeline'
		for i in {1..20}; do
			clone_values "$kind"
			printf '%s' "$statements"
		done
		printf '%s\n' '\endpipeline'
	fi
}

clone_values()
{
	local kind=$1

	if [ "$kind" = update ]; then
		printf '%s\n' "\\set i random(1, $CLONE_ROWS)" "\\set d random(1, 365)"
	else
		printf '%s\n' "\\set i :i + 1" "\\set d random(1, 365)"
	fi
}

clone_run()
{
	local version=$1 kind=$2 form=$3 statements=$4 log=$BENCH_TEMP/clone scripts=() side

	# Every run inserts keys of its own, from there.
	CLONE_LAST=${CLONE_LAST:-0}

	for side in "${CLONE_SIDES[@]}"; do
		clone_script "$version" "$kind" "$form" "$side" > "$log.$version.$kind.$form.$side"
		scripts+=(-f "$log.$version.$kind.$form.$side")
	done
	rm -f "$log".log.*
	PGOPTIONS="-c search_path=plpgsql" \
		pgbench -n -M prepared -c 1 -j 1 -D "i=$((CLONE_LAST += 10000000))" -t $((CLONE_TRANSACTIONS * ${#CLONE_SIDES[@]} / statements)) -l \
		--log-prefix="$log.log" "${scripts[@]}" bench > "$log.out" 2>&1 || {
		cat "$log.out" >&2
		return 1
	}
	bench_record_scripts "clone_${version}_${kind}_$form" "$statements" "$log.log" "${CLONE_SIDES[@]}"
}

bench_clone()
{
	local round side version kind

	for ((round = 1; round <= ROUNDS; round++)); do
		bench_say "clone: round $round of $ROUNDS"
		for side in "${CLONE_SIDES[@]}"; do
			clone_prepare_side "$side"
		done
		for side in $(bench_rotated "$round" cloned hand); do
			bench_psql public -c CHECKPOINT
			bench_record clone_backfill "$side" "$(clone_fill "$side")"
		done
		bench_record clone_copy_step cloned "$(clone_copy_step)"
		clone_fill plpgsql > /dev/null
		clone_fill alone > /dev/null
		bench_psql plpgsql -f "$BENCH_DIR/rivals/plpgsql_clone.sql"
		for side in "${CLONE_SIDES[@]}"; do
			bench_psql "$side" -c "VACUUM ANALYZE events, happenings"
		done
		for version in old new; do
			for kind in update insert; do
				clone_run "$version" "$kind" single 1
				clone_run "$version" "$kind" pipeline 20
				for side in "${CLONE_SIDES[@]}"; do
					clone_prepare_inside "$version" "$kind" "$side"
				done
				clone_run "$version" "$kind" inside "$BENCH_INSIDE"
			done
		done
		bench_psql cloned -o /dev/null -c "SELECT zdm.rollback('clone')"
		bench_psql public -c "DROP SCHEMA hand, cloned, plpgsql, alone CASCADE"
		bench_clone_parted "$round"
	done
}
