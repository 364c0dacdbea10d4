# shellcheck shell=bash
# What every measurement shares: the cluster's settings, tables, the results
# file.  Sourced by run, after test/tools/lib.sh and stats.sh.

# A quarter of the machine's memory, as the server's manual advises.
bench_shared_buffers()
{
	awk '/^MemTotal:/ { printf "%dMB\n", $2 / 4096 }' /proc/meminfo
}

# Settings that keep disk, checkpoints and autovacuum out of the figures.
# shellcheck disable=SC2034 # used by run and report.sh
BENCH_SETTINGS=(
	"shared_buffers = ${SHARED_BUFFERS:-$(bench_shared_buffers)}"
	"synchronous_commit = off"
	"autovacuum = off"
	"zdm.auto_start = off"
	"checkpoint_timeout = 1h"
	"max_wal_size = 8GB"
	"min_wal_size = 2GB"
)

# Writes of one call, where they are measured inside the server.
# shellcheck disable=SC2034 # used by mirror.sh and clone.sh
BENCH_INSIDE=1000

# One figure: measurement, side, value.
bench_record()
{
	printf '%s\t%s\t%s\n' "$1" "$2" "$3" >> "$BENCH_RESULTS"
}

# Values of one measurement and side, one a line.
bench_values()
{
	awk -F '\t' -v m="$1" -v s="$2" '$1 == m && $2 == s { print $3 }' "$BENCH_RESULTS"
}

# Microseconds a statement of each side, from a pgbench log in which the scripts
# are the sides', in that order: the mean of the middle half.
#   bench_record_scripts MEASUREMENT STATEMENTS-IN-ONE LOG SIDE...
bench_record_scripts()
{
	local measurement=$1 statements=$2 log=$3 script=0 side
	shift 3
	for side in "$@"; do
		bench_record "$measurement" "$side" "$(
			awk -v script="$script" '$4 == script { print $3 }' "$log".[0-9]* | stats_middle_mean |
				awk -v n="$statements" '{ printf "%.3f\n", $1 / n }'
		)"
		script=$((script + 1))
	done
}

bench_median()
{
	bench_values "$1" "$2" | stats_median
}

bench_say()
{
	printf '%s %s\n' "$(date +%T)" "$*" >&2
}

# psql with the session settings of the benchmarks, in a side's schema.
#   bench_psql SCHEMA psql-arguments...
bench_psql()
{
	local schema=$1
	shift
	PGOPTIONS="-c search_path=$schema -c client_min_messages=warning" \
		psql -X -q -v ON_ERROR_STOP=1 -d bench "$@"
}

# Time of one statement in milliseconds, measured by psql.
bench_time_ms()
{
	local schema=$1 sql=$2
	bench_psql "$schema" -At -c '\timing on' -c "$sql" |
		sed -n 's/^Time: \([0-9.]*\) ms.*/\1/p' | tail -n 1
}

#   bench_create_users SCHEMA ROWS [FILLFACTOR [NOTE]]
# NOTE: bytes of one more column, so that a row is as wide as many are.
bench_create_users()
{
	bench_psql public -v schema="$1" -v rows="$2" -v fillfactor="${3:-100}" \
		-v note="${4:-0}" -f "$BENCH_DIR/users.sql" > /dev/null
}

# The plain second column that the rival sides have.
bench_add_full_name()
{
	bench_psql "$1" -c "ALTER TABLE users ADD COLUMN full_name text"
}

# The migration in flight on each side's table.  Every one has a name of its
# own, as the record of a finished one stays.
declare -A BENCH_MIGRATION
BENCH_MIGRATIONS=0

bench_expand()
{
	BENCH_MIGRATION[$1]=${1}_$((++BENCH_MIGRATIONS))
	bench_psql "$1" -o /dev/null -c \
		"SELECT zdm.rename_column('users', 'name', 'full_name', migration => '${BENCH_MIGRATION[$1]}')"
}

bench_backfill()
{
	bench_psql "$1" -c "CALL zdm.backfill('${BENCH_MIGRATION[$1]}')"
}

# The migrate phase in background workers, to its end.
#   bench_background SIDE WORKERS
bench_background()
{
	bench_start "$1" "$2"
	bench_psql "$1" -c "CALL zdm.wait('${BENCH_MIGRATION[$1]}', '1 day')"
}

bench_start()
{
	bench_psql "$1" -o /dev/null -c "SELECT zdm.start('${BENCH_MIGRATION[$1]}', workers => $2)"
}

# Milliseconds from zdm.start to the state ready, as the server has logged them:
# zdm.wait looks a few times a second only.
bench_background_ms()
{
	bench_psql "$1" -At -c "
		SELECT 1000 * extract(epoch FROM
				max(at) FILTER (WHERE event = 'ready') - max(at) FILTER (WHERE event = 'started'))
		FROM zdm.events WHERE migration = '${BENCH_MIGRATION[$1]}'"
}

# A setting of zdm's for sessions and workers that begin from now on; without
# a value, its default again.
#   bench_set NAME [VALUE]
bench_set()
{
	if [ $# -gt 1 ]; then
		bench_psql public -c "ALTER DATABASE bench SET $1 = '$2'"
	else
		bench_psql public -c "ALTER DATABASE bench RESET $1"
	fi
}

# A table of rows without their new value makes no figure.
bench_check_filled()
{
	local missing
	missing=$(bench_psql "$1" -At -c \
		"SELECT count(*) FROM users WHERE full_name IS DISTINCT FROM name")
	if [ "$missing" != 0 ]; then
		echo "bench: $1 left $missing rows without their new value" >&2
		return 1
	fi
}

# Rows a second, of rows and milliseconds.
bench_rate()
{
	awk -v n="$1" -v ms="$2" 'BEGIN { printf "%.1f\n", n / ms * 1000 }'
}

#   bench_contract SIDE QUARANTINE
bench_contract()
{
	bench_psql "$1" -o /dev/null -c \
		"SELECT zdm.contract('${BENCH_MIGRATION[$1]}', quarantine => '$2')"
}

# Ends the quarantine at once: the old name goes.
bench_finish()
{
	bench_contract "$1" 0
	BENCH_MIGRATION[$1]=
}

bench_rollback()
{
	bench_psql "$1" -o /dev/null -c "SELECT zdm.rollback('${BENCH_MIGRATION[$1]}')"
}

# Takes a side's migration back, so that nothing of it stays behind, and drops
# the side's table.
bench_drop()
{
	if [ -n "${BENCH_MIGRATION[$1]:-}" ]; then
		bench_rollback "$1"
		BENCH_MIGRATION[$1]=
	fi
	bench_psql public -c "DROP SCHEMA $1 CASCADE"
}

# The list of arguments, turned left by the given number of places, so that
# no side always runs first.
bench_rotated()
{
	local turn=$1
	shift
	turn=$((turn % $#))
	printf '%s\n' "${@:turn + 1}" "${@:1:turn}"
}
