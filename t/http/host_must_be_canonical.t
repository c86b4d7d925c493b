# Odd Host headers, oversized headers and malformed requests get 400 or 404 with
# the page, and disturb nobody else.
use strict;
use warnings;
use IO::Socket::INET;
use Test::More;
use GitpodGateway;

my $g = GitpodGateway->new;
my $d = $g->{domain};
my $w = $g->{workspace_domain};
my $id = 'amber-fox-k3j9x2m1';
my $host = $g->workspace($id, listen => [23000]);
my @owner = ('x-gitpod-owner-token' => $g->owner_token($id));

sub raw {
    my ($text) = @_;
    my $s = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $g->{port});
    local $SIG{PIPE} = 'IGNORE';
    print $s $text;
    $s->flush;
    return $g->response($s, 'GET');
}

my @odd = (
    ["a.b.$w", 404], ["a.$host", 404], [".$w", 404], [$w, 404], ['x' . $w, 404], ["$host.", 400], ["$d.", 400], ["$host..", 400],
    ["$host:", 400], ["$host:http", 400], ["$host:80:80", 400], ["$host:99999", 400],
    ["$host:-1", 400], ["$d:8080x", 400], ['x' x 300, 404], ["x" x 300 . ".$w", 400], ['x' x 64 . ".$w", 404], ["0-$host", 404], ["65536-$host", 404],
    ["03000-$host", 404], ["3000--$host", 404], ["-$host", 404], ["under_score.$w", 404], ["ws%2e.$w", 404], ['127.0.0.1', 404], ['[::1]', 404], ['evil.example', 404],
    ["$host\@evil.example", 404], ['', 400], [' ', 400], ["$host evil", 400], ["*.$w", 404],
);
for (@odd) {
    my ($name, $status) = @$_;
    my $r = $g->browse($name, '/', @owner);
    is($r->{status}, $status, "Host \"" . substr($name, 0, 40) . "\": $status");
}
like($g->browse("a.b.$w", '/')->{body}, qr/Page 404/, 'people get the page');
like($g->browse('evil.example', '/')->{body}, qr/Page 404/, 'on a foreign host too');
unlike($g->browse('evil.example', '/')->{body}, qr/evil/, 'which does not repeat the name');
is($g->browse('evil.example', '/')->{headers}{connection}, 'close', 'and that connection ends');
is($g->get("a.b.$w", '/')->{json}{code}, 'not_found', 'programs get JSON');

for my $name (uc $host, ucfirst $host, "$id." . uc $w) {
    is($g->get($name, '/', @owner)->{status}, 200, "names have no case: $name");
}
for my $port (80, 8080, $g->{port}, 65535) {
    is($g->get("$host:$port", '/', @owner)->{status}, 200, "any real port number is fine: $port");
}
is($g->get("3000-$host", '/', @owner)->{status}, 502, 'a port host that nothing listens on is 502');

is(raw("GET / HTTP/1.1\r\nConnection: close\r\n\r\n")->{status}, 400, 'no Host: 400');
is(raw("GET / HTTP/1.1\r\nHost: $host\r\nHost: $d\r\nConnection: close\r\n\r\n")->{status}, 400, 'two Hosts: 400');
is(raw("GET http://$d/ HTTP/1.1\r\nHost: $host\r\nConnection: close\r\n\r\n")->{status}, 400, 'Host and absolute URI that differ: 400');
is(raw("GET http://$d/ HTTP/1.1\r\nHost: $d\r\nConnection: close\r\n\r\n")->{status}, 200, 'that agree: fine');
is(raw("GET / HTTP/1.1\r\nHost: $host\r\n$owner[0]: $owner[1]\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\nConnection: close\r\n\r\n0\r\n\r\n")->{status}, 400,
    'two lengths: 400');
is(raw("GET / HTTP/1.1\r\nHost: $host\r\n" . "X-Big: " . 'x' x 1_000_000 . "\r\n\r\n")->{status}, 400, '1 MB of one header: 400');
is(raw("GET / HTTP/1.1\r\nHost: $host\r\n" . join('', map { "X-Big-$_: " . 'x' x 1000 . "\r\n" } 1 .. 1000) . "\r\n")->{status}, 400, '1 MB of many headers: 400');
is(raw("GET /" . 'x' x 100_000 . " HTTP/1.1\r\nHost: $host\r\n\r\n")->{status}, 414, 'an address of 100 KB: 414');
is(raw("NONSENSE\r\n\r\n")->{status}, 400, 'not HTTP: 400');

is($g->get($host, '/', @owner)->{status}, 200, 'a workspace goes on');
is($g->browse($d, '/')->{status}, 200, 'the main domain too');

$g->finish;
