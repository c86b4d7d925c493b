# The examples of docs/contracts/redis.md drive a gateway, run as they stand
# and with the rights that an installation gives its users.
use strict;
use warnings;
use File::Path qw(make_path);
use Test::More;
use GitpodTest;
use GitpodRoutes;

my $page = GitpodTest::slurp("$GitpodTest::TOP/docs/contracts/redis.md");
my ($section) = $page =~ /^## Another control plane\n(.*)/ms or die 'no examples';
my @example = $section =~ /\n\n((?:    .*\n)+)/g;
is(scalar @example, 8, 'the examples of the page') or diag $section;

my $id = 'amber-fox-k3j9x2m1';
my $t = GitpodRoutes->new(workers => 1);
my %grant = map { /^\s*printf 'user (\w+) on #%s (.*?)\\n'/ ? ($1 => $2) : () } split /\n/, GitpodTest::slurp("$GitpodTest::TOP/conf/setup/services.sh");
is(join(' ', sort keys %grant), 'auth gateway ws_manager', 'the rights of an installation');
make_path("$t->{dir}/state/secrets", "$t->{dir}/state/ws_manager");
for my $user (sort keys %grant) {
    GitpodTest::spew("$t->{dir}/state/secrets/redis-$user", "password-of-$user");
    $t->redis_command('ACL', 'SETUSER', $user, 'on', ">password-of-$user", split / /, $grant{$user});
}
my $feed = "gitpod_redis \%\%REDIS\%\% user=gateway password_file=$t->{dir}/state/secrets/redis-gateway;";
$t->{http} =~ s/gitpod_redis %%REDIS%%;/$feed/ or die;
$t->{main} = '';
$t->start;
GitpodRoutes::wait_synced($t);
make_path("$t->{dir}/nginx");
GitpodTest::spew("$t->{dir}/nginx/nginx.pid", "$t->{nginx_pid}\n");

sub run {
    my ($n) = @_;
    my $script = $example[$n] =~ s/^    //gmr;
    local %ENV = (%ENV, GITPOD_RUN => $t->{dir}, GITPOD_STATE => "$t->{dir}/state");
    my $said = qx(cd '$GitpodTest::TOP' && sh -eu <<'END' 2>&1\n${script}END);
    is($?, 0, "example $n runs") or diag $said;
    unlike($said, qr/ERR|NOPERM|NOAUTH|Warning/, "example $n: Redis takes it") or diag $said;
    return $said;
}
sub becomes {
    my ($want, $what) = @_;
    my $got = '';
    eval { GitpodTest::wait_for($what, sub { ($got = $t->get('/', Host => "3000-$id.ws-gitpod.test")->{status}) eq $want }) };
    is($got, $want, $what);
}

# The stored script is the one that the services run.
my ($c) = GitpodTest::slurp("$GitpodTest::TOP/plugins/lib/store/redis.c") =~ /gp_redis_put_script\[\] =\n(.*?);\n/s or die;
my $lua = join '', map { s/\\n/\n/gr } $c =~ /"(.*)"\n?/g;
is($lua, GitpodTest::slurp("$GitpodTest::TOP/docs/contracts/put_record.lua") =~ s/^--.*\n//gmr, 'put_record.lua is what the services run');

run(0);
becomes(200, 'a workspace runs, and its public port is open');
is($t->get('/', Host => "3000-$id.ws-gitpod.test")->{headers}{'x-instance'}, '8f14e45f-0000-4000-8000-000000000001', 'in that instance');
like(run(0), qr/^0$/m, 'the same version again changes nothing');
run(1);
becomes(401, 'its port is private');
run(2);
GitpodTest::wait_for('the route of mode port', sub { $t->metric('gitpod_listeners') == 2 });
run(3);
is($t->redis_command('HGET', 'gitpod:routes', $id) =~ /"phase":"(\w+)"/ && $1, 'stopped', 'it stops');
GitpodTest::wait_for('the stop', sub { $t->metric('gitpod_route_records_total{outcome="updated"}') == 4 });
run(4);
GitpodTest::wait_for('the end', sub { $t->metric('gitpod_route_records_total{outcome="updated"}') == 5 });
like($t->redis_command('HGET', 'gitpod:routes', $id), qr/"deleted":true/, 'it is deleted');
run(5);
GitpodTest::wait_for('the revocation', sub { $t->metric('gitpod_revocations') == 1 });
my $said = run(6);
like($said, qr/"deleted":true/, 'the gateway may read routes');
like($said, qr/^session:3b1f8c52$/m, 'and revocations');
$t->stop;

# Without Redis.
$t = GitpodRoutes->new(workers => 1, redis => 0, feed => 'gitpod_route_file %%DIR%%/state/ws_manager/routes.json;');
make_path("$t->{dir}/state/ws_manager", "$t->{dir}/nginx");
$t->start;
GitpodTest::spew("$t->{dir}/nginx/nginx.pid", "$t->{nginx_pid}\n");
$id = 'blue-owl-aaaabbbb';
run(7);
becomes(200, 'a file and a reload make a route');
$t->finish;
