#!/usr/bin/perl
# Feature flags: from Redis into $gitpod_flag_<name> and GITPOD_FLAGS, for whom
# they are on, and that what is known outlives Redis, a reload and a worker.
use strict;
use warnings;
use Test::More;
use GitpodGateway;
use GitpodRoutes;

my $g = GitpodGateway->new(workers => 2, expected_alert => qr{exited on signal 9}, edit => sub {
    my ($name, $text) = @_;
    $text =~ s/^gitpod_flag .*;//mg if $name eq 'nginx_flags.conf';
    $text .= "gitpod_flag new_editor off;\ngitpod_flag old_editor on;\n" if $name eq 'nginx_flags.conf';
    $text =~ s/^( *)(fastcgi_param GITPOD_PATH \$gitpod_method;)/$1$2\n$1add_header X-New \$gitpod_flag_new_editor always;\n$1add_header X-Other \$gitpod_flag_not_declared always;/m
        if $name eq 'nginx_public_api.conf';
    return $text;
});
my ($owner, $other) = ($g->{owner}, $g->{other});
my %session = map { $_ => $g->session_token(sub => $_, sid => $_) } $owner, $other;

# What a signed-in user's call comes with.
sub call {
    my ($user) = @_;
    return $g->post($g->{domain}, '/public-api/gitpod.v1.UserService/GetAuthenticatedUser', '{}', Origin => $g->origin($g->{domain}),
        'Content-Type' => 'application/json', Cookie => "gp_session=$session{$user}");
}
sub flags { my ($user) = @_; return call($user)->{json}{params}{GITPOD_FLAGS} }
sub variable { my ($user, $name) = @_; return call($user)->{headers}{"x-$name"} }

my $version = 0;
sub set {
    my ($name, %member) = @_;
    my $text = $GitpodGateway::JSON->encode({ name => $name, version => ++$version, %member });
    $g->redis('HSET', 'gitpod:flags', $name, $text);
    $g->redis('PUBLISH', 'gitpod:flags:changes', $text);
}
sub becomes {
    my ($want, $user, $what) = @_;
    my $got;
    eval { GitpodGateway::wait_for($what, sub { ($got = variable($user, 'new')) eq $want }) };
    is($got, $want, $what);
}
sub metric {
    my ($name) = @_;
    local $g->{port} = $g->{probe_port};
    return $g->get('127.0.0.1', '/metrics')->{body} =~ /^\Q$name\E (\d+)$/m ? $1 : undef;
}
my ($on, $off) = (JSON::PP::true, JSON::PP::false);

eval { GitpodGateway::wait_for('the keys', sub { call($owner)->{status} == 200 }) };
is(flags($owner), 'old_editor', 'nobody has set one: the defaults of the configuration count');
is(variable($owner, 'new'), '0', 'the variable says the same');
is(variable($owner, 'other'), '0', 'and what nothing declares is off');

set('new_editor', on => $on);
becomes('1', $owner, 'a message turns a flag on');
is(flags($other), 'new_editor old_editor', 'for everybody, and plugins are told');
set('old_editor', on => $off);
becomes('1', $owner, 'another flag goes its own way');
eval { GitpodGateway::wait_for('off', sub { flags($owner) eq 'new_editor' }) };
is(flags($owner), 'new_editor', 'a flag that is on by default can be turned off');

set('new_editor', on => $on, users => [$other]);
becomes('0', $owner, 'a list of users leaves the others out');
is(variable($other, 'new'), '1', 'and lets those on it in');
is($g->get($g->{domain}, '/api/login/link')->{json}{params}{GITPOD_FLAGS}, '', 'who is not signed in is on no list');

# buckets: 87 and 89 (docs/contracts/redis.md)
set('new_editor', on => $on, percent => 88);
becomes('1', $owner, 'bucket 87 is among 88 %');
is(variable($other, 'new'), '0', 'bucket 89 is not');
set('new_editor', on => $on, percent => 87);
becomes('0', $owner, 'nor is bucket 87 among 87 %');
set('new_editor', on => $on, percent => 87, users => [$owner]);
becomes('1', $owner, 'but on the list it is in any case');
set('new_editor', on => $off, percent => 100, users => [$owner]);
becomes('0', $owner, 'a flag that is off is off for them, too');

set('not_declared', on => $on);
eval { GitpodGateway::wait_for('undeclared', sub { variable($owner, 'other') eq '1' }) };
is(variable($owner, 'other'), '1', 'a flag that no directive declares has its variable');
unlike(flags($owner), qr/not_declared/, 'and is none for plugins');

# Old, broken and foreign records change nothing.
set('new_editor', on => $on);
becomes('1', $owner, 'on again');
my $old = metric('gitpod_flag_records_total{outcome="old"}');
$g->redis('PUBLISH', 'gitpod:flags:changes', $GitpodGateway::JSON->encode({ name => 'new_editor', version => 1, on => $off }));
eval { GitpodGateway::wait_for('old', sub { metric('gitpod_flag_records_total{outcome="old"}') > $old }) };
is(variable($owner, 'new'), '1', 'an older version is not taken');
my %bad = (
    'not JSON' => '{', 'no rule' => '{"name":"new_editor","version":999}', 'too long' => '{"name":"new_editor","version":999,"on":false,"x":"' . 'x' x 3000 . '"}',
    'a percentage that is none' => '{"name":"new_editor","version":999,"on":false,"percent":101}',
    'a user that is none' => '{"name":"new_editor","version":999,"on":false,"users":["bob"]}',
);
for my $what (sort keys %bad) {
    my $before = metric('gitpod_flag_records_total{outcome="refused"}');
    $g->redis('PUBLISH', 'gitpod:flags:changes', $bad{$what});
    ok(eval { GitpodGateway::wait_for($what, sub { metric('gitpod_flag_records_total{outcome="refused"}') > $before }) }, "$what: refused and counted");
}
is(variable($owner, 'new'), '1', 'what was known stays');
my @told = grep { /\[error\].*record of flag "new_editor" refused, what was known of it stays: / } split /\n/, $g->error_log;
is(scalar @told, 3, 'the log says which flag, and why');

# What is known outlives a worker, a reload, Redis, and a Redis that lost everything.
kill 'KILL', $_ for $g->worker_pids;
becomes('1', $owner, 'killed workers took nothing with them');
my %before = map { $_ => 1 } $g->worker_pids;
kill 'HUP', $g->{nginx_pid};
eval { GitpodGateway::wait_for('a new generation', sub { my @now = $g->worker_pids; @now == 2 && !grep { $before{$_} } @now }) };
becomes('1', $owner, 'nor did a reload');
kill 'KILL', $g->{redis_pid};
waitpid $g->{redis_pid}, 0;
delete $g->{redis};
unlink $g->{redis_socket};
eval { GitpodGateway::wait_for('gone', sub { metric('gitpod_redis_subscribed') == 0 }) };
is(variable($owner, 'new'), '1', 'without Redis the last known value counts');
my $syncs = metric('gitpod_redis_resyncs_total');
$g->start_redis;
eval { GitpodGateway::wait_for('a resync', sub { metric('gitpod_redis_resyncs_total') > $syncs }) };
is(metric('gitpod_redis_subscribed'), 1, 'Redis is back, with nothing in it');
is(variable($owner, 'new'), '1', 'which makes no flag forgotten');
set('new_editor', deleted => $on);
becomes('0', $owner, 'a tombstone does: the default counts');
$syncs = metric('gitpod_redis_resyncs_total');
my $flags = metric('gitpod_flags');
$g->redis('DEL', 'gitpod:flags');
$g->redis('CLIENT', 'KILL', 'TYPE', 'pubsub');
eval { GitpodGateway::wait_for('a resync', sub { metric('gitpod_redis_resyncs_total') > $syncs }) };
is(metric('gitpod_flags'), $flags - 1, 'a tombstone that Redis has forgotten goes from the table');
$g->stop;

# A table that is full says so and keeps what it has.
my $t = GitpodRoutes->new(zone => '1m', server => 'location = /first { add_header X-First $gitpod_flag_f0 always; return 204; }');
$t->start;
GitpodRoutes::wait_synced($t);
my $max = $t->metric('gitpod_flags_max');
cmp_ok($max, '>=', 8, 'the smallest zone has room for some flags');
for my $i (0 .. $max) { $t->redis_command('PUBLISH', 'gitpod:flags:changes', qq({"name":"f$i","version":1,"on":true})) }
eval { GitpodTest::wait_for('a full table', sub { ($t->metric('gitpod_flag_records_total{outcome="full"}') // 0) == 1 }) };
is($t->metric('gitpod_flags'), $max, 'a full table stays as it is');
is($t->get('/first')->{headers}{'x-first'}, '1', 'and answers');
like($t->error_log, qr/\[alert\].*the zone has room for $max flags and is full; "f$max" was dropped: raise gitpod_zone/, 'the log says what to do');
$t->finish(allow => qr/raise gitpod_zone/);
