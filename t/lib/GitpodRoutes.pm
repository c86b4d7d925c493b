package GitpodRoutes;

# A gateway whose answers tell what the route table says: a public port of a
# workspace answers 200 with the instance in a header, an unknown one 401 as a
# private one would.

use strict;
use warnings;

use GitpodTest;

our $OWNER = '11111111-1111-4111-8111-111111111111';

# more: text for http {}; server: text for the server; the rest as GitpodTest.
sub new {
    my ($class, %option) = @_;
    my $more = delete $option{more} // '';
    my $server = delete $option{server} // '';
    my $zone = delete $option{zone} // '4m';
    my $redis = delete $option{feed} // 'gitpod_redis %%REDIS%%;';
    return GitpodTest->new(
        redis => 1,
        http => <<"X",
    gitpod_zone test $zone;
    $redis
    gitpod_route_cidr 10.0.0.0/8 fd00::/8;
$more
    server {
        listen 127.0.0.1:%%PORT%%;
        gitpod_domain gitpod.test;
        gitpod_workspace_domain ws-gitpod.test;
        gitpod_external_url http://gitpod.test:%%PORT%%;
        location = /live { gitpod_probe live; }
        location = /startup { gitpod_probe startup; }
        location = /ready { gitpod_probe ready; }
        location = /metrics { gitpod_probe metrics; }
        location / {
            gitpod_workspace on;
            root %%TOP%%;
            add_header X-Instance \$gitpod_instance_id always;
            try_files /LICENSE =404;
        }
$server
    }
X
        %option,
    );
}

sub uuid { my ($n) = @_; return sprintf '%08x-0000-4000-8000-000000000000', $n }

# A record whose instance tells its version.
sub record {
    my ($id, $version, %member) = @_;
    my %record = (
        id => $id, version => $version, phase => 'running', address => '10.1.2.3', owner => $OWNER, admission => 'owner',
        instance => uuid($version), ports => [{ port => 3000, visibility => 'public', protocol => 'http' }], %member,
    );
    delete $record{$_} for grep { !defined $record{$_} } keys %record;
    return $GitpodTest::JSON->encode(\%record);
}

sub tombstone { my ($id, $version) = @_; return $GitpodTest::JSON->encode({ id => $id, version => $version, deleted => JSON::PP::true }) }

# As the writer does: the hash, then the message.
sub publish {
    my ($t, $id, $text) = @_;
    $t->redis_command('HSET', 'gitpod:routes', $id, $text);
    $t->redis_command('PUBLISH', 'gitpod:routes:changes', $text);
}

# 'none', 'away', or the version of the record that answers.
sub seen {
    my ($t, $id) = @_;
    my $r = $t->get('/', Host => "3000-$id.ws-gitpod.test");
    return 'none' if $r->{status} == 401;
    return 'away' if $r->{status} == 503;
    return $r->{status} == 200 ? hex substr($r->{headers}{'x-instance'}, 0, 8) : "status $r->{status}";
}

sub wait_seen {
    my ($t, $id, $want) = @_;
    my $got = '';
    eval { GitpodTest::wait_for("$id to be $want", sub { ($got = seen($t, $id)) eq $want }, 10) };
    return $got;
}

sub wait_synced {
    my ($t) = @_;
    GitpodTest::wait_for('the first sync', sub { $t->get('/startup')->{status} == 200 });
}

1;
