# Columns that come, go, and become mandatory or optional, and tables that go:
# kill -9, immediate shutdowns and promotions at every phase of their lives, with
# an application writing all the time.  See ZdmHarness.
#
#   ZDM_SEED   repeats what a seed has dealt
#   ZDM_KILLS  how many kills (20, with a round for each scenario; make soak has
#              200, with which every scenario is hit in every phase)

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";
use PostgreSQL::Test::Utils;
use Test::More;
use ZdmHarness;

# Both versions write the column name; of the rows that exist, half hold NULL in
# it.
my $rows = 20_000;
my %half = (
	old => 'name',
	new => 'name',
	rows => $rows,
	create => q(
		CREATE TABLE :t (
			id int PRIMARY KEY,
			hits int NOT NULL DEFAULT 0,
			name text)),
	fill => "INSERT INTO :t (id, name) SELECT i, CASE WHEN i % 2 = 0 THEN 'user ' || i END"
	  . " FROM generate_series(100001, 100000 + $rows) i",
	kept => q(coalesce(:c, 'user ' || id) = 'user ' || id));

my %mandatory = (
	%half,
	name => 'a column that becomes mandatory',
	expand => q(zdm.set_not_null(':t', 'name', '''user '' || id')),
	migration => 'set_:t_name_not_null',
	plain => 'ALTER TABLE :t ALTER name SET NOT NULL');

my %optional = (
	%half,
	name => 'a column that becomes optional',
	migrates => 0,
	proves => 1,
	create => q(
		CREATE TABLE :t (
			id int PRIMARY KEY,
			hits int NOT NULL DEFAULT 0,
			name text NOT NULL)),
	fill => "INSERT INTO :t (id, name) SELECT i, 'user ' || i FROM generate_series(100001, 100000 + $rows) i",
	expand => q(zdm.drop_not_null(':t', 'name')),
	migration => 'drop_:t_name_not_null',
	plain => 'ALTER TABLE :t ALTER name DROP NOT NULL');

my %added = (
	%half,
	name => 'a column that comes with a default for each row',
	expand => q(zdm.add_column(':t', 'extra', 'text', default_value => 'gen_random_uuid()::text')),
	migration => 'add_:t_extra',
	plain => 'ALTER TABLE :t ADD COLUMN extra text DEFAULT gen_random_uuid()::text');

# The new version always gives it a value.
my %added_mandatory = (
	%added,
	name => 'a mandatory column that comes',
	load => { also => { new => [ 'extra', "'own'" ] } },
	expand => q(zdm.add_column(':t', 'extra', 'text', not_null => true, fill => '''of '' || id')),
	plain => 'ALTER TABLE :t ADD COLUMN extra text;'
	  . q( UPDATE :t SET extra = ''; ALTER TABLE :t ALTER extra SET NOT NULL));

# No column of the kind that is stored comes without writing the table.
my %generated = (
	%added,
	name => 'a column that is computed',
	contracts => 0,
	expand => q(zdm.add_column(':t', 'extra', 'text', generated => 'upper(name)')));

# Ready at once.  Both versions leave the column to its default.
my %dropped = (
	%half,
	name => 'a column that is dropped',
	migrates => 0,
	goes => 1,
	create => q(
		CREATE TABLE :t (
			id int PRIMARY KEY,
			hits int NOT NULL DEFAULT 0,
			name text,
			legacy text NOT NULL DEFAULT 'x' CHECK (legacy <> ''));
		CREATE INDEX ON :t (legacy)),
	restored => q(legacy = 'x'),
	expand => q(zdm.drop_column(':t', 'legacy')),
	migration => 'drop_:t_legacy',
	plain => 'ALTER TABLE :t DROP COLUMN legacy');

# The old version always gives it a value, the new one never does.
my %dropped_mandatory = (
	%dropped,
	name => 'a mandatory column that is dropped',
	create => q(
		CREATE TABLE :t (
			id int PRIMARY KEY,
			hits int NOT NULL DEFAULT 0,
			name text,
			legacy text NOT NULL UNIQUE)),
	fill => "INSERT INTO :t (id, name, legacy) SELECT i, CASE WHEN i % 2 = 0 THEN 'user ' || i END, 'old ' || i"
	  . " FROM generate_series(100001, 100000 + $rows) i",
	restored => q(legacy LIKE CASE WHEN id > 100000 THEN 'old ' || id ELSE 'old %' END OR legacy = 'new ' || id),
	load => { also => { old => [ 'legacy', "'old ' || gen_random_uuid()" ] } },
	expand => q(zdm.drop_column(':t', 'legacy', fill => '''new '' || id')));

# The application writes the table that it refers to.
my %dropped_table = (
	%dropped,
	name => 'a table that is dropped',
	other => 'gone_:t',
	create => q(
		CREATE TABLE :t (
			id int PRIMARY KEY,
			hits int NOT NULL DEFAULT 0,
			name text);
		CREATE TABLE gone_:t (
			id int PRIMARY KEY REFERENCES :t ON DELETE CASCADE,
			what text NOT NULL);
		CREATE INDEX ON gone_:t (what)),
	fill => "$half{fill}; INSERT INTO gone_:t SELECT id, 'of ' || id FROM :t WHERE id > 100000",
	restored => qq(id <= 100000 OR id IN (SELECT id FROM gone_:t WHERE what = 'of ' || id)),
	expand => q(zdm.drop_table('gone_:t')),
	migration => 'drop_gone_:t',
	plain => 'DROP TABLE gone_:t');

my @scenarios = (
	\%mandatory, \%optional, \%added, \%added_mandatory, \%generated, \%dropped,
	\%dropped_mandatory, \%dropped_table);

ZdmHarness->new(
	seed => $ENV{ZDM_SEED} // int(rand(1_000_000)),
	kills => $ENV{ZDM_KILLS} // 20,
	rounds => scalar @scenarios,
	scenarios => \@scenarios)->run;

done_testing();
