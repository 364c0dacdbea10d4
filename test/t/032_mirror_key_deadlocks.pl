# The old and the new version give the same few rows other keys, insert, write
# and delete them, thousands of times at once, by UPDATE and by MERGE: whoever
# comes too late may meet a key that is taken, but none deadlocks, and both
# tables agree in the end.  Keys only ever grow: two updates that exchange them
# wait for each other on one table as well.  For a join table that becomes a
# column, a column that becomes a join table, and a table with a second one; also
# in the quarantine.

use strict;
use warnings;

use IPC::Run;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $statements = $ENV{ZDM_MIRROR_TRANSACTIONS} // 1000;
my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', q(
fsync = off
deadlock_timeout = 200ms
zdm.auto_start = off
));
$node->start;
srand(7);

my %load = (
	fold => [
		'INSERT INTO used VALUES (ANY, ANY) ON CONFLICT DO NOTHING',
		'UPDATE used SET voucher_id = MORE WHERE voucher_id = LESS',
		'MERGE INTO used USING (SELECT LESS AS a, MORE AS b) s ON voucher_id = a WHEN MATCHED AND user_id = 1 THEN DELETE WHEN MATCHED THEN UPDATE SET voucher_id = b',
		'UPDATE used SET user_id = ANY WHERE voucher_id = ANY',
		'DELETE FROM used WHERE voucher_id = ANY',
		'UPDATE voucher SET user_id = ANY WHERE id = ANY',
		'UPDATE voucher SET user_id = NULL WHERE id = ANY',
		'UPDATE voucher SET id = MORE WHERE id = LESS',
		'INSERT INTO voucher VALUES (ANY) ON CONFLICT DO NOTHING',
		'DELETE FROM voucher WHERE id = ANY'
	],
	spread => [
		'INSERT INTO used VALUES (ANY, ANY) ON CONFLICT DO NOTHING',
		'UPDATE used SET voucher_id = MORE WHERE voucher_id = LESS AND user_id = ANY',
		'MERGE INTO used USING (SELECT LESS AS a, MORE AS b, ANY AS u) s ON voucher_id = a AND user_id = u WHEN MATCHED AND user_id = 1 THEN DELETE WHEN MATCHED THEN UPDATE SET voucher_id = b',
		'UPDATE used SET user_id = MORE WHERE voucher_id = ANY AND user_id = LESS',
		'DELETE FROM used WHERE voucher_id = ANY AND user_id = ANY',
		'UPDATE voucher SET user_id = ANY WHERE id = ANY',
		'UPDATE voucher SET user_id = NULL WHERE id = ANY',
		'UPDATE voucher SET id = MORE WHERE id = LESS',
		'INSERT INTO voucher VALUES (ANY) ON CONFLICT DO NOTHING',
		'DELETE FROM voucher WHERE id = ANY'
	],
	dual => [
		map {
			(   "INSERT INTO $_ VALUES (ANY, 1)",
				"INSERT INTO $_ VALUES (ANY, 2) ON CONFLICT DO NOTHING",
				"INSERT INTO $_ VALUES (ANY, 3) ON CONFLICT (id) DO UPDATE SET number = excluded.number",
				"INSERT INTO $_ VALUES (ANY, 4, ANY) ON CONFLICT (place) DO UPDATE SET number = excluded.number",
				"UPDATE $_ SET id = MORE WHERE id = LESS",
				"MERGE INTO $_ USING (SELECT LESS AS a, MORE AS b) s ON id = a WHEN MATCHED AND number = 3 THEN DELETE WHEN MATCHED THEN UPDATE SET id = b",
				"UPDATE $_ SET number = ANY WHERE id = ANY",
				"DELETE FROM $_ WHERE id = ANY")
		} 'events', 'happenings' ]);
my %begin = (
	fold => q(CREATE TABLE users (id int PRIMARY KEY);
		CREATE TABLE voucher (id int PRIMARY KEY);
		CREATE TABLE used (user_id int NOT NULL REFERENCES users, voucher_id int NOT NULL UNIQUE REFERENCES voucher ON DELETE CASCADE ON UPDATE CASCADE);
		INSERT INTO users SELECT generate_series(1, 10);
		INSERT INTO voucher SELECT generate_series(1, 10);
		SELECT zdm.join_table_to_column('used', 'voucher', 'user_id', migration => 'm');),
	spread => q(CREATE TABLE users (id int PRIMARY KEY);
		CREATE TABLE voucher (id int PRIMARY KEY, user_id int REFERENCES users);
		INSERT INTO users SELECT generate_series(1, 10);
		INSERT INTO voucher SELECT generate_series(1, 10);
		SELECT zdm.column_to_join_table('voucher', 'user_id', 'used', migration => 'm');),
	dual => q(CREATE TABLE events (id int PRIMARY KEY, number int, place int UNIQUE);
		INSERT INTO events SELECT i, 0, i FROM generate_series(1, 10) i;
		SELECT zdm.rename_table('events', 'happenings', 'dual_write', migration => 'm');));

for my $pattern (sort keys %load)
{
	$node->safe_psql('postgres', "CREATE DATABASE $pattern");
	$node->safe_psql($pattern, "CREATE EXTENSION zdm; $begin{$pattern}");
	$node->safe_psql($pattern, q(CALL zdm.backfill('m')));
	write_at_once($pattern, 'after the backfill');
	$node->safe_psql($pattern, q(SELECT zdm.contract('m', '1 day')));
	write_at_once($pattern, 'in the quarantine');
	is( $node->safe_psql($pattern,
			q(SELECT deadlocks FROM pg_stat_database WHERE datname = current_database())),
		0, "$pattern: no deadlock");
}
done_testing();

# Eight sessions; a duplicate, and a row that it refers to and that has gone, are
# the application's own errors.
sub write_at_once
{
	my ($pattern, $when) = @_;
	my @said = ('') x 8;
	my @runs = map {
		IPC::Run::start([ 'psql', '-Xqd', $node->connstr($pattern) ],
			'<', \script($pattern), '&>', \$said[$_])
	} 0 .. 7;

	$_->finish for @runs;
	my %errors = map { $_ => 1 } map { /ERROR:  (.*)/g } @said;
	my @others = grep { !/^duplicate key|^(insert or )?update .* violates foreign key/ } sort keys %errors;
	is_deeply(\@others, [], "$pattern: both versions write, $when");
	is( $node->safe_psql($pattern, q(SELECT sum(mismatches) FROM zdm.verify('m'))),
		0, "$pattern: both tables agree $when");
	return;
}

sub script
{
	my ($pattern) = @_;
	my @kinds = @{ $load{$pattern} };

	return join '', map {
		my $less = 1 + int rand 9;
		my $more = $less + 1 + int rand(10 - $less);

		$kinds[ rand @kinds ] =~ s/ANY/1 + int rand 10/egr =~ s/LESS/$less/gr =~ s/MORE/$more/gr . ";\n"
	} 1 .. $statements;
}
