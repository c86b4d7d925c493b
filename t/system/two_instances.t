#!/usr/bin/perl
# Two instances side by side on one machine: networks, ports, state apart; one going down is nothing to the other.
# On the way: binary protobuf through the gateway.
use strict;
use warnings;
use lib 't/lib';
use Test::More;
use GitpodSystem;

my @s = map { GitpodSystem->new } 1, 2;
my @git = map { $_->git_server } @s;
my (@id, @ip);
for my $i (0, 1) {
    $s[$i]->git_repository('acme/a', { a => "a\n" });
    $id[$i] = $s[$i]->create("$git[$i]/acme/a.git");
}
for my $i (0, 1) {
    $s[$i]->wait_phase($id[$i], 'PHASE_RUNNING');
    ($ip[$i]) = ($s[$i]->inside($id[$i], 'ip -4 -o addr show eth0'))[1] =~ m{inet ([0-9.]+)/};
    is($s[$i]->workspace_http($id[$i], '/healthz')->{status}, 200, "instance $i serves its workspace at $ip[$i]");
}
my @names = map { { map { /^(\w+)=(.*)/ } split /\n/, qx(cat $_->{env}{GITPOD_STATE}/network.env) } } @s;
isnt($names[0]{$_}, $names[1]{$_}, "each has its own $_: $names[0]{$_}, $names[1]{$_}") for 'SUBNET', 'UID_BASE';
for my $i (0, 1) {
    my $other = $ip[1 - $i];
    like(($s[$i]->inside($id[$i], "timeout 3 bash -c 'exec 3<>/dev/tcp/$other/23000' && echo reached || echo refused"))[1], qr/^refused/m, "a workspace of instance $i does not reach the other's");
}
is($s[0]->rpc('GetWorkspace', { workspaceId => $id[0] }, token => $s[1]->token)->{status}, 401, 'a token of one is none of the other');
is($s[1]->rpc('GetWorkspace', { workspaceId => $id[0] })->{status}, 404, 'nor is a workspace');

my $r = $s[1]->http(method => 'POST', url => "$s[1]->{url}/public-api/gitpod.v1.WorkspaceService/GetWorkspace",
    headers => ['Content-Type: application/proto', 'Authorization: Bearer ' . $s[1]->token], body => pack('C C/a*', 0x0a, $id[1]));
is($r->{status}, 200, 'binary protobuf: the request is understood');
like($r->{headers}, qr{^content-type: application/proto}mi, 'and answered in kind');
like($r->{body}, qr/^\x0a.{1,3}\x0a\Q@{[ chr length $id[1] ]}$id[1]\E/s, 'with the workspace, its id in field 1');

$s[0]->down;
is($s[1]->workspace_http($id[1], '/healthz')->{status}, 200, 'the other goes on when one goes down');
$s[1]->down;
done_testing();
