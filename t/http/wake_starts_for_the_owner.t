# gitpod_wake start: the owner's token starts a workspace, once on the whole
# machine, and the request goes on when it runs.
use strict;
use warnings;
use Test::More;
use GitpodGateway;

my $g = GitpodGateway->new(workers => 2);
my $id = 'amber-fox-k3j9x2m1';
my $address = GitpodGateway::free_address();
my $host = $g->workspace($id, listen => [23000], address => $address);
my @owner = ('x-gitpod-owner-token' => $g->owner_token($id));
my @cookie = (Cookie => 'gp_workspace=' . $g->workspace_token(host => $host, ws => $id));
my $instance = 10;

sub answer { return $g->response($_[0], 'GET') }
sub calls { return $g->calls('ws_manager /gitpod.internal.v1.WorkspaceManagerService/StartWorkspace') }
sub ask { return $g->send_request($host, 'GET', $_[0] // '/', \@owner) }

sub phase {
    my ($phase, @more) = @_;
    $g->route($id, phase => $phase, instance => "00000000-0000-4000-8000-0000000000$instance", $phase eq 'running' ? (address => $address) : (), @more);
    GitpodGateway::wait_for("phase $phase", sub { $g->get($host, '/', @cookie)->{status} == ($phase eq 'running' ? 200 : 503) }) if $phase =~ /^(?:running|stopped)$/;
}

GitpodGateway::wait_for('revocations', sub { $g->get($host, '/', @cookie)->{status} == 200 });

# once for all
phase('stopped');
is($g->get($host, '/', @cookie, 'Sec-Fetch-Mode' => 'cors')->{status}, 503, 'an old tab\'s request does not start it');
is($g->upgrade($host, '/', @cookie, Origin => $g->origin($host))->{status}, 503, 'nor its WebSocket');
is($g->get($host, '/_supervisor/v1/send_heartbeat', @owner)->{status}, 503, 'nor a heartbeat with the token');
is($g->browse($host, '/', @owner)->{status}, 302, 'nor a person, who has the start page');
is(calls(), 0, 'ws_manager was not asked');
my @waiting = map { ask("/$_") } 1 .. 12;
GitpodGateway::wait_for('the start', \&calls);
$instance++;
phase($_) for qw(preparing creating initializing);
ok(GitpodClient::silent($waiting[0]), 'requests wait while it starts');
phase('running');
is(answer($waiting[$_ - 1])->{json}{uri}, "/$_", "request $_ goes on") for 1 .. 12;
is(calls(), 1, 'it was started once for twelve requests of two workers');
is_deeply($GitpodGateway::JSON->decode(GitpodGateway::slurp("$g->{dir}/started")),
    { caller => 'gateway', body => { userId => $g->{owner}, workspaceId => $id } }, 'by the gateway, for the owner');

# one that is stopping
phase('stopping');
GitpodGateway::wait_for('stopping', sub { $g->get($host, '/', @cookie)->{status} == 503 });
my $s = ask('/again');
ok(GitpodClient::silent($s), 'a request waits for the end of a stop');
is(calls(), 1, 'before which nothing is started');
phase('stopped');
GitpodGateway::wait_for('the start', sub { calls() == 2 });
$instance++;
phase('running');
is(answer($s)->{json}{uri}, '/again', 'then it is, and the request goes on');

# one that comes and goes
phase('stopped');
$s = ask();
GitpodGateway::wait_for('the start', sub { calls() == 3 });
$instance++;
phase('stopped');
like(answer($s)->{json}{message}, qr/did not start/, 'a start that fails is told');
is(calls(), 3, 'and not tried again for the same request');

# refused
GitpodGateway::wait_for('the marker\'s end', sub { my $c = ask(); my $n = calls() > 3; close $c; $n });
$instance++;
phase('running');
phase('stopped');
GitpodGateway::spew("$g->{dir}/start", '{"code":"resource_exhausted","message":"There is no room: \"stop\" one"}');
my $r = GitpodGateway::wait_for('a refusal', sub { my $a = answer(ask()); ($a->{json}{message} // '') =~ /room/ && $a });
is($r->{status}, 503, 'what ws_manager refuses is 503');
is($r->{json}{message}, 'There is no room: stop one', 'in its words');
my $n = calls();
is(answer(ask())->{json}{message}, 'There is no room: stop one', 'again');
is(calls(), $n, 'without asking it at once');
like($g->error_log, qr/workspace "$id" was not started for a request: There is no room/, 'the log has it');

# away
$g->stop_service('ws_manager');
$r = GitpodGateway::wait_for('another refusal', sub { my $a = answer(ask()); ($a->{json}{message} // '') !~ /room/ && $a });
is($r->{status}, 503, 'without ws_manager');
like($r->{json}{message}, qr/ws_manager does not answer/, 'it says so');

# who asks is killed
GitpodGateway::spew("$g->{dir}/start", 'hang');
$g->start_service('ws_manager');
$n = calls();
GitpodGateway::wait_for('a start that hangs', sub { my $c = ask(); my $asked = calls() > $n; close $c; $asked });
$g->{expected_alert} = qr/exited on signal 9/;
my %old = map { $_ => 1 } $g->worker_pids;
kill 'KILL', keys %old;
unlink "$g->{dir}/start";
GitpodGateway::wait_for('new workers', sub { grep { !$old{$_} } $g->worker_pids });
$n = calls();
$s = GitpodGateway::wait_for('a worker that listens', sub { ask('/after') });
GitpodGateway::wait_for('a new start', sub { calls() > $n });
ok(1, 'a killed worker\'s start is taken over');
$instance++;
phase('running');
is(answer($s)->{json}{uri}, '/after', 'and waited for');

my $metrics = $g->metrics;
like($metrics, qr/^gitpod_wake_starts_total\{outcome="ok"\} [1-9]/m, 'starts are counted');
like($metrics, qr/^gitpod_wake_starts_total\{outcome="refused"\} [1-9]/m, 'by outcome');

$g->finish;
