# A dump in each state of type changes, a split and a merge: restored by psql and
# by pg_restore with several jobs, the migrations go on there to the end, or back,
# and in the end the schema is what it is without a dump in between.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use ZdmDatabase;
use ZdmSession;

my $folder = PostgreSQL::Test::Utils::tempdir();
my $old_home = PostgreSQL::Test::Cluster->new('old_home');
my $new_home = PostgreSQL::Test::Cluster->new('new_home');

for my $node ($old_home, $new_home)
{
	$node->init;
	$node->append_conf('postgresql.conf',
		"shared_preload_libraries = 'zdm'\nzdm.auto_start = off\nmax_locks_per_transaction = 256\n");
	$node->start;
	$node->safe_psql('postgres', 'CREATE ROLE reader');
}

my $schema = q(
	CREATE SCHEMA shop;
	SET search_path = shop;
	CREATE TABLE orders (
		id serial PRIMARY KEY,
		parent int REFERENCES orders,
		number int NOT NULL CONSTRAINT orders_number UNIQUE DEFERRABLE,
		floor int,
		note text,
		EXCLUDE (floor WITH =));
	CREATE STATISTICS orders_stats ON id, note FROM orders;
	GRANT SELECT (id), UPDATE (number) ON orders TO reader;
	CREATE POLICY positive ON orders USING (id > 0);
	ALTER TABLE orders CLUSTER ON orders_pkey;
	ALTER TABLE orders REPLICA IDENTITY USING INDEX orders_pkey;
	CREATE PUBLICATION some_rows FOR TABLE orders (id, note) WHERE (id > 0);
	CREATE TRIGGER same BEFORE UPDATE OF id ON orders FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger();
	CREATE VIEW newer AS SELECT id, note FROM orders WHERE id > 3;
	GRANT SELECT ON newer TO reader;
	CREATE TABLE lines (order_id int REFERENCES orders ON DELETE CASCADE, pos int, PRIMARY KEY (order_id, pos));
	CREATE TABLE notes (order_id int, pos int, FOREIGN KEY (order_id, pos) REFERENCES lines DEFERRABLE INITIALLY DEFERRED);
	CREATE TABLE events (order_id int REFERENCES orders ON UPDATE CASCADE, kind int) PARTITION BY LIST (kind);
	CREATE TABLE events_1 PARTITION OF events FOR VALUES IN (1);
	CREATE TABLE events_2 (kind int, order_id int);
	ALTER TABLE events ATTACH PARTITION events_2 FOR VALUES IN (2);
	CREATE INDEX ON events (order_id);
	CREATE TABLE parted (id int, kind int, PRIMARY KEY (id, kind)) PARTITION BY LIST (kind);
	CREATE TABLE parted_1 PARTITION OF parted FOR VALUES IN (1);
	CREATE TABLE parted_2 (kind int NOT NULL, id int NOT NULL);
	ALTER TABLE parted ATTACH PARTITION parted_2 FOR VALUES IN (2);
	CREATE TABLE of_parted (id int, kind int, FOREIGN KEY (id, kind) REFERENCES parted);
	CREATE TABLE identified (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, v int);
	CREATE TABLE people (id int PRIMARY KEY, name text NOT NULL);
	CREATE TABLE spans (id int PRIMARY KEY, since int NOT NULL, until int);
	GRANT SELECT (id, name), UPDATE (name) ON people TO reader;
	GRANT SELECT (since, until) ON spans TO reader;
	INSERT INTO orders (number, floor, note) SELECT i, i, 'note' FROM generate_series(1, 300) i;
	UPDATE orders SET parent = id - 1 WHERE id > 1;
	INSERT INTO lines SELECT id, 1 FROM orders;
	INSERT INTO notes SELECT id, 1 FROM orders;
	INSERT INTO events SELECT id, 1 + id % 2 FROM orders;
	INSERT INTO parted SELECT id, 1 + id % 2 FROM orders;
	INSERT INTO of_parted SELECT id, kind FROM parted;
	INSERT INTO identified (v) SELECT id FROM orders;
	INSERT INTO people SELECT id, 'First' || id || ' Last' || id FROM orders;
	INSERT INTO spans SELECT id, id, id + 1 FROM orders;
);
my %call = (
	key => q(zdm.change_column_type('shop.orders', 'id', 'bigint', views => 'recreate', migration => 'key')),
	deferrable => q(zdm.change_column_type('shop.orders', 'number', 'bigint', migration => 'deferrable')),
	exclusion => q(zdm.change_column_type('shop.orders', 'floor', 'bigint', migration => 'exclusion')),
	identity => q(zdm.change_column_type('shop.identified', 'id', 'bigint', migration => 'identity')),
	parted => q(zdm.change_column_type('shop.parted', 'id', 'bigint', migration => 'parted')),
	split => q(zdm.split_column('shop.people', 'name',
		'{"first": {"type": "text", "up": "split_part(name, '' '', 1)", "not_null": true, "default_value": "''''"},
		  "last": {"type": "text", "up": "split_part(name, '' '', 2)"}}', $$first || ' ' || last$$, migration => 'split')),
	merge => q(zdm.merge_columns('shop.spans', '{since,until}', 'span', 'int4range', 'int4range(since, until)',
		'{"since": "lower(span)", "until": "upper(span)"}', not_null => true, migration => 'merge')));
my $rows = q(SELECT md5(string_agg(r, ' ' ORDER BY r)) FROM (
	SELECT concat_ws(',', 'o', id, parent, number, floor, note) FROM shop.orders
	UNION ALL SELECT concat_ws(',', 'l', order_id, pos) FROM shop.lines
	UNION ALL SELECT concat_ws(',', 'n', order_id, pos) FROM shop.notes
	UNION ALL SELECT concat_ws(',', 'e', order_id, kind) FROM shop.events
	UNION ALL SELECT concat_ws(',', 'p', id, kind) FROM shop.parted
	UNION ALL SELECT concat_ws(',', 'r', id, kind) FROM shop.of_parted
	UNION ALL SELECT concat_ws(',', 'i', id, v) FROM shop.identified) x(r));
my $status = q(SELECT string_agg(migration || ' ' || state, ', ' ORDER BY migration) FROM zdm.status);

sub create
{
	my ($node, $db) = @_;

	$node->safe_psql('postgres', "CREATE DATABASE $db");
	$node->safe_psql($db, "CREATE EXTENSION zdm; $schema");
	return;
}

# A column that was added is the last of its table: the lines in any order.  And
# since 18 NOT NULL has a name, which a partition's may not keep in a restore.
sub same_schema
{
	my ($got, $expected, $what) = @_;
	my ($left, $right) = map { [ sort map { s/,$//r =~ s/ CONSTRAINT \w+_not_null\d* NOT NULL/ NOT NULL/r } @$_ ] } ($got, $expected);

	same_lines($left, $right, $what);
	return;
}

sub restore
{
	my ($db, $from, @command) = @_;

	$new_home->safe_psql('postgres', "CREATE DATABASE $db");
	command_ok([ @command, '-d', $new_home->connstr($db) ], "$db: restored");
	is($new_home->safe_psql($db, $_), $old_home->safe_psql($from, $_), "$db: as it was") for ($rows, $status);
	same_schema(schema_lines($new_home, $db), schema_lines($old_home, $from), "$db: the schema is as it was");
	return;
}

# What the application does before anything else happens.
sub write_rows
{
	my ($db) = @_;

	$new_home->safe_psql($db, q(
		INSERT INTO shop.orders (number) VALUES (1001);
		INSERT INTO shop.lines VALUES (1, 2);
		INSERT INTO shop.notes VALUES (1, 2);
		UPDATE shop.events SET kind = 3 - kind WHERE order_id = 5;
		DELETE FROM shop.orders WHERE number = 1001;
		INSERT INTO shop.parted VALUES (1001, 1);
		INSERT INTO shop.identified (v) VALUES (1)));
	for my $refused ('INSERT INTO shop.lines VALUES (9999, 1)', 'INSERT INTO shop.events VALUES (9999, 1)',
		'INSERT INTO shop.orders (number) VALUES (5)', 'INSERT INTO shop.of_parted VALUES (9999, 1)')
	{
		isnt($new_home->psql($db, $refused), 0, "$db: refused is $refused");
	}
	return;
}

sub go_on
{
	my ($db, $back) = @_;

	for my $m (sort keys %call)
	{
		my $state = $new_home->safe_psql($db, "SELECT state FROM zdm.status WHERE migration = '$m'");

		zdm_ok($new_home, $db, "CALL zdm.backfill('$m')") if $state eq 'expanded';
		is($new_home->safe_psql($db, "SELECT sum(mismatches) FROM zdm.verify('$m')"), 0, "$db, $m: in sync");
		if ($back) { zdm_ok($new_home, $db, "SELECT zdm.rollback('$m')", 'rolled_back') }
		else { zdm_ok($new_home, $db, "SELECT zdm.contract('$m', '0')", 'finished') }
	}
	is($new_home->safe_psql($db, $_), 0, "$db: nothing is left") for (
		"SELECT count(*) FROM pg_trigger WHERE tgname LIKE '~zdm%'",
		"SELECT count(*) FROM pg_attribute WHERE attname LIKE '%~zdm%' AND NOT attisdropped",
		"SELECT count(*) FROM pg_class WHERE relname LIKE '%~zdm%'",
		"SELECT count(*) FROM pg_constraint WHERE conname LIKE '%~zdm%'",
		'SELECT count(*) FROM zdm.status');
	return;
}

create($old_home, $_) for ('original', 'finished');
my $original = schema_lines($old_home, 'original');
for my $m (sort keys %call)
{
	zdm_ok($old_home, 'finished', "SELECT $call{$m}", $m);
	zdm_ok($old_home, 'finished', "CALL zdm.backfill('$m')");
	zdm_ok($old_home, 'finished', "SELECT zdm.contract('$m')", 'finished');
}
my $finished = schema_lines($old_home, 'finished');

for my $state ('expanded', 'ready', 'contracted')
{
	create($old_home, $state);
	for my $m (sort keys %call)
	{
		zdm_ok($old_home, $state, "SELECT $call{$m}", $m);
		zdm_ok($old_home, $state, "CALL zdm.backfill('$m')") if $state ne 'expanded';
		zdm_ok($old_home, $state, "SELECT zdm.contract('$m', '1 day')", 'contracted') if $state eq 'contracted';
	}
	command_ok([ 'pg_dump', '-d', $old_home->connstr($state), '-f', "$folder/$state.sql" ], "$state: pg_dump");
	command_ok([ 'pg_dump', '-Fc', '-d', $old_home->connstr($state), '-f', "$folder/$state" ], "$state: pg_dump -Fc");
	restore("${state}_on", $state, 'psql', '-Xq', '-v', 'ON_ERROR_STOP=1', '-f', "$folder/$state.sql");
	restore("${state}_back", $state, 'pg_restore', '--exit-on-error', '-j4', "$folder/$state");
	write_rows($_) for ("${state}_on", "${state}_back");
	go_on("${state}_on", 0);
	go_on("${state}_back", 1);
	same_schema(schema_lines($new_home, "${state}_on"), $finished, "$state, to the end: as without a dump");
	same_schema(schema_lines($new_home, "${state}_back"), $original, "$state, and back: as before");
}

# Several jobs grant at once on columns of which one follows the other.
create($old_home, 'granted');
my @readers = map {; "reader_$_" } 1 .. 20;
my $readers = join ', ', @readers;
my $roles = join ';', map {; "CREATE ROLE $_" } @readers;
$_->safe_psql('postgres', $roles) for ($old_home, $new_home);
for my $n (1 .. 10)
{
	$old_home->safe_psql('granted', qq(
		CREATE TABLE shop.many$n (id int PRIMARY KEY, a text, b text);
		GRANT SELECT (a, b), UPDATE (a, b) ON shop.many$n TO $readers;
		SELECT zdm.rename_column('shop.many$n', 'a', 'a2');
		SELECT zdm.split_column('shop.many$n', 'b',
			'{"b1": {"type": "text", "up": "b"}, "b2": {"type": "text", "up": "b"}}', 'b1')));
}
command_ok([ 'pg_dump', '-Fc', '-d', $old_home->connstr('granted'), '-f', "$folder/granted" ], 'pg_dump of many privileges');
restore('granted', 'granted', 'pg_restore', '--exit-on-error', '-j4', "$folder/granted");
my $granted = q(
	SELECT concat_ws(' ', attrelid::regclass, attname, e.grantee::regrole, e.privilege_type, e.is_grantable) AS line
	  FROM pg_attribute, aclexplode(attacl) e WHERE attrelid::regclass::text LIKE 'shop.many%' ORDER BY line);
is($new_home->safe_psql('granted', $granted), $old_home->safe_psql('granted', $granted), 'the same privileges');

# Two of them alter two tables of one migration at once.
my ($one, $two) = map { ZdmSession->new(sub { return $new_home->connstr('expanded_back') }, name => $_) } ('one', 'two');
zdm_ok($new_home, 'expanded_back', "SELECT $call{key}", 'key');
$_->run("SET lock_timeout = '5s'") for ($one, $two);
is(($one->run('BEGIN; ALTER TABLE shop.orders ALTER note DROP DEFAULT'))[1], '00000', 'one table is altered');
is(($two->run('BEGIN; ALTER TABLE shop.lines ALTER pos DROP DEFAULT'))[1], '00000', 'and meanwhile another');
$_->run('ROLLBACK') for ($one, $two);

# The schema alone has what the migrations have made, and not the migrations: what
# is to be dropped there is known by its name.
command_ok([ 'pg_dump', '--schema-only', '-d', $old_home->connstr('ready'), '-f', "$folder/schema.sql" ], 'pg_dump --schema-only');
$new_home->safe_psql('postgres', 'CREATE DATABASE schema_only');
command_ok([ 'psql', '-Xq', '-v', 'ON_ERROR_STOP=1', '-d', $new_home->connstr('schema_only'), '-f', "$folder/schema.sql" ],
	'the schema alone');
my ($status_of, undef, $err) = $new_home->psql('schema_only', 'INSERT INTO shop.orders (number) VALUES (1)');
like($err, qr/violates check constraint "~zdm_\d+_number not null"/, 'nothing keeps its columns in sync');
$new_home->safe_psql('schema_only', q(
	DO $$
	DECLARE
		command text;
	BEGIN
		FOR command IN
			SELECT format('DROP TRIGGER %I ON %s', tgname, tgrelid::regclass) FROM pg_trigger
			 WHERE tgname LIKE '~zdm%' AND tgparentid = 0
			UNION ALL SELECT format('ALTER TABLE %s DROP COLUMN %I CASCADE', attrelid::regclass, attname)
			  FROM pg_attribute JOIN pg_class c ON c.oid = attrelid
			 WHERE attname LIKE '~zdm%' AND relkind IN ('r', 'p') AND attinhcount = 0
			UNION ALL SELECT format('ALTER TABLE %s DROP CONSTRAINT IF EXISTS %I', conrelid::regclass, conname)
			  FROM pg_constraint WHERE conname LIKE '~zdm%' AND coninhcount = 0
		LOOP
			EXECUTE command;
		END LOOP;
	END $$));
$new_home->safe_psql('schema_only', 'INSERT INTO shop.orders (number) VALUES (1); INSERT INTO shop.lines SELECT id, 1 FROM shop.orders');
is($new_home->safe_psql('schema_only', "SELECT count(*) FROM pg_constraint WHERE conname LIKE '~zdm%'"), 0, 'and nothing is left');

$_->stop for ($old_home, $new_home);
done_testing();
