# Queries by a compatibility view's name, sent straight to the table in servers
# that preload zdm: what the regression tests ask gets the same answers as from
# the server alone, but for the defaults, which are the table's.

use strict;
use warnings;

use FindBin;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $folder = "$FindBin::Bin/../sql";
my @files = qw(compat_view rename_column_view rename_table view_guard view_referrers utility_hook);

# Lines that only the table's answer has, and what the view's has instead.
my %defaults = (
	rename_column_view => [ '  1 | x | x', '  1 |   | ' ]);

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', "shared_preload_libraries = zdm\nzdm.auto_start = off\n");
$node->start;

# The lines that a file prints in a new database.
sub answers
{
	my ($file, $direct) = @_;

	local $ENV{PGOPTIONS} = "-c zdm.direct_views=$direct -c datestyle=postgres,mdy -c timezone=PST8PDT";
	$node->safe_psql('postgres', 'CREATE DATABASE answers');
	my ($output, $errors) = ('', '');
	IPC::Run::run(
		[ 'psql', '-X', '-a', '-q', '-f', "$folder/$file.sql", $node->connstr('answers') ],
		'<', \undef, '>&', \$output)
	  or diag("psql failed for $file");
	$node->safe_psql('postgres', 'DROP DATABASE answers');
	$output =~ s/^psql:\S+:\d+: //mg;
	return [ split /\n/, $output ];
}

for my $file (@files)
{
	my ($direct, $view) = (answers($file, 'on'), answers($file, 'off'));
	my @differ = grep { ($direct->[$_] // '') ne ($view->[$_] // '') } 0 .. $#$direct;

	cmp_ok(scalar @$direct, '>', 100, "$file has something to compare");
	is(scalar @$direct, scalar @$view, "$file: as many lines");
	is_deeply([ map { $direct->[$_], $view->[$_] } @differ ], $defaults{$file} // [], "$file: the same answers");
}

$node->stop;
done_testing();
