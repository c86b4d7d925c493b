# Where refused requests may go instead, and how traffic comes back.
use strict;
use warnings;
use Backend;
use GitpodTest;
use Test::More;
use Time::HiRes qw(time sleep);

my $t = GitpodTest->new(workers => 2);
my %backend = map { $_ => Backend->new($t, $_, $_ eq 'fastcgi' ? 'fastcgi' : 'http') } qw(main other fastcgi);
$t->{http} = <<"X";
    gitpod_zone test 1m;
    log_format breaker '\$request_uri|\$status|\$gitpod_breaker_state';
    upstream named { server $backend{main}{address}; gitpod_breaker failures=1 base=1m fallback=\@other; }
    upstream fcgi { server $backend{fastcgi}{address}; gitpod_breaker failures=1 base=1m fallback=\@other; }
    upstream uri { server $backend{main}{address}; gitpod_breaker failures=1 base=1m fallback=/page?from=breaker; }
    upstream lost { server $backend{main}{address}; gitpod_breaker failures=1 base=1m fallback=\@nowhere; }
    upstream chain { server $backend{main}{address}; gitpod_breaker failures=1 base=1m fallback=\@guarded; }
    upstream guarded { server $backend{other}{address}; gitpod_breaker failures=1 base=1m; }
    upstream ramp { server $backend{main}{address}; gitpod_breaker failures=1 base=200ms ramp=2s; }
    upstream stale { server $backend{main}{address}; gitpod_breaker failures=1 base=1m; }
    proxy_cache_path %%DIR%%/cache keys_zone=cache:1m;
    proxy_http_version 1.1;
    proxy_set_header Connection "";
    server {
        listen 127.0.0.1:%%PORT%%;
        access_log %%DIR%%/access.log breaker;
        error_page 502 503 =200 /wrong;
        location = /wrong { return 200 "an error page\\n"; }
        location = /metrics { gitpod_probe metrics; }
        location /named { proxy_pass http://named; error_page 500 /wrong; }
        location /fcgi { fastcgi_pass fcgi; fastcgi_param REQUEST_METHOD \$request_method; fastcgi_param CONTENT_LENGTH \$content_length; error_page 500 /wrong; }
        location /uri { proxy_pass http://uri; error_page 500 /wrong; }
        location /lost { proxy_pass http://lost; error_page 500 \@nothing; }
        location /chain { proxy_pass http://chain; error_page 500 /wrong; }
        location /ramp { proxy_pass http://ramp; error_page 500 /wrong; }
        location /stale { proxy_pass http://stale; proxy_cache cache; proxy_cache_valid 200 1s; proxy_cache_use_stale error; add_header X-Cache \$upstream_cache_status; }
        location \@other { proxy_pass http://$backend{other}{address}; add_header X-From other always; }
        location \@guarded { proxy_pass http://guarded; error_page 500 /wrong; }
        location = /page { internal; add_header X-From page always; return 200 "\$request_method \$args \$status\\n"; }
    }
X
$t->start;
sub state_is { my ($name, $state) = @_; return $t->metric("gitpod_breaker_state{name=\"$name\",state=\"$state\"}") }
sub post { my ($path, $body) = @_; return GitpodTest::parse($t->raw("POST $path HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: " . length($body) . "\r\n\r\n$body")) }

# With the cache filled, then everything dead.
like($t->get('/stale')->{body}, qr/main got 0/, 'the cache is filled');
$backend{$_}->mode('503') for qw(main fastcgi);
$t->get("/$_") for qw(named fcgi uri lost chain ramp);
$backend{main}->mode('close');
GitpodTest::wait_for('the cache to be stale', sub { $t->get('/stale')->{headers}{'x-cache'} eq 'STALE' });
is(state_is($_, 'open'), 1, "$_ is open") for qw(named fcgi uri lost chain stale);
$backend{$_}->forget for qw(main fastcgi other);

my $r = $t->get('/named');
is($r->{status}, 200, 'a named location answers instead');
like($r->{body}, qr/^other got 0$/m, 'with its own answer');
is($r->{headers}{'x-from'}, 'other', 'and headers');
is($r->{headers}{'gitpod-breaker'}, undef, 'the breaker says nothing');
like(post('/named', 'x' x 5000)->{body}, qr/^other got 5000$/m, 'a body goes with the request');
like(post('/fcgi', 'y' x 70_000)->{body}, qr/^other got 70000$/m, 'from a FastCGI upstream too');
$backend{other}->mode('404');
is($t->get('/named')->{status}, 404, 'a status of the fallback stays');
$backend{other}->mode('ok');

$r = $t->get('/uri');
is($r->{status}, 200, 'an internal redirect answers instead');
is($r->{body}, "GET from=breaker 200\n", 'with the arguments of the configuration');
is($r->{headers}{'x-from'}, 'page', 'by the location of the uri');

is($t->get('/lost')->{status}, 500, 'a location that is not there is a fault of the server');
like($t->error_log, qr/could not find named location "\@nowhere"/, 'that the log names');

like($t->get('/chain')->{body}, qr/^other got 0$/m, 'a fallback may have a breaker of its own');
$backend{other}->mode('503');
is($t->get('/chain')->{status}, 503, 'which opens');
$r = $t->get('/chain');
is($r->{status}, 503, 'and answers');
like($r->{headers}{'gitpod-breaker'}, qr/^guarded; state=open/, 'for itself');
$backend{other}->mode('ok');

like($t->get('/stale')->{body}, qr/main got 0/, 'what a cache has is used stale');
is($backend{main}->hits, 0, 'in all of this nobody knocked at the service');
is($backend{fastcgi}->hits, 0, 'at neither');

# Back by degrees: with 2 s of ramp a tenth at first, all in the end.
$backend{main}->mode('ok');
GitpodTest::wait_for('half open', sub { state_is('ramp', 'half_open') });
my $begin = time;
is($t->get('/ramp')->{status}, 200, 'the probe is good');
is(state_is('ramp', 'recovering'), 1, 'it recovers');
my @slot = map { [0, 0] } 1 .. 4;
while ((my $now = time - $begin) < 2) {
    my $r = $t->get('/ramp');
    my $slot = $slot[$now * 2];
    $slot->[0]++;
    if ($r->{status} == 200 && $r->{body} =~ /main/) { $slot->[1]++ }
    elsif ($r->{headers}{'gitpod-breaker'}) { $r->{headers}{'gitpod-breaker'} =~ /state=recovering; reason=http_503/ or fail('the reason of the refusal') }
}
my @share = map { $_->[0] ? $_->[1] / $_->[0] : -1 } @slot;
note("shares @share of @{[ map { $_->[0] } @slot ]}");
cmp_ok($share[0], '<', $share[3], 'the share grows');
cmp_ok($share[0], '<', 0.6, 'it begins small');
cmp_ok($share[3], '>', 0.6, 'it ends large');
is(eval { GitpodTest::wait_for('the end of the ramp', sub { $t->get('/ramp'); state_is('ramp', 'closed') }) }, 1, 'then it is closed');
is(scalar(grep { $t->get('/ramp')->{status} == 200 } 1 .. 20), 20, 'to all');

my @log = grep { /^\/named\|200\|/ } split /\n/, GitpodTest::slurp("$t->{dir}/access.log");
is($log[0], '/named|200|open', 'the log tells that a fallback answered since it was open');

$t->finish;
