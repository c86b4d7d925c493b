# The rules a gateway of this kind breaks most often, one subtest each, by the
# number of the list they come from. Rules 1 to 10 are about tokens and have
# files of their own, so has rule 12. Not here because what they speak of is not
# there yet: 22 (OpenID Connect), 32 (SSH).
use strict;
use warnings;
use Digest::SHA;
use IO::Select;
use IO::Socket::INET;
use Test::More;
use Time::HiRes qw(time);
use GitpodGateway;

my $g = GitpodGateway->new(workers => 2, edit => sub {
    my ($name, $text) = @_;
    $text =~ s/client_header_timeout \S+;/client_header_timeout 1s;/ if $name eq 'nginx.conf';
    $text =~ s/gitpod_wake .*;//;    # nobody waits for a workspace without an address: t/http/wake_*.t do
    return $text;
});
my ($d, $id) = ($g->{domain}, 'amber-fox-k3j9x2m1');
my $address = GitpodGateway::free_address();
my $host = $g->workspace($id, address => $address, listen => [22999, 23000, 3000], ports => [{ port => 3000, visibility => 'private', protocol => 'http' }]);
my @owner = ('X-Gitpod-Owner-Token' => $g->owner_token($id));
my $cookie = 'gp_workspace=' . $g->workspace_token(host => $host, ws => $id);
my $session = 'gp_session=' . $g->session_token;
my $rpc = '/public-api/gitpod.v1.WorkspaceService/ListWorkspaces';
GitpodGateway::wait_for('the key set', sub { $g->get($host, '/', Cookie => $cookie)->{status} == 200 });

# Bytes as they are, until the other side closes.
sub raw {
    my ($text) = @_;
    my $s = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $g->{port}) or die "connect: $!";
    local $SIG{PIPE} = 'IGNORE';
    syswrite $s, $text;
    my ($in, $from) = ('', time);
    while (time - $from < 10 && IO::Select->new($s)->can_read(10)) { sysread($s, $in, 65536, length $in) or last }
    return ($in =~ /^HTTP\S+ (\d+)/ ? $1 : 0, $in, time - $from);
}

subtest 'rule 11: no Proxy header becomes HTTP_PROXY' => sub {
    my $params = $g->post($d, $rpc, '{}', Proxy => 'http://evil.test', Cookie => $session, Origin => $g->origin($d))->{json}{params};
    is($params->{HTTP_PROXY} // '', '', 'a plugin does not see it');
    is(GitpodClient::seen($g->get($host, '/', Proxy => 'http://evil.test', @owner))->{proxy}, undef, 'nor does a workspace');
};

subtest 'rule 13: a workspace does not steer the gateway with X-Accel' => sub {
    my $r = $g->get($host, '/x-accel', @owner);
    is($r->{status}, 200, 'its X-Accel-Redirect is not followed');
    is($r->{json}{uri}, '/x-accel', 'the answer is its own');
};

subtest 'rule 14: cookies of a workspace stay its own' => sub {
    my $set = sub { my ($text) = @_; $text =~ s/([^A-Za-z0-9=_-])/sprintf '%%%02X', ord $1/ge; return $g->get($host, "/set-cookie?$text", @owner)->{headers}{'set-cookie'} };
    is($set->('theme=dark; Path=/'), 'theme=dark; Path=/', 'one of its own passes');
    is($set->("a=b; Domain=$d"), undef, 'one for the main domain does not');
    is($set->("a=b; Domain=.$g->{workspace_domain}"), undef, 'nor one for all workspaces');
    is($set->("$_=x"), undef, "nor one named $_") for qw(gp_session gp_workspace gp_nonce __Host-gp_session);
};

subtest 'rule 15: workspaces share no cookies with the main domain or each other' => sub {
    my $r = $g->browse($host, '/');
    is($r->{status}, 302, 'who comes without a cookie is sent to log in');
    like($r->{headers}{'set-cookie'}, qr/^gp_nonce=[^;]+; /, 'with a nonce');
    unlike($r->{headers}{'set-cookie'}, qr/Domain=/i, 'for this host alone');
    unlike($g->{workspace_domain}, qr/\.\Q$d\E$/, 'workspaces are not below the main domain');
    is($g->get("3000-$host", '/', Cookie => $cookie)->{status}, 401, 'the cookie of the editor opens no port');
};

subtest 'rule 16: a WebSocket opens only from its own page' => sub {
    is($g->upgrade($host, '/', Cookie => $cookie, Origin => $g->origin($host))->{status}, 101, 'its own');
    is($g->upgrade($host, '/', Cookie => $cookie, Origin => $_)->{status}, 403, "not from $_")
        for 'null', 'http://evil.test', $g->origin($host) . '.evil.test', $g->origin($d), $g->origin('other-fox-k3j9x2m1.' . $g->{workspace_domain});
    is($g->upgrade($host, '/', Cookie => $cookie)->{status}, 403, 'nor without any');
};

subtest 'rule 17: a form of another site changes nothing' => sub {
    is($g->post($d, '/api/logout', '', Cookie => $session, Origin => 'http://evil.test')->{status}, 403, 'log-out from another site');
    is($g->post($d, '/api/logout', '', Cookie => $session)->{status}, 403, 'or from none');
    is($g->post($d, '/api/logout', '', Cookie => $session, Origin => $g->origin($d))->{status}, 200, 'from here it works');
};

subtest 'rule 18: a Host is spelt one way' => sub {
    for my $name ("$host.", "$host:0", "$host:65536", "$host:x", "a.$host", ".$host", "$host\@evil.test", 'evil.test', 'x' x 300 . ".$g->{workspace_domain}", '') {
        my ($status, $text) = raw("GET / HTTP/1.1\r\nHost: $name\r\nX-Gitpod-Owner-Token: $owner[1]\r\nConnection: close\r\n\r\n");
        ok($status =~ /^4/, "Host \"" . substr($name, 0, 60) . "\": $status");
        unlike($text, qr/evil\.test/, 'and is not said again');
    }
    is($g->get(uc $host, '/', @owner)->{status}, 200, 'but for its letters, which have no case');
};

subtest 'rule 19: what is decided on is what is meant' => sub {
    my $calls = $g->calls('auth /_internal/redeem') + $g->calls('auth /_internal/introspect');
    for my $path ('/_gitpod/redeem', '/%5fgitpod/redeem', '/x/../_gitpod/redeem', '//_gitpod/redeem', '/_gitpod%2fredeem', '/./_gitpod/./redeem', '/_gitpod//redeem') {
        is($g->get($host, $path, @owner)->{status}, 404, "$path on a workspace host: 404");
    }
    is($g->get($d, $_, Cookie => $session)->{status}, 404, "$_ on the main domain: 404")
        for '/_gitpod/introspect', '/%5fgitpod/introspect', '/x/..%2f_gitpod/introspect', '//_gitpod//introspect';
    is($g->calls('auth /_internal/redeem') + $g->calls('auth /_internal/introspect') - $calls, 0, 'and auth was never asked');
    is($g->get($host, '/_supervisor/v1/status/ide')->{status}, 200, 'what is open to all is open');
    is($g->get($host, $_)->{status}, 401, "$_ is not") for '/_supervisor/v1/status/ide/../tasks', '/_supervisor/v1/status/ide%2f..%2ftasks', '/_supervisor/v1/status/ide/..%2f..%2f..%2fsecret',
        '/_supervisor/v1/status//../../v1/status/tasks', '/_supervisor/v1/status/ide;/../tasks', '/_supervisor/v1/status/IDE';
    is($g->get($host, '/_supervisor/v1/status/ide%00')->{status}, 400, 'a NUL is refused');
};

subtest 'rule 20: nobody is sent elsewhere' => sub {
    my $at = sub { my ($path) = @_; return $g->browse($d, "/api/handoff?host=$host&nonce=" . ('a' x 64) . "&path=$path", Cookie => $session) };
    is($at->('%2F')->{status}, 303, 'a path of its own');
    is($at->($_)->{status}, 400, "not $_") for '%2F%2Fevil.test', '%2F%5Cevil.test', 'https%3A%2F%2Fevil.test', 'evil.test', '%2F%0D%0ALocation%3A%20x';
    my $login = $g->browse($d, '/api/handoff//evil.test/x')->{headers}{location} // '';
    unlike($login, qr{return=(?:%2F){2}|return=//}i, 'nor after log-in');
    is($g->browse($d, "/api/handoff?host=evil.test&nonce=" . ('a' x 64) . "&path=%2F", Cookie => $session)->{status}, 404, 'a host that is no workspace is no place to go to');
};

subtest 'rule 21: a cookie from before the log-in is not the session after it' => sub {
    my $planted = 'p' x 43;
    my $r = $g->get($d, '/api/login/link?token=good-21', Cookie => "gp_session=$planted");
    my ($set) = $r->{headers}{'set-cookie'} =~ /^gp_session=([^;]+)/;
    isnt($set, $planted, 'the log-in sets another');
    is($g->post($d, $rpc, '{}', Cookie => "gp_session=$planted", Origin => $g->origin($d))->{status}, 401, 'the planted one opens nothing');
    is($g->post($d, $rpc, '{}', Cookie => "gp_session=$set", Origin => $g->origin($d))->{status}, 200, 'the new one does');
    is($g->post($d, $rpc, '{}', Cookie => "gp_session=$set", Origin => $g->origin($d))->{json}{params}{HTTP_COOKIE} // '', '', 'no plugin sees either, so none can take one over');
    my $nonce = 'n' x 43;
    my $code = 'c' x 64;
    $g->put_code($code, host => $host, nonce => Digest::SHA::sha256_hex($nonce), path => '/', user => $g->{owner}, ws => $id);
    $r = $g->browse($host, "/_gitpod/handoff?code=$code", Cookie => "gp_nonce=$nonce; gp_workspace=$planted");
    is($r->{status}, 303, 'a hand-off with a planted cookie');
    unlike($r->{headers}{'set-cookie'}, qr/gp_workspace=(?:$planted|$nonce)/, 'sets one of its own');
    is($g->get($host, '/', Cookie => "gp_workspace=$planted")->{status}, 401, 'and the planted one opens nothing');
};

subtest 'rule 23: no address in a token is ever asked' => sub {
    my $listener = IO::Socket::INET->new(Listen => 16, LocalAddr => '127.0.0.1', LocalPort => 0) or die $!;
    my $url = 'http://127.0.0.1:' . $listener->sockport . '/keys';
    my $theirs = $g->new_key('theirs');
    for my $member ([jku => $url], [x5u => $url], [jwk => $theirs->{jwk}], [x5c => ['MII']], [kid => $url]) {
        for my $kid ('theirs', 'key-1') {
            my $token = $g->jwt($g->session_claims, key => $theirs, header => { alg => 'ES256', typ => 'JWT', kid => $kid, $member->[0] => $member->[1] });
            is($g->post($d, $rpc, '{}', Cookie => "gp_session=$token", Origin => $g->origin($d))->{status}, 401, "$member->[0] with the kid $kid: refused");
        }
    }
    is($g->post($d, $rpc, '{}', Cookie => $session, Origin => $g->origin($d))->{status}, 200, 'a token of ours is good');
    ok(!IO::Select->new($listener)->can_read(0.5), 'and nobody came to the address');
};

subtest 'rule 24: a route leads nowhere but to workspaces' => sub {
    my $n = 0;
    for my $bad ('169.254.169.254', '10.0.0.1', '8.8.8.8', '::1', '0.0.0.0', '127.1', 'localhost', '') {
        my $name = 'bad-fox-k3j9x2m' . $n++;
        $g->route($name, address => $bad);
        $g->route("z$name", address => $address);
        GitpodGateway::wait_for('the next record', sub { $g->routed("z$name") });
        my $r = $g->get($g->host($name), '/', 'X-Gitpod-Owner-Token' => $g->owner_token($name));
        ok($r->{status} == 401 || $r->{status} == 503, "address \"$bad\": $r->{status}");
    }
};

subtest 'rule 25: Redis is read to the letter' => sub {
    my $n = 0;
    for my $bad ('[]', '{}', '{"id":1,"version":1}', '{"id":"ID","version":-1}', '{"id":"ID","version":1.5,"phase":"running"}', '{"id":"ID","version":1,"version":2,"phase":"running"}',
        '{"id":"../x","version":1,"phase":"running"}', '{"id":"ID","version":1,"phase":"flying"}', '{"id":"ID","version":1,"phase":"running","ports":[{"port":70000}]}',
        '{"id":"ID","version":1,"phase":"running","owner":"' . ('x' x 1000) . '"}', 'x' x 3000, '{"id":"ID"', '[' x 100_000) {
        my $name = 'red-fox-k3j9x2m' . $n++;
        my $text = $bad =~ s/ID/$name/r;
        $g->redis('PUBLISH', 'gitpod:routes:changes', $text);
        ok(!$g->routed($name), 'no route from ' . substr $text, 0, 70);
    }
    $g->route('good-fox-k3j9x2m1', address => $address);
    ok(GitpodGateway::wait_for('a good record', sub { $g->routed('good-fox-k3j9x2m1') }), 'and the next good one is taken');
};

subtest 'rules 26 and 27: a kept connection serves one instance' => sub {
    my $name = 'blue-owl-aaaabbbb';
    my $h = $g->workspace($name, address => (my $a = GitpodGateway::free_address()), listen => [23000]);
    my @token = ('X-Gitpod-Owner-Token' => $g->owner_token($name));
    my $connections = sub { my %n; $n{ $g->get($h, '/', @token)->{json}{connection} }++ for 1 .. 12; return %n };
    my %old = $connections->();
    $g->route($name, address => $a, instance => '66666666-6666-4666-8666-666666666666');
    GitpodGateway::wait_for('the new instance', sub { !$old{ $g->get($h, '/', @token)->{json}{connection} } });
    my %new = $connections->();
    is(join(' ', grep { $old{$_} } sort keys %new), '', 'the next instance at the address gets connections of its own');
    $g->route($name, address => $a, owner => $g->{other}, owner_token_sha256 => '0' x 64, instance => '77777777-7777-4777-8777-777777777777');
    is(GitpodGateway::wait_for('the next owner', sub { my $s = $g->get($h, '/', @token)->{status}; $s == 401 && $s }), 401, 'the token of the last one opens nothing');
};

subtest 'rule 28: a connection does not outlive its right' => sub {
    my $token = $g->workspace_token(host => $host, ws => $id, sid => 'session-28');
    my $r = $g->upgrade($host, '/', Cookie => "gp_workspace=$token", Origin => $g->origin($host));
    is($r->{status}, 101, 'a WebSocket');
    my $from = time;
    $g->revoke(session => 'session-28');
    ok(IO::Select->new($r->{socket})->can_read(5) && !sysread($r->{socket}, my $any, 1), 'ends when the session does');
    cmp_ok(time - $from, '<', 1.5, 'within a second');
};

subtest 'rule 29: slow and oversized clients' => sub {
    my ($status, $text, $took) = raw("GET / HTTP/1.1\r\nHost: $host\r\nX-Slow: ");
    cmp_ok($took, '<', 5, "a head that never ends is given up ($status)");
    is((raw("GET / HTTP/1.1\r\nHost: $host\r\n" . "X-A: @{['a' x 20_000]}\r\n\r\n"))[0], 400, 'a header of 20 KB is refused');
    is((raw("GET / HTTP/1.1\r\nHost: $host\r\n" . join('', map { "X-$_: @{['a' x 1000]}\r\n" } 1 .. 500) . "\r\n"))[0], 400, '500 KB of headers are refused');
    is((raw('GET /' . 'a' x 20_000 . " HTTP/1.1\r\nHost: $host\r\n\r\n"))[0], 414, 'a path of 20 KB is refused');
    is($g->post($d, $rpc, 'x' x 5_000_000, Cookie => $session, Origin => $g->origin($d))->{status}, 413, 'a body over the limit of the API is refused');
    is($g->get($host, '/', @owner)->{status}, 200, 'and others are served');
};

subtest 'rule 30: nothing a client sends breaks the log or stays in it' => sub {
    my $secret = 'SECRET' . time;
    $g->browse($host, "/_gitpod/handoff?code=$secret");
    $g->get($d, "/api/login/link?token=$secret&x=%22%0a%7B");
    $g->get($host, "/%22%0a%7B%22status%22:1?a=\"{}\x7f", @owner, Authorization => "Bearer $secret", Cookie => "gp_workspace=$secret");
    raw("GET /\xff\"\\ HTTP/1.1\r\nHost: $host\r\nUser-Agent: \"\\$secret\r\nConnection: close\r\n\r\n");
    $g->get($host, '/last-line', @owner);
    my $log = "$g->{state}/log/nginx/access.log";
    GitpodGateway::wait_for('the log', sub { GitpodGateway::slurp($log) =~ m{/last-line} });
    my @broken = grep { !eval { $GitpodGateway::JSON->decode($_) } } split /\n/, GitpodGateway::slurp($log);
    is("@broken", '', 'every line is JSON');
    unlike(GitpodGateway::slurp($log), qr/SECRET/, 'no secret is in the access log');
    unlike($g->error_log, qr/SECRET/, 'nor in the error log');
};

subtest 'rule 31: unknown and not permitted look alike' => sub {
    my $theirs = $g->workspace('theirs-fox-k3j9x2m1', owner => $g->{other}, listen => [23000]);
    my $unknown = $g->host('never-fox-k3j9x2m1');
    $g->route('still-fox-k3j9x2m1', owner => $g->{other}, phase => 'stopped');
    GitpodGateway::wait_for('a route', sub { $g->routed('still-fox-k3j9x2m1') });
    for my $case (['with a cookie for it', map { [Cookie => 'gp_workspace=' . $g->workspace_token(host => $_, ws => $_ =~ s/\..*//r)] } $theirs, $unknown]) {
        my ($name, $a, $b) = @$case;
        my ($x, $y) = ($g->browse($theirs, '/', @$a), $g->browse($unknown, '/', @$b));
        is($x->{status}, 404, "another's workspace $name: 404");
        is("$x->{status} $x->{body}", "$y->{status} $y->{body}", 'to the letter as one that is not there');
    }
    for my $case (
        ['a program' => sub { $g->get($_[0], $_[1]) }],
        ['one with an owner token' => sub { $g->get($_[0], $_[1], 'X-Gitpod-Owner-Token' => 'o' x 32) }],
        ['one with a cookie that is none' => sub { $g->get($_[0], $_[1], Cookie => 'gp_workspace=none') }],
        ['a WebSocket' => sub { $g->upgrade($_[0], $_[1]) }],
        ['a script' => sub { $g->get($_[0], $_[1], Accept => 'text/html', 'Sec-Fetch-Mode' => 'cors', Origin => 'http://evil.test') }],
        ['a person' => sub { $g->browse($_[0], $_[1]) }],
    ) {
        my ($who, $ask) = @$case;
        my $stopped = $g->host('still-fox-k3j9x2m1');
        for my $path ('/', '/_gitpod/x', '/_gitpod/handoff?code=c', '/_supervisor/v1/status/content') {
            my @said = map {
                my $r = $ask->($_, $path);
                my $place = ($r->{headers}{location} // '') =~ s/nonce=\w+//r =~ s/\Q$_\E/HOST/gr;
                join ' ', $r->{status}, $r->{body}, $place, map { "$_=" . ($r->{headers}{$_} // '') } qw(www-authenticate retry-after content-type access-control-allow-origin);
            } $theirs, $unknown, $stopped;
            is($said[1], $said[0], "$who at $path: one that is not there as another's");
            is($said[2], $said[0], "$who at $path: one that does not run too");
        }
    }
    my @handoff = map { $g->browse($d, "/api/handoff?host=$_&nonce=" . ('a' x 64) . '&path=%2F', Cookie => $session) } $theirs, $unknown;
    is("$handoff[0]{status} $handoff[0]{body}", "$handoff[1]{status} $handoff[1]{body}", 'at the hand-off too');
};

subtest 'rule 33: nobody but the gateway says where a request came from' => sub {
    my $seen = GitpodClient::seen($g->get($host, '/', 'X-Forwarded-For' => '6.6.6.6', 'X-Real-IP' => '6.6.6.6', Forwarded => 'for=6.6.6.6', 'X-Forwarded-Proto' => 'https', 'X-Forwarded-Host' => 'evil.test', @owner));
    is("@{ $seen->{'x-forwarded-for'} } @{ $seen->{'x-real-ip'} }", '127.0.0.1 127.0.0.1', 'its address');
    is("@{ $seen->{'x-forwarded-proto'} } @{ $seen->{'x-forwarded-host'} }", "http $host", 'scheme and host');
    is($seen->{forwarded}, undef, 'and no other word for it');
    my ($status) = raw("PROXY TCP4 6.6.6.6 127.0.0.1 1 1\r\nGET / HTTP/1.1\r\nHost: $host\r\n\r\n");
    is($status, 400, 'the PROXY protocol is not spoken here');
};

subtest 'rule 34: no request and no crash changes what is checked' => sub {
    my $none = $g->jwt($g->workspace_claims(host => $host, ws => $id), header => { alg => 'none', typ => 'JWT' }, signature => '');
    my $forged = $g->workspace_token(host => $host, ws => $id) =~ s/.{8}$/AAAAAAAA/r;
    my $check = sub {
        my ($when) = @_;
        for (1 .. 6) {
            is($g->get($host, '/', Cookie => "gp_workspace=$none")->{status}, 401, "$when: no signature, no entry");
            is($g->get($host, '/', Cookie => "gp_workspace=$forged")->{status}, 401, "$when: nor with a forged one");
            is($g->get($host, '/', Cookie => $cookie)->{status}, 200, "$when: a good one enters");
        }
    };
    $check->('at rest');
    my @old = $g->worker_pids;
    kill 'KILL', $old[0];
    GitpodGateway::wait_for('a new worker', sub { my @now = $g->worker_pids; @now == 2 && !grep { $_ == $old[0] } @now });
    $check->('after a worker was killed');
    kill 'HUP', $g->{nginx_pid};
    GitpodGateway::wait_for('a reload', sub { my %now = map { $_ => 1 } $g->worker_pids; !grep { $now{$_} } @old });
    $check->('after a reload');
};

subtest 'rule 35: the module stands on the nginx of the distribution' => sub {
    my ($version) = `nginx -v 2>&1` =~ m{nginx/(\S+)};
    my $package = `dpkg-query -W -f '\${Version}' nginx`;
    like($package, qr/^\Q$version\E-/, "nginx $version is the package's ($package), security updates included");
    like(`nginx -V 2>&1`, qr/--with-compat/, 'built to load modules');
};

$g->{expected_alert} = qr/exited on signal 9/;
$g->finish;
