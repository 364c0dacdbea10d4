# The server is stopped at once, again and again, while both versions write
# tables that mirror each other and a backfill runs: after each start, what was
# committed is in both tables, and the backfill goes on to its end.

use strict;
use warnings;

use FindBin;
use IPC::Run;
use lib "$FindBin::Bin/lib";
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);
use ZdmVouchers;

my $kills = $ENV{ZDM_MIRROR_KILLS} // 4;
my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', "zdm.auto_start = off\nzdm.batch_target = 5ms\n");
$node->start;

my $folder = PostgreSQL::Test::Utils::tempdir();
my $choice = "\\set v random(1, 30000)\n\\set u random(1, 10)\n";
my %old = (
	fold => 'INSERT INTO used VALUES (:u, :v) ON CONFLICT (voucher_id) DO UPDATE SET user_id = excluded.user_id;'
	  . "\nDELETE FROM used WHERE voucher_id = :v + 1;",
	spread => "UPDATE voucher SET user_id = :u WHERE id = :v;\nUPDATE voucher SET user_id = NULL WHERE id = :v + 1;");

for my $pattern (sort keys %old)
{
	vouchers($node, $pattern, 30_000, 2);
	append_to_file("$folder/$pattern", "$choice$old{$pattern}\n");
	for my $kill (1 .. $kills)
	{
		my ($said, $loaded);
		my $backfill = IPC::Run::start(
			[ 'psql', '-Xqd', $node->connstr($pattern), '-c', 'CALL zdm.backfill($$m$$)' ],
			'&>', \$said);
		my $load = IPC::Run::start(
			[   'pgbench', '-n', '-c', 4, '-T', 60, '-h', $node->host, '-p', $node->port,
				'-f', "$folder/$pattern", $pattern ],
			'&>', \$loaded);

		usleep(200_000 + int(rand(300_000)));
		$node->stop('immediate');
		$load->finish;
		$backfill->finish;
		$node->start;
		# What the backfill has not come to yet is not filled, but never wrong.
		is( $node->safe_psql($pattern,
				q(SELECT count(*) FROM voucher v JOIN used u ON u.voucher_id = v.id WHERE v.user_id <> u.user_id)),
			0, "$pattern: nothing differs after kill $kill");
	}
	$node->psql($pattern, q(CALL zdm.backfill('m')), stderr => \my $error);
	unlike($error, qr/ERROR/, "$pattern: the backfill comes to its end");
	is($node->safe_psql($pattern, q(SELECT sum(mismatches) FROM zdm.verify('m'))),
		0, "$pattern: both tables agree in the end");
	is( $node->safe_psql($pattern,
			q(SELECT count(*) FROM voucher v FULL JOIN used u ON u.voucher_id = v.id WHERE v.user_id IS DISTINCT FROM u.user_id)),
		0, "$pattern: so says plain SQL");
	report_differences($pattern) unless Test::More->builder->is_passing;
	is($node->safe_psql($pattern, q(SELECT zdm.contract('m'))), 'finished', "$pattern: the migration ends");
}
unlike(slurp_file($node->logfile), qr/PANIC|TRAP:|terminated by signal/, 'nothing crashed by itself');
done_testing();

# What there is to be known of rows that differ.
sub report_differences
{
	my ($pattern) = @_;

	for my $query (
		q(SELECT * FROM zdm.verify('m')),
		q(SELECT v.id, v.user_id, v.ctid, v.xmin, v.xmax, u.user_id, u.ctid, u.xmin, u.xmax
			FROM voucher v FULL JOIN used u ON u.voucher_id = v.id WHERE v.user_id IS DISTINCT FROM u.user_id LIMIT 20),
		q(SELECT at, event, detail FROM zdm.events))
	{
		diag($query, "\n", $node->safe_psql($pattern, $query));
	}
	diag(join '', grep { !/LOG:  statement:/ } split /^/, slurp_file($node->logfile));
	return;
}
