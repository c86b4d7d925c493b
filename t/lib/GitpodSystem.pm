package GitpodSystem;

# An instance of the whole product for one test: own state, ports, network,
# started and stopped by build.sh as an operator would. Everything is real.

use strict;
use warnings;

use Cwd qw(abs_path);
use File::Basename qw(dirname);
use File::Temp qw(tempdir);
use IO::Socket::INET;
use IPC::Open2;
use JSON::PP;
use POSIX qw(:sys_wait_h);
use Test::More ();
use Time::HiRes qw(time sleep);
use GitpodTest ();

use constant LISTENERS => 24; # of mode port

our $TOP = abs_path(dirname(__FILE__) . '/../..');

sub free_port { return GitpodTest::free_port() }

# mode: host or port; TEST_MODE of the environment when it is not said.
sub new {
    my ($class, %arg) = @_;
    # Short: a unix socket's path has 107 bytes (unix(7)).
    my $dir = tempdir('gptXXXXXX', DIR => '/tmp', CLEANUP => 0);
    chmod 0755, $dir;
    my $self = bless { dir => $dir, pids => [], owner => $$ }, $class;
    my $port = $arg{port} // free_port();
    my $mode = $arg{mode} // $ENV{TEST_MODE} // 'host';
    my $first = $mode eq 'port' ? GitpodTest::free_range(LISTENERS) : 0;
    $self->{env} = {
        GITPOD_STATE => $arg{state} // "$dir/state",
        GITPOD_RUN => "$dir/run",
        GITPOD_PORT => $port,
        GITPOD_PROBE_PORT => free_port(),
        GITPOD_DOMAIN => "gp$port.localhost",
        ($mode eq 'port' ? (GITPOD_MODE => 'port', GITPOD_PORT_RANGE => $first . '-' . ($first + LISTENERS - 1)) : ()),
        %{ $arg{env} // {} },
    };
    $self->{mode} = $mode;
    $self->{domain} = $self->{env}{GITPOD_DOMAIN};
    $self->{workspace_domain} = $self->{env}{GITPOD_WORKSPACE_DOMAIN} // "ws-$self->{domain}";
    # no workspace has this id, nor this listener
    $self->{address}{'amber-fox-k3j9x2m1'}{0} = "$self->{workspace_domain}:" . ($first + LISTENERS - 1) if $mode eq 'port';
    $self->{scheme} = $self->{env}{GITPOD_TLS_CERTIFICATE} ? 'https' : 'http';
    $self->{url} = "$self->{scheme}://$self->{domain}:$port";
    $self->up unless $arg{no_up};
    return $self;
}

# build.sh with this instance's environment; returns (exit code, output).
sub build_sh {
    my ($self, @args) = @_;
    local %ENV = (%ENV, %{ $self->{env} });
    # CI's standard input may be closed.
    my $cmd = join ' ', map { "'" . s/'/'\\''/gr . "'" } "$TOP/build.sh", @args;
    my $out = qx($cmd 2>&1 </dev/null);
    return ($? >> 8, $out);
}

sub up {
    my ($self) = @_;
    my ($rc, $out) = $self->build_sh('up');
    if ($rc != 0) {
        Test::More::diag($out);
        $self->logs;
        Test::More::BAIL_OUT("build.sh up failed") if $ENV{GITPOD_BAIL};
        die "build.sh up failed with $rc\n";
    }
    $self->{up_output} = $out;
    ($self->{link}) = $out =~ m{(https?://\S+login/link\?token=\S+)};
    return $out;
}

sub token {
    my ($self) = @_;
    $self->{token} //= do {
        my ($rc, $out) = $self->build_sh('token');
        $rc == 0 or die "build.sh token: $out";
        chomp $out;
        $out;
    };
    return $self->{token};
}

# curl with a deadline: returns { status, headers, body }.
sub http {
    my ($self, %arg) = @_;
    my @cmd = ('curl', '-sS', '-i', '-m', $arg{timeout} // 60, '--path-as-is', '-X', $arg{method} // 'GET');
    push @cmd, '-H', $_ for @{ $arg{headers} // [] };
    push @cmd, '--http1.1', '-H', 'Expect:';
    my $body;
    if (defined $arg{body}) {
        $body = "$self->{dir}/body.$$." . int(rand 1e9);
        open my $fh, '>', $body or die $!;
        binmode $fh;
        print $fh $arg{body};
        close $fh;
        push @cmd, '--data-binary', "\@$body";
    }
    push @cmd, @{ $arg{curl} // [] }, $arg{url};
    open my $pipe, '-|', @cmd or die "curl: $!";
    binmode $pipe;
    local $/;
    my $text = <$pipe> // '';
    close $pipe;
    my $rc = $? >> 8;
    unlink $body if $body;
    return { status => 0, headers => '', body => '', curl => $rc } if $text eq '';
    $text =~ s{\AHTTP/1\.1 100.*?\r\n\r\n}{}s;
    my ($head, $rest) = split /\r\n\r\n/, $text, 2;
    my ($status) = $head =~ m{\AHTTP/\S+ (\d+)};
    return { status => $status // 0, headers => $head, body => $rest // '', curl => $rc };
}

# A Connect call with the token; returns { status, data }. Over a limit it does
# what the answer says: waits and tries again.
sub rpc {
    my ($self, $method, $message, %arg) = @_;
    my $package = $method =~ /^gitpod\./ ? '' : 'gitpod.v1.WorkspaceService/';
    my @auth = exists $arg{token} ? (defined $arg{token} ? ("Authorization: Bearer $arg{token}") : ()) : ('Authorization: Bearer ' . $self->token);
    my $r;
    for my $try (1 .. 10) {
        $r = $self->http(method => 'POST', url => "$self->{url}/public-api/$package$method", body => encode_json($message // {}),
            headers => [ 'Content-Type: application/json', @auth, @{ $arg{headers} // [] } ], timeout => $arg{timeout} // 60);
        last if $r->{status} != 429 || $r->{headers} !~ /^retry-after: (\d+)/mi;
        sleep $1;
    }
    $r->{data} = eval { decode_json($r->{body}) };
    return $r;
}

sub create {
    my ($self, $url, %arg) = @_;
    my $r = $self->rpc('CreateAndStartWorkspace', { contextUrl => { url => $url }, metadata => $arg{metadata} // {} });
    die "CreateAndStartWorkspace: $r->{status} $r->{body}\n" unless $r->{status} == 200;
    return $r->{data}{workspace}{id};
}

sub workspace {
    my ($self, $id) = @_;
    return $self->rpc('GetWorkspace', { workspaceId => $id })->{data}{workspace};
}

sub phase {
    my ($self, $id) = @_;
    my $w = $self->workspace($id) or return 'PHASE_UNSPECIFIED';
    return $w->{status}{phase}{name} // 'PHASE_UNSPECIFIED';
}

# Waits until the workspace is in one of the phases; returns it, or dies with what it last was.
sub wait_phase {
    my ($self, $id, $phases, $seconds) = @_;
    my $end = time + ($seconds // 60);
    my $w;
    while (time < $end) {
        $w = $self->workspace($id);
        my $phase = $w ? $w->{status}{phase}{name} // '' : '';
        return $w if grep { $_ eq $phase } ref $phases ? @$phases : $phases;
        # A running wait that became a failure will not get there.
        last if $phase eq 'PHASE_STOPPED' && ($w->{status}{conditions}{failed} // '') ne '' && !grep { /STOPPED/ } (ref $phases ? @$phases : $phases);
        select undef, undef, undef, 0.1;
    }
    die sprintf "workspace %s is not %s within %s s: %s\n", $id, (ref $phases ? join('/', @$phases) : $phases), $seconds // 60,
        encode_json($w->{status} // {});
}

sub wait_for {
    my ($self, $seconds, $what, $code) = @_;
    my $end = time + $seconds;
    while (time < $end) {
        my $v = $code->();
        return $v if $v;
        select undef, undef, undef, 0.1;
    }
    Test::More::diag("not within $seconds s: $what");
    return;
}

sub owner_token {
    my ($self, $id) = @_;
    return $self->rpc('GetWorkspaceOwnerToken', { workspaceId => $id })->{data}{ownerToken};
}

# Where an editor or a port of it is, as "host:port"; in mode port what the API says, or '' while it says nothing.
sub address {
    my ($self, $id, $port) = @_;
    return ($port ? "$port-" : '') . "$id.$self->{workspace_domain}:$self->{env}{GITPOD_PORT}" if $self->{mode} eq 'host';
    return $self->{address}{$id}{ $port // 0 } ||= do {
        my $w = $self->workspace($id) // {};
        my ($url) = $port ? map { $_->{url} // '' } grep { $_->{port} == $port } @{ $w->{spec}{ports} // [] } : $w->{status}{workspaceUrl};
        ($url // '') =~ m{^$self->{scheme}://(\Q$self->{workspace_domain}\E:\d+)/$} ? $1 : '';
    };
}

sub workspace_url { my ($self, $id, $port) = @_; my $address = $self->address($id, $port); return $address ? "$self->{scheme}://$address/" : '' }

# The port of the gateway that serves it.
sub gateway_port { my ($self, $id, $port) = @_; return ($self->address($id, $port) =~ /:(\d+)$/)[0] }

# A request to a workspace host with its owner token.
sub workspace_http {
    my ($self, $id, $path, %arg) = @_;
    my $address = $self->address($id, $arg{port}) or return { status => 0, headers => '', body => '' };
    my $token = exists $arg{owner_token} ? $arg{owner_token} : $self->owner_token($id);
    return $self->http(url => "$self->{scheme}://$address$path",
        headers => [ defined $token ? "x-gitpod-owner-token: $token" : (), @{ $arg{headers} // [] } ], map { $_ => $arg{$_} } grep { exists $arg{$_} } qw(method body timeout));
}

sub podman {
    my ($self, @args) = @_;
    local %ENV = (%ENV, CONTAINERS_CONF => "$self->{env}{GITPOD_RUN}/conf/containers.conf",
        CONTAINERS_STORAGE_CONF => "$self->{env}{GITPOD_RUN}/conf/storage.conf");
    open my $pipe, '-|', 'podman', @args or die "podman: $!";
    local $/;
    my $out = <$pipe>;
    close $pipe;
    return ($? >> 8, $out // '');
}

# The container's id of a workspace, and a command inside it as gitpod.
sub container {
    my ($self, $id) = @_;
    my ($rc, $out) = $self->podman('ps', '-q', '--filter', "label=gitpod.workspace=$id");
    my ($c) = split /\n/, $out;
    return $c;
}

sub inside {
    my ($self, $id, $script, %arg) = @_;
    my $c = $self->container($id) or return (255, 'no container');
    return $self->podman('exec', '-u', $arg{user} // '33333', $c, 'bash', '-c', "exec 2>&1; $script");
}

sub service_pid {
    my ($self, $service) = @_;
    open my $fh, '<', "$self->{env}{GITPOD_RUN}/sv/$service/supervise/pid" or return;
    chomp(my $pid = <$fh> // '');
    return $pid || undef;
}

# A git server with a repository made from { path => content }; returns its base URL.
sub git_server {
    my ($self, $auth) = @_;
    my $root = "$self->{dir}/git";
    mkdir $root;
    my $pid = open2(my $out, my $in, 'python3', "$TOP/t/lib/git_server.py", $root, $auth // ());
    chomp(my $port = <$out>);
    $self->{git} = { pid => $pid, in => $in, out => $out, root => $root, url => "http://127.0.0.1:$port" };
    return $self->{git}{url};
}

sub git_repository {
    my ($self, $name, $files, %arg) = @_;
    my $root = $self->{git}{root};
    my $work = "$self->{dir}/work-" . $name =~ tr{/}{-}r;
    my $git = "git -c user.name=Test -c user.email=test\@example.com -c init.defaultBranch=main";
    system("$git init -q --bare -b main $root/$name.git && $git init -q -b main $work") == 0 or die;
    for my $path (sort keys %$files) {
        system('mkdir', '-p', dirname("$work/$path"));
        open my $fh, '>', "$work/$path" or die "$path: $!";
        binmode $fh;
        print $fh $files->{$path};
        close $fh;
    }
    system("cd $work && $git add -A && $git commit -q --allow-empty -m first && $git push -q $root/$name.git main") == 0 or die;
    for my $b (@{ $arg{branches} // [] }) {
        system("cd $work && $git checkout -q -b $b && echo $b > branch.txt && $git add -A && $git commit -q -m $b && $git push -q $root/$name.git $b && $git checkout -q main") == 0 or die;
    }
    system("cd $work && $git tag $_ && $git push -q $root/$name.git $_") for @{ $arg{tags} // [] };
    chomp(my $commit = qx(cd $work && git rev-parse HEAD));
    return $commit;
}

sub logs {
    my ($self) = @_;
    for my $f (glob "$self->{env}{GITPOD_STATE}/log/*/current") {
        my $tail = qx(tail -n 25 '$f' | cut -c1-400);
        Test::More::diag("--- $f\n$tail") if $tail ne '';
    }
}

# Stops everything and asserts that nothing of ours is left. allow: alerts that the test provokes.
sub down {
    my ($self, %option) = @_;
    return if $self->{is_down}++;
    my ($rc, $out) = $self->build_sh('down');
    Test::More::is($rc, 0, 'build.sh down works') or Test::More::diag($out);
    if ($self->{git}) {
        close $self->{git}{in};
        waitpid $self->{git}{pid}, 0;
    }
    my $state = $self->{env}{GITPOD_STATE};
    # What a test killed is no finding: nginx says [alert] for its worker and [crit] for the socket of a service that restarts.
    my $alerts = qx(grep -hE '\\[(alert|emerg|crit)\\]|AddressSanitizer|runtime error:' $state/log/*/current $state/log/nginx/*.log 2>/dev/null | grep -vE 'exited on signal 9|connect\\(\\) to unix:');
    $alerts = join '', grep { !/$option{allow}/ } split /^/m, $alerts if $option{allow};
    Test::More::is($alerts, '', 'no alert and no sanitizer report in the logs');
    my $left = join "\n", grep { !/build\.sh|prove|curl|pgrep/ } split /\n/, qx(pgrep -af '$self->{env}{GITPOD_RUN}/' 2>/dev/null);
    Test::More::is($left, '', 'no process of the instance is left');
    $self->logs unless Test::More->builder->is_passing;
}

sub remove {
    my ($self) = @_;
    return if $ENV{GITPOD_KEEP};
    system("mount | awk -v d='$self->{dir}/' 'index(\$3, d) == 1 {print \$3}' | sort -r | xargs -r -n1 umount -l 2>/dev/null");
    system('rm', '-rf', '--one-file-system', $self->{dir});
}

sub DESTROY {
    my ($self) = @_;
    return if $$ != $self->{owner};
    local ($?, $@);
    $self->build_sh('down') unless $self->{is_down};
    $self->remove;
}

1;
