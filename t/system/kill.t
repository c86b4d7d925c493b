#!/usr/bin/perl
# kill -9 of each process, at rest and during a start: the system comes back by
# itself, no content is lost, no workspace is stuck. By hand: of those named.
use strict;
use warnings;
use lib 't/lib';
use Test::More;
use JSON::PP;
use Time::HiRes qw(time);
use GitpodSystem;

my $s = GitpodSystem->new;
my $git = $s->git_server;
$s->git_repository('acme/a', { 'a' => "a\n" });
my $kept = $s->create("$git/acme/a.git");
$s->wait_phase($kept, 'PHASE_RUNNING');
$s->inside($kept, 'echo precious > /workspace/a/work.txt');

sub worker_pid { return (split /\n/, qx(pgrep -f '^nginx: worker' -P @{[ $s->service_pid('nginx') ]}))[0] }
sub conmon_pid { my ($id) = @_; my $c = $s->container($id) or return; return (split /\n/, qx(pgrep -f 'conmon.*$c'))[0] }
sub editor_pid { my ($id) = @_; my ($rc, $pid) = $s->podman('inspect', '-f', '{{.State.Pid}}', $s->container($id) // 'none'); return if $rc; chomp $pid; return (split /\n/, qx(pgrep -P $pid -f entry.js))[0] }

my %pid = ((map { my $n = $_; ($n => sub { $s->service_pid($n) }) } qw(nginx auth content ide public_api ws_manager redis engine)),
    'nginx worker' => \&worker_pid, conmon => sub { conmon_pid($_[0]) }, editor => sub { editor_pid($_[0]) });
my %chosen = map { $_ => 1 } @ARGV ? @ARGV : keys %pid;
my @unknown = grep { !$pid{$_} } keys %chosen;
die "no such process: @unknown\n" if @unknown;
my @names = sort keys %chosen;

sub ready { return $s->http(url => "http://127.0.0.1:$s->{env}{GITPOD_PROBE_PORT}/ready", timeout => 3)->{status} == 200 }

sub content_kept {
    my ($id, $what) = @_;
    my $file = "$s->{env}{GITPOD_STATE}/content/$id/workspace/a/work.txt";
    open my $fh, '<', $file or return fail("$what: the work is there: $file: $!");
    is(<$fh>, "precious\n", "$what: the work is there");
}

# ---- at rest ----
for my $name (@names) {
    my $pid = $pid{$name}->($kept);
    ok($pid && kill('KILL', $pid), "kill -9 $name at rest") or next;
    ok($s->wait_for(60, 'ready', sub { !kill(0, $pid) && ready() }), "$name: ready again");
    my $w;
    ok($s->wait_for(60, 'phase', sub {
        $w = eval { $s->workspace($kept) } or return;
        my $p = $w->{status}{phase}{name};
        return 1 if $p eq 'PHASE_STOPPED' && ($w->{status}{conditions}{failed} // '') ne '';
        return $p eq 'PHASE_RUNNING' && $s->workspace_http($kept, '/healthz')->{status} == 200;
    }), "$name: the workspace runs, or failed with a reason: " . ($w ? "$w->{status}{phase}{name} " . ($w->{status}{conditions}{failed} // '') : 'no answer'));
    if ($name ne 'conmon') {
        is($w->{status}{phase}{name}, 'PHASE_RUNNING', "$name: the workspace was not disturbed");
    }
    content_kept($kept, $name);
    if ($s->phase($kept) ne 'PHASE_RUNNING') {
        $s->rpc('StartWorkspace', { workspaceId => $kept });
        $s->wait_phase($kept, 'PHASE_RUNNING');
    }
}

# ---- during a start ----
$s->git_repository('acme/big', { map { ("f$_" => join '', map { chr(32 + int rand 90) } 1 .. 20000) } 1 .. 20 });
for my $name (grep { $_ ne 'conmon' && $_ ne 'editor' } @names) {
    my $pid = $pid{$name}->();
    my $id = $s->create("$git/slow/acme/big.git");
    $s->wait_for(20, 'creating', sub { ($s->workspace($id)->{status}{progress}{detail} // '') =~ /\d/ });
    ok($pid && kill('KILL', $pid), "kill -9 $name during a start") or next;
    my $w;
    ok($s->wait_for(60, 'settled', sub {
        $w = eval { $s->workspace($id) } or return;
        return $w->{status}{phase}{name} eq 'PHASE_RUNNING' || ($w->{status}{phase}{name} eq 'PHASE_STOPPED' && ($w->{status}{conditions}{failed} // '') ne '');
    }), "$name: the start ended running or failed with a reason: " . encode_json($w->{status} // {}));
    ok($s->wait_for(30, 'ready', \&ready), "$name: ready again");
    content_kept($kept, "$name during a start");
    $s->rpc('DeleteWorkspace', { workspaceId => $id });
}

# ---- the engine stopped: before, and it says so ----
if ($chosen{engine}) {
    system("sv -w 10 force-stop $s->{env}{GITPOD_RUN}/sv/engine >/dev/null");
    my $id = $s->create("$git/acme/a.git");
    my $w = $s->wait_phase($id, 'PHASE_STOPPED', 90);
    like($w->{status}{conditions}{failed}, qr/engine|podman/i, 'engine away: ' . $w->{status}{conditions}{failed});
    is($s->workspace_http($kept, '/healthz')->{status}, 200, 'workspaces that run do not notice');
    system("sv start $s->{env}{GITPOD_RUN}/sv/engine >/dev/null");
    ok($s->wait_for(30, 'start', sub { $s->rpc('StartWorkspace', { workspaceId => $id }); $s->phase($id) eq 'PHASE_RUNNING' }), 'and it starts when the engine is back');
}

# ---- an editor that crashes in a loop ----
if ($chosen{editor}) {
    my $id = $s->create("$git/acme/a.git");
    $s->wait_phase($id, 'PHASE_RUNNING');
    my $pid;
    my $end = time + 60;
    while (time < $end && $s->phase($id) eq 'PHASE_RUNNING') {
        kill 'KILL', $pid if ($pid = editor_pid($id));
        select undef, undef, undef, 0.2;
    }
    my $w = $s->wait_phase($id, 'PHASE_STOPPED', 60);
    like($w->{status}{conditions}{failed}, qr/editor/i, 'an editor that crashes in a loop: ' . ($w->{status}{conditions}{failed} // ''));
}

# ---- Redis away: who is signed in goes on working ----
system("sv -w 10 force-stop $s->{env}{GITPOD_RUN}/sv/redis >/dev/null");
is($s->workspace_http($kept, '/healthz', owner_token => $s->owner_token($kept))->{status}, 200, 'without Redis a running workspace answers');
system("sv start $s->{env}{GITPOD_RUN}/sv/redis >/dev/null");
ok($s->wait_for(30, 'ready', \&ready), 'and the system is ready when it is back');
$s->down;
done_testing();
