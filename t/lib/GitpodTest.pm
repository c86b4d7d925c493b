package GitpodTest;

# Stock nginx with the module and a configuration of the test's own, a private
# Redis, helper programs: all in one temporary directory, all gone at the end.
# (GitpodGateway.pm is the same with the templates of conf/nginx.)
#
#   my $t = GitpodTest->new(http => '...', redis => 1);
#   $t->start;
#   my $r = $t->get('/ready');               # { status, headers, body, json }
#   $t->finish;                              # asserts and done_testing
#
# In configurations %%DIR%%, %%PORT%% and %%REDIS%% are filled in.

use strict;
use warnings;

use Cwd qw(abs_path);
use File::Basename qw(dirname);
use File::Path qw(remove_tree);
use File::Temp qw(tempdir);
use IO::Select;
use IO::Socket::INET;
use IO::Socket::UNIX;
use JSON::PP;
use POSIX qw(:sys_wait_h);
use Socket qw(PF_INET SOCK_STREAM SOL_SOCKET SO_REUSEADDR INADDR_ANY pack_sockaddr_in unpack_sockaddr_in);
use Test::More;
use Time::HiRes qw(time sleep);

use constant DEADLINE_S => 20;
use constant ANSWER_MAX => 4 << 20;

our $TOP = abs_path(dirname(__FILE__) . '/../..');
our $JSON = JSON::PP->new->canonical->utf8;

my @running;

# http: text inside http {}; main: text before it; workers; redis => 1: start one.
sub new {
    my ($class, %option) = @_;
    my $self = bless {
        workers => 2, http => '', main => '', level => 'info', redis => 0,
        %option,
        pid => $$, children => {},
    }, $class;
    $self->{dir} = tempdir('gtXXXXXX', DIR => '/tmp');
    chmod 0755, $self->{dir};
    mkdir "$self->{dir}/$_" for qw(redis temp html);
    $self->{port} = free_port();
    $self->{redis_socket} = "$self->{dir}/redis/redis.sock";
    push @running, $self;
    $self->start_redis if $self->{redis};
    return $self;
}

# Ports of this test: nobody else gets one, no connection starts from one, until
# it ends. A socket that is bound and does not listen keeps it, and lets servers
# listen there that set SO_REUSEADDR, as all do.
my @kept;

# One that is free, or the port named; undef when somebody has it.
sub keep_port {
    my ($port) = @_;
    socket my $s, PF_INET, SOCK_STREAM, 0 or die "socket: $!";
    bind $s, pack_sockaddr_in($port // 0, INADDR_ANY) or return undef;

    # not before: it would be bound beside another that is kept
    setsockopt $s, SOL_SOCKET, SO_REUSEADDR, 1 or die "SO_REUSEADDR: $!";
    push @kept, $s;
    return (unpack_sockaddr_in(getsockname $s))[0];
}

sub free_port { return keep_port() // die "no port: $!" }

# The first of n ports in a row that nobody has, below those of workspaces (22999
# and up) and those that the kernel gives to connections (ip_local_port_range).
sub free_range {
    my ($n) = @_;
    my $before = @kept;
    for (1 .. 100) {
        my $first = 10_000 + int rand(11_000);
        return $first if !grep { !keep_port($_) } $first .. $first + $n - 1;
        $#kept = $before - 1;
    }
    die "no $n ports in a row are free";
}

sub spew {
    my ($file, $text) = @_;
    open my $f, '>', "$file.new" or die "$file: $!";
    print $f $text;
    close $f or die "$file: $!";
    rename "$file.new", $file or die "$file: $!";
}

sub slurp {
    my ($file) = @_;
    open my $f, '<', $file or return '';
    local $/;
    return <$f> // '';
}

# Polls until the code gives something true; dies after the deadline.
sub wait_for {
    my ($what, $code, $deadline) = @_;
    my $end = time + ($deadline // DEADLINE_S);
    while (time < $end) {
        my $got = $code->();
        return $got if $got;
        sleep 0.01;
    }
    die "waited in vain for $what\n";
}

# ---- processes ----

# Forks; the code's output goes to DIR/NAME.log. Returns the pid.
sub daemon {
    my ($self, $name, $code) = @_;
    my $pid = fork // die "fork: $!";
    if (!$pid) {
        @running = ();
        $SIG{TERM} = 'DEFAULT';
        open STDIN, '<', '/dev/null';
        open STDOUT, '>>', "$self->{dir}/$name.log" or POSIX::_exit(1);
        open STDERR, '>&', \*STDOUT;
        eval { $code->(); 1 } or print STDERR $@;
        POSIX::_exit(0);
    }
    $self->{children}{$pid} = $name;
    return $pid;
}

sub reap {
    my ($self, $pid, $signal) = @_;
    kill $signal, $pid;
    waitpid $pid, 0;
    delete $self->{children}{$pid};
}

sub start_redis {
    my ($self, @more) = @_;
    unlink $self->{redis_socket};
    my @command = ('redis-server', '--port', 0, '--unixsocket', $self->{redis_socket}, '--save', '', '--appendonly', 'no',
        '--dir', "$self->{dir}/redis", '--daemonize', 'no', @more);
    $self->{redis_pid} = $self->daemon('redis', sub { exec @command or die "redis-server: $!" });
    wait_for('Redis', sub { IO::Socket::UNIX->new(Peer => $self->{redis_socket}) });
    delete $self->{redis_connection};
}

sub stop_redis {
    my ($self) = @_;
    $self->reap(delete $self->{redis_pid}, 'KILL') if $self->{redis_pid};
    delete $self->{redis_connection};
    unlink $self->{redis_socket};
}

# One command; its answer as a Perl value.
sub redis_command {
    my ($self, @words) = @_;
    my $s = $self->{redis_connection} //= IO::Socket::UNIX->new(Peer => $self->{redis_socket}) // die "Redis: $!";
    print $s '*' . @words . "\r\n", map { '$' . length($_) . "\r\n$_\r\n" } @words;
    return redis_answer($s);
}

sub redis_answer {
    my ($s) = @_;
    my $line = <$s> // die "Redis closed\n";
    $line =~ s/\r\n\z//;
    my $kind = substr $line, 0, 1, '';
    die "Redis: $line\n" if $kind eq '-';
    return $line if $kind eq '+' || $kind eq ':';
    return undef if $line < 0;
    return [map { redis_answer($s) } 1 .. $line] if $kind eq '*';
    read $s, my $text, $line + 2;
    return substr $text, 0, $line;
}

# ---- nginx ----

sub module {
    my $name = $ENV{SANITIZE} ? 'module-asan' : 'module';
    my @found = grep { -f } $ENV{GITPOD_MODULE} // '', ($ENV{BUILD} // '') . "/$name/ngx_http_gitpod_module.so",
        "$TOP/build/$name/ngx_http_gitpod_module.so";
    return $found[0] // die "no ngx_http_gitpod_module.so: set BUILD to the build directory\n";
}

sub fill {
    my ($self, $text) = @_;
    my %value = (DIR => $self->{dir}, PORT => $self->{port}, REDIS => "unix:$self->{redis_socket}", TOP => $TOP);
    $text =~ s/%%([A-Z]+)%%/$value{$1} \/\/ die "unknown %%$1%%"/ge;
    return $text;
}

sub write_conf {
    my ($self) = @_;
    my $temp = join '', map { "    ${_}_temp_path $self->{dir}/temp/$_;\n" } qw(client_body proxy fastcgi uwsgi scgi);
    spew("$self->{dir}/nginx.conf", $self->fill(<<"X"));
load_module @{[ module() ]};
user root;
worker_processes $self->{workers};
pid %%DIR%%/nginx.pid;
error_log %%DIR%%/error.log $self->{level};
$self->{main}
events { worker_connections 512; }
http {
    access_log off;
$temp
$self->{http}
}
X
}

sub nginx_environment {
    return () if slurp(module()) !~ /__asan_init/;
    my $libraries = join ' ', map { chomp(my $l = `gcc -print-file-name=$_.so`); $l } 'libasan', 'libubsan';
    return (LD_PRELOAD => $libraries, ASAN_OPTIONS => 'detect_leaks=0', UBSAN_OPTIONS => 'print_stacktrace=1');
}

# What nginx -t says about this configuration.
sub check_conf {
    my ($self) = @_;
    $self->write_conf;
    local %ENV = (%ENV, nginx_environment());
    my $text = `/usr/sbin/nginx -t -e stderr -c '$self->{dir}/nginx.conf' 2>&1`;
    return { ok => $? == 0, text => $text };
}

sub start {
    my ($self) = @_;
    $self->write_conf;
    $self->{nginx_pid} = $self->daemon('nginx', sub {
        local %ENV = (%ENV, nginx_environment());
        exec '/usr/sbin/nginx', '-e', "$self->{dir}/error.log", '-c', "$self->{dir}/nginx.conf", '-g', 'daemon off;' or die "nginx: $!";
    });
    eval {
        wait_for('nginx', sub {
            die "nginx ended\n" if waitpid($self->{nginx_pid}, WNOHANG) != 0;
            IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $self->{port});
        });
        1;
    } or BAIL_OUT("nginx did not start: " . slurp("$self->{dir}/nginx.log") . $self->error_log);
}

# Worker pids, those of an older configuration too.
sub workers {
    my ($self) = @_;
    my @pids;
    for my $stat (glob '/proc/[0-9]*/stat') {
        my $text = slurp($stat) or next;
        my ($pid, $name, $state, $parent) = $text =~ /^(\d+) \((.*)\) (\S) (\d+)/ or next;
        push @pids, $pid if $parent == $self->{nginx_pid} && $state ne 'Z';
    }
    return @pids;
}

sub gone { my ($pid) = @_; return slurp("/proc/$pid/stat") !~ /^\d+ \(.*\) [^ZX]/ }

# Reloads, and returns when no worker of the old configuration is left.
sub reload {
    my ($self) = @_;
    my @old = $self->workers;
    $self->write_conf;
    kill 'HUP', $self->{nginx_pid};
    wait_for('the old workers to end', sub { !grep { !gone($_) } @old });
    wait_for('the new workers', sub { $self->workers >= $self->{workers} });
}

sub error_log { my ($self) = @_; return slurp("$self->{dir}/error.log") }

# ---- HTTP ----

# Sends bytes, reads until the other side closes (or the deadline).
sub raw {
    my ($self, $text, $port) = @_;
    my $s = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $port // $self->{port}) or return '';
    local $SIG{PIPE} = 'IGNORE';
    print $s $text;
    $s->flush;
    my ($answer, $end, $select) = ('', time + DEADLINE_S, IO::Select->new($s));
    while (time < $end && length $answer < ANSWER_MAX) {
        next if !$select->can_read(0.5);
        last if !sysread $s, $answer, 65536, length $answer;
    }
    return $answer;
}

sub get {
    my ($self, $path, %headers) = @_;
    $headers{Host} //= '127.0.0.1';
    $headers{Connection} //= 'close';
    return parse($self->raw("GET $path HTTP/1.1\r\n" . join('', map { "$_: $headers{$_}\r\n" } sort keys %headers) . "\r\n"));
}

sub parse {
    my ($text) = @_;
    my ($head, $body) = split /\r\n\r\n/, $text, 2;
    my %r = (status => 0, headers => {}, body => $body // '', raw => $text);
    ($r{status}) = ($head // '') =~ m{^HTTP/1\.[01] (\d+)} or return \%r;
    $r{headers}{ lc $1 } = $2 while $head =~ /^([\w-]+): *(.*?)\r?$/mg;
    $r{json} = eval { $JSON->decode($r{body}) };
    return \%r;
}

# A sample of /metrics, by its name with labels.
sub metric {
    my ($self, $name) = @_;
    my $text = $self->get('/metrics')->{body};
    return $text =~ /^\Q$name\E ([0-9.eE+-]+)$/m ? $1 : undef;
}

# ---- end ----

# allow => qr/.../: alerts that the test provokes.
sub stop {
    my ($self, %option) = @_;
    return if $self->{stopped}++;
    my @workers = $self->{nginx_pid} ? $self->workers : ();
    if ($self->{nginx_pid} && $self->{children}{ $self->{nginx_pid} }) {
        kill 'QUIT', $self->{nginx_pid};
        my $end = time + 10;
        while (time < $end && waitpid($self->{nginx_pid}, WNOHANG) == 0) { sleep 0.01 }
        $self->reap($self->{nginx_pid}, 'KILL');
    }
    my @stray = grep { !gone($_) } @workers;
    is("@stray", '', 'no worker is left');
    kill 'KILL', @stray if @stray;
    $self->reap($_, 'KILL') for keys %{ $self->{children} };
    my @bad = grep { /\[(?:alert|crit|emerg)\]|Sanitizer|runtime error/ } split /\n/, $self->error_log . slurp("$self->{dir}/nginx.log");
    @bad = grep { !/$option{allow}/ } @bad if $option{allow};
    is("@bad", '', 'nginx logged no alert, and no sanitizer spoke');
    if ($ENV{GITPOD_KEEP}) { diag("kept $self->{dir}") }
    else { remove_tree($self->{dir}) }
}

sub finish { my ($self, %option) = @_; $self->stop(%option); done_testing() }

END {
    my $status = $?;
    for my $self (grep { $_->{pid} == $$ && !$_->{stopped} } @running) {
        kill 'TERM', $self->{nginx_pid} if $self->{nginx_pid};
        my $end = time + 2;
        while ($self->{nginx_pid} && time < $end && waitpid($self->{nginx_pid}, WNOHANG) == 0) { sleep 0.02 }
        $self->reap($_, 'KILL') for keys %{ $self->{children} };
        diag($self->error_log);
        remove_tree($self->{dir}) unless $ENV{GITPOD_KEEP};
    }
    $? = $status;
}

1;
