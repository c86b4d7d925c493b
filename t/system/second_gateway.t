#!/usr/bin/perl
# Two gateways of one machine behind HAProxy, by the words of the operator's guide: each drained, stopped and started in
# turn under load, and nobody notices. Who a client is says the load balancer, and nobody else.
use strict;
use warnings;
use lib 't/lib';
use IO::Socket::INET;
use Test::More;
use Time::HiRes qw(time);
use GitpodSystem;
use GitpodTest ();

my $probe = GitpodTest::free_range(2);
my @port = map { GitpodSystem::free_port() } 1 .. 4;
my %listeners = ($ENV{TEST_MODE} // '') eq 'port' ? (GITPOD_GATEWAY_WORKSPACE_PORTS => "@port[2, 3]") : ();
my $s = GitpodSystem->new(no_up => 1, env => {
    GITPOD_PROBE_PORT => $probe, GITPOD_GATEWAY_PORTS => "@port[0, 1]", %listeners, GITPOD_DRAIN_DELAY => 2, GITPOD_DRAIN_TIMEOUT => 2,
});

# ---- settings ----
for (
    ['8081', qr/GITPOD_GATEWAY_PORTS is '8081': it must be two different ports/],
    ['8081 8081', qr/must be two different ports/],
    ["$s->{env}{GITPOD_PORT} 8082", qr/which is GITPOD_PORT: that one is the load balancer's/],
) {
    local $s->{env}{GITPOD_GATEWAY_PORTS} = $_->[0];
    my ($rc, $out) = $s->build_sh('status');
    like($out, $_->[1], "'$_->[0]' is refused");
}

# ---- the guide's HAProxy ----
my $guide = do { open my $f, '<', "$GitpodSystem::TOP/docs/operators/second-gateway.md" or die $!; local $/; <$f> };
my $conf = join '', map { $guide =~ /^(        $_\n(?:        .*\n)+)/m or die "no $_ in the guide"; $1 } 'defaults', %listeners ? 'frontend workspaces' : ();
$conf =~ s/^        //mg;
my %ours = (8080 => $s->{env}{GITPOD_PORT}, 9400 => $probe, 9401 => $probe + 1, '10000-10099' => $s->{env}{GITPOD_PORT_RANGE}, map { 8081 + $_ => $port[$_] } 0 .. 3);
$conf =~ s/\b(80\d\d|94\d\d|10000-10099)\b/$ours{$1}/g;
open my $f, '>', "$s->{dir}/haproxy.cfg" or die $!;
print $f $conf;
close $f;

$s->up;
my $haproxy = fork // die;
if (!$haproxy) {
    open STDERR, '>', "$s->{dir}/haproxy.log";
    exec 'haproxy', '-q', '-f', "$s->{dir}/haproxy.cfg";
}
push @{ $s->{pids} }, $haproxy;
ok($s->wait_for(10, 'HAProxy', sub { $s->http(url => "$s->{url}/")->{status} == 200 }), 'people come in by the load balancer');
like(($s->build_sh('status'))[1], qr/^nginx +run.*^nginx2 +run.*^ready: yes/ms, 'status shows both');

my $git = $s->git_server;
$s->git_repository('acme/a', { a => "a\n" });
my $id = $s->create("$git/acme/a.git");
ok($s->wait_phase($id, 'PHASE_RUNNING'), 'a workspace runs');
is($s->workspace_http($id, '/healthz')->{status}, 200, 'and is reached');

# ---- who is it? ----
sub logged { my ($what) = @_; return join '', map { qx(cat $s->{env}{GITPOD_STATE}/log/$_/current) } qw(nginx nginx2) }
sub client_of { my ($path) = @_; my ($line) = grep { /\Q$path\E/ } split /\n/, logged() or return ''; return $line =~ /"remote":"([^"]*)"/ ? $1 : $line }
$s->http(url => "$s->{url}/by-haproxy", curl => ['--interface', '127.0.0.5']);
ok($s->wait_for(5, 'the log', sub { client_of('/by-haproxy') ne '' }), 'a request is logged');
is(client_of('/by-haproxy'), '127.0.0.5', 'with the address that the load balancer tells');
my $sock = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $port[0], LocalAddr => '127.0.0.9') or die $!;
print $sock "PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\nGET /by-hand HTTP/1.0\r\nHost: $s->{domain}\r\n\r\n";
1 while sysread $sock, my $buf, 65536;
ok($s->wait_for(5, 'the log', sub { client_of('/by-hand') ne '' }), 'so is one of somebody else');
is(client_of('/by-hand'), '127.0.0.9', 'who is not believed');

# ---- one after the other ----
like(($s->build_sh('drain'))[1], qr/there are two gateways/, 'a drain says which');
my $token = $s->token;
my $clients = fork // die;
if (!$clients) {
    my ($n, $bad, $stop) = (0, 0, 0);
    local $SIG{TERM} = sub { $stop = 1 };
    while (!$stop) {
        for my $r ($s->rpc('GetWorkspace', { workspaceId => $id }, token => $token), $s->workspace_http($id, '/healthz')) {
            $n++;
            next if $r->{status} == 200;
            $bad++;
            print {*STDERR} "# $r->{status} $r->{headers} " . substr($r->{body} // '', 0, 200) . "\n";
        }
    }
    open my $o, '>', "$s->{dir}/clients" or POSIX::_exit(1);
    print $o "$n $bad\n";
    close $o;
    POSIX::_exit(0);
}
push @{ $s->{pids} }, $clients;
for my $n (1, 2) {
    my ($rc, $out) = $s->build_sh('drain', $n);
    is($rc, 0, "gateway $n is drained and stopped") or diag($out);
    ok(!IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $_), "its port $_ is closed") for @port[$n - 1, %listeners ? $n + 1 : ()];
    like(($s->build_sh('status'))[1], qr/^ready: no/m, 'status says so');
    is($s->rpc('GetWorkspace', { workspaceId => $id })->{status}, 200, 'services call each other by the other one');
    like(($s->build_sh('flag', 'list'))[1], qr/^NAME/, 'and so does the administrator');
    ($rc, $out) = $s->build_sh('up');
    is($rc, 0, 'up starts it again') or diag($out);
    ok($s->wait_for(20, 'ready', sub { $s->http(url => 'http://127.0.0.1:' . ($probe + $n - 1) . '/ready')->{status} == 200 }), 'ready');
}
kill 'TERM', $clients;
waitpid $clients, 0;
my ($sent, $failed) = split ' ', do { local @ARGV = "$s->{dir}/clients"; <> // '' };
cmp_ok($sent, '>', 20, "requests meanwhile: $sent");
is($failed, 0, 'none failed');

# ---- one again ----
kill 'TERM', $haproxy;
waitpid $haproxy, 0;
delete @{ $s->{env} }{qw(GITPOD_GATEWAY_PORTS GITPOD_GATEWAY_WORKSPACE_PORTS)};
my ($rc, $out) = $s->build_sh('up');
is($rc, 0, 'without the setting there is one again') or diag($out);
unlike(($s->build_sh('status'))[1], qr/nginx2/, 'and the second is gone');
is($s->workspace_http($id, '/healthz')->{status}, 200, 'which has the port itself');
$s->down;
done_testing();
