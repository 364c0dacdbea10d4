# The type of a key, with twenty tables that refer to it: contracted in one
# transaction, in a short time; the schema is what a plain ALTER TABLE makes, and
# after rollback what it was.  A dump in the middle goes on elsewhere; functions,
# triggers and prepared statements of open connections go on, too.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);
use ZdmDatabase;
use ZdmSession;

my $tables = 20;
my $rows = 500;
my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'zdm'\nwal_level = logical\nzdm.auto_start = off\nmax_locks_per_transaction = 256\n");
$node->start;
$node->safe_psql('postgres', 'CREATE ROLE reader');

# The key, with what can hang on one; a table that refers to itself, keys that
# contain the column, one that is of the type already.
my $schema = qq(
	CREATE SCHEMA shop;
	SET search_path = shop;
	CREATE TABLE orders (
		id serial PRIMARY KEY,
		parent int REFERENCES orders ON DELETE SET NULL,
		number int NOT NULL DEFAULT 7 UNIQUE NULLS NOT DISTINCT CHECK (number > 0),
		note text);
	ALTER TABLE orders ALTER number DROP DEFAULT;
	CREATE INDEX orders_id_note ON orders (id, note) WHERE id > 10;
	CREATE INDEX orders_half ON orders ((id / 2));
	COMMENT ON COLUMN orders.id IS 'the key';
	COMMENT ON CONSTRAINT orders_pkey ON orders IS 'the primary key';
	COMMENT ON INDEX orders_half IS 'half of it';
	ALTER TABLE orders CLUSTER ON orders_pkey;
	ALTER TABLE orders REPLICA IDENTITY USING INDEX orders_pkey;
	ALTER TABLE orders ALTER id SET STATISTICS 123, ALTER id SET (n_distinct = -0.9);
	CREATE STATISTICS orders_stats ON id, note FROM orders;
	GRANT SELECT (id) ON orders TO reader;
	GRANT USAGE ON SEQUENCE orders_id_seq TO reader;
	CREATE POLICY low ON orders USING (id < 1000000);
	CREATE PUBLICATION some_rows FOR TABLE orders (id, note) WHERE (id > 0);
	INSERT INTO orders (number, note) SELECT i, 'note' FROM generate_series(1, $rows) i;
	UPDATE orders SET parent = id - 1 WHERE id % 10 = 0;
	CREATE TABLE wide (order_id bigint REFERENCES orders);
	INSERT INTO wide SELECT id FROM orders;
	CREATE TABLE lines (order_id int REFERENCES orders ON DELETE CASCADE, pos int, PRIMARY KEY (order_id, pos));
	INSERT INTO lines SELECT id, 1 FROM orders;
	CREATE TABLE line_notes (order_id int NOT NULL, pos int, FOREIGN KEY (order_id, pos) REFERENCES lines ON UPDATE CASCADE DEFERRABLE INITIALLY DEFERRED);
	INSERT INTO line_notes SELECT id, 1 FROM orders;
	CREATE TABLE identified (id int GENERATED ALWAYS AS IDENTITY (START 100 INCREMENT 5) PRIMARY KEY, order_id int);
	ALTER TABLE identified ADD FOREIGN KEY (order_id) REFERENCES orders NOT VALID;
);
for my $i (1 .. $tables - 3)
{
	my $null = $i % 2 ? 'NOT NULL' : '';
	$schema .= "CREATE TABLE ref$i (id int PRIMARY KEY, order_id int $null REFERENCES orders (id) ON UPDATE CASCADE);"
	  . "CREATE INDEX ON ref$i (order_id); INSERT INTO ref$i SELECT id, id FROM orders;";
}

my @retyped = (
	[ 'orders', 'id' ], [ 'orders', 'parent' ], [ 'lines', 'order_id' ], [ 'line_notes', 'order_id' ],
	[ 'identified', 'order_id' ], map { [ "ref$_", 'order_id' ] } 1 .. $tables - 3);

# A column that was added is the last of its table, so the columns are put into
# one order.
sub schema_of
{
	my ($db) = @_;
	my @lines = @{ schema_lines($node, $db) };
	my (@result, @columns);

	for my $line (@lines)
	{
		if ($line =~ /^    \S/ && $line !~ /^    (?:ADD|AS|CACHE|INCREMENT|NO |START)/)
		{
			$line =~ s/,$//;
			push @columns, $line;
			next;
		}
		push @result, sort @columns;
		@columns = ();
		push @result, $line;
	}
	# Extended statistics name their columns in the table's order.
	s/^(CREATE STATISTICS \S+ ON )(.*)( FROM )/$1 . join(', ', sort split m{, }, $2) . $3/e for @result;
	s/^(CREATE PUBLICATION|ALTER PUBLICATION .* ADD TABLE ONLY \S+) \((.*?)\)/"$1 (" . join(', ', sort split m{, }, $2) . ')'/e for @result;
	return \@result;
}

sub same_schema
{
	my ($got, $expected, $what) = @_;

	same_lines([ sort @$got ], [ sort @$expected ], $what);
	return;
}

sub zdm { return zdm_ok($node, @_); }

for my $db ('plain', 'direct', 'quarantine', 'back')
{
	$node->safe_psql('postgres', "CREATE DATABASE $db");
	$node->safe_psql($db, "CREATE EXTENSION zdm; $schema");
}
my $original = schema_of('plain');
# A plain change of the type: the server asks for the publication and the policy
# to go first, leaves a serial's sequence as it is, and wants each column told.
$node->safe_psql('plain',
	'SET search_path = shop; DROP PUBLICATION some_rows; DROP POLICY low ON orders;'
	  . join('', map { "ALTER TABLE $_->[0] ALTER $_->[1] TYPE bigint;" } @retyped)
	  . 'ALTER SEQUENCE orders_id_seq AS bigint; CREATE POLICY low ON orders USING (id < 1000000);'
	  . 'CREATE PUBLICATION some_rows FOR TABLE orders (id, note) WHERE (id > 0);');
my $changed = schema_of('plain');

my $m = 'change_orders_id_to_bigint';
for my $db ('direct', 'quarantine', 'back')
{
	zdm($db, "SELECT zdm.change_column_type('shop.orders', 'id', 'bigint')", $m);
	$node->safe_psql($db, "INSERT INTO shop.orders (number) VALUES (9001); UPDATE shop.orders SET id = 90000 WHERE id = 5 AND NOT EXISTS (SELECT FROM shop.lines WHERE order_id = 5)");
}

# An application that is connected all the time.
my $session = ZdmSession->new(sub { $node->connstr('direct') });

sub application
{
	my ($sql, $expected, $what) = @_;
	my ($answer, $state) = $session->run($sql);
	is($state, $expected, $what);
	return $answer;
}

application($_, '00000', 'an application') for (
	'SET search_path = shop',
	q(CREATE FUNCTION stamp() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN NEW.note := 'order ' || NEW.id; RETURN NEW; END$$),
	q(CREATE FUNCTION newest() RETURNS bigint LANGUAGE plpgsql AS $$DECLARE o orders; BEGIN SELECT * INTO o FROM orders ORDER BY id DESC LIMIT 1; RETURN o.id; END$$),
	'CREATE TRIGGER stamp BEFORE INSERT OR UPDATE ON orders FOR EACH ROW EXECUTE FUNCTION stamp()',
	'PREPARE note_of AS SELECT note FROM orders WHERE id = $1',
	'PREPARE line AS INSERT INTO lines (order_id, pos) VALUES ($1, $2)',
	'PREPARE id_of AS SELECT id FROM orders WHERE number = $1',
	'EXECUTE id_of(7)');

sub goes_on
{
	my ($pos, $when) = @_;
	application('UPDATE orders SET number = number WHERE id = 7', '00000', "$when: a trigger");
	like(application('EXECUTE note_of(7)', '00000', "$when: a prepared query"), qr/order 7/, "$when: its row");
	application("EXECUTE line(7, $pos)", '00000', "$when: a prepared INSERT");
	application('SELECT newest()', '00000', "$when: a function");
	return;
}
goes_on(100, 'expanded');

for my $db ('direct', 'quarantine', 'back')
{
	zdm($db, "CALL zdm.backfill('$m')");
	is($node->safe_psql($db, "SELECT sum(mismatches), count(*) FROM zdm.verify('$m')"),
		'0|' . ($tables + 1), "$db: all tables are in sync");
}
goes_on(101, 'ready');

# A dump in the middle.
my $folder = PostgreSQL::Test::Utils::tempdir();
command_ok([ 'pg_dump', '-d', $node->connstr('quarantine'), '-f', "$folder/ready.sql" ], 'pg_dump');
$node->safe_psql('postgres', 'CREATE DATABASE restored');
command_ok([ 'psql', '-Xq', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr('restored'), '-f', "$folder/ready.sql" ],
	'restored');
is($node->safe_psql('restored', 'SELECT state FROM zdm.status'), 'ready', 'restored: ready');
zdm('restored', "SELECT zdm.contract('$m')", 'finished');
same_schema(schema_of('restored'), $changed, 'restored: as after the plain change');

# Contract: the time in which the tables are locked.
my $start = time;
zdm('direct', "SELECT zdm.contract('$m')", 'finished');
note sprintf('contract with %d tables took %d ms', $tables + 1, (time - $start) * 1000);
goes_on(102, 'contracted');
# What a plain change of the type does to it, too.
application('EXECUTE id_of(7)', '0A000', 'a prepared query that returns the column has to be prepared again');
application('DEALLOCATE id_of', '00000', 'and is');
application('PREPARE id_of AS SELECT id FROM orders WHERE number = $1', '00000', 'so');
like(application('EXECUTE id_of(7)', '00000', 'it goes on'), qr/7/, 'its row');
application('DROP TRIGGER stamp ON orders', '00000', 'the trigger goes');
application('DROP FUNCTION stamp, newest', '00000', 'the functions go');

zdm('quarantine', "SELECT zdm.contract('$m', '1 day')", 'contracted');
$node->safe_psql('quarantine',
	"INSERT INTO shop.orders (number) VALUES (9002); INSERT INTO shop.ref1 SELECT 90001, id FROM shop.orders WHERE number = 9002;"
	  . " INSERT INTO shop.orders (number) VALUES (9003) ON CONFLICT (id) DO NOTHING");
my ($status, undef, $err) = $node->psql('quarantine', 'INSERT INTO shop.orders (id, number) VALUES (3000000000, 9004)');
isnt($status, 0, 'quarantine: what the old column cannot hold is refused');
like($err, qr/integer out of range.*zdm migration "$m"/s, 'quarantine: with the reason');
is($node->safe_psql('quarantine', "SELECT sum(mismatches) FROM zdm.verify('$m')"), 0, 'quarantine: in sync');
zdm('quarantine', "SELECT zdm.contract('$m', '0')", 'finished');
zdm('quarantine', 'INSERT INTO shop.orders (id, number) VALUES (3000000000, 9004)');

# Back from each state.
zdm('back', "SELECT zdm.contract('$m', '1 day')", 'contracted');
$node->safe_psql('back', "INSERT INTO shop.orders (number) VALUES (9002)");
zdm('back', "SELECT zdm.rollback('$m')", 'rolled_back');
same_schema(schema_of('back'), $original, 'back from contracted: as before');
is($node->safe_psql('back', 'SELECT count(*) FROM shop.orders WHERE number IN (9001, 9002)'), 2, 'back: nothing is lost');
zdm('back', "SELECT zdm.change_column_type('shop.orders', 'id', 'bigint')", $m);
zdm('back', "SELECT zdm.rollback('$m')", 'rolled_back');
zdm('back', "SELECT zdm.change_column_type('shop.orders', 'id', 'bigint')", $m);
zdm('back', "CALL zdm.backfill('$m')");
zdm('back', "SELECT zdm.rollback('$m')", 'rolled_back');

# An identity, as a key that nobody refers to.
for my $db ('direct', 'back')
{
	zdm($db, "SELECT zdm.change_column_type('shop.identified', 'id', 'bigint', migration => 'i')", 'i');
	zdm($db, "CALL zdm.backfill('i')");
}
zdm('back', "SELECT zdm.contract('i', '1 day')", 'contracted');
$node->safe_psql('back', 'INSERT INTO shop.identified DEFAULT VALUES; INSERT INTO shop.identified DEFAULT VALUES');
zdm('back', "SELECT zdm.rollback('i')", 'rolled_back');
$node->safe_psql('back', 'INSERT INTO shop.identified DEFAULT VALUES');
is($node->safe_psql('back', 'SELECT string_agg(id::text, $$,$$) FROM shop.identified'), '100,105,110', 'back: the identity goes on');
zdm('direct', "SELECT zdm.rollback('i')", 'rolled_back');

same_schema(schema_of('direct'), $changed, 'contract without a quarantine: as after the plain change');
same_schema(schema_of('quarantine'), $changed, 'contract with a quarantine: as after the plain change');
same_schema(schema_of('back'), $original, 'rollback: as before');

for my $db ('direct', 'quarantine', 'back', 'restored')
{
	is($node->safe_psql($db, "SELECT count(*) FROM pg_trigger WHERE tgname LIKE '~zdm%'"), 0, "$db: no trigger");
	is($node->safe_psql($db, "SELECT count(*) FROM pg_attribute WHERE attname LIKE '~zdm%' AND NOT attisdropped"), 0, "$db: no column");
	is($node->safe_psql($db, "SELECT count(*) FROM pg_class WHERE relname LIKE '~zdm%'"), 0, "$db: no index");
	is($node->safe_psql($db, "SELECT count(*) FROM pg_constraint WHERE conname LIKE '~zdm%'"), 0, "$db: no constraint");
	is($node->safe_psql($db, 'SELECT count(*) FROM zdm.status'), 0, "$db: nothing in flight");
}

$node->stop;
done_testing();
