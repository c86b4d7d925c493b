package Backend;

# What stands behind an upstream in tests: a real HTTP or FastCGI server, one
# process a connection, that can be told how to behave and counts what it got.
#
#   my $b = Backend->new($t, 'one', 'http');     # $t: a GitpodTest
#   $b->mode('ok');        # 200; or a status, 'hang', 'close', 'slow SECONDS', 'upgrade'
#   $b->hits;              # requests since the start, or since forget
#   $b->kill; $b->start;

use strict;
use warnings;

use GitpodTest;
use IO::Socket::INET;
use IO::Socket::UNIX;
use POSIX ();
use Time::HiRes qw(sleep);

sub new {
    my ($class, $t, $name, $kind) = @_;
    my $self = bless { t => $t, name => $name, kind => $kind, file => "$t->{dir}/backend-$name" }, $class;
    if ($kind eq 'http') { $self->{address} = '127.0.0.1:' . ($self->{port} = GitpodTest::free_port()) }
    else { $self->{address} = "unix:$self->{file}.sock" }
    $self->mode('ok');
    $self->forget;
    $self->start;
    return $self;
}

sub mode { my ($self, $mode) = @_; GitpodTest::spew("$self->{file}.mode", $mode) }
sub forget { my ($self) = @_; GitpodTest::spew("$self->{file}.hits", '') }
sub hits { my ($self) = @_; return -s "$self->{file}.hits" // 0 }

sub listener {
    my ($self) = @_;
    return IO::Socket::INET->new(Listen => 512, LocalAddr => '127.0.0.1', LocalPort => $self->{port}, ReuseAddr => 1) if $self->{port};
    unlink "$self->{file}.sock";
    my $s = IO::Socket::UNIX->new(Listen => 512, Local => "$self->{file}.sock");
    chmod 0777, "$self->{file}.sock";
    return $s;
}

sub start {
    my ($self) = @_;
    my $listener = $self->listener // die "$self->{address}: $!";
    $self->{pid} = $self->{t}->daemon("backend-$self->{name}", sub {
        POSIX::setpgid(0, 0);
        $SIG{CHLD} = 'IGNORE';
        while (1) {
            my $c = $listener->accept // next;
            next if fork;
            close $listener;
            eval { $self->{kind} eq 'http' ? $self->serve_http($c) : $self->serve_fastcgi($c) };
            POSIX::_exit(0);
        }
    });
    POSIX::setpgid($self->{pid}, $self->{pid});
}

# With every connection that it has: nothing listens any more.
sub kill {
    my ($self) = @_;
    CORE::kill('KILL', -$self->{pid});
    $self->{t}->reap($self->{pid}, 'KILL');
}

# Counts one request; undef: the connection ends without an answer.
sub behave {
    my ($self, $c) = @_;
    open my $f, '>>', "$self->{file}.hits" or die;
    syswrite $f, '.';
    close $f;
    my $mode = GitpodTest::slurp("$self->{file}.mode");
    return undef if $mode eq 'close';
    if ($mode eq 'hang') {
        while (sysread $c, my $piece, 65536) { }    # until the other side has had enough
        return undef;
    }
    sleep $1 if $mode =~ /^slow ([\d.]+)/;
    return $mode =~ /^\d+$/ ? $mode : $mode eq 'upgrade' ? 101 : 200;
}

sub serve_http {
    my ($self, $c) = @_;
    my $buffer = '';
    while (1) {
        while ($buffer !~ /\r\n\r\n/) { sysread $c, $buffer, 65536, length $buffer or return }
        $buffer =~ s/^(.*?\r\n)\r\n//s;
        my $head = $1;
        my $length = $head =~ /^content-length: *(\d+)/mi ? $1 : 0;
        while (length $buffer < $length) { sysread $c, $buffer, 65536, length $buffer or return }
        my $body = substr $buffer, 0, $length, '';
        my $status = $self->behave($c) // return;
        if ($status == 101) {
            print $c "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n";
            $c->flush;
            while (sysread $c, my $piece, 65536) { syswrite $c, $piece }
            return;
        }
        my $text = "$self->{name} got $length\n";
        print $c "HTTP/1.1 $status X\r\nContent-Length: " . length($text) . "\r\n\r\n$text";
        $c->flush;
    }
}

sub serve_fastcgi {
    my ($self, $c) = @_;
    my $exact = sub { my ($n) = @_; my $got = ''; while (length $got < $n) { sysread $c, $got, $n - length $got, length $got or return } return $got };
    my ($keep, $body) = (0, 0);
    while (defined(my $head = $exact->(8))) {
        my (undef, $type, $id, $length, $padding) = unpack 'CCnnC', $head;
        my $content = $exact->($length + $padding) // return;
        $keep = ord(substr $content, 2, 1) & 1 if $type == 1;
        next if $type != 5;
        $body += $length;
        next if $length;
        my $status = $self->behave($c) // return;
        my $text = "Status: $status\r\nContent-Type: text/plain\r\n\r\n$self->{name} got $body\n";
        print $c pack('CCnnCx', 1, 6, $id, length $text, 0) . $text . pack('CCnnCx', 1, 3, $id, 8, 0) . "\0" x 8;
        $c->flush;
        return if !$keep;
        $body = 0;
    }
}

1;
