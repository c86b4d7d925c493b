#!/usr/bin/perl
# first_light.t with an instance that has no wildcard.
use strict;
use warnings;

$ENV{TEST_MODE} = 'port';
exec $^X, '-I', 't/lib', 't/browser/first_light.t' or die "t/browser/first_light.t: $!\n";
