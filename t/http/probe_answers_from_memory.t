# /live, /startup, /ready and /metrics: what makes them fail, and that none of
# them ever waits for what it reports on.
use strict;
use warnings;
use IO::Socket::UNIX;
use Test::More;
use Time::HiRes qw(time sleep);
use GitpodTest;
use GitpodRoutes;

my $jwk = '{"kty":"EC","crv":"P-256","alg":"ES256","use":"sig","kid":"k1",'
    . '"x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}';    # RFC 7515 A.3

my $t = GitpodRoutes->new(
    workers => 2,
    more => <<'X',
    gitpod_key_set_file %%DIR%%/jwks.json;
    gitpod_check redis redis interval=100ms fall=1 required;
    gitpod_live_lag 1s;
    gitpod_check routes routes interval=100ms;
    gitpod_check keys keys interval=100ms fall=1;
    gitpod_check aging routes interval=100ms fall=1 age=5s optional;
    gitpod_check aging_keys keys interval=100ms fall=1 age=5s optional;
    gitpod_check auth fastcgi unix:%%DIR%%/auth.sock interval=100ms timeout=400ms fall=1;
    gitpod_check ide fastcgi unix:%%DIR%%/ide.sock interval=100ms timeout=400ms rise=3 fall=3 optional;
    gitpod_check late fastcgi unix:%%DIR%%/late.sock interval=60s optional;
X
);

# A plugin whose health is what the file says. "hang" takes the connection and
# says nothing.
sub plugin {
    my ($name, $how) = @_;
    GitpodTest::spew("$t->{dir}/$name.how", $how);
    return if $t->{plugin}{$name};
    my $socket = "$t->{dir}/$name.sock";
    my $s = IO::Socket::UNIX->new(Local => $socket, Listen => 64) or die "$socket: $!";
    $t->{plugin}{$name} = $t->daemon($name, sub { serve($s, "$t->{dir}/$name.how") });
}

sub record { my ($type, $text) = @_; return pack('CCnnCx', 1, $type, 1, length $text, 0) . $text }

sub serve {
    my ($s, $file) = @_;
    local $SIG{PIPE} = 'IGNORE';    # who asked may have given up
    my @held;
    while (my $c = $s->accept) {
        my $how = GitpodTest::slurp($file);
        if ($how eq 'hang') { push @held, $c; shift @held if @held > 50; next }
        my ($in, %param) = ('');
        while ($in !~ /\x01\x05\x00\x01\x00\x00..\z/s) { sysread $c, $in, 4096, length $in or last }
        print "$1\n" if $in =~ /(GITPOD_PATH\/health)/;
        if ($how eq 'close') { close $c; next }
        my $out = $how eq 'garbage' ? 'HTTP/1.1 200 OK' x 10
            : $how eq 'endless' ? record(6, "Status: 200 OK\r\n\r\n" . 'x' x 1000) x 100
            : $how eq 'pieces' ? '' : record(6, $how) . record(6, '') . record(3, "\0" x 8);
        syswrite $c, $out;
        if ($how eq 'pieces') { syswrite($c, $_), sleep 0.002 for split //, record(6, "Status: 20") . record(6, "0 OK\r\n\r\n{}") . record(3, "\0" x 8) }
        close $c;
    }
}

plugin('auth', "Status: 200 OK\r\nContent-Type: application/json\r\n\r\n{\"status\":\"ok\"}");
plugin('ide', "Content-Type: application/json\r\n\r\n{}");
$t->stop_redis;
$t->start;

sub ready { my ($want) = @_; my $r; eval { GitpodTest::wait_for("/ready $want", sub { $r = $t->get('/ready'); $r->{status} == $want }) }; return $r }
sub check { my ($name) = @_; return $t->get('/ready?verbose')->{json}{checks}{$name} }
sub check_is { my ($name, $want) = @_; my $c; eval { GitpodTest::wait_for("$name $want", sub { $c = check($name); $c->{status} eq $want }, 8) }; return $c }

# Before Redis was ever there.
my $r = $t->get('/live');
is($r->{status}, 200, 'without Redis the gateway lives');
is($r->{json}{status}, 'ok', 'and says so in JSON');
is($r->{headers}{'content-type'}, 'application/json', 'whose type it names');
is($r->{headers}{'cache-control'}, 'no-store', 'and which nobody keeps');
$r = $t->get('/startup');
is($r->{status}, 503, 'but it has not started');
is_deeply($r->{json}, { status => 'unavailable', checks => { routes => 'unavailable', revocations => 'unavailable' } }, 'and says what is missing');
is($t->get('/ready')->{status}, 503, 'nor is it ready');

$t->start_redis;
is(eval { GitpodRoutes::wait_synced($t); 1 }, 1, 'once Redis is there it starts');
is(check_is('keys', 'unavailable')->{text}, 'no key in the file, none in Redis and none of a URL', 'without a key it is not ready');
$t->redis_command('PUBLISH', 'gitpod:keys:changes', '{"keys":[]}');
$t->redis_command('PUBLISH', 'gitpod:keys:changes', "{\"keys\":[$jwk]}");
$r = ready(200);
is($r->{status}, 200, 'with a key it is');
is_deeply($r->{json}{checks}, { late => 'unavailable', map { $_ => 'ok' } qw(redis routes keys aging aging_keys auth ide) }, 'and lists its checks');
is($t->metric('gitpod_keys'), 1, 'a set without keys did not replace the good one');
like(GitpodTest::slurp("$t->{dir}/auth.log"), qr/GITPOD_PATH\/health/, 'plugins are asked for /health');
my $c = check('auth');
ok($c->{required} && $c->{age_ms} < 5000 && exists $c->{since_ms} && exists $c->{took_ms} && $c->{text} eq 'answers', 'verbose tells age, duration and text');
is($t->get('/ready?x=1&verbose=1')->{json}{checks}{ide}{required}, JSON::PP::false, 'and what is optional');

# However often it is asked.
sub health_calls { my $n = () = GitpodTest::slurp("$t->{dir}/auth.log") =~ /GITPOD_PATH\/health/g; return $n }
my ($calls, $begin) = (health_calls(), time);
is((grep { $t->get('/ready?verbose')->{json}{checks}{auth} } 1 .. 300), 300, '300 probes');
cmp_ok(health_calls() - $calls, '<=', (time - $begin) / 0.1 + 2, 'ask no plugin: that is left to the timer');

# A plugin in each kind of trouble; each is noticed, none delays the probe.
my %trouble = (
    'Status: 503' => ["Status: 503 Service Unavailable\r\n\r\n{\"status\":\"db \\\"gone\\\"\"}", 'status 503: {"status":"db \"gone\""}'],
    'no status' => ['', 'its answer has no status'],
    'a hang' => ['hang', 'no answer in time'],
    'an early end' => ['close', 'closed before it answered'],
    'garbage' => ['garbage', 'its answer is broken'],
    'an endless answer' => ['endless', 'its answer is too long'],
    'bad digits' => ["Status: x\r\n\r\n", 'its answer has no status'],
);
for my $what (sort keys %trouble) {
    plugin('auth', "Status: 200 OK\r\n\r\n{}");
    is(ready(200)->{status}, 200, "ready before $what");
    plugin('auth', $trouble{$what}[0]);
    $r = ready(503);
    is($r->{status}, 503, "$what makes it unavailable");
    is($r->{json}{checks}{auth}, 'unavailable', "$what: the check says which");
    is(check('auth')->{text}, $trouble{$what}[1], "$what: and why");
    $begin = time;
    $t->get('/ready');
    cmp_ok(time - $begin, '<', 0.35, "$what: the probe does not wait for it");
}
plugin('auth', 'pieces');
is(ready(200)->{status}, 200, 'an answer in single bytes is an answer');
$t->reap(delete $t->{plugin}{auth}, 'KILL');
is(ready(503)->{json}{checks}{auth}, 'unavailable', 'a dead plugin is noticed');
is(check('auth')->{text}, 'cannot connect', 'with the reason');
unlink "$t->{dir}/auth.sock";
plugin('auth', "Status: 200 OK\r\n\r\n{}");
is(ready(200)->{status}, 200, 'and its successor too');

is(check_is('late', 'unavailable')->{status}, 'unavailable', 'what is not there yet does not pass');
plugin('late', "Status: 200 OK\r\n\r\n{}");
is(check_is('late', 'ok')->{status}, 'ok', 'and is seen soon when it comes, whatever its interval');

plugin('ide', "Status: 500\r\n\r\n");
is(check_is('ide', 'unavailable')->{status}, 'unavailable', 'an optional check may fail');
is($t->get('/ready')->{status}, 200, 'without making the gateway unavailable');
is($t->metric('gitpod_check{name="ide"}'), 0, 'a metric tells it');
is($t->metric('gitpod_check{name="auth"}'), 1, 'and the others');

# Redis that is dead, and Redis that hangs.
$t->stop_redis;
is(ready(503)->{json}{checks}{redis}, 'unavailable', 'without Redis it is not ready');
is($t->get('/ready')->{json}{checks}{routes}, 'ok', 'though its routes are');
$r = check('aging');
ok($r->{status} eq 'ok' && $r->{confirmed_ms} < 5000, 'and were confirmed lately');
my $gone = time;
is(check_is($_, 'unavailable')->{status}, 'unavailable', "but not for as long as is allowed: $_") for qw(aging aging_keys);
cmp_ok(time - $gone, '>', 2, 'which takes its time');
like(check('aging')->{text}, qr/^not confirmed by Redis for \d+ s, allowed is 5 s$/, 'the text says how long');
cmp_ok($t->metric('gitpod_tables_age_seconds'), '>', 5, 'and so does a metric');
is($t->get('/startup')->{status}, 200, 'what has started stays started');
is($t->get('/live')->{status}, 200, 'and alive');
$t->start_redis;
is(ready(200)->{status}, 200, 'with Redis back it is ready');
is(check_is('aging', 'ok')->{status}, 'ok', 'and its routes are confirmed again');

# The flag that makes /ready not look at the checks.
sub flag {
    my ($version, $on) = @_;
    $t->redis_command('PUBLISH', 'gitpod:flags:changes', qq({"name":"server_readiness_probe","version":$version,"on":$on}));
}
plugin('auth', "Status: 503 Gone\r\n\r\n{}");
is(ready(503)->{status}, 503, 'a plugin that is not well');
flag(1, 'false');
$r = ready(200);
is($r->{status}, 200, 'with server_readiness_probe off it does not matter');
is_deeply($r->{json}, { status => 'ok', checks => { event_loop => 'ok' } }, '/ready answers as /live does');
like($t->get('/ready?verbose')->{body}, qr/"worker_\d+":\{"status":"ok"/, 'verbose, too');
flag(2, 'true');
is(ready(503)->{status}, 503, 'with the flag on it matters again');
plugin('auth', "Status: 200 OK\r\n\r\n{}");
is(ready(200)->{status}, 200, 'until the plugin is well');
kill 'STOP', $t->{redis_pid};
is(ready(503)->{json}{checks}{redis}, 'unavailable', 'a Redis that hangs is noticed');
kill 'CONT', $t->{redis_pid};
is(ready(200)->{status}, 200, 'and when it goes on, too');

# A worker that is stuck.
my ($stuck) = $t->workers;
my $stopped = time;
kill 'STOP', $stuck;
my $live = 0;
eval { GitpodTest::wait_for('/live 503', sub { ($live = probe_other('/live')) == 503 }) };
is($live, 503, 'a worker that is stuck makes it not live');
cmp_ok(time - $stopped, '<', 3, 'after the time of gitpod_live_lag');
like(probe_body('/live?verbose'), qr/"worker_$stuck":\{"status":"unavailable"/, 'verbose tells which');
kill 'CONT', $stuck;
eval { GitpodTest::wait_for('/live 200', sub { ($live = probe_other('/live')) == 200 }) };
is($live, 200, 'and live again when it goes on');

# The stuck worker may have taken the connection: such a try is given up.
sub probe_body {
    my ($path) = @_;
    for (1 .. 50) {
        my $s = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $t->{port}) or next;
        print $s "GET $path HTTP/1.0\r\n\r\n";
        next if !IO::Select->new($s)->can_read(0.3);
        local $/;
        return <$s> // '';
    }
    return '';
}
sub probe_other { my ($path) = @_; return probe_body($path) =~ /^HTTP\S+ (\d+)/ ? $1 : 0 }

# The form of /metrics.
$r = $t->get('/metrics');
is($r->{headers}{'content-type'}, 'text/plain; version=0.0.4', 'metrics say what they are');
my (%seen, %typed);
for my $line (split /\n/, $r->{body}) {
    if ($line =~ /^# TYPE (\S+) (?:counter|gauge)$/) { ok(!$typed{$1}++, "$1 has one type"); next }
    next if $line =~ /^# HELP \S+ .+\.$/;
    my ($name, $labels) = $line =~ /^([a-z_]+)(\{[a-z_]+="[a-z_]+"(?:,[a-z_]+="[a-z_]+")*\})? \d+(?:\.\d{3})?$/ or do { fail("a line of metrics: $line"); next };
    ok($typed{$name}, "$name has its type before its samples") if !$seen{$name}++;
    is($seen{ $name . ($labels // '') . ' ' }++, 0, "$name" . ($labels // '') . ' comes once') if $seen{ $name . ($labels // '') . ' ' };
}
unlike($r->{body}, qr/ws-|[0-9a-f]{8}-/, 'no workspace and no user is in them');
like($t->raw("POST /ready HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"), qr/^HTTP\S+ 405/, 'a probe is a GET');
is($t->raw("HEAD /live HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n") =~ /\r\n\r\n\z/ ? 1 : 0, 1, 'or a HEAD, without a body');

$t->finish;
