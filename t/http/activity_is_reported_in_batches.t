# Reports of activity: many workspaces, a killed reporter, the policies of ports.
use strict;
use warnings;
use Test::More;
use GitpodGateway;

my $policy = 'on ports=all';
my $g = GitpodGateway->new(workers => 2, edit => sub {
    my ($name, $text) = @_;
    return $text if $name ne 'nginx_workspace.conf';
    $text =~ s/^(gitpod_manager \S+);/$1 interval=100ms;/m;
    $text =~ s/gitpod_activity on;/gitpod_activity $policy;/;
    return $text;
});
my @port = (ports => [{ port => 3000, visibility => 'public', protocol => 'http' }]);
my $id = 'amber-fox-k3j9x2m1';
my $host = $g->workspace($id, listen => [23000, 3000], @port);
my @owner = ('x-gitpod-owner-token' => $g->owner_token($id));

my $n = $g->reports;
$g->post("3000-$host", '/', 'x');
ok($g->reported($id, $n), 'ports=all: visitors of a public port count');

# more than one report holds; nothing answers there, which is no matter
my @many = map { sprintf 'many-ws-%08d', $_ } 1 .. 520;
$g->route($_, @port, address => '127.255.255.254') for @many;
GitpodGateway::wait_for('the routes', sub { $g->get($g->host($many[-1]), '/')->{status} != 404 });
$n = $g->reports;
$g->post("3000-" . $g->host($_), '/', 'x') for @many;
my %seen;
GitpodGateway::wait_for('all of them', sub {
    my @reports = $g->reports;
    splice @reports, 0, $n;
    $seen{ $_->{workspaceId} }++ for map { @{ $_->{body}{workspaces} } } @reports;
    return scalar(grep { $seen{$_} } @many) == @many;
});
ok(1, 'each of 520 workspaces is reported');
is(scalar(grep { @{ $_->{body}{workspaces} } > 500 } $g->reports), 0, 'at most 500 at once');

# the worker that reports is killed
$g->{expected_alert} = qr/exited on signal 9/;
my $asked = sub { $g->calls('ws_manager /gitpod.internal.v1.WorkspaceManagerService/ReportActivity') };
GitpodGateway::spew("$g->{dir}/no-reports", '');
$n = $g->reports;
$g->post($host, '/', 'x', @owner);
my $before = $asked->();
GitpodGateway::wait_for('reports that are not taken', sub { $asked->() > $before + 1 });
kill 'KILL', $g->worker_pids;
unlink "$g->{dir}/no-reports";
ok($g->reported($id, $n), 'what was not taken in survives the workers');

$policy = 'on ports=none';
$g->reload;
$n = $g->reports;
$g->post("3000-$host", '/', 'x', @owner);
ok(!$g->reported($id, $n), 'ports=none: not even the owner counts there');
$n = $g->reports;
$g->post($host, '/', 'x', @owner);
ok($g->reported($id, $n), 'the editor does');

$g->finish;
