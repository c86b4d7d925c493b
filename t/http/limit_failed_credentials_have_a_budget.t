# Bad credentials have a budget of their own by address: over it none of them
# reaches the auth plugin or costs a signature, and whoever was known before, or
# logs in now, goes on from the same address.
use strict;
use warnings;
use Test::More;
use GitpodGateway;

my $g = GitpodGateway->new(workers => 2, limits => 1, edit => sub {
    my ($name, $text) = @_;
    if ($name eq 'nginx_limits.conf') {
        $text =~ s{gitpod_limit failures key=address count=failures rate=60/60s burst=120;}{gitpod_limit failures key=address count=failures rate=1/30m burst=10;} or die 'the template changed';
    }
    $text =~ s/^http \{$/http {\n    set_real_ip_from 127.0.0.1;\n    real_ip_header Test-Address;/m if $name eq 'nginx.conf';
    return $text;
});
my $d = $g->{domain};
my $rpc = '/public-api/gitpod.v1.UserService/GetAuthenticatedUser';
my $ask = 'auth /_internal/introspect';
my $id = 'amber-fox-k3j9x2m1';
my $host = $g->workspace($id, listen => [22999, 23000, 3000], ports => [{ port => 3000, visibility => 'public', protocol => 'http' }]);

my $nat = '192.0.2.1';
sub call { my (@headers) = @_; return $g->post($d, $rpc, '{}', 'Test-Address' => $nat, Origin => $g->origin($d), @headers)->{status} }
sub session { return (Cookie => "gp_session=$_[0]") }
sub bearer { return (Authorization => "Bearer gitpod_pat_sig.$_[0]") }
sub enter { my (@headers) = @_; return $g->get($host, '/', 'Test-Address' => $nat, @headers)->{status} }
sub workspace_token { my (%claim) = @_; return $g->workspace_token(host => $host, ws => $id, %claim) }

# known from before
my $good = $g->session_token(sid => 'session-good');
GitpodGateway::wait_for('the key set', sub { call(session($good)) == 200 });
my $known = 'k' x 40;
$g->put_token("gitpod_pat_sig.$known");
is(call(bearer($known)), 200, 'a token that is good');
my $cookie = workspace_token();
is(enter(Cookie => "gp_workspace=$cookie"), 200, 'a workspace cookie that is good');

# what costs nothing
my $expired = $g->session_token(sid => 'session-old', iat => int(time) - 9000, exp => int(time) - 60);
is(join(' ', map { call(session($expired)) } 1 .. 15), join(' ', (401) x 15), 'a session that has expired is refused, and costs nothing');
is(join(' ', map { call(session($g->session_token(aud => 'elsewhere', sid => "s$_"))) } 1 .. 3), '401 401 401', 'nor does one that is meant for elsewhere');
is(join(' ', map { call(bearer('again')) } 1 .. 15), join(' ', (401) x 15), 'the same bad token again and again costs one');

# the flood
my $before = $g->calls($ask);
my @got = map { call(bearer("guess-$_")) } 1 .. 30;
is(scalar(grep { $_ == 401 } @got), 9, 'of 30 guesses as many as the budget has are judged');
is(scalar(grep { $_ == 429 } @got), 21, 'the others are told to wait');
is($g->calls($ask), $before + 9, 'and do not reach the auth plugin');
my $forged = $g->session_token =~ s/.{8}$/AAAAAAAA/r;
is(call(session($forged)), 429, 'no signature is verified for them either');
is(enter(Cookie => "gp_workspace=$forged"), 429, 'nor on workspace hosts');
is(enter('X-Gitpod-Owner-Token' => 'o' x 32), 429, 'a wrong owner token is one of them');
my $r = $g->post($d, $rpc, '{}', 'Test-Address' => $nat, bearer('guess-x'));
is($r->{json}{code}, 'resource_exhausted', 'as Connect JSON');
cmp_ok($r->{headers}{'retry-after'}, '>', 1000, 'with the time to wait');
is($g->get($host, '/_gitpod/handoff?code=guess', 'Test-Address' => $nat, Cookie => 'gp_nonce=' . 'n' x 43)->{status}, 429, 'no code is asked about');
is($g->calls('auth /_internal/redeem'), 0, 'not one');

# everybody else behind that address
is(join(' ', map { call(session($good)) } 1 .. 12), join(' ', (200) x 12), 'a session that was good goes on, in every worker');
is(join(' ', map { call(bearer($known)) } 1 .. 4), '200 200 200 200', 'so does a token');
is(join(' ', map { enter(Cookie => "gp_workspace=$cookie") } 1 .. 8), join(' ', (200) x 8), 'and a workspace cookie');
is(enter('X-Gitpod-Owner-Token' => $g->owner_token($id)), 200, 'and an owner token');
is($g->get("3000-$host", '/', 'Test-Address' => $nat, Cookie => 'gp_workspace=rubbish')->{status}, 200, 'a public port asks for none');
is($g->get($host, '/_supervisor/v1/status/ide', 'Test-Address' => $nat, Cookie => 'gp_workspace=rubbish')->{status}, 200, 'nor does the status');
is(call(), 401, 'who has no credential is told so');

# somebody logs in now
$r = $g->browse($d, '/api/login/link?token=good-new', 'Test-Address' => $nat);
my ($new) = ($r->{headers}{'set-cookie'} // '') =~ /^gp_session=([^;]+)/;
is(join(' ', map { call(session($new)) } 1 .. 4), '200 200 200 200', 'a session issued here is good at once');
$g->put_code('code-1', host => $host, nonce => Digest::SHA::sha256_hex('n' x 43), path => '/', user => $g->{owner}, ws => $id);
is(call(session($g->session_token(sid => 'session-elsewhere'))), 429, 'one that nobody here has seen has to wait');

# other addresses are not concerned
$nat = '192.0.2.2';
is(call(session($g->session_token(sid => 'session-c'))), 200, 'an unknown session from another address');
is(call(bearer('guess-y')), 401, 'a guess from there too');
is(enter(Cookie => "gp_workspace=$forged"), 401, 'and a forged cookie');
$r = $g->get($host, '/_gitpod/handoff?code=code-1', 'Test-Address' => $nat, Cookie => 'gp_nonce=' . 'n' x 43);
is($r->{status}, 303, 'a hand-off');
my ($handed) = ($r->{headers}{'set-cookie'} // '') =~ /gp_workspace=([^;]+)/;
$nat = '192.0.2.1';
is(enter(Cookie => "gp_workspace=$handed"), 200, 'whose cookie is known too');

# what is taken away is not known any more
$g->revoke(session => 'session-good');
ok(GitpodGateway::wait_for('the revocation', sub { call(session($good)) == 401 }), 'a revoked session is refused as ever');
$g->drop_token("gitpod_pat_sig.$known");
$g->revoke(token => 'token-1');
ok(GitpodGateway::wait_for('the revocation', sub { call(bearer($known)) == 401 }), 'a revoked token too');
is($g->calls($ask), $before + 9 + 2, 'after one question, for it had been good');

$g->finish;
