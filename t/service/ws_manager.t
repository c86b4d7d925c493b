#!/usr/bin/perl
# ws_manager over its socket with a real engine, Redis, network and supervisor:
# what a start makes, what a stop leaves, what survives whose death.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use IO::Socket::INET;
use JSON::PP;
use Test::More;
use POSIX ();
use Time::HiRes qw(sleep time);
use WsManager;

my $w = WsManager->new('idle-timeout' => 3600, 'engine-timeout' => 4, 'content-stall' => 5);
$w->start_engine;
$w->start_redis;
$w->start_peers;
$w->start_service;

sub container { my ($id) = @_; return 'gitpod-' . $w->workspace($id)->{instance}{id} }
sub rows { return split /\n/, $w->podman('ps', '-aq') }
sub failed { my ($workspace) = @_; return $workspace->{instance}{failed} // '' }

subtest 'a workspace is made once' => sub {
    my $one = $w->create(requestKey => 'k1');
    like($one, qr/^[0-9a-z]{2,16}-[0-9a-z]{2,16}-[0-9a-z]{8,11}$/, 'its id has the shape of Gitpod\'s');
    is($w->create(requestKey => 'k1'), $one, 'the same key gives the same workspace');
    isnt($w->create(requestKey => 'k1', ownerId => $WsManager::OTHER), $one, 'another owner\'s key is another key');
    is($w->workspace($one, $WsManager::OTHER)->{code}, 'not_found', 'somebody else\'s workspace is not there');
    is($w->call('StopWorkspace', { userId => $WsManager::OTHER, workspaceId => $one })->{data}{code}, 'not_found', 'nor can it be stopped');
    like($w->create(ownerId => 'x')->{data}{message}, qr/owner_id/, 'a bad owner is named');
    like($w->create(classId => 'huge')->{data}{message}, qr/class_id.*huge/, 'an unknown class is named');
    like($w->create(git => { remoteUri => 'x', checkoutLocation => '../../etc' })->{data}{message}, qr/checkout_location/, 'a checkout outside /workspace is refused');
    like($w->create(idHintOwner => '3000', idHintRepository => 'debug'), qr/^workspace-repository-/, 'hints that would read as a port or debug host are not taken');
    is($w->route($one)->{phase}, 'stopped', 'its route says stopped');
    my $found = $w->call('ListWorkspaces', { userId => $WsManager::OWNER, searchTerm => 'SITE', limit => 1 });
    is(scalar @{ $found->{data}{workspaces} }, 1, 'the list honours its limit');
    cmp_ok($found->{data}{total}, '>', 1, 'and counts all');
    my $renamed = $w->call('UpdateWorkspace', { userId => $WsManager::OWNER, workspaceId => $one, name => 'new name', pinned => \1 });
    is($renamed->{data}{workspace}{name}, 'new name', 'it can be renamed');
    is(scalar @{ $w->call('ListWorkspaces', { userId => $WsManager::OWNER, pinned => \1 })->{data}{workspaces} }, 1, 'and pinned');
    like($w->call('GetOwnerToken', { userId => $WsManager::OWNER, workspaceId => $one })->{data}{ownerToken}, qr/^[0-9A-Za-z_.-]{32}$/, 'it has an owner token');
};

subtest 'ports' => sub {
    my $one = $w->create;
    my $update = sub { my ($port, %more) = @_; return $w->call('UpdatePort', { userId => $WsManager::OWNER, workspaceId => $one, port => $port, %more })->{data} };
    is_deeply($w->route($one)->{ports}, [], 'none is set');
    is_deeply($update->(3000, visible => \1)->{workspace}{ports}, [ { port => 3000, visible => JSON::PP::true, protocol => 'http', url => "http://3000-$one.ws-gitpod.test:$w->{port}/" } ],
        'one becomes public');
    my $route = $w->route($one);
    is_deeply($route->{ports}, [ { port => 3000, visibility => 'public', protocol => 'http' } ], 'its route record says so');
    $update->(3000, visible => \1);
    is($w->route($one)->{version}, $route->{version}, 'once');
    $update->(3000, protocol => 'https');
    is_deeply($w->route($one)->{ports}, [ { port => 3000, visibility => 'public', protocol => 'https' } ], 'another protocol');
    like($update->(23000, visible => \1)->{message}, qr/23000 is the workspace's own/, 'the editor\'s port is not to be had');
    like($update->(3000, protocol => 'ftp')->{message}, qr/"ftp" is none of/, 'nor an unknown protocol');
    is($w->call('UpdatePort', { userId => $WsManager::OTHER, workspaceId => $one, port => 3000, visible => \0 })->{data}{code}, 'not_found', 'nor somebody else\'s workspace');
    $update->($_, visible => \1) for 4001 .. 4015;
    my $full = $update->(4016, visible => \1);
    is($full->{code}, 'resource_exhausted', 'sixteen are the limit');
    like($full->{message}, qr/16 ports are set.*make one of them private/, 'and the way out is told');
    $update->(3000, visible => \0, protocol => 'http');
    is(scalar @{ $w->route($one)->{ports} }, 15, 'private and http, one is as others are');
    ok(!$update->(4016, visible => \1)->{code}, 'and makes room');
    $w->kill_child('service', 'KILL');
    $w->start_service;
    is(scalar @{ $w->call('GetWorkspace', { userId => $WsManager::OWNER, workspaceId => $one })->{data}{workspace}{ports} }, 16, 'a restart forgets none');
};

my $id = $w->create;
subtest 'a start' => sub {
    my @phases;
    my @pids = map { my $pid = fork // die; if (!$pid) { $w->start($id); POSIX::_exit(0) } $pid } 1 .. 3;
    waitpid $_, 0 for @pids;
    my $ws = $w->wait_phase($id, 'RUNNING');
    is($ws->{instance}{phase}, 'PHASE_RUNNING', 'it runs') or diag(WsManager::slurp("$w->{dir}/service.log"));
    is(scalar rows(), 1, 'three starts at once make one container');
    my $route = $w->route($id);
    is($route->{address}, $ws->{instance}{address}, 'its route has the address');
    is($route->{instance}, $ws->{instance}{id}, 'and the instance');
    cmp_ok($route->{version}, '==', $ws->{instance}{version}, 'and the version');
    $w->wait_for(10, 'the event', sub { grep { $_->{data}{status}{phase}{name} eq 'PHASE_RUNNING' } $w->events($id) });
    my @events = $w->events($id);
    my (%seen, @told);
    for (@events) { my $phase = $_->{data}{status}{phase}{name}; push @told, $phase if !$seen{$phase}++ }
    is_deeply([ @told[0, -1] ], [ 'PHASE_PREPARING', 'PHASE_RUNNING' ], "events tell the phases: @told");
    is(scalar(grep { $_->{kind} ne 'workspace' || $_->{user} ne $WsManager::OWNER } @events), 0, 'to its owner');
    my @versions = map { $_->{data}{status}{statusVersion} // 0 } @events;
    is_deeply(\@versions, [ sort { $a <=> $b } @versions ], 'in the order of their versions');
    is($events[-1]{data}{status}{workspaceUrl}, $ws->{url}, 'with all that a list shows');
    ok(scalar(grep { ($_->{data}{status}{progress}{detail} // '') ne '' } @events), 'progress too');
    is_deeply($ws->{warnings}, ['key "image" is not supported yet'], 'warnings of the content are told');
    is($ws->{commit}, 'c0ffee', 'and the commit');
    my $all = $w->inside($id, 'cat /proc/1/status /proc/1/uid_map; mount; hostname; cat /.workspace/ready.json; touch /.supervisor/x /ide/x /.workspace/x');
    ok($all =~ qr/^CapBnd:\s*0+405fb$/m, 'the capabilities are the documented ones');
    ok($all =~ qr/^\s*0\s+1\d{8}\s+65536$/m, 'root inside is nobody outside');
    ok($all =~ qr{ on /workspace type \S+ \(rw,nosuid,nodev,}, '/workspace is nosuid, nodev');
    my $env = join "\n", @{ decode_json($w->podman('inspect', container($id)))->[0]{Config}{Env} };
    ok($env =~ qr/^GITPOD_WORKSPACE_ID=\Q$id\E$/m, 'it knows its id');
    ok($env =~ qr{^GITPOD_REPO_ROOT=/workspace/repo$}m, 'and its repository');
    ok($env =~ qr{^GITPOD_IDE_COMMAND=\["/ide/bin/editor"\]$}m, 'and its editor');
    ok($all =~ qr/^\Q$id\E$/m, 'its host name is its id');
    ok($all =~ qr/"source":"from-other"/, 'the go signal says that it is new');
    is(scalar(() = $all =~ /Read-only file system/g), 3, 'what we mount is read-only');
    my $other = $w->inside($id, 'id -u; sudo -n id -u', 33333);
    like($other, qr/^33333\n0$/m, 'the user can become root inside');
    is(WsManager::slurp("/sys/class/net/$w->{bridge}/brif/$_/isolated"), "1\n", 'its bridge port is isolated')
        for grep { !/^\./ } do { opendir my $d, "/sys/class/net/$w->{bridge}/brif" or die; readdir $d };
    like(WsManager::slurp("$w->{dir}/service.log"), qr/"start finished".*"ms":"resolve=\d+ content=\d+ create=\d+ start=\d+ network=\d+ editor=\d+ total=\d+"/, 'the log splits the time');
};

my $two = $w->create;
subtest 'workspaces, the host and the network' => sub {
    my $mac = WsManager::slurp("/sys/class/net/$w->{bridge}/address");
    $w->start($two);
    my ($a, $b) = map { $_->{instance}{address} } $w->wait_phase($id, 'RUNNING'), $w->wait_phase($two, 'RUNNING');
    is(WsManager::slurp("/sys/class/net/$w->{bridge}/address"), $mac, 'the bridge keeps its MAC address when a container joins');
    is(WsManager::slurp("/sys/class/net/$w->{bridge}/addr_assign_type"), "3\n", 'because it was set, not taken from a port');
    my $host = IO::Socket::INET->new(Listen => 5, LocalAddr => '0.0.0.0', LocalPort => 0) or die;
    my $door = IO::Socket::INET->new(Listen => 5, LocalAddr => '0.0.0.0', LocalPort => $w->{port}, ReuseAddr => 1) or die;
    my $reach = sub { my ($addr, $port) = @_; return $w->inside($id, "timeout 2 bash -c 'exec 3<>/dev/tcp/$addr/$port' && echo yes || echo no") =~ /yes/ };
    ok($reach->('127.0.0.1', 23000), 'the probe works');
    ok($reach->($w->{gateway}, $w->{port}), 'the gateway\'s port is reached');
    ok(!$reach->($w->{gateway}, $host->sockport), 'a service of the host is not');
    ok(!$reach->($b, $_), "port $_ of another workspace is not") for 22999, 23000;
    ok(!$reach->('169.254.169.254', 80), 'metadata addresses are not');
    is(system("nft flush table inet gitpod_$w->{installation}"), 0, 'somebody flushes our rules');
    ok($w->wait_for(10, 'rules', sub { qx(nft list table inet gitpod_$w->{installation}) =~ /169\.254/ }), 'they come back');
    ok(!$reach->($w->{gateway}, $host->sockport), 'and hold');
};

subtest 'stop keeps the work' => sub {
    $w->inside($id, 'echo precious > /workspace/repo/work; sync', 33333);
    $w->stop($id);
    my $ws = $w->wait_phase($id, 'STOPPED');
    is(failed($ws), '', 'a stop is no failure');
    is($w->route($id)->{phase}, 'stopped', 'its route says so');
    ok(!$w->route($id)->{address}, 'and has no address');
    my ($first) = $ws->{instance}{id};
    $w->start($id);
    $ws = $w->wait_phase($id, 'RUNNING');
    isnt($ws->{instance}{id}, $first, 'another instance');
    like($w->inside($id, 'cat /workspace/repo/work /.workspace/ready.json'), qr/precious.*from-backup/s, 'the work is there, and the go signal says so');
};

subtest 'ports of .gitpod.yml' => sub {
    my $ports = sub { return join ' ', map { "$_->{port}:$_->{visibility}:$_->{protocol}" } @{ $w->route($id)->{ports} } };
    my $again = sub { my (@said) = @_; $w->stop($id); $w->wait_phase($id, 'STOPPED'); $w->set_plan(ports => \@said); $w->start($id); return $w->wait_phase($id, 'RUNNING') };
    my $set = sub { my ($port, $visible) = @_; $w->call('UpdatePort', { userId => $WsManager::OWNER, workspaceId => $id, port => $port, visible => $visible }) };
    $set->(9000, \1);
    my $ws = $again->([ 3000, 1, 'http' ], [ 8443, 0, 'https' ], [ 23000, 1, 'http' ]);
    is($ports->(), '9000:public:http 3000:public:http 8443:private:https', 'what it says counts from the start on, beside the owner\'s choice');
    ok(scalar(grep { /visibility and protocol of 1 ports have no effect/ } @{ $ws->{warnings} }), 'the editor\'s port is not opened, and that is told');
    $set->(3000, \0);
    is($ports->(), '9000:public:http 8443:private:https', 'the owner closes one of them');
    $again->([ 3000, 1, 'http' ], [ 4000, 1, 'http' ]);
    is($ports->(), '9000:public:http 4000:public:http', 'the next start does not open it again, and forgets what is not said any more');
    $w->set_plan;
    is_deeply(decode_json($w->inside($id, 'cat /.workspace/exposed.json')), $w->route($id)->{ports}, 'the workspace is told what is so');
    $set->(9000, \0);
    is_deeply(decode_json($w->inside($id, 'cat /.workspace/exposed.json')), $w->route($id)->{ports}, 'each change of it too');
    like($w->inside($id, '/.supervisor/gp ports visibility 7000:public', 33333), qr{^Port 7000 is public: http://7000-$id\.ws-gitpod\.test}, 'somebody inside opens a port');
    is($ports->(), '7000:public:http 4000:public:http', 'and the route says so');
    $w->inside($id, '/.supervisor/gp ports visibility 7000:private', 33333);
    is($ports->(), '4000:public:http', 'and closes it');
};

subtest 'WatchWorkspaces' => sub {
    my $stream = FastCgi->connect("$w->{run}/ws_manager/fcgi.sock");
    my $body = "\0\0\0\0\2{}";
    $stream->send_raw($stream->request_bytes({ REQUEST_METHOD => 'POST', GITPOD_PATH => "/$WsManager::SERVICE/WatchWorkspaces",
        CONTENT_TYPE => 'application/connect+json', GITPOD_CALLER => 'public_api', CONTENT_LENGTH => length $body }, $body));
    my $seen = '';
    my $read = sub { my ($what) = @_; my $end = time + 10; while ($seen !~ $what && time < $end) { my $r = $stream->next_record or last; $seen .= $r->[2] if $r->[0] == 6 } return $seen =~ $what };
    ok($read->(qr/\Q$two\E/) && $seen =~ /\Q$id\E/, 'begins with the present state of all');
    $w->call('UpdateWorkspace', { userId => $WsManager::OWNER, workspaceId => $id, name => 'seen by watchers' });
    ok($read->(qr/seen by watchers/), 'then tells each change');
    $stream->close;
};

subtest 'a container that dies' => sub {
    my $t = time;
    $w->podman('kill', '-s', 'KILL', container($id));
    my $ws = $w->wait_phase($id, 'STOPPED', 15);
    like(failed($ws), qr/container ended unexpectedly.*137.*files are kept/, 'is told with its exit code') or diag(encode_json($ws));
    cmp_ok(time - $t, '<', 5, 'at once');
    is($ws->{instance}{failedReason}, 4, 'with its reason');
    $w->start($id);
    ok($w->wait_phase($id, 'RUNNING'), 'it starts again');
    my ($monitor) = grep { WsManager::slurp("/proc/$_/cmdline") =~ /@{[ container($two) ]}/ } split /\n/, qx(pgrep -x conmon);
    ok($monitor && kill('KILL', $monitor), 'a monitor is killed');
    sleep 3;
    is($w->phase($two), 'PHASE_RUNNING', 'without its monitor a workspace goes on');
    $t = time;
    $w->stop($two);
    ok($w->wait_phase($two, 'STOPPED', 60), 'and can be stopped') or diag(WsManager::slurp("$w->{dir}/service.log"));
    note(sprintf 'stopped after %.1f s', time - $t);
    $w->start($two);
    ok($w->wait_phase($two, 'RUNNING', 20), 'and started') or diag(failed($w->workspace($two)));
};

subtest 'kill -9 of ws_manager' => sub {
    my $before = $w->workspace($id)->{instance};
    $w->kill_child('service', 'KILL');
    system("redis-cli -s $w->{run}/redis/redis.sock flushall >/dev/null");
    $w->start_service;
    my $after = $w->workspace($id)->{instance};
    is("$after->{phase} $after->{id}", "PHASE_RUNNING $before->{id}", 'what runs is adopted');
    ok($w->wait_for(10, 'route', sub { (($w->route($id) // {})->{phase} // '') eq 'running' }), 'its route is written again');
    my $container = container($id);
    $w->kill_child('service', 'KILL');
    $w->podman('rm', '-f', '-t', '0', $container);
    $w->start_service;
    like(failed($w->wait_phase($id, 'STOPPED', 15)), qr/container is gone/, 'what went away meanwhile is told');
    $w->set_plan(delay => 2);
    $w->start($id);
    $w->wait_for(10, 'progress', sub { ($w->workspace($id)->{instance}{stepDetail} // '') =~ /50/ });
    is($w->workspace($id)->{instance}{step}, 'Cloning the repository', 'a start under way says what it does');
    $w->kill_child('service', 'KILL');
    $w->start_service;
    $w->set_plan;
    is($w->wait_phase($id, 'RUNNING', 30)->{instance}{phase}, 'PHASE_RUNNING', 'a start under way is begun again');
    $w->stop($id);
    $w->kill_child('service', 'KILL');
    $w->start_service;
    ok($w->wait_phase($id, 'STOPPED', 20), 'a stop under way is finished');
};

subtest 'starts that fail' => sub {
    $w->set_plan(fail => 'repository http://git.test/acme/site.git not found: check the address');
    $w->start($id);
    my $ws = $w->wait_phase($id, 'STOPPED');
    like(failed($ws), qr/repository .* not found/, 'content\'s reason is told');
    is($ws->{instance}{failedReason}, 1, 'as a failure of the content');
    $w->set_plan(fail => 'git.test does not answer: check the URL', code => 'unavailable');
    $w->start($id);
    like(failed($w->wait_phase($id, 'STOPPED', 10)), qr/git\.test does not answer/, 'a git server that is away is told at once');
    $w->set_plan(break => 1);
    $w->start($id);
    is($w->wait_phase($id, 'RUNNING', 20)->{instance}{phase}, 'PHASE_RUNNING', 'a content service that breaks off is asked again');
    $w->stop($id);
    $w->wait_phase($id, 'STOPPED');
    $w->set_plan(stall => 1);
    $w->start($id);
    like(failed($w->wait_phase($id, 'STOPPED', 20)), qr/no progress for 5 s/, 'content that stands still ends');
    $w->set_plan(missing_editor => 1);
    $w->start($id);
    like(failed($w->wait_phase($id, 'STOPPED')), qr/There is no editor/, 'an unknown editor is told');
    $w->set_plan;
    WsManager::write_file("$w->{state}/content/$id/workspace/repo/crash", '');
    $w->start($id);
    like(failed($w->wait_phase($id, 'STOPPED', 60)), qr/editor/i, 'an editor that crashes in a loop: ' . failed($w->workspace($id)));
    unlink "$w->{state}/content/$id/workspace/repo/crash";
    is(scalar(grep { /$id/ } $w->podman('ps', '-a', '--format', '{{.Labels}}')), 0, 'no container is left');
    $w->set_plan(delay => 30);
    $w->start($id);
    $w->wait_for(10, 'progress', sub { ($w->workspace($id)->{instance}{stepDetail} // '') =~ /50/ });
    my $t = time;
    $w->stop($id);
    ok($w->wait_phase($id, 'STOPPED', 10) && time - $t < 5, 'a start can be stopped');
    ok($w->wait_for(5, 'cancel', sub { WsManager::slurp("$w->{dir}/calls") =~ /cancelled/ }), 'and content hears of it');
    $w->set_plan;
};

subtest 'the engine goes away' => sub {
    $w->start($id);
    $w->wait_phase($id, 'RUNNING');
    $w->kill_child('engine', 'KILL');
    my $three = $w->create;
    $w->start($three);
    like(failed($w->wait_phase($three, 'STOPPED', 30)), qr/engine/, 'a start fails with that reason: ' . failed($w->workspace($three)));
    is($w->phase($id), 'PHASE_RUNNING', 'what runs is left alone');
    $w->start($three);
    sleep 1;
    $w->start_engine;
    ok($w->wait_phase($three, 'RUNNING', 30), 'a start waits for an engine that comes back in time');
    is($w->phase($id), 'PHASE_RUNNING', 'what ran still does');
    $w->call('DeleteWorkspace', { userId => $WsManager::OWNER, workspaceId => $three });
};

subtest 'Redis goes away' => sub {
    $w->kill_child('redis', 'KILL');
    my $three = $w->create;
    $w->start($three);
    ok($w->wait_phase($three, 'RUNNING', 30), 'starts go on');
    ok($w->wait_for(20, 'snapshot', sub { (($w->snapshot($three) // {})->{phase} // '') eq 'running' }), 'and the snapshot has their routes');
    is_deeply($w->snapshot($three)->{address}, $w->workspace($three)->{instance}{address}, 'with their addresses');
    is(sprintf('%04o', (stat "$w->{state}/ws_manager/routes.json")[2] & 07777), '0600', 'for its owner and root only');
    $w->start_redis;
    ok($w->wait_for(10, 'routes', sub { (($w->route($three) // {})->{phase} // '') eq 'running' && (($w->route($id) // {})->{phase} // '') eq 'running' }), 'all routes are written when it is back, empty');
    ok($w->wait_for(10, 'resets', sub { my %to = map { $_->{user} => 1 } grep { $_->{kind} eq 'reset' } $w->events; $to{$WsManager::OWNER} && $to{$WsManager::OTHER} }), 'and every owner is told to read anew');
    $w->call('DeleteWorkspace', { userId => $WsManager::OWNER, workspaceId => $three });
};

subtest 'an editor that starts to crash' => sub {
    WsManager::write_file("$w->{state}/content/$id/workspace/repo/crash", '');
    $w->inside($id, 'kill $(pgrep -f /ide/bin/editor)');
    like(failed($w->wait_phase($id, 'STOPPED', 60)), qr/editor/i, 'ends its instance with that reason');
    unlink "$w->{state}/content/$id/workspace/repo/crash";
    $w->start($id);
    ok($w->wait_phase($id, 'RUNNING'), 'it starts again');
};

subtest 'stop from inside' => sub {
    my $said = $w->inside($id, '/.supervisor/gp stop', 33333);
    my $ws = $w->wait_phase($id, 'STOPPED', 20);
    is(failed($ws), '', 'gp stop stops it, no failure') or diag($said);
};

subtest 'records keep to the contract' => sub {
    my ($head, @records) = split /\n/, WsManager::slurp("$w->{state}/ws_manager/routes.json");
    push @records, grep { /^\{/ } split /\n/, qx(redis-cli -s $w->{run}/redis/redis.sock hvals gitpod:routes);
    WsManager::write_file("$w->{dir}/records", join '', map { "$_\n" } @records);
    my @says = qx(python3 $FindBin::Bin/../lib/route_schema.py < $w->{dir}/records);
    cmp_ok(scalar @records, '>', 4, 'there are some, in Redis and in the snapshot');
    is(join('', @says), "ok\n" x @records, 'each is as docs/contracts/route.schema.json says');
};

subtest 'delete' => sub {
    my $gone = $w->create;
    $w->set_plan(delay => 30);
    $w->start($gone);
    $w->wait_for(10, 'progress', sub { ($w->workspace($gone)->{instance}{stepDetail} // '') =~ /50/ });
    $w->call('DeleteWorkspace', { userId => $WsManager::OWNER, workspaceId => $gone });
    is($w->workspace($gone)->{code}, 'not_found', 'a deleted workspace is not there, even while it starts');
    ok($w->route($gone)->{deleted}, 'its route is a tombstone');
    ok($w->wait_for(20, 'snapshot', sub { ($w->snapshot($gone) // {})->{deleted} }), 'in the snapshot too');
    is_deeply(($w->events($gone))[-1]{data}, { workspaceId => $gone }, 'and its last event has no status');
    $w->set_plan;
    ok($w->wait_for(15, 'content', sub { !-d "$w->{state}/content/$gone" }), 'its content goes');
    ok($w->wait_for(15, 'container', sub { $w->podman('ps', '-a', '--format', '{{.Labels}}') !~ /\Q$gone\E/ }), 'its container goes');
    my ($low) = sort { $a <=> $b } map { (stat "$w->{state}/content/$_")[4] // () } $two;
    my $next = $w->create;
    $w->start($next);
    $w->wait_phase($next, 'RUNNING');
    my %uid = map { $_ => (stat "$w->{state}/content/$_")[4] } $two, $next;
    isnt($uid{$two}, $uid{$next}, 'uid ranges are not shared');
};

subtest 'what is not ours to keep' => sub {
    my $image = 'localhost/gitpod-workspace:latest';
    $w->podman('run', '-d', '--name', 'stray', '--label', "gitpod.installation=$w->{installation}", '--label', 'gitpod.workspace=none', '--label', 'gitpod.instance=none',
        '--network', 'none', $image, 'sleep', '100');
    $w->podman('run', '-d', '--name', 'foreign', '--network', 'none', $image, 'sleep', '100');
    ok($w->wait_for(15, 'stray', sub { $w->podman('ps', '-a', '--format', '{{.Names}}') !~ /stray/ }), 'a container of ours without a workspace is removed');
    like($w->podman('ps', '-a', '--format', '{{.Names}}'), qr/foreign/, 'a foreign one is left alone');
};

subtest 'options' => sub {
    $w->kill_child('service');
    $w->start_service('idle-timeout' => 5, image => 'localhost/no-such-image:1');
    $w->start($id);
    my $ws = $w->wait_phase($id, 'STOPPED');
    like(failed($ws), qr{localhost/no-such-image:1 is not on this machine.*build\.sh}, 'a missing image is named, with the way out');
    is($ws->{instance}{failedReason}, 3, 'as a failure of the image');
    my @gateway = (GITPOD_CALLER => 'gateway');
    my $report = { workspaces => [{ workspaceId => $two, idleSeconds => 0 }, { workspaceId => 'never-was-11112222', idleSeconds => 0 }] };
    is($w->call('ReportActivity', $report)->{data}{code}, 'permission_denied', 'nobody but the gateway reports activity');
    is($w->call('ReportActivity', { workspaces => [map { { workspaceId => $two } } 0 .. 500] }, @gateway)->{data}{code}, 'invalid_argument', 'nor more than 500 workspaces at once');
    my $until = time + 8;
    while (time < $until) {
        is($w->call('ReportActivity', $report, @gateway)->{status}, 200, 'the gateway reports activity');
        sleep 0.5;
    }
    $ws = $w->workspace($two);
    is($ws->{instance}{phase}, 'PHASE_RUNNING', 'a workspace that is used stays');
    like($ws->{instance}{lastActivity}, qr/^20\d\d-/, 'and it is known when it was used');
    $w->kill_child('service', 'KILL');
    $w->start_service('idle-timeout' => 5);
    is($w->call('ReportActivity', { workspaces => [{ workspaceId => $two, idleSeconds => 4000 }] }, @gateway)->{status}, 200, 'an old use');
    $ws = $w->wait_phase($two, 'STOPPED', 30);
    cmp_ok(time - $until, '>', 4.5, 'a fresh service waits for what gateways know');
    like($ws->{instance}{timeout} // '', qr/idle for \d+ s/, 'an unused workspace stops and says why');
    is(failed($ws), '', 'that is no failure');
    $w->kill_child('service');
    my $said = qx(@{[ $ENV{TEST_WS_MANAGER} // "$WsManager::BUILD/c/plugins/ws_manager/ws_manager" ]} --run $w->{run} --state $w->{state} --subnet 10.0.0.0/8 2>&1);
    like($said, qr{10\.0\.0\.0/8 is not an IPv4 range}, 'a bad subnet is refused with the reason');
};

done_testing();
