# Who has no credential can neither try out names of workspaces without end nor
# hold the connections of a supervisor; and the limit tells no more than the
# answers do.
use strict;
use warnings;
use Test::More;
use GitpodGateway;

my $g = GitpodGateway->new(workers => 2, limits => 1, edit => sub {
    my ($name, $text) = @_;
    if ($name eq 'nginx_limits.conf') {
        $text =~ s{(strangers key=address count=unknown) rate=60/60s burst=120;}{$1 rate=1/30m burst=6;} or die 'the template changed';
        $text =~ s{(status key=address count=open) rate=120/60s;}{$1 rate=1/30m burst=20;} or die 'the template changed';
        $text =~ s{(status_held key=address count=open) concurrent=32;}{$1 concurrent=4;} or die 'the template changed';
    }
    $text =~ s/^http \{$/http {\n    set_real_ip_from 127.0.0.1;\n    real_ip_header Test-Address;/m if $name eq 'nginx.conf';
    return $text;
});
my $id = 'amber-fox-k3j9x2m1';
my $host = $g->workspace($id, listen => [22999, 23000, 3000], ports => [{ port => 3000, visibility => 'public', protocol => 'http' }]);
my $status = '/_supervisor/v1/status/ide';
my $cookie = 'gp_workspace=' . $g->workspace_token(host => $host, ws => $id);

my @from = ('Test-Address' => '192.0.2.1');
sub ask { my ($h, $path, @headers) = @_; return $g->get($h, $path, @from, @headers) }
sub unknown { return $g->host("guess-fox-$_[0]") }

GitpodGateway::wait_for('the key set', sub { ask($host, '/', Cookie => $cookie)->{status} == 200 });
is(ask($host, '/')->{status}, 401, 'a workspace that is there, without a credential');
is(join(' ', map { ask(unknown($_), '/')->{status} } 1 .. 8), '401 401 401 401 401 401 429 429', 'six that are not, then no more');
my $r = ask(unknown(9), '/');
is($r->{json}{code}, 'resource_exhausted', 'as Connect JSON');
like($r->{json}{message}, qr/the limit strangers allows 1\/30m/, 'with the name of the limit');
is(ask($host, '/')->{status}, 429, 'nor is one that is there told apart from then on');
is(ask($host, $status)->{status}, 429, 'by its status neither');
is(ask(unknown(1), $status)->{status}, 429, 'which others have not');
is($g->browse($_, '/', @from)->{status}, 302, 'people are sent to log in as ever') for $host, unknown(10);
is(ask($host, '/', Cookie => $cookie)->{status}, 200, 'who has a right credential is let in');
is(ask($host, '/', 'X-Gitpod-Owner-Token' => $g->owner_token($id))->{status}, 200, 'of either kind');
is(ask($host, $status, Cookie => $cookie)->{status}, 200, 'and sees the status');
is(ask("3000-$host", '/')->{status}, 200, 'public ports are public');
$r = GitpodGateway::slurp("$g->{state}/log/nginx/access.log");
like($r, qr/"reason":"limit strangers"/, 'the log has the reason');

# the status of a workspace, which needs no credential
@from = ('Test-Address' => '192.0.2.2');
is(ask($host, $status)->{status}, 200, 'another address may ask');
sub hold { return $g->send($host, 'GET', "$status?hold", \@from) }
my @held = map { hold() } 1 .. 4;
my $seen = GitpodGateway::wait_for('four that wait', sub {
    my $r = ask($host, $status);
    return $r if $r->{status} == 429;

    # in the other worker this very question may have had the place of one of them
    @held = map { GitpodClient::silent($_, 0) ? $_ : hold() } @held;
    return;
});
like($seen->{json}{message}, qr/the limit status_held allows 4 at a time/, 'so many may wait for it at a time');
is(ask($host, $status, Cookie => $cookie)->{status}, 200, 'with a credential it is not counted');
is($g->get($host, $status, 'Test-Address' => '192.0.2.3')->{status}, 200, 'nor from elsewhere');
close $_ for @held;
GitpodGateway::wait_for('their end', sub { ask($host, $status)->{status} == 200 });
my @more = map { ask($host, $status) } 1 .. 20;
like($more[-1]{json}{message}, qr/the limit status allows 1\/30m/, 'nor may one ask without end');

$g->finish;
