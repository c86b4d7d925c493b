package WorkspaceRoot;

# A container without an engine: namespaces and a small root file system made of
# this machine's /usr, in which the supervisor is PID 1 and the workspace user
# is real. For tests of what runs inside a workspace.

use strict;
use warnings;

use Cwd qw(abs_path);
use File::Basename qw(dirname);
use File::Temp qw(tempdir);
use IO::Socket::UNIX;
use JSON::PP;
use Time::HiRes qw(time sleep);

our $TOP = abs_path(dirname(__FILE__) . '/../..');
our $BUILD = $ENV{BUILD} // "$TOP/build";
our $ADDRESS = '10.99.0.2';

my $SETUP = <<'SH';
set -e
R=$1
mount -t tmpfs -o mode=755 tmpfs "$R"
cd "$R"
mkdir -p usr proc dev/pts etc/sudoers.d home tmp run .supervisor .workspace ide/bin workspace var root
mount --bind /usr usr
mount -o remount,bind,ro usr
for d in bin sbin lib lib64; do ln -s "usr/$d" "$d"; done
mount -t proc proc proc
mount -t devpts -o newinstance,ptmxmode=666,mode=620 devpts dev/pts
ln -s pts/ptmx dev/ptmx
for f in null zero random urandom tty; do : > "dev/$f"; mount --bind "/dev/$f" "dev/$f"; done
cp /etc/ld.so.cache etc/ 2>/dev/null || true
printf 'root:x:0:0:root:/root:/bin/bash\n' > etc/passwd
printf 'root:x:0:\nsudo:x:27:gitpod\n' > etc/group
chmod 1777 tmp
chown 33333:33333 workspace
mount --bind "$2/workspace" workspace
mount --bind "$2/instance" .workspace
cp "$3/supervisor" "$3/gp" .supervisor/
cp "$2/editor" ide/bin/editor && chmod 755 ide/bin/editor
[ ! -f "$2/passwd" ] || cp "$2/passwd" etc/passwd
ip link set lo up
ip link add eth0 type veth peer name peer0
ip addr add 10.99.0.2/24 dev eth0
ip link set eth0 up
ip link set peer0 up
touch "$2/prepared"
exec chroot "$R" /.supervisor/supervisor init
SH

sub new {
    my ($class, %arg) = @_;
    my $dir = tempdir('gpwXXXXXX', DIR => '/tmp', CLEANUP => 0);
    my $self = bless { dir => $dir, owner => $$ }, $class;
    chmod 0755, $dir;
    mkdir "$dir/$_" for qw(root workspace instance);
    chown 33333, 33333, "$dir/workspace";
    $self->write('editor', $arg{editor} // "#!/bin/sh\nexec python3 -m http.server 23000\n");
    $self->write('passwd', $arg{passwd}) if $arg{passwd};
    my $checkout = "$dir/workspace/repo";
    mkdir $checkout;
    $self->write('workspace/repo/.gitpod.yml', $arg{yml}) if defined $arg{yml};
    $self->start(%arg) unless $arg{no_start};
    return $self;
}

sub write {
    my ($self, $name, $text) = @_;
    open my $fh, '>', "$self->{dir}/$name" or die "$name: $!";
    print $fh $text;
    close $fh or die "$name: $!";
    chown 33333, 33333, "$self->{dir}/$name" if $name =~ m{^workspace/};
}

sub start {
    my ($self, %arg) = @_;
    my $dir = $self->{dir};
    my %env = (
        PATH => '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
        GITPOD_WORKSPACE_ID => 'amber-fox-k3j9x2m1', GITPOD_INSTANCE_ID => '11111111-2222-4333-8444-555555555555',
        GITPOD_WORKSPACE_URL => 'http://amber-fox-k3j9x2m1.ws-gitpod.localhost:8080', GITPOD_IDE_COMMAND => '["/ide/bin/editor"]',
        GITPOD_IDE_PROBE => 'http://localhost:23000/', GITPOD_GIT_USER_NAME => 'Ada "Countess" Lovelace',
        GITPOD_GIT_USER_EMAIL => 'ada@example.com', %{ $arg{env} // {} },
    );
    unlink "$dir/prepared";
    my $pid = fork // die "fork: $!";
    if ($pid == 0) {
        open STDIN, '<', '/dev/null';
        open STDOUT, '>>', "$dir/log";
        open STDERR, '>&', \*STDOUT;
        exec 'env', '-i', (map { "$_=$env{$_}" } keys %env), 'unshare', '--pid', '--net', '--mount', '--uts', '--ipc', '--fork',
            '--kill-child', '--propagation', 'private', 'bash', '-c', $SETUP, 'setup', "$dir/root", $dir, "$BUILD/c/workspace";
        die "exec: $!";
    }
    $self->{unshare} = $pid;
    $self->until(10, sub { -e "$dir/prepared" }) or die "the root file system was not made: " . $self->log;
    chomp($self->{pid} = qx(pgrep -P $pid));
    return $self;
}

# The go signal, by rename as ws_manager gives it; after that the supervisor can be asked.
sub go {
    my ($self, $source) = @_;
    $self->until(10, sub { ($self->ask('/_supervisor/v1/status/supervisor'))[0] }) or die "the supervisor does not answer: " . $self->log;
    $self->write('ready.new', encode_json({ instance => 'i', source => $source // 'from-other', location => '/workspace/repo' }));
    rename "$self->{dir}/ready.new", "$self->{dir}/instance/ready.json" or die "ready.json: $!";
}

sub log {
    my ($self) = @_;
    open my $fh, '<', "$self->{dir}/log" or return '';
    local $/;
    return <$fh>;
}

sub until {
    my ($self, $seconds, $fn) = @_;
    my $end = time + $seconds;
    while (time < $end) {
        my $v = $fn->();
        return $v if $v;
        sleep 0.005;
    }
    return;
}

sub socket { return "/proc/$_[0]{pid}/root/run/gitpod/supervisor.sock" }

# (status, decoded body) over gp's socket.
sub ask {
    my ($self, $path, $method) = @_;
    local $SIG{PIPE} = 'IGNORE'; # one connection too many is closed before it is read
    my $s = IO::Socket::UNIX->new(Peer => $self->socket) or return (0, undef);
    print $s(($method // 'GET') . " $path HTTP/1.1\r\nHost: x\r\n\r\n");
    $s->flush;
    local $/;
    my $text = <$s> // '';
    return (0, undef) unless $text =~ m{^HTTP/1\.1 (\d+) .*?\r\n\r\n(.*)}s;
    my ($status, $body) = ($1, $2);
    return ($status, eval { decode_json($body) });
}

sub status {
    my ($self, $name) = @_;
    my (undef, $doc) = $self->ask("/_supervisor/v1/status/$name");
    return $doc;
}

sub sanitized {
    my ($self) = @_;
    open my $fh, '<:raw', "$BUILD/c/workspace/supervisor" or return 0;
    local $/;
    return <$fh> =~ /__asan_init/;
}

# A command inside, as root or as the workspace user; output.
sub inside {
    my ($self, $command, $user) = @_;
    my @as = $user ? ('setpriv', '--reuid', 33333, '--regid', 33333, '--clear-groups') : ();
    open my $fh, '-|', 'nsenter', '-t', $self->{pid}, '-n', '-p', '-m', '-r', '-w', @as, 'sh', '-c', "cd /; $command" or die "nsenter: $!";
    local $/;
    return <$fh> // '';
}

# SIGTERM as the engine sends it; seconds until all is gone, or undef.
sub stop {
    my ($self, $seconds) = @_;
    my $t = time;
    kill 'TERM', $self->{pid};
    my $end = time + ($seconds // 30);
    while (time < $end) {
        if (waitpid($self->{unshare}, 1) == $self->{unshare}) {
            delete $self->{unshare};
            return time - $t;
        }
        sleep 0.01;
    }
    return;
}

sub DESTROY {
    my ($self) = @_;
    return unless $self->{owner} == $$;
    local ($?, $!);
    if ($self->{unshare}) {
        kill 'KILL', $self->{pid} if $self->{pid};
        kill 'KILL', $self->{unshare};
        waitpid $self->{unshare}, 0;
    }
    # The log path of sanitizers is not inside: what they said is in its output.
    # (Test::More may be gone by now; a line too many makes the test fail as well.)
    my @said = grep { /Sanitizer|runtime error/ } split /\n/, $self->log // '';
    print "not ok - a sanitizer spoke in the supervisor: $said[0]\n", $self->log =~ s/^/# /mgr if @said;
    system 'rm', '-rf', $self->{dir};
}

1;
