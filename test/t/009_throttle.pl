# A backfill waits for replicas, for the WAL archiver, for its own WAL rate and
# for the owner's query; says so in zdm.progress; and goes on by itself.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $rows = 20_000;

# Slow enough that every hold comes before the end.
my $slow = "zdm.batch_target = 1ms\nzdm.backfill_pause = 100\n";
my $fast = "zdm.batch_target = 25ms\nzdm.backfill_pause = 0\n";
my $no_limits = "zdm.max_replication_lag = 0\nzdm.max_archive_backlog = 0\nzdm.max_wal_rate = 0\n";

my $node = PostgreSQL::Test::Cluster->new('publisher');
$node->init(allows_streaming => 'logical', extra => ['--wal-segsize=1']);
$node->append_conf(
	'postgresql.conf', qq(
log_statement = none
max_wal_size = 64MB
min_wal_size = 8MB
archive_mode = on
archive_command = 'true'
zdm.auto_start = off
$no_limits));
$node->start;
$node->safe_psql(
	'postgres', q(
	CREATE EXTENSION zdm;
	CREATE ROLE alice LOGIN;
	CREATE ROLE bob;
	GRANT CREATE, USAGE ON SCHEMA public TO alice, bob;
	CREATE TABLE feed (id int PRIMARY KEY);
	CREATE PUBLICATION p FOR TABLE feed;
));

sub configure
{
	my ($settings) = @_;
	$node->append_conf('postgresql.conf', $settings);
	$node->reload;
	return;
}

# SQL as the owner of the tables.
sub as_alice
{
	my ($sql) = @_;
	return $node->safe_psql('postgres', $sql, extra_params => [ '-U', 'alice' ]);
}

# The error that SQL of the owner's gives.
sub refused
{
	my ($sql, $like, $what) = @_;
	my ($status, $out, $err) = $node->psql('postgres', $sql, extra_params => [ '-U', 'alice' ]);
	is($status, 3, "$what: refused");
	like($err, $like, "$what: and says why");
	like($err, qr/HINT:  .*zdm\.start\(/, "$what: and what to run");
	return;
}

# A migration with something to backfill; its name is the table's.
sub expand
{
	my ($name) = @_;
	as_alice(
		qq(
		CREATE TABLE $name (id int PRIMARY KEY, name text, filler text);
		INSERT INTO $name SELECT i, 'user ' || i, repeat('x', 100) FROM generate_series(1, $rows) i;
		SELECT zdm.rename_column('$name', 'name', 'full_name', migration => '$name');
	));
	return;
}

sub progress
{
	my ($name, $what) = @_;
	return $node->safe_psql('postgres', "SELECT $what FROM zdm.progress WHERE migration = '$name'");
}

sub poll
{
	my ($sql, $what) = @_;
	ok($node->poll_query_until('postgres', $sql), $what);
	return;
}

sub waits
{
	my ($name, $pattern, $what) = @_;
	poll("SELECT coalesce((SELECT waiting_for ~ '$pattern' FROM zdm.progress WHERE migration = '$name'), false)", "$what: waits");
	return;
}

# It comes to wait for that, and stays there: no block is done for a second.
sub is_held
{
	my ($name, $pattern, $what) = @_;
	waits($name, $pattern, $what);
	note(progress($name, 'waiting_for'));
	poll("SELECT waiting_since + '1 s' < clock_timestamp() FROM zdm.progress WHERE migration = '$name'", "$what: since a second");
	my $done = progress($name, 'blocks_done');
	poll("SELECT waiting_since + '2 s' < clock_timestamp() FROM zdm.progress WHERE migration = '$name'", "$what: since two");
	is(progress($name, "state || ' ' || blocks_done"), "expanded $done", "$what: and does nothing meanwhile");
	is(as_alice("SELECT waiting_for ~ '$pattern' FROM zdm.status WHERE migration = '$name'"), 't', "$what: the owner sees it");
	return;
}

# It goes on without a new call.
sub goes_on
{
	my ($name, $what) = @_;
	poll("SELECT coalesce((SELECT waiting_for IS NULL OR state = 'ready' FROM zdm.progress WHERE migration = '$name'), false)",
		"$what: goes on");
	return;
}

# And comes to its end.
sub is_ready
{
	my ($name, $what) = @_;
	configure($fast . $no_limits);
	is($node->psql('postgres', "CALL zdm.wait('$name', '60 s')", extra_params => [ '-U', 'alice' ]), 0, "$what: comes to its end");
	is(progress($name, "state || coalesce(waiting_for || waiting_since, '')"), 'ready', "$what: ready, and waits for nobody");
	is($node->safe_psql('postgres', "SELECT count(*) FILTER (WHERE full_name = name) FROM $name"), $rows, "$what: every row is done");
	return;
}

# It ends with an error, which zdm.status keeps.
sub fails
{
	my ($name, $pattern, $what) = @_;
	poll("SELECT coalesce((SELECT last_error ~ '$pattern' FROM zdm.status WHERE migration = '$name'), false)", "$what: stops with an error");
	note($node->safe_psql('postgres', "SELECT last_error FROM zdm.status WHERE migration = '$name'"));
	poll("SELECT workers = 0 AND waiting_for IS NULL FROM zdm.progress WHERE migration = '$name'", "$what: and nobody works or waits");
	is(progress($name, 'state'), 'expanded', "$what: the migration is where it was");
	return;
}

#
# A physical standby whose replay stands still
#
$node->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'base', has_streaming => 1);
$standby->append_conf('postgresql.conf', "archive_mode = off\nwal_receiver_status_interval = 1s\n");
$standby->start;
$node->wait_for_catchup($standby, 'replay', $node->lsn('insert'));

configure($slow . "zdm.max_replication_lag = 500ms\n");
expand('replica');
$standby->safe_psql('postgres', 'SELECT pg_wal_replay_pause()');
as_alice("SELECT zdm.start('replica', workers => 1)");
is_held('replica', '^replica "standby" \(pid \d+\)', 'paused replay');
$standby->safe_psql('postgres', 'SELECT pg_wal_replay_resume()');
goes_on('replica', 'resumed replay');
is_ready('replica', 'resumed replay');

# The setting is read again between two batches.
configure($slow . "zdm.max_replication_lag = 500ms\n");
expand('setting');
$standby->safe_psql('postgres', 'SELECT pg_wal_replay_pause()');
as_alice("SELECT zdm.start('setting', workers => 1)");
is_held('setting', '^replica "standby"', 'setting');
configure("zdm.max_replication_lag = 0\n");
goes_on('setting', 'setting at 0');
is($standby->safe_psql('postgres', 'SELECT pg_is_wal_replay_paused()'), 't', 'setting at 0: the replica still stands');
is_ready('setting', 'setting at 0');
$standby->safe_psql('postgres', 'SELECT pg_wal_replay_resume()');
$standby->stop;

#
# A logical subscriber that cannot apply
#
my $subscriber = PostgreSQL::Test::Cluster->new('subscriber');
$subscriber->init;
$subscriber->append_conf('postgresql.conf', "max_prepared_transactions = 1\nwal_receiver_status_interval = 1s\n");
$subscriber->start;
$subscriber->safe_psql('postgres', 'CREATE TABLE feed (id int PRIMARY KEY)');
$subscriber->safe_psql('postgres', "CREATE SUBSCRIPTION behind CONNECTION '" . $node->connstr . " dbname=postgres' PUBLICATION p");
$subscriber->wait_for_subscription_sync($node, 'behind');

configure($slow . "zdm.max_replication_lag = 500ms\n");
expand('subscriber');
$subscriber->safe_psql('postgres', "BEGIN; LOCK TABLE feed; PREPARE TRANSACTION 'blocks the apply worker'");
$node->safe_psql('postgres', 'INSERT INTO feed VALUES (1)');
as_alice("SELECT zdm.start('subscriber', workers => 1)");
is_held('subscriber', '^replica "behind" \(pid \d+\)', 'subscriber behind');
$subscriber->safe_psql('postgres', "ROLLBACK PREPARED 'blocks the apply worker'");
goes_on('subscriber', 'subscriber there again');
is_ready('subscriber', 'subscriber there again');
$node->wait_for_catchup('behind');
$subscriber->safe_psql('postgres', 'DROP SUBSCRIPTION behind');
$subscriber->stop;

#
# The archiver
#
configure("archive_command = 'false'\nzdm.max_archive_backlog = 2MB\n" . $slow);
expand('archive');
for my $id (10 .. 13)
{
	$node->safe_psql('postgres', "INSERT INTO feed VALUES ($id)");
	$node->safe_psql('postgres', 'SELECT pg_switch_wal()');
}
as_alice("SELECT zdm.start('archive', workers => 1)");
is_held('archive', '^the WAL archiver: more than 2MB', 'archiver behind');
configure("archive_command = 'true'\n");
goes_on('archive', 'archiver there again');
is_ready('archive', 'archiver there again');

#
# Its own WAL
#
configure($fast . "zdm.max_wal_rate = 128kB\n");
expand('rate');
as_alice("SELECT zdm.start('rate', workers => 1)");
is_held('rate', '^the rate of its own WAL: at most 128kB', 'WAL rate');
goes_on('rate', 'WAL rate');
is_ready('rate', 'WAL rate');

# With small batches it is held by short pauses.
my $rate = 1024;
configure("zdm.batch_target = 1ms\nzdm.backfill_pause = 0\nzdm.max_wal_rate = ${rate}kB\n");
expand('paced');
my $start = $node->safe_psql('postgres', 'SELECT extract(epoch FROM clock_timestamp())');
my $lsn = $node->lsn('insert');
as_alice("SELECT zdm.start('paced', workers => 1); CALL zdm.wait('paced', '60 s')");
my ($kb, $seconds) = split /\|/,
  $node->safe_psql('postgres', "SELECT round(pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '$lsn') / 1024), extract(epoch FROM clock_timestamp()) - $start");
note("$kb kB of WAL in $seconds s");
cmp_ok($kb, '>', 3 * $rate, 'WAL rate: enough was written to tell');
cmp_ok($kb / $seconds, '<', 1.4 * $rate, 'WAL rate: holds over the whole backfill');
is_ready('paced', 'WAL rate, paced');

#
# The owner's query
#
as_alice('CREATE TABLE gate (closed bool); INSERT INTO gate VALUES (true)');
configure($slow);
expand('query');
refused("SELECT zdm.start('query', throttle => 'SELECT 1')", qr/role "alice": its result is not one column of type boolean/, 'not a boolean');
refused("SELECT zdm.start('query', throttle => 'SELECT true; SELECT true')", qr/it is not one SELECT statement/, 'two statements');
refused("SELECT zdm.start('query', throttle => 'DELETE FROM public.gate')", qr/it is not one SELECT statement/, 'not a SELECT');
refused("SELECT zdm.start('query', throttle => 'COPY public.gate TO STDOUT')", qr/it is not one SELECT statement/, 'COPY');
refused("SELECT zdm.start('query', throttle => 'SELECT closed FROM public.gate FOR UPDATE')", qr/that only reads/, 'FOR UPDATE');
refused("SELECT zdm.start('query', throttle => 'WITH d AS (DELETE FROM public.gate RETURNING true) SELECT * FROM d')", qr/that only reads/, 'a CTE that writes');
refused("SELECT zdm.start('query', throttle => 'SELECT closed FROM gate')", qr/relation "gate" does not exist/, 'an unqualified name');
refused("SELECT zdm.start('query', throttle => 'SELECT count(*) > 0 FROM pg_authid')", qr/permission denied/, 'what the owner may not read');
is(progress('query', 'workers'), 0, 'none of these has started it');

as_alice("SELECT zdm.start('query', workers => 1, throttle => 'SELECT closed FROM public.gate')");
is_held('query', '^the throttle query of role "alice"$', 'query');
as_alice('UPDATE gate SET closed = NULL');
goes_on('query', 'query gives NULL');
as_alice('UPDATE gate SET closed = true');
is_held('query', '^the throttle query of role "alice"$', 'query again');
as_alice('DELETE FROM gate');
goes_on('query', 'query gives no row');
is_ready('query', 'query');

# What passed the check, and became bad later.
configure($slow);
expand('changed');
as_alice(
	q(
	INSERT INTO gate VALUES (true);
	CREATE FUNCTION f() RETURNS bool LANGUAGE sql AS 'SELECT closed FROM public.gate';
	SELECT zdm.start('changed', workers => 1, throttle => 'SELECT public.f()');
));
is_held('changed', '^the throttle query', 'function');
my %bad = (
	'ALTER ROLE alice SUPERUSER' => 'cannot execute ALTER ROLE in a read-only transaction',
	'SET ROLE bob' => 'cannot set parameter "role"',
	'RESET SESSION AUTHORIZATION' => 'cannot set parameter "session_authorization"',
	'INSERT INTO public.gate VALUES (false)' => 'cannot execute INSERT in a read-only transaction',
	'RESET transaction_read_only; INSERT INTO public.gate VALUES (false)' => '(it writes|cannot be reset)',
	'DROP TABLE public.changed' => 'cannot execute DROP TABLE in a read-only transaction',
	'SELECT pg_sleep(1000)' => 'it took longer than 5 s',
	'COMMIT' => 'EXECUTE of transaction commands',);
for my $statement (sort keys %bad)
{
	as_alice("CREATE OR REPLACE FUNCTION f() RETURNS bool LANGUAGE plpgsql AS 'BEGIN EXECUTE \$x\$$statement\$x\$; RETURN true; END'");
	fails('changed', "^throttle query of role \"alice\": .*$bad{$statement}", $statement);
	as_alice("CREATE OR REPLACE FUNCTION f() RETURNS bool LANGUAGE sql AS 'SELECT closed FROM public.gate'");
	as_alice("SELECT zdm.start('changed', workers => 1, throttle => 'SELECT public.f()')");
	waits('changed', '^the throttle query', 'started again');
}
is($node->safe_psql('postgres', "SELECT rolsuper FROM pg_roles WHERE rolname = 'alice'"), 'f', 'alice is who she was');
is($node->safe_psql('postgres', 'SELECT count(*) FILTER (WHERE closed), count(*) FROM gate'), '1|1', 'and nothing was written');

# What the queries did reaches nothing else.
as_alice(q(CREATE OR REPLACE FUNCTION f() RETURNS bool LANGUAGE plpgsql AS 'BEGIN SET CONSTRAINTS ALL DEFERRED; PERFORM set_config($$search_path$$, $$public$$, false), set_config($$zdm.batch_target$$, $$60s$$, false); NOTIFY x; RETURN (SELECT closed FROM public.gate); END'));
as_alice('UPDATE gate SET closed = false');
goes_on('changed', 'a query with effects of its own');
is_ready('changed', 'a query with effects of its own');

# Who has another name by now is who gave it.  In another cluster his name says
# who he is, for the number there is somebody else's, or nobody's.
configure($slow);
expand('renamed');
as_alice('UPDATE gate SET closed = true');
as_alice("SELECT zdm.start('renamed', workers => 1, throttle => 'SELECT closed FROM public.gate')");
is_held('renamed', '^the throttle query of role "alice"$', 'before the new name');
$node->safe_psql('postgres', 'ALTER ROLE alice RENAME TO alicia; CREATE ROLE alice');
waits('renamed', '^the throttle query of role "alicia"$', 'under the new name');
$node->safe_psql('postgres', 'DROP ROLE alice; ALTER ROLE alicia RENAME TO alice');
waits('renamed', '^the throttle query of role "alice"$', 'under the old one again');
$node->safe_psql('postgres', q(UPDATE zdm.migration SET throttle_cluster = 1, throttle_role_id = 'bob'::regrole::oid::int8 WHERE name = 'renamed'));
is_held('renamed', '^the throttle query of role "alice"$', 'in another cluster');
$node->safe_psql('postgres', q(UPDATE zdm.migration SET throttle_role = 'nobody' WHERE name = 'renamed'));
fails('renamed', 'role "nobody": that role is not the owner of table', 'in a cluster without the role');

# Who owns the table now has not given the query.
configure($slow);
expand('given');
as_alice('UPDATE gate SET closed = true');
as_alice("SELECT zdm.start('given', workers => 1, throttle => 'SELECT closed FROM public.gate')");
is_held('given', '^the throttle query of role "alice"', 'given away');
$node->safe_psql('postgres', 'ALTER TABLE given OWNER TO bob');
fails('given', 'role "alice": that role is not the owner of table', 'given away');

unlike(slurp_file($node->logfile), qr/TRAP|PANIC|terminated by signal/, 'nothing crashed');
$node->stop;
done_testing();
