# The table outlives workers and configurations; the feed is taken over by
# whoever is left; nothing outlives the master.
use strict;
use warnings;
use IO::Socket::INET;
use Test::More;
use Time::HiRes qw(time sleep);
use GitpodTest;
use GitpodRoutes;

my $t = GitpodRoutes->new(workers => 3);
$t->redis_command('HSET', 'gitpod:routes', map { ("ws-$_" => GitpodRoutes::record("ws-$_", $_)) } 1 .. 300);
$t->start;
GitpodRoutes::wait_synced($t);
is($t->metric('gitpod_routes'), 300, 'all routes are read');

# The worker that holds the lease, once it is subscribed.
sub holder {
    my $checks = $t->get('/live?verbose')->{json}{checks} or return undef;
    my ($pid) = map { $checks->{$_}{lease} ? /(\d+)/ : () } keys %$checks;
    my @clients = split /\n/, $t->redis_command('CLIENT', 'LIST', 'TYPE', 'pubsub');
    return @clients == 1 ? $pid : undef;
}

ok(GitpodTest::wait_for('a holder', \&holder), 'one worker is subscribed');

for my $round (1 .. 3) {
    my $pid = GitpodTest::wait_for('a holder', \&holder);
    my $begin = time;
    kill 'KILL', $pid;
    GitpodTest::wait_for('the worker to be replaced', sub { GitpodTest::gone($pid) && $t->workers == 3 });
    is(GitpodRoutes::seen($t, 'ws-7'), 7, "round $round: routes stay when the feeding worker is killed");
    my $next = GitpodTest::wait_for('a successor', sub { my $h = holder(); $h && $h != $pid && $h });
    ok($next, "round $round: another worker takes over");
    diag(sprintf 'taken over after %.0f ms', 1000 * (time - $begin));
    GitpodRoutes::publish($t, 'after-kill', GitpodRoutes::record('after-kill', $round));
    is(GitpodRoutes::wait_seen($t, 'after-kill', $round), $round, "round $round: and updates arrive");
}

# A worker that hangs loses the lease; when it wakes up it does no harm.
my $stuck = GitpodTest::wait_for('a holder', \&holder);
my $leases = $t->metric('gitpod_leases_total');
kill 'STOP', $stuck;
GitpodTest::wait_for('the lease to move', sub {
    IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $t->{port}) or return 0;
    ($t->metric('gitpod_leases_total') // 0) > $leases;
});
GitpodRoutes::publish($t, 'while-stuck', GitpodRoutes::record('while-stuck', 5));
is(GitpodRoutes::wait_seen($t, 'while-stuck', 5), 5, 'updates arrive while the former holder hangs');
kill 'CONT', $stuck;
GitpodTest::wait_for('one subscriber', \&holder);
is($t->metric('gitpod_routes'), 302, 'its return loses no route');
is($t->metric('gitpod_redis_subscribed'), 1, 'nor the state of the subscription');

# Reload: the zone is taken over, also while Redis is away.
$t->reload;
is(GitpodRoutes::seen($t, 'ws-300'), 300, 'a reload keeps the routes');
GitpodRoutes::publish($t, 'after-reload', GitpodRoutes::record('after-reload', 1));
is(GitpodRoutes::wait_seen($t, 'after-reload', 1), 1, 'and the new workers are fed');
$t->stop_redis;
$t->reload;
is(GitpodRoutes::seen($t, 'ws-300'), 300, 'a reload without Redis keeps the routes');
is($t->get('/startup')->{status}, 200, 'and does not forget that they were synced');
$t->start_redis;
$t->redis_command('HSET', 'gitpod:routes', 'ws-300', GitpodRoutes::record('ws-300', 301));
is(GitpodRoutes::wait_seen($t, 'ws-300', 301), 301, 'Redis is found again');
is($t->metric('gitpod_routes'), 1, 'and what it does not know is dropped');

# The master: its workers end with it, and the port is free.
my @workers = $t->workers;
is(scalar @workers, 3, 'three workers run');
$t->reap($t->{nginx_pid}, 'KILL');
GitpodTest::wait_for('the workers to end', sub { !grep { !GitpodTest::gone($_) } @workers });
pass('a killed master leaves no worker');
ok(IO::Socket::INET->new(Listen => 1, LocalAddr => '127.0.0.1', LocalPort => $t->{port}, ReuseAddr => 1), 'nor a port that is taken');
$t->start;
GitpodRoutes::wait_synced($t);
is(GitpodRoutes::seen($t, 'ws-300'), 301, 'the next one starts and syncs');

$t->finish(allow => qr/worker process \d+ exited on signal 9|shared memory zone "test" was locked by/);
