# While other sessions run statements a backfill goes gently: short batches,
# with pauses in between that leave it a small part of the time; and it says so.
# While nobody does, or where zdm.backfill_pause says otherwise, it does not.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";
use IPC::Run;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time usleep);
use ZdmSession;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf(
	'postgresql.conf', q(
fsync = off
log_statement = none
autovacuum = off
zdm.auto_start = off
zdm.batch_target = 200ms
zdm.vacuum_after = 0
));
$node->start;

# A function that takes its time, so that there is enough to do.
$node->safe_psql(
	'postgres', q(
	CREATE EXTENSION zdm;
	CREATE TABLE other (id int);
	CREATE FUNCTION slow(value int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS
		'DECLARE x int := value; BEGIN FOR i IN 1 .. 300 LOOP x := x # i; END LOOP; RETURN x; END';
));

# Each row that the backfill has done goes into an index that takes long.
sub expand
{
	my ($name, $rows) = @_;
	$node->safe_psql(
		'postgres', qq(
		CREATE TABLE $name (id int, name text, label text);
		INSERT INTO $name SELECT i, 'user ' || i FROM generate_series(1, $rows) i;
		CREATE INDEX ON $name (slow(id)) WHERE label IS NOT NULL;
		SELECT zdm._sync_columns('$name', '{name}', '{label}', '{upper(name)}', '{lower(label)}', '$name');
	));
	return;
}

my $me = ZdmSession->new(sub { return $node->connstr('postgres') }, name => 'the test');

sub query
{
	my ($sql) = @_;
	my ($output, $state) = $me->run($sql);
	die "$sql: $output" if $state ne '00000';
	return $output;
}

# Somebody who sends a statement every few milliseconds until he is stopped.
sub start_others
{
	my $script = PostgreSQL::Test::Utils::tempdir() . '/others.sql';
	PostgreSQL::Test::Utils::append_to_file($script, "SELECT count(*) FROM other;\n\\sleep 3 ms\n") unless -e $script;
	my $pgbench = IPC::Run::start(
		[ 'pgbench', '-n', '-c', '2', '-T', '300', '-f', $script, $node->connstr('postgres') ],
		'>', \my $out, '2>', \my $err);
	ok($node->poll_query_until('postgres', "SELECT count(*) = 2 FROM pg_stat_activity WHERE query = 'SELECT count(*) FROM other;'"),
		'others are at work');
	return $pgbench;
}

sub stop_others
{
	my ($pgbench) = @_;
	$pgbench->kill_kill;
	ok($node->poll_query_until('postgres', "SELECT count(*) = 0 FROM pg_stat_activity WHERE query = 'SELECT count(*) FROM other;'"),
		'the others are gone');
	return;
}

# The share of the time between two looks in which the migration's loop worked.
sub busy
{
	my ($name, $seconds) = @_;
	my $look = "SELECT extract(epoch FROM clock_timestamp()), extract(epoch FROM sum(busy)), min(p.batch_blocks), min(state)"
	  . " FROM zdm.backfill_range r JOIN zdm.migration m ON m.id = r.migration_id"
	  . " JOIN zdm.progress p USING (state) WHERE m.name = '$name' AND p.migration = m.name";
	my @from = split /\|/, query($look);
	usleep($seconds * 1e6);
	my @to = split /\|/, query($look);
	my $share = ($to[1] - $from[1]) / ($to[0] - $from[0]);
	note(sprintf '%s: worked %.2f of %.2f s, a batch of %d blocks', $name, $to[1] - $from[1], $to[0] - $from[0], $to[2]);
	is($to[3], 'expanded', "$name: there was enough to do");
	return ($share, $to[2]);
}

sub waiting_for
{
	my ($name) = @_;
	return query("SELECT coalesce(waiting_for, 'nothing') FROM zdm.progress WHERE migration = '$name'");
}

sub poll_waiting_for
{
	my ($name, $pattern, $what) = @_;
	my $deadline = time() + 30;
	my $got;

	# Seldom, so as not to be one of the others.
	while (($got = waiting_for($name)) !~ $pattern && time() < $deadline) { usleep(400_000); }
	like($got, $pattern, $what);
	return;
}

expand('gentle', 1_000_000);
my $others = start_others();
query(q(SELECT zdm.start('gentle', workers => 1)));
poll_waiting_for('gentle', qr/^statements of other sessions: short batches.*zdm\.backfill_pause/, 'beside others: says so');
my ($gently, $gentle_blocks) = busy('gentle', 2);
cmp_ok($gently, '<', 0.2, 'beside others: works a small part of the time');

# The user wants it fast: at the next batch.
$node->append_conf('postgresql.conf', "zdm.backfill_pause = 0\n");
$node->reload;
poll_waiting_for('gentle', qr/^nothing$/, 'zdm.backfill_pause = 0: says nothing');
my ($fast, $fast_blocks) = busy('gentle', 2);
cmp_ok($fast, '>', 0.6, 'zdm.backfill_pause = 0: does not pause');
cmp_ok($fast_blocks, '>', $gentle_blocks, 'beside others: batches are shorter');

$node->append_conf('postgresql.conf', "zdm.backfill_pause = -1\n");
$node->reload;
poll_waiting_for('gentle', qr/^statements of other sessions/, 'at the default again: says so');
stop_others($others);
poll_waiting_for('gentle', qr/^nothing$/, 'alone: says nothing');
my ($alone) = busy('gentle', 2);
cmp_ok($alone, '>', 0.6, 'alone: does not pause');
is(query("SELECT count(*) FROM zdm.events WHERE event = 'waiting'"), 0, 'going gently is no event');

# A transaction that is idle, and one long statement, are nobody at work.
my $idle = ZdmSession->new(sub { return $node->connstr('postgres') }, name => 'idle');
$idle->run('BEGIN; SELECT count(*) FROM other');
my $long = ZdmSession->new(sub { return $node->connstr('postgres') }, name => 'long');
$long->connect;
$long->send('SELECT pg_sleep(3)');
my ($beside) = busy('gentle', 2);
cmp_ok($beside, '>', 0.6, 'beside an idle transaction and a long statement: does not pause');
$_->disconnect for ($idle, $long);

# In the foreground it is the same; and all of it comes to its end.
query(q(SELECT zdm.rollback('gentle')));
$others = start_others();
expand('foreground', 20_000);
my $foreground = ZdmSession->new(sub { return $node->connstr('postgres') }, name => 'foreground');
$foreground->connect;
$foreground->send(q(CALL zdm.backfill('foreground')));
ok($node->poll_query_until('postgres', "SELECT rows_done > 0 FROM zdm.progress WHERE migration = 'foreground'"), 'in the foreground: begins');
($gently) = busy('foreground', 0.5);
cmp_ok($gently, '<', 0.2, 'in the foreground: works a small part of the time');
stop_others($others);
my (undef, $state) = $foreground->receive;
is($state, '00000', 'in the foreground: comes to its end');
is(query('SELECT count(*) FILTER (WHERE label = upper(name)) FROM foreground'), 20_000, 'in the foreground: every row is done');

$node->stop;
done_testing();
