# Every phase of change_column_type under the statements of an old and a new
# version of an application, which are the same ones, plain and prepared: no
# statement fails, nor through a view, no write is lost, both columns agree.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use ZdmDatabase;
use ZdmLoad;
use ZdmPgbench;

my $rows = 20_000;
my $m = 'change_visits_seconds_to_bigint';
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
$node->safe_psql('postgres', 'CREATE EXTENSION zdm');
$node->safe_psql(
	'postgres', qq(
	CREATE TABLE visits (
		id int PRIMARY KEY,
		hits int NOT NULL DEFAULT 0,
		seconds int NOT NULL DEFAULT 7 CHECK (seconds > 0));
	CREATE INDEX ON visits (seconds);
	CREATE VIEW long AS SELECT id, seconds FROM visits WHERE seconds > 0 WITH CHECK OPTION;
	CREATE VIEW longest AS SELECT max(seconds) AS seconds FROM long;
	CREATE FUNCTION longer(int) RETURNS int LANGUAGE plpgsql AS
		'BEGIN UPDATE visits SET seconds = seconds + 1 WHERE id = \$1 RETURNING seconds INTO \$1; RETURN \$1; END';
	INSERT INTO visits (id, seconds) SELECT i, i FROM generate_series(100001, 100000 + $rows) i;
	VACUUM ANALYZE visits));
append_to_file("$folder/visits.sql", qq(
\\set id random(100001, 100000 + $rows)
\\set new_id random(200001, 900000)
\\set n random(1, 999999)
UPDATE visits SET seconds = :n WHERE id = :id;
UPDATE visits SET seconds = seconds + 1 WHERE id = :id;
SELECT longer(:id);
SELECT seconds::text FROM visits WHERE id = :id;
SELECT seconds::text FROM long WHERE id = :id;
UPDATE long SET seconds = :n WHERE id = :id;
INSERT INTO visits (id) VALUES (:new_id) ON CONFLICT (id) DO NOTHING;
INSERT INTO visits (id, seconds) VALUES (:new_id, :n) ON CONFLICT (id) DO UPDATE SET seconds = EXCLUDED.seconds;
UPDATE visits SET hits = hits + 1 WHERE id = :id;
DELETE FROM visits WHERE id = :new_id;
));

sub call { return zdm_ok($node, 'postgres', @_); }

sub in_sync
{
	my ($what) = @_;
	is($node->safe_psql('postgres', "SELECT sum(mismatches) FROM zdm.verify('$m')"), 0, "$what: in sync");
	return;
}

# The load's values are numbers, each of them new.
my $load = ZdmLoad->new(
	$node,
	table => 'visits',
	old => 'seconds',
	new => 'seconds',
	types => { old => 'int', new => 'int' },
	value => sub { my ($worker, $number) = @_; return ($worker =~ /(\d+)/ ? 1_000_000 * (1 + $1) : 0) + $number; },
	workers => 2);
note "seed $load->{seed}";
$load->start;
my @run = (
	pgbench_start($node, 'old', "$folder/visits.sql", rate => 200),
	pgbench_start($node, 'new', "$folder/visits.sql", rate => 200));

$load->progress(50);
for my $attempt (1, 2)
{
	call("SELECT zdm.change_column_type('visits', 'seconds', 'bigint', views => 'recreate')", $m);
	$load->progress(50);
	call("CALL zdm.backfill('$m')");
	$load->progress(50);
	in_sync('ready');
	call("SELECT zdm.contract('$m', '1 day')", 'contracted');
	$load->progress(100);
	in_sync('contracted');
	last if $attempt == 2;
	call("SELECT zdm.rollback('$m')", 'rolled_back');
	$load->progress(50);
}
call("SELECT zdm.contract('$m', '0')", 'finished');
$load->progress(50);
$load->stop;
pgbench_stop(@run);
is_deeply([ $load->failed ], [], 'no statement failed');
is_deeply([ $load->compare('seconds') ], [], 'what was acknowledged is there');
is($node->safe_psql('postgres', "SELECT count(*) FROM visits WHERE id > 100000 AND id <= 100000 + $rows"),
	$rows, q(pgbench's rows are all there));
is($node->safe_psql('postgres', "SELECT count(*) FROM pg_trigger WHERE tgrelid = 'visits'::regclass"),
	0, 'no trigger is left');
is($node->safe_psql('postgres', "SELECT string_agg(attname || ' ' || atttypid::regtype, ', ' ORDER BY attnum) FROM pg_attribute"
	  . " WHERE attrelid = 'visits'::regclass AND attnum > 0 AND NOT attisdropped"),
	'id integer, hits integer, seconds bigint', 'the column has the new type');
is($node->safe_psql('postgres', "SELECT string_agg(attrelid::regclass || ' ' || atttypid::regtype, ', ' ORDER BY attrelid::regclass::text) FROM pg_attribute"
	  . " WHERE attrelid IN ('long'::regclass, 'longest'::regclass) AND attname = 'seconds'"),
	'long bigint, longest bigint', 'and so have the views over it');

$node->stop;
done_testing();
