# Mode port: cookies ignore ports, so all workspaces share one set of them. Names
# keep them apart, both ways, and nothing of ours gets to a workspace.
use strict;
use warnings;
use Test::More;
use GitpodGateway;

my $g = GitpodGateway->new(listeners => 4);
my $w = $g->{workspace_domain};
my %listener = (a => $g->{listener}, b => $g->{listener} + 1, port => $g->{listener} + 2);
my %id = (a => 'amber-fox-k3j9x2m1', b => 'amber-fox-k3j9x2m10', port => 'amber-fox-k3j9x2m1'); # one begins as the other does
my %address = map { $_ => GitpodGateway::free_address() } qw(a b);
$g->{workspace_pids}{$_} = [map { my $port = $_; $g->serve_workspace($id{$_[0] // 'a'}, $address{a}, $port) } 23000, 3000] for 'a';
$g->{workspace_pids}{b} = [$g->serve_workspace($id{b}, $address{b}, 23000)];
$g->route($id{a}, address => $address{a}, listen => $listener{a}, ports => [{ port => 3000, listen => $listener{port} }]);
$g->route($id{b}, address => $address{b}, listen => $listener{b});

sub on {
    my ($which, $call, @arg) = @_;
    local $g->{port} = $listener{$which};
    return $g->$call("$w:$listener{$which}", @arg, 'X-Gitpod-Owner-Token' => $g->owner_token($id{$which}));
}
GitpodGateway::wait_for('the routes', sub { !grep { on($_, 'get', '/')->{status} != 200 } keys %listener });

# what a workspace sets, as the browser gets it
sub set {
    my ($which, @line) = @_;
    my $query = join '&', map { s/([^A-Za-z0-9])/sprintf '%%%02X', ord $1/ger } @line;
    return [split /\n/, on($which, 'get', "/set-cookie?$query")->{headers}{'set-cookie'} // ''];
}
my $p = "gp.$id{a}.";
for (
    ['sid=1', "${p}sid=1"],
    ['sid=1; Path=/app; HttpOnly; SameSite=Strict; Max-Age=60', "${p}sid=1; Path=/app; HttpOnly; SameSite=Strict; Max-Age=60"],
    ["sid=1; Domain=$w", "${p}sid=1"],
    ["sid=1; DOMAIN = .$w ; Path=/", "${p}sid=1; Path=/"],
    ['sid=1; domain=gitpod.test;Secure;domain', "${p}sid=1;Secure"],
    ['sid=1; Domainx=1; xDomain=2', "${p}sid=1; Domainx=1; xDomain=2"],
    ['sid=a=b; x', "${p}sid=a=b; x"],
    [' sid =1', "${p}sid =1"],
    ['sid=', "${p}sid="],
    ['__Host-sid=1; Secure; Path=/', "__Host-${p}sid=1; Secure; Path=/"],
    ['__secure-sid=1; Secure', "__secure-${p}sid=1; Secure"],
    ["gp.$id{b}.sid=1", "${p}gp.$id{b}.sid=1"],
    ["__Host-gp.$id{b}.sid=1", "__Host-${p}gp.$id{b}.sid=1"],
    ['gp_other=1', "${p}gp_other=1"],
    [('x' x 3000) . '=1', $p . ('x' x 3000) . '=1'],
) {
    my ($line, @want) = @$_;
    is_deeply(set('a', $line), \@want, 'Set-Cookie: ' . substr $line, 0, 60);
}
my @not = (
    (map { ("$_=evil", "__Host-$_=evil", uc($_) . '=evil', "$_\_$listener{b}=evil", "__Host-$_\_$listener{b}=evil", " $_ = evil") } qw(gp_session gp_workspace gp_nonce gp_origin)),
    'sid', '=sid=1', '; Path=/', ' =x', '_gitpod_test_ws_33333333-3333-4333-8333-333333333333_owner_=evil',
);
is_deeply(set('a', $_), [], "no browser gets $_") for @not;
is_deeply(set('a', @not, 'one=1', 'two=2'), ["${p}one=1", "${p}two=2"], 'what else there is it gets');
is_deeply(set('port', 'sid=1'), ["${p}sid=1"], 'the ports of a workspace have one set');
is_deeply(set('b', 'sid=1'), ["gp.$id{b}.sid=1"], 'another workspace has its own');

# and what comes back
sub seen { my ($which, @line) = @_; return join ' | ', @{ GitpodClient::seen(on($which, 'get', '/', map { (Cookie => $_) } @line))->{cookie} // ['none'] } }
my $q = "gp.$id{b}.";
for (
    ["${p}sid=1; ${q}sid=2", 'sid=1', 'sid=2'],
    ["${q}sid=2", 'none', 'sid=2'],
    ["sid=0; ${p}sid=1;other=3;${p}b=a=b;  ${q}c=\"x\"", 'sid=1; b=a=b', 'c="x"'],
    ["__Host-${p}sid=1; __Host-sid=0; __Secure-${q}x=2", '__Host-sid=1', '__Secure-x=2'],
    ["${p}__Host-sid=1; ${p}__SECURE-sid=1; ${p}ok=1", 'ok=1', 'none'],
    ["${p}gp_session=1; ${p}gp_workspace=1; ${p}GP_Nonce=1; ${p}gp_workspace_$listener{b}=1; ${p}gp_origin=1; ${p}gp_own=1", 'gp_own=1', 'none'],
    ["${p}_gitpod_test_ws_33333333-3333-4333-8333-333333333333_owner_=1; ${p}x=1", 'x=1', 'none'],
    ["gp_session=s; gp_workspace_$listener{b}=t; gp_nonce_1=n; gp_origin_$listener{b}=o; __Host-gp_workspace_1=t", 'none', undef],
    ["${p}gp.$id{b}.sid=1", "gp.$id{b}.sid=1", 'none'],
    ["${p}=1; ${p}; $p; =${p}x=1; ;;", '=1', 'none'],
    [uc("${p}x") . '=1; gp.=1; gp=1; gp.amber-fox-k3j9x2m1=1', 'none', 'none'],
    [join(';', ("${p}a=1") x 300), join('; ', ('a=1') x 300), 'none'],
) {
    my ($line, $a, $b) = @$_;
    is(seen('a', $line), $a, 'workspace a, Cookie: ' . substr $line, 0, 60);
    is(seen('b', $line), $b, 'workspace b') if defined $b;
}
is(seen('a', "${p}a=1", "${q}b=2", "${p}c=3"), 'a=1 | c=3', 'over several lines');
is(seen('port', "${p}sid=1; ${q}sid=2"), 'sid=1', 'a port gets those of its workspace');

# there and back again
for my $line ('sid=1', '__Host-sid=1', '__HOST-__Host-x=1', 'gp.x=1', 'a.b=c; Path=/') {
    my ($pair) = split /;/, set('a', $line)->[0];
    my ($want) = split /;/, $line;
    is(seen('a', $pair), $want, "$line comes back to the workspace that set it");
    is(seen('b', $pair), 'none', 'and to no other');
}

# a WebSocket's handshake is a request like others
my $r = on('a', 'upgrade', '/', Cookie => "${p}sid=1; ${q}sid=2");
is($r->{headers}{'set-cookie'}, undef, 'no cookie of ours from a handshake');
close $r->{socket};

$g->finish;
