package GitpodServices;

# The services behind a GitpodGateway: a FastCGI program that answers as auth
# does, takes what ws_manager takes, and echoes.

use strict;
use warnings;

use Digest::SHA qw(sha256_hex);
use Fcntl qw(:flock);
use GitpodTest ();
use JSON::PP;
use Time::HiRes qw(time sleep);

our @SERVICES = qw(auth public_api ws_manager content ide);
my $JSON = JSON::PP->new->canonical->utf8;

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
    return scalar grep { $_ eq $name } split /\n/, GitpodTest::slurp("$self->{dir}/calls");
}

# What the gateway reported of activity since the start, one hash a report.
sub reports {
    my ($self) = @_;
    my @reports = -f "$self->{dir}/reports" ? map { $JSON->decode($_) } split /\n/, GitpodTest::slurp("$self->{dir}/reports") : ();
    return @reports;
}

# Whether a workspace is named in the reports after the first $n. Waits for three
# more in a row without it (one may be under way), so that a "no" is one and the
# next question a new one.
sub reported {
    my ($self, $id, $n) = @_;
    my ($found, $quiet);
    my $now = $self->reports;
    GitpodGateway::wait_for("reports after $n", sub {
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
        my $token = $JSON->decode(GitpodTest::slurp($known));
        return "Status: 200 OK\r\nGitpod-User: $token->{user}\r\nGitpod-Token-Id: $token->{id}\r\nGitpod-Scopes: $token->{scopes}\r\n\r\n";
    }
    return 'Status: ' . ($env->{GITPOD_USER} eq $self->{owner} ? '204 No Content' : '403 Forbidden') . "\r\n\r\n" if $path eq '/_internal/administrator';
    if ($path eq '/_internal/redeem') {
        my $file = "$self->{dir}/code-" . sha256_hex($env->{GITPOD_CODE} // '');
        my $text = -f $file ? GitpodTest::slurp($file) : '';
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
        my $does = -f "$self->{dir}/start" ? GitpodTest::slurp("$self->{dir}/start") : '';
        GitpodTest::spew("$self->{dir}/started", $JSON->encode({ caller => $env->{GITPOD_CALLER}, body => $JSON->decode($body) }));
        sleep 20 if $does eq 'hang';
        return "Status: 429 Too Many Requests\r\nContent-Type: application/json\r\n\r\n$does" if $does;
        return "Status: 200 OK\r\nContent-Type: application/json\r\n\r\n" . $JSON->encode({ workspace => { id => 'x' x 20_000 } });
    }
    my %seen = (service => $service, body_length => length $body, params => { map { $_ => $env->{$_} } keys %$env });
    return "Status: 200 OK\r\nContent-Type: application/json\r\n\r\n" . $JSON->encode(\%seen);
}

sub put_code {
    my ($self, $code, %what) = @_;
    GitpodTest::spew("$self->{dir}/code-" . sha256_hex($code), $JSON->encode(\%what));
}

sub put_token {
    my ($self, $token, %what) = @_;
    GitpodTest::spew("$self->{dir}/token-" . sha256_hex($token), $JSON->encode({ user => $self->{owner}, id => 'token-1', scopes => '*', %what }));
}

sub drop_token { my ($self, $token) = @_; unlink "$self->{dir}/token-" . sha256_hex($token) }

1;
