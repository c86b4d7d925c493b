# Routes come from Redis: all of them at the start and after each loss of the
# connection, changes by message, never an older version over a newer one.
use strict;
use warnings;
use Test::More;
use Time::HiRes qw(time sleep);
use GitpodTest;
use GitpodRoutes;

my $t = GitpodRoutes->new;
$t->redis_command('HSET', 'gitpod:routes', 'early-one', GitpodRoutes::record('early-one', 7));
$t->start;
GitpodRoutes::wait_synced($t);
is(GitpodRoutes::seen($t, 'early-one'), 7, 'a route from before the start is known when /startup says so');
is(GitpodRoutes::seen($t, 'nobody'), 'none', 'an unknown workspace has none');

GitpodRoutes::publish($t, 'amber-fox', GitpodRoutes::record('amber-fox', 1));
is(GitpodRoutes::wait_seen($t, 'amber-fox', 1), 1, 'a message makes a route');
my $begin = time;
GitpodRoutes::publish($t, 'amber-fox', GitpodRoutes::record('amber-fox', 2));
is(GitpodRoutes::wait_seen($t, 'amber-fox', 2), 2, 'a higher version replaces it');
diag(sprintf 'seen %.1f ms after PUBLISH', 1000 * (time - $begin));

# Order: what is older, or the same version again, changes nothing. Another
# record's arrival shows that the message was read.
sub settle {
    my ($n) = @_;
    GitpodRoutes::publish($t, 'marker', GitpodRoutes::record('marker', $n));
    return GitpodRoutes::wait_seen($t, 'marker', $n);
}
$t->redis_command('PUBLISH', 'gitpod:routes:changes', GitpodRoutes::record('amber-fox', 1));
$t->redis_command('PUBLISH', 'gitpod:routes:changes', GitpodRoutes::record('amber-fox', 2, instance => GitpodRoutes::uuid(99)));
settle(1);
is(GitpodRoutes::seen($t, 'amber-fox'), 2, 'older and equal versions are ignored');
is($t->metric('gitpod_route_records_total{outcome="old"}'), 2, 'and counted');

# Tombstones carry a version.
$t->redis_command('PUBLISH', 'gitpod:routes:changes', GitpodRoutes::tombstone('amber-fox', 3));
is(GitpodRoutes::wait_seen($t, 'amber-fox', 'none'), 'none', 'a tombstone ends it');
$t->redis_command('PUBLISH', 'gitpod:routes:changes', GitpodRoutes::record('amber-fox', 2));
settle(2);
is(GitpodRoutes::seen($t, 'amber-fox'), 'none', 'an update from before the end does not bring it back');
GitpodRoutes::publish($t, 'amber-fox', GitpodRoutes::record('amber-fox', 4));
is(GitpodRoutes::wait_seen($t, 'amber-fox', 4), 4, 'a later one does');

# Phases and addresses.
GitpodRoutes::publish($t, 'amber-fox', GitpodRoutes::record('amber-fox', 5, phase => 'stopped', address => undef));
is(GitpodRoutes::wait_seen($t, 'amber-fox', 'away'), 'away', 'a workspace without an address is away, not unknown');
GitpodRoutes::publish($t, 'six', GitpodRoutes::record('six', 6, address => 'fd00::1:2'));
is(GitpodRoutes::wait_seen($t, 'six', 6), 6, 'IPv6 addresses are routes too');

# The largest record there is, whose last port is in its second part; the
# smallest one in its place; each digit of an id.
my $longest = 'l' . 'o' x 49 . 'g';
my @ports = ((map { { port => 4000 + $_, visibility => 'private', protocol => 'http' } } 1 .. 15), { port => 3000, visibility => 'public', protocol => 'http' });
GitpodRoutes::publish($t, $longest, GitpodRoutes::record($longest, 1, address => 'fd00::1:2', ports => \@ports));
is(GitpodRoutes::wait_seen($t, $longest, 1), 1, 'a record that is full');
GitpodRoutes::publish($t, $longest, GitpodRoutes::record($longest, 2, ports => []));
GitpodTest::wait_for('the change', sub { GitpodRoutes::seen($t, $longest) eq 'none' });
pass('its ports are private when a later one has none');
GitpodRoutes::publish($t, $longest, GitpodRoutes::record($longest, 3, address => 'fd00::1:2', ports => \@ports));
is(GitpodRoutes::wait_seen($t, $longest, 3), 3, 'and public again');
my $digits = '01234567-89ab-4cde-8f01-fedcba987654';
GitpodRoutes::publish($t, 'digits', GitpodRoutes::record('digits', 1, instance => $digits));
is(GitpodRoutes::wait_seen($t, 'digits', hex '01234567'), hex '01234567', 'an instance');
is($t->get('/', Host => '3000-digits.ws-gitpod.test')->{headers}{'x-instance'}, $digits, 'has each digit where it was');

# Records that are refused: none is ever routed to.
my $id = 'bad-record';
my $version = 1;
my %bad = (
    'an address outside of the range' => { address => '192.168.1.1' },
    'loopback' => { address => '127.0.0.1' },
    'the metadata address' => { address => '169.254.169.254' },
    'IPv6 loopback' => { address => '::1' },
    'IPv4 outside, written as IPv6' => { address => '::ffff:192.168.1.1' },
    'a name for an address' => { address => 'localhost' },
    'an address with a port' => { address => '10.1.2.3:80' },
    'an address that is a number' => { address => 167772161 },
    'an unknown phase' => { phase => 'dancing' },
    'an unknown admission' => { admission => 'all' },
    'an owner that is no UUID' => { owner => 'root' },
    'an instance that is too long' => { instance => 'x' x 37 },
    '17 ports' => { ports => [map { { port => $_ } } 1 .. 17] },
    'port 0' => { ports => [{ port => 0 }] },
    'port 65536' => { ports => [{ port => 65536 }] },
    'ports that are no list' => { ports => 3000 },
    'a short digest' => { owner_token_sha256 => 'ab' },
    'a digest that is no hex' => { owner_token_sha256 => 'z' x 64 },
    'more than 2,048 bytes' => { phase => 'running', filler => 'x' x 2048 },
);
for my $what (sort keys %bad) {
    GitpodRoutes::publish($t, $id, GitpodRoutes::record($id, ++$version));
    is(GitpodRoutes::wait_seen($t, $id, $version), $version, "before $what there is a route");
    my $refused = $t->metric('gitpod_route_records_total{outcome="refused"}');
    GitpodRoutes::publish($t, $id, GitpodRoutes::record($id, ++$version, %{ $bad{$what} }));
    GitpodTest::wait_for('the refusal', sub { $t->metric('gitpod_route_records_total{outcome="refused"}') > $refused });
    my $seen = GitpodRoutes::seen($t, $id);
    ok($seen ne $version, "$what is refused (seen: $seen)");
}
my %nonsense = (
    'no JSON' => '{', 'an array' => '[]', 'no version' => '{"id":"bad-record"}', 'version 0' => '{"id":"bad-record","version":0}',
    'a version that is a text' => '{"id":"bad-record","version":"9"}', 'an id in capitals' => '{"id":"BAD","version":9}',
    'an id that is a path' => '{"id":"../x","version":9}', 'a member twice' => '{"id":"bad-record","version":9,"version":10}',
    'nothing' => '', 'bytes' => "\xff\x00\x01", 'deep JSON' => '[' x 1000,
    'another id than its field' => GitpodRoutes::record('elsewhere', 9),
);
my $refused = $t->metric('gitpod_route_records_total{outcome="refused"}');
$t->redis_command('PUBLISH', 'gitpod:routes:changes', $nonsense{$_}) for grep { $_ ne 'another id than its field' } sort keys %nonsense;
settle(3);
is($t->metric('gitpod_route_records_total{outcome="refused"}') - $refused, keys(%nonsense) - 1, 'nonsense is refused and disturbs nothing');

# Redis away: what is known stays.
GitpodRoutes::publish($t, 'stays', GitpodRoutes::record('stays', 1));
GitpodRoutes::wait_seen($t, 'stays', 1);
my $syncs = $t->metric('gitpod_redis_resyncs_total');
$t->stop_redis;
GitpodTest::wait_for('the loss to be noticed', sub { $t->metric('gitpod_redis_subscribed') == 0 });
is(GitpodRoutes::seen($t, 'stays'), 1, 'with Redis dead its routes stay');

# It comes back with less and with more.
$t->start_redis;
$t->redis_command('HSET', 'gitpod:routes', 'stays', GitpodRoutes::record('stays', 2), 'fresh', GitpodRoutes::record('fresh', 1), 'mismatch',
    $nonsense{'another id than its field'});
GitpodTest::wait_for('the resync', sub { ($t->metric('gitpod_redis_resyncs_total') // 0) > $syncs });
is(GitpodRoutes::seen($t, 'stays'), 2, 'after a restart of Redis a route that changed meanwhile is new');
is(GitpodRoutes::seen($t, 'fresh'), 1, 'one that was added is there');
is(GitpodRoutes::seen($t, 'early-one'), 'none', 'one that is not in Redis any more is gone');
is(GitpodRoutes::seen($t, 'mismatch'), 'none', 'a record under another id\'s field is refused');
is(GitpodRoutes::seen($t, 'elsewhere'), 'none', 'for both');
GitpodRoutes::publish($t, 'fresh', GitpodRoutes::record('fresh', 2));
is(GitpodRoutes::wait_seen($t, 'fresh', 2), 2, 'and messages arrive again');

# A connection that was cut is the same as a restart.
$syncs = $t->metric('gitpod_redis_resyncs_total');
$t->redis_command('CLIENT', 'KILL', 'TYPE', 'pubsub');
$t->redis_command('HSET', 'gitpod:routes', 'between', GitpodRoutes::record('between', 1));
GitpodTest::wait_for('the resync', sub { $t->metric('gitpod_redis_resyncs_total') > $syncs });
is(GitpodRoutes::seen($t, 'between'), 1, 'what changed while the subscription was cut is found');

$t->finish;
