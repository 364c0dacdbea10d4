# Background workers: where no slot is free, who picks up what is queued, several
# workers on one table and on partitions, workers that are killed, whom they
# wait for and how long, and what happens with a transaction that does not
# commit at once, or never.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time usleep);
use ZdmSession;

# So slow that it lasts until it is told to be fast.
my $slow = "zdm.batch_target = 1ms\nzdm.backfill_pause = 200\n";
my $fast = "zdm.batch_target = 25ms\nzdm.backfill_pause = 0\n";

# Long batches without a pause: several workers are in them at a time.
my $long = "zdm.batch_target = 100ms\nzdm.backfill_pause = 0\n";

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf(
	'postgresql.conf', qq(
fsync = off
log_statement = none
autovacuum = off
restart_after_crash = on
max_prepared_transactions = 2
max_logical_replication_workers = 0
max_parallel_workers = 0
max_worker_processes = 1
zdm.auto_start = off
zdm.vacuum_after = 0
zdm.launcher_naptime = 1
));
$node->start;
$node->safe_psql(
	'postgres', q(
	CREATE EXTENSION zdm;
	CREATE FUNCTION slow(value int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS
		'DECLARE x int := value; BEGIN FOR i IN 1 .. 20000 LOOP x := x # i; END LOOP; RETURN x; END';
));

sub configure
{
	my ($settings) = @_;
	$node->append_conf('postgresql.conf', $settings);
	$node->reload;
	return;
}

sub restart_with
{
	my ($settings) = @_;
	$node->append_conf('postgresql.conf', $settings);
	$node->restart;
	return;
}

sub query
{
	my ($sql, $database) = @_;
	return $node->safe_psql($database // 'postgres', $sql);
}

sub poll
{
	my ($sql, $what, $database) = @_;
	ok($node->poll_query_until($database // 'postgres', $sql), $what);
	return;
}

# A statement that succeeds, and its messages.
sub messages
{
	my ($sql, $what) = @_;
	my ($status, $out, $err) = $node->psql('postgres', $sql);
	is($status, 0, $what) or diag($err);
	return $err;
}

# A table of so many rows, of which a heap block holds few where they are wide.
sub create
{
	my ($name, $rows, $width) = @_;
	$width //= 1;
	query(qq(
		CREATE TABLE $name (id int, name text, filler text);
		INSERT INTO $name SELECT i, 'user ' || i, repeat('x', $width) FROM generate_series(1, $rows) i));
	return;
}

sub expand
{
	my ($name, $rows, $width) = @_;
	create($name, $rows, $width);
	query("SELECT zdm.rename_column('$name', 'name', 'full_name', migration => '$name')");
	return;
}

# Each row that is filled goes into an index that takes about a millisecond.
sub slow_down
{
	my ($name) = @_;
	query("CREATE INDEX ON $name (slow(id)) WHERE full_name IS NOT NULL");
	return;
}

sub progress
{
	my ($name, $what) = @_;
	return query("SELECT $what FROM zdm.progress JOIN zdm.status USING (migration, state) WHERE migration = '$name'");
}

sub poll_progress
{
	my ($name, $condition, $what) = @_;
	poll("SELECT $condition FROM zdm.progress JOIN zdm.status USING (migration, state) WHERE migration = '$name'", $what);
	return;
}

# Every row is done, and was done once.
sub is_done
{
	my ($name, $rows, $what) = @_;
	poll_progress($name, "state = 'ready' AND workers = 0", "$what: ready");
	is(query("SELECT count(*) FILTER (WHERE full_name = name) FROM $name"), $rows, "$what: every row is done");
	is( query("SELECT sum(rows_changed) FROM zdm.backfill_range r"
			  . " JOIN zdm.migration m ON m.id = r.migration_id WHERE m.name = '$name'"),
		$rows, "$what: and was done once");
	return;
}

# Ranges that somebody is in the middle of.
my $begun = "SELECT count(*) FROM zdm.backfill_range r JOIN zdm.migration m ON m.id = r.migration_id"
  . " WHERE next_block > first_block AND next_block < end_block AND m.name = ";

sub session
{
	my ($name) = @_;
	my $session = ZdmSession->new(sub { return $node->connstr('postgres') }, name => $name);
	$session->connect;
	return $session;
}

#
# One slot, and somebody has it
#
configure($slow);
expand('holder', 20_000, 500);
expand('ready', 10);
query("CALL zdm.backfill('ready')");
query("SELECT zdm.start('holder', workers => 1)");
poll_progress('holder', 'workers = 1', 'the slot is taken');

expand('queued', 100);
my $err = messages("SELECT zdm.start('queued', workers => 2)", 'no free slot: the call succeeds');
like($err, qr/WARNING:  no background worker is free for migration "queued": it stays queued/, 'no free slot: a warning');
like($err, qr/HINT:  .*SELECT zdm\.start\('queued'\).*max_worker_processes/, 'no free slot: what to run');
is(() = $err =~ /WARNING/g, 1, 'no free slot: one warning for two workers');
is(progress('queued', "workers || ' ' || next_command"), "0 SELECT zdm.start('queued', workers => 2)", 'no free slot: the next command');

# An expand in a transaction is no different: the deployment does not fail.
create('deployed', 100);
$err = messages(
	"BEGIN; SET LOCAL zdm.auto_start = on;"
	  . " SELECT zdm.rename_column('deployed', 'name', 'full_name', migration => 'deployed'); COMMIT",
	'no free slot: expand commits');
like($err, qr/WARNING:  no background worker is free for migration "deployed"/, 'no free slot: expand warns');
is(progress('deployed', "state || ' ' || workers"), 'expanded 0', 'no free slot: expand queues it');

# A call for another migration does not bother its user with it.
my $log = -s $node->logfile;
$err = messages("SELECT count(*) FROM zdm.verify('ready')", 'another call');
unlike($err, qr/WARNING/, 'another call: its user is not warned');
like(slurp_file($node->logfile, $log), qr/LOG:  no background worker is free for migration "(?:queued|deployed)"/,
	'another call: the log says it');

# Unless he asks for it himself in the same transaction: then he is told of it,
# though another one has come first.
$err = messages("BEGIN; SELECT count(*) FROM zdm.verify('ready'); SELECT zdm.start('deployed'); COMMIT",
	'another call, and his own');
like($err, qr/WARNING:  no background worker is free for migration "deployed"/, 'another call, and his own: he is warned of his own');
unlike($err, qr/for migration "queued"/, 'another call, and his own: and of no other');
$err = messages("BEGIN; SELECT zdm.start('queued', workers => 2); SELECT zdm.start('deployed'); COMMIT", 'two of his own');
is(join(' ', sort $err =~ /WARNING:  no .* for migration "(\w+)"/g), 'deployed queued', 'two of his own: a warning for each');

# The slot becomes free; any call takes care of what is queued.
messages("SELECT zdm.pause('holder')", 'the holder is paused');
poll_progress('holder', 'workers = 0', 'the slot is free');
configure($fast);
for my $name ('queued', 'deployed')
{
	next if progress($name, 'state') eq 'ready';
	query("SELECT * FROM zdm.verify('ready')");
	poll_progress($name, "state = 'ready' OR workers = 0", "another call picks up");
}
messages("CALL zdm.wait('deployed', '60 s')", 'a wait picks up its own');
messages("CALL zdm.wait('queued', '60 s')", 'a wait picks up its own again');
is_done($_, 100, "$_, when there was a slot") for ('queued', 'deployed');

# Without any: a session builds no index and says so, and does all the rest.
expand('plain', 100);
create('indexed', 100);
query('CREATE INDEX ON indexed (name)');
query("SELECT zdm.rename_column('indexed', 'name', 'full_name', migration => 'indexed')");
restart_with("max_worker_processes = 0\n");
messages("CALL zdm.backfill('plain')", 'no slot at all: the backfill in a session');
is_done('plain', 100, 'no slot at all');
my ($status, $out);
($status, $out, $err) = $node->psql('postgres', "SET zdm.lock_patience = '1s'; CALL zdm.backfill('indexed')");
isnt($status, 0, 'no slot at all: an index is not built');
like($err, qr/DETAIL:  It waits for a free background worker \(max_worker_processes\), to build the indexes/,
	'no slot at all: says what it waits for');
like($err, qr/HINT:  .*run the same call again/, 'no slot at all: what to run');
restart_with("max_worker_processes = 8\n");
messages("CALL zdm.backfill('indexed')", 'the same call with slots');
is_done('indexed', 100, 'the same call with slots');

#
# Transactions that do not commit, or later
#
expand('later', 100);
my $rolled = session('rolls back');
$rolled->run("BEGIN; SELECT zdm.start('later', workers => 2)");
is(progress('later', 'workers'), 0, 'before the commit nobody begins');
$rolled->run('ROLLBACK');
$rolled->run("BEGIN; SAVEPOINT s; SELECT zdm.start('later'); ROLLBACK TO s; SELECT zdm.verify('ready'); COMMIT");
usleep(300_000);
is(progress('later', "workers || ' ' || rows_done"), '0 0', 'after a rollback nobody does');
$rolled->disconnect;

create('prepared', 100);
messages(
	"BEGIN; SET LOCAL zdm.auto_start = on; SELECT zdm.rename_column('prepared', 'name', 'full_name', migration => 'prepared');"
	  . " PREPARE TRANSACTION 'expand'", 'expand is prepared');
messages("COMMIT PREPARED 'expand'", 'and committed');
usleep(300_000);
is(progress('prepared', "workers || ' ' || next_command"), "0 SELECT zdm.start('prepared')", 'prepared: it is queued');
query("SELECT * FROM zdm.verify('ready')");
is_done('prepared', 100, 'prepared, after another call');

#
# Four workers, and other numbers
#
configure($long);
expand('four', 13200, 1900);
slow_down('four');
query("SELECT zdm.start('four', workers => 4)");
poll_progress('four', 'workers = 4', 'four workers on a table');
poll("$begun 'four'" =~ s/count\(\*\)/count(*) = 4/r, 'four workers on a table: each in a range of its own');
query("SELECT zdm.start('four', workers => 1)");
poll_progress('four', 'workers = 1', 'one worker from then on');
query("SELECT zdm.start('four', workers => 3)");
poll_progress('four', 'workers = 3', 'three from then on');
query("SELECT zdm.pause('four')");
my $done = progress('four', 'blocks_done');
poll_progress('four', 'workers = 0', 'none while it is paused');
is(progress('four', 'blocks_done'), $done, 'paused: nothing was done after the call');
configure($fast);
query("SELECT zdm.resume('four')");
is_done('four', 13200, 'four workers on a table');

configure($long);
query('CREATE TABLE parts (id int, name text, filler text) PARTITION BY HASH (id)');
query("CREATE TABLE parts_$_ PARTITION OF parts FOR VALUES WITH (MODULUS 4, REMAINDER $_)") for (0 .. 3);
query("INSERT INTO parts SELECT i, 'user ' || i, repeat('x', 1000) FROM generate_series(1, 2000) i");
query('CREATE INDEX ON parts (name)');
query("SELECT zdm.rename_column('parts', 'name', 'full_name', migration => 'parts')");
slow_down('parts');
query("SELECT zdm.start('parts', workers => 4)");
poll("$begun 'parts'" =~ s/count\(\*\)/count(DISTINCT r.relation) = 4/r, 'four workers on the leaves of a table');
configure($fast);
is_done('parts', 2000, 'four workers on the leaves of a table');
is( query("SELECT count(*) FROM pg_partition_tree('parts') p JOIN pg_index i ON i.indrelid = p.relid WHERE i.indisvalid"),
	15, 'four workers on the leaves of a table: every one has its index');

#
# Workers that are gone
#
configure($long);
expand('killed', 4400, 1900);
slow_down('killed');
query("SELECT zdm.start('killed', workers => 2)");
poll("$begun 'killed'" =~ s/count\(\*\)/count(*) = 2/r, 'killed: two ranges are begun');
my $workers = "FROM pg_stat_activity WHERE backend_type = 'zdm worker' AND application_name = 'killed'";
is(query("SELECT count(pg_terminate_backend(pid)) $workers"), 2, 'killed: both workers are terminated');
poll("SELECT count(*) = 0 $workers", 'killed: nobody is left');
is(progress('killed', 'next_command'), "SELECT zdm.start('killed', workers => 2)", 'killed: the next command');
my $halves = query("$begun 'killed'");
cmp_ok($halves, '>', 0, 'killed: ranges are half done');
query("SELECT * FROM zdm.verify('ready')");
poll_progress('killed', 'workers = 2', 'killed: another call brings two new ones');

# What they waited for has gone with them.
expand('waiter', 100);
query("SELECT zdm.start('waiter', throttle => 'SELECT true')");
poll_progress('waiter', "progress.waiting_for ~ 'throttle query' AND status.waiting_for ~ 'throttle query'", 'waiter: it says for what');
query("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'zdm worker' AND application_name = 'waiter'");
poll_progress('waiter', 'workers = 0', 'waiter: it is terminated');
is(progress('waiter', "(progress.waiting_for IS NULL AND waiting_since IS NULL AND status.waiting_for IS NULL)::text"), 'true', 'waiter: nobody waits any more');
query("SELECT zdm.rollback('waiter')");

# A kill takes the server with it.
my $pid = query("SELECT min(pid) $workers");
$node->poll_query_until('postgres', "$begun 'killed'" =~ s/count\(\*\)/count(*) > 0/r);
kill 'KILL', $pid;
poll("SELECT pg_postmaster_start_time() IS NOT NULL AND NOT pg_is_in_recovery() AND count(*) = 0 $workers", 'killed -9: the server is back, and no worker');
configure($fast);
query("SELECT * FROM zdm.verify('ready')");
is_done('killed', 4400, 'killed, terminated and killed -9');

# Nobody is to run it, and nobody does: that is an error, in the end.
my $nobody = session('waits for nobody');
expand('nobody', 10);
$nobody->send("CALL zdm.wait('nobody')");

#
# Patience
#
configure("zdm.worker_patience = '1s'\n");
expand('patient', 100);
my $holder = session('holds a row');
$holder->run('BEGIN; SELECT FROM patient WHERE id = 7 FOR UPDATE');
query("SELECT zdm.start('patient', workers => 1)");
($status, $out, $err) = $node->psql('postgres', "CALL zdm.wait('patient', '60 s')");
isnt($status, 0, 'a row is held: the wait ends');
like($err, qr/ERROR:  the backfill of migration "patient" has failed\nDETAIL:  .*made no progress for 1000 ms: It waits for row .* of table "patient", held by pid @{[$holder->pid]}/,
	'a row is held: says by whom');
like($err, qr/HINT:  .*SELECT zdm\.start\('patient'\)/, 'a row is held: what to run');
is(progress('patient', "(last_error ~ 'held by pid')::text || ' ' || next_command"), "true SELECT zdm.start('patient')",
	'a row is held: the status says so, too');
is(progress('patient', 'rows_done'), 100, 'a row is held: the others are done');
$holder->run('COMMIT');
query("SELECT zdm.start('patient', workers => 1)");
is_done('patient', 100, 'a row was held');

expand('locked', 100);
$holder->run('BEGIN; LOCK TABLE locked IN SHARE MODE');
query("SELECT zdm.start('locked', workers => 1)");
poll_progress('locked', q(last_error ~ 'made no progress for 1000 ms: It waits for table "locked", held by pid' AND workers = 0),
	'a table is locked: gives up, and says by whom');
$holder->run('COMMIT');
query("SELECT zdm.start('locked', workers => 1)");
is_done('locked', 100, 'a table was locked');

# An index waits for whoever can still see what was before it.
create('snapshot', 100);
query('CREATE INDEX ON snapshot (name)');
query("SELECT zdm.rename_column('snapshot', 'name', 'full_name', migration => 'snapshot')");
$holder->run('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM ready');
query("SELECT zdm.start('snapshot', workers => 1)");
poll_progress('snapshot',
	"last_error ~ 'the index build waited for more than 1000 ms: It waited for .*pid @{[$holder->pid]}' AND workers = 0",
	'an old snapshot: the index build gives up, and says whom it waited for');
$holder->run('COMMIT');
query("SELECT zdm.start('snapshot', workers => 1)");
is_done('snapshot', 100, 'an old snapshot is gone');
is(query("SELECT count(*) FILTER (WHERE indisvalid) || ' of ' || count(*) FROM pg_index WHERE indrelid = 'snapshot'::regclass"),
	'2 of 2', 'an old snapshot is gone: the index is there, and nothing else');
$holder->disconnect;

my ($answer, $state) = $nobody->receive;
like($answer, qr/ERROR:  nobody runs migration "nobody"\n.*SELECT zdm\.start\('nobody'\)/, 'a wait for nobody ends');
$nobody->disconnect;

#
# The launcher, in all databases
#
restart_with("shared_preload_libraries = 'zdm'\n$slow");
poll("SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'zdm launcher'", 'the launcher is there');
query("CREATE DATABASE $_") for ('one', 'two', 'without', 'closed');
for my $database ('one', 'two')
{
	query(
		qq(
		CREATE EXTENSION zdm;
		CREATE TABLE t (id int, name text, filler text);
		INSERT INTO t SELECT i, 'user ' || i, repeat('x', 1000) FROM generate_series(1, 5000) i;
		SELECT zdm.rename_column('t', 'name', 'full_name', migration => 't');
		SELECT zdm.start('t', workers => 2)), $database);
	poll("SELECT workers = 2 AND blocks_done > 0 FROM zdm.progress", "$database: at work", $database);
}
query('ALTER DATABASE closed ALLOW_CONNECTIONS false');
$log = -s $node->logfile;
$node->stop('immediate');
$node->append_conf('postgresql.conf', $fast);
$node->start;
for my $database ('one', 'two')
{
	poll("SELECT state = 'ready' FROM zdm.progress", "$database: the launcher brings it to its end", $database);
	is(query('SELECT count(*) FILTER (WHERE full_name = name) FROM t', $database), 5000, "$database: every row is done");
}
unlike(slurp_file($node->logfile, $log), qr/(?:ERROR|FATAL|PANIC|TRAP):? /, 'the launcher meets no error in any database');

$node->stop;
done_testing();
