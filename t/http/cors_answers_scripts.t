# Scripts are not browsers' windows: they get 401 as JSON that they may read,
# never a redirect; preflights are answered by the policy of the port.
use strict;
use warnings;
use Test::More;
use GitpodGateway;

my $g = GitpodGateway->new;
my $id = 'amber-fox-k3j9x2m1';
# A service of the machine may have the usual ones.
my ($front, $api) = (GitpodTest::free_port(), GitpodTest::free_port());
my @ports = ({ port => $front, visibility => 'public', protocol => 'http' }, { port => $api, visibility => 'private', protocol => 'http' });
my $host = $g->workspace($id, listen => [23000, $front, $api], ports => \@ports);
my $other = $g->workspace('blue-owl-aaaabbbb', listen => [23000], instance => '44444444-4444-4444-8444-444444444444');
my ($public, $private) = ("$front-$host", "$api-$host");
my $page = $g->origin($public);
my @owner = ('x-gitpod-owner-token' => $g->owner_token($id));
my @cookie = (Cookie => 'gp_workspace=' . $g->workspace_token(host => $private, ws => $id));

sub cors { my ($r) = @_; return join ' | ', map { $r->{headers}{"access-control-allow-$_"} // '-' } qw(origin credentials methods headers) }
sub preflight { my ($h, $origin, @more) = @_; return $g->request($h, 'OPTIONS', '/api', [Origin => $origin, 'Access-Control-Request-Method' => 'PUT', @more]) }
# All of an answer but its name.
sub same {
    my ($r, $name) = @_;
    return join "\n", map { s/\Q$name\E/NAME/gr } $r->{status}, $r->{body}, map { "$_: $r->{headers}{$_}" } grep { $_ ne 'date' && $_ !~ /^x-(?:test-reason|request-id)/ } sort keys %{ $r->{headers} };
}
sub app { my ($r) = @_; return join ' ', map { $r->{json}{$_} // '-' } qw(method name) }

GitpodGateway::wait_for('revocations', sub { $g->get($private, '/', @cookie)->{status} == 200 });

# who has no credential
my @scripts = (
    ['a fetch', Accept => 'text/html,*/*', 'Sec-Fetch-Mode' => 'cors'],
    ['a fetch without cors', Accept => 'text/html,*/*', 'Sec-Fetch-Mode' => 'no-cors'],
    ['a script that wants JSON', Accept => 'application/json'],
    ['a program that says nothing'],
    ['a WebSocket', Accept => 'text/html', Upgrade => 'websocket', Connection => 'Upgrade'],
);
for (@scripts) {
    my ($name, @headers) = @$_;
    for my $h ($host, $private) {
        my $r = $g->get($h, '/', Origin => $page, @headers);
        is($r->{status}, 401, "$name: 401");
        is(($r->{json} // {})->{code}, 'unauthenticated', '  as JSON');
        is($r->{headers}{location}, undef, '  no redirect');
        is(cors($r), "$page | true | - | -", '  which a page of the workspace may read');
    }
}
is(cors($g->get($private, '/', Origin => 'http://evil.test')), '* | - | - | -', 'others see that something answered, without credentials');
is($g->browse($private, '/')->{status}, 302, 'a person\'s navigation is sent to log in');

# preflights of a private port
my $r = preflight($private, $page, 'Access-Control-Request-Headers' => 'content-type, x-own');
is($r->{status}, 204, 'a page of the same workspace may call a private port');
is(cors($r), "$page | true | PUT | content-type, x-own", 'as it asked, with credentials');
is($r->{headers}{'access-control-max-age'}, 60, 'for a minute');
like($r->{headers}{vary}, qr/Origin/, 'and only it');
is($r->{body}, '', 'nothing else');
is(cors(preflight($private, $g->origin($host))), $g->origin($host) . ' | true | PUT | -', 'so may the editor');
is(app($g->request($private, 'PUT', '/api', [@cookie, Origin => $page], 'x')), "PUT $id:$api", 'the request itself brings its cookie');
is($g->request($private, 'PUT', '/api', [Origin => $page], 'x')->{status}, 401, 'without which it is refused');
for my $origin ('http://evil.test', $g->origin($other), "https://$public:$g->{port}", "http://$public", 'null') {
    $r = preflight($private, $origin);
    is($r->{status}, 403, "$origin may not");
    is($r->{headers}{'access-control-allow-methods'}, undef, '  and no method is named');
}
my @own = (Origin => $page, 'Access-Control-Request-Method' => 'PUT');
is($g->request($private, 'OPTIONS', '/api', [@own, @$_])->{status}, 401, "$_->[0]: no preflight")
    for ['Access-Control-Request-Method' => 'PUT'], ['x-gitpod-owner-token' => 'wrong'], [Cookie => 'gp_workspace=wrong'];
is($g->request($private, $_, '/api', [@own])->{status}, 401, "$_ is none") for 'GET', 'PUT';
for my $case (['no method' => ()], ['an odd method' => 'PUT GET'], ['a long method' => 'P' x 33]) {
    my ($name, $method) = @$case;
    is($g->request($private, 'OPTIONS', '/', [Origin => $page, defined $method ? ('Access-Control-Request-Method' => $method) : ()])->{status}, 401, "$name: no preflight");
}
is(preflight($private, $page, 'Access-Control-Request-Headers' => 'x' x 1025)->{status}, 401, 'nor is one with endless headers');
is(preflight($private, $page, 'Access-Control-Request-Headers' => 'a"b')->{status}, 401, 'or odd ones');
is(app(preflight($private, $page, @owner)), "OPTIONS $id:$api", 'with a credential it goes to the application');
is(preflight($host, $page)->{status}, 401, 'the editor is not for other pages');

# what is not there answers the same
my $unknown = $g->host('never-was-11112222');
$r = preflight("$api-$unknown", $g->origin("$front-$unknown"));
is($r->{status}, 204, 'a workspace that is not there answers as a private port does');
is(preflight("$api-$unknown", 'http://evil.test')->{status}, 403, 'to strangers too');
my $stopped = $g->route('green-elk-cccc2222', phase => 'stopped', ports => \@ports);
GitpodGateway::wait_for('a stopped one', sub { $g->routed('green-elk-cccc2222') });
for my $origin ("$front-%", '%', 'evil.test') {
    my %said = map { my $h = $_; $h => same(preflight("$api-$h", $g->origin($origin =~ s/%/$h/r)), $h) } $host, $unknown, $stopped;
    is($said{$_}, $said{$host}, "from $origin $_ answers as one that runs") for $unknown, $stopped;
}

# public ports
is(app(preflight($public, 'http://evil.test')), "OPTIONS $id:$front", 'on a public port the application answers');
is(cors(preflight($public, 'http://evil.test')), '- | - | - | -', 'the gateway adds nothing');

# by default there is none
$g->{edit} = sub { my ($name, $text) = @_; $text =~ s/gitpod_preflight on;//; return $text };
$g->reload;
is(preflight($private, $page)->{status}, 401, 'without gitpod_preflight all are refused');
is(app(preflight($public, $page)), "OPTIONS $id:$front", 'but those of public ports');

# the application's own credential
is(GitpodClient::seen($g->get($public, '/', Authorization => 'Bearer of-the-application'))->{authorization}[0], 'Bearer of-the-application', 'an application\'s Authorization reaches it');
is(GitpodClient::seen($g->get($private, '/', @cookie, Authorization => 'Basic YTpi'))->{authorization}[0], 'Basic YTpi', 'on a private port too');
is($g->get($private, '/', Authorization => 'Basic YTpi')->{status}, 401, 'where it is no credential of ours');

$g->finish;
