package GitpodGateway;

# The gateway as it runs: the templates of conf/nginx filled in, stock nginx
# with the module, a private Redis, real FastCGI programs and real HTTP servers
# behind it. Everything lives in one temporary directory and ends with it.

use strict;
use warnings;

use Cwd qw(abs_path);
use Digest::SHA qw(sha1_base64 sha256 sha256_hex);
use Errno qw(EINTR);
use Fcntl qw(:flock);
use File::Basename qw(basename dirname);
use File::Path qw(make_path remove_tree);
use File::Temp qw(tempdir);
use IO::Select;
use IO::Socket::INET;
use IO::Socket::UNIX;
use JSON::PP;
use POSIX qw(:sys_wait_h);
use Socket qw(SOCK_STREAM SOMAXCONN);
use Test::More;
use Time::HiRes qw(time sleep);
use GitpodTest ();
use parent 'GitpodKeys';

use constant DEADLINE_S => 15;

our $TOP = abs_path(dirname(__FILE__) . '/../..');
our @SERVICES = qw(auth public_api ws_manager content ide);
our $JSON = JSON::PP->new->canonical->utf8;

my @servers;

# new(%option): domain, workspace_domain, workers, start => 0 to wait with nginx,
# daemon => 1 to start nginx as one (else it ignores USR2),
# buffered_log => 1 to write the log as in production, level of the error log,
# limits => 1 to keep the figures of nginx_limits.conf.in,
# grpc => 1 for the port of gRPC in clear, tls => 1 for TLS with certificates
# of a CA of the test ({ca}, {certificate}, {workspace_certificate}),
# listeners => n for mode port with so many, from {listener} on,
# edit => sub of ($name, $text) returning the text of a configuration file.
sub new {
    my ($class, %option) = @_;
    my $self = bless {
        domain => 'gitpod.test',
        workspace_domain => 'ws-gitpod.test',
        scheme => 'http',
        workers => 1,
        level => 'info',
        owner => '11111111-1111-4111-8111-111111111111',
        other => '22222222-2222-4222-8222-222222222222',
        edit => sub { $_[1] },
        pid => $$,
        children => [],
        version => 0,
        %option,
    }, $class;

    push @servers, $self;
    $self->{dir} = tempdir('gpXXXXXX', DIR => '/tmp', CLEANUP => 0);
    chmod 0755, $self->{dir};
    $self->{run} = "$self->{dir}/run";
    $self->{state} = "$self->{dir}/state";
    $self->{port} //= free_port();
    $self->{probe_port} = free_port();
    $self->{grpc_port} = free_port() if $self->{grpc};
    $self->{listener} = GitpodTest::free_range($self->{listeners}) if $self->{listeners};
    $self->make_tls if $self->{tls};
    $self->{external} //= "$self->{scheme}://$self->{domain}:$self->{port}";
    make_path(map { "$self->{run}/$_" } 'conf', 'nginx', 'redis', 'instances', @SERVICES,
        map { "gateway/$_" } @SERVICES, 'admin', 'self');
    make_path(map { "$self->{state}/$_" } 'keys', 'secrets', 'log/nginx', 'redis');
    $self->dashboard;
    $self->{key} = $self->new_key('key-1');
    $self->write_keys($self->{key});
    $self->write_conf;
    $self->start_redis;
    $self->start_services;
    $self->start unless exists $option{start} && !$option{start};
    return $self;
}

sub free_port { return GitpodTest::free_port() }

# A loopback address of our own: a workspace's ports are fixed, so each
# workspace of a test has its address.
sub free_address {
    for (1 .. 100) {
        my $address = sprintf '127.%d.%d.%d', 1 + int rand 254, int rand 255, 1 + int rand 254;
        my $s = IO::Socket::INET->new(Listen => 1, LocalAddr => $address, LocalPort => 23000, ReuseAddr => 1) or next;
        return $address;
    }
    die 'no free loopback address';
}

sub slurp {
    my ($file) = @_;
    open my $f, '<', $file or die "$file: $!";
    local $/;
    my $text = <$f>;
    return $text // '';
}

sub spew {
    my ($file, $text) = @_;
    open my $f, '>', "$file.new" or die "$file: $!";
    print $f $text;
    close $f or die "$file: $!";
    rename "$file.new", $file or die "$file: $!";
}

sub make_tls {
    my ($self) = @_;
    require TestCa;
    $self->{scheme} = 'https';
    $self->{http_port} = free_port();
    $self->{ca} = TestCa->new($self->{dir});
    $self->{certificate} //= $self->{ca}->issue($self->{domain}, "api.$self->{domain}");
    $self->{workspace_certificate} //= $self->{ca}->issue(($self->{listeners} ? '' : '*.') . $self->{workspace_domain});
}

sub dashboard {
    my ($self) = @_;
    my $dir = $self->{dashboard} = "$self->{dir}/dashboard";
    make_path("$dir/errors", "$dir/assets");
    spew("$dir/index.html", "<!doctype html><title>Dashboard</title>\n");
    spew("$dir/assets/app.js", "// app\n");
    spew("$dir/errors/$_.html", "<!doctype html><title>Page $_</title>\n") for 401, 404, 429, 502, 503, 'port', 'editor';
}

sub module {
    my $build = $ENV{BUILD} // '';
    my @found = grep { -f $_ } $ENV{GITPOD_MODULE} // '', "$build/module/ngx_http_gitpod_module.so",
        "$TOP/build/module/ngx_http_gitpod_module.so";
    return $found[0] // die "no ngx_http_gitpod_module.so: set BUILD to the build directory\n";
}

# What protoc made of proto/: the same whatever the programs are built with.
sub descriptors {
    my ($found) = grep { -f } map { "$_/c/proto/gitpod.pb" } $ENV{BUILD} // (), "$TOP/build";
    return $found // die "no gitpod.pb: set BUILD to the build directory\n";
}

sub callers_map {
    my ($self) = @_;
    my $file = "$self->{dir}/callers.map";
    spew($file, join '',
        qq{"public_api:/gitpod.internal.v1.WorkspaceManagerService/GetWorkspace" 1;\n},
        qq{"public_api:/gitpod.internal.v1.WorkspaceManagerService/WatchWorkspaces" 1;\n},
        qq{"admin:/gitpod.internal.v1.AuthService/CreateToken" 1;\n});
    return $file;
}

sub write_conf {
    my ($self) = @_;
    my $http2 = $self->{tls} ? ' ssl http2' : '';
    my $names = $self->{listeners} ? $self->{workspace_domain} : "*.$self->{workspace_domain}";
    my %value = (
        MODE => $self->{listeners} ? 'port' : 'host', WORKSPACE_NAMES => $names, WORKSPACE_HTTP_NAMES => $self->{listeners} ? '' : $names,
        WORKSPACE_LISTEN => ($self->{listeners} ? "$self->{listener}-" . ($self->{listener} + $self->{listeners} - 1) : $self->{port}) . $http2,
        RUN => $self->{run}, STATE => $self->{state}, ACCESS_LOG => "$self->{state}/log/nginx/access.log", PORT => $self->{port},
        LISTEN => "$self->{port}$http2",
        TLS_CERTIFICATE => $self->{certificate}{cert}, TLS_KEY => $self->{certificate}{key}, TLS_WORKSPACE_CERTIFICATE => $self->{workspace_certificate}{cert},
        TLS_WORKSPACE_KEY => $self->{workspace_certificate}{key}, TLS_STAPLING => $self->{stapling} // 'off',
        HTTP_PORT => $self->{http_port}, PORT_SUFFIX => ":$self->{port}",
        GRPC_PORT_LISTEN => $self->{grpc_port} && !$self->{listeners} ? "listen $self->{grpc_port} http2;" : '',
        GRPC_LISTEN => $self->{grpc_port} ? "listen $self->{grpc_port} http2 default_server;" : '',
        PROBE_ADDRESS => '127.0.0.1', PROBE_PORT => $self->{probe_port}, DOMAIN => $self->{domain},
        WORKSPACE_DOMAIN => $self->{workspace_domain}, EXTERNAL_URL => $self->{external}, CIDR => '127.0.0.0/8',
        MODULE => module(), DASHBOARD => $self->{dashboard}, CALLERS_MAP => $self->callers_map, DESCRIPTORS => descriptors(),
        WORKERS => $self->{workers}, ZONE_SIZE => '64m', DRAIN_TIMEOUT => $self->{drain_timeout} // 30,
    );
    for my $file (glob "$TOP/conf/nginx/*.in") {
        (my $name = basename($file)) =~ s/\.in$//;
        next if $name =~ /^nginx_balancer/ || $name =~ /^nginx_tls/ && !$self->{tls} || $name =~ /^nginx_listeners/ && !$self->{listeners};
        my $text = slurp($file);
        $text =~ s/\@([A-Z_]+)\@/$value{$1} \/\/ die "$name: unknown \@$1\@"/ge;

        # the tests' directories are root's; see environment of the tests
        $text =~ s/^user .*;$/user root;/m;
        $text =~ s/buffer=64k flush=1s// if !$self->{buffered_log};

        $text =~ s/^( *)(include .*nginx_errors.conf;\n)/$1$2$1add_header X-Test-Reason \$gitpod_reason always;\n/m if $name eq 'nginx_workspace.conf';

        # tests ask more often than people do
        if ($name eq 'nginx_limits.conf' && !$self->{limits}) {
            $text =~ s{ rate=[^\s;]+}{ rate=1000000/s}g;
            $text =~ s{ burst=\d+}{ burst=1000000}g;
            $text =~ s{ concurrent=\d+}{ concurrent=1000000}g;
        }
        spew("$self->{run}/conf/$name", $self->{edit}->($name, $text));
    }
}

# ---- processes ----

sub child {
    my ($self, $name, $code) = @_;
    my $pid = fork // die "fork: $!";
    if (!$pid) {
        @servers = ();
        $SIG{TERM} = $SIG{INT} = 'DEFAULT';
        open STDIN, '<', '/dev/null';
        open STDOUT, '>>', "$self->{state}/log/$name" or POSIX::_exit(1);
        open STDERR, '>&', \*STDOUT;
        eval { $code->(); 1 } or print STDERR $@;
        POSIX::_exit(0);
    }
    push @{ $self->{children} }, $pid;
    return $pid;
}

sub wait_for {
    my ($what, $code) = @_;
    my $end = time + DEADLINE_S;
    while (time < $end) {
        my $got = $code->();
        return $got if $got;
        sleep 0.02;
    }
    die "waited in vain for $what\n";
}

sub start_redis {
    my ($self) = @_;
    my $password = $self->{redis_password} = 'r' x 40;
    spew("$self->{state}/secrets/redis-gateway", $password);
    spew("$self->{state}/redis/users.acl", "user default on nopass ~* &* +\@all\nuser gateway on >$password ~gitpod:* &gitpod:* +\@all\n");
    $self->{redis_socket} = "$self->{run}/redis/redis.sock";
    my @command = ('redis-server', '--port', 0, '--unixsocket', $self->{redis_socket}, '--save', '', '--appendonly', 'no',
        '--dir', "$self->{state}/redis", '--aclfile', "$self->{state}/redis/users.acl", '--daemonize', 'no');
    $self->{redis_pid} = $self->child('redis.log', sub { exec @command or die "redis-server: $!" });
    wait_for('Redis', sub { -S $self->{redis_socket} && IO::Socket::UNIX->new(Peer => $self->{redis_socket}) });
    $self->redis('SET', 'gitpod:keys', $self->{jwks});
}

# With what it had: a restart of the machine; without: another Redis.
sub restart_redis {
    my ($self, $with) = @_;
    if ($with) { $self->redis('SAVE') }
    else { unlink "$self->{state}/redis/dump.rdb" }
    $self->end_child(delete $self->{redis_pid}, 'KILL');
    delete $self->{redis};
    unlink $self->{redis_socket};
    $self->start_redis;
}

sub end_child {
    my ($self, $pid, $signal) = @_;
    kill $signal, $pid;
    waitpid $pid, 0;
    $self->{children} = [grep { $_ != $pid } @{ $self->{children} }];
}

# A killed master of a plain nginx leaves its workers behind: those get the time to end them.
sub end_children {
    my ($self, @pids) = @_;
    for my $pid (@pids) {
        my $end = time + 3;
        if ((eval { slurp("/proc/$pid/cmdline") } // '') =~ /^nginx: master/) {
            kill 'TERM', $pid;
            while (time < $end && waitpid($pid, WNOHANG) == 0) { sleep 0.02 }
        }
        kill 'KILL', $pid;
        waitpid $pid, 0;
    }
}

# A cold start: nothing of the last run's memory is left.
sub restart {
    my ($self) = @_;
    if ($self->{daemon}) {
        kill 'QUIT', $self->{nginx_pid};
        wait_for('nginx to end', sub { !kill 0, $self->{nginx_pid} });
    } else { $self->end_child($self->{nginx_pid}, 'QUIT') }
    unlink glob "$self->{run}/gateway/*/gateway.sock";
    $self->start;
}

sub redis {
    my ($self, @words) = @_;
    my $s = $self->{redis} //= IO::Socket::UNIX->new(Peer => $self->{redis_socket}) // die "Redis: $!";
    print $s '*' . @words . "\r\n", map { '$' . length($_) . "\r\n$_\r\n" } @words;
    my $answer = <$s> // die 'Redis closed';
    die "Redis: $answer" if $answer =~ /^-/;
    return $answer;
}

sub start {
    my ($self) = @_;
    my $log = "$self->{state}/log/error.log";
    my $daemon = $self->{daemon} ? 'on' : 'off';
    my $pid = $self->child('nginx.log', sub {
        my %preload = nginx_environment();
        local @ENV{keys %preload} = values %preload;
        # A binary upgrade starts the new one with only these.
        my $keep = join '', map { " env $_;" } sort keys %preload;
        exec '/usr/sbin/nginx', '-e', $log, '-c', "$self->{run}/conf/nginx.conf", '-g', "daemon $daemon; error_log $log $self->{level};$keep" or die "nginx: $!";
    });
    waitpid $pid, 0 if $self->{daemon};
    $self->{nginx_pid} = $self->{daemon} ? $self->pid_file : $pid;
    my $ok = eval {
        wait_for('nginx', sub {
            die "nginx ended\n" if !$self->{daemon} && waitpid($self->{nginx_pid}, WNOHANG) != 0;

            # its other sockets are opened after this one, and workers after all
            IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $self->{port}) && $self->worker_pids;
        });
        1;
    };
    if (!$ok) {
        BAIL_OUT("nginx did not start: " . slurp("$self->{state}/log/nginx.log") . (-f $log ? slurp($log) : ''));
    }
}

# What Debian's nginx needs to load the module with sanitizers; nothing for the other.
sub nginx_environment {
    return () if slurp(module()) !~ /__asan_init/;
    my $libraries = join ' ', map { chomp(my $l = `gcc -print-file-name=$_.so`); $l } 'libasan', 'libubsan';
    return (LD_PRELOAD => $libraries, ASAN_OPTIONS => 'detect_leaks=0', UBSAN_OPTIONS => 'print_stacktrace=1');
}

# What nginx -t says about a configuration.
sub check_conf {
    my ($file) = @_;
    local %ENV = (%ENV, nginx_environment());
    return scalar `/usr/sbin/nginx -t -e stderr -c '$file' 2>&1`;
}

sub worker_pids {
    my ($self) = @_;
    return map { /(\d+) nginx: worker/ ? $1 : () } `ps -o pid=,args= --ppid $self->{nginx_pid}`;
}

sub metrics {
    my ($self) = @_;
    local $self->{port} = $self->{probe_port};
    return $self->get('127.0.0.1', '/metrics')->{body};
}

sub status {
    my ($self) = @_;
    local $self->{port} = $self->{probe_port};
    return $self->get('127.0.0.1', '/status')->{json};
}

# Reads the configuration again; returns when every worker is a new one.
# keep: the old ones may stay (they have connections that live on).
sub reload {
    my ($self, %option) = @_;
    my %old = map { $_ => 1 } $self->worker_pids;
    $self->write_conf;
    kill 'HUP', $self->{nginx_pid};
    wait_for('the new workers', sub {
        my @pids = $self->worker_pids;
        return (grep { !$old{$_} } @pids) >= $self->{workers} && ($option{keep} || !grep { $old{$_} } @pids);
    });
}

sub pid_file {
    my ($self) = @_;
    my $file = "$self->{run}/nginx/nginx.pid";
    return -f $file && slurp($file) =~ /^(\d+)/ ? $1 : 0;
}

# USR2, then QUIT to the old master, as an upgrade of nginx or the module does; wants daemon => 1.
sub upgrade_binary {
    my ($self) = @_;
    my $old = $self->{old_pid} = $self->{nginx_pid};
    kill 'USR2', $old;
    my $new = wait_for('the new master', sub { my $pid = $self->pid_file; $pid && $pid != $old && $pid });
    $self->{nginx_pid} = $new;
    wait_for('its workers', sub { (grep { $_ != $new } $self->worker_pids) >= $self->{workers} });
    kill 'QUIT', $old;
}

sub stop_redis {
    my ($self) = @_;
    kill 'KILL', $self->{redis_pid};
    waitpid $self->{redis_pid}, 0;
    delete $self->{redis};
    unlink $self->{redis_socket};
}

sub error_log { my ($self) = @_; return slurp("$self->{state}/log/error.log") }
sub access_log { my ($self) = @_; return map { $JSON->decode($_) } grep { /^\{/ } split /\n/, slurp("$self->{state}/log/nginx/access.log") }

sub stop {
    my ($self) = @_;
    return if $self->{stopped} || $self->{pid} != $$;
    $self->{stopped} = 1;
    if (my $nginx = $self->{nginx_pid}) {
        kill 'QUIT', $nginx;
        my $end = time + 5;
        while (time < $end && ($self->{daemon} ? kill 0, $nginx : waitpid($nginx, WNOHANG) == 0)) { sleep 0.02 }
        kill 'TERM', $nginx if kill 0, $nginx;
        waitpid $nginx, 0;
    }
    $self->end_children(grep { $_ != ($self->{nginx_pid} // 0) } @{ $self->{children} });
    my $log = -f "$self->{state}/log/error.log" ? $self->error_log : '';
    my @bad = grep { /\[(?:alert|crit|emerg)\]|AddressSanitizer|runtime error/ } split /\n/, $log . slurp("$self->{state}/log/nginx.log");
    @bad = grep { !/$self->{expected_alert}/ } @bad if $self->{expected_alert};
    is("@bad", '', 'nginx logged no alert and no crash');
    if ($ENV{GITPOD_KEEP}) { diag("kept $self->{dir}") }
    else { remove_tree($self->{dir}) }
}

sub finish { my ($self) = @_; $self->stop; done_testing() }

END {
    my $status = $?;
    for my $self (@servers) {
        next if $self->{pid} != $$ || $self->{stopped};
        $self->{stopped} = 1;
        kill 'TERM', $self->{nginx_pid} if $self->{daemon} && $self->{nginx_pid};
        $self->end_children(@{ $self->{children} });
        remove_tree($self->{dir}) unless $ENV{GITPOD_KEEP};
    }
    $? = $status;
}

# ---- services: a FastCGI program that answers as auth does, and echoes ----

# libfcgi gives a process to each kept connection: enough of them for the tests.
sub start_services {
    my ($self) = @_;
    require FCGI;
    $self->start_service($_) for @SERVICES;
}

sub start_service {
    my ($self, $service) = @_;
    my $socket = FCGI::OpenSocket("$self->{run}/$service/fcgi.sock", 64);
    chmod 0777, "$self->{run}/$service/fcgi.sock";
    $self->{fcgi_pids}{$service} = [map { $self->child("$service.log", sub { $self->serve_fcgi($service, $socket) }) } 1 .. ($service eq 'public_api' ? 16 : 4)];
}

sub stop_service {
    my ($self, $service) = @_;
    for my $pid (@{ delete $self->{fcgi_pids}{$service} }) { kill 'KILL', $pid; waitpid $pid, 0 }
    unlink "$self->{run}/$service/fcgi.sock";
}

sub note_call {
    my ($self, $name) = @_;
    open my $f, '>>', "$self->{dir}/calls" or die;
    flock $f, LOCK_EX;
    print $f "$name\n";
    close $f;
}

# How often a plugin was asked for a path since the start.
sub calls {
    my ($self, $name) = @_;
    return 0 if !-f "$self->{dir}/calls";
    return scalar grep { $_ eq $name } split /\n/, slurp("$self->{dir}/calls");
}

# What the gateway reported of activity since the start, one hash a report.
sub reports {
    my ($self) = @_;
    my @reports = -f "$self->{dir}/reports" ? map { $JSON->decode($_) } split /\n/, slurp("$self->{dir}/reports") : ();
    return @reports;
}

# Whether a workspace is named in the reports after the first $n. Waits for three
# more in a row without it (one may be under way), so that a "no" is one and the
# next question a new one.
sub reported {
    my ($self, $id, $n) = @_;
    my ($found, $quiet);
    my $now = $self->reports;
    wait_for("reports after $n", sub {
        my @reports = $self->reports;
        ($found, $quiet) = (undef, 0);
        for my $i ($n .. $#reports) {
            my ($use) = grep { $_->{workspaceId} eq $id } @{ $reports[$i]{body}{workspaces} };
            $found //= $use;
            $quiet = $use ? 0 : $quiet + ($i >= $now);
        }
        return $quiet > 2;
    });
    return $found;
}

sub serve_fcgi {
    my ($self, $service, $socket) = @_;
    my %env;
    my ($in, $out, $err) = (IO::Handle->new, IO::Handle->new, IO::Handle->new);
    my $request = FCGI::Request($in, $out, $err, \%env, $socket, FCGI::FAIL_ACCEPT_ON_INTR());
    while ($request->Accept >= 0) {
        my $path = $env{GITPOD_PATH} // '';
        $self->note_call("$service $path");
        my $length = $env{CONTENT_LENGTH} || 0;
        my $body = '';
        while (length $body < $length && read $in, my $piece, 65536) { $body .= $piece }
        if ($path =~ m{/Watch\w+$}) { watch($out, $request) }
        else { print $out $self->answer($service, $path, \%env, $body) }
        $request->Finish;
    }
}

# A stream that says something now and then, for as long as somebody listens.
sub watch {
    my ($out, $request) = @_;
    local $SIG{PIPE} = 'IGNORE';
    print $out "Status: 200 OK\r\nContent-Type: application/connect+json\r\n\r\n{}\n";
    for (1 .. 100) {
        $request->Flush;
        sleep 0.1;
        print $out "{}\n" or return;
    }
}

sub answer {
    my ($self, $service, $path, $env, $body) = @_;
    if ($path eq '/_internal/introspect') {
        my $known = "$self->{dir}/token-" . sha256_hex($env->{GITPOD_TOKEN} // '');
        sleep 0.3 if ($env->{GITPOD_TOKEN} // '') =~ /slow/;
        sleep 3 if ($env->{GITPOD_TOKEN} // '') =~ /hang/;
        return "Status: 401 Unauthorized\r\nContent-Type: application/json\r\n\r\n{}" if !-f $known;
        my $token = $JSON->decode(slurp($known));
        return "Status: 200 OK\r\nGitpod-User: $token->{user}\r\nGitpod-Token-Id: $token->{id}\r\nGitpod-Scopes: $token->{scopes}\r\n\r\n";
    }
    return 'Status: ' . ($env->{GITPOD_USER} eq $self->{owner} ? '204 No Content' : '403 Forbidden') . "\r\n\r\n" if $path eq '/_internal/administrator';
    if ($path eq '/_internal/redeem') {
        my $file = "$self->{dir}/code-" . sha256_hex($env->{GITPOD_CODE} // '');
        my $text = -f $file ? slurp($file) : '';
        my $spent = !unlink $file;
        my $code = $text ? $JSON->decode($text) : {};
        if ($spent || $code->{host} ne $env->{GITPOD_HOST} || $code->{nonce} ne sha256_hex($env->{GITPOD_NONCE})) {
            return "Status: 403 Forbidden\r\n\r\n";
        }
        my $token = $self->workspace_token(host => $code->{host}, sub => $code->{user}, ws => $code->{ws});
        return "Status: 200 OK\r\nGitpod-Workspace-Token: $token\r\nGitpod-Location: $code->{path}\r\nGitpod-User: $code->{user}\r\n\r\n";
    }
    if ($path eq '/api/handoff') {
        my %arg = map { my ($k, $v) = split /=/, $_, 2; $v =~ s/%([0-9A-Fa-f]{2})/chr hex $1/ge; ($k, $v) } split /&/, $env->{QUERY_STRING};
        my $code = 'c' . sha256_hex(rand() . $$ . time);
        $self->put_code($code, host => $arg{host}, nonce => $arg{nonce}, path => $arg{path}, user => $env->{GITPOD_USER}, ws => $env->{GITPOD_WORKSPACE});
        my $port = $self->{listeners} ? '' : ":$self->{port}";
        return "Status: 303 See Other\r\nLocation: $self->{scheme}://$arg{host}$port/_gitpod/handoff?code=$code\r\n\r\n";
    }
    if ($path eq '/api/login/link' && $env->{QUERY_STRING} =~ /^token=good-(\w+)/) {
        return "Status: 303 See Other\r\nLocation: /workspaces\r\nSet-Cookie: gp_session=" . $self->session_token(sid => "session-$1") . "; Path=/; HttpOnly\r\n\r\n";
    }
    if ($path =~ m{/ReportActivity$}) {
        return "Status: 503 Service Unavailable\r\nContent-Type: application/json\r\n\r\n{\"code\":\"unavailable\"}" if -e "$self->{dir}/no-reports";
        open my $f, '>>', "$self->{dir}/reports" or die;
        flock $f, LOCK_EX;
        print $f $JSON->encode({ caller => $env->{GITPOD_CALLER}, type => $env->{CONTENT_TYPE}, body => $JSON->decode($body) }), "\n";
        close $f;
        return "Status: 200 OK\r\nContent-Type: application/json\r\n\r\n{}";
    }
    if ($path =~ m{/StartWorkspace$}) {
        my $does = -f "$self->{dir}/start" ? slurp("$self->{dir}/start") : '';
        spew("$self->{dir}/started", $JSON->encode({ caller => $env->{GITPOD_CALLER}, body => $JSON->decode($body) }));
        sleep 20 if $does eq 'hang';
        return "Status: 429 Too Many Requests\r\nContent-Type: application/json\r\n\r\n$does" if $does;
        return "Status: 200 OK\r\nContent-Type: application/json\r\n\r\n" . $JSON->encode({ workspace => { id => 'x' x 20_000 } });
    }
    my %seen = (service => $service, body_length => length $body, params => { map { $_ => $env->{$_} } keys %$env });
    return "Status: 200 OK\r\nContent-Type: application/json\r\n\r\n" . $JSON->encode(\%seen);
}

sub put_code {
    my ($self, $code, %what) = @_;
    spew("$self->{dir}/code-" . sha256_hex($code), $JSON->encode(\%what));
}

sub put_token {
    my ($self, $token, %what) = @_;
    spew("$self->{dir}/token-" . sha256_hex($token), $JSON->encode({ user => $self->{owner}, id => 'token-1', scopes => '*', %what }));
}

sub drop_token { my ($self, $token) = @_; unlink "$self->{dir}/token-" . sha256_hex($token) }

# ---- routes and revocations, as their writers publish them ----

sub route {
    my ($self, $id, %member) = @_;
    my $record = $JSON->encode({
        version => ++$self->{version}, id => $id, instance => '33333333-3333-4333-8333-333333333333', phase => 'running',
        admission => 'owner', owner => $self->{owner}, owner_token_sha256 => sha256_hex("owner-token-of-$id"), ports => [], %member,
    });
    $self->redis('HSET', 'gitpod:routes', $id, $record);
    $self->redis('PUBLISH', 'gitpod:routes:changes', $record);
    return $self->host($id);
}

sub revoke {
    my ($self, $kind, $id, $epoch) = @_;
    $epoch //= int time;
    $self->redis('HSET', 'gitpod:revocations', "$kind:$id", $epoch);
    $self->redis('PUBLISH', 'gitpod:revocations:changes', $JSON->encode({ kind => $kind, id => $id, epoch => $epoch }));
}

sub host { my ($self, $id) = @_; return "$id.$self->{workspace_domain}" }
sub owner_token { my ($self, $id) = @_; return "owner-token-of-$id" }

# A workspace with something listening on its ports; waits until it is routed.
sub workspace {
    my ($self, $id, %member) = @_;
    my $ports = delete $member{listen} // [22999, 23000, 3000];
    my $address = $member{address} //= free_address();
    $self->{workspace_pids}{$id} = [map { $self->serve_workspace($id, $address, $_) } @$ports];
    my $host = $self->route($id, %member);

    # 503 for the unknown: not all was read from Redis yet
    wait_for('the first sync', sub { $self->get($self->host('no-such-one'), '/')->{status} != 503 });
    wait_for("the route of $id", sub { $self->routed($id) });
    return $host;
}

# Has the gateway a route? Only its log tells strangers apart who ask for one
# that is there and one that is not: the tests' configuration shows its reason.
sub routed {
    my ($self, $id) = @_;
    return ($self->get($self->host($id), '/', 'X-Gitpod-Owner-Token' => 'none')->{headers}{'x-test-reason'} // '') ne 'unknown workspace';
}

sub serve_workspace {
    my ($self, $id, $address, $port) = @_;
    my $listener = IO::Socket::INET->new(Listen => 64, LocalAddr => $address, LocalPort => $port, ReuseAddr => 1) or die "$address:$port: $!";
    return $self->child("workspace.log", sub {
        $SIG{CHLD} = 'IGNORE';
        my $n = 0;
        while (1) {
            my $c = $listener->accept // next;
            $n++;
            next if fork;
            close $listener; # the port dies with the one that accepts
            eval { workspace_connection($c, "$id:$port", $n) };
            POSIX::_exit(0);
        }
    });
}

# HTTP/1.1 as small as it can be: echoes what arrived.
sub workspace_connection {
    my ($c, $name, $n) = @_;
    my $buffer = '';
    my $fill = sub { my $got = sysread $c, $buffer, 65536, length $buffer; return $got };
    while (1) {
        while ($buffer !~ /\r\n\r\n/) { $fill->() or return }
        $buffer =~ s/^(.*?)\r\n\r\n//s;
        my ($line, @lines) = split /\r\n/, $1;
        my ($method, $uri) = split / /, $line;
        my @headers = map { [split /: */, $_, 2] } @lines;
        my %header = map { lc $_->[0] => $_->[1] } @headers;

        if (lc($header{upgrade} // '') eq 'websocket' && $uri !~ m{^/status/}) {
            my $accept = sha1_base64(($header{'sec-websocket-key'} // '') . '258EAFA5-E914-47DA-95CA-C5AB0DC85B11') . '=';    # RFC 6455 1.3
            print $c "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: $accept\r\n",
                "Set-Cookie: gp_workspace=evil\r\n\r\n";
            $c->flush;
            syswrite $c, $buffer if length $buffer;
            while (sysread $c, my $piece, 65536) { syswrite $c, $piece }
            return;
        }

        # an answer that does not come
        if ($uri =~ /\?hold/) {
            while (sysread $c, my $rest, 65536) { }
            return;
        }

        my ($length, $first) = (0, 0);
        if (defined $header{'content-length'}) {
            my $want = $header{'content-length'};
            if ($uri eq '/early') {
                while (!length $buffer) { $fill->() or return }
                print $c "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nearly";
                $c->flush;

                # closing with bytes unread would reset the connection
                while (sysread $c, my $rest, 65536) { }
                return;
            }
            while ($length < $want) {
                if (!length $buffer) { $fill->() or return }
                my $take = $want - $length;
                $take = length $buffer if $take > length $buffer;
                substr $buffer, 0, $take, '';
                $length += $take;
            }
        }
        if (lc($header{'transfer-encoding'} // '') eq 'chunked') {
            while (1) {
                while ($buffer !~ /^([0-9a-fA-F]+)\r\n/) { $fill->() or return }
                $buffer =~ s/^([0-9a-fA-F]+)\r\n//;
                my $size = hex $1;
                while (length $buffer < $size + 2) { $fill->() or return }
                substr $buffer, 0, $size + 2, '';
                $length += $size;
                last if !$size;
                last if $uri eq '/first-chunk'; # answers while the rest is still under way
            }
        }
        if ($uri eq '/events') {
            print $c "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n9\r\ndata: 1\n\n\r\n";
            $c->flush;
            while ($fill->()) { } # and says no more
            return;
        }
        my @extra;
        push @extra, 'X-Accel-Redirect: /_gitpod/errors/json' if $uri =~ m{^/x-accel};
        if ($uri =~ m{^/set-cookie\?(.*)}) {
            push @extra, map { s/%([0-9A-F]{2})/chr hex $1/ger } map { "Set-Cookie: $_" } split /&/, $1;
        }
        my $body = $JSON->encode({ name => $name, connection => $n, method => $method, uri => $uri, headers => \@headers, body_length => $length });
        my $status = $uri =~ m{^/status/(\d+)} ? $1 : 200;
        print $c join "\r\n", "HTTP/1.1 $status X", 'Content-Type: application/json', 'Content-Length: ' . length $body, @extra, '', $body;
        $c->flush;
    }
}

# ---- the client ----

# request($host, $method, $path, [name => value, ...], body): status, headers
# (lower case => value, several joined by "\n"), body. Nothing is added but Host.
sub request {
    my ($self, $host, $method, $path, $headers, $body) = @_;
    return $self->response($self->send($host, $method, $path, $headers, $body), $method);
}

# The same without waiting: response() reads the answer from what it returns.
sub send {
    my ($self, $host, $method, $path, $headers, $body) = @_;
    my $s = $self->{unix} ? IO::Socket::UNIX->new(Peer => $self->{unix}) : IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $self->{port});
    die "cannot connect: $!" if !$s;
    $s->autoflush(1);
    my @lines = ("$method $path HTTP/1.1");
    push @lines, "Host: $host" if defined $host;
    my @pairs = @{ $headers // [] };
    while (my ($name, $value) = splice @pairs, 0, 2) { push @lines, "$name: $value" }
    push @lines, 'Content-Length: ' . length $body if defined $body;
    push @lines, 'Connection: close' if !grep { /^connection:/i } @lines;
    local $SIG{PIPE} = 'IGNORE';
    print $s join("\r\n", @lines), "\r\n\r\n", $body // '';
    return $s;
}

# Sends a request and returns its connection, for response() later.
sub send_request {
    my ($self, $host, $method, $path, $headers, $body) = @_;
    my $s = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $self->{port}) or die "cannot connect: $!";
    my @lines = ("$method $path HTTP/1.1", "Host: $host");
    my @pairs = @{ $headers // [] };
    while (my ($name, $value) = splice @pairs, 0, 2) { push @lines, "$name: $value" }
    push @lines, 'Content-Length: ' . length $body if defined $body;
    print {$s} join("\r\n", @lines), "\r\n\r\n", $body // '';
    $s->flush;
    return $s;
}

# Whether nothing has come on a connection for so many seconds.
sub silent {
    my ($s, $seconds) = @_;
    return !IO::Select->new($s)->can_read($seconds // 0.2);
}

sub response {
    my ($self, $s, $method) = @_;
    my $text = '';
    my $end = time + DEADLINE_S;
    my $select = IO::Select->new($s);
    my $more = sub {
        my $left = $end - time;
        die "no answer within " . DEADLINE_S . " s\n" if $left <= 0 || !$select->can_read($left);
        return sysread $s, $text, 65536, length $text;
    };
    while ($text !~ /\r\n\r\n/) { $more->() or return { status => 0, headers => {}, body => $text } }
    $text =~ s/^(.*?)\r\n\r\n//s;
    my ($line, @lines) = split /\r\n/, $1;
    my %headers;
    for (@lines) {
        my ($name, $value) = split /: */, $_, 2;
        $headers{ lc $name } = defined $headers{ lc $name } ? $headers{ lc $name } . "\n" . $value : $value;
    }
    my ($status) = $line =~ /^HTTP\/1\.[01] (\d+)/;
    return { status => $status, headers => \%headers, socket => $s, rest => $text, body => '' } if $status == 101;
    my $body = '';
    if (($headers{'transfer-encoding'} // '') eq 'chunked') {
        while (1) {
            while ($text !~ /^([0-9a-fA-F]+)\r\n/) { $more->() or last }
            last if $text !~ s/^([0-9a-fA-F]+)\r\n//;
            my $size = hex $1;
            while (length $text < $size + 2) { $more->() or last }
            $body .= substr $text, 0, $size;
            substr $text, 0, $size + 2, '';
            last if !$size;
        }
    } elsif ($method ne 'HEAD') {
        my $length = $headers{'content-length'};
        while (!defined $length || length $text < $length) { $more->() or last }
        $body = $text;
    }
    my $json = ($headers{'content-type'} // '') =~ m{^application/json} ? eval { $JSON->decode($body) } : undef;
    return { status => $status, headers => \%headers, body => $body, json => $json };
}

sub get { my ($self, $host, $path, @headers) = @_; return $self->request($host, 'GET', $path, \@headers) }
sub browse { my ($self, $host, $path, @headers) = @_; return $self->get($host, $path, Accept => 'text/html,*/*;q=0.8', @headers) }
sub post { my ($self, $host, $path, $body, @headers) = @_; return $self->request($host, 'POST', $path, [@headers], $body) }
sub upgrade { my ($self, $host, $path, @headers) = @_; return $self->request($host, 'GET', $path, ['Connection' => 'Upgrade', 'Upgrade' => 'websocket', @headers]) }
sub origin { my ($self, $host) = @_; return "$self->{scheme}://$host:$self->{port}" }

# A sample of /metrics, by its name with labels; undef also while nginx starts.
sub metric {
    my ($self, $name) = @_;
    local $self->{port} = $self->{probe_port};
    my $r = eval { $self->get('127.0.0.1', '/metrics') } // { body => '' };
    return $r->{body} =~ /^\Q$name\E ([0-9.eE+-]+)$/m ? $1 : undef;
}

# Headers that the program behind the gateway saw, lower case => values.
sub seen {
    my ($response) = @_;
    my %seen;
    for (@{ ($response->{json} // {})->{headers} // [] }) { push @{ $seen{ lc $_->[0] } }, $_->[1] }
    return \%seen;
}

1;
