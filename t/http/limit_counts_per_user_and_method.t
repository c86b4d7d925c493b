# A user may call each method so often, whichever session, token or worker the
# calls come by; over that the answer is 429 with the time to wait.
use strict;
use warnings;
use Test::More;
use Time::HiRes qw(time sleep);
use GitpodGateway;

# as the templates have it, with figures that a test can wait for
my $g = GitpodGateway->new(workers => 2, limits => 1, edit => sub {
    my ($name, $text) = @_;
    if ($name eq 'nginx_limits.conf') {
        $text =~ s{(gitpod_limit api key=user,method) rate=200/60s}{$1 rate=6/3s} or die 'the template changed';
        $text =~ s{(gitpod_limit start key=user,method) rate=3/10s burst=10}{$1 rate=1/60s burst=2} or die 'the template changed';
        $text =~ s{gitpod_limit login key=address rate=30/60s;}{gitpod_limit login key=address rate=3/60s;} or die 'the template changed';
    }
    return $text;
});
my $d = $g->{domain};
my $list = '/public-api/gitpod.v1.WorkspaceService/ListWorkspaces';
my @origin = (Origin => $g->origin($d));

sub session { my (%claim) = @_; return (Cookie => 'gp_session=' . $g->session_token(%claim), @origin) }
sub call { my ($path, @headers) = @_; return $g->post($d, $path, '{}', @headers) }
sub statuses { my ($n, $path, @headers) = @_; return map { call($path, @headers)->{status} } 1 .. $n }

my @first = session(sid => 'session-a');
GitpodGateway::wait_for('the key set', sub { call('/public-api/gitpod.v1.UserService/GetAuthenticatedUser', @first)->{status} == 200 });

my $from = time;
my @got = statuses(7, $list, @first);
my $refilled = int((time - $from) / 0.5);
my $ok = grep { $_ == 200 } @got;
cmp_ok($ok, '>=', 6, 'a full bucket holds all of its burst');
cmp_ok($ok, '<=', 6 + $refilled, 'and no more than what came back since');

statuses(3, $list, @first) if $got[-1] == 200;
my $r;
GitpodGateway::wait_for('a refusal', sub { ($r = call($list, @first))->{status} == 429 });
is($r->{json}{code}, 'resource_exhausted', 'over it: the Connect code');
like($r->{json}{message}, qr{^Too many requests: the limit api allows 6/3s\. Try again in 1 s$}, 'with what, how much and when');
is($r->{headers}{'retry-after'}, 1, 'and Retry-After');
is($r->{headers}{'x-ratelimit-limit'}, undef, 'nothing else is told');

is((statuses(1, '/public-api/gitpod.v1.WorkspaceService/GetWorkspace', @first))[0], 200, 'another method is not concerned');

my $until = time + $r->{headers}{'retry-after'};
sleep 0.05 while time < $until;
is((statuses(1, $list, @first))[0], 200, 'after the time to wait it goes on');

# the limit for starts counts beside the one for all
my $start = '/public-api/gitpod.v1.WorkspaceService/StartWorkspace';
is(join(' ', statuses(3, $start, @first)), '200 200 429', 'a method with a limit of its own keeps that one');
$r = call($start, @first);
like($r->{json}{message}, qr{limit start allows 1/60s}, 'which is named');
cmp_ok($r->{headers}{'retry-after'}, '>', 30, 'with its own time to wait');
is((statuses(1, '/public-api/gitpod.v1.WorkspaceService/CreateAndStartWorkspace', @first))[0], 200, 'each method by itself');
is((statuses(1, $start, session(sid => 'session-b')))[0], 429, 'another session of the same user is over it too');
my $pat = 'gitpod_pat_sig.' . 'p' x 40;
$g->put_token($pat);
is((statuses(1, $start, Authorization => "Bearer $pat"))[0], 429, 'and so is a token of the same user');
is((statuses(1, $start, session(sid => 'session-c', sub => $g->{other})))[0], 200, 'another user is not');

# people
my @pages = map { $g->browse($d, '/api/handoff?host=x', @first) } 1 .. 12;
my ($page) = grep { $_->{status} == 429 } @pages;
like($page->{body}, qr/Page 429/, 'a person gets a page');
ok($page->{headers}{'retry-after'}, 'with Retry-After too');

# nobody is signed in yet
is(join(' ', map { $g->get($d, "/api/login/link?token=guess-$_")->{status} } 1 .. 4), '200 200 200 429', 'guesses at one-time links have a limit by address');

my @logged = grep { $_->{status} == 429 && $_->{uri} eq $start } $g->access_log;
is(scalar @logged, 4, 'the log has one line a refusal');
is($logged[0]{reason}, 'limit start', 'with the reason');
is($logged[0]{limit_status}, 'refused', 'and the status');
my $metrics = $g->metrics;
like($metrics, qr/^gitpod_limit_refused_total\{limit="start",mode="enforced"\} 4$/m, 'metrics count them by limit');
like($metrics, qr/^gitpod_requests_total\{outcome="limited"\} [1-9]/m, 'and among the outcomes');
like($metrics, qr/^gitpod_limit_buckets [1-9]/m, 'and tell how full the table is');

my ($row) = grep { $_->{name} eq 'start' } @{ $g->status->{limits} };
is("$row->{allows} $row->{refused} $row->{dry_run}", '1/60s 4 0', 'and so does the status page');

# buckets live on when the configuration is read again
$g->reload;
is((statuses(1, $start, @first))[0], 429, 'a reload fills no bucket');

# the workers take from one bucket
my @many = session(sid => 'session-d', sub => '55555555-5555-4555-8555-555555555555');
my @sockets = map { $g->send($d, 'POST', $list, \@many, '{}') } 1 .. 40;
$from = time;
@got = map { $g->response($_, 'POST')->{status} } @sockets;
$ok = grep { $_ == 200 } @got;
cmp_ok($ok, '>=', 6, '40 at the same moment: a burst of them pass');
cmp_ok($ok, '<=', 6 + (time - $from + 1) / 0.5, 'and no second one');
is(scalar(grep { $_ == 429 } @got), 40 - $ok, 'all others are told so');

$g->finish;
