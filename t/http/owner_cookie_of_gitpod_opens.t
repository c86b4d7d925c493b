# Gitpod's own form of the owner's credential, as its clients send it: a cookie
# named for the domain and the instance.
use strict;
use warnings;
use Test::More;
use IO::Select;
use Time::HiRes qw(time);
use GitpodGateway;

my $g = GitpodGateway->new(domain => 'my-gitpod.test');
my $id = 'amber-fox-k3j9x2m1';
my $instance = '44444444-4444-4444-8444-444444444444';
my $address = GitpodGateway::free_address();
my $host = $g->workspace($id, address => $address, instance => $instance, listen => [22999, 23000, 3000, 3001], ports => [{ port => 3000, visibility => 'public', protocol => 'http' }]);
my $d = '_my_gitpod_test_';
my $name = "${d}ws_${instance}_owner_";
my $token = $g->owner_token($id);
my $good = "$name=$token";

sub kind { my ($line) = reverse grep { $_->{uri} eq $_[0] } $g->access_log; return $line->{credential} }

my $r = $g->get($host, '/first', Cookie => "theme=dark; $good; lang=en");
is($r->{status}, 200, 'the cookie opens the editor host');
is("@{ GitpodClient::seen($r)->{cookie} }", 'theme=dark; lang=en', 'and stays here, the others go on');
is(GitpodGateway::wait_for('the log', sub { kind('/first') }), 'owner-cookie', 'the log says so');
is($g->get("3001-$host", '/', Cookie => $good)->{status}, 200, 'and private ports of the workspace');
is($g->get($host, '/_supervisor/v1/status/content', Cookie => $good)->{json}{name}, "$id:22999", 'and the supervisor');

for (
    ['of another instance', "${d}ws_55555555-5555-4555-8555-555555555555_owner_=$token"],
    ['of another domain', "_gitpod_io_ws_${instance}_owner_=$token"],
    ['in capitals', "\U${name}\E=$token"],
    ['cut short', substr $good, 0, -1],
    ['with more behind it', "${good}x"],
    ['without a value', "$name="],
    ['without a sign', $name],
    ['named for nothing', "${d}ws__owner_=$token"],
    ['named for too much', "${d}ws_${instance}0_owner_=$token"],
    ['with our prefix', "__Host-$good"],
) {
    my ($what, $cookie) = @$_;
    is($g->get($host, '/', Cookie => $cookie)->{status}, 401, "one $what: 401");
    my $seen = GitpodClient::seen($g->get("3000-$host", '/', Cookie => "$cookie; a=b"));
    is("@{ $seen->{cookie} }", $what eq 'of another domain' ? "$cookie; a=b" : 'a=b', "one $what: not for the workspace");
}
is($g->get($host, '/', Cookie => "$good; $good")->{status}, 200, 'the same one twice is one');
is($g->get($host, '/', Cookie => "$good; $name=" . 'x' x 32)->{status}, 401, 'of two different ones neither counts');
is($g->get($host, '/', Cookie => join '; ', (map { "${d}ws_" . sprintf('%08d-4444-4444-8444-444444444444', $_) . "_owner_=$token" } 1 .. 31), $good)->{status}, 200, 'one among 32 is found');
is($g->get($host, '/', Cookie => "gp_workspace=nonsense; $good")->{status}, 200, 'a cookie of ours that is not good is no obstacle');
is($g->get($host, '/', Cookie => $good, 'X-Gitpod-Owner-Token' => 'none')->{status}, 401, 'a header that is not good is not repaired by it');
like($g->browse($host, '/', Cookie => "$name=none")->{headers}{location}, qr{/api/handoff\?}, 'a person with a bad one is sent to log in');

# it is a cookie: the browser sends it, whoever asked
is($g->post($host, '/', 'x', Cookie => $good)->{status}, 403, 'a change needs an Origin');
is($g->post($host, '/', 'x', Cookie => $good, Origin => 'http://evil.test')->{status}, 403, 'not another site\'s');
is($g->post($host, '/', 'x', Cookie => $good, Origin => $g->origin($host))->{status}, 200, 'but its own');
is($g->upgrade($host, '/', Cookie => $good, Origin => 'http://evil.test')->{status}, 403, 'and so does a WebSocket');
my $socket = $g->upgrade($host, '/', Cookie => $good, Origin => $g->origin($host));
is($socket->{status}, 101, 'which opens from its own page');

# a workspace does not set it
my $set = $g->get("3000-$host", "/set-cookie?$name=evil%3B%20Path=/&theme=dark")->{headers}{'set-cookie'};
is($set, 'theme=dark', 'a workspace cannot set such a cookie');

like($g->metrics, qr/^gitpod_credentials_total\{kind="owner_cookie",outcome="ok"\} [1-9]/m, 'good ones are counted');
like($g->metrics, qr/^gitpod_credentials_total\{kind="owner_cookie",outcome="refused"\} [1-9]/m, 'and bad ones');

# the token of the instance changes: who came with the old one goes
my $from = time;
$g->route($id, instance => $instance, address => $address, owner_token_sha256 => '0' x 64);
ok(IO::Select->new($socket->{socket})->can_read(5) && !sysread($socket->{socket}, my $any, 1), 'a WebSocket ends when the token is another');
cmp_ok(time - $from, '<', 1.5, 'within a second');
is($g->get($host, '/', Cookie => $good)->{status}, 401, 'and the cookie is worth nothing');

# old tabs send their cookies for ever: it does not start what was stopped
$g->route($id, instance => $instance, address => $address, phase => 'stopped');
GitpodGateway::wait_for('the stop', sub { $g->get($host, '/', Cookie => $good)->{status} == 503 });
is($g->calls('ws_manager /gitpod.internal.v1.WorkspaceManagerService/StartWorkspace'), 0, 'it starts no workspace');
$g->finish;
