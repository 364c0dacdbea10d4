# A type change of keys and constraints of every kind: of partitioned tables,
# with references from and to them; deferrable, exclusion and plain unique ones;
# foreign keys that set a default, or whose triggers are disabled; indexes with
# several of the columns.  The catalog is in the end what a plain ALTER TABLE
# makes, and after rollback what it was; statements of an application do in each
# phase what they did before.  A wait within a step names whom it was for.

use strict;
use warnings;

use FindBin;
use IPC::Run;
use lib "$FindBin::Bin/lib";
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);
use ZdmDatabase;
use ZdmPgbench;
use ZdmSession;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf',
	"shared_preload_libraries = 'zdm'\nzdm.auto_start = off\nmax_locks_per_transaction = 256\nmax_connections = 50\n");
$node->start;

my $schema = q(
	CREATE SCHEMA shop;
	SET search_path = shop;

	-- partitions, of which one has other attribute numbers and one has partitions
	CREATE TABLE orders (
		id int NOT NULL,
		day date NOT NULL,
		parent int,
		number int NOT NULL,
		PRIMARY KEY (id, day),
		CONSTRAINT orders_number UNIQUE (number, day),
		CONSTRAINT orders_parent FOREIGN KEY (parent, day) REFERENCES orders ON DELETE SET NULL (parent)
	) PARTITION BY RANGE (day);
	CREATE TABLE orders_20 PARTITION OF orders FOR VALUES FROM ('2020-01-01') TO ('2021-01-01');
	CREATE TABLE orders_21 (gone int, number int NOT NULL, parent int, day date NOT NULL, id int NOT NULL);
	ALTER TABLE orders_21 DROP COLUMN gone;
	ALTER TABLE orders ATTACH PARTITION orders_21 FOR VALUES FROM ('2021-01-01') TO ('2022-01-01');
	CREATE TABLE orders_22 PARTITION OF orders FOR VALUES FROM ('2022-01-01') TO ('2023-01-01') PARTITION BY RANGE (day);
	CREATE TABLE orders_22a PARTITION OF orders_22 FOR VALUES FROM ('2022-01-01') TO ('2022-07-01');
	CREATE UNIQUE INDEX orders_both ON orders (parent, id, day);
	CREATE INDEX orders_two ON orders (id) INCLUDE (parent) WHERE parent > id;
	COMMENT ON CONSTRAINT orders_pkey ON orders IS 'the key';
	COMMENT ON INDEX orders_both IS 'both';
	ALTER TABLE orders_20 REPLICA IDENTITY USING INDEX orders_20_pkey;
	ALTER TABLE orders_21 CLUSTER ON orders_21_pkey;
	INSERT INTO orders SELECT i, d, NULL, i FROM generate_series(1, 100) i,
		(VALUES (date '2020-02-01'), (date '2021-02-01'), (date '2022-02-01')) v(d);
	UPDATE orders SET parent = id - 1 WHERE id % 10 = 0;
	CREATE TABLE lines (order_id int, day date, n int,
		CONSTRAINT lines_order FOREIGN KEY (order_id, day) REFERENCES orders ON DELETE CASCADE);
	INSERT INTO lines SELECT id, day, 1 FROM orders WHERE id <= 50;
	CREATE TABLE events (order_id int, day date, n int,
		CONSTRAINT events_order FOREIGN KEY (order_id, day) REFERENCES orders ON UPDATE CASCADE) PARTITION BY LIST (n);
	CREATE TABLE events_1 PARTITION OF events FOR VALUES IN (1);
	CREATE TABLE events_2 (n int, order_id int, day date);
	ALTER TABLE events ATTACH PARTITION events_2 FOR VALUES IN (2);
	INSERT INTO events SELECT id, day, 1 + id % 2 FROM orders WHERE id <= 50;

	CREATE TABLE rooms (
		id int PRIMARY KEY,
		rank int CONSTRAINT rooms_rank UNIQUE DEFERRABLE,
		floor int,
		code int,
		near int CONSTRAINT rooms_near REFERENCES rooms,
		CONSTRAINT rooms_floor EXCLUDE (floor WITH =, code WITH =) DEFERRABLE INITIALLY DEFERRED,
		CONSTRAINT rooms_code UNIQUE NULLS NOT DISTINCT (code));
	ALTER TABLE rooms ADD CONSTRAINT rooms_near_id UNIQUE (near, id);
	COMMENT ON CONSTRAINT rooms_rank ON rooms IS 'the rank';
	INSERT INTO rooms SELECT i, i, i, i FROM generate_series(1, 20) i;
	CREATE TABLE guests (n int, room int DEFAULT 1 CONSTRAINT guests_room REFERENCES rooms ON DELETE SET DEFAULT ON UPDATE SET DEFAULT);
	CREATE TABLE pets (a int DEFAULT 1, b int, CONSTRAINT pets_rooms FOREIGN KEY (b, a) REFERENCES rooms (near, id) ON DELETE SET DEFAULT (b));
	CREATE TABLE bills (n int, room int CONSTRAINT bills_room REFERENCES rooms DEFERRABLE);
	CREATE TABLE imports (n int, room int CONSTRAINT imports_room REFERENCES rooms);
	INSERT INTO guests SELECT i, i FROM generate_series(1, 20) i;
	INSERT INTO bills SELECT i, i FROM generate_series(1, 10) i;
	INSERT INTO imports SELECT i, i FROM generate_series(1, 10) i;
);

# What superusers do for a load, and forget.
my $disable = 'ALTER TABLE shop.imports DISABLE TRIGGER ALL;';

my $catalog = q(
	SELECT concat_ws(' ', 'constraint', conrelid::regclass, conname, contype, convalidated, condeferrable, condeferred,
		confupdtype, confdeltype, conislocal, coninhcount, conparentid <> 0, pg_get_constraintdef(oid), obj_description(oid, 'pg_constraint'))
	  FROM pg_constraint WHERE connamespace = 'shop'::regnamespace AND contype <> 'n'
	UNION ALL SELECT concat_ws(' ', 'trigger', tgrelid::regclass, c.conrelid::regclass, c.conname, tgfoid::regproc, tgenabled, tgdeferrable, tginitdeferred)
	  FROM pg_trigger t JOIN pg_constraint c ON c.oid = t.tgconstraint
	UNION ALL SELECT concat_ws(' ', 'index', indexrelid::regclass, indisunique, indnullsnotdistinct, indisprimary, indisexclusion, indimmediate,
		indisvalid, indisclustered, indisreplident, pg_get_indexdef(indexrelid), obj_description(indexrelid, 'pg_class'))
	  FROM pg_index JOIN pg_class c ON c.oid = indrelid WHERE relnamespace = 'shop'::regnamespace
	UNION ALL SELECT concat_ws(' ', 'dependency', pg_describe_object(classid, objid, objsubid), deptype, pg_describe_object(refclassid, refobjid, refobjsubid))
	  FROM pg_depend WHERE classid IN ('pg_class'::regclass, 'pg_constraint'::regclass)
	   AND pg_describe_object(classid, objid, objsubid) ~ '(orders|lines|events|rooms|guests|pets|bills|imports)'
	   AND pg_describe_object(classid, objid, objsubid) !~ 'toast'
	   AND NOT (classid = 'pg_constraint'::regclass AND objid IN (SELECT oid FROM pg_constraint WHERE contype = 'n'))
	UNION ALL SELECT concat_ws(' ', 'column', attrelid::regclass, attname, format_type(atttypid, atttypmod), attnotnull)
	  FROM pg_attribute JOIN pg_class c ON c.oid = attrelid
	 WHERE relnamespace = 'shop'::regnamespace AND relkind IN ('r', 'p') AND attnum > 0 AND NOT attisdropped
	ORDER BY 1);

sub catalog
{
	my ($db) = @_;
	return [ split /\n/, $node->safe_psql($db, "SET search_path = shop; $catalog") ];
}

sub zdm { return zdm_ok($node, @_); }

# Statements with what is to come of each: rows, or the state of an error.
my @application = (
	[ 'INSERT INTO orders (id, day, parent, number) VALUES (7, $$2021-02-01$$, NULL, 777) ON CONFLICT (id, day) DO UPDATE SET number = orders.number RETURNING id, number', '7|7' ],
	[ 'INSERT INTO orders (id, day, parent, number) VALUES (9, $$2020-02-01$$, 8, 999) ON CONFLICT DO NOTHING RETURNING id', '' ],
	[ 'INSERT INTO orders (id, day, parent, number) VALUES (7, $$2021-02-01$$, NULL, 778)', '23505' ],
	[ 'INSERT INTO lines (order_id, day, n) VALUES (1000, $$2020-02-01$$, 1)', '23503' ],
	[ 'INSERT INTO events (order_id, day, n) VALUES (1000, $$2020-02-01$$, 2)', '23503' ],
	[ 'DELETE FROM orders WHERE id = 3', '23503' ],
	[ 'BEGIN; DELETE FROM lines WHERE order_id = 4; UPDATE orders SET id = 500 WHERE id = 4; SELECT count(*) FROM events WHERE order_id = 500; ROLLBACK', '3' ],
	[ 'BEGIN; DELETE FROM events WHERE order_id = 9; DELETE FROM orders WHERE id = 9; SELECT count(*) FROM lines WHERE order_id = 9; SELECT count(*) FROM orders WHERE id = 10 AND parent IS NULL; ROLLBACK', "0\n3" ],
	[ 'UPDATE rooms SET rank = 21 - rank', '' ],
	[ 'UPDATE rooms SET rank = 2 WHERE id = 3', '23505' ],
	[ 'BEGIN; SET CONSTRAINTS rooms_rank DEFERRED; INSERT INTO rooms (id, rank, code) VALUES (30, 2, 30); DELETE FROM rooms WHERE id = 30; COMMIT', '' ],
	[ 'INSERT INTO rooms (id, rank, floor, code) VALUES (31, 31, 5, 5)', '23505' ],
	[ 'BEGIN; INSERT INTO rooms (id, rank, floor, code) VALUES (31, 31, 5, 31); UPDATE rooms SET floor = 6 WHERE id = 31; ROLLBACK', '' ],
	[ 'INSERT INTO rooms (id, code) VALUES (31, 5) ON CONFLICT (code) DO UPDATE SET code = EXCLUDED.code RETURNING rooms.id', '5' ],
	[ 'INSERT INTO rooms (id, near, code) VALUES (32, 1, 32); INSERT INTO rooms (id, near, code) VALUES (32, 1, 33) ON CONFLICT (near, id) DO UPDATE SET code = 32 RETURNING id', '32' ],
	[ 'DELETE FROM rooms WHERE id = 32', '' ],
	[ 'BEGIN; DELETE FROM guests WHERE n <> 15; DELETE FROM rooms WHERE id = 15; SELECT room FROM guests; SET CONSTRAINTS ALL IMMEDIATE; ROLLBACK', '1' ],
	[ 'BEGIN; UPDATE rooms SET id = 50 WHERE id = 16; SELECT room FROM guests WHERE n = 16; SET CONSTRAINTS ALL IMMEDIATE; ROLLBACK', '1' ],
	[ 'BEGIN; UPDATE rooms SET near = 1 WHERE id = 18; INSERT INTO pets (a, b) VALUES (18, 1); DELETE FROM rooms WHERE id = 18; SELECT a, coalesce(b, -1) FROM pets; SET CONSTRAINTS ALL IMMEDIATE; ROLLBACK', '18|-1' ],
	[ 'BEGIN; SET CONSTRAINTS bills_room DEFERRED; INSERT INTO bills (n, room) VALUES (60, 60); INSERT INTO rooms (id, code) VALUES (60, 60); SET CONSTRAINTS ALL IMMEDIATE; ROLLBACK', '' ],
	[ 'BEGIN; INSERT INTO imports (n, room) VALUES (61, 61); DELETE FROM imports WHERE n = 61; COMMIT', '' ],
	[ 'INSERT INTO bills (n, room) VALUES (61, 61)', '23503' ]);

sub application
{
	my ($db, $when) = @_;
	my @got;

	for my $do (@application)
	{
		my ($sql, $expected) = @$do;
		my ($status, $out, $err) = $node->psql($db, "SET search_path = shop; \\set VERBOSITY sqlstate\n$sql;", on_error_stop => 1);
		my ($state) = ($err // '') =~ /ERROR:\s+(\w{5})/;
		push @got, [ $sql, $state // $out ];
	}
	is_deeply(\@got, \@application, "$db, $when: the application's statements");
	return;
}

# The server chooses the names of a foreign key's parts for the partitions that it
# refers to: since 18 otherwise where all are there when it is made.
my $keys = q(
	SELECT conrelid, confrelid, regexp_replace(conname, '[_0-9]+$', '') AS key, conname
	  FROM pg_constraint WHERE contype = 'f' AND conparentid <> 0 AND conrelid <> confrelid);
my $rename = q(
	DO $$
	DECLARE
		command text;
	BEGIN
		FOR command IN SELECT format('ALTER TABLE %s RENAME CONSTRAINT %I TO %I', k.conrelid::regclass, k.conname, n.conname)
			FROM keys k JOIN named n USING (conrelid, confrelid, key) WHERE k.conname <> n.conname
		LOOP
			EXECUTE command;
		END LOOP;
	END $$;);

my $m;
my @all = ('plain', 'direct', 'quarantine', 'back');
for my $db (@all)
{
	$node->safe_psql('postgres', "CREATE DATABASE $db");
	$node->safe_psql($db, "CREATE EXTENSION zdm; $schema $disable");
}
my $original = catalog('plain');
for my $table ('orders', 'rooms')
{
	zdm('plain', "SELECT count(*) FILTER (WHERE description LIKE '%foreign key%' OR description LIKE '%constraint%') > 4"
		  . " FROM zdm.explain(\$\$zdm.change_column_type('shop.$table', 'id', 'bigint')\$\$)", 't');
}
same_lines(catalog('plain'), $original, 'a dry run changes nothing');
application('plain', 'before');
my @changes = (
	[ 'orders', 'id' ], [ 'orders', 'number' ], [ 'rooms', 'id' ], [ 'rooms', 'rank' ], [ 'rooms', 'floor' ], [ 'rooms', 'code' ]);
$node->safe_psql('plain',
	"SET search_path = shop; CREATE TEMPORARY VIEW keys AS $keys; CREATE TEMPORARY TABLE named AS TABLE keys;" . join('', map { "ALTER TABLE $_->[0] ALTER $_->[1] TYPE bigint;" } @changes,
		[ 'orders', 'parent' ], [ 'lines', 'order_id' ], [ 'events', 'order_id' ], [ 'rooms', 'near' ], [ 'guests', 'room' ],
		[ 'pets', 'a' ], [ 'pets', 'b' ], [ 'bills', 'room' ], [ 'imports', 'room' ])
	  # The server makes the triggers anew, forgets marks of partitions, and gives
	  # them the comment on their parent's index.
	  . join('', map { "COMMENT ON INDEX orders_${_}_parent_id_day_idx IS NULL;" } '20', '21', '22', '22a')
	  . 'ALTER TABLE orders_20 REPLICA IDENTITY USING INDEX orders_20_pkey; ALTER TABLE orders_21 CLUSTER ON orders_21_pkey;'
	  . $rename . $disable);
my $changed = catalog('plain');

for my $change (@changes)
{
	my ($table, $column) = @$change;
	$m = "change_${table}_${column}_to_bigint";
	my $expand = "SELECT zdm.change_column_type('shop.$table', '$column', 'bigint')";

	for my $db ('direct', 'quarantine', 'back')
	{
		zdm($db, $expand, $m);
		application($db, "$table.$column expanded") if $db eq 'direct';
		zdm($db, "CALL zdm.backfill('$m')");
		is($node->safe_psql($db, "SELECT sum(mismatches) FROM zdm.verify('$m')"), 0, "$db: $table.$column is in sync");
	}
	application('direct', "$table.$column ready");
	zdm('direct', "SELECT zdm.contract('$m')", 'finished');
	application('direct', "$table.$column finished");

	zdm('quarantine', "SELECT zdm.contract('$m', '1 day')", 'contracted');
	application('quarantine', "$table.$column contracted");
	zdm('quarantine', "SELECT zdm.contract('$m', '0')", 'finished');

	zdm('back', "SELECT zdm.rollback('$m')", 'rolled_back');
	same_lines(catalog('back'), $original, "back, $table.$column: as before");
	zdm('back', $expand, $m);
	zdm('back', "CALL zdm.backfill('$m')");
	zdm('back', "SELECT zdm.contract('$m', '1 day')", 'contracted');
	application('back', "$table.$column contracted");
	zdm('back', "SELECT zdm.rollback('$m')", 'rolled_back');
	application('back', "$table.$column rolled back");
	same_lines(catalog('back'), $original, "back from contracted, $table.$column: as before");
}
same_lines(catalog('direct'), $changed, 'contract without a quarantine: as after the plain change');
same_lines(catalog('quarantine'), $changed, 'contract with a quarantine: as after the plain change');

# Cut off in whatever step the migrate phase is: the call is made again, after a
# crash too, until it is through.
$m = 'change_orders_id_to_bigint';
my ($state, $made, $had, $attempts) = ('', 0, 0, 0);
$node->safe_psql('postgres', 'CREATE DATABASE killed');
$node->safe_psql('killed', "CREATE EXTENSION zdm; $schema $disable");
zdm('killed', "SELECT zdm.change_column_type('shop.orders', 'id', 'bigint')", $m);
while ($state ne 'ready' && ++$attempts < 200)
{
	my $call = IPC::Run::start(
		[ 'psql', '-XAtq', '-d', $node->connstr('killed'), '-c', "CALL zdm.backfill('$m')" ], '<', \undef, '>&', \my $output);

	for (1 .. 500)
	{
		usleep(5000);
		($state, $made) = split /\|/, $node->safe_psql('killed',
			"SELECT (SELECT state FROM zdm.status), count(*) FROM pg_constraint WHERE conname LIKE '~zdm%'");
		last if $state eq 'ready' || $made > $had;
	}
	$had = $made;
	if ($attempts % 3 == 0 && $attempts <= 15)
	{
		$node->stop('immediate');
		$node->start;
	}
	else
	{
		$node->safe_psql('killed', "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()"
			  . " AND (backend_type = 'zdm worker' OR query LIKE 'CALL%') AND datname = 'killed'");
	}
	$call->finish;
}
note "ready after $attempts attempts";
is($state, 'ready', 'killed: ready in the end');
zdm('killed', "SELECT zdm.contract('$m')", 'finished');
application('killed', 'finished');
$node->safe_psql('killed', "SET zdm.lock_patience = '30s'; SELECT zdm.change_column_type('shop.rooms', '$_', 'bigint', migration => '$_')"),
  zdm('killed', "CALL zdm.backfill('$_')"), zdm('killed', "SELECT zdm.contract('$_')", 'finished')
  for ('id', 'rank', 'floor', 'code');
$node->safe_psql('killed', "SELECT zdm.change_column_type('shop.orders', 'number', 'bigint', migration => 'number')");
zdm('killed', "CALL zdm.backfill('number')");
zdm('killed', "SELECT zdm.contract('number')", 'finished');
same_lines(catalog('killed'), $changed, 'killed: as after the plain change');

# Whom a step waited for: an index, and a catalog, that others hold.
$m = 'change_lines_n_to_bigint';
my $holder = ZdmSession->new(sub { $node->connstr('back') });
$node->safe_psql('back', 'CREATE INDEX lines_n ON shop.lines (n); ALTER TABLE shop.lines ADD CONSTRAINT lines_n_check CHECK (n > 0)');
zdm('back', "SELECT zdm.change_column_type('shop.lines', 'n', 'bigint')", $m);

sub held
{
	my ($hold, $call, $for) = @_;
	my $pid;

	$holder->run('BEGIN');
	my ($out) = $holder->run('SELECT pg_backend_pid()');
	($pid) = $out =~ /^\s*([1-9]\d*)\s*$/m;
	my (undef, $state) = $holder->run($hold);
	is($state, '00000', $hold);
	my ($status, undef, $err) = $node->psql('back', $call);
	isnt($status, 0, "$call waits for it in vain");
	like($err, qr/DETAIL:\s+(?:It waited for $for)?.*pid $pid, user .*HINT:\s+\w.*run the same call again/s, 'and says so');
	$holder->run('ROLLBACK');
	return;
}

held('LOCK TABLE pg_constraint IN SHARE MODE', "SET zdm.lock_patience = '3s'; CALL zdm.backfill('$m')", 'a lock on ".*pg_constraint", held by ');
zdm('back', "CALL zdm.backfill('$m')");
held('ALTER INDEX shop.lines_n SET (fillfactor = 50)', "SELECT zdm.contract('$m', '1 day')", 'a lock on ".*lines_n", held by ');
held('LOCK TABLE pg_attribute IN SHARE MODE', "SELECT zdm.contract('$m')", 'a lock on ".*pg_attribute", held by ');
zdm('back', "SELECT zdm.contract('$m')", 'finished');

# Every phase for the key of a partitioned table under an application.
my $folder = PostgreSQL::Test::Utils::tempdir();
$node->safe_psql('postgres', "CREATE EXTENSION zdm; $schema ALTER TABLE shop.orders DROP CONSTRAINT orders_number");
append_to_file("$folder/orders.sql", q(
\set id random(1000, 9000)
\set year random(2020, 2021)
INSERT INTO shop.orders (id, day, parent, number) VALUES (:id, make_date(:year, 3, 1), NULL, :id) ON CONFLICT (id, day) DO UPDATE SET number = orders.number + 1;
INSERT INTO shop.lines (order_id, day, n) SELECT id, day, 1 FROM shop.orders WHERE id = :id FOR KEY SHARE;
INSERT INTO shop.events (order_id, day, n) SELECT id, day, 1 + :id % 2 FROM shop.orders WHERE id = :id FOR KEY SHARE;
UPDATE shop.orders SET number = number + 1 WHERE id = 7;
DELETE FROM shop.events WHERE order_id = :id - 100;
));
my @run = pgbench_start($node, 'the application', "$folder/orders.sql", rate => 40);
$m = 'change_orders_id_to_bigint';
for my $attempt (1, 2)
{
	zdm('postgres', "SET zdm.lock_patience = '60s'; SELECT zdm.change_column_type('shop.orders', 'id', 'bigint')", $m);
	zdm('postgres', "SET zdm.lock_patience = '60s'; CALL zdm.backfill('$m')");
	zdm('postgres', "SET zdm.lock_patience = '60s'; SELECT zdm.contract('$m', '1 day')", 'contracted');
	is($node->safe_psql('postgres', "SELECT sum(mismatches) FROM zdm.verify('$m')"), 0, 'contracted: in sync');
	zdm('postgres', "SET zdm.lock_patience = '60s'; SELECT zdm.rollback('$m')", 'rolled_back') if $attempt == 1;
}
zdm('postgres', "SET zdm.lock_patience = '60s'; SELECT zdm.contract('$m', '0')", 'finished');
pgbench_stop(@run);
is($node->safe_psql('postgres', 'SELECT count(*) FROM (SELECT order_id, day FROM shop.lines UNION ALL SELECT order_id, day FROM shop.events) r'
	  . ' WHERE NOT EXISTS (SELECT FROM shop.orders o WHERE o.id = r.order_id AND o.day = r.day)'), 0, 'every reference is to a row');

for my $db ('direct', 'quarantine', 'back', 'killed', 'postgres')
{
	is($node->safe_psql($db, "SELECT count(*) FROM pg_class WHERE relname LIKE '%~zdm%'"), 0, "$db: no index");
	is($node->safe_psql($db, "SELECT count(*) FROM pg_constraint WHERE conname LIKE '%~zdm%'"), 0, "$db: no constraint");
	is($node->safe_psql($db, 'SELECT count(*) FROM zdm.status'), 0, "$db: nothing in flight");
}

$node->stop;
done_testing();
