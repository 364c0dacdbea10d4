# A NOT NULL that has a name, a comment, or is NOT VALID, as it can since 18, is the
# same after a change of the column's type, and after the way back.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
plan skip_all => 'a NOT NULL has no name before 18' if $node->pg_version < 18;
$node->init;
$node->append_conf('postgresql.conf', 'zdm.auto_start = off');
$node->start;
$node->safe_psql('postgres', q(
	CREATE EXTENSION zdm;
	CREATE TABLE t (id int, v int CONSTRAINT must NOT NULL, w int, x int NOT NULL);
	INSERT INTO t VALUES (1, 1, NULL, 1), (2, 2, 2, 2);
	ALTER TABLE t ADD CONSTRAINT later NOT NULL w NOT VALID;
	COMMENT ON CONSTRAINT must ON t IS 'a must';
	CREATE TABLE p (day int, v int CONSTRAINT all_must NOT NULL) PARTITION BY RANGE (day);
	CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (10);
	INSERT INTO p VALUES (1, 1)));

sub constraints
{
	return $node->safe_psql('postgres',
		q(SELECT conrelid::regclass, conname, convalidated, pg_get_constraintdef(oid), obj_description(oid) FROM pg_constraint)
		  . q( WHERE conrelid IN ('t'::regclass, 'p'::regclass, 'p1'::regclass) AND conname NOT LIKE '~zdm%' ORDER BY 1, 2));
}

my $before = constraints();
my @columns = ([ 't', 'v' ], [ 't', 'w' ], [ 't', 'x' ], [ 'p', 'v' ]);

sub each_column
{
	my ($call) = @_;
	for my $column (@columns)
	{
		my $sql = sprintf $call, @$column, "$column->[0]_$column->[1]";
		my ($status, undef, $err) = $node->psql('postgres', $sql);
		is($status, 0, $sql) or diag($err);
	}
	return;
}

for my $way ('back', 'on')
{
	each_column(q(SELECT zdm.change_column_type('%1$s', '%2$s', 'bigint', migration => '%3$s')));
	each_column(q(CALL zdm.backfill('%3$s')));
	each_column($way eq 'back' ? q(SELECT zdm.contract('%3$s', '1 day')) : q(SELECT zdm.contract('%3$s')));
	is(constraints(), $before, "$way: contracted");
	my ($status) = $node->psql('postgres', 'INSERT INTO t (id, v, w, x) VALUES (3, 3, NULL, 3)');
	isnt($status, 0, "$way: the one that is not valid refuses new NULLs");
	each_column(q(SELECT zdm.rollback('%3$s'))) if $way eq 'back';
	is(constraints(), $before, "$way: in the end");
}
is($node->safe_psql('postgres', 'SELECT count(*) FROM t WHERE w IS NULL'), 1, 'a NULL that was there still is');
is($node->safe_psql('postgres', q(SELECT count(*) FROM pg_constraint WHERE conname LIKE '~zdm%')), 0, 'nothing is left');

$node->stop;
done_testing();
