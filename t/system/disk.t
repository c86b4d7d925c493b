#!/usr/bin/perl
# A repository larger than the free space; a missing image. State on a 300 MB tmpfs.
use strict;
use warnings;
use lib 't/lib';
use Test::More;
use JSON::PP;
use File::Temp qw(tempdir);
use GitpodSystem;

my $state = tempdir('gpdXXXXXX', DIR => '/tmp', CLEANUP => 0);
chmod 0755, $state;
is(system('mount', '-t', 'tmpfs', '-o', 'size=300m,mode=755', 'tmpfs', $state), 0, 'a state of 300 MB');
my $s = GitpodSystem->new(state => $state);
my $git = $s->git_server;
$s->git_repository('acme/small', { 'a' => "a\n" });
my $root = $s->{git}{root};
# 400 MB that do not compress.
mkdir "$s->{dir}/huge";
system("cd $s->{dir}/huge && git init -q -b main && for i in 1 2 3 4; do head -c 100000000 /dev/urandom > f\$i; done && git add . && git -c user.name=a -c user.email=a\@b commit -qm big && git clone -q --bare . $root/acme/huge.git && rm -rf $s->{dir}/huge") == 0 or die;

my $small = $s->create("$git/acme/small.git");
$s->wait_phase($small, 'PHASE_RUNNING');
$s->inside($small, 'echo precious > /workspace/small/work.txt');
my $id = $s->create("$git/acme/huge.git");
my $w = $s->wait_phase($id, 'PHASE_STOPPED', 180);
like($w->{status}{conditions}{failed}, qr/space/i, 'no space left is said: ' . ($w->{status}{conditions}{failed} // ''));
like(($s->inside($small, 'cat /workspace/small/work.txt'))[1], qr/precious/, 'the other workspace is not disturbed');
ok($s->wait_for(10, 'space back', sub { my ($avail) = qx(df --output=avail -m $state) =~ /(\d+)/; $avail > 200 }), 'the space of the failed clone is given back');
my $again = $s->create("$git/acme/small.git");
$s->wait_phase($again, 'PHASE_RUNNING');
pass('and new workspaces start');
$s->down;

# ---- image missing: an instance whose image store is empty ----
my $empty = GitpodSystem->new(no_up => 1, env => { GITPOD_IMAGE => 'localhost/no-such-image:latest' });
$empty->up;
my $git2 = $empty->git_server;
$empty->git_repository('acme/a', { 'a' => "a\n" });
$id = $empty->create("$git2/acme/a.git");
$w = $empty->wait_phase($id, 'PHASE_STOPPED', 60);
like($w->{status}{conditions}{failed}, qr/no-such-image/, 'a missing image is named: ' . ($w->{status}{conditions}{failed} // ''));
is($w->{status}{conditions}{failedReason}, 'FAILED_REASON_IMAGE_PULL_FAILURE', 'with its reason');
$empty->down;
system('umount', '-l', $state);
rmdir $state;
done_testing();
