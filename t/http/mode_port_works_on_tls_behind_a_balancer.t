# mode_port_works_on_tls.t with a load balancer that hands TLS on as it comes.
use strict;
use warnings;

$ENV{TEST_BALANCER} = 1;
exec $^X, '-I', 't/lib', 't/http/mode_port_works_on_tls.t' or die "t/http/mode_port_works_on_tls.t: $!\n";
