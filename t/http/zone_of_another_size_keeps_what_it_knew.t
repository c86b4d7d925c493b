# A zone of another size, or another name, takes over what the one before it
# knew: nothing has to come from Redis or a plugin. Workers of the old
# configuration still learn what is revoked.
use strict;
use warnings;
use IO::Select;
use Test::More;
use Time::HiRes qw(time);
use GitpodGateway;
use GitpodRoutes;
use GitpodTest;

my $zone = 'gitpod_zone gitpod 64m';
my $g = GitpodGateway->new(
    expected_alert => qr{fcgi\.sock failed},
    edit => sub { my ($name, $text) = @_; $text =~ s/gitpod_zone gitpod 64m/$zone/; return $text });
my $id = 'amber-fox-k3j9x2m1';
my $address = GitpodGateway::free_address();
my $host = $g->workspace($id, listen => [23000], address => $address);
my @cookie = (Cookie => 'gp_workspace=' . $g->workspace_token(host => $host, ws => $id));
my @revoked = (Cookie => 'gp_workspace=' . $g->workspace_token(host => $host, ws => $id, sid => 'session-b'));
my $token = 'gitpod_pat_sig.' . 'g' x 40;
my $rpc = '/public-api/gitpod.v1.WorkspaceService/ListWorkspaces';

sub status { my (@headers) = @_; return $g->get($host, '/', @headers)->{status} }
sub subscribers {
    $g->redis('CLIENT', 'LIST', 'TYPE', 'pubsub') =~ /^\$(\d+)/ or die;
    read $g->{redis}, my $text, $1 + 2;
    return $text =~ /^id=(\d+)/mg;
}
sub call { return $g->post($g->{domain}, $rpc, '{}', Authorization => "Bearer $token")->{status} }

GitpodGateway::wait_for('the key set', sub { status(@cookie) == 200 });
$g->put_token($token);
is(call(), 200, 'a token is known');
$g->revoke(session => 'session-b');
GitpodGateway::wait_for('the revocation', sub { status(@revoked) == 401 });

# Everything that could tell is away.
$g->stop_redis;
$g->stop_service('auth');
for my $next ('gitpod_zone gitpod 32m', 'gitpod_zone gitpod 100m', 'gitpod_zone other 100m') {
    $zone = $next;
    $g->reload;
    is(status(@cookie), 200, "$next: the route, the key and the session are known");
    is(status(@revoked), 401, "$next: and what was revoked stays revoked");
    is(call(), 200, "$next: a token that auth resolved is known");
}
like($g->error_log, qr/took over 1 routes, 1 revocations and 1 tokens/, 'the log says so');
$g->start_redis;
$g->route($id, address => $address);
GitpodGateway::wait_for('Redis', sub { $g->get($g->host('unknown-one'), '/')->{status} == 401 });
is(status(@cookie), 200, 'when Redis is back all goes on');

# A connection of the old configuration, whose zone nobody feeds but itself.
my $s = $g->upgrade($host, '/', Origin => $g->origin($host), Cookie => 'gp_workspace=' . $g->workspace_token(host => $host, ws => $id, sid => 'session-c'))->{socket};
$zone = 'gitpod_zone other 50m';
my %before = map { $_ => 1 } subscribers();
$g->reload(keep => 1);

# The old worker leaves its subscription at once, and takes it again when nobody does.
GitpodGateway::wait_for('two subscribers, both new', sub { my @now = subscribers(); return @now == 2 && !grep { $before{$_} } @now });
syswrite $s, 'ping';
ok(IO::Select->new($s)->can_read(5) && sysread($s, my $back, 4) == 4, 'a connection lives through the change');
$g->revoke(session => 'session-c');
my $from = time;
ok(IO::Select->new($s)->can_read(10) && !sysread($s, $back, 1), 'and ends when its right does');
diag(sprintf 'closed %.1f s after the revocation', time - $from);
$g->stop;

# Too small for all of it: what fits is served, the log says what to do.
my $t = GitpodRoutes->new(zone => '4m', workers => 1);
$t->redis_command('HSET', 'gitpod:routes', map { ("ws-$_" => GitpodRoutes::record("ws-$_", 1)) } 1 .. 2000);
$t->start;
GitpodRoutes::wait_synced($t);
is($t->metric('gitpod_routes'), 2000, 'a zone has 2,000 routes');
$t->stop_redis;
$t->{http} =~ s/gitpod_zone test 4m/gitpod_zone test 1m/;
$t->reload;
is($t->metric('gitpod_routes'), $t->metric('gitpod_routes_max'), 'one that is too small for them is full');
like($t->error_log, qr/\[alert\].*it has no room for \d+ routes/, 'and tells');
is($t->get('/startup')->{status}, 503, 'it waits for a complete reading');
$t->finish(allow => qr/has no room for/);
