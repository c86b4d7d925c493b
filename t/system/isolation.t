#!/usr/bin/perl
# Workspaces reach neither each other nor the host nor metadata addresses; what a container may do.
use strict;
use warnings;
use lib 't/lib';
use Test::More;
use IO::Socket::INET;
use GitpodSystem;

my $s = GitpodSystem->new;
my $git = $s->git_server;
$s->git_repository('acme/a', { 'a' => "a\n" });
my ($one, $two) = map { $s->create("$git/acme/a.git") } 1, 2;
$s->wait_phase($_, 'PHASE_RUNNING') for $one, $two;
my %ip;
for my $id ($one, $two) {
    ($ip{$id}) = ($s->inside($id, 'ip -4 -o addr show eth0'))[1] =~ m{inet ([0-9.]+)/};
    ok($ip{$id}, "$id has an address");
}
my ($gateway) = ($s->inside($one, 'ip route show default'))[1] =~ /via ([0-9.]+)/;
# A service of the host on all addresses, like many a developer's machine has.
my $service = IO::Socket::INET->new(Listen => 5, LocalAddr => '0.0.0.0', LocalPort => 0, ReuseAddr => 1) or die $!;
my $port = $service->sockport;

sub reaches {
    my ($id, $addr, $p) = @_;
    return ($s->inside($id, "timeout 3 bash -c 'exec 3<>/dev/tcp/$addr/$p' && echo reached || echo refused"))[1] =~ /^reached/m;
}

ok(reaches($one, '127.0.0.1', 22999), 'the probe itself works (own supervisor)');
ok(reaches($one, '127.0.0.1', 23000), 'and the own editor');
for my $p (22999, 23000) {
    ok(!reaches($one, $ip{$two}, $p), "one workspace does not reach the other's $p");
    ok(!reaches($two, $ip{$one}, $p), "nor the other way round");
}
ok(!reaches($one, $gateway, $port), 'a workspace does not reach a service of the host');
ok(!reaches($one, $gateway, $s->{env}{GITPOD_PROBE_PORT}), 'nor the probe port');
ok(!reaches($one, $gateway, 22), 'nor ssh');
ok(reaches($one, $gateway, $s->{env}{GITPOD_PORT}), 'it does reach the gateway');
ok(reaches($one, $gateway, $s->gateway_port($two)), 'also where the other workspace is');
like(($s->inside($one, 'curl -s -o /dev/null -w "%{http_code}" --resolve ' . join(':', ($s->address($two) =~ /^(.*):(\d+)$/), $gateway) . ' http://' . $s->address($two) . '/healthz'))[1], qr/^401$/m, 'which wants a credential from there too');
ok(!reaches($one, '169.254.169.254', 80), 'nor metadata addresses');

# Another machine of the network routes the range of workspaces through this one, which forwards.
my $ns = "gpt$$";
my $setup = join ' && ', "ip netns add $ns", "ip link add v$$ type veth peer name eth0 netns $ns", "ip addr add 198.18.77.1/30 dev v$$", "ip link set v$$ up",
    "ip -n $ns addr add 198.18.77.2/30 dev eth0", "ip -n $ns link set eth0 up", "ip -n $ns route add default via 198.18.77.1";
is(system($setup), 0, 'a machine beside this one');
sub stranger { my ($addr, $p) = @_; return system("ip netns exec $ns timeout 3 bash -c 'exec 3<>/dev/tcp/$addr/$p' 2>/dev/null") == 0 }
ok(stranger('198.18.77.1', $port), 'it reaches this machine');
ok(!stranger($ip{$one}, $_), "but no workspace's $_") for 22999, 23000;
system("ip netns delete $ns");

# Somebody removes the firewall's table: it comes back.
chomp(my $digest = qx(printf %s '$s->{env}{GITPOD_STATE}' | sha256sum));
my $table = 'gitpod_' . substr $digest, 0, 8;
is(system("nft delete table inet $table"), 0, 'the rules stand in a table of our own');
ok($s->wait_for(30, 'rules', sub { system("nft list table inet $table >/dev/null 2>&1") == 0 }), 'removed rules are put back');
ok(!reaches($one, $gateway, $port), 'and hold');

my ($rc, $caps) = $s->inside($one, 'grep -i capbnd /proc/1/status; ls -ld /.supervisor; touch /.supervisor/x; touch /ide/x; mount | grep " /workspace "; cat /proc/1/environ; ls -l /proc/1/exe', user => 33333);
my ($bnd) = $caps =~ /CapBnd:\s*([0-9a-f]+)/;
# CHOWN DAC_OVERRIDE FOWNER FSETID KILL SETGID SETUID SETPCAP NET_BIND_SERVICE SYS_CHROOT
my $want = 0;
$want |= 1 << $_ for 0, 1, 3, 4, 5, 6, 7, 8, 10, 18;
is(hex($bnd), $want, 'the capability list is exactly the documented one');
like($caps, qr{/\.supervisor/x.*(Read-only|denied)}i, '/.supervisor is read-only');
like($caps, qr{/ide/x.*(Read-only|denied)}i, '/ide is read-only');
like($caps, qr{/workspace type \S+ \(rw,[^)]*nosuid,[^)]*nodev|/workspace type \S+ \(rw,nosuid,nodev}, '/workspace is nosuid, nodev') or diag($caps);
my ($dir) = glob "$s->{env}{GITPOD_STATE}/content/$one";
is(sprintf('%04o', (stat $dir)[2] & 07777), '0700', 'its parent on the host is 0700');
my @uid = map { (stat "$s->{env}{GITPOD_STATE}/content/$_")[4] } $one, $two;
isnt($uid[0], $uid[1], 'each workspace has its own uid range');
$s->down;
done_testing();
