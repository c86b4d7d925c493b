package PluginRun;

# Plugins of one test: own directories, a real Redis, processes that are ended
# with the test. Each plugin is reached over its FastCGI socket.
use strict;
use warnings;
use FastCgi;
use File::Temp;
use FindBin;
use JSON::PP;
use Time::HiRes qw(sleep time);

our $BUILD = ($ENV{BUILD} // "$FindBin::Bin/../../build") . '/c/plugins';

sub new {
    my ($class) = @_;
    my $dir = File::Temp->newdir('gprXXXXXX', TMPDIR => 1);
    my $self = bless { dir => $dir, run => "$dir/run", state => "$dir/state", pid => {}, owner => $$ }, $class;
    mkdir $_ for $self->{run}, $self->{state}, map { "$self->{state}/$_" } qw(keys secrets redis);
    mkdir "$self->{state}/auth", 0700;
    mkdir $_ for map { "$self->{run}/$_" } qw(redis gateway);
    return $self;
}

sub wait_for {
    my ($self, $seconds, $what) = @_;
    my $until = time + $seconds;
    while (time < $until) {
        my $v = $what->();
        return $v if $v;
        sleep 0.02;
    }
    return;
}

sub spawn {
    my ($self, $name, @cmd) = @_;
    my $pid = fork // die "fork: $!";
    if (!$pid) {
        open STDOUT, '>>', "$self->{dir}/$name.log";
        open STDERR, '>&', \*STDOUT;
        exec @cmd or exit 127;
    }
    $self->{pid}{$name} = $pid;
    return $pid;
}

sub log {
    my ($self, $name) = @_;
    open my $fh, '<', "$self->{dir}/$name.log" or return '';
    local $/;
    return <$fh> // '';
}

# Starts a plugin and waits until it answers; dies with its log otherwise.
sub start {
    my ($self, $name, @args) = @_;
    mkdir "$self->{run}/$name";
    -x "$BUILD/$name/$name" or die "$BUILD/$name/$name is not built\n";
    my $pid = $self->spawn($name, "$BUILD/$name/$name", '--run', $self->{run}, '--state', $self->{state}, '--domain', 'gp.test',
        '--port', 8080, @args);
    my $ok = $self->wait_for(10, sub {
        waitpid($pid, 1) == $pid and die "$name ended:\n" . $self->log($name);
        FastCgi->connect($self->socket($name));
    });
    $ok or die "$name does not listen:\n" . $self->log($name);
}

sub socket { my ($self, $name) = @_; return "$self->{run}/$name/fcgi.sock" }

sub stop {
    my ($self, $name, $signal) = @_;
    my $pid = delete $self->{pid}{$name} or return;
    kill $signal // 'TERM', $pid;
    my $done = $self->wait_for(25, sub { waitpid($pid, 1) == $pid });
    my $status = $?;
    if (!$done) { kill 'KILL', $pid; waitpid $pid, 0; $status = -1 }
    return $status;
}

sub redis_start {
    my ($self) = @_;
    my $password = 'p' x 32;
    open my $fh, '>', "$self->{state}/secrets/redis-auth" or die $!;
    print $fh "$password\n";
    close $fh;
    open $fh, '>', "$self->{state}/redis/users.acl" or die $!;
    print $fh "user default on nopass ~* &* +\@all\n",
        "user auth on >$password ~gitpod:revocations ~gitpod:keys ~gitpod:flags &gitpod:* -\@all +\@connection +\@read +\@hash +\@string +publish +\@scripting +del\n";
    close $fh;
    $self->spawn('redis', 'redis-server', '--port', 0, '--unixsocket', "$self->{run}/redis/redis.sock", '--dir', "$self->{state}/redis", '--save', '',
        '--aclfile', "$self->{state}/redis/users.acl");
    $self->wait_for(10, sub { $self->redis('PING') eq 'PONG' }) or die "redis does not answer:\n" . $self->log('redis');
}

sub redis {
    my ($self, @cmd) = @_;
    open my $pipe, '-|', "redis-cli -s $self->{run}/redis/redis.sock " . join(' ', map { "'$_'" } @cmd) . ' 2>&1' or die $!;
    local $/;
    my $out = <$pipe> // '';
    close $pipe;
    $out =~ s{\n\z}{};
    return $out;
}

# A plain request: { status, headers, body } and header().
sub http {
    my ($self, $name, $method, $path, %param) = @_;
    my ($p, $q) = split /\?/, $path, 2;
    my $r = FastCgi->call($self->socket($name), { REQUEST_METHOD => $method, GITPOD_PATH => $p, QUERY_STRING => $q // '', %param }, delete $param{body} // '');
    $r->{header} = { map { lc $_->[0] => $_->[1] } @{ $r->{headers} } };
    return $r;
}

# A Connect call with JSON: ($data, $status).
sub rpc {
    my ($self, $name, $method, $message, %param) = @_;
    my $r = FastCgi->call($self->socket($name), { GITPOD_PATH => "/$method", CONTENT_TYPE => 'application/json', %param }, encode_json($message));
    return wantarray ? (decode_json($r->{body}), $r->{status}) : decode_json($r->{body});
}

sub sql {
    my ($self, $db, $text) = @_;
    open my $pipe, '-|', 'sqlite3', '-cmd', '.timeout 5000', "$self->{state}/$db", $text or die $!;
    local $/;
    my $out = <$pipe> // '';
    close $pipe;
    $out =~ s{\n\z}{};
    return $out;
}

sub DESTROY {
    my ($self) = @_;
    return if $$ != $self->{owner};
    local $?;
    for my $pid (values %{ $self->{pid} }) { kill 'KILL', $pid; waitpid $pid, 0 }
}

1;
