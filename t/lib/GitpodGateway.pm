package GitpodGateway;

# The gateway as it runs: the templates of conf/nginx filled in, stock nginx
# with the module, a private Redis, real FastCGI programs and real HTTP servers
# behind it. Everything lives in one temporary directory and ends with it.

use strict;
use warnings;

use Cwd qw(abs_path);
use File::Basename qw(basename dirname);
use File::Path qw(make_path remove_tree);
use File::Temp qw(tempdir);
use IO::Socket::INET;
use IO::Socket::UNIX;
use JSON::PP;
use POSIX qw(:sys_wait_h);
use Test::More;
use Time::HiRes qw(time sleep);
use GitpodBalancer ();
use GitpodTest ();
use parent qw(GitpodClient GitpodKeys GitpodServices GitpodWorkspaces);

use constant DEADLINE_S => 15;

our $TOP = abs_path(dirname(__FILE__) . '/../..');
our $JSON = JSON::PP->new->canonical->utf8;

my @servers;

# new(%option): domain, workspace_domain, workers, start => 0 to wait with nginx,
# daemon => 1 to start nginx as one (else it ignores USR2),
# buffered_log => 1 to write the log as in production, level of the error log,
# limits => 1 to keep the figures of nginx_limits.conf.in,
# grpc => 1 for the port of gRPC in clear, tls => 1 for TLS with certificates
# of a CA of the test ({ca}, {certificate}, {workspace_certificate}),
# listeners => n for mode port with so many, from {listener} on; balancer => 1,
# or TEST_BALANCER of the environment, for HAProxy before those,
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
        balancer => $option{listeners} && $ENV{TEST_BALANCER},
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
    GitpodBalancer::ports($self) if $self->{balancer};
    $self->make_tls if $self->{tls};
    $self->{external} //= "$self->{scheme}://$self->{domain}:$self->{port}";
    make_path(map { "$self->{run}/$_" } 'conf', 'nginx', 'redis', 'instances', @GitpodServices::SERVICES,
        map { "gateway/$_" } @GitpodServices::SERVICES, 'admin', 'self');
    make_path(map { "$self->{state}/$_" } 'keys', 'secrets', 'log/nginx', 'redis');
    $self->dashboard;
    $self->{key} = $self->new_key('key-1');
    $self->write_keys($self->{key});
    $self->write_conf;
    $self->start_redis;
    $self->start_services;
    GitpodBalancer::start($self) if $self->{balancer};
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
    spew("$dir/errors/$_.html", "<!doctype html><title>Page $_</title>\n") for 400, 401, 404, 429, 502, 503, 'port', 'editor';
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
    my ($listen, $workspace_listen) = map { "$_$http2" } $self->{port}, $self->{listeners} ? "$self->{listener}-" . ($self->{listener} + $self->{listeners} - 1) : $self->{port};
    ($listen, $workspace_listen) = map { "$_$http2 proxy_protocol" } @$self{qw(gateway_port workspace_port)} if $self->{balancer};
    my %value = (
        MODE => $self->{listeners} ? 'port' : 'host', WORKSPACE_NAMES => $names, WORKSPACE_HTTP_NAMES => $self->{listeners} ? '' : $names,
        LISTEN => $listen, WORKSPACE_LISTEN => $workspace_listen, BALANCER => '127.0.0.1',
        RUN => $self->{run}, STATE => $self->{state}, ACCESS_LOG => "$self->{state}/log/nginx/access.log", PORT => $self->{port},
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
        next if $name =~ /^nginx_balancer/ && !$self->{balancer} || $name =~ /^nginx_tls/ && !$self->{tls} || $name =~ /^nginx_listeners/ && !$self->{listeners};
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
            IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $self->{gateway_port} // $self->{port}) && $self->worker_pids;
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

1;
