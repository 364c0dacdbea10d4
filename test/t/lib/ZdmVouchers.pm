# Vouchers that users have redeemed, in one of two shapes, and a migration "m"
# to the other one: "fold" from a join table to a column, "spread" back.
#
#   vouchers($node, $pattern, $rows, $step);
#
# makes a database of the pattern's name with so many vouchers, each step-th of
# which somebody has used, and expands the migration there.

package ZdmVouchers;

use strict;
use warnings;

use parent 'Exporter';

our @EXPORT = qw(vouchers);

sub vouchers
{
	my ($node, $pattern, $rows, $step) = @_;

	$node->safe_psql('postgres', "CREATE DATABASE $pattern");
	$node->safe_psql($pattern,
		qq(CREATE EXTENSION zdm;
		   CREATE TABLE users (id int PRIMARY KEY);
		   CREATE TABLE voucher (id int PRIMARY KEY, code text);
		   INSERT INTO users SELECT generate_series(1, 10);
		   INSERT INTO voucher SELECT generate_series(1, $rows);));
	$node->safe_psql($pattern,
		$pattern eq 'fold'
		? qq(CREATE TABLE used (user_id int NOT NULL REFERENCES users ON DELETE CASCADE, voucher_id int NOT NULL UNIQUE REFERENCES voucher ON DELETE CASCADE);
			 INSERT INTO used SELECT i % 10 + 1, i FROM generate_series(1, $rows, $step) i;
			 SELECT zdm.join_table_to_column('used', 'voucher', 'user_id', migration => 'm');)
		: qq(ALTER TABLE voucher ADD user_id int REFERENCES users ON DELETE SET NULL;
			 UPDATE voucher SET user_id = id % 10 + 1 WHERE id IN (SELECT generate_series(1, $rows, $step));
			 SELECT zdm.column_to_join_table('voucher', 'user_id', 'used', migration => 'm');));
	return;
}

1;
