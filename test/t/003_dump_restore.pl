# A dump taken in the middle of a migration continues in another cluster.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $rows = 20_000;
my $folder = PostgreSQL::Test::Utils::tempdir();
my $old_home = PostgreSQL::Test::Cluster->new('old_home');
my $new_home = PostgreSQL::Test::Cluster->new('new_home');

for my $node ($old_home, $new_home)
{
	$node->init;
	$node->append_conf('postgresql.conf', "zdm.auto_start = off\n");
	$node->start;
	$node->safe_psql('postgres', 'CREATE ROLE owner; CREATE ROLE reader;');
}

sub query
{
	my ($node, $db, $sql) = @_;
	return $node->safe_psql($db, $sql);
}

# Schemas whose names sort before and after zdm's and one another's.
my %table = (
	expanded => 'aaa.users',
	half => '"Zzz"."Users, old"',
	ready => 'public.people',
	contracted => 'zzz.users');
my %name;

sub backfill
{
	my ($node, $db, $which) = @_;
	return $node->psql($db, "CALL zdm.backfill('$name{$which}')");
}

# Until some rows are done, but not all.
sub backfill_half
{
	my ($node, $db, $which) = @_;
	my $done = 0;

	for (1 .. 60)
	{
		local $ENV{PGOPTIONS} =
		  '-c zdm.batch_target=1ms -c zdm.backfill_pause=50 -c statement_timeout=500ms';
		$node->psql($db, "CALL zdm.backfill('$name{$which}')");
		$done = query($node, $db, qq(SELECT count("full name") FROM $table{$which}));
		last if $done > 0;
	}
	cmp_ok($done, '>', 0, "$which: some rows are done");
	cmp_ok($done, '<', $rows, "$which: not all are");
	return $done;
}

query($old_home, 'postgres', 'CREATE DATABASE shop');
query($old_home, 'shop', 'CREATE SCHEMA aaa; CREATE SCHEMA "Zzz"; CREATE SCHEMA zzz; CREATE EXTENSION zdm');
for my $which (sort keys %table)
{
	query(
		$old_home, 'shop', qq(
		CREATE TABLE $table{$which} (id int PRIMARY KEY, name text, note text DEFAULT 'none');
		CREATE INDEX ON $table{$which} (name);
		ALTER TABLE $table{$which} OWNER TO owner;
		GRANT SELECT (id, name) ON $table{$which} TO reader;
		INSERT INTO $table{$which} SELECT i, 'user ' || i FROM generate_series(1, $rows) i;
	));
	$name{$which} = query($old_home, 'shop',
		"SELECT zdm.rename_column('$table{$which}', 'name', 'full name', migration => '$which')");
}

# An expression rule, too: columns that are there already.
query(
	$old_home, 'shop', qq(
	CREATE TABLE aaa.prices (id int, euro numeric, cent bigint);
	INSERT INTO aaa.prices SELECT i, i / 100.0 FROM generate_series(1, 1000) i;
	SELECT zdm._sync_columns('aaa.prices', '{euro}', '{cent}', '{(euro * 100)::bigint}', '{cent / 100.0}', 'prices');
));
$name{prices} = 'prices';

# Columns split before the backfill, merged up to the quarantine.
query(
	$old_home, 'shop', q(
	CREATE TABLE zzz.spans (id int PRIMARY KEY, span text);
	INSERT INTO zzz.spans SELECT i, i || '/' || i + 1 FROM generate_series(1, 1000) i;
	SELECT zdm.split_column('zzz.spans', 'span',
		'{"a": {"type": "int", "up": "split_part(span, ''/'', 1)::int"}, "b": {"type": "int", "up": "split_part(span, ''/'', 2)::int"}}',
		'a || ''/'' || b', migration => 'split');
	CREATE TABLE aaa.bounds (id int PRIMARY KEY, a int, b int);
	INSERT INTO aaa.bounds SELECT i, i, i + 1 FROM generate_series(1, 1000) i;
	SELECT zdm.merge_columns('aaa.bounds', '{a,b}', 'bounds', 'int4range', 'int4range(a, b)',
		'{"a": "lower(bounds)", "b": "upper(bounds)"}', migration => 'merge');
));
$name{$_} = $_ for ('split', 'merge');
is(backfill($old_home, 'shop', 'merge'), 0, 'merge: backfilled');
query($old_home, 'shop', "SELECT zdm.contract('merge', '1 day')");

my $half = backfill_half($old_home, 'shop', 'half');
is(backfill($old_home, 'shop', $_), 0, "$_: backfilled") for ('ready', 'contracted');
query($old_home, 'shop', "SELECT zdm.contract('contracted', '1 day')");
# Both versions have written since.
for my $which (sort keys %table)
{
	query(
		$old_home, 'shop', qq(
		INSERT INTO $table{$which} (id, name) VALUES ($rows + 1, 'by the old name');
		INSERT INTO $table{$which} (id, "full name") VALUES ($rows + 2, 'by the new name');
		UPDATE $table{$which} SET "full name" = 'changed' WHERE id = 7;
	));
}

my $status = 'SELECT migration, pattern, relation, state, next_command, quarantine_until FROM zdm.status ORDER BY 1';
my $everything = join ' UNION ALL ', map
  qq(SELECT '$_', md5(string_agg(t::text, ' ' ORDER BY id)) FROM $table{$_} t), sort keys %table;
$everything .= ' ORDER BY 1';
my $status_before = query($old_home, 'shop', $status);
my $events_before = query($old_home, 'shop', 'SELECT count(*) FROM zdm.events WHERE event <> $$second column follows$$');
my $before = query($old_home, 'shop', $everything);
is(scalar(split /\n/, $status_before), 7, 'seven migrations are in flight') or diag($status_before);

# Two ways out of the old home, two ways into the new one.
my @dump = ('--dbname', $old_home->connstr('shop'));
command_ok([ 'pg_dump', @dump, '--file', "$folder/plain.sql" ], 'pg_dump');
command_ok([ 'pg_dump', @dump, '-Fc', '--file', "$folder/custom" ], 'pg_dump -Fc');
query($new_home, 'postgres', "CREATE DATABASE $_") for ('plain', 'custom');
command_ok(
	[
		'psql', '-Xq', '-v', 'ON_ERROR_STOP=1', '-d', $new_home->connstr('plain'),
		'-f', "$folder/plain.sql"
	],
	'restored by psql');
command_ok(
	[ 'pg_restore', '--exit-on-error', '-j2', '-d', $new_home->connstr('custom'), "$folder/custom" ],
	'restored by pg_restore -j2');

for my $db ('plain', 'custom')
{
	is(query($new_home, $db, $everything), $before, "$db: every row is as it was");
	is(query($new_home, $db, $status), $status_before, "$db: status shows the same");
	is(query($new_home, $db, 'SELECT count(*) FROM zdm.events WHERE event <> $$second column follows$$'), $events_before, "$db: the log came along");

	# Both versions go on before anything else happens.
	for my $which (sort keys %table)
	{
		query(
			$new_home, $db, qq(
			UPDATE $table{$which} SET name = 'updated by the old name' WHERE id = 1;
			UPDATE $table{$which} SET "full name" = 'updated by the new name' WHERE id = 2;
			INSERT INTO $table{$which} (id, name) VALUES ($rows + 3, 'inserted');
		));
		is( query($new_home, $db, qq(SELECT count(*) FROM $table{$which} WHERE id IN (1, 2, $rows + 3) AND name = "full name")),
			3, "$db, $which: what is written is in sync");
	}

	is(backfill($new_home, $db, $_), 0, "$db, $_: the backfill goes on") for ('expanded', 'half', 'prices', 'split');
	for my $which ('expanded', 'half', 'ready', 'contracted', 'prices', 'split', 'merge')
	{
		is(query($new_home, $db, "SELECT sum(mismatches) FROM zdm.verify('$which')"), 0, "$db, $which: in sync");
	}
	is(query($new_home, $db, 'SELECT count(*) FROM aaa.prices WHERE cent = id'), 1000, "$db: the expression came along");
	query($new_home, $db, 'UPDATE zzz.spans SET b = 0 WHERE id = 1; UPDATE aaa.bounds SET b = 9 WHERE id = 1');
	is(query($new_home, $db, 'SELECT span FROM zzz.spans WHERE id = 1'), '1/0', "$db: a part of a split column is in sync");
	is(query($new_home, $db, 'SELECT bounds FROM aaa.bounds WHERE id = 1'), '[1,9)', "$db: a part of a merged column is in sync");
	is(query($new_home, $db, "SELECT zdm.contract('$_')"), 'finished', "$db, $_: on to the end") for ('half', 'ready', 'prices', 'split');
	is(query($new_home, $db, "SELECT zdm.rollback('merge')"), 'rolled_back', "$db, merge: back from the quarantine");
	is(query($new_home, $db, 'SELECT count(*) FROM zzz.spans WHERE a = id AND b = id + 1'), 999, "$db, split: nothing is lost");
	is(query($new_home, $db, 'SELECT count(*) FROM aaa.bounds WHERE a = id AND b = id + 1'), 999, "$db, merge: nothing is lost");
	is(query($new_home, $db, "SELECT zdm.contract('contracted', '0')"), 'finished', "$db, contracted: on to the end");
	is(query($new_home, $db, "SELECT zdm.rollback('expanded')"), 'rolled_back', "$db, expanded: or back");
	is(query($new_home, $db, $status), '', "$db: nothing is in flight");
	for my $which (sort keys %table)
	{
		my $column = $which eq 'expanded' ? 'name' : '"full name"';
		is( query($new_home, $db, qq(SELECT count(*), count(*) FILTER (WHERE $column = 'user ' || id) FROM $table{$which})),
			($rows + 3) . '|' . ($rows - 3), "$db, $which: nothing is lost");
	}
	is(query($new_home, $db, "SELECT count(*) FROM pg_trigger WHERE tgname LIKE '~zdm%'"), 0, "$db: no trigger is left");
	# What a dump restores must not collide with what comes after.
	is(query($new_home, $db, "SELECT zdm.rename_column('aaa.users', 'name', 'label')"), 'rename_users_name_to_label', "$db: a new migration");
}

# The rows alone, into a table whose migration is in flight there: they come
# in full, and none is left out of sync.
command_ok(
	[
		'pg_dump', @dump, '--data-only', '--table=zzz.users', '--table=aaa.users',
		'--file', "$folder/data.sql"
	],
	'pg_dump --data-only');
query($new_home, 'postgres', 'CREATE DATABASE loaded');
query(
	$new_home, 'loaded', qq(
	CREATE EXTENSION zdm;
	CREATE SCHEMA aaa;
	CREATE SCHEMA zzz;
	CREATE TABLE aaa.users (id int PRIMARY KEY, name text, note text DEFAULT 'none');
	CREATE TABLE zzz.users (id int PRIMARY KEY, name text, note text DEFAULT 'none');
	SELECT zdm.rename_column('aaa.users', 'name', 'full name', migration => 'expanded');
	SELECT zdm.rename_column('zzz.users', 'name', 'full name', migration => 'contracted');
));
command_ok(
	[ 'psql', '-Xq', '-v', 'ON_ERROR_STOP=1', '-d', $new_home->connstr('loaded'), '-f', "$folder/data.sql" ],
	'loaded into tables in flight');
for my $which ('expanded', 'contracted')
{
	is(backfill($new_home, 'loaded', $which), 0, "$which: backfill");
	is(query($new_home, 'loaded', "SELECT sum(mismatches) FROM zdm.verify('$which')"), 0, "$which: in sync");
	is( query($new_home, 'loaded', qq(SELECT count(*) FILTER (WHERE name = "full name"),
			count(*) FILTER (WHERE name = 'user ' || id),
			count(*) FILTER (WHERE name = 'changed'),
			count(*) FILTER (WHERE name LIKE 'by the %') FROM $table{$which})),
		join('|', $rows + 2, $rows - 1, 1, 2), "$which: every value came");
}

# A dump of the schema alone has no migration's rows, but its column and
# trigger: writes must not fail there.
command_ok([ 'pg_dump', @dump, '--schema-only', '--file', "$folder/schema.sql" ], 'pg_dump --schema-only');
query($new_home, 'postgres', 'CREATE DATABASE empty');
command_ok(
	[ 'psql', '-Xq', '-v', 'ON_ERROR_STOP=1', '-d', $new_home->connstr('empty'), '-f', "$folder/schema.sql" ],
	'the schema alone');
is( query($new_home, 'empty', q(INSERT INTO aaa.users (id, name) VALUES (1, 'one'); SELECT name FROM aaa.users)),
	'one', 'a table without its migration can be written');

$old_home->stop;
$new_home->stop;
done_testing();
