# kill -9 of workers, callers and the postmaster, immediate shutdowns and
# promotions, at random moments of the life of a table that is renamed by a
# second one, with an application that writes both.  See ZdmHarness.
#
#   ZDM_SEED   repeats what a seed has dealt
#   ZDM_KILLS  how many kills (16)

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";
use PostgreSQL::Test::Utils;
use Test::More;
use ZdmHarness;

my $rows = 20_000;
my %clone = (
	name => 'a table that gets a second one',
	old => 'name',
	new => 'name',
	second => ':t_new',
	renamed => 1,
	two => 1,
	rows => $rows,
	create => q(
		CREATE TABLE :t (
			id int PRIMARY KEY,
			hits int NOT NULL DEFAULT 0,
			name text CONSTRAINT named CHECK (name <> ''));
		CREATE INDEX ON :t (name)),
	fill => "INSERT INTO :t (id, name) SELECT i, 'user ' || i FROM generate_series(100001, 100000 + $rows) i",
	kept => q(:c = 'user ' || id),
	expand => q(zdm.rename_table(':t', ':t_new', 'dual_write')),
	migration => 'rename_:t_to_:t_new',
	plain => q(
		ALTER TABLE :t RENAME TO :t_new;
		ALTER INDEX :t_pkey RENAME TO :t_new_pkey;
		ALTER INDEX :t_name_idx RENAME TO :t_new_name_idx));

# The second table is there before, with a key of its own.
my %partitioned = (
	%clone,
	name => 'a table that gets a partitioned one',
	create => q(
		CREATE TABLE :t (
			id int PRIMARY KEY,
			hits int NOT NULL DEFAULT 0,
			name text);
		CREATE TABLE :t_new (
			id int PRIMARY KEY,
			hits int NOT NULL DEFAULT 0,
			name text)
			PARTITION BY RANGE (id);
		CREATE TABLE :t_low PARTITION OF :t_new FOR VALUES FROM (MINVALUE) TO (110000);
		CREATE TABLE :t_high PARTITION OF :t_new DEFAULT),
	plain => 'DROP TABLE :t');

ZdmHarness->new(
	seed => $ENV{ZDM_SEED} // int(rand(1_000_000)),
	kills => $ENV{ZDM_KILLS} // 16,
	scenarios => [ \%clone, \%partitioned ])->run;

done_testing();
