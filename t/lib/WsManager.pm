package WsManager;

# ws_manager with a container engine, Redis and network of its own in one
# temporary directory; content and the editor catalogue are doubles, the
# supervisor is the real one. Ends what it started.
use strict;
use warnings;
use Cwd qw(abs_path);
use FastCgi;
use File::Basename qw(dirname);
use File::Path qw(make_path remove_tree);
use File::Temp qw(tempdir);
use GitpodTest ();
use JSON::PP;
use Test::More;
use Time::HiRes qw(sleep time);

our $TOP = abs_path(dirname(__FILE__) . '/../..');
our $BUILD = $ENV{BUILD} // "$TOP/build";
my $CACHE = $ENV{GITPOD_CACHE} // '/var/cache/gitpod';
our $SERVICE = 'gitpod.internal.v1.WorkspaceManagerService';
our $OWNER = '11111111-1111-4111-8111-111111111111';
my $UID = 65534;
our $OTHER = '22222222-2222-4222-8222-222222222222';

sub new {
    my ($class, %option) = @_;
    my $dir = tempdir('gpwsmXXXXXX', DIR => '/tmp');
    chmod 0755, $dir;
    my $n = 2000 + $$ % 40000;
    my $self = bless { dir => $dir, run => "$dir/run", state => "$dir/state", pid => $$, child => {}, installation => "t$n",
        bridge => "gp-t$n", subnet => sprintf('10.%d.%d.0/22', 192 + $n % 60, $n / 60 % 64 * 4), port => GitpodTest::free_port(), option => \%option }, $class;
    ($self->{gateway} = $self->{subnet}) =~ s{0/22}{1};
    make_path("$dir/run/$_") for 'ws_manager', 'redis', 'engine', 'gateway/ws_manager', 'instances', 'conf';
    make_path("$dir/state/$_") for 'ws_manager', 'secrets', 'content', 'engine';
    make_path("$dir/ide/bin", "$dir/supervisor");
    $self->prepare;
    return $self;
}

sub write_file {
    my ($path, $text, $mode) = @_;
    open my $f, '>', "$path.new" or die "$path: $!";
    print $f $text;
    close $f;
    chmod $mode // 0644, "$path.new";
    rename "$path.new", $path or die "$path: $!";
}

sub slurp {
    my ($path) = @_;
    open my $f, '<', $path or return '';
    local $/;
    return scalar <$f>;
}

sub run { # dies on failure
    my (@command) = @_;
    system(@command) == 0 or die "@command failed: $?";
}

sub prepare {
    my ($self) = @_;
    my ($dir, $c) = ($self->{dir}, "$BUILD/c/workspace");
    for my $p (qw(supervisor gp)) {
        my ($from) = grep { -x } ($ENV{TEST_SUPERVISOR} // $c) . "/$p";
        die "build $c/$p first\n" unless $from;
        run('cp', $from, "$dir/supervisor/$p");
    }
    # An editor: answers /healthz; crashes while /workspace/crash is there.
    write_file("$dir/ide/bin/editor", <<'PY', 0755);
#!/usr/bin/python3
import http.server, os, sys
if os.path.exists('/workspace/repo/crash'):
    sys.exit('editor: broken on purpose')
class H(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.send_header('Content-Length', '2'); self.end_headers(); self.wfile.write(b'ok')
    def log_message(self, *a): pass
http.server.ThreadingHTTPServer(('0.0.0.0', 23000), H).serve_forever()
PY
    for my $name (qw(containers storage)) {
        (my $text = slurp("$TOP/conf/engine/$name.conf.in")) =~ s/\@RUN\@/$self->{run}/g;
        $text =~ s/\@STATE\@/$self->{state}/g;
        $text =~ s/\@CACHE\@/$CACHE/g;
        write_file("$self->{run}/conf/$name.conf", $text);
    }
    # What build.sh does before it starts services.
    run('bash', '-euc', "TOP=$TOP; . $TOP/conf/setup/common.sh; . $TOP/conf/setup/services.sh; ensure_machine");
    run('mount', '--bind', "$self->{state}/content", "$self->{state}/content");
    run('mount', '-o', 'remount,bind,nosuid,nodev', "$self->{state}/content");
    write_file("$self->{state}/secrets/redis-ws_manager", "test-password-of-ws-manager-00001\n", 0440);
    # The service is nobody with CAP_NET_ADMIN; what it needs is its group's.
    run('chown', '-R', "$UID:$UID", map { "$self->{$_->[0]}/$_->[1]" } ['run', 'ws_manager'], ['run', 'instances'], ['state', 'ws_manager'], ['state', 'secrets']);
    for my $shared (qw(engine redis gateway/ws_manager)) {
        run('chgrp', $UID, "$self->{run}/$shared");
        run('chmod', '2750', "$self->{run}/$shared");
    }
}

sub spawn {
    my ($self, $name, @command) = @_;
    my $pid = fork // die "fork: $!";
    if (!$pid) {
        setpgrp;
        open STDIN, '<', '/dev/null';
        open STDOUT, '>>', "$self->{dir}/$name.log";
        open STDERR, '>&', \*STDOUT;
        umask 007;
        exec @command;
        exit 127;
    }
    return $self->{child}{$name} = $pid;
}

sub wait_for {
    my ($self, $seconds, $what, $test) = @_;
    my $until = time + $seconds;
    while (1) {
        my $value = $test->();
        return $value if $value;
        last if time > $until;
        sleep 0.02;
    }
    diag("waited $seconds s for $what");
    return;
}

sub start_engine {
    my ($self) = @_;
    local $ENV{CONTAINERS_CONF} = "$self->{run}/conf/containers.conf";
    local $ENV{CONTAINERS_STORAGE_CONF} = "$self->{run}/conf/storage.conf";
    my $socket = "$self->{run}/engine/podman.sock";
    unlink $socket;
    $self->spawn('engine', 'podman', 'system', 'service', '--time=0', "unix://$socket");
    $self->wait_for(20, 'the engine', sub { system("curl -s -o /dev/null --unix-socket $socket http://d/_ping") == 0 }) or die slurp("$self->{dir}/engine.log");
    chmod 0660, $socket; # as engine.run does
}

sub start_redis {
    my ($self) = @_;
    my $socket = "$self->{run}/redis/redis.sock";
    $self->spawn('redis', 'redis-server', '--port', 0, '--unixsocket', $socket, '--unixsocketperm', 770, '--save', '', '--dir', $self->{dir}, '--user', 'ws_manager', 'on',
        '>test-password-of-ws-manager-00001', '~gitpod:routes', '~gitpod:events', '&gitpod:routes:changes', '&gitpod:events:changes', '-@all', '+@connection', '+@read', '+@hash', '+xadd', '+publish', '+@scripting', '+del');
    $self->wait_for(10, 'Redis', sub { -S $socket && system("redis-cli -s $socket ping >/dev/null 2>&1") == 0 }) or die 'no Redis';
}

# Events of Redis, oldest first: { kind, user, data }; of one workspace if its id is given.
sub events {
    my ($self, $id) = @_;
    my @events;
    for (split /\n/, qx(redis-cli -s $self->{run}/redis/redis.sock --raw xrange gitpod:events - + 2>/dev/null)) {
        my ($kind, $user, $data) = /^([a-z_]+) ([0-9a-f-]{36}) (\{.*)$/ or next;
        push @events, { kind => $kind, user => $user, data => decode_json($data) };
    }
    return defined $id ? grep({ ($_->{data}{workspaceId} // '') eq $id } @events) : @events;
}

sub start_peers {
    my ($self) = @_;
    my $socket = "$self->{run}/gateway/ws_manager/gateway.sock";
    $self->spawn('peers', 'python3', "$TOP/t/service/ws_manager_peers.py", $socket, $self->{state}, $self->{dir});
    $self->wait_for(10, 'the peers', sub { -S $socket }) or die slurp("$self->{dir}/peers.log");
}

sub start_service {
    my ($self, %more) = @_;
    my $program = $ENV{TEST_WS_MANAGER} // "$BUILD/c/plugins/ws_manager/ws_manager";
    my %option = (run => $self->{run}, state => $self->{state}, domain => 'gitpod.test', 'workspace-domain' => 'ws-gitpod.test', port => $self->{port},
        installation => $self->{installation}, bridge => $self->{bridge}, network => "gitpod-$self->{installation}", subnet => $self->{subnet},
        'supervisor-dir' => "$self->{dir}/supervisor", 'reconcile-interval' => 1, 'activity-interval' => 1, %{ $self->{option} }, %more);
    my @as = (qw(setpriv --reuid), $UID, '--regid', $UID, '--clear-groups', '--inh-caps', '-all,+net_admin', '--ambient-caps', '-all,+net_admin');
    $self->spawn('service', @as, $program, map { ("--$_", $option{$_}) } sort keys %option);
    $self->wait_for(20, 'ws_manager', sub { FastCgi->connect("$self->{run}/ws_manager/fcgi.sock") }) or die slurp("$self->{dir}/service.log");
}

sub kill_child {
    my ($self, $name, $signal) = @_;
    my $pid = delete $self->{child}{$name} or return;
    kill $signal // 'TERM', $pid;
    waitpid $pid, 0;
}

sub call {
    my ($self, $method, $request, %param) = @_;
    my $answer = FastCgi->call("$self->{run}/ws_manager/fcgi.sock", { GITPOD_PATH => "/$SERVICE/$method", CONTENT_TYPE => 'application/json',
        GITPOD_CALLER => 'public_api', CONTENT_LENGTH => length encode_json($request), %param }, encode_json($request));
    return { status => 0 + ($answer->{status} // 200), data => scalar eval { decode_json($answer->{body}) } };
}

sub workspace { # the workspace, or the error
    my ($self, $id, $user) = @_;
    my $answer = $self->call('GetWorkspace', { userId => $user // $OWNER, workspaceId => $id });
    return $answer->{data}{workspace} // $answer->{data};
}

sub phase { return shift->workspace(@_)->{instance}{phase} // 'none' }

sub wait_phase {
    my ($self, $id, $phase, $seconds) = @_;
    my $workspace;
    $self->wait_for($seconds // 30, "$id to be $phase", sub { $workspace = $self->workspace($id); ($workspace->{instance}{phase} // '') eq "PHASE_$phase" })
        or diag(encode_json($workspace));
    return $workspace;
}

sub create {
    my ($self, %more) = @_;
    my $answer = $self->call('CreateWorkspace', { ownerId => $OWNER, contextUrl => 'http://git.test/acme/site', idHintOwner => 'acme', idHintRepository => 'site',
        git => { remoteUri => 'http://git.test/acme/site.git', checkoutLocation => 'repo' }, gitUserName => 'Ada', gitUserEmail => 'ada@example.org', %more });
    return $answer->{data}{workspace}{id} // $answer;
}

sub start { my ($self, $id) = @_; return $self->call('StartWorkspace', { userId => $OWNER, workspaceId => $id }) }

sub stop { my ($self, $id, %more) = @_; return $self->call('StopWorkspace', { userId => $OWNER, workspaceId => $id, %more }) }

sub set_plan { my ($self, %todo) = @_; write_file("$self->{dir}/plan", encode_json(\%todo)) }

sub route {
    my ($self, $id) = @_;
    my $text = qx(redis-cli -s $self->{run}/redis/redis.sock hget gitpod:routes $id 2>/dev/null);
    return eval { decode_json($text) };
}

# The record of a workspace in the snapshot file.
sub snapshot {
    my ($self, $id) = @_;
    my ($line) = slurp("$self->{state}/ws_manager/routes.json") =~ /^(.*"id":"\Q$id\E".*)$/m or return undef;
    return decode_json($line);
}

sub podman {
    my ($self, @command) = @_;
    local $ENV{CONTAINERS_CONF} = "$self->{run}/conf/containers.conf";
    local $ENV{CONTAINERS_STORAGE_CONF} = "$self->{run}/conf/storage.conf";
    open my $out, '-|', 'podman', @command or die "podman: $!";
    local $/;
    my $text = <$out>;
    close $out;
    return $text // '';
}

sub inside {
    my ($self, $id, $command, $user) = @_;
    my $instance = $self->workspace($id)->{instance}{id};
    return $self->podman('exec', '-u', $user // 0, "gitpod-$instance", 'sh', '-c', "$command 2>&1");
}

sub DESTROY {
    my ($self) = @_;
    return if $self->{pid} != $$;
    local ($?, $@);
    write_file("$self->{dir}/end", '');
    $self->kill_child('service');
    $self->podman('rm', '-f', '-a', '-t', '0') if -f "$self->{run}/conf/storage.conf";
    $self->kill_child($_) for qw(engine redis peers);
    system("nft delete table inet gitpod_$self->{installation} 2>/dev/null; ip link delete $self->{bridge} 2>/dev/null");
    system("umount -l $self->{state}/content; grep -F ' $self->{dir}/' /proc/self/mountinfo | cut -d' ' -f5 | sort -r | xargs -r -n1 umount -l");
    system('cp', '-r', map({ "$self->{dir}/$_.log" } qw(service engine)), $ENV{TEST_KEEP_LOGS}) if $ENV{TEST_KEEP_LOGS};
    remove_tree($self->{dir});
}

1;
