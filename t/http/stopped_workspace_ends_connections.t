# A WebSocket ends when its workspace stops or another instance of it runs,
# though the container said nothing; while it is stopping it may go on.
use strict;
use warnings;
use IO::Select;
use Test::More;
use Time::HiRes qw(time);
use GitpodGateway;

my $g = GitpodGateway->new(workers => 2);
my ($id, $other) = ('amber-fox-k3j9x2m1', 'blue-owl-aaaabbbb');
my %address = map { $_ => GitpodGateway::free_address() } $id, $other;
my %host = map { $_ => $g->workspace($_, listen => [23000], address => $address{$_}) } $id, $other;

sub ws {
    my ($workspace) = @_;
    my $r = $g->upgrade($host{$workspace}, '/', 'x-gitpod-owner-token' => $g->owner_token($workspace));
    die "no upgrade: $r->{status}" if $r->{status} != 101;
    return $r->{socket};
}

sub alive {
    my ($s) = @_;
    local $SIG{PIPE} = 'IGNORE';
    syswrite $s, 'ping' or return 0;
    return IO::Select->new($s)->can_read(5) && (sysread($s, my $back, 4) // 0) == 4;
}

# seconds until the gateway closed it
sub ended {
    my ($s) = @_;
    my $from = time;
    return 99 if !IO::Select->new($s)->can_read(10) || sysread $s, my $any, 1;
    return time - $from;
}

my ($s, $mark) = (ws($id), ws($other));
$g->route($id, address => $address{$id}, phase => 'stopping');
$g->route($other, phase => 'stopped');
cmp_ok(ended($mark), '<', 1.5, 'a stopped workspace\'s connection ends');
ok(alive($s), 'that of one which is stopping does not');
$g->route($id, phase => 'stopped');
cmp_ok(ended($s), '<', 1.5, 'until it has stopped');

$g->route($id, address => $address{$id});
GitpodGateway::wait_for('the start', sub { $g->get($host{$id}, '/', 'x-gitpod-owner-token' => $g->owner_token($id))->{status} == 200 });
$s = ws($id);
$g->route($id, address => $address{$id}, instance => '55555555-5555-4555-8555-555555555555');
cmp_ok(ended($s), '<', 1.5, 'a connection to an earlier instance ends');
my ($logged) = grep { $_->{reason} eq 'workspace stopped' } $g->access_log;
ok($logged, 'the log says why');

$g->finish;
