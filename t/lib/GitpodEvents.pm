package GitpodEvents;

# Publishers and readers of events, for a GitpodGateway.
#
#   my $s = GitpodEvents->open($g, Cookie => ...);   # GET /api/events
#   my $id = GitpodEvents::publish($g, $user, { n => 1 });
#   my $e = $s->next;                                # { id, event, data }

use strict;
use warnings;

use IO::Select;
use IO::Socket::INET;
use Time::HiRes qw(time);

use constant DEADLINE_S => 10;

# As ws_manager does (docs/contracts/redis.md); returns the id.
sub publish {
    my ($g, $user, $data, $kind) = @_;
    $kind //= 'workspace';
    my $record = "$kind $user " . (ref $data ? $GitpodGateway::JSON->encode($data) : $data);
    my $id = add($g, $record);
    $g->redis('PUBLISH', 'gitpod:events:changes', "$id $record");
    return $id;
}

# The entry of the stream alone.
sub add {
    my ($g, $record, @option) = @_;
    my $length = $g->redis('XADD', 'gitpod:events', @option, '*', 'event', $record);
    return bulk($g, $length);
}

sub bulk {
    my ($g, $line) = @_;
    my ($n) = $line =~ /^\$(\d+)/ or die "Redis: $line";
    my $got = read $g->{redis}, my $text, $n + 2;
    return substr $text, 0, $n;
}

sub open {
    my ($class, $g, %option) = @_;
    my $path = delete $option{path} // '/api/events';
    my $port = delete $option{port} // $g->{port};
    my $receive = delete $option{receive};
    my $s = IO::Socket::INET->new(Proto => 'tcp') // die "socket: $!";
    $s->sockopt(Socket::SO_RCVBUF(), $receive) if $receive;
    connect $s, Socket::pack_sockaddr_in($port, Socket::inet_aton('127.0.0.1')) or die "connect: $!";
    $s->autoflush(1);
    my %header = (Host => $g->{domain}, Accept => 'text/event-stream', %option);
    print $s "GET $path HTTP/1.1\r\n", (map { "$_: $header{$_}\r\n" } sort keys %header), "\r\n";
    my $self = bless { socket => $s, raw => '', text => '', seen => '' }, $class;
    $self->fill(time + DEADLINE_S) or die "no answer\n" while $self->{raw} !~ /\r\n\r\n/;
    $self->{raw} =~ s/^(.*?)\r\n\r\n//s;
    $self->{head} = $1;
    ($self->{status}) = $self->{head} =~ m{^HTTP/1\.1 (\d+)};
    $self->{header} = { map { /^([\w-]+): *(.*)/ ? (lc $1 => $2) : () } split /\r\n/, $self->{head} };
    $self->unchunk;
    return $self;
}

# True: there was something.
sub fill {
    my ($self, $end) = @_;
    my $left = $end - time;
    return 0 if $left <= 0 || !IO::Select->new($self->{socket})->can_read($left);
    my $n = sysread $self->{socket}, $self->{raw}, 65536, length $self->{raw};
    $self->{closed} = 1 if !$n;
    return $n;
}

sub unchunk {
    my ($self) = @_;
    while ($self->{raw} =~ /^([0-9a-f]+)\r\n/) {
        my ($head, $size) = (length $&, hex $1);
        return if length $self->{raw} < $head + $size + 2;
        my $piece = substr $self->{raw}, $head, $size;
        substr $self->{raw}, 0, $head + $size + 2, '';
        $self->{finished} = 1 if !$size;
        $self->{text} .= $piece;
        $self->{seen} .= $piece;
    }
}

# The next block of fields, comments too; undef: the end, or none in time.
sub block {
    my ($self, $seconds) = @_;
    my $end = time + ($seconds // DEADLINE_S);
    while (1) {
        return $1 if $self->{text} =~ s/^(.*?)\n\n//s;
        return undef if $self->{closed} || $self->{finished} || !$self->fill($end);
        $self->unchunk;
    }
}

# The next event that has data, as a browser would dispatch it.
sub next {
    my ($self, $seconds) = @_;
    my $end = time + ($seconds // DEADLINE_S);
    while (defined(my $block = $self->block($end - time))) {
        my %field;
        for (split /\n/, $block) {
            my ($name, $value) = /^([a-z]*):? ?(.*)/;
            $field{$name} = exists $field{$name} ? "$field{$name}\n$value" : $value;
        }
        $self->{last_id} = $field{id} if defined $field{id};
        $self->{retry} = $field{retry} if defined $field{retry};
        next if !defined $field{data};
        return { id => $self->{last_id}, event => $field{event}, data => $GitpodGateway::JSON->decode($field{data}) };
    }
    return undef;
}

# Reads on until the stream has said from where it can be resumed.
sub ready {
    my ($self) = @_;
    while (!defined $self->{last_id}) {
        my $block = $self->block // die "the stream does not begin\n";
        $self->{last_id} = $1 if $block =~ /^id: (.*)$/m;
        $self->{retry} = $1 if $block =~ /^retry: (\d+)$/m;
    }
    return $self;
}

# Seconds until the other side closed it; undef: it did not.
sub ended {
    my ($self, $seconds) = @_;
    my $from = time;
    while (!$self->{closed}) {
        $self->fill($from + ($seconds // DEADLINE_S)) or last;
        $self->unchunk;
    }
    return $self->{closed} ? time - $from : undef;
}

1;
