# Over HTTP/2 a stream of a port ends within a second when the port is made
# private.
use strict;
use warnings;
use IO::Select;
use Test::More;
use Time::HiRes qw(time);
use GitpodGateway;

my $g = GitpodGateway->new(workers => 1, tls => 1);
my $id = 'amber-fox-k3j9x2m1';
my $address = GitpodGateway::free_address();
my $host = $g->workspace($id, listen => [22999, 23000, 3000], address => $address, ports => [{ port => 3000, visibility => 'public', protocol => 'http' }]);
my $name = "3000-$host" =~ s/:\d+$//r;
my @curl = ('curl', '-skN', '--http2', '--resolve', "$name:$g->{port}:127.0.0.1", '-m', 15);
my $url = "https://$name:$g->{port}/";
ok(GitpodGateway::wait_for('the route', sub { qx(@curl -o /dev/null -w '%{http_code} %{http_version}' $url) eq '200 2' }), 'the port is public, and HTTP/2 is spoken');

open my $stream, '-|', @curl, "${url}events" or die "curl: $!";
my $events = '';
1 while $events !~ /data: 1/ && IO::Select->new($stream)->can_read(5) && sysread $stream, $events, 4096, length $events;
like($events, qr/data: 1/, 'a stream is open');
$g->route($id, address => $address, ports => []);
my $from = time;
1 while IO::Select->new($stream)->can_read(10) && sysread $stream, $events, 4096;
cmp_ok(time - $from, '<', 1.5, 'it ends');
like(qx(@curl -o /dev/null -w '%{http_code}' $url), qr/^401$/, 'and does not come back');
unlike($g->error_log, qr/open socket/, 'no connection was left behind');
$g->finish;
