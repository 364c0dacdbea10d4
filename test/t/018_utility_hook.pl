# COPY, TRUNCATE, ANALYZE and VACUUM by the name of a compatibility view: as
# PostgreSQL has it where the library is not preloaded; through the hook where it
# is, by either setting, beside other libraries that have the same hook, in every
# protocol, and on a standby.  Not at all in a database without zdm.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init(allows_streaming => 1);
$node->append_conf('postgresql.conf', "autovacuum = off\n");
$node->start;
my $others = $node->safe_psql('postgres',
	"SELECT count(*) FROM pg_available_extensions WHERE name = 'pg_stat_statements'")
  && -e $node->config_data('--pkglibdir') . '/auto_explain.so';

$node->safe_psql(
	'postgres', q(
	CREATE EXTENSION zdm;
	CREATE TABLE users (id int, name text);
	INSERT INTO users VALUES (1, 'one');
	SELECT zdm.rename_table('users', 'participants');
	CREATE TABLE people (id int, name text);
	INSERT INTO people VALUES (1, 'one');
	SELECT zdm.rename_column('people', 'name', 'full_name', strategy => 'view');
));

my $loaded = "SELECT count(*) FROM pg_settings WHERE name = 'zdm.lock_wait'";
my $note =
  "SELECT string_agg(substring(description from '(reach|fail),? '), '') FROM zdm.explain(\$\$zdm.rename_table('t', 'u')\$\$)"
  . " WHERE description LIKE 'COPY%'";

# What a session without the library sees.
sub check_off
{
	my ($when) = @_;

	for my $case (
		[ 'COPY users TO STDOUT', qr/cannot copy from view "users"/ ],
		[ "COPY users FROM '/dev/null'", qr/cannot copy to view "users"/ ],
		[ 'TRUNCATE users', qr/"users" is not a table/ ],
		[ 'COPY people (full_name) TO STDOUT', qr/cannot copy from view "people"/ ])
	{
		my ($sql, $error) = @$case;
		my ($status, $out, $err) = $node->psql('postgres', $sql);
		is($status, 3, "$when: $sql fails");
		like($err, $error, "$when: as in PostgreSQL");
	}
	for my $sql ('ANALYZE users', 'VACUUM users')
	{
		my ($status, $out, $err) = $node->psql('postgres', $sql);
		is($status, 0, "$when: $sql");
		like($err, qr/WARNING: +skipping "users"/, "$when: $sql passes over it");
	}
	return;
}

sub check_on
{
	my ($when) = @_;

	for my $case (
		[ 'COPY users TO STDOUT', "1\tone" ],
		[ "COPY users FROM STDIN;\n2\ttwo\n\\.\nTABLE participants", "1|one\n2|two" ],
		[ 'COPY (SELECT name FROM users WHERE id = 1) TO STDOUT', 'one' ],
		[ 'COPY people (full_name, id) TO STDOUT (FORMAT csv, HEADER)', "full_name,id\none,1" ],
		[ 'ANALYZE users', '' ],
		[ 'VACUUM users, people', '' ],
		[ 'BEGIN; LOCK users; COMMIT', '' ],
		[ "BEGIN; TRUNCATE people, users; COPY users TO STDOUT; ROLLBACK", '' ],
		[ "DO 'BEGIN TRUNCATE users; END'; TABLE participants", '' ],
		[ "INSERT INTO users VALUES (1, 'one')", '' ],
		[ 'SELECT zdm.rollback(\'rename_users_to_participants\');'
			  . " COPY users TO STDOUT;"
			  . " SELECT zdm.rename_table('users', 'participants'); COPY users TO STDOUT",
			"rolled_back\n1\tone\nrename_users_to_participants\n1\tone" ])
	{
		my ($sql, $expected) = @$case;
		my ($status, $out, $err) = $node->psql('postgres', $sql);
		is($status, 0, "$when: $sql") or diag($err);
		unlike($err, qr/WARNING/, "$when: nothing to complain");
		is($out, $expected, "$when: result");
	}
	return;
}

# One run of each statement, and another of the same prepared one.
sub check_protocols
{
	my ($when) = @_;

	$node->safe_psql('postgres', "CREATE TABLE counted (id int); SELECT zdm.rename_table('counted', 'numbers')");
	my $script = PostgreSQL::Test::Utils::tempdir() . '/script.sql';
	append_to_file($script, q(
INSERT INTO counted VALUES (1);
ANALYZE counted;
TRUNCATE counted;
COPY counted FROM '/dev/null';
BEGIN;
LOCK counted;
TRUNCATE counted, numbers;
END;
INSERT INTO counted VALUES (2);
)) unless -e $script;
	for my $protocol ('simple', 'extended', 'prepared')
	{
		$node->command_ok(
			[ 'pgbench', '-n', '-t', '3', '-M', $protocol, '-f', $script, $node->connstr('postgres') ],
			"$when: $protocol protocol");
		is($node->safe_psql('postgres', 'TABLE numbers'), 2, "$when: $protocol protocol, the rows");
		$node->safe_psql('postgres', 'TRUNCATE numbers');
	}
	$node->safe_psql('postgres', "SELECT zdm.rollback('rename_counted_to_numbers'); DROP TABLE counted");
	return;
}

sub restart_with
{
	my (%setting) = @_;

	$node->append_conf('postgresql.conf', "$_ = '$setting{$_}'") for sort keys %setting;
	$node->restart;
	return;
}

$node->safe_psql('postgres', 'CREATE TABLE t (id int)');
check_off('not loaded');
is($node->safe_psql('postgres', $note), 'fail', 'not loaded: explain says so');

# Another database sets it for its sessions only.
$node->safe_psql('postgres', "ALTER DATABASE postgres SET session_preload_libraries = 'zdm'");
is($node->safe_psql('postgres', $loaded), 1, 'session_preload_libraries: loaded');
check_on('session_preload_libraries');
check_protocols('session_preload_libraries');
is($node->safe_psql('postgres', $note), 'reach', 'session_preload_libraries: explain says so');
$node->safe_psql('postgres', 'ALTER DATABASE postgres RESET session_preload_libraries');
check_off('not loaded again');

restart_with(shared_preload_libraries => 'zdm');
check_on('shared_preload_libraries');
check_protocols('shared_preload_libraries');
is($node->safe_psql('postgres', $note), 'reach', 'shared_preload_libraries: explain says so');

#
# A standby
#

$node->backup('backup');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'backup', has_streaming => 1);
$standby->start;
$node->wait_for_catchup('standby');
is($standby->safe_psql('postgres', 'COPY users TO STDOUT; COPY people (full_name) TO STDOUT'),
	"1\tone\none", 'a standby: COPY TO');
my ($status, $out, $err) = $standby->psql('postgres', 'TRUNCATE users');
like($err, qr/cannot execute TRUNCATE TABLE in a read-only transaction/, 'a standby: TRUNCATE');
$standby->stop;

#
# Databases without zdm, one of which has tables that look like zdm's
#

$node->safe_psql('postgres', 'CREATE DATABASE other');
$node->safe_psql(
	'other', q(
	CREATE TABLE t (id int);
	CREATE VIEW users AS SELECT * FROM t;
	INSERT INTO t VALUES (1);
));
for my $schema ('', 'CREATE SCHEMA zdm; CREATE TABLE zdm.migration (id int); INSERT INTO zdm.migration VALUES (1);'
	  . 'CREATE INDEX migration_in_flight ON zdm.migration (id)')
{
	$node->safe_psql('other', $schema);
	($status, $out, $err) = $node->psql('other', 'COPY users TO STDOUT');
	like($err, qr/cannot copy from view "users"/, 'without the extension: COPY');
	($status, $out, $err) = $node->psql('other', 'TRUNCATE users');
	like($err, qr/"users" is not a table/, 'without the extension: TRUNCATE');
	is($node->safe_psql('other', 'COPY t TO STDOUT; TRUNCATE t; ANALYZE t; INSERT INTO t VALUES (1)'),
		1, 'without the extension: a table');
}

#
# Other libraries
#

SKIP:
{
	skip 'pg_stat_statements and auto_explain are not installed', 1 unless $others;

	for my $libraries ('pg_stat_statements,auto_explain,zdm', 'zdm,auto_explain,pg_stat_statements')
	{
		restart_with(
			shared_preload_libraries => $libraries,
			'pg_stat_statements.track_utility' => 'on',
			'auto_explain.log_min_duration' => '0',
			'auto_explain.log_nested_statements' => 'on');
		$node->safe_psql('postgres',
			'CREATE EXTENSION IF NOT EXISTS pg_stat_statements; SELECT pg_stat_statements_reset()');
		check_on($libraries);
		check_protocols($libraries);
		is( $node->safe_psql('postgres', q(SELECT sum(calls), sum(rows) FROM pg_stat_statements
			WHERE query LIKE 'COPY users TO STDOUT%')),
			'4|3', "$libraries: the statement is counted as it was sent");
	}
}

$node->stop;
done_testing();
