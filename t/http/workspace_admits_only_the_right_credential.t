# A workspace host: what the route and the credential together decide.
use strict;
use warnings;
use Test::More;
use GitpodGateway;

my $g = GitpodGateway->new;
my $now = int time;
my @port = ({ port => 3000, visibility => 'public', protocol => 'http' }, { port => 3001, visibility => 'private', protocol => 'http' });
my $host = $g->workspace('amber-fox-k3j9x2m1', ports => \@port, listen => [22999, 23000, 3000, 3001]);
my $id = 'amber-fox-k3j9x2m1';
my $b = $g->workspace('blue-owl-aaaabbbb', owner => $g->{other}, listen => [22999, 23000], instance => '44444444-4444-4444-8444-444444444444');
my $open = $g->workspace('open-cat-ccccdddd', owner => $g->{other}, admission => 'everyone', listen => [22999, 23000]);
my $private_port = "3001-$host";
my $public_port = "3000-$host";

sub token { my ($h, %claim) = @_; my ($ws) = $h =~ /^(?:\d+-)?([^.]+)/; return $g->workspace_token(host => $h, ws => $ws, %claim) }
sub cookie { return (Cookie => "gp_workspace=$_[0]") }

my $good = token($host);
GitpodGateway::wait_for('revocations', sub { $g->get($host, '/', cookie($good))->{status} == 200 });

my $r = $g->get($host, '/some/path?a=%2Fb', cookie($good));
is($r->{status}, 200, 'the owner\'s cookie opens the editor host');
is($r->{json}{name}, "$id:23000", 'the editor answers');
is($r->{json}{uri}, '/some/path?a=%2Fb', 'with the path as it came');
is($g->get($host, '/_supervisor/v1/status/content', cookie($good))->{json}{name}, "$id:22999", 'below /_supervisor/ the supervisor does');
is($g->get($public_port, '/_supervisor/v1/x', cookie(token($public_port)))->{json}{name}, "$id:3000", 'but not on a port host');
is($g->get($private_port, '/', cookie(token($private_port)))->{json}{name}, "$id:3001", 'a port host opens its port');

is($g->get($host, '/', 'x-gitpod-owner-token' => $g->owner_token($id))->{status}, 200, 'the owner token opens it');
is($g->post($host, '/', 'x', 'x-gitpod-owner-token' => $g->owner_token($id))->{status}, 200, 'for changes too, without an Origin');

my $stranger = $g->new_key('stranger');
$stranger->{kid} = 'key-1';
my @machine = (
    ['nothing at all'],
    ['another workspace\'s owner token', 'x-gitpod-owner-token' => $g->owner_token('blue-owl-aaaabbbb')],
    ['an owner token cut short', 'x-gitpod-owner-token' => substr $g->owner_token($id), 0, -1],
    ['an empty owner token', 'x-gitpod-owner-token' => ''],
    ['a cookie for another host', cookie(token($private_port))],
    ['a cookie for another workspace\'s host', cookie(token($b))],
    ['a cookie whose workspace is another', cookie(token($host, ws => 'blue-owl-aaaabbbb'))],
    ['an expired cookie', cookie(token($host, iat => $now - 9000, exp => $now - 60))],
    ['a session token', cookie($g->session_token)],
    ['a session token with this audience', cookie($g->session_token(aud => $host))],
    ['algorithm none', cookie($g->jwt($g->workspace_claims(host => $host, ws => $id), header => { alg => 'none' }, signature => ''))],
    ['a stranger\'s key', cookie($g->jwt($g->workspace_claims(host => $host, ws => $id), key => $stranger))],
    ['a session cookie of the main domain', Cookie => 'gp_session=' . $g->session_token],
    ['a personal access token', Authorization => 'Bearer gitpod_pat_x.y'],
    ['nonsense', cookie('nonsense')],
);
for (@machine) {
    my ($name, @headers) = @$_;
    my $m = $g->get($host, '/', @headers);
    is($m->{status}, 401, "$name: 401 for a program");
    is(($m->{json} // {})->{code}, 'unauthenticated', "$name: as Connect JSON");
}

$r = $g->get($host, '/', cookie(token($host, sub => $g->{other})));
is($r->{status}, 404, 'somebody else\'s good cookie: as if there were no such workspace');
my $unknown = $g->get($g->host('never-was-11112222'), '/', cookie(token($g->host('never-was-11112222'))));
is($r->{body}, $unknown->{body}, 'in the very words for an unknown one');
is($g->get($open, '/', cookie(token($open)))->{status}, 200, 'admission everyone: any signed-in person enters');
is($g->get($open, '/')->{status}, 401, 'but nobody who is not');
my $never = $g->host('never-was-11112222');
like($g->browse($never, '/')->{headers}{location}, qr{^\Q$g->{external}\E/api/handoff\?host=\Q$never\E&}, 'an unknown workspace sends a stranger to log in, as every other does');
like($g->browse($never, '/', cookie(token($never)))->{body}, qr/Page 404/, 'and has a page for who was in it');

# ports
is($g->get($public_port, '/')->{json}{name}, "$id:3000", 'a public port is open to all');
is($g->get($public_port, '/', cookie('rubbish'))->{status}, 200, 'whatever cookie comes along');
is($g->get($private_port, '/')->{status}, 401, 'a private one is not');
is($g->get("3005-$host", '/')->{status}, 401, 'nor one that nobody listed');
is($g->get("3005-$host", '/', cookie(token("3005-$host")))->{status}, 502, 'where nothing listens: 502');
is($g->get("3005-$host", '/', cookie(token("3005-$host")))->{json}{code}, 'unavailable', 'as JSON for a program');
like($g->browse("3005-$host", '/', cookie(token("3005-$host")))->{body}, qr/Page port/, 'as a page for a person');
is($g->get("$_-$host", '/', 'x-gitpod-owner-token' => $g->owner_token($id))->{status}, 404, "port $_ is not a user's") for 22999, 23000, 23001;
is($g->get("debug-$host", '/', 'x-gitpod-owner-token' => $g->owner_token($id))->{status}, 502, 'a debug host goes where its editor would be');

# what clients ask before they have a credential
for my $path (qw(ide supervisor ide/wait/true ide?wait=true)) {
    is($g->get($host, "/_supervisor/v1/status/$path")->{json}{name}, "$id:22999", "status/$path needs no credential");
}
for my $path ('content', 'idea', 'ide/../content', 'x/..%2fide', '%69de', 'ports', 'ide/wait/false') {
    is($g->get($host, "/_supervisor/v1/status/$path")->{status}, 401, "status/$path does");
}
is($g->post($host, '/_supervisor/v1/status/ide', '')->{status}, 401, 'and so does a POST');
is($g->get($public_port, '/_gitpod/x')->{status}, 404, '/_gitpod/ is the gateway\'s, on ports too');

# revoked
$g->revoke(session => 'session-1');
ok(GitpodGateway::wait_for('the revocation', sub { $g->get($host, '/', cookie($good))->{status} == 401 }), 'log-out ends the workspace cookies of the session');
is($g->get($host, '/', cookie(token($host, sid => 'session-2')))->{status}, 200, 'not those of another');

# not running
$g->route($id, phase => 'stopped', ports => \@port);
my $again = token($host, sid => 'session-2');
GitpodGateway::wait_for('the stop', sub { $g->get($host, '/', cookie($again))->{status} == 503 });
$r = $g->get($host, '/', cookie($again));
is($r->{json}{code}, 'unavailable', 'a stopped workspace: unavailable for a program');
ok($r->{headers}{'retry-after'}, 'with Retry-After');
$r = $g->browse($host, '/', cookie($again));
is($r->{status}, 302, 'a person is sent');
is($r->{headers}{location}, "$g->{external}/start/#$id", 'to the start page');
is($g->browse($public_port, '/')->{headers}{location}, "$g->{external}/start/#$id", 'from a port host too');

# another instance at the same place
my $address = GitpodGateway::free_address();
$g->serve_workspace('next', $address, 23000);
$g->route($id, address => $address, instance => '55555555-5555-4555-8555-555555555555');
GitpodGateway::wait_for('the start', sub { $g->get($host, '/', cookie($again))->{status} == 200 });
is($g->get($host, '/', cookie($again))->{json}{name}, 'next:23000', 'started again, the new instance answers');

my ($logged) = grep { ($_->{status} // 0) == 200 && $_->{workspace} eq $id } $g->access_log;
is($logged->{user}, $g->{owner}, 'the log has the user');
my ($refused) = grep { $_->{reason} eq 'token audience' } $g->access_log;
ok($refused, 'and why somebody was refused');
unlike(join(' ', map { $_->{uri} . $_->{reason} } $g->access_log), qr/owner-token-of/, 'and no secret');

$g->finish;
