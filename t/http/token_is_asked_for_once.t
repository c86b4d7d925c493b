# A personal access token is resolved by the auth plugin once and remembered,
# good or not; many requests at once wait for one answer.
use strict;
use warnings;
use IO::Socket::INET;
use Test::More;
use GitpodGateway;

# auth is stopped below, and nginx says so; a question to it may take 1 s
my $g = GitpodGateway->new(
    expected_alert => qr{auth/fcgi\.sock failed|upstream timed out .*introspect},
    edit => sub { my ($name, $text) = @_; $text =~ s/fastcgi_read_timeout 5s/fastcgi_read_timeout 1s/ if $name =~ /nginx_ask/; return $text });
my $d = $g->{domain};
my $rpc = '/public-api/gitpod.v1.WorkspaceService/ListWorkspaces';
my $ask = 'auth /_internal/introspect';

sub call { my (@headers) = @_; return $g->post($d, $rpc, '{}', @headers) }
sub bearer { return (Authorization => "Bearer $_[0]") }

my $good = 'gitpod_pat_sig.' . 'g' x 40;
$g->put_token($good, id => 'token-7', scopes => 'function:list');
my $r = call(bearer($good));
is($r->{status}, 200, 'a token that auth knows is let through');
is($r->{json}{params}{GITPOD_USER}, $g->{owner}, 'with its user');
is($r->{json}{params}{GITPOD_CREDENTIAL}, 'token', 'its kind');
is($r->{json}{params}{GITPOD_CREDENTIAL_ID}, 'token-7', 'its id');
is($r->{json}{params}{GITPOD_SCOPES}, 'function:list', 'its scopes');
is($r->{json}{params}{HTTP_AUTHORIZATION}, undef, 'and without the token itself');
is($r->{json}{params}{GITPOD_PATH}, '/gitpod.v1.WorkspaceService/ListWorkspaces', 'the question to auth leaves no trace in the request');
is($r->{json}{params}{REQUEST_METHOD}, 'POST', 'nor in its method');
is($r->{json}{body_length}, 2, 'nor in its body');
is($g->calls($ask), 1, 'auth was asked');
call(bearer($good)) for 1 .. 5;
is($g->calls($ask), 1, 'and not again');

is(call(bearer($good), bearer($good))->{status}, 200, 'the same Authorization twice counts as one');
my $two = call(bearer($good), bearer('gitpod_pat_sig.other'));
is($two->{status}, 400, 'two that differ are refused');

my $bad = 'gitpod_pat_sig.' . 'b' x 40;
my $before = $g->calls($ask);
$r = call(bearer($bad));
is($r->{status}, 401, 'an unknown token is refused');
is($r->{json}{code}, 'unauthenticated', 'as Connect JSON');
is($r->{headers}{'www-authenticate'}, 'Bearer', 'with the scheme to use');
call(bearer($bad)) for 1 .. 3;
is($g->calls($ask), $before + 1, 'and asked for once');
is(call(bearer($bad), Cookie => 'gp_session=' . $g->session_token, Origin => $g->origin($d))->{status}, 401,
    'a good session beside a bad token does not repair it');
is(call(Authorization => 'Bearer something-else')->{status}, 401, 'a bearer that is not ours is no credential');
is(call(bearer($good), Origin => 'http://evil.example')->{status}, 200, 'with a token the Origin does not matter');
is($g->browse($d, '/api/handoff?host=x', bearer($bad))->{status}, 401, 'a program with a bad token is not sent to log in');

# many at once
sub many {
    my ($token, $n) = @_;
    return map {
        my $s = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $g->{port});
        print $s "POST $rpc HTTP/1.1\r\nHost: $d\r\nAuthorization: Bearer $token\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}";
        $s->flush;
        $s;
    } 1 .. $n;
}
my $slow = 'gitpod_pat_sig.slow' . 's' x 36;
$g->put_token($slow);
$before = $g->calls($ask);
my @status = map { $g->response($_, 'POST')->{status} } many($slow, 11);
is("@status", join(' ', (200) x 11), 'all that came at once with one token are answered');
is($g->calls($ask), $before + 1, 'with one question to auth');

my $left = 'gitpod_pat_sig.slow' . 't' x 36;
$g->put_token($left);
my @sockets = many($left, 6);
GitpodGateway::wait_for('the question', sub { $g->calls($ask) == $before + 2 });
close shift @sockets;
@status = map { $g->response($_, 'POST')->{status} } @sockets;
is("@status", join(' ', (200) x 5), 'when the one that asked goes away, the others are answered all the same');
is($g->calls($ask), $before + 3, 'by one further question');

# auth hangs: one question is enough to know
$before = $g->calls($ask);
@status = map { $g->response($_, 'POST')->{status} } many('gitpod_pat_sig.hang' . 'h' x 36, 6);
is("@status", join(' ', (503) x 6), 'when auth does not answer, all that wait are told');
is($g->calls($ask), $before + 1, 'and none of them waits for a question of its own');

# revoked
$g->revoke(token => 'token-7');
ok(GitpodGateway::wait_for('the revocation', sub { call(bearer($good))->{status} == 401 }), 'a revoked token is refused at once, though remembered');

# auth away: what is known holds, what is not known is 503
$g->stop_service('auth');
is(call(bearer($slow))->{status}, 200, 'with auth away a known token works');
$r = call(bearer('gitpod_pat_sig.new'));
is($r->{status}, 503, 'an unknown one cannot be judged');
is($r->{json}{code}, 'unavailable', 'and that is what is said');
ok($r->{headers}{'retry-after'}, 'with a time to try again');

$g->finish;
