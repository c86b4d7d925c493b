package GitpodKeys;

# Keys and tokens of a GitpodGateway, made by openssl.

use strict;
use warnings;

use MIME::Base64 qw(encode_base64url);
use Time::HiRes qw(time);

# A key for ES256, or with a size for RS256.
sub new_key {
    my ($self, $kid, $bits) = @_;
    return $self->new_rsa_key($kid, $bits) if $bits;
    my $file = "$self->{dir}/$kid.pem";
    system("openssl ecparam -name prime256v1 -genkey -noout -out '$file' 2>/dev/null") == 0 or die 'openssl';
    my $der = `openssl ec -in '$file' -pubout -outform DER 2>/dev/null`;
    my $point = substr $der, -64;
    return {
        kid => $kid, file => $file,
        jwk => { kty => 'EC', crv => 'P-256', alg => 'ES256', use => 'sig', kid => $kid,
            x => encode_base64url(substr $point, 0, 32), y => encode_base64url(substr $point, 32) },
    };
}

sub new_rsa_key {
    my ($self, $kid, $bits) = @_;
    my $file = "$self->{dir}/$kid.pem";
    system("openssl genrsa -out '$file' $bits 2>/dev/null") == 0 or die 'openssl';
    my ($modulus) = `openssl rsa -in '$file' -modulus -noout` =~ /^Modulus=([0-9A-F]+)$/m or die 'openssl';
    return {
        kid => $kid, file => $file,
        jwk => { kty => 'RSA', alg => 'RS256', use => 'sig', kid => $kid, e => 'AQAB', n => encode_base64url(pack 'H*', $modulus) },
    };
}

sub write_keys {
    my ($self, @keys) = @_;
    $self->{jwks} = $GitpodGateway::JSON->encode({ keys => [map { $_->{jwk} } @keys] });
    GitpodGateway::spew("$self->{state}/keys/jwks.json", $self->{jwks});
}

sub publish_keys {
    my ($self, @keys) = @_;
    $self->write_keys(@keys);
    $self->redis('SET', 'gitpod:keys', $self->{jwks});
    $self->redis('PUBLISH', 'gitpod:keys:changes', $self->{jwks});
}

# more: options of openssl dgst, for signatures that are not ours.
sub sign {
    my ($self, $key, $text, $more) = @_;
    my $in = "$self->{dir}/sign-$$";
    GitpodGateway::spew($in, $text);
    my $der = `openssl dgst @{[ $more // '-sha256' ]} -sign '$key->{file}' '$in'`;
    unlink $in;
    return $der if $key->{jwk}{kty} eq 'RSA';
    my ($r, $s) = $der =~ /^\x30.\x02(.)/s ? () : die 'signature';
    my $at = 3;
    my @half;
    for (1, 2) {
        my $length = ord substr $der, $at, 1;
        my $number = substr $der, $at + 1, $length;
        $number =~ s/^\0+//;
        push @half, ("\0" x (32 - length $number)) . $number;
        $at += $length + 2;
    }
    return join '', @half;
}

# claims in, token out; option header, key, signature replace what is normal
sub jwt {
    my ($self, $claims, %option) = @_;
    my $key = $option{key} // $self->{key};
    my $header = $option{header} // { alg => $key->{jwk}{alg}, typ => 'JWT', kid => $key->{kid} };
    my $text = join '.', map { encode_base64url($GitpodGateway::JSON->encode($_)) } $header, $claims;
    return $text . '.' . ($option{signature} // encode_base64url($self->sign($key, $text)));
}

sub session_claims {
    my ($self, %claim) = @_;
    my $now = int time;
    return { iss => $self->{domain}, aud => 'gitpod-session', sub => $self->{owner}, sid => 'session-1', iat => $now, exp => $now + 3600, %claim };
}

sub session_token { my ($self, %claim) = @_; return $self->jwt($self->session_claims(%claim)) }

sub workspace_claims {
    my ($self, %claim) = @_;
    my $host = delete $claim{host};
    my $now = int time;
    return { iss => $self->{domain}, aud => $host, sub => $self->{owner}, sid => 'session-1', iat => $now, exp => $now + 3600, %claim };
}

sub workspace_token { my ($self, %claim) = @_; return $self->jwt($self->workspace_claims(%claim)) }

1;
