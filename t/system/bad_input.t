#!/usr/bin/perl
# What bad input gets; nothing else is disturbed.
use strict;
use warnings;
use lib 't/lib';
use Test::More;
use JSON::PP;
use IO::Socket::INET;
use GitpodSystem;

my $s = GitpodSystem->new;
my $git = $s->git_server;
$s->git_repository('acme/a', { 'a' => "a\n" });
my $good = $s->create("$git/acme/a.git");
$s->wait_phase($good, 'PHASE_RUNNING');

# ---- context URLs ----
for my $case (
    ['', qr/url/i], ['not a url', qr/url/i], ['ftp://example.com/a/b', qr/http/i], ['javascript:alert(1)', qr/./],
    ["http://example.com/a\nb", qr/./], ['http://u:p@example.com/a/b', qr/token|password/i], ['file:///etc', qr/file/i],
    ['http://example.com/' . 'a' x 3000, qr/2048|long/i], ["$git/acme/a/tree/--upload-pack=x", qr/./]) {
    my ($url, $text) = @$case;
    my $r = $s->rpc('CreateAndStartWorkspace', { contextUrl => { url => $url } });
    my $name = substr($url =~ s/[^ -~]/?/gr, 0, 40);
    is($r->{status}, 400, "'$name' is refused with 400");
    is($r->{data}{code}, 'invalid_argument', "  code");
    like($r->{data}{message}, $text, "  text: " . ($r->{data}{message} // ''));
}

# ---- repositories ----
for my $case (
    ['http://no-such-host.invalid/a/b', qr/no-such-host\.invalid/], ['http://127.0.0.1:1/a/b.git', qr/127\.0\.0\.1:1|connect|reach/i],
    ["$git/acme/missing.git", qr/exist|not found/i], ["$git/acme/a/tree/no-such-branch", qr/no-such-branch/],
    ["$git/acme/a/commit/" . 'deadbeef' x 5, qr/deadbeef/]) {
    my ($url, $text) = @$case;
    my $id = $s->create($url);
    my $w = $s->wait_phase($id, 'PHASE_STOPPED', 90);
    like($w->{status}{conditions}{failed}, $text, 'says why: ' . ($w->{status}{conditions}{failed} // ''));
    is($w->{status}{conditions}{failedReason} // '', 'FAILED_REASON_CONTENT_INITIALIZATION_FAILED', '  with the reason');
    $s->rpc('DeleteWorkspace', { workspaceId => $id });
}

# ---- delete while starting, two starts at once ----
$s->git_repository('acme/big', { map { ("f$_" => join '', map { chr(32 + int rand 90) } 1 .. 20000) } 1 .. 60 });
my $slow = $s->create("$git/slow/acme/big.git");
ok($s->wait_for(20, 'progress', sub { my $w = $s->workspace($slow); ($w->{status}{progress}{detail} // '') =~ /\d/ }), 'a slow clone shows progress');
is($s->rpc('DeleteWorkspace', { workspaceId => $slow })->{status}, 200, 'delete while starting');
is($s->rpc('GetWorkspace', { workspaceId => $slow })->{status}, 404, '  it is gone');
ok($s->wait_for(20, 'container', sub { !$s->container($slow) }), '  and no container stays');

# ---- credentials ----
my $token = $s->token;
for my $case (['unknown', 'gitpod_pat_' . 'a' x 43 . '.' . 'b' x 40], ['malformed', 'gitpod_pat_x'], ['foreign', 'ghp_abcdefghijkl'], ['empty', ''], ['long', 'gitpod_pat_' . 'x' x 6000], ['altered', substr($token, 0, -1) . (substr($token, -1) eq 'a' ? 'b' : 'a')]) {
    my $r = $s->rpc('GetWorkspace', { workspaceId => $good }, token => $case->[1]);
    is($r->{status}, 401, "$case->[0] token: 401");
    is($r->{data}{code}, 'unauthenticated', '  as a Connect error') or diag($r->{body});
}
is($s->rpc('GetWorkspace', { workspaceId => $good }, token => undef)->{status}, 401, 'no credential: 401');
is($s->rpc('GetWorkspace', { workspaceId => $good }, token => undef, headers => ['Cookie: gp_session=a.b.c'])->{status}, 401, 'garbage cookie: 401');
is($s->rpc('GetWorkspace', { workspaceId => $good }, token => undef, headers => ['Cookie: gp_session=a; gp_session=b'])->{status}, 400, 'two session cookies: 400');
is($s->rpc('GetWorkspace', { workspaceId => 'acme-none-abcdefgh' })->{status}, 404, 'unknown workspace: 404');
is($s->rpc('GetWorkspace', { workspaceId => '../../etc' })->{status}, 400, 'malformed workspace id: 400');

# ---- hosts ----
my $W = $s->{workspace_domain};
my ($editor, $nobodys) = map { $s->gateway_port($_) } $good, 'amber-fox-k3j9x2m1';
my @hosts = $s->{mode} eq 'host'
    ? (["a.$good.$W", 404], [uc("$good.$W"), 401], ["$good.$W.", [400, 404]], ["99999-$good.$W", [400, 404]], ["0-$good.$W", [400, 404]], ["22999-$good.$W", [400, 404]],
        ["abc-$good.$W", 401], ['a' x 300 . ".$W", [400, 404]], ["$good.$W:99999", [400, 401, 404]], ["$good.$W:port", [400, 404]], ['', [400]], ["nobody-home-abcdefgh.$W", 401],
        ["example.com", 404], ["$good.$W\@evil", [400, 404]])
    # The listener says which workspace it is; of Host only W counts, and there is nothing below W.
    : (["$W:$editor", 401], [uc("$W:$editor"), 401], ["$W:$nobodys", 401], ["$W:1", 401], ["$W:$nobodys", 401, $nobodys], ["$W:$editor", 401, $nobodys],
        ["$W:$editor", 404, $s->{env}{GITPOD_PORT}], ["$W.:$editor", 400], ["$good.$W:$editor", 404], ["3000-$good.$W:$editor", 404], ["$s->{domain}:$editor", 404],
        ['a' x 300 . ".$W", [400, 404]], ["$W:99999", 400], ["$W:port", 400], ['', 400], ["example.com", 404], ["$W\@evil", [400, 404]]);
for my $case (@hosts) {
    my ($host, $want, $port) = @$case;
    my $sock = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $port // $editor, Timeout => 10) or die $!;
    print $sock "GET /healthz HTTP/1.1\r\nHost: $host\r\nConnection: close\r\n\r\n";
    my $line = <$sock> // '';
    my ($status) = $line =~ m{^HTTP/1.1 (\d+)};
    ok((grep { ($status // 0) == $_ } ref $want ? @$want : $want), sprintf "Host '%s'%s: %s", substr($host, 0, 60), $port ? " at $port" : '', $status // 'closed');
}

# ---- requests ----
my $r = $s->http(url => "$s->{url}/", headers => [map { "X-Big-$_: " . 'x' x 8000 } 1 .. 125]);
ok(scalar(grep { $r->{status} == $_ } 400, 431, 494, 0), "1 MB of headers is refused ($r->{status})");
my $m = "$s->{url}/public-api/gitpod.v1.WorkspaceService/GetWorkspace";
my @auth = ("Authorization: Bearer $token");
for my $case (
    ['body over the limit', 413, 'resource_exhausted', method => 'POST', url => $m, headers => [@auth, 'Content-Type: application/json'], body => '{"workspaceId":"' . 'x' x 5000000 . '"}'],
    ['protobuf garbage', 400, 'invalid_argument', method => 'POST', url => $m, headers => [@auth, 'Content-Type: application/proto'], body => "\x0a\xff\xff\xff\xff\xff"],
    ['JSON garbage', 400, 'invalid_argument', method => 'POST', url => $m, headers => [@auth, 'Content-Type: application/json'], body => '{"workspaceId":'],
    ['a field of the wrong type', 400, 'invalid_argument', method => 'POST', url => $m, headers => [@auth, 'Content-Type: application/json'], body => '{"workspaceId":7}'],
    ['unknown RPC', 404, 'unimplemented', method => 'POST', url => "$s->{url}/public-api/gitpod.v1.WorkspaceService/Nope", headers => [@auth, 'Content-Type: application/json'], body => '{}'],
    ['unknown service', 404, 'unimplemented', method => 'POST', url => "$s->{url}/public-api/gitpod.v1.Nope/Nope", headers => [@auth, 'Content-Type: application/json'], body => '{}'],
    ['wrong method', 405, undef, method => 'GET', url => $m, headers => [@auth]],
    ['wrong content type', 415, undef, method => 'POST', url => $m, headers => [@auth, 'Content-Type: text/plain'], body => 'x'],
) {
    my ($name, $status, $code, %arg) = @$case;
    my $r = $s->http(%arg);
    my $data = eval { decode_json($r->{body}) };
    my $ok = $r->{status} == $status || ($name =~ /over the limit/ && $r->{status} == 429);
    ok($ok, "$name: $r->{status}");
    ok(ref $data && $data->{message}, '  a Connect error with a text: ' . (ref $data ? $data->{message} // '' : substr $r->{body}, 0, 80));
    is($data->{code}, $code, '  code') if defined $code;
    like($data->{message}, qr/workspace_?id/i, '  the text names the field') if $name =~ /wrong type/;
}
for my $page ('/no/such/page.html', '/assets/none.js') {
    like($s->http(url => "$s->{url}$page", headers => ['Accept: text/html'])->{body}, qr/<html/i, "$page gets a page");
}

# ---- the engine's side: image missing, container killed, editor that crashes ----
my $c = $s->container($good);
$s->podman('kill', $c);
my $w = $s->wait_phase($good, 'PHASE_STOPPED', 30);
like($w->{status}{conditions}{failed}, qr/unexpected|ended|killed/i, 'a container killed from outside: ' . ($w->{status}{conditions}{failed} // ''));
$s->rpc('StartWorkspace', { workspaceId => $good });
$s->wait_phase($good, 'PHASE_RUNNING');
pass('and it starts again');

# ---- somebody removed the network of workspaces from the engine ----
$s->rpc('StopWorkspace', { workspaceId => $good });
$s->wait_phase($good, 'PHASE_STOPPED', 30);
my ($network) = ($s->podman('network', 'ls', '--format', '{{.Name}}'))[1] =~ /^(gitpod-\w+)$/m;
my ($rc, $out) = $s->podman('network', 'rm', '-f', $network // 'none');
is($rc, 0, 'the network of workspaces is removed') or diag($out);
$s->rpc('StartWorkspace', { workspaceId => $good });
$w = $s->wait_phase($good, 'PHASE_RUNNING');
pass('the next start makes it again');

$s->down;
done_testing();
