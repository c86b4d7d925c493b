#!/usr/bin/perl
# See bench/probe.sh.
use strict;
use warnings;
use IO::Socket::INET;
use POSIX qw(sysconf _SC_CLK_TCK);
use Time::HiRes qw(time sleep);
use GitpodGateway;

$| = 1;
my $rounds = $ENV{ROUNDS} // 3;
my @path = ('/plain', '/ready', '/ready?verbose');
my $g = GitpodGateway->new(buffered_log => 1, level => 'warn', workers => 2, edit => sub {
    my ($name, $text) = @_;
    $text =~ s/^( *)location = \/live/$1location = \/plain { return 200 "hello"; }\n$1location = \/live/m if $name eq 'nginx_probe.conf';
    return $text;
});

# One request on a connection of its own, as probes do; its status and seconds.
sub probe {
    my ($path) = @_;
    my $start = time;
    my $s = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $g->{probe_port}) or return (0, time - $start);
    syswrite $s, "GET $path HTTP/1.0\r\n\r\n";
    my $text = '';
    1 while sysread $s, $text, 65536, length $text;
    return ($text =~ /^HTTP\S+ (\d+)/ ? $1 : 0, time - $start);
}
GitpodGateway::wait_for('/ready', sub { (probe('/ready'))[0] == 200 });

sub cpu_s {
    my $ticks = 0;
    for my $pid ($g->worker_pids) { my @f = split / /, GitpodGateway::slurp("/proc/$pid/stat"); $ticks += $f[13] + $f[14] }
    return $ticks / sysconf(_SC_CLK_TCK);
}
sub percentile { my ($p, @v) = @_; @v = sort { $a <=> $b } @v; return $v[int($#v * $p / 100)] }

my (%cpu, %seconds, $lost);
for my $round (1 .. $rounds) {
    for my $path (@path) {
        my $before = cpu_s();
        my $said = `wrk -t1 -c4 -d2s 'http://127.0.0.1:$g->{probe_port}$path'`;
        my ($n) = $said =~ /(\d+) requests in/ or die "wrk said: $said";
        push @{ $cpu{$path} }, 1e6 * (cpu_s() - $before) / $n;
    }
    my $wrk = $g->child('wrk.log', sub { exec 'wrk', '-t1', '-c64', '-d600s', '-H', "Host: $g->{domain}", "http://127.0.0.1:$g->{port}/" });
    my $until = time + 5;
    while (time < $until) {
        for my $path (@path) {
            my ($status, $took) = probe($path);
            $lost++ if $status != 200;
            push @{ $seconds{$path} }, $took;
        }
        sleep 0.005;
    }
    kill 'KILL', $wrk;
    waitpid $wrk, 0;
}

for my $path (@path) {
    printf "%-16s CPU %5.1f us (%.2f x plain); under load: p50 %.2f ms, p99 %.2f ms, longest %.1f ms of %d\n", $path,
        percentile(50, @{ $cpu{$path} }), percentile(50, @{ $cpu{$path} }) / percentile(50, @{ $cpu{'/plain'} }),
        (map { 1000 * percentile($_, @{ $seconds{$path} }) } 50, 99, 100), scalar @{ $seconds{$path} };
}
my $cpu_ms = percentile(50, @{ $cpu{'/ready'} }) / 1000;
my $p50_ms = 1000 * percentile(50, @{ $seconds{'/ready'} });
printf "probe: CPU of one /ready: bar < 1 ms, figure %.3f ms: %s\n", $cpu_ms, $cpu_ms < 1 ? 'pass' : 'falls short';
printf "probe: /ready under full load, p50: bar < 1 ms, figure %.2f ms (plain %.2f ms): %s\n", $p50_ms, 1000 * percentile(50, @{ $seconds{'/plain'} }),
    $p50_ms < 1 ? 'pass' : 'falls short';
printf "probe: probes that were not answered 200: bar 0, figure %d: %s\n", $lost // 0, $lost ? 'falls short' : 'pass';
exit($cpu_ms >= 1 || $p50_ms >= 1 || $lost ? 1 : 0);
