#!/usr/bin/perl
# Wrong settings, commands and users get one sentence that names the thing and the way out, and change nothing.
use strict;
use warnings;
use File::Temp qw(tempdir);
use FindBin;
use lib "$FindBin::Bin/../lib";
use Test::More;
use TestCa;

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
    ['GITPOD_MODE=path', 'status', qr/host or port/], ['GITPOD_PORT_RANGE=10000-10009', 'status', qr/GITPOD_MODE is not port/],
    (map { [ "GITPOD_MODE=port $_->[0]", 'status', $_->[1] ] } ['GITPOD_PORT_RANGE=10000', qr/like 10000-10099/], ['GITPOD_PORT_RANGE=10010-10000', qr/the lower first/],
        ['GITPOD_PORT_RANGE=1000-1100', qr/from 1024/], ['GITPOD_PORT_RANGE=65000-65536', qr/to 65535/], ['GITPOD_PORT_RANGE=10000-11000', qr/at most 1000/],
        ['GITPOD_PORT=10050', qr/GITPOD_PORT is 10050, which lies in GITPOD_PORT_RANGE 10000-10099/], ['GITPOD_WORKSPACE_DOMAIN=gitpod.localhost', qr/cookies ignore ports. Name another host/]),
    ["GITPOD_GATEWAY_PORTS='8081 x'", 'status', qr/two different ports/], ["GITPOD_GATEWAY_PORTS='8081 8082' GITPOD_BALANCER=lb.example", 'status', qr/an address or network/],
    ["GITPOD_GATEWAY_PORTS='8081 8082' GITPOD_PROBE_PORT=8081", 'status', qr/GITPOD_GATEWAY_PORTS has 8081, which is another port of this instance/],
    ["GITPOD_GATEWAY_WORKSPACE_PORTS='8083 8084'", 'status', qr/with GITPOD_GATEWAY_PORTS and GITPOD_MODE=port only/], ["GITPOD_GATEWAY_PORTS='8081 8082' GITPOD_GATEWAY_WORKSPACE_PORTS='8083 8084'", 'status', qr/with .* GITPOD_MODE=port only/],
    (map { [ "GITPOD_MODE=port GITPOD_GATEWAY_PORTS='8081 8082' $_->[0]", 'status', $_->[1] ] } ['A=1', qr/GITPOD_GATEWAY_WORKSPACE_PORTS is '': it must be two different ports like '8083 8084'/],
        ["GITPOD_GATEWAY_WORKSPACE_PORTS='8083 8083'", qr/two different ports/], ["GITPOD_GATEWAY_WORKSPACE_PORTS='8083 70000'", qr/two different ports/],
        ["GITPOD_GATEWAY_WORKSPACE_PORTS='8083 8082'", qr/WORKSPACE_PORTS has 8082, which is another port/], ["GITPOD_GATEWAY_WORKSPACE_PORTS='8083 10005'", qr/10005, which lies in GITPOD_PORT_RANGE 10000-10099: those are the load balancer's/]),
    ["GITPOD_GATEWAY_PORTS='8081 8082' GITPOD_GRPC_PORT=5", 'status', qr/use gRPC by TLS/], ['A=1', 'drain 2', qr/no second gateway/], ['A=1', 'drain x', qr/1 or 2, not 'x'/],
    ['A=1', 'frobnicate', qr/no command 'frobnicate'/], ['A=1', 'token', qr/not running.*build\.sh up/], ['A=1', 'login-link', qr/not running.*build\.sh up/],
    ['A=1', 'flag', qr/flag list \[USER\], flag set NAME on\|off.*flag delete NAME/], ['A=1', 'flag set x', qr/not 'flag set x'/],
    ['A=1', 'flag set x yes', qr/on or off, not 'yes'/], ['A=1', 'flag set x on percent=many', qr/'percent=many': .*0 to 100/],
    ['A=1', 'flag set x on user=1', qr/'user=1' is neither/], ['A=1', 'flag set x on users=', qr/names nobody: leave it out/],
    ['A=1', 'flag list a,b', qr/takes one user/], ['A=1', 'flag list', qr/not running.*build\.sh up/],
    ['A=1', 'bench nope', qr/no bench 'nope'; there are: .*hop/]) {
    my ($setting, $command, $text) = @$case;
    my ($rc, $out) = run("$env $setting ./build.sh $command");
    isnt($rc, 0, "$setting $command fails");
    like($out, $text, '  and says why');
}

# Certificates: what is wrong with the files is said before anything else happens.
my $tls = tempdir('gptlsXXXXXX', TMPDIR => 1, CLEANUP => 1);
my $ca = TestCa->new($tls);
my ($d, $w) = ($ca->issue('gp.test', 'api.gp.test'), $ca->issue('*.ws-gp.test'));
my ($narrow, $soon) = ($ca->issue('gp.test'), $ca->issue({ days => 3 }, 'gp.test', 'api.gp.test', '*.ws-gp.test'));
sub certificates {
    my (%set) = (GITPOD_TLS_CERTIFICATE => $d->{cert}, GITPOD_TLS_KEY => $d->{key}, GITPOD_TLS_WORKSPACE_CERTIFICATE => $w->{cert}, GITPOD_TLS_WORKSPACE_KEY => $w->{key}, @_);
    return run("env TOP=. GITPOD_DOMAIN=gp.test " . join(' ', map { "$_=$set{$_}" } sort keys %set) . q{ bash -c '. conf/setup/common.sh; . conf/setup/mode.sh; . conf/setup/gateways.sh; . conf/setup/tls.sh; check_settings; check_certificates; echo "$EXTERNAL_URL $LISTEN"'});
}
is_deeply([ certificates() ], [ 0, "https://gp.test 443 ssl http2\n" ], 'good certificates: https on 443');
is((certificates(GITPOD_PORT => 8443))[1], "https://gp.test:8443 8443 ssl http2\n", 'or on another port');
for my $case (
    [ { GITPOD_TLS_KEY => '' }, qr/GITPOD_TLS_KEY is not set/ ],
    [ { GITPOD_TLS_CERTIFICATE => '', GITPOD_TLS_WORKSPACE_CERTIFICATE => '', GITPOD_TLS_WORKSPACE_KEY => '' }, qr/GITPOD_TLS_KEY is set but GITPOD_TLS_CERTIFICATE is not/ ],
    [ { GITPOD_TLS_CERTIFICATE => 'relative.pem' }, qr/absolute path/ ],
    [ { GITPOD_TLS_CERTIFICATE => "$tls/none" }, qr/GITPOD_TLS_CERTIFICATE: cannot read/ ],
    [ { GITPOD_TLS_CERTIFICATE => $d->{key} }, qr/is no PEM certificate/ ],
    [ { GITPOD_TLS_KEY => $d->{cert} }, qr/GITPOD_TLS_KEY: .* is no PEM key/ ],
    [ { GITPOD_TLS_KEY => $w->{key} }, qr/does not belong to/ ],
    [ { GITPOD_TLS_CERTIFICATE => $narrow->{cert}, GITPOD_TLS_KEY => $narrow->{key} }, qr/is not for api\.gp\.test; it is for DNS:gp\.test/ ],
    [ { GITPOD_TLS_WORKSPACE_CERTIFICATE => $d->{cert}, GITPOD_TLS_WORKSPACE_KEY => $d->{key} }, qr/GITPOD_TLS_WORKSPACE_CERTIFICATE: .* is not for 3000-example\.ws-gp\.test/ ],
    [ { GITPOD_TLS_STAPLING => 'maybe' }, qr/on or off/ ],
    [ { GITPOD_HTTP_PORT => 443 }, qr/GITPOD_PORT and GITPOD_HTTP_PORT are both 443/ ]) {
    my ($set, $text) = @$case;
    my ($rc, $out) = certificates(%$set);
    ok($rc != 0 && $out =~ $text, 'wrong: ' . join ' ', map { s{$tls/ca/}{}r } %$set) or diag($out);
}
my ($rc, $out) = certificates(GITPOD_TLS_CERTIFICATE => $soon->{cert}, GITPOD_TLS_KEY => $soon->{key});
ok($rc == 0 && $out =~ /ends on .*renew it/, 'one that ends soon is named');
($rc, $out) = run("$env GITPOD_TLS_CERTIFICATE=$narrow->{cert} GITPOD_TLS_KEY=$narrow->{key} GITPOD_DOMAIN=gp.test ./build.sh up");
ok($rc != 0 && $out =~ /is not for api/ && !-e $dir, 'up says so before it does anything') or diag($out);
($rc, $out) = run("$env ./build.sh reload");
ok($rc != 0 && $out =~ /nginx does not run here/, 'reload of what does not run');

($rc, $out) = run("$env ./build.sh status");
is($rc, 3, 'status of what does not run: 3');
for my $command (qw(up down reload token flag deps)) {
    ($rc, $out) = run("$env setpriv --reuid 65534 --regid 65534 --clear-groups ./build.sh $command");
    isnt($rc, 0, "$command without root fails");
    like($out, qr/needs root.*sudo/, '  and says how');
}
($rc, $out) = run("$env ./build.sh --help");
is($rc, 0, '--help');
like($out, qr/\Q$_\E/, "  names $_") for qw(up down status reload login-link token flag deps build test lint bench fuzz install clean GITPOD_STATE GITPOD_CACHE);
ok(!-e $dir, 'nothing was made');
done_testing();
