# Mistakes in the module's main directives are found by nginx -t, with a text
# that names them; and a worker with none of them runs as if it were not there.
use strict;
use warnings;
use Test::More;
use GitpodTest;

sub says {
    my ($http) = @_;
    my $t = GitpodTest->new(http => $http);
    GitpodTest::spew("$t->{dir}/password", "secret\n");
    GitpodTest::spew("$t->{dir}/empty", "\n");
    GitpodTest::spew("$t->{dir}/long", 'x' x 70_000);
    my $r = $t->check_conf;
    $t->{stopped} = 1;
    File::Path::remove_tree($t->{dir});
    return $r;
}

my $zone = "gitpod_zone z 1m;\n";
my $events = 'server { location = /api/events {';
sub breaker { my ($text, $name) = @_; return "$zone upstream " . ($name // 'u') . " { server 127.0.0.1:1; gitpod_breaker $text; }" }
my %good = (
    'nothing of the module' => '',
    'the least' => $zone,
    'Redis without a password' => "$zone gitpod_redis unix:/x.sock;",
    'Redis with one' => "$zone gitpod_redis unix:/x.sock user=gateway password_file=%%DIR%%/password;",
    'a key set that is not there yet' => "$zone gitpod_key_set_file %%DIR%%/none;",
    'a key set that is broken' => "$zone gitpod_key_set_file %%DIR%%/password;",
    'snapshots that are not there yet' => "$zone gitpod_route_file %%DIR%%/none; gitpod_revocation_file %%DIR%%/none; gitpod_snapshot_max_age 7d;",
    'ranges' => "$zone gitpod_route_cidr 10.0.0.0/8 fd00::/8; gitpod_route_cidr 192.168.0.0/16;",
    'ages' => "$zone gitpod_check a routes age=5s; gitpod_check b keys age=1d; gitpod_live_lag 1h;",
    'checks' => "$zone gitpod_check a redis; gitpod_check b_2 fastcgi unix:/a interval=1s timeout=50ms rise=2 fall=3 optional;",
    'activity' => "$zone gitpod_manager unix:/x.sock interval=30s timeout=1m; server { gitpod_activity on ports=none; location /a { gitpod_activity off; } }",
    'room for events' => 'gitpod_zone z 1m events=256k;',
    'events' => "$zone $events gitpod_auth on; gitpod_events on heartbeat=5m per_user=1 per_worker=1000000; } }",
    'a breaker with all it takes' => breaker('name=a failures=0 ratio=100 min=1 window=100ms base=10ms cap=10ms half_open=8 probe=1h ramp=1h '
            . 'on=connect,error,timeout,http_500,http_502,http_503,http_504,check fallback=@other'),
    'breakers around other things' => "$zone upstream a { least_conn; server 127.0.0.1:1; gitpod_breaker; keepalive 2; }"
        . 'upstream b { gitpod_route; keepalive 2; gitpod_breaker fallback=/else?where=1; }',
    'wake' => "$zone gitpod_manager unix:/x.sock; gitpod_wake wait=1s; server { gitpod_wake start waiters=1024 wait=5m; location /a { gitpod_wake off; } }",
    'wake without a manager' => "$zone gitpod_wake wait=1s waiters=1;",
    'mode port' => "$zone gitpod_mode port; server { listen 127.0.0.1:1024-1025; gitpod_domain gitpod.test; gitpod_external_url http://gitpod.test; gitpod_workspace_domain 127.0.0.2; }",
    'the zone after what needs it' => "gitpod_redis unix:/x.sock; $zone",
);
for my $what (sort keys %good) {
    my $r = says($good{$what});
    ok($r->{ok}, "$what: taken") or diag($r->{text});
}

my $domains = 'server { gitpod_domain gitpod.test; gitpod_external_url http://gitpod.test; gitpod_workspace_domain';
my @bad = (
    ['a mode that is none', "$zone gitpod_mode path;", qr/invalid value "path"/],
    ['mode port on the session\'s host', "$zone $domains Gitpod.test; gitpod_mode port; }", qr/"gitpod_mode port" needs a "gitpod_workspace_domain" that is not "gitpod.test": cookies ignore ports, so name another host or an address/],
    ['a host that leaves no room for a port', "$zone gitpod_mode port; $domains " . join('.', ('a' x 62) x 4) . '; }', qr/in "gitpod_mode port" the "gitpod_workspace_domain" has at most 247 bytes/],
    ['a zone that is too small', 'gitpod_zone z 512k;', qr/zone "z" is too small: at least 1m/],
    ['a size that is none', 'gitpod_zone z big;', qr/invalid zone "z" of size "big"/],
    ['little room for events', 'gitpod_zone z 1m events=63k;', qr/invalid parameter "events=63k": "events=size" is the room .* from 64k to a quarter/],
    ['too much of it', 'gitpod_zone z 1m events=257k;', qr/invalid parameter "events=257k"/],
    ['another parameter of the zone', 'gitpod_zone z 1m event=64k;', qr/invalid parameter "event=64k"/],
    ['events for anybody', "$zone $events gitpod_events on; } }", qr/"gitpod_events" needs "gitpod_auth on" in the same location/],
    ['events for some', "$zone $events gitpod_auth optional; gitpod_events on; } }", qr/"gitpod_events" needs "gitpod_auth on"/],
    ['events off', "$zone $events gitpod_auth on; gitpod_events off; } }", qr/"gitpod_events" directive has one value: on/],
    ['events twice', "$zone $events gitpod_auth on; gitpod_events on; gitpod_events on; } }", qr/"gitpod_events" directive is duplicate/],
    ['a heartbeat that is too quick', "$zone $events gitpod_auth on; gitpod_events on heartbeat=999ms; } }", qr/invalid parameter "heartbeat=999ms": there are heartbeat= \(1s to 5m\)/],
    ['one that is too slow', "$zone $events gitpod_auth on; gitpod_events on heartbeat=6m; } }", qr/invalid parameter "heartbeat=6m"/],
    ['no streams for a user', "$zone $events gitpod_auth on; gitpod_events on per_user=0; } }", qr/invalid parameter "per_user=0"/],
    ['another parameter of events', "$zone $events gitpod_auth on; gitpod_events on speed=1; } }", qr/invalid parameter "speed=1"/],
    ['two zones', "$zone gitpod_zone y 1m;", qr/"gitpod_zone" directive is duplicate/],
    ['Redis without a zone', 'gitpod_redis unix:/x.sock;', qr/need "gitpod_zone"/],
    ['Redis over TCP', "$zone gitpod_redis 127.0.0.1:6379;", qr/is not "unix:" and the path of a socket/],
    ['Redis twice', "$zone gitpod_redis unix:/x.sock; gitpod_redis unix:/x.sock;", qr/"gitpod_redis" directive is duplicate/],
    ['an unknown parameter', "$zone gitpod_redis unix:/x.sock db=1;", qr/invalid parameter "db=1"/],
    ['a password file that is not there', "$zone gitpod_redis unix:/x.sock password_file=%%DIR%%/none;", qr/none" cannot be opened.*No such file/],
    ['a password file that is empty', "$zone gitpod_redis unix:/x.sock password_file=%%DIR%%/empty;", qr/empty" is empty/],
    ['a password file that is too long', "$zone gitpod_redis unix:/x.sock password_file=%%DIR%%/long;", qr/longer than 512 bytes/],
    ['a user without a password', "$zone gitpod_redis unix:/x.sock user=u;", qr/has a user but no password_file/],
    ['a key set that is too long', "$zone gitpod_key_set_file %%DIR%%/long;", qr/longer than 65536 bytes/],
    ['routes twice', "$zone gitpod_route_file /a; gitpod_route_file /b;", qr/"gitpod_route_file" directive is duplicate/],
    ['routes without a zone', 'gitpod_route_file /a;', qr/need "gitpod_zone"/],
    ['revocations without a zone', 'gitpod_revocation_file /a;', qr/need "gitpod_zone"/],
    ['a snapshot of any age', "$zone gitpod_snapshot_max_age 8d;", qr/must be 1s to 604800s/],
    ['a snapshot of no age', "$zone gitpod_snapshot_max_age 0;", qr/must be 1s to 604800s/],
    ['an unknown protocol', "$zone server { gitpod_protocol http \@a; }", qr/unknown protocol "http": https, h2c or grpc/],
    ['a protocol of no named location', "$zone server { gitpod_protocol https /a; }", qr/"\/a" is no named location: "\@name"/],
    ['a protocol twice', "$zone server { gitpod_protocol grpc \@a; gitpod_protocol grpc \@b; }", qr/"gitpod_protocol" directive is duplicate/],
    ['a range that is none', "$zone gitpod_route_cidr 10.0.0.0/33;", qr/"10.0.0.0\/33" is not an address range/],
    ['a lag that is too short', "$zone gitpod_live_lag 500ms;", qr/"500ms" is not a time of 1s to 1h/],
    ['a lag twice', "$zone gitpod_live_lag 1s; gitpod_live_lag 1s;", qr/"gitpod_live_lag" directive is duplicate/],
    ['an age that is too short', "$zone gitpod_check a routes age=1s;", qr/invalid parameter "age=1s"/],
    ['an age of what has none', "$zone gitpod_check a redis age=1m;", qr/has an age only when it is of kind routes or keys/],
    ['a drain without a zone', 'server { location / { gitpod_drain; } }', qr/"gitpod_drain" directive needs "gitpod_zone"/],
    ['a flag with a bad name', 'gitpod_flag new-editor on;', qr/"new-editor" cannot be the name of a flag: that is 1 to 64 of a-z, 0-9, _/],
    ['a flag with a long name', 'gitpod_flag ' . 'a' x 65 . ' on;', qr/cannot be the name of a flag/],
    ['a flag with a default that is none', 'gitpod_flag a yes;', qr/the default of flag "a" is "on" or "off", not "yes"/],
    ['a flag twice', 'gitpod_flag a on; gitpod_flag a off;', qr/"gitpod_flag" directive names a flag for the second time/],
    ['129 flags', join('', map { "gitpod_flag f$_ on;" } 1 .. 129), qr/128 flags are allowed/],
    ['a check of an unknown kind', "$zone gitpod_check a tcp;", qr/unknown kind of check "tcp"/],
    ['a check with a bad name', "$zone gitpod_check A-b redis;", qr/the name of a check is 1 to 31/],
    ['a check with a long name', "$zone gitpod_check aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa redis;", qr/the name of a check is 1 to 31/],
    ['two checks of one name', "$zone gitpod_check a redis; gitpod_check a routes;", qr/has the name of another one/],
    ['a plugin without a socket', "$zone gitpod_check a fastcgi;", qr/of kind fastcgi has a socket/],
    ['a socket for no plugin', "$zone gitpod_check a redis unix:/x;", qr/of kind fastcgi has a socket/],
    ['an interval of nothing', "$zone gitpod_check a redis interval=0;", qr/invalid parameter "interval=0"/],
    ['a rise of nothing', "$zone gitpod_check a redis rise=0;", qr/invalid parameter "rise=0"/],
    ['an unknown word', "$zone gitpod_check a redis sometimes;", qr/invalid parameter "sometimes"/],
    ['33 checks', $zone . join('', map { "gitpod_check c$_ redis;" } 1 .. 33), qr/32 checks are allowed/],
    ['a check without a zone', 'gitpod_check a redis;', qr/"gitpod_check" needs "gitpod_zone"/],
    ['a manager without a zone', 'gitpod_manager unix:/x.sock;', qr/"gitpod_manager" needs "gitpod_zone"/],
    ['a manager over TCP', "$zone gitpod_manager 127.0.0.1:9000;", qr/is not "unix:" and the path of a socket/],
    ['a manager that hears too seldom', "$zone gitpod_manager unix:/x.sock interval=31s;", qr/invalid parameter "interval=31s": interval= takes 100ms to 30s/],
    ['a manager with no time', "$zone gitpod_manager unix:/x.sock timeout=0;", qr/invalid parameter "timeout=0"/],
    ['two managers', "$zone gitpod_manager unix:/x.sock; gitpod_manager unix:/y.sock;", qr/"gitpod_manager" directive is duplicate/],
    ['activity that nobody is told', "$zone server { gitpod_activity on; }", qr/"gitpod_activity" needs "gitpod_manager"/],
    ['wake without a time', "$zone gitpod_wake waiters=3;", qr/"gitpod_wake" directive needs "wait="/],
    ['wake that waits too long', "$zone gitpod_wake wait=6m;", qr/invalid parameter "wait=6m": it is "off", or wait= of 1s to 5m/],
    ['wake for nobody', "$zone gitpod_wake wait=1s waiters=0;", qr/invalid parameter "waiters=0"/],
    ['wake off and on', "$zone gitpod_wake off wait=1s;", qr/invalid parameter "off"/],
    ['wake twice', "$zone gitpod_wake off; gitpod_wake off;", qr/"gitpod_wake" directive is duplicate/],
    ['starts that nobody is asked for', "$zone gitpod_wake wait=1s start;", qr/"gitpod_wake ... start" needs "gitpod_manager"/],
    ['activity of an unknown kind', "$zone gitpod_manager unix:/x.sock; gitpod_activity sometimes;", qr/takes "off", or "on" and ports=/],
    ['activity of unknown ports', "$zone gitpod_manager unix:/x.sock; gitpod_activity on ports=some;", qr/invalid parameter "ports=some": ports= takes none, owner or all/],
    ['a breaker with an unknown parameter', breaker('tries=3'), qr/"gitpod_breaker" does not know "tries=3": it takes name=, failures=.* in .*nginx.conf:\d+/],
    ['a breaker that never opens', breaker('failures=0 ratio=0'), qr/would never open: set one of them in/],
    ['a breaker with a cap below its base', breaker('base=10s cap=5s'), qr/"cap" of "gitpod_breaker" is 5000ms, below "base", 10000ms: raise it/],
    ['a breaker with a share above all', breaker('ratio=101'), qr/"ratio=101" of "gitpod_breaker" must be per cent, 0 to 100/],
    ['a breaker with no probe', breaker('half_open=0'), qr/"half_open=0" of "gitpod_breaker" must be a number of 1 to 8/],
    ['a breaker with a window of nothing', breaker('window=0'), qr/"window=0" of "gitpod_breaker" must be a time of 100ms to 1h/],
    ['a breaker with a time that is none', breaker('base=soon'), qr/"base=soon" of "gitpod_breaker" must be a time of 10ms to 1h/],
    ['a breaker with an unknown reason', breaker('on=error,http_404'), qr/"on=error,http_404" of "gitpod_breaker" must be a list, with commas, of connect/],
    ['a breaker with half a list', breaker('on=error,'), qr/"on=error," of "gitpod_breaker" must be a list/],
    ['a breaker with a fallback to nowhere', breaker('fallback=other'), qr/does not know "fallback=other".*fallback=\@name or fallback=\/uri/],
    ['a breaker of a strange name', breaker('', '"a b"'), qr/"a b" cannot be the name of a breaker: give it one with name=/],
    ['two breakers in one upstream', breaker('; gitpod_breaker'), qr/"gitpod_breaker" directive is duplicate/],
    ['two breakers of one name', breaker('name=x') . 'upstream v { server 127.0.0.1:1; gitpod_breaker name=x; }', qr/another "gitpod_breaker" of the name "x": set name=/],
    ['33 breakers', $zone . join('', map { "upstream u$_ { server 127.0.0.1:1; gitpod_breaker; }" } 1 .. 33), qr/32 are allowed/],
    ['a breaker without a zone', 'upstream u { server 127.0.0.1:1; gitpod_breaker; }', qr/"gitpod_breaker" of upstream "u" needs "gitpod_zone" in http/],
    ['a breaker before the method', "$zone upstream u { server 127.0.0.1:1; gitpod_breaker; least_conn; }", qr/"gitpod_breaker" of upstream "u" must come after the load-balancing/],
    ['a breaker before the route', "$zone upstream u { gitpod_breaker; gitpod_route; }", qr/must come first in its upstream/],
    ['an unknown probe', "$zone server { location / { gitpod_probe health; } }", qr/invalid value "health"/],
    ['a probe without a zone', 'server { location / { gitpod_probe live; } }', qr/needs "gitpod_zone" before it/],
);
for (@bad) {
    my ($what, $http, $text) = @$_;
    my $r = says($http);
    ok(!$r->{ok}, "$what: refused");
    like($r->{text}, $text, "$what: and named");
    unlike($r->{text}, qr/secret/, "$what: no password in the text");
}

my $t = GitpodTest->new(http => 'server { listen 127.0.0.1:%%PORT%%; return 204; }');
$t->start;
is($t->get('/')->{status}, 204, 'a configuration without the module works with it loaded');
$t->reload;
is($t->get('/')->{status}, 204, 'and reloads');
$t->finish;
