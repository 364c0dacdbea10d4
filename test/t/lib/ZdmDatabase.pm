# What tests ask a database for: a statement that must not fail, and the schema.
#
#   zdm_ok($node, $database, $sql, $expected);     # the result only where it is given
#   my $lines = schema_lines($node, $database);
#   same_lines($lines, $expected, 'what they are');

package ZdmDatabase;

use strict;
use warnings;

use parent 'Exporter';

use PostgreSQL::Test::Utils;
use Test::More;

our @EXPORT = qw(zdm_ok schema_lines same_lines);

# Returns what the server told besides the result.
sub zdm_ok
{
	my ($node, $database, $sql, $expected) = @_;
	my ($status, $out, $err) = $node->psql($database, $sql);

	is($status, 0, "$database: $sql") or diag($err);
	is($out, $expected, "$database: result") if defined $expected;
	return $err;
}

# pg_dump's script without what differs from run to run.
sub schema_lines
{
	my ($node, $database) = @_;
	my ($out, $err) = run_command(
		[ 'pg_dump', '--schema-only', '--exclude-schema=zdm', '-d', $node->connstr($database) ]);

	is($err, '', "$database: pg_dump");
	return [
		grep { !/^--/ && !/^$/ && !/^\\(?:un)?restrict / && !/EXTENSION.* zdm/ }
		  split /\n/, $out
	];
}

# Where they differ, which ones do.
sub same_lines
{
	my ($got, $expected, $what) = @_;
	my %seen;

	is_deeply($got, $expected, $what) and return;
	$seen{$_}++ for @$expected;
	$seen{$_}-- for @$got;
	diag(($seen{$_} > 0 ? 'missing: ' : 'too much: ') . $_) for grep { $seen{$_} != 0 } sort keys %seen;
	return;
}

1;
