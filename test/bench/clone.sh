# shellcheck shell=bash
# A second table that holds every row: what a single-row write costs when a
# trigger writes the other table, against both statements written by hand in
# one transaction and against a pair of PL/pgSQL triggers; and the copying of
# the rows against one INSERT ... SELECT.  Sourced.
#
# As in mirror.sh: one connection picks a side at random for each transaction,
# once with a round trip for each statement, and once twenty writes in a
# pipeline.

CLONE_SIDES=(hand cloned plpgsql)

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

# A write of one version as a pgbench script; by hand, of both tables.
#   clone_script old|new update|insert single|pipeline SIDE
clone_script()
{
	local version=$1 kind=$2 form=$3 side=$4 i table tables
	local statements=

	case $side.$version in
		hand.*) tables="events happenings" ;;
		*.old) tables=events ;;
		*.new) tables=happenings ;;
	esac
	for table in $tables; do
		if [ "$kind" = update ]; then
			statements+="UPDATE $side.$table SET day = :d, body = 'day ' || :d WHERE id = :i;"$'\n'
		else
			statements+="INSERT INTO $side.$table VALUES (:i, :d, 'day ' || :d);"$'\n'
		fi
	done
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
		pgbench -n -M prepared -c 1 -j 1 -D "i=$((CLONE_LAST += 10000000))" -t $((CLONE_TRANSACTIONS * 3 / statements)) -l \
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
		bench_psql plpgsql -f "$BENCH_DIR/rivals/plpgsql_clone.sql"
		for side in "${CLONE_SIDES[@]}"; do
			bench_psql "$side" -c "VACUUM ANALYZE events, happenings"
		done
		for version in old new; do
			for kind in update insert; do
				clone_run "$version" "$kind" single 1
				clone_run "$version" "$kind" pipeline 20
			done
		done
		bench_psql cloned -o /dev/null -c "SELECT zdm.rollback('clone')"
		bench_psql public -c "DROP SCHEMA hand, cloned, plpgsql CASCADE"
	done
}
