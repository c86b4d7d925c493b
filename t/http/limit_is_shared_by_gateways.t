# Two gateways with one Redis: each counts by itself and tells the other within a
# second what it let through. Without Redis, or where it may not be written to,
# each limits alone.
use strict;
use warnings;
use Test::More;
use Time::HiRes qw(time sleep);
use GitpodTest;
use GitpodGateway;

sub gateway {
    my ($redis, %option) = @_;
    return GitpodTest->new(%option, http => <<"X");
    gitpod_zone test 64m;    # room for 200 buckets within a second: in less, some are not told
    gitpod_redis $redis;
    gitpod_limit both key=address rate=10/1h shared;
    gitpod_limit alone key=address rate=10/1h;
    server {
        listen 127.0.0.1:%%PORT%%;
        server_name gitpod.test;
        gitpod_domain gitpod.test;
        gitpod_workspace_domain ws-gitpod.test;
        gitpod_external_url http://gitpod.test:%%PORT%%;
        set_real_ip_from 127.0.0.1;
        real_ip_header Test-Address;
        root %%TOP%%;
        location / { gitpod_limit_use both; try_files /LICENSE =404; }
        location /alone { gitpod_limit_use alone; try_files /LICENSE =404; }
        location = /metrics { gitpod_probe metrics; }
        location = /startup { gitpod_probe startup; }
    }
X
}

my $first = gateway('%%REDIS%%', redis => 1);
my $second = gateway("unix:$first->{redis_socket}");
for my $t ($first, $second) {
    $t->start;
    GitpodTest::wait_for('Redis', sub { $t->get('/startup')->{status} == 200 });
}

sub from { my ($t, $address, $path) = @_; return $t->get($path // '/', Host => 'gitpod.test', 'Test-Address' => $address) }
sub take { my ($t, $n, $address, $path) = @_; return join ' ', map { from($t, $address, $path)->{status} } 1 .. $n }
sub ok_n { my ($n) = @_; return join ' ', (200) x $n }
sub taken { my ($t) = @_; return $t->metric('gitpod_limit_messages_total{way="taken"}') }

# Runs the code, and returns when the gateway has heard of it.
sub heard {
    my ($t, $code) = @_;
    my $before = taken($t);
    $code->();
    my $from = time;
    GitpodTest::wait_for('a message', sub { taken($t) > $before });
    return time - $from;
}

# All that one gateway let through until now is known to the other: a round of
# messages tells all there is, and the next one comes after it.
sub told { my ($from, $to) = @_; heard($to, sub { take($from, 1, '203.0.113.' . int rand 250) }) for 1, 2 }

my $took = heard($second, sub { take($first, 1, '192.0.2.100') });
cmp_ok($took, '<', 3, sprintf 'a gateway hears of the other (after %.2f s)', $took);
is(take($first, 6, '192.0.2.1'), ok_n(6), 'six of ten at one gateway');
told($first, $second);
is(take($second, 5, '192.0.2.1'), ok_n(4) . ' 429', 'the other one has four left');
told($second, $first);
is(take($first, 1, '192.0.2.1'), '429', 'after which the first has none');
is(take($second, 3, '192.0.2.2'), ok_n(3), 'another address is not concerned');
is(take($first, 10, '192.0.2.3', '/alone') . ' ' . take($second, 10, '192.0.2.3', '/alone'), ok_n(20), 'a limit that is not shared counts for each');

# what is said comes back to who said it, and is not counted twice
take($first, 5, '192.0.2.4');
told($first, $second);
is(take($first, 6, '192.0.2.4'), ok_n(5) . ' 429', 'a gateway does not count its own twice');

# both at the same moment: too much once, and paid for afterwards
is(take($_, 10, '192.0.2.5'), ok_n(10), 'a whole burst at each, before they hear of each other') for $first, $second;
told($second, $first);
my $wait = from($first, '192.0.2.5')->{headers}{'retry-after'};
cmp_ok($wait, '>', 3600, "is owed: $wait s to wait instead of 360");

# many buckets need many messages
my $before = taken($second);
is(scalar(grep { $_ ne '200' } map { take($first, 1, "198.51.100.$_") } 1 .. 200), 0, '200 addresses');
eval { GitpodTest::wait_for('two messages', sub { taken($second) - $before >= 2 }) };
cmp_ok(taken($second) - $before, '>=', 2, 'take more than one message');
told($first, $second) for 1, 2;    # a message holds some 60: four more hold them all
is(join(' ', map { take($second, 10, "198.51.100.$_") } 1, 100, 200), join(' ', (ok_n(9) . ' 429') x 3), 'and are all told');

# words of nobody
for my $bad ('', '[]', '{"gateway":"x","spent":[]}', '{"gateway":"0123456789abcdef"}', '{"gateway":"0123456789abcdef","spent":[["both","xyz",1]]}',
    '{"gateway":"0123456789abcdef","spent":[["both","0123456789abcdef",-1]]}', '{"gateway":"0123456789abcdef","spent":[7]}', 'x' x 10_000) {
    $first->redis_command('PUBLISH', 'gitpod:limits:changes', $bad);
}
$first->redis_command('PUBLISH', 'gitpod:limits:changes', '{"gateway":"0123456789abcdef","spent":[["nobody","0123456789abcdef",9],["alone","0123456789abcdef",9]]}');
GitpodTest::wait_for('the last of them', sub { (() = $second->error_log =~ /gitpod:limits:changes is not/g) >= 8 });
is(take($second, 1, '192.0.2.6'), '200', 'messages that are none are refused, and all goes on');

# without Redis each limits alone, and tells later
$first->stop_redis;
is(take($first, 11, '192.0.2.7'), ok_n(10) . ' 429', 'without Redis a gateway limits alone');
is(take($second, 2, '192.0.2.7'), ok_n(2), 'and so does the other');
$first->start_redis;
GitpodTest::wait_for('the debt', sub { from($second, '192.0.2.7')->{status} == 429 });
pass('what was let through meanwhile is told when it is back');

# a user that may only read: nothing is told, the rest works
my ($rule) = GitpodGateway::slurp("$GitpodGateway::TOP/conf/setup/services.sh") =~ /printf 'user gateway on #%s (.*?)\\n'/ or die 'the set-up changed';
my @words = $rule =~ /\([^)]*\)|\S+/g;
$first->redis_command('ACL', 'SETUSER', 'reader', 'on', '>secret', grep { !/^\(/ } @words);
$first->redis_command('ACL', 'SETUSER', 'gateway', 'on', '>secret', @words);
my $third = gateway("unix:$first->{redis_socket} user=reader password_file=%%DIR%%/password");
GitpodTest::spew("$third->{dir}/password", 'secret');
$third->start;
GitpodTest::wait_for('Redis', sub { $third->get('/startup')->{status} == 200 });
is(take($third, 2, '192.0.2.8'), ok_n(2), 'a third gateway');
GitpodTest::wait_for('a refusal', sub { $third->error_log =~ /limits are not shared: Redis refuses: "NOPERM/ });
take($first, 10, '192.0.2.8');
told($first, $third);
is(take($third, 1, '192.0.2.8'), '429', 'that may only read hears the others');
is(scalar(() = $third->error_log =~ /is away/g), 0, 'and keeps its feed');
$third->stop;

my $fourth = gateway("unix:$first->{redis_socket} user=gateway password_file=%%DIR%%/password");
GitpodTest::spew("$fourth->{dir}/password", 'secret');
$fourth->start;
GitpodTest::wait_for('Redis', sub { $fourth->get('/startup')->{status} == 200 });
heard($first, sub { is(take($fourth, 1, '192.0.2.9'), '200', 'one with the rights of the set-up') });
ok(!eval { $first->redis_command('AUTH', 'gateway', 'secret'); $first->redis_command('PUBLISH', 'gitpod:routes:changes', 'x'); 1 }, 'is told, and may write nothing else');
like($@, qr/NOPERM/, 'for Redis forbids it');
delete $first->{redis_connection};
$fourth->stop;

$second->stop;
$first->finish;
