#!/usr/bin/perl
# A service of the kit over its socket: calls, streams, cancellation, bad input, stop.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use FastCgi;
use File::Temp;
use IO::Select;
use JSON::PP;
use Test::More;
use Time::HiRes qw(sleep time);

my $echo = ($ENV{BUILD} // "$FindBin::Bin/../../build") . '/c/t/service/test_echo';
$echo = $ENV{TEST_ECHO} if $ENV{TEST_ECHO};
plan skip_all => "build it first: $echo" unless -x $echo;

our $run = File::Temp->newdir('gp-kit-XXXXXX', TMPDIR => 1);
our $sock = "$run/echo/fcgi.sock";
my $get = '/gitpod.v1.WorkspaceService/GetWorkspace';
my $watch = '/gitpod.v1.WorkspaceService/WatchWorkspaceStatus';
our $pid;
my $nginx;

sub start {
    my (@args) = @_;
    $pid = fork // die "fork: $!";
    if (!$pid) {
        open STDERR, '>>', "$run/log";
        exec $echo, '--run', $run, @args;
        exit 127;
    }
    my $until = time + 10;
    sleep 0.01 until FastCgi->connect($sock) || time > $until;
}

sub stop_service {
    my $t = time;
    kill TERM => $pid;
    waitpid $pid, 0;
    undef $pid;
    return ($?, time - $t);
}

END {
    my $status = $?;
    if ($pid) { kill KILL => $pid; waitpid $pid, 0 }
    if ($nginx) { kill TERM => $nginx; waitpid $nginx, 0 }
    $? = $status;
}

sub header { my ($res, $name) = @_; return map { $_->[1] } grep { lc $_->[0] eq lc $name } @{ $res->{headers} } }

sub rpc {
    my ($path, $body, %param) = @_;
    return FastCgi->call($sock, { GITPOD_PATH => $path, CONTENT_TYPE => 'application/json', %param }, $body);
}

sub metric {
    my ($name) = @_;
    my ($value) = FastCgi->call($sock, { GITPOD_PATH => '/metrics', REQUEST_METHOD => 'GET' })->{body} =~ /^\Q$name\E (\S+)$/m;
    return $value;
}

# Waits until the condition holds, at most 5 s.
sub soon {
    my ($cond) = @_;
    my $until = time + 5;
    while (time < $until) { return 1 if $cond->(); sleep 0.02 }
    return 0;
}

# A stock nginx as the internal listener of this service.
sub start_gateway {
    mkdir "$run/$_" for 'gateway', 'gateway/echo', 'tmp';
    open my $fh, '>', "$run/nginx.conf";
    print $fh join "\n", 'worker_processes 1; daemon off;', ($> == 0 ? 'user root;' : ()), "pid $run/nginx.pid; error_log $run/nginx.log;",
        'events {} http { access_log off;', (map { "${_}_temp_path $run/tmp;" } qw(client_body fastcgi proxy uwsgi scgi)),
        "server { listen unix:$run/gateway/echo/gateway.sock; location / { include /etc/nginx/fastcgi_params;",
        "fastcgi_param GITPOD_PATH \$uri; fastcgi_param GITPOD_CALLER echo; fastcgi_buffering off; fastcgi_pass unix:$sock; } } }\n";
    close $fh;
    my $child = fork // die "fork: $!";
    exec 'nginx', '-e', "$run/nginx.log", '-c', "$run/nginx.conf" if !$child;
    return $child;
}

sub envelope { my ($payload, $flags) = @_; return pack('CN', $flags // 0, length $payload) . $payload }

sub envelopes {
    my ($body) = @_;
    my @out;
    while (length $body >= 5) {
        my ($flags, $len) = unpack 'CN', $body;
        push @out, [ $flags, substr $body, 5, $len ];
        $body = substr $body, 5 + $len;
    }
    return @out;
}

sub error_is {
    my ($res, $status, $code, $text, $what) = @_;
    my $json = eval { decode_json($res->{body}) } // {};
    ok $res->{status} == $status && $json->{code} eq $code && $json->{message} =~ $text, $what
        or diag explain { status => $res->{status}, body => $res->{body} };
}

mkdir "$run/echo";
chmod 02750, "$run/echo";
start();

subtest 'socket' => sub {
    my $mode = (stat $sock)[2];
    is sprintf('%o', $mode & 07777), '660', 'the socket is for owner and group';
    my $out = `$echo --run $run 2>&1`;
    ok $? != 0 && $out =~ /another process serves/, 'a second process does not take the socket away';
};

subtest 'unary' => sub {
    my $res = rpc($get, '{"workspaceId":"amber","unknownField":[1]}', GITPOD_USER => 'u1', GITPOD_CALLER => 'ide');
    is $res->{status}, 200, 'JSON is answered';
    is_deeply decode_json($res->{body})->{workspace}, { id => 'amber', metadata => { ownerId => 'u1', name => 'hello ide' } },
        'the handler saw message, user and caller';
    is_deeply [ header($res, 'Content-Type') ], ['application/json'], 'and is told so';

    $res = rpc($get, "\x0a\x05amber", CONTENT_TYPE => 'application/proto');
    is $res->{status}, 200, 'binary protobuf is answered';
    like $res->{body}, qr/^\x0a.\x0a\x05amber/s, 'in binary protobuf';

    $res = rpc($get, '{}', CONTENT_TYPE => 'application/json; charset=utf-8');
    is $res->{status}, 200, 'a charset does not change the content type';
    is rpc($get, '')->{status}, 200, 'an empty JSON body is an empty message';
    error_is(rpc($get, '{"workspaceId":"fail"}'), 404, 'not_found', qr/^workspace_id: /, 'an error has code, status and text');
    unlike rpc($get, '{"workspaceId":"fail"}')->{body}, qr/details/, 'and no empty list of details';
};

subtest 'bad input' => sub {
    error_is(rpc($get, '{"workspaceId":5}'), 400, 'invalid_argument', qr/workspace_?id/i, 'a wrong type names the field');
    error_is(rpc($get, '{"workspaceId":'), 400, 'invalid_argument', qr/./, 'broken JSON is refused');
    error_is(rpc($get, "\xff\xff\xff\xff", CONTENT_TYPE => 'application/proto'), 400, 'invalid_argument', qr/./, 'protobuf garbage is refused');
    error_is(rpc($get, "\x0a\x02\xff\xfe", CONTENT_TYPE => 'application/proto'), 400, 'invalid_argument', qr/workspace_?id/i,
        'a string that is no UTF-8 names the field');
    error_is(rpc('/gitpod.v1.WorkspaceService/Nothing', '{}'), 404, 'unimplemented', qr/WorkspaceService\/Nothing/, 'an unknown RPC is named');
    error_is(rpc('/nothing', '{}'), 404, 'not_found', qr{/nothing}, 'an unknown path is named');
    my $res = rpc($get, '', REQUEST_METHOD => 'GET');
    error_is($res, 405, 'unimplemented', qr/takes POST, not GET/, 'RPCs take POST');
    is_deeply [ header($res, 'Allow') ], ['POST'], 'as Allow says';
    error_is(rpc($get, 'x=1', CONTENT_TYPE => 'text/plain'), 415, 'invalid_argument', qr{application/json or application/proto},
        'a wrong content type names the right ones');
    error_is(rpc($watch, '{}'), 415, 'invalid_argument', qr{application/connect\+json}, 'a stream needs its own content type');
    error_is(rpc($get, '{"workspaceId":"' . 'x' x 4_200_000 . '"}'), 429, 'resource_exhausted', qr/4194304 bytes/, 'a body over the limit is refused');
    error_is(rpc($get, '{}', HTTP_CONNECT_TIMEOUT_MS => 'soon'), 400, 'invalid_argument', qr/Timeout/, 'so is a timeout that is no number');
    error_is(rpc($get, 'x', HTTP_CONTENT_ENCODING => 'gzip'), 404, 'unimplemented', qr/identity/, 'and compression');
    error_is(rpc($get, '{}', HTTP_X => 'x' x 70_000), 431, 'resource_exhausted', qr/headers/, 'and headers of 70 KB');
    is rpc($get, '{"workspaceId":"' . '[' x 100_000 . '"}')->{status}, 200, 'brackets inside a string are only text';
    error_is(rpc($get, '{"x":' . '[' x 100_000 . ']' x 100_000 . '}'), 400, 'invalid_argument', qr/./, 'nesting has a bound');
};

subtest 'bad FastCGI' => sub {
    for my $case (
        [ 'HTTP', "GET / HTTP/1.1\r\nHost: x\r\n\r\n" ],
        [ 'STDIN before PARAMS ended', FastCgi::record(1, 1, pack 'nCx5', 1, 1) . FastCgi::record(5, 1, 'x') ],
        [ 'a name longer than its stream', FastCgi::record(1, 1, pack 'nCx5', 1, 1) . FastCgi::record(4, 1, "\x7f\x01a") . FastCgi::record(4, 1, '') ],
        [ 'a NUL in a parameter', FastCgi::record(1, 1, pack 'nCx5', 1, 1) . FastCgi::record(4, 1, "\x01\x02a\0b") . FastCgi::record(4, 1, '') ],
    ) {
        my $c = FastCgi->connect($sock);
        $c->send_raw($case->[1]);
        ok $c->closed, "$case->[0] closes the connection";
    }

    my $c = FastCgi->connect($sock);
    $c->send_raw(FastCgi::record(9, 0, FastCgi::pairs(FCGI_MPXS_CONNS => '', FCGI_MAX_CONNS => '')));
    my $r = $c->next_record;
    ok $r->[0] == 10 && $r->[2] eq FastCgi::pairs(FCGI_MPXS_CONNS => '0'), 'GET_VALUES says that we do not multiplex';
    $c->send_raw(FastCgi::record(77, 0, 'x'));
    $r = $c->next_record;
    ok $r->[0] == 11 && unpack('C', $r->[2]) == 77, 'an unknown management type is named';
    $c->send_raw(FastCgi::record(1, 7, pack 'nCx5', 3, 1));
    $r = $c->next_record;
    ok $r->[0] == 3 && $r->[1] == 7 && unpack('x4C', $r->[2]) == 3, 'another role than responder is refused';
    $c->send_raw($c->request_bytes({ GITPOD_PATH => '/page', REQUEST_METHOD => 'GET' }, '', keep => 1));
    is $c->answer->{status}, 200, 'and the connection still serves';
};

subtest 'keep-alive' => sub {
    my $c = FastCgi->connect($sock);
    for my $n (1 .. 3) {
        $c->send_raw($c->request_bytes({ GITPOD_PATH => $get, REQUEST_METHOD => 'POST', CONTENT_TYPE => 'application/json' },
            qq({"workspaceId":"w$n"}), keep => 1, id => $n));
        is decode_json($c->answer->{body})->{workspace}{id}, "w$n", "request $n on one connection";
    }
    my $bytes = $c->request_bytes({ GITPOD_PATH => $get, REQUEST_METHOD => 'POST', CONTENT_TYPE => 'application/json' }, '{"workspaceId":"slow"}');
    $c->send_raw($_) for split //, $bytes;
    is decode_json($c->answer->{body})->{workspace}{id}, 'slow', 'a request that comes byte by byte';
    ok $c->closed, 'without keep-alive the connection is closed after the answer';

    $c = FastCgi->connect($sock);
    $c->send_raw($c->request_bytes({ GITPOD_PATH => $get, REQUEST_METHOD => 'POST', CONTENT_TYPE => 'application/json' },
        '{"workspaceId":"wait"}', keep => 1, id => 1));
    $c->send_raw(FastCgi::record(1, 2, pack 'nCx5', 1, 1));
    my $r = $c->next_record;
    ok $r->[0] == 3 && $r->[1] == 2 && unpack('x4C', $r->[2]) == 1, 'a second request on a busy connection is told that we do not multiplex';
    ok soon(sub { metric('echo_waits_total') == 1 }), 'while the first one runs';
};

subtest 'the first bytes of a connection' => sub {
    my $param = { GITPOD_PATH => $get, REQUEST_METHOD => 'POST', CONTENT_TYPE => 'application/json' };
    my $begin = FastCgi::record(1, 2, pack 'nCx5', 1, 1);

    my $c = FastCgi->connect($sock);
    $c->send_raw($c->request_bytes($param, '{"workspaceId":"first"}', keep => 1) . $begin);
    my $r = $c->next_record;
    ok $r->[0] == 3 && $r->[1] == 2 && unpack('x4C', $r->[2]) == 1, 'a second request right behind the first is refused';
    is decode_json($c->answer->{body})->{workspace}{id}, 'first', 'and the first is answered';

    my $waits = metric('echo_waits_total');
    $c = FastCgi->connect($sock);
    $c->send_raw($c->request_bytes($param, '{"workspaceId":"wait"}', keep => 1) . FastCgi::record(2, 1, ''));
    ok $c->closed, 'a request with its ABORT closes the connection';
    is metric('echo_waits_total'), $waits, 'and does not run';

    $c = FastCgi->connect($sock);
    $c->send_raw($c->request_bytes($param, '{"workspaceId":"half"}', keep => 1) . substr $begin, 0, 5);
    is decode_json($c->answer->{body})->{workspace}{id}, 'half', 'half a record behind a request waits for the other half';
    $c->send_raw(substr($begin, 5) . FastCgi::record(4, 2, FastCgi::pairs(GITPOD_PATH => '/page', REQUEST_METHOD => 'GET'))
            . FastCgi::record(4, 2, '') . FastCgi::record(5, 2, ''));
    is $c->answer->{status}, 200, 'which comes';

    my @idle = map { FastCgi->connect($sock) } 1 .. 40;
    is rpc($get, '{}')->{status}, 200, 'connections without a request hold nobody up';
    $c = pop @idle;
    $c->send_raw($c->request_bytes($param, '{"workspaceId":"late"}'));
    is decode_json($c->answer->{body})->{workspace}{id}, 'late', 'one that comes late is answered';
    my $before = metric('gitpod_service_connections');
    $_->close for @idle;
    ok soon(sub { metric('gitpod_service_connections') <= $before - 39 }), 'those that end go';
};

subtest 'plain paths' => sub {
    my $res = FastCgi->call($sock, { GITPOD_PATH => '/form', REQUEST_METHOD => 'GET', QUERY_STRING => 'x=1&text=a%20b%2Bc+d' });
    is $res->{status}, 201, 'the handler chooses the status';
    is $res->{body}, 'text=a b+c d', 'the query is decoded';
    is_deeply [ header($res, 'Set-Cookie') ], [ 'a=1', 'b=2' ], 'a header may come twice, in order';
    is_deeply [ header($res, 'X-Injected'), header($res, 'X-Bad') ], [], 'a value with a line end is dropped';
    $res = FastCgi->call($sock, { GITPOD_PATH => '/form', CONTENT_TYPE => 'application/x-www-form-urlencoded' }, 'text=from+form');
    like $res->{body}, qr/^text=from form$/, 'form fields are found too';
    like(FastCgi->call($sock, { GITPOD_PATH => '/form', REQUEST_METHOD => 'GET', QUERY_STRING => 'text=%00' })->{body}, qr/^text=\(none\)$/,
        'a NUL is no text');
    error_is(FastCgi->call($sock, { GITPOD_PATH => '/page', REQUEST_METHOD => 'PUT' }), 405, 'unimplemented', qr/takes GET/, 'wrong method');
    is length FastCgi->call($sock, { GITPOD_PATH => '/page', REQUEST_METHOD => 'GET' })->{body}, 512, 'a page';
};

subtest 'streams' => sub {
    my $call = sub { rpc($watch, envelope($_[0]), CONTENT_TYPE => 'application/connect+json', @_[ 1 .. $#_ ]) };
    my $res = $call->('{"workspaceId":"count"}');
    my @e = envelopes($res->{body});
    is $res->{status}, 200, 'a stream is answered';
    is_deeply [ map { $_->[0] } @e ], [ 0, 0, 0, 2 ], 'with three messages and an end';
    is $e[0][1], '{"workspaceId":"count"}', 'in JSON';
    is $e[3][1], '{}', 'whose end is no error';

    $res = rpc($watch, envelope("\x0a\x05count"), CONTENT_TYPE => 'application/connect+proto');
    @e = envelopes($res->{body});
    is $e[2][1], "\x0a\x05count", 'and in protobuf';

    my $end_error = sub { my ($r) = @_; my @all = envelopes($r->{body}); return decode_json($all[-1][1])->{error} };
    $res = $call->('{"workspaceId":"fail"}');
    is $res->{status}, 200, 'an error of a stream comes with status 200';
    is $end_error->($res)->{code}, 'permission_denied', 'at its end';
    is $end_error->($call->('{"workspaceId":3}'))->{code}, 'invalid_argument', 'so does a message that does not parse';
    is $end_error->(rpc($watch, '{}', CONTENT_TYPE => 'application/connect+json'))->{code}, 'invalid_argument', 'and a missing envelope';
    is $end_error->(rpc($watch, envelope('x', 1), CONTENT_TYPE => 'application/connect+json'))->{code}, 'unimplemented', 'and a compressed one';

    my $t = time;
    $res = $call->('{"workspaceId":"idle"}', HTTP_CONNECT_TIMEOUT_MS => 300);
    is $end_error->($res)->{code}, 'deadline_exceeded', 'a stream ends at its deadline';
    ok time - $t < 2, 'and not much later';
    ok soon(sub { metric('echo_closed_total') == 1 }), 'of which its handler hears';
};

subtest 'cancellation' => sub {
    my $param = { GITPOD_PATH => $get, REQUEST_METHOD => 'POST', CONTENT_TYPE => 'application/json' };
    # one call waits already: the connection of the keep-alive test was closed
    ok soon(sub { metric('echo_cancelled_total') == 1 }), 'a closed connection cancels its handler';
    my $c = FastCgi->connect($sock);
    $c->send_raw($c->request_bytes($param, '{"workspaceId":"wait"}', keep => 1));
    ok soon(sub { metric('echo_waits_total') == 2 }), 'another call waits';
    is metric('echo_cancelled_total'), 1, 'an open one does not';
    $c->send_raw(FastCgi::record(2, 1, ''));
    ok soon(sub { metric('echo_cancelled_total') == 2 }), 'ABORT does';
    my $t = time;
    error_is(rpc($get, '{"workspaceId":"wait"}', HTTP_CONNECT_TIMEOUT_MS => 200), 408, 'deadline_exceeded', qr/GetWorkspace/, 'the deadline ends a call');
    ok time - $t < 2, 'in time';
    ok soon(sub { metric('echo_cancelled_total') == 3 }), 'and its handler';

    my $idle = FastCgi->connect($sock);
    $idle->send_raw($idle->request_bytes({ %$param, GITPOD_PATH => $watch, CONTENT_TYPE => 'application/connect+json' }, envelope('{"workspaceId":"idle"}')));
    ok $idle->next_record, 'a stream is open';
    $idle->close;
    ok soon(sub { metric('echo_closed_total') == 2 }), 'its handler hears when the client leaves';
    ok soon(sub { metric('gitpod_service_requests') == 1 }), 'nothing is left behind';
};

subtest 'backpressure' => sub {
    my $c = FastCgi->connect($sock);
    $c->send_raw($c->request_bytes({ GITPOD_PATH => $watch, REQUEST_METHOD => 'POST', CONTENT_TYPE => 'application/connect+json' },
        envelope('{"workspaceId":"flood"}')));
    ok soon(sub { metric('echo_slow_total') == 1 }), 'a reader that does not read stops the writer';
    my $res = $c->answer;
    my @e = envelopes($res->{body});
    is decode_json($e[-1][1])->{error}{code}, 'resource_exhausted', 'and is told so at the end';
};

subtest 'calls to others' => sub {
    my $get_page = sub { my ($path, $query) = @_; FastCgi->call($sock, { GITPOD_PATH => $path, REQUEST_METHOD => 'GET', QUERY_STRING => $query }) };
    my $t = time;
    error_is($get_page->('/call', 'id=x&timeout=300'), 503, 'unavailable', qr/^gitpod.v1.WorkspaceService: .*gateway.sock/, 'no gateway: who was called and where');
    ok time - $t > 0.1, 'after some tries' or diag time - $t;

    # the gateway comes back while a call waits for it
    my $late = FastCgi->connect($sock);
    $late->send_raw($late->request_bytes({ GITPOD_PATH => '/call', REQUEST_METHOD => 'GET', QUERY_STRING => 'id=late' }, ''));
    $nginx = start_gateway();
    is $late->answer->{body}, 'late|hello echo', 'a call waits for the gateway and is made as ourselves';

    is $get_page->('/call', 'id=abc')->{body}, 'abc|hello echo', 'a unary call';
    error_is($get_page->('/call', 'id=fail'), 404, 'not_found', qr/^workspace_id: there is no workspace "fail"$/, 'code and text come from the other side');
    error_is($get_page->('/call', 'id=wait&timeout=300'), 408, 'deadline_exceeded', qr/./, 'a call has a deadline');
    is $get_page->('/listen', 'id=count')->{body}, '3 heard', 'a stream is heard to its end';
    error_is($get_page->('/listen', 'id=fail'), 403, 'permission_denied', qr/0 heard: workspace_id: not yours/, 'and its error');
    error_is($get_page->('/listen', 'id=flood'), 409, 'aborted', qr/1 heard: enough/, 'the listener may end it');
    error_is($get_page->('/listen', 'id=idle'), 408, 'canceled', qr/1 heard/, 'or stop waiting');
    ok soon(sub { metric('gitpod_service_requests') == 1 }), 'which the other side notices';
    kill QUIT => $nginx;
    waitpid $nginx, 0;
    undef $nginx;
};

subtest 'busy pool' => sub {
    my @c;
    my $param = { GITPOD_PATH => $get, REQUEST_METHOD => 'POST', CONTENT_TYPE => 'application/json' };
    for (1 .. 8 + 1024 + 20) {
        my $c = FastCgi->connect($sock) or last;
        $c->send_raw($c->request_bytes($param, '{"workspaceId":"wait"}', keep => 1));
        push @c, $c;
    }
    ok soon(sub { metric('gitpod_service_refused_total') >= 20 }), 'what does not fit the queue is refused';
    my $res = $c[-1]->answer;
    error_is($res, 503, 'resource_exhausted', qr/try again/, 'with 503');
    is(FastCgi->call($sock, { GITPOD_PATH => '/health', REQUEST_METHOD => 'GET' })->{status}, 200, 'health is answered while every thread is busy');
    my $before = metric('echo_cancelled_total');
    $_->close for splice @c, 8;
    ok soon(sub { metric('gitpod_service_requests') == 9 }), 'those in the queue go with their clients';
    $_->close for @c;
    ok soon(sub { metric('gitpod_service_requests') == 1 }), 'and then those that run';
    ok soon(sub { metric('echo_cancelled_total') - $before == 8 }), 'whose handlers hear of it';
    is metric('echo_cancelled_total') - $before, 8, 'those that waited in the queue never ran';
    is rpc($get, '{"workspaceId":"after"}')->{status}, 200, 'then it serves again';
};

subtest 'more handlers than threads that accept' => sub {
    my $more = File::Temp->newdir('gp-kit-XXXXXX', TMPDIR => 1);
    local $run = $more;
    local $sock = "$more/echo/fcgi.sock";
    local $pid;
    mkdir "$more/echo";
    start('--threads', 12);
    my @c = map { FastCgi->connect($sock) } 1 .. 14;
    $_->send_raw($_->request_bytes({ GITPOD_PATH => $get, REQUEST_METHOD => 'POST', CONTENT_TYPE => 'application/json' }, '{"workspaceId":"wait"}')) for @c;
    ok soon(sub { metric('echo_waits_total') == 12 }), 'as many run as may' or diag metric('echo_waits_total');
    is metric('gitpod_service_requests'), 15, 'and the others wait their turn';
    (shift @c)->close for 1 .. 2;
    ok soon(sub { metric('echo_waits_total') == 14 }), 'which comes when one ends';
    $_->close for @c;
    ok soon(sub { metric('echo_cancelled_total') == 14 && metric('gitpod_service_requests') == 1 }), 'all of them hear of their end';
    is rpc($get, '{"workspaceId":"after"}')->{status}, 200, 'then the first threads accept again';
    my ($status) = stop_service();
    is $status, 0, 'and the spare one ends with them';
};

subtest 'health and metrics' => sub {
    my $res = FastCgi->call($sock, { GITPOD_PATH => '/health', REQUEST_METHOD => 'GET' });
    is_deeply decode_json($res->{body}), { status => 'ok', checks => { root => 'ok' } }, 'health names its checks';
    my $text = FastCgi->call($sock, { GITPOD_PATH => '/metrics', REQUEST_METHOD => 'GET' })->{body};
    like $text, qr/^gitpod_service_calls_total\{method="gitpod.v1.WorkspaceService\/GetWorkspace",code="not_found"\} 3$/m, 'calls are counted by code';
    my %seen;
    my @twice = grep { $seen{$_}++ } $text =~ /^# TYPE (\S+)/mg;
    is_deeply \@twice, [], 'each metric is described once';
};

subtest 'gRPC-web' => sub {
    # messages, then the trailers of the last frame
    my $web = sub {
        my ($path, $body, %param) = @_;
        my $res = rpc($path, $body, CONTENT_TYPE => 'application/grpc-web+proto', %param);
        my @e = envelopes($res->{body});
        my $end = @e && $e[-1][0] == 0x80 ? (pop @e)->[1] : '';
        return { %$res, messages => [ map { $_->[1] } @e ], flags => [ map { $_->[0] } @e ], trailer => { $end =~ /^([a-z-]+): (.*)\r\n/mg } };
    };
    my $fails = sub {
        my ($res, $status, $text, $what) = @_;
        ok $res->{status} == 200 && !@{ $res->{messages} } && ($res->{trailer}{'grpc-status'} // -1) == $status
            && ($res->{trailer}{'grpc-message'} // '') =~ $text, $what or diag explain $res;
    };
    my $amber = envelope("\x0a\x05amber");

    my $res = $web->($get, $amber, GITPOD_USER => 'u1');
    is $res->{status}, 200, 'a unary call is answered';
    is_deeply [ header($res, 'Content-Type') ], ['application/grpc-web+proto'], 'in its form';
    is_deeply $res->{flags}, [0], 'with one message';
    like $res->{messages}[0], qr/^\x0a.\x0a\x05amber/s, 'in protobuf';
    is_deeply $res->{trailer}, { 'grpc-status' => 0 }, 'and the status 0 in the last frame';
    is_deeply [ header($res, 'grpc-accept-encoding') ], ['identity'], 'which compression is known is said';
    $res = $web->($get, envelope('{"workspaceId":"amber"}'), CONTENT_TYPE => 'application/grpc-web+json');
    is decode_json($res->{messages}[0])->{workspace}{id}, 'amber', 'JSON works as well';
    is $web->($get, $amber, CONTENT_TYPE => 'application/grpc-web')->{trailer}{'grpc-status'}, 0, 'no suffix means protobuf';
    is scalar @{ $web->($watch, envelope("\x0a\x05count"))->{messages} }, 3, 'a stream is answered';

    $fails->($web->($get, envelope("\x0a\x04fail")), 5, qr/^workspace_id: there is no workspace "fail"$/, 'an error has code and text');
    $fails->($web->($get, envelope("\x0a\x06fail%\xc3")), 3, qr/./, 'a string that is no UTF-8 is refused');
    $fails->($web->($watch, envelope("\x0a\x04fail")), 7, qr/not yours/, 'so has an error of a stream');
    $fails->($web->('/gitpod.v1.WorkspaceService/Nothing%', $amber), 12, qr{WorkspaceService/Nothing%25$}, 'an unknown method is unimplemented, and % is encoded');
    $fails->($web->($get, ''), 3, qr/exactly one message/, 'no message is one too few');
    $fails->($web->($get, $amber x 2), 3, qr/exactly one message/, 'two are one too many');
    $fails->($web->($get, envelope('x', 1)), 13, qr/compressed/, 'a compressed message without grpc-encoding is a broken client');
    $fails->($web->($get, envelope('x', 1), HTTP_GRPC_ENCODING => 'gzip'), 12, qr/gzip.*identity/, 'one with it is unimplemented');
    is $web->($get, $amber, HTTP_GRPC_ENCODING => 'identity')->{trailer}{'grpc-status'}, 0, 'identity is no compression';
    $fails->($web->($get, envelope('x' x 4_200_000)), 8, qr/4194304 bytes/, 'a message over the limit is refused');
    $fails->($web->($get, pack('CN', 0, 4_200_000)), 8, qr/4194304 bytes/, 'by what its header says, too');
    $fails->($web->($get, $amber, HTTP_GRPC_TIMEOUT => 'soon'), 3, qr/grpc-timeout/, 'a timeout that is none is refused');
    my $t = time;
    $fails->($web->($get, envelope("\x0a\x04wait"), HTTP_GRPC_TIMEOUT => '200m'), 4, qr/GetWorkspace/, 'grpc-timeout ends a call');
    ok time - $t > 0.15 && time - $t < 2, 'in time';
    error_is(rpc($get, $amber, CONTENT_TYPE => 'application/grpc'), 415, 'invalid_argument', qr{HTTP/2.*grpc-web\+proto}, 'native gRPC needs the gateway');
    error_is(rpc($get, $amber, CONTENT_TYPE => 'application/grpc-web+thrift'), 415, 'invalid_argument', qr/not supported/, 'another codec is refused');
};

subtest 'stop' => sub {
    my $c = FastCgi->connect($sock);
    my $idle = FastCgi->connect($sock);
    $idle->send_raw($idle->request_bytes({ GITPOD_PATH => $watch, REQUEST_METHOD => 'POST', CONTENT_TYPE => 'application/connect+json' },
        envelope('{"workspaceId":"idle"}'), keep => 1));
    ok soon(sub { metric('gitpod_service_requests') == 2 }), 'a stream is open';
    my $busy = FastCgi->connect($sock);
    $busy->send_raw($busy->request_bytes({ GITPOD_PATH => $get, REQUEST_METHOD => 'POST', CONTENT_TYPE => 'application/json' },
        '{"workspaceId":"wait"}'));
    ok soon(sub { metric('gitpod_service_requests') == 3 }), 'a call runs';
    my ($status, $took) = stop_service();
    is $status, 0, 'SIGTERM is a clean end';
    error_is($busy->answer, 408, 'canceled', qr/./, 'of which calls that run hear, and give their answer');
    ok $took < 3, 'that does not wait for idle streams' or diag $took;
    my @e = envelopes($idle->answer->{body} // '');
    is decode_json($e[-1][1])->{error}{code}, 'unavailable', 'which are told to call again';

    start();
    is rpc($get, '{}')->{status}, 200, 'the next start replaces the socket file';
    kill KILL => $pid;
    waitpid $pid, 0;
    start();
    is rpc($get, '{}')->{status}, 200, 'also after a kill';
    is((stop_service())[0], 0, 'and ends again');
};

subtest 'descriptors run out' => sub {
    $pid = fork // die "fork: $!";
    if (!$pid) {
        open STDERR, '>>', "$run/log";
        exec 'sh', '-c', 'ulimit -n 48; exec "$@"', 'sh', $echo, '--run', $run;
        exit 127;
    }
    ok soon(sub { FastCgi->connect($sock) }), 'a service with 48 descriptors';
    my @held = map { FastCgi->connect($sock) } 1 .. 60;
    my $late = FastCgi->connect($sock);
    $late->send_raw($late->request_bytes({ GITPOD_PATH => '/page', REQUEST_METHOD => 'GET' }, ''));
    ok soon(sub { open my $fh, '<', "$run/log"; grep { /cannot accept connections/ } <$fh> }), 'says that it has none left';
    $_->close for @held;
    is $late->answer->{status}, 200, 'who has waited is served when some come back';
    is((stop_service())[0], 0, 'and it stops as ever');
};

subtest 'long answers' => sub {
    start('--page=2m');
    for my $keep (0, 1) {
        my $c = FastCgi->connect($sock);
        $c->send_raw($c->request_bytes({ GITPOD_PATH => '/page', REQUEST_METHOD => 'GET' }, '', keep => $keep));
        is length $c->answer->{body}, 2097152, 'more than the kernel takes at once comes whole';
        ok $c->closed, 'and then the end of the connection' if !$keep;
    }
    stop_service();
};

subtest 'options' => sub {
    open my $fh, '>', "$run/conf";
    print $fh "# comment\ngreeting = from file\npage = 2k\n";
    close $fh;
    start('--config', "$run/conf", '--page=3k');
    like rpc($get, '{}')->{body}, qr/from file/, 'the file is read';
    is length FastCgi->call($sock, { GITPOD_PATH => '/page', REQUEST_METHOD => 'GET' })->{body}, 3072, 'the argument wins';
    stop_service();
    for my $case (
        [ ['--nonsense', '1'], qr/no option "nonsense"/ ], [ ['--port', '70000'], qr/70000 is outside 1 to 65535/ ],
        [ ['--page', 'big'], qr/"big" is not a number of bytes/ ], [ ['--config', '/nonexistent'], qr/nonexistent/ ],
        [ ['stray'], qr/"stray"/ ], [ ['--port'], qr/value is missing/ ], [ ['--log-level', 'loud'], qr/none of debug/ ],
    ) {
        my $out = `$echo --run $run @{ $case->[0] } 2>&1`;
        ok $? >> 8 == 2 && $out =~ $case->[1], "refused: @{ $case->[0] }" or diag $out;
    }
    like `GITPOD_PAGE=x $echo --run $run 2>&1`, qr/GITPOD_PAGE/, 'a wrong environment variable is named';
    like `$echo --help`, qr/--greeting <text>.*default: hello.*GITPOD_GREETING/s, 'help has type, default and environment';
};

open my $log, '<', "$run/log";
my @lines = <$log>;
my @broken = grep { !eval { decode_json($_) } } @lines;
is_deeply \@broken, [], 'every line of the log is JSON';
unlike join('', @lines), qr/runtime error|AddressSanitizer|ThreadSanitizer|assertion/, 'and none tells of a crash';

done_testing;
