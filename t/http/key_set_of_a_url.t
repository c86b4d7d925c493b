# Keys of an issuer's URL: fetched by one worker, known to all. A token whose key
# is new waits for one fetch; nobody makes the gateway ask more often than it may.
use strict;
use warnings;
use IO::Socket::INET;
use Socket qw(inet_aton);
use Test::More;
use Time::HiRes qw(time sleep);
use GitpodGateway;
use TestCa;

my $port = GitpodGateway::free_port();
my $path = '/keys';
my $options = 'interval=1h again=500ms';
my $g = GitpodGateway->new(
    workers => 2, start => 0,
    edit => sub { my ($name, $text) = @_; $text =~ s/^gitpod_key_set_url [^;]*;\n//m, $text .= "gitpod_key_set_url http://127.0.0.1:$port$path $options;\n" if $name eq 'nginx_feed.conf'; return $text });
my $d = $g->{domain};
my %key = map { $_ => $g->new_key($_) } qw(key-a key-b key-c key-d key-e);
my $file = "$g->{dir}/issuer";

sub answer { GitpodGateway::spew($file, $_[0]) }
sub http { my ($body, $status) = @_; return 'HTTP/1.1 ' . ($status // '200 OK') . "\r\nContent-Type: application/json\r\nContent-Length: " . length($body) . "\r\n\r\n$body" }
sub set { return $GitpodGateway::JSON->encode({ keys => [map { ref $_ ? $_ : $key{$_}{jwk} } @_] }) }
sub list { answer(http(set(@_))) }

# answers with what is in the file; an empty one: says nothing
sub issuer {
    my (%tls) = @_;
    my $listener = IO::Socket::INET->new(Listen => 64, LocalAddr => '127.0.0.1', LocalPort => $port, ReuseAddr => 1) or die "$port: $!";
    return $g->child('issuer.log', sub {
        while (my $c = $listener->accept) {
            my $line = <$c> // next;
            while (defined(my $head = <$c>)) { last if $head =~ /^\r?\n/ }
            $g->note_call('issuer ' . $line =~ s/\r?\n//r);
            my $text = GitpodGateway::slurp($file);
            if ($text eq '') { sysread $c, my $rest, 1 }
            print $c $text;
            close $c;
        }
    });
}
sub fetches { return $g->calls('issuer GET /keys HTTP/1.0') }
sub token { my ($kid, %claim) = @_; return $g->jwt($g->session_claims(%claim), key => $key{$kid}) }
my $rpc = '/public-api/gitpod.v1.WorkspaceService/ListWorkspaces';
sub ask { my ($token) = @_; return $g->post($d, $rpc, '{}', Cookie => "gp_session=$token", Origin => $g->origin($d)) }
sub many {
    my @sockets = map {
        my $s = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $g->{port});
        print $s "POST $rpc HTTP/1.1\r\nHost: $d\r\nOrigin: @{[$g->origin($d)]}\r\nCookie: gp_session=$_\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}";
        $s->flush;
        $s;
    } @_;
    return map { $g->response($_, 'POST')->{status} } @sockets;
}
sub metric { my ($name) = @_; return $g->metrics =~ /^\Q$name\E (\d+)/m ? $1 : undef }
sub waited { return metric("gitpod_key_waits_total{outcome=\"$_[0]\"}") }
sub until_quiet { sleep 0.55 } # longer than again=500ms: the clock is what is tested

list('key-a');
my $issuer = issuer();
$g->start;
GitpodGateway::wait_for('the first fetch', sub { ask(token('key-a'))->{status} != 503 });
is(ask(token('key-a'))->{status}, 200, 'a token of the issuer\'s key is let through');
is(ask($g->session_token)->{status}, 200, 'and so are those of the file\'s');
is(fetches(), 1, 'one worker asked, once');
is(metric('gitpod_key_fetches_total{outcome="ok"}'), 1, 'which is counted');
is(metric('gitpod_keys'), 2, 'both keys are');

subtest 'a new key' => sub {
    list('key-a', 'key-b');
    until_quiet();
    my $found = waited('found');
    my $from = time;
    my @status = many((token('key-b')) x 10);
    is("@status", join(' ', (200) x 10), '10 requests with it at once are all let through');
    cmp_ok(time - $from, '<', 2, 'within two seconds');
    is(fetches(), 2, 'by one fetch of all workers');
    is(waited('found') - $found, 10, 'each waited');
    is(ask(token('key-b'))->{status}, 200, 'then it is known');
};

subtest 'keys that there are not' => sub {
    my $n = fetches();
    until_quiet();
    my $from = time;
    is(ask(token('key-e'))->{status}, 401, 'one is looked for and refused');
    is(fetches(), $n + 1, 'with one fetch');
    is(ask(token('key-e'))->{status}, 401, 'again at once');
    is(fetches(), $n + 1, 'without');
    is(waited('known'), 1, 'since it is known to be missing');
    my @tokens = map { $g->jwt($g->session_claims, header => { alg => 'ES256', typ => 'JWT', kid => "random-$_" }, signature => 'A' x 86) } 1 .. 60;
    my %status;
    $status{$_}++ for many(@tokens);
    is(join(' ', keys %status), 401, 'at random: refused');
    cmp_ok(fetches() - $n, '<=', 1 + 2 * (time - $from), 'but never more than two fetches a second');
    for my $header ({ alg => 'none' }, { alg => 'HS256', kid => 'x' }, { alg => 'ES256', kid => 'x' x 200 }, { alg => 'ES256', kid => "a\tb" }, { alg => 'ES256', kid => 7 }, { alg => 'ES256' }) {
        my $before = fetches();
        is(ask($g->jwt($g->session_claims, header => $header, signature => 'A' x 86))->{status}, 401, 'no key that could be one: refused at once');
        is(fetches(), $before, 'and nothing is fetched');
    }
    is(ask(token('key-b'))->{status}, 200, 'those with good keys do not notice');
    is(ask(token('key-b') =~ s/.{8}$/AAAAAAAA/r)->{status}, 401, 'a good key and a bad signature');
};

subtest 'answers that are none' => sub {
    my @bad = (
        ['an error' => http('{}', '500 Oops')], ['a redirect' => "HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:$port/elsewhere\r\nContent-Length: 0\r\n\r\n"],
        ['no JSON' => http('keys')], ['a secret' => http(set({ kty => 'oct', kid => 'key-c', k => 'AAAA', alg => 'HS256' }))],
        ['one too long' => http('{"keys":[' . ' ' x 100_000 . ']}')],
        ['17 keys' => http(set(map { +{ %{ $key{'key-c'}{jwk} }, kid => "k$_" } } 1 .. 17))],
    );
    for (@bad) {
        my ($what, $text) = @$_;
        answer($text);
        my $failed = metric('gitpod_key_fetches_total{outcome="failed"}');
        until_quiet();
        my $r = ask($g->jwt($g->session_claims, header => { alg => 'ES256', typ => 'JWT', kid => 'bad-' . $what =~ s/\W/-/gr }, signature => 'A' x 86));
        is($r->{status}, 503, "$what: it cannot be told whether there is a key");
        cmp_ok(metric('gitpod_key_fetches_total{outcome="failed"}'), '>', $failed, "$what: counted");
    }
    is($g->calls('issuer GET /elsewhere HTTP/1.0'), 0, 'a redirect is not followed');
    is(ask(token('key-b'))->{status}, 200, 'what was known goes on');
    like($g->error_log, qr/\[warn\].*the key set of "http:[^"]*" cannot be fetched: it answers 500; what it was counts for 8\d+ s more/, 'the log says why, and how long');
};

subtest 'an issuer that says nothing' => sub {
    answer('');
    until_quiet();
    my $from = time;
    my $r = ask($g->jwt($g->session_claims, header => { alg => 'ES256', typ => 'JWT', kid => 'silent' }, signature => 'A' x 86));
    is($r->{status}, 503, 'nobody waits for it to the end');
    ok($r->{headers}{'retry-after'}, 'but is told to try again');
    cmp_ok(time - $from, '<', 2.5, 'after two seconds');
    cmp_ok(waited('late'), '>=', 1, 'which is counted');
};

subtest 'workers are killed' => sub {
    list('key-a', 'key-b', 'key-c');
    my %old = map { $_ => 1 } $g->worker_pids;
    kill 'KILL', keys %old;
    GitpodGateway::wait_for('new workers', sub { my @new = grep { !$old{$_} } $g->worker_pids; @new == 2 });
    GitpodGateway::wait_for('another to fetch', sub { ask(token('key-c'))->{status} == 200 });
    pass('the next one fetches');
    kill 'KILL', $issuer;
    waitpid $issuer, 0;
    $g->reload;
    is(ask(token('key-c'))->{status}, 200, 'after a reload the keys are there, with the issuer away');
};

subtest 'keys that are not listed any more' => sub {
    $issuer = issuer();
    $options = 'interval=1s again=1s grace=1h stale=1h';
    list('key-c');
    $g->reload;
    my $n = fetches();
    GitpodGateway::wait_for('the next set', sub { fetches() > $n + 1 });
    is(ask(token('key-b'))->{status}, 200, 'count on for a while');
    $options =~ s/grace=1h/grace=3s/;
    $g->reload;
    GitpodGateway::wait_for('the end of it', sub { ask(token('key-b', sid => 'other'))->{status} == 401 });
    pass('and then do not');
    is(ask(token('key-c'))->{status}, 200, 'the one that is listed does');
    is(ask(token('key-b'))->{status}, 401, 'nor does a token that was verified before');
};

subtest 'an issuer that is away for too long' => sub {
    kill 'KILL', $issuer;
    waitpid $issuer, 0;
    is(ask(token('key-c'))->{status}, 200, 'its keys go on counting');
    $options =~ s/stale=1h/stale=3s/;
    $g->reload;
    GitpodGateway::wait_for('the end of that', sub { ask(token('key-c'))->{status} == 503 });
    like($g->error_log, qr/\[error\].*the key set of "http:[^"]*" was fetched \d+ s ago and is dropped/, 'for as long as was said');
    is(ask($g->session_token)->{status}, 200, 'the file\'s keys are no part of it');
    local $g->{port} = $g->{probe_port};
    my $ready = GitpodGateway::wait_for('/ready', sub { my $r = $g->get('127.0.0.1', '/ready?verbose'); $r->{status} == 503 && $r });
    like($ready->{json}{checks}{keys}{text}, qr/the URL was too old/, '/ready says so');
};

subtest 'it is back' => sub {
    list('key-d');
    $issuer = issuer();
    GitpodGateway::wait_for('it to be back', sub { ask(token('key-d'))->{status} == 200 });
    like($g->error_log, qr/\[notice\].*is there again/, 'as the log says');
};

subtest 'another issuer' => sub {
    is(ask(token('key-d'))->{status}, 200, 'its key is good');
    $options = 'interval=1h again=500ms';
    $path = '/other';
    answer(http('{}', '500 Oops'));
    $g->reload;
    GitpodGateway::wait_for('Redis', sub { ask($g->session_token)->{status} == 200 });
    isnt(ask(token('key-d'))->{status}, 200, 'with another URL it is not: its keys went with it');
};

subtest 'what may be configured' => sub {
    for (
        ['http://8.8.8.8/keys', qr/must be https/], ['http://issuer.test/keys', qr/must be https/], ['ftp://127.0.0.1/', qr/neither http/],
        ['https://unix:/tmp/x:/keys', qr/no certificate/], ['http://a@127.0.0.1/keys', qr/more than a host and a path/], ['https://1.2.3.4/keys', qr/a name/],
        ['https://issuer.test/keys trusted_certificate=/nowhere', qr/nowhere/], ['http://127.0.0.1/keys stale=8d', qr/invalid parameter "stale=8d"/], ['http://127.0.0.1/keys again=1ms', qr/invalid parameter/],
    ) {
        my ($text, $why) = @$_;
        my $conf = "$g->{dir}/check.conf";
        GitpodGateway::spew($conf, "pid $g->{dir}/check.pid; load_module " . GitpodGateway::module() . "; events {} http { gitpod_zone z 8m; gitpod_key_set_url $text; }\n");
        my $said = GitpodGateway::check_conf($conf);
        like($said, $why, "$text is not");
    }
};
$g->{expected_alert} = qr/exited on signal 9/;
$g->finish;
