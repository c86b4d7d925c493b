#!/usr/bin/perl
# What root writes while it sets an instance up: never through a directory that
# a service owns, and nothing secret for others to read.
use strict;
use warnings;
use Cwd qw(abs_path);
use File::Basename qw(dirname);
use File::Temp qw(tempdir);
use Test::More;

my $top = abs_path(dirname(__FILE__) . '/../..');
my $dir = tempdir('gpsXXXXXX', DIR => '/tmp', CLEANUP => 1);
my $state = "$dir/state";
chmod 0755, $dir;
mkdir $_ for $state, "$state/redis", "$state/secrets";

sub setup {
    my ($call) = @_;
    my $out = qx(GITPOD_STATE=$state GITPOD_RUN=$dir/run bash -euc 'TOP=$top; . $top/conf/setup/common.sh; . $top/conf/setup/mode.sh; . $top/conf/setup/services.sh; . $top/conf/setup/gateways.sh; $call' 2>&1 </dev/null);
    is($?, 0, $call) or diag($out);
    return $out;
}

setup('ensure_users; chown gitpod-redis: $GITPOD_STATE/redis');
open my $fh, '>', "$dir/victim" or die $!;
print $fh "precious\n";
close $fh;
# As a Redis that was taken over could leave them.
symlink "$dir/victim", "$state/redis/$_" or die $! for 'users.acl', 'users.acl.new', 'redis.acl', 'redis.acl.new';
setup('ensure_secrets');
is(qx(cat $dir/victim), "precious\n", 'a link in the directory of Redis leads root nowhere');
is((stat "$dir/victim")[4], 0, 'nor is what it points to given away');

for my $user ('gateway', 'auth', 'ws_manager') {
    my @st = stat "$state/secrets/redis-$user";
    is(sprintf('%04o', $st[2] & 07777), '0440', "the password of $user is not for others");
    is(scalar getgrgid $st[5], "gitpod-$user", 'but for its user');
}
my ($aclfile) = qx(cat $top/conf/redis/redis.conf.in) =~ /^aclfile \@STATE\@(\S+)/m;
my @st = stat "$state$aclfile";
is(sprintf('%04o', $st[2] & 07777), '0440', 'the list of users is there, not for others');
is(scalar getgrgid $st[5], 'gitpod-redis', 'but for Redis');

# Who is meant by a name, for flags: an id stands for itself and needs nobody to answer.
my ($admin, $ann) = ('33333333-3333-4333-8333-333333333333', '11111111-1111-4111-8111-111111111111');
my $auth = qq(admin() { echo "{\\"user\\":{\\"id\\":\\"$admin\\",\\"name\\":\\"admin\\",\\"email\\":\\"root\@gp.test\\"}}"; });
is(setup("admin() { false; }; user_ids $ann"), $ann, 'a user by id');
is(setup('admin() { false; }; user_ids ' . uc $ann), $ann, 'in capitals, too');
is(setup("$auth; user_ids admin"), $admin, 'by name');
is(setup("$auth; user_ids root\@gp.test,$ann"), "$admin,$ann", 'by e-mail, and several');
is(setup('admin() { false; }; user_ids ""'), '', 'nobody');
like(setup("$auth; ! (user_ids $ann,bob)"), qr/there is no user 'bob'; the administrator is admin, $admin;/, 'who is not there, and how to find the id');

# Readiness is what checks of the last seconds found: beside a service that is down it does not pass for the state of now.
is(setup('gateways_ready() { true; }; ready_text'), 'yes', 'ready, and all runs');
is(setup('gateways_ready() { false; }; ready_text auth'), 'no', 'not ready');
like(setup('gateways_ready() { true; }; ready_text auth ide'), qr/^yes, by the last checks .*; down now: auth ide$/, 'ready by checks that are older than what is down');

setup('ensure_mounts() { :; }; ensure_dirs');
is(sprintf('%04o', (stat "$state/$_->[0]")[2] & 07777), $_->[1], "$_->[0] is $_->[1]")
    for ['log', '0700'], ['auth', '0700'], ['ws_manager', '0700'], ['redis', '0700'], ['content', '0711'], ['secrets', '0711'];
is(sprintf('%04o', (stat "$dir/run/$_->[0]")[2] & 07777), $_->[1], "$_->[0] is $_->[1]")
    for ['auth', '2750'], ['redis', '0750'], ['engine', '2750'], ['gateway/auth', '0750'], ['gateway/admin', '0700'];

# Each user writes and tells what is its own: a ws_manager that was taken over makes no keys.
my $pid = fork // die;
if (!$pid) { open STDOUT, '>', '/dev/null'; exec 'redis-server', '--port', 0, '--unixsocket', "$dir/redis.sock", '--dir', $dir, '--aclfile', "$state$aclfile" }
sub as {
    my ($user, @command) = @_;
    local $ENV{REDISCLI_AUTH} = qx(cat $state/secrets/redis-$user);
    return qx(redis-cli -s $dir/redis.sock --no-auth-warning --user $user @command 2>&1);
}
for (1 .. 100) { last if as('gateway', 'ping') =~ /PONG/; select undef, undef, undef, 0.05 }
my %own = (ws_manager => ['routes'], auth => ['keys', 'revocations']);
for my $user (sort keys %own) {
    for my $what ('routes', 'keys', 'revocations') {
        my $may = grep { $_ eq $what } @{ $own{$user} };
        my $write = $what eq 'keys' ? 'set gitpod:keys x' : "hset gitpod:$what f x";
        my $answer = as($user, $write) . as($user, "publish gitpod:$what:changes x");
        $may ? unlike($answer, qr/NOPERM/, "$user writes and tells $what") : is(scalar(() = $answer =~ /NOPERM/g), 2, "$user neither writes nor tells $what");
    }
}
my $answer = as('gateway', 'hset gitpod:routes f x') . as('gateway', 'publish gitpod:routes:changes x') . qx(redis-cli -s $dir/redis.sock ping 2>&1);
is(scalar(() = $answer =~ /NOPERM|NOAUTH/g), 3, 'the gateway writes nothing, and nobody comes in without a name') or diag($answer);
like(as('gateway', 'publish gitpod:limits:changes x'), qr/^\d+$/m, 'but tells other gateways what its limits let through');
kill 'TERM', $pid;
waitpid $pid, 0;

# ---- numbers of instances ----
my (%names, $free);
for my $n (1 .. 4) {
    mkdir "$dir/s$n";
    qx(GITPOD_INSTANCES=$dir/instances GITPOD_STATE=$dir/s$n bash -euc 'TOP=$top; . $top/conf/setup/common.sh; . $top/conf/setup/services.sh; ensure_network_names' 2>&1 </dev/null);
    is($?, 0, "instance $n gets a number");
    $names{$_}++ for split /\n/, qx(cat $dir/s$n/network.env);
    if ($n == 3) {
        # An instance whose state is gone gives its number back.
        ($free) = qx(cat $dir/instances) =~ m{^(\d+) $dir/s2$}m;
        unlink "$dir/s2/network.env";
        rmdir "$dir/s2";
        delete $names{$_} for grep { $names{$_} } keys %names;
        $names{$_}++ for map { split /\n/, qx(cat $dir/s$_/network.env) } 1, 3;
    }
}
is(scalar(grep { $_ != 1 } values %names), 0, 'no two share a subnet or uids') or diag(explain \%names);
like(qx(cat $dir/instances), qr{^$free $dir/s4$}m, 'a number is used again when its state is gone');
done_testing();
