# What must hold while a migration is killed and in the end: the checks of
# ZdmHarness, whose round they look at.

package ZdmChecks;

use strict;
use warnings;

use Test::More;
use Time::HiRes qw(time usleep);

# Returns the state.
sub expect
{
	my ($self, @states) = @_;
	my $round = $self->{round};
	my $state = $self->{server}->look(
		"SELECT coalesce((SELECT state FROM zdm.status WHERE migration = '$round->{migration}'),"
		  . " (SELECT event FROM zdm.events WHERE migration = '$round->{migration}'"
		  . " AND event IN ('finished', 'rolled_back')), 'none')");
	my $may = join ' or ', @states;

	ok((grep { $_ eq $state } @states), "$round->{what}, $round->{phase}: $state")
	  or diag "should be $may";
	$round->{expected} = $state;
	return $state;
}

sub in_sync
{
	my ($self) = @_;
	my $round = $self->{round};

	is( $self->{server}->query("SELECT coalesce(sum(mismatches), 0) FROM zdm.verify('$round->{migration}')"),
		0, "$round->{what}, $round->{phase}: no mismatches");
	return;
}

# What was acknowledged is what the table has, under these names.
sub agrees
{
	my ($self, @columns) = @_;
	my $round = $self->{round};

	$self->in_sync;
	$self->{load}->rest;
	for my $table ($round->{table}, $round->{two} ? $round->{second} : ())
	{
		is_deeply([ $self->{load}->compare($_, $table) ], [], "$round->{what}, $round->{phase}: $_ of $table is what was written")
		  for (@columns);
		$self->kept($_, $table) for (@columns);
	}
	$self->indexed(@columns) if $round->{indexes};
	$self->sound;
	$self->{load}->go_on;
	return;
}

# Nor did a row change that nobody wrote.
sub kept
{
	my ($self, $column, $table) = @_;
	my $round = $self->{round};
	my $condition = $round->{kept} =~ s/:c(?![a-z])/$column/gr;

	is( $self->{server}->query(
			"SELECT count(*) FILTER (WHERE $condition) || ' of ' || $round->{rows}"
			  . " FROM " . ($table // $round->{table}) . " WHERE id > 100000"),
		"$round->{rows} of $round->{rows}",
		"$round->{what}, $round->{phase}: $column is as it was where nobody wrote");
	return;
}

# Each version has its indexes, whatever was left behind of them by a kill.
sub indexed
{
	my ($self, @columns) = @_;
	my $round = $self->{round};
	my ($old, $new) = map {
		$self->{server}->query(qq(
			SELECT string_agg(relid::regclass || ' ' || number, ', ' ORDER BY relid) FROM (
				SELECT attrelid AS relid, count(indexrelid) AS number
				  FROM pg_attribute LEFT JOIN pg_index
					ON indrelid = attrelid AND attnum = ANY (indkey) AND indisvalid AND indisready AND indislive
				 WHERE attname = '$_'
				   AND (attrelid = '$round->{table}'::regclass
						OR attrelid IN (SELECT relid FROM pg_partition_tree('$round->{table}')))
				 GROUP BY attrelid) i))
	} @columns;

	is($new, $old, "$round->{what}, $round->{phase}: the indexes of the one are those of the other");
	return;
}

sub blocks
{
	my ($self) = @_;
	my $done = $self->{server}->query(
		"SELECT CASE state WHEN 'expanded' THEN blocks_done::text ELSE 'all' END"
		  . " FROM zdm.progress WHERE migration = '$self->{round}{migration}'");
	return $done;
}

# The backfill comes on, or is over.
sub moves
{
	my ($self) = @_;
	my $round = $self->{round};
	my $start = $self->blocks;

	ok( $self->{server}->poll(
			"SELECT state <> 'expanded' OR blocks_done > "
			  . ($start eq 'all' ? 0 : $start)
			  . " OR blocks_done = blocks_total FROM zdm.progress WHERE migration = '$round->{migration}'"),
		"$round->{what}, $round->{phase}: the backfill moves on");
	return;
}

# Nobody works, and nobody begins to within a launcher's nap.
sub at_rest
{
	my ($self) = @_;
	my $round = $self->{round};
	my $none = "SELECT workers = 0 FROM zdm.progress WHERE migration = '$round->{migration}'";

	ok($self->{server}->poll($none), "$round->{what}: nobody works when paused");
	my $before = $self->blocks;
	my $until = time() + 1.2;
	my $rests = 1;
	while (time() < $until)
	{
		$rests &&= $self->{server}->query($none) eq 't';
		usleep(50_000);
	}
	ok($rests && $self->blocks eq $before, "$round->{what}: nor begins to");
	return;
}

# The migration has ended: the table is what a plain ALTER TABLE would have
# made, the rows are what was written, and nothing of zdm is left.
sub end
{
	my ($self) = @_;
	my $round = $self->{round};
	my $server = $self->{server};
	my $load = $self->{load};
	my $finished = $round->{expected} eq 'finished';
	my $column = $finished ? $round->{new} : $round->{old};
	my $what = $round->{what};

	$round->{table} = $load->{table} = $round->{second} if $finished && $round->{renamed};
	is_deeply([ $load->failed ], [], "$what: no statement failed but those that were cut off");
	is_deeply([ $load->compare($column) ], [], "$what: what was acknowledged is there");
	$self->kept($column);
	$self->restored if !$finished;
	$self->{statements} += $load->statements;

	$server->node->safe_psql('postgres',
		"SET search_path = plain; $round->{create};" . ($finished ? $round->{plain} : ''));
	is($self->shape('public'), $self->shape('plain'),
		"$what: the table is what a plain ALTER TABLE would have made");
	is($server->query('SELECT count(*) FROM zdm.status'), 0, "$what: no migration in flight");
	is( $server->query(
			q(SELECT concat_ws(', ',
				(SELECT string_agg(relname, ', ') FROM pg_class WHERE relname LIKE '%~zdm%'),
				(SELECT string_agg(attname, ', ') FROM pg_attribute WHERE attname LIKE '%~zdm%'),
				(SELECT string_agg(conname, ', ') FROM pg_constraint WHERE conname LIKE '%~zdm%'),
				(SELECT string_agg(proname, ', ') FROM pg_proc WHERE proname LIKE '%~zdm%'),
				(SELECT string_agg(tgname, ', ') FROM pg_trigger WHERE tgname LIKE '%zdm%'),
				(SELECT string_agg(indexrelid::regclass::text, ', ') FROM pg_index WHERE NOT indisvalid)))
		),
		'',
		"$what: nothing of zdm is left");
	ok( $server->poll(
			"SELECT count(*) = 0 FROM pg_stat_activity WHERE backend_type = 'zdm worker'"),
		"$what: no worker is left");
	$self->sound;
	$server->node->safe_psql('postgres', "DROP TABLE IF EXISTS $_")
	  for (map { ($_, "plain.$_") } grep { defined } ($round->{other}, $round->{table}));
	return;
}

# A rollback gives back what there was.
sub restored
{
	my ($self) = @_;
	my $round = $self->{round};

	is( $self->{server}->query("SELECT count(*) FROM $round->{table} WHERE ($round->{restored}) IS NOT TRUE"),
		0, "$round->{what}: after the rollback every row has what it had")
	  if defined $round->{restored};
	return;
}

# Columns, indexes, constraints and triggers of the table and its partitions, and
# of the other table.
sub shape
{
	my ($self, $schema) = @_;
	my $table = $self->{round}{table};
	my $other = $self->{round}{other} // $table;

	my $shape = $self->{server}->query("SET search_path = $schema;" . qq(
		WITH rel AS (
			SELECT c.* FROM pg_class c
			 WHERE c.oid IN ('$table'::regclass, to_regclass('$other'))
				OR c.oid IN (SELECT relid FROM pg_partition_tree('$table')))
		SELECT string_agg(line, E'\\n' ORDER BY line COLLATE "C") FROM (
			SELECT format('column %s.%s %s %s', relname,
						  row_number() OVER (PARTITION BY rel.oid ORDER BY attnum), attname,
						  (format_type(atttypid, atttypmod), attnotnull, attidentity, attgenerated,
						   attcollation, attstorage, attstattarget, attacl,
						   pg_get_expr(adbin, adrelid)))
			  FROM rel JOIN pg_attribute ON attrelid = rel.oid
			  LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
			 WHERE attnum > 0 AND NOT attisdropped
			UNION ALL
			SELECT 'index ' || pg_get_indexdef(indexrelid) FROM rel JOIN pg_index ON indrelid = rel.oid
			UNION ALL
			SELECT format('constraint %s.%s %s', relname, conname, pg_get_constraintdef(pg_constraint.oid))
			  FROM rel JOIN pg_constraint ON conrelid = rel.oid
			UNION ALL
			SELECT 'trigger ' || pg_get_triggerdef(pg_trigger.oid)
			  FROM rel JOIN pg_trigger ON tgrelid = rel.oid AND NOT tgisinternal
			UNION ALL
			SELECT format('table %s %s', relname, (relkind, relreplident, reloptions, relacl)) FROM rel) l(line);
		RESET search_path));
	return $shape =~ s/\b\Q$schema\E\./SCHEMA./gr;
}

# Every index has every row, every row is whole.
sub sound
{
	my ($self) = @_;
	my $round = $self->{round};
	my $second = $round->{second} // $round->{table};
	my $tables = "SELECT to_regclass(quote_ident(name))::oid FROM (VALUES ('$round->{table}'), ('$second')) t(name)"
	  . " UNION SELECT relid FROM pg_partition_tree('$round->{table}')";

	return unless $self->{amcheck};
	my ($output, $state) = $self->{server}->session('amcheck')->run(qq(
		SELECT format('%s (%s, %s): %s', c.oid::regclass, blkno, offnum, msg)
		  FROM ($tables) t(oid) JOIN pg_class c USING (oid), verify_heapam(c.oid)
		 WHERE c.relkind = 'r';
		SELECT bt_index_check(i.indexrelid, true)
		  FROM ($tables) t(oid) JOIN pg_index i ON i.indrelid = t.oid
		  JOIN pg_class c ON c.oid = i.indexrelid
		 WHERE c.relkind = 'i' AND i.indisvalid));

	ok($state eq '00000' && $output =~ /\A\s*\z/, "$round->{what}, $round->{phase}: rows and indexes are sound")
	  or diag "$state $output";
	return;
}

1;
