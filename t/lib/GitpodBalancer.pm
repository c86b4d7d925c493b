package GitpodBalancer;

# HAProxy before a GitpodGateway of mode port: it has the ports that people
# connect to, and the gateway one port for D and one for all listeners. What it
# says of a connection comes by the PROXY protocol: 1 for D, 2 for workspaces.

use strict;
use warnings;

use IO::Socket::INET;
use GitpodTest ();

# The ports of the gateway, before its configuration is written.
sub ports {
    my ($g) = @_;
    @$g{qw(gateway_port workspace_port)} = map { GitpodTest::free_port() } 1, 2;
}

sub start {
    my ($g) = @_;
    my $last = $g->{listener} + $g->{listeners} - 1;
    my $mode = $g->{tls} ? 'tcp' : 'http';
    GitpodGateway::spew("$g->{dir}/haproxy.cfg", <<"X");
defaults
    mode $mode
    timeout connect 2s
    timeout client 60s
    timeout server 60s
frontend domain
    bind 127.0.0.1:$g->{port}
    default_backend domain
frontend workspaces
    bind 127.0.0.1:$g->{listener}-$last
    default_backend workspaces
backend domain
    server g 127.0.0.1:$g->{gateway_port} send-proxy
backend workspaces
    server g 127.0.0.1:$g->{workspace_port} send-proxy-v2
X
    $g->child('haproxy.log', sub { exec 'haproxy', '-q', '-f', "$g->{dir}/haproxy.cfg" or die "haproxy: $!" });
    GitpodGateway::wait_for('HAProxy', sub { IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $last) });
}

1;
