#!/usr/bin/perl
# lifecycle.t with an instance that has no wildcard.
use strict;
use warnings;

$ENV{TEST_MODE} = 'port';
exec $^X, '-I', 't/lib', 't/system/lifecycle.t' or die "t/system/lifecycle.t: $!\n";
