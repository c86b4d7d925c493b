#!/usr/bin/perl
# A workspace nobody uses stops by itself; one that is used does not. An editor
# that is open and left alone is no use, typing in it is.
use strict;
use warnings;
use lib 't/lib';
use IO::Select;
use IO::Socket::INET;
use Socket qw(IPPROTO_TCP TCP_NODELAY);
use Test::More;
use Time::HiRes qw(time);
use GitpodSystem;
use WebSocket;

# Longer than a minute: that often an open editor says that it is alive.
my $s = GitpodSystem->new(env => { GITPOD_IDLE_TIMEOUT => 75 });
my $git = $s->git_server;
$s->git_repository('acme/a', { 'a' => "a\n" });
my ($idle, $open, $typing, $used) = map { $s->create("$git/acme/a.git") } 1 .. 4;
$s->wait_phase($_, 'PHASE_RUNNING') for $idle, $open, $typing, $used;

# The WebSocket that VS Code opens. Its protocol begins with a handshake, before
# and after which either side may send what keeps it alive: 13 bytes, type 9.
sub editor {
    my ($id) = @_;
    my $token = $s->owner_token($id);
    my $c = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $s->gateway_port($id)) or die "connect: $!";
    setsockopt $c, IPPROTO_TCP, TCP_NODELAY, 1;
    print $c join "\r\n", 'GET /?reconnectionToken=1a2b3c4d-0000-4000-8000-000000000001&reconnection=false&skipWebSocketFrames=false HTTP/1.1',
        'Host: ' . $s->address($id), 'Upgrade: websocket', 'Connection: Upgrade', 'Sec-WebSocket-Version: 13',
        'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==', "x-gitpod-owner-token: $token", '', '';
    $c->flush;
    my $head = '';
    while ($head !~ /\r\n\r\n/) { IO::Select->new($c)->can_read(10) && sysread($c, $head, 4096, length $head) or die "no answer: $head" }
    like($head, qr{^HTTP/1\.1 101 }, 'the editor takes a WebSocket');
    return $c;
}

# Reads what is there; false: the other side closed it.
sub alive {
    my ($c) = @_;
    while (IO::Select->new($c)->can_read(0)) { sysread($c, my $data, 65536) or return 0 }
    return 1;
}

my ($left, $busy) = (editor($open), editor($typing));
my $keep_alive = pack 'CNNN', 9, 0, 0, 0;
my ($ended, $next, %stopped) = (0, time);
ok($s->wait_for(120, 'idle stop', sub {
    if (time >= $next) {
        $next += 0.5;
        local $SIG{PIPE} = 'IGNORE';
        $ended ||= !alive($left);
        # A browser's keep-alive is deflated, so short; and proxies like pings.
        syswrite $left, join '', WebSocket::frame(WebSocket::PING, 'still there?'), map { WebSocket::frame(WebSocket::BINARY, $_) } unpack 'a4a4a5', $keep_alive if !$ended;
        alive($busy);
        syswrite $busy, join '', map { WebSocket::frame(WebSocket::BINARY, $keep_alive) } 1 .. 2;
        $s->rpc('SendHeartBeat', { workspaceId => $used });
    }
    $stopped{$_} ||= $s->phase($_) eq 'PHASE_STOPPED' for $idle, $open;
    return $stopped{$idle} && $stopped{$open} && ($ended ||= !alive($left));
}), 'the unused workspaces stopped') or diag(explain(\%stopped), "closed: $ended");
ok($stopped{$open}, 'an open editor that is left alone does not keep its workspace');
ok($ended, 'and its connection ends with the workspace');
my $w = $s->workspace($idle);
like($w->{status}{conditions}{timeout} // '', qr/inactiv|unused|idle/i, 'it says that it was for lack of use');
is($w->{status}{conditions}{failed} // '', '', 'that is no failure');
is($s->phase($used), 'PHASE_RUNNING', 'one with heartbeats goes on');
is($s->phase($typing), 'PHASE_RUNNING', 'one that somebody types in goes on');
ok(alive($busy), 'connected');
my $seen = $s->workspace($typing)->{spec}{lastUserActivity};
like($seen // '', qr/^20\d\d-/, "it was used $seen");
my $r = $s->workspace_http($idle, '/healthz');
is($r->{status}, 200, 'a request with the owner\'s token starts a stopped one and waits for it') or diag($r->{body});
is($s->phase($idle), 'PHASE_RUNNING', 'it runs');
$s->down;
done_testing();
