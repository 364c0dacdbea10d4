# A server that is killed in every way and comes back, and the standby that
# takes over from it.
#
#   my $server = ZdmServer->new('node', autovacuum_naptime => '1s');
#   $server->query('SELECT 1');        # waits until the server is back
#   $server->kill_backend($pid);       # kill -9; all others restart
#   $server->kill_postmaster;
#   $server->crash;                    # pg_ctl stop -m immediate
#   $server->replicate;                # from now on a standby knows every commit
#   $server->promote;                  # it is the server, and has no standby
#
# $server->node is the PostgreSQL::Test::Cluster that it is at the moment.

package ZdmServer;

use strict;
use warnings;

use Carp qw(croak);
use Cwd qw(realpath);
use File::Path qw(rmtree);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Time::HiRes qw(time usleep);
use ZdmSession;

my $PATIENCE = 120;
my $STANDBY = 'zdm_standby';
my $CONF = 'zdm_test.conf';

# The settings hold for every node.
sub new
{
	my ($class, $name, %settings) = @_;
	my $self = bless { name => $name, nodes => [], settings => {%settings} }, $class;

	$self->{node} = $self->new_node;
	$self->node->init(allows_streaming => 1, extra => ['--data-checksums']);
	$self->node->append_conf(
		'postgresql.conf', qq(
restart_after_crash = on
log_statement = none
log_replication_commands = off
max_connections = 50
max_worker_processes = 16
shared_buffers = 32MB
wal_retrieve_retry_interval = 50ms
include '$CONF'
));
	$self->configure;
	$self->node->start;
	$self->{session} = $self->session('the test', 'error');
	return $self;
}

sub node { my ($self) = @_; return $self->{node}; }
sub standby { my ($self) = @_; return $self->{standby}; }

sub new_node
{
	my ($self) = @_;
	my $node = PostgreSQL::Test::Cluster->new($self->{name} . (1 + @{ $self->{nodes} }));
	push @{ $self->{nodes} }, $node;
	return $node;
}

# A session of its own, with whichever node is the server when it connects.
sub session
{
	my ($self, $name, $messages) = @_;
	return ZdmSession->new(
		sub { return $self->node->connstr('postgres') },
		name => $name,
		messages => $messages,
		patience => $PATIENCE);
}

# What a statement that changes nothing gives, once the server is there.
sub query
{
	my ($self, $sql) = @_;

	while (1)
	{
		my ($output, $state) = $self->{session}->run($sql);
		return $output if $state eq '00000';
		croak "$sql: $state $output" if $state !~ $ZdmSession::LOST;
	}
}

# The same, and what it saw does not get lost any more by a promotion: a crash
# lets others see a commit that no standby has confirmed.
sub look
{
	my ($self, $sql) = @_;

	while (1)
	{
		my $connections = $self->{session}->connections;
		my $output = $self->query($sql);
		$self->query("SELECT pg_logical_emit_message(true, 'zdm', '')");
		return $output if $connections == $self->{session}->connections;
	}
}

# Until $sql gives t; false if it never does.
sub poll
{
	my ($self, $sql) = @_;
	my $deadline = time() + $PATIENCE;

	while ($self->query($sql) ne 't')
	{
		return 0 if time() > $deadline;
		usleep(10_000);
	}
	return 1;
}

#
# Settings
#

# For the next start or reload.  Those that are undef go.
sub configure
{
	my ($self, %change) = @_;
	my $settings = $self->{settings} = { %{ $self->{settings} }, %change };
	my $file = $self->node->data_dir . "/$CONF";

	delete $settings->{$_} for (grep { !defined $settings->{$_} } keys %$settings);
	PostgreSQL::Test::Utils::append_to_file("$file.new",
		join '', map { "$_ = '$settings->{$_}'\n" } sort keys %$settings);
	rename "$file.new", $file or croak "$file: $!";
	return;
}

sub restart
{
	my ($self) = @_;
	$self->{session}->disconnect;
	$self->node->restart;
	return;
}

sub reload
{
	my ($self) = @_;
	$self->node->reload;
	return;
}

#
# Kills.  Each returns when the server is back.
#

# False where the process was gone before.
sub kill_backend
{
	my ($self, $pid) = @_;
	my $deadline = time() + $PATIENCE;

	# The session is the witness: it ends when the others restart.
	$self->query('SELECT 1');
	my $connections = $self->{session}->connections;
	return 0 unless kill 'KILL', $pid;
	while ($connections == $self->{session}->connections)
	{
		croak "the server does not notice that $pid was killed" if time() > $deadline;
		usleep(2_000);
		$self->query('SELECT 1');
	}
	return 1;
}

# Returns the processes that outlive it, which none may.  It stays in the way of
# the next one until its own parent has noticed its end.
sub kill_postmaster
{
	my ($self) = @_;
	my $deadline = time() + 30;
	my ($pid) = slurp_file($self->node->data_dir . '/postmaster.pid') =~ /^(\d+)/;
	my @left;

	$self->node->kill9;
	while ((@left = $self->processes) || kill 0, $pid)
	{
		last if time() > $deadline;
		usleep(5_000);
	}
	kill 'KILL', map { /^(\d+)/ } @left;
	usleep(5_000) while $self->processes;
	$self->node->start;
	return @left;
}

# The node's processes, by the folder that each works in.
sub processes
{
	my ($self) = @_;
	my $folder = realpath($self->node->data_dir);
	my @found;

	for my $cwd (glob '/proc/[0-9]*/cwd')
	{
		next unless (readlink($cwd) // '') eq $folder;
		my ($pid) = $cwd =~ /(\d+)/;
		my $name = eval { slurp_file("/proc/$pid/cmdline") } // next;
		push @found, "$pid " . ($name =~ tr/\0/ /r);
	}
	return @found;
}

sub crash
{
	my ($self) = @_;
	$self->node->stop('immediate');
	$self->node->start;
	return;
}

#
# The standby
#

# Commits that wait for their standby go on when it is there.
sub replicate
{
	my ($self) = @_;

	if (!$self->{settings}{synchronous_standby_names})
	{
		$self->configure(synchronous_standby_names => $STANDBY);
		$self->restart;
	}
	my $node = $self->node;
	my $standby = $self->new_node;
	$node->backup('standby');
	$standby->init_from_backup($node, 'standby', has_streaming => 1);
	rmtree($node->backup_dir . '/standby');
	$standby->append_conf('postgresql.conf',
		"primary_conninfo = '" . $node->connstr . " application_name=$STANDBY'");
	$standby->start;
	$self->{standby} = $standby;
	$self->poll("SELECT count(*) = 1 FROM pg_stat_replication WHERE sync_state = 'sync'")
	  or croak 'the standby does not stream';
	return;
}

# No commit waits any more.
sub unreplicate
{
	my ($self) = @_;

	$self->configure(synchronous_standby_names => undef);
	$self->reload;
	$self->discard(delete $self->{standby}) if $self->{standby};
	return;
}

# The server is gone, and its standby takes over.
sub promote
{
	my ($self) = @_;
	my $old = $self->node;

	$self->poll("SELECT count(*) = 1 FROM pg_stat_replication WHERE sync_state = 'sync'")
	  or croak 'the standby does not stream';
	$old->stop('immediate');
	$self->cut_off(0);
	$self->standby->promote;
	$self->{node} = delete $self->{standby};
	$self->{session}->disconnect;
	$self->discard($old);
	return;
}

# Whether the standby is cut off: it receives nothing and confirms nothing.
sub cut_off
{
	my ($self, $cut) = @_;

	if ($cut)
	{
		$self->{receiver} = $self->standby->safe_psql('postgres',
			"SELECT pid FROM pg_stat_activity WHERE backend_type = 'walreceiver'");
		kill 'STOP', $self->{receiver} or croak "walreceiver $self->{receiver}: $!";
	}
	elsif ($self->{receiver})
	{
		kill 'CONT', delete $self->{receiver};
	}
	return;
}

sub discard
{
	my ($self, $node) = @_;
	$node->stop('immediate');
	$node->clean_node;
	return;
}

# What no server's log may have.
sub complaints
{
	my ($self) = @_;
	my @found;

	for my $log (map { $_->logfile } @{ $self->{nodes} })
	{
		push @found, grep {
			/PANIC: |TRAP: |was terminated by signal (?!9:)|resource was not closed|reference leak|\bleaked\b/
			  || /invalid page|missing chunk|could not read block|could not access status/
		} split /\n/, slurp_file($log);
	}
	return @found;
}

1;
