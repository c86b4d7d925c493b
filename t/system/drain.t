#!/usr/bin/perl
# A drain of an instance that nobody uses takes the time for load balancers, and a moment: what the services have open among
# each other does not count. People's WebSockets: t/http/drain_rolling_restart.t.
use strict;
use warnings;
use lib 't/lib';
use Test::More;
use Time::HiRes qw(time);
use GitpodSystem;

use constant { DELAY_S => 1, TIMEOUT_S => 30, MOMENT_S => 6 };

my $s = GitpodSystem->new(env => { GITPOD_DRAIN_DELAY => DELAY_S, GITPOD_DRAIN_TIMEOUT => TIMEOUT_S });
my $nginx = $s->service_pid('nginx');
ok($s->wait_for(20, 'the services', sub { $s->http(url => "http://127.0.0.1:$s->{env}{GITPOD_PROBE_PORT}/ready")->{status} == 200 }), 'an instance');
my $from = time;
my ($rc, $out) = $s->build_sh('drain');
my $took = time - $from;
is($rc, 0, 'is drained and stopped') or diag($out);
cmp_ok($took, '>=', DELAY_S, 'after the time for load balancers');
cmp_ok($took, '<', DELAY_S + MOMENT_S, sprintf 'and not much later: %.1f s', $took);
ok(!-d "/proc/$nginx", 'nginx is gone');

($rc, $out) = $s->build_sh('up');
is($rc, 0, 'up starts it again') or diag($out);
is($s->rpc('ListWorkspaces', {})->{status}, 200, 'and the services are there');
ok($s->wait_for(10, 'public_api to watch again', sub { grep { m{ESTAB.* \Q$s->{env}{GITPOD_RUN}\E/gateway/public_api/gateway\.sock } } qx(ss -x) }), 'the stream between them too');
$s->down;
done_testing();
