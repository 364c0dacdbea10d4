# A backend that is killed in the middle of a batch, and a server that is, in
# every phase, with an application writing: the same call goes on, nothing that
# was acknowledged is lost, and both columns agree.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";
use IPC::Run;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);
use ZdmLoad;

my $migration = 'rename_users_name_to_full_name';
my $rows = 100_000;
my $seed = $ENV{ZDM_SEED} // int(rand(1_000_000));
diag "seed $seed (repeat with ZDM_SEED)";
srand($seed);

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', "zdm.auto_start = off\n");
$node->append_conf(
	'postgresql.conf', q(
restart_after_crash = on
checkpoint_timeout = 30s
zdm.lock_patience = 60s
));
$node->start;
$node->safe_psql(
	'postgres', qq(
	CREATE EXTENSION zdm;
	CREATE TABLE users (
		id int PRIMARY KEY,
		hits int NOT NULL DEFAULT 0,
		name text);
	CREATE INDEX ON users (name);
	INSERT INTO users (id, name) SELECT i, 'user ' || i FROM generate_series(100001, 100000 + $rows) i;
));

my $load = ZdmLoad->new($node, workers => 2, seed => $seed, crashes => 1);

sub query
{
	my ($sql) = @_;
	return $node->safe_psql('postgres', $sql);
}

sub state_is
{
	my ($state, $when) = @_;
	is(query("SELECT state FROM zdm.status"), $state, "$when: the migration is $state");
	return;
}

sub in_sync
{
	my ($when) = @_;
	is(query("SELECT mismatches FROM zdm.verify('$migration')"), 0, "$when: no mismatches");
	return;
}

# A backfill in small steps that takes long enough to be hit.
sub backfill_start
{
	my $run = { output => '' };

	local $ENV{PGOPTIONS} = '-c zdm.batch_target=1ms -c zdm.backfill_pause=5';
	$run->{handle} = IPC::Run::start(
		[
			'psql', '-X', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr('postgres'),
			'-c', "CALL zdm.backfill('$migration')"
		],
		'<', \undef, '>&', \$run->{output});
	return $run;
}

sub backfill_ended
{
	my ($run) = @_;
	$run->{handle}->finish;
	return $run->{handle}->result(0);
}

# Until the backfill has done that many blocks more, or is over.
sub blocks_done
{
	return query("SELECT blocks_done FROM zdm.progress");
}

sub wait_for_blocks
{
	my ($blocks) = @_;
	my $start = blocks_done();

	$node->poll_query_until('postgres',
		"SELECT blocks_done >= $start + $blocks OR state <> 'expanded' FROM zdm.progress")
	  or die 'the backfill does not move';
	return;
}

# Immediate shutdown, and up again, without a word to the application.
sub crash
{
	my ($when) = @_;

	usleep(rand(100_000));
	$node->stop('immediate');
	$node->start;
	ok(1, "$when: the server crashed and came back");
	$load->progress(50);
	return;
}

$load->start;
$load->progress(100);
crash('before anything');

# In the middle of expand's transaction.
my $half = IPC::Run::start(
	[
		'psql', '-Xq', '-d', $node->connstr('postgres'), '-c',
		"BEGIN; SELECT zdm.rename_column('users', 'name', 'full_name'); SELECT pg_sleep(180)"
	],
	'<', \undef, '>&', \my $half_output);
$node->poll_query_until('postgres',
	"SELECT count(*) = 1 FROM pg_stat_activity WHERE wait_event = 'PgSleep'")
  or die 'expand does not happen';
$node->stop('immediate');
$half->finish;
$node->start;
$load->progress(50);
is(query('SELECT count(*) FROM zdm.status'), 0, 'expand was cut off: no migration');
is(query("SELECT count(*) FROM pg_attribute WHERE attrelid = 'users'::regclass AND attname = 'full_name'"),
	0, 'expand was cut off: no column');

is(query("SELECT zdm.rename_column('users', 'name', 'full_name')"), $migration, 'expanded');
$load->names('old', 'new', 'filling');
$load->progress(50);
crash('after expand');
state_is('expanded', 'after expand');

# kill -9 of the backend that backfills: the server restarts all others.
for my $round (1 .. 2)
{
	my $run = backfill_start();
	wait_for_blocks(int(rand(30)));
	my $pid = query("SELECT pid FROM pg_stat_activity WHERE query LIKE 'CALL zdm.backfill%'");
	my $before = blocks_done();
	my $log = -s $node->logfile;
	usleep(rand(30_000));
	is(kill('KILL', $pid), 1, "kill -9 of the backend, round $round");
	isnt(backfill_ended($run), 0, 'its client notices');
	$node->wait_for_log(qr/all server processes terminated; reinitializing/, $log);
	$node->poll_query_until('postgres', 'SELECT true') or die 'the server does not come back';
	$load->progress(50);
	state_is('expanded', "after kill -9, round $round");
	cmp_ok(blocks_done(), '>=', $before - 10, 'nearly all that was done is kept');
}

# The whole server in mid backfill.
my $run = backfill_start();
wait_for_blocks(int(rand(50)));
crash('in mid backfill');
isnt(backfill_ended($run), 0, 'the client of the backfill notices');
state_is('expanded', 'in mid backfill');
my $done = blocks_done();
cmp_ok($done, '>', 0, "the backfill goes on at block $done");

# One that is cancelled, and one whose client is gone.
$run = backfill_start();
wait_for_blocks(5);
query("SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE query LIKE 'CALL zdm.backfill%'");
isnt(backfill_ended($run), 0, 'a cancelled backfill ends');
$run = backfill_start();
wait_for_blocks(5);
query("SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity WHERE query LIKE 'CALL zdm.backfill%'");
isnt(backfill_ended($run), 0, 'so does a terminated one');
cmp_ok(blocks_done(), '>=', $done, 'and what was done is kept');

is($node->psql('postgres', "CALL zdm.backfill('$migration')"), 0, 'the same call goes on to the end');
$load->names('old', 'new');
state_is('ready', 'after the backfill');
in_sync('ready');
crash('when ready');
state_is('ready', 'after the crash');
in_sync('after the crash');

is(query("SELECT zdm.contract('$migration', '1 day')"), 'contracted', 'contract');
crash('contracted');
state_is('contracted', 'after the crash');
in_sync('contracted');

$load->names('new');
is(query("SELECT zdm.contract('$migration', '0')"), 'finished', 'finish');
crash('finished');
$load->stop;

is(query('SELECT count(*) FROM zdm.status'), 0, 'finished: no migration in flight');
is_deeply([ $load->failed ], [], 'no statement failed but those that were cut off');
is_deeply([ $load->compare('full_name') ], [], 'what was acknowledged is there');
is(query("SELECT count(*) FROM users WHERE id > 100000 AND full_name = 'user ' || id"),
	$rows, 'nor did a row change that nobody wrote');
is(query("SELECT string_agg(attname, ' ' ORDER BY attnum) FROM pg_attribute"
	  . " WHERE attrelid = 'users'::regclass AND attnum > 0 AND NOT attisdropped"),
	'id hits full_name', 'the columns are those of a plain rename');
note sprintf('%d statements', $load->statements);

$node->stop;
done_testing();
