# A gitpod_check of the breaker's name: passing again it closes the breaker
# early; failing it opens it, where "on" says so.
use strict;
use warnings;
use Backend;
use GitpodTest;
use Test::More;

my $t = GitpodTest->new(workers => 2);
my %backend = map { $_ => Backend->new($t, $_, 'fastcgi') } qw(early judged other);
my $fast = 'interval=50ms timeout=300ms fall=1 rise=1';
$t->{http} = <<"X";
    gitpod_zone test 1m;
    @{[ map { "gitpod_check $_ fastcgi $backend{$_}{address} $fast;" } sort keys %backend ]}
    upstream u_early { server $backend{early}{address}; gitpod_breaker name=early failures=1 base=1h; }
    upstream u_judged { server $backend{judged}{address}; gitpod_breaker name=judged failures=1 base=1h ramp=1h on=check; }
    fastcgi_param REQUEST_METHOD GET;
    server {
        listen 127.0.0.1:%%PORT%%;
        location = /metrics { gitpod_probe metrics; }
        location /early { fastcgi_pass u_early; }
        location /judged { fastcgi_pass u_judged; }
    }
X
$t->start;
sub state_is { my ($name, $state) = @_; return $t->metric("gitpod_breaker_state{name=\"$name\",state=\"$state\"}") }
sub check { my ($name, $passes) = @_; return GitpodTest::wait_for("the check $name to be $passes", sub { ($t->metric("gitpod_check{name=\"$name\"}") // -1) == $passes }) }
sub status { my ($name) = @_; return $t->get("/$name")->{status} }
check($_, 1) for keys %backend;

$backend{early}->mode('503');
check('early', 0);
is(state_is('early', 'closed'), 1, 'a failing check opens nothing, unless it shall');
is(status('early'), 503, 'a bad answer');
is(state_is('early', 'open'), 1, 'does, for an hour');
$backend{early}->mode('ok');
check('early', 1);
is(state_is('early', 'closed'), 1, 'the check passes and closes it');
is(status('early'), 200, 'at once');

# A check that has passed all the time closes nothing: requests know better.
$backend{early}->mode('slow 0.01');
$t->get('/early') for 1 .. 2;
is(state_is('early', 'closed'), 1, 'closed');
$backend{other}->mode('503');
check('other', 0);
is(state_is('judged', 'closed'), 1, 'the check of another name is not its business');

$backend{judged}->kill;
check('judged', 0);
is(state_is('judged', 'open'), 1, 'with on=check a failing check opens it');
my $r = $t->get('/judged');
is($r->{status}, 503, 'though no request has failed');
like($r->{json}{message}, qr/^The service judged fails its health check\./, 'and it says so');
like($r->{headers}{'gitpod-breaker'}, qr/reason=check/, 'to programs too');
$backend{judged}->start;
check('judged', 1);
is(state_is('judged', 'recovering'), 1, 'passing it lets traffic back by degrees');
like($t->error_log, qr/breaker "judged" is open: check/, 'the log tells');

$t->finish;
