# A key with twenty tables that refer to it changes its type under an application
# which uses it in every way: triggers and functions with rows, keys and cursors
# in variables, SQL functions, prepared statements, arrays, cursors that are open
# over the swap.  The calls are cancelled, terminated and timed out at random
# moments, and made again: not one statement fails, and no reference is lost.
#
#   ZDM_SEED  repeats the moments

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

my $tables = 20;
my $rows = 3000;
my $m = 'change_orders_id_to_bigint';
my $seed = $ENV{ZDM_SEED} // int(rand(1_000_000));
diag "  seed $seed (repeat with ZDM_SEED)";
srand($seed);

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf',
	"shared_preload_libraries = 'zdm'\nzdm.auto_start = off\nmax_connections = 50\nmax_locks_per_transaction = 256\n");
$node->start;
my $schema = q(
	CREATE EXTENSION zdm;
	CREATE TABLE orders (
		id serial PRIMARY KEY,
		parent int REFERENCES orders ON DELETE SET NULL,
		note text,
		total int NOT NULL DEFAULT 0);
	CREATE TABLE audit (id text, what text);
	CREATE FUNCTION audit() RETURNS trigger LANGUAGE plpgsql AS $$
	BEGIN
		IF TG_OP = 'UPDATE' AND OLD.* IS NOT DISTINCT FROM NEW.* THEN
			RETURN NULL;
		END IF;
		INSERT INTO audit VALUES (NEW.id::text, to_jsonb(NEW) ->> 'note');
		RETURN NULL;
	END $$;
	CREATE TRIGGER audit AFTER INSERT OR UPDATE ON orders FOR EACH ROW EXECUTE FUNCTION audit();
	CREATE FUNCTION touch(int) RETURNS int LANGUAGE plpgsql AS $$
	DECLARE
		o orders;
		key orders.id%TYPE;
	BEGIN
		SELECT * INTO o FROM orders WHERE id = $1;
		key := o.id;
		UPDATE orders SET total = total + 1 WHERE id = key;
		RETURN key;
	END $$;
	CREATE FUNCTION walk(int) RETURNS bigint LANGUAGE plpgsql AS $$
	DECLARE
		r record;
		differ bigint := 0;
	BEGIN
		FOR r IN SELECT o.id, l.order_id FROM orders o JOIN lines3 l ON l.order_id = o.id WHERE o.id BETWEEN $1 AND $1 + 20 LOOP
			differ := differ + r.id - r.order_id;
		END LOOP;
		RETURN differ;
	END $$;
	CREATE FUNCTION look_up(int) RETURNS int LANGUAGE sql STABLE AS 'SELECT id FROM orders WHERE id = $1';
);
for my $i (1 .. $tables)
{
	my $deferred = $i % 3 ? '' : 'DEFERRABLE INITIALLY DEFERRED';
	$schema .= "CREATE TABLE lines$i (k bigserial PRIMARY KEY, order_id int REFERENCES orders ON DELETE CASCADE $deferred);"
	  . "CREATE INDEX ON lines$i (order_id);";
}
$schema .= "INSERT INTO orders (note) SELECT 'note' FROM generate_series(1, $rows); UPDATE orders SET parent = id - 1 WHERE id % 2 = 0;";
$schema .= "INSERT INTO lines$_ (order_id) SELECT id FROM orders;" for (1 .. $tables);
$node->safe_psql('postgres', $schema);

my $folder = PostgreSQL::Test::Utils::tempdir();
append_to_file("$folder/application.sql", qq(
\\set id random(1, $rows)
SELECT touch(:id);
SELECT look_up(:id);
SELECT walk(:id);
SELECT id::text, parent::text FROM orders WHERE id = :id;
WITH o AS (INSERT INTO orders (note, parent) VALUES ('new', :id) RETURNING id) INSERT INTO lines1 (order_id) SELECT id FROM o;
WITH o AS (INSERT INTO orders (note) VALUES ('gone') RETURNING id) INSERT INTO lines5 (order_id) SELECT id FROM o;
INSERT INTO lines2 (order_id) VALUES (:id);
INSERT INTO lines3 (order_id) VALUES (:id);
UPDATE lines7 SET order_id = :id WHERE k = :id;
DELETE FROM orders WHERE id = (SELECT id FROM orders WHERE note = 'gone' AND id > $rows ORDER BY random() LIMIT 1 FOR UPDATE SKIP LOCKED);
INSERT INTO orders (id, note) VALUES (:id, 'x') ON CONFLICT (id) DO UPDATE SET note = EXCLUDED.note, total = orders.total + 1;
UPDATE orders SET parent = NULLIF(:id, id) WHERE id = :id - 1;
SELECT count(*) FROM lines9 l JOIN orders o ON o.id = l.order_id WHERE o.id = ANY (ARRAY[:id, :id + 1]);
BEGIN;
DECLARE c CURSOR FOR SELECT note FROM orders WHERE id BETWEEN :id AND :id + 50;
FETCH 10 FROM c;
UPDATE orders SET total = total + 1 WHERE id = :id;
FETCH 10 FROM c;
COMMIT;
));

# A session that is open from before to the end.
my $session = ZdmSession->new(sub { $node->connstr('postgres') });

sub application
{
	my ($when, @statements) = @_;
	my @failed;

	for my $sql (@statements)
	{
		my ($output, $state) = $session->run($sql);
		push @failed, "$sql: $state $output" if $state ne '00000';
	}
	is_deeply(\@failed, [], "$when: what an open session does");
	return;
}
my @use = ('FETCH 5 FROM held', 'EXECUTE change(77)', 'EXECUTE refer(77)', 'EXECUTE note(77)', 'EXECUTE remove', 'EXECUTE many(ARRAY[1, 2])',
	'SELECT touch(77), look_up(77), walk(77)');
application('before',
	'DECLARE held CURSOR WITH HOLD FOR SELECT id, note FROM orders ORDER BY id',
	'PREPARE change(int) AS UPDATE orders SET note = note WHERE id = $1',
	'PREPARE refer(int) AS INSERT INTO lines1 (order_id) VALUES ($1)',
	'PREPARE note(int) AS SELECT note FROM orders WHERE id = $1',
	'PREPARE remove AS DELETE FROM lines1 WHERE order_id = 77',
	'PREPARE many(int[]) AS SELECT count(*) FROM orders WHERE id = ANY ($1)', (@use) x 6);

# Cut off in one of the ways until it is through, or has been in the last moment.
sub call
{
	my ($sql, $state) = @_;

	for my $attempt (1 .. 8)
	{
		my ($way, $ms) = (int(rand(3)), int(rand(600)));
		my $set = "SET application_name = 'the call'; SET zdm.lock_patience = '30s';"
		  . ($way == 0 && $attempt < 8 ? " SET statement_timeout = '${ms}ms';" : '');
		my $run = IPC::Run::start([ 'psql', '-XAtq', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr('postgres'), '-c', $set, '-c', $sql ],
			'<', \undef, '>', \my $out, '2>', \my $err);

		if ($way > 0 && $attempt < 8)
		{
			usleep(1000 * $ms);
			$node->safe_psql('postgres', ($way == 1 ? 'SELECT pg_cancel_backend(pid)' : 'SELECT pg_terminate_backend(pid)')
				  . " FROM pg_stat_activity WHERE application_name = 'the call' OR backend_type = 'zdm worker'");
		}
		$run->finish;
		like($err, qr/ERROR:  canceling statement|FATAL:  terminating connection|ERROR:  .*(?:cancel|terminat)/s, "$sql: cut off")
		  if $run->result(0) != 0;
		my $is = $node->safe_psql('postgres', q(SELECT coalesce((SELECT state FROM zdm.status), 'none')));
		if ($is eq $state)
		{
			pass("$sql: $state after $attempt attempts");
			return;
		}
	}
	fail("$sql: $state in the end");
	return;
}

my @run = pgbench_start($node, 'the application', "$folder/application.sql", rate => 25);
for my $round (1, 2)
{
	call("SELECT zdm.change_column_type('orders', 'id', 'bigint')", 'expanded');
	application("round $round, expanded", @use);
	call("CALL zdm.backfill('$m')", 'ready');
	application("round $round, ready", @use);
	call("SELECT zdm.contract('$m', '1 day')", 'contracted');
	application("round $round, contracted", @use);
	is($node->safe_psql('postgres', "SELECT sum(mismatches) FROM zdm.verify('$m')"), 0, "round $round: in sync");
	call($round == 1 ? "SELECT zdm.rollback('$m')" : "SELECT zdm.contract('$m', '0')", 'none');
	application("round $round, in the end", @use);
}
pgbench_stop(@run);
is($node->safe_psql('postgres', join(' UNION ALL ', map { "SELECT $_ FROM lines$_ l WHERE NOT EXISTS (SELECT FROM orders o WHERE o.id = l.order_id)" } 1 .. $tables)),
	'', 'every reference is to a row');
is($node->safe_psql('postgres', "SELECT count(*) FROM pg_attribute WHERE attname LIKE '%~zdm%' AND NOT attisdropped"), 0, 'nothing is left');
unlike(slurp_file($node->logfile), qr/deadlock detected/, 'no deadlock');

$node->stop;
done_testing();
