# Half open: whatever comes at once, over all workers, exactly as many requests
# reach the service as shall. A worker that dies with a probe, a client that
# leaves with one: the next request takes its place. Late probes have failed.
use strict;
use warnings;
use Backend;
use GitpodTest;
use IO::Select;
use IO::Socket::INET;
use Test::More;
use Time::HiRes qw(time sleep);

use constant CLIENTS => 200;

my $t = GitpodTest->new(workers => 8);
my %backend = map { $_ => Backend->new($t, $_, $_ eq 'fastcgi' ? 'fastcgi' : 'http') } qw(one fastcgi three late lost);
$t->{http} = <<"X";
    gitpod_zone test 1m;
    upstream one { server $backend{one}{address}; gitpod_breaker failures=3 base=150ms; }
    upstream fastcgi { server $backend{fastcgi}{address}; gitpod_breaker failures=3 base=150ms; }
    upstream three { server $backend{three}{address}; gitpod_breaker failures=3 base=150ms half_open=3; }
    upstream late { server $backend{late}{address}; gitpod_breaker failures=3 base=150ms probe=300ms on=http_503; }
    upstream lost { server $backend{lost}{address}; gitpod_breaker failures=3 base=150ms probe=1h; }
    proxy_http_version 1.1;
    proxy_set_header Connection "";
    server {
        listen 127.0.0.1:%%PORT%% reuseport;
        location = /metrics { gitpod_probe metrics; }
        location = /pid { return 200 \$pid; }
        location /one { proxy_pass http://one; }
        location /fastcgi { fastcgi_pass fastcgi; fastcgi_param REQUEST_METHOD GET; }
        location /three { proxy_pass http://three; }
        location /late { proxy_pass http://late; }
        location /lost { proxy_pass http://lost; proxy_set_header X-Pid \$pid; }
    }
X
$t->start;

sub state_is { my ($name, $state) = @_; return $t->metric("gitpod_breaker_state{name=\"$name\",state=\"$state\"}") }
sub wait_state { my ($name, $state) = @_; return GitpodTest::wait_for("$name to be $state", sub { state_is($name, $state) }) }
sub status { my ($name) = @_; return $t->get("/$name")->{status} }

sub open_it {
    my ($name) = @_;
    $backend{$name}->mode('503');
    GitpodTest::wait_for("$name to open", sub { status($name); !state_is($name, 'closed') });
    wait_state($name, 'half_open');
    $backend{$name}->forget;
}

sub client {
    my ($path) = @_;
    my $s = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $t->{port}) or die "connect: $!";
    syswrite $s, "GET /$path HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    return $s;
}

# Everybody at once: how often each status came.
sub storm {
    my ($path, $clients) = @_;
    my $select = IO::Select->new(map { client($path) } 1 .. $clients);
    my (%n, %text);
    my $end = time + 15;
    while ($select->count && time < $end) {
        for my $s ($select->can_read(1)) {
            next if sysread $s, $text{$s}, 4096, length($text{$s} // '');
            $n{ $text{$s} =~ /^HTTP\S+ (\d+)/ ? $1 : 'none' }++;
            $select->remove($s);
        }
    }
    return \%n;
}

for my $name (qw(one fastcgi three)) {
    my $n = $name eq 'three' ? 3 : 1;
    open_it($name);
    $backend{$name}->mode('slow 1');
    my $got = storm($name, CLIENTS);
    is($backend{$name}->hits, $n, "$name: the service saw exactly $n of @{[ CLIENTS ]}");
    is_deeply($got, { 200 => $n, 503 => CLIENTS - $n }, "$name: all others were refused at once");
    is(state_is($name, 'closed'), 1, "$name: and it is closed");
    $backend{$name}->mode('ok');
    $backend{$name}->forget;
    is_deeply(storm($name, 40), { 200 => 40 }, "$name: to everybody");

    # one bad probe opens it again, for all
    open_it($name);
    my $opened = $t->metric("gitpod_breaker_opened_total{name=\"$name\"}");
    $backend{$name}->mode('close');
    storm($name, 40);
    $opened = $t->metric("gitpod_breaker_opened_total{name=\"$name\"}") - $opened;
    cmp_ok($opened, '>=', 1, "$name: a bad probe opens it again");
    cmp_ok($backend{$name}->hits, '<=', $n * $opened, "$name: for each opening the service saw no more than $n");
    $backend{$name}->mode('ok');
    GitpodTest::wait_for("$name to come back", sub { status($name) == 200 });
}

# The client of the probe goes away: that says nothing, and the next one probes.
open_it('lost');
$backend{lost}->mode('hang');
my $gone = client('lost');
GitpodTest::wait_for('the probe', sub { $backend{lost}->hits == 1 });
is(status('lost'), 503, 'while a probe is under way others are refused');
close $gone;
$backend{lost}->mode('ok');
GitpodTest::wait_for('its place', sub { status('lost') == 200 });
is($backend{lost}->hits, 2, 'a client that left gave its place to the next');
is($t->metric('gitpod_breaker_failed_total{name="lost"}'), 3, 'and is no failure');
for (1 .. 5) { $backend{lost}->mode('hang'); my $h = $backend{lost}->hits; my $s = client('lost'); GitpodTest::wait_for('it', sub { $backend{lost}->hits > $h }) }
$backend{lost}->mode('ok');
is(status('lost'), 200, 'however many leave a closed one');
is($t->metric('gitpod_breaker_failed_total{name="lost"}'), 3, 'none is counted');

# The worker of the probe is killed: its token is worth nothing.
open_it('lost');
$backend{lost}->mode('hang');
my $s = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $t->{port}) or die;
syswrite $s, "GET /pid HTTP/1.1\r\nHost: x\r\n\r\n";
sysread $s, my $text, 4096;
my ($pid) = $text =~ /\r\n\r\n(\d+)/;
syswrite $s, "GET /lost HTTP/1.1\r\nHost: x\r\n\r\n";
GitpodTest::wait_for('the probe', sub { $backend{lost}->hits == 1 });
is(status('lost'), 503, 'a probe of an hour is under way');
kill 'KILL', $pid;
GitpodTest::wait_for('the worker to die', sub { GitpodTest::gone($pid) });
GitpodTest::wait_for('its successor', sub { $t->workers == 8 });
$backend{lost}->mode('ok');
is(status('lost'), 200, 'its worker killed, the next request probes at once');
is(state_is('lost', 'closed'), 1, 'and closes it');

# A probe that takes too long has failed.
open_it('late');
$backend{late}->mode('hang');
my $late = client('late');
GitpodTest::wait_for('the probe', sub { $backend{late}->hits == 1 });
GitpodTest::wait_for('its time to be over', sub { status('late'); $t->metric('gitpod_breaker_reason{name="late",reason="timeout"}') });
close $late;
is($backend{late}->hits, 1, 'a late probe opens it again');
$backend{late}->mode('ok');
wait_state('late', 'half_open');
is(status('late'), 200, 'and the next one closes it');

$t->finish(allow => qr/worker process $pid exited on signal 9/);
