package GitpodRolling;

# Two gateways behind HAProxy, each under runsv(8) with the run and drain
# scripts of conf/runit, both fed by one Redis: what a rolling restart meets.
#
#   my $r = GitpodRolling->new(delay => 1, timeout => 2);   # seconds
# A request with "X-To: 0" or "X-To: 1" goes to that gateway while it is up.
#
#   $r->restart(0);          # stop as the operator does, start, wait for HAProxy
#   $r->finish;

use strict;
use warnings;

use File::Path qw(make_path);
use GitpodGateway;
use IO::Socket::INET;
use IO::Socket::UNIX;
use POSIX qw(:sys_wait_h);
use Time::HiRes qw(time sleep);

my @running;

# inter: HAProxy's interval between checks; retries: of HAProxy.
sub new {
    my ($class, %option) = @_;
    my $self = bless { delay => 1, timeout => 2, workers => 2, inter => '100ms', retries => 0, pid => $$, runsv => [], %option }, $class;
    $self->{port} = GitpodGateway::free_port();
    my @gateway;
    for my $n (0, 1) {
        push @gateway, GitpodGateway->new(
            start => 0, workers => $self->{workers}, drain_timeout => $self->{timeout}, level => 'notice',
            external => "http://gitpod.test:$self->{port}",
            edit => sub {
                my ($name, $text) = @_;
                $text =~ s/unix:\S+redis\.sock/unix:$gateway[0]{redis_socket}/ if $n && $name eq 'nginx_feed.conf';
                return $text;
            },
        );
    }
    $self->{gateway} = \@gateway;
    push @running, $self;
    $self->start_gateway($_) for 0, 1;
    $self->start_haproxy;
    GitpodGateway::wait_for('both gateways in HAProxy', sub { $self->up(0) && $self->up(1) });
    return $self;
}

sub render {
    my ($self, $g, $name, $to) = @_;
    my %value = (RUN => $g->{run}, DRAIN_DELAY => $self->{delay});
    my $text = GitpodGateway::slurp("$GitpodGateway::TOP/conf/runit/$name.in");
    $text =~ s/\@([A-Z_]+)\@/$value{$1} \/\/ die "$name: unknown \@$1\@"/ge;
    # For nginx alone: curl, which the drain script calls, never ends with a sanitizer in it.
    my %preload = GitpodGateway::nginx_environment();
    my $environment = join '', map { "$_='$preload{$_}' " } sort keys %preload;
    $text =~ s/^exec nginx/exec env $environment nginx/m;
    GitpodGateway::spew($to, $text);
    chmod 0755, $to;
}

sub service { my ($self, $n) = @_; return "$self->{gateway}[$n]{run}/sv/nginx" }

sub start_gateway {
    my ($self, $n) = @_;
    my $g = $self->{gateway}[$n];
    my $sv = $self->service($n);
    make_path("$sv/control");
    $self->render($g, 'nginx.run', "$sv/run");
    $self->render($g, 'nginx.drain', "$sv/control/t");
    $self->{runsv}[$n] = $g->child('nginx.log', sub {
        exec 'runsv', $sv or die "runsv: $!";
    });
    GitpodGateway::wait_for('the gateway', sub { $self->probe($n, 'ready') == 200 });
}

sub start_haproxy {
    my ($self) = @_;
    my ($one, $two) = @{ $self->{gateway} };
    my $dir = $one->{dir};
    $self->{stats} = "$dir/haproxy.sock";
    my @server = map { "    server g$_ 127.0.0.1:$self->{gateway}[$_]{port} check port $self->{gateway}[$_]{probe_port} inter $self->{inter} fall 1 rise 1\n" } 0, 1;
    GitpodGateway::spew("$dir/haproxy.cfg", <<"X");
global
    stats socket $self->{stats}
defaults
    mode http
    timeout connect 2s
    timeout client 60s
    timeout server 60s
    timeout tunnel 1h
    timeout check 5s
    retries $self->{retries}
frontend front
    bind 127.0.0.1:$self->{port}
    default_backend gateways
backend gateways
    balance roundrobin
    option httpchk GET /ready
    use-server g0 if { hdr(x-to) 0 }
    use-server g1 if { hdr(x-to) 1 }
@{[ join '', @server ]}
X
    $self->{haproxy} = $one->child('haproxy.log', sub { exec 'haproxy', '-q', '-f', "$dir/haproxy.cfg" or die "haproxy: $!" });
    GitpodGateway::wait_for('HAProxy', sub { IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $self->{port}) });
}

# Does HAProxy send requests there?
sub up {
    my ($self, $n) = @_;
    my $s = IO::Socket::UNIX->new(Peer => $self->{stats}) or return 0;
    print $s "show stat\n";
    local $/;
    return (<$s> // '') =~ /^gateways,g$n,(?:[^,]*,){15}UP,/m ? 1 : 0;
}

# The status of a probe, 0 without an answer.
sub probe {
    my ($self, $n, $name) = @_;
    my $s = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $self->{gateway}[$n]{probe_port}) or return 0;
    print $s "GET /$name HTTP/1.0\r\n\r\n";
    return (<$s> // '') =~ /^HTTP\S+ (\d+)/ ? $1 : 0;
}

# As an operator, or systemd, does it. Returns when nginx is gone.
sub stop_gateway {
    my ($self, $n) = @_;
    my $left = $self->{delay} + $self->{timeout} + 30;
    system("sv -w $left stop '" . $self->service($n) . "' > /dev/null") == 0 or die "sv stop failed\n";
}

sub restart {
    my ($self, $n) = @_;
    $self->stop_gateway($n);
    system("sv start '" . $self->service($n) . "' > /dev/null");
    GitpodGateway::wait_for('HAProxy to see it again', sub { $self->up($n) });
}

sub end_gateway {
    my ($self, $n, $signal) = @_;
    my $runsv = $self->{runsv}[$n] or return;
    my $nginx = eval { GitpodGateway::slurp($self->service($n) . '/supervise/pid') } // '';
    kill $signal, $runsv;
    waitpid $runsv, 0;
    kill 'TERM', $1 if $signal eq 'KILL' && $nginx =~ /^(\d+)/;
    $self->{runsv}[$n] = 0;
}

# Without the drain: nobody is there any more. check: the error logs too.
sub end {
    my ($self, $check) = @_;
    $self->{stopped} = 1;
    for my $n (0, 1) {
        unlink $self->service($n) . '/control/t';
        $self->end_gateway($n, 'TERM');
    }
    return if !$check;
    $_->stop for reverse @{ $self->{gateway} };
}

sub finish { my ($self) = @_; $self->end(1); Test::More::done_testing() }

END {
    my $status = $?;
    for my $self (grep { $_->{pid} == $$ && !$_->{stopped} } @running) { $self->end_gateway($_, 'KILL') for 0, 1 }
    $? = $status;
}

1;
