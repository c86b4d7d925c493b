# With Redis and every plugin dead, signed-in people go on: in what is open,
# after a full restart of nginx, and through a binary upgrade; what was revoked
# before stays revoked, and nobody is told that something does not exist.
use strict;
use warnings;
use File::Path qw(make_path);
use IO::Select;
use Test::More;
use Time::HiRes qw(time);
use GitpodGateway;

my $g = GitpodGateway->new(workers => 2, daemon => 1, expected_alert => qr{fcgi\.sock failed});
my $id = 'amber-fox-k3j9x2m1';
my $address = GitpodGateway::free_address();
my $host = $g->workspace($id, listen => [22999, 23000, 3000, 4000], address => $address, ports => [{ port => 4000, visibility => 'public', protocol => 'http' }]);
my @in = map { (Cookie => 'gp_workspace=' . $g->workspace_token(host => $_, ws => $id)) } $host, "3000-$host";
my @revoked = (Cookie => 'gp_workspace=' . $g->workspace_token(host => $host, ws => $id, sid => 'session-out'));
my @session = (Cookie => 'gp_session=' . $g->session_token);
my @owner = ('X-Gitpod-Owner-Token' => $g->owner_token($id));

# The snapshots, as ws_manager and auth write them.
$g->revoke(session => 'session-out');
make_path("$g->{state}/auth", "$g->{state}/ws_manager");
$g->redis('HGET', 'gitpod:routes', $id);
my $record = readline $g->{redis};
$record =~ s/\r\n\z//;
my $now = int time;
GitpodGateway::spew("$g->{state}/ws_manager/routes.json", qq({"snapshot":"routes","written":$now,"records":1}\n$record\n));
GitpodGateway::spew("$g->{state}/auth/revocations.json",
    qq({"snapshot":"revocations","written":$now,"records":1}\n{"kind":"session","id":"session-out","epoch":$now}\n));

sub socket_to {
    my ($h, @headers) = @_;
    my $r = $g->upgrade($h, '/', Origin => $g->origin($h), @headers);
    return $r->{status} == 101 ? $r->{socket} : undef;
}
sub alive {
    my ($s) = @_;
    local $SIG{PIPE} = 'IGNORE';
    return $s && syswrite($s, 'ping') && IO::Select->new($s)->can_read(5) && (sysread($s, my $back, 4) // 0) == 4;
}

sub all_goes_on {
    my ($when) = @_;
    is($g->get($host, '/', @in[0, 1])->{status}, 200, "$when: the editor opens");
    is($g->get($host, '/_supervisor/v1/status/content', @in[0, 1])->{json}{name}, "$id:22999", "$when: the supervisor answers");
    is($g->get("3000-$host", '/', @in[2, 3])->{status}, 200, "$when: a port opens");
    is($g->get("4000-$host", '/')->{status}, 200, "$when: a public port opens");
    is($g->get($host, '/', @owner)->{status}, 200, "$when: the owner token opens");
    ok(alive(socket_to($host, @in[0, 1])), "$when: a WebSocket of the editor opens");
    ok(alive(socket_to("3000-$host", @in[2, 3])), "$when: and one of a port");
    is($g->get($host, '/', @revoked)->{status}, 401, "$when: a session that was revoked is refused");
    is($g->get($host, '/')->{status}, 401, "$when: and so is nobody");
    is($g->get($g->{domain}, '/')->{status}, 200, "$when: the dashboard is there");
    my $r = $g->post($g->{domain}, '/public-api/gitpod.v1.WorkspaceService/ListWorkspaces', '{}', Origin => $g->origin($g->{domain}), @session);
    is($r->{status}, 502, "$when: a session is known, only the plugin is away");
    is($r->{json}{code}, 'unavailable', "$when: and the answer says so");
    $r = $g->get($g->host('other-one-aaaabbbb'), '/');
    is($r->{status}, 503, "$when: an unknown workspace is not said to be none");
    ok($r->{headers}{'retry-after'}, "$when: but to be tried again");
}

my $open = socket_to($host, @in[0, 1]);
ok(alive($open), 'a connection is open');
$g->stop_redis;
$g->stop_service($_) for @GitpodServices::SERVICES;
GitpodGateway::wait_for('the loss of Redis', sub { $g->get($g->host('other-one-aaaabbbb'), '/')->{status} == 503 });
ok(alive($open), 'it lives on when everything behind the gateway is dead');
all_goes_on('without a control plane');
$g->reload(keep => 1);
ok(alive($open), 'it lives through a reload');
all_goes_on('after a reload');
close $open;

$g->restart;
all_goes_on('after a full restart');

# A binary upgrade: both masters serve for a while, then the old one goes.
my $held = socket_to($host, @in[0, 1]);
ok(alive($held), 'a connection is open');
$g->upgrade_binary;
all_goes_on('after a binary upgrade');
ok(alive($held), 'a connection of before lives on while its worker drains');
close $held;
GitpodGateway::wait_for('the old master to end', sub { !$g->{old_pid} || !kill 0, $g->{old_pid} });
all_goes_on('with the new binary alone');

# A snapshot that is too old opens no session; Redis does.
my $old = $now - 2 * 86400;
GitpodGateway::spew("$g->{state}/auth/revocations.json", qq({"snapshot":"revocations","written":$old,"records":0}\n));
$g->restart;
my $r = $g->get($host, '/', @in[0, 1]);
is($r->{status}, 503, 'with revocations of the day before yesterday a session must wait');
is($g->get($host, '/', @owner)->{status}, 200, 'the owner token does not');
is($g->get("4000-$host", '/')->{status}, 200, 'nor does a public port');
$g->start_redis;
$g->revoke(session => 'session-out');
$g->redis('HSET', 'gitpod:routes', $id, $record);
my $from = time;
GitpodGateway::wait_for('Redis to be read', sub { $g->get($host, '/', @in[0, 1])->{status} == 200 });
cmp_ok(time - $from, '<', 6, 'when Redis is back they are let in');
is($g->get($host, '/', @revoked)->{status}, 401, 'but for those who logged out');
$g->finish;
