# Log-out ends what is open of a session within a second, whatever kind it is:
# events and a plugin's stream on the main domain, a WebSocket and a stream on a
# workspace host. What is another session's goes on.
use strict;
use warnings;
use IO::Select;
use Test::More;
use Time::HiRes qw(time);
use GitpodGateway;

my $g = GitpodGateway->new(workers => 2);
my $id = 'amber-fox-k3j9x2m1';
my $host = $g->workspace($id, listen => [22999, 23000]);
my $d = $g->{domain};
my $watch = '/public-api/gitpod.v1.WorkspaceService/WatchWorkspaceStatus';
GitpodGateway::wait_for('the events of Redis', sub { $g->metric('gitpod_events_synced') });

# a connection that goes on, and the first of what it says
sub streams {
    my ($sid) = @_;
    my $session = 'gp_session=' . $g->session_token(sid => $sid);
    my $cookie = 'gp_workspace=' . $g->workspace_token(host => $host, ws => $id, sid => $sid);
    my %open = (
        'events of the main domain' => $g->send_request($d, 'GET', '/api/events', [Cookie => $session, Accept => 'text/event-stream']),
        'a stream of a plugin' => $g->send_request($d, 'POST', $watch, [Cookie => $session, Origin => $g->origin($d), 'Content-Type' => 'application/connect+json'], '{}'),
        'a stream of a workspace' => $g->send_request($host, 'GET', '/events', [Cookie => $cookie]),
        'a WebSocket of a workspace' => $g->send_request($host, 'GET', '/', [Cookie => $cookie, Origin => $g->origin($host), Connection => 'Upgrade', Upgrade => 'websocket', 'Sec-WebSocket-Key' => 'x']),
    );
    for my $what (sort keys %open) {
        my $in = '';
        1 while $in !~ /\r\n\r\n(?:.|\z)/s && IO::Select->new($open{$what})->can_read(5) && sysread $open{$what}, $in, 4096, length $in;
        like($in, qr{^HTTP/1\.1 (?:200|101) }, "$what, $sid");
    }
    return %open;
}

# seconds until the gateway closed it; a stream may say something before
sub ended {
    my ($s, $most) = @_;
    my $from = time;
    while (time - $from < $most) {
        next if !IO::Select->new($s)->can_read(0.1);
        return time - $from if !sysread $s, my $any, 4096;
    }
    return 99;
}

GitpodGateway::wait_for('the key set', sub { $g->get($host, '/', Cookie => 'gp_workspace=' . $g->workspace_token(host => $host, ws => $id))->{status} == 200 });
my %out = streams('session-out');
my %stays = streams('session-stays');
my $from = time;
$g->revoke(session => 'session-out');
for my $what (sort keys %out) {
    cmp_ok(ended($out{$what}, 5), '<', 5, "$what ends");
    cmp_ok(time - $from, '<', 1.5, "$what: within a second");
}
is(ended($stays{$_}, 0.2), 99, "$_ of another session goes on") for sort keys %stays;
$g->revoke(user => $g->{owner}, int(time) + 1);
cmp_ok(ended($stays{$_}, 5), '<', 1.5, "$_ ends when the user is blocked") for sort keys %stays;
$g->finish;
