# Mode port with TLS: one certificate for one name, HTTP/2, __Host- cookies of
# each listener; and what W is an address, for whom no client names a host.
use strict;
use warnings;
use Digest::SHA qw(sha256_hex);
use Test::More;
use GitpodGateway;

my $g = GitpodGateway->new(listeners => 3, tls => 1);
my ($d, $w) = @$g{qw(domain workspace_domain)};
my ($edit, $app, $free) = map { $g->{listener} + $_ } 0 .. 2;
my $id = 'amber-fox-k3j9x2m1';
my $address = GitpodGateway::free_address();
my $pid = $g->serve_workspace($id, $address, $_) for 23000, 3000;
$g->route($id, address => $address, listen => $edit, ports => [{ port => 3000, listen => $app }]);
my @owner = ('-H', 'X-Gitpod-Owner-Token: ' . $g->owner_token($id));

# { status, version, headers (text), body, error }
sub curl {
    my ($port, $path, @more) = @_;
    my $host = $port == $g->{port} ? $d : $w;
    open my $pipe, '-|', 'curl', '-sS', '-i', '-m', 10, '--stderr', '-', '--cacert', $g->{ca}{cert}, '--resolve', "$host:$port:127.0.0.1", @more, "https://$host:$port$path" or die;
    local $/;
    my ($headers, $body) = split /\r\n\r\n/, scalar <$pipe>, 2;
    my ($version, $status) = $headers =~ m{\AHTTP/(\S+) (\d+)};
    return { version => $version, status => $status // 0, headers => $headers, body => $body, error => $headers };
}
GitpodGateway::wait_for('the route', sub { curl($edit, '/', @owner)->{status} == 200 });

my $r = curl($edit, '/', @owner);
is($r->{version}, '2', 'HTTP/2 by ALPN');
like($r->{body}, qr/"name":"$id:23000"/, 'the editor, under the one name that the certificate has');
like($r->{body}, qr/\["X-Forwarded-Proto","https"\]/, 'which is told that people came by TLS');
like(curl($app, '/', @owner, '--http1.1')->{body}, qr/"name":"$id:3000"/, 'a port, by HTTP/1.1');
is(curl($free, '/', @owner)->{status}, 401, 'a free listener');
is(curl($edit, '/', @owner, '-H', "Host: $d:$edit")->{status}, 404, 'nothing of the main domain there');

# the hand-off
my $line = sub { my ($r, $name) = @_; my ($value) = $r->{headers} =~ /^set-cookie: (\Q$name\E=.*?)\r?$/mi; return $value // '' };
$r = curl($edit, '/', '-H', 'Accept: text/html');
my ($nonce) = $line->($r, "gp_nonce_$edit") =~ /=([\w-]+); .*; Secure$/;
ok($nonce, 'a nonce of the listener, for TLS only');
my ($over) = $r->{headers} =~ m{^location: \Q$g->{external}\E(/\S+)}mi;
$r = curl($g->{port}, $over, '-H', 'Accept: text/html', '-H', 'Cookie: __Host-gp_session=' . $g->session_token);
my ($in) = $r->{headers} =~ m{^location: https://\Q$w\E:$edit(/\S+)}mi;
ok($in, 'the code comes to the listener') or diag $r->{headers};
$r = curl($edit, $in, '-H', 'Accept: text/html', '-H', "Cookie: gp_nonce_$edit=$nonce");
like($line->($r, "__Host-gp_workspace_$edit"), qr/; Path=\/; Max-Age=86400; HttpOnly; SameSite=Lax; Secure$/, 'a cookie that the browser keeps for this host by its name');
like($line->($r, "__Host-gp_origin_$edit"), qr/=$id;.*; Secure$/, 'and the one that tells whose storage it is');
my ($cookie) = $line->($r, "__Host-gp_workspace_$edit") =~ /^([^;]+)/;
is(curl($edit, '/', '-H', "Cookie: $cookie")->{status}, 200, 'which opens it');
is(curl($app, '/', '-H', 'Cookie: ' . $cookie =~ s/_$edit=/_$app=/r)->{status}, 401, 'and no other');
like($line->(curl($edit, '/set-cookie?__Host-a=1%3B%20Secure%3B%20Path=/', @owner), "__Host-gp.$id.a"), qr/=1; Secure; Path=\/$/, 'an application\'s promises stay promises');

# without a name in the handshake, as for an address, it is W's certificate too
like(scalar qx(openssl s_client -connect 127.0.0.1:$edit -noservername </dev/null 2>/dev/null | openssl x509 -noout -subject), qr/CN = \Q$w\E$/m, 'the certificate of who names no host');

$g->finish;
