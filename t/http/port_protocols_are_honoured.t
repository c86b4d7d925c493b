# A port speaks what its record says: https (with a certificate of its own),
# HTTP/2 without TLS, gRPC; debug hosts go where Gitpod's go; and a port where
# nothing listens, an editor that is dead and a workspace that does not run are
# three different answers.
use strict;
use warnings;
use IO::Select;
use Test::More;
use Time::HiRes qw(time);
use GitpodGateway;

my $cache = $ENV{GITPOD_CACHE} // '/var/cache/gitpod';
-d "$cache/clients/node_modules/\@grpc/grpc-js" or BAIL_OUT("no $cache/clients: ./build.sh test fetches it");
my $node = -x "$cache/node/bin/node" ? "$cache/node/bin/node" : 'node';
my $program = "$GitpodGateway::TOP/t/http/port_protocols_are_honoured.mjs";
$ENV{GP_CLIENTS} = "$cache/clients";

# A stopped workspace is not started here: t/http/wake_*.t do that.
sub edited { my ($name, $text) = @_; $text =~ s/gitpod_wake .*;//; return $text }
my $g = GitpodGateway->new(grpc => 1, edit => \&edited, expected_alert => qr{no "gitpod_protocol});
my $id = 'amber-fox-k3j9x2m1';
my $address = GitpodGateway::free_address();
my @owner = ('X-Gitpod-Owner-Token' => $g->owner_token($id));
sub ports { my %p = @_; return ports => [map { { port => $_ + 0, visibility => 'private', protocol => $p{$_} } } sort keys %p] }

system("openssl req -x509 -newkey rsa:2048 -nodes -keyout '$g->{dir}/self.key' -out '$g->{dir}/self.crt' -subj /CN=self -days 2 2>/dev/null") == 0 or die 'openssl';
my $host = $g->workspace($id, listen => [23000, 24999, 25000, 25003], address => $address,
    ports(3443 => 'https', 3002 => 'grpc', 3003 => 'h2c', 3004 => 'https', 3005 => 'grpc'));
$g->child('programs.log', sub { exec $node, $program, 'serve', $address, "$g->{dir}/self.key", "$g->{dir}/self.crt" or die "node: $!" });
GitpodGateway::wait_for('the programs', sub { -f "$g->{state}/log/programs.log" && GitpodGateway::slurp("$g->{state}/log/programs.log") =~ /^ready$/m });

# ---- https ----
my $tls = "3443-$host";
my $r = $g->get($tls, '/a?b=c', @owner);
is($r->{status}, 200, 'a port of protocol https is spoken to with TLS');
is($r->{json}{sni}, $tls, 'and told the name that was asked for');
is($r->{json}{headers}{host}, $tls, 'as in Host');
is($r->{json}{headers}{'x-gitpod-owner-token'}, undef, 'our token does not reach it');
like($r->{json}{tls}, qr/^TLSv1\.[23]$/, 'by a TLS of this decade');
my $first = $r->{json}{connection};
is($g->get($tls, '/', @owner)->{json}{connection}, $first, 'connections are kept');
is($g->get($tls, '/')->{status}, 401, 'who may not enter does not');
my $s = $g->upgrade($tls, '/ws', @owner)->{socket};
my $kept = $g->get($tls, '/', @owner)->{json}{connection};
ok($s && syswrite($s, 'ping') && IO::Select->new($s)->can_read(5) && sysread($s, my $back, 4) == 4, 'a WebSocket passes through TLS');

# The protocol of a port changes: no kept connection is taken for the other one.
$g->route($id, address => $address, ports(3443 => 'http'));
GitpodGateway::wait_for('the change', sub { $g->get($tls, '/', @owner)->{status} != 200 });
my $plain = $g->get($tls, '/', @owner);
isnt($plain->{status}, 200, 'spoken to without TLS the program does not understand') or diag $plain->{body};
$g->route($id, address => $address, ports(3443 => 'https', 3002 => 'grpc', 3003 => 'h2c', 3004 => 'https', 3005 => 'grpc'));
GitpodGateway::wait_for('the change back', sub { $g->get($tls, '/', @owner)->{status} == 200 });
is($g->get($tls, '/', @owner)->{json}{connection}, $kept, 'and the kept connection with TLS is still its own');
close $s;

# ---- HTTP/2 and gRPC ----
$r = $g->get("3003-$host", '/', @owner);
is($r->{json}{version}, '2.0', 'a port of protocol h2c is spoken to with HTTP/2');
is($r->{json}{headers}{host}, "3003-$host", 'under its name');
my $curl = `curl -sS --http2-prior-knowledge -m 10 -H 'Host: 3003-$host' -H 'X-Gitpod-Owner-Token: $owner[1]' -d 'x=1' http://127.0.0.1:$g->{grpc_port}/`;
like($curl, qr/"version":"2\.0"/, 'a client with HTTP/2 too');
$curl = `curl -sS --http2-prior-knowledge -m 10 -H 'Host: $host' -H 'X-Gitpod-Owner-Token: $owner[1]' http://127.0.0.1:$g->{grpc_port}/`;
like($curl, qr/"name":"$id:23000"/, 'and an editor, which speaks HTTP/1.1, answers it as well');

open my $out, '-|', 'timeout', '-k', '5', '60', $node, $program, 'call', "127.0.0.1:$g->{grpc_port}", "3002-$host", $owner[1] or die;
my $n = 0;
while (<$out>) {
    if (/^(not )?ok - (.*)/) { ok(!$1, "gRPC: $2"); $n++ }
    else { chomp; diag($_) }
}
close $out;
is("$? $n", '0 9', 'the gRPC client came to its end');

# ---- debug hosts ----
is($g->get("debug-$host", '/', @owner)->{json}{name}, "$id:25000", 'debug-<id> is the debug editor');
is($g->get("debug-$host", '/_supervisor/v1/status/content', @owner)->{json}{name}, "$id:24999", 'its supervisor the debug supervisor');
$r = $g->get("3443-debug-$host", '/', @owner, 'X-WS-Proxy-Debug-Port' => 22);
is($r->{json}{name}, "$id:25003", '<port>-debug-<id> is the debug proxy, in http whatever the port speaks');
is_deeply(GitpodClient::seen($r)->{'x-ws-proxy-debug-port'}, [3443], 'which is told the port by us, not by the client');
is(GitpodClient::seen($g->get($host, '/', @owner, 'X-WS-Proxy-Debug-Port' => 22))->{'x-ws-proxy-debug-port'}, undef, 'other hosts have no such header');
is($g->get("debug-$host", '/')->{status}, 401, 'debug hosts want a credential');
is($g->get("debug-$host", '/', Cookie => 'gp_workspace=' . $g->workspace_token(host => $host, ws => $id))->{status}, 401, 'of their own');
is($g->get("debug-$host", '/', Cookie => 'gp_workspace=' . $g->workspace_token(host => "debug-$host", ws => $id))->{status}, 200, 'which lets in');
$r = $g->browse("debug-$host", '/', 'Sec-Fetch-Mode' => 'navigate', 'Sec-Fetch-Dest' => 'document');
is($r->{status}, 302, 'and which a browser can get');
$r = $g->get($g->{domain}, '/api/handoff?host=' . "debug-$host" . '&nonce=' . 'a' x 64 . '&path=/', Cookie => 'gp_session=' . $g->session_token);
is($r->{status}, 303, 'by the hand-off');
is($g->get("$_-$host", '/', @owner)->{status}, 404, "$_ is nobody's port") for 22999, 23000, 23001, 24999, 25000, 25001, 25003;

# ---- what is not there ----
sub page { return $g->browse($_[0], '/', 'Sec-Fetch-Mode' => 'navigate', 'Sec-Fetch-Dest' => 'document', @owner) }
for my $port (3000, 3004, 3005) {
    $r = $g->get("$port-$host", '/', @owner);
    is($r->{status}, 502, "nothing listens on $port: 502");
    like($r->{json}{message}, qr/^Nothing answers on port $port of this workspace/, 'and JSON that names the port');
    $r = page("$port-$host");
    is($r->{status}, 502, 'for a person too');
    like($r->{body}, qr/Page port/, 'with a page about ports');
}
for my $pid (@{ $g->{workspace_pids}{$id} }) { kill 'KILL', $pid; waitpid $pid, 0 }
$g->route($id, address => $address, instance => '44444444-4444-4444-8444-444444444444'); # with no kept connection
GitpodGateway::wait_for('the editor to be dead', sub { $g->get($host, '/', @owner)->{status} != 200 });
$r = $g->get($host, '/', @owner);
is($r->{status}, 502, 'an editor that is dead is 502');
unlike($r->{body}, qr/port/, 'which is not about a port');
like(page($host)->{body}, qr{Page editor}, 'with the page for it');
$g->route($id, phase => 'stopped');
GitpodGateway::wait_for('the stop', sub { $g->get($host, '/', @owner)->{status} == 503 });
$r = $g->get("3000-$host", '/', @owner);
is($r->{status}, 503, 'a workspace that does not run is 503');
ok($r->{headers}{'retry-after'}, 'with Retry-After');
is(page($host)->{status}, 302, 'a person goes to the start page');
my $gone = $g->host('nobody-at-aaaabbbb');
is($g->get($gone, '/', Cookie => 'gp_workspace=' . $g->workspace_token(host => $gone, ws => 'nobody-at-aaaabbbb'))->{status}, 404, 'one that is gone is 404, for who was in it');

# ---- a configuration that does not speak it ----
$g->{edit} = sub { my $text = edited(@_); $text =~ s/gitpod_protocol grpc .*;//; return $text };
$g->route($id, address => $address, ports(3002 => 'grpc'));
$g->reload;
GitpodGateway::wait_for('the route', sub { $g->get("3002-$host", '/', @owner)->{status} != 503 });
is($g->get("3002-$host", '/', @owner)->{status}, 502, 'without gitpod_protocol such a port is 502');
like($g->error_log, qr/port 3002 of workspace "$id" speaks grpc, and this location has no "gitpod_protocol grpc"/, 'and the log says why');
$g->finish;
