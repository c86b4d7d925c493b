#!/usr/bin/perl
# bad_input.t with an instance that has no wildcard.
use strict;
use warnings;

$ENV{TEST_MODE} = 'port';
exec $^X, '-I', 't/lib', 't/system/bad_input.t' or die "t/system/bad_input.t: $!\n";
