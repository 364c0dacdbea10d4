# Logical replication of a key and of what refers to it, while the type changes
# on the publisher, on the subscriber, or on both: by whole tables, by column lists
# and row filters, by a key, an index or all columns; nothing that was written is
# missing on the subscriber, and nothing stops.  And what is told of beforehand.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use ZdmDatabase;

my %node;
for my $name ('publisher', 'subscriber')
{
	my $node = $node{$name} = PostgreSQL::Test::Cluster->new($name);

	$node->init(allows_streaming => 'logical');
	$node->append_conf('postgresql.conf',
		"shared_preload_libraries = 'zdm'\nzdm.auto_start = off\nmax_connections = 50\nmax_worker_processes = 40\n"
		  . "max_wal_senders = 20\nmax_replication_slots = 20\nmax_logical_replication_workers = 20\n");
	$node->start;
}
my ($publisher, $subscriber) = @node{ 'publisher', 'subscriber' };

my $schema = q(
	CREATE TABLE orders (id int PRIMARY KEY, parent int REFERENCES orders, note text);
	CREATE TABLE lines (n int PRIMARY KEY, order_id int NOT NULL REFERENCES orders, note text);
	CREATE TABLE indexed (id int NOT NULL, note text);
	CREATE UNIQUE INDEX indexed_id ON indexed (id);
	ALTER TABLE indexed REPLICA IDENTITY USING INDEX indexed_id;
	CREATE TABLE whole (id int PRIMARY KEY, note text);
	ALTER TABLE whole REPLICA IDENTITY FULL;
);
my $wider = q(
	ALTER TABLE orders DROP CONSTRAINT orders_parent_fkey;
	ALTER TABLE lines DROP CONSTRAINT lines_order_id_fkey;
	ALTER TABLE orders ALTER id TYPE bigint, ALTER parent TYPE bigint;
	ALTER TABLE lines ALTER order_id TYPE bigint;
	ALTER TABLE indexed ALTER id TYPE bigint;
	ALTER TABLE whole ALTER id TYPE bigint;
);
my @keys = ('orders', 'indexed', 'whole');

# What the subscriber of each database has, and what it is sent.
my %database = (
	# the second columns alone, as the WARNINGs demand
	added => {
		publication => 'FOR TABLE orders, lines, indexed, whole',
		subscriber => q(
			ALTER TABLE orders ADD "~zdm_id" bigint, ADD "~zdm_parent" bigint;
			ALTER TABLE lines ADD "~zdm_order_id" bigint;
			ALTER TABLE indexed ADD "~zdm_id" bigint;
			ALTER TABLE whole ADD "~zdm_id" bigint) },
	# a migration of its own
	migrating => { publication => 'FOR TABLE orders, lines, indexed, whole', migrates => 1 },
	# one of its own, and zdm's tables are published, too
	everything => { publication => 'FOR ALL TABLES', migrates => 1 },
	# neither, as nobody sends it the second columns
	listed => {
		publication => 'FOR TABLE orders (id, parent, note) WHERE (id > 50), lines (n, order_id, note) WHERE (n > 50),'
		  . ' indexed (id, note) WHERE (id > 50)' },
	# the new type
	wider => { publication => 'FOR TABLE orders (id, parent, note), lines (n, order_id, note), indexed (id, note)', subscriber => $wider });
my @databases = sort keys %database;

for my $db (@databases)
{
	$_->safe_psql('postgres', "CREATE DATABASE $db"), $_->safe_psql($db, "CREATE EXTENSION zdm; $schema")
	  for ($publisher, $subscriber);
	$publisher->safe_psql($db, qq(
		INSERT INTO orders SELECT i, NULLIF(i - 1, 0), 'note' FROM generate_series(1, 200) i;
		INSERT INTO lines SELECT i, i, 'note' FROM generate_series(1, 200) i;
		INSERT INTO indexed SELECT i, 'note' FROM generate_series(1, 200) i;
		INSERT INTO whole SELECT i, 'note' FROM generate_series(1, 200) i;
		CREATE PUBLICATION p_$db $database{$db}{publication}));
	$subscriber->safe_psql($db, $database{$db}{subscriber} // '');
	$subscriber->safe_psql($db, "CREATE SUBSCRIPTION s_$db CONNECTION '" . $publisher->connstr . " dbname=$db' PUBLICATION p_$db");
}
$subscriber->wait_for_subscription_sync($publisher, "s_$_", $_) for (@databases);

my $id = 1000;

# Statements on the publisher, and what the subscriber has of them.
sub goes_on
{
	my ($when) = @_;

	$id += 10;
	for my $db (@databases)
	{
		$publisher->safe_psql($db, qq(
			INSERT INTO orders (id, parent, note) VALUES ($id, 1, 'new'), ($id + 1, $id, 'new');
			INSERT INTO lines (n, order_id, note) VALUES ($id % 99991, $id, 'new');
			INSERT INTO indexed (id, note) VALUES ($id, 'new'), ($id + 1, 'new');
			INSERT INTO whole (id, note) VALUES ($id, 'new'), ($id + 1, 'new');
			UPDATE orders SET note = '$when' WHERE id IN (60, 61, $id);
			UPDATE lines SET note = '$when', order_id = $id WHERE n IN (70, 71);
			UPDATE indexed SET note = '$when' WHERE id IN (60, 61, $id);
			UPDATE whole SET note = '$when' WHERE id IN (60, 61, $id);
			UPDATE orders SET id = id + 4 WHERE id = $id + 1;
			UPDATE indexed SET id = id + 4 WHERE id = $id + 1;
			UPDATE whole SET id = id + 4 WHERE id = $id + 1;
			DELETE FROM indexed WHERE id = $id - 10;
			DELETE FROM whole WHERE id = $id - 10;
			DELETE FROM orders WHERE id = $id - 5));
	}
	for my $db (@databases)
	{
		my $rows = q(SELECT md5(string_agg(r, ' ' ORDER BY r)) FROM (
			SELECT concat_ws(',', 'o', id, parent, note) FROM orders WHERE id > 50
			UNION ALL SELECT concat_ws(',', 'l', n, order_id, note) FROM lines WHERE n > 50
			UNION ALL SELECT concat_ws(',', 'i', id, note) FROM indexed WHERE id > 50 %s) x(r));
		my $query = sprintf $rows, $database{$db}{publication} =~ /whole|ALL/
		  ? q(UNION ALL SELECT concat_ws(',', 'w', id, note) FROM whole) : '';

		$publisher->wait_for_catchup("s_$db");
		is($subscriber->safe_psql($db, $query), $publisher->safe_psql($db, $query), "$when, $db: nothing is missing");
	}
	return;
}

# Call a function, with %s for the key's migration, in these databases.
sub call
{
	my ($node, $sql, @where) = @_;

	for my $db (@where)
	{
		for my $table (@keys)
		{
			zdm_ok($node, $db, sprintf($sql, "change_${table}_id_to_bigint"));
		}
	}
	return;
}

sub expand
{
	my ($node, @where) = @_;
	my $told = '';

	for my $db (@where)
	{
		$told .= zdm_ok($node, $db, "SELECT zdm.change_column_type('$_', 'id', 'bigint')") for (@keys);
	}
	return $told;
}

my @migrating = grep { $database{$_}{migrates} } @databases;

goes_on('before');
is($subscriber->safe_psql('everything', 'SELECT count(*) FROM zdm.events'), 0, 'no event of another database');
expand($subscriber, @migrating);
call($subscriber, "CALL zdm.backfill('%s')", @migrating);
goes_on('subscriber ready');

my $told = expand($publisher, 'added');
for my $column ('the table is published: add column "~zdm_id"', 'table public.orders is published: add column "~zdm_parent"',
	'table public.lines is published: add column "~zdm_order_id"')
{
	like($told =~ s/the table (is published: add column "~zdm_parent")/table public.orders $1/r, qr/WARNING:  \Q$column\E/, "told: $column");
}
unlike($told, qr/zdm's own tables/, 'not told: of tables that are not published');
like(expand($publisher, 'everything'), qr/WARNING:  zdm's own tables are published/, q(told: zdm's tables are published));
is($subscriber->safe_psql('everything', q(SELECT string_agg(state, ' ') FROM zdm.status)), 'ready ready ready',
	'the migrations of the subscriber are its own');
expand($publisher, grep { !/^(?:added|everything)$/ } @databases);
goes_on('publisher expanded');
call($publisher, "CALL zdm.backfill('%s')", @databases);
goes_on('publisher ready');
call($subscriber, "SELECT zdm.contract('%s', '1 day')", @migrating);
goes_on('subscriber contracted');
call($publisher, "SELECT zdm.contract('%s', '1 day')", @databases);
goes_on('publisher contracted');
call($publisher, "SELECT zdm.rollback('%s')", @databases);
goes_on('publisher rolled back');
expand($publisher, @databases);
call($publisher, "CALL zdm.backfill('%s')", @databases);
call($publisher, "SELECT zdm.contract('%s', '1 day')", @databases);
goes_on('publisher contracted again');
call($publisher, "SELECT zdm.contract('%s', '0')", @databases);
goes_on('publisher finished');
call($subscriber, "SELECT zdm.contract('%s', '0')", @migrating);
goes_on('subscriber finished');
$subscriber->safe_psql($_, $wider) for ('added', 'listed');
$id = 3_000_000_000;
goes_on('values of the new type');
unlike(slurp_file($subscriber->logfile), qr/ERROR:  (?!could not receive data)/, 'nothing stopped');

# A row that is found by all of its columns is not, where one is filled: told.
$_->safe_psql('postgres', 'CREATE EXTENSION zdm; CREATE TABLE keyless (id int, note text)') for ($publisher, $subscriber);
$publisher->safe_psql('postgres', q(
	ALTER TABLE keyless REPLICA IDENTITY FULL;
	INSERT INTO keyless SELECT i, 'note' FROM generate_series(1, 10) i;
	CREATE PUBLICATION p FOR TABLE keyless));
$subscriber->safe_psql('postgres', "CREATE SUBSCRIPTION s CONNECTION '" . $publisher->connstr . " dbname=postgres' PUBLICATION p");
$subscriber->wait_for_subscription_sync($publisher, 's', 'postgres');
my $m = 'change_keyless_id_to_bigint';
like(zdm_ok($subscriber, 'postgres', "SELECT zdm.change_column_type('keyless', 'id', 'bigint')", $m),
	qr/WARNING:  table public.keyless has a subscription, and neither a primary key nor a replica identity index/, 'told: a table without a key');
zdm_ok($subscriber, 'postgres', "SELECT zdm.rollback('$m')", 'rolled_back');
$subscriber->safe_psql('postgres', 'ALTER TABLE keyless ADD PRIMARY KEY (id)');
unlike(zdm_ok($subscriber, 'postgres', "SELECT zdm.change_column_type('keyless', 'id', 'bigint')", $m),
	qr/has a subscription/, 'not told: of one with a key');
zdm_ok($subscriber, 'postgres', "CALL zdm.backfill('$m')");
$publisher->safe_psql('postgres', q(UPDATE keyless SET note = 'updated' WHERE id = 1; DELETE FROM keyless WHERE id = 2));
$publisher->wait_for_catchup('s');
is($subscriber->safe_psql('postgres', q(SELECT count(*), count(*) FILTER (WHERE note = 'updated') FROM keyless)), '9|1',
	'and there nothing is lost');

# A subscriber without the extension goes on when it has it.
for my $node ($publisher, $subscriber)
{
	$node->safe_psql('postgres', 'CREATE DATABASE late');
	$node->safe_psql('late', 'CREATE TABLE users (id int PRIMARY KEY, name text)');
}
$publisher->safe_psql('late', 'CREATE PUBLICATION p_late FOR ALL TABLES');
$subscriber->safe_psql('late', "CREATE SUBSCRIPTION s_late CONNECTION '" . $publisher->connstr . " dbname=late' PUBLICATION p_late");
$subscriber->wait_for_subscription_sync($publisher, 's_late', 'late');
my $log = -s $subscriber->logfile;
$publisher->safe_psql('late', q(CREATE EXTENSION zdm; SELECT zdm.set_not_null('users', 'name', '''nobody''')));
$publisher->safe_psql('late', q(INSERT INTO users VALUES (1, 'one')));
$subscriber->wait_for_log(qr/logical replication target relation "zdm\.\w+" does not exist/, $log);
$subscriber->safe_psql('late', 'CREATE EXTENSION zdm');
$publisher->wait_for_catchup('s_late');
is($subscriber->safe_psql('late', 'SELECT name, (SELECT count(*) FROM zdm.events) FROM users'), 'one|0', 'replication goes on');

$_->stop for ($subscriber, $publisher);
done_testing();
