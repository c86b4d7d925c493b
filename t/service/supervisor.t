#!/usr/bin/perl
# The supervisor as PID 1 in namespaces of its own: what it answers, starts, restarts, forwards, stops.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use IO::Select;
use IO::Socket::UNIX;
use JSON::PP;
use POSIX ();
use Test::More;
use Time::HiRes qw(sleep time);
use WorkspaceRoot;

# Answers 200 on 23000 with the time of the last use, as code-server's /healthz does; crashes while /workspace/crash is there.
my $EDITOR = <<'PY';
#!/usr/bin/python3
import http.server, os, sys
if os.path.exists('/workspace/crash'):
    print('editor: broken on purpose'); sys.exit(3)
open('/tmp/editor.env', 'w').write('\n'.join(f'{k}={v}' for k, v in os.environ.items()))
open('/tmp/editor.cwd', 'w').write(os.getcwd())
class H(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers(); self.wfile.write(b'{"status":"alive","lastHeartbeat":4102444800000}')
    def log_message(self, *a): pass
class S(http.server.ThreadingHTTPServer):
    allow_reuse_address = True
S(('0.0.0.0', 23000), H).serve_forever()
PY

my $YML = <<'YML';
tasks:
  - name: Build
    before: echo before >> /tmp/order
    init: echo init >> /tmp/order
    command: |
      echo "command $GREETING" >> /tmp/order
      read line && echo "typed $line" >> /tmp/order
    env:
      GREETING: hello
  - command: exit
ports:
  - port: 3000
    name: web
    onOpen: open-browser
  - port: 7000-7010
    description: a range
YML

sub kb { my ($w, $what) = @_; my ($n) = $w->inside('cat /proc/1/status') =~ /^$what:\s+(\d+) kB/m; return $n }
sub slurp { my ($w, $path) = @_; open my $fh, '<', "/proc/$w->{pid}/root$path" or return ''; local $/; return <$fh> // '' }

# Its memory is that of the program people get, not of one with sanitizers in it.
sub memory_is_bounded {
    my ($w, $what, $text) = @_;
    return pass("$text: not measured with sanitizers") if $w->sanitized;
    cmp_ok(kb($w, $what), '<=', 4096, $text);
}

my $w = WorkspaceRoot->new(editor => $EDITOR, yml => $YML);

subtest 'before the go signal' => sub {
    my $t = time;
    ok($w->until(5, sub { ($w->ask('/_supervisor/v1/status/supervisor'))[0] }), 'it answers');
    diag sprintf 'first status answer %.1f ms after the root file system was made', (time - $t) * 1000;
    is_deeply($w->status('supervisor'), { ok => JSON::PP::true }, 'all is well');
    is_deeply($w->status('content'), { available => JSON::PP::false }, 'content is not there');
    is($w->status('ide')->{ok}, JSON::PP::false, 'nor the editor');
    is_deeply($w->status('tasks'), { tasks => [] }, 'nor tasks');
    is(($w->ask('/_supervisor/v1/nope'))[0], 404, 'what is no endpoint is not found');
    is(($w->ask('/_supervisor/v1/status/ide', 'POST'))[1]{message}, 'use GET', 'another method is refused');
    like($w->inside('cat /etc/passwd /etc/group'), qr{gitpod:x:33333:33333::/home/gitpod:/bin/bash.*gitpod:x:33333:$}s, 'the workspace user is made');
    like($w->inside('ls -ld /home/gitpod; cat /etc/sudoers.d/gitpod'), qr/^drwxr-xr-x \d+ (gitpod|33333).*NOPASSWD:ALL/s, 'with a home and sudo');
    is($w->inside('stat -c %a:%G /run/gitpod/supervisor.sock'), "660:gitpod\n", 'only the workspace user and root reach the control socket');
    is($w->inside('cat /proc/1/environ 2>&1 | wc -c', 1) + 0 < 200 ? 1 : 0, 1, 'the workspace user does not read its environment');
    memory_is_bounded($w, 'VmRSS', 'it takes at most 4 MB');
    is(slurp($w, '/etc/gitconfig') =~ /name = "Ada \\"Countess\\" Lovelace"/ ? 1 : 0, 1, 'git knows who commits');
};

subtest 'the start' => sub {
    my $t = time;
    my $waiter = fork // die;
    if (!$waiter) { my $d = $w->status('ide?wait=true'); POSIX::_exit($d->{ok} ? 0 : 1) }
    sleep 0.1;
    $w->go;
    is_deeply($w->status('content?wait=true'), { available => JSON::PP::true, source => 'from-other' }, 'content is told');
    is_deeply($w->status('ide/wait/true'), { ok => JSON::PP::true, alias => 'code' }, 'the editor is waited for');
    waitpid $waiter, 0;
    is($? >> 8, 0, 'who waited since before is answered too');
    my $env = slurp($w, '/tmp/editor.env');
    like($env, qr/^HOME=\/home\/gitpod$/m, 'the editor has the person\'s home');
    like($env, qr/^GITPOD_REPO_ROOT=\/workspace\/repo$/m, 'and the checkout');
    unlike($env, qr/GITPOD_IDE_COMMAND/, 'and nothing of the supervisor\'s own');
    is(slurp($w, '/tmp/editor.cwd'), '/workspace/repo', 'it runs in the checkout');
    like($w->inside('ps -o user= -C editor,python3'), qr/^(gitpod|33333)/, 'as the workspace user');
};

subtest 'tasks' => sub {
    ok($w->until(10, sub { slurp($w, '/tmp/order') =~ /command/ }), 'they run');
    is(slurp($w, '/tmp/order'), "before\ninit\ncommand hello\n", 'in order, with their variables');
    ok($w->until(10, sub { $w->status('tasks')->{tasks}[1]{state} eq 'closed' }), 'one that exits is closed');
    my $tasks = $w->status('tasks')->{tasks};
    is($tasks->[0]{presentation}{name}, 'Build', 'names are theirs');
    is($tasks->[1]{presentation}{name}, 'Gitpod Task 2', 'or numbers');
    is($tasks->[0]{state}, 'running', 'one that waits runs');
    my $before = $w->status('activity')->{lastActivityEpochS};
    like($w->inside('echo typed-by-gp | timeout 2 /.supervisor/gp tasks attach 0', 1), qr/command/, 'gp attaches and sees what was said');
    ok($w->until(5, sub { slurp($w, '/tmp/order') =~ /typed typed-by-gp/ }), 'and types into it');
    like($w->inside('/.supervisor/gp tasks attach 7 </dev/null 2>&1', 1), qr/no task '7'/, 'a task that is not there is named');
    like($w->inside('/.supervisor/gp tasks list', 1), qr/^0\s+running\s+Build$/m, 'gp lists them');
    my $listed = decode_json($w->inside('/.supervisor/gp tasks list -j', 1));
    is_deeply([map { "$_->{id} $_->{state} $_->{presentation}{name}" } @$listed], ['0 running Build', '1 closed Gitpod Task 2'], 'as JSON too');
    like($w->inside('/.supervisor/gp tasks list --frob 2>&1', 1), qr/usage: gp tasks list \[-j\]/, 'an unknown option is told the usage');
    like($w->inside('timeout 5 /.supervisor/gp tasks attach 1 </dev/null', 1), qr/exit/, 'what an ended task said can still be read');
    like($w->inside('echo | timeout 5 /.supervisor/gp tasks attach --hold 1; echo "left $?"', 1), qr/Press Enter.*left 0/s, 'and be kept on the screen until Enter');
    like($w->inside('sleep 3 | timeout 1 /.supervisor/gp tasks attach --hold 1; echo "left $?"', 1), qr/Press Enter.*left 124/s, 'until then it stays');
    is(($w->ask('/_supervisor/v1/terminal/resize/0?rows=41&columns=117', 'POST'))[0], 200, 'a terminal takes a new size');
    $w->inside('echo "stty size > /tmp/size" | timeout 1 /.supervisor/gp tasks attach 0', 1);
    ok($w->until(5, sub { slurp($w, '/tmp/size') eq "41 117\n" }), 'and its programs see it');
    $w->inside(q(sleep 2 | script -qec 'stty rows 30 cols 90; (sleep 0.3; stty rows 33 cols 99 < /dev/tty) & timeout --foreground 1 /.supervisor/gp tasks attach 0' /dev/null), 1);
    $w->inside('echo "stty size > /tmp/size2" | timeout 1 /.supervisor/gp tasks attach 0', 1);
    ok($w->until(5, sub { slurp($w, '/tmp/size2') eq "33 99\n" }), 'gp tells it when its window changes') or diag slurp($w, '/tmp/size2');
    is(($w->ask('/_supervisor/v1/terminal/resize/7?rows=1&columns=1', 'POST'))[0], 404, 'a size for no task is refused');
};

subtest 'ports' => sub {
    is($w->status('ports')->{ports}[0]{served}, JSON::PP::false, 'a configured port is listed before it is served');
    $w->inside('cd /tmp && for p in 3000 7003 9000; do python3 -m http.server -b 127.0.0.1 $p >/dev/null 2>&1 & done; python3 -m http.server -b :: 9001 > /dev/null 2>&1 &', 1);
    ok($w->until(10, sub { 4 == grep { $_->{served} } @{ $w->status('ports')->{ports} } }), 'ports that programs open are seen');
    my @p = @{ $w->status('ports')->{ports} };
    is(join(' ', map { $_->{localPort} } @p), '3000 7003 9000 9001', 'in the order of .gitpod.yml, then by number, none of ours');
    is($p[0]{name}, 'web', 'with their name');
    is($p[0]{exposed}{onExposed}, 'open_browser', 'and what to do');
    is($p[1]{description}, 'a range', 'a range describes its ports');
    is($p[2]{onOpen}, 'notify_private', 'others have the usual');
    is($p[0]{exposed}{url}, 'http://3000-amber-fox-k3j9x2m1.ws-gitpod.localhost:8080', 'and a URL');
    ok($w->until(5, sub { $w->inside("curl -s -m 2 -o /dev/null -w %{http_code} http://$WorkspaceRoot::ADDRESS:3000/") eq '200' }), 'a loopback port is reached from outside');
    is($w->inside("curl -s -m 2 -o /dev/null -w %{http_code} http://$WorkspaceRoot::ADDRESS:9001/"), '200', 'another one is left alone');
    $w->inside("head -c 20000000 /dev/zero > /tmp/big; curl -s -m 20 http://$WorkspaceRoot::ADDRESS:9000/big | md5sum > /tmp/sum; md5sum < /tmp/big > /tmp/want");
    is(slurp($w, '/tmp/sum'), slurp($w, '/tmp/want'), '20 MB come through unchanged');
    like($w->inside('/.supervisor/gp ports list', 1), qr/^3000\s+open\s+private\s+http:.*web$/m, 'gp lists them');
    my $so = sub { my ($text) = @_; $w->write('ports.new', $text); rename "$w->{dir}/ports.new", "$w->{dir}/instance/exposed.json" or die "exposed.json: $!" };
    $so->('[{"port":3000,"visibility":"public","protocol":"https"},{"port":5000,"visibility":"public","protocol":"http"}]');
    @p = @{ $w->status('ports')->{ports} };
    is("$p[0]{exposed}{visibility} $p[0]{exposed}{protocol}", 'public https', 'what ws_manager says of a port is told');
    is("$p[1]{exposed}{visibility} $p[1]{exposed}{protocol}", 'private http', 'others are private');
    is("$p[-1]{localPort} $p[-1]{exposed}{visibility}", '5000 public', 'one that nobody serves yet is listed');
    like($w->inside('/.supervisor/gp ports list', 1), qr/^3000\s+open\s+public\s+http:/m, 'gp lists it');
    is($w->inside('timeout 5 /.supervisor/gp ports visibility 3000:public', 1), "Port 3000 is public: http://3000-amber-fox-k3j9x2m1.ws-gitpod.localhost:8080\n", 'gp ports visibility');
    $w->inside('timeout 15 /.supervisor/gp ports protocol 9001:h2c > /tmp/gp.out 2>&1 &', 1);
    my $wish;
    ok($w->until(5, sub { ($wish) = grep { $_->{port} == 9001 } @{ $w->status('activity')->{portWishes} } }), 'a wish waits for ws_manager');
    is($wish->{set}, 'h2c', 'as it was said');
    my ($first) = grep { $_->{port} == 3000 } @{ $w->status('activity')->{portWishes} };
    cmp_ok($wish->{seq}, '>', $first->{seq}, 'each has a number that grows');
    $so->('[{"port":9001,"visibility":"private","protocol":"h2c"}]');
    ok($w->until(5, sub { slurp($w, '/tmp/gp.out') =~ /^Port 9001 is h2c: / }), 'gp says when it is so') or diag slurp($w, '/tmp/gp.out');
    is($w->inside('timeout 5 /.supervisor/gp ports visibility 4444:private', 1), "Port 4444 is private\n", 'a port that is not listed is as others are');
    like($w->inside("/.supervisor/gp ports visibility $_ 2>&1", 1), qr/usage: gp ports visibility <port>:<private\|public>/, "'$_' is told the usage") for '', '3000', '3000:open', 'x:public', '0:public', '65536:public';
    like($w->inside('/.supervisor/gp ports visibility 23000:public 2>&1', 1), qr/23000 is the workspace's own/, 'the editor\'s port is not to be had');
    like($w->inside('curl -s -m 2 -X POST http://127.0.0.1:22999/_supervisor/v1/control/port/3000/public'), qr/no such endpoint/, 'nothing of that can be asked for over the network');
    $so->('broken');
    is($w->status('ports')->{ports}[0]{exposed}{visibility}, 'private', 'a file that is none says nothing');
    $w->inside('pkill -f "127.0.0.1 3000"');
    ok($w->until(10, sub { !grep { $_->{localPort} == 3000 && $_->{served} } @{ $w->status('ports')->{ports} } }), 'a port that closes is told');
};

subtest 'activity and gp' => sub {
    ok($w->until(5, sub { $w->status('activity')->{editorEpochS} == 4102444800 }), 'the editor\'s heartbeat is told');
    cmp_ok($w->status('activity')->{lastActivityEpochS}, '<', 4102444800, 'but an open editor is no activity');
    is($w->status('activity')->{stopRequested}, JSON::PP::false, 'no stop was asked for');
    my $id = 'export GITPOD_WORKSPACE_ID=amber-fox-k3j9x2m1 GITPOD_WORKSPACE_URL=http://amber.ws:8080;';
    like($w->inside("$id /.supervisor/gp info", 1), qr/^Workspace ID\s+amber-fox-k3j9x2m1$/m, 'gp info');
    like($w->inside("$id /.supervisor/gp info -j", 1), qr/"workspace_url": "http:\/\/amber.ws:8080"/, 'gp info -j');
    is($w->inside("$id /.supervisor/gp url 3000", 1), "http://3000-amber.ws:8080\n", 'gp url');
    like($w->inside("$id /.supervisor/gp url x 2>&1", 1), qr/not a port/, 'gp url with nonsense');
    like($w->inside('/.supervisor/gp frobnicate 2>&1', 1), qr/no command 'frobnicate'.*gp tasks list/s, 'an unknown command is named, the known ones listed');
    like($w->inside('curl -s -m 2 -X POST http://127.0.0.1:22999/_supervisor/v1/control/stop'), qr/no such endpoint/, 'a stop cannot be asked for over the network');
    $w->inside('/.supervisor/gp stop', 1);
    is($w->status('activity')->{stopRequested}, JSON::PP::true, 'gp stop asks for it');
};

subtest 'the editor ends' => sub {
    my $n = $w->status('activity')->{ideRestarts};
    $w->inside('pkill -KILL -f /ide/bin/editor');
    ok($w->until(10, sub { $w->status('activity')->{ideRestarts} == $n + 1 && $w->status('ide')->{ok} }), 'it is started again');
    $w->write('workspace/crash', '');
    $w->inside('pkill -KILL -f /ide/bin/editor');
    my $d;
    ok($w->until(30, sub { $d = $w->status('ide'); $d->{error} }), 'a crash loop is told');
    is($d->{ok}, JSON::PP::false, 'as a failure');
    like($d->{error} // '', qr/ended 5 times.*exit status 3.*editor: broken on purpose/s, 'with its last output');
    is($w->status('ide?wait=true')->{error}, $d->{error}, 'who waits is told at once');
    unlink "$w->{dir}/workspace/crash";
};

subtest 'hostile clients' => sub {
    my $slow = join '; ', map { "exec $_<>/dev/tcp/127.0.0.1/22999" } 10 .. 90;
    my $pid = open my $held, '-|', 'nsenter', '-t', $w->{pid}, '-n', 'bash', '-c', "$slow 2>/dev/null; echo held; read -t 30 x <> <(:)" or die;
    <$held>;
    # They wait in the listener's queue until the loop takes them, one a turn; ours is of another listener.
    ok($w->until(5, sub { !($w->ask('/_supervisor/v1/status/supervisor'))[0] }), 'connections are bounded') or diag 'more than 64 were taken';
    kill 'KILL', $pid;
    close $held;
    ok($w->until(15, sub { ($w->ask('/_supervisor/v1/status/supervisor'))[0] }), 'and given back');
    like($w->inside('printf "GARBAGE\r\n\r\n" | timeout 3 bash -c "exec 3<>/dev/tcp/127.0.0.1/22999; cat >&3; cat <&3"'), qr/400 Refused/, 'garbage is refused');
    memory_is_bounded($w, 'VmHWM', 'it never took more than 4 MB');
};

subtest 'orphans and the end' => sub {
    $w->inside('(setsid sleep 0.2 &) ; sleep 0.6', 1);
    is($w->inside('ps -eo stat= | grep -c ^Z') + 0, 0, 'no zombie is left');
    $w->inside('setsid sh -c "trap \"\" TERM HUP; touch /tmp/stubborn; sleep 60" >/dev/null 2>&1 &', 1);
    $w->until(5, sub { -e "/proc/$w->{pid}/root/tmp/stubborn" });
    my $t = $w->stop;
    ok(defined $t && $t < 10, 'it ends, stubborn processes included') or diag $w->log;
};

subtest 'a second start' => sub {
    my $b = WorkspaceRoot->new(editor => $EDITOR, yml => $YML);
    $b->go('from-backup');
    $b->status('ide?wait=true');
    ok($b->until(10, sub { slurp($b, '/tmp/order') =~ /command/ }), 'its tasks run');
    is(slurp($b, '/tmp/order'), "before\ncommand hello\n", 'without init');
    my $ask = sub {
        my $s = IO::Socket::UNIX->new(Peer => $b->socket) or die "connect: $!";
        print $s "GET /_supervisor/v1/status/supervisor/willShutdown/true HTTP/1.1\r\nHost: x\r\n\r\n";
        $s->flush;
        return $s;
    };
    my $waits = $ask->();
    ok(!IO::Select->new($waits)->can_read(0.3), 'who asks for its end waits');
    my $told = sub { my ($s) = @_; return do { local $/; <$s> } =~ /"ok":\s*true/ };
    my $knows = fork // die "fork: $!";
    if (!$knows) { POSIX::_exit($told->($waits) && $told->($ask->()) ? 0 : 1) }
    my $t = $b->stop;
    cmp_ok($t // 99, '<', 3, 'an ordinary stop is quick');
    cmp_ok($t // 0, '>=', 0.5, 'with half a second for who wants to say it');
    waitpid $knows, 0;
    is($?, 0, 'who was told, and asked again when it was said');
};

subtest 'a word of the end that takes its time' => sub {
    my $b = WorkspaceRoot->new(editor => $EDITOR, yml => $YML);
    $b->go('from-backup');
    $b->status('ide?wait=true');
    my $waits = IO::Socket::UNIX->new(Peer => $b->socket) or die "connect: $!";
    print $waits "GET /_supervisor/v1/status/supervisor/willShutdown/true HTTP/1.1\r\nHost: x\r\n\r\n";
    $waits->flush;
    ok(!IO::Select->new($waits)->can_read(0.3), 'who asks waits');
    my $t = $b->stop;
    cmp_ok($t // 0, '>=', 4.9, 'the editor ends when it is said, or 5 s are over');
    cmp_ok($t // 99, '<', 10, 'and no later');
};

subtest 'an image with another user of that id' => sub {
    my $b = WorkspaceRoot->new(passwd => "root:x:0:0::/root:/bin/sh\nnode:x:33333:33333::/home/node:/bin/sh\n");
    my $ask = 'curl -s -m 2 http://127.0.0.1:22999/_supervisor/v1/status';
    ok($b->until(5, sub { $b->inside("$ask/supervisor") =~ /"ok":false/ }), 'is told, not started');
    like($b->inside("$ask/ide?wait=true"), qr/"error":"the image's .*'node' with uid 33333/, 'with the name');
    ok(defined $b->stop(5), 'and it still ends');
};

done_testing;
