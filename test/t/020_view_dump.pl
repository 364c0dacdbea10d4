# A dump taken while tables have two names continues in another cluster: the
# views, what hangs on them, and the migrations.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $folder = PostgreSQL::Test::Utils::tempdir();
my $old_home = PostgreSQL::Test::Cluster->new('old_home');
my $new_home = PostgreSQL::Test::Cluster->new('new_home');

for my $node ($old_home, $new_home)
{
	$node->init;
	$node->append_conf('postgresql.conf', "zdm.auto_start = off\n");
	$node->start;
	$node->safe_psql('postgres', 'CREATE ROLE owner; CREATE ROLE reader; CREATE ROLE clerk;');
}

# The old name, the new one, and how.  Schemas that sort before and after zdm's.
my %case = (
	view => [ 'aaa.users', 'people', 'view' ],
	first => [ 'zzz.users', 'people', 'view_first' ],
	swapped => [ '"Zzz"."Users, old"', '"People, new"', 'view_first' ],
	moved => [ 'aaa.things', 'zzz.things', 'view' ],
	kept => [ 'public.users', 'people', 'view' ]);
my %column = (second => 'public.columns', privileged => 'zzz.columns');
my %new = (view => 'aaa.people', first => 'zzz.people', swapped => '"Zzz"."People, new"', moved => 'zzz.things', kept => 'public.people');

$old_home->safe_psql('postgres', 'CREATE DATABASE shop');
$old_home->safe_psql('shop',
	'CREATE SCHEMA aaa; CREATE SCHEMA "Zzz"; CREATE SCHEMA zzz; CREATE EXTENSION zdm;'
	  . 'GRANT USAGE, CREATE ON SCHEMA aaa, "Zzz", zzz, public TO owner; GRANT USAGE ON SCHEMA aaa, "Zzz", zzz TO reader, clerk');

sub create
{
	my ($table) = @_;
	$old_home->safe_psql('shop', qq(
		CREATE TABLE $table (id serial PRIMARY KEY, name text DEFAULT 'none', note text);
		ALTER TABLE $table OWNER TO owner;
		GRANT SELECT, INSERT, UPDATE ON $table TO reader;
		COMMENT ON TABLE $table IS 'a comment';
		INSERT INTO $table (note) SELECT 'row ' || i FROM generate_series(1, 10) i;
		CREATE FUNCTION takes($table) RETURNS text LANGUAGE sql AS 'SELECT \$1.note';
	));
	return;
}

for my $which (sort keys %case)
{
	my ($table, $new, $strategy) = @{ $case{$which} };
	create($table);
	$old_home->safe_psql('shop', "SELECT zdm.rename_table('$table', '$new', '$strategy', migration => '$which')");
}
for my $which (sort keys %column)
{
	create($column{$which});
	$old_home->safe_psql('shop', "GRANT SELECT (id, note) ON $column{$which} TO clerk") if $which eq 'privileged';
	$old_home->safe_psql('shop', "SELECT zdm.rename_column('$column{$which}', 'note', 'remark', 'view', migration => '$which')");
}
$old_home->safe_psql('shop', "SELECT zdm.contract('$_', '1 day')") for ('swapped', 'kept');
# What came to the table, and to either name, since.
$old_home->safe_psql('shop', 'ALTER TABLE aaa.people ADD COLUMN age int DEFAULT 7; GRANT DELETE ON aaa.users TO clerk');

my $status = 'SELECT migration, pattern, relation, state, next_command, quarantine_until FROM zdm.status ORDER BY 1';
my $others = 'SELECT name, relation, others, arguments FROM zdm.migration ORDER BY 1';
my $acl = q(SELECT oid::regclass, relkind, pg_get_userbyid(relowner), reloptions, obj_description(oid, 'pg_class'),
	(SELECT string_agg(x.grantee::regrole || ' ' || x.privilege_type, ',' ORDER BY x.grantee::regrole::text, x.privilege_type)
	   FROM aclexplode(relacl) x WHERE x.grantee <> relowner),
	(SELECT string_agg(a.attname || ' ' || pg_get_expr(d.adbin, d.adrelid), ',' ORDER BY a.attname)
	   FROM pg_attrdef d JOIN pg_attribute a ON a.attrelid = d.adrelid AND a.attnum = d.adnum WHERE d.adrelid = pg_class.oid)
	FROM pg_class WHERE relkind IN ('r', 'v') AND relnamespace IN ('aaa'::regnamespace, 'zzz'::regnamespace, '"Zzz"'::regnamespace, 'public'::regnamespace)
	ORDER BY oid::regclass::text COLLATE "C");
my %before = map { $_ => $old_home->safe_psql('shop', $_) } ($status, $others, $acl);
is(scalar(split /\n/, $before{$status}), 7, 'seven migrations are in flight') or diag($before{$status});

my @dump = ('--dbname', $old_home->connstr('shop'));
command_ok([ 'pg_dump', @dump, '--file', "$folder/plain.sql" ], 'pg_dump');
command_ok([ 'pg_dump', @dump, '-Fc', '--file', "$folder/custom" ], 'pg_dump -Fc');
$new_home->safe_psql('postgres', "CREATE DATABASE $_") for ('plain', 'custom');
command_ok(
	[ 'psql', '-Xq', '-v', 'ON_ERROR_STOP=1', '-d', $new_home->connstr('plain'), '-f', "$folder/plain.sql" ],
	'restored by psql');
command_ok(
	[ 'pg_restore', '--exit-on-error', '-j2', '-d', $new_home->connstr('custom'), "$folder/custom" ],
	'restored by pg_restore -j2');

for my $db ('plain', 'custom')
{
	is($new_home->safe_psql($db, $_), $before{$_}, "$db: as it was") for ($status, $others, $acl);

	# Both versions go on.
	for my $which (sort keys %case)
	{
		my $old = $case{$which}[0];

		is( $new_home->safe_psql($db, qq(
				INSERT INTO $old (note) VALUES ('by the old name');
				INSERT INTO $new{$which} (note) VALUES ('by the new name');
				UPDATE $old SET name = DEFAULT, note = 'one' WHERE id = 1;
				SELECT (SELECT string_agg(name, ',') FROM $old WHERE id > 10 OR id = 1), (SELECT count(*) FROM $new{$which}),
				       (SELECT takes(t) FROM $old t WHERE id = 1))),
			'none,none,none|12|one', "$db, $which: by both names");
	}
	for my $which (sort keys %column)
	{
		is( $new_home->safe_psql($db, qq(
				INSERT INTO $column{$which} (note) VALUES ('old');
				INSERT INTO $column{$which} (remark) VALUES ('new');
				SELECT string_agg(note || ' ' || remark, ', ' ORDER BY id) FROM $column{$which} WHERE id > 10)),
			'old old, new new', "$db, $which: by both names");
	}
	is( $new_home->safe_psql($db, 'SET ROLE clerk; SELECT count(note), count(remark) FROM zzz.columns'),
		'12|12', "$db: privileges of columns");

	# The guard goes on, too.
	$new_home->safe_psql($db, 'ALTER TABLE zzz.users ADD COLUMN age int DEFAULT 8');
	is( $new_home->safe_psql($db, 'SELECT sum(u.age + p.age) FROM zzz.users u JOIN zzz.people p USING (id) WHERE id = 2'),
		16, "$db: a new column has both names");

	is($new_home->safe_psql($db, "SELECT zdm.contract('$_')"), 'finished', "$db, $_: on to the end") for ('first', 'moved', 'privileged');
	is($new_home->safe_psql($db, "SELECT zdm.contract('swapped', '0')"), 'finished', "$db, swapped: on to the end");
	is($new_home->safe_psql($db, "SELECT zdm.rollback('$_')"), 'rolled_back', "$db, $_: or back") for ('view', 'kept', 'second');
	is($new_home->safe_psql($db, $status), '', "$db: nothing is in flight");
	is( $new_home->safe_psql($db, q(SELECT string_agg(oid::regclass::text, ' ' ORDER BY oid::regclass::text COLLATE "C") FROM pg_class
			WHERE relkind IN ('r', 'v') AND relnamespace IN ('aaa'::regnamespace, 'zzz'::regnamespace, '"Zzz"'::regnamespace, 'public'::regnamespace))),
		'"Zzz"."People, new" aaa.users columns users zzz.columns zzz.people zzz.things', "$db: every table has its name");
	is($new_home->safe_psql($db, "SELECT count(*) FROM pg_proc WHERE proname LIKE '~zdm%'"), 0, "$db: no function is left");
}

$old_home->stop;
$new_home->stop;
done_testing();
