package GitpodWorkspaces;

# Workspaces of a GitpodGateway: routes and revocations as their writers publish
# them, and servers that echo.

use strict;
use warnings;

use Digest::SHA qw(sha1_base64 sha256_hex);
use IO::Socket::INET;
use JSON::PP;
use POSIX ();

my $JSON = JSON::PP->new->canonical->utf8;

sub route {
    my ($self, $id, %member) = @_;
    my $record = $JSON->encode({
        version => ++$self->{version}, id => $id, instance => '33333333-3333-4333-8333-333333333333', phase => 'running',
        admission => 'owner', owner => $self->{owner}, owner_token_sha256 => sha256_hex("owner-token-of-$id"), ports => [], %member,
    });
    $self->redis('HSET', 'gitpod:routes', $id, $record);
    $self->redis('PUBLISH', 'gitpod:routes:changes', $record);
    return $self->host($id);
}

sub revoke {
    my ($self, $kind, $id, $epoch) = @_;
    $epoch //= int time;
    $self->redis('HSET', 'gitpod:revocations', "$kind:$id", $epoch);
    $self->redis('PUBLISH', 'gitpod:revocations:changes', $JSON->encode({ kind => $kind, id => $id, epoch => $epoch }));
}

sub host { my ($self, $id) = @_; return "$id.$self->{workspace_domain}" }
sub owner_token { my ($self, $id) = @_; return "owner-token-of-$id" }

# A workspace with something listening on its ports; waits until it is routed.
sub workspace {
    my ($self, $id, %member) = @_;
    my $ports = delete $member{listen} // [22999, 23000, 3000];
    my $address = $member{address} //= GitpodGateway::free_address();
    $self->{workspace_pids}{$id} = [map { $self->serve_workspace($id, $address, $_) } @$ports];
    my $host = $self->route($id, %member);

    # 503 for the unknown: not all was read from Redis yet
    GitpodGateway::wait_for('the first sync', sub { $self->get($self->host('no-such-one'), '/')->{status} != 503 });
    GitpodGateway::wait_for("the route of $id", sub { $self->routed($id) });
    return $host;
}

# Has the gateway a route? Only its log tells strangers apart who ask for one
# that is there and one that is not: the tests' configuration shows its reason.
sub routed {
    my ($self, $id) = @_;
    return ($self->get($self->host($id), '/', 'X-Gitpod-Owner-Token' => 'none')->{headers}{'x-test-reason'} // '') ne 'unknown workspace';
}

sub serve_workspace {
    my ($self, $id, $address, $port) = @_;
    my $listener = IO::Socket::INET->new(Listen => 64, LocalAddr => $address, LocalPort => $port, ReuseAddr => 1) or die "$address:$port: $!";
    return $self->child("workspace.log", sub {
        $SIG{CHLD} = 'IGNORE';
        my $n = 0;
        while (1) {
            my $c = $listener->accept // next;
            $n++;
            next if fork;
            close $listener; # the port dies with the one that accepts
            eval { workspace_connection($c, "$id:$port", $n) };
            POSIX::_exit(0);
        }
    });
}

# HTTP/1.1 as small as it can be: echoes what arrived.
sub workspace_connection {
    my ($c, $name, $n) = @_;
    my $buffer = '';
    my $fill = sub { my $got = sysread $c, $buffer, 65536, length $buffer; return $got };
    while (1) {
        while ($buffer !~ /\r\n\r\n/) { $fill->() or return }
        $buffer =~ s/^(.*?)\r\n\r\n//s;
        my ($line, @lines) = split /\r\n/, $1;
        my ($method, $uri) = split / /, $line;
        my @headers = map { [split /: */, $_, 2] } @lines;
        my %header = map { lc $_->[0] => $_->[1] } @headers;

        if (lc($header{upgrade} // '') eq 'websocket' && $uri !~ m{^/status/}) {
            my $accept = sha1_base64(($header{'sec-websocket-key'} // '') . '258EAFA5-E914-47DA-95CA-C5AB0DC85B11') . '=';    # RFC 6455 1.3
            print $c "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: $accept\r\n",
                "Set-Cookie: gp_workspace=evil\r\n\r\n";
            $c->flush;
            syswrite $c, $buffer if length $buffer;
            while (sysread $c, my $piece, 65536) { syswrite $c, $piece }
            return;
        }

        # an answer that does not come
        if ($uri =~ /\?hold/) {
            while (sysread $c, my $rest, 65536) { }
            return;
        }

        my ($length, $first) = (0, 0);
        if (defined $header{'content-length'}) {
            my $want = $header{'content-length'};
            if ($uri eq '/early') {
                while (!length $buffer) { $fill->() or return }
                print $c "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nearly";
                $c->flush;

                # closing with bytes unread would reset the connection
                while (sysread $c, my $rest, 65536) { }
                return;
            }
            while ($length < $want) {
                if (!length $buffer) { $fill->() or return }
                my $take = $want - $length;
                $take = length $buffer if $take > length $buffer;
                substr $buffer, 0, $take, '';
                $length += $take;
            }
        }
        if (lc($header{'transfer-encoding'} // '') eq 'chunked') {
            while (1) {
                while ($buffer !~ /^([0-9a-fA-F]+)\r\n/) { $fill->() or return }
                $buffer =~ s/^([0-9a-fA-F]+)\r\n//;
                my $size = hex $1;
                while (length $buffer < $size + 2) { $fill->() or return }
                substr $buffer, 0, $size + 2, '';
                $length += $size;
                last if !$size;
                last if $uri eq '/first-chunk'; # answers while the rest is still under way
            }
        }
        if ($uri eq '/events') {
            print $c "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n9\r\ndata: 1\n\n\r\n";
            $c->flush;
            while ($fill->()) { } # and says no more
            return;
        }
        my @extra;
        push @extra, 'X-Accel-Redirect: /_gitpod/errors/json' if $uri =~ m{^/x-accel};
        if ($uri =~ m{^/set-cookie\?(.*)}) {
            push @extra, map { s/%([0-9A-F]{2})/chr hex $1/ger } map { "Set-Cookie: $_" } split /&/, $1;
        }
        my $body = $JSON->encode({ name => $name, connection => $n, method => $method, uri => $uri, headers => \@headers, body_length => $length });
        my $status = $uri =~ m{^/status/(\d+)} ? $1 : 200;
        print $c join "\r\n", "HTTP/1.1 $status X", 'Content-Type: application/json', 'Content-Length: ' . length $body, @extra, '', $body;
        $c->flush;
    }
}

1;
