# Migrations through their whole life, over and over, while their workers and
# servers are killed at random moments and an application writes by the old and
# the new names.  Whatever was killed: nothing that was acknowledged is lost,
# old and new shape agree, the same call continues, and in the end the table is
# what a plain ALTER TABLE would have made.
#
#   ZdmHarness->new(kills => 20, seed => 1, scenarios => [ {...} ])->run;
#
# A scenario is what there is to know about a pattern, in SQL with :t for the
# name of the table:
#
#   name       for messages
#   create     the statements that make the table: column id int, unique;
#              column hits int with a default; and a column with the old name
#   fill       INSERT of the rows that no application writes, ids above 100000
#   rows       how many these are
#   kept       a condition that holds for these rows for ever, with :c for the
#              column under the name that it has
#   expand     the call, without SELECT
#   migration  its name
#   plain      the plain ALTER TABLE
#   old, new   the column's names
#   indexes    whether the backfill builds indexes
#   migrates   0 where the migration is ready as soon as it is expanded
#   contracts  0 where it cannot be contracted
#   proves     1 where a rollback takes two calls, with a proof in between
#   goes       1 where no old version may run from contract on
#   restored   a condition that holds after a rollback
#   other      the name of a second table that create makes
#   load       further options of ZdmLoad
#   second     the name of the table while :t is a view's
#   renamed    1 where it is the table's name in the end
#   two        1 where that is a table of its own, which has no rows before the
#              migration is ready
#
# The seed decides on everything but the time that things take: ZdmPlan deals
# the kills out to rounds, each the life of one migration of a new table, and to
# the phases of the round.

package ZdmHarness;

use strict;
use warnings;

use parent 'ZdmChecks';

use Carp qw(croak);
use Test::More;
use Time::HiRes qw(time usleep);
use ZdmLoad;
use ZdmPlan;
use ZdmServer;
use ZdmSession;

my $PATIENCE = 120;

# The backfill is slow as long as there is somebody to be killed.
my %SLOW = ('zdm.batch_target' => '2ms', 'zdm.backfill_pause' => 100);
my %FAST = ('zdm.batch_target' => '25ms', 'zdm.backfill_pause' => 0);

# How a backfill comes to run, and to run again.
my %DRIVER = (
	launcher => { shared_preload_libraries => 'zdm', 'zdm.auto_start' => 'on' },
	session => { shared_preload_libraries => '', 'zdm.auto_start' => 'on' },
	foreground => { shared_preload_libraries => '', 'zdm.auto_start' => 'off' });

sub new
{
	my ($class, %option) = @_;
	my $self = bless {
		seed => $option{seed},
		kills => $option{kills},
		scenarios => $option{scenarios},
		drivers => $option{drivers} // [qw(launcher launcher session foreground)],
		rounds => $option{rounds},
		count => {},
		statements => 0,
	}, $class;

	# Indented, for test/tools/run shows what is.
	diag "  seed $self->{seed}, $self->{kills} kills (repeat with ZDM_SEED, ZDM_KILLS)";
	$self->{plan} = ZdmPlan->new(
		seed => $option{seed},
		kills => $option{kills},
		scenarios => $option{scenarios},
		rounds => $option{rounds},
		drivers => $self->{drivers});
	return $self;
}

sub run
{
	my ($self) = @_;
	my $server = $self->{server} = ZdmServer->new(
		'node',
		autovacuum_naptime => '1s',
		checkpoint_timeout => '30s',
		'zdm.lock_patience' => '60s',
		'zdm.launcher_naptime' => '1s',
		%{ $DRIVER{foreground} });

	$server->node->safe_psql('postgres', 'CREATE EXTENSION zdm; CREATE SCHEMA plain');
	$self->{amcheck} =
	  $server->query("SELECT count(*) FROM pg_available_extensions WHERE name = 'amcheck'");
	$server->node->safe_psql('postgres', 'CREATE EXTENSION amcheck') if $self->{amcheck};

	$self->round($_) for ($self->{plan}->rounds);

	is_deeply([ $server->complaints ], [], 'nothing in the logs of the servers that must not be there');
	$self->report;
	return;
}

# How often what happened, and whether that was the plan.
sub report
{
	my ($self) = @_;
	my $kills = 0;
	my %wanted = $self->{plan}->events;

	for my $kind (sort keys %wanted)
	{
		my %phase = %{ $self->{count}{$kind} // {} };
		my $count = 0;

		$count += $_ for (values %phase);
		$kills += $count if ZdmPlan::is_kill($kind);
		is($count, $wanted{$kind}, "$kind: $count times");
		diag sprintf '  %-12s %4d  %s', $kind, $count,
		  join ', ', map { "$phase{$_} in $_" } sort keys %phase;
	}
	is($kills, $self->{kills}, "$kills kills");
	my ($hit, $all, $enough) = $self->{plan}->coverage;
	diag "  $hit of the $all phases of all scenarios had a kill";
	is($hit, $all, 'every phase of every scenario had a kill') if $enough;
	diag sprintf '  %d rounds, %d statements acknowledged', scalar $self->{plan}->rounds,
	  $self->{statements};
	return;
}

#
# A round
#

sub round
{
	my ($self, $plan) = @_;
	my $server = $self->{server};
	my $scenario = $self->{scenarios}[ $plan->{scenario} ];
	my $table = "users_$plan->{number}";
	my $start = time();

	$self->{round} = {
		%$plan,
		table => $table,
		expected => 'none',
		kills => { map { $_ => [ @{ $plan->{kills}{$_} } ] } keys %{ $plan->{kills} } },
		map { $_ => fill_in($scenario->{$_}, $table) } grep { !ref $scenario->{$_} } keys %$scenario,
	};
	my $round = $self->{round};
	$round->{what} = "round $plan->{number}";
	$round->{workers_of} = "backend_type = 'zdm worker' AND application_name = '$round->{migration}'";
	note "$round->{what}: $scenario->{name}, $plan->{path}, $plan->{driver}"
	  . ($plan->{replicated} ? ', replicated' : '');

	$server->configure(
		%{ $DRIVER{ $plan->{driver} } },
		%SLOW,
		'zdm.backfill_workers' => $plan->{workers},
		synchronous_standby_names => undef);
	$server->restart;
	$server->replicate if $plan->{replicated};
	$server->node->safe_psql('postgres', "$round->{create}; $round->{fill}; ANALYZE $table");

	$self->{load} = ZdmLoad->new(
		$server->node,
		%{ $scenario->{load} // {} },
		tables => { old => $table, new => $round->{renamed} ? $round->{second} : $table },
		table => $table,
		old => $round->{old},
		new => $round->{new},
		keys => 100,
		seed => $self->{seed} + 1000 * $plan->{number},
		crashes => 1);
	$self->{load}->start;
	$self->{load}->progress(20);

	for my $phase (@{ $plan->{phases} })
	{
		$round->{phase} = $phase;
		$self->$phase;
	}
	$self->{load}->stop;
	$server->unreplicate if $server->standby;
	$self->end;
	note sprintf '%s took %.1f s', $round->{what}, time() - $start;
	return;
}

sub fill_in
{
	my ($text, $table) = @_;
	return $text =~ s/:t(?![a-z])/$table/gr;
}

#
# The phases: each is entered in the state that the one before left, and has its
# kills
#

sub expand
{
	my ($self) = @_;
	my $round = $self->{round};

	$self->transition("SELECT $round->{expand}", 'expanded', 'ready');
	$self->{load}->names('old', 'new', 'filling') unless $round->{two};
	return;
}

# In the middle of the backfill, and whatever else leads from expanded to ready.
sub migrate
{
	my ($self) = @_;

	$self->drive;
	$self->moves;
	while (my $kill = $self->next_kill)
	{
		$self->let_pass($kill->{delay});
		$self->hurt($kill);
		$self->revive('expanded', 'ready');
		$self->moves;
	}
	return;
}

# Paused is paused, whatever happens, until it is resumed.
sub paused
{
	my ($self) = @_;
	my $round = $self->{round};

	$self->moves;
	$self->call("SELECT zdm.pause('$round->{migration}')");
	$self->at_rest;
	while (my $kill = $self->next_kill)
	{
		$self->let_pass($kill->{delay});
		$self->hurt($kill);
		$self->revive('expanded');
		$self->at_rest;
	}
	$self->call("SELECT zdm.resume('$round->{migration}')");
	$self->{count}{pause}{migrate}++;
	$self->moves;
	return;
}

# The indexes of the new column are built at the end of the backfill.  With an
# older snapshot around they wait for that, half done, or half gone: what a kill
# leaves behind is dropped before it is built again.  What is certain is only
# that the first snapshot comes before the first build.
sub index
{
	my ($self) = @_;
	my $round = $self->{round};

	my $building = 'EXISTS (SELECT FROM pg_stat_progress_create_index)';
	my $working = "EXISTS (SELECT FROM pg_stat_activity WHERE $round->{workers_of})";

	for (my $first = 1; my $kill = $self->next_kill; $first = 0)
	{
		my $snapshot = $self->{server}->session('a report');
		my $there =
		  $first && $kill->{old_snapshot}
		  ? $building
		  : "$building OR state <> 'expanded' OR blocks_done = blocks_total AND $working";

		$snapshot->run("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM $round->{table}")
		  if $kill->{old_snapshot};
		$self->hurry;
		ok( $self->{server}->poll(
				"SELECT $there FROM zdm.progress WHERE migration = '$round->{migration}'"),
			"$round->{what}: the backfill comes to the indexes");
		$self->let_pass($kill->{delay});
		$self->hurt($kill);
		$snapshot->disconnect;
		$self->revive('expanded', 'ready');
	}
	$self->hurry;
	return;
}

sub ready
{
	my ($self) = @_;
	my $round = $self->{round};

	$self->hurry;
	if (!($round->{migrates} // 1))
	{
		$self->expect('ready');
	}
	elsif ($round->{driver} eq 'foreground')
	{
		my ($output, $state) = $self->{foreground}->receive;
		$self->expect('expanded', 'ready');
		ok($self->answered($output, $state, 'ready'), "$round->{what}: the backfill ends")
		  or diag "$state $output";
	}
	else
	{
		$self->call("CALL zdm.wait('$round->{migration}', '$PATIENCE s')");
	}
	$self->expect('ready');
	$self->{load}->names('old', 'new');
	$self->hold;
	$self->agrees($round->{old}, $round->{new});
	return;
}

sub contract
{
	my ($self) = @_;
	my $round = $self->{round};
	my $direct = !grep { $_ eq 'contracted' } @{ $round->{phases} };

	$self->{load}->names('new') if $direct || $round->{goes};
	$self->transition(
		"SELECT zdm.contract('$round->{migration}', quarantine => '"
		  . ($direct ? '0' : '1 ms') . "')",
		$direct ? 'finished' : 'contracted');
	return;
}

sub contracted
{
	my ($self) = @_;
	my $round = $self->{round};

	$self->hold;
	$self->agrees($round->{old}, $round->{new});
	return;
}

sub finish
{
	my ($self) = @_;

	$self->{load}->names('new');
	$self->transition("SELECT zdm.finish('$self->{round}{migration}')", 'finished');
	return;
}

sub rollback
{
	my ($self) = @_;
	my $round = $self->{round};
	my $sql = "SELECT zdm.rollback('$round->{migration}')";
	my $kills = $round->{kills}{rollback} //= [];
	my $returns = $round->{goes} && $round->{expected} eq 'contracted';

	# What neither version could insert before and after, nobody does meanwhile.
	$self->{load}->names($returns ? ('new', 'updating') : 'old');
	if ($round->{proves})
	{
		my @later = splice @$kills, (@$kills + 1) / 2;

		$self->transition($sql, 'expanded', 'ready', 'rolled_back');
		push @$kills, @later;
		$self->prove;
	}
	$self->transition($sql, 'rolled_back');
	$self->{load}->names('old') if $returns;
	return;
}

# What a rollback has demanded of every row is proved in the background.
sub prove
{
	my ($self) = @_;
	my $round = $self->{round};

	return if $round->{expected} eq 'rolled_back';
	if ($round->{driver} ne 'launcher')
	{
		my $session = $self->{server}->session('the migration');
		my $state;

		# It may be at it, or through, by itself.
		do { (undef, $state) = $session->run("SELECT zdm.start('$round->{migration}')") }
		  while ($state =~ $ZdmSession::LOST);
	}
	$self->call("CALL zdm.wait('$round->{migration}', '$PATIENCE s')");
	$self->expect('ready');
	return;
}

# A state in which nothing goes on but the application.
sub hold
{
	my ($self) = @_;

	while (my $kill = $self->next_kill)
	{
		$self->let_pass($kill->{delay});
		$self->hurt($kill);
		$self->revive($self->{round}{expected});
	}
	return;
}

# A call that takes the migration to another state, killed in the middle, before
# or after; the same call again takes it there.
sub transition
{
	my ($self, $sql, @after) = @_;
	my $round = $self->{round};
	my @before = $round->{expected} eq 'expanded' ? ('expanded', 'ready') : $round->{expected};

	while (my $kill = $self->next_kill)
	{
		my $session = $self->{server}->session('the migration');

		$session->connect;
		$session->send($kill->{hold} ? "BEGIN; $sql; SELECT pg_sleep($kill->{hold}); COMMIT" : $sql);
		$self->let_pass($kill->{delay});
		$self->hurt($kill, $session->pid);

		my ($output, $state) = $session->receive;
		my $answered = $self->answered($output, $state, $after[0]);
		ok($answered || $state =~ $ZdmSession::LOST,
			"$round->{what}: $round->{phase} is answered, or cut off")
		  or diag "$sql: $state $output";
		$round->{expected} = $after[0] if $answered;
		$self->revive($answered ? @after : (@before, @after));
	}

	$self->call($sql, $after[0]);
	my $state = $self->expect(@after);
	$round->{expected} = $after[0] if $state ne 'rolled_back';
	return;
}

# Whether that is the answer of a call that leads to $after.  It is there already
# where an earlier call got no answer; what stands behind this one in its
# transaction fails then, too.
sub answered
{
	my ($self, $output, $state, $after) = @_;
	return 1 if $state eq '00000';
	return $self->{round}{expected} eq $after
	  && $state =~ /^(?:55000|25P02)$/
	  && $output =~ /ERROR:  (?:migration ".*" is $after|the rollback of migration ".*" waits)/;
}

# Call until there is an answer.
sub call
{
	my ($self, $sql, $after) = @_;
	my $session = $self->{server}->session('the migration');
	my ($output, $state);

	do { ($output, $state) = $session->run($sql) } while ($state =~ $ZdmSession::LOST);
	ok($self->answered($output, $state, $after // 'nothing'), "$self->{round}{what}: $sql")
	  or diag "$state $output";
	return;
}

#
# What happens to it
#

sub next_kill
{
	my ($self) = @_;
	return shift @{ $self->{round}{kills}{ $self->{round}{phase} } };
}

# A random moment, dealt with the plan.
sub let_pass
{
	my ($self, $seconds) = @_;
	usleep(1_000_000 * $seconds);
	return;
}

sub hurt
{
	my ($self, $kill, $pid) = @_;
	my $round = $self->{round};
	my $server = $self->{server};
	my $kind = $kill->{kind};

	note "$round->{what}, $round->{phase}: $kind (" . ($self->blocks || 'no') . ' blocks done)'
	  . sprintf(' after %.0f ms', 1000 * $kill->{delay})
	  . ($pid && $kill->{hold} ? sprintf(' of %.0f', 1000 * $kill->{hold}) : '')
	  . ($round->{phase} eq 'index' && $kill->{old_snapshot} ? ', with an old snapshot around' : '')
	  . ($kill->{cut_off} ? ', the standby cut off before' : '');
	if ($kind eq 'worker')
	{
		1 until $server->kill_backend($self->worker);
	}
	elsif ($kind eq 'application')
	{
		1 until $server->kill_backend($self->backend("application_name = 'the application'"));
	}
	elsif ($kind eq 'call')
	{
		ok($server->kill_backend($pid), "$round->{what}: kill -9 of the call");
	}
	elsif ($kind eq 'terminate')
	{
		1 until $server->query('SELECT pg_terminate_backend(' . $self->worker . ')') eq 't';
	}
	elsif ($kind eq 'postmaster')
	{
		is_deeply([ $server->kill_postmaster ], [], "$round->{what}: nothing outlives the postmaster");
	}
	elsif ($kind eq 'immediate')
	{
		$server->crash;
	}
	elsif ($kind eq 'promote')
	{
		$self->cut_off if $kill->{cut_off};
		$server->promote;
		$self->{load}->move($server->node);
		if (--$round->{promotions}) { $server->replicate }
		else { $server->unreplicate }
	}
	else
	{
		croak "what is $kind?";
	}
	$self->{count}{$kind}{ $round->{phase} }++;
	return;
}

# The standby receives nothing any more, and who waits for it gives up: what was
# committed then is not acknowledged, and may get lost.
sub cut_off
{
	my ($self) = @_;
	my $server = $self->{server};
	my $waits = "backend_type = 'client backend' AND wait_event = 'SyncRep'";

	$server->cut_off(1);
	ok($server->poll("SELECT count(*) > 0 FROM pg_stat_activity WHERE $waits"),
		"$self->{round}{what}: somebody waits for the standby");
	$server->query("SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE $waits");
	return;
}

sub worker
{
	my ($self) = @_;
	my $round = $self->{round};

	# A session that works has a worker build the indexes, too.
	return
		$round->{phase} eq 'index' ? $self->backend('pid IN (SELECT pid FROM pg_stat_progress_create_index)')
	  : $round->{driver} eq 'foreground' ? $self->{foreground}->pid
	  : $self->backend($round->{workers_of});
}

# The process of one backend, as soon as there is one.
sub backend
{
	my ($self, $condition) = @_;
	my $deadline = time() + $PATIENCE;
	my $pid;

	until ($pid = $self->{server}->query(
			"SELECT pid FROM pg_stat_activity WHERE $condition ORDER BY random() LIMIT 1"))
	{
		croak "no backend with $condition" if time() > $deadline;
		usleep(5_000);
	}
	return $pid;
}

# The backfill goes on: by itself where the launcher is, or by the same call.
sub drive
{
	my ($self) = @_;
	my $round = $self->{round};

	if ($round->{driver} eq 'session')
	{
		$self->call("SELECT $round->{expand}");
	}
	elsif ($round->{driver} eq 'foreground')
	{
		$self->{foreground} = $self->{server}->session($round->{migration});
		$self->{foreground}->connect;
		$self->{foreground}->send("CALL zdm.backfill('$round->{migration}')");
	}
	return;
}

# From now on the backfill is fast.
sub hurry
{
	my ($self) = @_;
	my $round = $self->{round};

	return if $round->{fast}++;
	$self->{server}->configure(%FAST);
	$self->{server}->reload;
	return unless $round->{driver} eq 'foreground' && ($round->{migrates} // 1);

	# A session that works does not read the new settings.
	$self->{server}
	  ->query('SELECT pg_terminate_backend(' . $self->{foreground}->pid . ", ${PATIENCE}000)");
	$self->drive;
	return;
}

# After a kill: the state is one of these, the sides agree, the application
# writes, and the backfill is taken up.
sub revive
{
	my ($self, @states) = @_;
	my $state = $self->expect(@states);

	$self->in_sync if $state eq 'ready' || $state eq 'contracted';
	$self->{load}->progress(10);
	$self->drive if grep { $_ eq $self->{round}{phase} } ('migrate', 'paused', 'index');
	return;
}

1;
