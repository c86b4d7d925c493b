# gitpod_observe: requests by class, status and duration; classes come from the
# configuration alone; exemplars only when they are on and asked for.
use strict;
use warnings;
use IO::Socket::INET;
use Test::More;
use GitpodTest;

my $backend = IO::Socket::INET->new(Listen => 16, LocalAddr => '127.0.0.1', ReuseAddr => 1) or die;
my $backend_port = $backend->sockport;

sub conf {
    my ($more) = @_;
    return <<"X";
    gitpod_zone test 4m;
    $more
    server {
        listen 127.0.0.1:%%PORT%%;
        gitpod_domain gitpod.test;
        gitpod_workspace_domain ws-gitpod.test;
        gitpod_external_url http://gitpod.test:%%PORT%%;
        gitpod_observe page;
        error_page 403 404 502 /error;
        location = /error { gitpod_observe error; return 200 "sorry\\n"; }
        location /page { root %%TOP%%; try_files /LICENSE =404; }
        location /api { gitpod_observe api; root /nowhere; }
        location /trace { gitpod_observe api; add_header X-Trace \$gitpod_traceparent; root %%TOP%%; try_files /LICENSE =404; }
        location /slow { gitpod_observe slow ports=port; proxy_pass http://127.0.0.1:$backend_port; proxy_http_version 1.1; proxy_set_header Upgrade \$http_upgrade; proxy_set_header Connection upgrade; }
        location /off { gitpod_observe off; root %%TOP%%; try_files /LICENSE =404; }
        location = /metrics { gitpod_observe off; gitpod_probe metrics; }
    }
X
}

my $t = GitpodTest->new(workers => 2, http => conf(''));
# The backend: a tenth of a second before it answers; an upgrade is taken.
$t->daemon('backend', sub {
    while (my $c = $backend->accept) {
        my $in = '';
        while ($in !~ /\r\n\r\n/) { sysread $c, $in, 4096, length $in or last }
        select undef, undef, undef, 0.1;
        print $c $in =~ /^Upgrade: websocket/mi ? "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n"
            : "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok";
        close $c;
    }
});
$t->start;

my @host = (Host => 'gitpod.test');
# The log phase comes after the answer: the count may be a moment behind the client.
my $n = sub { my ($class, $status) = @_; return $t->metric(qq{gitpod_http_requests_total{class="$class",status="$status"}}) };
my $count_is = sub { my ($class, $status, $want, $name) = @_; my $got; eval { GitpodTest::wait_for($name, sub { $got = $n->($class, $status); $got == $want }, 5) }; is($got, $want, $name) };
my $bucket = sub { my ($name, $class, $le) = @_; return $t->metric(qq{gitpod_http_${name}_seconds_bucket{class="$class",le="$le"}}) };
my $metrics = sub { my (%h) = @_; return $t->get('/metrics', @host, %h) };

is($n->('page', '2xx'), 0, 'a class is there before its first request');
$t->get('/page', @host) for 1 .. 5;
$count_is->('page', '2xx', 5, 'requests count by class, over both workers');
is($bucket->('request_duration', 'page', '+Inf'), 5, 'and in the histogram');
is($t->metric('gitpod_http_request_duration_seconds_count{class="page"}'), 5, 'whose count is that of its last bucket');

is($t->get('/api/none', @host)->{status}, 404, 'a request that fails');
$count_is->('api', '4xx', 1, 'counts where it failed');
is($n->('error', '2xx') + $n->('error', '4xx'), 0, 'and not as the page of its error');

is($t->get('/slow', @host)->{status}, 200, 'a request that takes 100 ms');
$count_is->('slow', '2xx', 1, 'counts');
is($bucket->('request_duration', 'slow', '0.050'), 0, 'in no bucket below');
is($bucket->('request_duration', 'slow', '30.000'), 1, 'and in those above');
is($bucket->('upstream', 'slow', '0.050'), 0, 'what stands behind took it');
is($bucket->('upstream', 'slow', '30.000'), 1, 'and is counted apart');
cmp_ok($t->metric('gitpod_http_request_duration_seconds_sum{class="slow"}'), '>=', 0.09, 'the sum is seconds');

is($t->get('/slow', @host, Upgrade => 'websocket', Connection => 'upgrade')->{status}, 101, 'an upgraded connection');
$count_is->('slow', '1xx', 1, 'counts as a request');
is($t->metric('gitpod_http_request_duration_seconds_count{class="slow"}'), 1, 'and not as a duration');

$t->get('/off', @host);
unlike($metrics->()->{body}, qr/class="off"/, 'off is no class');
is($t->get('/page', Host => 'Gitpod.test.')->{status}, 400, 'a request that is refused before any location');
$count_is->('page', '4xx', 1, 'counts for its server');

my $before = $n->('page', '2xx');
$t->reload;
is($n->('page', '2xx'), $before, 'a reload keeps the counts');

my $open = 'application/openmetrics-text; version=1.0.0';
like($metrics->(Accept => $open)->{headers}{'content-type'}, qr{^text/plain}, 'without exemplars it is Prometheus text, whatever is asked for');

# With exemplars.
$t->{http} = conf('gitpod_exemplars on;');
$t->reload;
my $trace = '0af7651916cd43dd8448eb211c80319c';
is($t->get('/trace', @host, traceparent => "00-$trace-b7ad6b7169203331-01")->{status}, 200, 'a request that belongs to a trace');
$count_is->('api', '2xx', 1, 'is counted');
my $r = $metrics->(Accept => $open);
is($r->{headers}{'content-type'}, 'application/openmetrics-text; version=1.0.0; charset=utf-8', 'OpenMetrics');
like($r->{body}, qr/^gitpod_http_request_duration_seconds_bucket\{class="api",le="[\d.]+"\} \d+ # \{trace_id="$trace"\} 0\.\d+ \d+\.\d+$/m, 'names the trace');
like($r->{body}, qr/^# TYPE gitpod_http_requests counter\ngitpod_http_requests_total\{/m, 'and describes counters by their name there');
like($r->{body}, qr/\n# EOF\n\z/, 'with its end');
unlike($metrics->()->{body}, qr/trace_id/, 'who did not ask gets none');

# promtool reads it.
my $file = "$t->{dir}/metrics";
GitpodTest::spew($file, $metrics->()->{body});
my $said = `promtool check metrics < $file 2>&1`;
is($? >> 8, 0, 'promtool finds nothing wrong') or diag($said);

# What the configuration is told.
my $bad = sub {
    my ($text, $want, $name) = @_;
    my $c = GitpodTest->new(http => "    gitpod_zone test 4m;\n    server { listen 127.0.0.1:%%PORT%%; $text }\n");
    my $r = $c->check_conf;
    ok(!$r->{ok}, $name);
    like($r->{text}, $want, 'and is told why');
    $c->stop;
};
$bad->('gitpod_observe Page;', qr/class "Page" must be 1 to 15 characters a-z or _/, 'a class in capitals is refused');
$bad->('gitpod_observe api port;', qr/invalid parameter "port"/, 'a parameter that is none');
$bad->('gitpod_observe off ports=x;', qr/takes nothing after "off"/, 'off takes none');
$bad->(join(' ', map { "location /$_ { gitpod_observe class_$_; }" } 'a' .. 'm'), qr/class "class_m" is one too many: at most 12/, 'there are at most 12');
$bad->('gitpod_observe a; gitpod_observe b;', qr/is duplicate/, 'one of a kind');

$t->finish;
