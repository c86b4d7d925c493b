#!/usr/bin/perl
# preflight.t where there is no wildcard.
use strict;
use warnings;

$ENV{TEST_MODE} = 'port';
exec $^X, '-I', 't/lib', 't/browser/preflight.t' or die "t/browser/preflight.t: $!\n";
