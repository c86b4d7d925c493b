#!/usr/bin/perl
# See bench/events.sh.
use strict;
use warnings;
use File::Temp;
use IPC::Open2;
use Time::HiRes qw(clock_gettime CLOCK_MONOTONIC sleep time);
use GitpodGateway;

use constant { CLIENTS => 2, EACH => 40, SLOW => 50, PROXIED => 3000, P99_MS => 100, BYTES => 2048 };

# Each user has as many streams at each client: a multiple of both.
my $n = $ENV{SUBSCRIBERS} // 10_000;
die "SUBSCRIBERS: a multiple of @{[EACH]}, 2,000 or more\n" if $n % EACH || $n < 2000;
my $seconds = $ENV{SECONDS_OF_EACH} // 10;
my $failed = 0;
my $socket = File::Temp::tempdir(CLEANUP => 1) . '/events.sock';

my $g = GitpodGateway->new(buffered_log => 1, level => 'warn', workers => 1, edit => sub {
    my ($name, $text) = @_;
    if ($name eq 'nginx.conf') {
        $text =~ s/worker_connections \d+;/worker_connections 16000;/;
        $text =~ s/worker_rlimit_nofile \d+;/worker_rlimit_nofile 19000;/;
    }
    if ($name eq 'nginx_domain.conf') {
        $text =~ s/gitpod_events on;/gitpod_events on per_user=20000 per_worker=15000;/;
        $text =~ s{^(\s+listen \d+;)}{$1\n    listen unix:$socket backlog=1024;}m;
    }
    return $text;
});
GitpodGateway::wait_for('the events of Redis', sub { $g->metric('gitpod_events_synced') });

sub uuid { my ($i) = @_; return sprintf '%08x-0000-4000-8000-000000000000', $i }
sub median { my @sorted = sort { $a <=> $b } @_; return $sorted[@sorted / 2] }

sub verdict {
    my ($text, $figure, $bar, $ok) = @_;
    printf "events: %s: bar %s, figure %s: %s\n", $text, $bar, $figure, $ok ? 'pass' : 'falls short';
    $failed = 1 if !$ok;
}

sub rss_anon {
    my ($pid) = @_;
    return GitpodGateway::slurp("/proc/$pid/status") =~ /^RssAnon:\s+(\d+)/m ? $1 * 1024 : die 'no RssAnon';
}

# ---- clients ----

my @children;
sub client {
    my ($name, $socket, $cookies, $count) = @_;
    my $out = "$g->{dir}/$name.times";
    my $pid = open2(my $from, my $to, $ENV{SUBSCRIBE}, $socket, $g->{domain}, $cookies, $count, $out);
    push @{ $g->{children} }, $pid;
    return { pid => $pid, from => $from, to => $to, out => $out };
}
sub ready { my ($c) = @_; my $line = readline($c->{from}) // ''; die "a client says: $line" if $line ne "ready\n" }
sub times_of {
    my ($c) = @_;
    print { $c->{to} } "write\n";
    $c->{to}->flush;
    my ($count, $ended) = readline($c->{from}) =~ /^written (\d+) (\d+)/ or die 'a client ended';
    open my $f, '<:raw', $c->{out} or die $!;
    local $/;
    my @times = unpack 'L*', <$f> // '';
    return ($ended, @times);
}
sub end { my ($c) = @_; $g->end_child($c->{pid}, 'KILL') }

# Cookies of so many users, in a file.
sub cookies {
    my ($name, @users) = @_;
    my $file = "$g->{dir}/$name.cookies";
    GitpodGateway::spew($file, join '', map { 'gp_session=' . $g->session_token(sub => uuid($_), sid => "s$_") . "\n" } @users);
    return $file;
}

# One event a tick for a user, the time of the PUBLISH in it.
my $script = 'local id = redis.call("XADD", KEYS[1], "MAXLEN", "~", 4096, "*", "event", ARGV[1]); redis.call("PUBLISH", ARGV[2], id .. " " .. ARGV[1]); return 1';
sub publish {
    my ($user) = @_;
    my $data = sprintf '{"t":%d,"workspaceId":"amber-fox-k3j9x2m1","status":{"filler":"%s"}}', clock_gettime(CLOCK_MONOTONIC) * 1e6, 'x' x 600;
    $g->redis('EVAL', $script, 1, 'gitpod:events', 'workspace ' . uuid($user) . " $data", 'gitpod:events:changes');
}

sub measure {
    my ($what, $per_second, $to, @clients) = @_;
    times_of($_) for @clients;
    my ($sent, $end) = (0, time + $seconds);
    while (time < $end) {
        publish($to->($sent++));
        sleep 1 / $per_second;
    }
    sleep 1;    # what is late is counted, not missed
    my ($ended, @times) = (0);
    for (@clients) { my ($e, @t) = times_of($_); $ended += $e; push @times, @t }
    @times = map { $_ / 1000 } sort { $a <=> $b } @times;
    printf "%s: %d events, %d deliveries, p50 %.1f ms, p95 %.1f ms, p99 %.1f ms, most %.1f ms\n", $what, $sent, scalar @times,
        $times[@times * 0.5], $times[@times * 0.95], $times[@times * 0.99], $times[-1];
    return ($sent, $ended, @times);
}

# ---- 10,000 on one worker ----

my ($worker) = $g->worker_pids;
my $users = int($n / EACH);
my $cookies = cookies('users', 1 .. $users);
my $half = int($n / CLIENTS);

my @clients = (client('c0', $socket, $cookies, $half));
ready($clients[0]);
my $first = rss_anon($worker);
push @clients, client("c$_", $socket, $cookies, $half) for 1 .. CLIENTS - 1;
ready($_) for @clients[1 .. $#clients];
my $subscribers = $g->metric('gitpod_subscribers');
my $ours = (rss_anon($worker) - $first) / ($subscribers - $half);
printf "%d subscribers of %d users on one worker\n", $subscribers, $users;
verdict('memory of a subscriber (RssAnon of the worker, slope over the last ' . ($subscribers - $half) . ')', sprintf('%d bytes', $ours), '<= ' . BYTES . ' bytes', $ours <= BYTES);

my ($sent, $ended, @times) = measure('each event for ' . EACH . " of $n", 50, sub { 1 + $_[0] * 7919 % $users }, @clients);
verdict("p99 from PUBLISH, for " . EACH . " of $n", sprintf('%.1f ms', $times[@times * 0.99]), '<= ' . P99_MS . ' ms', $times[@times * 0.99] <= P99_MS);
verdict('deliveries', scalar(@times), $sent * EACH . ', none missing', @times == $sent * EACH && !$ended);

# ---- some do not read ----

my @deaf;
my $deaf_cookie = do { open my $f, '<', $cookies or die $!; my $line = <$f>; chomp $line; $line };
for (1 .. SLOW) {
    my $s = IO::Socket::UNIX->new(Peer => $socket) or die $!;
    print $s "GET /api/events HTTP/1.1\r\nHost: $g->{domain}\r\nCookie: $deaf_cookie\r\n\r\n";
    $s->flush;
    push @deaf, $s;
}
GitpodGateway::wait_for('those that do not read', sub { $g->metric('gitpod_subscribers') >= $subscribers + SLOW });
my (undef, undef, @beside) = measure('the same beside ' . SLOW . ' that do not read', 50, sub { 1 }, @clients);
verdict('p99 beside those that do not read', sprintf('%.1f ms', $beside[@beside * 0.99]), '<= ' . P99_MS . ' ms', $beside[@beside * 0.99] <= P99_MS);
close $_ for @deaf;
end($_) for @clients;
GitpodGateway::wait_for('nobody to be left', sub { $g->metric('gitpod_subscribers') == 0 });

# ---- all of one user ----

my $one = cookies('one', 1);
@clients = map { client("all$_", $socket, $one, $half) } 0 .. CLIENTS - 1;
ready($_) for @clients;
($sent, $ended, @times) = measure("each event for all $n", 4, sub { 1 }, @clients);
verdict("p99 from PUBLISH, for all $n", sprintf('%.1f ms', $times[@times * 0.99]), '<= ' . P99_MS . ' ms', $times[@times * 0.99] <= P99_MS);
verdict('deliveries', scalar(@times), $sent * $half * CLIENTS . ', none missing', @times == $sent * $half * CLIENTS && !$ended);
end($_) for @clients;
GitpodGateway::wait_for('nobody to be left', sub { $g->metric('gitpod_subscribers') == 0 });

# ---- plain nginx before the same stream ----

my $proxied = "$g->{dir}/proxied.sock";
GitpodGateway::spew("$g->{dir}/plain.conf", <<"END");
user root;
worker_processes 1;
worker_rlimit_nofile 19000;
pid $g->{dir}/plain.pid;
error_log stderr;
events { worker_connections 16000; }
http {
    access_log off;
    client_body_temp_path $g->{dir}/b1; proxy_temp_path $g->{dir}/b2; fastcgi_temp_path $g->{dir}/b3; uwsgi_temp_path $g->{dir}/b4; scgi_temp_path $g->{dir}/b5;
    server {
        listen unix:$proxied backlog=1024;
        location / {
            proxy_pass http://unix:$socket:;
            proxy_http_version 1.1;
            proxy_set_header Host \$http_host;
            proxy_set_header Connection "";
            proxy_buffering off;
            proxy_read_timeout 1h;
        }
    }
}
END
my $plain = $g->child('plain.log', sub { exec '/usr/sbin/nginx', '-e', 'stderr', '-c', "$g->{dir}/plain.conf", '-g', 'daemon off;' });
GitpodGateway::wait_for('plain nginx', sub { -S $proxied });
my ($plain_worker) = GitpodGateway::wait_for('its worker', sub { `ps -o pid= --ppid $plain` =~ /(\d+)/ ? $1 : 0 });
@clients = (client('p0', $proxied, $one, PROXIED / 2));
ready($clients[0]);
$first = rss_anon($plain_worker);
push @clients, client('p1', $proxied, $one, PROXIED / 2);
ready($clients[1]);
my $theirs = (rss_anon($plain_worker) - $first) / (PROXIED / 2);
printf "plain nginx, proxying unbuffered: %d bytes a stream, and an upstream connection each\n", $theirs;
verdict('memory against plain nginx proxying the stream', sprintf('%.3f x (%d bytes, %d bytes)', $ours / $theirs, $ours, $theirs), '< 1 x', $ours < $theirs);
end($_) for @clients;

exit $failed;
