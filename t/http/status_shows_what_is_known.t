# gitpod_status: one page in two forms, for administrators on the main domain and
# for whoever reaches the probe port; it names no user, credential or workspace.
use strict;
use warnings;
use Test::More;
use GitpodGateway;

# a program of a workspace that takes longer has hung
my $g = GitpodGateway->new(workers => 2, edit => sub { my ($name, $text) = @_; $text =~ s/proxy_read_timeout 24h/proxy_read_timeout 200ms/ if $name eq 'nginx_proxy.conf'; return $text });
my $d = $g->{domain};
my $id = 'amber-fox-k3j9x2m1';
$g->workspace($id, listen => [23000]);

# The probe port, whose requests need no host.
sub probe {
    my ($path, @headers) = @_;
    local $g->{port} = $g->{probe_port};
    return $g->get('127.0.0.1', $path, @headers);
}

my $r = GitpodGateway::wait_for('checks', sub { my $r = probe('/status'); !(grep { !$_->{passes} } @{ $r->{json}{checks} }) && $r });
is($r->{status}, 200, 'a page');
is($r->{headers}{'content-type'}, 'application/json', 'JSON, unless a browser asks');
is($r->{headers}{'cache-control'}, 'no-store', 'that nobody keeps');
my $s = $r->{json};
ok($s->{complete}, 'complete');
like($s->{time}, qr/^\d{4}-\d\d-\d\dT/, 'with its time');
is_deeply([sort map { $_->{name} } @{ $s->{checks} }], [sort qw(redis routes routes_age keys keys_age auth public_api ws_manager content ide)], 'every check of the configuration');
ok($s->{redis}[0]{subscribed} && $s->{redis}[0]{routes_synced}, 'Redis is subscribed and was read');
my ($feeder) = grep { $_->{task} eq 'feeds' } @{ $s->{workers} };
is($feeder->{pid}, $s->{redis}[0]{lease}, 'by the worker that holds the lease');
is(scalar @{ $s->{workers} }, 2, 'both workers are there');
my %table = map { $_->{name} => $_ } @{ $s->{tables} };
is($table{routes}{records}, 1, 'a route');
cmp_ok($table{routes}{room}, '>', 10_000, 'and room for more');
unlike($r->{body}, qr/$id|\Q$g->{owner}\E/, 'it names no workspace and no user');

is_deeply($s->{flags}, [], 'no flag is set');
cmp_ok(scalar @{ $s->{limits} }, '>', 3, 'the limits of the configuration are there');
ok(!(grep { $_->{refused} } @{ $s->{limits} }), 'and have refused nothing');

# what it shows moves
$g->redis('PUBLISH', 'gitpod:flags:changes', $GitpodGateway::JSON->encode({ name => 'maintenance', version => 1, on => JSON::PP::true, percent => 20, users => [] }));
my $flag = GitpodGateway::wait_for('the flag', sub { my ($f) = @{ probe('/status')->{json}{flags} }; $f });
is_deeply($flag, { name => 'maintenance', state => 'on', percent => 20, users => 0, version => 1 }, 'a flag that is set is shown');
$g->stop_service('ide');
my $gone = GitpodGateway::wait_for('the check of ide', sub { my ($c) = grep { $_->{name} eq 'ide' } @{ probe('/status')->{json}{checks} }; !$c->{passes} && $c });
like($gone->{why}, qr/\S/, 'a check that fails says why');

# breakers
sub breaker { my ($name) = @_; return (grep { $_->{name} eq $name } @{ probe('/status')->{json}{breakers} })[0] }
is_deeply([sort map { $_->{name} } @{ $s->{breakers} }], [sort qw(auth public_api ws_manager content ide workspace)], 'every breaker of the configuration');
is_deeply([map { $_->{state} } grep { $_->{state} ne 'closed' || $_->{reason} ne 'none' || $_->{open} || $_->{opened} } @{ $s->{breakers} }], [], 'all are closed');
my $b = GitpodGateway::wait_for('the breaker of ide', sub { my $b = breaker('ide'); $b->{opened} && $b });
is($b->{reason}, 'check', 'a breaker that opened says why');
like("$b->{state} $b->{open} $b->{half_open} $b->{recovering}", qr/^(?:open 1 0 0|half_open 0 1 0)$/, 'in what state it is');
cmp_ok($b->{next_probe_ms}, '<=', 5000, 'and when it is tried') && cmp_ok($b->{since_ms}, '<', 15_000, 'since when');
is(breaker('auth')->{state}, 'closed', 'the others are closed');

my @owner = ('x-gitpod-owner-token' => $g->owner_token($id));
my $host = $g->host($id);
is($g->get($host, '/?hold', @owner)->{status}, 504, 'a workspace that hangs') for 1 .. 3;
is($g->get($host, '/', @owner)->{status}, 503, 'is left alone');
$b = GitpodGateway::wait_for('its breaker', sub { my $b = breaker('workspace'); $b->{state} eq 'open' && $b });
is("$b->{reason} $b->{open} $b->{opened} $b->{refused}", 'timeout 1 1 1', 'one port of one workspace, counted');
cmp_ok($b->{next_probe_ms}, '>', 0, 'with the time of its next probe');
unlike(probe('/status')->{body}, qr/$id|33333333/, 'and not named');
like(probe('/status?format=html')->{body}, qr{<h2>Breakers</h2>.*<td>workspace</td><td class="open">open</td><td>timeout</td>}s, 'to be seen');
GitpodGateway::wait_for('a good probe', sub { $g->get($host, '/', @owner)->{status} == 200 });
is(breaker('workspace')->{open}, 0, 'and it is over');

# connections
my $before = $g->metric('gitpod_websockets');
my @sockets = map { $g->upgrade($host, '/', @owner) } 1 .. 3;
is_deeply([map { $_->{status} } @sockets], [101, 101, 101], 'three WebSockets');
is($g->metric('gitpod_websockets') - $before, 3, 'are counted');
GitpodGateway::wait_for('their connections', sub { $g->metric('gitpod_connections') >= 6 });
my $sum = 0;
$sum += $_->{websockets} for @{ probe('/status')->{json}{workers} };
is($sum, 3, 'on the page too');
close $_->{socket} for splice @sockets;
GitpodGateway::wait_for('their end', sub { $g->metric('gitpod_websockets') == 0 });

# HTML
$r = probe('/status', Accept => 'text/html,*/*;q=0.8');
is($r->{headers}{'content-type'}, 'text/html; charset=utf-8', 'HTML for a browser');
like($r->{body}, qr{^<!doctype html>.*<h2>Checks</h2>.*<td>auth</td><td>yes</td>.*<td>ide</td><td class="no">no</td>.*</html>\n\z}s, 'with the same in tables');
is(() = $r->{body} =~ /<table>/g, () = $r->{body} =~ m{</table>}g, 'whose tags close');
is(scalar(() = $r->{body} =~ /<tr>/g), scalar(() = $r->{body} =~ m{</tr>}g), 'rows too');
like($r->{headers}{'content-security-policy'}, qr/default-src 'none'/, 'and no script could run');
is(probe('/status?format=html')->{headers}{'content-type'}, 'text/html; charset=utf-8', 'asked for by name');
is(probe('/status?format=json', Accept => 'text/html')->{headers}{'content-type'}, 'application/json', 'or the other');
is(probe('/status?format=css')->{headers}{'content-type'}, 'text/css', 'its style sheet');
is(probe('/status?format=xml')->{status}, 404, 'there is no third');
{ local $g->{port} = $g->{probe_port}; is($g->post('127.0.0.1', '/status', '')->{status}, 405, 'it is only read') }

# on the main domain
my $session = 'gp_session=' . $g->session_token;
is($g->get($d, '/admin/status')->{status}, 401, 'a stranger is not let in');
is($g->browse($d, '/admin/status')->{status}, 302, 'a person is sent to log in');
is($g->get($d, '/admin/status', Cookie => $session)->{status}, 200, 'an administrator is');
is($g->get($d, '/admin/status', Cookie => 'gp_session=' . $g->session_token(sub => $g->{other}))->{status}, 403, 'another user is not');
is($g->get($d, '/_gitpod/administrator', Cookie => $session)->{status}, 404, 'the question itself is internal');
$g->{expected_alert} = qr{auth/fcgi\.sock failed};
$g->stop_service("auth");
is($g->get($d, '/admin/status', Cookie => $session)->{status}, 500, 'with auth away nobody is told');
is(probe('/status')->{status}, 200, 'the probe port goes on');

$g->finish;
