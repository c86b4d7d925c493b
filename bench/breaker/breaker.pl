#!/usr/bin/perl
# See bench/breaker.sh.
use strict;
use warnings;
use Backend;
use GitpodTest;
use IO::Select;
use IO::Socket::INET;
use POSIX qw(sysconf _SC_CLK_TCK);
use Time::HiRes qw(time sleep);

use constant {
    REACTION_MS => 100,    # from the backend's death to the first answer of the breaker, under load
    CLOSED => 1.05,        # x CPU of the same upstream without a breaker
    REFUSED => 1.0,        # x CPU of a request that is proxied
    CLIENTS => 200,
};

my $rounds = $ENV{ROUNDS} // 5;
my $seconds = $ENV{DURATION} // 2;

sub median { my @sorted = sort { $a <=> $b } @_; return $sorted[@sorted / 2] }
sub verdict { my ($ok) = @_; return $ok ? 'pass' : 'falls short' }

# ---- reaction and exactness: 8 workers, a backend that counts ----

sub gateway {
    my ($workers, $text, $locations) = @_;
    my $t = GitpodTest->new(workers => $workers, level => 'crit');
    $t->{http} = sub { my ($backend) = @_; return <<"X" };
    gitpod_zone bench 4m;
    proxy_http_version 1.1;
    proxy_set_header Connection "";
    @{[ $text->($backend) ]}
    server {
        listen 127.0.0.1:%%PORT%% reuseport;
        keepalive_requests 1000000000;
        location = /metrics { gitpod_probe metrics; }
        $locations
    }
X
    return $t;
}

sub state_is { my ($t, $state) = @_; return $t->metric("gitpod_breaker_state{name=\"guarded\",state=\"$state\"}") }

sub ask {
    my ($t) = @_;
    my $s = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $t->{port}) or die "connect: $!";
    syswrite $s, "GET /guarded HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    return $s;
}

# Eight clients go on asking; how long after the kill does one hear from the breaker?
sub reaction {
    my ($t, $b) = @_;
    my $select = IO::Select->new(map { ask($t) } 1 .. 8);
    my (%text, $killed);
    my $begin = time;
    while (time < $begin + 10) {
        if (!$killed && time > $begin + 0.2) { $b->kill; $killed = time }
        for my $s ($select->can_read(0.01)) {
            next if sysread $s, $text{$s}, 4096, length($text{$s} // '');
            return 1000 * (time - $killed) if $killed && $text{$s} =~ /^Gitpod-Breaker:/m;
            delete $text{$s};
            $select->remove($s);
            $select->add(ask($t));
        }
    }
    die "the breaker never answered\n";
}

sub storm {
    my ($t) = @_;
    my $select = IO::Select->new(map { ask($t) } 1 .. CLIENTS);
    my $end = time + 20;
    while ($select->count && time < $end) {
        for my $s ($select->can_read(1)) { sysread($s, my $text, 4096) or $select->remove($s) }
    }
}

sub behaviour {
    my $t = gateway(8, sub { "upstream guarded { server $_[0]; gitpod_breaker failures=3 base=300ms cap=300ms; }" }, 'location /guarded { proxy_pass http://guarded; }');
    my $b = Backend->new($t, 'service', 'http');
    $t->{http} = $t->{http}->($b->{address});
    $t->start;
    my (@reaction, @hits);
    for my $round (1 .. $rounds) {
        push @reaction, reaction($t, $b);
        $b->mode('slow 2');
        $b->start;
        $b->forget;
        GitpodTest::wait_for('half open', sub { state_is($t, 'half_open') });
        storm($t);
        push @hits, $b->hits;
        $b->mode('ok');
        GitpodTest::wait_for('closed', sub { $t->get('/guarded')->{status} == 200 });
        printf "round %d: first answer of the breaker %.1f ms after the death; half open let %d of %d through\n", $round, $reaction[-1], $hits[-1], CLIENTS;
    }
    $t->reap($t->{nginx_pid}, 'QUIT');
    $b->kill;
    $t->{stopped} = 1;
    File::Path::remove_tree($t->{dir});
    my $ms = median(@reaction);
    printf "breaker, reaction: bar <= %d ms from death to the first 503 without the backend, figure %.1f ms (median of %d): %s\n", REACTION_MS, $ms, $rounds, verdict($ms <= REACTION_MS);
    my $wrong = grep { $_ != 1 } @hits;
    printf "breaker, half open: bar exactly 1 of %d over 8 workers in each of %d rounds, figure %s: %s\n", CLIENTS, $rounds, join(' ', @hits), verdict(!$wrong);
}

# ---- cost: one worker, another nginx behind it ----

sub cpu_s {
    my ($pid) = @_;
    my @stat = split ' ', GitpodTest::slurp("/proc/$pid/stat") =~ s/^.*\) //sr;
    return ($stat[11] + $stat[12]) / sysconf(_SC_CLK_TCK);
}

sub load {
    my ($t, $worker, $path) = @_;
    my $before = cpu_s($worker);
    open my $wrk, '-|', 'wrk', '-t1', '-c32', "-d${seconds}s", "http://127.0.0.1:$t->{port}$path" or die "wrk: $!";
    my $text = join '', <$wrk>;
    close $wrk;
    my ($n) = $text =~ /(\d+) requests in/ or die "wrk said: $text";
    my ($bad) = $text =~ /Non-2xx or 3xx responses: (\d+)/;
    die "not all were answered: $text" if $text =~ /Socket errors/;
    die "not as it should be: $text" if ($path eq '/refused') != ($bad // 0) / $n;
    return 1e6 * (cpu_s($worker) - $before) / $n;
}

sub backend {
    my ($t) = @_;
    my $port = GitpodTest::free_port();
    my $temp = join '', map { "${_}_temp_path $t->{dir}/temp/b-$_; " } qw(client_body proxy fastcgi uwsgi scgi);
    GitpodTest::spew("$t->{dir}/backend.conf", <<"X");
worker_processes 1;
daemon off;
pid $t->{dir}/backend.pid;
error_log stderr;
events { worker_connections 1024; }
http {
    access_log off;
    $temp
    server { listen 127.0.0.1:$port; keepalive_requests 1000000000; location / { return 200 "hello\\n"; } }
}
X
    $t->{backend_pid} = $t->daemon('backend', sub { exec '/usr/sbin/nginx', '-e', 'stderr', '-c', "$t->{dir}/backend.conf" });
    GitpodTest::wait_for('the backend', sub { IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $port) });
    return "127.0.0.1:$port";
}

sub cost {
    my $dead = GitpodTest::free_port();
    my $t = gateway(1, sub { <<"X" }, join ' ', map { "location /$_ { proxy_pass http://$_; }" } qw(plain guarded refused));
    upstream plain { server $_[0]; keepalive 64; }
    upstream guarded { server $_[0]; gitpod_breaker; keepalive 64; }
    upstream refused { server 127.0.0.1:$dead; gitpod_breaker failures=1 base=1h; keepalive 64; }
X
    $t->{http} = $t->{http}->(backend($t));
    $t->start;
    $t->get('/refused');
    my ($worker) = $t->workers;
    load($t, $worker, $_) for qw(/plain /guarded);
    my (%us, @closed, @refused);
    for my $round (1 .. $rounds) {
        for my $path ($round % 2 ? qw(/plain /guarded /refused) : qw(/refused /guarded /plain)) { push @{ $us{$path} }, load($t, $worker, $path) }
        push @closed, $us{'/guarded'}[-1] / $us{'/plain'}[-1];
        push @refused, $us{'/refused'}[-1] / $us{'/plain'}[-1];
        printf "round %d: plain %.1f us, with a breaker %.1f us (%.3f x), refused %.1f us CPU per request\n", $round, (map { $us{$_}[-1] } qw(/plain /guarded)), $closed[-1], $us{'/refused'}[-1];
    }
    $t->reap($t->{nginx_pid}, 'QUIT');
    $t->reap($t->{backend_pid}, 'QUIT'); # killed, it would leave its worker behind
    $t->{stopped} = 1;
    $t->reap($_, 'KILL') for keys %{ $t->{children} };
    File::Path::remove_tree($t->{dir});
    printf "breaker, closed: bar <= %.2f x CPU of the same upstream without it, figure %.3f x (median of %d): %s\n", CLOSED, median(@closed), $rounds, verdict(median(@closed) <= CLOSED);
    printf "breaker, refused: bar <= %.1f x CPU of a proxied request, figure %.2f x, %.1f us: %s\n", REFUSED, median(@refused), median(@{ $us{'/refused'} }), verdict(median(@refused) <= REFUSED);
}

behaviour();
cost();
