# The hand-off: from a workspace host without a cookie, over the main domain,
# back with one. The code works once, in the browser that asked, for its host.
use strict;
use warnings;
use Digest::SHA qw(sha256_hex);
use Test::More;
use GitpodGateway;

# auth is stopped below, and nginx says so
my $g = GitpodGateway->new(expected_alert => qr{auth/fcgi\.sock failed});
my $d = $g->{domain};
my $id = 'amber-fox-k3j9x2m1';
my $host = $g->workspace($id, listen => [23000, 3000]);
my $foreign = $g->workspace('blue-owl-aaaabbbb', owner => $g->{other}, listen => [23000]);
my $open = $g->workspace('open-cat-ccccdddd', owner => $g->{other}, admission => 'everyone', listen => [23000]);
my @session = (Cookie => 'gp_session=' . $g->session_token);
GitpodGateway::wait_for('the key set', sub { $g->browse($d, "/api/handoff?host=$host&nonce=" . 'a' x 64, @session)->{status} == 303 });

sub path_of { my ($url, $h) = @_; my $base = $g->origin($h); return $url =~ /^\Q$base\E(\/.*)$/ ? $1 : "not $h: $url" }
sub set_cookie { my ($r, $name) = @_; my ($line) = grep { /^$name=/ } split /\n/, $r->{headers}{'set-cookie'} // ''; return $line // '' }

# the way there
sub leave {
    my ($h, $path) = @_;
    my $r = $g->browse($h, $path);
    my ($nonce) = set_cookie($r, 'gp_nonce') =~ /^gp_nonce=([^;]*)/;
    return ($r, $nonce, path_of($r->{headers}{location} // '', $d));
}

for my $h ($host, "3000-$host") {
    my $path = '/?folder=/workspace&x=a%2Fb+c';
    my ($r, $nonce, $over) = leave($h, $path);
    is($r->{status}, 302, "$h: a person without a cookie is sent away");
    like(set_cookie($r, 'gp_nonce'), qr{^gp_nonce=[A-Za-z0-9_-]{43}; Path=/_gitpod; Max-Age=120; HttpOnly; SameSite=Lax$}, 'with a nonce of 32 bytes');
    is($over, "/api/handoff?host=$h&nonce=" . sha256_hex($nonce) . '&path=%2F%3Ffolder%3D%2Fworkspace%26x%3Da%252Fb%2Bc', 'to the main domain, with host, hash of the nonce and path');
    is($r->{headers}{'cache-control'}, 'no-store', 'nothing of it is kept');

    is($g->browse($d, $over)->{status}, 302, 'there, without a session: to the log-in');
    my $back = $g->browse($d, $over, @session);
    is($back->{status}, 303, 'with one: back');
    my $in = path_of($back->{headers}{location}, $h);
    like($in, qr{^/_gitpod/handoff\?code=}, 'with a code');

    is($g->browse($h, $in)->{status}, 401, 'the code without the nonce is refused');
    is($g->browse($h, $in, Cookie => 'gp_nonce=' . 'x' x 43)->{status}, 401, 'and with another browser\'s nonce');
    is($g->browse($h, $in, Cookie => "gp_nonce=$nonce")->{status}, 401, 'which spent it');

    ($r, $nonce, $over) = leave($h, $path);
    $in = path_of($g->browse($d, $over, @session)->{headers}{location}, $h);
    $r = $g->browse($h, $in, Cookie => "gp_nonce=$nonce");
    is($r->{status}, 303, 'code and nonce together are good');
    is($r->{headers}{location}, $g->origin($h) . $path, 'and lead to the path of the beginning');
    my $cookie = set_cookie($r, 'gp_workspace');
    like($cookie, qr{^gp_workspace=[\w.-]+; Path=/; Max-Age=86400; HttpOnly; SameSite=Lax$}, 'with a cookie of this host alone');
    like(set_cookie($r, 'gp_nonce'), qr/^gp_nonce=; .*Max-Age=0/, 'the nonce is taken back');
    is($r->{headers}{'referrer-policy'}, 'no-referrer', 'no referrer carries the code on');
    is($r->{headers}{'cache-control'}, 'no-store', 'and no cache');
    my ($token) = $cookie =~ /^gp_workspace=([^;]*)/;
    is($g->browse($h, $path, Cookie => "gp_workspace=$token")->{status}, 200, 'the cookie opens the host');
    is($g->browse($h, $in, Cookie => "gp_nonce=$nonce")->{status}, 401, 'the same code again is refused');
}
is($g->calls('auth /_internal/redeem'), 8, 'a code without a nonce never reaches auth');

# codes are for one host
my ($r, $nonce, $over) = leave($host, '/');
my $in = path_of($g->browse($d, $over, @session)->{headers}{location}, $host);
is($g->browse("3000-$host", $in, Cookie => "gp_nonce=$nonce")->{status}, 401, 'a code for one host is refused on another');

# who may not enter
($r, $nonce, $over) = leave($foreign, '/');
$r = $g->browse($d, $over, @session);
is($r->{status}, 404, 'somebody else\'s workspace: 404');
my $unknown = $g->browse($d, '/api/handoff?host=' . $g->host('never-was-11112222') . '&nonce=' . 'a' x 64, @session);
is($unknown->{status}, 404, 'an unknown one: the same');
is($r->{body}, $unknown->{body}, 'to the letter');
($r, $nonce, $over) = leave($open, '/');
is($g->browse($d, $over, @session)->{status}, 303, 'admission everyone: any session');

# right taken away between code and redemption
($r, $nonce, $over) = leave($open, '/');
$in = path_of($g->browse($d, $over, @session)->{headers}{location}, $open);
$g->route('open-cat-ccccdddd', owner => $g->{other}, address => '127.0.0.1');
GitpodGateway::wait_for('the change', sub { $g->browse($d, $over, @session)->{status} == 404 });
is($g->browse($open, $in, Cookie => "gp_nonce=$nonce")->{status}, 404, 'the right is looked at again when the code is redeemed');

# hosts and paths that are not ours to send people to
for (['evil.example'], ["$host.evil.example"], ["evil.example/$host"], ["a.$host"], ["$host:80"], [''], ["23000-x\@$host"]) {
    is($g->browse($d, "/api/handoff?host=$_->[0]&nonce=" . 'a' x 64, @session)->{status}, 404, "host \"$_->[0]\" is none of ours");
}
for my $path ('//evil.example/', '/%5cevil.example', 'https://evil.example/', '/a%0d%0aSet-Cookie:x=1') {
    (my $escaped = $path) =~ s/([^A-Za-z0-9.])/sprintf '%%%02X', ord $1/ge if $path !~ /%/;
    is($g->browse($d, "/api/handoff?host=$host&nonce=" . 'a' x 64 . '&path=' . ($escaped // $path), @session)->{status}, 400, "path \"$path\" is refused");
}
$g->put_code('far', host => $host, nonce => sha256_hex('n'), path => '//evil.example/', user => $g->{owner}, ws => $id);
is($g->browse($host, '/_gitpod/handoff?code=far', Cookie => 'gp_nonce=n')->{status}, 401, 'even if auth said so');

# scripts never see any of it
my @script = (
    ['a fetch', Accept => 'text/html', 'Sec-Fetch-Mode' => 'cors'],
    ['no HTML wanted', Accept => 'application/json'],
    ['nothing said'],
    ['an upgrade', Accept => 'text/html', Connection => 'Upgrade', Upgrade => 'websocket'],
);
for (@script) {
    my ($name, @headers) = @$_;
    is($g->get($host, '/', @headers)->{status}, 401, "$name: 401, no redirect");
}
is($g->post($host, '/', 'x', Accept => 'text/html')->{status}, 401, 'a POST: 401, no redirect');
my $sibling = $g->origin("3000-$host");
$r = $g->get("3001-$host", '/', Origin => $sibling);
is($r->{status}, 401, 'a page of one port asks another port');
is($r->{headers}{'access-control-allow-origin'}, $sibling, 'and may read why');
is($r->{headers}{'access-control-allow-credentials'}, 'true', 'with credentials');
is($g->get("3001-$host", '/', Origin => 'http://evil.example')->{headers}{'access-control-allow-origin'}, '*', 'a stranger is not named');
is($g->get("3001-$host", '/', Origin => 'http://evil.example')->{headers}{'access-control-allow-credentials'}, undef, 'nor given credentials');

# an application that asks for its own log-in: a token cannot get a code
$g->put_token('gitpod_pat_a.b');
is($g->browse($d, $over, Authorization => 'Bearer gitpod_pat_a.b')->{status}, 404, 'a personal access token gets no code');

my @uris = map { $_->{uri} } $g->access_log;
ok((grep { $_ eq '/_gitpod/handoff?code=***' } @uris), 'codes are masked in the log');
ok(!(grep { /code=c/ } @uris), 'all of them');

# nginx' own messages hold the request line
$g->stop_service('auth');
is($g->browse($host, '/_gitpod/handoff?code=secret-code', Cookie => 'gp_nonce=n')->{status}, 503, 'with auth away: try again');
is($g->browse($d, '/api/login/link?return=/x&token=secret-link')->{status}, 502, 'nor can a link be used');
like($g->error_log, qr{request: "GET /api/login/link\?return=/x&token=\*\*\* HTTP/1.1"}, 'the error log names the request');
unlike($g->error_log, qr/secret-/, 'and no code or token, which may be good still');

# the address that leads to a port: whose it is ws_manager finds out
for my $path ("/api/ports/$id/3000/", "/api/ports/$id/3000") {
    my $r = $g->browse($d, $path, @session, 'Gitpod-Port' => 1, 'Gitpod-Workspace' => 'x');
    is(join(' ', $r->{json}{service} // "status $r->{status}", map { $r->{json}{params}{"GITPOD_$_"} // '-' } qw(PATH WORKSPACE PORT USER CREDENTIAL)), "ws_manager /api/ports $id 3000 $g->{owner} session", "$path goes to ws_manager");
}
is($g->browse($d, "/api/ports/$id/3000/")->{headers}{location}, "$g->{external}/login?return=%2Fapi%2Fports%2F$id%2F3000%2F", 'who is not signed in logs in first');
is($g->get($d, "/api/ports/$id/3000/")->{status}, 401, 'a program is told');
is($g->post($d, "/api/ports/$id/3000/", 'x', @session, Origin => 'http://evil.test')->{status}, 403, 'nobody posts to it from elsewhere');
is($g->browse($d, $_, @session)->{status}, 404, "$_ is none") for '/api/ports/', "/api/ports/$id/", "/api/ports/$id/300000/", "/api/ports/$id/3000/x", "/api/ports/$id/x/", '/api/ports/A/3000/', '/api/ports/' . 'a' x 65 . '/3000/', "/api/ports/$id%2f3000/x";

$g->finish;
