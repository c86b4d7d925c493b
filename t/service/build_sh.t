#!/usr/bin/perl
# Wrong settings, commands and users get one sentence that names the thing and the way out, and change nothing.
use strict;
use warnings;
use Test::More;

sub run {
    my ($cmd) = @_;
    my $out = qx($cmd 2>&1 </dev/null);
    return ($? >> 8, $out);
}

delete @ENV{grep { /^GITPOD_/ } keys %ENV}; # the settings of who runs it are no part of this
my $dir = "/tmp/gpb$$";
my $env = "env GITPOD_STATE=$dir/state GITPOD_RUN=$dir/run GITPOD_PORT=1 GITPOD_PROBE_PORT=2";
for my $case (
    ['GITPOD_PORT=abc', 'status', qr/GITPOD_PORT is 'abc'.*number/], ['GITPOD_PORT=70000', 'status', qr/65535/],
    ['GITPOD_PROBE_PORT=1', 'status', qr/both 1/], ['GITPOD_GRPC_PORT=2', 'status', qr/GITPOD_PROBE_PORT and GITPOD_GRPC_PORT are both 2/], ['GITPOD_GRPC_PORT=x', 'status', qr/number/], ['GITPOD_RUN=rel', 'status', qr/GITPOD_RUN.*absolute/],
    ['GITPOD_RUN=/' . 'x' x 70, 'status', qr/unix socket/], ['GITPOD_DOMAIN=A_b', 'status', qr/GITPOD_DOMAIN.*host name/],
    ['GITPOD_WORKSPACE_DOMAIN=gitpod.localhost', 'status', qr/must differ/], ['GITPOD_ALLOW_FILE_URLS=maybe', 'status', qr/on or off/],
    ['A=1', 'frobnicate', qr/no command 'frobnicate'/], ['A=1', 'token', qr/not running.*build\.sh up/], ['A=1', 'login-link', qr/not running.*build\.sh up/],
    ['A=1', 'flag', qr/flag list \[USER\], flag set NAME on\|off.*flag delete NAME/], ['A=1', 'flag set x', qr/not 'flag set x'/],
    ['A=1', 'flag set x yes', qr/on or off, not 'yes'/], ['A=1', 'flag set x on percent=many', qr/'percent=many': .*0 to 100/],
    ['A=1', 'flag set x on user=1', qr/'user=1' is neither/], ['A=1', 'flag list', qr/not running.*build\.sh up/],
    ['A=1', 'bench nope', qr/no bench 'nope'; there are: .*hop/]) {
    my ($setting, $command, $text) = @$case;
    my ($rc, $out) = run("$env $setting ./build.sh $command");
    isnt($rc, 0, "$setting $command fails");
    like($out, $text, '  and says why');
}
my ($rc, $out) = run("$env ./build.sh status");
is($rc, 3, 'status of what does not run: 3');
for my $command (qw(up down token flag deps)) {
    ($rc, $out) = run("$env setpriv --reuid 65534 --regid 65534 --clear-groups ./build.sh $command");
    isnt($rc, 0, "$command without root fails");
    like($out, qr/needs root.*sudo/, '  and says how');
}
($rc, $out) = run("$env ./build.sh --help");
is($rc, 0, '--help');
like($out, qr/\Q$_\E/, "  names $_") for qw(up down status login-link token flag deps build test lint bench fuzz install clean GITPOD_STATE GITPOD_CACHE);
ok(!-e $dir, 'nothing was made');
done_testing();
