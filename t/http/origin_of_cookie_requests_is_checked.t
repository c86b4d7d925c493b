# With a cookie as the credential, an Upgrade or a change needs an Origin of
# the same scheme, host and port; with a token it does not matter.
use strict;
use warnings;
use Test::More;
use GitpodGateway;

my $g = GitpodGateway->new;
my $d = $g->{domain};
my $id = 'amber-fox-k3j9x2m1';
my $host = $g->workspace($id, listen => [23000, 3000, 3001], ports => [{ port => 3001, visibility => 'public', protocol => 'http' }]);
my $port = "3000-$host";
my $public = "3001-$host";
my %cookie = ($d => 'gp_session=' . $g->session_token, map { $_ => 'gp_workspace=' . $g->workspace_token(host => $_, ws => $id) } $host, $port, $public);
my $rpc = '/public-api/gitpod.v1.WorkspaceService/ListWorkspaces';
my %path = ($d => $rpc, $host => '/', $port => '/', $public => '/');
GitpodGateway::wait_for('the key set', sub { $g->get($host, '/', Cookie => $cookie{$host})->{status} == 200 });

my $own = $g->{port};
my @foreign = (
    ['none'],
    ['null', 'null'],
    ['an empty one', ''],
    ['a stranger', 'http://evil.example'],
    ['the host without the port', "http://%"],
    ['another port', "http://%:1"],
    ['another scheme', "https://%:$own"],
    ['a longer host', "http://%.evil.example:$own"],
    ['a shorter host', "http://x%:$own"],
    ['a slash at the end', "http://%:$own/"],
    ['upper case', "HTTP://%:$own"],
    ['user info', "http://evil\@%:$own"],
);
for my $h ($d, $host, $port) {
    for my $case (@foreign) {
        my ($name, $origin) = @$case;
        my @origin = defined $origin ? (Origin => $origin =~ s/%/$h/r) : ();
        is($g->post($h, $path{$h}, '{}', Cookie => $cookie{$h}, @origin)->{status}, 403, "POST to $h, Origin $name: 403");
        is($g->upgrade($h, $path{$h}, Cookie => $cookie{$h}, @origin)->{status}, 403, "Upgrade on $h, Origin $name: 403");
    }
    my $ok = $g->post($h, $path{$h}, '{}', Cookie => $cookie{$h}, Origin => $g->origin($h));
    is($ok->{status}, 200, "POST to $h from its own page: let through");
    is($g->request($h, 'DELETE', $path{$h}, [Cookie => $cookie{$h}, Origin => $g->origin($d eq $h ? $host : $d)])->{status}, 403, "DELETE on $h from the other domain: 403");
}
my $r = $g->post($d, $rpc, '{}', Cookie => $cookie{$d});
is($r->{json}{code}, 'permission_denied', 'the refusal is Connect JSON');
is($g->upgrade($host, '/', Cookie => $cookie{$host}, Origin => $g->origin($host))->{status}, 101, 'an Upgrade from the editor\'s own page passes');
is($g->upgrade($host, '/', Cookie => $cookie{$host}, Origin => $g->origin($port))->{status}, 403, 'from a port\'s page it does not');
is($g->post($port, '/', 'x', Cookie => $cookie{$port}, Origin => $g->origin($host))->{status}, 200, 'a private port accepts the editor\'s page');
is($g->post($port, '/', 'x', Cookie => $cookie{$port}, Origin => $g->origin($public))->{status}, 200, 'and another port\'s page of the same workspace');
is($g->post($port, '/', 'x', Cookie => $cookie{$port}, Origin => $g->origin('3000-' . $g->host('blue-owl-aaaabbbb')))->{status}, 403, 'not another workspace\'s');
is($g->post($public, '/', 'x', Cookie => $cookie{$public}, Origin => 'http://evil.example')->{status}, 200, 'a public port takes them all');
is($g->post($host, '/', 'x', 'x-gitpod-owner-token' => $g->owner_token($id), Origin => 'http://evil.example')->{status}, 200, 'with the owner token the Origin does not matter');
is($g->get($host, '/', Cookie => $cookie{$host}, Origin => 'http://evil.example')->{status}, 200, 'reading changes nothing and passes');
is($g->post($host, '/', 'x', Cookie => $cookie{$host}, Origin => $g->origin($host), Origin => 'http://evil.example')->{status}, 400, 'two Origins: 400');

$g->finish;
