# The state of a breaker is kept by name in shared memory: over reloads, changed
# configurations and killed workers.
use strict;
use warnings;
use Backend;
use GitpodTest;
use Test::More;

my $t = GitpodTest->new(workers => 3);
my $b = Backend->new($t, 'service', 'http');

sub http {
    my (%with) = @_;
    my $upstreams = join '', map { "upstream $_ { server $b->{address}; gitpod_breaker $with{$_}; }\n" } sort keys %with;
    my $locations = join '', map { "location /$_ { proxy_pass http://$_; }\n" } sort keys %with;
    return <<"X";
    gitpod_zone test 1m;
    $upstreams
    server {
        listen 127.0.0.1:%%PORT%%;
        location = /metrics { gitpod_probe metrics; }
        $locations
    }
X
}
sub state_is { my ($name, $state) = @_; return $t->metric("gitpod_breaker_state{name=\"$name\",state=\"$state\"}") }
sub counted { my ($name, $what) = @_; return $t->metric("gitpod_breaker_${what}_total{name=\"$name\"}") }
sub status { my ($name) = @_; return $t->get("/$name")->{status} }

$t->{http} = http(one => 'failures=2 base=1m', two => 'failures=2 base=1m');
$t->start;
$b->mode('503');
is(join(' ', map { status('one') } 1 .. 3), '503 503 503', 'one has failed');
is(state_is('one', 'open'), 1, 'and is open');
is(counted('one', 'refused'), 1, 'and refused once');
status('two');
$b->mode('ok');
$b->forget;

$t->reload;
is(state_is('one', 'open'), 1, 'after a reload it still is');
is(status('one'), 503, 'and refuses');
is(counted('one', 'refused'), 2, 'and counts on');

my @workers = $t->workers;
kill 'KILL', @workers;
GitpodTest::wait_for('their deaths', sub { !grep { !GitpodTest::gone($_) } @workers });
GitpodTest::wait_for('new workers', sub { $t->workers == 3 });
is(state_is('one', 'open'), 1, 'with every worker killed it still is');
is(status('one'), 503, 'and refuses');
is($b->hits, 0, 'nothing has reached the service');

# Another configuration: one goes on under its name, two is gone, three is new.
$t->{http} = http(one => 'failures=5 base=10ms half_open=1', three => 'failures=1 base=1m');
$t->reload;
is(state_is('one', 'open'), 1, 'a changed configuration goes on with it');
is(state_is('two', 'closed'), undef, 'what is not in it is not told');
is(state_is('three', 'closed'), 1, 'what is new in it is closed');
$b->mode('503');
is(join(' ', map { status('three') } 1 .. 2), '503 503', 'and opens by its own rule');
is(counted('three', 'opened'), 1, 'once');

$t->{http} = http(two => 'failures=2 base=1m', three => 'failures=1 base=1m');
$t->reload;
is(counted('two', 'failed'), 1, 'one that comes back finds what it had counted');
is(status('two'), 503, 'so its second failure in a row');
is(state_is('two', 'open'), 1, 'opens it');

# A configuration without any.
$t->{http} = 'gitpod_zone test 1m; server { listen 127.0.0.1:%%PORT%%; location = /metrics { gitpod_probe metrics; } }';
$t->reload;
unlike($t->get('/metrics')->{body}, qr/gitpod_breaker/, 'without breakers there are no metrics of them');

$t->finish(allow => qr/worker process (?:@{[ join '|', @workers ]}) exited on signal 9/);
