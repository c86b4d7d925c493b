#!/usr/bin/perl
# The product with TLS: sign in, a workspace, its editor by hand-off, WebSocket, gRPC; http leads to https; a renewed certificate.
use strict;
use warnings;
use lib 't/lib';
use File::Temp qw(tempdir);
use GitpodSystem;
use Test::More;
use TestCa;

my $dir = tempdir('gptlsXXXXXX', DIR => '/tmp', CLEANUP => 1);
my $ca = TestCa->new($dir);
my $port = GitpodSystem::free_port();
my @names = map { s/D/gp$port.localhost/r } qw(D api.D), ($ENV{TEST_MODE} // '') eq 'port' ? 'ws-D' : '*.ws-D';
my $certificate = $ca->issue(@names);
local $ENV{CURL_CA_BUNDLE} = $ca->{cert};
my $s = GitpodSystem->new(port => $port, env => {
    GITPOD_TLS_CERTIFICATE => $certificate->{cert}, GITPOD_TLS_KEY => $certificate->{key}, GITPOD_HTTP_PORT => GitpodSystem::free_port(),
});
my $git = $s->git_server;
$s->git_repository('acme/app', { 'README.md' => "app\n" });

# ---- sign in ----
like($s->{link}, qr{^https://\Q$s->{domain}\E:$port/api/login/link}, 'the link is https');
my @jar = ('-L', '-c', "$dir/jar", '-b', "$dir/jar");
my $r = $s->http(url => $s->{link}, headers => ['Accept: text/html'], curl => \@jar);
like($r->{headers}, qr/^set-cookie: __Host-gp_session=.*; Secure/mi, 'signed in, with a cookie of this host and TLS only');

# ---- a workspace ----
my $id = $s->create("$git/acme/app.git");
my $w = $s->wait_phase($id, 'PHASE_RUNNING', 120);
my $url = $w->{status}{workspaceUrl};
is($url, $s->workspace_url($id), 'its URL is https');
is($s->workspace_http($id, '/healthz')->{status}, 200, 'the editor answers to the owner token');
$r = $s->http(url => $url, headers => ['Accept: text/html'], curl => \@jar);
my @statuses = "$r->{headers}\r\n\r\n$r->{body}" =~ m{^HTTP/\S+ (\d+)}mg;
is($statuses[-1], 200, 'a person comes into the editor by the hand-off') or diag("@statuses");
like(do { open my $f, '<', "$dir/jar"; local $/; <$f> }, qr/__Host-gp_workspace/, 'with a cookie of that host');
is($s->http(url => "${url}healthz", curl => [ '-b', "$dir/jar" ])->{status}, 200, 'and is in the next time');
$r = $s->http(url => $url, headers => [ 'Connection: Upgrade', 'Upgrade: websocket', 'Sec-WebSocket-Version: 13', 'Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==', "Origin: https://" . $s->address($id) ], curl => [ '-b', "$dir/jar" ], timeout => 3);
like($r->{headers}, qr{^HTTP/1.1 101 }, 'a WebSocket of the editor');
$s->inside($id, 'cd / && (setsid python3 -m http.server 8000 >/dev/null 2>&1 &)');
ok($s->wait_for(15, 'the port', sub { $s->workspace_url($id, 8000) }), 'a port has a URL');
ok($s->wait_for(15, 'its URL inside', sub { ($s->inside($id, 'gp url 8000'))[1] eq $s->workspace_url($id, 8000) . "\n" }), 'which is known inside');
is($s->workspace_http($id, '/', port => 8000)->{status}, 200, 'and leads to it');

# ---- gRPC ----
open my $f, '>', "$dir/message" or die $!;
print $f "\0\0\0\0\0";
close $f;
open my $curl, '-|', 'curl', '-s', '-i', '-m', 20, '--data-binary', "\@$dir/message", '-H', 'content-type: application/grpc', '-H', 'authorization: Bearer ' . $s->token,
    "https://api.$s->{domain}:$port/gitpod.v1.WorkspaceService/ListWorkspaces" or die $!;
like(do { local $/; <$curl> }, qr{^HTTP/2 200 .*^content-type: application/grpc\+proto.*\Q$id\E.*grpc-status: 0\r?\n\z}ms, 'gRPC lists the workspace');

# ---- http, renewal ----
$r = $s->http(url => "http://$s->{domain}:$s->{env}{GITPOD_HTTP_PORT}/workspaces");
like($r->{headers}, qr{^HTTP/1.1 301 .*^location: \Q$s->{url}\E/workspaces\r?$}msi, 'http leads to https');
sub serial { return qx(openssl s_client -connect 127.0.0.1:$port -servername $s->{domain} </dev/null 2>/dev/null | openssl x509 -noout -serial) =~ s/^serial=0*|\n//gr }
is(serial(), $certificate->{serial}, 'the certificate');
my $renewed = $ca->issue(@names);
rename $renewed->{$_}, $certificate->{$_} or die $! for qw(cert key);
my ($code, $out) = $s->build_sh('reload');
is($code, 0, 'reload') or diag($out);
ok($s->wait_for(20, 'the renewed certificate', sub { serial() eq $renewed->{serial} }), 'after it the renewed one');
is($s->workspace_http($id, '/healthz')->{status}, 200, 'the workspace is still there');

# the worker from before the reload still has a stream of a service: nginx 1.22 says so when it is told to stop
$s->down(allow => qr/open socket #\d+ left in connection|: aborting$/);
done_testing();
