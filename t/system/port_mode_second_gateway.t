#!/usr/bin/perl
# second_gateway.t with an instance that has no wildcard.
use strict;
use warnings;

$ENV{TEST_MODE} = 'port';
exec $^X, '-I', 't/lib', 't/system/second_gateway.t' or die "t/system/second_gateway.t: $!\n";
