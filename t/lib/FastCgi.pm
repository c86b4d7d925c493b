package FastCgi;

# A FastCGI client for tests, as nginx speaks it: one request at a time on a
# unix socket. Every wait has a deadline; a read that takes longer dies.
use strict;
use warnings;
use IO::Socket::UNIX;
use IO::Select;
use Time::HiRes qw(time);

our $DEADLINE = 10; # seconds

sub connect {
    my ($class, $path) = @_;
    my $sock = IO::Socket::UNIX->new(Type => SOCK_STREAM, Peer => $path) or return;
    return bless { sock => $sock, in => '', id => 0 }, $class;
}

sub record {
    my ($type, $id, $content, $padding) = @_;
    $padding //= 0;
    return pack('CCnnCC', 1, $type, $id, length $content, $padding, 0) . $content . ("\0" x $padding);
}

sub pairs {
    my (%param) = @_;
    my $out = '';
    for my $name (sort keys %param) {
        $out .= join('', map { length $_ < 128 ? pack('C', length $_) : pack('N', 0x80000000 | length $_) } $name, $param{$name});
        $out .= $name . $param{$name};
    }
    return $out;
}

# The bytes of a request. keep: the connection stays; body may be long.
sub request_bytes {
    my ($self, $param, $body, %opt) = @_;
    my $id = $opt{id} // 1;
    $self->{id} = $id;
    my $out = record(1, $id, pack('nCx5', 1, $opt{keep} ? 1 : 0));
    my $pairs = pairs(%$param);
    while (length $pairs) { $out .= record(4, $id, substr($pairs, 0, 32000, ''), 3) }
    $out .= record(4, $id, '');
    while (length $body) { $out .= record(5, $id, substr($body, 0, 65535, '')) }
    return $out . record(5, $id, '');
}

sub send_raw {
    my ($self, $bytes) = @_;
    my $off = 0;
    local $SIG{PIPE} = 'IGNORE';
    while ($off < length $bytes) {
        my $n = syswrite($self->{sock}, $bytes, length($bytes) - $off, $off);
        return 0 unless defined $n;
        $off += $n;
    }
    return 1;
}

# The next record as [type, id, content]; undef at the end of the connection.
sub next_record {
    my ($self) = @_;
    my $until = time + $DEADLINE;
    my $need = 8;
    while (1) {
        if (length $self->{in} >= 8) {
            my ($v, $type, $id, $len, $pad) = unpack 'CCnnC', $self->{in};
            $need = 8 + $len + $pad;
            if (length $self->{in} >= $need) {
                my $record = substr $self->{in}, 0, $need, '';
                return [ $type, $id, substr($record, 8, $len) ];
            }
        }
        my $left = $until - time;
        die "no answer within $DEADLINE s\n" if $left <= 0 || !IO::Select->new($self->{sock})->can_read($left);
        my $n = sysread $self->{sock}, $self->{in}, 65536, length $self->{in};
        return undef if !$n;
    }
}

# A whole answer: { status, headers => [[name, value], ...], body }; undef when the connection ends before.
sub answer {
    my ($self) = @_;
    my $out = '';
    while (my $record = $self->next_record) {
        $out .= $record->[2] if $record->[0] == 6;
        if ($record->[0] == 3) {
            my ($head, $body) = split /\r\n\r\n/, $out, 2;
            my @headers = map { [ split /: ?/, $_, 2 ] } split /\r\n/, $head // '';
            my ($status) = map { $_->[1] } grep { $_->[0] eq 'Status' } @headers;
            return { status => $status, headers => \@headers, body => $body, end => unpack('x4C', $record->[2]) };
        }
    }
    return;
}

sub closed {
    my ($self) = @_;
    return !defined eval { $self->next_record } && $@ eq '';
}

sub close { CORE::close(shift->{sock}) }

# One request on a connection of its own.
sub call {
    my ($class, $path, $param, $body, %opt) = @_;
    my $self = $class->connect($path) or die "connect $path: $!\n";
    $self->send_raw($self->request_bytes({ REQUEST_METHOD => 'POST', %$param }, $body // '', %opt));
    return $self->answer;
}

1;
