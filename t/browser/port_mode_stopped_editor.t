#!/usr/bin/perl
# stopped_editor.t with an instance that has no wildcard.
use strict;
use warnings;

$ENV{TEST_MODE} = 'port';
exec $^X, '-I', 't/lib', 't/browser/stopped_editor.t' or die "t/browser/stopped_editor.t: $!\n";
