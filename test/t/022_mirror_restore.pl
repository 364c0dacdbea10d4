# A dump taken while two tables mirror each other continues in another
# database: before the backfill, ready, and in the quarantine.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use ZdmVouchers;

my $node = PostgreSQL::Test::Cluster->new('main');
my $folder = PostgreSQL::Test::Utils::tempdir();
$node->init;
$node->append_conf('postgresql.conf', "zdm.auto_start = off\nfsync = off\n");
$node->start;

my %advance = (
	expanded => '',
	ready => q(CALL zdm.backfill('m');),
	contracted => q(SELECT zdm.contract('m', '1 day')));

for my $pattern ('fold', 'spread')
{
	my @states = ('expanded', 'ready', 'contracted');

	vouchers($node, $pattern, 1000, 2);
	for my $state (@states)
	{
		my $copy = "${pattern}_$state";

		$node->safe_psql($pattern, $advance{$state}) if $advance{$state};
		$node->command_ok(
			[ 'pg_dump', '-Fc', '-f', "$folder/$copy", $pattern ], "$copy: dump");
		$node->safe_psql('postgres', "CREATE DATABASE $copy");
		$node->command_ok(
			[ 'pg_restore', '--exit-on-error', '-d', $copy, "$folder/$copy" ],
			"$copy: restore");
		is($node->safe_psql($copy, 'SELECT state FROM zdm.status'),
			$state, "$copy: the state is that of the dump");
		$node->safe_psql($copy,
			"UPDATE voucher SET user_id = 3 WHERE id IN (1, 2);"
			  . "INSERT INTO used (voucher_id, user_id) VALUES (4, 5);"
			  . "DELETE FROM used WHERE voucher_id = 5");
		is( $node->safe_psql($copy,
				"SELECT v.id, v.user_id, j.user_id FROM voucher v LEFT JOIN used j"
				  . " ON j.voucher_id = v.id WHERE v.id IN (1, 2, 4, 5) ORDER BY v.id"),
			"1|3|3\n2|3|3\n4|5|5\n5||",
			"$copy: what either version writes is mirrored")
		  unless $pattern eq 'spread' && $state eq 'expanded';
		$node->safe_psql($copy, q(CALL zdm.backfill('m'))) if $state ne 'contracted';
		is($node->safe_psql($copy, q(SELECT sum(mismatches) FROM zdm.verify('m'))),
			0, "$copy: both tables agree");
		is( $node->safe_psql($copy,
				$state eq 'contracted'
				? q(SELECT zdm.contract('m', '0')) : q(SELECT zdm.contract('m'))),
			'finished', "$copy: the migration ends");
		is($node->safe_psql($copy, 'SELECT count(*) FROM zdm.mirror_rule'),
			0, "$copy: no rule is left");
	}
}
done_testing();
