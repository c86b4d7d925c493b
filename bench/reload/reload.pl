#!/usr/bin/perl
# See bench/reload.sh.
use strict;
use warnings;
use IO::Select;
use Time::HiRes qw(time);
use GitpodGateway;

use constant { WARM => 20, FLAT => 1.05, HELD_RELOADS => 20, HELD_EACH => 5 };

my $reloads = $ENV{RELOADS} // 200;
my $failed = 0;

# What runs in production, but for the clock that ends old workers: the second
# part counts them before it does.
my $g = GitpodGateway->new(buffered_log => 1, level => 'warn', workers => 2, edit => sub {
    my ($name, $text) = @_;
    $text =~ s/worker_shutdown_timeout \S+;/worker_shutdown_timeout 600s;/ if $name eq 'nginx.conf';
    return $text;
});

my $id = 'amber-fox-k3j9x2m1';
my $address = GitpodGateway::free_address();
GitpodGateway::spew("$g->{dir}/backend.conf", <<"END");
worker_processes 1;
pid $g->{dir}/backend.pid;
error_log stderr;
events { worker_connections 1024; }
http {
    access_log off;
    client_body_temp_path $g->{dir}/b1; proxy_temp_path $g->{dir}/b2; fastcgi_temp_path $g->{dir}/b3; uwsgi_temp_path $g->{dir}/b4; scgi_temp_path $g->{dir}/b5;
    server { listen $address:23000; keepalive_requests 1000000000; location / { default_type text/plain; return 200 "hello from a workspace\\n"; } }
}
END
$g->child('backend.log', sub { exec '/usr/sbin/nginx', '-e', 'stderr', '-c', "$g->{dir}/backend.conf", '-g', 'daemon off;' });
$g->route($id, address => $address);
my $host = $g->host($id);
my @cookie = (Cookie => 'gp_workspace=' . $g->workspace_token(host => $host, ws => $id));
GitpodGateway::wait_for('the route', sub { (eval { $g->get($host, "/", @cookie)->{status} } // 0) == 200 });

sub workers { return grep { -e "/proc/$_" } $g->worker_pids }

sub pss_kb {
    my $sum = 0;
    for my $pid (@_) { $sum += $1 if (eval { GitpodGateway::slurp("/proc/$pid/smaps_rollup") } // '') =~ /^Pss:\s+(\d+)/m }
    return $sum;
}

sub is_old { my ($pid) = @_; return (eval { GitpodGateway::slurp("/proc/$pid/cmdline") } // '') =~ /shutting down/ }

# One reload: done when workers of the new configuration serve.
sub reload {
    my ($all_gone) = @_;
    my %before = map { $_ => 1 } workers();
    kill 'HUP', $g->{nginx_pid};
    GitpodGateway::wait_for('new workers', sub { (grep { !$before{$_} } workers()) >= 2 });
    GitpodGateway::wait_for('the old ones to notice', sub { !grep { $before{$_} && !is_old($_) } workers() });
    GitpodGateway::wait_for('the old ones to end', sub { !grep { $before{$_} } workers() }) if $all_gone;
}

sub verdict {
    my ($text, $figure, $bar, $ok) = @_;
    printf "reload: %s: bar %s, figure %s: %s\n", $text, $bar, $figure, $ok ? 'pass' : 'falls short';
    $failed = 1 if !$ok;
}

# ---- short connections ----

my $seconds = 600;
my $out = "$g->{dir}/wrk.out";
my $wrk = $g->child('wrk.log', sub {
    open STDOUT, '>', $out;
    exec 'wrk', '-t1', '-c16', "-d${seconds}s", '-H', "Host: $host", '-H', "Cookie: $cookie[1]", '-H', 'Connection: close', "http://127.0.0.1:$g->{port}/";
});
my (@memory, $start);
$start = time;
for my $n (1 .. $reloads) {
    reload(1);
    push @memory, pss_kb($g->{nginx_pid}, workers());
    printf "%3d reloads, %.0f s: master and workers %d KB\n", $n, time - $start, $memory[-1] if $n % 20 == 0;
}
kill 'INT', $wrk;
waitpid $wrk, 0;
my $said = GitpodGateway::slurp($out);
my ($requests) = $said =~ /(\d+) requests in/ or die "wrk said: $said";
my $errors = join ' ', $said =~ /(Non-2xx.*|Socket errors:.*)/g;
printf "%d requests on connections of their own meanwhile\n", $requests;

sub median { my @sorted = sort { $a <=> $b } @_; return $sorted[@sorted / 2] }
my $early = median(@memory[WARM .. WARM + 9]);
my $late = median(@memory[-10 .. -1]);
verdict("memory after $reloads reloads against that after " . WARM, sprintf('%.3f x (%d KB, %d KB)', $late / $early, $late, $early), '<= ' . FLAT . ' x', $late <= $early * FLAT);
verdict('failed requests', $errors eq '' ? 'none' : $errors, 'none', $errors eq '');

# ---- held WebSockets ----

my $ws_id = 'blue-owl-a1b2c3d4';
my $ws_host = $g->workspace($ws_id, listen => [23000, 22999]);
my $ws_cookie = 'gp_workspace=' . $g->workspace_token(host => $ws_host, ws => $ws_id);
my @held;
for (1 .. HELD_RELOADS) {
    for (1 .. HELD_EACH) {
        my $r = $g->upgrade($ws_host, '/', Cookie => $ws_cookie, Origin => $g->origin($ws_host));
        die "no WebSocket: $r->{status} $r->{body}" if $r->{status} != 101;
        push @held, $r->{socket};
    }
    reload(0);
}
my @old = grep { is_old($_) } workers();
my $alive = 0;
for my $s (@held) {
    print $s 'ping';
    $s->flush;
    my $echo = "";
    sysread $s, $echo, 64 if IO::Select->new($s)->can_read(5);
    $alive++ if $echo eq "ping";
}
printf "%d reloads with %d WebSockets held: %d old workers, %d KB in all, %.0f KB each (PSS); the two new ones %d KB\n",
    HELD_RELOADS, scalar @held, scalar @old, pss_kb(@old), @old ? pss_kb(@old) / @old : 0, pss_kb(grep { !is_old($_) } workers());
verdict('WebSockets that still answer', "$alive of " . @held, 'all', $alive == @held);
verdict('old workers', scalar @old, '<= 2 for each reload with WebSockets held', @old <= 2 * HELD_RELOADS);
close $_ for @held;
my $gone = eval { GitpodGateway::wait_for('old workers to end', sub { !grep { is_old($_) } workers() }) };
verdict('old workers once their WebSockets are closed', $gone ? 'none' : scalar(grep { is_old($_) } workers()), 'none', $gone);
exit $failed;
