# A table and its compatibility view exchange their names over and over, under
# statements by both names in every protocol: none fails, and what was
# acknowledged is there.
#
#   ZDM_SWAPS  how many times (100; make soak has 1000)
#
# A round gives the table its second name, exchanges the two as often as it is
# told, and ends with a rollback or a contract, before which the application has
# stopped using the name that goes.  The next round begins with the name that is
# left.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";
use IPC::Run;
use List::Util qw(max sum);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);
use ZdmLoad;
use ZdmSession;

my $swaps = $ENV{ZDM_SWAPS} // 100;
my $swaps_of_round = 50;
my $first_id = 1_000_000;    # of pgbench's rows
my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;

# What waits for longer than zdm may keep anybody waiting is in the log.
$node->append_conf(
	'postgresql.conf', q(
shared_preload_libraries = zdm
max_connections = 50
zdm.lock_patience = 60s
deadlock_timeout = 100ms
log_lock_waits = on
log_statement = none
log_line_prefix = '%a: '
));
$node->start;
$node->safe_psql(
	'postgres', qq(
	CREATE EXTENSION zdm;
	CREATE TABLE users (
		id int PRIMARY KEY,
		hits int NOT NULL DEFAULT 0,
		name text CHECK (name <> ''),
		changed_at timestamptz DEFAULT now());
	CREATE SEQUENCE ids START $first_id;
	ALTER TABLE users ALTER id SET DEFAULT nextval('ids');
	CREATE TABLE orders (user_id int REFERENCES users);
	INSERT INTO users (id, name) SELECT i, 'user ' || i FROM generate_series(100001, 101000) i;
	VACUUM ANALYZE users;
));

#
# The application
#

my $load = ZdmLoad->new(
	$node,
	workers => 2,
	tables => { old => 'users', new => 'participants' },
	old => 'name',
	new => 'name');
note "seed $load->{seed}";

# Each transaction inserts one row that stays.
my $folder = PostgreSQL::Test::Utils::tempdir();
my %statements = (
	written => q(
\\set id random(100001, 101000)
INSERT INTO :one (name) VALUES ('by pgbench') RETURNING id AS new_id \\gset
UPDATE :other SET name = 'user ' || :id, changed_at = DEFAULT WHERE id = :id;
SELECT id, name FROM :one WHERE id = :id;
INSERT INTO :one (id, name) VALUES (:new_id, 'again') ON CONFLICT (id) DO UPDATE SET hits = excluded.hits + 1;
INSERT INTO orders VALUES (:new_id);
BEGIN;
SELECT name FROM :other WHERE id = :id FOR UPDATE;
UPDATE :one SET hits = hits + 1 WHERE id = :id;
SELECT count(*) FROM :one a JOIN :other b USING (id) WHERE id = :id;
END;
),
	utility => q(
COPY :one (id, name) TO '/dev/null';
COPY :other FROM '/dev/null' WHERE :other.id > 0;
ANALYZE :other (hits);
),
	reader => q(
BEGIN;
SELECT count(*) FROM :one;
\\sleep 700 ms
END;
\\sleep 3 s
));
for my $what (keys %statements)
{
	my @scripts;

	for my $names ([ 'users', 'participants' ], [ 'participants', 'users' ])
	{
		my ($one, $other) = @$names;
		push @scripts, $statements{$what} =~ s/:one\b/$one/gr =~ s/:other\b/$other/gr;
	}
	append_to_file("$folder/$what$_.sql", $scripts[$_]) for (0, 1);
}

my $started = 0;

sub pgbench_start
{
	my ($protocol, $what, @options) = @_;
	my $run = { name => "$what, $protocol", output => '', log => "$folder/log" . ++$started };

	local $ENV{PGAPPNAME} = "application ($what, $protocol)";
	$run->{handle} = IPC::Run::start(
		[
			'pgbench', '--no-vacuum', '--time=10000', "--protocol=$protocol",
			'--log', "--log-prefix=$run->{log}",
			"--file=$folder/${what}0.sql", "--file=$folder/${what}1.sql",
			@options, $node->connstr('postgres')
		],
		'<', \undef, '>&', \$run->{output});
	return $run;
}

# Its -T is an alarm clock, which we let ring.  Returns how many transactions it
# has done, each without a failure.
my @latencies;

sub pgbench_stop
{
	my ($run) = @_;

	$run->{handle}->signal('ALRM');
	$run->{handle}->finish;
	my ($done) = $run->{output} =~ /number of transactions actually processed: (\d+)/;
	ok( $run->{handle}->result(0) == 0
		  && $run->{output} =~ /number of failed transactions: 0 /
		  && $done,
		"pgbench, $run->{name}: no transaction failed")
	  or diag($run->{output});
	push @latencies, map { (split / /)[2] / 1000 } map { split /\n/, slurp_file($_) } glob "$run->{log}.*"
	  unless $run->{name} =~ /reader/;
	return $done // 0;
}

#
# The swaps
#

my $session = ZdmSession->new(sub { $node->connstr('postgres') }, name => 'the migration');
my (@took, @failed);

# All calls in one transaction.
sub swap
{
	my @calls = @_;
	my $start = time();

	@calls = ('BEGIN', @calls, 'COMMIT') if @calls > 1;
	my ($output, $state) = $session->run(join '; ', @calls);
	push @took, time() - $start;
	push @failed, "$calls[0]: $state $output" if $state ne '00000';
	return;
}

my $written = 0;
my ($from, $to, $round) = ('users', 'participants', 0);
my %name = (users => 'old', participants => 'new');
$load->names('old');
$load->start;
while (@took < $swaps && !@failed)
{
	my $migration = "rename_${from}_to_$to";
	my $view = "SELECT zdm.rename_table('$from', '$to', strategy => 'view')";
	my $view_first = "SELECT zdm.rename_table('$from', '$to', strategy => 'view_first')";
	my $rollback = "SELECT zdm.rollback('$migration')";

	$load->progress(20);
	swap($view_first);
	$load->names('old', 'new');
	my @runs =
	  map { pgbench_start($_, 'written', '--client=2', '--rate=50') } ('simple', 'extended', 'prepared');
	my $utility = pgbench_start('simple', 'utility', '--client=1', '--rate=10');
	my $reader = pgbench_start('simple', 'reader', '--client=1');

	# The table has the first name, the second, that again after it had the
	# first, and the first.
	for (1 .. $swaps_of_round / 3)
	{
		swap("SELECT zdm.contract('$migration', '1 day')");
		swap($rollback, $view);
		swap($rollback, $view_first);
		last if @failed;
	}
	$written += pgbench_stop($_) for (@runs);
	pgbench_stop($_) for ($utility, $reader);

	if (++$round % 2)
	{
		$load->names($name{$from});
		swap($rollback);
	}
	else
	{
		$load->names($name{$to});
		swap("SELECT zdm.contract('$migration', '0')");
		($from, $to) = ($to, $from);
	}
}
is_deeply(\@failed, [], scalar @took . ' swaps');

#
# What the application saw
#

$load->progress(20);
$load->stop;
is_deeply([ $load->failed ], [], 'no statement failed');
$load->{table} = $from;
is_deeply([ $load->compare('name') ], [], 'what was acknowledged is there');
is($node->safe_psql('postgres', "SELECT count(*), sum(hits) FROM $from WHERE id >= $first_id"),
	"$written|$written", "so is each of pgbench's transactions");
is($node->safe_psql('postgres', "SELECT sum(hits) FROM $from WHERE id BETWEEN 100001 AND 101000"),
	$written, 'all of each');

@latencies = sort { $a <=> $b } @latencies;
open my $log, '<', $node->logfile or die $!;
my @waits = map { /^application.* acquired .* after (\d+)\.\d+ ms/ ? $1 : () } <$log>;
close $log;
my @swaps = sort { $a <=> $b } @took;
diag sprintf '  %d swaps in %.0f s (median %.0f ms, longest %.0f ms); %d statements of the load, the slowest took %d ms;'
  . ' %d transactions of pgbench, median %.1f ms, slowest %.0f ms',
  scalar @took, sum(@took), 1000 * $swaps[ $#swaps / 2 ], 1000 * $swaps[-1], $load->statements,
  $load->slowest_ms, scalar @latencies, $latencies[ $#latencies / 2 ], $latencies[-1];
diag sprintf '  lock waits of the application above 100 ms: %d, the longest %d ms',
  scalar @waits, max(0, @waits);

# A machine that is busy with other things may stop anybody for a while.
cmp_ok(max(0, @waits), '<', 1000, 'nobody waits for a lock for a second');

# One that stays in the way of others at each swap does so whatever the machine.
cmp_ok(scalar @waits, '<', scalar @took, 'at most of the swaps nobody waits for 100 ms');

$node->stop;
done_testing();
