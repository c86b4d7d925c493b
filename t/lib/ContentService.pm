package ContentService;

# The content plugin with state, socket and peers of its own, under a uid that
# has the capabilities build.sh gives it and nothing else. Ends what it started.

use strict;
use warnings;

use Cwd qw(abs_path);
use FastCgi;
use File::Basename qw(dirname);
use File::Path qw(make_path);
use File::Temp qw(tempdir);
use IPC::Open2;
use JSON::PP;
use Time::HiRes qw(sleep time);

our $TOP = abs_path(dirname(__FILE__) . '/../..');
our $BUILD = $ENV{BUILD} // "$TOP/build";
our $UID = 64871;   # of the service; nobody's on Debian
our $BASE = 65536 * (3000 + $$ % 20000); # of workspaces: each test its own, so that it finds its own processes
our $USER = '11111111-1111-4111-8111-111111111111';
our $N = 0;

sub new {
    my ($class, %arg) = @_;
    my $dir = tempdir('gpcXXXXXX', DIR => '/tmp');
    chmod 0755, $dir;
    my $self = bless { dir => $dir, pid => $$, option => $arg{option} // {}, kids => [] }, $class;
    make_path("$dir/run/content", "$dir/run/gateway/content", "$dir/state/content", "$dir/git");
    if ($arg{disk}) {
        system('mount', '-t', 'tmpfs', '-o', "size=$arg{disk},mode=711", 'tmpfs', "$dir/state/content") == 0 or die "mount: $?";
        $self->{mounted} = 1;
    }
    chown $UID, $UID, "$dir/run/content", "$dir/state/content";
    chmod 0711, "$dir/state/content";
    $self->{git_port} = $self->kid('python3', "$TOP/t/lib/git_server.py", "$dir/git", 'ada:s3cret-t0ken');
    $self->tokens('');
    $self->kid('python3', "$TOP/t/service/content_auth.py", "$dir/run/gateway/content/gateway.sock", "$dir/tokens");
    $self->start;
    return $self;
}

# A program that prints a line when it is ready and ends with its standard input.
sub kid {
    my ($self, @command) = @_;
    my $pid = open2(my $out, my $in, @command);
    chomp(my $line = <$out> // die "@command did not start\n");
    push @{ $self->{kids} }, { pid => $pid, in => $in, out => $out };
    return $line;
}

sub tokens {
    my ($self, $text) = @_;
    open my $fh, '>', "$self->{dir}/tokens" or die $!;
    print $fh $text;
    close $fh;
}

sub host { "127.0.0.1:$_[0]{git_port}" }
sub url { my ($self, $path) = @_; return "http://" . $self->host . "/$path" }
sub socket { "$_[0]{dir}/run/content/fcgi.sock" }
sub place { my ($self, $id) = @_; return "$self->{dir}/state/content/$id" }

sub start {
    my ($self) = @_;
    my $caps = '-all,+chown,+dac_override,+fowner,+setuid,+setgid,+kill';
    my %option = (run => "$self->{dir}/run", state => "$self->{dir}/state", domain => 'gp.localhost', 'workspace-domain' => 'ws-gp.localhost',
        port => 8080, %{ $self->{option} });
    my $pid = fork // die "fork: $!";
    if ($pid == 0) {
        open STDIN, '<', '/dev/null';
        open STDOUT, '>>', "$self->{dir}/log";
        open STDERR, '>&', \*STDOUT;
        umask 0007;
        my @sanitizers = map { "$_=$ENV{$_}" } grep { defined $ENV{$_} } qw(ASAN_OPTIONS UBSAN_OPTIONS LSAN_OPTIONS);
        exec 'env', '-i', 'PATH=/usr/bin:/bin', @sanitizers, 'setpriv', '--reuid', $UID, '--regid', $UID, '--clear-groups', '--inh-caps', $caps,
            '--ambient-caps', $caps, "$BUILD/c/plugins/content/content", map { ("--$_", $option{$_}) } sort keys %option;
        die "exec: $!";
    }
    $self->{service} = $pid;
    my $end = time + 10;
    until (FastCgi->connect($self->socket)) {
        die "content did not start: " . $self->log if time > $end || waitpid($pid, 1) == $pid;
        sleep 0.01;
    }
}

sub stop {
    my ($self, $signal) = @_;
    kill $signal // 'TERM', $self->{service};
    waitpid $self->{service}, 0;
    return delete $self->{service};
}

sub log {
    my ($self) = @_;
    open my $fh, '<', "$self->{dir}/log" or return '';
    local $/;
    return scalar <$fh>;
}

sub param {
    my ($method, $type) = @_;
    return { GITPOD_PATH => "/gitpod.internal.v1.ContentService/$method", CONTENT_TYPE => $type, GITPOD_CALLER => 'ws_manager' };
}

# A unary call: decoded answer.
sub call {
    my ($self, $method, $message) = @_;
    my $answer = FastCgi->call($self->socket, param($method, 'application/json'), encode_json($message));
    return decode_json($answer->{body});
}

sub request {
    my ($self, %arg) = @_;
    my %git = (remoteUri => $self->url('site.git'), checkoutLocation => 'site', %{ $arg{git} // {} });
    return { workspaceId => $arg{id} // 'site-' . ++$N, instanceId => $arg{instance} // sprintf('00000000-0000-4000-8000-%012d', ++$N),
        userId => $USER, uidBase => $arg{base} // $BASE, git => \%git };
}

# Begins InitializeWorkspace; the connection.
sub begin {
    my ($self, $request) = @_;
    my $c = FastCgi->connect($self->socket) or die "connect: $!";
    my $body = encode_json($request);
    $c->send_raw($c->request_bytes({ REQUEST_METHOD => 'POST', %{ param('InitializeWorkspace', 'application/connect+json') } },
            pack('CN', 0, length $body) . $body));
    return $c;
}

# Waits for the first message, which stays to be read.
sub first {
    my ($self, $c) = @_;
    my $record = $c->next_record;
    $c->{in} = FastCgi::record(@$record) . $c->{in};
}

# The whole of a stream: { messages, error }.
sub finish {
    my ($self, $c) = @_;
    my $answer = $c->answer or return { messages => [], error => { code => 'connection' } };
    my ($body, @messages, $error) = ($answer->{body});
    while (length $body >= 5) {
        my ($flag, $len) = unpack 'CN', $body;
        my $doc = decode_json(substr $body, 5, $len);
        substr $body, 0, 5 + $len, '';
        if ($flag & 2) { $error = $doc->{error} } else { push @messages, $doc }
    }
    $error //= eval { decode_json($answer->{body}) } if !@messages && ($answer->{status} // 200) != 200;
    return { messages => \@messages, error => $error, result => @messages ? $messages[-1]{result} : undef };
}

sub init {
    my ($self, %arg) = @_;
    local $FastCgi::DEADLINE = $arg{deadline} // 30;
    return $self->finish($self->begin($self->request(%arg)));
}

sub DESTROY {
    my ($self) = @_;
    return unless $self->{pid} == $$;
    local ($?, $!);
    $self->stop('KILL') if $self->{service};
    for my $kid (@{ $self->{kids} }) {
        close $kid->{in};
        waitpid $kid->{pid}, 0;
    }
    system 'umount', "$self->{dir}/state/content" if $self->{mounted};
    system 'rm', '-rf', $self->{dir};
}

1;
