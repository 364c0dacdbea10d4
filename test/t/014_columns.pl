# Columns that come, and that become mandatory or optional: under the statements
# of both versions in every phase, without a scan under a strong lock, through a
# dump in the middle, and with the schema that a plain ALTER TABLE makes.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use ZdmDatabase;
use ZdmPgbench;

my $rows = 20_000;
my $folder = PostgreSQL::Test::Utils::tempdir();
my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf(
	'postgresql.conf', q(
zdm.auto_start = off
zdm.lock_patience = 60s
max_connections = 50
));
$node->start;
my $major = $node->safe_psql('postgres', 'SHOW server_version_num') / 10_000;

sub query
{
	my ($sql, $db) = @_;
	return $node->safe_psql($db // 'postgres', $sql);
}

# A call that must not fail; what the server told.
sub call
{
	my ($sql, $expected, $db) = @_;
	return zdm_ok($node, $db // 'postgres', $sql, $expected);
}

#
# Under load
#

query(qq(
	CREATE EXTENSION zdm;
	CREATE SEQUENCE tickets;
	CREATE TABLE users (
		id int PRIMARY KEY, hits int NOT NULL DEFAULT 0, name text NOT NULL, mail text, code text NOT NULL);
	INSERT INTO users SELECT i, 0, 'user ' || i, CASE WHEN i % 2 = 0 THEN i || '\@x' END, i
	  FROM generate_series(100001, 100000 + $rows) i;
	VACUUM ANALYZE users));

# The old version knows neither ticket nor kind nor size, writes no mail, and
# always a code; the new one knows these, writes mails, and leaves the code out.
my %script = (
	old => q(
INSERT INTO users (id, name, code) VALUES (:new_id, 'old', 'c') ON CONFLICT (id) DO UPDATE SET name = 'old', mail = NULL;
UPDATE users SET mail = NULL, hits = hits + 1 WHERE id = :id;
UPDATE users SET hits = hits + 1 WHERE id = :id + 1;
SELECT id, name, mail FROM users WHERE id = :id;
DELETE FROM users WHERE id = :new_id;
),
	new => q(
INSERT INTO users (id, name, mail, code, kind) VALUES (:new_id, 'new', 'm', NULL, 'k') ON CONFLICT (id) DO UPDATE SET mail = 'm', kind = 'k';
UPDATE users SET ticket = nextval('tickets'), kind = 'own' WHERE id = :id;
UPDATE users SET mail = 'mine', code = NULL WHERE id = :id + 1;
SELECT id, 1 / (mail IS NOT NULL AND kind IS NOT NULL AND size = length(name))::int FROM users WHERE id = :id;
DELETE FROM users WHERE id = :new_id;
));
for my $version (keys %script)
{
	append_to_file("$folder/$version.sql",
		"\\set id random(100001, 100000 + $rows)\n\\set new_id random(200001, 900000)\n$script{$version}");
}

sub load_start { return pgbench_start($node, $_[0], "$folder/$_[0].sql", rate => 200); }

# Until the load has changed that many rows more.
sub progress
{
	my $changed = q(SELECT n_tup_ins + n_tup_upd FROM pg_stat_user_tables WHERE relname = 'users');
	my $start = query($changed);

	ok($node->poll_query_until('postgres', "SELECT ($changed) > $start + 300"), 'the load goes on');
	return;
}

my @expand = (
	[ 'ticket', q(zdm.add_column('users', 'ticket', 'bigint', default_value => 'nextval(''tickets'')', migration => 'ticket')) ],
	[ 'kind', q(zdm.add_column('users', 'kind', 'text', not_null => true, fill => '''kind of '' || id', migration => 'kind')) ],
	[ 'mail', q(zdm.set_not_null('users', 'mail', 'id || ''@none''', migration => 'mail')) ],
	[ 'size', q(zdm.add_column('users', 'size', 'int', generated => 'length(name)', migration => 'size')) ],
	[ 'code', q(zdm.drop_not_null('users', 'code', migration => 'code')) ]);
my @filled = map { $_->[0] } @expand[ 0 .. 3 ];

# A column is computed as long as its migration is in flight, where it cannot
# become a generated one.
my @contracted = grep { $_ ne 'size' || $major >= 18 } @filled;

my @old = load_start('old');
for my $round ('back', 'on')
{
	call("SELECT $_->[1]", $_->[0]) for @expand;
	progress();
	call("CALL zdm.backfill('$_')") for @filled;
	progress();
	my @new = load_start('new');
	progress();
	is(query("SELECT sum(mismatches) FROM zdm.verify('$_')"), 0, "$_: in sync") for @filled;
	call("SELECT zdm.contract('$_', '1 day')", 'contracted') for @contracted;
	progress();
	is(query('SELECT count(*) FROM users WHERE id BETWEEN 100001 AND 200000 AND (ticket IS NULL OR kind IS NULL OR mail IS NULL OR size <> length(name))'),
		0, "$round: every row has its values");
	is(query('SELECT count(ticket) - count(DISTINCT ticket) FROM users'), 0, "$round: each its own");
	if ($round eq 'back')
	{
		pgbench_stop(@new);
		query('UPDATE users SET code = id WHERE code IS NULL');
		call("SELECT zdm.rollback('code')", 'expanded');
		progress();
		call("CALL zdm.backfill('code')");
		call("SELECT zdm.rollback('$_')", 'rolled_back') for ('code', @filled);
		progress();
		query('UPDATE users SET mail = NULL WHERE id % 2 = 0');
		next;
	}
	pgbench_stop(@old);
	call("SELECT zdm.contract('$_', '0')", 'finished') for (@contracted, 'code');
	progress();
	pgbench_stop(@new);
}
call("SELECT zdm.rollback('size')", 'rolled_back') if $major < 18;
is(query("SELECT string_agg(attname || CASE WHEN attnotnull THEN '!' ELSE '' END, ' ' ORDER BY attnum) FROM pg_attribute"
	  . " WHERE attrelid = 'users'::regclass AND attnum > 0 AND NOT attisdropped"),
	'id! hits! name! mail! code ticket kind!' . ($major < 18 ? '' : ' size'), 'the columns');
is(query("SELECT count(*) FROM pg_constraint WHERE conname LIKE '~zdm%'"), 0, 'no check is left');
is(query("SELECT count(*) FROM pg_trigger WHERE tgname LIKE '~zdm%'"), 0, 'nor a trigger');

#
# No scan where others are locked out: the server tells of each at debug1
#

query(q(
	CREATE TABLE parted (id int, v text, w text NOT NULL) PARTITION BY RANGE (id);
	CREATE TABLE parted_1 PARTITION OF parted FOR VALUES FROM (0) TO (1000);
	CREATE TABLE parted_2 PARTITION OF parted FOR VALUES FROM (1000) TO (2000);
	INSERT INTO parted SELECT i, NULL, 'w' FROM generate_series(1, 1999) i));

sub scans_nothing
{
	my ($sql, $expected, $proofs) = @_;
	my $told = call("SET client_min_messages = debug1; $sql", $expected);
	my $count = () = $told =~ /are sufficient to prove that it does not contain nulls/g;

	unlike($told, qr/verifying table/, "$sql: reads no table");
	unlike($told, qr/rewriting table/, "$sql: writes none");
	is($count, $proofs, "$sql: $proofs proofs") if defined $proofs;
	return;
}

scans_nothing(q(SELECT zdm.set_not_null('parted', 'v', '''x''', 'v')), 'v');
call("CALL zdm.backfill('v')");
scans_nothing("SELECT zdm.contract('v')", 'finished', 3);
scans_nothing(q(SELECT zdm.drop_not_null('parted', 'w', 'w')), 'w');
scans_nothing("SELECT zdm.rollback('w')", 'expanded');
call("CALL zdm.backfill('w')");
scans_nothing("SELECT zdm.rollback('w')", 'rolled_back', 3);
scans_nothing(q(SELECT zdm.add_column('parted', 'a', 'text', default_value => '''a''', not_null => true)), 'add_parted_a');
scans_nothing(q(SELECT zdm.add_column('parted', 'b', 'uuid', default_value => 'gen_random_uuid()', not_null => true)), 'add_parted_b');
scans_nothing(q(SELECT zdm.add_column('parted', 'c', 'timestamptz', default_value => 'clock_timestamp()')), 'add_parted_c');
call("CALL zdm.backfill('add_parted_b')");
scans_nothing("SELECT zdm.contract('add_parted_b')", 'finished', 3);

# Who writes NULL where there is no fill is in the log, once.
query(q(CREATE TABLE bare (id int, v text);
	INSERT INTO bare VALUES (1, NULL);
	SELECT zdm.set_not_null('bare', 'v', migration => 'bare')));
my $log_start = -s $node->logfile;
query("SET application_name = 'the old one'; INSERT INTO bare SELECT i, NULL FROM generate_series(2, 100) i");
my $log = slurp_file($node->logfile, $log_start);
my $count = () = $log =~ /NULL was written to column "v" of table "bare", which migration "bare" is to make mandatory/g;
is($count, 1, 'a writer of NULL is logged once');
like($log, qr/application "the old one"/, 'and named');
is(query("SELECT count(*), min(detail) FROM zdm.events WHERE migration = 'bare' AND event = 'NULL written'"),
	'1|NULL in column "v" of table "bare", by user postgres, application "the old one"', 'the events name him, too');
call("SELECT zdm.rollback('bare')", 'rolled_back');

# A generated column, where the server has those that are not stored.  None turns
# a plain column into one.
query('CREATE TABLE computed (id int PRIMARY KEY, n int); INSERT INTO computed SELECT i, i FROM generate_series(1, 100) i');
call(q(SELECT zdm.add_column('computed', 'twice', 'int', generated => 'n * 2', migration => 'twice')), 'twice');
call("CALL zdm.backfill('twice')");
if ($major >= 17)
{
	my ($status, $out, $err) = $node->psql('postgres', 'ALTER TABLE bare ALTER v SET EXPRESSION AS (NULL)');

	like($err, qr/column "v" of relation "bare" is not a generated column/, 'SET EXPRESSION is for those that are');
}
if ($major < 18)
{
	my ($status, $out, $err) = $node->psql('postgres', "SELECT zdm.contract('twice')");

	isnt($status, 0, 'no generated column without writing the table');
	like($err, qr/cannot become a generated column without writing the table anew/, 'and the reason is told');
	is(query('SELECT count(*) FROM computed WHERE twice = n * 2'), 100, 'it has its values all the same');
	call("SELECT zdm.rollback('twice')", 'rolled_back');
}
else
{
	query(q(GRANT SELECT (twice) ON computed TO pg_monitor; COMMENT ON COLUMN computed.twice IS 'n''s'));
	scans_nothing("SELECT zdm.contract('twice')", 'finished');
	is(query(q(SELECT attacl::text || ' ' || col_description(attrelid, attnum) FROM pg_attribute WHERE attrelid = 'computed'::regclass AND attname = 'twice')),
		q({pg_monitor=r/postgres} n's), 'with the privileges and the comment that it had');
	query('UPDATE computed SET n = 7 WHERE id = 1');
	is(query('SELECT twice FROM computed WHERE id = 1'), 14, 'a generated column');
	is(query("SELECT attgenerated FROM pg_attribute WHERE attrelid = 'computed'::regclass AND attname = 'twice'"),
		'v', 'of the kind that is not stored');

	# A NOT NULL that is not valid proves nothing.
	query(q(CREATE TABLE late (id int PRIMARY KEY, v text, w text);
		INSERT INTO late VALUES (1, NULL, 'w');
		ALTER TABLE late ADD CONSTRAINT theirs NOT NULL w NOT VALID));
	my ($status, $out, $err) = $node->psql('postgres', q(SELECT zdm.set_not_null('late', 'w', '''w''')));
	like($err, qr/ALTER TABLE public.late VALIDATE CONSTRAINT theirs/, 'who finds one is told to validate it');
	call(q(SELECT zdm.set_not_null('late', 'v', '''v''', 'late')), 'late');
	query('ALTER TABLE late ADD CONSTRAINT mine NOT NULL v NOT VALID');
	call("CALL zdm.backfill('late')");
	is(query("SELECT convalidated FROM pg_constraint WHERE conname = 'mine'"), 't', 'one that comes in between is validated');
	scans_nothing("SELECT zdm.contract('late')", 'finished');
}

#
# A dump in the middle goes on elsewhere
#

query('CREATE DATABASE shop');
query(
	qq(
	CREATE EXTENSION zdm;
	CREATE SEQUENCE tickets;
	CREATE TABLE users (id int PRIMARY KEY, mail text, code text NOT NULL);
	INSERT INTO users SELECT i, NULL, i FROM generate_series(1, $rows) i;
	CREATE TABLE ready (LIKE users INCLUDING ALL);
	INSERT INTO ready SELECT * FROM users;
	SELECT zdm.add_column('users', 'ticket', 'bigint', default_value => 'nextval(''tickets'')', migration => 'ticket');
	SELECT zdm.set_not_null('users', 'mail', 'id || ''\@none''', migration => 'mail');
	SELECT zdm.drop_not_null('users', 'code', migration => 'code');
	SELECT zdm.rollback('code');
	SELECT zdm.add_column('ready', 'kind', 'text', not_null => true, fill => '''kind of '' || id', migration => 'kind');
	SELECT zdm.drop_not_null('ready', 'code', migration => 'free');
	SELECT zdm.add_column('ready', 'size', 'int', generated => 'length(code)', migration => 'size');
	UPDATE users SET ticket = 0 WHERE id = 7), 'shop');
call("CALL zdm.backfill('kind')", undef, 'shop');
# Some rows are done, but not all.
for (1 .. 60)
{
	local $ENV{PGOPTIONS} = '-c zdm.batch_target=1ms -c zdm.backfill_pause=50 -c statement_timeout=300ms';
	$node->psql('shop', "CALL zdm.backfill('ticket')");
	last if query('SELECT count(ticket) FROM users', 'shop') > 1;
}
my $status = query('SELECT migration, state, next_command FROM zdm.status ORDER BY 1', 'shop');
command_ok([ 'pg_dump', '-d', $node->connstr('shop'), '-Fc', '-f', "$folder/dump" ], 'pg_dump');
query('CREATE DATABASE home');
command_ok([ 'pg_restore', '--exit-on-error', '-j2', '-d', $node->connstr('home'), "$folder/dump" ], 'pg_restore');
is(query('SELECT migration, state, next_command FROM zdm.status ORDER BY 1', 'home'), $status, 'the same are in flight');
query('INSERT INTO users (id, mail, code) VALUES (-1, NULL, 1); INSERT INTO ready (id, code) VALUES (-1, 1), (-2, NULL)', 'home');
for my $migration ('ticket', 'mail', 'code', 'size')
{
	call("CALL zdm.backfill('$migration')", undef, 'home');
}
call("SELECT zdm.contract('$_')", 'finished', 'home') for ('ticket', 'mail', 'kind');
call("SELECT zdm.rollback('code')", 'rolled_back', 'home');
is( query('SELECT count(*), count(DISTINCT ticket), count(*) FILTER (WHERE ticket = 0), count(mail) FROM users', 'home'),
	join('|', $rows + 1, $rows + 1, 1, $rows + 1), 'each row has got what it lacked');
call("SELECT zdm.contract('free')", 'finished', 'home');
is(query('SELECT count(kind) FROM ready', 'home'), $rows + 2, 'also where it was ready before');
is(query('SELECT count(*) FROM ready WHERE size IS DISTINCT FROM length(code)', 'home'), 0, 'what is computed is so');
query(q(UPDATE ready SET code = 'xyz' WHERE id = -2), 'home');
is(query('SELECT size FROM ready WHERE id = -2', 'home'), 3, 'and goes on being so');

#
# The schema is what a plain ALTER TABLE makes, and after a rollback what it was
#

my $schema = q(
	CREATE SEQUENCE tickets;
	CREATE TYPE mood AS ENUM ('good', 'bad');
	CREATE DOMAIN word AS text;
	CREATE TABLE "My Table" (id int PRIMARY KEY, "the 'v'" text, w text NOT NULL DEFAULT 'w', n int CHECK (n > 0));
	COMMENT ON COLUMN "My Table".w IS 'a comment';
	CREATE TABLE parted (id int, v text, w text NOT NULL) PARTITION BY RANGE (id);
	CREATE TABLE parted_1 PARTITION OF parted FOR VALUES FROM (0) TO (1000);
	CREATE TABLE parted_2 (gone int, w text NOT NULL, v text, id int);
	ALTER TABLE parted_2 DROP COLUMN gone;
	ALTER TABLE parted ATTACH PARTITION parted_2 FOR VALUES FROM (1000) TO (2000);
	INSERT INTO "My Table" SELECT i, NULL, 'w', i FROM generate_series(1, 100) i;
	INSERT INTO parted SELECT i, NULL, 'w' FROM generate_series(900, 1100) i;
);
# What is called, and what does the same at once.
my @changes = (
	[ q(zdm.add_column('"My Table"', 'Plain', 'word')), q(ALTER TABLE "My Table" ADD "Plain" word) ],
	[ q(zdm.add_column('"My Table"', 'c', 'numeric(6,2)', '1.5')), q(ALTER TABLE "My Table" ADD c numeric(6,2) DEFAULT 1.5) ],
	[ q(zdm.add_column('"My Table"', 'm', 'mood', '''good''', true)), q(ALTER TABLE "My Table" ADD m mood DEFAULT 'good' NOT NULL) ],
	[ q(zdm.add_column('"My Table"', 't', 'bigint', 'nextval(''tickets'')')), q(ALTER TABLE "My Table" ADD t bigint DEFAULT nextval('tickets')) ],
	[ q(zdm.add_column('"My Table"', 'u', 'uuid', 'gen_random_uuid()', true)), q(ALTER TABLE "My Table" ADD u uuid DEFAULT gen_random_uuid() NOT NULL) ],
	[ q(zdm.add_column('"My Table"', 'f', 'varchar(9)[]', not_null => true, fill => 'ARRAY[w]')),
		q(ALTER TABLE "My Table" ADD f varchar(9)[]; UPDATE "My Table" SET f = '{}'; ALTER TABLE "My Table" ALTER f SET NOT NULL) ],
	[ q(zdm.set_not_null('"My Table"', 'the ''v''', 'w')),
		q(UPDATE "My Table" SET "the 'v'" = w; ALTER TABLE "My Table" ALTER "the 'v'" SET NOT NULL) ],
	[ q(zdm.drop_not_null('"My Table"', 'w')), q(ALTER TABLE "My Table" ALTER w DROP NOT NULL) ],
	[ q(zdm.set_not_null('parted', 'v', 'w')), q(UPDATE parted SET v = w; ALTER TABLE parted ALTER v SET NOT NULL) ],
	[ q(zdm.drop_not_null('parted', 'w')), q(ALTER TABLE parted ALTER w DROP NOT NULL) ],
	[ q(zdm.add_column('parted', 't', 'bigint', 'nextval(''tickets'')', true)), q(ALTER TABLE parted ADD t bigint DEFAULT nextval('tickets') NOT NULL) ]);
push @changes,
  [ q(zdm.add_column('parted', 'g', 'text', generated => 'upper(w)')), q(ALTER TABLE parted ADD g text GENERATED ALWAYS AS (upper(w)) VIRTUAL) ]
  if $major >= 18;

sub schema_of { return join "\n", @{ schema_lines($node, @_) }; }

for my $db ('plain', 'direct', 'quarantine', 'back')
{
	query("CREATE DATABASE $db");
	query("CREATE EXTENSION zdm; $schema", $db);
}
my $original = schema_of('plain');
query($_->[1], 'plain') for @changes;
my $changed = schema_of('plain');
isnt($changed, $original, 'the plain changes show');
for my $change (@changes)
{
	my $expand = "SELECT $change->[0]";

	for my $db ('direct', 'quarantine', 'back')
	{
		my $name = query($expand, $db) =~ s/'/''/gr;
		my $backfill = query("SELECT state FROM zdm.status", $db) eq 'expanded' ? "CALL zdm.backfill('$name')" : undef;

		call($backfill, undef, $db) if defined $backfill;
		if ($db eq 'direct')
		{
			call("SELECT zdm.contract('$name')", 'finished', $db);
			next;
		}
		call("SELECT zdm.contract('$name', '1 day')", 'contracted', $db);
		if ($db eq 'quarantine')
		{
			call("SELECT zdm.contract('$name', '0')", 'finished', $db);
			next;
		}
		if (query("SELECT zdm.rollback('$name')", $db) eq 'expanded')
		{
			call("CALL zdm.backfill('$name')", undef, $db);
			call("SELECT zdm.rollback('$name')", 'rolled_back', $db);
		}
		query($expand, $db);
		call("SELECT zdm.rollback('$name')", undef, $db);
		if (query('SELECT count(*) FROM zdm.status', $db))
		{
			call("CALL zdm.backfill('$name')", undef, $db);
			call("SELECT zdm.rollback('$name')", 'rolled_back', $db);
		}
	}
}
is(schema_of('direct'), $changed, 'contract without a quarantine: as after the plain changes');
is(schema_of('quarantine'), $changed, 'contract with a quarantine: as after the plain changes');
is(schema_of('back'), $original, 'rollback: as before');

$node->stop;
done_testing();
