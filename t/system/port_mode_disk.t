#!/usr/bin/perl
# disk.t with an instance that has no wildcard.
use strict;
use warnings;

$ENV{TEST_MODE} = 'port';
exec $^X, '-I', 't/lib', 't/system/disk.t' or die "t/system/disk.t: $!\n";
