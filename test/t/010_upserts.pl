# INSERT ... ON CONFLICT by either name of a column, of the same keys at once:
# no statement fails, while the second column's unique index is being built and
# after.  Tables with a plain key, with an expression over a domain, in
# partitions, and with two renames in one index.

use strict;
use warnings;

use FindBin;
use IPC::Run;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $seconds = $ENV{ZDM_UPSERT_SECONDS} // 3;
my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf(
	'postgresql.conf', q(
shared_preload_libraries = 'zdm'
fsync = off
));
$node->start;
$node->safe_psql(
	'postgres', q(
	CREATE EXTENSION zdm;
	CREATE DOMAIN word AS varchar(30) CHECK (VALUE <> 'bad');
	CREATE TABLE plain (old text UNIQUE, r int, n int DEFAULT 0);
	CREATE TABLE expression (old word, r int, n int DEFAULT 0);
	CREATE UNIQUE INDEX ON expression (r, lower(old)) WHERE old IS NOT NULL;
	CREATE TABLE parted (old text, r int, n int DEFAULT 0, UNIQUE (old, r)) PARTITION BY LIST (r);
	CREATE TABLE parted_0 PARTITION OF parted FOR VALUES IN (0);
	CREATE TABLE parted_1 (n int DEFAULT 0, gone int, r int, old text);
	ALTER TABLE parted_1 DROP COLUMN gone;
	ALTER TABLE parted ATTACH PARTITION parted_1 FOR VALUES IN (1);
	CREATE TABLE parted_2 PARTITION OF parted FOR VALUES IN (2) PARTITION BY LIST (r);
	CREATE TABLE parted_2_2 PARTITION OF parted_2 DEFAULT;
	CREATE TABLE two (old text, r int, n int DEFAULT 0, UNIQUE (old, r));
	SELECT zdm.rename_column('two', 'r', 'q');
));

my %key = (
	plain => '(COLUMN)',
	expression => '(lower(COLUMN), r) WHERE COLUMN IS NOT NULL',
	parted => '(COLUMN, r)',
	two => '(COLUMN, r)');
my @tables = sort keys %key;
$node->safe_psql('postgres', "SELECT zdm.rename_column('$_', 'old', 'new')")
  for @tables;

my $folder = PostgreSQL::Test::Utils::tempdir();
for my $table (@tables)
{
	for my $column ('old', 'new')
	{
		(my $key = $key{$table}) =~ s/COLUMN/$column/g;
		append_to_file("$folder/$table.$column", qq(
\\set k random(1, 15)
\\set r random(0, 2)
\\set x random(1, 10)
INSERT INTO $table ($column, r) VALUES ('key ' || :k, :r) ON CONFLICT $key DO UPDATE SET n = $table.n + 1 RETURNING n;
\\if :x < 4
DELETE FROM $table WHERE $column = 'key ' || :k;
\\elif :x = 5
INSERT INTO $table ($column, r) SELECT 'key ' || i, i % 3 FROM generate_series(1, 15) i ON CONFLICT $key DO NOTHING;
\\endif
));
	}
}

# What pgbench says of statements that failed while the sub ran, or, without
# one, for some seconds.
sub failures
{
	my ($table, $protocol, $columns, $meanwhile) = @_;
	my $output = '';
	my $run = IPC::Run::start(
		[
			'pgbench', '--no-vacuum', '--client=8', "--time=$seconds",
			"--protocol=$protocol",
			(map { "--file=$folder/$table.$_" } @$columns),
			$node->connstr('postgres')
		],
		'<', \undef, '>&', \$output);

	$meanwhile->() if $meanwhile;
	IPC::Run::finish($run);
	like($output, qr/^number of transactions actually processed: [1-9]/m,
		"$table: there were upserts");
	return join("\n", grep { /ERROR|error:/ } split(/\n/, $output));
}

my %index = (
	plain => ['plain (new)'],
	expression => ['expression (r, lower(new)) WHERE new IS NOT NULL'],
	parted => [ map { "$_ (new, r)" } qw(parted_0 parted_1 parted_2_2) ],
	two => [ 'two (new, r)', 'two (old, q)', 'two (new, q)' ]);

for my $table (@tables)
{
	my $migration = "rename_${table}_old_to_new";

	is( failures(
			$table, 'simple', ['old'],
			sub {
				$node->safe_psql('postgres', "CALL zdm.backfill('$migration')");
				# One by one, as CONCURRENTLY needs it.
				$node->safe_psql('postgres', "CREATE UNIQUE INDEX CONCURRENTLY ON $_")
				  for @{ $index{$table} };
			}),
		'',
		"$table: no failure while the index is built");
}
$node->safe_psql('postgres', 'CREATE UNIQUE INDEX ON parted (new, r)');
for my $table (@tables)
{
	for my $protocol ('simple', 'prepared')
	{
		is(failures($table, $protocol, [ 'old', 'new' ]),
			'', "$table: no failure by either name, $protocol");
	}
	is( $node->safe_psql('postgres',
			"SELECT count(*) FROM $table WHERE old IS DISTINCT FROM new"),
		'0', "$table: both columns agree");
}

# Nobody but those who ask for it is spared: a plain INSERT still fails.
my ($code, $stdout, $stderr) = $node->psql('postgres',
	"DELETE FROM plain; INSERT INTO plain (old) VALUES ('x'); INSERT INTO plain (new) VALUES ('x')");
like($stderr, qr/duplicate key value violates unique constraint "plain_old_key"/,
	'a duplicate is still refused, by the index of the first column');
($code, $stdout, $stderr) = $node->psql('postgres',
	"CREATE UNIQUE INDEX other ON plain (r); INSERT INTO plain (old, r) VALUES ('x', 1), ('y', 1) ON CONFLICT (new) DO NOTHING; INSERT INTO plain (old, r) VALUES ('y', 1), ('z', 1) ON CONFLICT (new) DO NOTHING");
like($stderr, qr/duplicate key value violates unique constraint "other"/,
	'an index that is no counterpart stays none');

$node->stop;
done_testing();
