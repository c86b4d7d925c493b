# What goes to plugins and workspaces: no credential of ours, no header that
# only the gateway may set, the application's own untouched. And back: no cookie
# of ours from a workspace.
use strict;
use warnings;
use Test::More;
use GitpodGateway;

my $g = GitpodGateway->new;
my $d = $g->{domain};
my $id = 'amber-fox-k3j9x2m1';
my $host = $g->workspace($id, listen => [23000, 3000], ports => [{ port => 3000, visibility => 'public', protocol => 'http' }]);
my $token = $g->workspace_token(host => $host, ws => $id);
my @owner = ('X-Gitpod-Owner-Token' => $g->owner_token($id));
my $rpc = '/public-api/gitpod.v1.WorkspaceService/ListWorkspaces';
GitpodGateway::wait_for('the key set', sub { $g->get($host, '/', Cookie => "gp_workspace=$token")->{status} == 200 });

my @forged = (
    'Gitpod-User', 'gitpod-user', 'GITPOD-USER', 'Gitpod_User', 'gitpod_user', 'Gitpod-Workspace-Token', 'X-Gitpod-User', 'x_gitpod_user',
    'x-gitpod_user', 'X_Gitpod-Owner-Token', 'X-Forwarded-For', 'X-Forwarded-Host', 'X-Forwarded-Proto', 'X-Forwarded-Port', 'X_Forwarded_For',
    'Forwarded', 'X-Real-IP', 'Proxy',
);
my @pairs = map { ($_ => 'forged') } @forged;
my $seen = GitpodClient::seen($g->get($host, '/', @pairs, @owner));
ok(!(grep { grep { /forged/ } @$_ } values %$seen), 'no forged header reaches a workspace');
is("@{ $seen->{'x-forwarded-for'} }", '127.0.0.1', 'X-Forwarded-For is the gateway\'s');
is("@{ $seen->{'x-forwarded-host'} }", $host, 'X-Forwarded-Host too');
is("@{ $seen->{'x-forwarded-proto'} }", 'http', 'X-Forwarded-Proto too');
is("@{ $seen->{host} }", $host, 'Host goes through as it came');
is($seen->{'x-gitpod-owner-token'}, undef, 'the owner token stays here');

$seen = GitpodClient::seen($g->get("$host:8080", '/', @owner));
is("@{ $seen->{host} }", "$host:8080", 'its port included');

my $params = $g->post($d, $rpc, '{}', @pairs, 'X-Gitpod-Owner-Token' => 'x', Cookie => 'gp_session=' . $g->session_token . '; theme=dark', Origin => $g->origin($d))->{json}{params};
my @leaked = grep { $params->{$_} =~ /forged/ } keys %$params;
is("@leaked", '', 'none reaches a plugin');
is($params->{GITPOD_USER}, $g->{owner}, 'whose identity comes from the session');
is($params->{HTTP_COOKIE}, 'theme=dark', 'and which sees other cookies only');
is($params->{HTTP_X_GITPOD_OWNER_TOKEN}, undef, 'and no owner token');
ok(!grep({ /^HTTP_PROXY$/ && length $params->{$_} } keys %$params), 'no HTTP_PROXY');

# credentials
sub cookies { my $s = GitpodClient::seen($g->get($host, '/', @_)); return join ' | ', @{ $s->{cookie} // ['none'] } }
for (
    ['a=1; gp_workspace=%; b=2', 'a=1; b=2'],
    ['gp_workspace=%', 'none'],
    ['gp_workspace=%; a=1', 'a=1'],
    ['a=1;gp_workspace=%', 'a=1'],
    ['gp_workspace=%; gp_session=s; gp_nonce=n; __Host-gp_session=s; __Host-gp_workspace=t; a=b=c', 'a=b=c'],
    ['GP_Workspace=x; gp_workspace=%; gp_workspace2=keep; xgp_workspace=keep', 'gp_workspace2=keep; xgp_workspace=keep'],
) {
    my ($sent, $left) = @$_;
    is(cookies(Cookie => $sent =~ s/%/$token/r), $left, "Cookie \"$sent\" leaves \"$left\"");
}
is(cookies(Cookie => "gp_workspace=$token", Cookie => 'a=1'), 'a=1', 'over two lines too');
is(cookies(@owner, Cookie => join ';', 'xgp_y=1', ('a') x 6000), join('; ', 'xgp_y=1', ('a') x 6000), 'a line that grows, since a space follows each semicolon');

for (['Basic dXNlcjpwYXNz', 'Basic dXNlcjpwYXNz'], ['Bearer app-token', 'Bearer app-token'], ['Bearer gitpod_pat_a.b', undef], ['bearer  gitpod_pat_a.b', undef]) {
    my ($sent, $left) = @$_;
    my $s = GitpodClient::seen($g->get($host, '/', @owner, Authorization => $sent));
    is(($s->{authorization} // [])->[0], $left, "Authorization \"$sent\" " . ($left ? 'is the application\'s' : 'is ours and stays here'));
}
$seen = GitpodClient::seen($g->get($host, '/', @owner, Authorization => 'Basic x', Authorization => 'Basic x'));
is(scalar @{ $seen->{authorization} }, 1, 'the same Authorization twice arrives once');

# two of one cookie
for (
    [$d, 'gp_session', $rpc], [$host, 'gp_workspace', '/'], ["3000-$host", 'gp_workspace', '/'], [$host, 'gp_nonce', '/_gitpod/handoff?code=x'],
) {
    my ($h, $name, $path) = @$_;
    my $r = $g->get($h, $path, Cookie => "$name=a; $name=b");
    is($r->{status}, 400, "$h: two $name: 400");
    my @set = split /\n/, $r->{headers}{'set-cookie'} // '';
    ok((grep { /^$name=;.*Max-Age=0/ && !/Domain/i } @set), 'the host\'s own is expired');
    ok((grep { /^$name=;.*Domain=.*Max-Age=0/ } @set), 'and one for a domain');
    is($g->get($h, $path, Cookie => "$name=a", Cookie => "$name=a")->{status}, 400, 'over two lines too');
}
is($g->get($host, '/', @owner, @owner)->{status}, 400, 'two owner tokens: 400');

# Set-Cookie of a workspace
sub kept {
    my (@cookies) = @_;
    my $query = join '&', map { s/([^A-Za-z0-9=.-])/sprintf '%%%02X', ord $1/ger } @cookies;
    return $g->get($host, "/set-cookie?$query", @owner)->{headers}{'set-cookie'} // 'none';
}
my $w = $g->{workspace_domain};
for (
    ['app=1', 1], ["app=1; Path=/; Domain=$host", 1], ["app=1; domain=.$host", 1], ['gp_workspaces=1', 1],
    ['gp_workspace=x', 0], ['gp_session=x; Path=/', 0], ['gp_nonce=x', 0], ['__Host-gp_workspace=x; Secure', 0], [' gp_workspace =x', 0], ['GP_WORKSPACE=x', 0],
    ["app=1; Domain=$w", 0], ["app=1; Domain=.$w", 0], ["app=1; DOMAIN = $w; Path=/", 0], ['app=1; Domain=test', 0], ["app=1; Path=/; Domain=$d", 0],
    ["app=1; Domain=$host; Domain=$w", 0], ['=gp_workspace=x', 0],
) {
    my ($cookie, $keep) = @$_;
    is(kept($cookie), $keep ? $cookie : 'none', "Set-Cookie \"$cookie\" " . ($keep ? 'passes' : 'is dropped'));
}
is(kept('a=1', 'gp_workspace=x', 'b=2'), "a=1\nb=2", 'the others of the same answer pass');
is($g->upgrade($host, '/', @owner)->{headers}{'set-cookie'}, undef, 'on an upgrade too');

$g->finish;
