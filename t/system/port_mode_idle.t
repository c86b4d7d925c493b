#!/usr/bin/perl
# idle.t with an instance that has no wildcard.
use strict;
use warnings;

$ENV{TEST_MODE} = 'port';
exec $^X, '-I', 't/lib', 't/system/idle.t' or die "t/system/idle.t: $!\n";
