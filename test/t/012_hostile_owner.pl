# A table's owner whose code attacks whoever calls it: a worker is a superuser's
# session, and no code of an owner's gets anything from that.  Triggers, deferred
# ones, too, a default, functions of an index, CHECK and domain, a partition key,
# the expressions of a migration, and the throttle query; of an owner who may log
# in and of one who may not; in workers that a session, an expand, the launcher
# or the owner of another table has begun.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf(
	'postgresql.conf', q(
fsync = off
log_statement = none
max_worker_processes = 16
shared_preload_libraries = 'zdm'
zdm.launcher_naptime = 1
zdm.auto_start = off
));
$node->start;

my $database = 'postgres';

sub query
{
	my ($sql) = @_;
	return $node->safe_psql($database, $sql);
}

# As a superuser who plays the owner, so that it works for one who may not log
# in.
sub as_owner
{
	my ($owner, $sql) = @_;
	return query("SET SESSION AUTHORIZATION $owner; SET search_path = $owner; $sql");
}

# What the attacker calls wherever he can: it notes who he is and tries what it
# can to be more, or to leave something behind.
query(
	q(
	CREATE EXTENSION zdm;
	CREATE TABLE treasure (owner text);
	INSERT INTO treasure VALUES ('superuser');
	CREATE SCHEMA attack;
	CREATE FUNCTION attack.run(place text) RETURNS void LANGUAGE plpgsql AS $$
	DECLARE
		attempt text;
	BEGIN
		-- where a session plays the owner this would lead back to its real user;
		-- a worker has the name of its migration
		IF pg_catalog.current_setting('application_name') !~ '^(mallory|nologin|honest)' THEN
			RETURN;
		END IF;
		RAISE LOG 'attack by % in %', current_user, place;
		-- what earlier calls have set must not have outlasted their batch
		IF place = 'the throttle query' THEN
			RAISE LOG 'attack with the path %, batches of %', pg_catalog.current_setting('search_path'),
				pg_catalog.current_setting('zdm.batch_target');
		END IF;
		FOREACH attempt IN ARRAY ARRAY[
			'RESET ROLE', 'RESET SESSION AUTHORIZATION', 'SET ROLE postgres', 'SET SESSION AUTHORIZATION postgres',
			'ALTER ROLE mallory SUPERUSER', 'ALTER ROLE nologin SUPERUSER', 'CREATE ROLE backdoor SUPERUSER',
			'UPDATE public.treasure SET owner = current_user', 'GRANT postgres TO mallory',
			'SELECT pg_catalog.pg_read_file(''postgresql.conf'')', 'COPY public.treasure TO PROGRAM ''true''',
			'ALTER SYSTEM SET work_mem = ''64kB''', 'UPDATE zdm.migration SET throttle_role = ''postgres''',
			'CREATE TEMPORARY TABLE pg_class (oid oid)',
			'CREATE EVENT TRIGGER backdoor ON ddl_command_end EXECUTE FUNCTION attack.event()']
		LOOP
			BEGIN
				EXECUTE attempt;
				IF current_user NOT IN ('mallory', 'nologin') OR attempt NOT LIKE 'RESET%' THEN
					RAISE LOG 'attack succeeded in %: %', place, attempt;
				END IF;
			EXCEPTION WHEN OTHERS THEN
				NULL;
			END;
		END LOOP;
		-- what would outlast the call
		BEGIN
			IF place IN ('a deferring trigger', 'an up expression', 'an index') THEN
				SET CONSTRAINTS ALL DEFERRED;
			END IF;
			PERFORM pg_catalog.set_config('zdm.batch_target', '59999', false),
					pg_catalog.set_config('search_path', 'mallory', false);
		EXCEPTION WHEN OTHERS THEN
			NULL;
		END;
	END $$;
	CREATE FUNCTION attack.of_text(value text, place text) RETURNS text IMMUTABLE LANGUAGE plpgsql AS
		'BEGIN PERFORM attack.run(place); RETURN value; END';
	CREATE FUNCTION attack.of_number(value int, place text) RETURNS int IMMUTABLE LANGUAGE plpgsql AS
		'BEGIN PERFORM attack.run(place); RETURN value; END';
	CREATE FUNCTION attack.says_wait() RETURNS boolean LANGUAGE plpgsql AS
		'BEGIN PERFORM attack.run($$the throttle query$$); RETURN false; END';
	CREATE FUNCTION attack.event() RETURNS event_trigger LANGUAGE plpgsql AS
		'BEGIN PERFORM attack.run($$an event trigger$$); END';
	CREATE FUNCTION attack.row() RETURNS trigger LANGUAGE plpgsql AS
		'BEGIN PERFORM attack.run(TG_ARGV[0]); RETURN NEW; END';
	GRANT USAGE ON SCHEMA attack TO PUBLIC;

	CREATE ROLE mallory LOGIN;
	CREATE ROLE nologin NOLOGIN;
	CREATE ROLE honest;
	CREATE SCHEMA mallory AUTHORIZATION mallory;
	CREATE SCHEMA nologin AUTHORIZATION nologin;
	CREATE SCHEMA honest AUTHORIZATION honest;
	-- as a pattern with expressions of the user's would
	GRANT EXECUTE ON FUNCTION zdm._sync_columns TO mallory, nologin;
));

# Where the owner's code is, and the name of the migration of that table.
my $tables = q(
	CREATE FUNCTION plus(text, text) RETURNS text LANGUAGE plpgsql AS
		'BEGIN PERFORM attack.run($$an operator$$); RETURN $1; END';
	CREATE OPERATOR || (FUNCTION = plus, LEFTARG = text, RIGHTARG = text);
	CREATE DOMAIN word AS text CHECK (attack.of_text(VALUE, 'a domain') IS DISTINCT FROM 'never');
	CREATE SEQUENCE s;

	CREATE TABLE plain (id int PRIMARY KEY, name text DEFAULT attack.of_text('d', 'a default'),
		made text GENERATED ALWAYS AS (attack.of_text('made', 'a generated column')) STORED,
		UNIQUE (name));
	CREATE INDEX ON plain (attack.of_text(name, 'an index'));
	CREATE INDEX ON plain (name) WHERE attack.of_number(id, 'a predicate') > 0;

	CREATE TABLE domains (id int PRIMARY KEY, name word);

	CREATE TABLE triggers (id int PRIMARY KEY, name text, CHECK (attack.of_text(name, 'a CHECK') <> ''));
	CREATE TRIGGER b BEFORE UPDATE ON triggers FOR EACH ROW EXECUTE FUNCTION attack.row('a BEFORE trigger');
	CREATE TRIGGER a AFTER UPDATE ON triggers FOR EACH ROW EXECUTE FUNCTION attack.row('an AFTER trigger');
	CREATE TRIGGER s AFTER UPDATE ON triggers EXECUTE FUNCTION attack.row('a statement trigger');
	CREATE CONSTRAINT TRIGGER d AFTER UPDATE ON triggers DEFERRABLE INITIALLY DEFERRED
		FOR EACH ROW EXECUTE FUNCTION attack.row('a deferred trigger');

	CREATE TABLE parts (id int, name text) PARTITION BY RANGE (attack.of_number(id, 'a partition key'));
	CREATE TABLE parts_1 PARTITION OF parts FOR VALUES FROM (0) TO (1000);
	CREATE INDEX ON parts (attack.of_text(name, 'an index of partitions'));

	CREATE TABLE up (id int PRIMARY KEY, name text, label word, CHECK (attack.of_text(label, 'a CHECK of the new side') <> ''));

	INSERT INTO plain SELECT i, 'user ' OPERATOR(pg_catalog.||) i FROM generate_series(1, 300) i;
	INSERT INTO domains SELECT i, 'user ' OPERATOR(pg_catalog.||) i FROM generate_series(1, 300) i;
	INSERT INTO triggers SELECT i, 'user ' OPERATOR(pg_catalog.||) i FROM generate_series(1, 300) i;
	INSERT INTO parts SELECT i, 'user ' OPERATOR(pg_catalog.||) i FROM generate_series(1, 300) i;
	INSERT INTO up SELECT i, 'user ' OPERATOR(pg_catalog.||) i FROM generate_series(1, 300) i;
);
my %expand = (
	plain => q(zdm.rename_column('plain', 'name', 'label', migration => '%s_plain')),
	domains => q(zdm.rename_column('domains', 'name', 'label', migration => '%s_domains')),
	triggers => q(zdm.rename_column('triggers', 'name', 'label', migration => '%s_triggers')),
	parts => q(zdm.rename_column('parts', 'name', 'label', migration => '%s_parts')),
	up => q(zdm._sync_columns('up', '{name}', '{label}',
		'{"upper(attack.of_text(name, ''an up expression''))"}', '{"lower(attack.of_text(label, ''a down expression''))"}', '%s_up')));
my @places = (
	'a generated column', 'a CHECK', 'a CHECK of the new side', 'an index', 'a predicate', 'a domain', 'a BEFORE trigger',
	'an AFTER trigger', 'a statement trigger', 'a deferred trigger', 'a partition key', 'an index of partitions',
	'an up expression', 'the throttle query');

my %fire = (plain => 'off', domains => 'off', triggers => 'on', parts => 'on', up => 'off');

# Who begins the workers.
my %begin = (
	mallory => sub {
		as_owner('mallory', "SET zdm.fire_user_triggers = $fire{$_};"
			  . " SELECT zdm.start('mallory_$_', workers => 2, throttle => 'SELECT attack.says_wait()')") for (sort keys %expand);
		return;
	},
	nologin => sub {
		# With the order given and nobody there it is the launcher's turn.
		query(qq(UPDATE zdm.migration SET workers = 1, throttle = 'SELECT attack.says_wait()', throttle_role = 'nologin',
			fire_user_triggers = (name ~ 'triggers|parts') WHERE name LIKE 'nologin%'));
		return;
	});

for my $owner ('mallory', 'nologin')
{
	my $log = -s $node->logfile;

	as_owner($owner, $tables);
	as_owner($owner, 'SELECT ' . sprintf $expand{$_}, $owner) for (sort keys %expand);
	$begin{$owner}->();
	query(qq(CALL zdm.wait('${owner}_$_', '120 s'))) for (sort keys %expand);
	is( query("SELECT count(*) FROM zdm.status WHERE migration LIKE '${owner}%' AND state = 'ready' AND last_error IS NULL"),
		5, "$owner: every migration is ready");
	ok($node->poll_query_until($database, q(SELECT count(*) = 0 FROM pg_stat_activity WHERE application_name ~ '^(mallory|nologin)')),
		"$owner: the workers are gone");

	my $said = slurp_file($node->logfile, $log);
	my %called = map { $_ => 1 } $said =~ /attack by \w+ in (.*)/g;
	note("$owner: called in " . join ', ', sort keys %called);
	ok($called{$_}, "$owner: $_ was called in a worker") for (@places);
	my %by = map { $_ => 1 } $said =~ /attack by (\w+) in/g;
	is(join(' ', sort keys %by), $owner, "$owner: by nobody but the owner");
	unlike($said, qr/attack succeeded/, "$owner: no attempt succeeded");
	my %with = map { $_ => 1 } $said =~ /attack (with the path .*)/g;
	is(join('; ', sort keys %with), 'with the path pg_catalog, pg_temp, batches of 25ms', "$owner: nothing that he has set outlasts its batch");
	unlike($said, qr/in an operator|in an event trigger/, "$owner: no operator of the owner's stands in for the server's");
}

# Whoever else's worker comes by: that of a table which refers to nothing of the
# attacker's, while his path and his casts lie in wait.
my $log = -s $node->logfile;
query('ALTER DATABASE postgres SET search_path = mallory, public');
as_owner('honest',
	q(CREATE TABLE t (id int PRIMARY KEY, name text); INSERT INTO t SELECT i, 'x' FROM generate_series(1, 300) i;
	  CREATE INDEX ON t (name); SELECT zdm.rename_column('t', 'name', 'label', migration => 'honest'); SELECT zdm.start('honest')));
query(q(CALL zdm.wait('honest', '60 s')));
unlike(slurp_file($node->logfile, $log), qr/attack by/, 'the path of the database brings no code of his into others\' workers');
query('ALTER DATABASE postgres RESET search_path');

# He gives a query for a table that is not his, or in another's name.
for my $attempt (
	[ q(SELECT zdm.start('honest', throttle => 'SELECT attack.says_wait()')), qr/must be owner of table t/ ],
	[ q(UPDATE zdm.migration SET throttle = 'SELECT attack.says_wait()', throttle_role = 'honest' WHERE name = 'honest'), qr/permission denied/ ],
	[ q(SELECT zdm.pause('honest')), qr/must be owner of table t/ ])
{
	my ($status, $out, $err) = $node->psql($database, $attempt->[0], extra_params => [ '-U', 'mallory' ]);
	isnt($status, 0, "refused: $attempt->[0]");
	like($err, $attempt->[1], "and says why: $attempt->[0]");
}

# What is put off to the commit would run as the worker's own user there: it
# cannot be put off.
$log = -s $node->logfile;
as_owner('mallory',
	q(CREATE TABLE deferring (id int PRIMARY KEY, name text); INSERT INTO deferring SELECT i, 'x' FROM generate_series(1, 30) i;
	  CREATE TRIGGER b BEFORE UPDATE ON deferring FOR EACH ROW EXECUTE FUNCTION attack.row('a deferring trigger');
	  CREATE CONSTRAINT TRIGGER d AFTER UPDATE ON deferring DEFERRABLE INITIALLY DEFERRED
		FOR EACH ROW EXECUTE FUNCTION attack.row('what was deferred');
	  SET zdm.fire_user_triggers = on;
	  SELECT zdm.rename_column('deferring', 'name', 'label', migration => 'mallory_deferring'); SELECT zdm.start('mallory_deferring')));
ok( $node->poll_query_until($database,
		q(SELECT last_error ~ 'cannot fire deferred trigger within security-restricted operation' FROM zdm.status WHERE migration = 'mallory_deferring')),
	'a trigger that is deferred by another: is not fired, and the backfill says why');
like(slurp_file($node->logfile, $log), qr/attack by mallory in a deferring trigger/, 'a trigger that is deferred by another: the other was called');
unlike(slurp_file($node->logfile, $log), qr/attack by (?!mallory)|attack succeeded/, 'a trigger that is deferred by another: nobody but the owner was');

# His code may fail: that is the end of his migration, and of nobody else's.
query(q(CREATE OR REPLACE FUNCTION attack.run(place text) RETURNS void LANGUAGE plpgsql AS
	$$BEGIN IF place = 'an up expression' THEN RAISE EXCEPTION 'no: %', current_user; END IF; END$$));
as_owner('mallory',
	q(CREATE TABLE bad (id int PRIMARY KEY, name text, label text); INSERT INTO bad SELECT i, 'x' FROM generate_series(1, 30) i;
	  SELECT zdm._sync_columns('bad', '{name}', '{label}', '{"attack.of_text(name, ''an up expression'')"}', '{label}', 'bad');
	  SELECT zdm.start('bad')));
ok($node->poll_query_until($database, q(SELECT last_error ~ 'no: mallory' FROM zdm.status WHERE migration = 'bad')),
	'code that fails: the error is that of the owner');
is(query(q(SELECT state FROM zdm.status WHERE migration = 'honest')), 'ready', 'and nobody else is concerned');

is(query(q(SELECT string_agg(rolname, ' ' ORDER BY rolname) FROM pg_roles WHERE rolsuper)), 'postgres', 'no role has become a superuser');
is(query(q(SELECT count(*) FROM pg_auth_members WHERE roleid = 'postgres'::regrole)), 0, 'nor a member of one');
is(query('SELECT * FROM treasure'), 'superuser', 'the treasure is where it was');
is(query('SELECT count(*) FROM pg_event_trigger WHERE evtname = $$backdoor$$'), 0, 'nothing was left behind');
is(query('SHOW work_mem'), '4MB', 'nor in the settings');
unlike(slurp_file($node->logfile), qr/TRAP|PANIC|terminated by signal/, 'nothing crashed');

$node->stop;
done_testing();
