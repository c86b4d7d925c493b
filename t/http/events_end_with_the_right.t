# A stream of events ends within a second when its session or token is revoked,
# and when the session expires; a reload and a stop of the gateway tell clients
# to come back, not all at once; nothing of it is left behind.
use strict;
use warnings;
use Test::More;
use Time::HiRes qw(time sleep);
use GitpodGateway;
use GitpodEvents;

my $g = GitpodGateway->new(workers => 1, edit => sub {
    my ($name, $text) = @_;
    $text =~ s/gitpod_events on;/gitpod_events on heartbeat=1s per_user=64;/ if $name eq 'nginx_domain.conf';
    return $text;
});
GitpodGateway::wait_for('the events of Redis', sub { $g->metric('gitpod_events_synced') });
sub session { my (%claim) = @_; return GitpodEvents->open($g, Cookie => 'gp_session=' . $g->session_token(%claim))->ready }
sub subscribers_are {
    my ($want, $name) = @_;
    my $got;
    eval { GitpodGateway::wait_for($name, sub { ($got = $g->metric('gitpod_subscribers')) == $want }) };
    is($got, $want, $name);
}

# ---- revocations ----
$g->put_token('gitpod_pat_one');
my $token = GitpodEvents->open($g, Authorization => 'Bearer gitpod_pat_one')->ready;
my ($first, $second) = map { session(sid => $_) } 'session-a', 'session-b';
my $later = session(sid => 'session-c', iat => int(time) + 2);
subscribers_are(4, 'four subscribers');

$g->revoke(session => 'session-a');
cmp_ok($first->ended // 99, '<', 1, 'log-out ends the stream of the session');
$g->revoke(token => 'token-1');
cmp_ok($token->ended // 99, '<', 1, 'a revoked token ends its stream');
$g->revoke(user => $g->{owner});
cmp_ok($second->ended // 99, '<', 1, 'a blocked user\'s streams end');
like($later->block, qr/^:/, 'what was issued later goes on');

# ---- the end of the session ----
my $short = session(sid => 'session-d', iat => int(time) + 2, exp => int(time) + 3);
my $took = $short->ended // 99;
ok($took > 1.5 && $took < 4.5, "the stream ends when the session does ($took s)");
ok($short->{finished}, 'orderly');

# ---- the client goes away ----
undef $later;
subscribers_are(0, 'a client that closes is forgotten');

# ---- reload ----
my @streams = map { session(iat => int(time) + 2) } 1 .. 20;
$g->reload;
my @took = map { $_->ended // 99 } @streams;
cmp_ok((sort { $a <=> $b } @took)[-1], '<', 3, 'a reload ends the streams of the old worker at once');
is(scalar grep({ $_->{finished} } @streams), 20, '  orderly');
my @retry = map { $_->{seen} =~ /retry: (\d+)\n\n\z/ ? $1 : () } @streams;
is(scalar @retry, 20, '  each told when to come back');
my %differ = map { $_ => 1 } @retry;
cmp_ok(scalar keys %differ, '>', 10, '  at different moments');
my $id = GitpodEvents::publish($g, $g->{owner}, { n => 1 });
my $back = GitpodEvents->open($g, Cookie => 'gp_session=' . $g->session_token(iat => int(time) + 2), 'Last-Event-ID' => $streams[0]{last_id});
is($back->next->{id}, $id, 'the new worker goes on with what came between');

# ---- stop ----
$g->end_child($g->{nginx_pid}, 'QUIT');
like($back->{seen}, qr/retry/, 'the stream had begun');
cmp_ok($back->ended // 99, '<', 1, 'a stop ends streams');
unlike($g->error_log, qr/open socket/, 'no connection was left behind');
$g->start;

# ---- killed ----
GitpodGateway::wait_for('the events of Redis', sub { $g->metric('gitpod_events_synced') });
my $doomed = session(iat => int(time) + 2);
subscribers_are(1, 'one subscriber');
$g->{expected_alert} = qr/exited on signal 9/;
kill 'KILL', $g->worker_pids;
ok(defined $doomed->ended, 'a killed worker ends its streams');
subscribers_are(0, 'and they are not counted any more');

$g->finish;
