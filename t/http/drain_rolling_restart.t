#!/usr/bin/perl
# Two gateways behind HAProxy are restarted one after the other under load, as the process supervisor stops and starts them: no
# request fails, and WebSockets get their time.
use strict;
use warnings;
use GitpodRolling;
use IO::Select;
use Test::More;
use Time::HiRes qw(time sleep);

$| = 1;
$SIG{PIPE} = 'IGNORE';

use constant { CLIENTS_N => 4, TIMEOUT_S => 2 };

my $r = GitpodRolling->new(delay => 1, timeout => TIMEOUT_S);
my ($one, $two) = @{ $r->{gateway} };
my $session = $one->session_token;
my $host = $one->workspace('amber-fox-k3j9x2m1');

# Clients with kept connections, until the file is there; failures and their number go to a file each.
sub client {
    my ($n) = @_;
    my @request = (
        ['gitpod.test', 'GET', '/', ''],
        ['gitpod.test', 'POST', '/public-api/gitpod.v1.UserService/GetAuthenticatedUser',
            "Cookie: gp_session=$session\r\nOrigin: http://gitpod.test:$r->{port}\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"],
        [$host, 'GET', '/', 'X-Gitpod-Owner-Token: ' . $one->owner_token('amber-fox-k3j9x2m1') . "\r\n\r\n"],
    );
    my ($s, $good, @bad) = (undef, 0);
    for (my $i = 0; !-e "$one->{dir}/enough"; $i++) {
        my ($to, $method, $path, $more) = @{ $request[$i % @request] };
        $s //= IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $r->{port});
        my $answer = eval {
            print $s "$method $path HTTP/1.1\r\nHost: $to\r\n", $more || "\r\n";
            $s->flush;
            $one->response($s, $method);
        };
        if ($answer && $answer->{status} == 200) { $good++ }
        else { push @bad, "$to$path: " . ($answer ? "$answer->{status} $answer->{body}" : $@ // '') }
        undef $s if !$answer || $answer->{status} != 200 || ($answer->{headers}{connection} // '') eq 'close';
    }
    GitpodGateway::spew("$one->{dir}/client-$n", join "\n", $good, @bad);
}
my @client = map { my $n = $_; $one->child("client-$n.log", sub { client($n) }) } 1 .. CLIENTS_N;

# A WebSocket through one gateway.
sub websocket {
    my ($n) = @_;
    my $s = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $r->{port}) or die;
    print $s "GET /ws HTTP/1.1\r\nHost: $host\r\nX-To: $n\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nX-Gitpod-Owner-Token: ",
        $one->owner_token('amber-fox-k3j9x2m1'), "\r\n\r\n";
    $s->flush;
    my $answer = $one->response($s, 'GET');
    is($answer->{status}, 101, 'a WebSocket');
    return $s;
}
sub echoes {
    my ($s) = @_;
    syswrite $s, 'hello';
    return IO::Select->new($s)->can_read(2) && sysread($s, my $text, 100) ? 1 : 0;
}

my @ws = map { websocket($_) } 0, 1;

# The first one, watched from outside.
my $stop = $one->child('stop.log', sub { $r->stop_gateway(0) });
ok(eval { GitpodGateway::wait_for('/ready 503', sub { $r->probe(0, 'ready') == 503 }) }, 'a stop turns /ready to 503');
my $told = time;
{
    local $one->{port} = $one->{probe_port};
    my $ready = $one->get('x', '/ready');
    is($ready->{json}{status}, 'draining', 'which says why');
    is($ready->{json}{checks}{routes}, 'ok', 'though all is well');
    is($one->get('x', '/live')->{status}, 200, 'and it lives');
}
is($one->get('gitpod.test', '/')->{status}, 200, 'it still answers');
is($one->request('gitpod.test', 'GET', '/', ['Connection' => 'keep-alive'])->{headers}{connection}, 'close', 'and says that the connection ends');
ok(eval { GitpodGateway::wait_for('HAProxy to see it', sub { !$r->up(0) }) }, 'HAProxy sees it');
cmp_ok(time - $told, '<', 1, 'before the delay is over');
ok(eval { GitpodGateway::wait_for('the door to close', sub { !IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $one->{port}) }) }, 'then the door closes');
my $closed = time;
cmp_ok($closed - $told, '>', 0.8, 'not before');
is(echoes($ws[0]) + echoes($ws[1]), 2, 'both WebSockets live on');
waitpid $stop, 0;
is($?, 0, 'the stop succeeds');
my $ended = time - $closed;
ok($ended > TIMEOUT_S - 1 && $ended < TIMEOUT_S + 2, "its WebSocket had the drain timeout: $ended s");
is(echoes($ws[0]), 0, 'and is over');
is(echoes($ws[1]), 1, 'the one of the other gateway lives on');
system("sv start '" . $r->service(0) . "' > /dev/null");
ok(eval { GitpodGateway::wait_for('HAProxy to see it again', sub { $r->up(0) }) }, 'started again it is back: no longer draining');

# The second one, with nothing that it would have to wait for.
close $ws[1];
ok(eval { $r->restart(1); 1 }, 'and the other one is restarted') or diag($@);

GitpodGateway::spew("$one->{dir}/enough", '');
waitpid $_, 0 for @client;
my ($good, @bad) = (0);
for my $n (1 .. CLIENTS_N) {
    my ($n_good, @n_bad) = split /\n/, eval { GitpodGateway::slurp("$one->{dir}/client-$n") } // '0';
    $good += $n_good;
    push @bad, @n_bad;
}
cmp_ok($good, '>', 200, "$good requests of " . CLIENTS_N . ' clients went well');
is("@bad[0 .. ($#bad < 4 ? $#bad : 4)]", '', 'and none failed') or diag(scalar @bad . ' failed');
$r->finish;
