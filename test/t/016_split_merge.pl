# Every phase of split_column and merge_columns under the statements of an old
# and a new version of an application, which write a side in whole and in part:
# no statement fails, no write is lost, both shapes agree.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use ZdmDatabase;
use ZdmLoad;
use ZdmPgbench;

my $rows = 20_000;
my $folder = PostgreSQL::Test::Utils::tempdir();
my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf(
	'postgresql.conf', q(
zdm.auto_start = off
zdm.lock_patience = 60s
max_connections = 50
));
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION zdm');

# One shape keeps a name in one column, the other in two; a migration goes from
# the one to the other, and the next one back.
my %statements = (
	one => q(
UPDATE people SET name = 'first' || :n || ' last' || :n WHERE id = :id;
SELECT name FROM people WHERE id = :id;
INSERT INTO people (id, name) VALUES (:new_id, 'another one') ON CONFLICT (id) DO UPDATE SET name = 'upserted here';
),
	two => q(
UPDATE people SET label = 'First' || :n, tail = 'last' || :n WHERE id = :id;
UPDATE people SET tail = 'part' || :n WHERE id = :id;
UPDATE people SET label = 'Part' || :n WHERE id = :id;
SELECT label, tail FROM people WHERE id = :id;
INSERT INTO people (id, label) VALUES (:new_id, 'Another') ON CONFLICT (id) DO UPDATE SET tail = 'upserted';
INSERT INTO people (id, label, tail) VALUES (:new_id, 'A', 'b') ON CONFLICT (id) DO UPDATE SET label = EXCLUDED.label, tail = EXCLUDED.tail;
));
for my $shape (keys %statements)
{
	append_to_file("$folder/$shape.sql", qq(
\\set id random(100001, 100000 + $rows)
\\set new_id random(200001, 900000)
\\set n random(1, 999999)
$statements{$shape}
UPDATE people SET hits = hits + 1 WHERE id = :id;
DELETE FROM people WHERE id = :new_id;
));
}

sub call { return zdm_ok($node, 'postgres', @_); }

# The whole way of one migration, back once and then to the end.
sub lead
{
	my (%way) = @_;
	my $migration = $way{migration};
	my $in_sync = sub {
		is($node->safe_psql('postgres', "SELECT sum(mismatches) FROM zdm.verify('$migration')"),
			0, "$migration, $_[0]: in sync");
	};
	my $load = ZdmLoad->new(
		$node,
		table => 'people',
		old => $way{old},
		new => $way{new},
		up => $way{up},
		value => $way{value},
		first_id => $way{first_id},
		workers => 2);

	note "seed $load->{seed}";
	$load->start;
	my @old = pgbench_start($node, $way{from}, "$folder/$way{from}.sql", rate => 200);
	$load->progress(50);
	my @new;
	for my $attempt (1, 2)
	{
		call("SELECT $way{call}", $migration);
		$load->names('old', 'new', 'filling');
		$load->progress(50);
		call("CALL zdm.backfill('$migration')");
		$load->names('old', 'new');
		@new = pgbench_start($node, $way{to}, "$folder/$way{to}.sql", rate => 200);
		$load->progress(100);
		$in_sync->('ready');
		call("SELECT zdm.contract('$migration', '1 day')", 'contracted');
		$load->progress(100);
		$in_sync->('contracted');
		last if $attempt == 2;
		pgbench_stop(@new);
		$load->names('old');
		call("SELECT zdm.rollback('$migration')", 'rolled_back');
		$load->progress(50);
	}
	$load->stop;
	is_deeply([ $load->compare($_) ], [], "$migration: $_ has what was acknowledged") for ($way{old}, $way{new});
	$load->names('new');
	$load->start;
	pgbench_stop(@old);
	call("SELECT zdm.contract('$migration', '0')", 'finished');
	$load->progress(50);
	$load->stop;
	pgbench_stop(@new);
	is_deeply([ $load->failed ], [], "$migration: no statement failed");
	is_deeply([ $load->compare($way{new}) ], [], "$migration: what was acknowledged is there");
	is($node->safe_psql('postgres', "SELECT count(*) FROM people WHERE id > 100000 AND id <= 100000 + $rows"),
		$rows, "$migration: pgbench's rows are all there");
	is($node->safe_psql('postgres', "SELECT count(*) FROM pg_trigger WHERE tgrelid = 'people'::regclass"),
		0, "$migration: no trigger is left");
	return;
}

$node->safe_psql(
	'postgres', qq(
	CREATE TABLE people (id int PRIMARY KEY, hits int NOT NULL DEFAULT 0, name text NOT NULL);
	INSERT INTO people (id, name) SELECT i, 'user ' || i FROM generate_series(100001, 100000 + $rows) i;
	VACUUM ANALYZE people));

# The load's values are one word, so that they are one column's on either side.
lead(
	from => 'one',
	to => 'two',
	old => 'name',
	new => 'label',
	up => sub { return ucfirst $_[0] },
	value => sub { return join '-', @_ },
	first_id => 1,
	migration => 'split_people_name',
	call => q(zdm.split_column('people', 'name',
		'{"label": {"type": "text", "up": "upper(left(name, 1)) || substr(split_part(name, '' '', 1), 2)"},
		  "tail": {"type": "text", "up": "nullif(substr(name, length(split_part(name, '' '', 1)) + 2), '''')"}}',
		'concat_ws('' '', lower(left(label, 1)) || substr(label, 2), tail)')));

is($node->safe_psql('postgres', "SELECT count(*) FROM people WHERE label IS NULL OR label = ''"),
	0, 'every row has the part that is never empty');
$node->safe_psql('postgres', 'DELETE FROM people WHERE id < 1000');

lead(
	from => 'two',
	to => 'one',
	old => 'label',
	new => 'name',
	up => sub { return lcfirst $_[0] },
	value => sub { return ucfirst join '-', @_ },
	first_id => 2001,
	migration => 'merge_people_into_name',
	call => q(zdm.merge_columns('people', '{label,tail}', 'name', 'text',
		'concat_ws('' '', lower(left(label, 1)) || substr(label, 2), tail)',
		'{"label": "upper(left(name, 1)) || substr(split_part(name, '' '', 1), 2)",
		  "tail": "nullif(substr(name, length(split_part(name, '' '', 1)) + 2), '''')"}')));

is($node->safe_psql('postgres', "SELECT string_agg(attname, ' ' ORDER BY attnum) FROM pg_attribute"
	  . " WHERE attrelid = 'people'::regclass AND attnum > 0 AND NOT attisdropped"),
	'id hits name', 'the columns are those from the start');

$node->stop;
done_testing();
