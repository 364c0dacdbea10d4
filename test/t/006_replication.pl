# A physical standby refuses to work and takes over where it is promoted; a
# table in migration is kept in sync on either side of logical replication.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $migration = 'rename_users_name_to_full_name';
my $rows = 20_000;

sub check_sync
{
	my ($node, $when) = @_;
	is($node->safe_psql('postgres', "SELECT mismatches FROM zdm.verify('$migration')"), 0, "$when: in sync");
	return;
}

#
# A physical standby
#
my $primary = PostgreSQL::Test::Cluster->new('primary');
$primary->init(allows_streaming => 'logical');
$primary->append_conf('postgresql.conf', "zdm.auto_start = off\n");
$primary->append_conf('postgresql.conf', "log_statement = none\n");
$primary->start;
$primary->safe_psql(
	'postgres', qq(
	CREATE EXTENSION zdm;
	CREATE TABLE users (id int PRIMARY KEY, name text);
	INSERT INTO users SELECT i, 'user ' || i FROM generate_series(1, $rows) i;
));
$primary->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($primary, 'base', has_streaming => 1);
$standby->start;

my @calls = (
	"SELECT zdm.rename_column('users', 'name', 'full_name')",
	"CALL zdm.backfill('$migration')",
	"SELECT * FROM zdm.verify('$migration')",
	"SELECT zdm.contract('$migration')",
	"SELECT zdm.finish('$migration')",
	"SELECT zdm.rollback('$migration')");

sub refused
{
	my ($when) = @_;
	for my $call (@calls)
	{
		my ($status, $out, $err) = $standby->psql('postgres', $call);
		is($status, 3, "$when, standby: $call");
		like($err, qr/ERROR:  zdm cannot work on a hot standby\n.*HINT:  Run the same call on the primary/s,
			'and says why');
	}
	return;
}

$primary->safe_psql('postgres', "SELECT zdm.rename_column('users', 'name', 'full_name')");
$primary->wait_for_catchup($standby, 'replay', $primary->lsn('insert'));
refused('expanded');
is($standby->safe_psql('postgres', 'SELECT state FROM zdm.status'), 'expanded', 'its status can be read there');

# Half a backfill on the primary, which is then gone for good.
{
	local $ENV{PGOPTIONS} = '-c zdm.batch_target=1ms -c zdm.backfill_pause=50 -c statement_timeout=500ms';
	for (1 .. 60)
	{
		$primary->psql('postgres', "CALL zdm.backfill('$migration')");
		last if $primary->safe_psql('postgres', 'SELECT count(full_name) > 0 FROM users') eq 't';
	}
}
$primary->safe_psql('postgres', "UPDATE users SET full_name = 'by the new name' WHERE id = 1;"
	  . "INSERT INTO users (id, name) VALUES (0, 'by the old name')");
my $done = $primary->safe_psql('postgres', 'SELECT count(full_name) FROM users');
cmp_ok($done, '<', $rows, "$done rows are done when the primary dies");
$primary->wait_for_catchup($standby, 'replay', $primary->lsn('insert'));
$primary->stop('immediate');
$standby->promote;
is($standby->safe_psql('postgres', 'SELECT state FROM zdm.status'), 'expanded', 'promoted: still expanded');
is($standby->safe_psql('postgres', 'SELECT count(full_name) FROM users'), $done, 'promoted: with what was done');
$standby->safe_psql('postgres', "UPDATE users SET name = 'after promotion' WHERE id = 2");
is($standby->psql('postgres', "CALL zdm.backfill('$migration')"), 0, 'promoted: the backfill goes on');
check_sync($standby, 'promoted');
is($standby->safe_psql('postgres', "SELECT zdm.contract('$migration')"), 'finished', 'promoted: and to the end');
is( $standby->safe_psql('postgres', "SELECT count(*), count(*) FILTER (WHERE full_name = 'user ' || id) FROM users"),
	($rows + 1) . '|' . ($rows - 2), 'promoted: nothing is lost');
is($standby->safe_psql('postgres', 'SELECT full_name FROM users WHERE id < 3 ORDER BY id'),
	"by the old name\nby the new name\nafter promotion", 'promoted: nor what either version wrote');
$standby->stop;

#
# Logical replication
#
my $publisher = PostgreSQL::Test::Cluster->new('publisher');
$publisher->init(allows_streaming => 'logical');
$publisher->append_conf('postgresql.conf', "zdm.auto_start = off\n");
$publisher->start;
my $subscriber = PostgreSQL::Test::Cluster->new('subscriber');
$subscriber->init(allows_streaming => 'logical');
$subscriber->append_conf('postgresql.conf', "zdm.auto_start = off\n");
$subscriber->start;
for my $node ($publisher, $subscriber)
{
	$node->safe_psql('postgres', 'CREATE EXTENSION zdm; CREATE TABLE users (id int PRIMARY KEY, name text, hits int)');
}
$publisher->safe_psql('postgres', "INSERT INTO users SELECT i, 'user ' || i FROM generate_series(1, 1000) i; CREATE PUBLICATION p FOR TABLE users");

# The subscriber migrates first, before it has any row: the first copy of the
# table goes through its trigger.
$subscriber->safe_psql('postgres', "SELECT zdm.rename_column('users', 'name', 'full_name')");
$subscriber->safe_psql('postgres', "CREATE SUBSCRIPTION s CONNECTION '" . $publisher->connstr . " dbname=postgres' PUBLICATION p");
$subscriber->wait_for_subscription_sync($publisher, 's');
is($subscriber->safe_psql('postgres', 'SELECT count(*) FROM users WHERE name = full_name'), 1000,
	'subscriber alone: the first copy is in sync');

sub applied
{
	my ($when, $column) = @_;
	$publisher->wait_for_catchup('s');
	is( $subscriber->safe_psql('postgres', 'SELECT md5(string_agg(id || name || full_name, $$,$$ ORDER BY id)) FROM users'),
		$publisher->safe_psql('postgres', "SELECT md5(string_agg(id || name || $column, \$\$,\$\$ ORDER BY id)) FROM users"),
		"$when: what was applied is the same, under both names");
	return;
}

$publisher->safe_psql(
	'postgres', q(
	INSERT INTO users VALUES (1001, 'inserted');
	UPDATE users SET name = 'updated' WHERE id = 1;
	UPDATE users SET hits = 1 WHERE id = 2;
	DELETE FROM users WHERE id = 3;
	UPDATE users SET id = 4000 WHERE id = 4;
));
applied('subscriber alone', 'name');
is($subscriber->psql('postgres', "CALL zdm.backfill('$migration')"), 0, 'subscriber alone: backfill');
check_sync($subscriber, 'subscriber alone');

# Now the publisher, too: rows come with both columns, in mid backfill with the
# new one still empty.
$publisher->safe_psql('postgres', "SELECT zdm.rename_column('users', 'name', 'full_name')");
$publisher->safe_psql(
	'postgres', q(
	INSERT INTO users (id, name) VALUES (1002, 'by the old name');
	INSERT INTO users (id, full_name) VALUES (1003, 'by the new name');
	UPDATE users SET full_name = 'new' WHERE id = 5;
	UPDATE users SET name = 'old' WHERE id = 6;
	UPDATE users SET id = 7000 WHERE id = 7;
	UPDATE users SET full_name = NULL WHERE id = 8;
));
$publisher->wait_for_catchup('s');
is( $subscriber->safe_psql('postgres', 'SELECT count(*) FROM users WHERE name IS DISTINCT FROM full_name'),
	0, 'both sides: every applied row is in sync');
is( $subscriber->safe_psql('postgres', 'SELECT md5(string_agg(id || coalesce(name, $$-$$), $$,$$ ORDER BY id)) FROM users'),
	$publisher->safe_psql('postgres', 'SELECT md5(string_agg(id || coalesce(name, $$-$$), $$,$$ ORDER BY id)) FROM users'),
	'both sides: and has what was written');

# The backfill itself is replicated.
is($publisher->psql('postgres', "CALL zdm.backfill('$migration')"), 0, 'both sides: backfill of the publisher');
$publisher->wait_for_catchup('s');
check_sync($publisher, 'publisher');
check_sync($subscriber, 'subscriber');
my $all = 'SELECT md5(string_agg(id || coalesce(name, $$-$$) || coalesce(full_name, $$-$$), $$,$$ ORDER BY id)) FROM users';
is($subscriber->safe_psql('postgres', $all), $publisher->safe_psql('postgres', $all), 'both sides: the same');

# With a quarantine the names are swapped on one side before the other.
is($subscriber->safe_psql('postgres', "SELECT zdm.contract('$migration', '1 day')"), 'contracted', 'subscriber: contracted');
$publisher->safe_psql(
	'postgres', q(
	UPDATE users SET full_name = 'newer' WHERE id = 5;
	UPDATE users SET name = 'older' WHERE id = 6;
	INSERT INTO users (id, full_name) VALUES (1004, 'another');
));
$publisher->wait_for_catchup('s');
is($subscriber->safe_psql('postgres', $all), $publisher->safe_psql('postgres', $all), 'subscriber contracted: the same');
is($publisher->safe_psql('postgres', "SELECT zdm.contract('$migration', '1 day')"), 'contracted', 'publisher: contracted');
$publisher->safe_psql(
	'postgres', q(
	UPDATE users SET full_name = 'newest' WHERE id = 5;
	UPDATE users SET name = 'oldest' WHERE id = 6;
	INSERT INTO users (id, name) VALUES (1005, 'one more');
	DELETE FROM users WHERE id = 1001;
));
$publisher->wait_for_catchup('s');
is($subscriber->safe_psql('postgres', $all), $publisher->safe_psql('postgres', $all), 'both contracted: the same');

# The publisher drops the old name first, for the subscriber must have every
# column that comes.
is($publisher->safe_psql('postgres', "SELECT zdm.contract('$migration', '0')"), 'finished', 'publisher: finished');
$publisher->safe_psql('postgres', "UPDATE users SET full_name = 'last' WHERE id = 9; INSERT INTO users (id, full_name) VALUES (1006, 'the very last')");
$publisher->wait_for_catchup('s');
check_sync($subscriber, 'publisher finished');
is($subscriber->safe_psql('postgres', "SELECT zdm.contract('$migration', '0')"), 'finished', 'subscriber: finished');
$publisher->safe_psql('postgres', "DELETE FROM users WHERE id = 10");
$publisher->wait_for_catchup('s');
my $last = 'SELECT md5(string_agg(u::text, $$,$$ ORDER BY id)) FROM (SELECT id, hits, full_name FROM users) u';
is($subscriber->safe_psql('postgres', $last), $publisher->safe_psql('postgres', $last), 'both finished: the same');
my $log = slurp_file($subscriber->logfile);
unlike($log, qr/logical replication .* ERROR|ERROR:.*logical replication target/, 'replication never stopped');

$subscriber->stop;
$publisher->stop;
done_testing();
