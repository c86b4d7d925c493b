# Snapshot files: a start without Redis knows the routes and revocations that
# they have; a file that is cut, old or none at all opens nothing. Without
# gitpod_redis the file is all there is, and a reload reads it again.
use strict;
use warnings;
use Test::More;
use Time::HiRes qw(time sleep);
use GitpodTest;
use GitpodRoutes;

my $files = 'gitpod_route_file %%DIR%%/routes.json; gitpod_revocation_file %%DIR%%/revocations.json; gitpod_snapshot_max_age 1h;';

sub head { my ($kind, $n, $age) = @_; return sprintf qq({"snapshot":"%s","written":%d,"records":%d}\n), $kind, time - ($age // 5), $n }
sub routes { return join '', map { "$_\n" } @_ }

sub write_files {
    my ($t, $routes, $revocations) = @_;
    GitpodTest::spew("$t->{dir}/routes.json", $routes) if defined $routes;
    GitpodTest::spew("$t->{dir}/revocations.json", $revocations) if defined $revocations;
    chmod 0600, "$t->{dir}/routes.json", "$t->{dir}/revocations.json";
}

# Whether sessions can be judged: /startup says so.
sub startup { my ($t) = @_; return $t->get('/startup')->{json}{checks} }

# ---- Redis is configured, and away ----

my $t = GitpodRoutes->new(feed => "gitpod_redis %%REDIS%%; $files", redis => 0);
write_files($t, head('routes', 3) . routes(GitpodRoutes::record('amber-fox', 5), GitpodRoutes::record('six', 6, address => 'fd00::6'),
        GitpodRoutes::tombstone('gone', 3)), head('revocations', 1) . qq({"kind":"session","id":"s1","epoch":1700000000}\n));
$t->start;
is(GitpodRoutes::seen($t, 'amber-fox'), 5, 'a cold start without Redis has the routes of its file');
is(GitpodRoutes::seen($t, 'six'), 6, 'all of them');
is(GitpodRoutes::seen($t, 'gone'), 'away', 'a tombstone is no route: it is unknown, which may change when Redis is back');
is(GitpodRoutes::seen($t, 'nobody'), 'away', 'an unknown workspace gets 503, not 404: it may be there by now');
is_deeply(startup($t), { routes => 'ok', revocations => 'ok' }, 'and it started up');
is($t->metric('gitpod_revocations'), 1, 'revocations are read too');

# What Redis knows goes first as soon as it is there.
$t->start_redis;
$t->redis_command('HSET', 'gitpod:routes', 'amber-fox', GitpodRoutes::record('amber-fox', 6), 'six', GitpodRoutes::record('six', 4));
is(GitpodRoutes::wait_seen($t, 'amber-fox', 6), 6, 'Redis brings the higher version');
is(GitpodRoutes::wait_seen($t, 'nobody', 'none'), 'none', 'unknown is unknown once all was read');
is(GitpodRoutes::seen($t, 'six'), 6, 'a lower version of Redis does not replace that of the file');
$t->redis_command('HDEL', 'gitpod:routes', 'six');
$t->redis_command('CLIENT', 'KILL', 'TYPE', 'pubsub');
is(GitpodRoutes::wait_seen($t, 'six', 'none'), 'none', 'what Redis does not know is dropped');

# A reload reads the file again and lets versions decide.
write_files($t, head('routes', 2) . routes(GitpodRoutes::record('amber-fox', 5), GitpodRoutes::record('late', 9)));
$t->reload;
is(GitpodRoutes::seen($t, 'amber-fox'), 6, 'a reload with an older file changes nothing');
$t->stop;

# ---- files that must not be trusted ----

my @bad = (
    ['a file that was cut', head('routes', 3) . routes(GitpodRoutes::record('amber-fox', 5)), undef, qr/was cut: it has 1 of 3 routes/, 'amber-fox', 5],
    ['a last line that was cut', GitpodRoutes::record('amber-fox', 5) . "\n" . substr(GitpodRoutes::record('six', 5), 0, 40), undef, qr/was cut/, 'amber-fox', 5],
    ['a file of something else', "<html>\n" x 40, undef, qr/not JSON/, 'amber-fox', 'away'],
    ['a line without an end', 'x' x 100_000, undef, qr/has a line of more than 65536 bytes/, 'amber-fox', 'away'],
    ['an address outside of the range', routes(GitpodRoutes::record('amber-fox', 5, address => '169.254.169.254')), undef,
        qr/outside of gitpod_route_cidr/, 'amber-fox', 'away'],
    ['revocations that are old', undef, head('revocations', 0, 4000), qr/was written 400\d s ago, and gitpod_snapshot_max_age is 3600 s/],
    ['revocations from the future', undef, head('revocations', 0, -4000), qr/was written -(?:4000|399\d) s ago/],
    ['revocations without a head', undef, qq({"kind":"session","id":"s1","epoch":1700000000}\n), qr/is no snapshot of revocations/],
    ['revocations that were cut', undef, head('revocations', 2) . qq({"kind":"session","id":"s1","epoch":1700000000}\n), qr/was cut: it has 1 of 2 revocations/],
    ['one revocation that is none', undef, head('revocations', 1) . qq({"kind":"everybody","id":"s1","epoch":1700000000}\n), qr/1 others are not understood/],
    ['routes in place of revocations', undef, head('routes', 0), qr/is no snapshot of revocations/],
);
for (@bad) {
    my ($what, $routes, $revocations, $text, $id, $want) = @$_;
    $t = GitpodRoutes->new(feed => "gitpod_redis %%REDIS%%; $files", redis => 0, workers => 1);
    write_files($t, $routes // head('routes', 0), $revocations // head('revocations', 0));
    $t->start;
    like($t->error_log, $text, "$what: the log names it");
    cmp_ok(length $t->error_log, '<', 20_000, "$what: and does not drown in it");
    is(GitpodRoutes::seen($t, $id), $want, "$what: what could be read is served, nothing else") if $id;
    is(startup($t)->{revocations}, defined $revocations ? 'unavailable' : 'ok', "$what: sessions wait for revocations that are missing, only");
    $t->stop;
}

# ---- no Redis at all: the file is the whole truth ----

$t = GitpodRoutes->new(feed => $files, redis => 0);
write_files($t, routes(GitpodRoutes::record('one', 1), GitpodRoutes::record('two', 2)), head('revocations', 0));
$t->start;
is(GitpodRoutes::seen($t, 'one'), 1, 'without gitpod_redis routes come from the file, which needs no head');
is(GitpodRoutes::seen($t, 'nobody'), 'none', 'and what it lacks does not exist');
write_files($t, routes(GitpodRoutes::record('two', 3), GitpodRoutes::record('three', 1)));
$t->reload;
is(GitpodRoutes::seen($t, 'two'), 3, 'a reload reads it again');
is(GitpodRoutes::seen($t, 'three'), 1, 'new ones come');
is(GitpodRoutes::seen($t, 'one'), 'none', 'those that are gone go');
write_files($t, head('routes', 5) . routes(GitpodRoutes::record('two', 4)));
$t->reload;
is(GitpodRoutes::seen($t, 'two'), 4, 'a file that was cut still updates');
is(GitpodRoutes::seen($t, 'three'), 1, 'and drops nothing');
unlink "$t->{dir}/routes.json";
mkdir "$t->{dir}/routes.json";
$t->reload;
is(GitpodRoutes::seen($t, 'three'), 1, 'a directory in its place drops nothing either');
rmdir "$t->{dir}/routes.json";
system('mkfifo', "$t->{dir}/routes.json") == 0 or die;
$t->reload;
is(GitpodRoutes::seen($t, 'three'), 1, 'a pipe does not stop the master');
$t->finish;
