# Where people see https and no port: cookies carry __Host- and Secure, and
# addresses and Origins have no port, whatever the gateway itself listens on.
use strict;
use warnings;
use Test::More;
use GitpodGateway;

my $g = GitpodGateway->new(external => 'https://gitpod.test');
my $d = $g->{domain};
my $id = 'amber-fox-k3j9x2m1';
my $host = $g->workspace($id, listen => [23000]);
my $token = $g->workspace_token(host => $host, ws => $id);
GitpodGateway::wait_for('the key set', sub { $g->get($host, '/', Cookie => "__Host-gp_workspace=$token")->{status} == 200 });

is($g->get($host, '/', Cookie => "gp_workspace=$token")->{status}, 401, 'a cookie without __Host- does not count');
is($g->get($host, '/', Cookie => "gp_workspace=toss; __Host-gp_workspace=$token")->{status}, 200, 'nor does it disturb the real one');
is($g->get($host, '/', Cookie => "__Host-gp_workspace=a; __Host-gp_workspace=$token")->{status}, 400, 'two real ones do');
is(GitpodClient::seen($g->get($host, '/', Cookie => "gp_workspace=a; __Host-gp_workspace=$token; b=1"))->{cookie}[0], 'b=1', 'neither form reaches the workspace');
is(GitpodClient::seen($g->get($host, '/', Cookie => "__Host-gp_workspace=$token"))->{'x-forwarded-proto'}[0], 'https', 'which is told https');

my $r = $g->browse($host, '/a');
like($r->{headers}{location}, qr{^https://gitpod\.test/api/handoff\?}, 'people are sent to https');
like($r->{headers}{'set-cookie'}, qr{^gp_nonce=\S+; Path=/_gitpod; .*; Secure$}, 'with a secure nonce');

for (['https://' . $host, 200], ["https://$host:443", 403], ["http://$host", 403], ["https://$host:$g->{port}", 403]) {
    my ($origin, $status) = @$_;
    is($g->post($host, '/', 'x', Cookie => "__Host-gp_workspace=$token", Origin => $origin)->{status}, $status, "Origin $origin: $status");
}
my $session = $g->session_token;
$r = $g->post($d, '/public-api/gitpod.v1.UserService/GetAuthenticatedUser', '{}', Cookie => "__Host-gp_session=$session", Origin => 'https://gitpod.test');
is($r->{status}, 200, 'a session on the main domain');
is($r->{json}{params}{GITPOD_SCHEME}, 'https', 'the plugin is told https');

$g->put_code('good', host => $host, nonce => Digest::SHA::sha256_hex('n'), path => '/a?b', user => $g->{owner}, ws => $id);
$r = $g->browse($host, '/_gitpod/handoff?code=good', Cookie => 'gp_nonce=n');
is($r->{headers}{location}, "https://$host/a?b", 'the hand-off leads to https');
like($r->{headers}{'set-cookie'}, qr{__Host-gp_workspace=\S+; Path=/; Max-Age=86400; HttpOnly; SameSite=Lax; Secure}, 'with a host-bound cookie');

$g->finish;
