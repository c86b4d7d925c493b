#!/usr/bin/perl
# The auth plugin over its socket, with a real Redis: links, sessions, tokens, git tokens, keys, hand-off.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use Digest::SHA qw(sha256_hex);
use JSON::PP;
use MIME::Base64 qw(decode_base64url);
use POSIX ();
use PluginRun;
use Test::More;
use Time::HiRes qw(sleep time);

my $t = PluginRun->new;
$t->redis_start;
$t->start('auth');
my $service = 'gitpod.internal.v1.AuthService';
my $state = $t->{state};

sub admin { my ($method, $message) = @_; return $t->rpc('auth', "$service/$method", $message // {}, GITPOD_CALLER => 'admin') }
sub link_token { my ($d) = admin('CreateLoginLink'); return ($d->{url} // '') =~ /token=(\S+)/ ? $1 : undef }
sub claims { my ($token) = @_; return map { decode_json(decode_base64url($_)) } (split /\./, $token)[0, 1] }
sub mode { my ($path) = @_; return sprintf '%04o', (stat $path)[2] & 07777 }
sub slurp { my ($path) = @_; open my $fh, '<', $path or return ''; binmode $fh; local $/; return <$fh> }
sub on_disk { my ($text) = @_; return grep { index(slurp($_), $text) >= 0 } glob "$state/auth/*" }

sub sign_in { # with the session that the browser has, if any
    my @param = @_;
    my $r = $t->http('auth', 'GET', '/api/login/link?token=' . link_token(), @param);
    my ($jwt) = ($r->{header}{'set-cookie'} // '') =~ /^gp_session=([^;]+)/;
    my ($h, $c) = claims($jwt);
    return { jwt => $jwt, sid => $c->{sid}, user => $c->{sub}, claims => $c, head => $h, set_cookie => $r->{header}{'set-cookie'},
        param => [ GITPOD_USER => $c->{sub}, GITPOD_CREDENTIAL => 'session', GITPOD_CREDENTIAL_ID => $c->{sid} ] };
}

# ---- what a first start makes ----
is($t->http('auth', 'GET', '/health')->{status}, 200, 'healthy') or diag $t->log('auth');
my $set = slurp("$state/keys/jwks.json");
is(mode("$state/keys/jwks.json"), '0644', 'the key set can be read by all');
is(scalar @{ decode_json($set)->{keys} }, 1, 'it has one key');
unlike($set, qr/"d"/, 'and no private half');
is(mode("$state/auth/$_"), '0600', "$_ is nobody else's") for qw(vault.key pat.key);
ok($t->wait_for(5, sub { $t->redis('GET', 'gitpod:keys') eq $set }), 'Redis has the same set');
my ($me, $status) = admin('GetUser');
is($me->{user}{name}, 'admin', 'the administrator is there');
ok($me->{user}{administrator}, 'and is one');
like($me->{user}{id}, qr/^[0-9a-f-]{36}$/, 'with a UUID');

# ---- one-time links ----
my ($link) = admin('CreateLoginLink');
like($link->{url}, qr{^http://gp\.test:8080/api/login/link\?token=[\w-]{43}$}, 'a link on the main domain');
my ($token) = $link->{url} =~ /token=(.*)/;
is_deeply([ on_disk($token) ], [], 'the link is not stored in clear');
is($t->http('auth', 'HEAD', "/api/login/link?token=$token")->{header}{'set-cookie'}, undef, 'HEAD signs nobody in');
is($t->http('auth', 'GET', "/api/login/link?token=$token", HTTP_SEC_PURPOSE => 'prefetch')->{header}{'set-cookie'}, undef, 'a prefetch signs nobody in');
my $r = $t->http('auth', 'GET', "/api/login/link?token=$token");
is("$r->{status} $r->{header}{location}", '303 /workspaces', 'the link signs in, HEAD and prefetch did not spend it');
like($r->{header}{'set-cookie'}, qr/^gp_session=[^;]+; Path=\/; Max-Age=604800; HttpOnly; SameSite=Lax$/, 'the cookie is as agreed');
is($r->{header}{'cache-control'}, 'no-store', 'nothing keeps the answer');
$r = $t->http('auth', 'GET', "/api/login/link?token=$token");
is("$r->{status} $r->{header}{location}", '303 /login?error=link', 'a spent link says so');
is($r->{header}{'set-cookie'}, undef, 'and sets no cookie');
is($t->http('auth', 'GET', '/api/login/link?token=' . $_)->{header}{location}, '/login?error=link', "'$_' is no link") for '', 'x', 'x' x 43, '%00' x 43;
is($t->http('auth', 'GET', '/api/login/link?return=%2Fstart%2F%3Fa%3D1&token=' . link_token())->{header}{location}, '/start/?a=1', 'return is honoured');
is($t->http('auth', 'GET', "/api/login/link?return=$_&token=" . link_token())->{header}{location}, '/workspaces', "return $_ is not")
    for '//evil.example', 'https://evil.example', '/%5Cevil.example', '/a%0d%0aSet-Cookie:x', '';
my $old = link_token();
$t->sql('auth/auth.db', 'UPDATE login_link SET expires = 1 WHERE digest = "' . sha256_hex($old) . '"');
is($t->http('auth', 'GET', "/api/login/link?token=$old")->{header}{location}, '/login?error=link', 'an expired link is refused');

my $shared = link_token();
my @pids;
for my $i (1 .. 8) {
    my $pid = fork // die;
    if (!$pid) {
        my $r = eval { $t->http('auth', 'GET', "/api/login/link?token=$shared") };
        POSIX::_exit($r && $r->{header}{'set-cookie'} ? 7 : 0);
    }
    push @pids, $pid;
}
my $winners = grep { waitpid $_, 0; $? >> 8 == 7 } @pids;
is($winners, 1, 'of eight at once, one wins');

# ---- sessions ----
my $s = sign_in();
is($s->{head}{alg}, 'ES256', 'ES256');
is($s->{head}{kid}, decode_json($set)->{keys}[0]{kid}, 'signed by the key of the set');
is($s->{claims}{iss}, 'gp.test', 'issuer');
is($s->{claims}{aud}, 'gitpod-session', 'audience');
is($s->{claims}{exp} - $s->{claims}{iat}, 7 * 86400, 'seven days');
is($s->{user}, $me->{user}{id}, 'subject');
my $renew = sub { return $t->http('auth', 'POST', '/api/session/renew', @{ $_[0]{param} }) };
$r = $renew->($s);
is(decode_json($r->{body})->{renewed}, JSON::PP::false, 'a young session is not renewed');
is($r->{header}{'set-cookie'}, undef, 'and keeps its cookie');
$t->sql('auth/auth.db', "UPDATE session SET expires = expires - 4 * 86400 WHERE id = '$s->{sid}'");
$r = $renew->($s);
is(decode_json($r->{body})->{renewed}, JSON::PP::true, 'with less than half left it is');
my ($again) = ($r->{header}{'set-cookie'} // '') =~ /^gp_session=([^;]+)/;
is((claims($again))[1]{sid}, $s->{sid}, 'it stays the same session');
is($t->http('auth', 'POST', '/api/session/renew', GITPOD_CREDENTIAL => 'none')->{status}, 401, 'without a session: 401');
is($t->http('auth', 'POST', '/api/session/renew', GITPOD_CREDENTIAL => 'token', GITPOD_CREDENTIAL_ID => $s->{sid})->{status}, 401, 'a token is no session');

my $more = sign_in(@{ $s->{param} });
is($more->{sid}, $s->{sid}, 'another link in the same browser: the session goes on, so that a log-out ends all that it opened');
is($more->{claims}{exp} - $more->{claims}{iat}, 7 * 86400, 'for seven days from now');
my $else = '22222222-2222-4222-8222-222222222222';
$t->sql('auth/auth.db', "INSERT INTO user (id, name, created) VALUES ('$else', 'else', 1)");
my $theirs = sign_in();
$t->sql('auth/auth.db', "UPDATE session SET user_id = '$else' WHERE id = '$theirs->{sid}'");
my $ours = sign_in(GITPOD_USER => $else, GITPOD_CREDENTIAL => 'session', GITPOD_CREDENTIAL_ID => $theirs->{sid});
isnt($ours->{sid}, $theirs->{sid}, 'somebody else was signed in there: a new session');
like($t->redis('HGET', 'gitpod:revocations', "session:$theirs->{sid}"), qr/^\d{10}$/, 'and theirs ends');
my $ended = sign_in(GITPOD_USER => $else, GITPOD_CREDENTIAL => 'session', GITPOD_CREDENTIAL_ID => $theirs->{sid});
ok($ended->{sid}, 'one that has ended does not stand in the way');
$t->sql('auth/auth.db', "DELETE FROM session WHERE user_id = '$else'; DELETE FROM user WHERE id = '$else'");
isnt(sign_in(GITPOD_USER => $s->{user}, GITPOD_CREDENTIAL => 'token', GITPOD_CREDENTIAL_ID => $s->{sid})->{sid}, $s->{sid}, 'a token is no session');

# ---- hand-off ----
my $nonce = 'n' x 43;
my $host = 'acme-app-abcdefgh.ws-gp.test';
my $handoff = sub {
    my ($query, $who) = @_;
    return $t->http('auth', 'GET', "/api/handoff?$query", @{ ($who // $s)->{param} });
};
my $code = sub {
    my $r = $handoff->('host=' . ($_[0] // $host) . '&nonce=' . sha256_hex($nonce) . '&path=%2Fsrc%3Fx%3D1');
    return ($r->{header}{location} // '') =~ /code=(\S+)/ ? $1 : diag("no code: $r->{status} $r->{body}");
};
my $redeem = sub { my ($c, $h, $n) = @_; return $t->http('auth', 'GET', '/_internal/redeem', GITPOD_CODE => $c, GITPOD_HOST => $h // $host, GITPOD_NONCE => $n // $nonce) };
$r = $handoff->("host=$host:8080&nonce=" . sha256_hex($nonce) . '&path=%2F');
like("$r->{status} $r->{header}{location}", qr{^303 http://\Q$host\E:8080/_gitpod/handoff\?code=[\w-]{43}$}, 'to the workspace host, with a code');
my $c = $code->();
is_deeply([ on_disk($c) ], [], 'the code is not stored in clear');
$r = $redeem->($c);
is($r->{status}, 200, 'the code is redeemed');
my (undef, $w) = claims($r->{header}{'gitpod-workspace-token'});
is_deeply([ @$w{qw(iss aud sub sid ws)} ], [ 'gp.test', $host, $s->{user}, $s->{sid}, 'acme-app-abcdefgh' ], 'the token is for that host and session');
is($w->{exp} - $w->{iat}, 86400, 'a day');
is($r->{header}{'gitpod-location'}, '/src?x=1', 'the path comes back');
is($r->{header}{'gitpod-user'}, $s->{user}, 'and the user');
is($redeem->($c)->{status}, 403, 'a code works once');
$c = $code->();
is($redeem->($c, 'other-app-abcdefgh.ws-gp.test')->{status}, 403, 'on its host only');
is($redeem->($c)->{status}, 403, '  and that spent it');
$c = $code->();
is($redeem->($c, undef, 'm' x 43)->{status}, 403, 'with its nonce only');
is($redeem->($c)->{status}, 403, '  and that spent it');
$c = $code->();
$t->sql('auth/auth.db', 'UPDATE handoff_code SET expires = expires - 31');
is($redeem->($c)->{status}, 403, 'for 30 s only');
is($redeem->('x' x 43)->{status}, 403, 'an unknown code');
is($redeem->('')->{status}, 403, 'none at all');
(undef, $w) = claims($redeem->($code->("3000-$host"), "3000-$host")->{header}{'gitpod-workspace-token'});
is("$w->{aud} $w->{ws}", "3000-$host acme-app-abcdefgh", 'a port host has its own audience');
for my $bad ("host=evil.example&nonce=" . sha256_hex('x'), "host=$host.evil.example&nonce=" . sha256_hex('x'), "host=$host&nonce=xyz", "host=$host", '') {
    is($handoff->($bad)->{status}, 400, 'refused: ' . substr($bad, 0, 40));
}
is($handoff->("host=$host&nonce=" . sha256_hex($nonce), { param => [] })->{status}, 401, 'without a session: 401');
$c = ($handoff->("host=$host&path=$_&nonce=" . sha256_hex($nonce))->{header}{location} =~ /code=(.*)/)[0], is($redeem->($c)->{header}{'gitpod-location'}, '/', "path $_ becomes /")
    for '//evil.example', 'x', '/%0d%0ax', '/%5Cx';

# ---- log-out and revocation ----
$c = $code->();
$r = $t->http('auth', 'POST', '/api/logout', @{ $s->{param} });
is($r->{status}, 204, 'log-out');
like($r->{header}{'set-cookie'}, qr/^gp_session=; Path=\/; Max-Age=0;/, 'expires the cookie');
like($t->redis('HGET', 'gitpod:revocations', "session:$s->{sid}"), qr/^\d{10}$/, 'the revocation is in Redis');
ok($t->wait_for(5, sub { slurp("$state/auth/revocations.json") =~ /^\{"kind":"session","id":"\Q$s->{sid}\E","epoch":\d{10}\}$/m }), 'and in the snapshot');
is(mode("$state/auth/revocations.json"), '0600', 'which only auth and root can read');
like(slurp("$state/auth/revocations.json"), qr/^\{"snapshot":"revocations","written":\d{10},"records": *2\}\n/, 'and which says when it was written, and how much it has');
is($redeem->($c)->{status}, 403, 'a code of that session is worth nothing now');
is($renew->($s)->{status}, 401, 'nor is the session renewed');
is($t->http('auth', 'POST', '/api/logout', @{ $s->{param} })->{status}, 204, 'twice is no fault');
$s = sign_in();

# ---- access tokens ----
my ($made) = admin('CreateToken', { name => 'ci' });
like($made->{value}, qr/^gitpod_pat_[\w-]{43}\.[0-9A-Za-z]{40}$/, 'a token of the agreed form');
is_deeply($made->{token}{scopes}, [ 'function:*', 'resource:default' ], 'with full access unless asked otherwise');
my ($value) = $made->{value} =~ /\.(.*)/;
is_deeply([ on_disk($value) ], [], 'its value is not stored');
my $introspect = sub { return $t->http('auth', 'GET', '/_internal/introspect', GITPOD_TOKEN => $_[0]) };
$r = $introspect->($made->{value});
is_deeply([ $r->{status}, @{ $r->{header} }{qw(gitpod-user gitpod-token-id gitpod-scopes)} ], [ 200, $me->{user}{id}, $made->{token}{id}, 'function:* resource:default' ], 'introspection');
my $altered = $made->{value};
substr($altered, -1) = substr($altered, -1) eq 'a' ? 'b' : 'a';
is($introspect->($_)->{status}, 401, 'refused: ' . substr $_, 0, 20) for $altered, '', 'gitpod_pat_x', 'ghp_x', 'gitpod_pat_' . 'a' x 43 . '.' . 'b' x 40, 'x' x 5000;
my ($list) = admin('ListTokens');
is(scalar @{ $list->{tokens} }, 1, 'it is listed');
unlike(encode_json($list), qr/\Q$value\E/, 'without its value');
is((admin('CreateToken', { name => '' }))[1], 400, 'a token needs a name');
is((admin('CreateToken', { name => 'x', expiryTime => '2001-01-01T00:00:00Z' }))[1], 400, 'and a future');
my ($brief) = admin('CreateToken', { name => 'brief', expiryTime => '2100-01-01T00:00:00Z', scopes => ['a:b'] });
is($introspect->($brief->{value})->{header}{'gitpod-scopes'}, 'a:b', 'scopes as given');
$t->sql('auth/auth.db', "UPDATE token SET expires = 2 WHERE id = '$brief->{token}{id}'");
is($introspect->($brief->{value})->{status}, 401, 'an expired token is refused');
is((admin('RevokeToken', { tokenId => $made->{token}{id} }))[1], 200, 'revoke');
is($introspect->($made->{value})->{status}, 401, 'a revoked token is refused');
like($t->redis('HGET', 'gitpod:revocations', "token:$made->{token}{id}"), qr/^\d{10}$/, 'and Redis knows');
is((admin('RevokeToken', { tokenId => $made->{token}{id} }))[1], 404, 'there is nothing left to revoke');
is(($t->rpc('auth', "$service/CreateToken", { name => 'x' }, GITPOD_CALLER => 'public_api'))[1], 400, 'only an administrator\'s call may leave out the user');

# ---- who is an administrator ----
my $administrator = sub { my ($id, $scopes) = @_; return $t->http('auth', 'GET', '/_internal/administrator', GITPOD_USER => $id, GITPOD_SCOPES => $scopes)->{status} };
is($administrator->($me->{user}{id}, '*'), 204, 'the administrator with a session is one');
is($administrator->($me->{user}{id}, 'resource:default function:*'), 204, 'and with a token that may call everything');
is($administrator->($me->{user}{id}, $_), 403, "not with the scopes '$_'") for '', 'function:getWorkspace', 'function:*x', 'xfunction:*', 'resource:*';
is($administrator->($_, '*'), 403, "nor is '$_'") for '', '99999999-9999-4999-8999-999999999999';
$t->sql('auth/auth.db', 'UPDATE user SET blocked = 1');
is($administrator->($me->{user}{id}, '*'), 403, 'nor one who is blocked');
$t->sql('auth/auth.db', 'UPDATE user SET blocked = 0, administrator = 0');
is($administrator->($me->{user}{id}, '*'), 403, 'nor one any more');
$t->sql('auth/auth.db', 'UPDATE user SET administrator = 1');

# ---- git tokens ----
my $user = $me->{user}{id};
my $git = sub { my ($method, %m) = @_; return $t->rpc('auth', "$service/$method", { userId => $user, %m }, GITPOD_CALLER => 'public_api') };
my ($gt, $st) = $git->('SetGitToken', host => 'Git.Example.com:8443', value => 's3cret-token');
is("$st $gt->{token}{host} $gt->{token}{username}", '200 git.example.com:8443 oauth2', 'a git token is stored, its host in small letters');
is_deeply([ on_disk('s3cret-token') ], [], 'sealed');
is(($git->('GetGitToken', host => 'git.example.com:8443'))[0]{value}, 's3cret-token', 'content gets the clear text');
is(($git->('GetGitToken', host => 'git.example.com'))[1], 404, 'of that host and port only');
unlike(encode_json(($git->('ListGitTokens'))[0]), qr/s3cret/, 'the list does not show it');
$git->('SetGitToken', host => 'b.example.com', username => 'ann', value => 'other');
is(scalar @{ ($git->('ListGitTokens'))[0]{tokens} }, 2, 'one a host');
is(($git->('SetGitToken', host => $_, value => 'x'))[1], 400, "host '" . s/\n/?/r . "' is refused") for '', 'https://github.com', 'a b', 'github.com/x', "a\nb", 'a:99999';
is(($git->('SetGitToken', host => 'a.example.com', value => $_))[1], 400, 'a value that git would misread is refused') for '', "a\nhost=evil", 'x' x 5000;
$t->sql('auth/auth.db', "UPDATE git_token SET sealed = (SELECT sealed FROM git_token WHERE host = 'git.example.com:8443') WHERE host = 'b.example.com'");
my ($err, $code500) = $git->('GetGitToken', host => 'b.example.com');
is($err->{code}, 'data_loss', 'a sealed value moved to another host does not open');
is(($git->('DeleteGitToken', host => 'b.example.com'))[1], 200, 'delete');
is(($git->('DeleteGitToken', host => 'b.example.com'))[1], 404, 'once');

# ---- keys ----
my ($rotated) = admin('RotateKeys');
my $two = decode_json(slurp("$state/keys/jwks.json"));
is(scalar @{ $two->{keys} }, 2, 'rotation: the old key stays in the set');
ok((grep { $_->{kid} eq $rotated->{keyId} } @{ $two->{keys} }), 'with the new one');
ok($t->wait_for(5, sub { $t->redis('GET', 'gitpod:keys') =~ /\Q$rotated->{keyId}\E/ }), 'and Redis knows');
is(sign_in()->{head}{kid}, decode_json($set)->{keys}[0]{kid}, 'the new key does not sign before everybody has it');
unlike(join('', map { slurp($_) } glob "$state/auth/*"), qr/PRIVATE KEY/, 'no private key lies in clear');

# ---- Redis is there and says nothing ----
my ($asked) = admin('CreateToken', { name => 'asked' });
my $leaving = sign_in();
my ($slowest, $answered) = (0, 0);
kill 'STOP', $t->{pid}{redis};
is($t->http('auth', 'POST', '/api/logout', @{ $leaving->{param} })->{status}, 204, 'log-out works with a Redis that hangs');
for (my $until = time + 6; time < $until; sleep 0.1) {
    my $from = time;
    $answered++ if $introspect->($asked->{value})->{status} == 200;
    $slowest = time - $from if time - $from > $slowest;
}
kill 'CONT', $t->{pid}{redis};
cmp_ok($answered, '>', 10, 'and tokens are looked up');
cmp_ok($slowest, '<', 1, 'meanwhile nobody waits for the database, which the feed does not hold');

# ---- Redis goes and comes back empty ----
$t->stop('redis', 'KILL');
unlink "$t->{run}/redis/redis.sock";
is($t->http('auth', 'POST', '/api/logout', @{ $s->{param} })->{status}, 204, 'log-out works without Redis');
ok($t->wait_for(5, sub { slurp("$state/auth/revocations.json") =~ /"\Q$s->{sid}\E"/ }), 'and is in the snapshot');
$t->redis_start;
ok($t->wait_for(15, sub { $t->redis('HGET', 'gitpod:revocations', "session:$s->{sid}") =~ /^\d{10}$/ }), 'the revocation arrives later');
ok($t->wait_for(15, sub { $t->redis('GET', 'gitpod:keys') =~ /\Q$rotated->{keyId}\E/ }), 'and so does the key set');
$t->redis('FLUSHALL');
ok($t->wait_for(15, sub { $t->redis('GET', 'gitpod:keys') =~ /\Q$rotated->{keyId}\E/ && $t->redis('HLEN', 'gitpod:revocations') >= 2 }), 'what Redis lost is put back');

# ---- killed and started again ----
my $kept = sign_in();
my $before = slurp("$state/keys/jwks.json");
$t->stop('auth', 'KILL');
$t->start('auth');
is(slurp("$state/keys/jwks.json"), $before, 'the keys are the same after kill -9');
is((admin('GetUser'))[0]{user}{id}, $user, 'so is the administrator');
is($renew->($kept)->{status}, 200, 'and the sessions');
is(($git->('GetGitToken', host => 'git.example.com:8443'))[0]{value}, 's3cret-token', 'and the git tokens');
unlike($t->log('auth'), qr/s3cret|\Q$value\E|\Q$kept->{jwt}\E/, 'no secret is in the log');
is($t->stop('auth'), 0, 'it ends on SIGTERM');

# ---- mode port: a code is for a listener, and the gateway says whose it is ----
$t->start('auth', '--listener-first', 10000, '--listener-last', 10099);
my $port = sub {
    my ($h, @param) = @_;
    return $t->http('auth', 'GET', "/api/handoff?host=$h&nonce=" . sha256_hex($nonce) . '&path=%2F', @{ $kept->{param} }, @param);
};
my @whose = (GITPOD_WORKSPACE => 'acme-app-abcdefgh');
$r = $port->('ws-gp.test:10005', @whose);
($c) = "$r->{status} $r->{header}{location}" =~ m{^303 http://ws-gp\.test:10005/_gitpod/handoff\?code=([\w-]{43})$} or diag explain $r;
(undef, $w) = claims($redeem->($c, 'ws-gp.test:10005')->{header}{'gitpod-workspace-token'});
is("$w->{aud} $w->{ws}", 'ws-gp.test:10005 acme-app-abcdefgh', 'the token is for the listener, and for that workspace');
($c) = $port->('ws-gp.test:10005', @whose)->{header}{location} =~ /code=(.*)/;
is($redeem->($c, 'ws-gp.test:10006')->{status}, 403, 'a code is good at its listener only');
is($port->($_, @whose)->{status}, 400, "refused: $_")
    for 'ws-gp.test', 'ws-gp.test:', 'ws-gp.test:9999', 'ws-gp.test:10100', 'ws-gp.test:010005', 'ws-gp.test:10005x', 'ws-gp.test:%2B10005', 'evil.example:10005', 'acme-app-abcdefgh.ws-gp.test', 'ws-gp.test:10005@evil.example';
is($port->('ws-gp.test:10005', @$_)->{status}, 500, 'a gateway that does not say whose it is: ' . ($_->[1] // 'nothing')) for [], [ GITPOD_WORKSPACE => '' ], [ GITPOD_WORKSPACE => 'A b' ];
is($t->stop('auth'), 0, 'it ends');

# ---- a key file that others may read ----
chmod 0644, "$state/auth/vault.key";
eval { $t->start('auth') };
like($@, qr/vault\.key.*others may read/, 'a key file that others may read stops the start');

done_testing();
