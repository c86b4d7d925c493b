# A WebSocket is judged when it is made, whatever becomes of it; so is a stream.
use strict;
use warnings;
use Backend;
use GitpodTest;
use IO::Select;
use IO::Socket::INET;
use Test::More;

my $t = GitpodTest->new(workers => 2);
my $b = Backend->new($t, 'service', 'http');
$t->{http} = <<"X";
    gitpod_zone test 1m;
    upstream service { server $b->{address}; gitpod_breaker failures=1 base=10ms probe=1h; }
    upstream judged { server $b->{address}; gitpod_breaker failures=2 base=1m; }
    proxy_http_version 1.1;
    proxy_set_header Connection \$http_connection;
    proxy_set_header Upgrade \$http_upgrade;
    proxy_read_timeout 10s;
    server {
        listen 127.0.0.1:%%PORT%%;
        location = /metrics { gitpod_probe metrics; }
        location /service { proxy_pass http://service; }
        location /judged { proxy_pass http://judged; }
    }
X
$t->start;
sub state_is { my ($name, $state) = @_; return $t->metric("gitpod_breaker_state{name=\"$name\",state=\"$state\"}") }
sub failed { return $t->metric("gitpod_breaker_failed_total{name=\"$_[0]\"}") }

sub websocket {
    my ($path) = @_;
    my $s = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $t->{port}) or die;
    syswrite $s, "GET $path HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    my $text = '';
    while ($text !~ /\r\n\r\n/) { sysread $s, $text, 4096, length $text or last }
    return ($s, $text =~ /^HTTP\S+ (\d+)/ ? $1 : 0);
}
sub echo { my ($s) = @_; syswrite $s, 'hello'; my $got = ''; while (length $got < 5) { IO::Select->new($s)->can_read(10) && sysread $s, $got, 5 - length $got, length $got or last } return $got }

# Half open: the handshake is the whole probe, the connection lives on.
$b->mode('503');
$t->get('/service');
GitpodTest::wait_for('half open', sub { state_is('service', 'half_open') });
$b->mode('upgrade');
my ($s, $status) = websocket('/service');
is($status, 101, 'a WebSocket is a probe');
is(state_is('service', 'closed'), 1, 'a good one by its handshake');
is(echo($s), 'hello', 'and it works');

# Ends of WebSockets say nothing.
my @all = map { [websocket('/judged')]->[0] } 1 .. 6;
is(echo($_), 'hello', 'another one') for @all;
close $_ for splice @all, 0, 3;
$b->kill;
for (@all, $s) { IO::Select->new($_)->can_read(10); sysread $_, my $rest, 1; close $_ }
is(failed('judged'), 0, 'neither a client that leaves nor a service that dies counts, once the handshake was good');
is(state_is('judged', 'closed'), 1, 'so it is closed');
is([websocket('/judged')]->[1], 502, 'a handshake that fails');
is([websocket('/judged')]->[1], 502, 'does');
is(failed('judged'), 2, 'count');
is([websocket('/judged')]->[1], 503, 'and opens it for WebSockets');
is($t->get('/judged')->{status}, 503, 'as for all');

$t->finish;
