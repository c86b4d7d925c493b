# Mode port behind a load balancer: whatever stands in the header of the PROXY
# protocol, and who wrote it. The words are those of HAProxy's proxy-protocol.txt.
use strict;
use warnings;
use IO::Socket::INET;
use Socket qw(AF_INET6 inet_aton inet_pton);
use Test::More;
use GitpodGateway;

my $g = GitpodGateway->new(listeners => 3, balancer => 1);
my ($d, $w) = @$g{qw(domain workspace_domain)};
my ($edit, $app, $free) = map { $g->{listener} + $_ } 0 .. 2;
my $id = 'amber-fox-k3j9x2m1';
my $address = GitpodGateway::free_address();
$g->workspace($id, address => $address, listen => [23000, 3000]);
$g->route($id, address => $address, listen => $edit, ports => [{ port => 3000, listen => $app, visibility => 'public' }]);
my @owner = ('X-Gitpod-Owner-Token' => $g->owner_token($id));

# A request as it comes from a load balancer, or from whoever reaches the port.
our $path = '/';
sub ask {
    my ($port, $header, $host, $method, $headers, %from) = @_;
    my $s = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $port, %from) or die "connect: $!";
    my @pairs = @{ $headers // [] };
    my @lines = ("$method $path HTTP/1.1", "Host: $host");
    while (my ($name, $value) = splice @pairs, 0, 2) { push @lines, "$name: $value" }
    push @lines, 'Connection: close' if !grep { /^connection:/i } @lines;
    local $SIG{PIPE} = 'IGNORE';
    print $s $header, join("\r\n", @lines), "\r\n\r\n";
    $s->flush;
    return $g->response($s, $method);
}
sub at { my ($header, @more) = @_; return ask($g->{workspace_port}, $header, $w, 'GET', @more) }

sub v1 { my ($to) = @_; return "PROXY TCP4 192.0.2.1 192.0.2.2 40000 $to\r\n" }
sub v2 { my ($command, $family, $addresses) = @_; return "\r\n\r\n\0\r\nQUIT\n" . pack('CCn/a', 0x20 | $command, $family, $addresses) }
sub ipv4 { my ($to) = @_; return inet_aton('192.0.2.1') . inet_aton('192.0.2.2') . pack('nn', 40000, $to) }
sub ipv6 { my ($to) = @_; return inet_pton(AF_INET6, '2001:db8::1') . inet_pton(AF_INET6, '2001:db8::2') . pack('nn', 40000, $to) }
use constant { LOCAL => 0, PROXY => 1, UNSPEC => 0x00, TCP4 => 0x11, UDP4 => 0x12, TCP6 => 0x21, UNIX => 0x31 };

GitpodGateway::wait_for('the route', sub { at(v1($edit), \@owner)->{status} == 200 });

# a port
my %tells = (
    'version 1, IPv4' => \&v1, 'version 1, IPv6' => sub { "PROXY TCP6 2001:db8::1 2001:db8::2 40000 $_[0]\r\n" },
    'version 2, IPv4' => sub { v2(PROXY, TCP4, ipv4(@_)) }, 'version 2, IPv6' => sub { v2(PROXY, TCP6, ipv6(@_)) },
    'version 2, with more after the addresses' => sub { v2(PROXY, TCP4, ipv4(@_) . pack('Cn/a', 0x05, 'unique')) },
);
for my $what (sort keys %tells) {
    my $header = $tells{$what};
    is(at($header->($edit), \@owner)->{json}{name}, "$id:23000", "$what: the editor");
    is(at($header->($app))->{json}{name}, "$id:3000", 'a port of it');
    is(at($header->($_), \@owner)->{status}, 401, "$_ is nobody's") for $free, $g->{port}, $g->{workspace_port}, 65535;
    is(ask($g->{workspace_port}, $header->($edit), $d, 'GET', \@owner)->{status}, 404, 'nothing of the main domain is there');
    is(ask($g->{gateway_port}, $header->($edit), $w, 'GET', \@owner)->{status}, 404, 'and nothing of a workspace where the main domain is');
}

# none: it is no workspace's, and nothing is said of any
my %silent = (
    'UNKNOWN' => "PROXY UNKNOWN\r\n", 'UNKNOWN with addresses' => "PROXY UNKNOWN 192.0.2.1 192.0.2.2 40000 $edit\r\n", 'port 0' => v1(0),
    'LOCAL' => v2(LOCAL, UNSPEC, ''), 'LOCAL with addresses' => v2(LOCAL, TCP4, ipv4($edit)), 'version 2, port 0' => v2(PROXY, TCP4, ipv4(0)),
    'no family' => v2(PROXY, UNSPEC, ipv4($edit)), 'datagrams' => v2(PROXY, UDP4, ipv4($edit)), 'a unix socket' => v2(PROXY, UNIX, "/a\0" x 72),
);
my @requests = (
    ['GET', '/', [@owner]], ['GET', '/', [Accept => 'text/html']], ['POST', '/', [@owner, 'Content-Length' => 0]], ['HEAD', '/', []],
    ['GET', '/', [@owner, Connection => 'Upgrade', Upgrade => 'websocket']], ['GET', '/_gitpod/handoff?code=x', [Accept => 'text/html', Cookie => 'gp_nonce=' . 'a' x 43]],
    ['GET', '/', [Cookie => 'gp_workspace=x; gp_origin=' . $id]], ['GET', '/_supervisor/v1/status/x', [@owner]],
    ['OPTIONS', '/', [Origin => "http://$w:$app", 'Access-Control-Request-Method' => 'PUT']], ['OPTIONS', '/', [Origin => "http://$w", 'Access-Control-Request-Method' => 'PUT']],
);
for my $what (sort keys %silent) {
    for my $request (@requests) {
        my ($method, $to, $headers) = @$request;
        local $path = $to;
        my $r = ask($g->{workspace_port}, $silent{$what}, $w, $method, $headers);
        is(join(' ', $r->{status}, map { $r->{headers}{$_} // '-' } 'location', 'set-cookie', 'access-control-allow-credentials'), '404 - - -', "$what: $method $path is nothing");
    }
    is(ask($g->{workspace_port}, $silent{$what}, "$w:$edit", 'GET', \@owner)->{status}, 404, 'Host does not tell instead');
    is(ask($g->{gateway_port}, $silent{$what}, $d, 'GET')->{status}, 200, 'the main domain has one address, and needs none told');
}

# no such header: no answer; and no page can make a browser write one
for my $case (['nothing', ''], ['a method of that name', "PROXY /TCP4 HTTP/1.1\r\n\r\n"], ['a port of six digits', v1(100_000)], ['no port', "PROXY TCP4 192.0.2.1 192.0.2.2\r\n"], ['half of the addresses', v2(PROXY, TCP4, 'abcd')]) {
    my $r = eval { at($case->[1], \@owner) } // { status => 0 }; # a reset is no answer either
    is($r->{status}, 0, "$case->[0] in its place");
}

# who is believed: of the client's address one, of the listener everybody, who gets what is there for them
sub remote { my ($of) = @_; local $path = $of; return (map { $_->{remote} } grep { $_->{uri} eq $of } $g->access_log)[0] }
for my $case (['127.0.0.1', '192.0.2.1'], ['127.0.0.9', '127.0.0.9']) {
    my ($from, $is) = @$case;
    local $path = "/from-$from";
    is(at(v1($edit), [@owner], LocalAddr => $from)->{json}{name}, "$id:23000", "from $from: the listener that is named");
    is(GitpodGateway::wait_for('the log', sub { remote($path) }), $is, "for $is");
    is(at(v1($edit), [], LocalAddr => $from)->{status}, 401, 'to name it is no right');
}

$g->finish;
