# Memory stays flat: over millions of trigger calls, in one statement and in
# many, over invalidations of the rules, and over a backfill of any size.
#
# ZDM_CALLS is the number of trigger calls, by default 10 million.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $calls = $ENV{ZDM_CALLS} // 10_000_000;
my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', "zdm.auto_start = off\n");
$node->append_conf(
	'postgresql.conf', q(
shared_buffers = 64MB
max_wal_size = 4GB
wal_level = minimal
max_wal_senders = 0
autovacuum = off
log_statement = none
log_min_duration_statement = -1
));
$node->start;

# One session that runs a script; the measurements in it.
sub session
{
	my ($script) = @_;
	my ($status, $out, $err) = $node->psql('postgres', $script);

	is($status, 0, 'the session ends well') or diag($err);
	my @measured = $out =~ /^measured (\d+) (\d+)$/mg;
	my @memory;
	while (my ($contexts, $rss) = splice @measured, 0, 2)
	{
		push @memory, { contexts => $contexts, rss => $rss };
	}
	return @memory;
}

# What the backend has in memory contexts, and what the kernel says it has for
# itself, in bytes.
my $measure = q{
SELECT 'measured ' || sum(total_bytes) || ' ' ||
	((regexp_match(pg_read_file('/proc/' || pg_backend_pid() || '/status', 0, 10000), 'RssAnon:\s+(\d+)'))[1]::bigint * 1024)
FROM pg_backend_memory_contexts;
};
$measure =~ s{\(\(regexp_match.*1024\)}{0}s unless -r '/proc/self/status';

# Flat: no more than that between two measurements, in bytes.
sub flat
{
	my ($from, $to, $limit, $what) = @_;
	my $contexts = $to->{contexts} - $from->{contexts};
	my $rss = $to->{rss} - $from->{rss};

	note sprintf '%s: contexts %.0f kB, %+.0f kB; private memory %.0f kB, %+.0f kB', $what,
	  $from->{contexts} / 1024, $contexts / 1024, $from->{rss} / 1024, $rss / 1024;
	cmp_ok($contexts, '<', $limit, "$what: memory contexts do not grow");
	cmp_ok($rss, '<', 4 * 1024 * 1024, "$what: the process does not grow");
	return;
}

$node->safe_psql(
	'postgres', q(
	CREATE EXTENSION zdm;
	CREATE UNLOGGED TABLE t (id int, name text, other int, code text);
	SELECT zdm.rename_column('t', 'name', 'full_name');
	SELECT zdm._sync_columns('t', '{other}', '{code}', '{(other + 1)::text}', '{code::int - 1}', 'expression');
	CREATE TABLE p (id int, name text) PARTITION BY HASH (id);
	CREATE UNLOGGED TABLE p0 PARTITION OF p FOR VALUES WITH (MODULUS 2, REMAINDER 0);
	CREATE UNLOGGED TABLE p1 PARTITION OF p FOR VALUES WITH (MODULUS 2, REMAINDER 1);
	SELECT zdm.rename_column('p', 'name', 'full_name');
));

# One statement of very many rows, by either name, into a plain table and into
# partitions.  The statement itself must not pile anything up, which shows in
# what the process has reached.
my $quarter = int($calls / 4);
my $warm = "INSERT INTO t (id, name) SELECT i, 'a' FROM generate_series(1, 1000) i; UPDATE t SET other = 5; TRUNCATE t;"
  . "INSERT INTO p (id, full_name) SELECT i, 'a' FROM generate_series(1, 1000) i; TRUNCATE p;";
my @memory = session(qq(
	$warm $warm
	$measure
	INSERT INTO t (id, name) SELECT i, 'user ' || i FROM generate_series(1, $quarter) i;
	$measure
	UPDATE t SET full_name = 'changed ' || id;
	$measure
	TRUNCATE t;
	INSERT INTO p (id, full_name) SELECT i, 'user ' || i FROM generate_series(1, $quarter) i;
	$measure
	TRUNCATE p;
	INSERT INTO t (id, other) SELECT i, i FROM generate_series(1, 1000) i;
	DO \$\$ BEGIN FOR i IN 1 .. $quarter / 1000 LOOP UPDATE t SET other = i; IF i % 50 = 0 THEN COMMIT; END IF; END LOOP; END \$\$;
	$measure
	TRUNCATE t;
));
my $limit = 256 * 1024;
flat($memory[0], $memory[1], $limit, "an INSERT of $quarter rows");
flat($memory[1], $memory[2], $limit, "an UPDATE of $quarter rows");
flat($memory[2], $memory[3], $limit, "an INSERT of $quarter rows into partitions");
flat($memory[3], $memory[4], $limit, "$quarter rows through an expression, 1000 at a time");

# Rules that are compiled again and again: DDL between writes, in transactions
# of its own and in one.
my $storm = 4_000;
my $ddl = "ALTER TABLE t ALTER id SET STATISTICS -1; INSERT INTO t (id, name, code) VALUES (1, 'a', '7'); DELETE FROM t;";
my $loop = sub {
	my ($times, $commit) = @_;
	return "DO \$\$ BEGIN FOR i IN 1 .. $times LOOP $ddl "
	  . ($commit ? 'COMMIT;' : '') . " END LOOP; END \$\$;\n";
};
@memory = session($loop->(200, 1) . $measure . $loop->($storm, 1) . $measure);
flat($memory[0], $memory[1], $limit, "$storm invalidations, each in its transaction");
@memory = session($loop->(200, 1) . $measure . $loop->($storm / 4, 0) . $measure);
flat($memory[0], $memory[1], $limit, ($storm / 4) . ' invalidations in one transaction');
my $undone = 'BEGIN;' . ("SAVEPOINT s; $ddl ROLLBACK TO s; " x 300) . 'COMMIT;';
@memory = session("$undone $measure $undone $measure");
flat($memory[0], $memory[1], $limit, '300 invalidations in subtransactions that are rolled back');

# Errors in the expression leave nothing behind.
my $failing = 'DO $$ BEGIN FOR i IN 1 .. 5000 LOOP BEGIN INSERT INTO t (id, code) VALUES (1, $x$abc$x$);'
  . ' EXCEPTION WHEN invalid_text_representation THEN NULL; END; END LOOP; END $$;';
@memory = session("$failing $measure $failing $measure");
flat($memory[0], $memory[1], $limit, '5000 statements that failed in the trigger');

# Columns that are filled, one of them in vain.
my $tenth = int($calls / 10);
$node->safe_psql(
	'postgres', q(
	CREATE UNLOGGED TABLE filled (id int, a text, b text);
	SELECT zdm.set_not_null('filled', 'a', '''a'' || id');
	SELECT zdm.set_not_null('filled', 'b');
	SELECT zdm.add_column('filled', 'c', 'float', default_value => 'random()');
));
@memory = session(qq(
	INSERT INTO filled (id) SELECT i FROM generate_series(1, 1000) i;
	UPDATE filled SET a = NULL;
	TRUNCATE filled;
	$measure
	INSERT INTO filled (id) SELECT i FROM generate_series(1, $tenth) i;
	$measure
	UPDATE filled SET a = NULL;
	$measure
));
flat($memory[0], $memory[1], $limit, "an INSERT of $tenth rows that are filled");
flat($memory[1], $memory[2], $limit, "an UPDATE of $tenth rows that are filled");

# A backfill of a million rows, against one of a tenth, in one session.
my $million = 1_000_000;
$node->safe_psql('postgres', q(SELECT zdm.rollback(migration) FROM zdm.status));
for my $table ('small', 'large')
{
	my $rows = $table eq 'small' ? $million / 10 : $million;
	$node->safe_psql(
		'postgres', qq(
		CREATE UNLOGGED TABLE $table (id int, name text);
		INSERT INTO $table SELECT i, 'user ' || i FROM generate_series(1, $rows) i;
		SELECT zdm.rename_column('$table', 'name', 'full_name', migration => '$table');
	));
}
@memory = session("CALL zdm.backfill('small'); $measure CALL zdm.backfill('large'); $measure");
flat($memory[0], $memory[1], $limit, "a backfill of $million rows");
is($node->safe_psql('postgres', "SELECT state FROM zdm.status WHERE migration = 'large'"), 'ready', 'it is complete');

# Rows that cannot be filled are tried again one by one, and must not pile up,
# be they some or all.
$node->safe_psql(
	'postgres', q(
	CREATE UNLOGGED TABLE bad (id int, old text, new int);
	INSERT INTO bad SELECT i, CASE WHEN i % 40 = 0 THEN 'x' ELSE i::text END FROM generate_series(1, 20000) i;
	SELECT zdm._sync_columns('bad', '{old}', '{new}', '{old::int}', '{new::text}', 'bad');
	CREATE UNLOGGED TABLE worse (id int, old text, new int);
	INSERT INTO worse SELECT i, 'x' FROM generate_series(1, 20000) i;
	SELECT zdm._sync_columns('worse', '{old}', '{new}', '{old::int}', '{new::text}', 'worse');
));
for my $table ('bad', 'worse')
{
	my ($status, $out, $err) = $node->psql('postgres',
		"\\set ON_ERROR_STOP off\nCALL zdm.backfill('$table'); $measure");
	my ($contexts) = $out =~ /^measured (\d+)/m;

	like($err, qr/ERROR:  \d+ rows of migration "$table" could not be backfilled/, "$table: rows that fail are counted");
	unlike($err, qr/WARNING/, "$table: nothing leaks");
	cmp_ok($contexts // 1e9, '<', 8 * 1024 * 1024, "$table: and no heap is left behind");
}
is($node->safe_psql('postgres', 'SELECT count(*) FROM bad WHERE new IS NULL'), 500, 'the rows that can be filled are');

$node->stop;
done_testing();
