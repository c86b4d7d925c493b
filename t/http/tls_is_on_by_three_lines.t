#!/usr/bin/perl
# The gateway with a certificate: HTTP/2 by ALPN, HSTS, gRPC, WebSocket, the way from http, ACME's answers, a name that is not the
# connection's (421), resumption, OCSP stapling, renewal without a lost connection.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use File::Path qw(make_path);
use GitpodGateway;
use IO::Select;
use IPC::Open2;
use Test::More;
use Time::HiRes qw(time);

my $ocsp_port = GitpodGateway::free_port();
my $g = GitpodGateway->new(tls => 1, start => 0);
my ($d, $api, $ca) = ($g->{domain}, "api.$g->{domain}", $g->{ca});
my $ws = $g->host('amber-fox-k3j9x2m1');

# certificates that name an OCSP responder, which is openssl's
$g->{certificate} = $ca->issue({ ocsp => "http://127.0.0.1:$ocsp_port/" }, $d, $api);
$g->{stapling} = 'on';
my $index = $ca->index_file;
$g->write_conf;
$g->child('ocsp.log', sub { exec 'openssl', 'ocsp', '-index', $index, '-port', $ocsp_port, '-rsigner', $ca->{cert}, '-rkey', $ca->{key}, '-CA', $ca->{cert} or die });
make_path("$g->{state}/acme/.well-known/acme-challenge");
GitpodGateway::spew("$g->{state}/acme/.well-known/acme-challenge/token-1", 'token-1.thumbprint');
GitpodGateway::spew("$g->{state}/acme/secret", 'secret');
symlink '/etc/hostname', "$g->{state}/acme/.well-known/acme-challenge/link";
$g->start;

# curl under a name, to this gateway: { status, version, head => [[name, value]], body, rc }
sub curl {
    my ($host, $path, @more) = @_;
    my $scheme = $more[0] && $more[0] eq 'http' ? shift @more : 'https';
    my $port = $scheme eq 'http' ? $g->{http_port} : $g->{port};
    my $out = "$g->{dir}/curl";
    my $rc = system('curl', '-s', '-m', 10, '--cacert', $ca->{cert}, '--resolve', "$host:$port:127.0.0.1", '-D', "$out.head", '-o', "$out.body", @more, "$scheme://$host:$port$path");
    my $head = -f "$out.head" ? GitpodGateway::slurp("$out.head") : '';
    my %r = (rc => $rc >> 8, body => -f "$out.body" ? GitpodGateway::slurp("$out.body") : '', header => {});
    unlink "$out.head", "$out.body";
    ($r{version}, $r{status}) = $head =~ m{^HTTP/(\S+) (\d+)};
    while ($head =~ /^([\w-]+): *(.*?)\r?$/mg) { push @{ $r{header}{ lc $1 } }, $2 }
    return \%r;
}
sub header { my ($r, $name) = @_; return join "\n", @{ $r->{header}{$name} // [] } }

# ---- versions of HTTP, HSTS ----
my $r = curl($d, '/');
ok($r->{status} == 200 && $r->{version} eq '2', 'D by HTTP/2') or diag explain $r;
like(header($r, 'strict-transport-security'), qr/^max-age=31536000$/, 'with HSTS');
$r = curl($d, '/', '--http1.1');
ok($r->{status} == 200 && $r->{version} eq '1.1', 'and by HTTP/1.1');
for my $case ([ $d, '/assets/app.js' ], [ $d, '/none/', '-H', 'Accept: text/html' ], [ $d, '/api/none' ], [ $d, '/public-api/none' ], [ $api, '/none' ], [ $d, '/errors/404.html' ]) {
    my ($host, $path, @more) = @$case;
    is(header(curl($host, $path, @more), 'strict-transport-security'), 'max-age=31536000', "HSTS on $host$path, once");
}
is(header(curl($ws, '/'), 'strict-transport-security'), '', 'none for workspaces: their ports are other programs');

# ---- gRPC and Connect on the API host ----
my $token = 'gitpod_pat_' . 't' x 40;
$g->put_token($token);
my @as = ('-H', "authorization: Bearer $token");
$r = curl($api, '/gitpod.v1.WorkspaceService/GetWorkspace', @as, '-H', 'content-type: application/json', '-d', '{}');
ok($r->{status} == 200 && $r->{body} =~ /"GITPOD_SCHEME":"https"/, 'Connect; services hear https') or diag explain $r;
$r = curl($api, '/gitpod.v1.WorkspaceService/GetWorkspace', '-H', 'content-type: application/grpc', '--data-binary', '00000');
ok($r->{status} == 200 && header($r, 'grpc-status') eq '16', 'gRPC by ALPN') or diag explain $r;

# ---- from http ----
$r = curl($d, '/workspaces?a=b%20c', 'http');
ok($r->{status} == 301 && header($r, 'location') eq "https://$d:$g->{port}/workspaces?a=b%20c", 'http: to the same page of https') or diag explain $r;
is(header(curl($ws, '/x', 'http'), 'location'), "https://$ws:$g->{port}/x", 'for workspaces too');
is(header(curl($api, '/x', 'http'), 'location'), "https://$api:$g->{port}/x", 'and the API host');
$r = curl('evil.test', '/x', 'http');
ok($r->{status} == 404 && header($r, 'location') eq '', 'no redirect to a host that is not ours') or diag explain $r;
my $acme = '/.well-known/acme-challenge';
for my $host ($d, $api, $ws) {
    $r = curl($host, "$acme/token-1", 'http');
    ok($r->{status} == 200 && $r->{body} eq 'token-1.thumbprint' && header($r, 'content-type') =~ m{^text/plain}, "ACME's answer on $host") or diag explain $r;
}
is(curl($d, "$acme/none", 'http')->{status}, 404, 'one that is not there');
is(curl($d, "$acme/link", 'http')->{status}, 403, 'no link leads out of the directory');
is(curl($d, "$acme/../../secret", 'http', '--path-as-is')->{status}, 301, 'nor a path');
is(curl($d, "$acme/token-1")->{body}, 'token-1.thumbprint', 'by https, as some authorities follow redirects');

# ---- the name of the connection ----
$r = curl($d, '/', '-H', "Host: $ws:$g->{port}");
is($r->{status}, 421, 'rule 18: another Host than the name of the connection is 421') or diag explain $r;
is(curl($ws, '/', '-H', "Host: $d:$g->{port}")->{status}, 421, 'in the other direction');
is(curl($ws, '/', '-H', "Host: " . $g->host('other-wolf-k3j9x2m2'))->{status}, 421, 'between workspaces, whose certificate is one');
is(curl($ws, '/', '-H', "Host: " . $g->host('other-wolf-k3j9x2m2'), '--http1.1')->{json} // curl($ws, '/', '-H', "Host: $d", '--http1.1')->{status}, 421, 'by HTTP/1.1 too');
is(curl($d, '/', '-H', "Host: GITPOD.test:$g->{port}")->{status}, 200, 'case does not matter');
is(curl($d, '/', '-H', 'Host: evil.test')->{status}, 404, 'a host of nobody');
is(curl('127.0.0.1', '/', '-k', '-H', "Host: $d")->{status}, 200, 'a connection that named no host takes its Host');
like((grep { $_->{status} == 421 } $g->access_log)[0]{reason}, qr/server name/, 'the log says why');

# ---- raw connections ----
# openssl s_client as a pipe: [read, write, pid]
sub tls {
    my ($host, @more) = @_;
    my $pid = open2(my $from, my $to, "exec openssl s_client -quiet -no_ign_eof -connect 127.0.0.1:$g->{port} -servername $host -CAfile $ca->{cert} @more 2>/dev/null");
    $to->autoflush(1);
    return [ $from, $to, $pid ];
}
sub until_seen {
    my ($t, $pattern) = @_;
    my ($text, $end) = ('', time + 10);
    while ($text !~ $pattern && time < $end) {
        IO::Select->new($t->[0])->can_read(1) or next;
        sysread $t->[0], $text, 65536, length $text or last;
    }
    return $text;
}
sub s_client {
    my ($host, @more) = @_;
    return scalar `openssl s_client -connect 127.0.0.1:$g->{port} -servername $host -CAfile $ca->{cert} @more </dev/null 2>&1`;
}
my $id = 'amber-fox-k3j9x2m1';
$g->{workspace_pids}{$id} = [ $g->serve_workspace($id, my $address = GitpodGateway::free_address(), 23000) ];
$g->route($id, address => $address);
my $key = $g->workspace_token(host => $ws, ws => $id);
GitpodGateway::wait_for('the route', sub { curl($ws, '/', '-H', "Cookie: __Host-gp_workspace=$key")->{status} == 200 });
my $t = tls($ws);
print { $t->[1] } join "\r\n", 'GET /ws HTTP/1.1', "Host: $ws:$g->{port}", 'Upgrade: websocket', 'Connection: Upgrade', "Origin: https://$ws:$g->{port}", "Cookie: __Host-gp_workspace=$key", '', '';
like(until_seen($t, qr/\r\n\r\n/), qr{^HTTP/1.1 101 }, 'WebSocket over TLS');

like(s_client($ws), qr/subject=CN = \*\.ws-gitpod\.test.*Verify return code: 0/s, 'workspaces have a certificate of their own');
like(s_client($d, '-alpn', 'h2'), qr/ALPN protocol: h2/, 'ALPN: h2');
like(s_client($d, '-alpn', 'http/1.1'), qr{ALPN protocol: http/1\.1}, 'ALPN: http/1.1');
unlike(s_client($d, '-tls1_1', '-cipher', 'ALL:@SECLEVEL=0'), qr/Cipher is (?!\(NONE\))/, 'TLS 1.1 is refused');
like(s_client($d, '-tls1_2', '-sess_out', "$g->{dir}/session"), qr/New, TLSv1.2, Cipher is ECDHE-ECDSA-AES/, 'TLS 1.2');
like(s_client($d, '-tls1_2', '-sess_in', "$g->{dir}/session"), qr/Reused, TLSv1.2/, 'is resumed');
unlike(s_client($d, '-tls1_2'), qr/TLS session ticket:/, 'without a ticket');
ok(GitpodGateway::wait_for('a stapled answer', sub { s_client($d, '-status') =~ /OCSP Response Status: successful.*Cert Status: good/s }), 'OCSP is stapled');

# ---- renewal ----
my $renewed = $ca->issue($d, $api);
my $was = $g->{certificate};
like(s_client($d, '-showcerts'), qr/BEGIN CERTIFICATE/, 'a certificate');
sub serial { my ($text) = s_client($d) =~ /(-----BEGIN CERT.*?END CERTIFICATE-----)/s; GitpodGateway::spew("$g->{dir}/seen.pem", "$text\n"); return `openssl x509 -in $g->{dir}/seen.pem -noout -serial` =~ s/^serial=0*|\n//gr }
is(serial(), $was->{serial}, 'that was given');
rename $renewed->{$_}, $was->{$_} or die for qw(cert key);
kill 'HUP', $g->{nginx_pid};
ok(GitpodGateway::wait_for('the renewed certificate', sub { serial() eq $renewed->{serial} }), 'after a reload the renewed one is there');
print { $t->[1] } 'still here';
is(until_seen($t, qr/here/), 'still here', 'and the WebSocket from before is open');
kill 'TERM', $t->[2];
waitpid $t->[2], 0;
$g->finish;
