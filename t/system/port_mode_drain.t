#!/usr/bin/perl
# drain.t with an instance that has no wildcard.
use strict;
use warnings;

$ENV{TEST_MODE} = 'port';
exec $^X, '-I', 't/lib', 't/system/drain.t' or die "t/system/drain.t: $!\n";
