#!/usr/bin/perl
# See bench/routes.sh.
use strict;
use warnings;
use IO::Select;
use IO::Socket::INET;
use FindBin;
use lib "$FindBin::Bin/../lib";
use BenchBackend;
use Time::HiRes qw(time sleep);
use GitpodGateway;
use GitpodRoutes;
use GitpodTest;
use ModuleProgram;

use constant { SAMPLES => 300, SOCKETS => 20 };

my $routes = $ENV{ROUTES} // 100_000;
my $changes = $ENV{CHANGES} // 1000;
my $failed = 0;

sub verdict {
    my ($text, $figure, $bar, $ok) = @_;
    printf "routes: %s: bar %s, figure %s: %s\n", $text, $bar, $figure, $ok ? 'pass' : 'falls short';
    $failed = 1 if !$ok;
}

# ---- a lookup ----

my $lookup = ModuleProgram::compile('bench/routes/lookup.c', shared => [qw(table table_write route route_parse listener)], core => [qw(id hex)],
    libraries => ['-ljansson']);
my %n = `$lookup $routes` =~ /(\w+)=(\d+)/g;
verdict("bytes of a route, with its share of the index and of free places", $n{bytes}, '<= 512', $n{bytes} <= 512);
verdict("a lookup among $routes, of 1,000 that are in use", "$n{hot_ns} ns", '<= 300 ns', $n{hot_ns} <= 300);
verdict("a lookup of any of $routes in random order, none in a cache", "$n{cold_ns} ns", '<= 300 ns', $n{cold_ns} <= 300);
printf "routes: that is %.1f x one read at a random place of as much shared memory (%d ns here), the record; the index is small enough to stay near\n", $n{cold_ns} / $n{read_ns}, $n{read_ns};
print "routes: a lookup of one that is not there: $n{miss_ns} ns\n";

# ---- reading all of them ----

my $t = GitpodRoutes->new(zone => '100m', workers => 2, level => 'notice');
$t->{http} =~ s/add_header X-Instance/add_header X-Worker \$pid always;\n            add_header X-Instance/ or die;
for (my $i = 1; $i <= $routes; $i += 500) {
    my $last = $i + 499 < $routes ? $i + 499 : $routes;
    $t->redis_command('HSET', 'gitpod:routes', map { ("ws-$_" => GitpodRoutes::record("ws-$_", 1)) } $i .. $last);
}
$t->start;
GitpodTest::wait_for('the first sync', sub { $t->get('/startup')->{status} == 200 }, 120);
sub synced { return $t->error_log =~ /.*synced with Redis in (\d+) ms/s ? $1 : undef }
my $first = synced();
my $count = $t->metric('gitpod_redis_resyncs_total');
$t->redis_command('CLIENT', 'KILL', 'TYPE', 'pubsub');
GitpodTest::wait_for('a resync', sub { $t->metric('gitpod_redis_resyncs_total') > $count }, 120);
printf "routes: read from Redis the first time in %d ms, again after a lost connection in %d ms\n", $first, synced();
verdict('routes in the table after it', $t->metric('gitpod_routes'), $routes, $t->metric('gitpod_routes') == $routes);

# ---- PUBLISH to visible in every worker ----

my %worker;
for (1 .. 200) {
    last if keys %worker == 2;
    my $s = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $t->{port}) or die "connect: $!";
    $s->autoflush(1);
    my ($version, $pid) = ask($s);
    $worker{$pid} //= $s;
}
die "one worker takes all connections\n" if keys %worker < 2;

# One request on a kept connection: the version of the route, and who answered.
sub ask {
    my ($s) = @_;
    print $s "HEAD / HTTP/1.1\r\nHost: 3000-ws-1.ws-gitpod.test\r\n\r\n";
    my $head = '';
    while ($head !~ /\r\n\r\n/) { sysread $s, $head, 4096, length $head or die "the connection was closed\n" }
    my ($instance) = $head =~ /^X-Instance: (\w{8})/mi;
    my ($pid) = $head =~ /^X-Worker: (\d+)/mi;
    return (hex($instance // 0), $pid);
}

my @took;
for my $version (2 .. SAMPLES + 1) {
    my $record = GitpodRoutes::record('ws-1', $version);
    $t->redis_command('HSET', 'gitpod:routes', 'ws-1', $record);
    my $from = time;
    $t->redis_command('PUBLISH', 'gitpod:routes:changes', $record);
    for my $s (values %worker) {
        while ((ask($s))[0] < $version) { die "never seen\n" if time - $from > 10 }
    }
    push @took, 1000 * (time - $from);
}
@took = sort { $a <=> $b } @took;
my ($p50, $p99) = map { $took[int($_ * @took)] } 0.5, 0.99;
verdict(sprintf('PUBLISH to seen by a request in both workers, p50 %.2f ms, p99', $p50), sprintf('%.2f ms', $p99), '<= 5 ms', $p99 <= 5);
kill 'TERM', $t->{nginx_pid};
waitpid $t->{nginx_pid}, 0;
$t->{stopped} = 1;
kill 'KILL', keys %{ $t->{children} };
system 'rm', '-rf', $t->{dir};

# ---- changes under load ----

my $g = GitpodGateway->new(buffered_log => 1, level => 'warn', workers => 2);
my $id = 'amber-fox-k3j9x2m1';
my $address = GitpodGateway::free_address();
BenchBackend::start($g, $address);
$g->serve_workspace($id, $address, 3000);
my $host = $g->host($id);
my @owner = ('X-Gitpod-Owner-Token' => $g->owner_token($id));
$g->route($id, address => $address);
GitpodGateway::wait_for('the route', sub { (eval { $g->get($host, '/', @owner)->{status} } // 0) == 200 });

my @sockets = map {
    my $r = $g->upgrade("3000-$host", '/', @owner);
    die "no WebSocket: $r->{status}\n" if $r->{status} != 101;
    $r->{socket};
} 1 .. SOCKETS;
my $stream = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $g->{port});
print $stream "GET /events HTTP/1.1\r\nHost: 3000-$host\r\nX-Gitpod-Owner-Token: $owner[1]\r\n\r\n";
$stream->flush;
IO::Select->new($stream)->can_read(10) && sysread($stream, my $events, 4096) or die "no stream\n";

my $out = "$g->{dir}/wrk.out";
my $wrk = BenchBackend::wrk($g, $out, '-t1', '-c32', '-d600s', '-H', "Host: $host", '-H', "X-Gitpod-Owner-Token: $owner[1]", "http://127.0.0.1:$g->{port}/");
my $from = time;
for my $n (1 .. $changes) {
    if ($n % 2) { $g->route($id, address => $address, ports => [{ port => 4000 + $n % 7, visibility => 'private' }]) }
    else { $g->route('ws-' . $n % 50, address => $address, phase => $n % 4 ? 'running' : 'stopped') }
    sleep 0.002; # spread over the load, not one burst
}
my $spent = time - $from;
sleep 1;
kill 'INT', $wrk;
waitpid $wrk, 0;
my ($requests, $errors) = BenchBackend::wrk_said($out);
verdict(sprintf('failed of %d requests during %d changes in %.1f s', $requests, $changes, $spent), $errors, '0', $requests && $errors == 0);
my $lost = grep {
    my $s = $_;
    local $SIG{PIPE} = 'IGNORE';
    !(syswrite($s, 'ping') && IO::Select->new($s)->can_read(5) && (sysread($s, my $back, 4) // 0) == 4);
} @sockets;
verdict('WebSockets lost of ' . SOCKETS, $lost, '0', $lost == 0);
my $ended = IO::Select->new($stream)->can_read(0.2) && !sysread $stream, $events, 4096;
verdict('streams lost of 1', $ended ? 1 : 0, '0', !$ended);
exit $failed;
