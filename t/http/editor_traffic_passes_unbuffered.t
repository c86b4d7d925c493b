# Editors: WebSockets, uploads that are read while they arrive, kept
# connections that never cross instances; and workspaces that try to steer the
# gateway.
use strict;
use warnings;
use IO::Select;
use IO::Socket::INET;
use Test::More;
use GitpodGateway;

my $g = GitpodGateway->new;
my $id = 'amber-fox-k3j9x2m1';
my $host = $g->workspace($id, listen => [23000]);
my @owner = ('x-gitpod-owner-token' => $g->owner_token($id));

# WebSocket: both directions, more than a buffer
my $r = $g->upgrade($host, '/stable?reconnectionToken=1', @owner, 'Sec-WebSocket-Key' => 'dGhlIHNhbXBsZSBub25jZQ==', 'Sec-WebSocket-Version' => 13);
is($r->{status}, 101, 'an upgrade passes');
is(lc $r->{headers}{upgrade}, 'websocket', 'to WebSocket');
my $s = $r->{socket};
my ($sent, $got) = ('x' x 300_000 . 'end', $r->{rest});
my $pid = fork;
if (!$pid) { print $s $sent; $s->flush; POSIX::_exit(0) }
while (length $got < length $sent && IO::Select->new($s)->can_read(10)) { sysread $s, $got, 65536, length $got or last }
waitpid $pid, 0;
is(length $got, length $sent, 'what is sent comes back');
ok($got eq $sent, 'byte for byte');
close $s;

$r = $g->request($host, 'GET', '/', ['Connection' => 'Upgrade, HTTP2-Settings', 'Upgrade' => 'h2c', 'HTTP2-Settings' => 'AA', @owner]);
is($r->{status}, 200, 'another protocol is not upgraded');
is(GitpodClient::seen($r)->{upgrade}, undef, 'the workspace does not hear of it');

# uploads
$r = $g->request($host, 'PUT', '/file', [@owner], 'u' x 12_000_000);
is($r->{json}{body_length}, 12_000_000, '12 MB arrive whole');
my $c = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $g->{port});
print $c "PUT /early HTTP/1.1\r\nHost: $host\r\nX-Gitpod-Owner-Token: $owner[1]\r\nContent-Length: 100000000\r\n\r\n", 'u' x 100_000;
$c->flush;
is($g->response($c, 'PUT')->{body}, 'early', 'an answer comes before the upload has ended: it is not buffered');
close $c;

# chunked, either way and while it arrives
$c = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $g->{port});
print $c "PUT /file HTTP/1.1\r\nHost: $host\r\nX-Gitpod-Owner-Token: $owner[1]\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n",
    (map { sprintf "%x\r\n%s\r\n", $_, 'c' x $_ } 1, 70_000, 300_000), "0\r\n\r\n";
$c->flush;
is($g->response($c, 'PUT')->{json}{body_length}, 370_001, 'a chunked upload arrives whole');
$c = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $g->{port});
print $c "PUT /first-chunk HTTP/1.1\r\nHost: $host\r\nX-Gitpod-Owner-Token: $owner[1]\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n";
$c->flush;
is($g->response($c, 'PUT')->{json}{body_length}, 5, 'chunk by chunk');
close $c;
$c = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $g->{port});
print $c "GET /events HTTP/1.1\r\nHost: $host\r\nX-Gitpod-Owner-Token: $owner[1]\r\n\r\n";
$c->flush;
my $events = '';
while ($events !~ /data: 1\n\n/ && IO::Select->new($c)->can_read(10)) { sysread $c, $events, 65536, length $events or last }
like($events, qr/data: 1\n\n/, 'a server-sent event arrives while the stream is open');
close $c;

# 100-continue
$c = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $g->{port});
print $c "PUT /file HTTP/1.1\r\nHost: $host\r\nX-Gitpod-Owner-Token: $owner[1]\r\nContent-Length: 5\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n";
$c->flush;
IO::Select->new($c)->can_read(10);
sysread $c, my $line, 25;
is($line, "HTTP/1.1 100 Continue\r\n\r\n", 'who asks before an upload is told to go on');
print $c 'hello';
$c->flush;
$r = $g->response($c, 'PUT');
is($r->{json}{body_length}, 5, 'and the body arrives');
is(GitpodClient::seen($r)->{expect}, undef, 'the workspace is not asked a second time');
my @left = glob("$g->{run}/nginx/body/* $g->{run}/nginx/proxy/*");
is("@left", '', 'nothing was written to a file');

# kept connections
my $a = $g->workspace('blue-owl-aaaabbbb', listen => [23000], instance => '44444444-4444-4444-8444-444444444444');
my @a = ('x-gitpod-owner-token' => $g->owner_token('blue-owl-aaaabbbb'));
my $first = $g->get($a, '/', @a)->{json}{connection};
is($g->get($a, '/', @a)->{json}{connection}, $first, 'the connection to a workspace is used again');
my $address;
my %route;
{
    no warnings 'redefine';
    my $record = $g->redis('HGET', 'gitpod:routes', 'blue-owl-aaaabbbb');
    my $text = readline $g->{redis};
    $address = $GitpodGateway::JSON->decode($text =~ s/\r\n$//r)->{address};
}
$g->route('blue-owl-aaaabbbb', address => $address, instance => '55555555-5555-4555-8555-555555555555');
my $second = GitpodGateway::wait_for('the new instance', sub { my $n = $g->get($a, '/', @a)->{json}{connection}; $n != $first && $n });
ok($second != $first, 'another instance at the same address gets a connection of its own');
is($g->get($a, '/', @a)->{json}{connection}, $second, 'which is kept in its turn');

# X-Accel: from a workspace it means nothing
$r = $g->get($host, '/x-accel', @owner);
is($r->{status}, 200, 'X-Accel-Redirect from a workspace is not followed');
is($r->{json}{uri}, '/x-accel', 'its own answer arrives');

is($g->get($host, '/status/500', @owner)->{status}, 500, 'an application\'s own errors pass');
is($g->get($host, '/status/404', @owner)->{json}{uri}, '/status/404', 'with its own pages');
is($g->request($host, 'HEAD', '/', [@owner])->{status}, 200, 'HEAD passes');
$g->stop;

# and where the configuration forgets to say so, nothing runs
my $careless = GitpodGateway->new(edit => sub {
    my ($name, $text) = @_;
    $text =~ s/X-Accel-Redirect // if $name eq 'nginx_proxy.conf';
    return $text;
});
my $h = $careless->workspace('amber-fox-k3j9x2m1', listen => [23000]);
is($careless->get($h, '/', @owner)->{status}, 500, 'without proxy_ignore_headers for X-Accel, gitpod_route refuses');
like($careless->error_log, qr/gitpod_route refuses to run: this location needs "proxy_ignore_headers X-Accel-Redirect/, 'and says what is missing');

$careless->finish;
