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
	$node->safe_psql($pattern, q(CALL zdm.backfill('m')));
	is($node->safe_psql($pattern, q(SELECT sum(mismatches) FROM zdm.verify('m'))),
		0, "$pattern: both tables agree in the end");
	is( $node->safe_psql($pattern,
			q(SELECT count(*) FROM voucher v FULL JOIN used u ON u.voucher_id = v.id WHERE v.user_id IS DISTINCT FROM u.user_id)),
		0, "$pattern: so says plain SQL");
	is($node->safe_psql($pattern, q(SELECT zdm.contract('m'))), 'finished', "$pattern: the migration ends");
}
done_testing();
