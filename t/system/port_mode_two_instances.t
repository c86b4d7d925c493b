#!/usr/bin/perl
# two_instances.t with an instance that has no wildcard.
use strict;
use warnings;

$ENV{TEST_MODE} = 'port';
exec $^X, '-I', 't/lib', 't/system/two_instances.t' or die "t/system/two_instances.t: $!\n";
