# /api/events: each event reaches all streams of the user it is for, once and
# in order, and nobody else's; what is no record or no right is refused.
use strict;
use warnings;
use Test::More;
use Time::HiRes qw(time);
use GitpodGateway;
use GitpodEvents;

my $g = GitpodGateway->new(workers => 2, edit => sub {
    my ($name, $text) = @_;
    $text =~ s/gitpod_events on;/gitpod_events on heartbeat=1s per_user=4;/ if $name eq 'nginx_domain.conf';
    return $text;
});
my $d = $g->{domain};
my @own = (Cookie => 'gp_session=' . $g->session_token);
my @other = (Cookie => 'gp_session=' . $g->session_token(sub => $g->{other}, sid => 'session-2'));
GitpodGateway::wait_for('the first sync', sub { $g->metric('gitpod_events_synced') });

# ---- the answer ----
my @mine = map { GitpodEvents->open($g, @own)->ready } 1 .. 3;
my $theirs = GitpodEvents->open($g, @other)->ready;
my $head = $mine[0]{header};
is($mine[0]{status}, 200, 'a session gets a stream');
is($head->{'content-type'}, 'text/event-stream', 'of the right type');
is($head->{'cache-control'}, 'no-store', 'not to be cached');
is($head->{'x-accel-buffering'}, 'no', 'nor to be gathered by a proxy');
like($mine[0]{retry}, qr/^[12]\d\d\d$/, 'with a time to wait before coming back');
like($mine[0]{last_id}, qr/^\d+-\d+$/, 'and an id to resume from, before there is any event');

# ---- order, and for whom ----
my @ids = map { GitpodEvents::publish($g, $g->{owner}, { n => $_, text => "\x{e9}\\n" }) } 1 .. 50;
my $foreign = GitpodEvents::publish($g, $g->{other}, { secret => 1 });
for my $i (0 .. 2) {
    my @got = map { $mine[$i]->next } 1 .. 50;
    is_deeply([ map { $_->{data}{n} } @got ], [ 1 .. 50 ], "stream $i has all 50 in order");
    is_deeply([ map { $_->{id} } @got ], \@ids, '  with the ids of Redis');
    is($got[0]{event}, 'workspace', '  and their kind');
    is($got[0]{data}{text}, "\x{e9}\\n", '  byte for byte');
}
my $e = $theirs->next;
is_deeply([ $e->{id}, $e->{data} ], [ $foreign, { secret => 1 } ], 'the other user has the other event, and that is the first');
for my $kind (qw(prebuild image_build reset)) {
    GitpodEvents::publish($g, $g->{owner}, { id => 'x' }, $kind);
    is($mine[0]->next->{event}, $kind, "kind $kind is forwarded");
}

# ---- heartbeat ----
my $block = $theirs->block(3);
like($block, qr/^:\nid: \d+-\d+\z/, 'a silent stream gets a comment, with how far the gateway is');
$block = $theirs->block(3) while $block && (split /: /, $block)[1] eq $foreign;
ok($block, 'which gets further than its own last event');

# ---- records that are none ----
my $refused = $g->metric('gitpod_event_records_total{outcome="refused"}');
my $uuid = $g->{owner};
my %bad = (
    'nothing' => '', 'one word' => 'workspace', 'no data' => "workspace $uuid", 'a line break' => "workspace $uuid {\n}",
    'a carriage return' => "workspace $uuid {\r}", 'a list' => "workspace $uuid []", 'no UUID' => 'workspace root {}',
    'a kind in capitals' => "Workspace $uuid {}", 'a long kind' => 'k' x 33 . " $uuid {}", 'a field in the kind' => "a:b $uuid {}",
    'too long' => "workspace $uuid {" . ' ' x 8192 . '}', 'a NUL' => "workspace $uuid {\0}",
);
my %bad_id = ('no number' => 'x-1', 'no sequence' => '5', 'negative' => '-5-1', 'too large' => '99999999999999999999-1', 'a zero in front' => '05-1', 'a large sequence' => '5-1048576');
$g->redis('PUBLISH', 'gitpod:events:changes', "1-1 $bad{$_}") for sort keys %bad;
$g->redis('PUBLISH', 'gitpod:events:changes', "$bad_id{$_} workspace $uuid {}") for sort keys %bad_id;
my $after = GitpodEvents::publish($g, $g->{owner}, { n => 51 });
is($mine[1]->next->{event}, $_, "then $_") for qw(prebuild image_build reset);
is($mine[1]->next->{id}, $after, 'records that are none disturb nothing');
is($g->metric('gitpod_event_records_total{outcome="refused"}') - $refused, keys(%bad) + keys(%bad_id), 'and are counted');
my $longest = 8192 - length "workspace $uuid {\"x\":\"\"}";
GitpodEvents::publish($g, $g->{owner}, { x => 'y' x $longest });
is(length $mine[1]->next->{data}{x}, $longest, 'the longest record passes');

# ---- who may not ----
sub answer { my ($method, $path, @headers) = @_; return $g->request($d, $method, $path, [ Connection => 'close', @headers ]) }
is(answer('GET', '/api/events')->{status}, 401, 'anonymous is unauthenticated');
is(answer('GET', '/api/events')->{json}{code}, 'unauthenticated', '  with the Connect code');
$g->put_token('gitpod_pat_all', scopes => 'function:* resource:default');
$g->put_token('gitpod_pat_some', scopes => 'function:getWorkspace function:*x', id => 'token-2');
my $by_token = GitpodEvents->open($g, Authorization => 'Bearer gitpod_pat_all')->ready;
GitpodEvents::publish($g, $g->{owner}, { n => 52 });
is($by_token->next->{data}{n}, 52, 'a token with full access gets events');
my $some = answer('GET', '/api/events', Authorization => 'Bearer gitpod_pat_some');
is($some->{status}, 403, 'a token with some scopes does not');
like($some->{json}{message}, qr/scope "function:\*"/, '  and is told which one it lacks');


# Two workers count each for itself.
my @more = map { GitpodEvents->open($g, @own) } 1 .. 8;
my @full = grep { $_->{status} == 429 } @more;
ok(scalar @full, 'a user has as many streams as are allowed');
is($full[0]{header}{'retry-after'}, 2, '  and is told when to come back');
like($full[0]{raw}, qr/resource_exhausted/, '  with the Connect code');
cmp_ok(4 + grep({ $_->{status} == 200 } @more), '<=', 8, '  in each worker');

is(answer('POST', '/api/events', @own, Origin => $g->origin($d), 'Content-Length' => 0)->{status}, 405, 'POST is refused');
my $headed = answer('HEAD', '/api/events', @other);
is_deeply([ $headed->{status}, $headed->{headers}{'content-type'} ], [ 200, 'text/event-stream' ], 'HEAD is answered');
is(answer('GET', '/api/events', @other, 'Content-Length' => 5)->{status}, 400, 'a body is refused');
is(answer('GET', '/api/events', @other, 'Last-Event-ID' => $_)->{status}, 400, "Last-Event-ID \"$_\" is refused") for '5', 'x', '1-', '-1', '1-1-1';
is(answer('GET', '/api/events?lastEventId=1%2d1', @other)->{status}, 400, 'so is one in the query');

$g->finish;
