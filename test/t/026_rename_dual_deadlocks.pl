# The old and the new version write the same few rows of two tables that hold
# every row, thousands of times at once, in lasting and in new sessions: no
# statement fails, none deadlocks, and both tables agree in the end.  While the
# rows are copied, when that is done, and in the quarantine; for a second table
# like the first, which another refers to, and for a partitioned one, where a
# row moves from partition to partition.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use IPC::Run;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use ZdmPgbench;

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
my $choice = "\\set i random(1, 10)\n\\set d random(1, 100)\n\\set n random(1, 1000)\n\\set o random(1000000, 2000000000)\n";
my %statements = (
	insert => 'INSERT INTO TABLE (id, day, number) VALUES (:i, :d, :n) ON CONFLICT DO NOTHING',
	upsert => 'INSERT INTO TABLE (id, day, number) VALUES (:i, :d, :n) ON CONFLICT (ARBITER) DO UPDATE SET number = excluded.number',
	merge => 'MERGE INTO TABLE USING (SELECT :i AS i, :n AS n) s ON id = i'
	  . ' WHEN MATCHED AND number > 900 THEN DELETE WHEN MATCHED THEN UPDATE SET number = n',
	update => 'UPDATE TABLE SET number = :n WHERE id = :i',
	day => 'UPDATE TABLE SET day = :d WHERE id = :i',
	delete => 'DELETE FROM TABLE WHERE id = :i',
	lock => 'BEGIN; SELECT FROM TABLE WHERE id = :i FOR UPDATE; UPDATE TABLE SET number = number + 1 WHERE id = :i; COMMIT');
my %clause = (plain => '', partitioned => q(, definition => 'PARTITION BY RANGE (day)'));

for my $kind (sort keys %clause)
{
	# Of rows that move, whoever finds one where it was is to try again.
	my @early = $kind eq 'partitioned' ? ('--max-tries=50') : ();
	my @files = @early;

	for my $table ('events', 'happenings')
	{
		my $arbiter = $kind eq 'plain' || $table eq 'events' ? 'id' : 'id, day';

		for my $name (sort keys %statements)
		{
			my $statement = $statements{$name} =~ s/TABLE/$table/gr =~ s/ARBITER/$arbiter/r;
			my $other = $statement =~ s/:i, :d/:o, :d/r;

			# No conflict is met where rows may be missing, or where others may have the
			# key without one.
			push @early, '-f', script("$kind.$table.$name.early", $table eq 'events' ? $statement : $other);
			push @files, '-f', script("$kind.$table.$name", $arbiter eq 'id' ? $statement : $other);
		}
	}
	$node->safe_psql('postgres', "CREATE DATABASE $kind");
	$node->safe_psql($kind,
		q(CREATE EXTENSION zdm;
		  CREATE TABLE events (id int PRIMARY KEY, day int NOT NULL, number int);
		  INSERT INTO events SELECT i, i % 100 + 1, i FROM generate_series(1, 2000) i;));
	$node->safe_psql($kind,
		q(CREATE TABLE comments (event int REFERENCES events ON DELETE CASCADE);
		  INSERT INTO comments SELECT i FROM generate_series(1, 2000) i;))
	  if $kind eq 'plain';
	$node->safe_psql($kind,
		"BEGIN; SELECT zdm.rename_table('events', 'happenings', 'dual_write', migration => 'm'$clause{$kind});"
		  . ($kind eq 'plain' ? '' : q(
			CREATE TABLE early PARTITION OF happenings FOR VALUES FROM (0) TO (50);
			CREATE TABLE late PARTITION OF happenings DEFAULT;))
		  . 'COMMIT;');

	pgbench_at_once($node, $kind, 'before the backfill', 100, @early);
	my $backfill = IPC::Run::start(
		[ 'psql', '-Xqd', $node->connstr($kind), '-c', 'CALL zdm.backfill($$m$$)' ],
		'&>', \my $said);
	pgbench_at_once($node, $kind, 'during the backfill', $transactions, @early);
	ok($backfill->finish, "$kind: the backfill ends") or diag($said);
	pgbench_at_once($node, $kind, 'in new sessions', 40, '-C', @files);
	pgbench_at_once($node, $kind, 'after it', $transactions, @files);
	agree($kind, 'ready');
	$node->safe_psql($kind, q(SELECT zdm.contract('m', '1 day')));
	pgbench_at_once($node, $kind, 'in the quarantine', $transactions, @files);
	agree($kind, 'contracted');
	is( $node->safe_psql($kind,
			q(SELECT deadlocks FROM pg_stat_database WHERE datname = current_database())),
		0, "$kind: no deadlock");
}
unlike(slurp_file($node->logfile), qr/deadlock detected/, 'none in the log');
done_testing();

sub script
{
	my ($name, $statements) = @_;

	append_to_file("$folder/$name", $choice . join(";\n", split /; /, $statements) . ";\n");
	return "$folder/$name";
}

sub agree
{
	my ($database, $state) = @_;

	is( $node->safe_psql($database,
			q(SELECT state, sum(v.mismatches) FROM zdm.status, zdm.verify('m') v GROUP BY state)),
		"$state|0", "$database: both tables agree when it is $state");
	is( $node->safe_psql($database,
			q(SELECT count(*) FROM events e FULL JOIN happenings h USING (id)
			   WHERE (e.day, e.number) IS DISTINCT FROM (h.day, h.number))),
		0, "$database: so says plain SQL");
	return;
}
