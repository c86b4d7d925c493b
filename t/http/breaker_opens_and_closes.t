# gitpod_breaker with one peer: what opens it, what a refused request gets, how
# it comes back. The same for an HTTP and a FastCGI upstream.
use strict;
use warnings;
use Backend;
use GitpodTest;
use IO::Socket::INET;
use Test::More;
use Time::HiRes qw(time sleep);

my $t = GitpodTest->new(workers => 2);
my %backend = (http => Backend->new($t, 'http', 'http'), fastcgi => Backend->new($t, 'fastcgi', 'fastcgi'));
my $second = Backend->new($t, 'second', 'http');

my %pass = (http => 'proxy_pass http://%s; proxy_http_version 1.1; proxy_set_header Connection "";',
    fastcgi => 'fastcgi_pass %s; fastcgi_param REQUEST_METHOD $request_method; fastcgi_param CONTENT_LENGTH $content_length; fastcgi_keep_conn on;');
my (@upstreams, @locations);
for my $kind (sort keys %backend) {
    my $timeout = $kind eq 'http' ? 'proxy_read_timeout 100ms;' : 'fastcgi_read_timeout 100ms;';
    push @locations, "location /$kind/soon/ { $timeout " . sprintf($pass{$kind}, "${kind}_breaker") . ' }';
    my %with = (
        plain => '',
        breaker => 'failures=3 base=100ms cap=400ms window=100ms',
        long => 'failures=3 base=1m',
        any => 'failures=3 base=1m on=http_500',
        share => 'failures=0 ratio=50 min=10 base=1m on=http_503',
    );
    for my $name (sort keys %with) {
        my $breaker = $name eq 'plain' ? '' : "gitpod_breaker $with{$name};";
        push @upstreams, "upstream ${kind}_$name { server $backend{$kind}{address} max_fails=0; $breaker keepalive 8; }";
        push @locations, "location /$kind/$name/ { " . sprintf($pass{$kind}, "${kind}_$name") . ' }';
    }
}
$t->{http} = <<"X";
    gitpod_zone test 1m;
    log_format breaker '\$uri|\$status|\$gitpod_breaker_state|\$gitpod_breaker_reason|\$upstream_status';
    @upstreams
    upstream two { server $backend{http}{address} max_fails=0; server $second->{address} max_fails=0; gitpod_breaker failures=3 base=1m; }
    server {
        listen 127.0.0.1:%%PORT%%;
        access_log %%DIR%%/access.log breaker;
        location = /metrics { gitpod_probe metrics; }
        @locations
        location /two/ { proxy_pass http://two; }
    }
    server {
        listen 127.0.0.1:%%PORT%%;
        server_name gitpod.test;
        gitpod_domain gitpod.test;
        gitpod_workspace_domain ws-gitpod.test;
        gitpod_external_url http://gitpod.test;
        error_page 502 503 /page;
        location = /page { internal; return 200 "page of \$status\\n"; }
        location / { proxy_pass http://http_long; }
    }
X
$t->start;

sub metric { my ($family, $name, $more) = @_; return $t->metric("gitpod_breaker_$family\{name=\"$name\"" . ($more // '') . '}') }
sub state_is { my ($name, $state) = @_; return metric('state', $name, ",state=\"$state\"") }
sub statuses { my ($path, $n) = @_; return join ' ', map { $t->get($path)->{status} } 1 .. $n }

# Waits for the state; a time that is over shows without a request.
sub wait_state { my ($name, $state) = @_; GitpodTest::wait_for("$name to be $state", sub { state_is($name, $state) }) }

for my $kind (sort keys %backend) {
    my $b = $backend{$kind};
    my $name = "${kind}_breaker";
    my $path = "/$kind/breaker/x";

    like($t->get($path)->{body}, qr/^$kind got 0$/m, "$kind: a closed breaker lets through");
    is(state_is($name, 'closed'), 1, "$kind: and says so");

    # Dead: three failures, then nobody knocks any more.
    $b->kill;
    is(statuses("/$kind/long/x", 3), '502 502 502', "$kind: failures go to the client as they are");
    my $r = $t->get("/$kind/long/x");
    my $long = "${kind}_long";
    is($r->{status}, 503, "$kind: then the breaker answers");
    like($r->{headers}{'retry-after'}, qr/^(?:4[5-9]|5\d|60)$/, "$kind: with Retry-After");
    is($r->{headers}{'content-type'}, 'application/json', "$kind: in JSON");
    is($r->{headers}{'cache-control'}, 'no-store', "$kind: that nobody stores");
    is($r->{json}{code}, 'unavailable', "$kind: with Connect's code");
    is($r->{json}{message}, "The service $long cannot be connected to. The gateway tries it again in $r->{headers}{'retry-after'} s", "$kind: and a text that names service, cause and time");
    like($r->{headers}{'gitpod-breaker'}, qr/^$long; state=open; reason=connect; retry_ms=\d+$/, "$kind: a header says it to programs");
    is(state_is($long, 'open'), 1, "$kind: a metric says open");
    is(metric('reason', $long, ',reason="connect"'), 1, "$kind: and why");
    my $retry = 1000 * metric('retry_seconds', $long);
    ok($retry > 40_000 && $retry <= 60_000, "$kind: and when it is tried again ($retry ms)");
    is(metric('failed_total', $long), 3, "$kind: failures are counted");
    is(metric('opened_total', $long), 1, "$kind: openings too");
    is(metric('refused_total', $long), 1, "$kind: and what was refused");

    # Back again.
    $b->start;
    is(statuses("/$kind/long/x", 3), '503 503 503', "$kind: open, nothing passes");
    is($b->hits, 1, "$kind: and nothing reaches the service");
    $b->kill;
    is(statuses($path, 3), '502 502 502', "$kind: each upstream has its own");
    $b->start;
    wait_state($name, 'half_open');
    is(statuses($path, 3), '200 200 200', "$kind: after its time the first that passes closes it");
    is(state_is($name, 'closed'), 1, "$kind: closed");
    # Dead for longer: each time twice as long, jitter shortens by a quarter at most.
    sleep 0.11;    # a quiet window: the row of openings begins anew
    $b->kill;
    statuses($path, 2);
    for my $round (0 .. 3) {
        my $longest = $round < 2 ? 100 * 2**$round : 400;
        my $begin = time;
        is($t->get($path)->{status}, 502, "$kind: a request of a dead service fails as it is");
        my $left = 1000 * metric('retry_seconds', $name);
        cmp_ok($left, '<=', $longest, "$kind: round $round waits at most $longest ms");
        wait_state($name, 'half_open');
        cmp_ok(1000 * (time - $begin), '>=', $longest * 3 / 4, "$kind: and at least three quarters of that");
    }
    is(metric('opened_total', $name), 5, "$kind: every round is an opening");
    $b->start;
    is($t->get($path)->{status}, 200, "$kind: and it comes back");

    # What counts.
    for my $case ([ 503 => 503, 'http_503' ], [ 502 => 502, 'http_502' ], [ 504 => 504, 'http_504' ], [ close => 502, 'error' ], [ hang => 504, 'timeout' ]) {
        my ($mode, $status, $reason) = @$case;
        sleep 0.11;
        $b->mode($mode);
        is(statuses($mode eq 'hang' ? "/$kind/soon/x" : $path, 3), "$status $status $status", "$kind: $mode reaches the client");
        is(metric('reason', $name, ",reason=\"$reason\""), 1, "$kind: $mode opens it, for $reason");
        $b->mode('ok');
        wait_state($name, 'half_open');
        is($t->get($path)->{status}, 200, "$kind: after $mode it comes back");
    }
    $b->mode('500');
    is(statuses($path, 6), '500 500 500 500 500 500', "$kind: 500 of an application opens nothing");
    is(statuses("/$kind/any/x", 4), '500 500 500 503', "$kind: unless it shall");

    # By share: half of ten.
    my $share = "/$kind/share/x";
    for (1 .. 4) { $b->mode('503'); $t->get($share); $b->mode('ok'); $t->get($share) }
    is(state_is("${kind}_share", 'closed'), 1, "$kind: eight requests say nothing about a share of ten");
    $b->mode('503'); $t->get($share);
    $b->mode('ok'); $t->get($share);
    $b->mode('503'); $t->get($share);
    is(state_is("${kind}_share", 'open'), 1, "$kind: with ten, half of them bad, it opens");
    $b->mode('ok');
}

# A refused request leaves the client's connection in order, whatever it sent.
my $s = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $t->{port}) or die;
my $post = "POST /http/long/x HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello";
print $s $post, "HEAD /http/long/x HTTP/1.1\r\nHost: x\r\n\r\n", "GET /http/long/x HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
my $all = join '', <$s>;
is(() = $all =~ /^HTTP\/1.1 503 /mg, 3, 'three requests on one connection, three answers');
is(() = $all =~ /"code":"unavailable"/g, 2, 'HEAD has no body');
is(() = $all =~ /^Retry-After: \d+\r$/mg, 3, 'all have the same headers');

# People get the page of the error.
my $page = $t->get('/', Host => 'gitpod.test', Accept => 'text/html', 'Sec-Fetch-Mode' => 'navigate', 'Sec-Fetch-Dest' => 'document');
is($page->{status}, 503, 'a person gets 503');
is($page->{body}, "page of 503\n", 'and the page for it');
ok($page->{headers}{'retry-after'}, 'with Retry-After');
is($t->get('/', Host => 'gitpod.test', Accept => 'application/json')->{json}{code}, 'unavailable', 'a program of the same host gets JSON');

# One of two servers dead: a retry that helps is no failure of the upstream.
$backend{http}->kill;
is(statuses('/two/x', 8), '200 200 200 200 200 200 200 200', 'with one of two servers dead every request is answered');
is(metric('failed_total', 'two'), 0, 'and none has failed');
$second->kill;
is(statuses('/two/x', 4), '502 502 502 503', 'with both dead it opens');
is(metric('failed_total', 'two'), 3, 'one failure a request');

# The log.
my @log = map { [split /\|/] } split /\n/, GitpodTest::slurp("$t->{dir}/access.log");
my ($refused) = grep { $_->[0] eq '/fastcgi/long/x' && $_->[1] == 503 && $_->[2] eq 'open' } @log;
is($refused && $refused->[3], 'connect', 'the log tells state and reason of what was refused');
my ($probe) = grep { $_->[0] eq '/fastcgi/breaker/x' && $_->[1] == 200 && $_->[2] eq 'half_open' } @log;
is($probe && $probe->[3], 'connect', 'and of a probe');
my ($good) = grep { $_->[0] eq '/fastcgi/breaker/x' && $_->[1] == 200 && $_->[2] eq 'closed' } @log;
is($good && $good->[3], 'none', 'closed has none');
like($t->error_log, qr/\[warn\].* breaker "http_breaker" is open: connect, next try in \d+ ms/, 'opening is a warning');
like($t->error_log, qr/\[notice\].* breaker "http_breaker" is closed/, 'closing is told');
unlike($t->error_log, qr/no live upstreams/, 'a refused request is no line in the log');

$t->finish;
