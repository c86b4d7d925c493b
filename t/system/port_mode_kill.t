#!/usr/bin/perl
# kill.t with an instance that has no wildcard: those that know of listeners. What the others do is the same in either mode.
use strict;
use warnings;

$ENV{TEST_MODE} = 'port';
exec $^X, '-I', 't/lib', 't/system/kill.t', 'nginx', 'nginx worker', 'redis', 'ws_manager' or die "t/system/kill.t: $!\n";
