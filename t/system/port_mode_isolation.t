#!/usr/bin/perl
# isolation.t with an instance that has no wildcard.
use strict;
use warnings;

$ENV{TEST_MODE} = 'port';
exec $^X, '-I', 't/lib', 't/system/isolation.t' or die "t/system/isolation.t: $!\n";
