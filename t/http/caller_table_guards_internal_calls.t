# Calls between services: the socket is the caller, the table says what it may.
use strict;
use warnings;
use Test::More;
use GitpodGateway;

my $g = GitpodGateway->new;
my $get = '/gitpod.internal.v1.WorkspaceManagerService/GetWorkspace';
my $create = '/gitpod.internal.v1.AuthService/CreateToken';

sub as {
    my ($caller, $path, @headers) = @_;
    local $g->{unix} = "$g->{run}/gateway/$caller/gateway.sock";
    return $g->post('gateway', $path, '{"workspaceId":"x"}', 'Content-Type' => 'application/json', @headers);
}

my $r = as('public_api', $get, 'Gitpod-Caller' => 'admin', 'Connect-Timeout-Ms' => 500);
is($r->{status}, 200, 'a caller in the table is let through');
is($r->{json}{service}, 'ws_manager', 'to the service of the method');
is($r->{json}{params}{GITPOD_CALLER}, 'public_api', 'which is told who calls');
is($r->{json}{params}{GITPOD_PATH}, $get, 'and what');
is($r->{json}{params}{GITPOD_CREDENTIAL}, 'none', 'no person is behind it');
is($r->{json}{params}{HTTP_CONNECT_TIMEOUT_MS}, '500', 'the deadline passes');
is($r->{json}{params}{HTTP_GITPOD_CALLER}, undef, 'a header changes nothing');
is($r->{json}{body_length}, 19, 'the body passes');
is(as('admin', $create)->{json}{service}, 'auth', 'admin may create tokens');

for my $caller (qw(auth ws_manager content ide admin)) {
    my $refused = as($caller, $get);
    is($refused->{status}, 403, "$caller may not call GetWorkspace");
    is($refused->{json}{code}, 'permission_denied', 'and is told so');
}
is(as('public_api', $create)->{status}, 403, 'public_api may not create tokens');
is(as('admin', "$create?x=1")->{status}, 200, 'a query does not matter');
is(as('admin', '/gitpod.internal.v1.AuthService/Nothing')->{status}, 403, 'a method nobody knows is in no table');
for my $path ('/gitpod.internal.v2.X/Y', '/', '/health', '/metrics', '/_internal/introspect') {
    is(as('admin', $path)->{status}, 404, "$path is no internal call");
}
is(as('admin', '/gitpod.internal.v1.AuthService//CreateToken')->{json}{params}{GITPOD_PATH}, $create, 'one spelling of a path reaches the service');

# where the table is asked about a person's request, there is no caller
is($g->post($g->{domain}, $get, '{}')->{status}, 405, 'on the main domain the path means nothing');

my ($logged) = grep { $_->{caller} eq 'public_api' } $g->access_log;
is($logged->{status}, 200, 'the log names the caller');

$g->finish;
