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

# Which of "address port" a workspace reaches, each with a patience of 3 s, all at once.
sub reached {
    my ($id, @to) = @_;
    my $script = join ' ', map { my ($addr, $p) = split / /; "(timeout 3 bash -c 'exec 3<>/dev/tcp/$addr/$p' && echo 'reached $addr $p') &" } @to;
    return [ ($s->inside($id, "$script wait"))[1] =~ /^reached (\S+ \d+)$/mg ];
}

sub only {
    my ($id, $what, $reached, @to) = @_;
    is_deeply([ sort @{ reached($id, @$reached, @to) } ], [ sort @$reached ], $what);
}

my @own = ('127.0.0.1 22999', '127.0.0.1 23000');
my %door = map { ("$gateway $_" => 1) } $s->{env}{GITPOD_PORT}, $s->gateway_port($two);
only($one, 'a workspace reaches its own supervisor and editor (so the probe works) and the gateway, also where the other workspace is; neither the other,'
    . ' nor a service of the host, nor the probe port, nor ssh, nor metadata addresses', [ @own, keys %door ], "$ip{$two} 22999", "$ip{$two} 23000",
    "$gateway $port", "$gateway $s->{env}{GITPOD_PROBE_PORT}", "$gateway 22", '169.254.169.254 80');
only($two, 'nor the other way round', \@own, "$ip{$one} 22999", "$ip{$one} 23000");
like(($s->inside($one, 'curl -s -o /dev/null -w "%{http_code}" --resolve ' . join(':', ($s->address($two) =~ /^(.*):(\d+)$/), $gateway) . ' http://' . $s->address($two) . '/healthz'))[1], qr/^401$/m, 'a door that wants a credential from there too');

# Another machine of the network routes the range of workspaces through this one, which forwards.
my $ns = "gpt$$";
my ($here, $there) = map { join '.', 198, unpack 'C3', substr pack('N', (18 << 16) + 4 * ($$ % 32_768) + $_), 1 } 1, 2; # of 198.18.0.0/15 (RFC 2544)
my $setup = join ' && ', "ip netns add $ns", "ip link add v$$ type veth peer name eth0 netns $ns", "ip addr add $here/30 dev v$$", "ip link set v$$ up",
    "ip -n $ns addr add $there/30 dev eth0", "ip -n $ns link set eth0 up", "ip -n $ns route add default via $here";
is(system($setup), 0, 'a machine beside this one');
sub stranger { my ($addr, $p) = @_; return system("ip netns exec $ns timeout 3 bash -c 'exec 3<>/dev/tcp/$addr/$p' 2>/dev/null") == 0 }
ok(stranger($here, $port), 'it reaches this machine');
ok(!stranger($ip{$one}, $_), "but no workspace's $_") for 22999, 23000;
system("ip netns delete $ns");

# Somebody removes the firewall's table: it comes back.
chomp(my $digest = qx(printf %s '$s->{env}{GITPOD_STATE}' | sha256sum));
my $table = 'gitpod_' . substr $digest, 0, 8;
is(system("nft delete table inet $table"), 0, 'the rules stand in a table of our own');
ok($s->wait_for(30, 'rules', sub { system("nft list table inet $table >/dev/null 2>&1") == 0 }), 'removed rules are put back');
only($one, 'and hold', \@own, "$gateway $port");

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
