#!/usr/bin/perl
# With Redis, the engine, databases and every service killed, somebody who is
# signed in goes on: editor, port and WebSocket of a running workspace, after a
# full restart of nginx and through a binary upgrade. Nothing has to be repaired
# when the rest comes back.
use strict;
use warnings;
use lib 't/lib';
use IO::Socket::INET;
use JSON::PP;
use MIME::Base64 qw(decode_base64url);
use Test::More;
use Time::HiRes qw(time);
use GitpodSystem;

my $s = GitpodSystem->new;
my %env = %{ $s->{env} };
my $git = $s->git_server;
$s->git_repository('acme/a', { 'a' => "a\n" });
my $id = $s->create("$git/acme/a.git");
$s->wait_phase($id, 'PHASE_RUNNING');
my $token = $s->owner_token($id);
my $container = $s->container($id);
$s->inside($id, 'mkdir -p /workspace/web && echo from-port > /workspace/web/index.html; cd /workspace/web; (setsid python3 -m http.server 8000 >/dev/null 2>&1 &)');

# A person: the log-in link, then the hand-off on both hosts, with a jar of cookies.
my $jar = "$s->{dir}/cookies";
sub visit {
    my ($url) = @_;
    return $s->http(url => $url, timeout => 20, headers => ['Accept: text/html,*/*;q=0.8', 'Sec-Fetch-Mode: navigate', 'Sec-Fetch-Dest: document'],
        curl => ['-b', $jar, '-c', $jar, '-L', '-o', '/dev/null', '-w', "HTTP/1.1 %{http_code} \r\n\r\n%{url_effective}"]);
}
is(visit($s->{link})->{status}, 200, 'somebody signs in');
is(visit($s->workspace_url($id))->{status}, 200, 'and opens the editor');
sub session_id { my ($jwt) = map { /\tgp_session\t(\S+)/ } lines($jar) or return ''; return decode_json(decode_base64url((split /\./, $jwt)[1]))->{sid} }
my $sid = session_id();
my (undef, $link) = $s->build_sh('login-link');
is(visit($link =~ s/\s//gr)->{status}, 200, 'and uses another link');
is(session_id(), $sid, 'which is no second session, whose log-out would leave the first one\'s editors open');
ok($s->wait_for(20, 'the port', sub { my $url = $s->workspace_url($id, 8000); $url && visit($url)->{status} == 200 }), 'and a port');
my ($editor, $port) = map { $s->workspace_url($id, $_) } undef, 8000;
my $cookie = $s->{mode} eq 'port' ? 'gp_workspace_' . $s->gateway_port($id) : 'gp_workspace';
my ($session) = map { (split /\t/)[6] =~ s/\n//r } grep { /\t$cookie\t/ && /\Q$s->{workspace_domain}\E/ && !/8000-/ } lines($jar);
ok($session, 'the workspace host has a cookie of its own');

sub lines { my ($file) = @_; open my $f, '<', $file or return; return <$f> }

# The editor's own WebSocket: 101, or what else the gateway says.
sub websocket {
    my $c = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $s->gateway_port($id), Timeout => 5) or return 'no connection';
    print $c join "\r\n", 'GET /?reconnectionToken=11111111-1111-4111-8111-111111111111&reconnection=false&skipWebSocketFrames=false HTTP/1.1',
        'Host: ' . $s->address($id), 'Connection: Upgrade', 'Upgrade: websocket', 'Sec-WebSocket-Version: 13',
        'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==', "Origin: http://" . $s->address($id), "Cookie: $cookie=$session", '', '';
    my $line = <$c> // '';
    return $line =~ /^HTTP\/1\.1 (\d+)/ ? $1 : "'$line'";
}

sub goes_on {
    my ($when) = @_;
    is(visit($editor)->{status}, 200, "$when: the editor opens");
    my $r = visit($port);
    is("$r->{status} $r->{body}", "200 $port", "$when: the port opens, without a detour");
    is(websocket(), 101, "$when: a WebSocket of the editor opens");
    is($s->workspace_http($id, '/healthz', owner_token => $token)->{status}, 200, "$when: the owner token opens it");
    is($s->workspace_http($id, '/_supervisor/v1/status/supervisor', owner_token => $token)->{status}, 200, "$when: the supervisor answers");
    is($s->workspace_http('amber-fox-k3j9x2m1', '/', owner_token => $token)->{status}, 503, "$when: what is not known is to be tried again");
    is($s->http(url => "$s->{url}/workspaces")->{status}, 200, "$when: the dashboard is there");
}

# ---- Redis alone dies: gateways share it, and none may leave its load balancer for that ----
sub ready { my ($query) = @_; return $s->http(url => "http://127.0.0.1:$env{GITPOD_PROBE_PORT}/ready" . ($query // ''), timeout => 3) }
system("sv -w 20 force-stop $env{GITPOD_RUN}/sv/redis >/dev/null");
ok($s->wait_for(20, 'the check', sub { ready('?verbose')->{body} =~ /"redis":\{"status":"(?!ok)/ }), 'the check of Redis fails') or diag ready('?verbose')->{body};
my ($until, $ready) = (time + 12, 1); # a check of a service fails within 3 rounds of 2 s
while ($ready && time < $until) { $ready = ready()->{status} == 200; select undef, undef, undef, 0.2 }
ok($ready, '/ready stays 200') or diag ready('?verbose')->{body};

# ---- everything behind the gateway dies, and stays dead ----
my @dead = qw(ws_manager public_api auth content ide redis engine);
system("sv -w 20 force-stop $env{GITPOD_RUN}/sv/$_ >/dev/null") for @dead;
ok(!grep({ $s->service_pid($_) } @dead), 'nothing but nginx runs');
ok($s->wait_for(10, 'the loss', sub { $s->workspace_http('amber-fox-k3j9x2m1', '/', owner_token => $token)->{status} == 503 }), 'the gateway knows that it may lack something');
goes_on('without a control plane');

my $before = $s->service_pid('nginx');
system("sv -w 40 restart $env{GITPOD_RUN}/sv/nginx >/dev/null");
ok($s->wait_for(20, 'nginx', sub { ($s->service_pid('nginx') // $before) != $before && $s->http(url => "$s->{url}/", timeout => 2)->{status} == 200 }), 'nginx is another process');
goes_on('after a full restart of nginx');
is($s->http(url => "http://127.0.0.1:$env{GITPOD_PROBE_PORT}/startup")->{status}, 200, 'it calls itself started');

# ---- a binary upgrade; nginx takes USR2 as a daemon only, not below runit ----
system("sv -w 40 force-stop $env{GITPOD_RUN}/sv/nginx >/dev/null");
unlink glob "$env{GITPOD_RUN}/gateway/*/gateway.sock";
sub master { my ($pid) = lines("$env{GITPOD_RUN}/nginx/nginx.pid"); chomp $pid if $pid; return $pid || 0 }
my $log = "$s->{dir}/nginx.log";
is(system("/usr/sbin/nginx -e $log -c $env{GITPOD_RUN}/conf/nginx.conf -g 'error_log $log notice;' >/dev/null 2>$log.out"), 0, 'nginx runs as a daemon');
my $old = $s->wait_for(10, 'the master', sub { master() }) // 0;
kill 'USR2', $old if $old;
my $new = $s->wait_for(20, 'the new master', sub { my $pid = master(); $pid && $pid != $old && $pid }) // 0;
kill 'QUIT', $old if $old && $new;
ok($s->wait_for(60, 'the old master to end', sub { !kill 0, $old }), 'the new binary is alone');
goes_on('after a binary upgrade');
kill 'QUIT', $new if $new;
$s->wait_for(60, 'it to end', sub { !kill 0, $new });

# ---- and back ----
system("sv start $env{GITPOD_RUN}/sv/$_ >/dev/null") for 'nginx', reverse @dead;
ok($s->wait_for(60, 'ready', sub { ready()->{status} == 200 }), 'all is ready when the rest is back');
is($s->phase($id), 'PHASE_RUNNING', 'the workspace runs');
is($s->container($id), $container, 'in the same container');
is(visit($editor)->{status}, 200, 'and its editor opens');
is($s->rpc('StopWorkspace', { workspaceId => $id })->{status}, 200, 'it can be stopped');
$s->wait_phase($id, 'PHASE_STOPPED');
$s->down;
done_testing();
