# The old and the new version write the same few rows of two tables that mirror
# each other, thousands of times at once, in lasting and in new sessions: no
# statement fails, none deadlocks, and both tables agree in the end.  While the
# backfill runs, when it is done, and in the quarantine; for a join table that
# becomes a column and a column that becomes a join table, with what goes by
# cascades.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use IPC::Run;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use ZdmPgbench;
use ZdmVouchers;

my $transactions = $ENV{ZDM_MIRROR_TRANSACTIONS} // 1000;
my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
# Not preloaded: the first statement of a session has to keep the order, too.
$node->append_conf(
	'postgresql.conf', q(
fsync = off
deadlock_timeout = 200ms
zdm.auto_start = off
));
$node->start;

my $folder = PostgreSQL::Test::Utils::tempdir();
my $choice = "\\set v random(1, 10)\n\\set u random(1, 10)\n\\set w random(11, 15)\n\\set n random(1000000, 2000000000)\n";
# Users and vouchers come and go, and what refers to them with them.
my %cascades = (
	join_guest => 'BEGIN; INSERT INTO users VALUES (:n); UPDATE used SET user_id = :n WHERE voucher_id = :v; COMMIT',
	column_guest => 'BEGIN; INSERT INTO users VALUES (:n); UPDATE voucher SET user_id = :n WHERE id = :v; COMMIT',
	leave => 'DELETE FROM users WHERE id = (SELECT max(id) FROM users WHERE id > 10)',
	annul => 'DELETE FROM voucher WHERE id = :w',
	issue => q(INSERT INTO voucher (id, code, user_id) VALUES (:w, 'new', :u) ON CONFLICT DO NOTHING),
	annulled => 'UPDATE used SET user_id = :u WHERE voucher_id = :w');
my %statements = (
	fold => {
		insert => 'INSERT INTO used VALUES (:u, :v) ON CONFLICT DO NOTHING',
		upsert => 'INSERT INTO used VALUES (:u, :v) ON CONFLICT (voucher_id) DO UPDATE SET user_id = excluded.user_id',
		merge => 'MERGE INTO used USING (SELECT :u AS u, :v AS v) s ON voucher_id = v'
		  . ' WHEN MATCHED AND user_id > 5 THEN DELETE WHEN MATCHED THEN UPDATE SET user_id = u',
		update => 'UPDATE used SET user_id = :u WHERE voucher_id = :v',
		delete => 'DELETE FROM used WHERE voucher_id = :v',
		note => 'UPDATE voucher SET code = :u WHERE id = :v',
		set => 'UPDATE voucher SET user_id = :u WHERE id = :v',
		clear => 'UPDATE voucher SET user_id = NULL WHERE id = :v',
	},
	spread => {
		note => 'UPDATE voucher SET code = :u WHERE id = :v',
		set => 'UPDATE voucher SET user_id = :u WHERE id = :v',
		clear => 'UPDATE voucher SET user_id = NULL WHERE id = :v',
		insert => 'INSERT INTO used (voucher_id, user_id) VALUES (:v, :u) ON CONFLICT DO NOTHING',
		delete => 'DELETE FROM used WHERE voucher_id = :v AND user_id = :u',
		join_guest => 'BEGIN; INSERT INTO users VALUES (:n); INSERT INTO used (voucher_id, user_id) VALUES (:v, :n); COMMIT',
		members => 'DELETE FROM used WHERE voucher_id = :v AND user_id <= 10',
		leave => 'DELETE FROM users WHERE id = (SELECT user_id FROM voucher WHERE id = :v AND user_id > 10)',
		leave_next => 'DELETE FROM users WHERE id = (SELECT min(n.user_id) FROM used n, voucher v'
		  . ' WHERE v.id = :v AND n.voucher_id = v.id AND n.user_id > 10 AND n.user_id > v.user_id)',
	});

for my $pattern (sort keys %statements)
{
	my @files;

	my %kinds = (%cascades, %{ $statements{$pattern} });

	for my $kind (sort keys %kinds)
	{
		my $file = "$folder/$pattern.$kind";

		append_to_file($file, $choice . join(";\n", split /; /, $kinds{$kind}) . ";\n");
		push @files, '-f', $file;
	}
	vouchers($node, $pattern, 2000, 1);

	pgbench_at_once($node, $pattern, 'before the backfill', 100, @files);
	my $backfill = IPC::Run::start(
		[ 'psql', '-Xqd', $node->connstr($pattern), '-c', 'CALL zdm.backfill($$m$$)' ],
		'&>', \my $said);
	pgbench_at_once($node, $pattern, 'during the backfill', $transactions, @files);
	ok($backfill->finish, "$pattern: the backfill ends") or diag($said);
	pgbench_at_once($node, $pattern, 'in new sessions', 40, '-C', @files);
	pgbench_at_once($node, $pattern, 'after it', $transactions, @files);
	agree($pattern, 'is ready');
	$node->safe_psql($pattern, q(SELECT zdm.contract('m', '1 day')));
	pgbench_at_once($node, $pattern, 'in the quarantine', $transactions, @files);
	agree($pattern, 'is in quarantine');
	is( $node->safe_psql($pattern,
			q(SELECT deadlocks FROM pg_stat_database WHERE datname = current_database())),
		0, "$pattern: no deadlock");
}
unlike(slurp_file($node->logfile), qr/deadlock detected/, 'none in the log');
done_testing();

sub agree
{
	my ($database, $when) = @_;

	$node->safe_psql($database, 'INSERT INTO voucher SELECT generate_series(11, 15) ON CONFLICT DO NOTHING');
	is( $node->safe_psql($database,
			q(SELECT state, sum(v.mismatches), min(v.rows_compared) FILTER (WHERE v."check" ~ '=')
			    FROM zdm.status, zdm.verify('m') v GROUP BY state)),
		($when =~ /ready/ ? 'ready' : 'contracted') . '|0|2000',
		"$database: both tables agree when it $when");
	return;
}
