#!/usr/bin/perl
# Mode port: each editor and each port has a listener, nobody two have the same
# one, they outlive stops and crashes, and a range that is full says so.
use strict;
use warnings;
use lib 't/lib';
use GitpodTest ();
use IO::Socket::INET;
use Test::More;
use WsManager;

my $l0 = GitpodTest::free_range(4); # ours, whatever else runs on this machine
my ($l1, $l2, $l3) = map { $l0 + $_ } 1 .. 3;
my $m = WsManager->new('listener-first' => $l0, 'listener-last' => $l2, 'external-scheme' => 'https');
$m->start_engine;
$m->start_redis;
$m->start_peers;
$m->start_service;

sub run { my ($id) = @_; my $r = $m->start($id); return $r->{status} == 200 ? $m->wait_phase($id, 'RUNNING') : $r }
sub listen_of { my ($id) = @_; my $route = $m->route($id); return join ' ', $route->{listen} // 'none', map { "$_->{port}:" . ($_->{listen} // 'none') } @{ $route->{ports} } }
sub becomes {
    my ($id, $want, $what) = @_;
    $m->wait_for(10, $what, sub { listen_of($id) eq $want });
    is(listen_of($id), $want, $what);
}

my ($a, $b, $c) = map { $m->create } 1 .. 3;
is(listen_of($a), 'none', 'who was never started has no listener');
is($m->workspace($a)->{url}, undef, 'and no URL');
my $ws = run($a);
is(listen_of($a), "$l0", 'the editor has the first of the range');
is($ws->{url}, "https://ws-gitpod.test:$l0/", 'which its URL names');
is($m->inside($a, '/.supervisor/gp url', 33333), "https://ws-gitpod.test:$l0/\n", 'inside too');
run($b);
is(listen_of($b), "$l1", 'the next one the next');

# a link to a port: where it leads, or status and code
sub link_to {
    my ($id, $port, %param) = @_;
    my $answer = FastCgi->call("$m->{run}/ws_manager/fcgi.sock", { REQUEST_METHOD => 'GET', GITPOD_PATH => '/api/ports', GITPOD_USER => $WsManager::OWNER,
        GITPOD_CREDENTIAL => 'session', GITPOD_CREDENTIAL_ID => 's', GITPOD_WORKSPACE => $id, GITPOD_PORT => $port, %param });
    my ($location) = map { $_->[1] } grep { lc $_->[0] eq 'location' } @{ $answer->{headers} };
    return "$answer->{status} " . ($location // (eval { JSON::PP::decode_json($answer->{body}) } // {})->{code} // 'nothing');
}
my ($d, $w) = ("https://gitpod.test:$m->{port}", 'https://ws-gitpod.test');

# a port
is($m->inside($a, '/.supervisor/gp url 8000', 33333), "$d/api/ports/$a/8000/\n", 'a port where nobody listens has the address of a link');
is(link_to($a, 8000, GITPOD_USER => '00000000-0000-4000-8000-000000000009'), '404 not_found', 'which leads nobody but the owner');
is(link_to('acme-none-abcdefgh', 8000), '404 not_found', 'as if there were none');
is(link_to($a, 8000, GITPOD_CREDENTIAL => 'token'), '401 unauthenticated', 'and asks for a session');
is(link_to($a, $_), '400 invalid_argument', "'$_' is no port of a program") for '', 0, 65536, 22999, 23000, '8000x', '100000';
is(link_to($_, 8000), '400 invalid_argument', "'$_' is no workspace") for '', '../..', 'x' x 300;
is(link_to($c, 8000), "303 $d/start/#$c", 'where nothing runs it leads to the start page');
is(listen_of($a), "$l0", 'nothing of that gave a listener');
is(link_to($a, 8000), "303 $w:$l2/", 'it gives one, and leads there');
is(listen_of($a), "$l0 8000:$l2", 'which the gateway knows at once');
is(link_to($a, 8000), "303 $w:$l2/", 'the same one the next time');
is(link_to($a, 9000), '429 resource_exhausted', 'programs have half of the range, links too');
ok($m->wait_for(10, 'its URL inside', sub { $m->inside($a, '/.supervisor/gp url 8000', 33333) eq "$w:$l2/\n" }), 'those inside hear of it');
$m->inside($a, 'cd / && (setsid python3 -m http.server 8000 >/dev/null 2>&1 &)', 33333);
becomes($a, "$l0 8000:$l2", 'a port that a program serves has its listener');
$ws = $m->workspace($a);
is_deeply($ws->{ports}, [{ port => 8000, protocol => 'http', url => "https://ws-gitpod.test:$l2/" }], 'which the API tells');
ok($m->wait_for(10, 'its URL inside', sub { $m->inside($a, '/.supervisor/gp url 8000', 33333) eq "https://ws-gitpod.test:$l2/\n" }), 'gp url tells it');
ok($m->wait_for(10, 'the list', sub { $m->inside($a, '/.supervisor/gp ports list', 33333) =~ m{^8000\b.*https://ws-gitpod\.test:$l2/}m }), 'so does gp ports list');
my $version = $m->route($a)->{version};
is($m->call('UpdatePort', { userId => $WsManager::OWNER, workspaceId => $a, port => 8000, visible => JSON::PP::true })->{status}, 200, 'it is shared');
becomes($a, "$l0 8000:$l2", 'it keeps its listener');
is($m->route($a)->{ports}[0]{visibility}, 'public', 'and is public');

# a workspace reaches the gateway, by its listeners too, and nothing else of the host
my %open = map { $_ => IO::Socket::INET->new(Listen => 5, LocalAddr => $m->{gateway}, LocalPort => $_, ReuseAddr => 1) } $l1, $l3;
ok($open{$_}, "something listens on the host at $_") for sort keys %open;
my $reach = sub { my ($port) = @_; return $m->inside($a, "timeout 2 bash -c '(: > /dev/tcp/$m->{gateway}/$port) && echo in'", 33333) =~ /^in$/m ? 'in' : 'out' };
is($reach->($l1), 'in', 'a listener of the range');
is($reach->($l3), 'out', 'and no other port');
undef %open;

# full
my $r = $m->start($c);
is($r->{status}, 429, 'no listener is left for a third');
is($r->{data}{code}, 'resource_exhausted', 'that is: exhausted');
like($r->{data}{message}, qr/All 3 ports of workspaces are in use: stop a workspace, or make GITPOD_PORT_RANGE \($l0-$l2\) larger/, 'with what to do');
is($m->phase($c), 'none', 'and nothing began');
$m->inside($b, 'cd / && (setsid python3 -m http.server 8000 >/dev/null 2>&1 &)', 33333);
ok($m->wait_for(10, 'the log', sub { WsManager::slurp("$m->{dir}/service.log") =~ /a port has no listener.*half of the range: .*GITPOD_PORT_RANGE/ }), 'a port without one is in the log');
is($m->phase($b), 'PHASE_RUNNING', 'its workspace runs on');

$m->inside($a, '(/.supervisor/gp ports visibility 9000:public > /workspace/said 2>&1 &)', 33333);
becomes($a, "$l0 8000:$l2 9000:none", 'one that is made public neither');

# stops keep them, until somebody needs one
$m->stop($b);
$m->wait_phase($b, 'STOPPED');
is(listen_of($b), "$l1", 'a stopped workspace keeps its listener');
is($m->workspace($b)->{url}, "https://ws-gitpod.test:$l1/", 'so links to it, and wake, work');
run($b);
is(listen_of($b), "$l1", 'and has it again');
$m->stop($b);
$m->wait_phase($b, 'STOPPED');
$version = $m->route($b)->{version};
run($c);
is(listen_of($c), "$l1", 'unless another one needs it');
is(listen_of($b), 'none', 'then the stopped one has none');
cmp_ok($m->route($b)->{version}, '>', $version, 'and the gateway hears of it');
is($m->start($b)->{status}, 429, 'it cannot start now');

# crashes
$m->kill_child('service', 'KILL');
$m->start_service;
ok($m->wait_for(10, 'the service', sub { $m->phase($a) eq 'PHASE_RUNNING' }), 'the service comes back');
is(listen_of($a), "$l0 8000:$l2 9000:none", 'everybody has what it had');
is(listen_of($c), "$l1", 'the other one, too');
ok($m->wait_for(10, 'the snapshot', sub { (($m->snapshot($c) // {})->{listen} // 0) == $l1 }), 'and the snapshot says so');

my $said = '';
$m->wait_for(25, 'what gp says', sub { $said = $m->inside($a, 'cat /workspace/said', 33333) });
like($said, qr{^Port 9000 is public: $d/api/ports/$a/9000/\nThat is for you alone: .*GITPOD_PORT_RANGE$}, 'gp says that nobody else finds it');

# a deletion gives all back
is($m->call('DeleteWorkspace', { userId => $WsManager::OWNER, workspaceId => $a })->{status}, 200, 'a workspace goes');
$r = {};
$m->wait_for(10, 'room', sub { $r = $m->start($b); $r->{status} == 200 });
is($r->{status}, 200, 'its listeners are free at once');
$m->wait_phase($b, 'RUNNING');
like(listen_of($b), qr/^(?:$l0|$l2)\b/, 'and another one has one');

# another range
$m->kill_child('service');
$m->{option}{"listener-$_->[0]"} = $_->[1] for ['first', 11000], ['last', 11009];
$m->start_service;
$m->wait_for(15, 'the new range', sub { listen_of($c) =~ /^1100\d/ });
like(listen_of($c), qr/^1100\d/, 'with another range what runs gets others');
like($m->inside($c, "/.supervisor/gp ports visibility $_:public", 33333), qr{^Port $_ is public: https://ws-gitpod\.test:1100\d/$}, 'a port that is made public has an address for everybody') for 7000 .. 7002;

# mode host again
$m->kill_child('service');
delete $m->{option}{"listener-$_"} for qw(first last);
$m->start_service;
is($m->workspace($c)->{url}, "https://$c.ws-gitpod.test:$m->{port}/", 'in mode host there are names again');
is(link_to($c, 8000), "303 https://8000-$c.ws-gitpod.test:$m->{port}/", 'to which links lead, too');
$m->kill_child('service');
$said = qx('$WsManager::BUILD/c/plugins/ws_manager/ws_manager' --listener-first 10000 --listener-last 11000 2>&1);
like($said, qr/option listener-last: 10000 to 11000 is no range of at most 1000 ports from 1024 on/, 'a range that is too large is refused');
done_testing();
