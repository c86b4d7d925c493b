# By address: an IPv6 host counts as its /64, an IPv4 address is the same in
# either spelling; a dry run only tells; headers tell when they are asked to.
use strict;
use warnings;
use Test::More;
use GitpodTest;

# realip stands for a load balancer: each request says where it comes from
my $t = GitpodTest->new(http => <<'X');
    gitpod_zone test 1m;
    gitpod_limit few key=address rate=2/1h;
    gitpod_limit more key=address rate=1/30m burst=4;
    gitpod_limit tokens key=address,token rate=1/1h;
    log_format limits '$status $gitpod_limit_status $gitpod_limit $gitpod_reason';
    server {
        listen 127.0.0.1:%%PORT%%;
        server_name gitpod.test;
        gitpod_domain gitpod.test;
        gitpod_workspace_domain ws-gitpod.test;
        gitpod_external_url http://gitpod.test:%%PORT%%;
        set_real_ip_from 127.0.0.1;
        real_ip_header Test-Address;
        access_log %%DIR%%/access.log limits;
        root %%TOP%%;
        location / { gitpod_limit_use few; try_files /LICENSE =404; }
        location /two { gitpod_limit_use few more; gitpod_limit_headers on; try_files /LICENSE =404; }
        location /dry { gitpod_limit_use few; gitpod_limit_dry_run on; try_files /LICENSE =404; }
        location /off { gitpod_limit_use off; try_files /LICENSE =404; }
        location /nobody { gitpod_limit_use tokens; try_files /LICENSE =404; }
        location /again { gitpod_limit_use few; try_files /none /other; }
        location /fails { gitpod_limit_use few; error_page 418 = @other; return 418; }
        location /other { gitpod_limit_use few; try_files /LICENSE =404; }
        location @other { gitpod_limit_use few; try_files /LICENSE =404; }
        location = /metrics { gitpod_limit_use off; gitpod_probe metrics; }
    }
    server {
        listen unix:%%DIR%%/local.sock;
        server_name gitpod.test;
        gitpod_domain gitpod.test;
        gitpod_workspace_domain ws-gitpod.test;
        gitpod_external_url http://gitpod.test:%%PORT%%;
        root %%TOP%%;
        location / { gitpod_limit_use few; try_files /LICENSE =404; }
    }
X
$t->start;

sub from { my ($address, $path) = @_; return $t->get($path // '/', Host => 'gitpod.test', 'Test-Address' => $address) }
sub statuses { my ($address, $n, $path) = @_; return join ' ', map { from($address, $path)->{status} } 1 .. $n }

is(statuses('192.0.2.1', 3), '200 200 429', 'an address has its burst');
is(statuses('192.0.2.2', 1), '200', 'another has its own');
is(statuses('::ffff:192.0.2.1', 1), '429', 'IPv4 in IPv6 is the same address');
is(statuses('::ffff:192.0.2.3', 1), '200', 'and not all of them are one');
is(statuses('2001:db8:1:2::1', 2), '200 200', 'an IPv6 host');
is(statuses('2001:db8:1:2:ffff:ffff:ffff:ffff', 1), '429', 'cannot go on by another address of its /64');
is(statuses('2001:db8:1:3::1', 1), '200', 'the next /64 is somebody else');
is(statuses('2001:db8:1:2::1', 1, '/off'), '200', 'a place without limits has none');

my $r = from('192.0.2.1');
is($r->{json}{code}, 'resource_exhausted', 'JSON for a program');
cmp_ok($r->{headers}{'retry-after'}, '>', 1700, 'half an hour until one comes back');
is($t->raw("GET / HTTP/1.0\r\nHost: gitpod.test\r\nTest-Address: 192.0.2.1\r\nAccept: text/html\r\n\r\n") =~ /^HTTP\/1\.1 429.*<h1>429/s ? 1 : 0, 1,
    'a page for a person');

# one request is one, whatever nginx makes of it inside
is(statuses('192.0.2.10', 3, '/again'), '200 200 429', 'an internal redirect is no second request');
is(statuses('192.0.2.11', 3, '/fails'), '200 200 429', 'nor is a named location');
is(statuses('192.0.2.12', 3, '/nobody'), '200 200 200', 'a limit by token does not concern who has none');

# two limits: refused by one costs nothing of the other
$r = from('192.0.2.20', '/two');
is(join(' ', map { $r->{headers}{"x-ratelimit-$_"} } qw(limit remaining reset)), '2 1 1800', 'headers tell about the tighter limit');
is(statuses('192.0.2.20', 5, '/two'), '200 429 429 429 429', 'the tighter one refuses');
$r = from('192.0.2.20', '/two');
is(join(' ', map { $r->{headers}{"x-ratelimit-$_"} } qw(limit remaining)), '2 0', 'nothing remains of it');
like($r->{headers}{'x-ratelimit-reset'}, qr/^(?:359\d|36\d\d|5[34]\d\d)$/, 'and when it is full again');

# dry run
is(statuses('192.0.2.30', 4, '/dry'), '200 200 200 200', 'in a dry run nobody is refused');
my @log = map { [split / /, $_, 4] } split /\n/, GitpodTest::slurp("$t->{dir}/access.log");
is(scalar(grep { $_->[0] == 200 && $_->[1] eq 'dry-run' && $_->[2] eq 'few' } @log), 2, 'the log tells who would have been');
is(scalar(grep { $_->[1] eq 'refused' && $_->[3] ne 'limit ' . $_->[2] } @log), 0, 'and of those who were, why');
is($t->metric('gitpod_limit_refused_total{limit="few",mode="dry_run"}'), 2, 'so do metrics');
is($t->metric('gitpod_limit_uncounted_total{limit="few"}'), 0, 'all were counted');

# on a unix socket everybody is this machine
my @local = map {
    my $s = IO::Socket::UNIX->new(Peer => "$t->{dir}/local.sock") or die "local.sock: $!";
    print $s "GET / HTTP/1.0\r\nHost: gitpod.test\r\n\r\n";
    (<$s> // '') =~ /^HTTP\S+ (\d+)/ ? $1 : 'nothing';
} 1 .. 4;
is("@local", '200 200 200 200', 'a unix socket has no address to limit');

# thousands of addresses: the table forgets those soonest full, and stays as it is
my $max = $t->metric('gitpod_limit_buckets_max');
is(statuses('203.0.113.1', 3), '200 200 429', 'somebody over the limit');
my $lines = "Host: gitpod.test\r\nTest-Address";
my $pass = 0;
for my $batch (0 .. int($max / 250)) {
    my @asked = map { "HEAD / HTTP/1.1\r\n$lines: 10.$batch.$_.1\r\n" } 1 .. 250;
    $asked[-1] .= "Connection: close\r\n";
    $pass += () = $t->raw(join "\r\n", @asked, '') =~ /^HTTP\/1.1 200/mg;
}
cmp_ok($pass, '>', $max, 'more addresses than the table has room for');
cmp_ok($t->metric('gitpod_limit_buckets'), '<=', $max, 'fit into a table that does not grow');
is(statuses('203.0.113.1', 1), '429', 'who is furthest over it is remembered longest');

$t->finish;
