# kill -9, immediate shutdowns and promotions in every phase of the life of a key
# that changes its type, together with what refers to it: the table itself, a plain
# table, a partitioned one, and one by several columns.  A trigger of the key's
# table writes these, as the application does its rows.  See ZdmHarness.
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

# A column that was added is the last of its table, so it is from the start.
my $rows = 10_000;
my $trigger = q(
	CREATE FUNCTION refer_:t() RETURNS trigger LANGUAGE plpgsql AS $$
	DECLARE
		row_of_it :t;
	BEGIN
		SELECT * INTO row_of_it FROM :t WHERE id = NEW.id;
		INSERT INTO of_:t (order_id) VALUES (row_of_it.id);
		RETURN NULL;
	END $$;
	CREATE FUNCTION parent_:t() RETURNS trigger LANGUAGE plpgsql AS $$
	BEGIN
		NEW.parent := CASE WHEN NEW.id <= 100000 THEN NEW.id + 100000 ELSE NULLIF(NEW.id - 1, 100000) END;
		RETURN NEW;
	END $$;
	CREATE TRIGGER parent BEFORE INSERT ON :t FOR EACH ROW EXECUTE FUNCTION parent_:t();
	CREATE TRIGGER refer AFTER INSERT ON :t FOR EACH ROW EXECUTE FUNCTION refer_:t());
my $referred = 'parent IS NOT DISTINCT FROM CASE WHEN id <= 100000 THEN id + 100000 ELSE NULLIF(id - 1, 100000) END'
  . ' AND (SELECT count(*) FROM of_:t o WHERE o.order_id = :t.id) = 1';
my %plain = (
	name => 'a key to which its own table and another one refer',
	old => 'name',
	new => 'name',
	rows => $rows,
	indexes => 1,
	other => 'of_:t',
	create => qq(
		CREATE TABLE :t (
			hits int NOT NULL DEFAULT 0,
			name text,
			id int PRIMARY KEY,
			parent int REFERENCES :t ON DELETE SET NULL);
		CREATE INDEX ON :t (parent);
		CREATE TABLE of_:t (order_id int NOT NULL REFERENCES :t ON DELETE CASCADE);
		CREATE INDEX ON of_:t (order_id);
		$trigger),
	fill => "INSERT INTO :t (id, name) SELECT i, 'user ' || i FROM generate_series(100001, 100000 + $rows) i",
	kept => ":c = 'user ' || id AND $referred",
	restored => $referred,
	expand => q(zdm.change_column_type(':t', 'id', 'bigint')),
	migration => 'change_:t_id_to_bigint',
	plain => 'ALTER TABLE :t ALTER id TYPE bigint, ALTER parent TYPE bigint; ALTER TABLE of_:t ALTER order_id TYPE bigint');

my %partitioned = (
	%plain,
	name => 'a key to which a partitioned table refers',
	create => qq(
		CREATE TABLE :t (
			hits int NOT NULL DEFAULT 0,
			name text,
			id int PRIMARY KEY,
			parent int REFERENCES :t ON DELETE SET NULL);
		CREATE TABLE of_:t (kind int DEFAULT 1, order_id int REFERENCES :t ON DELETE CASCADE) PARTITION BY LIST (kind);
		CREATE TABLE of_:t_1 PARTITION OF of_:t FOR VALUES IN (1);
		CREATE TABLE of_:t_2 PARTITION OF of_:t DEFAULT;
		CREATE INDEX ON of_:t (order_id);
		$trigger));

my %composite = (
	%plain,
	name => 'a key with several columns, deferrable references',
	create => qq(
		CREATE TABLE :t (
			hits int NOT NULL DEFAULT 0,
			name text,
			region int NOT NULL DEFAULT 1,
			id int NOT NULL UNIQUE,
			parent int,
			PRIMARY KEY (region, id),
			FOREIGN KEY (region, parent) REFERENCES :t ON DELETE SET NULL (parent));
		CREATE TABLE of_:t (region int DEFAULT 1, order_id int, PRIMARY KEY (order_id, region),
			FOREIGN KEY (region, order_id) REFERENCES :t ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED);
		$trigger));

my @scenarios = (\%plain, \%partitioned, \%composite);

# What refers to a key needs the preloaded library.
ZdmHarness->new(
	seed => $ENV{ZDM_SEED} // int(rand(1_000_000)),
	kills => $ENV{ZDM_KILLS} // 20,
	drivers => ['launcher'],
	scenarios => \@scenarios)->run;

done_testing();
