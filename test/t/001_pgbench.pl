# Every phase of rename_column under the statements of an old and a new version
# of an application: no statement fails, and what was acknowledged is there.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);
use ZdmDatabase;
use ZdmLoad;
use ZdmPgbench;

my $migration = 'rename_users_name_to_full_name';
my $rows = 30_000;
my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', "zdm.auto_start = off\n");
$node->append_conf(
	'postgresql.conf', q(
max_connections = 50
zdm.lock_patience = 60s
deadlock_timeout = 200ms
log_lock_waits = on
));
$node->start;
$node->safe_psql(
	'postgres', qq(
	CREATE EXTENSION zdm;
	CREATE TABLE users (
		id int PRIMARY KEY,
		hits int NOT NULL DEFAULT 0,
		name text CHECK (name <> ''),
		changed_at timestamptz DEFAULT now());
	CREATE INDEX ON users (name);
	CREATE TABLE orders (user_id int REFERENCES users);
	INSERT INTO users (id, name) SELECT i, 'user ' || i FROM generate_series(100001, 100000 + $rows) i;
	VACUUM ANALYZE users;
));

# Rows are pgbench's own.
my $folder = PostgreSQL::Test::Utils::tempdir();
my %column = (old => 'name', new => 'full_name');
for my $version (keys %column)
{
	my $column = $column{$version};

	append_to_file("$folder/$version.sql", qq(
\\set id random(100001, 100000 + $rows)
\\set new_id random(200001, 900000)
UPDATE users SET $column = 'user ' || :id || ' of $version' WHERE id = :id;
SELECT id, $column FROM users WHERE id = :id;
INSERT INTO users (id, $column) VALUES (:new_id, 'another user') ON CONFLICT (id) DO UPDATE SET $column = 'upserted';
INSERT INTO orders VALUES (:id);
BEGIN;
SELECT $column FROM users WHERE id = :id FOR UPDATE;
UPDATE users SET hits = hits + 1, changed_at = now() WHERE id = :id;
END;
DELETE FROM users WHERE id = :new_id;
));
}

my $load = ZdmLoad->new($node, workers => 3);
note "seed $load->{seed}";

sub call { return zdm_ok($node, 'postgres', @_); }

sub mismatches
{
	return $node->safe_psql('postgres', "SELECT sum(mismatches) FROM zdm.verify('$migration')");
}

$load->start;
my @old = pgbench_start($node, 'old', "$folder/old.sql", rate => 250);
$load->progress(100);

# The new version starts when the migration is ready, and is rolled back.
call("SELECT zdm.rename_column('users', 'name', 'full_name')", $migration);
$load->names('old', 'new', 'filling');
$load->progress(100);
call("CALL zdm.backfill('$migration')");
$load->names('old', 'new');
my @new = pgbench_start($node, 'new', "$folder/new.sql", rate => 250);
$load->progress(200);
is(mismatches(), 0, 'ready: in sync');

call("SELECT zdm.contract('$migration', '1 day')", 'contracted');
$load->progress(200);
is(mismatches(), 0, 'contracted: in sync');

pgbench_stop(@new);
$load->names('old');
call("SELECT zdm.rollback('$migration')", 'rolled_back');
$load->progress(100);

# Again, and on to the end.
call("SELECT zdm.rename_column('users', 'name', 'full_name')", $migration);
$load->names('old', 'new', 'filling');
call("CALL zdm.backfill('$migration')");
$load->names('old', 'new');
@new = pgbench_start($node, 'new', "$folder/new.sql", rate => 250);
$load->progress(100);
call("SELECT zdm.contract('$migration', '1 day')", 'contracted');
$load->progress(100);
$load->stop;
is(mismatches(), 0, 'contracted again: in sync');
is_deeply([ $load->compare('name') ], [], 'the old name has what was acknowledged');
is_deeply([ $load->compare('full_name') ], [], 'so has the new one');

$load->names('new');
$load->start;
pgbench_stop(@old);
call("SELECT zdm.contract('$migration', '0')", 'finished');
$load->progress(100);

# Once more back and forth, without a quarantine, the names exchanged.
$migration = 'rename_users_full_name_to_name';
call("SELECT zdm.rename_column('users', 'full_name', 'name')", $migration);
# The module's new name is the migration's old one here.
$load->names('new');
$load->progress(100);
call("CALL zdm.backfill('$migration')");
$load->names('old', 'new');
$load->progress(100);
is(mismatches(), 0, 'ready: in sync');
$load->names('old');
pgbench_stop(@new);
@old = pgbench_start($node, 'old', "$folder/old.sql", rate => 250);
call("SELECT zdm.contract('$migration')", 'finished');
$load->progress(100);
$load->stop;
pgbench_stop(@old);

is_deeply([ $load->failed ], [], 'no statement failed');
is_deeply([ $load->compare('name') ], [], 'what was acknowledged is there');
is($node->safe_psql('postgres', "SELECT count(*) FROM users WHERE id > 100000 AND id <= 100000 + $rows"),
	$rows, "pgbench's rows are all there");
is($node->safe_psql('postgres', "SELECT string_agg(attname, ' ' ORDER BY attnum) FROM pg_attribute"
	  . " WHERE attrelid = 'users'::regclass AND attnum > 0 AND NOT attisdropped"),
	'id hits name changed_at', 'the columns are those from the start');
is($node->safe_psql('postgres', "SELECT count(*) FROM pg_trigger WHERE tgrelid = 'users'::regclass AND NOT tgisinternal"),
	0, 'no trigger is left');
note sprintf('%d statements, the slowest took %d ms', $load->statements, $load->slowest_ms);

$node->stop;
done_testing();
