# A reader that does not keep up is dropped with a marker, or without one when
# it reads nothing at all; it costs the others neither events nor time.
use strict;
use warnings;
use Test::More;
use Time::HiRes qw(time sleep);
use GitpodGateway;
use GitpodEvents;

# Little room in the kernel and in the ring, so that a reader soon is behind. A
# reader is patient for two heartbeats, so long ones but for the one that is not.
my $heartbeat = '60s';
my $g = GitpodGateway->new(workers => 1, edit => sub {
    my ($name, $text) = @_;
    $text =~ s/gitpod_events on;/gitpod_events on heartbeat=$heartbeat;/ if $name eq 'nginx_domain.conf';
    $text =~ s/listen (\d+);/listen $1 sndbuf=4k;/ if $name eq 'nginx_domain.conf';
    $text =~ s/gitpod_zone (\S+) (\S+);/gitpod_zone $1 $2 events=64k;/ if $name eq 'nginx.conf';
    return $text;
});
GitpodGateway::wait_for('the events of Redis', sub { $g->metric('gitpod_events_synced') });
my @own = (Cookie => 'gp_session=' . $g->session_token);
my $n = 0;
sub publish { return GitpodEvents::publish($g, $g->{owner}, { n => ++$n, filler => 'x' x 4000 }) }

# ---- behind, but within the ring ----
my $quick = GitpodEvents->open($g, @own)->ready;
my $slow = GitpodEvents->open($g, @own, receive => 4096)->ready;
my $late = 0;
for (1 .. 12) {
    publish();
    my $from = time;
    is($quick->next->{data}{n}, $n, "the quick one has event $n");
    $late = time - $from if time - $from > $late;
}
cmp_ok($late, '<', 2, "long before the slow one is given up (at most $late s)");
my @got = map { $slow->next->{data}{n} } 1 .. 12;
is_deeply(\@got, [ 1 .. 12 ], 'the slow one gets all of them when it reads, in order');
publish();
is($_->next->{data}{n}, 13, 'and then is live again') for $slow, $quick;
is($g->metric('gitpod_subscribers_slow_total'), 0, 'nobody was dropped');

# ---- behind the ring ----
for (1 .. 40) {
    publish();
    is($quick->next->{data}{n}, $n, "the quick one has event $n");
}
my (@seen, $marker);
while (my $e = $slow->next) {
    if ($e->{event} eq 'reset') { $marker = $e; last }
    push @seen, $e->{data}{n};
}
is_deeply(\@seen, [ 14 .. 13 + @seen ], 'the slow one has the first of them, none missing between');
cmp_ok(scalar @seen, '<', 40, '  not all');
is_deeply($marker && $marker->{data}, { reason => 'slow' }, 'then a marker');
is($marker->{id}, $quick->{last_id}, '  with the newest id, since the list is to be read anew');
ok(defined $slow->ended(2), 'then the end');
is($g->metric('gitpod_subscribers_slow_total'), 1, 'which is counted');

# ---- faster than the ring turns ----
$g->redis('EVAL', 'for i = 1, 100 do local id = redis.call("XADD", "gitpod:events", "*", "event", ARGV[1]); redis.call("PUBLISH", "gitpod:events:changes", id .. " " .. ARGV[1]) end return 1',
    0, "workspace $g->{owner} {\"filler\":\"" . 'x' x 4000 . '"}');
my $e;
1 while ($e = $quick->next) && $e->{event} ne 'reset';
is_deeply($e && $e->{data}, { reason => 'lost' }, 'a burst that no ring holds is told as a reset');
publish();
1 while ($e = $quick->next) && ($e->{data}{n} // 0) != $n;
ok($e, 'after which the stream goes on');

# ---- reads nothing ----
my $dropped = $g->metric('gitpod_subscribers_slow_total');
$heartbeat = '2s';
undef $quick;
$g->reload; # no worker with long heartbeats is left to take the next ones
$quick = GitpodEvents->open($g, @own)->ready;
my $dead = GitpodEvents->open($g, @own, receive => 4096);
for (1 .. 12) {
    publish();
    is($quick->next->{data}{n}, $n, "the quick one has event $n");
}
my $from = time;
GitpodGateway::wait_for('the dead one to be dropped', sub { $g->metric('gitpod_subscribers_slow_total') == $dropped + 1 });
cmp_ok(time - $from, '<', 6, 'one that reads nothing is dropped after two heartbeats');
GitpodGateway::wait_for('only the quick one to be left', sub { $g->metric('gitpod_subscribers') == 1 });
publish();
is($quick->next->{data}{n}, $n, 'the quick one goes on');

$g->finish;
