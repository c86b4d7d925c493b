#!/usr/bin/perl
# testssl.sh against the gateway with TLS: nothing above LOW among protocols and ciphers.
# (Some 10 s of CPU; server defaults are in t/http/tls_is_on_by_three_lines.t.)
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use GitpodGateway;
use Test::More;

my $g = GitpodGateway->new(tls => 1);
my $json = "$g->{dir}/testssl.json";
# (NO_ENGINE: that this machine's openssl lacks Russian ciphers is no finding about the gateway, and is told at times only.)
my $rc = system("NO_ENGINE=true timeout 200 testssl --quiet --color 0 --warnings off --nodns none --ip 127.0.0.1 --add-ca $g->{ca}{cert} --jsonfile $json"
    . " --protocols --std $g->{domain}:$g->{port} > $g->{dir}/testssl.out 2>&1");
is($rc >> 8, 0, 'testssl ran to its end') or diag(GitpodGateway::slurp("$g->{dir}/testssl.out"));
my @found = @{ $GitpodGateway::JSON->decode(GitpodGateway::slurp($json)) };
my %by = map { $_->{id} => $_ } @found;
for my $id (qw(SSLv2 SSLv3 TLS1 TLS1_1 cipherlist_NULL cipherlist_aNULL cipherlist_EXPORT cipherlist_LOW cipherlist_3DES_IDEA)) {
    like($by{$id}{finding}, qr/^not offered/, "$id is not offered");
}
like($by{$_}{finding}, qr/^offered/, "$_ is offered") for qw(TLS1_2 TLS1_3 cipherlist_STRONG);
is($by{ALPN_HTTP2}{finding}, 'h2', 'and HTTP/2');
my @bad = grep { $_->{severity} !~ /^(?:OK|INFO|LOW)$/ } @found;
is(join("\n", map { "$_->{severity} $_->{id}: $_->{finding}" } @bad), '', 'nothing above LOW');
cmp_ok(scalar @found, '>=', 15, 'and it looked at many things');
$g->finish;
