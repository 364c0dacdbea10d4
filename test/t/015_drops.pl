# Dropped columns and tables: no statement of either version fails in the phases
# that are for it, the final schema is what a plain DROP leaves, rollback gives
# back what was there, and a dump taken in the middle continues elsewhere.

use strict;
use warnings;

use FindBin;
use IPC::Run;
use lib "$FindBin::Bin/lib";
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use ZdmDatabase;
use ZdmPgbench;

my $folder = PostgreSQL::Test::Utils::tempdir();
my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf(
	'postgresql.conf', q(
zdm.auto_start = off
zdm.lock_patience = 60s
max_connections = 50
deadlock_timeout = 200ms
));
$node->start;

sub zdm { return zdm_ok($node, @_); }

#
# Under load
#

my $rows = 5_000;

$node->safe_psql(
	'postgres', qq(
	CREATE EXTENSION zdm;
	CREATE TABLE countries (id int PRIMARY KEY);
	INSERT INTO countries SELECT generate_series(1, 10);
	CREATE TABLE users (
		id int PRIMARY KEY,
		hits int NOT NULL DEFAULT 0,
		legacy text NOT NULL CHECK (legacy <> ''),
		country int REFERENCES countries);
	CREATE INDEX ON users (legacy);
	INSERT INTO users SELECT i, 0, 'legacy ' || i, 1 FROM generate_series(1, $rows) i;
	CREATE TABLE audit (user_id int REFERENCES users ON DELETE CASCADE, what text);
	VACUUM ANALYZE users;
));

my $common = qq(
\\set id random(1, $rows)
\\set new_id random(100001, 900000)
UPDATE users SET hits = hits + 1 WHERE id = :id;
BEGIN;
SELECT hits FROM users WHERE id = :id FOR UPDATE;
UPDATE countries SET id = id WHERE id = 1 + :id % 10;
END;
);
append_to_file("$folder/old.sql", $common . q(
SELECT id, legacy FROM users WHERE id = :id;
UPDATE users SET legacy = 'again ' || :id, country = 2 WHERE id = :id;
INSERT INTO users (id, legacy, country) VALUES (:new_id, 'by the old', 3) ON CONFLICT (id) DO UPDATE SET legacy = 'upserted';
INSERT INTO audit VALUES (:id, 'written');
DELETE FROM users WHERE id = :new_id;
));
append_to_file("$folder/new.sql", $common . q(
SELECT id, hits FROM users WHERE id = :id;
INSERT INTO users (id) VALUES (:new_id) ON CONFLICT (id) DO UPDATE SET hits = 7;
DELETE FROM users WHERE id = :new_id;
));

sub application_start { return pgbench_start($node, $_[0], "$folder/$_[0].sql", rate => 200); }

# Until so many more transactions have committed.
sub go_on
{
	my $commits = '(SELECT xact_commit FROM pg_stat_database WHERE datname = current_database())';
	my $target = 200 + $node->safe_psql('postgres', "SELECT $commits");

	ok($node->poll_query_until('postgres', "SELECT $commits > $target"), 'the application goes on');
	return;
}

my $drop_column = q(SELECT zdm.drop_column('users', 'legacy', fill => $$'user ' || id$$));
my @old = application_start('old');
go_on();
zdm('postgres', $drop_column, 'drop_users_legacy');
zdm('postgres', q(SELECT zdm.drop_column('users', 'country')), 'drop_users_country');
zdm('postgres', q(SELECT zdm.drop_table('audit')), 'drop_audit');
my @new = application_start('new');
go_on();
is($node->safe_psql('postgres', 'SELECT count(*) FROM users WHERE legacy IS NULL'), 0, 'the old version meets no NULL');

# The new version goes back, and comes again.
pgbench_stop(@new);
zdm('postgres', q(SELECT zdm.rollback('drop_users_legacy')), 'rolled_back');
go_on();
zdm('postgres', $drop_column, 'drop_users_legacy');
@new = application_start('new');
go_on();

# No old version runs any more.
pgbench_stop(@old);
zdm('postgres', "SELECT zdm.contract('$_', '1 day')", 'contracted')
  for ('drop_users_legacy', 'drop_users_country', 'drop_audit');
go_on();

# The old version is needed again: back to where both can run, in one go.
zdm('postgres', "BEGIN; SELECT zdm.rollback('drop_users_legacy'); $drop_column; COMMIT", "rolled_back\ndrop_users_legacy");
zdm('postgres', "SELECT zdm.rollback('$_')", 'rolled_back') for ('drop_users_country', 'drop_audit');
@old = application_start('old');
go_on();
pgbench_stop(@old);
is($node->safe_psql('postgres', "SELECT count(*) FROM users WHERE id <= $rows AND legacy ~ ('^(legacy|again) ' || id || '\$')"),
	$rows, 'every value is there');

zdm('postgres', q(SELECT zdm.drop_column('users', 'country')), 'drop_users_country');
zdm('postgres', q(SELECT zdm.drop_table('audit')), 'drop_audit');
zdm('postgres', "SELECT zdm.contract('drop_users_legacy', '1 day')", 'contracted');
go_on();
zdm('postgres', "SELECT zdm.contract('drop_users_legacy', '0')", 'finished');
zdm('postgres', "SELECT zdm.contract('$_')", 'finished') for ('drop_users_country', 'drop_audit');
go_on();
pgbench_stop(@new);
is($node->safe_psql('postgres', "SELECT count(*) FROM pg_trigger WHERE tgname LIKE '~zdm%'"), 0, 'no trigger is left');
is($node->safe_psql('postgres', "SELECT to_regclass('audit') IS NULL"), 't', 'nor the table');

#
# The files go after the locks
#

# Who removes a file tells the checkpointer, whose queue is short here.  While
# that one is stopped, he gets no further than the middle of it.
my $small = PostgreSQL::Test::Cluster->new('small');
$small->init;
$small->append_conf('postgresql.conf', 'shared_buffers = 1MB');
$small->start;
$small->safe_psql(
	'postgres', q(
	CREATE EXTENSION zdm;
	CREATE TABLE countries (id int PRIMARY KEY);
	INSERT INTO countries VALUES (1);
	CREATE TABLE audit (day int, country int REFERENCES countries) PARTITION BY RANGE (day);
	SELECT format('CREATE TABLE audit_%s PARTITION OF audit FOR VALUES FROM (%s) TO (%s)', i, i, i + 1)
	  FROM generate_series(1, 200) i \gexec
	SELECT zdm.drop_table('audit')));
my $checkpointer = $small->safe_psql('postgres', q(SELECT pid FROM pg_stat_activity WHERE backend_type = 'checkpointer'));
END { kill 'CONT', $checkpointer if $checkpointer }
kill 'STOP', $checkpointer or die "checkpointer $checkpointer: $!";
my $said = '';
my $contract = IPC::Run::start(
	[ 'psql', '-XAtq', '-d', $small->connstr('postgres'), '-c', q(SELECT zdm.contract('drop_audit')) ],
	'<', \undef, '>&', \$said);
my $removing = q(SELECT pid FROM pg_stat_activity WHERE wait_event = 'RegisterSyncRequest' AND query LIKE '%drop_audit%' AND pid <> pg_backend_pid());
ok($small->poll_query_until('postgres', "SELECT EXISTS ($removing)"), 'a dropped table: its files are being removed');
is($small->safe_psql('postgres', q(SET lock_timeout = '10s'; UPDATE countries SET id = id RETURNING id)),
	1, 'meanwhile the table that it referred to can be written');
is($small->safe_psql('postgres', q(SELECT count(*) FROM pg_locks WHERE locktype = 'relation' AND mode = 'AccessExclusiveLock')),
	0, 'for nobody has a lock any more');
is($small->safe_psql('postgres', q(SELECT to_regclass('audit') IS NULL AND NOT EXISTS (SELECT FROM zdm.status))),
	't', 'and the table is gone');
ok($small->poll_query_until('postgres', "SELECT EXISTS ($removing)"), 'while its files are still being removed');
kill 'CONT', $checkpointer;
undef $checkpointer;
$contract->finish;
like($said, qr/^finished$/m, 'until they are');
$small->stop;

#
# The schema
#

my $schema = q(
	CREATE SCHEMA shop;
	SET search_path = shop;
	CREATE TABLE countries (id int PRIMARY KEY);
	CREATE TABLE users (
		id bigint GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY,
		legacy varchar(60) COLLATE "C" NOT NULL,
		code text NOT NULL DEFAULT 'none',
		number serial,
		country int REFERENCES countries ON DELETE SET NULL,
		doubled bigint GENERATED ALWAYS AS (id * 2) STORED,
		name text);
	ALTER TABLE users ADD CONSTRAINT users_legacy_check CHECK (legacy <> '');
	ALTER TABLE users ADD CONSTRAINT users_code_unique UNIQUE (code, name);
	CREATE UNIQUE INDEX users_legacy ON users (legacy);
	CREATE INDEX users_upper ON users (upper(legacy)) WHERE legacy <> 'x';
	CREATE INDEX users_name ON users (name);
	ALTER TABLE users ALTER legacy SET STATISTICS 500, ALTER legacy SET STORAGE EXTERNAL;
	COMMENT ON COLUMN users.legacy IS 'what nobody needs';
	COMMENT ON INDEX users_upper IS 'for the search';
	CREATE ROLE reader_of_:db;
	GRANT SELECT (id, legacy), UPDATE (legacy) ON users TO reader_of_:db;
	INSERT INTO users (legacy, name) SELECT 'user ' || i, i FROM generate_series(1, 50) i;

	CREATE TABLE logs (day int NOT NULL, level text NOT NULL, line text) PARTITION BY RANGE (day);
	CREATE TABLE logs_1 PARTITION OF logs FOR VALUES FROM (1) TO (10);
	CREATE TABLE logs_2 (gone int, line text, level text NOT NULL DEFAULT 'y', day int NOT NULL);
	ALTER TABLE logs_2 DROP COLUMN gone;
	ALTER TABLE logs ATTACH PARTITION logs_2 FOR VALUES FROM (10) TO (20);
	CREATE INDEX ON logs (level);

	CREATE TABLE "Old ""audit""" (id serial PRIMARY KEY, user_id bigint REFERENCES users, what text);
	CREATE INDEX ON "Old ""audit""" (what);
	GRANT SELECT ON "Old ""audit""" TO reader_of_:db;
	INSERT INTO "Old ""audit""" (user_id) VALUES (1);
);
my $plain = q(
	ALTER TABLE shop.users DROP CONSTRAINT users_code_unique;
	ALTER TABLE shop.users DROP COLUMN legacy, DROP COLUMN code, DROP COLUMN number, DROP COLUMN country, DROP COLUMN doubled;
	ALTER TABLE shop.logs DROP COLUMN level;
	DROP TABLE shop."Old ""audit""";
);
my @drops = (
	q(zdm.drop_column('shop.users', 'legacy', fill => $$'new ' || id$$, migration => 'm1')),
	q(zdm.drop_column('shop.users', 'code', migration => 'm2')),
	q(zdm.drop_column('shop.users', 'number', migration => 'm3')),
	q(zdm.drop_column('shop.users', 'country', migration => 'm4')),
	q(zdm.drop_column('shop.users', 'doubled', migration => 'm5')),
	q(zdm.drop_column('shop.logs', 'level', fill => $$'info'$$, migration => 'm6')),
	q(zdm.drop_table('shop."Old ""audit"""', migration => 'm7')));
my @names = map { "m$_" } (1 .. @drops);

sub schema_of
{
	return [ map { s/reader_of_\w+/reader/r } @{ schema_lines($node, @_) } ];
}

sub make_database
{
	my ($db) = @_;

	$node->safe_psql('postgres', "CREATE DATABASE $db");
	$node->safe_psql($db, 'CREATE EXTENSION zdm;' . $schema =~ s/:db/$db/gr);
	return;
}

make_database($_) for ('plain', 'direct', 'quarantine', 'back');
my $original = schema_of('plain');
$node->safe_psql('plain', $plain);
my $dropped = schema_of('plain');
isnt(join("\n", @$original), join("\n", @$dropped), 'the plain drops show');

# All of them in flight at once.
for my $db ('direct', 'quarantine', 'back')
{
	zdm($db, "SELECT $_") for (@drops);
	$node->safe_psql($db, q(INSERT INTO shop.users (name) VALUES ('new'); INSERT INTO shop.logs (day) VALUES (1), (11)));
}
is_deeply(schema_of('back'), schema_of('direct'), 'in flight: the same everywhere');
my ($status, undef, $err) = $node->psql('direct', q(SELECT zdm.contract('m2')));
isnt($status, 0, 'an index of two columns is in the way');
like($err, qr/constraint users_code_unique on table shop.users, which has other columns, too/, 'and is named');
for my $name (@names)
{
	$node->safe_psql($_, 'ALTER TABLE shop.users DROP CONSTRAINT IF EXISTS users_code_unique') for ('direct', 'quarantine');
	zdm('direct', "SELECT zdm.contract('$name')", 'finished');
	zdm('quarantine', "SELECT zdm.contract('$name', '1 day')", 'contracted');
	next if $name eq 'm2';
	zdm('back', "SELECT zdm.contract('$name', '1 day')", 'contracted');
}
$node->safe_psql('quarantine', q(INSERT INTO shop.users (name) VALUES ('in the quarantine')));
for my $name (@names)
{
	zdm('quarantine', "SELECT zdm.contract('$name', '0')", 'finished');
	zdm('back', "SELECT zdm.rollback('$name')", 'rolled_back');
}
is_deeply(schema_of('direct'), $dropped, 'contract without a quarantine: as after the plain drops');
is_deeply(schema_of('quarantine'), $dropped, 'contract with a quarantine: as after the plain drops');
is_deeply(schema_of('back'), $original, 'rollback: as before');

#
# A dump
#

my $new_home = PostgreSQL::Test::Cluster->new('new_home');
$new_home->init;
$new_home->start;

make_database('shop');
zdm('shop', "SELECT $_") for (@drops);
$node->safe_psql('shop', 'ALTER TABLE shop.users DROP CONSTRAINT users_code_unique');
zdm('shop', "SELECT zdm.contract('$_', '1 day')", 'contracted') for ('m1', 'm4', 'm7');
$node->safe_psql('shop', q(INSERT INTO shop.users (name) VALUES ('in the quarantine')));
my $in_flight = 'SELECT migration, pattern, relation, state, next_command, quarantine_until FROM zdm.status ORDER BY 1';
my $before = $node->safe_psql('shop', $in_flight);
my $everything = 'SELECT md5(string_agg(t::text, chr(32) ORDER BY id)) FROM shop.users t';
my $content = $node->safe_psql('shop', $everything);

command_ok([ 'pg_dump', '-Fc', '--dbname', $node->connstr('shop'), '--file', "$folder/custom" ], 'pg_dump -Fc');
$new_home->safe_psql('postgres', 'CREATE ROLE reader_of_shop');
$new_home->safe_psql('postgres', "CREATE DATABASE $_") for ('forth', 'back');
for my $db ('forth', 'back')
{
	command_ok(
		[ 'pg_restore', '--exit-on-error', '-j2', '-d', $new_home->connstr($db), "$folder/custom" ],
		"$db: restored by pg_restore -j2");
	is($new_home->safe_psql($db, $in_flight), $before, "$db: status shows the same");
	is($new_home->safe_psql($db, $everything), $content, "$db: every row is as it was");
	$new_home->safe_psql($db, q(INSERT INTO shop.users (name) VALUES ('restored'); INSERT INTO shop.logs (day) VALUES (2)));
	is( $new_home->safe_psql($db, q(SELECT count(*) FROM shop.users WHERE "~zdm_legacy" = 'new ' || id AND name !~ '^\d')),
		2, "$db: the hidden column is filled on");
}
for my $name (@names)
{
	my $contracted = grep { $_ eq $name } ('m1', 'm4', 'm7');

	is($new_home->safe_psql('forth', "SELECT zdm.contract('$name'" . ($contracted ? ", '0')" : ')')),
		'finished', "$name: on to the end");
	is($new_home->safe_psql('back', "SELECT zdm.rollback('$name')"), 'rolled_back', "$name: or back");
}
is($new_home->safe_psql('back', q(SELECT count(*) FROM shop.users WHERE legacy = 'new ' || id)), 2, 'back: with its values');
is($new_home->safe_psql('back', q(SELECT count(*) FROM shop."Old ""audit""")), 1, 'back: the table');
for my $db ('forth', 'back')
{
	# An index has its columns' names from the time it was made, for nobody to see.
	is( $new_home->safe_psql($db, q(SELECT count(*) FROM pg_class WHERE relname LIKE '~zdm%'))
		  + $new_home->safe_psql($db, q(SELECT count(*) FROM pg_attribute JOIN pg_class c ON c.oid = attrelid
				WHERE attname LIKE '~zdm%' AND relkind IN ('r', 'p')))
		  + $new_home->safe_psql($db, q(SELECT count(*) FROM pg_trigger WHERE tgname LIKE '~zdm%')),
		0, "$db: nothing of zdm is left");
}

$node->stop;
$new_home->stop;
done_testing();
