#!/usr/bin/perl
# Create, use, stop, start, rename, pin, list, watch, delete; restart and adoption of everything.
use strict;
use warnings;
use lib 't/lib';
use Test::More;
use IO::Select;
use IO::Socket::INET;
use JSON::PP;
use Time::HiRes qw(time);
use GitpodSystem;

my $s = GitpodSystem->new(env => { GITPOD_IDLE_TIMEOUT => 3600 });
like($s->{up_output}, qr/^Ready after/m, 'up says how long it took');
my $git = $s->git_server('ann:s3cret-token');
my $commit = $s->git_repository('acme/app', {
    'README.md' => "app\n",
    'src/a.txt' => "a\n",
    '.gitpod.yml' => "ports:\n  - port: 3000\n    visibility: public\ntasks:\n  - name: t\n    init: echo \$GITPOD_WORKSPACE_ID > task.txt\nimage: foo\n",
    '.gitignore' => "task.txt\n",
}, branches => ['feature/x'], tags => ['v1.0']);

my $user = $s->rpc('gitpod.v1.UserService/GetAuthenticatedUser', {});
is($user->{status}, 200, 'the token is the administrator\'s');
like($user->{data}{user}{id}, qr/^[0-9a-f-]{36}$/, 'the user has an id');

# ---- create, run, use ----
my $t0 = time;
my $id = $s->create("$git/acme/app.git", metadata => { annotations => { 'idempotency-key' => 'k-1' } });
like($id, qr/^[0-9a-z]{2,16}-[0-9a-z]{2,16}-[0-9a-z]{8,11}$/, 'the id has the form of Gitpod\'s');
is($s->create("$git/acme/app.git", metadata => { annotations => { 'idempotency-key' => 'k-1' } }), $id, 'the same request key gives the same workspace');
my $w = $s->wait_phase($id, 'PHASE_RUNNING');
note sprintf 'first start: %.2f s', time - $t0;
like($w->{status}{workspaceUrl}, $s->{mode} eq 'port' ? qr{^http://\Q$s->{workspace_domain}\E:\d+/$} : qr{^http://$id\.\Q$s->{workspace_domain}:$s->{env}{GITPOD_PORT}\E/$}, 'the workspace has its URL');
is($w->{spec}{initializer}{specs}[0]{git}{remoteUri}, "$git/acme/app.git", 'the spec names the repository');
ok((grep { /image/ } @{ $w->{metadata}{warnings} // [] }), 'keys of .gitpod.yml that are not supported yet are named') or diag(encode_json($w->{metadata}));

is($s->workspace_http($id, '/healthz')->{status}, 200, 'the editor answers through the gateway');
is($s->workspace_http($id, '/healthz', owner_token => undef)->{status}, 401, 'without a credential it does not');
is($s->workspace_http($id, '/healthz', owner_token => 'x' x 32)->{status}, 401, 'nor with a wrong one');
is($s->workspace_http($id, '/_supervisor/v1/status/ide', owner_token => undef)->{status}, 200, 'the status endpoints are open');
my ($rc, $out) = $s->inside($id, 'cd /workspace/app && git rev-parse HEAD && git status --porcelain && id -u && cat /proc/self/uid_map');
like($out, qr/^$commit$/m, 'the checkout is the commit');
like($out, qr/^33333$/m, 'the person is uid 33333');
unlike($out, qr/^\s+0\s+0\s/m, 'root inside is not root outside');
ok($s->wait_for(10, 'task output', sub { ($s->inside($id, 'cat /workspace/app/task.txt'))[1] =~ /^$id$/m }), 'the task ran in the checkout');

# ---- ports ----
$s->inside($id, 'cd /workspace && mkdir -p web && echo from-port > web/index.html; cd web; (setsid python3 -m http.server 8000 --bind 0.0.0.0 >/dev/null 2>&1 &) ; (setsid python3 -m http.server 8001 --bind 127.0.0.1 >/dev/null 2>&1 &)');
ok($s->wait_for(15, 'port 8000', sub { $s->workspace_http($id, '/', port => 8000)->{body} =~ /from-port/ }), 'a port of the workspace answers on its own host');
ok($s->wait_for(15, 'port 8001', sub { $s->workspace_http($id, '/', port => 8001)->{body} =~ /from-port/ }), 'so does one that listens on loopback only');
is($s->workspace_http($id, '/', port => 8000, owner_token => undef)->{status}, 401, 'a port is private');
($rc, $out) = $s->inside($id, 'gp ports list; gp info; gp url 8000; gp tasks list');
like($out, qr/8000/, 'gp ports list knows it');
like($out, qr{^\Q@{[ $s->workspace_url($id, 8000) ]}\E$}m, 'gp url gives its URL');

# ---- ports made public and private ----
sub shared { return [ map { "$_->{port} $_->{url}" } grep { $_->{admission} eq 'ADMISSION_LEVEL_EVERYONE' } @{ $s->workspace($id)->{spec}{ports} // [] } ] }
is_deeply(shared(), [ '3000 ' . $s->workspace_url($id, 3000) ], 'the port that .gitpod.yml makes public is listed');
$s->inside($id, <<'X');
cat > /tmp/stream.py <<'PY'
import http.server, time
class Stream(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        while self.path == '/stream':
            self.wfile.write(b'x')
            time.sleep(0.05)
http.server.ThreadingHTTPServer(('0.0.0.0', 3000), Stream).serve_forever()
PY
(setsid python3 /tmp/stream.py >/dev/null 2>&1 &)
X
ok($s->wait_for(15, 'port 3000', sub { anybody(3000) == 200 }), 'anybody reaches it');
sub anybody { my ($port) = @_; return $s->workspace_http($id, '/', port => $port, owner_token => undef)->{status} }
sub set_port { my ($port, %to) = @_; return $s->rpc('UpdateWorkspacePort', { workspaceId => $id, port => $port, %to }) }
my $stream = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $s->gateway_port($id, 3000)) or die "connect: $!";
syswrite $stream, "GET /stream HTTP/1.1\r\nHost: " . $s->address($id, 3000) . "\r\n\r\n";
ok(IO::Select->new($stream)->can_read(5) && sysread($stream, my $bytes, 4096), 'a stream of it is open');
is(set_port(3000, admission => 'ADMISSION_LEVEL_OWNER_ONLY')->{status}, 200, 'UpdateWorkspacePort: the owner makes it private');
$t0 = time;
1 while time - $t0 < 5 && IO::Select->new($stream)->can_read(5) && sysread $stream, $bytes, 4096;
cmp_ok(time - $t0, '<', 1.5, 'the stream ends within a second');
is(anybody(3000), 401, 'nobody else enters any more');
is($s->workspace_http($id, '/', port => 3000)->{status}, 200, 'the owner does');
set_port(8000, admission => 'ADMISSION_LEVEL_EVERYONE');
$t0 = time;
ok($s->wait_for(5, 'port 8000', sub { anybody(8000) == 200 }) && time - $t0 < 1, 'another one becomes public within a second');
is(anybody(8001), 401, 'and no other');
($rc, $out) = $s->inside($id, 'gp ports visibility 8001:public; gp ports list');
like($out, qr/^Port 8001 is public: .*^8001\s+open\s+public/ms, 'gp ports visibility does it from inside');
is(anybody(8001), 200, 'and anybody reaches it');
$s->inside($id, 'gp ports visibility 8001:private');
is(anybody(8001), 401, 'until it closes it again');
is(set_port(23000, admission => 'ADMISSION_LEVEL_EVERYONE')->{status}, 400, 'the editor\'s own port does not');

# ---- sudo apt-get install ----
$s->git_repository('acme/deb', { 'mk.sh' => <<'X' });
set -e
mkdir -p p/DEBIAN p/usr/bin
printf 'Package: gp-probe\nVersion: 1\nArchitecture: all\nMaintainer: t <t@example.com>\nDescription: t\n' > p/DEBIAN/control
printf '#!/bin/sh\necho installed\n' > p/usr/bin/gp-probe
chmod 755 p p/DEBIAN p/usr p/usr/bin p/usr/bin/gp-probe
dpkg-deb --root-owner-group -b p probe.deb
sudo apt-get install -y -q ./probe.deb
gp-probe
X
my $deb = $s->create("$git/acme/deb.git");
$s->wait_phase($deb, 'PHASE_RUNNING');
($rc, $out) = $s->inside($deb, 'cd /workspace/deb && bash mk.sh');
like($out, qr/^installed$/m, 'sudo apt-get install works inside') or diag($out);

# ---- stop, start: the work is there ----
$s->inside($id, 'echo uncommitted > /workspace/app/work.txt; echo changed >> /workspace/app/README.md');
is($s->rpc('StopWorkspace', { workspaceId => $id })->{status}, 200, 'StopWorkspace');
$s->wait_phase($id, 'PHASE_STOPPED');
is($s->container($id), undef, 'the container is gone');
is($s->workspace_http($id, '/healthz', owner_token => 'x' x 32)->{status}, 401, 'who has no right to it does not hear that it is stopped');
my $r = $s->http(url => $s->workspace_url($id), headers => ['Accept: text/html']);
my $host_of = $s->{mode} eq 'port' ? $s->address($id) : "$id.$s->{workspace_domain}";
like($r->{headers}, qr{^location: \Q$s->{url}\E/api/handoff\?host=\Q$host_of\E&}mi, 'a person is asked who it is first');
my @both = map { $s->rpc('StartWorkspace', { workspaceId => $id }) } 1 .. 2;
is($both[$_]{status}, 200, 'StartWorkspace ' . ($_ + 1)) for 0, 1;
$w = $s->wait_phase($id, 'PHASE_RUNNING');
($rc, $out) = $s->podman('ps', '-q', '--filter', "label=gitpod.workspace=$id");
is(scalar(split /\n/, $out), 1, 'two starts at once made one container');
($rc, $out) = $s->inside($id, 'cat /workspace/app/work.txt; tail -1 /workspace/app/README.md; stat -c %u /workspace/app/work.txt');
is($out, "uncommitted\nchanged\n33333\n", 'uncommitted files survive, with their owner');
is_deeply(shared(), [ '8000 ' . $s->workspace_url($id, 8000) ], 'and what the owner chose for ports, against .gitpod.yml too');

# ---- branches, tags, commits, private ----
for my $case (["$git/acme/app/tree/feature/x", 'feature/x'], ["$git/acme/app/tree/v1.0", undef], ["$git/acme/app/commit/$commit", undef], ["$git/acme/app/blob/main/src/a.txt", 'main']) {
    my ($url, $branch) = @$case;
    my $p = $s->rpc('ParseContextURL', { contextUrl => $url });
    is($p->{status}, 200, "ParseContextURL takes .../" . ($url =~ s{.*/acme/}{}r)) or diag($p->{body});
}
my $b = $s->create("$git/acme/app/tree/feature/x");
$s->wait_phase($b, 'PHASE_RUNNING');
($rc, $out) = $s->inside($b, 'cd /workspace/app && git branch --show-current && cat branch.txt');
is($out, "feature/x\nfeature/x\n", 'a /tree/ URL with a slash in the branch checks that branch out');
$s->rpc('DeleteWorkspace', { workspaceId => $_ }) for $b, $deb;

my $private = $s->create("$git/private/acme/app.git");
$w = $s->wait_phase($private, 'PHASE_STOPPED');
like($w->{status}{conditions}{failed}, qr/token/i, 'a repository that needs credentials says so and what to do') or diag(encode_json($w->{status}));
my ($host) = $git =~ m{//(.*)};
is($s->rpc('gitpod.extension.v1.GitTokenService/SetGitToken', { host => $host, username => 'ann', value => 's3cret-token' })->{status}, 200, 'a git token is stored');
unlike($s->rpc('gitpod.extension.v1.GitTokenService/ListGitTokens', {})->{body}, qr/s3cret/, 'its value is never returned');
is($s->rpc('StartWorkspace', { workspaceId => $private })->{status}, 200, 'try again');
$s->wait_phase($private, 'PHASE_RUNNING');
is(qx(grep -rl s3cret-token $s->{env}{GITPOD_STATE} $s->{env}{GITPOD_RUN} 2>/dev/null), '', 'the token is in clear nowhere on the disk');
($rc, $out) = $s->inside($private, 'env; cat /proc/*/cmdline 2>/dev/null | tr "\0" " "');
unlike($out, qr/s3cret/, 'nor in the workspace');
$s->rpc('DeleteWorkspace', { workspaceId => $private });

# ---- update, list, watch ----
$r = $s->rpc('UpdateWorkspace', { workspaceId => $id, metadata => { name => "n\x{e4}me", pinned => JSON::PP::true } });
is($r->{data}{workspace}{metadata}{name}, "n\x{e4}me", 'rename');
ok($r->{data}{workspace}{metadata}{pinned}, 'pin');
$r = $s->rpc('ListWorkspaces', { searchTerm => "n\x{e4}m" });
is(scalar @{ $r->{data}{workspaces} }, 1, 'the list is searched');
is($s->rpc('ListWorkspaces', { pinned => JSON::PP::true })->{data}{workspaces}[0]{id}, $id, 'and filtered');
is($s->rpc('ListWorkspaceClasses', {})->{data}{workspaceClasses}[0]{isDefault}, JSON::PP::true, 'there is a default class');
is($s->rpc('SendHeartBeat', { workspaceId => $id })->{status}, 200, 'SendHeartBeat');
$r = $s->http(method => 'POST', url => "$s->{url}/public-api/gitpod.v1.WorkspaceService/WatchWorkspaceStatus", timeout => 2,
    headers => ['Content-Type: application/connect+json', 'Authorization: Bearer ' . $s->token],
    body => pack('CN/a*', 0, encode_json({ workspaceId => $id })));
like($r->{body}, qr/"phase":\{"name":"PHASE_RUNNING"/, 'WatchWorkspaceStatus begins with the present status');

# ---- down and up: state is kept, what ran is adopted or shown stopped ----
($rc, $out) = $s->build_sh('status');
is($rc, 0, 'status');
like($out, qr/^ws_manager\s+run\s+\d+/m, 'status lists the services');
like($out, qr/\Q$id\E\s+running/, 'and the workspaces');
my $container = $s->container($id);
for my $service (qw(ws_manager public_api content ide auth nginx redis engine)) {
    my $pid = $s->service_pid($service);
    kill 'TERM', $pid if $pid;
    ok($s->wait_for(40, "$service is back", sub { my $p = $s->service_pid($service); $p && $p != $pid }), "$service ends on SIGTERM and comes back");
}
ok($s->wait_for(30, 'ready', sub { $s->http(url => "http://127.0.0.1:$s->{env}{GITPOD_PROBE_PORT}/ready")->{status} == 200 }), 'ready again');
$s->wait_phase($id, 'PHASE_RUNNING', 20);
is($s->container($id), $container, 'the running container was adopted, not replaced');
is($s->workspace_http($id, '/healthz')->{status}, 200, 'and its editor answers');
$t0 = time;
($rc, $out) = $s->build_sh('down');
is($rc, 0, 'down') or diag($out);
is(($s->build_sh('status'))[0], 3, 'status says that nothing runs');
like(($s->build_sh('token'))[1], qr/not running.*up/, 'a command that needs it says what to do');
$t0 = time;
$s->up;
my $took = time - $t0;
note sprintf 'up again: %.1f s', $took;
$w = $s->workspace($id);
is($w->{status}{phase}{name}, 'PHASE_STOPPED', 'the workspace that ran is shown stopped');
is($w->{status}{conditions}{failed} // '', '', 'and not as a failure');
$s->rpc('StartWorkspace', { workspaceId => $id });
$s->wait_phase($id, 'PHASE_RUNNING');
($rc, $out) = $s->inside($id, 'cat /workspace/app/work.txt; gp stop');
like($out, qr/^uncommitted$/m, 'the work is there after down and up');
$s->wait_phase($id, 'PHASE_STOPPED', 40);
pass('gp stop stops it from inside');

# ---- delete ----
is($s->rpc('DeleteWorkspace', { workspaceId => $id })->{status}, 200, 'DeleteWorkspace');
is($s->rpc('GetWorkspace', { workspaceId => $id })->{status}, 404, 'it is gone');
ok($s->wait_for(20, 'content gone', sub { !glob "$s->{env}{GITPOD_STATE}/content/*/workspace" }), 'its content is removed');

$s->down;
done_testing();
