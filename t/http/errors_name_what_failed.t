# Who gets 500, 502, 503 or 504 is told what does not answer, why, and what to do: for a program in JSON, for a person on the
# page of that case.
use strict;
use warnings;
use IO::Socket::UNIX;
use Test::More;
use GitpodGateway;

my $nowhere = GitpodGateway::free_port();
my $g = GitpodGateway->new(start => 0, edit => sub {
    my ($name, $text) = @_;
    $text =~ s/fastcgi_read_timeout 24h/fastcgi_read_timeout 300ms/ or die if $name eq 'nginx_fastcgi.conf';
    $text =~ s/proxy_read_timeout 24h/proxy_read_timeout 300ms/ or die if $name eq 'nginx_proxy.conf';
    $text =~ s{^gitpod_key_set_url \S+}{gitpod_key_set_url http://127.0.0.1:$nowhere/keys}m or die if $name eq 'nginx_feed.conf';
    return $text;
});
$g->{expected_alert} = qr/connect\(\) to unix:\S+fcgi\.sock failed/;    # of the services that this test ends
my $d = $g->{domain};
my $id = 'amber-fox-k3j9x2m1';
my $method = '/public-api/gitpod.v1.WorkspaceService/ListWorkspaces';
my @session = (Cookie => 'gp_session=' . $g->session_token, Origin => $g->origin($d));

sub told {
    my ($r, $status, $code, $text, $what) = @_;
    is("$r->{status} " . ($r->{json}{code} // ''), "$status $code", $what);
    like($r->{json}{message} // $r->{body}, $text, "$what: the text");
}
sub page { my ($r, $status, $title, $what) = @_; is("$r->{status} " . ($r->{body} =~ /<title>(.*?)</)[0], "$status Page $title", "$what: the page for people") }

# ---- what the gateway does not know yet ----

$g->stop_redis;
$g->start;
told($g->post($d, $method, '{}', @session), 503, 'unavailable', qr/^Sessions cannot be checked .* has not read the revocations from Redis yet\. Try again/, 'a session before the revocations');
told($g->get($g->host($id), '/'), 503, 'unavailable', qr/^It cannot be told .* whether there is such a workspace: Redis is away, or was not read/, 'a workspace before the routes');
$g->start_redis;
GitpodGateway::wait_for('Redis', sub { $g->post($d, $method, '{}', @session)->{status} == 200 });
told($g->post($d, $method, '{}', Cookie => 'gp_session=' . $g->jwt($g->session_claims, key => $g->new_key('new')), Origin => $g->origin($d)), 503, 'unavailable',
    qr/^This session cannot be checked .* does not have its key, and Redis or the key set's URL does not answer\. Try again/, 'a key that cannot be looked for');

# ---- workspaces ----

my $address = GitpodGateway::free_address();
my @ports = map { { port => $_, visibility => 'public', protocol => 'http' } } 3000, 4000;
my $host = $g->workspace($id, address => $address, listen => [3000], ports => \@ports);
my @owner = ('X-Gitpod-Owner-Token' => $g->owner_token($id));
told($g->get($host, '/', @owner), 502, 'unavailable', qr/^The editor of this workspace does not answer\. .*stop the workspace and start it again$/, 'no editor');
page($g->browse($host, '/', @owner), 502, 'editor', 'no editor');
told($g->get("4000-$host", '/'), 502, 'unavailable', qr/^Nothing answers on port 4000 of this workspace\. Start a program that listens there/, 'a port without a program');
page($g->browse("4000-$host", '/'), 502, 'port', 'a port without a program');
told($g->get("3000-$host", '/?hold'), 504, 'deadline_exceeded', qr/^What listens on port 3000 of this workspace took too long\. Look at its output/, 'a port that hangs');
$g->serve_workspace($id, $address, 23000);
told($g->get($host, '/?hold', @owner), 504, 'deadline_exceeded', qr/^The editor of this workspace took too long\./, 'an editor that hangs');
page($g->browse($host, '/?hold', @owner), 504, 'editor', 'an editor that hangs');

# ---- services ----

$g->stop_service($_) for qw(public_api auth ws_manager);
my $status = qr/does not answer\. Try again in a moment; \.\/build\.sh status on the server says what is down$/;
told($g->post($d, $method, '{}', @session), 502, 'unavailable', qr/^The service public_api $status/, 'no public_api');
page($g->browse($d, $method, @session), 502, '502', 'no public_api');
told($g->post($d, '/api/logout', '', @session), 502, 'unavailable', qr/^The service auth $status/, 'no auth');
told($g->post($d, $method, '{}', Authorization => 'Bearer gitpod_pat_' . 'a' x 40), 503, 'unavailable', qr/^The token cannot be checked at the moment: the service auth does not answer\. Try again/, 'a token without auth');
{
    local $g->{unix} = "$g->{run}/gateway/public_api/gateway.sock";
    told($g->post('gateway', '/gitpod.internal.v1.WorkspaceManagerService/GetWorkspace', '{}'), 502, 'unavailable', qr/^The service ws_manager $status/, 'a service that calls another');
}
my $r = $g->get($d, '/admin/status', Cookie => $session[1]);
told($r, 500, 'internal', qr/^The gateway failed; its log says why, at request [0-9a-f]{32}$/, 'a question that fails');
my ($asked) = $r->{json}{message} =~ /([0-9a-f]{32})$/;
ok((grep { $_->{request_id} eq $asked } $g->access_log), 'which is there');

# One that takes connections and says nothing.
my $mute = IO::Socket::UNIX->new(Local => "$g->{run}/public_api/fcgi.sock", Listen => 8) or die $!;
chmod 0777, "$g->{run}/public_api/fcgi.sock";
$r = GitpodGateway::wait_for('the breaker to let one try', sub { my $r = $g->post($d, $method, '{}', @session); $r->{status} == 504 && $r });
told($r, 504, 'deadline_exceeded', qr/^The service public_api took too long\. Try again; its log on the server says what it does$/, 'a service that hangs');
$g->finish;
