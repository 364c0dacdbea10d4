# shellcheck shell=bash
# How long a change of a column keeps a strong lock on a large table: zdm's
# calls, whole migrations, beside the plain ALTER TABLE.  Sourced.
# The figure of a change is what locks.sh samples on the table; nobody else uses
# it.

read -ra COLUMNS_CHANGES <<< "${COLUMNS_CHANGES:-default volatile mandatory set_not_null drop_not_null drop_column drop_table}"

columns_title()
{
	case $1 in
		default) echo "add a column with a constant default" ;;
		volatile) echo "add a column with a volatile default" ;;
		mandatory) echo "add a mandatory column, filled from the row" ;;
		set_not_null) echo "make a column mandatory, a tenth of the rows NULL" ;;
		drop_not_null) echo "make a column optional, and go back" ;;
		drop_column) echo "drop a mandatory column with an index" ;;
		drop_table) echo "drop the table" ;;
	esac
}

columns_prepare()
{
	bench_psql public -v rows="$COLUMNS_ROWS" <<-'END'
		CREATE SCHEMA columns;
		CREATE TABLE columns.users (
			id bigint PRIMARY KEY,
			name text NOT NULL,
			email text,
			code text NOT NULL,
			old1 text NOT NULL,
			old2 text NOT NULL);
		INSERT INTO columns.users
		SELECT i, 'user ' || i, CASE WHEN i % 10 > 0 THEN i || '@example.invalid' END, 'c', i, i
		  FROM generate_series(1, :rows) i;
		CREATE INDEX ON columns.users (old1);
		CREATE INDEX ON columns.users (old2);
		VACUUM ANALYZE columns.users;
	END
}

# A whole migration: the calls, each a transaction of its own.
#   columns_migration NAME EXPAND
columns_migration()
{
	bench_psql columns -o /dev/null -c "SELECT zdm.$2"
	bench_psql columns -o /dev/null -c "CALL zdm.backfill('$1')"
	bench_psql columns -o /dev/null -c "SELECT zdm.contract('$1')"
}

columns_zdm()
{
	case $1 in
		default)
			bench_psql columns -o /dev/null -c "SELECT zdm.add_column('users', 'd1', 'int', default_value => '0', migration => 'd1')"
			bench_psql columns -o /dev/null -c "SELECT zdm.contract('d1')"
			;;
		volatile)
			columns_migration u1 "add_column('users', 'u1', 'uuid', default_value => 'gen_random_uuid()', migration => 'u1')"
			;;
		mandatory)
			columns_migration m1 "add_column('users', 'm1', 'text', not_null => true, fill => '''m'' || id', migration => 'm1')"
			;;
		set_not_null)
			columns_migration email "set_not_null('users', 'email', '''none''', 'email')"
			;;
		drop_not_null)
			bench_psql columns -o /dev/null -c "SELECT zdm.drop_not_null('users', 'code', 'code')"
			bench_psql columns -o /dev/null -c "SELECT zdm.rollback('code')"
			bench_psql columns -o /dev/null -c "CALL zdm.backfill('code')"
			bench_psql columns -o /dev/null -c "SELECT zdm.rollback('code')"
			;;
		drop_column)
			bench_psql columns -o /dev/null -c "SELECT zdm.drop_column('users', 'old1', fill => '''x''', migration => 'old1')"
			bench_psql columns -o /dev/null -c "SELECT zdm.contract('old1', '1 day')"
			bench_psql columns -o /dev/null -c "SELECT zdm.contract('old1', '0')"
			;;
		drop_table)
			bench_psql columns -o /dev/null -c "SELECT zdm.drop_table('$COLUMNS_TABLE', 'gone')"
			bench_psql columns -o /dev/null -c "SELECT zdm.contract('gone', '1 day')"
			bench_psql columns -o /dev/null -c "SELECT zdm.contract('gone', '0')"
			;;
	esac
}

columns_plain()
{
	case $1 in
		default) bench_psql columns -c "ALTER TABLE users ADD COLUMN d2 int DEFAULT 0" ;;
		volatile) bench_psql columns -c "ALTER TABLE users ADD COLUMN u2 uuid DEFAULT gen_random_uuid()" ;;
		mandatory)
			bench_psql columns -c "ALTER TABLE users ADD COLUMN m2 text"
			bench_psql columns -c "UPDATE users SET m2 = 'm' || id"
			bench_psql columns -c "ALTER TABLE users ALTER COLUMN m2 SET NOT NULL"
			;;
		set_not_null)
			# By now zdm has filled it.
			bench_psql columns -c "ALTER TABLE users ALTER COLUMN email DROP NOT NULL"
			bench_psql columns -c "ALTER TABLE users ALTER COLUMN email SET NOT NULL"
			;;
		drop_not_null)
			bench_psql columns -c "ALTER TABLE users ALTER COLUMN code DROP NOT NULL"
			bench_psql columns -c "ALTER TABLE users ALTER COLUMN code SET NOT NULL"
			;;
		drop_column) bench_psql columns -c "ALTER TABLE users DROP COLUMN old2" ;;
		drop_table) bench_psql columns -c "DROP TABLE $COLUMNS_TABLE" ;;
	esac
}

columns_run()
{
	local change=$1 side=$2 from to COLUMNS_TABLE=users
	if [ "$change" = drop_table ]; then
		COLUMNS_TABLE=copy
		bench_psql columns -c "CREATE TABLE copy AS TABLE users"
	fi
	locks_start "'columns.$COLUMNS_TABLE'::regclass"
	from=$(stats_now)
	"columns_$side" "$change"
	to=$(stats_now)
	bench_record "columns_lock_$change" "$side" "$(locks_stop)"
	bench_record "columns_duration_$change" "$side" "$(stats_elapsed_ms "$from" "$to")"
	bench_psql columns -c "VACUUM users"
}

bench_columns()
{
	local change side
	bench_say "columns: a table of $COLUMNS_ROWS rows"
	columns_prepare
	for change in "${COLUMNS_CHANGES[@]}"; do
		for side in zdm plain; do
			bench_say "columns: $(columns_title "$change"), $side"
			columns_run "$change" "$side"
		done
	done
	bench_psql public -c "DROP SCHEMA columns CASCADE"
}
