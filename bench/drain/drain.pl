#!/usr/bin/perl
# See bench/drain.sh.
use strict;
use warnings;
use GitpodRolling;
use Time::HiRes qw(time);

$| = 1;
my $rounds = $ENV{ROUNDS} // 3;
my $r = GitpodRolling->new(delay => 2, timeout => 5, inter => '500ms');
my $dir = $r->{gateway}[0]{dir};

# What stops nginx: the script of the product, or none (SIGTERM), or one that sends SIGQUIT at once.
sub stop_by {
    my ($how) = @_;
    for my $n (0, 1) {
        my $script = $r->service($n) . '/control/t';
        if ($how eq 'drain') { $r->render($r->{gateway}[$n], 'nginx.drain', $script) }
        elsif ($how eq 'SIGTERM') { unlink $script }
        else { GitpodGateway::spew($script, "#!/bin/sh\nkill -QUIT \$(cat supervise/pid)\n"); chmod 0755, $script }
    }
}

# Failed requests, and all, of a load during the restarts.
sub restarts {
    my ($how) = @_;
    stop_by($how);
    my $out = "$dir/wrk-$how";
    my $wrk = $r->{gateway}[0]->child("wrk-$how.log", sub {
        open STDOUT, '>', $out;
        exec 'wrk', '-t1', '-c32', '-d600s', '-H', 'Host: gitpod.test', "http://127.0.0.1:$r->{port}/";
    });
    my $start = time;
    for (1 .. $rounds) { $r->restart($_) for 0, 1 }
    kill 'INT', $wrk;
    waitpid $wrk, 0;
    my $said = GitpodGateway::slurp($out);
    my ($all) = $said =~ /(\d+) requests in/ or die "wrk said: $said";
    my ($status) = $said =~ /Non-2xx or 3xx responses: (\d+)/;
    my ($connect, $read, $write, $timeout) = $said =~ /Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)/;
    my $failed = ($status // 0) + ($connect // 0) + ($read // 0) + ($write // 0) + ($timeout // 0);
    printf "%-8s %6d of %8d requests failed in %d restarts, %.0f s%s\n", $how, $failed, $all, 2 * $rounds, time - $start,
        $failed ? join '', ':', map { " $_->[1] $_->[0]" } grep { $_->[1] } ['status', $status], ['connect', $connect], ['read', $read], ['timeout', $timeout] : '';
    return $failed;
}

my %failed = map { $_ => restarts($_) } 'drain', 'SIGQUIT', 'SIGTERM';
printf "drain: failed requests of drained rolling restarts: bar 0, figure %d (SIGQUIT at once %d, SIGTERM %d): %s\n",
    @failed{'drain', 'SIGQUIT', 'SIGTERM'}, $failed{drain} == 0 ? 'pass' : 'falls short';
if ($failed{SIGTERM} == 0) {
    print "drain: nothing failed without a drain either: the load was too small to tell\n";
}
$r->end(0);
exit($failed{drain} != 0 || $failed{SIGTERM} == 0);
