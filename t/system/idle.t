#!/usr/bin/perl
# A workspace nobody uses stops by itself; one that is used does not.
use strict;
use warnings;
use lib 't/lib';
use Test::More;
use GitpodSystem;

my $s = GitpodSystem->new(env => { GITPOD_IDLE_TIMEOUT => 15 });
my $git = $s->git_server;
$s->git_repository('acme/a', { 'a' => "a\n" });
my $idle = $s->create("$git/acme/a.git");
my $used = $s->create("$git/acme/a.git");
$s->wait_phase($_, 'PHASE_RUNNING') for $idle, $used;
my $w;
ok($s->wait_for(60, 'idle stop', sub {
    $s->rpc('SendHeartBeat', { workspaceId => $used });
    $w = $s->workspace($idle);
    $w->{status}{phase}{name} eq 'PHASE_STOPPED';
}), 'the unused workspace stopped');
like($w->{status}{conditions}{timeout} // '', qr/inactiv|unused|idle/i, 'it says that it was for lack of use');
is($w->{status}{conditions}{failed} // '', '', 'that is no failure');
is($s->phase($used), 'PHASE_RUNNING', 'the used one goes on');
$s->down;
done_testing();
