package GitpodClient;

# Who asks a GitpodGateway.

use strict;
use warnings;

use IO::Select;
use IO::Socket::INET;
use IO::Socket::UNIX;
use JSON::PP;
use Time::HiRes qw(time);

use constant DEADLINE_S => 15;

my $JSON = JSON::PP->new->canonical->utf8;

# request($host, $method, $path, [name => value, ...], body): status, headers
# (lower case => value, several joined by "\n"), body. Nothing is added but Host.
sub request {
    my ($self, $host, $method, $path, $headers, $body) = @_;
    return $self->response($self->send($host, $method, $path, $headers, $body), $method);
}

# The same without waiting: response() reads the answer from what it returns.
sub send {
    my ($self, $host, $method, $path, $headers, $body) = @_;
    my $s = $self->{unix} ? IO::Socket::UNIX->new(Peer => $self->{unix}) : IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $self->{port});
    die "cannot connect: $!" if !$s;
    $s->autoflush(1);
    my @lines = ("$method $path HTTP/1.1");
    push @lines, "Host: $host" if defined $host;
    my @pairs = @{ $headers // [] };
    while (my ($name, $value) = splice @pairs, 0, 2) { push @lines, "$name: $value" }
    push @lines, 'Content-Length: ' . length $body if defined $body;
    push @lines, 'Connection: close' if !grep { /^connection:/i } @lines;
    local $SIG{PIPE} = 'IGNORE';
    print $s join("\r\n", @lines), "\r\n\r\n", $body // '';
    return $s;
}

# Sends a request and returns its connection, for response() later.
sub send_request {
    my ($self, $host, $method, $path, $headers, $body) = @_;
    my $s = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $self->{port}) or die "cannot connect: $!";
    my @lines = ("$method $path HTTP/1.1", "Host: $host");
    my @pairs = @{ $headers // [] };
    while (my ($name, $value) = splice @pairs, 0, 2) { push @lines, "$name: $value" }
    push @lines, 'Content-Length: ' . length $body if defined $body;
    print {$s} join("\r\n", @lines), "\r\n\r\n", $body // '';
    $s->flush;
    return $s;
}

# Whether nothing has come on a connection for so many seconds.
sub silent {
    my ($s, $seconds) = @_;
    return !IO::Select->new($s)->can_read($seconds // 0.2);
}

sub response {
    my ($self, $s, $method) = @_;
    my $text = '';
    my $end = time + DEADLINE_S;
    my $select = IO::Select->new($s);
    my $more = sub {
        my $left = $end - time;
        die "no answer within " . DEADLINE_S . " s\n" if $left <= 0 || !$select->can_read($left);
        return sysread $s, $text, 65536, length $text;
    };
    while ($text !~ /\r\n\r\n/) { $more->() or return { status => 0, headers => {}, body => $text } }
    $text =~ s/^(.*?)\r\n\r\n//s;
    my ($line, @lines) = split /\r\n/, $1;
    my %headers;
    for (@lines) {
        my ($name, $value) = split /: */, $_, 2;
        $headers{ lc $name } = defined $headers{ lc $name } ? $headers{ lc $name } . "\n" . $value : $value;
    }
    my ($status) = $line =~ /^HTTP\/1\.[01] (\d+)/;
    return { status => $status, headers => \%headers, socket => $s, rest => $text, body => '' } if $status == 101;
    my $body = '';
    if (($headers{'transfer-encoding'} // '') eq 'chunked') {
        while (1) {
            while ($text !~ /^([0-9a-fA-F]+)\r\n/) { $more->() or last }
            last if $text !~ s/^([0-9a-fA-F]+)\r\n//;
            my $size = hex $1;
            while (length $text < $size + 2) { $more->() or last }
            $body .= substr $text, 0, $size;
            substr $text, 0, $size + 2, '';
            last if !$size;
        }
    } elsif ($method ne 'HEAD') {
        my $length = $headers{'content-length'};
        while (!defined $length || length $text < $length) { $more->() or last }
        $body = $text;
    }
    my $json = ($headers{'content-type'} // '') =~ m{^application/json} ? eval { $JSON->decode($body) } : undef;
    return { status => $status, headers => \%headers, body => $body, json => $json };
}

sub get { my ($self, $host, $path, @headers) = @_; return $self->request($host, 'GET', $path, \@headers) }
sub browse { my ($self, $host, $path, @headers) = @_; return $self->get($host, $path, Accept => 'text/html,*/*;q=0.8', @headers) }
sub post { my ($self, $host, $path, $body, @headers) = @_; return $self->request($host, 'POST', $path, [@headers], $body) }
sub upgrade { my ($self, $host, $path, @headers) = @_; return $self->request($host, 'GET', $path, ['Connection' => 'Upgrade', 'Upgrade' => 'websocket', $self->websocket_key, @headers]) }
sub websocket_key { my ($self) = @_; return $self->{balancer} ? ('Sec-WebSocket-Key' => 'dGhlIHNhbXBsZSBub25jZQ==', 'Sec-WebSocket-Version' => 13) : () } # HAProxy wants one
sub origin { my ($self, $host) = @_; return "$self->{scheme}://$host:$self->{port}" }

# A sample of /metrics, by its name with labels; undef also while nginx starts.
sub metric {
    my ($self, $name) = @_;
    local $self->{port} = $self->{probe_port};
    my $r = eval { $self->get('127.0.0.1', '/metrics') } // { body => '' };
    return $r->{body} =~ /^\Q$name\E ([0-9.eE+-]+)$/m ? $1 : undef;
}

# Headers that the program behind the gateway saw, lower case => values.
sub seen {
    my ($response) = @_;
    my %seen;
    for (@{ ($response->{json} // {})->{headers} // [] }) { push @{ $seen{ lc $_->[0] } }, $_->[1] }
    return \%seen;
}

1;
