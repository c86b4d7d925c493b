#!/usr/bin/perl
# kill.t with an instance that has no wildcard.
use strict;
use warnings;

$ENV{TEST_MODE} = 'port';
exec $^X, '-I', 't/lib', 't/system/kill.t' or die "t/system/kill.t: $!\n";
