#!/usr/bin/perl
# gitpod_drain: one word that all workers see. /ready says it, nothing else changes but that connections are not kept; it
# outlives a reload and a killed worker, and can be taken back.
use strict;
use warnings;
use Test::More;
use GitpodTest;
use GitpodRoutes;

my $t = GitpodRoutes->new(workers => 2, more => 'gitpod_check routes routes;', server => 'location = /drain { gitpod_drain; } location = /hello { return 200 hello; }');
$t->start;
GitpodRoutes::wait_synced($t);
sub ask { my ($method, $path, @more) = @_; return GitpodTest::parse($t->raw(join "\r\n", "$method $path HTTP/1.1", 'Host: x', 'Connection: close', @more, '', '')) }
sub ready { my ($want) = @_; my $r; eval { GitpodTest::wait_for("/ready $want", sub { ($r = ask('GET', '/ready'))->{status} == $want }) }; return $r }

# Two requests on one connection; how many are answered, and what the first says of the connection.
sub kept {
    my $text = $t->raw("GET /hello HTTP/1.1\r\nHost: x\r\n\r\nGET /hello HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    my $n = () = $text =~ /HTTP\/1\.1 200/g;
    return "$n " . ($text =~ /^Connection: (\S+)/m)[0];
}

is(ready(200)->{json}{status}, 'ok', 'a gateway that serves');
is_deeply(ask('GET', '/drain')->{json}, { status => 'serving', since_ms => 0 }, 'says so');
is(kept(), '2 keep-alive', 'and keeps connections');
is($t->metric('gitpod_draining'), 0, 'the metric says the same');
is(ask($_, '/drain', 'Content-Length: 0')->{status}, 405, "$_ is no way to drain it") for qw(PUT PATCH);
is(ready(200)->{status}, 200, 'nor did it');

my $r = ask('POST', '/drain', 'Content-Length: 5', '', 'hello');
is("$r->{status} $r->{json}{status}", '200 draining', 'POST is');
is($r->{headers}{'content-type'}, 'application/json', 'answered in JSON');
$r = ask('GET', '/ready');
is("$r->{status} $r->{json}{status}", '503 draining', '/ready is 503 at once');
is_deeply($r->{json}{checks}, { routes => 'ok' }, 'and does not blame the checks');
is((grep { ask('GET', '/ready')->{status} == 503 } 1 .. 20), 20, 'whichever worker is asked');
is(ask('GET', '/live')->{status}, 200, 'it lives');
is(ask('GET', '/startup')->{status}, 200, 'and has started');
is(ask('GET', '/hello')->{body}, 'hello', 'it serves');
is(kept(), '1 close', 'and keeps no connection');
is($t->metric('gitpod_draining'), 1, 'the metric tells');
my $since = ask('GET', '/drain')->{json}{since_ms};
GitpodTest::wait_for('some time', sub { ask('GET', '/drain')->{json}{since_ms} > $since });
ask('POST', '/drain', 'Content-Length: 0');
cmp_ok(ask('GET', '/drain')->{json}{since_ms}, '>', $since, 'draining twice does not begin again');

$t->reload;
is(ask('GET', '/ready')->{json}{status}, 'draining', 'a reload does not end it');
my ($one) = $t->workers;
kill 'KILL', $one;
GitpodTest::wait_for('another worker', sub { my @w = $t->workers; @w == 2 && !grep { $_ == $one } @w });
is(ask('GET', '/ready')->{json}{status}, 'draining', 'nor does a killed worker');

is(ask('DELETE', '/drain')->{json}{status}, 'serving', 'DELETE takes it back');
is(ready(200)->{json}{status}, 'ok', 'and /ready tells the checks');
is(kept(), '2 keep-alive', 'connections are kept again');
my @told = $t->error_log =~ /\[notice\].*gitpod: (draining(?: ended)?): /g;
is("@told", 'draining draining ended', 'the log has each change once');

# server_readiness_probe off does not hide it.
$t->redis_command('PUBLISH', 'gitpod:flags:changes', '{"name":"server_readiness_probe","version":1,"on":false}');
GitpodTest::wait_for('the flag', sub { ask('GET', '/ready')->{json}{checks}{event_loop} });
ask('POST', '/drain', 'Content-Length: 0');
$r = ask('GET', '/ready');
is("$r->{status} $r->{json}{status}", '503 draining', 'a gateway that drains is never ready');
$t->finish(allow => qr/exited on signal 9/);
