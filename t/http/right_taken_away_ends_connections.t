# WebSockets and streams end within a second when the right to them does;
# others, even of the same workspace, go on.
use strict;
use warnings;
use IO::Select;
use Test::More;
use Time::HiRes qw(time);
use GitpodGateway;

my $g = GitpodGateway->new(workers => 2);
my $id = 'amber-fox-k3j9x2m1';
my $public = { port => 3000, visibility => 'public', protocol => 'http' };
my $address = GitpodGateway::free_address();
my $host = $g->workspace($id, listen => [22999, 23000, 3000], address => $address, ports => [$public]);
my @owner = ('x-gitpod-owner-token' => $g->owner_token($id));

sub ws {
    my ($h, @headers) = @_;
    my $r = $g->upgrade($h, '/', Origin => $g->origin($h), @headers);
    die "no upgrade: $r->{status}" if $r->{status} != 101;
    return $r->{socket};
}
sub session { my ($sid, @claim) = @_; return ws($host, Cookie => 'gp_workspace=' . $g->workspace_token(host => $host, ws => $id, sid => $sid, @claim)) }

sub alive {
    my ($s) = @_;
    local $SIG{PIPE} = 'IGNORE';
    syswrite $s, 'ping' or return 0;
    return 0 if !IO::Select->new($s)->can_read(5);
    return (sysread($s, my $back, 4) // 0) == 4;
}

# seconds until the gateway closed it
sub ended {
    my ($s) = @_;
    my $from = time;
    return 99 if !IO::Select->new($s)->can_read(10);
    return 98 if sysread $s, my $any, 1;
    return time - $from;
}

GitpodGateway::wait_for('the key set', sub { $g->get($host, '/', Cookie => 'gp_workspace=' . $g->workspace_token(host => $host, ws => $id))->{status} == 200 });
my $first = session('session-a');
my $second = session('session-b');
my $later = session('session-c', iat => int(time) + 2);
my $token = ws($host, @owner);
my $open = ws("3000-$host");
my $stream = $g->send_request("3000-$host", 'GET', '/events', []);
my $events = '';
1 while $events !~ /data: 1/ && IO::Select->new($stream)->can_read(5) && sysread $stream, $events, 4096, length $events;
like($events, qr/data: 1/, 'a stream is open');
ok(alive($_), 'a connection is open') for $first, $second, $later, $token, $open;

$g->revoke(session => 'session-a');
cmp_ok(ended($first), '<', 1.5, 'log-out closes the connections of the session');
ok(alive($_), 'others go on') for $second, $token, $open;

$g->revoke(user => $g->{owner});
cmp_ok(ended($second), '<', 1.5, 'revoking a user closes what was issued before');
ok(alive($_), 'what was issued later goes on') for $later;
ok(alive($token), 'and so does the owner token');

$g->route($id, address => $address, ports => []);
cmp_ok(ended($open), '<', 1.5, 'a port made private closes who had no credential');
cmp_ok(ended($stream), '<', 1.5, 'a stream too: its connection is not kept for a next request');
ok(alive($_), 'not who has one') for $later, $token;

$g->route($id, address => $address, owner_token_sha256 => Digest::SHA::sha256_hex('another'));
cmp_ok(ended($token), '<', 1.5, 'a new owner token closes those of the old');
ok(alive($later), 'not the cookie\'s');

$g->route($id, address => $address, owner => $g->{other});
cmp_ok(ended($later), '<', 1.5, 'another owner closes the former one\'s');

my ($logged) = grep { $_->{reason} eq 'right taken away' } $g->access_log;
ok($logged, 'the log says why');
unlike($g->error_log, qr/open socket/, 'no connection was left behind');

$g->finish;
