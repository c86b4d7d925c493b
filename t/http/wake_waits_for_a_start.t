# gitpod_wake: programs that may enter a workspace which starts wait until it
# runs, bounded in time and number; people get the start page.
use strict;
use warnings;
use Test::More;
use Time::HiRes qw(time);
use GitpodGateway;

my $wake = 'wait=30s start';
my $g = GitpodGateway->new(edit => sub {
    my ($name, $text) = @_;
    $text =~ s/gitpod_wake [^;]*;/gitpod_wake $wake;/ if $name eq 'nginx_workspace.conf';
    return $text;
});
my $id = 'amber-fox-k3j9x2m1';
my $address = GitpodGateway::free_address();
my @ports = (ports => [{ port => 3000, visibility => 'public', protocol => 'http' }]);
my $host = $g->workspace($id, listen => [22999, 23000, 3000], address => $address, @ports);
my @owner = ('x-gitpod-owner-token' => $g->owner_token($id));

sub cookie { my ($h, %claim) = @_; return (Cookie => 'gp_workspace=' . $g->workspace_token(host => $h, ws => $id, %claim)) }
sub answer { return $g->response($_[0], 'GET') }

# A change of the route, and until it is seen: one between running and not.
sub phase {
    my ($phase, @more) = @_;
    $g->route($id, @ports, phase => $phase, $phase eq 'running' ? (address => $address) : (), @more);
    my $seen = $phase eq 'running' ? 200 : 503;
    GitpodGateway::wait_for("phase $phase", sub { $g->get("3000-$host", '/')->{status} == $seen });
}

GitpodGateway::wait_for('revocations', sub { $g->get($host, '/', cookie($host))->{status} == 200 });

# who waits, and who does not
phase('creating');
my $token = $g->send_request($host, 'GET', '/token', \@owner);
my $fetch = $g->send_request($host, 'GET', '/fetch', [cookie($host), 'Sec-Fetch-Mode' => 'cors']);
my $web_socket = $g->send_request($host, 'GET', '/ws', [cookie($host), Origin => $g->origin($host), Upgrade => 'websocket', Connection => 'Upgrade']);
my $port = $g->send_request("3000-$host", 'GET', '/port', \@owner);
my $body = $g->send_request($host, 'POST', '/body', \@owner, 'b' x 300_000);
my $page = $g->browse($host, '/', cookie($host));
is($page->{status}, 302, 'a person is sent');
like($page->{headers}{location}, qr{/start/#$id$}, 'to the start page');
is($g->get($host, '/')->{status}, 401, 'a stranger does not wait');
is($g->get($host, '/', cookie($host, sub => $g->{other}))->{status}, 404, 'nor does somebody else');
is($g->get("3000-$host", '/')->{status}, 503, 'nor a visitor of a public port');
is($g->get($host, '/_supervisor/v1/status/ide')->{status}, 503, 'nor who asks for the status');
is($g->get($host, '/_supervisor/v1/status/content', @owner)->{status}, 503, 'with a token either: clients poll');
is($g->upgrade($host, '/', cookie($host), Origin => 'http://evil.test')->{status}, 403, 'a foreign page\'s WebSocket is refused as ever');
phase('initializing');
ok(GitpodClient::silent($_), 'who may enter waits') for $token, $fetch, $web_socket, $port, $body;

my $from = time;
phase('running', instance => '55555555-5555-4555-8555-555555555555');
is(answer($token)->{json}{uri}, '/token', 'when it runs, the owner token\'s request goes on');
is(answer($fetch)->{json}{uri}, '/fetch', 'a script\'s');
is(answer($port)->{json}{uri}, '/port', 'a port\'s');
is(answer($web_socket)->{status}, 101, 'a WebSocket\'s');
is(answer($body)->{json}{body_length}, 300_000, 'and a body comes whole');
cmp_ok(time - $from, '<', 3, 'at once');

# who leaves, and whose right goes
phase('creating');
close $g->send_request($host, 'GET', '/left', \@owner);
GitpodGateway::wait_for('the one that left', sub { $g->metrics =~ /^gitpod_wakes_total\{outcome="gone"\} 1$/m });
ok(1, 'a client that leaves ends its request');
my $revoked = $g->send_request($host, 'GET', '/', [cookie($host, sid => 'session-9')]);
my $held = $g->send_request($host, 'GET', '/held', \@owner);
ok(GitpodClient::silent($held), 'two wait');
$g->revoke(session => 'session-9');
my ($old) = $g->worker_pids;
kill 'HUP', $g->{nginx_pid};
GitpodGateway::wait_for('a new worker', sub { grep { $_ != $old } $g->worker_pids });
phase('running');
is(answer($revoked)->{status}, 401, 'a right that was taken away meanwhile is not good any more');
is(answer($held)->{json}{uri}, '/held', 'a reload does not end the wait of others');
GitpodGateway::wait_for('the old worker\'s end', sub { !grep { $_ == $old } $g->worker_pids });

# a start that fails
phase('creating');
my $failed = $g->send_request($host, 'GET', '/', \@owner);
ok(GitpodClient::silent($failed), 'one waits');
phase('stopped');
my $r = answer($failed);
is($r->{status}, 503, 'a start that fails is 503');
like($r->{json}{message}, qr/did not start.*dashboard says why/, 'and says so');
ok($r->{headers}{'retry-after'}, 'with Retry-After');
is($g->calls('ws_manager /gitpod.internal.v1.WorkspaceManagerService/StartWorkspace'), 0, 'nothing is started anew behind its back');

# bounds
$wake = 'wait=1s waiters=3';
$g->reload;
phase($_) for 'running', 'creating';
my @waiting = map { $g->send_request($host, 'GET', "/$_", \@owner) } 1 .. 3;
ok(GitpodClient::silent($_, 0.05), 'as many wait as may') for @waiting;
$r = $g->get($host, '/', @owner);
is($r->{status}, 503, 'one more does not');
like($r->{json}{message}, qr/too many wait/, 'and is told');
$from = time;
$r = answer($waiting[0]);
is($r->{status}, 503, 'who has waited long enough');
like($r->{json}{message}, qr/still starting/, 'is told');
ok($r->{headers}{'retry-after'}, 'with Retry-After');
ok($g->metrics =~ /^gitpod_wakes_total\{outcome="late"\} [1-3]$/m, 'and counted');

$wake = 'off';
$g->reload;
is($g->get($host, '/', @owner)->{status}, 503, 'off: nobody waits');

my %reason = map { $_->{reason} => 1 } $g->access_log;
ok($reason{$_}, "the log has the reason '$_'") for 'not running in time', 'start failed', 'too many wait';

$g->finish;
