# Connections that stay open have a number, not a rate: of all workers together,
# across reloads, and though a worker be killed.
use strict;
use warnings;
use Test::More;
use Time::HiRes qw(time sleep);
use GitpodGateway;

my $g = GitpodGateway->new(workers => 2, limits => 1, expected_alert => qr/exited on signal 9/, edit => sub {
    my ($name, $text) = @_;
    if ($name eq 'nginx_limits.conf') {
        $text =~ s/gitpod_limit sockets key=address count=upgrades concurrent=2000;/gitpod_limit sockets key=address count=upgrades concurrent=6;/ or die 'the template changed';
    }
    return $text;
});
my $id = 'amber-fox-k3j9x2m1';
my $host = $g->workspace($id, listen => [22999, 23000]);
my @owner = ('X-Gitpod-Owner-Token' => $g->owner_token($id));

sub ws { return $g->upgrade($host, '/', @owner) }
sub refused { my $r = ws(); return $r->{status} == 429 }

my @open = map { ws() } 1 .. 6;
is(join(' ', map { $_->{status} } @open), '101 101 101 101 101 101', 'as many as are allowed');
my $r = ws();
is($r->{status}, 429, 'one more is refused');
is($r->{json}{code}, 'resource_exhausted', 'as JSON');
like($r->{json}{message}, qr/^Too many requests: the limit sockets allows 6 at a time\. Try again in 5 s$/, 'that says how many');
is($r->{headers}{'retry-after'}, 5, 'with Retry-After');
is($g->get($host, '/', @owner)->{status}, 200, 'requests that end are not counted');

close((pop @open)->{socket});
GitpodGateway::wait_for('the place of one that was closed', sub { my $next = ws(); push @open, $next if $next->{status} == 101; $next->{status} == 101 });
ok(refused(), 'no more than that one');

# a reload: the old workers keep their connections, and those count
my @old = $g->worker_pids;
kill 'HUP', $g->{nginx_pid};
GitpodGateway::wait_for('new workers', sub { grep { my $pid = $_; !grep { $_ == $pid } @old } $g->worker_pids });
GitpodGateway::wait_for('the old ones to stop accepting', sub { my $log = $g->error_log; (() = $log =~ /gracefully shutting down/g) >= @old });
ok(refused(), 'after a reload the connections of the old workers still count');
close((shift @open)->{socket});
GitpodGateway::wait_for('a place', sub { my $next = ws(); push @open, $next if $next->{status} == 101; $next->{status} == 101 });
ok(refused(), 'and their ends do');

# all workers but those with living connections are gone; kill what holds some
my $before = grep { alive($_->{socket}) } @open;
is($before, 6, 'six are open');
my ($victim) = sort { $a <=> $b } $g->worker_pids;
kill 'KILL', $g->worker_pids;
GitpodGateway::wait_for('the workers anew', sub { my @now = $g->worker_pids; @now >= 2 && !grep { $_ == $victim } @now });
my $from = time;
my @fresh;
GitpodGateway::wait_for('the places of those that died', sub { my $next = ws(); push @fresh, $next if $next->{status} == 101; @fresh == 6 });
cmp_ok(time - $from, '<', 5, 'what a killed worker held is free soon');
ok(refused(), 'and counted anew');

# of two workers one is killed: the other's still count
my ($one, $two) = $g->worker_pids;
kill 'KILL', $one;
GitpodGateway::wait_for('the worker anew', sub { my @now = $g->worker_pids; @now >= 2 && !grep { $_ == $one } @now });
my $left = grep { alive($_->{socket}) } @fresh;
my @more;
GitpodGateway::wait_for('as many as are free', sub { my $next = ws(); push @more, $next if $next->{status} == 101; @more == 6 - $left });
sleep 0.5;    # longer than a worker takes to count its own anew
ok(refused(), "with $left of the other worker, " . scalar(@more) . ' more and none above');

close $_->{socket} for grep { $_->{socket} } @open, @fresh, @more;
$g->finish;

sub alive {
    my ($s) = @_;
    local $SIG{PIPE} = 'IGNORE';
    syswrite $s, 'ping' or return 0;
    return 0 if !IO::Select->new($s)->can_read(5);
    return (sysread($s, my $back, 4) // 0) == 4;
}
