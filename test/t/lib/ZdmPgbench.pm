# pgbench as an application that runs until it is asked to stop, with plain and
# with prepared statements.
#
#   my @run = pgbench_start($node, 'old', "$folder/old.sql", rate => 250);
#   ...
#   pgbench_stop(@run);           # tests that no transaction failed
#
# Or eight clients at once, and so many transactions of each, in a database:
#
#   pgbench_at_once($node, $database, "when", 1000, @options);

package ZdmPgbench;

use strict;
use warnings;

use parent 'Exporter';

use IPC::Run;
use Test::More;

our @EXPORT = qw(pgbench_start pgbench_stop pgbench_at_once);

sub pgbench_start
{
	my ($node, $name, $file, %option) = @_;
	my @run;

	for my $protocol ('simple', 'prepared')
	{
		my $run = { name => "$name $protocol", output => '' };

		$run->{handle} = IPC::Run::start(
			[
				'pgbench', '--no-vacuum', '--client=2', '--time=1000',
				"--protocol=$protocol", "--file=$file",
				"--rate=$option{rate}", $node->connstr('postgres')
			],
			'<', \undef, '>&', \$run->{output});
		push @run, $run;
	}
	return @run;
}

# Its -T is an alarm clock, which we let ring.
sub pgbench_stop
{
	for my $run (@_)
	{
		$run->{handle}->signal('ALRM');
		$run->{handle}->finish;
		is($run->{handle}->result(0), 0, "pgbench, $run->{name}: exit code")
		  or diag($run->{output});
		like($run->{output}, qr/number of failed transactions: 0 /,
			"pgbench, $run->{name}: no transaction failed");
		my ($done) = $run->{output} =~ /number of transactions actually processed: (\d+)/;
		cmp_ok($done // 0, '>', 0, "pgbench, $run->{name}: $done transactions");
	}
	return;
}

# Eight clients at once, each of them with that many transactions.
sub pgbench_at_once
{
	my ($node, $database, $when, $count, @options) = @_;
	my $result = IPC::Run::run(
		[   'pgbench', '-n', '-c', 8, '-j', 2, '-t', $count, '-h', $node->host,
			'-p', $node->port, @options, $database ],
		'>', \my $out, '2>', \my $err);
	my $done = $count * 8;

	ok( $result && $out =~ m{processed: $done/$done} && $out =~ /failed transactions: 0 /,
		"$database: both versions write, $when") or diag("$out$err");
	return;
}

1;
