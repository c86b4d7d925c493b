# 20,000 routes: read in slices, none lost, a table that is full says so, and
# revocations that overflow refuse too much rather than too little.
use strict;
use warnings;
use Test::More;
use Time::HiRes qw(time sleep);
use GitpodTest;
use GitpodRoutes;

use constant ROUTES_N => 20_000;

my $t = GitpodRoutes->new(zone => '24m', workers => 2);

sub fill_routes {
    my ($first, $last, $version) = @_;
    for (my $n = $first; $n <= $last; $n += 500) {
        my $end = $n + 499 < $last ? $n + 499 : $last;
        $t->redis_command('HSET', 'gitpod:routes', map { ("ws-$_" => GitpodRoutes::record("ws-$_", $version)) } $n .. $end);
    }
}

fill_routes(1, ROUTES_N, 1);
$t->start;
GitpodRoutes::wait_synced($t);
is($t->metric('gitpod_routes'), ROUTES_N, 'all of many routes are read');
cmp_ok($t->metric('gitpod_routes_max'), '>=', ROUTES_N, '24m has room for them');
my @wrong = grep { GitpodRoutes::seen($t, "ws-$_") ne 1 } map { $_ * 199 } 1 .. 100;
is("@wrong", '', 'each is found');
is($t->metric('gitpod_routes_synced'), 1, 'the table is synced');

# A resync of everything while requests come in: none fails, none waits long.
my $syncs = $t->metric('gitpod_redis_resyncs_total');
fill_routes(1, ROUTES_N, 2);
$t->redis_command('CLIENT', 'KILL', 'TYPE', 'pubsub');
my ($asked, $failed, $worst) = (0, 0, 0);
my $end = time + 20;
while (time < $end && $t->metric('gitpod_redis_resyncs_total') == $syncs) {
    my $begin = time;
    my $seen = GitpodRoutes::seen($t, 'ws-' . (1 + int rand ROUTES_N));
    my $took = time - $begin;
    $worst = $took if $took > $worst;
    $asked++;
    $failed++ if $seen !~ /^[12]$/;
}
is($failed, 0, "no request of $asked saw a gap while all routes were read again");
diag(sprintf 'slowest request %.1f ms', 1000 * $worst);
@wrong = grep { GitpodRoutes::seen($t, "ws-$_") ne 2 } map { $_ * 199 } 1 .. 100;
is("@wrong", '', 'and afterwards each is new');

# Most of them vanish: the sweep.
$syncs = $t->metric('gitpod_redis_resyncs_total');
$t->redis_command('DEL', 'gitpod:routes');
fill_routes(1, 100, 3);
$t->redis_command('CLIENT', 'KILL', 'TYPE', 'pubsub');
GitpodTest::wait_for('the resync', sub { $t->metric('gitpod_redis_resyncs_total') > $syncs });
is($t->metric('gitpod_routes'), 100, 'what is not in Redis any more is swept');
is(GitpodRoutes::seen($t, 'ws-100'), 3, 'the rest stays');
is(GitpodRoutes::seen($t, 'ws-101'), 'none', 'and nothing else');

# And come back, into the places that were freed.
$syncs = $t->metric('gitpod_redis_resyncs_total');
fill_routes(1, ROUTES_N, 4);
$t->redis_command('CLIENT', 'KILL', 'TYPE', 'pubsub');
GitpodTest::wait_for('the resync', sub { $t->metric('gitpod_redis_resyncs_total') > $syncs });
@wrong = grep { GitpodRoutes::seen($t, "ws-$_") ne 4 } map { $_ * 199 } 1 .. 100;
is("@wrong", '', 'freed places are used again');
$t->stop;

# A table that is too small.
$t = GitpodRoutes->new(zone => '1m', workers => 1);
fill_routes(1, 3000, 1);
$t->start;
GitpodRoutes::wait_synced($t);
my $max = $t->metric('gitpod_routes_max');
is($t->metric('gitpod_routes'), $max, "a table of $max is full with 3,000");
is($t->metric('gitpod_route_records_total{outcome="full"}'), 3000 - $max, 'and counts what it had to drop');
like($t->error_log, qr/\[alert\].*has room for $max routes and is full.*raise gitpod_zone/, 'the log says what to do');
my @found = grep { GitpodRoutes::seen($t, "ws-$_") eq 1 } 1 .. 200;
ok(@found > 0, 'those that fit are served');
GitpodRoutes::publish($t, "ws-$found[0]", GitpodRoutes::record("ws-$found[0]", 9));
is(GitpodRoutes::wait_seen($t, "ws-$found[0]", 9), 9, 'a full table takes new versions');
GitpodRoutes::publish($t, "ws-$found[0]", GitpodRoutes::tombstone("ws-$found[0]", 10));
is(GitpodRoutes::wait_seen($t, "ws-$found[0]", 'none'), 'none', 'and ends');

# Revocations beyond the table: the oldest go, what they covered stays refused.
my $room = $t->metric('gitpod_revocations_max');
my $now = int time;
for my $n (1 .. $room + 10) {
    $t->redis_command('PUBLISH', 'gitpod:revocations:changes', qq({"kind":"session","id":"s-$n","epoch":@{[ $now - 3600 + $n ]}}));
}
GitpodTest::wait_for('the last revocation', sub { $t->metric('gitpod_revocations_total') >= $room + 10 });
cmp_ok($t->metric('gitpod_revocations'), '<=', $room, 'revocations are bounded');
cmp_ok($t->metric('gitpod_revocations'), '>=', $room * 3 / 4, 'only the oldest went');
like($t->error_log, qr/\[alert\].*has room for $room revocations and is full; sessions from before/, 'the log tells');

$t->finish(allow => qr/has room for/);
