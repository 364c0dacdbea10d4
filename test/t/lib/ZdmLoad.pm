# An application that writes a table all the time, and a model of what it wrote.
#
#   my $load = ZdmLoad->new($node, table => 'users', old => 'name', new => 'full_name');
#   $load->start;                 # workers write by the old name
#   $load->names('old', 'new', 'filling');   # by both, while a backfill runs
#   $load->names('old', 'new');
#   $load->names('new');          # by the new one alone; returns when all do
#   $load->stop;
#   is($load->failures, 0, ...);
#   is_deeply([ $load->compare ], [], ...);
#
# Each worker is a process with a psql session of its own, owns keys that
# nobody else writes, and gives each write a value that was never there before.
# It inserts, updates, upserts, deletes and reads, with prepared and with plain
# statements, in and out of transaction blocks.  What the server acknowledged
# is the model; a statement that a crash cut off is looked up after the restart
# and must have happened wholly or not at all.
#
# The table needs columns id (int, unique) and hits (int), and a text column
# under the old name.

package ZdmLoad;

use strict;
use warnings;

use Carp qw(croak);
use Errno;
use IO::Handle;
use IO::Select;
use IPC::Open2 qw(open2);
use POSIX ();
use Socket;
use Time::HiRes qw(time usleep);

my $CRASHED = qr/^(?:57P0[123]|08...)$/;

# Options: table, old, new, workers (2), keys (200, of each worker), seed,
# crashes (whether lost connections are expected), first_id.
sub new
{
	my ($class, $node, %option) = @_;
	my $self = bless {
		node => $node,
		table => $option{table} // 'users',
		old => $option{old} // 'name',
		new => $option{new} // 'full_name',
		workers => $option{workers} // 2,
		keys => $option{keys} // 200,
		first_id => $option{first_id} // 1,
		seed => $option{seed} // (time() * 1000) % 1_000_000,
		crashes => $option{crashes} // 0,
		names => ['old'],
		worker => [],
		model => {},
		failed => [],
		statements => 0,
		slowest => 0,
	}, $class;

	# Half of the keys have a row from the start, which a backfill must fill.
	$node->safe_psql('postgres',
		"INSERT INTO $self->{table} (id, $self->{old})"
		  . " SELECT i, 'first-' || i FROM generate_series($self->{first_id},"
		  . ($self->{first_id} + $self->{workers} * $self->{keys} - 1)
		  . ") i WHERE i % 2 = 0");
	for my $id ($self->ids)
	{
		$self->{model}{$id} = $id % 2 == 0 ? "first-$id" : undef;
	}
	return $self;
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

sub stop
{
	my ($self) = @_;

	print { $_->{socket} } "stop\n" for (@{ $self->{worker} });
	for my $worker (@{ $self->{worker} })
	{
		while ((my $line = answer($worker)) ne "end\n")
		{
			chomp $line;
			if ($line =~ /^model (\d+) (.*)$/) { $self->{model}{$1} = $2 }
			elsif ($line =~ /^absent (\d+)$/) { $self->{model}{$1} = undef }
			elsif ($line =~ /^failed (.*)$/) { push @{ $self->{failed} }, $1 }
			elsif ($line =~ /^count (\d+) (\S+)$/)
			{
				$self->{statements} += $1;
				$self->{slowest} = $2 if $2 > $self->{slowest};
			}
			else { croak "worker $worker->{pid}: $line" }
		}
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

# Where column $column of the table differs from the model: a list of
# complaints.
sub compare
{
	my ($self, $column) = @_;
	my ($first, $last) = ($self->ids)[ 0, -1 ];
	my %table = map { /^(\d+)\|(.*)$/s ? ($1 => $2) : () } split /\n/,
	  $self->{node}->safe_psql('postgres',
		"SELECT id, coalesce($column, 'NULL') FROM $self->{table}"
		  . " WHERE id BETWEEN $first AND $last");
	my @wrong;

	for my $id ($self->ids)
	{
		my $is = $table{$id} // 'absent';
		my $should = $self->{model}{$id} // 'absent';
		push @wrong, "id $id: $column is $is, should be $should" if $is ne $should;
	}
	return @wrong;
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
		sequence => 0,
		failed => [],
		worker => [],
	};
	bless $me, ref $self;
	srand($self->{seed} + $number);
	my $wanted;

	while (1)
	{
		if ($select->can_read(0))
		{
			my $command = <$socket>;
			last if !defined $command || $command eq "stop\n";
			if ($command =~ /^names (.*)$/)
			{
				my @names = split / /, $1;
				$me->{filling} = grep { $_ eq 'filling' } @names;
				$me->{names} = [ grep { $_ ne 'filling' } @names ];
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
	$me->disconnect;
	for my $id (@ids)
	{
		my $value = $me->{model}{$id};
		print $socket defined $value ? "model $id $value\n" : "absent $id\n";
	}
	print $socket "failed $_\n" for (@{ $me->{failed} });
	print $socket "count $me->{statements} $me->{slowest}\n";
	print $socket "end\n";
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
	my $value = "w$self->{number}-" . ++$self->{sequence};
	my $prepared = rand() < 0.5;
	my $block = rand() < 0.2;
	my $dice = rand();
	my ($sql, $then);
	my $table = $self->{table};

	$self->connect;
	if ($dice < 0.15)
	{
		$sql = $self->statement($prepared, "read_$name", [$id],
			"SELECT coalesce($column, 'NULL') FROM $table WHERE id = \$1");
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
		$sql = $self->statement($prepared, 'touch', [$id],
			"UPDATE $table SET hits = hits + 1 WHERE id = \$1");
		$then = $had;
	}
	elsif (defined $had && $dice < 0.35)
	{
		$sql = $self->statement($prepared, 'delete', [$id],
			"DELETE FROM $table WHERE id = \$1");
		$then = undef;
	}
	elsif ($dice < 0.55)
	{
		$sql = $self->statement($prepared, "upsert_$name", [ $id, $value ],
			"INSERT INTO $table (id, $column) VALUES (\$1, \$2)"
			  . " ON CONFLICT (id) DO UPDATE SET $column = EXCLUDED.$column");
		$then = $value;
	}
	elsif (defined $had)
	{
		$sql = $self->statement($prepared, "update_$name", [ $id, $value ],
			"UPDATE $table SET $column = \$2 WHERE id = \$1");
		$then = $value;
	}
	else
	{
		$sql = $self->statement($prepared, "insert_$name", [ $id, $value ],
			"INSERT INTO $table (id, $column) VALUES (\$1, \$2)");
		$then = $value;
	}
	return unless defined $sql;
	$sql = "BEGIN; $sql; COMMIT" if $block;
	$self->{model}{$id} = $then if defined $self->run($sql, $id, $had, $then);
	return;
}

# The statement as psql gets it: EXECUTE, prepared once a session, or with the
# values in it.
sub statement
{
	my ($self, $prepared, $name, $values, $sql) = @_;

	if (!$prepared)
	{
		$sql =~ s/\$(\d)/"'$values->[$1 - 1]'"/ge;
		return $sql;
	}
	if (!$self->{prepared}{$name})
	{
		my $types = join ', ', ('int', 'text')[ 0 .. $#$values ];
		$self->run("PREPARE $name ($types) AS $sql") // return;
		$self->{prepared}{$name} = 1;
	}
	return "EXECUTE $name (" . join(', ', map { "'$_'" } @$values) . ')';
}

# Run it; its output, or undef where it failed.  After a crash, find out
# whether it had happened: $id had $before, and would have $after.
sub run
{
	my ($self, $sql, $id, $before, $after) = @_;
	my $start = time();
	my ($output, $state) = $self->send($sql);
	my $took = time() - $start;

	if ($state eq '00000')
	{
		$self->{statements}++;
		$self->{slowest} = $took if $took > $self->{slowest};
		return $output;
	}
	if ($self->{crashes} && $state =~ $CRASHED)
	{
		$self->disconnect;
		$self->connect;
		$self->resolve($id, $before, $after) if defined $id;
		return undef;
	}
	push @{ $self->{failed} }, "$sql: $state $output" =~ s/\s+/ /gr;
	($output, $state) = $self->send('ROLLBACK');
	return undef;
}

sub resolve
{
	my ($self, $id, $before, $after) = @_;
	my $name = $self->{names}[0];
	my ($is, $state) =
	  $self->send("SELECT coalesce($self->{$name}, 'NULL') FROM $self->{table} WHERE id = $id");

	if ($state =~ $CRASHED)
	{
		$self->disconnect;
		$self->connect;
		return $self->resolve($id, $before, $after);
	}
	if ($is eq ($after // ''))
	{
		$self->{model}{$id} = $after;
	}
	elsif ($is ne ($before // ''))
	{
		push @{ $self->{failed} },
		  "after the crash id $id has $is, had " . ($before // 'nothing')
		  . ', should have ' . ($after // 'nothing');
	}
	return;
}

# Send a line, wait for its end.  Returns output and SQLSTATE, that of a lost
# connection where psql is gone.
sub send
{
	my ($self, $sql) = @_;
	my $output = '';

	local $SIG{PIPE} = 'IGNORE';
	print { $self->{in} } "$sql;\n\\echo zdm_done :LAST_ERROR_SQLSTATE :ERROR\n"
	  or return ('', '08006');
	while (defined(my $line = readline $self->{out}))
	{
		if ($line =~ /^zdm_done (\S+) (\S+)$/)
		{
			my ($last, $error) = ($1, $2);
			chomp $output;
			return ($output, '00000') if $output !~ /^(?:ERROR|FATAL|PANIC): /m;
			return ($output, $last);
		}
		$output .= $line;
	}
	return ($output, '08006');
}

sub connect
{
	my ($self) = @_;
	my $deadline = time() + 60;

	return if $self->{psql};
	while (1)
	{
		local $ENV{PGOPTIONS} = '-c client_min_messages=error';
		local $ENV{PGAPPNAME} = 'the application';
		$self->{psql} = open2(
			$self->{out},
			$self->{in},
			'sh', '-c', 'exec psql "$@" 2>&1', 'sh',
			'-XAtq', '-d', $self->{node}->connstr('postgres'));
		$self->{in}->autoflush(1);
		$self->{prepared} = {};
		my (undef, $state) = $self->send('SELECT 1');
		return if $state eq '00000';
		$self->disconnect;
		croak 'cannot connect' if time() > $deadline;
		usleep(20_000);
	}
}

sub disconnect
{
	my ($self) = @_;

	return unless $self->{psql};
	close $self->{in};
	close $self->{out};
	waitpid($self->{psql}, 0);
	delete $self->{psql};
	return;
}

1;
