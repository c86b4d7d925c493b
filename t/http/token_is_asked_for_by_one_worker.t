# One question to auth for all workers; one that is in use is asked for anew
# behind the back of its requests, and counts for a while when auth is away.
use strict;
use warnings;
use IO::Socket::INET;
use Test::More;
use Time::HiRes qw(time sleep);
use GitpodGateway;

my $g = GitpodGateway->new(
    workers => 4,
    expected_alert => qr{auth/fcgi\.sock failed},
    edit => sub { my ($name, $text) = @_; $text .= "gitpod_token_fresh 3s; gitpod_token_stale 9s;\n" if $name eq 'nginx_feed.conf'; return $text });
my $d = $g->{domain};
my $rpc = '/public-api/gitpod.v1.WorkspaceService/ListWorkspaces';
my $ask = 'auth /_internal/introspect';

sub call { my ($token) = @_; return $g->post($d, $rpc, '{}', Authorization => "Bearer $token")->{status} }
# what the gateway itself answers: 404, when it knows who asks
sub many {
    my ($token, $n) = @_;
    my @sockets = map {
        my $s = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $g->{port});
        print $s "GET /api/handoff?host=x HTTP/1.1\r\nHost: $d\r\nAuthorization: Bearer $token\r\nConnection: close\r\n\r\n";
        $s->flush;
        $s;
    } 1 .. $n;
    return map { $g->response($_, 'GET')->{status} } @sockets;
}
sub cached { my ($outcome) = @_; return $g->metric("gitpod_credential_cache_total{outcome=\"$outcome\"}") }

my $kept = 'gitpod_pat_sig.' . 'k' x 40;
my $revoked = 'gitpod_pat_sig.' . 'r' x 40;
$g->put_token($kept, id => 'token-kept');
$g->put_token($revoked, id => 'token-revoked');
is(call($_), 200, 'a token') for $kept, $revoked;

# several tries: the kernel says which worker gets a connection
for my $n (1 .. 3) {
    my $slow = "gitpod_pat_sig.slow$n" . 's' x 35;
    $g->put_token($slow);
    my $before = $g->calls($ask);
    my @status = many($slow, 12);
    is("@status", join(' ', (404) x 12), "12 at once with a token that nobody knows ($n)");
    is($g->calls($ask) - $before, 1, 'are one question of all workers');
}
my $none = 'gitpod_pat_sig.slownone' . 'n' x 31;
my $before = $g->calls($ask);
my @status = many($none, 12);
is("@status", join(' ', (401) x 12), 'so are those with one that is none');
is($g->calls($ask) - $before, 1, 'of all workers');

# refreshed in the background
my $used = 'gitpod_pat_sig.slowused' . 'u' x 31;
$g->put_token($used, id => 'token-used');
is(call($used), 200, 'a token');
$before = $g->calls($ask);
sleep 3.2;
my $from = time;
is(call($used), 200, 'after its time is used once more');
cmp_ok(time - $from, '<', 0.28, 'nobody waits for the answer');
GitpodGateway::wait_for('the question', sub { $g->calls($ask) > $before });
is($g->calls($ask), $before + 1, 'which is asked for once');
cmp_ok(cached('refresh'), '>=', 1, 'and counted');
my $hits = cached('hit');
ok(GitpodGateway::wait_for('the new answer', sub { call($used) == 200 && cached('hit') > $hits }), 'the new answer counts');
$g->drop_token($used);
ok(GitpodGateway::wait_for('a no', sub { call($used) == 401 }), 'and when it is a no, that counts');

# auth is away
$g->stop_service('auth');
ok(GitpodGateway::wait_for('a stale one', sub { call($kept) == 200 && cached('stale') }), 'a token is good while auth is away');
$g->revoke(token => 'token-revoked');
ok(GitpodGateway::wait_for('the revocation', sub { call($revoked) != 200 }), 'unless it is revoked: that counts at once');
ok(GitpodGateway::wait_for('the end', sub { call($kept) == 503 }), 'and not for ever');
$g->finish;
