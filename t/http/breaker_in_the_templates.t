# The breakers of the product's configuration: one for each service, one for each
# port of a workspace.
use strict;
use warnings;
use GitpodGateway;
use IO::Socket::INET;
use Socket;
use Test::More;
use Time::HiRes qw(time sleep);

my $g = GitpodGateway->new(workers => 2, edit => sub {
    my ($name, $text) = @_;
    $text =~ s/proxy_connect_timeout 5s/proxy_connect_timeout 200ms/ or die 'the template changed' if $name eq 'nginx_proxy.conf';
    return $text;
});
$g->{expected_alert} = qr/connect\(\) to unix:\S+fcgi\.sock failed/;    # of the services that this test ends
my $session = 'gp_session=' . $g->session_token;
my $method = '/public-api/gitpod.v1.WorkspaceService/ListWorkspaces';
my @post = (Cookie => $session, Origin => $g->origin($g->{domain}), 'Content-Type' => 'application/json');

sub call { return $g->post($g->{domain}, $method, '{}', @post) }
sub metric {
    my ($name) = @_;
    local $g->{port} = $g->{probe_port};
    return $g->get("127.0.0.1:$g->{probe_port}", '/metrics')->{body} =~ /^\Q$name\E ([\d.]+)$/m ? $1 : undef;
}
sub state_is { my ($name, $state) = @_; return metric("gitpod_breaker_state{name=\"$name\",state=\"$state\"}") }

# ---- a service ----

GitpodGateway::wait_for('the API', sub { call()->{status} == 200 });
is(state_is($_, 'closed'), 1, "$_ has a breaker") for @GitpodServices::SERVICES;

$g->stop_service('public_api');
is(join(' ', map { call()->{status} } 1 .. 3), '502 502 502', 'with its process killed three calls fail');
my $begin = time;
my $r = call();
is($r->{status}, 503, 'the fourth is refused');
is($r->{json}{code}, 'unavailable', 'in JSON');
like($r->{json}{message}, qr/^The service public_api (?:cannot be connected to|fails its health check)\. The gateway tries it again in \d s$/, 'with the reason');
ok($r->{headers}{'retry-after'}, 'and Retry-After');
my $auth = $g->post($g->{domain}, '/api/logout', '', Cookie => $session, Origin => $g->origin($g->{domain}));
is($auth->{status}, 200, 'other services do not notice');
my $page = $g->browse($g->{domain}, $method, Cookie => $session);
is($page->{status}, 503, 'a person gets 503');
like($page->{body}, qr/Page 503/, 'and its page');

$g->start_service('public_api');
GitpodGateway::wait_for('it to come back by itself', sub { call()->{status} == 200 });
cmp_ok(time - $begin, '<', 12, 'it comes back by itself');
GitpodGateway::wait_for('it to close', sub { state_is('public_api', 'closed') });
is(join(' ', map { call()->{status} } 1 .. 5), '200 200 200 200 200', 'for good');

# The gateway's own questions: no breaker page, but what a question without an answer means.
$g->stop_service('auth');
my $token = 'gitpod_pat_' . 'a' x 40;
is(join(' ', map { $g->post($g->{domain}, $method, '{}', Authorization => "Bearer $token$_")->{status} } 1 .. 5), '503 503 503 503 503',
    'a token cannot be judged while auth is away');
is(state_is('auth', 'closed'), 0, 'auth is left alone');
cmp_ok(metric('gitpod_breaker_refused_total{name="auth"}'), '>=', 1, 'for questions too');

# ---- workspaces ----

my $id = 'amber-fox-k3j9x2m1';
my $address = GitpodGateway::free_address();
my @ports = map { { port => $_, visibility => 'public', protocol => 'http' } } 3000, 4000, 5000;
my $host = $g->workspace($id, address => $address, ports => \@ports, listen => [23000, 3000]);

sub port { my ($port, @more) = @_; return $g->get("$port-$host", '/', @more) }

# A port that refuses, as one whose program is being restarted, is never held against it.
is(join(' ', map { port(5000)->{status} } 1 .. 12), join(' ', (502) x 12), 'a port that refuses refuses');
$g->serve_workspace($id, $address, 5000);
is(port(5000)->{status}, 200, 'and answers as soon as its program does');

# What listens on 4000 hangs: its queue is full, nobody accepts.
my $hung = IO::Socket::INET->new(Listen => 1, LocalAddr => $address, LocalPort => 4000, ReuseAddr => 1) or die "$address:4000: $!";
my @queue;
for (1 .. 8) {
    socket my $s, PF_INET, SOCK_STREAM | 00004000, 0 or die;
    connect $s, pack_sockaddr_in(4000, inet_aton($address));
    push @queue, $s;
}
is(join(' ', map { port(4000)->{status} } 1 .. 3), '504 504 504', 'a port that hangs, three times');
$begin = time;
$r = port(4000);
is($r->{status}, 503, 'is left alone');
cmp_ok(time - $begin, '<', 0.15, 'without a wait');
like($r->{json}{message}, qr/^Port 4000 of the workspace does not answer in time\. The gateway tries it again in 1 s$/, 'the text names the port');
is($r->{headers}{'access-control-allow-origin'}, undef, 'no script asked');
is(port(4000, Origin => 'http://elsewhere.test')->{headers}{'access-control-allow-origin'}, '*', 'a script may read it');
is(port(3000)->{status}, 200, 'another port of it answers');
is($g->get($host, '/', 'X-Gitpod-Owner-Token' => $g->owner_token($id))->{status}, 200, 'and the editor');
is(metric('gitpod_breaker_routes{name="workspace",state="open"}'), 1, 'one route is open');
is(metric('gitpod_breaker_opened_total{name="workspace"}'), 1, 'which is counted');
unlike(do { local $g->{port} = $g->{probe_port}; $g->get("127.0.0.1:$g->{probe_port}", '/metrics')->{body} }, qr/33333333|$id/, 'no workspace is in the metrics');

# A new instance owes nothing.
close $hung;
@queue = ();
GitpodGateway::wait_for('the port to be free', sub { IO::Socket::INET->new(Listen => 1, LocalAddr => $address, LocalPort => 4000, ReuseAddr => 1) });
$g->serve_workspace($id, $address, 4000);
$g->route($id, address => $address, ports => \@ports, instance => '44444444-3333-4333-8333-333333333333');
GitpodGateway::wait_for('the new instance', sub { port(4000)->{status} == 200 });
cmp_ok(time - $begin, '<', 5, 'the new instance is served at once');

my ($refused) = grep { $_->{host} eq "4000-$host" && $_->{status} == 503 } $g->access_log;
is($refused->{breaker}, 'open', 'the access log names the state');
is($refused->{reason}, 'breaker', 'and the reason of the refusal');

$g->finish;
