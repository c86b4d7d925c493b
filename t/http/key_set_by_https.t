# An issuer's keys by https: its name is nginx's resolver's, its certificate must be good for it.
use strict;
use warnings;
use IO::Socket::INET;
use Test::More;
use GitpodGateway;
use TestCa;

my $port = GitpodGateway::free_port();
my $dns = IO::Socket::INET->new(Proto => 'udp', LocalAddr => '127.0.0.1', LocalPort => 0) or die "DNS: $!";
my ($certificate, $trusted);
my $g = GitpodGateway->new(
    start => 0,
    edit => sub {
        my ($name, $text) = @_;
        if ($name eq 'nginx_feed.conf') {
            $text =~ s/^gitpod_key_set_url [^;]*;\n//m;
            $text .= 'resolver 127.0.0.1:' . $dns->sockport . " ipv6=off valid=1s;\ngitpod_key_set_url https://issuer.test:$port/keys interval=1s trusted_certificate=$trusted->{cert};\n"
                . "server { listen 127.0.0.1:$port ssl; server_name issuer.test; ssl_certificate $certificate->{cert}; ssl_certificate_key $certificate->{key}; location = /keys { alias $trusted->{dir}/keys; } }\n"
                if $certificate;
        }
        return $text;
    });
my ($ca, $stranger) = map { mkdir "$g->{dir}/$_"; TestCa->new("$g->{dir}/$_") } qw(one two);
my $key = $g->new_key('key-a');
GitpodGateway::spew("$_->{dir}/keys", $GitpodGateway::JSON->encode({ keys => [$key->{jwk}] })) for $ca, $stranger;

# the same address for any name but one
$g->child('dns.log', sub {
    while (my $from = $dns->recv(my $query, 512)) {
        my ($id, $question) = (substr($query, 0, 2), substr $query, 12);
        my $none = $question =~ /nowhere/;
        $dns->send($id . pack('n5', 0x8180 | ($none ? 3 : 0), 1, $none ? 0 : 1, 0, 0) . $question . ($none ? '' : pack('n3Nn', 0xc00c, 1, 1, 1, 4) . "\x7f\0\0\1"), 0, $from);
    }
});
my $token = $g->jwt($g->session_claims, key => $key);
sub ask { return $g->post($g->{domain}, '/public-api/gitpod.v1.WorkspaceService/ListWorkspaces', '{}', Cookie => "gp_session=$token", Origin => $g->origin($g->{domain}))->{status} }

($certificate, $trusted) = ($ca->issue('other.test'), $ca);
$g->write_conf;
$g->start;
GitpodGateway::wait_for('the first fetch', sub { $g->error_log =~ /cannot be fetched: its certificate is for another name/ });
is(ask(), 503, 'a certificate for another name: its keys are not taken');

($certificate, $trusted) = ($ca->issue('issuer.test'), $stranger);
$g->reload;
ok(GitpodGateway::wait_for('a stranger', sub { $g->metric('gitpod_key_fetches_total{outcome="failed"}') >= 2 }), 'nor those of one that a stranger signed');
is(ask(), 503, 'for they are not known');

$trusted = $ca;
$g->reload;
ok(GitpodGateway::wait_for('the keys', sub { ask() == 200 }), 'with a good one they are');
like($g->error_log, qr/the key set of "https:[^"]*" is there again/, 'and the log says so');
$g->finish;
