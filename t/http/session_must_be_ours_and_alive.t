# On the main domain a session cookie is good only with the right key,
# algorithm, issuer, audience and time, and while it is not revoked. Whatever is
# wrong, the answer is the same.
use strict;
use warnings;
use Digest::SHA qw(hmac_sha256);
use MIME::Base64 qw(encode_base64url);
use Test::More;
use GitpodGateway;

my $g = GitpodGateway->new;
my $d = $g->{domain};
my $rpc = '/public-api/gitpod.v1.UserService/GetAuthenticatedUser';
my $now = int time;
my @origin = (Origin => $g->origin($d));

sub call { my ($cookie, @more) = @_; return $g->post($d, $rpc, '{}', @origin, 'Content-Type' => 'application/json', (defined $cookie ? (Cookie => "gp_session=$cookie") : ()), @more) }

GitpodGateway::wait_for('the key set and the revocations', sub { call($g->session_token)->{status} == 200 });

my $good = call($g->session_token);
is($good->{status}, 200, 'a session of ours is let through');
my $p = $good->{json}{params};
is($p->{GITPOD_USER}, $g->{owner}, 'the plugin is told the user');
is($p->{GITPOD_CREDENTIAL}, 'session', 'and the kind of credential');
is($p->{GITPOD_CREDENTIAL_ID}, 'session-1', 'and the session');
is($p->{GITPOD_PATH}, '/gitpod.v1.UserService/GetAuthenticatedUser', 'and the method, without the prefix');
is($p->{GITPOD_SCHEME}, 'http', 'and the scheme');
is($p->{GITPOD_CALLER}, '', 'and that no service calls');
like($p->{GITPOD_REQUEST_ID}, qr/^[0-9a-f]{32}$/, 'and a request id');
like($p->{GITPOD_TRACEPARENT}, qr/^00-[0-9a-f]{32}-[0-9a-f]{16}-01$/, 'and a trace context');
is($p->{HTTP_COOKIE}, undef, 'but never the cookie itself');

my $stranger = $g->new_key('key-1b');
$stranger->{kid} = 'key-1';
my $unknown = $g->new_key('key-9');
my $public = $g->{key}{jwk}{x};
my $claims = $g->session_claims;

my @bad = (
    ['no cookie', undef],
    ['an empty cookie', ''],
    ['no token at all', 'nonsense'],
    ['two dots and nothing else', '..'],
    ['an expired token', $g->session_token(iat => $now - 7200, exp => $now - 60)],
    ['a token without exp', $g->jwt({ %$claims, exp => undef })],
    ['a token from the future', $g->session_token(iat => $now + 3600, exp => $now + 7200)],
    ['another audience', $g->session_token(aud => 'somewhere-else')],
    ['a workspace token', $g->workspace_token(host => $g->host('abc'), ws => 'abc')],
    ['a session audience with a workspace claim', $g->session_token(ws => 'abc')],
    ['another issuer', $g->session_token(iss => 'evil.example')],
    ['no session id', $g->jwt({ map { $_ => $claims->{$_} } grep { $_ ne 'sid' } keys %$claims })],
    ['algorithm none, no signature', $g->jwt($claims, header => { alg => 'none', kid => 'key-1' }, signature => '')],
    ['algorithm none, some signature', $g->jwt($claims, header => { alg => 'none', kid => 'key-1' }, signature => 'AAAA')],
    ['algorithm nOnE', $g->jwt($claims, header => { alg => 'nOnE', kid => 'key-1' })],
    ['HS256 with the public key as secret', $g->jwt($claims, header => { alg => 'HS256', kid => 'key-1' }, signature => encode_base64url(hmac_sha256('x', $public)))],
    ['RS256 named for an EC key', $g->jwt($claims, header => { alg => 'RS256', kid => 'key-1' })],
    ['a stranger\'s key under our key id', $g->jwt($claims, key => $stranger)],
    ['a key that is not in the set', $g->jwt($claims, key => $unknown)],
    ['a key of its own in the header', $g->jwt($claims, header => { alg => 'ES256', jwk => $unknown->{jwk} }, key => $unknown)],
    ['a changed claim', do { my @t = split /\./, $g->session_token; $t[1] = encode_base64url($GitpodGateway::JSON->encode({ %$claims, sub => $g->{other} })); join '.', @t }],
    ['a padded signature', $g->session_token . '='],
    ['a cookie that is too long', 'a' x 5000],
);
for (@bad) {
    my ($name, $cookie) = @$_;
    my $r = call($cookie);
    is($r->{status}, 401, "$name: 401");
    is(($r->{json} // {})->{code}, 'unauthenticated', "$name: Connect says unauthenticated");
}

# what was verified once is not good for ever
my $short = $g->session_token(sid => 'session-short', iat => $now, exp => int(time) + 1);
is(call($short)->{status}, 200, 'a token shortly before its end is good');
ok(GitpodGateway::wait_for('its end', sub { call($short)->{status} == 401 }), 'and then no more, though it is remembered');

# revocation
my $revoked = $g->session_token(sid => 'session-2');
is(call($revoked)->{status}, 200, 'a session before it is revoked');
$g->revoke(session => 'session-2');
ok(GitpodGateway::wait_for('the revocation', sub { call($revoked)->{status} == 401 }), 'is refused once it is revoked');
my $synced = () = $g->error_log =~ /synced with Redis/g;
$g->redis('DEL', 'gitpod:revocations');
$g->redis('CLIENT', 'KILL', 'TYPE', 'pubsub');
ok(GitpodGateway::wait_for('all of it read anew', sub { (() = $g->error_log =~ /synced with Redis/g) > $synced }), 'Redis comes back without its data');
is(call($revoked)->{status}, 401, 'what was revoked stays so');
is(call($g->session_token(sid => 'session-3'))->{status}, 200, 'other sessions are not');
my $before = $g->session_token(sub => $g->{other}, sid => 'session-4', iat => $now - 10);
is(call($before)->{status}, 200, 'a user before revocation');
$g->revoke(user => $g->{other}, $now - 5);
ok(GitpodGateway::wait_for('the revocation', sub { call($before)->{status} == 401 }), 'a token issued before the user\'s revocation is refused');
is(call($g->session_token(sub => $g->{other}, sid => 'session-5', iat => $now))->{status}, 200, 'one issued after it is good');

# key rotation, and a key that is taken away
my $old = $g->session_token(sid => 'session-6');
my $next = $g->new_key('key-2');
$g->publish_keys($g->{key}, $next);
my $new = $g->jwt($g->session_claims(sid => 'session-7'), key => $next);
ok(GitpodGateway::wait_for('the new key', sub { call($new)->{status} == 200 }), 'a token of a new key is good once the set is published');
is(call($old)->{status}, 200, 'a token of the old key still is');
is(call($g->jwt($claims, header => { alg => 'ES256' }))->{status}, 401, 'one that names no key is not, when there are two');
$g->publish_keys($next);
ok(GitpodGateway::wait_for('the old key to go', sub { call($old)->{status} == 401 }), 'and is refused when its key has gone, though it is remembered');
is(call($new)->{status}, 200, 'the new one stays');
$g->{key} = $next;

# people are sent to log in, programs are told
my $page = $g->browse($d, '/api/handoff?host=x.y&nonce=1');
is($page->{status}, 302, 'a page that needs a session, without one: to the log-in');
is($page->{headers}{location}, $g->{external} . '/login?return=%2Fapi%2Fhandoff%3Fhost%3Dx.y%26nonce%3D1', 'with the way back, escaped');
is($g->get($d, '/api/handoff?host=x', Accept => 'text/html', 'Sec-Fetch-Mode' => 'cors')->{status}, 401, 'a script of a page is told 401');
is($g->get($d, '/api/handoff?host=x')->{status}, 401, 'a program too');

# the dashboard itself is for everybody
for my $path ('/', '/workspaces', '/new', '/start/', '/login', '/settings/git', '/github.com/a/b') {
    my $r = $g->browse($d, $path);
    ok($r->{status} == 200 && $r->{body} =~ /Dashboard/, "$path is the dashboard");
    like($r->{headers}{'content-security-policy'}, qr/script-src 'self';.*frame-ancestors 'none'/, "$path has a strict policy");
    unlike($r->{headers}{'content-security-policy'}, qr/unsafe/, "$path allows nothing inline");
    is($r->{headers}{'x-content-type-options'}, 'nosniff', "$path is not sniffed");
}
is($g->get($d, '/assets/app.js')->{status}, 200, 'assets are served');
is($g->get($d, '/assets/none.js')->{status}, 404, 'an asset that is not there is 404');

# unknown services, bodies over the limit
is($g->post($d, '/public-api/gitpod.v2.X/Y', '{}')->{json}{code}, 'unimplemented', 'an unknown package is unimplemented');
is($g->post($d, '/public-api/gitpod.internal.v1.AuthService/CreateToken', '{}')->{json}{code}, 'unimplemented', 'internal services are not public');
my $big = $g->request($d, 'POST', $rpc, ['Content-Length' => 5_000_000, @origin], undef);
is($big->{status}, 413, 'a body over the limit is 413');
is($big->{json}{code}, 'resource_exhausted', 'as Connect JSON');
for my $path ('/_gitpod/introspect', '/_gitpod/errors/json', '/api/none', '/errors/404.html') {
    is($g->get($d, $path)->{status}, 404, "$path is not there from outside");
}

# nothing secret in the log
$g->get($d, '/api/login/link?token=SECRET1&x=1');
$g->get($d, '/api/none?Code=SECRET2&x=2');
my ($link) = grep { $_->{uri} =~ /login.link/ } $g->access_log;
is($link->{uri}, '/api/login/link?token=***&x=1', 'a one-time token is masked in the log');
unlike(join(' ', map { $_->{uri} } $g->access_log), qr/SECRET/, 'whatever its spelling');

$g->finish;
