# Logging in to Redis, and a server on its socket that hangs, talks nonsense,
# sends too much or byte by byte: the gateway drops the connection, goes on with
# what it knows, and is well again when Redis is.
use strict;
use warnings;
use IO::Select;
use IO::Socket::UNIX;
use Test::More;
use Time::HiRes qw(time sleep);
use GitpodTest;
use GitpodRoutes;

my $password = 'p' x 40;
my $t = GitpodRoutes->new(
    workers => 1, redis => 0,
    feed => 'gitpod_redis %%REDIS%% user=gateway password_file=%%DIR%%/password;',
    more => 'gitpod_check redis redis interval=100ms fall=1;',
);
GitpodTest::spew("$t->{dir}/password", "$password\n");
# each word of an ACL rule is an argument
sub user { return ('--user', split / /, $_[0]) }
my @acl = user('default on nopass ~* &* +@all');

sub redis_is { my ($want) = @_; return eval { GitpodTest::wait_for("redis $want", sub { ($t->get('/ready')->{json}{checks}{redis} // '') eq $want }) } }

# What the contract gives the user gateway, and no more.
my @gateway = user("gateway on >$password ~gitpod:* &gitpod:* -\@all +\@connection +\@read +\@pubsub +info -publish");
$t->start_redis(@acl, @gateway);
$t->redis_command('HSET', 'gitpod:routes', 'amber-fox', GitpodRoutes::record('amber-fox', 1));
$t->start;
GitpodRoutes::wait_synced($t);
is(GitpodRoutes::seen($t, 'amber-fox'), 1, 'with its user and password the gateway reads');
my ($client) = grep { /cmd=subscribe|sub=3/ } split /\n/, $t->redis_command('CLIENT', 'LIST');
like($client, qr/user=gateway/, 'as that user');

# A wrong password, a missing right.
for (['a wrong password', "gateway on >wrong ~gitpod:* &gitpod:* +\@all", 'WRONGPASS'], ['a missing right', "gateway on >$password ~gitpod:* &gitpod:* -\@all +subscribe +ping", 'NOPERM']) {
    my ($what, $user, $text) = @$_;
    $t->stop_redis;
    redis_is('unavailable');
    $t->start_redis(@acl, user($user));
    ok(eval { GitpodTest::wait_for($text, sub { $t->error_log =~ /Redis refuses: "$text/ }) } || $t->error_log =~ /Redis .* is away/, "$what: the log has a word for it");
    is($t->get('/ready')->{json}{checks}{redis}, 'unavailable', "$what: not ready");
    is(GitpodRoutes::seen($t, 'amber-fox'), 1, "$what: what is known goes on");
    $t->stop_redis;
    $t->start_redis(@acl, @gateway);
    $t->redis_command('HSET', 'gitpod:routes', 'amber-fox', GitpodRoutes::record('amber-fox', 1));
    is(redis_is('ok'), 1, "$what: put right, it is ready again");
}

# Impostors. Each is called with the connection and what came; it may answer.
my $ok = "+OK\r\n";
my $subscribed = join '', map { "*3\r\n\$9\r\nsubscribe\r\n\$1\r\nx\r\n:$_\r\n" } 1 .. 9;    # as many channels, or more
my %impostor = (
    'closes at once' => sub { close $_[0] },
    'never answers' => sub { },
    'talks HTTP' => sub { syswrite $_[0], "HTTP/1.1 400 Bad Request\r\n\r\n" },
    'sends a reply that never ends' => sub { syswrite $_[0], "\$2000000000\r\n"; syswrite($_[0], 'x' x 65536) or last for 1 .. 400 },
    'nests replies' => sub { syswrite $_[0], "*1\r\n" x 100 },
    'claims a negative length' => sub { syswrite $_[0], "*-7\r\n\$-9\r\n" },
    'claims a huge array' => sub { syswrite $_[0], "*2147483647\r\n" },
    'answers AUTH with a number' => sub { syswrite $_[0], ":1\r\n" x 5 },
    'answers HSCAN with OK' => sub { syswrite $_[0], $_[1] =~ /SUBSCRIBE/ ? $ok . $subscribed : $_[1] =~ /HSCAN/ ? $ok . "+PONG\r\n" : "$ok+PONG\r\n" },
    'answers HSCAN with an odd array' => sub { syswrite $_[0], $_[1] =~ /SUBSCRIBE/ ? $ok . $subscribed : $_[1] =~ /HSCAN/ ? "*2\r\n\$1\r\n0\r\n*3\r\n\$1\r\na\r\n:5\r\n\$-1\r\n" : "$ok+PONG\r\n" },
    'answers HSCAN with a cursor for ever' => sub { syswrite $_[0], $_[1] =~ /SUBSCRIBE/ ? $ok . $subscribed : $_[1] =~ /HSCAN/ ? "*2\r\n\$1\r\n5\r\n*0\r\n" : "$ok+PONG\r\n" },
    'answers XRANGE with OK' => sub { syswrite $_[0], $_[1] =~ /SUBSCRIBE/ ? $ok . $subscribed : $_[1] =~ /HSCAN/ ? "*2\r\n\$1\r\n0\r\n*0\r\n" : $_[1] =~ /GET/ ? "\$-1\r\n" : $_[1] =~ /XRANGE/ ? ":1\r\n" : "$ok+PONG\r\n" },
    'pushes nonsense' => sub { syswrite $_[0], ($_[1] =~ /SUBSCRIBE/ ? $ok . $subscribed : "$ok+PONG\r\n") . "*0\r\n*1\r\n\$-1\r\n*3\r\n\$7\r\nmessage\r\n:1\r\n:2\r\n*3\r\n\$7\r\nmessage\r\n\$1\r\nx\r\n\$1\r\ny\r\n" },
    'speaks byte by byte and then stops' => sub { syswrite($_[0], $_), sleep 0.001 for split //, $ok . substr $subscribed, 0, 40 },
);

sub impostor {
    my ($code) = @_;
    unlink $t->{redis_socket};
    my $s = IO::Socket::UNIX->new(Local => $t->{redis_socket}, Listen => 16) or die $!;
    return $t->daemon('impostor', sub {
        $SIG{PIPE} = 'IGNORE';
        my $select = IO::Select->new($s);
        my %in;
        while (1) {
            for my $c ($select->can_read) {
                if ($c == $s) { my $n = $s->accept or next; $select->add($n); print "accepted\n"; STDOUT->flush; next }
                my $got = sysread $c, my $text, 65536;
                if (!$got) { $select->remove($c); close $c; next }
                $code->($c, $text);
                $select->remove($c) if !defined fileno $c;
            }
        }
    });
}

my $version = 1;
for my $what (sort keys %impostor) {
    my $before = () = GitpodTest::slurp("$t->{dir}/impostor.log") =~ /accepted/g;
    $t->stop_redis;
    redis_is('unavailable');
    my $failures = $t->metric('gitpod_redis_failures_total');
    my $pid = impostor($impostor{$what});
    my $accepted = eval { GitpodTest::wait_for('a connection', sub { (() = GitpodTest::slurp("$t->{dir}/impostor.log") =~ /accepted/g) >= $before + 2 }) };
    ok($accepted, "Redis that $what: is tried");
    my ($end, $slow) = (time + 0.3, 0);
    while (time < $end) {
        my $begin = time;
        my $seen = GitpodRoutes::seen($t, 'amber-fox');
        $slow = 1 if $seen ne $version || time - $begin > 0.3;
    }
    is($slow, 0, "Redis that $what: requests go on");

    # an endless cursor is given up after a minute only
    my $failed = $what =~ /for ever/ || eval { GitpodTest::wait_for('a failure', sub { $t->metric('gitpod_redis_failures_total') > $failures }) };
    ok($failed, "Redis that $what: counts as failed");
    $t->reap($pid, 'KILL');
    $t->start_redis(@acl, @gateway);
    $version++;
    $t->redis_command('HSET', 'gitpod:routes', 'amber-fox', GitpodRoutes::record('amber-fox', $version));
    is(GitpodRoutes::wait_seen($t, 'amber-fox', $version), $version, "Redis that $what: the real one is found again");
}
$version++;
GitpodRoutes::publish($t, 'amber-fox', GitpodRoutes::record('amber-fox', $version));
is(GitpodRoutes::wait_seen($t, 'amber-fox', $version), $version, 'and at the end all works');
unlike($t->error_log, qr/$password/, 'the password is in no log');
is(scalar(() = $t->error_log =~ /worker process \d+ exited/g), 0, 'no worker died');

$t->finish;
