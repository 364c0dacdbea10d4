# An application that writes a table all the time, and a model of what it wrote.
#
#   my $load = ZdmLoad->new($node, table => 'users', old => 'name', new => 'full_name');
#   $load->start;                 # workers write by the old name
#   $load->names('old', 'new', 'filling');   # by both, while a backfill runs
#   $load->names('old', 'new');
#   $load->names('new');          # by the new one alone; returns when all do
#   $load->names('new', 'updating');   # no INSERT
#   $load->move($standby);        # it was promoted: write there
#   $load->rest;                  # for a comparison in between
#   $load->go_on;
#   $load->stop;
#   is($load->failures, 0, ...);
#   is_deeply([ $load->compare ], [], ...);
#
# Each worker is a process with a psql session of its own, owns keys that
# nobody else writes, and gives each write a value that was never there before.
# It inserts, updates, upserts, deletes and reads, with prepared and with plain
# statements, in and out of transaction blocks.  What the server acknowledged
# is the model; a statement that a crash cut off is looked up after the restart
# and must have happened wholly or not at all.  So is one that was committed
# without the synchronous standby, and what is looked up counts once it is
# replicated: a standby that is promoted has to know all that the model has.
#
# The table needs columns id (int, unique) and hits (int, by default 0), and a
# column under the old name: of type text and with the same value under both names, unless
# the options say otherwise.  Or it is the table that has two names: tables says which one
# a statement with the old name, or the new, finds it under.

package ZdmLoad;

use strict;
use warnings;

use Carp qw(croak);
use Errno;
use IO::Handle;
use IO::Select;
use POSIX ();
use PostgreSQL::Test::Utils;
use Socket;
use Time::HiRes qw(time usleep);
use ZdmSession;

my $loads = 0;

# Options: table, tables (old and new), old, new, workers (2), keys (200, of each worker), seed,
# crashes (whether lost connections are expected), first_id; types (old and
# new), value (the value of a worker's name and a number), up (the value by the
# new name of one by the old), also (by the name, old or new: the other columns
# that an INSERT by it names, and their values).
sub new
{
	my ($class, $node, %option) = @_;
	my $self = bless {
		node => $node,
		address => PostgreSQL::Test::Utils::tempdir_short() . '/address' . ++$loads,
		table => $option{table} // 'users',
		tables => $option{tables}
		  // { map { $_ => $option{table} // 'users' } ('old', 'new') },
		old => $option{old} // 'name',
		new => $option{new} // 'full_name',
		workers => $option{workers} // 2,
		keys => $option{keys} // 200,
		first_id => $option{first_id} // 1,
		seed => $option{seed} // (time() * 1000) % 1_000_000,
		crashes => $option{crashes} // 0,
		types => $option{types} // { old => 'text', new => 'text' },
		also => $option{also} // {},
		value => $option{value} // sub { return join '-', @_ },
		up => $option{up} // sub { return $_[0] },
		names => ['old'],
		worker => [],
		model => {},
		hits => {},
		failed => [],
		statements => 0,
		slowest => 0,
	}, $class;

	$self->move($node);

	# Half of the keys have a row from the start, which a backfill must fill.
	for my $id ($self->ids)
	{
		$self->{model}{$id} = $id % 2 == 0 ? $self->{value}->('first', $id) : undef;
	}
	my ($columns, $values) = $self->also('old');
	$node->safe_psql('postgres',
		"INSERT INTO $self->{table} (id, $self->{old}$columns) VALUES "
		  . join ', ', map { "($_, '$self->{model}{$_}'$values)" }
		  grep { defined $self->{model}{$_} } $self->ids);
	return $self;
}

# Another node is the one to write to, as soon as the connections to this one
# are lost.
sub move
{
	my ($self, $node) = @_;
	my $new = "$self->{address}.new";

	$self->{node} = $node;
	open my $file, '>', $new or croak "$new: $!";
	print $file $node->connstr('postgres');
	close $file;
	rename $new, $self->{address} or croak "$new: $!";
	return;
}

sub ids
{
	my ($self) = @_;
	return $self->{first_id} .. $self->{first_id} + $self->{workers} * $self->{keys} - 1;
}

sub start
{
	my ($self) = @_;

	for my $number (0 .. $self->{workers} - 1)
	{
		socketpair(my $parent, my $child, AF_UNIX, SOCK_STREAM, PF_UNSPEC)
		  or croak "socketpair: $!";
		$_->autoflush(1) for ($parent, $child);
		my $pid = fork() // croak "fork: $!";
		if ($pid == 0)
		{
			close $parent;
			my $ok = eval { $self->work($number, $child); 1 };
			print $child "died $@" unless $ok;
			# No destructors: the node is not ours to stop.
			POSIX::_exit($ok ? 0 : 1);
		}
		close $child;
		push @{ $self->{worker} }, { pid => $pid, socket => $parent, said => '' };
	}
	$self->names(@{ $self->{names} });
	return;
}

# Which names the application uses from now on: old, new or both.  With the word
# filling it puts up with a NULL where it reads the new one.  Returns when every
# worker has ended what it did before.
sub names
{
	my ($self, @names) = @_;

	$self->{names} = [@names];
	$self->tell("names @names");
	return;
}

# Wait until every worker has had that many more statements acknowledged.
sub progress
{
	my ($self, $statements) = @_;
	$self->tell("progress $statements");
	return;
}

sub tell
{
	my ($self, $command) = @_;

	print { $_->{socket} } "$command\n" for (@{ $self->{worker} });
	for my $worker (@{ $self->{worker} })
	{
		my $answer = answer($worker);
		croak "worker $worker->{pid}: $answer" if $answer ne "ok\n";
	}
	return;
}

# The next line that a worker says.  One that says nothing for three minutes
# hangs.
sub answer
{
	my ($worker) = @_;
	my $deadline = time() + 180;
	my $select = IO::Select->new($worker->{socket});

	while (index($worker->{said}, "\n") < 0)
	{
		return 'no answer' if time() > $deadline;
		$select->can_read(1) or next;
		my $got = sysread($worker->{socket}, $worker->{said}, 65536, length $worker->{said});
		next if !defined $got && $!{EINTR};
		return 'gone' unless $got;
	}
	return substr($worker->{said}, 0, index($worker->{said}, "\n") + 1, '');
}

# The workers tell what they have done, and wait until they may go on.
sub rest
{
	my ($self) = @_;

	print { $_->{socket} } "rest\n" for (@{ $self->{worker} });
	for my $worker (@{ $self->{worker} })
	{
		while ((my $line = answer($worker)) ne "end\n")
		{
			chomp $line;
			if ($line =~ /^model (\d+) (\d+) (.*)$/)
			{
				$self->{hits}{$1} = $2;
				$self->{model}{$1} = $3;
			}
			elsif ($line =~ /^absent (\d+)$/) { $self->{model}{$1} = undef }
			elsif ($line =~ /^failed (.*)$/) { push @{ $self->{failed} }, $1 }
			elsif ($line =~ /^count (\d+) (\S+)$/)
			{
				$self->{statements} += $1;
				$self->{slowest} = $2 if $2 > $self->{slowest};
			}
			else { croak "worker $worker->{pid}: $line" }
		}
	}
	return;
}

sub go_on
{
	my ($self) = @_;
	$self->tell('go on');
	return;
}

sub stop
{
	my ($self) = @_;

	$self->rest;
	for my $worker (@{ $self->{worker} })
	{
		print { $worker->{socket} } "stop\n";
		close $worker->{socket};
		waitpid($worker->{pid}, 0);
	}
	$self->{worker} = [];
	return;
}

sub failures { my ($self) = @_; return scalar @{ $self->{failed} }; }
sub failed { my ($self) = @_; return @{ $self->{failed} }; }
sub statements { my ($self) = @_; return $self->{statements}; }
sub slowest_ms { my ($self) = @_; return int($self->{slowest} * 1000); }

# Where column $column of the table, the old one or the new, differs from the
# model: a list of complaints.  The load rests, or has stopped.
sub compare
{
	my ($self, $column, $from) = @_;
	my $rows = $from // $self->{table};
	my ($first, $last) = ($self->ids)[ 0, -1 ];
	my %table = map { /^(\d+)\|(.*)$/s ? ($1 => $2) : () } split /\n/,
	  $self->{node}->safe_psql('postgres',
		"SELECT id, concat(coalesce(${column}::text, 'NULL'), ' ', hits) FROM $rows"
		  . " WHERE id BETWEEN $first AND $last");
	my @wrong;

	for my $id ($self->ids)
	{
		my $is = $table{$id} // 'absent';
		my $should =
		  $self->row($column eq $self->{new} ? 'new' : 'old', $self->{model}{$id}, $self->{hits}{$id});
		push @wrong, "id $id: $column and hits are $is, should be $should" if $is ne $should;
	}
	return @wrong;
}

# A row as one looks under the old or the new name.
sub row
{
	my ($self, $name, $value, $hits) = @_;

	return 'absent' unless defined $value;
	return ($name eq 'new' ? $self->{up}->($value) : $value) . ' ' . ($hits // 0);
}

sub DESTROY
{
	my ($self) = @_;
	local $?;

	for my $worker (@{ $self->{worker} // [] })
	{
		kill 'KILL', $worker->{pid};
		waitpid($worker->{pid}, 0);
	}
	return;
}

#
# The worker's side
#

sub work
{
	my ($self, $number, $socket) = @_;
	my $select = IO::Select->new($socket);
	my $first = $self->{first_id} + $number * $self->{keys};
	my @ids = ($first .. $first + $self->{keys} - 1);
	my $me = {
		%$self,
		number => $number,
		ids => \@ids,
		model => { map { $_ => $self->{model}{$_} } @ids },
		hits => { map { $_ => $self->{hits}{$_} // 0 } @ids },
		sequence => 0,
		statements => 0,
		reported => 0,
		failed => [],
		worker => [],
		prepared => {},
		session => ZdmSession->new(
			sub { return slurp_file($self->{address}) },
			name => 'the application'),
	};
	bless $me, ref $self;
	srand($self->{seed} + $number);
	my $wanted;

	while (1)
	{
		if ($select->can_read(0))
		{
			my $command = <$socket>;
			last unless defined $command;
			if ($command eq "rest\n")
			{
				$me->report($socket);
				my $then = <$socket>;
				last if !defined $then || $then eq "stop\n";
				print $socket "ok\n";
			}
			elsif ($command =~ /^names (.*)$/)
			{
				my @names = split / /, $1;
				$me->{filling} = grep { $_ eq 'filling' } @names;
				$me->{updating} = grep { $_ eq 'updating' } @names;
				$me->{names} = [ grep { !/^(?:filling|updating)$/ } @names ];
				print $socket "ok\n";
			}
			elsif ($command =~ /^progress (\d+)$/)
			{
				$wanted = $me->{statements} + $1;
			}
		}
		$me->one_step;
		usleep(rand(1000));    # leave the processors to the others, too
		if (defined $wanted && $me->{statements} >= $wanted)
		{
			undef $wanted;
			print $socket "ok\n";
		}
	}
	$me->{session}->disconnect;
	return;
}

# What was done since the last report.
sub report
{
	my ($self, $socket) = @_;

	for my $id (@{ $self->{ids} })
	{
		my $value = $self->{model}{$id};
		print $socket defined $value ? "model $id $self->{hits}{$id} $value\n" : "absent $id\n";
	}
	print $socket "failed $_\n" for (@{ $self->{failed} });
	print $socket 'count ' . ($self->{statements} - $self->{reported}) . " $self->{slowest}\n";
	print $socket "end\n";
	$self->{failed} = [];
	$self->{reported} = $self->{statements};
	return;
}

sub one_step
{
	my ($self) = @_;
	my $names = $self->{names};
	my $name = $names->[ rand @$names ];
	my $column = $self->{$name};
	my $id = $self->{ids}[ rand @{ $self->{ids} } ];
	my $had = $self->{model}{$id};
	my $value = $self->{value}->("w$self->{number}", ++$self->{sequence});
	my $written = $name eq 'new' ? $self->{up}->($value) : $value;
	my $type = $self->{types}{$name};
	my $prepared = rand() < 0.5;
	my $block = rand() < 0.2;
	my $dice = rand();
	my ($sql, $then);
	my $hits = defined $had ? $self->{hits}{$id} : 0;
	my $table = $self->{tables}{$name};
	my ($columns, $values) = $self->also($name);

	$self->{session}->connect;
	if ($dice < 0.15)
	{
		$had = $self->{up}->($had) if defined $had && $name eq 'new';
		$sql = $self->statement($prepared, "read_$name (int)", [$id],
			"SELECT coalesce(${column}::text, 'NULL') FROM $table WHERE id = \$1");
		my $got = defined $sql ? $self->run($sql) : undef;
		return unless defined $got;
		push @{ $self->{failed} },
		  "read $column of id $id: $got, was written as " . ($had // 'absent')
		  if $got ne ($had // '')
		  && !(defined $had && $name eq 'new' && $self->{filling} && $got eq 'NULL');
		return;
	}
	elsif ($dice < 0.25)
	{
		$sql = $self->statement($prepared, "touch_$name (int)", [$id],
			"UPDATE $table SET hits = hits + 1 WHERE id = \$1");
		$then = $had;
		$hits++;
	}
	elsif (defined $had && $dice < 0.35)
	{
		$sql = $self->statement($prepared, "delete_$name (int)", [$id],
			"DELETE FROM $table WHERE id = \$1");
		$then = undef;
	}
	elsif ($self->{updating} && !defined $had)
	{
		return;
	}
	elsif ($dice < 0.55 && !$self->{updating})
	{
		$sql = $self->statement($prepared, "upsert_$name (int, $type)", [ $id, $written ],
			"INSERT INTO $table (id, $column$columns) VALUES (\$1, \$2$values)"
			  . " ON CONFLICT (id) DO UPDATE SET $column = EXCLUDED.$column");
		$then = $value;
	}
	elsif (defined $had)
	{
		$sql = $self->statement($prepared, "update_$name (int, $type)", [ $id, $written ],
			"UPDATE $table SET $column = \$2 WHERE id = \$1");
		$then = $value;
	}
	else
	{
		$sql = $self->statement($prepared, "insert_$name (int, $type)", [ $id, $written ],
			"INSERT INTO $table (id, $column$columns) VALUES (\$1, \$2$values)");
		$then = $value;
	}
	return unless defined $sql;
	$sql = "BEGIN; $sql; COMMIT" if $block;
	if (defined $self->run($sql, $id, $then, $hits))
	{
		$self->{model}{$id} = $then;
		$self->{hits}{$id} = $hits;
	}
	return;
}

# What an INSERT by the name adds to its lists.
sub also
{
	my ($self, $name) = @_;
	return map { ", $_" } @{ $self->{also}{$name} } if $self->{also}{$name};
	return ('', '');
}

# The statement as psql gets it: EXECUTE, prepared once a session under the name
# and with the types of $signature, or with the values in it.
sub statement
{
	my ($self, $prepared, $signature, $values, $sql) = @_;
	my ($name) = $signature =~ /^(\S+)/;

	if (!$prepared)
	{
		$sql =~ s/\$(\d)/"'$values->[$1 - 1]'"/ge;
		return $sql;
	}
	my $known = $self->{prepared}{ $self->{session}->connections } //= {};
	if (!$known->{$name})
	{
		$self->run("PREPARE $signature AS $sql") // return;
		$known->{$name} = 1;
	}
	return "EXECUTE $name (" . join(', ', map { "'$_'" } @$values) . ')';
}

# Run it; its output, or undef where it failed or was cut off.  In that case find
# out whether it had happened: $id would have $after and these $hits.
sub run
{
	my ($self, $sql, $id, $after, $hits) = @_;
	my $start = time();
	my ($output, $state) = $self->{session}->run($sql);
	my $took = time() - $start;

	if ($state eq '00000')
	{
		$self->{statements}++;
		$self->{slowest} = $took if $took > $self->{slowest};
		return $output;
	}
	if ($self->{crashes} && $state =~ $ZdmSession::LOST)
	{
		$self->resolve($id, $after, $hits) if defined $id;
		return undef;
	}
	push @{ $self->{failed} }, "$sql: $state $output" =~ s/\s+/ /gr;
	$self->{session}->run('ROLLBACK');
	return undef;
}

# What is there now may still get lost, until the standby has it, too: so
# the look counts after a commit that waited for that.
sub resolve
{
	my ($self, $id, $after, $hits) = @_;
	my $name = $self->{names}[0];
	my $had = $self->row($name, $self->{model}{$id}, $self->{hits}{$id});
	my $would_have = $self->row($name, $after, $hits);
	my ($is, $state);

	do
	{
		($is, $state) = $self->{session}->run(
			"SELECT concat(coalesce($self->{$name}::text, 'NULL'), ' ', hits)"
			  . " FROM $self->{tables}{$name} WHERE id = $id");
		(undef, $state) = $self->{session}->run("SELECT pg_logical_emit_message(true, 'zdm', '')")
		  if $state eq '00000';
	} while ($state =~ $ZdmSession::LOST);

	if ($state ne '00000')
	{
		push @{ $self->{failed} }, "looking for id $id: $state $is" =~ s/\s+/ /gr;
	}
	elsif (($is || 'absent') eq $would_have)
	{
		$self->{model}{$id} = $after;
		$self->{hits}{$id} = $hits;
	}
	elsif (($is || 'absent') ne $had)
	{
		push @{ $self->{failed} },
		  "after the crash id $id has $is, had $had, should have $would_have";
	}
	return;
}

1;
