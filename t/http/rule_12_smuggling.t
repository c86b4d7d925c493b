# Rule 12: what a client sends is one request for the gateway and one for what
# stands behind it, over HTTP and over FastCGI. Each case of the corpus carries
# a second request, for /smuggled, in a place where only a confused reader finds
# it. A case is refused, or arrives byte for byte; /smuggled never does.
use strict;
use warnings;
use IO::Select;
use IO::Socket::INET;
use MIME::Base64 qw(encode_base64);
use Test::More;
use Time::HiRes qw(time);
use GitpodGateway;

my $g = GitpodGateway->new;
my $id = 'amber-fox-k3j9x2m1';
my $address = GitpodGateway::free_address();
my $record = "$g->{dir}/record";

# A workspace that parses to the letter and writes down what it read. What it
# cannot read as one request is a fault.
my $listener = IO::Socket::INET->new(Listen => 64, LocalAddr => $address, LocalPort => 23000, ReuseAddr => 1) or die "listen: $!";
$g->child('recorder.log', sub {
    $SIG{CHLD} = 'IGNORE';
    while (1) {
        my $c = $listener->accept // next;
        next if fork;
        eval { record($c) };
        POSIX::_exit(0);
    }
});
my $host = $g->route($id, address => $address);

sub note_down {
    my (%what) = @_;
    open my $f, '>>', $record or die;
    flock $f, 2;
    print $f $GitpodGateway::JSON->encode(\%what), "\n";
    close $f;
}

sub record {
    my ($c) = @_;
    my $in = '';
    my $more = sub { my $n = sysread $c, $in, 65536, length $in; return $n };
    while (1) {
        while ($in !~ /\r\n\r\n/) { $more->() or do { note_down(fault => "cut short: $in") if length $in; return } }
        $in =~ s/^(.*?)\r\n\r\n//s;
        my ($line, @lines) = split /\r\n/, $1;
        my %header;
        for (@lines) {
            my ($name, $value) = /^([!-9;-~]+):[ \t]*(.*?)[ \t]*$/ or return note_down(fault => "no header: $_");
            push @{ $header{ lc $name } }, $value;
        }
        my ($method, $uri) = $line =~ m{^([A-Z]+) (\S+) HTTP/1\.1$} or return note_down(fault => "no request line: $line");
        my @length = @{ $header{'content-length'} // [] };
        my @coding = @{ $header{'transfer-encoding'} // [] };
        return note_down(fault => "length told twice: $line @length @coding") if @length + @coding > 1;
        return note_down(fault => "a length that is none: @length") if @length && $length[0] !~ /^\d+$/;
        my $body = '';
        if (@length) {
            while (length $in < $length[0]) { $more->() or return note_down(fault => "body cut short: $line") }
            $body = substr $in, 0, $length[0], '';
        } elsif (@coding) {
            return note_down(fault => "coding @coding") if $coding[0] ne 'chunked';
            while (1) {
                while ($in !~ /\r\n/) { $more->() or return note_down(fault => "chunk cut short: $line") }
                $in =~ s/^([0-9a-f]+)\r\n//i or return note_down(fault => "no chunk: $in");
                my $size = hex $1;
                while (length $in < $size + 2) { $more->() or return note_down(fault => "chunk cut short: $line") }
                $body .= substr $in, 0, $size, '';
                $in =~ s/^\r\n// or return note_down(fault => "chunk without end: $in");
                last if !$size;
            }
        }
        note_down(method => $method, uri => $uri, body => $body);
        print $c "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
        $c->flush;
    }
}

# The same over FastCGI: a public method, whose echo tells parameters and body.
$g->put_token('gitpod_pat_x.' . 'A' x 40);
my %target = (
    http => { host => $host, auth => 'X-Gitpod-Owner-Token: ' . $g->owner_token($id), path => '/' },
    fastcgi => { host => $g->{domain}, auth => 'Authorization: Bearer gitpod_pat_x.' . 'A' x 40, path => '/public-api/gitpod.v1.WorkspaceService/Smuggle' },
);

my $smuggled = "GET SMUGGLED HTTP/1.1\r\nHost: HOST\r\nAUTH\r\n\r\n";
my $chunked = sub { my ($body) = @_; return sprintf("%x\r\n%s\r\n0\r\n\r\n", length $body, $body) };
my $huge = 'f' x 16;

# name, headers and body after "POST PATH HTTP/1.1\r\nHost: HOST\r\nAUTH\r\n", what arrives (undef: refused).
# A request line of its own: [name, text, body, 1].
my @corpus = (
    ['a body with a length', "Content-Length: 5\r\n\r\nhello", 'hello'],
    ['a body in chunks', "Transfer-Encoding: chunked\r\n\r\n" . $chunked->('hello'), 'hello'],
    ['two chunks', "Transfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n", 'hello'],
    ['a body that looks like a request', 'Content-Length: ' . length($smuggled) . "\r\n\r\n$smuggled", $smuggled],
    ['chunks that look like a request', "Transfer-Encoding: chunked\r\n\r\n" . $chunked->($smuggled), $smuggled],
    ['a chunk extension', "Transfer-Encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n0\r\n\r\n", 'hello'],
    ['a trailer', "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX-Trailer: 1\r\n\r\n", 'hello'],
    ['a trailer of our names', "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nGitpod-User: root\r\nContent-Length: 99\r\n\r\n", 'hello'],
    ['CL.TE', "Content-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n$smuggled", undef],
    ['TE.CL', "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n5c\r\n$smuggled\r\n0\r\n\r\n", undef],
    ['TE twice', "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n$smuggled", undef],
    ['TE twice, the second unknown', "Transfer-Encoding: chunked\r\nTransfer-Encoding: cow\r\n\r\n0\r\n\r\n$smuggled", undef],
    ['TE twice, the first unknown', "Transfer-Encoding: cow\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n$smuggled", undef],
    ['TE identity', "Transfer-Encoding: identity\r\nContent-Length: 5\r\n\r\nhello", undef],
    ['TE list', "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n$smuggled", undef],
    ['TE chunked, identity', "Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n$smuggled", undef],
    ['TE xchunked', "Transfer-Encoding: xchunked\r\nContent-Length: 5\r\n\r\nhello", undef],
    ['TE with a vertical tab', "Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n$smuggled", undef],
    ['TE quoted', "Transfer-Encoding: \"chunked\"\r\n\r\n0\r\n\r\n$smuggled", undef],
    ['TE empty', "Transfer-Encoding:\r\nContent-Length: 5\r\n\r\nhello", undef],
    ['TE with a space before the colon', "Transfer-Encoding : chunked\r\nContent-Length: 5\r\n\r\nhello", undef],
    ['TE folded', "Transfer-Encoding:\r\n chunked\r\nContent-Length: 5\r\n\r\nhello", undef],
    ['TE by underscores is no TE', "Transfer_Encoding: chunked\r\nContent-Length: 5\r\n\r\nhello", 'hello'],
    ['CL by underscores is no CL', "Content_Length: 99\r\nContent-Length: 5\r\n\r\nhello", 'hello'],
    ['CL twice, the same', "Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello", undef],
    ['CL twice, different', "Content-Length: 5\r\nContent-Length: 0\r\n\r\nhello", undef],
    ['CL list', "Content-Length: 5, 5\r\n\r\nhello", undef],
    ['CL with a plus', "Content-Length: +5\r\n\r\nhello", undef],
    ['CL with a minus', "Content-Length: -5\r\n\r\nhello", undef],
    ['CL in hex', "Content-Length: 0x5\r\n\r\nhello", undef],
    ['CL with a space inside', "Content-Length: 5 0\r\n\r\nhello", undef],
    ['CL empty', "Content-Length:\r\n\r\n$smuggled", undef],
    ['CL larger than any', "Content-Length: 9223372036854775808\r\n\r\nhello", undef],
    ['CL that wraps', "Content-Length: 18446744073709551621\r\n\r\nhello", undef],
    ['CL with a NUL', "Content-Length: 5\0\r\n\r\nhello", undef],
    ['chunk size in 0x', "Transfer-Encoding: chunked\r\n\r\n0x5\r\nhello\r\n0\r\n\r\n", undef],
    ['chunk size with a plus', "Transfer-Encoding: chunked\r\n\r\n+5\r\nhello\r\n0\r\n\r\n", undef],
    ['chunk size with a minus', "Transfer-Encoding: chunked\r\n\r\n-1\r\nhello\r\n0\r\n\r\n", undef],
    ['chunk size that wraps', "Transfer-Encoding: chunked\r\n\r\n${huge}5\r\nhello\r\n0\r\n\r\n", undef],
    ['chunk size with a space first', "Transfer-Encoding: chunked\r\n\r\n 5\r\nhello\r\n0\r\n\r\n", undef],
    ['chunk size with letters', "Transfer-Encoding: chunked\r\n\r\n5g\r\nhello\r\n0\r\n\r\n", undef],
    ['chunk without its end', "Transfer-Encoding: chunked\r\n\r\n5\r\nhelloXX0\r\n\r\n", undef],
    ['chunk longer than told', "Transfer-Encoding: chunked\r\n\r\n3\r\nhello\r\n0\r\n\r\n", undef],
    ['a header with a NUL', "X-A: a\0b\r\nContent-Length: 5\r\n\r\nhello", undef],
    ['a header without a name', ": a\r\nContent-Length: 5\r\n\r\nhello", undef],
    ['a line that is no header is none', "garbage\r\nContent-Length: 5\r\n\r\nhello", 'hello'],
    ['a bare CR in a header', "X-A: a\rContent-Length: 99\r\nContent-Length: 5\r\n\r\nhello", undef],
    ['Host twice', "Host: evil.test\r\nContent-Length: 5\r\n\r\nhello", undef],
    ['Connection names Content-Length', "Connection: Content-Length\r\nContent-Length: 5\r\n\r\nhello", 'hello'],
    ['Expect', "Expect: 100-continue\r\nContent-Length: 5\r\n\r\nhello", 'hello'],
    ['h2c', "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA\r\nContent-Length: 5\r\n\r\nhello", 'hello'],
    ['an upgrade that is not answered', "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 777\r\nContent-Length: 0\r\n\r\n", ''],
    ['HTTP/1.0 with chunks', "POST PATH HTTP/1.0\r\nHost: HOST\r\nAUTH\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n$smuggled", undef, 1],
    ['HTTP/1.0 and a length', "POST PATH HTTP/1.0\r\nHost: HOST\r\nAUTH\r\nContent-Length: 5\r\n\r\nhello", 'hello', 1],
    ['a tab in the request line', "POST\tPATH HTTP/1.1\r\nHost: HOST\r\nAUTH\r\nContent-Length: 5\r\n\r\nhello", undef, 1],
    ['a space in the path', "POST PATH SMUGGLED HTTP/1.1\r\nHost: HOST\r\nAUTH\r\nContent-Length: 5\r\n\r\nhello", undef, 1],
    ['a bare CR in the request line', "POST PATH\rX HTTP/1.1\r\nHost: HOST\r\nAUTH\r\nContent-Length: 5\r\n\r\nhello", undef, 1],
    ['a method in lower case', "post PATH HTTP/1.1\r\nHost: HOST\r\nAUTH\r\nContent-Length: 5\r\n\r\nhello", undef, 1],
    ['HTTP/2.0 in words', "POST PATH HTTP/2.0\r\nHost: HOST\r\nAUTH\r\nContent-Length: 5\r\n\r\nhello", undef, 1],
    ['HTTP/0.9', "POST PATH\r\n$smuggled", undef, 1],
    ['the preface of HTTP/2', "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", undef, 1],
    ['an absolute address of another host', "POST http://evil.test/ HTTP/1.1\r\nHost: HOST\r\nAUTH\r\nContent-Length: 5\r\n\r\nhello", undef, 1],
    ['a newline in the path by percent', "POST PATH?x=%0d%0aTransfer-Encoding:%20chunked HTTP/1.1\r\nHost: HOST\r\nAUTH\r\nContent-Length: 5\r\n\r\nhello", 'hello', 1],
);

sub records {
    return [] if !-f $record;
    return [map { $GitpodGateway::JSON->decode($_) } split /\n/, GitpodGateway::slurp($record)];
}

# Sends the case and, behind it on the same connection, nothing: what is read
# until the other side is silent for long enough to have forwarded anything.
sub send_case {
    my ($text, $to) = @_;
    my $s = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $g->{port}) or die "connect: $!";
    local $SIG{PIPE} = 'IGNORE';
    $text =~ s/PATH/$to->{path}/g;
    $text =~ s/HOST/$to->{host}/g;
    $text =~ s/AUTH/$to->{auth}/g;
    $text =~ s/SMUGGLED/$to->{path} eq '\/' ? '\/smuggled' : $to->{path} . 'd'/ge;
    # The length that a case told was of the text before: only "a body that looks like a request" has one.
    if ($text =~ /^Content-Length: \d{2,3}\r$/m && $text =~ /\r\n\r\n(GET .*)\z/s) { my $n = length $1; $text =~ s/^Content-Length: \d{2,3}\r$/Content-Length: $n\r/m }
    $text =~ s/(\r\n\r\n)[0-9a-f]+\r\n(GET .*\r\n\r\n)\r\n0\r\n\r\n\z/sprintf "%s%x\r\n%s\r\n0\r\n\r\n", $1, length $2, $2/se;
    syswrite $s, $text;
    my ($in, $select) = ('', IO::Select->new($s));
    # the answer, then the end or silence; a canary on a connection of its own closes the window
    while ($select->can_read($in =~ /^HTTP\S+ (?!100)\d+/m ? 0.02 : 2)) { sysread($s, $in, 65536, length $in) or last }
    my ($status) = $in =~ /^HTTP\/1\.[01] (?!100)(\d+)/m;
    return { status => $status // 0, body => $in, sent => $text };
}

my $canary = 0;
sub one {
    my ($kind, $case) = @_;
    my ($name, $text, $body, $whole) = @$case;
    my $to = $target{$kind};
    $text = "POST PATH HTTP/1.1\r\nHost: HOST\r\nAUTH\r\n$text" if !$whole;
    unlink $record;
    my $calls = $g->calls('public_api /gitpod.v1.WorkspaceService/Smuggled');
    my $r = send_case($text, $to);
    my $want = $body;
    if (defined $want && $want eq $smuggled) { ($want) = $r->{sent} =~ /\r\n\r\n(?:[0-9a-f]+\r\n)?(GET .*?\r\n\r\n)/s }

    # What went to the workspace before this request has arrived there by now.
    $canary++;
    $g->get($host, "/canary-$canary", 'X-Gitpod-Owner-Token' => $g->owner_token($id));
    my @seen = grep { ($_->{uri} // '') !~ /canary/ } @{ records() };
    my @faults = map { $_->{fault} } grep { exists $_->{fault} } @seen;
    @faults = () if !defined $want;    # a request that was refused half way is cut off, and must be
    is("@faults", '', "$kind: $name: one reading");
    is(scalar(grep { ($_->{uri} // '') =~ /smuggled/ } @seen) + $g->calls('public_api /gitpod.v1.WorkspaceService/Smuggled') - $calls, 0, "$kind: $name: nothing is smuggled");
    if (!defined $want) {
        ok($r->{status} == 0 || $r->{status} >= 400, "$kind: $name: refused") or diag("status $r->{status}");
        is(scalar(grep { exists $_->{uri} } @seen), 0, "$kind: $name: and does not arrive") or diag($GitpodGateway::JSON->encode(\@seen));
    } elsif ($kind eq 'http') {
        is($r->{status}, 200, "$kind: $name: answered");
        is($seen[0]{body}, $want, "$kind: $name: arrives byte for byte");
    } else {
        my ($json) = $r->{body} =~ /^(\{.*\})\r?$/m;
        my $echo = eval { $GitpodGateway::JSON->decode($json // '') } // {};
        is($r->{status}, 200, "$kind: $name: answered") or diag($r->{body});
        is($echo->{body_length}, length $want, "$kind: $name: arrives whole");
        is($echo->{params}{CONTENT_LENGTH} || 0, length $want, "$kind: $name: with the length of its body");
        is($echo->{params}{HTTP_TRANSFER_ENCODING} // '', '', "$kind: $name: and no word of chunks");
    }
}

GitpodGateway::wait_for('the route', sub { $g->get($host, '/canary', 'X-Gitpod-Owner-Token' => $g->owner_token($id))->{status} == 200 });
for my $kind (qw(http fastcgi)) {
    one($kind, $_) for @corpus;
}

# Two requests that are two: pipelining is not smuggling.
unlink $record;
my $s = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $g->{port});
my $two = join '', map { "GET /$_ HTTP/1.1\r\nHost: $host\r\n$target{http}{auth}\r\n" . ($_ eq 'second' ? "Connection: close\r\n" : '') . "\r\n" } qw(first second);
syswrite $s, $two;
my $in = '';
while (IO::Select->new($s)->can_read(5)) { sysread($s, $in, 65536, length $in) or last }
is(join(' ', map { $_->{uri} // $_->{fault} } @{ records() }), '/first /second', 'two requests on one connection are two, in order');

$g->finish;
