#!/usr/bin/perl
# outlive.t with an instance that has no wildcard.
use strict;
use warnings;

$ENV{TEST_MODE} = 'port';
exec $^X, '-I', 't/lib', 't/system/outlive.t' or die "t/system/outlive.t: $!\n";
