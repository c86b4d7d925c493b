# docs/contracts/route.schema.json and the gateway judge alike, so that another
# control plane can check its records before it writes them.
use strict;
use warnings;
use IPC::Open2;
use Test::More;
use GitpodTest;
use GitpodRoutes;

my $uuid = $GitpodRoutes::OWNER;
my $id = 'amber-fox-k3j9x2m1';
my %all = (address => '10.1.2.3', phase => 'running', admission => 'owner', owner => $uuid, instance => $uuid, owner_token_sha256 => 'ab' x 32,
    ports => [{ port => 3000, visibility => 'public', protocol => 'grpc' }, { port => 65535 }]);
sub record { my (%member) = @_; return { id => $id, version => 1, %all, %member } }
sub port { my (%member) = @_; return record(ports => [{ port => 3000, %member }]) }
my $true = JSON::PP::true;

my %good = (
    'all there is' => record(),
    'the least' => { id => $id, version => 1 },
    'a tombstone' => { id => $id, version => 2, deleted => $true },
    'a tombstone with what does not count' => { id => $id, version => 2, deleted => $true, phase => 'dancing', ports => 7 },
    'not deleted' => record(deleted => JSON::PP::false),
    'IPv6' => record(address => 'fd00::1'),
    'no address' => record(address => ''),
    'everyone' => record(admission => 'everyone'),
    'no port' => record(ports => []),
    '16 ports' => record(ports => [map { { port => $_ } } 1 .. 16]),
    'listeners' => record(listen => 1024, ports => [{ port => 3000, listen => 65535 }]),
    'an unknown member' => record(colour => 'blue'),
    'the longest id' => record(id => 'a' x 51),
    'an id of one' => record(id => 'a'),
    'a UUID for an id' => record(id => 'aaaaaaaa-1111-4111-8111-111111111111'),
    'the highest version' => record(version => 9223372036854775807),
    (map { ("phase $_" => record(phase => $_)) } qw(unknown preparing building pending creating initializing running stopping stopped)),
    (map { ("protocol $_" => port(protocol => $_)) } qw(http https h2c grpc)),
);
my %bad = (
    'no version' => { id => $id }, 'version 0' => record(version => 0), 'a version below 0' => record(version => -1),
    'a version that is a text' => record(version => '1'), 'a version with a fraction' => record(version => 1.5),
    'no id' => { version => 1 }, 'an empty id' => record(id => ''), 'an id that is a number' => record(id => 7),
    'an id in capitals' => record(id => 'Amber'), 'an id that begins with a dash' => record(id => '-a'), 'an id that ends in one' => record(id => 'a-'),
    'an id like a port host' => record(id => '3000-a'), 'an id like a debug host' => record(id => 'debug-a'), 'an id that is too long' => record(id => 'a' x 52),
    'an id with a dot' => record(id => 'a.b'), 'an id with a line feed' => record(id => "a\n"),
    'deleted as a text' => record(deleted => 'true'), 'deleted as a number' => record(deleted => 1),
    'an instance that is no UUID' => record(instance => 'x'), 'an owner in capitals' => record(owner => uc 'aaaaaaaa-1111-4111-8111-111111111111'),
    'a name for an address' => record(address => 'localhost'), 'a port in the address' => record(address => '10.1.2.3:80'),
    'a short address' => record(address => '10.1'), 'an address that is a number' => record(address => 7), 'a zone' => record(address => 'fd00::1%eth0'),
    'an unknown phase' => record(phase => 'dancing'), 'a phase that is a number' => record(phase => 6), 'an unknown admission' => record(admission => 'all'),
    'a short digest' => record(owner_token_sha256 => 'ab'), 'a digest that is no hex' => record(owner_token_sha256 => 'z' x 64),
    'ports that are no list' => record(ports => { 3000 => 'public' }), '17 ports' => record(ports => [map { { port => $_ } } 1 .. 17]),
    'port 0' => port(port => 0), 'port 65536' => port(port => 65536), 'a port that is a text' => port(port => '3000'),
    'a port without a number' => record(ports => [{ visibility => 'public' }]), 'a list of numbers' => record(ports => [3000]),
    'a listener below 1024' => record(listen => 1023), 'a listener above 65535' => port(listen => 65536), 'a listener that is a text' => record(listen => '10000'),
    'a listener that is a list' => port(listen => []), 'a listener with a fraction' => port(listen => 1024.5),
    'an unknown visibility' => port(visibility => 'shared'), 'an unknown protocol' => port(protocol => 'tcp'),
);
my %text = ('an array' => '[]', 'a number' => '7', 'nothing' => '', 'no JSON' => '{', 'a member twice' => qq({"id":"$id","version":1,"version":2}));
my @case = (
    (map { [$_, 1, $GitpodTest::JSON->encode($good{$_})] } sort keys %good),
    (map { [$_, 0, $GitpodTest::JSON->encode($bad{$_})] } sort keys %bad),
    (map { [$_, 0, $text{$_}] } sort keys %text),
);

my $judge = open2(my $from, my $to, 'python3', "$GitpodTest::TOP/t/lib/route_schema.py");
print $to map { "$_->[2]\n" } @case;
close $to;
my @says = <$from>;
waitpid $judge, 0;
is($?, 0, 'the schema is one');
is(scalar @says, scalar @case, 'each record is judged');

my $t = GitpodRoutes->new(workers => 1);
$t->start;
GitpodRoutes::wait_synced($t);
my $counts = sub { my $text = $t->get('/metrics')->{body}; return map { $text =~ /^gitpod_route_records_total\{outcome="$_"\} (\d+)/m ? $1 : 0 } qw(refused updated old) };
for my $i (0 .. $#case) {
    my ($what, $want, $record) = @{ $case[$i] };
    is($says[$i] =~ /^ok$/ ? 1 : 0, $want, "schema: $what") or diag $says[$i];
    my ($refused, @taken) = $counts->();
    $t->redis_command('PUBLISH', 'gitpod:routes:changes', $record);
    my @now;
    GitpodTest::wait_for("the gateway's word", sub { @now = $counts->(); "@now" ne "$refused @taken" });
    # A refused record that tells id and version is kept as one that must not be served, so it counts as updated, too.
    is($now[0] == $refused ? 1 : 0, $want, "gateway: $what");
}
$t->finish;
