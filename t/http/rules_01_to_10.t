# The rules a verifier of tokens breaks most often, one subtest each, by the number
# of the list they come from (rules 11 to 35 are beside it). Whatever is wrong, the
# answer is the same.
use strict;
use warnings;
use Digest::SHA qw(hmac_sha256 sha256_hex);
use MIME::Base64 qw(decode_base64url encode_base64url);
use Test::More;
use GitpodGateway;

my $g = GitpodGateway->new;
my $d = $g->{domain};
my $rpc = '/public-api/gitpod.v1.UserService/GetAuthenticatedUser';
my $claims = $g->session_claims;
my $now = int time;

sub call { my ($token) = @_; return $g->post($d, $rpc, '{}', Origin => $g->origin($d), Cookie => "gp_session=$token") }
sub answer { my $r = call(@_); return "$r->{status} $r->{body}" }

# Header and payload as text, for what no JSON writer writes.
sub raw {
    my ($header, $payload, $key) = @_;
    $key //= $g->{key};
    my $text = join '.', map { encode_base64url($_) } $header, $payload;
    return $text . '.' . encode_base64url($g->sign($key, $text));
}
my $header = '{"alg":"ES256","typ":"JWT","kid":"key-1"}';
my $payload = $GitpodGateway::JSON->encode($claims);

GitpodGateway::wait_for('the key set', sub { call($g->session_token)->{status} == 200 });
my $refusal = answer($g->session_token(aud => 'elsewhere'));
like($refusal, qr/^401 .*unauthenticated/, 'a token that is not good: 401');
is(call(raw($header, $payload))->{status}, 200, 'one made by hand is good');

# Each of these is refused in the very words.
sub refused {
    my ($token, $what) = @_;
    is(answer($token), $refusal, "$what: refused");
}

subtest 'rule 1: the key says which algorithm it is for' => sub {
    my $x = $g->{key}{jwk}{x};
    my $pem = `openssl ec -in '$g->{key}{file}' -pubout 2>/dev/null`;
    for my $secret ($x, decode_base64url($x), $pem, $GitpodGateway::JSON->encode($g->{key}{jwk}), '') {
        my $text = encode_base64url('{"alg":"HS256","typ":"JWT","kid":"key-1"}') . '.' . encode_base64url($payload);
        refused("$text." . encode_base64url(hmac_sha256($text, $secret)), 'HS256 with what is public as its secret');
    }
    refused($g->jwt($claims, header => { alg => $_, kid => 'key-1' }), "$_ on an EC key") for qw(RS256 PS256 ES384 ES512 ES256K EdDSA);

    # sets in which somebody else's key, or our own, is named for something else
    my $stranger = $g->new_key('key-1x');
    for my $bad ({ kty => 'oct', kid => 'key-2', k => encode_base64url('s' x 32), alg => 'HS256' }, { %{ $stranger->{jwk} }, kid => 'key-2', alg => 'RS256' },
        { %{ $stranger->{jwk} }, kid => 'key-2', use => 'enc' }, { %{ $stranger->{jwk} }, kid => 'key-2', crv => 'P-384' }) {
        $g->publish_keys($g->{key}, { jwk => $bad });
        my $text = encode_base64url('{"alg":"HS256","kid":"key-2"}') . '.' . encode_base64url($payload);
        refused("$text." . encode_base64url(hmac_sha256($text, 's' x 32)), 'a shared secret out of a key set');
        refused($g->jwt($claims, key => { %$stranger, kid => 'key-2' }), 'a key that is not for signatures of ours');
    }
    $g->publish_keys($g->{key});
};

subtest 'rule 2: no algorithm is no signature' => sub {
    for my $alg ('none', 'None', 'NONE', 'nOnE', '', ' ', 'none ', "none\0", undef, [], ['ES256'], ['none'], {}, 0, 'es256', 'ES256 ') {
        my $name = $GitpodGateway::JSON->encode([$alg]);
        refused($g->jwt($claims, header => { alg => $alg, typ => 'JWT', kid => 'key-1' }, signature => ''), "alg $name, unsigned");
        refused($g->jwt($claims, header => { alg => $alg, typ => 'JWT', kid => 'key-1' }), "alg $name, signed well");
    }
    refused($g->jwt($claims, header => { typ => 'JWT', kid => 'key-1' }), 'no alg');
    refused(raw('{"alg":"none","alg":"ES256","kid":"key-1"}', $payload), 'two of them');
    is(call($g->session_token)->{status}, 200, 'and none of that changed what is checked');
};

subtest 'rule 3: a key id is compared, and nothing else' => sub {
    for my $kid ('../../../../dev/null', '/dev/null', "key-1' OR '1'='1", "key-1\0", "\0", 'key-1;', 'k' x 129, 'k' x 3000, "\x{1b}[31m", "a\nb", '', ['key-1'], 1, {}) {
        refused($g->jwt($claims, header => { alg => 'ES256', kid => $kid }), 'kid ' . substr $GitpodGateway::JSON->encode([$kid]), 0, 40);
    }
    my $other = $g->new_key('key-3');
    $g->publish_keys($g->{key}, $other);
    my $next = $g->jwt($claims, key => $other);
    GitpodGateway::wait_for('the second key', sub { call($next)->{status} == 200 });
    refused($g->jwt($claims, header => { alg => 'ES256' }), 'none, while there are two keys');
    refused($g->jwt($claims, key => $other, header => { alg => 'ES256', kid => 'key-1' }), 'one key named, another used');
    unlike($g->error_log, qr/OR '1'|\x{1b}\[31m/, 'no log repeats it');
    $g->publish_keys($g->{key});
};

subtest 'rule 4: a token brings no key' => sub {
    my $mine = $g->new_key('key-4');
    refused($g->jwt($claims, key => $mine, header => { alg => 'ES256', %$_ }), join ' and ', sort keys %$_) for
        { jwk => $mine->{jwk} }, { jwk => $mine->{jwk}, kid => 'key-1' }, { jku => "http://127.0.0.1:$g->{port}/keys", kid => 'key-4' },
        { x5u => "http://127.0.0.1:$g->{port}/cert", kid => 'key-4' }, { x5c => ['AAAA'], kid => 'key-1' }, { x5t => 'AAAA', kid => 'key-1' };
    refused($g->jwt($claims, header => { alg => 'ES256', kid => 'key-1', crit => $_ }), 'crit') for ['exp'], ['b64'], [], 'exp';
    refused($g->jwt($claims, header => { alg => 'ES256', kid => 'key-1', typ => $_ }), "typ $_") for 'at+jwt', 'JOSE', 'dpop+jwt';
};

subtest 'rule 5: a signature has one shape' => sub {
    my $good = $g->session_token;
    my ($head, $body, $sig) = split /\./, $good;
    my $bytes = decode_base64url($sig);
    my $der = do {
        my ($r, $s) = map { my $n = $_ =~ s/^\0+//r; ord($n) > 127 ? "\0$n" : $n } substr($bytes, 0, 32), substr($bytes, 32);
        my $seq = "\x02" . chr(length $r) . $r . "\x02" . chr(length $s) . $s;
        "\x30" . chr(length $seq) . $seq;
    };
    my %shape = (
        'DER' => $der, 'a byte less' => substr($bytes, 0, 63), 'a byte more' => "$bytes\0", 'twice' => $bytes x 2, 'zero' => "\0" x 64, 'r = 0' => ("\0" x 32) . substr($bytes, 32),
        's = 0' => substr($bytes, 0, 32) . "\0" x 32, 'all ones' => "\xff" x 64, 'r and s swapped' => substr($bytes, 32) . substr($bytes, 0, 32), '21,000 bytes' => 's' x 2500,
    );
    refused("$head.$body." . encode_base64url($shape{$_}), $_) for sort keys %shape;
    refused($_->[1], $_->[0]) for
        ['padding', "$good="], ['two of it', "$good=="], ['bits that are left over', $head . '.' . $body . '.' . substr($sig, 0, -1) . chr(ord(substr $sig, -1) ^ 1)],
        ['a space inside', "$head.$body. $sig"], ['the other alphabet', "$head.$body." . (substr($sig, 0, 80) . '++++++')], ['no signature', "$head.$body."], ['one dot', "$head.$body"],
        ['three dots', "$good."], ['four parts', "$good.$sig"], ['five, as if encrypted', "$good.$sig.$sig"], ['nothing but dots', '..'],
        ['JSON', encode_base64url($GitpodGateway::JSON->encode({ payload => $body, protected => $head, signature => $sig }))],
        ['a header that is too long', raw('{"alg":"ES256","kid":"key-1","x":"' . ('x' x 1500) . '"}', $payload)],
        ['a token that is too long', raw($header, $payload =~ s/^\{/'{"x":"' . ('x' x 3500) . '",'/er)];
};

subtest 'rule 6: claims are all there, and of their type' => sub {
    my %wrong = (
        exp => [undef, '', "$now", 1.5e9 + 0.5, -1, 0, $now - 60, [], {}, \1], iat => [undef, "$now", $now + 3600, -1, []], nbf => [$now + 3600, "$now", []],
        iss => [undef, '', 'evil.test', "$d.evil.test", uc $d, [$d], 7], aud => [undef, '', 'gitpod-sessions', 'gitpod', $g->host('abc'), [], ['x', 'gitpod-session'], ['gitpod-session', 'x'], 7],
        sub => [undef, '', 7, [], 'x' x 65], sid => [undef, '', 7, [], 'x' x 65], ws => ['abc', 7],
    );
    for my $claim (sort keys %wrong) {
        for my $value (@{ $wrong{$claim} }) {
            my %all = (%$claims, $claim => $value);
            refused($g->jwt(\%all), "$claim " . substr $GitpodGateway::JSON->encode([$value]), 0, 40);
            next if defined $value;
            delete $all{$claim};
            refused($g->jwt(\%all), "no $claim");
        }
    }
    my $exp = $claims->{exp};
    refused(raw($header, $payload =~ s/"exp":$exp/"exp":$_/r), "exp $_") for "$exp.0", "${exp}e0", '1e300', '9' x 30, '18446744073709551616', '9223372036854775808', '0x7fffffff', 'true', 'null';
    refused(raw($header, $payload =~ s/^\{/{"sub":"$g->{other}",/r), 'two subjects');
    refused(raw($header, $payload =~ s/^\{/{"exp":1,/r), 'two ends');
    refused(raw($header, "$payload x"), 'something behind it');
    refused(raw($header, ('{"a":' x 500) . '1' . ('}' x 500)), 'depth');
    is(call($g->session_token(nbf => $now, aud => ['gitpod-session']))->{status}, 200, 'an audience may be a list of one, and nbf be there');
};

subtest 'rule 7: a secret is compared as a digest, in constant time' => sub {
    my $id = 'amber-fox-k3j9x2m1';
    my $host = $g->workspace($id, listen => [23000]);
    my $token = $g->owner_token($id);
    my $right = $g->get($host, '/', 'X-Gitpod-Owner-Token' => $token);
    is($right->{status}, 200, 'the owner token');
    my %wrong = map { $_ => $g->get($host, '/', 'X-Gitpod-Owner-Token' => $_) } substr($token, 0, -1), "${token}x", uc $token, 'x' . substr($token, 1), substr($token, 0, -1) . 'x', 'x', sha256_hex($token);
    my ($first, @more) = map { "$_->{status} $_->{body}" } values %wrong;
    is($_, $first, 'however much of it is right, the answer is one') for @more;
    like($first, qr/^401/, 'and no');
    my $record = `redis-cli -s $g->{redis_socket} hget gitpod:routes $id`;
    like($record, qr/"owner_token_sha256":"[0-9a-f]{64}"/, 'a route has its digest');
    unlike($record, qr/\Q$token\E/, 'and not the token');

    # A look at the code: who compares a secret does it with gp_equal_constant_time().
    for my $file (glob "$GitpodGateway::TOP/ngx_gitpod_module/*/*.c") {
        my $code = GitpodGateway::slurp($file);
        my @other = grep { /owner_token\.data|ctx->token\.data|ctx->code\.data|->digest\b|cookies\[NGX_HTTP_GITPOD_COOKIE_\w+\]\.data/ } $code =~ /\b(?:ngx_)?(?:mem|str|strn|strcase|strncase)cmp\s*\(([^;{]*)[;{]/g;

        # finding who waits for the same token is no check of it
        @other = grep { !/leader->digest/ } @other;
        is("@other", '', $file =~ s{.*/}{}r . ': no secret is compared otherwise');
    }
};

subtest 'rule 8: what is remembered is the whole token, as long as it is good' => sub {
    my $good = $g->session_token(sid => 'session-8');
    is(call($good)->{status}, 200, 'a token that is remembered from now on');
    my ($head, $body, $sig) = split /\./, $good;
    my $mine = encode_base64url($GitpodGateway::JSON->encode({ %{ $g->session_claims(sid => 'session-8') }, sub => $g->{other} }));
    refused("$head.$mine.$sig", 'its signature under other claims');
    refused(encode_base64url('{"alg":"ES256","kid":"key-1","typ":"JWT" }') . ".$body.$sig", 'its signature under another header');
    refused(substr($good, 0, 100) . 'A' . substr($good, 101), 'another byte in the middle') if substr($good, 100, 1) ne 'A';
    refused($good . substr($sig, -32), 'its end once more');
    my $host = $g->host('amber-fox-k3j9x2m1');
    is($g->get($host, '/', Cookie => "gp_workspace=$good")->{status}, 401, 'a session is no workspace token, though it is remembered');
    my $workspace = $g->workspace_token(host => $host, ws => 'amber-fox-k3j9x2m1');
    is($g->get($host, '/', Cookie => "gp_workspace=$workspace")->{status}, 200, 'a workspace token');
    refused($workspace, 'is no session');
    is($g->get("3000-$host", '/', Cookie => "gp_workspace=$workspace")->{status}, 401, 'nor good for another host');

    my $short = $g->session_token(sid => 'session-8s', exp => int(time) - 3);
    is(call($short)->{status}, 200, 'one that has just ended, within the leeway');
    ok(GitpodGateway::wait_for('its end', sub { answer($short) eq $refusal }), 'is not good a little later, though it is remembered');
    $g->revoke(session => 'session-8');
    ok(GitpodGateway::wait_for('the revocation', sub { answer($good) eq $refusal }), 'nor is one that was revoked');

    my $old = $g->session_token(sid => 'session-8k');
    is(call($old)->{status}, 200, 'one of a key that goes away');
    my $next = $g->new_key('key-8');
    $g->publish_keys($next);
    ok(GitpodGateway::wait_for('the key to go', sub { answer($old) eq $refusal }), 'goes with it');
    $g->publish_keys($g->{key});
    ok(GitpodGateway::wait_for('the key again', sub { call($old)->{status} == 200 }), 'and comes with it');
};

subtest 'rule 9: nobody burns the processor with keys or tokens' => sub {
    my $keys = sub { my ($n) = $g->metrics =~ /^gitpod_keys (\d+)/m; return $n };
    my $big = { kty => 'RSA', kid => 'big', alg => 'RS256', e => 'AQAB', n => encode_base64url("\xff" x 2048) };
    my $exponent = { kty => 'RSA', kid => 'exponent', alg => 'RS256', e => encode_base64url("\xff" x 200), n => encode_base64url("\xff" x 256) };
    my $p384 = { kty => 'EC', crv => 'P-384', kid => 'p384', alg => 'ES384', x => encode_base64url("\x01" x 48), y => encode_base64url("\x01" x 48) };
    my $next = $g->new_key('key-9');
    $g->publish_keys($g->{key}, $next, map { { jwk => $_ } } $big, $exponent, $p384);
    my $new = $g->jwt($claims, key => $next);
    GitpodGateway::wait_for('the set', sub { call($new)->{status} == 200 });
    is(GitpodGateway::wait_for('the other way to it', sub { $keys->() == 2 && 2 }), 2, 'of a set with RSA of 16,384 bits, a huge exponent and P-384 two keys are taken');
    $g->publish_keys(map { { jwk => { %{ $g->{key}{jwk} }, kid => "many-$_" } } } 1 .. 17);
    $g->publish_keys($g->{key});
    GitpodGateway::wait_for('the set', sub { $keys->() == 1 });
    like($g->error_log, qr/key set of \d+ bytes was not taken/, 'a set of 17 keys is none');
    is(call($g->session_token)->{status}, 200, 'and the last good one stays');

    # the budget for failures: t/http/limit_failed_credentials_have_a_budget.t; here, that it is in use
    my $conf = join '', map { GitpodGateway::slurp($_) } glob "$GitpodGateway::TOP/conf/nginx/*.in";
    my ($budget) = $conf =~ /gitpod_limit (\w+) key=address count=failures/;
    my @used = $conf =~ /gitpod_limit_use [^;]*\b$budget\b/g;
    cmp_ok(scalar @used, '>=', 2, "the shipped configuration has a budget for failed credentials ($budget), on both domains");
};

subtest 'rule 10: identity comes from the gateway alone' => sub {
    my @names = ('Gitpod-User', 'gitpod-user', 'Gitpod_User', 'X-Gitpod-User', 'x_gitpod_user', 'X_Gitpod-User', 'GITPOD_USER', 'Gitpod-Credential', 'Gitpod-Scopes', 'Gitpod-Caller', 'X-Forwarded-User');
    my @forged = map { ($_ => 'forged', $_ => 'forged-too') } @names;
    my $r = $g->post($d, $rpc, '{}', @forged, Origin => $g->origin($d), Cookie => 'gp_session=' . $g->session_token);
    my %params = %{ $r->{json}{params} };
    is($params{GITPOD_USER}, $g->{owner}, 'a plugin is told the user of the session');
    is(join(' ', grep { $params{$_} =~ /forged/ } sort keys %params), '', 'and nothing that a client made up');

    # in a trailer
    my $s = $g->send($d, 'POST', $rpc, [Origin => $g->origin($d), Cookie => 'gp_session=' . $g->session_token, 'Transfer-Encoding' => 'chunked', Trailer => 'Gitpod-User']);
    print $s "2\r\n{}\r\n0\r\nGitpod-User: forged\r\n\r\n";
    $r = $g->response($s, 'POST');
    unlike($r->{body}, qr/forged/, 'not in a trailer either');

    # the configuration that this rests on
    for my $bad ('underscores_in_headers on', 'ignore_invalid_headers off') {
        my ($name) = split / /, $bad;
        my $conf = GitpodGateway::slurp("$g->{run}/conf/nginx.conf") =~ s/$name \w+;/$bad;/r;
        GitpodGateway::spew("$g->{run}/conf/bad.conf", $conf);
        my $said = GitpodGateway::check_conf("$g->{run}/conf/bad.conf");
        like($said, qr/"gitpod_domain" needs "underscores_in_headers off" and "ignore_invalid_headers on"/, "$bad: nginx does not start");
    }
};

$g->finish;
