#!/usr/bin/perl
# What a person sees in an open editor whose workspace stops, in Chromium, and
# the way on from there.
use strict;
use warnings;
use lib 't/lib';
use Test::More;
use GitpodSystem;

my $s = GitpodSystem->new;
my $git = $s->git_server;
$s->git_repository('acme/hello', { 'README.md' => "# hello\n", '.gitpod.yml' => "tasks:\n  - command: echo ready\n" });
my $id = $s->create("$git/acme/hello.git");
$s->wait_phase($id, 'PHASE_RUNNING');

local $ENV{GP_LINK} = $s->{link};
local $ENV{GP_START} = "$s->{url}/start/";
local $ENV{GP_EDITOR} = $s->workspace_url($id);
local $ENV{GP_SCREENSHOTS} = $ENV{GITPOD_SCREENSHOTS};
local $ENV{GP_PROFILE} = "$s->{dir}/chromium";

open my $node, '-|', 'timeout', '-k', '5', '200', 'node', "$GitpodSystem::TOP/t/browser/stopped_editor.mjs" or die "node: $!";
my $n = 0;
while (my $line = <$node>) {
    if ($line =~ /^(not )?ok - (.*)/) {
        $n++;
        ok(!$1, $2);
    } elsif ($line eq "stop\n") {
        # /proc/net/tcp: something on 127.0.0.1 is connected (01) to the supervisor on 22999
        ok($s->wait_for(30, 'our extension waits for the end', sub { ($s->inside($id, "grep '0100007F:59D7 0100007F:.... 01' /proc/net/tcp"))[1] }), 'our extension waits for the end');
        is($s->rpc('StopWorkspace', { workspaceId => $id })->{status}, 200, 'it is stopped');
    } else {
        diag($line);
    }
}
close $node;
is($? >> 8, 0, 'the browser script ran to its end');
cmp_ok($n, '==', 5, 'and made its assertions');
$s->down;
done_testing();
