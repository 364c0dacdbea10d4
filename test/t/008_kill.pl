# kill -9 of workers, callers and the postmaster, immediate shutdowns and
# promotions, at random moments of the life of one migration after the other,
# with an application writing all the time.  See ZdmHarness; 025_column_kill.pl has
# the columns and tables that come and go.
#
#   ZDM_SEED   repeats what a seed has dealt
#   ZDM_KILLS  how many kills (20; make soak has 200)

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";
use PostgreSQL::Test::Utils;
use Test::More;
use ZdmHarness;

my $rows = 20_000;
my %rename = (
	old => 'name',
	new => 'full_name',
	indexes => 1,
	rows => $rows,
	fill => "INSERT INTO :t (id, name) SELECT i, 'user ' || i FROM generate_series(100001, 100000 + $rows) i",
	kept => q(:c = 'user ' || id),
	expand => q(zdm.rename_column(':t', 'name', 'full_name')),
	migration => 'rename_:t_name_to_full_name',
	plain => 'ALTER TABLE :t RENAME COLUMN name TO full_name');

my %plain = (
	%rename,
	name => 'a column of a table',
	create => q(
		CREATE TABLE :t (
			id int PRIMARY KEY,
			hits int NOT NULL DEFAULT 0,
			name text CHECK (name <> ''));
		CREATE INDEX ON :t (name)));

# Large enough to be vacuumed in between.
my %wide = (
	%plain,
	name => 'a column of a large table',
	create => q(
		CREATE TABLE :t (
			id int PRIMARY KEY,
			hits int NOT NULL DEFAULT 0,
			name text UNIQUE,
			filler char(500) DEFAULT '');
		ALTER TABLE :t ALTER filler SET STORAGE PLAIN));

my %partitioned = (
	%rename,
	name => 'a column of a partitioned table',
	create => q(
		CREATE TABLE :t (
			id int PRIMARY KEY,
			hits int NOT NULL DEFAULT 0,
			name text NOT NULL DEFAULT 'nobody')
			PARTITION BY RANGE (id);
		CREATE TABLE :t_low PARTITION OF :t FOR VALUES FROM (MINVALUE) TO (110000);
		CREATE TABLE :t_high PARTITION OF :t FOR VALUES FROM (110000) TO (MAXVALUE);
		CREATE INDEX ON :t (name)));

# Two columns of which neither is the copy of the other.
my %expression = (
	name => 'two columns that an expression connects',
	old => 'name',
	new => 'label',
	rows => $rows,
	create => q(
		CREATE TABLE :t (
			id int PRIMARY KEY,
			hits int NOT NULL DEFAULT 0,
			name text,
			label text)),
	fill => "INSERT INTO :t (id, name) SELECT i, 'user ' || i FROM generate_series(100001, 100000 + $rows) i",
	kept => q(lower(:c) = 'user ' || id),
	expand => q(zdm._sync_columns(':t', '{name}', '{label}', '{upper(name)}', '{lower(label)}', 'label_:t')),
	migration => 'label_:t',
	plain => '',
	load => { up => sub { return uc $_[0] } });

# Two columns of one, and one of two: the application writes one of each pair,
# the other follows.
my %split = (
	%expression,
	name => 'a column that is split into two',
	create => q(
		CREATE TABLE :t (
			id int PRIMARY KEY,
			hits int NOT NULL DEFAULT 0,
			name text)),
	expand => q(zdm.split_column(':t', 'name',
		'{"label": {"type": "text", "up": "upper(left(name, 50))"}, "tail": {"type": "text", "up": "substr(name, 51)"}}',
		'lower(label || coalesce(tail, ''''))')),
	migration => 'split_:t_name',
	plain => 'ALTER TABLE :t ADD COLUMN tail text, ADD COLUMN label text, DROP COLUMN name');

my %merge = (
	%expression,
	name => 'two columns that are merged into one',
	create => q(
		CREATE TABLE :t (
			id int PRIMARY KEY,
			hits int NOT NULL DEFAULT 0,
			name text,
			title text NOT NULL DEFAULT '')),
	expand => q(zdm.merge_columns(':t', '{title,name}', 'label', 'text', 'upper(title || name)',
		'{"title": "''''", "name": "lower(label)"}')),
	migration => 'merge_:t_into_label',
	plain => 'ALTER TABLE :t ADD COLUMN label text, DROP COLUMN title, DROP COLUMN name');

# One name, which changes its type.
my %retyped = (
	%rename,
	name => 'a column that changes its type',
	new => 'name',
	create => q(
		CREATE TABLE :t (
			id int PRIMARY KEY,
			hits int NOT NULL DEFAULT 0,
			name text CHECK (name <> ''));
		CREATE INDEX ON :t (name)),
	expand => q(zdm.change_column_type(':t', 'name', 'varchar(200)', up => 'name', down => 'name', migration => 'retype_:t')),
	migration => 'retype_:t',
	plain => 'ALTER TABLE :t ALTER name TYPE varchar(200)');

# Names of which one is a view's: ready at once, and nothing is ever copied.
my %view = (
	old => 'name',
	new => 'name',
	rows => $rows,
	migrates => 0,
	create => q(
		CREATE TABLE :t (
			id int PRIMARY KEY,
			hits int NOT NULL DEFAULT 0,
			name text CHECK (name <> ''));
		CREATE INDEX ON :t (name);
		GRANT SELECT, UPDATE ON :t TO pg_monitor),
	fill => "INSERT INTO :t (id, name) SELECT i, CASE WHEN i % 2 = 0 THEN 'user ' || i END"
	  . " FROM generate_series(100001, 100000 + $rows) i",
	kept => q(coalesce(:c, 'user ' || id) = 'user ' || id));

my %renamed = (
	%view,
	name => 'a table that is renamed, with its old name a view',
	second => ':t_new',
	renamed => 1,
	expand => q(zdm.rename_table(':t', ':t_new')),
	migration => 'rename_:t_to_:t_new',
	plain => 'ALTER TABLE :t RENAME TO :t_new');

my %renamed_last = (
	%renamed,
	name => 'a table that is renamed, with its new name a view',
	expand => q(zdm.rename_table(':t', ':t_new', 'view_first')));

my %two_names = (
	%view,
	name => 'a column with two names in a view',
	new => 'full_name',
	second => '~zdm_:t',
	expand => q(zdm.rename_column(':t', 'name', 'full_name', strategy => 'view')),
	migration => 'rename_:t_name_to_full_name',
	plain => 'ALTER TABLE :t RENAME COLUMN name TO full_name');

ZdmHarness->new(
	seed => $ENV{ZDM_SEED} // int(rand(1_000_000)),
	kills => $ENV{ZDM_KILLS} // 20,
	scenarios => [
		\%plain, \%wide, \%partitioned, \%expression, \%split, \%merge,
		\%renamed, \%renamed_last, \%two_names,
		\%retyped ])->run;

done_testing();
