# A type change of columns with what PostgreSQL 18 has brought: constraints that
# are not enforced, keys WITHOUT OVERLAPS and with a PERIOD, virtual columns.  What
# cannot be carried over is refused before anything is done; what can, is in the
# end as after a plain ALTER TABLE.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
plan skip_all => 'PostgreSQL 18 has these first' if $node->pg_version < 18;

$node->init;
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'zdm'\nzdm.auto_start = off");
$node->start;

my $schema = q{
	CREATE SCHEMA shop;
	SET search_path = shop;
	CREATE DOMAIN span AS daterange;
	CREATE TABLE prices (
		id int PRIMARY KEY, gross int, net int, tax int GENERATED ALWAYS AS (gross - 1) VIRTUAL, twice int GENERATED ALWAYS AS (id * 2) VIRTUAL,
		CONSTRAINT gross_positive CHECK (gross > 0) NOT ENFORCED, CONSTRAINT net_positive CHECK (net > 0));
	INSERT INTO prices (id, gross, net) SELECT i, i, i FROM generate_series(1, 10) i;
	CREATE TABLE tags (price int CONSTRAINT tags_price REFERENCES prices NOT ENFORCED);
	CREATE TABLE rooms (r int4range, p daterange, beds int, CONSTRAINT rooms_key PRIMARY KEY (r, p WITHOUT OVERLAPS),
		CONSTRAINT rooms_beds UNIQUE (r, p WITHOUT OVERLAPS));
	INSERT INTO rooms VALUES ('[1,2)', '[2020-01-01,2021-01-01)', 1), ('[1,2)', '[2021-01-01,2022-01-01)', 2);
	CREATE TABLE stays (r int4range, p span, n int, CONSTRAINT stays_room FOREIGN KEY (r, PERIOD p) REFERENCES rooms (r, PERIOD p));
	INSERT INTO stays VALUES ('[1,2)', '[2020-06-01,2021-06-01)', 1);
};
my $catalog = q(
	SELECT conrelid::regclass, conname, contype, conenforced, convalidated, conperiod, pg_get_constraintdef(oid)
	  FROM pg_constraint WHERE connamespace = 'shop'::regnamespace AND contype <> 'n'
	UNION ALL SELECT attrelid::regclass, attname, attgenerated, attnotnull, false, false, format_type(atttypid, atttypmod)
	  FROM pg_attribute JOIN pg_class c ON c.oid = attrelid WHERE relnamespace = 'shop'::regnamespace AND relkind = 'r' AND attnum > 0 AND NOT attisdropped
	UNION ALL SELECT tgrelid::regclass, tgfoid::regproc::text, tgenabled, tgdeferrable, tginitdeferred, false, ''
	  FROM pg_trigger t JOIN pg_class c ON c.oid = tgrelid WHERE relnamespace = 'shop'::regnamespace
	ORDER BY 1, 2, 3, 7);

sub catalog
{
	my ($db) = @_;
	return $node->safe_psql($db, "SET search_path = shop; $catalog");
}

sub refused
{
	my ($call, $reason) = @_;
	my ($status, undef, $err) = $node->psql('plain', "SET search_path = shop; SELECT zdm.change_column_type($call)");
	isnt($status, 0, "$call is refused");
	like($err, $reason, 'with the reason');
	return;
}

sub zdm
{
	my ($db, $sql, $expected) = @_;
	my ($status, $out, $err) = $node->psql($db, $sql);
	is($status, 0, "$db: $sql") or diag($err);
	is($out, $expected, "$db: result") if defined $expected;
	return;
}

for my $db ('plain', 'direct', 'quarantine', 'back')
{
	$node->safe_psql('postgres', "CREATE DATABASE $db");
	$node->safe_psql($db, "CREATE EXTENSION zdm; $schema");
}
my $original = catalog('plain');

refused("'prices', 'gross', 'bigint'", qr/constraint gross_positive of table shop\.prices: is not enforced/);
refused("'prices', 'gross', 'bigint'", qr/column tax of table shop\.prices uses the column/);
refused("'prices', 'tax', 'bigint'", qr/column "tax" of table "prices" is a generated column/);
refused("'prices', 'id', 'bigint'", qr/constraint tags_price of table shop\.tags: is not enforced/);
refused("'tags', 'price', 'bigint'", qr/constraint tags_price of table shop\.tags: is not enforced/);
refused("'rooms', 'p', 'tstzrange', 'tstzrange(lower(p), upper(p))', 'daterange(lower(p)::date, upper(p)::date)'",
	qr/foreign key stays_room/);
refused("'stays', 'r', 'int8range', 'int8range(lower(r), upper(r))', 'int4range(lower(r)::int, upper(r)::int)'",
	qr/foreign key stays_room of table shop\.stays: there is no operator/);
$node->safe_psql('plain', 'CREATE TABLE shop.other AS TABLE shop.rooms; ALTER TABLE shop.other ADD CONSTRAINT other_key UNIQUE (r, p WITHOUT OVERLAPS)');
refused("'other', 'r', 'int8range', 'int8range(lower(r), upper(r))', 'int4range(lower(r)::int, upper(r)::int)'",
	qr/index other_key: a key WITHOUT OVERLAPS cannot be made from an index/);
$node->safe_psql('plain', 'DROP TABLE shop.other');
is(catalog('plain'), $original, 'nothing was done');

# What is beside them is none of a change's business; the side of a PERIOD that
# refers can change.
my @changes = (
	[ 'net', "'shop.prices', 'net', 'bigint', migration => 'net'" ],
	[ 'beds', "'shop.rooms', 'beds', 'bigint', migration => 'beds'" ],
	[ 'period', "'shop.stays', 'p', 'daterange', 'p', 'p', migration => 'period'" ]);
# The server cannot change a PERIOD's type under its foreign key.
$node->safe_psql('plain', 'SET search_path = shop; ALTER TABLE prices ALTER net TYPE bigint;'
	  . 'ALTER TABLE rooms ALTER beds TYPE bigint; ALTER TABLE stays DROP CONSTRAINT stays_room, ALTER p TYPE daterange;'
	  . 'ALTER TABLE stays ADD CONSTRAINT stays_room FOREIGN KEY (r, PERIOD p) REFERENCES rooms (r, PERIOD p)');
my $changed = catalog('plain');

sub application
{
	my ($db, $when) = @_;
	zdm($db, q{SET search_path = shop; INSERT INTO stays (r, p, n) VALUES ('[1,2)', '[2020-02-01,2020-03-01)', 2)});
	zdm($db, q{SET search_path = shop; UPDATE stays SET p = '[2020-02-01,2020-04-01)' WHERE n = 2; DELETE FROM stays WHERE n = 2});
	for my $sql (
		q{INSERT INTO stays (r, p, n) VALUES ('[1,2)', '[2020-02-01,2023-03-01)', 2)},
		q{UPDATE stays SET p = '[2020-06-01,2023-06-01)'},
		q{DELETE FROM rooms WHERE beds = 1})
	{
		my (undef, undef, $err) = $node->psql($db, "SET search_path = shop; $sql");
		like($err, qr/violates foreign key constraint/, "$db, $when: $sql");
	}
	zdm($db, 'SELECT sum(tax), sum(twice) FROM shop.prices', '45|110');
	return;
}

for my $change (@changes)
{
	my ($m, $call) = @$change;

	for my $db ('direct', 'quarantine', 'back')
	{
		zdm($db, "SELECT zdm.change_column_type($call)", $m);
		zdm($db, "CALL zdm.backfill('$m')");
	}
	application('direct', "$m ready");
	zdm('direct', "SELECT zdm.contract('$m')", 'finished');
	application('direct', "$m finished");
	zdm('quarantine', "SELECT zdm.contract('$m', '1 day')", 'contracted');
	application('quarantine', "$m contracted");
	zdm('quarantine', "SELECT zdm.contract('$m', '0')", 'finished');
	zdm('back', "SELECT zdm.contract('$m', '1 day')", 'contracted');
	zdm('back', "SELECT zdm.rollback('$m')", 'rolled_back');
	application('back', "$m rolled back");
}
is(catalog('direct'), $changed, 'contract without a quarantine: as after the plain change');
is(catalog('quarantine'), $changed, 'contract with a quarantine: as after the plain change');
is(catalog('back'), $original, 'rolled back: as before');

$node->stop;
done_testing();
