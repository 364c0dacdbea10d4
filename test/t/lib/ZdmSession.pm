# A psql session that stays open, and says how each line that it was sent ended.
#
#   my $session = ZdmSession->new(sub { $node->connstr('postgres') }, name => 'me');
#   my ($output, $state) = $session->run('SELECT 1');    # connects if need be
#   $session->send('SELECT pg_sleep(1)');                # or in two parts
#   ($output, $state) = $session->receive;
#
# $state is the SQLSTATE of the line's last error, 00000 without one, and 08006
# where the connection is lost; $ZdmSession::LOST matches all the states that
# a server which goes down, or is not up yet, leaves behind.  Whether the line was
# done is not known then.  Nor is it where a commit has given up waiting for the
# synchronous standby, which is no more than a warning: that is 08007 here.  A
# session that was lost connects again at the next line, to the address that
# holds by then.

package ZdmSession;

use strict;
use warnings;

use Carp qw(croak);
use Errno;
use IO::Handle;
use IO::Select;
use IPC::Open3 qw(open3);
use Symbol qw(gensym);
use Time::HiRes qw(time usleep);

our $LOST = qr/^(?:57P0[123]|08...)$/;
my $UNCONFIRMED = qr/^WARNING: +canceling (?:the )?wait for synchronous replication/m;

# Options: name (application_name), messages (client_min_messages, by default
# warning), patience (seconds that a connection or an answer may take).
sub new
{
	my ($class, $address, %option) = @_;
	return bless {
		address => $address,
		name => $option{name} // 'a test',
		messages => $option{messages} // 'warning',
		patience => $option{patience} // 180,
		connections => 0,
		owner => $$,
	}, $class;
}

sub run
{
	my ($self, $sql) = @_;
	$self->connect;
	$self->send($sql);
	return $self->receive;
}

# psql's variable tells of every statement of the line.
sub send
{
	my ($self, $sql) = @_;
	local $SIG{PIPE} = 'IGNORE';

	# Where psql is gone, the answer tells.
	print { $self->{in} } "\\set LAST_ERROR_SQLSTATE 00000\n$sql;\n"
	  . "\\echo zdm_done :LAST_ERROR_SQLSTATE\n";
	return;
}

# The output, or of a line that failed the messages.  psql has written those
# before it comes to the end.
sub receive
{
	my ($self) = @_;
	my $deadline = time() + $self->{patience};
	my ($output, $state);

	until (defined $state)
	{
		croak "no answer within $self->{patience} s, but: $self->{said}{out} $self->{said}{err}"
		  if time() > $deadline;
		my $open = $self->hear(1);
		if ($self->{said}{out} =~ /\A(.*?)\n?^zdm_done (\S*)\n/ms)
		{
			($output, $state) = ($1, $2);
			$self->hear(0);
		}
		# An error that is none of the server's has no state.
		if (defined $state ? $state eq '' : !$open)
		{
			$state = '08006';
			$self->disconnect;
		}
	}

	my $messages = $self->{said}{err};
	$self->{said} = { out => '', err => '' };
	$state = '08007' if $state eq '00000' && $messages =~ $UNCONFIRMED;
	return ($state eq '00000' ? $output : $messages, $state);
}

# Take what psql says within some seconds; false where it has ended.
sub hear
{
	my ($self, $seconds) = @_;

	for my $handle (IO::Select->new(@$self{ 'out', 'err' })->can_read($seconds))
	{
		my $said = \$self->{said}{ $handle == $self->{out} ? 'out' : 'err' };
		my $got = sysread($handle, $$said, 65536, length $$said);
		return 0 if defined $got ? $got == 0 && $handle == $self->{out} : !$!{EINTR};
	}
	return 1;
}

sub connect
{
	my ($self) = @_;
	my $deadline = time() + $self->{patience};

	return if $self->{psql};
	while (1)
	{
		local $ENV{PGOPTIONS} = "-c client_min_messages=$self->{messages}";
		local $ENV{PGAPPNAME} = $self->{name};
		$self->{said} = { out => '', err => '' };
		$self->{err} = gensym();
		$self->{psql} = open3($self->{in}, $self->{out}, $self->{err},
			'psql', '-XAtq', '-d', $self->{address}->());
		$self->{in}->autoflush(1);
		$self->send('SELECT pg_backend_pid()');
		my ($output, $state) = $self->receive;
		if ($state eq '00000')
		{
			$self->{pid} = $output;
			$self->{connections}++;
			return;
		}
		croak "cannot connect: $output" if time() > $deadline;
		$self->disconnect;
		usleep(20_000);
	}
}

# The backend's, and how many it has had.
sub pid { my ($self) = @_; return $self->{pid}; }
sub connections { my ($self) = @_; return $self->{connections}; }

# By a signal, for another process that was forked meanwhile may hold the pipe.
sub disconnect
{
	my ($self) = @_;

	return unless $self->{psql};
	close delete $self->{$_} for ('in', 'out', 'err');
	kill 'TERM', $self->{psql};
	waitpid($self->{psql}, 0);
	delete $self->{psql};
	return;
}

sub DESTROY
{
	my ($self) = @_;
	local ($?, $!);
	$self->disconnect if $self->{owner} == $$;
	return;
}

1;
