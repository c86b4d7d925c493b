# A stream of events goes on where the last one ended: after a restart of the
# gateway, on another gateway, after any loss of Redis, of the worker that feeds
# the ring, of the ring's own memory. What cannot be had any more is said.
use strict;
use warnings;
use Test::More;
use Time::HiRes qw(sleep);
use GitpodGateway;
use GitpodEvents;

my $edit = sub {
    my ($name, $text) = @_;
    $text =~ s/gitpod_events on;/gitpod_events on heartbeat=1s;/ if $name eq 'nginx_domain.conf';
    $text =~ s/gitpod_zone (\S+) (\S+);/gitpod_zone $1 $2 events=64k;/ if $name eq 'nginx.conf';
    return $text;
};
my $g = GitpodGateway->new(workers => 2, edit => $edit);
my @own = (Cookie => 'gp_session=' . $g->session_token);
my $n = 0;
sub publish { return GitpodEvents::publish($g, $g->{owner}, { n => ++$n }) }
sub resume { my ($id) = @_; return GitpodEvents->open($g, @own, 'Last-Event-ID' => $id) }
sub synced { my ($gateway) = @_; GitpodGateway::wait_for('the events of Redis', sub { $gateway->metric('gitpod_events_synced') }) }
sub resyncs { return $g->metric('gitpod_redis_resyncs_total') // 0 }
sub next_is { my ($s, $want, $name) = @_; my $e = $s->next; is($e && $e->{data}{n}, $want, $name) }
sub reset_is {
    my ($s, $reason, $name) = @_;
    my $e = $s->next // {};
    is_deeply([ $e->{event}, $e->{data} ], [ 'reset', { reason => $reason } ], $name);
    return $e->{id};
}
synced($g);

# ---- the same gateway ----
my $first = publish();
my @ids = map { publish() } 1 .. 3;
my $s = resume($first);
next_is($s, $_, "event $_ is caught up with") for 2 .. 4;
my $live = publish();
next_is($s, 5, 'then the stream is live');
is($s->{last_id}, $live, 'with ids of Redis');
next_is(GitpodEvents->open($g, @own, path => "/api/events?lastEventId=$ids[2]"), 5, '?lastEventId= does the same');
next_is(GitpodEvents->open($g, @own, path => "/api/events?lastEventId=$live", 'Last-Event-ID' => $ids[2]), 5, 'the header counts more');
my $quiet = resume($live);
is($quiet->block, "retry: $1", 'the newest id: nothing is repeated') if ($quiet->{text} =~ /^retry: (\d+)/);
next_is(resume($ids[0]), 3, 'in the middle');

# ---- what is not there ----
my $reset = reset_is(resume('9999999999999-0'), 'gone', 'an id that is still to come: reset');
is($reset, $live, 'whose id is the newest, from where it goes on');
for (1 .. 10) {
    GitpodEvents::publish($g, $g->{owner}, { n => ++$n, filler => 'x' x 8000 });
    next_is($s, $n, "event $n, a long one");
}
my $last = $s->{last_id};
reset_is(resume($live), 'gone', 'an id that is too old: reset');
is($g->metric('gitpod_subscriptions_total{outcome="reset"}'), 2, 'which is counted');

# ---- a restart, another gateway ----
publish();
$g->restart;
synced($g);
$s = resume($last);
next_is($s, $n, 'a restarted gateway knows the events of Redis');
my $again = publish();
next_is($s, $n, 'and gets new ones');
my $other = GitpodGateway->new(edit => sub {
    my ($name, $text) = ($_[0], $edit->(@_));
    $text =~ s/unix:\S+redis\.sock/unix:$g->{redis_socket}/ if $name eq 'nginx_feed.conf';
    return $text;
});
synced($other);
my $there = GitpodEvents->open($other, @own, 'Last-Event-ID' => $last);
next_is($there, $n - 1, 'another gateway goes on from the id of this one');
next_is($there, $n, 'in order');
$other->stop;

# ---- the subscription is cut ----
my $before = resyncs();
$g->redis('CLIENT', 'KILL', 'TYPE', 'pubsub');
my @missed = map { GitpodEvents::add($g, "workspace $g->{owner} {\"n\":" . ++$n . '}') } 1 .. 3;
GitpodGateway::wait_for('the resync', sub { resyncs() > $before });
next_is($s, $n - 3 + $_, "what came while the subscription was cut is read, $_") for 1 .. 3;

# ---- messages that come before their turn, and twice ----
my $record = "workspace $g->{owner} {\"n\":" . ++$n . '}';
my $id = GitpodEvents::add($g, $record);
$g->redis('PUBLISH', 'gitpod:events:changes', "$id $record") for 1 .. 2;
publish();
next_is($s, $n - 1, 'an event that is told twice');
next_is($s, $n, 'comes once');

# ---- Redis is restarted ----
$before = resyncs();
$g->restart_redis(1);
publish();
GitpodGateway::wait_for('the resync', sub { resyncs() > $before });
next_is($s, $n, 'a restart of Redis with its data loses nothing');

# ---- the worker that feeds the ring dies ----
my @pids = sort { $a <=> $b } grep { $_ } $g->worker_pids;
my ($feeder) = grep { GitpodGateway::slurp("/proc/$_/net/unix") && holds_redis($_) } @pids;
ok($feeder, 'one worker is connected to Redis');
$g->{expected_alert} = qr/exited on signal 9/;
$before = $g->metric('gitpod_leases_total');
kill 'KILL', $feeder;
publish();
GitpodGateway::wait_for('another to take over', sub { $g->metric('gitpod_leases_total') > $before });
publish();
$s = resume($s->{last_id});
next_is($s, $n - 1, 'what came while the feeder was dead is read');
next_is($s, $n, 'and what comes after that');

# ---- Redis has lost its data ----
$g->restart_redis(0);
my $fresh = publish();
reset_is($s, 'lost', 'another Redis: reset');
publish();
my $e = $s->next;
$e = $s->next if $e && $e->{data}{n} == $n - 1;
is($e && $e->{data}{n}, $n, 'then events of the new one');
next_is(resume($fresh), $n, 'which can be resumed from');

# ---- before the ring is filled ----
my $redis = delete $g->{redis_pid};
$g->redis('SAVE');
$g->end_child($redis, 'KILL');
unlink $g->{redis_socket};
delete $g->{redis};
$g->restart;
my $waiting = GitpodEvents->open($g, Cookie => 'gp_session=' . $g->session_token, 'Last-Event-ID' => $fresh);
is($waiting->{status}, 503, 'without Redis nobody is let in after a cold start: revocations are not known');
$g->start_redis;
GitpodGateway::wait_for('the revocations', sub { GitpodEvents->open($g, @own)->{status} == 200 });
next_is(resume($fresh), $n, 'with it, the stream goes on');

$g->finish;

# Has this process a connection to the socket of Redis?
sub holds_redis {
    my ($pid) = @_;
    my @mine = map { (readlink($_) // '') =~ /^socket:\[(\d+)\]/ ? $1 : () } glob "/proc/$pid/fd/*";
    my %peer = map { $_ => 1 } `ss -xpnH 2>/dev/null` =~ /redis\.sock \d+ +\* (\d+)/g;
    return scalar grep { $peer{$_} } @mine;
}
