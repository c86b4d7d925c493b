# Clients that send their head, their body or read their answer as slowly as
# they can (slowhttptest): they are given up in time, and others are served as
# if they were not there.
use strict;
use warnings;
use IO::Socket::INET;
use Test::More;
use Time::HiRes qw(time);
use GitpodGateway;

use constant { CLIENTS => 300, SECONDS => 2 };

my $g = GitpodGateway->new(workers => 2, edit => sub {
    my ($name, $text) = @_;
    $text =~ s/client_header_timeout \S+;/client_header_timeout 2s;/ if $name eq 'nginx.conf';
    return $text;
});
my $id = 'amber-fox-k3j9x2m1';
my $host = $g->workspace($id, listen => [23000]);
my @owner = ('X-Gitpod-Owner-Token' => $g->owner_token($id));

sub descriptors { my $n = 0; $n += () = glob "/proc/$_/fd/*" for $g->worker_pids; return $n }

my $at_rest = descriptors();
my @attacks = (
    ['a head that never ends', '-H', '-i', 1],
    ['a body a byte at a time', '-B', '-i', 1, '-s', 8192],
    ['an answer read a byte at a time', '-X', '-w', 8, '-y', 16, '-n', 1, '-z', 1, '-k', 3],
);
for my $attack (@attacks) {
    my ($name, @how) = @$attack;
    my $url = "http://127.0.0.1:$g->{port}/";
    my $pid = $g->child('slow.log', sub { exec 'slowhttptest', '-c', CLIENTS, '-r', 300, '-l', SECONDS, '-p', 2, '-x', 16, '-u', $url, @how or die "slowhttptest: $!" });
    my $most = 0;
    GitpodGateway::wait_for("$name: the clients", sub { my $n = descriptors() - $at_rest; $most = $n if $n > $most; $most > CLIENTS / 4 || !kill 0, $pid }) if $how[0] ne '-X';
    my ($ok, $n, @took) = (0, 0);
    while (waitpid($pid, 1) == 0) {
        my $from = time;
        $ok++ if $g->get($host, '/', @owner)->{status} == 200;
        push @took, time - $from;
        $n++;
    }
    @took = sort { $a <=> $b } @took;
    cmp_ok($n, '>', 50, "$name: others came meanwhile ($n)");
    is($ok, $n, "$name: and were all served");
    cmp_ok($took[@took * 0.99], '<', 0.5, "$name: without a wait");
    ok(GitpodGateway::wait_for("$name: the end of them", sub { descriptors() <= $at_rest + 8 }), "$name: nothing of them is left");
}

$g->finish;
