#!/usr/bin/perl
# tls.t with an instance that has no wildcard.
use strict;
use warnings;

$ENV{TEST_MODE} = 'port';
exec $^X, '-I', 't/lib', 't/system/tls.t' or die "t/system/tls.t: $!\n";
