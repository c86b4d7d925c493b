# The probe listener of the production configuration.
use strict;
use warnings;
use Test::More;
use GitpodGateway;

my $g = GitpodGateway->new(workers => 2);
{
    local $g->{port} = $g->{probe_port};
    my $local = "127.0.0.1:$g->{probe_port}";
    is($g->get($local, '/live')->{status}, 200, '/live');
    ok(GitpodGateway::wait_for('/startup', sub { $g->get($local, '/startup')->{status} == 200 }), '/startup, once all was seen');
    ok(GitpodGateway::wait_for('/ready', sub { $g->get($local, '/ready')->{status} == 200 }), '/ready, with Redis and every plugin there');
    like($g->get($local, '/metrics')->{body}, qr/^# TYPE gitpod_/m, '/metrics is Prometheus text');
    is($g->get($local, '/anything')->{status}, 404, 'nothing else is there');
}
for my $path ('/live', '/startup', '/ready', '/metrics') {
    unlike($g->get($g->{domain}, $path)->{body}, qr/status|TYPE/, "$path is not on the main domain");
    # what a stranger hears of any path there
    my $r = $g->get($g->host('amber-fox-k3j9x2m1'), $path);
    is("$r->{status} $r->{json}{code}", '401 unauthenticated', "$path is not on workspace hosts");
}
{
    local $g->{port} = $g->{probe_port};
    my $local = "127.0.0.1:$g->{probe_port}";
    # All gateways share Redis: without it each goes on, and says so.
    $g->stop_redis;
    my $r;
    ok(GitpodGateway::wait_for('the check to fail', sub {
        $r = $g->get($local, '/ready?verbose');
        return ($r->{json}{checks}{redis}{status} // '') eq 'unavailable';
    }), 'Redis away is shown');
    is("$r->{status} $r->{json}{status}", '200 ok', 'and the gateway stays with its load balancer');
}
$g->finish;
