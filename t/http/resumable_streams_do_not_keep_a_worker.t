# A worker that is told to end, by a stop or a reload, ends the stream that a service of ours always has open: it would
# keep the worker for the whole of the drain timeout. What people have open gets its time.
use strict;
use warnings;
use IO::Select;
use Test::More;
use Time::HiRes qw(time sleep);
use GitpodGateway;

use constant { QUICK_S => 3, TIMEOUT_S => 10 };

my $g = GitpodGateway->new(drain_timeout => TIMEOUT_S);
my $d = $g->{domain};
my $host = $g->workspace('amber-fox-k3j9x2m1');

# Reads what is there; false: it has ended.
sub lives {
    my ($s) = @_;
    return 1 if !IO::Select->new($s)->can_read(0);
    return sysread($s, my $text, 65536) ? 1 : 0;
}
sub begun {
    my ($s) = @_;
    my $text = '';
    IO::Select->new($s)->can_read(5) && sysread $s, $text, 65536;
    return $text =~ /^HTTP\/1\.1 (?:200|101) / ? $s : die "no stream: $text";
}
sub ours {
    local $g->{unix} = "$g->{run}/gateway/public_api/gateway.sock";
    return begun($g->send('gateway', 'POST', '/gitpod.internal.v1.WorkspaceManagerService/WatchWorkspaces', ['Content-Type' => 'application/connect+json'], '{}'));
}
sub theirs { return begun($g->send($d, 'POST', '/public-api/gitpod.v1.WorkspaceService/WatchWorkspaceStatus', ['Content-Type' => 'application/connect+json', Cookie => 'gp_session=' . $g->session_token, Origin => $g->origin($d)], '{}')) }
sub websocket {
    return begun($g->send($host, 'GET', '/ws', ['Connection' => 'Upgrade', 'Upgrade' => 'websocket', 'Sec-WebSocket-Version' => 13, 'Sec-WebSocket-Key' => 'dGhlIHNhbXBsZSBub25jZQ==',
        'X-Gitpod-Owner-Token' => $g->owner_token('amber-fox-k3j9x2m1')]));
}
sub quick { my ($s) = @_; my $from = time; GitpodGateway::wait_for('the end of it', sub { !lives($s) }); return time - $from }

my ($ours, $theirs, $ws) = (ours(), theirs(), websocket());
$g->reload(keep => 1);
cmp_ok(quick($ours), '<', QUICK_S, 'a reload ends the stream of our own service');
ok(lives($theirs), 'that of a person goes on');
ok(lives($ws), 'and so does a WebSocket');
like($g->error_log, qr/gitpod: closed: worker ends/, 'the log says why it ended');
ok(lives(ours()), 'it can be opened again at once');
close $_ for $theirs, $ws;

subtest 'a stop with nobody there' => sub {
    my $ours = ours();
    my $from = time;
    $g->end_child($g->{nginx_pid}, 'QUIT');
    cmp_ok(time - $from, '<', QUICK_S, 'takes a moment');
    cmp_ok(quick($ours), '<', 1, 'the stream is over');
    unlink glob "$g->{run}/gateway/*/gateway.sock";
    $g->start;
};

subtest 'a stop with people there' => sub {
    GitpodGateway::wait_for('the route', sub { $g->routed('amber-fox-k3j9x2m1') });
    my ($ours, $ws) = (ours(), websocket());
    my $from = time;
    kill 'QUIT', $g->{nginx_pid};
    cmp_ok(quick($ours), '<', QUICK_S, 'ends the stream of our own service');
    print {$ws} 'hello';
    $ws->flush;
    ok(IO::Select->new($ws)->can_read(2) && sysread($ws, my $text, 100), 'a WebSocket is still served');
    close $ws;
    waitpid $g->{nginx_pid}, 0;
    cmp_ok(time - $from, '<', TIMEOUT_S, 'and when it is closed nothing is waited for');
    unlink glob "$g->{run}/gateway/*/gateway.sock";
    $g->start;
};
$g->finish;
