#!/usr/bin/perl
# api.D: the public API by its bare paths, JSON errors, CORS for pages of D and for nobody else.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use GitpodGateway;
use Test::More;

my $g = GitpodGateway->new;
my $api = "api.$g->{domain}";
my $d = "http://$g->{domain}:$g->{port}";
my $token = 'gitpod_pat_' . 'a' x 40;
$g->put_token($token);
my $path = '/gitpod.v1.WorkspaceService/GetWorkspace';
my @json = ('Content-Type' => 'application/json');
my @as = (@json, Authorization => "Bearer $token");

my $r = $g->post($api, $path, '{}', @as);
ok($r->{status} == 200 && $r->{json}{service} eq 'public_api' && $r->{json}{params}{GITPOD_PATH} eq $path, 'a method by its bare path');
is($r->{json}{params}{GITPOD_USER}, $g->{owner}, 'as the user of the token');
is($r->{json}{params}{CONTENT_TYPE}, 'application/json', 'with the content type it came with');
ok(!exists $r->{json}{params}{HTTP_AUTHORIZATION}, 'the token itself goes no further');
is($g->post($api, '/gitpod.extension.v1.GitTokenService/ListGitTokens', '{}', @as)->{status}, 200, 'our own package too');
is($g->post($api, $path, '{}', @json)->{status}, 401, 'without a token: 401');

for my $other ('/', '/workspaces', '/public-api' . $path, '/gitpod.internal.v1.AuthService/CreateToken', "$path/", '/api/login/link', '/index.html') {
    $r = $g->post($api, $other, '{}', @as);
    ok($r->{status} == 404 && $r->{json}{code} eq 'unimplemented', "$other: nothing here");
}
$r = $g->get($api, '/_gitpod/introspect', @as);
ok($r->{status} == 404 && $r->{json}{code} eq 'not_found', 'the gateway\'s own question is its own') or diag explain $r;
is($g->browse($api, '/')->{headers}{'content-type'}, 'application/json', 'no pages, for browsers either');

# ---- CORS ----
my @cors = map { "access-control-$_" } qw(allow-origin allow-credentials expose-headers allow-methods allow-headers max-age);
sub cors { my ($response) = @_; return join ' | ', map { $response->{headers}{$_} // '-' } @cors }
$r = $g->post($api, $path, '{}', @as, Origin => $d);
like(cors($r), qr{^\Q$d\E \| true \| Retry-After, Grpc-Status.* \| - \| - \| -$}, 'a page of D may read the answer');
is($r->{headers}{vary}, 'Origin', 'which caches know');
my @ask = ('Access-Control-Request-Method' => 'POST', 'Access-Control-Request-Headers' => 'authorization,connect-protocol-version,x-grpc-web');
$r = $g->request($api, 'OPTIONS', $path, [ Origin => $d, @ask ]);
is($r->{status}, 204, 'the question before it is answered here');
like(cors($r), qr{^\Q$d\E \| true \| .* \| POST, OPTIONS \| .*Authorization.*Connect-Protocol-Version.*X-Grpc-Web.* \| 60$}, 'with what is allowed');
is($g->calls("public_api $path"), 3 - 1, 'and goes no further');
like(cors($g->post($api, $path, '{}', @json, Origin => $d)), qr/^\Q$d\E/, 'errors can be read too');
like(cors($g->post($api, '/none', '{}', @as, Origin => $d)), qr/^\Q$d\E/, 'of any kind');
for my $origin ("https://$g->{domain}:$g->{port}", "http://$g->{domain}", "$d.evil.test", "http://evil.test", "http://x.$g->{domain}:$g->{port}", 'null', "http://x.$g->{workspace_domain}:$g->{port}") {
    $r = $g->request($api, 'OPTIONS', $path, [ Origin => $origin, @ask ]);
    is(cors($r), '- | - | - | - | - | -', "$origin: not one header");
    is(cors($g->post($api, $path, '{}', @as, Origin => $origin)), '- | - | - | - | - | -', '  in the answer either');
}
is(cors($g->post($api, $path, '{}', @as)), '- | - | - | - | - | -', 'programs get none');
$r = $g->request($api, 'OPTIONS', $path, [ Origin => $d, 'Access-Control-Request-Method' => 'DELETE' ]);
like(cors($r), qr/\| - \| - \| -$/, 'another method than POST is not allowed');
ok(!exists $g->post($g->{domain}, "/public-api$path", '{}', @as, Origin => $d)->{headers}{'access-control-allow-origin'}, 'D itself needs none');
$g->finish;
