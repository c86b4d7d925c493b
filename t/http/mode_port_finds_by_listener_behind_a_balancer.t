# mode_port_finds_by_listener.t with a load balancer before the gateway: the PROXY protocol tells the listener.
use strict;
use warnings;

$ENV{TEST_BALANCER} = 1;
exec $^X, '-I', 't/lib', 't/http/mode_port_finds_by_listener.t' or die "t/http/mode_port_finds_by_listener.t: $!\n";
