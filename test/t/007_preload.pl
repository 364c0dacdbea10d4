# The library works loaded on first use, by session_preload_libraries and by
# shared_preload_libraries, beside other libraries that have the same hooks; and
# knows which columns an INSERT named in each of these cases, even where the
# first one of a backend runs inside of a function.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', "zdm.auto_start = off\n");
$node->start;

my $others = $node->safe_psql('postgres',
	"SELECT count(*) FROM pg_available_extensions WHERE name = 'pg_stat_statements'")
  && -e $node->config_data('--pkglibdir') . '/auto_explain.so';

$node->safe_psql(
	'postgres', q(
	CREATE EXTENSION zdm;
	CREATE TABLE t (id int, name text DEFAULT 'nobody');
	CREATE TABLE source (id int, name text, full_name text);
	SELECT zdm.rename_column('t', 'name', 'full_name');

	CREATE FUNCTION by_old(value text) RETURNS int LANGUAGE plpgsql AS
		'BEGIN INSERT INTO t (id, name) VALUES (1, value); RETURN 1; END';
	CREATE FUNCTION by_new(value text) RETURNS int LANGUAGE plpgsql AS
		'BEGIN INSERT INTO t (id, full_name) VALUES (1, value); RETURN 1; END';
	CREATE FUNCTION by_none() RETURNS int LANGUAGE plpgsql AS
		'BEGIN INSERT INTO t (id) VALUES (1); RETURN 1; END';
	CREATE FUNCTION by_both(value text) RETURNS int LANGUAGE plpgsql AS
		'BEGIN INSERT INTO t VALUES (1, value, value); RETURN 1; END';
	CREATE FUNCTION by_text(value text) RETURNS int LANGUAGE plpgsql AS
		'BEGIN EXECUTE $$INSERT INTO t (id, full_name) VALUES (1, $1)$$ USING value; RETURN 1; END';
	CREATE FUNCTION by_sql(value text) RETURNS int LANGUAGE sql AS
		'INSERT INTO t (id, full_name) VALUES (1, value) RETURNING 1';
	CREATE FUNCTION by_upsert(value text) RETURNS int LANGUAGE plpgsql AS
		'BEGIN INSERT INTO t (id, full_name) VALUES (1, value) ON CONFLICT DO NOTHING; RETURN 1; END';
	CREATE FUNCTION by_update(value text) RETURNS int LANGUAGE plpgsql AS
		'BEGIN INSERT INTO t (id, name) VALUES (1, $$x$$); UPDATE t SET full_name = value; RETURN 1; END';
	CREATE FUNCTION copied() RETURNS trigger LANGUAGE plpgsql AS
		'BEGIN INSERT INTO t (id, full_name) VALUES (NEW.id, NEW.full_name); RETURN NULL; END';
	CREATE TRIGGER copied AFTER INSERT ON source FOR EACH ROW EXECUTE FUNCTION copied();
));

# A statement, run first in a new session, and what the table has to hold then:
# name and full_name of each row.
my @cases = (
	[ "INSERT INTO t (id, name) VALUES (1, 'a')", 'a=a' ],
	[ "INSERT INTO t (id, full_name) VALUES (1, 'a')", 'a=a' ],
	[ 'INSERT INTO t (id, name) VALUES (1, NULL)', 'NULL=NULL' ],
	[ 'INSERT INTO t (id, full_name) VALUES (1, NULL)', 'NULL=NULL' ],
	[ 'INSERT INTO t (id) VALUES (1)', 'nobody=nobody' ],
	[ "COPY t (id, full_name) FROM STDIN;\n1\ta\n2\t\\N\n\\.\n", 'NULL=NULL a=a' ],
	[ "COPY t (id, name) FROM STDIN;\n1\ta\n2\t\\N\n\\.\n", 'NULL=NULL a=a' ],
	[ "WITH i AS (INSERT INTO t (id, full_name) VALUES (1, NULL) RETURNING id) SELECT count(*) FROM i", 'NULL=NULL' ],
	[ "SELECT by_old('a')", 'a=a' ],
	[ "SELECT by_new('a')", 'a=a' ],
	[ "SELECT by_new('nobody')", 'nobody=nobody' ],
	[ 'SELECT by_none()', 'nobody=nobody' ],
	[ "SELECT by_both('a')", 'a=a' ],
	[ "SELECT by_text('a')", 'a=a' ],
	[ "SELECT by_sql('a')", 'a=a' ],
	[ "SELECT by_upsert('a')", 'a=a' ],
	[ "SELECT by_update('a')", 'a=a' ],
	[ "DO \$\$ BEGIN PERFORM by_new('a'), by_old('b'); END \$\$", 'a=a b=b' ],
	[ 'SELECT by_old(NULL)', 'NULL=NULL' ],
	[ 'SELECT by_new(NULL)', 'NULL=NULL' ],
	[ 'SELECT by_text(NULL)', 'NULL=NULL' ],
	[ 'SELECT by_new(NULL); DELETE FROM t; SELECT by_new(NULL)', 'NULL=NULL' ],
	[ "INSERT INTO source VALUES (1, 'x', 'a')", 'a=a' ],
	[ "INSERT INTO source (id, name) VALUES (1, 'x')", 'NULL=NULL' ],
	[ "INSERT INTO source SELECT i, 'x', 'a' FROM generate_series(1, 3) i", 'a=a a=a a=a' ],
	# one statement inside of another one on the same table
	[ "INSERT INTO t (id, name) SELECT by_new('inner'), 'outer'", 'inner=inner outer=outer' ],
	[ "INSERT INTO t (id, full_name) SELECT by_old('inner'), 'outer'", 'inner=inner outer=outer' ],
	[ "INSERT INTO t (id, full_name) SELECT by_none(), NULL", 'NULL=NULL nobody=nobody' ],
);

sub check_cases
{
	my ($when) = @_;

	for my $case (@cases)
	{
		my ($sql, $expected) = @$case;
		my ($status, $out, $err) = $node->psql('postgres', $sql);
		is($status, 0, "$when: " . $sql =~ s/\n.*//sr) or diag($err);
		is( $node->safe_psql('postgres', "SELECT string_agg(coalesce(name, 'NULL') || '=' || coalesce(full_name, 'NULL'), ' ' ORDER BY name, full_name)"
				  . " FROM (SELECT coalesce(name, 'NULL') AS name, coalesce(full_name, 'NULL') AS full_name FROM t) r"),
			$expected, "$when: the columns hold $expected");
		$node->safe_psql('postgres', 'TRUNCATE t, source');
	}
	return;
}

sub check_life
{
	my ($when) = @_;

	for my $sql (
		"CREATE TABLE life (id int, name text); INSERT INTO life SELECT i, 'x' FROM generate_series(1, 100) i",
		"SELECT zdm.rename_column('life', 'name', 'label')",
		"CALL zdm.backfill('rename_life_name_to_label')",
		"SELECT zdm.contract('rename_life_name_to_label', '1 h')",
		"SELECT zdm.rollback('rename_life_name_to_label')",
		'DROP TABLE life')
	{
		my ($status, $out, $err) = $node->psql('postgres', $sql);
		is($status, 0, "$when: $sql") or diag($err);
	}
	return;
}

sub restart_with
{
	my (%setting) = @_;

	$node->append_conf('postgresql.conf', "$_ = $setting{$_}") for sort keys %setting;
	$node->restart;
	return;
}

check_cases('loaded on first use');
check_life('loaded on first use');

# A session that begins with LOAD.
is( $node->safe_psql('postgres', "LOAD 'zdm'; SELECT by_new(NULL); SELECT count(*) FROM t WHERE name IS NULL; TRUNCATE t"),
	"1\n1", 'after LOAD a NULL that was given is one');
is($node->safe_psql('postgres', "LOAD 'zdm'; SHOW zdm.lock_wait; SHOW zdm.lock_patience"), "50ms\n30s",
	'settings have their defaults');

restart_with(session_preload_libraries => "'zdm'", 'zdm.lock_patience' => "'7s'");
is($node->safe_psql('postgres', 'SHOW zdm.lock_patience'), '7s', 'session_preload_libraries: settings are read');
check_cases('session_preload_libraries');
check_life('session_preload_libraries');

restart_with(session_preload_libraries => "''", shared_preload_libraries => "'zdm'");
is($node->safe_psql('postgres', 'SHOW zdm.lock_patience'), '7s', 'shared_preload_libraries: settings are read');
check_cases('shared_preload_libraries');
check_life('shared_preload_libraries');

SKIP:
{
	skip 'pg_stat_statements and auto_explain are not installed', 1 unless $others;

	for my $libraries ('pg_stat_statements,auto_explain,zdm', 'zdm,auto_explain,pg_stat_statements', 'pg_stat_statements,auto_explain')
	{
		my $log = -s $node->logfile;

		restart_with(
			shared_preload_libraries => "'$libraries'",
			'pg_stat_statements.track' => "'all'",
			'auto_explain.log_min_duration' => '0',
			'auto_explain.log_analyze' => 'on',
			'auto_explain.log_triggers' => 'on',
			'auto_explain.log_nested_statements' => 'on');
		$node->safe_psql('postgres', 'CREATE EXTENSION IF NOT EXISTS pg_stat_statements; SELECT pg_stat_statements_reset()');
		check_cases($libraries);
		check_life($libraries);
		is( $node->safe_psql('postgres', q(SELECT sum(calls) FROM pg_stat_statements
			WHERE toplevel AND query LIKE 'INSERT INTO t (id, name) VALUES%')),
			2, "$libraries: statements are counted");
		is( $node->safe_psql('postgres', q(SELECT sum(calls) FROM pg_stat_statements
			WHERE NOT toplevel AND query LIKE 'INSERT INTO t (id, name) VALUES%')),
			5, "$libraries: nested ones, too");
		ok($node->log_contains(qr/Trigger ~zdm_sync: time=/, $log), "$libraries: plans show the trigger")
		  if $node->can('log_contains');
	}

	# What has been seen that a view cannot do is told before it is one's turn.
	my $on_constraint = q(INSERT INTO %s VALUES (1) ON CONFLICT ON CONSTRAINT %s DO NOTHING);
	my $warnings = sub {
		my ($call) = @_;
		my (undef, undef, $err) = $node->psql('postgres', $call);

		return join "\n", $err =~ /WARNING: +(pg_stat_statements.*)$/mg;
	};

	$node->safe_psql('postgres',
		'CREATE DATABASE another; CREATE ROLE blind; GRANT CREATE ON SCHEMA public TO blind;'
		  . 'CREATE TABLE seen (id int CONSTRAINT seen_id UNIQUE); ALTER TABLE seen OWNER TO blind;'
		  . 'CREATE TABLE named_only (id int CONSTRAINT named_only_id UNIQUE);'
		  . sprintf($on_constraint, 'SEEN', 'seen_id'));
	$node->safe_psql('another',
		'CREATE TABLE named_only (id int CONSTRAINT seen_id UNIQUE);' . sprintf($on_constraint, 'named_only', 'seen_id'));
	is( $warnings->("SELECT zdm.rename_table('seen', 'soon')"),
		'pg_stat_statements has seen a statement that fails through the view public.seen, as a view has no constraints: '
		  . sprintf($on_constraint =~ s/\(1\)/(\$1)/r, 'SEEN', 'seen_id'),
		'a statement that a view will not carry is told');
	is($warnings->("SELECT zdm.rename_table('named_only', 'other')"), '', 'not one of another database');
	$node->safe_psql('postgres', "SELECT zdm.rollback('rename_seen_to_soon'); REVOKE SELECT ON pg_stat_statements FROM PUBLIC");
	is($warnings->("SET SESSION AUTHORIZATION blind; SELECT zdm.rename_table('seen', 'soon')"), '', 'nor to one who may not read them');
	is($node->safe_psql('postgres', 'SELECT count(*) FROM soon'), 1, 'which is no error');
}

$node->stop;
done_testing();
