# gitpod_activity: what counts as use of a workspace, as gitpod_manager is told.
# The frames of an idle editor are those measured (docs/adr/019-activity.md).
use strict;
use warnings;
use IO::Socket::INET;
use Socket qw(IPPROTO_TCP TCP_NODELAY);
use Test::More;
use GitpodGateway;
use WebSocket;

my $g = GitpodGateway->new(edit => sub {
    my ($name, $text) = @_;
    if ($name eq 'nginx_workspace.conf') {
        $text =~ s/^(gitpod_manager \S+);/$1 interval=100ms timeout=500ms;/m;
        my ($location) = $text =~ m{(    location / \{.*?\n    \}\n)}s;
        (my $quiet = $location) =~ s{location / }{location /quiet/ };
        $quiet =~ s/gitpod_activity on/gitpod_activity off/;
        $text =~ s/\Q$location/$location$quiet/;
    }
    return $text;
});
my $id = 'amber-fox-k3j9x2m1';
my @ports = ({ port => 3000, visibility => 'public', protocol => 'http' }, { port => 3001, visibility => 'private', protocol => 'http' });
my $host = $g->workspace($id, listen => [22999, 23000, 3000, 3001], ports => \@ports);
my @owner = ('x-gitpod-owner-token' => $g->owner_token($id));

# What the code does, and whether it counted.
sub counts {
    my ($code, $want, $name) = @_;
    my $n = $g->reports;
    $code->();
    my $found = $g->reported($id, $n);
    ok($want ? $found : !$found, $name);
    return $found;
}

sub web_socket {
    my ($h, @headers) = @_;
    my $r = $g->upgrade($h, '/', @headers);
    die "no upgrade: $r->{status}" if $r->{status} != 101;
    return $r->{socket};
}

# Sends frames and waits until they have been echoed: so the gateway has seen them.
sub send_frames {
    my ($s, @frames) = @_;
    my ($text, $back) = (join('', @frames), '');
    print $s $text;
    $s->flush;
    while ($back !~ /\Q$text\E\z/) { sysread($s, $back, 65536, length $back) or die 'the echo ended' }
}

# the report itself
my $first = GitpodGateway::wait_for('a report', sub { ($g->reports)[0] });
is($first->{caller}, 'gateway', 'the gateway is the caller');
is($first->{type}, 'application/json', 'in JSON');
is_deeply($first->{body}, { workspaces => [] }, 'reports come though nothing happens');

# requests
counts(sub { $g->get($host, '/', @owner); $g->get($host, '/poll', @owner, 'Sec-Fetch-Mode' => 'cors') for 1 .. 20; $g->request($host, 'OPTIONS', '/', \@owner) }, 0, 'polls are no use');
counts(sub { $g->get($host, '/', Accept => 'application/json'); $g->get("3001-$host", '/'); $g->browse($host, '/') }, 0, 'nor are requests that were refused');
counts(sub { $g->post($host, '/_supervisor/v1/send_heartbeat', '', @owner); $g->get($host, '/_supervisor/v1/status/ide', Accept => 'text/html') }, 0, 'nor those to the supervisor, which counts itself');
my $use = counts(sub { $g->browse($host, '/', @owner) }, 1, 'a page that somebody opens is use');
cmp_ok($use->{idleSeconds}, '<=', 2, 'told with its age');
counts(sub { $g->post($host, '/save', 'x', @owner) }, 1, 'so is a change');
counts(sub { $g->post($host, '/quiet/save', 'x', @owner) }, 0, 'not where it is off');

# WebSockets of an editor
my $s = web_socket($host, @owner);
counts(sub { }, 0, 'an open WebSocket is no use');
counts(sub { send_frames($s, WebSocket::data(4, 7, 13, 8, 21, 4, 4, 7, 14, 40), map { WebSocket::frame($_, 'x' x 60) } (WebSocket::PING, WebSocket::PONG) x 20) }, 0, 'nor are an idle editor\'s frames, pings and pongs');
counts(sub { send_frames($s, WebSocket::data(4, 4, 7, 11, 11, 4, 7, 8, 4, 4, 7, 11)) }, 0, 'however many short ones there are');
counts(sub { send_frames($s, WebSocket::data((13, 14) x 6)) }, 1, 'typing into a terminal is');
close $s;
counts(sub { send_frames(web_socket($host, @owner), WebSocket::data((70_000, 200, 126, 65535) x 3)) }, 1, 'and long frames are');
$s = web_socket($host, @owner);
setsockopt $s, IPPROTO_TCP, TCP_NODELAY, 1;
counts(sub {
    syswrite $s, $_ for split //, join '', WebSocket::data((13) x 9);
    send_frames($s, WebSocket::data(13));
}, 1, 'also byte by byte');
close $s;

my $c = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $g->{port});
counts(sub {
    print $c "GET / HTTP/1.1\r\nHost: $host\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nX-Gitpod-Owner-Token: $owner[1]\r\n\r\n", WebSocket::data((13) x 10);
    $c->flush;
    is($g->response($c, 'GET')->{status}, 101, 'an upgrade with frames behind it');
}, 1, 'which count');
close $c;

$s = web_socket($host, @owner);
counts(sub { send_frames($s, 'bare bytes, longer than a keep-alive') for 1 .. 12 }, 1, 'what is no WebSocket after the upgrade counts by the read');
close $s;

# an upgrade that the workspace refuses leaves the connection as it was
$c = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $g->{port});
print $c "GET /status/403 HTTP/1.1\r\nHost: $host\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nX-Gitpod-Owner-Token: $owner[1]\r\n\r\n";
is($g->response($c, 'GET')->{status}, 403, 'an upgrade is refused by the workspace');
print $c "GET /second HTTP/1.1\r\nHost: $host\r\nX-Gitpod-Owner-Token: $owner[1]\r\n\r\n";
is($g->response($c, 'GET')->{json}{uri}, '/second', 'the next request of the connection is served');
close $c;

# ports
counts(sub { $g->browse("3000-$host", '/'); $g->post("3000-$host", '/', 'x'); send_frames(web_socket("3000-$host"), WebSocket::data((40) x 20)) }, 0, 'visitors of a public port do not keep a workspace alive');
counts(sub { $g->browse("3001-$host", '/', @owner) }, 1, 'its owner does');
counts(sub { send_frames(web_socket("3001-$host", @owner), WebSocket::data((1) x 10)) }, 1, 'on a port single characters count');
counts(sub { send_frames(web_socket("3001-$host", @owner), WebSocket::data((0) x 20, (1) x 9)) }, 0, 'empty frames do not');

# ws_manager away
$g->stop_service('ws_manager');
my $n = $g->reports;
$g->post($host, '/save', 'x', @owner);
GitpodGateway::wait_for('the log', sub { $g->error_log =~ /ws_manager takes no report of activity: cannot connect/ });
$g->start_service('ws_manager');
ok($g->reported($id, $n), 'what happened while ws_manager was away is told later');
GitpodGateway::wait_for('the log', sub { $g->error_log =~ /ws_manager takes reports of activity again/ });
my $log = $g->error_log;
is(scalar(() = $log =~ /takes no report of activity/g), scalar(() = $log =~ /takes reports of activity again/g), 'the log says when it begins and when it ends');

my $metrics = $g->metrics;
like($metrics, qr/^gitpod_activity_noted_total [1-9]/m, 'uses are counted');
like($metrics, qr/^gitpod_activity_reports_total\{outcome="failed"\} [1-9]/m, 'and reports');

$g->finish;
