#!/usr/bin/perl
# Feature flags of the auth plugin, with a real Redis under the ACL of the product: set, listed, deleted, refused; fed again
# when Redis was away, lost them or fell behind; kept through kill -9.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use JSON::PP;
use PluginRun;
use Test::More;

my $t = PluginRun->new;
$t->redis_start;
$t->start('auth');
my ($ann, $bob) = ('11111111-1111-4111-8111-111111111111', '22222222-2222-4222-8222-222222222222');

sub admin { my ($method, $m) = @_; return $t->rpc('auth', "gitpod.internal.v1.$method", $m // {}, GITPOD_CALLER => 'admin') }
sub set { my ($name, %m) = @_; return admin('FlagService/SetFlag', { name => $name, %m }) }
sub list { my ($user) = @_; my ($d) = admin('FlagService/ListFlags', $user ? { userId => $user } : {}); return $d->{flags} // [] }
sub record { my ($name) = @_; my $text = $t->redis('HGET', 'gitpod:flags', $name); return $text ? decode_json($text) : undef }
sub fed { my ($name, $on, $s) = @_; return $t->wait_for($s // 15, sub { my $r = record($name); $r && ($r->{on} // '') eq $on }) }
my ($on, $off) = (JSON::PP::true, JSON::PP::false);

is_deeply(list(), [], 'there are no flags at first');
my ($d, $status) = set('new_editor', on => $on, percent => 30, users => [$ann, $bob]);
is($status, 200, 'SetFlag') or diag(encode_json($d));
my $first = delete $d->{flag}{version};
is_deeply($d->{flag}, { name => 'new_editor', on => $on, percent => 30, users => [$ann, $bob] }, 'and what was set comes back');
is_deeply(record('new_editor'), { name => 'new_editor', version => 0 + $first, on => $on, percent => 30, users => [$ann, $bob] }, 'Redis has it when the call returns');
($d) = set('new_editor', on => $on, users => [$bob]);
cmp_ok($d->{flag}{version}, '>', $first, 'each change raises the version');
is($d->{flag}{percent}, undef, 'a list alone is 0 % of the others');
set('dark_mode', on => $on);
is_deeply([map { [@$_{qw(name percent onForUser)}] } @{ list() }], [['dark_mode', 100, $on], ['new_editor', undef, undef]], 'a list by name');
my ($me) = admin('AuthService/GetUser');
is_deeply([map { $_->{onForUser} } @{ list($me->{user}{id}) }], [$on, undef], 'and for whom: not on the list');
set('new_editor', on => $on, users => [$me->{user}{id}]);
is_deeply([map { $_->{onForUser} } @{ list($me->{user}{id}) }], [$on, $on], 'on the list');
is((admin('FlagService/ListFlags', { userId => $ann }))[1], 404, 'a user there is not');

# What is refused changes nothing, in the database or in Redis.
my @bad = (
    [{}, qr/name/], [{ name => 'New' }, qr/"name"/], [{ name => 'a-b' }, qr/"name"/], [{ name => 'x' x 65 }, qr/"name"/],
    [{ name => 'a', percent => 101 }, qr/"percent".*0 to 100/], [{ name => 'a', users => ['bob'] }, qr/user id.*UUID/], [{ name => 'a', users => [''] }, qr/user id/],
    [{ name => 'a', users => [($ann) x 33] }, qr/33.*at most 32/],
);
for my $case (@bad) {
    my ($m, $text) = @$case;
    my ($r, $s) = admin('FlagService/SetFlag', { on => $on, %$m });
    ok($s == 400 && $r->{message} =~ $text, 'refused: ' . encode_json($m)) or diag("$s $r->{message}");
}
is(scalar @{ list() }, 2, 'none of them was made');
is($t->redis('HLEN', 'gitpod:flags'), 2, 'and Redis heard of none');

($d, $status) = admin('FlagService/DeleteFlag', { name => 'nope' });
is("$status $d->{code}", '404 not_found', 'what is not there cannot be deleted');
like($d->{message}, qr/there is no flag "nope"; .*flag list/, 'and the text says where to look');
is((admin('FlagService/DeleteFlag', { name => 'dark_mode' }))[1], 200, 'DeleteFlag');
is_deeply([@{ record('dark_mode') }{qw(name deleted)}], ['dark_mode', $on], 'leaves a tombstone in Redis');
is_deeply([map { $_->{name} } @{ list() }], ['new_editor'], 'and nothing in the list');
is((admin('FlagService/DeleteFlag', { name => 'dark_mode' }))[1], 404, 'a second time there is nothing');
my $tombstone = record('dark_mode')->{version};
set('dark_mode', on => $off);
cmp_ok(record('dark_mode')->{version}, '>', $tombstone, 'set again it is newer than its tombstone');

# Redis goes, comes back empty, falls behind.
$t->stop('redis', 'KILL');
unlink "$t->{run}/redis/redis.sock";
is((set('new_editor', on => $off))[1], 200, 'a flag is set without Redis');
is(list()->[1]{on}, undef, 'and kept');
$t->redis_start;
ok(fed('new_editor', 0), 'Redis hears of it when it is back');
ok(fed('dark_mode', 0), 'and of all the others');
$t->redis('HSET', 'gitpod:flags', 'new_editor', '{"name":"new_editor","version":1,"on":true}');
ok(fed('new_editor', 0), 'a Redis that fell behind is brought up to date');

# Killed, and with a clock that says what was is older.
$t->stop('auth', 'KILL');
$t->sql('auth/auth.db', "UPDATE flag SET version = 99999999999999 WHERE name = 'new_editor'");
$t->start('auth');
is_deeply([map { $_->{name} } @{ list() }], ['dark_mode', 'new_editor'], 'flags outlive kill -9');
is((set('new_editor', on => $on))[0]{flag}{version}, 100000000000000, 'a version grows even against the clock');
ok(fed('new_editor', 1), 'and Redis takes it');

# Tombstones end; the number of flags is bounded.
admin('FlagService/DeleteFlag', { name => 'dark_mode' });
$t->sql('auth/auth.db', "UPDATE flag SET deleted = deleted - 700000 WHERE name = 'dark_mode'");
$t->stop('auth');
$t->start('auth');
ok($t->wait_for(15, sub { !record('dark_mode') }), 'a tombstone of more than 7 days goes');
is($t->sql('auth/auth.db', "SELECT count(*) FROM flag WHERE name = 'dark_mode'"), 0, 'from the database too');
my $made = 1;
for my $i (2 .. 128) { $made++ if (set("flag_$i", on => $on))[1] == 200 }
is($made, 128, '128 flags can be set');
($d, $status) = set('one_more', on => $on);
is("$status $d->{code}", '429 resource_exhausted', 'one more cannot');
is((set('flag_2', on => $off))[1], 200, 'but each can be changed');
is(scalar @{ list() }, 128, 'all are listed');
is($t->stop('auth'), 0, 'it ends on SIGTERM');
unlike($t->log('auth'), qr/Sanitizer|runtime error/, 'no sanitizer spoke');
done_testing();
