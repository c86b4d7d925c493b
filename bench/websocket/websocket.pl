#!/usr/bin/perl
# See bench/websocket.sh.
use strict;
use warnings;
use IPC::Open2;
use POSIX qw(sysconf _SC_CLK_TCK);
use GitpodGateway;

use constant { BAR_MEMORY => 1.1, BAR_CPU => 1.2, FIRST => 1000 };

my $idle = $ENV{IDLE} // 5000;
my $busy = $ENV{BUSY} // 200;
my $rounds = $ENV{ROUNDS} // 5;
my $seconds = $ENV{SECONDS_OF_EACH} // 2;
die "IDLE: @{[FIRST]} to 5,500 without BUSY\n" if $idle <= FIRST || $idle + $busy > 5500;
my $failed = 0;
my $id = 'amber-fox-k3j9x2m1';
my $address = GitpodGateway::free_address();

# as many connections as a process here may have: two for each WebSocket
my $g = GitpodGateway->new(buffered_log => 1, level => 'warn', workers => 1, edit => sub {
    my ($name, $text) = @_;
    $text =~ s/worker_connections \d+;/worker_connections 16000;/ and $text =~ s/worker_rlimit_nofile \d+;/worker_rlimit_nofile 19000;/
        if $name eq 'nginx.conf';
    return $text;
});
$g->child('backend.log', sub { exec $ENV{WEBSOCKET}, 'serve', $address, 23000 or die $! });
my $host = $g->route($id, address => $address);
my $cookie = 'theme=dark; gp_workspace=' . $g->workspace_token(host => $host, ws => $id);

# The workspace's server again with nothing of ours: the same directives of nginx.
my $port = GitpodGateway::free_port();
sub plain {
    my $conf = "$GitpodGateway::TOP/conf/nginx";
    my $proxy = GitpodGateway::slurp("$conf/nginx_proxy.conf.in") =~ s/^.*\$gitpod_debug_port;\n//mr =~ s/\$gitpod_scheme/\$scheme/r;
    my ($buffers) = GitpodGateway::slurp("$conf/nginx.conf.in") =~ /^( *client_header_buffer_size.*\n.*large_client_header_buffers.*\n)/m or die 'the template changed';
    GitpodGateway::spew("$g->{dir}/plain.conf", <<"END");
user root;
worker_processes 1;
worker_rlimit_nofile 19000;
pid $g->{dir}/plain.pid;
error_log stderr warn;
events { worker_connections 16000; }
http {
    access_log $g->{dir}/plain.access combined buffer=64k flush=1s;
    sendfile on;
    tcp_nodelay on;
$buffers
    client_body_temp_path $g->{dir}/b1; proxy_temp_path $g->{dir}/b2; fastcgi_temp_path $g->{dir}/b3; uwsgi_temp_path $g->{dir}/b4; scgi_temp_path $g->{dir}/b5;
    map \$http_upgrade \$gitpod_upgrade { default ""; ~*^websocket\$ websocket; }
    map \$gitpod_upgrade \$gitpod_connection { default ""; websocket upgrade; }
    upstream workspace { server $address:23000; keepalive 128; keepalive_timeout 60s; }
    server {
        listen $port;
        client_max_body_size 0;
        client_body_timeout 24h;
        send_timeout 24h;
        location / {
            proxy_pass http://workspace;
            $proxy
        }
    }
}
END
    return $g->child('plain.log', sub { exec '/usr/sbin/nginx', '-e', 'stderr', '-c', "$g->{dir}/plain.conf", '-g', 'daemon off;' });
}

sub verdict {
    my ($text, $bar, $figure, $ok) = @_;
    print "websocket: $text: bar $bar, figure $figure: ", $ok ? 'pass' : 'falls short', "\n";
    $failed = 1 if !$ok;
}

sub median { my @sorted = sort { $a <=> $b } @_; return $sorted[@sorted / 2] }

sub memory {
    my ($pid) = @_;
    my $sum = 0;
    my $text = GitpodGateway::slurp("/proc/$pid/status");
    $sum += $1 * 1024 while $text =~ /^Rss(?:Anon|Shmem):\s+(\d+)/mg;
    return $sum;
}

sub cpu_s {
    my ($pid) = @_;
    my @stat = split ' ', GitpodGateway::slurp("/proc/$pid/stat") =~ s/^.*\) //sr;
    return ($stat[11] + $stat[12]) / sysconf(_SC_CLK_TCK);
}

sub side {
    my ($name, $port, $master) = @_;
    my ($worker) = GitpodGateway::wait_for("the worker of $name", sub { `ps -o pid= --ppid $master` =~ /(\d+)/ ? $1 : 0 });
    my $pid = open2(my $from, my $to, $ENV{WEBSOCKET}, 'load', $port, $host, $cookie);
    push @{ $g->{children} }, $pid;
    return { name => $name, worker => $worker, from => $from, to => $to, cpu => [], port => $port };
}

sub ask {
    my ($side, $command, $pattern) = @_;
    print { $side->{to} } "$command\n";
    $side->{to}->flush;
    my $line = readline($side->{from}) // die "$side->{name}: the client ended at \"$command\"\n" . $g->error_log;
    return $line =~ $pattern ? $1 : die "$side->{name}: $line";
}

my $plain_pid = plain();
GitpodGateway::wait_for('plain nginx', sub { IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $port) });
GitpodGateway::wait_for('the route', sub { $g->upgrade($host, '/', Cookie => $cookie, Origin => "http://$host:$g->{port}")->{status} == 101 });
my @sides = (side('plain nginx', $port, $plain_pid), side('the gateway', $g->{port}, $g->{nginx_pid}));

# ---- memory ----

for my $side (@sides) {
    ask($side, 'open ' . FIRST, qr/^open (\d+)/);
    my $first = memory($side->{worker});
    ask($side, 'open ' . ($idle - FIRST), qr/^open (\d+)/);
    $side->{bytes} = (memory($side->{worker}) - $first) / ($idle - FIRST);
    printf "%-12s %d WebSockets open, %.0f bytes each (slope over the last %d)\n", $side->{name}, $idle, $side->{bytes}, $idle - FIRST;
    $side->{open} = ask($side, "open $busy", qr/^open (\d+)/);
}
my ($plain, $ours) = @sides;
my $ratio = $ours->{bytes} / $plain->{bytes};
verdict('memory of a connection against plain nginx', sprintf('<= %.1f x', BAR_MEMORY),
    sprintf('%.2f x (%.0f and %.0f bytes, %+.0f)', $ratio, $ours->{bytes}, $plain->{bytes}, $ours->{bytes} - $plain->{bytes}), $ratio <= BAR_MEMORY);

# ---- messages, all of them open ----

for my $round (1 .. $rounds) {
    for my $side ($round % 2 ? @sides : reverse @sides) {
        my $before = cpu_s($side->{worker});
        my $n = ask($side, "talk $busy $seconds", qr/^talked (\d+)/);
        push @{ $side->{cpu} }, 1e6 * (cpu_s($side->{worker}) - $before) / $n;
        $side->{messages} += $n;
    }
    printf "round %d: %s (us of CPU per message, there and back)\n", $round, join ', ', map { sprintf '%s %.2f', $_->{name}, $_->{cpu}[-1] } @sides;
}
my $cpu = median(map { $ours->{cpu}[$_] / $plain->{cpu}[$_] } 0 .. $rounds - 1);
verdict('CPU of a message against plain nginx', sprintf('<= %.1f x', BAR_CPU),
    sprintf('%.2f x (%.2f and %.2f us)', $cpu, median(@{ $ours->{cpu} }), median(@{ $plain->{cpu} })), $cpu <= BAR_CPU);

# ---- all still there ----

my $good = ask($ours, 'check', qr/^checked (\d+) of $ours->{open}/);
verdict("messages back of $ours->{messages} and one on each connection", "all, and $ours->{open}", "all, and $good", $good == $ours->{open});

exit $failed;
