#!/usr/bin/perl
# See bench/outlive.sh.
use strict;
use warnings;
use IO::Select;
use Time::HiRes qw(time sleep);
use FindBin;
use lib "$FindBin::Bin/../lib";
use BenchBackend;
use GitpodGateway;

use constant { SOCKETS => 20, CONNECTIONS => 8, LEAD_S => 2 };

my $seconds = $ARGV[0] // 60;
$seconds =~ /^[1-9][0-9]{0,4}$/ or die "usage: outlive.sh [seconds]\n";
my $rate = $ENV{RATE} // 1000;
my $failed = 0;
$| = 1;

sub verdict {
    my ($text, $figure, $bar, $ok) = @_;
    printf "outlive: %s: bar %s, figure %s: %s\n", $text, $bar, $figure, $ok ? 'pass' : 'falls short';
    $failed = 1 if !$ok;
}

my $g = GitpodGateway->new(buffered_log => 1, level => 'error', workers => 2);
my $id = 'amber-fox-k3j9x2m1';
my $address = GitpodGateway::free_address();
my %route = (address => $address, ports => [{ port => 3000, visibility => 'public', protocol => 'http' }]);
my $host = $g->host($id);
my $unknown = $g->host('blue-owl-aaaabbbb');
my $token = $g->owner_token($id);
my $url = "http://127.0.0.1:$g->{port}/";
BenchBackend::start($g, $address);
$g->serve_workspace($id, $address, 3000);
my $later = GitpodGateway::free_address(); # of a workspace that starts when Redis is back
$g->serve_workspace('green-elk-ccccdddd', $later, 3000);

sub status { my ($h, @headers) = @_; return (eval { $g->get($h, '/', @headers)->{status} } // 0) }
$g->route($id, %route);
GitpodGateway::wait_for('the route', sub { status($host, 'X-Gitpod-Owner-Token' => $token) == 200 });

# ---- the load: three identities, one of them on a new connection each time ----

my @who = (
    ['the owner token', 'X-Gitpod-Owner-Token: ' . $token],
    ['a workspace cookie', 'Cookie: gp_workspace=' . $g->workspace_token(host => $host, ws => $id)],
    ['the owner token on new connections', 'X-Gitpod-Owner-Token: ' . $token, 'Connection: close'],
);
$ENV{PAUSE_MS} = int(1000 * @who * CONNECTIONS / $rate) || 1;
my @load = map {
    my ($what, @headers) = @$_;
    my $out = "$g->{dir}/wrk-$what";
    my $pid = BenchBackend::wrk($g, $out, '-t1', '-c' . CONNECTIONS, '-d' . ($seconds + 300) . 's', '-s', "$ENV{TOP}/bench/outlive/pace.lua",
        '-H', "Host: $host", (map { ('-H', $_) } @headers), $url);
    { what => $what, out => $out, pid => $pid };
} @who;
my @sockets = map {
    my $r = $g->upgrade("3000-$host", '/', 'X-Gitpod-Owner-Token' => $token);
    die "no WebSocket: $r->{status}\n" if $r->{status} != 101;
    $r->{socket};
} 1 .. SOCKETS;
sleep LEAD_S;

# ---- without Redis ----

$g->stop_redis;
my $stopped = time;
GitpodGateway::wait_for('the loss of Redis', sub { status($unknown) == 503 });
printf "outlive: Redis is stopped for %d s under %d requests/s\n", $seconds, $rate;
my (%answers, $public, $asked);
while (time - $stopped < $seconds) {
    $answers{ status($unknown) }++;
    $public++ if status("3000-$host") != 200;
    $asked++;
    sleep 0.25;
}
verdict("answers to $asked requests for an unknown workspace", join(', ', map { "$answers{$_} x $_" } sort keys %answers), 'all 503', keys %answers == 1 && $answers{503});
verdict("failed of $asked requests to a public port", $public // 0, '0', !$public);

# ---- and with it again ----

$g->start_redis;
$g->route($id, %route);
$g->route('green-elk-ccccdddd', address => $later, ports => $route{ports});
my $back = time;
my $new = $g->host('green-elk-ccccdddd');
GitpodGateway::wait_for('a new route', sub { status("3000-$new") == 200 });
GitpodGateway::wait_for('an unknown workspace to be unknown', sub { status($unknown) =~ /^(?:404|401)$/ });
my $took = time - $back;
verdict('a new route is served and an unknown workspace is unknown, after Redis is back', sprintf('%.2f s', $took), '<= 2 s', $took <= 2);
sleep LEAD_S;
for my $load (@load) {
    kill 'INT', $load->{pid};
    waitpid $load->{pid}, 0;
    my ($requests, $errors) = BenchBackend::wrk_said($load->{out});
    verdict("failed of $requests requests with $load->{what}", $errors, '0', $requests && !$errors);
}
my $lost = grep {
    my $s = $_;
    local $SIG{PIPE} = 'IGNORE';
    !(syswrite($s, 'ping') && IO::Select->new($s)->can_read(5) && (sysread($s, my $back, 4) // 0) == 4);
} @sockets;
verdict('WebSockets lost of ' . SOCKETS, $lost, '0', $lost == 0);
exit $failed;
