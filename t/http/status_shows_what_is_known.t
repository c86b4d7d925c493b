# gitpod_status: one page in two forms, for administrators on the main domain and
# for whoever reaches the probe port; it names no user, credential or workspace.
use strict;
use warnings;
use Test::More;
use GitpodGateway;

my $g = GitpodGateway->new(workers => 2);
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
is_deeply([sort map { $_->{name} } @{ $s->{checks} }], [sort qw(redis routes keys auth public_api ws_manager content ide)], 'every check of the configuration');
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
