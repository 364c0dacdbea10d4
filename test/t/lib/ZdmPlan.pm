# Who is killed when: a seed's kills, dealt out to rounds and their phases.
#
# A round is the life of a migration on one of some paths.  Every kind of kill
# occurs, and every phase has some, in the middle of the backfill most.  The
# plan is made as a whole before the first kill, for the random numbers must not
# depend on how long anything takes.

package ZdmPlan;

use strict;
use warnings;

use Carp qw(croak);
use List::Util qw(max min shuffle sum);

my %PATH = (
	'without a quarantine' => [qw(expand migrate index ready contract)],
	'with a quarantine' => [qw(expand migrate index ready contract contracted finish)],
	'rolled back when expanded' => [qw(expand migrate rollback)],
	'rolled back while it builds indexes' => [qw(expand migrate index rollback)],
	'rolled back when ready' => [qw(expand migrate index ready rollback)],
	'rolled back when contracted' => [qw(expand migrate index ready contract contracted rollback)]);

my @HOLD = qw(migrate ready contracted);
my @CALL = qw(expand contract finish rollback);

# Which kinds there are, their share of the kills, and the phases for them.
# The first of them are dealt first, for they have the least choice.
my @KIND = (
	[ promote => 0.1, @HOLD, @CALL, 'index', 'paused' ],
	[ worker => 0.3, 'migrate', 'index' ],
	[ call => 0.15, @CALL ],
	[ application => 0.05, @HOLD ],
	[ postmaster => 0.2, @HOLD, @CALL, 'index', 'paused' ],
	[ immediate => 0.2, @HOLD, @CALL, 'index', 'paused' ]);

my $KILLS_PER_ROUND = 4;
my $PROMOTIONS_PER_ROUND = 2;

# Options: seed, kills, scenarios, drivers, rounds (at least so many).
sub new
{
	my ($class, %option) = @_;
	my $self = bless {%option}, $class;

	croak 'at least ' . @KIND . ' kills, one of each kind' if $self->{kills} < @KIND;
	srand($self->{seed});
	$self->{rounds} = [ $self->make_rounds ];
	$self->deal;
	return $self;
}

sub rounds { my ($self) = @_; return @{ $self->{rounds} }; }

sub is_kill
{
	my ($kind) = @_;
	return scalar grep { $_->[0] eq $kind } @KIND;
}

# Each kind of event, and how many there are.
sub events
{
	my ($self) = @_;
	my %count;

	for my $round ($self->rounds)
	{
		$count{ $_->{kind} }++ for (map { @$_ } values %{ $round->{kills} });
		$count{pause}++ if grep { $_ eq 'paused' } @{ $round->{phases} };
	}
	return %count;
}

# How many pairs of a scenario and one of its phases have a kill, and how many
# there are; whether the rounds are enough for all of them.
sub coverage
{
	my ($self) = @_;
	my @scenarios = @{ $self->{scenarios} };
	my (%all, %hit);

	for my $scenario (0 .. $#scenarios)
	{
		$all{"$scenario $_"} = 1 for (map { phases($_, $scenarios[$scenario]) } keys %PATH);
	}
	for my $round ($self->rounds)
	{
		$hit{"$round->{scenario} $_"} = 1 for (grep { $all{"$round->{scenario} $_"} } keys %{ $round->{kills} });
	}
	return (scalar keys %hit, scalar keys %all, $self->rounds >= @scenarios * keys %PATH);
}

# As many as asked for, each as often as every other.
sub deck
{
	my ($count, @cards) = @_;
	my @deck;

	push @deck, shuffle @cards while (@deck < $count);
	return @deck[ 0 .. $count - 1 ];
}

# Two decks of which no pair comes twice before every pair has come.
sub pairs
{
	my ($count, $left, $right) = @_;
	my @left = shuffle @$left;
	my @right = shuffle @$right;
	my $shift = 0;
	my (%had, @lefts, @rights);

	for my $i (0 .. $count - 1)
	{
		my $r = $i % @right;

		# They have come round together: the one goes on by one.
		if ($had{ ($i + $shift) % @left, $r })
		{
			$shift++;
			%had = () if keys %had == @left * @right;
		}
		$had{ ($i + $shift) % @left, $r } = 1;
		push @lefts, $left[ ($i + $shift) % @left ];
		push @rights, $right[$r];
	}
	return (\@lefts, \@rights);
}

sub make_rounds
{
	my ($self) = @_;
	my $count = max(scalar(keys %PATH), $self->{rounds} // 0, int($self->{kills} / $KILLS_PER_ROUND));
	my @driver = deck($count, @{ $self->{drivers} });
	my ($path, $scenario) = pairs($count, [ sort keys %PATH ], [ 0 .. $#{ $self->{scenarios} } ]);
	my @path = @$path;
	my @scenario = @$scenario;
	my @rounds = map {
		{
			number => $_ + 1,
			path => $path[$_],
			phases => [ phases($path[$_], $self->{scenarios}[ $scenario[$_] ]) ],
			driver => $driver[$_],
			scenario => $scenario[$_],
			workers => 1 + int(rand(2)),
			replicated => 0,
			promotions => 0,
			kills => {},
		}
	} 0 .. $count - 1;

	# One in four is paused, and another loses a worker in an orderly way.
	my @migrating = grep { migrates($_) } @rounds;
	my @background = shuffle grep { $_->{driver} ne 'foreground' } @migrating;
	for my $round (splice @background, 0, int((@background + 3) / 4))
	{
		$round->{phases} = [ map { $_ eq 'migrate' ? ($_, 'paused') : $_ } @{ $round->{phases} } ];
	}
	$self->kill_in($_, 'migrate', 'terminate') for ((shuffle @migrating)[ 0 .. int((@migrating - 1) / 4) ]);
	return @rounds;
}

sub phases
{
	my ($path, $scenario) = @_;
	my @phases = grep {
		($_ ne 'index' || $scenario->{indexes})
		  && ($_ ne 'migrate' || ($scenario->{migrates} // 1))
	} @{ $PATH{$path} };

	return @phases if $scenario->{contracts} // 1;
	return ((grep { $_ !~ /^(?:contract|contracted|finish|rollback)$/ } @phases), 'rollback');
}

sub migrates
{
	my ($round) = @_;
	return scalar grep { $_ eq 'migrate' } @{ $round->{phases} };
}

sub deal
{
	my ($self) = @_;
	my %left = map { $_->[0] => max(1, int($_->[1] * $self->{kills})) } @KIND;

	$left{worker} += $self->{kills} - sum(values %left);
	for my $round ((shuffle $self->rounds)[ 0 .. int(($left{promote} - 1) / $PROMOTIONS_PER_ROUND) ])
	{
		$round->{replicated} = 1;
	}
	for (@KIND)
	{
		my ($kind, undef, @phases) = @$_;
		$self->deal_one($kind, @phases) while ($left{$kind}-- > 0);
	}
	for my $round ($self->rounds)
	{
		@$_ = shuffle @$_ for (map { $round->{kills}{$_} } sort keys %{ $round->{kills} });

		# Only the first build of indexes is there for sure.
		my $index = $round->{kills}{index} // next;
		@$index = sort { ($b->{kind} eq 'worker') <=> ($a->{kind} eq 'worker') } @$index;
	}
	return;
}

# To the phase that has had the fewest, the backfill counting for less; of the
# scenarios to the one that has had the fewest in it, and to the round that has.
sub deal_one
{
	my ($self, $kind, @phases) = @_;
	my (%had, @choice);

	for my $round ($self->rounds)
	{
		next if $kind eq 'promote' && !$round->{replicated};
		for my $phase (@{ $round->{phases} })
		{
			next unless grep { $_ eq $phase } @phases;
			next if $kind eq 'worker' && $phase eq 'index' && kills_of_worker($round);
			$had{$phase} //= $self->kills_in($phase);
			push @choice, [ $round, $phase ];
		}
	}
	my $fewest = min(values %had);
	@choice = grep { $had{ $_->[1] } == $fewest } @choice;
	my $of_scenario = sub { return $self->kills_in($_[1], $_[0]{scenario}) };
	$fewest = min(map { $of_scenario->(@$_) } @choice);
	@choice = grep { $of_scenario->(@$_) == $fewest } @choice;
	$fewest = min(map { kills_of($_->[0]) } @choice);
	@choice = grep { kills_of($_->[0]) == $fewest } @choice;

	my ($round, $phase) = @{ $choice[ rand @choice ] };
	$self->kill_in($round, $phase, $kind);
	$round->{promotions}++ if $kind eq 'promote';
	return;
}

sub kills_in
{
	my ($self, $phase, $scenario) = @_;
	my $count = sum(
		map { scalar @{ $_->{kills}{$phase} // [] } }
		grep { !defined $scenario || $_->{scenario} == $scenario } $self->rounds);
	return $phase eq 'migrate' ? int($count / 3) : $count;
}

sub kills_of_worker
{
	my ($round) = @_;
	return scalar grep { $_->{kind} eq 'worker' } @{ $round->{kills}{index} // [] };
}

sub kills_of
{
	my ($round) = @_;
	return sum(0, map { scalar @$_ } values %{ $round->{kills} });
}

# The moment, how long a call is held open, whether an index build is, and whether
# the standby is cut off before it is promoted, which the first is for sure.
sub kill_in
{
	my ($self, $round, $phase, $kind) = @_;
	push @{ $round->{kills}{$phase} },
	  {
		kind => $kind,
		delay => rand($phase eq 'migrate' ? 0.4 : 0.06),
		hold => rand() < 0.5 ? rand(0.1) : 0,
		old_snapshot => $kind eq 'worker' || rand() < 0.5,
		cut_off => $kind eq 'promote' && (rand() < 0.5 || !$self->{cut_off}++),
	  };
	return;
}

1;
