# Mode port: no wildcard. A workspace is known by the listener that the
# connection came to, and by nothing that the client says.
use strict;
use warnings;
use Digest::SHA qw(sha256_hex);
use File::Path qw(make_path);
use Test::More;
use GitpodGateway;

my $g = GitpodGateway->new(listeners => 6, workers => 2);
my ($d, $w) = @$g{qw(domain workspace_domain)};
my ($edit, $app, $public, $other, $free, $gone) = map { $g->{listener} + $_ } 0 .. 5;
my ($id, $foreign) = ('amber-fox-k3j9x2m1', 'blue-owl-aaaabbbb');
my %ports = (ports => [{ port => 3000, listen => $app }, { port => 3001, listen => $public, visibility => 'public' }]);
my $address = GitpodGateway::free_address();
$g->workspace($id, address => $address, listen => [23000, 22999, 3000, 3001]);
sub record { my (%member) = @_; $g->route($id, address => $address, listen => $edit, %ports, %member) }
record();
my $its = GitpodGateway::free_address();
$g->{workspace_pids}{$foreign} = [$g->serve_workspace($foreign, $its, 23000)];
$g->route($foreign, address => $its, owner => $g->{other}, listen => $other);

# A request to a listener, whatever Host it names.
sub at {
    my ($listener, $call, @arg) = @_;
    local $g->{port} = $listener;
    return $g->$call(@arg);
}
sub on { my ($listener, $call, @arg) = @_; return at($listener, $call, "$w:$listener", @arg) }
sub origin { my ($listener) = @_; return at($listener, 'origin', $w) }
my @owner = ('X-Gitpod-Owner-Token' => $g->owner_token($id));
GitpodGateway::wait_for('the routes', sub { on($edit, 'get', '/', @owner)->{status} == 200 && on($other, 'get', '/', 'X-Gitpod-Owner-Token' => $g->owner_token($foreign))->{status} == 200 });

# which one it is
is(on($edit, 'get', '/', @owner)->{json}{name}, "$id:23000", 'the editor');
is(on($edit, 'get', '/_supervisor/v1/x', @owner)->{json}{name}, "$id:22999", 'the supervisor');
is(on($app, 'get', '/', @owner)->{json}{name}, "$id:3000", 'a port');
is(on($public, 'get', '/')->{json}{name}, "$id:3001", 'a public port');
is(on($public, 'get', '/_supervisor/v1/x')->{json}{name}, "$id:3001", 'which has no supervisor');
is(on($other, 'get', '/', @owner)->{status}, 401, 'the token of one workspace opens no other');
for my $host ("$w:$public", $w, "$w:1", "$w:$g->{port}", "$w:$other") {
    is(at($edit, 'get', $host, '/')->{status}, 401, "Host $host does not tell where a request goes");
    is(at($edit, 'get', $host, '/', @owner)->{json}{name}, "$id:23000", 'its listener does');
}
is(GitpodClient::seen(on($app, 'get', '/', @owner))->{host}[0], "$w:$app", 'Host goes through as it came');
for my $host ($d, "api.$d", "$id.$w", "3000-$id.$w", 'evil.example', '127.0.0.1') {
    is(at($edit, 'get', "$host:$edit", '/', @owner)->{status}, 404, "Host $host: nothing");
}
is($g->get($w, '/', @owner)->{status}, 404, 'nor is there a workspace at the port of the main domain');
is($g->get("$id.$w", '/', @owner)->{status}, 404, 'under its name neither');

# a listener that nobody has, one of somebody else, one whose workspace is not there
my @answer = map { my $l = $_; [map { my $r = on($l, @$_); $r->{body} =~ s/$l/L/gr, $r->{status}, map { s/$l/L/gr =~ s/nonce=\w+/nonce=/r } $r->{headers}{location} // '', $r->{headers}{'www-authenticate'} // '' }
    ['get', '/'], ['post', '/', 'x'], ['upgrade', '/'], ['browse', '/'], ['get', '/_gitpod/x'], ['get', '/_gitpod/handoff?code=x'], ['get', '/', @owner], ['get', '/_supervisor/v1/status/x']] } $free, $other;
is_deeply($answer[0], $answer[1], 'a free listener answers as one of somebody else') or diag explain \@answer;
$g->route('green-cat-ccccdddd', listen => $gone, address => $its);
my $r = on($gone, 'get', '/', 'X-Gitpod-Owner-Token' => $g->owner_token('green-cat-ccccdddd'));
GitpodGateway::wait_for('the third', sub { ($r = on($gone, 'get', '/', 'X-Gitpod-Owner-Token' => $g->owner_token('green-cat-ccccdddd')))->{status} == 200 });
$g->route('green-cat-ccccdddd', address => $its);
GitpodGateway::wait_for('its end', sub { ($r = on($gone, 'get', '/', 'X-Gitpod-Owner-Token' => $g->owner_token('green-cat-ccccdddd')))->{status} == 401 });
ok(1, 'a record that does not claim it any more does not have it');

# the hand-off, bound to the listener
my @session = (Cookie => 'gp_session=' . $g->session_token);
GitpodGateway::wait_for('the key set', sub { $g->browse($d, "/api/handoff?host=$w:$edit&nonce=" . 'a' x 64, @session)->{status} == 303 });
sub cookie { my ($r, $name) = @_; my ($line) = grep { /^$name=/ } split /\n/, $r->{headers}{'set-cookie'} // ''; return $line // '' }
sub enter {
    my ($listener, $path, %browser) = @_;
    my $r = on($listener, 'browse', $path);
    my ($nonce) = cookie($r, "gp_nonce_$listener") =~ /=([\w-]{43}); Path=\/_gitpod; Max-Age=120; HttpOnly; SameSite=Lax$/ or return $r;
    my $over = $r->{headers}{location} =~ s/^\Q$g->{external}\E//r;
    $r = $g->browse($d, $over, @session);
    my ($in) = ($r->{headers}{location} // '') =~ m{^\Q@{[origin($listener)]}\E(/_gitpod/handoff\?code=\w+)$} or return $r;
    my $jar = join '; ', "gp_nonce_$listener=$nonce", map { "$_=$browser{$_}" } sort keys %browser;
    return on($listener, 'browse', $in, Cookie => $jar);
}
my %cookie;
for my $listener ($edit, $app) {
    my $r = enter($listener, '/?a=b');
    is($r->{status}, 303, "$listener: in by the hand-off");
    is($r->{headers}{location}, origin($listener) . '/?a=b', 'to where one wanted to go');
    like(cookie($r, "gp_workspace_$listener"), qr/; Path=\/; Max-Age=86400; HttpOnly; SameSite=Lax$/, 'with a cookie named after the listener');
    ($cookie{$listener}) = cookie($r, "gp_workspace_$listener") =~ /^([^;]+)/;
    is($r->{headers}{'clear-site-data'}, '"storage"', 'what another workspace stored there goes');
    like(cookie($r, "gp_origin_$listener"), qr/^gp_origin_$listener=$id; Path=\/; Max-Age=34560000; HttpOnly/, 'and it is noted whose it is now');
    $r = enter($listener, '/', "gp_origin_$listener" => $id);
    is($r->{headers}{'clear-site-data'}, undef, 'the next time it is known, and kept');
    $r = enter($listener, '/', "gp_origin_$listener" => $foreign);
    is($r->{headers}{'clear-site-data'}, '"storage"', 'what is another\'s goes');
}
is(on($edit, 'get', '/', Cookie => $cookie{$edit})->{status}, 200, 'the cookie opens its listener');
is(on($app, 'get', '/', Cookie => $cookie{$app})->{status}, 200, 'so does the other its');
my ($token) = $cookie{$edit} =~ /=(.*)/;
is(on($app, 'get', '/', Cookie => "gp_workspace_$app=$token")->{status}, 401, 'under another name it opens no other listener');
is(on($edit, 'get', '/', Cookie => "gp_workspace=$token")->{status}, 401, 'nor without the number');
is(on($edit, 'get', '/', Cookie => "$cookie{$edit}; gp_workspace_$app=x; gp_workspace_$app=y")->{status}, 200, 'those of other listeners are not looked at');
is(on($edit, 'get', '/', Cookie => "$cookie{$edit}; gp_workspace_$edit=x")->{status}, 400, 'two of its own: neither counts');
is(enter($other, '/')->{status}, 404, 'no hand-off to a workspace of somebody else');
is(enter($free, '/')->{status}, 404, 'nor to a free listener');
for my $host ($w, "$w:", "$w:0$edit", "$w:99999", "evil.example:$edit", "$id.$w", "$id.$w:$edit", "$w:${edit}x", "x$w:$edit") {
    is($g->browse($d, "/api/handoff?host=$host&nonce=" . 'a' x 64, @session)->{status}, 404, "host \"$host\" is none of ours");
}

# the origin is the listener
for my $case ([$edit, $edit, 200], [$edit, $app, 403], [$app, $edit, 200], [$app, $public, 200], [$app, $other, 403], [$app, $free, 403]) {
    my ($to, $from, $want) = @$case;
    is(on($to, 'post', '/', 'x', Cookie => $cookie{$to}, Origin => origin($from))->{status}, $want, "POST to $to from a page of $from: $want");
}
is(on($app, 'post', '/', 'x', Cookie => $cookie{$app}, Origin => $_)->{status}, 403, "not from $_") for "http://$w", "http://$w:$app/", "https://$w:$app", "http://$d:$g->{port}", 'null';
is(on($edit, 'upgrade', '/', Cookie => $cookie{$edit}, Origin => origin($edit))->{status}, 101, 'a WebSocket of the editor');
is(on($edit, 'upgrade', '/', Cookie => $cookie{$edit}, Origin => origin($other))->{status}, 403, 'not for a page of another workspace');

# which listeners are of one workspace is not told to who only says where it comes from
sub preflight { my ($to, $origin) = @_; return on($to, 'request', 'OPTIONS', '/', [Origin => $origin, 'Access-Control-Request-Method' => 'PUT', 'Access-Control-Request-Headers' => 'x-own']) }
sub cors { my ($r) = @_; return join ' ', $r->{status}, map { $r->{headers}{"access-control-allow-$_"} // '-' } qw(origin credentials methods headers) }
for my $case ([$app, $edit], [$app, $public], [$app, $other], [$app, $free], [$edit, $app], [$free, $app], [$other, $app]) {
    my ($to, $from) = @$case;
    is(cors(preflight($to, origin($from))), '204 ' . origin($from) . ' true PUT x-own', "a preflight to $to from a page of $from: a page of W may ask");
    my $r = on($to, 'get', '/', Origin => origin($from), 'Sec-Fetch-Mode' => 'cors');
    is(join(' ', map { $r->{headers}{"access-control-allow-$_"} // '-' } 'origin', 'credentials') . " $r->{status}", '* - 401', 'nor by who may read the refusal');
}

is(cors(preflight($_->[0], $_->[1])), '403 * - - -', "not to $_->[0] from $_->[1]")
    for map { my $to = $_; map { [$to, $_] } "http://$w", "http://$w:$app/", "https://$w:$app", "http://$d:$g->{port}", "http://x$w:$app", 'http://evil.test', 'null' } $app, $edit, $free, $other;
like(preflight($public, 'http://evil.test')->{json}{name}, qr/3001/, 'a public port\'s application decides itself');
# but the request itself is judged by whose the page is, whatever its method
for my $case ([$app, $edit, 200], [$app, $public, 200], [$app, $other, 403], [$app, $free, 403], [$edit, $edit, 200], [$edit, $app, 403], [$edit, $other, 403]) {
    my ($to, $from, $want) = @$case;
    is(on($to, 'request', $_, '/', [Cookie => $cookie{$to}, Origin => origin($from), 'X-Own' => 1])->{status}, $want, "$_ to $to from a page of $from: $want") for qw(GET HEAD OPTIONS);
    is(on($to, 'get', '/', @owner, Origin => origin($from))->{status}, 200, 'the owner\'s token is sent on purpose');
}
is(on($app, 'get', '/', Cookie => $cookie{$app}, Origin => $_)->{status}, 200, "a GET from $_ is as in mode host") for "http://$d:$g->{port}", 'null', 'http://evil.test';

# service workers outlive the workspace: none for all of a listener
is(on($app, 'get', $_->[0], Cookie => $cookie{$app}, 'Service-Worker' => 'script')->{status}, $_->[1], "a service worker at $_->[0]: $_->[1]") for ['/sw.js', 403], ['//sw.js', 403], ['/app/sw.js', 200];
is(on($app, 'get', '/sw.js', Cookie => $cookie{$app})->{status}, 200, 'the same file for a page is one');

# what is lost ends connections
my $live = on($app, 'upgrade', '/', Cookie => $cookie{$app}, Origin => origin($app));
is($live->{status}, 101, 'somebody is in a port');
record(ports => [{ port => 3001, listen => $public, visibility => 'public' }]);
my $end = '';
ok(GitpodGateway::wait_for('the end', sub { IO::Select->new($live->{socket})->can_read(0.1) && !sysread $live->{socket}, $end, 10 }), 'a listener that is taken away ends them');
is(on($app, 'get', '/', Cookie => $cookie{$app})->{status}, 401, 'and nobody enters');
$g->route($foreign, address => $its, owner => $g->{owner}, listen => $other, ports => [{ port => 23001 }, { port => 8000, listen => $app }]);
GitpodGateway::wait_for('the new one', sub { on($app, 'get', '/', 'X-Gitpod-Owner-Token' => $g->owner_token($foreign))->{status} == 502 });
is(on($app, 'get', '/', Cookie => $cookie{$app})->{status}, 401, 'the cookie of the workspace that had it opens nothing of the next one');
like(enter($app, '/', "gp_origin_$app" => $id)->{headers}{'clear-site-data'}, qr/storage/, 'whose people find nothing stored');

# a reload, other sizes, a cold start
record();
GitpodGateway::wait_for('it has it again', sub { on($app, 'get', '/', Cookie => $cookie{$app})->{status} == 200 });
$g->reload;
is(on($app, 'get', '/', Cookie => $cookie{$app})->{status}, 200, 'a reload keeps the listeners');
$g->stop_redis;
$g->{edit} = sub { return $_[1] =~ s/gitpod_zone gitpod 64m/gitpod_zone gitpod 32m/r };
$g->reload;
is(on($app, 'get', '/', Cookie => $cookie{$app})->{status}, 200, 'so does another size of the zone');
make_path("$g->{state}/ws_manager");
GitpodGateway::spew("$g->{state}/ws_manager/routes.json", $GitpodGateway::JSON->encode({ version => 99, id => $id, instance => '33333333-3333-4333-8333-333333333333', phase => 'running',
    owner => $g->{owner}, owner_token_sha256 => sha256_hex($g->owner_token($id)), address => $address, listen => $edit, %ports }) . "\n");
$g->restart;
is(on($edit, 'get', '/', @owner)->{json}{name}, "$id:23000", 'a start without Redis reads them');
is(on($app, 'get', '/', @owner)->{json}{name}, "$id:3000", 'ports too');

$g->finish;
