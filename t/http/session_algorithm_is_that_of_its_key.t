# Sessions are ES256 or RS256, as the key says that their header names: never what the token says. So a public key is
# nobody's secret, and a key verifies one algorithm only.
use strict;
use warnings;
use Digest::SHA qw(hmac_sha256);
use MIME::Base64 qw(encode_base64 encode_base64url decode_base64url);
use Test::More;
use GitpodGateway;

my $g = GitpodGateway->new;
my $d = $g->{domain};
my $rpc = '/public-api/gitpod.v1.UserService/GetAuthenticatedUser';
my %key = (ec => $g->new_key('ec'), map { $_ => $g->new_key($_, /(\d+)/) } qw(rsa-2048 rsa-4096 other-2048 small-1024));
my @known = @key{qw(ec rsa-2048 rsa-4096 other-2048)};

sub call { my ($token) = @_; return $g->post($d, $rpc, '{}', Origin => $g->origin($d), Cookie => "gp_session=$token") }
sub session { my ($key, %claim) = @_; return $g->jwt($g->session_claims(%claim), key => $key{$key}) }

# A token with that header, signed by the key in another way.
sub forged {
    my ($header, $key, $more) = @_;
    my $text = join '.', map { encode_base64url($GitpodGateway::JSON->encode($_)) } $header, $g->session_claims;
    return $text . '.' . encode_base64url(ref $key eq 'CODE' ? $key->($text) : $g->sign($key, $text, $more));
}
sub public { my ($key, $how) = @_; return scalar `openssl pkey -in '$key->{file}' -pubout $how` }

$g->publish_keys(@known, $key{'small-1024'}, map { { jwk => { %{ $key{'rsa-2048'}{jwk} }, %$_ } } }
    { kid => 'pss', alg => 'PS256' }, { kid => 'rs512', alg => 'RS512' }, { kid => 'for-encryption', use => 'enc' }, { kid => 'no-number', e => undef });
ok(GitpodGateway::wait_for('the set', sub { call(session('ec'))->{status} == 200 }), 'an EC key verifies ES256');

for my $kid (qw(rsa-2048 rsa-4096 other-2048)) {
    my $token = session($kid, sid => "sid-$kid");
    my $r = call($token);
    is($r->{status}, 200, "$kid verifies RS256") or next;
    is($r->{json}{params}{GITPOD_CREDENTIAL_ID}, "sid-$kid", 'and the session is who it says');
    is(call($token)->{status}, 200, 'again, when it is remembered');
    $g->revoke(session => "sid-$kid");
    ok(GitpodGateway::wait_for('the revocation', sub { call($token)->{status} == 401 }), 'until it is revoked');
}
my $host = $g->workspace('amber-fox-k3j9x2m1');
is($g->get($host, '/', Cookie => 'gp_workspace=' . $g->jwt($g->workspace_claims(host => $host, ws => 'amber-fox-k3j9x2m1'), key => $key{'rsa-2048'}))->{status}, 200,
    'so does a workspace token');
is(call($g->jwt($g->session_claims, key => $key{'rsa-2048'}, header => { alg => 'RS256', kid => 'rsa-2048' }))->{status}, 200, 'without a typ too');

my $rsa = $key{'rsa-2048'};
my $head = sub { my ($alg, $kid) = @_; return { alg => $alg, typ => 'JWT', kid => $kid // 'rsa-2048' } };
my @bad = (
    (map { my $alg = $_; ["$alg on an RSA key", forged($head->($alg), $rsa)] } qw(none HS256 ES256 PS256 RS384 RS512 rs256 EdDSA), ''),
    ['none without a signature', $g->jwt($g->session_claims, header => $head->('none'), signature => '')],
    (map {
        my ($what, $secret) = @$_;
        ["HS256 with the public key as secret, $what", forged($head->('HS256'), sub { hmac_sha256($_[0], $secret) })],
        ["and called RS256, $what", forged($head->('RS256'), sub { hmac_sha256($_[0], $secret) })],
    } ['PEM', public($rsa, '')], ['PEM without its last line feed', public($rsa, '') =~ s/\n\z//r], ['DER', public($rsa, '-outform DER')],
        ['modulus', decode_base64url($rsa->{jwk}{n})], ['modulus as text', $rsa->{jwk}{n}], ['JWK', $GitpodGateway::JSON->encode($rsa->{jwk})]),
    ['PS256 called RS256', forged($head->('RS256'), $rsa, '-sha256 -sigopt rsa_padding_mode:pss')],
    ['PS256', forged($head->('PS256'), $rsa, '-sha256 -sigopt rsa_padding_mode:pss')],
    ['PS256 by a key for it', forged($head->('PS256', 'pss'), $rsa, '-sha256 -sigopt rsa_padding_mode:pss')],
    ['SHA-512 called RS256', forged($head->('RS256'), $rsa, '-sha512')],
    ['SHA-1 called RS256', forged($head->('RS256'), $rsa, '-sha1')],
    ['RS512 by a key for it', forged($head->('RS512', 'rs512'), $rsa, '-sha512')],
    ['RS256 by a key for PS256', forged($head->('RS256', 'pss'), $rsa)],
    ['RS256 by a key for encryption', forged($head->('RS256', 'for-encryption'), $rsa)],
    ['RS256 by a key without an exponent', forged($head->('RS256', 'no-number'), $rsa)],
    ['RS256 by a key of 1024 bits', session('small-1024')],
    ['the name of an EC key on an RSA signature', forged($head->('RS256', 'ec'), $rsa)],
    ['called ES256', forged($head->('ES256', 'ec'), $rsa)],
    ['the name of an RSA key on an EC signature', forged($head->('ES256'), $key{ec})],
    ['called RS256', forged($head->('RS256'), $key{ec})],
    ['the name of another RSA key', forged($head->('RS256', 'other-2048'), $rsa)],
    ['no name of a key', forged({ alg => 'RS256' }, $rsa)],
    ['a signature with a zero before it', forged($head->('RS256'), sub { "\0" . $g->sign($rsa, $_[0]) })],
    ['a signature cut by a byte', forged($head->('RS256'), sub { substr $g->sign($rsa, $_[0]), 0, -1 })],
    ['a signature that is the modulus', forged($head->('RS256'), sub { decode_base64url($rsa->{jwk}{n}) })],
    ['a signature of zeros', forged($head->('RS256'), sub { "\0" x 256 })],
    ['a signature that is one', forged($head->('RS256'), sub { "\0" x 255 . "\1" })],
    ['another claim', do { my @t = split /\./, session('rsa-2048'); $t[1] = encode_base64url($GitpodGateway::JSON->encode($g->session_claims(sub => $g->{other}))); join '.', @t }],
    ['a session that has ended', session('rsa-2048', iat => time - 7200, exp => time - 60)],
    ['of another issuer', session('rsa-2048', iss => 'evil.example')],
);
is(call($_->[1])->{status}, 401, "$_->[0]: 401") for @bad;

# What was verified is not good for another key of that name.
my $token = session('rsa-2048', sid => 'kept');
is(call($token)->{status}, 200, 'a token that is remembered');
$g->publish_keys(@key{qw(ec rsa-4096)}, { jwk => { %{ $key{'other-2048'}{jwk} }, kid => 'rsa-2048' } });
ok(GitpodGateway::wait_for('the other key', sub { call($token)->{status} == 401 }), 'is not when its name means another RSA key');
$g->publish_keys($key{'rsa-4096'}, { jwk => { %{ $key{ec}{jwk} }, kid => 'rsa-2048' } });
is(GitpodGateway::wait_for('the set', sub { call(session('ec'))->{status} == 401 }), 1, 'nor when it means an EC key');
is(call($token)->{status}, 401, 'whatever was verified before');
is(call(forged($head->('ES256'), $key{ec}))->{status}, 200, 'which verifies ES256 then');
is(call(session('rsa-4096'))->{status}, 200, 'and the other one RS256');
$g->finish;
